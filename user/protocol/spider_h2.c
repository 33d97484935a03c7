// SPDX-License-Identifier: MIT
/*
 * spider_h2.c - as much of HTTP/2 (RFC 9113) as a client needs that only asks for pages.
 *
 *   out: preface | SETTINGS | WINDOW_UPDATE | HEADERS ...      values and order are the browser's
 *   in:  frame header -> DATA streamed to the worker's body; SETTINGS, PING answered; header blocks
 *        skipped undecoded (we need only where an answer ends); the rest read and ignored
 *
 * Requests use literals without indexing (RFC 7541 6.2.2), so there is no encoder state; skipping
 * the peer's blocks is fine because nothing is ever looked up in a decoder table.
 */
#include "protocol/spider_state.h"

#include "base/cursor.h"
#include "base/reason.h"

#include <string.h>

#define FRAME_HEADER 9
#define DEFAULT_WINDOW 65535
#define CONTROL_MAX 1000 /* PING and SETTINGS without any data between */
#define BLOCK_MAX (CV_SPIDER_PADDING_MAX + 4096)

enum frame_type {
	FRAME_DATA = 0, FRAME_HEADERS = 1, FRAME_RST_STREAM = 3, FRAME_SETTINGS = 4,
	FRAME_PUSH_PROMISE = 5, FRAME_PING = 6, FRAME_GOAWAY = 7, FRAME_WINDOW_UPDATE = 8,
	FRAME_CONTINUATION = 9,
};

enum frame_flag {
	FLAG_END_STREAM = 1, FLAG_ACK = 1, FLAG_END_HEADERS = 4, FLAG_PADDED = 8,
	FLAG_PRIORITY = 32,
};

/* ---- what each browser opens with ---- */

struct h2_setting {
	uint16_t id;
	uint32_t value;
};

struct h2_shape {
	struct h2_setting settings[6];
	size_t setting_count;
	uint32_t window_increment; /* of the connection */
	uint32_t stream_window;
	char pseudo_order[4];      /* m method, a authority, s scheme, p path */
	bool priority;             /* HEADERS carry a priority block */
	bool exclusive;
	uint8_t weight;
	uint32_t first_stream;
};

static const struct h2_shape chrome_shape = {
	.settings = {{1, 65536}, {2, 0}, {4, 6291456}, {6, 262144}}, .setting_count = 4,
	.window_increment = 15663105, .stream_window = 6291456,
	.pseudo_order = {'m', 'a', 's', 'p'}, .priority = true, .exclusive = true, .weight = 255,
	.first_stream = 1,
};
static const struct h2_shape firefox_shape = {
	.settings = {{1, 65536}, {2, 0}, {4, 131072}, {5, 16384}}, .setting_count = 4,
	.window_increment = 12517377, .stream_window = 131072,
	.pseudo_order = {'m', 'p', 'a', 's'}, .priority = true, .weight = 41, .first_stream = 3,
};
static const struct h2_shape safari_shape = {
	.settings = {{2, 0}, {3, 100}, {4, 2097152}, {9, 1}}, .setting_count = 4,
	.window_increment = 10420225, .stream_window = 2097152,
	.pseudo_order = {'m', 's', 'a', 'p'}, .first_stream = 1,
};

static const struct h2_shape *shape_of(const struct cv_spider *spider)
{
	switch (spider->fingerprint) {
	case CV_FINGERPRINT_FIREFOX:
		return &firefox_shape;
	case CV_FINGERPRINT_SAFARI:
		return &safari_shape;
	default:
		return &chrome_shape;
	}
}

/* ---- sending ---- */

static int send_frame(struct cv_spider *spider, uint8_t type, uint8_t flags, uint32_t stream,
		      struct cv_span payload)
{
	uint8_t header[FRAME_HEADER];
	struct cv_writer writer = cv_writer_of(header, sizeof(header));
	int result;

	cv_write_u24(&writer, (uint32_t)payload.len_bytes);
	cv_write_u8(&writer, type);
	cv_write_u8(&writer, flags);
	cv_write_u32(&writer, stream);
	result = cv_buffer_append(&spider->output, header, sizeof(header));
	if (result == 0 && payload.len_bytes)
		result = cv_buffer_append(&spider->output, payload.data, payload.len_bytes);
	return result;
}

