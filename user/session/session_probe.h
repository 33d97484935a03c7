/* SPDX-License-Identifier: MIT */
/*
 * session_probe.h - a session without a client that asks for a page through an outbound.
 */
#ifndef CV_SESSION_SESSION_PROBE_H
#define CV_SESSION_SESSION_PROBE_H

#include "session/session.h"

/** cv_probe_start() - Ask for config->observatory's page through @outbound, one of the worker's
 * configuration; its observation is told what came of it. False: no session is left for it. */
bool cv_probe_start(struct cv_worker *worker, const struct cv_outbound *outbound);
/** cv_probe_is() - Is @session one of these? */
bool cv_probe_is(const struct cv_session *session);
/** cv_probe_ready() - The outbound carries us to the page's server. */
void cv_probe_ready(struct cv_session *session);
void cv_step_probe(struct cv_session *session);
/** cv_probe_end() - The verdict, unless it is out; @delay_us 0: it failed. */
void cv_probe_end(struct cv_handshake *handshake, uint32_t delay_us);

#endif
