// SPDX-License-Identifier: MIT
/*
 * probe.bpf.c - the smallest program of each kind that culvert asks of a kernel
 *
 * Loaded one at a time by user/engine/kernel_probe.c and never attached: what the
 * verifier accepts here is what this kernel (and this process's rights) can do.
 *
 *	steer	sk_lookup		picks a listener at the SYN
 *	relay	sk_skb/stream_verdict	moves bytes to another socket of a sockmap
 *	filter	socket filter		sees a copy of what arrives, drops nothing
 *	loop	socket filter		bpf_loop, for walks that the verifier need not follow
 *	limit	sk_skb/stream_verdict	another socket's TCP state, for the relay's limit
 *
 * Each calls the helper that the real program will depend on, since a kernel may know
 * a program type and not the helper. UAPI headers only: builds need no BTF.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} sockets SEC(".maps");

SEC("sk_lookup")
int steer(struct bpf_sk_lookup *lookup)
{
	const __u32 slot = 0;
	struct bpf_sock *listener = bpf_map_lookup_elem(&sockets, &slot);
	long error;

	if (!listener)
		return SK_PASS;
	error = bpf_sk_assign(lookup, listener, 0);
	bpf_sk_release(listener);
	return error ? SK_DROP : SK_PASS;
}

SEC("sk_skb/stream_verdict")
int relay(struct __sk_buff *skb)
{
	return bpf_sk_redirect_map(skb, &sockets, 1, 0);
}

SEC("socket")
int filter(struct __sk_buff *skb)
{
	return skb->len;
}

static long loop_body(__u32 index, void *context)
{
	(void)index;
	(void)context;
	return 1;
}

SEC("socket")
int loop(struct __sk_buff *skb)
{
	bpf_loop(16, loop_body, (void *)0, 0);
	return skb->len;
}

SEC("sk_skb/stream_verdict")
int limit(struct __sk_buff *skb)
{
	const __u32 slot = 0;
	struct bpf_sock *sink = bpf_map_lookup_elem(&sockets, &slot);
	int verdict = SK_PASS;

	(void)skb;
	if (!sink)
		return SK_PASS;
	if (!bpf_skc_to_tcp_sock(sink))
		verdict = SK_DROP;
	bpf_sk_release(sink);
	return verdict;
}

char _license[] SEC("license") = "Dual MIT/GPL";
