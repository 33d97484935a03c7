/* SPDX-License-Identifier: MIT */
/*
 * reverse.h - reverse tunnels on a worker: those that our bridges open, and those that other
 * bridges opened to our portals.
 *
 *   bridge   session without client -> routed by (tag, domain) -> its upstream leg is the wire of a
 *            carrier that SERVES: what the portal opens becomes sessions with the bridge's tag
 *   portal   a session for the domain, routed to the portal -> its client leg is the wire of a
 *            carrier whose CLIENT we are: sessions routed to the portal are streams on it
 */
#ifndef CV_SESSION_REVERSE_H
#define CV_SESSION_REVERSE_H

#include "session/session.h"
#include "session/stream.h"

struct cv_reverse; /* of a worker */

/** cv_reverse_is_domain() - Is the destination a portal's, or what a bridge of ours asks for?
 * Nobody resolves it. */
bool cv_reverse_is_domain(const struct cv_session *session);

/* ---- reverse_bridge.c ---- */

/** cv_reverse_use() - On the worker's thread: keep tunnels of the bridges of @config open, of no
 * others. Those of bridges that are gone stay until nobody uses them. */
void cv_reverse_use(struct cv_worker *worker, struct cv_config *config);
/** cv_reverse_stop() - The worker stops: open none any more, close each when nobody uses it. */
void cv_reverse_stop(struct cv_worker *worker);
/** cv_reverse_free() - After the worker's last session. NULL-safe, returns NULL. */
struct cv_reverse *cv_reverse_free(struct cv_reverse *reverse);

/* ---- reverse_portal.c ---- */

/** cv_portal_dial() - session->outbound is a portal: what @session is, a tunnel or somebody for
 * one, its destination says. */
void cv_portal_dial(struct cv_session *session);
/** cv_portal_open_datagrams() - A stream for datagrams in a tunnel of @outbound, a portal.
 * Returns 0; CV_UPSTREAM_NO_TUNNEL; CV_INTERNAL_MEMORY. */
int cv_portal_open_datagrams(struct cv_session *session, const struct cv_outbound *outbound,
			     const struct cv_destination *target,
			     const struct cv_stream_owner *owner, struct cv_stream **ret_stream);
/** cv_portal_stop() - The worker stops: tunnels close when nobody uses them. */
void cv_portal_stop(struct cv_worker *worker);

#endif
