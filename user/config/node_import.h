/* SPDX-License-Identifier: MIT */
/*
 * node_import.h - outbounds from node lists in the style of Clash: YAML, one node or many.
 */
#ifndef CV_CONFIG_NODE_IMPORT_H
#define CV_CONFIG_NODE_IMPORT_H

#include "config/config_load.h"

struct json_object;

/**
 * cv_node_import() - Read @text: one node, a list of nodes, or a document with such a list as
 * "proxies". What a node has and we do not do is an error where another connection would be the
 * result, else a warning.
 * @ret_outbounds: an array of outbounds, to be put by the caller; a node's name is its tag
 * @ret_has_udp: does a node carry datagrams?
 * Returns: 0; CV_INTERNAL_CONFIG after reporting why not.
 */
int cv_node_import(const char *text, size_t len, const struct cv_config_report *report,
		   struct json_object **ret_outbounds, bool *ret_has_udp);

#endif
