// SPDX-License-Identifier: MIT
/*
 * seccomp.c - a filter with three answers.
 *
 *   allowed    what the daemon, libc, libcrypto and the resolver use once everything is open
 *   ENOSYS     everything else: a library of tomorrow that tries a new call falls back to an old
 *              one, and nobody's proxy dies of an update
 *   death      what none of them ever calls and whoever got into the process would want first:
 *              another program, another identity, another process's memory, another kernel
 *
 * Some calls are allowed by their arguments only: no socket but TCP, UDP, unix and two kinds of
 * netlink, no memory that is writable and executable, no signal to others, no new process, of bpf()
 * the work on maps that are open already. io_uring's operations pass no filter: no ring can be made
 * any more, and those that there are have restrictions of their own (ring/setup.c).
 */
#include "sandbox/seccomp.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TYPE_MASK 0xfu /* of socket(): what is no flag */

#ifdef CV_SANITIZED
/* Sanitizers have calls of their own, and LeakSanitizer traces us at the end, from a process that
 * it makes: such a build allows all but what is deadly. */
static const bool sanitized = true;
#else
static const bool sanitized = false;
#endif

static const char *const allowed[] = {
	"accept", "accept4", "access", "bind", "brk", "chmod", "clock_getres", "clock_gettime",
	"clock_nanosleep", "close", "close_range", "connect", "dup", "dup2", "dup3",
	"epoll_create1",
	"epoll_ctl", "epoll_pwait", "epoll_wait", "eventfd2", "exit", "exit_group", "faccessat",
	"faccessat2", "fadvise64", "fchmod", "fchmodat", "fcntl", "fdatasync", "flock", "fstat",
	"fstatfs", "fsync", "ftruncate", "futex", "futex_waitv", "getcpu", "getcwd", "getdents64",
	"getegid", "geteuid", "getgid", "getpeername", "getpid", "getppid", "getrandom",
	"getrlimit",
	"getrusage", "getsockname", "getsockopt", "gettid", "gettimeofday", "getuid",
	"io_uring_enter", "ioctl", "listen", "lseek", "lstat", "madvise", "membarrier",
	"memfd_create", "mkdir", "mkdirat", "mremap", "munmap", "nanosleep", "newfstatat", "open",
	"openat", "pipe2", "poll", "ppoll", "pread64", "pselect6", "pwrite64", "read", "readlink",
	"readlinkat", "readv", "recvfrom", "recvmmsg", "recvmsg", "rename", "renameat", "renameat2",
	"restart_syscall", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask",
	"rt_sigreturn", "rt_sigtimedwait", "sched_getaffinity", "sched_yield", "select", "sendmmsg",
	"sendmsg", "sendto", "set_robust_list", "setsockopt", "shutdown", "sigaltstack",
	"socketpair", "splice", "stat", "statfs", "statx", "sysinfo", "time", "uname", "unlink",
	"unlinkat", "wait4", "write", "writev",
};

static const char *const deadly[] = {
	"acct", "capset", "chroot", "delete_module", "execve", "execveat", "finit_module", "fork",
	"fsconfig", "fsmount", "fsopen", "init_module", "ioperm", "iopl", "kexec_file_load",
	"kexec_load", "mount", "mount_setattr", "move_mount", "open_by_handle_at", "open_tree",
	"perf_event_open", "pidfd_getfd", "pivot_root", "process_vm_writev", "reboot", "setfsgid",
	"setfsuid", "setgid", "setgroups", "setns", "setregid", "setresgid", "setresuid",
	"setreuid", "setuid", "swapoff", "swapon", "umount2", "unshare", "userfaultfd", "vfork",
};

struct cv_seccomp {
	scmp_filter_ctx context;
	unsigned count;
	int error;
};

static void add(struct cv_seccomp *filter, uint32_t action, const char *name,
		unsigned condition_count, const struct scmp_arg_cmp *conditions)
{
	const int number = seccomp_syscall_resolve_name(name);

	/* A call that this machine or this libseccomp does not know is refused like all others. */
	if (filter->error || number < 0 || (sanitized && action == SCMP_ACT_ALLOW))
		return;
	filter->error = seccomp_rule_add_array(filter->context, action, number, condition_count,
					       conditions);
}

static void allow(struct cv_seccomp *filter, const char *name)
{
	add(filter, SCMP_ACT_ALLOW, name, 0, NULL);
	filter->count++;
}

/* If argument @index masked by @mask is @value. */
static void allow_if(struct cv_seccomp *filter, const char *name, unsigned index, uint64_t mask,
		     uint64_t value)
{
	const struct scmp_arg_cmp condition = {index, SCMP_CMP_MASKED_EQ, mask, value};

	add(filter, SCMP_ACT_ALLOW, name, 1, &condition);
}

