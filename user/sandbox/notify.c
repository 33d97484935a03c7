// SPDX-License-Identifier: MIT
/*
 * notify.c - the service manager's notify protocol (one datagram to $NOTIFY_SOCKET) and limits.
 *
 * Rings are locked memory on some kernels, for which root has no limit as long as it has
 * CAP_IPC_LOCK; ours is given up before the rings are made.
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

static void raise_limit(int resource, rlim_t wanted)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) != 0)
		return;
	if (limit.rlim_max < wanted) { /* takes a right that we may have */
		const struct rlimit higher = {.rlim_cur = wanted, .rlim_max = wanted};

		if (setrlimit(resource, &higher) == 0)
			return;
	}
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(resource, &limit);
}

void cv_raise_limits(void)
{
	raise_limit(RLIMIT_NOFILE, 0);
	raise_limit(RLIMIT_MEMLOCK, RLIM_INFINITY);
}
