// SPDX-License-Identifier: MIT
/*
 * test_datagram.c - UDP sockets on a ring: headroom, batches, sizes, both families, ends.
 */
#include "base/clock.h"
#include "ring/datagram.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

static struct cv_ring *ring;
static struct cv_datagram_pool *pool;

struct heard {
	struct cv_datagram_socket *socket;
	int count, close_at;
	size_t len_bytes, sum_bytes;
	uint8_t first;
	struct cv_sockaddr from;
	bool echo;
	uint8_t order[256]; /* first bytes */
	int batches, unsent, error;
	bool may_read;
};

static int set_up(void **state)
{
	const struct cv_ring_config config = {
		.entry_count = 64,
		.buffer_count = 4,
		.buffer_bytes = 4096,
		.plain = *state != NULL,
	};

	assert_int_equal(cv_ring_new(&config, &ring), 0);
	pool = cv_datagram_pool_new();
	assert_non_null(pool);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	ring = cv_ring_free(ring);
	pool = cv_datagram_pool_free(pool);
	return 0;
}

static void tick(struct cv_timer *timer)
{
	(void)timer;
}

static void turn_until(const int *count, int wanted, uint64_t ms)
{
	struct cv_timer guard = {.due = tick};
	const uint64_t end_ms = cv_clock_ms() + ms;

	while (*count < wanted && cv_clock_ms() < end_ms) {
		cv_timer_arm(ring, &guard, cv_clock_ms() + 10);
		assert_int_equal(cv_ring_turn(ring), 0);
	}
	cv_timer_disarm(ring, &guard);
}

/* Two turns: the first ends what was cancelled. */
static void settle(void)
{
	int never = 0;

	turn_until(&never, 1, 25);
}

static void received(void *owner, const struct cv_sockaddr *from, uint8_t *bytes, size_t len_bytes)
{
	struct heard *heard = owner;

	heard->count++;
	heard->len_bytes = len_bytes;
	heard->sum_bytes += len_bytes;
	heard->first = len_bytes ? bytes[0] : 0;
	heard->order[(heard->count - 1) % 256] = heard->first;
	heard->from = *from;
	memset(bytes - CV_DATAGRAM_HEADROOM, 0xab, CV_DATAGRAM_HEADROOM);
	if (heard->echo)
		assert_int_equal(cv_datagram_send(heard->socket, from, bytes - 1, len_bytes + 1),
				 0);
	if (heard->count == heard->close_at)
		heard->socket = cv_datagram_close(heard->socket);
}

static void batch_done(void *owner)
{
	struct heard *heard = owner;

	heard->batches++;
}

static void unsent(void *owner, int error)
{
	struct heard *heard = owner;

	heard->unsent++;
	heard->error = error;
}

/* Who may not read has to close. */
static bool may_read(void *owner)
{
	struct heard *heard = owner;

	if (heard->may_read)
		return true;
	heard->socket = cv_datagram_close(heard->socket);
	return false;
}

static void open_socket(struct heard *heard, const struct cv_sockaddr *address)
{
	const struct cv_datagram_config config = {
		.ring = ring,
		.pool = pool,
		.address = address,
		.received = received,
		.batch_done = batch_done,
		.unsent = unsent,
		.may_read = may_read,
		.owner = heard,
	};

	heard->may_read = true;
	assert_int_equal(cv_datagram_open(&config, &heard->socket), 0);
}

static struct cv_sockaddr loopback(void)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.in)};

	address.in.sin_family = AF_INET;
	address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

/* A plain socket of the test's, connected to @to. */
static int plain_socket(const struct cv_sockaddr *to)
{
	const struct timeval patience = {.tv_sec = 2};
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, &to->any, to->len_bytes), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	return fd;
}

static int reach(struct heard *heard, struct cv_sockaddr *ret_address)
{
	const struct cv_sockaddr address = loopback();

	open_socket(heard, &address);
	assert_int_equal(cv_datagram_local(heard->socket, ret_address), 0);
	return plain_socket(ret_address);
}

