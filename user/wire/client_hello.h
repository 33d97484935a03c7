/* SPDX-License-Identifier: MIT */
/*
 * client_hello.h - reading a TLS ClientHello (RFC 8446 4.1.2) the way REALITY 3.2 demands.
 *
 *   handshake header 4 | legacy_version 2 | random 32 | session_id <0..32> | cipher_suites |
 *   compression | extensions
 */
#ifndef CV_WIRE_CLIENT_HELLO_H
#define CV_WIRE_CLIENT_HELLO_H

#include "base/buffer.h"

#define CV_HELLO_MAX 65536 /* bytes behind the 4-byte handshake header */
#define CV_GROUP_X25519 0x001d
#define CV_GROUP_X25519MLKEM768 0x11ec
#define CV_HELLO_RANDOM_OFFSET 6
#define CV_HELLO_SESSION_ID_OFFSET 39

/* ALPN class of a hello, REALITY 6.5. */
enum cv_alpn_class { CV_ALPN_NONE = 0, CV_ALPN_OTHER = 1, CV_ALPN_H2 = 2 };
#define CV_ALPN_CLASSES 3

struct cv_client_hello {
	struct cv_span message; /* whole handshake message, borrowed */
	const uint8_t *random;  /* 32 */
	struct cv_span session_id;
	struct cv_span cipher_suites; /* pairs of bytes */
	char server_name[256];        /* as sent, "" if absent; never holds a NUL of the peer */
	bool has_server_name;
	bool offers_tls13; /* 0x0304 in supported_versions */
	struct cv_span x25519_share;  /* first 001D share of exactly 32 bytes, or empty */
	struct cv_span hybrid_share;  /* first 11EC share of exactly 1216 bytes, or empty */
	bool hybrid_before_x25519;    /* hybrid share ahead of the X25519 share, or alone */
	struct cv_span alpn;          /* ProtocolNameList body, or empty */
	enum cv_alpn_class alpn_class;
};

/**
 * cv_client_hello_parse() - Read a whole ClientHello message (record headers removed).
 * @message: starts with type 01 and u24 length; exactly one message
 * @ret_hello: its views point into @message
 * Returns: 0; CV_PEER_DECODE for every shape REALITY 3.2 lists, and for server names of more than
 * 255 bytes or with NUL; CV_PEER_TOO_LONG above CV_HELLO_MAX.
 * Source: RFC 8446 4.1.2, 4.2; RFC 6066 3; RFC 7301; REALITY 3.2, 3.4.
 */
int cv_client_hello_parse(struct cv_span message, struct cv_client_hello *ret_hello);

/* Collects the handshake message out of records; bytes in any segmentation. */
struct cv_hello_assembler {
	struct cv_buffer message; /* handshake bytes so far */
	size_t needed_bytes;      /* 4 + u24 once known, else 0 */
	uint8_t header[5];
	uint8_t header_len;
	size_t record_left;
	bool complete;
};

/** cv_hello_assembler_init() - Expect the first byte of a connection; allocates nothing yet. */
void cv_hello_assembler_init(struct cv_hello_assembler *assembler);
/** cv_hello_assembler_done() - Free the message; the assembler may be used for another hello. */
void cv_hello_assembler_done(struct cv_hello_assembler *assembler);
/**
 * cv_hello_assembler_add() - Take stream bytes until the ClientHello is complete.
 * @ret_used: bytes of @bytes consumed (all of them unless complete)
 * Returns: 0 if complete; -EAGAIN if more is needed; CV_PEER_NOT_TLS (first record);
 * CV_PEER_TOO_LONG (record or message); CV_PEER_DECODE (not type 01, alert, zero-length record,
 * another record type between fragments, trailing handshake bytes in the last record);
 * CV_INTERNAL_MEMORY. After an error nothing more may be added.
 * Source: REALITY 3.1 step 4.
 */
int cv_hello_assembler_add(struct cv_hello_assembler *assembler, struct cv_span bytes,
			   size_t *ret_used);

#endif
