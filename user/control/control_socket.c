// SPDX-License-Identifier: MIT
/*
 * control_socket.c - accepts clients, reads one command line of each, writes JSON, closes.
 *
 *   accept -> READ a line -> run it (control/command.c) -> WRITE the answer -> close
 *
 * One thread polls them all, so that whoever says nothing or reads slowly holds nothing but its own
 * descriptor and answer, until its deadline. Only commands themselves wait for each other, and they
 * are milliseconds. A line must be whole to be run: what a dying client left behind is no command.
 * A path that another daemon answers at, or that is no socket, is left alone.
 */
#include "control/control_socket.h"

#include "base/clock.h"
#include "control/command.h"
#include "ring/listen.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMMAND_MAX 512
#define CLIENT_WAIT_MS 2000 /* for its line; for each step forward in its answer */
#define CLIENTS_MAX 64
#define ACCEPT_PAUSE_MS 50
#define BACKLOG 64

struct client {
	int fd;
	uint64_t until_ms;
	char command[COMMAND_MAX];
	size_t command_len;
	struct json_object *answer; /* NULL while it is read */
	const char *text;	    /* of the answer, what is left of it */
	size_t text_len;
};

struct cv_control {
	char *path;
	int listen_fd, wake_fd;
	struct cv_control_view view;
	pthread_mutex_t view_lock; /* an answer is made under it */
	struct cv_control_hook hook;
	pthread_t thread;
	struct client clients[CLIENTS_MAX];
	unsigned client_count;
};

/* ---- one client --------------------------------------------------------------------------- */

/* Each step returns false when the client is done with, its descriptor closed or given away. */

static bool client_close(struct client *client)
{
	/* with bytes unread, closing would be a reset, which may overtake the answer */
	(void)recv(client->fd, client->command, sizeof(client->command), MSG_DONTWAIT);
	json_object_put(client->answer);
	(void)close(client->fd);
	return false;
}

static bool client_write(struct client *client)
{
	ssize_t put = send(client->fd, client->text, client->text_len,
			   MSG_NOSIGNAL | MSG_DONTWAIT);

	if (put < 0)
		return errno == EAGAIN || errno == EINTR ? true : client_close(client);
	client->text += put;
	client->text_len -= (size_t)put;
	client->until_ms = cv_clock_ms() + CLIENT_WAIT_MS;
	return client->text_len > 0 ? true : client_close(client);
}

static bool client_answer(struct client *client, struct json_object *answer)
{
	if (!answer)
		return client_close(client);
	client->answer = answer;
	client->text = json_object_to_json_string_length(answer, JSON_C_TO_STRING_PLAIN,
							 &client->text_len);
	client->until_ms = cv_clock_ms() + CLIENT_WAIT_MS;
	return client->text ? client_write(client) : client_close(client);
}

static bool client_run(struct cv_control *control, struct client *client)
{
	struct json_object *answer;

	client->command[strcspn(client->command, "\r\n")] = '\0';
	if (control->hook.take(control->hook.context, client->command, client->fd))
		return false;
	pthread_mutex_lock(&control->view_lock);
	answer = cv_control_answer(&control->view, client->command);
	pthread_mutex_unlock(&control->view_lock);
	return client_answer(client, answer);
}

static bool client_read(struct cv_control *control, struct client *client)
{
	char *at = client->command + client->command_len;
	ssize_t got = recv(client->fd, at, COMMAND_MAX - 1 - client->command_len, MSG_DONTWAIT);

	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? true : client_close(client);
	if (got == 0)
		return client_close(client);
	client->command_len += (size_t)got;
	client->command[client->command_len] = '\0';
	if (memchr(at, '\n', (size_t)got))
		return client_run(control, client);
	if (client->command_len < COMMAND_MAX - 1)
		return true;
	return client_answer(client, cv_control_error("the command is too long"));
}

static bool client_step(struct cv_control *control, struct client *client, short events)
{
	if (!events)
		return cv_clock_ms() < client->until_ms ? true : client_close(client);
	return client->answer ? client_write(client) : client_read(control, client);
}

/* ---- all of them -------------------------------------------------------------------------- */

