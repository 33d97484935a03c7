// SPDX-License-Identifier: MIT
/*
 * test_sockmap_segments.c - segments that overlap: what came twice reaches the sink once.
 *
 * Made by hand behind a TUN device: over loopback it takes a busy machine and luck.
 */
#include "engine_rig.h"
#include "segments.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT 4450
#define SEED 5
#define STREAM_BYTES 2000

static struct variant sockmap = {&cv_engine_sockmap, 4};
static int setup_error;

static int listen_here(void)
{
	const struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

/* Pieces of the stream in the order in which they arrive. */
struct piece {
	uint32_t from, until;
};

static void connect_by_hand(struct session *session, struct segments_peer *peer)
{
	int listener = listen_here();

	(void)close(session->near);
	(void)close(session->client.fd);
	session->client.fd = -1;
	segments_connect(peer, PORT);
	session->near = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(session->near >= 0);
	session->up.source_fd = session->down.sink_fd = session->near;
	(void)close(listener);
}

static void send_piece(const struct segments_peer *peer, const struct piece *piece)
{
	uint8_t bytes[STREAM_BYTES];

	for (uint32_t at = piece->from; at < piece->until; at++)
		bytes[at - piece->from] = byte_at(at, SEED);
	segments_send(peer, piece->from, bytes, piece->until - piece->from, 0);
}

/* Sends @pieces; returns how many bytes reached the sink, all of them in @ret_bytes. */
static size_t arrived(void **state, const struct piece *pieces, size_t count, size_t total_bytes,
		      uint8_t ret_bytes[2 * STREAM_BYTES])
{
	struct segments_peer peer;
	struct session session;
	size_t received = 0;
	struct rig rig;

	engine_rig_open(&rig, state);
	session_open(&rig, &session, SEED);
	connect_by_hand(&session, &peer);
	session_start(&session, state);
	for (size_t i = 0; i < count; i++) {
		send_piece(&peer, &pieces[i]);
		for (int turns = 0; turns < 10; turns++)
			turn(&rig);
	}
	for (int turns = 0, after = 0; turns < 2000 && after < 30; turns++) {
		ssize_t got = recv(session.server.fd, ret_bytes + received,
				   2 * STREAM_BYTES - received, MSG_DONTWAIT);

		received += got > 0 ? (size_t)got : 0;
		after += received >= total_bytes;
		turn(&rig);
	}
	cv_engine_sockmap.poll_progress(&session.up);
	assert_int_equal(session.up.moved_bytes, received);
	segments_reset(&peer);
	session_close(&rig, &session);
	engine_rig_close(&rig);
	return received;
}

static void need_tun(void)
{
	if (!setup_error)
		return;
	print_message("skipped: no TUN device: %s\n", strerror(-setup_error));
	skip();
}

static void expect(void **state, const struct piece *pieces, size_t count, size_t total_bytes)
{
	uint8_t bytes[2 * STREAM_BYTES];

	need_tun();
	assert_int_equal(arrived(state, pieces, count, total_bytes, bytes), total_bytes);
	for (size_t at = 0; at < total_bytes; at++)
		if (bytes[at] != byte_at(at, SEED))
			fail_msg("wrong byte at %zu", at);
}

static void test_in_order(void **state)
{
	static const struct piece pieces[] = {{0, 100}, {100, 1000}, {1000, 1100}};

	expect(state, pieces, 3, 1100);
}

/* A retransmission that begins with what was acknowledged, and goes on. */
static void test_begins_with_old_bytes(void **state)
{
	static const struct piece pieces[] = {{0, 100}, {50, 150}, {0, 1200}, {1199, 1201}};

	expect(state, pieces, 4, 1201);
}

/* A gap filled with more than was missing, in front of what had waited behind it. */
static void test_gap_is_overfilled(void **state)
{
	static const struct piece pieces[] = {
		{0, 100}, {200, 400}, {500, 600}, {100, 300}, {350, 560}};

	expect(state, pieces, 5, 600);
}

static void test_nothing_new(void **state)
{
	static const struct piece pieces[] = {{0, 500}, {0, 500}, {100, 200}, {500, 501}};

	expect(state, pieces, 4, 501);
}

#ifdef CV_MUTATIONS

static void test_the_rule_is_missed(void **state)
{
	static const struct piece pieces[] = {{0, 100}, {50, 150}};
	uint8_t bytes[2 * STREAM_BYTES];

	need_tun();
	engine_rig_done(); /* the program is to be loaded without the rule */
	assert_int_equal(setenv("CULVERT_MUTATION", "relay-repeated", 1), 0);
	assert_int_equal(arrived(state, pieces, 2, 200, bytes), 200);
	assert_int_equal(unsetenv("CULVERT_MUTATION"), 0);
	engine_rig_done();
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(test_in_order, &sockmap),
		cmocka_unit_test_prestate(test_begins_with_old_bytes, &sockmap),
		cmocka_unit_test_prestate(test_gap_is_overfilled, &sockmap),
		cmocka_unit_test_prestate(test_nothing_new, &sockmap),
#ifdef CV_MUTATIONS
		cmocka_unit_test_prestate(test_the_rule_is_missed, &sockmap),
#endif
	};
	int failed;

	(void)signal(SIGPIPE, SIG_IGN);
	setup_error = segments_open();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	engine_rig_done();
	segments_close();
	return failed;
}
