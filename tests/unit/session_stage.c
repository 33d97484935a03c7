// SPDX-License-Identifier: MIT
/*
 * session_stage.c - see session_stage.h.
 */
#include "session_stage.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/reason.h"
#include "policy/router.h"
#include "ring/listen.h"
#include "session/verify.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char empty[] = "", tag_in[] = "in", tag_out[] = "out";

static void pause_ms(long ms)
{
	const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&pause, NULL);
}

static int listen_loopback(struct cv_sockaddr *ret_address)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.in)};
	int fd;

	address.in.sin_family = AF_INET;
	address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = cv_listen(&address, 16, 0);
	assert_true(fd >= 0);
	assert_int_equal(getsockname(fd, &address.any, &address.len_bytes), 0);
	*ret_address = address;
	return fd;
}

void stage_init(struct session_stage *stage)
{
	memset(stage, 0, sizeof(*stage));
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(cv_log_open("", CV_LOG_NONE), 0);
	stage->inbound = (struct cv_inbound){.tag = tag_in, .protocol = CV_INBOUND_SOCKS};
	stage->outbound = (struct cv_outbound){.tag = tag_out,
					       .protocol = CV_OUTBOUND_FREEDOM,
					       .server_name = empty,
					       .spider_x = empty,
					       .key_log_path = empty,
					       .user_email = empty};
	stage->config.inbounds = &stage->inbound;
	stage->config.inbound_count = 1;
	stage->config.outbounds = &stage->outbound;
	stage->config.outbound_count = 1;
	stage->config.daemon.max_sessions = 64;
	stage->config.daemon.max_streams = 32;
	stage->config.daemon.max_pipes = 16;
	stage->config.daemon.drain_s = 1;
	for (size_t i = 0; i < CV_LEVELS; i++)
		stage->config.levels[i] =
			(struct cv_level){.handshake_ms = STAGE_WAIT_MS, .idle_ms = 30000};
	stage->upstream_listener = listen_loopback(&stage->upstream_address);
}

void stage_start(struct session_stage *stage, const char *engine)
{
	const struct cv_resolver_config resolver = {
		.thread_count = 1, .cache_entries = 16, .ttl_ms = 1000, .queue_limit = 16};
	const struct cv_verifier_config verifier = {
		.thread_count = 1, .queue_limit = 16, .cache_entries = 16, .cache_ttl_ms = 1000};
	int fd;

	stage->config.router = cv_router_new(CV_ROUTE_AS_IS);
	assert_non_null(stage->config.router);
	assert_int_equal(cv_resolver_new(&resolver, &stage->resolver), 0);
	assert_int_equal(cv_verifier_new(&verifier, &stage->verifier), 0);
	stage->worker.config = &stage->config;
	stage->worker.resolver = stage->resolver;
	stage->worker.verifier = stage->verifier;
	stage->worker.engine = engine ? cv_engine_find(engine) : NULL;
	assert_int_equal(cv_worker_start(&stage->worker), 0);
	stage->started = true;
	fd = listen_loopback(&stage->inbound_address);
	assert_int_equal(cv_worker_listen(&stage->worker, &stage->inbound, fd), 0);
}

void stage_done(struct session_stage *stage)
{
	if (!stage->stopped) {
		stage_wait_sessions(stage, 0);
		cv_worker_stop(&stage->worker);
	}
	cv_worker_join(&stage->worker);
	cv_resolver_free(stage->resolver);
	cv_verifier_free(stage->verifier);
	cv_worker_done(&stage->worker);
	cv_router_free(stage->config.router);
	(void)close(stage->upstream_listener);
}

/* ---- sockets ------------------------------------------------------------------------------ */

static void set_patience(int fd)
{
	const struct timeval limit = {.tv_sec = STAGE_WAIT_MS / 1000};

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
}

int stage_dial(struct session_stage *stage)
{
	const struct cv_sockaddr *address = &stage->inbound_address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	set_patience(fd);
	assert_int_equal(connect(fd, &address->any, address->len_bytes), 0);
	return fd;
}

int stage_accept(struct session_stage *stage)
{
	struct pollfd wait = {.fd = stage->upstream_listener, .events = POLLIN};
	int fd;

	assert_int_equal(poll(&wait, 1, STAGE_WAIT_MS), 1);
	fd = accept(stage->upstream_listener, NULL, NULL);
	assert_true(fd >= 0);
	set_patience(fd);
	return fd;
}

