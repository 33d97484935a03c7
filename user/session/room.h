/* SPDX-License-Identifier: MIT */
/*
 * room.h - who has to leave when there is no room for more sessions: strangers, the oldest first.
 */
#ifndef CV_SESSION_ROOM_H
#define CV_SESSION_ROOM_H

#include <stdbool.h>

struct cv_handshake;
struct cv_session;
struct cv_worker;

struct cv_room_place { /* in the line of those who have not said yet who they are */
	struct cv_worker *worker; /* NULL: in none */
	struct cv_handshake *older, *newer;
};

/** cv_room_enter() - @session, which has a client and a handshake, is the newest in the line. */
void cv_room_enter(struct cv_session *session);
/** cv_room_leave() - No-op for who is in no line. */
void cv_room_leave(struct cv_handshake *handshake);
/** cv_room_make() - End up to @count of the oldest strangers, for @reason. Their slots and
 * descriptors are free after the next turn of the ring. */
void cv_room_make(struct cv_worker *worker, unsigned count, int reason);
/** cv_room_is_short() - Few slots are left, so that room has to be made before another session. */
bool cv_room_is_short(const struct cv_worker *worker);
/** cv_room_few_descriptors() - The same of descriptors, of which @fd is the last one taken. */
bool cv_room_few_descriptors(const struct cv_worker *worker, int fd);

#endif
