// SPDX-License-Identifier: MIT
/*
 * test_kernel_probe.c - the probe against other witnesses of the same facts.
 *
 * /proc/net/tls_stat exists exactly where the TLS protocol is loaded; a two-instruction program
 * given to bpf(2) by hand says whether this process may load any.
 */
#include "engine/kernel_probe.h"

#include <dirent.h>
#include <errno.h>
#include <linux/bpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cmocka.h>

/* "return 0", as a program of @type: 0 or -errno. */
static int program_load(uint32_t type, uint32_t attach_type)
{
	const struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attributes = {
		.prog_type = type,
		.expected_attach_type = attach_type,
		.insn_cnt = 2,
		.insns = (uintptr_t)program,
		.license = (uintptr_t)"MIT",
	};
	long fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof(attributes));

	if (fd < 0)
		return -errno;
	close((int)fd);
	return 0;
}

static int descriptors_count(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static void test_release(void **state)
{
	struct cv_kernel_features features;
	struct utsname name;

	(void)state;
	assert_int_equal(cv_kernel_probe(&features), 0);
	assert_int_equal(uname(&name), 0);
	assert_string_equal(features.release, name.release);
}

static void test_programs(void **state)
{
	struct cv_kernel_features features;

	(void)state;
	assert_int_equal(cv_kernel_probe(&features), 0);
	assert_int_equal(features.socket_filter == 0,
			 program_load(BPF_PROG_TYPE_SOCKET_FILTER, 0) == 0 &&
				 program_load(BPF_PROG_TYPE_SK_SKB, 0) != -EPERM);
	assert_int_equal(features.sk_skb_verdict == 0, program_load(BPF_PROG_TYPE_SK_SKB, 0) == 0);
	assert_int_equal(features.sk_lookup == 0,
			 program_load(BPF_PROG_TYPE_SK_LOOKUP, BPF_SK_LOOKUP) == 0);
}

static void test_tls(void **state)
{
	struct cv_kernel_features features;

	(void)state;
	/* first the probe: it may load the module that makes the file */
	assert_int_equal(cv_kernel_probe(&features), 0);
	assert_int_equal(features.tls_ulp == 0, access("/proc/net/tls_stat", F_OK) == 0);
}

static void test_no_descriptor_stays(void **state)
{
	struct cv_kernel_features features;
	int before = descriptors_count();

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(cv_kernel_probe(&features), 0);
	assert_int_equal(descriptors_count(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_release),
		cmocka_unit_test(test_programs),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_no_descriptor_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
