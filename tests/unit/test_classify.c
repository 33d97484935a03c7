// SPDX-License-Identifier: MIT
/*
 * test_classify.c - bpf/classify.bpf.c in this kernel, in a network namespace of its own.
 *
 * Loopback carries what a well-behaved client sends; segments out of order, twice, broken or ahead
 * of the accept are made by hand behind a TUN device, where this program is the whole other host.
 * Skips where it may not load programs or make namespaces.
 */
#include "classify_rig.h"
#include "segments.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- classes ------------------------------------------------------------------------------ */

static void check_segmentation(int family, size_t filler, size_t piece_bytes)
{
	int listener = listen_on(family, PORT);
	struct pair pair = connect_to(listener);

	make_hello("www.b.example", filler);
	send_pieces(pair.client, piece_bytes);
	assert_received(pair.server);
	assert_int_equal(class_of(pair.server, TABLE), WILD);
	assert_int_equal(class_of(pair.server, OTHER_TABLE), CV_SNI_CLASS_NONE);
	close_pair(pair);
	(void)close(listener);
}

static void test_segmentations(void **state)
{
	static const struct {
		size_t filler, piece_bytes;
	} cases[] = {
		{200, 70000}, {200, 1}, {200, 100}, {1700, 1400}, {1700, 70000}, {1700, 100},
		{3900, 1}, {3900, 1024}, {3900, 1025}, {3900, 70000},
	};

	(void)state;
	skip_unless_ready();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		check_segmentation(AF_INET, cases[i].filler, cases[i].piece_bytes);
		check_segmentation(AF_INET6, cases[i].filler, cases[i].piece_bytes);
	}
}

static void test_names(void **state)
{
	static const struct {
		const char *name;
		uint32_t class;
		bool has_uppercase;
	} cases[] = {
		{"a.example", EXACT, false},
		{"A.exaMPLE", EXACT, true},
		{"b.example", CV_SNI_CLASS_OTHER, false},
		{"w.b.example", WILD, false},
		{"v.w.b.example", WILD, false},
		{"c.b.example", WILD, false},
		{"w.c.b.example", LONGER, false},
		{"x.c.b.example", EXACT, false},
		{".b.example", CV_SNI_CLASS_OTHER, false},
		{"*.b.example", WILD, false},
		{"b.exampl", CV_SNI_CLASS_OTHER, false},
		{"a.example.b", CV_SNI_CLASS_OTHER, false},
		{NULL, CV_SNI_CLASS_NO_NAME, false},
	};
	int listener;

	(void)state;
	skip_unless_ready();
	listener = listen_on(AF_INET, PORT);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct cv_sni_counter before = counter_of(cases[i].class);
		struct pair pair = connect_to(listener);
		struct cv_sni_result result = {0};

		make_hello(cases[i].name, 10);
		send_pieces(pair.client, hello.len);
		assert_received(pair.server);
		assert_int_equal(cv_classify_read(classify, pair.server, TABLE, &result), 0);
		if (result.class != cases[i].class)
			fail_msg("%s: %u", cases[i].name, result.class);
		assert_int_equal(result.has_uppercase, cases[i].has_uppercase);
		assert_int_equal(counter_of(cases[i].class).connections, before.connections + 1);
		assert_int_equal(counter_of(cases[i].class).dropped_segments,
				 before.dropped_segments);
		close_pair(pair);
	}
	(void)close(listener);
}

/* A listed name of 255 bytes, and one that only its last byte tells from it. */
static void test_longest_name(void **state)
{
	char name[CV_CLASSIFY_NAME_BYTES + 1];
	int listener;

	(void)state;
	skip_unless_ready();
	memset(name, 'z', 255);
	name[255] = '\0';
	assert_int_equal(cv_classify_add_name(classify, TABLE, name, LONGER, CV_SNI_PASS), 0);
	assert_int_equal(cv_classify_add_name(classify, TABLE, name, LONGER, CV_SNI_PASS), -EEXIST);
	listener = listen_on(AF_INET, PORT);
	for (uint32_t i = 0; i < 2; i++) {
		struct pair pair = connect_to(listener);

		make_hello(name, 10);
		send_pieces(pair.client, hello.len);
		assert_received(pair.server);
		assert_int_equal(class_of(pair.server, TABLE), i ? CV_SNI_CLASS_OTHER : LONGER);
		close_pair(pair);
		name[254] = 'y';
	}
	strcat(name, "z");
	assert_int_equal(cv_classify_add_name(classify, TABLE, name, LONGER, CV_SNI_PASS), -EINVAL);
	(void)close(listener);
}

