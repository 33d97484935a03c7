// SPDX-License-Identifier: MIT
/*
 * sim_net.c - see sim_net.h.
 *
 * Resets as Linux has them: what has arrived can still be read, then the error is told once, to
 * whoever calls first; a socket that had got a FIN before has EPIPE instead of ECONNRESET. Who
 * closes with unread bytes resets, and so does a closed end that bytes arrive at.
 */
#include "sim_net.h"

#include "check.h"
#include "sim_allocations.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

struct sim_whims sim_whims;

static struct sim_end ends[SIM_ENDS];
static struct sim_end *visitors; /* the world has not looked at them yet */

struct sim_end *sim_end_of(int fd)
{
	struct sim_end *end = fd >= SIM_FD_FIRST && fd < SIM_FD_FIRST + SIM_ENDS
				      ? &ends[fd - SIM_FD_FIRST]
				      : NULL;

	check(!end || (end->kind != SIM_FREE && end->has_fd)); /* closed already, or never open */
	return end;
}

int sim_fd_of(const struct sim_end *end)
{
	return SIM_FD_FIRST + (int)(end - ends);
}

/* The lowest number, as the kernel does: a mistaken close() hits somebody. */
static struct sim_end *end_new(int kind, bool has_fd)
{
	struct sim_end *end = ends;

	while (end < ends + SIM_ENDS && end->kind != SIM_FREE)
		end++;
	check(end < ends + SIM_ENDS);
	*end = (struct sim_end){.kind = kind,
				.has_fd = has_fd,
				.is_open = true,
				.window_bytes = sim_whims.window_bytes};
	return end;
}

static void end_free(struct sim_end *end)
{
	free(end->in.bytes);
	*end = (struct sim_end){.kind = SIM_FREE};
}

/* A closed end stays until nothing can happen to it any more. */
static void retire(struct sim_end *end)
{
	struct sim_end *peer = end->peer;

	if (end->is_open || (peer && peer->is_open))
		return;
	end_free(end);
	if (peer)
		end_free(peer);
}

/* ---- connections -------------------------------------------------------------------------- */

static struct sim_end *listener_at(uint16_t port)
{
	for (struct sim_end *end = ends; end < ends + SIM_ENDS; end++)
		if (end->kind == SIM_LISTENER && end->port == port)
			return end;
	return NULL;
}

static void join(struct sim_end *one, struct sim_end *other, uint16_t port)
{
	one->kind = other->kind = SIM_CONNECTED;
	one->port = other->port = port;
	one->peer = other;
	other->peer = one;
}

static void append(struct sim_end **queue, struct sim_end *end)
{
	while (*queue)
		queue = &(*queue)->next_waiting;
	*queue = end;
}

int sim_socket(void)
{
	return sim_fd_of(end_new(SIM_FRESH, true));
}

int sim_listen(uint16_t port)
{
	struct sim_end *end = end_new(SIM_LISTENER, true);

	end->port = port;
	return sim_fd_of(end);
}

struct sim_end *sim_connect(uint16_t port)
{
	struct sim_end *listener = listener_at(port), *end, *other;

	if (!listener)
		return NULL;
	end = end_new(SIM_CONNECTED, false);
	other = end_new(SIM_CONNECTED, true);
	join(end, other, port);
	append(&listener->peer, other);
	return end;
}

int sim_dial(struct sim_end *end, uint16_t port)
{
	struct sim_end *listener = listener_at(port), *other;

	check(end->kind == SIM_FRESH);
	if (!listener && port < SIM_WORLD_PORT) /* the program itself, which listens no more */
		return -ECONNREFUSED;
	other = end_new(SIM_CONNECTED, listener != NULL);
	join(end, other, port);
	append(listener ? &listener->peer : &visitors, other);
	return 0;
}

static struct sim_end *shift(struct sim_end **queue)
{
	struct sim_end *end = *queue;

	if (end)
		*queue = end->next_waiting;
	return end;
}

