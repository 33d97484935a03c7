/* SPDX-License-Identifier: MIT */
/*
 * relay.h - what bpf/relay.bpf.c and user space share about bytes moved between two sockets.
 *
 * A flow is one direction and has one index in everything:
 *
 *	relay_sources[index]	the socket its bytes come from; the program runs on these
 *	relay_sinks[index]	the socket they go to; no program: redirect targets
 *	relay_flows[index]	its counters and its switch, mapped into the daemon's memory
 *	relay_slots[cookie of the source] = index
 *
 * Several processes use the maps at once during a restart, each its own chunks of indices:
 * relay_chunks[index / CV_RELAY_CHUNK].
 */
#ifndef CULVERT_RELAY_H
#define CULVERT_RELAY_H

#include <linux/types.h>

#define CV_RELAY_VERSION 1

#define CV_RELAY_FLOWS 65536 /* directions at once */
#define CV_RELAY_CHUNK 256
#define CV_RELAY_CHUNKS (CV_RELAY_FLOWS / CV_RELAY_CHUNK)

/* Bytes redirected but not yet in the sink's send queue. Beyond it the receiver is slower than the
 * sender, and what comes is left to the daemon, where the sender's window closes. */
#define CV_RELAY_LIMIT_BYTES (1u << 20)

enum cv_relay_mode {
	CV_RELAY_PASS, /* what comes is for recv(2) */
	/* what comes goes to the sink, once recv(2) has got all that was passed before */
	CV_RELAY_REDIRECT,
};

struct cv_relay_flow {
	/* the program's: it runs under the source's lock, so plain stores do */
	__u64 moved_bytes;  /* redirected */
	__u64 passed_bytes; /* left to recv(2), since the source is in relay_sources */
	__u64 last_move_ns; /* CLOCK_MONOTONIC */
	__u64 moves;	    /* packets redirected */
	__u32 limited;	    /* times it went to PASS by itself: limit reached or sink dead */
	__u32 mode;	    /* enum cv_relay_mode; the program only ever sets PASS */
	/* the daemon's */
	__u64 resume_bytes; /* of passed_bytes, what recv(2) returned */
	__u64 sink_base;    /* the sink's count of bytes written, less moved_bytes */
	__u64 source_cookie;
	__u32 limit_bytes;
	/* the program's */
	__u32 next_seq;	      /* the byte that comes next, as TCP numbers it */
	__u32 has_next_seq;
	__u32 repeated_bytes; /* came once more with what was new, and were cut off */
	__u32 unused[12];
};

struct cv_relay_chunk {
	__u64 owner;  /* of a process: id << 42 | start time in ticks; 0 = free */
	__u64 events; /* grows when a flow of the chunk goes to PASS by itself */
	__u64 unused[6];
};

_Static_assert(sizeof(struct cv_relay_flow) == 128, "layout version 1");
_Static_assert(sizeof(struct cv_relay_chunk) == 64, "layout version 1");

#endif
