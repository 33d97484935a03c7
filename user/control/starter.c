// SPDX-License-Identifier: MIT
/*
 * starter.c - both ends of the socket between the daemon and its starter.
 *
 * Descriptors come in as many messages as they need (253 fit into one, unix(7)), each followed by
 * the next only when it has been read: SOCK_SEQPACKET keeps them apart and in order.
 */
#include "control/starter.h"

#include "base/clock.h"
#include "base/log.h"
#include "session/inherited.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX (CV_INHERITED_MAX + 1) /* the report's is the first */
#define FDS_PER_MESSAGE 200
#define END_WAIT_MS 5000
#define STARTER_NAME "culvert-starter"

extern char **environ;

struct cv_starter {
	int fd;
	pid_t pid;
};

enum request_kind { REQUEST_FDS, REQUEST_START, REQUEST_END };

struct request {
	uint32_t kind; /* enum request_kind */
	uint32_t fd_count;
};

struct answer {
	int32_t error;
	int32_t pid;
};

/* The starter's own. */
struct state {
	int fd;
	char **arguments;
	int fds[FDS_MAX];
	size_t fd_count;
	pid_t successor;
};

/* ---- the successor's arguments, environment and descriptors ------------------------------- */

/* A copy: the text behind @argv is overwritten by the starter's name. */
static char **arguments_of(char **argv)
{
	size_t count = 0, kept = 0;
	char **copy;

	while (argv[count])
		count++;
	copy = calloc(count + 2, sizeof(*copy));
	for (size_t i = 0; copy && i < count; i++)
		if (strcmp(argv[i], "--takeover") != 0 && !(copy[kept++] = strdup(argv[i])))
			return NULL;
	if (copy)
		copy[kept] = (char *)"--takeover";
	return copy;
}

static char *listen_variable(const int *fds, size_t count)
{
	const size_t size = sizeof(CV_INHERITED_VARIABLE "=") + count * 8;
	char *text = malloc(size);
	size_t len;

	if (!text)
		return NULL;
	len = (size_t)snprintf(text, size, CV_INHERITED_VARIABLE "=");
	for (size_t i = 0; i < count && len < size; i++)
		len += (size_t)snprintf(text + len, size - len, "%s%d", i ? "," : "", fds[i]);
	return text;
}

static bool is_ours(const char *variable)
{
	return strncmp(variable, CV_REPORT_VARIABLE "=", strlen(CV_REPORT_VARIABLE "=")) == 0 ||
	       strncmp(variable, CV_INHERITED_VARIABLE "=", strlen(CV_INHERITED_VARIABLE "=")) == 0;
}

static char **environment_of(char *report_variable, char *inherited_variable)
{
	size_t count = 0, kept = 0;
	char **copy;

	while (environ[count])
		count++;
	copy = calloc(count + 3, sizeof(*copy));
	if (!copy)
		return NULL;
	for (size_t i = 0; i < count; i++)
		if (!is_ours(environ[i]))
			copy[kept++] = environ[i];
	copy[kept++] = report_variable;
	copy[kept] = inherited_variable;
	return copy;
}

/* Each descriptor keeps its number: putting it onto itself only makes it survive the exec. */
static int add_descriptors(const struct state *state, posix_spawn_file_actions_t *actions)
{
	int error = 0;

	for (size_t i = 0; i < state->fd_count && !error; i++)
		error = posix_spawn_file_actions_adddup2(actions, state->fds[i], state->fds[i]);
	return error;
}

/* Blocked and ignored signals are ours, not the successor's. */
static int spawn_with(struct state *state, char **environment)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, defaults;
	char **arguments = state->arguments;
	int error;

	sigemptyset(&none);
	sigfillset(&defaults);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &defaults);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	error = add_descriptors(state, &actions);
	if (!error)
		error = posix_spawnp(&state->successor, arguments[0], &actions, &attributes,
				     arguments, environment);
	if (error == EACCES) { /* we may have been started by who may go where we may not */
		cv_log(CV_LOG_WARNING, "restart: %s cannot be run: the successor is this program",
		       arguments[0]);
		error = posix_spawn(&state->successor, "/proc/self/exe", &actions, &attributes,
				    arguments, environment);
	}
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return -error;
}

static int spawn(struct state *state)
{
	char report_variable[64];
	char *inherited_variable = listen_variable(state->fds + 1, state->fd_count - 1);
	char **environment;
	int error = -ENOMEM;

	(void)snprintf(report_variable, sizeof(report_variable), CV_REPORT_VARIABLE "=%d",
		       state->fds[0]);
	environment = environment_of(report_variable, inherited_variable);
	if (environment && inherited_variable)
		error = spawn_with(state, environment);
	free(environment);
	free(inherited_variable);
	return error;
}

/* ---- the starter -------------------------------------------------------------------------- */

static void forget_descriptors(struct state *state)
{
	while (state->fd_count)
		(void)close(state->fds[--state->fd_count]);
}

static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* SIGTERM, and what does not hear it is killed. */
static void end_successor(struct state *state)
{
	const uint64_t until_ms = cv_clock_ms() + END_WAIT_MS;
	const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};

	if (state->successor <= 0)
		return;
	(void)kill(state->successor, SIGTERM);
	while (waitpid(state->successor, NULL, WNOHANG) == 0) {
		if (cv_clock_ms() > until_ms)
			(void)kill(state->successor, SIGKILL);
		(void)nanosleep(&pause, NULL);
	}
	state->successor = 0;
}

