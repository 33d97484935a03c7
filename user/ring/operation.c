// SPDX-License-Identifier: MIT
/*
 * operation.c - the life of one operation, from its start to its last completion.
 *
 *   start -> kernel -----------------------------------------> done()
 *              | recv, no buffer:        starved --buffer back--> kernel
 *              | accept, no descriptor:  paused --100 ms--------> kernel
 *              | accept ended by itself: ------------------------> kernel
 *   cancel of a starved or paused one, or no room to submit: finished -> done() in the next turn
 *
 * user_data is the operation's address; a cancel's own completion carries 0 and touches nobody. A
 * cancel names its victim by address too: submissions are processed in order, so it can only meet
 * the operation that was started before it, never a later one at the same address.
 */
#include "base/container.h"
#include "base/log.h"
#include "ring/internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

static void list_append(struct cv_op_list *list, struct cv_op *op, uint8_t place)
{
	op->place = place;
	op->next = NULL;
	if (list->last)
		list->last->next = op;
	else
		list->first = op;
	list->last = op;
	list->count++;
}

static struct cv_op *list_pop(struct cv_op_list *list)
{
	struct cv_op *op = list->first;

	if (!op)
		return NULL;
	list->first = op->next;
	if (!list->first)
		list->last = NULL;
	list->count--;
	return op;
}

static void finish_later(struct cv_ring *ring, struct cv_op *op, int result)
{
	op->fd = result;
	list_append(&ring->finished, op, CV_OP_FINISHED);
}

/* A free submission entry; a full queue goes to the kernel first. */
static struct io_uring_sqe *sqe_take(struct cv_ring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

	for (int attempt = 0; !sqe && attempt < 4; attempt++) {
		(void)io_uring_submit(&ring->uring);
		sqe = io_uring_get_sqe(&ring->uring);
	}
	return sqe;
}

/* Entry for @op, or NULL after arranging that it ends with -EBUSY. */
static struct io_uring_sqe *sqe_for(struct cv_ring *ring, struct cv_op *op, uint8_t kind, int fd)
{
	struct io_uring_sqe *sqe = sqe_take(ring);

	op->pending = true;
	op->kind = kind;
	op->place = CV_OP_IN_KERNEL;
	op->fd = fd;
	op->next = NULL;
	if (!sqe)
		finish_later(ring, op, -EBUSY);
	return sqe;
}

static void op_end(struct cv_op *op, int result, uint32_t flags)
{
	op->pending = false;
	op->done(op, result, flags);
}

/* ---- accept ------------------------------------------------------------------------------- */

static void accept_submit(struct cv_ring *ring, struct cv_op *op)
{
	struct io_uring_sqe *sqe = sqe_for(ring, op, CV_OP_ACCEPT, op->fd);
	const int flags = SOCK_NONBLOCK | SOCK_CLOEXEC;

	if (!sqe)
		return;
	if (ring->features.multishot_accept)
		io_uring_prep_multishot_accept(sqe, op->fd, NULL, NULL, flags);
	else
		io_uring_prep_accept(sqe, op->fd, NULL, NULL, flags);
	io_uring_sqe_set_data(sqe, op);
}

void cv_ring_accept(struct cv_ring *ring, struct cv_op *op, int listener_fd)
{
	op->cancelled = false;
	op->fd = listener_fd;
	accept_submit(ring, op);
}

void cv_ops_unpause(struct cv_timer *timer)
{
	struct cv_ring *ring = cv_container_of(timer, struct cv_ring, pause_timer);

	for (uint32_t left = ring->paused.count; left; left--) {
		struct cv_op *op = list_pop(&ring->paused);

		if (op->cancelled)
			finish_later(ring, op, -ECANCELED);
		else
			accept_submit(ring, op);
	}
}

static bool out_of_resources(int result)
{
	return result == -EMFILE || result == -ENFILE || result == -ENOBUFS || result == -ENOMEM;
}

