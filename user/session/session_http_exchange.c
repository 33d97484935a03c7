// SPDX-License-Identifier: MIT
/*
 * session_http_exchange.c - one forwarded request: its body up, its response down.
 *
 *   client --body, framing checked--> upstream
 *   client <--head rewritten, body in a framing it knows-- upstream
 *
 * Both directions go at once: an origin may answer before it has read everything. What ends in the
 * middle must not look whole: then the client gets RST. "101 Switching Protocols" makes the session
 * an ordinary relay.
 */
#include "session/session_http.h"

#include "session/handshake.h"
#include "session/session_front.h"
#include "session/session_limits.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/reason.h"

#include <errno.h>

#define STEP_BYTES 16384
#define INTERIM_MAX 16
#define IN_HIGH (64 * 1024)

bool cv_http_is_forward(const struct cv_session *session)
{
	const struct cv_handshake *handshake = session->handshake;

	return handshake && handshake->front == CV_FRONT_HTTP && handshake->http &&
	       handshake->http->form == CV_HTTP_FORWARD && !handshake->http->is_upgraded;
}

/* ---- bytes -------------------------------------------------------------------------------- */

/* What is in the worker's scratch buffer goes to @sink. */
static int pass(struct cv_session *session, enum cv_direction direction)
{
	struct cv_buffer *scratch = &session->worker->app;
	const size_t count = cv_buffer_len(scratch);
	const int error = count ? cv_leg_encode(cv_session_sink(session, direction),
						cv_buffer_span(scratch))
				: 0;

	cv_buffer_consume(scratch, count);
	session->user_moved_bytes[direction] += count;
	return error;
}

/* A piece of a body from @in. Returns as cv_http_body_read(), or why it could not be passed on. */
static int pass_body(struct cv_session *session, enum cv_direction direction,
		     struct cv_http_body *body, struct cv_buffer *in)
{
	struct cv_span span = cv_buffer_span(in);
	size_t before;
	int result, error;

	if (span.len_bytes > STEP_BYTES)
		span.len_bytes = STEP_BYTES;
	before = span.len_bytes;
	result = cv_http_body_read(body, &span, &session->worker->app);
	cv_buffer_consume(in, before - span.len_bytes);
	error = pass(session, direction);
	return error ? error : result;
}

/* ---- uplink ------------------------------------------------------------------------------- */

static int move_uplink(struct cv_session *session)
{
	struct cv_http_exchange *http = session->handshake->http;
	struct cv_buffer *in = cv_front_input(session);
	int result = -EAGAIN, filled = 0;

	while (!http->uplink_done && cv_leg_queued(&session->upstream) < CV_LEG_OUT_HIGH) {
		result = pass_body(session, CV_UPLINK, &http->uplink, in);
		http->uplink_done = result == 0;
		if (result != -EAGAIN)
			break;
		if (cv_buffer_len(in) == 0)
			result = filled = cv_front_fill(session);
		if (filled)
			break;
	}
	if (http->uplink_done)
		return 0;
	if (filled == CV_PEER_CLOSED || /* half a record is all that can be left */
	    (filled == -EAGAIN && (session->client.facts & CV_LEG_FIN_RECEIVED)))
		return CV_PEER_TRUNCATED;
	return result == -EAGAIN ? 0 : result;
}

static void read_client(struct cv_session *session)
{
	struct cv_http_exchange *http = session->handshake->http;

	/* once its request is whole the client is only watched: for its end, its next request */
	if (http->uplink_done ? cv_leg_undecoded(&session->client) == 0
			      : cv_leg_queued(&session->upstream) < CV_LEG_OUT_HIGH)
		cv_leg_recv(&session->client);
}

static int run_uplink(struct cv_session *session)
{
	struct cv_http_exchange *http = session->handshake->http;
	int error = 0;

	if (session->upstream.facts & (CV_LEG_SEND_FAILED | CV_LEG_RESET))
		http->uplink_lost = true; /* it may have answered before it went */
	if (!http->uplink_lost)
		error = move_uplink(session);
	if (!error && !http->uplink_lost)
		read_client(session);
	return error;
}

/* ---- downlink ----------------------------------------------------------------------------- */

static int upgrade(struct cv_session *session)
{
	struct cv_http_exchange *http = session->handshake->http;
	struct cv_buffer *rest = &http->in;
	const size_t count = cv_buffer_len(rest);
	int error;

	if (!http->uplink_done)
		return CV_UPSTREAM_UNEXPECTED_MESSAGE;
	error = cv_leg_encode(&session->client, cv_buffer_span(rest));
	session->user_moved_bytes[CV_DOWNLINK] += count;
	http->is_upgraded = true;
	if (!error)
		cv_session_relay(session);
	return error;
}

static int take_head(struct cv_session *session)
{
	struct cv_http_exchange *http = session->handshake->http;
	struct cv_http_head head;
	int result = cv_http_response_head_read(cv_buffer_span(&http->in), &head);

	if (result == 0)
		result = cv_http_response_judge(&head, &http->client, &http->response);
	if (result == 0 && http->response.is_interim && ++http->interim_count > INTERIM_MAX)
		result = CV_UPSTREAM_UNEXPECTED_MESSAGE;
	if (result)
		return result;
	if (!http->response.is_interim || http->client.minor_version > 0)
		result = cv_http_response_write(&head, &http->client, &http->response,
						&session->worker->app);
	cv_buffer_consume(&http->in, head.len_bytes);
	if (result == 0)
		result = pass(session, CV_DOWNLINK);
	if (result || http->response.is_interim)
		return result;
	http->response_started = true;
	cv_http_body_init(&http->downlink, http->response.framing, http->response.body_bytes,
			  http->response.is_rechunked);
	return http->response.is_upgrade ? upgrade(session) : 0;
}

