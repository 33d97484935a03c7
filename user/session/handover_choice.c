// SPDX-License-Identifier: MIT
/*
 * handover_choice.c - a session that engines carry goes to other engines while it lives.
 *
 *   splice --yield--> copy, while the reverse is spliced --yield--> sockmap
 *                \--> sockmap, once the reverse is not -- (refused: copy) --> to its end
 *   the reverse: splice --yield--> copy, to its end
 *
 * A socket in a sockmap must not be spliced, so both directions leave splice before one goes into
 * the sockmap; copy gets along with everything. Only one may: see engine_sockmap.c. At no point is
 * a direction without an engine for longer than a turn. What to do is engine/choice.c's to say.
 */
#include "session/handover.h"

#include "base/log.h"
#include "base/reason.h"
#include "engine/sockmap.h"
#include "engine/sockmap_selftest.h"
#include "session/worker.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

/* ---- what there is ------------------------------------------------------------------------ */

enum cv_sockmap_state cv_handover_sockmap(struct cv_worker *worker)
{
	enum cv_sockmap_state state = cv_sockmap_selftest_state(worker->selftest);
	int error;

	if (state == CV_SOCKMAP_FAILED && !worker->selftest_counted) {
		worker->selftest_counted = true;
		cv_worker_count(worker, CV_INTERNAL_SELFTEST);
	}
	if (state != CV_SOCKMAP_USABLE || worker->env.sockmap)
		return state;
	if (!worker->kernel)
		return CV_SOCKMAP_ABSENT;
	error = cv_sockmap_new(worker->kernel, worker->ring, &worker->env.sockmap);
	if (error) {
		cv_log(CV_LOG_WARNING, "worker %u: no sockmap: %s", worker->index,
		       strerror(-error));
		worker->kernel = NULL;
	}
	return error ? CV_SOCKMAP_ABSENT : CV_SOCKMAP_USABLE;
}

/* Never a sockmap for a socket that may have kernel TLS: some kernels then send plain text. */
static bool has_kernel_tls(const struct cv_session *session)
{
	return session->client.ktls || session->client.ktls_error || session->upstream.ktls ||
	       session->upstream.ktls_error;
}

const struct cv_engine *cv_handover_first_engine(struct cv_session *session,
						 enum cv_direction direction)
{
	struct cv_worker *worker = session->worker;
	bool may = worker->mode == CV_CHOICE_SOCKMAP || session->in_sockmap;

	if (may && direction == CV_DOWNLINK && !session->in_sockmap && !has_kernel_tls(session) &&
	    cv_handover_sockmap(worker) == CV_SOCKMAP_USABLE)
		return &cv_engine_sockmap;
	return may ? &cv_engine_copy : worker->engine;
}

static bool is_in(struct cv_session *session, int direction, const struct cv_engine *engine)
{
	return session->flow_active[direction] && session->flow[direction].engine == engine;
}

/* What was given to @engine, and what it did not take. */
static void count_try(struct cv_session *session, enum cv_direction direction,
		      const struct cv_engine *engine, int error)
{
	struct cv_worker_counters *counters = &session->worker->counters;
	size_t index = cv_engine_index(engine);

	atomic_fetch_add_explicit(error ? &counters->engine_refused[index]
					: &counters->engine_flows[index][direction],
				  1, memory_order_relaxed);
}

/* ---- moving ------------------------------------------------------------------------------- */

int cv_handover_try(struct cv_session *session, enum cv_direction direction,
		    const struct cv_engine *engine)
{
	struct cv_flow *flow = &session->flow[direction];
	int error = engine->start(flow);

	if (engine == &cv_engine_sockmap && !error)
		session->engine_why[!direction] = CV_WHY_REVERSE;
	count_try(session, direction, engine, error);
	if (engine == &cv_engine_sockmap && error != -ENOTSUP)
		session->in_sockmap = true; /* even if refused: the sink may be in already */
	if (engine == &cv_engine_sockmap && error) {
		session->engine_why[direction] = CV_WHY_REFUSED;
		cv_worker_count(session->worker, CV_INTERNAL_REFUSED);
		cv_log(CV_LOG_DEBUG, "session %u.%" PRIu64 ": sockmap refuses: %s",
		       session->worker->index, session->id, strerror(-error));
		error = cv_engine_copy.start(flow);
		count_try(session, direction, &cv_engine_copy, error);
	} else if (!error) {
		session->engine_why[direction] =
			engine == &cv_engine_sockmap ? CV_WHY_BEST : session->engine_why[direction];
	}
	session->flow_active[direction] = error == 0;
	return error;
}

