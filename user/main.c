// SPDX-License-Identifier: MIT
/*
 * main.c - culvertd: configuration, workers, learners, listeners, signals.
 *
 *   load config (all findings, exit 2) -> workers -> learn the targets -> listen -> READY
 *   SIGTERM/SIGINT -> stop accepting, drain -> exit 0          (a second one cuts at once)
 *
 * Listeners open only after the targets were learned: a client must never meet a server that does
 * not yet know what its target says after the handshake (observable).
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/reason.h"
#include "config/config_load.h"
#include "control/control_socket.h"
#include "ring/listen.h"
#include "sandbox/notify.h"
#include "session/target_learner.h"
#include "session/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_CONFIG 2
#define BACKLOG 4096
#define LEARN_WAIT_MS 60000 /* for all targets together */
#define LEARN_LOOK_MS 200   /* how often that wait looks for a signal */
#define MAX_WORKERS 256

#ifndef CULVERT_VERSION
#define CULVERT_VERSION "0.1.0"
#endif

struct daemon {
	struct cv_config *config;
	struct cv_resolver *resolver;
	struct cv_worker *workers;
	unsigned worker_count;
	struct cv_target_learner **learners;
	size_t learner_count;
	struct cv_control *control;
};

static void print_finding(void *context, bool is_error, const char *text)
{
	(void)context;
	fprintf(stderr, "%s: %s\n", is_error ? "error" : "warning", text);
}

static int open_log(const struct cv_config *config)
{
	bool off = strcmp(config->log_error_path, "none") == 0;
	int error = cv_log_open(off ? "" : config->log_error_path,
				off ? CV_LOG_NONE : config->log_level);

	if (error)
		fprintf(stderr, "error: log.error: cannot open %s: %s\n", config->log_error_path,
			strerror(-error));
	return error;
}

/* ---- workers ------------------------------------------------------------------------------ */

static int start_workers(struct daemon *daemon)
{
	const struct cv_daemon_settings *settings = &daemon->config->daemon;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	const char *engine = strcmp(settings->engine, "auto") == 0 ? "splice" : settings->engine;
	unsigned count =
		settings->worker_count ? settings->worker_count : (unsigned)(cpus > 0 ? cpus : 1);

	if (count > MAX_WORKERS)
		count = MAX_WORKERS;
	daemon->workers = calloc(count, sizeof(*daemon->workers));
	if (!daemon->workers)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		struct cv_worker *worker = &daemon->workers[i];
		int error;

		worker->index = i;
		worker->config = daemon->config;
		worker->resolver = daemon->resolver;
		worker->engine = cv_engine_find(engine);
		error = cv_worker_start(worker);
		if (error) {
			cv_log(CV_LOG_ERROR, "worker %u: cannot start: %s", i,
			       cv_reason_text(error));
			return error; /* that one is gone already */
		}
		daemon->worker_count++;
	}
	return 0;
}

static void stop_workers(struct daemon *daemon)
{
	for (unsigned i = 0; i < daemon->worker_count; i++)
		cv_worker_stop(&daemon->workers[i]);
	for (unsigned i = 0; i < daemon->worker_count; i++)
		cv_worker_join(&daemon->workers[i]);
	daemon->resolver = cv_resolver_free(daemon->resolver);
	for (unsigned i = 0; i < daemon->worker_count; i++)
		cv_worker_done(&daemon->workers[i]);
}

/* ---- targets ------------------------------------------------------------------------------ */

static size_t count_targets(const struct cv_config *config)
{
	size_t count = 0;

	for (size_t i = 0; i < config->inbound_count; i++)
		if (config->inbounds[i].reality)
			count += config->inbounds[i].reality->target_count;
	return count;
}

static int learn_target(struct daemon *daemon, const struct cv_reality_inbound *inbound,
			struct cv_reality_target *target)
{
	struct cv_target_learner_config learner = {
		.target_text = target->address_text,
		.destination = target->destination,
		.unix_address = target->unix_address,
		.xver = target->xver,
		.server_names = target->server_names,
		.server_name_count = target->server_name_count,
		.interval_s = inbound->learn_interval_s,
	};
	int error = cv_target_learner_start(&learner, &daemon->learners[daemon->learner_count]);

