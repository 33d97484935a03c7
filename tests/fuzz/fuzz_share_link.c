// SPDX-License-Identifier: MIT
/*
 * fuzz_share_link.c - what reads as a link is written as a link that reads as the same.
 */
#include "config/share_link.h"

#include "check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char error_text[CV_SHARE_ERROR_TEXT] = "", written[CV_SHARE_LINK_MAX];
	struct cv_share_link link, again;
	char *text = malloc(size + 1);
	int error;

	if (!text)
		return 0;
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	error = cv_share_link_parse(text, &link, error_text);
	free(text);
	check((error != 0) == (error_text[0] != '\0'));
	if (error)
		return 0;
	cv_share_link_format(&link, written);
	/* every byte may triple: a link near the limit may grow out of it */
	if (strlen(written) >= CV_SHARE_LINK_MAX - 16)
		return 0;
	check(cv_share_link_parse(written, &again, error_text) == 0);
	check(memcmp(&link, &again, sizeof(link)) == 0);
	return 0;
}
