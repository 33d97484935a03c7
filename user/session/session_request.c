// SPDX-License-Identifier: MIT
/*
 * session_request.c - outer TLS (libssl) of any inbound, then what a VLESS inbound reads first: the
 * request header.
 *
 *   [EXPECT_TLS] -> EXPECT_REQUEST  decrypted bytes collect in handshake.app: a whole header
 *     user known, flow and command fit -> VLESS layer on the client leg, bytes behind the header go
 *                                         back to it; ROUTE
 *     not VLESS, or unknown user       -> fallback with every byte read (VLESS 6, 7), or close
 *   EXPECT_MUX  command 3 has no destination: 7 bytes out of all layers, in handshake.app
 *     XUDP -> VLESS_UDP; anything else -> CARRIER
 *
 * Errors after the user is known close; only "version" and "user" lead to a fallback, and in
 * version 1 whatever cannot be read (VLESS v1 16).
 */
#include "session/carrier.h"
#include "session/handshake.h"
#include "session/preamble.h"
#include "session/session_edge.h"
#include "session/session_front.h"
#include "session/session_limits.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/log.h"
#include "base/reason.h"
#include "policy/fallback.h"
#include "protocol/vless_layer.h"
#include "wire/vless_v1.h"
#include "wire/xudp.h"

#include <errno.h>
#include <stdio.h>

#define FALLBACK_DIALS 5
#define FALLBACK_PAUSE_MS 100 /* times the number of failures (VLESS 7 step 5) */
#define VLESS_DECISIVE 18 /* with fallbacks a shorter first chunk is not VLESS (VLESS 6 step 4) */

/* ---- outer TLS ---------------------------------------------------------------------------- */

void cv_step_tls_begin(struct cv_session *session)
{
	session->handshake->tls_server = cv_tls_server_new(session->inbound->tls);
	if (!session->handshake->tls_server) {
		cv_session_close(session, CV_INTERNAL_MEMORY);
		return;
	}
	session->state = CV_SESSION_EXPECT_TLS;
	if (!cv_front_serves(session->inbound))
		cv_session_arm(session, cv_session_level(session)->handshake_ms);
	else
		cv_front_arm(session);
	cv_leg_recv(&session->client);
}

static int move_tls_output(struct cv_session *session)
{
	struct cv_buffer *output = cv_tls_server_output(session->handshake->tls_server);
	int error = cv_buffer_append(&session->client.out, cv_buffer_bytes(output),
				     cv_buffer_len(output));

	cv_buffer_consume(output, cv_buffer_len(output));
	return error;
}

static void tls_established(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	int error;

	snprintf(handshake->server_name, sizeof(handshake->server_name), "%s",
		 cv_tls_server_sni(handshake->tls_server));
	snprintf(handshake->alpn, sizeof(handshake->alpn), "%s",
		 cv_tls_server_alpn(handshake->tls_server));
	handshake->outer_is_tls13 = cv_tls_server_is_tls13(handshake->tls_server);
	error = cv_leg_push_layer(&session->client,
				  cv_tls_server_take_layer(handshake->tls_server));
	if (error)
		cv_session_close(session, error);
	else if (cv_front_serves(session->inbound))
		cv_front_begin(session);
	else
		cv_step_transport_begin(session);
}

void cv_step_tls(struct cv_session *session)
{
	struct cv_leg *client = &session->client;
	const bool held = cv_buffer_len(&client->in) > 0 && cv_edge_holds(session);
	struct cv_span in = cv_buffer_span(&client->in);
	size_t before = held ? 0 : in.len_bytes;
	int result = before ? cv_tls_server_read(session->handshake->tls_server, &in) : -EAGAIN;
	int error = move_tls_output(session);

	if (before)
		cv_buffer_consume(&client->in, before - in.len_bytes);
	if (error)
		cv_session_close(session, error);
	else if (result == 0)
		tls_established(session);
	else if (result != -EAGAIN)
		cv_session_finish(session, result);
	else if (client->facts & CV_LEG_FIN_RECEIVED)
		cv_session_close(session, CV_PEER_CLOSED);
	else
		cv_leg_recv(client);
}

/* ---- fallback ----------------------------------------------------------------------------- */

/* Inside a transport no web server is expected any more: nobody but us would have agreed to it. */
static bool has_fallbacks(const struct cv_session *session)
{
	return session->inbound->fallback_count > 0 && !session->handshake->is_carried;
}

/* A web server that restarts refuses for a moment only; what does not answer will not either. */
static bool dials_again(struct cv_session *session, int reason)
{
	unsigned failures = ++session->handshake->fallback_failures;

	if (failures >= FALLBACK_DIALS ||
	    (reason != CV_UPSTREAM_REFUSED && reason != CV_UPSTREAM_RESET))
		return false;
	cv_session_arm(session, failures * FALLBACK_PAUSE_MS);
	return true;
}

