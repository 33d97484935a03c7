// SPDX-License-Identifier: MIT
/*
 * usage_file.c - see usage_file.h.
 *
 *   lock -> read file (base) -> base + moved since the last save -> write, fsync, rename -> unlock
 *                                     \-> the same becomes `used` in memory: offset = it - moved
 *
 * What was not saved stays unsaved: `saved` only follows after the rename. A period that ended is
 * noticed here too, by the same arithmetic: the base of an older period is 0. A file that cannot be
 * understood says nothing; then what this process knows takes its place.
 */
#include "control/usage_file.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/json.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define VERSION 1
#define FILE_MAX_BYTES (256u << 20)
#define LOCK_TRIES 50
#define LOCK_PAUSE_MS 20
#define ROOM_PER_BYTE 8 /* of a text, in objects */
#define ROOM_BYTES 65536
#define KEPT_S (400u * 86400u) /* those who are in no configuration any more */

struct entry { /* beside usages[i] */
	uint64_t saved_bytes[2]; /* of moved_bytes, in the file */
	uint64_t period_ms;      /* of saved_bytes */
};

struct cv_usage_file {
	struct cv_usage_table *usages;
	struct entry *entries; /* beside the usages that there were when it was made */
	size_t entry_count;
	char *directory, *path, *new_path;
	int directory_fd, lock_fd; /* -1 = nothing is kept */
	struct timespec seen_time; /* of the file as last read or written */
	ino_t seen_inode;
	off_t seen_bytes;
	bool has_failed; /* logged already */
	bool is_foreign; /* of a later version: hands off */
	bool was_read;
	bool stopping;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
};

/* ---- reading ------------------------------------------------------------------------------ */

static void complain(struct cv_usage_file *file, const char *what, int error)
{
	if (!file->has_failed)
		cv_log(CV_LOG_ERROR, "%s: %s: %s; quotas are counted, but not kept at present",
		       file->path, what, strerror(error));
	file->has_failed = true;
}

/* Whoever repairs it wants to see it. */
static void set_aside(struct cv_usage_file *file, const char *why)
{
	char aside[4400];

	snprintf(aside, sizeof(aside), "%.4300s.damaged-%" PRIu64, file->path,
		 cv_clock_wall_ms() / 1000);
	if (!file->has_failed)
		cv_log(CV_LOG_ERROR,
		       "%s: %s; kept as %s, quotas go on from what this process knows", file->path,
		       why, aside);
	if (rename(file->path, aside) < 0)
		complain(file, "cannot be renamed", errno);
}

/* 0 with *ret_text NULL: there is no file. */
static int read_text(struct cv_usage_file *file, char **ret_text, size_t *ret_len)
{
	int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat status;
	char *text;
	ssize_t got;

	*ret_text = NULL;
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size > FILE_MAX_BYTES) {
		(void)close(fd);
		return -EINVAL;
	}
	text = malloc((size_t)status.st_size + 1);
	got = text ? read(fd, text, (size_t)status.st_size) : -1;
	(void)close(fd);
	if (got < 0) {
		free(text);
		return text ? -EIO : -ENOMEM;
	}
	text[got] = '\0';
	*ret_text = text;
	*ret_len = (size_t)got;
	return 0;
}

static bool is_count(struct json_object *object, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(object, key, &value) &&
	       json_object_is_type(value, json_type_int) &&
	       (json_object_get_int64(value) >= 0 || json_object_get_uint64(value) > INT64_MAX);
}

static uint64_t count_of(struct json_object *object, const char *key)
{
	return json_object_get_uint64(json_object_object_get(object, key));
}

static bool is_whole(struct json_object *root)
{
	struct json_object *users;

	if (!is_count(root, "version") || !json_object_object_get_ex(root, "users", &users) ||
	    !json_object_is_type(users, json_type_object))
		return false;
	json_object_object_foreach(users, key, user)
	{
		(void)key;
		if (!json_object_is_type(user, json_type_object) ||
		    !is_count(user, "uplinkBytes") || !is_count(user, "downlinkBytes") ||
		    !is_count(user, "periodStart") || !is_count(user, "saved"))
			return false;
	}
	return true;
}

