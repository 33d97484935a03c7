// SPDX-License-Identifier: MIT
/*
 * session_transport.c - the transport of a VLESS or VMess inbound: what a client has to ask for
 * before it can say what it wants.
 *
 *   [TLS] -> EXPECT_TRANSPORT  a request for our path at our host -> 101 or 200, layer -> request
 *                              anything else -> the fallback with every byte, as for what is no
 *                                               VLESS (VLESS 7), or what a web server without
 *                                               pages says
 *
 * HTTP/1: the head collects in handshake.app. HTTP/2: the bytes stay there as well, while a carrier
 * that has not begun reads them and says whose they are; each stream is a session then, which
 * expects a request.
 */
#include "session/carrier_h2.h"
#include "session/handshake.h"
#include "session/preamble.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/reason.h"
#include "protocol/upgrade_client.h"
#include "wire/http_upgrade.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define HEAD_MS 4000 /* of the server that this is known from; a site behind us may be slower */

void cv_step_transport_begin(struct cv_session *session)
{
	uint32_t limit_ms = cv_session_level(session)->handshake_ms;

	if (!session->inbound->transport) {
		cv_step_request_begin(session);
		return;
	}
	if (limit_ms > HEAD_MS && session->inbound->fallback_count == 0)
		limit_ms = HEAD_MS;
	session->state = CV_SESSION_EXPECT_TRANSPORT;
	cv_session_arm(session, limit_ms);
	cv_leg_recv(&session->client);
}

/* ---- whose it is not ---------------------------------------------------------------------- */

static void format_date(char text[32])
{
	const time_t now = (time_t)(cv_clock_wall_ms() / 1000);
	struct tm parts;

	text[0] = '\0';
	if (gmtime_r(&now, &parts))
		(void)strftime(text, 32, "%a, %d %b %Y %H:%M:%S GMT", &parts);
}

static int say_answer(struct cv_session *session)
{
	struct cv_buffer *answer = &session->handshake->answer;
	const int error = cv_leg_encode(&session->client, cv_buffer_span(answer));

	cv_buffer_consume(answer, cv_buffer_len(answer));
	return error;
}

/* Without a site behind us. @head NULL: it could not be read. */
static void answer_refusal(struct cv_session *session, const struct cv_http_head *head,
			   unsigned status)
{
	struct cv_handshake *handshake = session->handshake;
	bool closes = true;
	char date[32];
	int error;

	format_date(date);
	error = cv_upgrade_refuse(status, head, date, &handshake->answer, &closes);
	if (head) /* the next request may be for us */
		cv_buffer_consume(&handshake->app, head->len_bytes);
	handshake->judged_bytes = 0;
	if (!error)
		error = say_answer(session);
	if (error || closes)
		cv_session_finish(session, error ? error : CV_PEER_NO_UPGRADE);
	else
		cv_session_arm(session, HEAD_MS);
}

static void refuse(struct cv_session *session, const struct cv_http_head *head, unsigned status)
{
	const struct cv_transport *transport = session->inbound->transport;

	/* observable: a stranger hears the site behind us; without one, what the original says,
	 * which of HTTPUpgrade is nothing */
	if (session->inbound->fallback_count > 0)
		cv_step_fallback(session, CV_PEER_NO_UPGRADE);
	else if (transport->kind == CV_TRANSPORT_HTTPUPGRADE)
		cv_session_finish(session, CV_PEER_NO_UPGRADE);
	else
		answer_refusal(session, head, status);
}

/* ---- who it is ---------------------------------------------------------------------------- */

static bool is_told_by_trusted(const struct cv_transport *transport,
			       const struct cv_http_head *head)
{
	struct cv_span names = cv_span_of(transport->trusted, strlen(transport->trusted)), name;
	char text[64];

	while (cv_http_list_next(&names, &name)) {
		if (name.len_bytes >= sizeof(text))
			continue;
		memcpy(text, name.data, name.len_bytes);
		text[name.len_bytes] = '\0';
		if (cv_http_field(head, text, NULL))
			return true;
	}
	return false;
}

