/* SPDX-License-Identifier: MIT */
/*
 * reverse_state.h - what reverse_bridge.c and reverse_portal.c share; for these only.
 */
#ifndef CV_SESSION_REVERSE_STATE_H
#define CV_SESSION_REVERSE_STATE_H

#include "base/list.h"
#include "session/carrier.h"
#include "session/reverse.h"
#include "session/worker.h"

struct cv_reverse {
	struct cv_worker *worker;
	struct cv_list bridges; /* struct bridge of reverse_bridge.c */
	struct cv_list tunnels; /* struct tunnel of reverse_portal.c */
};

/** cv_reverse_of() - NULL: out of memory. */
struct cv_reverse *cv_reverse_of(struct cv_worker *worker);

#endif
