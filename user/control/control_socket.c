// SPDX-License-Identifier: MIT
/*
 * control_socket.c - accepts a client, reads one command line, writes JSON, closes.
 *
 * A few threads do so side by side. Reads are bounded (256 bytes, 2 s), writes as well; the answer
 * is built before it is written, so a slow reader holds nothing but one of the threads, and that
 * not for long. Stopping wakes them by an eventfd. A path that another daemon answers at, or that
 * is no socket, is left alone.
 */
#include "control/control_socket.h"

#include "base/clock.h"
#include "control/command.h"
#include "ring/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define COMMAND_MAX 256
#define CLIENT_WAIT_MS 2000
#define BACKLOG 16
#define THREADS 4

struct cv_control {
	char *path;
	int listen_fd, wake_fd;
	struct cv_control_view view;
	struct cv_control_hook hook;
	pthread_t threads[THREADS];
	unsigned thread_count;
};

/* ---- socket ------------------------------------------------------------------------------- */

/* False when @until_ms came first. */
static bool wait_for(int fd, short events, uint64_t until_ms)
{
	struct pollfd wait = {.fd = fd, .events = events};
	uint64_t now_ms = cv_clock_ms();

	return now_ms < until_ms && poll(&wait, 1, (int)(until_ms - now_ms)) > 0;
}

static bool read_command(int fd, char command[COMMAND_MAX])
{
	uint64_t until_ms = cv_clock_ms() + CLIENT_WAIT_MS;
	size_t len = 0;

	while (len < COMMAND_MAX - 1) {
		ssize_t got;

		if (!wait_for(fd, POLLIN, until_ms))
			return false;
		got = read(fd, command + len, COMMAND_MAX - 1 - len);
		if (got <= 0)
			break;
		len += (size_t)got;
		if (memchr(command, '\n', len))
			break;
	}
	command[len] = '\0';
	return len > 0;
}

static void write_answer(int fd, const char *text, size_t len)
{
	uint64_t until_ms = cv_clock_ms() + CLIENT_WAIT_MS;

	while (len > 0 && wait_for(fd, POLLOUT, until_ms)) {
		ssize_t put = send(fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (put < 0 && errno != EAGAIN)
			break;
		text += put > 0 ? put : 0;
		len -= put > 0 ? (size_t)put : 0;
	}
}

/* Closes @fd, or gives it to the hook. */
static void serve(struct cv_control *control, int fd)
{
	char command[COMMAND_MAX];
	struct json_object *root;
	const char *text;
	size_t len;

	if (!read_command(fd, command)) {
		(void)close(fd);
		return;
	}
	command[strcspn(command, "\r\n")] = '\0';
	if (control->hook.take(control->hook.context, command, fd))
		return;
	root = cv_control_answer(&control->view, command);
	text = json_object_to_json_string_length(root, JSON_C_TO_STRING_PLAIN, &len);
	write_answer(fd, text, len);
	json_object_put(root);
	(void)close(fd);
}

static void *thread_main(void *opaque)
{
	struct cv_control *control = opaque;
	struct pollfd wait[2] = {
		{.fd = control->listen_fd, .events = POLLIN},
		{.fd = control->wake_fd, .events = POLLIN},
	};

	while (poll(wait, 2, -1) >= 0 || errno == EINTR) {
		int fd;

		if (wait[1].revents)
			break;
		if (!(wait[0].revents & POLLIN))
			continue;
		fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0) /* another thread was quicker */
			continue;
		serve(control, fd);
	}
	return NULL;
}

static int open_socket(struct cv_control *control, const char *path, bool takeover)
{
	struct cv_sockaddr address = {.un.sun_family = AF_UNIX, .len_bytes = sizeof(address.un)};
	char *slash;

	if (strlen(path) >= sizeof(address.un.sun_path))
		return -ENAMETOOLONG;
	control->path = strdup(path);
	if (!control->path)
		return -ENOMEM;
	slash = strrchr(control->path, '/');
	if (slash && slash != control->path) {
		*slash = '\0';
		(void)mkdir(control->path, 0755);
		*slash = '/';
	}
	strcpy(address.un.sun_path, path);
	control->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (control->wake_fd < 0)
		return -errno;
	control->listen_fd = takeover ? cv_listen_replace(&address, BACKLOG, 0600)
				      : cv_listen(&address, BACKLOG, 0600);
	if (control->listen_fd < 0)
		return control->listen_fd;
	/* whoever comes second to a client must not wait for the next one */
	return fcntl(control->listen_fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

/* One thread is enough to go on with. */
static int start_threads(struct cv_control *control)
{
	int error = 0;

	while (control->thread_count < THREADS && !error) {
		error = pthread_create(&control->threads[control->thread_count], NULL, thread_main,
				       control);
		control->thread_count += error == 0;
	}
	if (control->thread_count > 0)
		return 0;
	(void)unlink(control->path);
	return -error;
}

static void control_free(struct cv_control *control)
{
	if (control->listen_fd >= 0)
		(void)close(control->listen_fd);
	if (control->wake_fd >= 0)
		(void)close(control->wake_fd);
	free(control->path);
	free(control);
}

int cv_control_start(const char *path, const struct cv_control_view *view,
		     const struct cv_control_hook *hook, bool takeover,
		     struct cv_control **ret_control)
{
	struct cv_control *control = calloc(1, sizeof(*control));
	int error;

	if (!control)
		return -ENOMEM;
	control->view = *view;
	control->hook = *hook;
	control->listen_fd = control->wake_fd = -1;
	error = open_socket(control, path, takeover);
	if (!error)
		error = start_threads(control);
	if (error)
		control_free(control);
	else
		*ret_control = control;
	return error;
}

struct cv_control *cv_control_stop(struct cv_control *control, bool leave_path)
{
	const uint64_t one = 1;

	if (!control)
		return NULL;
	if (write(control->wake_fd, &one, sizeof(one)) == sizeof(one))
		for (unsigned i = 0; i < control->thread_count; i++)
			pthread_join(control->threads[i], NULL);
	if (!leave_path)
		(void)unlink(control->path);
	control_free(control);
	return NULL;
}
