// SPDX-License-Identifier: MIT
/*
 * route_index.c - rules by the names, users, addresses or inbounds that they are about.
 *
 *   domain      full, domain:        text table, one look per label of the name
 *               keyword, dotless:    trie
 *               regexp:              tried only if a text that it cannot do without is in the name
 *   else user   text table           else addresses   tree of blocks
 *   else inboundTag   text table     else, and where a pattern or "!" is involved: always
 *
 * A decision costs what the name and the address have in them, not what the rules list.
 */
#include "policy/route_index.h"

#include "policy/address_tree.h"
#include "policy/keyword_trie.h"
#include "policy/text_table.h"

#include <culvert/reason.h>

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define WITH_SUBDOMAINS 1u /* in numbers under names: rule << 1 */
#define IS_PATTERN 1u	   /* in numbers under keywords: rule or pattern << 1 */

struct pattern {
	const regex_t *regexp;
	uint32_t rule;
};

struct cv_route_index {
	size_t word_count;
	uint64_t *always, *by_address; /* bits */
	struct cv_text_table names, users, inbounds;
	struct cv_keyword_trie *keywords, *dotless;
	struct cv_address_tree ipv4, ipv6;
	struct pattern *patterns; /* the first free_count have no such text */
	size_t pattern_count, free_count;
};

static void set_bit(uint64_t *bits, uint32_t rule)
{
	bits[rule / 64] |= (uint64_t)1 << rule % 64;
}

static bool has_bit(const uint64_t *bits, uint32_t rule)
{
	return (bits[rule / 64] >> rule % 64 & 1) != 0;
}

/* ---- filing ------------------------------------------------------------------------------- */

struct filing {
	struct cv_route_index *index;
	uint32_t rule;
	int error;
};

static void file_name(const char *text, size_t len, bool with_subdomains, void *context)
{
	struct filing *filing = context;

	if (!filing->error)
		filing->error = cv_text_table_add(&filing->index->names, text, len,
						  filing->rule << 1 |
							  (with_subdomains ? WITH_SUBDOMAINS : 0));
}

static void file_keyword(const char *word, bool is_dotless, void *context)
{
	struct filing *filing = context;
	struct cv_route_index *index = filing->index;

	if (!filing->error)
		filing->error = cv_keyword_trie_add(is_dotless ? index->dotless : index->keywords,
						    word, filing->rule << 1);
}

static int add_pattern(struct cv_route_index *index, const regex_t *regexp, uint32_t rule)
{
	struct pattern *patterns = reallocarray(index->patterns, index->pattern_count + 1,
						sizeof(*patterns));

	if (!patterns)
		return CV_INTERNAL_MEMORY;
	index->patterns = patterns;
	patterns[index->pattern_count++] = (struct pattern){.regexp = regexp, .rule = rule};
	return 0;
}

/* Those without a text come first, in a pass of their own. */
static void file_free_pattern(const regex_t *regexp, const char *literal, void *context)
{
	struct filing *filing = context;

	if (!filing->error && !*literal)
		filing->error = add_pattern(filing->index, regexp, filing->rule);
}

static void file_pattern(const regex_t *regexp, const char *literal, void *context)
{
	struct filing *filing = context;
	struct cv_route_index *index = filing->index;

	if (filing->error || !*literal)
		return;
	filing->error = cv_keyword_trie_add(index->keywords, literal,
					    (uint32_t)index->pattern_count << 1 | IS_PATTERN);
	if (!filing->error)
		filing->error = add_pattern(index, regexp, filing->rule);
}

static void file_block(bool is_ipv6, const uint8_t first[16], const uint8_t last[16], void *context)
{
	struct filing *filing = context;
	struct cv_route_index *index = filing->index;

	if (!filing->error)
		filing->error = cv_address_tree_add(is_ipv6 ? &index->ipv6 : &index->ipv4, first,
						    last, filing->rule);
}

static int file_texts(struct cv_text_table *table, const struct cv_text_set *set, uint32_t rule)
{
	int error = 0;

	for (size_t i = 0; i < cv_text_set_count(set) && !error; i++)
		error = cv_text_table_add(table, cv_text_set_at(set, i),
					  strlen(cv_text_set_at(set, i)), rule);
	return error;
}

