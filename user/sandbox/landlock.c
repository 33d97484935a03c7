// SPDX-License-Identifier: MIT
/*
 * landlock.c - rules for directories, so that a file that is replaced (rename) is found again.
 *
 * A ruleset names what it handles, which is refused from then on, and the places where it is
 * allowed after all. What a kernel can handle has grown; asking for more is an error:
 *
 *   1 (5.13) files   2 (5.19) renames across   3 (6.2) truncating   4 (6.7) TCP ports
 *   5 (6.10) ioctl of devices   6 (6.12) signals
 *
 * A process that is inside can only trace what is inside as well. Sockets by path need no rule:
 * connecting is not handled. Abstract ones are not scoped: a reload may name one as a target.
 * Numbers are from the kernel's linux/landlock.h, of which Debian 12 has the first.
 */
#include "sandbox/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

#define CREATE_VERSION 1u
#define RULE_PATH 1
#define RULE_PORT 2

#define FS_WRITE_FILE (1u << 1)
#define FS_READ_FILE (1u << 2)
#define FS_READ_DIR (1u << 3)
#define FS_REMOVE_FILE (1u << 5)
#define FS_MAKE_REG (1u << 8)
#define FS_MAKE_SOCK (1u << 9)
#define FS_ALL_1 0x1fffu /* up to making symbolic links, running programs included */
#define FS_REFER (1u << 13)
#define FS_TRUNCATE (1u << 14)
#define FS_IOCTL_DEV (1u << 15)
#define NET_BIND_TCP (1u << 0)
#define SCOPE_SIGNAL (1u << 1)

struct ruleset {
	uint64_t fs, net, scoped;
};

struct __attribute__((packed)) path_rule {
	uint64_t allowed;
	int32_t fd;
};

struct port_rule {
	uint64_t allowed, port;
};

int cv_landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);

	return abi < 0 ? -errno : (int)abi;
}

static struct ruleset handled_by(int abi)
{
	struct ruleset rules = {.fs = FS_ALL_1};

	if (abi >= 2)
		rules.fs |= FS_REFER;
	if (abi >= 3)
		rules.fs |= FS_TRUNCATE;
	if (abi >= 4)
		rules.net = NET_BIND_TCP;
	if (abi >= 5)
		rules.fs |= FS_IOCTL_DEV;
	if (abi >= 6)
		rules.scoped = SCOPE_SIGNAL;
	return rules;
}

/* An older kernel takes a longer struct as long as what it does not know is zero. */
static int ruleset_new(const struct ruleset *handled)
{
	long fd = syscall(SYS_landlock_create_ruleset, handled, sizeof(*handled), 0);

	return fd < 0 ? -errno : (int)fd;
}

static uint64_t access_of(enum cv_reach reach, bool is_directory)
{
	uint64_t access = FS_READ_FILE;

	if (is_directory)
		access |= FS_READ_DIR;
	if (reach == CV_REACH_WRITE)
		access |= FS_WRITE_FILE | FS_TRUNCATE;
	if (reach == CV_REACH_WRITE && is_directory)
		access |= FS_REMOVE_FILE | FS_MAKE_REG | FS_MAKE_SOCK;
	return access;
}

static int add_place(int ruleset_fd, const struct cv_landlock_place *place, uint64_t handled)
{
	struct path_rule rule = {.fd = open(place->path, O_PATH | O_CLOEXEC)};
	struct stat status;
	int error = 0;

	if (rule.fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -errno;
	if (fstat(rule.fd, &status) != 0)
		error = -errno;
	rule.allowed = access_of(place->reach, S_ISDIR(status.st_mode)) & handled;
	if (!error && syscall(SYS_landlock_add_rule, ruleset_fd, RULE_PATH, &rule, 0) != 0)
		error = -errno;
	(void)close(rule.fd);
	return error;
}

static int add_port(int ruleset_fd, uint16_t port)
{
	const struct port_rule rule = {.allowed = NET_BIND_TCP, .port = port};

	return syscall(SYS_landlock_add_rule, ruleset_fd, RULE_PORT, &rule, 0) == 0 ? 0 : -errno;
}

int cv_landlock_enter(const struct cv_landlock_rules *rules)
{
	const int abi = cv_landlock_abi();
	const struct ruleset handled = handled_by(abi);
	int fd = abi < 0 ? abi : ruleset_new(&handled), error = 0;

	if (fd < 0)
		return fd;
	for (size_t i = 0; i < rules->place_count && !error; i++)
		error = add_place(fd, &rules->places[i], handled.fs);
	if (!error && handled.net)
		error = add_port(fd, 0);
	for (size_t i = 0; i < rules->port_count && handled.net && !error; i++)
		error = add_port(fd, rules->ports[i]);
	if (!error && syscall(SYS_landlock_restrict_self, fd, 0) != 0)
		error = -errno;
	(void)close(fd);
	return error;
}
