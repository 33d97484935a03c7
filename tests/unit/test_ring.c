// SPDX-License-Identifier: MIT
/*
 * test_ring.c - operations, buffers, posts and watches, with all kernel features and with none.
 */
#include "base/clock.h"
#include "base/container.h"
#include "ring/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define F_MORE 2u /* IORING_CQE_F_MORE, which the flags of done() promise */

struct probe {
	struct cv_op op;
	int calls, result, last_pending;
	uint32_t flags;
	int accepted[64];
};

static bool in_turn;

static void probe_done(struct cv_op *op, int result, uint32_t flags)
{
	struct probe *probe = cv_container_of(op, struct probe, op);

	assert_true(in_turn);
	if (result >= 0 && probe->calls < 64)
		probe->accepted[probe->calls] = result;
	probe->calls++;
	probe->result = result;
	probe->flags = flags;
	probe->last_pending = op->pending;
}

static void turn(struct cv_ring *ring)
{
	in_turn = true;
	assert_int_equal(cv_ring_turn(ring), 0);
	in_turn = false;
}

static void tick(struct cv_timer *timer)
{
	(void)timer;
}

/* Turns until @count is reached or @ms went by. */
static void turn_until(struct cv_ring *ring, const int *count, int wanted, uint64_t ms)
{
	struct cv_timer guard = {.due = tick};
	uint64_t end_ms = cv_clock_ms() + ms;

	while (*count < wanted && cv_clock_ms() < end_ms) {
		cv_timer_arm(ring, &guard, cv_clock_ms() + 20);
		turn(ring);
	}
	cv_timer_disarm(ring, &guard);
}

static struct cv_ring *ring_with(void **state, uint32_t entries, uint32_t buffers, uint32_t bytes)
{
	const struct cv_ring_config config = {
		.entry_count = entries,
		.buffer_count = buffers,
		.buffer_bytes = bytes,
		.plain = *state != NULL,
	};
	struct cv_ring *ring = NULL;

	assert_int_equal(cv_ring_new(&config, &ring), 0);
	return ring;
}

static void pair(int fds[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
			 0);
}

static void close_pair(const int fds[2])
{
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static int listener(struct cv_sockaddr *ret_address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	memset(ret_address, 0, sizeof(*ret_address));
	ret_address->len_bytes = sizeof(ret_address->in);
	ret_address->in.sin_family = AF_INET;
	ret_address->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, &ret_address->any, ret_address->len_bytes), 0);
	assert_int_equal(listen(fd, 128), 0);
	assert_int_equal(getsockname(fd, &ret_address->any, &ret_address->len_bytes), 0);
	return fd;
}

static int dial(const struct cv_sockaddr *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, &address->any, address->len_bytes), 0);
	return fd;
}

static void reset(int fd)
{
	const struct linger linger = {.l_onoff = 1};

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	(void)close(fd);
}

static double cpu_s(void)
{
	struct timespec used;

	assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used), 0);
	return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* ---- recv and buffers --------------------------------------------------------------------- */

static void recv_bytes_then_end(void **state)
{
	struct cv_ring *ring = ring_with(state, 8, 4, 16);
	struct probe probe = {.op.done = probe_done};
	int fds[2];

	pair(fds);
	cv_ring_recv(ring, &probe.op, fds[0]);
	assert_true(probe.op.pending);
	assert_int_equal(write(fds[1], "twenty bytes exactly", 20), 20);
	turn_until(ring, &probe.calls, 1, 1000);
	assert_int_equal(probe.result, 16); /* one buffer, not more */
	assert_false(probe.last_pending);
	assert_memory_equal(cv_ring_buffer(ring, probe.flags), "twenty bytes exa", 16);
	cv_ring_buffer_give(ring, probe.flags);
	assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
	cv_ring_recv(ring, &probe.op, fds[0]);
	turn_until(ring, &probe.calls, 2, 1000);
	assert_int_equal(probe.result, 4);
	cv_ring_buffer_give(ring, probe.flags);
	/* more ends than buffers: an end must not cost one */
	for (int i = 3; i < 20; i++) {
		cv_ring_recv(ring, &probe.op, fds[0]);
		turn_until(ring, &probe.calls, i, 1000);
		assert_int_equal(probe.result, 0);
	}
	close_pair(fds);
	cv_ring_free(ring);
}

