// SPDX-License-Identifier: MIT
/*
 * backend_checks.c - health of backends, as HAProxy's "check" looks at it: connect and close.
 *
 *   due -> connect -> closed at once -> cv_backend_note() -> changed? one line in the log
 *    ^------------------- interval --------------------------------'
 *
 * One worker does it for all. A check that is still under way when the next one is due goes on; its
 * own time-out is what ends it.
 */
#include "session/backend_checks.h"

#include "base/container.h"
#include "base/log.h"
#include "base/reason.h"
#include "ring/connect.h"

#include <stdlib.h>
#include <unistd.h>

struct check {
	struct cv_backend_checks *checks;
	struct cv_backend *backend;
	struct cv_connector *connector;
	struct cv_timer timer;
};

struct cv_backend_checks {
	struct cv_ring *ring;
	struct cv_resolver *resolver;
	size_t count;
	struct check all[];
};

static void arm(struct check *check)
{
	struct cv_ring *ring = check->checks->ring;

	cv_timer_arm(ring, &check->timer, cv_ring_now_ms(ring) + check->backend->interval_ms);
}

static void log_change(const struct cv_backend *backend, int reason)
{
	if (backend->is_down)
		cv_log(CV_LOG_WARNING, "backend=%s is down after %u failed checks: %s",
		       backend->name, backend->fall, cv_reason_text(reason));
	else
		cv_log(CV_LOG_WARNING, "backend=%s is up again after %u checks", backend->name,
		       backend->rise);
}

static void connected(void *owner, int fd, int reason)
{
	struct check *check = owner;

	check->connector = NULL;
	if (fd >= 0)
		(void)close(fd);
	if (cv_backend_note(check->backend, fd >= 0))
		log_change(check->backend, reason);
	arm(check);
}

static void due(struct cv_timer *timer)
{
	struct check *check = cv_container_of(timer, struct check, timer);
	const struct cv_backend *backend = check->backend;
	const bool is_unix = backend->unix_address.len_bytes > 0;
	const struct cv_connect_request request = {
		.ring = check->checks->ring,
		.resolver = check->checks->resolver,
		.destination = is_unix ? NULL : &backend->destination,
		.address = is_unix ? &backend->unix_address : NULL,
		.strategy = CV_RESOLVE_ANY,
		.timeout_ms = backend->timeout_ms,
		.done = connected,
		.owner = check,
	};

	check->connector = cv_connect_start(&request);
	if (!check->connector) /* no memory says nothing about the backend */
		arm(check);
}

static size_t count_checked(const struct cv_config *config)
{
	size_t count = 0;

	for (size_t i = 0; i < config->backend_count; i++)
		count += config->backends[i]->is_checked;
	return count;
}

struct cv_backend_checks *cv_backend_checks_new(struct cv_ring *ring, struct cv_resolver *resolver,
						const struct cv_config *config)
{
	const size_t count = count_checked(config);
	struct cv_backend_checks *checks;

	if (count == 0)
		return NULL;
	checks = calloc(1, sizeof(*checks) + count * sizeof(checks->all[0]));
	if (!checks) {
		cv_log(CV_LOG_ERROR, "no memory to check backends: all count as up");
		return NULL;
	}
	checks->ring = ring;
	checks->resolver = resolver;
	for (size_t i = 0; i < config->backend_count; i++) {
		struct check *check = &checks->all[checks->count];

		if (!config->backends[i]->is_checked)
			continue;
		check->checks = checks;
		check->backend = config->backends[i];
		check->timer.due = due;
		cv_timer_arm(ring, &check->timer, cv_ring_now_ms(ring));
		checks->count++;
	}
	return checks;
}

struct cv_backend_checks *cv_backend_checks_free(struct cv_backend_checks *checks)
{
	for (size_t i = 0; checks && i < checks->count; i++) {
		cv_timer_disarm(checks->ring, &checks->all[i].timer);
		if (checks->all[i].connector)
			cv_connect_cancel(checks->all[i].connector);
	}
	free(checks);
	return NULL;
}
