// SPDX-License-Identifier: MIT
/*
 * control_socket.c - accepts one client at a time, reads one command line, writes JSON, closes.
 *
 * Reads are bounded (256 bytes, 2 s), writes as well; the answer is built before it is written, so
 * a slow reader holds nothing but this thread. Stopping wakes the thread by an eventfd. A path that
 * another daemon answers at, or that is no socket, is left alone.
 */
#include "control/control_socket.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "base/reason.h"
#include "ring/listen.h"
#include "session/session.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
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

struct cv_control {
	char *path;
	int listen_fd, wake_fd;
	const struct cv_config *config;
	struct cv_worker *workers;
	unsigned worker_count;
	pthread_t thread;
};

struct session_list {
	struct json_object *array;
	const char *only; /* "worker.id" or NULL */
};

static void add(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, json_object_new_string(text ? text : ""));
}

static void add_u64(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

/* ---- sessions ----------------------------------------------------------------------------- */

static struct json_object *direction_json(struct cv_session *session, enum cv_direction direction)
{
	struct json_object *object = json_object_new_object();
	struct cv_flow *flow = &session->flow[direction];
	char text[128] = "user space: layers";

	add(object, "engine", flow->engine ? flow->engine->name : "layers");
	if (session->flow_active[direction])
		flow->engine->describe(flow, text, sizeof(text));
	else if (session->flow_ended[direction])
		snprintf(text, sizeof(text), "ended");
	add(object, "state", text);
	add_u64(object, "bytes", cv_session_bytes(session, direction));
	add_u64(object, "kernel_bytes", flow->moved_bytes);
	return object;
}

static void peer_text(int fd, char text[CV_DESTINATION_TEXT])
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.un)};

	text[0] = '\0';
	if (fd >= 0 && getpeername(fd, &address.any, &address.len_bytes) == 0)
		cv_sockaddr_format(&address, text);
}

static void list_session(struct cv_worker_visit *visit, struct cv_session *session)
{
	struct session_list *list = visit->context;
	uint64_t now_ms = cv_ring_now_ms(session->worker->ring);
	struct json_object *object;
	char text[CV_DESTINATION_TEXT];

	snprintf(text, sizeof(text), "%u.%" PRIu64, session->worker->index, session->id);
	cv_session_account(session);
	if (list->only && strcmp(list->only, text) != 0)
		return;
	object = json_object_new_object();
	add(object, "id", text);
	json_object_object_add(object, "worker", json_object_new_int((int)session->worker->index));
	add(object, "state", cv_session_state_name(session));
	add(object, "inbound", session->inbound->tag);
	add(object, "user", cv_session_user_name(session));
	peer_text(session->client.fd, text);
	add(object, "client", text);
	add(object, "outbound",
	    session->is_fallback ? "fallback"
	    : session->outbound  ? session->outbound->tag
				 : "");
	add(object, "destination", session->destination_text);
	json_object_object_add(object, "uplink", direction_json(session, CV_UPLINK));
	json_object_object_add(object, "downlink", direction_json(session, CV_DOWNLINK));
	add_u64(object, "age_ms", now_ms - session->started_ms);
	add_u64(object, "idle_ms", now_ms - cv_session_idle_since_ms(session));
	json_object_array_add(list->array, object);
}

static struct json_object *sessions_json(struct cv_control *control, const char *only)
{
	struct session_list list = {.array = json_object_new_array(), .only = only};
	struct cv_worker_visit visit = {.session = list_session, .context = &list};

	for (unsigned i = 0; i < control->worker_count; i++)
		cv_worker_visit_all(&control->workers[i], &visit);
	return list.array;
}

/* ---- counters ----------------------------------------------------------------------------- */

