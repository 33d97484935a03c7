// SPDX-License-Identifier: MIT
/*
 * udp.c - datagrams per second, and how many are lost: each is numbered and stamped, goes to an
 * echo and comes back.
 *
 *   N associations of a SOCKS5 relay (or none) <--> relay <--> echo
 *
 * What is due is sent once per millisecond, in one call per association; what was missed while the
 * machine did something else is not made up for, as it would be a burst at another rate. Sending
 * and receiving take turns on one thread, sendmmsg and recvmmsg: a batch is one call either way.
 */
#include "load.h"

#include "wire/socks5_client.h"
#include "wire/socks5_udp.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH 64
#define LATE_NS (5 * 1000000ull)
#define TICK_NS (1000000ull)
#define BUFFER_BYTES (32 << 20)
#define STALL_NS (50 * 1000000ull)
#define DRAIN_NS (150 * 1000000ull)
#define HEADER_MAX CV_SOCKS5_UDP_HEADER_MAX

struct stamp {
	uint64_t number, sent_ns;
};

struct association {
	int control_fd, fd;
};

struct batch {
	struct mmsghdr messages[BATCH];
	struct iovec pieces[BATCH];
	uint8_t memory[BATCH][HEADER_MAX + CV_LOAD_MESSAGE_MAX];
};

static void batch_init(struct batch *batch)
{
	for (size_t i = 0; i < BATCH; i++) {
		batch->pieces[i].iov_base = batch->memory[i];
		batch->pieces[i].iov_len = sizeof(batch->memory[i]);
		batch->messages[i].msg_hdr.msg_iov = &batch->pieces[i];
		batch->messages[i].msg_hdr.msg_iovlen = 1;
	}
}

void *cv_load_udp_echo(void *opaque)
{
	const int fd = *(int *)opaque;
	struct batch *batch = calloc(1, sizeof(*batch));
	struct cv_sockaddr from[BATCH];

	if (!batch)
		cv_load_die("memory", ENOMEM);
	batch_init(batch);
	for (;;) {
		int count, sent = 0;

		for (size_t i = 0; i < BATCH; i++) {
			batch->pieces[i].iov_len = sizeof(batch->memory[i]);
			batch->messages[i].msg_hdr.msg_name = &from[i].any;
			batch->messages[i].msg_hdr.msg_namelen = sizeof(from[i].in6);
		}
		count = recvmmsg(fd, batch->messages, BATCH, MSG_WAITFORONE, NULL);
		for (int i = 0; i < count; i++)
			batch->pieces[i].iov_len = batch->messages[i].msg_len;
		while (sent < count) {
			const int some =
				sendmmsg(fd, batch->messages + sent, (unsigned)(count - sent), 0);

			sent += some > 0 ? some : 1; /* one that cannot be sent is lost */
		}
	}
	return NULL;
}

/* ---- associations -------------------------------------------------------------------------- */

