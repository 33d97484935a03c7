// SPDX-License-Identifier: MIT
/*
 * datagrams.c - destinations of one client's datagrams: each is routed when it is met first, and
 * forgotten when it was idle for a minute.
 *
 *   new -> rules need addresses? -resolve-> way: NONE    dropped: no rule lets it pass, no address
 *                 ^                              DIRECT  the one socket of the association
 *                 |                              PROXY   datagram_proxy.c
 *                 |                              CARRIER datagram_carrier.c
 *   UNKNOWN: datagrams wait ---- resolve <- a name that goes out directly
 *
 * The one socket is what makes it a full cone: whatever comes to its port is the client's, with the
 * address it came from. It is closed when nothing came or went for a minute. A name keeps the
 * address it was given for five minutes at most.
 */
#include "session/datagrams_state.h"

#include "session/steps.h"
#include "session/waiting.h"

#include "base/log.h"
#include "base/reason.h"
#include "crypto/crypto.h"
#include "policy/private_address.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define RESOLVING_MAX 16
#define IDLE_MS 60000
#define NAME_MS 300000
#define FAILURE_MS 5000
#define TICK_MS 10000
#define RATE_TICK_MS 1000
#define OWNED_CARRIERS_MAX 64 /* to one destination each */
#define PORT_DNS 53
#define PORT_HTTPS 443

static void pass(struct cv_datagram_destination *destination, uint8_t *bytes, size_t len_bytes);
static void pass_now(struct cv_datagram_destination *destination, uint8_t *bytes,
		     size_t len_bytes);

static void count(struct cv_datagrams *datagrams, int reason)
{
	cv_worker_count(datagrams->session->worker, reason);
}

/* ---- bytes -------------------------------------------------------------------------------- */

/* Above the user's rate: dropped, as a narrow link would. */
static bool may_pass(struct cv_datagrams *datagrams, enum cv_direction direction, size_t len_bytes)
{
	const uint64_t now = cv_datagrams_now_ms(datagrams);

	if (datagrams->resume_ms[direction] > now) {
		count(datagrams, CV_POLICY_RATE);
		return false;
	}
	datagrams->resume_ms[direction] =
		now + cv_rate_limit_take(&datagrams->rate[direction], (uint32_t)len_bytes, now);
	return true;
}

static void moved(struct cv_datagrams *datagrams, enum cv_direction direction, size_t len_bytes)
{
	struct cv_worker_counters *counters = &datagrams->session->worker->counters;

	atomic_fetch_add_explicit(&counters->datagram_bytes[direction], len_bytes,
				  memory_order_relaxed);
	datagrams->session->user_moved_bytes[direction] += len_bytes;
	datagrams->session->last_activity_ms = cv_datagrams_now_ms(datagrams);
}

static void deliver(void *owner, const struct cv_destination *source, uint8_t *bytes,
		    size_t len_bytes)
{
	struct cv_datagrams *datagrams = owner;

	if (!may_pass(datagrams, CV_DOWNLINK, len_bytes))
		return;
	moved(datagrams, CV_DOWNLINK, len_bytes);
	datagrams->near.deliver(datagrams->near.owner, source, bytes, len_bytes);
}

static void delivered(void *owner)
{
	const struct cv_datagrams *datagrams = owner;

	if (datagrams->near.flush)
		datagrams->near.flush(datagrams->near.owner);
}

/* What our proxies and streams deliver to. */
static struct cv_datagram_near far_near(struct cv_datagrams *datagrams)
{
	return (struct cv_datagram_near){
		.deliver = deliver,
		.flush = delivered,
		.owner = datagrams,
		.borrows = datagrams->near.borrows,
	};
}

/* Equal parts for the user's associations on all workers. What is left of a second stays what it
 * is: coming and going does not fill it again. */