int sim_accept(struct sim_end *listener)
{
	struct sim_end *end = shift(&listener->peer);

	return end ? sim_fd_of(end) : -EAGAIN;
}

struct sim_end *sim_visitor(void)
{
	return shift(&visitors);
}

/* ---- bytes -------------------------------------------------------------------------------- */

static size_t coming_bytes(const struct sim_queue *queue)
{
	return queue->end - queue->arrived;
}

static void queue_append(struct sim_queue *queue, const uint8_t *bytes, size_t len_bytes)
{
	if (queue->at == queue->end)
		queue->at = queue->arrived = queue->end = 0;
	if (queue->end + len_bytes > queue->size_bytes) {
		queue->size_bytes = (queue->end + len_bytes) * 2;
		queue->bytes = sim_realloc(queue->bytes, queue->size_bytes);
	}
	memcpy(queue->bytes + queue->end, bytes, len_bytes);
	queue->end += len_bytes;
}

static int tell_error(struct sim_end *end)
{
	const int error = end->error;

	end->error = 0;
	return error;
}

static size_t room_bytes(const struct sim_end *end)
{
	const size_t unread = end->peer->in.end - end->peer->in.at;

	return unread < end->window_bytes ? end->window_bytes - unread : 0;
}

int sim_room(struct sim_end *end)
{
	if (end->error)
		return tell_error(end);
	if (end->kind != SIM_CONNECTED)
		return -ENOTCONN;
	if (end->said_fin || end->is_dead)
		return -EPIPE;
	return room_bytes(end) > 0 ? (int)room_bytes(end) : -EAGAIN;
}

int sim_send(struct sim_end *end, const uint8_t *bytes, size_t len_bytes)
{
	const int room = sim_room(end);

	if (room < 0)
		return room;
	if (len_bytes > (size_t)room)
		len_bytes = (size_t)room;
	if (!end->peer->is_dead)
		queue_append(&end->peer->in, bytes, len_bytes);
	return (int)len_bytes;
}

int sim_recv(struct sim_end *end, uint8_t *bytes, size_t most_bytes)
{
	struct sim_queue *in = &end->in;
	size_t len_bytes = in->arrived - in->at;

	if (len_bytes > most_bytes)
		len_bytes = most_bytes;
	if (len_bytes > 0) {
		memcpy(bytes, in->bytes + in->at, len_bytes);
		in->at += len_bytes;
		return (int)len_bytes;
	}
	if (end->error)
		return tell_error(end);
	if (end->kind != SIM_CONNECTED)
		return -ENOTCONN;
	return in->fin_arrived || end->is_dead ? 0 : -EAGAIN;
}

int sim_peek(struct sim_end *end, uint8_t *first)
{
	const struct sim_queue before = end->in;
	const int count = sim_recv(end, first, 1);

	end->in.at = before.at;
	return count;
}

/* ---- ends --------------------------------------------------------------------------------- */

void sim_say_fin(struct sim_end *end)
{
	if (end->kind != SIM_CONNECTED || end->said_fin || end->is_dead)
		return;
	end->said_fin = true;
	end->peer->in.fin = true;
}

/* A reset arrives: what has not reached the other side from here is lost. */
static void die(struct sim_end *end)
{
	struct sim_queue *theirs = &end->peer->in;

	if (end->is_dead)
		return;
	end->error = end->in.fin_arrived ? -EPIPE : -ECONNRESET;
	end->is_dead = true;
	theirs->end = theirs->arrived;
	theirs->fin = theirs->fin_arrived;
}

void sim_abort(struct sim_end *end, bool loses)
{
	struct sim_queue *theirs = &end->peer->in;

	if (!end->is_open)
		return;
	end->is_open = false;
	if (!end->is_dead && !(end->said_fin && theirs->fin_arrived && end->in.fin_arrived)) {
		if (loses)
			theirs->end = theirs->arrived;
		theirs->reset = true;
	}
	end->is_dead = true;
	retire(end);
}

