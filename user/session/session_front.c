// SPDX-License-Identifier: MIT
/*
 * session_front.c - inbounds that speak a proxy protocol, in clear text or behind TLS.
 *
 *   accept -> [EXPECT_TLS] -> cv_front_begin -> the protocol's step -> cv_front_keep_early -> ROUTE
 *          -> upstream there: cv_front_accepted, cv_session_relay (cv_front_relay)
 *          -> or not: cv_front_refuse
 *
 * Without TLS the protocol's codec reads client.in, and what it leaves there is relayed as it is.
 * Behind TLS records are opened into handshake.app one at a time until the request is whole; what
 * is left then is "early" and goes to the upstream ahead of everything else.
 */
#include "session/session_front.h"

#include "session/handshake.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/reason.h"

#include <errno.h>

void cv_front_begin(struct cv_session *session)
{
	cv_step_socks_begin(session);
}

/* ---- the client's bytes ------------------------------------------------------------------- */

struct cv_buffer *cv_front_input(struct cv_session *session)
{
	return session->client.stack ? &session->handshake->app : &session->client.in;
}

int cv_front_fill(struct cv_session *session)
{
	struct cv_buffer *app = &session->handshake->app;
	const size_t before = cv_buffer_len(app);
	int result = 0;

	if (!session->client.stack)
		return -EAGAIN;
	while (result == 0 && cv_buffer_len(app) == before)
		result = cv_leg_decode(&session->client, app);
	return result == CV_LAYER_EOF ? CV_PEER_CLOSED : result;
}

int cv_front_say(struct cv_session *session)
{
	struct cv_buffer *answer = &session->handshake->answer;
	const int error = cv_leg_encode(&session->client, cv_buffer_span(answer));

	cv_buffer_consume(answer, cv_buffer_len(answer));
	return error;
}

void cv_front_keep_early(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	struct cv_buffer empty = handshake->early;

	if (!session->client.stack)
		return;
	handshake->early = handshake->app;
	handshake->app = empty;
}

int cv_front_relay(struct cv_session *session)
{
	struct cv_buffer *early = &session->handshake->early;
	const size_t early_bytes = cv_buffer_len(early);
	int error;

	if (early_bytes == 0)
		return 0;
	error = cv_leg_encode(&session->upstream, cv_buffer_span(early));
	session->user_moved_bytes[CV_UPLINK] += early_bytes;
	session->header_held = false;
	return error;
}

/* ---- what the client is told -------------------------------------------------------------- */

int cv_front_accepted(struct cv_session *session)
{
	struct cv_buffer *answer = &session->handshake->answer;
	int error = 0;

	if (session->inbound->protocol == CV_INBOUND_SOCKS)
		error = cv_socks5_server_reply(CV_SOCKS5_SUCCEEDED, answer);
	return error ? error : cv_front_say(session);
}

bool cv_front_answer_refusal(struct cv_session *session, int reason)
{
	if (session->inbound->protocol != CV_INBOUND_SOCKS)
		return false;
	(void)cv_socks5_server_reply(cv_socks5_reply_of(reason), &session->handshake->answer);
	(void)cv_front_say(session);
	return true;
}

void cv_front_refuse(struct cv_session *session, int reason)
{
	(void)cv_front_answer_refusal(session, reason);
	cv_session_finish(session, reason);
}
