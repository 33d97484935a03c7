// SPDX-License-Identifier: MIT
/*
 * main.c - culvertd: configuration, workers, learners, listeners, signals.
 *
 *   load config (all findings, exit 2) -> workers -> learn the targets -> listen -> READY
 *   SIGHUP, culvert reload -> another snapshot for sessions to come; a bad one changes nothing
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
#include "config/node.h"
#include "control/control_socket.h"
#include "control/starter.h"
#include "control/status.h"
#include "control/successor.h"
#include "control/usage_file.h"
#include "engine/kernel.h"
#include "engine/ktls.h"
#include "engine/sockmap_selftest.h"
#include "policy/reload.h"
#include "sandbox/notify.h"
#include "sandbox/sandbox.h"
#include "session/listeners.h"
#include "session/session_limits.h"
#include "session/target_set.h"
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
#define ANSWER_TEXT 4096
#define MAX_WORKERS 256
#define RUN_DIRECTORY "/run/culvert"
#define SELFTEST_WAIT_MS 60000

#ifndef CULVERT_VERSION
#define CULVERT_VERSION "0.1.0"
#endif

struct former { /* configuration: sessions that began with it go on */
	struct cv_config *config;
	struct cv_target_set *targets;
	struct former *next;
};

struct daemon {
	const char *path; /* of the configuration */
	struct cv_config *config;
	struct cv_target_set *targets;
	struct former *former;
	_Atomic int reload_fd; /* client of the control socket who asked for a reload, or -1 */
	struct cv_resolver *resolver;
	struct cv_verifier *verifier;
	struct cv_worker *workers;
	unsigned worker_count;
	struct cv_control *control;
	struct cv_status *status;
	struct cv_kernel *kernel;
	struct cv_kernel_found found;
	struct cv_starter *starter;
	struct cv_sandbox *sandbox;
	struct cv_sockmap_selftest *selftest;
	struct cv_listeners *listeners;
	struct cv_successor *successor;
	bool sealed;	       /* see seal() */
	bool takeover;	       /* --takeover: another culvertd has the addresses */
	_Atomic bool retiring; /* a successor has ours */
	_Atomic bool shares_sockets; /* and accepts from those that we had bound */
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
	size_t shared_count = 0;
	const int *shared = NULL;

	if (atomic_load(&daemon->shares_sockets))
		shared = cv_listeners_bound(daemon->listeners, &shared_count);
	for (unsigned i = 0; i < daemon->worker_count; i++)
		if (atomic_load(&daemon->retiring))
			cv_worker_retire(&daemon->workers[i], shared, shared_count);
		else
			cv_worker_stop(&daemon->workers[i]);
	for (unsigned i = 0; i < daemon->worker_count; i++)
		cv_worker_join(&daemon->workers[i]);
	daemon->resolver = cv_resolver_free(daemon->resolver);
	daemon->verifier = cv_verifier_free(daemon->verifier);
	for (unsigned i = 0; i < daemon->worker_count; i++)
		cv_worker_done(&daemon->workers[i]);
}

/* ---- targets ------------------------------------------------------------------------------ */

/* The signals are blocked, in every thread, until wait_for_stop(). */
static bool stop_is_pending(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 &&
	       (sigismember(&pending, SIGTERM) || sigismember(&pending, SIGINT));
}

static int learn_targets(struct daemon *daemon)
{
	int error = cv_target_set_new(daemon->config, NULL, &daemon->targets);

	if (error)
		return error;
	if (cv_target_set_count(daemon->targets))
		cv_log(CV_LOG_INFO, "learning %zu targets before listening",
		       cv_target_set_count(daemon->targets));
	return cv_target_set_wait(daemon->targets, stop_is_pending);
}

/* ---- another configuration ---------------------------------------------------------------- */

struct findings { /* for the log, and for who asked */
	char text[ANSWER_TEXT];
	size_t len;
};

static void note(struct findings *findings, const char *text)
{
	int put = snprintf(findings->text + findings->len, sizeof(findings->text) - findings->len,
			   "%s%s", findings->len ? "\n" : "", text);

	if (put > 0 && findings->len + (size_t)put < sizeof(findings->text))
		findings->len += (size_t)put;
}