static void recv_reports_reset(void **state)
{
	struct cv_ring *ring = ring_with(state, 8, 4, 16);
	struct probe probe = {.op.done = probe_done};
	struct cv_sockaddr address;
	int listening = listener(&address), peer = dial(&address);
	int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK);

	cv_ring_recv(ring, &probe.op, fd);
	reset(peer);
	turn_until(ring, &probe.calls, 1, 1000);
	assert_int_equal(probe.result, -ECONNRESET);
	(void)close(fd);
	(void)close(listening);
	cv_ring_free(ring);
}

/* Waiting costs no buffer; when all are taken the rest waits and misses nothing. */
static void recv_starves_and_recovers(void **state)
{
	enum { FLOWS = 40, BUFFERS = 4 };
	struct cv_ring *ring = ring_with(state, 64, BUFFERS, 16);
	struct probe probes[FLOWS], extra = {.op.done = probe_done};
	int fds[FLOWS][2], served = 0, guard = 0, never = 0;
	bool given[FLOWS] = {false};

	memset(probes, 0, sizeof(probes));
	for (int i = 0; i < FLOWS; i++) {
		pair(fds[i]);
		probes[i].op.done = probe_done;
		cv_ring_recv(ring, &probes[i].op, fds[i][0]);
	}
	turn_until(ring, &served, 1, 50);
	for (int i = 0; i < FLOWS; i++) {
		assert_int_equal(probes[i].calls, 0);
		assert_int_equal(write(fds[i][1], &(uint8_t){(uint8_t)i}, 1), 1);
	}
	turn_until(ring, &served, 1, 100);
	for (int i = 0; i < FLOWS; i++)
		served += probes[i].calls;
	assert_int_equal(served, BUFFERS);
	/* an idle newcomer in the queue does not keep those with bytes from being served */
	cv_ring_recv(ring, &extra.op, fds[0][1]);
	for (served = 0; served < FLOWS && guard < 1000; guard++) {
		turn_until(ring, &never, 1, 1);
		for (int i = 0; i < FLOWS; i++) {
			if (!probes[i].calls || given[i])
				continue;
			assert_int_equal(probes[i].result, 1);
			assert_int_equal(*cv_ring_buffer(ring, probes[i].flags), i);
			cv_ring_buffer_give(ring, probes[i].flags);
			given[i] = true;
			served++;
		}
	}
	assert_int_equal(served, FLOWS);
	assert_int_equal(extra.calls, 0);
	cv_ring_cancel(ring, &extra.op);
	turn_until(ring, &extra.calls, 1, 1000);
	assert_int_equal(extra.result, -ECANCELED);
	for (int i = 0; i < FLOWS; i++)
		close_pair(fds[i]);
	cv_ring_free(ring);
}

static void starved_recv_can_be_cancelled(void **state)
{
	struct cv_ring *ring = ring_with(state, 8, 1, 16);
	struct probe holder = {.op.done = probe_done}, starved = {.op.done = probe_done};
	int fds[2][2];

	pair(fds[0]);
	pair(fds[1]);
	assert_int_equal(write(fds[0][1], "a", 1), 1);
	assert_int_equal(write(fds[1][1], "b", 1), 1);
	cv_ring_recv(ring, &holder.op, fds[0][0]);
	turn_until(ring, &holder.calls, 1, 1000);
	cv_ring_recv(ring, &starved.op, fds[1][0]);
	turn_until(ring, &starved.calls, 1, 50);
	assert_int_equal(starved.calls, 0);
	cv_ring_cancel(ring, &starved.op);
	assert_int_equal(starved.calls, 0);
	turn_until(ring, &starved.calls, 1, 1000);
	assert_int_equal(starved.result, -ECANCELED);
	assert_false(starved.op.pending);
	cv_ring_buffer_give(ring, holder.flags);
	cv_ring_recv(ring, &starved.op, fds[1][0]); /* nothing was lost by it */
	turn_until(ring, &starved.calls, 2, 1000);
	assert_int_equal(starved.result, 1);
	cv_ring_buffer_give(ring, starved.flags);
	close_pair(fds[0]);
	close_pair(fds[1]);
	cv_ring_free(ring);
}

