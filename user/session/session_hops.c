// SPDX-License-Identifier: MIT
/*
 * session_hops.c - the servers between us and the destination: one, or several, each dialled
 * through the one before.
 *
 *   dial the first hop -> [TLS or REALITY hello] -> [transport] -> vless, vmess: its layer stays
 *                                  |                socks, http: ask, wait for the answer
 *                                  |             -> next hop, or the destination -> RELAY
 *                                  \ the real site's certificate -> spider, nothing is asked
 *
 * A hop is asked for the next one's address, the last for the destination. Its handshake speaks
 * through the layers of the hops before it. Without any it reads the socket's bytes in place, and
 * what it leaves there is relayed; else it reads what the layers gave (hop_in), and the rest of
 * that goes back to the layer that was just pushed, or to the client.
 *
 * After socks or http no layer is left of the hop: without TLS the leg is clear.
 *
 * For BIND the last hop, socks, listens instead of dialling and answers twice: EXPECT_BACK is
 * between the two answers.
 */
#include "session/carrier.h"
#include "session/datagram_carrier.h"
#include "session/handshake.h"
#include "session/preamble.h"
#include "session/session_front.h"
#include "session/session_probe.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/reason.h"
#include "protocol/vless_layer.h"
#include "protocol/vmess_layer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HOP_MS 16000 /* of one hello or answer; with several attempts less: cv_retry.connect_ms */
#define HOP_IN_ENOUGH (96 * 1024)

static const uint8_t reality_client_version[3] = {26, 7, 28}; /* REALITY 12.2: at least 26.3.27 */

static void begin_hop(struct cv_session *session, const struct cv_outbound *hop);

/* ---- the way ------------------------------------------------------------------------------ */

static const struct cv_outbound *first_hop(const struct cv_session *session)
{
	const struct cv_outbound *hop = session->outbound;

	while (hop->via)
		hop = hop->via;
	return hop;
}

/* NULL: behind the present one is the destination. */
static const struct cv_outbound *next_hop(const struct cv_session *session)
{
	const struct cv_outbound *hop = session->outbound;

	if (hop == session->handshake->hop)
		return NULL;
	while (hop->via != session->handshake->hop)
		hop = hop->via;
	return hop;
}

/* What the present hop is asked for. */
static const struct cv_destination *asked_for(const struct cv_session *session)
{
	const struct cv_outbound *next = next_hop(session);

	return next ? &next->server : &session->handshake->destination;
}

static void lost(struct cv_session *session, int reason)
{
	struct cv_handshake *handshake = session->handshake;
	const bool is_final = reason == CV_UPSTREAM_CERTIFICATE ||
			      reason == CV_UPSTREAM_CREDENTIALS;
	const char *more = reason == CV_UPSTREAM_CERTIFICATE
				   ? cv_tls_client_error_text(handshake->tls_client)
				   : "";

	cv_log(is_final ? CV_LOG_ERROR : CV_LOG_WARNING, "outbound=%s: %s (%s)%s%s",
	       handshake->hop->tag, cv_reason_label(reason), cv_reason_text(reason),
	       *more ? ": " : "", more);
	cv_probe_end(handshake, 0);
	if (reason == CV_UPSTREAM_REAL_CERTIFICATE) {
		cv_carrier_give_up(session, reason);
		cv_udp_carrier_leave(session, reason); /* the spider takes its time */
		cv_step_spider_begin(session);
	} else {
		cv_upstream_lost(session, reason);
	}
}

/* ---- bytes of a handshake ----------------------------------------------------------------- */

/* Where the present hop's handshake reads. */
static struct cv_buffer *hop_input(struct cv_session *session)
{
	return session->upstream.stack ? &session->handshake->hop_in : &session->upstream.in;
}

/* -EAGAIN: nothing more just now; CV_LAYER_EOF; or a layer's reason. */
static int fill_input(struct cv_session *session)
{
	struct cv_buffer *in = &session->handshake->hop_in;
	int result = session->upstream.stack ? 0 : -EAGAIN;

	while (result == 0 && cv_buffer_len(in) < HOP_IN_ENOUGH)
		result = cv_leg_decode(&session->upstream, in);
	return result;
}

