// SPDX-License-Identifier: MIT
/*
 * target_profile.c - which of the learned lists belongs to a handshake.
 *
 *   ServerHello: group, suite --> variant --> known? --> this list
 *                                               no  --> the nearest one that is
 */
#include "protocol/target_profile.h"

#include "wire/client_hello.h"

#define SUITE_AES256_SHA384 0x1302
#define BIT_HASH 1u
#define BIT_GROUP 2u

enum cv_target_variant cv_target_variant_of(uint16_t group, uint16_t suite)
{
	unsigned hash_bit = suite == SUITE_AES256_SHA384 ? BIT_HASH : 0;
	unsigned group_bit = group == CV_GROUP_X25519MLKEM768 ? 0 : BIT_GROUP;

	return (enum cv_target_variant)(hash_bit | group_bit);
}

const char *cv_target_variant_name(enum cv_target_variant variant)
{
	static const char *const names[CV_TARGET_VARIANTS] = {
		[CV_TARGET_HYBRID_SHA256] = "hybrid, SHA-256",
		[CV_TARGET_HYBRID_SHA384] = "hybrid, SHA-384",
		[CV_TARGET_CLASSIC_SHA256] = "classic, SHA-256",
		[CV_TARGET_CLASSIC_SHA384] = "classic, SHA-384",
	};

	return (unsigned)variant < CV_TARGET_VARIANTS ? names[variant] : "?";
}

const struct cv_post_handshake *cv_target_profile_after(const struct cv_target_profile *profile,
							enum cv_target_variant variant)
{
	static const unsigned nearest_first[] = {0, BIT_GROUP, BIT_HASH, BIT_GROUP | BIT_HASH};

	for (unsigned i = 0; i < CV_TARGET_VARIANTS; i++) {
		const struct cv_post_handshake *list =
			&profile->after[(unsigned)variant ^ nearest_first[i]];

		if (list->known)
			return list;
	}
	return &profile->after[variant]; /* empty */
}