static void fallback_connected(void *owner, int fd, int reason)
{
	struct cv_session *session = owner;
	struct cv_handshake *handshake = session->handshake;
	int error;

	handshake->connector = NULL;
	if (fd < 0) {
		if (!dials_again(session, reason))
			cv_session_finish(session, reason);
		cv_session_event(session, NULL, 0);
		return;
	}
	session->upstream.fd = fd;
	error = cv_session_proxy_header(session, handshake->fallback->xver);
	if (!error)
		error = cv_buffer_append(&session->upstream.out, cv_buffer_bytes(&handshake->app),
					 cv_buffer_len(&handshake->app));
	session->user_moved_bytes[CV_UPLINK] += cv_buffer_len(&handshake->app);
	session->is_fallback = true;
	if (error)
		cv_session_close(session, error);
	else
		cv_session_relay(session);
	cv_session_event(session, NULL, 0);
}

void cv_step_fallback_dial(struct cv_session *session)
{
	const struct cv_fallback *fallback = session->handshake->fallback;
	bool is_unix = fallback->unix_address.len_bytes > 0;

	cv_session_connect(session, is_unix ? NULL : &fallback->destination,
			   is_unix ? &fallback->unix_address : NULL, CV_RESOLVE_ANY,
			   fallback_connected);
}

void cv_step_fallback(struct cv_session *session, int reason)
{
	struct cv_handshake *handshake = session->handshake;
	const struct cv_fallback *fallback = NULL;
	bool is_unix;

	if (has_fallbacks(session))
		fallback = cv_fallback_pick(session->inbound, handshake->server_name,
					    handshake->alpn, cv_buffer_span(&handshake->app));
	cv_log(CV_LOG_INFO, "inbound=%s %s: %s (%s)", session->inbound->tag,
	       fallback ? "goes to fallback" : "closed, no fallback", cv_reason_label(reason),
	       cv_reason_text(reason));
	if (!fallback) {
		cv_session_finish(session, reason);
		return;
	}
	cv_worker_count(session->worker, reason);
	is_unix = fallback->unix_address.len_bytes > 0;
	handshake->fallback = fallback;
	session->state = CV_SESSION_CONNECT_UPSTREAM;
	cv_session_name_destination(session, is_unix ? NULL : &fallback->destination,
				    is_unix ? &fallback->unix_address : NULL);
	cv_step_fallback_dial(session);
}

/* ---- VLESS request ------------------------------------------------------------------------ */

void cv_step_request_begin(struct cv_session *session)
{
	session->state = CV_SESSION_EXPECT_REQUEST;
	cv_session_arm(session, cv_session_level(session)->handshake_ms);
	cv_leg_recv(&session->client);
}

/* The flow matrix of VLESS 6 step 8. @first: what came behind the header. */
static bool flow_fits(const struct cv_session *session, const struct cv_vless_request *request,
		      const struct cv_user *user, struct cv_span first)
{
	const bool outer_fits = (session->inbound->security == CV_SECURITY_REALITY ||
				 session->handshake->outer_is_tls13) &&
				!session->inbound->transport;

	if (request->flow == CV_FLOW_VISION)
		return user->vision && outer_fits && request->command != CV_VLESS_UDP;
	if (request->flow == CV_FLOW_OTHER)
		return false;
	return !user->vision || request->command == CV_VLESS_UDP ||
	       (request->command == CV_VLESS_MUX && cv_xudp_is(first));
}

static int check_request(const struct cv_session *session, const struct cv_vless_request *request,
			 const struct cv_user *user, struct cv_span first)
{
	if (!user->enabled)
		return CV_POLICY_USER_DISABLED;
	if (!flow_fits(session, request, user, first))
		return CV_PEER_FLOW;
	return request->command == CV_VLESS_RVS ? CV_PEER_COMMAND : 0;
}

bool cv_step_request_layer(struct cv_session *session, struct cv_layer *layer, size_t header_bytes)
{
	struct cv_buffer *app = &session->handshake->app;
	int error = cv_leg_push_layer(&session->client, layer);
	struct cv_span rest;

	cv_buffer_consume(app, header_bytes);
	rest = cv_buffer_span(app);
	if (!error)
		error = cv_leg_unread(&session->client, rest);
	cv_buffer_consume(app, rest.len_bytes);
	if (error)
		cv_session_close(session, error);
	return error == 0;
}

static void accept_request(struct cv_session *session, size_t header_bytes)
{
	struct cv_handshake *handshake = session->handshake;
	const uint32_t *seed = session->user->vision_seed[0] ? session->user->vision_seed : NULL;

	if (!cv_step_request_layer(session, cv_vless_server_layer_new(&handshake->request, seed),
				   header_bytes))
		return;
	handshake->destination = handshake->request.destination;
	switch (handshake->request.command) {
	case CV_VLESS_UDP:
		cv_step_vless_udp_begin(session);
		break;
	case CV_VLESS_MUX:
		session->state = CV_SESSION_EXPECT_MUX;
		cv_session_arm(session, cv_session_level(session)->handshake_ms);
		break;
	default:
		if (cv_mux_is_asked_for(&handshake->destination))
			cv_mux_serve(session, handshake->request.uuid, session->user->vision);
		else
			cv_step_target(session);
		break;
	}
}

