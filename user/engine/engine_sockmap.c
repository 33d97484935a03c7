// SPDX-License-Identifier: MIT
/*
 * engine_sockmap.c - bpf/relay.bpf.c moves the bytes; user space hears of the end, or of a full
 * sink.
 *
 *   COPYING --source drained, all delivered, not held--> MOVING (redirected in the kernel)
 *    ^ |  ^                                               |  |
 *    | |  |                 limit reached: mode is PASS --/  \-- source's FIN
 *    | |  |                               v                   v
 *    | |  \--sink took all redirected-- FLUSHING           CLOSING --sink took all--> FIN, ended(0)
 *    | \--sink full--> BLOCKED              ^-- bytes were passed --/
 *    \----POLLOUT, all sent--/
 *
 * Going live. First time: recv until EAGAIN, so that no packet is half read (the program gets whole
 * packets); count what the sink has; put the source into relay_sources; kick it, for what came in
 * between is in its queue and nothing would look at it. Later times: tell the program how much was
 * read; it redirects again exactly when that is all it had passed.
 *
 * Redirected bytes travel behind the daemon's back: whatever must come after them (bytes by hand,
 * FIN) waits until the sink's count says that they are in its queue. FIN at the source comes before
 * that. Nobody is told when it is so: a timer asks, after 1 ms, and then less and less often.
 *
 * A socket that is redirected to must not be a source as well: what is passed at it would queue up
 * behind what it was sent, in no buffer's account, and its sender would never be stopped.
 */
#include "engine/sockmap.h"

#include "base/container.h"
#include "base/mutation.h"
#include "engine/flow.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define TURN_BYTES (512u << 10)
#define HAND_BYTES 65536
#define WAIT_MAX_MS 16
#define HOLD_FIRST_MS 1000
#define HOLD_MAX_MS 64000
#define CALM_MS 30000 /* live this long: the next hold is a first one again */
#define GIVE_UP_MS 60000
#define STATE_ESTABLISHED 1
#define STATE_CLOSE_WAIT 8

enum sockmap_state {
	SOCKMAP_COPYING,
	SOCKMAP_BLOCKED,
	SOCKMAP_MOVING,
	SOCKMAP_FLUSHING,
	SOCKMAP_CLOSING,
	SOCKMAP_FAILED, /* at the start; reported from the loop */
};

static void copy_on(struct cv_flow *flow);
static void woken(struct cv_op *op, int result, uint32_t flags);

static struct cv_sockmap_slot *slot_of(const struct cv_flow *flow)
{
	return cv_sockmap_slot(flow->env->sockmap, flow->slot);
}

static void poll_progress(struct cv_flow *flow)
{
	struct cv_sockmap_slot *slot = slot_of(flow);
	uint64_t moved_bytes = __atomic_load_n(&slot->kernel->moved_bytes, __ATOMIC_ACQUIRE);
	uint64_t last_ms = slot->kernel->last_move_ns / 1000000;

	if (moved_bytes == slot->seen_bytes)
		return;
	flow->moved_bytes += moved_bytes - slot->seen_bytes;
	slot->seen_bytes = moved_bytes;
	if (last_ms > flow->last_move_ms)
		flow->last_move_ms = last_ms;
	cv_sockmap_active(flow->env->sockmap);
}

static void flow_end(struct cv_flow *flow, int result, enum cv_flow_side side)
{
	struct cv_sockmap_slot *slot = slot_of(flow);

	/* What still comes is kept for whoever reads the socket; the closing socket drops it. */
	__atomic_store_n(&slot->kernel->mode, CV_RELAY_PASS, __ATOMIC_RELEASE);
	poll_progress(flow);
	cv_sockmap_give(flow->env->sockmap, slot);
	cv_flow_end(flow, result, side);
}

/* ---- the sink's count --------------------------------------------------------------------- */

static int tcp_info(int fd, struct tcp_info *ret_info)
{
	socklen_t len_bytes = sizeof(*ret_info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret_info, &len_bytes) < 0 ? -errno : 0;
}

static bool can_send(const struct tcp_info *info)
{
	return info->tcpi_state == STATE_ESTABLISHED || info->tcpi_state == STATE_CLOSE_WAIT;
}

/* What the sink has taken since ever, as the program counts it. Not atomic: acknowledged first, so
 * that it never says more than is true. @ret_queued: of these, not acknowledged yet. */
static int written_bytes(int fd, uint64_t *ret_bytes, int *ret_queued)
{
	struct tcp_info info = {0};
	int error = tcp_info(fd, &info);

	if (error)
		return error;
	if (!can_send(&info))
		return -EPIPE;
	if (ioctl(fd, SIOCOUTQ, ret_queued) < 0)
		return -errno;
	*ret_bytes = info.tcpi_bytes_acked + (uint64_t)*ret_queued;
	return 0;
}

