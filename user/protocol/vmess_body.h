/* SPDX-License-Identifier: MIT */
/*
 * vmess_body.h - the body of VMess in one direction: chunks, sealed one by one.
 *
 *   length 2, masked | sealed payload, tag 16 | padding 0..63      (length: of what follows it)
 *
 * Masks and the padding's sizes come out of SHAKE128 of the IV, the padding's first. The nonce of
 * chunk n is n, in 16 bits, and ten bytes of the IV: that it starts over after 65536 chunks is the
 * protocol's. An empty chunk is the end. Without seal there may be no chunks either, but bytes as
 * they are, until the carrier ends.
 */
#ifndef CV_PROTOCOL_VMESS_BODY_H
#define CV_PROTOCOL_VMESS_BODY_H

#include "protocol/vmess_header.h"

#define CV_VMESS_CHUNK_OVERHEAD (2 + CV_AEAD_TAG + 63)
/* Payload that is written: with all that goes around it one TLS record, which others accept. */
#define CV_VMESS_CHUNK_MAX (16384 - CV_VMESS_CHUNK_OVERHEAD)
#define CV_VMESS_BODY_END 1 /* the empty chunk: nothing comes behind it */

struct cv_vmess_body {
	struct cv_aead *aead;  /* NULL: only framed */
	struct cv_shake *mask; /* NULL: lengths as they are */
	bool pads, seals, is_bare;
	bool ended;
	uint16_t chunk_count;
	uint8_t iv[16];
	/* receiving: of the chunk that has begun */
	bool has_length;
	uint16_t length_bytes, padding_bytes;
};

/** cv_vmess_body_init() - 0 or CV_INTERNAL_CRYPTO; cv_vmess_body_done() in either case. */
int cv_vmess_body_init(struct cv_vmess_body *body, const struct cv_vmess_request *request,
		       const struct cv_vmess_body_keys *keys, bool seals);
void cv_vmess_body_done(struct cv_vmess_body *body);
/** cv_vmess_body_write() - Append one chunk of at most 65535 - CV_VMESS_CHUNK_OVERHEAD bytes; none:
 * the end. 0; a buffer error; CV_INTERNAL_CRYPTO; CV_INTERNAL_STATE: longer. */
int cv_vmess_body_write(struct cv_vmess_body *body, struct cv_span payload, struct cv_buffer *out);
/**
 * cv_vmess_body_read() - Take one chunk from the front of @in, append its payload to @out.
 * Returns: 0; CV_VMESS_BODY_END; -EAGAIN: nothing consumed, though the mask of a length is used up;
 * CV_PEER_DECODE: a length that cannot be; CV_PEER_BAD_RECORD; a buffer error; CV_INTERNAL_CRYPTO.
 */
int cv_vmess_body_read(struct cv_vmess_body *body, struct cv_span *in, struct cv_buffer *out);

#endif