/* json-c cannot always tell whether memory or the text was to blame, and some versions trip over
 * themselves without memory: so there has to be plenty beforehand. */
static bool has_room(size_t len)
{
	void *room = malloc(len * ROOM_PER_BYTE + ROOM_BYTES);

	free(room);
	return room;
}

/* NULL: @ret_error says that memory was missing, or that the text is none (0). */
static struct json_object *parse(const char *text, size_t len, int *ret_error)
{
	struct json_tokener *tokener = has_room(len) ? json_tokener_new() : NULL;
	struct json_object *root = NULL;

	*ret_error = tokener ? 0 : -ENOMEM;
	if (!tokener)
		return NULL;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	root = json_tokener_parse_ex(tokener, text, (int)len);
	if (json_tokener_get_error(tokener) != json_tokener_success) {
		json_object_put(root);
		root = NULL;
	} else if (!root && strncmp(text, "null", 4) != 0) {
		*ret_error = -ENOMEM;
	}
	json_tokener_free(tokener);
	return root;
}

static struct json_object *root_new(void)
{
	const uint64_t lacks = cv_json_lacks();
	struct json_object *root = json_object_new_object();

	cv_json_u64(root, "version", VERSION);
	cv_json_add(root, "users", json_object_new_object());
	if (cv_json_lacks() == lacks)
		return root;
	json_object_put(root);
	return NULL;
}

/* What the file says; NULL: nothing that could be understood, @ret_error 0 or -errno. */
static struct json_object *read_root(struct cv_usage_file *file, int *ret_error)
{
	struct json_object *root = NULL;
	char *text;
	size_t len = 0;

	*ret_error = read_text(file, &text, &len);
	if (*ret_error) {
		complain(file, "cannot be read", -*ret_error);
		return NULL;
	}
	if (!text) {
		root = root_new();
		*ret_error = root ? 0 : -ENOMEM;
		return root;
	}
	root = parse(text, len, ret_error);
	free(text);
	if (*ret_error) {
		complain(file, "cannot be read", -*ret_error);
		return NULL;
	}
	if (root && is_count(root, "version") && count_of(root, "version") > VERSION) {
		cv_log(CV_LOG_ERROR, "%s is of a later version: left alone, quotas are not kept",
		       file->path);
		file->is_foreign = true;
		*ret_error = -EPROTONOSUPPORT;
	} else if (!root || !is_whole(root)) {
		set_aside(file, "not whole, or not a usage file");
	} else {
		return root;
	}
	json_object_put(root);
	return NULL;
}

/* ---- one user ----------------------------------------------------------------------------- */

struct sums {
	uint64_t moved_bytes[2], used_bytes[2];
	uint64_t period_ms;
	bool counts; /* has a quota, at the time it was added up */
};

/* @base: the file's entry, NULL = it has none; @is_lost: there is no file to ask. */
static struct sums add_up(const struct cv_usage *usage, const struct entry *entry,
			  struct json_object *base, bool is_lost, uint64_t wall_ms)
{
	static const char *const keys[] = {"uplinkBytes", "downlinkBytes"};
	struct sums sums = {
		.period_ms = cv_limits_period_ms(cv_usage_limits(usage).quota_resets, wall_ms)};
	/* the same one, or with another configuration a longer one around it */
	const bool goes_on = sums.period_ms <= entry->period_ms;
	const bool counts = base && count_of(base, "periodStart") >= sums.period_ms / 1000;

	for (int d = 0; d < 2; d++) {
		sums.moved_bytes[d] = atomic_load_explicit(&usage->moved_bytes[d],
							   memory_order_relaxed);
		if (is_lost && goes_on)
			sums.used_bytes[d] = sums.moved_bytes[d] +
					     atomic_load(&usage->offset_bytes[d]);
		else if (!is_lost && counts)
			sums.used_bytes[d] = count_of(base, keys[d]);
		if (!is_lost && goes_on)
			sums.used_bytes[d] += sums.moved_bytes[d] - entry->saved_bytes[d];
	}
	return sums;
}

static void settle(struct cv_usage *usage, struct entry *entry, const struct sums *sums)
{
	for (int d = 0; d < 2; d++) {
		atomic_store(&usage->offset_bytes[d], sums->used_bytes[d] - sums->moved_bytes[d]);
		entry->saved_bytes[d] = sums->moved_bytes[d];
	}
	entry->period_ms = sums->period_ms;
}

