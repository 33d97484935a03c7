// SPDX-License-Identifier: MIT
/*
 * test_stream_end.c - what this kernel's count says about FIN, RST, FIN and RST behind it, when a
 * send has taken the error that recv would have told.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "ring/listen.h"
#include "ring/stream_end.h"

struct ends {
	int ours, theirs;
};

static struct ends connect_ends(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	struct ends ends = {.ours = socket(AF_INET, SOCK_STREAM, 0)};

	assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	assert_int_equal(connect(ends.ours, (struct sockaddr *)&address, len), 0);
	ends.theirs = accept(listener, NULL, NULL);
	assert_true(ends.theirs >= 0);
	close(listener);
	return ends;
}

/* Waits for @event, which loopback delivers at once. */
static void expect_event(int fd, short event)
{
	struct pollfd polled = {.fd = fd, .events = event};

	assert_int_equal(poll(&polled, 1, 5000), 1);
	assert_true(polled.revents & event);
}

static void say(int fd, size_t count_bytes)
{
	static const char bytes[100];

	assert_int_equal(send(fd, bytes, count_bytes, MSG_NOSIGNAL), count_bytes);
}

static void expect_end_after(int fd, ssize_t count_bytes)
{
	char bytes[200];

	if (count_bytes > 0)
		assert_int_equal(recv(fd, bytes, sizeof(bytes), 0), count_bytes);
	assert_int_equal(recv(fd, bytes, sizeof(bytes), 0), 0);
}

static void a_fin_is_one(void **state)
{
	struct ends ends = connect_ends();

	(void)state;
	say(ends.theirs, 7);
	close(ends.theirs);
	expect_end_after(ends.ours, 7);
	assert_false(cv_stream_was_reset(ends.ours, 7));
	close(ends.ours);
}

static void a_reset_after_send_took_the_error(void **state)
{
	struct ends ends = connect_ends();

	(void)state;
	say(ends.theirs, 7);
	expect_event(ends.ours, POLLIN);
	cv_socket_abort(ends.theirs);
	expect_event(ends.ours, POLLERR);
	assert_int_equal(send(ends.ours, "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, ECONNRESET);
	expect_end_after(ends.ours, 7); /* the lie */
	assert_true(cv_stream_was_reset(ends.ours, 7));
	close(ends.ours);
}

static void a_reset_behind_the_fin(void **state)
{
	struct ends ends = connect_ends();

	(void)state;
	say(ends.theirs, 7);
	close(ends.theirs); /* nothing unread: FIN */
	expect_event(ends.ours, POLLRDHUP);
	say(ends.ours, 1); /* answered with RST */
	expect_event(ends.ours, POLLERR);
	assert_int_equal(send(ends.ours, "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	expect_end_after(ends.ours, 7);
	assert_false(cv_stream_was_reset(ends.ours, 7));
	close(ends.ours);
}

static void both_fins(void **state)
{
	for (int first = 0; first < 2; first++) {
		struct ends ends = connect_ends();

		(void)state;
		if (first == 0)
			shutdown(ends.ours, SHUT_WR);
		shutdown(ends.theirs, SHUT_WR);
		expect_end_after(ends.ours, 0);
		shutdown(ends.ours, SHUT_WR);
		close(ends.theirs);
		expect_event(ends.ours, POLLHUP);
		assert_false(cv_stream_was_reset(ends.ours, 0));
		close(ends.ours);
	}
}

static void other_sockets_tell_themselves(void **state)
{
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	close(pair[1]);
	expect_end_after(pair[0], 0);
	assert_false(cv_stream_was_reset(pair[0], 0));
	close(pair[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fin_is_one),
		cmocka_unit_test(a_reset_after_send_took_the_error),
		cmocka_unit_test(a_reset_behind_the_fin),
		cmocka_unit_test(both_fins),
		cmocka_unit_test(other_sockets_tell_themselves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
