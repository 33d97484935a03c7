// SPDX-License-Identifier: MIT
/*
 * datagrams.c - destinations of one client's datagrams: each is routed when it is met first, and
 * forgotten when it was idle for a minute.
 *
 *   new -> rules need addresses? -resolve-> way: NONE    dropped: no rule lets it pass, no address
 *                 ^                              DIRECT  the one socket of the association
 *                 |                              PROXY   datagram_proxy.c
 *   UNKNOWN: datagrams wait ---- resolve <- a name that goes out directly
 *
 * The one socket is what makes it a full cone: whatever comes to its port is the client's, with the
 * address it came from. A name keeps the address it was given for five minutes at most.
 */
#include "session/datagrams.h"

#include "session/datagram_proxy.h"
#include "session/steps.h"
#include "session/waiting.h"
#include "session/worker.h"

#include "base/log.h"
#include "base/reason.h"
#include "policy/private_address.h"
#include "policy/rate_limit.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define DESTINATIONS_MAX 256
#define BUCKETS 64 /* a power of two */
#define RESOLVING_MAX 16
#define PROXIES_MAX 4
#define ADDRESSES_MAX 4
#define IDLE_MS 60000
#define NAME_MS 300000
#define FAILURE_MS 5000
#define TICK_MS 10000
#define RATE_TICK_MS 1000

enum way { WAY_UNKNOWN, WAY_NONE, WAY_DIRECT, WAY_PROXY };

struct destination {
	struct destination *next;	   /* in its bucket */
	struct destination *newer, *older; /* by last use */
	struct cv_datagrams *datagrams;
	struct cv_destination name; /* as the client calls it */
	uint64_t used_ms, until_ms; /* until_ms: then it is looked at anew */
	enum way way;
	int reason; /* NONE: why */
	const struct cv_outbound *outbound;
	struct cv_datagram_proxy *proxy;
	struct cv_sockaddr addresses[ADDRESSES_MAX]; /* [0] is used, the others if it cannot be */
	size_t address_count;
	struct cv_resolve_query query;
	bool resolving;
	struct cv_buffer waiting;
};

struct cv_datagrams {
	struct cv_session *session;
	struct cv_datagram_near near;
	struct cv_datagram_socket *direct;
	struct cv_datagram_proxy *proxies[PROXIES_MAX];
	size_t proxy_count;
	struct destination *buckets[BUCKETS];
	struct destination *newest, *oldest;
	uint32_t destination_count, resolving_count;
	struct cv_rate_bucket rate[2];
	uint64_t resume_ms[2];
};

static void pass(struct destination *destination, uint8_t *bytes, size_t len_bytes);

static uint64_t now_ms(const struct cv_datagrams *datagrams)
{
	return cv_ring_now_ms(datagrams->session->worker->ring);
}

static void count(struct cv_datagrams *datagrams, int reason)
{
	cv_worker_count(datagrams->session->worker, reason);
}

/* ---- bytes -------------------------------------------------------------------------------- */

/* Above the user's rate: dropped, as a narrow link would. */
static bool may_pass(struct cv_datagrams *datagrams, enum cv_direction direction, size_t len_bytes)
{
	const uint64_t now = now_ms(datagrams);

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
	datagrams->session->last_activity_ms = now_ms(datagrams);
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
		cv_rate_limit_init(bucket, &limit, now_ms(datagrams));
}

/* ---- table -------------------------------------------------------------------------------- */

static size_t key_of(const struct cv_destination *name, const void **ret_key)
{
	*ret_key = name->ipv6;
	if (name->kind == CV_ADDRESS_DOMAIN)
		return strlen(name->domain);
	return name->kind == CV_ADDRESS_IPV4 ? sizeof(name->ipv4) : sizeof(name->ipv6);
}

/* A client that finds collisions makes only its own list longer, up to DESTINATIONS_MAX. */
static struct destination **bucket_of(struct cv_datagrams *datagrams,
				      const struct cv_destination *name)
{
	const void *key;
	const size_t len_bytes = key_of(name, &key);
	uint32_t hash = 2166136261u ^ name->port;

	for (size_t i = 0; i < len_bytes; i++)
		hash = (hash ^ ((const uint8_t *)key)[i]) * 16777619u;
	return &datagrams->buckets[(hash ^ hash >> 16) & (BUCKETS - 1)];
}

