// SPDX-License-Identifier: MIT
/*
 * vmess_body.c - chunks of VMess, written and read one at a time.
 *
 * The masks of a length can be drawn once only, so what was read of a chunk whose end is not there
 * yet is remembered although its bytes are left where they are.
 */
#include "protocol/vmess_body.h"

#include <culvert/reason.h>

#include <errno.h>
#include <string.h>

#define LENGTH_BYTES 2
#define PADDING_SIZES 64

static size_t tag_bytes(const struct cv_vmess_body *body)
{
	return body->aead ? CV_AEAD_TAG : 0;
}

static int new_aead(struct cv_vmess_body *body, enum cv_vmess_cipher cipher, const uint8_t *key)
{
	uint8_t long_key[32];
	int error;

	if (cipher == CV_VMESS_NONE)
		return 0;
	if (cipher == CV_VMESS_AES_128_GCM) {
		body->aead = cv_aead_new(CV_AES_128_GCM, key, body->seals);
		return body->aead ? 0 : CV_INTERNAL_CRYPTO;
	}
	error = cv_vmess_chacha_key(key, long_key);
	if (!error)
		body->aead = cv_aead_new(CV_CHACHA20_POLY1305, long_key, body->seals);
	cv_cleanse(long_key, sizeof(long_key));
	return body->aead ? 0 : CV_INTERNAL_CRYPTO;
}

int cv_vmess_body_init(struct cv_vmess_body *body, const struct cv_vmess_request *request,
		       const struct cv_vmess_body_keys *keys, bool seals)
{
	const bool is_packets = request->command == CV_VMESS_UDP;
	int error;

	*body = (struct cv_vmess_body){.seals = seals};
	memcpy(body->iv, keys->iv, sizeof(body->iv));
	/* a stream without seal has none, whatever the options say */
	body->pads = (request->options & CV_VMESS_PADDING) &&
		     (request->cipher != CV_VMESS_NONE || is_packets);
	body->is_bare = request->cipher == CV_VMESS_NONE && !(request->options & CV_VMESS_CHUNKS);
	error = new_aead(body, request->cipher, keys->key);
	if (!error && !body->is_bare && (request->options & CV_VMESS_MASKING)) {
		body->mask = cv_shake_new(keys->iv, sizeof(keys->iv));
		error = body->mask ? 0 : CV_INTERNAL_CRYPTO;
	}
	return error;
}

void cv_vmess_body_done(struct cv_vmess_body *body)
{
	cv_aead_free(body->aead);
	cv_shake_free(body->mask);
	*body = (struct cv_vmess_body){.ended = true};
}

static void next_nonce(struct cv_vmess_body *body, uint8_t nonce[CV_AEAD_NONCE])
{
	memcpy(nonce, body->iv, CV_AEAD_NONCE);
	nonce[0] = (uint8_t)(body->chunk_count >> 8);
	nonce[1] = (uint8_t)body->chunk_count;
	body->chunk_count++;
}

/* Zero without a mask. */
static int next_mask(struct cv_vmess_body *body, uint16_t *ret_mask)
{
	uint8_t bytes[2] = {0, 0};
	const int error = body->mask ? cv_shake_read(body->mask, bytes, sizeof(bytes)) : 0;

	if (!error)
		*ret_mask = (uint16_t)(bytes[0] << 8 | bytes[1]);
	return error;
}

static int next_padding(struct cv_vmess_body *body, uint16_t *ret_bytes)
{
	uint16_t mask = 0;
	const int error = body->pads ? next_mask(body, &mask) : 0;

	if (!error)
		*ret_bytes = mask % PADDING_SIZES;
	return error;
}

/* ---- writing ------------------------------------------------------------------------------ */

static int seal(struct cv_vmess_body *body, struct cv_span payload, uint8_t *out)
{
	uint8_t nonce[CV_AEAD_NONCE];

	if (!body->aead) {
		if (payload.len_bytes)
			memcpy(out, payload.data, payload.len_bytes);
		return 0;
	}
	next_nonce(body, nonce);
	return cv_aead_seal(body->aead, nonce, NULL, 0, payload.data, payload.len_bytes, out);
}

