// SPDX-License-Identifier: MIT
/*
 * session_proxy.c - a listener behind another proxy: its PROXY header says who the client is.
 *
 *   not from a proxy we trust -> closed without a word
 *   EXPECT_PROXY: header whole -> its ends are the session's, the rest stays in client.in, edge
 *                 no header, or none in time -> closed without a word
 *
 * From then on logs, limits, routing and PROXY headers of our own speak of the client and not of
 * the proxy in between. Whoever is trusted can claim to be anybody.
 */
#include "session/preamble.h"
#include "session/steps.h"

#include "base/log.h"
#include "base/reason.h"
#include "policy/ip_matcher.h"
#include "wire/proxy_protocol.h"

#include <errno.h>
#include <stdlib.h>

#define PROXY_WAIT_MS 5000

static void refuse(struct cv_session *session, int reason)
{
	char text[CV_DESTINATION_TEXT] = "-";
	struct cv_sockaddr address;

	if (cv_session_client_address(session, &address))
		cv_sockaddr_format(&address, text);
	cv_log(CV_LOG_INFO, "inbound=%s from=%s: no PROXY header (%s)", session->inbound->tag,
	       text, cv_reason_label(reason));
	cv_session_close(session, reason);
}

/* What no IP socket brings, the file system has let in. */
static bool is_trusted(const struct cv_session *session)
{
	const struct cv_ip_matcher *sources = session->inbound->proxy_sources;
	struct cv_destination proxy;
	struct cv_sockaddr address;

	if (!sources)
		return true;
	if (!cv_session_client_address(session, &address))
		return false;
	return !cv_sockaddr_to_destination(&address, &proxy) ||
	       cv_ip_matcher_match(sources, &proxy);
}

void cv_step_proxy_begin(struct cv_session *session)
{
	if (!is_trusted(session)) {
		refuse(session, CV_POLICY_NOT_TRUSTED);
		return;
	}
	session->state = CV_SESSION_EXPECT_PROXY;
	cv_session_arm(session, PROXY_WAIT_MS);
	cv_leg_recv(&session->client);
}

static int keep_ends(struct cv_session *session, const struct cv_sockaddr *source,
		     const struct cv_sockaddr *destination)
{
	if (source->len_bytes == 0)
		return 0;
	session->proxied = malloc(sizeof(*session->proxied));
	if (!session->proxied)
		return CV_INTERNAL_MEMORY;
	*session->proxied = (struct cv_proxied){.source = *source, .destination = *destination};
	return 0;
}

void cv_step_proxy(struct cv_session *session)
{
	struct cv_leg *client = &session->client;
	struct cv_sockaddr source, destination;
	size_t used;
	int result = cv_proxy_protocol_read(cv_buffer_span(&client->in), &used, &source,
					    &destination);

	if (result == -EAGAIN && !(client->facts & CV_LEG_FIN_RECEIVED)) {
		cv_leg_recv(client);
		return;
	}
	if (result == -EAGAIN && cv_buffer_len(&client->in) == 0) { /* a health check */
		cv_session_close(session, CV_PEER_CLOSED);
		return;
	}
	if (result == 0) {
		cv_buffer_consume(&client->in, used);
		result = keep_ends(session, &source, &destination);
	}
	if (result)
		refuse(session, result == -EAGAIN ? CV_PEER_TRUNCATED : result);
	else
		cv_session_enter(session);
}
