/* SPDX-License-Identifier: MIT */
/*
 * client_hello.h - the server name of a ClientHello, as BPF and as plain C (for tests).
 *
 * It answers only about a hello that lies in one record and is well formed down to the fields of
 * its extensions, and then it answers what user/wire/client_hello.c would; of everything else it
 * says "undecided". One walk, one item a step: the state is in the hello itself, so that a verifier
 * has a handful of short paths to look at, and no number in it that it would have to follow.
 *
 *	extension --> of a fixed shape: checked as a whole -------------> next extension
 *	          \-> a list: at its first item, which is the next step --> ... its end -/
 *
 * Each access is masked to the buffer; whether it is inside the hello is checked by number. A
 * repeated extension type is malformed: types leave a bit each in 4096, two types with the same bit
 * are undecided like a repetition.
 */
#ifndef CULVERT_BPF_CLIENT_HELLO_H
#define CULVERT_BPF_CLIENT_HELLO_H

#include <culvert/classify.h>

#define CV_SNI_HELLO_BYTES 4096 /* a power of two */
#define CV_SNI_CHUNK_BYTES 1024 /* written at once, at most */
#define CV_SNI_STEPS 4096	/* items are two bytes at least, and each list begins and ends */
#define CV_SNI_NAME_MAX 255

#ifdef __bpf__
#define cv_sni_loop(count, step, hello) \
	({ \
		struct cv_sni_hello *cv_sni_loop_hello = (hello); \
		bpf_loop(count, step, &cv_sni_loop_hello, 0); \
	})
/* Keeps a compiler from proving a mask superfluous: the verifier cannot follow the proof. */
#define cv_sni_opaque(number) __asm__ volatile("" : "+r"(number))
#define CV_SNI_INLINE static __attribute__((always_inline)) inline
#else
#define cv_sni_loop(count, step, hello) \
	do { \
		struct cv_sni_hello *cv_sni_loop_hello = (hello); \
		for (__u32 cv_sni_at = 0; cv_sni_at < (count); cv_sni_at++) \
			if (step(cv_sni_at, &cv_sni_loop_hello)) \
				break; \
	} while (0)
#define cv_sni_opaque(number) (void)(number)
#define CV_SNI_INLINE static inline
#endif

enum cv_sni_verdict {
	CV_SNI_MORE,	  /* not yet */
	CV_SNI_NAMED,	  /* the name is in hello->name */
	CV_SNI_NAMELESS,  /* a ClientHello without server name */
	CV_SNI_NOT_TLS,	  /* no TLS record */
	CV_SNI_UNDECIDED, /* user space must read it */
};

enum cv_sni_state {
	CV_SNI_AT_EXTENSION,
	CV_SNI_AT_NAME,
	CV_SNI_AT_PROTOCOL,
	CV_SNI_AT_SHARE,
	CV_SNI_AT_IDENTITY,
	CV_SNI_AT_BINDER,
	CV_SNI_DONE,
	CV_SNI_BAD,
};

struct cv_sni_hello {
	/* whose it is; first, for it is written first when the entry becomes another's */
	__u64 cookie;
	__u32 busy, spoiled; /* another CPU reads it; another CPU had a segment meanwhile */
	__u32 next_sequence;
	__u32 len_bytes;
	/* the walk */
	__u32 state;
	__u32 at, end; /* next item; end of the hello */
	__u32 item_end; /* of the extension */
	__u32 list_end;
	__u32 name_at, name_len;
	__u32 has_name, has_uppercase;
	struct cv_sni_name key;
	struct cv_sni_rule rule;
	__u32 found;
	/* the name in lower case from [1] on, so that "*" fits before any of its dots */
	char name[2 * CV_CLASSIFY_NAME_BYTES + 8];
	__u8 seen[4096 / 8];
	__u8 bytes[CV_SNI_HELLO_BYTES + CV_SNI_CHUNK_BYTES];
};

CV_SNI_INLINE __u32 cv_sni_u8(const struct cv_sni_hello *hello, __u32 at)
{
	cv_sni_opaque(at);
	return hello->bytes[at & (CV_SNI_HELLO_BYTES - 1)];
}

