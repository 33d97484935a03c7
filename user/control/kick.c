// SPDX-License-Identifier: MIT
/*
 * kick.c - "kick USER": ends all sessions of somebody.
 *
 *   {"kicked": 3}, or {"error": ...} when nobody is called so: a misspelt name must not look like
 *   somebody who was not there
 */
#include "control/command.h"
#include "session/session_limits.h"

#include <culvert/reason.h>
#include <stdio.h>

static bool is_known(const struct cv_control_view *view, const char *who)
{
	for (size_t i = 0; i < view->config->inbound_count; i++) {
		struct cv_user_table *users = view->config->inbounds[i].users;

		for (size_t u = 0; users && u < cv_user_count(users); u++)
			if (cv_user_is_called(cv_user_at(users, u), who))
				return true;
	}
	return false;
}

void cv_kick(const struct cv_control_view *view, const char *argument, struct json_object *answer)
{
	char text[128];

	if (!is_known(view, argument)) {
		(void)snprintf(text, sizeof(text), "no user is called %.80s", argument);
		cv_json_text(answer, "error", text);
		return;
	}
	cv_json_u64(answer, "kicked",
		    cv_limits_kick(view->workers, view->worker_count, argument, CV_POLICY_KICKED));
}