static int send_window_update(struct cv_spider *spider, uint32_t stream, uint32_t increment)
{
	uint8_t payload[4];
	struct cv_writer writer = cv_writer_of(payload, sizeof(payload));

	cv_write_u32(&writer, increment);
	return send_frame(spider, FRAME_WINDOW_UPDATE, 0, stream, cv_span_of(payload, 4));
}

int cv_spider_h2_preface(struct cv_spider *spider)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	const struct h2_shape *shape = shape_of(spider);
	uint8_t settings[36];
	struct cv_writer writer = cv_writer_of(settings, sizeof(settings));
	int result;

	spider->h2.next_stream = shape->first_stream;
	cv_buffer_init(&spider->h2.payload, CV_SPIDER_FRAME_MAX);
	for (size_t i = 0; i < shape->setting_count; i++) {
		cv_write_u16(&writer, shape->settings[i].id);
		cv_write_u32(&writer, shape->settings[i].value);
	}
	result = cv_buffer_append(&spider->output, preface, sizeof(preface) - 1);
	if (result == 0)
		result = send_frame(spider, FRAME_SETTINGS, 0, 0,
				    cv_span_of(settings, cv_writer_len(&writer)));
	if (result == 0)
		result = send_window_update(spider, 0, shape->window_increment);
	return result;
}

/* String literal without Huffman coding; length as a 7-bit-prefix integer (RFC 7541 5.1). */
static void write_string(struct cv_writer *writer, const char *text)
{
	size_t len = strlen(text);

	if (len < 127) {
		cv_write_u8(writer, (uint8_t)len);
	} else {
		size_t rest = len - 127;

		cv_write_u8(writer, 127);
		for (; rest >= 128; rest >>= 7)
			cv_write_u8(writer, (uint8_t)(rest | 0x80));
		cv_write_u8(writer, (uint8_t)rest);
	}
	cv_write_bytes(writer, text, len);
}

static int write_field(void *context, const char *name, const char *value)
{
	struct cv_writer *writer = context;

	cv_write_u8(writer, 0); /* literal without indexing, new name */
	write_string(writer, name);
	write_string(writer, value);
	return 0;
}

static void write_pseudo(struct cv_writer *writer, const struct cv_spider *spider,
			 const struct cv_spider_worker *worker, char which)
{
	switch (which) {
	case 'm':
		cv_write_u8(writer, 0x82); /* static table: :method GET */
		break;
	case 's':
		cv_write_u8(writer, 0x87); /* :scheme https */
		break;
	case 'a':
		cv_write_u8(writer, 0x01); /* :authority, value follows */
		write_string(writer, spider->server_name);
		break;
	default:
		if (strcmp(worker->path, "/") == 0) {
			cv_write_u8(writer, 0x84); /* :path / */
			break;
		}
		cv_write_u8(writer, 0x04);
		write_string(writer, worker->path);
	}
}

static int send_block(struct cv_spider *spider, uint32_t stream, uint8_t flags,
		      struct cv_span block)
{
	uint8_t type = FRAME_HEADERS;
	int result = 0;

	while (result == 0 && block.len_bytes) {
		size_t part = block.len_bytes < CV_SPIDER_FRAME_MAX ? block.len_bytes
								    : CV_SPIDER_FRAME_MAX;
		bool last = part == block.len_bytes;

		result = send_frame(spider, type, (uint8_t)(flags | (last ? FLAG_END_HEADERS : 0)),
				    stream, cv_span_of(block.data, part));
		cv_span_skip(&block, part);
		type = FRAME_CONTINUATION;
		flags = 0;
	}
	return result;
}