static bool same_name(const struct cv_destination *one, const struct cv_destination *other)
{
	const void *keys[2];
	const size_t len_bytes = key_of(one, &keys[0]);

	return one->kind == other->kind && one->port == other->port &&
	       key_of(other, &keys[1]) == len_bytes && memcmp(keys[0], keys[1], len_bytes) == 0;
}

static void unlink_use(struct destination *destination)
{
	struct cv_datagrams *datagrams = destination->datagrams;

	*(destination->newer ? &destination->newer->older : &datagrams->newest) =
		destination->older;
	*(destination->older ? &destination->older->newer : &datagrams->oldest) =
		destination->newer;
	destination->newer = destination->older = NULL;
}

static void link_use(struct destination *destination)
{
	struct cv_datagrams *datagrams = destination->datagrams;

	destination->older = datagrams->newest;
	*(datagrams->newest ? &datagrams->newest->newer : &datagrams->oldest) = destination;
	datagrams->newest = destination;
	destination->used_ms = now_ms(datagrams);
}

static void stop_resolving(struct destination *destination)
{
	if (!destination->resolving)
		return;
	cv_resolve_cancel(&destination->query);
	destination->resolving = false;
	destination->datagrams->resolving_count--;
}

static void forget(struct destination *destination)
{
	struct cv_datagrams *datagrams = destination->datagrams;
	struct destination **at = bucket_of(datagrams, &destination->name);

	while (*at != destination)
		at = &(*at)->next;
	*at = destination->next;
	unlink_use(destination);
	stop_resolving(destination);
	cv_buffer_done(&destination->waiting);
	datagrams->destination_count--;
	free(destination);
}

static struct destination *find(struct cv_datagrams *datagrams, const struct cv_destination *name)
{
	struct destination *destination = *bucket_of(datagrams, name);

	while (destination && !same_name(&destination->name, name))
		destination = destination->next;
	if (destination && destination->until_ms <= now_ms(datagrams)) {
		forget(destination);
		return NULL;
	}
	return destination;
}

static struct destination *add(struct cv_datagrams *datagrams, const struct cv_destination *name)
{
	struct destination **bucket = bucket_of(datagrams, name), *destination;

	if (datagrams->destination_count >= DESTINATIONS_MAX)
		forget(datagrams->oldest);
	destination = calloc(1, sizeof(*destination));
	if (!destination)
		return NULL;
	destination->datagrams = datagrams;
	destination->name = *name;
	destination->until_ms = UINT64_MAX;
	destination->next = *bucket;
	*bucket = destination;
	cv_buffer_init(&destination->waiting, CV_WAITING_BYTES);
	datagrams->destination_count++;
	link_use(destination);
	return destination;
}

/* ---- which way ---------------------------------------------------------------------------- */

static void no_way(struct destination *destination, int reason, uint64_t for_ms)
{
	destination->way = WAY_NONE;
	destination->reason = reason;
	destination->until_ms = now_ms(destination->datagrams) + for_ms;
}

/* Those that may be sent to. Returns 0 or why there is none. */
static int set_addresses(struct destination *destination, const struct cv_sockaddr *addresses,
			 size_t address_count)
{
	const struct cv_outbound *outbound = destination->outbound;
	const bool guards = outbound->block_private &&
			    destination->datagrams->session->inbound->guards_private;

	destination->address_count = 0;
	for (size_t i = 0; i < address_count && destination->address_count < ADDRESSES_MAX; i++)
		if (!guards || !cv_address_is_private(&addresses[i]))
			destination->addresses[destination->address_count++] = addresses[i];
	if (destination->address_count > 0)
		return 0;
	return address_count ? CV_POLICY_PRIVATE_TARGET : CV_UPSTREAM_RESOLVE;
}