static void test_what_is_left_to_user_space(void **state)
{
	static const struct {
		uint16_t port;
		size_t filler;
	} cases[] = {{UNLISTED_PORT, 10}, {PORT, 5000}, {LOOSE_PORT, 5000}};

	(void)state;
	skip_unless_ready();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int listener = listen_on(AF_INET, cases[i].port);
		struct pair pair = connect_to(listener);

		make_hello("w.drop.example", cases[i].filler);
		send_pieces(pair.client, 1000);
		assert_received(pair.server);
		assert_int_equal(class_of(pair.server, TABLE), CV_SNI_CLASS_NONE);
		close_pair(pair);
		(void)close(listener);
	}
}

/* ---- the end in the kernel ---------------------------------------------------------------- */

static void check_black_hole(struct pair pair, uint32_t class)
{
	const struct cv_sni_counter before = counter_of(class);

	send_pieces(pair.client, hello.len);
	assert_true(is_silent(pair.server, 300));
	assert_int_equal(class_of(pair.server, TABLE), class);
	assert_int_equal(send(pair.client, "more", 4, 0), 4);
	assert_true(is_silent(pair.server, 300));
	assert_int_equal(counter_of(class).connections, before.connections + 1);
	assert_true(counter_of(class).dropped_segments >= before.dropped_segments + 2);
}

static void test_dropped_class(void **state)
{
	int listener;
	struct pair dropped, other;

	(void)state;
	skip_unless_ready();
	listener = listen_on(AF_INET6, PORT);
	dropped = connect_to(listener);
	other = connect_to(listener);
	make_hello("w.drop.example", 100);
	check_black_hole(dropped, DROPPED);
	make_hello("a.example", 100); /* beside it others live */
	send_pieces(other.client, hello.len);
	assert_received(other.server);
	close_pair(other);
	close_pair(dropped);
	(void)close(listener);
}

/* The bytes before the last segment of the hello are out already; nothing after them follows. */
static void test_dropped_in_the_second_segment(void **state)
{
	int listener;
	struct pair pair;
	char bytes[4096];

	(void)state;
	skip_unless_ready();
	listener = listen_on(AF_INET, PORT);
	pair = connect_to(listener);
	make_hello("w.drop.example", 1700);
	send_pieces(pair.client, 1400);
	assert_false(is_silent(pair.server, 1000));
	while (recv(pair.server, bytes, sizeof(bytes), 0) > 0)
		;
	assert_true(is_silent(pair.server, 300));
	assert_int_equal(class_of(pair.server, TABLE), DROPPED);
	close_pair(pair);
	(void)close(listener);
}

static void test_not_tls(void **state)
{
	int listener;
	struct pair pair;

	(void)state;
	skip_unless_ready();
	hello.len = (size_t)sprintf((char *)hello.data, "GET / HTTP/1.0\r\n\r\n");
	listener = listen_on(AF_INET, PORT);
	pair = connect_to(listener);
	check_black_hole(pair, CV_SNI_CLASS_NOT_TLS);
	close_pair(pair);
	(void)close(listener);
	listener = listen_on(AF_INET, LOOSE_PORT);
	pair = connect_to(listener);
	send_pieces(pair.client, 1);
	assert_received(pair.server);
	assert_int_equal(class_of(pair.server, OTHER_TABLE), CV_SNI_CLASS_NOT_TLS);
	close_pair(pair);
	(void)close(listener);
}

/* ---- after the class is known ------------------------------------------------------------- */

static void splice_all(struct pair pair, size_t total)
{
	static char block[65536];
	size_t sent = 0, got = 0;
	int pipe_fds[2];

	assert_int_equal(pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC), 0);
	while (got < total) {
		ssize_t count = sent < total ? send(pair.client, block, sizeof(block), MSG_DONTWAIT)
					     : 0;
		struct pollfd poll_fd = {.fd = pair.server, .events = POLLIN};

		sent += count > 0 ? (size_t)count : 0;
		assert_int_equal(poll(&poll_fd, 1, 2000), 1);
		count = splice(pair.server, NULL, pipe_fds[1], NULL, 65536, SPLICE_F_NONBLOCK);
		assert_true(count > 0);
		for (ssize_t left = count; left > 0;)
			left -= read(pipe_fds[0], block, sizeof(block));
		got += (size_t)count;
	}
	(void)close(pipe_fds[0]);
	(void)close(pipe_fds[1]);
}

