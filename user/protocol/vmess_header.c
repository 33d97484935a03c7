// SPDX-License-Identifier: MIT
/*
 * vmess_header.c - sealing and opening VMess headers, AES-128-GCM all of them.
 *
 * Keys and nonces of a request come from the command key along the auth id and the nonce, which
 * both are in front of what they seal; the auth id is also its additional data. Those of a response
 * come from the body's key and IV, hashed once.
 */
#include "protocol/vmess_header.h"

#include <culvert/reason.h>

#include <errno.h>
#include <string.h>

#define NONCE_BYTES 8
#define LENGTH_SEALED (2 + CV_AEAD_TAG)
#define PART(text) {text, sizeof(text) - 1}

struct salt { /* what a key and a nonce are derived along */
	struct cv_mac_part key, nonce;
};

static const struct salt request_length = {
	PART("VMess Header AEAD Key_Length"), PART("VMess Header AEAD Nonce_Length")};
static const struct salt request_payload = {
	PART("VMess Header AEAD Key"), PART("VMess Header AEAD Nonce")};
static const struct salt response_length = {
	PART("AEAD Resp Header Len Key"), PART("AEAD Resp Header Len IV")};
static const struct salt response_payload = {
	PART("AEAD Resp Header Key"), PART("AEAD Resp Header IV")};

/* One thing sealed. */
struct box {
	const uint8_t *key_base, *nonce_base; /* 16 bytes each */
	struct cv_mac_part path[2];	      /* behind the salt */
	size_t path_count;
	struct cv_mac_part additional;
};

static int derive(const struct box *box, const struct salt *salt, uint8_t ret_key[16],
		  uint8_t ret_nonce[CV_AEAD_NONCE])
{
	struct cv_mac_part path[3] = {salt->key};
	uint8_t derived[32];
	int error;

	memcpy(&path[1], box->path, sizeof(box->path));
	error = cv_vmess_kdf(box->key_base, path, 1 + box->path_count, derived);
	if (!error)
		memcpy(ret_key, derived, 16);
	path[0] = salt->nonce;
	if (!error)
		error = cv_vmess_kdf(box->nonce_base, path, 1 + box->path_count, derived);
	if (!error)
		memcpy(ret_nonce, derived, CV_AEAD_NONCE);
	cv_cleanse(derived, sizeof(derived));
	return error;
}

/* @out gets a tag more than @in; opening a tag less. */
static int run(const struct box *box, const struct salt *salt, bool seal, struct cv_span in,
	       uint8_t *out)
{
	uint8_t key[16], nonce[CV_AEAD_NONCE];
	struct cv_aead *aead = NULL;
	int error = derive(box, salt, key, nonce);

	if (!error)
		aead = cv_aead_new(CV_AES_128_GCM, key, seal);
	if (!error && !aead)
		error = CV_INTERNAL_CRYPTO;
	if (!error)
		error = (seal ? cv_aead_seal : cv_aead_open)(
			aead, nonce, box->additional.bytes, box->additional.count_bytes, in.data,
			in.len_bytes, out);
	cv_aead_free(aead);
	cv_cleanse(key, sizeof(key));
	return error;
}

static int append_sealed(const struct box *box, const struct salt *salt, struct cv_span bytes,
			 struct cv_buffer *out)
{
	uint8_t *space;
	int error = cv_buffer_reserve(out, bytes.len_bytes + CV_AEAD_TAG, &space);

	if (!error)
		error = run(box, salt, true, bytes, space);
	if (!error)
		cv_buffer_commit(out, bytes.len_bytes + CV_AEAD_TAG);
	return error;
}

static int append_length(const struct box *box, const struct salt *salt, size_t length,
			 struct cv_buffer *out)
{
	const uint8_t bytes[2] = {(uint8_t)(length >> 8), (uint8_t)length};

	return append_sealed(box, salt, cv_span_of(bytes, sizeof(bytes)), out);
}

