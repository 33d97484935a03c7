/* SPDX-License-Identifier: MIT */
/*
 * hostile.h - the parts of hostile, a tool that treats a server badly and counts what it does.
 */
#ifndef CULVERT_HOSTILE_H
#define CULVERT_HOSTILE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HOSTILE_STEPS 16
#define HOSTILE_SCRIPTS 32

/* ---- sequence: a stream of known bytes, by a seed ------------------------------------------- */

#define SEQUENCE_PERIOD 65521
#define REQUEST_BYTES 9 /* kind, length (BE), seed (BE): see peer.c */

/** sequence_at() - The bytes of the stream of @seed from @offset on; *ret_len of them at most. */
const uint8_t *sequence_at(uint32_t seed, uint64_t offset, size_t *ret_len);
void request_put(uint8_t out[REQUEST_BYTES], char kind, uint32_t length, uint32_t seed);

/* ---- scripts: what a connection does, step by step ------------------------------------------ */

enum verb {
	SEND,	/* bytes, at once */
	DRIP,	/* bytes, one every period_ms */
	FLOOD,	/* bytes, again and again until the peer ends it */
	EXPECT, /* bytes: read as many, they must be these */
	READ,	/* number bytes, whatever they are */
	ASK,	/* peer.c: number bytes of a stream of one's own, checked */
	SLOW,	/* the same, not read as fast as it could come */
	FINAL,	/* the same, and then the peer's FIN */
	CUT,	/* the same, which the peer cuts off by RST: what came is checked */
	GIVE,	/* number bytes of that stream to the peer, who says whether they were these */
	HALF,	/* the same, then a half-close; the peer answers after it */
	WAIT,	/* number ms */
	MEET,	/* until all connections are here and a line on stdin lets them go */
	END,	/* half-close, then as SILENT */
	SILENT, /* read until the peer ends it */
	CLOSE,
	RESET,
};

struct bytes {
	uint8_t *data;
	size_t len;
};

struct step {
	enum verb verb;
	struct bytes *lines; /* of the n-th connection: the n-th, over and over */
	size_t line_count;
	uint32_t number; /* bytes or ms */
	uint32_t period_ms;
};

struct script {
	struct step steps[HOSTILE_STEPS];
	size_t count;
};

/** script_parse() - "send:0500,read:2,silent", see the usage; NULL or what is wrong with it. */
const char *script_parse(char *text, struct script *ret_script);
void script_done(struct script *script);

/* ---- what main() can do --------------------------------------------------------------------- */

struct attack {
	struct sockaddr_in to;
	struct in_addr from[256]; /* taken in turns */
	size_t from_count;
	uint32_t count, at_a_time, rate; /* rate: of new connections a second, 0 = any */
	uint32_t seconds;  /* over which new ones are made; 0 = @count of them, once */
	uint32_t deadline_s; /* of one connection */
	struct script scripts[HOSTILE_SCRIPTS];
	size_t script_count;
};

/** attack_run() - Until all connections have ended; prints one JSON object. Exit status. */
int attack_run(const struct attack *attack);
/** peer_serve() - Answers requests on TCP and echoes datagrams on UDP @port until SIGTERM. */
int peer_serve(const char *address, uint16_t port);
/** syn_flood() - SYNs alone, @rate a second, from everywhere in @network/16. */
int syn_flood(const struct sockaddr_in *to, struct in_addr network, uint32_t rate,
	      uint32_t seconds);

#endif
