// SPDX-License-Identifier: MIT
/*
 * resolver.c - getaddrinfo on helper threads, a shared cache, answers as posts to the asking ring.
 *
 *   asker's ring: cv_resolve --> job --> queue --> helper thread: getaddrinfo --> cache
 *                 done() <------ post <-------------------------------------------/
 *
 * Who asks for a name that is being looked up, or about to be, joins the job that does it (its
 * leader): however many want it at once, it is asked for once.
 *
 * Literals and cache hits come back by a timer that is due at once, so done() is never called from
 * inside cv_resolve(). Any other job belongs to the helper while it works and to the asker's ring
 * afterwards; a cancelled or expired query only forgets it, and it is freed when its post runs.
 */
#include "ring/resolver.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/reason.h"
#include "base/thread.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define QUERY_TIMEOUT_MS 10000
#define HOST_MAX 256
#define STOP_WAIT_MS 1000

struct answer {
	int result;
	bool passing; /* a failure that may be over at the next try: not cached */
	size_t count;
	struct cv_sockaddr addresses[CV_RESOLVE_MAX];
};

struct cache_entry {
	struct cache_entry *next;
	uint64_t expires_ms;
	char host[HOST_MAX];
	struct answer answer; /* ports zero, any family */
};

struct job {
	struct cv_post post;
	struct job *next;
	struct job *same, *next_leader; /* under the lock: who else wants it; leaders in a bucket */
	struct cv_resolver *resolver;
	struct cv_ring *ring;
	struct cv_resolve_query *query; /* NULL once cancelled; the ring's thread only */
	_Atomic bool abandoned;		/* the same for the helper */
	struct cv_timer deadline;
	char host[HOST_MAX];
	uint16_t port;
	enum cv_resolve_strategy strategy;
	struct answer answer;
};

struct cv_resolver {
	struct cv_resolver_config config;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct job *first, *last;
	uint32_t queued;
	bool stopping;
	struct cache_entry **buckets;
	struct job **leaders; /* looked up, or about to be; by the same hash */
	uint32_t bucket_count, entry_count;
	pthread_t *threads;
	unsigned thread_count, idle_count;
	uint32_t waiting; /* jobs in the list */
};

/* ---- cache (under the lock) --------------------------------------------------------------- */

static uint32_t bucket_of(const struct cv_resolver *resolver, const char *host)
{
	uint32_t hash = 2166136261u;

	for (const char *c = host; *c; c++)
		hash = (hash ^ (uint8_t)tolower((unsigned char)*c)) * 16777619u;
	return hash % resolver->bucket_count;
}

static bool cache_find(struct cv_resolver *resolver, const char *host, struct answer *ret_answer)
{
	struct cache_entry **at = &resolver->buckets[bucket_of(resolver, host)];
	uint64_t now_ms = cv_clock_ms();

	while (*at) {
		struct cache_entry *entry = *at;

		if (entry->expires_ms <= now_ms) {
			*at = entry->next;
			free(entry);
			resolver->entry_count--;
			continue;
		}
		if (strcasecmp(entry->host, host) == 0) {
			*ret_answer = entry->answer;
			return true;
		}
		at = &entry->next;
	}
	return false;
}

static void cache_clear(struct cv_resolver *resolver)
{
	for (uint32_t i = 0; i < resolver->bucket_count; i++) {
		while (resolver->buckets[i]) {
			struct cache_entry *entry = resolver->buckets[i];

			resolver->buckets[i] = entry->next;
			free(entry);
		}
	}
	resolver->entry_count = 0;
}

static void cache_add(struct cv_resolver *resolver, const char *host, const struct answer *answer)
{
	struct cache_entry **bucket = &resolver->buckets[bucket_of(resolver, host)];
	struct cache_entry *entry;

	if (resolver->entry_count >= resolver->config.cache_entries)
		cache_clear(resolver); /* rare; cheaper than keeping an order for every hit */
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return;
	strcpy(entry->host, host);
	entry->answer = *answer;
	entry->expires_ms = cv_clock_ms() + (answer->result ? resolver->config.negative_ttl_ms
							   : resolver->config.ttl_ms);
	entry->next = *bucket;
	*bucket = entry;
	resolver->entry_count++;
}

/* ---- answers ------------------------------------------------------------------------------ */

/* Loopback without asking anybody, also where no hosts file says so (RFC 6761 6.3). */
static bool is_localhost(const char *host)
{
	static const char name[] = "localhost";
	size_t len = strlen(host);
	const char *tail = len >= sizeof(name) - 1 ? host + len - (sizeof(name) - 1) : host;

	return strcasecmp(tail, name) == 0 && (tail == host || tail[-1] == '.');
}

