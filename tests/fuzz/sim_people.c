// SPDX-License-Identifier: MIT
/*
 * sim_people.c - see sim_people.h.
 *
 *   client:  [request] [opening] A pattern of A ..        server:  [opening] a pattern of a ..
 *
 * Who speaks is known from the byte in front of the pattern; each is heard by one other at most.
 */
#include "sim_people.h"

#include "base/clock.h"
#include "check.h"

#include <errno.h>
#include <stdio.h>

#define PLAN_BYTES (192 * 1024)
#define ID_STRIDE 997

struct sim_people sim_people;

/* ---- streams ------------------------------------------------------------------------------ */

static uint8_t pattern[PLAN_BYTES + 'z' * ID_STRIDE];

static void make_pattern(void)
{
	static bool is_made;
	uint32_t state = 1;

	for (size_t i = 0; !is_made && i < sizeof(pattern); i++) {
		state = state * 1664525 + 1013904223;
		pattern[i] = (uint8_t)(state >> 24);
	}
	is_made = true;
}

static uint32_t from_hex(const char *text, uint8_t bytes[SIM_OPENING_BYTES])
{
	uint32_t count = 0;

	for (unsigned byte; text && sscanf(text, "%2x", &byte) == 1; text += 2) {
		check(count < SIM_OPENING_BYTES);
		bytes[count++] = (uint8_t)byte;
	}
	return count;
}

static struct sim_opening *make_openings(const struct sim_kind *kinds, unsigned kind_count)
{
	static struct sim_opening openings[SIM_KINDS];
	static bool is_made;

	check(kind_count <= SIM_KINDS);
	for (unsigned i = 0; i < kind_count && !is_made; i++) {
		openings[i].client_bytes = from_hex(kinds[i].client_opening, openings[i].client);
		openings[i].server_bytes = from_hex(kinds[i].server_opening, openings[i].server);
	}
	is_made = true;
	return openings;
}

struct cv_span sim_opening_of(struct sim_side *side)
{
	const struct sim_client *client = sim_as_client(side);
	const struct sim_kind *kind =
		client ? client->kind : sim_kind_to(sim_as_server(side)->port);
	const struct sim_opening *opening = &sim_people.openings[kind - sim_people.kinds];

	return client ? cv_span_of(opening->client, opening->client_bytes)
		      : cv_span_of(opening->server, opening->server_bytes);
}

/* The longest piece of a stream that lies in one place: its opening, who it is, or the pattern. */
static struct cv_span piece_at(struct sim_side *side, uint32_t at)
{
	struct cv_span opening = sim_opening_of(side);

	if (at < opening.len_bytes) {
		cv_span_skip(&opening, at);
		return opening;
	}
	if (at == opening.len_bytes)
		return cv_span_of(&side->id, 1);
	at -= (uint32_t)opening.len_bytes;
	return cv_span_of(pattern + side->id * ID_STRIDE + at, PLAN_BYTES - at);
}

static size_t least(size_t one, size_t other)
{
	return one < other ? one : other;
}

/* @bytes follow after @at of what @side says. */
static void check_stream(struct sim_side *side, uint32_t at, struct cv_span bytes)
{
	check(at + bytes.len_bytes <= side->said_bytes);
	while (bytes.len_bytes > 0) {
		const struct cv_span piece = piece_at(side, at);
		const size_t count = least(piece.len_bytes, bytes.len_bytes);

		check(memcmp(piece.data, bytes.data, count) == 0);
		cv_span_skip(&bytes, count);
		at += (uint32_t)count;
	}
}

struct sim_client *sim_client_of(uint8_t index)
{
	return index < sim_people.client_count ? &sim_people.clients[index] : NULL;
}

struct sim_server *sim_server_of(uint8_t index)
{
	return index < sim_people.server_count ? &sim_people.servers[index] : NULL;
}

const struct sim_kind *sim_kind_to(uint16_t port)
{
	for (unsigned i = 0; i < sim_people.kind_count; i++)
		if (sim_people.kinds[i].to_port == port)
			return &sim_people.kinds[i];
	abort();
}

/* A server says nothing in front. */
static void server_heard_who(struct sim_server *server, uint8_t id)
{
	const uint8_t index = (uint8_t)(id - 'A');
	struct sim_client *client = sim_client_of(index);

	check(client && client->kind->to_port == server->port);
	for (unsigned i = 0; i < sim_people.server_count; i++)
		check(sim_people.servers[i].side.other != index); /* twice */
	server->side.other = index;
}

