// SPDX-License-Identifier: MIT
/*
 * vless_udp.c - datagrams on a VLESS stream.
 *
 * Every datagram has its length in front of it, not only the first. What is longer than other
 * programs have room for is not written, since they would lose their place in the stream; it is
 * read, however.
 */
#include "wire/vless_udp.h"

#include "base/cursor.h"

#include <culvert/reason.h>

#include <errno.h>

#define LENGTH_BYTES 2

void cv_vless_udp_plain(struct cv_vless_udp *udp, const struct cv_destination *target)
{
	*udp = (struct cv_vless_udp){.target = *target};
}

void cv_vless_udp_xudp_client(struct cv_vless_udp *udp, const uint8_t *global_id)
{
	*udp = (struct cv_vless_udp){.is_xudp = true};
	cv_xudp_client(&udp->xudp, global_id);
}

void cv_vless_udp_xudp_server(struct cv_vless_udp *udp)
{
	*udp = (struct cv_vless_udp){.is_xudp = true};
	cv_xudp_server(&udp->xudp);
}

static int read_plain(const struct cv_vless_udp *udp, struct cv_span bytes,
		      struct cv_xudp_datagram *ret_datagram, size_t *ret_used_bytes)
{
	struct cv_reader reader = cv_reader_of(bytes.data, bytes.len_bytes);
	uint16_t data_bytes;

	*ret_used_bytes = 0;
	do {
		data_bytes = cv_read_u16(&reader);
		if (reader.failed || cv_reader_left(&reader) < data_bytes)
			return -EAGAIN;
		*ret_used_bytes += LENGTH_BYTES + (size_t)data_bytes;
	} while (data_bytes == 0);
	ret_datagram->address = udp->target;
	ret_datagram->header_bytes = LENGTH_BYTES;
	ret_datagram->data_bytes = data_bytes;
	return 0;
}

int cv_vless_udp_read(struct cv_vless_udp *udp, struct cv_span bytes,
		      struct cv_xudp_datagram *ret_datagram, size_t *ret_used_bytes)
{
	if (udp->is_xudp)
		return cv_xudp_read(&udp->xudp, bytes, ret_datagram, ret_used_bytes);
	return read_plain(udp, bytes, ret_datagram, ret_used_bytes);
}

static int append_plain(struct cv_span data, struct cv_buffer *out)
{
	struct cv_writer writer;
	uint8_t *space;
	int error;

	if (data.len_bytes > CV_VLESS_UDP_DATA_MAX)
		return CV_PEER_TOO_LONG;
	if (data.len_bytes == 0)
		return 0;
	error = cv_buffer_reserve(out, LENGTH_BYTES + data.len_bytes, &space);
	if (error)
		return error;
	writer = cv_writer_of(space, LENGTH_BYTES + data.len_bytes);
	cv_write_u16(&writer, (uint16_t)data.len_bytes);
	cv_write_bytes(&writer, data.data, data.len_bytes);
	cv_buffer_commit(out, cv_writer_len(&writer));
	return 0;
}

int cv_vless_udp_append(struct cv_vless_udp *udp, const struct cv_destination *address,
			struct cv_span data, struct cv_buffer *out)
{
	if (udp->is_xudp)
		return cv_xudp_append(&udp->xudp, address, data, out);
	return append_plain(data, out);
}