static struct json_object *entry_json(const struct sums *sums, uint64_t wall_ms)
{
	struct json_object *object = json_object_new_object();

	cv_json_u64(object, "uplinkBytes", sums->used_bytes[0]);
	cv_json_u64(object, "downlinkBytes", sums->used_bytes[1]);
	cv_json_u64(object, "periodStart", sums->period_ms / 1000);
	cv_json_u64(object, "saved", wall_ms / 1000);
	return object;
}

/* ---- writing ------------------------------------------------------------------------------ */

static int write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t put = write(fd, text, len);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return put < 0 ? -errno : -EIO;
		text += put;
		len -= (size_t)put;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* Out of memory, json-c leaves out pieces of a text and does not tell. */
static bool says(const char *text, size_t len, struct json_object *root)
{
	int error;
	struct json_object *read_back = parse(text, len, &error);
	const bool is_same = read_back && json_object_equal(read_back, root);

	json_object_put(read_back);
	return is_same;
}

static int replace(struct cv_usage_file *file, struct json_object *root)
{
	size_t len;
	const char *text = json_object_to_json_string_length(root, JSON_C_TO_STRING_PRETTY, &len);
	int fd, error;

	if (!text || !says(text, len, root))
		return -ENOMEM;
	(void)unlink(file->new_path); /* of a daemon that was killed; we hold the lock */
	fd = open(file->new_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	error = write_all(fd, text, len);
	if (close(fd) < 0 && !error)
		error = -errno;
	if (!error && rename(file->new_path, file->path) < 0)
		error = -errno;
	if (error)
		(void)unlink(file->new_path);
	else
		(void)fsync(file->directory_fd);
	return error;
}

/* Did anybody else write it since? */
static bool has_changed(const struct cv_usage_file *file)
{
	struct stat status = {0};

	(void)stat(file->path, &status);
	return status.st_ino != file->seen_inode || status.st_size != file->seen_bytes ||
	       status.st_mtim.tv_sec != file->seen_time.tv_sec ||
	       status.st_mtim.tv_nsec != file->seen_time.tv_nsec;
}

static void remember(struct cv_usage_file *file)
{
	struct stat status = {0};

	(void)stat(file->path, &status);
	file->seen_inode = status.st_ino;
	file->seen_bytes = status.st_size;
	file->seen_time = status.st_mtim;
}

/* ---- a round ------------------------------------------------------------------------------ */

static void forget_old(const struct cv_usage_file *file, struct json_object *users,
		       uint64_t wall_ms)
{
	const uint64_t now_s = wall_ms / 1000;
	struct json_object_iter iter;
	const char *old = NULL;

	json_object_object_foreachC(users, iter)
	{
		if (now_s > KEPT_S && count_of(iter.val, "saved") < now_s - KEPT_S &&
		    !cv_usage_find(file->usages, iter.key))
			old = iter.key;
	}
	if (old) /* one in a round is enough */
		json_object_object_del(users, old);
}

/* True: something is to be written. */
static bool merge(struct cv_usage_file *file, struct json_object *users, bool is_lost,
		  struct sums *sums, uint64_t wall_ms)
{
	bool is_new = is_lost;

	for (size_t i = 0; i < file->entry_count; i++) {
		const struct cv_usage *usage = cv_usage_at(file->usages, i);
		const struct entry *entry = &file->entries[i];
		struct json_object *base = NULL;

		if (cv_usage_limits(usage).quota_bytes == 0)
			continue;
		(void)json_object_object_get_ex(users, usage->key, &base);
		sums[i] = add_up(usage, entry, base, is_lost, wall_ms);
		sums[i].counts = true;
		if (base && count_of(base, "uplinkBytes") == sums[i].used_bytes[0] &&
		    count_of(base, "downlinkBytes") == sums[i].used_bytes[1] &&
		    count_of(base, "periodStart") == sums[i].period_ms / 1000)
			continue;
		if (!base && sums[i].used_bytes[0] + sums[i].used_bytes[1] == 0)
			continue;
		cv_json_add(users, usage->key, entry_json(&sums[i], wall_ms));
		is_new = true;
	}
	return is_new;
}

static void settle_all(struct cv_usage_file *file, const struct sums *sums)
{
	for (size_t i = 0; i < file->entry_count; i++)
		if (sums[i].counts)
			settle(cv_usage_at(file->usages, i), &file->entries[i], &sums[i]);
	remember(file);
}

/* Periods end also while nothing can be read or written. */
static void end_periods(struct cv_usage_file *file, uint64_t wall_ms)
{
	for (size_t i = 0; i < file->entry_count; i++) {
		struct cv_usage *usage = cv_usage_at(file->usages, i);
		struct entry *entry = &file->entries[i];
		struct sums sums;

		if (entry->period_ms ==
		    cv_limits_period_ms(cv_usage_limits(usage).quota_resets, wall_ms))
			continue;
		sums = add_up(usage, entry, NULL, true, wall_ms);
		settle(usage, entry, &sums);
	}
}

static void exchange(struct cv_usage_file *file, uint64_t wall_ms)
{
	struct sums *sums = calloc(file->entry_count + 1, sizeof(*sums));
	const uint64_t lacks = cv_json_lacks();
	int error = 0;
	struct json_object *root = sums ? read_root(file, &error) : NULL;
	const bool is_lost = sums && !error && !root;

	if (is_lost)
		root = root_new();
	if (!root) {
		free(sums);
		return;
	}
	forget_old(file, json_object_object_get(root, "users"), wall_ms);
	if (merge(file, json_object_object_get(root, "users"), is_lost, sums, wall_ms))
		error = cv_json_lacks() == lacks ? replace(file, root) : -ENOMEM;
	if (error) {
		complain(file, "cannot be written", -error);
	} else {
		if (file->has_failed)
			cv_log(CV_LOG_WARNING, "%s: written again", file->path);
		file->has_failed = false;
	}
	if (!error)
		settle_all(file, sums);
	file->was_read = true;
	json_object_put(root);
	free(sums);
}

static bool lock(struct cv_usage_file *file)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000};

	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(file->lock_fd, LOCK_EX | LOCK_NB) == 0)
			return true;
		(void)nanosleep(&pause, NULL);
	}
	complain(file, "locked by somebody else", EWOULDBLOCK);
	return false;
}

