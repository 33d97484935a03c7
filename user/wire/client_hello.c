// SPDX-License-Identifier: MIT
/*
 * client_hello.c - ClientHello out of records, and its fields.
 *
 *   stream bytes -> assembler (record headers off, fragments joined) -> message -> parser -> fields
 *
 * The parser is as strict as the TLS stack of REALITY's reference server, because both must agree
 * on which hellos are somebody else's: what one accepts and the other forwards would tell them
 * apart. Extensions are dispatched through a table; each entry consumes its body completely or the
 * whole message is malformed. Types that are not in the table, GREASE among them, are skipped.
 *
 * Nothing here answers the peer: a failure only means that the connection belongs to the target,
 * which was given the same bytes.
 */
#include "wire/client_hello.h"

#include <culvert/reason.h>

#include "base/cursor.h"

#include <errno.h>
#include <string.h>

#define HANDSHAKE_HEADER_BYTES 4
#define TYPE_CLIENT_HELLO 1
#define RECORD_HANDSHAKE 22
#define RECORD_ALERT 21
/* While no version is negotiated a record may be this long. REALITY 3.1 step 4. */
#define RECORD_MAX_BYTES (16384 + 2048)
#define VERSION_TLS13 0x0304
#define SESSION_ID_MAX 32

enum extension_type {
	EXT_SERVER_NAME = 0,
	EXT_STATUS_REQUEST = 5,
	EXT_SUPPORTED_GROUPS = 10,
	EXT_EC_POINT_FORMATS = 11,
	EXT_SIGNATURE_ALGORITHMS = 13,
	EXT_ALPN = 16,
	EXT_SCT = 18,
	EXT_EXTENDED_MASTER_SECRET = 23,
	EXT_PRE_SHARED_KEY = 41,
	EXT_EARLY_DATA = 42,
	EXT_SUPPORTED_VERSIONS = 43,
	EXT_COOKIE = 44,
	EXT_PSK_MODES = 45,
	EXT_SIGNATURE_ALGORITHMS_CERT = 50,
	EXT_KEY_SHARE = 51,
	EXT_ENCRYPTED_CLIENT_HELLO = 0xfe0d,
	EXT_RENEGOTIATION_INFO = 0xff01,
};

static struct cv_span span_left(const struct cv_reader *reader)
{
	return cv_span_of(reader->at, cv_reader_left(reader));
}

/* Marks the extension malformed; the caller of the table entry looks at @body afterwards. */
static void require(struct cv_reader *body, bool holds)
{
	if (!holds)
		body->failed = true;
}

/* ---- extensions ---- */

/* Longer names and names with NUL are nobody's server name, but could pass for one as C strings. */
static void take_host_name(struct cv_reader *body, const struct cv_reader *name,
			   struct cv_client_hello *hello)
{
	const struct cv_span text = span_left(name);

	require(body, !hello->has_server_name);
	require(body, text.len_bytes < sizeof(hello->server_name));
	if (body->failed)
		return;
	require(body, memchr(text.data, 0, text.len_bytes) == NULL);
	require(body, text.data[text.len_bytes - 1] != '.');
	memcpy(hello->server_name, text.data, text.len_bytes);
	hello->server_name[text.len_bytes] = '\0';
	hello->has_server_name = true;
}

static void parse_server_name(struct cv_reader *body, struct cv_client_hello *hello)
{
	struct cv_reader list = cv_read_vector16(body);

	require(body, cv_reader_left(&list) > 0);
	while (!body->failed && cv_reader_left(&list) > 0) {
		const uint8_t type = cv_read_u8(&list);
		const struct cv_reader name = cv_read_vector16(&list);

		require(body, !list.failed && cv_reader_left(&name) > 0);
		if (!body->failed && type == 0)
			take_host_name(body, &name, hello);
	}
}

static void parse_status_request(struct cv_reader *body, struct cv_client_hello *hello)
{
	(void)hello;
	cv_read_u8(body);
	cv_read_vector16(body);
	cv_read_vector16(body);
}

/* supported_groups, signature_algorithms, signature_algorithms_cert */
static void parse_u16_list(struct cv_reader *body, struct cv_client_hello *hello)
{
	const struct cv_reader list = cv_read_vector16(body);

	(void)hello;
	require(body, cv_reader_left(&list) > 0 && cv_reader_left(&list) % 2 == 0);
}

static void parse_point_formats(struct cv_reader *body, struct cv_client_hello *hello)
{
	const struct cv_reader list = cv_read_vector8(body);

	(void)hello;
	require(body, cv_reader_left(&list) > 0);
}

