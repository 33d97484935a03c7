/* SPDX-License-Identifier: MIT */
/*
 * handover.h - giving a direction of a session to an engine.
 */
#ifndef CV_SESSION_HANDOVER_H
#define CV_SESSION_HANDOVER_H

#include "session/session.h"

/** cv_handover_is_due() - The direction belongs to an engine as soon as user space has nothing of
 * it any more: do not read any further. */
bool cv_handover_is_due(struct cv_session *session, enum cv_direction direction);
/** cv_handover_is_drained() - Nothing of the direction is in user space or on its way (law 1). */
bool cv_handover_is_drained(struct cv_session *session, enum cv_direction direction);
/** cv_handover_read_rest() - For a due direction: what the record that has begun still lacks, and
 * not a byte more. */
void cv_handover_read_rest(struct cv_session *session, enum cv_direction direction);
/** cv_handover_start() - Give a due and drained direction to the engine. If that refuses, user
 * space goes on reading. */
void cv_handover_start(struct cv_session *session, enum cv_direction direction);
/** cv_handover_review() - Once a second, before the session is accounted: should other engines
 * carry it from now on (engine/choice.h)? */
void cv_handover_review(struct cv_session *session);
/* Between handover.c and handover_choice.c: */
/** cv_handover_first_engine() - What @direction of @session is handed to. NULL = nothing. */
const struct cv_engine *cv_handover_first_engine(struct cv_session *session,
						 enum cv_direction direction);
/** cv_handover_try() - Start @engine for a filled-in flow; copy where sockmap refuses. 0 or -errno:
 * the direction is without an engine. */
int cv_handover_try(struct cv_session *session, enum cv_direction direction,
		    const struct cv_engine *engine);
/** cv_handover_yielded() - The flow did what cv_flow_yield() asks for: give it its next engine. */
void cv_handover_yielded(struct cv_session *session, enum cv_direction direction);
/** cv_handover_sockmap() - May @worker use sockmap? Its slots are made the first time. */
enum cv_sockmap_state cv_handover_sockmap(struct cv_worker *worker);

/** cv_handover_reviewed() - All sessions of @worker were. */
void cv_handover_reviewed(struct cv_worker *worker);

#define CV_HANDOVER_TEXT 256
/** cv_handover_describe() - For people: what the engine of @direction waits for. */
void cv_handover_describe(const struct cv_session *session, enum cv_direction direction,
			  char text[CV_HANDOVER_TEXT]);
/** cv_handover_why() - For people: why no faster engine carries @direction; "" if there is none, or
 * nothing is left to carry. */
void cv_handover_why(const struct cv_session *session, enum cv_direction direction,
		     char text[CV_HANDOVER_TEXT]);

#endif
