// SPDX-License-Identifier: MIT
/*
 * ip_matcher.c - sets of address blocks as sorted ranges, one set per family and group.
 *
 *   wanted          custom and geoip blocks without "!"     match if inside
 *   unwanted[0]     custom blocks with "!"                  match if the group exists and not
 * inside unwanted[1]     geoip blocks with "!"                   likewise
 *
 * Ranges are kept sorted and merged on insertion: a lookup is a binary search.
 */
#include "policy/ip_matcher.h"

#include "policy/private_address.h"

#include <culvert/reason.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS_BYTES 16

struct range {
	uint8_t first[ADDRESS_BYTES], last[ADDRESS_BYTES]; /* IPv4 in the first four bytes */
};

struct range_set {
	struct range *ranges;
	size_t count;
};

struct address_set {
	struct range_set ipv4, ipv6;
};

enum group { GROUP_CUSTOM, GROUP_GEOIP, GROUP_COUNT };

struct cv_ip_matcher {
	struct address_set wanted, unwanted[GROUP_COUNT];
	bool has_unwanted[GROUP_COUNT];
};

struct cv_ip_matcher *cv_ip_matcher_new(void)
{
	return calloc(1, sizeof(struct cv_ip_matcher));
}

static void set_free(struct address_set *set)
{
	free(set->ipv4.ranges);
	free(set->ipv6.ranges);
}

struct cv_ip_matcher *cv_ip_matcher_free(struct cv_ip_matcher *matcher)
{
	if (!matcher)
		return NULL;
	set_free(&matcher->wanted);
	for (size_t i = 0; i < GROUP_COUNT; i++)
		set_free(&matcher->unwanted[i]);
	free(matcher);
	return NULL;
}

static struct range range_of(const struct cv_cidr *cidr)
{
	struct range range = {0};

	for (unsigned i = 0; i < (cidr->is_ipv6 ? 16u : 4u); i++) {
		unsigned bits = cidr->prefix_bits > 8 * i ? cidr->prefix_bits - 8 * i : 0;
		uint8_t host = bits >= 8 ? 0 : (uint8_t)(0xff >> bits);

		range.first[i] = cidr->bytes[i] & (uint8_t)~host;
		range.last[i] = cidr->bytes[i] | host;
	}
	return range;
}