static void share_rate(struct cv_datagrams *datagrams, enum cv_direction direction)
{
	const struct cv_user *user = datagrams->session->user;
	uint64_t rate = user && user->usage ? cv_usage_limits(user->usage).bytes_per_s[direction]
					    : 0;
	struct cv_rate_bucket *bucket = &datagrams->rate[direction];
	struct cv_rate_limit limit = {0};

	if (rate) {
		const uint32_t sharers = atomic_load_explicit(&user->counters->association_count,
							      memory_order_relaxed);

		limit.bytes_per_s = rate / (sharers ? sharers : 1);
		limit.bytes_per_s += limit.bytes_per_s == 0;
	}
	if (bucket->bytes_per_s && limit.bytes_per_s)
		bucket->bytes_per_s = limit.bytes_per_s;
	else if (bucket->bytes_per_s != limit.bytes_per_s)
		cv_rate_limit_init(bucket, &limit, cv_datagrams_now_ms(datagrams));
}

/* ---- which way ---------------------------------------------------------------------------- */

static void no_way(struct cv_datagram_destination *destination, int reason, uint64_t for_ms)
{
	destination->way = CV_WAY_NONE;
	destination->reason = reason;
	destination->until_ms = cv_datagrams_now_ms(destination->datagrams) + for_ms;
}

/* Those that may be sent to. Returns 0 or why there is none. */
static int set_addresses(struct cv_datagram_destination *destination,
			 const struct cv_sockaddr *addresses, size_t address_count)
{
	const struct cv_outbound *outbound = destination->outbound;
	const bool guards = outbound->block_private &&
			    destination->datagrams->session->inbound->guards_private;

	destination->address_count = 0;
	for (size_t i = 0; i < address_count; i++)
		if (destination->address_count < CV_DATAGRAM_ADDRESSES_MAX &&
		    (!guards || !cv_address_is_private(&addresses[i])))
			destination->addresses[destination->address_count++] = addresses[i];
	if (destination->address_count > 0)
		return 0;
	return address_count ? CV_POLICY_PRIVATE_TARGET : CV_UPSTREAM_RESOLVE;
}

static void note_name(struct cv_datagram_destination *destination)
{
	if (destination->is_renamed || (destination->name.kind != CV_ADDRESS_DOMAIN &&
					destination->outbound->redirect.kind == CV_ADDRESS_NONE &&
					destination->outbound->redirect.port == 0))
		return;
	destination->is_renamed = true;
	destination->datagrams->renamed_count++;
}

static void direct_found(struct cv_datagram_destination *destination,
			 const struct cv_sockaddr *addresses, size_t address_count)
{
	const int reason = set_addresses(destination, addresses, address_count);

	if (reason) {
		no_way(destination, reason, FAILURE_MS);
		return;
	}
	destination->way = CV_WAY_DIRECT;
	note_name(destination);
}

/* What came while it was not known how to go on. */
static void flush(struct cv_datagram_destination *destination)
{
	struct cv_buffer waiting = destination->waiting;
	struct cv_destination unused;
	uint8_t *bytes;
	size_t len_bytes;

	cv_buffer_init(&destination->waiting, CV_WAITING_BYTES);
	while (cv_waiting_next(&waiting, &unused, &bytes, &len_bytes))
		pass_now(destination, bytes, len_bytes);
}

static void decide(struct cv_datagram_destination *destination, const struct cv_sockaddr *resolved,
		   size_t resolved_count);

static struct cv_datagram_destination *answered(struct cv_resolve_query *query)
{
	struct cv_datagram_destination *destination =
		cv_container_of(query, struct cv_datagram_destination, query);

	destination->resolving = false;
	destination->datagrams->resolving_count--;
	return destination;
}

static void resolved_for_rules(struct cv_resolve_query *query, int result,
			       const struct cv_sockaddr *addresses, size_t address_count)
{
	static const struct cv_sockaddr none;
	struct cv_datagram_destination *destination = answered(query);

	decide(destination, result ? &none : addresses, result ? 0 : address_count);
	flush(destination);
}

static void resolved_to_send(struct cv_resolve_query *query, int result,
			     const struct cv_sockaddr *addresses, size_t address_count)
{
	struct cv_datagram_destination *destination = answered(query);

	if (destination->until_ms == UINT64_MAX)
		destination->until_ms = cv_datagrams_now_ms(destination->datagrams) + NAME_MS;
	if (result)
		no_way(destination, CV_UPSTREAM_RESOLVE, FAILURE_MS);
	else
		direct_found(destination, addresses, address_count);
	flush(destination);
}