/* Exactly. Nobody writes to the sink now, so what was acknowledged and what is queued belong
 * together if nothing was acknowledged between the two. (Two equal sums prove nothing:
 * acknowledgements of one size may come between both pairs.) */
static int written_exactly(int fd, uint64_t *ret_bytes)
{
	for (int i = 0; i < 100; i++) {
		struct tcp_info after = {0};
		uint64_t bytes;
		int queued, error = written_bytes(fd, &bytes, &queued);

		if (!error)
			error = tcp_info(fd, &after);
		if (error)
			return error;
		if (after.tcpi_bytes_acked == bytes - (uint64_t)queued) {
			*ret_bytes = bytes;
			return 0;
		}
	}
	return -EAGAIN;
}

/* A sink with an empty queue that takes nothing: the kernel gave up, and said so by an error of the
 * socket, which stays for whoever reads it; or it is out of memory for sockets and tries again. */
static bool is_given_up(const struct cv_flow *flow, const struct cv_sockmap_slot *slot)
{
	struct pollfd sink = {.fd = flow->sink_fd};

	return (poll(&sink, 1, 0) == 1 && (sink.revents & POLLERR)) ||
	       cv_ring_now_ms(flow->env->ring) > slot->asked_ms + GIVE_UP_MS;
}

/* 0 = the sink has taken everything that was redirected; -EAGAIN = not yet; else -errno. */
static int flushed(struct cv_flow *flow)
{
	struct cv_sockmap_slot *slot = slot_of(flow);
	struct cv_relay_flow *kernel = slot->kernel;
	uint64_t taken;
	int queued, error = written_bytes(flow->sink_fd, &taken, &queued);

	if (error)
		return error;
	taken -= kernel->sink_base;
	if (taken >= kernel->moved_bytes || !cv_rule_holds("relay-close"))
		return 0;
	if (taken != slot->written_bytes) {
		slot->written_bytes = taken;
		slot->wait_ms = 1;
		flow->last_move_ms = slot->asked_ms = cv_ring_now_ms(flow->env->ring);
	} else if (queued == 0 && is_given_up(flow, slot)) {
		return -EPIPE;
	}
	return -EAGAIN;
}

static void ask_again(struct cv_flow *flow)
{
	struct cv_sockmap_slot *slot = slot_of(flow);

	cv_sockmap_wait(flow->env->sockmap, slot, slot->wait_ms);
	if (slot->wait_ms < WAIT_MAX_MS)
		slot->wait_ms *= 2;
}

static void ask_from_now(struct cv_flow *flow, enum sockmap_state state)
{
	flow->state = state;
	slot_of(flow)->wait_ms = 1;
	slot_of(flow)->asked_ms = cv_ring_now_ms(flow->env->ring);
	cv_sockmap_due(slot_of(flow));
}

/* ---- going live --------------------------------------------------------------------------- */

/* The source looks at what it has: setting the mark is what makes it. */
static void kick(int fd)
{
	const int one = 1;

	if (cv_rule_holds("relay-kick"))
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof(one));
}

static int insert(struct cv_flow *flow, struct cv_sockmap_slot *slot)
{
	const struct cv_kernel *maps = cv_sockmap_kernel(flow->env->sockmap);
	struct cv_relay_flow *kernel = slot->kernel;
	socklen_t len_bytes = sizeof(kernel->source_cookie);
	uint64_t fd = (uint64_t)flow->source_fd;
	int error = 0;

	if (getsockopt(flow->source_fd, SOL_SOCKET, SO_COOKIE, &kernel->source_cookie,
		       &len_bytes) < 0 ||
	    bpf_map_update_elem(maps->relay_slots_fd, &kernel->source_cookie, &slot->index,
				BPF_ANY) < 0)
		return -errno;
	__atomic_store_n(&kernel->mode, CV_RELAY_REDIRECT, __ATOMIC_RELEASE);
	if (!cv_rule_holds("relay-kick")) { /* so that it is seen to be needed */
		struct pollfd gap = {.fd = flow->source_fd, .events = POLLIN};

		(void)poll(&gap, 1, 200);
	}
	if (bpf_map_update_elem(maps->relay_sources_fd, &slot->index, &fd, BPF_NOEXIST) < 0) {
		error = -errno;
		__atomic_store_n(&kernel->mode, CV_RELAY_PASS, __ATOMIC_RELEASE);
		return error;
	}
	slot->in_sources = true;
	return 0;
}

