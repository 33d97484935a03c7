// SPDX-License-Identifier: MIT
/*
 * test_engine_matrix.c - every engine, every way a direction can go, with one pair and with many.
 *
 *   client ==TCP== near [ 0: near -> far, 1: far -> near ] far ==TCP== server
 *
 * A thread plays the far ends while this one starts flows and turns the ring, so that bytes and FIN
 * come at any moment of a handover. Every stream is a function of its position. CULVERT_LONG=1:
 * up to 4000 pairs at once, 31 000 handovers with bursts, 10 000 short connections. CULVERT_TEST
 * names one test.
 */
#include "base/clock.h"
#include "base/container.h"
#include "engine/pipe_pool.h"
#include "engine/sockmap.h"
#include "engine_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum kind { FIN, HALF_CLOSE, RESET, SLOW_READER, BURST };

static const char *const kind_names[] = {"FIN", "half-close", "RST", "slow reader",
					 "burst at handover"};
static struct variant variants[] = {
	{&cv_engine_copy, 64},
	{&cv_engine_splice, 64},
	{&cv_engine_sockmap, 64},
};

struct link {
	struct cv_flow flow[2];
	int end[2], inner[2];
	int result[2];
	uint64_t sent[2], received[2], wanted[2];
	uint32_t random;
	bool fin_sent[2], fin_seen[2], reset_seen, wrong;
	_Atomic bool complete;
};

struct field {
	struct rig rig;
	struct link *links;
	size_t count;
	enum kind kind;
	int first; /* the direction that is looked at */
	_Atomic bool started, stop; /* all flows are; the player ends */
	pthread_t player;
	size_t refused; /* directions that sockmap did not take */
};

static bool is_long(void)
{
	return getenv("CULVERT_LONG") != NULL;
}

/* An emulated machine does a tenth of it, in several times the time. */
static bool is_guest(void)
{
	return getenv("CULVERT_GUEST") != NULL;
}

/* ---- player ------------------------------------------------------------------------------- */

static uint32_t draw(struct link *link, uint32_t below)
{
	link->random = link->random * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)(link->random >> 8) * below >> 24);
}

