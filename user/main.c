// SPDX-License-Identifier: MIT
/*
 * main.c - culvertd: configuration, workers, learners, listeners, signals.
 *
 *   load config (all findings, exit 2) -> workers -> learn the targets -> listen -> READY
 *   SIGTERM/SIGINT -> stop accepting, drain -> exit 0          (a second one cuts at once)
 *   culvert restart -> a successor does all of this with --takeover, tells us to retire: drain
 *
 * Listeners open only after the targets were learned: a client must never meet a server that does
 * not yet know what its target says after the handshake (observable).
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/reason.h"
#include "config/config_load.h"
#include "control/control_socket.h"
#include "control/successor.h"
#include "control/usage_file.h"
#include "engine/kernel.h"
#include "engine/ktls.h"
#include "engine/sockmap_selftest.h"
#include "sandbox/notify.h"
#include "session/listeners.h"
#include "session/target_learner.h"
#include "session/verify.h"
#include "session/worker.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_CONFIG 2
#define LEARN_WAIT_MS 60000 /* for all targets together */
#define LEARN_LOOK_MS 200   /* how often that wait looks for a signal */
#define MAX_WORKERS 256
#define RUN_DIRECTORY "/run/culvert"
#define SELFTEST_WAIT_MS 60000

#ifndef CULVERT_VERSION
#define CULVERT_VERSION "0.1.0"
#endif

struct daemon {
	struct cv_config *config;
	struct cv_resolver *resolver;
	struct cv_verifier *verifier;
	struct cv_worker *workers;
	unsigned worker_count;
	struct cv_target_learner **learners;
	size_t learner_count;
	struct cv_control *control;
	struct cv_kernel *kernel;
	struct cv_sockmap_selftest *selftest;
	struct cv_listeners *listeners;
	struct cv_successor *successor;
	bool takeover;	       /* --takeover: another culvertd has the addresses */
	_Atomic bool retiring; /* a successor has ours */
	struct cv_usage_file *usage_file;
	struct cv_ktls_support ktls;
};

static void print_finding(void *context, bool is_error, const char *text)
{
	(void)context;
	fprintf(stderr, "%s: %s\n", is_error ? "error" : "warning", text);
	if (is_error)
		cv_report_line(text);
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

static unsigned count_workers(const struct cv_daemon_settings *settings)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned count =
		settings->worker_count ? settings->worker_count : (unsigned)(cpus > 0 ? cpus : 1);

	return count > MAX_WORKERS ? MAX_WORKERS : count;
}

static int start_workers(struct daemon *daemon)
{
	const struct cv_daemon_settings *settings = &daemon->config->daemon;
	const enum cv_choice_mode mode = cv_choice_mode(settings->engine);
	const bool copies = mode == CV_CHOICE_COPY || mode == CV_CHOICE_SOCKMAP;
	const unsigned count = count_workers(settings);

	for (unsigned i = 0; i < count; i++) {
		struct cv_worker *worker = &daemon->workers[i];
		int error;

		worker->index = i;
		worker->config = daemon->config;
		worker->resolver = daemon->resolver;
		worker->verifier = daemon->verifier;
		worker->ktls = &daemon->ktls;
		worker->engine = copies ? &cv_engine_copy : &cv_engine_splice;
		worker->mode = mode;
		worker->kernel = daemon->kernel;
		worker->selftest = daemon->selftest;
		error = cv_worker_start(worker);
		if (error) {
			cv_log(CV_LOG_ERROR, "worker %u: cannot start: %s%s", i,
			       cv_reason_text(error),
			       error == -ENOMEM ? " (is the limit of locked memory, ulimit -l, "
						  "used up?)"
						: "");
			return error; /* that one is gone already */
		}
		daemon->worker_count++;
	}
	return 0;
}

