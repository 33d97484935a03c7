// SPDX-License-Identifier: MIT
/*
 * handshake.c - the arena of a session that does not relay yet, and what its deadlines mean.
 */
#include "session/handshake.h"

#include "base/reason.h"
#include "crypto/crypto.h"
#include "session/carrier.h"
#include "session/session_http.h"
#include "session/session_probe.h"
#include "session/steps.h"

#include <stdlib.h>

#define REQUEST_LIMIT (64 * 1024)
#define HOP_IN_LIMIT (256 * 1024)

struct cv_handshake *cv_handshake_new(void)
{
	struct cv_handshake *handshake = calloc(1, sizeof(*handshake));

	if (!handshake)
		return NULL;
	cv_buffer_init(&handshake->app, REQUEST_LIMIT);
	cv_buffer_init(&handshake->answer, REQUEST_LIMIT);
	cv_buffer_init(&handshake->hop_in, HOP_IN_LIMIT);
	cv_buffer_init(&handshake->hop_out, REQUEST_LIMIT);
	return handshake;
}

struct cv_handshake *cv_handshake_free(struct cv_handshake *handshake)
{
	if (!handshake)
		return NULL;
	cv_room_leave(handshake);
	cv_probe_end(handshake, 0);
	cv_carrier_free(handshake->carrier);
	if (handshake->connector)
		cv_connect_cancel(handshake->connector);
	if (handshake->resolving)
		cv_resolve_cancel(&handshake->resolve);
	cv_verify_cancel(&handshake->verify);
	cv_reality_server_free(handshake->reality);
	if (handshake->assembler_used)
		cv_hello_assembler_done(&handshake->assembler);
	if (handshake->sniff)
		cv_sniff_done(handshake->sniff);
	free(handshake->sniff);
	cv_tls_server_free(handshake->tls_server);
	cv_tls_client_free(handshake->tls_client);
	cv_spider_free(handshake->spider);
	if (handshake->health && handshake->is_probe)
		cv_upstream_abandoned(handshake->health);
	cv_http_exchange_free(handshake->http);
	cv_bind_free(handshake->bind);
	cv_buffer_done(&handshake->app);
	cv_buffer_done(&handshake->answer);
	cv_buffer_done(&handshake->hop_in);
	cv_buffer_done(&handshake->hop_out);
	cv_cleanse(handshake, sizeof(*handshake));
	free(handshake);
	return NULL;
}

/* The deadline of a state that waits for one side. */
void cv_step_deadline(struct cv_session *session)
{
	switch (session->state) {
	case CV_SESSION_CONNECT_UPSTREAM: /* dials have a clock of their own */
		cv_step_fallback_dial(session);
		break;
	case CV_SESSION_SNIFF:
		cv_step_sniff_timeout(session);
		break;
	case CV_SESSION_ROUTE:
		cv_session_refuse(session, CV_UPSTREAM_RESOLVE);
		break;
	case CV_SESSION_EXPECT_BACK:
		cv_session_refuse(session, CV_UPSTREAM_TIMEOUT);
		break;
	case CV_SESSION_EXPECT_UPSTREAM_HELLO:
	case CV_SESSION_EXPECT_UPSTREAM_TRANSPORT:
	case CV_SESSION_EXPECT_UPSTREAM_PROXY:
		cv_upstream_lost(session, CV_UPSTREAM_TIMEOUT);
		break;
	case CV_SESSION_RETRY_UPSTREAM:
		session->handshake->retry_due = true; /* the step follows */
		break;
	case CV_SESSION_EXPECT_HTTP:
		cv_step_http_timeout(session);
		break;
	case CV_SESSION_HTTP_EXCHANGE:
		cv_step_http_exchange_timer(session);
		break;
	case CV_SESSION_EXPECT_TRANSPORT:
		cv_step_transport_timeout(session);
		break;
	case CV_SESSION_EXPECT_REQUEST:
		cv_session_finish(session, session->handshake->refused
						   ? session->handshake->refused
						   : CV_PEER_TIMEOUT);
		break;
	case CV_SESSION_EXPECT_FRONT:
	case CV_SESSION_EXPECT_SOCKS:
	case CV_SESSION_EXPECT_SOCKS4:
	case CV_SESSION_VERIFY:
	case CV_SESSION_EXPECT_TLS:
	case CV_SESSION_EXPECT_MUX:
		cv_session_finish(session, CV_PEER_TIMEOUT);
		break;
	default:
		cv_session_close(session, CV_PEER_TIMEOUT);
		break;
	}
}
