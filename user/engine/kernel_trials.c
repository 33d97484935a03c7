// SPDX-License-Identifier: MIT
/*
 * kernel_trials.c - each feature that culvert can use of a kernel, tried once in its smallest form.
 *
 * What a trial finds holds for this process with its rights: the same kernel answers -EPERM to
 * another. No version number is asked.
 */
#include "engine/kernel_parts.h"
#include "engine/kernel_pins.h"
#include "engine/kernel_probe.h"
#include "engine/kernel_types.h"
#include "engine/ktls.h"
#include "ring/ring.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

#define PIPE_BYTES (1024 * 1024)

struct list {
	struct cv_kernel_trial *trials;
	size_t count;
};

static void add(struct list *list, const char *name, int error, const char *why,
		const char *without)
{
	struct cv_kernel_trial *trial = &list->trials[list->count++];

	trial->name = name;
	trial->error = error;
	trial->without = without;
	(void)snprintf(trial->why, sizeof(trial->why), "%.95s", error ? why : "");
}

/* ---- BPF ---------------------------------------------------------------------------------- */

static void add_program(struct list *list, const char *name, const char *program,
			const char *without)
{
	int error = cv_kernel_try_program(program);

	add(list, name, error, cv_pins_load_error(error), without);
}

/* The real programs: the verifier's word about each part as a whole. */
static void add_parts(struct list *list)
{
	static const char *const names[CV_PINS_PARTS] = {
		[CV_PINS_STEER] = "part_steer",
		[CV_PINS_CLASSIFY] = "part_classify",
		[CV_PINS_RELAY] = "part_relay",
	};

	struct cv_kernel_types types;

	cv_kernel_types_open(&types);
	for (size_t i = 0; i < cv_kernel_part_count && i < CV_PINS_PARTS; i++) {
		const struct cv_kernel_kind *kind = &cv_kernel_parts[i];
		void *skeleton = NULL;
		int error = kind->open(&types, &skeleton) ? kind->load(skeleton) : -errno;

		if (skeleton)
			kind->destroy(skeleton);
		if (names[kind->index])
			add(list, names[kind->index], error, cv_pins_load_error(error),
			    "culvert load leaves this part out");
	}
	cv_kernel_types_close(&types);
}

static void add_bpf(struct list *list)
{
	libbpf_print_fn_t print = libbpf_set_print(NULL);

	add_program(list, "bpf_sk_lookup", "steer",
		    "ports are bound, and below 1024 need a capability");
	add_program(list, "bpf_sockmap_verdict", "relay", "splice instead of sockmap");
	add_program(list, "bpf_tcp_sock_fields", "limit", "splice instead of sockmap");
	add_program(list, "bpf_socket_filter", "filter", "names are read in user space");
	add_program(list, "bpf_loop", "loop", "names are read in user space");
	add_parts(list);
	libbpf_set_print(print);
}

static void add_pins(struct list *list)
{
	struct cv_pins_info info;
	char why[CV_PINS_WHY];
	int error = cv_pins_read(CV_KERNEL_DIRECTORY, &info, why);

	add(list, "pins", error, why,
	    "the daemon loads what it may by itself, and binds its ports");
}

/* ---- kernel TLS --------------------------------------------------------------------------- */

/* The keys are zero and never used. */
static int cipher_try(uint16_t cipher)
{
	union {
		struct tls_crypto_info info;
		struct tls12_crypto_info_aes_gcm_128 aes128;
		struct tls12_crypto_info_aes_gcm_256 aes256;
		struct tls12_crypto_info_chacha20_poly1305 chacha20;
	} keys = {.info = {.version = TLS_1_3_VERSION, .cipher_type = cipher}};
	socklen_t len_bytes = cipher == TLS_CIPHER_AES_GCM_128   ? sizeof(keys.aes128)
			      : cipher == TLS_CIPHER_AES_GCM_256 ? sizeof(keys.aes256)
								 : sizeof(keys.chacha20);
	int pair[2];
	int error = cv_kernel_connected_pair(pair);

	if (error)
		return error;
	if (setsockopt(pair[0], IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) ||
	    setsockopt(pair[0], SOL_TLS, TLS_TX, &keys, len_bytes) ||
	    setsockopt(pair[0], SOL_TLS, TLS_RX, &keys, len_bytes))
		error = -errno;
	close(pair[0]);
	close(pair[1]);
	return error;
}

