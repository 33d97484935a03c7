// SPDX-License-Identifier: MIT
/*
 * session_front.c - inbounds that speak a proxy protocol, in clear text or behind TLS.
 *
 *   accept -> [EXPECT_TLS] -> cv_front_begin -> the protocol's step -> ROUTE
 *          -> upstream there: cv_front_accepted, cv_session_relay (cv_front_relay)
 *          -> or not: cv_front_refuse
 *
 * Without TLS the protocol's codec reads client.in, and what it leaves there is relayed as it is.
 * Behind TLS records are opened into handshake.app one at a time until the request is whole; what
 * is left there then is early and goes to the upstream ahead of everything else.
 */
#include "session/session_front.h"

#include "session/handshake.h"
#include "session/session_http.h"
#include "session/session_tunnel.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/reason.h"
#include "wire/socks4.h"

#include <errno.h>

#define REQUEST_MS 10000

/* ---- which protocol ----------------------------------------------------------------------- */

/* observable: a hidden proxy is as patient as the level says, so that it can be as a web server. */
void cv_front_arm(struct cv_session *session)
{
	uint64_t limit_ms = cv_session_level(session)->handshake_ms;

	if (limit_ms > REQUEST_MS && session->inbound->fallback_count == 0)
		limit_ms = REQUEST_MS;
	cv_timer_arm(session->worker->ring, &session->timer, session->started_ms + limit_ms);
}

static void expect_first_byte(struct cv_session *session)
{
	session->state = CV_SESSION_EXPECT_FRONT;
	cv_front_arm(session);
	cv_leg_recv(&session->client);
}

void cv_front_begin(struct cv_session *session)
{
	switch (session->inbound->protocol) {
	case CV_INBOUND_HTTP:
		cv_step_http_begin(session);
		break;
	case CV_INBOUND_TUNNEL:
		cv_step_tunnel_begin(session);
		break;
	case CV_INBOUND_MIXED:
		expect_first_byte(session);
		break;
	default:
		cv_step_socks_begin(session);
		break;
	}
}

static void choose(struct cv_session *session, uint8_t first)
{
	if (first == 5)
		cv_step_socks_begin(session);
	else if (first == 4)
		cv_step_socks4_begin(session);
	else if (first >= 'A' && first <= 'Z')
		cv_step_http_begin(session);
	else
		cv_session_finish(session, CV_PEER_PROTOCOL_VERSION);
}

void cv_step_front(struct cv_session *session)
{
	struct cv_buffer *in = cv_front_input(session);
	int result = cv_buffer_len(in) > 0 ? 0 : cv_front_fill(session);

	if (result == 0)
		choose(session, cv_buffer_bytes(in)[0]);
	else if (result == -EAGAIN && !(session->client.facts & CV_LEG_FIN_RECEIVED))
		cv_leg_recv(&session->client);
	else
		cv_session_finish(session, result == -EAGAIN ? CV_PEER_CLOSED : result);
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

int cv_front_relay(struct cv_session *session)
{
	struct cv_buffer *early = &session->handshake->app;
	const size_t early_bytes = cv_buffer_len(early);
	int error = 0;

	if ((session->handshake->front == CV_FRONT_NONE && !session->handshake->sniff) ||
	    early_bytes == 0)
		return 0;
	while (cv_buffer_len(early) > 0 && !error) { /* as the relay does it, batch by batch */
		struct cv_span batch = cv_buffer_span(early);

		if (batch.len_bytes > CV_LEG_BATCH)
			batch.len_bytes = CV_LEG_BATCH;
		error = cv_leg_encode(&session->upstream, batch);
		cv_buffer_consume(early, batch.len_bytes);
	}
	session->user_moved_bytes[CV_UPLINK] += early_bytes;
	session->header_held = false;
	return error;
}

/* ---- what the client is told -------------------------------------------------------------- */

int cv_front_accepted(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	int error = 0;

	if (handshake->is_answered)
		return 0;
	if (handshake->front == CV_FRONT_SOCKS5)
		error = cv_socks5_server_reply(CV_SOCKS5_SUCCEEDED, &handshake->answer);
	else if (handshake->front == CV_FRONT_SOCKS4)
		error = cv_socks4_reply(true, &handshake->answer);
	else if (handshake->front == CV_FRONT_HTTP && !cv_http_is_forward(session))
		error = cv_http_established(&handshake->answer);
	return error ? error : cv_front_say(session);
}

int cv_front_upstream_said(struct cv_session *session, struct cv_span bytes)
{
	if (cv_http_is_forward(session))
		return cv_buffer_append(&session->handshake->http->in, bytes.data, bytes.len_bytes);
	return cv_leg_encode(&session->client, bytes);
}

bool cv_front_answer_refusal(struct cv_session *session, int reason)
{
	struct cv_handshake *handshake = session->handshake;

	if (handshake->front == CV_FRONT_NONE || handshake->is_answered)
		return false;
	if (handshake->front == CV_FRONT_SOCKS5)
		(void)cv_socks5_server_reply(cv_socks5_reply_of(reason), &handshake->answer);
	else if (handshake->front == CV_FRONT_SOCKS4)
		(void)cv_socks4_reply(false, &handshake->answer);
	else
		(void)cv_http_answer(cv_http_status_of(reason), handshake->http->client.is_head,
				     false, &handshake->answer);
	(void)cv_front_say(session);
	return true;
}

void cv_front_refuse(struct cv_session *session, int reason)
{
	if (session->handshake->is_answered) {
		session->abort_client = true; /* "it is there" was wrong */
	} else if (session->handshake->front == CV_FRONT_HTTP) {
		cv_http_refuse(session, reason);
		return;
	}
	(void)cv_front_answer_refusal(session, reason);
	cv_session_finish(session, reason);
}
