/* SPDX-License-Identifier: MIT */
/*
 * datagram_frames.h - datagrams in and out of a leg: frames that have begun, frames to be sent.
 */
#ifndef CV_SESSION_DATAGRAM_FRAMES_H
#define CV_SESSION_DATAGRAM_FRAMES_H

#include "session/leg.h"
#include "wire/vless_udp.h"

#define CV_FRAMES_QUEUE_BYTES (256 * 1024) /* on the way to a stream; what is more is dropped */

struct cv_datagram_frames {
	struct cv_vless_udp udp;
	struct cv_buffer rest; /* received: a frame that is not whole */
	struct cv_buffer out;  /* whole frames */
};

struct cv_datagram_taker {
	/* One datagram, to or from @address; CV_DATAGRAM_HEADROOM in front of @bytes, which stay
	 * until done(), are writable, though they may be those of the one before. */
	void (*take)(void *owner, const struct cv_destination *address, uint8_t *bytes,
		     size_t len_bytes);
	void (*done)(void *owner); /* NULL: nobody wants to know */
	void *owner;
};

void cv_datagram_frames_init(struct cv_datagram_frames *frames);
void cv_datagram_frames_done(struct cv_datagram_frames *frames);
/**
 * cv_datagram_frames_read() - Some of what @leg has received.
 * @scratch: empty, and empty afterwards
 * Returns: 0: there may be more; -EAGAIN; CV_LAYER_EOF: the other side has ended it; a reason of a
 * layer or of the codec. None of these before take() and done() were called for what came first.
 */
int cv_datagram_frames_read(struct cv_datagram_frames *frames, struct cv_leg *leg,
			    struct cv_buffer *scratch, const struct cv_datagram_taker *taker);
/** cv_datagram_frames_end() - The carrier ended: 0, or @truncated_reason if inside a frame. */
int cv_datagram_frames_end(const struct cv_datagram_frames *frames, int truncated_reason);
/** cv_datagram_frames_keep() - One datagram for @leg, which gets it by _flush(). Returns 0;
 * CV_INTERNAL_RESOURCE: too much is on the way; as cv_vless_udp_append(). */
int cv_datagram_frames_keep(struct cv_datagram_frames *frames, const struct cv_leg *leg,
			    const struct cv_destination *address, struct cv_span data);
/** cv_datagram_frames_flush() - Through the layers of @leg. Returns 0 or a layer's reason. */
int cv_datagram_frames_flush(struct cv_datagram_frames *frames, struct cv_leg *leg);

#endif
