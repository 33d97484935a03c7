// SPDX-License-Identifier: MIT
/*
 * successor.c - both ends of a restart: the old daemon's thread that waits, the new one's report.
 *
 * The wait has a thread of its own, because a successor first learns its targets, which takes
 * seconds in which the control socket must go on answering.
 */
#include "control/successor.h"

#include "base/address.h"
#include "base/clock.h"
#include "base/log.h"
#include "control/json.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define REPORT_MAX 8192
#define READY "ready\n"
#define READY_WAIT_MS 120000
#define LOOK_MS 200
#define ANSWER_WAIT_S 5

struct cv_successor {
	struct cv_starter *starter;
	pthread_mutex_t lock;
	pthread_t thread;
	bool has_thread, busy;
	_Atomic bool stopping;
	int client_fd;
	const int *left_fds;
	size_t left_count;
};

struct report {
	char text[REPORT_MAX + 1];
	size_t len;
};

/* ---- the old daemon ----------------------------------------------------------------------- */

/* True when the report is over: the successor's end, or its last word. */
static bool report_read(struct report *report, int fd)
{
	ssize_t got = read(fd, report->text + report->len, REPORT_MAX - report->len);

	if (got < 0)
		return errno != EINTR;
	report->len += (size_t)got;
	report->text[report->len] = '\0';
	return got == 0 || report->len == REPORT_MAX || strstr(report->text, READY);
}

static bool report_is_ready(const struct report *report)
{
	const char *found = strstr(report->text, READY);

	return found && (found == report->text || found[-1] == '\n');
}

static void report_wait(struct cv_successor *successor, struct report *report, int fd)
{
	const uint64_t until_ms = cv_clock_ms() + READY_WAIT_MS;
	struct pollfd wait = {.fd = fd, .events = POLLIN};

	while (!atomic_load(&successor->stopping) && cv_clock_ms() < until_ms)
		if (poll(&wait, 1, LOOK_MS) > 0 && report_read(report, fd))
			return;
	if (report->len == 0)
		report->len = (size_t)snprintf(report->text, REPORT_MAX, "not ready within %d s\n",
					       READY_WAIT_MS / 1000);
}

static void answer(int fd, struct json_object *root)
{
	const struct timeval limit = {.tv_sec = ANSWER_WAIT_S};
	size_t len = 0;
	const char *text = json_object_to_json_string_length(root, JSON_C_TO_STRING_PLAIN, &len);

	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (text && send(fd, text, len, MSG_NOSIGNAL) < 0)
		cv_log(CV_LOG_DEBUG, "restart: whoever asked is gone");
	json_object_put(root);
	(void)close(fd);
}

static void answer_error(int fd, const char *text)
{
	struct json_object *root = json_object_new_object();

	cv_json_text(root, "error", text);
	answer(fd, root);
}

static void answer_pid(int fd, pid_t pid)
{
	struct json_object *root = json_object_new_object();

	cv_json_u64(root, "pid", (uint64_t)pid);
	cv_json_u64(root, "retired", (uint64_t)getpid());
	answer(fd, root);
}

static void wait_and_answer(struct cv_successor *successor, pid_t pid, int report_fd)
{
	struct report report = {.len = 0};

	report_wait(successor, &report, report_fd);
	if (report_is_ready(&report)) {
		answer_pid(successor->client_fd, pid);
		return;
	}
	cv_starter_end(successor->starter);
	if (report.len == 0)
		snprintf(report.text, REPORT_MAX, "the new culvertd ended without a word");
	for (size_t i = 0; report.text[i]; i++)
		if (report.text[i] == '\n')
			report.text[i] = report.text[i + 1] ? ';' : '\0';
	cv_log(CV_LOG_ERROR, "restart failed, going on: %s", report.text);
	answer_error(successor->client_fd, report.text);
}

