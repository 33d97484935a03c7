// SPDX-License-Identifier: MIT
/*
 * culvert_keys.c - `culvert keys`, `culvert uuid`: what a configuration needs that must be random.
 */
#include "culvert.h"

#include "crypto/crypto.h"
#include "crypto/uuid.h"
#include "wire/base64.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_OF(bytes) (4 * (((bytes) + 2) / 3) + 1)

static bool read_private(const char *text, uint8_t private_key[32])
{
	size_t len = 32;

	if (cv_base64url_decode(text, private_key, &len) == 0 && len == 32)
		return true;
	fputs("culvert keys: --from: expected 32 bytes in base64\n", stderr);
	return false;
}

static int print_x25519(const char *from, bool json)
{
	char private_text[TEXT_OF(32)], public_text[TEXT_OF(32)];
	uint8_t private_key[32], public_key[32];
	int error;

	if (from && !read_private(from, private_key))
		return CV_EXIT_USAGE;
	error = from ? cv_x25519_public(private_key, public_key)
		     : cv_x25519_keygen(private_key, public_key);
	if (error) {
		fputs("culvert keys: no key could be made\n", stderr);
		return EXIT_FAILURE;
	}
	cv_base64url_encode(private_key, sizeof(private_key), private_text);
	cv_base64url_encode(public_key, sizeof(public_key), public_text);
	printf(json ? "{\"privateKey\": \"%s\", \"password\": \"%s\"}\n"
		    : "privateKey (server): %s\npassword (client):   %s\n",
	       private_text, public_text);
	cv_cleanse(private_key, sizeof(private_key));
	cv_cleanse(private_text, sizeof(private_text));
	return EXIT_SUCCESS;
}

static int print_mldsa(bool json)
{
	char seed_text[TEXT_OF(CV_MLDSA65_SEED)], public_text[TEXT_OF(CV_MLDSA65_PUBLIC)];
	uint8_t seed[CV_MLDSA65_SEED], public_key[CV_MLDSA65_PUBLIC];
	struct cv_mldsa65 *key = NULL;
	int error = cv_random_bytes(seed, sizeof(seed));

	if (!error)
		key = cv_mldsa65_from_seed(seed);
	if (!key || cv_mldsa65_public(key, public_key) != 0) {
		cv_mldsa65_free(key);
		fputs("culvert keys: no ML-DSA key could be made\n", stderr);
		return EXIT_FAILURE;
	}
	cv_base64url_encode(seed, sizeof(seed), seed_text);
	cv_base64url_encode(public_key, sizeof(public_key), public_text);
	printf(json ? "{\"mldsa65Seed\": \"%s\", \"mldsa65Verify\": \"%s\"}\n"
		    : "mldsa65Seed (server):   %s\nmldsa65Verify (client): %s\n",
	       seed_text, public_text);
	cv_mldsa65_free(key);
	cv_cleanse(seed, sizeof(seed));
	cv_cleanse(seed_text, sizeof(seed_text));
	return EXIT_SUCCESS;
}

int cv_cmd_keys(int argc, char **argv)
{
	static const struct option options[] = {
		{"mldsa", no_argument, NULL, 'm'},
		{"from", required_argument, NULL, 'f'},
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	bool mldsa = false, json = false;
	const char *from = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'm')
			mldsa = true;
		else if (option == 'j')
			json = true;
		else if (option == 'f')
			from = optarg;
		else
			return CV_EXIT_USAGE;
	}
	if (optind != argc || (mldsa && from)) {
		fputs("usage: culvert keys [--mldsa | --from PRIVATE] [--json]\n", stderr);
		return CV_EXIT_USAGE;
	}
	return mldsa ? print_mldsa(json) : print_x25519(from, json);
}

int cv_cmd_uuid(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'},
						{NULL, 0, NULL, 0}};
	char text[CV_UUID_TEXT];
	uint8_t uuid[16];
	bool json = false;
	int option, error;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option != 'j')
			return CV_EXIT_USAGE;
		json = true;
	}
	if (argc - optind > 1) {
		fputs("usage: culvert uuid [TEXT] [--json]\n", stderr);
		return CV_EXIT_USAGE;
	}
	error = optind < argc ? cv_uuid_parse(argv[optind], uuid) : cv_uuid_random(uuid);
	if (error) {
		fputs("culvert uuid: expected a UUID or a text of 1 to 30 bytes\n", stderr);
		return CV_EXIT_USAGE;
	}
	cv_uuid_format(uuid, text);
	printf(json ? "{\"id\": \"%s\"}\n" : "%s\n", text);
	return EXIT_SUCCESS;
}