/* The first of X-Forwarded-For, if whoever stands in front of us shows that it is that. */
static bool read_forwarded(const struct cv_http_head *head, struct cv_sockaddr *ret_source)
{
	const struct cv_http_field *field = cv_http_field(head, "x-forwarded-for", NULL);
	struct cv_span list = field ? field->value : (struct cv_span){0}, first;
	struct cv_destination source;
	char text[64];

	if (!cv_http_list_next(&list, &first) || first.len_bytes >= sizeof(text))
		return false;
	memcpy(text, first.data, first.len_bytes);
	text[first.len_bytes] = '\0';
	return cv_destination_set_text(&source, text, 0) == 0 &&
	       source.kind != CV_ADDRESS_DOMAIN && cv_destination_to_sockaddr(&source, ret_source);
}

/* Source: WebSocket 2.4 */
static int take_forwarded(struct cv_session *session, const struct cv_http_head *head)
{
	struct cv_proxied proxied = {.destination = {.len_bytes = sizeof(proxied.destination.un)}};

	if (!is_told_by_trusted(session->inbound->transport, head))
		return 0;
	if (!read_forwarded(head, &proxied.source)) {
		cv_log(CV_LOG_WARNING, "inbound=%s: X-Forwarded-For is missing or no address",
		       session->inbound->tag);
		return 0;
	}
	if (session->proxied)
		proxied.destination = session->proxied->destination;
	else if (getsockname(session->client.fd, &proxied.destination.any,
			     &proxied.destination.len_bytes) < 0)
		return CV_PEER_RESET;
	if (!session->proxied)
		session->proxied = malloc(sizeof(*session->proxied));
	if (!session->proxied)
		return CV_INTERNAL_MEMORY;
	*session->proxied = proxied;
	return 0;
}

/* ---- whose it is -------------------------------------------------------------------------- */

/* What the transport has let through already is the beginning of the request. */
static void serve(struct cv_session *session)
{
	session->handshake->is_carried = true;
	session->handshake->judged_bytes = 0;
	cv_step_request_begin(session);
}

static int accept_websocket(struct cv_session *session, const struct cv_http_head *head)
{
	struct cv_handshake *handshake = session->handshake;
	char accept[CV_WEBSOCKET_ACCEPT_TEXT + 1];
	struct cv_buffer early;
	struct cv_span echo = {0}, rest;
	int error = cv_websocket_accept(cv_upgrade_key(head), accept);

	cv_buffer_init(&early, CV_UPGRADE_EARLY_MAX + 64);
	if (!error)
		error = cv_upgrade_early(head, &early, &echo);
	if (!error)
		error = cv_upgrade_accept(CV_UPGRADE_WEBSOCKET, accept, echo, &handshake->answer);
	if (!error)
		error = say_answer(session);
	if (!error)
		error = cv_leg_push_layer(&session->client, cv_websocket_server_layer_new());
	/* observable: frames that came ahead of the answer are taken, as most servers do */
	cv_buffer_consume(&handshake->app, head->len_bytes);
	rest = cv_buffer_span(&handshake->app);
	if (!error && rest.len_bytes > 0)
		error = cv_leg_unread(&session->client, rest);
	cv_buffer_consume(&handshake->app, rest.len_bytes);
	if (!error && cv_buffer_len(&early) > 0)
		error = cv_buffer_append(&handshake->app, cv_buffer_bytes(&early),
					 cv_buffer_len(&early));
	cv_buffer_done(&early);
	return error;
}

/* What follows the head, even if it came with it, is the stream. */
static int accept_bare(struct cv_session *session, const struct cv_http_head *head)
{
	struct cv_handshake *handshake = session->handshake;
	int error = cv_upgrade_accept(CV_UPGRADE_BARE, NULL, (struct cv_span){0},
				      &handshake->answer);

	if (!error)
		error = say_answer(session);
	cv_buffer_consume(&handshake->app, head->len_bytes);
	return error;
}

