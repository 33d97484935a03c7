// SPDX-License-Identifier: MIT
/*
 * leg.c - sockets, layers and buffers of one side of a session.
 *
 * Decoding goes bottom up, one unit of the lowest active layer at a time, because a layer above may
 * order the direction to go RAW (Vision 5.2): whatever was not decoded by then must stay as it is.
 *
 *   layers            [0] record   [1] vless+vision
 *   rx_penetrated     set by [1] when DIRECT arrived: [0] and [1] are bypassed from then on
 *
 * A leg may have a stream of a carrier in place of the socket (stream.h): then there are no layers,
 * and no operations either.
 *
 * Encoding goes top down; each unit a layer emits is passed to the next lower active layer as one
 * call, so a Vision block stays one TLS record.
 */
#include "session/leg.h"

#include "base/reason.h"
#include "crypto/tls_record.h"
#include "engine/ktls.h"
#include "ring/listen.h"
#include "ring/stream_end.h"
#include "session/session.h"
#include "session/stream.h"
#include "session/worker.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

void cv_leg_init(struct cv_leg *leg, struct cv_session *session)
{
	leg->session = session;
	leg->fd = -1;
	leg->received_bytes = 0;
	cv_buffer_init(&leg->in, CV_LEG_IN_LIMIT);
	cv_buffer_init(&leg->out, CV_LEG_OUT_LIMIT);
	cv_buffer_init(&leg->sending, CV_LEG_OUT_LIMIT);
}

/* A stream of a carrier may be reset without its socket. */
static bool peer_left(const struct cv_leg *leg)
{
	return (leg->facts & (CV_LEG_RESET | CV_LEG_FIN_RECEIVED | CV_LEG_APP_ENDED)) ||
	       (leg->session && leg->session->reason == CV_UPSTREAM_RESET);
}

static void stack_free(struct cv_leg *leg)
{
	if (!leg->stack)
		return;
	for (size_t i = 0; i < CV_LEG_LAYERS; i++) {
		struct cv_layer *layer = leg->stack->layers[i];

		cv_buffer_done(&leg->stack->pending[i]);
		if (!layer)
			continue;
		layer->peer_left = peer_left(leg);
		layer->ops->free(layer);
	}
	free(leg->stack);
	leg->stack = NULL;
}

void cv_leg_done(struct cv_leg *leg, bool abort)
{
	if (leg->stream)
		cv_stream_detach(leg, abort || leg->session->reason);
	stack_free(leg);
	cv_buffer_done(&leg->in);
	cv_buffer_done(&leg->out);
	cv_buffer_done(&leg->sending);
	if (leg->fd >= 0) {
		if (abort)
			cv_socket_abort(leg->fd);
		else
			(void)close(leg->fd);
	}
	leg->fd = -1;
	free(leg->ktls);
	leg->ktls = NULL;
}

int cv_leg_push_layer(struct cv_leg *leg, struct cv_layer *layer)
{
	if (!layer)
		return CV_INTERNAL_MEMORY;
	if (!leg->stack) {
		leg->stack = calloc(1, sizeof(*leg->stack));
		for (size_t i = 0; leg->stack && i < CV_LEG_LAYERS; i++)
			cv_buffer_init(&leg->stack->pending[i], CV_LEG_IN_LIMIT);
	}
	if (!leg->stack || leg->stack->count == CV_LEG_LAYERS) {
		layer->ops->free(layer);
		return leg->stack ? CV_INTERNAL_STATE : CV_INTERNAL_MEMORY;
	}
	leg->stack->layers[leg->stack->count++] = layer;
	return 0;
}

/* The lowest layer from @index up that a received byte still has to pass; count if none. */
static size_t rx_active(const struct cv_stack *stack, size_t index)
{
	for (size_t i = index; i < stack->count; i++)
		if (stack->layers[i]->rx_penetrated)
			index = i + 1;
	while (index < stack->count && stack->layers[index]->rx == CV_CLEAR)
		index++;
	return index;
}

/* The highest layer from @count down that a byte to be sent still has to pass, plus one; 0 if none.
 */
static size_t tx_active(const struct cv_stack *stack, size_t count)
{
	size_t bottom = 0;

	for (size_t i = 0; i < stack->count; i++)
		if (stack->layers[i]->tx_penetrated)
			bottom = i + 1;
	while (count > bottom && stack->layers[count - 1]->tx == CV_CLEAR)
		count--;
	return count > bottom ? count : 0;
}

