// SPDX-License-Identifier: MIT
/*
 * domain_matcher.c - full and domain: in one hash set, the rest in lists.
 *
 *   a.b.example.com   look up "a.b.example.com" as full or domain:,
 *                     then "b.example.com", "example.com", "com" as domain:
 *
 * The cost of a lookup is the number of labels, however many names a rule lists. Keywords and
 * regular expressions are tried one after the other; glibc's regexec() takes a lock per expression.
 */
#include "policy/domain_matcher.h"

#include "base/address.h"
#include "policy/siphash.h"

#include <culvert/reason.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct name {
	char *text; /* NULL = free slot */
	size_t len;
	bool with_subdomains;
};

struct text_list {
	char **texts;
	size_t count;
};

struct pattern {
	regex_t regexp;
	char literal[CV_REGEXP_LITERAL];
};

struct cv_domain_matcher {
	struct cv_siphash_key key;
	struct name *names; /* slot_count, power of two */
	size_t slot_count, name_count;
	struct text_list keywords, dotless;
	struct pattern *regexps;
	size_t regexp_count;
};

struct cv_domain_matcher *cv_domain_matcher_new(void)
{
	struct cv_domain_matcher *matcher = calloc(1, sizeof(*matcher));

	if (!matcher || cv_siphash_key_random(&matcher->key) != 0) {
		free(matcher);
		return NULL;
	}
	return matcher;
}

static void list_free(struct text_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->texts[i]);
	free(list->texts);
}

struct cv_domain_matcher *cv_domain_matcher_free(struct cv_domain_matcher *matcher)
{
	if (!matcher)
		return NULL;
	for (size_t i = 0; i < matcher->slot_count; i++)
		free(matcher->names[i].text);
	for (size_t i = 0; i < matcher->regexp_count; i++)
		regfree(&matcher->regexps[i].regexp);
	list_free(&matcher->keywords);
	list_free(&matcher->dotless);
	free(matcher->names);
	free(matcher->regexps);
	free(matcher);
	return NULL;
}

/* ---- the set of names --------------------------------------------------------------------- */

/* The slot of @text, or the free one where it belongs. */
static struct name *find_name(const struct cv_domain_matcher *matcher, const char *text, size_t len)
{
	const size_t mask = matcher->slot_count - 1;
	size_t slot = cv_siphash(&matcher->key, text, len) & mask;

	while (matcher->names[slot].text && (matcher->names[slot].len != len ||
					     memcmp(matcher->names[slot].text, text, len) != 0))
		slot = (slot + 1) & mask;
	return &matcher->names[slot];
}

static int grow_names(struct cv_domain_matcher *matcher)
{
	struct cv_domain_matcher bigger = *matcher;

	bigger.slot_count = matcher->slot_count ? 2 * matcher->slot_count : 16;
	bigger.names = calloc(bigger.slot_count, sizeof(*bigger.names));
	if (!bigger.names)
		return CV_INTERNAL_MEMORY;
	for (size_t i = 0; i < matcher->slot_count; i++)
		if (matcher->names[i].text)
			*find_name(&bigger, matcher->names[i].text, matcher->names[i].len) =
				matcher->names[i];
	free(matcher->names);
	*matcher = bigger;
	return 0;
}

static int add_name(struct cv_domain_matcher *matcher, const char *text, bool with_subdomains)
{
	struct name *name;

	if (2 * (matcher->name_count + 1) > matcher->slot_count && grow_names(matcher) != 0)
		return CV_INTERNAL_MEMORY;
	name = find_name(matcher, text, strlen(text));
	if (!name->text) {
		name->text = strdup(text);
		if (!name->text)
			return CV_INTERNAL_MEMORY;
		name->len = strlen(text);
		matcher->name_count++;
	}
	name->with_subdomains |= with_subdomains;
	return 0;
}

static bool match_names(const struct cv_domain_matcher *matcher, const char *domain, size_t len)
{
	bool is_whole = true;

	if (matcher->name_count == 0)
		return false;
	for (const char *at = domain; at; at = memchr(at, '.', len - (size_t)(at - domain))) {
		const struct name *name;

		at += !is_whole;
		name = find_name(matcher, at, len - (size_t)(at - domain));
		if (name->text && (is_whole || name->with_subdomains))
			return true;
		is_whole = false;
	}
	return false;
}

/* ---- lists -------------------------------------------------------------------------------- */

static int add_text(struct text_list *list, const char *text)
{
	char **texts = reallocarray(list->texts, list->count + 1, sizeof(*texts));

	if (!texts)
		return CV_INTERNAL_MEMORY;
	list->texts = texts;
	texts[list->count] = strdup(text);
	if (!texts[list->count])
		return CV_INTERNAL_MEMORY;
	list->count++;
	return 0;
}

