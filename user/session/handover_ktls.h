/* SPDX-License-Identifier: MIT */
/*
 * handover_ktls.h - letting the kernel protect a leg's records, so that an engine can move them.
 */
#ifndef CV_SESSION_HANDOVER_KTLS_H
#define CV_SESSION_HANDOVER_KTLS_H

#include "session/session.h"

/** cv_ktls_is_due() - Kernel TLS would make @direction something that an engine can take: it has
 * moved enough, and each end is clear or has only record protection left. */
bool cv_ktls_is_due(struct cv_session *session, enum cv_direction direction);
/** cv_ktls_take() - Keys to the kernel for each end of a due and drained direction that needs them.
 * Returns 0; or -errno: the direction stays in user space and works (the reason is in the leg). */
int cv_ktls_take(struct cv_session *session, enum cv_direction direction);
/** cv_ktls_note_truncation() - Count a TLS stream that ended without close_notify: FIN alone. It
 * passes as an end, as with Xray, but anybody on the path could have sent that FIN. */
void cv_ktls_note_truncation(struct cv_session *session, enum cv_direction direction);
/** cv_ktls_hint() - Why the kernel does not do the records of @leg (yet), for people. */
const char *cv_ktls_hint(const struct cv_session *session, const struct cv_leg *leg);
/** cv_ktls_end() - The @leg's kernel TLS in the receiving (@is_tx: sending) direction, or NULL. */
struct cv_ktls *cv_ktls_end(const struct cv_leg *leg, bool is_tx);

/**
 * cv_leg_to_kernel() - Give one direction of @leg to the kernel. Nothing of it may be in user space
 * (a record that has begun least of all). 0; -errno or CV_INTERNAL_MEMORY: nothing changed but that
 * the socket may have the protocol now, with which user space goes on.
 */
int cv_leg_to_kernel(struct cv_leg *leg, bool is_tx, bool can_rekey);

#endif