/* The source was just read until nothing was left, and all of it is delivered. 0 = the program
 * redirects; -EAGAIN = something is still on its way to recv(2); else this socket is refused. */
static int go_live(struct cv_flow *flow)
{
	struct cv_sockmap_slot *slot = slot_of(flow);
	struct cv_relay_flow *kernel = slot->kernel;
	uint64_t taken = 0;
	int error = written_exactly(flow->sink_fd, &taken);

	if (error)
		return error;
	/* The program does not look at these now: it is not attached, or it passes. */
	kernel->limit_bytes = CV_RELAY_LIMIT_BYTES;
	kernel->sink_base = taken - kernel->moved_bytes;
	slot->written_bytes = kernel->moved_bytes;
	slot->live_ms = cv_ring_now_ms(flow->env->ring);
	if (!slot->in_sources) {
		error = insert(flow, slot);
		if (!error)
			kick(flow->source_fd);
		return error;
	}
	__atomic_store_n(&kernel->resume_bytes, slot->read_bytes, __ATOMIC_RELEASE);
	__atomic_store_n(&kernel->mode, CV_RELAY_REDIRECT, __ATOMIC_SEQ_CST);
	/* Once equal, they stay equal: from then on nothing is passed. */
	if (__atomic_load_n(&kernel->passed_bytes, __ATOMIC_SEQ_CST) != slot->read_bytes)
		return -EAGAIN;
	kick(flow->source_fd);
	return 0;
}

static void move(struct cv_flow *flow)
{
	flow->state = SOCKMAP_MOVING;
	flow->op.done = woken;
	/* Not POLLIN: it would fire for each packet that the program redirects. */
	cv_ring_poll(flow->env->ring, &flow->op, flow->source_fd, POLLRDHUP);
	cv_sockmap_active(flow->env->sockmap);
}

/* ---- by hand ------------------------------------------------------------------------------ */

static void source_ended(struct cv_flow *flow, int result)
{
	if (result)
		flow_end(flow, result, CV_FLOW_SOURCE);
	else
		ask_from_now(flow, SOCKMAP_CLOSING);
}

/* What the program left to recv(2) waits in a queue of the socket's, behind what was redirected to
 * that socket; meanwhile recv(2) says that the source ended, if its FIN is here. */
static bool is_all_read(const struct cv_sockmap_slot *slot)
{
	return !slot->in_sources || !cv_rule_holds("relay-end") ||
	       __atomic_load_n(&slot->kernel->passed_bytes, __ATOMIC_ACQUIRE) <= slot->read_bytes;
}

/* recv(2) says that the source ended. 0 = not yet; -ESHUTDOWN = it did, by @ret_end. */
static int source_end(struct cv_flow *flow, int *ret_end)
{
	struct cv_sockmap_slot *slot = slot_of(flow);
	uint64_t now_ms = cv_ring_now_ms(flow->env->ring);

	*ret_end = 0;
	if (is_all_read(slot))
		return -ESHUTDOWN;
	slot->fin_seen = true;
	if (!slot->early_end_ms)
		slot->early_end_ms = now_ms;
	if (now_ms < slot->early_end_ms + GIVE_UP_MS)
		return 0;
	*ret_end = -ECONNRESET;
	return -ESHUTDOWN;
}

/* From the source to the sink. 0 = the source has no more now; -EAGAIN = sink full; 1 = the turn is
 * over; -ESHUTDOWN = the source ended, by @ret_end; else -errno of the sink. */
static int copy_turn(struct cv_flow *flow, int *ret_end)
{
	static _Thread_local uint8_t bytes[HAND_BYTES];
	struct cv_sockmap_slot *slot = slot_of(flow);
	int error = cv_flow_deliver_block(flow);

	for (size_t done = 0; !error && done < TURN_BYTES;) {
		ssize_t taken = recv(flow->source_fd, bytes, sizeof(bytes), MSG_DONTWAIT);

		if (taken < 0 && errno == EAGAIN)
			return 0;
		if (taken == 0)
			return source_end(flow, ret_end);
		if (taken < 0) {
			*ret_end = -errno;
			return -ESHUTDOWN;
		}
		if (slot->in_sources)
			slot->read_bytes += (uint64_t)taken;
		slot->early_end_ms = 0;
		done += (size_t)taken;
		error = cv_flow_deliver(flow, bytes, (size_t)taken);
	}
	return error ? error : 1;
}

