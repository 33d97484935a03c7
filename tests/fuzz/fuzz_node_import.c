// SPDX-License-Identifier: MIT
/*
 * fuzz_node_import.c - any YAML: refused with a finding, or made into outbounds.
 */
#include "config/node_import.h"

#include "check.h"

#include <culvert/reason.h>
#include <json-c/json.h>

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
	struct json_object *outbounds = NULL;
	bool has_udp = false;
	const int result = cv_node_import(size ? (const char *)data : "", size, &report,
					  &outbounds, &has_udp);

	check((result == 0) == (outbounds != NULL));
	check((result == CV_INTERNAL_CONFIG) == (error_count > 0));
	check(!outbounds || json_object_array_length(outbounds) > 0);
	json_object_put(outbounds);
	return 0;
}