/* The connection died between SYN and accept: the listener itself is fine (accept(2), "Error
 * handling"). */
static bool accept_goes_on(int result)
{
	return result >= 0 || result == -ECONNABORTED || result == -EAGAIN || result == -EINTR ||
	       result == -EPERM || result == -EPROTO || result == -ENETDOWN ||
	       result == -EHOSTDOWN || result == -EHOSTUNREACH || result == -ENETUNREACH ||
	       result == -ETIMEDOUT || result == -ECONNRESET;
}

static void accept_completed(struct cv_ring *ring, struct cv_op *op, int result, uint32_t flags)
{
	if (flags & IORING_CQE_F_MORE) {
		op->done(op, result, flags);
		return;
	}
	if (!op->cancelled && out_of_resources(result)) {
		list_append(&ring->paused, op, CV_OP_PAUSED);
		if (!ring->pause_timer.heap_index)
			cv_timer_arm(ring, &ring->pause_timer, ring->now_ms + CV_ACCEPT_PAUSE_MS);
		op->done(op, result, flags);
		return;
	}
	if (op->cancelled || !accept_goes_on(result)) {
		op_end(op, result, flags);
		return;
	}
	accept_submit(ring, op);
	if (result >= 0)
		op->done(op, result, flags | IORING_CQE_F_MORE);
}

/* ---- recv --------------------------------------------------------------------------------- */

