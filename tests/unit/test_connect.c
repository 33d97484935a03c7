// SPDX-License-Identifier: MIT
/*
 * test_connect.c - happy eyeballs against listeners, closed ports and listeners that never answer.
 *
 * A listener whose backlog is full drops SYNs: an address that neither accepts nor refuses, without
 * any network. Names are resolved by what loopback offers ("localhost" is both families).
 */
#include "base/clock.h"
#include "base/container.h"
#include "base/reason.h"
#include "ring/connect.h"
#include "ring/listen.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct caller {
	int calls, fd, reason, allowed, asked;
	bool refuse_v6, refuse_all;
};

static struct cv_ring *ring;
static struct cv_resolver *resolver;

static size_t open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	(void)closedir(dir);
	return count;
}

static void tick(struct cv_timer *timer)
{
	(void)timer;
}

static void turns(const int *count, int wanted, uint64_t ms)
{
	struct cv_timer guard = {.due = tick};
	uint64_t end_ms = cv_clock_ms() + ms;

	while (*count < wanted && cv_clock_ms() < end_ms) {
		cv_timer_arm(ring, &guard, cv_clock_ms() + 5);
		assert_int_equal(cv_ring_turn(ring), 0);
	}
	cv_timer_disarm(ring, &guard);
}

static void connected(void *owner, int fd, int reason)
{
	struct caller *caller = owner;

	caller->calls++;
	caller->fd = fd;
	caller->reason = reason;
}

static bool allow(void *owner, const struct cv_sockaddr *address)
{
	struct caller *caller = owner;

	caller->asked++;
	return !caller->refuse_all && !(caller->refuse_v6 && address->any.sa_family == AF_INET6);
}

static struct cv_sockaddr loopback(int family, uint16_t port)
{
	struct cv_sockaddr address;

	memset(&address, 0, sizeof(address));
	if (family == AF_INET) {
		address.len_bytes = sizeof(address.in);
		address.in.sin_family = AF_INET;
		address.in.sin_port = htons(port);
		address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	} else {
		address.len_bytes = sizeof(address.in6);
		address.in6.sin6_family = AF_INET6;
		address.in6.sin6_port = htons(port);
		address.in6.sin6_addr = in6addr_loopback;
	}
	return address;
}

static int listen_on(int family, uint16_t port, int backlog, uint16_t *ret_port)
{
	struct cv_sockaddr address = loopback(family, port);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int one = 1;

	assert_true(fd >= 0);
	if (family == AF_INET6)
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)), 0);
	if (bind(fd, &address.any, address.len_bytes) < 0 || listen(fd, backlog) < 0) {
		(void)close(fd);
		return -1;
	}
	assert_int_equal(getsockname(fd, &address.any, &address.len_bytes), 0);
	*ret_port = cv_sockaddr_port(&address);
	return fd;
}

/* Fills the backlog; the next SYN is dropped. */
static void fill(int family, uint16_t port, int fillers[8])
{
	struct cv_sockaddr address = loopback(family, port);

	for (int i = 0; i < 8; i++) {
		fillers[i] = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(fillers[i], &address.any, address.len_bytes);
	}
}

static void close_all(const int *fds, int count)
{
	for (int i = 0; i < count; i++)
		(void)close(fds[i]);
}

static struct cv_connector *start(struct caller *caller, const char *host, uint16_t port,
				  enum cv_resolve_strategy strategy, uint32_t timeout_ms)
{
	struct cv_destination destination;
	struct cv_connect_request request = {
		.ring = ring,
		.resolver = resolver,
		.destination = &destination,
		.strategy = strategy,
		.timeout_ms = timeout_ms,
		.done = connected,
		.owner = caller,
		.allow = allow,
	};
	struct cv_connector *connector;

	assert_int_equal(cv_destination_set_text(&destination, host, port), 0);
	connector = cv_connect_start(&request);
	assert_non_null(connector);
	assert_int_equal(caller->calls, 0);
	memset(&destination, 0xee, sizeof(destination)); /* the request was copied */
	return connector;
}

