// SPDX-License-Identifier: MIT
/*
 * engine_rig.c - see engine_rig.h
 */
#include "engine_rig.h"

#include "base/clock.h"
#include "base/container.h"
#include "engine/pipe_pool.h"
#include "engine/sockmap.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

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

static struct cv_kernel *kernel;

const struct cv_kernel *engine_rig_kernel(void)
{
	if (!kernel)
		assert_int_equal(cv_kernel_open(NULL, CV_KERNEL_LOAD_RELAY, &kernel), 0);
	if (kernel->relay.error) {
		print_message("no sockmap here: %s\n", kernel->relay.why);
		skip();
	}
	return kernel;
}

void engine_rig_done(void)
{
	kernel = cv_kernel_close(kernel);
}

void engine_rig_open(struct rig *rig, void **state)
{
	const struct variant *variant = *state;
	const struct cv_ring_config config = {
		.entry_count = 256,
		.buffer_count = 64,
		.buffer_bytes = 16384,
	};

	const struct cv_kernel *relay =
		variant->engine == &cv_engine_sockmap ? engine_rig_kernel() : NULL;

	memset(rig, 0, sizeof(*rig));
	rig->fds_before = open_fds();
	assert_int_equal(cv_ring_new(&config, &rig->ring), 0);
	rig->env.ring = rig->ring;
	rig->env.pipes = cv_pipe_pool_new(variant->max_pipes, 4, 262144);
	assert_non_null(rig->env.pipes);
	if (relay)
		assert_int_equal(cv_sockmap_new(relay, rig->ring, &rig->env.sockmap), 0);
	rig->guard.due = tick;
	rig->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	rig->address.len_bytes = sizeof(rig->address.in);
	rig->address.in.sin_family = AF_INET;
	rig->address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(rig->listener, &rig->address.any, rig->address.len_bytes), 0);
	assert_int_equal(listen(rig->listener, 64), 0);
	assert_int_equal(getsockname(rig->listener, &rig->address.any, &rig->address.len_bytes), 0);
}

void engine_rig_close(struct rig *rig)
{
	assert_int_equal(cv_pipe_pool_used(rig->env.pipes), 0);
	(void)close(rig->listener);
	cv_pipe_pool_free(rig->env.pipes);
	if (rig->env.sockmap)
		assert_int_equal(cv_sockmap_used(rig->env.sockmap), 0);
	cv_sockmap_free(rig->env.sockmap);
	cv_timer_disarm(rig->ring, &rig->guard);
	cv_ring_free(rig->ring);
	assert_int_equal(open_fds(), rig->fds_before);
}

void turn(struct rig *rig)
{
	cv_timer_arm(rig->ring, &rig->guard, cv_clock_ms() + 1);
	assert_int_equal(cv_ring_turn(rig->ring), 0);
}