static void copy_wait(struct cv_flow *flow, bool more)
{
	struct cv_sockmap_slot *slot = slot_of(flow);

	flow->state = SOCKMAP_COPYING;
	if (!slot->fin_seen) {
		cv_flow_wait_source(flow, woken);
		return;
	}
	/* FIN is known, but not all before it is here: a poll would be over again and again. */
	if (more || !slot->wait_ms)
		slot->wait_ms = 1;
	ask_again(flow);
}

static bool is_held(const struct cv_flow *flow, const struct cv_sockmap_slot *slot)
{
	return slot->refused || cv_ring_now_ms(flow->env->ring) < slot->hold_until_ms;
}

static void copy_on(struct cv_flow *flow)
{
	struct cv_sockmap_slot *slot = slot_of(flow);
	int end = 0, error = copy_turn(flow, &end);

	if (error == -EAGAIN) {
		flow->state = SOCKMAP_BLOCKED;
		cv_flow_blocked(flow);
		cv_flow_wait_sink(flow, woken);
	} else if (error == -ESHUTDOWN) {
		source_ended(flow, end);
	} else if (error < 0) {
		flow_end(flow, error, CV_FLOW_SINK);
	} else if (error > 0 || slot->fin_seen || is_held(flow, slot)) {
		copy_wait(flow, error > 0);
	} else {
		error = go_live(flow);
		if (!error) {
			move(flow);
			return;
		}
		if (error != -EAGAIN)
			slot->refused = (int16_t)error;
		copy_wait(flow, false);
	}
}

/* ---- what happens ------------------------------------------------------------------------- */

/* No operation is pending meanwhile, and none would be for the source. */
static void source_died(struct cv_watch *watch, bool error)
{
	struct cv_flow *flow = cv_container_of(watch, struct cv_flow, source_watch);

	if (error && (flow->state == SOCKMAP_FLUSHING || flow->state == SOCKMAP_BLOCKED))
		cv_flow_stop_with(flow, -ECONNRESET, CV_FLOW_SOURCE);
}

static void flush_first(struct cv_flow *flow)
{
	flow->source_watch.died = source_died;
	(void)cv_ring_watch(flow->env->ring, &flow->source_watch, flow->source_fd);
	ask_from_now(flow, SOCKMAP_FLUSHING);
}

/* The source said FIN. Asking for its first byte also lets the program see all that came before;
 * what that passes must come after what it redirected. */
