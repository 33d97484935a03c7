// SPDX-License-Identifier: MIT
/*
 * json_file.c - see json_file.h.
 *
 *   lock PATH.lock -> read PATH -> (change) -> write PATH.new -> fsync -> rename -> fsync directory
 *
 * The lock is a file of its own: the one that is replaced cannot carry it, since whoever waits
 * would then lock what is no longer there. PATH.new may be left by a program that was killed; only
 * who holds the lock touches it, so the next one removes it.
 */
#include "config/json_file.h"

#include "base/clock.h"
#include "base/utf8.h"
#include "config/json_text.h"
#include "config/node.h"
#include "crypto/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 20
#define DEPTH_MAX 32

/* ---- the lock ----------------------------------------------------------------------------- */

static int take_lock(int fd)
{
	const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000};
	const uint64_t until_ms = cv_clock_ms() + CV_JSON_FILE_WAIT_MS;

	while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (cv_clock_ms() >= until_ms)
			return -EBUSY;
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

static int open_lock(struct cv_json_file *file)
{
	char path[PATH_MAX + 8];

	(void)snprintf(path, sizeof(path), "%s.lock", file->path);
	file->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return file->lock_fd < 0 ? -errno : take_lock(file->lock_fd);
}

/* ---- reading ------------------------------------------------------------------------------ */

/* A link is followed, so that the file behind it is replaced and not the link. */
static int set_path(struct cv_json_file *file, const char *path)
{
	file->path = realpath(path, NULL);
	if (!file->path && errno == ENOENT)
		file->path = strdup(path);
	if (!file->path)
		return errno ? -errno : -ENOMEM;
	return strlen(file->path) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* @text, in ASCII */
static int parse_ascii(struct cv_json_file *file, const char *text, size_t len)
{
	struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
	enum json_tokener_error error;

	if (!tokener)
		return -ENOMEM;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	file->root = json_tokener_parse_ex(tokener, text, (int)len + 1);
	error = json_tokener_get_error(tokener);
	json_tokener_free(tokener);
	if (error == json_tokener_continue)
		file->problem = "the file ends inside a value";
	else if (error != json_tokener_success)
		file->problem = json_tokener_error_desc(error);
	else if (!json_object_is_type(file->root, json_type_object))
		file->problem = "expected an object";
	return file->problem ? -EBADMSG : 0;
}

static int parse(struct cv_json_file *file, const char *text, size_t len)
{
	char *ascii;
	int error;

	if (cv_utf8_valid_bytes(text, len) < len) {
		file->problem = "invalid UTF-8";
		return -EBADMSG;
	}
	ascii = cv_json_ascii(text, len, &len);
	if (!ascii)
		return -ENOMEM;
	error = parse_ascii(file, ascii, len);
	free(ascii);
	return error;
}

static int read_root(struct cv_json_file *file, bool may_be_absent)
{
	char *text;
	size_t len;
	int error = cv_document_read_file(file->path, &text, &len);

	if (error == -ENOENT && may_be_absent) {
		file->root = json_object_new_object();
		return file->root ? 0 : -ENOMEM;
	}
	if (error)
		return error;
	error = parse(file, text, len);
	cv_cleanse(text, len);
	free(text);
	return error;
}

int cv_json_file_open(const char *path, bool to_change, struct cv_json_file *ret_file)
{
	struct cv_json_file file = {.lock_fd = -1};
	int error = set_path(&file, path);

	if (!error && to_change)
		error = open_lock(&file);
	if (!error)
		error = read_root(&file, to_change);
	*ret_file = (struct cv_json_file){.lock_fd = -1, .problem = file.problem};
	if (error)
		cv_json_file_close(&file);
	else
		*ret_file = file;
	return error;
}

void cv_json_file_close(struct cv_json_file *file)
{
	json_object_put(file->root);
	free(file->path);
	if (file->lock_fd >= 0)
		(void)close(file->lock_fd);
	file->root = NULL;
	file->path = NULL;
	file->lock_fd = -1;
}

/* ---- writing ------------------------------------------------------------------------------ */

char *cv_json_file_text(const struct cv_json_file *file, size_t *ret_len)
{
	const char *text = json_object_to_json_string_ext(
		file->root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
	char *copy = NULL;
	int len = text ? asprintf(&copy, "%s\n", text) : -1;

	if (len < 0)
		return NULL;
	*ret_len = (size_t)len;
	return copy;
}

static int write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		const ssize_t put = write(fd, text, len);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		text += put;
		len -= (size_t)put;
	}
	return 0;
}

/* As the file that is replaced, or its directory, has it; not being allowed to is no failure. */
static void set_owner(int fd, const char *path, int directory_fd)
{
	struct stat status;
	const bool is_new = stat(path, &status) != 0;

	if (is_new && fstat(directory_fd, &status) != 0)
		return;
	if (fchown(fd, status.st_uid, status.st_gid) != 0)
		return;
	if (!is_new && (status.st_mode & 0777) == 0640)
		(void)fchmod(fd, 0640);
}

static int write_beside(const struct cv_json_file *file, const char *path, int directory_fd)
{
	size_t len;
	char *text = cv_json_file_text(file, &len);
	int error, fd;

	if (!text)
		return -ENOMEM;
	(void)unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	error = fd < 0 ? -errno : write_all(fd, text, len);
	if (!error)
		set_owner(fd, file->path, directory_fd);
	if (!error && fsync(fd) != 0)
		error = -errno;
	if (fd >= 0)
		(void)close(fd);
	cv_cleanse(text, len);
	free(text);
	return error;
}

int cv_json_file_write(const struct cv_json_file *file)
{
	char path[PATH_MAX + 8], directory[PATH_MAX];
	int directory_fd, error;

	(void)snprintf(path, sizeof(path), "%s.new", file->path);
	(void)snprintf(directory, sizeof(directory), "%s", file->path);
	directory_fd = open(dirname(directory), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory_fd < 0)
		return -errno;
	error = write_beside(file, path, directory_fd);
	if (!error && rename(path, file->path) != 0)
		error = -errno;
	if (error)
		(void)unlink(path);
	else
		(void)fsync(directory_fd); /* the new content is whole, whenever it gets there */
	(void)close(directory_fd);
	return error;
}
