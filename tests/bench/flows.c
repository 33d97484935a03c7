// SPDX-License-Identifier: MIT
/*
 * flows.c - load for the engine benchmark: plain TCP flows through a SOCKS5 relay, or without one.
 *
 *   flows sink ADDRESS PORT COUNTER_FILE
 *       accepts until SIGTERM. A flow's first byte says what it is: 'b' bulk, a download in 64 KiB
 *       writes, counted in COUNTER_FILE (8 bytes, shared mapping); 'p' ping-pong, everything is
 *       sent back; 'i' idle
 *   flows send KIND COUNT SECONDS SINK_ADDRESS SINK_PORT [RELAY_ADDRESS RELAY_PORT]
 *       COUNT flows at once, KIND = bulk, pingpong or idle. Prints "ready" when all stand, then,
 *       after SECONDS, one JSON object. bulk: what comes is thrown away in the kernel
 *       (MSG_TRUNC); pingpong: one message of 64 bytes
 *       under way per flow, its time in a histogram of 1/8 octaves
 *
 * One thread, epoll, level triggered; its own CPU seconds are in the result.
 */
#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SETUP_MS 30000
#define CONNECTING_MAX 256 /* flows that shake hands at once */
#define MESSAGE_BYTES 64
#define BULK_BYTES 65536
#define BURST 8
#define BUCKETS (40 * 8)

enum stage { IDLE, EXPECT_CONNECT, EXPECT_METHOD, EXPECT_REPLY, STANDING, FAILED };

struct flow {
	int fd;
	enum stage stage;
	char kind;
	uint32_t got_bytes; /* of the reply, or of the message under way */
	uint64_t asked_ns;
};

static char bulk[BULK_BYTES];

static struct {
	int epoll;
	char kind;
	bool running;
	struct sockaddr_in sink, relay;
	size_t standing, failed, connecting;
	uint64_t operations, histogram[BUCKETS];
} load;

static struct sockaddr_in address_of(const char *address, const char *port)
{
	struct sockaddr_in result = {.sin_family = AF_INET,
				     .sin_port = htons((uint16_t)atoi(port))};

