// SPDX-License-Identifier: MIT
/*
 * test_sandbox.c - what a process can no longer do, tried by one that gave it up.
 *
 * Each attempt runs in a child, which ends with what it found: a test must not lose its own rights.
 * The whole daemon is tried in tests/e2e/test_privileges.py.
 */
#include "sandbox/binder.h"
#include "sandbox/capabilities.h"
#include "sandbox/identity.h"
#include "sandbox/places.h"
#include "sandbox/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef CV_SANITIZED
static const bool sanitized = true; /* then only what is deadly is filtered */
#else
static const bool sanitized = false;
#endif
static char directory[64];

/* @child's value, which is its exit status; 1000 + a signal that ended it. */
static int in_child(int (*child)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		_exit(child());
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int failed(long result)
{
	return result < 0 ? errno : 0;
}

/* ---- capabilities -------------------------------------------------------------------------- */

static int keep_one(void)
{
	const uint64_t wanted = CV_CAPABILITY(CAP_NET_BIND_SERVICE);

	if (cv_capabilities_keep(wanted | CV_CAPABILITY(40)) != 0)
		return 1;
	if (cv_capabilities_keep(wanted) != 0 || cv_capabilities_have() != wanted)
		return 2;
	for (unsigned long i = 0; i <= CAP_LAST_CAP; i++)
		if (prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1)
			return 3;
	/* uid 0 alone gives nothing back; of this thread only: sanitizers have others */
	if (syscall(SYS_setresuid, 1, 1, 1) == 0 || cv_capabilities_resume() != 0)
		return 4;
	return cv_capabilities_have() == wanted ? 0 : 5;
}

static void test_capabilities_go_for_good(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(in_child(keep_one), 0);
}

static int suspend(void)
{
	const uint64_t all = cv_capabilities_have(), one = CV_CAPABILITY(CAP_CHOWN);

	if (cv_capabilities_suspend(one) != 0 || cv_capabilities_have() != one)
		return 1;
	return cv_capabilities_resume() == 0 && cv_capabilities_have() == all ? 0 : 2;
}

static void test_capabilities_come_back_from_suspension(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(in_child(suspend), 0);
}

static void test_names_of_capabilities(void **state)
{
	char text[CV_CAPABILITIES_TEXT];

	(void)state;
	cv_capabilities_format(0, text);
	assert_string_equal(text, "no");
	cv_capabilities_format(CV_CAPABILITY(CAP_NET_BIND_SERVICE) | CV_CAPABILITY(CAP_BPF), text);
	assert_string_equal(text, "net_bind_service bpf");
	cv_capabilities_format(~0ull, text);
	assert_int_equal(strlen(text), CV_CAPABILITIES_TEXT - 1);
}

/* The thread keeps what its maker gives up afterwards. */
static int bind_low(void *opaque)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(1)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)opaque;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return failed(bind(fd, (struct sockaddr *)&address, sizeof(address)));
}

static int only_the_binder(void)
{
	struct cv_binder *binder = NULL;
	int error;

	if (cv_capabilities_keep(CV_CAPABILITY(CAP_NET_BIND_SERVICE)) != 0 ||
	    cv_binder_new(&binder) != 0 || cv_capabilities_keep(0) != 0)
		return 100;
	if (bind_low(NULL) != EACCES)
		return 101;
	error = cv_binder_run(binder, bind_low, NULL);
	(void)cv_binder_free(binder);
	return error;
}

static void test_binder_binds(void **state)
{
	int error;

	(void)state;
	if (geteuid() != 0)
		skip();
	error = in_child(only_the_binder);
	if (error == EADDRINUSE) /* tcpmux: somebody's */
		skip();
	assert_int_equal(error, 0);
}

/* ---- identity ------------------------------------------------------------------------------ */

static int become_nobody(void)
{
	if (cv_identity_become("no such user") != -ENOENT || geteuid() != 0)
		return 1;
	if (cv_identity_become("nobody") != 0 || geteuid() == 0 || getegid() == 0)
		return 2;
	if (getgroups(0, NULL) > 1 || !(cv_capabilities_have() & CV_CAPABILITY(CAP_BPF)))
		return 3;
	if (cv_capabilities_keep(0) != 0 || setresuid(0, 0, 0) == 0)
		return 4;
	return open("/etc/shadow", O_RDONLY) < 0 ? 0 : 5;
}

