// SPDX-License-Identifier: MIT
/*
 * session_reality.c - a REALITY inbound: two sockets around protocol/reality_server.
 *
 *   accept -> dial target -> [PROXY header] -> mirror client bytes to the target, show both sides'
 *   bytes to the state machine, obey its verdict:
 *     FORWARD      saved target bytes go to the client, then client <-> target is relayed for good
 *     FLIGHT       our flight goes to the client; what the target still says is dropped
 *     ESTABLISHED  the target is closed, the record layer goes on the client leg
 *
 * The client is not read before the target is connected (REALITY 3.1), nor between its hello and
 * the verdict. With several targets behind one listener, or names that lead elsewhere, the hello
 * must be read first (session_place.c); such a listener differs from its targets in when it dials.
 * A silent client gets the default target, dialled meanwhile.
 */
#include "session/handshake.h"
#include "session/preamble.h"
#include "session/session_edge.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/reason.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIRROR_CAP_MS \
	(3600u * 1000u) /* far above any site's own time-outs, which are the real ones */

#define WARNINGS_MOST 50 /* in ten seconds; strangers can cause them, as many as they like */

static void target_connected(void *owner, int fd, int reason);

/* Each is told, but not a flood of them above level info. */
static enum cv_log_level warning_level(struct cv_log_pace *pace, const char *what)
{
	uint64_t held_back;
	const bool may = cv_log_some(pace, WARNINGS_MOST, &held_back);

	if (held_back)
		cv_log(CV_LOG_WARNING, "%" PRIu64 " times more: %s", held_back, what);
	return may ? CV_LOG_WARNING : CV_LOG_INFO;
}

static void dial_target(struct cv_session *session, const struct cv_reality_target *target)
{
	struct cv_handshake *handshake = session->handshake;
	bool is_unix = target->unix_address.len_bytes > 0;

	handshake->target = target;
	handshake->reality = cv_reality_server_new(&target->reality);
	if (!handshake->reality) {
		cv_session_close(session, CV_INTERNAL_MEMORY);
		return;
	}
	session->state = CV_SESSION_CONNECT_TARGET;
	cv_session_name_destination(session, is_unix ? NULL : &target->destination,
				    is_unix ? &target->unix_address : NULL);
	cv_session_connect(session, is_unix ? NULL : &target->destination,
			   is_unix ? &target->unix_address : NULL, CV_RESOLVE_ANY,
			   target_connected);
}

/* The client is not read yet, but whoever leaves before the first byte is not worth a dial: a flood
 * of such would fill the target's queue, and users would wait behind it.
 * observable: the target would hang up just as well, and knows nobody's name either. */
static void look_at_client(struct cv_session *session)
{
	struct cv_leg *client = &session->client;
	uint8_t first;
	ssize_t count;

	if (client->received_bytes > 0 || client->recv_op.pending || session->handshake->has_spoken)
		return;
	count = recv(client->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);
	if (count > 0)
		session->handshake->has_spoken = true;
	else if (count == 0)
		cv_session_close(session, CV_PEER_CLOSED);
	else if (errno != EAGAIN && errno != EINTR)
		cv_session_close(session, CV_PEER_RESET);
	else
		cv_leg_watch(client);
}

/* The hello, if it had to be read to choose, stays in client.in until the target is connected. */
void cv_step_reality_begin(struct cv_session *session)
{
	const struct cv_reality_inbound *reality = session->inbound->reality;

	look_at_client(session);
	if (session->state != CV_SESSION_CLOSED)
		dial_target(session, &reality->targets[session->handshake->chosen_target]);
}

void cv_step_reality_dialling(struct cv_session *session)
{
	look_at_client(session);
}

/* ---- mirroring ---------------------------------------------------------------------------- */

static void target_connected(void *owner, int fd, int reason)
{
	static struct cv_log_pace pace;
	struct cv_session *session = owner;
	int error;

	session->handshake->connector = NULL;
	if (fd < 0) {
		cv_log(warning_level(&pace, "a target cannot be dialled"),
		       "inbound=%s target=%s: %s", session->inbound->tag,
		       session->handshake->target->address_text, cv_reason_text(reason));
		cv_session_close(session, CV_TARGET_UNREACHABLE); /* observable: nothing is sent */
		cv_session_event(session, NULL, 0);
		return;
	}
	session->upstream.fd = fd;
	error = cv_session_proxy_header(session, session->handshake->target->xver);
	if (error) {
		cv_session_close(session, error);
	} else {
		session->state = CV_SESSION_EXPECT_HELLO;
		cv_session_arm(session, MIRROR_CAP_MS);
	}
	cv_session_event(session, NULL, 0);
}

