// SPDX-License-Identifier: MIT
/*
 * tls_client_hello.c - the client's first flight and the server's answer to it.
 *
 *   keys -> ClientHello -> seal (REALITY) -> record 16 0301
 *   ServerHello: HelloRetryRequest? -> hash(CH1) || HRR, CCS, second hello (same session id)
 *                else shared secret -> handshake keys
 *
 * A HelloRetryRequest never comes from a REALITY server that accepted us; it is answered all the
 * same, because the real site behind a failed authentication may send one and a browser goes on.
 */
#include "protocol/tls_client_state.h"

#include "base/address.h"
#include "base/cursor.h"
#include "base/reason.h"
#include "wire/client_hello.h"

#include <string.h>

#define GROUP_P256 0x0017
#define GROUP_P384 0x0018
#define POINT_MAX 97
#define SHARED_MAX 64
#define HYBRID_ANSWER (CV_MLKEM768_CIPHERTEXT + CV_X25519_LEN)
#define COOKIE_MAX 4096
#define EXT_SUPPORTED_VERSIONS 43
#define EXT_COOKIE 44
#define EXT_KEY_SHARE 51
#define VERSION_TLS12 0x0303
#define VERSION_TLS13 0x0304

/* SHA-256 of "HelloRetryRequest", RFC 8446 4.1.3 */
static const uint8_t retry_random[32] = {
	0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c,
	0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb,
	0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
};

const char *const *cv_client_alpn(const struct cv_tls_client *client)
{
	if (client->config.alpn)
		return client->config.alpn;
	return cv_fingerprint_default_alpn(client->config.fingerprint);
}

/* ---- first hello ---- */

static int make_keys(struct cv_tls_client *client, uint8_t x25519_public[32],
		     uint8_t hybrid_public[32], uint8_t mlkem_public[CV_MLKEM768_PUBLIC])
{
	int result = cv_random_bytes(client->random, sizeof(client->random));

	if (result == 0)
		result = cv_x25519_keygen(client->x25519_private, x25519_public);
	if (result == 0 && !cv_fingerprint_reuses_x25519(client->config.fingerprint)) {
		result = cv_x25519_keygen(client->hybrid_private, hybrid_public);
	} else if (result == 0) {
		memcpy(client->hybrid_private, client->x25519_private, CV_X25519_LEN);
		memcpy(hybrid_public, x25519_public, CV_X25519_LEN);
	}
	if (result == 0)
		result = cv_mlkem768_keygen(client->mlkem_seed, mlkem_public);
	/* REALITY: zeros until the hello is sealed; plain TLS: RFC 8446 D.4 compatibility */
	if (result == 0 && !client->config.reality)
		result = cv_random_bytes(client->session_id, sizeof(client->session_id));
	return result;
}

static int make_p256_share(struct cv_tls_client *client, uint8_t point[POINT_MAX])
{
	size_t len = POINT_MAX;

	if (!cv_fingerprint_sends_p256(client->config.fingerprint))
		return 0;
	client->p256 = cv_ecdh_new(CV_P256);
	if (!client->p256)
		return CV_INTERNAL_CRYPTO;
	return cv_ecdh_public(client->p256, point, &len);
}

static int seal_hello(struct cv_tls_client *client, uint64_t now_wall_ms)
{
	uint8_t *hello = cv_buffer_bytes(&client->hello);
	int result;

	if (!client->config.reality)
		return 0;
	result = cv_reality_seal_session_id(&client->reality, client->x25519_private, now_wall_ms,
					    hello, cv_buffer_len(&client->hello), client->auth_key);
	if (result == 0)
		memcpy(client->session_id, hello + CV_HELLO_SESSION_ID_OFFSET,
		       sizeof(client->session_id));
	return result;
}

/* One record unless the hello is longer than a record may be, which ours never are. */
static int send_hello(struct cv_tls_client *client, uint16_t version)
{
	return cv_client_send_plain(client, CV_TLS_HANDSHAKE, version,
				    cv_buffer_span(&client->hello));
}

int cv_client_start(struct cv_tls_client *client, uint64_t now_wall_ms)
{
	uint8_t x25519_public[CV_X25519_LEN], hybrid_public[CV_X25519_LEN], point[POINT_MAX];
	uint8_t mlkem_public[CV_MLKEM768_PUBLIC];
	struct cv_hello_inputs inputs = {
		.server_name = client->name_is_ip ? "" : client->config.server_name,
		.alpn = client->config.alpn,
		.random = client->random,
		.session_id = client->session_id,
		.x25519_public = x25519_public,
		.hybrid_x25519 = hybrid_public,
		.mlkem_public = mlkem_public,
		.p256_public = point,
		.omit = client->config.omit,
	};
	int result;

	result = make_keys(client, x25519_public, hybrid_public, mlkem_public);
	if (result == 0)
		result = make_p256_share(client, point);
	if (result == 0)
		result = cv_fingerprint_build(client->config.fingerprint, &inputs, &client->hello);
	if (result == 0)
		result = seal_hello(client, now_wall_ms);
	if (result == 0)
		result = send_hello(client, 0x0301);
	return result;
}