void sim_fail(struct sim_end *end, int error)
{
	if (end->kind != SIM_CONNECTED || end->is_dead)
		return;
	die(end);
	end->error = error;
	end->peer->in.reset = true;
}

bool sim_close(struct sim_end *end)
{
	const bool is_unread = end->in.at < end->in.arrived;

	while (end->kind == SIM_LISTENER && end->peer) { /* who waits in its queue is reset */
		struct sim_end *waiting = shift(&end->peer);

		waiting->has_fd = false;
		sim_abort(waiting, false);
	}
	if (end->kind == SIM_CONNECTED && (is_unread || end->lingers_not)) {
		sim_abort(end, false);
		return false;
	}
	sim_say_fin(end);
	end->is_open = false;
	retire(end);
	return true;
}

static void arrive(struct sim_end *end, size_t count_bytes)
{
	struct sim_queue *in = &end->in;

	in->arrived += count_bytes;
	in->arrived_bytes += count_bytes;
	if (!end->is_open && count_bytes > 0 && !end->is_dead) { /* nobody is there to read it */
		end->is_dead = true;
		end->peer->in.reset = true;
	}
}

bool sim_deliver(struct sim_end *end, size_t most_bytes)
{
	struct sim_queue *in = &end->in;
	const size_t coming = coming_bytes(in);
	const size_t count_bytes = coming < most_bytes ? coming : most_bytes;

	if (end->kind != SIM_CONNECTED || end->is_dead)
		return false;
	arrive(end, count_bytes);
	if (count_bytes < coming)
		return count_bytes > 0;
	if (in->reset) {
		in->reset = false;
		die(end);
		return true;
	}
	if (in->fin && !in->fin_arrived) {
		in->fin_arrived = true;
		return true;
	}
	return count_bytes > 0;
}

static bool something_comes(const struct sim_end *end)
{
	const struct sim_queue *in = &end->in;

	return end->kind == SIM_CONNECTED && !end->is_dead &&
	       (coming_bytes(in) > 0 || in->reset || in->fin != in->fin_arrived);
}

struct sim_end *sim_link(unsigned index)
{
	for (struct sim_end *end = ends; end < ends + SIM_ENDS; end++)
		if (something_comes(end) && index-- == 0)
			return end;
	return NULL;
}

bool sim_deliver_all(void)
{
	bool any = false;

	for (struct sim_end *end = ends; end < ends + SIM_ENDS; end++)
		any |= sim_deliver(end, SIZE_MAX);
	return any;
}

uint32_t sim_events(const struct sim_end *end)
{
	const struct sim_queue *in = &end->in;
	uint32_t events = 0;

	if (end->kind == SIM_LISTENER)
		return end->peer ? POLLIN : 0;
	if (end->kind != SIM_CONNECTED)
		return POLLOUT | POLLHUP;
	if (in->at < in->arrived || in->fin_arrived || end->is_dead)
		events |= POLLIN;
	if (in->fin_arrived || end->is_dead)
		events |= POLLRDHUP;
	if (end->is_dead || (end->said_fin && in->fin_arrived))
		events |= POLLHUP;
	if (end->is_dead || end->said_fin || room_bytes(end) > 0)
		events |= POLLOUT;
	return events | (end->error ? POLLERR : 0);
}

/* ---- a run -------------------------------------------------------------------------------- */

void sim_relax(void)
{
	sim_whims = (struct sim_whims){.chunk_bytes = SIZE_MAX, .window_bytes = 256 * 1024};
	for (struct sim_end *end = ends; end < ends + SIM_ENDS; end++)
		end->window_bytes = sim_whims.window_bytes;
}

void sim_net_start(void)
{
	visitors = NULL;
	sim_relax();
}

void sim_net_stop(void)
{
	for (struct sim_end *end = ends; end < ends + SIM_ENDS; end++)
		check(end->kind == SIM_FREE || !end->has_fd || !end->is_open);
	for (struct sim_end *end = ends; end < ends + SIM_ENDS; end++)
		end_free(end);
}
