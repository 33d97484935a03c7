/* SPDX-License-Identifier: MIT */
#ifndef CULVERT_TOOLS_CULVERT_ASK_H
#define CULVERT_TOOLS_CULVERT_ASK_H

#include <json-c/json.h>

#define CV_COMMAND_MAX 500 /* a line, its end and the daemon's reserve aside */
#define CV_DEFAULT_CONTROL "/run/culvert/control.sock"

/** cv_ask() - Send @command (one line, control/command.c) to the daemon at @path. Returns its
 * answer, to be freed by json_object_put(), or NULL after saying why on stderr. */
struct json_object *cv_ask(const char *path, const char *command);
/** cv_ask_for_reload() - Let the daemon read its configuration again, waiting up to 10 s for a
 * reload that is under way. As cv_ask(). */
struct json_object *cv_ask_for_reload(const char *path);

#endif