static int say(struct cv_session *session, struct cv_buffer *output)
{
	const int error = cv_leg_encode(&session->upstream, cv_buffer_span(output));

	cv_buffer_consume(output, cv_buffer_len(output));
	return error;
}

/* Pushes a layer that has to see what is left of the hop's input. */
static int push_layer(struct cv_session *session, struct cv_layer *layer)
{
	struct cv_buffer *rest = &session->handshake->hop_in;
	int error = cv_leg_push_layer(&session->upstream, layer);

	if (!error && cv_buffer_len(rest) > 0)
		error = cv_leg_unread(&session->upstream, cv_buffer_span(rest));
	cv_buffer_consume(rest, cv_buffer_len(rest));
	return error;
}

static void wait_for_answer(struct cv_session *session, enum cv_session_state state)
{
	session->state = state;
	cv_session_arm(session, cv_upstream_left_ms(session, HOP_MS));
}

/* ---- protocols ---------------------------------------------------------------------------- */

/* A server that speaks first may have done so behind its proxy's answer. */
static int pass_rest_to_client(struct cv_session *session)
{
	struct cv_buffer *rest = &session->handshake->hop_in;
	const size_t rest_bytes = cv_buffer_len(rest);
	const int error = rest_bytes ? cv_front_upstream_said(session, cv_buffer_span(rest)) : 0;

	session->user_moved_bytes[CV_DOWNLINK] += rest_bytes;
	cv_buffer_consume(rest, rest_bytes);
	return error;
}

/* BND of the proxy's reply, or the best there is instead of it. */
static int tell_bound(struct cv_session *session, bool is_first)
{
	struct cv_handshake *handshake = session->handshake;
	struct cv_destination bound = handshake->socks5_client.bound;
	const uint16_t port = bound.port;
	struct cv_sockaddr proxy = {.len_bytes = sizeof(proxy.un)};

	if (is_first && cv_destination_is_any(&bound) &&
	    (getpeername(session->upstream.fd, &proxy.any, &proxy.len_bytes) < 0 ||
	     !cv_sockaddr_to_destination(&proxy, &bound)))
		return CV_UPSTREAM_RESET;
	if (bound.kind == CV_ADDRESS_NONE)
		bound.kind = CV_ADDRESS_IPV4;
	bound.port = port;
	if (!is_first)
		cv_session_name_destination(session, &bound, NULL);
	const int error = cv_socks5_server_reply_bound(&bound, &handshake->answer);

	return error ? error : cv_front_say(session);
}

/* BIND: the proxy listens; its second answer says who came. */
static void wait_for_comer(struct cv_session *session)
{
	const int error = tell_bound(session, true);

	if (error) {
		cv_session_close(session, error);
		return;
	}
	cv_socks5_client_await(&session->handshake->socks5_client);
	session->state = CV_SESSION_EXPECT_BACK;
	cv_session_arm(session, CV_BIND_WAIT_MS);
}

/* Its request waits for the first bytes, to go out with them. */
static bool holds_header(const struct cv_outbound *hop)
{
	return hop->protocol == CV_OUTBOUND_VLESS || hop->protocol == CV_OUTBOUND_VMESS;
}

static void hop_ready(struct cv_session *session)
{
	const struct cv_outbound *next = next_hop(session);
	int error;

	if (next) {
		begin_hop(session, next);
		return;
	}
	cv_upstream_found(session);
	if (session->handshake->is_bind) {
		wait_for_comer(session);
		return;
	}
	session->header_held = holds_header(session->handshake->hop);
	error = cv_front_accepted(session);
	if (!error)
		error = pass_rest_to_client(session);
	if (error)
		cv_session_close(session, error);
	else
		cv_session_relay(session);
}

/* Of ours, that is: a reverse tunnel is a stream like any other to the server. */
static bool is_for_carrier(const struct cv_session *session)
{
	const struct cv_carrier *carrier = session->handshake->carrier;

	return carrier && !next_hop(session) &&
	       cv_carrier_settings(carrier)->role == CV_CARRIER_CLIENT;
}

