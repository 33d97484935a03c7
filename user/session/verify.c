// SPDX-License-Identifier: MIT
/*
 * verify.c - see verify.h.
 *
 *   asker's ring: cv_verify --> job --> queue --> helper thread: hash --> cache, bans
 *                 done() <------ post <----------------------------------/
 *
 * What needs no hash (a remembered answer, a stored password in clear, a banned source) comes back
 * by a timer that is due at once, so done() is never called from inside cv_verify(). Equal
 * questions of one source wait for the job that came first. A cancelled query only forgets its job,
 * which is freed when its post runs.
 */
#include "session/verify.h"

#include "base/clock.h"
#include "base/container.h"
#include "crypto/crypto.h"
#include "policy/password.h"

#include <culvert/reason.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define KEY_LEN 32
#define WAYS 4
#define BUCKETS 256

struct remembered { /* a right answer */
	uint8_t key[KEY_LEN];
	uint64_t expires_ms;
};

struct job {
	struct cv_post post;
	struct cv_timer at_once;
	struct cv_verifier *verifier;
	struct cv_ring *ring;
	struct cv_verify_query *query; /* NULL once cancelled; the ring's thread only */
	_Atomic bool abandoned;	       /* the same for the helper */
	/* under the lock */
	struct job *next;	  /* in the queue */
	struct job *bucket_next;  /* of those that are queued or computed */
	struct job *same;	  /* asks the same, and waits for this one */
	/* the question */
	struct cv_user *user; /* or a stand-in; only compared with, until done() */
	bool known;
	struct cv_sockaddr from;
	uint8_t key[KEY_LEN];
	char stored[CV_PASSWORD_STORED];
	char password[CV_PASSWORD_MAX + 1];
	size_t password_len;
	/* the answer */
	int result;
	bool ban_begins;
};

struct cv_verifier {
	struct cv_verifier_config config;
	struct cv_ban_table *bans;
	uint8_t secret[KEY_LEN]; /* of the keys */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct job *first, *last;
	struct job *buckets[BUCKETS];
	uint32_t waiting; /* jobs that wait for a helper or for another job */
	bool stopping;
	struct remembered (*cache)[WAYS];
	size_t set_count;
	pthread_t *threads;
	unsigned thread_count;
};

static void job_free(struct job *job)
{
	cv_cleanse(job, sizeof(*job));
	free(job);
}

/* ---- remembered answers (under the lock) -------------------------------------------------- */

static struct remembered *set_of(struct cv_verifier *verifier, const uint8_t key[KEY_LEN])
{
	uint32_t number;

	memcpy(&number, key, sizeof(number));
	return verifier->cache[number % verifier->set_count];
}

static bool is_remembered(struct cv_verifier *verifier, const uint8_t key[KEY_LEN])
{
	const struct remembered *set = set_of(verifier, key);
	const uint64_t now_ms = cv_clock_ms();

	for (size_t i = 0; i < WAYS; i++)
		if (set[i].expires_ms > now_ms && cv_equal_constant_time(set[i].key, key, KEY_LEN))
			return true;
	return false;
}

static void remember(struct cv_verifier *verifier, const uint8_t key[KEY_LEN])
{
	struct remembered *set = set_of(verifier, key), *place = &set[0];

	for (size_t i = 1; i < WAYS; i++)
		if (set[i].expires_ms < place->expires_ms)
			place = &set[i];
	memcpy(place->key, key, KEY_LEN);
	place->expires_ms = cv_clock_ms() + verifier->config.cache_ttl_ms;
}

/* ---- answers, on the asker's ring --------------------------------------------------------- */

static void answer(struct job *job)
{
	struct cv_verify_query *query = job->query;
	struct cv_user *user = job->result == 0 ? job->user : NULL;
	const bool ban_begins = job->ban_begins;
	const int result = job->result;

	job_free(job);
	if (!query)
		return;
	query->internal = NULL;
	query->done(query, result, user, ban_begins);
}

static void answered(struct cv_post *post)
{
	answer(cv_container_of(post, struct job, post));
}

static void answered_at_once(struct cv_timer *timer)
{
	answer(cv_container_of(timer, struct job, at_once));
}

void cv_verify_cancel(struct cv_verify_query *query)
{
	struct job *job = query->internal;

	if (!job)
		return;
	query->internal = NULL;
	if (job->at_once.due) { /* no helper has it */
		cv_timer_disarm(job->ring, &job->at_once);
		job_free(job);
		return;
	}
	atomic_store(&job->abandoned, true);
	job->query = NULL;
}

/* ---- questions ---------------------------------------------------------------------------- */

