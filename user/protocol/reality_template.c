// SPDX-License-Identifier: MIT
/*
 * reality_template.c - the shape of the target's TLS 1.3 flight.
 *
 *   position  0 ServerHello   1 CCS   2 "EE"   3 "Certificate"   4 "CV"   5 "Finished"   6 "ticket"
 *   outer        22             20     23          23             23         23             23
 *
 * Positions 2.. are encrypted: what is in them is a guess that does not matter, their lengths do.
 * A record 2 of more than 512 bytes holds the rest of the flight as well (combined mode) and ends
 * the template with its header. Record 6 belongs to it only if the target sent it right away.
 *
 * All bytes are read again each time some more arrive. Nothing is consumed, so whatever disappoints
 * here can still be forwarded untouched.
 */
#include "protocol/reality_internal.h"

#include "base/cursor.h"
#include "protocol/tls_alert.h"

#include <culvert/reason.h>

#include <errno.h>
#include <string.h>

#define COMBINED_ABOVE 512
#define EXT_PRE_SHARED_KEY 41
#define EXT_SUPPORTED_VERSIONS 43
#define EXT_KEY_SHARE 51
#define VERSION_TLS12 0x0303
#define VERSION_TLS13 0x0304

/* SHA-256("HelloRetryRequest"), RFC 8446 4.1.3 */
static const uint8_t retry_random[32] = {
	0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c,
	0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb,
	0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
};

struct server_hello {
	struct cv_reality_template *template;
	const uint8_t *start;
	bool version_seen, share_seen;
};

/* ---- records ------------------------------------------------------------------------------ */

/* The header must match as far as it is there: an HTTP error or a banner may never grow to five
 * bytes. */
static int read_header(struct cv_span bytes, uint8_t type, size_t *ret_len)
{
	const uint8_t expected[3] = {type, 3, 3};
	size_t seen = bytes.len_bytes < sizeof(expected) ? bytes.len_bytes : sizeof(expected);
	size_t record_len;

	if (seen > 0 && memcmp(bytes.data, expected, seen) != 0)
		return CV_TARGET_TEMPLATE;
	if (bytes.len_bytes < CV_TLS_HEADER)
		return -EAGAIN;
	record_len = CV_TLS_HEADER + ((size_t)bytes.data[3] << 8 | bytes.data[4]);
	if (record_len > CV_TLS_RECORD_MAX)
		return CV_TARGET_TEMPLATE;
	*ret_len = record_len;
	return 0;
}

static int take_record(struct cv_span *bytes, uint8_t type, size_t *ret_len)
{
	int result = read_header(*bytes, type, ret_len);

	if (result)
		return result;
	if (bytes->len_bytes < *ret_len)
		return -EAGAIN;
	cv_span_skip(bytes, *ret_len);
	return 0;
}

/* ---- ServerHello -------------------------------------------------------------------------- */

static int read_key_share(struct server_hello *hello, struct cv_reader body)
{
	size_t body_bytes = cv_reader_left(&body);
	struct cv_reader share;

	if (hello->share_seen)
		return CV_TARGET_NOT_TLS13;
	if (body_bytes == 2)
		return CV_TARGET_HELLO_RETRY;
	hello->share_seen = true;
	hello->template->group = cv_read_u16(&body);
	share = cv_read_vector16(&body);
	if (!cv_reader_ended(&body))
		return CV_TARGET_NOT_TLS13;
	hello->template->key_share_offset = (size_t)(share.at - hello->start);
	if (hello->template->group == CV_GROUP_X25519)
		return cv_reader_left(&share) == CV_X25519_LEN ? 0 : CV_TARGET_GROUP;
	if (hello->template->group == CV_GROUP_X25519MLKEM768)
		return cv_reader_left(&share) == CV_REALITY_HYBRID_ANSWER ? 0 : CV_TARGET_GROUP;
	return CV_TARGET_GROUP;
}

static int read_extension(struct server_hello *hello, uint16_t type, struct cv_reader body)
{
	switch (type) {
	case EXT_SUPPORTED_VERSIONS:
		hello->version_seen = cv_read_u16(&body) == VERSION_TLS13 && cv_reader_ended(&body);
		return hello->version_seen ? 0 : CV_TARGET_NOT_TLS13;
	case EXT_KEY_SHARE:
		return read_key_share(hello, body);
	case EXT_PRE_SHARED_KEY: /* a resumed flight has no certificate: not our shape */
		return CV_TARGET_TEMPLATE;
	default:
		return 0;
	}
}

