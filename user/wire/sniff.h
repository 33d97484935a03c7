/* SPDX-License-Identifier: MIT */
/*
 * sniff.h - which protocol a client speaks, and the name of whom it speaks to, by its first bytes.
 */
#ifndef CV_WIRE_SNIFF_H
#define CV_WIRE_SNIFF_H

#include "wire/client_hello.h"

#define CV_SNIFF_MAX 32767 /* whatever has no name by then is let go */

enum cv_sniffed { CV_SNIFFED_NOTHING = 0, CV_SNIFFED_HTTP = 1, CV_SNIFFED_TLS = 2 };

struct cv_sniff {
	enum cv_sniffed protocol;
	char name[256]; /* "" = none; as sent, a port removed */
	struct cv_hello_assembler hello;
	size_t hello_bytes; /* of the stream that hello has */
};

void cv_sniff_init(struct cv_sniff *sniff);
void cv_sniff_done(struct cv_sniff *sniff);
/**
 * cv_sniff_read() - Look at the stream so far; nothing is consumed.
 * @stream: all of it, from its first byte; longer with each call
 * Returns: 0: protocol and name say what there is, maybe nothing; -EAGAIN: more bytes may tell.
 * Source: compat 3.1; RFC 8446 4.1.2; RFC 9112 3.2.
 */
int cv_sniff_read(struct cv_sniff *sniff, struct cv_span stream);

#endif