static int make_key(const struct cv_verifier *verifier, const struct cv_credentials *credentials,
		    struct job *job)
{
	const uint8_t lens[] = {(uint8_t)credentials->name_len, (uint8_t)credentials->password_len,
				job->known};
	const struct cv_mac_part parts[] = {
		{lens, sizeof(lens)},
		{credentials->name, credentials->name_len},
		{credentials->password, credentials->password_len},
		{job->stored, strlen(job->stored)},
	};

	return cv_hmac(CV_SHA256, verifier->secret, sizeof(verifier->secret), parts, 4, job->key);
}

/* The user's stored form, or a stand-in's, whose answer does not count. False: none has one. */
static bool fill_in(struct job *job, struct cv_user_table *users,
		    const struct cv_credentials *credentials)
{
	job->user = cv_user_find_login(users, credentials->name, credentials->name_len,
				       &job->known);
	if (!job->user || strlen(job->user->password) >= sizeof(job->stored) ||
	    credentials->password_len > CV_PASSWORD_MAX)
		return false;
	strcpy(job->stored, job->user->password);
	memcpy(job->password, credentials->password, credentials->password_len);
	job->password_len = credentials->password_len;
	return true;
}

static void judge(struct job *job, bool right, uint64_t now_ms)
{
	job->result = right && job->known ? 0 : CV_PEER_CREDENTIALS;
	if (job->result)
		job->ban_begins = cv_ban_failed(job->verifier->bans, &job->from, now_ms);
}

/* Under the lock. Another job that will know the answer, of the same source, so that its ban is
 * nobody else's. */
static struct job *find_same(struct cv_verifier *verifier, const struct job *job)
{
	struct job *other = verifier->buckets[job->key[0]];

	while (other && (memcmp(other->key, job->key, KEY_LEN) != 0 ||
			 !cv_ban_is_same(&other->from, &job->from)))
		other = other->bucket_next;
	return other;
}

/* Under the lock. */
static void enqueue(struct cv_verifier *verifier, struct job *job)
{
	struct job *same = find_same(verifier, job);

	verifier->waiting++;
	if (same) {
		job->same = same->same;
		same->same = job;
		return;
	}
	job->bucket_next = verifier->buckets[job->key[0]];
	verifier->buckets[job->key[0]] = job;
	if (verifier->last)
		verifier->last->next = job;
	else
		verifier->first = job;
	verifier->last = job;
	pthread_cond_signal(&verifier->wake);
}

/* False if a helper has to find the answer. */
static bool answer_now(struct cv_verifier *verifier, struct job *job, bool is_filled)
{
	const uint64_t now_ms = cv_clock_ms();
	bool now = true;

	if (cv_ban_holds(verifier->bans, &job->from, now_ms)) {
		job->result = CV_POLICY_BANNED;
	} else if (!is_filled) {
		judge(job, false, now_ms);
	} else if (cv_password_is_plain(job->stored)) {
		judge(job, cv_password_verify(job->stored, job->password, job->password_len),
		      now_ms);
	} else {
		pthread_mutex_lock(&verifier->lock);
		if (job->known && is_remembered(verifier, job->key))
			job->result = 0;
		else if (verifier->waiting >= verifier->config.queue_limit || verifier->stopping)
			job->result = CV_INTERNAL_RESOURCE;
		else
			now = false;
		if (!now)
			enqueue(verifier, job);
		pthread_mutex_unlock(&verifier->lock);
	}
	return now;
}

bool cv_verify(struct cv_verifier *verifier, struct cv_ring *ring, struct cv_verify_query *query,
	       struct cv_user_table *users, const struct cv_credentials *credentials)
{
	struct job *job = calloc(1, sizeof(*job));
	bool is_filled;

	if (!job)
		return false;
	job->verifier = verifier;
	job->ring = ring;
	job->query = query;
	job->from = *credentials->from;
	job->post.run = answered;
	is_filled = fill_in(job, users, credentials);
	if (is_filled && make_key(verifier, credentials, job) != 0) {
		job_free(job);
		return false;
	}
	query->internal = job;
	if (answer_now(verifier, job, is_filled)) {
		job->at_once.due = answered_at_once;
		cv_timer_arm(ring, &job->at_once, cv_ring_now_ms(ring));
	}
	return true;
}

const struct cv_ban_policy *cv_verifier_bans(const struct cv_verifier *verifier)
{
	return &verifier->config.ban;
}

/* ---- helper threads ----------------------------------------------------------------------- */

static struct job *take_job(struct cv_verifier *verifier)
{
	struct job *job;

	pthread_mutex_lock(&verifier->lock);
	while (!verifier->first && !verifier->stopping)
		pthread_cond_wait(&verifier->wake, &verifier->lock);
	job = verifier->first;
	if (job) {
		verifier->first = job->next;
		if (!verifier->first)
			verifier->last = NULL;
	}
	pthread_mutex_unlock(&verifier->lock);
	return job;
}