static void stop_workers(struct daemon *daemon)
{
	const bool retiring = atomic_load(&daemon->retiring);

	for (unsigned i = 0; i < daemon->worker_count; i++)
		(retiring ? cv_worker_retire : cv_worker_stop)(&daemon->workers[i]);
	for (unsigned i = 0; i < daemon->worker_count; i++)
		cv_worker_join(&daemon->workers[i]);
	daemon->resolver = cv_resolver_free(daemon->resolver);
	daemon->verifier = cv_verifier_free(daemon->verifier);
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

/* ---- restart ------------------------------------------------------------------------------ */

/* The successor has our addresses: the service manager watches it from now on, and we drain. */
static void retire(struct daemon *daemon, int fd)
{
	struct ucred peer = {0};
	socklen_t len_bytes = sizeof(peer);
	char state[64];

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len_bytes) == 0 && peer.pid > 0) {
		(void)snprintf(state, sizeof(state), "MAINPID=%d", (int)peer.pid);
		cv_notify(state);
	}
	cv_log(CV_LOG_WARNING, "culvertd %d has the addresses now", (int)peer.pid);
	atomic_store(&daemon->retiring, true);
	(void)dprintf(fd, "{\"retiring\":%d}", (int)getpid());
	(void)close(fd);
	(void)kill(getpid(), SIGTERM); /* wait_for_stop() gets it */
}

static bool take_command(void *context, const char *command, int fd)
{
	struct daemon *daemon = context;

	if (strcmp(command, "retire") == 0)
		retire(daemon, fd);
	else if (strcmp(command, "restart") == 0)
		cv_successor_start(daemon->successor, fd);
	else
		return false;
	return true;
}

static void open_control(struct daemon *daemon)
{
	const struct cv_control_hook hook = {.take = take_command, .context = daemon};
	const struct cv_control_view view = {
		.config = daemon->config,
		.workers = daemon->workers,
		.worker_count = daemon->worker_count,
		.kernel = daemon->kernel,
	};
	const char *path = daemon->config->daemon.control_path;
	const int *fds;
	size_t count;
	int error = 0;

	fds = cv_listeners_bound(daemon->listeners, &count);
	cv_successor_leave(daemon->successor, fds, count);
	if (path[0] && daemon->takeover) {
		error = cv_retire_old(path);
		if (error)
			cv_log(CV_LOG_WARNING, "control socket %s: no daemon to replace: %s", path,
			       strerror(-error));
	}
	if (!path[0])
		return;
	error = cv_control_start(path, &view, &hook, daemon->takeover, &daemon->control);
	if (error)
		cv_log(CV_LOG_WARNING, "control socket %s: %s", path, strerror(-error));
}

/* ---- life --------------------------------------------------------------------------------- */

/* Everything of the kernel's that there is; the listeners decide by it. */
static int open_kernel(struct daemon *daemon)
{
	const struct cv_daemon_settings *settings = &daemon->config->daemon;
	const bool off = settings->bpf == CV_BPF_OFF;
	int error = cv_kernel_open(off ? NULL : settings->pin_directory, !off, &daemon->kernel);
	unsigned count = count_workers(settings);
	struct cv_listeners_request request = {
		.config = daemon->config,
		.kernel = daemon->kernel,
		.takeover = daemon->takeover,
		.worker_count = count,
	};

	if (error)
		return error;
	daemon->workers = calloc(count, sizeof(*daemon->workers));
	request.workers = daemon->workers;
	return daemon->workers ? cv_listeners_new(&request, &daemon->listeners) : -ENOMEM;
}

/* Only where sockmap may be used. Where it shall be used from the first session on, that waits. */
static int test_sockmap(struct daemon *daemon)
{
	enum cv_choice_mode mode = cv_choice_mode(daemon->config->daemon.engine);
	int error;

	if (mode != CV_CHOICE_AUTO && mode != CV_CHOICE_SOCKMAP)
		return 0;
	error = cv_sockmap_selftest_start(daemon->kernel, RUN_DIRECTORY, &daemon->selftest);
	if (error || mode != CV_CHOICE_SOCKMAP)
		return error;
	if (cv_sockmap_selftest_wait(daemon->selftest, SELFTEST_WAIT_MS) == CV_SOCKMAP_ABSENT)
		cv_log(CV_LOG_WARNING, "engine sockmap: not available, copying instead: %s",
		       cv_sockmap_selftest_why(daemon->selftest));
	return 0;
}

/* Two hashes at once: enough for dozens of new logins a second, and the workers keep the rest. */
static int start_verifier(struct daemon *daemon)
{
	const struct cv_verifier_config config = {
		.thread_count = 2,
		.queue_limit = 1024,
		.cache_entries = 4096,
		.cache_ttl_ms = 60000,
		.ban = daemon->config->daemon.ban,
	};

	return cv_verifier_new(&config, &daemon->verifier);
}

