// SPDX-License-Identifier: MIT
/*
 * carrier.c - life of a carrier: from the request, or the dial, to the last of its streams.
 *
 *   cv_carrier_new (owned by the handshake: streams may be opened, and wait)
 *        -> cv_carrier_start (state CARRIER: frames)
 *              event   read frames -> wake their streams; write what streams have -> wake those
 *                      that were full; the wire's end, or a frame that makes no sense: leave
 *              timer   who blocks all others? whose End is due? is anybody there?
 *        -> leave: streams are lost, each of their sessions ends as by a reset
 *
 * An empty carrier is closed at the second look that finds it so, every 16 s (CLIENT) or 60 s
 * (SERVER), and at once when the worker stops.
 *
 * Memory, at most: CV_CARRIER_INPUT_MAX and 16 KiB for each stream of input, CV_STREAM_OUT_HIGH and
 * one receive buffer for each stream of output, the wire's own two queues, 1 MiB of frames.
 */
#include "session/carrier_state.h"

#include "base/log.h"
#include "base/reason.h"
#include "protocol/upstream_reason.h"
#include "session/handshake.h"
#include "session/session_limits.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#define CLIENT_TICK_MS 16000
#define SERVER_TICK_MS 60000
#define STALL_MS 1000
#define ALONE_MS 10000 /* SERVER, one stream: others may be behind its data, unread */
#define IN_LIMIT (512 * 1024)
#define WIRE_UNSENT_BYTES (128 * 1024)
#define LEG_UNSENT_BYTES (64 * 1024)

/* ---- beginning ---------------------------------------------------------------------------- */

struct cv_carrier *cv_carrier_new(struct cv_session *session,
				  const struct cv_carrier_config *config)
{
	struct cv_streams *streams = cv_streams_of(session->worker);
	struct cv_carrier *carrier = streams ? calloc(1, sizeof(*carrier)) : NULL;

	if (!carrier)
		return NULL;
	carrier->session = session;
	carrier->streams = streams;
	carrier->config = *config;
	cv_list_init(&carrier->members);
	cv_list_init(&carrier->ready);
	cv_list_init(&carrier->closing);
	cv_list_add(&streams->carriers, &carrier->all);
	cv_buffer_init(&carrier->in, IN_LIMIT);
	cv_buffer_init(&carrier->frames, CV_CARRIER_FRAMES_LIMIT);
	cv_buffer_init(&carrier->datagram, CV_STREAM_HEADROOM + CV_MUX_DATAGRAM_MAX);
	return carrier;
}

/* What waits in the kernel cannot be overtaken, and is not seen to move. */
static void keep_unsent_few(int fd, int most_bytes)
{
	if (fd >= 0)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &most_bytes,
				 sizeof(most_bytes));
}

static uint64_t tick_period_ms(const struct cv_carrier *carrier)
{
	return carrier->config.role == CV_CARRIER_CLIENT ? CLIENT_TICK_MS : SERVER_TICK_MS;
}

static void arm(struct cv_carrier *carrier)
{
	const bool is_watched = carrier->blocker || !cv_list_is_empty(&carrier->closing);
	const uint64_t check_ms = cv_carrier_now_ms(carrier) + CV_CARRIER_CHECK_MS;
	struct cv_timer *timer = &carrier->session->timer;
	uint64_t due_ms = carrier->tick_ms;

	if (is_watched && due_ms > check_ms)
		due_ms = check_ms;
	if (timer->heap_index == 0 || timer->due_ms > due_ms) /* events do not put it off */
		cv_timer_arm(carrier->streams->worker->ring, timer, due_ms);
}

void cv_carrier_start(struct cv_carrier *carrier, struct cv_leg *wire)
{
	struct cv_session *session = carrier->session;

	carrier->wire = wire;
	session->handshake->carrier = NULL;
	session->handshake = cv_handshake_free(session->handshake);
	session->carrier = carrier;
	session->state = CV_SESSION_CARRIER;
	session->last_activity_ms = cv_carrier_now_ms(carrier);
	keep_unsent_few(wire->fd, WIRE_UNSENT_BYTES);
	cv_limits_relay(session);
	for (struct cv_list *at = carrier->members.next; at != &carrier->members; at = at->next)
		cv_stream_wake(cv_container_of(at, struct cv_stream, all));
	carrier->tick_ms = cv_carrier_now_ms(carrier) + tick_period_ms(carrier);
	arm(carrier);
	cv_carrier_wake(carrier);
}