static int file_rule(struct cv_route_index *index, struct cv_route_rule *rule, uint32_t number)
{
	struct filing filing = {.index = index, .rule = number};

	if (rule->domains) {
		cv_domain_matcher_each_word(rule->domains, file_keyword, &filing);
		cv_domain_matcher_each_regexp(rule->domains, file_pattern, &filing);
		cv_domain_matcher_take_names(rule->domains, file_name, &filing);
	} else if (rule->users && !cv_text_set_has_regexp(rule->users)) {
		filing.error = file_texts(&index->users, rule->users, number);
	} else if (rule->addresses && !cv_ip_matcher_has_inverted(rule->addresses)) {
		set_bit(index->by_address, number);
		cv_ip_matcher_each(rule->addresses, file_block, &filing);
	} else if (rule->inbound_tags) {
		filing.error = file_texts(&index->inbounds, rule->inbound_tags, number);
	} else {
		set_bit(index->always, number);
	}
	return filing.error;
}

static int file_free_patterns(struct cv_route_index *index, const struct cv_route_rule *rules,
			      size_t count)
{
	struct filing filing = {.index = index};

	for (size_t i = 0; i < count && !filing.error; i++) {
		filing.rule = (uint32_t)i;
		if (rules[i].domains)
			cv_domain_matcher_each_regexp(rules[i].domains, file_free_pattern, &filing);
	}
	index->free_count = index->pattern_count;
	return filing.error;
}

static int fill(struct cv_route_index *index, struct cv_route_rule *rules, size_t count)
{
	int error = file_free_patterns(index, rules, count);

	for (size_t i = 0; i < count && !error; i++)
		error = file_rule(index, &rules[i], (uint32_t)i);
	cv_address_tree_finish(&index->ipv4);
	cv_address_tree_finish(&index->ipv6);
	return error;
}

struct cv_route_index *cv_route_index_new(struct cv_route_rule *rules, size_t count)
{
	struct cv_route_index *index = calloc(1, sizeof(*index));

	if (!index)
		return NULL;
	index->word_count = (count + 63) / 64;
	index->always = calloc(index->word_count + 1, sizeof(*index->always));
	index->by_address = calloc(index->word_count + 1, sizeof(*index->by_address));
	index->keywords = cv_keyword_trie_new();
	index->dotless = cv_keyword_trie_new();
	if (!index->always || !index->by_address || !index->keywords || !index->dotless ||
	    cv_text_table_init(&index->names) != 0 || cv_text_table_init(&index->users) != 0 ||
	    cv_text_table_init(&index->inbounds) != 0 || fill(index, rules, count) != 0)
		return cv_route_index_free(index);
	return index;
}

struct cv_route_index *cv_route_index_free(struct cv_route_index *index)
{
	if (!index)
		return NULL;
	free(index->always);
	free(index->by_address);
	cv_text_table_done(&index->names);
	cv_text_table_done(&index->users);
	cv_text_table_done(&index->inbounds);
	cv_keyword_trie_free(index->keywords);
	cv_keyword_trie_free(index->dotless);
	cv_address_tree_done(&index->ipv4);
	cv_address_tree_done(&index->ipv6);
	free(index->patterns);
	free(index);
	return NULL;
}

size_t cv_route_index_bytes(const struct cv_route_index *index)
{
	return sizeof(*index) + 2 * (index->word_count + 1) * sizeof(uint64_t) +
	       cv_text_table_bytes(&index->names) + cv_text_table_bytes(&index->users) +
	       cv_text_table_bytes(&index->inbounds) + cv_keyword_trie_bytes(index->keywords) +
	       cv_keyword_trie_bytes(index->dotless) +
	       (index->ipv4.size + index->ipv6.size) * sizeof(struct cv_block) +
	       index->pattern_count * sizeof(*index->patterns);
}

/* ---- finding ------------------------------------------------------------------------------ */

struct search {
	const struct cv_route_index *index;
	const char *name;
	uint64_t *bits;
};

static void found_rule(uint32_t number, void *context)
{
	set_bit(((struct search *)context)->bits, number);
}

