// SPDX-License-Identifier: MIT
/*
 * classify_rig.c - see classify_rig.h.
 */
#include "classify_rig.h"

#include "segments.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

struct cv_kernel *kernel;
struct cv_classify *classify;
struct bytes hello, received;
static const char *skipped;

/* ---- the program and its tables ----------------------------------------------------------- */

void fill_tables(void)
{
	assert_int_equal(cv_classify_new(kernel, NULL, &classify), 0);
	assert_int_equal(cv_classify_add_name(classify, TABLE, "a.Example", EXACT, CV_SNI_PASS), 0);
	assert_int_equal(cv_classify_add_name(classify, TABLE, "*.b.example", WILD, CV_SNI_PASS),
			 0);
	assert_int_equal(
		cv_classify_add_name(classify, TABLE, "*.c.b.example", LONGER, CV_SNI_PASS), 0);
	assert_int_equal(
		cv_classify_add_name(classify, TABLE, "x.c.b.example", EXACT, CV_SNI_PASS), 0);
	assert_int_equal(cv_classify_add_name(classify, TABLE, "*.drop.example", DROPPED,
					      CV_SNI_DROP),
			 0);
	assert_int_equal(cv_classify_add_port(classify, PORT, TABLE, CV_SNI_DROP), 0);
	assert_int_equal(cv_classify_add_port(classify, LOOSE_PORT, OTHER_TABLE, CV_SNI_PASS), 0);
}

int classify_set_up(void **state)
{
	const struct rlimit limit = {16384, 16384};
	int error = segments_open();

	(void)state;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	if (error) {
		skipped = "no network namespace with a TUN device";
		return 0;
	}
	assert_int_equal(cv_kernel_open(NULL, CV_KERNEL_LOAD_CLASSIFY, &kernel), 0);
	if (kernel->classify.error) {
		skipped = kernel->classify.why;
		return 0;
	}
	fill_tables();
	return 0;
}

int classify_tear_down(void **state)
{
	(void)state;
	classify = cv_classify_free(classify);
	kernel = cv_kernel_close(kernel);
	segments_close();
	return 0;
}

void skip_unless_ready(void)
{
	if (!skipped)
		return;
	print_message("[  SKIPPED ] %s\n", skipped);
	skip();
}

/* ---- hellos ------------------------------------------------------------------------------- */

static void put_u16(size_t at, size_t value)
{
	hello.data[at] = (uint8_t)(value >> 8);
	hello.data[at + 1] = (uint8_t)value;
}

/* A hello for @name (NULL = none) behind an unknown extension of @filler bytes. */
void make_hello(const char *name, size_t filler)
{
	const size_t len = name ? strlen(name) : 0;

	bytes_set_hex(&hello, "16 0301 0000 01 000000 0303");
	bytes_add_fill(&hello, 0x42, 32);
	bytes_add_hex(&hello, "00 0002 1301 01 00 0000 1234 0000");
	put_u16(54, filler);
	bytes_add_fill(&hello, 0x2e, filler);
	if (name) {
		bytes_add_hex(&hello, "0000 0000 0000 00 0000");
		put_u16(hello.len - 7, len + 5);
		put_u16(hello.len - 5, len + 3);
		put_u16(hello.len - 2, len);
		memcpy(hello.data + hello.len, name, len);
		hello.len += len;
	}
	put_u16(50, hello.len - 52);
	put_u16(3, hello.len - 5);
	put_u16(7, hello.len - 9);
}

/* ---- sockets ------------------------------------------------------------------------------ */

int listen_on(int family, uint16_t port)
{
	struct sockaddr_in6 any = {.sin6_family = (sa_family_t)family, .sin6_port = htons(port)};
	struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	const struct sockaddr *address = (struct sockaddr *)&any4;
	socklen_t len = sizeof(any4);
	const int on = 1;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (family == AF_INET6) {
		address = (struct sockaddr *)&any;
		len = sizeof(any);
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)), 0);
	}
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, address, len), 0);
	assert_int_equal(listen(fd, 4096), 0);
	assert_int_equal(cv_classify_attach(classify, fd), 0);
	return fd;
}

struct pair connect_to(int listener)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	const int on = 1;
	struct pair pair;

	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	if (address.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&address)->sin6_addr = in6addr_loopback;
	else
		((struct sockaddr_in *)&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	pair.client = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(pair.client, (struct sockaddr *)&address, len), 0);
	assert_int_equal(setsockopt(pair.client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	pair.server = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(pair.server >= 0);
	return pair;
}

void close_pair(struct pair pair)
{
	const struct linger reset = {.l_onoff = 1};

	(void)setsockopt(pair.client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	(void)close(pair.client);
	(void)close(pair.server);
}

void send_pieces(int fd, size_t piece_bytes)
{
	for (size_t at = 0; at < hello.len; at += piece_bytes) {
		size_t count = hello.len - at < piece_bytes ? hello.len - at : piece_bytes;

		assert_int_equal(send(fd, hello.data + at, count, 0), count);
	}
}

bool is_silent(int fd, int wait_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN | POLLRDHUP};
	char byte;

	return poll(&poll_fd, 1, wait_ms) == 0 && recv(fd, &byte, 1, MSG_DONTWAIT) < 0 &&
	       errno == EAGAIN;
}

/* What was sent is what arrives. */
void assert_received(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	received.len = 0;
	while (received.len < hello.len) {
		ssize_t count;

		assert_int_equal(poll(&poll_fd, 1, 2000), 1);
		count = recv(fd, received.data + received.len, sizeof(received.data), 0);
		assert_true(count > 0);
		received.len += (size_t)count;
	}
	assert_int_equal(received.len, hello.len);
	assert_memory_equal(received.data, hello.data, hello.len);
}

uint32_t class_of(int fd, uint32_t table)
{
	struct cv_sni_result result = {0};

	return cv_classify_read(classify, fd, table, &result) == 0 ? result.class
								    : CV_SNI_CLASS_NONE;
}

struct cv_sni_counter counter_of(uint32_t class)
{
	struct cv_sni_counter counter;

	assert_int_equal(cv_classify_count(kernel->classify_counters_fd, class, &counter), 0);
	return counter;
}

bool map_is_empty(int fd, size_t key_bytes)
{
	char key[sizeof(struct cv_sni_name)];

	assert_true(key_bytes <= sizeof(key));
	return bpf_map_get_next_key(fd, NULL, key) != 0 && errno == ENOENT;
}