static void resolve(struct cv_datagram_destination *destination, const char *name, uint16_t port,
		    enum cv_resolve_strategy strategy,
		    void (*done)(struct cv_resolve_query *query, int result,
				 const struct cv_sockaddr *addresses, size_t address_count))
{
	struct cv_datagrams *datagrams = destination->datagrams;
	struct cv_worker *worker = datagrams->session->worker;

	if (datagrams->resolving_count >= RESOLVING_MAX) {
		no_way(destination, CV_INTERNAL_RESOURCE, 1);
		return;
	}
	datagrams->resolving_count++;
	destination->resolving = true;
	destination->way = CV_WAY_UNKNOWN;
	destination->query.done = done;
	cv_resolve(worker->resolver, worker->ring, &destination->query, name, port, strategy);
}

static void go_directly(struct cv_datagram_destination *destination)
{
	const struct cv_outbound *outbound = destination->outbound;
	struct cv_destination to = destination->name;
	struct cv_sockaddr address;

	if (outbound->redirect.kind != CV_ADDRESS_NONE)
		to = outbound->redirect;
	to.port = outbound->redirect.port ? outbound->redirect.port : destination->name.port;
	if (cv_destination_to_sockaddr(&to, &address))
		direct_found(destination, &address, 1);
	else
		resolve(destination, to.domain, to.port, outbound->strategy, resolved_to_send);
}

/* It waited for a proxy, or a stream, that failed. */
static void lost(void *owner, const struct cv_destination *name, uint8_t *bytes, size_t len_bytes)
{
	struct cv_datagrams *datagrams = owner;
	struct cv_datagram_destination *destination =
		cv_datagram_destination_find(datagrams, name);

	if (destination)
		pass_now(destination, bytes, len_bytes);
	else
		count(datagrams, CV_UPSTREAM_FAILED);
}

static struct cv_datagram_proxy *find_proxy(struct cv_datagrams *datagrams,
					    const struct cv_outbound *outbound)
{
	const struct cv_datagram_near near = far_near(datagrams);
	struct cv_datagram_proxy *proxy;

	for (size_t i = 0; i < datagrams->proxy_count; i++)
		if (cv_datagram_proxy_outbound(datagrams->proxies[i]) == outbound)
			return datagrams->proxies[i];
	if (datagrams->proxy_count == CV_DATAGRAM_WAYS_MAX)
		return NULL;
	proxy = cv_datagram_proxy_new(datagrams->session, outbound, &near, lost);
	if (proxy)
		datagrams->proxies[datagrams->proxy_count++] = proxy;
	return proxy;
}

static void go_by_proxy(struct cv_datagram_destination *destination)
{
	destination->proxy = find_proxy(destination->datagrams, destination->outbound);
	if (destination->proxy)
		destination->way = CV_WAY_PROXY;
	else
		no_way(destination, CV_INTERNAL_RESOURCE, FAILURE_MS);
}

/* ---- VLESS streams ------------------------------------------------------------------------ */

/* As others do it: what many ask one server once each, and what would rather use TCP, goes without
 * addresses, unless something speaks for one form (VLESS 4). */
static bool uses_xudp(const struct cv_outbound *outbound, uint16_t port)
{
	if (outbound->packets != CV_PACKETS_AUTO || outbound->protocol == CV_OUTBOUND_VMESS)
		return outbound->packets == CV_PACKETS_XUDP;
	return outbound->vision || (port != PORT_DNS && port != PORT_HTTPS);
}

/* One for all streams of the association, so that the server goes on with its port when one takes
 * the place of another. NULL: we have none. */
static const uint8_t *global_id_of(struct cv_datagrams *datagrams)
{
	static const uint8_t none[CV_MUX_GLOBAL_ID_BYTES];
	uint8_t *id = datagrams->global_id;

	if (memcmp(id, none, sizeof(none)) == 0 &&
	    cv_random_bytes(id, sizeof(datagrams->global_id)) != 0)
		memset(id, 0, sizeof(datagrams->global_id));
	return memcmp(id, none, sizeof(none)) == 0 ? NULL : id;
}

static struct cv_datagram_carrier *new_carrier(struct cv_datagrams *datagrams,
					       const struct cv_outbound *outbound,
					       const struct cv_destination *only)
{
	const struct cv_datagram_carrier_config config = {
		.session = datagrams->session,
		.outbound = outbound,
		.only = only,
		.global_id = only ? NULL : global_id_of(datagrams),
		.near = far_near(datagrams),
		.lost = lost,
		.dirty = &datagrams->dirty,
	};

	return cv_datagram_carrier_new(&config);
}

