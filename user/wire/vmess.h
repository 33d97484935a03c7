/* SPDX-License-Identifier: MIT */
/*
 * vmess.h - VMess version 1 in clear: the instruction that a request header encrypts, and what a
 * response header does.
 *
 *   instruction  01 | IV 16 | key 16 | V 1 | option 1 | padding P, cipher 4 bits each | 0 | command
 *                [port 2 | type 1 | address] | P random bytes | FNV-1a 4, of all before
 *   response     V | option | command 1 | length 1 | command's bytes
 */
#ifndef CV_WIRE_VMESS_H
#define CV_WIRE_VMESS_H

#include "base/address.h"
#include "base/buffer.h"

enum cv_vmess_command { CV_VMESS_TCP = 1, CV_VMESS_UDP = 2, CV_VMESS_MUX = 3 };
enum cv_vmess_cipher { /* of the body, as on the wire */
	CV_VMESS_AES_128_GCM = 3,
	CV_VMESS_CHACHA20_POLY1305 = 4,
	CV_VMESS_NONE = 5,
};
enum cv_vmess_option {
	CV_VMESS_CHUNKS = 0x01,	 /* the body comes in chunks */
	CV_VMESS_REUSE = 0x02,	 /* of old versions, means nothing */
	CV_VMESS_MASKING = 0x04, /* their lengths are masked by SHAKE128 */
	CV_VMESS_PADDING = 0x08, /* and bytes of a hidden number added */
	CV_VMESS_SEALED_LENGTH = 0x10, /* lengths are sealed: not understood here */
};

#define CV_VMESS_INSTRUCTION_MIN (38 + 4)
#define CV_VMESS_INSTRUCTION_MAX (38 + 2 + 2 + CV_DOMAIN_MAX + 15 + 4)
#define CV_VMESS_PADDING_MAX 15

struct cv_vmess_request {
	uint8_t body_iv[16], body_key[16]; /* random, of the client */
	uint8_t response_mark; /* V: what the response must begin with */
	uint8_t options;       /* bits of enum cv_vmess_option */
	enum cv_vmess_cipher cipher;
	enum cv_vmess_command command;
	struct cv_destination destination; /* kind NONE for MUX */
};

/**
 * cv_vmess_request_read() - The whole instruction.
 * Returns: 0; CV_PEER_PROTOCOL_VERSION; CV_PEER_DECODE: cut short, bytes behind it, checksum, a
 * cipher or options that we do not understand; CV_PEER_COMMAND; CV_PEER_ADDRESS. Source: the VMess
 * description at xtls.github.io, "Instruction part".
 */
int cv_vmess_request_read(struct cv_span bytes, struct cv_vmess_request *ret_request);
/**
 * cv_vmess_request_write() - Append the instruction, with @padding_bytes (at most 15) of @padding.
 * Returns: 0; a buffer error; CV_INTERNAL_STATE if the destination cannot be written.
 */
int cv_vmess_request_write(const struct cv_vmess_request *request, const uint8_t *padding,
			   size_t padding_bytes, struct cv_buffer *out);

#define CV_VMESS_RESPONSE_MIN 4
#define CV_VMESS_RESPONSE_MAX (4 + 255)
/** cv_vmess_response_read() - 0; CV_UPSTREAM_DECODE: cut short, or not the answer to the request
 * with @mark. Commands in it (go to another port) are skipped. */
int cv_vmess_response_read(struct cv_span bytes, uint8_t mark);
/** cv_vmess_response_write() - Without command. */
void cv_vmess_response_write(uint8_t mark, uint8_t ret_bytes[CV_VMESS_RESPONSE_MIN]);

#endif
