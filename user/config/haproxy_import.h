/* SPDX-License-Identifier: MIT */
/*
 * haproxy_import.h - between reading a haproxy.cfg and making a configuration of it.
 */
#ifndef CV_CONFIG_HAPROXY_IMPORT_H
#define CV_CONFIG_HAPROXY_IMPORT_H

#include "config/haproxy.h"

#define CV_HAPROXY_WORDS 64 /* of a line, as HAProxy */

/* What was read, owned by the importer; see haproxy_import.c for the shapes. */
struct cv_haproxy {
	const struct cv_config_report *report;
	size_t error_count;
	unsigned line;
	int section;
	struct json_object *frontends, *backends, *defaults;
	struct json_object *current; /* the section's object, borrowed */
	long idle_ms, maxconn;
};

/** cv_haproxy_tell() - A finding about @line; 0 = about none. */
void cv_haproxy_tell(struct cv_haproxy *import, bool is_error, unsigned line, const char *format,
		     ...) __attribute__((format(printf, 4, 5)));
/** cv_haproxy_build() - Our configuration; whatever it is after an error. */
struct json_object *cv_haproxy_build(struct cv_haproxy *import);

#endif
