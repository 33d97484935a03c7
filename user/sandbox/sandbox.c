// SPDX-License-Identifier: MIT
/*
 * sandbox.c - the parts in their order, and what each of them is told.
 *
 * What stays of root, where the daemon is started as root:
 *   culvert.user set    nothing but sys_resource and ipc_lock, where pipes and rings need them
 *   not set             uid 0 without capabilities, which owns root's files all the same; Landlock
 *                       leaves it those below the directories that the configuration names
 * ipc_lock stays where the limit of locked memory cannot be lifted (containers): rings count there.
 * net_bind_service stays with one thread until the listeners are open; dac_* stay only where a file
 * or socket of the configuration is another user's and closed to root without them.
 */
#include "sandbox/sandbox.h"

#include "base/log.h"
#include "ring/ring.h"
#include "sandbox/binder.h"
#include "sandbox/capabilities.h"
#include "sandbox/identity.h"
#include "sandbox/places.h"
#include "sandbox/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define PORTS_MAX 1024
#define TEXT_BYTES 512
#define PIPE_PAGES "/proc/sys/fs/pipe-user-pages-soft"
/* As conf/sysctl.d has it: a thousand pipes of 1 MiB. */
#define PIPE_PAGES_ENOUGH 262144

struct cv_sandbox {
	enum cv_sandbox_mode mode;
	struct cv_place_set files; /* as the configuration names them; sockets: WRITE */
	struct cv_place_set places;
	uint16_t ports[PORTS_MAX];
	size_t port_count;
	uint64_t kept; /* capabilities */
	int landlock_abi; /* or -errno: none */
	struct cv_seccomp *filter; /* NULL: none */
	unsigned call_count;
	struct cv_binder *binder;
	bool entered, refused;
	char text[TEXT_BYTES];
};

struct cv_sandbox *cv_sandbox_new(void)
{
	return calloc(1, sizeof(struct cv_sandbox));
}

struct cv_sandbox *cv_sandbox_free(struct cv_sandbox *sandbox)
{
	if (!sandbox)
		return NULL;
	sandbox->binder = cv_binder_free(sandbox->binder);
	sandbox->filter = cv_seccomp_free(sandbox->filter);
	cv_place_set_done(&sandbox->files);
	cv_place_set_done(&sandbox->places);
	free(sandbox);
	return NULL;
}

const char *cv_sandbox_text(const struct cv_sandbox *sandbox)
{
	return sandbox->text;
}

/* ---- what the configuration names ---------------------------------------------------------- */

void cv_sandbox_note(void *opaque, const char *path, int error)
{
	struct cv_sandbox *sandbox = opaque;
	struct stat status;

	if (sandbox->entered) {
		sandbox->refused |= error == -EACCES;
		return;
	}
	if (stat(path, &status) == 0 && S_ISSOCK(status.st_mode))
		(void)cv_place_set_add(&sandbox->files, path, CV_REACH_WRITE);
	else
		(void)cv_place_set_add(&sandbox->files, path, CV_REACH_READ);
}

const char *cv_sandbox_refused(struct cv_sandbox *sandbox)
{
	const bool refused = sandbox->refused && sandbox->landlock_abi > 0;

	sandbox->refused = false;
	return refused ? "culvert.sandbox: since its start the daemon reads only below the "
			 "directories that its configuration named then; \"culvert restart\" "
			 "lets it read others"
		       : NULL;
}

static int find_reads(struct cv_sandbox *sandbox, const struct cv_config *config)
{
	int error = cv_place_set_add_system(&sandbox->places);

	for (size_t i = 0; i < sandbox->files.count && !error; i++)
		if (sandbox->files.places[i].reach == CV_REACH_READ)
			error = cv_place_set_add_file(&sandbox->places,
						      sandbox->files.places[i].path, CV_REACH_READ);
	if (!error)
		error = cv_place_set_add(&sandbox->places, config->daemon.pin_directory,
					 CV_REACH_READ);
	return error;
}

static bool is_path(const char *path)
{
	return path && *path && strcmp(path, "none") != 0;
}

