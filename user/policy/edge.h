/* SPDX-License-Identifier: MIT */
/*
 * edge.h - what the server name in a ClientHello decides before anything else does.
 *
 *   names of one inbound ---- "a.example"     exact
 *                        '--- "*.b.example"   anything that ends in ".b.example"
 *
 * Exact beats wildcard, the longest suffix wins; letters' case does not count. bpf/classify.bpf.c
 * holds the same names and answers the same. The server names of REALITY are in here too, so that
 * no wildcard takes them away.
 *
 * What passes goes on to a place: the inbound itself, another inbound, a backend. Where some name
 * or answer leads away, the hello is read before anything else is done for the client.
 */
#ifndef CV_POLICY_EDGE_H
#define CV_POLICY_EDGE_H

#include "policy/backend.h"

#include <culvert/classify.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cv_edge_name {
	char *text;     /* lower case */
	uint32_t class; /* enum cv_sni_class, from CV_SNI_CLASS_FIRST; or _UNDECIDED */
	enum cv_sni_action action;
	struct cv_edge_place place; /* of what passes */
};

/* To which place the names of a class lead; the kernel says no more than the class. */
struct cv_edge_class {
	struct cv_edge_place place;
	bool is_known, is_mixed; /* some lead to another place */
};

struct cv_edge { /* of one inbound */
	struct cv_edge_name *names; /* sorted by cv_edge_seal() */
	size_t name_count;
	uint32_t table; /* its number in the kernel's maps */
	/* classes of the REALITY targets, in their order; first_target + i is targets[i] */
	uint32_t first_target, target_count;
	enum cv_sni_action not_tls; /* for what is no TLS handshake */
	bool is_routed;             /* the configuration's "edge" means this inbound */
	bool drops;                 /* some name or not_tls does: the hello must be seen first */
	bool leads;		    /* something leads elsewhere: likewise, before any dial */
	/* the answers to what has no place by its name */
	struct cv_edge_place no_tls, unknown, no_name, silence;
	struct cv_backend *target; /* of an inbound that serves nothing itself; or NULL */
	struct cv_edge_class *classes; /* CV_CLASSIFY_CLASSES, by cv_edge_seal(); or NULL */
};

/** cv_edge_new() - No names yet; NULL: out of memory. cv_edge_free() - NULL-safe, returns NULL. */
struct cv_edge *cv_edge_new(void);
struct cv_edge *cv_edge_free(struct cv_edge *edge);

/** cv_edge_name_is_good() - "a.example" or "*.a.example": 1 to 255 bytes, no final dot. */
bool cv_edge_name_is_good(const char *text);
/** cv_edge_add() - @text is good. Returns 0 or CV_INTERNAL_MEMORY. */
int cv_edge_add(struct cv_edge *edge, const char *text, uint32_t class, enum cv_sni_action action);
/** cv_edge_add_place() - Likewise, of a name that leads to @place. */
int cv_edge_add_place(struct cv_edge *edge, const char *text, uint32_t class,
		      const struct cv_edge_place *place);
/** cv_edge_class_place() - Where all names of @class lead; false: it takes the name to tell. */
bool cv_edge_class_place(const struct cv_edge *edge, uint32_t class,
			 struct cv_edge_place *ret_place);
/**
 * cv_edge_seal() - After the last name, before the first match.
 * Two server names of REALITY that differ in case only become CV_SNI_CLASS_UNDECIDED.
 * Returns NULL, or the name that is there twice (the edge's).
 */
const char *cv_edge_seal(struct cv_edge *edge);
/** cv_edge_match() - The entry for @name, at most 255 bytes; NULL = none. */
const struct cv_edge_name *cv_edge_match(const struct cv_edge *edge, const char *name);

#endif