static bool serves_version(const struct cv_inbound *inbound, uint8_t version)
{
	return inbound->version == CV_VLESS_0_OR_1 ? version <= 1 : version == inbound->version;
}

static int read_request(struct cv_span bytes, struct cv_vless_request *ret_request,
			size_t *ret_header_bytes)
{
	return bytes.data[0] == 0
		       ? cv_vless_request_read(bytes, ret_request, ret_header_bytes)
		       : cv_vless_v1_request_read(bytes, ret_request, ret_header_bytes);
}

static void judge_request(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	struct cv_span bytes = cv_buffer_span(&handshake->app);
	const bool is_served = serves_version(session->inbound, bytes.data[0]);
	struct cv_user *user;
	size_t header_bytes;
	int result;

	if (has_fallbacks(session) && bytes.len_bytes < VLESS_DECISIVE) {
		cv_step_fallback(session, CV_PEER_DECODE);
		return;
	}
	/* observable: where version 0 alone is served the first byte decides, as it does in every
	 * server of that version. Else it must not tell which versions are served: the version
	 * counts when the id is there, and a wrong one is met like a wrong id. */
	if (!is_served && session->inbound->version == CV_VLESS_0) {
		cv_step_fallback(session, CV_PEER_PROTOCOL_VERSION);
		return;
	}
	if (bytes.len_bytes <= CV_UUID_LEN)
		return;
	user = cv_user_find_uuid(session->inbound->users, bytes.data + 1);
	if (!is_served || !user) {
		cv_step_fallback(session,
				 is_served ? CV_PEER_UNKNOWN_USER : CV_PEER_PROTOCOL_VERSION);
		return;
	}
	result = read_request(bytes, &handshake->request, &header_bytes);
	if (result == -EAGAIN)
		return;
	if (result && bytes.data[0] != 0) { /* VLESS v1 16 */
		cv_step_fallback(session, result);
		return;
	}
	if (result == 0)
		result = check_request(session, &handshake->request, user,
				       cv_span_of(bytes.data + header_bytes,
						  bytes.len_bytes - header_bytes));
	/* observable: whoever has reached a limit is closed on like whoever is disabled, without
	 * fallback: the request shows a good id, which is not for a web server's log. Only holders
	 * of such an id can tell this from an unknown one. */
	if (result == 0)
		result = cv_limits_admit(session, user);
	if (result) {
		cv_log(CV_LOG_WARNING, "inbound=%s user=%s: %s (%s)", session->inbound->tag,
		       user && user->email[0] ? user->email : "-", cv_reason_label(result),
		       cv_reason_text(result));
		cv_session_finish(session, result);
		return;
	}
	accept_request(session, header_bytes);
}

static void step_vless(struct cv_session *session)
{
	struct cv_leg *client = &session->client;
	struct cv_buffer *app = &session->handshake->app;
	int result = 0;

	while (session->state == CV_SESSION_EXPECT_REQUEST && result == 0) {
		if (cv_buffer_len(app) == session->handshake->judged_bytes)
			result = cv_leg_decode(client, app);
		if (cv_buffer_len(app) > session->handshake->judged_bytes) {
			session->handshake->judged_bytes = cv_buffer_len(app);
			judge_request(session);
		}
	}
	if (session->state != CV_SESSION_EXPECT_REQUEST)
		return;
	if (result < 0 && result != -EAGAIN)
		cv_session_finish(session, result);
	else if (result == CV_LAYER_EOF || (client->facts & CV_LEG_FIN_RECEIVED))
		cv_session_finish(session, cv_buffer_len(app) + cv_leg_undecoded(client) > 0
						   ? CV_PEER_TRUNCATED
						   : CV_PEER_CLOSED);
	else
		cv_leg_recv(client);
}

/* ---- command 3 ---------------------------------------------------------------------------- */

static void choose_mux(struct cv_session *session)
{
	if (cv_xudp_is(cv_buffer_span(&session->handshake->app)))
		cv_step_vless_udp_begin(session);
	else
		cv_mux_serve(session, session->handshake->request.uuid, session->user->vision);
}

void cv_step_mux(struct cv_session *session)
{
	struct cv_leg *client = &session->client;
	struct cv_buffer *app = &session->handshake->app;
	int result = 0;

	while (result == 0 && cv_buffer_len(app) < CV_XUDP_PEEK_BYTES)
		result = cv_leg_decode(client, app);
	if (cv_buffer_len(app) >= CV_XUDP_PEEK_BYTES)
		choose_mux(session);
	else if (result < 0 && result != -EAGAIN)
		cv_session_finish(session, result);
	else if (result == CV_LAYER_EOF || (client->facts & CV_LEG_FIN_RECEIVED))
		cv_session_finish(session, CV_PEER_TRUNCATED);
	else
		cv_leg_recv(client);
}

void cv_step_request(struct cv_session *session)
{
	if (session->inbound->protocol == CV_INBOUND_VMESS)
		cv_step_vmess(session);
	else
		step_vless(session);
}
