// SPDX-License-Identifier: MIT
/*
 * test_vision_talk.c - whole conversations between two ends over a stream that is cut at random:
 * what one app says the other hears, and a reader leaves OUTER exactly where its writer did.
 */
#include "wire/vision.h"

#include "vision_support.h"

/* One direction between two ends: what is on the wire, and how much of it is inside OUTER. */
struct direction {
	struct cv_vision *writer, *reader;
	struct cv_buffer sent;	   /* app bytes in */
	struct cv_buffer wire;	   /* not yet read */
	struct cv_buffer received; /* app bytes out */
	size_t outer_left;	   /* of wire: inside OUTER; SIZE_MAX marks "all" */
	bool raw;
};

static int to_wire(void *context, struct cv_span bytes)
{
	struct direction *direction = context;

	return cv_buffer_append(&direction->wire, bytes.data, bytes.len_bytes);
}

static void send_batch(struct direction *direction, struct cv_span bytes)
{
	struct cv_vision *vision = direction->writer;

	assert_int_equal(cv_buffer_append(&direction->sent, bytes.data, bytes.len_bytes), 0);
	if (vision->writer != CV_VISION_WRITE_PADDED) {
		assert_int_equal(to_wire(direction, bytes), 0);
		return;
	}
	assert_int_equal(cv_vision_write(vision, bytes, to_wire, direction), 0);
	if (vision->writer == CV_VISION_WRITE_RAW) {
		direction->raw = true;
		direction->outer_left = cv_buffer_len(&direction->wire);
	}
}

/* Reads up to @count bytes; the reader has to switch exactly where the writer did. */
static void receive(struct direction *direction, size_t count)
{
	const struct cv_span wire = cv_buffer_span(&direction->wire);
	struct cv_vision *vision = direction->reader;

	if (count > wire.len_bytes)
		count = wire.len_bytes;
	if (count == 0)
		return;
	if (vision->reader == CV_VISION_READ_RAW)
		assert_int_equal(cv_buffer_append(&direction->received, wire.data, count), 0);
	else
		assert_int_equal(cv_vision_read(vision, cv_span_of(wire.data, count),
						&direction->received),
				 0);
	cv_buffer_consume(&direction->wire, count);
	if (!direction->raw) {
		assert_int_not_equal(vision->reader, CV_VISION_READ_RAW);
		return;
	}
	direction->outer_left -= count < direction->outer_left ? count : direction->outer_left;
	assert_int_equal(vision->reader == CV_VISION_READ_RAW, direction->outer_left == 0);
}

static void direction_init(struct direction *direction, struct cv_vision *writer,
			   struct cv_vision *reader)
{
	*direction = (struct direction){.writer = writer, .reader = reader};
	cv_buffer_init(&direction->sent, 1 << 22);
	cv_buffer_init(&direction->wire, 1 << 22);
	cv_buffer_init(&direction->received, 1 << 22);
}

static void direction_check_and_done(struct direction *direction)
{
	while (cv_buffer_len(&direction->wire) > 0)
		receive(direction, 1 << 14);
	assert_int_equal(cv_vision_read_eof(direction->reader), 0);
	assert_int_equal(cv_buffer_len(&direction->sent), cv_buffer_len(&direction->received));
	if (cv_buffer_len(&direction->sent) > 0)
		assert_memory_equal(cv_buffer_bytes(&direction->sent),
				    cv_buffer_bytes(&direction->received),
				    cv_buffer_len(&direction->sent));
	cv_buffer_done(&direction->sent);
	cv_buffer_done(&direction->wire);
	cv_buffer_done(&direction->received);
}

struct conversation {
	struct cv_vision client, server;
	struct direction up, down;
	uint32_t random;
};

static void conversation_init(struct conversation *talk, uint32_t seed)
{
	talk->random = seed * 2654435761u | 1;
	generator_state = talk->random;
	cv_vision_init(&talk->client, uuid, NULL, random_generated);
	cv_vision_init(&talk->server, uuid, NULL, random_generated);
	direction_init(&talk->up, &talk->client, &talk->server);
	direction_init(&talk->down, &talk->server, &talk->client);
}

/* The app's bytes as some number of reads, each batch on the wire in pieces. */
static void talk_in_pieces(struct conversation *talk, struct direction *direction,
			   struct cv_span bytes, bool one_batch)
{
	while (bytes.len_bytes > 0) {
		size_t len = one_batch ? 65536 : random_between(&talk->random, 1, 20000);

		if (len > bytes.len_bytes)
			len = bytes.len_bytes;
		send_batch(direction, cv_span_of(bytes.data, len));
		cv_span_skip(&bytes, len);
		while (random_between(&talk->random, 0, 5) > 0)
			receive(direction, random_between(&talk->random, 1, 9000));
	}
}

static void drain(struct direction *direction)
{
	while (cv_buffer_len(&direction->wire) > 0)
		receive(direction, 1460);
}

static void say(struct conversation *talk, struct direction *direction, bool whole)
{
	talk_in_pieces(talk, direction, bytes_span(&input), whole);
	if (whole)
		drain(direction);
}

static void say_records(struct conversation *talk, struct direction *direction, bool whole)
{
	const size_t count = random_between(&talk->random, 1, 3);

	input.len = 0;
	for (size_t at = 0; at < count; at++)
		add_record(0x17, (uint16_t)random_between(&talk->random, 1, 16401));
	say(talk, direction, whole);
}

