// SPDX-License-Identifier: MIT
/*
 * classify.bpf.c - the class of a connection by its ClientHello's server name, before any process.
 *
 * A socket filter on listening sockets; what they accept inherits it and the daemon takes it off
 * once it has read the class. It sees each segment from the TCP header on, ahead of TCP itself: not
 * yet in order, perhaps twice, without the socket's lock.
 *
 *   segment --> no payload, or the listener's own ----------------------------> pass
 *     |--> decided already --------------------------------------> pass, or drop again
 *     |--> first of its connection, and just what the socket waits for --> a new hello
 *     |--> continues the hello (sequence number) ------------------------> append
 *     |--> lies before its end and the socket has got it -----------------------> pass
 *     \--> anything else -------------------------------------> undecided, pass
 *   hello complete --> name -> class (exact, else the longest "*.suffix") -> pass or drop
 *
 * Whatever fails or is evicted ends in "undecided", which user space decides for itself. A segment
 * that is dropped comes again: from the first byte on it is read anew, so that one with a broken
 * checksum, which only TCP looks at, decides nothing for good.
 *
 * Measured (test_classify_many, kernel 6.18, 2 CPUs), all runs for one connection together: 2.0 us
 * for a hello of 300 bytes, 2.3 us by a wildcard, 2.5 us for 1800 bytes in two segments.
 *
 * Needs CAP_BPF, CAP_NET_ADMIN and (for the socket's fields) CAP_PERFMON to load.
 */
#include <linux/bpf.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "client_hello.h"

/* What is read of the kernel's own; the loader finds the offsets. */
struct tcp_sock {
	__u32 rcv_nxt;
	__u64 bytes_received;
} __attribute__((preserve_access_index));

/* Rules that a test leaves out to see that it is noticed; the loader sets them, else false. */
const volatile _Bool without_sequence_rule = 0;
const volatile _Bool without_whole_rule = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CV_CLASSIFY_NAMES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cv_sni_name);
	__type(value, struct cv_sni_rule);
} sni_names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CV_CLASSIFY_PORTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct cv_sni_port);
} sni_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CV_CLASSIFY_HELLOS);
	__type(key, __u64);
	__type(value, struct cv_sni_hello);
} sni_hellos SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CV_CLASSIFY_RESULTS);
	__type(key, __u64);
	__type(value, struct cv_sni_result);
} sni_results SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CV_CLASSIFY_CLASSES);
	__type(key, __u32);
	__type(value, struct cv_sni_counter);
} sni_counters SEC(".maps");

/* What a new hello is made from: too large for the stack. Only its cookie is never zero. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cv_sni_hello);
} sni_blank SEC(".maps");

#define STATE_ESTABLISHED 1
#define STATE_SYN_RECV 3

struct segment {
	__u64 cookie;
	__u32 sequence;
	__u32 payload_at, payload_bytes;
	__u32 expected;	    /* sequence number of what the socket waits for */
	__u32 is_first;	    /* the socket has got nothing yet */
	__u32 old_class;    /* of the result that this segment replaces */
	struct cv_sni_port port;
};

/* Less than the whole segment would cut its payload. */
static __always_inline int pass(struct __sk_buff *skb)
{
	return without_whole_rule ? 40 : skb->len;
}

/* ---- names -------------------------------------------------------------------------------- */

/* @first: of the 256 letters from hello->name that make the key */
static __always_inline _Bool find_name(struct cv_sni_hello *hello, __u32 first, _Bool is_suffix)
{
	const char *from;
	struct cv_sni_rule *rule;
	__u32 i;

	cv_sni_opaque(first);
	from = hello->name + (first & (CV_CLASSIFY_NAME_BYTES - 1));
#pragma clang loop unroll(full)
	for (i = 0; i < CV_CLASSIFY_NAME_BYTES; i += 4)
		*(__u32 *)(hello->key.name + i) = *(const volatile __u32 *)(from + i);
	if (is_suffix)
		hello->key.name[0] = '*';
	rule = bpf_map_lookup_elem(&sni_names, &hello->key);
	if (!rule)
		return 0;
	hello->rule = *rule;
	hello->found = 1;
	return 1;
}

/* "*" replaces the letter before the dot: a suffix needs something before it. */
static long find_suffix(__u32 index, void *context)
{
	struct cv_sni_hello *hello = *(struct cv_sni_hello **)context;
	__u32 at = index;

	if (index + 1 >= hello->name_len)
		return 1;
	cv_sni_opaque(at);
	if (hello->name[2 + (at & CV_SNI_NAME_MAX)] != '.')
		return 0;
	return find_name(hello, 1 + index, 1);
}