static void client_heard_who(struct sim_client *client, uint8_t id)
{
	const uint8_t index = (uint8_t)(id - 'a');
	struct sim_server *server = sim_server_of(index);

	check(server && server->port == client->kind->to_port);
	for (unsigned i = 0; i < sim_people.client_count; i++)
		check(sim_people.clients[i].side.other != index);
	client->side.other = index;
}

static struct sim_side *other_of(struct sim_side *side)
{
	if (side->other == SIM_NOBODY)
		return NULL;
	return sim_as_client(side) ? &sim_server_of(side->other)->side
				   : &sim_client_of(side->other)->side;
}

/* Until it is known who speaks there is only the opening, which is the same for all. */
static void stream_heard(struct sim_side *side, struct cv_span opening, struct cv_span bytes)
{
	struct sim_client *client = sim_as_client(side);
	const size_t at = side->heard_bytes;

	side->heard_bytes += (uint32_t)bytes.len_bytes;
	if (side->other == SIM_NOBODY && side->heard_bytes > opening.len_bytes) {
		const uint8_t id = bytes.data[opening.len_bytes - at];

		if (client)
			client_heard_who(client, id);
		else
			server_heard_who(sim_as_server(side), id);
	}
	if (side->other == SIM_NOBODY)
		check(memcmp(opening.data + at, bytes.data, bytes.len_bytes) == 0);
	else
		check_stream(other_of(side), (uint32_t)at, bytes);
}

static void server_heard(struct sim_server *server, struct cv_span bytes)
{
	const struct sim_kind *kind = sim_kind_to(server->port);
	const struct sim_opening *opening = &sim_people.openings[kind - sim_people.kinds];

	stream_heard(&server->side, cv_span_of(opening->client, opening->client_bytes), bytes);
}

/* ---- requests ----------------------------------------------------------------------------- */

static const char socks5_request[] = "\005\001\000\005\001\000\001\135\270\330\042\043\050";
static const char connect_request[] = "CONNECT 93.184.216.34:9000 HTTP/1.1\r\n"
				      "Host: 93.184.216.34:9000\r\n\r\n";

static struct cv_span request_of(const struct sim_client *client)
{
	switch (client->kind->speech) {
	case SIM_SOCKS5:
		return cv_span_of(socks5_request, sizeof(socks5_request) - 1);
	case SIM_HTTP_CONNECT:
		return cv_span_of(connect_request, sizeof(connect_request) - 1);
	default:
		return cv_span_of(NULL, 0);
	}
}

static bool reply_is_whole(struct sim_client *client)
{
	if (client->kind->speech == SIM_SOCKS5)
		return client->reply_bytes == 12;
	return client->reply_bytes >= 4 &&
	       memcmp(client->reply + client->reply_bytes - 4, "\r\n\r\n", 4) == 0;
}

static bool reply_is_good(struct sim_client *client)
{
	if (client->kind->speech == SIM_SOCKS5)
		return memcmp(client->reply, "\005\000\005\000", 4) == 0;
	return client->reply_bytes > 12 && memcmp(client->reply, "HTTP/1.1 200", 12) == 0;
}

/* Takes what belongs to it off @bytes. */
static void reply_heard(struct sim_client *client, struct cv_span *bytes)
{
	while (bytes->len_bytes > 0 && !client->is_served && !client->is_refused) {
		check(client->reply_bytes < SIM_REPLY_BYTES);
		client->reply[client->reply_bytes++] = bytes->data[0];
		cv_span_skip(bytes, 1);
		if (!reply_is_whole(client))
			continue;
		client->is_served = reply_is_good(client);
		client->is_refused = !client->is_served;
		check(client->is_served || sim_people.was_rude);
	}
	if (client->is_refused)
		cv_span_skip(bytes, bytes->len_bytes);
}

static void client_heard(struct sim_client *client, struct cv_span bytes)
{
	const struct sim_opening *opening = &sim_people.openings[client->kind - sim_people.kinds];

	reply_heard(client, &bytes);
	if (bytes.len_bytes > 0)
		stream_heard(&client->side, cv_span_of(opening->server, opening->server_bytes),
			     bytes);
}

/* ---- what a side does --------------------------------------------------------------------- */

struct sim_side *sim_side_at(unsigned index)
{
	const unsigned count = sim_people.client_count + sim_people.server_count;