static void test_becomes_a_user(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(in_child(become_nobody), 0);
}

/* ---- Landlock ------------------------------------------------------------------------------ */

static void path_of(char path[128], const char *name)
{
	snprintf(path, 128, "%s/%s", directory, name);
}

static int touch(const char *name)
{
	char path[128];
	int fd;

	path_of(path, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		return errno;
	(void)close(fd);
	return 0;
}

static int look(const char *name)
{
	char path[128];
	int fd;

	path_of(path, name);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return errno;
	(void)close(fd);
	return 0;
}

static int enter_places(const uint16_t *ports, size_t port_count)
{
	struct cv_place_set set = {0};
	struct cv_landlock_rules rules = {.ports = ports, .port_count = port_count};
	char path[128];
	int error;

	path_of(path, "read/file");
	error = cv_place_set_add_file(&set, path, CV_REACH_READ);
	path_of(path, "read/link"); /* leads to linked/ */
	if (!error)
		error = cv_place_set_add_file(&set, path, CV_REACH_READ);
	path_of(path, "write");
	if (!error)
		error = cv_place_set_add(&set, path, CV_REACH_WRITE);
	if (!error)
		error = cv_place_set_add(&set, "/does/not/exist", CV_REACH_READ);
	rules.places = set.places;
	rules.place_count = set.count;
	if (!error)
		error = cv_landlock_enter(&rules);
	cv_place_set_done(&set);
	return error;
}

/* As an editor or certbot replaces a file. */
static int replace(const char *from, const char *to)
{
	char old_path[128], new_path[128];

	path_of(old_path, from);
	path_of(new_path, to);
	return failed(rename(old_path, new_path));
}

static int reach(void)
{
	if (enter_places(NULL, 0) != 0)
		return 1;
	if (look("read/file") || look("read/other") || look("linked/file") || look("read/link"))
		return 2;
	if (look("secret") != EACCES || look("") != EACCES)
		return 3;
	if (touch("read/file") != EACCES || touch("read/new") != EACCES || touch("new") != EACCES)
		return 4;
	if (touch("write/one") || touch("write/two") || replace("write/one", "write/two"))
		return 5;
	if (replace("write/two", "read/file") == 0 || replace("write/two", "stolen") == 0)
		return 6;
	execl("/bin/true", "true", NULL);
	if (errno != EACCES)
		return 7;
	return kill(getppid(), 0) == 0 && cv_landlock_abi() >= 6 ? 8 : 0;
}

static void test_reaches_only_places(void **state)
{
	(void)state;
	if (cv_landlock_abi() < 0)
		skip();
	assert_int_equal(in_child(reach), 0);
}

static int bind_to(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), error;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	error = failed(bind(fd, (struct sockaddr *)&address, sizeof(address)));
	(void)close(fd);
	return error;
}

static int bind_some(void)
{
	const uint16_t port = 20801;

	if (enter_places(&port, 1) != 0)
		return 1;
	if (bind_to(0) != 0 || bind_to(port) == EACCES)
		return 2;
	return bind_to(20802) == EACCES ? 0 : 3;
}

static void test_binds_only_ports(void **state)
{
	(void)state;
	if (cv_landlock_abi() < 4)
		skip();
	assert_int_equal(in_child(bind_some), 0);
}

/* ---- seccomp ------------------------------------------------------------------------------- */

static int filtered(void)
{
	struct cv_seccomp *filter = NULL;
	unsigned count = 0;
	int error = cv_seccomp_new(&filter, &count);

	if (!error && count < 80)
		error = -EINVAL;
	if (!error)
		error = cv_seccomp_load(filter);
	(void)cv_seccomp_free(filter);
	return error;
}