bool cv_leg_rx_clear(const struct cv_leg *leg)
{
	return !leg->stream &&
	       (!leg->stack || rx_active(leg->stack, 0) == leg->stack->count);
}

bool cv_leg_tx_clear(const struct cv_leg *leg)
{
	return !leg->stream && (!leg->stack || tx_active(leg->stack, leg->stack->count) == 0);
}

bool cv_leg_may_penetrate(const struct cv_leg *leg)
{
	for (size_t i = 0; leg->stack && i < leg->stack->count; i++)
		if (leg->stack->layers[i]->may_penetrate)
			return true;
	return false;
}

bool cv_leg_rx_protected(const struct cv_leg *leg)
{
	return leg->stack && leg->stack->layers[0]->rx == CV_RECORDS &&
	       rx_active(leg->stack, 0) == 0;
}

bool cv_leg_rx_records(const struct cv_leg *leg)
{
	const struct cv_stack *stack = leg->stack;

	return stack && stack->layers[0]->rx == CV_RECORDS && !cv_leg_may_penetrate(leg) &&
	       rx_active(stack, 0) == 0 && rx_active(stack, 1) == stack->count;
}

bool cv_leg_tx_records(const struct cv_leg *leg)
{
	const struct cv_stack *stack = leg->stack;

	return stack && stack->layers[0]->tx == CV_RECORDS && !cv_leg_may_penetrate(leg) &&
	       tx_active(stack, stack->count) == 1;
}

static size_t held_bytes(const struct cv_leg *leg)
{
	size_t total = 0;

	for (size_t i = 0; leg->stack && i < leg->stack->count; i++)
		total += leg->stack->layers[i]->held_bytes;
	return total;
}

size_t cv_leg_queued(const struct cv_leg *leg)
{
	return cv_buffer_len(&leg->out) + cv_buffer_len(&leg->sending) + held_bytes(leg);
}

enum cv_ending cv_leg_ending(const struct cv_leg *leg)
{
	uint8_t ending = CV_ENDS_BY_FIN;

	for (size_t i = 0; leg->stack && i < leg->stack->count; i++)
		if (leg->stack->layers[i]->ending > ending)
			ending = leg->stack->layers[i]->ending;
	return (enum cv_ending)ending;
}

bool cv_leg_has_rest(const struct cv_leg *leg)
{
	bool is_above = false;

	for (size_t i = 0; leg->stack && i < leg->stack->count; i++) {
		if (is_above && cv_buffer_len(&leg->stack->pending[i]) > 0)
			return true;
		is_above |= leg->stack->layers[i]->ending == CV_ENDS_INSIDE;
	}
	return false;
}

bool cv_leg_is_opening(const struct cv_leg *leg)
{
	for (size_t i = 0; leg->stack && i < leg->stack->count; i++)
		if (leg->stack->layers[i]->is_opening)
			return true;
	return false;
}

bool cv_leg_is_over(const struct cv_leg *leg)
{
	for (size_t i = 0; leg->stack && i < leg->stack->count; i++)
		if (leg->stack->layers[i]->is_over)
			return true;
	return false;
}

bool cv_leg_has_room(const struct cv_leg *leg)
{
	return cv_leg_queued(leg) < (leg->stream ? CV_STREAM_OUT_HIGH : CV_LEG_OUT_HIGH);
}

size_t cv_leg_undecoded(const struct cv_leg *leg)
{
	size_t total = cv_buffer_len(&leg->in);

	for (size_t i = 0; leg->stack && i < leg->stack->count; i++)
		total += cv_buffer_len(&leg->stack->pending[i]);
	return total;
}

bool cv_leg_busy(const struct cv_leg *leg)
{
	return leg->recv_op.pending || leg->send_op.pending;
}

/* ---- down the layers ---------------------------------------------------------------------- */

struct emit_context {
	struct cv_leg *leg;
	size_t below; /* layers [0, below) are still to be passed */
};

static int emit_down(void *opaque, struct cv_span bytes);

static int encode_layer(struct cv_layer *layer, struct cv_span bytes, struct emit_context *next)
{
	int result;

	layer->below = next->below == 0 ? &next->leg->out : NULL;
	result = layer->ops->encode(layer, bytes, emit_down, next);
	layer->below = NULL;
	return result;
}

