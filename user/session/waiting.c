// SPDX-License-Identifier: MIT
/*
 * waiting.c - a queue of datagrams with their names, in one buffer.
 *
 *   length, name, bytes; length, name, bytes; ...
 *
 * Length and name are what becomes headroom once they are told.
 */
#include "session/waiting.h"

#include "ring/datagram.h"

#include <culvert/reason.h>

#include <string.h>

struct kept {
	size_t len_bytes;
	struct cv_destination name;
};

_Static_assert(sizeof(struct kept) >= CV_DATAGRAM_HEADROOM, "it is the headroom");

int cv_waiting_keep(struct cv_buffer *waiting, const struct cv_destination *name,
		    const uint8_t *bytes, size_t len_bytes)
{
	struct kept kept = {.len_bytes = len_bytes};
	uint8_t *space;

	if (name)
		kept.name = *name;
	if (cv_buffer_reserve(waiting, sizeof(kept) + len_bytes, &space) != 0)
		return CV_INTERNAL_RESOURCE;
	memcpy(space, &kept, sizeof(kept));
	memcpy(space + sizeof(kept), bytes, len_bytes);
	cv_buffer_commit(waiting, sizeof(kept) + len_bytes);
	return 0;
}

bool cv_waiting_next(struct cv_buffer *waiting, struct cv_destination *ret_name,
		     uint8_t **ret_bytes, size_t *ret_len_bytes)
{
	struct kept kept;

	if (cv_buffer_len(waiting) == 0) {
		cv_buffer_release_if_empty(waiting);
		return false;
	}
	memcpy(&kept, cv_buffer_bytes(waiting), sizeof(kept));
	*ret_name = kept.name;
	*ret_bytes = cv_buffer_bytes(waiting) + sizeof(kept);
	*ret_len_bytes = kept.len_bytes;
	/* the bytes stay where they are until something else is kept */
	cv_buffer_consume(waiting, sizeof(kept) + kept.len_bytes);
	return true;
}