CV_SNI_INLINE __u32 cv_sni_u16(const struct cv_sni_hello *hello, __u32 at)
{
	return cv_sni_u8(hello, at) << 8 | cv_sni_u8(hello, at + 1);
}

/* ---- extensions --------------------------------------------------------------------------- */

/* False also for the second of two types that share a bit. GREASE types and all that are in use
 * have bits of their own. */
CV_SNI_INLINE _Bool cv_sni_note(struct cv_sni_hello *hello, __u32 type)
{
	__u32 slot = type >> 3;
	__u8 bit = (__u8)(1u << (type & 7));

	cv_sni_opaque(slot);
	slot &= sizeof(hello->seen) - 1;
	if (hello->seen[slot] & bit)
		return 0;
	hello->seen[slot] |= bit;
	return 1;
}

/* Is the body a vector with one byte (or two) of length, and nothing behind it? */
CV_SNI_INLINE _Bool cv_sni_is_vector8(const struct cv_sni_hello *hello, __u32 at, __u32 len)
{
	return len >= 1 && cv_sni_u8(hello, at) == len - 1;
}

CV_SNI_INLINE _Bool cv_sni_is_vector16(const struct cv_sni_hello *hello, __u32 at, __u32 len)
{
	return len >= 2 && cv_sni_u16(hello, at) == len - 2;
}

/* status_request: u8, two vectors */
CV_SNI_INLINE _Bool cv_sni_is_status(const struct cv_sni_hello *hello, __u32 at, __u32 len)
{
	__u32 first;

	if (len < 5)
		return 0;
	first = cv_sni_u16(hello, at + 1);
	return first <= len - 5 && cv_sni_u16(hello, at + 3 + first) == len - 5 - first;
}

/* encrypted_client_hello: inner is one byte; outer: two identifiers, a byte, two vectors */
CV_SNI_INLINE _Bool cv_sni_is_ech(const struct cv_sni_hello *hello, __u32 at, __u32 len)
{
	__u32 first;

	if (len == 1)
		return cv_sni_u8(hello, at) == 1;
	if (len < 10 || cv_sni_u8(hello, at) != 0)
		return 0;
	first = cv_sni_u16(hello, at + 6);
	return first <= len - 10 && cv_sni_u16(hello, at + 8 + first) == len - 10 - first;
}

CV_SNI_INLINE _Bool cv_sni_has_shape(const struct cv_sni_hello *hello, __u32 type, __u32 at,
				     __u32 len)
{
	switch (type) {
	case 5:
		return cv_sni_is_status(hello, at, len);
	case 10: /* supported_groups, signature_algorithms, signature_algorithms_cert */
	case 13:
	case 50:
		return cv_sni_is_vector16(hello, at, len) && len > 2 && len % 2 == 0;
	case 11: /* ec_point_formats */
		return cv_sni_is_vector8(hello, at, len) && len > 1;
	case 18: /* signed_certificate_timestamp, extended_master_secret, early_data */
	case 23:
	case 42:
		return len == 0;
	case 43: /* supported_versions */
		return cv_sni_is_vector8(hello, at, len) && len > 1 && len % 2 == 1;
	case 44: /* cookie */
		return cv_sni_is_vector16(hello, at, len) && len > 2;
	case 45: /* psk_key_exchange_modes, renegotiation_info */
	case 0xff01:
		return cv_sni_is_vector8(hello, at, len);
	case 0xfe0d:
		return cv_sni_is_ech(hello, at, len);
	default:
		return 1;
	}
}

CV_SNI_INLINE __u32 cv_sni_list_state(__u32 type)
{
	switch (type) {
	case 0:
		return CV_SNI_AT_NAME;
	case 16:
		return CV_SNI_AT_PROTOCOL;
	case 41:
		return CV_SNI_AT_IDENTITY;
	case 51:
		return CV_SNI_AT_SHARE;
	default:
		return CV_SNI_AT_EXTENSION;
	}
}

