// SPDX-License-Identifier: MIT
/*
 * command.c - the table of control commands.
 *
 *   "session 0.17" -> find "session" -> handler(view, "0.17", answer) -> {"sessions": [...]}
 */
#include "control/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROWS 64

static const struct command {
	const char *name;
	enum { NONE, OPTIONAL, REQUIRED } argument; /* others are refused */
	void (*run)(const struct cv_control_view *view, const char *argument,
		    struct json_object *answer);
} commands[] = {
	{"sessions", OPTIONAL, cv_show_sessions},
	{"session", REQUIRED, cv_show_session},
	{"carriers", NONE, cv_show_carriers},
	{"users", NONE, cv_show_users},
	{"engines", NONE, cv_show_engines},
	{"sni", NONE, cv_show_sni},
	{"backends", NONE, cv_show_backends},
	{"proxies", NONE, cv_show_proxies},
	{"outbounds", NONE, cv_show_outbounds},
	{"kernel", NONE, cv_show_kernel},
	{"workers", NONE, cv_show_workers},
	{"reasons", NONE, cv_show_reasons},
	{"kick", REQUIRED, cv_kick},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

/* What is not whole would mislead: a session that is left out is taken to have ended. */
static struct json_object *whole_or_null(struct json_object *answer, uint64_t lacks_before)
{
	if (cv_json_lacks() == lacks_before)
		return answer;
	json_object_put(answer);
	return NULL;
}

struct json_object *cv_control_error(const char *text)
{
	const uint64_t lacks = cv_json_lacks();
	struct json_object *answer = json_object_new_object();

	cv_json_text(answer, "error", text);
	return whole_or_null(answer, lacks);
}

static bool takes(const struct command *command, bool has_argument)
{
	return command->argument == OPTIONAL || (command->argument == REQUIRED) == has_argument;
}

static struct json_object *refuse(const char *line)
{
	char text[512];
	static const char *const arguments[] = {
		[NONE] = "", [OPTIONAL] = " [ARGUMENT]", [REQUIRED] = " ARGUMENT"};
	int len = snprintf(text, sizeof(text), "\"%.64s\": expected one of:", line);

	for (size_t i = 0; i < COMMAND_COUNT && len < (int)sizeof(text); i++)
		len += snprintf(text + len, sizeof(text) - (size_t)len, " %s%s", commands[i].name,
				arguments[commands[i].argument]);
	return cv_control_error(text);
}

struct json_object *cv_control_answer(const struct cv_control_view *view, const char *line)
{
	const uint64_t lacks = cv_json_lacks();
	struct json_object *answer;
	size_t name_len = strcspn(line, " ");
	const char *argument = line + name_len + strspn(line + name_len, " ");

	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const struct command *command = &commands[i];

		if (strlen(command->name) != name_len || strncmp(line, command->name, name_len) ||
		    !takes(command, *argument != '\0'))
			continue;
		answer = json_object_new_object();
		command->run(view, argument, answer);
		answer = whole_or_null(answer, lacks);
		return answer ? answer : cv_control_error("out of memory");
	}
	return refuse(line);
}

void *cv_show_room(void *rows, size_t count, size_t *size, size_t row_bytes)
{
	const size_t wanted = *size ? *size * 2 : FIRST_ROWS;
	void *more;

	if (count < *size)
		return rows;
	more = reallocarray(rows, wanted, row_bytes);
	if (more)
		*size = wanted;
	return more;
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
