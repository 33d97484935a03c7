// SPDX-License-Identifier: MIT
/* test_replay_cache.c - remembered for a window, forgotten after two, bounded, and by one thread
 * only. */
#include "policy/replay_cache.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define WINDOW_MS 1000
#define NOW_MS 1700000000000

static bool seen(struct cv_replay_cache *cache, uint32_t hello, uint64_t now_ms)
{
	uint8_t random[32] = {0}, session_id[32] = {0};

	memcpy(random + 3, &hello, sizeof(hello));
	return cv_replay_cache_seen(cache, random, session_id, now_ms);
}

static void test_once(void **state)
{
	struct cv_replay_cache *cache = cv_replay_cache_new(WINDOW_MS, CV_REPLAY_ENTRIES);
	uint8_t random[32] = {1}, session_id[32] = {2};

	(void)state;
	assert_false(cv_replay_cache_seen(cache, random, session_id, NOW_MS));
	assert_true(cv_replay_cache_seen(cache, random, session_id, NOW_MS));
	session_id[31] ^= 1;
	assert_false(cv_replay_cache_seen(cache, random, session_id, NOW_MS));
	random[0] ^= 1;
	assert_false(cv_replay_cache_seen(cache, random, session_id, NOW_MS));
	assert_null(cv_replay_cache_free(cache));
}

/* Whatever the phase of the generations, a hello is known for a whole window. */
static void test_window(void **state)
{
	(void)state;
	for (uint64_t phase = 0; phase < WINDOW_MS; phase += 37) {
		struct cv_replay_cache *cache = cv_replay_cache_new(WINDOW_MS, CV_REPLAY_ENTRIES);

		seen(cache, 0, NOW_MS);
		assert_false(seen(cache, 1, NOW_MS + phase));
		assert_true(seen(cache, 1, NOW_MS + phase + WINDOW_MS - 1));
		cv_replay_cache_free(cache);
	}
}

static void test_forgotten(void **state)
{
	struct cv_replay_cache *cache = cv_replay_cache_new(WINDOW_MS, CV_REPLAY_ENTRIES);
	uint32_t forgotten = 0;

	(void)state;
	for (uint32_t i = 0; i < 100; i++)
		assert_false(seen(cache, i, NOW_MS));
	/* every shard must be visited twice to turn twice */
	for (uint32_t i = 1000; i < 2000; i++)
		seen(cache, i, NOW_MS + WINDOW_MS);
	for (uint32_t i = 2000; i < 3000; i++)
		seen(cache, i, NOW_MS + 2 * WINDOW_MS);
	for (uint32_t i = 0; i < 100; i++)
		forgotten += !seen(cache, i, NOW_MS + 2 * WINDOW_MS);
	assert_int_equal(forgotten, 100);
	cv_replay_cache_free(cache);
}

static void test_clock_jumps_back(void **state)
{
	struct cv_replay_cache *cache = cv_replay_cache_new(WINDOW_MS, CV_REPLAY_ENTRIES);

	(void)state;
	assert_false(seen(cache, 1, NOW_MS));
	assert_true(seen(cache, 1, NOW_MS - 3600000));
	assert_true(seen(cache, 1, NOW_MS - 3600000 + WINDOW_MS));
	cv_replay_cache_free(cache);
}

/* Memory is bounded: a flood pushes out the oldest, the newest are still there. */
static void test_flood(void **state)
{
	struct cv_replay_cache *cache = cv_replay_cache_new(WINDOW_MS, 512);
	uint32_t kept = 0;

	(void)state;
	for (uint32_t i = 0; i < 100000; i++)
		assert_false(seen(cache, i, NOW_MS));
	for (uint32_t i = 100000 - 256; i < 100000; i++)
		kept += seen(cache, i, NOW_MS);
	assert_int_equal(kept, 256);
	assert_false(seen(cache, 0, NOW_MS));
	cv_replay_cache_free(cache);
}

struct race {
	struct cv_replay_cache *cache;
	_Atomic uint32_t first_count;
};

static void *racer(void *opaque)
{
	struct race *race = opaque;

	for (uint32_t i = 0; i < 5000; i++)
		if (!seen(race->cache, i, NOW_MS))
			atomic_fetch_add(&race->first_count, 1);
	return NULL;
}

/* Of all threads that see a hello exactly one is the first. */
static void test_threads(void **state)
{
	struct race race = {.cache = cv_replay_cache_new(WINDOW_MS, CV_REPLAY_ENTRIES)};
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, racer, &race), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(race.first_count, 5000);
	cv_replay_cache_free(race.cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_once),      cmocka_unit_test(test_window),
		cmocka_unit_test(test_forgotten), cmocka_unit_test(test_clock_jumps_back),
		cmocka_unit_test(test_flood),     cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
