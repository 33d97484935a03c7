/* SPDX-License-Identifier: MIT */
/*
 * load_place.h - where the edge leads: backends, and the words and objects that name a place.
 */
#ifndef CV_CONFIG_LOAD_PLACE_H
#define CV_CONFIG_LOAD_PLACE_H

#include "config/load.h"

#include "policy/backend.h"

/* What the words stand for. */
struct cv_places {
	struct cv_backend *target; /* NULL: the inbound's own */
	struct cv_node fake_site;
	struct cv_backend *fake_site_backend; /* made when first needed */
	const char *terminate;		      /* tag, "" = none */
};

/** cv_load_places() - Of "target", "fakeSite" and "terminateTag"; the nodes are borrowed. */
void cv_load_places(const struct cv_node *target, const struct cv_node *fake_site,
		    const char *terminate, struct cv_places *ret_places);
/** cv_load_backends() - "backends" into the configuration. */
void cv_load_backends(const struct cv_node *list, struct cv_places *places);
/**
 * cv_load_place() - "pass", "target", "drop", "raw80", "terminate", {inboundTag}, {backend, xver}.
 * Returns false after an error, which was reported; @ret_place is untouched then.
 */
bool cv_load_place(const struct cv_node *node, struct cv_places *places,
		   struct cv_edge_place *ret_place);

#endif