static int emit_down(void *opaque, struct cv_span bytes)
{
	struct emit_context *context = opaque;
	struct cv_stack *stack = context->leg->stack;
	size_t active = stack ? tx_active(stack, context->below) : 0;
	struct emit_context next = {.leg = context->leg, .below = active ? active - 1 : 0};

	if (bytes.len_bytes == 0)
		return 0;
	if (active == 0)
		return cv_buffer_append(&context->leg->out, bytes.data, bytes.len_bytes);
	return encode_layer(stack->layers[active - 1], bytes, &next);
}

/* ---- decode ------------------------------------------------------------------------------- */

static int decode_from(struct cv_leg *leg, size_t index, struct cv_span *in, struct cv_buffer *app);

/* Layer @index takes what the layer below left for it; what it cannot use yet stays pending. */
static int decode_pending(struct cv_leg *leg, size_t index, struct cv_buffer *app)
{
	struct cv_buffer *pending = &leg->stack->pending[index];
	struct cv_span span = cv_buffer_span(pending);
	size_t before = span.len_bytes;
	int result = 0;

	while (span.len_bytes > 0 && result == 0)
		result = decode_from(leg, index, &span, app);
	cv_buffer_consume(pending, before - span.len_bytes);
	cv_buffer_release_if_empty(pending);
	return result == -EAGAIN ? 0 : result;
}

/* At most one batch (Vision 4.2 pads one read's worth at a time). */
static int take_batch(struct cv_span *in, struct cv_buffer *app)
{
	size_t count_bytes = in->len_bytes < CV_LEG_BATCH ? in->len_bytes : CV_LEG_BATCH;
	int result = cv_buffer_append(app, in->data, count_bytes);

	if (result == 0)
		cv_span_skip(in, count_bytes);
	return result;
}

/* What the layer answers goes down the layers below it; the lowest says it as it is. */
static int decode_layer(struct cv_leg *leg, size_t index, struct cv_span *in,
			struct cv_buffer *out)
{
	struct cv_layer *layer = leg->stack->layers[index];
	struct emit_context below = {.leg = leg, .below = index};
	struct cv_buffer reply;
	int result, error = 0;

	if (index == 0)
		return layer->ops->decode(layer, in, out, &leg->out);
	cv_buffer_init(&reply, CV_LEG_OUT_LIMIT);
	result = layer->ops->decode(layer, in, out, &reply);
	if (cv_buffer_len(&reply) > 0 && !leg->stack->is_mute)
		error = emit_down(&below, cv_buffer_span(&reply));
	cv_buffer_done(&reply);
	return error && result >= 0 ? error : result;
}

static int decode_from(struct cv_leg *leg, size_t index, struct cv_span *in, struct cv_buffer *app)
{
	struct cv_stack *stack = leg->stack;
	size_t upper;
	int result, upper_result;

	index = rx_active(stack, index);
	if (index == stack->count)
		return take_batch(in, app);
	upper = rx_active(stack, index + 1);
	result = decode_layer(leg, index, in,
			      upper < stack->count ? &stack->pending[upper] : app);
	if (upper == stack->count || (result < 0 && result != -EAGAIN))
		return result;
	upper_result = decode_pending(leg, upper, app);
	return upper_result ? upper_result : result;
}

/* Layers above the lowest may have input of their own (bytes behind a request header). */
static int decode_leftovers(struct cv_leg *leg, struct cv_buffer *app)
{
	size_t had_bytes = cv_buffer_len(app);

	for (size_t i = 0; leg->stack && i < leg->stack->count; i++) {
		int result = 0;

		if (cv_buffer_len(&leg->stack->pending[i]) > 0)
			result = decode_pending(leg, i, app);
		if (result || cv_buffer_len(app) > had_bytes)
			return result;
	}
	return 0;
}

/* Bytes that were given back to the lowest layer, of which it could not use all, come before those
 * of the socket. */
static int merge_lowest(struct cv_leg *leg)
{
	struct cv_buffer *given_back = leg->stack ? &leg->stack->pending[0] : NULL;
	int error;

	if (!given_back || cv_buffer_len(given_back) == 0 || cv_buffer_len(&leg->in) == 0)
		return 0;
	error = cv_buffer_append(given_back, cv_buffer_bytes(&leg->in), cv_buffer_len(&leg->in));
	cv_buffer_consume(&leg->in, cv_buffer_len(&leg->in));
	return error ? error : -EAGAIN;
}

