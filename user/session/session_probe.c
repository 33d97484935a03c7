// SPDX-License-Identifier: MIT
/*
 * session_probe.c - a page through an outbound, and how long its first bytes take.
 *
 *   adopt a slot -> the outbound is dialled as for anybody -> PROBE: GET, status line -> verdict
 *        whatever ends the session before that is a failure (cv_handshake_free)
 *
 * There is one attempt and no way around: what is wanted is an opinion of this outbound. The client
 * leg has no socket and stays silent.
 */
#include "session/session_probe.h"

#include "session/handshake.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/reason.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PROBE_MS 5000
#define STATUS_LINE_MIN 12 /* "HTTP/1.1 204" */

static const struct cv_inbound nobody = {.tag = (char[]){"observatory"},
					 .protocol = CV_INBOUND_VLESS};

static uint64_t now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

bool cv_probe_is(const struct cv_session *session)
{
	return session->inbound == &nobody;
}

void cv_probe_end(struct cv_handshake *handshake, uint32_t delay_us)
{
	struct cv_observation *observation = handshake->probed;

	if (!observation)
		return;
	handshake->probed = NULL;
	cv_observation_probed(observation, delay_us, cv_clock_ms());
	atomic_store(&observation->is_probing, false);
}

bool cv_probe_start(struct cv_worker *worker, const struct cv_outbound *outbound)
{
	struct cv_session *session = cv_session_without_client(worker, &nobody);
	struct cv_handshake *handshake;

	if (!session)
		return false;
	handshake = session->handshake;
	handshake->probed = outbound->observation;
	handshake->probe_began_us = now_us();
	handshake->attempts_end_ms = cv_ring_now_ms(worker->ring) + PROBE_MS;
	handshake->destination = session->config->observatory.destination;
	cv_session_name_destination(session, &handshake->destination, NULL);
	session->outbound = outbound;
	session->depth++;
	cv_step_dial(session);
	session->depth--;
	cv_session_event(session, NULL, 0);
	return true;
}

void cv_probe_ready(struct cv_session *session)
{
	const char *request = session->config->observatory.request;
	const int error = cv_leg_encode(&session->upstream,
					cv_span_of(request, strlen(request)));

	session->header_held = false;
	session->state = CV_SESSION_PROBE;
	cv_session_arm(session, cv_upstream_left_ms(session, PROBE_MS));
	if (error)
		cv_session_close(session, error);
	else
		cv_leg_recv(&session->upstream);
}

/* 0: a page, or a way to one; -EAGAIN; or why not. */
static int judge(struct cv_span answer)
{
	const char *text = (const char *)answer.data;

	if (answer.len_bytes < STATUS_LINE_MIN)
		return -EAGAIN;
	if (memcmp(text, "HTTP/1.", 7) != 0 || (text[9] != '2' && text[9] != '3'))
		return CV_UPSTREAM_DECODE;
	return 0;
}

void cv_step_probe(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	struct cv_leg *upstream = &session->upstream;
	int decoded = 0, result = -EAGAIN;

	while (decoded == 0 && result == -EAGAIN) {
		decoded = cv_leg_decode(upstream, &handshake->app);
		result = judge(cv_buffer_span(&handshake->app));
	}
	if (result == 0) {
		const uint64_t delay_us = now_us() - handshake->probe_began_us;

		cv_probe_end(handshake, delay_us ? (uint32_t)delay_us : 1);
		if (session->outbound->health)
			cv_upstream_succeeded(session->outbound->health);
		cv_session_close(session, 0);
	} else if (result != -EAGAIN) {
		cv_session_close(session, result);
	} else if (decoded != -EAGAIN || (upstream->facts & (CV_LEG_FIN_RECEIVED | CV_LEG_RESET))) {
		cv_session_close(session, CV_UPSTREAM_CLOSED);
	} else {
		cv_leg_recv(upstream);
	}
}