static void test_headroom_and_echo(void **state)
{
	struct heard heard = {.echo = true};
	struct cv_sockaddr address;
	const int fd = reach(&heard, &address);
	uint8_t answer[16];

	(void)state;
	assert_int_equal(send(fd, "hello", 5, 0), 5);
	turn_until(&heard.count, 1, 2000);
	assert_int_equal(heard.len_bytes, 5);
	assert_int_equal(recv(fd, answer, sizeof(answer), 0), 6);
	assert_int_equal(answer[0], 0xab);
	assert_memory_equal(answer + 1, "hello", 5);
	cv_datagram_close(heard.socket);
	settle();
	(void)close(fd);
}

static void test_largest_and_empty(void **state)
{
	static uint8_t bytes[65507];
	struct heard heard = {0};
	struct cv_sockaddr address;
	const int fd = reach(&heard, &address);

	(void)state;
	bytes[0] = 7;
	assert_int_equal(send(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	turn_until(&heard.count, 1, 2000);
	assert_int_equal(heard.len_bytes, sizeof(bytes));
	assert_int_equal(heard.first, 7);
	assert_int_equal(send(fd, bytes, 0, 0), 0);
	turn_until(&heard.count, 2, 2000);
	assert_int_equal(heard.len_bytes, 0);
	assert_int_equal(cv_datagram_send(heard.socket, &heard.from, bytes, sizeof(bytes) + 1),
			 -EMSGSIZE);
	cv_datagram_close(heard.socket);
	settle();
	(void)close(fd);
}

static void test_more_than_a_turn_takes(void **state)
{
	struct heard heard = {0};
	struct cv_sockaddr address;
	const int fd = reach(&heard, &address);

	(void)state;
	for (int i = 0; i < 150; i++)
		assert_int_equal(send(fd, "12345678", 8, 0), 8);
	turn_until(&heard.count, 150, 2000);
	assert_int_equal(heard.count, 150);
	assert_int_equal(heard.sum_bytes, 150 * 8);
	cv_datagram_close(heard.socket);
	settle();
	(void)close(fd);
}

static void test_both_families_from_one_port(void **state)
{
	struct heard far = {0}, near = {0};
	struct cv_sockaddr address, v6 = {.len_bytes = sizeof(v6.in6)};
	const int fd = reach(&near, &address);

	(void)state;
	open_socket(&far, NULL);
	assert_int_equal(cv_datagram_send(far.socket, &address, (const uint8_t *)"4", 1), 0);
	turn_until(&near.count, 1, 2000);
	assert_int_equal(near.from.any.sa_family, AF_INET);
	/* and back, to the port it has: with an address that reads as IPv4 */
	assert_int_equal(cv_datagram_send(near.socket, &near.from, (const uint8_t *)"b", 1), 0);
	turn_until(&far.count, 1, 2000);
	{
		struct cv_destination source;

		assert_true(cv_sockaddr_to_destination(&far.from, &source));
		assert_int_equal(source.kind, CV_ADDRESS_IPV4);
		assert_int_equal(source.port, cv_sockaddr_port(&address));
	}
	v6.in6.sin6_family = AF_INET6;
	v6.in6.sin6_addr = in6addr_loopback;
	v6.in6.sin6_port = htons(9);
	assert_int_equal(cv_datagram_send(near.socket, &v6, (const uint8_t *)"x", 1),
			 -EAFNOSUPPORT);
	cv_datagram_close(near.socket);
	cv_datagram_close(far.socket);
	settle();
	(void)close(fd);
}

static void test_connected_hears_only_one(void **state)
{
	struct heard one = {0}, other = {0}, stranger = {0};
	struct cv_sockaddr address, other_address, stranger_address;
	const int fds[] = {reach(&one, &address), reach(&other, &other_address),
			   reach(&stranger, &stranger_address)};

	(void)state;
	assert_int_equal(cv_datagram_connect(one.socket, &other_address), 0);
	assert_int_equal(cv_datagram_send(stranger.socket, &address, (const uint8_t *)"s", 1), 0);
	assert_int_equal(cv_datagram_send(one.socket, NULL, (const uint8_t *)"1", 1), 0);
	turn_until(&other.count, 1, 2000);
	assert_int_equal(cv_datagram_send(other.socket, &address, (const uint8_t *)"o", 1), 0);
	turn_until(&one.count, 1, 2000);
	settle();
	assert_int_equal(one.count, 1);
	assert_int_equal(one.first, 'o');
	/* what nobody hears comes back as an error, which must not end anything */
	cv_datagram_close(other.socket);
	settle();
	(void)cv_datagram_send(one.socket, NULL, (const uint8_t *)"?", 1);
	settle();
	(void)cv_datagram_send(one.socket, NULL, (const uint8_t *)"?", 1);
	settle();
	cv_datagram_close(one.socket);
	cv_datagram_close(stranger.socket);
	settle();
	for (size_t i = 0; i < 3; i++)
		(void)close(fds[i]);
}

static void test_closed_in_the_middle_of_a_batch(void **state)
{
	struct heard heard = {.close_at = 3};
	struct cv_sockaddr address;
	const int fd = reach(&heard, &address);

	(void)state;
	for (int i = 0; i < 8; i++)
		assert_int_equal(send(fd, "x", 1, 0), 1);
	turn_until(&heard.count, 8, 100);
	assert_int_equal(heard.count, 3);
	assert_null(heard.socket);
	(void)close(fd);
}

static void test_port_is_free_after_the_close(void **state)
{
	struct heard heard = {0};
	struct cv_sockaddr address;
	int fd = reach(&heard, &address);

	(void)state;
	(void)close(fd);
	cv_datagram_close(heard.socket);
	settle();
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, &address.any, address.len_bytes), 0);
	(void)close(fd);
	assert_null(cv_datagram_close(NULL));
}