static void judge_http1(struct cv_session *session)
{
	const struct cv_transport *transport = session->inbound->transport;
	const bool is_websocket = transport->kind == CV_TRANSPORT_WEBSOCKET;
	const enum cv_upgrade kind = is_websocket ? CV_UPGRADE_WEBSOCKET : CV_UPGRADE_BARE;
	const struct cv_span bytes = cv_buffer_span(&session->handshake->app);
	struct cv_http_head head;
	unsigned status = 400;
	int result = cv_http_request_head_read(bytes, &head, &status);

	if (result == 0 ? head.len_bytes > CV_UPGRADE_HEAD_MAX
			: result == -EAGAIN && bytes.len_bytes > CV_UPGRADE_HEAD_MAX) {
		refuse(session, NULL, 431);
		return;
	}
	if (result == -EAGAIN)
		return;
	if (result == 0)
		status = cv_upgrade_judge(kind, &head, transport->path, transport->host);
	if (result || status != 101) {
		refuse(session, result ? NULL : &head, status);
		return;
	}
	result = take_forwarded(session, &head);
	if (!result)
		result = is_websocket ? accept_websocket(session, &head)
				      : accept_bare(session, &head);
	if (result)
		cv_session_close(session, result);
	else
		serve(session);
}

/* ---- HTTP/2 ------------------------------------------------------------------------------- */

static void judge_h2(struct cv_session *session)
{
	const bool has_site = session->inbound->fallback_count > 0;
	struct cv_handshake *handshake = session->handshake;
	struct cv_span fresh = cv_buffer_span(&handshake->app);
	int result = handshake->carrier ? 0 : cv_h2_begin(session, has_site);

	cv_span_skip(&fresh, handshake->h2_seen_bytes);
	if (result)
		cv_session_close(session, result);
	else
		result = cv_h2_judge(session, fresh);
	if (session->state != CV_SESSION_EXPECT_TRANSPORT)
		return; /* the carrier it is now has all that was said */
	if (result == 0 && has_site)
		handshake->h2_seen_bytes = cv_buffer_len(&handshake->app);
	else if (result == 0) /* nobody will want to see them again */
		cv_buffer_consume(&handshake->app, cv_buffer_len(&handshake->app));
	handshake->judged_bytes = cv_buffer_len(&handshake->app);
	if (result == 0)
		return;
	cv_carrier_give_up(session, result);
	if (has_site)
		cv_step_fallback(session, CV_PEER_NO_UPGRADE);
	else
		cv_session_finish(session, result);
}

/* ---- the step ----------------------------------------------------------------------------- */

static void judge(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;

	handshake->judged_bytes = cv_buffer_len(&handshake->app);
	if (session->inbound->transport->kind == CV_TRANSPORT_H2)
		judge_h2(session);
	else
		judge_http1(session);
}

/* Half a request, and no more of it: what a web server behind us makes of that is its own affair,
 * and its time to wait is not ours. */
static bool leave_to_site(struct cv_session *session)
{
	if (session->inbound->fallback_count == 0 || cv_buffer_len(&session->handshake->app) == 0)
		return false;
	cv_carrier_give_up(session, CV_PEER_NO_UPGRADE);
	cv_step_fallback(session, CV_PEER_NO_UPGRADE);
	return true;
}

void cv_step_transport_timeout(struct cv_session *session)
{
	if (!leave_to_site(session))
		cv_session_finish(session, CV_PEER_TIMEOUT);
}

void cv_step_transport(struct cv_session *session)
{
	struct cv_leg *client = &session->client;
	struct cv_buffer *app = &session->handshake->app;
	int result = 0;

	while (session->state == CV_SESSION_EXPECT_TRANSPORT && result == 0) {
		if (cv_buffer_len(app) == session->handshake->judged_bytes)
			result = cv_leg_decode(client, app);
		if (cv_buffer_len(app) > session->handshake->judged_bytes)
			judge(session);
	}
	if (session->state != CV_SESSION_EXPECT_TRANSPORT)
		return;
	if (result == CV_LAYER_EOF)
		client->facts |= CV_LEG_APP_ENDED;
	if (result < 0 && result != -EAGAIN)
		cv_session_finish(session, result);
	else if (!(client->facts & (CV_LEG_APP_ENDED | CV_LEG_FIN_RECEIVED)))
		cv_leg_recv(client);
	else if (!leave_to_site(session))
		cv_session_finish(session, cv_buffer_len(app) > 0 ? CV_PEER_TRUNCATED
								 : CV_PEER_CLOSED);
}