/* Failures after authentication are for the operator's eyes; strangers are daily business. */
static bool is_near_miss(int reason)
{
	switch (reason) {
	case CV_PEER_VERSION:
	case CV_PEER_CLOCK:
	case CV_PEER_SHORT_ID:
	case CV_PEER_REPLAY:
	case CV_PEER_NO_MLKEM:
	case CV_TARGET_SPEAKS_FIRST:
	case CV_TARGET_NOT_TLS13:
	case CV_TARGET_HELLO_RETRY:
	case CV_TARGET_GROUP:
	case CV_TARGET_TEMPLATE:
	case CV_TARGET_PADDING:
	case CV_TARGET_SESSION_ID:
		return true;
	default:
		return false;
	}
}

static void log_forward(struct cv_session *session, int reason)
{
	const struct cv_reality_server *reality = session->handshake->reality;
	const struct cv_client_hello *hello = cv_reality_server_hello(reality);
	static struct cv_log_pace pace;
	enum cv_log_level level = CV_LOG_INFO;

	if (is_near_miss(reason))
		level = warning_level(&pace, "somebody nearly came in");
	if (session->client.received_bytes == 0)
		level = CV_LOG_DEBUG; /* connected and left: a health check */
	cv_worker_count(session->worker, reason);
	if (!cv_log_wants(level))
		return;
	cv_log(level, "inbound=%s sni=%s goes to target %s: %s (%s), clock off by %" PRId64 " s",
	       session->inbound->tag, hello ? hello->server_name : "-",
	       session->handshake->target->address_text, cv_reason_label(reason),
	       cv_reason_text(reason), cv_reality_server_clock_skew_ms(reality) / 1000);
}

static void go_forward(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	struct cv_buffer *saved = cv_reality_server_saved_target(handshake->reality);
	int error;

	log_forward(session, cv_reality_server_reason(handshake->reality));
	error = cv_buffer_append(&session->client.out, cv_buffer_bytes(saved),
				 cv_buffer_len(saved));
	if (!error)
		error = cv_session_limit(session, &session->inbound->reality->fallback_upload,
					 &session->inbound->reality->fallback_download);
	if (error) {
		cv_session_close(session, error);
		return;
	}
	session->is_fallback = true;
	session->user_moved_bytes[CV_UPLINK] += session->handshake->mirrored_bytes;
	session->user_moved_bytes[CV_DOWNLINK] += cv_buffer_len(saved);
	cv_session_relay(session);
}

static int move_output(struct cv_session *session)
{
	struct cv_buffer *output = cv_reality_server_output(session->handshake->reality);
	int error = cv_buffer_append(&session->client.out, cv_buffer_bytes(output),
				     cv_buffer_len(output));

	cv_buffer_consume(output, cv_buffer_len(output));
	return error;
}

static void write_key_log(struct cv_session *session)
{
	const char *path = session->inbound->reality->key_log_path;

	if (path && path[0])
		cv_session_key_log(path, cv_reality_server_key_log(session->handshake->reality));
}

