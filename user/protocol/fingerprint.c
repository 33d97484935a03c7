// SPDX-License-Identifier: MIT
/*
 * fingerprint.c - builds a ClientHello from a browser's shape (fingerprint_shape.h).
 *
 *   shape (data per browser) --> order of extensions --> one writer per extension --> message
 *                  inputs (keys, names) ----------------^
 *
 * A greased value is drawn once per role and hello, as BoringSSL does: suite, group (the same in
 * supported_groups and key_share), version and two different extension types. An extension whose
 * content does not apply (no SNI, no ALPN, ALPS without h2) is left out, nothing else ever is.
 */
#include "protocol/fingerprint_shape.h"

#include "base/cursor.h"
#include "base/reason.h"
#include "crypto/crypto.h"
#include "wire/client_hello.h"

#include <string.h>
#include <strings.h>

#define EXTENSIONS_MAX 32
#define RANDOM_LEN 32
#define GROUP_P256 0x0017
#define SUITE_AES128_SHA256 0x1301
#define SUITE_AES256_SHA384 0x1302
#define SUITE_CHACHA20_SHA256 0x1303
#define P256_POINT 65
#define RECORD_SIZE_LIMIT 0x4001 /* RFC 8449: 2^14 plus the content type byte */

struct hello_build {
	const struct cv_hello_shape *shape;
	const struct cv_hello_inputs *inputs;
	const char *const *alpn;
	struct cv_writer writer;
	uint16_t grease_suite, grease_group, grease_version, grease_extension[2];
	int grease_extensions_written;
	int result;
};

static const struct cv_hello_shape *shape_of(enum cv_fingerprint fingerprint)
{
	switch (fingerprint) {
	case CV_FINGERPRINT_CHROME:
		return &cv_hello_shape_chrome;
	case CV_FINGERPRINT_FIREFOX:
		return &cv_hello_shape_firefox;
	case CV_FINGERPRINT_SAFARI:
		return &cv_hello_shape_safari;
	case CV_FINGERPRINT_GO:
		return &cv_hello_shape_go;
	case CV_FINGERPRINT_RANDOM:
		break;
	}
	return NULL;
}

const char *cv_fingerprint_name(enum cv_fingerprint fingerprint)
{
	const struct cv_hello_shape *shape = shape_of(fingerprint);

	return shape ? shape->name : "random";
}

enum cv_fingerprint cv_fingerprint_resolve(enum cv_fingerprint fingerprint)
{
	static const enum cv_fingerprint browsers[] = {
		CV_FINGERPRINT_CHROME, CV_FINGERPRINT_FIREFOX, CV_FINGERPRINT_SAFARI};

	if (fingerprint != CV_FINGERPRINT_RANDOM)
		return fingerprint;
	return browsers[cv_random_below(sizeof(browsers) / sizeof(browsers[0]))];
}

bool cv_fingerprint_sends_p256(enum cv_fingerprint fingerprint)
{
	const struct cv_hello_shape *shape = shape_of(fingerprint);

	for (size_t i = 0; shape && i < shape->shares.count; i++)
		if (shape->shares.values[i] == GROUP_P256)
			return true;
	return false;
}

bool cv_fingerprint_reuses_x25519(enum cv_fingerprint fingerprint)
{
	const struct cv_hello_shape *shape = shape_of(fingerprint);

	return shape && shape->reuses_x25519;
}

const char *const *cv_fingerprint_default_alpn(enum cv_fingerprint fingerprint)
{
	static const char *const none[] = {NULL};
	const struct cv_hello_shape *shape = shape_of(fingerprint);

	return shape ? shape->alpn : none;
}

/* ---- names ---- */

struct fingerprint_alias {
	const char *name;
	bool prefix; /* any text may follow */
	int result;  /* 0 or CV_INTERNAL_CONFIG */
	enum cv_fingerprint fingerprint;
};

