/* SPDX-License-Identifier: MIT */
#ifndef CV_RING_LISTEN_H
#define CV_RING_LISTEN_H

#include "base/address.h"

/** cv_listen() - Bound, listening, nonblocking, CLOEXEC socket; SO_REUSEPORT for TCP so that each
 * worker has its own; IPv6 sockets are dual-stack. Unix paths: a stale socket file is replaced;
 * @unix_mode (0 = leave). Returns fd or -errno. */
int cv_listen(const struct cv_sockaddr *address, int backlog, unsigned unix_mode);

/** cv_listen_expect_free() - Does anybody in this network namespace listen where @address would be
 * in the way? Needs no rights. Returns 0, -EADDRINUSE, or -errno of asking. */
int cv_listen_expect_free(const struct cv_sockaddr *address);

/** cv_listen_replace() - cv_listen() for a unix path that another process may still listen on: the
 * path is ours at once, connections that wait there stay the other's. -EADDRINUSE: abstract. */
int cv_listen_replace(const struct cv_sockaddr *address, int backlog, unsigned unix_mode);

/** cv_listen_steered() - A listener for sk_lookup only: on a free port of 127.0.0.1, so that nobody
 * outside reaches it by itself. @family AF_INET, or AF_INET6 for both. Returns fd or -errno. */
int cv_listen_steered(int family, int backlog);

/** cv_socket_pair() - As socketpair(), nonblocking, but of TCP: a reset of one end is one at the
 * other. Returns 0 or -errno; it may take milliseconds on a machine that is very busy. */
int cv_socket_pair(int ret_fds[2]);

/** cv_socket_tune_client/upstream() - TCP_NODELAY on both; keepalive and TCP_USER_TIMEOUT on the
 * upstream side only (observable: REALITY 9 wants none on the accepted socket). */
void cv_socket_tune_client(int fd);
void cv_socket_tune_upstream(int fd);
/** cv_socket_abort() - close with RST (SO_LINGER 0). */
void cv_socket_abort(int fd);

#endif
