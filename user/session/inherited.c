// SPDX-License-Identifier: MIT
/*
 * inherited.c - listening sockets from the environment, recognised by what they are bound to.
 */
#include "session/inherited.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_listener(int fd)
{
	int listens = 0;
	socklen_t len_bytes = sizeof(listens);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len_bytes) == 0 && listens;
}

void cv_inherited_find(struct cv_inherited *ret_inherited)
{
	const char *text = getenv(CV_INHERITED_VARIABLE);

	ret_inherited->count = 0;
	while (text && *text && ret_inherited->count < CV_INHERITED_MAX) {
		char *end;
		long number = strtol(text, &end, 10);

		if (end == text || number < 3 || number > 1 << 20)
			break;
		if (is_listener((int)number)) {
			(void)fcntl((int)number, F_SETFD, FD_CLOEXEC);
			ret_inherited->fds[ret_inherited->count++] = (int)number;
		}
		text = *end == ',' ? end + 1 : end;
	}
	(void)unsetenv(CV_INHERITED_VARIABLE);
}

static bool is_bound_to(int fd, const struct cv_sockaddr *address)
{
	struct cv_sockaddr own = {.len_bytes = sizeof(own.un)};

	if (fd < 0 || getsockname(fd, &own.any, &own.len_bytes) != 0 ||
	    own.any.sa_family != address->any.sa_family)
		return false;
	if (own.any.sa_family == AF_INET)
		return own.in.sin_port == address->in.sin_port &&
		       own.in.sin_addr.s_addr == address->in.sin_addr.s_addr;
	if (own.any.sa_family == AF_INET6)
		return own.in6.sin6_port == address->in6.sin6_port &&
		       memcmp(&own.in6.sin6_addr, &address->in6.sin6_addr, 16) == 0;
	if (address->un.sun_path[0]) /* lengths differ by the NUL */
		return strncmp(own.un.sun_path, address->un.sun_path, sizeof(own.un.sun_path)) == 0;
	return own.len_bytes == address->len_bytes &&
	       memcmp(&own.un, &address->un, own.len_bytes) == 0;
}

bool cv_inherited_has(const struct cv_inherited *inherited, const struct cv_sockaddr *address)
{
	for (size_t i = 0; i < inherited->count; i++)
		if (is_bound_to(inherited->fds[i], address))
			return true;
	return false;
}

int cv_inherited_take(struct cv_inherited *inherited, const struct cv_sockaddr *address)
{
	for (size_t i = 0; i < inherited->count; i++) {
		int fd = inherited->fds[i];

		if (!is_bound_to(fd, address))
			continue;
		inherited->fds[i] = -1;
		return fd;
	}
	return -1;
}

bool cv_inherited_all_taken(const struct cv_inherited *inherited)
{
	for (size_t i = 0; i < inherited->count; i++)
		if (inherited->fds[i] >= 0)
			return false;
	return inherited->count > 0;
}

void cv_inherited_close(struct cv_inherited *inherited)
{
	for (size_t i = 0; i < inherited->count; i++)
		if (inherited->fds[i] >= 0)
			(void)close(inherited->fds[i]);
	inherited->count = 0;
}
