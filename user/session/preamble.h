/* SPDX-License-Identifier: MIT */
/*
 * preamble.h - what several kinds of sessions write beside the bytes they relay.
 */
#ifndef CV_SESSION_PREAMBLE_H
#define CV_SESSION_PREAMBLE_H

#include "session/session.h"

/* The ends that a PROXY header told. */
struct cv_proxied {
	struct cv_sockaddr source, destination;
};

/**
 * cv_session_proxy_header() - Queue a PROXY header with the client's addresses for the upstream.
 * @version: 0 = none, 1 or 2. Returns 0; CV_PEER_RESET if the client is gone; buffer errors.
 */
int cv_session_proxy_header(struct cv_session *session, int version);

/** cv_session_client_address() - Who the client is: by its PROXY header if there was one. False: it
 * is gone. */
bool cv_session_client_address(const struct cv_session *session, struct cv_sockaddr *ret_address);

/** cv_session_local_address() - Which of our addresses the client's connection came to, port 0.
 * False: to none, it is a unix socket, or gone. */
bool cv_session_local_address(const struct cv_session *session, struct cv_destination *ret_local);

/** cv_session_key_log() - Append NSS key log lines to the file @path, clear and free them.
 * @lines: heap text, NULL is fine. A file that cannot be written is a warning in the log. */
void cv_session_key_log(const char *path, char *lines);

#endif
