// SPDX-License-Identifier: MIT
/*
 * session_spider.c - the server answered with the real site's certificate: somebody stands between,
 * or our key is wrong. The VLESS request is never sent; the connection goes on as a browser's
 * would.
 *
 *   REAL_CERTIFICATE -> record layer on the upstream leg, spider's first GET
 *        return time  -> the SOCKS client learns of the failure
 *        site closes, the spider has no more to ask and QUIET_MS passed, or CAP_MS -> end
 */
#include "session/handshake.h"
#include "session/session_front.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/log.h"
#include "base/reason.h"

#include <errno.h>
#include <string.h>

#define QUIET_MS 60000 /* about what a browser keeps an idle connection for */
#define CAP_MS 300000

static int move_spider_output(struct cv_session *session)
{
	struct cv_buffer *output = cv_spider_output(session->handshake->spider);
	int error = cv_leg_encode(&session->upstream, cv_buffer_span(output));

	cv_buffer_consume(output, cv_buffer_len(output));
	return error;
}

static uint64_t next_due_ms(struct cv_session *session)
{
	const struct cv_spider *spider = session->handshake->spider;
	uint64_t due_ms = session->last_activity_ms + QUIET_MS;
	uint64_t wake_ms = cv_spider_next_wake_ms(spider);
	uint64_t return_ms = cv_spider_return_at_ms(spider);

	if (session->due_ms < due_ms) /* a site that never falls silent */
		due_ms = session->due_ms;
	if (!cv_spider_finished(spider) && wake_ms < due_ms)
		due_ms = wake_ms;
	if (!(session->client.facts & CV_LEG_FIN_WANTED) && return_ms < due_ms)
		due_ms = return_ms;
	return due_ms;
}

/* The client gets its refusal; the session lives on for the site. */
static void report_to_client(struct cv_session *session)
{
	(void)cv_front_answer_refusal(session, CV_UPSTREAM_REAL_CERTIFICATE);
	(void)cv_leg_encode_eof(&session->client);
	session->client.facts |= CV_LEG_FIN_WANTED;
}

static void arm_spider(struct cv_session *session)
{
	cv_timer_arm(session->worker->ring, &session->timer, next_due_ms(session));
}

void cv_step_spider_begin(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	const struct cv_outbound *outbound = handshake->hop;
	struct cv_worker *worker = session->worker;
	struct cv_spider_plan plan;
	struct cv_spider_config config = {
		.plan = &plan,
		.server_name = outbound->server_name,
		.fingerprint = cv_tls_client_fingerprint(handshake->tls_client),
		.http2 = strcmp(cv_tls_client_facts(handshake->tls_client)->alpn, "h2") == 0,
	};
	int error = cv_spider_plan_parse(outbound->spider_x, &plan);

	if (!worker->spider_paths)
		worker->spider_paths = cv_spider_paths_new();
	config.paths = worker->spider_paths;
	if (!error)
		error = cv_leg_push_layer(&session->upstream,
					  cv_tls_client_take_layer(handshake->tls_client));
	if (!error && config.paths)
		handshake->spider = cv_spider_new(&config, cv_ring_now_ms(worker->ring));
	if (error || !handshake->spider || move_spider_output(session) != 0) {
		cv_session_refuse(session, CV_UPSTREAM_REAL_CERTIFICATE);
		return;
	}
	session->state = CV_SESSION_SPIDER;
	session->last_activity_ms = cv_ring_now_ms(worker->ring);
	session->due_ms = session->last_activity_ms + CAP_MS;
	arm_spider(session);
}

static int read_site(struct cv_session *session)
{
	struct cv_buffer *app = &session->worker->app;
	int result = 0;

	while (result == 0) {
		result = cv_leg_decode(&session->upstream, app);
		if (cv_buffer_len(app) > 0)
			(void)cv_spider_read(session->handshake->spider, cv_buffer_span(app),
					     cv_ring_now_ms(session->worker->ring));
		cv_buffer_consume(app, cv_buffer_len(app));
	}
	return result == -EAGAIN ? 0 : result;
}

void cv_step_spider(struct cv_session *session)
{
	struct cv_leg *client = &session->client, *upstream = &session->upstream;
	bool site_ended = read_site(session) != 0 ||
			  (upstream->facts & (CV_LEG_FIN_RECEIVED | CV_LEG_RESET));

	cv_buffer_consume(&client->in, cv_buffer_len(&client->in));
	if (!site_ended)
		site_ended = move_spider_output(session) != 0;
	if (site_ended) {
		if (!(client->facts & CV_LEG_FIN_WANTED))
			report_to_client(session);
		cv_session_finish(session, CV_UPSTREAM_REAL_CERTIFICATE);
		return;
	}
	arm_spider(session);
	cv_leg_recv(upstream);
}

void cv_step_spider_timer(struct cv_session *session)
{
	uint64_t now_ms = cv_ring_now_ms(session->worker->ring);
	struct cv_spider *spider = session->handshake->spider;

	if (!(session->client.facts & CV_LEG_FIN_WANTED) &&
	    now_ms >= cv_spider_return_at_ms(spider))
		report_to_client(session);
	if (now_ms >= cv_spider_next_wake_ms(spider))
		cv_spider_wake(spider, now_ms);
	if (now_ms >= session->due_ms || now_ms >= session->last_activity_ms + QUIET_MS)
		cv_session_finish(session, CV_UPSTREAM_REAL_CERTIFICATE);
}