static void add_tls(struct list *list)
{
	static const struct {
		const char *name;
		uint16_t cipher;
	} ciphers[] = {
		{"ktls_aes_128_gcm", TLS_CIPHER_AES_GCM_128},
		{"ktls_aes_256_gcm", TLS_CIPHER_AES_GCM_256},
		{"ktls_chacha20_poly1305", TLS_CIPHER_CHACHA20_POLY1305},
	};

	for (size_t i = 0; i < sizeof(ciphers) / sizeof(ciphers[0]); i++) {
		int error = cipher_try(ciphers[i].cipher);

		add(list, ciphers[i].name, error,
		    error == -ENOENT ? "the kernel has no TLS (CONFIG_TLS, module tls)"
				     : strerror(-error),
		    "user space does this cipher's records");
	}
}

/* The daemon's own verdict: records, alerts and the versions without known faults. */
static void add_tls_verdict(struct list *list)
{
	struct cv_ktls_support support;

	cv_ktls_probe(CV_KTLS_AUTO, &support);
	add(list, "ktls", support.usable ? 0 : -EOPNOTSUPP, support.why,
	    "user space does the records");
	if (!support.usable)
		cv_ktls_probe(CV_KTLS_FORCE, &support);
	add(list, "ktls_key_update", support.rekey ? 0 : -EOPNOTSUPP,
	    support.usable ? "keys cannot be changed before Linux 6.14" : support.why,
	    "a session ends when its peer changes keys");
}

/* ---- the rest ----------------------------------------------------------------------------- */

static void add_flag(struct list *list, const char *name, bool found, const char *without)
{
	add(list, name, found ? 0 : -ENOSYS, "this kernel is too old for it", without);
}

static void add_ring(struct list *list)
{
	struct cv_ring_features ring = {0};
	int error = cv_ring_probe(&ring);

	add(list, "io_uring", error,
	    error == -EPERM ? "not permitted (kernel.io_uring_disabled, or a sandbox)"
			    : strerror(-error),
	    "culvertd does not start");
	add_flag(list, "io_uring_single_issuer", ring.single_issuer, "a little slower");
	add_flag(list, "io_uring_defer_taskrun", ring.defer_taskrun, "a little slower");
	add_flag(list, "io_uring_buffer_ring", ring.buffer_ring, "buffers are provided one by one");
	add_flag(list, "io_uring_multishot_accept", ring.multishot_accept, "one accept at a time");
	add_flag(list, "io_uring_multishot_recv", ring.multishot_recv, "one receive at a time");
}

static int splice_try(void)
{
	int pipe_fds[2], pair[2];
	int error = cv_kernel_connected_pair(pair);

	if (error)
		return error;
	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0) {
		error = -errno;
	} else {
		if (send(pair[0], "x", 1, MSG_NOSIGNAL) != 1 ||
		    splice(pair[1], NULL, pipe_fds[1], NULL, 1, SPLICE_F_MOVE) != 1)
			error = -errno;
		close(pipe_fds[0]);
		close(pipe_fds[1]);
	}
	close(pair[0]);
	close(pair[1]);
	return error;
}

static int large_pipe_try(void)
{
	int fds[2], error = 0;

	if (pipe2(fds, O_CLOEXEC) != 0)
		return -errno;
	if (fcntl(fds[0], F_SETPIPE_SZ, PIPE_BYTES) < 0)
		error = -errno;
	close(fds[0]);
	close(fds[1]);
	return error;
}

static void add_splice(struct list *list)
{
	int error = splice_try();

	add(list, "splice", error, strerror(-error), "user space copies every byte");
	error = large_pipe_try();
	add(list, "pipes_of_1_MiB", error,
	    error == -EPERM ? "above fs.pipe-max-size, or fs.pipe-user-pages-soft is used up"
			    : strerror(-error),
	    "splice moves less at once");
}

size_t cv_kernel_try_all(struct cv_kernel_trial *ret_trials)
{
	struct list list = {.trials = ret_trials};

	add_ring(&list);
	add_splice(&list);
	add_bpf(&list);
	add_pins(&list);
	add_tls(&list);
	add_tls_verdict(&list);
	return list.count;
}