/* Made now where it is not there: later it could not be any more. */
static int write_to(struct cv_sandbox *sandbox, const char *directory, mode_t mode)
{
	(void)mkdir(directory, mode);
	return cv_place_set_add(&sandbox->places, directory, CV_REACH_WRITE);
}

static int write_beside(struct cv_sandbox *sandbox, const char *file, bool make)
{
	char *copy = is_path(file) ? strdup(file) : NULL, *slash;

	if (!copy)
		return is_path(file) ? -ENOMEM : 0;
	slash = strrchr(copy, '/');
	if (make && slash && slash != copy) {
		*slash = '\0';
		(void)mkdir(copy, 0755);
	}
	free(copy);
	return cv_place_set_add_file(&sandbox->places, file, CV_REACH_WRITE);
}

/* masterKeyLog, for who looks into his own traffic. */
static int find_key_logs(struct cv_sandbox *sandbox, const struct cv_config *config)
{
	int error = 0;

	for (size_t i = 0; i < config->inbound_count && !error; i++)
		if (config->inbounds[i].reality)
			error = write_beside(sandbox, config->inbounds[i].reality->key_log_path,
					     false);
	for (size_t i = 0; i < config->outbound_count && !error; i++)
		error = write_beside(sandbox, config->outbounds[i].key_log_path, false);
	return error;
}

static int find_writes(struct cv_sandbox *sandbox, const struct cv_config *config,
		       const char *run_directory)
{
	const struct cv_daemon_settings *settings = &config->daemon;
	int error = write_to(sandbox, run_directory, 0755);

	if (!error && is_path(settings->state_directory))
		error = write_to(sandbox, settings->state_directory, 0700);
	if (!error)
		error = write_beside(sandbox, settings->control_path, true);
	if (!error)
		error = write_beside(sandbox, config->log_error_path, false);
	if (!error)
		error = write_beside(sandbox, config->log_access_path, false);
	if (!error)
		error = find_key_logs(sandbox, config);
	for (size_t i = 0; i < config->inbound_count && !error; i++) {
		const struct cv_inbound *inbound = &config->inbounds[i];

		for (size_t a = 0; a < inbound->listen_count && !error; a++) {
			const struct cv_sockaddr *address = &inbound->listen_addresses[a];

			if (address->any.sa_family == AF_UNIX) /* an abstract one has no path */
				error = write_beside(sandbox, address->un.sun_path, false);
		}
	}
	return error;
}

static void add_port(struct cv_sandbox *sandbox, const struct cv_sockaddr *address)
{
	if (address->len_bytes && address->any.sa_family != AF_UNIX &&
	    sandbox->port_count < PORTS_MAX)
		sandbox->ports[sandbox->port_count++] = cv_sockaddr_port(address);
}

static void find_ports(struct cv_sandbox *sandbox, const struct cv_config *config)
{
	for (size_t i = 0; i < config->inbound_count; i++)
		for (size_t a = 0; a < config->inbounds[i].listen_count; a++)
			add_port(sandbox, &config->inbounds[i].listen_addresses[a]);
	add_port(sandbox, &config->daemon.status.address);
}

/* ---- what is needed of root ----------------------------------------------------------------- */

/* Beyond some pages only who has sys_resource gets pipes that splice much at once. */
static bool pipes_are_small(void)
{
	FILE *file = fopen(PIPE_PAGES, "re");
	unsigned long pages = 0;

	if (!file)
		return true;
	if (fscanf(file, "%lu", &pages) != 1)
		pages = 0;
	(void)fclose(file);
	return pages > 0 && pages < PIPE_PAGES_ENOUGH;
}

/* What is closed to us without DAC capabilities. 0 = all is open; else the capability for it. */
static uint64_t needed_for(const struct cv_landlock_place *place)
{
	const bool writes = place->reach == CV_REACH_WRITE;

	if (faccessat(AT_FDCWD, place->path, writes ? W_OK : R_OK, AT_EACCESS) == 0 ||
	    errno != EACCES)
		return 0;
	return CV_CAPABILITY(writes ? CAP_DAC_OVERRIDE : CAP_DAC_READ_SEARCH);
}