void cv_handover_yielded(struct cv_session *session, enum cv_direction direction)
{
	enum cv_direction other = direction == CV_UPLINK ? CV_DOWNLINK : CV_UPLINK;
	const struct cv_engine *next = cv_handover_first_engine(session, direction);
	bool is_way = session->engine_why[direction] == CV_WHY_PROMOTING;

	cv_session_account(session); /* to the engine that moved it */
	if (session->promoting)
		next = is_way && !is_in(session, other, &cv_engine_splice) ? &cv_engine_sockmap
									   : &cv_engine_copy;
	(void)cv_handover_try(session, direction, next);
	if (session->promoting && next == &cv_engine_sockmap)
		session->promoting = false;
	else if (session->promoting && !is_way && is_in(session, other, &cv_engine_copy))
		cv_flow_yield(&session->flow[other]); /* it waited for this */
}

static void promote(struct cv_session *session, enum cv_direction direction)
{
	bool any_splice = is_in(session, CV_UPLINK, &cv_engine_splice) ||
			  is_in(session, CV_DOWNLINK, &cv_engine_splice);

	session->promoting = true;
	atomic_fetch_add_explicit(&session->worker->counters.promoted, 1, memory_order_relaxed);
	for (int d = CV_UPLINK; d <= CV_DOWNLINK; d++) {
		session->engine_why[d] = d == (int)direction ? CV_WHY_PROMOTING : CV_WHY_REVERSE;
		if (any_splice ? is_in(session, d, &cv_engine_splice) : d == (int)direction)
			cv_flow_yield(&session->flow[d]);
	}
}

/* ---- review ------------------------------------------------------------------------------- */

static uint32_t packet_bytes(int fd)
{
	struct tcp_info info = {0};
	socklen_t len_bytes = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len_bytes) < 0)
		return 0;
	return info.tcpi_rcv_mss;
}

static void gather(struct cv_session *session, int d, struct cv_choice_direction *ret_direction)
{
	struct cv_flow *flow = &session->flow[d];
	uint32_t total = (uint32_t)cv_session_bytes(session, d);
	bool active = session->flow_active[d];

	*ret_direction = (struct cv_choice_direction){
		.bytes = total - session->reviewed_bytes[d],
		.wakes = flow->wake_count,
		.fulls = flow->full_count,
	};
	session->reviewed_bytes[d] = total;
	session->second_bytes[d] = (uint32_t)ret_direction->bytes;
	session->second_wakes[d] = flow->wake_count;
	session->second_fulls[d] = flow->full_count;
	flow->wake_count = flow->full_count = 0;
	if (active && ret_direction->bytes >= CV_CHOICE_BYTES)
		ret_direction->packet_bytes = packet_bytes(flow->source_fd);
}

static bool is_promotable(struct cv_session *session, int d)
{
	return is_in(session, d, &cv_engine_splice) || is_in(session, d, &cv_engine_copy);
}

void cv_handover_review(struct cv_session *session)
{
	struct cv_worker *worker = session->worker;
	struct cv_choice_input input = {
		.mode = worker->mode,
		.age_ms = cv_ring_now_ms(worker->ring) - session->started_ms,
		.busy_flows = worker->busy_flows,
		.both_active = !has_kernel_tls(session) && is_promotable(session, CV_UPLINK) &&
			       is_promotable(session, CV_DOWNLINK),
	};
	enum cv_choice_why why;

	if (session->state != CV_SESSION_RELAY || session->promoting)
		return;
	for (int d = CV_UPLINK; d <= CV_DOWNLINK; d++) {
		gather(session, d, &input.direction[d]);
		worker->busy_flows_next += cv_choice_is_busy(&input.direction[d]) ||
					   (is_in(session, d, &cv_engine_sockmap) &&
					    input.direction[d].bytes >= CV_CHOICE_BYTES);
	}
	if (session->in_sockmap)
		return;
	input.sockmap = cv_handover_sockmap(worker);
	if (cv_choice_promotes(&input, &why))
		promote(session, input.direction[CV_UPLINK].bytes >
						 input.direction[CV_DOWNLINK].bytes
					 ? CV_UPLINK
					 : CV_DOWNLINK);
	else
		session->engine_why[CV_UPLINK] = session->engine_why[CV_DOWNLINK] = (uint8_t)why;
}

void cv_handover_reviewed(struct cv_worker *worker)
{
	worker->busy_flows = worker->busy_flows_next;
	worker->busy_flows_next = 0;
}