static void direct_found(struct destination *destination, const struct cv_sockaddr *addresses,
			 size_t address_count)
{
	const int reason = set_addresses(destination, addresses, address_count);

	if (reason)
		no_way(destination, reason, FAILURE_MS);
	else
		destination->way = WAY_DIRECT;
}

/* What came while it was not known how to go on. */
static void flush(struct destination *destination)
{
	struct cv_buffer waiting = destination->waiting;
	struct cv_destination unused;
	uint8_t *bytes;
	size_t len_bytes;

	cv_buffer_init(&destination->waiting, CV_WAITING_BYTES);
	while (cv_waiting_next(&waiting, &unused, &bytes, &len_bytes))
		pass(destination, bytes, len_bytes);
}

static void decide(struct destination *destination, const struct cv_sockaddr *resolved,
		   size_t resolved_count);

static struct destination *answered(struct cv_resolve_query *query)
{
	struct destination *destination = cv_container_of(query, struct destination, query);

	destination->resolving = false;
	destination->datagrams->resolving_count--;
	return destination;
}

static void resolved_for_rules(struct cv_resolve_query *query, int result,
			       const struct cv_sockaddr *addresses, size_t address_count)
{
	static const struct cv_sockaddr none;
	struct destination *destination = answered(query);

	decide(destination, result ? &none : addresses, result ? 0 : address_count);
	flush(destination);
}

static void resolved_to_send(struct cv_resolve_query *query, int result,
			     const struct cv_sockaddr *addresses, size_t address_count)
{
	struct destination *destination = answered(query);

	if (destination->until_ms == UINT64_MAX)
		destination->until_ms = now_ms(destination->datagrams) + NAME_MS;
	if (result)
		no_way(destination, CV_UPSTREAM_RESOLVE, FAILURE_MS);
	else
		direct_found(destination, addresses, address_count);
	flush(destination);
}

static void resolve(struct destination *destination, const char *name, uint16_t port,
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
	destination->way = WAY_UNKNOWN;
	destination->query.done = done;
	cv_resolve(worker->resolver, worker->ring, &destination->query, name, port, strategy);
}

static void go_directly(struct destination *destination)
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

/* It waited for a proxy that failed. */
static void lost(void *owner, const struct cv_destination *name, uint8_t *bytes, size_t len_bytes)
{
	struct cv_datagrams *datagrams = owner;
	struct destination *destination = find(datagrams, name);

	if (destination)
		pass(destination, bytes, len_bytes);
	else
		count(datagrams, CV_UPSTREAM_FAILED);
}

static struct cv_datagram_proxy *find_proxy(struct cv_datagrams *datagrams,
					    const struct cv_outbound *outbound)
{
	const struct cv_datagram_near near = {.deliver = deliver, .owner = datagrams};
	struct cv_datagram_proxy *proxy;

	for (size_t i = 0; i < datagrams->proxy_count; i++)
		if (cv_datagram_proxy_outbound(datagrams->proxies[i]) == outbound)
			return datagrams->proxies[i];
	if (datagrams->proxy_count == PROXIES_MAX)
		return NULL;
	proxy = cv_datagram_proxy_new(datagrams->session, outbound, &near, lost);
	if (proxy)
		datagrams->proxies[datagrams->proxy_count++] = proxy;
	return proxy;
}

static void go_by_proxy(struct destination *destination)
{
	destination->proxy = find_proxy(destination->datagrams, destination->outbound);
	if (destination->proxy)
		destination->way = WAY_PROXY;
	else
		no_way(destination, CV_INTERNAL_RESOURCE, FAILURE_MS);
}

/* The outbound carries no datagrams. */
static void go_around_or_nowhere(struct destination *destination)
{
	const struct cv_config *config = destination->datagrams->session->config;

	if (!destination->outbound->udp_goes_around || !config->direct) {
		no_way(destination, CV_POLICY_NO_DATAGRAMS, NAME_MS);
		return;
	}
	destination->outbound = config->direct;
	go_directly(destination);
}

static void decide(struct destination *destination, const struct cv_sockaddr *resolved,
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
	struct cv_destination source;

	if (cv_sockaddr_to_destination(from, &source))
		deliver(owner, &source, bytes, len_bytes);
}

