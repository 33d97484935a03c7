/* SPDX-License-Identifier: MIT */
/*
 * hello_shapes.h - the hello of REALITY 14, and extensions (type, length, body) that a parser must
 * take or refuse: for the one in user space and for the one in the kernel.
 */
#ifndef CV_TESTS_HELLO_SHAPES_H
#define CV_TESTS_HELLO_SHAPES_H

static const char hello_vector_hex[] =
	"010000b90303808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f20"
	"9f287bc1a1b2f5178e2a3824399e46291c75e9f181d5f32ef7de3636c6cd0741"
	"000613011302130301 00006a 00000014001200000f7777772e6578616d706c652e636f6d"
	"000a00040002001d 000d0006000404030807 00100005000302 6832 002b0003020304 002d00020101"
	"003300260024001d0020"
	"5869aff450549732cbaaed5e5df9b30a6da31cb0e5742bad5ad4a1a768f1a67b";

static const char *const hello_accepted[] = {
	"",
	"0a0a 0000",						/* GREASE, empty */
	"fafa 0001 00",						/* GREASE, one byte */
	"1234 0003 010203",					/* unknown */
	"0000 0006 0004 00 0001 61",
	"0005 0005 01 0000 0000",				/* status_request */
	"000a 0008 0006 1a1a 11ec 001d",
	"000b 0002 01 00",
	"000d 0004 0002 0403",
	"0010 000b 0009 08 687474702f312e31",
	"0012 0000",						/* SCT */
	"0015 0003 000000",					/* padding */
	"0017 0000",						/* extended_master_secret */
	"001b 0003 02 0002",					/* compress_certificate */
	"0023 0000",						/* session_ticket */
	"0023 0004 01020304",
	"0029 0017 0008 0002 aabb 00000001 000b 0a 01020304050607080910",
	"002a 0000",						/* early_data */
	"002b 0005 04 6a6a 0304",
	"002c 0003 0001 ff",					/* cookie */
	"002d 0002 01 01",
	"002d 0001 00",						/* no modes: read over */
	"0032 0004 0002 0403",
	"0033 0002 0000",					/* no shares at all */
	("0033 002b 0029 1a1a 0001 00 001d 0020"
	 "0000000000000000000000000000000000000000000000000000000000000000"),
	"0039 0002 ffff",					/* QUIC parameters */
	"44cd 0005 0003 02 6832",				/* application_settings */
	"fe0d 000a 00 0001 0001 aa 0000 0000",			/* ECH outer */
	"fe0d 000c 00 0001 0003 07 0001 bb 0001 cc",
	"fe0d 0001 01",						/* ECH inner */
	"ff01 0001 00",
};

