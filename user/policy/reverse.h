/* SPDX-License-Identifier: MIT */
/*
 * reverse.h - reverse proxy: which tunnel, when to drain one, when to open one more; and what the
 * workers of a portal know of each other's tunnels.
 *
 *   bridge  has no public address, dials, serves what comes out of its tunnels
 *   portal  an outbound: what is routed to it goes into a tunnel of one of its bridges
 */
#ifndef CV_POLICY_REVERSE_H
#define CV_POLICY_REVERSE_H

#include "base/address.h"

#include <stddef.h>
#include <stdint.h>

#define CV_REVERSE_TICK_MS 2000
#define CV_REVERSE_BEAT_TICKS 5		 /* a control message every 10 s */
#define CV_REVERSE_OPEN_MS 10000	 /* without a word from the portal a bridge dials anew */
#define CV_REVERSE_SILENCE_MS 60000	 /* without one a bridge closes the tunnel */
#define CV_REVERSE_DEAD_MS 20000	 /* without an acknowledgement a portal closes it */
#define CV_REVERSE_DRAINED_MS 86400000	 /* a drained one lives so long at most */
#define CV_REVERSE_DRAIN_AFTER 256	 /* streams, the control's among them */
#define CV_REVERSE_STREAMS_PER_TUNNEL 16 /* on average: above it a bridge opens one more */
#define CV_REVERSE_IDS_MAX 60000	 /* of the 65535 there are */

/* ---- choices: no state, no time of their own ---------------------------------------------- */

struct cv_tunnel_view {
	uint32_t streams; /* now */
	uint64_t total;	  /* ever */
	bool draining, lost;
};

#define CV_REVERSE_NO_TUNNEL SIZE_MAX
/** cv_reverse_pick() - The one with the fewest streams, the first of several; one that drains only
 * if there is no other. CV_REVERSE_NO_TUNNEL: none can take a stream. Source: reverse 3.4. */
size_t cv_reverse_pick(const struct cv_tunnel_view *tunnels, size_t count);
/** cv_reverse_is_worn() - Portal: a tunnel that carried @total streams is to be drained. */
bool cv_reverse_is_worn(uint64_t total);
/** cv_reverse_wants_more() - Bridge: with @active tunnels that carry @streams. Reverse 3.3. */
bool cv_reverse_wants_more(uint32_t active, uint32_t streams);
struct cv_bridge_view { /* a bridge as one of its workers sees it */
	uint32_t active, streams; /* of all workers: tunnels not draining, what they carry */
	uint32_t worker, worker_count;
	bool is_first; /* it opens the first one */
};

/** cv_reverse_opens() - Bridge: is it for this worker to open one more? They are spread
 * evenly. */
bool cv_reverse_opens(const struct cv_bridge_view *view);
/** cv_reverse_is_silent() - Bridge: the portal of a tunnel was heard @heard_ms, it is @now_ms. */
bool cv_reverse_is_silent(uint64_t heard_ms, uint64_t now_ms, bool is_drained);
/** cv_reverse_retry_ms() - Bridge: until the next attempt after @failures in a row, 1 or more.
 * @jitter: random, spreads what would come at once. At most 2 s. */
uint32_t cv_reverse_retry_ms(uint32_t failures, uint32_t jitter);

/* ---- portals ------------------------------------------------------------------------------ */

#define CV_PORTAL_PLACES 256 /* workers */

struct cv_portal; /* thread safe; goes on over changes of the configuration */

/** cv_portal_new() - Bridges say @domain to be its tunnels; @control_domain: what they are told
 * control by. NULL: out of memory. */
struct cv_portal *cv_portal_new(const char *domain, const char *control_domain);
/** cv_portal_share() - One more owner. */
struct cv_portal *cv_portal_share(struct cv_portal *portal);
/** cv_portal_free() - One owner less; the last one frees it. NULL-safe, returns NULL. */
struct cv_portal *cv_portal_free(struct cv_portal *portal);
const char *cv_portal_domain(const struct cv_portal *portal);
const char *cv_portal_control_domain(const struct cv_portal *portal);
/** cv_portal_is_tunnel() - Does a request for @destination open one? */
bool cv_portal_is_tunnel(const struct cv_portal *portal,
			 const struct cv_destination *destination);

/** cv_portal_note() - @worker, the one at @place, has now as many tunnels, draining ones apart. */
void cv_portal_note(struct cv_portal *portal, size_t place, void *worker, uint32_t active,
		    uint32_t draining);
/**
 * cv_portal_elsewhere() - Call @post with another worker than the one at @place that has tunnels,
 * one after the other, those with draining ones only if there is no other. It does not go away
 * meanwhile. Returns its place; CV_PORTAL_PLACES: there is none.
 */
size_t cv_portal_elsewhere(struct cv_portal *portal, size_t place,
			   void (*post)(void *worker, void *context), void *context);
/** cv_portal_has_tunnel() - Does the worker at @place have any? */
bool cv_portal_has_tunnel(struct cv_portal *portal, size_t place);
/** cv_portal_count() - Tunnels of all workers. */
void cv_portal_count(struct cv_portal *portal, uint32_t *ret_active, uint32_t *ret_draining);

#endif
