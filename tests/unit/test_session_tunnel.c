// SPDX-License-Identifier: MIT
/*
 * test_session_tunnel.c - a tunnel on a real worker: connections from both ends, refused and reset
 * ones; datagrams of several sources, of strangers, empty and large ones, and a worker that stops
 * under them.
 */
#include "session_stage.h"

#include "base/reason.h"
#include "session/session_tunnel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define SOURCES 5

static struct session_stage stage;
static struct cv_tunnel tunnel;

static void start(const struct cv_sockaddr *leads_to)
{
	stage_init(&stage);
	tunnel = (struct cv_tunnel){.carries_tcp = true, .carries_udp = true};
	assert_true(cv_sockaddr_to_destination(leads_to ? leads_to : &stage.upstream_address,
					       &tunnel.to));
	stage.inbound.protocol = CV_INBOUND_TUNNEL;
	stage.inbound.tunnel = &tunnel;
	stage.config.external_first = 1;
	stage.config.daemon.max_associations = SOURCES;
	stage.config.daemon.max_user_associations = SOURCES;
	stage_start(&stage, "splice");
}

/* ---- connections -------------------------------------------------------------------------- */

static struct session_pair open_pair(void)
{
	struct session_pair pair = {.client = stage_dial(&stage)};

	pair.upstream = stage_accept(&stage);
	return pair;
}

static void test_connections(void **state)
{
	struct session_pair pair;

	(void)state;
	start(NULL);
	pair = open_pair(); /* nobody needs to speak first */
	stage_send(pair.upstream, "220", 3);
	stage_expect(pair.client, "220", 3);
	stage_send(pair.client, "question", 8);
	(void)shutdown(pair.client, SHUT_WR);
	stage_expect(pair.upstream, "question", 8);
	stage_expect_fin(pair.upstream);
	stage_send(pair.upstream, "answer", 6);
	(void)close(pair.upstream);
	stage_expect(pair.client, "answer", 6);
	stage_expect_fin(pair.client);
	(void)close(pair.client);
	stage_done(&stage);
}

static void test_resets(void **state)
{
	struct session_pair pair;

	(void)state;
	start(NULL);
	pair = open_pair();
	stage_reset(pair.client);
	stage_expect_reset(pair.upstream);
	(void)close(pair.upstream);
	pair = open_pair();
	stage_send(pair.upstream, "x", 1);
	stage_expect(pair.client, "x", 1);
	stage_reset(pair.upstream);
	stage_expect_reset(pair.client);
	(void)close(pair.client);
	stage_reset(stage_dial(&stage)); /* perhaps before it is led anywhere */
	stage_done(&stage);
}

static void test_refused(void **state)
{
	struct cv_sockaddr nowhere;
	const int fd = stage_open_udp(&nowhere); /* no TCP there */
	int client;

	(void)state;
	start(&nowhere);
	client = stage_dial(&stage);
	stage_expect_fin(client);
	(void)close(client);
	stage_wait_sessions(&stage, 0);
	assert_int_equal(stage_reason(&stage, CV_UPSTREAM_REFUSED), 1);
	(void)close(fd);
	stage_done(&stage);
}

/* ---- datagrams ---------------------------------------------------------------------------- */

/* The worker's socket, that sources send to. */
static struct cv_sockaddr hear(void)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.in)};
	int fd;

	address.in.sin_family = AF_INET;
	address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = cv_tunnel_bind(&address);
	assert_true(fd >= 0);
	assert_int_equal(getsockname(fd, &address.any, &address.len_bytes), 0);
	assert_int_equal(cv_tunnel_expect_free(&address), -EADDRINUSE);
	assert_int_equal(cv_worker_hear(&stage.worker, &stage.inbound, fd), 0);
	return address;
}

static void send_to(int fd, const struct cv_sockaddr *to, const void *bytes, size_t len)
{
	assert_int_equal(sendto(fd, bytes, len, 0, &to->any, to->len_bytes), len);
}

