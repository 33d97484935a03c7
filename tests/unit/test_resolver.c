// SPDX-License-Identifier: MIT
/*
 * test_resolver.c - answers on the asker's ring: literals, loopback names, cache, limits, cancel,
 * want of memory.
 *
 * getaddrinfo() is replaced by one that knows a few names and can be told to hang, so that no test
 * needs a network and each can count the lookups.
 */
#include "failing_allocations.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/reason.h"
#include "ring/resolver.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the names there are ------------------------------------------------------------------ */

static _Atomic int lookups, hanging;
static _Atomic bool release;

struct fake {
	struct addrinfo info;
	struct sockaddr_storage address;
};

static struct addrinfo *fake_new(int family, const char *text, struct addrinfo *next)
{
	struct fake *fake = FAILING_REAL(calloc)(1, sizeof(*fake));
	struct sockaddr_in *in = (struct sockaddr_in *)&fake->address;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&fake->address;

	if (!fake)
		abort();
	fake->info.ai_family = fake->address.ss_family = (sa_family_t)family;
	fake->info.ai_addr = (struct sockaddr *)&fake->address;
	fake->info.ai_addrlen = family == AF_INET ? sizeof(*in) : sizeof(*in6);
	fake->info.ai_next = next;
	if (inet_pton(family, text,
		      family == AF_INET ? (void *)&in->sin_addr : &in6->sin6_addr) != 1)
		abort();
	return &fake->info;
}


/* The linker is not asked to wrap: these definitions come before libc's. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
		struct addrinfo **ret_list)
{
	(void)service;
	(void)hints;
	atomic_fetch_add(&lookups, 1);
	if (strncmp(host, "hang", 4) == 0) {
		atomic_fetch_add(&hanging, 1);
		while (!atomic_load(&release))
			(void)usleep(1000);
		atomic_fetch_sub(&hanging, 1);
	}
	if (strncmp(host, "missing", 7) == 0)
		return EAI_NONAME;
	if (strncmp(host, "later", 5) == 0)
		return EAI_AGAIN;
	if (strncmp(host, "many", 4) == 0) {
		*ret_list = NULL;
		for (int i = 0; i < 100; i++)
			*ret_list = fake_new(AF_INET, "192.0.2.7", *ret_list);
		return 0;
	}
	if (strncmp(host, "only4", 5) == 0) {
		*ret_list = fake_new(AF_INET, "192.0.2.4", NULL);
		return 0;
	}
	*ret_list = fake_new(AF_INET6, "2001:db8::1", fake_new(AF_INET, "192.0.2.1",
		    fake_new(AF_INET6, "2001:db8::2", fake_new(AF_INET, "192.0.2.2", NULL))));
	return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
	while (list) {
		struct addrinfo *next = list->ai_next;

		free(cv_container_of(list, struct fake, info));
		list = next;
	}
}

/* ---- asking ------------------------------------------------------------------------------- */

struct asker {
	struct cv_resolve_query query;
	int calls, result;
	size_t count;
	struct cv_sockaddr addresses[CV_RESOLVE_MAX];
};

static struct cv_ring *ring;
static struct cv_resolver *resolver;

static void answered(struct cv_resolve_query *query, int result,
		     const struct cv_sockaddr *addresses, size_t address_count)
{
	struct asker *asker = cv_container_of(query, struct asker, query);

	asker->calls++;
	asker->result = result;
	asker->count = address_count;
	assert_true(address_count <= CV_RESOLVE_MAX);
	if (address_count)
		memcpy(asker->addresses, addresses, address_count * sizeof(addresses[0]));
}

static void tick(struct cv_timer *timer)
{
	(void)timer;
}

static void turns(const int *count, int wanted, uint64_t ms)
{
	struct cv_timer guard = {.due = tick};
	uint64_t end_ms = cv_clock_ms() + ms;

	while (*count < wanted && cv_clock_ms() < end_ms) {
		cv_timer_arm(ring, &guard, cv_clock_ms() + 2);
		assert_int_equal(cv_ring_turn(ring), 0);
	}
	cv_timer_disarm(ring, &guard);
}

static struct asker ask(const char *host, uint16_t port, enum cv_resolve_strategy strategy)
{
	struct asker asker = {.query.done = answered};

	cv_resolve(resolver, ring, &asker.query, host, port, strategy);
	assert_int_equal(asker.calls, 0); /* never from inside */
	turns(&asker.calls, 1, 3000);
	assert_int_equal(asker.calls, 1);
	return asker;
}

static void assert_address(const struct asker *asker, size_t index, const char *wanted)
{
	char text[CV_DESTINATION_TEXT];

	assert_true(index < asker->count);
	cv_sockaddr_format(&asker->addresses[index], text);
	assert_string_equal(text, wanted);
}