static void assert_connected(struct caller *caller, int family)
{
	struct cv_sockaddr peer = {.len_bytes = sizeof(peer.un)};

	assert_int_equal(caller->calls, 1);
	assert_int_equal(caller->reason, 0);
	assert_true(caller->fd >= 0);
	assert_int_equal(getpeername(caller->fd, &peer.any, &peer.len_bytes), 0);
	assert_int_equal(peer.any.sa_family, family);
	assert_true(fcntl(caller->fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(caller->fd, F_GETFD) & FD_CLOEXEC);
}

static int option(int fd, int level, int name)
{
	socklen_t size = sizeof(int);
	int value = -1;

	assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
	return value;
}

static int set_up(void **state)
{
	const struct cv_resolver_config config = {
		.thread_count = 2,
		.cache_entries = 16,
		.ttl_ms = 1000,
		.negative_ttl_ms = 1000,
		.queue_limit = 64,
	};
	const struct cv_ring_config ring_config = {
		.entry_count = 64,
		.buffer_count = 1,
		.buffer_bytes = 16,
	};

	(void)state;
	return cv_ring_new(&ring_config, &ring) || cv_resolver_new(&config, &resolver) ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	resolver = cv_resolver_free(resolver);
	ring = cv_ring_free(ring);
	return 0;
}

/* ---- one address -------------------------------------------------------------------------- */

static void literals_connect_and_are_tuned(void **state)
{
	static const struct {
		int family;
		const char *host;
	} rows[] = {{AF_INET, "127.0.0.1"}, {AF_INET6, "[::1]"}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct caller caller = {0};
		uint16_t port;
		int listener = listen_on(rows[i].family, 0, 8, &port);

		assert_true(listener >= 0);
		(void)start(&caller, rows[i].host, port, CV_RESOLVE_ANY, 2000);
		turns(&caller.calls, 1, 3000);
		assert_connected(&caller, rows[i].family);
		assert_int_equal(option(caller.fd, IPPROTO_TCP, TCP_NODELAY), 1);
		assert_int_equal(option(caller.fd, SOL_SOCKET, SO_KEEPALIVE), 1);
		assert_int_equal(option(caller.fd, IPPROTO_TCP, TCP_KEEPIDLE), 45);
		assert_int_equal(option(caller.fd, IPPROTO_TCP, TCP_KEEPINTVL), 45);
		assert_true(option(caller.fd, IPPROTO_TCP, TCP_USER_TIMEOUT) > 0);
		(void)close(caller.fd);
		(void)close(listener);
	}
}

/* An address of the other family is dialled all the same: a strategy is about names. */
static void literals_ignore_the_strategy(void **state)
{
	struct caller caller = {0};
	uint16_t port;
	int listener = listen_on(AF_INET, 0, 8, &port);

	(void)state;
	(void)start(&caller, "127.0.0.1", port, CV_RESOLVE_V6, 2000);
	turns(&caller.calls, 1, 3000);
	assert_connected(&caller, AF_INET);
	(void)close(caller.fd);
	(void)close(listener);
}

static void refused(void **state)
{
	struct caller caller = {0};
	uint16_t port;

	(void)state;
	(void)close(listen_on(AF_INET, 0, 8, &port));
	(void)start(&caller, "127.0.0.1", port, CV_RESOLVE_ANY, 2000);
	turns(&caller.calls, 1, 3000);
	assert_int_equal(caller.reason, CV_UPSTREAM_REFUSED);
	assert_int_equal(caller.fd, -1);
}

static void blackhole_times_out(void **state)
{
	struct caller caller = {0};
	uint64_t started_ms = cv_clock_ms();
	int fillers[8], listener;
	uint16_t port;

	(void)state;
	listener = listen_on(AF_INET, 0, 0, &port);
	fill(AF_INET, port, fillers);
	(void)start(&caller, "127.0.0.1", port, CV_RESOLVE_ANY, 400);
	turns(&caller.calls, 1, 3000);
	assert_int_equal(caller.calls, 1);
	assert_int_equal(caller.reason, CV_UPSTREAM_TIMEOUT);
	assert_in_range(cv_clock_ms() - started_ms, 350, 1500);
	close_all(fillers, 8);
	(void)close(listener);
}

static void unreachable(void **state)
{
	struct caller caller = {0};

	(void)state;
	/* TCP knows no multicast */
	(void)start(&caller, "224.0.0.1", 9, CV_RESOLVE_ANY, 2000);
	turns(&caller.calls, 1, 3000);
	assert_int_equal(caller.reason, CV_UPSTREAM_NO_ROUTE);
}

static void out_of_descriptors(void **state)
{
	struct caller caller = {0};
	struct rlimit limit, tight;
	uint16_t port;
	int listener = listen_on(AF_INET, 0, 8, &port);

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	tight = limit;
	tight.rlim_cur = 3;
	(void)start(&caller, "127.0.0.1", port, CV_RESOLVE_ANY, 2000);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	turns(&caller.calls, 1, 3000);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(caller.reason, CV_INTERNAL_RESOURCE);
	(void)close(listener);
}

static struct rlimit enough;

/* The second time somebody has left. */
static bool make_room(void *owner)
{
	struct caller *caller = owner;

	if (++caller->asked == 2)
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &enough), 0);
	return true;
}

