// SPDX-License-Identifier: MIT
/*
 * session_http.c - requests of an HTTP proxy's client: who asks, for what, and what is refused.
 *
 * A head stays in the input until it is known to be served or refused; its body, if there is one,
 * is read by the exchange, or thrown away here when a refused request's connection goes on. Every
 * request is routed for itself and has an upstream connection of its own; what stays from one to
 * the next is the client's leg, its input and what it has shown of itself.
 */
#include "session/session_http.h"

#include "session/handshake.h"
#include "session/session_front.h"
#include "session/session_limits.h"
#include "session/steps.h"
#include "session/verify.h"
#include "session/worker.h"

#include "base/log.h"
#include "base/reason.h"
#include "crypto/crypto.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_ALIVE_MS 60000
#define DISCARD_MAX 65536 /* of a refused request's body, by its length */
#define BUFFER_MAX (192 * 1024)

struct cv_http_exchange *cv_http_exchange_new(void)
{
	struct cv_http_exchange *http = calloc(1, sizeof(*http));

	if (!http)
		return NULL;
	cv_buffer_init(&http->request_head, BUFFER_MAX);
	cv_buffer_init(&http->in, BUFFER_MAX);
	return http;
}

static void forget_shown(struct cv_http_exchange *http)
{
	if (http->shown)
		cv_cleanse(http->shown, http->shown_len);
	free(http->shown);
	http->shown = NULL;
	http->shown_len = 0;
}

struct cv_http_exchange *cv_http_exchange_free(struct cv_http_exchange *http)
{
	if (!http)
		return NULL;
	forget_shown(http);
	cv_buffer_done(&http->request_head);
	cv_buffer_done(&http->in);
	free(http);
	return NULL;
}

/* ---- waiting for a request ---------------------------------------------------------------- */

static void expect_request(struct cv_session *session)
{
	const bool is_first = session->handshake->http->served_count == 0;

	session->state = CV_SESSION_EXPECT_HTTP;
	if (is_first)
		cv_front_arm(session);
	else
		cv_session_arm(session, KEEP_ALIVE_MS);
}

void cv_step_http_begin(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;

	handshake->front = CV_FRONT_HTTP;
	handshake->http = cv_http_exchange_new();
	if (!handshake->http) {
		cv_session_close(session, CV_INTERNAL_MEMORY);
		return;
	}
	expect_request(session);
	cv_leg_recv(&session->client);
}

/* Answer, then wait for the next request or finish. */
static void answer(struct cv_session *session, unsigned status, bool keep_alive, int reason)
{
	struct cv_handshake *handshake = session->handshake;

	cv_log(CV_LOG_INFO, "inbound=%s http: %u (%s)", session->inbound->tag, status,
	       cv_reason_label(reason));
	(void)cv_http_answer(status, handshake->http->client.is_head, keep_alive,
			     &handshake->answer);
	(void)cv_front_say(session);
	handshake->http->served_count++;
	if (keep_alive)
		cv_worker_count(session->worker, reason);
	else
		cv_session_finish(session, reason);
}

void cv_step_http_timeout(struct cv_session *session)
{
	const bool has_begun = cv_buffer_len(cv_front_input(session)) > 0;

	if (has_begun)
		answer(session, 408, false, CV_PEER_TIMEOUT);
	else
		cv_session_finish(session, session->handshake->http->served_count > 0
						   ? 0
						   : CV_PEER_TIMEOUT);
}

/* ---- who asks ----------------------------------------------------------------------------- */

static int remember(struct cv_http_exchange *http, struct cv_span value)
{
	forget_shown(http);
	http->shown = malloc(value.len_bytes + 1);
	if (!http->shown)
		return CV_INTERNAL_MEMORY;
	memcpy(http->shown, value.data, value.len_bytes);
	http->shown_len = value.len_bytes;
	return 0;
}

/* The head is still in the input: it is read again, and meets the verdict. */
static void judged(struct cv_session *session, int reason)
{
	struct cv_http_exchange *http = session->handshake->http;

	http->is_judged = true;
	http->verdict = reason;
	session->state = CV_SESSION_EXPECT_HTTP;
}

/* Whoever this was before: the next bytes and sessions are another person's. */
static void become_nobody(struct cv_session *session)
{
	cv_session_account(session);
	cv_limits_leave(session);
	session->user = NULL;
}

static int ask(struct cv_session *session, const struct cv_http_head *head, struct cv_span value)
{
	struct cv_http_credentials credentials;
	int reason = cv_http_credentials(head, &credentials);

	if (reason == 0)
		reason = remember(session->handshake->http, value);
	if (reason)
		return reason;
	become_nobody(session);
	cv_session_verify(session, credentials.user, credentials.user_len, credentials.password,
			  credentials.password_len, judged);
	cv_cleanse(&credentials, sizeof(credentials));
	return -EINPROGRESS;
}

