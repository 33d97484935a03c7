// SPDX-License-Identifier: MIT
/*
 * kernel_probe.c - what does this kernel have?
 *
 * A version number answers nothing: distributions configure features away (kTLS) and
 * rights decide about others (BPF). So each feature is used once, in the smallest form:
 * a BPF program of bpf/probe.bpf.c is loaded and dropped, a TCP pair is asked to take
 * the "tls" upper layer protocol. One program is loaded at a time, since libbpf's load is
 * all or nothing.
 */
#include "engine/kernel_probe.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "probe.skel.h"

int cv_kernel_try_program(const char *name)
{
	struct probe_bpf *probe = probe_bpf__open();
	struct bpf_program *program;
	int error;

	if (!probe)
		return -errno;
	bpf_object__for_each_program(program, probe->obj)
		bpf_program__set_autoload(program, !strcmp(bpf_program__name(program), name));
	error = probe_bpf__load(probe);
	probe_bpf__destroy(probe);
	return error;
}

static int loopback_listen(struct sockaddr_in *ret_address)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len_bytes = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int error;

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 1) ||
	    getsockname(fd, (struct sockaddr *)&address, &len_bytes)) {
		error = -errno;
		close(fd);
		return error;
	}
	*ret_address = address;
	return fd;
}

int cv_kernel_connected_pair(int ret_pair[2])
{
	struct sockaddr_in address;
	int listener = loopback_listen(&address);
	int client, peer, error = 0;

	if (listener < 0)
		return listener;
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client < 0 || connect(client, (struct sockaddr *)&address, sizeof(address)))
		error = -errno;
	peer = error ? -1 : accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (!error && peer < 0)
		error = -errno;
	close(listener);
	if (error && client >= 0)
		close(client);
	if (!error) {
		ret_pair[0] = client;
		ret_pair[1] = peer;
	}
	return error;
}

/* The protocol is only taken by an established socket, hence the pair. */
static int tls_ulp_try(void)
{
	int pair[2];
	int error = cv_kernel_connected_pair(pair);

	if (error)
		return error;
	if (setsockopt(pair[0], IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")))
		error = -errno;
	close(pair[0]);
	close(pair[1]);
	return error;
}

int cv_kernel_probe(struct cv_kernel_features *ret_features)
{
	struct cv_kernel_features features = { 0 };
	libbpf_print_fn_t print;
	struct utsname name;

	if (uname(&name))
		return -errno;
	snprintf(features.release, sizeof(features.release), "%s", name.release);
	print = libbpf_set_print(NULL);
	features.sk_lookup = cv_kernel_try_program("steer");
	features.sk_skb_verdict = cv_kernel_try_program("relay");
	features.socket_filter = cv_kernel_try_program("filter");
	libbpf_set_print(print);
	features.tls_ulp = tls_ulp_try();
	*ret_features = features;
	return 0;
}