/* Index of the first range that does not end before @address. */
static size_t lower_bound(const struct range_set *set, const uint8_t *address)
{
	size_t low = 0, high = set->count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (memcmp(set->ranges[middle].last, address, ADDRESS_BYTES) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool set_contains(const struct range_set *set, const uint8_t *address)
{
	const size_t at = lower_bound(set, address);

	return at < set->count && memcmp(set->ranges[at].first, address, ADDRESS_BYTES) <= 0;
}

/* Blocks nest or are apart, so a new one swallows its neighbours whole, is inside one, or is new.
 */
static int set_insert(struct range_set *set, const struct range *range)
{
	const size_t at = lower_bound(set, range->first);
	size_t end = at;
	struct range *ranges;

	if (at < set->count && memcmp(set->ranges[at].first, range->first, ADDRESS_BYTES) <= 0 &&
	    memcmp(set->ranges[at].last, range->last, ADDRESS_BYTES) >= 0)
		return 0;
	while (end < set->count && memcmp(set->ranges[end].last, range->last, ADDRESS_BYTES) <= 0)
		end++;
	ranges = reallocarray(set->ranges, set->count + 1, sizeof(*ranges));
	if (!ranges)
		return CV_INTERNAL_MEMORY;
	set->ranges = ranges;
	memmove(&ranges[at + 1], &ranges[end], (set->count - end) * sizeof(*ranges));
	ranges[at] = *range;
	set->count = set->count - (end - at) + 1;
	return 0;
}

static int set_add(struct address_set *set, const struct cv_cidr *cidr)
{
	const struct range range = range_of(cidr);

	return set_insert(cidr->is_ipv6 ? &set->ipv6 : &set->ipv4, &range);
}

/* An IPv4-mapped block becomes the IPv4 block: destinations are never IPv4-mapped. */
static void unmap(struct cv_cidr *cidr)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (!cidr->is_ipv6 || cidr->prefix_bits < 96 || memcmp(cidr->bytes, mapped, 12) != 0)
		return;
	memmove(cidr->bytes, cidr->bytes + 12, 4);
	memset(cidr->bytes + 4, 0, 12);
	cidr->prefix_bits = (uint8_t)(cidr->prefix_bits - 96);
	cidr->is_ipv6 = false;
}

static bool cidr_parse(const char *text, struct cv_cidr *ret_cidr)
{
	struct cv_cidr cidr = {0};
	char address[INET6_ADDRSTRLEN + 2];
	const size_t len = strcspn(text, "/");
	unsigned bits;

	if (len >= sizeof(address))
		return false;
	snprintf(address, sizeof(address), "%.*s", (int)len, text);
	if (address[0] == '[' && address[len - 1] == ']') {
		memmove(address, address + 1, len - 2);
		address[len - 2] = '\0';
	}
	if (inet_pton(AF_INET6, address, cidr.bytes) == 1)
		cidr.is_ipv6 = true;
	else if (inet_pton(AF_INET, address, cidr.bytes) != 1)
		return false;
	bits = cidr.is_ipv6 ? 128 : 32;
	if (text[len] == '/') {
		char *end;
		const unsigned long given = strtoul(text + len + 1, &end, 10);

		if (!isdigit((unsigned char)text[len + 1]) || *end || given > bits)
			return false;
		bits = (unsigned)given;
	}
	cidr.prefix_bits = (uint8_t)bits;
	unmap(&cidr);
	*ret_cidr = cidr;
	return true;
}

static int add_private(struct address_set *set)
{
	size_t count;
	const struct cv_cidr *blocks = cv_private_blocks(&count);
	int error = 0;

	for (size_t i = 0; i < count && !error; i++)
		error = set_add(set, &blocks[i]);
	return error;
}

int cv_ip_matcher_add(struct cv_ip_matcher *matcher, const char *rule, char *error_text,
		      size_t error_size)
{
	bool is_inverted = rule[0] == '!', is_geoip;
	struct address_set *set;
	struct cv_cidr cidr;
	enum group group;

	rule += is_inverted;
	is_geoip = strncasecmp(rule, "geoip:", 6) == 0;
	rule += is_geoip ? 6 : 0;
	if (is_geoip && !is_inverted && rule[0] == '!') {
		is_inverted = true;
		rule++;
	}
	group = is_geoip ? GROUP_GEOIP : GROUP_CUSTOM;
	set = is_inverted ? &matcher->unwanted[group] : &matcher->wanted;
	if ((is_geoip && strcasecmp(rule, "private") != 0) || strncasecmp(rule, "ext", 3) == 0) {
		snprintf(error_text, error_size, "expected geoip:CODE or ext:FILE:CODE");
		return CV_INTERNAL_CONFIG;
	}
	if (!is_geoip && !cidr_parse(rule, &cidr)) {
		snprintf(error_text, error_size, "neither an IP address nor a CIDR block");
		return CV_INTERNAL_CONFIG;
	}
	matcher->has_unwanted[group] |= is_inverted;
	return is_geoip ? add_private(set) : set_add(set, &cidr);
}

int cv_ip_matcher_add_geoip(struct cv_ip_matcher *matcher, bool is_inverted,
			    const struct cv_cidr *block)
{
	struct cv_cidr cidr = *block;

	unmap(&cidr);
	matcher->has_unwanted[GROUP_GEOIP] |= is_inverted;
	return set_add(is_inverted ? &matcher->unwanted[GROUP_GEOIP] : &matcher->wanted, &cidr);
}

static bool inside(const struct address_set *set, bool is_ipv6, const uint8_t *address)
{
	return set_contains(is_ipv6 ? &set->ipv6 : &set->ipv4, address);
}

bool cv_ip_matcher_match(const struct cv_ip_matcher *matcher,
			 const struct cv_destination *destination)
{
	const bool is_ipv6 = destination->kind == CV_ADDRESS_IPV6;
	uint8_t address[ADDRESS_BYTES] = {0};

	if (destination->kind != CV_ADDRESS_IPV4 && !is_ipv6)
		return false;
	memcpy(address, is_ipv6 ? destination->ipv6 : destination->ipv4, is_ipv6 ? 16 : 4);
	if (inside(&matcher->wanted, is_ipv6, address))
		return true;
	for (size_t i = 0; i < GROUP_COUNT; i++)
		if (matcher->has_unwanted[i] && !inside(&matcher->unwanted[i], is_ipv6, address))
			return true;
	return false;
}

bool cv_ip_matcher_has_inverted(const struct cv_ip_matcher *matcher)
{
	return matcher->has_unwanted[GROUP_CUSTOM] || matcher->has_unwanted[GROUP_GEOIP];
}

void cv_ip_matcher_each(const struct cv_ip_matcher *matcher,
			void (*each)(bool is_ipv6, const uint8_t first[16], const uint8_t last[16],
				     void *context),
			void *context)
{
	const struct range_set *ipv4 = &matcher->wanted.ipv4, *ipv6 = &matcher->wanted.ipv6;

	for (size_t i = 0; i < ipv4->count; i++)
		each(false, ipv4->ranges[i].first, ipv4->ranges[i].last, context);
	for (size_t i = 0; i < ipv6->count; i++)
		each(true, ipv6->ranges[i].first, ipv6->ranges[i].last, context);
}