static void waits_for_a_descriptor(void **state)
{
	struct caller caller = {0};
	struct cv_sockaddr address;
	struct rlimit tight;
	uint16_t port;
	int listener = listen_on(AF_INET, 0, 8, &port);
	const struct cv_connect_request request = {
		.ring = ring,
		.address = &address,
		.timeout_ms = 2000,
		.done = connected,
		.owner = &caller,
		.make_room = make_room,
	};

	(void)state;
	address = loopback(AF_INET, port);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &enough), 0);
	tight = enough;
	tight.rlim_cur = 3;
	assert_non_null(cv_connect_start(&request));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	turns(&caller.calls, 1, 3000);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &enough), 0);
	assert_connected(&caller, AF_INET);
	assert_int_equal(caller.asked, 2);
	(void)close(caller.fd);
	(void)close(listener);
}

/* ---- several addresses -------------------------------------------------------------------- */

/* Listeners of both families on one port. */
static void listen_both(int fds[2], int backlog4, int backlog6, uint16_t *ret_port)
{
	for (int attempt = 0; attempt < 50; attempt++) {
		uint16_t port6;

		fds[0] = listen_on(AF_INET, 0, backlog4, ret_port);
		fds[1] = listen_on(AF_INET6, *ret_port, backlog6, &port6);
		if (fds[1] >= 0)
			return;
		(void)close(fds[0]);
	}
	fail_msg("no port is free in both families");
}

static void strategy_orders_families(void **state)
{
	static const struct {
		enum cv_resolve_strategy strategy;
		int family;
	} rows[] = {
		{CV_RESOLVE_V4, AF_INET},
		{CV_RESOLVE_V6, AF_INET6},
		{CV_RESOLVE_V4V6, AF_INET},
		{CV_RESOLVE_V6V4, AF_INET6},
	};
	uint16_t port;
	int fds[2];

	(void)state;
	listen_both(fds, 8, 8, &port);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct caller caller = {0};

		(void)start(&caller, "localhost", port, rows[i].strategy, 2000);
		turns(&caller.calls, 1, 3000);
		assert_connected(&caller, rows[i].family);
		(void)close(caller.fd);
	}
	close_all(fds, 2);
}

static void refusal_of_one_tries_the_other_at_once(void **state)
{
	struct caller caller = {0};
	uint64_t started_ms = cv_clock_ms();
	uint16_t port;
	int fds[2];

	(void)state;
	listen_both(fds, 8, 8, &port);
	(void)close(fds[1]);
	(void)start(&caller, "localhost", port, CV_RESOLVE_V6V4, 2000);
	turns(&caller.calls, 1, 3000);
	assert_connected(&caller, AF_INET);
	assert_true(cv_clock_ms() - started_ms < CV_CONNECT_STAGGER_MS - 50);
	(void)close(caller.fd);
	(void)close(fds[0]);
}

static void silence_of_one_tries_the_other_after_250_ms(void **state)
{
	struct caller caller = {0};
	size_t before = open_fds();
	uint64_t started_ms;
	int fds[2], fillers[8], none = 0;
	uint16_t port;

	(void)state;
	listen_both(fds, 8, 0, &port);
	fill(AF_INET6, port, fillers);
	started_ms = cv_clock_ms();
	(void)start(&caller, "localhost", port, CV_RESOLVE_V6V4, 3000);
	turns(&caller.calls, 1, 4000);
	assert_connected(&caller, AF_INET);
	assert_in_range(cv_clock_ms() - started_ms, CV_CONNECT_STAGGER_MS - 10, 1500);
	(void)close(caller.fd);
	close_all(fillers, 8);
	close_all(fds, 2);
	turns(&none, 1, 50); /* the loser is closed once its operation ended */
	assert_int_equal(open_fds(), before);
}