static void test_address_of_nobody(void **state)
{
	struct cv_sockaddr address = loopback();
	struct heard heard = {0};
	const struct cv_datagram_config config = {
		.ring = ring,
		.pool = pool,
		.address = &address,
		.received = received,
		.owner = &heard,
	};

	(void)state;
	address.in.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1 */
	assert_int_equal(cv_datagram_open(&config, &heard.socket), -EADDRNOTAVAIL);
	assert_null(heard.socket);
}

/* Runs, their shorter ends, others in between: all arrive, in order, each for itself. */
static void test_queue(void **state)
{
	static const size_t sizes[] = {200, 200, 200, 90, 200, 1400, 1400, 0, 3000, 3000, 200, 1};
	static uint8_t bytes[150][3000];
	struct heard here = {0}, there = {0};
	struct cv_sockaddr address;
	const int fd = reach(&there, &address);
	size_t sum_bytes = 0;

	(void)state;
	open_socket(&here, NULL);
	for (size_t i = 0; i < 150; i++) {
		const size_t len = sizes[i / 3 % (sizeof(sizes) / sizeof(sizes[0]))];

		bytes[i][0] = (uint8_t)i;
		sum_bytes += len;
		assert_int_equal(cv_datagram_queue(here.socket, &address, bytes[i], len), 0);
		if (i % 70 == 69) {
			cv_datagram_flush(here.socket);
			turn_until(&there.count, (int)i + 1, 2000);
		}
	}
	cv_datagram_flush(here.socket);
	cv_datagram_flush(here.socket); /* nothing is left of it */
	turn_until(&there.count, 150, 2000);
	assert_int_equal(there.count, 150);
	assert_int_equal(there.sum_bytes, sum_bytes);
	assert_int_equal(here.unsent, 0);
	assert_true(there.batches > 0);
	for (size_t i = 0; i < 150; i++)
		if (sizes[i / 3 % (sizeof(sizes) / sizeof(sizes[0]))] > 0)
			assert_int_equal(there.order[i], (uint8_t)i);
	cv_datagram_close(here.socket);
	cv_datagram_close(there.socket);
	settle();
	(void)close(fd);
}

/* One that cannot be sent is told, and does not keep the others back; another socket's queue, or
 * the close, sends what waits. */
static void test_queue_of_several(void **state)
{
	static uint8_t much[70000];
	struct heard here[2] = {0}, there = {0};
	struct cv_sockaddr address;
	const int fd = reach(&there, &address);

	(void)state;
	open_socket(&here[0], NULL);
	open_socket(&here[1], NULL);
	assert_int_equal(cv_datagram_queue(here[0].socket, &address, (uint8_t *)"a", 1), 0);
	assert_int_equal(cv_datagram_queue(here[0].socket, &address, much, sizeof(much)), 0);
	assert_int_equal(cv_datagram_queue(here[0].socket, &address, (uint8_t *)"b", 1), 0);
	assert_int_equal(cv_datagram_queue(here[1].socket, &address, (uint8_t *)"c", 1), 0);
	assert_int_equal(here[0].unsent, 1);
	assert_int_equal(here[0].error, -EMSGSIZE);
	cv_datagram_flush(here[0].socket); /* not its own */
	cv_datagram_close(here[1].socket);
	turn_until(&there.count, 3, 2000);
	assert_memory_equal(there.order, "abc", 3);
	cv_datagram_close(here[0].socket);
	cv_datagram_close(there.socket);
	settle();
	(void)close(fd);
}

