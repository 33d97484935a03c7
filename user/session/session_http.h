/* SPDX-License-Identifier: MIT */
/*
 * session_http.h - the HTTP proxy: one client's requests, one after the other.
 *
 *   EXPECT_HTTP -> ROUTE -> CONNECT_UPSTREAM -> tunnel:  200, RELAY to the end
 *        ^                                  \-> forward: HTTP_EXCHANGE
 *        \---------- HTTP_RETIRE <--- refused / response is whole
 */
#ifndef CV_SESSION_SESSION_HTTP_H
#define CV_SESSION_SESSION_HTTP_H

#include "session/session.h"
#include "wire/http_request.h"
#include "wire/http_response.h"

struct cv_http_exchange {
	enum cv_http_form form;
	struct cv_http_client client;
	struct cv_http_body uplink, downlink;
	struct cv_http_response response;
	struct cv_buffer request_head; /* for the origin */
	struct cv_buffer in;	       /* from the origin, out of its layers */
	bool uplink_done, uplink_lost, response_started, response_done, is_upgraded;
	unsigned interim_count, served_count;
	/* the header's value that was verified, or is being so: a connection's further requests
	 * with the same cost no hash */
	char *shown;
	size_t shown_len;
	bool is_judged; /* what was shown is: verdict */
	int verdict;
};

struct cv_http_exchange *cv_http_exchange_new(void);
/** cv_http_exchange_free() - NULL-safe, cleanses, returns NULL. */
struct cv_http_exchange *cv_http_exchange_free(struct cv_http_exchange *http);

/* session_http.c */
void cv_step_http_begin(struct cv_session *session);
void cv_step_http(struct cv_session *session);
void cv_step_http_timeout(struct cv_session *session);
/** cv_http_refuse() - The request cannot be served: say why, and go on or finish. */
void cv_http_refuse(struct cv_session *session, int reason);
/** cv_http_retire() - The upstream is done with; the client's next request comes after it. */
void cv_http_retire(struct cv_session *session);
void cv_step_http_retire(struct cv_session *session);

/* session_http_exchange.c */
/** cv_http_is_forward() - Will the upstream leg carry one request, not a stream? */
bool cv_http_is_forward(const struct cv_session *session);
void cv_http_exchange_begin(struct cv_session *session);
void cv_step_http_exchange(struct cv_session *session);
void cv_step_http_exchange_timer(struct cv_session *session);

#endif