/* ---- ServerHello ---- */

struct server_hello {
	const uint8_t *random; /* 32 */
	struct cv_reader session_id;
	uint16_t suite;
	uint16_t version; /* from supported_versions, else legacy */
	uint16_t group;
	bool has_share;
	struct cv_span share; /* empty in a HelloRetryRequest */
	struct cv_span cookie;
	bool unknown_extension, duplicate_extension;
	bool is_retry;
};

static void read_key_share(struct cv_reader *body, struct server_hello *hello)
{
	hello->has_share = true;
	hello->group = cv_read_u16(body);
	if (!hello->is_retry) {
		struct cv_reader share = cv_read_vector16(body);

		hello->share = cv_span_of(share.at, cv_reader_left(&share));
	}
}

static bool read_server_extension(struct cv_reader *extensions, struct server_hello *hello)
{
	uint16_t type = cv_read_u16(extensions);
	struct cv_reader body = cv_read_vector16(extensions);
	struct cv_reader cookie;

	if (extensions->failed)
		return false;
	if (type == EXT_SUPPORTED_VERSIONS) {
		hello->duplicate_extension |= hello->version != VERSION_TLS12;
		hello->version = cv_read_u16(&body);
	} else if (type == EXT_KEY_SHARE) {
		hello->duplicate_extension |= hello->has_share;
		read_key_share(&body, hello);
	} else if (type == EXT_COOKIE && hello->is_retry) {
		cookie = cv_read_vector16(&body);
		hello->cookie = cv_span_of(cookie.at, cv_reader_left(&cookie));
		if (!hello->cookie.len_bytes || hello->cookie.len_bytes > COOKIE_MAX)
			return false;
	} else {
		hello->unknown_extension = true;
		return true;
	}
	return cv_reader_ended(&body);
}

static bool read_server_hello(struct cv_span message, struct server_hello *hello)
{
	struct cv_reader reader = cv_reader_of(message.data, message.len_bytes);
	struct cv_reader extensions;

	cv_read_bytes(&reader, 4);
	hello->version = cv_read_u16(&reader);
	hello->random = cv_read_bytes(&reader, 32);
	hello->session_id = cv_read_vector8(&reader);
	hello->suite = cv_read_u16(&reader);
	if (cv_read_u8(&reader) != 0 || reader.failed || hello->version != VERSION_TLS12)
		return false;
	hello->is_retry = memcmp(hello->random, retry_random, sizeof(retry_random)) == 0;
	if (cv_reader_left(&reader) == 0) /* TLS 1.2 without extensions */
		return true;
	extensions = cv_read_vector16(&reader);
	while (!extensions.failed && cv_reader_left(&extensions) > 0)
		if (!read_server_extension(&extensions, hello))
			return false;
	return !extensions.failed && cv_reader_ended(&reader);
}

static int derive_hybrid(struct cv_tls_client *client, struct cv_span share, uint8_t *shared,
			 size_t *ret_len)
{
	int result;

	if (share.len_bytes != HYBRID_ANSWER)
		return CV_UPSTREAM_DECODE;
	result = cv_mlkem768_decapsulate(client->mlkem_seed, share.data, shared);
	if (result == 0)
		result = cv_x25519(client->hybrid_private, share.data + CV_MLKEM768_CIPHERTEXT,
				   shared + CV_MLKEM768_SECRET);
	*ret_len = CV_MLKEM768_SECRET + CV_X25519_LEN;
	return result;
}

static int derive_shared(struct cv_tls_client *client, const struct server_hello *hello,
			 uint8_t shared[SHARED_MAX], size_t *ret_len)
{
	struct cv_ecdh *ecdh = NULL;

	*ret_len = SHARED_MAX;
	if (client->retry_group && hello->group != client->retry_group)
		return CV_UPSTREAM_GROUP;
	switch (hello->group) {
	case CV_GROUP_X25519:
		*ret_len = CV_X25519_LEN;
		if (hello->share.len_bytes != CV_X25519_LEN)
			return CV_UPSTREAM_DECODE;
		return cv_x25519(client->x25519_private, hello->share.data, shared);
	case CV_GROUP_X25519MLKEM768:
		return derive_hybrid(client, hello->share, shared, ret_len);
	case GROUP_P256:
		ecdh = client->p256;
		break;
	case GROUP_P384:
		ecdh = client->p384;
		break;
	}
	if (!ecdh)
		return CV_UPSTREAM_GROUP;
	return cv_ecdh_derive(ecdh, hello->share.data, hello->share.len_bytes, shared, ret_len);
}