static int decode_socket(struct cv_leg *leg, struct cv_buffer *app)
{
	struct cv_span in = cv_buffer_span(&leg->in);
	const size_t before = in.len_bytes;
	int result;

	if (before == 0)
		return -EAGAIN;
	result = leg->stack ? decode_from(leg, 0, &in, app) : take_batch(&in, app);
	cv_buffer_consume(&leg->in, before - in.len_bytes);
	cv_buffer_release_if_empty(&leg->in);
	return result;
}

int cv_leg_decode(struct cv_leg *leg, struct cv_buffer *ret_app)
{
	/* Once the sending direction is raw or over, no record may follow (Vision 5.1). */
	const bool is_mute = cv_leg_tx_clear(leg) || (leg->facts & CV_LEG_FIN_WANTED);
	const size_t queued = cv_buffer_len(&leg->out), had_bytes = cv_buffer_len(ret_app);
	int result;

	if (leg->stack)
		leg->stack->is_mute = is_mute;
	result = decode_leftovers(leg, ret_app);
	if (!result && cv_buffer_len(ret_app) == had_bytes) {
		result = merge_lowest(leg);
		if (result == -EAGAIN)
			result = decode_leftovers(leg, ret_app);
	}
	if (!result && cv_buffer_len(ret_app) == had_bytes)
		result = decode_socket(leg, ret_app);
	if (is_mute)
		leg->out.tail = leg->out.head + queued;
	if (result == CV_LAYER_EOF && cv_leg_ending(leg) == CV_ENDS_INSIDE)
		leg->facts |= CV_LEG_APP_ENDED; /* it is said once, whoever was listening */
	return result;
}

int cv_leg_unread(struct cv_leg *leg, struct cv_span app)
{
	struct cv_buffer *place =
		leg->stack ? &leg->stack->pending[leg->stack->count - 1] : &leg->in;

	return cv_buffer_append(place, app.data, app.len_bytes);
}

/* Layers [0, that) lie below one in which the peer has said its end. */
static size_t below_the_end(const struct cv_stack *stack)
{
	size_t count = stack ? stack->count : 0;

	while (count > 0 && !stack->layers[count - 1]->rx_ended)
		count--;
	return count;
}

int cv_leg_decode_eof(struct cv_leg *leg, int truncated_reason)
{
	const size_t over = below_the_end(leg->stack);
	int result = 0;

	if (leg->stack && over == leg->stack->count)
		return 0;
	/* what follows an end that was said inside is for the other direction */
	if (cv_leg_undecoded(leg) > 0 && cv_leg_ending(leg) != CV_ENDS_INSIDE)
		return truncated_reason;
	for (size_t i = leg->stack ? rx_active(leg->stack, over) : 0;
	     leg->stack && i < leg->stack->count; i = rx_active(leg->stack, i + 1)) {
		if (leg->stack->layers[i]->ops->decode_eof)
			result = leg->stack->layers[i]->ops->decode_eof(leg->stack->layers[i]);
		if (result)
			return result;
	}
	return 0;
}

/* ---- encode ------------------------------------------------------------------------------- */

/* Memory for a whole batch at once, instead of growing into it record by record. */
static void make_room(struct cv_leg *leg)
{
	uint8_t *space;

	(void)cv_buffer_reserve(&leg->out, CV_LEG_OUT_HIGH + CV_TLS_RECORD_MAX, &space);
}

int cv_leg_encode(struct cv_leg *leg, struct cv_span app)
{
	struct emit_context context = {.leg = leg, .below = leg->stack ? leg->stack->count : 0};

	if (app.len_bytes >= CV_LEG_BULK / 2 && leg->out.size_bytes < CV_BUFFER_BLOCK)
		make_room(leg);
	return emit_down(&context, app);
}

/* Layers below one in which the end was said go on for the other direction, until the last time. */
int cv_leg_encode_eof(struct cv_leg *leg)
{
	size_t active = leg->stack ? tx_active(leg->stack, leg->stack->count) : 0;
	bool goes_on = true;
	int result = 0;

	while (active > 0 && result == 0 && goes_on) {
		struct cv_layer *layer = leg->stack->layers[active - 1];
		struct emit_context below = {.leg = leg, .below = active - 1};

		if (layer->ops->encode_eof)
			result = layer->ops->encode_eof(layer, emit_down, &below);
		goes_on = layer->ending != CV_ENDS_INSIDE || (leg->facts & CV_LEG_END_SAID);
		active = tx_active(leg->stack, active - 1);
	}
	return result;
}

