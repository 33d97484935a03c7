// SPDX-License-Identifier: MIT
/*
 * session_retry.c - when an upstream proxy fails: another attempt, the way around, or a refusal.
 *
 *   begin -> held down? -----------------------------------------------\
 *     |  no                                                            |
 *     v                                                                v
 *   attempt --hop failed--> RETRY_UPSTREAM (wait) -> attempt   fallback: out directly, or refuse
 *     |  \--destination failed-> refuse                 |              ^
 *     |   \-certificate, credentials -------------------+--------------+
 *   RELAY                                  last attempt, or no time left
 *
 * The client's bytes stay where they are meanwhile; only the upstream leg starts anew, once no
 * operation runs on it any more. Attempts, waits and all have deadlines (policy/upstream_health.h).
 *
 * Where a balancer has others that may do, the first failure is enough: the next one is dialled.
 *
 * Nobody goes around a proxy that answered: what it says about the destination is passed on.
 */
#include "session/carrier.h"
#include "session/datagram_carrier.h"
#include "session/handshake.h"
#include "session/session_probe.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/log.h"
#include "base/reason.h"
#include "protocol/upstream_reason.h"

#include <inttypes.h>

#define CONNECT_MS 16000 /* without attempts */

enum verdict { VERDICT_REFUSE, VERDICT_PASS_ON, VERDICT_AGAIN, VERDICT_GIVE_UP };

static uint64_t now_ms(const struct cv_session *session)
{
	return cv_ring_now_ms(session->worker->ring);
}

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* ---- attempts ----------------------------------------------------------------------------- */

uint32_t cv_upstream_left_ms(struct cv_session *session, uint32_t wanted_ms)
{
	const struct cv_handshake *handshake = session->handshake;
	uint64_t left_ms;

	if (!handshake->health && !cv_probe_is(session))
		return wanted_ms;
	if (handshake->health && session->outbound->retry.connect_ms < wanted_ms)
		wanted_ms = session->outbound->retry.connect_ms;
	if (handshake->attempts_end_ms <= now_ms(session))
		return 1;
	left_ms = handshake->attempts_end_ms - now_ms(session);
	return left_ms < wanted_ms ? (uint32_t)left_ms : wanted_ms;
}

static void attempt(struct cv_session *session)
{
	session->handshake->attempts++;
	if (cv_mux_carries(session))
		cv_mux_dial(session);
	else
		cv_hops_dial(session, cv_upstream_left_ms(session, CONNECT_MS));
}

/* Without effect where nothing has to be retired. */
static bool leg_is_retired(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	struct cv_leg *leg = &session->upstream;

	cv_buffer_consume(&leg->out, cv_buffer_len(&leg->out));
	if (!leg->send_op.pending)
		cv_buffer_consume(&leg->sending, cv_buffer_len(&leg->sending));
	if (cv_leg_busy(leg))
		return false;
	cv_leg_done(leg, false);
	leg->facts = 0;
	leg->has_ulp = false;
	leg->ktls_error = 0;
	cv_leg_init(leg, session);
	handshake->tls_client = cv_tls_client_free(handshake->tls_client);
	cv_buffer_consume(&handshake->hop_in, cv_buffer_len(&handshake->hop_in));
	cv_buffer_consume(&handshake->hop_out, cv_buffer_len(&handshake->hop_out));
	return true;
}

static void retire_leg(struct cv_session *session)
{
	struct cv_leg *leg = &session->upstream;

	if (leg->recv_op.pending)
		cv_ring_cancel(session->worker->ring, &leg->recv_op);
	if (leg->send_op.pending)
		cv_ring_cancel(session->worker->ring, &leg->send_op);
	session->state = CV_SESSION_RETRY_UPSTREAM;
}

void cv_step_retry(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;

	if (!leg_is_retired(session) || !handshake->retry_due)
		return;
	handshake->retry_due = false;
	if (handshake->next) {
		const struct cv_outbound *next = handshake->next;

		handshake->next = NULL;
		cv_step_leave(session, next);
		return;
	}
	if (!handshake->retry_around) {
		attempt(session);
		return;
	}
	session->outbound = session->config->direct;
	if (handshake->is_bind)
		cv_step_bind_begin(session);
	else
		cv_step_freedom(session);
}

/* ---- the end of attempts ------------------------------------------------------------------ */

static void warn(struct cv_session *session, bool goes_around)
{
	const struct cv_outbound *outbound = session->outbound;
	const char *user = cv_session_user_name(session);
	const unsigned attempts = session->handshake->attempts;
	const char *what = goes_around ? "using direct" : "refused";

	if (!*user)
		user = "-";
	if (!cv_upstream_may_warn(outbound->health, user, now_ms(session)))
		return;
	if (attempts)
		cv_log(CV_LOG_WARNING, "external-proxy %s failed after %u attempt%s, user %s: %s",
		       outbound->external_id[0] ? outbound->external_id : outbound->tag, attempts,
		       attempts == 1 ? "" : "s", user, what);
	else
		cv_log(CV_LOG_WARNING, "external-proxy %s failed a moment ago, user %s: %s",
		       outbound->external_id[0] ? outbound->external_id : outbound->tag, user,
		       what);
}

