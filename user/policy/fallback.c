// SPDX-License-Identifier: MIT
/*
 * fallback.c - VLESS fallbacks: name, then ALPN, then path, each with "" as the answer to the rest.
 *
 * Xray builds a table name -> alpn -> path and lets entries inherit: every named entry gets what ""
 * has for an ALPN or path that it lacks itself. Asked for one (name, alpn, path) that inheritance is a
 * search order, most special first; no table is needed:
 *
 *   (name, alpn, path) (name, "", path) ("", alpn, path) ("", "", path)    then the same for path ""
 *
 * The name is the exact one, else the longest configured name contained anywhere in the SNI.
 */
#include "policy/fallback.h"

#include "wire/http_peek.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static void lower(const char *text, char *ret_lower, size_t size_bytes)
{
	size_t i;

	for (i = 0; text[i] && i + 1 < size_bytes; i++)
		ret_lower[i] = (char)tolower((unsigned char)text[i]);
	ret_lower[i] = '\0';
}

static const char *pick_name(const struct cv_inbound *inbound, const char *sni)
{
	const char *best = "";

	for (size_t i = 0; i < inbound->fallback_count; i++) {
		const char *name = inbound->fallbacks[i].name;

		if (strcasecmp(name, sni) == 0)
			return name;
		if (strlen(name) > strlen(best) && strcasestr(sni, name))
			best = name;
	}
	return best;
}

static bool has_alpn(const struct cv_inbound *inbound, const char *name, const char *alpn)
{
	for (size_t i = 0; i < inbound->fallback_count; i++) {
		const struct cv_fallback *f = &inbound->fallbacks[i];

		if (strcmp(f->alpn, alpn) == 0 && (!f->name[0] || strcasecmp(f->name, name) == 0))
			return true;
	}
	return false;
}

/* The last duplicate wins. */
static const struct cv_fallback *find(const struct cv_inbound *inbound, const char *name,
				      const char *alpn, struct cv_span path)
{
	const struct cv_fallback *found = NULL;

	for (size_t i = 0; i < inbound->fallback_count; i++) {
		const struct cv_fallback *f = &inbound->fallbacks[i];

		if (strcasecmp(f->name, name) == 0 && strcmp(f->alpn, alpn) == 0 &&
		    strlen(f->path) == path.len_bytes &&
		    memcmp(f->path, path.data ? (const char *)path.data : "", path.len_bytes) == 0)
			found = f;
	}
	return found;
}

static const struct cv_fallback *find_inherited(const struct cv_inbound *inbound, const char *name,
						const char *alpn, struct cv_span path)
{
	const struct cv_fallback *found = find(inbound, name, alpn, path);

	if (!found)
		found = find(inbound, name, "", path);
	if (!found)
		found = find(inbound, "", alpn, path);
	return found ? found : find(inbound, "", "", path);
}

const struct cv_fallback *cv_fallback_pick(const struct cv_inbound *inbound, const char *sni,
					   const char *alpn, struct cv_span first_chunk)
{
	const struct cv_span no_path = {0};
	struct cv_span path = cv_http_peek_path(first_chunk);
	const struct cv_fallback *found = NULL;
	char sni_lower[256], alpn_lower[64];
	const char *name;

	lower(sni, sni_lower, sizeof(sni_lower));
	lower(alpn, alpn_lower, sizeof(alpn_lower));
	name = pick_name(inbound, sni_lower);
	if (!has_alpn(inbound, name, alpn_lower))
		alpn_lower[0] = '\0';
	if (path.len_bytes > 0)
		found = find_inherited(inbound, name, alpn_lower, path);
	return found ? found : find_inherited(inbound, name, alpn_lower, no_path);
}
