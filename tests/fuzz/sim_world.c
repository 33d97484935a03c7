// SPDX-License-Identifier: MIT
/*
 * sim_world.c - see sim_world.h. The worker's thread is this one (sim_calls.c): the world acts
 * inside of each of the ring's turns.
 *
 *   input:      engine 1 | actions ..      engine: copy, splice, none
 *   action:     what and how 1 | operands of that action
 */
#include "sim_world.h"

#include "base/log.h"
#include "config/config_load.h"
#include "engine/pipe_pool.h"
#include "policy/reload.h"
#include "session/session_limits.h"
#include "session/worker.h"

#include <culvert/reason.h>

#include "check.h"
#include "sim_allocations.h"
#include "sim_people.h"
#include "sim_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define SESSIONS_MOST 2  /* of one client, one behind the other */
#define ORDERLY_MS 15000 /* more than anybody needs who is not hindered */
#define SETTLE_TURNS 60000

static struct {
	const struct sim_world *about;
	struct cv_span input;
	struct cv_worker worker;
	bool stopped;
	unsigned turns;
	unsigned rounds; /* of everything, before the next action */
	bool talks;
	uint64_t waited_ms;
} world;

/* ---- actions ------------------------------------------------------------------------------ */

static size_t amount(uint8_t how)
{
	static const uint32_t amounts[] = {1,   2,   3,    5,    7,    16,   17,    100,
					   255, 256, 1000, 1448, 4096, 8192, 16384, 65536};

	return amounts[how & 15];
}

static bool everything(struct cv_ring *ring, bool talks)
{
	bool any = sim_ring_dispatch(ring, UINT32_MAX) > 0;

	any |= sim_ring_watches();
	while (sim_ring_complete(ring, 0, SIZE_MAX, true))
		any = true;
	any |= sim_deliver_all();
	while (sim_greet())
		any = true;
	for (unsigned i = 0; i < sim_people.client_count + sim_people.server_count; i++) {
		struct sim_side *side = sim_side_at(i);

		if (side->end && !sim_has_asked(side))
			any |= sim_ask(sim_as_client(side));
		any |= sim_hear(side, SIZE_MAX);
		any |= talks && sim_say(side, SIZE_MAX);
	}
	return any;
}

static void forward(struct cv_ring *ring, uint64_t ms)
{
	world.waited_ms += ms;
	if (world.waited_ms > 400)
		sim_people.was_rude = sim_people.was_cut = true;
	sim_ring_forward(ring, ms);
}

static void whim(uint8_t which)
{
	const uint8_t how = take_u8(&world.input);

	switch (which & 3) {
	case 0:
		sim_whims.chunk_bytes = how == 255 ? SIZE_MAX : amount(how);
		break;
	case 1:
		sim_whims.window_bytes = how == 255 ? 256 * 1024 : amount(how);
		break;
	case 2:
		sim_whims.again_count = how & 7;
		break;
	default:
		sim_ring_buffers(how == 255 ? 256 : 1u + (how & 7));
		break;
	}
}

static void stop(bool retires)
{
	if (world.stopped)
		return;
	world.stopped = sim_people.was_cut = true;
	if (retires)
		cv_worker_retire(&world.worker, NULL, 0);
	else
		cv_worker_stop(&world.worker);
}

/* The other of two that say the same. */
static void reload(void)
{
	struct cv_config *const *configs = world.about->configs;

	if (!world.stopped)
		cv_worker_use(&world.worker, configs[world.worker.config == configs[0]]);
}

static void be_rude(struct cv_ring *ring, uint8_t which)
{
	static const int errors[] = {-ECONNREFUSED, -ETIMEDOUT, -ENETUNREACH, -EHOSTUNREACH,
				     -ECONNRESET,   -EMFILE,    -EACCES,      -ENOMEM};
	const uint8_t how = take_u8(&world.input);
	struct sim_side *side = sim_side_at(how);
	const int64_t next_ms = sim_ring_next_ms(ring);

	if (which == 11) {
		sim_starve_soon(how);
		return;
	}
	if (which == 8) { /* which is not rude: nobody may notice */
		reload();
		return;
	}
	sim_people.was_rude = true;
	if (which < 3 && side)
		sim_leave(side, which < 2, which == 1);
	else if (which == 3)
		sim_whims.dial_error = errors[how & 7];
	else if (which == 4 && next_ms >= 0)
		forward(ring, (uint64_t)next_ms);
	else if (which == 5)
		forward(ring, 1000u * how);
	else if (which == 6 && side)
		sim_lose(side);
	else if (which == 7 || which == 9)
		stop(which == 9);
	else if (which == 10)
		(void)cv_limits_kick(&world.worker, 1, "11111111-2222-4333-8444-555555555555",
				     CV_POLICY_KICKED);
}

