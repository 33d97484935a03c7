// SPDX-License-Identifier: MIT
/*
 * test_leg.c - layers on a leg: one unit at a time, leftovers, going RAW, settling.
 *
 * Two toy layers stand in for records and Vision: "frame" has one length byte per unit, "marker"
 * removes nothing but orders RAW when it sees '!' (received) or '?' (sent).
 */
#include "session/leg.h"
#include "session/session.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct toy {
	struct cv_layer layer;
	int *released;
};

static int frame_decode(struct cv_layer *layer, struct cv_span *in, struct cv_buffer *out,
			struct cv_buffer *reply)
{
	size_t len = in->len_bytes ? in->data[0] : 0;
	int error;

	(void)layer;
	if (in->len_bytes < 1 + len)
		return -EAGAIN;
	if (len == 0)
		return CV_LAYER_EOF;
	error = cv_buffer_append(out, in->data + 1, len);
	if (error == 0 && in->data[1] == 'k')
		error = cv_buffer_append(reply, "\001K", 2);
	cv_span_skip(in, 1 + len);
	return error;
}

static int frame_encode(struct cv_layer *layer, struct cv_span bytes, cv_layer_emit emit,
			void *context)
{
	uint8_t unit[256];

	(void)layer;
	assert_true(bytes.len_bytes < sizeof(unit));
	unit[0] = (uint8_t)bytes.len_bytes;
	memcpy(unit + 1, bytes.data, bytes.len_bytes);
	return emit(context, cv_span_of(unit, bytes.len_bytes + 1));
}

static int frame_eof(struct cv_layer *layer, cv_layer_emit emit, void *context)
{
	(void)layer;
	return emit(context, cv_span_of("", 1));
}

static int marker_decode(struct cv_layer *layer, struct cv_span *in, struct cv_buffer *out,
			 struct cv_buffer *reply)
{
	int error;

	(void)reply;
	if (in->data[0] == '+' && in->len_bytes < 3) /* needs three bytes at once */
		return -EAGAIN;
	if (memchr(in->data, '!', in->len_bytes)) {
		layer->rx_penetrated = true;
		layer->rx = CV_CLEAR;
	}
	error = cv_buffer_append(out, in->data, in->len_bytes);
	cv_span_skip(in, in->len_bytes);
	return error;
}

static int marker_encode(struct cv_layer *layer, struct cv_span bytes, cv_layer_emit emit,
			 void *context)
{
	int error = emit(context, bytes);

	if (memchr(bytes.data, '?', bytes.len_bytes)) {
		layer->tx_penetrated = true;
		layer->tx = CV_CLEAR;
	}
	return error;
}

static void toy_release(struct cv_layer *layer)
{
	++*((struct toy *)(void *)layer)->released;
}

static void toy_free(struct cv_layer *layer)
{
	free(layer);
}

static const struct cv_layer_ops frame_ops = {
	.name = "frame", .decode = frame_decode, .encode = frame_encode, .encode_eof = frame_eof,
	.release_rx = toy_release, .release_tx = toy_release, .free = toy_free,
};
static const struct cv_layer_ops marker_ops = {
	.name = "marker", .decode = marker_decode, .encode = marker_encode, .free = toy_free,
};

static int released;

static struct cv_layer *toy_new(const struct cv_layer_ops *ops)
{
	struct toy *toy = calloc(1, sizeof(*toy));

	assert_non_null(toy);
	toy->layer.ops = ops;
	toy->released = &released;
	return &toy->layer;
}

static int set_up(void **state)
{
	struct cv_leg *leg = calloc(1, sizeof(*leg));

	released = 0;
	cv_leg_init(leg, NULL);
	*state = leg;
	return cv_leg_push_layer(leg, toy_new(&frame_ops)) ||
	       cv_leg_push_layer(leg, toy_new(&marker_ops));
}

static int tear_down(void **state)
{
	cv_leg_done(*state, false);
	free(*state);
	return 0;
}

static void receive(struct cv_leg *leg, const char *bytes, size_t len)
{
	assert_int_equal(cv_buffer_append(&leg->in, bytes, len), 0);
}

static void expect_app(struct cv_leg *leg, int result, const char *text)
{
	struct cv_buffer app;

	cv_buffer_init(&app, 1024);
	assert_int_equal(cv_leg_decode(leg, &app), result);
	assert_int_equal(cv_buffer_len(&app), strlen(text));
	if (text[0])
		assert_memory_equal(cv_buffer_bytes(&app), text, strlen(text));
	cv_buffer_done(&app);
}

static void test_one_unit_per_call(void **state)
{
	receive(*state, "\003abc\002de\004x", 10);
	expect_app(*state, 0, "abc");
	expect_app(*state, 0, "de");
	expect_app(*state, -EAGAIN, "");
	assert_int_equal(cv_leg_undecoded(*state), 3);
	assert_int_equal(cv_leg_decode_eof(*state, -77), -77);
}