static void say_client_hello(struct conversation *talk, bool whole)
{
	bytes_set_hex(&input, "1603010200 01 0001fc 0303");
	bytes_add_fill(&input, 0x77, 0x200 - 6);
	say(talk, &talk->up, whole);
}

static void tls_conversation(struct conversation *talk, bool tls13, bool whole)
{
	say_client_hello(talk, whole);
	if (tls13) {
		set_server_hello("1303", SELECTS_TLS13);
		bytes_add_hex(&input, "140303000101");
		add_record(0x17, 41);
		add_record(0x17, (uint16_t)random_between(&talk->random, 1000, 9000));
		say(talk, &talk->down, whole);
		bytes_set_hex(&input, "140303000101");
		add_record(0x17, 53);
	} else {
		set_server_hello("c02f", "0017 0002 0000");
		add_record(0x16, 3000);
		say(talk, &talk->down, whole);
		input.len = 0;
		add_record(0x16, 70);
		bytes_add_hex(&input, "140303000101");
		add_record(0x16, 40);
		say(talk, &talk->up, whole);
		bytes_set_hex(&input, "140303000101");
		add_record(0x16, 40);
		say(talk, &talk->down, whole);
	}
	for (unsigned int turn = 0; turn < 6; turn++)
		say_records(talk, turn % 2 ? &talk->down : &talk->up, whole);
}

static void test_conversation_tls13(void **state)
{
	static struct conversation talk;

	(void)state;
	for (uint32_t seed = 1; seed <= 150; seed++) {
		const bool whole = seed % 2 == 0;

		conversation_init(&talk, seed);
		tls_conversation(&talk, true, whole);
		if (whole) {
			assert_true(talk.client.enable_xtls && talk.server.enable_xtls);
			assert_int_equal(talk.client.writer, CV_VISION_WRITE_RAW);
			assert_int_equal(talk.server.writer, CV_VISION_WRITE_RAW);
			assert_int_equal(talk.client.reader, CV_VISION_READ_RAW);
			assert_int_equal(talk.server.reader, CV_VISION_READ_RAW);
		}
		direction_check_and_done(&talk.up);
		direction_check_and_done(&talk.down);
	}
}

static void test_conversation_tls12(void **state)
{
	static struct conversation talk;

	(void)state;
	for (uint32_t seed = 1; seed <= 150; seed++) {
		const bool whole = seed % 2 == 0;

		conversation_init(&talk, seed);
		tls_conversation(&talk, false, whole);
		if (whole) {
			assert_int_equal(talk.client.writer, CV_VISION_WRITE_PLAIN);
			assert_int_equal(talk.server.writer, CV_VISION_WRITE_PLAIN);
		}
		assert_false(talk.up.raw || talk.down.raw);
		direction_check_and_done(&talk.up);
		direction_check_and_done(&talk.down);
	}
}

static void test_conversation_http(void **state)
{
	static struct conversation talk;

	(void)state;
	for (uint32_t seed = 1; seed <= 60; seed++) {
		conversation_init(&talk, seed);
		for (unsigned int turn = 0; turn < 8; turn++) {
			bytes_set_hex(&input, "474554202f20485454502f312e310d0a");
			bytes_add_fill(&input, 'h', random_between(&talk.random, 0, 60000));
			say(&talk, turn % 2 ? &talk.down : &talk.up, seed % 2 == 0);
		}
		assert_int_equal(talk.client.writer, CV_VISION_WRITE_PLAIN);
		assert_int_equal(talk.server.writer, CV_VISION_WRITE_PLAIN);
		direction_check_and_done(&talk.up);
		direction_check_and_done(&talk.down);
	}
}

/* One direction RAW while the other is still padded. */
static void test_conversation_directions_switch_alone(void **state)
{
	static struct conversation talk;

	(void)state;
	conversation_init(&talk, 4711);
	say_client_hello(&talk, true);
	set_server_hello("1301", SELECTS_TLS13);
	say(&talk, &talk.down, true);
	say_records(&talk, &talk.down, true);
	assert_int_equal(talk.client.reader, CV_VISION_READ_RAW);
	assert_int_equal(talk.server.writer, CV_VISION_WRITE_RAW);
	assert_int_equal(talk.client.writer, CV_VISION_WRITE_PADDED);
	assert_int_equal(talk.server.reader, CV_VISION_READ_PADDED);
	bytes_set_hex(&input, "140303000101");
	say(&talk, &talk.up, true);
	assert_int_equal(talk.client.writer, CV_VISION_WRITE_PADDED);
	say_records(&talk, &talk.up, true);
	assert_int_equal(talk.client.writer, CV_VISION_WRITE_RAW);
	assert_int_equal(talk.server.reader, CV_VISION_READ_RAW);
	direction_check_and_done(&talk.up);
	direction_check_and_done(&talk.down);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conversation_tls13),
		cmocka_unit_test(test_conversation_tls12),
		cmocka_unit_test(test_conversation_http),
		cmocka_unit_test(test_conversation_directions_switch_alone),
	};

	return cmocka_run_group_tests_name("vision_talk", tests, NULL, NULL);
}
