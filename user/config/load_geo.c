// SPDX-License-Identifier: MIT
/*
 * load_geo.c - rules that name a list in geosite.dat or geoip.dat.
 *
 *   geosite:NAME, geoip:CODE   the file of that name: in XRAY_LOCATION_ASSET if that is set, else
 *                              beside the configuration, then where distributions put it
 *   ext:FILE:NAME              another file in the same places
 *
 * A file is read once for a configuration, and let go of when it is loaded: matchers have copies.
 */
#include "config/load_geo.h"

#include "base/reason.h"
#include "wire/geo_dat.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CODE_MAX 128

struct cv_geo_file {
	struct cv_geo_file *next;
	char *name, *text;
	size_t len_bytes;
};

struct wanted { /* of a rule */
	char file[128], code[CODE_MAX];
	const char *attributes; /* "" or "@one@other" */
	bool is_inverted;
};

/* ---- files -------------------------------------------------------------------------------- */

static const char *const places[] = {"/usr/local/share/xray/", "/usr/share/xray/",
				     "/usr/share/v2ray/", "/usr/share/culvert/"};

static int read_from(const char *directory, const char *name, struct cv_geo_file *file)
{
	char *path;
	int error;

	if (asprintf(&path, "%s%s%s", directory,
		     *directory && directory[strlen(directory) - 1] != '/' ? "/" : "", name) < 0)
		return -ENOMEM;
	error = cv_document_read_file(path, &file->text, &file->len_bytes);
	free(path);
	return error;
}

static int read_somewhere(const struct cv_load *load, const char *name, struct cv_geo_file *file)
{
	const char *asset = getenv("XRAY_LOCATION_ASSET");
	int error = read_from(asset ? asset : load->directory, name, file);

	for (size_t i = 0; error == -ENOENT && i < sizeof(places) / sizeof(places[0]); i++)
		error = read_from(places[i], name, file);
	return error;
}

static struct cv_geo_file *file_free(struct cv_geo_file *file)
{
	struct cv_geo_file *next = file->next;

	free(file->name);
	free(file->text);
	free(file);
	return next;
}

void cv_load_geo_done(struct cv_load *load)
{
	while (load->geo_files)
		load->geo_files = file_free(load->geo_files);
}

static const struct cv_geo_file *open_file(const struct cv_node *node, const char *name)
{
	struct cv_load *load = cv_node_load(node);
	struct cv_geo_file *file = load->geo_files;
	int error;

	for (; file; file = file->next)
		if (strcmp(file->name, name) == 0)
			return file;
	file = cv_load_calloc(load, 1, sizeof(*file));
	if (!file)
		return NULL;
	file->name = cv_load_strdup(load, name);
	error = file->name ? read_somewhere(load, name, file) : -ENOMEM;
	if (error) {
		cv_node_error(node, "%.128s: %s (it is looked for beside the configuration, in "
			      "XRAY_LOCATION_ASSET, /usr/share/xray and /usr/share/v2ray)",
			      name, strerror(-error));
		file_free(file);
		return NULL;
	}
	file->next = load->geo_files;
	load->geo_files = file;
	return file;
}

/* ---- rules -------------------------------------------------------------------------------- */

static const char *after(const char *text, const char *prefix)
{
	const size_t len = strlen(prefix);

	return strncasecmp(text, prefix, len) == 0 ? text + len : NULL;
}

/* False: not of this kind. A rule that is too long finds nothing, and is told of. */
static bool parse(const char *text, const char *prefix, const char *usual_file,
		  struct wanted *ret_wanted)
{
	struct wanted wanted = {.is_inverted = text[0] == '!'};
	const char *rest = text + wanted.is_inverted, *code = after(rest, prefix), *colon;

	(void)snprintf(wanted.file, sizeof(wanted.file), "%s", usual_file);
	if (!code && (code = after(rest, "ext:"))) {
		colon = strchr(code, ':');
		if (!colon)
			return false;
		(void)snprintf(wanted.file, sizeof(wanted.file), "%.*s", (int)(colon - code),
			       code);
		code = colon + 1;
	}
	if (!code)
		return false;
	if (*code == '!' && !wanted.is_inverted) {
		wanted.is_inverted = true;
		code++;
	}
	wanted.attributes = code + strcspn(code, "@");
	(void)snprintf(wanted.code, sizeof(wanted.code), "%.*s", (int)(wanted.attributes - code),
		       code);
	*ret_wanted = wanted;
	return true;
}

