/* SPDX-License-Identifier: MIT */
/*
 * segments.h - TCP segments made by hand, from a host that only exists behind a TUN device.
 */
#ifndef CV_TESTS_SEGMENTS_H
#define CV_TESTS_SEGMENTS_H

#include <stddef.h>
#include <stdint.h>

struct segments_peer {
	uint16_t local_port, port;
	uint32_t first_sequence; /* of the first byte */
	uint32_t acknowledged;
};

enum { SEGMENT_BROKEN = 1 }; /* with a wrong TCP checksum */

/** segments_open() - A new network namespace for this thread, loopback and TUN up. 0 or -errno. */
int segments_open(void);
void segments_close(void);
/** segments_connect() - Three-way handshake with @port here. Aborts if nobody listens. */
void segments_connect(struct segments_peer *peer, uint16_t port);
/** segments_connect_with() - Likewise; the third segment carries @count bytes. */
void segments_connect_with(struct segments_peer *peer, uint16_t port, const uint8_t *bytes,
			   size_t count);
/** segments_send() - @count bytes that stand at @offset of the stream. */
void segments_send(const struct segments_peer *peer, uint32_t offset, const uint8_t *bytes,
		   size_t count, int flags);
void segments_reset(const struct segments_peer *peer);

#endif