static int set_up(void **state)
{
	const struct cv_resolver_config config = {
		.thread_count = 2,
		.cache_entries = 8,
		.ttl_ms = 300,
		.negative_ttl_ms = 100,
		.queue_limit = 4,
		.timeout_ms = *state ? 300 : 0,
	};
	const struct cv_ring_config ring_config = {
		.entry_count = 64,
		.buffer_count = 1,
		.buffer_bytes = 16,
	};

	atomic_store(&release, false);
	atomic_store(&lookups, 0);
	return cv_ring_new(&ring_config, &ring) || cv_resolver_new(&config, &resolver) ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	atomic_store(&release, true);
	resolver = cv_resolver_free(resolver);
	ring = cv_ring_free(ring);
	return 0;
}

/* ---- tests -------------------------------------------------------------------------------- */

static void literals_ask_nobody(void **state)
{
	struct asker asker = ask("192.0.2.9", 80, CV_RESOLVE_ANY);

	(void)state;
	assert_int_equal(asker.result, 0);
	assert_int_equal(asker.count, 1);
	assert_address(&asker, 0, "192.0.2.9:80");
	asker = ask("2001:db8::9", 443, CV_RESOLVE_V4); /* an address is not a name to choose for */
	assert_address(&asker, 0, "[2001:db8::9]:443");
	assert_int_equal(atomic_load(&lookups), 0);
}

static void localhost_is_loopback(void **state)
{
	struct asker asker = ask("localhost", 81, CV_RESOLVE_V4V6);

	(void)state;
	assert_int_equal(asker.count, 2);
	assert_address(&asker, 0, "127.0.0.1:81");
	assert_address(&asker, 1, "[::1]:81");
	asker = ask("Web.LocalHost", 81, CV_RESOLVE_V6);
	assert_int_equal(asker.count, 1);
	assert_address(&asker, 0, "[::1]:81");
	assert_int_equal(atomic_load(&lookups), 0);
	asker = ask("notlocalhost", 81, CV_RESOLVE_V4);
	assert_int_equal(atomic_load(&lookups), 1);
	assert_address(&asker, 0, "192.0.2.1:81");
}

