// SPDX-License-Identifier: MIT
/*
 * session_verify.c - a client's name and password, for the inbounds of any protocol.
 *
 * observable: an unknown name, a wrong password, a disabled user and a banned address get one and
 * the same refusal; what was wrong stands in our log only. The line of a failure is documented and
 * stays as it is, since others look for it: address first, nothing in it is the client's own text.
 */
#include "session/verify.h"

#include "base/log.h"
#include "base/reason.h"
#include "session/handshake.h"
#include "session/preamble.h"
#include "session/session_limits.h"
#include "session/worker.h"

#include <arpa/inet.h>
#include <string.h>

static void client_address(const struct cv_session *session, struct cv_sockaddr *ret_from)
{
	if (!cv_session_client_address(session, ret_from))
		ret_from->any.sa_family = AF_UNSPEC;
}

static void format_host(const struct cv_sockaddr *from, char text[INET6_ADDRSTRLEN])
{
	struct cv_destination host;

	if (!cv_sockaddr_to_destination(from, &host))
		strcpy(text, "local");
	else if (host.kind == CV_ADDRESS_IPV4)
		(void)inet_ntop(AF_INET, host.ipv4, text, INET6_ADDRSTRLEN);
	else
		(void)inet_ntop(AF_INET6, host.ipv6, text, INET6_ADDRSTRLEN);
}

static void log_failure(struct cv_session *session, int reason, bool ban_begins)
{
	const struct cv_ban_policy *ban = cv_verifier_bans(session->worker->verifier);
	const enum cv_log_level level =
		reason == CV_POLICY_BANNED ? CV_LOG_INFO : CV_LOG_WARNING;
	struct cv_sockaddr from;
	char host[INET6_ADDRSTRLEN];

	if (!cv_log_wants(level))
		return;
	client_address(session, &from);
	format_host(&from, host);
	cv_log(level, "login failed: client=%s inbound=%s reason=%s", host, session->inbound->tag,
	       cv_reason_label(reason));
	if (ban_begins)
		cv_log(CV_LOG_WARNING, "login banned: client=%s failures=%u seconds=%u", host,
		       ban->failures, ban->ban_s);
}

/* The password was right. May the user come in? */
static int admit(struct cv_session *session, struct cv_user *user)
{
	const int reason =
		user->enabled ? cv_limits_admit(session, user) : CV_POLICY_USER_DISABLED;

	if (reason)
		cv_log(CV_LOG_WARNING, "inbound=%s user=%s: %s (%s)", session->inbound->tag,
		       user->email[0] ? user->email : user->name, cv_reason_label(reason),
		       cv_reason_text(reason));
	return reason;
}

static void verified(struct cv_verify_query *query, int result, struct cv_user *user,
		     bool ban_begins)
{
	struct cv_handshake *handshake = cv_container_of(query, struct cv_handshake, verify);
	struct cv_session *session = handshake->session;

	if (result == CV_PEER_CREDENTIALS || result == CV_POLICY_BANNED)
		log_failure(session, result, ban_begins);
	else if (result == 0)
		result = admit(session, user);
	handshake->judged(session, result);
	cv_session_event(session, NULL, 0);
}

void cv_session_verify(struct cv_session *session, const char *name, size_t name_len,
		       const char *password, size_t password_len,
		       void (*judged)(struct cv_session *session, int reason))
{
	struct cv_worker *worker = session->worker;
	struct cv_handshake *handshake = session->handshake;
	struct cv_sockaddr from;
	const struct cv_credentials credentials = {
		.name = name,
		.name_len = name_len,
		.password = password,
		.password_len = password_len,
		.from = &from,
	};

	client_address(session, &from);
	session->state = CV_SESSION_VERIFY;
	handshake->session = session;
	handshake->judged = judged;
	handshake->verify.done = verified;
	if (!cv_verify(worker->verifier, worker->ring, &handshake->verify, session->inbound->users,
		       &credentials))
		cv_session_close(session, CV_INTERNAL_MEMORY);
}
