// SPDX-License-Identifier: MIT
/*
 * xudp.c - XUDP: one association for datagrams on one carrier.
 *
 *   server  -- New --> open -- Keep, address or none --> datagram ...    End: over
 *   client  -- Keep, address or none --> datagram ...          New, End: over
 *
 * There is one session, 0; a frame of another one is somebody's Mux.Cool, which is told from this
 * by the first frame. KeepAlive carries nothing, neither does a Keep without data: both are passed
 * over with whatever they hold.
 */
#include "wire/xudp.h"

#include <culvert/reason.h>

#include <errno.h>
#include <string.h>

#define SESSION 0

bool cv_xudp_is(struct cv_span first)
{
	return first.len_bytes >= CV_XUDP_PEEK_BYTES && first.data[2] == 0 && first.data[3] == 0 &&
	       first.data[4] == CV_MUX_NEW && first.data[6] == CV_MUX_UDP;
}

void cv_xudp_client(struct cv_xudp *xudp, const uint8_t *global_id)
{
	*xudp = (struct cv_xudp){.is_client = true, .has_global_id = global_id != NULL};
	if (global_id)
		memcpy(xudp->global_id, global_id, sizeof(xudp->global_id));
}

void cv_xudp_server(struct cv_xudp *xudp)
{
	*xudp = (struct cv_xudp){.is_client = false};
}

/* ---- reading ------------------------------------------------------------------------------ */

static int open_by(struct cv_xudp *xudp, const struct cv_mux_frame *frame)
{
	if (frame->network != CV_MUX_UDP)
		return CV_PEER_COMMAND;
	xudp->is_open = true;
	xudp->target = frame->address;
	xudp->has_global_id = frame->has_global_id;
	memcpy(xudp->global_id, frame->global_id, sizeof(xudp->global_id));
	return 0;
}

/* 0: it is a datagram's, if there is one in it. */
static int judge(struct cv_xudp *xudp, const struct cv_mux_frame *frame)
{
	const bool is_first = !xudp->is_client && !xudp->is_open;

	if (frame->session != SESSION && frame->status != CV_MUX_KEEP_ALIVE)
		return is_first ? CV_PEER_COMMAND : CV_PEER_DECODE;
	switch (frame->status) {
	case CV_MUX_NEW:
		return is_first ? open_by(xudp, frame) : CV_XUDP_END;
	case CV_MUX_KEEP:
		return is_first ? CV_PEER_COMMAND : 0;
	case CV_MUX_KEEP_ALIVE:
		return 0;
	case CV_MUX_END:
		break;
	}
	return CV_XUDP_END;
}

int cv_xudp_read(struct cv_xudp *xudp, struct cv_span bytes, struct cv_xudp_datagram *ret_datagram,
		 size_t *ret_used_bytes)
{
	*ret_used_bytes = 0;
	for (;;) {
		struct cv_mux_frame frame;
		size_t header_bytes;
		int result = cv_mux_frame_read(bytes, CV_MUX_FORWARD, &frame, &header_bytes);

		if (result)
			return result;
		if (frame.has_data && bytes.len_bytes - header_bytes < frame.data_bytes)
			return -EAGAIN;
		result = judge(xudp, &frame);
		if (result)
			return result;
		*ret_used_bytes += header_bytes + frame.data_bytes;
		if (frame.has_data && frame.status != CV_MUX_KEEP_ALIVE) {
			ret_datagram->address = frame.address.kind == CV_ADDRESS_NONE
							? xudp->target
							: frame.address;
			ret_datagram->header_bytes = header_bytes;
			ret_datagram->data_bytes = frame.data_bytes;
			return 0;
		}
		cv_span_skip(&bytes, header_bytes + frame.data_bytes);
	}
}

/* ---- writing ------------------------------------------------------------------------------ */

int cv_xudp_append(struct cv_xudp *xudp, const struct cv_destination *address, struct cv_span data,
		   struct cv_buffer *out)
{
	const bool is_first = xudp->is_client && !xudp->is_open;
	struct cv_mux_frame frame = {
		.session = SESSION,
		.status = is_first ? CV_MUX_NEW : CV_MUX_KEEP,
		.network = CV_MUX_UDP,
		.address = *address,
		.has_global_id = is_first && xudp->has_global_id,
	};
	int result;

	if (data.len_bytes > CV_XUDP_DATA_MAX)
		return CV_PEER_TOO_LONG;
	if (address->kind == CV_ADDRESS_NONE)
		return CV_PEER_ADDRESS;
	if (!data.data) /* an empty datagram is one, too */
		data.data = (const uint8_t *)"";
	memcpy(frame.global_id, xudp->global_id, sizeof(frame.global_id));
	result = cv_mux_frame_append(frame, CV_MUX_FORWARD, data, out);
	if (result)
		return result == CV_INTERNAL_STATE ? CV_PEER_ADDRESS : result;
	if (is_first) {
		xudp->is_open = true;
		xudp->target = *address;
	}
	return 0;
}

int cv_xudp_append_end(struct cv_buffer *out)
{
	const struct cv_mux_frame frame = {.session = SESSION, .status = CV_MUX_END};

	return cv_mux_frame_append(frame, CV_MUX_FORWARD, cv_span_of(NULL, 0), out);
}
