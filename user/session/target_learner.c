// SPDX-License-Identifier: MIT
/*
 * target_learner.c - one thread per target that learns and publishes (REALITY 7).
 *
 *   learner thread: resolve -> probes for every (serverName, class, variant of the handshake) and
 *                   CCS once per serverName -> publish under the lock
 *                   -> sleep interval (or until stopped) -> again
 *   workers:        cv_target_learner_profile(): copy one entry under the lock
 *
 * The first rounds follow each other closely until SAMPLES lists are known: lengths that vary from
 * one connection to the next at the target vary here.
 * A round that fails for an entry keeps what was known before, so a target that is down for a while
 * does not change what our clients see. Connections never wait for a round: an entry nobody has
 * learned yet simply has no records. The object is counted: the owner and the thread each hold one
 * reference, because a resolver call cannot be interrupted and must not delay the daemon's end.
 */
#include "session/target_learner.h"

#include "base/log.h"
#include "base/reason.h"
#include "base/thread.h"
#include "crypto/crypto.h"
#include "session/target_probe.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define ADDRESSES_MAX 8
#define STOP_WAIT_MS 2000
#define CCS_PROBE (CV_ALPN_CLASSES * CV_TARGET_VARIANTS) /* behind those for lengths */
#define PROBES_PER_NAME (CCS_PROBE + 1)
#define SAMPLES 4	   /* lists kept per class and variant, the oldest goes */
#define EARLY_PAUSE_S 20 /* between the rounds that gather them */

struct samples {
	struct cv_post_handshake lists[SAMPLES];
	unsigned count, next;
};

struct learned_name {
	char name[256];
	struct cv_target_profile profiles[CV_ALPN_CLASSES]; /* but for the lists */
	struct samples samples[CV_ALPN_CLASSES][CV_TARGET_VARIANTS];
};

struct cv_target_learner {
	atomic_int reference_count;
	struct cv_target_learner_config config; /* server_names unused: see names */
	char *target_text;
	pthread_t thread;
	int stop_fd;

	pthread_mutex_t lock;  /* guards names[].profiles and ready */
	pthread_cond_t became_ready;
	bool ready;
	struct learned_name *names; /* sorted by name */
	size_t name_count;
};

static void learner_release(struct cv_target_learner *learner)
{
	if (atomic_fetch_sub(&learner->reference_count, 1) != 1)
		return;
	if (learner->stop_fd >= 0)
		close(learner->stop_fd);
	pthread_mutex_destroy(&learner->lock);
	pthread_cond_destroy(&learner->became_ready);
	free(learner->target_text);
	free(learner->names);
	free(learner);
}

static int compare_names(const void *a, const void *b)
{
	const struct learned_name *left = a, *right = b;

	return strcmp(left->name, right->name);
}

/* ---- a round ---- */

static const char *const class_text[CV_ALPN_CLASSES] = {"no ALPN", "http/1.1", "h2"};

/* How a hello makes the target choose a variant, whatever order it prefers itself. */
static const struct cv_hello_omissions omissions[CV_TARGET_VARIANTS] = {
	[CV_TARGET_HYBRID_SHA256] = {.sha384 = true},
	[CV_TARGET_HYBRID_SHA384] = {.sha256 = true},
	[CV_TARGET_CLASSIC_SHA256] = {.hybrid = true, .sha384 = true},
	[CV_TARGET_CLASSIC_SHA384] = {.hybrid = true, .sha256 = true},
};

static void warn_probe(const struct cv_target_learner *learner, const char *name, const char *what,
		       const struct cv_target_probe_result *result)
{
	cv_log(CV_LOG_WARNING, "target %s, serverName \"%s\", %s: not learned: %s (%s)",
	       learner->target_text, name, what, result->error_text,
	       cv_reason_label(result->reason));
}

/* Is this how a target answers a hello whose suites or groups it does not serve? */
static bool is_refusal(int reason)
{
	return reason == CV_UPSTREAM_ALERT || reason == CV_UPSTREAM_NOT_TLS13 ||
	       reason == CV_TARGET_CLOSED;
}