static void accept_clients(struct cv_control *control)
{
	const uint64_t until_ms = cv_clock_ms() + CLIENT_WAIT_MS;
	struct pollfd wake = {.fd = control->wake_fd, .events = POLLIN};

	while (control->client_count < CLIENTS_MAX) {
		int fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0 && errno != EAGAIN) /* out of descriptors, say: not again at once */
			(void)poll(&wake, 1, ACCEPT_PAUSE_MS);
		if (fd < 0)
			return;
		control->clients[control->client_count++] =
			(struct client){.fd = fd, .until_ms = until_ms};
	}
}

/* For poll(): until the first deadline. */
static int wait_ms(const struct cv_control *control)
{
	uint64_t now_ms = cv_clock_ms(), until_ms = UINT64_MAX;

	for (unsigned i = 0; i < control->client_count; i++)
		if (control->clients[i].until_ms < until_ms)
			until_ms = control->clients[i].until_ms;
	if (until_ms == UINT64_MAX)
		return -1;
	return until_ms > now_ms ? (int)(until_ms - now_ms) : 0;
}

/* Steps each of the @count clients that was polled and closes the gaps of those done with. */
static void step_clients(struct cv_control *control, const struct pollfd *polled)
{
	const unsigned count = control->client_count;
	unsigned kept = 0;

	for (unsigned i = 0; i < count; i++)
		if (client_step(control, &control->clients[i], polled[i].revents)) {
			if (kept != i)
				control->clients[kept] = control->clients[i];
			kept++;
		}
	control->client_count = kept;
}

static void *thread_main(void *opaque)
{
	struct cv_control *control = opaque;
	struct pollfd polled[2 + CLIENTS_MAX] = {{.fd = control->wake_fd, .events = POLLIN}};
	bool room;

	do {
		room = control->client_count < CLIENTS_MAX;
		polled[1].fd = room ? control->listen_fd : -1; /* they wait in the backlog */
		polled[1].events = POLLIN;
		for (unsigned i = 0; i < control->client_count; i++) {
			polled[2 + i].fd = control->clients[i].fd;
			polled[2 + i].events = control->clients[i].answer ? POLLOUT : POLLIN;
		}
		if (poll(polled, 2 + control->client_count, wait_ms(control)) < 0)
			continue;
		step_clients(control, polled + 2);
		if (room && polled[1].revents & POLLIN)
			accept_clients(control);
	} while (!(polled[0].revents & POLLIN));
	while (control->client_count > 0)
		(void)client_close(&control->clients[--control->client_count]);
	return NULL;
}

/* ---- start and stop ----------------------------------------------------------------------- */

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
	return control->listen_fd < 0 ? control->listen_fd : 0;
}

static int start_thread(struct cv_control *control)
{
	int error = pthread_create(&control->thread, NULL, thread_main, control);

	if (error)
		(void)unlink(control->path);
	return -error;
}

static void control_free(struct cv_control *control)
{
	if (control->listen_fd >= 0)
		(void)close(control->listen_fd);
	if (control->wake_fd >= 0)
		(void)close(control->wake_fd);
	pthread_mutex_destroy(&control->view_lock);
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
	pthread_mutex_init(&control->view_lock, NULL);
	control->hook = *hook;
	control->listen_fd = control->wake_fd = -1;
	error = open_socket(control, path, takeover);
	if (!error)
		error = start_thread(control);
	if (error)
		control_free(control);
	else
		*ret_control = control;
	return error;
}

void cv_control_use(struct cv_control *control, const struct cv_config *config)
{
	if (!control)
		return;
	pthread_mutex_lock(&control->view_lock);
	control->view.config = config;
	pthread_mutex_unlock(&control->view_lock);
}

void cv_control_reply(int fd, const char *error, const char *key, uint64_t value)
{
	struct json_object *answer = error ? cv_control_error(error) : json_object_new_object();

	if (!error)
		cv_json_u64(answer, key, value);
	if (answer)
		(void)dprintf(fd, "%s",
			      json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN));
	json_object_put(answer);
	(void)close(fd);
}

struct cv_control *cv_control_stop(struct cv_control *control, bool leave_path)
{
	const uint64_t one = 1;

	if (!control)
		return NULL;
	if (write(control->wake_fd, &one, sizeof(one)) == sizeof(one))
		pthread_join(control->thread, NULL);
	if (!leave_path)
		(void)unlink(control->path);
	control_free(control);
	return NULL;
}
