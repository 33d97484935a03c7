/* SPDX-License-Identifier: MIT */
/*
 * stream_end.h - did a stream really end where recv(2) says 0?
 */
#ifndef CV_RING_STREAM_END_H
#define CV_RING_STREAM_END_H

#include <stdbool.h>
#include <stdint.h>

/**
 * cv_stream_was_reset() - After recv(2) or splice(2) returned 0: was there a reset and no FIN?
 * @received_bytes: everything ever read from this socket, modulo 2^32
 * False for a FIN, also where a reset came behind it, and for sockets that are not TCP.
 */
bool cv_stream_was_reset(int fd, uint32_t received_bytes);

#endif