static int start(struct daemon *daemon)
{
	const struct cv_resolver_config resolver = {
		.thread_count = 4,
		.cache_entries = 4096,
		.ttl_ms = 60000,
		.negative_ttl_ms = 5000,
		.queue_limit = 4096,
	};
	int error;

	cv_ktls_probe((enum cv_ktls_policy)daemon->config->daemon.ktls, &daemon->ktls);
	cv_log(CV_LOG_INFO, "kernel TLS %s: %s", daemon->ktls.usable ? "usable" : "not used",
	       daemon->ktls.why);
	error = cv_resolver_new(&resolver, &daemon->resolver);

	if (!error)
		error = start_verifier(daemon);
	if (!error)
		error = open_kernel(daemon);
	if (!error)
		error = test_sockmap(daemon);
	if (!error)
		error = cv_listeners_expect_free(daemon->listeners);
	if (!error)
		error = cv_usage_file_start(daemon->config->daemon.state_directory,
					    daemon->config->usages, &daemon->usage_file);
	if (!error)
		error = start_workers(daemon);
	if (!error)
		error = learn_targets(daemon);
	if (!error)
		error = cv_listeners_open(daemon->listeners);
	if (!error)
		open_control(daemon);
	return error;
}

static void stop(struct daemon *daemon)
{
	daemon->control = cv_control_stop(daemon->control, atomic_load(&daemon->retiring));
	if (!atomic_load(&daemon->retiring))
		cv_successor_cancel(daemon->successor);
	stop_workers(daemon);
	daemon->usage_file = cv_usage_file_stop(daemon->usage_file);
	for (size_t i = 0; i < daemon->learner_count; i++)
		cv_target_learner_stop(daemon->learners[i]);
	daemon->successor = cv_successor_free(daemon->successor);
	daemon->listeners = cv_listeners_free(daemon->listeners);
	daemon->selftest = cv_sockmap_selftest_free(daemon->selftest);
	daemon->kernel = cv_kernel_close(daemon->kernel);
	free(daemon->learners);
	free(daemon->workers);
	cv_config_free(daemon->config);
}

static void wait_for_stop(const struct daemon *daemon, const sigset_t *signals)
{
	int number = 0;

	while (number != SIGTERM && number != SIGINT)
		if (sigwait(signals, &number) != 0)
			break;
	if (!atomic_load(&daemon->retiring))
		cv_log(CV_LOG_WARNING, "signal %d: stopping", number);
}

static int run_daemon(struct daemon *daemon)
{
	sigset_t signals;
	char state[64];
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
		(void)snprintf(state, sizeof(state), "READY=1\nMAINPID=%d", (int)getpid());
		cv_notify(state);
		cv_report_ready();
		wait_for_stop(daemon, &signals);
		if (!atomic_load(&daemon->retiring))
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
	      "  --takeover          take the addresses over from the culvertd that has them\n"
	      "  -V, --version       print the version\n"
	      "  -h, --help          print this\n",
	      out);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'}, {"test", no_argument, NULL, 't'},
		{"version", no_argument, NULL, 'V'},	  {"help", no_argument, NULL, 'h'},
		{"takeover", no_argument, NULL, 'T'},	  {NULL, 0, NULL, 0},
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
		case 'T':
			daemon.takeover = true;
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
	cv_report_open();
	error = cv_config_load(path, &report, &daemon.config);
	if (error < 0 && error > -2000) {
		fprintf(stderr, "error: %s: %s\n", path, strerror(-error));
		cv_report_line(strerror(-error));
	}
	if (error || only_test) {
		cv_config_free(daemon.config);
		return error ? EXIT_CONFIG : EXIT_SUCCESS;
	}
	if (open_log(daemon.config) != 0) {
		cv_config_free(daemon.config);
		return EXIT_CONFIG;
	}
	error = cv_successor_new(argv, &daemon.successor);
	if (error) {
		cv_config_free(daemon.config);
		return EXIT_FAILURE;
	}
	return run_daemon(&daemon);
}