static struct cv_datagram_carrier *find_carrier(struct cv_datagrams *datagrams,
						const struct cv_outbound *outbound)
{
	struct cv_datagram_carrier *carrier;

	for (size_t i = 0; i < datagrams->carrier_count; i++)
		if (cv_datagram_carrier_outbound(datagrams->carriers[i]) == outbound)
			return datagrams->carriers[i];
	if (datagrams->carrier_count == CV_DATAGRAM_WAYS_MAX)
		return NULL;
	carrier = new_carrier(datagrams, outbound, NULL);
	if (carrier)
		datagrams->carriers[datagrams->carrier_count++] = carrier;
	return carrier;
}

/* The destination longest unused that has a stream of its own gives it up. */
static void make_room(struct cv_datagrams *datagrams)
{
	struct cv_datagram_destination *destination = datagrams->oldest;

	if (datagrams->owned_carriers < OWNED_CARRIERS_MAX)
		return;
	while (destination && !destination->owns_carrier)
		destination = destination->newer;
	if (destination)
		cv_datagram_destination_forget(destination);
}

/* Through a carrier that others share. False: it goes in another way. */
static bool goes_by_stream(struct cv_datagram_destination *destination)
{
	struct cv_datagrams *datagrams = destination->datagrams;
	const struct cv_datagram_stream_config config = {
		.session = datagrams->session,
		.outbound = destination->outbound,
		.global_id = global_id_of(datagrams),
		.near = far_near(datagrams),
	};
	const int result = cv_datagram_stream_takes(destination->outbound, destination->name.port);

	if (result == CV_POLICY_NO_DATAGRAMS)
		return false;
	if (!result)
		destination->stream =
			cv_datagram_stream_find(datagrams->streams, &datagrams->stream_count,
						CV_DATAGRAM_WAYS_MAX, &config);
	if (!result && destination->stream)
		destination->way = CV_WAY_STREAM;
	else
		no_way(destination, result ? result : CV_INTERNAL_RESOURCE, FAILURE_MS);
	return true;
}

static void go_by_carrier(struct cv_datagram_destination *destination)
{
	struct cv_datagrams *datagrams = destination->datagrams;
	const struct cv_outbound *outbound = destination->outbound;

	if (goes_by_stream(destination))
		return;
	if (outbound->vision && !outbound->udp443 && destination->name.port == PORT_HTTPS) {
		no_way(destination, CV_POLICY_BLOCKED, NAME_MS); /* Vision 6.5 */
		return;
	}
	if (uses_xudp(outbound, destination->name.port)) {
		destination->carrier = find_carrier(datagrams, outbound);
	} else if (!destination->owns_carrier) {
		make_room(datagrams);
		destination->carrier = new_carrier(datagrams, outbound, &destination->name);
		destination->owns_carrier = destination->carrier != NULL;
		datagrams->owned_carriers += destination->owns_carrier;
	}
	if (destination->carrier)
		destination->way = CV_WAY_CARRIER;
	else
		no_way(destination, CV_INTERNAL_RESOURCE, FAILURE_MS);
}

/* The outbound carries no datagrams. */
static void go_around_or_nowhere(struct cv_datagram_destination *destination)
{
	const struct cv_config *config = destination->datagrams->session->config;

	if (!destination->outbound->udp_goes_around || !config->direct) {
		no_way(destination, CV_POLICY_NO_DATAGRAMS, NAME_MS);
		return;
	}
	destination->outbound = config->direct;
	go_directly(destination);
}