/* One turn that is given much time must end as soon as there is something to do. */
static void turn_at_once(struct cv_ring *ring)
{
	struct cv_timer guard = {.due = tick};
	uint64_t started_ms = cv_clock_ms();

	cv_timer_arm(ring, &guard, started_ms + 2000);
	turn(ring);
	cv_timer_disarm(ring, &guard);
	assert_true(cv_clock_ms() - started_ms < 1000);
}

static void turns_do_not_sleep_over_starved_recvs(void **state)
{
	enum { IDLE = 5 };
	struct cv_ring *ring = ring_with(state, 16, 1, 16);
	struct probe holder = {.op.done = probe_done}, last = {.op.done = probe_done}, idle[IDLE];
	int fds[IDLE + 2][2];

	memset(idle, 0, sizeof(idle));
	for (int i = 0; i < IDLE + 2; i++)
		pair(fds[i]);
	assert_int_equal(write(fds[0][1], "a", 1), 1);
	assert_int_equal(write(fds[1][1], "b", 1), 1);
	cv_ring_recv(ring, &holder.op, fds[0][0]);
	turn_until(ring, &holder.calls, 1, 1000);
	for (int i = 0; i < IDLE; i++) {
		idle[i].op.done = probe_done;
		cv_ring_recv(ring, &idle[i].op, fds[i + 2][0]);
	}
	cv_ring_recv(ring, &last.op, fds[1][0]);
	turn_until(ring, &last.calls, 1, 50);
	assert_int_equal(last.calls, 0);
	cv_ring_buffer_give(ring, holder.flags);
	/* one buffer, and those in front of the queue have no use for it */
	for (int i = 0; i < IDLE + 2 && !last.calls; i++)
		turn_at_once(ring);
	assert_int_equal(last.calls, 1);
	/* nor over the end of one that never was with the kernel */
	cv_ring_recv(ring, &holder.op, fds[0][0]);
	assert_int_equal(write(fds[0][1], "c", 1), 1);
	turn_until(ring, &holder.calls, 2, 50);
	assert_int_equal(holder.calls, 1);
	cv_ring_cancel(ring, &holder.op);
	turn_at_once(ring);
	assert_int_equal(holder.result, -ECANCELED);
	cv_ring_buffer_give(ring, last.flags);
	for (int i = 0; i < IDLE; i++) {
		cv_ring_cancel(ring, &idle[i].op);
		turn_until(ring, &idle[i].calls, 1, 1000);
	}
	for (int i = 0; i < IDLE + 2; i++)
		close_pair(fds[i]);
	cv_ring_free(ring);
}

/* The kernel is shown few buffers at first, but all of them when that is not enough. */
static void all_buffers_can_be_out(void **state)
{
	enum { FLOWS = 128 };
	struct cv_ring *ring = ring_with(state, 256, FLOWS, 16);
	struct probe *probes = calloc(FLOWS, sizeof(*probes));
	int fds[FLOWS][2];

	assert_non_null(probes);
	for (int i = 0; i < FLOWS; i++) {
		pair(fds[i]);
		assert_int_equal(write(fds[i][1], &(uint8_t){(uint8_t)i}, 1), 1);
		probes[i].op.done = probe_done;
		cv_ring_recv(ring, &probes[i].op, fds[i][0]);
	}
	for (int i = 0; i < FLOWS; i++) {
		turn_until(ring, &probes[i].calls, 1, 1000);
		assert_int_equal(probes[i].result, 1);
	}
	for (int i = 0; i < FLOWS; i++)
		assert_int_equal(*cv_ring_buffer(ring, probes[i].flags), (uint8_t)i);
	for (int i = 0; i < FLOWS; i++) {
		cv_ring_buffer_give(ring, probes[i].flags);
		close_pair(fds[i]);
	}
	free(probes);
	cv_ring_free(ring);
}