static __always_inline void find_class(struct cv_sni_hello *hello, __u32 table)
{
	hello->key.table = table;
	hello->found = 0;
	hello->rule.class = CV_SNI_CLASS_OTHER;
	hello->rule.action = CV_SNI_PASS;
	if (!find_name(hello, 1, 0))
		cv_sni_loop(CV_SNI_NAME_MAX, find_suffix, hello);
}

/* ---- results ------------------------------------------------------------------------------ */

static __always_inline void count(__u32 class, __u32 connections, __u32 segments)
{
	struct cv_sni_counter *counter = bpf_map_lookup_elem(&sni_counters, &class);

	if (!counter)
		return;
	counter->connections += connections;
	counter->dropped_segments += segments;
}

/* observable: a dropped segment is never acknowledged; the client sends it again and again until
 * it or the daemon gives up. Only ever after a result was kept: what is not kept passes. */
static __always_inline int end(struct __sk_buff *skb, const struct segment *segment,
			       const struct cv_sni_result *result)
{
	long failed = bpf_map_update_elem(&sni_results, &segment->cookie, result, BPF_ANY);
	_Bool drops = !failed && result->action == CV_SNI_DROP;

	count(result->class, result->class != segment->old_class, drops);
	return drops ? 0 : pass(skb);
}

static __always_inline int end_undecided(struct __sk_buff *skb, const struct segment *segment)
{
	const struct cv_sni_result result = {
		.table = segment->port.table,
		.class = CV_SNI_CLASS_UNDECIDED,
	};

	(void)bpf_map_delete_elem(&sni_hellos, &segment->cookie);
	return end(skb, segment, &result);
}

/* ---- hellos ------------------------------------------------------------------------------- */

static __always_inline struct cv_sni_hello *hello_new(const struct segment *segment)
{
	__u32 zero = 0;
	struct cv_sni_hello *blank = bpf_map_lookup_elem(&sni_blank, &zero);

	if (!blank || (!without_sequence_rule &&
		       (!segment->is_first || segment->sequence != segment->expected)))
		return NULL;
	blank->cookie = segment->cookie;
	blank->next_sequence = segment->sequence;
	if (bpf_map_update_elem(&sni_hellos, &segment->cookie, blank, BPF_NOEXIST))
		return NULL;
	return bpf_map_lookup_elem(&sni_hellos, &segment->cookie);
}

static __always_inline _Bool append(struct __sk_buff *skb, struct cv_sni_hello *hello,
				    const struct segment *segment)
{
	__u32 from = segment->payload_at, left = segment->payload_bytes, i;

#pragma clang loop unroll(full)
	for (i = 0; i < CV_SNI_HELLO_BYTES / CV_SNI_CHUNK_BYTES; i++) {
		__u32 at = hello->len_bytes, bytes = left;

		if (bytes > CV_SNI_HELLO_BYTES - at)
			bytes = CV_SNI_HELLO_BYTES - at;
		if (bytes > CV_SNI_CHUNK_BYTES)
			bytes = CV_SNI_CHUNK_BYTES;
		if (bytes == 0 || at >= CV_SNI_HELLO_BYTES)
			break;
		cv_sni_opaque(at);
		at &= CV_SNI_HELLO_BYTES - 1;
		cv_sni_opaque(bytes);
		bytes = ((bytes - 1) & (CV_SNI_CHUNK_BYTES - 1)) + 1;
		if (bpf_skb_load_bytes(skb, from, &hello->bytes[at], bytes))
			return 0;
		hello->len_bytes += bytes;
		from += bytes;
		left -= bytes;
	}
	hello->next_sequence += segment->payload_bytes;
	return 1;
}

/* The entry is still ours, and no other CPU had a segment of it meanwhile. */
static __always_inline _Bool is_sound(const struct cv_sni_hello *hello,
				      const struct segment *segment)
{
	return *(volatile const __u64 *)&hello->cookie == segment->cookie &&
	       !*(volatile const __u32 *)&hello->spoiled;
}

/* 1: the segment belongs at the hello's end; 0: it was there before; -1: it fits nowhere. */
static __always_inline int place(const struct cv_sni_hello *hello, const struct segment *segment)
{
	__u32 last = segment->sequence + segment->payload_bytes;

	if (without_sequence_rule || segment->sequence == hello->next_sequence)
		return 1;
	if ((__s32)(last - hello->next_sequence) > 0 || (__s32)(last - segment->expected) > 0)
		return -1; /* what the socket has not got it may yet get otherwise */
	return 0;
}

