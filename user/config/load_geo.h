/* SPDX-License-Identifier: MIT */
/*
 * load_geo.h - rules that name a list in geosite.dat or geoip.dat.
 */
#ifndef CV_CONFIG_LOAD_GEO_H
#define CV_CONFIG_LOAD_GEO_H

#include "config/node.h"
#include "policy/domain_matcher.h"
#include "policy/ip_matcher.h"

/** cv_load_geosite() - "geosite:NAME@attribute", "ext:FILE:NAME@attribute" into @matcher; findings
 * are reported at @node. False: @text is no such rule, and nothing was done. */
bool cv_load_geosite(const struct cv_node *node, const char *text,
		     struct cv_domain_matcher *matcher);
/** cv_load_geoip() - "geoip:CODE", "ext:FILE:CODE", with "!" in front of either part; likewise. */
bool cv_load_geoip(const struct cv_node *node, const char *text, struct cv_ip_matcher *matcher);
/** cv_load_geo_done() - Forget the files that were read. */
void cv_load_geo_done(struct cv_load *load);

#endif