static void test_upper_layer_keeps_what_it_cannot_use(void **state)
{
	receive(*state, "\001+\001a\001b", 6);
	expect_app(*state, 0, "");
	expect_app(*state, 0, "");
	expect_app(*state, 0, "+ab");
	assert_int_equal(cv_leg_undecoded(*state), 0);
}

static void test_received_raw_after_order(void **state)
{
	receive(*state, "\003a!b\005raw", 8);
	assert_false(cv_leg_rx_clear(*state));
	expect_app(*state, 0, "a!b");
	assert_true(cv_leg_rx_clear(*state));
	assert_false(cv_leg_tx_clear(*state));
	expect_app(*state, 0, "\005raw"); /* not parsed as a unit any more */
}

static void test_sent_raw_after_order(void **state)
{
	struct cv_leg *leg = *state;

	assert_int_equal(cv_leg_encode(leg, cv_span_of("a?", 2)), 0);
	assert_true(cv_leg_tx_clear(leg));
	assert_int_equal(cv_leg_encode(leg, cv_span_of("bc", 2)), 0);
	assert_int_equal(cv_leg_encode_eof(leg), 0); /* no end unit in a raw direction */
	assert_int_equal(cv_buffer_len(&leg->out), 5);
	assert_memory_equal(cv_buffer_bytes(&leg->out), "\002a?bc", 5);
}

static void test_no_reply_into_a_raw_direction(void **state)
{
	struct cv_leg *leg = *state;

	receive(leg, "\001k", 2);
	expect_app(leg, 0, "k");
	assert_int_equal(cv_leg_queued(leg), 2);
	cv_buffer_consume(&leg->out, 2);
	assert_int_equal(cv_leg_encode(leg, cv_span_of("?", 1)), 0);
	cv_buffer_consume(&leg->out, cv_buffer_len(&leg->out));
	receive(leg, "\001k", 2);
	expect_app(leg, 0, "k");
	assert_int_equal(cv_leg_queued(leg), 0);
}

/* After FIN a record would be answered with a reset, and the other direction still lives. */
static void test_no_reply_after_the_end(void **state)
{
	struct cv_leg *leg = *state;

	leg->facts |= CV_LEG_FIN_WANTED;
	receive(leg, "\001k", 2);
	expect_app(leg, 0, "k");
	assert_int_equal(cv_leg_queued(leg), 0);
}

/* What an upper layer answers goes out as what it sends does. */
static void test_replies_pass_the_layers_below(void **state)
{
	struct cv_leg leg = {0};

	(void)state;
	cv_leg_init(&leg, NULL);
	assert_int_equal(cv_leg_push_layer(&leg, toy_new(&frame_ops)), 0);
	assert_int_equal(cv_leg_push_layer(&leg, toy_new(&frame_ops)), 0);
	receive(&leg, "\002\001k", 3);
	expect_app(&leg, 0, "k");
	assert_int_equal(cv_buffer_len(&leg.out), 3);
	assert_memory_equal(cv_buffer_bytes(&leg.out), "\002\001K", 3);
	leg.facts |= CV_LEG_FIN_WANTED; /* nor from up there after the end */
	receive(&leg, "\002\001k", 3);
	expect_app(&leg, 0, "k");
	assert_int_equal(cv_buffer_len(&leg.out), 3);
	cv_leg_done(&leg, false);
}

/* Half a unit given back, the other half from the socket. */
static void test_what_is_given_back_comes_first(void **state)
{
	struct cv_leg leg = {0};

	(void)state;
	cv_leg_init(&leg, NULL);
	assert_int_equal(cv_leg_push_layer(&leg, toy_new(&frame_ops)), 0);
	assert_int_equal(cv_leg_unread(&leg, cv_span_of("\001a\003b", 4)), 0);
	expect_app(&leg, 0, "a");
	expect_app(&leg, -EAGAIN, "");
	receive(&leg, "c", 1);
	expect_app(&leg, -EAGAIN, "");
	receive(&leg, "d\001e", 3);
	expect_app(&leg, 0, "bcde");
	receive(&leg, "\001f", 2);
	expect_app(&leg, 0, "f");
	assert_int_equal(cv_leg_undecoded(&leg), 0);
	cv_leg_done(&leg, false);
}