static void decide(struct cv_datagram_destination *destination, const struct cv_sockaddr *resolved,
		   size_t resolved_count)
{
	struct cv_session *session = destination->datagrams->session;
	const int result = cv_session_route_datagram(session, &destination->name, resolved,
						     resolved_count, &destination->outbound);

	if (result == -EAGAIN) {
		resolve(destination, destination->name.domain, destination->name.port,
			CV_RESOLVE_ANY, resolved_for_rules);
		return;
	}
	if (result) {
		no_way(destination, result, FAILURE_MS);
		return;
	}
	session->outbound = destination->outbound; /* what people are shown */
	switch (destination->outbound->protocol) {
	case CV_OUTBOUND_FREEDOM:
		go_directly(destination);
		break;
	case CV_OUTBOUND_BLACKHOLE:
		no_way(destination, CV_POLICY_BLOCKED, NAME_MS);
		break;
	case CV_OUTBOUND_VLESS:
	case CV_OUTBOUND_VMESS:
	case CV_OUTBOUND_PORTAL: /* a stream in any case */
		go_by_carrier(destination);
		break;
	case CV_OUTBOUND_SOCKS:
		if (cv_datagram_proxy_carries(destination->outbound)) {
			go_by_proxy(destination);
			break;
		}
		/* fall through */
	default:
		go_around_or_nowhere(destination);
		break;
	}
}

/* ---- sending ------------------------------------------------------------------------------ */

static void received(void *owner, const struct cv_sockaddr *from, uint8_t *bytes, size_t len_bytes)
{
	struct cv_datagrams *datagrams = owner;
	const struct cv_datagram_destination *behind;
	struct cv_destination source;

	if (!cv_sockaddr_to_destination(from, &source))
		return;
	datagrams->direct_used_ms = cv_datagrams_now_ms(datagrams);
	if (!datagrams->near.by_name && !datagrams->near.only_asked) {
		deliver(owner, &source, bytes, len_bytes);
		return;
	}
	behind = cv_datagram_destination_behind(datagrams, &source);
	if (!behind && datagrams->near.only_asked)
		count(datagrams, CV_PEER_STRANGER);
	else
		deliver(owner, behind ? &behind->name : &source, bytes, len_bytes);
}

static bool may_read(void *owner)
{
	const struct cv_datagrams *datagrams = owner;

	return !datagrams->near.may_read || datagrams->near.may_read(datagrams->near.owner);
}

/* This address cannot be reached from here; the next one may be. */
static bool is_about_address(int error)
{
	return error == -ENETUNREACH || error == -EHOSTUNREACH || error == -EAFNOSUPPORT ||
	       error == -EADDRNOTAVAIL || error == -ENETDOWN;
}

/* Its address is the only one, or it would not have been queued. */
static void unsent(void *owner, int error)
{
	count(owner, is_about_address(error) ? CV_UPSTREAM_NO_ROUTE : CV_UPSTREAM_UNREACHABLE);
}

static struct cv_datagram_config direct_config(struct cv_datagrams *datagrams)
{
	return (struct cv_datagram_config){
		.ring = datagrams->session->worker->ring,
		.pool = datagrams->session->worker->datagram_pool,
		.received = received,
		.batch_done = delivered,
		.may_read = may_read,
		.unsent = unsent,
		.owner = datagrams,
	};
}

static void tell_opened(struct cv_datagrams *datagrams)
{
	datagrams->direct_used_ms = cv_datagrams_now_ms(datagrams);
	if (datagrams->near.opened)
		datagrams->near.opened(datagrams->near.owner, datagrams->direct);
}

static int open_direct(struct cv_datagrams *datagrams)
{
	const struct cv_datagram_config config = direct_config(datagrams);
	int error;

	if (datagrams->direct)
		return 0;
	error = cv_datagram_open(&config, &datagrams->direct);
	if (!error)
		tell_opened(datagrams);
	return error;
}

int cv_datagrams_adopt(struct cv_datagrams *datagrams, int fd)
{
	const struct cv_datagram_config config = direct_config(datagrams);

	if (datagrams->direct)
		return CV_INTERNAL_STATE;
	if (cv_datagram_adopt(&config, fd, &datagrams->direct) != 0)
		return CV_INTERNAL_RESOURCE;
	datagrams->direct_used_ms = cv_datagrams_now_ms(datagrams);
	return 0;
}

