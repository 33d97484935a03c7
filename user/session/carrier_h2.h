/* SPDX-License-Identifier: MIT */
/*
 * carrier_h2.h - a carrier whose wire is HTTP/2: each stream a client's connection of its own.
 */
#ifndef CV_SESSION_CARRIER_H2_H
#define CV_SESSION_CARRIER_H2_H

#include "session/carrier.h"

struct cv_carrier_h2;

/** cv_h2_begin() - @session's client says HTTP/2 and is to ask for its inbound's transport; the
 * handshake owns the carrier. @is_strict: as for cv_h2_server_new(). Returns 0 or
 * CV_INTERNAL_MEMORY. */
int cv_h2_begin(struct cv_session *session, bool is_strict);
/** cv_h2_judge() - Of what the client has said. 0: it may yet ask for us, more has to come; 1: it
 * has, and @session is a carrier; or a reason why not. */
int cv_h2_judge(struct cv_session *session, struct cv_span bytes);

/* ---- for carriers ---- */

/** cv_carrier_h2_read() - As cv_carrier_read(). */
int cv_carrier_h2_read(struct cv_carrier *carrier);
/** cv_carrier_h2_write() - As cv_carrier_write(). */
int cv_carrier_h2_write(struct cv_carrier *carrier);
/** cv_carrier_h2_end() - As cv_carrier_say_end(). */
void cv_carrier_h2_end(struct cv_carrier *carrier, uint16_t id, bool is_error);
/** cv_carrier_h2_used() - Of what the stream received. */
void cv_carrier_h2_used(struct cv_carrier *carrier, uint16_t id, size_t len_bytes);
/** cv_carrier_h2_free() - NULL-safe, returns NULL. */
struct cv_carrier_h2 *cv_carrier_h2_free(struct cv_carrier_h2 *h2);

#endif
