// SPDX-License-Identifier: MIT
/*
 * fuzz_geo_dat.c - whatever the file is, items lie inside it, and reading comes to an end.
 */
#include "wire/geo_dat.h"

#include "check.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_geo_domain domain = {0};
	struct cv_geo_block block = {0};
	struct cv_reader entry, at;
	size_t count = 0;

	if (cv_geo_find(cv_reader_of(data, size), "cn", &entry) != 0)
		return 0;
	for (at = entry; cv_geosite_next(&at, &domain) == 0; count++) {
		check(domain.value_len > 0 && domain.kind <= CV_GEO_FULL);
		check((const uint8_t *)domain.value >= data &&
		      (const uint8_t *)domain.value + domain.value_len <= data + size);
		(void)cv_geosite_has(&domain, "ads", 3);
	}
	check(count <= size);
	(void)cv_geoip_is_reversed(entry);
	for (at = entry; cv_geoip_next(&at, &block) == 0;)
		check(block.prefix_bits <= (block.is_ipv6 ? 128 : 32));
	return 0;
}