static void test_detach_then_splice(void **state)
{
	int listener;
	struct pair pair;

	(void)state;
	skip_unless_ready();
	listener = listen_on(AF_INET, PORT);
	pair = connect_to(listener);
	make_hello("a.example", 100);
	send_pieces(pair.client, hello.len);
	assert_received(pair.server);
	assert_int_equal(class_of(pair.server, TABLE), EXACT);
	cv_classify_detach(classify, pair.server);
	assert_int_equal(class_of(pair.server, TABLE), CV_SNI_CLASS_NONE);
	splice_all(pair, 1 << 20);
	assert_int_equal(class_of(pair.server, TABLE), CV_SNI_CLASS_NONE);
	close_pair(pair);
	check_segmentation(AF_INET6, 100, 100); /* the listeners keep theirs */
	(void)close(listener);
}

static void test_silence(void **state)
{
	int listener;
	struct pair pair;
	char bytes[8];

	(void)state;
	skip_unless_ready();
	listener = listen_on(AF_INET, UNLISTED_PORT);
	pair = connect_to(listener);
	assert_int_equal(send(pair.client, "ab", 2, 0), 2);
	assert_false(is_silent(pair.server, 1000));
	assert_int_equal(recv(pair.server, bytes, sizeof(bytes), 0), 2);
	assert_int_equal(cv_classify_silence(pair.server), 0);
	assert_int_equal(send(pair.client, "cd", 2, 0), 2);
	assert_true(is_silent(pair.server, 300));
	assert_int_equal(shutdown(pair.client, SHUT_WR), 0); /* it lies behind what never arrives */
	assert_true(is_silent(pair.server, 300));
	close_pair(pair);
	(void)close(listener);
}

/* ---- segments made by hand ---------------------------------------------------------------- */