static int open_length(const struct box *box, const struct salt *salt, const uint8_t *sealed,
		       size_t *ret_length)
{
	uint8_t bytes[2];
	const int error = run(box, salt, false, cv_span_of(sealed, LENGTH_SEALED), bytes);

	if (!error)
		*ret_length = (size_t)bytes[0] << 8 | bytes[1];
	return error;
}

/* ---- request ------------------------------------------------------------------------------ */

static struct box request_box(const uint8_t *command_key, const uint8_t *auth_id,
			      const uint8_t *nonce)
{
	return (struct box){
		.key_base = command_key,
		.nonce_base = command_key,
		.path = {{auth_id, CV_VMESS_AUTH_ID}, {nonce, NONCE_BYTES}},
		.path_count = 2,
		.additional = {auth_id, CV_VMESS_AUTH_ID},
	};
}

int cv_vmess_request_make(struct cv_vmess_request *request)
{
	uint8_t random[16 + 16 + 1];
	const int error = cv_random_bytes(random, sizeof(random));

	if (error)
		return error;
	memcpy(request->body_iv, random, 16);
	memcpy(request->body_key, random + 16, 16);
	request->response_mark = random[32];
	cv_cleanse(random, sizeof(random));
	return 0;
}

struct front { /* of a request */
	uint8_t auth_id[CV_VMESS_AUTH_ID], nonce[NONCE_BYTES];
};

static int make_front(const uint8_t command_key[CV_VMESS_KEY], uint64_t now_s,
		      struct front *ret_front)
{
	uint8_t auth_key[CV_VMESS_KEY], salt[4];
	int error = cv_vmess_auth_key(command_key, auth_key);

	if (!error)
		error = cv_random_bytes(salt, sizeof(salt));
	if (!error)
		error = cv_random_bytes(ret_front->nonce, sizeof(ret_front->nonce));
	if (!error)
		error = cv_vmess_auth_id_make(auth_key, now_s, salt, ret_front->auth_id);
	cv_cleanse(auth_key, sizeof(auth_key));
	return error;
}

static int write_instruction(const struct cv_vmess_request *request, struct cv_buffer *out)
{
	uint8_t padding[CV_VMESS_PADDING_MAX];
	const size_t padding_bytes = cv_random_below(CV_VMESS_PADDING_MAX + 1);
	const int error = cv_random_bytes(padding, sizeof(padding));

	return error ? error : cv_vmess_request_write(request, padding, padding_bytes, out);
}

int cv_vmess_request_seal(const struct cv_vmess_request *request,
			  const uint8_t command_key[CV_VMESS_KEY], uint64_t now_s,
			  struct cv_buffer *out)
{
	struct cv_buffer instruction;
	struct front front = {0};
	struct box box = {0};
	int error;

	cv_buffer_init(&instruction, CV_VMESS_INSTRUCTION_MAX);
	error = write_instruction(request, &instruction);
	if (!error)
		error = make_front(command_key, now_s, &front);
	if (!error) {
		box = request_box(command_key, front.auth_id, front.nonce);
		error = cv_buffer_append(out, front.auth_id, sizeof(front.auth_id));
	}
	if (!error)
		error = append_length(&box, &request_length, cv_buffer_len(&instruction), out);
	if (!error)
		error = cv_buffer_append(out, front.nonce, sizeof(front.nonce));
	if (!error)
		error = append_sealed(&box, &request_payload, cv_buffer_span(&instruction), out);
	cv_buffer_done(&instruction);
	return error;
}

static int blame_peer(int error)
{
	return error == CV_PEER_BAD_RECORD ? CV_PEER_AUTH_FAILED : error;
}