static int find(const struct cv_node *node, const struct wanted *wanted,
		struct cv_reader *ret_entry)
{
	const struct cv_geo_file *file = open_file(node, wanted->file);
	int error;

	if (!file)
		return -ENOENT;
	error = cv_geo_find(cv_reader_of(file->text, file->len_bytes), wanted->code, ret_entry);
	if (error == -ENOENT)
		cv_node_error(node, "%.128s has no list \"%.64s\"", wanted->file, wanted->code);
	else if (error)
		cv_node_error(node, "%.128s is damaged", wanted->file);
	return error;
}

/* ---- domains ------------------------------------------------------------------------------ */

static bool has_all(const struct cv_geo_domain *domain, const char *attributes)
{
	while (*attributes == '@') {
		const size_t len = strcspn(attributes + 1, "@");

		if (!cv_geosite_has(domain, attributes + 1, len))
			return false;
		attributes += 1 + len;
	}
	return true;
}

static int add_domain(struct cv_domain_matcher *matcher, const struct cv_geo_domain *domain)
{
	static const char *const prefixes[] = {"keyword:", "regexp:", "domain:", "full:"};
	char rule[1024], cause[160];

	if (domain->value_len >= sizeof(rule) - 16 ||
	    memchr(domain->value, '\0', domain->value_len))
		return CV_INTERNAL_CONFIG;
	(void)snprintf(rule, sizeof(rule), "%s%.*s", prefixes[domain->kind],
		       (int)domain->value_len, domain->value);
	return cv_domain_matcher_add(matcher, rule, cause, sizeof(cause));
}

bool cv_load_geosite(const struct cv_node *node, const char *text,
		     struct cv_domain_matcher *matcher)
{
	struct cv_geo_domain domain;
	struct cv_reader entry;
	struct wanted wanted;
	size_t unusable = 0, count = 0;
	int error;

	if (!parse(text, "geosite:", "geosite.dat", &wanted) || wanted.is_inverted)
		return false;
	error = find(node, &wanted, &entry);
	if (error)
		return true;
	while ((error = cv_geosite_next(&entry, &domain)) == 0) {
		if (!has_all(&domain, wanted.attributes))
			continue;
		error = add_domain(matcher, &domain);
		cv_node_load(node)->out_of_memory |= error == CV_INTERNAL_MEMORY;
		unusable += error == CV_INTERNAL_CONFIG;
		count++;
	}
	if (error != -ENOENT)
		cv_node_error(node, "%.128s is damaged", wanted.file);
	else if (count == 0)
		cv_node_warning(node, "no name in %.64s has the attributes %.64s", wanted.code,
				wanted.attributes);
	if (unusable > 0)
		cv_node_warning(node, "%zu of %zu names in %.64s cannot be used: patterns that "
				"POSIX expressions cannot say", unusable, count, wanted.code);
	return true;
}

/* ---- addresses ---------------------------------------------------------------------------- */

bool cv_load_geoip(const struct cv_node *node, const char *text, struct cv_ip_matcher *matcher)
{
	struct cv_geo_block block;
	struct cv_reader entry;
	struct wanted wanted;
	bool is_inverted;
	int error;

	if (!parse(text, "geoip:", "geoip.dat", &wanted) ||
	    (strcasecmp(wanted.code, "private") == 0 && !after(text + wanted.is_inverted, "ext:")))
		return false; /* that one is built in */
	error = find(node, &wanted, &entry);
	if (error)
		return true;
	is_inverted = wanted.is_inverted != cv_geoip_is_reversed(entry);
	while ((error = cv_geoip_next(&entry, &block)) == 0) {
		struct cv_cidr cidr = {.is_ipv6 = block.is_ipv6, .prefix_bits = block.prefix_bits};

		memcpy(cidr.bytes, block.bytes, sizeof(cidr.bytes));
		cv_node_load(node)->out_of_memory |=
			cv_ip_matcher_add_geoip(matcher, is_inverted, &cidr) != 0;
	}
	if (error != -ENOENT)
		cv_node_error(node, "%.128s is damaged", wanted.file);
	return true;
}