int cv_leg_start(struct cv_leg *leg)
{
	struct emit_context below = {.leg = leg};
	struct cv_layer *top;

	if (!leg->stack || leg->stack->count == 0)
		return 0;
	below.below = leg->stack->count - 1u;
	top = leg->stack->layers[below.below];
	return top->ops->start ? top->ops->start(top, emit_down, &below) : 0;
}

int cv_leg_flush_header(struct cv_leg *leg,
			int (*flush)(struct cv_layer *, cv_layer_emit, void *))
{
	struct emit_context below = {.leg = leg};

	if (leg->stream)
		cv_stream_announce(leg);
	if (!leg->stack || leg->stack->count == 0)
		return 0;
	below.below = leg->stack->count - 1u;
	return flush(leg->stack->layers[below.below], emit_down, &below);
}

static int flush_layer(struct cv_layer *layer, cv_layer_emit emit, void *context)
{
	return layer->ops->flush ? layer->ops->flush(layer, emit, context) : 0;
}

int cv_leg_flush_held(struct cv_leg *leg)
{
	return cv_leg_flush_header(leg, flush_layer);
}

void cv_leg_settle(struct cv_leg *leg)
{
	struct cv_stack *stack = leg->stack;
	bool rx_clear = cv_leg_rx_clear(leg), tx_clear = cv_leg_tx_clear(leg);

	if (!stack || leg->ktls) /* the record layer still has the secrets */
		return;
	for (size_t i = 0; i < stack->count; i++) {
		if (rx_clear && !stack->rx_released && stack->layers[i]->ops->release_rx)
			stack->layers[i]->ops->release_rx(stack->layers[i]);
		if (tx_clear && !stack->tx_released && stack->layers[i]->ops->release_tx)
			stack->layers[i]->ops->release_tx(stack->layers[i]);
	}
	stack->rx_released |= rx_clear;
	stack->tx_released |= tx_clear;
	for (size_t i = 0; i < stack->count; i++)
		if (cv_buffer_len(&stack->pending[i]) > 0)
			return;
	if (rx_clear && tx_clear)
		stack_free(leg);
}

/* ---- socket ------------------------------------------------------------------------------- */

static void recv_done(struct cv_op *op, int result, uint32_t flags)
{
	struct cv_leg *leg = cv_container_of(op, struct cv_leg, recv_op);
	struct cv_ring *ring = leg->session->worker->ring;

	if (result > 0) {
		int error = cv_buffer_append(&leg->in, cv_ring_buffer(ring, flags), (size_t)result);

		if ((size_t)result == cv_ring_buffer_bytes(ring))
			leg->facts |= CV_LEG_IN_BULK;

		leg->received_bytes += (uint32_t)result;
		cv_ring_buffer_give(ring, flags);
		leg->session->last_activity_ms = cv_ring_now_ms(ring);
		cv_session_event(leg->session, leg, error);
		return;
	}
	if (result == -ECANCELED) {
		result = 0;
	} else if (cv_leg_is_over(leg)) {
		leg->facts |= CV_LEG_FIN_RECEIVED;
		result = 0;
	} else if (result == 0) {
		/* observable: RST must stay RST, and FIN with a late RST behind it FIN */
		leg->facts |= cv_stream_was_reset(leg->fd, leg->received_bytes)
				      ? CV_LEG_RESET
				      : CV_LEG_FIN_RECEIVED;
		leg->session->last_activity_ms = cv_ring_now_ms(ring);
	} else {
		leg->facts |= CV_LEG_RESET;
	}
	cv_session_event(leg->session, leg, result);
}

/* An upstream that has seen enough answers, closes and resets what still comes: the answer is in
 * our socket and belongs to the client. What a resetting client said last is nobody's loss. */