static enum cv_alpn_class alpn_class_of(struct cv_reader first)
{
	const struct cv_span name = span_left(&first);

	return name.len_bytes == 2 && memcmp(name.data, "h2", 2) == 0 ? CV_ALPN_H2 : CV_ALPN_OTHER;
}

static void parse_alpn(struct cv_reader *body, struct cv_client_hello *hello)
{
	struct cv_reader list = cv_read_vector16(body);

	require(body, cv_reader_left(&list) > 0);
	hello->alpn = span_left(&list);
	while (!body->failed && cv_reader_left(&list) > 0) {
		const struct cv_reader name = cv_read_vector8(&list);

		require(body, !list.failed && cv_reader_left(&name) > 0);
		if (hello->alpn_class == CV_ALPN_NONE)
			hello->alpn_class = alpn_class_of(name);
	}
}

/* signed_certificate_timestamp, extended_master_secret, early_data */
static void parse_empty(struct cv_reader *body, struct cv_client_hello *hello)
{
	(void)body;
	(void)hello;
}

static void parse_supported_versions(struct cv_reader *body, struct cv_client_hello *hello)
{
	struct cv_reader list = cv_read_vector8(body);

	require(body, cv_reader_left(&list) > 0 && cv_reader_left(&list) % 2 == 0);
	while (!body->failed && cv_reader_left(&list) > 0)
		hello->offers_tls13 |= cv_read_u16(&list) == VERSION_TLS13;
}

static void parse_cookie(struct cv_reader *body, struct cv_client_hello *hello)
{
	const struct cv_reader cookie = cv_read_vector16(body);

	(void)hello;
	require(body, cv_reader_left(&cookie) > 0);
}

/* psk_key_exchange_modes, renegotiation_info */
static void parse_vector8(struct cv_reader *body, struct cv_client_hello *hello)
{
	(void)hello;
	cv_read_vector8(body);
}

/* REALITY 3.4: the first share of each group that has the right length. */
static void take_share(uint16_t group, struct cv_span share, struct cv_client_hello *hello)
{
	if (group == CV_GROUP_X25519 && share.len_bytes == 32 &&
	    hello->x25519_share.len_bytes == 0)
		hello->x25519_share = share;
	if (group == CV_GROUP_X25519MLKEM768 && share.len_bytes == 1216 &&
	    hello->hybrid_share.len_bytes == 0) {
		hello->hybrid_share = share;
		hello->hybrid_before_x25519 = hello->x25519_share.len_bytes == 0;
	}
}

static void parse_key_share(struct cv_reader *body, struct cv_client_hello *hello)
{
	struct cv_reader list = cv_read_vector16(body);

	while (!body->failed && cv_reader_left(&list) > 0) {
		const uint16_t group = cv_read_u16(&list);
		const struct cv_reader share = cv_read_vector16(&list);

		require(body, !list.failed && cv_reader_left(&share) > 0);
		if (!body->failed)
			take_share(group, span_left(&share), hello);
	}
}

static void parse_psk_identities(struct cv_reader *body)
{
	struct cv_reader list = cv_read_vector16(body);

	require(body, cv_reader_left(&list) > 0);
	while (!body->failed && cv_reader_left(&list) > 0) {
		const struct cv_reader identity = cv_read_vector16(&list);

		cv_read_u32(&list); /* obfuscated_ticket_age */
		require(body, !list.failed && cv_reader_left(&identity) > 0);
	}
}

static void parse_psk_binders(struct cv_reader *body)
{
	struct cv_reader list = cv_read_vector16(body);

	require(body, cv_reader_left(&list) > 0);
	while (!body->failed && cv_reader_left(&list) > 0) {
		const struct cv_reader binder = cv_read_vector8(&list);

		require(body, !list.failed && cv_reader_left(&binder) > 0);
	}
}

static void parse_pre_shared_key(struct cv_reader *body, struct cv_client_hello *hello)
{
	(void)hello;
	parse_psk_identities(body);
	parse_psk_binders(body);
}

/* Only the shape: we own no ECH key, so that the outer hello counts. GREASE ECH looks the same. */
static void parse_ech(struct cv_reader *body, struct cv_client_hello *hello)
{
	const uint8_t type = cv_read_u8(body);

	(void)hello;
	if (type == 1) /* inner: nothing follows */
		return;
	require(body, type == 0);
	cv_read_u16(body);      /* KDF */
	cv_read_u16(body);      /* AEAD */
	cv_read_u8(body);       /* config id */
	cv_read_vector16(body); /* enc */
	cv_read_vector16(body); /* payload */
}

