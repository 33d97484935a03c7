// SPDX-License-Identifier: MIT
/*
 * culvert_link.c - `culvert link`: a user's links for every way in, and a QR code, from the live
 * configuration, or a whole configuration for a client; the other way round, an outbound from a
 * link.
 *
 * A password cannot be read from its hash: whoever knows it gives it on standard input.
 */
#include "culvert.h"

#include "config/client_json.h"
#include "config/config_load.h"
#include "config/share_link.h"
#include "crypto/crypto.h"
#include "policy/password.h"

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
	outbound = cv_client_outbound(&link, "proxy");
	puts(json_object_to_json_string_ext(outbound, JSON_C_TO_STRING_PRETTY |
							      JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(outbound);
	return EXIT_SUCCESS;
}

/* ---- user to link ------------------------------------------------------------------------- */

struct request {
	const char *user, *config_path;
	struct cv_share_place place;
	char password[CV_PASSWORD_MAX + 2]; /* "" = not known; and a newline */
	bool no_qr, json, client, password_stdin;
	struct json_object *ways; /* {"protocol", "link"} */
	struct json_object *outbound; /* of the first way that a client of ours can use */
};

static void print_finding(void *context, bool is_error, const char *text)
{
	(void)context;
	if (is_error)
		fprintf(stderr, "error: %s\n", text);
}

static void add_way(struct request *request, const char *protocol, const char *link)
{
	struct json_object *way = json_object_new_object();

	cv_client_add(way, "protocol", protocol);
	cv_client_add(way, "link", link);
	json_object_array_add(request->ways, way);
}

static const char *link_at(const struct request *request, size_t index)
{
	struct json_object *way = json_object_array_get_idx(request->ways, index), *link = NULL;

	(void)json_object_object_get_ex(way, "link", &link);
	return json_object_get_string(link);
}

static struct json_object *proxy_outbound(const struct cv_share_proxy *proxy)
{
	struct json_object *outbound = json_object_new_object(),
			   *settings = json_object_new_object();
	const bool is_tls = proxy->scheme[strlen(proxy->scheme) - 1] == 's';

	cv_client_add(outbound, "tag", "proxy");
	cv_client_add(outbound, "protocol",
		      strncmp(proxy->scheme, "socks", 5) == 0 ? "socks" : "http");
	cv_client_add(settings, "address", proxy->host);
	json_object_object_add(settings, "port", json_object_new_int(proxy->port));
	cv_client_add(settings, "user", proxy->user);
	cv_client_add(settings, "pass", proxy->password);
	cv_client_add(settings, "fallback", "block"); /* nothing goes around it unasked */
	json_object_object_add(outbound, "settings", settings);
	if (is_tls) {
		struct json_object *stream = json_object_new_object();

		cv_client_add(stream, "security", "tls");
		json_object_object_add(outbound, "streamSettings", stream);
	}
	return outbound;
}

static void take_proxy(void *context, const struct cv_share_proxy *proxy)
{
	struct request *request = context;
	char text[CV_SHARE_LINK_MAX];

	cv_share_proxy_format(proxy, text);
	add_way(request, proxy->scheme, text);
	cv_cleanse(text, sizeof(text));
	if (!request->outbound && proxy->password[0])
		request->outbound = proxy_outbound(proxy);
}

static void take_vless(struct request *request, const struct cv_share_link *link)
{
	char text[CV_SHARE_LINK_MAX];

	cv_share_link_format(link, text);
	add_way(request, "vless", text);
	request->outbound = cv_client_outbound(link, "proxy");
}

/* A configuration that is complete: SOCKS5 on this machine, and the way out. */
static int print_client(const struct request *request)
{
	struct json_object *root, *outbounds = json_object_new_array();

	if (!request->outbound) {
		json_object_put(outbounds);
		fputs("culvert link: a client needs the password: --password-stdin\n", stderr);
		return EXIT_FAILURE;
	}
	json_object_array_add(outbounds, json_object_get(request->outbound));
	root = cv_client_config(outbounds, false);
	puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY |
							  JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(root);
	return EXIT_SUCCESS;
}

static int print_ways(const struct request *request)
{
	const size_t count = json_object_array_length(request->ways);
	struct json_object *object;

	if (request->client)
		return print_client(request);
	for (size_t i = 0; !request->json && i < count; i++) {
		puts(link_at(request, i));
		if (i == 0 && !request->no_qr)
			print_qr(link_at(request, i));
	}
	if (!request->json)
		return EXIT_SUCCESS;
	object = json_object_new_object();
	cv_client_add(object, "user", request->user);
	cv_client_add(object, "link", link_at(request, 0));
	json_object_object_add(object, "ways", json_object_get(request->ways));
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
	return EXIT_SUCCESS;
}

static int collect_ways(struct request *request, const struct cv_config *config)
{
	char vless_error[CV_SHARE_ERROR_TEXT], error_text[CV_SHARE_ERROR_TEXT];
	struct cv_share_place place = request->place;
	struct cv_share_link link;
	int proxies;

	if (cv_share_link_of_user(config, request->user, &place, &link, vless_error) == 0) {
		take_vless(request, &link);
		place.port = 0; /* that was the one it was given for */
	}
	proxies = cv_share_proxies_of_user(config, request->user, &place,
					   request->password[0] ? request->password : NULL,
					   take_proxy, request, error_text);
	if (proxies == 0 && request->password[0])
		fprintf(stderr, "culvert link: no proxy takes this password of %s\n",
			request->user);
	else if (json_object_array_length(request->ways) == 0)
		fprintf(stderr, "culvert link: %s\n", proxies < 0 ? error_text : vless_error);
	else
		return EXIT_SUCCESS;
	return EXIT_FAILURE;
}

static int links_of_user(struct request *request)
{
	const struct cv_config_report report = {.line = print_finding};
	struct cv_config *config = NULL;
	int error, status;

	if (request->password_stdin &&
	    !fgets(request->password, sizeof(request->password), stdin)) {
		fputs("culvert link: standard input is empty\n", stderr);
		return EXIT_FAILURE;
	}
	request->password[strcspn(request->password, "\r\n")] = '\0';
	error = cv_config_load(request->config_path, &report, &config);
	if (error) {
		if (error > -2000)
			fprintf(stderr, "culvert link: %s: %s\n", request->config_path,
				strerror(-error));
		return CV_EXIT_USAGE;
	}
	request->ways = json_object_new_array();
	status = collect_ways(request, config);
	if (!status)
		status = print_ways(request);
	json_object_put(request->ways);
	json_object_put(request->outbound);
	cv_cleanse(request->password, sizeof(request->password));
	cv_config_free(config);
	return status;
}

static int usage(void)
{
	fputs("usage: culvert link USER -c FILE [--host HOST] [--port PORT] [--password-stdin]\n"
	      "                    [--client] [--no-qr] [--json]\n"
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
		{"client", no_argument, NULL, 'l'},
		{"password-stdin", no_argument, NULL, 's'},
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
		case 'l':
			request.client = true;
			break;
		case 's':
			request.password_stdin = true;
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
	return links_of_user(&request);
}
