// SPDX-License-Identifier: MIT
/*
 * fuzz_config.c - any text either becomes a configuration or is refused with at least one finding;
 * never both, nothing leaks, and a second reading comes to the same result.
 *
 * Texts that name files are left out: what they would read is not the fuzzer's to choose.
 */
#include "config/config_load.h"

#include "check.h"

#include <ctype.h>

struct count {
	size_t errors, findings;
};

static void add(void *context, bool is_error, const char *text)
{
	struct count *count = context;

	check(text[0] != '\0' && strpbrk(text, "\n\r\x1b") == NULL);
	count->errors += is_error;
	count->findings++;
}

static int load(const char *text, size_t size, struct count *count)
{
	const struct cv_config_report report = {.line = add, .context = count};
	struct cv_config *config = NULL;
	const int error = cv_config_load_text("f.json", text, size, &report, &config);

	check((error == 0) == (config != NULL));
	check((error == 0) == (count->errors == 0));
	if (config)
		check(config->inbound_count > 0 && config->outbound_count > 0 && config->router);
	cv_config_free(config);
	return error;
}

/* "usersFile", "certificateFile", "keyFile" in any case; escapes could hide one. */
static bool names_files(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i + 4 <= size; i++) {
		if (data[i] == '\\' && data[i + 1] == 'u')
			return true;
		if (tolower(data[i]) == 'f' && tolower(data[i + 1]) == 'i' &&
		    tolower(data[i + 2]) == 'l' && tolower(data[i + 3]) == 'e')
			return true;
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct count first = {0}, second = {0};

	if (names_files(data, size))
		return 0;
	check(load((const char *)data, size, &first) == load((const char *)data, size, &second));
	check(first.findings == second.findings);
	return 0;
}