static void link_send(struct field *field, struct link *link, int d, uint32_t seed)
{
	static uint8_t bytes[1 << 16];
	bool may_end = field->kind != BURST || atomic_load(&field->started);
	uint64_t left = link->wanted[d] - link->sent[d];
	size_t size = 1 + draw(link, field->kind == BURST ? 9000 : sizeof(bytes) - 1);
	ssize_t sent;

	if (field->kind == HALF_CLOSE && d != field->first && !link->fin_seen[field->first])
		return;
	if (size > left)
		size = (size_t)left;
	for (size_t i = 0; i < size; i++)
		bytes[i] = byte_at(link->sent[d] + i, seed);
	sent = size ? send(link->end[d], bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
	link->sent[d] += sent > 0 ? (uint64_t)sent : 0;
	if (link->sent[d] == link->wanted[d] && may_end && field->kind != RESET &&
	    !link->fin_sent[d])
		link->fin_sent[d] = shutdown(link->end[d], SHUT_WR) == 0;
}

static void link_receive(struct field *field, struct link *link, int d, uint32_t seed)
{
	static uint8_t bytes[1 << 18];
	bool slow = field->kind == SLOW_READER && d == field->first;
	ssize_t got;

	if (link->fin_seen[d] || link->end[!d] < 0 || (slow && draw(link, 4) != 0))
		return;
	got = recv(link->end[!d], bytes, slow ? 16384 : sizeof(bytes), MSG_DONTWAIT);
	link->fin_seen[d] = got == 0;
	link->reset_seen |= got < 0 && errno == ECONNRESET;
	for (ssize_t i = 0; i < got; i++)
		link->wrong |= bytes[i] != byte_at(link->received[d] + (uint64_t)i, seed);
	link->received[d] += got > 0 ? (uint64_t)got : 0;
}

static bool link_is_complete(struct field *field, struct link *link)
{
	if (link->wrong)
		return true;
	for (int d = 0; d < 2; d++)
		if (link->received[d] < link->wanted[d] ||
		    (field->kind != RESET && !link->fin_seen[d]))
			return false;
	if (field->kind == RESET) {
		const struct linger reset = {.l_onoff = 1};

		(void)setsockopt(link->end[field->first], SOL_SOCKET, SO_LINGER, &reset,
				 sizeof(reset));
		(void)close(link->end[field->first]);
		link->end[field->first] = -1;
	}
	return true;
}

static void *play_field(void *opaque)
{
	struct field *field = opaque;

	while (!atomic_load(&field->stop))
		for (size_t i = 0; i < field->count; i++) {
			struct link *link = &field->links[i];

			if (link->complete)
				continue;
			for (int d = 0; d < 2; d++) {
				link_send(field, link, d, (uint32_t)(2 * i) + (uint32_t)d);
				link_receive(field, link, d, (uint32_t)(2 * i) + (uint32_t)d);
			}
			if (link_is_complete(field, link))
				atomic_store(&link->complete, true);
		}
	return NULL;
}

/* ---- field -------------------------------------------------------------------------------- */

static void link_ended(struct cv_flow *flow, int result)
{
	struct link *link = flow->owner_tag ? cv_container_of(flow, struct link, flow[1])
					    : cv_container_of(flow, struct link, flow[0]);

	link->result[flow->owner_tag] = result;
	if (link->result[!flow->owner_tag] == none)
		cv_flow_watch_sink(&link->flow[!flow->owner_tag]);
}

static void field_open(struct field *field, size_t count, const uint32_t *sizes, size_t size_count)
{
	field->count = count;
	field->links = calloc(count, sizeof(*field->links));
	assert_non_null(field->links);
	for (size_t i = 0; i < count; i++) {
		struct link *link = &field->links[i];

		connect_pair(&field->rig, &link->end[0], &link->inner[0]);
		connect_pair(&field->rig, &link->end[1], &link->inner[1]);
		link->random = (uint32_t)i * 2654435761u + 12345;
		for (int d = 0; d < 2; d++) {
			link->wanted[d] = sizes ? sizes[(i + (size_t)d) % size_count]
						: 1 + (i * 7919 + (size_t)d * 31) % 100000;
			link->result[d] = none;
			link->flow[d] = (struct cv_flow){
				.env = &field->rig.env,
				.source_fd = link->inner[d],
				.sink_fd = link->inner[!d],
				.ended = link_ended,
				.owner_tag = (uint8_t)d,
			};
		}
	}
}

static void field_start(struct field *field, const struct cv_engine *engine)
{
	assert_int_equal(pthread_create(&field->player, NULL, play_field, field), 0);
	for (size_t i = 0; i < field->count; i++)
		for (int d = 0; d < 2; d++) {
			struct cv_flow *flow = &field->links[i].flow[d];
			int error = engine->start(flow);

			if (error == -EOPNOTSUPP && engine == &cv_engine_sockmap) {
				field->refused++;
				error = cv_engine_copy.start(flow);
			}
			assert_int_equal(error, 0);
			if (i % 16 == 15 && d)
				turn(&field->rig);
		}
	atomic_store(&field->started, true);
}

static bool link_is_over(struct field *field, struct link *link)
{
	if (field->kind == RESET)
		return link->complete && link->result[field->first] != none;
	return link->complete && link->result[0] != none && link->result[1] != none;
}

static void link_print(struct link *link, size_t number)
{
	for (int d = 0; d < 2; d++) {
		char text[192] = "ended";

		if (link->result[d] == none) {
			link->flow[d].engine->poll_progress(&link->flow[d]);
			link->flow[d].engine->describe(&link->flow[d], text, sizeof(text));
		}
		print_message("  pair %zu.%d: wanted %llu sent %llu%s moved %llu received %llu%s: "
			      "%d %s\n", number, d, (unsigned long long)link->wanted[d],
			      (unsigned long long)link->sent[d], link->fin_sent[d] ? "+FIN" : "",
			      (unsigned long long)link->flow[d].moved_bytes,
			      (unsigned long long)link->received[d],
			      link->fin_seen[d] ? "+FIN" : "", link->result[d], text);
	}
}

/* Returns how many links were not over in time. */
static size_t field_run(struct field *field)
{
	uint64_t end_ms = cv_clock_ms() + 20000 + 20 * field->count;
	size_t over = 0;

	while (over < field->count && cv_clock_ms() < end_ms) {
		for (int i = 0; i < 10; i++)
			turn(&field->rig);
		for (over = 0; over < field->count && link_is_over(field, &field->links[over]);)
			over++;
	}
	atomic_store(&field->stop, true);
	pthread_join(field->player, NULL);
	over = 0;
	for (size_t i = 0; i < field->count; i++)
		if (!link_is_over(field, &field->links[i]) && ++over <= 5)
			link_print(&field->links[i], i);
	return over;
}

static size_t field_bad(const struct field *field)
{
	size_t bad = 0;

	for (size_t i = 0; i < field->count; i++) {
		const struct link *link = &field->links[i];
		bool good = !link->wrong;

		if (field->kind == RESET) {
			good = good && link->result[field->first] == -ECONNRESET &&
			       link->flow[field->first].failed_side == CV_FLOW_SOURCE &&
			       link->received[field->first] == link->wanted[field->first] &&
			       !link->fin_seen[field->first];
		} else {
			for (int d = 0; d < 2; d++)
				good = good && link->result[d] == 0 &&
				       link->received[d] == link->wanted[d] &&
				       link->flow[d].moved_bytes == link->wanted[d];
		}
		bad += !good;
	}
	return bad;
}

static void field_close(struct field *field)
{
	uint64_t end_ms = cv_clock_ms() + LIMIT_MS;
	size_t ended = 0;

	for (size_t i = 0; i < field->count; i++)
		for (int d = 0; d < 2; d++)
			if (field->links[i].result[d] == none)
				field->links[i].flow[d].engine->stop(&field->links[i].flow[d]);
	while (ended < field->count && cv_clock_ms() < end_ms) {
		turn(&field->rig);
		for (ended = 0; ended < field->count && field->links[ended].result[0] != none &&
				field->links[ended].result[1] != none;)
			ended++;
	}
	assert_int_equal(ended, field->count);
	for (size_t i = 0; i < field->count; i++)
		for (int d = 0; d < 2; d++) {
			const struct linger reset = {.l_onoff = 1}; /* no TIME_WAIT */

			(void)setsockopt(field->links[i].end[d], SOL_SOCKET, SO_LINGER, &reset,
					 sizeof(reset));
			if (field->links[i].end[d] >= 0)
				(void)close(field->links[i].end[d]);
			(void)close(field->links[i].inner[d]);
		}
	free(field->links);
	field->links = NULL;
	field->started = field->stop = false;
}

/* One batch: @ret_stalled and @ret_bad grow. */
static void batch(struct field *field, void **state, size_t count, const uint32_t *sizes,
		  size_t size_count, size_t *ret_stalled, size_t *ret_bad)
{
	const struct variant *variant = *state;

	field_open(field, count, sizes, size_count);
	field_start(field, variant->engine);
	*ret_stalled += field_run(field);
	*ret_bad += field_bad(field);
	field_close(field);
}

/* ---- tests -------------------------------------------------------------------------------- */

static void play_matrix(void **state, enum kind kind)
{
	const size_t counts[] = {1, is_guest() ? 12 : 40, 1000, 4000};
	static const uint32_t slow_bytes[] = {3000000}, slow_many_bytes[] = {400000};
	const struct variant *variant = *state;

	for (int first = 0; first < 2; first++)
		for (size_t c = 0; c < (is_long() ? 4 : 2); c++) {
			struct field field = {.kind = kind, .first = first};
			const uint32_t *sizes = kind != SLOW_READER ? NULL
						: counts[c] > 1	    ? slow_many_bytes
								    : slow_bytes;
			size_t stalled = 0, bad = 0;

			engine_rig_open(&field.rig, state);
			batch(&field, state, counts[c], sizes, 1, &stalled, &bad);
			engine_rig_close(&field.rig);
			if (stalled || bad)
				fail_msg("%s, %s, %s, %zu pairs: %zu stalled, %zu bad",
					 variant->engine->name, kind_names[kind],
					 first ? "downlink" : "uplink", counts[c], stalled, bad);
		}
}

static void ends_by_fin(void **state)
{
	play_matrix(state, FIN);
}

static void half_closed(void **state)
{
	play_matrix(state, HALF_CLOSE);
}

static void ends_by_reset(void **state)
{
	play_matrix(state, RESET);
}

static void slow_reader(void **state)
{
	play_matrix(state, SLOW_READER);
}

static void burst_at_handover(void **state)
{
	play_matrix(state, BURST);
}

static void many_handovers_with_bursts(void **state)
{
	const size_t batches = is_long() ? 62 : is_guest() ? 1 : 3, each = is_guest() ? 150 : 500;
	struct field field = {.kind = BURST};
	size_t stalled = 0, bad = 0;

	engine_rig_open(&field.rig, state);
	for (size_t i = 0; i < batches; i++)
		batch(&field, state, each, NULL, 0, &stalled, &bad);
	engine_rig_close(&field.rig);
	print_message("%s: %zu pairs with bursts at the handover: %zu bad, %zu stalled, "
		      "%zu directions refused\n", ((struct variant *)*state)->engine->name,
		      batches * each, bad, stalled, field.refused);
	assert_int_equal(bad, 0);
	assert_int_equal(stalled, 0);
	assert_int_equal(field.refused, 0);
}

static void short_connections(void **state)
{
	static const uint32_t sizes[] = {1, 500, 3000, 4000, 60000, 100000};
	const size_t batches = is_long() ? 40 : is_guest() ? 1 : 3, each = is_guest() ? 60 : 250;
	struct field field = {.kind = HALF_CLOSE};
	size_t stalled = 0, bad = 0;

	engine_rig_open(&field.rig, state);
	for (size_t i = 0; i < batches; i++)
		batch(&field, state, each, sizes, 6, &stalled, &bad);
	engine_rig_close(&field.rig);
	print_message("%s: %zu connections, FIN behind the data, answer over the half-closed side: "
		      "%zu bad, %zu stalled, %zu directions refused\n",
		      ((struct variant *)*state)->engine->name, batches * each, bad, stalled,
		      field.refused);
	assert_int_equal(bad, 0);
	assert_int_equal(stalled, 0);
}

static long available_kib(void)
{
	char line[128];
	long kib = -1;
	FILE *file = fopen("/proc/meminfo", "re");

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		(void)sscanf(line, "MemAvailable: %ld kB", &kib);
	(void)fclose(file);
	return kib;
}

/* The sender offers 1 GiB and the receiver does not read. */
static void stopped_receiver_bounds_memory(void **state)
{
	const struct variant *variant = *state;
	struct session session;
	struct rig rig;
	uint64_t last = 0, since_ms = cv_clock_ms();
	long before_kib, after_kib;

	engine_rig_open(&rig, state);
	session_open(&rig, &session, 77);
	session.client.wanted = 1ull << 30;
	session.client.chunk_limit = 100000;
	session_start(&session, state);
	before_kib = available_kib();
	while (cv_clock_ms() < since_ms + 500 && session.client.sent < session.client.wanted) {
		end_send(&session.client, 1 << 20);
		turn(&rig);
		if (session.client.sent != last) {
			last = session.client.sent;
			since_ms = cv_clock_ms();
		}
	}
	after_kib = available_kib();
	print_message("%s: of 1 GiB for a stopped receiver %.1f MiB were taken, MemAvailable "
		      "%+.1f MiB\n", variant->engine->name, (double)last / 1048576,
		      (double)(after_kib - before_kib) / 1024);
	assert_true(last < 64u << 20);
	session.client.wanted = session.client.sent;
	session.client.fin_wanted = session.server.fin_wanted = true;
	play_until_ended(&rig, &session, 2);
	assert_all_arrived(&session);
	session_close(&rig, &session);
	engine_rig_close(&rig);
}

static int more_descriptors(void **state)
{
	struct rlimit limit;

	(void)state;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	return 0;
}

#define EACH(test)                                                                                 \
	{#test ", copy", test, NULL, NULL, &variants[0]},                                          \
	{#test ", splice", test, NULL, NULL, &variants[1]},                                        \
	{                                                                                          \
		#test ", sockmap", test, NULL, NULL, &variants[2]                                  \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(ends_by_fin),
		EACH(half_closed),
		EACH(ends_by_reset),
		EACH(slow_reader),
		EACH(burst_at_handover),
		EACH(many_handovers_with_bursts),
		EACH(short_connections),
		EACH(stopped_receiver_bounds_memory),
	};
	int failed;

	(void)signal(SIGPIPE, SIG_IGN);
	cmocka_set_test_filter(getenv("CULVERT_TEST")); /* e.g. "slow_reader, sockmap" */
	failed = cmocka_run_group_tests(tests, more_descriptors, NULL);
	engine_rig_done();
	return failed;
}