/* A list is the whole body, but for the identities of pre_shared_key: binders follow. */
CV_SNI_INLINE __u32 cv_sni_list_begin(struct cv_sni_hello *hello, __u32 state, __u32 at, __u32 len)
{
	__u32 list;

	if (len < 2)
		return CV_SNI_BAD;
	list = cv_sni_u16(hello, at);
	if (list == 0 && state != CV_SNI_AT_SHARE)
		return CV_SNI_BAD;
	if (state == CV_SNI_AT_IDENTITY ? list > len - 2 : list != len - 2)
		return CV_SNI_BAD;
	hello->list_end = at + 2 + list;
	hello->at = at + 2;
	return state;
}

CV_SNI_INLINE __u32 cv_sni_extension(struct cv_sni_hello *hello, __u32 at, __u32 end)
{
	__u32 type, len, state;

	if (at == end)
		return CV_SNI_DONE;
	if (at > end || end - at < 4)
		return CV_SNI_BAD;
	type = cv_sni_u16(hello, at);
	len = cv_sni_u16(hello, at + 2);
	at += 4;
	if (len > end - at || !cv_sni_note(hello, type))
		return CV_SNI_BAD;
	if (type == 41 && at + len != end)
		return CV_SNI_BAD; /* its binders cover all before them */
	hello->item_end = at + len;
	state = cv_sni_list_state(type);
	if (state != CV_SNI_AT_EXTENSION)
		return cv_sni_list_begin(hello, state, at, len);
	if (!cv_sni_has_shape(hello, type, at, len))
		return CV_SNI_BAD;
	hello->at = at + len;
	return CV_SNI_AT_EXTENSION;
}

/* ---- items of lists ----------------------------------------------------------------------- */

CV_SNI_INLINE __u32 cv_sni_list_over(struct cv_sni_hello *hello, __u32 state, __u32 at)
{
	if (state == CV_SNI_AT_IDENTITY)
		return cv_sni_list_begin(hello, CV_SNI_AT_BINDER, at, hello->item_end - at);
	hello->at = hello->item_end;
	return CV_SNI_AT_EXTENSION;
}

/* Where the length of an item stands, in how many bytes, and what follows the item's body. */
CV_SNI_INLINE __u32 cv_sni_before(__u32 state)
{
	return state == CV_SNI_AT_NAME ? 1 : state == CV_SNI_AT_SHARE ? 2 : 0;
}

CV_SNI_INLINE _Bool cv_sni_is_short(__u32 state)
{
	return state == CV_SNI_AT_PROTOCOL || state == CV_SNI_AT_BINDER;
}

CV_SNI_INLINE _Bool cv_sni_take_name(struct cv_sni_hello *hello, __u32 at, __u32 len)
{
	if (hello->has_name || len > CV_SNI_NAME_MAX || cv_sni_u8(hello, at + len - 1) == '.')
		return 0;
	hello->has_name = 1;
	hello->name_at = at;
	hello->name_len = len;
	return 1;
}

CV_SNI_INLINE __u32 cv_sni_item(struct cv_sni_hello *hello, __u32 state, __u32 at)
{
	__u32 end = hello->list_end, first = at, len, head;

	if (at == end)
		return cv_sni_list_over(hello, state, at);
	head = cv_sni_before(state) + (cv_sni_is_short(state) ? 1 : 2);
	if (at > end || end - at < head)
		return CV_SNI_BAD;
	at += cv_sni_before(state);
	len = cv_sni_is_short(state) ? cv_sni_u8(hello, at) : cv_sni_u16(hello, at);
	at = first + head;
	if (len == 0 || len > end - at)
		return CV_SNI_BAD;
	if (state == CV_SNI_AT_NAME && cv_sni_u8(hello, first) == 0 &&
	    !cv_sni_take_name(hello, at, len))
		return CV_SNI_BAD;
	at += len;
	if (state == CV_SNI_AT_IDENTITY) {
		if (end - at < 4)
			return CV_SNI_BAD;
		at += 4; /* obfuscated_ticket_age */
	}
	hello->at = at;
	return state;
}

static long cv_sni_step(__u32 index, void *context)
{
	struct cv_sni_hello *hello = *(struct cv_sni_hello **)context;
	__u32 state = hello->state;

	(void)index;
	if (state >= CV_SNI_DONE)
		return 1;
	hello->state = state == CV_SNI_AT_EXTENSION ?
			       cv_sni_extension(hello, hello->at, hello->end) :
			       cv_sni_item(hello, state, hello->at);
	return 0;
}