static int open_direct(struct cv_datagrams *datagrams)
{
	struct cv_worker *worker = datagrams->session->worker;
	const struct cv_datagram_config config = {
		.ring = worker->ring,
		.pool = worker->datagram_pool,
		.received = received,
		.owner = datagrams,
	};

	return datagrams->direct ? 0 : cv_datagram_open(&config, &datagrams->direct);
}

/* This address cannot be reached from here; the next one may be. */
static bool is_about_address(int error)
{
	return error == -ENETUNREACH || error == -EHOSTUNREACH || error == -EAFNOSUPPORT ||
	       error == -EADDRNOTAVAIL || error == -ENETDOWN;
}

static int send_directly(struct destination *destination, const uint8_t *bytes, size_t len_bytes)
{
	struct cv_datagrams *datagrams = destination->datagrams;
	int error = open_direct(datagrams);

	if (error)
		return CV_INTERNAL_RESOURCE;
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
static bool goes_around(struct destination *destination)
{
	const struct cv_config *config = destination->datagrams->session->config;

	if (!destination->outbound->retry.goes_around || !config->direct)
		return false;
	count(destination->datagrams, CV_UPSTREAM_GONE_AROUND);
	destination->outbound = config->direct;
	go_directly(destination);
	destination->until_ms = now_ms(destination->datagrams) + FAILURE_MS;
	return true;
}

static int send_by_proxy(struct destination *destination, uint8_t *bytes, size_t len_bytes)
{
	const int result = cv_datagram_proxy_send(destination->proxy, &destination->name, bytes,
						  len_bytes);

	if (result == CV_UPSTREAM_FAILED && goes_around(destination)) {
		pass(destination, bytes, len_bytes);
		return 0;
	}
	return result;
}

static void pass(struct destination *destination, uint8_t *bytes, size_t len_bytes)
{
	struct cv_datagrams *datagrams = destination->datagrams;
	int result = 0;

	switch (destination->way) {
	case WAY_UNKNOWN:
		result = cv_waiting_keep(&destination->waiting, NULL, bytes, len_bytes);
		break;
	case WAY_NONE:
		result = destination->reason;
		break;
	case WAY_DIRECT:
		result = send_directly(destination, bytes, len_bytes);
		break;
	case WAY_PROXY:
		result = send_by_proxy(destination, bytes, len_bytes);
		break;
	}
	if (result)
		count(datagrams, result > -2000 ? CV_UPSTREAM_UNREACHABLE : result);
}

void cv_datagrams_send(struct cv_datagrams *datagrams, const struct cv_destination *name,
		       uint8_t *bytes, size_t len_bytes)
{
	struct destination *destination;

	if (!may_pass(datagrams, CV_UPLINK, len_bytes))
		return;
	moved(datagrams, CV_UPLINK, len_bytes);
	destination = find(datagrams, name);
	if (destination) {
		unlink_use(destination);
		link_use(destination);
	} else {
		destination = add(datagrams, name);
		if (!destination) {
			count(datagrams, CV_INTERNAL_MEMORY);
			return;
		}
		decide(destination, NULL, 0);
	}
	pass(destination, bytes, len_bytes);
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
		forget(datagrams->oldest);
	for (size_t i = 0; i < datagrams->proxy_count; i++)
		cv_datagram_proxy_free(datagrams->proxies[i]);
	cv_datagram_close(datagrams->direct);
	leave(datagrams->session);
	free(datagrams);
	return NULL;
}

uint32_t cv_datagrams_tick(struct cv_datagrams *datagrams)
{
	const uint64_t now = now_ms(datagrams);

	while (datagrams->oldest && datagrams->oldest->used_ms + IDLE_MS <= now)
		forget(datagrams->oldest);
	for (int d = CV_UPLINK; d <= CV_DOWNLINK; d++)
		share_rate(datagrams, (enum cv_direction)d);
	return datagrams->rate[CV_UPLINK].bytes_per_s || datagrams->rate[CV_DOWNLINK].bytes_per_s
		       ? RATE_TICK_MS
		       : TICK_MS;
}
