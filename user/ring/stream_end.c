// SPDX-License-Identifier: MIT
/*
 * stream_end.c - a reset that looks like a FIN.
 *
 * The kernel tells the error of a socket once, to whoever calls first. When that was a send, the
 * recv that follows returns the bytes that came before the reset, and then 0, as after a FIN:
 *
 *      target: bytes, RST          send() = -ECONNRESET    recv() = bytes, recv() = 0
 *      target: bytes, FIN, RST     send() = -EPIPE         recv() = bytes, recv() = 0
 *
 * The send's own result would tell the two apart, but it can reach us later than recv's, and
 * splice(2) swallows it when it has moved something before. What stays is the kernel's count of
 * bytes received in order: it includes the FIN, which takes a sequence number like a byte.
 */
#include "ring/stream_end.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

#define STATE_CLOSE 7 /* TCP_CLOSE, which only <netinet/tcp.h> knows */

bool cv_stream_was_reset(int fd, uint32_t received_bytes)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
	    len < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(uint64_t))
		return false;
	return info.tcpi_state == STATE_CLOSE &&
	       (uint32_t)info.tcpi_bytes_received == received_bytes;
}
