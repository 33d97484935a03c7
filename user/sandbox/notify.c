// SPDX-License-Identifier: MIT
/*
 * notify.c - the service manager's notify protocol (one datagram to $NOTIFY_SOCKET) and limits.
 */
#include "sandbox/notify.h"

#include "base/address.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

void cv_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct cv_sockaddr address;
	int fd;

	if (!path || cv_sockaddr_from_unix(path, &address) != 0)
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, &address.any, address.len_bytes);
	(void)close(fd);
}

void cv_raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}
