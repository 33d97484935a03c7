// SPDX-License-Identifier: MIT
/*
 * culvert_ask.c - one question to a running daemon over its control socket, one JSON answer back.
 */
#include "culvert_ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX (256u << 20)
#define RELOAD_LOOK_MS 50
#define RELOAD_WAIT_MS 10000

static int dial(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int error = errno;

		(void)close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

static char *read_answer(int fd)
{
	size_t len = 0, size = 65536;
	char *text = malloc(size);
	ssize_t got = 1;

	while (text && got > 0) {
		if (len + 1 == size) {
			char *larger = size < ANSWER_MAX ? realloc(text, size * 2) : NULL;

			if (!larger) {
				free(text);
				return NULL;
			}
			text = larger;
			size *= 2;
		}
		got = read(fd, text + len, size - 1 - len);
		len += got > 0 ? (size_t)got : 0;
	}
	if (got < 0) { /* interrupted by the user, for one */
		free(text);
		return NULL;
	}
	if (text)
		text[len] = '\0';
	return text;
}

struct json_object *cv_ask(const char *path, const char *command)
{
	struct json_object *root = NULL;
	int fd = dial(path);
	char *answer;

	if (fd < 0) {
		fprintf(stderr, "culvert: %s: %s (is culvertd running?)\n", path, strerror(errno));
		return NULL;
	}
	errno = 0;
	answer = dprintf(fd, "%s\n", command) > 0 ? read_answer(fd) : NULL;
	if (answer && *answer)
		root = json_tokener_parse(answer);
	free(answer);
	(void)close(fd);
	if (!root && errno != EINTR)
		fprintf(stderr, "culvert: %s: no answer\n", path);
	return root;
}

/* A reload that is under way may have read the file before the change: another one has to follow.
 */
struct json_object *cv_ask_for_reload(const char *control)
{
	const struct timespec pause = {.tv_nsec = RELOAD_LOOK_MS * 1000000};
	struct json_object *answer = NULL, *error;

	for (int i = 0; i < RELOAD_WAIT_MS / RELOAD_LOOK_MS; i++) {
		answer = cv_ask(control, "reload");
		if (!answer || !json_object_object_get_ex(answer, "error", &error) ||
		    !strstr(json_object_get_string(error), "another reload"))
			break;
		json_object_put(answer);
		answer = NULL;
		(void)nanosleep(&pause, NULL);
	}
	return answer;
}