static void expect_from(int fd, const void *bytes, size_t len, struct cv_sockaddr *ret_from)
{
	uint8_t got[16384];

	ret_from->len_bytes = sizeof(ret_from->in);
	assert_int_equal(recvfrom(fd, got, sizeof(got), 0, &ret_from->any, &ret_from->len_bytes),
			 len);
	assert_memory_equal(got, bytes, len);
}

static void expect_at(int fd, const struct cv_sockaddr *wanted, const void *bytes, size_t len)
{
	struct cv_sockaddr from;

	expect_from(fd, bytes, len, &from);
	assert_memory_equal(&from.in, &wanted->in, sizeof(from.in));
}

static void test_datagrams(void **state)
{
	struct cv_sockaddr host_address, source_address, entrance, ways[SOURCES];
	const int host = stage_open_udp(&host_address);
	int sources[SOURCES];
	uint8_t large[9000];

	(void)state;
	start(&host_address);
	entrance = hear();
	memset(large, 0x5a, sizeof(large));
	for (int i = 0; i < SOURCES; i++) {
		sources[i] = stage_open_udp(&source_address);
		send_to(sources[i], &entrance, &i, sizeof(i));
		expect_from(host, &i, sizeof(i), &ways[i]);
	}
	for (int i = SOURCES - 1; i >= 0; i--) { /* each by its own port, both ways */
		send_to(host, &ways[i], "answer", 6 - (size_t)i);
		expect_at(sources[i], &entrance, "answer", 6 - (size_t)i);
		send_to(sources[i], &entrance, large, sizeof(large));
		expect_at(host, &ways[i], large, sizeof(large));
		send_to(host, &ways[i], large, sizeof(large));
		expect_at(sources[i], &entrance, large, sizeof(large));
	}
	stage_wait_sessions(&stage, SOURCES);
	cv_worker_stop(&stage.worker); /* under them */
	stage.stopped = true;
	for (int i = 0; i < SOURCES; i++)
		(void)close(sources[i]);
	(void)close(host);
	stage_done(&stage);
	assert_int_equal(stage_reason(&stage, CV_POLICY_STOPPING), SOURCES);
}

/* What the destination did not say is nobody's; who is one too many is not led anywhere. */
static void test_strangers(void **state)
{
	struct cv_sockaddr host_address, stranger_address, source_address, entrance, way;
	const int host = stage_open_udp(&host_address);
	const int stranger = stage_open_udp(&stranger_address);
	int sources[SOURCES + 1];

	(void)state;
	start(&host_address);
	entrance = hear();
	for (int i = 0; i <= SOURCES; i++)
		sources[i] = stage_open_udp(&source_address);
	send_to(sources[0], &entrance, "a", 1);
	expect_from(host, "a", 1, &way);
	send_to(stranger, &way, "from a stranger", 15);
	send_to(host, &way, "b", 1);
	expect_at(sources[0], &entrance, "b", 1);
	assert_int_equal(stage_reason(&stage, CV_PEER_STRANGER), 1);
	for (int i = 1; i <= SOURCES; i++)
		send_to(sources[i], &entrance, "c", 1);
	for (int i = 1; i < SOURCES; i++)
		expect_from(host, "c", 1, &way);
	send_to(sources[0], &entrance, "d", 1); /* the one too many came before it */
	expect_from(host, "d", 1, &way);
	assert_int_equal(stage_reason(&stage, CV_INTERNAL_RESOURCE), 1);
	cv_worker_stop(&stage.worker);
	stage.stopped = true;
	for (int i = 0; i <= SOURCES; i++)
		(void)close(sources[i]);
	(void)close(host);
	(void)close(stranger);
	stage_done(&stage);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connections), cmocka_unit_test(test_resets),
		cmocka_unit_test(test_refused),	    cmocka_unit_test(test_datagrams),
		cmocka_unit_test(test_strangers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
