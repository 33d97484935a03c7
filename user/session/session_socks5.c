// SPDX-License-Identifier: MIT
/*
 * session_socks5.c - the SOCKS5 inbound, with or without password: CONNECT; BIND (session_bind.c)
 * and UDP ASSOCIATE (session_associate.c) where they are served.
 *
 * The codec consumes bytes and appends replies; bytes behind the request are relayed first
 * (session_front.c). "Succeeded" is said when the upstream connection exists (a VLESS upstream has
 * no answer of its own, so there it means: the server accepted our handshake).
 */
#include "session/handshake.h"
#include "session/session_front.h"
#include "session/steps.h"
#include "session/verify.h"

#include <culvert/reason.h>

#include <errno.h>

void cv_step_socks_begin(struct cv_session *session)
{
	struct cv_socks5_server *socks5 = &session->handshake->socks5;

	cv_socks5_server_init(socks5, session->inbound->users != NULL);
	if (session->inbound->serves_udp)
		socks5->commands |= 1u << CV_SOCKS5_UDP;
	if (session->inbound->serves_bind)
		socks5->commands |= 1u << CV_SOCKS5_BIND;
	session->handshake->front = CV_FRONT_SOCKS5;
	session->state = CV_SESSION_EXPECT_SOCKS;
	cv_front_arm(session);
	cv_leg_recv(&session->client);
}

static void judged(struct cv_session *session, int reason)
{
	int result, error;

	session->state = CV_SESSION_EXPECT_SOCKS;
	result = cv_socks5_server_verdict(&session->handshake->socks5, reason == 0,
					  &session->handshake->answer);
	error = cv_front_say(session);
	if (result || error)
		cv_session_finish(session, reason ? reason : result ? result : error);
}

static int read_once(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	struct cv_buffer *in = cv_front_input(session);
	size_t used = 0;
	int result, error;

	result = cv_socks5_server_read(&handshake->socks5, cv_buffer_span(in), &handshake->answer,
				       &used);
	cv_buffer_consume(in, used);
	error = cv_front_say(session);
	if (result == -EAGAIN && !error)
		error = cv_front_fill(session);
	else if (!error)
		return result;
	return error;
}

static void serve(struct cv_session *session, enum cv_socks5_command command)
{
	struct cv_handshake *handshake = session->handshake;

	handshake->destination = handshake->socks5.destination;
	if (command == CV_SOCKS5_UDP) {
		cv_step_associate(session);
		return;
	}
	handshake->is_bind = command == CV_SOCKS5_BIND;
	if (handshake->is_bind)
		cv_step_route(session);
	else
		cv_step_target(session);
}

void cv_step_socks(struct cv_session *session)
{
	struct cv_socks5_server *socks5 = &session->handshake->socks5;
	int result;

	do {
		result = read_once(session);
	} while (result == 0 && socks5->state != CV_SOCKS5_EXPECT_SERVICE &&
		 socks5->state != CV_SOCKS5_EXPECT_VERDICT);
	if (result == 0 && socks5->state == CV_SOCKS5_EXPECT_SERVICE) {
		serve(session, socks5->command);
	} else if (result == 0) {
		cv_session_verify(session, socks5->user, socks5->user_len, socks5->password,
				  socks5->password_len, judged);
	} else if (result != -EAGAIN) {
		cv_session_finish(session, result);
	} else if (session->client.facts & CV_LEG_FIN_RECEIVED) {
		cv_session_close(session, CV_PEER_CLOSED);
	} else {
		cv_leg_recv(&session->client);
	}
}