/* A variant that is refused while others of its class work is one no client will ever need. A
 * class warns once: what fails is mostly the same for all its variants. */
static void report_class(const struct cv_target_learner *learner, const char *name,
			 enum cv_alpn_class alpn_class,
			 const struct cv_target_probe_result results[CV_TARGET_VARIANTS])
{
	bool any_learned = false, warned = false;

	for (int i = 0; i < CV_TARGET_VARIANTS; i++)
		any_learned |= results[i].reason == 0;
	for (int i = 0; i < CV_TARGET_VARIANTS; i++) {
		int reason = results[i].reason;

		if (reason < 0 && reason != -ECANCELED && !warned &&
		    !(any_learned && is_refusal(reason))) {
			warn_probe(learner, name, class_text[alpn_class], &results[i]);
			warned = true;
			continue;
		}
		cv_log_debug("target %s, serverName \"%s\", %s, %s: %u records after the "
			     "handshake%s%s", learner->target_text, name, class_text[alpn_class],
			     cv_target_variant_name((enum cv_target_variant)i),
			     results[i].after.count, reason ? ", not learned: " : "",
			     results[i].error_text);
	}
}

static void keep_sample(struct samples *samples, const struct cv_post_handshake *list)
{
	samples->lists[samples->next] = *list;
	samples->next = (samples->next + 1) % SAMPLES;
	if (samples->count < SAMPLES)
		samples->count++;
}

/* What a probe learned counts for the variant that the target agreed on, which is another one if
 * it cannot do what the hello was made for; the probe made for a variant knows it best. */
static void take_lengths(struct cv_target_learner *learner, struct learned_name *entry,
			 enum cv_alpn_class alpn_class,
			 const struct cv_target_probe_result results[CV_TARGET_VARIANTS])
{
	struct cv_target_profile *profile = &entry->profiles[alpn_class];
	struct cv_post_handshake fresh[CV_TARGET_VARIANTS] = {0};
	bool hybrid_offered = false, hybrid_taken = false;

	for (unsigned i = 0; i < CV_TARGET_VARIANTS; i++) {
		const struct cv_tls_client_facts *facts = &results[i].facts;
		enum cv_target_variant got = cv_target_variant_of(facts->group, facts->suite);

		if (results[i].reason < 0)
			continue;
		if (got == i || !fresh[got].known)
			fresh[got] = results[i].after;
		hybrid_offered |= !omissions[i].hybrid;
		hybrid_taken |= facts->group == CV_GROUP_X25519MLKEM768;
	}
	pthread_mutex_lock(&learner->lock);
	for (int i = 0; i < CV_TARGET_VARIANTS; i++)
		if (fresh[i].known)
			keep_sample(&entry->samples[alpn_class][i], &fresh[i]);
	/* OpenSSL before 3.2 read ahead; stacks with the hybrid group are younger */
	if (hybrid_offered)
		profile->reads_exactly = hybrid_taken;
	pthread_mutex_unlock(&learner->lock);
	report_class(learner, entry->name, alpn_class, results);
}

static void take_ccs_limit(struct cv_target_learner *learner, struct learned_name *entry,
			   const struct cv_target_probe_result *result)
{
	if (result->reason == -ECANCELED)
		return;
	if (result->reason < 0) {
		warn_probe(learner, entry->name, "CCS tolerance", result);
		return;
	}
	pthread_mutex_lock(&learner->lock);
	for (int i = 0; i < CV_ALPN_CLASSES; i++)
		entry->profiles[i].ccs_limit = result->ccs_limit;
	pthread_mutex_unlock(&learner->lock);
}

