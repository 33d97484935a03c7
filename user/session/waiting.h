/* SPDX-License-Identifier: MIT */
/*
 * waiting.h - datagrams that came before it was known how they can go out.
 */
#ifndef CV_SESSION_WAITING_H
#define CV_SESSION_WAITING_H

#include "base/address.h"
#include "base/buffer.h"

#define CV_WAITING_BYTES (24 * 1024) /* limit of such a buffer */

/** cv_waiting_keep() - 0, or CV_INTERNAL_RESOURCE: it is full. @name: kept with it, or NULL. */
int cv_waiting_keep(struct cv_buffer *waiting, const struct cv_destination *name,
		    const uint8_t *bytes, size_t len_bytes);
/** cv_waiting_next() - The oldest, until something else is kept; CV_DATAGRAM_HEADROOM in front is
 * writable. False: none is left, and the memory is given back. */
bool cv_waiting_next(struct cv_buffer *waiting, struct cv_destination *ret_name,
		     uint8_t **ret_bytes, size_t *ret_len_bytes);

#endif
