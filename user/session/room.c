// SPDX-License-Identifier: MIT
/*
 * room.c - slots and descriptors end somewhere; who only holds a connection open must not keep
 * those out who would be served.
 *
 * Whoever has not yet said who it is stands in a line, by age. When few slots or descriptors are
 * left each newcomer costs the oldest of the line its place, as a kernel does it with half-open
 * connections. A user who needs a second to say its name is safe as long as fewer connections than
 * there are slots come in that second; who waits on purpose is the first to go. Sessions of users,
 * and of strangers whom the target serves, are not in the line.
 */
#include "session/room.h"

#include "session/handshake.h"
#include "session/session.h"
#include "session/worker.h"

#define LOOK_MAX 64	   /* places in the line that one newcomer looks at */
#define SLOTS_SPARE_MAX 1024 /* for those that come in one turn of the ring */

void cv_room_enter(struct cv_session *session)
{
	struct cv_worker *worker = session->worker;
	struct cv_room_place *place = &session->handshake->place_in_line;

	session->handshake->session = session;
	place->worker = worker;
	place->older = worker->newest;
	if (worker->newest)
		worker->newest->place_in_line.newer = session->handshake;
	else
		worker->oldest = session->handshake;
	worker->newest = session->handshake;
}

void cv_room_leave(struct cv_handshake *handshake)
{
	struct cv_room_place *place = &handshake->place_in_line;
	struct cv_worker *worker = place->worker;

	if (!worker)
		return;
	if (place->older)
		place->older->place_in_line.newer = place->newer;
	else
		worker->oldest = place->newer;
	if (place->newer)
		place->newer->place_in_line.older = place->older;
	else
		worker->newest = place->older;
	*place = (struct cv_room_place){0};
}

/* Past this nobody is a stranger any more, or somebody else keeps us waiting. */
static bool is_known(const struct cv_session *session)
{
	return session->user || session->state > CV_SESSION_EXPECT_HTTP;
}

static bool is_busy(const struct cv_session *session)
{
	return session->depth > 0 || session->state == CV_SESSION_VERIFY;
}

void cv_room_make(struct cv_worker *worker, unsigned count, int reason)
{
	struct cv_handshake *handshake = worker->oldest;

	for (int looked = 0; handshake && count > 0 && looked < LOOK_MAX; looked++) {
		struct cv_handshake *newer = handshake->place_in_line.newer;
		struct cv_session *session = handshake->session;

		if (is_known(session)) {
			cv_room_leave(handshake);
		} else if (!is_busy(session)) {
			/* observable: it ends without a word of the protocol */
			cv_session_close(session, reason);
			cv_session_event(session, NULL, 0);
			count--;
		}
		handshake = newer;
	}
}

bool cv_room_is_short(const struct cv_worker *worker)
{
	const struct cv_slab *slab = &worker->slab;
	const uint32_t eighth = slab->max_count / 8;
	const uint32_t spare = eighth < SLOTS_SPARE_MAX ? eighth : SLOTS_SPARE_MAX;

	return slab->used_count >= slab->max_count - spare;
}

bool cv_room_few_descriptors(const struct cv_worker *worker, int fd)
{
	return fd >= worker->descriptors_most;
}