/* ---- end ---------------------------------------------------------------------------------- */

static int reason_for_streams(const struct cv_carrier *carrier)
{
	const struct cv_session *session = carrier->session;

	if (session->reason)
		return session->reason;
	return &session->client == carrier->wire ? CV_PEER_RESET : CV_UPSTREAM_CLOSED;
}

struct cv_carrier *cv_carrier_free(struct cv_carrier *carrier)
{
	struct cv_stream *stream;

	if (!carrier)
		return NULL;
	if (carrier->config.gone)
		carrier->config.gone(carrier);
	cv_carrier_unblock(carrier);
	while ((stream = cv_list_first(&carrier->members, struct cv_stream, all)))
		cv_stream_lose(stream, reason_for_streams(carrier));
	carrier->h2 = cv_carrier_h2_free(carrier->h2);
	cv_list_remove(&carrier->all);
	cv_list_remove(&carrier->woken);
	cv_buffer_done(&carrier->in);
	cv_buffer_done(&carrier->frames);
	cv_buffer_done(&carrier->datagram);
	free(carrier);
	return NULL;
}

void cv_carrier_give_up(struct cv_session *session, int reason)
{
	struct cv_carrier *carrier = session->handshake->carrier;
	struct cv_stream *stream;

	session->handshake->carrier = NULL;
	while (carrier && (stream = cv_list_first(&carrier->members, struct cv_stream, all)))
		cv_stream_lose(stream, reason);
	cv_carrier_free(carrier);
}

void cv_carrier_leave(struct cv_session *session)
{
	if (session->state != CV_SESSION_CARRIER)
		return;
	session->carrier = cv_carrier_free(session->carrier);
}

/* What has been said goes out, then the wire is closed in order. */
static void finish(struct cv_carrier *carrier, int reason)
{
	struct cv_session *session = carrier->session;

	if (carrier->wire == &session->upstream)
		(void)cv_leg_encode_eof(&session->upstream);
	cv_session_finish(session, reason);
}

/* Who says what makes no sense, and reads nothing, will not hear what we have to say. */
static void fail(struct cv_carrier *carrier, int reason)
{
	if (cv_leg_queued(carrier->wire) >= CV_LEG_OUT_HIGH)
		cv_session_close(carrier->session, reason);
	else
		finish(carrier, reason);
}

/* ---- events ------------------------------------------------------------------------------- */

static bool is_upstream(const struct cv_carrier *carrier)
{
	return carrier->wire == &carrier->session->upstream;
}

/* 0, or why it cannot go on; CV_LAYER_EOF: the peer has closed it. */
static int read_and_write(struct cv_carrier *carrier)
{
	int result = carrier->failed, error;

	if (!result)
		result = carrier->h2 ? cv_carrier_h2_read(carrier) : cv_carrier_read(carrier);
	if (result < 0)
		return is_upstream(carrier) ? cv_upstream_reason(result) : result;
	error = carrier->h2 ? cv_carrier_h2_write(carrier) : cv_carrier_write(carrier);
	return error ? error : result;
}

static bool is_cut_short(const struct cv_carrier *carrier)
{
	return cv_buffer_len(&carrier->in) > 0 || carrier->data_left_bytes > 0 ||
	       cv_leg_undecoded(carrier->wire) > 0;
}

static void peer_closed(struct cv_carrier *carrier)
{
	int reason = 0;

	if (is_cut_short(carrier))
		reason = is_upstream(carrier) ? CV_UPSTREAM_TRUNCATED : CV_PEER_TRUNCATED;
	finish(carrier, reason);
}

static bool is_done(const struct cv_carrier *carrier)
{
	return carrier->stream_count == 0 && carrier->streams->worker->stopping &&
	       cv_buffer_len(&carrier->frames) == 0;
}

