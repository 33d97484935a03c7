/* SPDX-License-Identifier: MIT */
/*
 * sim_people.h - the clients and servers of sim_world.h: what they say, and what they may hear.
 */
#ifndef CV_FUZZ_SIM_PEOPLE_H
#define CV_FUZZ_SIM_PEOPLE_H

#include "sim_net.h"
#include "sim_world.h"

#define SIM_CLIENTS 4
#define SIM_SERVERS 24
#define SIM_REPLY_BYTES 512
#define SIM_OPENING_BYTES 512
#define SIM_KINDS 32
#define SIM_NOBODY 0xff

struct sim_opening {
	uint8_t client[SIM_OPENING_BYTES], server[SIM_OPENING_BYTES];
	uint32_t client_bytes, server_bytes;
};

struct sim_side {
	struct sim_end *end; /* NULL: left */
	uint8_t id;
	uint8_t other; /* whom it hears: index; SIM_NOBODY = not known yet */
	uint32_t plan_bytes, said_bytes, heard_bytes;
	bool said_fin, left, heard_fin, was_reset;
	bool was_early; /* said FIN while the other had more to say */
};

struct sim_client {
	struct sim_side side;
	const struct sim_kind *kind;
	uint32_t asked_bytes; /* of its request, in front of the stream */
	uint8_t reply[SIM_REPLY_BYTES];
	uint32_t reply_bytes;
	bool is_served, is_refused;
};

struct sim_server {
	struct sim_side side;
	uint16_t port;
};

struct sim_people {
	const struct sim_kind *kinds;
	unsigned kind_count;
	struct sim_opening *openings; /* of each kind */
	struct sim_client clients[SIM_CLIENTS + 1]; /* one that comes when all is over */
	struct sim_server servers[SIM_SERVERS];
	unsigned client_count, server_count;
	unsigned last_index; /* of the client that came when all was over; 0 = none */
	bool was_rude; /* something happened that may cost bytes */
	bool was_cut;  /* sessions may have been ended without a reset */
};
extern struct sim_people sim_people;

void sim_people_start(const struct sim_kind *kinds, unsigned kind_count);
/** sim_client_of() / sim_server_of() - NULL: nobody. */
struct sim_client *sim_client_of(uint8_t index);
struct sim_server *sim_server_of(uint8_t index);
/** sim_kind_to() - A kind that leads to servers at @port. */
const struct sim_kind *sim_kind_to(uint16_t port);
/** sim_opening_of() - What @side's stream begins with. */
struct cv_span sim_opening_of(struct sim_side *side);
/** sim_side_at() - Modulo how many there are; NULL: none. */
struct sim_side *sim_side_at(unsigned index);
/** sim_as_client() - NULL if it is a server's. sim_as_server() - It is one's. */
struct sim_client *sim_as_client(struct sim_side *side);
struct sim_server *sim_as_server(struct sim_side *side);

/** sim_come() - A client connects. sim_greet() - A server accepts. False: there is nobody. */
void sim_come(uint8_t which, uint8_t how);
/** sim_come_last() - Another of the first one's kind; from now on everybody is polite. False: not
 * again, or nobody came before. */
bool sim_come_last(void);
bool sim_greet(void);
/** sim_ask(), sim_say(), sim_hear() - True: something was. */
bool sim_ask(struct sim_client *client);
bool sim_has_asked(struct sim_side *side);
bool sim_say(struct sim_side *side, size_t most_bytes);
bool sim_hear(struct sim_side *side, size_t most_bytes);
/** sim_end_speech() - A FIN; what it has not said by now it never says. */
bool sim_end_speech(struct sim_side *side);
/** sim_leave() - Close; @aborts: with a reset, of which @loses: in place of what is on its way. */
void sim_leave(struct sim_side *side, bool aborts, bool loses);
/** sim_lose() - The network between it and the program is gone. */
void sim_lose(struct sim_side *side);
bool sim_has_heard_all(struct sim_side *side);
/** sim_is_traced() - CULVERT_SIM_TRACE is set: people who look into a finding want to know what
 * happens. */
bool sim_is_traced(void);

#endif