static void answer_localhost(struct answer *ret_answer)
{
	struct cv_sockaddr *v4 = &ret_answer->addresses[0], *v6 = &ret_answer->addresses[1];

	memset(ret_answer, 0, sizeof(*ret_answer));
	ret_answer->count = 2;
	v4->len_bytes = sizeof(v4->in);
	v4->in.sin_family = AF_INET;
	v4->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	v6->len_bytes = sizeof(v6->in6);
	v6->in6.sin6_family = AF_INET6;
	v6->in6.sin6_addr = in6addr_loopback;
}

static void look_up(const char *host, struct answer *ret_answer)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	int error;

	memset(ret_answer, 0, sizeof(*ret_answer));
	error = getaddrinfo(host, NULL, &hints, &list);
	if (error) {
		ret_answer->result = CV_UPSTREAM_RESOLVE;
		ret_answer->passing =
			error == EAI_AGAIN || error == EAI_MEMORY || error == EAI_SYSTEM;
		return;
	}
	for (struct addrinfo *a = list; a && ret_answer->count < CV_RESOLVE_MAX; a = a->ai_next) {
		struct cv_sockaddr *address = &ret_answer->addresses[ret_answer->count];

		if (a->ai_addrlen > sizeof(address->in6))
			continue;
		memcpy(&address->any, a->ai_addr, a->ai_addrlen);
		address->len_bytes = a->ai_addrlen;
		ret_answer->count++;
	}
	freeaddrinfo(list);
	if (ret_answer->count == 0)
		ret_answer->result = CV_UPSTREAM_RESOLVE;
}

static bool wanted(const struct cv_sockaddr *address, enum cv_resolve_strategy strategy)
{
	if (strategy == CV_RESOLVE_V4)
		return address->any.sa_family == AF_INET;
	if (strategy == CV_RESOLVE_V6)
		return address->any.sa_family == AF_INET6;
	return true;
}

static void append_family(const struct answer *all, int family, struct job *job)
{
	for (size_t i = 0; i < all->count; i++) {
		const struct cv_sockaddr *address = &all->addresses[i];

		if ((family != AF_UNSPEC && address->any.sa_family != family) ||
		    !wanted(address, job->strategy))
			continue;
		job->answer.addresses[job->answer.count++] = *address;
	}
}

/* Filters and orders by the strategy, fills in the port. */
static void finish_answer(struct job *job, const struct answer *all)
{
	memset(&job->answer, 0, sizeof(job->answer));
	job->answer.result = all->result;
	if (job->strategy == CV_RESOLVE_V4V6 || job->strategy == CV_RESOLVE_V6V4) {
		int first = job->strategy == CV_RESOLVE_V4V6 ? AF_INET : AF_INET6;

		append_family(all, first, job);
		append_family(all, first == AF_INET ? AF_INET6 : AF_INET, job);
	} else {
		append_family(all, AF_UNSPEC, job);
	}
	if (!job->answer.result && job->answer.count == 0)
		job->answer.result = CV_UPSTREAM_RESOLVE;
	for (size_t i = 0; i < job->answer.count; i++) {
		struct cv_sockaddr *address = &job->answer.addresses[i];

		if (address->any.sa_family == AF_INET)
			address->in.sin_port = htons(job->port);
		else
			address->in6.sin6_port = htons(job->port);
	}
}

/* ---- ring side ---------------------------------------------------------------------------- */

static void answer(struct job *job)
{
	struct cv_resolve_query *query = job->query;

	cv_timer_disarm(job->ring, &job->deadline);
	if (query) {
		query->internal = NULL;
		query->done(query, job->answer.result, job->answer.addresses, job->answer.count);
	}
	free(job);
}

static void answered(struct cv_post *post)
{
	answer(cv_container_of(post, struct job, post));
}

/* What needed no helper: a timer that is due is a post without system calls. */
static void answered_at_once(struct cv_timer *timer)
{
	answer(cv_container_of(timer, struct job, deadline));
}

static void expired(struct cv_timer *timer)
{
	struct job *job = cv_container_of(timer, struct job, deadline);
	struct cv_resolve_query *query = job->query;

	job->query = NULL;
	atomic_store(&job->abandoned, true);
	if (!query)
		return;
	query->internal = NULL;
	query->done(query, CV_UPSTREAM_TIMEOUT, NULL, 0);
}

void cv_resolve_cancel(struct cv_resolve_query *query)
{
	struct job *job = query->internal;

	if (query->ring)
		cv_timer_disarm(query->ring, &query->refused);
	if (!job)
		return;
	query->internal = NULL;
	if (job->deadline.due == answered_at_once) { /* no helper has it */
		cv_timer_disarm(job->ring, &job->deadline);
		free(job);
		return;
	}
	atomic_store(&job->abandoned, true);
	job->query = NULL;
}

