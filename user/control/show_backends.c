// SPDX-License-Identifier: MIT
/*
 * show_backends.c - what stands behind the edge: where, how it is, how much went there.
 *
 *   state   "up", "down" (by its checks), or "" where nobody looks
 */
#include "control/command.h"
#include "session/session.h"

#include <stdio.h>
#include <stdlib.h>

struct count {
	const struct cv_config *config;
	uint64_t *now;
};

static void count_session(struct cv_worker_visit *visit, struct cv_session *session)
{
	const struct count *count = visit->context;

	for (size_t i = 0; session->backend && i < count->config->backend_count; i++)
		count->now[i] += count->config->backends[i] == session->backend;
}

static const char *state_of(const struct cv_backend *backend)
{
	if (!backend->is_checked)
		return "";
	return backend->is_down ? "down" : "up";
}

void cv_show_place(const struct cv_config *config, const struct cv_edge_place *place,
		   char text[CV_SHOW_PLACE])
{
	switch (place->kind) {
	case CV_EDGE_DROP:
		(void)snprintf(text, CV_SHOW_PLACE, "drop");
		break;
	case CV_EDGE_INBOUND:
		(void)snprintf(text, CV_SHOW_PLACE, "inbound %s",
			       config->inbounds[place->inbound].tag);
		break;
	case CV_EDGE_BACKEND:
		(void)snprintf(text, CV_SHOW_PLACE, "backend %s", place->backend->name);
		break;
	case CV_EDGE_PASS:
		(void)snprintf(text, CV_SHOW_PLACE, "target");
		break;
	}
}

static struct json_object *backend_json(const struct cv_config *config,
					const struct cv_backend *backend, uint64_t now)
{
	struct json_object *object = json_object_new_object();
	char place[CV_SHOW_PLACE];

	cv_show_place(config, &backend->when_down, place);
	cv_json_text(object, "backend", backend->name);
	cv_json_text(object, "address", backend->address_text);
	cv_json_text(object, "state", state_of(backend));
	cv_json_u64(object, "xver", (uint64_t)backend->xver);
	cv_json_text(object, "when_down", place);
	cv_json_u64(object, "sessions", now);
	cv_json_u64(object, "sessions_total", cv_counter(&backend->sessions));
	cv_json_u64(object, "failed_dials", cv_counter(&backend->failed_dials));
	cv_json_u64(object, "checks", cv_counter(&backend->checks));
	cv_json_u64(object, "failed_checks", cv_counter(&backend->failed_checks));
	return object;
}

void cv_show_backends(const struct cv_control_view *view, const char *argument,
		      struct json_object *answer)
{
	const struct cv_config *config = view->config;
	struct json_object *array = json_object_new_array();
	struct count count = {.config = config,
			      .now = calloc(config->backend_count + 1, sizeof(uint64_t))};

	(void)argument;
	if (count.now)
		cv_show_visit(view, count_session, &count);
	for (size_t i = 0; count.now && i < config->backend_count; i++)
		cv_json_append(array,
				      backend_json(config, config->backends[i], count.now[i]));
	cv_json_add(answer, "backends", array);
	free(count.now);
}
