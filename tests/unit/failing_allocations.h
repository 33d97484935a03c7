/* SPDX-License-Identifier: MIT */
/*
 * failing_allocations.h - the n-th allocation fails, in this program and in every library it uses.
 *
 *   failing_begin(n) ... what is tested ... failing_end() -> did it come to n?
 *
 * n is swept from 1 until the work gets along without it. One file of a test program includes this:
 * it defines malloc() and the like, in front of those of a sanitizer or of libc. What is left
 * allocated is LeakSanitizer's to find.
 */
#ifndef CV_TESTS_FAILING_ALLOCATIONS_H
#define CV_TESTS_FAILING_ALLOCATIONS_H

#include "copied_text.h"

#include <dlfcn.h>
#include <errno.h>
#include <json-c/json.h>
#include <regex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FAILING_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FAILING_SANITIZED 1
#endif
#ifdef FAILING_SANITIZED
#define FAILING_REAL(name) __interceptor_##name
#else
#define FAILING_REAL(name) __libc_##name
#endif

void *FAILING_REAL(malloc)(size_t bytes);
void *FAILING_REAL(calloc)(size_t count, size_t bytes);
void *FAILING_REAL(realloc)(void *memory, size_t bytes);
#ifdef FAILING_SANITIZED
int FAILING_REAL(posix_memalign)(void **ret_memory, size_t alignment, size_t bytes);
#else
void *FAILING_REAL(memalign)(size_t alignment, size_t bytes);
#endif

/* Called before ThreadSanitizer has begun. */
#define FAILING_EARLY __attribute__((no_sanitize("thread")))

/* Whose allocations fail. */
enum failing_who { FAILING_NOBODY, FAILING_ME, FAILING_OTHERS };

static _Atomic long failing_left;
static _Atomic int failing_who;
static _Atomic long failing_count;
static _Thread_local bool failing_is_me, failing_paused;
static void (*failing_told)(void); /* of each that fails; NULL = nobody */

/* From now on the @n-th, and @count - 1 behind it. */
static inline void failing_begin(enum failing_who who, long n, long count)
{
	failing_is_me = true;
	failing_paused = false;
	atomic_store(&failing_left, n);
	atomic_store(&failing_count, count);
	atomic_store(&failing_who, who);
}

/* True: the n-th was asked for. */
static inline bool failing_end(void)
{
	atomic_store(&failing_who, FAILING_NOBODY);
	return atomic_load(&failing_left) <= 0;
}

FAILING_EARLY static bool failing_now(void)
{
	const int who = atomic_load(&failing_who);
	long left;

	if (who == FAILING_NOBODY || failing_paused || failing_is_me != (who == FAILING_ME))
		return false;
	left = atomic_fetch_sub(&failing_left, 1);
	if (left > 1 || 1 - left >= atomic_load(&failing_count))
		return false;
	if (failing_told) {
		failing_paused = true;
		failing_told();
		failing_paused = false;
	}
	errno = ENOMEM;
	return true;
}

FAILING_EARLY void *malloc(size_t bytes)
{
	return failing_now() ? NULL : FAILING_REAL(malloc)(bytes);
}

FAILING_EARLY void *calloc(size_t count, size_t bytes)
{
	return failing_now() ? NULL : FAILING_REAL(calloc)(count, bytes);
}

FAILING_EARLY void *realloc(void *memory, size_t bytes)
{
	return failing_now() ? NULL : FAILING_REAL(realloc)(memory, bytes);
}

FAILING_EARLY void *reallocarray(void *memory, size_t count, size_t bytes)
{
	size_t all;

	if (__builtin_mul_overflow(count, bytes, &all)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(memory, all);
}

FAILING_EARLY int posix_memalign(void **ret_memory, size_t alignment, size_t bytes)
{
	if (failing_now())
		return ENOMEM;
#ifdef FAILING_SANITIZED
	return FAILING_REAL(posix_memalign)(ret_memory, alignment, bytes);
#else
	*ret_memory = FAILING_REAL(memalign)(alignment, bytes);
	return *ret_memory ? 0 : ENOMEM;
#endif
}

/* Nothing fails inside of two that would end the process: json-c 0.16 reads a key that could not be
 * copied (the daemon looks for room beforehand), glibc's regcomp() frees twice. */
#define FAILING_NOT_IN(type, name, parameters, arguments) \
	type name parameters \
	{ \
		static __typeof__(&name) real; \
		const bool paused = failing_paused; \
		type result; \
\
		if (!real) \
			real = (__typeof__(real))dlsym(RTLD_NEXT, #name); \
		failing_paused = true; \
		result = real arguments; \
		failing_paused = paused; \
		return result; \
	}

FAILING_NOT_IN(struct json_object *, json_tokener_parse_ex,
	       (struct json_tokener *tokener, const char *text, int len), (tokener, text, len))
FAILING_NOT_IN(int, regcomp, (regex_t *regexp, const char *text, int flags), (regexp, text, flags))

#endif
