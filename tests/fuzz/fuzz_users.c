// SPDX-License-Identifier: MIT
/*
 * fuzz_users.c - users.json of any content, and stored passwords: findings, never a crash.
 */
#include "config/users_file.h"
#include "policy/password.h"

#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void count(void *context, bool is_error, const char *text)
{
	*(size_t *)context += is_error && *text;
}

/* What has a flaw verifies nothing; only that is asked, since a hash takes as long as it says. */
static void try_stored(const char *text)
{
	if (!cv_password_flaw(text))
		check(strlen(text) < CV_PASSWORD_STORED);
	else
		check(!cv_password_verify(text, "x", 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	size_t errors = 0;
	const struct cv_config_report report = {.line = count, .context = &errors};
	char *text = malloc(len + 1);
	int result;

	if (!text)
		return 0;
	memcpy(text, bytes, len);
	text[len] = '\0';
	result = cv_users_check("users.json", text, len, &report);
	check((result == 0) == (errors == 0));
	try_stored(text);
	free(text);
	return 0;
}
