// SPDX-License-Identifier: MIT
/*
 * reverse_bridge.c - tunnels that we open, because nobody can connect to us.
 *
 *   monitor, every 2 s, and soon after a tunnel was lost:
 *        no tunnel that is active, or more than 16 streams on each -> open one
 *        nothing is heard for 10 s, later for 60 s                 -> close it
 *   open      session without client -> ROUTE (tag, domain) -> dialled -> carrier, we serve
 *   opened    by the portal: the control stream -> heard; DRAIN: it does not count any more
 *                            any other          -> a session with the bridge's tag, routed
 *
 * Each worker has its own monitor and its own tunnels, and the sessions out of these; what they
 * know of each other are sums (struct cv_bridge_sums). The first one opens the first tunnel, then
 * each in turn. Whoever loses one does not wait for the first worker to see that there is none.
 *
 * After a reload tunnels stay until one by the new configuration is open; then their control ends,
 * which tells a portal of ours to use them no more.
 */
#include "session/reverse_state.h"

#include "base/log.h"
#include "base/reason.h"
#include "crypto/crypto.h"
#include "session/handshake.h"
#include "session/steps.h"
#include "wire/reverse_control.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define STOP_TICK_MS 200
#define LEAVE_MS 1000

struct bridge {
	struct cv_list all; /* of the worker */
	struct cv_reverse *reverse;
	struct cv_config *config;   /* NULL: none has it any more */
	struct cv_bridge *settings; /* of config */
	struct cv_list tunnels;
	struct cv_timer timer;
	uint32_t failures; /* in a row */
	uint32_t active, open, streams; /* of ours, in the sums */
	bool has_lost; /* a tunnel that was open: it is for us to open another one */
};

struct bridge_tunnel {
	struct cv_list all;    /* of its bridge */
	struct bridge *bridge;
	struct cv_carrier *carrier;
	struct cv_stream *control; /* NULL: not yet, or not any more */
	uint64_t heard_ms;
	uint64_t left_ms; /* when our End of the control was said */
	bool is_open;	  /* the portal was heard */
	bool is_drained;  /* by the portal, or by a new configuration */
};

static uint64_t now_ms(const struct bridge *bridge)
{
	return cv_ring_now_ms(bridge->reverse->worker->ring);
}

static void arm(struct bridge *bridge, uint64_t delay_ms)
{
	cv_timer_arm(bridge->reverse->worker->ring, &bridge->timer, now_ms(bridge) + delay_ms);
}

struct cv_reverse *cv_reverse_of(struct cv_worker *worker)
{
	struct cv_reverse *reverse = worker->reverse;

	if (reverse)
		return reverse;
	reverse = calloc(1, sizeof(*reverse));
	if (!reverse)
		return NULL;
	reverse->worker = worker;
	cv_list_init(&reverse->bridges);
	cv_list_init(&reverse->tunnels);
	cv_list_init(&reverse->links);
	worker->reverse = reverse;
	return reverse;
}

/* ---- control ------------------------------------------------------------------------------ */

/* It does not count any more: another one is needed. */
static void drain(struct bridge_tunnel *tunnel)
{
	if (tunnel->is_drained)
		return;
	tunnel->is_drained = true;
	tunnel->bridge->has_lost = true;
	arm(tunnel->bridge, 0);
}

static void heard(void *owner, const struct cv_destination *address, uint8_t *bytes,
		  size_t len_bytes)
{
	struct bridge_tunnel *tunnel = owner;
	enum cv_reverse_state state;

	(void)address;
	if (cv_reverse_control_read(cv_span_of(bytes, len_bytes), &state) != 0) {
		cv_worker_count(cv_carrier_session(tunnel->carrier)->worker, CV_PEER_DECODE);
		return; /* the next one may make sense; silence ends the tunnel */
	}
	tunnel->heard_ms = cv_ring_now_ms(cv_carrier_session(tunnel->carrier)->worker->ring);
	if (!tunnel->is_open && tunnel->bridge->settings) {
		tunnel->bridge->failures = 0;
		cv_log(CV_LOG_INFO, "bridge %s: tunnel %u.%" PRIu64 " is open",
		       tunnel->bridge->settings->inbound.tag,
		       cv_carrier_session(tunnel->carrier)->worker->index,
		       cv_carrier_session(tunnel->carrier)->id);
	}
	tunnel->is_open = true;
	if (state == CV_REVERSE_DRAIN)
		drain(tunnel);
}

