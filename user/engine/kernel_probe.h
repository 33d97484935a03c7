/* SPDX-License-Identifier: MIT */
#ifndef CV_ENGINE_KERNEL_PROBE_H
#define CV_ENGINE_KERNEL_PROBE_H

#include <stddef.h>

/**
 * struct cv_kernel_features - what this process may use of this kernel
 * @release:		as uname() has it, "6.12.43-amd64"
 * @sk_lookup:		0 if such a program loads, else a negative errno
 * @sk_skb_verdict:	likewise, for moving bytes inside a sockmap
 * @socket_filter:	likewise
 * @tls_ulp:		0 if a TCP socket takes the "tls" protocol, else a negative errno
 *
 * -EPERM says that the process lacks the right, not that the kernel lacks the feature.
 * The ring's own features are cv_ring's to tell.
 */
struct cv_kernel_features {
	char release[65];
	int sk_lookup;
	int sk_skb_verdict;
	int socket_filter;
	int tls_ulp;
};

/**
 * cv_kernel_probe() - Try each kernel feature once
 * @ret_features:	every field is set; untouched on failure
 *
 * Loads and unloads three small BPF programs and opens one TCP pair on the loopback
 * address: milliseconds, so not for a worker's loop. libbpf's own messages are silenced
 * for the duration of the call; not to be called from two threads at once.
 *
 * Returns: 0; -errno of uname(), which does not fail in practice
 */
int cv_kernel_probe(struct cv_kernel_features *ret_features);

/** cv_kernel_try_program() - Load one program of bpf/probe.bpf.c and drop it. 0 or -errno. */
int cv_kernel_try_program(const char *name);
/** cv_kernel_connected_pair() - A TCP connection over loopback: @ret_pair[0] connected,
 * @ret_pair[1] accepted; the caller closes both. 0 or -errno. */
int cv_kernel_connected_pair(int ret_pair[2]);

/**
 * struct cv_kernel_trial - one feature, as `culvert probe-kernel` shows it
 * @name:	stable, for scripts
 * @error:	0, or the negative errno of trying
 * @why:	@error for people, "" if there is none
 * @without:	what culvert does where it is missing
 */
struct cv_kernel_trial {
	const char *name;
	int error;
	char why[96];
	const char *without;
};

#define CV_KERNEL_TRIALS 24

/**
 * cv_kernel_try_all() - Everything that culvert may use of this kernel and these rights
 * @ret_trials:	CV_KERNEL_TRIALS of them
 * Same cost and restrictions as cv_kernel_probe(). Returns how many were filled in.
 */
size_t cv_kernel_try_all(struct cv_kernel_trial *ret_trials);

#endif
