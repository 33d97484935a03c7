/* SPDX-License-Identifier: MIT */
/*
 * config_text.h - a configuration from a string, and what the loader said about it.
 */
#ifndef CV_TESTS_CONFIG_TEXT_H
#define CV_TESTS_CONFIG_TEXT_H

#include "config/config_load.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct findings {
	char text[65536]; /* one per line, "error: " or "warning: " in front */
	size_t len, error_count, warning_count;
};

static inline void findings_add(void *context, bool is_error, const char *text)
{
	struct findings *findings = context;
	const int put =
		snprintf(findings->text + findings->len, sizeof(findings->text) - findings->len,
			 "%s: %s\n", is_error ? "error" : "warning", text);

	if (put > 0 && (size_t)put < sizeof(findings->text) - findings->len)
		findings->len += (size_t)put;
	if (is_error)
		findings->error_count++;
	else
		findings->warning_count++;
}

static inline int config_parse_len(const char *text, size_t len, struct findings *findings,
				   struct cv_config **ret_config)
{
	const struct cv_config_report report = {.line = findings_add, .context = findings};

	*findings = (struct findings){0};
	return cv_config_load_text("f.json", text, len, &report, ret_config);
}

/* NULL after errors. */
static inline struct cv_config *config_parse(const char *text, struct findings *findings)
{
	struct cv_config *config = NULL;
	const int error = config_parse_len(text, strlen(text), findings, &config);

	assert_int_equal(error != 0, findings->error_count != 0);
	assert_int_equal(error != 0, config == NULL);
	return config;
}

/* Fails the test unless there is nothing to say. */
static inline struct cv_config *config_good(const char *text)
{
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config = config_parse(text, findings);

	if (!config || findings->len)
		fail_msg("%s", findings->text);
	free(findings);
	return config;
}

static inline void config_finds(const char *text, bool is_error, const char *wanted)
{
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config = config_parse(text, findings);
	char line[768];

	snprintf(line, sizeof(line), "%s: %s", is_error ? "error" : "warning", wanted);
	if (!strstr(findings->text, line))
		fail_msg("wanted \"%s\" of\n%s\ngot\n%s", line, text, findings->text);
	if (!is_error && !config)
		fail_msg("only a warning expected:\n%s", findings->text);
	cv_config_free(config);
	free(findings);
}

#endif
