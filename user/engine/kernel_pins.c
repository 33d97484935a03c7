// SPDX-License-Identifier: MIT
/*
 * kernel_pins.c - load everything and pin it, or remove it again.
 *
 *   load:    directory -> each part: load, attach, pin, give to the daemon's user -> info, last
 *            whatever fails on the way: the directory is removed with all that is in it
 *   unload:  info -> is it ours, is it in use? -> detach links -> remove pins, directory, mount
 *
 * Links are detached by hand: a pin's removal alone lets the kernel release it some time later.
 */
#include "engine/kernel_pins.h"

#include "engine/bpffs.h"
#include "engine/kernel_parts.h"
#include "engine/kernel_types.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <culvert/steer.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "pins.skel.h"

#define INFO_BYTES_MAX 4096

static const struct cv_pin info_pin = {CV_PINS_INFO, CV_PIN_MAP, CV_PIN_DAEMON_READS, 0};

static int __attribute__((format(printf, 3, 4)))
explain(char *why, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(why, CV_PINS_WHY, format, arguments);
	va_end(arguments);
	return error;
}

/* CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON; CAP_SYS_ADMIN is the older name of the first and last. */
static bool rights_are_complete(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
	uint64_t have;

	if (syscall(SYS_capget, &header, data) != 0)
		return true;
	have = (uint64_t)data[1].effective << 32 | data[0].effective;
	return (have & 1ull << CAP_NET_ADMIN) &&
	       ((have & 1ull << CAP_SYS_ADMIN) ||
		((have & 1ull << CAP_BPF) && (have & 1ull << CAP_PERFMON)));
}

const char *cv_pins_load_error(int error)
{
	/* without CAP_PERFMON the verifier says that a program is wrong, not that it may not */
	switch (error == -ENOENT || rights_are_complete() ? error : -EPERM) {
	case -EPERM:
		return "not permitted: needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON";
	case -EINVAL:
	case -EACCES:
		return "this kernel refuses the program";
	default:
		return strerror(-error);
	}
}

uint64_t cv_pins_netns(void)
{
	struct stat status;

	return stat("/proc/self/ns/net", &status) == 0 ? status.st_ino : 0;
}

/* ---- info --------------------------------------------------------------------------------- */

/* A newer loader's struct may be longer: its front is ours all the same. */
static int info_copy(int fd, struct cv_pins_info *ret_info)
{
	struct bpf_map_info map = {0};
	uint32_t len_bytes = sizeof(map);
	const uint32_t key = 0;
	char value[INFO_BYTES_MAX];

	if (bpf_obj_get_info_by_fd(fd, &map, &len_bytes) != 0)
		return -errno;
	if (map.type != BPF_MAP_TYPE_ARRAY || map.value_size < sizeof(*ret_info) ||
	    map.value_size > sizeof(value))
		return -EPROTO;
	if (bpf_map_lookup_elem(fd, &key, value) != 0)
		return -errno;
	memcpy(ret_info, value, sizeof(*ret_info));
	return ret_info->magic == CV_PINS_MAGIC ? 0 : -EPROTO;
}

int cv_pins_read(const char *directory, struct cv_pins_info *ret_info, char *ret_why)
{
	int fd = cv_pins_open(directory, &info_pin), error = fd;

	if (fd >= 0) {
		error = info_copy(fd, ret_info);
		(void)close(fd);
	}
	ret_why[0] = '\0';
	if (error == -ENOENT)
		return explain(ret_why, error, "nothing is pinned in %.120s", directory);
	if (error == -EACCES)
		return explain(ret_why, error,
			       "%.120s/" CV_PINS_INFO ": not ours to open; see "
			       "culvert load --user",
			       directory);
	if (error == -EPERM)
		return explain(ret_why, error,
			       "this kernel lets nobody open pins without CAP_BPF "
			       "(before 5.19 with kernel.unprivileged_bpf_disabled)");
	if (error == -EPROTO)
		return explain(ret_why, error, "%.120s/" CV_PINS_INFO " is not culvert's",
			       directory);
	if (error)
		return explain(ret_why, error, "%.120s: %s", directory, strerror(-error));
	return 0;
}

static int info_pin_new(const struct cv_pins_request *request, const struct cv_pins_info *info)
{
	struct pins_bpf *skeleton = pins_bpf__open_and_load();
	const uint32_t key = 0;
	char path[PATH_MAX];
	int error = skeleton ? 0 : -errno;

	if (!error &&
	    bpf_map_update_elem(bpf_map__fd(skeleton->maps.culvert_info), &key, info, BPF_ANY) != 0)
		error = -errno;
	if (!error)
		error = cv_pins_path(request->directory, CV_PINS_INFO, path);
	if (!error)
		error = bpf_map__pin(skeleton->maps.culvert_info, path);
	pins_bpf__destroy(skeleton);
	return error;
}

