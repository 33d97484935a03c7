// SPDX-License-Identifier: MIT
/*
 * mux.c - frames of Mux.Cool.
 *
 * Metadata is read only when all of it is there: it is at most 512 bytes, and its length comes
 * first. Whatever it has behind what its status needs is padding, with two exceptions: a GlobalID
 * stands behind a datagram session's target, and on the carriers of a reverse tunnel the ends of
 * the user's connection stand there instead.
 *
 *   forward  New  0001 01 01 | 02 0035 01 08080808 | GlobalID 8
 *   reverse  New  0002 01 01 | 01 0050 02 0a name  | 01 port 01 source | 01 port 01 local
 *
 * Nothing is kept between frames. Data is the caller's: a stream's goes on in pieces, a datagram's
 * waits until it is whole.
 */
#include "wire/mux.h"

#include <culvert/reason.h>

#include "wire/vless_address.h"

#include <errno.h>
#include <string.h>

#define OPTION_DATA 1
#define OPTION_ERROR 2
#define NEW_METADATA_MIN 8

static int read_address(struct cv_reader *metadata, struct cv_destination *ret_address)
{
	const uint16_t port = cv_read_u16(metadata);
	const int error = cv_vless_address_read(metadata, port, ret_address);

	return error == -EAGAIN ? CV_PEER_DECODE : error; /* no more of it will come */
}

/* One end of a user's connection. Anything else than a network there ends the list. */
static int read_end(struct cv_reader *metadata, enum cv_mux_network *ret_network,
		    struct cv_destination *ret_end)
{
	const uint8_t network = cv_reader_left(metadata) > 0 ? cv_read_u8(metadata) : 0;
	int error;

	if (network != CV_MUX_TCP && network != CV_MUX_UDP)
		return 0;
	error = read_address(metadata, ret_end);
	if (error == 0)
		*ret_network = (enum cv_mux_network)network;
	return error;
}

static int read_ends(struct cv_reader *metadata, struct cv_mux_frame *frame)
{
	const int error = read_end(metadata, &frame->source_network, &frame->source);

	if (error || frame->source_network == CV_MUX_NO_NETWORK)
		return error;
	return read_end(metadata, &frame->local_network, &frame->local);
}

static void read_global_id(struct cv_reader *metadata, struct cv_mux_frame *frame)
{
	static const uint8_t none[CV_MUX_GLOBAL_ID_BYTES];
	const uint8_t *bytes;

	if (!frame->has_data || frame->network != CV_MUX_UDP ||
	    cv_reader_left(metadata) < CV_MUX_GLOBAL_ID_BYTES)
		return;
	bytes = cv_read_bytes(metadata, CV_MUX_GLOBAL_ID_BYTES);
	memcpy(frame->global_id, bytes, CV_MUX_GLOBAL_ID_BYTES);
	frame->has_global_id = memcmp(bytes, none, CV_MUX_GLOBAL_ID_BYTES) != 0;
}

static int read_new(struct cv_reader *metadata, enum cv_mux_carrier carrier,
		    struct cv_mux_frame *frame)
{
	const uint8_t network = cv_read_u8(metadata);
	int error;

	if (metadata->failed || (network != CV_MUX_TCP && network != CV_MUX_UDP))
		return CV_PEER_DECODE;
	error = read_address(metadata, &frame->address);
	if (error)
		return error;
	frame->network = (enum cv_mux_network)network;
	if (carrier == CV_MUX_REVERSE)
		return read_ends(metadata, frame);
	read_global_id(metadata, frame);
	return 0;
}

/* Only a 2 there announces an address; anything else is padding (Mux.Cool 7.4). */
static int read_keep(struct cv_reader *metadata, struct cv_mux_frame *frame)
{
	int error;

	if (cv_reader_left(metadata) == 0 || cv_read_u8(metadata) != CV_MUX_UDP)
		return 0;
	error = read_address(metadata, &frame->address);
	if (error == 0)
		frame->network = CV_MUX_UDP;
	return error;
}

static int read_metadata(struct cv_reader metadata, enum cv_mux_carrier carrier,
			 struct cv_mux_frame *frame)
{
	const bool is_long_enough = cv_reader_left(&metadata) >= NEW_METADATA_MIN;
	uint8_t status, option;

	frame->session = cv_read_u16(&metadata);
	status = cv_read_u8(&metadata);
	option = cv_read_u8(&metadata);
	frame->has_data = option & OPTION_DATA;
	frame->is_error = option & OPTION_ERROR;
	switch (status) {
	case CV_MUX_NEW:
		frame->status = CV_MUX_NEW;
		return is_long_enough ? read_new(&metadata, carrier, frame) : CV_PEER_DECODE;
	case CV_MUX_KEEP:
		frame->status = CV_MUX_KEEP;
		return read_keep(&metadata, frame);
	case CV_MUX_END:
	case CV_MUX_KEEP_ALIVE:
		frame->status = (enum cv_mux_status)status;
		return 0;
	default:
		return CV_PEER_DECODE;
	}
}

/* Not all of it: the names are long, and frames are many. */
static void clear(struct cv_mux_frame *frame)
{
	frame->data_bytes = 0;
	frame->network = frame->source_network = frame->local_network = CV_MUX_NO_NETWORK;
	frame->address.kind = frame->source.kind = frame->local.kind = CV_ADDRESS_NONE;
	frame->has_global_id = false;
}

