// SPDX-License-Identifier: MIT
/*
 * test_target_profile.c - the variant of a handshake, and whose list stands in for an unknown one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "protocol/target_profile.h"
#include "wire/client_hello.h"

static void variants_of_handshakes(void **state)
{
	(void)state;
	assert_int_equal(cv_target_variant_of(CV_GROUP_X25519MLKEM768, 0x1301),
			 CV_TARGET_HYBRID_SHA256);
	assert_int_equal(cv_target_variant_of(CV_GROUP_X25519MLKEM768, 0x1303),
			 CV_TARGET_HYBRID_SHA256);
	assert_int_equal(cv_target_variant_of(CV_GROUP_X25519MLKEM768, 0x1302),
			 CV_TARGET_HYBRID_SHA384);
	assert_int_equal(cv_target_variant_of(CV_GROUP_X25519, 0x1301), CV_TARGET_CLASSIC_SHA256);
	assert_int_equal(cv_target_variant_of(CV_GROUP_X25519, 0x1303), CV_TARGET_CLASSIC_SHA256);
	assert_int_equal(cv_target_variant_of(CV_GROUP_X25519, 0x1302), CV_TARGET_CLASSIC_SHA384);
	assert_string_equal(cv_target_variant_name(CV_TARGET_CLASSIC_SHA384), "classic, SHA-384");
	assert_string_equal(cv_target_variant_name(CV_TARGET_VARIANTS), "?");
}

/* Takes away the list that was answered, until none is left. */
static void expect_order(enum cv_target_variant wanted, const enum cv_target_variant order[4])
{
	struct cv_target_profile profile = {.ccs_limit = 32};

	for (int i = 0; i < CV_TARGET_VARIANTS; i++)
		profile.after[i].known = true;
	for (int i = 0; i < CV_TARGET_VARIANTS; i++) {
		assert_ptr_equal(cv_target_profile_after(&profile, wanted),
				 &profile.after[order[i]]);
		profile.after[order[i]].known = false;
	}
	assert_int_equal(cv_target_profile_after(&profile, wanted)->count, 0);
}

static void the_nearest_list_stands_in(void **state)
{
	static const enum cv_target_variant orders[CV_TARGET_VARIANTS][4] = {
		{CV_TARGET_HYBRID_SHA256, CV_TARGET_CLASSIC_SHA256, CV_TARGET_HYBRID_SHA384,
		 CV_TARGET_CLASSIC_SHA384},
		{CV_TARGET_HYBRID_SHA384, CV_TARGET_CLASSIC_SHA384, CV_TARGET_HYBRID_SHA256,
		 CV_TARGET_CLASSIC_SHA256},
		{CV_TARGET_CLASSIC_SHA256, CV_TARGET_HYBRID_SHA256, CV_TARGET_CLASSIC_SHA384,
		 CV_TARGET_HYBRID_SHA384},
		{CV_TARGET_CLASSIC_SHA384, CV_TARGET_HYBRID_SHA384, CV_TARGET_CLASSIC_SHA256,
		 CV_TARGET_HYBRID_SHA256},
	};

	(void)state;
	for (int i = 0; i < CV_TARGET_VARIANTS; i++)
		expect_order((enum cv_target_variant)i, orders[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(variants_of_handshakes),
		cmocka_unit_test(the_nearest_list_stands_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
