/* SPDX-License-Identifier: MIT */
/*
 * copied_text.h - strdup() and strndup() by the malloc() of whoever includes this, once: libc's own
 * would not come to it.
 */
#ifndef CV_TESTS_COPIED_TEXT_H
#define CV_TESTS_COPIED_TEXT_H

#include <stdlib.h>
#include <string.h>

char *strdup(const char *text)
{
	const size_t bytes = strlen(text) + 1;
	char *copy = malloc(bytes);

	return copy ? memcpy(copy, text, bytes) : NULL;
}

char *strndup(const char *text, size_t most)
{
	const size_t len = strnlen(text, most);
	char *copy = malloc(len + 1);

	if (!copy)
		return NULL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	return copy;
}

#endif
