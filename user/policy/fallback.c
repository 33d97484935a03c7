// SPDX-License-Identifier: MIT
/*
 * fallback.c - name -> ALPN -> path -> where to; VLESS 7.
 *
 * At start the list becomes a table in which every combination that may be asked for stands by
 * itself:
 *
 *   (n, a, p)  is inherited from (n, "", p)   if alpn a is listed for n or for ""
 *   (n, a, p)  is inherited from ("", a, p)   after that, for every n
 *
 * so that picking is three independent steps: name (exact, else the longest that is a substring of
 * the SNI, else ""), then ALPN (exact, else ""), then path (exact, else "").
 */
#include "policy/fallback.h"

#include "policy/config.h"
#include "wire/http_peek.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <culvert/reason.h>

struct table {
	struct cv_fallback *entries;
	size_t count;
};

void cv_fallback_done(struct cv_fallback *fallback)
{
	free(fallback->name);
	free(fallback->alpn);
	free(fallback->path);
	*fallback = (struct cv_fallback){0};
}

/* ---- inheritance -------------------------------------------------------------------------- */

static bool has(const struct table *table, const char *name, const char *alpn, const char *path)
{
	for (size_t i = 0; i < table->count; i++)
		if (strcmp(table->entries[i].name, name) == 0 &&
		    (!alpn || strcmp(table->entries[i].alpn, alpn) == 0) &&
		    (!path || strcmp(table->entries[i].path, path) == 0))
			return true;
	return false;
}

/* Another (name, alpn) for entry @index unless that is there. */
static int add_copy(struct table *table, size_t index, const char *name, const char *alpn)
{
	struct cv_fallback copy = table->entries[index];
	struct cv_fallback *entries;

	if (has(table, name, alpn, copy.path))
		return 0;
	copy.name = strdup(name);
	copy.alpn = strdup(alpn);
	copy.path = strdup(copy.path);
	entries = reallocarray(table->entries, table->count + 1, sizeof(*entries));
	if (entries)
		table->entries = entries;
	if (!entries || !copy.name || !copy.alpn || !copy.path) {
		cv_fallback_done(&copy);
		return CV_INTERNAL_MEMORY;
	}
	entries[table->count++] = copy;
	return 0;
}

static void drop_earlier_duplicates(struct table *table)
{
	size_t kept = 0;

	for (size_t i = 0; i < table->count; i++) {
		struct cv_fallback *entry = &table->entries[i];
		const struct table later = {.entries = entry + 1, .count = table->count - i - 1};

		if (has(&later, entry->name, entry->alpn, entry->path))
			cv_fallback_done(entry);
		else
			table->entries[kept++] = *entry;
	}
	table->count = kept;
}

/* Entry @index is (n, "", p): give it to each ALPN that is listed for n or for "". */
static int inherit_alpn(struct table *table, size_t index, size_t listed_count)
{
	int error = 0;

	for (size_t i = 0; i < listed_count && !error; i++) {
		const struct cv_fallback *other = &table->entries[i];
		const char *name = table->entries[index].name;

		if (other->alpn[0] && (other->name[0] == '\0' || strcmp(other->name, name) == 0))
			error = add_copy(table, index, name, other->alpn);
	}
	return error;
}

/* Entry @index is ("", a, p): give it to each name. */
static int inherit_name(struct table *table, size_t index, size_t listed_count)
{
	int error = 0;

	for (size_t i = 0; i < listed_count && !error; i++)
		if (table->entries[i].name[0])
			error = add_copy(table, index, table->entries[i].name,
					 table->entries[index].alpn);
	return error;
}

int cv_fallback_inherit(struct cv_fallback **fallbacks, size_t *count)
{
	struct table table = {.entries = *fallbacks, .count = *count};
	size_t listed, with_alpn;
	int error = 0;

	drop_earlier_duplicates(&table);
	listed = table.count;
	for (size_t i = 0; i < listed && !error; i++)
		if (table.entries[i].alpn[0] == '\0')
			error = inherit_alpn(&table, i, listed);
	with_alpn = table.count;
	for (size_t i = 0; i < with_alpn && !error; i++)
		if (table.entries[i].name[0] == '\0')
			error = inherit_name(&table, i, listed);
	*fallbacks = table.entries;
	*count = table.count;
	return error;
}

/* ---- picking ------------------------------------------------------------------------------ */

static const char *pick_name(const struct table *table, const char *sni)
{
	const char *best = "";

	if (has(table, sni, NULL, NULL))
		return sni;
	for (size_t i = 0; i < table->count; i++) {
		const char *name = table->entries[i].name;

		if (strlen(name) > strlen(best) && strstr(sni, name))
			best = name;
	}
	return best;
}

/* Is there a path to choose by: more than "" alone? */
static bool has_paths(const struct table *table, const char *name, const char *alpn)
{
	for (size_t i = 0; i < table->count; i++)
		if (table->entries[i].path[0] && strcmp(table->entries[i].name, name) == 0 &&
		    strcmp(table->entries[i].alpn, alpn) == 0)
			return true;
	return false;
}

static bool span_is(struct cv_span span, const char *text)
{
	return span.len_bytes == strlen(text) &&
	       (span.len_bytes == 0 || memcmp(span.data, text, span.len_bytes) == 0);
}

static const struct cv_fallback *pick_path(const struct table *table, const char *name,
					   const char *alpn, struct cv_span path)
{
	const struct cv_fallback *any = NULL;

	for (size_t i = 0; i < table->count; i++) {
		const struct cv_fallback *entry = &table->entries[i];

		if (strcmp(entry->name, name) != 0 || strcmp(entry->alpn, alpn) != 0)
			continue;
		if (span_is(path, entry->path))
			return entry;
		if (entry->path[0] == '\0')
			any = entry;
	}
	return any;
}

const struct cv_fallback *cv_fallback_pick(const struct cv_inbound *inbound, const char *sni,
					   const char *alpn, struct cv_span first_chunk)
{
	const struct table table = {.entries = inbound->fallbacks,
				    .count = inbound->fallback_count};
	char lower_sni[CV_DOMAIN_MAX + 1] = "", lower_alpn[CV_DOMAIN_MAX + 1] = "";
	struct cv_span path = {0};
	const char *name;

	for (size_t i = 0; i < CV_DOMAIN_MAX && sni[i]; i++)
		lower_sni[i] = (char)tolower((unsigned char)sni[i]);
	for (size_t i = 0; i < CV_DOMAIN_MAX && alpn[i]; i++)
		lower_alpn[i] = (char)tolower((unsigned char)alpn[i]);
	name = pick_name(&table, lower_sni);
	alpn = has(&table, name, lower_alpn, NULL) ? lower_alpn : "";
	if (has_paths(&table, name, alpn))
		path = cv_http_peek_path(first_chunk);
	return pick_path(&table, name, alpn, path);
}