/* What layers know of themselves counts for the leg. */
static void test_layers_speak_for_the_leg(void **state)
{
	struct cv_leg *leg = *state;
	struct cv_layer **layers = leg->stack->layers;

	assert_int_equal(cv_leg_ending(leg), CV_ENDS_BY_FIN);
	assert_false(cv_leg_is_opening(leg) || cv_leg_is_over(leg));
	layers[0]->ending = CV_ENDS_BOTH;
	layers[1]->ending = CV_ENDS_INSIDE;
	assert_int_equal(cv_leg_ending(leg), CV_ENDS_BOTH);
	layers[0]->is_opening = true;
	assert_true(cv_leg_is_opening(leg));
	layers[1]->held_bytes = 7;
	assert_int_equal(cv_leg_queued(leg), 7);
	layers[1]->is_over = true;
	assert_true(cv_leg_is_over(leg));
}

/* After goodbyes from both sides a reset takes nothing away. */
static void test_a_reset_after_goodbye_is_none(void **state)
{
	struct cv_session *session = calloc(1, sizeof(*session));
	struct cv_leg *leg = &session->upstream;

	(void)state;
	assert_non_null(session);
	cv_leg_init(leg, session);
	assert_int_equal(cv_leg_push_layer(leg, toy_new(&frame_ops)), 0);
	leg->stack->layers[0]->is_over = true;
	assert_int_equal(cv_buffer_append(&leg->out, "x", 1), 0);
	cv_leg_send_failed(leg, -EPIPE);
	assert_int_equal(leg->facts, CV_LEG_FIN_WANTED | CV_LEG_FIN_SENT);
	assert_int_equal(cv_leg_queued(leg), 0);
	cv_leg_done(leg, false);
	free(session);
}

/* An upstream's last words are read after its reset was met; a client's are not. */
static void test_send_failures(void **state)
{
	struct cv_session *session = calloc(1, sizeof(*session));

	(void)state;
	assert_non_null(session);
	cv_leg_init(&session->client, session);
	cv_leg_init(&session->upstream, session);
	cv_leg_send_failed(&session->client, -ECONNRESET);
	assert_int_equal(session->client.facts, CV_LEG_RESET);
	cv_leg_send_failed(&session->upstream, -EPIPE);
	assert_int_equal(session->upstream.facts, CV_LEG_SEND_FAILED);
	session->upstream.facts = CV_LEG_FIN_RECEIVED;
	cv_leg_send_failed(&session->upstream, -EPIPE);
	assert_int_equal(session->upstream.facts, CV_LEG_FIN_RECEIVED | CV_LEG_RESET);
	session->upstream.facts = 0;
	cv_leg_send_failed(&session->upstream, -ENOBUFS);
	assert_int_equal(session->upstream.facts, CV_LEG_RESET);
	free(session);
}

static void test_settle_frees_layers_when_both_ways_are_clear(void **state)
{
	struct cv_leg *leg = *state;

	receive(leg, "\001!", 2);
	expect_app(leg, 0, "!");
	cv_leg_settle(leg);
	assert_non_null(leg->stack);
	assert_int_equal(released, 1);
	cv_leg_settle(leg);
	assert_int_equal(released, 1);
	assert_int_equal(cv_leg_encode(leg, cv_span_of("?", 1)), 0);
	cv_leg_settle(leg);
	assert_null(leg->stack);
	assert_int_equal(released, 2);
}

static void test_end_of_stream_unit(void **state)
{
	struct cv_leg *leg = *state;

	receive(leg, "\001a\000", 3);
	expect_app(leg, 0, "a");
	expect_app(leg, CV_LAYER_EOF, "");
	assert_int_equal(cv_leg_encode_eof(leg), 0);
	assert_int_equal(cv_buffer_len(&leg->out), 1);
}

static void test_unread_comes_first(void **state)
{
	receive(*state, "\001z", 2);
	assert_int_equal(cv_leg_unread(*state, cv_span_of("xy", 2)), 0);
	expect_app(*state, 0, "xy");
	expect_app(*state, 0, "z");
}

static void test_stack_has_a_limit(void **state)
{
	const struct cv_leg *leg = *state;

	while (leg->stack->count < CV_LEG_LAYERS)
		assert_int_equal(cv_leg_push_layer(*state, toy_new(&marker_ops)), 0);
	assert_true(cv_leg_push_layer(*state, toy_new(&marker_ops)) < 0);
	assert_true(cv_leg_push_layer(*state, NULL) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_unit_per_call, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_upper_layer_keeps_what_it_cannot_use, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_received_raw_after_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_sent_raw_after_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_reply_into_a_raw_direction, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_no_reply_after_the_end, set_up, tear_down),
		cmocka_unit_test(test_replies_pass_the_layers_below),
		cmocka_unit_test(test_what_is_given_back_comes_first),
		cmocka_unit_test_setup_teardown(test_layers_speak_for_the_leg, set_up, tear_down),
		cmocka_unit_test(test_a_reset_after_goodbye_is_none),
		cmocka_unit_test(test_send_failures),
		cmocka_unit_test_setup_teardown(test_settle_frees_layers_when_both_ways_are_clear,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_end_of_stream_unit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unread_comes_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stack_has_a_limit, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