static struct answer start_successor(struct state *state)
{
	struct answer answer = {.error = -EINVAL};

	if (state->successor > 0) /* an earlier one: not to be confused with the next */
		(void)waitpid(state->successor, NULL, WNOHANG);
	state->successor = 0;
	if (state->fd_count > 0)
		answer.error = spawn(state);
	answer.pid = state->successor;
	forget_descriptors(state);
	return answer;
}

static struct answer obey(struct state *state, const struct request *request)
{
	if (request->kind == REQUEST_START)
		return start_successor(state);
	if (request->kind == REQUEST_END)
		end_successor(state);
	return (struct answer){.error = 0};
}

static void keep_descriptors(struct state *state, struct msghdr *message)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(message);
	size_t count;

	if (!control || control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
		return;
	count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	for (size_t i = 0; i < count; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(control) + i * sizeof(fd), sizeof(fd));
		if (state->fd_count < FDS_MAX)
			state->fds[state->fd_count++] = fd;
		else
			(void)close(fd);
	}
}

/* False: the daemon has ended. */
static bool hear(struct state *state)
{
	union {
		char bytes[CMSG_SPACE(FDS_PER_MESSAGE * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct request request;
	struct iovec part = {.iov_base = &request, .iov_len = sizeof(request)};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct answer answer;
	ssize_t got;

	do
		got = recvmsg(state->fd, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got <= 0)
		return false;
	keep_descriptors(state, &message);
	if (got != sizeof(request) || message.msg_flags & MSG_CTRUNC)
		request.kind = REQUEST_FDS;
	answer = obey(state, &request);
	return send(state->fd, &answer, sizeof(answer), MSG_NOSIGNAL) == sizeof(answer);
}

/* So that pidof(8) and ps(1) do not take us for a daemon. The arguments are one text. */
static void change_name(char **argv)
{
	const char *end = argv[0];
	size_t size;

	for (size_t i = 0; argv[i]; i++)
		if (argv[i] == end)
			end += strlen(argv[i]) + 1;
	size = (size_t)(end - argv[0]);
	memset(argv[0], 0, size);
	(void)snprintf(argv[0], size, STARTER_NAME);
	(void)prctl(PR_SET_NAME, STARTER_NAME);
}

/* The signals that end a daemon may come to its whole group; we end with it, not before. */
static void run(int fd, char **argv)
{
	struct state *state = calloc(1, sizeof(*state));

	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	if (!state || !(state->arguments = arguments_of(argv)))
		_exit(EXIT_FAILURE);
	state->fd = fd;
	/* what we inherited is the daemon's: a listening socket that we kept would stay open */
	(void)close_range(3, (unsigned)fd - 1, 0);
	(void)close_range((unsigned)fd + 1, ~0u, 0);
	(void)prctl(PR_SET_DUMPABLE, 0); /* a daemon of the same user must not get into us */
	raise_limit();
	change_name(argv);
	while (hear(state))
		;
	_exit(EXIT_SUCCESS);
}

/* ---- the daemon --------------------------------------------------------------------------- */

int cv_starter_new(char **argv, struct cv_starter **ret_starter)
{
	struct cv_starter *starter = calloc(1, sizeof(*starter));
	int pair[2];

	if (!starter)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		free(starter);
		return -errno;
	}
	starter->pid = fork();
	if (starter->pid == 0) {
		(void)close(pair[0]);
		run(pair[1], argv);
	}
	(void)close(pair[1]);
	starter->fd = pair[0];
	if (starter->pid < 0) {
		const int error = -errno;

		(void)close(pair[0]);
		free(starter);
		return error;
	}
	*ret_starter = starter;
	return 0;
}

static int ask(const struct cv_starter *starter, enum request_kind kind, const int *fds,
	       size_t count, pid_t *ret_pid)
{
	union {
		char bytes[CMSG_SPACE(FDS_PER_MESSAGE * sizeof(int))];
		struct cmsghdr align;
	} control = {.bytes = ""};
	struct request request = {.kind = kind, .fd_count = (uint32_t)count};
	struct iovec part = {.iov_base = &request, .iov_len = sizeof(request)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	struct cmsghdr *header;
	struct answer answer;

	if (count) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(header), fds, count * sizeof(int));
	}
	if (sendmsg(starter->fd, &message, MSG_NOSIGNAL) < 0)
		return -errno;
	if (recv(starter->fd, &answer, sizeof(answer), 0) != sizeof(answer))
		return -EPIPE;
	if (ret_pid)
		*ret_pid = answer.pid;
	return answer.error;
}

int cv_starter_start(struct cv_starter *starter, int report_fd, const int *fds, size_t count,
		     pid_t *ret_pid)
{
	int error = ask(starter, REQUEST_FDS, &report_fd, 1, NULL);

	for (size_t done = 0; done < count && !error; done += FDS_PER_MESSAGE) {
		const size_t left = count - done;

		error = ask(starter, REQUEST_FDS, fds + done,
			    left < FDS_PER_MESSAGE ? left : FDS_PER_MESSAGE, NULL);
	}
	return error ? error : ask(starter, REQUEST_START, NULL, 0, ret_pid);
}

void cv_starter_end(struct cv_starter *starter)
{
	(void)ask(starter, REQUEST_END, NULL, 0, NULL);
}

struct cv_starter *cv_starter_free(struct cv_starter *starter)
{
	if (!starter)
		return NULL;
	(void)close(starter->fd);
	(void)waitpid(starter->pid, NULL, 0);
	free(starter);
	return NULL;
}
