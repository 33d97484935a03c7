/* SPDX-License-Identifier: MIT */
/*
 * session_tunnel.h - inbounds of protocol tunnel: connections and datagrams led to one place.
 *
 * Datagrams come to one socket of the worker; each source address has a session of its own, in
 * TUNNEL_DATAGRAMS, which ends when it was idle for a minute.
 */
#ifndef CV_SESSION_SESSION_TUNNEL_H
#define CV_SESSION_SESSION_TUNNEL_H

#include "session/session.h"

struct cv_tunnel_listener;

/** cv_step_tunnel_begin() - The client, out of its TLS if it has any, is led where it is to go. */
void cv_step_tunnel_begin(struct cv_session *session);
/** cv_step_tunnel_timer() - TUNNEL_DATAGRAMS: something is due. */
void cv_step_tunnel_timer(struct cv_session *session);
/** cv_tunnel_leave() - Before the state changes; no-op in other states. */
void cv_tunnel_leave(struct cv_session *session);

/** cv_tunnel_bind() - A UDP socket for @address, of which each worker has one. Returns it or
 * -errno. */
int cv_tunnel_bind(const struct cv_sockaddr *address);
/** cv_tunnel_expect_free() - Returns 0, or -errno: @address is somebody's, or cannot be had. */
int cv_tunnel_expect_free(const struct cv_sockaddr *address);
/** cv_tunnel_listen() - On the worker's thread: lead what comes to @fd, which is taken over.
 * Returns 0; CV_INTERNAL_MEMORY; CV_INTERNAL_CRYPTO. */
int cv_tunnel_listen(struct cv_worker *worker, const struct cv_inbound *inbound, int fd);
/** cv_tunnel_use() - Datagrams of sources to come are led by the inbounds of @config. */
void cv_tunnel_use(struct cv_worker *worker, struct cv_config *config);
/** cv_tunnel_close_all() - Hear no more; the sessions of those who were heard end. */
void cv_tunnel_close_all(struct cv_worker *worker);

#endif
