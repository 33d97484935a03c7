/* SPDX-License-Identifier: MIT */
/*
 * sim_world.h - everybody around a worker: clients that come to its inbounds, servers that it
 * dials; and what has to hold whatever they do.
 *
 *   client --> entry inbound --> .. the program's own outbounds and inbounds .. --> server
 *
 * The input decides who says how much, what arrives when, which operation ends next, when the clock
 * goes on, who leaves and how. When it is used up everybody says the rest and leaves in order.
 *
 * Both say a stream in which each byte tells where it belongs, beginning with who they are. Held
 * to in every run:
 *  - what is heard is the beginning of what was said: nothing lost, doubled, or out of order
 *  - an end in order comes after the last byte; what broke off is not taken for an end
 *  - while nobody was rude (no reset, no error, no deadline) everything arrives, and both ends
 *  - every session ends; operations, descriptors, buffers, pipes, slots, timers are given back
 *  - an engine starts with nothing of its direction in user space
 *  - the counters say what was moved
 */
#ifndef CV_FUZZ_SIM_WORLD_H
#define CV_FUZZ_SIM_WORLD_H

#include "base/buffer.h"
#include "policy/config.h"

#define SIM_INPUT_BYTES 1024

enum sim_speech { SIM_RAW, SIM_SOCKS5, SIM_HTTP_CONNECT };

struct sim_kind {
	const char *name;
	uint16_t port;    /* of the entry inbound */
	uint16_t to_port; /* of the server that it leads to; kinds share one if they say the same */
	enum sim_speech speech;
	unsigned session_count; /* of a client, one behind the other */
	bool ends_both;         /* there is no half-close on the way */
	/* ending with bytes unread resets, and so it looks to the client: a target is mirrored */
	bool reads_first;
	/* in hex: a stream begins with it, and whoever hears it hears that, too */
	const char *client_opening, *server_opening;
};

struct sim_world {
	struct cv_config *configs[2]; /* the same twice; at its inbounds' ports is listened */
	const struct sim_kind *kinds;
	unsigned kind_count;
};

/** sim_run() - One run of @world; aborts if something does not hold. */
void sim_run(const struct sim_world *world, struct cv_span input);
/** sim_load() - A configuration; aborts with what is wrong about it. */
void sim_load(struct sim_world *about, const char *text);

#endif
