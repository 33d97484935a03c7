// SPDX-License-Identifier: MIT
/*
 * sim_ring.c - see sim_ring.h. It takes the place of ring.c, operation.c, provided.c, setup.c,
 * watch.c, resolver.c and base/clock.c, since the linker finds these names here first. Timers and
 * connections (timer.c, connect.c) are the program's own.
 *
 * A provided buffer is an allocation of exactly what was received: who reads behind it, or after it
 * was given back, is seen by AddressSanitizer.
 */
#include "sim_ring.h"

#include "base/clock.h"
#include "base/mutation.h"
#include "base/reason.h"
#include "check.h"
#include "ring/internal.h"
#include "ring/resolver.h"
#include "sim_allocations.h"
#include "sim_net.h"

#include <errno.h>
#include <poll.h>

#define WAITS 1024
#define BUFFERS 256
#define BUFFER_BYTES 32768
#define WATCHES 128
#define START_MS 1000000
#define WALL_MS 1700000000000ull
#define RUN_WALL_MS 300000 /* what a run said is too old to be said again in the next */

enum wait_kind { WAIT_ACCEPT, WAIT_CONNECT, WAIT_RECV, WAIT_SEND, WAIT_POLL };

struct wait {
	struct cv_op *op;
	enum wait_kind kind;
	int fd;
	const uint8_t *bytes;
	size_t len_bytes;
	uint32_t mask;
	uint16_t port;
	/* completed */
	int result;
	uint32_t flags;
};

static struct wait waits[WAITS], completed[WAITS];
static unsigned wait_count, completed_count;
static uint8_t *buffers[BUFFERS];
static unsigned buffers_out, buffers_most;
static struct cv_watch *watches[WATCHES];
static uint32_t watch_events[WATCHES];
static struct cv_post *posts;
static uint64_t clock_ms;
static bool is_running;
static uint64_t run_count;
void (*sim_turn)(struct cv_ring *ring);

bool sim_is_running(void)
{
	return is_running;
}

/* ---- operations --------------------------------------------------------------------------- */

static struct wait *start(struct cv_op *op, int fd, enum wait_kind kind)
{
	struct wait *wait = &waits[wait_count++];

	check(wait_count < WAITS && !op->pending && sim_end_of(fd));
	op->pending = true;
	op->cancelled = false;
	*wait = (struct wait){.op = op, .kind = kind, .fd = fd};
	return wait;
}

void cv_ring_accept(struct cv_ring *ring, struct cv_op *op, int listener_fd)
{
	(void)ring;
	start(op, listener_fd, WAIT_ACCEPT);
}

void cv_ring_connect(struct cv_ring *ring, struct cv_op *op, int fd,
		     const struct cv_sockaddr *address)
{
	(void)ring;
	start(op, fd, WAIT_CONNECT)->port = cv_sockaddr_port(address);
}

void cv_ring_recv(struct cv_ring *ring, struct cv_op *op, int fd)
{
	(void)ring;
	start(op, fd, WAIT_RECV);
}

void cv_ring_send(struct cv_ring *ring, struct cv_op *op, int fd, const void *bytes,
		  size_t count_bytes)
{
	struct wait *wait = start(op, fd, WAIT_SEND);

	(void)ring;
	check(count_bytes > 0);
	wait->bytes = bytes;
	wait->len_bytes = count_bytes;
}

void cv_ring_poll(struct cv_ring *ring, struct cv_op *op, int fd, uint32_t mask)
{
	(void)ring;
	start(op, fd, WAIT_POLL)->mask = mask;
}

void cv_ring_cancel(struct cv_ring *ring, struct cv_op *op)
{
	(void)ring;
	if (op->pending)
		op->cancelled = true;
}

bool sim_is_awaited(int fd)
{
	for (unsigned i = 0; i < wait_count; i++)
		if (waits[i].fd == fd)
			return true;
	for (unsigned i = 0; i < completed_count; i++)
		if (completed[i].fd == fd && completed[i].op->pending)
			return true;
	return false;
}

static bool can_end(const struct wait *wait)
{
	const struct sim_end *end = sim_end_of(wait->fd);
	const uint32_t events = sim_events(end);

	switch (wait->kind) {
	case WAIT_ACCEPT:
		return events & POLLIN;
	case WAIT_CONNECT:
		return true;
	case WAIT_RECV:
		return (events & (POLLIN | POLLERR)) && buffers_out < buffers_most;
	case WAIT_SEND:
		return events & (POLLOUT | POLLERR);
	default:
		return events & (wait->mask | POLLERR | POLLHUP);
	}
}

/* With one descriptor left for each: exactly as long as what it got. */
static int receive(struct wait *wait, struct sim_end *end, size_t most_bytes)
{
	static uint8_t block[BUFFER_BYTES];
	const int got = sim_recv(end, block, most_bytes < BUFFER_BYTES ? most_bytes : BUFFER_BYTES);
	unsigned id = 0;

	if (got <= 0)
		return got;
	while (buffers[id])
		id++;
	buffers[id] = sim_realloc(NULL, (size_t)got);
	memcpy(buffers[id], block, (size_t)got);
	buffers_out++;
	wait->flags = id << IORING_CQE_BUFFER_SHIFT | IORING_CQE_F_BUFFER;
	return got;
}

