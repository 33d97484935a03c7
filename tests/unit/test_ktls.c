// SPDX-License-Identifier: MIT
/*
 * test_ktls.c - which kernels may do TLS, and what the trial on this one says.
 */
#include "engine/ktls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cmocka.h>

static void test_sound_versions(void **state)
{
	static const struct {
		const char *release, *version;
		bool sound;
	} kernels[] = {
		{"6.1.190", "#1 SMP", true},
		{"6.1.189", "#1 SMP", false},
		{"6.1.0-39-cloud-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-1 (2026-09-30)",
		 true},
		{"6.1.0-37-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.140-1 (2025-05-22)", false},
		{"6.12.105+deb13-amd64", "#1 SMP", true},
		{"6.12.104+deb13-amd64", "#1 SMP", false},
		{"6.6.140", "#1 SMP", false},
		{"5.15.190", "#1 SMP", false},
		{"7.1.20", "#1 SMP", false},
		{"7.2.0", "#1 SMP", true},
		{"7.2", "#1 SMP", true},
		{"8.0.1-gentoo", "#1 SMP", true},
		{"custom", "#1 SMP", false},
		{"", "", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
		bool sound = cv_ktls_kernel_is_sound(kernels[i].release, kernels[i].version);

		if (sound != kernels[i].sound)
			fail_msg("%s: %d", kernels[i].release, sound);
	}
}

static void test_switched_off(void **state)
{
	struct cv_ktls_support support = {.usable = true};

	(void)state;
	cv_ktls_probe(CV_KTLS_OFF, &support);
	assert_false(support.usable);
	assert_string_equal(support.why, "switched off by the configuration");
}

/* A verdict always has its reason; a kernel with TLS must pass the trial itself. */
static void test_trial(void **state)
{
	struct cv_ktls_support support = {0}, forced = {0};
	struct utsname name;

	(void)state;
	assert_int_equal(uname(&name), 0);
	cv_ktls_probe(CV_KTLS_AUTO, &support);
	cv_ktls_probe(CV_KTLS_FORCE, &forced);
	print_message("%s: kernel TLS %s: %s\n", name.release,
		      support.usable ? "usable" : "not used", support.why);
	assert_true(support.why[0] && forced.why[0]);
	if (support.usable)
		assert_true(cv_ktls_kernel_is_sound(name.release, name.version));
	assert_true(forced.usable || !support.usable);
	if (access("/sys/module/tls", F_OK) == 0)
		assert_true(forced.usable);
}

static void test_refusals(void **state)
{
	struct cv_ktls ktls = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	struct cv_tls_keys keys = {.suite = cv_tls_suite_find(0x1301)};

	(void)state;
	assert_true(ktls.fd >= 0);
	assert_true(cv_ktls_attach(ktls.fd) < 0); /* not connected, or no TLS at all */
	assert_true(cv_ktls_set_keys(&ktls, &keys, true) < 0);
	assert_true(cv_ktls_set_keys(&ktls, &keys, false) < 0);
	assert_false(ktls.tx_on || ktls.rx_on);
	assert_true(cv_ktls_is_pushed(&ktls)); /* nothing to wait for */
	(void)close(ktls.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sound_versions),
		cmocka_unit_test(test_switched_off),
		cmocka_unit_test(test_trial),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
