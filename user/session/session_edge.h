/* SPDX-License-Identifier: MIT */
/*
 * session_edge.h - the server name of a session's first hello, and what it decides.
 */
#ifndef CV_SESSION_SESSION_EDGE_H
#define CV_SESSION_SESSION_EDGE_H

#include "session/session.h"

enum cv_edge_state { /* session->edge_state */
	CV_EDGE_OPEN,
	CV_EDGE_PASSED,
	CV_EDGE_DROPPED, /* what the client says from now on never arrives */
};

/**
 * cv_edge_look() - Decide, by the kernel's class or by what is in client.in.
 * Once it is decided that stays; handshake->place and chosen_target and sni_class are set.
 * Returns enum cv_edge_state; OPEN: more of the hello is needed.
 */
enum cv_edge_state cv_edge_look(struct cv_session *session);
/** cv_edge_holds() - Nothing in client.in may be used (yet). Where no name can be dropped nothing
 * is ever held. */
bool cv_edge_holds(struct cv_session *session);
/** cv_edge_leave() - The session goes on, or ends: take the kernel's last word, count it, and take
 * the program off the socket unless it drops. */
void cv_edge_leave(struct cv_session *session);

#endif
