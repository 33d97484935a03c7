/* SPDX-License-Identifier: MIT */
/*
 * backend.h - a service of its own behind the edge, reached without touching a byte.
 *
 *   configuration   name, address, xver, check, whenDown     never changes
 *   health          down, counters                           atomic: workers and checks share it
 *
 * A backend without a check is never down; a dial that fails goes to whenDown all the same.
 */
#ifndef CV_POLICY_BACKEND_H
#define CV_POLICY_BACKEND_H

#include "base/address.h"

#include <stddef.h>

struct cv_backend;

enum cv_edge_kind {
	CV_EDGE_PASS, /* the inbound itself; where it serves nothing, the edge's target */
	CV_EDGE_DROP,
	CV_EDGE_INBOUND,
	CV_EDGE_BACKEND,
};

/* Where a client goes. */
struct cv_edge_place {
	enum cv_edge_kind kind;
	uint32_t inbound;	    /* INBOUND: its index */
	struct cv_backend *backend; /* BACKEND */
};

struct cv_backend {
	char *name;			   /* as configured, its address if it has none */
	char *address_text;		   /* as configured */
	struct cv_destination destination; /* tcp: kind != NONE */
	struct cv_sockaddr unix_address;   /* unix: len_bytes > 0 */
	int xver;
	bool is_target; /* stands for the inbound's target: its own time-outs count */
	bool is_checked;
	uint32_t interval_ms, timeout_ms, fall, rise;
	struct cv_edge_place when_down;
	/* health */
	_Atomic bool is_down;
	_Atomic bool is_failing; /* the last dial did */
	_Atomic uint64_t sessions, failed_dials, checks, failed_checks;
	uint32_t run; /* the checks': results in a row that speak for a change */
};

/** cv_backend_new() - Nothing known yet, up; NULL: out of memory. cv_backend_free() - NULL-safe,
 * returns NULL. */
struct cv_backend *cv_backend_new(void);
struct cv_backend *cv_backend_free(struct cv_backend *backend);
/**
 * cv_backend_note() - What a check of @backend found; for one thread at a time.
 * Down after `fall` failures in a row, up after `rise` successes. Returns true if that changed.
 */
bool cv_backend_note(struct cv_backend *backend, bool is_good);

static inline bool cv_edge_place_equal(const struct cv_edge_place *a, const struct cv_edge_place *b)
{
	return a->kind == b->kind && a->inbound == b->inbound && a->backend == b->backend;
}

#endif
