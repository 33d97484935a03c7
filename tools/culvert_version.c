// SPDX-License-Identifier: MIT
/*
 * culvert_version.c - `culvert version`: what was built in, and what this kernel has, by trying.
 */
#include "culvert.h"

#include "crypto/crypto.h"
#include "engine/kernel_probe.h"
#include "ring/ring.h"
#include "sandbox/landlock.h"
#include "sandbox/seccomp.h"
#include "version.h"

#include <bpf/libbpf.h>
#include <json-c/json.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct feature {
	const char *name;
	int error; /* 0 = there; -EPERM = not ours to try */
};

static const char *verdict(int error)
{
	return error == 0 ? "yes" : error == -EPERM ? "unknown: not permitted to try" : "no";
}

static void print_text(const struct feature *features, size_t count, const char *kernel)
{
	printf("culvert %s (%s)\n%s, libbpf %d.%d, json-c %s\nLinux %s\n", CULVERT_VERSION,
	       CULVERT_COMMIT, cv_crypto_library(), libbpf_major_version(), libbpf_minor_version(),
	       json_c_version(), kernel);
	for (size_t i = 0; i < count; i++)
		printf("  %-28s %s\n", features[i].name, verdict(features[i].error));
}

static void print_json(const struct feature *features, size_t count, const char *kernel)
{
	struct json_object *root = json_object_new_object(), *found = json_object_new_object();

	for (size_t i = 0; i < count; i++)
		json_object_object_add(found, features[i].name,
				       json_object_new_string(verdict(features[i].error)));
	json_object_object_add(root, "version", json_object_new_string(CULVERT_VERSION));
	json_object_object_add(root, "commit", json_object_new_string(CULVERT_COMMIT));
	json_object_object_add(root, "crypto", json_object_new_string(cv_crypto_library()));
	json_object_object_add(root, "kernel", json_object_new_string(kernel));
	json_object_object_add(root, "features", found);
	puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY));
	json_object_put(root);
}

static int missing_unless(bool found)
{
	return found ? 0 : -ENOSYS;
}

static int missing_below(int abi)
{
	return missing_unless(cv_landlock_abi() >= abi);
}

int cv_cmd_version(int argc, char **argv)
{
	struct cv_kernel_features kernel = {0};
	struct cv_ring_features ring = {0};
	bool json = argc == 2 && strcmp(argv[1], "--json") == 0;
	int ring_error = cv_ring_probe(&ring), kernel_error = cv_kernel_probe(&kernel);

	if (argc > 2 || (argc == 2 && !json)) {
		fputs("usage: culvert version [--json]\n", stderr);
		return CV_EXIT_USAGE;
	}
	if (kernel_error)
		fprintf(stderr, "culvert version: %s\n", strerror(-kernel_error));
	const struct feature features[] = {
		{"io_uring", ring_error},
		{"io_uring single issuer", missing_unless(ring.single_issuer)},
		{"io_uring deferred work", missing_unless(ring.defer_taskrun)},
		{"io_uring buffer rings", missing_unless(ring.buffer_ring)},
		{"io_uring multishot accept", missing_unless(ring.multishot_accept)},
		{"BPF sk_lookup", kernel.sk_lookup},
		{"BPF sockmap verdict", kernel.sk_skb_verdict},
		{"Landlock files", missing_below(1)},
		{"Landlock ports", missing_below(4)},
		{"Landlock signals", missing_below(6)},
		{"seccomp", cv_seccomp_available()},
		{"BPF socket filter", kernel.socket_filter},
		{"kernel TLS", kernel.tls_ulp},
	};

	if (json)
		print_json(features, sizeof(features) / sizeof(features[0]), kernel.release);
	else
		print_text(features, sizeof(features) / sizeof(features[0]), kernel.release);
	return EXIT_SUCCESS;
}
