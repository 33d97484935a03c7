/* SPDX-License-Identifier: MIT */
/*
 * fingerprint.h - ClientHellos as browsers send them.
 *
 * The session id and everything random that must be known to the caller is passed in; GREASE, the
 * order of Chrome's extensions and the GREASE ECH body are drawn anew for every hello.
 */
#ifndef CV_PROTOCOL_FINGERPRINT_H
#define CV_PROTOCOL_FINGERPRINT_H

#include "base/buffer.h"

enum cv_fingerprint {
	CV_FINGERPRINT_CHROME, CV_FINGERPRINT_FIREFOX, CV_FINGERPRINT_SAFARI, CV_FINGERPRINT_RANDOM,
	CV_FINGERPRINT_GO, /* Go-like, probe class 1 (REALITY 7) */
};

#define CV_HELLO_BUILD_MAX 8192 /* no hello we build is longer */

/**
 * cv_fingerprint_parse() - Xray/uTLS names (chrome, firefox, safari, ios, edge, random, randomized,
 * hello* names), case ignored; "" and NULL are chrome. Version numbers of hello* names only choose
 * the family: an outdated browser is no camouflage.
 * Returns 0; CV_INTERNAL_CONFIG for unknown, unsafe, hellogolang or TLS-1.2-only ones.
 * Source: REALITY 12.1.
 */
int cv_fingerprint_parse(const char *name, enum cv_fingerprint *ret_fingerprint);
const char *cv_fingerprint_name(enum cv_fingerprint fingerprint);

/* What a probe leaves out of the browser's lists, to make the target choose something else. */
struct cv_hello_omissions {
	bool hybrid; /* X25519MLKEM768, as group and as share */
	bool sha256; /* TLS 1.3 suites with SHA-256 */
	bool sha384; /* TLS 1.3 suites with SHA-384 */
};

struct cv_hello_inputs {
	const char *server_name;       /* "" = none */
	const char *const *alpn;       /* NULL = the fingerprint's own; {NULL} = none */
	const uint8_t *random;         /* 32 */
	const uint8_t *session_id;     /* 32 */
	const uint8_t *x25519_public;  /* 32: the standalone share */
	const uint8_t *hybrid_x25519;  /* 32: X25519 half of the hybrid share */
	const uint8_t *mlkem_public;   /* 1184 */
	const uint8_t *p256_public;    /* 65; may be NULL unless cv_fingerprint_sends_p256() */
	struct cv_hello_omissions omit; /* zero = the hello as the browser sends it */
};

/**
 * cv_fingerprint_build() - Append the ClientHello handshake message (no record header).
 * @fingerprint: RANDOM must have been resolved (cv_fingerprint_resolve)
 * Returns: 0; CV_INTERNAL_STATE if it does not fit CV_HELLO_BUILD_MAX or RANDOM is passed;
 * CV_INTERNAL_CRYPTO; buffer errors.
 */
int cv_fingerprint_build(enum cv_fingerprint fingerprint, const struct cv_hello_inputs *inputs,
			 struct cv_buffer *out);
/** cv_fingerprint_resolve() - RANDOM becomes one of the browsers, others stay. */
enum cv_fingerprint cv_fingerprint_resolve(enum cv_fingerprint fingerprint);
/** cv_fingerprint_sends_p256() - Does this hello carry a P-256 key share? */
bool cv_fingerprint_sends_p256(enum cv_fingerprint fingerprint);
/** cv_fingerprint_reuses_x25519() - Is one X25519 key used in both shares (NSS and Go do that)? */
bool cv_fingerprint_reuses_x25519(enum cv_fingerprint fingerprint);
/** cv_fingerprint_default_alpn() - NULL-terminated list sent when none is configured. */
const char *const *cv_fingerprint_default_alpn(enum cv_fingerprint fingerprint);

/**
 * cv_fingerprint_retry() - Append the second ClientHello that answers a HelloRetryRequest.
 *
 * It is @first with the key_share extension replaced by the one entry (@group, @share) unless
 * @share is empty, and with a cookie extension unless @cookie is empty; everything else stays as it
 * was, session id, extension order and GREASE ECH included.
 * Returns: 0; CV_INTERNAL_STATE if @first is no hello of ours; buffer errors.
 * Source: RFC 8446 4.1.2.
 */
int cv_fingerprint_retry(struct cv_span first, uint16_t group, struct cv_span share,
			 struct cv_span cookie, struct cv_buffer *out);

#endif
