// SPDX-License-Identifier: MIT
/*
 * command.c - the table of control commands.
 *
 *   "session 0.17" -> find "session" -> handler(view, "0.17", answer) -> {"sessions": [...]}
 */
#include "control/command.h"

#include "session/session_limits.h"

#include <culvert/reason.h>
#include <stdio.h>
#include <string.h>

static void kick(const struct cv_control_view *view, const char *argument,
		 struct json_object *answer)
{
	unsigned count = cv_limits_kick(view->workers, view->worker_count, argument,
					CV_POLICY_KICKED);

	cv_json_u64(answer, "kicked", count);
}

static const struct command {
	const char *name;
	bool wants_argument; /* refuses to run without one; else an argument is refused */
	void (*run)(const struct cv_control_view *view, const char *argument,
		    struct json_object *answer);
} commands[] = {
	{"sessions", false, cv_show_sessions},
	{"session", true, cv_show_session},
	{"users", false, cv_show_users},
	{"engines", false, cv_show_engines},
	{"kernel", false, cv_show_kernel},
	{"workers", false, cv_show_workers},
	{"reasons", false, cv_show_reasons},
	{"kick", true, kick},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void refuse(struct json_object *answer, const char *line)
{
	char text[512];
	int len = snprintf(text, sizeof(text), "\"%.64s\": expected one of:", line);

	for (size_t i = 0; i < COMMAND_COUNT && len < (int)sizeof(text); i++)
		len += snprintf(text + len, sizeof(text) - (size_t)len, " %s%s", commands[i].name,
				commands[i].wants_argument ? " ARGUMENT" : "");
	cv_json_text(answer, "error", text);
}

struct json_object *cv_control_answer(const struct cv_control_view *view, const char *line)
{
	struct json_object *answer = json_object_new_object();
	size_t name_len = strcspn(line, " ");
	const char *argument = line + name_len + strspn(line + name_len, " ");

	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const struct command *command = &commands[i];

		if (strlen(command->name) != name_len || strncmp(line, command->name, name_len) ||
		    command->wants_argument != (*argument != '\0'))
			continue;
		command->run(view, argument, answer);
		return answer;
	}
	refuse(answer, line);
	return answer;
}

void cv_show_visit(const struct cv_control_view *view,
		   void (*session)(struct cv_worker_visit *visit, struct cv_session *session),
		   void *context)
{
	for (unsigned i = 0; i < view->worker_count; i++) {
		struct cv_worker_visit visit = {.session = session, .context = context};

		cv_worker_visit_all(&view->workers[i], &visit);
	}
}