	if (count == 0)
		return NULL;
	index %= count;
	if (index < sim_people.client_count)
		return &sim_people.clients[index].side;
	return &sim_people.servers[index - sim_people.client_count].side;
}

struct sim_client *sim_as_client(struct sim_side *side)
{
	for (unsigned i = 0; i < sim_people.client_count; i++)
		if (&sim_people.clients[i].side == side)
			return &sim_people.clients[i];
	return NULL;
}

struct sim_server *sim_as_server(struct sim_side *side)
{
	for (unsigned i = 0; i < sim_people.server_count; i++)
		if (&sim_people.servers[i].side == side)
			return &sim_people.servers[i];
	abort();
}

bool sim_is_traced(void)
{
	static int wanted = -1;

	if (wanted < 0)
		wanted = getenv("CULVERT_SIM_TRACE") != NULL;
	return wanted;
}

static void trace(const char *event, struct sim_side *side)
{
	const struct sim_client *client = sim_as_client(side);

	if (!sim_is_traced())
		return;
	fprintf(stderr, "%8llu ms %c%-5u %-12s said %u/%u heard %u%s%s%s%s\n",
		(unsigned long long)(cv_clock_ms() - 1000000), side->id,
		client ? client->kind->port : sim_as_server(side)->port, event, side->said_bytes,
		side->plan_bytes, side->heard_bytes, side->said_fin ? " said-fin" : "",
		side->heard_fin ? " heard-fin" : "", side->was_reset ? " reset" : "",
		side->left ? " left" : "");
}

/* What was taken: 0 where nothing is now, or ever again. */
static uint32_t utter(struct sim_side *side, const uint8_t *bytes, size_t len_bytes)
{
	const int sent = len_bytes ? sim_send(side->end, bytes, len_bytes) : 0;

	if (sent < 0 && sent != -EAGAIN)
		side->was_reset = true;
	return sent > 0 ? (uint32_t)sent : 0;
}

bool sim_ask(struct sim_client *client)
{
	const struct cv_span request = request_of(client);
	uint32_t sent;

	if (client->asked_bytes == request.len_bytes || client->side.was_reset)
		return false;
	sent = utter(&client->side, request.data + client->asked_bytes,
		     request.len_bytes - client->asked_bytes);
	client->asked_bytes += sent;
	return sent > 0;
}

bool sim_has_asked(struct sim_side *side)
{
	struct sim_client *client = sim_as_client(side);

	return !client || client->asked_bytes == request_of(client).len_bytes;
}

bool sim_say(struct sim_side *side, size_t most_bytes)
{
	struct sim_client *client = sim_as_client(side);
	const uint32_t before = side->said_bytes;

	if (!side->end || side->said_fin || side->was_reset)
		return false;
	if (!sim_has_asked(side))
		return sim_ask(client);
	while (most_bytes > 0 && side->said_bytes < side->plan_bytes) {
		const struct cv_span piece = piece_at(side, side->said_bytes);
		const size_t left = least(side->plan_bytes - side->said_bytes, most_bytes);
		const uint32_t sent = utter(side, piece.data, least(piece.len_bytes, left));

		if (sent == 0)
			break;
		side->said_bytes += sent;
		most_bytes -= sent;
	}
	return side->said_bytes > before;
}

bool sim_has_heard_all(struct sim_side *side)
{
	const struct sim_side *other = other_of(side);

	return side->heard_fin || (other && side->heard_bytes == other->plan_bytes);
}

static bool reads_first(struct sim_side *side)
{
	return !sim_as_client(side) && sim_kind_to(sim_as_server(side)->port)->reads_first;
}

bool sim_end_speech(struct sim_side *side)
{
	if (!side->end || side->said_fin || !sim_has_asked(side))
		return false;
	if (reads_first(side) && !sim_has_heard_all(side) && !sim_people.was_rude)
		return false;
	side->plan_bytes = side->said_bytes;
	side->was_early = !sim_has_heard_all(side);
	side->said_fin = true;
	sim_say_fin(side->end);
	trace("fin", side);
	return true;
}

/* Whoever is mirrored from a target that hangs up without a byte is hung up on, both ways. */
static bool hung_up_silently(const struct sim_side *server, const struct sim_client *client)
{
	return client->kind->reads_first && server->said_fin && server->said_bytes == 0;
}