static int install_handshake_keys(struct cv_tls_client *client, const uint8_t *shared,
				  size_t shared_len)
{
	uint8_t digest[CV_HASH_MAX];
	int result = cv_transcript_digest(client->transcript, digest);

	if (result == 0)
		result = cv_tls_schedule_handshake(client->suite, shared, shared_len, digest,
						   &client->secrets);
	if (result == 0)
		result = cv_tls_keys_init(&client->rx, client->suite,
					  client->secrets.server_handshake, false);
	if (result == 0)
		result = cv_tls_keys_init(&client->tx, client->suite,
					  client->secrets.client_handshake, true);
	client->protected_now = result == 0;
	return result;
}

static void forget_private_keys(struct cv_tls_client *client)
{
	cv_cleanse(client->x25519_private, sizeof(client->x25519_private));
	cv_cleanse(client->hybrid_private, sizeof(client->hybrid_private));
	cv_cleanse(client->mlkem_seed, sizeof(client->mlkem_seed));
	client->p256 = cv_ecdh_free(client->p256);
	client->p384 = cv_ecdh_free(client->p384);
}

static int start_transcript(struct cv_tls_client *client)
{
	struct cv_span hello = cv_buffer_span(&client->hello);

	if (client->transcript)
		return 0;
	client->transcript = cv_transcript_new(client->suite->hash);
	if (!client->transcript)
		return CV_INTERNAL_MEMORY;
	return cv_transcript_add(client->transcript, hello.data, hello.len_bytes);
}

static int accept_server_hello(struct cv_tls_client *client, const struct server_hello *hello,
			       struct cv_span message)
{
	uint8_t shared[SHARED_MAX];
	size_t shared_len;
	int result;

	client->facts.group = hello->group;
	result = derive_shared(client, hello, shared, &shared_len);
	if (result == CV_UPSTREAM_GROUP)
		return cv_client_fail(client, result, CV_ALERT_ILLEGAL_PARAMETER,
				      "server chose a group without a share of ours");
	if (result < 0)
		return cv_client_fail(client, CV_UPSTREAM_DECODE, CV_ALERT_ILLEGAL_PARAMETER,
				      "server's key share is not valid");
	result = start_transcript(client);
	if (result == 0)
		result = cv_transcript_add(client->transcript, message.data, message.len_bytes);
	if (result == 0 && client->config.reality)
		result = cv_buffer_append(&client->server_hello, message.data, message.len_bytes);
	if (result == 0)
		result = install_handshake_keys(client, shared, shared_len);
	cv_cleanse(shared, sizeof(shared));
	if (result < 0)
		return cv_client_fail(client, result, CV_ALERT_INTERNAL_ERROR, "key schedule");
	forget_private_keys(client);
	client->state = CV_TLS_CLIENT_EXPECT_ENCRYPTED_EXTENSIONS;
	return 0;
}

/* ---- HelloRetryRequest ---- */

/* RFC 8446 4.4.1: the first hello is replaced by a message holding its hash. */
static int retry_transcript(struct cv_tls_client *client, struct cv_span message)
{
	struct cv_span hello = cv_buffer_span(&client->hello);
	size_t len = cv_hash_len(client->suite->hash);
	uint8_t synthetic[4 + CV_HASH_MAX] = {CV_MESSAGE_HASH, 0, 0, (uint8_t)len};
	int result;

	result = cv_hash(client->suite->hash, hello.data, hello.len_bytes, synthetic + 4);
	if (result < 0)
		return result;
	client->transcript = cv_transcript_new(client->suite->hash);
	if (!client->transcript)
		return CV_INTERNAL_MEMORY;
	result = cv_transcript_add(client->transcript, synthetic, 4 + len);
	if (result == 0)
		result = cv_transcript_add(client->transcript, message.data, message.len_bytes);
	return result;
}