/* 0: go on; -EINPROGRESS: judged() will say; else why not. */
static int authorize(struct cv_session *session, const struct cv_http_head *head)
{
	struct cv_http_exchange *http = session->handshake->http;
	const struct cv_http_field *field = cv_http_field(head, "proxy-authorization", NULL);
	int verdict;

	if (!session->inbound->users)
		return 0;
	if (!field)
		return CV_PEER_NO_METHOD;
	if (!http->is_judged || http->shown_len != field->value.len_bytes ||
	    memcmp(http->shown, field->value.data, http->shown_len) != 0) {
		http->is_judged = false;
		return ask(session, head, field->value);
	}
	verdict = http->verdict;
	if (verdict) /* and the next try is a new one */
		http->is_judged = false;
	return verdict;
}

/* ---- what is asked for -------------------------------------------------------------------- */

/* observable: with `hide` whoever does not speak to a proxy meets a web server. */
static bool hide(struct cv_session *session, int reason)
{
	if (session->inbound->fallback_count == 0 || session->handshake->http->served_count > 0)
		return false;
	session->handshake->front = CV_FRONT_NONE;
	cv_step_fallback(session, reason);
	return true;
}

static void note_request(struct cv_http_exchange *http, const struct cv_http_head *head,
			 const struct cv_http_request *request)
{
	http->form = request->form;
	http->client = (struct cv_http_client){
		.minor_version = head->minor_version,
		.is_head = request->is_head,
		.is_upgrade = request->is_upgrade,
		.keep_alive = request->keep_alive,
	};
	http->uplink_done = http->uplink_lost = http->response_started = false;
	http->response_done = http->is_upgraded = false;
	http->interim_count = 0;
	cv_http_body_init(&http->uplink, request->framing, request->body_bytes,
			  request->framing == CV_HTTP_CHUNKED);
}

/* A refused request's connection goes on if what follows the head can only be the next one: no
 * body, or a short one that is on its way already. */
static bool can_go_on(const struct cv_http_head *head, const struct cv_http_request *request)
{
	return request->keep_alive && !cv_http_field(head, "expect", NULL) &&
	       (request->framing == CV_HTTP_NO_BODY ||
		(request->framing == CV_HTTP_LENGTH && request->body_bytes <= DISCARD_MAX));
}

static int serve(struct cv_session *session, const struct cv_http_head *head,
		 const struct cv_http_request *request)
{
	struct cv_handshake *handshake = session->handshake;
	struct cv_http_exchange *http = handshake->http;
	int error = 0;

	cv_buffer_consume(&http->request_head, cv_buffer_len(&http->request_head));
	if (request->form == CV_HTTP_FORWARD)
		error = cv_http_request_write(head, request, &http->request_head);
	handshake->destination = request->destination;
	cv_buffer_consume(cv_front_input(session), head->len_bytes);
	if (error)
		return error;
	cv_step_target(session);
	return 0;
}

static int refuse_malformed(struct cv_session *session, unsigned status, int reason)
{
	if (!hide(session, reason))
		answer(session, status, false, reason);
	return 0;
}

/* Of a refused request: the rest of its body. */
static int discard(struct cv_session *session)
{
	struct cv_http_exchange *http = session->handshake->http;
	struct cv_buffer *in = cv_front_input(session), *scratch = &session->worker->app;
	struct cv_span span = cv_buffer_span(in);
	const size_t before = span.len_bytes;
	int result = cv_http_body_read(&http->uplink, &span, scratch);

	cv_buffer_consume(in, before - span.len_bytes);
	cv_buffer_consume(scratch, cv_buffer_len(scratch));
	http->uplink_done = result == 0;
	return result;
}

/* A connection that goes on for ever would keep to people, passwords and ways of before a reload
 * for as long. */
static bool may_persist(const struct cv_session *session)
{
	return session->config == session->worker->config && !session->worker->stopping;
}

