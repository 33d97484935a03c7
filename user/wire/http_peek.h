/* SPDX-License-Identifier: MIT */
#ifndef CV_WIRE_HTTP_PEEK_H
#define CV_WIRE_HTTP_PEEK_H

#include "base/buffer.h"

/** cv_http_peek_path() - Path of a VLESS fallback's first chunk (VLESS 7 step 4); empty span if none. */
struct cv_span cv_http_peek_path(struct cv_span first_chunk);

#endif