/* Never another one than was configured: nobody on the way may choose it. */
static uint8_t version_for(const struct cv_session *session, const struct cv_outbound *hop)
{
	uint8_t version;
	bool is_news;

	if (!hop->versions)
		return hop->version == CV_VLESS_1;
	version = cv_vless_versions_pick(hop->versions, cv_ring_now_ms(session->worker->ring),
					 &is_news);
	if (is_news)
		cv_log(CV_LOG_WARNING, "outbound=%s: the server closes on VLESS version 1 and "
				       "answers version 0, which is used for an hour",
		       hop->tag);
	return version;
}

static void ask_vless(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	const struct cv_outbound *hop = handshake->hop;
	struct cv_vless_request request = {
		.version = version_for(session, hop),
		.flow = hop->vision ? CV_FLOW_VISION : CV_FLOW_NONE,
		.command = is_for_carrier(session) ? CV_VLESS_MUX : CV_VLESS_TCP,
		.destination = *asked_for(session),
	};
	struct cv_layer *layer;
	int error;

	memcpy(request.uuid, hop->uuid, CV_UUID_LEN);
	if (cv_udp_carrier_is(session) && !next_hop(session))
		cv_udp_carrier_request(session, &request);
	if (request.version != 0 && request.destination.port == 0) {
		lost(session, CV_PEER_ADDRESS);
		return;
	}
	layer = cv_vless_client_layer_new(&request, NULL);
	if (layer && hop->versions)
		cv_vless_client_layer_watch(layer, hop->versions);
	error = push_layer(session, layer);
	if (error)
		cv_session_close(session, error);
	else
		hop_ready(session);
}

/* What VLESS would be asked for. */
static void set_vmess_command(const struct cv_session *session, struct cv_vmess_request *request)
{
	struct cv_vless_request same = {.command = CV_VLESS_TCP,
					.destination = *asked_for(session)};

	if (is_for_carrier(session))
		same.command = CV_VLESS_MUX;
	if (cv_udp_carrier_is(session) && !next_hop(session))
		cv_udp_carrier_request(session, &same);
	request->destination = same.destination;
	request->command = same.command == CV_VLESS_UDP	  ? CV_VMESS_UDP
			   : same.command == CV_VLESS_MUX ? CV_VMESS_MUX
							  : CV_VMESS_TCP;
}

static struct cv_layer *new_vmess_layer(const struct cv_session *session)
{
	const struct cv_outbound *hop = session->handshake->hop;
	struct cv_vmess_request request = {
		.options = CV_VMESS_CHUNKS | CV_VMESS_MASKING,
		.cipher = (enum cv_vmess_cipher)hop->vmess_cipher,
	};
	uint8_t command_key[CV_VMESS_KEY];
	struct cv_layer *layer = NULL;

	set_vmess_command(session, &request);
	if (request.cipher != CV_VMESS_NONE)
		request.options |= CV_VMESS_PADDING;
	if (cv_vmess_command_key(hop->uuid, command_key) == 0 &&
	    cv_vmess_request_make(&request) == 0)
		layer = cv_vmess_client_layer_new(&request, command_key,
						  (uint64_t)cv_clock_wall_ms() / 1000);
	cv_cleanse(command_key, sizeof(command_key));
	cv_cleanse(&request, sizeof(request));
	return layer;
}

static void ask_vmess(struct cv_session *session)
{
	const int error = push_layer(session, new_vmess_layer(session));

	if (error)
		cv_session_close(session, error);
	else
		hop_ready(session);
}

static void ask_proxy(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	const struct cv_outbound *hop = handshake->hop;
	int error;

	handshake->http_connect = (struct cv_http_connect){0};
	if (hop->protocol == CV_OUTBOUND_SOCKS && handshake->is_bind && !next_hop(session))
		error = cv_socks5_client_bind(&handshake->socks5_client, asked_for(session),
					      hop->proxy_user, hop->proxy_password,
					      &handshake->hop_out);
	else if (hop->protocol == CV_OUTBOUND_SOCKS)
		error = cv_socks5_client_start(&handshake->socks5_client, asked_for(session),
					       hop->proxy_user, hop->proxy_password,
					       &handshake->hop_out);
	else
		error = cv_http_connect_write(asked_for(session), hop->proxy_user,
					      hop->proxy_password, hop->headers,
					      &handshake->hop_out);
	if (!error)
		error = say(session, &handshake->hop_out);
	if (error)
		lost(session, error);
	else
		wait_for_answer(session, CV_SESSION_EXPECT_UPSTREAM_PROXY);
}

