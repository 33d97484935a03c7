// SPDX-License-Identifier: MIT
/*
 * spider.c - the visit of a browser to the real site (REALITY 12.3): who asks when.
 *
 *   worker 0: one request                      (cookie, no referer)
 *        | answered
 *        v
 *   workers 1..c: t requests each, i ms apart, a random known path, referer = the page before
 *
 *   worker: READY -> ASKING -> (left > 0) PAUSING -> READY ... -> OFF
 *
 * With HTTP/2 all workers ask at once, with HTTP/1.1 the connection serves one at a time.
 */
#include "protocol/spider_state.h"

#include "base/reason.h"

#include <stdlib.h>
#include <string.h>

int cv_spider_die(struct cv_spider *spider, int reason)
{
	spider->dead = true;
	spider->result = reason;
	for (size_t i = 0; i < spider->worker_count; i++)
		spider->workers[i].state = CV_WORKER_OFF;
	return reason;
}

static int send_request(struct cv_spider *spider, struct cv_spider_worker *worker)
{
	int result;

	strcpy(worker->path, cv_spider_paths_draw(spider->known));
	cv_spider_body_begin(&worker->body);
	worker->state = CV_WORKER_ASKING;
	result = spider->http2 ? cv_spider_h2_request(spider, worker)
			       : cv_spider_http1_request(spider, worker);
	if (result == 0)
		spider->request_count++;
	return result;
}

static bool someone_is_asking(const struct cv_spider *spider)
{
	for (size_t i = 0; i < spider->worker_count; i++)
		if (spider->workers[i].state == CV_WORKER_ASKING)
			return true;
	return false;
}

static void send_what_is_ready(struct cv_spider *spider)
{
	for (size_t i = 0; i < spider->worker_count && !spider->dead; i++) {
		struct cv_spider_worker *worker = &spider->workers[i];
		int result;

		if (worker->state != CV_WORKER_READY)
			continue;
		if (!spider->http2 && someone_is_asking(spider))
			return;
		result = send_request(spider, worker);
		if (result < 0)
			cv_spider_die(spider, result);
	}
}

static void start_workers(struct cv_spider *spider)
{
	uint32_t count = cv_spider_draw(spider->plan.concurrency);

	for (uint32_t i = 0; i < count; i++) {
		struct cv_spider_worker *worker = &spider->workers[spider->worker_count++];

		worker->left = cv_spider_draw(spider->plan.times);
		worker->state = worker->left ? CV_WORKER_READY : CV_WORKER_OFF;
		strcpy(worker->referer, spider->workers[0].path);
	}
}

void cv_spider_answered(struct cv_spider *spider, struct cv_spider_worker *worker, uint64_t now_ms)
{
	cv_spider_body_done(&worker->body);
	strcpy(worker->referer, worker->path);
	worker->left--;
	worker->state = worker->left ? CV_WORKER_PAUSING : CV_WORKER_OFF;
	worker->wake_ms = now_ms + cv_spider_draw(spider->plan.interval_ms);
	if (worker == &spider->workers[0])
		start_workers(spider);
}

static void wake_pausing(struct cv_spider *spider, uint64_t now_ms)
{
	for (size_t i = 0; i < spider->worker_count; i++)
		if (spider->workers[i].state == CV_WORKER_PAUSING &&
		    spider->workers[i].wake_ms <= now_ms)
			spider->workers[i].state = CV_WORKER_READY;
}

void cv_spider_wake(struct cv_spider *spider, uint64_t now_ms)
{
	wake_pausing(spider, now_ms);
	send_what_is_ready(spider);
}

int cv_spider_read(struct cv_spider *spider, struct cv_span bytes, uint64_t now_ms)
{
	int result;

	if (spider->dead)
		return spider->result;
	result = spider->http2 ? cv_spider_h2_read(spider, bytes, now_ms)
			       : cv_spider_http1_read(spider, bytes, now_ms);
	if (result < 0)
		return spider->dead ? spider->result : cv_spider_die(spider, result);
	cv_spider_wake(spider, now_ms);
	return spider->dead ? spider->result : 0;
}

uint64_t cv_spider_next_wake_ms(const struct cv_spider *spider)
{
	uint64_t next_ms = CV_SPIDER_NEVER;

	for (size_t i = 0; i < spider->worker_count; i++)
		if (spider->workers[i].state == CV_WORKER_PAUSING &&
		    spider->workers[i].wake_ms < next_ms)
			next_ms = spider->workers[i].wake_ms;
	return next_ms;
}

uint64_t cv_spider_return_at_ms(const struct cv_spider *spider)
{
	return spider->return_at_ms;
}

bool cv_spider_finished(const struct cv_spider *spider)
{
	for (size_t i = 0; i < spider->worker_count; i++)
		if (spider->workers[i].state != CV_WORKER_OFF)
			return false;
	return true;
}

unsigned cv_spider_requests(const struct cv_spider *spider)
{
	return spider->request_count;
}

struct cv_buffer *cv_spider_output(struct cv_spider *spider)
{
	return &spider->output;
}

static int spider_begin(struct cv_spider *spider)
{
	int result = spider->http2 ? cv_spider_h2_preface(spider) : 0;

	spider->worker_count = 1;
	spider->workers[0].left = 1;
	if (result == 0)
		result = send_request(spider, &spider->workers[0]);
	return result;
}

struct cv_spider *cv_spider_new(const struct cv_spider_config *config, uint64_t now_ms)
{
	struct cv_spider *spider = calloc(1, sizeof(*spider));

	if (!spider || strlen(config->server_name) >= sizeof(spider->server_name)) {
		free(spider);
		return NULL;
	}
	spider->plan = *config->plan;
	strcpy(spider->server_name, config->server_name);
	spider->fingerprint = config->fingerprint;
	spider->http2 = config->http2;
	spider->return_at_ms = now_ms + cv_spider_draw(spider->plan.return_ms);
	cv_buffer_init(&spider->output, CV_SPIDER_OUTPUT_MAX);
	spider->known = cv_spider_paths_of(config->paths, config->server_name, spider->plan.path);
	if (!spider->known || spider_begin(spider) < 0)
		return cv_spider_free(spider);
	return spider;
}

struct cv_spider *cv_spider_free(struct cv_spider *spider)
{
	if (!spider)
		return NULL;
	for (size_t i = 0; i < spider->worker_count; i++)
		cv_spider_body_done(&spider->workers[i].body);
	cv_buffer_done(&spider->output);
	cv_buffer_done(&spider->h2.payload);
	free(spider);
	return NULL;
}