/* Of what has come: a head or a piece of the body. -EAGAIN: more has to come. */
static int take_response(struct cv_session *session)
{
	struct cv_http_exchange *http = session->handshake->http;
	int result;

	if (!http->response_started)
		return cv_buffer_len(&http->in) ? take_head(session) : -EAGAIN;
	result = pass_body(session, CV_DOWNLINK, &http->downlink, &http->in);
	http->response_done = result == 0;
	if (result == CV_PEER_DECODE)
		return CV_UPSTREAM_DECODE;
	return result == -EAGAIN && cv_buffer_len(&http->in) > 0 ? 0 : result;
}

static int end_of_upstream(struct cv_session *session)
{
	struct cv_http_exchange *http = session->handshake->http;
	int error;

	if (session->upstream.facts & CV_LEG_RESET)
		return CV_UPSTREAM_RESET;
	error = cv_leg_decode_eof(&session->upstream, CV_UPSTREAM_TRUNCATED);
	if (error)
		return error;
	if (!http->response_started)
		return cv_buffer_len(&http->in) ? CV_UPSTREAM_TRUNCATED : CV_UPSTREAM_CLOSED;
	error = cv_http_body_end(&http->downlink, &session->worker->app);
	if (!error)
		error = pass(session, CV_DOWNLINK);
	http->response_done = !error;
	return error == CV_PEER_TRUNCATED ? CV_UPSTREAM_TRUNCATED : error;
}

/* The end may come with the last bytes, which are looked at first. */
static int receive(struct cv_leg *upstream, struct cv_buffer *in)
{
	const size_t before = cv_buffer_len(in);
	int result;

	if (upstream->facts & CV_LEG_APP_ENDED)
		return CV_LAYER_EOF;
	result = cv_leg_decode(upstream, in);
	if (result != CV_LAYER_EOF)
		return result;
	upstream->facts |= CV_LEG_APP_ENDED;
	return cv_buffer_len(in) > before ? 0 : CV_LAYER_EOF;
}

static int run_downlink(struct cv_session *session)
{
	struct cv_http_exchange *http = session->handshake->http;
	struct cv_leg *upstream = &session->upstream;
	int result = 0;

	while (result == 0 && !http->response_done &&
	       cv_leg_queued(&session->client) < CV_LEG_OUT_HIGH) {
		result = take_response(session);
		if (session->state != CV_SESSION_HTTP_EXCHANGE)
			return 0; /* upgraded */
		if (result == -EAGAIN)
			result = receive(upstream, &http->in);
	}
	if (http->response_done)
		return 0;
	if (result == CV_LAYER_EOF ||
	    (result == -EAGAIN && (upstream->facts & (CV_LEG_FIN_RECEIVED | CV_LEG_RESET))))
		return end_of_upstream(session);
	if (result == 0 || result == -EAGAIN) {
		if (cv_leg_queued(&session->client) < CV_LEG_OUT_HIGH)
			cv_leg_recv(upstream);
		return 0;
	}
	return result;
}

/* ---- the exchange ------------------------------------------------------------------------- */

static void fail(struct cv_session *session, int reason)
{
	struct cv_http_exchange *http = session->handshake->http;

	session->abort_upstream = true;
	if (http->response_started) {
		session->abort_client = true; /* must not look whole */
		cv_session_finish(session, reason);
		return;
	}
	(void)cv_http_answer(reason == CV_PEER_DECODE ? 400 : cv_http_status_of(reason),
			     http->client.is_head, false, &session->handshake->answer);
	(void)cv_front_say(session);
	cv_session_finish(session, reason);
}

static void complete(struct cv_session *session)
{
	struct cv_http_exchange *http = session->handshake->http;

	http->served_count++;
	if (http->response.keep_alive && http->uplink_done && !http->uplink_lost)
		cv_http_retire(session);
	else
		cv_session_finish(session, 0);
}

void cv_http_exchange_begin(struct cv_session *session)
{
	struct cv_buffer *head = &session->handshake->http->request_head;
	const size_t count = cv_buffer_len(head);
	int error;

	session->state = CV_SESSION_HTTP_EXCHANGE;
	session->header_held = false;
	session->last_activity_ms = cv_ring_now_ms(session->worker->ring);
	error = cv_leg_encode(&session->upstream, cv_buffer_span(head));
	cv_buffer_consume(head, count);
	session->user_moved_bytes[CV_UPLINK] += count;
	cv_limits_relay(session);
	cv_session_arm(session, cv_session_level(session)->idle_ms);
	if (error)
		fail(session, error);
}

void cv_step_http_exchange(struct cv_session *session)
{
	int error = run_uplink(session);

	if (!error)
		error = run_downlink(session);
	if (session->state != CV_SESSION_HTTP_EXCHANGE)
		return;
	if (error)
		fail(session, error);
	else if (session->handshake->http->response_done)
		complete(session);
}

void cv_step_http_exchange_timer(struct cv_session *session)
{
	const uint64_t due_ms = session->last_activity_ms + cv_session_level(session)->idle_ms;

	if (cv_ring_now_ms(session->worker->ring) >= due_ms)
		fail(session, session->handshake->http->response_started ? CV_POLICY_IDLE
									  : CV_UPSTREAM_TIMEOUT);
	else
		cv_timer_arm(session->worker->ring, &session->timer, due_ms);
}
