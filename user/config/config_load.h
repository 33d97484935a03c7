/* SPDX-License-Identifier: MIT */
#ifndef CV_CONFIG_CONFIG_LOAD_H
#define CV_CONFIG_CONFIG_LOAD_H

#include "policy/config.h"

/* Findings about a file: errors and warnings as "file:line: path.to.key: expected X, found Y". */
struct cv_config_report {
	void (*line)(void *context, bool is_error, const char *text);
	void *context;
};

/**
 * cv_config_load() - Read, check and type a JSON configuration (comments allowed).
 * All findings are reported, not only the first. Returns 0, or CV_INTERNAL_CONFIG with nothing
 * allocated; -errno if the file cannot be read.
 */
int cv_config_load(const char *path, const struct cv_config_report *report,
		   struct cv_config **ret_config);
struct cv_config *cv_config_free(struct cv_config *config);

#endif
