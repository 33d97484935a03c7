// SPDX-License-Identifier: MIT
/*
 * session_vmess.c - what a VMess inbound reads first: the request header.
 *
 *   EXPECT_REQUEST: 16 bytes -> whose? -> header whole and unbroken, not seen before, allowed
 *                      |                    -> VMess layer on the client leg, ROUTE
 *                      \-> nobody's, or broken -> all that comes is thrown away, until the time for
 *                                                 a request is over
 *
 * observable: whoever does not know an id meets a server that takes what it is given and says
 * nothing, and closes when a client that never finished its header would be closed on. A replayed
 * header, whole or changed, meets the same.
 */
#include "session/carrier.h"
#include "session/handshake.h"
#include "session/session_limits.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/reason.h"
#include "crypto/crypto.h"
#include "policy/replay_cache.h"
#include "policy/vmess_users.h"
#include "protocol/vmess_layer.h"

#include <errno.h>
#include <string.h>

static void throw_away_from_now_on(struct cv_session *session, const struct cv_user *user,
				   int reason)
{
	struct cv_buffer *app = &session->handshake->app;

	cv_log(user ? CV_LOG_WARNING : CV_LOG_INFO, "inbound=%s user=%s: %s (%s)",
	       session->inbound->tag, user && user->email[0] ? user->email : "-",
	       cv_reason_label(reason), cv_reason_text(reason));
	session->handshake->refused = reason;
	cv_buffer_consume(app, cv_buffer_len(app));
}

static bool was_seen(struct cv_session *session, struct cv_span header, uint64_t now_ms)
{
	uint8_t id[32] = {0}, nothing[32] = {0};

	memcpy(id, header.data, CV_VMESS_AUTH_ID);
	return cv_replay_cache_seen(session->inbound->vmess_replay, id, nothing, now_ms);
}

/* 0, or why not. */
static int check(struct cv_session *session, struct cv_span header, uint64_t now_ms)
{
	struct cv_user *user = session->handshake->vmess_user;

	if (was_seen(session, header, now_ms))
		return CV_PEER_REPLAY;
	if (!user->enabled)
		return CV_POLICY_USER_DISABLED;
	return cv_limits_admit(session, user);
}

/* From here on it is as if VLESS had asked for it. */
static void go_on(struct cv_session *session, const struct cv_vmess_request *request)
{
	struct cv_vless_request *same = &session->handshake->request;

	*same = (struct cv_vless_request){.command = CV_VLESS_TCP,
					  .destination = request->destination};
	memcpy(same->uuid, session->user->uuid, sizeof(same->uuid));
	switch (request->command) {
	case CV_VMESS_UDP:
		same->command = CV_VLESS_UDP;
		cv_step_vless_udp_begin(session);
		break;
	case CV_VMESS_MUX:
		same->command = CV_VLESS_MUX;
		session->state = CV_SESSION_EXPECT_MUX;
		cv_session_arm(session, cv_session_level(session)->handshake_ms);
		break;
	case CV_VMESS_TCP:
		if (cv_mux_is_asked_for(&request->destination))
			cv_mux_serve(session, same->uuid, false);
		else
			cv_step_target(session);
		break;
	}
}

static void accept_request(struct cv_session *session, const struct cv_vmess_request *request,
			   size_t header_bytes)
{
	if (!cv_step_request_layer(session, cv_vmess_server_layer_new(request), header_bytes))
		return;
	session->handshake->destination = request->destination;
	go_on(session, request);
}

/* Once only, when its first bytes are there. */
static int find_user(struct cv_session *session, struct cv_span bytes, uint64_t now_ms)
{
	struct cv_handshake *handshake = session->handshake;

	if (handshake->vmess_user)
		return 0;
	if (bytes.len_bytes < CV_VMESS_AUTH_ID)
		return -EAGAIN;
	return cv_vmess_keys_find(session->inbound->vmess, bytes.data, now_ms / 1000,
				  &handshake->vmess_user, handshake->vmess_key);
}

static void judge(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	const struct cv_span bytes = cv_buffer_span(&handshake->app);
	const uint64_t now_ms = cv_clock_wall_ms();
	struct cv_vmess_request request = {.options = 0};
	size_t header_bytes = 0;
	int result;

	if (handshake->refused) {
		cv_buffer_consume(&handshake->app, bytes.len_bytes);
		return;
	}
	result = find_user(session, bytes, now_ms);
	if (result == 0)
		result = cv_vmess_request_open(bytes, handshake->vmess_key, &request,
					       &header_bytes);
	if (result == 0)
		result = check(session, bytes, now_ms);
	if (result == 0)
		accept_request(session, &request, header_bytes);
	else if (result != -EAGAIN)
		throw_away_from_now_on(session, handshake->vmess_user, result);
	cv_cleanse(&request, sizeof(request));
}

void cv_step_vmess(struct cv_session *session)
{
	struct cv_leg *client = &session->client;
	struct cv_handshake *handshake = session->handshake;
	int result = 0;

	while (session->state == CV_SESSION_EXPECT_REQUEST && result == 0) {
		/* a transport may have left some there */
		if (cv_buffer_len(&handshake->app) == handshake->judged_bytes)
			result = cv_leg_decode(client, &handshake->app);
		if (cv_buffer_len(&handshake->app) == handshake->judged_bytes)
			continue;
		judge(session);
		if (session->state == CV_SESSION_EXPECT_REQUEST)
			handshake->judged_bytes = cv_buffer_len(&handshake->app);
	}
	if (session->state != CV_SESSION_EXPECT_REQUEST)
		return;
	if (result < 0 && result != -EAGAIN)
		cv_session_finish(session, result);
	else if (result == CV_LAYER_EOF || (client->facts & CV_LEG_FIN_RECEIVED))
		cv_session_finish(session, handshake->refused ? handshake->refused
					   : cv_buffer_len(&handshake->app) > 0
						   ? CV_PEER_TRUNCATED
						   : CV_PEER_CLOSED);
	else
		cv_leg_recv(client);
}