static void fall_back(struct cv_session *session)
{
	const struct cv_outbound *outbound = session->outbound;
	struct cv_handshake *handshake = session->handshake;

	const bool goes_around = outbound->retry.goes_around && !cv_udp_carrier_is(session);

	warn(session, goes_around);
	if (!goes_around) { /* for datagrams, who wanted the stream sees to it */
		count(&outbound->health->refused);
		cv_session_refuse(session, CV_UPSTREAM_FAILED);
		return;
	}
	count(&outbound->health->gone_around);
	cv_worker_count(session->worker, CV_UPSTREAM_GONE_AROUND);
	handshake->health = NULL;
	handshake->retry_around = handshake->retry_due = true;
	retire_leg(session);
}

static void verdict_is_out(struct cv_session *session)
{
	session->handshake->is_probe = false;
}

static void give_up(struct cv_session *session)
{
	const struct cv_retry *retry = &session->outbound->retry;

	cv_upstream_failed(session->handshake->health, now_ms(session),
			   cv_retry_wait_ms(retry, retry->attempts));
	verdict_is_out(session);
	fall_back(session);
}

/* A hop in the middle that cannot reach the next one says nothing about the destination. */
static enum verdict judge(const struct cv_session *session, int reason)
{
	const bool is_last = session->handshake->hop == session->outbound;

	if (cv_upstream_is_answer(reason))
		return is_last ? VERDICT_PASS_ON : VERDICT_AGAIN;
	switch (reason) {
	case CV_PEER_ADDRESS:
	case CV_INTERNAL_MEMORY:
	case CV_INTERNAL_CRYPTO:
	case CV_INTERNAL_STATE:
	case CV_INTERNAL_CONFIG:
	case CV_INTERNAL_RESOURCE:
		return VERDICT_REFUSE;
	case CV_UPSTREAM_CERTIFICATE:
	case CV_UPSTREAM_CREDENTIALS:
	case CV_UPSTREAM_NOT_TLS13:
		return VERDICT_GIVE_UP;
	default:
		return VERDICT_AGAIN;
	}
}

/* It works, though not for this destination: others are not kept from it. */
static bool is_alive(int reason)
{
	return reason == CV_UPSTREAM_SAYS_FAILURE || reason == CV_UPSTREAM_SAYS_UNAVAILABLE;
}

static void again_or_fall_back(struct cv_session *session, int reason)
{
	struct cv_handshake *handshake = session->handshake;
	const struct cv_retry *retry = &session->outbound->retry;
	const uint32_t wait_ms = cv_retry_wait_ms(retry, handshake->attempts);

	if (handshake->attempts < retry->attempts &&
	    now_ms(session) + wait_ms < handshake->attempts_end_ms) {
		cv_session_arm(session, wait_ms);
		retire_leg(session);
	} else if (is_alive(reason) && handshake->hop == session->outbound) {
		cv_upstream_found(session);
		fall_back(session);
	} else {
		give_up(session);
	}
}

/* What others may learn from it. Returns the outbound to go on with, if there is a choice. */
static const struct cv_outbound *note_failure(struct cv_session *session, int reason)
{
	struct cv_handshake *handshake = session->handshake;
	const bool says_so = is_alive(reason) && handshake->hop == session->outbound;
	const struct cv_outbound *next;

	if (!says_so && !cv_probe_is(session))
		cv_observation_failed(session->outbound->observation, now_ms(session));
	next = cv_balance_again(session);
	if (!next || !handshake->health)
		return next;
	if (says_so)
		cv_upstream_found(session);
	else
		cv_upstream_failed(handshake->health, now_ms(session),
				   cv_retry_wait_ms(&session->outbound->retry,
						    session->outbound->retry.attempts));
	verdict_is_out(session);
	handshake->health = NULL;
	handshake->attempts = 0;
	return next;
}

void cv_upstream_lost(struct cv_session *session, int reason)
{
	struct cv_handshake *handshake = session->handshake;
	const enum verdict verdict = judge(session, reason);

	if (handshake->health)
		count(&handshake->health->failures);
	if (verdict == VERDICT_AGAIN || verdict == VERDICT_GIVE_UP)
		handshake->next = note_failure(session, reason);
	if (handshake->next) {
		handshake->retry_due = true;
		retire_leg(session);
		return;
	}
	if (!handshake->health) {
		cv_session_refuse(session, reason);
		return;
	}
	switch (verdict) {
	case VERDICT_PASS_ON:
		cv_upstream_found(session);
		cv_session_refuse(session, reason);
		break;
	case VERDICT_REFUSE: /* our own trouble says nothing about the proxy */
		cv_session_refuse(session, reason);
		break;
	case VERDICT_GIVE_UP:
		give_up(session);
		break;
	case VERDICT_AGAIN:
		again_or_fall_back(session, reason);
		break;
	}
}

void cv_upstream_found(struct cv_session *session)
{
	if (!cv_probe_is(session))
		cv_observation_succeeded(session->outbound->observation);
	if (!session->handshake->health)
		return;
	cv_upstream_succeeded(session->handshake->health);
	verdict_is_out(session);
}

void cv_upstream_begin(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	const struct cv_outbound *outbound = session->outbound;
	const uint64_t now = now_ms(session);

	if (!outbound->health || cv_probe_is(session)) {
		attempt(session);
		return;
	}
	count(&outbound->health->sessions);
	handshake->health = outbound->health;
	handshake->attempts_end_ms = now + outbound->retry.total_ms;
	if (cv_upstream_admit(outbound->health, now, outbound->retry.total_ms,
			      &handshake->is_probe))
		attempt(session);
	else
		fall_back(session);
}