static void recv_submit(struct cv_ring *ring, struct cv_op *op)
{
	struct io_uring_sqe *sqe = sqe_for(ring, op, CV_OP_RECV, op->fd);

	if (!sqe)
		return;
	if (ring->features.buffer_ring) {
		io_uring_prep_recv(sqe, op->fd, NULL, ring->buffers.size_bytes, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = CV_RING_BUFFER_GROUP;
	} else {
		io_uring_prep_poll_add(sqe, op->fd, POLLIN | POLLRDHUP);
	}
	io_uring_sqe_set_data(sqe, op);
}

void cv_ring_recv(struct cv_ring *ring, struct cv_op *op, int fd)
{
	op->cancelled = false;
	op->fd = fd;
	recv_submit(ring, op);
}

/* Nothing was received and nothing is wrong. */
static bool interrupted(int result)
{
	return result == -EINTR || result == -EAGAIN;
}

static void recv_starve(struct cv_ring *ring, struct cv_op *op)
{
	if (op->cancelled)
		op_end(op, -ECANCELED, 0);
	else
		list_append(&ring->starved, op, CV_OP_STARVED);
}

/* The poll that stands for a recv ended: receive by hand. */
static void recv_by_hand(struct cv_ring *ring, struct cv_op *op, int result)
{
	uint32_t flags = 0;
	ssize_t count_bytes;

	if (result < 0) {
		op_end(op, result, 0);
		return;
	}
	if (!cv_buffers_pop(ring, &flags)) {
		recv_starve(ring, op);
		return;
	}
	count_bytes = recv(op->fd, cv_ring_buffer(ring, flags), ring->buffers.size_bytes,
			   MSG_DONTWAIT);
	result = count_bytes < 0 ? -errno : (int)count_bytes;
	if (result <= 0)
		cv_ring_buffer_give(ring, flags);
	if (interrupted(result) && !op->cancelled)
		recv_submit(ring, op);
	else
		op_end(op, result, result > 0 ? flags : 0);
}

static void recv_completed(struct cv_ring *ring, struct cv_op *op, int result, uint32_t flags)
{
	if (!ring->features.buffer_ring) {
		recv_by_hand(ring, op, result);
		return;
	}
	if (flags & IORING_CQE_F_BUFFER) {
		cv_buffers_taken(ring);
		if (result <= 0) { /* an end of stream may have cost a buffer, the owner has none */
			cv_ring_buffer_give(ring, flags);
			flags = 0;
		}
	}
	if (result == -ENOBUFS) {
		cv_buffers_widen(ring);
		recv_starve(ring, op);
	} else if (interrupted(result) && !op->cancelled) {
		recv_submit(ring, op);
	} else {
		op_end(op, result, flags);
	}
}

/* ---- connect, send, poll, cancel ---------------------------------------------------------- */

void cv_ring_connect(struct cv_ring *ring, struct cv_op *op, int fd,
		     const struct cv_sockaddr *address)
{
	struct io_uring_sqe *sqe = sqe_for(ring, op, CV_OP_PLAIN, fd);

	op->cancelled = false;
	if (!sqe)
		return;
	io_uring_prep_connect(sqe, fd, &address->any, address->len_bytes);
	io_uring_sqe_set_data(sqe, op);
}

void cv_ring_send(struct cv_ring *ring, struct cv_op *op, int fd, const void *bytes,
		  size_t count_bytes)
{
	struct io_uring_sqe *sqe = sqe_for(ring, op, CV_OP_PLAIN, fd);

	op->cancelled = false;
	if (!sqe)
		return;
	io_uring_prep_send(sqe, fd, bytes, count_bytes, MSG_NOSIGNAL);
	io_uring_sqe_set_data(sqe, op);
}

void cv_ring_poll(struct cv_ring *ring, struct cv_op *op, int fd, uint32_t mask)
{
	struct io_uring_sqe *sqe = sqe_for(ring, op, CV_OP_PLAIN, fd);

	op->cancelled = false;
	if (!sqe)
		return;
	io_uring_prep_poll_add(sqe, fd, mask);
	io_uring_sqe_set_data(sqe, op);
}

void cv_ring_cancel(struct cv_ring *ring, struct cv_op *op)
{
	struct io_uring_sqe *sqe;

	if (!op->pending || op->cancelled)
		return;
	if (op->place == CV_OP_IN_KERNEL) {
		sqe = sqe_take(ring);
		if (!sqe)
			return; /* as if it had come too late; the owner may ask again */
		io_uring_prep_cancel(sqe, op, 0);
		io_uring_sqe_set_data64(sqe, 0);
	} else {
		ring->sweep_wanted = true;
	}
	op->cancelled = true;
}

/* ---- what the turn calls ------------------------------------------------------------------ */

void cv_op_complete(struct cv_ring *ring, struct cv_op *op, int result, uint32_t flags)
{
	if (op->kind == CV_OP_ACCEPT)
		accept_completed(ring, op, result, flags);
	else if (op->kind == CV_OP_RECV)
		recv_completed(ring, op, result, flags);
	else
		op_end(op, result, flags);
}

static void list_sweep(struct cv_ring *ring, struct cv_op_list *list, uint8_t place)
{
	for (uint32_t left = list->count; left; left--) {
		struct cv_op *op = list_pop(list);

		if (op->cancelled)
			finish_later(ring, op, -ECANCELED);
		else
			list_append(list, op, place);
	}
}

void cv_ops_retry(struct cv_ring *ring)
{
	if (ring->sweep_wanted) {
		ring->sweep_wanted = false;
		list_sweep(ring, &ring->starved, CV_OP_STARVED);
		list_sweep(ring, &ring->paused, CV_OP_PAUSED);
	}
	/*
	 * Not more than there are buffers: the others would only come back. Those that find no
	 * bytes wait in the kernel without a buffer, so the turn does not sleep before all had
	 * their try.
	 */
	for (uint32_t left = ring->buffers.kernel_count + ring->buffers.spare_count;
	     left && ring->starved.count; left--)
		recv_submit(ring, list_pop(&ring->starved));
}

void cv_ops_finish(struct cv_ring *ring)
{
	for (uint32_t left = ring->finished.count; left; left--) {
		struct cv_op *op = list_pop(&ring->finished);

		op_end(op, op->fd, 0);
	}
}
