// SPDX-License-Identifier: MIT
/*
 * test_reverse.c - which tunnel, when to drain, when to open one more, when to try again; what the
 * workers of a portal know of each other.
 */
#include "policy/reverse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void test_pick(void **state)
{
	const struct cv_tunnel_view three[] = {{.streams = 3}, {.streams = 1}, {.streams = 1}};
	const struct cv_tunnel_view drained[] = {
		{.streams = 0, .draining = true}, {.streams = 90}, {.streams = 80}};
	const struct cv_tunnel_view only_drained[] = {
		{.streams = 5, .draining = true}, {.streams = 4, .draining = true}};
	const struct cv_tunnel_view unusable[] = {
		{.streams = 0, .lost = true}, {.streams = 0, .total = CV_REVERSE_IDS_MAX}};

	(void)state;
	assert_int_equal(cv_reverse_pick(three, COUNT(three)), 1);
	assert_int_equal(cv_reverse_pick(drained, COUNT(drained)), 2);
	assert_int_equal(cv_reverse_pick(only_drained, COUNT(only_drained)), 1);
	assert_int_equal(cv_reverse_pick(unusable, COUNT(unusable)), CV_REVERSE_NO_TUNNEL);
	assert_int_equal(cv_reverse_pick(NULL, 0), CV_REVERSE_NO_TUNNEL);
}

/* Spread one by one, no tunnel has two more than another. */
static void test_balance(void **state)
{
	struct cv_tunnel_view tunnels[5] = {0};

	(void)state;
	for (int i = 0; i < 1003; i++)
		tunnels[cv_reverse_pick(tunnels, 5)].streams++;
	for (size_t i = 0; i < 5; i++)
		assert_in_range(tunnels[i].streams, 200, 201);
}

static void test_drain(void **state)
{
	(void)state;
	assert_false(cv_reverse_is_worn(256));
	assert_true(cv_reverse_is_worn(257));
}

static void test_more(void **state)
{
	(void)state;
	assert_true(cv_reverse_wants_more(0, 0));
	assert_true(cv_reverse_wants_more(0, 500));
	assert_false(cv_reverse_wants_more(1, 1));
	assert_false(cv_reverse_wants_more(1, 16));
	assert_true(cv_reverse_wants_more(1, 17));
	assert_false(cv_reverse_wants_more(2, 33)); /* 16 each, as whole numbers go */
	assert_true(cv_reverse_wants_more(2, 34));
}

/* The first worker opens the first tunnel, then each in turn; who lost one may as well. */
static void test_opens(void **state)
{
	struct cv_bridge_view view = {.worker_count = 3};

	(void)state;
	assert_false(cv_reverse_opens(&view));
	view.is_first = true;
	assert_true(cv_reverse_opens(&view));
	for (uint32_t active = 1; active < 9; active++)
		for (view.worker = 0; view.worker < 3; view.worker++) {
			view.active = active;
			view.streams = 17 * active;
			assert_int_equal(cv_reverse_opens(&view), active % 3 == view.worker);
			view.streams--;
			assert_false(cv_reverse_opens(&view));
		}
}

static void test_silence(void **state)
{
	(void)state;
	assert_false(cv_reverse_is_silent(1000, 60999, false));
	assert_true(cv_reverse_is_silent(1000, 61000, false));
	assert_false(cv_reverse_is_silent(1000, 61000, true));
	assert_true(cv_reverse_is_silent(1000, 1000 + CV_REVERSE_DRAINED_MS, true));
}

/* Service is back within three seconds of the portal. */
static void test_retry(void **state)
{
	(void)state;
	assert_int_equal(cv_reverse_retry_ms(1, 0), 200);
	assert_int_equal(cv_reverse_retry_ms(1, 65535), 200);
	for (uint32_t failures = 1; failures < 100; failures++)
		for (uint32_t jitter = 0; jitter < 65536; jitter += 77) {
			const uint32_t wait_ms = cv_reverse_retry_ms(failures, jitter);

			assert_in_range(wait_ms, 200, 2000);
			assert_true(wait_ms >= cv_reverse_retry_ms(1, 0));
		}
	assert_in_range(cv_reverse_retry_ms(UINT32_MAX, 499), 1500, 2000);
}

