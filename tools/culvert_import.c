// SPDX-License-Identifier: MIT
/*
 * culvert_import.c - `culvert import`: what other programs' files say, as a configuration of ours.
 *
 *   name ends in .yaml, .yml; or begins as a node  -> a client with these nodes
 *   vless:// on the command line or in the file    -> a client with these servers
 *   anything else                                  -> a haproxy.cfg: routing by server name
 *
 * The result goes to standard output, findings to standard error. Exit status 2: there is none.
 */
#include "culvert.h"

#include "config/client_json.h"
#include "config/config_load.h"
#include "config/haproxy.h"
#include "config/node_import.h"
#include "crypto/crypto.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (1 << 20)
#define LINK "vless://"
#define LINKS_MAX 4096

static void print_finding(void *context, bool is_error, const char *text)
{
	fprintf(stderr, "%s: %s: %s\n", (const char *)context, is_error ? "error" : "warning",
		text);
}

/* NUL terminated; NULL, after saying why, if it cannot be read. */
static char *read_file(const char *path, size_t *ret_len)
{
	FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	char *text = file ? malloc(FILE_MAX) : NULL;
	bool good = false;

	if (text) {
		*ret_len = fread(text, 1, FILE_MAX, file);
		good = !ferror(file) && *ret_len < FILE_MAX;
	}
	if (!good)
		fprintf(stderr, "culvert import: %s: %s\n", path,
			text && *ret_len == FILE_MAX ? "larger than 1 MiB" : strerror(errno));
	if (file && file != stdin)
		(void)fclose(file);
	if (!good) {
		free(text);
		return NULL;
	}
	text[*ret_len] = '\0';
	return text;
}

/* ---- what is it? -------------------------------------------------------------------------- */

static bool ends_in(const char *path, const char *ending)
{
	const size_t len = strlen(path), ending_len = strlen(ending);

	return len > ending_len && strcasecmp(path + len - ending_len, ending) == 0;
}

static const char *skip_blank(const char *text)
{
	while (isspace((unsigned char)*text) || *text == '#')
		text += *text == '#' ? strcspn(text, "\n") : 1;
	return text;
}

static bool is_link(const char *text)
{
	return strncasecmp(text, LINK, strlen(LINK)) == 0;
}

/* Standard input has no name: a key of nodes, which no section of haproxy.cfg is. */
static bool looks_like_nodes(const char *path, const char *text)
{
	static const char *const beginnings[] = {"---", "- ", "proxies:", "name:", "type:",
						 "server:", "{"};

	if (ends_in(path, ".yaml") || ends_in(path, ".yml"))
		return true;
	for (size_t i = 0; strcmp(path, "-") == 0 && i < sizeof(beginnings) / sizeof(*beginnings);
	     i++)
		if (strncmp(text, beginnings[i], strlen(beginnings[i])) == 0)
			return true;
	return false;
}

/* ---- links -------------------------------------------------------------------------------- */

static int add_link(struct json_object *outbounds, const char *text, unsigned line)
{
	const size_t count = json_object_array_length(outbounds);
	char error_text[CV_SHARE_ERROR_TEXT], tag[32];
	struct cv_share_link link;

	if (count == LINKS_MAX || cv_share_link_parse(text, &link, error_text) != 0) {
		fprintf(stderr, "culvert import: line %u: %s\n", line,
			count == LINKS_MAX ? "too many links" : error_text);
		return -1;
	}
	/* names of links are anybody's choice, tags must differ */
	snprintf(tag, sizeof(tag), "proxy-%zu", count + 1);
	tag[count ? strlen(tag) : strlen("proxy")] = '\0'; /* one is enough of a name */
	json_object_array_add(outbounds, cv_client_outbound(&link, tag));
	cv_cleanse(&link, sizeof(link));
	return 0;
}

static int import_links(const char *path, char *text, struct json_object **ret_config)
{
	struct json_object *outbounds = json_object_new_array();
	unsigned line = 0;
	int error = 0;

	(void)path;
	for (char *at = text, *link; !error && (link = strsep(&at, "\n"));) {
		line++;
		while (isspace((unsigned char)*link))
			link++;
		link[strcspn(link, "\r\t ")] = '\0';
		if (*link && *link != '#')
			error = add_link(outbounds, link, line);
	}
	if (error) {
		json_object_put(outbounds);
		return error;
	}
	*ret_config = cv_client_config(outbounds, false);
	return 0;
}

/* ---- the result --------------------------------------------------------------------------- */

static int puts_config(struct json_object *config)
{
	puts(json_object_to_json_string_ext(config, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_SPACED |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(config);
	return EXIT_SUCCESS;
}

/* What the daemon would say about it is said now. */
static int check_client(struct json_object *config)
{
	const struct cv_config_report report = {.line = print_finding,
						.context = (char[]){"culvert import"}};
	const char *text = json_object_to_json_string_ext(config, JSON_C_TO_STRING_PRETTY);
	struct cv_config *loaded = NULL;
	const int error = cv_config_load_text("result", text, strlen(text), &report, &loaded);

	cv_config_free(loaded);
	return error;
}

/* ---- files -------------------------------------------------------------------------------- */

static int import_text(const char *path, char *text, size_t len, struct json_object **ret_config)
{
	const struct cv_config_report report = {.line = print_finding, .context = (void *)path};
	struct json_object *outbounds = NULL;
	bool has_udp = false;
	int error;

	if (is_link(skip_blank(text))) {
		error = import_links(path, text, ret_config);
		return error ? error : check_client(*ret_config);
	}
	if (!looks_like_nodes(path, skip_blank(text)))
		return cv_haproxy_import(text, len, &report, ret_config);
	error = cv_node_import(text, len, &report, &outbounds, &has_udp);
	if (error)
		return error;
	*ret_config = cv_client_config(outbounds, has_udp);
	return check_client(*ret_config);
}

static int usage(void)
{
	fputs("usage: culvert import HAPROXY.CFG | NODES.YAML | LINK | -\n", stderr);
	return CV_EXIT_USAGE;
}

int cv_cmd_import(int argc, char **argv)
{
	struct json_object *config = NULL;
	size_t len = 0;
	char *text;
	int error;

	if (argc != 2 || (argv[1][0] == '-' && argv[1][1]))
		return usage();
	text = is_link(argv[1]) ? strdup(argv[1]) : read_file(argv[1], &len);
	if (!text)
		return EXIT_FAILURE;
	len = strlen(text) > len ? strlen(text) : len;
	error = import_text(argv[1], text, len, &config);
	cv_cleanse(text, len);
	free(text);
	if (!error)
		return puts_config(config);
	json_object_put(config);
	return CV_EXIT_USAGE;
}