static bool list_match(const struct text_list *list, const char *domain)
{
	for (size_t i = 0; i < list->count; i++)
		if (strstr(domain, list->texts[i]))
			return true;
	return false;
}

static int add_regexp(struct cv_domain_matcher *matcher, const char *pattern, char *error_text,
		      size_t error_size)
{
	struct pattern *regexps =
		reallocarray(matcher->regexps, matcher->regexp_count + 1, sizeof(*regexps));
	char cause[CV_REGEXP_ERROR_TEXT];

	if (!regexps)
		return CV_INTERNAL_MEMORY;
	matcher->regexps = regexps;
	if (cv_regexp_compile(pattern, &regexps[matcher->regexp_count].regexp, cause) != 0) {
		snprintf(error_text, error_size, "%s", cause);
		return CV_INTERNAL_CONFIG;
	}
	cv_regexp_literal(pattern, regexps[matcher->regexp_count].literal);
	matcher->regexp_count++;
	return 0;
}

/* ---- the interface ------------------------------------------------------------------------ */

static const char *after(const char *text, const char *prefix)
{
	const size_t len = strlen(prefix);

	return strncasecmp(text, prefix, len) == 0 ? text + len : NULL;
}

static void lower(char *text)
{
	for (; *text; text++)
		*text = (char)tolower((unsigned char)*text);
}

int cv_domain_matcher_add(struct cv_domain_matcher *matcher, const char *rule, char *error_text,
			  size_t error_size)
{
	char text[CV_DOMAIN_MAX + 1];
	const char *value;

	if ((value = after(rule, "regexp:")))
		return add_regexp(matcher, value, error_text, error_size);
	if (after(rule, "geosite:") || after(rule, "ext:") || after(rule, "ext-domain:")) {
		snprintf(error_text, error_size,
			 "expected geosite:NAME or ext:FILE:NAME");
		return CV_INTERNAL_CONFIG;
	}
	value = strchr(rule, ':') ? strchr(rule, ':') + 1 : rule;
	if (strlen(value) > CV_DOMAIN_MAX || (!*value && !after(rule, "dotless:"))) {
		snprintf(error_text, error_size, "a domain has 1 to 255 bytes");
		return CV_INTERNAL_CONFIG;
	}
	snprintf(text, sizeof(text), "%s", value);
	lower(text);
	if (after(rule, "full:"))
		return add_name(matcher, text, false);
	if (after(rule, "domain:"))
		return add_name(matcher, text, true);
	if (after(rule, "dotless:"))
		return add_text(&matcher->dotless, text);
	if (after(rule, "keyword:") || value == rule)
		return add_text(&matcher->keywords, text);
	snprintf(error_text, error_size, "unknown prefix");
	return CV_INTERNAL_CONFIG;
}

bool cv_domain_matcher_match(const struct cv_domain_matcher *matcher, const char *domain)
{
	char text[CV_DOMAIN_MAX + 1];

	if (strlen(domain) > CV_DOMAIN_MAX)
		return false;
	snprintf(text, sizeof(text), "%s", domain);
	lower(text);
	if (match_names(matcher, text, strlen(text)) || list_match(&matcher->keywords, text) ||
	    (!strchr(text, '.') && list_match(&matcher->dotless, text)))
		return true;
	for (size_t i = 0; i < matcher->regexp_count; i++)
		if (regexec(&matcher->regexps[i].regexp, text, 0, NULL, 0) == 0)
			return true;
	return false;
}

/* ---- for an index ------------------------------------------------------------------------- */

void cv_domain_matcher_take_names(struct cv_domain_matcher *matcher,
				  void (*each)(const char *text, size_t len, bool with_subdomains,
					       void *context),
				  void *context)
{
	for (size_t i = 0; i < matcher->slot_count; i++) {
		struct name *name = &matcher->names[i];

		if (!name->text)
			continue;
		each(name->text, name->len, name->with_subdomains, context);
		free(name->text);
	}
	free(matcher->names);
	matcher->names = NULL;
	matcher->slot_count = matcher->name_count = 0;
}

void cv_domain_matcher_each_word(const struct cv_domain_matcher *matcher,
				 void (*each)(const char *word, bool is_dotless, void *context),
				 void *context)
{
	for (size_t i = 0; i < matcher->keywords.count; i++)
		each(matcher->keywords.texts[i], false, context);
	for (size_t i = 0; i < matcher->dotless.count; i++)
		each(matcher->dotless.texts[i], true, context);
}

void cv_domain_matcher_each_regexp(const struct cv_domain_matcher *matcher,
				   void (*each)(const regex_t *regexp, const char *literal,
						void *context),
				   void *context)
{
	for (size_t i = 0; i < matcher->regexp_count; i++)
		each(&matcher->regexps[i].regexp, matcher->regexps[i].literal, context);
}
