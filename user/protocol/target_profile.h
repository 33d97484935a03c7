/* SPDX-License-Identifier: MIT */
/*
 * target_profile.h - what was learned about (target, SNI, ALPN class), REALITY 7.
 *
 * What a target says first behind a handshake depends on what the handshake agreed on: a ticket
 * holds a secret as long as the suite's hash, and some stacks' tickets name the group. So there
 * is one list of records per variant:
 *
 *                        SHA-256 (0x1301, 0x1303)   SHA-384 (0x1302)
 *   X25519MLKEM768       HYBRID_SHA256              HYBRID_SHA384
 *   X25519               CLASSIC_SHA256             CLASSIC_SHA384
 */
#ifndef CV_PROTOCOL_TARGET_PROFILE_H
#define CV_PROTOCOL_TARGET_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

#define CV_POST_HANDSHAKE_MAX 32

/* Bit 0 is the hash, bit 1 the group. */
enum cv_target_variant {
	CV_TARGET_HYBRID_SHA256,
	CV_TARGET_HYBRID_SHA384,
	CV_TARGET_CLASSIC_SHA256,
	CV_TARGET_CLASSIC_SHA384,
	CV_TARGET_VARIANTS,
};

struct cv_post_handshake {
	uint16_t len[CV_POST_HANDSHAKE_MAX]; /* total record lengths */
	uint8_t count;
	bool known; /* false: never learned, perhaps because the target never agrees on it */
};

struct cv_target_profile {
	struct cv_post_handshake after[CV_TARGET_VARIANTS];
	bool reads_exactly; /* the target reads a record's header, then its body, and no more */
	int16_t ccs_limit; /* CCS records the target ignores before its alert; -1 = unlimited */
};

/** cv_target_variant_of() - Variant of a handshake that agreed on @group and TLS 1.3 @suite. */
enum cv_target_variant cv_target_variant_of(uint16_t group, uint16_t suite);
/** cv_target_variant_name() - For the log: "hybrid, SHA-256". */
const char *cv_target_variant_name(enum cv_target_variant variant);
/**
 * cv_target_profile_after() - The list to imitate in a handshake of this variant.
 * One that is not known is replaced by that of the other group, else of the other hash, else of
 * both: the hash lengthens every ticket, the group only those that a few bytes push over a
 * cipher block. Nothing known: an empty list.
 */
const struct cv_post_handshake *cv_target_profile_after(const struct cv_target_profile *profile,
							enum cv_target_variant variant);

#endif