static const struct {
	const char *what, *hex;
} hello_refused[] = {
	{"duplicate", "1234 0000 1234 0000"},
	{"duplicate of a known one", "0017 0000 0017 0000"},
	{"duplicate GREASE", "0a0a 0000 1234 0000 0a0a 0000"},
	{"type cut", "00"},
	{"length cut", "1234 00"},
	{"body cut", "1234 0002 00"},
	{"SNI: no body", "0000 0000"},
	{"SNI: empty list", "0000 0002 0000"},
	{"SNI: empty name", "0000 0005 0003 00 0000"},
	{"SNI: empty name of another type", "0000 0005 0003 07 0000"},
	{"SNI: two host names", "0000 000a 0008 00 0001 61 00 0001 62"},
	{"SNI: same host name twice", "0000 000a 0008 00 0001 61 00 0001 61"},
	{"SNI: trailing dot", "0000 0008 0006 00 0003 612e2e"},
	{"SNI: only a dot", "0000 0006 0004 00 0001 2e"},
	{"SNI: NUL inside", "0000 0008 0006 00 0003 610062"},
	{"SNI: NUL at the end", "0000 0007 0005 00 0002 6100"},
	{"SNI: name cut", "0000 0006 0004 00 0002 61"},
	{"SNI: entry cut", "0000 0004 0002 00 00"},
	{"SNI: list cut", "0000 0004 0005 00 0001"},
	{"SNI: trailing byte", "0000 0007 0004 00 0001 61 00"},
	{"status_request: empty", "0005 0000"},
	{"status_request: list cut", "0005 0004 01 0000 00"},
	{"status_request: trailing byte", "0005 0006 01 0000 0000 00"},
	{"groups: no body", "000a 0000"},
	{"groups: empty", "000a 0002 0000"},
	{"groups: odd", "000a 0003 0001 00"},
	{"groups: trailing byte", "000a 0005 0002 001d 00"},
	{"groups: cut", "000a 0004 0004 001d"},
	{"point formats: empty", "000b 0001 00"},
	{"point formats: no body", "000b 0000"},
	{"point formats: trailing byte", "000b 0003 01 00 00"},
	{"signature_algorithms: empty", "000d 0002 0000"},
	{"signature_algorithms: odd", "000d 0005 0003 040308"},
	{"signature_algorithms: trailing byte", "000d 0005 0002 0403 00"},
	{"ALPN: no body", "0010 0000"},
	{"ALPN: empty list", "0010 0002 0000"},
	{"ALPN: empty name", "0010 0003 0001 00"},
	{"ALPN: empty second name", "0010 0006 0004 02 6832 00"},
	{"ALPN: name cut", "0010 0005 0003 03 6832"},
	{"ALPN: trailing byte", "0010 0006 0003 02 6832 00"},
	{"SCT: body", "0012 0001 00"},
	{"extended_master_secret: body", "0017 0001 00"},
	{"PSK: not last", "0029 000f 0007 0001 aa 00000001 0004 03 010203 1234 0000"},
	{"PSK: no identities", "0029 0008 0000 0004 03 010203"},
	{"PSK: empty identity", "0029 000e 0006 0000 00000001 0004 03 010203"},
	{"PSK: age cut", "0029 000c 0006 0001 aa 000001 0001 00"},
	{"PSK: no binders", "0029 000b 0007 0001 aa 00000001 0000"},
	{"PSK: empty binder", "0029 000c 0007 0001 aa 00000001 0001 00"},
	{"PSK: binders missing", "0029 0009 0007 0001 aa 00000001"},
	{"PSK: trailing byte", "0029 0010 0007 0001 aa 00000001 0004 03 010203 00"},
	{"early_data: body", "002a 0001 00"},
	{"versions: no body", "002b 0000"},
	{"versions: empty", "002b 0001 00"},
	{"versions: odd", "002b 0004 03 030403"},
	{"versions: trailing byte", "002b 0004 02 0304 00"},
	{"cookie: empty", "002c 0002 0000"},
	{"cookie: trailing byte", "002c 0004 0001 aa 00"},
	{"PSK modes: no body", "002d 0000"},
	{"PSK modes: trailing byte", "002d 0003 01 01 00"},
	{"signature_algorithms_cert: empty", "0032 0002 0000"},
	{"key_share: no body", "0033 0000"},
	{"key_share: empty share", "0033 0006 0004 001d 0000"},
	{"key_share: empty GREASE share", "0033 0006 0004 1a1a 0000"},
	{"key_share: share cut", "0033 0007 0005 001d 0002 aa"},
	{"key_share: entry cut", "0033 0005 0003 001d 00"},
	{"key_share: trailing byte", "0033 0003 0000 00"},
	{"ECH: empty", "fe0d 0000"},
	{"ECH: unknown type", "fe0d 0001 02"},
	{"ECH: unknown type, outer shape", "fe0d 000a 05 0001 0001 aa 0000 0000"},
	{"ECH outer: cut", "fe0d 0008 00 0001 0001 aa 0000"},
	{"ECH outer: payload cut", "fe0d 000a 00 0001 0001 aa 0000 0001"},
	{"ECH outer: trailing byte", "fe0d 000b 00 0001 0001 aa 0000 0000 00"},
	{"ECH inner: trailing byte", "fe0d 0002 01 00"},
	{"renegotiation_info: no body", "ff01 0000"},
	{"renegotiation_info: trailing byte", "ff01 0002 00 00"},
};

#define HELLO_ACCEPTED_COUNT (sizeof(hello_accepted) / sizeof(hello_accepted[0]))
#define HELLO_REFUSED_COUNT (sizeof(hello_refused) / sizeof(hello_refused[0]))

#endif