static void all_refused(void **state)
{
	struct caller caller = {0};
	uint16_t port;

	(void)state;
	(void)close(listen_on(AF_INET, 0, 8, &port));
	(void)start(&caller, "localhost", port, CV_RESOLVE_V4V6, 2000);
	turns(&caller.calls, 1, 3000);
	assert_int_equal(caller.reason, CV_UPSTREAM_REFUSED);
	assert_int_equal(caller.asked, 2);
}

static void filter_is_asked_for_every_address(void **state)
{
	struct caller caller = {.refuse_v6 = true}, nothing = {.refuse_all = true};
	uint16_t port;
	int fds[2];

	(void)state;
	listen_both(fds, 8, 8, &port);
	(void)start(&caller, "localhost", port, CV_RESOLVE_V6V4, 2000);
	turns(&caller.calls, 1, 3000);
	assert_connected(&caller, AF_INET);
	assert_int_equal(caller.asked, 2);
	(void)close(caller.fd);
	(void)start(&nothing, "localhost", port, CV_RESOLVE_V6V4, 2000);
	turns(&nothing.calls, 1, 3000);
	assert_int_equal(nothing.reason, CV_UPSTREAM_UNREACHABLE);
	assert_int_equal(nothing.asked, 2);
	close_all(fds, 2);
}

static void unknown_name(void **state)
{
	struct caller caller = {0};

	(void)state;
	(void)start(&caller, "no-such-name.invalid", 80, CV_RESOLVE_ANY, 12000);
	turns(&caller.calls, 1, 13000);
	assert_true(caller.reason == CV_UPSTREAM_RESOLVE || caller.reason == CV_UPSTREAM_TIMEOUT);
}

/* ---- cancel ------------------------------------------------------------------------------- */

static void cancel_at_any_time(void **state)
{
	size_t before = open_fds();
	int fds[2], fillers[8], none = 0;
	uint16_t port;

	(void)state;
	listen_both(fds, 64, 0, &port);
	fill(AF_INET6, port, fillers);
	for (int i = 0; i < 12; i++) {
		struct caller caller = {0};
		struct cv_connector *connector = start(
			&caller, "localhost", port, i % 2 ? CV_RESOLVE_V6 : CV_RESOLVE_V6V4, 5000);

		turns(&none, 1, (uint64_t)i * 30 % 240);
		if (!caller.calls)
			cv_connect_cancel(connector);
		else if (caller.fd >= 0)
			(void)close(caller.fd);
		turns(&none, 1, 10);
		assert_true(caller.calls == 0 || caller.reason == 0);
	}
	close_all(fillers, 8);
	close_all(fds, 2);
	turns(&none, 1, 50);
	assert_int_equal(open_fds(), before);
}

/* ---- unix and listen ---------------------------------------------------------------------- */

static struct cv_connector *start_unix(struct caller *caller, const struct cv_sockaddr *address,
				       uint32_t timeout_ms)
{
	const struct cv_connect_request request = {
		.ring = ring,
		.address = address,
		.timeout_ms = timeout_ms,
		.done = connected,
		.owner = caller,
	};
	struct cv_connector *connector = cv_connect_start(&request);

	assert_non_null(connector);
	return connector;
}

