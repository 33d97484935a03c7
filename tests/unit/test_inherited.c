// SPDX-License-Identifier: MIT
/*
 * test_inherited.c - listening sockets recognised by what they are bound to, nothing else taken.
 */
#include "session/inherited.h"

#include "ring/listen.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct cv_sockaddr listen_on(struct cv_sockaddr address, int *ret_fd)
{
	*ret_fd = cv_listen(&address, 16, 0);
	assert_true(*ret_fd >= 0);
	address.len_bytes = sizeof(address.un);
	assert_int_equal(getsockname(*ret_fd, &address.any, &address.len_bytes), 0);
	return address;
}

static struct cv_sockaddr loopback(void)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.in)};

	address.in.sin_family = AF_INET;
	address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static void test_found_by_address(void **state)
{
	static struct cv_inherited inherited;
	struct cv_sockaddr tcp, abstract, other;
	char text[64];
	int tcp_fd, second_fd, unix_fd, plain = socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	tcp = listen_on(loopback(), &tcp_fd);
	(void)listen_on(tcp, &second_fd); /* another worker's */
	assert_int_equal(cv_sockaddr_from_unix("@culvert-test-inherited", &abstract), 0);
	(void)listen_on(abstract, &unix_fd);
	snprintf(text, sizeof(text), "%d,%d,%d,%d,9999,1", tcp_fd, plain, second_fd, unix_fd);
	setenv(CV_INHERITED_VARIABLE, text, 1);
	cv_inherited_find(&inherited);
	assert_null(getenv(CV_INHERITED_VARIABLE));
	assert_int_equal(inherited.count, 3); /* who listens */

	other = tcp;
	other.in.sin_addr.s_addr = htonl(0x7f000002);
	assert_false(cv_inherited_has(&inherited, &other));
	assert_int_equal(cv_inherited_take(&inherited, &other), -1);
	assert_true(cv_inherited_has(&inherited, &tcp));
	assert_int_equal(cv_inherited_take(&inherited, &tcp), tcp_fd);
	assert_int_equal(cv_inherited_take(&inherited, &tcp), second_fd);
	assert_int_equal(cv_inherited_take(&inherited, &tcp), -1);
	assert_false(cv_inherited_has(&inherited, &tcp));
	assert_true(cv_inherited_has(&inherited, &abstract));
	cv_inherited_close(&inherited);
	assert_int_equal(fcntl(unix_fd, F_GETFD), -1); /* nobody wanted it */
	assert_int_equal(fcntl(tcp_fd, F_GETFD), FD_CLOEXEC);
	close(tcp_fd);
	close(second_fd);
	close(plain);
}

static void test_nothing_to_find(void **state)
{
	static struct cv_inherited inherited;
	const char *const texts[] = {"", "x", "0,1,2", "-5", "99999999999999", ",", "700000"};

	(void)state;
	unsetenv(CV_INHERITED_VARIABLE);
	cv_inherited_find(&inherited);
	assert_int_equal(inherited.count, 0);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		setenv(CV_INHERITED_VARIABLE, texts[i], 1);
		cv_inherited_find(&inherited);
		assert_int_equal(inherited.count, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found_by_address),
		cmocka_unit_test(test_nothing_to_find),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