static int dial(const struct wait *wait, struct sim_end *end)
{
	const int error = sim_whims.dial_error;

	sim_whims.dial_error = 0;
	return error ? error : sim_dial(end, wait->port);
}

static int perform(struct wait *wait, size_t most_bytes)
{
	struct sim_end *end = sim_end_of(wait->fd);

	switch (wait->kind) {
	case WAIT_ACCEPT:
		return sim_accept(end);
	case WAIT_CONNECT:
		return dial(wait, end);
	case WAIT_RECV:
		return receive(wait, end, most_bytes);
	case WAIT_SEND:
		return sim_send(end, wait->bytes,
				wait->len_bytes < most_bytes ? wait->len_bytes : most_bytes);
	default:
		return (int)(sim_events(end) & (wait->mask | POLLERR | POLLHUP));
	}
}

/* Faults that a test plants (fuzz_selftest of tests/run.sh), as if the program made mistakes. */
static int planted(const struct wait *wait, int result)
{
	if (wait->kind == WAIT_SEND && result > 0 && !cv_rule_holds("sim-lose"))
		return (int)wait->len_bytes; /* a short write was taken for a whole one */
	if (wait->kind == WAIT_SEND && result > 1 && !cv_rule_holds("sim-double"))
		return result - 1;
	if (wait->kind == WAIT_RECV && result == -ECONNRESET && !cv_rule_holds("sim-reset"))
		return 0; /* taken for an end in order */
	return result;
}

static void complete(unsigned at, int result)
{
	struct wait *wait = &waits[at];

	wait->result = result;
	if (wait->kind == WAIT_ACCEPT)
		wait->flags = result >= 0 ? IORING_CQE_F_MORE : 0;
	check(completed_count < WAITS);
	completed[completed_count++] = *wait;
	if (wait->flags & IORING_CQE_F_MORE)
		return;
	memmove(wait, wait + 1, (--wait_count - at) * sizeof(*wait));
}

bool sim_ring_complete(struct cv_ring *ring, unsigned index, size_t most_bytes, bool cancel_wins)
{
	(void)ring;
	for (unsigned at = 0; at < wait_count; at++) {
		const bool can = can_end(&waits[at]);
		const bool cancelled = waits[at].op->cancelled;

		if ((!can && !cancelled) || index-- > 0)
			continue;
		if (cancelled && (cancel_wins || !can))
			complete(at, -ECANCELED);
		else
			complete(at, planted(&waits[at], perform(&waits[at], most_bytes)));
		return true;
	}
	return false;
}

unsigned sim_ring_dispatch(struct cv_ring *ring, unsigned most)
{
	unsigned told = 0;

	(void)ring;
	while (completed_count > 0 && told < most) {
		const struct wait wait = completed[0];

		memmove(completed, completed + 1, --completed_count * sizeof(wait));
		wait.op->pending = (wait.flags & IORING_CQE_F_MORE) != 0;
		wait.op->done(wait.op, wait.result, wait.flags);
		told++;
	}
	return told;
}

/* ---- provided buffers --------------------------------------------------------------------- */

uint8_t *cv_ring_buffer(struct cv_ring *ring, uint32_t flags)
{
	(void)ring;
	check((flags & IORING_CQE_F_BUFFER) && buffers[flags >> IORING_CQE_BUFFER_SHIFT]);
	return buffers[flags >> IORING_CQE_BUFFER_SHIFT];
}

void cv_ring_buffer_give(struct cv_ring *ring, uint32_t flags)
{
	const unsigned id = flags >> IORING_CQE_BUFFER_SHIFT;

	(void)cv_ring_buffer(ring, flags);
	if (!cv_rule_holds("sim-buffer"))
		return;
	free(buffers[id]);
	buffers[id] = NULL;
	buffers_out--;
}

size_t cv_ring_buffer_bytes(const struct cv_ring *ring)
{
	(void)ring;
	return BUFFER_BYTES;
}

uint64_t cv_ring_window_bytes(const struct cv_ring *ring)
{
	(void)ring;
	return (uint64_t)buffers_most * BUFFER_BYTES;
}

void sim_ring_buffers(unsigned most)
{
	buffers_most = most < BUFFERS ? most : BUFFERS;
}

/* ---- watches, posts ----------------------------------------------------------------------- */

int cv_ring_watch(struct cv_ring *ring, struct cv_watch *watch, int fd)
{
	unsigned at = 0;

	(void)ring;
	if (watch->active)
		return 0;
	while (at < WATCHES && watches[at])
		at++;
	check(at < WATCHES && sim_end_of(fd));
	watches[at] = watch;
	watch_events[at] = 0;
	watch->fd = fd;
	watch->active = true;
	return 0;
}

