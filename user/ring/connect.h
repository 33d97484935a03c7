/* SPDX-License-Identifier: MIT */
/*
 * connect.h - reach one of several addresses: RFC 8305 happy eyeballs on a ring.
 */
#ifndef CV_RING_CONNECT_H
#define CV_RING_CONNECT_H

#include "ring/resolver.h"

#define CV_CONNECT_PARALLEL 4
#define CV_CONNECT_STAGGER_MS 250

struct cv_connector; /* heap object; owns its operations; frees itself when all ended */

struct cv_connect_request {
	struct cv_ring *ring;
	struct cv_resolver *resolver;             /* needed for names */
	const struct cv_destination *destination; /* name or IP; NULL if @address is given */
	const struct cv_sockaddr *address;        /* ready address (also unix); NULL otherwise */
	enum cv_resolve_strategy strategy;
	uint32_t timeout_ms; /* for resolving and connecting together */
	/*
	 * done: called once, later, on the ring's thread. @fd: nonblocking, CLOEXEC, tuned as
	 * upstream; owned by the callee. Else @fd = -1 and @reason
	 * CV_UPSTREAM_REFUSED/UNREACHABLE/NO_ROUTE/TIMEOUT/RESOLVE/RESET, CV_INTERNAL_RESOURCE or
	 * _SYSTEM; -EACCES or -EPERM where this machine forbids it.
	 */
	void (*done)(void *owner, int fd, int reason);
	void *owner;
	/* optional filter: false = this address must not be dialled (private-target guard); may be
	 * NULL */
	bool (*allow)(void *owner, const struct cv_sockaddr *address);
	/* optional: there is no descriptor; true = soon there will be one, so that it is tried
	 * again until the time-out */
	bool (*make_room)(void *owner);
};

/** cv_connect_start() - Copies @request. NULL when out of memory (done is not called then). */
struct cv_connector *cv_connect_start(const struct cv_connect_request *request);
/** cv_connect_cancel() - done() will not be called; the object frees itself later. */
void cv_connect_cancel(struct cv_connector *connector);
/** cv_connect_all_ended() - None is left whose cancelled operations are still to end: until then a
 * worker that stops turns its ring, or their memory is nobody's. */
bool cv_connect_all_ended(const struct cv_ring *ring);

#endif