static bool has_moved(const struct cv_usage_file *file)
{
	for (size_t i = 0; i < file->entry_count; i++) {
		const struct cv_usage *usage = cv_usage_at(file->usages, i);

		for (int d = 0; d < 2 && cv_usage_limits(usage).quota_bytes; d++)
			if (atomic_load(&usage->moved_bytes[d]) != file->entries[i].saved_bytes[d])
				return true;
	}
	return false;
}

/* Another configuration knows more people; what the file says of them counts, too. */
static bool make_entries(struct cv_usage_file *file, uint64_t wall_ms)
{
	const size_t count = cv_usage_count(file->usages);
	struct entry *entries = file->entries;

	if (count > file->entry_count)
		entries = realloc(entries, count * sizeof(*entries));
	if (!entries && count > 0)
		return false;
	file->entries = entries;
	for (size_t i = file->entry_count; i < count; i++)
		entries[i] = (struct entry){
			.period_ms = cv_limits_period_ms(
				cv_usage_limits(cv_usage_at(file->usages, i)).quota_resets,
				wall_ms)};
	file->was_read &= count == file->entry_count;
	file->entry_count = count;
	return true;
}

void cv_usage_file_sync(struct cv_usage_file *file, uint64_t wall_ms)
{
	if (!make_entries(file, wall_ms))
		return;
	if (file->lock_fd >= 0 && !file->is_foreign &&
	    (!file->was_read || has_moved(file) || has_changed(file)) && lock(file)) {
		exchange(file, wall_ms);
		(void)flock(file->lock_fd, LOCK_UN);
	}
	end_periods(file, wall_ms);
}

/* ---- thread ------------------------------------------------------------------------------- */

static uint64_t until_round_ms(uint64_t wall_ms)
{
	uint64_t next_ms = wall_ms + CV_USAGE_FILE_S * 1000u;

	for (int resets = CV_QUOTA_DAILY; resets <= CV_QUOTA_MONTHLY; resets++) {
		const uint64_t period_ms =
			cv_limits_next_period_ms((enum cv_quota_reset)resets, wall_ms);

		if (period_ms < next_ms)
			next_ms = period_ms;
	}
	return next_ms - wall_ms;
}

