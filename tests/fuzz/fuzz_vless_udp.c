// SPDX-License-Identifier: MIT
/*
 * fuzz_vless_udp.c - datagrams on a stream, by length or as XUDP: what comes out does not depend on
 * where the stream is cut, nothing is read behind its end, and what was read and is written again
 * is read as the same.
 *
 *   input   form and side 1 | cut 2 | stream
 */
#include "wire/vless_udp.h"

#include "check.h"

#include <culvert/reason.h>

#include <errno.h>

#define DATAGRAMS_MAX 64

struct seen {
	size_t count;
	struct cv_destination address[DATAGRAMS_MAX];
	const uint8_t *data[DATAGRAMS_MAX];
	size_t len_bytes[DATAGRAMS_MAX];
	int result;
};

static void begin(struct cv_vless_udp *udp, uint8_t form)
{
	const struct cv_destination target = {
		.kind = CV_ADDRESS_IPV4, .port = 53, .ipv4 = {9, 9, 9, 9}};

	if (form % 3 == 0) {
		cv_vless_udp_plain(udp, &target);
	} else if (form % 3 == 1) {
		cv_vless_udp_xudp_server(udp);
	} else {
		cv_vless_udp_xudp_client(udp, NULL);
		udp->xudp.target = target;
	}
}

/* What is there now; @at moves behind what was used. */
static void read_some(struct cv_vless_udp *udp, struct cv_span *at, struct seen *seen)
{
	do {
		struct cv_xudp_datagram datagram;
		size_t used = SIZE_MAX;

		seen->result = cv_vless_udp_read(udp, *at, &datagram, &used);
		check(used <= at->len_bytes);
		cv_span_skip(at, used);
		if (seen->result)
			break;
		check(datagram.header_bytes + datagram.data_bytes <= used);
		seen->address[seen->count] = datagram.address;
		seen->data[seen->count] = at->data - datagram.data_bytes;
		seen->len_bytes[seen->count] = datagram.data_bytes;
	} while (++seen->count < DATAGRAMS_MAX);
	check(seen->result == 0 || seen->result == -EAGAIN || seen->result == CV_XUDP_END ||
	      seen->result == CV_PEER_DECODE || seen->result == CV_PEER_ADDRESS ||
	      seen->result == CV_PEER_COMMAND);
}

static void check_same_seen(const struct seen *one, const struct seen *other)
{
	check(one->count == other->count && one->result == other->result);
	for (size_t i = 0; i < one->count; i++) {
		char texts[2][CV_DESTINATION_TEXT];

		cv_destination_format(&one->address[i], texts[0]);
		cv_destination_format(&other->address[i], texts[1]);
		check(strcmp(texts[0], texts[1]) == 0);
		check_same(cv_span_of(one->data[i], one->len_bytes[i]),
			   cv_span_of(other->data[i], other->len_bytes[i]));
	}
}

static void check_cut(uint8_t form, struct cv_span stream, size_t cut, const struct seen *whole)
{
	struct seen seen = {0};
	struct cv_vless_udp udp;
	struct cv_span at = stream;

	if (cut > stream.len_bytes)
		cut = stream.len_bytes;
	at.len_bytes = cut;
	begin(&udp, form);
	read_some(&udp, &at, &seen);
	if (seen.result == -EAGAIN) {
		at.len_bytes = stream.len_bytes - (size_t)(at.data - stream.data);
		read_some(&udp, &at, &seen);
	}
	check_same_seen(&seen, whole);
}

/* From a client to a server, or back. */
static void check_written(uint8_t form, const struct seen *whole)
{
	struct cv_vless_udp from, to;
	struct seen again = {0}, kept = {0};
	struct cv_buffer out;
	struct cv_span at;

	begin(&from, form % 3 == 0 ? 0 : 3 - form % 3); /* the other side */
	begin(&to, form);
	cv_buffer_init(&out, 1 << 20);
	for (size_t i = 0; i < whole->count; i++) {
		const int result =
			cv_vless_udp_append(&from, &whole->address[i],
					    cv_span_of(whole->data[i], whole->len_bytes[i]), &out);

		check(result == 0 ||
		      (result == CV_PEER_TOO_LONG && whole->len_bytes[i] > CV_VLESS_UDP_DATA_MAX));
		if (result)
			continue;
		kept.address[kept.count] = whole->address[i];
		kept.data[kept.count] = whole->data[i];
		kept.len_bytes[kept.count++] = whole->len_bytes[i];
	}
	at = cv_buffer_span(&out);
	read_some(&to, &at, &again);
	kept.result = kept.count == DATAGRAMS_MAX ? 0 : -EAGAIN;
	check_same_seen(&again, &kept);
	cv_buffer_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_span input = cv_span_of(data, size);
	const uint8_t form = take_u8(&input);
	const size_t cut = take_u16(&input);
	/* memory of its own: a read behind its end is found */
	uint8_t *copy = malloc(input.len_bytes ? input.len_bytes : 1);
	struct seen whole = {0};
	struct cv_vless_udp udp;
	struct cv_span at;

	check(copy != NULL);
	if (input.len_bytes)
		memcpy(copy, input.data, input.len_bytes);
	at = cv_span_of(copy, input.len_bytes);
	begin(&udp, form);
	read_some(&udp, &at, &whole);
	if (whole.result != 0) /* else there is more than is kept here */
		check_cut(form, cv_span_of(copy, input.len_bytes), cut, &whole);
	check_written(form, &whole);
	free(copy);
	return 0;
}