static void found_word(uint32_t number, void *context)
{
	const struct search *search = context;
	const struct pattern *pattern;

	if (!(number & IS_PATTERN)) {
		set_bit(search->bits, number >> 1);
		return;
	}
	pattern = &search->index->patterns[number >> 1];
	if (!has_bit(search->bits, pattern->rule) &&
	    regexec(pattern->regexp, search->name, 0, NULL, 0) == 0)
		set_bit(search->bits, pattern->rule);
}

static void find_texts(const struct cv_text_table *table, const char *text, uint64_t *bits)
{
	for (uint32_t i = cv_text_table_find(table, text, strlen(text)); i;
	     i = table->entries[i].next)
		set_bit(bits, table->entries[i].number);
}

/* "b.a.example" itself, and "a.example", "example" for what has subdomains. */
static void find_labels(const struct search *search, size_t len)
{
	const struct cv_text_table *names = &search->index->names;
	const char *at = search->name, *end = at + len;

	while (at) {
		for (uint32_t i = cv_text_table_find(names, at, (size_t)(end - at)); i;
		     i = names->entries[i].next)
			if (at == search->name || (names->entries[i].number & WITH_SUBDOMAINS))
				set_bit(search->bits, names->entries[i].number >> 1);
		at = memchr(at, '.', (size_t)(end - at));
		at += at != NULL;
	}
}

static void find_name(const struct cv_route_index *index, const char *name, uint64_t *bits)
{
	char text[CV_DOMAIN_MAX + 1];
	struct search search = {.index = index, .name = text, .bits = bits};
	const size_t len = strnlen(name, CV_DOMAIN_MAX + 1);

	if (len > CV_DOMAIN_MAX)
		return;
	for (size_t i = 0; i <= len; i++)
		text[i] = (char)tolower((unsigned char)name[i]);
	find_labels(&search, len);
	cv_keyword_trie_find(index->keywords, text, found_word, &search);
	if (!memchr(text, '.', len))
		cv_keyword_trie_find(index->dotless, text, found_word, &search);
	for (size_t i = 0; i < index->free_count; i++)
		if (!has_bit(bits, index->patterns[i].rule) &&
		    regexec(index->patterns[i].regexp, text, 0, NULL, 0) == 0)
			set_bit(bits, index->patterns[i].rule);
}

static void find_address(const struct cv_route_index *index,
			 const struct cv_destination *destination, uint64_t *bits)
{
	const bool is_ipv6 = destination->kind == CV_ADDRESS_IPV6;
	struct search search = {.index = index, .bits = bits};
	uint8_t address[16] = {0};

	if (destination->kind != CV_ADDRESS_IPV4 && !is_ipv6)
		return;
	memcpy(address, is_ipv6 ? destination->ipv6 : destination->ipv4, is_ipv6 ? 16 : 4);
	cv_address_tree_find(is_ipv6 ? &index->ipv6 : &index->ipv4, address, found_rule, &search);
}

static void find_addresses(const struct cv_route_index *index, const struct cv_route_query *query,
			   uint64_t *bits)
{
	find_address(index, query->destination, bits);
	if (query->destination->kind != CV_ADDRESS_DOMAIN)
		return;
	for (size_t i = 0; query->resolved && i < query->resolved_count; i++) {
		struct cv_destination address;

		if (cv_sockaddr_to_destination(&query->resolved[i], &address))
			find_address(index, &address, bits);
	}
}

size_t cv_route_index_find(const struct cv_route_index *index, const struct cv_route_query *query,
			   const char *name, bool wants_resolving,
			   uint64_t ret_bits[CV_ROUTE_INDEX_WORDS])
{
	for (size_t i = 0; i < index->word_count; i++)
		ret_bits[i] = index->always[i] | (wants_resolving ? index->by_address[i] : 0);
	if (name)
		find_name(index, name, ret_bits);
	if (query->user_email[0])
		find_texts(&index->users, query->user_email, ret_bits);
	if (query->user_name[0])
		find_texts(&index->users, query->user_name, ret_bits);
	find_texts(&index->inbounds, query->inbound_tag, ret_bits);
	find_addresses(index, query, ret_bits);
	return index->word_count;
}