	if (inet_pton(AF_INET, address, &result.sin_addr) != 1) {
		fprintf(stderr, "flows: %s is not an IPv4 address\n", address);
		exit(2);
	}
	return result;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void watch(struct flow *flow, uint32_t events, int operation)
{
	struct epoll_event event = {.events = events, .data.ptr = flow};

	(void)epoll_ctl(load.epoll, operation, flow->fd, &event);
}

static void leave(struct flow *flow)
{
	if (flow->stage == STANDING)
		load.standing--;
	else if (flow->stage != FAILED)
		load.connecting--;
	flow->stage = FAILED;
	load.failed++;
	(void)close(flow->fd);
}

/* ---- sending ------------------------------------------------------------------------------- */

static bool put(struct flow *flow, const void *bytes, size_t len)
{
	if (send(flow->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len)
		return true;
	leave(flow);
	return false;
}

static void stand(struct flow *flow)
{
	load.connecting--;
	load.standing++;
	flow->stage = STANDING;
	flow->got_bytes = 0;
	if (load.kind != 'b') /* else it would begin while others are still to come */
		(void)put(flow, &load.kind, 1);
}

static void ask(struct flow *flow)
{
	flow->asked_ns = now_ns();
	flow->got_bytes = 0;
	(void)put(flow, bulk, MESSAGE_BYTES);
}

/* Eight buckets per doubling: bucket b begins at 2^(b/8) microseconds. */
static size_t bucket_of(uint64_t ns)
{
	uint64_t us = ns / 1000 + 1;
	size_t octave = (size_t)(63 - __builtin_clzll(us));
	size_t part = octave >= 3 ? (us >> (octave - 3)) & 7 : (us << (3 - octave)) & 7;
	size_t bucket = octave * 8 + part;

	return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static double percentile_us(double part)
{
	uint64_t total = 0, seen = 0;

	for (size_t i = 0; i < BUCKETS; i++)
		total += load.histogram[i];
	for (size_t i = 0; i < BUCKETS; i++) {
		seen += load.histogram[i];
		if (total && (double)seen >= part * (double)total)
			return (double)(1ull << (i / 8)) * (1.0 + (double)(i % 8) / 8);
	}
	return 0;
}

static void drain(struct flow *flow)
{
	static char scratch[1 << 20];

	for (int i = 0; i < BURST; i++) {
		ssize_t got = recv(flow->fd, scratch, sizeof(scratch), MSG_DONTWAIT | MSG_TRUNC);

		if (got > 0)
			continue;
		if (got == 0 || errno != EAGAIN)
			leave(flow);
		return;
	}
}

static void answered(struct flow *flow)
{
	char bytes[MESSAGE_BYTES];
	ssize_t got = recv(flow->fd, bytes, MESSAGE_BYTES - flow->got_bytes, MSG_DONTWAIT);

	if (got <= 0) {
		if (got == 0 || errno != EAGAIN)
			leave(flow);
		return;
	}
	flow->got_bytes += (uint32_t)got;
	if (flow->got_bytes < MESSAGE_BYTES)
		return;
	load.histogram[bucket_of(now_ns() - flow->asked_ns)]++;
	load.operations++;
	ask(flow);
}

static void request(struct flow *flow)
{
	uint8_t bytes[10] = {5, 1, 0, 1};

	memcpy(bytes + 4, &load.sink.sin_addr, 4);
	memcpy(bytes + 8, &load.sink.sin_port, 2);
	flow->stage = EXPECT_REPLY;
	flow->got_bytes = 0;
	(void)put(flow, bytes, sizeof(bytes));
}

static void socks(struct flow *flow)
{
	uint8_t bytes[10];
	size_t whole = flow->stage == EXPECT_METHOD ? 2 : 10;
	ssize_t got = recv(flow->fd, bytes, whole - flow->got_bytes, MSG_DONTWAIT);

	if (got <= 0 || (flow->got_bytes == 0 && got > 1 && bytes[1] != 0)) {
		if (got >= 0 || errno != EAGAIN)
			leave(flow);
		return;
	}
	flow->got_bytes += (uint32_t)got;
	if (flow->got_bytes < whole)
		return;
	if (flow->stage == EXPECT_METHOD)
		request(flow);
	else
		stand(flow);
}

static void connected(struct flow *flow, uint32_t events)
{
	if (events & (EPOLLERR | EPOLLHUP)) {
		leave(flow);
		return;
	}
	watch(flow, EPOLLIN, EPOLL_CTL_MOD);
	if (load.relay.sin_family == 0) {
		stand(flow);
		return;
	}
	flow->stage = EXPECT_METHOD;
	flow->got_bytes = 0;
	(void)put(flow, "\005\001", 3); /* the literal's NUL is method 00 */
}

static void sender_event(struct flow *flow, uint32_t events)
{
	if (flow->stage == EXPECT_CONNECT)
		connected(flow, events);
	else if (flow->stage == EXPECT_METHOD || flow->stage == EXPECT_REPLY)
		socks(flow);
	else if (flow->stage == STANDING && (events & EPOLLIN) && load.kind == 'p')
		answered(flow);
	else if (flow->stage == STANDING && (events & EPOLLIN) && load.kind == 'b')
		drain(flow);
	else if (flow->stage == STANDING && (events & (EPOLLERR | EPOLLHUP | EPOLLIN)))
		leave(flow); /* nobody speaks to an idle flow */
}

static void dial(struct flow *flow)
{
	const struct sockaddr_in *to = load.relay.sin_family ? &load.relay : &load.sink;
	const int one = 1;

	flow->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	flow->stage = EXPECT_CONNECT;
	load.connecting++;
	if (flow->fd < 0) {
		leave(flow);
		return;
	}
	(void)setsockopt(flow->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(flow->fd, (const struct sockaddr *)to, sizeof(*to)) < 0 && errno != EINPROGRESS)
		leave(flow);
	else
		watch(flow, EPOLLOUT, EPOLL_CTL_ADD);
}

static void turn(void)
{
	struct epoll_event events[256];
	int ready = epoll_wait(load.epoll, events, 256, 100);

	for (int i = 0; i < ready; i++)
		sender_event(events[i].data.ptr, events[i].events);
}

static void begin(struct flow *flows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (flows[i].stage != STANDING)
			continue;
		if (load.kind == 'b')
			(void)put(&flows[i], &load.kind, 1);
		else if (load.kind == 'p')
			ask(&flows[i]);
	}
}

static int run_send(int argc, char **argv)
{
	size_t count = (size_t)atoi(argv[1]), dialled = 0;
	struct flow *flows = calloc(count, sizeof(*flows));
	uint64_t started_ms = cv_clock_ms(), end_ms;
	struct rusage used;

	load.kind = argv[0][0];
	load.sink = address_of(argv[3], argv[4]);
	if (argc >= 7)
		load.relay = address_of(argv[5], argv[6]);
	while (load.standing + load.failed < count && cv_clock_ms() < started_ms + SETUP_MS) {
		while (dialled < count && load.connecting < CONNECTING_MAX)
			dial(&flows[dialled++]);
		turn();
	}
	begin(flows, count);
	printf("ready\n");
	(void)fflush(stdout);
	started_ms = cv_clock_ms();
	end_ms = started_ms + (uint64_t)(atof(argv[2]) * 1000);
	while (cv_clock_ms() < end_ms)
		turn();
	(void)getrusage(RUSAGE_SELF, &used);
	printf("{\"standing\": %zu, \"failed\": %zu, \"seconds\": %.3f, \"operations\": %llu, "
	       "\"p50_us\": %.1f, \"p99_us\": %.1f, \"cpu_s\": %.3f}\n",
	       load.standing, load.failed, (double)(cv_clock_ms() - started_ms) / 1000,
	       (unsigned long long)load.operations, percentile_us(0.5), percentile_us(0.99),
	       (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		       (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
	return load.standing == count ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- the sink ------------------------------------------------------------------------------ */

static volatile uint64_t *counter;

/* The next three: false when the flow is gone. */
static bool sink_pour(struct flow *flow)
{
	for (int i = 0; i < BURST; i++) {
		ssize_t sent = send(flow->fd, bulk, sizeof(bulk), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0)
			return errno == EAGAIN;
		*counter += (uint64_t)sent;
	}
	return true;
}

static bool sink_answer(struct flow *flow)
{
	static char scratch[BULK_BYTES];

	for (int i = 0; i < BURST; i++) {
		ssize_t got = recv(flow->fd, scratch, sizeof(scratch), MSG_DONTWAIT);

		if (got <= 0)
			return got < 0 && errno == EAGAIN;
		if (send(flow->fd, scratch, (size_t)got, MSG_NOSIGNAL) != got)
			return false;
	}
	return true;
}

static bool sink_event(struct flow *flow)
{
	if (flow->kind == 0) {
		if (recv(flow->fd, &flow->kind, 1, MSG_DONTWAIT) != 1)
			return errno == EAGAIN;
		if (flow->kind == 'b')
			watch(flow, EPOLLOUT, EPOLL_CTL_MOD);
		return true;
	}
	return flow->kind == 'b' ? sink_pour(flow) : sink_answer(flow);
}

static void sink_accept(int listener)
{
	const int one = 1;
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct flow *flow = calloc(1, sizeof(*flow));

		if (!flow)
			exit(1);
		flow->fd = fd;
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		watch(flow, EPOLLIN, EPOLL_CTL_ADD);
	}
}

static int sink_listen(const struct sockaddr_in *address)
{
	const int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
	    listen(fd, 4096) < 0) {
		perror("flows: sink");
		exit(1);
	}
	return fd;
}

static int run_sink(char **argv)
{
	struct sockaddr_in address = address_of(argv[0], argv[1]);
	int file = open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	struct flow listener = {.fd = sink_listen(&address)};

	if (file < 0 || ftruncate(file, sizeof(*counter)) < 0)
		return EXIT_FAILURE;
	counter = mmap(NULL, sizeof(*counter), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (counter == MAP_FAILED)
		return EXIT_FAILURE;
	watch(&listener, EPOLLIN, EPOLL_CTL_ADD);
	for (;;) {
		struct epoll_event events[256];
		int ready = epoll_wait(load.epoll, events, 256, -1);

		for (int i = 0; i < ready; i++) {
			struct flow *flow = events[i].data.ptr;

			if (flow == &listener) {
				sink_accept(listener.fd);
			} else if (!sink_event(flow)) {
				(void)close(flow->fd);
				free(flow);
			}
		}
	}
}

int main(int argc, char **argv)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	(void)signal(SIGPIPE, SIG_IGN);
	load.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (argc == 5 && strcmp(argv[1], "sink") == 0)
		return run_sink(argv + 2);
	if ((argc == 7 || argc == 9) && strcmp(argv[1], "send") == 0)
		return run_send(argc - 2, argv + 2);
	fputs("usage: flows sink ADDRESS PORT COUNTER_FILE\n"
	      "       flows send bulk|pingpong|idle COUNT SECONDS SINK_ADDRESS SINK_PORT "
	      "[RELAY_ADDRESS RELAY_PORT]\n",
	      stderr);
	return 2;
}