/* The portal ends it when the tunnel drains. */
static void control_ended(void *owner, int reason)
{
	struct bridge_tunnel *tunnel = owner;

	(void)reason;
	tunnel->control = cv_stream_close(tunnel->control);
	drain(tunnel);
}

static int open_control(struct bridge_tunnel *tunnel, const struct cv_mux_frame *frame)
{
	const struct cv_stream_owner owner = {
		.received = heard, .ended = control_ended, .owner = tunnel, .is_patient = true};

	if (tunnel->control || frame->network != CV_MUX_UDP)
		return CV_PEER_UNEXPECTED_MESSAGE;
	tunnel->control = cv_stream_new(tunnel->carrier, frame->session);
	if (!tunnel->control)
		return CV_INTERNAL_MEMORY;
	cv_stream_own(tunnel->control, &owner);
	return 0;
}

/* Its session has it: the bridge may be another one's by now. */
static bool is_own_domain(const struct cv_carrier *carrier,
			  const struct cv_destination *destination)
{
	const struct cv_bridge *settings = cv_container_of(cv_carrier_session(carrier)->inbound,
							   struct cv_bridge, inbound);

	return destination->kind == CV_ADDRESS_DOMAIN &&
	       strcasecmp(destination->domain, settings->domain) == 0;
}

static int opened(struct cv_carrier *carrier, const struct cv_mux_frame *frame)
{
	struct bridge_tunnel *tunnel = cv_carrier_settings(carrier)->context;

	if (cv_reverse_is_control(&frame->address))
		return open_control(tunnel, frame);
	if (is_own_domain(carrier, &frame->address))
		return CV_PEER_ADDRESS; /* tunnels do not carry tunnels */
	return cv_mux_opened(carrier, frame);
}

/* ---- tunnels ------------------------------------------------------------------------------ */

static void say_lost(const struct bridge_tunnel *tunnel)
{
	const struct cv_session *session = cv_carrier_session(tunnel->carrier);

	if (tunnel->is_open && tunnel->bridge->settings)
		cv_log(CV_LOG_INFO, "bridge %s: tunnel %u.%" PRIu64 " has ended: %s",
		       tunnel->bridge->settings->inbound.tag, session->worker->index, session->id,
		       cv_reason_text(session->reason));
}

/* The carrier is about to be freed, open or not. */
static void gone(struct cv_carrier *carrier)
{
	struct bridge_tunnel *tunnel = cv_carrier_settings(carrier)->context;
	struct bridge *bridge = tunnel->bridge;

	say_lost(tunnel);
	cv_list_remove(&tunnel->all);
	if (bridge->config && !tunnel->is_drained) {
		const uint32_t jitter = cv_random_below(UINT16_MAX);

		bridge->has_lost |= tunnel->is_open;
		bridge->failures += !tunnel->is_open;
		arm(bridge, cv_reverse_retry_ms(bridge->failures ? bridge->failures : 1, jitter));
	}
	cv_stream_close(tunnel->control);
	free(tunnel);
}

static struct bridge_tunnel *new_tunnel(struct bridge *bridge, struct cv_session *session)
{
	struct bridge_tunnel *tunnel = calloc(1, sizeof(*tunnel));
	const struct cv_carrier_config config = {
		.role = CV_CARRIER_SERVER,
		.kind = CV_MUX_FORWARD,
		.max_streams = UINT16_MAX,
		.opened = opened,
		.begin = cv_mux_begin,
		.gone = gone,
		.context = tunnel,
	};

	if (!tunnel)
		return NULL;
	tunnel->bridge = bridge;
	tunnel->heard_ms = now_ms(bridge);
	cv_list_add(&bridge->tunnels, &tunnel->all);
	tunnel->carrier = cv_carrier_new(session, &config);
	if (tunnel->carrier)
		return tunnel;
	cv_list_remove(&tunnel->all);
	free(tunnel);
	return NULL;
}