static void unix_sockets(void **state)
{
	char dir[] = "/tmp/culvert-connect-XXXXXX", path[64];
	struct caller good = {0}, gone = {0}, full = {0}, waited = {0};
	struct cv_sockaddr address;
	struct stat status;
	int listener, second, other, queued[4], count = 0, none = 0;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/sock", dir);
	assert_int_equal(cv_sockaddr_from_unix(path, &address), 0);
	listener = cv_listen(&address, 1, 0600);
	assert_true(listener >= 0);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	assert_int_equal(cv_listen(&address, 1, 0), -EADDRINUSE); /* somebody listens there */
	(void)start_unix(&good, &address, 1000);
	turns(&good.calls, 1, 2000);
	assert_connected(&good, AF_UNIX);
	(void)close(good.fd);
	/* a full backlog neither blocks the ring nor fails at once */
	for (; count < 4; count++) {
		queued[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(queued[count], &address.any, address.len_bytes) < 0)
			break;
	}
	(void)start_unix(&full, &address, 200);
	turns(&full.calls, 1, 2000);
	assert_int_equal(full.calls, 1);
	assert_int_equal(full.reason, CV_UPSTREAM_TIMEOUT);
	(void)start_unix(&waited, &address, 5000);
	turns(&none, 1, 50);
	assert_int_equal(waited.calls, 0);
	for (int i = 0; i < 4; i++)
		(void)close(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	turns(&waited.calls, 1, 2000);
	assert_connected(&waited, AF_UNIX);
	(void)close(waited.fd);
	close_all(queued, count < 4 ? count + 1 : count);
	(void)close(listener);
	/* the stale file refuses, and is replaced by the next listener */
	(void)start_unix(&gone, &address, 1000);
	turns(&gone.calls, 1, 2000);
	assert_int_equal(gone.reason, CV_UPSTREAM_REFUSED);
	second = cv_listen(&address, 1, 0);
	assert_true(second >= 0);
	(void)close(second);
	(void)unlink(path);
	/* any other file is not ours to remove */
	other = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(other >= 0);
	(void)close(other);
	assert_int_equal(cv_listen(&address, 1, 0), -EADDRINUSE);
	assert_int_equal(access(path, F_OK), 0);
	(void)unlink(path);
	(void)rmdir(dir);
}

static void listeners_share_a_port_and_both_families(void **state)
{
	struct cv_sockaddr any = {.len_bytes = sizeof(any.in6), .in6.sin6_family = AF_INET6};
	struct caller v4 = {0};
	int first = cv_listen(&any, 16, 0), second;

	(void)state;
	assert_true(first >= 0);
	assert_int_equal(getsockname(first, &any.any, &any.len_bytes), 0);
	second = cv_listen(&any, 16, 0);
	assert_true(second >= 0);
	assert_true(fcntl(first, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(first, F_GETFD) & FD_CLOEXEC);
	(void)start(&v4, "127.0.0.1", cv_sockaddr_port(&any), CV_RESOLVE_ANY, 1000);
	turns(&v4.calls, 1, 2000);
	assert_connected(&v4, AF_INET);
	cv_socket_tune_client(v4.fd);
	(void)close(v4.fd);
	(void)close(first);
	(void)close(second);
}

static void client_sockets_have_no_keepalive(void **state)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	cv_socket_tune_client(fd);
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
	(void)close(fd);
}

static void abort_is_a_reset(void **state)
{
	struct cv_sockaddr address;
	uint16_t port;
	int listener = listen_on(AF_INET, 0, 8, &port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), inner;
	char byte;

	(void)state;
	address = loopback(AF_INET, port);
	assert_int_equal(connect(fd, &address.any, address.len_bytes), 0);
	inner = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	cv_socket_abort(inner);
	assert_int_equal(read(fd, &byte, 1), -1);
	assert_int_equal(errno, ECONNRESET);
	(void)close(fd);
	(void)close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(literals_connect_and_are_tuned),
		cmocka_unit_test(literals_ignore_the_strategy),
		cmocka_unit_test(refused),
		cmocka_unit_test(blackhole_times_out),
		cmocka_unit_test(unreachable),
		cmocka_unit_test(out_of_descriptors),
		cmocka_unit_test(waits_for_a_descriptor),
		cmocka_unit_test(strategy_orders_families),
		cmocka_unit_test(refusal_of_one_tries_the_other_at_once),
		cmocka_unit_test(silence_of_one_tries_the_other_after_250_ms),
		cmocka_unit_test(all_refused),
		cmocka_unit_test(filter_is_asked_for_every_address),
		cmocka_unit_test(unknown_name),
		cmocka_unit_test(cancel_at_any_time),
		cmocka_unit_test(unix_sockets),
		cmocka_unit_test(listeners_share_a_port_and_both_families),
		cmocka_unit_test(client_sockets_have_no_keepalive),
		cmocka_unit_test(abort_is_a_reset),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
