/* SPDX-License-Identifier: MIT */
#ifndef CV_WIRE_HTTP_PEEK_H
#define CV_WIRE_HTTP_PEEK_H

#include "base/buffer.h"

/**
 * cv_http_peek_path() - Path of a VLESS fallback's first chunk, query excluded.
 * Returns: a view into @first_chunk; an empty span if there is none. Source: VLESS 7 step 4.
 */
struct cv_span cv_http_peek_path(struct cv_span first_chunk);

#endif
