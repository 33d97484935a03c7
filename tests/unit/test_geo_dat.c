// SPDX-License-Identifier: MIT
/* test_geo_dat.c - compat 8: lists found by code, items, attributes, damage of every kind. */
#include "wire/geo_dat.h"

#include <culvert/reason.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* CN: full:a.cn, then domain:b.cn @ads @x with an unknown field between; EMPTY: no items. */
static const uint8_t sites[] = {
	0x0a, 37,
	0x0a, 2, 'C', 'N',
	0x12, 8, 0x08, 3, 0x12, 4, 'a', '.', 'c', 'n',
	0x12, 21, 0x08, 2, 0x12, 4, 'b', '.', 'c', 'n', 0x25, 1, 2, 3, 4,
	0x1a, 3, 0x0a, 1, 'x', 0x1a, 1 + 0, 0x10,
	0x0a, 7,
	0x0a, 5, 'E', 'M', 'P', 'T', 'Y',
};

/* US: 10.1.0.0/16, 2001:db8::/32; REV: everything but 1.0.0.0/8 */
static const uint8_t blocks[] = {
	0x0a, 36,
	0x0a, 2, 'u', 's',
	0x12, 8, 0x0a, 4, 10, 1, 0, 0, 0x10, 16,
	0x12, 20, 0x0a, 16, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 32,
	0x0a, 17,
	0x0a, 3, 'r', 'e', 'v',
	0x18, 1,
	0x12, 8, 0x0a, 4, 1, 0, 0, 0, 0x10, 8,
};

static struct cv_reader entry_of(const uint8_t *file, size_t len_bytes, const char *code)
{
	struct cv_reader entry = {0};

	assert_int_equal(cv_geo_find(cv_reader_of(file, len_bytes), code, &entry), 0);
	return entry;
}

static void test_sites(void **state)
{
	struct cv_reader entry = entry_of(sites, sizeof(sites), "cn");
	struct cv_geo_domain domain;

	(void)state;
	assert_int_equal(cv_geosite_next(&entry, &domain), 0);
	assert_int_equal(domain.kind, CV_GEO_FULL);
	assert_int_equal(domain.value_len, 4);
	assert_memory_equal(domain.value, "a.cn", 4);
	assert_false(cv_geosite_has(&domain, "x", 1));
	assert_int_equal(cv_geosite_next(&entry, &domain), 0);
	assert_int_equal(domain.kind, CV_GEO_DOMAIN);
	assert_memory_equal(domain.value, "b.cn", 4);
	assert_true(cv_geosite_has(&domain, "X", 1));
	assert_false(cv_geosite_has(&domain, "xy", 2));
	assert_int_equal(cv_geosite_next(&entry, &domain), -ENOENT);
	entry = entry_of(sites, sizeof(sites), "Empty");
	assert_int_equal(cv_geosite_next(&entry, &domain), -ENOENT);
	assert_int_equal(cv_geo_find(cv_reader_of(sites, sizeof(sites)), "c", &entry), -ENOENT);
}

static void test_blocks(void **state)
{
	struct cv_reader entry = entry_of(blocks, sizeof(blocks), "US");
	struct cv_geo_block block;

	(void)state;
	assert_false(cv_geoip_is_reversed(entry));
	assert_int_equal(cv_geoip_next(&entry, &block), 0);
	assert_false(block.is_ipv6);
	assert_int_equal(block.prefix_bits, 16);
	assert_memory_equal(block.bytes, "\x0a\x01\0\0", 4);
	assert_int_equal(cv_geoip_next(&entry, &block), 0);
	assert_true(block.is_ipv6);
	assert_int_equal(block.prefix_bits, 32);
	assert_memory_equal(block.bytes, "\x20\x01\x0d\xb8", 4);
	assert_int_equal(cv_geoip_next(&entry, &block), -ENOENT);
	entry = entry_of(blocks, sizeof(blocks), "REV");
	assert_true(cv_geoip_is_reversed(entry));
	assert_int_equal(cv_geoip_next(&entry, &block), 0);
}

/* Cut anywhere, the last list is damaged or not there; never are bytes read behind the end. */
static void test_cut(void **state)
{
	struct cv_reader entry;

	(void)state;
	for (size_t len = 0; len < sizeof(blocks); len++) {
		uint8_t *copy = test_malloc(len + 1);
		int error;

		memcpy(copy, blocks, len);
		error = cv_geo_find(cv_reader_of(copy, len), "rev", &entry);
		assert_true(error == -ENOENT || error == CV_PEER_DECODE);
		test_free(copy);
	}
}

static void test_damage(void **state)
{
	static const struct {
		uint8_t item[12];
		size_t len;
	} bad[] = {
		{{0x12, 5, 0x0a, 3, 1, 2, 3}, 7},		/* an address of 3 bytes */
		{{0x12, 8, 0x0a, 4, 1, 2, 3, 4, 0x10, 33}, 10}, /* prefix 33 */
		{{0x12, 2, 0x10, 8}, 4},			/* no address */
		{{0x12, 200, 1}, 3},				/* longer than the entry */
		{{0x13, 0}, 2},					/* a group */
	};
	struct cv_geo_block block;
	struct cv_geo_domain domain;
	struct cv_reader entry;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		entry = cv_reader_of(bad[i].item, bad[i].len);
		assert_int_equal(cv_geoip_next(&entry, &block), CV_PEER_DECODE);
	}
	entry = cv_reader_of("\x12\x05\x08\x04\x12\x01" "a", 7); /* kind 4 */
	assert_int_equal(cv_geosite_next(&entry, &domain), CV_PEER_DECODE);
	entry = cv_reader_of("\x12\x02\x08\x03", 4); /* no value */
	assert_int_equal(cv_geosite_next(&entry, &domain), CV_PEER_DECODE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sites),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
