/* SPDX-License-Identifier: MIT */
/*
 * command.h - what a control client may ask; one table (command.c), one file per topic.
 *
 * A handler runs on a thread of the control socket's. It reads atomic counters itself and sends
 * visits to workers for everything else.
 */
#ifndef CV_CONTROL_COMMAND_H
#define CV_CONTROL_COMMAND_H

#include "control/json.h"
#include "engine/kernel.h"
#include "engine/kernel_probe.h"
#include "session/worker.h"

/* What the kernel has, found at the start: later the daemon has no right to try. */
struct cv_kernel_found {
	struct cv_kernel_features features;
	struct cv_ring_features ring;
	int features_error, ring_error;
};

struct cv_control_view {
	const struct cv_config *config;
	struct cv_worker *workers;
	unsigned worker_count;
	const struct cv_kernel *kernel; /* NULL: no BPF part was opened */
	const struct cv_kernel_found *found; /* NULL: nothing was tried */
	const char *sandbox; /* what is in force, or NULL */
};

/** cv_control_answer() - Run @line ("name" or "name argument"). Returns the answer, owned by the
 * caller: an object with a member named after the topic, or "error"; NULL: out of memory. */
struct json_object *cv_control_answer(const struct cv_control_view *view, const char *line);

/** cv_kernel_find() - Try everything: milliseconds, and rights that go with them. */
void cv_kernel_find(struct cv_kernel_found *ret_found);
/** cv_control_error() - {"error": @text}; as cv_control_answer(). */
struct json_object *cv_control_error(const char *text);

/* The handlers: add members to @answer. @argument is "" when none was given. */
void cv_show_sessions(const struct cv_control_view *view, const char *argument,
		      struct json_object *answer);
void cv_show_session(const struct cv_control_view *view, const char *argument,
		     struct json_object *answer);
void cv_show_carriers(const struct cv_control_view *view, const char *argument,
		      struct json_object *answer);
void cv_show_users(const struct cv_control_view *view, const char *argument,
		   struct json_object *answer);
void cv_show_engines(const struct cv_control_view *view, const char *argument,
		     struct json_object *answer);
void cv_show_sni(const struct cv_control_view *view, const char *argument,
		 struct json_object *answer);
void cv_show_backends(const struct cv_control_view *view, const char *argument,
		      struct json_object *answer);
void cv_show_proxies(const struct cv_control_view *view, const char *argument,
		     struct json_object *answer);
void cv_show_outbounds(const struct cv_control_view *view, const char *argument,
		       struct json_object *answer);
void cv_show_kernel(const struct cv_control_view *view, const char *argument,
		    struct json_object *answer);
void cv_show_workers(const struct cv_control_view *view, const char *argument,
		     struct json_object *answer);
void cv_show_reasons(const struct cv_control_view *view, const char *argument,
		     struct json_object *answer);

void cv_kick(const struct cv_control_view *view, const char *argument, struct json_object *answer);

/** cv_show_active_sessions() - As cv_show_sessions(), but only those @limit that moved bytes last;
 * "session_count" is how many there are. */
void cv_show_active_sessions(const struct cv_control_view *view, size_t limit,
			     struct json_object *answer);

/** cv_show_class() - What people call an SNI class; NULL if there is none of that number. */
const char *cv_show_class(const struct cv_config *config, uint32_t class);
/** cv_show_place() - Where the edge leads, for people: "target", "drop", "inbound TAG", "backend
 * NAME". */
#define CV_SHOW_PLACE 256
void cv_show_place(const struct cv_config *config, const struct cv_edge_place *place,
		   char text[CV_SHOW_PLACE]);
/** cv_show_room() - @rows, which has @count of *@size rows of @row_bytes, with room for one more.
 * NULL: out of memory, @rows is as it was. */
void *cv_show_room(void *rows, size_t count, size_t *size, size_t row_bytes);
/** cv_show_visit() - Call @session on each worker for each of its sessions. */
void cv_show_visit(const struct cv_control_view *view,
		   void (*session)(struct cv_worker_visit *visit, struct cv_session *session),
		   void *context);

#endif