/* First match wins: names that cannot speak TLS 1.3 stand ahead of their family's prefix. */
static const struct fingerprint_alias aliases[] = {
	{"chrome", false, 0, CV_FINGERPRINT_CHROME},
	{"edge", false, 0, CV_FINGERPRINT_CHROME},
	{"qq", false, 0, CV_FINGERPRINT_CHROME},
	{"firefox", false, 0, CV_FINGERPRINT_FIREFOX},
	{"safari", false, 0, CV_FINGERPRINT_SAFARI},
	{"ios", false, 0, CV_FINGERPRINT_SAFARI},
	{"random", false, 0, CV_FINGERPRINT_RANDOM},
	{"randomized", false, 0, CV_FINGERPRINT_RANDOM},
	{"randomizedalpn", false, 0, CV_FINGERPRINT_RANDOM},
	{"hellochrome_58", false, CV_INTERNAL_CONFIG, CV_FINGERPRINT_CHROME},
	{"hellochrome_62", false, CV_INTERNAL_CONFIG, CV_FINGERPRINT_CHROME},
	{"hellochrome_", true, 0, CV_FINGERPRINT_CHROME},
	{"helloedge_", true, 0, CV_FINGERPRINT_CHROME},
	{"hello360_11_0", false, 0, CV_FINGERPRINT_CHROME},
	{"helloqq_", true, 0, CV_FINGERPRINT_CHROME},
	{"hellofirefox_55", false, CV_INTERNAL_CONFIG, CV_FINGERPRINT_FIREFOX},
	{"hellofirefox_56", false, CV_INTERNAL_CONFIG, CV_FINGERPRINT_FIREFOX},
	{"hellofirefox_", true, 0, CV_FINGERPRINT_FIREFOX},
	{"hellosafari_", true, 0, CV_FINGERPRINT_SAFARI},
	{"helloios_11_1", false, CV_INTERNAL_CONFIG, CV_FINGERPRINT_SAFARI},
	{"helloios_12_1", false, CV_INTERNAL_CONFIG, CV_FINGERPRINT_SAFARI},
	{"helloios_", true, 0, CV_FINGERPRINT_SAFARI},
	{"hellorandomized", false, 0, CV_FINGERPRINT_RANDOM},
	{"hellorandomizedalpn", false, 0, CV_FINGERPRINT_RANDOM},
};

static bool alias_matches(const struct fingerprint_alias *alias, const char *name)
{
	if (alias->prefix)
		return strncasecmp(alias->name, name, strlen(alias->name)) == 0 &&
		       name[strlen(alias->name)];
	return strcasecmp(alias->name, name) == 0;
}

int cv_fingerprint_parse(const char *name, enum cv_fingerprint *ret_fingerprint)
{
	if (!name || !name[0])
		name = "chrome";
	for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++) {
		if (!alias_matches(&aliases[i], name))
			continue;
		if (aliases[i].result == 0)
			*ret_fingerprint = aliases[i].fingerprint;
		return aliases[i].result;
	}
	return CV_INTERNAL_CONFIG;
}

/* ---- building ---- */

static uint16_t grease_value(void)
{
	return (uint16_t)(0x0a0a + cv_random_below(16) * 0x1010);
}

static void draw_grease(struct hello_build *build)
{
	build->grease_suite = grease_value();
	build->grease_group = grease_value();
	build->grease_version = grease_value();
	build->grease_extension[0] = grease_value();
	do
		build->grease_extension[1] = grease_value();
	while (build->grease_extension[1] == build->grease_extension[0]);
}

static void write_list(struct cv_writer *writer, const struct cv_u16_list *list, uint16_t grease)
{
	for (size_t i = 0; i < list->count; i++)
		cv_write_u16(writer, list->values[i] == CV_GREASE ? grease : list->values[i]);
}

/* Suites and groups of TLS 1.3 have distinct numbers, so one test serves both lists. */
static bool is_omitted(const struct hello_build *build, uint16_t value)
{
	const struct cv_hello_omissions *omit = &build->inputs->omit;

	switch (value) {
	case CV_GROUP_X25519MLKEM768:
		return omit->hybrid;
	case SUITE_AES128_SHA256:
	case SUITE_CHACHA20_SHA256:
		return omit->sha256;
	case SUITE_AES256_SHA384:
		return omit->sha384;
	default:
		return false;
	}
}

/* A list from which a probe may leave something out. */
static void write_offer(struct hello_build *build, const struct cv_u16_list *list, uint16_t grease)
{
	size_t mark = cv_write_open16(&build->writer);

	for (size_t i = 0; i < list->count; i++)
		if (!is_omitted(build, list->values[i]))
			cv_write_u16(&build->writer,
				     list->values[i] == CV_GREASE ? grease : list->values[i]);
	cv_write_close16(&build->writer, mark);
}

static void write_list16(struct cv_writer *writer, const struct cv_u16_list *list, uint16_t grease)
{
	size_t mark = cv_write_open16(writer);

	write_list(writer, list, grease);
	cv_write_close16(writer, mark);
}

