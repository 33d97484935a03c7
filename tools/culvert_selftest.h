/* SPDX-License-Identifier: MIT */
/*
 * culvert_selftest.h - checks of a running installation; each gives verdicts about one promise.
 */
#ifndef CULVERT_TOOLS_SELFTEST_H
#define CULVERT_TOOLS_SELFTEST_H

#include "config/config_load.h"

#include <json-c/json.h>

enum cv_verdict { CV_VERDICT_OK, CV_VERDICT_WARN, CV_VERDICT_FAIL, CV_VERDICTS };

struct cv_selftest {
	const char *path;                              /* of the configuration */
	const char *name; /* that clients ask TLS ports for; "" = the certificate's own */
	const char *ca_file, *log_path, *control_path; /* NULL = not given */
	bool is_online;                                /* others may be asked: targets, upstreams */
	bool as_json;
	struct cv_config *config;
	struct json_object *root;   /* the same as text says it */
	struct json_object *checks; /* [{check, verdict, subject, text}] */
	unsigned counts[CV_VERDICTS];
};

/** cv_selftest_say() - @check: its stable name; @subject: what of the installation; the rest: why,
 * and what to do. No secret may be in them. */
void cv_selftest_say(struct cv_selftest *test, enum cv_verdict verdict, const char *check,
		     const char *subject, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

/** cv_selftest_read_json() - A file with comments; NULL if it cannot be read. */
struct json_object *cv_selftest_read_json(const char *path);

/* Can anybody outside this machine reach the inbound itself? */
bool cv_selftest_is_public(const struct cv_inbound *inbound);
bool cv_selftest_is_loopback(const struct cv_sockaddr *address);
bool cv_selftest_is_wildcard(const struct cv_sockaddr *address);

/* "permissions", "log": what others may read, and what was written. */
void cv_selftest_files(struct cv_selftest *test);
/* "plain_ports", "upstreams", "guessing", "private_targets", "passwords", "clock" */
void cv_selftest_settings(struct cv_selftest *test);
/* "listeners", "tls", "certificates", "anonymous", "loopback", "status" */
void cv_selftest_ports(struct cv_selftest *test);
/* "targets", "strangers" */
void cv_selftest_reality(struct cv_selftest *test);

#endif