static void allow_socket(struct cv_seccomp *filter, int family, int type, int protocol)
{
	const struct scmp_arg_cmp conditions[] = {
		{0, SCMP_CMP_EQ, (scmp_datum_t)family, 0},
		{1, SCMP_CMP_MASKED_EQ, TYPE_MASK, (scmp_datum_t)type},
		{2, SCMP_CMP_EQ, (scmp_datum_t)protocol, 0},
	};

	add(filter, SCMP_ACT_ALLOW, "socket", protocol < 0 ? 2 : 3, conditions);
}

static void allow_sockets(struct cv_seccomp *filter)
{
	static const int families[] = {AF_UNIX, AF_INET, AF_INET6};

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		allow_socket(filter, families[i], SOCK_STREAM, -1);
		allow_socket(filter, families[i], SOCK_DGRAM, -1);
	}
	/* libc's getaddrinfo(): which addresses has this machine? */
	allow_socket(filter, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	allow_socket(filter, AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE);
	allow_socket(filter, AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
	allow_socket(filter, AF_NETLINK, SOCK_DGRAM, NETLINK_SOCK_DIAG);
	filter->count++;
}

static void allow_each(struct cv_seccomp *filter, const char *name, unsigned index,
		       const unsigned *values, size_t count)
{
	for (size_t i = 0; i < count; i++)
		allow_if(filter, name, index, UINT32_MAX, values[i]);
	filter->count++;
}

static void allow_by_arguments(struct cv_seccomp *filter)
{
	static const unsigned maps[] = {
		BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM, BPF_MAP_DELETE_ELEM,
		BPF_MAP_GET_NEXT_KEY, BPF_OBJ_GET_INFO_BY_FD, BPF_MAP_LOOKUP_BATCH};
	static const unsigned rings[] = {IORING_REGISTER_PBUF_RING, IORING_UNREGISTER_PBUF_RING};
	static const unsigned names[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_VMA};
	const unsigned own[] = {(unsigned)getpid()}, none[] = {0};

	allow_each(filter, "bpf", 0, maps, sizeof(maps) / sizeof(maps[0]));
	allow_each(filter, "io_uring_register", 1, rings, sizeof(rings) / sizeof(rings[0]));
	allow_sockets(filter);
	allow_each(filter, "prlimit64", 0, none, 1);
	allow_each(filter, "prctl", 0, names, sizeof(names) / sizeof(names[0]));
	allow_each(filter, "kill", 0, own, 1);
	allow_each(filter, "tgkill", 0, own, 1);
	allow_if(filter, "clone", 0, CLONE_THREAD | CLONE_VM, CLONE_THREAD | CLONE_VM);
	allow_if(filter, "mmap", 2, PROT_EXEC, 0);
	allow_if(filter, "mmap", 2, PROT_EXEC | PROT_WRITE, PROT_EXEC); /* libc's modules */
	allow_if(filter, "mprotect", 2, PROT_EXEC, 0);
	filter->count += 3;
}

static void forbid(struct cv_seccomp *filter)
{
	const struct scmp_arg_cmp no_thread = {0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0};

	for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
		add(filter, SCMP_ACT_KILL_PROCESS, deadly[i], 0, NULL);
	if (sanitized)
		return;
	add(filter, SCMP_ACT_KILL_PROCESS, "ptrace", 0, NULL);
	add(filter, SCMP_ACT_KILL_PROCESS, "process_vm_readv", 0, NULL);
	add(filter, SCMP_ACT_KILL_PROCESS, "clone", 1, &no_thread);
}

int cv_seccomp_available(void)
{
	return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0 ? 0 : -ENOSYS;
}

int cv_seccomp_new(struct cv_seccomp **ret_filter, unsigned *ret_count)
{
	struct cv_seccomp *filter = calloc(1, sizeof(*filter));

	if (!filter)
		return -ENOMEM;
	filter->context = seccomp_init(sanitized ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(ENOSYS));
	if (!filter->context) {
		free(filter);
		return -ENOMEM;
	}
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		allow(filter, allowed[i]);
	allow_by_arguments(filter);
	forbid(filter);
	if (!filter->error) /* all threads at once, or none */
		filter->error = seccomp_attr_set(filter->context, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!filter->error) /* found by halves, not one by one; not in an older libseccomp */
		(void)seccomp_attr_set(filter->context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (filter->error) {
		const int error = filter->error;

		(void)cv_seccomp_free(filter);
		return error;
	}
	*ret_filter = filter;
	*ret_count = filter->count;
	return 0;
}

int cv_seccomp_load(struct cv_seccomp *filter)
{
	return seccomp_load(filter->context);
}

struct cv_seccomp *cv_seccomp_free(struct cv_seccomp *filter)
{
	if (!filter)
		return NULL;
	seccomp_release(filter->context);
	free(filter);
	return NULL;
}