static void note_finding(void *context, bool is_error, const char *text)
{
	cv_log(is_error ? CV_LOG_ERROR : CV_LOG_WARNING, "%s", text);
	if (is_error)
		note(context, text);
}

static int load_next(struct daemon *daemon, struct findings *findings, struct cv_config **ret_next)
{
	const struct cv_config_report report = {.line = note_finding, .context = findings};
	char obstacle[CV_RELOAD_TEXT], text[CV_RELOAD_TEXT + 64];
	struct cv_config *next;
	int error = cv_config_reload(daemon->path, daemon->config, &report, &next);

	if (error) {
		const char *refused = cv_sandbox_refused(daemon->sandbox);

		if (refused)
			note_finding(findings, true, refused);
		if (findings->len == 0)
			note(findings, cv_reason_text(error));
		return error;
	}
	error = cv_reload_obstacle(daemon->config, next, obstacle);
	if (error) {
		(void)snprintf(text, sizeof(text), "%s: changes with \"culvert restart\" only",
			       obstacle);
		note_finding(findings, true, text);
		cv_config_free(next);
		return error;
	}
	*ret_next = next;
	return 0;
}

static int learn_next(struct daemon *daemon, struct cv_config *next,
		      struct cv_target_set **ret_targets)
{
	struct cv_target_set *targets = NULL;
	int error = cv_target_set_new(next, daemon->targets, &targets);

	if (!error)
		error = cv_target_set_wait(targets, stop_is_pending);
	if (error)
		cv_target_set_free(targets);
	else
		*ret_targets = targets;
	return error;
}

/* Sessions that began with it may go on for days. */
static int keep_former(struct daemon *daemon)
{
	struct former *former = calloc(1, sizeof(*former));

	if (!former)
		return -ENOMEM;
	former->config = daemon->config;
	former->targets = daemon->targets;
	former->next = daemon->former;
	daemon->former = former;
	return 0;
}

/* An answer that is being made, on the control socket or the status endpoint, may name what it saw
 * of sessions that have ended meanwhile; whatever is asked after it sees none of them. */
static void wait_for_answers(struct daemon *daemon)
{
	cv_control_use(daemon->control, daemon->config);
	cv_status_use(daemon->status, daemon->config);
}

static void free_former(struct daemon *daemon, bool all)
{
	struct former **at = &daemon->former;

	while (*at) {
		struct former *former = *at;

		if (!all && atomic_load(&former->config->session_count) > 0) {
			at = &former->next;
			continue;
		}
		wait_for_answers(daemon);
		*at = former->next;
		cv_target_set_free(former->targets);
		cv_config_free(former->config);
		free(former);
	}
}

static unsigned use_next(struct daemon *daemon, struct cv_config *next,
			 struct cv_target_set *targets)
{
	cv_reload_inherit(next, daemon->config);
	cv_usage_table_commit(next->usages);
	if (daemon->usage_file)
		cv_usage_file_reread(daemon->usage_file);
	else
		(void)cv_usage_file_start(next->daemon.state_directory, next->usages,
					  &daemon->usage_file);
	cv_control_use(daemon->control, next);
	cv_status_use(daemon->status, next);
	for (unsigned i = 0; i < daemon->worker_count; i++)
		cv_worker_use(&daemon->workers[i], next);
	daemon->config = next;
	daemon->targets = targets;
	return cv_limits_follow(daemon->workers, daemon->worker_count, next);
}

static int reload(struct daemon *daemon, struct findings *findings)
{
	struct cv_target_set *targets = NULL;
	struct cv_config *next = NULL;
	unsigned ended;
	int error = load_next(daemon, findings, &next);

	if (error)
		return error;
	error = learn_next(daemon, next, &targets);
	if (!error)
		error = keep_former(daemon);
	if (error) {
		note(findings, cv_reason_text(error));
		cv_target_set_free(targets);
		cv_config_free(next);
		return error;
	}
	ended = use_next(daemon, next, targets);
	(void)open_log(next); /* a path that is no good any more is said on stderr */
	cv_log(CV_LOG_WARNING, "configuration read again: %zu inbounds, %zu outbounds; %u sessions "
	       "of removed users ended", next->inbound_count, next->outbound_count, ended);
	return 0;
}

