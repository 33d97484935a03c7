/* SPDX-License-Identifier: MIT */
/*
 * status_site.h - from one HTTP request to its response; no sockets.
 *
 *   too much, not whole, no HTTP   400, 413, 431, 505
 *   not the operator               401, 429
 *   GET, HEAD                      /  /status.json  /metrics      others: 405, 404
 *
 * Whoever has not shown the password learns nothing, not even which paths there are.
 */
#ifndef CV_CONTROL_STATUS_SITE_H
#define CV_CONTROL_STATUS_SITE_H

#include "base/buffer.h"
#include "control/command.h"

#define CV_STATUS_REQUEST_MAX 8192
#define CV_STATUS_RESPONSE_MAX (64u << 20)

struct cv_status_site;

/** cv_status_site_new() - @view is copied. Returns 0, -ENOMEM or CV_INTERNAL_CRYPTO. */
int cv_status_site_new(const struct cv_control_view *view, const char *version,
		       struct cv_status_site **ret_site);
/** cv_status_site_free() - NULL-safe, returns NULL. */
struct cv_status_site *cv_status_site_free(struct cv_status_site *site);
/** cv_status_site_use() - Thread safe: answers are about @config from now on, and its password
 * counts; when this returns, nobody looks at the one before. */
void cv_status_site_use(struct cv_status_site *site, const struct cv_config *config);

/**
 * cv_status_site_respond() - The response to the request in @bytes, to the empty buffer @out; the
 * connection ends with it. Takes as long as the password's hash is made to take.
 * @now_ms: monotonic; wrong passwords are limited by it: five at once, then one every two seconds
 * Returns: 0; -EAGAIN: more bytes are needed; a buffer error.
 */
int cv_status_site_respond(struct cv_status_site *site, struct cv_span bytes, uint64_t now_ms,
			   struct cv_buffer *out);

#endif
