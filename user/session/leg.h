/* SPDX-License-Identifier: MIT */
/*
 * leg.h - one side of a session: a socket, its layers, and what user space holds of its bytes.
 *
 *     socket --recv--> in --decode(layers)--> app bytes --encode(layers)--> out --send--> socket
 *     \_____________ this leg _____________/             \_________ the other leg ________/
 *
 * Owned by its session. `out` grows while `sending` is with the kernel; they are swapped when a
 * send starts, so memory under an operation never moves. The stack exists only while a layer is
 * needed: a leg whose both directions are CLEAR holds none.
 */
#ifndef CV_SESSION_LEG_H
#define CV_SESSION_LEG_H

#include "protocol/layer.h"
#include "ring/ring.h"

#define CV_LEG_LAYERS 9 /* three hops, each with TLS, a transport and a protocol that stays */
#define CV_LEG_BATCH 65536
#define CV_LEG_IN_LIMIT (96 * 1024)
#define CV_LEG_OUT_LIMIT (512 * 1024)
#define CV_LEG_OUT_HIGH (64 * 1024) /* at this many queued bytes the other leg is not read */
#define CV_LEG_BULK (16 * 1024) /* so much at once is more than a message */
#define CV_STREAM_OUT_HIGH (16 * 1024) /* likewise, where the leg is one of many on a carrier */

enum cv_leg_fact {
	CV_LEG_FIN_RECEIVED = 1, /* recv returned 0, and not because of a reset */
	CV_LEG_APP_ENDED = 2,	 /* no app byte will come any more (FIN, or close_notify) */
	CV_LEG_FIN_WANTED = 4,	 /* send FIN as soon as out is empty */
	CV_LEG_FIN_SENT = 8,
	CV_LEG_RESET = 16,	 /* the socket failed: nothing can be sent or received */
	CV_LEG_SEND_FAILED = 32, /* reset as well, but what it said before can still be read */
	CV_LEG_END_SAID = 64,	 /* inside a layer: FIN has to wait for the other direction */
	CV_LEG_IN_BULK = 128,	 /* the last recv had no end: the next comes when there is time */
};

struct cv_ktls;
struct cv_session;

struct cv_stack {
	struct cv_layer *layers[CV_LEG_LAYERS]; /* [0] is next to the carrier */
	uint8_t count;
	bool rx_released, tx_released;
	bool is_mute; /* while decoding: layers' answers are for nobody */
	struct cv_buffer
		pending[CV_LEG_LAYERS]; /* [i]: input of layer i that it could not use yet */
};

struct cv_leg {
	struct cv_session *session;
	int fd; /* -1 = none */
	uint32_t received_bytes; /* ever read from fd, by whomever; modulo 2^32 */
	uint32_t stream;	 /* of the worker's, instead of a socket; 0 = none: stream.h */
	uint8_t facts;
	bool has_ulp;	     /* the socket has the protocol "tls": never into a sockmap */
	int16_t ktls_error;  /* why the kernel does no TLS here, -errno; 0 = nothing known */
	struct cv_ktls *ktls; /* NULL unless it does, for a direction at least */
	struct cv_stack *stack;
	struct cv_buffer in, out, sending;
	struct cv_op recv_op, send_op;
};

void cv_leg_init(struct cv_leg *leg, struct cv_session *session);
/** cv_leg_done() - Free memory and layers; no operation may be pending; closes the socket,
 * @abort: with RST. */
void cv_leg_done(struct cv_leg *leg, bool abort);

/** cv_leg_push_layer() - Put @layer on top. 0; CV_INTERNAL_MEMORY; CV_INTERNAL_STATE when full.
 * On failure the layer is freed. */
int cv_leg_push_layer(struct cv_leg *leg, struct cv_layer *layer);

/** cv_leg_rx_clear / tx_clear() - Nothing is left to do with bytes received / sent. */
bool cv_leg_rx_clear(const struct cv_leg *leg);
bool cv_leg_tx_clear(const struct cv_leg *leg);
/** cv_leg_rx_records / tx_records() - Only TLS record protection is left to do in that direction,
 * and the leg as a whole will never be raw. */
bool cv_leg_rx_records(const struct cv_leg *leg);
bool cv_leg_tx_records(const struct cv_leg *leg);
/** cv_leg_rx_protected() - What is received comes in TLS 1.3 records that user space opens. */
bool cv_leg_rx_protected(const struct cv_leg *leg);
/** cv_leg_may_penetrate() - A direction may still become raw, or has: no kernel TLS on the socket.
 */