static void go_established(struct cv_session *session)
{
	struct cv_reality_server *reality = session->handshake->reality;
	struct cv_worker_counters *counters = &session->worker->counters;
	struct cv_buffer *leftover = cv_reality_server_leftover(reality);
	const struct cv_client_hello *hello = cv_reality_server_hello(reality);
	int error = move_output(session);

	if (!error)
		error = cv_leg_push_layer(&session->client, cv_reality_server_take_layer(reality));
	if (!error)
		error = cv_buffer_append(&session->client.in, cv_buffer_bytes(leftover),
					 cv_buffer_len(leftover));
	if (error) {
		cv_session_close(session, error);
		return;
	}
	atomic_fetch_add_explicit(&counters->reality_accepted, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(cv_reality_server_is_hybrid(reality) ? &counters->reality_hybrid
								       : &counters->reality_classic,
				  1, memory_order_relaxed);
	if (hello)
		snprintf(session->handshake->server_name, sizeof(session->handshake->server_name),
			 "%s", hello->server_name);
	write_key_log(session);
	session->state = CV_SESSION_RETIRE_TARGET;
	if (session->upstream.recv_op.pending)
		cv_ring_cancel(session->worker->ring, &session->upstream.recv_op);
	if (session->upstream.send_op.pending)
		cv_ring_cancel(session->worker->ring, &session->upstream.send_op);
}

void cv_step_retire_target(struct cv_session *session)
{
	struct cv_leg *target = &session->upstream;

	cv_buffer_consume(&target->out, cv_buffer_len(&target->out));
	if (!target->send_op.pending)
		cv_buffer_consume(&target->sending, cv_buffer_len(&target->sending));
	if (cv_leg_busy(target))
		return;
	cv_leg_done(&session->upstream, false);
	session->upstream.facts = 0;
	cv_leg_init(&session->upstream, session);
	cv_step_request_begin(session);
}

/* observable: a kernel answers with RST when a socket is closed that holds unread bytes. The target
 * would have read about one record and left the rest; so must it look here, where more was read. */
static bool leaves_bytes_unread(struct cv_session *session)
{
	int waiting_bytes = 0;

	(void)ioctl(session->client.fd, FIONREAD, &waiting_bytes);
	return waiting_bytes > 0 ||
	       cv_reality_server_leaves_unread(session->handshake->reality);
}

static void obey(struct cv_session *session, enum cv_reality_verdict verdict)
{
	int reason, error = 0;

	switch (verdict) {
	case CV_REALITY_WAIT:
		break;
	case CV_REALITY_FORWARD:
		go_forward(session);
		break;
	case CV_REALITY_FLIGHT:
		error = move_output(session);
		session->state = CV_SESSION_EXPECT_FINISHED;
		break;
	case CV_REALITY_ESTABLISHED:
		go_established(session);
		break;
	case CV_REALITY_CLOSE:
		reason = cv_reality_server_reason(session->handshake->reality);
		session->abort_client = leaves_bytes_unread(session);
		error = move_output(session);
		if (!error && cv_leg_queued(&session->client) > 0)
			cv_session_finish(session, reason);
		else
			cv_session_close(session, reason);
		break;
	}
	if (error)
		cv_session_close(session, error);
}

static bool is_deciding(const struct cv_session *session)
{
	return session->state == CV_SESSION_EXPECT_HELLO ||
	       session->state == CV_SESSION_EXPECT_FINISHED;
}

static void take_client_bytes(struct cv_session *session)
{
	struct cv_leg *client = &session->client, *target = &session->upstream;
	struct cv_span bytes = cv_buffer_span(&client->in);
	enum cv_reality_verdict verdict;
	int error = 0;

	if (session->state == CV_SESSION_EXPECT_HELLO) {
		/* observable: the target sees every byte */
		error = cv_buffer_append(&target->out, bytes.data, bytes.len_bytes);
		session->handshake->mirrored_bytes += (uint32_t)bytes.len_bytes;
	}
	if (error) {
		cv_session_close(session, error);
		return;
	}
	verdict = cv_reality_server_client_bytes(session->handshake->reality, bytes,
						 cv_clock_wall_ms());
	cv_buffer_consume(&client->in, bytes.len_bytes);
	obey(session, verdict);
}

static void take_target_bytes(struct cv_session *session)
{
	struct cv_leg *target = &session->upstream;
	struct cv_span bytes = cv_buffer_span(&target->in);
	enum cv_reality_verdict verdict;

	verdict = cv_reality_server_target_bytes(session->handshake->reality, bytes,
						 cv_clock_wall_ms());
	cv_buffer_consume(&target->in, bytes.len_bytes);
	obey(session, verdict);
}

/* Between an authenticated hello and our flight what the client sends is kept: it belongs to a
 * handshake that does not exist yet. It is still read, once, so that its leaving is noticed. */
static bool feeds_client(const struct cv_session *session)
{
	return session->state == CV_SESSION_EXPECT_FINISHED ||
	       !cv_reality_server_hello(session->handshake->reality);
}

static bool wants_client(const struct cv_session *session)
{
	if (!feeds_client(session))
		return cv_buffer_len(&session->client.in) == 0;
	return cv_leg_queued(&session->upstream) < CV_LEG_OUT_HIGH;
}

void cv_step_reality(struct cv_session *session)
{
	struct cv_leg *client = &session->client, *target = &session->upstream;
	struct cv_reality_server *reality = session->handshake->reality;

	if (cv_leg_stop_watching(client)) /* the client's bytes are read before the target's */
		return;
	if (cv_buffer_len(&target->in) > 0)
		take_target_bytes(session);
	if (is_deciding(session) && cv_buffer_len(&client->in) > 0 && feeds_client(session) &&
	    !cv_edge_holds(session))
		take_client_bytes(session);
	if (is_deciding(session) && (target->facts & (CV_LEG_FIN_RECEIVED | CV_LEG_RESET)))
		obey(session, cv_reality_server_target_eof(reality));
	if (is_deciding(session) && (client->facts & CV_LEG_FIN_RECEIVED))
		obey(session, cv_reality_server_client_eof(reality));
	if (!is_deciding(session))
		return;
	if (wants_client(session))
		cv_leg_recv(client);
	cv_leg_recv(target);
}