static int send_directly(struct cv_datagram_destination *destination, const uint8_t *bytes,
			 size_t len_bytes)
{
	struct cv_datagrams *datagrams = destination->datagrams;
	int error = open_direct(datagrams);

	if (error)
		return CV_INTERNAL_RESOURCE;
	datagrams->direct_used_ms = cv_datagrams_now_ms(datagrams);
	if (destination->address_count == 1) {
		error = cv_datagram_queue(datagrams->direct, &destination->addresses[0], bytes,
					  len_bytes);
		return is_about_address(error) ? CV_UPSTREAM_NO_ROUTE : error;
	}
	for (;;) {
		error = cv_datagram_send(datagrams->direct, &destination->addresses[0], bytes,
					 len_bytes);
		if (!is_about_address(error))
			return error;
		if (destination->address_count == 1)
			return CV_UPSTREAM_NO_ROUTE;
		destination->address_count--;
		memmove(&destination->addresses[0], &destination->addresses[1],
			destination->address_count * sizeof(destination->addresses[0]));
	}
}

/* The proxy failed: out directly for as long as it is not asked again, where that is wanted. */
static bool goes_around(struct cv_datagram_destination *destination)
{
	const struct cv_config *config = destination->datagrams->session->config;

	if (!destination->outbound->retry.goes_around || !config->direct)
		return false;
	count(destination->datagrams, CV_UPSTREAM_GONE_AROUND);
	destination->outbound = config->direct;
	go_directly(destination);
	destination->until_ms = cv_datagrams_now_ms(destination->datagrams) + FAILURE_MS;
	return true;
}

static int send_by_proxy(struct cv_datagram_destination *destination, uint8_t *bytes,
			 size_t len_bytes)
{
	int result;

	cv_datagram_flush(destination->datagrams->direct); /* what waits may lie in our headroom */
	result = cv_datagram_proxy_send(destination->proxy, &destination->name, bytes, len_bytes);
	if (result == CV_UPSTREAM_FAILED && goes_around(destination)) {
		pass(destination, bytes, len_bytes);
		return 0;
	}
	return result;
}

static int send_by_carrier(struct cv_datagram_destination *destination, uint8_t *bytes,
			   size_t len_bytes)
{
	const int result = cv_datagram_carrier_send(destination->carrier, &destination->name,
						    bytes, len_bytes);

	if (result == CV_UPSTREAM_FAILED && goes_around(destination)) {
		pass(destination, bytes, len_bytes);
		return 0;
	}
	return result;
}

static void pass(struct cv_datagram_destination *destination, uint8_t *bytes, size_t len_bytes)
{
	struct cv_datagrams *datagrams = destination->datagrams;
	int result = 0;

	switch (destination->way) {
	case CV_WAY_UNKNOWN:
		result = cv_waiting_keep(&destination->waiting, NULL, bytes, len_bytes);
		break;
	case CV_WAY_NONE:
		result = destination->reason;
		break;
	case CV_WAY_DIRECT:
		result = send_directly(destination, bytes, len_bytes);
		break;
	case CV_WAY_PROXY:
		result = send_by_proxy(destination, bytes, len_bytes);
		break;
	case CV_WAY_CARRIER:
		result = send_by_carrier(destination, bytes, len_bytes);
		break;
	case CV_WAY_STREAM:
		result = cv_datagram_stream_send(destination->stream, &destination->name, bytes,
						 len_bytes);
		break;
	}
	if (result)
		count(datagrams, result > -2000 ? CV_UPSTREAM_UNREACHABLE : result);
}

/* Where @bytes do not stay. */
static void pass_now(struct cv_datagram_destination *destination, uint8_t *bytes, size_t len_bytes)
{
	struct cv_datagrams *datagrams = destination->datagrams;

	pass(destination, bytes, len_bytes);
	cv_datagrams_flush(datagrams);
}

void cv_datagrams_flush(struct cv_datagrams *datagrams)
{
	cv_datagram_flush(datagrams->direct);
	cv_datagram_carriers_flush(&datagrams->dirty);
}

void cv_datagrams_queue(struct cv_datagrams *datagrams, const struct cv_destination *name,
			uint8_t *bytes, size_t len_bytes)
{
	struct cv_datagram_destination *destination;

	if (!may_pass(datagrams, CV_UPLINK, len_bytes))
		return;
	moved(datagrams, CV_UPLINK, len_bytes);
	destination = cv_datagram_destination_find(datagrams, name);
	if (!destination) {
		destination = cv_datagram_destination_add(datagrams, name);
		if (!destination) {
			count(datagrams, CV_INTERNAL_MEMORY);
			return;
		}
		decide(destination, NULL, 0);
	}
	pass(destination, bytes, len_bytes);
}

