/* SPDX-License-Identifier: MIT */
/*
 * geo_dat.h - lists of domains and of address blocks in geosite.dat and geoip.dat.
 *
 * Both are protocol buffers: a file is a sequence of entries, each with a code and its items.
 * Nothing is copied: what is returned points into the file's bytes.
 */
#ifndef CV_WIRE_GEO_DAT_H
#define CV_WIRE_GEO_DAT_H

#include "base/cursor.h"

enum cv_geo_kind { CV_GEO_KEYWORD, CV_GEO_REGEXP, CV_GEO_DOMAIN, CV_GEO_FULL };

struct cv_geo_domain {
	enum cv_geo_kind kind;
	const char *value; /* not terminated */
	size_t value_len;
	struct cv_reader attributes;
};

struct cv_geo_block { /* IPv4 in the first 4 bytes */
	bool is_ipv6;
	uint8_t prefix_bits;
	uint8_t bytes[16];
};

/**
 * cv_geo_find() - The entry called @code (case does not matter) of @file.
 * Returns 0; -ENOENT; CV_PEER_DECODE: the file is damaged. Source: compat 8.
 */
int cv_geo_find(struct cv_reader file, const char *code, struct cv_reader *ret_entry);
/** cv_geosite_next() - The next domain of @entry. 0; -ENOENT: there is none; CV_PEER_DECODE. */
int cv_geosite_next(struct cv_reader *entry, struct cv_geo_domain *ret_domain);
/** cv_geosite_has() - Does @domain carry the attribute @name, of @len bytes? */
bool cv_geosite_has(const struct cv_geo_domain *domain, const char *name, size_t len);
/** cv_geoip_next() - The next block of @entry. As cv_geosite_next(). */
int cv_geoip_next(struct cv_reader *entry, struct cv_geo_block *ret_block);
/** cv_geoip_is_reversed() - Does @entry mean everything but its blocks? */
bool cv_geoip_is_reversed(struct cv_reader entry);

#endif