void cv_leg_send_failed(struct cv_leg *leg, int error)
{
	bool is_readable = (error == -EPIPE || error == -ECONNRESET) &&
			   leg == &leg->session->upstream &&
			   !(leg->facts & (CV_LEG_FIN_RECEIVED | CV_LEG_APP_ENDED));

	if (cv_leg_is_over(leg)) { /* all that counts was said: as if it had been sent */
		cv_buffer_consume(&leg->sending, cv_buffer_len(&leg->sending));
		cv_buffer_consume(&leg->out, cv_buffer_len(&leg->out));
		leg->facts |= CV_LEG_FIN_WANTED | CV_LEG_FIN_SENT;
		return;
	}
	leg->facts |= is_readable ? CV_LEG_SEND_FAILED : CV_LEG_RESET;
}

static void send_done(struct cv_op *op, int result, uint32_t flags)
{
	struct cv_leg *leg = cv_container_of(op, struct cv_leg, send_op);

	(void)flags;
	if (result > 0) {
		cv_buffer_consume(&leg->sending, (size_t)result);
		leg->session->last_activity_ms =
			cv_ring_now_ms(leg->session->worker->ring);
		cv_session_event(leg->session, leg, 0);
		return;
	}
	if (result != -ECANCELED && result != -EINTR && result != -EAGAIN)
		cv_leg_send_failed(leg, result ? result : -EPIPE);
	cv_session_event(leg->session, leg, 0); /* an interrupted one is sent again */
}


/* What the record that has begun still lacks, its header first. */
static size_t rest_bytes(const struct cv_leg *leg)
{
	struct cv_span in = cv_buffer_span(&leg->in);
	size_t record_bytes;

	return cv_tls_record_peek(in, &record_bytes) == -EAGAIN ? record_bytes - in.len_bytes : 0;
}

/* The socket became readable, or will never be: receive no more than @wanted_bytes. */
static void receive(struct cv_op *op, int result, uint32_t flags, size_t wanted_bytes)
{
	struct cv_leg *leg = cv_container_of(op, struct cv_leg, recv_op);
	uint8_t *space;
	ssize_t count;
	int error;

	if (result < 0) {
		recv_done(op, result, flags);
		return;
	}
	error = cv_buffer_reserve(&leg->in, wanted_bytes, &space);
	if (error) {
		cv_session_event(leg->session, leg, error);
		return;
	}
	if (wanted_bytes == 0) { /* nothing asked for would look like the end */
		cv_session_event(leg->session, leg, 0);
		return;
	}
	count = recv(leg->fd, space, wanted_bytes, MSG_DONTWAIT);
	if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) {
		recv_done(op, count < 0 ? -errno : 0, flags);
		return;
	}
	if (count < CV_LEG_BULK)
		leg->facts &= (uint8_t)~CV_LEG_IN_BULK;
	if (count > 0) {
		cv_buffer_commit(&leg->in, (size_t)count);
		leg->received_bytes += (uint32_t)count;
		leg->session->last_activity_ms = cv_ring_now_ms(leg->session->worker->ring);
	}
	cv_session_event(leg->session, leg, 0);
}

static void rest_ready(struct cv_op *op, int result, uint32_t flags)
{
	receive(op, result, flags, rest_bytes(cv_container_of(op, struct cv_leg, recv_op)));
}

static void bulk_ready(struct cv_op *op, int result, uint32_t flags)
{
	struct cv_leg *leg = cv_container_of(op, struct cv_leg, recv_op);
	size_t len_bytes = cv_buffer_len(&leg->in);

	receive(op, result, flags,
		len_bytes < CV_BUFFER_BLOCK / 2 ? CV_BUFFER_BLOCK - len_bytes
						: cv_buffer_room(&leg->in));
}

/*
 * Many sockets' recvs complete together, each with bytes that leave the cache before their turn
 * comes. Where much comes at a time the ring only tells that it came: it is received, transformed
 * and sent in one go, through memory that the socket before has just used.
 */
void cv_leg_recv(struct cv_leg *leg)
{
	struct cv_ring *ring = leg->session->worker->ring;

	if (leg->stream)
		cv_stream_recv(leg);
	if (leg->fd < 0 || leg->recv_op.pending ||
	    (leg->facts & (CV_LEG_FIN_RECEIVED | CV_LEG_RESET)) ||
	    cv_buffer_room(&leg->in) < cv_ring_buffer_bytes(ring))
		return;
	if ((leg->facts & CV_LEG_IN_BULK) && leg->session->state == CV_SESSION_RELAY) {
		leg->recv_op.done = bulk_ready;
		cv_ring_poll(ring, &leg->recv_op, leg->fd, POLLIN | POLLRDHUP);
		return;
	}
	leg->recv_op.done = recv_done;
	cv_ring_recv(ring, &leg->recv_op, leg->fd);
}