/* What the kernel put together is told apart again. */
static void test_put_together(void **state)
{
	static uint8_t bytes[16 * 500];
	const int segment = 500;
	struct heard heard = {0};
	struct cv_sockaddr address;
	const int fd = reach(&heard, &address);

	(void)state;
	for (size_t i = 0; i < 16; i++)
		bytes[i * 500] = (uint8_t)(i + 1);
	if (setsockopt(fd, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment)) < 0 ||
	    send(fd, bytes, sizeof(bytes) - 100, 0) < 0) {
		print_message("no UDP_SEGMENT here: %s\n", strerror(errno));
		cv_datagram_close(heard.socket);
		settle();
		(void)close(fd);
		skip();
	}
	turn_until(&heard.count, 16, 2000);
	assert_int_equal(heard.count, 16);
	assert_int_equal(heard.len_bytes, 400);
	for (size_t i = 0; i < 16; i++)
		assert_int_equal(heard.order[i], i + 1);
	cv_datagram_close(heard.socket);
	settle();
	(void)close(fd);
}

static void test_may_not_read(void **state)
{
	struct heard heard = {0};
	struct cv_sockaddr address;
	const int fd = reach(&heard, &address);

	(void)state;
	heard.may_read = false;
	assert_int_equal(send(fd, "x", 1, 0), 1);
	for (int i = 0; i < 100 && heard.socket; i++)
		settle();
	assert_null(heard.socket);
	assert_int_equal(heard.count, 0);
	settle();
	(void)close(fd);
}

/* The port stays while another descriptor of it is open, with what came meanwhile. */
static void test_adopted(void **state)
{
	struct heard first = {0}, second = {0};
	const struct cv_datagram_config config = {
		.ring = ring,
		.pool = pool,
		.received = received,
		.owner = &second,
	};
	struct cv_sockaddr address, again;
	const int fd = reach(&first, &address);
	const int other = cv_datagram_dup(first.socket);

	(void)state;
	assert_true(other >= 0);
	cv_datagram_close(first.socket);
	settle();
	assert_int_equal(send(fd, "m", 1, 0), 1);
	assert_int_equal(cv_datagram_adopt(&config, other, &second.socket), 0);
	turn_until(&second.count, 1, 2000);
	assert_int_equal(second.first, 'm');
	assert_int_equal(cv_datagram_local(second.socket, &again), 0);
	assert_int_equal(cv_sockaddr_port(&again), cv_sockaddr_port(&address));
	assert_int_equal(send(fd, "n", 1, 0), 1);
	turn_until(&second.count, 2, 2000);
	assert_int_equal(second.first, 'n');
	cv_datagram_close(second.socket);
	settle();
	assert_int_equal(cv_datagram_adopt(&config, -1, &second.socket), -EBADF);
	(void)close(fd);
}

int main(void)
{
#define BOTH_WAYS(name) \
	cmocka_unit_test_setup_teardown(name, set_up, tear_down), \
		cmocka_unit_test_prestate_setup_teardown(name, set_up, tear_down, &plain)
	static int plain = 1;
	const struct CMUnitTest tests[] = {
		BOTH_WAYS(test_headroom_and_echo),
		BOTH_WAYS(test_largest_and_empty),
		BOTH_WAYS(test_more_than_a_turn_takes),
		BOTH_WAYS(test_both_families_from_one_port),
		BOTH_WAYS(test_connected_hears_only_one),
		BOTH_WAYS(test_closed_in_the_middle_of_a_batch),
		BOTH_WAYS(test_port_is_free_after_the_close),
		BOTH_WAYS(test_address_of_nobody),
		BOTH_WAYS(test_queue),
		BOTH_WAYS(test_queue_of_several),
		BOTH_WAYS(test_put_together),
		BOTH_WAYS(test_may_not_read),
		BOTH_WAYS(test_adopted),
	};

	return cmocka_run_group_tests_name("datagram", tests, NULL, NULL);
}
