// SPDX-License-Identifier: MIT
/*
 * password.c - stored passwords: libxcrypt's schemes, argon2id, and clear text.
 *
 * The form of a hash is checked when users are loaded, so that a cut or mistyped one is an error
 * then and no riddle later. A hash that cannot be computed never verifies: libxcrypt answers with a
 * text that begins with '*', which is no stored form.
 */
#include "policy/password.h"

#include "crypto/crypto.h"

#include <argon2.h>
#include <crypt.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <culvert/reason.h>

#define PLAIN "{plain}"
#define ARGON2ID "$argon2id$"
#define ARGON2_MEMORY_KIB (1u << 20) /* more would let one login starve the machine */
#define SALT_BYTES 16

/* What crypt_r() makes of a password: the hash behind the last '$'. */
static const struct scheme {
	const char *prefix;
	size_t hash_len;  /* characters behind the last '$' */
	unsigned dollars; /* at least */
} schemes[] = {
	{"$y$", 43, 4},	  {"$gy$", 43, 4},  {"$7$", 43, 3},   {"$6$", 86, 3},
	{"$5$", 43, 3},	  {"$2a$", 53, 3},  {"$2b$", 53, 3},  {"$2y$", 53, 3},
};

#define SCHEME_COUNT (sizeof(schemes) / sizeof(schemes[0]))

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool cv_password_is_plain(const char *stored)
{
	return stored[0] != '$';
}

/* ---- form --------------------------------------------------------------------------------- */

static const char *crypt_flaw(const struct scheme *scheme, const char *stored)
{
	static const char alphabet[] =
		"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	const char *hash = strrchr(stored, '$') + 1;
	unsigned dollars = 0;

	for (const char *c = stored; *c; c++)
		dollars += *c == '$';
	if (dollars < scheme->dollars || strlen(hash) != scheme->hash_len ||
	    strspn(hash, alphabet) != scheme->hash_len)
		return "the hash is cut or damaged";
	if (crypt_checksalt(stored) == CRYPT_SALT_INVALID)
		return "the hash's parameters are damaged";
	if (crypt_checksalt(stored) == CRYPT_SALT_METHOD_DISABLED)
		return "libxcrypt here does not know this kind of hash";
	return NULL;
}

static const char *argon2_flaw(const char *stored)
{
	unsigned version, memory_kib, passes, lanes;
	int end = 0;

	if (sscanf(stored, ARGON2ID "v=%u$m=%u,t=%u,p=%u$%n", &version, &memory_kib, &passes,
		   &lanes, &end) != 4 ||
	    end == 0 || !strchr(stored + end, '$') || strlen(strchr(stored + end, '$')) < 17)
		return "the hash is cut or damaged";
	if (version != ARGON2_VERSION_13 || memory_kib < 8 || passes < 1 || lanes < 1)
		return "the hash's parameters are damaged";
	if (memory_kib > ARGON2_MEMORY_KIB || passes > 64 || lanes > 64)
		return "the hash costs more than 1 GiB, 64 passes or 64 lanes";
	return NULL;
}

static const char *plain_flaw(const char *stored)
{
	const size_t len = strlen(stored) - (starts_with(stored, PLAIN) ? strlen(PLAIN) : 0);

	return len == 0 || len > CV_PASSWORD_MAX ? "expected a password of 1 to 255 bytes" : NULL;
}

const char *cv_password_flaw(const char *stored)
{
	if (cv_password_is_plain(stored))
		return plain_flaw(stored);
	if (strlen(stored) >= CV_PASSWORD_STORED)
		return "the hash is too long";
	if (starts_with(stored, ARGON2ID))
		return argon2_flaw(stored);
	for (size_t i = 0; i < SCHEME_COUNT; i++)
		if (starts_with(stored, schemes[i].prefix))
			return crypt_flaw(&schemes[i], stored);
	return "expected a hash that begins with $y$, $argon2id$, $6$, $2b$, $7$, $gy$ or $5$, or "
	       "{plain} and the password";
}

/* ---- verifying ---------------------------------------------------------------------------- */

/* Compared as blocks of one size. */
static bool plain_is_right(const char *stored, const char *password, size_t len)
{
	char wanted[CV_PASSWORD_MAX + 1] = {0}, given[CV_PASSWORD_MAX + 1] = {0};
	size_t wanted_len;
	bool same;

	if (starts_with(stored, PLAIN))
		stored += strlen(PLAIN);
	wanted_len = strlen(stored);
	memcpy(wanted, stored, wanted_len);
	memcpy(given, password, len);
	same = cv_equal_constant_time(wanted, given, sizeof(wanted));
	cv_cleanse(wanted, sizeof(wanted));
	cv_cleanse(given, sizeof(given));
	return same && wanted_len == len;
}

static bool crypt_is_right(const char *stored, const char *password)
{
	struct crypt_data *data = calloc(1, sizeof(*data)); /* 32 KiB: not for a stack */
	const char *hash;
	bool same;

	if (!data)
		return false;
	hash = crypt_r(password, stored, data);
	same = hash && hash[0] != '*' && strlen(hash) == strlen(stored) &&
	       cv_equal_constant_time(hash, stored, strlen(stored));
	cv_cleanse(data, sizeof(*data));
	free(data);
	return same;
}

bool cv_password_verify(const char *stored, const char *password, size_t len)
{
	char text[CV_PASSWORD_MAX + 1];
	bool right;

	if (len > CV_PASSWORD_MAX || memchr(password, '\0', len) || cv_password_flaw(stored))
		return false;
	if (cv_password_is_plain(stored))
		return plain_is_right(stored, password, len);
	memcpy(text, password, len);
	text[len] = '\0';
	if (starts_with(stored, ARGON2ID))
		right = argon2id_verify(stored, text, len) == ARGON2_OK;
	else
		right = crypt_is_right(stored, text);
	cv_cleanse(text, sizeof(text));
	return right;
}

/* ---- making ------------------------------------------------------------------------------- */

int cv_password_hash(const char *password, char ret_stored[CV_PASSWORD_STORED])
{
	char salt[SALT_BYTES], setting[CRYPT_GENSALT_OUTPUT_SIZE];
	struct crypt_data *data;
	const char *hash;
	int error = CV_INTERNAL_CRYPTO;

	if (strlen(password) > CV_PASSWORD_MAX)
		return -EINVAL;
	if (cv_random_bytes(salt, sizeof(salt)) != 0 ||
	    !crypt_gensalt_rn("$y$", 0, salt, sizeof(salt), setting, sizeof(setting)))
		return CV_INTERNAL_CRYPTO;
	data = calloc(1, sizeof(*data));
	if (!data)
		return CV_INTERNAL_CRYPTO;
	hash = crypt_r(password, setting, data);
	if (hash && !cv_password_flaw(hash)) {
		(void)snprintf(ret_stored, CV_PASSWORD_STORED, "%s", hash);
		error = 0;
	}
	cv_cleanse(data, sizeof(*data));
	free(data);
	return error;
}
