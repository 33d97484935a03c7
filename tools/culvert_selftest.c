// SPDX-License-Identifier: MIT
/*
 * culvert_selftest.c - `culvert selftest -c FILE`: does a running installation keep its promises?
 *
 *   configuration -> files -> settings -> daemon -> ports, REALITY -> verdict, exit status
 *
 * Everything is asked as a stranger would ask it, besides reading the files. Nothing is changed. A
 * check that could not be made says so; it never counts as passed.
 */
#include "culvert_selftest.h"

#include "base/reason.h"
#include "config/node.h"
#include "culvert.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EXIT_BROKEN 1

static const char *const verdict_texts[CV_VERDICTS] = {"ok", "warn", "FAIL"};

/* ---- verdicts ----------------------------------------------------------------------------- */

static void print_check(enum cv_verdict verdict, const char *check, const char *subject,
			const char *text)
{
	printf("%-4s  %-15s  %s%s%s\n", verdict_texts[verdict], check, subject,
	       *subject ? " - " : "", text);
	(void)fflush(stdout);
}

void cv_selftest_say(struct cv_selftest *test, enum cv_verdict verdict, const char *check,
		     const char *subject, const char *format, ...)
{
	struct json_object *object = json_object_new_object();
	char text[1024];
	va_list list;

	va_start(list, format);
	(void)vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	test->counts[verdict]++;
	json_object_object_add(object, "check", json_object_new_string(check));
	json_object_object_add(object, "verdict", json_object_new_string(verdict_texts[verdict]));
	json_object_object_add(object, "subject", json_object_new_string(subject));
	json_object_object_add(object, "text", json_object_new_string(text));
	json_object_array_add(test->checks, object);
	if (!test->as_json)
		print_check(verdict, check, subject, text);
}

static void sum_up(const struct cv_selftest *test, char *text, size_t size)
{
	const unsigned *counts = test->counts;

	if (counts[CV_VERDICT_FAIL])
		(void)snprintf(text, size,
			       "This installation does not keep what it promises: %u "
			       "of %u checks failed. What to do stands behind each FAIL.",
			       counts[CV_VERDICT_FAIL],
			       counts[0] + counts[1] + counts[CV_VERDICT_FAIL]);
	else if (counts[CV_VERDICT_WARN])
		(void)snprintf(text, size,
			       "Good: nothing failed in %u checks; %u of them have "
			       "something to say.",
			       counts[0] + counts[1], counts[CV_VERDICT_WARN]);
	else
		(void)snprintf(text, size, "Good: %u checks, nothing to say.", counts[0]);
}

static int conclude(const struct cv_selftest *test)
{
	const bool good = test->counts[CV_VERDICT_FAIL] == 0;
	struct json_object *root;
	char text[256];

	sum_up(test, text, sizeof(text));
	if (test->as_json) {
		root = json_object_new_object();
		json_object_object_add(root, "good", json_object_new_boolean(good));
		json_object_object_add(root, "verdict", json_object_new_string(text));
		json_object_object_add(root, "checks", json_object_get(test->checks));
		puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY |
								  JSON_C_TO_STRING_NOSLASHESCAPE));
		json_object_put(root);
	} else {
		printf("\n%s\n", text);
	}
	return good ? EXIT_SUCCESS : EXIT_BROKEN;
}

/* ---- configuration ------------------------------------------------------------------------ */

bool cv_selftest_is_loopback(const struct cv_sockaddr *address)
{
	struct cv_destination host;

	if (!cv_sockaddr_to_destination(address, &host))
		return false;
	return (host.kind == CV_ADDRESS_IPV4 && host.ipv4[0] == 127) ||
	       (host.kind == CV_ADDRESS_IPV6 &&
		memcmp(host.ipv6, &in6addr_loopback, sizeof(host.ipv6)) == 0);
}

bool cv_selftest_is_wildcard(const struct cv_sockaddr *address)
{
	if (address->any.sa_family == AF_INET)
		return address->in.sin_addr.s_addr == htonl(INADDR_ANY);
	return address->any.sa_family == AF_INET6 &&
	       memcmp(&address->in6.sin6_addr, &in6addr_any, sizeof(in6addr_any)) == 0;
}

bool cv_selftest_is_public(const struct cv_inbound *inbound)
{
	for (size_t i = 0; i < inbound->listen_count; i++) {
		const struct cv_sockaddr *address = &inbound->listen_addresses[i];

		if (address->any.sa_family != AF_UNIX && !cv_selftest_is_loopback(address))
			return true;
	}
	return false;
}