static __always_inline int decide(struct __sk_buff *skb, struct cv_sni_hello *hello,
				  const struct segment *segment, __u32 verdict)
{
	struct cv_sni_result result = {.table = segment->port.table};

	if (verdict == CV_SNI_NOT_TLS) {
		result.class = CV_SNI_CLASS_NOT_TLS;
		result.action = segment->port.not_tls;
	} else if (verdict == CV_SNI_NAMELESS) {
		result.class = CV_SNI_CLASS_NO_NAME;
	} else if (verdict == CV_SNI_NAMED) {
		find_class(hello, segment->port.table);
		result.class = hello->rule.class;
		result.action = hello->rule.action;
		result.has_uppercase = hello->has_uppercase;
	}
	if (verdict == CV_SNI_UNDECIDED || !is_sound(hello, segment))
		return end_undecided(skb, segment);
	(void)bpf_map_delete_elem(&sni_hellos, &segment->cookie);
	return end(skb, segment, &result);
}

static __always_inline int take(struct __sk_buff *skb, struct cv_sni_hello *hello,
				const struct segment *segment)
{
	int where = place(hello, segment);
	__u32 verdict;

	if (where == 0) {
		hello->busy = 0;
		return pass(skb);
	}
	if (where < 0 || !append(skb, hello, segment) || !is_sound(hello, segment)) {
		hello->spoiled = 1; /* if it became another's: that one may have got our bytes */
		return end_undecided(skb, segment);
	}
	verdict = cv_sni_read(hello);
	if (verdict != CV_SNI_MORE)
		return decide(skb, hello, segment, verdict);
	hello->busy = 0;
	return pass(skb);
}

/* ---- segments ----------------------------------------------------------------------------- */

/* False: nothing to look at. */
static __always_inline _Bool segment_read(struct __sk_buff *skb, struct segment *segment)
{
	struct bpf_sock *sock = skb->sk;
	struct tcp_sock *tcp;
	struct cv_sni_port *port;
	struct tcphdr header;
	__u32 number;

	if (!sock || (sock->state != STATE_ESTABLISHED && sock->state != STATE_SYN_RECV))
		return 0;
	if (bpf_skb_load_bytes(skb, 0, &header, sizeof(header)) || header.syn)
		return 0;
	segment->payload_at = header.doff * 4;
	if (segment->payload_at < sizeof(header) || skb->len <= segment->payload_at)
		return 0;
	segment->payload_bytes = skb->len - segment->payload_at;
	segment->sequence = bpf_ntohl(header.seq);
	number = bpf_ntohs(header.dest);
	port = bpf_map_lookup_elem(&sni_ports, &number);
	tcp = bpf_skc_to_tcp_sock(sock);
	if (!port || !tcp)
		return 0;
	segment->port = *port;
	/* in this order: the socket changes them in the other one */
	segment->expected = *(volatile __u32 *)__builtin_preserve_access_index(&tcp->rcv_nxt);
	segment->is_first =
		*(volatile __u64 *)__builtin_preserve_access_index(&tcp->bytes_received) == 0;
	segment->cookie = bpf_get_socket_cookie(skb);
	return 1;
}

/* A dropped connection starts again with its first byte, and so do we. */
static __always_inline _Bool starts_again(const struct segment *segment,
					  const struct cv_sni_result *result)
{
	return result->action == CV_SNI_DROP && segment->is_first &&
	       segment->sequence == segment->expected && result->table == segment->port.table;
}

SEC("socket")
int classify(struct __sk_buff *skb)
{
	struct segment segment = {0};
	struct cv_sni_result *result;
	struct cv_sni_hello *hello;

	if (!segment_read(skb, &segment))
		return pass(skb);
	result = bpf_map_lookup_elem(&sni_results, &segment.cookie);
	if (result && !starts_again(&segment, result)) {
		if (result->action != CV_SNI_DROP)
			return pass(skb);
		count(result->class, 0, 1);
		return 0;
	}
	segment.old_class = result ? result->class : CV_SNI_CLASS_NONE;
	hello = bpf_map_lookup_elem(&sni_hellos, &segment.cookie);
	if (!hello)
		hello = hello_new(&segment);
	if (!hello)
		return end_undecided(skb, &segment);
	if (__sync_val_compare_and_swap(&hello->busy, 0, 1) != 0) {
		hello->spoiled = 1;
		return pass(skb);
	}
	return take(skb, hello, &segment);
}

char _license[] SEC("license") = "Dual MIT/GPL";
