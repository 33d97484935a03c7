/* SPDX-License-Identifier: MIT */
/*
 * reverse_state.h - what reverse_bridge.c, _portal.c and _link.c share; for these only.
 */
#ifndef CV_SESSION_REVERSE_STATE_H
#define CV_SESSION_REVERSE_STATE_H

#include "base/list.h"
#include "policy/reverse.h"
#include "session/carrier.h"
#include "session/reverse.h"
#include "session/worker.h"

struct cv_reverse {
	struct cv_worker *worker;
	struct cv_list bridges; /* struct bridge of reverse_bridge.c */
	struct cv_list tunnels; /* struct tunnel of reverse_portal.c */
	struct cv_list links;	/* struct link of reverse_link.c */
};

/** cv_reverse_of() - NULL: out of memory. */
struct cv_reverse *cv_reverse_of(struct cv_worker *worker);

/* reverse_portal.c */
/** cv_portal_open_stream() - In the tunnel of this worker that has the fewest. @opening: a New; its
 * id is set. Returns 0; CV_UPSTREAM_NO_TUNNEL; CV_INTERNAL_MEMORY. */
int cv_portal_open_stream(struct cv_worker *worker, const struct cv_portal *portal,
			  struct cv_mux_frame *opening, struct cv_stream **ret_stream);

/* reverse_link.c */
/** cv_reverse_link() - A carrier for datagram streams into tunnels of another worker. NULL: none
 * has any, or out of memory. */
struct cv_carrier *cv_reverse_link(struct cv_worker *worker, struct cv_portal *portal);

#endif
