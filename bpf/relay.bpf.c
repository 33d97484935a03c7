// SPDX-License-Identifier: MIT
/*
 * relay.bpf.c - moves what arrives at a source straight into its sink's send queue.
 *
 *   packet --> bytes that were here before? ------------> cut off (below)
 *     |--> FIN alone, or nothing new? ------------------> DROP (the socket has its FIN already;
 *     |                                                   anything else kills the sink's queue)
 *     |--> mode PASS, or user space still owes bytes ---> PASS: recv(2) gets it, the sender's
 *     |                                                   window shrinks
 *     |--> sink dead, or too much on its way into it ---> mode PASS, tell the daemon, PASS
 *     \--> redirect
 *
 * The kernel lets redirected bytes queue without any bound, so the program counts: moved_bytes less
 * what the sink has taken. A sink has taken what was acknowledged and what is between snd_una and
 * write_seq; the counters of sent bytes are no measure, a packet that a full device queue refused
 * is in them twice. The fields are read without the sink's lock: the acknowledged edge first and
 * its count after it, so that a tear lets one packet through rather than stop a flow for nothing.
 *
 * A packet that is sent again may begin with bytes that arrived already. recv(2) goes by sequence
 * numbers and skips them; the kernel gives this program the packet as it is, and whatever becomes
 * of it, the bytes would be there twice. So the program goes by sequence numbers, too.
 *
 * Needs CAP_BPF, CAP_NET_ADMIN and (for the socket's fields) CAP_PERFMON to load.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <culvert/relay.h>

/* What is read of the kernel's own; the loader finds the offsets. */
struct tcp_sock {
	__u64 bytes_acked;
	__u32 write_seq;
	__u32 snd_una;
	__u32 copied_seq;
} __attribute__((preserve_access_index));

struct sk_buff {
	char cb[48];
} __attribute__((preserve_access_index));

/* Rules that a test leaves out to see that it is noticed; the loader sets them, else false. */
const volatile _Bool without_limit = 0;
const volatile _Bool without_fin_rule = 0;
const volatile _Bool without_repeated_rule = 0;

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, CV_RELAY_FLOWS);
	__type(key, __u32);
	__type(value, __u64);
} relay_sinks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, CV_RELAY_FLOWS);
	__type(key, __u32);
	__type(value, __u64);
} relay_sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CV_RELAY_FLOWS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} relay_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CV_RELAY_FLOWS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct cv_relay_flow);
} relay_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CV_RELAY_CHUNKS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct cv_relay_chunk);
} relay_chunks SEC(".maps");

#define STATE_ESTABLISHED 1
#define STATE_CLOSE_WAIT 8

/* Bytes that the sink has taken since ever, by a constant off. */
static __always_inline __u64 written_bytes(struct tcp_sock *sink)
{
	__u32 edge = *(volatile __u32 *)__builtin_preserve_access_index(&sink->snd_una);
	__u64 acked = *(volatile __u64 *)__builtin_preserve_access_index(&sink->bytes_acked);
	__u32 end = *(volatile __u32 *)__builtin_preserve_access_index(&sink->write_seq);

	return acked + (__u32)(end - edge);
}

static __always_inline _Bool sink_takes(const struct cv_relay_flow *flow, __u32 index)
{
	struct bpf_sock *sink = bpf_map_lookup_elem(&relay_sinks, &index);
	struct tcp_sock *tcp;
	__s64 back_bytes = -1;
	_Bool alive = 0;

	if (!sink)
		return 0;
	tcp = bpf_skc_to_tcp_sock(sink);
	if (tcp) {
		alive = sink->state == STATE_ESTABLISHED || sink->state == STATE_CLOSE_WAIT;
		back_bytes = (__s64)(flow->moved_bytes + flow->sink_base - written_bytes(tcp));
	}
	bpf_sk_release(sink);
	return alive && (without_limit || back_bytes <= (__s64)flow->limit_bytes);
}

