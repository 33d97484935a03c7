/* SPDX-License-Identifier: MIT */
/*
 * reality_world.h - one REALITY server between the rig's client and target, fed in pieces of any
 * size.
 */
#ifndef CV_TESTS_REALITY_WORLD_H
#define CV_TESTS_REALITY_WORLD_H

#include "reality_rig.h"

#include "protocol/tls_alert.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PIECE_ALL SIZE_MAX

struct world {
	struct rig_config config;
	struct rig_hello hello;
	struct rig_flight flight;
	struct rig_client client;
	struct cv_reality_server *server;
	struct cv_buffer bytes;
};

static inline void start(struct world *world)
{
	memset(world, 0, sizeof(*world));
	rig_config_start(&world->config);
	world->hello = rig_hello_default();
	world->flight = rig_flight_default();
	world->server = cv_reality_server_new(&world->config.reality);
	assert_non_null(world->server);
	cv_buffer_init(&world->bytes, 1 << 20);
}

static inline void stop(struct world *world)
{
	cv_reality_server_free(world->server);
	if (world->client.hello.data)
		rig_client_stop(&world->client);
	rig_config_stop(&world->config);
	cv_buffer_done(&world->bytes);
}

typedef enum cv_reality_verdict (*feed_fn)(struct cv_reality_server *, struct cv_span, uint64_t);

/* Feeds world->bytes in pieces until a verdict other than WAIT; the rest stays in world->bytes. */
static inline enum cv_reality_verdict feed(struct world *world, feed_fn take, size_t piece)
{
	enum cv_reality_verdict verdict = CV_REALITY_WAIT;

	while (verdict == CV_REALITY_WAIT && cv_buffer_len(&world->bytes) > 0) {
		size_t len = cv_buffer_len(&world->bytes);
		uint8_t *copy;

		if (len > piece)
			len = piece;
		copy = malloc(len); /* so that reading past a piece is seen */
		assert_non_null(copy);
		memcpy(copy, cv_buffer_bytes(&world->bytes), len);
		cv_buffer_consume(&world->bytes, len);
		verdict = take(world->server, cv_span_of(copy, len), RIG_WALL_MS);
		free(copy);
	}
	return verdict;
}

static inline void add(struct world *world, const void *bytes, size_t len)
{
	assert_int_equal(cv_buffer_append(&world->bytes, bytes, len), 0);
}

static inline enum cv_reality_verdict feed_client(struct world *world, size_t piece)
{
	return feed(world, cv_reality_server_client_bytes, piece);
}

static inline enum cv_reality_verdict feed_target(struct world *world, size_t piece)
{
	return feed(world, cv_reality_server_target_bytes, piece);
}

static inline enum cv_reality_verdict feed_hello(struct world *world, size_t fragment, size_t piece)
{
	rig_client_start(&world->client, &world->hello);
	rig_hello_records(&world->client, fragment, &world->bytes);
	return feed_client(world, piece);
}

static inline enum cv_reality_verdict feed_flight(struct world *world, size_t piece)
{
	rig_flight_write(&world->flight, &world->client, &world->bytes);
	return feed_target(world, piece);
}

static inline struct cv_buffer *output_of(struct world *world)
{
	return cv_reality_server_output(world->server);
}

static inline void up_to_flight(struct world *world)
{
	assert_int_equal(feed_hello(world, 16384, PIECE_ALL), CV_REALITY_WAIT);
	assert_int_equal(feed_flight(world, PIECE_ALL), CV_REALITY_FLIGHT);
	rig_client_read_flight(&world->client, &world->flight, &world->config, output_of(world));
	assert_int_equal(cv_buffer_len(output_of(world)), 0);
}

static inline void expect_forward(struct world *world, enum cv_reality_verdict verdict, int reason)
{
	static const uint8_t more[] = {1};

	assert_int_equal(verdict, CV_REALITY_FORWARD);
	assert_int_equal(cv_reality_server_reason(world->server), reason);
	assert_int_equal(cv_buffer_len(output_of(world)), 0); /* never a byte of ours */
	assert_int_equal(
		cv_reality_server_client_bytes(world->server, cv_span_of(more, 1), RIG_WALL_MS),
		CV_REALITY_FORWARD);
	assert_int_equal(cv_reality_server_target_eof(world->server), CV_REALITY_FORWARD);
	assert_null(cv_reality_server_take_layer(world->server));
	assert_null(cv_reality_server_key_log(world->server));
}

/* Our alert is a 24-byte record under the server's application key, then we close. */
static inline void expect_alert(struct world *world, enum cv_reality_verdict verdict, int reason,
				uint8_t alert)
{
	uint8_t plain[64];
	size_t record_len;

	assert_int_equal(verdict, CV_REALITY_CLOSE);
	assert_int_equal(cv_reality_server_reason(world->server), reason);
	assert_int_equal(rig_open(&world->client.app_rx, output_of(world), 21, plain, &record_len),
			 2);
	assert_int_equal(record_len, 24);
	assert_int_equal(plain[0], CV_TLS_ALERT_FATAL);
	assert_int_equal(plain[1], alert);
	assert_int_equal(cv_buffer_len(output_of(world)), 0);
	assert_int_equal(cv_reality_server_client_eof(world->server), CV_REALITY_CLOSE);
}

#endif
