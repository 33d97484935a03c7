/* SPDX-License-Identifier: MIT */
#ifndef CV_CONFIG_CONFIG_LOAD_H
#define CV_CONFIG_CONFIG_LOAD_H

#include "policy/config.h"

/* Findings about a file: errors and warnings as "file:line: path.to.key: expected X, found Y". */
struct cv_config_report {
	void (*line)(void *context, bool is_error, const char *text);
	void *context;
	const struct cv_config_instead *instead; /* NULL: all files as they are */
};

/* A usersFile that is not written yet. */
struct cv_config_instead {
	const char *path; /* with the directory it is looked for in */
	const char *text;
	size_t len;
};

/**
 * cv_config_load() - Read, check and type a JSON configuration (comments allowed).
 * All findings are reported, not only the first. Other files it names (users, certificates) are
 * read too. Returns 0, or CV_INTERNAL_CONFIG with nothing allocated; -errno if the file cannot be
 * read or memory is short.
 */
int cv_config_load(const char *path, const struct cv_config_report *report,
		   struct cv_config **ret_config);
/**
 * cv_config_load_text() - As cv_config_load(), from memory.
 * @name: what findings call the file; a usersFile is looked for beside it
 */
int cv_config_load_text(const char *name, const char *text, size_t len,
			const struct cv_config_report *report, struct cv_config **ret_config);
/**
 * cv_config_reload() - As cv_config_load(), for a process that lives by @former: its people's usage
 * is shared, and their new limits wait for cv_usage_table_commit().
 */
int cv_config_reload(const char *path, const struct cv_config *former,
		     const struct cv_config_report *report, struct cv_config **ret_config);
/** cv_config_free() - NULL-safe; cleanses keys and passwords; returns NULL. */
struct cv_config *cv_config_free(struct cv_config *config);

#endif