/* What it reads, a reload reads again; without what it writes to, it does less. */
static int say_closed(const char *user, const struct cv_landlock_place *place)
{
	const bool writes = place->reach == CV_REACH_WRITE;

	cv_log(writes ? CV_LOG_WARNING : CV_LOG_ERROR, "culvert.user: %s may not %s %s", user,
	       writes ? "write to" : "read", place->path);
	return writes ? 0 : -EACCES;
}

static int find_closed(struct cv_sandbox *sandbox, const char *user,
		       const struct cv_place_set *set, bool only_writes)
{
	int error = 0;

	for (size_t i = 0; i < set->count; i++) {
		const struct cv_landlock_place *place = &set->places[i];
		const uint64_t needed =
			only_writes && place->reach == CV_REACH_READ ? 0 : needed_for(place);

		if (needed && user[0])
			error = say_closed(user, place) ? -EACCES : error;
		else
			sandbox->kept |= needed;
	}
	return error;
}

/* By giving the capabilities up for a moment and looking. Of the system's directories some may be
 * closed. */
static int find_dac(struct cv_sandbox *sandbox, const struct cv_config *config)
{
	const uint64_t dac = CV_CAPABILITY(CAP_DAC_OVERRIDE) | CV_CAPABILITY(CAP_DAC_READ_SEARCH);
	const char *user = config->daemon.user;
	int error, other;

	if (!(cv_capabilities_have() & dac))
		return 0;
	error = cv_capabilities_suspend(~dac);
	if (error)
		return error;
	error = find_closed(sandbox, user, &sandbox->files, false);
	other = find_closed(sandbox, user, &sandbox->places, true);
	if (!error)
		error = other;
	other = cv_capabilities_resume();
	return error ? error : other;
}

/* Rings are, on some kernels; and all of a user's processes have one limit in common. */
static bool locked_memory_is_limited(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY;
}

static int find_kept(struct cv_sandbox *sandbox, const struct cv_config *config)
{
	sandbox->kept = 0;
	if (locked_memory_is_limited())
		sandbox->kept |= CV_CAPABILITY(CAP_IPC_LOCK);
	if (pipes_are_small())
		sandbox->kept |= CV_CAPABILITY(CAP_SYS_RESOURCE);
	return find_dac(sandbox, config);
}

/* ---- in --------------------------------------------------------------------------------- */

static int fail(const char *what, int error)
{
	cv_log(CV_LOG_ERROR, "sandbox: %s: %s (\"sandbox\": \"off\" in \"culvert\" does without)",
	       what, strerror(-error));
	return error;
}

/* An operator who asks for all of it does not want less on an older kernel. */
static int lacks(const struct cv_sandbox *sandbox, const char *what, int error)
{
	if (sandbox->mode == CV_SANDBOX_REQUIRE)
		return fail(what, error);
	cv_log(CV_LOG_WARNING, "sandbox: this kernel has no %s: %s", what, strerror(-error));
	return 0;
}

int cv_sandbox_identity(struct cv_sandbox *sandbox, const struct cv_config *config)
{
	const char *user = config->daemon.user;
	int error = user[0] ? cv_identity_become(user) : 0;

	sandbox->mode = config->daemon.sandbox;
	if (error)
		cv_log(CV_LOG_ERROR, "culvert.user: cannot become %s: %s", user,
		       error == -ENOENT ? "no such user" : strerror(-error));
	return error;
}

/* Keys are in this memory: no core file of it, and nobody of the same user looks into it. */
static int close_memory(void)
{
	const struct rlimit none = {0};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || setrlimit(RLIMIT_CORE, &none) != 0)
		return -errno;
#ifndef CV_SANITIZED /* LeakSanitizer does look into it */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		return -errno;
#endif
	return 0;
}

