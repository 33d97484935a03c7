// SPDX-License-Identifier: MIT
/*
 * sim_random.c - libcrypto's random bytes are the same in each run, so that a finding is one again
 * when it is looked at: keys, nonces, padding.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* there is no other way to say this to all of libcrypto */

#include "sim_ring.h"

#include "check.h"

#include <openssl/rand.h>

static uint64_t state;

static int next_bytes(unsigned char *bytes, int len_bytes)
{
	for (int i = 0; i < len_bytes; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		bytes[i] = (unsigned char)(state >> 32);
	}
	return 1;
}

static int is_ready(void)
{
	return 1;
}

void sim_random_start(void)
{
	static const RAND_METHOD method = {
		.bytes = next_bytes, .pseudorand = next_bytes, .status = is_ready};

	state = UINT64_C(0x9e3779b97f4a7c15);
	check(RAND_set_rand_method(&method) == 1);
}
