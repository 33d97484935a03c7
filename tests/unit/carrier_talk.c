// SPDX-License-Identifier: MIT
/*
 * carrier_talk.c - see carrier_talk.h.
 */
#include "carrier_talk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#define IN_LIMIT (1024 * 1024)

void talk_init(struct talk *talk, int fd, size_t skip_bytes)
{
	*talk = (struct talk){.fd = fd, .skip_bytes = skip_bytes};
	cv_buffer_init(&talk->in, IN_LIMIT);
}

void talk_done(struct talk *talk)
{
	cv_buffer_done(&talk->in);
}

static void say(struct talk *talk, const struct cv_mux_frame *frame, struct cv_span data)
{
	struct cv_buffer out;

	cv_buffer_init(&out, IN_LIMIT);
	assert_int_equal(cv_mux_frame_append(*frame, CV_MUX_FORWARD, data, &out), 0);
	stage_send(talk->fd, cv_buffer_bytes(&out), cv_buffer_len(&out));
	cv_buffer_done(&out);
}

void talk_open(struct talk *talk, uint16_t id, enum cv_mux_network network, uint16_t port,
	       const char *text)
{
	struct cv_mux_frame frame = {.session = id, .status = CV_MUX_NEW, .network = network};

	assert_int_equal(cv_destination_set_text(&frame.address, "127.0.0.1", port), 0);
	say(talk, &frame, cv_span_of(text, text ? strlen(text) : 0));
}

void talk_keep(struct talk *talk, uint16_t id, const void *bytes, size_t len_bytes)
{
	const struct cv_mux_frame frame = {.session = id, .status = CV_MUX_KEEP};

	say(talk, &frame, cv_span_of(bytes, len_bytes));
}

void talk_end(struct talk *talk, uint16_t id, bool is_error)
{
	const struct cv_mux_frame frame = {
		.session = id, .status = CV_MUX_END, .is_error = is_error};

	say(talk, &frame, cv_span_of(NULL, 0));
}

/* 0 at the end of the stream, or when it was reset. */
static size_t receive(struct talk *talk)
{
	uint8_t bytes[16384];
	const ssize_t count = recv(talk->fd, bytes, sizeof(bytes), 0);
	size_t skip;

	if (count < 0 && errno == ECONNRESET)
		return 0;
	assert_true(count >= 0);
	skip = talk->skip_bytes < (size_t)count ? talk->skip_bytes : (size_t)count;
	talk->skip_bytes -= skip;
	assert_int_equal(cv_buffer_append(&talk->in, bytes + skip, (size_t)count - skip), 0);
	return (size_t)count;
}

struct cv_mux_frame talk_frame(struct talk *talk, uint8_t *ret_data)
{
	struct cv_mux_frame frame = {.status = CV_MUX_END};
	size_t header_bytes = 0;
	int result = -EAGAIN;

	while (result == -EAGAIN) {
		result = cv_mux_frame_read(cv_buffer_span(&talk->in), CV_MUX_FORWARD, &frame,
					   &header_bytes);
		if (result == -EAGAIN)
			assert_true(receive(talk) > 0);
	}
	assert_int_equal(result, 0);
	cv_buffer_consume(&talk->in, header_bytes);
	while (cv_buffer_len(&talk->in) < frame.data_bytes)
		assert_true(receive(talk) > 0);
	if (ret_data && frame.data_bytes)
		memcpy(ret_data, cv_buffer_bytes(&talk->in), frame.data_bytes);
	cv_buffer_consume(&talk->in, frame.data_bytes);
	return frame;
}

void talk_expect(struct talk *talk, uint16_t id, const char *text)
{
	static uint8_t data[CV_MUX_DATA_MAX];

	while (*text) {
		const struct cv_mux_frame frame = talk_frame(talk, data);

		assert_int_equal(frame.status, CV_MUX_KEEP);
		assert_int_equal(frame.session, id);
		assert_true(frame.data_bytes <= strlen(text));
		assert_memory_equal(data, text, frame.data_bytes);
		text += frame.data_bytes;
	}
}

void talk_expect_end(struct talk *talk, uint16_t id, bool is_error)
{
	const struct cv_mux_frame frame = talk_frame(talk, NULL);

	assert_int_equal(frame.status, CV_MUX_END);
	assert_int_equal(frame.session, id);
	assert_int_equal(frame.is_error, is_error);
}

void talk_expect_closed(struct talk *talk)
{
	while (receive(talk) > 0)
		cv_buffer_consume(&talk->in, cv_buffer_len(&talk->in));
}

int talk_udp_socket(struct cv_sockaddr *ret_address)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.in)};
	const struct timeval limit = {.tv_sec = STAGE_WAIT_MS / 1000};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	address.in.sin_family = AF_INET;
	address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, &address.any, address.len_bytes), 0);
	assert_int_equal(getsockname(fd, &address.any, &address.len_bytes), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	*ret_address = address;
	return fd;
}
