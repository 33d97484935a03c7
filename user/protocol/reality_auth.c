// SPDX-License-Identifier: MIT
/*
 * reality_auth.c - is this ClientHello ours?
 *
 *   key share, server key -> X25519 -> HKDF -> AuthKey
 *   session id = AES-256-GCM(AuthKey, random[20..31], version | 0 | time | shortId), AAD = the
 * hello with its session id zeroed
 *
 * The chain is ordered so that strangers cost one comparison of names at most, and nobody costs
 * more than one X25519 and one AES-GCM before being authenticated. Only authenticated hellos reach
 * the replay cache, so strangers cannot fill it.
 */
#include "protocol/reality_internal.h"

#include "base/cursor.h"

#include <culvert/reason.h>

#include <string.h>

#define SESSION_ID_AT CV_HELLO_SESSION_ID_OFFSET
#define SALT_LEN 20 /* of random: HKDF salt; the other 12 bytes are the nonce */

/* What the session id says. */
struct claim {
	uint32_t version;
	int64_t time_ms;
	const uint8_t *short_id;
};

int cv_reality_auth_key(const uint8_t private_key[32], const uint8_t share[32],
			const uint8_t random[32], uint8_t ret_auth_key[CV_REALITY_KEY_LEN])
{
	static const char info[] = "REALITY";
	uint8_t shared[CV_X25519_LEN], prk[CV_HASH_MAX], key[CV_REALITY_KEY_LEN];
	int result = cv_x25519(private_key, share, shared);

	if (result == 0)
		result = cv_hkdf_extract(CV_SHA256, random, SALT_LEN, shared, sizeof(shared), prk);
	if (result == 0)
		result = cv_hkdf_expand(CV_SHA256, prk, cv_hash_len(CV_SHA256), info,
					sizeof(info) - 1, key, sizeof(key));
	if (result == 0)
		memcpy(ret_auth_key, key, sizeof(key));
	cv_cleanse(shared, sizeof(shared));
	cv_cleanse(prk, sizeof(prk));
	cv_cleanse(key, sizeof(key));
	return result;
}

int cv_reality_session_id_open(const uint8_t auth_key[CV_REALITY_KEY_LEN], uint8_t *message,
			       size_t message_len, uint8_t ret_plain[CV_REALITY_SESSION_ID_PLAIN])
{
	uint8_t sealed[CV_REALITY_SESSION_ID_LEN], plain[CV_REALITY_SESSION_ID_PLAIN];
	const uint8_t *nonce = message + CV_HELLO_RANDOM_OFFSET + SALT_LEN;
	struct cv_aead *aead = cv_aead_new(CV_AES_256_GCM, auth_key, false);
	int result;

	if (!aead)
		return CV_INTERNAL_CRYPTO;
	memcpy(sealed, message + SESSION_ID_AT, sizeof(sealed));
	memset(message + SESSION_ID_AT, 0, sizeof(sealed));
	result = cv_aead_open(aead, nonce, message, message_len, sealed, sizeof(sealed), plain);
	memcpy(message + SESSION_ID_AT, sealed, sizeof(sealed));
	cv_aead_free(aead);
	if (result == 0)
		memcpy(ret_plain, plain, sizeof(plain));
	cv_cleanse(plain, sizeof(plain));
	return result == CV_PEER_BAD_RECORD ? CV_PEER_AUTH_FAILED : result;
}

static bool lists_server_name(const struct cv_reality_config *config, const char *server_name)
{
	for (size_t i = 0; i < config->server_name_count; i++)
		if (strcmp(config->server_names[i], server_name) == 0)
			return true;
	return false;
}

/* Every entry is compared, as one word: the time taken says nothing about which one matched, and
 * ten thousand users' ids take a few microseconds. */
static bool lists_short_id(const struct cv_reality_config *config, const uint8_t *short_id)
{
	uint64_t wanted, found = 0;

	_Static_assert(CV_SHORT_ID_LEN == sizeof(wanted), "a short id is a word");
	memcpy(&wanted, short_id, sizeof(wanted));
	for (size_t i = 0; i < config->short_id_count; i++) {
		uint64_t there;

		memcpy(&there, config->short_ids[i], sizeof(there));
		found |= there == wanted;
	}
	return found != 0;
}

