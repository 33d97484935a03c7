/* SPDX-License-Identifier: MIT */
#ifndef CV_POLICY_FALLBACK_H
#define CV_POLICY_FALLBACK_H

#include "policy/config.h"

/**
 * cv_fallback_pick() - Where a session goes whose first bytes are not ours (VLESS 7).
 * @sni, @alpn: of the outer TLS, "" = none; compared in lower case
 * @first_chunk: every byte read so far; its HTTP path may choose
 * Returns: an entry of @inbound, or NULL: close.
 */
const struct cv_fallback *cv_fallback_pick(const struct cv_inbound *inbound, const char *sni,
					   const char *alpn, struct cv_span first_chunk);

#endif