static void refused_due(struct cv_timer *timer)
{
	struct cv_resolve_query *query = cv_container_of(timer, struct cv_resolve_query, refused);

	query->done(query, CV_INTERNAL_RESOURCE, NULL, 0);
}

static bool answer_literal(struct job *job)
{
	struct cv_destination destination;
	struct answer literal = {.count = 1};

	if (cv_destination_set_text(&destination, job->host, job->port) != 0 ||
	    !cv_destination_to_sockaddr(&destination, &literal.addresses[0]))
		return false;
	job->strategy = CV_RESOLVE_ANY; /* an address is dialled as it was given */
	finish_answer(job, &literal);
	return true;
}

/* Under the lock. */
static bool join_leader(struct cv_resolver *resolver, struct job *job)
{
	struct job **bucket = &resolver->leaders[bucket_of(resolver, job->host)];

	for (struct job *leader = *bucket; leader; leader = leader->next_leader) {
		if (strcasecmp(leader->host, job->host) != 0)
			continue;
		job->same = leader->same;
		leader->same = job;
		return true;
	}
	job->next_leader = *bucket;
	*bucket = job;
	return false;
}

static void leave_leaders(struct cv_resolver *resolver, struct job *job)
{
	struct job **at = &resolver->leaders[bucket_of(resolver, job->host)];

	while (*at != job)
		at = &(*at)->next_leader;
	*at = job->next_leader;
}

static void *helper_main(void *opaque);

/* Under the lock. Names whose servers never answer must not keep all others waiting. */
static void add_helper(struct cv_resolver *resolver)
{
	pthread_t *thread = &resolver->threads[resolver->thread_count];

	if (pthread_create(thread, NULL, helper_main, resolver) == 0)
		resolver->thread_count++;
}

/* Under the lock. True if the job needs a helper. */
static bool enqueue(struct cv_resolver *resolver, struct job *job)
{
	struct answer cached;

	if (cache_find(resolver, job->host, &cached)) {
		finish_answer(job, &cached);
		return false;
	}
	if (resolver->queued >= resolver->config.queue_limit || resolver->stopping) {
		job->answer.result = CV_INTERNAL_RESOURCE;
		return false;
	}
	resolver->queued++; /* those who join a leader wait as well */
	if (join_leader(resolver, job))
		return true;
	if (resolver->last)
		resolver->last->next = job;
	else
		resolver->first = job;
	resolver->last = job;
	resolver->waiting++;
	if (resolver->waiting > resolver->idle_count &&
	    resolver->thread_count < resolver->config.thread_most)
		add_helper(resolver);
	pthread_cond_signal(&resolver->wake);
	return true;
}

void cv_resolve(struct cv_resolver *resolver, struct cv_ring *ring, struct cv_resolve_query *query,
		const char *host, uint16_t port, enum cv_resolve_strategy strategy)
{
	struct job *job = calloc(1, sizeof(*job));
	bool needs_helper = false;

	query->ring = ring;
	query->refused.due = refused_due;
	if (!job || strlen(host) >= HOST_MAX) {
		free(job);
		query->internal = NULL;
		cv_timer_arm(ring, &query->refused, cv_ring_now_ms(ring));
		return;
	}
	job->post.run = answered;
	job->resolver = resolver;
	job->ring = ring;
	job->query = query;
	job->deadline.due = expired;
	job->port = port;
	job->strategy = strategy;
	strcpy(job->host, host);
	query->internal = job;
	cv_timer_arm(ring, &job->deadline, cv_ring_now_ms(ring) + resolver->config.timeout_ms);
	if (is_localhost(host)) {
		struct answer localhost;

		answer_localhost(&localhost);
		finish_answer(job, &localhost);
	} else if (!answer_literal(job)) {
		pthread_mutex_lock(&resolver->lock);
		needs_helper = enqueue(resolver, job);
		pthread_mutex_unlock(&resolver->lock);
	}
	if (!needs_helper) {
		job->deadline.due = answered_at_once;
		cv_timer_arm(ring, &job->deadline, cv_ring_now_ms(ring));
	}
}

/* ---- helper threads ----------------------------------------------------------------------- */

static struct job *take_job(struct cv_resolver *resolver)
{
	struct job *job;

	pthread_mutex_lock(&resolver->lock);
	resolver->idle_count++;
	while (!resolver->first && !resolver->stopping)
		pthread_cond_wait(&resolver->wake, &resolver->lock);
	resolver->idle_count--;
	job = resolver->first;
	if (job) {
		resolver->waiting--;
		resolver->first = job->next;
		if (!resolver->first)
			resolver->last = NULL;
		resolver->queued--;
	}
	pthread_mutex_unlock(&resolver->lock);
	return job;
}

