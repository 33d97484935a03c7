/* SPDX-License-Identifier: MIT */
/*
 * mapped_port.h - the port of an association that its client has named (mappings.h), for whoever
 * serves the client's stream.
 */
#ifndef CV_SESSION_MAPPED_PORT_H
#define CV_SESSION_MAPPED_PORT_H

#include "session/datagrams.h"
#include "session/mappings.h"

/** cv_mapped_port_take() - The port of @session's user's @global_id, 8 bytes, becomes that of
 * @datagrams, if there is one already. NULL: out of memory, or too many: it goes on without. */
struct cv_mapping *cv_mapped_port_take(struct cv_session *session, const uint8_t *global_id,
				       struct cv_datagrams *datagrams);
/** cv_mapped_port_opened() - As cv_datagram_near.opened() tells it. NULL-safe. */
void cv_mapped_port_opened(struct cv_mapping *port, struct cv_datagram_socket *direct);
/** cv_mapped_port_leave() - After cv_datagrams_free(). It is kept for a while. NULL-safe. */
void cv_mapped_port_leave(struct cv_session *session, struct cv_mapping *port);

#endif
