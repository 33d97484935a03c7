// SPDX-License-Identifier: MIT
/*
 * random.c - random bytes, and the two memory functions that must not be optimised away.
 *
 * Randomness is libcrypto's per-thread DRBG, seeded from getrandom(2): no lock between workers and
 * no system call per handshake.
 */
#include "crypto/algorithms.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>

void cv_cleanse(void *bytes, size_t count_bytes)
{
	OPENSSL_cleanse(bytes, count_bytes);
}

bool cv_equal_constant_time(const void *a, const void *b, size_t count_bytes)
{
	return CRYPTO_memcmp(a, b, count_bytes) == 0;
}

int cv_random_bytes(void *bytes, size_t count_bytes)
{
	cv_algorithms();
	if (count_bytes > INT_MAX || RAND_bytes(bytes, (int)count_bytes) != 1)
		return cv_crypto_failed();
	return 0;
}

uint32_t cv_random_below(uint32_t bound)
{
	/* Values above the last multiple of bound would make small results more likely. */
	const uint32_t unbiased_max = UINT32_MAX - (UINT32_MAX % bound + 1) % bound;
	uint32_t value;

	do {
		/* Without randomness padding and probes become predictable: better no process. */
		if (cv_random_bytes(&value, sizeof(value)) != 0)
			abort();
	} while (value > unbiased_max);
	return value % bound;
}

const char *cv_crypto_library(void)
{
	return OpenSSL_version(OPENSSL_VERSION);
}
