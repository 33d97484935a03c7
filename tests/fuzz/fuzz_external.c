// SPDX-License-Identifier: MIT
/*
 * fuzz_external.c - external_proxy.json of any content: findings or proxies, never a crash.
 */
#include "config/users_file.h"

#include "check.h"

static void count(void *context, bool is_error, const char *text)
{
	*(size_t *)context += is_error && *text;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	size_t errors = 0;
	const struct cv_config_report report = {.line = count, .context = &errors};
	struct cv_config *config = NULL;
	char *text = malloc(len + 1);
	int result;

	if (!text)
		return 0;
	memcpy(text, bytes, len);
	text[len] = '\0';
	result = cv_external_load("external_proxy.json", text, len, &report, &config);
	check((result == 0) == (errors == 0) && (result == 0) == (config != NULL));
	for (size_t i = 0; config && i < config->outbound_count; i++) {
		const struct cv_outbound *outbound = &config->outbounds[i];

		check(cv_config_external(config, outbound->external_id) == outbound);
		check(outbound->health && outbound->server.kind != CV_ADDRESS_NONE);
		check(!outbound->proxy_user[0] == !outbound->proxy_password[0]);
	}
	cv_config_free(config);
	free(text);
	return 0;
}
