/* SPDX-License-Identifier: MIT */
/*
 * session_limits.h - holding people to their limits, whatever moves their bytes.
 */
#ifndef CV_SESSION_SESSION_LIMITS_H
#define CV_SESSION_SESSION_LIMITS_H

#include "session/worker.h"

struct cv_session;

/** cv_limits_admit() - @user has shown who it is. 0: the session is @user's from now on. Else
 * nothing changed: CV_POLICY_EXPIRED, _QUOTA, _USER_SESSIONS, _USER_ADDRESSES, CV_INTERNAL_MEMORY.
 */
int cv_limits_admit(struct cv_session *session, struct cv_user *user);
/** cv_limits_leave() - The session ends; may be called without cv_limits_admit(). */
void cv_limits_leave(struct cv_session *session);
/** cv_limits_relay() - Both sockets are final: from now on they keep to the user's rates. */
void cv_limits_relay(struct cv_session *session);
/** cv_limits_rest() - Nothing is relayed until the next cv_limits_relay(): others of the same
 * person need not leave a share to this session. */
void cv_limits_rest(struct cv_session *session);
/** cv_limits_end() - End @session at once with RST to both sides. It may be gone afterwards. */
void cv_limits_end(struct cv_session *session, int reason);

/**
 * cv_limits_kick() - End all sessions of @who (e-mail, name or id; case does not matter), wait for
 * the workers. @reason: CV_POLICY_KICKED; CV_POLICY_USER_DISABLED for one who was removed. Not to
 * be called by a worker. Returns how many there were.
 */
unsigned cv_limits_kick(struct cv_worker *workers, unsigned worker_count, const char *who,
			int reason);
/** cv_limits_follow() - Sessions that began before @config, which the workers use already: end
 * those of people who may not come any more by it, hold the others to limits that are new. Returns
 * how many were ended. As cv_limits_kick(). */
unsigned cv_limits_follow(struct cv_worker *workers, unsigned worker_count,
			  const struct cv_config *config);

#endif