static void ask(struct cv_session *session)
{
	if (session->handshake->hop->protocol == CV_OUTBOUND_VLESS)
		ask_vless(session);
	else if (session->handshake->hop->protocol == CV_OUTBOUND_VMESS)
		ask_vmess(session);
	else
		ask_proxy(session);
}

static int read_answer(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	struct cv_buffer *in = hop_input(session);
	size_t used_bytes = 0;
	int result, error;

	if (cv_buffer_len(in) == 0)
		return -EAGAIN;
	if (handshake->hop->protocol == CV_OUTBOUND_SOCKS)
		result = cv_socks5_client_read(&handshake->socks5_client, cv_buffer_span(in),
					       &handshake->hop_out, &used_bytes);
	else
		result = cv_http_connect_read(&handshake->http_connect, cv_buffer_span(in),
					      &used_bytes);
	cv_buffer_consume(in, used_bytes);
	error = say(session, &handshake->hop_out);
	return error ? error : result;
}

/* ---- transport ---------------------------------------------------------------------------- */

/* The name for TLS, else the address, where no other is configured. */
static void name_host(const struct cv_outbound *hop, char text[CV_DESTINATION_TEXT])
{
	if (hop->security != CV_SECURITY_NONE && hop->server_name && hop->server_name[0]) {
		snprintf(text, CV_DESTINATION_TEXT, "%s", hop->server_name);
		return;
	}
	cv_destination_format(&hop->server, text);
	*strrchr(text, ':') = '\0';
}

static void begin_transport(struct cv_session *session)
{
	const struct cv_outbound *hop = session->handshake->hop;
	char host[CV_DESTINATION_TEXT];
	const struct cv_transport_place place = {
		.host = host,
		.fingerprint = hop->fingerprint,
		.is_tls = hop->security != CV_SECURITY_NONE,
	};
	int error;

	if (!hop->transport) {
		ask(session);
		return;
	}
	name_host(hop, host);
	error = push_layer(session, cv_transport_client_layer_new(hop->transport, &place));
	if (!error)
		error = cv_leg_start(&session->upstream);
	if (error) {
		lost(session, error);
	} else if (cv_leg_is_opening(&session->upstream)) {
		session->state = CV_SESSION_EXPECT_UPSTREAM_TRANSPORT;
		cv_session_arm(session, cv_upstream_left_ms(session, CV_TRANSPORT_OPEN_MS));
	} else {
		ask(session);
	}
}

/* ---- TLS ---------------------------------------------------------------------------------- */

static int new_tls_client(struct cv_session *session)
{
	const struct cv_outbound *hop = session->handshake->hop;
	struct cv_reality_client_config reality = {.mldsa_public = hop->mldsa_public};
	struct cv_tls_client_config config = {
		.server_name = hop->server_name,
		.fingerprint = hop->fingerprint,
		.alpn = (const char *const *)hop->alpn,
		.trust = hop->trust,
		.allow_insecure = hop->allow_insecure,
	};

	memcpy(reality.server_public, hop->reality_public, sizeof(reality.server_public));
	memcpy(reality.short_id, hop->short_id, sizeof(reality.short_id));
	memcpy(reality.version, reality_client_version, sizeof(reality.version));
	if (hop->security == CV_SECURITY_REALITY)
		config.reality = &reality;
	session->handshake->tls_client = cv_tls_client_new(&config, cv_clock_wall_ms());
	return session->handshake->tls_client ? 0 : CV_INTERNAL_CRYPTO;
}

static void begin_tls(struct cv_session *session)
{
	int error = new_tls_client(session);

	if (!error)
		error = say(session, cv_tls_client_output(session->handshake->tls_client));
	if (error)
		cv_upstream_lost(session, error);
	else
		wait_for_answer(session, CV_SESSION_EXPECT_UPSTREAM_HELLO);
}

static int read_hello(struct cv_session *session)
{
	struct cv_tls_client *client = session->handshake->tls_client;
	struct cv_buffer *buffer = hop_input(session);
	struct cv_span in = cv_buffer_span(buffer);
	const size_t before = in.len_bytes;
	const int result = before ? cv_tls_client_read(client, &in) : -EAGAIN;
	const int error = say(session, cv_tls_client_output(client));

	cv_buffer_consume(buffer, before - in.len_bytes);
	return error ? error : result;
}

