/* SPDX-License-Identifier: MIT */
/*
 * verify.h - names and passwords on helper threads; the loop never waits for a hash.
 */
#ifndef CV_SESSION_VERIFY_H
#define CV_SESSION_VERIFY_H

#include "policy/ban.h"
#include "policy/user.h"
#include "ring/ring.h"

struct cv_session;
struct cv_verifier; /* one per process; thread safe */

struct cv_verifier_config {
	unsigned thread_count;  /* e.g. 2 */
	uint32_t queue_limit;   /* waiting questions, e.g. 1024; beyond: CV_INTERNAL_RESOURCE */
	uint32_t cache_entries; /* right answers remembered, e.g. 4096 */
	uint32_t cache_ttl_ms;  /* and how long, 60000 */
	struct cv_ban_policy ban;
};

int cv_verifier_new(const struct cv_verifier_config *config, struct cv_verifier **ret_verifier);
/** cv_verifier_free() - After the last turn of every asking ring and before cv_ring_free(). NULL-
 * safe; waits for the hashes that are being computed. */
struct cv_verifier *cv_verifier_free(struct cv_verifier *verifier);

/* Embedded in the asker, which must stay alive until done() or until cv_verify_cancel() returned.
 */
struct cv_verify_query {
	/* @result: 0 and who it is; CV_PEER_CREDENTIALS; CV_POLICY_BANNED (the password was not
	 * looked at); CV_INTERNAL_RESOURCE. @ban_begins: with this failure the source is banned. */
	void (*done)(struct cv_verify_query *query, int result, struct cv_user *user,
		     bool ban_begins);
	void *internal; /* the verifier's own; NULL = not under way */
};

struct cv_credentials {
	const char *name, *password;
	size_t name_len, password_len;
	const struct cv_sockaddr *from; /* for bans; any family */
};

/**
 * cv_verify() - Who of @users is it? @query->done is called later, on @ring's thread; never if the
 * answer here is false: out of memory.
 * Copies what it needs of @credentials; @users must live until then. An unknown name costs what a
 * known one costs. A right answer is remembered by a keyed MAC of name, password and stored form,
 * so a changed or removed user is never let in by memory. Equal questions share one hash.
 */
bool cv_verify(struct cv_verifier *verifier, struct cv_ring *ring, struct cv_verify_query *query,
	       struct cv_user_table *users, const struct cv_credentials *credentials);
/** cv_verifier_bans() - Its policy. */
const struct cv_ban_policy *cv_verifier_bans(const struct cv_verifier *verifier);
/** cv_verify_cancel() - done() will not be called any more. No-op if not under way. */
void cv_verify_cancel(struct cv_verify_query *query);

/**
 * cv_session_verify() - Who is the client? Asks for a name and a password that its protocol has
 * carried; meanwhile the session's state is CV_SESSION_VERIFY. Any protocol's inbound uses this.
 *
 * @judged is called later, on the worker's thread, unless the session ends before: @reason 0: the
 * session is that user's from now on, its limits hold. Else it is refused, and whatever the reason,
 * the client must see one and the same refusal: CV_PEER_CREDENTIALS, CV_POLICY_BANNED,
 * CV_POLICY_USER_DISABLED, a reason of cv_limits_admit(), CV_INTERNAL_RESOURCE. It is logged and
 * counted for bans already. @judged sets the state to go on with, or finishes the session.
 */
void cv_session_verify(struct cv_session *session, const char *name, size_t name_len,
		       const char *password, size_t password_len,
		       void (*judged)(struct cv_session *session, int reason));

#endif