/* ---- accept ------------------------------------------------------------------------------- */

static void accept_goes_on_until_cancelled(void **state)
{
	enum { CLIENTS = 20 };
	struct cv_ring *ring = ring_with(state, 8, 4, 16);
	struct probe probe = {.op.done = probe_done};
	struct cv_sockaddr address;
	int listening = listener(&address), clients[CLIENTS];

	cv_ring_accept(ring, &probe.op, listening);
	for (int i = 0; i < CLIENTS; i++)
		clients[i] = dial(&address);
	turn_until(ring, &probe.calls, CLIENTS, 2000);
	assert_int_equal(probe.calls, CLIENTS);
	assert_true(probe.op.pending);
	assert_true(probe.last_pending);
	for (int i = 0; i < CLIENTS; i++) {
		assert_true(fcntl(probe.accepted[i], F_GETFL) & O_NONBLOCK);
		assert_true(fcntl(probe.accepted[i], F_GETFD) & FD_CLOEXEC);
		(void)close(probe.accepted[i]);
		(void)close(clients[i]);
	}
	cv_ring_cancel(ring, &probe.op);
	assert_true(probe.op.pending);
	turn_until(ring, &probe.calls, CLIENTS + 1, 1000);
	assert_int_equal(probe.calls, CLIENTS + 1);
	assert_int_equal(probe.result, -ECANCELED);
	assert_false(probe.flags & F_MORE);
	assert_false(probe.op.pending);
	(void)close(listening);
	cv_ring_free(ring);
}

static void accept_of_no_listener_ends(void **state)
{
	struct cv_ring *ring = ring_with(state, 8, 4, 16);
	struct probe probe = {.op.done = probe_done};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	cv_ring_accept(ring, &probe.op, fd);
	turn_until(ring, &probe.calls, 1, 1000);
	assert_int_equal(probe.result, -EINVAL);
	assert_false(probe.op.pending);
	(void)close(fd);
	cv_ring_free(ring);
}

/* Out of descriptors: rest instead of spinning, and go on by itself. */
static void accept_rests_without_descriptors(void **state)
{
	struct cv_ring *ring = ring_with(state, 8, 4, 16);
	struct probe probe = {.op.done = probe_done};
	struct cv_sockaddr address;
	struct rlimit limit, tight;
	int listening = listener(&address), client = dial(&address), none = 0, before;
	double used_s = cpu_s();

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	tight = limit;
	tight.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	cv_ring_accept(ring, &probe.op, listening);
	turn_until(ring, &none, 1, 350);
	assert_in_range(probe.calls, 1, 4); /* each try is told */
	assert_int_equal(probe.result, -EMFILE);
	assert_true(probe.op.pending);
	assert_true(cpu_s() - used_s < 0.15);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	turn_until(ring, &probe.calls, probe.calls + 1, 1000);
	assert_true(probe.result >= 0);
	(void)close(probe.result);
	cv_ring_cancel(ring, &probe.op);
	turn_until(ring, &probe.calls, probe.calls + 1, 1000);
	/* cancelled while resting */
	(void)close(client);
	client = dial(&address);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	cv_ring_accept(ring, &probe.op, listening);
	turn_until(ring, &none, 1, 30);
	before = probe.calls;
	assert_true(probe.op.pending);
	cv_ring_cancel(ring, &probe.op);
	turn_until(ring, &probe.calls, before + 1, 1000);
	assert_int_equal(probe.calls, before + 1);
	assert_int_equal(probe.result, -ECANCELED);
	assert_false(probe.op.pending);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	(void)close(client);
	(void)close(listening);
	cv_ring_free(ring);
}

