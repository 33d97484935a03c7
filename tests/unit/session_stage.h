/* SPDX-License-Identifier: MIT */
/*
 * session_stage.h - a real worker on loopback between a client and an upstream that a test plays.
 *
 *   test as client --> inbound (SOCKS5, or a test's own) --> freedom --> test as upstream
 */
#ifndef CV_TESTS_SESSION_STAGE_H
#define CV_TESTS_SESSION_STAGE_H

#include "session/worker.h"

#define STAGE_WAIT_MS 10000 /* nothing here takes as long */

struct session_stage {
	struct cv_config config;
	struct cv_inbound inbound;
	struct cv_outbound outbound;
	struct cv_worker worker;
	struct cv_resolver *resolver;
	struct cv_verifier *verifier;
	struct cv_sockaddr inbound_address, upstream_address;
	int upstream_listener;
	bool started, stopped;
};

struct session_pair {
	int client, upstream;
};

/** stage_init() - Defaults and the upstream's listener; change ->config before stage_start(). */
void stage_init(struct session_stage *stage);
/** stage_start() - @engine: "copy", "splice" or NULL (nothing is ever handed over). */
void stage_start(struct session_stage *stage, const char *engine);
/** stage_done() - Every session must end by itself now; then stop and free everything. */
void stage_done(struct session_stage *stage);

/** stage_dial() - A client's socket; both kinds time out after STAGE_WAIT_MS. stage_accept() - The
 * upstream's end. stage_open() - Both, with a SOCKS5 CONNECT in between. */
int stage_dial(struct session_stage *stage);
int stage_accept(struct session_stage *stage);
struct session_pair stage_open(struct session_stage *stage);
/** stage_send_socks() - Greeting and CONNECT to @port on 127.0.0.1. */
void stage_send_socks(int client, uint16_t port);

void stage_send(int fd, const void *bytes, size_t count_bytes);
void stage_expect(int fd, const void *bytes, size_t count_bytes);
void stage_expect_fin(int fd);
void stage_expect_reset(int fd);
/** stage_reset() - Close with RST, once everything sent was acknowledged. */
void stage_reset(int fd);
/** stage_send_pattern() / stage_expect_pattern() - @count_bytes that tell where they belong. */
void stage_send_pattern(int fd, size_t count_bytes);
void stage_expect_pattern(int fd, size_t count_bytes);

/** stage_wait_sessions() - Until the worker has @count of them. */
void stage_wait_sessions(struct session_stage *stage, unsigned count);
uint64_t stage_reason(struct session_stage *stage, int reason);
uint64_t stage_handovers(struct session_stage *stage, int direction);

/** stage_open_udp() - A host on loopback whose recv() waits STAGE_WAIT_MS; the caller closes it. */
int stage_open_udp(struct cv_sockaddr *ret_address);

#endif