static void act(struct cv_ring *ring)
{
	const uint8_t what = take_u8(&world.input), how = what >> 4;
	struct sim_side *side;
	struct sim_end *end;

	switch (what & 15) {
	case 0:
		sim_come(how, take_u8(&world.input));
		break;
	case 1:
	case 2:
		world.rounds = how + 1u;
		world.talks = (what & 15) == 2;
		break;
	case 3:
	case 4:
		end = sim_link(take_u8(&world.input));
		if (end)
			(void)sim_deliver(end, amount(how));
		break;
	case 5:
	case 6:
		(void)sim_ring_complete(ring, take_u8(&world.input), amount(how), how & 1);
		break;
	case 7:
		(void)sim_ring_dispatch(ring, how + 1u);
		break;
	case 8:
	case 9:
		side = sim_side_at(take_u8(&world.input));
		if (side)
			(void)sim_say(side, amount(how));
		break;
	case 10:
	case 11:
		side = sim_side_at(take_u8(&world.input));
		if (side)
			(void)sim_hear(side, amount(how));
		break;
	case 12:
		side = sim_side_at(how);
		if (side)
			(void)sim_end_speech(side);
		break;
	case 13:
		whim(how);
		break;
	case 14:
		forward(ring, 1u + how);
		break;
	default:
		be_rude(ring, how);
		break;
	}
	(void)sim_ring_watches();
	while (sim_greet())
		continue;
}

/* ---- the end ------------------------------------------------------------------------------ */

static bool is_done(struct sim_side *side)
{
	const struct sim_client *client = sim_as_client(side);
	const bool is_dismissed = side->heard_fin && client && !client->is_served;

	check(!is_dismissed || sim_people.was_rude ||
	      client < sim_people.clients + sim_people.last_index);
	return !side->end || side->was_reset || is_dismissed || (side->said_fin && side->heard_fin);
}

static bool all_done(void)
{
	for (unsigned i = 0; i < sim_people.client_count + sim_people.server_count; i++)
		if (!is_done(sim_side_at(i)))
			return false;
	return true;
}

/* Who came without a word is told nothing either. */
static void check_served(struct sim_client *client)
{
	struct sim_side *side = &client->side;
	struct sim_server *server = sim_server_of(side->other);

	check(client->is_served && side->heard_fin && !side->was_reset);
	if (!server) /* it said nothing */
		return;
	check(side->heard_bytes == server->side.plan_bytes && !server->side.was_reset);
	if (client->kind->ends_both && server->side.was_early)
		return;
	check(server->side.other == (uint8_t)(client - sim_people.clients) ||
	      side->plan_bytes <= sim_opening_of(side).len_bytes);
	check(server->side.heard_bytes == side->plan_bytes && server->side.heard_fin);
}

/* Where an end is one of both directions who is asked waits for the end of the question. */
static bool may_end(struct sim_server *server)
{
	const struct sim_kind *kind = sim_kind_to(server->port);
	const struct sim_client *client = sim_client_of(server->side.other);

	if (client)
		kind = client->kind;
	return !kind->ends_both || sim_has_heard_all(&server->side) || sim_people.was_rude;
}

static bool say_goodbye(struct sim_side *side)
{
	struct sim_client *client = sim_as_client(side);

	if (!side->end)
		return false;
	if (is_done(side)) {
		sim_leave(side, false, false);
		return true;
	}
	if (side->said_bytes < side->plan_bytes || side->said_fin)
		return false;
	if (client ? !client->is_served : !may_end(sim_as_server(side)))
		return false;
	return sim_end_speech(side);
}

static bool goodbyes(void)
{
	bool any = false;

	for (unsigned i = 0; i < sim_people.client_count + sim_people.server_count; i++)
		any |= say_goodbye(sim_side_at(i));
	return any;
}

static void settle(struct cv_ring *ring)
{
	int64_t next_ms;

	if (world.turns++ == 0) {
		sim_relax();
		sim_ring_buffers(256);
	}
	check(world.turns < SETTLE_TURNS);
	if (everything(ring, true) || goodbyes())
		return;
	if (!world.stopped && all_done() && !world.worker.sessions) {
		if (sim_starve_hit() && sim_come_last()) {
			world.waited_ms = 0;
			return;
		}
		world.stopped = true;
		cv_worker_stop(&world.worker);
		return;
	}
	next_ms = sim_ring_next_ms(ring);
	check(next_ms >= 0);
	world.waited_ms += (uint64_t)next_ms;
	if (!all_done() && world.waited_ms > ORDERLY_MS)
		check(sim_people.was_rude);
	sim_ring_forward(ring, (uint64_t)next_ms);
}

static void turn(struct cv_ring *ring)
{
	if (world.rounds > 0) {
		world.rounds--;
		(void)everything(ring, world.talks);
	} else if (world.input.len_bytes > 0) {
		act(ring);
	} else {
		settle(ring);
	}
}