void cv_datagrams_send(struct cv_datagrams *datagrams, const struct cv_destination *name,
		       uint8_t *bytes, size_t len_bytes)
{
	cv_datagrams_queue(datagrams, name, bytes, len_bytes);
	cv_datagrams_flush(datagrams);
}

/* ---- life --------------------------------------------------------------------------------- */

struct cv_datagram_pool *cv_datagrams_pool(struct cv_worker *worker)
{
	if (!worker->datagram_pool)
		worker->datagram_pool = cv_datagram_pool_new();
	return worker->datagram_pool;
}

static int enter(struct cv_session *session)
{
	struct cv_worker_counters *counters = &session->worker->counters;
	const struct cv_daemon_settings *settings = &session->config->daemon;
	_Atomic uint32_t *of_user =
		session->user ? &session->user->counters->association_count : NULL;

	if (atomic_load_explicit(&counters->associations, memory_order_relaxed) >=
	    settings->max_associations)
		return CV_INTERNAL_RESOURCE;
	if (of_user && atomic_fetch_add(of_user, 1) >= settings->max_user_associations) {
		atomic_fetch_sub(of_user, 1);
		return CV_POLICY_USER_SESSIONS;
	}
	atomic_fetch_add_explicit(&counters->associations, 1, memory_order_relaxed);
	return 0;
}

static void leave(struct cv_session *session)
{
	if (session->user)
		atomic_fetch_sub(&session->user->counters->association_count, 1);
	atomic_fetch_sub_explicit(&session->worker->counters.associations, 1,
				  memory_order_relaxed);
}

int cv_datagrams_new(struct cv_session *session, const struct cv_datagram_near *near,
		     struct cv_datagrams **ret_datagrams)
{
	struct cv_datagrams *datagrams;
	int reason;

	if (!cv_datagrams_pool(session->worker))
		return CV_INTERNAL_MEMORY;
	reason = enter(session);
	if (reason)
		return reason;
	datagrams = calloc(1, sizeof(*datagrams));
	if (!datagrams) {
		leave(session);
		return CV_INTERNAL_MEMORY;
	}
	datagrams->session = session;
	datagrams->near = *near;
	for (int d = CV_UPLINK; d <= CV_DOWNLINK; d++)
		share_rate(datagrams, (enum cv_direction)d);
	*ret_datagrams = datagrams;
	return 0;
}

struct cv_datagrams *cv_datagrams_free(struct cv_datagrams *datagrams)
{
	if (!datagrams)
		return NULL;
	while (datagrams->oldest)
		cv_datagram_destination_forget(datagrams->oldest);
	for (size_t i = 0; i < datagrams->proxy_count; i++)
		cv_datagram_proxy_free(datagrams->proxies[i]);
	for (size_t i = 0; i < datagrams->carrier_count; i++)
		cv_datagram_carrier_free(datagrams->carriers[i]);
	for (size_t i = 0; i < datagrams->stream_count; i++)
		cv_datagram_stream_free(datagrams->streams[i]);
	cv_datagram_close(datagrams->direct);
	leave(datagrams->session);
	free(datagrams);
	return NULL;
}

uint32_t cv_datagrams_tick(struct cv_datagrams *datagrams)
{
	const uint64_t now = cv_datagrams_now_ms(datagrams);

	while (datagrams->oldest && datagrams->oldest->used_ms + IDLE_MS <= now)
		cv_datagram_destination_forget(datagrams->oldest);
	for (size_t i = 0; i < datagrams->carrier_count; i++)
		cv_datagram_carrier_tick(datagrams->carriers[i]);
	for (size_t i = 0; i < datagrams->stream_count; i++)
		cv_datagram_stream_tick(datagrams->streams[i]);
	if (datagrams->direct && datagrams->direct_used_ms + IDLE_MS <= now) {
		datagrams->direct = cv_datagram_close(datagrams->direct);
		tell_opened(datagrams);
	}
	for (int d = CV_UPLINK; d <= CV_DOWNLINK; d++)
		share_rate(datagrams, (enum cv_direction)d);
	return datagrams->rate[CV_UPLINK].bytes_per_s || datagrams->rate[CV_DOWNLINK].bytes_per_s
		       ? RATE_TICK_MS
		       : TICK_MS;
}
