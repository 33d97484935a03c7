// SPDX-License-Identifier: MIT
/*
 * session_socks4.c - SOCKS4 and 4a on a mixed inbound: CONNECT, where nobody has to log in.
 */
#include "session/handshake.h"
#include "session/session_front.h"
#include "session/steps.h"
#include "wire/socks4.h"

#include <culvert/reason.h>

#include <errno.h>

void cv_step_socks4_begin(struct cv_session *session)
{
	session->handshake->front = CV_FRONT_SOCKS4;
	session->state = CV_SESSION_EXPECT_SOCKS4;
}

static int read_once(struct cv_session *session, struct cv_socks4_request *ret_request)
{
	struct cv_buffer *in = cv_front_input(session);
	int result = cv_socks4_request_read(cv_buffer_span(in), ret_request);
	int more;

	while (result == -EAGAIN) {
		more = cv_front_fill(session);
		if (more)
			return more;
		result = cv_socks4_request_read(cv_buffer_span(in), ret_request);
	}
	if (result == 0)
		cv_buffer_consume(in, ret_request->len_bytes);
	return result;
}

void cv_step_socks4(struct cv_session *session)
{
	struct cv_socks4_request request;
	int result = read_once(session, &request);

	if (result == -EAGAIN && (session->client.facts & CV_LEG_FIN_RECEIVED)) {
		cv_session_close(session, CV_PEER_CLOSED);
		return;
	}
	if (result == -EAGAIN) {
		cv_leg_recv(&session->client);
		return;
	}
	if (result == 0 && session->inbound->users)
		result = CV_PEER_NO_METHOD; /* its user id is no proof */
	else if (result == 0 && request.command != CV_SOCKS4_CONNECT)
		result = CV_PEER_COMMAND;
	if (result) {
		cv_front_refuse(session, result);
		return;
	}
	session->handshake->destination = request.destination;
	cv_step_target(session);
}
