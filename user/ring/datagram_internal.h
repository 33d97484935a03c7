/* SPDX-License-Identifier: MIT */
/*
 * datagram_internal.h - what the two halves of ring/datagram.h share: datagram.c receives,
 * datagram_queue.c sends in batches.
 */
#ifndef CV_RING_DATAGRAM_INTERNAL_H
#define CV_RING_DATAGRAM_INTERNAL_H

#include "ring/datagram.h"

#include <netinet/udp.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define BATCH 16 /* received at a time */
#define QUEUE 64 /* sent at a time */

union cv_datagram_control {
	struct cmsghdr align;
	uint8_t bytes[CMSG_SPACE(sizeof(int))];
};

struct cv_datagram_pool {
	uint8_t *memory; /* BATCH slots */
	struct mmsghdr messages[BATCH];
	struct iovec pieces[BATCH];
	struct cv_sockaddr sources[BATCH];
	union cv_datagram_control controls[BATCH];
	struct {                                   /* one socket's at a time */
		struct cv_datagram_socket *socket; /* NULL: empty */
		size_t count;
		struct cv_sockaddr to[QUEUE];
		struct iovec pieces[QUEUE];
		struct mmsghdr messages[QUEUE];
		union cv_datagram_control controls[QUEUE];
	} queue;
};

struct cv_datagram_socket {
	struct cv_datagram_config config;
	struct cv_op op;
	int fd;
	sa_family_t family;
	bool closed, draining;
	bool is_shared;        /* there is another descriptor of it */
	bool sends_one_by_one; /* the way there knows no UDP_SEGMENT */
};

/* @address as the socket's family has it. Returns 0 or -EAFNOSUPPORT. */
int cv_datagram_fit(const struct cv_datagram_socket *socket, const struct cv_sockaddr *address,
		    struct cv_sockaddr *ret_fitting);

#endif