static void stirred(struct cv_op *op, int result, uint32_t flags)
{
	struct cv_leg *leg = cv_container_of(op, struct cv_leg, recv_op);

	if (result < 0)
		recv_done(op, result, flags);
	else
		cv_session_event(leg->session, leg, 0);
}

void cv_leg_watch(struct cv_leg *leg)
{
	if (leg->recv_op.pending)
		return;
	leg->recv_op.done = stirred;
	cv_ring_poll(leg->session->worker->ring, &leg->recv_op, leg->fd, POLLIN | POLLRDHUP);
}

bool cv_leg_stop_watching(struct cv_leg *leg)
{
	if (!leg->recv_op.pending || leg->recv_op.done != stirred)
		return false;
	cv_ring_cancel(leg->session->worker->ring, &leg->recv_op);
	return true;
}

void cv_leg_recv_rest(struct cv_leg *leg)
{
	if (leg->fd < 0 || leg->recv_op.pending || rest_bytes(leg) == 0 ||
	    (leg->facts & (CV_LEG_FIN_RECEIVED | CV_LEG_RESET)))
		return;
	leg->recv_op.done = rest_ready;
	cv_ring_poll(leg->session->worker->ring, &leg->recv_op, leg->fd, POLLIN | POLLRDHUP);
}

void cv_leg_say_goodbye(struct cv_leg *leg)
{
	if (leg->fd < 0 || cv_leg_queued(leg) > 0 ||
	    (leg->facts & (CV_LEG_FIN_WANTED | CV_LEG_RESET | CV_LEG_SEND_FAILED)) ||
	    cv_leg_encode_eof(leg) != 0)
		return;
	leg->facts |= CV_LEG_FIN_WANTED;
	(void)send(leg->fd, cv_buffer_bytes(&leg->out), cv_buffer_len(&leg->out),
		   MSG_DONTWAIT | MSG_NOSIGNAL);
	cv_buffer_consume(&leg->out, cv_buffer_len(&leg->out));
}

void cv_leg_flush_bulk(struct cv_leg *leg)
{
	ssize_t count;

	if (leg->fd < 0 || leg->send_op.pending || cv_buffer_len(&leg->sending) > 0 ||
	    cv_buffer_len(&leg->out) < CV_LEG_BULK ||
	    (leg->facts & (CV_LEG_RESET | CV_LEG_SEND_FAILED)))
		return;
	count = send(leg->fd, cv_buffer_bytes(&leg->out), cv_buffer_len(&leg->out),
		     MSG_DONTWAIT | MSG_NOSIGNAL);
	if (count <= 0) /* a send that waits finds out why */
		return;
	cv_buffer_consume(&leg->out, (size_t)count);
	leg->session->last_activity_ms = cv_ring_now_ms(leg->session->worker->ring);
}

void cv_leg_flush(struct cv_leg *leg)
{
	if (leg->stream)
		cv_stream_flush(leg);
	if (leg->fd < 0 || leg->send_op.pending ||
	    (leg->facts & (CV_LEG_RESET | CV_LEG_SEND_FAILED)))
		return;
	if (cv_buffer_len(&leg->sending) == 0) {
		struct cv_buffer empty = leg->sending;

		leg->sending = leg->out;
		leg->out = empty;
	}
	if (cv_buffer_len(&leg->sending) > 0) {
		leg->send_op.done = send_done;
		cv_ring_send(leg->session->worker->ring, &leg->send_op, leg->fd,
			     cv_buffer_bytes(&leg->sending), cv_buffer_len(&leg->sending));
		return;
	}
	cv_buffer_release_if_empty(&leg->sending);
	cv_buffer_release_if_empty(&leg->out);
	if (held_bytes(leg) > 0) /* a layer will emit them when its peer allows it */
		return;
	if ((leg->facts & CV_LEG_FIN_WANTED) && !(leg->facts & CV_LEG_FIN_SENT)) {
		if (leg->ktls && leg->ktls->tx_on)
			(void)cv_ktls_close_notify(leg->ktls);
		(void)shutdown(leg->fd, SHUT_WR);
		leg->facts |= CV_LEG_FIN_SENT;
	}
}
