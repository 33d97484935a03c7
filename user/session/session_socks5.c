// SPDX-License-Identifier: MIT
/*
 * session_socks5.c - the SOCKS5 inbound: CONNECT with or without password.
 *
 * The codec consumes bytes and appends replies; bytes behind the request stay in client.in and are
 * relayed first. "Succeeded" is said when the upstream connection exists (a VLESS upstream has no
 * answer of its own, so there it means: the server accepted our handshake).
 */
#include "session/handshake.h"
#include "session/session_limits.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/log.h"
#include "base/reason.h"

#include <errno.h>

void cv_step_socks_begin(struct cv_session *session)
{
	cv_socks5_server_init(&session->handshake->socks5, session->inbound->users != NULL);
	session->state = CV_SESSION_EXPECT_SOCKS;
	cv_session_arm(session, cv_session_level(session)->handshake_ms);
	cv_leg_recv(&session->client);
}

static int check_credentials(struct cv_session *session)
{
	struct cv_socks5_server *socks5 = &session->handshake->socks5;
	struct cv_user *user;
	int result, reason = CV_PEER_CREDENTIALS;

	user = cv_user_find_password(session->inbound->users, socks5->user, socks5->user_len,
				     socks5->password, socks5->password_len);
	if (user && !user->enabled)
		reason = CV_POLICY_USER_DISABLED;
	else if (user)
		reason = cv_limits_admit(session, user);
	if (user && reason)
		cv_log(CV_LOG_WARNING, "inbound=%s user=%s: %s (%s)", session->inbound->tag,
		       user->email[0] ? user->email : user->name, cv_reason_label(reason),
		       cv_reason_text(reason));
	result = cv_socks5_server_verdict(socks5, session->user != NULL, &session->client.out);
	return result == CV_PEER_CREDENTIALS ? reason : result;
}

static int read_once(struct cv_session *session)
{
	struct cv_buffer *in = &session->client.in;
	size_t used = 0;
	int result;

	result = cv_socks5_server_read(&session->handshake->socks5, cv_buffer_span(in),
				       &session->client.out, &used);
	cv_buffer_consume(in, used);
	if (result == 0 && session->handshake->socks5.state == CV_SOCKS5_EXPECT_VERDICT)
		result = check_credentials(session);
	return result;
}

void cv_step_socks(struct cv_session *session)
{
	struct cv_socks5_server *socks5 = &session->handshake->socks5;
	int result;

	do {
		result = read_once(session);
	} while (result == 0 && socks5->state != CV_SOCKS5_EXPECT_CONNECT &&
		 socks5->state != CV_SOCKS5_FAILED);
	if (result == 0 && socks5->state == CV_SOCKS5_EXPECT_CONNECT) {
		session->handshake->destination = socks5->destination;
		cv_step_route(session);
	} else if (result == 0) {
		cv_session_finish(session, CV_PEER_CREDENTIALS);
	} else if (result != -EAGAIN) {
		cv_session_finish(session, result);
	} else if (session->client.facts & CV_LEG_FIN_RECEIVED) {
		cv_session_close(session, CV_PEER_CLOSED);
	} else {
		cv_leg_recv(&session->client);
	}
}

void cv_socks_refuse(struct cv_session *session, int reason)
{
	(void)cv_socks5_server_reply(cv_socks5_reply_of(reason), &session->client.out);
	cv_session_finish(session, reason);
}