/* Per name: every variant of the first class, of the second, ..., CCS. */
static void prepare_probes(const struct cv_target_learner *learner,
			   const struct cv_sockaddr *addresses, size_t address_count,
			   struct cv_target_probe_config *configs)
{
	for (size_t i = 0; i < learner->name_count * PROBES_PER_NAME; i++) {
		unsigned what = i % PROBES_PER_NAME;

		configs[i] = (struct cv_target_probe_config){
			.kind = CV_TARGET_PROBE_CCS,
			.addresses = addresses,
			.address_count = address_count,
			.xver = learner->config.xver,
			.server_name = learner->names[i / PROBES_PER_NAME].name,
			.alpn_class = CV_ALPN_H2,
			.window_ms = learner->config.window_ms,
			.timeout_ms = learner->config.timeout_ms,
		};
		if (what == CCS_PROBE)
			continue;
		configs[i].kind = CV_TARGET_PROBE_LENGTHS;
		configs[i].alpn_class = (enum cv_alpn_class)(what / CV_TARGET_VARIANTS);
		configs[i].omit = omissions[what % CV_TARGET_VARIANTS];
	}
}

static void take_results(struct cv_target_learner *learner,
			 const struct cv_target_probe_result *results)
{
	for (size_t i = 0; i < learner->name_count; i++, results += PROBES_PER_NAME) {
		struct learned_name *entry = &learner->names[i];

		for (int j = 0; j < CV_ALPN_CLASSES; j++)
			take_lengths(learner, entry, (enum cv_alpn_class)j,
				     &results[j * CV_TARGET_VARIANTS]);
		take_ccs_limit(learner, entry, &results[CCS_PROBE]);
	}
}

static void learn_round(struct cv_target_learner *learner)
{
	size_t count = learner->name_count * PROBES_PER_NAME;
	struct cv_sockaddr addresses[ADDRESSES_MAX];
	struct cv_target_probe_config *configs = calloc(count, sizeof(*configs));
	struct cv_target_probe_result *results = calloc(count, sizeof(*results));
	int address_count;

	address_count = cv_target_resolve(&learner->config.destination,
					  &learner->config.unix_address, addresses, ADDRESSES_MAX);
	if (address_count < 0) {
		cv_log(CV_LOG_WARNING, "target %s: not learned: name does not resolve",
		       learner->target_text);
	} else if (configs && results) {
		prepare_probes(learner, addresses, (size_t)address_count, configs);
		cv_target_probe_run(configs, count, learner->stop_fd, results);
		take_results(learner, results);
	}
	free(configs);
	free(results);
}

static void publish_ready(struct cv_target_learner *learner)
{
	pthread_mutex_lock(&learner->lock);
	learner->ready = true;
	pthread_cond_broadcast(&learner->became_ready);
	pthread_mutex_unlock(&learner->lock);
}

/* Jitter, so that the target never sees a clockwork. Returns true if the learner was stopped. */
static bool wait_interval(const struct cv_target_learner *learner, unsigned rounds)
{
	struct pollfd polled = {.fd = learner->stop_fd, .events = POLLIN};
	uint64_t interval_ms = (uint64_t)learner->config.interval_s * 1000;
	int timeout = -1;

	if (rounds < SAMPLES && interval_ms > EARLY_PAUSE_S * 1000)
		interval_ms = EARLY_PAUSE_S * 1000;

	if (interval_ms) {
		interval_ms += cv_random_below((uint32_t)(interval_ms / 10 % UINT32_MAX) + 1);
		timeout = interval_ms < INT32_MAX ? (int)interval_ms : INT32_MAX;
	}
	while (poll(&polled, 1, timeout) < 0 && errno == EINTR)
		;
	return polled.revents != 0;
}

static void *learner_main(void *argument)
{
	struct cv_target_learner *learner = argument;

	unsigned rounds = 0;

	do {
		learn_round(learner);
		publish_ready(learner);
		rounds += rounds < SAMPLES;
	} while (!wait_interval(learner, rounds));
	learner_release(learner);
	return NULL;
}

/* ---- interface ---- */

static int copy_names(struct cv_target_learner *learner,
		      const struct cv_target_learner_config *config)
{
	learner->names = calloc(config->server_name_count + 1, sizeof(*learner->names));
	learner->target_text = strdup(config->target_text ? config->target_text : "?");
	if (!learner->names || !learner->target_text)
		return CV_INTERNAL_MEMORY;
	for (size_t i = 0; i < config->server_name_count; i++) {
		struct learned_name *entry = &learner->names[i];

		snprintf(entry->name, sizeof(entry->name), "%s", config->server_names[i]);
		for (int j = 0; j < CV_ALPN_CLASSES; j++)
			entry->profiles[j].ccs_limit = CV_CCS_LIMIT_UNKNOWN;
	}
	learner->name_count = config->server_name_count;
	qsort(learner->names, learner->name_count, sizeof(*learner->names), compare_names);
	return 0;
}

