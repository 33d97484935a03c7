/* SPDX-License-Identifier: MIT */
/*
 * engine_rig.h - flows between sockets of which a test plays the far ends.
 *
 *   client ==TCP== near [ up: near -> far ] far ==TCP== server
 *                       [down: far -> near]
 *
 * Every stream is a function of its position, so a byte lost, doubled or moved is seen where it
 * happens. One thread plays both ends between the turns of the ring.
 */
#ifndef CV_TESTS_ENGINE_RIG_H
#define CV_TESTS_ENGINE_RIG_H

#include "engine/engine.h"
#include "engine/kernel.h"

#define LIMIT_MS 20000
#define PIPES 16

/* What one run of all tests uses. */
struct variant {
	const struct cv_engine *engine;
	uint32_t max_pipes;
};

struct rig {
	struct cv_ring *ring;
	struct cv_engine_env env;
	int listener;
	struct cv_sockaddr address;
	size_t fds_before;
	struct cv_timer guard;
};

/* One end of a stream that the test plays. */
struct end {
	int fd;
	uint64_t sent, received, wanted; /* wanted: bytes to send */
	uint32_t send_seed, receive_seed;
	size_t chunk_limit;
	bool fin_wanted, fin_sent, fin_seen, reset_seen;
};

struct session {
	struct end client, server;
	int near, far;
	struct cv_flow up, down;
	int up_result, down_result, ended;
};

enum { none = 1000 }; /* up_result, down_result: not ended */

/** engine_rig_kernel() - Load the relay program, once for all rigs; skips the running test where
 * this process or kernel cannot. */
const struct cv_kernel *engine_rig_kernel(void);
void engine_rig_done(void);
/** engine_rig_open() - @state: of a struct variant; skips where its engine cannot be had. */
void engine_rig_open(struct rig *rig, void **state);
void engine_rig_close(struct rig *rig);
/** turn() - One turn of the ring, at most a millisecond. */
void turn(struct rig *rig);
/** connect_pair() - Both ends of one TCP connection, nonblocking inside. */
void connect_pair(struct rig *rig, int *ret_outer, int *ret_inner);

void session_open(struct rig *rig, struct session *session, uint32_t seed);
/** session_start() - Both directions to the variant's engine; copy where sockmap refuses. */
void session_start(struct session *session, void **state);
/** session_close() - Everything ended by itself, or is stopped here. */
void session_close(struct rig *rig, struct session *session);
void reset(struct end *end);

uint8_t byte_at(uint64_t position, uint32_t seed);
/** end_send() - As much of what is wanted as the socket takes now, at most @limit bytes. */
void end_send(struct end *end, uint64_t limit);
void end_receive(struct end *end, uint64_t limit);
void play(struct rig *rig, struct session *session);
void play_until_ended(struct rig *rig, struct session *session, int ended);
void play_until_received(struct rig *rig, struct session *session, const struct end *end,
			 uint64_t bytes);
void assert_all_arrived(const struct session *session);

#endif
