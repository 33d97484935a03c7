/* SPDX-License-Identifier: MIT */
/*
 * json_file.h - a JSON database that several programs change: users.json and the like.
 *
 * Whoever changes it holds a lock; whoever reads it at any instant, also after a crash, finds the
 * whole former or the whole new content.
 */
#ifndef CV_CONFIG_JSON_FILE_H
#define CV_CONFIG_JSON_FILE_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

struct cv_json_file {
	char *path;		  /* what a symbolic link leads to */
	struct json_object *root; /* an object; keys keep their order */
	int lock_fd;		  /* -1: only to read */
	const char *problem;	  /* static text, when the content is no plain JSON object */
};

#define CV_JSON_FILE_WAIT_MS 10000 /* for the lock */

/**
 * cv_json_file_open() - Read @path; with @to_change lock it first, by "PATH.lock" beside it, which
 * stays. A file that does not exist is an empty object if @to_change.
 * Returns: 0; -EBUSY: locked for too long; -EBADMSG with file->problem: no plain JSON (comments
 * would be lost); -ENOMEM, or -errno of what was tried. Then nothing is held.
 */
int cv_json_file_open(const char *path, bool to_change, struct cv_json_file *ret_file);
/**
 * cv_json_file_text() - The content as it would be written; free() it. NULL: out of memory. */
char *cv_json_file_text(const struct cv_json_file *file, size_t *ret_len);
/**
 * cv_json_file_write() - Replace the file: temporary file beside it, fsync, rename, fsync of the
 * directory. Owner and group are kept; the mode is 0600, or 0640 if it was that. A new file gets
 * the directory's owner. Returns 0 or -errno; then the former content is still there.
 */
int cv_json_file_write(const struct cv_json_file *file);
/** cv_json_file_close() - Unlock and free; also after a failed open. */
void cv_json_file_close(struct cv_json_file *file);

#endif
