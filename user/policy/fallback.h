/* SPDX-License-Identifier: MIT */
/*
 * fallback.h - where a session goes that is not VLESS (VLESS 7).
 */
#ifndef CV_POLICY_FALLBACK_H
#define CV_POLICY_FALLBACK_H

#include "base/buffer.h"

#include <stddef.h>

struct cv_fallback; /* policy/config.h */
struct cv_inbound;

/**
 * cv_fallback_inherit() - Turn the configured list into the table cv_fallback_pick() expects.
 *
 * Of two entries with the same (name, alpn, path) the later stays; what VLESS 7 inherits is added
 * as copies. @fallbacks is replaced (its entries move or are freed).
 * Returns: 0 or CV_INTERNAL_MEMORY (@fallbacks is still valid, to be freed by the caller).
 */
int cv_fallback_inherit(struct cv_fallback **fallbacks, size_t *count);
void cv_fallback_done(struct cv_fallback *fallback);

/**
 * cv_fallback_pick() - By SNI and ALPN of the outer TLS ("" = none) and the path of the first
 * chunk. NULL: no entry fits, close. Case of @sni does not matter. Source: VLESS 7.
 */
const struct cv_fallback *cv_fallback_pick(const struct cv_inbound *inbound, const char *sni,
					   const char *alpn, struct cv_span first_chunk);

#endif
