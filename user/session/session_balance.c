// SPDX-License-Identifier: MIT
/*
 * session_balance.c - the outbound that a balancer picks, and another one when it fails.
 *
 *   ROUTE -> pick -> dial -- found --> RELAY: it works
 *                      \---- lost ---> it does not, for a while; pick another, RETRY_UPSTREAM
 *                                      nobody left: the last one's attempts, or refuse
 *
 * What an outbound says about the destination is an answer and not a failure.
 */
#include "session/handshake.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/log.h"
#include "base/reason.h"

const struct cv_outbound *cv_balance_pick(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	const uint32_t picked = cv_balancer_pick(handshake->balancer, session->config,
						 &handshake->tries,
						 cv_ring_now_ms(session->worker->ring));

	return picked == CV_BALANCER_NOBODY ? NULL : &session->config->outbounds[picked];
}

const struct cv_outbound *cv_balance_again(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	const struct cv_outbound *next = handshake->balancer ? cv_balance_pick(session) : NULL;

	if (next)
		cv_log(CV_LOG_INFO, "balancer=%s: outbound %s fails, goes on with %s",
		       handshake->balancer->tag, session->outbound->tag, next->tag);
	return next;
}