static int retry_share(struct cv_tls_client *client, uint16_t group, uint8_t point[POINT_MAX],
		       size_t *ret_len)
{
	struct cv_ecdh **slot = group == GROUP_P256 ? &client->p256 : &client->p384;

	if (*slot) /* we had sent that share: an illegal request, RFC 8446 4.1.4 */
		return CV_UPSTREAM_GROUP;
	*slot = cv_ecdh_new(group == GROUP_P256 ? CV_P256 : CV_P384);
	if (!*slot)
		return CV_INTERNAL_CRYPTO;
	*ret_len = POINT_MAX;
	return cv_ecdh_public(*slot, point, ret_len);
}

static int second_hello(struct cv_tls_client *client, const struct server_hello *hello,
			struct cv_span share)
{
	struct cv_buffer second;
	struct cv_span bytes;
	int result;

	cv_buffer_init(&second, CV_HELLO_BUILD_MAX + COOKIE_MAX + 256);
	result = cv_fingerprint_retry(cv_buffer_span(&client->hello), hello->group, share,
				      hello->cookie, &second);
	if (result < 0) {
		cv_buffer_done(&second);
		return result;
	}
	cv_buffer_done(&client->hello);
	client->hello = second;
	bytes = cv_buffer_span(&client->hello);
	result = cv_transcript_add(client->transcript, bytes.data, bytes.len_bytes);
	/* observable: CCS goes ahead of the second hello and is then not repeated, RFC 8446 D.4 */
	if (result == 0)
		result = cv_client_send_ccs(client);
	if (result == 0)
		result = send_hello(client, 0x0303);
	return result;
}

static int answer_retry(struct cv_tls_client *client, const struct server_hello *hello,
			struct cv_span message)
{
	uint8_t point[POINT_MAX];
	size_t point_len = 0;
	int result = 0;

	if (client->facts.hello_retry)
		return cv_client_fail(client, CV_UPSTREAM_UNEXPECTED_MESSAGE,
				      CV_ALERT_UNEXPECTED_MESSAGE, "second HelloRetryRequest");
	client->facts.hello_retry = true;
	client->retry_suite = hello->suite;
	if (!hello->has_share && !hello->cookie.len_bytes)
		return cv_client_fail(client, CV_UPSTREAM_DECODE, CV_ALERT_ILLEGAL_PARAMETER,
				      "HelloRetryRequest asks for nothing");
	if (hello->has_share) {
		client->retry_group = hello->group;
		result = hello->group == GROUP_P256 || hello->group == GROUP_P384
				 ? retry_share(client, hello->group, point, &point_len)
				 : CV_UPSTREAM_GROUP;
	}
	if (result == CV_UPSTREAM_GROUP)
		return cv_client_fail(client, result, CV_ALERT_ILLEGAL_PARAMETER,
				      "HelloRetryRequest for a group we cannot send");
	if (result == 0)
		result = retry_transcript(client, message);
	if (result == 0)
		result = second_hello(client, hello, cv_span_of(point, point_len));
	if (result < 0)
		return cv_client_fail(client, result, CV_ALERT_INTERNAL_ERROR, "second hello");
	return 0;
}

static bool echoes_session_id(const struct cv_tls_client *client, const struct server_hello *hello)
{
	return cv_reader_left(&hello->session_id) == sizeof(client->session_id) &&
	       memcmp(hello->session_id.at, client->session_id, sizeof(client->session_id)) == 0;
}

int cv_client_server_hello(struct cv_tls_client *client, struct cv_span message)
{
	struct server_hello hello = {0};

	if (!read_server_hello(message, &hello))
		return cv_client_decode_error(client, "malformed ServerHello");
	client->facts.version = hello.version;
	client->facts.suite = hello.suite;
	if (hello.version == VERSION_TLS12)
		return cv_client_fail(client, CV_UPSTREAM_NOT_TLS13, CV_ALERT_PROTOCOL_VERSION,
				      "server speaks TLS 1.2");
	if (hello.unknown_extension)
		return cv_client_fail(client, CV_UPSTREAM_DECODE, CV_ALERT_UNSUPPORTED_EXTENSION,
				      "ServerHello extension we did not ask for");
	client->suite = cv_tls_suite_find(hello.suite);
	if (hello.version != VERSION_TLS13 || hello.duplicate_extension || !client->suite ||
	    !echoes_session_id(client, &hello) ||
	    (client->retry_suite && client->retry_suite != hello.suite))
		return cv_client_fail(client, CV_UPSTREAM_DECODE, CV_ALERT_ILLEGAL_PARAMETER,
				      "ServerHello does not answer our hello");
	if (hello.is_retry)
		return answer_retry(client, &hello, message);
	if (!hello.has_share)
		return cv_client_fail(client, CV_UPSTREAM_DECODE, CV_ALERT_ILLEGAL_PARAMETER,
				      "ServerHello without key share");
	return accept_server_hello(client, &hello, message);
}