bool cv_leg_may_penetrate(const struct cv_leg *leg);
/** cv_leg_queued() - Bytes not yet taken by the kernel, those that layers hold included. */
size_t cv_leg_queued(const struct cv_leg *leg);
/** cv_leg_ending() - How the end of what is sent is said: the strongest way of its layers. */
enum cv_ending cv_leg_ending(const struct cv_leg *leg);
/** cv_leg_has_rest() - What came ahead of an end that was said inside is not decoded to its end. */
bool cv_leg_has_rest(const struct cv_leg *leg);
/** cv_leg_is_opening() - A layer's own handshake is under way. */
bool cv_leg_is_opening(const struct cv_leg *leg);
/** cv_leg_is_over() - A layer has heard and said goodbye: what becomes of the socket is no failure.
 */
bool cv_leg_is_over(const struct cv_leg *leg);
/** cv_leg_undecoded() - Received bytes that no layer has used yet. */
size_t cv_leg_undecoded(const struct cv_leg *leg);
bool cv_leg_busy(const struct cv_leg *leg); /* an operation is pending */
/** cv_leg_has_room() - Little enough is queued for it: the other leg may be read. */
bool cv_leg_has_room(const struct cv_leg *leg);

/**
 * cv_leg_decode() - Take one unit out of in (everything, when the leg is clear), append app bytes
 * to @ret_app. Returns: 0; -EAGAIN; CV_LAYER_EOF; or a layer's reason. Answers go to leg->out.
 */
int cv_leg_decode(struct cv_leg *leg, struct cv_buffer *ret_app);
/** cv_leg_unread() - Give bytes back to the top layer's input (or in, without layers). */
int cv_leg_unread(struct cv_leg *leg, struct cv_span app);
/** cv_leg_decode_eof() - The carrier ended: 0, or the reason why that is a truncation. */
int cv_leg_decode_eof(struct cv_leg *leg, int truncated_reason);
/** cv_leg_encode() - Pass app bytes down the layers into out. */
int cv_leg_encode(struct cv_leg *leg, struct cv_span app);
/** cv_leg_start() - Let the top layer, just pushed, say what comes before the first byte. */
int cv_leg_start(struct cv_leg *leg);
/** cv_leg_encode_eof() - close_notify and the like, where the direction still has it. With
 * CV_LEG_END_SAID it is the end of the carrier, too. */
int cv_leg_encode_eof(struct cv_leg *leg);
/** cv_leg_say_goodbye() - Likewise, at once or not at all: the leg is about to be closed. */
void cv_leg_say_goodbye(struct cv_leg *leg);
/** cv_leg_flush_header() - Let the top layer emit what it holds back (a VLESS request header). */
int cv_leg_flush_header(struct cv_leg *leg, int (*flush)(struct cv_layer *, cv_layer_emit, void *));
/** cv_leg_flush_held() - Likewise, whatever the top layer is. */
int cv_leg_flush_held(struct cv_leg *leg);
/** cv_leg_settle() - Free keys and layers that no direction needs any more. */
void cv_leg_settle(struct cv_leg *leg);

/** cv_leg_recv() - Start a recv unless one is pending or the leg ended. */
void cv_leg_recv(struct cv_leg *leg);
/** cv_leg_watch() - An event when there is something to read, or the peer is gone; without reading.
 */
void cv_leg_watch(struct cv_leg *leg);
/** cv_leg_stop_watching() - True while it does not end: an event follows. */
bool cv_leg_stop_watching(struct cv_leg *leg);
/** cv_leg_recv_rest() - As cv_leg_recv(), but not a byte behind the record that has begun: what
 * follows is the kernel's to open. */
void cv_leg_recv_rest(struct cv_leg *leg);
/** cv_leg_send_failed() - A send failed with @error: what the other side said before its reset is
 * still read where it matters. */
void cv_leg_send_failed(struct cv_leg *leg, int error);
/** cv_leg_flush() - Start a send of what is queued; send FIN when wanted and nothing is queued. */
void cv_leg_flush(struct cv_leg *leg);
/** cv_leg_flush_bulk() - Send what is queued at once, if it is much and the kernel takes it: nobody
 * hears of that. What it does not take is for cv_leg_flush(). */
void cv_leg_flush_bulk(struct cv_leg *leg);

#endif
