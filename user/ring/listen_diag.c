// SPDX-License-Identifier: MIT
/*
 * listen_diag.c - does somebody listen on this address? Asked of the kernel's socket list.
 *
 * bind() answers the same, but not for a port below 1024 and a process without the capability,
 * which sk_lookup lets listen all the same: it would silently take the port from whoever is bound
 * to it.
 */
#include "ring/listen.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <unistd.h>

#define STATE_LISTEN 10

static const struct in6_addr *any6 = &in6addr_any;

/* The listener's address and ours: equal, or one of them is everybody's. */
static bool overlaps(const struct inet_diag_msg *listener, const struct cv_sockaddr *address)
{
	const bool is_ipv4 = address->any.sa_family == AF_INET;
	const bool theirs_any = memcmp(listener->id.idiag_src, any6,
				       listener->idiag_family == AF_INET ? 4 : 16) == 0;
	const bool ours_any = is_ipv4 ? address->in.sin_addr.s_addr == INADDR_ANY
				      : IN6_IS_ADDR_UNSPECIFIED(&address->in6.sin6_addr);

	if (listener->id.idiag_sport != htons(cv_sockaddr_port(address)))
		return false;
	if (listener->idiag_family == AF_INET && !is_ipv4)
		return ours_any; /* [::] is for both families */
	if (listener->idiag_family == AF_INET6 && is_ipv4)
		return theirs_any;
	return theirs_any || ours_any ||
	       memcmp(listener->id.idiag_src,
		      is_ipv4 ? (const void *)&address->in.sin_addr
			      : (const void *)&address->in6.sin6_addr,
		      is_ipv4 ? 4 : 16) == 0;
}

static int ask(int fd, int family)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 request;
	} message = {
		.header = {.nlmsg_len = sizeof(message),
			   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.request = {.sdiag_family = (uint8_t)family,
			    .sdiag_protocol = IPPROTO_TCP,
			    .idiag_states = 1u << STATE_LISTEN},
	};

	return send(fd, &message, sizeof(message), 0) < 0 ? -errno : 0;
}

/* 1: more is to come, 0: the end, or -EADDRINUSE or another -errno. */
static int look_through(const struct nlmsghdr *header, size_t len,
			const struct cv_sockaddr *address)
{
	for (; NLMSG_OK(header, len); header = NLMSG_NEXT(header, len)) {
		if (header->nlmsg_type == NLMSG_DONE)
			return 0;
		if (header->nlmsg_type == NLMSG_ERROR)
			return ((const struct nlmsgerr *)NLMSG_DATA(header))->error;
		if (header->nlmsg_type == SOCK_DIAG_BY_FAMILY &&
		    overlaps(NLMSG_DATA(header), address))
			return -EADDRINUSE;
	}
	return 1;
}

static int look(int fd, int family, const struct cv_sockaddr *address)
{
	_Alignas(struct nlmsghdr) char buffer[16384];
	int result = ask(fd, family);

	if (result)
		return result;
	do {
		ssize_t got = recv(fd, buffer, sizeof(buffer), 0);

		if (got <= 0)
			return got ? -errno : -EPROTO;
		result = look_through((const struct nlmsghdr *)buffer, (size_t)got, address);
	} while (result > 0);
	return result;
}

int cv_listen_expect_free(const struct cv_sockaddr *address)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), error;

	if (fd < 0)
		return -errno;
	error = look(fd, AF_INET6, address);
	if (!error || error == -ENOENT) {
		(void)close(fd); /* a dump that is not read to its end is still under way */
		fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
		error = fd < 0 ? -errno : look(fd, AF_INET, address);
	}
	if (fd >= 0)
		(void)close(fd);
	return error;
}
