// SPDX-License-Identifier: MIT
/* test_reason.c - every reason has an index, a label and a text, and nothing else does. */
#include "base/reason.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_index_round_trips(void **state)
{
	(void)state;
	assert_true(cv_reason_count() > 60);
	for (size_t i = 0; i < cv_reason_count(); i++)
		assert_int_equal(cv_reason_index(cv_reason_at(i)), (int)i);
	assert_int_equal(cv_reason_at(cv_reason_count()), CV_INTERNAL_STATE);
	assert_int_equal(cv_reason_index(0), -1);
	assert_int_equal(cv_reason_index(-EPIPE), -1);
	assert_int_equal(cv_reason_index(-2000), -1);
	assert_int_equal(cv_reason_index(2001), -1);
}

static void test_labels_are_stable_and_unique(void **state)
{
	(void)state;
	assert_string_equal(cv_reason_label(CV_PEER_SHORT_ID), "peer_short_id");
	assert_string_equal(cv_reason_label(CV_TARGET_NOT_TLS13), "target_not_tls13");
	assert_string_equal(cv_reason_label(CV_UPSTREAM_REAL_CERTIFICATE),
			    "upstream_real_certificate");
	assert_string_equal(cv_reason_label(0), "ok");
	assert_string_equal(cv_reason_label(-EPIPE), "errno");
	assert_string_equal(cv_reason_label(-9999), "unknown");
	assert_string_equal(cv_reason_label(1), "unknown");
	for (size_t i = 0; i < cv_reason_count(); i++) {
		const char *label = cv_reason_label(cv_reason_at(i));

		assert_int_equal(strspn(label, "abcdefghijklmnopqrstuvwxyz0123456789_"),
				 strlen(label));
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(label, cv_reason_label(cv_reason_at(j)));
	}
}

static void test_texts(void **state)
{
	(void)state;
	assert_string_equal(cv_reason_text(CV_PEER_REPLAY), "ClientHello was seen before");
	assert_string_equal(cv_reason_text(-ENOENT), "No such file or directory");
	assert_string_equal(cv_reason_text(0), "success");
	assert_string_equal(cv_reason_text(-1999), "unknown reason");
	assert_string_equal(cv_reason_text(-2999), "unknown reason");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_index_round_trips),
		cmocka_unit_test(test_labels_are_stable_and_unique),
		cmocka_unit_test(test_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
