// SPDX-License-Identifier: MIT
/*
 * test_choice.c - the rule of choice.h, each condition alone.
 */
#include "engine/choice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* A session that is promoted. */
static struct cv_choice_input promoted(void)
{
	return (struct cv_choice_input){
		.mode = CV_CHOICE_AUTO,
		.sockmap = CV_SOCKMAP_USABLE,
		.both_active = true,
		.age_ms = CV_CHOICE_AGE_MS,
		.busy_flows = CV_CHOICE_FLOWS,
		.direction = {{.bytes = 64u << 20, .wakes = 64, .packet_bytes = 32768},
			      {.bytes = 1000, .wakes = 9, .packet_bytes = 536}},
	};
}

static enum cv_choice_why why_of(const struct cv_choice_input *input)
{
	enum cv_choice_why why;
	bool promotes = cv_choice_promotes(input, &why);

	assert_int_equal(promotes, why == CV_WHY_PROMOTING);
	return why;
}

static void busy_and_calm_is_promoted(void **state)
{
	struct cv_choice_input input = promoted();

	(void)state;
	assert_int_equal(why_of(&input), CV_WHY_PROMOTING);
}

static void each_condition_counts(void **state)
{
	struct cv_choice_input input;

	(void)state;
#define EXPECT(change, why)                                                                        \
	input = promoted();                                                                        \
	input.change;                                                                              \
	assert_int_equal(why_of(&input), why)
	EXPECT(mode = CV_CHOICE_COPY, CV_WHY_CONFIGURED);
	EXPECT(mode = CV_CHOICE_SPLICE, CV_WHY_CONFIGURED);
	EXPECT(sockmap = CV_SOCKMAP_ABSENT, CV_WHY_ABSENT);
	EXPECT(sockmap = CV_SOCKMAP_TESTING, CV_WHY_TESTING);
	EXPECT(sockmap = CV_SOCKMAP_FAILED, CV_WHY_TEST_FAILED);
	EXPECT(refused = true, CV_WHY_REFUSED);
	EXPECT(both_active = false, CV_WHY_ONE_WAY);
	EXPECT(age_ms = CV_CHOICE_AGE_MS - 1, CV_WHY_YOUNG);
	EXPECT(busy_flows = CV_CHOICE_FLOWS - 1, CV_WHY_FEW_FLOWS);
	EXPECT(busy_flows = CV_CHOICE_FLOWS_MAX + 1, CV_WHY_MANY_FLOWS);
	EXPECT(direction[0].bytes = CV_CHOICE_BYTES - 1, CV_WHY_QUIET);
	EXPECT(direction[0].wakes = CV_CHOICE_WAKES - 1, CV_WHY_QUIET);
	EXPECT(direction[0].wakes = 5000, CV_WHY_SMALL_PACKETS);
	EXPECT(direction[0].packet_bytes = 1448, CV_WHY_SMALL_PACKETS);
	EXPECT(direction[1] = input.direction[0], CV_WHY_BOTH_WAYS);
	EXPECT(direction[0].fulls = 1, CV_WHY_SLOW_RECEIVER);
	EXPECT(direction[1].fulls = 1, CV_WHY_SLOW_RECEIVER);
#undef EXPECT
}

static void sockmap_by_configuration_asks_for_no_traffic(void **state)
{
	struct cv_choice_input input = {
		.mode = CV_CHOICE_SOCKMAP,
		.sockmap = CV_SOCKMAP_USABLE,
		.both_active = true,
	};

	(void)state;
	assert_int_equal(why_of(&input), CV_WHY_PROMOTING);
	input.sockmap = CV_SOCKMAP_FAILED;
	assert_int_equal(why_of(&input), CV_WHY_TEST_FAILED);
}

static void every_why_has_a_text(void **state)
{
	(void)state;
	assert_string_equal(cv_choice_text(CV_WHY_BEST), "");
	for (int why = CV_WHY_CONFIGURED; why <= CV_WHY_PROMOTING; why++)
		assert_true(strlen(cv_choice_text(why)) > 5);
}

static void modes_by_name(void **state)
{
	(void)state;
	assert_int_equal(cv_choice_mode("auto"), CV_CHOICE_AUTO);
	assert_int_equal(cv_choice_mode("copy"), CV_CHOICE_COPY);
	assert_int_equal(cv_choice_mode("splice"), CV_CHOICE_SPLICE);
	assert_int_equal(cv_choice_mode("sockmap"), CV_CHOICE_SOCKMAP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(busy_and_calm_is_promoted),
		cmocka_unit_test(each_condition_counts),
		cmocka_unit_test(sockmap_by_configuration_asks_for_no_traffic),
		cmocka_unit_test(every_why_has_a_text),
		cmocka_unit_test(modes_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