static int enter_landlock(struct cv_sandbox *sandbox)
{
	const struct cv_landlock_rules rules = {
		.places = sandbox->places.places,
		.place_count = sandbox->places.count,
		.ports = sandbox->ports,
		.port_count = sandbox->port_count,
	};
	int error;

	sandbox->landlock_abi = cv_landlock_abi();
	if (sandbox->landlock_abi < 0)
		return lacks(sandbox, "Landlock", sandbox->landlock_abi);
	error = cv_landlock_enter(&rules);
	return error ? fail("Landlock", error) : 0;
}

static int prepare_filter(struct cv_sandbox *sandbox)
{
	int error = cv_seccomp_available();

	if (error)
		return lacks(sandbox, "seccomp", error);
	error = cv_seccomp_new(&sandbox->filter, &sandbox->call_count);
	if (error == -EOPNOTSUPP) /* a service manager's filter may leave seccomp() itself out */
		return lacks(sandbox, "seccomp for all threads", error);
	return error ? fail("seccomp", error) : 0;
}

/* First the thread that keeps one more, then the others. */
static int give_up(struct cv_sandbox *sandbox)
{
	int error = cv_capabilities_keep(sandbox->kept | CV_CAPABILITY(CAP_NET_BIND_SERVICE));

	if (!error)
		error = cv_binder_new(&sandbox->binder);
	if (!error)
		error = cv_capabilities_keep(sandbox->kept);
	return error ? fail("capabilities", error) : 0;
}

/* While the calls for it are there. */
static void describe(struct cv_sandbox *sandbox)
{
	char capabilities[CV_CAPABILITIES_TEXT], number[16];
	char landlock[64] = "no landlock", calls[64] = "no seccomp";
	const struct passwd *user = getpwuid(geteuid());

	(void)snprintf(number, sizeof(number), "%u", (unsigned)geteuid());
	cv_capabilities_format(cv_capabilities_have(), capabilities);
	if (sandbox->landlock_abi > 0)
		(void)snprintf(landlock, sizeof(landlock), "landlock abi %d with %zu places",
			       sandbox->landlock_abi, sandbox->places.count);
	if (sandbox->filter)
		(void)snprintf(calls, sizeof(calls), "seccomp %u calls", sandbox->call_count);
	(void)snprintf(sandbox->text, sizeof(sandbox->text),
		       "user %.64s, capabilities %s, %s, %s, ring %u operations",
		       user ? user->pw_name : number, capabilities, landlock, calls,
		       cv_ring_allowed_operations());
}

int cv_sandbox_enter(struct cv_sandbox *sandbox, const struct cv_config *config,
		     const char *run_directory)
{
	int error = 0;

	(void)snprintf(sandbox->text, sizeof(sandbox->text), "off");
	if (sandbox->mode == CV_SANDBOX_OFF)
		return 0;
	error = find_writes(sandbox, config, run_directory);
	if (!error)
		error = find_reads(sandbox, config);
	find_ports(sandbox, config);
	if (error)
		return fail("places", error);
	error = find_kept(sandbox, config);
	if (error)
		return error;
	error = close_memory();
	if (error)
		return fail("no_new_privs", error);
	error = prepare_filter(sandbox);
	if (!error)
		error = enter_landlock(sandbox);
	if (!error)
		error = give_up(sandbox);
	sandbox->entered = !error;
	describe(sandbox);
	return error;
}

int cv_sandbox_bind(struct cv_sandbox *sandbox, int (*run)(void *context), void *context,
		    bool last)
{
	int result = sandbox->binder ? cv_binder_run(sandbox->binder, run, context) : run(context);

	if (last)
		sandbox->binder = cv_binder_free(sandbox->binder);
	return result;
}

/* ---- sealed ------------------------------------------------------------------------------- */

int cv_sandbox_seal(struct cv_sandbox *sandbox)
{
	int error = sandbox->filter ? cv_seccomp_load(sandbox->filter) : 0;

	sandbox->filter = cv_seccomp_free(sandbox->filter);
	if (error)
		return fail("seccomp", error);
	cv_log(CV_LOG_INFO, "sandbox: %s", sandbox->text);
	return 0;
}