/* Under the lock. */
static bool is_wanted(const struct job *leader)
{
	for (; leader; leader = leader->same)
		if (!atomic_load(&leader->abandoned))
			return true;
	return false;
}

/* Under the lock: the answer for everybody who waits for it. @all: NULL = nobody does. */
static void deliver(struct cv_resolver *resolver, struct job *leader, const struct answer *all)
{
	struct job *job = leader;

	leave_leaders(resolver, leader);
	while (job) {
		struct job *same = job->same;

		resolver->queued -= job != leader;
		if (all)
			finish_answer(job, all);
		if (resolver->stopping) /* the asking ring may be gone */
			free(job);
		else
			cv_ring_post(job->ring, &job->post);
		job = same;
	}
}

static void *helper_main(void *opaque)
{
	struct cv_resolver *resolver = opaque;
	struct job *job;

	while ((job = take_job(resolver)) != NULL) {
		struct answer all;

		pthread_mutex_lock(&resolver->lock);
		if (!is_wanted(job)) { /* what a flood of broken-off sessions asked */
			deliver(resolver, job, NULL);
			pthread_mutex_unlock(&resolver->lock);
			continue;
		}
		pthread_mutex_unlock(&resolver->lock);
		look_up(job->host, &all);
		pthread_mutex_lock(&resolver->lock);
		if (!all.passing)
			cache_add(resolver, job->host, &all);
		deliver(resolver, job, &all);
		pthread_mutex_unlock(&resolver->lock);
	}
	return NULL;
}

int cv_resolver_new(const struct cv_resolver_config *config, struct cv_resolver **ret_resolver)
{
	struct cv_resolver *resolver = calloc(1, sizeof(*resolver));

	if (!resolver)
		return -ENOMEM;
	resolver->config = *config;
	if (!resolver->config.timeout_ms)
		resolver->config.timeout_ms = QUERY_TIMEOUT_MS;
	pthread_mutex_init(&resolver->lock, NULL);
	pthread_cond_init(&resolver->wake, NULL);
	resolver->bucket_count = config->cache_entries / 4 + 1;
	resolver->buckets = calloc(resolver->bucket_count, sizeof(struct cache_entry *));
	resolver->leaders = calloc(resolver->bucket_count, sizeof(struct job *));
	if (resolver->config.thread_most < config->thread_count)
		resolver->config.thread_most = config->thread_count;
	resolver->threads = calloc(resolver->config.thread_most, sizeof(pthread_t));
	while (resolver->buckets && resolver->leaders && resolver->threads &&
	       resolver->thread_count < config->thread_count) {
		const unsigned before = resolver->thread_count;

		pthread_mutex_lock(&resolver->lock);
		add_helper(resolver);
		pthread_mutex_unlock(&resolver->lock);
		if (resolver->thread_count == before)
			break;
	}
	if (resolver->thread_count == 0) {
		cv_resolver_free(resolver);
		return -ENOMEM;
	}
	*ret_resolver = resolver;
	return 0;
}

static bool join_helpers(struct cv_resolver *resolver)
{
	const uint64_t until_ms = cv_clock_ms() + STOP_WAIT_MS;
	bool all = true;

	for (unsigned i = 0; i < resolver->thread_count; i++) {
		const uint64_t now_ms = cv_clock_ms();
		const uint64_t left_ms = now_ms < until_ms ? until_ms - now_ms : 0;

		if (cv_thread_join(resolver->threads[i], (uint32_t)left_ms) != 0)
			all = false;
	}
	return all;
}

struct cv_resolver *cv_resolver_free(struct cv_resolver *resolver)
{
	if (!resolver)
		return NULL;
	pthread_mutex_lock(&resolver->lock);
	resolver->stopping = true;
	while (resolver->first) { /* nobody will ask for these answers: their rings are gone */
		struct job *job = resolver->first;

		resolver->first = job->next;
		leave_leaders(resolver, job);
		while (job) {
			struct job *same = job->same;

			free(job);
			job = same;
		}
	}
	resolver->last = NULL;
	pthread_cond_broadcast(&resolver->wake);
	pthread_mutex_unlock(&resolver->lock);
	if (!join_helpers(resolver))
		return NULL; /* one hangs in a lookup: it keeps its memory until the process ends */
	if (resolver->buckets)
		cache_clear(resolver);
	free(resolver->buckets);
	free(resolver->leaders);
	free(resolver->threads);
	pthread_cond_destroy(&resolver->wake);
	pthread_mutex_destroy(&resolver->lock);
	free(resolver);
	return NULL;
}