/* One request, or the rest of one that was refused. 0: there may be more. */
static int read_request(struct cv_session *session)
{
	struct cv_http_exchange *http = session->handshake->http;
	struct cv_http_head head;
	struct cv_http_request request;
	unsigned status;
	int reason;

	if (http->served_count > 0 && !http->uplink_done) {
		reason = discard(session);
		if (reason)
			return reason;
	}
	reason = cv_http_request_head_read(cv_buffer_span(cv_front_input(session)), &head, &status);
	if (reason == -EAGAIN)
		return reason;
	http->client = (struct cv_http_client){0};
	if (reason == 0)
		reason = cv_http_request_judge(&head, &request, &status);
	if (reason)
		return refuse_malformed(session, status, reason);
	request.keep_alive &= may_persist(session);
	if (request.form == CV_HTTP_ORIGIN_FORM && hide(session, CV_PEER_DECODE))
		return 0;
	note_request(http, &head, &request);
	reason = authorize(session, &head);
	if (reason == -EINPROGRESS)
		return reason;
	if (reason) {
		cv_buffer_consume(cv_front_input(session), head.len_bytes);
		answer(session, 407, can_go_on(&head, &request), reason);
		return 0;
	}
	if (request.form == CV_HTTP_ORIGIN_FORM) {
		answer(session, 400, false, CV_PEER_DECODE);
		return 0;
	}
	http->uplink_done = request.framing == CV_HTTP_NO_BODY;
	return serve(session, &head, &request);
}

/* Whoever asks and does not read the answers is not asked for more; what is sent brings us back. */
static bool may_ask(const struct cv_session *session)
{
	return session->state == CV_SESSION_EXPECT_HTTP &&
	       cv_leg_queued(&session->client) < CV_LEG_OUT_HIGH;
}

void cv_step_http(struct cv_session *session)
{
	int result = 0;

	while (result == 0 && may_ask(session)) {
		result = read_request(session);
		if (result == -EAGAIN && session->state == CV_SESSION_EXPECT_HTTP)
			result = cv_front_fill(session);
	}
	if (session->state != CV_SESSION_EXPECT_HTTP || result == 0)
		return;
	if (result == -EAGAIN && !(session->client.facts & CV_LEG_FIN_RECEIVED))
		cv_leg_recv(&session->client);
	else if (result == -EAGAIN || result == CV_PEER_CLOSED)
		cv_session_finish(session, session->handshake->http->served_count > 0
						   ? 0
						   : CV_PEER_CLOSED);
	else
		cv_session_finish(session, result);
}

/* ---- refused, or done --------------------------------------------------------------------- */

void cv_http_refuse(struct cv_session *session, int reason)
{
	struct cv_http_exchange *http = session->handshake->http;
	/* behind a tunnel's head may be its first words, which are no request */
	const bool nothing_behind = http->form == CV_HTTP_FORWARD
					    ? http->uplink_done
					    : cv_buffer_len(cv_front_input(session)) == 0;
	const bool keep_alive = http->client.keep_alive && nothing_behind;

	answer(session, cv_http_status_of(reason), keep_alive, reason);
	if (keep_alive)
		cv_http_retire(session);
}

void cv_http_retire(struct cv_session *session)
{
	struct cv_leg *upstream = &session->upstream;
	struct cv_ring *ring = session->worker->ring;

	session->state = CV_SESSION_HTTP_RETIRE;
	cv_session_arm(session, KEEP_ALIVE_MS);
	if (cv_leg_ending(upstream) != CV_ENDS_BY_FIN) /* the server would take it for cut */
		cv_leg_say_goodbye(upstream);
	if (upstream->recv_op.pending)
		cv_ring_cancel(ring, &upstream->recv_op);
	if (upstream->send_op.pending)
		cv_ring_cancel(ring, &upstream->send_op);
}

/* What the next request must not find of the last one: everything but the client. */
static int renew_handshake(struct cv_session *session)
{
	struct cv_handshake *old = session->handshake, *new = cv_handshake_new();
	struct cv_buffer empty;

	if (!new)
		return CV_INTERNAL_MEMORY;
	empty = new->app;
	new->app = old->app;
	old->app = empty;
	new->http = old->http;
	old->http = NULL;
	new->front = old->front;
	(void)cv_handshake_free(old);
	session->handshake = new;
	return 0;
}

void cv_step_http_retire(struct cv_session *session)
{
	struct cv_leg *upstream = &session->upstream;

	cv_buffer_consume(&upstream->out, cv_buffer_len(&upstream->out));
	if (!upstream->send_op.pending)
		cv_buffer_consume(&upstream->sending, cv_buffer_len(&upstream->sending));
	if (cv_leg_busy(upstream))
		return;
	cv_session_account(session);
	cv_limits_rest(session);
	cv_leg_done(upstream, false);
	memset(upstream, 0, sizeof(*upstream));
	cv_leg_init(upstream, session);
	session->outbound = NULL;
	session->header_held = false;
	if (renew_handshake(session) < 0) {
		cv_session_close(session, CV_INTERNAL_MEMORY);
		return;
	}
	cv_buffer_consume(&session->handshake->http->in,
			  cv_buffer_len(&session->handshake->http->in));
	expect_request(session);
}
