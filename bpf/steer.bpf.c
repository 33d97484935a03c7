// SPDX-License-Identifier: MIT
/*
 * steer.bpf.c - sk_lookup: a new connection's listener, by its local address and port.
 *
 *   SYN to 192.0.2.1:443
 *     steer_ports {v4 192.0.2.1 443}, else {v4 * 443}, else {any * 443}
 *       none: SK_PASS, the kernel looks for a bound socket as ever
 *     slot = first_slot + hash(remote address, port) % slot_count
 *     steer_listeners[slot]   empty: SK_PASS likewise
 *     bpf_sk_assign()         the worker that owns this listener accepts
 *
 * A port that `culvert load --ports` has not allowed is never steered: whoever may write
 * steer_ports could otherwise take any service of the machine over.
 *
 * One update of a value in steer_ports moves a port to other listeners at once: that is the whole
 * of a restart without a gap. Only SYNs (and what else meets no established socket) come here.
 */
#include <linux/bpf.h>
#include <linux/in.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <culvert/steer.h>

#define AF_INET 2
#define AF_INET6 10

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC); /* a value is never reused under a reader */
	__uint(max_entries, CV_STEER_PORTS);
	__type(key, struct cv_steer_key);
	__type(value, struct cv_steer_port);
} steer_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, CV_STEER_SLOTS);
	__type(key, __u32);
	__type(value, __u64); /* user space reads the socket's cookie */
} steer_listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CV_STEER_PORTS);
	__type(key, __u32);
	__type(value, struct cv_steer_counter);
} steer_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CV_STEER_PORT_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} steer_forbidden SEC(".maps");

/* murmur3's last mixing: the low bits depend on every bit of @word. */
static __u32 mix(__u32 word)
{
	word ^= word >> 16;
	word *= 0x85ebca6b;
	word ^= word >> 13;
	word *= 0xc2b2ae35;
	return word ^ word >> 16;
}

static __u32 remote_hash(const struct bpf_sk_lookup *lookup)
{
	__u32 hash = mix((__u32)lookup->remote_port);

	if (lookup->family == AF_INET)
		return mix(hash ^ lookup->remote_ip4);
	hash = mix(hash ^ lookup->remote_ip6[0] ^ lookup->remote_ip6[1]);
	return mix(hash ^ lookup->remote_ip6[2] ^ lookup->remote_ip6[3]);
}

static const struct cv_steer_port *port_find(const struct bpf_sk_lookup *lookup)
{
	struct cv_steer_key key = {.port = (__u16)lookup->local_port};
	__u32 *address = (__u32 *)(void *)key.address;
	const struct cv_steer_port *port;

	if (lookup->family == AF_INET) {
		key.family = CV_STEER_IPV4;
		address[0] = lookup->local_ip4;
	} else {
		key.family = CV_STEER_IPV6;
		address[0] = lookup->local_ip6[0];
		address[1] = lookup->local_ip6[1];
		address[2] = lookup->local_ip6[2];
		address[3] = lookup->local_ip6[3];
	}
	port = bpf_map_lookup_elem(&steer_ports, &key);
	if (port)
		return port;
	__builtin_memset(key.address, 0, sizeof(key.address));
	port = bpf_map_lookup_elem(&steer_ports, &key);
	if (port)
		return port;
	key.family = CV_STEER_ANY;
	return bpf_map_lookup_elem(&steer_ports, &key);
}

static _Bool is_forbidden(__u32 port)
{
	__u32 word = port / 64;
	const __u64 *bits = bpf_map_lookup_elem(&steer_forbidden, &word);

	return !bits || (*bits >> (port % 64) & 1);
}

SEC("sk_lookup")
int steer(struct bpf_sk_lookup *lookup)
{
	const struct cv_steer_port *port;
	struct cv_steer_counter *counter;
	struct bpf_sock *listener;
	__u32 slot, index;
	long error;

	if (lookup->protocol != IPPROTO_TCP)
		return SK_PASS;
	port = port_find(lookup);
	if (!port || port->slot_count == 0 || is_forbidden(lookup->local_port))
		return SK_PASS;
	index = port->counter;
	counter = bpf_map_lookup_elem(&steer_counters, &index);
	if (!counter)
		return SK_PASS;
	slot = port->first_slot + remote_hash(lookup) % port->slot_count;
	listener = bpf_map_lookup_elem(&steer_listeners, &slot);
	if (!listener) {
		counter->empty++;
		return SK_PASS;
	}
	error = bpf_sk_assign(lookup, listener, 0);
	bpf_sk_release(listener);
	if (error)
		counter->errors++;
	else
		counter->steered++;
	return SK_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