/* Asked by SIGHUP, which a client of the control socket is the reason of, or not. */
static void reload_now(struct daemon *daemon)
{
	struct findings findings = {.len = 0};
	int fd = atomic_exchange(&daemon->reload_fd, -1);
	uint64_t start_ms = cv_clock_ms();
	int error = reload(daemon, &findings);

	if (error)
		cv_log(CV_LOG_ERROR, "configuration not read again, the old one goes on: %s",
		       cv_reason_text(error));
	if (fd >= 0)
		cv_control_reply(fd, error ? findings.text : NULL, "took_ms",
				 cv_clock_ms() - start_ms);
}

static void ask_for_reload(struct daemon *daemon, int fd)
{
	int none = -1;

	if (atomic_compare_exchange_strong(&daemon->reload_fd, &none, fd)) {
		(void)kill(getpid(), SIGHUP); /* wait_for_stop() gets it */
		return;
	}
	cv_control_reply(fd, "another reload is under way", "", 0);
}

/* ---- restart ------------------------------------------------------------------------------ */

/* The successor has our addresses: the service manager watches it from now on, and we drain. */
static void retire(struct daemon *daemon, bool shares_sockets, int fd)
{
	struct ucred peer = {0};
	socklen_t len_bytes = sizeof(peer);
	char state[64];

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len_bytes) == 0 && peer.pid > 0) {
		(void)snprintf(state, sizeof(state), "MAINPID=%d", (int)peer.pid);
		cv_notify(state);
	}
	cv_log(CV_LOG_WARNING, "culvertd %d has the addresses now", (int)peer.pid);
	atomic_store(&daemon->shares_sockets, shares_sockets);
	atomic_store(&daemon->retiring, true);
	(void)dprintf(fd, "{\"retiring\":%d}", (int)getpid());
	(void)close(fd);
	(void)kill(getpid(), SIGTERM); /* wait_for_stop() gets it */
}

static bool take_command(void *context, const char *command, int fd)
{
	struct daemon *daemon = context;

	if (strcmp(command, CV_RETIRE) == 0)
		retire(daemon, false, fd);
	else if (strcmp(command, CV_RETIRE_SHARED) == 0)
		retire(daemon, true, fd);
	else if (strcmp(command, "restart") == 0)
		cv_successor_start(daemon->successor, fd);
	else if (strcmp(command, "reload") == 0)
		ask_for_reload(daemon, fd);
	else
		return false;
	return true;
}

static void open_status(struct daemon *daemon, const struct cv_control_view *view)
{
	const struct cv_sockaddr *address = &daemon->config->daemon.status.address;
	char text[CV_DESTINATION_TEXT];
	int error;

	if (address->len_bytes == 0)
		return;
	cv_sockaddr_format(address, text);
	error = cv_status_start(view, CULVERT_VERSION, daemon->takeover, &daemon->status);
	if (error)
		cv_log(CV_LOG_WARNING, "status on %s: %s", text, cv_reason_text(error));
	else
		cv_log(CV_LOG_INFO, "status on http://%s/", text);
}

static void open_control(struct daemon *daemon)
{
	const struct cv_control_hook hook = {.take = take_command, .context = daemon};
	const struct cv_control_view view = {
		.config = daemon->config,
		.workers = daemon->workers,
		.worker_count = daemon->worker_count,
		.kernel = daemon->kernel,
		.found = &daemon->found,
		.sandbox = cv_sandbox_text(daemon->sandbox),
	};
	const char *path = daemon->config->daemon.control_path;
	const int *fds;
	size_t count;
	int error = 0;

	fds = cv_listeners_bound(daemon->listeners, &count);
	cv_successor_leave(daemon->successor, fds, count);
	if (path[0] && daemon->takeover) {
		error = cv_retire_old(path, cv_listeners_has_inherited(daemon->listeners));
		if (error)
			cv_log(CV_LOG_WARNING, "control socket %s: no daemon to replace: %s", path,
			       strerror(-error));
	}
	if (path[0]) {
		error = cv_control_start(path, &view, &hook, daemon->takeover, &daemon->control);
		if (error)
			cv_log(CV_LOG_WARNING, "control socket %s: %s", path, strerror(-error));
	}
	open_status(daemon, &view);
}