int cv_spider_h2_request(struct cv_spider *spider, struct cv_spider_worker *worker)
{
	const struct h2_shape *shape = shape_of(spider);
	uint8_t block[BLOCK_MAX], flags = FLAG_END_STREAM;
	struct cv_writer writer = cv_writer_of(block, sizeof(block));

	worker->stream = spider->h2.next_stream;
	worker->stream_unacked = 0;
	spider->h2.next_stream += 2;
	if (shape->priority) {
		flags |= FLAG_PRIORITY;
		cv_write_u32(&writer, shape->exclusive ? 0x80000000u : 0);
		cv_write_u8(&writer, shape->weight);
	}
	for (size_t i = 0; i < sizeof(shape->pseudo_order); i++)
		write_pseudo(&writer, spider, worker, shape->pseudo_order[i]);
	cv_spider_emit_headers(spider, worker, write_field, &writer);
	if (writer.failed)
		return CV_INTERNAL_STATE;
	return send_block(spider, worker->stream, flags,
			  cv_span_of(block, cv_writer_len(&writer)));
}

/* ---- receiving ---- */

static struct cv_spider_worker *worker_of(struct cv_spider *spider, uint32_t stream)
{
	for (size_t i = 0; i < spider->worker_count; i++)
		if (spider->workers[i].state == CV_WORKER_ASKING &&
		    spider->workers[i].stream == stream)
			return &spider->workers[i];
	return NULL;
}

/* Windows are given back at half, as browsers do. */
static int acknowledge(struct cv_spider *spider, struct cv_spider_worker *worker, uint32_t count)
{
	const struct h2_shape *shape = shape_of(spider);
	struct cv_h2_reader *h2 = &spider->h2;
	int result = 0;

	h2->connection_unacked += count;
	if (h2->connection_unacked > (shape->window_increment + DEFAULT_WINDOW) / 2) {
		result = send_window_update(spider, 0, h2->connection_unacked);
		h2->connection_unacked = 0;
	}
	if (!worker || result < 0)
		return result;
	worker->stream_unacked += count;
	if (worker->stream_unacked > shape->stream_window / 2) {
		result = send_window_update(spider, worker->stream, worker->stream_unacked);
		worker->stream_unacked = 0;
	}
	return result;
}

static int end_stream(struct cv_spider *spider, uint32_t stream, uint64_t now_ms)
{
	struct cv_spider_worker *worker = worker_of(spider, stream);

	if (worker)
		cv_spider_answered(spider, worker, now_ms);
	return spider->dead ? spider->result : 0;
}

/* Part of a DATA frame; the padding length byte comes first, the padding last. */
static void data_part(struct cv_spider *spider, struct cv_span part)
{
	struct cv_h2_reader *h2 = &spider->h2;
	struct cv_spider_worker *worker = worker_of(spider, h2->stream);
	uint32_t left_after = h2->frame_left - (uint32_t)part.len_bytes;

	if (part.len_bytes && (h2->flags & FLAG_PADDED) && !h2->pad_known) {
		h2->pad_len = part.data[0];
		h2->pad_known = true;
		cv_span_skip(&part, 1);
	}
	/* of this part, what reaches into the padding at the frame's end is cut off */
	if (left_after < h2->pad_len) {
		size_t padding = h2->pad_len - left_after;

		part.len_bytes -= padding < part.len_bytes ? padding : part.len_bytes;
	}
	if (worker)
		cv_spider_body_add(&worker->body, spider->server_name, spider->known, part);
}

static int control_frame(struct cv_spider *spider)
{
	if (++spider->h2.control_count > CONTROL_MAX)
		return CV_UPSTREAM_UNEXPECTED_MESSAGE;
	return 0;
}

static int settings_frame(struct cv_spider *spider)
{
	int result = control_frame(spider);

	if (result < 0 || (spider->h2.flags & FLAG_ACK))
		return result;
	if (spider->h2.stream != 0 || spider->h2.frame_len % 6 != 0)
		return CV_UPSTREAM_DECODE;
	return send_frame(spider, FRAME_SETTINGS, FLAG_ACK, 0, cv_span_of(NULL, 0));
}

static int ping_frame(struct cv_spider *spider, struct cv_span payload)
{
	int result = control_frame(spider);

	if (result < 0 || (spider->h2.flags & FLAG_ACK))
		return result;
	if (payload.len_bytes != 8)
		return CV_UPSTREAM_DECODE;
	return send_frame(spider, FRAME_PING, FLAG_ACK, 0, payload);
}

static int headers_frame(struct cv_spider *spider, uint64_t now_ms)
{
	struct cv_h2_reader *h2 = &spider->h2;

	h2->in_headers = !(h2->flags & FLAG_END_HEADERS);
	if (h2->type == FRAME_HEADERS && (h2->flags & FLAG_END_STREAM))
		return end_stream(spider, h2->stream, now_ms);
	return 0;
}