/* Under the lock: nobody joins @job any more. */
static void leave_bucket(struct cv_verifier *verifier, const struct job *job)
{
	struct job **at = &verifier->buckets[job->key[0]];

	while (*at != job)
		at = &(*at)->bucket_next;
	*at = job->bucket_next;
}

/* Does anybody still wait? What a flood of broken-off sessions asked is not computed, and then
 * nobody may join it either: whoever comes a moment later waits for an answer. */
static bool is_wanted(struct cv_verifier *verifier, const struct job *first)
{
	bool wanted = false;

	pthread_mutex_lock(&verifier->lock);
	for (const struct job *job = first; job && !wanted; job = job->same)
		wanted = !atomic_load(&job->abandoned);
	if (!wanted)
		leave_bucket(verifier, first);
	pthread_mutex_unlock(&verifier->lock);
	return wanted;
}

static void work(struct cv_verifier *verifier, struct job *job)
{
	const bool banned = cv_ban_holds(verifier->bans, &job->from, cv_clock_ms());
	const bool looked = !banned && is_wanted(verifier, job);
	const bool right = looked && cv_password_verify(job->stored, job->password,
							job->password_len);

	pthread_mutex_lock(&verifier->lock);
	if (banned || looked)
		leave_bucket(verifier, job);
	if (right && job->known)
		remember(verifier, job->key);
	while (job) {
		struct job *next = job->same;

		if (banned)
			job->result = CV_POLICY_BANNED;
		else if (looked)
			judge(job, right, cv_clock_ms());
		else
			job->result = CV_PEER_CREDENTIALS; /* nobody is told */
		verifier->waiting--;
		if (verifier->stopping) /* the asking ring may be gone */
			job_free(job);
		else
			cv_ring_post(job->ring, &job->post);
		job = next;
	}
	pthread_mutex_unlock(&verifier->lock);
}

static void *helper_main(void *opaque)
{
	struct cv_verifier *verifier = opaque;
	struct job *job;

	while ((job = take_job(verifier)) != NULL)
		work(verifier, job);
	return NULL;
}

/* ---- life --------------------------------------------------------------------------------- */

static bool make_parts(struct cv_verifier *verifier)
{
	const struct cv_verifier_config *config = &verifier->config;

	verifier->set_count = config->cache_entries / WAYS + 1;
	verifier->cache = calloc(verifier->set_count, sizeof(*verifier->cache));
	verifier->threads = calloc(config->thread_count, sizeof(*verifier->threads));
	verifier->bans = cv_ban_table_new(&config->ban);
	return verifier->cache && verifier->threads && verifier->bans &&
	       cv_random_bytes(verifier->secret, sizeof(verifier->secret)) == 0;
}

int cv_verifier_new(const struct cv_verifier_config *config, struct cv_verifier **ret_verifier)
{
	struct cv_verifier *verifier = calloc(1, sizeof(*verifier));

	if (!verifier)
		return -ENOMEM;
	verifier->config = *config;
	pthread_mutex_init(&verifier->lock, NULL);
	pthread_cond_init(&verifier->wake, NULL);
	if (make_parts(verifier))
		while (verifier->thread_count < config->thread_count &&
		       pthread_create(&verifier->threads[verifier->thread_count], NULL, helper_main,
				      verifier) == 0)
			verifier->thread_count++;
	if (verifier->thread_count == 0) {
		cv_verifier_free(verifier);
		return -ENOMEM;
	}
	*ret_verifier = verifier;
	return 0;
}

/* Under the lock: nobody will ask for these answers, their rings are gone. */
static void drop_queue(struct cv_verifier *verifier)
{
	while (verifier->first) {
		struct job *job = verifier->first;

		verifier->first = job->next;
		while (job) {
			struct job *same = job->same;

			job_free(job);
			job = same;
		}
	}
	verifier->last = NULL;
}

struct cv_verifier *cv_verifier_free(struct cv_verifier *verifier)
{
	if (!verifier)
		return NULL;
	pthread_mutex_lock(&verifier->lock);
	verifier->stopping = true;
	drop_queue(verifier);
	pthread_cond_broadcast(&verifier->wake);
	pthread_mutex_unlock(&verifier->lock);
	for (unsigned i = 0; i < verifier->thread_count; i++)
		(void)pthread_join(verifier->threads[i], NULL);
	cv_ban_table_free(verifier->bans);
	free(verifier->cache);
	free(verifier->threads);
	pthread_cond_destroy(&verifier->wake);
	pthread_mutex_destroy(&verifier->lock);
	cv_cleanse(verifier->secret, sizeof(verifier->secret));
	free(verifier);
	return NULL;
}