/* Is there a layout that this culvert does not know? */
static bool is_newer(const struct cv_pins_info *info)
{
	bool newer = info->version > CV_PINS_VERSION;

	for (size_t i = 0; i < CV_PINS_PARTS; i++) {
		unsigned known = 0;

		for (size_t k = 0; k < cv_kernel_part_count; k++)
			if (cv_kernel_parts[k].index == (enum cv_pins_part)i)
				known = cv_kernel_parts[k].layout;
		newer |= info->layouts[i] > known;
	}
	return newer;
}

/* Usable by this culvert, as far as the kernel allowed; @complete: every part is there. */
static bool is_usable(const struct cv_pins_info *info, bool complete)
{
	bool usable = info->version == CV_PINS_VERSION && info->netns_inode == cv_pins_netns();

	for (size_t k = 0; k < cv_kernel_part_count; k++) {
		unsigned layout = info->layouts[cv_kernel_parts[k].index];

		usable &= layout == cv_kernel_parts[k].layout || (!complete && !layout);
	}
	return usable;
}

static int refuse_newer(const struct cv_pins_info *info, const char *directory, char *why)
{
	char theirs[64] = "", ours[64] = "";

	for (size_t k = 0; k < cv_kernel_part_count; k++) {
		const struct cv_kernel_kind *kind = &cv_kernel_parts[k];
		size_t at = strlen(theirs), own = strlen(ours);

		snprintf(theirs + at, sizeof(theirs) - at, " %s %u", kind->name,
			 info->layouts[kind->index]);
		snprintf(ours + own, sizeof(ours) - own, " %s %u", kind->name, kind->layout);
	}
	return explain(
		why, -EPROTO,
		"%.80s: pins were made by culvert %.31s, layout%s; this is layout%s: use that "
		"culvert, or culvert unload --force",
		directory, info->culvert, theirs, ours);
}

/* ---- in use ------------------------------------------------------------------------------- */

/* Any layout: a sockmap is a sockmap. */
static bool somebody_listens(const char *directory)
{
	static const struct cv_pin pin = {"steer_listeners", CV_PIN_MAP, CV_PIN_DAEMON_WRITES, 0};
	struct bpf_map_info map = {0};
	uint32_t len_bytes = sizeof(map);
	bool found = false;
	int fd = cv_pins_open(directory, &pin);

	if (fd < 0)
		return false;
	if (bpf_obj_get_info_by_fd(fd, &map, &len_bytes) == 0 && map.value_size == 8)
		for (uint32_t slot = 0; slot < map.max_entries && !found; slot++) {
			uint64_t cookie;

			found = bpf_map_lookup_elem(fd, &slot, &cookie) == 0;
		}
	(void)close(fd);
	return found;
}

/* ---- load --------------------------------------------------------------------------------- */

/*
 * What the daemon writes becomes its user's or its group's. What it only reads stays the loader's:
 * an owner could give itself the right to write.
 */
static int give_pin(const struct cv_pins_request *request, const char *name,
		    enum cv_pin_access access)
{
	const bool reads = access == CV_PIN_DAEMON_READS;
	const bool has_group = request->gid != (gid_t)-1, has_user = request->uid != (uid_t)-1;
	mode_t mode = reads ? (has_user ? 0444 : 0400) : 0600;
	char path[PATH_MAX];
	int error = cv_pins_path(request->directory, name, path);

	if (error || access == CV_PIN_LOADER_ONLY)
		return error;
	if (has_group)
		mode |= mode >> 3;
	if ((has_group || (has_user && !reads)) &&
	    chown(path, reads ? (uid_t)-1 : request->uid, request->gid) != 0)
		return -errno;
	return chmod(path, mode) == 0 ? 0 : -errno;
}

static int give_all(const struct cv_pins_request *request, const struct cv_pins_info *info)
{
	int error = give_pin(request, CV_PINS_INFO, CV_PIN_DAEMON_READS);

	for (size_t i = 0; i < cv_kernel_part_count && !error; i++) {
		if (!info->layouts[cv_kernel_parts[i].index])
			continue;
		for (const struct cv_pin *pin = cv_kernel_parts[i].pins; pin->name && !error; pin++)
			error = give_pin(request, pin->name, pin->access);
	}
	return error;
}

static int pin_link(struct bpf_object *object, const char *name, const char *path)
{
	char program_name[64];
	struct bpf_program *program;
	struct bpf_link *link;
	int error, netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (netns < 0)
		return -errno;
	(void)snprintf(program_name, sizeof(program_name), "%.*s",
		       (int)(strlen(name) - strlen("_link")), name);
	program = bpf_object__find_program_by_name(object, program_name);
	link = program ? bpf_program__attach_netns(program, netns) : NULL;
	error = link ? bpf_link__pin(link, path) : -errno;
	bpf_link__destroy(link); /* a pinned one lives on */
	(void)close(netns);
	return error;
}