static void write_list8(struct cv_writer *writer, const struct cv_u16_list *list, uint16_t grease)
{
	size_t mark = cv_write_open8(writer);

	write_list(writer, list, grease);
	cv_write_close8(writer, mark);
}

static void write_server_name(struct hello_build *build)
{
	struct cv_writer *writer = &build->writer;
	size_t list = cv_write_open16(writer);
	size_t name;

	cv_write_u8(writer, 0);
	name = cv_write_open16(writer);
	cv_write_bytes(writer, build->inputs->server_name, strlen(build->inputs->server_name));
	cv_write_close16(writer, name);
	cv_write_close16(writer, list);
}

static void write_protocol(struct cv_writer *writer, const char *protocol)
{
	size_t mark = cv_write_open8(writer);

	cv_write_bytes(writer, protocol, strlen(protocol));
	cv_write_close8(writer, mark);
}

static void write_alpn(struct hello_build *build)
{
	size_t list = cv_write_open16(&build->writer);

	for (const char *const *protocol = build->alpn; *protocol; protocol++)
		write_protocol(&build->writer, *protocol);
	cv_write_close16(&build->writer, list);
}

static void write_application_settings(struct hello_build *build)
{
	size_t list = cv_write_open16(&build->writer);

	write_protocol(&build->writer, "h2");
	cv_write_close16(&build->writer, list);
}

static void write_share(struct hello_build *build, uint16_t group)
{
	struct cv_writer *writer = &build->writer;
	const struct cv_hello_inputs *inputs = build->inputs;
	size_t mark;

	cv_write_u16(writer, group == CV_GREASE ? build->grease_group : group);
	mark = cv_write_open16(writer);
	switch (group) {
	case CV_GREASE:
		cv_write_u8(writer, 0);
		break;
	case CV_GROUP_X25519MLKEM768:
		cv_write_bytes(writer, inputs->mlkem_public, CV_MLKEM768_PUBLIC);
		cv_write_bytes(writer, inputs->hybrid_x25519, CV_X25519_LEN);
		break;
	case CV_GROUP_X25519:
		cv_write_bytes(writer, inputs->x25519_public, CV_X25519_LEN);
		break;
	case GROUP_P256:
		cv_write_bytes(writer, inputs->p256_public, P256_POINT);
		break;
	}
	cv_write_close16(writer, mark);
}

static void write_key_share(struct hello_build *build)
{
	size_t list = cv_write_open16(&build->writer);

	for (size_t i = 0; i < build->shape->shares.count; i++)
		if (!is_omitted(build, build->shape->shares.values[i]))
			write_share(build, build->shape->shares.values[i]);
	cv_write_close16(&build->writer, list);
}

static uint16_t draw(const struct cv_u16_list *list)
{
	return list->values[cv_random_below((uint32_t)list->count)];
}

/*
 * GREASE ECH: outer type, HKDF-SHA256, an AEAD, config id, enc, payload. enc is a true X25519
 * public key: its top bit is never set, random bytes would show it in half of all hellos.
 */
static void write_grease_ech(struct hello_build *build)
{
	struct cv_writer *writer = &build->writer;
	uint8_t secret[CV_X25519_LEN], enc[CV_X25519_LEN], payload[256], config_id;
	uint16_t payload_len = draw(&build->shape->ech_payloads);

	if (cv_x25519_keygen(secret, enc) < 0 || cv_random_bytes(payload, payload_len) < 0 ||
	    cv_random_bytes(&config_id, 1) < 0) {
		build->result = CV_INTERNAL_CRYPTO;
		return;
	}
	cv_cleanse(secret, sizeof(secret));
	cv_write_u8(writer, 0);
	cv_write_u16(writer, 1);
	cv_write_u16(writer, draw(&build->shape->ech_aeads));
	cv_write_u8(writer, config_id);
	cv_write_u16(writer, sizeof(enc));
	cv_write_bytes(writer, enc, sizeof(enc));
	cv_write_u16(writer, payload_len);
	cv_write_bytes(writer, payload, payload_len);
}

