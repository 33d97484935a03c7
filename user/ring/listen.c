// SPDX-License-Identifier: MIT
/*
 * listen.c - listening sockets and the options of the sockets of a session.
 */
#include "ring/listen.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEEPALIVE_IDLE_S 45
#define KEEPALIVE_INTERVAL_S 45
#define USER_TIMEOUT_MS 120000

static void set_int(int fd, int level, int option, int value)
{
	(void)setsockopt(fd, level, option, &value, sizeof(value));
}

/* A socket file that nobody listens on any more is in the way; any other file is not ours. */
static void remove_stale(const struct cv_sockaddr *address)
{
	struct stat status;
	int fd;

	if (address->un.sun_path[0] == '\0' || lstat(address->un.sun_path, &status) != 0 ||
	    !S_ISSOCK(status.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (connect(fd, &address->any, address->len_bytes) != 0 && errno == ECONNREFUSED)
		(void)unlink(address->un.sun_path);
	(void)close(fd);
}

int cv_listen(const struct cv_sockaddr *address, int backlog, unsigned unix_mode)
{
	int family = address->any.sa_family, error;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (family == AF_UNIX) {
		remove_stale(address);
	} else {
		set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
		set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	}
	if (family == AF_INET6)
		set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	if (bind(fd, &address->any, address->len_bytes) == 0 && listen(fd, backlog) == 0 &&
	    (family != AF_UNIX || unix_mode == 0 || address->un.sun_path[0] == '\0' ||
	     chmod(address->un.sun_path, unix_mode) == 0))
		return fd;
	error = -errno;
	(void)close(fd);
	return error;
}

void cv_socket_tune_client(int fd)
{
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* observable: no keepalive (REALITY 9) */
}

void cv_socket_tune_upstream(int fd)
{
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
	set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
	set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
}

void cv_socket_abort(int fd)
{
	const struct linger linger = {.l_onoff = 1, .l_linger = 0};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	(void)close(fd);
}
