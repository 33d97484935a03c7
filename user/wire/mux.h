/* SPDX-License-Identifier: MIT */
/*
 * mux.h - frames of Mux.Cool, XUDP among them: many sub-sessions on one carrier.
 *
 *   length L 2 | session 2 | status 1 | option 1 | rest of the metadata L-4 | [length N 2 | data N]
 *
 *   New      network 1 | port 2 | address | [GlobalID 8, or the ends of a reverse tunnel's user]
 *   Keep     nothing, or 02 | port 2 | address: where this datagram goes or comes from
 *   End      nothing
 *
 * What stands behind that in the metadata is padding.
 */
#ifndef CV_WIRE_MUX_H
#define CV_WIRE_MUX_H

#include "base/address.h"
#include "base/buffer.h"

#define CV_MUX_METADATA_MIN 4
#define CV_MUX_METADATA_MAX 512
#define CV_MUX_HEADER_MAX (2 + CV_MUX_METADATA_MAX + 2) /* all but the data */
#define CV_MUX_KEEP_BYTES 8 /* header of a Keep with data and without address */
#define CV_MUX_DATA_MAX 65535 /* that is read */
#define CV_MUX_CHUNK 8192 /* stream data that is written: more is legal, but some refuse it */
#define CV_MUX_DATAGRAM_MAX 8192 /* more ends the whole carrier, both ways */
#define CV_MUX_GLOBAL_ID_BYTES 8

enum cv_mux_status {
	CV_MUX_NEW = 1,
	CV_MUX_KEEP = 2,
	CV_MUX_END = 3,
	CV_MUX_KEEP_ALIVE = 4,
};
enum cv_mux_network { CV_MUX_NO_NETWORK, CV_MUX_TCP = 1, CV_MUX_UDP = 2 };
enum cv_mux_carrier { CV_MUX_FORWARD, CV_MUX_REVERSE /* VLESS command 4: its New differs */ };

struct cv_mux_frame {
	uint16_t session;
	enum cv_mux_status status;
	bool has_data;	    /* even if there are no bytes of it: an empty datagram is one */
	bool is_error;	    /* End: not in good order */
	uint16_t data_bytes; /* that follow the header */
	enum cv_mux_network network; /* New; Keep: UDP if there is an address */
	struct cv_destination address; /* kind NONE unless there is one */
	bool has_global_id;
	uint8_t global_id[CV_MUX_GLOBAL_ID_BYTES];
	/* CV_MUX_REVERSE, New: who the user is and where he came in; NO_NETWORK = not said */
	enum cv_mux_network source_network, local_network;
	struct cv_destination source, local;
};

/**
 * cv_mux_frame_read() - The header of the next frame; its data follow, data_bytes of them, in
 * whatever pieces they come.
 * @ret_frame: fields that the status does not have are empty; undefined unless 0 is returned
 * @ret_len: header length
 * Returns: 0; -EAGAIN: not all of the header is there; CV_PEER_DECODE (length, status, network, cut
 * short) or CV_PEER_ADDRESS: the carrier cannot go on. Source: Mux.Cool 2, reverse 6.3.
 */
int cv_mux_frame_read(struct cv_span bytes, enum cv_mux_carrier carrier,
		      struct cv_mux_frame *ret_frame, size_t *ret_len);
/**
 * cv_mux_frame_write() - The header of @frame; data_bytes of data are to follow if has_data.
 * Returns its length; 0: it cannot be written (New without network or address, ends of a user that
 * do not fit). Source: Mux.Cool 2.
 */
size_t cv_mux_frame_write(const struct cv_mux_frame *frame, enum cv_mux_carrier carrier,
			  uint8_t ret_header[CV_MUX_HEADER_MAX]);
/**
 * cv_mux_frame_append() - Header and @data (data_bytes and has_data of @frame are not looked at:
 * @data.data NULL = none). Returns 0; a buffer error; CV_INTERNAL_STATE: it cannot be written.
 */
int cv_mux_frame_append(struct cv_mux_frame frame, enum cv_mux_carrier carrier,
			struct cv_span data, struct cv_buffer *out);
/** cv_mux_stream_append() - @data of a stream as Keep frames of at most CV_MUX_CHUNK each. Returns
 * 0 or a buffer error: a part may have been appended then. */
int cv_mux_stream_append(uint16_t session, struct cv_span data, struct cv_buffer *out);
/** cv_mux_stream_bytes() - How many bytes that appends. */
size_t cv_mux_stream_bytes(size_t data_bytes);

#endif