int cv_vmess_request_open(struct cv_span bytes, const uint8_t command_key[CV_VMESS_KEY],
			  struct cv_vmess_request *ret_request, size_t *ret_len)
{
	const size_t front_bytes = CV_VMESS_AUTH_ID + LENGTH_SEALED + NONCE_BYTES;
	const uint8_t *sealed_length = bytes.data + CV_VMESS_AUTH_ID;
	uint8_t instruction[CV_VMESS_INSTRUCTION_MAX];
	struct box box;
	size_t length = 0;
	int error;

	if (bytes.len_bytes < front_bytes)
		return -EAGAIN;
	box = request_box(command_key, bytes.data, sealed_length + LENGTH_SEALED);
	error = blame_peer(open_length(&box, &request_length, sealed_length, &length));
	if (error)
		return error;
	if (length < CV_VMESS_INSTRUCTION_MIN || length > sizeof(instruction))
		return CV_PEER_DECODE;
	if (bytes.len_bytes < front_bytes + length + CV_AEAD_TAG)
		return -EAGAIN;
	error = run(&box, &request_payload, false,
		    cv_span_of(bytes.data + front_bytes, length + CV_AEAD_TAG), instruction);
	error = blame_peer(error);
	if (!error)
		error = cv_vmess_request_read(cv_span_of(instruction, length), ret_request);
	cv_cleanse(instruction, sizeof(instruction));
	if (!error)
		*ret_len = front_bytes + length + CV_AEAD_TAG;
	return error;
}

/* ---- response ----------------------------------------------------------------------------- */

int cv_vmess_response_keys(const struct cv_vmess_request *request,
			   struct cv_vmess_body_keys *ret_keys)
{
	uint8_t digest[32];
	int error = cv_hash(CV_SHA256, request->body_key, sizeof(request->body_key), digest);

	if (!error)
		memcpy(ret_keys->key, digest, sizeof(ret_keys->key));
	if (!error)
		error = cv_hash(CV_SHA256, request->body_iv, sizeof(request->body_iv), digest);
	if (!error)
		memcpy(ret_keys->iv, digest, sizeof(ret_keys->iv));
	cv_cleanse(digest, sizeof(digest));
	return error;
}

static struct box response_box(const struct cv_vmess_body_keys *keys)
{
	return (struct box){.key_base = keys->key, .nonce_base = keys->iv};
}

int cv_vmess_response_seal(const struct cv_vmess_body_keys *keys, uint8_t mark,
			   struct cv_buffer *out)
{
	const struct box box = response_box(keys);
	uint8_t response[CV_VMESS_RESPONSE_MIN];
	int error;

	cv_vmess_response_write(mark, response);
	error = append_length(&box, &response_length, sizeof(response), out);
	if (!error)
		error = append_sealed(&box, &response_payload,
				      cv_span_of(response, sizeof(response)), out);
	return error;
}

static int blame_upstream(int error)
{
	return error == CV_PEER_BAD_RECORD ? CV_UPSTREAM_BAD_RECORD : error;
}

int cv_vmess_response_open(struct cv_span bytes, const struct cv_vmess_body_keys *keys,
			   uint8_t mark, size_t *ret_len)
{
	const struct box box = response_box(keys);
	uint8_t response[CV_VMESS_RESPONSE_MAX];
	size_t length = 0;
	int error;

	if (bytes.len_bytes < LENGTH_SEALED)
		return -EAGAIN;
	error = blame_upstream(open_length(&box, &response_length, bytes.data, &length));
	if (error)
		return error;
	if (length < CV_VMESS_RESPONSE_MIN || length > sizeof(response))
		return CV_UPSTREAM_DECODE;
	if (bytes.len_bytes < LENGTH_SEALED + length + CV_AEAD_TAG)
		return -EAGAIN;
	error = run(&box, &response_payload, false,
		    cv_span_of(bytes.data + LENGTH_SEALED, length + CV_AEAD_TAG), response);
	error = blame_upstream(error);
	if (!error)
		error = cv_vmess_response_read(cv_span_of(response, length), mark);
	if (!error)
		*ret_len = LENGTH_SEALED + length + CV_AEAD_TAG;
	return error;
}