/* ---- connect, send, poll, cancel ---------------------------------------------------------- */

static void connect_succeeds_and_is_refused(void **state)
{
	struct cv_ring *ring = ring_with(state, 8, 4, 16);
	struct probe probe = {.op.done = probe_done};
	struct cv_sockaddr address;
	int listening = listener(&address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	cv_ring_connect(ring, &probe.op, fd, &address);
	assert_int_equal(probe.calls, 0);
	turn_until(ring, &probe.calls, 1, 1000);
	assert_int_equal(probe.result, 0);
	(void)close(fd);
	(void)close(listening);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	cv_ring_connect(ring, &probe.op, fd, &address);
	turn_until(ring, &probe.calls, 2, 1000);
	assert_int_equal(probe.result, -ECONNREFUSED);
	(void)close(fd);
	cv_ring_free(ring);
}

static void send_and_broken_pipe(void **state)
{
	struct cv_ring *ring = ring_with(state, 8, 4, 16);
	struct probe probe = {.op.done = probe_done};
	char bytes[8] = "";
	int fds[2];

	pair(fds);
	cv_ring_send(ring, &probe.op, fds[0], "eight by", 8);
	turn_until(ring, &probe.calls, 1, 1000);
	assert_int_equal(probe.result, 8);
	assert_int_equal(read(fds[1], bytes, 8), 8);
	assert_memory_equal(bytes, "eight by", 8);
	(void)close(fds[1]);
	cv_ring_send(ring, &probe.op, fds[0], "x", 1); /* SIGPIPE would end this program */
	turn_until(ring, &probe.calls, 2, 1000);
	assert_int_equal(probe.result, -EPIPE);
	(void)close(fds[0]);
	cv_ring_free(ring);
}

/* The operation's memory is gone when the cancel's own completion arrives. */
static void cancel_touches_no_freed_operation(void **state)
{
	struct cv_ring *ring = ring_with(state, 8, 4, 16);
	int fds[2];

	pair(fds);
	for (int round = 0; round < 50; round++) {
		struct probe *probe = calloc(1, sizeof(*probe));

		assert_non_null(probe);
		probe->op.done = probe_done;
		cv_ring_poll(ring, &probe->op, fds[0], POLLIN);
		if (round % 2) { /* finished before the cancel gets there */
			assert_int_equal(write(fds[1], "x", 1), 1);
			cv_ring_cancel(ring, &probe->op);
			cv_ring_cancel(ring, &probe->op);
		} else {
			turn_until(ring, &probe->calls, 1, 1);
			cv_ring_cancel(ring, &probe->op);
		}
		turn_until(ring, &probe->calls, 1, 1000);
		assert_int_equal(probe->calls, 1);
		assert_true(probe->result == -ECANCELED || probe->result == POLLIN);
		cv_ring_cancel(ring, &probe->op); /* not pending: nothing happens */
		free(probe);
		if (round % 2)
			assert_int_equal(read(fds[0], &(char){0}, 1), 1);
	}
	close_pair(fds);
	cv_ring_free(ring);
}

/* More operations than the queues hold, all ready at once. */
static void queues_overflow_without_loss(void **state)
{
	enum { OPS = 300 };
	struct cv_ring *ring = ring_with(state, 4, 4, 16);
	struct probe *probes = calloc(OPS, sizeof(*probes));
	int fds[2], done = 0, never = 0;

	assert_non_null(probes);
	pair(fds);
	assert_int_equal(write(fds[1], "x", 1), 1);
	for (int i = 0; i < OPS; i++) {
		probes[i].op.done = probe_done;
		cv_ring_poll(ring, &probes[i].op, fds[0], POLLIN);
		assert_int_equal(probes[i].calls, 0);
	}
	for (int guard = 0; guard < 1000 && done < OPS; guard++) {
		turn_until(ring, &never, 1, 1);
		done = 0;
		for (int i = 0; i < OPS; i++)
			done += probes[i].calls;
	}
	for (int i = 0; i < OPS; i++) {
		assert_int_equal(probes[i].calls, 1);
		assert_int_equal(probes[i].result, POLLIN);
	}
	close_pair(fds);
	free(probes);
	cv_ring_free(ring);
}

/* ---- posts -------------------------------------------------------------------------------- */

enum { POSTERS = 4, POSTS = 5000 };

struct posted {
	struct cv_post post;
	int thread, number;
};

static struct {
	struct cv_ring *ring;
	int next[POSTERS], count;
} inbox;

static void post_ran(struct cv_post *post)
{
	struct posted *posted = cv_container_of(post, struct posted, post);

	assert_int_equal(posted->number, inbox.next[posted->thread]++);
	inbox.count++;
	free(posted);
}

static void *post_many(void *opaque)
{
	for (int i = 0; i < POSTS; i++) {
		struct posted *posted = calloc(1, sizeof(*posted));

		if (!posted)
			abort();
		posted->post.run = post_ran;
		posted->thread = (int)(intptr_t)opaque;
		posted->number = i;
		cv_ring_post(inbox.ring, &posted->post);
	}
	return NULL;
}

static void posts_arrive_in_order(void **state)
{
	pthread_t threads[POSTERS];

	memset(&inbox, 0, sizeof(inbox));
	inbox.ring = ring_with(state, 8, 4, 16);
	for (intptr_t i = 1; i < POSTERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, post_many, (void *)i), 0);
	(void)post_many((void *)0); /* the ring's own thread may, too */
	assert_int_equal(inbox.count, 0);
	turn_until(inbox.ring, &inbox.count, POSTERS * POSTS, 20000);
	assert_int_equal(inbox.count, POSTERS * POSTS);
	for (int i = 1; i < POSTERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	/* what still waits at the end is run, not leaked */
	inbox.next[0] = 0;
	(void)post_many((void *)0);
	cv_ring_free(inbox.ring);
	assert_int_equal(inbox.count, (POSTERS + 1) * POSTS);
}

/* ---- watches ------------------------------------------------------------------------------ */

struct watcher {
	struct cv_watch watch;
	int calls;
	bool error;
};

static void watcher_died(struct cv_watch *watch, bool error)
{
	struct watcher *watcher = cv_container_of(watch, struct watcher, watch);

	watcher->calls++;
	watcher->error |= error;
}

static void watch_hears_reset_not_fin(void **state)
{
	struct cv_ring *ring = ring_with(state, 8, 4, 16);
	struct watcher watcher = {.watch.died = watcher_died}, other = {.watch.died = watcher_died};
	struct cv_sockaddr address;
	int listening = listener(&address), peer = dial(&address);
	int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
	int peer2 = dial(&address), fd2 = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
	double used_s;

	assert_int_equal(cv_ring_watch(ring, &watcher.watch, fd), 0);
	assert_int_equal(cv_ring_watch(ring, &watcher.watch, fd), 0);
	assert_int_equal(cv_ring_watch(ring, &other.watch, fd2), 0);
	assert_int_equal(write(peer, "bytes", 5), 5);
	assert_int_equal(shutdown(peer, SHUT_WR), 0);
	used_s = cpu_s();
	turn_until(ring, &watcher.calls, 1, 100);
	assert_int_equal(watcher.calls, 0);
	assert_true(cpu_s() - used_s < 0.05);
	cv_ring_unwatch(ring, &other.watch);
	reset(peer2);
	reset(peer);
	turn_until(ring, &watcher.calls, 1, 1000);
	assert_true(watcher.calls >= 1);
	assert_true(watcher.error);
	assert_int_equal(other.calls, 0);
	cv_ring_unwatch(ring, &watcher.watch);
	cv_ring_unwatch(ring, &watcher.watch);
	(void)close(fd);
	(void)close(fd2);
	(void)close(listening);
	cv_ring_free(ring);
}

/* ---- life --------------------------------------------------------------------------------- */

static void bad_configurations_are_refused(void **state)
{
	struct cv_ring *ring = NULL;

	(void)state;
	assert_int_equal(cv_ring_new(&(struct cv_ring_config){8, 3, 16, false}, &ring), -EINVAL);
	assert_int_equal(cv_ring_new(&(struct cv_ring_config){8, 65536, 16, false}, &ring),
			 -EINVAL);
	assert_int_equal(cv_ring_new(&(struct cv_ring_config){0, 4, 16, false}, &ring), -EINVAL);
	assert_null(ring);
	assert_null(cv_ring_free(NULL));
}

static void probe_agrees_with_the_kernel(void **state)
{
	struct cv_ring_features features;

	(void)state;
	assert_int_equal(cv_ring_probe(&features), 0);
	assert_true(features.splice);
	/* each of these came with, or after, the one it implies */
	assert_true(features.single_issuer || !features.defer_taskrun);
	assert_true(features.multishot_accept || !features.multishot_recv);
}

/* A system call filter does not see these: the ring itself must refuse them. */
static void foreign_operations_are_refused(void **state)
{
	struct cv_ring *ring = ring_with(state, 8, 8, 512);
	struct __kernel_timespec second = {.tv_sec = 1};
	char byte = 0;

	for (int attempt = 0; attempt < 4; attempt++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
		struct io_uring_cqe *cqe = NULL;

		assert_non_null(sqe);
		if (attempt == 0)
			io_uring_prep_openat(sqe, AT_FDCWD, "/etc/hosts", O_RDONLY, 0);
		else if (attempt == 1)
			io_uring_prep_read(sqe, 0, &byte, 1, 0);
		else if (attempt == 2)
			io_uring_prep_rw(45 /* IORING_OP_SOCKET */, sqe, AF_INET, NULL, 0, 1);
		else
			io_uring_prep_nop(sqe);
		io_uring_sqe_set_data64(sqe, 7);
		(void)io_uring_submit_and_wait_timeout(&ring->uring, &cqe, 1, &second, NULL);
		assert_non_null(cqe);
		assert_int_equal(cqe->user_data, 7);
		assert_int_equal(cqe->res, -EACCES);
		io_uring_cqe_seen(&ring->uring, cqe);
	}
	assert_int_equal(io_uring_register_eventfd(&ring->uring, 0), -EACCES);
	cv_ring_free(ring);
}

#define BOTH(test)                                                                                 \
	{#test " with every feature", test, NULL, NULL, NULL},                                     \
	{                                                                                          \
		#test " with none", test, NULL, NULL, &in_turn                                     \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(recv_bytes_then_end),
		BOTH(foreign_operations_are_refused),
		BOTH(recv_reports_reset),
		BOTH(recv_starves_and_recovers),
		BOTH(starved_recv_can_be_cancelled),
		BOTH(turns_do_not_sleep_over_starved_recvs),
		BOTH(all_buffers_can_be_out),
		BOTH(accept_goes_on_until_cancelled),
		BOTH(accept_of_no_listener_ends),
		BOTH(accept_rests_without_descriptors),
		BOTH(connect_succeeds_and_is_refused),
		BOTH(send_and_broken_pipe),
		BOTH(cancel_touches_no_freed_operation),
		BOTH(queues_overflow_without_loss),
		BOTH(posts_arrive_in_order),
		BOTH(watch_hears_reset_not_fin),
		cmocka_unit_test(bad_configurations_are_refused),
		cmocka_unit_test(probe_agrees_with_the_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