static int pin_one(const struct cv_pins_request *request, struct bpf_object *object,
		   const struct cv_pin *pin)
{
	char path[PATH_MAX];
	int error = cv_pins_path(request->directory, pin->name, path);

	if (error)
		return error;
	switch (pin->kind) {
	case CV_PIN_MAP:
		return bpf_map__pin(bpf_object__find_map_by_name(object, pin->name), path);
	case CV_PIN_PROGRAM:
		return bpf_program__pin(bpf_object__find_program_by_name(object, pin->name), path);
	default:
		return pin_link(object, pin->name, path);
	}
}

/* -EPERM, or a pin that cannot be made: the whole fails. Else @ret_refused says why not. */
static int load_part(const struct cv_pins_request *request, const struct cv_kernel_kind *kind,
		     const struct cv_kernel_types *types, int *ret_refused)
{
	void *skeleton = NULL;
	struct bpf_object *object = kind->open(types, &skeleton);
	int error = object ? kind->load(skeleton) : -errno;

	if (error && !rights_are_complete())
		error = -EPERM;
	*ret_refused = error;
	if (!error && kind->attach)
		error = kind->attach(skeleton);
	for (const struct cv_pin *pin = kind->pins; pin->name && !error; pin++)
		error = pin_one(request, object, pin);
	if (object)
		kind->destroy(skeleton);
	return *ret_refused && *ret_refused != -EPERM ? 0 : error;
}

static int load_parts(const struct cv_pins_request *request, struct cv_pins_info *info,
		      struct cv_pins_result *result)
{
	struct cv_kernel_types types;
	size_t loaded = 0;
	int error = 0;

	cv_kernel_types_open(&types);
	for (size_t i = 0; i < cv_kernel_part_count && !error; i++) {
		const struct cv_kernel_kind *kind = &cv_kernel_parts[i];
		int refused = 0;

		error = load_part(request, kind, &types, &refused);
		result->parts[i].name = kind->name;
		result->parts[i].error = error ? error : refused;
		result->parts[i].why = refused ? cv_pins_load_error(refused) : "";
		result->part_count = i + 1;
		if (error)
			(void)explain(result->why, error, "%s: %s", kind->name,
				      refused ? cv_pins_load_error(error) : strerror(-error));
		info->layouts[kind->index] = refused ? 0 : kind->layout;
		loaded += !refused;
	}
	cv_kernel_types_close(&types);
	if (error)
		return error;
	if (!loaded)
		return explain(result->why, -ENOTSUP, "this kernel refuses every part");
	return 0;
}

/* Frozen: from here on nobody changes it, not even the owner. */
static int forbid_ports(const struct cv_pins_request *request)
{
	static const struct cv_pin pin = {"steer_forbidden", CV_PIN_MAP, CV_PIN_LOADER_ONLY, 0};
	int fd = cv_pins_open(request->directory, &pin), error = 0;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd; /* a kernel without steering */
	for (uint32_t word = 0; request->forbidden && word < CV_STEER_PORT_WORDS && !error; word++)
		if (bpf_map_update_elem(fd, &word, &request->forbidden[word], BPF_ANY) != 0)
			error = -errno;
	if (!error && bpf_map_freeze(fd) != 0)
		error = -errno;
	(void)close(fd);
	return error;
}

static int fill(const struct cv_pins_request *request, const struct cv_bpffs_traces *traces,
		struct cv_pins_result *result)
{
	struct cv_pins_info info = {
		.magic = CV_PINS_MAGIC,
		.version = CV_PINS_VERSION,
		.mounted_bpffs = traces->mounted,
		.parent_mode = traces->parent_mode,
		.loaded_at_s = (uint64_t)time(NULL),
		.netns_inode = cv_pins_netns(),
	};
	int error = load_parts(request, &info, result);

	if (error)
		return error;
	(void)snprintf(info.culvert, sizeof(info.culvert), "%s", request->culvert);
	error = forbid_ports(request);
	if (!error)
		error = info_pin_new(request, &info);
	if (!error)
		error = give_all(request, &info);
	if (error)
		return explain(result->why, error, "%s", cv_pins_load_error(error));
	return 0;
}

/* Pins are there. 0: keep them; 1: they may be replaced, @traces are theirs. */
static int judge_existing(const struct cv_pins_request *request, struct cv_bpffs_traces *traces,
			  struct cv_pins_result *result)
{
	struct cv_pins_info info;
	bool listening;
	int error = cv_pins_read(request->directory, &info, result->why);