void stage_send(int fd, const void *bytes, size_t count_bytes)
{
	assert_int_equal(send(fd, bytes, count_bytes, MSG_NOSIGNAL), count_bytes);
}

void stage_expect(int fd, const void *bytes, size_t count_bytes)
{
	uint8_t got[1024];

	assert_true(count_bytes <= sizeof(got));
	assert_int_equal(recv(fd, got, count_bytes, MSG_WAITALL), count_bytes);
	assert_memory_equal(got, bytes, count_bytes);
}

void stage_expect_fin(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

void stage_expect_reset(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
}

void stage_reset(int fd)
{
	uint64_t until_ms = cv_clock_ms() + STAGE_WAIT_MS;
	int unsent = 1;

	while (unsent > 0 && cv_clock_ms() < until_ms) {
		assert_int_equal(ioctl(fd, SIOCOUTQ, &unsent), 0);
		pause_ms(1);
	}
	assert_int_equal(unsent, 0);
	cv_socket_abort(fd);
}

static uint8_t pattern_at(size_t at)
{
	return (uint8_t)(at * 31 + (at >> 8) + (at >> 16));
}

void stage_send_pattern(int fd, size_t count_bytes)
{
	uint8_t block[8192];

	for (size_t at = 0; at < count_bytes;) {
		size_t len = count_bytes - at < sizeof(block) ? count_bytes - at : sizeof(block);

		for (size_t i = 0; i < len; i++)
			block[i] = pattern_at(at + i);
		stage_send(fd, block, len);
		at += len;
	}
}

void stage_expect_pattern(int fd, size_t count_bytes)
{
	uint8_t block[8192];

	for (size_t at = 0; at < count_bytes;) {
		size_t len = count_bytes - at < sizeof(block) ? count_bytes - at : sizeof(block);
		ssize_t got = recv(fd, block, len, 0);

		assert_true(got > 0);
		for (ssize_t i = 0; i < got; i++)
			assert_int_equal(block[i], pattern_at(at + (size_t)i));
		at += (size_t)got;
	}
}

/* ---- SOCKS5 ------------------------------------------------------------------------------- */

void stage_send_socks(int client, uint16_t port)
{
	const uint8_t request[] = {5, 1, 0, 1, 127, 0, 0, 1, (uint8_t)(port >> 8), (uint8_t)port};

	stage_send(client, "\005\001\000", 3);
	stage_expect(client, "\005\000", 2);
	stage_send(client, request, sizeof(request));
}

struct session_pair stage_open(struct session_stage *stage)
{
	struct session_pair pair = {.client = stage_dial(stage)};

	stage_send_socks(pair.client, cv_sockaddr_port(&stage->upstream_address));
	pair.upstream = stage_accept(stage);
	stage_expect(pair.client, "\005\000\000\001\000\000\000\000\000\000", 10);
	return pair;
}

/* ---- what the worker knows ---------------------------------------------------------------- */

void stage_wait_sessions(struct session_stage *stage, unsigned count)
{
	uint64_t until_ms = cv_clock_ms() + STAGE_WAIT_MS;

	while (atomic_load(&stage->worker.counters.sessions) != count && cv_clock_ms() < until_ms)
		pause_ms(2);
	assert_int_equal(atomic_load(&stage->worker.counters.sessions), count);
}

uint64_t stage_reason(struct session_stage *stage, int reason)
{
	return atomic_load(&stage->worker.counters.reasons[cv_reason_index(reason)]);
}

uint64_t stage_handovers(struct session_stage *stage, int direction)
{
	return atomic_load(&stage->worker.counters.handed_over[direction]);
}

int stage_open_udp(struct cv_sockaddr *ret_address)
{
	const struct timeval limit = {.tv_sec = STAGE_WAIT_MS / 1000};
	struct cv_sockaddr address = {.len_bytes = sizeof(address.in)};
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	address.in.sin_family = AF_INET;
	address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, &address.any, address.len_bytes), 0);
	assert_int_equal(getsockname(fd, &address.any, &address.len_bytes), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	*ret_address = address;
	return fd;
}
