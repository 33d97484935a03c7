// SPDX-License-Identifier: MIT
/*
 * room.c - slots and descriptors end somewhere; who only holds a connection open must not keep
 * those out who would be served.
 *
 * Whoever has not yet said who it is stands in a line, by age. When little is left, and the line
 * could use it up, each newcomer costs others their place, as a kernel does it with half-open
 * connections:
 *
 *   silent   not a byte came: the oldest of these go first. Users speak at once.
 *   spoken   they wait for us, for the target, or say one byte after the other: by age, but only
 *            when nobody is silent. Who has spoken is moved here when it would have to go.
 *
 * What those who were ended held is free a turn later, and counts as free at once: many newcomers
 * in one turn do not empty the line. Sessions of users, and of strangers whom the target serves,
 * are in no line: where they hold nearly everything, few newcomers do not cost each other anything.
 */
#include "session/room.h"

#include "session/handshake.h"
#include "session/session.h"
#include "session/worker.h"

#include <stdatomic.h>

#define LOOK_MAX 64	   /* places in the lines that one newcomer looks at */
#define SLOTS_SPARE_MAX 1024 /* for those that come in one turn of the ring */
#define EACH_MAY_NEED 2	   /* descriptors: its upstream, and for a newcomer */

/* Descriptors are the process's, not a worker's. */
static _Atomic int strangers, leaving_descriptors;

static void append(struct cv_handshake *handshake, struct cv_worker *worker,
		   enum cv_room_line which)
{
	struct cv_room_place *place = &handshake->place_in_line;
	struct cv_line *line = &worker->lines[which];

	*place = (struct cv_room_place){.worker = worker, .older = line->newest, .line = which};
	if (line->newest)
		line->newest->place_in_line.newer = handshake;
	else
		line->oldest = handshake;
	line->newest = handshake;
}

static void unlink_place(struct cv_handshake *handshake)
{
	struct cv_room_place *place = &handshake->place_in_line;
	struct cv_line *line = &place->worker->lines[place->line];

	if (place->older)
		place->older->place_in_line.newer = place->newer;
	else
		line->oldest = place->newer;
	if (place->newer)
		place->newer->place_in_line.older = place->older;
	else
		line->newest = place->older;
}

void cv_room_enter(struct cv_session *session)
{
	session->handshake->session = session;
	append(session->handshake, session->worker, CV_LINE_SILENT);
	session->worker->strangers++;
	atomic_fetch_add_explicit(&strangers, 1, memory_order_relaxed);
}

void cv_room_leave(struct cv_handshake *handshake)
{
	struct cv_room_place *place = &handshake->place_in_line;

	if (!place->worker)
		return;
	unlink_place(handshake);
	place->worker->strangers--;
	atomic_fetch_sub_explicit(&strangers, 1, memory_order_relaxed);
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

static bool has_spoken(const struct cv_session *session)
{
	return session->client.received_bytes > 0 || session->handshake->has_spoken;
}

/* observable: it ends without a word of the protocol */
static void end(struct cv_session *session, int reason)
{
	struct cv_worker *worker = session->worker;
	const bool has_upstream = session->upstream.fd >= 0 || session->handshake->connector;

	session->leaving_descriptors = has_upstream ? 2 : 1;
	worker->leaving++;
	atomic_fetch_add_explicit(&leaving_descriptors, session->leaving_descriptors,
				  memory_order_relaxed);
	cv_session_close(session, reason);
	cv_session_event(session, NULL, 0);
}

void cv_room_made(struct cv_session *session)
{
	if (session->leaving_descriptors == 0)
		return;
	session->worker->leaving--;
	atomic_fetch_sub_explicit(&leaving_descriptors, session->leaving_descriptors,
				  memory_order_relaxed);
}

/* True if it had to go. */
static bool look_at(struct cv_handshake *handshake, int reason)
{
	struct cv_session *session = handshake->session;
	struct cv_room_place *place = &handshake->place_in_line;

	if (is_known(session)) {
		cv_room_leave(handshake);
		return false;
	}
	if (is_busy(session))
		return false;
	if (place->line == CV_LINE_SILENT && has_spoken(session)) {
		unlink_place(handshake);
		append(handshake, place->worker, CV_LINE_SPOKEN);
		return false;
	}
	end(session, reason);
	return true;
}

void cv_room_make(struct cv_worker *worker, unsigned count, int reason)
{
	for (int line = CV_LINE_SILENT; line < CV_LINES; line++) {
		struct cv_handshake *handshake = worker->lines[line].oldest;

		for (int looked = 0; handshake && count > 0 && looked < LOOK_MAX; looked++) {
			struct cv_handshake *newer = handshake->place_in_line.newer;

			count -= look_at(handshake, reason);
			handshake = newer;
		}
	}
}

bool cv_room_is_short(const struct cv_worker *worker)
{
	const struct cv_slab *slab = &worker->slab;
	const uint32_t eighth = slab->max_count / 8;
	const uint32_t spare = eighth < SLOTS_SPARE_MAX ? eighth : SLOTS_SPARE_MAX;
	const uint32_t left = slab->max_count - slab->used_count + worker->leaving;

	return left <= spare && worker->strangers > left;
}

bool cv_room_few_descriptors(const struct cv_worker *worker, int fd)
{
	const int left = worker->descriptors_limit - fd +
			 atomic_load_explicit(&leaving_descriptors, memory_order_relaxed);

	return left <= worker->descriptors_limit / 4 &&
	       atomic_load_explicit(&strangers, memory_order_relaxed) > left / EACH_MAY_NEED;
}