static int data_end(struct cv_spider *spider, uint64_t now_ms)
{
	struct cv_h2_reader *h2 = &spider->h2;
	int result = acknowledge(spider, worker_of(spider, h2->stream), h2->frame_len);

	if (h2->frame_len)
		h2->control_count = 0;
	if (result == 0 && (h2->flags & FLAG_END_STREAM))
		result = end_stream(spider, h2->stream, now_ms);
	return result;
}

/* The whole frame is there (DATA and header blocks: it has passed). */
static int frame_end(struct cv_spider *spider, uint64_t now_ms)
{
	struct cv_span payload = cv_buffer_span(&spider->h2.payload);

	switch (spider->h2.type) {
	case FRAME_DATA:
		return data_end(spider, now_ms);
	case FRAME_HEADERS:
	case FRAME_CONTINUATION:
		return headers_frame(spider, now_ms);
	case FRAME_RST_STREAM:
		return end_stream(spider, spider->h2.stream, now_ms);
	case FRAME_SETTINGS:
		return settings_frame(spider);
	case FRAME_PING:
		return ping_frame(spider, payload);
	case FRAME_GOAWAY:
		return CV_UPSTREAM_CLOSED;
	case FRAME_PUSH_PROMISE: /* we said ENABLE_PUSH 0 */
		return CV_UPSTREAM_UNEXPECTED_MESSAGE;
	default: /* WINDOW_UPDATE, PRIORITY, ALTSVC, ...: nothing to us */
		return 0;
	}
}

static bool is_kept_whole(uint8_t type)
{
	return type == FRAME_PING;
}

static int frame_begin(struct cv_spider *spider)
{
	struct cv_h2_reader *h2 = &spider->h2;
	struct cv_reader reader = cv_reader_of(h2->header, sizeof(h2->header));

	h2->frame_len = h2->frame_left = cv_read_u24(&reader);
	h2->type = cv_read_u8(&reader);
	h2->flags = cv_read_u8(&reader);
	h2->stream = cv_read_u32(&reader) & 0x7fffffff;
	h2->pad_len = 0;
	h2->pad_known = false;
	if (h2->frame_len > CV_SPIDER_FRAME_MAX)
		return CV_UPSTREAM_DECODE;
	if (h2->in_headers != (h2->type == FRAME_CONTINUATION))
		return CV_UPSTREAM_UNEXPECTED_MESSAGE;
	return 0;
}

static int frame_part(struct cv_spider *spider, struct cv_span part)
{
	struct cv_h2_reader *h2 = &spider->h2;
	int result = 0;

	if (h2->type == FRAME_DATA)
		data_part(spider, part);
	else if (is_kept_whole(h2->type))
		result = cv_buffer_append(&h2->payload, part.data, part.len_bytes);
	h2->frame_left -= (uint32_t)part.len_bytes;
	return result;
}

static int finish_frame(struct cv_spider *spider, uint64_t now_ms)
{
	int result = frame_end(spider, now_ms);

	spider->h2.header_len = 0;
	cv_buffer_consume(&spider->h2.payload, cv_buffer_len(&spider->h2.payload));
	return result;
}

int cv_spider_h2_read(struct cv_spider *spider, struct cv_span bytes, uint64_t now_ms)
{
	struct cv_h2_reader *h2 = &spider->h2;
	int result = 0;

	while (result == 0 && bytes.len_bytes) {
		size_t part;

		if (h2->header_len < FRAME_HEADER) {
			h2->header[h2->header_len++] = bytes.data[0];
			cv_span_skip(&bytes, 1);
			if (h2->header_len == FRAME_HEADER)
				result = frame_begin(spider);
		} else {
			part = bytes.len_bytes < h2->frame_left ? bytes.len_bytes : h2->frame_left;
			result = frame_part(spider, cv_span_of(bytes.data, part));
			cv_span_skip(&bytes, part);
		}
		if (result == 0 && h2->header_len == FRAME_HEADER && h2->frame_left == 0)
			result = finish_frame(spider, now_ms);
	}
	return result;
}
