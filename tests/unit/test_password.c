// SPDX-License-Identifier: MIT
/* test_password.c - stored forms made by other programs (mkpasswd, openssl passwd, argon2), damaged
 * ones, and our own. */
#include "policy/password.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PASSWORD "wonder land"

static const char *const hashes[] = {
	"$gy$j75$f3BoQwGsnTU7GFijuUGKc1$c362rUfjXcMSR6CgvA/1iqcqeQ.fMT8xgn48XQH1Gh1",
	"$y$j75$kniiUjRfAQcso2GJKhP2Y.$So2eoKMPTTLHcJvyYNtvV7L2Ev3RAspBwV74pr/4CX7",
	"$7$BU..../....bQPIzx/RViEN4VmYldzxY/$DROmuR57vGQndP5P3YjaeSKmm5WCCl05KfZ3wn3qUlA",
	"$6$rounds=1000$saltsalt$HeeY2h83O8h5kGhKiIOb4wQVs8EqnQ53ypYJdig7jLcxH1ed5zDHP7fq"
	"26gJUh2kpVVsk6k0.wHbt2ZhKgKzQ/",
	"$6$abc$iQFHHWJOI40scu4Gylo.RUX5qq2J0kAQ9qk8M8JCig3MKOyGfg6xrt2X0zi9IVWqPDD3hf2iC"
	"/X.tKtPW3NS60",
	"$5$abcdef$96B4YiuAhYKgAQVHmcG3ESWmVBfjds1jQnUEpquVMZ0",
	"$2b$05$0qWgBbN/gioCi7xubSjIVeQLG4WqvKkGBH2Z.2hDKEgrDNun281/O",
	"$2a$05$iAHMFgrVFcXsK3hwPR1N5.vRAWcPllis9HDRa6ShNLMG6vmaFFmNi",
	"$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$sj+pdJPlGqX9nWGkct+QhqQLstxzh1qmQMg"
	"XEHebz2s",
	"$argon2id$v=19$m=256,t=2,p=2$MDEyMzQ1Njc4OWFiY2RlZg$a+paETtb5LCx+Cl1nEC0rg6weoLr"
	"xw3BWxa/bsO8DUkZS4nngjSEAEGZD9K8m5+safa4wnanouQNHPNbjrhczg",
};

static bool verify(const char *stored, const char *password)
{
	return cv_password_verify(stored, password, strlen(password));
}

static void test_hashes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(hashes) / sizeof(hashes[0]); i++) {
		assert_null(cv_password_flaw(hashes[i]));
		assert_false(cv_password_is_plain(hashes[i]));
		if (!verify(hashes[i], PASSWORD))
			fail_msg("%s", hashes[i]);
		assert_false(verify(hashes[i], "wonder lane"));
		assert_false(verify(hashes[i], ""));
		assert_false(verify(hashes[i], hashes[i]));
		assert_false(cv_password_verify(hashes[i], PASSWORD "\0", sizeof(PASSWORD)));
	}
}

/* Any character that is missing or wrong is told, or makes it another password's hash. */
static void test_damaged(void **state)
{
	char text[CV_PASSWORD_STORED];

	(void)state;
	for (size_t i = 0; i < sizeof(hashes) / sizeof(hashes[0]); i++) {
		const size_t len = strlen(hashes[i]);

		snprintf(text, sizeof(text), "%s", hashes[i]);
		text[len - 1] = '\0';
		if (!strstr(text, "argon2") && !cv_password_flaw(text))
			fail_msg("%s", text);
		assert_false(verify(text, PASSWORD));
		*strrchr(text, '$') = '\0';
		assert_non_null(cv_password_flaw(text));
		assert_false(verify(text, PASSWORD));
		snprintf(text, sizeof(text), "%s", hashes[i]);
		text[len - 2] = text[len - 2] == 'a' ? 'b' : 'a';
		assert_false(verify(text, PASSWORD));
		text[len - 2] = '!';
		assert_false(verify(text, PASSWORD));
	}
}

static void test_refused_forms(void **state)
{
	static const char *const refused[] = {
		"", "{plain}", "$", "$$", "$1$abc$O7SbpwjRTRrbJ3UzeXgZK/", "$6$", "$y$j9T$secret",
		"$2b$05$", "$argon2id$", "$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0",
		"$argon2id$v=19$m=64,t=1,p=1$c2FsdA", "$argon2id$v=16$m=64,t=1,p=1$c2FsdHNhbHQ$"
						     "c2FsdHNhbHRzYWx0",
		"$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0",
		"$argon2id$v=19$m=64,t=99999,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0",
	};
	char text[1024];

	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		if (!cv_password_flaw(refused[i]))
			fail_msg("%s", refused[i]);
		assert_false(verify(refused[i], ""));
		assert_false(verify(refused[i], "x"));
	}
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_non_null(cv_password_flaw(text));
	memcpy(text, "$y$", 3);
	assert_non_null(cv_password_flaw(text));
	assert_false(verify(hashes[0], text));
}

static void test_plain(void **state)
{
	char longest[CV_PASSWORD_MAX + 2] = {0};

	(void)state;
	assert_true(cv_password_is_plain("secret") && cv_password_is_plain("{plain}$x"));
	assert_true(verify("secret", "secret"));
	assert_true(verify("{plain}secret", "secret"));
	assert_true(verify("{plain}$6$x", "$6$x"));
	assert_false(verify("secret", "secre") || verify("secret", "secrets"));
	assert_false(verify("secret", "") || verify("secret", "Secret"));
	assert_false(cv_password_verify("secret", "secret\0", 7));
	memset(longest, 'x', CV_PASSWORD_MAX);
	assert_null(cv_password_flaw(longest));
	assert_true(verify(longest, longest));
	longest[CV_PASSWORD_MAX] = 'x';
	assert_non_null(cv_password_flaw(longest));
	assert_false(verify(longest, longest));
}

static void test_own_hash(void **state)
{
	char first[CV_PASSWORD_STORED], second[CV_PASSWORD_STORED], text[300];

	(void)state;
	assert_int_equal(cv_password_hash(PASSWORD, first), 0);
	assert_int_equal(cv_password_hash(PASSWORD, second), 0);
	assert_true(strncmp(first, "$y$", 3) == 0 && strcmp(first, second) != 0);
	assert_true(verify(first, PASSWORD) && verify(second, PASSWORD));
	assert_false(verify(first, "other"));
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_true(cv_password_hash(text, first) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hashes),	      cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_refused_forms), cmocka_unit_test(test_plain),
		cmocka_unit_test(test_own_hash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