/* ---- the hello ---------------------------------------------------------------------------- */

/* What the first bytes say before all are there. CV_SNI_NAMED: they are. */
CV_SNI_INLINE __u32 cv_sni_head(struct cv_sni_hello *hello)
{
	__u32 len = hello->len_bytes, record;

	if (len < 1)
		return CV_SNI_MORE;
	if (cv_sni_u8(hello, 0) != 22 && cv_sni_u8(hello, 0) != 21)
		return CV_SNI_NOT_TLS;
	if (len < 2)
		return CV_SNI_MORE;
	if (cv_sni_u8(hello, 1) >= 0x10)
		return CV_SNI_NOT_TLS;
	if (cv_sni_u8(hello, 0) == 21)
		return CV_SNI_UNDECIDED;
	if (len < 9)
		return CV_SNI_MORE;
	record = cv_sni_u16(hello, 3);
	if (cv_sni_u8(hello, 5) != 1 || cv_sni_u8(hello, 6) != 0 || record < 4 ||
	    record > CV_SNI_HELLO_BYTES - 5 || cv_sni_u16(hello, 7) != record - 4)
		return CV_SNI_UNDECIDED;
	hello->end = 5 + record;
	return len < hello->end ? CV_SNI_MORE : CV_SNI_NAMED;
}

/* Fixed fields: true with hello->at at the first extension, or at the end where there is none. */
CV_SNI_INLINE _Bool cv_sni_fields(struct cv_sni_hello *hello)
{
	__u32 end = hello->end, at = 5 + 4 + 2 + 32, len;

	if (at + 1 > end)
		return 0;
	len = cv_sni_u8(hello, at); /* session_id */
	at += 1 + len;
	if (len > 32 || at + 2 > end)
		return 0;
	len = cv_sni_u16(hello, at); /* cipher_suites */
	at += 2 + len;
	if (len == 0 || len % 2 != 0 || at + 1 > end)
		return 0;
	len = cv_sni_u8(hello, at); /* compression */
	at += 1 + len;
	if (len == 0 || at > end)
		return 0;
	hello->at = at;
	if (at == end)
		return 1;
	if (at + 2 > end || cv_sni_u16(hello, at) != end - at - 2)
		return 0;
	hello->at = at + 2;
	return 1;
}

static long cv_sni_letter(__u32 index, void *context)
{
	struct cv_sni_hello *hello = *(struct cv_sni_hello **)context;
	__u32 letter;

	if (index >= hello->name_len)
		return 1;
	letter = cv_sni_u8(hello, hello->name_at + index);
	if (letter == 0) {
		hello->state = CV_SNI_BAD;
		return 1;
	}
	if (letter >= 'A' && letter <= 'Z') {
		letter |= 0x20;
		hello->has_uppercase = 1;
	}
	cv_sni_opaque(index);
	hello->name[1 + (index & CV_SNI_NAME_MAX)] = (char)letter;
	return 0;
}

/* Read the first @hello->len_bytes of a connection. All else in @hello is zero at the first call;
 * after CV_SNI_MORE it may be called again with more bytes. */
CV_SNI_INLINE enum cv_sni_verdict cv_sni_read(struct cv_sni_hello *hello)
{
	__u32 verdict = cv_sni_head(hello);

	if (verdict != CV_SNI_NAMED)
		return (enum cv_sni_verdict)verdict;
	if (!cv_sni_fields(hello))
		return CV_SNI_UNDECIDED;
	hello->state = CV_SNI_AT_EXTENSION;
	cv_sni_loop(CV_SNI_STEPS, cv_sni_step, hello);
	if (hello->state != CV_SNI_DONE)
		return CV_SNI_UNDECIDED;
	if (!hello->has_name)
		return CV_SNI_NAMELESS;
	cv_sni_loop(CV_SNI_NAME_MAX, cv_sni_letter, hello);
	return hello->state == CV_SNI_DONE ? CV_SNI_NAMED : CV_SNI_UNDECIDED;
}

#endif
