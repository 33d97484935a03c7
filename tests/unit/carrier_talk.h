/* SPDX-License-Identifier: MIT */
/*
 * carrier_talk.h - a test's end of a carrier: frames on a socket, written and read by hand.
 */
#ifndef CV_TESTS_CARRIER_TALK_H
#define CV_TESTS_CARRIER_TALK_H

#include "session_stage.h"

#include "wire/mux.h"

struct talk {
	int fd;
	struct cv_buffer in;
	size_t skip_bytes; /* of what comes first: VLESS's response header */
};

void talk_init(struct talk *talk, int fd, size_t skip_bytes);
void talk_done(struct talk *talk);
/** talk_open() - New for a stream (or datagrams) to @port of 127.0.0.1, with @text unless NULL. */
void talk_open(struct talk *talk, uint16_t id, enum cv_mux_network network, uint16_t port,
	       const char *text);
void talk_keep(struct talk *talk, uint16_t id, const void *bytes, size_t len_bytes);
void talk_end(struct talk *talk, uint16_t id, bool is_error);
/** talk_frame() - The next one; its data, at most 65535 bytes, go to @ret_data unless NULL. */
struct cv_mux_frame talk_frame(struct talk *talk, uint8_t *ret_data);
/** talk_expect() - A Keep of @id with exactly @text, maybe in several frames. */
void talk_expect(struct talk *talk, uint16_t id, const char *text);
void talk_expect_end(struct talk *talk, uint16_t id, bool is_error);
/** talk_expect_closed() - Nothing more comes but the end; frames before it are skipped. */
void talk_expect_closed(struct talk *talk);
/** talk_udp_socket() - A host of datagrams on loopback, where receiving has a time-out. */
int talk_udp_socket(struct cv_sockaddr *ret_address);

#endif