/* ---- a run -------------------------------------------------------------------------------- */

static void listen_everywhere(const struct cv_config *config)
{
	for (size_t i = 0; i < config->inbound_count; i++) {
		const struct cv_inbound *inbound = &config->inbounds[i];
		const int fd = sim_listen(cv_sockaddr_port(&inbound->listen_addresses[0]));

		check(cv_worker_listen(&world.worker, inbound, fd) == 0);
	}
}

static int lowest_descriptor(void)
{
	const int fd = dup(STDERR_FILENO);

	check(fd >= 0 && close(fd) == 0);
	return fd;
}

static void turn_first(struct cv_ring *ring)
{
	world.worker.ring = ring;
	listen_everywhere(world.about->configs[0]);
	sim_turn = turn;
	sim_starve_begin();
	sim_run_posts();
}

/* Each session on the way counts. What is cut may have been counted and not have arrived; aside are
 * strangers, also one of the program's own clients that was late. */
static void check_counters(const struct cv_worker *worker)
{
	const uint64_t counted[] = {atomic_load(&worker->counters.relayed_uplink_bytes),
				    atomic_load(&worker->counters.relayed_downlink_bytes)};
	uint64_t heard[2] = {0}, most[2] = {0};

	for (unsigned i = 0; i < sim_people.client_count; i++) {
		const struct sim_client *client = &sim_people.clients[i];
		const struct sim_server *server = sim_server_of(client->side.other);
		const unsigned sessions = client->kind->session_count;

		most[0] += client->side.said_bytes * sessions;
		heard[1] += client->side.heard_bytes * sessions;
		heard[0] += server ? server->side.heard_bytes * sessions : 0;
	}
	for (unsigned i = 0; i < sim_people.server_count; i++)
		most[1] += sim_people.servers[i].side.said_bytes * SESSIONS_MOST;
	for (unsigned i = 0; i < 2; i++)
		check(counted[i] >= heard[i] &&
		      counted[i] - atomic_load(&worker->counters.aside_bytes[i]) <= most[i]);
}

static void check_end(void)
{
	const struct cv_worker *worker = &world.worker;

	check(!worker->sessions && atomic_load(&worker->counters.sessions) == 0);
	check(worker->slab.used_count == 0 && worker->texts.used_count == 0);
	check(cv_pipe_pool_used(worker->env.pipes) == 0);
	check(cv_buffer_len(&worker->app) == 0);
	for (unsigned i = 0; i < 2; i++)
		check(atomic_load(&world.about->configs[i]->session_count) == 0);
	check_counters(worker);
	if (sim_people.was_rude)
		return;
	for (unsigned i = sim_people.last_index; i < sim_people.client_count; i++)
		check_served(&sim_people.clients[i]);
}

static void run(const struct sim_world *about, struct cv_span input)
{
	static const struct cv_engine *const engines[] = {&cv_engine_splice, &cv_engine_copy, NULL};
	const int descriptor = lowest_descriptor();

	memset(&world, 0, sizeof(world));
	world.about = about;
	sim_people_start(about->kinds, about->kind_count);
	world.input = input;
	world.worker.config = about->configs[0];
	world.worker.engine = engines[take_u8(&world.input) % 3];
	sim_net_start();
	sim_ring_start();
	sim_random_start();
	sim_turn = turn_first;
	check(cv_worker_start(&world.worker) == 0);
	sim_starve_end();
	check_end();
	cv_worker_join(&world.worker);
	cv_worker_done(&world.worker);
	for (unsigned i = 0; i < sim_people.client_count + sim_people.server_count; i++)
		sim_leave(sim_side_at(i), false, false);
	sim_ring_stop();
	sim_net_stop();
	/* traced, a sanitizer has some of its own */
	check(lowest_descriptor() == descriptor || sim_is_traced());
}

void sim_run(const struct sim_world *about, struct cv_span input)
{
	if (!sim_run_starved(run, about, input))
		run(about, input);
}

static void complain(void *context, bool is_error, const char *text)
{
	(void)context;
	fprintf(stderr, "%s: %s\n", is_error ? "error" : "warning", text);
}

static struct cv_config *load(const char *text)
{
	const struct cv_config_report report = {.line = complain};
	struct cv_config *config = NULL;

	check(cv_config_load_text("sim.json", text, strlen(text), &report, &config) == 0);
	return config;
}

void sim_load(struct sim_world *about, const char *text)
{
	check(cv_log_open("", sim_is_traced() ? CV_LOG_DEBUG : CV_LOG_NONE) == 0);
	about->configs[0] = load(text);
	about->configs[1] = load(text);
	cv_reload_inherit(about->configs[1], about->configs[0]);
}