static void write_extension_body(struct hello_build *build, uint16_t type)
{
	struct cv_writer *writer = &build->writer;
	const struct cv_hello_shape *shape = build->shape;

	switch (type) {
	case CV_GREASE: /* the first is empty, the second holds one zero byte */
		if (build->grease_extensions_written++ > 0)
			cv_write_u8(writer, 0);
		break;
	case CV_EXT_SERVER_NAME:
		write_server_name(build);
		break;
	case CV_EXT_STATUS_REQUEST: /* OCSP, no responder ids, no extensions */
		cv_write_u8(writer, 1);
		cv_write_u32(writer, 0);
		break;
	case CV_EXT_SUPPORTED_GROUPS:
		write_offer(build, &shape->groups, build->grease_group);
		break;
	case CV_EXT_EC_POINT_FORMATS: /* uncompressed only */
		cv_write_u16(writer, 0x0100);
		break;
	case CV_EXT_SIGNATURE_ALGORITHMS:
		write_list16(writer, &shape->schemes, 0);
		break;
	case CV_EXT_DELEGATED_CREDENTIALS:
		write_list16(writer, &shape->delegated, 0);
		break;
	case CV_EXT_ALPN:
		write_alpn(build);
		break;
	case CV_EXT_COMPRESS_CERTIFICATE:
		write_list8(writer, &shape->compressions, 0);
		break;
	case CV_EXT_RECORD_SIZE_LIMIT:
		cv_write_u16(writer, RECORD_SIZE_LIMIT);
		break;
	case CV_EXT_SUPPORTED_VERSIONS:
		write_list8(writer, &shape->versions, build->grease_version);
		break;
	case CV_EXT_PSK_MODES: /* psk_dhe_ke */
		cv_write_u16(writer, 0x0101);
		break;
	case CV_EXT_KEY_SHARE:
		write_key_share(build);
		break;
	case CV_EXT_APPLICATION_SETTINGS:
		write_application_settings(build);
		break;
	case CV_EXT_ECH:
		write_grease_ech(build);
		break;
	case CV_EXT_RENEGOTIATION_INFO:
		cv_write_u8(writer, 0);
		break;
	default: /* SCT, extended_master_secret, session_ticket: empty */
		break;
	}
}

static bool offers_h2(const char *const *alpn)
{
	for (; *alpn; alpn++)
		if (strcmp(*alpn, "h2") == 0)
			return true;
	return false;
}

static bool extension_applies(const struct hello_build *build, uint16_t type)
{
	switch (type) {
	case CV_EXT_SERVER_NAME:
		return build->inputs->server_name[0] != '\0';
	case CV_EXT_ALPN:
		return build->alpn[0] != NULL;
	case CV_EXT_APPLICATION_SETTINGS:
		return offers_h2(build->alpn);
	default:
		return true;
	}
}

static void write_extension(struct hello_build *build, uint16_t type)
{
	uint16_t wire_type = type;
	size_t mark;

	if (!extension_applies(build, type))
		return;
	if (type == CV_GREASE)
		wire_type = build->grease_extension[build->grease_extensions_written];
	cv_write_u16(&build->writer, wire_type);
	mark = cv_write_open16(&build->writer);
	write_extension_body(build, type);
	cv_write_close16(&build->writer, mark);
}

/* Fisher-Yates over everything between the GREASE extensions at both ends. */
static void permute(uint16_t *types, size_t count)
{
	for (size_t i = count - 2; i > 1; i--) {
		size_t other = 1 + cv_random_below((uint32_t)i);
		uint16_t swap = types[i];

		types[i] = types[other];
		types[other] = swap;
	}
}

static void write_extensions(struct hello_build *build)
{
	const struct cv_u16_list *list = &build->shape->extensions;
	uint16_t types[EXTENSIONS_MAX];
	size_t mark = cv_write_open16(&build->writer);

	memcpy(types, list->values, list->count * sizeof(types[0]));
	if (build->shape->permutes)
		permute(types, list->count);
	for (size_t i = 0; i < list->count; i++)
		write_extension(build, types[i]);
	cv_write_close16(&build->writer, mark);
}

static void write_hello(struct hello_build *build)
{
	struct cv_writer *writer = &build->writer;
	size_t message, mark;

	cv_write_u8(writer, 1);
	message = cv_write_open24(writer);
	cv_write_u16(writer, 0x0303);
	cv_write_bytes(writer, build->inputs->random, RANDOM_LEN);
	mark = cv_write_open8(writer);
	cv_write_bytes(writer, build->inputs->session_id, 32);
	cv_write_close8(writer, mark);
	write_offer(build, &build->shape->cipher_suites, build->grease_suite);
	cv_write_u16(writer, 0x0100); /* one compression method: null */
	write_extensions(build);
	cv_write_close24(writer, message);
}

