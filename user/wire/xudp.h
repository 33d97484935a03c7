/* SPDX-License-Identifier: MIT */
/*
 * xudp.h - datagrams of one client on a stream of their own, each with its address: Mux.Cool frames
 * of the one session 0.
 *
 *   client   New  session's target, GlobalID, first datagram | Keep [address] datagram | ...
 *   server   Keep address, datagram | ... | End
 */
#ifndef CV_WIRE_XUDP_H
#define CV_WIRE_XUDP_H

#include "wire/mux.h"

#define CV_XUDP_PEEK_BYTES 7  /* that tell it from other uses of Mux.Cool */
#define CV_XUDP_DATA_MAX 8192 /* that is written: more would end the carrier */
#define CV_XUDP_FRAME_MAX (CV_MUX_HEADER_MAX + CV_MUX_DATA_MAX)
#define CV_XUDP_END 1 /* not an error: the other side has ended it */

struct cv_xudp {
	bool is_client;
	bool is_open; /* the New was sent (client) or read (server) */
	bool has_global_id;
	uint8_t global_id[CV_MUX_GLOBAL_ID_BYTES];
	struct cv_destination target; /* of datagrams without an address of their own */
};

struct cv_xudp_datagram {
	struct cv_destination address; /* where it goes (server), or came from (client) */
	size_t header_bytes;           /* in front of the data */
	size_t data_bytes;
};

/** cv_xudp_is() - Do the first bytes of a carrier say so? Fewer than CV_XUDP_PEEK_BYTES do not.
 * Source: VLESS 6 step 8. */
bool cv_xudp_is(struct cv_span first);

/** cv_xudp_client() - Before the first datagram. @global_id NULL: none. */
void cv_xudp_client(struct cv_xudp *xudp, const uint8_t *global_id);
/** cv_xudp_server() - Before the first frame. */
void cv_xudp_server(struct cv_xudp *xudp);

/**
 * cv_xudp_read() - The next datagram; frames without one are passed over.
 * @ret_used_bytes: also when nothing comes of it: these bytes are done with
 * Returns: 0: its data are the last data_bytes of @ret_used_bytes; -EAGAIN: not whole yet;
 * CV_XUDP_END; CV_PEER_COMMAND: the carrier is used for something else; CV_PEER_DECODE,
 * CV_PEER_ADDRESS. Source: Mux.Cool 5.1.
 */
int cv_xudp_read(struct cv_xudp *xudp, struct cv_span bytes, struct cv_xudp_datagram *ret_datagram,
		 size_t *ret_used_bytes);
/**
 * cv_xudp_append() - One datagram to (client) or from (server) @address as a frame.
 * Returns: 0; CV_PEER_TOO_LONG: longer than CV_XUDP_DATA_MAX, or the buffer is full;
 * CV_PEER_ADDRESS: @address has no form here; CV_INTERNAL_MEMORY. Source: Mux.Cool 5.1.
 */
int cv_xudp_append(struct cv_xudp *xudp, const struct cv_destination *address, struct cv_span data,
		   struct cv_buffer *out);
/** cv_xudp_append_end() - Nothing more will come. Returns 0 or a buffer error. */
int cv_xudp_append_end(struct cv_buffer *out);

#endif