static int open_datagrams(const struct cv_sockaddr *to)
{
	const int fd = socket(to->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const int size_bytes = BUFFER_BYTES;

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size_bytes, sizeof(int));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size_bytes, sizeof(int));
	if (connect(fd, &to->any, to->len_bytes) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

/* Blocking, with a time-out: a few round trips. */
static enum cv_load_failure shake_hands(const struct cv_load_options *options, int fd,
					struct cv_socks5_client *client)
{
	struct cv_buffer in, out;
	enum cv_load_failure failure = CV_LOAD_FAIL_PROXY;
	int result;

	cv_buffer_init(&in, 4096);
	cv_buffer_init(&out, 4096);
	result = cv_socks5_client_associate(client, options->user, options->password, &out);
	for (result = result == 0 ? -EAGAIN : result; result == -EAGAIN;) {
		uint8_t *space;
		size_t used;
		ssize_t got;

		if (send(fd, cv_buffer_bytes(&out), cv_buffer_len(&out), MSG_NOSIGNAL) < 0 ||
		    cv_buffer_reserve(&in, 512, &space) != 0)
			break;
		cv_buffer_consume(&out, cv_buffer_len(&out));
		got = recv(fd, space, 512, 0);
		if (got <= 0) {
			failure = got == 0 ? CV_LOAD_FAIL_CLOSED : CV_LOAD_FAIL_TIMEOUT;
			break;
		}
		cv_buffer_commit(&in, (size_t)got);
		result = cv_socks5_client_read(client, cv_buffer_span(&in), &out, &used);
		cv_buffer_consume(&in, used);
	}
	cv_buffer_done(&in);
	cv_buffer_done(&out);
	return result == 0 ? CV_LOAD_FAILURES : failure;
}

/* Returns CV_LOAD_FAILURES if nothing failed. */
static enum cv_load_failure associate(const struct cv_load_options *options,
				      struct association *association)
{
	const struct timeval timeout = {.tv_sec = (time_t)options->timeout_seconds + 1};
	struct cv_socks5_client client;
	struct cv_sockaddr to = options->dial;
	enum cv_load_failure failure;

	association->control_fd = -1;
	if (options->way == CV_LOAD_SOCKS5) {
		const int fd = socket(to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

		association->control_fd = fd;
		if (fd < 0)
			return CV_LOAD_FAIL_SOCKET;
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
		if (connect(fd, &to.any, to.len_bytes) != 0)
			return CV_LOAD_FAIL_CONNECT;
		failure = shake_hands(options, fd, &client);
		if (failure != CV_LOAD_FAILURES)
			return failure;
		if (cv_destination_is_any(&client.bound)) { /* where the relay is */
			const uint16_t port = client.bound.port;

			(void)cv_sockaddr_to_destination(&options->dial, &client.bound);
			client.bound.port = port;
		}
		if (!cv_destination_to_sockaddr(&client.bound, &to))
			return CV_LOAD_FAIL_PROXY;
	}
	association->fd = open_datagrams(&to);
	return association->fd < 0 ? CV_LOAD_FAIL_SOCKET : CV_LOAD_FAILURES;
}

/* ---- sending and receiving ----------------------------------------------------------------- */

struct traffic {
	struct cv_load_worker *worker;
	struct association *associations;
	struct batch out, in;
	struct pollfd *polls;
	uint64_t numbered_count; /* of all there were, those that find the way, too */
	uint64_t lost_count, last_done, moved_ns;
};

static void send_some(struct traffic *traffic, struct association *association, uint32_t count)
{
	struct cv_load_worker *worker = traffic->worker;
	const struct cv_load_options *options = worker->options;
	const size_t bytes = options->message_bytes;

	for (uint32_t i = 0; i < count; i++) {
		uint8_t *data = traffic->out.memory[i] + HEADER_MAX;
		const struct stamp stamp = {traffic->numbered_count++, cv_load_now_ns()};
		size_t header_bytes = 0;

		if (options->way == CV_LOAD_SOCKS5)
			header_bytes = cv_socks5_udp_write(&options->to, data);
		memcpy(data, &stamp, sizeof(stamp));
		traffic->out.pieces[i] = (struct iovec){.iov_base = data - header_bytes,
							.iov_len = header_bytes + bytes};
	}
	worker->ring.enter_count++;
	/* what this machine could not even send is lost, too */
	(void)sendmmsg(association->fd, traffic->out.messages, count, MSG_NOSIGNAL);
	worker->counts.sent += count;
}

static void take_one(struct traffic *traffic, const uint8_t *bytes, size_t len_bytes)
{
	struct cv_load_worker *worker = traffic->worker;
	struct cv_destination from;
	struct stamp stamp;
	size_t header_bytes = 0;

	if (worker->options->way == CV_LOAD_SOCKS5 &&
	    cv_socks5_udp_read(cv_span_of(bytes, len_bytes), &from, &header_bytes) != 0)
		return;
	if (len_bytes - header_bytes != worker->options->message_bytes)
		return;
	memcpy(&stamp, bytes + header_bytes, sizeof(stamp));
	if (stamp.number >= traffic->numbered_count || stamp.sent_ns < worker->begun_ns)
		return; /* of the warm-up */
	worker->counts.received++;
	cv_load_moved(worker, worker->options->message_bytes);
	cv_load_histogram_add(&worker->latency, cv_load_now_ns() - stamp.sent_ns);
}

static void receive_some(struct traffic *traffic, struct association *association)
{
	int count;

	do {
		traffic->worker->ring.enter_count++;
		count = recvmmsg(association->fd, traffic->in.messages, BATCH, MSG_DONTWAIT, NULL);
		for (int i = 0; i < count; i++)
			take_one(traffic, traffic->in.memory[i], traffic->in.messages[i].msg_len);
	} while (count == BATCH);
}

static void receive_all(struct traffic *traffic, uint64_t until_ns)
{
	struct cv_load_worker *worker = traffic->worker;
	uint64_t now_ns = cv_load_now_ns();
	bool got;

	do {
		const uint64_t wait_ns = until_ns > now_ns ? until_ns - now_ns : 0;
		const struct timespec wait = {.tv_nsec = (long)wait_ns};

		worker->ring.enter_count++;
		got = ppoll(traffic->polls, worker->count, &wait, NULL) > 0;
		if (got)
			for (uint32_t i = 0; i < worker->count; i++)
				if (traffic->polls[i].revents)
					receive_some(traffic, &traffic->associations[i]);
		now_ns = cv_load_now_ns();
	} while (now_ns < until_ns && !(worker->options->rate <= 0 && got));
}

/* Without a rate: as many as were answered, with one batch of each association under way. What did
 * not come for STALL_NS will not come. */
static uint64_t due_count(struct traffic *traffic, uint64_t sent)
{
	const struct cv_load_worker *worker = traffic->worker;
	const double rate = worker->options->rate / (double)worker->options->core_count;
	const uint64_t window = (uint64_t)worker->count * BATCH;
	uint64_t done = worker->counts.received + traffic->lost_count;

	if (rate > 0)
		return (uint64_t)((double)(worker->now_ns - worker->begun_ns) / 1e9 * rate);
	if (done != traffic->last_done || done >= sent) {
		traffic->last_done = done;
		traffic->moved_ns = worker->now_ns;
	} else if (worker->now_ns - traffic->moved_ns > STALL_NS) {
		traffic->lost_count += sent - done;
		done = sent;
	}
	return done + window / 2 > sent ? done + window : sent;
}

static void exchange(struct traffic *traffic)
{
	struct cv_load_worker *worker = traffic->worker;
	const double rate = worker->options->rate / (double)worker->options->core_count;
	const uint64_t most = (uint64_t)(rate * (double)LATE_NS / 1e9) + BATCH;
	uint64_t sent = 0, missed = 0, next_ns;
	uint32_t at = 0;

	worker->now_ns = worker->begun_ns = cv_load_now_ns();
	while (!atomic_load(&worker->run->is_over)) {
		uint64_t due = due_count(traffic, sent) - missed;

		if (due > sent + most && rate > 0) {
			missed += due - sent - most;
			due = sent + most;
		}
		while (sent < due) {
			const uint64_t share = (due - sent + worker->count - 1) / worker->count;
			const uint32_t some = share < BATCH ? (uint32_t)share : BATCH;

			send_some(traffic, &traffic->associations[at++ % worker->count], some);
			sent += some;
		}
		next_ns = worker->now_ns + TICK_NS;
		receive_all(traffic, next_ns);
		worker->now_ns = cv_load_now_ns();
	}
	worker->counts.unstarted = missed;
	receive_all(traffic, cv_load_now_ns() + DRAIN_NS);
}

/* The first one finds the way, as programs do, which ask and wait. */
static bool find_way(struct traffic *traffic, struct association *association)
{
	struct pollfd answer = {.fd = association->fd, .events = POLLIN};

	for (int i = 0; i < 10; i++) {
		send_some(traffic, association, 1);
		if (poll(&answer, 1, 500) > 0 && (answer.revents & POLLIN)) {
			receive_some(traffic, association);
			return true;
		}
	}
	return false;
}

void *cv_load_work_udp(void *opaque)
{
	struct cv_load_worker *worker = opaque;
	struct traffic *traffic = calloc(1, sizeof(*traffic));

	cv_load_pin(worker->core);
	if (!traffic)
		cv_load_die("memory", ENOMEM);
	traffic->worker = worker;
	traffic->associations = calloc(worker->count, sizeof(*traffic->associations));
	traffic->polls = calloc(worker->count, sizeof(*traffic->polls));
	if (!traffic->associations || !traffic->polls)
		cv_load_die("memory", ENOMEM);
	batch_init(&traffic->in);
	batch_init(&traffic->out);
	for (uint32_t i = 0; i < worker->count; i++) {
		struct association *association = &traffic->associations[i];
		enum cv_load_failure failure = associate(worker->options, association);

		if (failure == CV_LOAD_FAILURES && !find_way(traffic, association))
			failure = CV_LOAD_FAIL_TIMEOUT;
		if (failure == CV_LOAD_FAILURES)
			worker->counts.established++;
		else
			worker->counts.failed[failure]++;
		traffic->polls[i] = (struct pollfd){.fd = association->fd, .events = POLLIN};
		atomic_fetch_add(&worker->run->settled_count, 1);
	}
	worker->counts.sent = worker->counts.received = 0;
	memset(&worker->latency, 0, sizeof(worker->latency));
	while (!atomic_load(&worker->run->start_ns) && !atomic_load(&worker->run->is_over))
		(void)poll(NULL, 0, 1);
	if (worker->counts.established > 0)
		exchange(traffic);
	for (uint32_t i = 0; i < worker->count; i++) {
		(void)close(traffic->associations[i].fd);
		(void)close(traffic->associations[i].control_fd);
	}
	free(traffic->associations);
	free(traffic->polls);
	free(traffic);
	return NULL;
}