static void test_portal(void **state)
{
	struct cv_portal *portal = cv_portal_new("Tunnel.Test", "reverse");
	struct cv_destination destination;

	(void)state;
	assert_non_null(portal);
	assert_string_equal(cv_portal_domain(portal), "Tunnel.Test");
	assert_string_equal(cv_portal_control_domain(portal), "reverse");
	assert_int_equal(cv_destination_set_text(&destination, "tunnel.test", 0), 0);
	assert_true(cv_portal_is_tunnel(portal, &destination));
	assert_int_equal(cv_destination_set_text(&destination, "a.tunnel.test", 0), 0);
	assert_false(cv_portal_is_tunnel(portal, &destination));
	assert_int_equal(cv_destination_set_text(&destination, "192.0.2.1", 0), 0);
	assert_false(cv_portal_is_tunnel(portal, &destination));
	assert_ptr_equal(cv_portal_share(portal), portal);
	assert_null(cv_portal_free(portal));
	assert_string_equal(cv_portal_domain(portal), "Tunnel.Test");
	assert_null(cv_portal_free(portal));
	assert_null(cv_portal_free(NULL));
}

static void remember(void *worker, void *context)
{
	*(void **)context = worker;
}

/* The worker, and that its place is told. */
static bool elsewhere(struct cv_portal *portal, size_t place, void **ret_worker)
{
	const size_t found = cv_portal_elsewhere(portal, place, remember, ret_worker);

	assert_int_equal(cv_portal_has_tunnel(portal, found), found < CV_PORTAL_PLACES);
	assert_int_not_equal(found, place);
	return found < CV_PORTAL_PLACES;
}

static void test_elsewhere(void **state)
{
	struct cv_portal *portal = cv_portal_new("t.test", "reverse");
	int workers[4];
	void *found = NULL;
	uint32_t active, draining;

	(void)state;
	assert_false(elsewhere(portal, 0, &found));
	cv_portal_note(portal, 0, &workers[0], 1, 0);
	assert_false(elsewhere(portal, 0, &found)); /* not here */
	assert_true(elsewhere(portal, 1, &found));
	assert_ptr_equal(found, &workers[0]);
	cv_portal_note(portal, 2, &workers[2], 0, 3);
	for (int i = 0; i < 3; i++) { /* those that drain only in need */
		assert_true(elsewhere(portal, 1, &found));
		assert_ptr_equal(found, &workers[0]);
	}
	assert_true(elsewhere(portal, 0, &found));
	assert_ptr_equal(found, &workers[2]);
	cv_portal_note(portal, 3, &workers[3], 2, 0);
	for (int i = 0, first = 0, third = 0; i < 10; i++) { /* in turn */
		assert_true(elsewhere(portal, 1, &found));
		first += found == &workers[0];
		third += found == &workers[3];
		assert_in_range(first - third + 1, 0, 2);
	}
	cv_portal_count(portal, &active, &draining);
	assert_int_equal(active, 3);
	assert_int_equal(draining, 3);
	cv_portal_note(portal, 0, &workers[0], 0, 0);
	cv_portal_note(portal, 3, &workers[3], 0, 0);
	cv_portal_note(portal, CV_PORTAL_PLACES, &workers[1], 1, 1); /* nobody's place */
	assert_true(elsewhere(portal, 1, &found));
	assert_ptr_equal(found, &workers[2]);
	cv_portal_free(portal);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pick),	  cmocka_unit_test(test_balance),
		cmocka_unit_test(test_drain),	  cmocka_unit_test(test_more),
		cmocka_unit_test(test_opens),	  cmocka_unit_test(test_silence),
		cmocka_unit_test(test_retry),	  cmocka_unit_test(test_portal),
		cmocka_unit_test(test_elsewhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
