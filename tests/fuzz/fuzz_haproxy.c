// SPDX-License-Identifier: MIT
/*
 * fuzz_haproxy.c - any haproxy.cfg: refused with a finding, or made into JSON of our own.
 */
#include "config/haproxy.h"

#include "check.h"

#include <culvert/reason.h>

static void count_error(void *context, bool is_error, const char *text)
{
	size_t *count = context;

	*count += is_error;
	check(text[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t error_count = 0;
	const struct cv_config_report report = {.line = count_error, .context = &error_count};
	struct json_object *config = NULL;
	const int result =
		cv_haproxy_import(size ? (const char *)data : "", size, &report, &config);

	check((result == 0) == (config != NULL));
	check((result == CV_INTERNAL_CONFIG) == (error_count > 0));
	json_object_put(config);
	return 0;
}
