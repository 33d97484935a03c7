// SPDX-License-Identifier: MIT
/*
 * session_sniff.c - a look at the client's first bytes before it is routed (compat 3.1).
 *
 *   request -> [what is there already tells] ---------------------------------> ROUTE
 *          \-> SNIFF: the client is told to go on, as if its upstream was there     ^
 *                     bytes that may tell      -> wait for more of them            |
 *                     bytes that do not, end, silence -> ----------------------------'
 *
 * Nothing is consumed: bytes stay where they would be relayed from, or, out of layers, in
 * handshake->app, which goes first (cv_front_relay). After the client was told to go on there is no
 * way to refuse it in its protocol: it is reset.
 *
 * observable: to a client whose server speaks first, SNIFF costs SILENCE_MS and two round trips.
 */
#include "session/handshake.h"
#include "session/reverse.h"
#include "session/session_front.h"
#include "session/session_http.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/reason.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define SILENCE_MS 200 /* without a byte, beside two round trips to the client */
#define WHOLE_MS 1000  /* for a hello or a head that has begun: nobody would answer that before */
#define APP_LIMIT (512 * 1024) /* what one receive buffer and its layers may hold, opened */

static struct cv_span seen(const struct cv_session *session)
{
	return cv_buffer_span(session->client.stack ? &session->handshake->app
						    : &session->client.in);
}

/* ---- the outcome -------------------------------------------------------------------------- */

static void decide(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	const struct cv_sniffing *sniffing = session->inbound->sniffing;
	struct cv_destination *destination = &handshake->destination, found;

	handshake->sniffed = handshake->sniff->protocol;
	if (cv_sniffing_replaces(sniffing, handshake->sniffed, handshake->sniff->name, destination,
				 &found)) {
		if (sniffing->route_only)
			strcpy(handshake->route_name, found.domain);
		else
			*destination = found;
	}
	cv_step_route(session);
}

/* ---- looking ------------------------------------------------------------------------------ */

/* What layers can open goes to handshake->app. 0: nothing more just now; a layer's reason. */
static int open_layers(struct cv_session *session)
{
	struct cv_leg *client = &session->client;
	struct cv_buffer *app = &session->handshake->app;
	int result = client->stack ? 0 : -EAGAIN;

	while (result == 0 && cv_buffer_len(app) < CV_SNIFF_MAX)
		result = cv_leg_decode(client, app);
	if (result == CV_LAYER_EOF) { /* the relay would not hear of it again */
		client->facts |= CV_LEG_APP_ENDED;
		cv_buffer_consume(&client->in, cv_buffer_len(&client->in));
	}
	return result == -EAGAIN || result == CV_LAYER_EOF ? 0 : result;
}

/* 0: known, or there is nothing to know; -EAGAIN; a layer's reason. */
static int look(struct cv_session *session)
{
	int result = open_layers(session);

	if (!result)
		result = cv_sniff_read(session->handshake->sniff, seen(session));
	if (result == -EAGAIN &&
	    (session->client.facts & (CV_LEG_FIN_RECEIVED | CV_LEG_APP_ENDED)))
		return 0;
	return result;
}

/* What answers "go on" comes a round trip later, from far away later than SILENCE_MS. */
static uint64_t silence_ms(const struct cv_session *session)
{
	struct tcp_info info = {0};
	socklen_t len_bytes = sizeof(info);
	uint64_t trips_ms;

	if (getsockopt(session->client.fd, IPPROTO_TCP, TCP_INFO, &info, &len_bytes) < 0)
		return SILENCE_MS;
	trips_ms = info.tcpi_rtt * 2ull / 1000;
	return trips_ms < WHOLE_MS - SILENCE_MS ? SILENCE_MS + trips_ms : WHOLE_MS;
}

static void wait_for_more(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	const uint64_t now_ms = cv_ring_now_ms(session->worker->ring);
	const uint64_t whole_ms = handshake->sniff_end_ms;

	cv_session_arm(session, seen(session).len_bytes == 0 || whole_ms <= now_ms
					? silence_ms(session)
					: whole_ms - now_ms);
	cv_leg_recv(&session->client);
}

void cv_step_sniff(struct cv_session *session)
{
	const struct cv_handshake *handshake = session->handshake;
	const size_t before = handshake->sniff_seen_bytes;
	const int result = look(session);

	if (result == -EAGAIN) {
		session->handshake->sniff_seen_bytes = seen(session).len_bytes;
		if (before == 0 && handshake->sniff_seen_bytes > 0)
			wait_for_more(session); /* the other deadline */
		else
			cv_leg_recv(&session->client);
	} else if (result) {
		cv_session_finish(session, result);
	} else {
		decide(session);
	}
}

void cv_step_sniff_timeout(struct cv_session *session)
{
	decide(session);
}

/* ---- beginning ---------------------------------------------------------------------------- */

static bool begin(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;

	handshake->sniff = malloc(sizeof(*handshake->sniff));
	if (!handshake->sniff)
		return false;
	cv_sniff_init(handshake->sniff);
	handshake->app.limit_bytes = APP_LIMIT;
	handshake->sniff_end_ms = cv_ring_now_ms(session->worker->ring) + WHOLE_MS;
	return true;
}

/* The client says nothing before it believes that its upstream is there. */
static void ask_for_more(struct cv_session *session)
{
	const int error = cv_front_accepted(session);

	session->handshake->is_answered = session->handshake->front != CV_FRONT_NONE;
	if (error) {
		cv_session_close(session, error);
		return;
	}
	session->state = CV_SESSION_SNIFF;
	cv_destination_normalize(&session->handshake->destination);
	cv_session_name_destination(session, &session->handshake->destination, NULL);
	session->handshake->sniff_seen_bytes = seen(session).len_bytes;
	wait_for_more(session);
}

void cv_step_target(struct cv_session *session)
{
	int result;

	if (!session->inbound->sniffing || cv_reverse_is_domain(session)) {
		cv_step_route(session); /* a bridge waits for us to speak */
		return;
	}
	if (cv_http_is_forward(session)) { /* whose name it is was said in the request */
		session->handshake->sniffed = CV_SNIFFED_HTTP;
		cv_step_route(session);
		return;
	}
	if (!begin(session)) {
		cv_session_close(session, CV_INTERNAL_MEMORY);
		return;
	}
	result = look(session);
	if (result == -EAGAIN)
		ask_for_more(session);
	else if (result)
		cv_session_finish(session, result);
	else
		decide(session);
}