static void *thread_main(void *opaque)
{
	struct cv_successor *successor = opaque;
	int pipe_fds[2], error = 0;
	pid_t pid = 0;

	if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
		answer_error(successor->client_fd, strerror(errno));
	} else {
		error = cv_starter_start(successor->starter, pipe_fds[1], successor->left_fds,
					 successor->left_count, &pid);
		(void)close(pipe_fds[1]);
		if (error)
			answer_error(successor->client_fd, strerror(-error));
		else
			wait_and_answer(successor, pid, pipe_fds[0]);
		(void)close(pipe_fds[0]);
	}
	pthread_mutex_lock(&successor->lock);
	successor->busy = false;
	pthread_mutex_unlock(&successor->lock);
	return NULL;
}

int cv_successor_new(struct cv_starter *starter, struct cv_successor **ret_successor)
{
	struct cv_successor *successor = calloc(1, sizeof(*successor));

	if (!successor)
		return -ENOMEM;
	successor->starter = starter;
	pthread_mutex_init(&successor->lock, NULL);
	*ret_successor = successor;
	return 0;
}

void cv_successor_leave(struct cv_successor *successor, const int *fds, size_t count)
{
	successor->left_fds = fds;
	successor->left_count = count;
}

void cv_successor_start(struct cv_successor *successor, int client_fd)
{
	bool started = false;

	pthread_mutex_lock(&successor->lock);
	if (!successor->busy && !atomic_load(&successor->stopping)) {
		if (successor->has_thread)
			pthread_join(successor->thread, NULL);
		successor->client_fd = client_fd;
		started = pthread_create(&successor->thread, NULL, thread_main, successor) == 0;
		successor->busy = successor->has_thread = started;
	}
	pthread_mutex_unlock(&successor->lock);
	if (!started)
		answer_error(client_fd, "a restart is under way already");
}

void cv_successor_cancel(struct cv_successor *successor)
{
	atomic_store(&successor->stopping, true);
}

struct cv_successor *cv_successor_free(struct cv_successor *successor)
{
	if (!successor)
		return NULL;
	if (successor->has_thread)
		pthread_join(successor->thread, NULL);
	pthread_mutex_destroy(&successor->lock);
	free(successor);
	return NULL;
}

/* ---- the new one -------------------------------------------------------------------------- */

static int report_fd = -1;

void cv_report_open(void)
{
	const char *text = getenv(CV_REPORT_VARIABLE);
	int fd = text ? atoi(text) : -1;
	struct stat status;

	if (fd < 3 || fstat(fd, &status) != 0 || !S_ISFIFO(status.st_mode))
		return;
	(void)unsetenv(CV_REPORT_VARIABLE);
	report_fd = fd;
	(void)fcntl(report_fd, F_SETFD, FD_CLOEXEC);
	cv_log_copy_errors(report_fd);
}

void cv_report_line(const char *text)
{
	if (report_fd >= 0)
		(void)dprintf(report_fd, "%s\n", text);
}

void cv_report_ready(void)
{
	if (report_fd < 0)
		return;
	cv_log_copy_errors(-1);
	(void)dprintf(report_fd, READY);
	(void)close(report_fd);
	report_fd = -1;
}

static int tell_old(const char *path, const char *command)
{
	const struct timeval limit = {.tv_sec = ANSWER_WAIT_S};
	struct cv_sockaddr address;
	char text[256];
	ssize_t got = -1;
	int fd, error = 0;

	if (cv_sockaddr_from_unix(path, &address) != 0)
		return -ENOENT;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(fd, &address.any, address.len_bytes) != 0)
		error = errno == ECONNREFUSED ? -ENOENT : -errno;
	else if (send(fd, command, strlen(command), MSG_NOSIGNAL) < 0 ||
		 (got = recv(fd, text, sizeof(text) - 1, 0)) <= 0)
		error = got == 0 ? -ECONNRESET : -errno;
	else if (!memmem(text, (size_t)got, "\"retiring\"", strlen("\"retiring\"")))
		error = -EPROTO;
	(void)close(fd);
	return error;
}

int cv_retire_old(const char *path, bool has_sockets)
{
	const int error = has_sockets ? tell_old(path, CV_RETIRE_SHARED "\n") : -EPROTO;

	/* an older one does not know of that */
	return error == -EPROTO ? tell_old(path, CV_RETIRE "\n") : error;
}
