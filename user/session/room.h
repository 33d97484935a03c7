/* SPDX-License-Identifier: MIT */
/*
 * room.h - who has to leave when there is no room for more sessions: strangers, first those who
 * have said nothing, the oldest first.
 */
#ifndef CV_SESSION_ROOM_H
#define CV_SESSION_ROOM_H

#include <stdbool.h>

struct cv_handshake;
struct cv_session;
struct cv_worker;

enum cv_room_line {
	CV_LINE_SILENT, /* not a byte came from them, as far as was looked */
	CV_LINE_SPOKEN,
	CV_LINES
};

struct cv_line {
	struct cv_handshake *oldest, *newest;
};

struct cv_room_place { /* in a line of those who have not said yet who they are */
	struct cv_worker *worker; /* NULL: in none */
	struct cv_handshake *older, *newer;
	enum cv_room_line line;
};

/** cv_room_enter() - @session, which has a client and a handshake, is the newest in the line. */
void cv_room_enter(struct cv_session *session);
/** cv_room_leave() - No-op for who is in no line. */
void cv_room_leave(struct cv_handshake *handshake);
/** cv_room_make() - End up to @count strangers, for @reason. Their slots and descriptors are free
 * after the next turn of the ring. */
void cv_room_make(struct cv_worker *worker, unsigned count, int reason);
/** cv_room_made() - @session is gone, and so is what it held. */
void cv_room_made(struct cv_session *session);
/** cv_room_is_short() - Strangers may need more slots than are left, and few are: room has to be
 * made before another session. */
bool cv_room_is_short(const struct cv_worker *worker);
/** cv_room_few_descriptors() - The same of descriptors, of which @fd is the last one taken. */
bool cv_room_few_descriptors(const struct cv_worker *worker, int fd);

#endif