int cv_fingerprint_build(enum cv_fingerprint fingerprint, const struct cv_hello_inputs *inputs,
			 struct cv_buffer *out)
{
	struct hello_build build = {.shape = shape_of(fingerprint), .inputs = inputs};
	uint8_t *space;
	int result;

	if (!build.shape)
		return CV_INTERNAL_STATE;
	result = cv_buffer_reserve(out, CV_HELLO_BUILD_MAX, &space);
	if (result < 0)
		return result;
	build.alpn = inputs->alpn ? inputs->alpn : build.shape->alpn;
	build.writer = cv_writer_of(space, CV_HELLO_BUILD_MAX);
	draw_grease(&build);
	write_hello(&build);
	if (build.result < 0)
		return build.result;
	if (build.writer.failed)
		return CV_INTERNAL_STATE;
	cv_buffer_commit(out, cv_writer_len(&build.writer));
	return 0;
}

/* ---- the second hello ---- */

struct retry_edit {
	uint16_t group;
	struct cv_span share, cookie;
};

static void write_retry_share(struct cv_writer *writer, const struct retry_edit *edit)
{
	size_t list, share;

	list = cv_write_open16(writer);
	cv_write_u16(writer, edit->group);
	share = cv_write_open16(writer);
	cv_write_bytes(writer, edit->share.data, edit->share.len_bytes);
	cv_write_close16(writer, share);
	cv_write_close16(writer, list);
}

static void write_retry_cookie(struct cv_writer *writer, const struct retry_edit *edit)
{
	size_t body, cookie;

	cv_write_u16(writer, CV_EXT_COOKIE);
	body = cv_write_open16(writer);
	cookie = cv_write_open16(writer);
	cv_write_bytes(writer, edit->cookie.data, edit->cookie.len_bytes);
	cv_write_close16(writer, cookie);
	cv_write_close16(writer, body);
}

/* Copies one extension; the cookie follows supported_versions, where BoringSSL and NSS have it. */
static void retry_extension(struct cv_reader *extensions, struct cv_writer *writer,
			    const struct retry_edit *edit)
{
	uint16_t type = cv_read_u16(extensions);
	struct cv_reader body = cv_read_vector16(extensions);
	size_t mark;

	cv_write_u16(writer, type);
	mark = cv_write_open16(writer);
	if (type == CV_EXT_KEY_SHARE && edit->share.len_bytes)
		write_retry_share(writer, edit);
	else
		cv_write_bytes(writer, body.at, cv_reader_left(&body));
	cv_write_close16(writer, mark);
	if (type == CV_EXT_SUPPORTED_VERSIONS && edit->cookie.len_bytes)
		write_retry_cookie(writer, edit);
}

int cv_fingerprint_retry(struct cv_span first, uint16_t group, struct cv_span share,
			 struct cv_span cookie, struct cv_buffer *out)
{
	struct retry_edit edit = {.group = group, .share = share, .cookie = cookie};
	struct cv_reader reader = cv_reader_of(first.data, first.len_bytes);
	size_t size_bytes = first.len_bytes + share.len_bytes + cookie.len_bytes + 64;
	struct cv_reader extensions;
	struct cv_writer writer;
	size_t message, mark, head_len;
	uint8_t *space;
	int result;

	cv_read_bytes(&reader, 4 + 2 + RANDOM_LEN);
	cv_read_vector8(&reader);
	cv_read_vector16(&reader);
	cv_read_vector8(&reader);
	if (reader.failed)
		return CV_INTERNAL_STATE;
	head_len = first.len_bytes - cv_reader_left(&reader);
	extensions = cv_read_vector16(&reader);

	result = cv_buffer_reserve(out, size_bytes, &space);
	if (result < 0)
		return result;
	writer = cv_writer_of(space, size_bytes);
	cv_write_u8(&writer, 1);
	message = cv_write_open24(&writer);
	cv_write_bytes(&writer, first.data + 4, head_len - 4);
	mark = cv_write_open16(&writer);
	while (!extensions.failed && cv_reader_left(&extensions) > 0)
		retry_extension(&extensions, &writer, &edit);
	cv_write_close16(&writer, mark);
	cv_write_close24(&writer, message);
	if (extensions.failed || writer.failed || !cv_reader_ended(&reader))
		return CV_INTERNAL_STATE;
	cv_buffer_commit(out, cv_writer_len(&writer));
	return 0;
}
