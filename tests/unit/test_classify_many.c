// SPDX-License-Identifier: MIT
/*
 * test_classify_many.c - bpf/classify.bpf.c with more hellos than its map holds; their cost.
 *
 * Skips where it may not load programs or make namespaces.
 */
#include "classify_rig.h"

#include <bpf/bpf.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* More unfinished hellos than the map holds: each is its own class in the end, or undecided. */
static void test_eviction(void **state)
{
	enum { COUNT = CV_CLASSIFY_HELLOS + 500 };
	static struct pair pairs[COUNT];
	unsigned undecided = 0;
	int listener;

	(void)state;
	skip_unless_ready();
	listener = listen_on(AF_INET, PORT);
	for (size_t i = 0; i < COUNT; i++) {
		pairs[i] = connect_to(listener);
		make_hello(i % 2 ? "a.example" : "w.b.example", 10);
		assert_int_equal(send(pairs[i].client, hello.data, 60, 0), 60);
	}
	for (size_t i = 0; i < COUNT; i++) {
		uint32_t class;

		make_hello(i % 2 ? "a.example" : "w.b.example", 10);
		assert_int_equal(send(pairs[i].client, hello.data + 60, hello.len - 60, 0),
				 hello.len - 60);
		assert_received(pairs[i].server);
		class = class_of(pairs[i].server, TABLE);
		undecided += class == CV_SNI_CLASS_NONE;
		if (class != CV_SNI_CLASS_NONE && class != (i % 2 ? EXACT : WILD))
			fail_msg("%zu: %u", i, class);
		close_pair(pairs[i]);
	}
	print_message("             %u of %d undecided\n", undecided, COUNT);
	assert_in_range(undecided, 500, COUNT - 1);
	(void)close(listener);
}

static struct bytes flood_hellos[2];

struct flood {
	pthread_t thread;
	int listener;
	unsigned decided, undecided, wrong;
};

enum { FLOOD_THREADS = 4, FLOOD_OPEN = 700, FLOOD_COUNT = 3000 };

static struct pair flood_one(int listener, struct sockaddr_in *address)
{
	const int on = 1;
	struct pair pair = {.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .server = -1};

	if (connect(pair.client, (struct sockaddr *)address, sizeof(*address)) == 0)
		pair.server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	(void)setsockopt(pair.client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return pair;
}

/* Each thread has a listener of its own, so that it knows whose the accepted socket is. */
static void *flood_run(void *context)
{
	static _Thread_local struct pair open_pairs[FLOOD_OPEN];
	struct flood *flood = context;
	struct bytes *hellos = flood_hellos;
	struct sockaddr_in address = {0};
	socklen_t len = sizeof(address);

	(void)getsockname(flood->listener, (struct sockaddr *)&address, &len);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (unsigned i = 0; i < FLOOD_COUNT + FLOOD_OPEN; i++) {
		struct pair *pair = &open_pairs[i % FLOOD_OPEN];

		if (i >= FLOOD_OPEN) {
			const struct bytes *rest = &hellos[i % 2];
			char bytes[1024];
			uint32_t class;

			(void)send(pair->client, rest->data + 60, rest->len - 60, 0);
			(void)recv(pair->server, bytes, rest->len, MSG_WAITALL);
			class = class_of(pair->server, TABLE);
			flood->undecided += class == CV_SNI_CLASS_NONE;
			flood->decided += class == (i % 2 ? EXACT : WILD);
			flood->wrong += class != CV_SNI_CLASS_NONE &&
					class != (i % 2 ? EXACT : WILD);
			close_pair(*pair);
		}
		if (i < FLOOD_COUNT) {
			*pair = flood_one(flood->listener, &address);
			(void)send(pair->client, hellos[i % 2].data, 60, 0);
		}
	}
	return NULL;
}

/* Hellos of all CPUs push each other out: what is decided is right all the same. */
static void test_flood(void **state)
{
	struct flood floods[FLOOD_THREADS] = {0};
	unsigned decided = 0, undecided = 0;

	(void)state;
	skip_unless_ready();
	for (unsigned i = 0; i < 2; i++) {
		make_hello(i ? "a.example" : "w.b.example", 10);
		flood_hellos[i] = hello;
	}
	for (unsigned i = 0; i < FLOOD_THREADS; i++) {
		assert_int_equal(cv_classify_add_port(classify, (uint16_t)(FLOOD_PORT + i), TABLE,
						      CV_SNI_DROP),
				 0);
		floods[i].listener = listen_on(AF_INET, (uint16_t)(FLOOD_PORT + i));
		assert_int_equal(pthread_create(&floods[i].thread, NULL, flood_run, &floods[i]), 0);
	}
	for (unsigned i = 0; i < FLOOD_THREADS; i++) {
		assert_int_equal(pthread_join(floods[i].thread, NULL), 0);
		assert_int_equal(floods[i].wrong, 0);
		decided += floods[i].decided;
		undecided += floods[i].undecided;
		(void)close(floods[i].listener);
	}
	print_message("             %u decided, %u undecided\n", decided, undecided);
	assert_int_equal(decided + undecided, FLOOD_THREADS * FLOOD_COUNT);
	assert_true(decided > 0 && undecided > 0);
}

static void measure(const char *what, const char *name, size_t filler, size_t piece_bytes)
{
	struct bpf_prog_info before = {0}, after = {0};
	uint32_t len = sizeof(before);
	int stats = bpf_enable_stats(BPF_STATS_RUN_TIME), listener = listen_on(AF_INET, PORT);

	assert_int_equal(bpf_obj_get_info_by_fd(kernel->classify_program_fd, &before, &len), 0);
	make_hello(name, filler);
	for (int i = 0; i < 200; i++) {
		struct pair pair = connect_to(listener);

		send_pieces(pair.client, piece_bytes);
		assert_received(pair.server);
		cv_classify_detach(classify, pair.server);
		close_pair(pair);
	}
	len = sizeof(after);
	assert_int_equal(bpf_obj_get_info_by_fd(kernel->classify_program_fd, &after, &len), 0);
	print_message("             %s: %llu ns\n", what,
		      (unsigned long long)(after.run_time_ns - before.run_time_ns) / 200);
	(void)close(stats);
	(void)close(listener);
}

static void test_time_per_hello(void **state)
{
	(void)state;
	skip_unless_ready();
	measure("300 bytes, exact", "a.example", 230, 70000);
	measure("300 bytes, wildcard", "u.v.w.b.example", 230, 70000);
	measure("1800 bytes, two segments", "a.example", 1730, 1400);
	measure("300 bytes, one at a time", "a.example", 230, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_eviction),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_time_per_hello),
	};

	return cmocka_run_group_tests(tests, classify_set_up, classify_tear_down);
}