static void heard_fin(struct sim_side *side)
{
	const struct sim_side *other = other_of(side);
	const struct sim_client *client = sim_as_client(side);

	side->heard_fin = true;
	if (client && client->is_refused)
		return;
	if (!client)
		client = sim_client_of(side->other);
	trace("hears end", side);
	if (!other || !client || client->kind->ends_both || sim_people.was_cut)
		return;
	if (side != &client->side && hung_up_silently(side, client))
		check(side->heard_bytes <= other->said_bytes);
	else
		check(other->said_fin && side->heard_bytes == other->said_bytes);
}

bool sim_hear(struct sim_side *side, size_t most_bytes)
{
	static uint8_t block[65536];
	struct sim_client *client = sim_as_client(side);
	int got;

	if (!side->end || side->heard_fin || side->was_reset)
		return false;
	got = sim_recv(side->end, block, most_bytes < sizeof(block) ? most_bytes : sizeof(block));
	if (got == -EAGAIN)
		return false;
	if (got > 0 && client)
		client_heard(client, cv_span_of(block, (size_t)got));
	else if (got > 0)
		server_heard(sim_as_server(side), cv_span_of(block, (size_t)got));
	else if (got == 0)
		heard_fin(side);
	else
		side->was_reset = true;
	if (got < 0)
		trace("hears reset", side);
	return true;
}

void sim_leave(struct sim_side *side, bool aborts, bool loses)
{
	if (!side->end)
		return;
	if (aborts)
		sim_abort(side->end, loses);
	else if (sim_close(side->end))
		side->said_fin = true;
	side->plan_bytes = side->said_bytes;
	side->end = NULL;
	side->left = true;
	trace(aborts ? "aborts" : "leaves", side);
}

void sim_lose(struct sim_side *side)
{
	if (!side->end)
		return;
	sim_fail(side->end->peer, -ETIMEDOUT);
	trace("is lost", side);
}

/* ---- who comes ---------------------------------------------------------------------------- */

static uint32_t plan_of(uint8_t how)
{
	static const uint32_t plans[] = {1, 2, 100, 1000, 5000, 20000, 70000, PLAN_BYTES};

	return plans[how & 7];
}

static void come(uint8_t which, uint8_t how, unsigned most)
{
	const struct sim_kind *kind = &sim_people.kinds[which % sim_people.kind_count];
	struct sim_client *client = &sim_people.clients[sim_people.client_count];
	const bool may_come = sim_people.client_count < most;
	struct sim_end *end = may_come ? sim_connect(kind->port) : NULL;

	if (!end)
		return;
	*client = (struct sim_client){
		.side = {.end = end,
			 .id = (uint8_t)('A' + sim_people.client_count),
			 .other = SIM_NOBODY,
			 .plan_bytes = plan_of(how)},
		.kind = kind,
		.is_served = kind->speech == SIM_RAW,
	};
	sim_people.client_count++;
	client->side.plan_bytes += (uint32_t)sim_opening_of(&client->side).len_bytes;
	trace("comes", &client->side);
}

void sim_come(uint8_t which, uint8_t how)
{
	come(which, how, SIM_CLIENTS);
}

bool sim_come_last(void)
{
	const unsigned count = sim_people.client_count;

	if (count == 0 || sim_people.last_index > 0)
		return false;
	come((uint8_t)(sim_people.clients[0].kind - sim_people.kinds), 4, SIM_CLIENTS + 1);
	check(sim_people.client_count == count + 1);
	sim_people.last_index = count;
	sim_people.was_rude = false;
	return true;
}

bool sim_greet(void)
{
	struct sim_end *end = sim_visitor();
	struct sim_server *server = &sim_people.servers[sim_people.server_count];
	const uint8_t how = (uint8_t)(sim_people.server_count * 3 + 2);

	if (!end)
		return false;
	check(sim_people.server_count < SIM_SERVERS);
	*server = (struct sim_server){
		.side = {.end = end,
			 .id = (uint8_t)('a' + sim_people.server_count),
			 .other = SIM_NOBODY,
			 .plan_bytes = plan_of(how)},
		.port = end->port,
	};
	sim_people.server_count++;
	server->side.plan_bytes += (uint32_t)sim_opening_of(&server->side).len_bytes;
	trace("visited", &server->side);
	return true;
}

void sim_people_start(const struct sim_kind *kinds, unsigned kind_count)
{
	make_pattern();
	sim_people = (struct sim_people){.kinds = kinds, .kind_count = kind_count};
	sim_people.openings = make_openings(kinds, kind_count);
}
