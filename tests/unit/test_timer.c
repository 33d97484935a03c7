// SPDX-License-Identifier: MIT
/*
 * test_timer.c - deadlines against a plain list of what should be due.
 */
#include "base/clock.h"
#include "base/container.h"
#include "ring/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TIMERS = 500 };

struct alarm {
	struct cv_timer timer;
	struct cv_ring *ring;
	uint64_t due_ms; /* what the test armed; 0 = should not fire */
	int fired;
	struct alarm *victim;
};

static uint64_t last_due_ms;
static int fired_count;

static struct cv_ring *ring_new(void)
{
	const struct cv_ring_config config = {
		.entry_count = 8, .buffer_count = 1, .buffer_bytes = 16};
	struct cv_ring *ring = NULL;

	assert_int_equal(cv_ring_new(&config, &ring), 0);
	return ring;
}

static void due(struct cv_timer *timer)
{
	struct alarm *alarm = cv_container_of(timer, struct alarm, timer);

	assert_int_equal(timer->heap_index, 0);
	assert_true(alarm->due_ms != 0);
	assert_int_equal(timer->due_ms, alarm->due_ms);
	assert_true(cv_ring_now_ms(alarm->ring) >= alarm->due_ms);
	assert_true(alarm->due_ms >= last_due_ms); /* in order */
	last_due_ms = alarm->due_ms;
	alarm->due_ms = 0;
	alarm->fired++;
	fired_count++;
}

static void random_arms_and_disarms(void **state)
{
	struct cv_ring *ring = ring_new();
	struct alarm *alarms = calloc(TIMERS, sizeof(*alarms));
	uint64_t start_ms = cv_ring_now_ms(ring);
	int expected = 0;

	(void)state;
	assert_non_null(alarms);
	srand(7);
	last_due_ms = 0;
	fired_count = 0;
	for (int step = 0; step < 20 * TIMERS; step++) {
		struct alarm *alarm = &alarms[rand() % TIMERS];

		alarm->ring = ring;
		alarm->timer.due = due;
		if (rand() % 3) {
			alarm->due_ms = start_ms + 1 + (uint64_t)(rand() % 150);
			cv_timer_arm(ring, &alarm->timer, alarm->due_ms);
		} else {
			alarm->due_ms = 0;
			cv_timer_disarm(ring, &alarm->timer);
		}
		assert_true((alarm->timer.heap_index != 0) == (alarm->due_ms != 0));
	}
	for (int i = 0; i < TIMERS; i++)
		expected += alarms[i].due_ms != 0;
	assert_true(expected > TIMERS / 3);
	while (fired_count < expected && cv_clock_ms() < start_ms + 5000)
		assert_int_equal(cv_ring_turn(ring), 0);
	assert_int_equal(fired_count, expected);
	for (int i = 0; i < TIMERS; i++)
		assert_int_equal(alarms[i].due_ms, 0);
	free(alarms);
	cv_ring_free(ring);
}

static void due_again(struct cv_timer *timer)
{
	struct alarm *alarm = cv_container_of(timer, struct alarm, timer);

	alarm->fired++;
	cv_timer_arm(alarm->ring, timer, cv_ring_now_ms(alarm->ring));
}

/* A timer that arms itself for now must not keep the turn from ending. */
static void rearming_for_now_waits_for_the_next_turn(void **state)
{
	struct alarm alarm = {.timer.due = due_again, .ring = ring_new()};

	(void)state;
	cv_timer_arm(alarm.ring, &alarm.timer, 0);
	for (int i = 1; i <= 5; i++) {
		assert_int_equal(cv_ring_turn(alarm.ring), 0);
		assert_int_equal(alarm.fired, i);
	}
	cv_timer_disarm(alarm.ring, &alarm.timer);
	cv_timer_disarm(alarm.ring, &alarm.timer);
	cv_ring_free(alarm.ring);
}

static void due_kills(struct cv_timer *timer)
{
	struct alarm *alarm = cv_container_of(timer, struct alarm, timer);

	alarm->fired++;
	cv_timer_disarm(alarm->ring, &alarm->victim->timer);
	free(alarm->victim);
}

/* The owner of another due timer may be freed by the first. */
static void due_may_disarm_another_due_timer(void **state)
{
	struct alarm alarm = {.timer.due = due_kills, .ring = ring_new()};

	(void)state;
	alarm.victim = calloc(1, sizeof(*alarm.victim));
	assert_non_null(alarm.victim);
	alarm.victim->timer.due = due;
	cv_timer_arm(alarm.ring, &alarm.timer, 1);
	cv_timer_arm(alarm.ring, &alarm.victim->timer, 2);
	assert_int_equal(cv_ring_turn(alarm.ring), 0);
	assert_int_equal(alarm.fired, 1);
	cv_ring_free(alarm.ring);
}

static void turns_wait_as_long_as_told(void **state)
{
	struct alarm alarm = {.timer.due = due, .ring = ring_new()};
	uint64_t start_ms = cv_clock_ms(), took_ms;
	int turns = 0;

	(void)state;
	last_due_ms = 0;
	alarm.due_ms = start_ms + 120;
	cv_timer_arm(alarm.ring, &alarm.timer, alarm.due_ms);
	for (; !alarm.fired && turns < 1000; turns++)
		assert_int_equal(cv_ring_turn(alarm.ring), 0);
	took_ms = cv_clock_ms() - start_ms;
	assert_in_range(took_ms, 120, 1000);
	assert_true(turns <= 5); /* asleep, not spinning */
	cv_ring_free(alarm.ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_arms_and_disarms),
		cmocka_unit_test(rearming_for_now_waits_for_the_next_turn),
		cmocka_unit_test(due_may_disarm_another_due_timer),
		cmocka_unit_test(turns_wait_as_long_as_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
