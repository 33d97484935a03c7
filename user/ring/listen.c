// SPDX-License-Identifier: MIT
/*
 * listen.c - listening sockets and the options of the sockets of a session.
 */
#include "ring/listen.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEEPALIVE_IDLE_S 45
#define KEEPALIVE_INTERVAL_S 45
#define USER_TIMEOUT_MS 120000
#define PAIR_TRIES 4
#define PAIR_WAIT_MS 20

static const struct in6_addr mapped_loopback = {
	.s6_addr = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1},
};

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

int cv_listen_replace(const struct cv_sockaddr *address, int backlog, unsigned unix_mode)
{
	struct cv_sockaddr beside = *address;
	int fd, len;

	if (address->un.sun_path[0] == '\0')
		return cv_listen(address, backlog, unix_mode);
	len = snprintf(beside.un.sun_path, sizeof(beside.un.sun_path), "%s.%u",
		       address->un.sun_path, (unsigned)getpid());
	if (len < 0 || (size_t)len >= sizeof(beside.un.sun_path))
		return -ENAMETOOLONG;
	beside.len_bytes = sizeof(beside.un);
	fd = cv_listen(&beside, backlog, unix_mode);
	if (fd < 0 || rename(beside.un.sun_path, address->un.sun_path) == 0)
		return fd;
	len = -errno;
	(void)unlink(beside.un.sun_path);
	(void)close(fd);
	return len;
}

/*
 * The steered connection keeps its own addresses whatever the listener is bound to. For both
 * families it has to be bound to 127.0.0.1 in its mapped form: binding to ::1 makes a socket
 * IPv6-only, and the kernel then refuses to give it an IPv4 connection.
 *
 * SO_REUSEADDR is for what is accepted: it inherits the option, and without it would keep the
 * steered port from being bound by anybody. After bind(), which shall find a port of its own.
 */
int cv_listen_steered(int family, int backlog)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.in)};
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error;

	if (fd < 0)
		return -errno;
	if (family == AF_INET6) {
		address.len_bytes = sizeof(address.in6);
		address.in6.sin6_family = AF_INET6;
		address.in6.sin6_addr = mapped_loopback;
		set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	} else {
		address.in.sin_family = AF_INET;
		address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	}
	if (bind(fd, &address.any, address.len_bytes) == 0) {
		set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
		if (listen(fd, backlog) == 0)
			return fd;
	}
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

static bool same_end(int accepted, int connected)
{
	struct sockaddr_in peer = {0}, local = {0};
	socklen_t peer_len = sizeof(peer), local_len = sizeof(local);

	return getpeername(accepted, (struct sockaddr *)&peer, &peer_len) == 0 &&
	       getsockname(connected, (struct sockaddr *)&local, &local_len) == 0 &&
	       peer.sin_port == local.sin_port &&
	       peer.sin_addr.s_addr == local.sin_addr.s_addr;
}

/* Others of this machine may connect as well: they are sent away. */
static int accept_own(int listener, int connected)
{
	struct pollfd wait = {.fd = listener, .events = POLLIN};

	for (int tries = 0; tries < PAIR_TRIES; tries++) {
		int fd;

		if (poll(&wait, 1, PAIR_WAIT_MS) <= 0)
			return -EAGAIN;
		fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0 && same_end(fd, connected))
			return fd;
		if (fd >= 0)
			(void)close(fd);
	}
	return -EAGAIN;
}

static int connect_loopback(int listener, int fd)
{
	struct sockaddr_in address = {0};
	socklen_t len = sizeof(address);

	if (getsockname(listener, (struct sockaddr *)&address, &len) < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, len) < 0 && errno != EINPROGRESS)
		return -errno;
	return 0;
}

int cv_socket_pair(int ret_fds[2])
{
	const int listener = cv_listen_steered(AF_INET, PAIR_TRIES);
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int other = -EMFILE;

	if (listener >= 0 && fd >= 0)
		other = connect_loopback(listener, fd);
	if (other == 0)
		other = accept_own(listener, fd);
	if (listener >= 0)
		(void)close(listener);
	if (other < 0) {
		if (fd >= 0)
			(void)close(fd);
		return other;
	}
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_int(other, IPPROTO_TCP, TCP_NODELAY, 1);
	ret_fds[0] = fd;
	ret_fds[1] = other;
	return 0;
}

void cv_socket_abort(int fd)
{
	const struct linger linger = {.l_onoff = 1, .l_linger = 0};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	(void)close(fd);
}
