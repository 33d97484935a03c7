/* SPDX-License-Identifier: MIT */
/*
 * session_front.h - what the proxy protocols of inbounds have in common: the client's bytes, plain
 * or out of TLS, answers to it, and what is said when the upstream is there or is not.
 */
#ifndef CV_SESSION_SESSION_FRONT_H
#define CV_SESSION_SESSION_FRONT_H

#include "session/session.h"

struct cv_handshake;

/** cv_front_serves() - Does cv_front_begin() know what is spoken on @inbound? Else it is a request
 * with an id: VLESS, VMess. */
static inline bool cv_front_serves(const struct cv_inbound *inbound)
{
	return inbound->protocol != CV_INBOUND_VLESS && inbound->protocol != CV_INBOUND_VMESS;
}

/** cv_front_begin() - The client's first byte may come now: choose by the inbound's protocol. */
void cv_front_begin(struct cv_session *session);
/** cv_front_arm() - Arm the session's timer with what is left of the time from accept to a whole
 * request, TLS included. Source: SOCKS5 A9. */
void cv_front_arm(struct cv_session *session);
/** cv_step_front() - EXPECT_FRONT: the first byte on a mixed inbound says what is spoken. */
void cv_step_front(struct cv_session *session);
/** cv_front_input() - What the client said and nobody has used; consume from it. */
struct cv_buffer *cv_front_input(struct cv_session *session);
/** cv_front_fill() - More for cv_front_input() out of the client's layers. 0; -EAGAIN: nothing
 * there; CV_PEER_CLOSED: the client said that it ends; a layer's reason. */
int cv_front_fill(struct cv_session *session);
/** cv_front_say() - Send what waits in handshake->answer. 0 or a layer's or buffer's reason. */
int cv_front_say(struct cv_session *session);
/** cv_front_relay() - Called when relaying starts: what lies behind the request, out of layers that
 * have no place for it, goes first. 0 or a reason. */
int cv_front_relay(struct cv_session *session);

/** cv_front_accepted() - Tell the client that its upstream is there. 0 or a reason. */
int cv_front_accepted(struct cv_session *session);
/** cv_front_upstream_said() - It spoke before relaying began. 0 or a reason. */
int cv_front_upstream_said(struct cv_session *session, struct cv_span bytes);
/** cv_front_answer_refusal() - Only the words; false: the protocol has none. */
bool cv_front_answer_refusal(struct cv_session *session, int reason);
/** cv_front_refuse() - Tell the client that it is not served, and finish. */
void cv_front_refuse(struct cv_session *session, int reason);

#endif