static void tls_ready(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	const char *key_log = handshake->hop->key_log_path;
	int error;

	if (key_log && key_log[0])
		cv_session_key_log(key_log, cv_tls_client_key_log(handshake->tls_client));
	error = push_layer(session, cv_tls_client_take_layer(handshake->tls_client));
	if (error)
		cv_upstream_lost(session, error);
	else
		begin_transport(session);
}

/* ---- hops --------------------------------------------------------------------------------- */

static void begin_hop(struct cv_session *session, const struct cv_outbound *hop)
{
	struct cv_handshake *handshake = session->handshake;

	handshake->hop = hop;
	cv_tls_client_free(handshake->tls_client);
	handshake->tls_client = NULL;
	if (hop->security == CV_SECURITY_NONE)
		begin_transport(session);
	else
		begin_tls(session);
}

static void connected(void *owner, int fd, int reason)
{
	struct cv_session *session = owner;

	session->handshake->connector = NULL;
	if (fd < 0) {
		lost(session, reason);
	} else {
		session->upstream.fd = fd;
		begin_hop(session, session->handshake->hop);
	}
	cv_session_event(session, NULL, 0);
}

void cv_hops_dial(struct cv_session *session, uint32_t timeout_ms)
{
	const struct cv_outbound *hop = first_hop(session);

	session->state = CV_SESSION_CONNECT_UPSTREAM;
	session->handshake->hop = hop;
	cv_session_connect_within(session, timeout_ms, &hop->server, NULL, hop->strategy,
				  connected);
}

/* Why no answer came, or -EAGAIN: it may still. */
static int end_of_answers(const struct cv_leg *upstream, int filled)
{
	if (filled < 0 && filled != -EAGAIN)
		return filled;
	if (upstream->facts & CV_LEG_RESET)
		return CV_UPSTREAM_RESET;
	if (filled == CV_LAYER_EOF || (upstream->facts & CV_LEG_FIN_RECEIVED))
		return CV_UPSTREAM_CLOSED;
	return -EAGAIN;
}

/* 0: what the state waits for has come; -EAGAIN; or why it will not. */
static int read_more(struct cv_session *session)
{
	if (session->state == CV_SESSION_EXPECT_UPSTREAM_HELLO)
		return read_hello(session);
	if (session->state == CV_SESSION_EXPECT_UPSTREAM_TRANSPORT)
		return cv_leg_is_opening(&session->upstream) ? -EAGAIN : 0;
	return read_answer(session);
}

static bool waits(const struct cv_session *session)
{
	return session->state == CV_SESSION_EXPECT_UPSTREAM_HELLO ||
	       session->state == CV_SESSION_EXPECT_UPSTREAM_TRANSPORT ||
	       session->state == CV_SESSION_EXPECT_UPSTREAM_PROXY;
}

void cv_step_hop(struct cv_session *session)
{
	int filled, result = 0;

	while (waits(session) && result == 0) {
		const uint8_t state = session->state;

		filled = fill_input(session);
		result = read_more(session);
		if (result == -EAGAIN)
			result = end_of_answers(&session->upstream, filled);
		if (result)
			break;
		if (state == CV_SESSION_EXPECT_UPSTREAM_HELLO)
			tls_ready(session);
		else if (state == CV_SESSION_EXPECT_UPSTREAM_TRANSPORT)
			ask(session);
		else
			hop_ready(session);
	}
	if (result == -EAGAIN)
		cv_leg_recv(&session->upstream);
	else if (result)
		lost(session, result);
}

void cv_step_hop_back(struct cv_session *session)
{
	const int filled = fill_input(session);
	int result = read_answer(session);

	if (result == -EAGAIN)
		result = end_of_answers(&session->upstream, filled);
	if (result == -EAGAIN) {
		cv_leg_recv(&session->upstream);
		return;
	}
	if (!result)
		result = tell_bound(session, false);
	if (!result)
		result = pass_rest_to_client(session);
	if (result)
		cv_session_refuse(session, result);
	else
		cv_session_relay(session);
}
