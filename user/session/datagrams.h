/* SPDX-License-Identifier: MIT */
/*
 * datagrams.h - what a session does with its client's datagrams: each destination is routed, once,
 * and what comes back is handed over with its source. How the client frames them, and on what they
 * travel, is somebody else's: a struct cv_datagram_near.
 *
 *   near (framing)  --cv_datagrams_send()-->  destinations -> one socket for all (full cone)
 *                   <-------- deliver() ----              \-> a proxy's association
 *                                                          \-> a VLESS stream: datagram_carrier.h
 *
 * Limits: associations of a worker and of a user, destinations of an association, names being
 * resolved, bytes that wait for a name or a proxy. What is above is dropped and counted, as is what
 * no rule lets pass; nobody is told, since UDP has no word for it.
 */
#ifndef CV_SESSION_DATAGRAMS_H
#define CV_SESSION_DATAGRAMS_H

#include "ring/datagram.h"
#include "session/session.h"

struct cv_datagrams;

struct cv_datagram_near {
	/* From @source to the client; CV_DATAGRAM_HEADROOM bytes in front of @bytes are writable.
	 * @source is an IP, unless by_name, or an upstream tells names. Called on the worker's
	 * thread, never from inside cv_datagrams_send(). It may not end the association. */
	void (*deliver)(void *owner, const struct cv_destination *source, uint8_t *bytes,
			size_t len_bytes);
	/* After some of these: what was kept to go out together goes now. It may not end the
	 * association either. NULL: nothing is kept. */
	void (*flush)(void *owner);
	/* Before the socket for all is read: is it still ours (mappings.h)? If not, @owner has
	 * seen to that. NULL: always. */
	bool (*may_read)(void *owner);
	/* That socket was opened; NULL: it was closed, since nothing used it for a minute. NULL:
	 * nobody wants to know. */
	void (*opened)(void *owner, struct cv_datagram_socket *direct);
	void *owner;
	bool borrows; /* flush() has to come before the bytes delivered change */
	bool by_name;	 /* sources are called as the client calls them, where it sent to them */
	bool only_asked; /* only whom the client sent to is heard: it is not told who speaks */
};

/** cv_datagrams_pool() - The memory of the worker's UDP sockets; NULL: out of memory. */
struct cv_datagram_pool *cv_datagrams_pool(struct cv_worker *worker);

/** cv_datagrams_new() - Returns 0; CV_INTERNAL_RESOURCE: the worker has as many as it may;
 * CV_POLICY_USER_SESSIONS: the user has; CV_INTERNAL_MEMORY. */
int cv_datagrams_new(struct cv_session *session, const struct cv_datagram_near *near,
		     struct cv_datagrams **ret_datagrams);
/** cv_datagrams_free() - Its ports are free after the ring's next turn. NULL-safe, returns NULL. */
struct cv_datagrams *cv_datagrams_free(struct cv_datagrams *datagrams);
/** cv_datagrams_send() - From the client to @destination. The headroom in front of @bytes is
 * written to. */
void cv_datagrams_send(struct cv_datagrams *datagrams, const struct cv_destination *destination,
		       uint8_t *bytes, size_t len_bytes);
/** cv_datagrams_queue() - Likewise, but together with others: it may be sent only by
 * cv_datagrams_flush(), and @bytes stay until then. The headroom may be that of the next one. */
void cv_datagrams_queue(struct cv_datagrams *datagrams, const struct cv_destination *destination,
			uint8_t *bytes, size_t len_bytes);
void cv_datagrams_flush(struct cv_datagrams *datagrams);
/** cv_datagrams_adopt() - @fd, an unconnected UDP socket that is bound, is the socket for all.
 * Takes it over. Returns 0, CV_INTERNAL_RESOURCE; CV_INTERNAL_STATE: there is one. */
int cv_datagrams_adopt(struct cv_datagrams *datagrams, int fd);
/** cv_datagrams_tick() - Forget destinations that were idle for a minute, share the user's rate
 * anew. Returns in how many milliseconds to call it again. */
uint32_t cv_datagrams_tick(struct cv_datagrams *datagrams);

#endif
