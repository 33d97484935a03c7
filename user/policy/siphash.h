/* SPDX-License-Identifier: MIT */
/*
 * siphash.h - keyed hash for tables whose keys a stranger chooses.
 */
#ifndef CV_POLICY_SIPHASH_H
#define CV_POLICY_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct cv_siphash_key {
	uint64_t word[2];
};

/** cv_siphash_key_random() - 0 or CV_INTERNAL_CRYPTO. */
int cv_siphash_key_random(struct cv_siphash_key *ret_key);
/** cv_siphash() - SipHash-2-4. Source: Aumasson and Bernstein, 2012. */
uint64_t cv_siphash(const struct cv_siphash_key *key, const void *bytes, size_t count_bytes);

#endif