	if (error == -ENOENT)
		return 1; /* left by a loader that died */
	if (error)
		return error;
	if (is_newer(&info))
		return refuse_newer(&info, request->directory, result->why);
	traces->mounted |= info.mounted_bpffs;
	traces->parent_mode = traces->parent_mode ? traces->parent_mode : info.parent_mode;
	listening = somebody_listens(request->directory);
	if (!listening && (request->forbidden || !is_usable(&info, true) ||
			   strcmp(info.culvert, request->culvert) != 0))
		return 1;
	if (!is_usable(&info, false))
		return explain(
			result->why, -EBUSY,
			"%.80s: pins of culvert %.31s, made for other maps or another network "
			"namespace, are in use: stop its culvertd first",
			request->directory, info.culvert);
	result->existed = true;
	error = give_all(request, &info);
	if (error)
		return explain(result->why, error, "%.80s: owner of the pins: %s",
			       request->directory, strerror(-error));
	return 0;
}

static int load_locked(const struct cv_pins_request *request, bool existed,
		       struct cv_bpffs_traces *traces, bool *ret_undo,
		       struct cv_pins_result *result)
{
	int error = existed ? judge_existing(request, traces, result) : 1;

	if (error <= 0)
		return error;
	error = existed ? cv_bpffs_empty(request->directory) : 0;
	if (error)
		return explain(result->why, error, "%.80s: %s", request->directory,
			       strerror(-error));
	error = fill(request, traces, result);
	if (error && cv_bpffs_remove(request->directory) == 0)
		*ret_undo = true;
	return error;
}

int cv_pins_load(const struct cv_pins_request *request, struct cv_pins_result *ret_result)
{
	const bool shared = request->uid != (uid_t)-1 || request->gid != (gid_t)-1;
	struct cv_pins_result result = {0};
	struct cv_bpffs_traces traces;
	int error = cv_bpffs_make(request->directory, shared, &traces);
	const bool existed = error == -EEXIST;
	bool undo = false;
	int lock;

	if (error == -EMEDIUMTYPE)
		explain(result.why, error,
			"%.120s: its parent is not a bpffs; mount one there: "
			"mount -t bpf bpf PARENT",
			request->directory);
	else if (error && !existed)
		explain(result.why, error, "%.120s: %s", request->directory, strerror(-error));
	if (!error || existed) {
		lock = cv_bpffs_lock(request->directory);
		result.mounted = traces.mounted;
		error = load_locked(request, existed, &traces, &undo, &result);
		if (lock >= 0)
			(void)close(lock);
		if (undo)
			cv_bpffs_undo(request->directory, &traces);
	}
	*ret_result = result;
	return error;
}

/* ---- unload ------------------------------------------------------------------------------- */

static void detach_links(const char *directory)
{
	for (size_t i = 0; i < cv_kernel_part_count; i++)
		for (const struct cv_pin *pin = cv_kernel_parts[i].pins; pin->name; pin++) {
			int fd = pin->kind == CV_PIN_LINK ? cv_pins_open(directory, pin) : -1;

			if (fd < 0)
				continue;
			(void)bpf_link_detach(fd);
			(void)close(fd);
		}
}

static int unload_locked(const char *directory, bool force, struct cv_bpffs_traces *ret_traces,
			 char *why)
{
	struct cv_pins_info info = {0};
	int error = cv_pins_read(directory, &info, why);

	if (error && !(force && (error == -ENOENT || error == -EPROTO)))
		return error;
	if (error)
		info = (struct cv_pins_info){0};
	if (!force && is_newer(&info))
		return refuse_newer(&info, directory, why);
	if (!force && somebody_listens(directory))
		return explain(why, -EBUSY,
			       "%.120s: a culvertd listens through these pins: stop it "
			       "first, or culvert unload --force",
			       directory);
	ret_traces->mounted = info.mounted_bpffs;
	ret_traces->parent_mode = info.parent_mode;
	detach_links(directory);
	error = cv_bpffs_remove(directory);
	if (error)
		return explain(why, error, "%.120s: %s", directory, strerror(-error));
	why[0] = '\0';
	return 0;
}

int cv_pins_unload(const char *directory, bool force, char *ret_why)
{
	struct cv_bpffs_traces traces = {0};
	int lock = cv_bpffs_lock(directory), error;

	if (lock == -ENOENT)
		return explain(ret_why, -ENOENT, "nothing is pinned in %.120s", directory);
	error = unload_locked(directory, force, &traces, ret_why);
	if (lock >= 0)
		(void)close(lock); /* it would keep the file system busy */
	if (!error)
		cv_bpffs_undo(directory, &traces);
	return error;
}
