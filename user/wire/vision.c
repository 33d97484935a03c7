// SPDX-License-Identifier: MIT
/*
 * vision.c - XTLS Vision: detector, writer and reader over one shared state.
 *
 *        app bytes                                     OUTER plaintext
 *   -> detect -> split 8192 -> reshape -> pad ->  [uuid] cmd len len content padding  -> ...
 *   <- detect <------------------------ unpad <-  [uuid] cmd len len content padding  <- ...
 *
 * The detector counts buffers of at most 8192 bytes of both directions until it knows what the app
 * speaks. The writer pads until a batch lets it stop: END when the rest may stay inside OUTER,
 * DIRECT when the rest is inner TLS 1.3 records that need no second encryption. The reader obeys
 * the command of the peer's last block and never decides by itself, except once: bytes that do not
 * start with the user id were never padded.
 *
 * A peer's reader may look at its state after each of its own reads, so that a header cut by an
 * OUTER record could make it switch too early. Hence one emit() per block, never more than 8192
 * bytes.
 */
#include "wire/vision.h"

#include <culvert/reason.h>

#include "base/cursor.h"

#include <string.h>

#define UUID_BYTES 16
#define HEADER_BYTES 5
/* Content plus padding; the UUID's room is kept free in every block. Vision 2. */
#define BLOCK_ROOM_BYTES (CV_VISION_BLOCK_MAX - UUID_BYTES - HEADER_BYTES)
#define SPLIT_DEFAULT_BYTES (CV_VISION_BLOCK_MAX / 2)
#define PACKETS_TO_FILTER 8
/* The shortest ServerHello record that has room for a cipher suite behind a session id. */
#define SERVER_HELLO_MIN_BYTES 79
#define SESSION_ID_LEN_OFFSET 43

enum vision_command { COMMAND_CONTINUE = 0, COMMAND_END = 1, COMMAND_DIRECT = 2 };

static const uint8_t application_data_start[3] = {0x17, 0x03, 0x03};
/* supported_versions extension of a ServerHello that selects TLS 1.3 */
static const uint8_t selects_tls13[6] = {0x00, 0x2b, 0x00, 0x02, 0x03, 0x04};
static const uint32_t default_seed[4] = {900, 500, 900, 256};

void cv_vision_init(struct cv_vision *vision, const uint8_t uuid[16], const uint32_t seed[4],
		    uint32_t (*random_below)(uint32_t bound))
{
	*vision = (struct cv_vision){
		.random_below = random_below,
		.packets_to_filter = PACKETS_TO_FILTER,
		.remaining_server_hello = -1,
		.reader = CV_VISION_READ_PADDED,
		.reader_initial = true,
		.writer = CV_VISION_WRITE_PADDED,
	};
	memcpy(vision->uuid, uuid, UUID_BYTES);
	memcpy(vision->seed, seed ? seed : default_seed, sizeof(vision->seed));
}

static size_t smaller(size_t left, size_t right)
{
	return left < right ? left : right;
}