static int call_refused(void)
{
	uint8_t params[120] = {0}; /* struct io_uring_params */

	if (filtered() != 0)
		return 1;
	if (socket(AF_PACKET, SOCK_RAW, 0) >= 0 || socket(AF_INET, SOCK_RAW, IPPROTO_TCP) >= 0 ||
	    socket(AF_NETLINK, SOCK_RAW, 16) >= 0)
		return 2;
	if (failed(syscall(SYS_io_uring_setup, 8, params)) != ENOSYS)
		return 3;
	if (failed(syscall(SYS_bpf, 5 /* BPF_PROG_LOAD */, NULL, 0)) != ENOSYS)
		return 4;
	if (failed(syscall(467)) != ENOSYS) /* one that no libseccomp knows */
		return 5;
	if (mmap(NULL, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	    MAP_FAILED)
		return 6;
	if (kill(getppid(), 0) == 0 || kill(getpid(), 0) != 0)
		return 7;
	return socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0) < 0 ? 8 : 0;
}

static void test_calls_are_refused(void **state)
{
	(void)state;
	if (sanitized)
		skip();
	assert_int_equal(in_child(call_refused), 0);
}

static void *work(void *opaque)
{
	return opaque;
}

static int still_works(void)
{
	pthread_t thread;
	void *result = NULL;
	char byte = 'x';
	int pair[2];

	if (filtered() != 0)
		return 1;
	if (pthread_create(&thread, NULL, work, &byte) != 0 ||
	    pthread_join(thread, &result) != 0)
		return 2;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 || write(pair[0], &byte, 1) != 1 ||
	    read(pair[1], &byte, 1) != 1)
		return 3;
	free(malloc(1 << 22));
	return result == &byte ? 0 : 4;
}

static void test_work_goes_on(void **state)
{
	(void)state;
	assert_int_equal(in_child(still_works), 0);
}

static int run_a_program(void)
{
	if (filtered() != 0)
		return 1;
	execl("/bin/true", "true", NULL);
	return 0;
}

static int change_identity(void)
{
	return filtered() != 0 ? 1 : (int)syscall(SYS_setuid, 0);
}

static int mount_something(void)
{
	return filtered() != 0 ? 1 : (int)syscall(SYS_mount, "a", "/", "tmpfs", 0, NULL);
}

static int leave_namespace(void)
{
	return filtered() != 0 ? 1 : (int)syscall(SYS_unshare, 0);
}

static void test_calls_that_end_it(void **state)
{
	int (*const attempts[])(void) = {run_a_program, change_identity, mount_something,
					 leave_namespace};

	(void)state;
	for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++)
		assert_int_equal(in_child(attempts[i]), 1000 + SIGSYS);
}

static _Atomic int other_result = -1;
static _Atomic bool other_may;

static void *other_thread(void *opaque)
{
	while (!other_may)
		usleep(1000);
	other_result = socket(AF_PACKET, SOCK_RAW, 0) < 0 && errno == ENOSYS;
	return opaque;
}

static int every_thread(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, other_thread, NULL) != 0 || filtered() != 0)
		return 1;
	other_may = true;
	pthread_join(thread, NULL);
	return other_result == 1 ? 0 : 2;
}

static void test_threads_that_run_already(void **state)
{
	(void)state;
	if (sanitized)
		skip();
	assert_int_equal(in_child(every_thread), 0);
}

/* ---- */

static int make_files(void **state)
{
	char path[128], to[128];

	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/test_sandbox.XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	path_of(path, "read");
	(void)mkdir(path, 0700);
	path_of(path, "write");
	(void)mkdir(path, 0700);
	path_of(path, "linked");
	(void)mkdir(path, 0700);
	path_of(path, "read/link");
	path_of(to, "linked/file");
	return touch("read/file") || touch("read/other") || touch("linked/file") ||
	       touch("secret") || symlink(to, path);
}

static int remove_files(void **state)
{
	static const char *const names[] = {"read/file", "read/other", "read/link", "linked/file",
					    "secret", "write/one", "write/two", "read", "write",
					    "linked", ""};
	char path[128];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		path_of(path, names[i]);
		(void)remove(path);
	}
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_capabilities_go_for_good),
		cmocka_unit_test(test_capabilities_come_back_from_suspension),
		cmocka_unit_test(test_names_of_capabilities),
		cmocka_unit_test(test_binder_binds),
		cmocka_unit_test(test_becomes_a_user),
		cmocka_unit_test(test_reaches_only_places),
		cmocka_unit_test(test_binds_only_ports),
		cmocka_unit_test(test_calls_are_refused),
		cmocka_unit_test(test_work_goes_on),
		cmocka_unit_test(test_calls_that_end_it),
		cmocka_unit_test(test_threads_that_run_already),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