int cv_vmess_body_write(struct cv_vmess_body *body, struct cv_span payload, struct cv_buffer *out)
{
	const size_t sealed_bytes = payload.len_bytes + tag_bytes(body);
	uint16_t mask = 0, padding_bytes = 0, length_bytes;
	uint8_t *space;
	int error;

	if (payload.len_bytes > UINT16_MAX - CV_VMESS_CHUNK_OVERHEAD)
		return CV_INTERNAL_STATE;
	if (body->is_bare)
		return payload.len_bytes
			       ? cv_buffer_append(out, payload.data, payload.len_bytes)
			       : 0;
	error = cv_buffer_reserve(out, LENGTH_BYTES + sealed_bytes + PADDING_SIZES, &space);
	if (!error)
		error = next_padding(body, &padding_bytes);
	if (!error)
		error = next_mask(body, &mask);
	if (!error)
		error = seal(body, payload, space + LENGTH_BYTES);
	if (!error && padding_bytes)
		error = cv_random_bytes(space + LENGTH_BYTES + sealed_bytes, padding_bytes);
	if (error)
		return error;
	length_bytes = (uint16_t)(sealed_bytes + padding_bytes);
	space[0] = (uint8_t)((length_bytes ^ mask) >> 8);
	space[1] = (uint8_t)(length_bytes ^ mask);
	cv_buffer_commit(out, LENGTH_BYTES + (size_t)length_bytes);
	return 0;
}

/* ---- reading ------------------------------------------------------------------------------ */

static int read_length(struct cv_vmess_body *body, struct cv_span in)
{
	uint16_t mask = 0;
	int error;

	if (in.len_bytes < LENGTH_BYTES)
		return -EAGAIN;
	error = next_padding(body, &body->padding_bytes);
	if (!error)
		error = next_mask(body, &mask);
	if (error)
		return error;
	body->length_bytes = (uint16_t)((in.data[0] << 8 | in.data[1]) ^ mask);
	if (body->length_bytes < body->padding_bytes + tag_bytes(body))
		return CV_PEER_DECODE;
	body->has_length = true;
	return 0;
}

static int open_chunk(struct cv_vmess_body *body, const uint8_t *sealed, size_t sealed_bytes,
		struct cv_buffer *out)
{
	const size_t payload_bytes = sealed_bytes - tag_bytes(body);
	uint8_t nonce[CV_AEAD_NONCE];
	uint8_t *space;
	int error;

	if (!body->aead)
		return cv_buffer_append(out, sealed, sealed_bytes);
	error = cv_buffer_reserve(out, payload_bytes ? payload_bytes : 1, &space);
	if (error)
		return error;
	next_nonce(body, nonce);
	error = cv_aead_open(body->aead, nonce, NULL, 0, sealed, sealed_bytes, space);
	if (!error)
		cv_buffer_commit(out, payload_bytes);
	return error;
}

static int read_bare(struct cv_span *in, struct cv_buffer *out)
{
	const int error = in->len_bytes ? cv_buffer_append(out, in->data, in->len_bytes) : -EAGAIN;

	if (!error)
		cv_span_skip(in, in->len_bytes);
	return error;
}

int cv_vmess_body_read(struct cv_vmess_body *body, struct cv_span *in, struct cv_buffer *out)
{
	size_t sealed_bytes;
	int error = 0;

	if (body->ended)
		return CV_VMESS_BODY_END;
	if (body->is_bare)
		return read_bare(in, out);
	if (!body->has_length)
		error = read_length(body, *in);
	if (error)
		return error;
	if (in->len_bytes < LENGTH_BYTES + (size_t)body->length_bytes)
		return -EAGAIN;
	sealed_bytes = (size_t)body->length_bytes - body->padding_bytes;
	error = open_chunk(body, in->data + LENGTH_BYTES, sealed_bytes, out);
	if (error)
		return error;
	cv_span_skip(in, LENGTH_BYTES + (size_t)body->length_bytes);
	body->has_length = false;
	body->ended = sealed_bytes == tag_bytes(body);
	return body->ended ? CV_VMESS_BODY_END : 0;
}