/* It may be lost before this returns. */
static void open_tunnel(struct bridge *bridge)
{
	struct cv_session *session = cv_session_without_client(bridge->reverse->worker,
							       &bridge->settings->inbound);
	struct bridge_tunnel *tunnel;
	struct cv_destination *destination;

	if (!session)
		return;
	cv_session_begin_with(session, bridge->config);
	tunnel = new_tunnel(bridge, session);
	if (!tunnel) {
		cv_session_close(session, CV_INTERNAL_MEMORY);
		cv_session_event(session, NULL, 0);
		return;
	}
	session->handshake->carrier = tunnel->carrier;
	destination = &session->handshake->destination;
	*destination = (struct cv_destination){.kind = CV_ADDRESS_DOMAIN}; /* port 0 */
	strcpy(destination->domain, bridge->settings->domain);
	session->depth++;
	cv_step_route(session);
	session->depth--;
	cv_session_event(session, NULL, 0);
}

static void close_tunnel(struct bridge_tunnel *tunnel, int reason)
{
	struct cv_session *session = cv_carrier_session(tunnel->carrier);

	cv_session_finish(session, reason);
	cv_session_event(session, NULL, 0);
}

/* Nobody but the control. */
static bool is_unused(const struct bridge_tunnel *tunnel)
{
	return cv_carrier_stream_count(tunnel->carrier) <= (tunnel->control ? 1 : 0);
}

/* ---- monitor ------------------------------------------------------------------------------ */

/* By another configuration than the bridge has now, or for nothing any more. */
static bool is_left(const struct bridge_tunnel *tunnel)
{
	const struct bridge *bridge = tunnel->bridge;

	return bridge->reverse->worker->stopping || !bridge->config ||
	       cv_carrier_session(tunnel->carrier)->config != bridge->config;
}

/* Is nothing lost when those are left? */
static bool has_others(const struct bridge *bridge)
{
	return !bridge->config || bridge->reverse->worker->stopping ||
	       atomic_load(&bridge->settings->sums.open) > 0;
}

/* The portal may have opened a stream before it heard that it should not: it gets a moment. */
static void leave(struct bridge_tunnel *tunnel)
{
	const struct bridge *bridge = tunnel->bridge;

	if (tunnel->control && has_others(bridge)) {
		tunnel->is_drained = true;
		tunnel->left_ms = now_ms(bridge);
		tunnel->control = cv_stream_close(tunnel->control);
	} else if (!tunnel->control && is_unused(tunnel) &&
		   now_ms(bridge) >= tunnel->left_ms + LEAVE_MS) {
		close_tunnel(tunnel, bridge->reverse->worker->stopping ? CV_POLICY_STOPPING : 0);
	}
}

static bool is_dead(const struct bridge_tunnel *tunnel)
{
	const uint64_t now = now_ms(tunnel->bridge);

	if (!tunnel->is_open && cv_carrier_stream_total(tunnel->carrier) == 0)
		return now >= tunnel->heard_ms + CV_REVERSE_OPEN_MS;
	return cv_reverse_is_silent(tunnel->heard_ms, now, tunnel->is_drained && !tunnel->control);
}

static void look_at_tunnels(struct bridge *bridge)
{
	struct cv_list *next;

	for (struct cv_list *at = bridge->tunnels.next; at != &bridge->tunnels; at = next) {
		struct bridge_tunnel *tunnel = cv_container_of(at, struct bridge_tunnel, all);

		next = at->next;
		if (is_dead(tunnel))
			close_tunnel(tunnel, CV_UPSTREAM_TIMEOUT);
		else if (is_left(tunnel))
			leave(tunnel);
	}
}

/* What this worker has changes in the sums. */
static void add_up(struct bridge *bridge)
{
	struct cv_bridge_sums *sums = &bridge->settings->sums;
	uint32_t active = 0, open = 0, streams = 0;

	for (struct cv_list *at = bridge->tunnels.next; at != &bridge->tunnels; at = at->next) {
		const struct bridge_tunnel *tunnel =
			cv_container_of(at, struct bridge_tunnel, all);

		if (tunnel->is_drained)
			continue;
		active++;
		open += tunnel->is_open;
		streams += cv_carrier_stream_count(tunnel->carrier);
	}
	atomic_fetch_add(&sums->active, active - bridge->active);
	atomic_fetch_add(&sums->open, open - bridge->open);
	atomic_fetch_add(&sums->streams, streams - bridge->streams);
	bridge->active = active;
	bridge->open = open;
	bridge->streams = streams;
}

static bool wants_more(struct bridge *bridge)
{
	struct cv_bridge_sums *sums = &bridge->settings->sums;
	struct cv_bridge_view view = {
		.active = atomic_load(&sums->active),
		.streams = atomic_load(&sums->streams),
		.worker = bridge->reverse->worker->index,
		.worker_count = atomic_load(&sums->workers),
	};

	bridge->has_lost &= view.active == bridge->active; /* else somebody has one */
	view.is_first = view.worker == 0 || bridge->has_lost;
	return cv_reverse_opens(&view);
}