static int read_extensions(struct server_hello *hello, struct cv_reader list)
{
	int result = 0;

	while (result == 0 && cv_reader_left(&list) > 0) {
		uint16_t type = cv_read_u16(&list);
		struct cv_reader body = cv_read_vector16(&list);

		result = list.failed ? CV_TARGET_NOT_TLS13 : read_extension(hello, type, body);
	}
	if (result)
		return result;
	return hello->version_seen && hello->share_seen ? 0 : CV_TARGET_NOT_TLS13;
}

static int read_server_hello(struct cv_span message, const uint8_t *session_id,
			     struct cv_reality_template *template)
{
	struct cv_reader reader = cv_reader_of(message.data, message.len_bytes);
	struct server_hello hello = {.template = template, .start = message.data};
	uint8_t type = cv_read_u8(&reader);
	struct cv_reader body = cv_read_vector24(&reader), echo, extensions;
	const uint8_t *random;
	uint16_t version;

	if (type != CV_TLS_SERVER_HELLO || !cv_reader_ended(&reader))
		return CV_TARGET_NOT_TLS13;
	version = cv_read_u16(&body);
	random = cv_read_bytes(&body, 32);
	echo = cv_read_vector8(&body);
	template->suite = cv_tls_suite_find(cv_read_u16(&body));
	if (cv_read_u8(&body) != 0) /* compression */
		return CV_TARGET_NOT_TLS13;
	extensions = cv_read_vector16(&body);
	if (!cv_reader_ended(&body) || version != VERSION_TLS12 || !template->suite)
		return CV_TARGET_NOT_TLS13;
	if (memcmp(random, retry_random, sizeof(retry_random)) == 0)
		return CV_TARGET_HELLO_RETRY;
	if (cv_reader_left(&echo) != CV_REALITY_SESSION_ID_LEN ||
	    memcmp(echo.at, session_id, CV_REALITY_SESSION_ID_LEN) != 0)
		return CV_TARGET_SESSION_ID;
	return read_extensions(&hello, extensions);
}

static int take_server_hello(struct cv_span *bytes, const uint8_t *session_id,
			     struct cv_reality_template *template)
{
	struct cv_span start = *bytes;
	size_t record_len;
	int result = take_record(bytes, CV_TLS_HANDSHAKE, &record_len);

	if (result)
		return result == -EAGAIN ? result : CV_TARGET_NOT_TLS13;
	template->server_hello_len = record_len - CV_TLS_HEADER;
	if (template->server_hello_len > CV_REALITY_SERVER_HELLO_MAX)
		return CV_TARGET_NOT_TLS13;
	return read_server_hello(cv_span_of(start.data + CV_TLS_HEADER, template->server_hello_len),
				 session_id, template);
}

/* ---- the rest ----------------------------------------------------------------------------- */

static int take_ccs(struct cv_span *bytes)
{
	struct cv_span start = *bytes;
	size_t record_len;
	int result = read_header(*bytes, CV_TLS_CCS, &record_len);

	if (result == 0 && record_len != CV_TLS_HEADER + 1)
		return CV_TARGET_TEMPLATE;
	if (result == 0)
		result = take_record(bytes, CV_TLS_CCS, &record_len);
	if (result == 0 && start.data[CV_TLS_HEADER] != 1)
		return CV_TARGET_TEMPLATE;
	return result;
}

/*
 * observable: a target that sends tickets with its flight delivers them in one burst, so a started
 * record 6 is waited for; the length is known only when a byte follows its header.
 */
static int read_ticket(struct cv_span bytes, struct cv_reality_template *template)
{
	int result;

	template->record_len[6] = 0;
	if (bytes.len_bytes == 0)
		return 0;
	result = read_header(bytes, CV_TLS_APPLICATION, &template->record_len[6]);
	if (result == 0 && bytes.len_bytes <= CV_TLS_HEADER)
		result = -EAGAIN;
	return result;
}

int cv_reality_template_read(struct cv_span saved,
			     const uint8_t session_id[CV_REALITY_SESSION_ID_LEN],
			     struct cv_reality_template *ret_template)
{
	struct cv_reality_template template = {.combined = false};
	struct cv_span bytes = saved;
	int result = take_server_hello(&bytes, session_id, &template);

	if (result == 0)
		result = take_ccs(&bytes);
	if (result == 0)
		result = read_header(bytes, CV_TLS_APPLICATION, &template.record_len[2]);
	if (result)
		return result;
	template.combined = template.record_len[2] > COMBINED_ABOVE;
	for (int i = 2; i <= 5 && result == 0 && !template.combined; i++)
		result = take_record(&bytes, CV_TLS_APPLICATION, &template.record_len[i]);
	if (result == 0 && !template.combined)
		result = read_ticket(bytes, &template);
	if (result == 0)
		*ret_template = template;
	return result;
}