static void close_when_flushed(struct cv_flow *flow)
{
	uint8_t byte;
	ssize_t peeked = recv(flow->source_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	int error;

	if (peeked > 0 || (peeked == 0 && !is_all_read(slot_of(flow)))) {
		flow->state = SOCKMAP_FLUSHING;
		ask_again(flow);
		return;
	}
	if (peeked < 0 && errno != EAGAIN) {
		flow_end(flow, -errno, CV_FLOW_SOURCE);
		return;
	}
	error = peeked < 0 ? -EAGAIN : flushed(flow);
	if (error == -EAGAIN)
		ask_again(flow);
	else
		flow_end(flow, error, CV_FLOW_SINK);
}

static void copy_when_flushed(struct cv_flow *flow)
{
	int error = flushed(flow);

	if (error == -EAGAIN)
		ask_again(flow);
	else if (error)
		flow_end(flow, error, CV_FLOW_SINK);
	else
		copy_on(flow);
}

void cv_sockmap_due(struct cv_sockmap_slot *slot)
{
	struct cv_flow *flow = slot->flow;

	if (flow->op.pending) /* its completion goes on */
		return;
	if (flow->stopping) {
		struct cv_flow *ending = flow;

		flow_end(ending, ending->stop_result, ending->failed_side);
		return;
	}
	if (flow->state == SOCKMAP_FAILED)
		flow_end(flow, slot->refused, flow->failed_side);
	else if (flow->state == SOCKMAP_CLOSING)
		close_when_flushed(flow);
	else if (flow->state == SOCKMAP_FLUSHING)
		copy_when_flushed(flow);
	else if (flow->state == SOCKMAP_COPYING)
		copy_on(flow);
}

void cv_sockmap_limited(struct cv_sockmap_slot *slot)
{
	struct cv_flow *flow = slot->flow;
	uint64_t now_ms = cv_ring_now_ms(flow->env->ring);

	if (flow->state != SOCKMAP_MOVING || flow->stopping ||
	    __atomic_load_n(&slot->kernel->mode, __ATOMIC_ACQUIRE) != CV_RELAY_PASS)
		return;
	cv_flow_blocked(flow);
	if (!slot->hold_ms || now_ms > slot->live_ms + CALM_MS)
		slot->hold_ms = HOLD_FIRST_MS;
	slot->hold_until_ms = now_ms + slot->hold_ms;
	if (slot->hold_ms < HOLD_MAX_MS)
		slot->hold_ms *= 2;
	flow->state = SOCKMAP_FLUSHING;
	cv_ring_cancel(flow->env->ring, &flow->op);
}

/* A poll is over: of the source for its FIN (MOVING; FLUSHING when cancelled) or for bytes
 * (COPYING), or of the sink for room (BLOCKED). */
static void woken(struct cv_op *op, int result, uint32_t flags)
{
	struct cv_flow *flow = cv_container_of(op, struct cv_flow, op);
	struct cv_sockmap_slot *slot = slot_of(flow);

	(void)flags;
	cv_flow_woken(flow);
	if (flow->stopping) {
		flow_end(flow, flow->stop_result, flow->failed_side);
		return;
	}
	if (result < 0 && result != -ECANCELED) {
		flow_end(flow, result,
			 flow->state == SOCKMAP_BLOCKED ? CV_FLOW_SINK : CV_FLOW_SOURCE);
		return;
	}
	if (result > 0 && (result & POLLRDHUP) && flow->state != SOCKMAP_BLOCKED)
		slot->fin_seen = true;
	if (flow->state == SOCKMAP_MOVING)
		ask_from_now(flow, SOCKMAP_CLOSING);
	else if (flow->state == SOCKMAP_FLUSHING)
		flush_first(flow);
	else
		copy_on(flow);
}

/* ---- the five ----------------------------------------------------------------------------- */

static int sockmap_start(struct cv_flow *flow)
{
	struct cv_sockmap_slot *slot;
	struct tcp_info info = {0};
	int end = 0, error;

	if (!flow->env->sockmap)
		return -ENOTSUP;
	error = tcp_info(flow->source_fd, &info);
	if (!error && info.tcpi_state != STATE_ESTABLISHED)
		error = -EOPNOTSUPP;
	if (!error)
		error = cv_sockmap_take(flow->env->sockmap, flow, &slot);
	if (error)
		return error;
	cv_flow_begin(flow, &cv_engine_sockmap);
	flow->slot = slot->index;
	flow->op.done = woken;
	error = copy_turn(flow, &end);
	if (error == 0)
		error = go_live(flow);
	if (error == 0) {
		move(flow);
	} else if (error == -EAGAIN && flow->block) {
		flow->state = SOCKMAP_BLOCKED;
		cv_flow_wait_sink(flow, woken);
	} else if (error > 0 || error == -EAGAIN) {
		copy_wait(flow, error > 0);
	} else if (error == -ESHUTDOWN ? end < 0 : error == -EPIPE || error == -ECONNRESET) {
		slot->refused = (int16_t)(end ? end : error);
		flow->failed_side = end ? CV_FLOW_SOURCE : CV_FLOW_SINK;
		flow->state = SOCKMAP_FAILED;
		cv_sockmap_wait(flow->env->sockmap, slot, 0);
	} else {
		cv_sockmap_give(flow->env->sockmap, slot);
		return error == -ESHUTDOWN ? -EOPNOTSUPP : error;
	}
	return 0;
}

static void sockmap_stop(struct cv_flow *flow)
{
	bool first = !flow->stopping;

	cv_flow_stop(flow);
	if (first && !flow->op.pending)
		cv_sockmap_wait(flow->env->sockmap, slot_of(flow), 0);
}

static void sockmap_describe(const struct cv_flow *flow, char *text, size_t size_bytes)
{
	const struct cv_sockmap_slot *slot = slot_of(flow);
	uint64_t queued = slot->kernel->moved_bytes - slot->written_bytes;

	switch (flow->state) {
	case SOCKMAP_MOVING:
		(void)snprintf(text, size_bytes,
			       "sockmap: the kernel waits for source, went back to user space %u "
			       "times",
			       slot->kernel->limited);
		break;
	case SOCKMAP_COPYING:
		(void)snprintf(text, size_bytes, "sockmap: by hand, waiting for source%s",
			       slot->refused ? ", refused" : "");
		break;
	case SOCKMAP_BLOCKED:
		(void)snprintf(text, size_bytes,
			       "sockmap: by hand, waiting for sink, %u bytes in the block",
			       flow->block_end - flow->block_at);
		break;
	default:
		(void)snprintf(text, size_bytes,
			       "sockmap: waiting for sink, %llu bytes on their way%s",
			       (unsigned long long)queued, slot->fin_seen ? ", then FIN" : "");
		break;
	}
}

const struct cv_engine cv_engine_sockmap = {
	.name = "sockmap",
	.start = sockmap_start,
	.poll_progress = poll_progress,
	.half_close = cv_flow_half_close,
	.stop = sockmap_stop,
	.describe = sockmap_describe,
};