	if (error)
		return error;
	target->reality.profile = cv_target_learner_profile;
	target->reality.profile_context = daemon->learners[daemon->learner_count++];
	return 0;
}

/* The signals are blocked, in every thread, until wait_for_stop(). */
static bool stop_is_pending(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 &&
	       (sigismember(&pending, SIGTERM) || sigismember(&pending, SIGINT));
}

/* 0 also when the time is over; -EINTR when the daemon is to stop. */
static int wait_for_learners(struct daemon *daemon)
{
	uint64_t until_ms = cv_clock_ms() + LEARN_WAIT_MS;

	for (size_t i = 0; i < daemon->learner_count; i++) {
		struct cv_target_learner *learner = daemon->learners[i];

		while (cv_target_learner_wait_ready(learner, LEARN_LOOK_MS) != 0) {
			if (stop_is_pending())
				return -EINTR;
			if (cv_clock_ms() < until_ms)
				continue;
			cv_log(CV_LOG_WARNING, "a target is not learned yet; it will be, later");
			break;
		}
	}
	return 0;
}

static int learn_targets(struct daemon *daemon)
{
	struct cv_config *config = daemon->config;
	int error = 0;

	daemon->learners = calloc(count_targets(config) + 1, sizeof(*daemon->learners));
	if (!daemon->learners)
		return -ENOMEM;
	for (size_t i = 0; i < config->inbound_count && !error; i++) {
		struct cv_reality_inbound *reality = config->inbounds[i].reality;

		for (size_t t = 0; reality && t < reality->target_count && !error; t++)
			error = learn_target(daemon, reality, &reality->targets[t]);
	}
	if (!error && daemon->learner_count)
		cv_log(CV_LOG_INFO, "learning %zu targets before listening", daemon->learner_count);
	return error ? error : wait_for_learners(daemon);
}

/* ---- listeners ---------------------------------------------------------------------------- */

/* A path can be bound once only: the workers accept from one queue. */
static int share_socket(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return copy < 0 ? -errno : copy;
}

static int listen_everywhere(struct daemon *daemon, const struct cv_inbound *inbound,
			     const struct cv_sockaddr *address)
{
	char text[CV_DESTINATION_TEXT];
	bool is_unix = address->any.sa_family == AF_UNIX;
	int first = -1;

	cv_sockaddr_format(address, text);
	for (unsigned i = 0; i < daemon->worker_count; i++) {
		int fd = is_unix && first >= 0 ? share_socket(first)
					       : cv_listen(address, BACKLOG, inbound->unix_mode);

		if (fd < 0) {
			cv_log(CV_LOG_ERROR, "inbound %s: cannot listen on %s: %s", inbound->tag,
			       text, strerror(-fd));
			return fd;
		}
		first = fd;
		if (cv_worker_listen(&daemon->workers[i], inbound, fd) != 0) {
			(void)close(fd);
			return -ENOMEM;
		}
	}
	cv_log(CV_LOG_INFO, "inbound %s listens on %s", inbound->tag, text);
	return 0;
}

/* SO_REUSEPORT would let a second daemon take half of the first one's clients without a word, so
 * each address is bound once without it. Before all listeners: ours may overlap. */
static int expect_free(struct daemon *daemon, const struct cv_inbound *inbound,
		       const struct cv_sockaddr *address)
{
	const int on = 1, off = 0;
	char text[CV_DESTINATION_TEXT];
	int fd, error = 0;

	(void)daemon;
	if (address->any.sa_family == AF_UNIX)
		return 0;
	fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address->any.sa_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, &address->any, address->len_bytes) < 0) {
		error = -errno;
		cv_sockaddr_format(address, text);
		cv_log(CV_LOG_ERROR, "inbound %s: cannot listen on %s: %s", inbound->tag, text,
		       strerror(-error));
	}
	(void)close(fd);
	return error;
}

static int for_each_address(struct daemon *daemon,
			    int (*visit)(struct daemon *daemon, const struct cv_inbound *inbound,
					 const struct cv_sockaddr *address))
{
	int error = 0;

	for (size_t i = 0; i < daemon->config->inbound_count && !error; i++) {
		const struct cv_inbound *inbound = &daemon->config->inbounds[i];

		for (size_t a = 0; a < inbound->listen_count && !error; a++)
			error = visit(daemon, inbound, &inbound->listen_addresses[a]);
	}
	return error;
}

