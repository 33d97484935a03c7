// SPDX-License-Identifier: MIT
/*
 * test_listen.c - listeners for steering, in another's place, asking who listens; pairs.
 */
#include "ring/listen.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct cv_sockaddr ipv4(uint32_t address, uint16_t port)
{
	struct cv_sockaddr made = {.len_bytes = sizeof(made.in)};

	made.in.sin_family = AF_INET;
	made.in.sin_addr.s_addr = htonl(address);
	made.in.sin_port = htons(port);
	return made;
}

static struct cv_sockaddr ipv6(const struct in6_addr *address, uint16_t port)
{
	struct cv_sockaddr made = {.len_bytes = sizeof(made.in6)};

	made.in6.sin6_family = AF_INET6;
	made.in6.sin6_addr = *address;
	made.in6.sin6_port = htons(port);
	return made;
}

static struct cv_sockaddr name_of(int fd)
{
	struct cv_sockaddr name = {.len_bytes = sizeof(name.un)};

	assert_int_equal(getsockname(fd, &name.any, &name.len_bytes), 0);
	return name;
}

static void test_steered_is_local(void **state)
{
	const int families[] = {AF_INET, AF_INET6};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		int fd = cv_listen_steered(families[i], 16), only6 = 1, reuse = 0;
		socklen_t len_bytes = sizeof(only6);
		struct cv_destination own;
		struct cv_sockaddr name;

		if (fd == -EAFNOSUPPORT)
			continue;
		assert_true(fd >= 0);
		name = name_of(fd);
		assert_true(cv_sockaddr_to_destination(&name, &own));
		assert_int_equal(own.kind, CV_ADDRESS_IPV4);
		assert_memory_equal(own.ipv4, "\x7f\0\0\1", 4);
		assert_int_not_equal(own.port, 0);
		if (families[i] == AF_INET6) /* else the kernel would give it no IPv4 connection */
			assert_int_equal(
				getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only6, &len_bytes), 0);
		if (families[i] == AF_INET6)
			assert_int_equal(only6, 0);
		assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, &len_bytes), 0);
		assert_int_not_equal(reuse, 0);
		close(fd);
	}
}

static void test_expect_free(void **state)
{
	struct cv_sockaddr local = ipv4(INADDR_LOOPBACK, 0);
	int fd = cv_listen(&local, 16, 0);
	uint16_t port;

	(void)state;
	assert_true(fd >= 0);
	local = name_of(fd);
	port = cv_sockaddr_port(&local);
	const struct cv_sockaddr any4 = ipv4(INADDR_ANY, port), other4 = ipv4(0x7f000002, port),
				 any6 = ipv6(&in6addr_any, port),
				 local6 = ipv6(&in6addr_loopback, port);

	assert_int_equal(cv_listen_expect_free(&local), -EADDRINUSE);
	assert_int_equal(cv_listen_expect_free(&any4), -EADDRINUSE);
	assert_int_equal(cv_listen_expect_free(&any6), -EADDRINUSE);
	assert_int_equal(cv_listen_expect_free(&other4), 0);
	assert_int_equal(cv_listen_expect_free(&local6), 0);
	close(fd);
	assert_int_equal(cv_listen_expect_free(&local), 0);
}

static void test_expect_free_dual_stack(void **state)
{
	struct cv_sockaddr any6 = ipv6(&in6addr_any, 0), local6, local4;
	int fd = cv_listen(&any6, 16, 0);

	(void)state;
	if (fd == -EAFNOSUPPORT)
		skip();
	assert_true(fd >= 0);
	any6 = name_of(fd);
	local6 = ipv6(&in6addr_loopback, cv_sockaddr_port(&any6));
	local4 = ipv4(INADDR_LOOPBACK, cv_sockaddr_port(&any6));
	assert_int_equal(cv_listen_expect_free(&local6), -EADDRINUSE);
	assert_int_equal(cv_listen_expect_free(&local4), -EADDRINUSE);
	close(fd);
}

static void test_replace(void **state)
{
	char folder[] = "/tmp/culvert-listen-XXXXXX", path[64];
	struct cv_sockaddr address;
	int old, new, client;
	struct stat status;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/socket", folder);
	assert_int_equal(cv_sockaddr_from_unix(path, &address), 0);
	old = cv_listen(&address, 16, 0600);
	assert_true(old >= 0);
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(client, &address.any, address.len_bytes), 0);
	new = cv_listen_replace(&address, 16, 0640);
	assert_true(new >= 0);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0640);
	assert_int_equal(accept(new, NULL, NULL), -1); /* who came before is the old one's */
	close(accept(old, NULL, NULL));
	close(client);
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(client, &address.any, address.len_bytes), 0);
	assert_int_equal(accept(old, NULL, NULL), -1);
	close(accept(new, NULL, NULL));
	close(client);
	close(old);
	close(new);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0); /* no file of another name is left */
}

/* Bytes both ways, an orderly end, and a reset that is one at the other end. */
static void test_pair(void **state)
{
	int fds[2];
	char byte;

	(void)state;
	for (int end = 0; end < 2; end++) {
		struct pollfd wait = {.events = POLLIN};

		assert_int_equal(cv_socket_pair(fds), 0);
		wait.fd = fds[!end];
		assert_int_equal(write(fds[end], "a", 1), 1);
		assert_int_equal(poll(&wait, 1, 10000), 1);
		assert_int_equal(read(fds[!end], &byte, 1), 1);
		assert_int_equal(byte, 'a');
		assert_int_equal(read(fds[!end], &byte, 1), -1); /* nonblocking */
		assert_int_equal(errno, EAGAIN);
		cv_socket_abort(fds[end]);
		assert_int_equal(poll(&wait, 1, 10000), 1);
		assert_int_equal(read(fds[!end], &byte, 1), -1);
		assert_int_equal(errno, ECONNRESET);
		close(fds[!end]);
	}
	assert_int_equal(cv_socket_pair(fds), 0);
	close(fds[0]);
	assert_int_equal(poll(&(struct pollfd){.fd = fds[1], .events = POLLIN}, 1, 10000), 1);
	assert_int_equal(read(fds[1], &byte, 1), 0);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steered_is_local),
		cmocka_unit_test(test_expect_free),
		cmocka_unit_test(test_expect_free_dual_stack),
		cmocka_unit_test(test_replace),
		cmocka_unit_test(test_pair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