/* By the clock that nobody sets: a wait until tomorrow would go on if today came again. */
static void *thread_main(void *opaque)
{
	struct cv_usage_file *file = opaque;

	pthread_mutex_lock(&file->lock);
	while (!file->stopping) {
		const uint64_t until_ms = cv_clock_ms() + until_round_ms(cv_clock_wall_ms());
		const struct timespec until = {.tv_sec = (time_t)(until_ms / 1000),
					       .tv_nsec = (long)(until_ms % 1000) * 1000000};

		if (pthread_cond_clockwait(&file->wake, &file->lock, CLOCK_MONOTONIC, &until) == 0)
			continue;
		cv_usage_file_sync(file, cv_clock_wall_ms());
	}
	pthread_mutex_unlock(&file->lock);
	return NULL;
}

/* ---- start and stop ----------------------------------------------------------------------- */

static struct cv_usage_file *file_free(struct cv_usage_file *file)
{
	if (!file)
		return NULL;
	if (file->directory_fd >= 0)
		(void)close(file->directory_fd);
	if (file->lock_fd >= 0)
		(void)close(file->lock_fd);
	pthread_cond_destroy(&file->wake);
	pthread_mutex_destroy(&file->lock);
	free(file->entries);
	free(file->directory);
	free(file->path);
	free(file->new_path);
	free(file);
	return NULL;
}

static char *join(const char *directory, const char *name)
{
	char *path = NULL;

	return asprintf(&path, "%s/%s", directory, name) < 0 ? NULL : path;
}

static struct cv_usage_file *file_new(const char *directory, struct cv_usage_table *usages)
{
	struct cv_usage_file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	pthread_mutex_init(&file->lock, NULL);
	pthread_cond_init(&file->wake, NULL);
	file->directory_fd = file->lock_fd = -1;
	file->usages = usages;
	file->directory = strdup(directory);
	file->path = join(directory, "usage.json");
	file->new_path = join(directory, "usage.json.new");
	if (!file->directory || !file->path || !file->new_path)
		return file_free(file);
	return file;
}

/* The lock is a file of its own: usage.json is another one after each write. */
static void open_directory(struct cv_usage_file *file)
{
	(void)mkdir(file->directory, 0700);
	file->directory_fd = open(file->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (file->directory_fd >= 0)
		file->lock_fd = openat(file->directory_fd, "usage.lock",
				       O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (file->lock_fd < 0)
		complain(file, "no place in stateDirectory", errno);
}

static bool any_quota(struct cv_usage_table *usages)
{
	for (size_t i = 0; i < cv_usage_count(usages); i++)
		if (cv_usage_limits(cv_usage_at(usages, i)).quota_bytes)
			return true;
	return false;
}

int cv_usage_file_start(const char *directory, struct cv_usage_table *usages,
			struct cv_usage_file **ret_file)
{
	struct cv_usage_file *file;
	int error;

	if (!any_quota(usages))
		return 0;
	file = file_new(directory, usages);
	if (!file)
		return -ENOMEM;
	if (directory[0])
		open_directory(file);
	cv_usage_file_sync(file, cv_clock_wall_ms());
	error = pthread_create(&file->thread, NULL, thread_main, file);
	if (error)
		file_free(file);
	else
		*ret_file = file;
	return -error;
}

void cv_usage_file_reread(struct cv_usage_file *file)
{
	pthread_mutex_lock(&file->lock);
	file->was_read = false;
	cv_usage_file_sync(file, cv_clock_wall_ms());
	pthread_mutex_unlock(&file->lock);
}

struct cv_usage_file *cv_usage_file_stop(struct cv_usage_file *file)
{
	if (!file)
		return NULL;
	pthread_mutex_lock(&file->lock);
	file->stopping = true;
	pthread_cond_signal(&file->wake);
	pthread_mutex_unlock(&file->lock);
	pthread_join(file->thread, NULL);
	cv_usage_file_sync(file, cv_clock_wall_ms());
	return file_free(file);
}