/* Both ends of one TCP connection, nonblocking. */
void connect_pair(struct rig *rig, int *ret_outer, int *ret_inner)
{
	const int one = 1;

	*ret_outer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(*ret_outer >= 0);
	assert_int_equal(connect(*ret_outer, &rig->address.any, rig->address.len_bytes), 0);
	*ret_inner = accept4(rig->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(*ret_inner >= 0);
	assert_int_equal(setsockopt(*ret_outer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
}

static void up_ended(struct cv_flow *flow, int result)
{
	struct session *session = cv_container_of(flow, struct session, up);

	assert_int_equal(session->up_result, none);
	session->up_result = result;
	session->ended++;
	if (session->down_result == none)
		cv_flow_watch_sink(&session->down);
}

static void down_ended(struct cv_flow *flow, int result)
{
	struct session *session = cv_container_of(flow, struct session, down);

	assert_int_equal(session->down_result, none);
	session->down_result = result;
	session->ended++;
	if (session->up_result == none)
		cv_flow_watch_sink(&session->up);
}

void session_open(struct rig *rig, struct session *session, uint32_t seed)
{
	memset(session, 0, sizeof(*session));
	connect_pair(rig, &session->client.fd, &session->near);
	connect_pair(rig, &session->server.fd, &session->far);
	session->client.chunk_limit = session->server.chunk_limit = 50000;
	session->client.send_seed = session->server.receive_seed = 2 * seed + 1;
	session->client.receive_seed = session->server.send_seed = 2 * seed + 2;
	session->up_result = session->down_result = none;
	session->up = (struct cv_flow){
		.env = &rig->env,
		.source_fd = session->near,
		.sink_fd = session->far,
		.ended = up_ended,
	};
	session->down = session->up;
	session->down.source_fd = session->far;
	session->down.sink_fd = session->near;
	session->down.ended = down_ended;
}

static void flow_start(struct cv_flow *flow, const struct cv_engine *engine)
{
	int error = engine->start(flow);

	if (error == -EOPNOTSUPP && engine == &cv_engine_sockmap) /* its refuge, as in the daemon */
		error = cv_engine_copy.start(flow);
	assert_int_equal(error, 0);
}

void session_start(struct session *session, void **state)
{
	const struct variant *variant = *state;

	flow_start(&session->up, variant->engine);
	flow_start(&session->down, variant->engine);
}

/* Everything ended by itself, or is stopped here. */
void session_close(struct rig *rig, struct session *session)
{
	uint64_t end_ms = cv_clock_ms() + LIMIT_MS;

	if (session->up_result == none)
		session->up.engine->stop(&session->up);
	if (session->down_result == none)
		session->down.engine->stop(&session->down);
	while (session->ended < 2 && cv_clock_ms() < end_ms)
		turn(rig);
	assert_int_equal(session->ended, 2);
	assert_false(session->up.op.pending);
	assert_false(session->down.op.pending);
	assert_null(session->up.pipe);
	assert_null(session->down.pipe);
	(void)close(session->near);
	(void)close(session->far);
	if (session->client.fd >= 0)
		(void)close(session->client.fd);
	if (session->server.fd >= 0)
		(void)close(session->server.fd);
}

void reset(struct end *end)
{
	const struct linger linger = {.l_onoff = 1};

	assert_int_equal(setsockopt(end->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	(void)close(end->fd);
	end->fd = -1;
}

/* ---- streams ------------------------------------------------------------------------------ */

uint8_t byte_at(uint64_t position, uint32_t seed)
{
	uint64_t x = (position + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)seed * 0xc2b2ae3d27d4eb4fu;

	return (uint8_t)(x >> 29 ^ x >> 51);
}

static uint8_t scratch[1 << 17];

/* Send as much of what is wanted as the socket takes now, at most @limit bytes. */
void end_send(struct end *end, uint64_t limit)
{
	while (end->fd >= 0 && end->sent < end->wanted && limit) {
		size_t chunk = 1 + (size_t)rand() % end->chunk_limit;
		ssize_t sent;

		if (chunk > end->wanted - end->sent)
			chunk = end->wanted - end->sent;
		if (chunk > limit)
			chunk = limit;
		for (size_t i = 0; i < chunk; i++)
			scratch[i] = byte_at(end->sent + i, end->send_seed);
		sent = send(end->fd, scratch, chunk, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0) {
			assert_true(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
			return;
		}
		end->sent += (uint64_t)sent;
		limit -= (uint64_t)sent;
	}
	if (end->fd >= 0 && end->fin_wanted && !end->fin_sent && end->sent == end->wanted) {
		assert_int_equal(shutdown(end->fd, SHUT_WR), 0);
		end->fin_sent = true;
	}
}

void end_receive(struct end *end, uint64_t limit)
{
	while (end->fd >= 0 && !end->fin_seen && limit) {
		size_t size = limit < sizeof(scratch) ? limit : sizeof(scratch);
		ssize_t got = recv(end->fd, scratch, size, MSG_DONTWAIT);

		if (got == 0)
			end->fin_seen = true;
		if (got < 0 && errno == ECONNRESET)
			end->reset_seen = true;
		if (got <= 0)
			return;
		for (ssize_t i = 0; i < got; i++)
			if (scratch[i] != byte_at(end->received + (uint64_t)i, end->receive_seed))
				fail_msg("wrong byte at %llu",
					 (unsigned long long)(end->received + (uint64_t)i));
		end->received += (uint64_t)got;
		limit -= (uint64_t)got;
	}
}

void play(struct rig *rig, struct session *session)
{
	end_send(&session->client, 1 << 18);
	end_send(&session->server, 1 << 18);
	turn(rig);
	end_receive(&session->client, 1 << 20);
	end_receive(&session->server, 1 << 20);
}

void play_until_ended(struct rig *rig, struct session *session, int ended)
{
	uint64_t end_ms = cv_clock_ms() + LIMIT_MS;

	while (session->ended < ended && cv_clock_ms() < end_ms)
		play(rig, session);
	assert_int_equal(session->ended, ended);
	end_receive(&session->client, UINT64_MAX);
	end_receive(&session->server, UINT64_MAX);
	/* a busy or emulated kernel delivers later than it took */
	end_ms = cv_clock_ms() + (ended == 2 ? LIMIT_MS : 0);
	while (!(session->client.fin_seen && session->server.fin_seen) && cv_clock_ms() < end_ms) {
		turn(rig);
		end_receive(&session->client, UINT64_MAX);
		end_receive(&session->server, UINT64_MAX);
	}
}

void play_until_received(struct rig *rig, struct session *session, const struct end *end,
				uint64_t bytes)
{
	uint64_t end_ms = cv_clock_ms() + LIMIT_MS;

	while (end->received < bytes && cv_clock_ms() < end_ms)
		play(rig, session);
	assert_int_equal(end->received, bytes);
}

void assert_all_arrived(const struct session *session)
{
	assert_int_equal(session->up_result, 0);
	assert_int_equal(session->down_result, 0);
	assert_int_equal(session->server.received, session->client.wanted);
	assert_int_equal(session->client.received, session->server.wanted);
	assert_true(session->server.fin_seen);
	assert_true(session->client.fin_seen);
	assert_int_equal(session->up.moved_bytes, session->client.wanted);
	assert_int_equal(session->down.moved_bytes, session->server.wanted);
}