static int start_thread(struct cv_target_learner *learner)
{
	sigset_t all, before;
	int result;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	result = pthread_create(&learner->thread, NULL, learner_main, learner);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (result)
		return CV_INTERNAL_RESOURCE;
	pthread_setname_np(learner->thread, "cv-learner");
	return 0;
}

int cv_target_learner_start(const struct cv_target_learner_config *config,
			    struct cv_target_learner **ret_learner)
{
	struct cv_target_learner *learner = calloc(1, sizeof(*learner));
	pthread_condattr_t attributes;
	int result;

	if (!learner)
		return CV_INTERNAL_MEMORY;
	atomic_init(&learner->reference_count, 1);
	pthread_mutex_init(&learner->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&learner->became_ready, &attributes);
	pthread_condattr_destroy(&attributes);
	learner->config = *config;
	learner->config.server_names = NULL;
	learner->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	result = learner->stop_fd < 0 ? CV_INTERNAL_RESOURCE : copy_names(learner, config);
	if (result == 0) {
		atomic_fetch_add(&learner->reference_count, 1); /* the thread's */
		result = start_thread(learner);
		if (result < 0)
			atomic_fetch_sub(&learner->reference_count, 1);
	}
	if (result < 0) {
		learner_release(learner);
		return result;
	}
	*ret_learner = learner;
	return 0;
}

static struct timespec monotonic_after(uint32_t delay_ms)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += delay_ms / 1000;
	at.tv_nsec += (long)(delay_ms % 1000) * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000;
	}
	return at;
}

int cv_target_learner_wait_ready(struct cv_target_learner *learner, uint32_t timeout_ms)
{
	struct timespec until = monotonic_after(timeout_ms);
	int error = 0;
	bool ready;

	pthread_mutex_lock(&learner->lock);
	while (!learner->ready && error == 0)
		error = pthread_cond_timedwait(&learner->became_ready, &learner->lock, &until);
	ready = learner->ready;
	pthread_mutex_unlock(&learner->lock);
	return ready ? 0 : -ETIMEDOUT;
}

struct cv_target_profile cv_target_learner_profile(void *opaque, const char *server_name,
						   enum cv_alpn_class alpn_class)
{
	struct cv_target_profile profile = {.ccs_limit = CV_CCS_LIMIT_UNKNOWN};
	struct cv_target_learner *learner = opaque;
	struct learned_name key, *entry;

	if (strlen(server_name) >= sizeof(key.name) || (unsigned)alpn_class >= CV_ALPN_CLASSES)
		return profile;
	strcpy(key.name, server_name);
	entry = bsearch(&key, learner->names, learner->name_count, sizeof(*learner->names),
			compare_names);
	if (!entry)
		return profile;
	pthread_mutex_lock(&learner->lock);
	profile = entry->profiles[alpn_class];
	/* observable: a ticket may hold a number of four or five bytes and be a cipher block longer
	 * every other time, so one of the lists seen, any of them, is what comes next */
	for (int i = 0; i < CV_TARGET_VARIANTS; i++) {
		const struct samples *samples = &entry->samples[alpn_class][i];

		if (samples->count)
			profile.after[i] = samples->lists[cv_random_below(samples->count)];
	}
	pthread_mutex_unlock(&learner->lock);
	return profile;
}

struct cv_target_learner *cv_target_learner_stop(struct cv_target_learner *learner)
{
	const uint64_t one = 1;

	if (!learner)
		return NULL;
	if (write(learner->stop_fd, &one, sizeof(one)) < 0)
		cv_log_debug("target %s: cannot stop its learner", learner->target_text);
	(void)cv_thread_join(learner->thread, STOP_WAIT_MS);
	learner_release(learner);
	return NULL;
}