void cv_step_carrier(struct cv_session *session)
{
	struct cv_carrier *carrier = session->carrier;
	struct cv_leg *wire = carrier->wire;
	int result;

	if (wire->facts & (CV_LEG_RESET | CV_LEG_SEND_FAILED)) {
		cv_session_close(session, is_upstream(carrier) ? CV_UPSTREAM_RESET
							       : CV_PEER_RESET);
		return;
	}
	result = read_and_write(carrier);
	if (result < 0)
		fail(carrier, result);
	else if (result == CV_LAYER_EOF ||
		 ((wire->facts & CV_LEG_FIN_RECEIVED) && !carrier->blocker))
		peer_closed(carrier);
	else if (is_done(carrier))
		finish(carrier, CV_POLICY_STOPPING);
	if (session->state != CV_SESSION_CARRIER)
		return;
	if (!carrier->blocker)
		cv_leg_recv(wire);
	if (carrier->blocker || !cv_list_is_empty(&carrier->closing))
		arm(carrier);
}

/* ---- time --------------------------------------------------------------------------------- */

/* What the peer behind a stream has got: the kernel knows of every byte. */
static uint64_t acked_bytes(const struct cv_stream *stream)
{
	struct cv_session *session = stream->leg->session;
	const struct cv_leg *other =
		stream->leg == &session->client ? &session->upstream : &session->client;
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (other->fd < 0 || getsockopt(other->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return 0;
	return info.tcpi_bytes_acked;
}

/* Beside the control of a reverse tunnel a stream is alone. */
static bool others_wait(const struct cv_carrier *carrier)
{
	uint32_t count = 0;

	for (struct cv_list *at = carrier->members.next; at != &carrier->members; at = at->next)
		count += !cv_container_of(at, struct cv_stream, all)->owner.is_patient;
	return count > 1;
}

/* An only stream of ours is left to its session's own idle time: we know that it is alone. */
static uint64_t patience_ms(const struct cv_carrier *carrier)
{
	if (others_wait(carrier))
		return STALL_MS;
	return carrier->config.role == CV_CARRIER_SERVER ? ALONE_MS : UINT64_MAX / 2;
}

/* Has it taken nothing at all for too long, as far as we have looked? Looks are counted, not time:
 * where the machine stood still, nobody had a chance. */
static bool stands_still(struct cv_carrier *carrier, struct cv_stream *stream)
{
	const uint64_t acked = acked_bytes(stream);

	(void)cv_stream_recount(stream);
	if (stream->has_moved || acked != stream->acked_bytes)
		stream->still_looks = 0;
	else
		stream->still_looks++;
	stream->has_moved = false;
	stream->acked_bytes = acked;
	return stream->still_looks * (uint64_t)CV_CARRIER_CHECK_MS >= patience_ms(carrier);
}

static void end_stalled(struct cv_carrier *carrier, struct cv_stream *stream)
{
	cv_log(CV_LOG_INFO, "session %u.%" PRIu64 " takes nothing, and %u others wait for it",
	       carrier->streams->worker->index, stream->leg->session->id,
	       carrier->stream_count - 1);
	carrier->stalled++;
	cv_limits_end(stream->leg->session, CV_POLICY_STALLED);
}

/* Those that hold nearly as much as the blocker are looked at together: else each of them would
 * have its own second at the others' expense. */
static void check_blocker(struct cv_carrier *carrier)
{
	struct cv_stream *blocker = carrier->blocker;
	size_t much;
	bool ends;

	if (!blocker || !blocker->leg)
		return;
	ends = stands_still(carrier, blocker);
	much = blocker->counted_bytes / 2;
	for (struct cv_list *at = carrier->members.next, *next; at != &carrier->members;
	     at = next) {
		struct cv_stream *stream = cv_container_of(at, struct cv_stream, all);

		next = at->next;
		if (stream != blocker && stream->leg && stream->counted_bytes > much &&
		    stands_still(carrier, stream) && ends)
			end_stalled(carrier, stream);
	}
	if (ends)
		end_stalled(carrier, blocker);
	else
		cv_carrier_look_at_blocker(carrier);
}

/* Is nobody there, as at the last tick, and has nobody been since? */
static bool is_idle(struct cv_carrier *carrier)
{
	const uint64_t now_ms = cv_carrier_now_ms(carrier);
	const bool was_idle = carrier->was_empty && carrier->total_at_tick == carrier->total;

	if (now_ms < carrier->tick_ms)
		return false;
	carrier->tick_ms = now_ms + tick_period_ms(carrier);
	carrier->was_empty = carrier->stream_count == 0;
	carrier->total_at_tick = carrier->total;
	return was_idle && carrier->was_empty;
}

void cv_step_carrier_timer(struct cv_session *session)
{
	struct cv_carrier *carrier = session->carrier;
	int error;

	check_blocker(carrier);
	error = cv_carrier_check_closing(carrier);
	if (error)
		fail(carrier, error);
	else if (is_idle(carrier))
		finish(carrier, 0);
	else
		arm(carrier);
}

void cv_carriers_stop(struct cv_worker *worker)
{
	struct cv_streams *streams = worker->streams;

	for (struct cv_list *at = streams ? streams->carriers.next : NULL;
	     streams && at != &streams->carriers; at = at->next)
		cv_carrier_wake(cv_container_of(at, struct cv_carrier, all));
}

/* ---- for others --------------------------------------------------------------------------- */

struct cv_session *cv_carrier_session(const struct cv_carrier *carrier)
{
	return carrier->session;
}

const struct cv_carrier_config *cv_carrier_settings(const struct cv_carrier *carrier)
{
	return &carrier->config;
}

uint32_t cv_carrier_stream_count(const struct cv_carrier *carrier)
{
	return carrier->stream_count;
}

uint64_t cv_carrier_stream_total(const struct cv_carrier *carrier)
{
	return carrier->total;
}

uint16_t cv_carrier_next_id(struct cv_carrier *carrier)
{
	const uint32_t most = carrier->config.max_total && carrier->config.max_total < UINT16_MAX
				      ? carrier->config.max_total
				      : UINT16_MAX;

	if (carrier->next_id >= most)
		return 0;
	return (uint16_t)++carrier->next_id;
}

void cv_stream_leg_relays(struct cv_session *session)
{
	if (session->client.stream)
		keep_unsent_few(session->upstream.fd, LEG_UNSENT_BYTES);
	if (session->upstream.stream)
		keep_unsent_few(session->client.fd, LEG_UNSENT_BYTES);
}

/* ---- for people --------------------------------------------------------------------------- */

static size_t memory_of(const struct cv_carrier *carrier)
{
	size_t bytes = sizeof(*carrier) + carrier->in.size_bytes + carrier->frames.size_bytes +
		       carrier->datagram.size_bytes;

	if (carrier->wire)
		bytes += carrier->wire->in.size_bytes + carrier->wire->out.size_bytes +
			 carrier->wire->sending.size_bytes;
	for (struct cv_list *at = carrier->members.next; at != &carrier->members; at = at->next) {
		const struct cv_stream *stream = cv_container_of(at, struct cv_stream, all);

		bytes += sizeof(*stream);
		if (stream->leg)
			bytes += stream->leg->in.size_bytes + stream->leg->out.size_bytes;
	}
	return bytes;
}

static size_t output_of(const struct cv_carrier *carrier)
{
	size_t bytes = cv_buffer_len(&carrier->frames);

	if (carrier->wire)
		bytes += cv_leg_queued(carrier->wire);
	for (struct cv_list *at = carrier->members.next; at != &carrier->members; at = at->next) {
		const struct cv_stream *stream = cv_container_of(at, struct cv_stream, all);

		if (stream->leg)
			bytes += cv_buffer_len(&stream->leg->out);
	}
	return bytes;
}

bool cv_carrier_report(const struct cv_session *session, struct cv_carrier_report *ret_report)
{
	const struct cv_carrier *carrier =
		session->state == CV_SESSION_CARRIER ? session->carrier : NULL;

	if (!carrier)
		return false;
	*ret_report = (struct cv_carrier_report){
		.role = carrier->config.role,
		.is_reverse = (carrier->config.role == CV_CARRIER_CLIENT) ==
			      (carrier->wire == &session->client),
		.streams = carrier->stream_count,
		.streams_max = carrier->config.max_streams,
		.streams_total = carrier->total,
		.received_bytes = carrier->received_bytes,
		.sent_bytes = carrier->sent_bytes,
		.input_bytes = carrier->input_bytes + cv_buffer_len(&carrier->in),
		.input_most_bytes = carrier->input_most_bytes,
		.output_bytes = output_of(carrier),
		.memory_bytes = memory_of(carrier),
		.blocked_ms = carrier->blocked_ms,
		.stalled = carrier->stalled,
		.dropped = carrier->dropped,
	};
	if (carrier->blocker)
		ret_report->blocked_ms +=
			cv_carrier_now_ms(carrier) - carrier->blocked_since_ms;
	return true;
}