static const struct extension_parser {
	uint16_t type;
	void (*parse)(struct cv_reader *body, struct cv_client_hello *hello);
} extension_parsers[] = {
	{EXT_SERVER_NAME, parse_server_name},
	{EXT_STATUS_REQUEST, parse_status_request},
	{EXT_SUPPORTED_GROUPS, parse_u16_list},
	{EXT_EC_POINT_FORMATS, parse_point_formats},
	{EXT_SIGNATURE_ALGORITHMS, parse_u16_list},
	{EXT_ALPN, parse_alpn},
	{EXT_SCT, parse_empty},
	{EXT_EXTENDED_MASTER_SECRET, parse_empty},
	{EXT_PRE_SHARED_KEY, parse_pre_shared_key},
	{EXT_EARLY_DATA, parse_empty},
	{EXT_SUPPORTED_VERSIONS, parse_supported_versions},
	{EXT_COOKIE, parse_cookie},
	{EXT_PSK_MODES, parse_vector8},
	{EXT_SIGNATURE_ALGORITHMS_CERT, parse_u16_list},
	{EXT_KEY_SHARE, parse_key_share},
	{EXT_ENCRYPTED_CLIENT_HELLO, parse_ech},
	{EXT_RENEGOTIATION_INFO, parse_vector8},
};

static bool parse_extension(uint16_t type, struct cv_reader body, struct cv_client_hello *hello)
{
	const size_t count = sizeof(extension_parsers) / sizeof(extension_parsers[0]);

	for (size_t at = 0; at < count; at++) {
		if (extension_parsers[at].type != type)
			continue;
		extension_parsers[at].parse(&body, hello);
		return cv_reader_ended(&body);
	}
	return true;
}

/* One bit for each of the 65536 types: a hello may carry thousands, a list would be quadratic. */
struct seen_types {
	uint8_t bits[65536 / 8];
};

static bool note_type(struct seen_types *seen, uint16_t type)
{
	const uint8_t bit = (uint8_t)(1u << (type % 8));
	const bool fresh = (seen->bits[type / 8] & bit) == 0;

	seen->bits[type / 8] |= bit;
	return fresh;
}

static bool parse_extensions(struct cv_reader list, struct cv_client_hello *hello)
{
	struct seen_types seen = {0};

	while (cv_reader_left(&list) > 0) {
		const uint16_t type = cv_read_u16(&list);
		const struct cv_reader body = cv_read_vector16(&list);

		if (list.failed || !note_type(&seen, type))
			return false;
		if (type == EXT_PRE_SHARED_KEY && cv_reader_left(&list) > 0)
			return false; /* binders cover everything before them: must be last */
		if (!parse_extension(type, body, hello))
			return false;
	}
	return true;
}

/* ---- message ---- */

static bool parse_fields(struct cv_reader *reader, struct cv_client_hello *hello)
{
	cv_read_u16(reader); /* legacy_version says nothing, REALITY 3.3 */
	hello->random = cv_read_bytes(reader, 32);

	const struct cv_reader session_id = cv_read_vector8(reader);
	const struct cv_reader suites = cv_read_vector16(reader);
	const struct cv_reader compression = cv_read_vector8(reader);

	if (reader->failed)
		return false;
	if (cv_reader_left(&session_id) > SESSION_ID_MAX || cv_reader_left(&suites) % 2 != 0 ||
	    cv_reader_left(&suites) == 0 || cv_reader_left(&compression) == 0)
		return false;
	hello->session_id = span_left(&session_id);
	hello->cipher_suites = span_left(&suites);
	return true;
}

int cv_client_hello_parse(struct cv_span message, struct cv_client_hello *ret_hello)
{
	struct cv_client_hello hello = {.message = message};
	struct cv_reader reader = cv_reader_of(message.data, message.len_bytes);

	if (message.len_bytes > HANDSHAKE_HEADER_BYTES + CV_HELLO_MAX)
		return CV_PEER_TOO_LONG;

	const uint8_t type = cv_read_u8(&reader);
	const uint32_t body_bytes = cv_read_u24(&reader);

	if (reader.failed || type != TYPE_CLIENT_HELLO || body_bytes != cv_reader_left(&reader))
		return CV_PEER_DECODE;
	if (!parse_fields(&reader, &hello))
		return CV_PEER_DECODE;
	if (cv_reader_left(&reader) > 0) { /* a hello without extensions is legal */
		const struct cv_reader list = cv_read_vector16(&reader);

		if (!cv_reader_ended(&reader) || !parse_extensions(list, &hello))
			return CV_PEER_DECODE;
	}
	*ret_hello = hello;
	return 0;
}

