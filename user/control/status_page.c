// SPDX-License-Identifier: MIT
/*
 * status_page.c - status.html becomes part of the program when this file is assembled; the Makefile
 * knows that it depends on it.
 */
#include "control/status_page.h"

#include "crypto/crypto.h"
#include "wire/base64.h"

#include <culvert/reason.h>
#include <stdio.h>
#include <string.h>

__asm__(".pushsection .rodata\n"
	".global cv_status_page\n"
	".hidden cv_status_page\n"
	"cv_status_page:\n"
	".incbin \"user/control/status.html\"\n"
	".global cv_status_page_end\n"
	".hidden cv_status_page_end\n"
	"cv_status_page_end:\n"
	".byte 0\n"
	".popsection\n");

extern const char cv_status_page_end[];

#define DIGEST_LEN 32
#define DIGEST_TEXT 48

size_t cv_status_page_len(void)
{
	return (size_t)(cv_status_page_end - cv_status_page);
}

/* Base64 of the SHA-256 of what is between @open and @close. */
static int hash_block(const char *open, const char *close, char text[DIGEST_TEXT])
{
	const char *begin = strstr(cv_status_page, open), *end;
	uint8_t digest[DIGEST_LEN];
	int error;

	if (!begin)
		return CV_INTERNAL_CRYPTO;
	begin += strlen(open);
	end = strstr(begin, close);
	if (!end)
		return CV_INTERNAL_CRYPTO;
	error = cv_hash(CV_SHA256, begin, (size_t)(end - begin), digest);
	if (error)
		return error;
	cv_base64url_encode(digest, sizeof(digest), text);
	for (char *c = text; *c; c++)
		*c = *c == '-' ? '+' : *c == '_' ? '/' : *c;
	strcat(text, "="); /* 32 bytes are 43 digits */
	return 0;
}

int cv_status_page_policy(char ret_policy[CV_STATUS_POLICY])
{
	char style[DIGEST_TEXT], script[DIGEST_TEXT];
	int error = hash_block("<style>", "</style>", style);

	if (!error)
		error = hash_block("<script>", "</script>", script);
	if (error)
		return error;
	(void)snprintf(ret_policy, CV_STATUS_POLICY,
		       "default-src 'none'; style-src 'sha256-%s'; script-src 'sha256-%s'; "
		       "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
		       "frame-ancestors 'none'",
		       style, script);
	return 0;
}
