// SPDX-License-Identifier: MIT
/*
 * handover_ktls.c - a direction whose ends are not clear becomes so: the kernel does the records.
 *
 *   due:    enough bytes moved, each end clear or records only, and will never be raw
 *           -> relay.c reads no further than the record that has begun (cv_leg_recv_rest)
 *   take:   keys of the sink, then of the source; the record layer stays for what is no
 *           application data: alerts, tickets, KeyUpdate
 *
 *   kernel --control record--> engine --control()--> record layer --send, rekey--> kernel
 *                                                         \--sealed reply, while sending is ours
 *
 * A kernel that refuses changes nothing: with the protocol but without keys a socket is as before.
 * If only the source's keys are refused, the sink's TLS is the kernel's already, and user space
 * writes plain bytes to it.
 */
#include "session/handover_ktls.h"

#include "base/reason.h"
#include "crypto/crypto.h"
#include "engine/ktls.h"
#include "protocol/record_layer.h"
#include "session/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define KEY_RECORDS_LOOK (UINT64_C(1) << 24) /* the record layer's limit; our count is too high */

struct cv_ktls *cv_ktls_end(const struct cv_leg *leg, bool is_tx)
{
	if (!leg->ktls)
		return NULL;
	return (is_tx ? leg->ktls->tx_on : leg->ktls->rx_on) ? leg->ktls : NULL;
}

/* ---- the record layer's carrier ----------------------------------------------------------- */

static int carrier_send(void *context, uint8_t type, struct cv_span body)
{
	struct cv_ktls *ktls = context;

	return ktls->close_notify_sent ? 0 : cv_ktls_send_control(ktls, type, body);
}

static int carrier_rekey(void *context, const struct cv_tls_keys *keys, bool is_tx)
{
	struct cv_ktls *ktls = context;

	return is_tx && ktls->close_notify_sent ? 0 : cv_ktls_set_keys(ktls, keys, is_tx);
}

static int leg_control(struct cv_ktls *ktls, uint8_t type, struct cv_span body, int error)
{
	struct cv_leg *leg = ktls->owner;
	struct cv_layer *record = leg->stack->layers[0];
	size_t queued = cv_buffer_len(&leg->out);
	int result, pending;
	socklen_t size_bytes = sizeof(pending);

	if (error) /* the socket keeps it as its own error, and would send no alert */
		(void)getsockopt(leg->fd, SOL_SOCKET, SO_ERROR, &pending, &size_bytes);
	result = error ? cv_record_layer_failed(record, error, &leg->out)
		       : cv_record_layer_control(record, type, body, ktls->data_received,
						 &leg->out);
	ktls->data_received = false;
	if (leg->facts & CV_LEG_FIN_WANTED) /* no record may follow our end */
		leg->out.tail = leg->out.head + queued;
	if (cv_buffer_len(&leg->out) > 0)
		cv_leg_flush(leg);
	return result;
}

static int leg_pay(struct cv_ktls *ktls)
{
	struct cv_leg *leg = ktls->owner;

	if (ktls->tx_records_max >= KEY_RECORDS_LOOK)
		ktls->tx_records_max = cv_ktls_sent_records(ktls);
	return cv_record_layer_pay(leg->stack->layers[0], ktls->tx_records_max);
}

/* ---- one direction of a leg --------------------------------------------------------------- */

int cv_leg_to_kernel(struct cv_leg *leg, bool is_tx, bool can_rekey)
{
	struct cv_layer *record = leg->stack->layers[0];
	const struct cv_tls_keys *keys = cv_record_layer_keys(record, is_tx);
	struct cv_ktls *ktls = leg->ktls;
	int error;

	if (!keys)
		return -EOPNOTSUPP;
	if (!ktls)
		ktls = calloc(1, sizeof(*ktls));
	if (!ktls)
		return -ENOMEM;
	ktls->fd = leg->fd;
	ktls->owner = leg;
	ktls->control = leg_control;
	ktls->pay = leg_pay;
	error = cv_ktls_attach(leg->fd);
	leg->has_ulp |= !error;
	if (!error)
		error = cv_ktls_set_keys(ktls, keys, is_tx);
	if (!error) {
		const struct cv_record_carrier carrier = {.send = carrier_send,
							  .rekey = carrier_rekey,
							  .context = ktls,
							  .can_rekey = can_rekey};

		cv_record_layer_to_kernel(record, &carrier, is_tx);
		leg->ktls = ktls;
	} else if (!leg->ktls) {
		free(ktls);
	}
	return error;
}

/* ---- a direction of a session ------------------------------------------------------------- */

static bool may_take(const struct cv_leg *leg, bool is_tx)
{
	if (is_tx ? cv_leg_tx_clear(leg) : cv_leg_rx_clear(leg))
		return true;
	return !leg->ktls_error &&
	       (is_tx ? cv_leg_tx_records(leg) : cv_leg_rx_records(leg)) &&
	       cv_record_layer_keys(leg->stack->layers[0], is_tx);
}

static bool has_moved_enough(const struct cv_session *session)
{
	return session->user_moved_bytes[CV_UPLINK] + session->user_moved_bytes[CV_DOWNLINK] >=
	       session->worker->config->daemon.ktls_after_bytes;
}

bool cv_ktls_is_due(struct cv_session *session, enum cv_direction direction)
{
	const struct cv_leg *source = cv_session_source(session, direction);
	const struct cv_leg *sink = cv_session_sink(session, direction);

	/* Never together with a sockmap: some kernels then send plain text. */
	return session->worker->ktls && session->worker->ktls->usable && !session->in_sockmap &&
	       has_moved_enough(session) &&
	       may_take(source, false) && may_take(sink, true);
}

void cv_ktls_note_truncation(struct cv_session *session, enum cv_direction direction)
{
	cv_worker_count(session->worker, direction == CV_UPLINK ? CV_PEER_NO_CLOSE_NOTIFY
								: CV_UPSTREAM_NO_CLOSE_NOTIFY);
}

const char *cv_ktls_hint(const struct cv_session *session, const struct cv_leg *leg)
{
	const struct cv_ktls_support *support = session->worker->ktls;

	if (!support || !support->usable)
		return support ? support->why : "not tried";
	if (leg->ktls_error)
		return cv_reason_text(leg->ktls_error);
	if (cv_leg_may_penetrate(leg))
		return "the leg may still become raw";
	if (!has_moved_enough(session))
		return "too few bytes so far";
	return "waits for the next bytes, or for the other leg";
}

static int take_end(struct cv_session *session, struct cv_leg *leg, bool is_tx)
{
	int error;

	if (is_tx ? cv_leg_tx_clear(leg) : cv_leg_rx_clear(leg))
		return 0;
	error = cv_leg_to_kernel(leg, is_tx, session->worker->ktls->rekey);
	if (error)
		leg->ktls_error = (int16_t)(error > INT16_MIN ? error : -EIO);
	return error;
}

int cv_ktls_take(struct cv_session *session, enum cv_direction direction)
{
	int error = take_end(session, cv_session_sink(session, direction), true);

	return error ? error : take_end(session, cv_session_source(session, direction), false);
}