/* REALITY 3.4: the target's choice of a group has no say here. */
static const uint8_t *auth_share(const struct cv_client_hello *hello)
{
	if (hello->x25519_share.len_bytes == CV_X25519_LEN)
		return hello->x25519_share.data;
	if (hello->hybrid_share.len_bytes == CV_REALITY_HYBRID_SHARE)
		return hello->hybrid_share.data + CV_MLKEM768_PUBLIC;
	return NULL;
}

static int authenticate(struct cv_reality_server *server,
			uint8_t plain[CV_REALITY_SESSION_ID_PLAIN])
{
	const struct cv_client_hello *hello = &server->hello;
	const uint8_t *share = auth_share(hello);
	int result;

	if (!share)
		return CV_PEER_NO_AUTH_SHARE;
	if (hello->session_id.len_bytes != CV_REALITY_SESSION_ID_LEN)
		return CV_PEER_SESSION_ID;
	memcpy(server->session_id, hello->session_id.data, CV_REALITY_SESSION_ID_LEN);
	result = cv_reality_auth_key(server->config->private_key, share, hello->random,
				     server->auth_key);
	if (result)
		return result;
	return cv_reality_session_id_open(server->auth_key,
					  cv_buffer_bytes(&server->assembler.message),
					  cv_buffer_len(&server->assembler.message), plain);
}

static struct claim read_claim(const uint8_t plain[CV_REALITY_SESSION_ID_PLAIN])
{
	struct cv_reader reader = cv_reader_of(plain, CV_REALITY_SESSION_ID_PLAIN);
	struct claim claim;

	claim.version = cv_read_u24(&reader);
	(void)cv_read_u8(&reader); /* reserved */
	claim.time_ms = (int64_t)cv_read_u32(&reader) * 1000;
	claim.short_id = cv_read_bytes(&reader, CV_SHORT_ID_LEN);
	return claim;
}

static int judge_claim(struct cv_reality_server *server, const struct claim *claim,
		       uint64_t now_wall_ms)
{
	const struct cv_reality_config *config = server->config;
	uint64_t off_ms;

	server->clock_skew_ms = claim->time_ms - (int64_t)now_wall_ms;
	off_ms = (uint64_t)(server->clock_skew_ms < 0 ? -server->clock_skew_ms
						      : server->clock_skew_ms);
	if (claim->version < config->min_client_version ||
	    claim->version > config->max_client_version)
		return CV_PEER_VERSION;
	if (config->max_time_diff_ms && off_ms > config->max_time_diff_ms)
		return CV_PEER_CLOCK;
	if (!lists_short_id(config, claim->short_id))
		return CV_PEER_SHORT_ID;
	if (config->require_mlkem && !server->hello.hybrid_before_x25519)
		return CV_PEER_NO_MLKEM;
	memcpy(server->short_id, claim->short_id, CV_SHORT_ID_LEN);
	return 0;
}

int cv_reality_accept(struct cv_reality_server *server, uint64_t now_wall_ms)
{
	const struct cv_reality_config *config = server->config;
	const struct cv_client_hello *hello = &server->hello;
	uint8_t plain[CV_REALITY_SESSION_ID_PLAIN];
	struct claim claim;
	int result;

	if (!hello->offers_tls13)
		return CV_PEER_NO_TLS13;
	if (!lists_server_name(config, hello->server_name))
		return CV_PEER_SNI_NOT_LISTED;
	result = authenticate(server, plain);
	if (result)
		return result;
	claim = read_claim(plain);
	result = judge_claim(server, &claim, now_wall_ms);
	cv_cleanse(plain, sizeof(plain));
	if (result == 0 && config->seen_before &&
	    config->seen_before(config->seen_context, hello->random, server->session_id,
				now_wall_ms))
		result = CV_PEER_REPLAY;
	return result;
}