int cv_mux_frame_read(struct cv_span bytes, enum cv_mux_carrier carrier,
		      struct cv_mux_frame *ret_frame, size_t *ret_len)
{
	struct cv_reader reader = cv_reader_of(bytes.data, bytes.len_bytes), metadata;
	const uint16_t metadata_bytes = cv_read_u16(&reader);
	int error;

	if (reader.failed)
		return -EAGAIN;
	if (metadata_bytes < CV_MUX_METADATA_MIN || metadata_bytes > CV_MUX_METADATA_MAX)
		return CV_PEER_DECODE;
	if (cv_reader_left(&reader) < metadata_bytes)
		return -EAGAIN;
	metadata = cv_reader_of(cv_read_bytes(&reader, metadata_bytes), metadata_bytes);
	clear(ret_frame);
	error = read_metadata(metadata, carrier, ret_frame);
	if (error)
		return error;
	if (ret_frame->has_data)
		ret_frame->data_bytes = cv_read_u16(&reader);
	if (reader.failed)
		return -EAGAIN;
	*ret_len = bytes.len_bytes - cv_reader_left(&reader);
	return 0;
}

/* ---- writing ---- */

static void write_address(struct cv_writer *writer, enum cv_mux_network network,
			  const struct cv_destination *address)
{
	if (network == CV_MUX_NO_NETWORK) {
		writer->failed = true;
		return;
	}
	cv_write_u8(writer, (uint8_t)network);
	cv_write_u16(writer, address->port);
	if (cv_vless_address_write(address, writer) < 0)
		writer->failed = true;
}

static void write_new(struct cv_writer *writer, const struct cv_mux_frame *frame,
		      enum cv_mux_carrier carrier)
{
	write_address(writer, frame->network, &frame->address);
	if (carrier == CV_MUX_FORWARD) {
		if (frame->has_global_id)
			cv_write_bytes(writer, frame->global_id, sizeof(frame->global_id));
		return;
	}
	if (frame->source_network == CV_MUX_NO_NETWORK)
		return;
	write_address(writer, frame->source_network, &frame->source);
	if (frame->local_network != CV_MUX_NO_NETWORK)
		write_address(writer, frame->local_network, &frame->local);
}

size_t cv_mux_frame_write(const struct cv_mux_frame *frame, enum cv_mux_carrier carrier,
			  uint8_t ret_header[CV_MUX_HEADER_MAX])
{
	/* the longest name three times is more than metadata may be: then it fails */
	struct cv_writer writer = cv_writer_of(ret_header, 2 + CV_MUX_METADATA_MAX);
	const size_t mark = cv_write_open16(&writer);

	cv_write_u16(&writer, frame->session);
	cv_write_u8(&writer, (uint8_t)frame->status);
	cv_write_u8(&writer, (uint8_t)((frame->has_data ? OPTION_DATA : 0) |
				       (frame->is_error ? OPTION_ERROR : 0)));
	if (frame->status == CV_MUX_NEW)
		write_new(&writer, frame, carrier);
	else if (frame->status == CV_MUX_KEEP && frame->address.kind != CV_ADDRESS_NONE)
		write_address(&writer, CV_MUX_UDP, &frame->address);
	cv_write_close16(&writer, mark);
	writer.end += 2;
	if (frame->has_data)
		cv_write_u16(&writer, frame->data_bytes);
	return writer.failed ? 0 : cv_writer_len(&writer);
}

int cv_mux_frame_append(struct cv_mux_frame frame, enum cv_mux_carrier carrier,
			struct cv_span data, struct cv_buffer *out)
{
	uint8_t header[CV_MUX_HEADER_MAX], *space;
	size_t header_bytes;
	int error;

	if (data.len_bytes > CV_MUX_DATA_MAX)
		return CV_INTERNAL_STATE;
	frame.has_data = data.data != NULL;
	frame.data_bytes = (uint16_t)data.len_bytes;
	header_bytes = cv_mux_frame_write(&frame, carrier, header);
	if (header_bytes == 0)
		return CV_INTERNAL_STATE;
	error = cv_buffer_reserve(out, header_bytes + data.len_bytes, &space);
	if (error)
		return error;
	memcpy(space, header, header_bytes);
	if (data.len_bytes > 0)
		memcpy(space + header_bytes, data.data, data.len_bytes);
	cv_buffer_commit(out, header_bytes + data.len_bytes);
	return 0;
}

int cv_mux_stream_append(uint16_t session, struct cv_span data, struct cv_buffer *out)
{
	while (data.len_bytes > 0) {
		const size_t count_bytes =
			data.len_bytes < CV_MUX_CHUNK ? data.len_bytes : CV_MUX_CHUNK;
		struct cv_writer writer;
		uint8_t *space;
		const int error =
			cv_buffer_reserve(out, CV_MUX_KEEP_BYTES + count_bytes, &space);

		if (error)
			return error;
		writer = cv_writer_of(space, CV_MUX_KEEP_BYTES + count_bytes);
		cv_write_u16(&writer, CV_MUX_METADATA_MIN);
		cv_write_u16(&writer, session);
		cv_write_u8(&writer, CV_MUX_KEEP);
		cv_write_u8(&writer, OPTION_DATA);
		cv_write_u16(&writer, (uint16_t)count_bytes);
		cv_write_bytes(&writer, data.data, count_bytes);
		cv_buffer_commit(out, CV_MUX_KEEP_BYTES + count_bytes);
		cv_span_skip(&data, count_bytes);
	}
	return 0;
}

size_t cv_mux_stream_bytes(size_t data_bytes)
{
	return data_bytes + (data_bytes + CV_MUX_CHUNK - 1) / CV_MUX_CHUNK * CV_MUX_KEEP_BYTES;
}
