// SPDX-License-Identifier: MIT
/*
 * culvert_link.c - `culvert link`: a user's share link and QR code from the live configuration, or
 * the other way round a client's outbound from a link.
 */
#include "culvert.h"

#include "config/config_load.h"
#include "config/share_link.h"

#include <getopt.h>
#include <json-c/json.h>
#include <qrencode.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QR_BYTES_MAX 2953 /* version 40, level L */
#define QR_QUIET 2

/* ---- QR code ------------------------------------------------------------------------------ */

static bool is_light(const QRcode *code, int row, int column)
{
	const bool is_outside =
		row < 0 || column < 0 || row >= code->width || column >= code->width;

	return is_outside || !(code->data[row * code->width + column] & 1);
}

/* Two rows per line of text; light is drawn, which is right on the usual dark terminal. */
static void print_rows(const QRcode *code)
{
	static const char *const halves[2][2] = {{" ", "▄"}, {"▀", "█"}};
	const bool has_colours = isatty(STDOUT_FILENO);

	for (int row = -QR_QUIET; row < code->width + QR_QUIET; row += 2) {
		fputs(has_colours ? "\033[40;97m" : "", stdout);
		for (int column = -QR_QUIET; column < code->width + QR_QUIET; column++)
			fputs(halves[is_light(code, row, column)][is_light(code, row + 1, column)],
			      stdout);
		puts(has_colours ? "\033[0m" : "");
	}
}

static void print_qr(const char *text)
{
	QRcode *code = NULL;

	if (strlen(text) <= QR_BYTES_MAX)
		code = QRcode_encodeData((int)strlen(text), (const unsigned char *)text, 0,
					 QR_ECLEVEL_L);
	if (code)
		print_rows(code);
	else
		fputs("(too long for a QR code)\n", stderr);
	QRcode_free(code);
}

/* ---- link to outbound --------------------------------------------------------------------- */

static void add(struct json_object *object, const char *key, const char *value)
{
	if (*value)
		json_object_object_add(object, key, json_object_new_string(value));
}

static struct json_object *stream_json(const struct cv_share_link *link)
{
	struct json_object *stream = json_object_new_object(), *layer = json_object_new_object();
	const bool is_reality = strcmp(link->security, "reality") == 0;
	const bool is_tls = strcmp(link->security, "tls") == 0;

	add(stream, "network", "raw");
	add(stream, "security", link->security);
	add(layer, "serverName", link->server_name);
	add(layer, "fingerprint", link->fingerprint);
	if (is_reality) {
		add(layer, "password", link->public_key);
		add(layer, "shortId", link->short_id);
		add(layer, "spiderX", link->spider_x);
		add(layer, "mldsa65Verify", link->mldsa_public);
	} else {
		add(layer, "alpn", link->alpn);
	}
	if (is_tls && link->allow_insecure)
		json_object_object_add(layer, "allowInsecure", json_object_new_boolean(true));
	if (is_reality || is_tls)
		json_object_object_add(stream, is_reality ? "realitySettings" : "tlsSettings",
				       layer);
	else
		json_object_put(layer);
	return stream;
}

static struct json_object *outbound_json(const struct cv_share_link *link)
{
	struct json_object *outbound = json_object_new_object(),
			   *settings = json_object_new_object();

	add(outbound, "tag", "proxy");
	add(outbound, "protocol", "vless");
	add(settings, "address", link->host);
	json_object_object_add(settings, "port", json_object_new_int(link->port));
	add(settings, "id", link->id);
	add(settings, "encryption", "none");
	add(settings, "flow", link->flow);
	add(settings, "email", link->name);
	json_object_object_add(outbound, "settings", settings);
	json_object_object_add(outbound, "streamSettings", stream_json(link));
	return outbound;
}

/* "-" is standard input: a link is a secret, and a command line is not. */
static int print_outbound(const char *url)
{
	char error_text[CV_SHARE_ERROR_TEXT], line[CV_SHARE_LINK_MAX] = "";
	struct json_object *outbound;
	struct cv_share_link link;

	if (strcmp(url, "-") == 0) {
		if (!fgets(line, sizeof(line), stdin))
			fputs("culvert link: standard input is empty\n", stderr);
		line[strcspn(line, "\r\n")] = '\0';
		url = line;
	}
	if (cv_share_link_parse(url, &link, error_text) != 0) {
		fprintf(stderr, "culvert link: %s\n", error_text);
		return CV_EXIT_USAGE;
	}
	outbound = outbound_json(&link);
	puts(json_object_to_json_string_ext(outbound, JSON_C_TO_STRING_PRETTY |
							      JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(outbound);
	return EXIT_SUCCESS;
}

/* ---- user to link ------------------------------------------------------------------------- */

struct request {
	const char *user, *config_path;
	struct cv_share_place place;
	bool no_qr, json;
};

static void print_finding(void *context, bool is_error, const char *text)
{
	(void)context;
	if (is_error)
		fprintf(stderr, "error: %s\n", text);
}

static void print_link(const struct request *request, const char *text)
{
	struct json_object *object;

	if (!request->json) {
		puts(text);
		if (!request->no_qr)
			print_qr(text);
		return;
	}
	object = json_object_new_object();
	add(object, "user", request->user);
	add(object, "link", text);
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}

static int link_of_user(const struct request *request)
{
	const struct cv_config_report report = {.line = print_finding};
	char error_text[CV_SHARE_ERROR_TEXT], text[CV_SHARE_LINK_MAX];
	struct cv_config *config = NULL;
	struct cv_share_link link;
	int error = cv_config_load(request->config_path, &report, &config);

	if (error) {
		if (error > -2000)
			fprintf(stderr, "culvert link: %s: %s\n", request->config_path,
				strerror(-error));
		return CV_EXIT_USAGE;
	}
	error = cv_share_link_of_user(config, request->user, &request->place, &link, error_text);
	cv_config_free(config);
	if (error) {
		fprintf(stderr, "culvert link: %s\n", error_text);
		return EXIT_FAILURE;
	}
	cv_share_link_format(&link, text);
	print_link(request, text);
	return EXIT_SUCCESS;
}

static int usage(void)
{
	fputs("usage: culvert link USER -c FILE [--host HOST] [--port PORT] [--no-qr] [--json]\n"
	      "       culvert link --parse URL|-\n",
	      stderr);
	return CV_EXIT_USAGE;
}

static bool parse_port(const char *text, uint16_t *ret_port)
{
	char *end;
	const unsigned long port = strtoul(text, &end, 10);

	if (!*text || *end || port == 0 || port > 65535)
		return false;
	*ret_port = (uint16_t)port;
	return true;
}

int cv_cmd_link(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"host", required_argument, NULL, 'h'},
		{"port", required_argument, NULL, 'p'},
		{"no-qr", no_argument, NULL, 'n'},
		{"json", no_argument, NULL, 'j'},
		{"parse", required_argument, NULL, 'u'},
		{NULL, 0, NULL, 0},
	};
	struct request request = {0};
	const char *url = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			request.config_path = optarg;
			break;
		case 'h':
			request.place.host = optarg;
			break;
		case 'p':
			if (!parse_port(optarg, &request.place.port))
				return usage();
			break;
		case 'n':
			request.no_qr = true;
			break;
		case 'j':
			request.json = true;
			break;
		case 'u':
			url = optarg;
			break;
		default:
			return usage();
		}
	}
	if (url)
		return optind == argc ? print_outbound(url) : usage();
	if (argc - optind != 1 || !request.config_path)
		return usage();
	request.user = argv[optind];
	return link_of_user(&request);
}