/* ---- life --------------------------------------------------------------------------------- */

/* What this configuration has a use for, and a reload cannot change. */
static unsigned parts_to_load(const struct cv_config *config)
{
	const enum cv_choice_mode mode = cv_choice_mode(config->daemon.engine);
	unsigned parts = CV_KERNEL_LOAD_NONE;

	if (config->daemon.bpf == CV_BPF_OFF)
		return parts;
	if (mode == CV_CHOICE_AUTO || mode == CV_CHOICE_SOCKMAP)
		parts |= CV_KERNEL_LOAD_RELAY;
	for (size_t i = 0; i < config->inbound_count; i++)
		if (config->inbounds[i].edge)
			parts |= CV_KERNEL_LOAD_CLASSIFY;
	return parts;
}

/* Pins, or else our own; the listeners decide by it. */
static int open_kernel(struct daemon *daemon)
{
	const struct cv_daemon_settings *settings = &daemon->config->daemon;
	const bool off = settings->bpf == CV_BPF_OFF;
	int error = cv_kernel_open(off ? NULL : settings->pin_directory,
				   parts_to_load(daemon->config), &daemon->kernel);
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

static int expect_free(void *opaque)
{
	const struct daemon *daemon = opaque;

	return cv_listeners_expect_free(daemon->listeners);
}

static int listen_now(void *opaque)
{
	const struct daemon *daemon = opaque;

	return cv_listeners_open(daemon->listeners);
}

/* A self-test of sockmap, once per boot, makes a ring of its own while all else runs already. */
static int seal(struct daemon *daemon)
{
	if (daemon->sealed ||
	    cv_sockmap_selftest_state(daemon->selftest) == CV_SOCKMAP_TESTING)
		return 0;
	daemon->sealed = true;
	return cv_sandbox_seal(daemon->sandbox);
}

static bool may_be_asked(const struct cv_config *config)
{
	return config->daemon.control_path[0] || config->daemon.status.address.len_bytes;
}

static int start(struct daemon *daemon)
{
	const struct cv_resolver_config resolver = {
		.thread_count = 4,
		.thread_most = 64,
		.cache_entries = 4096,
		.ttl_ms = 60000,
		.negative_ttl_ms = 5000,
		.queue_limit = 4096,
	};
	int error;

	if (may_be_asked(daemon->config))
		cv_kernel_find(&daemon->found);
	cv_ktls_probe((enum cv_ktls_policy)daemon->config->daemon.ktls, &daemon->ktls);
	cv_log(CV_LOG_INFO, "kernel TLS %s: %s", daemon->ktls.usable ? "usable" : "not used",
	       daemon->ktls.why);
	error = open_kernel(daemon);
	if (!error)
		error = cv_sandbox_enter(daemon->sandbox, daemon->config, RUN_DIRECTORY);
	if (!error)
		error = cv_resolver_new(&resolver, &daemon->resolver);
	if (!error)
		error = start_verifier(daemon);
	if (!error)
		error = test_sockmap(daemon);
	if (!error)
		error = cv_sandbox_bind(daemon->sandbox, expect_free, daemon, false);
	if (!error)
		error = cv_usage_file_start(daemon->config->daemon.state_directory,
					    daemon->config->usages, &daemon->usage_file);
	if (!error)
		error = start_workers(daemon);
	if (!error)
		error = learn_targets(daemon);
	if (!error)
		error = seal(daemon);
	if (!error)
		error = cv_sandbox_bind(daemon->sandbox, listen_now, daemon, true);
	if (!error)
		open_control(daemon);
	return error;
}

static void stop(struct daemon *daemon)
{
	daemon->status = cv_status_stop(daemon->status);
	daemon->control = cv_control_stop(daemon->control, atomic_load(&daemon->retiring));
	if (!atomic_load(&daemon->retiring))
		cv_successor_cancel(daemon->successor);
	stop_workers(daemon);
	daemon->usage_file = cv_usage_file_stop(daemon->usage_file);
	daemon->targets = cv_target_set_free(daemon->targets);
	free_former(daemon, true);
	daemon->successor = cv_successor_free(daemon->successor);
	daemon->listeners = cv_listeners_free(daemon->listeners);
	daemon->selftest = cv_sockmap_selftest_free(daemon->selftest);
	daemon->kernel = cv_kernel_close(daemon->kernel);
	free(daemon->workers);
}

static int wait_for_stop(struct daemon *daemon, const sigset_t *signals)
{
	const struct timespec look = {.tv_sec = 1};
	int number = 0, error;

	while (number != SIGTERM && number != SIGINT) {
		number = daemon->former || !daemon->sealed ? sigtimedwait(signals, NULL, &look)
							   : sigwaitinfo(signals, NULL);
		if (number == SIGHUP)
			reload_now(daemon);
		free_former(daemon, false);
		error = seal(daemon);
		if (error)
			return error;
	}
	if (!atomic_load(&daemon->retiring))
		cv_log(CV_LOG_WARNING, "signal %d: stopping", number);
	return 0;
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
	cv_raise_limits();
	error = start(daemon);
	if (!error) {
		cv_log(CV_LOG_WARNING, "culvertd " CULVERT_VERSION " ready: %u workers",
		       daemon->worker_count);
		(void)snprintf(state, sizeof(state), "READY=1\nMAINPID=%d", (int)getpid());
		cv_notify(state);
		cv_report_ready();
		error = wait_for_stop(daemon, &signals);
		if (!atomic_load(&daemon->retiring))
			cv_notify("STOPPING=1");
		sigdelset(&signals, SIGHUP);
		pthread_sigmask(SIG_UNBLOCK, &signals, NULL); /* a second signal ends us at once */
	}
	stop(daemon);
	return error && error != -EINTR ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Before the configuration is read: the starter shall know nothing of it, the sandbox all files. */
static int prepare(struct daemon *daemon, char **argv)
{
	int error = cv_starter_new(argv, &daemon->starter);

	if (error) {
		fprintf(stderr, "error: cannot fork: %s\n", strerror(-error));
		return error;
	}
	daemon->sandbox = cv_sandbox_new();
	if (!daemon->sandbox)
		return -ENOMEM;
	cv_document_watch(cv_sandbox_note, daemon->sandbox);
	cv_report_open();
	return 0;
}

static int load(struct daemon *daemon)
{
	const struct cv_config_report report = {.line = print_finding};
	const int error = cv_config_load(daemon->path, &report, &daemon->config);

	if (error < 0 && error > -2000) {
		fprintf(stderr, "error: %s: %s\n", daemon->path, strerror(-error));
		cv_report_line(strerror(-error));
	}
	return error ? EXIT_CONFIG : EXIT_SUCCESS;
}

static int run(struct daemon *daemon, char **argv)
{
	int status = prepare(daemon, argv) == 0 ? load(daemon) : EXIT_FAILURE;

	if (status == EXIT_SUCCESS && (cv_sandbox_identity(daemon->sandbox, daemon->config) != 0 ||
				       open_log(daemon->config) != 0))
		status = EXIT_CONFIG;
	if (status == EXIT_SUCCESS && cv_successor_new(daemon->starter, &daemon->successor) != 0)
		status = EXIT_FAILURE;
	if (status == EXIT_SUCCESS)
		status = run_daemon(daemon);
	daemon->sandbox = cv_sandbox_free(daemon->sandbox);
	daemon->starter = cv_starter_free(daemon->starter);
	return status;
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
	struct daemon daemon = {.reload_fd = -1};
	bool only_test = false;
	int option, status;

	while ((option = getopt_long(argc, argv, "c:tVh", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			daemon.path = optarg;
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
	if (!daemon.path || optind != argc) {
		usage(stderr);
		return EXIT_CONFIG;
	}
	status = only_test ? load(&daemon) : run(&daemon, argv);
	cv_config_free(daemon.config);
	return status;
}
