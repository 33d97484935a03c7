/* SPDX-License-Identifier: MIT */
/*
 * vmess_header.h - VMess headers as they are on the wire: sealed by keys from the user's id.
 *
 *   request   auth id 16 | seal(length 2) 18 | nonce 8 | seal(instruction) length + 16
 *   response  seal(length 2) 18 | seal(response) length + 16
 *
 * What comes before opening is the same for all requests but for its length.
 */
#ifndef CV_PROTOCOL_VMESS_HEADER_H
#define CV_PROTOCOL_VMESS_HEADER_H

#include "crypto/vmess_keys.h"
#include "wire/vmess.h"

#define CV_VMESS_REQUEST_OVERHEAD (CV_VMESS_AUTH_ID + 18 + 8 + 16)

/** cv_vmess_request_make() - Fill in what is random or secret: IV, key, mark. 0 or
 * CV_INTERNAL_CRYPTO. */
int cv_vmess_request_make(struct cv_vmess_request *request);
/**
 * cv_vmess_request_seal() - Append the whole header.
 * @now_s: Unix time, which the server's may differ from by two minutes
 * Returns: 0; a buffer error; CV_INTERNAL_CRYPTO; CV_INTERNAL_STATE if it cannot be written.
 */
int cv_vmess_request_seal(const struct cv_vmess_request *request,
			  const uint8_t command_key[CV_VMESS_KEY], uint64_t now_s,
			  struct cv_buffer *out);
/**
 * cv_vmess_request_open() - Read a header whose auth id is @command_key's; it may be cut anywhere.
 * @ret_len: header length consumed
 * Returns: 0; -EAGAIN; CV_PEER_AUTH_FAILED: the seal is broken; reasons of cv_vmess_request_read();
 * CV_INTERNAL_CRYPTO.
 */
int cv_vmess_request_open(struct cv_span bytes, const uint8_t command_key[CV_VMESS_KEY],
			  struct cv_vmess_request *ret_request, size_t *ret_len);

/* Of the body in one direction. */
struct cv_vmess_body_keys {
	uint8_t key[16], iv[16];
};
/** cv_vmess_response_keys() - Of the downlink. 0 or CV_INTERNAL_CRYPTO. */
int cv_vmess_response_keys(const struct cv_vmess_request *request,
			   struct cv_vmess_body_keys *ret_keys);
/** cv_vmess_response_seal() - Append the response header. 0; a buffer error; CV_INTERNAL_CRYPTO. */
int cv_vmess_response_seal(const struct cv_vmess_body_keys *keys, uint8_t mark,
			   struct cv_buffer *out);
/** cv_vmess_response_open() - Read it, cut anywhere. Returns: 0 and its length; -EAGAIN;
 * CV_UPSTREAM_BAD_RECORD: the seal is broken, so that the server does not know our id;
 * CV_UPSTREAM_DECODE; CV_INTERNAL_CRYPTO. */
int cv_vmess_response_open(struct cv_span bytes, const struct cv_vmess_body_keys *keys,
			   uint8_t mark, size_t *ret_len);

#endif