static int accept_one(int listener)
{
	struct pollfd poll_fd = {.fd = listener, .events = POLLIN};

	assert_int_equal(poll(&poll_fd, 1, 2000), 1);
	return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* The parts of the hello as @order says; digits of it index cuts of 100 bytes. */
static uint32_t class_after(const char *order)
{
	int listener = listen_on(AF_INET, PORT);
	struct segments_peer peer;
	uint32_t class;
	int server;

	segments_connect(&peer, PORT);
	server = accept_one(listener);
	for (; *order; order++) {
		const size_t at = (size_t)(*order - '0') * 100;
		const size_t count = hello.len - at < 100 ? hello.len - at : 100;

		segments_send(&peer, (uint32_t)at, hello.data + at, count, 0);
	}
	assert_received(server);
	class = class_of(server, TABLE);
	segments_reset(&peer);
	(void)close(server);
	(void)close(listener);
	return class;
}

static void test_order(void **state)
{
	(void)state;
	skip_unless_ready();
	make_hello("www.b.example", 200); /* 3 segments; the second alone is dots: not TLS */
	assert_in_range(hello.len, 201, 299);
	assert_int_equal(class_after("012"), WILD);
	assert_int_equal(class_after("0012"), WILD);
	assert_int_equal(class_after("01012"), WILD);
	assert_int_equal(class_after("0120"), WILD);
	assert_int_equal(class_after("021"), CV_SNI_CLASS_NONE);
	assert_int_equal(class_after("102"), CV_SNI_CLASS_NONE);
	assert_int_equal(class_after("120"), CV_SNI_CLASS_NONE);
	assert_int_equal(class_after("210"), CV_SNI_CLASS_NONE);
}

#ifdef CV_MUTATIONS
/* The second segment of three alone: dots, which are no TLS. */
static uint32_t class_of_a_middle(void)
{
	int listener = listen_on(AF_INET, PORT), server;
	struct segments_peer peer;
	uint32_t class;

	make_hello("www.b.example", 200);
	segments_connect(&peer, PORT);
	server = accept_one(listener);
	segments_send(&peer, 100, hello.data + 100, 100, 0);
	class = class_of(server, TABLE);
	segments_reset(&peer);
	(void)close(server);
	(void)close(listener);
	return class;
}

static void without_rule(const char *name, void (*look)(void))
{
	struct cv_kernel *sound_kernel = kernel;
	struct cv_classify *sound_classify = classify;

	assert_int_equal(setenv("CULVERT_MUTATION", name, 1), 0);
	assert_int_equal(cv_kernel_open(NULL, CV_KERNEL_LOAD_CLASSIFY, &kernel), 0);
	fill_tables();
	look();
	assert_int_equal(unsetenv("CULVERT_MUTATION"), 0);
	classify = cv_classify_free(classify);
	kernel = cv_kernel_close(kernel);
	kernel = sound_kernel;
	classify = sound_classify;
}

static void see_wrong_class(void)
{
	assert_int_equal(class_of_a_middle(), CV_SNI_CLASS_NOT_TLS);
}

static void see_cut_payload(void)
{
	int listener = listen_on(AF_INET, PORT);
	struct pair pair = connect_to(listener);
	char bytes[1024];

	make_hello("a.example", 100);
	send_pieces(pair.client, hello.len);
	assert_false(is_silent(pair.server, 1000));
	assert_in_range(recv(pair.server, bytes, sizeof(bytes), 0), 1, hello.len - 1);
	close_pair(pair);
	(void)close(listener);
}

/* Without the rule a segment that came first passes for the first. */
static void test_order_is_what_decides(void **state)
{
	(void)state;
	skip_unless_ready();
	assert_int_equal(class_of_a_middle(), CV_SNI_CLASS_NONE);
	without_rule("classify-sequence", see_wrong_class);
}

static void test_segments_pass_whole(void **state)
{
	(void)state;
	skip_unless_ready();
	without_rule("classify-whole", see_cut_payload); /* all other tests see them whole */
}
#endif

/* Part of what was there and part of what was not: nobody knows which the socket keeps. */
static void test_overlap(void **state)
{
	int listener, server;
	struct segments_peer peer;

	(void)state;
	skip_unless_ready();
	make_hello("www.b.example", 200);
	listener = listen_on(AF_INET, PORT);
	segments_connect(&peer, PORT);
	server = accept_one(listener);
	segments_send(&peer, 0, hello.data, 100, 0);
	segments_send(&peer, 50, hello.data + 50, 100, 0);
	segments_send(&peer, 150, hello.data + 150, hello.len - 150, 0);
	assert_received(server);
	assert_int_equal(class_of(server, TABLE), CV_SNI_CLASS_NONE);
	segments_reset(&peer);
	(void)close(server);
	(void)close(listener);
}

/* The segment that completes the handshake belongs to the listener: what it carries is not seen. */
static void test_data_ahead_of_the_accept(void **state)
{
	int listener, server;
	struct segments_peer peer;

	(void)state;
	skip_unless_ready();
	make_hello("www.b.example", 200);
	for (size_t first = 100; first <= hello.len; first += hello.len - 100) {
		listener = listen_on(AF_INET, PORT);
		segments_connect_with(&peer, PORT, hello.data, first);
		server = accept_one(listener);
		if (first < hello.len)
			segments_send(&peer, (uint32_t)first, hello.data + first, hello.len - first,
				      0);
		assert_received(server);
		assert_int_equal(class_of(server, TABLE), CV_SNI_CLASS_NONE);
		segments_reset(&peer);
		(void)close(server);
		(void)close(listener);
	}
}

/* Only TCP looks at checksums (of short segments IP does); what it refuses decides nothing for
 * good. */
static void test_broken_checksum(void **state)
{
	static const uint8_t text[200] = "GET /";
	int listener, server;
	struct segments_peer peer;

	(void)state;
	skip_unless_ready();
	make_hello("www.b.example", 200);
	listener = listen_on(AF_INET, PORT);
	segments_connect(&peer, PORT);
	server = accept_one(listener);
	segments_send(&peer, 0, text, sizeof(text), SEGMENT_BROKEN);
	assert_int_equal(class_of(server, TABLE), CV_SNI_CLASS_NOT_TLS);
	segments_send(&peer, 0, hello.data, hello.len, 0);
	assert_received(server);
	assert_int_equal(class_of(server, TABLE), WILD);
	segments_reset(&peer);
	(void)close(server);
	server = -1;

	/* a broken beginning that waits for more: it comes again, so the socket never got it */
	segments_connect(&peer, PORT);
	server = accept_one(listener);
	hello.data[20] ^= 1;
	segments_send(&peer, 0, hello.data, 150, SEGMENT_BROKEN);
	hello.data[20] ^= 1;
	segments_send(&peer, 0, hello.data, 150, 0);
	segments_send(&peer, 150, hello.data + 150, hello.len - 150, 0);
	assert_received(server);
	assert_int_equal(class_of(server, TABLE), CV_SNI_CLASS_NONE);
	segments_reset(&peer);
	(void)close(server);
	(void)close(listener);
}

/* ---- a successor -------------------------------------------------------------------------- */

/* Both use the same maps: the port is the later one's, and neither reads the other's classes. */
static void test_successor(void **state)
{
	struct cv_classify *successor;
	struct cv_sni_result result;
	int listener;
	struct pair pair;

	(void)state;
	skip_unless_ready();
	assert_int_equal(cv_classify_new(kernel, NULL, &successor), 0);
	assert_int_equal(cv_classify_add_name(successor, 0, "a.example", LONGER, CV_SNI_PASS), 0);
	assert_int_equal(cv_classify_add_port(successor, LOOSE_PORT, 0, CV_SNI_PASS), 0);
	listener = listen_on(AF_INET, LOOSE_PORT);
	make_hello("a.example", 10);
	pair = connect_to(listener);
	send_pieces(pair.client, hello.len);
	assert_received(pair.server);
	assert_int_equal(cv_classify_read(successor, pair.server, 0, &result), 0);
	assert_int_equal(result.class, LONGER);
	assert_int_equal(class_of(pair.server, 0), CV_SNI_CLASS_NONE);
	close_pair(pair);
	/* ours leaves: what is the successor's stays */
	classify = cv_classify_free(classify);
	pair = connect_to(listener);
	send_pieces(pair.client, hello.len);
	assert_received(pair.server);
	assert_int_equal(cv_classify_read(successor, pair.server, 0, &result), 0);
	close_pair(pair);
	successor = cv_classify_free(successor);
	assert_true(map_is_empty(kernel->classify_ports_fd, sizeof(uint32_t)));
	assert_true(map_is_empty(kernel->classify_names_fd, sizeof(struct cv_sni_name)));
	(void)close(listener);
	fill_tables();
}

/* ---- two tables on one port --------------------------------------------------------------- */

static void test_port_of_two_tables(void **state)
{
	int listener;
	struct pair pair;

	(void)state;
	skip_unless_ready();
	assert_int_equal(cv_classify_add_port(classify, PORT, TABLE, CV_SNI_DROP), 0); /* again */
	assert_int_equal(cv_classify_add_port(classify, UNLISTED_PORT, TABLE, CV_SNI_DROP), 0);
	assert_int_equal(cv_classify_add_port(classify, UNLISTED_PORT, OTHER_TABLE, CV_SNI_DROP),
			 -EBUSY);
	listener = listen_on(AF_INET, UNLISTED_PORT);
	pair = connect_to(listener);
	make_hello("w.drop.example", 10);
	send_pieces(pair.client, hello.len);
	assert_received(pair.server);
	assert_int_equal(class_of(pair.server, TABLE), CV_SNI_CLASS_NONE);
	close_pair(pair);
	(void)close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segmentations),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_longest_name),
		cmocka_unit_test(test_what_is_left_to_user_space),
		cmocka_unit_test(test_dropped_class),
		cmocka_unit_test(test_dropped_in_the_second_segment),
		cmocka_unit_test(test_not_tls),
		cmocka_unit_test(test_detach_then_splice),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_order),
#ifdef CV_MUTATIONS
		cmocka_unit_test(test_order_is_what_decides),
		cmocka_unit_test(test_segments_pass_whole),
#endif
		cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_data_ahead_of_the_accept),
		cmocka_unit_test(test_broken_checksum),
		cmocka_unit_test(test_successor),
		cmocka_unit_test(test_port_of_two_tables),
	};

	return cmocka_run_group_tests(tests, classify_set_up, classify_tear_down);
}