/* ---- life --------------------------------------------------------------------------------- */

static int start(struct daemon *daemon)
{
	const struct cv_resolver_config resolver = {
		.thread_count = 4,
		.cache_entries = 4096,
		.ttl_ms = 60000,
		.negative_ttl_ms = 5000,
		.queue_limit = 4096,
	};
	const char *control_path = daemon->config->daemon.control_path;
	int error = cv_resolver_new(&resolver, &daemon->resolver);

	if (!error)
		error = for_each_address(daemon, expect_free);
	if (!error)
		error = start_workers(daemon);
	if (!error)
		error = learn_targets(daemon);
	if (!error)
		error = for_each_address(daemon, listen_everywhere);
	if (!error && control_path[0]) {
		const struct cv_control_view view = {
			.config = daemon->config,
			.workers = daemon->workers,
			.worker_count = daemon->worker_count,
		};
		int control_error = cv_control_start(control_path, &view, &daemon->control);

		if (control_error)
			cv_log(CV_LOG_WARNING, "control socket %s: %s", control_path,
			       strerror(-control_error));
	}
	return error;
}

static void stop(struct daemon *daemon)
{
	daemon->control = cv_control_stop(daemon->control);
	stop_workers(daemon);
	for (size_t i = 0; i < daemon->learner_count; i++)
		cv_target_learner_stop(daemon->learners[i]);
	free(daemon->learners);
	free(daemon->workers);
	cv_config_free(daemon->config);
}

static void wait_for_stop(const sigset_t *signals)
{
	int number = 0;

	while (number != SIGTERM && number != SIGINT)
		if (sigwait(signals, &number) != 0)
			break;
	cv_log(CV_LOG_WARNING, "signal %d: stopping", number);
}

static int run_daemon(struct daemon *daemon)
{
	sigset_t signals;
	int error;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	cv_raise_descriptor_limit();
	error = start(daemon);
	if (!error) {
		cv_log(CV_LOG_WARNING, "culvertd " CULVERT_VERSION " ready: %u workers",
		       daemon->worker_count);
		cv_notify("READY=1");
		wait_for_stop(&signals);
		cv_notify("STOPPING=1");
		sigdelset(&signals, SIGHUP);
		pthread_sigmask(SIG_UNBLOCK, &signals, NULL); /* a second signal ends us at once */
	}
	stop(daemon);
	return error && error != -EINTR ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void usage(FILE *out)
{
	fputs("usage: culvertd -c FILE\n"
	      "  -c, --config FILE   configuration (JSON with comments)\n"
	      "  -t, --test          check the configuration and exit (0 good, 2 bad)\n"
	      "  -V, --version       print the version\n"
	      "  -h, --help          print this\n",
	      out);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'}, {"test", no_argument, NULL, 't'},
		{"version", no_argument, NULL, 'V'},	  {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const struct cv_config_report report = {.line = print_finding};
	struct daemon daemon = {0};
	const char *path = NULL;
	bool only_test = false;
	int option, error;

	while ((option = getopt_long(argc, argv, "c:tVh", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			path = optarg;
			break;
		case 't':
			only_test = true;
			break;
		case 'V':
			puts("culvertd " CULVERT_VERSION);
			return EXIT_SUCCESS;
		case 'h':
			usage(stdout);
			return EXIT_SUCCESS;
		default:
			usage(stderr);
			return EXIT_CONFIG;
		}
	}
	if (!path || optind != argc) {
		usage(stderr);
		return EXIT_CONFIG;
	}
	error = cv_config_load(path, &report, &daemon.config);
	if (error < 0 && error > -2000)
		fprintf(stderr, "error: %s: %s\n", path, strerror(-error));
	if (error || only_test) {
		cv_config_free(daemon.config);
		return error ? EXIT_CONFIG : EXIT_SUCCESS;
	}
	if (open_log(daemon.config) != 0) {
		cv_config_free(daemon.config);
		return EXIT_CONFIG;
	}
	return run_daemon(&daemon);
}