/* ---- assembler ---- */

void cv_hello_assembler_init(struct cv_hello_assembler *assembler)
{
	*assembler = (struct cv_hello_assembler){0};
	cv_buffer_init(&assembler->message, HANDSHAKE_HEADER_BYTES + CV_HELLO_MAX);
}

void cv_hello_assembler_done(struct cv_hello_assembler *assembler)
{
	cv_buffer_done(&assembler->message);
	cv_hello_assembler_init(assembler);
}

static int check_record_header(struct cv_hello_assembler *assembler)
{
	const uint8_t *header = assembler->header;
	const size_t record_bytes = (size_t)(header[3] << 8 | header[4]);
	const bool first = cv_buffer_len(&assembler->message) == 0;

	if ((header[0] != RECORD_HANDSHAKE && header[0] != RECORD_ALERT) || header[1] >= 0x10)
		return first ? CV_PEER_NOT_TLS : CV_PEER_DECODE;
	if (record_bytes > RECORD_MAX_BYTES)
		return CV_PEER_TOO_LONG;
	if (header[0] == RECORD_ALERT || record_bytes == 0)
		return CV_PEER_DECODE;
	assembler->record_left = record_bytes;
	return 0;
}

static int take_record_header(struct cv_hello_assembler *assembler, struct cv_span *bytes)
{
	const size_t wanted = sizeof(assembler->header) - assembler->header_len;
	const size_t taken = bytes->len_bytes < wanted ? bytes->len_bytes : wanted;

	memcpy(assembler->header + assembler->header_len, bytes->data, taken);
	assembler->header_len += (uint8_t)taken;
	cv_span_skip(bytes, taken);
	if (taken < wanted)
		return 0;
	assembler->header_len = 0;
	return check_record_header(assembler);
}

static int check_message_header(struct cv_hello_assembler *assembler)
{
	const struct cv_span message = cv_buffer_span(&assembler->message);
	struct cv_reader reader = cv_reader_of(message.data, message.len_bytes);

	if (cv_read_u8(&reader) != TYPE_CLIENT_HELLO)
		return CV_PEER_DECODE;
	if (message.len_bytes < HANDSHAKE_HEADER_BYTES)
		return 0;

	const uint32_t body_bytes = cv_read_u24(&reader);

	if (body_bytes > CV_HELLO_MAX)
		return CV_PEER_TOO_LONG;
	if (body_bytes == 0)
		return CV_PEER_DECODE;
	assembler->needed_bytes = HANDSHAKE_HEADER_BYTES + body_bytes;
	return 0;
}

/* Bytes of the current record up to @limit_bytes of the message. */
static int take_fragment(struct cv_hello_assembler *assembler, struct cv_span *bytes,
			 size_t limit_bytes)
{
	size_t taken = limit_bytes - cv_buffer_len(&assembler->message);

	if (taken > assembler->record_left)
		taken = assembler->record_left;
	if (taken > bytes->len_bytes)
		taken = bytes->len_bytes;

	const int error = cv_buffer_append(&assembler->message, bytes->data, taken);

	if (error)
		return error;
	assembler->record_left -= taken;
	cv_span_skip(bytes, taken);
	return 0;
}

static int take_message(struct cv_hello_assembler *assembler, struct cv_span *bytes)
{
	int error = 0;

	if (assembler->needed_bytes == 0) {
		error = take_fragment(assembler, bytes, HANDSHAKE_HEADER_BYTES);
		return error ? error : check_message_header(assembler);
	}

	const size_t missing = assembler->needed_bytes - cv_buffer_len(&assembler->message);

	if (assembler->record_left > missing)
		return CV_PEER_DECODE; /* a second message in the same record */
	error = take_fragment(assembler, bytes, assembler->needed_bytes);
	if (error)
		return error;
	assembler->complete = cv_buffer_len(&assembler->message) == assembler->needed_bytes;
	return 0;
}

int cv_hello_assembler_add(struct cv_hello_assembler *assembler, struct cv_span bytes,
			   size_t *ret_used)
{
	struct cv_span left = bytes;

	while (!assembler->complete && left.len_bytes > 0) {
		const bool in_record = assembler->record_left > 0;
		const int error = in_record ? take_message(assembler, &left) :
					      take_record_header(assembler, &left);

		if (error)
			return error;
	}
	*ret_used = bytes.len_bytes - left.len_bytes;
	return assembler->complete ? 0 : -EAGAIN;
}