void cv_ring_unwatch(struct cv_ring *ring, struct cv_watch *watch)
{
	(void)ring;
	for (unsigned at = 0; at < WATCHES && watch->active; at++)
		if (watches[at] == watch)
			watches[at] = NULL;
	watch->active = false;
}

bool sim_ring_watches(void)
{
	bool any = false;

	for (unsigned at = 0; at < WATCHES; at++) {
		struct cv_watch *watch = watches[at];
		const uint32_t events =
			watch ? sim_events(sim_end_of(watch->fd)) & (POLLERR | POLLHUP) : 0;

		if (!watch || events == watch_events[at])
			continue;
		watch_events[at] = events;
		any |= events != 0;
		if (events)
			watch->died(watch, events & POLLERR);
	}
	return any;
}

void cv_ring_post(struct cv_ring *ring, struct cv_post *post)
{
	struct cv_post **last = &posts;

	(void)ring;
	while (*last)
		last = &(*last)->next;
	*last = post;
	post->next = NULL;
}

void sim_run_posts(void)
{
	while (posts) {
		struct cv_post *post = posts;

		posts = post->next;
		post->run(post);
	}
}

/* ---- clock -------------------------------------------------------------------------------- */

uint64_t cv_clock_ms(void)
{
	return clock_ms;
}

uint64_t cv_clock_wall_ms(void)
{
	return WALL_MS + run_count * RUN_WALL_MS + clock_ms;
}

uint64_t cv_ring_now_ms(const struct cv_ring *ring)
{
	return ring->now_ms;
}

void sim_ring_forward(struct cv_ring *ring, uint64_t ms)
{
	clock_ms += ms;
	ring->now_ms = clock_ms;
}

int64_t sim_ring_next_ms(const struct cv_ring *ring)
{
	return cv_timers_wait_ms(ring);
}

/* ---- names -------------------------------------------------------------------------------- */

struct lookup {
	struct cv_resolve_query *query;
	struct cv_sockaddr address;
};

static void answer(struct cv_timer *timer)
{
	struct cv_resolve_query *query =
		(void *)((char *)timer - offsetof(struct cv_resolve_query, refused));
	struct lookup *lookup = query->internal;
	const struct cv_sockaddr address = lookup->address;

	free(lookup);
	query->internal = NULL;
	query->done(query, address.len_bytes ? 0 : CV_UPSTREAM_RESOLVE, &address,
		    address.len_bytes ? 1 : 0);
}

/* Every name has an address, but those that begin with "no". */
void cv_resolve(struct cv_resolver *resolver, struct cv_ring *ring, struct cv_resolve_query *query,
		const char *host, uint16_t port, enum cv_resolve_strategy strategy)
{
	struct lookup *lookup = sim_realloc(NULL, sizeof(*lookup));
	struct cv_destination destination;

	(void)resolver;
	(void)strategy;
	*lookup = (struct lookup){.query = query};
	check(cv_destination_set_text(&destination, host, port) == 0);
	if (destination.kind == CV_ADDRESS_DOMAIN && strncmp(host, "no", 2) != 0)
		check(cv_destination_set_text(&destination, "93.184.216.34", port) == 0);
	if (destination.kind != CV_ADDRESS_DOMAIN)
		check(cv_destination_to_sockaddr(&destination, &lookup->address));
	query->internal = lookup;
	query->ring = ring;
	query->refused = (struct cv_timer){.due = answer};
	cv_timer_arm(ring, &query->refused, ring->now_ms);
}

void cv_resolve_cancel(struct cv_resolve_query *query)
{
	if (!query->internal)
		return;
	cv_timer_disarm(query->ring, &query->refused);
	free(query->internal);
	query->internal = NULL;
}

/* ---- life --------------------------------------------------------------------------------- */

int cv_ring_new(const struct cv_ring_config *config, struct cv_ring **ret_ring)
{
	struct cv_ring *ring = calloc(1, sizeof(*ring));

	(void)config;
	check(ring && cv_timers_init(&ring->timers) == 0);
	ring->now_ms = clock_ms;
	*ret_ring = ring;
	return 0;
}

struct cv_ring *cv_ring_free(struct cv_ring *ring)
{
	if (!ring)
		return NULL;
	sim_run_posts();
	check(ring->timers.count == 0);
	cv_timers_done(&ring->timers);
	free(ring);
	return NULL;
}

int cv_ring_turn(struct cv_ring *ring)
{
	sim_run_posts();
	sim_turn(ring);
	if (cv_rule_holds("sim-deadline"))
		cv_timers_run(ring);
	return 0;
}

void sim_ring_start(void)
{
	is_running = true;
	run_count++;
	clock_ms = START_MS;
	sim_ring_buffers(BUFFERS);
}

void sim_ring_stop(void)
{
	is_running = false;
	check(wait_count == 0 && completed_count == 0 && buffers_out == 0 && !posts);
	for (unsigned at = 0; at < WATCHES; at++)
		check(!watches[at]);
}