static uint64_t load(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static struct json_object *workers_json(struct cv_control *control)
{
	struct json_object *array = json_object_new_array();

	for (unsigned i = 0; i < control->worker_count; i++) {
		const struct cv_worker_counters *c = &control->workers[i].counters;
		struct json_object *object = json_object_new_object();

		json_object_object_add(object, "worker", json_object_new_int((int)i));
		add_u64(object, "accepted", load(&c->accepted));
		add_u64(object, "sessions",
			atomic_load_explicit(&c->sessions, memory_order_relaxed));
		add_u64(object, "uplink_bytes", load(&c->relayed_uplink_bytes));
		add_u64(object, "downlink_bytes", load(&c->relayed_downlink_bytes));
		add_u64(object, "uplink_handovers", load(&c->handed_over[CV_UPLINK]));
		add_u64(object, "downlink_handovers", load(&c->handed_over[CV_DOWNLINK]));
		add_u64(object, "reality_accepted", load(&c->reality_accepted));
		add_u64(object, "reality_hybrid", load(&c->reality_hybrid));
		add_u64(object, "reality_classic", load(&c->reality_classic));
		add_u64(object, "session_slot_bytes", sizeof(struct cv_session));
		json_object_array_add(array, object);
	}
	return array;
}

static struct json_object *reasons_json(struct cv_control *control)
{
	struct json_object *object = json_object_new_object();

	for (size_t r = 0; r < cv_reason_count() && r < CV_WORKER_REASONS; r++) {
		uint64_t total = 0;

		for (unsigned i = 0; i < control->worker_count; i++)
			total += load(&control->workers[i].counters.reasons[r]);
		if (total)
			add_u64(object, cv_reason_label(cv_reason_at(r)), total);
	}
	return object;
}

static struct json_object *users_json(struct cv_control *control)
{
	struct json_object *array = json_object_new_array();

	json_object_put(sessions_json(control, "")); /* brings the users' counters up to date */
	for (size_t i = 0; i < control->config->inbound_count; i++) {
		struct cv_user_table *table = control->config->inbounds[i].users;

		for (size_t u = 0; table && u < cv_user_count(table); u++) {
			struct cv_user *user = cv_user_at(table, u);
			struct json_object *object = json_object_new_object();

			add(object, "inbound", control->config->inbounds[i].tag);
			add(object, "name", user->name);
			add(object, "email", user->email);
			add_u64(object, "uplink_bytes", load(&user->uplink_bytes));
			add_u64(object, "downlink_bytes", load(&user->downlink_bytes));
			add_u64(object, "sessions", atomic_load_explicit(&user->session_count,
									 memory_order_relaxed));
			json_object_array_add(array, object);
		}
	}
	return array;
}

static struct json_object *answer(struct cv_control *control, char *command)
{
	struct json_object *root = json_object_new_object();

	command[strcspn(command, "\r\n")] = '\0';
	if (strcmp(command, "sessions") == 0)
		json_object_object_add(root, "sessions", sessions_json(control, NULL));
	else if (strncmp(command, "session ", 8) == 0)
		json_object_object_add(root, "sessions", sessions_json(control, command + 8));
	else if (strcmp(command, "workers") == 0)
		json_object_object_add(root, "workers", workers_json(control));
	else if (strcmp(command, "reasons") == 0)
		json_object_object_add(root, "reasons", reasons_json(control));
	else if (strcmp(command, "users") == 0)
		json_object_object_add(root, "users", users_json(control));
	else
		add(root, "error", "expected sessions, session ID, workers, reasons or users");
	return root;
}

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

static void serve(struct cv_control *control, int fd)
{
	char command[COMMAND_MAX];
	struct json_object *root;
	const char *text;
	size_t len;

	if (!read_command(fd, command))
		return;
	root = answer(control, command);
	text = json_object_to_json_string_length(root, JSON_C_TO_STRING_PLAIN, &len);
	write_answer(fd, text, len);
	json_object_put(root);
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
		if (fd < 0)
			continue;
		serve(control, fd);
		(void)close(fd);
	}
	return NULL;
}

static int open_socket(struct cv_control *control, const char *path)
{
	struct cv_sockaddr address = {.un.sun_family = AF_UNIX, .len_bytes = sizeof(address.un)};
	char *slash;
	int error;

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
	control->listen_fd = cv_listen(&address, BACKLOG, 0600);
	if (control->listen_fd < 0)
		return control->listen_fd;
	error = pthread_create(&control->thread, NULL, thread_main, control);
	if (error)
		(void)unlink(path);
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

int cv_control_start(const char *path, const struct cv_config *config, struct cv_worker *workers,
		     unsigned worker_count, struct cv_control **ret_control)
{
	struct cv_control *control = calloc(1, sizeof(*control));
	int error;

	if (!control)
		return -ENOMEM;
	control->config = config;
	control->workers = workers;
	control->worker_count = worker_count;
	control->listen_fd = control->wake_fd = -1;
	error = open_socket(control, path);
	if (error)
		control_free(control);
	else
		*ret_control = control;
	return error;
}

struct cv_control *cv_control_stop(struct cv_control *control)
{
	const uint64_t one = 1;

	if (!control)
		return NULL;
	if (write(control->wake_fd, &one, sizeof(one)) == sizeof(one))
		pthread_join(control->thread, NULL);
	(void)unlink(control->path);
	control_free(control);
	return NULL;
}
