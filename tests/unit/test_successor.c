// SPDX-License-Identifier: MIT
/*
 * test_successor.c - the old daemon's side with shell scripts as successors, and both ends of the
 * report.
 */
#include "control/successor.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* The client's end of what cv_successor_start() takes over. */
static int ask(struct cv_successor *successor)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	cv_successor_start(successor, pair[1]);
	return pair[0];
}

static void read_to_end(int fd, char *text, size_t size)
{
	size_t len = 0;
	ssize_t got;

	while (len < size - 1 && (got = read(fd, text + len, size - 1 - len)) > 0)
		len += (size_t)got;
	text[len] = '\0';
	close(fd);
}

/* One text with nothing between the words, as the kernel makes it: the starter changes it. */
static struct cv_starter *starter_of(const char *program, const char *script)
{
	static char text[1024];
	char *argv[] = {text, NULL, NULL, NULL};
	struct cv_starter *starter;
	size_t at = strlen(program) + 1;

	assert_true(at + sizeof("-c") + strlen(script) + 1 <= sizeof(text));
	memcpy(text, program, at);
	if (*script) {
		argv[1] = memcpy(text + at, "-c", sizeof("-c"));
		argv[2] = strcpy(text + at + sizeof("-c"), script);
	}
	assert_int_equal(cv_starter_new(argv, &starter), 0);
	return starter;
}

static void run_program(const char *program, const char *script, char *answer, size_t size)
{
	struct cv_starter *starter = starter_of(program, script);
	struct cv_successor *successor;

	assert_int_equal(cv_successor_new(starter, &successor), 0);
	read_to_end(ask(successor), answer, size);
	assert_null(cv_successor_free(successor));
	assert_null(cv_starter_free(starter));
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* whoever was started is not our child */
	assert_int_equal(errno, ECHILD);
}

static void run_script(const char *script, char *answer, size_t size)
{
	run_program("sh", script, answer, size);
}

static void test_ready(void **state)
{
	char answer[512];

	(void)state;
	/* --takeover is what a shell calls $0 */
	run_script("test \"$0\" = --takeover && echo ready >&$CULVERT_REPORT_FD", answer,
		   sizeof(answer));
	assert_non_null(strstr(answer, "\"pid\":"));
	assert_non_null(strstr(answer, "\"retired\":"));
}

static void test_failure_is_told(void **state)
{
	char answer[512];

	(void)state;
	run_script("echo line 7: bad key >&$CULVERT_REPORT_FD; echo and more >&$CULVERT_REPORT_FD; "
		   "exit 2",
		   answer, sizeof(answer));
	assert_string_equal(answer, "{\"error\":\"line 7: bad key;and more\"}");
	run_script("exit 1", answer, sizeof(answer));
	assert_non_null(strstr(answer, "without a word"));
	run_script("echo already >&$CULVERT_REPORT_FD", answer, sizeof(answer));
	assert_string_equal(answer, "{\"error\":\"already\"}");
}

static void test_no_such_program(void **state)
{
	char answer[512];

	(void)state;
	run_program("/nonexistent/culvertd", "", answer, sizeof(answer));
	assert_non_null(strstr(answer, "\"error\":"));
}

static void test_one_at_a_time(void **state)
{
	struct cv_starter *starter = starter_of("sh", "exec sleep 60");
	struct cv_successor *successor;
	char answer[512];
	int first;

	(void)state;
	assert_int_equal(cv_successor_new(starter, &successor), 0);
	first = ask(successor);
	read_to_end(ask(successor), answer, sizeof(answer));
	assert_non_null(strstr(answer, "under way"));
	cv_successor_cancel(successor); /* the daemon stops: what is not ready has to end */
	assert_null(cv_successor_free(successor));
	read_to_end(first, answer, sizeof(answer));
	assert_non_null(strstr(answer, "\"error\":"));
	assert_null(cv_starter_free(starter));
}

static void test_sockets_survive(void **state)
{
	struct cv_starter *starter =
		starter_of("sh", "for fd in $(echo $CULVERT_LISTEN_FDS | tr , ' '); do"
				 " test -S /proc/self/fd/$fd || exit 1; done;"
				 " test $CULVERT_LISTEN_FDS && echo ready >&$CULVERT_REPORT_FD");
	struct cv_successor *successor;
	char answer[512];
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(cv_successor_new(starter, &successor), 0);
	cv_successor_leave(successor, fds, 2);
	read_to_end(ask(successor), answer, sizeof(answer));
	assert_non_null(strstr(answer, "\"pid\":"));
	assert_null(cv_successor_free(successor));
	assert_int_equal(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
	assert_null(cv_starter_free(starter));
	close(fds[0]);
	close(fds[1]);
}

static void test_report(void **state)
{
	char number[16], text[512];
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	snprintf(number, sizeof(number), "%d", fds[1]);
	setenv("CULVERT_REPORT_FD", number, 1);
	cv_report_open();
	assert_null(getenv("CULVERT_REPORT_FD"));
	cv_log(CV_LOG_WARNING, "not this");
	cv_log(CV_LOG_ERROR, "port %d is taken", 443);
	cv_report_line("finding");
	cv_report_ready();
	cv_log(CV_LOG_ERROR, "not this either");
	read_to_end(fds[0], text, sizeof(text));
	assert_string_equal(text, "port 443 is taken\nfinding\nready\n");
}

static void test_retire_nobody(void **state)
{
	(void)state;
	assert_int_equal(cv_retire_old("/nonexistent/control.sock", false), -ENOENT);
	assert_int_equal(cv_retire_old("/nonexistent/control.sock", true), -ENOENT);
	assert_int_equal(cv_retire_old("", true), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ready),           cmocka_unit_test(test_failure_is_told),
		cmocka_unit_test(test_no_such_program), cmocka_unit_test(test_one_at_a_time),
		cmocka_unit_test(test_sockets_survive), cmocka_unit_test(test_report),
		cmocka_unit_test(test_retire_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
