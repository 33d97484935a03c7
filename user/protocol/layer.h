/* SPDX-License-Identifier: MIT */
/*
 * layer.h - a sans-IO transform on a leg: bytes in, bytes out, and how transparent it is.
 *
 *   carrier bytes --decode--> layer[0] --> layer[1] --> ... --> app bytes      (receiving)
 *   carrier bytes <--encode-- layer[0] <-- layer[1] <-- ... <-- app bytes      (sending)
 *
 * Rules that Vision needs (Vision 5.2) and that therefore hold for every stack:
 *  - layer[0].decode takes at most ONE unit (one TLS record) per call, so that nothing is decrypted
 *    ahead of a layer above that may order the direction to go RAW;
 *  - a layer that sees that order sets rx_penetrated (tx_penetrated when writing): from the next
 *    unit on, that direction bypasses this layer and every layer below it;
 *  - encode may emit several units, each through @emit, in order; a layer with none below may put
 *    them where emit would have (cv_layer.below).
 */
#ifndef CV_PROTOCOL_LAYER_H
#define CV_PROTOCOL_LAYER_H

#include "base/buffer.h"

enum cv_transparency {
	CV_OPAQUE,  /* must see the bytes */
	CV_RECORDS, /* only TLS record protection is left, keys known */
	CV_CLEAR,   /* nothing is left to do */
};

struct cv_layer;
typedef int (*cv_layer_emit)(void *context, struct cv_span bytes);

struct cv_layer_ops {
	const char *name;
	/*
	 * decode: consume one unit from the front of @in, append what it holds to @out.
	 * Returns 0 (consumed something; may have appended nothing); -EAGAIN: needs more bytes
	 * (nothing consumed); CV_LAYER_EOF: orderly end of this direction (close_notify); or a
	 * reason.
	 * @reply: bytes that must be sent back, through the layers below this one (alerts,
	 * KeyUpdate answers, pongs, what was held back until now).
	 */
	int (*decode)(struct cv_layer *layer, struct cv_span *in, struct cv_buffer *out,
		      struct cv_buffer *reply);
	/* start: what is said before the first byte, where this side begins; NULL = nothing. */
	int (*start)(struct cv_layer *layer, cv_layer_emit emit, void *context);
	/* encode: transform @bytes (<= 65536), emit units downwards. */
	int (*encode)(struct cv_layer *layer, struct cv_span bytes, cv_layer_emit emit,
		      void *context);
	/* encode_eof: what precedes FIN in the sending direction (close_notify); NULL = nothing. */
	int (*encode_eof)(struct cv_layer *layer, cv_layer_emit emit, void *context);
	/* flush: what waits for the first bytes to be sent (a request header) goes out without
	 * them; NULL = nothing ever waits. */
	int (*flush)(struct cv_layer *layer, cv_layer_emit emit, void *context);
	/* decode_eof: carrier ended; 0, or a reason if that is a truncation. NULL = always fine. */
	int (*decode_eof)(struct cv_layer *layer);
	/* release_rx/tx: that direction no longer needs the layer (penetrated): free its keys. */
	void (*release_rx)(struct cv_layer *layer);
	void (*release_tx)(struct cv_layer *layer);
	void (*free)(struct cv_layer *layer);
};

/* How the end of what is sent is said; the strongest of a stack counts. */
enum cv_ending {
	CV_ENDS_BY_FIN, /* encode_eof, then FIN; the other direction goes on */
	CV_ENDS_INSIDE, /* encode_eof says it; the connection stays for the other direction */
	CV_ENDS_BOTH,	/* encode_eof ends both directions: there is no half-close */
};

#define CV_LAYER_EOF 1 /* not an error: orderly end of the receiving direction */

struct cv_layer {
	const struct cv_layer_ops *ops;
	enum cv_transparency rx, tx; /* kept current by the layer itself */
	bool rx_penetrated, tx_penetrated;
	bool rx_ended; /* the peer said its end in this layer: how those below end is all one */
	bool may_penetrate; /* some direction may still do so, or has */
	bool is_opening; /* a handshake of its own is under way: nothing is to be sent yet */
	bool peer_left; /* set before free: the carrier was ended, or reset, by the peer */
	bool is_over;	 /* both sides have said goodbye in it: nothing that follows counts */
	uint8_t ending;	 /* enum cv_ending */
	size_t held_bytes; /* of what encode was given, not emitted yet */
	struct cv_buffer *below; /* while encode runs: where emit leads, if to no other layer */
};

#endif