static uint16_t be16_at(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

/* ---- detector, Vision 3 ---- */

static bool contains(struct cv_span haystack, const uint8_t *needle, size_t needle_bytes)
{
	for (size_t at = 0; at + needle_bytes <= haystack.len_bytes; at++) {
		if (memcmp(haystack.data + at, needle, needle_bytes) == 0)
			return true;
	}
	return false;
}

/* TLS_AES_128_CCM_8 (1305) is left out: its inner records never go RAW. */
static bool cipher_may_go_raw(uint16_t cipher)
{
	return cipher >= 0x1301 && cipher <= 0x1304;
}

static void note_server_hello(struct cv_vision *vision, struct cv_span buffer)
{
	vision->remaining_server_hello = be16_at(buffer.data + 3) + 5;
	vision->is_tls12_or_above = true;
	vision->is_tls = true;
	if (buffer.len_bytes < SERVER_HELLO_MIN_BYTES ||
	    vision->remaining_server_hello < SERVER_HELLO_MIN_BYTES)
		return;

	const size_t cipher_at =
		SESSION_ID_LEN_OFFSET + 1 + (size_t)buffer.data[SESSION_ID_LEN_OFFSET];
	if (cipher_at + 2 <= buffer.len_bytes)
		vision->cipher = be16_at(buffer.data + cipher_at);
}

static void note_hello(struct cv_vision *vision, struct cv_span buffer)
{
	const uint8_t *bytes = buffer.data;

	if (buffer.len_bytes < 6 || bytes[0] != 0x16 || bytes[1] != 0x03)
		return;
	if (bytes[2] == 0x03 && bytes[5] == 2)
		note_server_hello(vision, buffer);
	else if (bytes[5] == 1)
		vision->is_tls = true;
}

static void detect_buffer(struct cv_vision *vision, struct cv_span buffer)
{
	vision->packets_to_filter--;
	note_hello(vision, buffer);
	if (vision->remaining_server_hello <= 0)
		return;

	const struct cv_span hello = cv_span_of(
		buffer.data, smaller((size_t)vision->remaining_server_hello, buffer.len_bytes));

	vision->remaining_server_hello -= (int32_t)buffer.len_bytes;
	if (contains(hello, selects_tls13, sizeof(selects_tls13))) {
		vision->enable_xtls = cipher_may_go_raw(vision->cipher);
		vision->packets_to_filter = 0;
	} else if (vision->remaining_server_hello <= 0) {
		vision->packets_to_filter = 0; /* TLS 1.2 or older */
	}
}

static void detect_batch(struct cv_vision *vision, struct cv_span bytes)
{
	while (bytes.len_bytes > 0 && vision->packets_to_filter > 0) {
		const size_t len_bytes = smaller(bytes.len_bytes, CV_VISION_BLOCK_MAX);

		detect_buffer(vision, cv_span_of(bytes.data, len_bytes));
		cv_span_skip(&bytes, len_bytes);
	}
}

/* ---- reader, Vision 2.2 ---- */

static int append_span(struct cv_buffer *out, struct cv_span bytes)
{
	return bytes.len_bytes ? cv_buffer_append(out, bytes.data, bytes.len_bytes) : 0;
}

static void finish_block_if_done(struct cv_vision *vision)
{
	if (vision->content_left > 0 || vision->padding_left > 0)
		return;
	vision->in_block = false;
	if (vision->command == COMMAND_END)
		vision->reader = CV_VISION_READ_PLAIN;
	else if (vision->command == COMMAND_DIRECT)
		vision->reader = CV_VISION_READ_RAW;
}

static int open_block(struct cv_vision *vision, const uint8_t header[HEADER_BYTES])
{
	if (header[0] > COMMAND_DIRECT)
		return CV_PEER_UNEXPECTED_MESSAGE;
	vision->command = header[0];
	vision->content_left = be16_at(header + 1);
	vision->padding_left = be16_at(header + 3);
	vision->reader_initial = false;
	vision->header_len = 0;
	vision->in_block = true;
	finish_block_if_done(vision);
	return 0;
}

/* Rule 1: a stream that does not start with the user id is not padded; nothing of it is dropped. */
static int pass_unpadded(struct cv_vision *vision, struct cv_buffer *out)
{
	const int error = cv_buffer_append(out, vision->header, vision->header_len);

	vision->header_len = 0;
	vision->reader_initial = false;
	vision->reader = CV_VISION_READ_PLAIN;
	return error;
}

static int read_header(struct cv_vision *vision, struct cv_span *bytes, struct cv_buffer *out)
{
	const size_t prefix_bytes = vision->reader_initial ? UUID_BYTES : 0;
	const size_t wanted_bytes = prefix_bytes + HEADER_BYTES;
	const size_t taken = smaller(wanted_bytes - vision->header_len, bytes->len_bytes);

	memcpy(vision->header + vision->header_len, bytes->data, taken);
	vision->header_len += (uint8_t)taken;
	cv_span_skip(bytes, taken);
	if (memcmp(vision->header, vision->uuid, smaller(prefix_bytes, vision->header_len)) != 0)
		return pass_unpadded(vision, out);
	if (vision->header_len < wanted_bytes)
		return 0;
	return open_block(vision, vision->header + prefix_bytes);
}

static int read_body(struct cv_vision *vision, struct cv_span *bytes, struct cv_buffer *out)
{
	const size_t content_bytes = smaller(vision->content_left, bytes->len_bytes);
	const int error = append_span(out, cv_span_of(bytes->data, content_bytes));

	if (error)
		return error;
	vision->content_left -= (uint16_t)content_bytes;
	cv_span_skip(bytes, content_bytes);

	const size_t padding_bytes = smaller(vision->padding_left, bytes->len_bytes);

	vision->padding_left -= (uint16_t)padding_bytes;
	cv_span_skip(bytes, padding_bytes);
	finish_block_if_done(vision);
	return 0;
}

static int unpad(struct cv_vision *vision, struct cv_span bytes, struct cv_buffer *out)
{
	while (bytes.len_bytes > 0 && vision->reader == CV_VISION_READ_PADDED) {
		const int error = vision->in_block ? read_body(vision, &bytes, out) :
						     read_header(vision, &bytes, out);

		if (error)
			return error;
	}
	return append_span(out, bytes);
}

int cv_vision_read(struct cv_vision *vision, struct cv_span bytes, struct cv_buffer *out)
{
	while (bytes.len_bytes > 0) {
		/* Slices of Xray's buffer size: the detector counts what one of them yields. */
		const size_t slice_bytes = smaller(bytes.len_bytes, CV_VISION_BLOCK_MAX);
		const size_t before_bytes = cv_buffer_len(out);
		const int error = unpad(vision, cv_span_of(bytes.data, slice_bytes), out);

		if (error)
			return error;

		struct cv_span content = cv_buffer_span(out);

		cv_span_skip(&content, before_bytes);
		detect_batch(vision, content);
		cv_span_skip(&bytes, slice_bytes);
	}
	return 0;
}

int cv_vision_read_eof(const struct cv_vision *vision)
{
	if (vision->reader != CV_VISION_READ_PADDED)
		return 0;
	return vision->in_block || vision->header_len > 0 ? CV_PEER_TRUNCATED : 0;
}

/* ---- writer, Vision 4 ---- */

struct batch {
	struct cv_vision *vision;
	cv_vision_emit emit;
	void *context;
	bool complete;     /* nothing but whole application-data records */
	bool long_padding;
	bool ending;       /* padding ends with the last buffer of this batch */
};

static uint32_t random_padding(struct cv_vision *vision, uint32_t bound)
{
	return bound > 0 ? vision->random_below(bound) : 0;
}

/*
 * observable: the lengths of the first OUTER records are content plus this; the inner handshake's
 * characteristic sizes must not show through. Vision 2.1.
 */
static size_t padding_len(struct cv_vision *vision, size_t content_bytes, bool long_padding)
{
	const int64_t room = (int64_t)(BLOCK_ROOM_BYTES - content_bytes);
	int64_t len_bytes;

	if (long_padding && content_bytes < vision->seed[0])
		len_bytes = (int64_t)random_padding(vision, vision->seed[1]) + vision->seed[2] -
			    (int64_t)content_bytes;
	else
		len_bytes = random_padding(vision, vision->seed[3]);
	if (len_bytes < 0)
		return 0;
	return (size_t)(len_bytes < room ? len_bytes : room);
}

static int emit_block(struct batch *batch, enum vision_command command, struct cv_span content,
		      bool long_padding)
{
	struct cv_vision *vision = batch->vision;
	const size_t padding_bytes = padding_len(vision, content.len_bytes, long_padding);
	uint8_t block[CV_VISION_BLOCK_MAX];
	struct cv_writer writer = cv_writer_of(block, sizeof(block));

	if (!vision->uuid_written)
		cv_write_bytes(&writer, vision->uuid, UUID_BYTES);
	cv_write_u8(&writer, (uint8_t)command);
	cv_write_u16(&writer, (uint16_t)content.len_bytes);
	cv_write_u16(&writer, (uint16_t)padding_bytes);
	if (content.len_bytes > 0)
		cv_write_bytes(&writer, content.data, content.len_bytes);
	cv_write_zeros(&writer, padding_bytes);
	if (writer.failed)
		return CV_INTERNAL_STATE;

	vision->uuid_written = true;
	if (command == COMMAND_END)
		vision->writer = CV_VISION_WRITE_PLAIN;
	else if (command == COMMAND_DIRECT)
		vision->writer = CV_VISION_WRITE_RAW;
	return batch->emit(batch->context, cv_span_of(block, cv_writer_len(&writer)));
}

static bool starts_application_data(struct cv_span bytes)
{
	return bytes.len_bytes >= sizeof(application_data_start) &&
	       memcmp(bytes.data, application_data_start, sizeof(application_data_start)) == 0;
}

/* Vision 4.2 step 1: on the whole batch, before it is cut into buffers. */
static bool is_complete_records(struct cv_span bytes)
{
	while (bytes.len_bytes > 0) {
		if (!starts_application_data(bytes) || bytes.len_bytes < 5)
			return false;

		const size_t record_bytes = be16_at(bytes.data + 3);

		if (record_bytes == 0 || record_bytes > bytes.len_bytes - 5)
			return false;
		cv_span_skip(&bytes, 5 + record_bytes);
	}
	return true;
}

/* Vision 4.2 step 2: where to cut a buffer that leaves no room for a header. */
static size_t split_index(struct cv_span buffer)
{
	for (size_t at = buffer.len_bytes - sizeof(application_data_start) + 1; at-- > 0;) {
		if (!starts_application_data(cv_span_of(buffer.data + at, buffer.len_bytes - at)))
			continue;
		/* Only the last occurrence counts, also when it is of no use. */
		if (at >= UUID_BYTES + HEADER_BYTES && at <= BLOCK_ROOM_BYTES)
			return at;
		break;
	}
	return SPLIT_DEFAULT_BYTES;
}

static enum vision_command last_command(const struct cv_vision *vision)
{
	return vision->enable_xtls ? COMMAND_DIRECT : COMMAND_END;
}

/* Vision 4.2 step 3, one buffer. */
static int write_buffer(struct batch *batch, struct cv_span buffer, bool last)
{
	struct cv_vision *vision = batch->vision;

	if (vision->writer != CV_VISION_WRITE_PADDED)
		return batch->emit(batch->context, buffer);

	if (vision->is_tls && batch->complete && buffer.len_bytes >= 6 &&
	    starts_application_data(buffer)) {
		batch->ending = true;
		batch->long_padding = false;
		return emit_block(batch, last ? last_command(vision) : COMMAND_CONTINUE, buffer,
				  true);
	}
	/* One packet earlier than the detector stops, as receivers expect. */
	if (!vision->is_tls12_or_above && vision->packets_to_filter <= 1)
		return emit_block(batch, COMMAND_END, buffer, batch->long_padding);

	return emit_block(batch, batch->ending && last ? last_command(vision) : COMMAND_CONTINUE,
			  buffer, batch->long_padding);
}

static int write_reshaped(struct batch *batch, struct cv_span buffer, bool last)
{
	if (buffer.len_bytes < BLOCK_ROOM_BYTES)
		return write_buffer(batch, buffer, last);

	const size_t index = split_index(buffer);
	const int error = write_buffer(batch, cv_span_of(buffer.data, index), false);

	cv_span_skip(&buffer, index);
	return error ? error : write_buffer(batch, buffer, last);
}

/* ---- the app's records ---- */

static bool is_record_header(const uint8_t header[5])
{
	return header[0] >= 20 && header[0] <= 23 && header[1] == 0x03 && header[2] <= 0x04;
}

static void follow_records(struct cv_vision *vision, struct cv_span bytes)
{
	while (bytes.len_bytes > 0 && !vision->inner_lost) {
		const size_t body = smaller(vision->inner_left, bytes.len_bytes);

		vision->inner_left -= (uint16_t)body;
		cv_span_skip(&bytes, body);
		while (vision->inner_left == 0 && bytes.len_bytes > 0 && !vision->inner_lost) {
			vision->inner_header[vision->inner_header_len++] = bytes.data[0];
			cv_span_skip(&bytes, 1);
			if (vision->inner_header_len < sizeof(vision->inner_header))
				continue;
			vision->inner_header_len = 0;
			vision->inner_left = be16_at(vision->inner_header + 3);
			vision->inner_lost = !is_record_header(vision->inner_header) ||
					     vision->inner_left == 0;
		}
	}
}

/* Whole application-data records at the start of @bytes; 0 if there is none. */
static size_t whole_records(struct cv_span bytes)
{
	size_t total = 0;

	while (starts_application_data(bytes) && bytes.len_bytes >= 5) {
		const size_t record_bytes = 5 + (size_t)be16_at(bytes.data + 3);

		if (record_bytes == 5 || record_bytes > bytes.len_bytes)
			break;
		total += record_bytes;
		cv_span_skip(&bytes, record_bytes);
	}
	return total;
}

size_t cv_vision_batch_len(const struct cv_vision *vision, struct cv_span bytes)
{
	size_t len_bytes;

	if (!vision->is_tls || vision->inner_lost || vision->inner_header_len > 0)
		return bytes.len_bytes;
	len_bytes = vision->inner_left ? smaller(vision->inner_left, bytes.len_bytes)
				       : whole_records(bytes);
	return len_bytes ? len_bytes : bytes.len_bytes;
}

int cv_vision_write(struct cv_vision *vision, struct cv_span bytes, cv_vision_emit emit,
		    void *context)
{
	struct batch batch = {.vision = vision, .emit = emit, .context = context};

	if (vision->writer != CV_VISION_WRITE_PADDED)
		return CV_INTERNAL_STATE;
	if (bytes.len_bytes == 0)
		return emit_block(&batch, COMMAND_CONTINUE, bytes, true);

	follow_records(vision, bytes);
	detect_batch(vision, bytes);
	batch.complete = is_complete_records(bytes);
	batch.long_padding = vision->is_tls;
	while (bytes.len_bytes > 0) {
		const struct cv_span buffer =
			cv_span_of(bytes.data, smaller(bytes.len_bytes, CV_VISION_BLOCK_MAX));

		cv_span_skip(&bytes, buffer.len_bytes);

		const int error = write_reshaped(&batch, buffer, bytes.len_bytes == 0);

		if (error)
			return error;
	}
	return 0;
}
