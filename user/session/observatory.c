// SPDX-License-Identifier: MIT
/*
 * observatory.c - when which outbound is probed.
 *
 *   due -> cv_probe_start() -> its observation hears of it
 *    ^----- interval -----'
 *
 * One worker does it for all. Where the last probe has no verdict yet when the next one is due,
 * that one is left out.
 */
#include "session/observatory.h"

#include "session/session_probe.h"
#include "session/worker.h"

#include "base/log.h"

#include <stdlib.h>

struct subject {
	struct cv_observatory *observatory;
	const struct cv_outbound *outbound;
	struct cv_timer timer;
};

struct cv_observatory {
	struct cv_worker *worker;
	size_t count;
	struct subject all[];
};

static void due(struct cv_timer *timer)
{
	struct subject *subject = cv_container_of(timer, struct subject, timer);
	struct cv_worker *worker = subject->observatory->worker;
	struct cv_observation *observation = subject->outbound->observation;

	cv_timer_arm(worker->ring, timer,
		     cv_ring_now_ms(worker->ring) + worker->config->observatory.interval_ms);
	if (atomic_exchange(&observation->is_probing, true))
		return;
	if (!cv_probe_start(worker, subject->outbound))
		atomic_store(&observation->is_probing, false);
}

static size_t count_subjects(const struct cv_config *config)
{
	size_t count = 0;

	for (size_t i = 0; i < config->outbound_count; i++)
		count += config->outbounds[i].is_observed;
	return count;
}

static uint64_t first_ms(const struct cv_worker *worker, const struct cv_outbound *outbound)
{
	const uint64_t last_ms = atomic_load(&outbound->observation->probed_ms);
	const uint64_t now_ms = cv_ring_now_ms(worker->ring);
	const uint64_t next_ms = last_ms + worker->config->observatory.interval_ms;

	return last_ms && next_ms > now_ms ? next_ms : now_ms;
}

struct cv_observatory *cv_observatory_new(struct cv_worker *worker)
{
	const struct cv_config *config = worker->config;
	const size_t count = count_subjects(config);
	struct cv_observatory *observatory;

	if (count == 0)
		return NULL;
	observatory = calloc(1, sizeof(*observatory) + count * sizeof(observatory->all[0]));
	if (!observatory) {
		cv_log(CV_LOG_ERROR, "no memory to probe outbounds: all count as alive");
		return NULL;
	}
	observatory->worker = worker;
	for (size_t i = 0; i < config->outbound_count; i++) {
		struct subject *subject = &observatory->all[observatory->count];

		if (!config->outbounds[i].is_observed)
			continue;
		subject->observatory = observatory;
		subject->outbound = &config->outbounds[i];
		subject->timer.due = due;
		cv_timer_arm(worker->ring, &subject->timer, first_ms(worker, subject->outbound));
		observatory->count++;
	}
	return observatory;
}

struct cv_observatory *cv_observatory_free(struct cv_observatory *observatory)
{
	for (size_t i = 0; observatory && i < observatory->count; i++)
		cv_timer_disarm(observatory->worker->ring, &observatory->all[i].timer);
	free(observatory);
	return NULL;
}