static void ignore_finding(void *context, bool is_error, const char *text)
{
	(void)context;
	(void)is_error;
	(void)text;
}

struct json_object *cv_selftest_read_json(const char *path)
{
	const struct cv_config_report report = {.line = ignore_finding};
	struct cv_load load = {.report = &report, .directory = ""};
	struct cv_document document;
	struct json_object *root = NULL;
	char *text = NULL;
	size_t len;

	if (cv_document_read_file(path, &text, &len) != 0)
		return NULL;
	if (cv_document_open(&load, path, text, len, &document) == 0) {
		root = json_object_get(document.root);
		cv_document_close(&document);
	}
	free(text);
	return root;
}

static void say_finding(void *context, bool is_error, const char *text)
{
	cv_selftest_say(context, is_error ? CV_VERDICT_FAIL : CV_VERDICT_WARN, "configuration", "",
			"%s", text);
}

static bool read_configuration(struct cv_selftest *test)
{
	const struct cv_config_report report = {.line = say_finding, .context = test};
	const int error = cv_config_load(test->path, &report, &test->config);

	if (error < 0 && error > -2000)
		cv_selftest_say(test, CV_VERDICT_FAIL, "configuration", test->path, "%s",
				cv_reason_text(error));
	if (error)
		return false;
	test->root = cv_selftest_read_json(test->path);
	cv_selftest_say(test, CV_VERDICT_OK, "configuration", test->path, "can be loaded");
	return test->root != NULL;
}

/* ---- the daemon --------------------------------------------------------------------------- */

/* False: there is nobody to look at. */
static bool check_daemon(struct cv_selftest *test)
{
	const char *path =
		test->control_path ? test->control_path : test->config->daemon.control_path;
	struct cv_sockaddr address;
	int fd, error = 0;

	if (!*path) {
		cv_selftest_say(test, CV_VERDICT_WARN, "daemon", "",
				"no controlSocket: whether culvertd runs was not asked");
		return true;
	}
	if (cv_sockaddr_from_unix(path, &address) != 0)
		error = ENAMETOOLONG;
	fd = error ? -1 : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, &address.any, address.len_bytes) < 0)
		error = errno;
	if (fd >= 0)
		(void)close(fd);
	if (error == EACCES)
		cv_selftest_say(test, CV_VERDICT_WARN, "daemon", path,
				"only root and culvertd's own user may ask: run this as one of "
				"them");
	else if (error)
		cv_selftest_say(
			test, CV_VERDICT_FAIL, "daemon", path,
			"%s: culvertd does not run, or by another configuration; ports were "
			"not looked at",
			strerror(error));
	else
		cv_selftest_say(test, CV_VERDICT_OK, "daemon", path, "culvertd runs");
	return !error || error == EACCES;
}

static int run(struct cv_selftest *test)
{
	int status;

	test->checks = json_object_new_array();
	if (!read_configuration(test)) {
		(void)conclude(test);
		status = CV_EXIT_USAGE;
	} else {
		cv_selftest_files(test);
		cv_selftest_settings(test);
		if (check_daemon(test)) {
			cv_selftest_ports(test);
			cv_selftest_reality(test);
		}
		status = conclude(test);
	}
	json_object_put(test->checks);
	json_object_put(test->root);
	cv_config_free(test->config);
	return status;
}

int cv_cmd_selftest(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'}, {"ca", required_argument, NULL, 'a'},
		{"log", required_argument, NULL, 'l'},    {"control", required_argument, NULL, 's'},
		{"name", required_argument, NULL, 'n'},   {"offline", no_argument, NULL, 'o'},
		{"json", no_argument, NULL, 'j'},         {NULL, 0, NULL, 0},
	};
	struct cv_selftest test = {.is_online = true, .name = ""};
	int option;

	while ((option = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			test.path = optarg;
			break;
		case 'a':
			test.ca_file = optarg;
			break;
		case 'l':
			test.log_path = optarg;
			break;
		case 's':
			test.control_path = optarg;
			break;
		case 'n':
			test.name = optarg;
			break;
		case 'o':
			test.is_online = false;
			break;
		case 'j':
			test.as_json = true;
			break;
		default:
			return CV_EXIT_USAGE;
		}
	}
	if (!test.path || optind != argc) {
		fputs("usage: culvert selftest -c FILE [--ca FILE] [--name NAME] [--log FILE] "
		      "[--control PATH] "
		      "[--offline] [--json]\n",
		      stderr);
		return CV_EXIT_USAGE;
	}
	return run(&test);
}