static void monitor(struct cv_timer *timer)
{
	struct bridge *bridge = cv_container_of(timer, struct bridge, timer);
	const bool is_over = bridge->reverse->worker->stopping || !bridge->config;

	if (bridge->settings)
		add_up(bridge);
	look_at_tunnels(bridge);
	if (is_over && cv_list_is_empty(&bridge->tunnels)) {
		if (bridge->reverse->worker->stopping)
			return; /* freed with all the others */
		cv_list_remove(&bridge->all);
		free(bridge);
		return;
	}
	arm(bridge, is_over ? STOP_TICK_MS : CV_REVERSE_TICK_MS);
	if (is_over)
		return;
	add_up(bridge);
	if (!wants_more(bridge))
		return;
	open_tunnel(bridge);
	add_up(bridge);
}

/* ---- configurations ----------------------------------------------------------------------- */

static struct bridge *find(struct cv_reverse *reverse, const struct cv_bridge *settings)
{
	for (struct cv_list *at = reverse->bridges.next; at != &reverse->bridges; at = at->next) {
		struct bridge *bridge = cv_container_of(at, struct bridge, all);

		if (!bridge->config && bridge->settings &&
		    strcmp(bridge->settings->inbound.tag, settings->inbound.tag) == 0 &&
		    strcasecmp(bridge->settings->domain, settings->domain) == 0)
			return bridge;
	}
	return NULL;
}

static struct bridge *add(struct cv_reverse *reverse)
{
	struct bridge *bridge = calloc(1, sizeof(*bridge));

	if (!bridge)
		return NULL;
	bridge->reverse = reverse;
	bridge->timer.due = monitor;
	cv_list_init(&bridge->tunnels);
	cv_list_add(&reverse->bridges, &bridge->all);
	return bridge;
}

/* Sessions out of old tunnels are routed by the old configuration: another tunnel takes over. */
static void take_over(struct bridge *bridge, struct cv_config *config,
		      struct cv_bridge *settings)
{
	bridge->config = config;
	bridge->settings = settings;
	bridge->active = bridge->open = bridge->streams = 0; /* by these there is nothing yet */
	atomic_fetch_add(&settings->sums.workers, 1);
	for (struct cv_list *at = bridge->tunnels.next; at != &bridge->tunnels; at = at->next)
		cv_container_of(at, struct bridge_tunnel, all)->is_drained = true;
	arm(bridge, 0);
}

void cv_reverse_use(struct cv_worker *worker, struct cv_config *config)
{
	struct cv_reverse *reverse;

	if (config->bridge_count == 0 && !worker->reverse)
		return;
	reverse = cv_reverse_of(worker);
	if (!reverse)
		return;
	for (struct cv_list *at = reverse->bridges.next; at != &reverse->bridges; at = at->next)
		cv_container_of(at, struct bridge, all)->config = NULL;
	for (size_t i = 0; i < config->bridge_count; i++) {
		struct bridge *bridge = find(reverse, &config->bridges[i]);

		if (!bridge)
			bridge = add(reverse);
		if (bridge)
			take_over(bridge, config, &config->bridges[i]);
	}
	for (struct cv_list *at = reverse->bridges.next; at != &reverse->bridges; at = at->next) {
		struct bridge *bridge = cv_container_of(at, struct bridge, all);

		if (!bridge->config) { /* its settings go with their configuration */
			bridge->settings = NULL;
			arm(bridge, 0);
		}
	}
}

void cv_reverse_stop(struct cv_worker *worker)
{
	struct cv_reverse *reverse = worker->reverse;

	for (struct cv_list *at = reverse ? reverse->bridges.next : NULL;
	     reverse && at != &reverse->bridges; at = at->next)
		arm(cv_container_of(at, struct bridge, all), 0);
}

struct cv_reverse *cv_reverse_free(struct cv_reverse *reverse)
{
	struct bridge *bridge;

	if (!reverse)
		return NULL;
	while ((bridge = cv_list_first(&reverse->bridges, struct bridge, all))) {
		cv_timer_disarm(reverse->worker->ring, &bridge->timer);
		cv_list_remove(&bridge->all);
		free(bridge);
	}
	free(reverse);
	return NULL;
}