static void strategies_filter_and_order(void **state)
{
	static const struct {
		enum cv_resolve_strategy strategy;
		size_t count;
		const char *addresses[4];
	} rows[] = {
		{CV_RESOLVE_ANY, 4,
		 {"[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "192.0.2.2:1"}},
		{CV_RESOLVE_V4, 2, {"192.0.2.1:1", "192.0.2.2:1"}},
		{CV_RESOLVE_V6, 2, {"[2001:db8::1]:1", "[2001:db8::2]:1"}},
		{CV_RESOLVE_V4V6, 4,
		 {"192.0.2.1:1", "192.0.2.2:1", "[2001:db8::1]:1", "[2001:db8::2]:1"}},
		{CV_RESOLVE_V6V4, 4,
		 {"[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1", "192.0.2.2:1"}},
	};
	struct asker asker;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		asker = ask("both.test", 1, rows[i].strategy);
		assert_int_equal(asker.result, 0);
		assert_int_equal(asker.count, rows[i].count);
		for (size_t a = 0; a < rows[i].count; a++)
			assert_address(&asker, a, rows[i].addresses[a]);
	}
	asker = ask("only4.test", 1, CV_RESOLVE_V6);
	assert_int_equal(asker.result, CV_UPSTREAM_RESOLVE);
	assert_int_equal(asker.count, 0);
	asker = ask("many.test", 1, CV_RESOLVE_ANY);
	assert_int_equal(asker.count, CV_RESOLVE_MAX);
}

static void cache_saves_lookups_until_it_expires(void **state)
{
	struct asker asker = ask("a.test", 1, CV_RESOLVE_ANY);

	(void)state;
	assert_int_equal(atomic_load(&lookups), 1);
	asker = ask("A.test", 2, CV_RESOLVE_V4); /* other port, strategy and case, same name */
	assert_int_equal(atomic_load(&lookups), 1);
	assert_address(&asker, 0, "192.0.2.1:2");
	(void)usleep(350000);
	asker = ask("a.test", 1, CV_RESOLVE_ANY);
	assert_int_equal(atomic_load(&lookups), 2);
	/* failures: remembered for a shorter time, passing ones not at all */
	asker = ask("missing.test", 1, CV_RESOLVE_ANY);
	assert_int_equal(asker.result, CV_UPSTREAM_RESOLVE);
	asker = ask("missing.test", 1, CV_RESOLVE_ANY);
	assert_int_equal(asker.result, CV_UPSTREAM_RESOLVE);
	assert_int_equal(atomic_load(&lookups), 3);
	(void)usleep(150000);
	asker = ask("missing.test", 1, CV_RESOLVE_ANY);
	assert_int_equal(atomic_load(&lookups), 4);
	(void)ask("later.test", 1, CV_RESOLVE_ANY);
	asker = ask("later.test", 1, CV_RESOLVE_ANY);
	assert_int_equal(asker.result, CV_UPSTREAM_RESOLVE);
	assert_int_equal(atomic_load(&lookups), 6);
}

/* However many want a name at once, and whoever of them leaves. */
static void one_lookup_for_all_who_wait(void **state)
{
	enum { ASKERS = 5 };
	struct asker askers[ASKERS];
	int none = 0;

	(void)state;
	memset(askers, 0, sizeof(askers));
	for (int i = 0; i < ASKERS; i++) {
		askers[i].query.done = answered;
		cv_resolve(resolver, ring, &askers[i].query, i % 2 ? "hang.TEST" : "hang.test",
			   (uint16_t)(i + 1), i % 2 ? CV_RESOLVE_V6 : CV_RESOLVE_V4);
		for (int wait = 0; wait < 1000 && atomic_load(&hanging) < 1; wait++)
			(void)usleep(1000);
	}
	cv_resolve_cancel(&askers[0].query); /* the one that made it be looked up */
	cv_resolve_cancel(&askers[3].query);
	atomic_store(&release, true);
	turns(&askers[1].calls, 1, 3000);
	turns(&none, 1, 50);
	assert_int_equal(atomic_load(&lookups), 1);
	for (int i = 0; i < ASKERS; i++)
		assert_int_equal(askers[i].calls, i != 0 && i != 3);
	assert_address(&askers[1], 0, "[2001:db8::1]:2");
	assert_address(&askers[2], 0, "192.0.2.1:3");
	assert_address(&askers[4], 0, "192.0.2.1:5");
	(void)ask("hang.test", 1, CV_RESOLVE_ANY);
	assert_int_equal(atomic_load(&lookups), 1);
}

static void cache_is_capped(void **state)
{
	char host[32];

	(void)state;
	for (int i = 0; i < 100; i++) {
		(void)snprintf(host, sizeof(host), "host%d.test", i);
		assert_int_equal(ask(host, 1, CV_RESOLVE_ANY).result, 0);
	}
	assert_int_equal(atomic_load(&lookups), 100);
	(void)ask("host0.test", 1, CV_RESOLVE_ANY); /* fresh, but there was no room to keep it */
	assert_int_equal(atomic_load(&lookups), 101);
}

static void queue_is_capped(void **state)
{
	enum { ASKERS = 10 }; /* 2 with the helpers, 4 in the queue, 4 refused */
	struct asker askers[ASKERS];
	int refused = 0, none = 0;
	char host[32];

	(void)state;
	memset(askers, 0, sizeof(askers));
	for (int i = 0; i < ASKERS; i++) {
		askers[i].query.done = answered;
		(void)snprintf(host, sizeof(host), "hang%d.test", i);
		cv_resolve(resolver, ring, &askers[i].query, host, 1, CV_RESOLVE_ANY);
		for (int wait = 0; i < 2 && wait < 1000 && atomic_load(&hanging) <= i; wait++)
			(void)usleep(1000);
	}
	turns(&none, 1, 50);
	for (int i = 0; i < ASKERS; i++) {
		refused += askers[i].calls;
		assert_true(!askers[i].calls || askers[i].result == CV_INTERNAL_RESOURCE);
	}
	assert_int_equal(refused, 4);
	/* needs no helper */
	assert_int_equal(ask("192.0.2.3", 1, CV_RESOLVE_ANY).result, 0);
	atomic_store(&release, true);
	for (int i = 0; i < ASKERS; i++) {
		turns(&askers[i].calls, 1, 3000);
		assert_int_equal(askers[i].calls, 1);
	}
}

/* The asker's memory is gone right after the cancel, wherever its query was. */
static void cancel_frees_the_asker(void **state)
{
	struct asker *working = calloc(1, sizeof(*working)), *queued = calloc(1, sizeof(*queued)),
		     *posted = calloc(1, sizeof(*posted)), *second = calloc(1, sizeof(*second));
	int none = 0;

	(void)state;
	assert_true(working && queued && posted && second);
	working->query.done = queued->query.done = answered;
	posted->query.done = second->query.done = answered;
	cv_resolve(resolver, ring, &working->query, "hang1.test", 1, CV_RESOLVE_ANY);
	cv_resolve(resolver, ring, &second->query, "hang2.test", 1, CV_RESOLVE_ANY);
	for (int wait = 0; wait < 1000 && atomic_load(&hanging) < 2; wait++)
		(void)usleep(1000);
	cv_resolve(resolver, ring, &queued->query, "hang3.test", 1, CV_RESOLVE_ANY);
	cv_resolve(resolver, ring, &posted->query, "192.0.2.1", 1, CV_RESOLVE_ANY);
	cv_resolve_cancel(&working->query);
	cv_resolve_cancel(&working->query);
	cv_resolve_cancel(&queued->query);
	cv_resolve_cancel(&posted->query);
	free(working);
	free(queued);
	free(posted);
	atomic_store(&release, true);
	turns(&second->calls, 1, 3000);
	assert_int_equal(second->calls, 1);
	turns(&none, 1, 50);
	assert_int_equal(atomic_load(&lookups), 2); /* what nobody waits for is not looked up */
	free(second);
}

/* Helpers still at work when everything ends neither leak nor write into what is gone. */
static void free_with_work_under_way(void **state)
{
	struct asker askers[3];

	(void)state;
	memset(askers, 0, sizeof(askers));
	for (int i = 0; i < 3; i++) {
		askers[i].query.done = answered;
		cv_resolve(resolver, ring, &askers[i].query, i < 2 ? "hang.test" : "a.test", 1,
			   CV_RESOLVE_ANY);
	}
	for (int i = 0; i < 3; i++)
		cv_resolve_cancel(&askers[i].query);
}

static void expires_at_its_deadline(void **state)
{
	struct asker asker = {.query.done = answered};
	uint64_t started_ms = cv_clock_ms();

	(void)state;
	cv_resolve(resolver, ring, &asker.query, "hang.test", 1, CV_RESOLVE_ANY);
	turns(&asker.calls, 1, 3000);
	assert_int_equal(asker.calls, 1);
	assert_int_equal(asker.result, CV_UPSTREAM_TIMEOUT);
	assert_in_range(cv_clock_ms() - started_ms, 270, 1000);
	atomic_store(&release, true);
	turns(&asker.calls, 2, 50); /* the late answer goes nowhere */
	assert_int_equal(asker.calls, 1);
}

static void too_long_a_name_is_refused(void **state)
{
	char host[400];

	(void)state;
	memset(host, 'a', sizeof(host) - 1);
	host[sizeof(host) - 1] = '\0';
	assert_int_equal(ask(host, 1, CV_RESOLVE_ANY).result, CV_INTERNAL_RESOURCE);
}

/* Of the asker, then of the helpers: there is an answer each time, and a whole one afterwards. */
static void without_memory(void **state)
{
	unsigned failures[] = {0, 0};

	(void)state;
	for (int helpers = 0; helpers < 2; helpers++) {
		bool was_needed = true;

		for (int n = 1; was_needed; n++) {
			struct asker asker;
			char host[32];

			(void)snprintf(host, sizeof(host), "name%d-%d.test", helpers, n);
			failing_begin(helpers ? FAILING_OTHERS : FAILING_ME, n, 1);
			asker = ask(host, 1, CV_RESOLVE_ANY);
			was_needed = failing_end();
			failures[helpers] += was_needed;
			assert_int_equal(asker.result ? asker.result : CV_INTERNAL_RESOURCE,
					 CV_INTERNAL_RESOURCE);
			assert_int_equal(asker.count, asker.result ? 0 : 4);
			asker = ask(host, 1, CV_RESOLVE_ANY);
			assert_int_equal(asker.result, 0);
			assert_int_equal(asker.count, 4);
		}
	}
	assert_true(failures[0] > 0 && failures[1] > 0);
}

/* A resolver that resolves, or none and an error; ends with the one that all is there for. */
static void started_without_memory(void **state)
{
	const struct cv_resolver_config config = {
		.thread_count = 2, .thread_most = 4, .cache_entries = 8, .queue_limit = 4};
	bool was_needed = true;
	unsigned refused = 0;

	(void)state;
	for (int n = 1; was_needed; n++) {
		int error;

		resolver = cv_resolver_free(resolver);
		failing_begin(FAILING_ME, n, 1);
		error = cv_resolver_new(&config, &resolver);
		was_needed = failing_end();
		assert_true(error ? was_needed && !resolver : resolver != NULL);
		refused += error != 0;
		if (!error)
			assert_int_equal(ask("name.test", 1, CV_RESOLVE_ANY).result, 0);
	}
	assert_true(refused >= 4);
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_RIG(literals_ask_nobody),
		WITH_RIG(localhost_is_loopback),
		WITH_RIG(strategies_filter_and_order),
		WITH_RIG(cache_saves_lookups_until_it_expires),
		WITH_RIG(one_lookup_for_all_who_wait),
		WITH_RIG(cache_is_capped),
		WITH_RIG(queue_is_capped),
		WITH_RIG(cancel_frees_the_asker),
		WITH_RIG(free_with_work_under_way),
		WITH_RIG(too_long_a_name_is_refused),
		WITH_RIG(without_memory),
		WITH_RIG(started_without_memory),
		cmocka_unit_test_prestate_setup_teardown(expires_at_its_deadline, set_up, tear_down,
							 &ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