static __always_inline void stop_redirecting(struct cv_relay_flow *flow, __u32 index)
{
	__u32 number = index / CV_RELAY_CHUNK;
	struct cv_relay_chunk *chunk = bpf_map_lookup_elem(&relay_chunks, &number);

	flow->mode = CV_RELAY_PASS;
	flow->limited++;
	if (chunk)
		__sync_fetch_and_add(&chunk->events, 1);
}

/* TCP's number of the packet's first byte: struct tcp_skb_cb begins with it. */
static __always_inline __u32 first_seq(struct __sk_buff *skb)
{
	__u32 seq = 0;

	(void)bpf_probe_read_kernel(
		&seq, sizeof(seq),
		__builtin_preserve_access_index(&((struct sk_buff *)(void *)skb)->cb));
	return seq;
}

#define CUT_MAX 4095 /* the kernel's, at a time */
#define CUTS 17	     /* as many as a packet of 64 KiB needs */

static __always_inline void cut_front(struct __sk_buff *skb, __u32 bytes)
{
	for (int i = 0; i < CUTS && bytes > 0; i++) {
		__s32 cut = bytes > CUT_MAX ? CUT_MAX : (__s32)bytes;

		if (bpf_skb_adjust_room(skb, -cut, 0, 0) < 0)
			return;
		bytes -= (__u32)cut;
	}
}

static __always_inline void cut_repeated(struct __sk_buff *skb, struct cv_relay_flow *flow)
{
	const __u32 seq = first_seq(skb), len_bytes = skb->len;
	struct bpf_sock *source = skb->sk;
	struct tcp_sock *tcp;
	__s32 repeated;

	if (!flow->has_next_seq) {
		tcp = source ? bpf_skc_to_tcp_sock(source) : 0;
		if (!tcp)
			return;
		flow->next_seq = tcp->copied_seq;
		flow->has_next_seq = 1;
	}
	repeated = (__s32)(flow->next_seq - seq);
	if (repeated < 0)
		repeated = 0;
	if ((__u32)repeated > len_bytes)
		repeated = (__s32)len_bytes;
	if (repeated > 0) {
		flow->repeated_bytes += (__u32)repeated;
		cut_front(skb, (__u32)repeated);
	}
	flow->next_seq += len_bytes - (__u32)repeated;
}

/* The daemon sets REDIRECT and then looks at passed_bytes, we the other way round: of a packet that
 * came while the mode was PASS and is counted after the daemon's look, we learn here. */
static __always_inline void pass(struct cv_relay_flow *flow, __u32 index, __u32 bytes)
{
	__u64 before = __sync_fetch_and_add(&flow->passed_bytes, bytes); /* a full barrier */

	if (*(volatile __u32 *)&flow->mode == CV_RELAY_REDIRECT &&
	    before + bytes != *(volatile __u64 *)&flow->resume_bytes)
		stop_redirecting(flow, index);
}

SEC("sk_skb/stream_verdict")
int relay_verdict(struct __sk_buff *skb)
{
	__u64 cookie;
	struct cv_relay_flow *flow;
	__u32 *found, index;

	if (skb->len == 0 && !without_fin_rule)
		return SK_DROP;
	cookie = bpf_get_socket_cookie(skb);
	found = bpf_map_lookup_elem(&relay_slots, &cookie);
	if (!found)
		return SK_PASS;
	index = *found;
	flow = bpf_map_lookup_elem(&relay_flows, &index);
	if (!flow)
		return SK_PASS;
	if (!without_repeated_rule)
		cut_repeated(skb, flow);
	if (skb->len == 0 && !without_fin_rule)
		return SK_DROP;
	if (flow->mode == CV_RELAY_REDIRECT && flow->passed_bytes == flow->resume_bytes) {
		if (sink_takes(flow, index)) {
			flow->moved_bytes += skb->len;
			flow->moves++;
			flow->last_move_ns = bpf_ktime_get_ns();
			return bpf_sk_redirect_map(skb, &relay_sinks, index, 0);
		}
		stop_redirecting(flow, index);
	}
	pass(flow, index, skb->len);
	return SK_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
