// SPDX-License-Identifier: MIT
/*
 * worker.c - a thread with one ring; sessions live and die here.
 *
 * Other threads talk to a worker only by posts (listen, stop, retire, visit) and by reading its
 * atomic counters. Stopping: accepting ends at once, sessions go on until they end or
 * daemon.drain_s is over, then they are cut. Retiring: the same, after last seconds of accepting.
 *
 *   start -> ring -> [listen posts] -> turns ... -> stop post -> drain -> last session -> end
 */
#include "session/worker.h"

#include "base/log.h"
#include "base/mutation.h"
#include "base/reason.h"
#include "engine/pipe_pool.h"
#include "engine/sockmap.h"
#include "policy/reload.h"
#include "protocol/spider.h"
#include "ring/connect.h"
#include "ring/datagram.h"
#include "session/backend_checks.h"
#include "session/carrier.h"
#include "session/handover.h"
#include "session/observatory.h"
#include "session/reverse.h"
#include "session/room.h"
#include "session/session.h"
#include "session/session_probe.h"
#include "session/session_tunnel.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RING_ENTRIES 4096
#define RING_BUFFERS 256
#define RING_BUFFER_BYTES 32768
#define APP_LIMIT (256 * 1024)
#define PIPE_BYTES (1024 * 1024)
#define PIPES_KEPT 64
#define TEXT_BYTES 48 /* nearly every destination fits */
#define TIDY_MS 10000 /* longer than nearly every handshake */
#define REVIEW_MS 1000
#define VISIT_CHUNK 128 /* sessions a visit looks at in one turn: well under a millisecond */
/* After a successor took the addresses over, handshakes that began with us still end with us: a
 * round trip of a distant client, and one lost packet. */
#define RETIRE_MS 2000
#define ROOM_MADE 64 /* strangers who have to go when nobody can be accepted any more */

/* What this machine lacks, as one of ours; other errors of the system have none. */
static int reason_of(int error)
{
	switch (error) {
	case -ENOMEM:
		return CV_INTERNAL_MEMORY;
	case -EMFILE:
	case -ENFILE:
	case -ENOBUFS:
		return CV_INTERNAL_RESOURCE;
	default:
		return error;
	}
}

/* Our own trouble is everybody's; whoever wants to know about each session reads level info. */
static void warn(const struct cv_worker *worker, int reason)
{
	static struct cv_log_pace paces[CV_INTERNAL_MEMORY - CV_INTERNAL_STATE + 1], limit;
	const bool is_ours = reason <= CV_INTERNAL_MEMORY && reason >= CV_INTERNAL_STATE;
	uint64_t held_back;

	if ((!is_ours && reason != CV_POLICY_SESSION_LIMIT) ||
	    !cv_log_turn(is_ours ? &paces[CV_INTERNAL_MEMORY - reason] : &limit, &held_back))
		return;
	cv_log(CV_LOG_WARNING, "worker %u: %s (%s), %" PRIu64 " times more since the last such "
	       "line", worker->index, cv_reason_text(reason), cv_reason_label(reason), held_back);
}

void cv_worker_count(struct cv_worker *worker, int reason)
{
	int index = cv_reason_index(reason_of(reason));

	if (index >= 0 && index < CV_WORKER_REASONS)
		atomic_fetch_add_explicit(&worker->counters.reasons[index], 1,
					  memory_order_relaxed);
	warn(worker, reason_of(reason));
}

/* ---- sessions ----------------------------------------------------------------------------- */

/* What handshakes used is free but still ours, many times what their sessions keep. */
static void tidy_due(struct cv_timer *timer)
{
	struct cv_worker *worker = cv_container_of(timer, struct cv_worker, tidy_timer);

	cv_buffer_store_empty();
	(void)malloc_trim(0);
	if (worker->tidy_again)
		cv_timer_arm(worker->ring, timer, cv_ring_now_ms(worker->ring) + TIDY_MS);
	worker->tidy_again = false;
}

static void tidy_later(struct cv_worker *worker)
{
	worker->tidy_again = worker->tidy_timer.heap_index != 0;
	worker->tidy_timer.due = tidy_due;
	if (!worker->tidy_again)
		cv_timer_arm(worker->ring, &worker->tidy_timer,
			     cv_ring_now_ms(worker->ring) + TIDY_MS);
}

/* Once a second, while there are sessions: what the kernel moved reaches the counters. */
static void review_due(struct cv_timer *timer)
{
	struct cv_worker *worker = cv_container_of(timer, struct cv_worker, review_timer);

	for (struct cv_session *s = worker->sessions; s; s = s->next) {
		cv_handover_review(s);
		cv_session_account(s);
	}
	cv_handover_reviewed(worker);
	atomic_store_explicit(&worker->counters.receive_buffer_bytes,
			      cv_ring_window_bytes(worker->ring), memory_order_relaxed);
	if (worker->sessions)
		cv_timer_arm(worker->ring, timer, cv_ring_now_ms(worker->ring) + REVIEW_MS);
}

static void review_later(struct cv_worker *worker)
{
	worker->review_timer.due = review_due;
	if (worker->review_timer.heap_index == 0)
		cv_timer_arm(worker->ring, &worker->review_timer,
			     cv_ring_now_ms(worker->ring) + REVIEW_MS);
}

struct cv_session *cv_worker_adopt(struct cv_worker *worker)
{
	struct cv_session *session = cv_slab_take(&worker->slab);

	if (!session)
		return NULL;
	session->worker = worker;
	session->config = worker->config;
	atomic_fetch_add(&session->config->session_count, 1);
	session->id = ++worker->next_id;
	session->next = worker->sessions;
	if (worker->sessions)
		worker->sessions->previous = session;
	worker->sessions = session;
	tidy_later(worker);
	review_later(worker);
	atomic_fetch_add_explicit(&worker->counters.sessions, 1, memory_order_relaxed);
	return session;
}

void cv_worker_forget(struct cv_worker *worker, struct cv_session *session)
{
	if (session->next)
		session->next->previous = session->previous;
	if (session->previous)
		session->previous->next = session->next;
	else
		worker->sessions = session->next;
	atomic_fetch_sub(&session->config->session_count, 1);
	cv_slab_give(&worker->slab, session);
	atomic_fetch_sub_explicit(&worker->counters.sessions, 1, memory_order_relaxed);
}

/* In slots: a block of the heap would pin its page when the handshake around it is gone. */
char *cv_worker_keep_text(struct cv_worker *worker, const char *text)
{
	char *kept;

	if (strlen(text) >= TEXT_BYTES)
		return strdup(text);
	kept = cv_slab_take(&worker->texts);
	if (kept)
		strcpy(kept, text);
	return kept;
}

void cv_worker_forget_text(struct cv_worker *worker, char *text)
{
	if (text && strlen(text) >= TEXT_BYTES)
		free(text);
	else
		cv_slab_give(&worker->texts, text);
}

/* Nobody waits for what they would find. */
static void close_probes(struct cv_worker *worker)
{
	struct cv_session *session = worker->sessions;

	while (session) {
		struct cv_session *next = session->next;

		if (cv_probe_is(session)) {
			cv_session_close(session, CV_POLICY_STOPPING);
			cv_session_event(session, NULL, 0);
		}
		session = next;
	}
}

static void close_all_sessions(struct cv_worker *worker, int reason)
{
	struct cv_session *session = worker->sessions;

	while (session) {
		struct cv_session *next = session->next;

		cv_session_close(session, reason);
		cv_session_event(session, NULL, 0);
		session = next;
	}
}

/* ---- listeners ---------------------------------------------------------------------------- */

static void accepted(struct cv_op *op, int result, uint32_t flags)
{
	struct cv_listener *listener = cv_container_of(op, struct cv_listener, accept_op);
	struct cv_worker *worker = listener->worker;

	(void)flags;
	if (result >= 0 && worker->stopping && !worker->retiring) {
		(void)close(result);
		return;
	}
	if (result < 0 && op->pending) { /* who knocks waits in the listener's queue */
		cv_worker_count(worker, result);
		if (worker->leaving < ROOM_MADE)
			cv_room_make(worker, ROOM_MADE, CV_INTERNAL_RESOURCE);
		return;
	}
	if (result < 0) { /* the ring arms the accept again where that makes sense */
		if (!worker->stopping && !listener->is_shared)
			cv_log(CV_LOG_ERROR, "inbound=%s: worker %u accepts no more: %s",
			       listener->inbound->tag, worker->index, cv_reason_text(result));
		return;
	}
	atomic_fetch_add_explicit(&worker->counters.accepted, 1, memory_order_relaxed);
	if (cv_room_few_descriptors(worker, result))
		cv_room_make(worker, 2, CV_INTERNAL_RESOURCE);
	cv_session_start(worker, listener->inbound, result);
}

static void listen_posted(struct cv_post *post)
{
	struct cv_worker_listen_post *message =
		cv_container_of(post, struct cv_worker_listen_post, post);
	struct cv_worker *worker = message->worker;
	struct cv_listener *listener = message->listener;

	if (message->is_datagram && !worker->stopping) {
		if (cv_tunnel_listen(worker, message->inbound, message->fd) != 0)
			cv_log(CV_LOG_ERROR, "inbound=%s: worker %u hears no datagrams",
			       message->inbound->tag, worker->index);
		free(message);
		return;
	}
	if (worker->stopping) {
		(void)close(message->fd);
		free(listener);
		free(message);
		return;
	}
	listener->worker = worker;
	listener->inbound = message->inbound;
	listener->fd = message->fd;
	listener->accept_op.done = accepted;
	listener->next = worker->listeners;
	worker->listeners = listener;
	cv_ring_accept(worker->ring, &listener->accept_op, listener->fd);
	free(message);
}

static int post_socket(struct cv_worker *worker, const struct cv_inbound *inbound, int fd,
		       bool is_datagram)
{
	struct cv_worker_listen_post *message = calloc(1, sizeof(*message));

	if (message && !is_datagram)
		message->listener = calloc(1, sizeof(*message->listener));
	if (!message || (!is_datagram && !message->listener)) {
		free(message);
		return CV_INTERNAL_MEMORY;
	}
	message->post.run = listen_posted;
	message->worker = worker;
	message->inbound = inbound;
	message->fd = fd;
	message->is_datagram = is_datagram;
	cv_ring_post(worker->ring, &message->post);
	return 0;
}

int cv_worker_listen(struct cv_worker *worker, const struct cv_inbound *inbound, int fd)
{
	return post_socket(worker, inbound, fd, false);
}

int cv_worker_hear(struct cv_worker *worker, const struct cv_inbound *inbound, int fd)
{
	return post_socket(worker, inbound, fd, true);
}

/* ---- another configuration ---------------------------------------------------------------- */

struct use {
	struct cv_post post;
	struct cv_worker *worker;
	struct cv_config *config;
	pthread_mutex_t lock;
	pthread_cond_t done;
	bool is_done;
};

static void use_posted(struct cv_post *post)
{
	struct use *use = cv_container_of(post, struct use, post);

	for (struct cv_listener *l = use->worker->listeners; l; l = l->next)
		l->inbound = cv_reload_successor(l->inbound, use->config);
	cv_tunnel_use(use->worker, use->config);
	cv_reverse_use(use->worker, use->config);
	use->worker->config = use->config;
	if (use->worker->index == 0 && !use->worker->stopping) {
		use->worker->checks = cv_backend_checks_free(use->worker->checks);
		use->worker->checks = cv_backend_checks_new(use->worker->ring,
							    use->worker->resolver, use->config);
		use->worker->observatory = cv_observatory_free(use->worker->observatory);
		use->worker->observatory = cv_observatory_new(use->worker);
	}
	pthread_mutex_lock(&use->lock);
	use->is_done = true;
	pthread_cond_signal(&use->done);
	pthread_mutex_unlock(&use->lock);
}

void cv_worker_use(struct cv_worker *worker, struct cv_config *config)
{
	struct use use = {.post.run = use_posted, .worker = worker, .config = config};

	pthread_mutex_init(&use.lock, NULL);
	pthread_cond_init(&use.done, NULL);
	cv_ring_post(worker->ring, &use.post);
	pthread_mutex_lock(&use.lock);
	while (!use.is_done)
		pthread_cond_wait(&use.done, &use.lock);
	pthread_mutex_unlock(&use.lock);
	pthread_cond_destroy(&use.done);
	pthread_mutex_destroy(&use.lock);
}

/* ---- stopping ----------------------------------------------------------------------------- */

static void drain_due(struct cv_timer *timer)
{
	struct cv_worker *worker = cv_container_of(timer, struct cv_worker, drain_timer);

	if (worker->sessions)
		cv_log(CV_LOG_INFO, "worker %u: cutting sessions still open after %u s",
		       worker->index, worker->config->daemon.drain_s);
	close_all_sessions(worker, CV_POLICY_STOPPING);
}

static void stop_accepting(struct cv_worker *worker)
{
	if (worker->stopping)
		return;
	worker->stopping = true;
	worker->checks = cv_backend_checks_free(worker->checks);
	worker->observatory = cv_observatory_free(worker->observatory);
	close_probes(worker);
	cv_tunnel_close_all(worker);
	cv_reverse_stop(worker);
	cv_portal_stop(worker);
	cv_carriers_stop(worker);
	for (struct cv_listener *l = worker->listeners; l; l = l->next)
		if (l->accept_op.pending)
			cv_ring_cancel(worker->ring, &l->accept_op);
	worker->drain_timer.due = drain_due;
	cv_timer_arm(worker->ring, &worker->drain_timer,
		     cv_ring_now_ms(worker->ring) + worker->config->daemon.drain_s * 1000u);
}

static void stop_posted(struct cv_post *post)
{
	struct cv_worker *worker = cv_container_of(post, struct cv_worker, stop_post);

	worker->retiring = false;
	stop_accepting(worker);
}

static void retire_due(struct cv_timer *timer)
{
	stop_accepting(cv_container_of(timer, struct cv_worker, drain_timer));
}

/* Ours would be cut when we have drained, and have begun by a configuration that is gone. */
static void leave_shared(struct cv_worker *worker)
{
	for (struct cv_listener *l = worker->listeners; l; l = l->next) {
		for (size_t i = 0; i < worker->shared_count; i++)
			l->is_shared |= l->fd == worker->shared_fds[i];
		if (l->is_shared && l->accept_op.pending)
			cv_ring_cancel(worker->ring, &l->accept_op);
	}
}

static void retire_posted(struct cv_post *post)
{
	struct cv_worker *worker = cv_container_of(post, struct cv_worker, retire_post);

	if (worker->stopping)
		return;
	if (!cv_rule_holds("retire-accepts")) {
		stop_accepting(worker);
		return;
	}
	worker->retiring = true;
	leave_shared(worker);
	cv_portal_stop(worker); /* clients go to the successor: so shall tunnels */
	worker->drain_timer.due = retire_due;
	cv_timer_arm(worker->ring, &worker->drain_timer,
		     cv_ring_now_ms(worker->ring) + RETIRE_MS);
}

void cv_worker_retire(struct cv_worker *worker, const int *shared, size_t shared_count)
{
	worker->shared_fds = shared;
	worker->shared_count = shared_count;
	worker->retire_post.run = retire_posted;
	cv_ring_post(worker->ring, &worker->retire_post);
}

void cv_worker_stop(struct cv_worker *worker)
{
	worker->stop_post.run = stop_posted;
	cv_ring_post(worker->ring, &worker->stop_post);
}

static bool listeners_quiet(const struct cv_worker *worker)
{
	for (struct cv_listener *l = worker->listeners; l; l = l->next)
		if (l->accept_op.pending)
			return false;
	return true;
}

/* ---- thread ------------------------------------------------------------------------------- */

static int descriptors_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > INT_MAX / 2)
		return INT_MAX / 2;
	return (int)limit.rlim_cur;
}

static int set_up(struct cv_worker *worker)
{
	const struct cv_ring_config ring_config = {
		.entry_count = RING_ENTRIES,
		.buffer_count = RING_BUFFERS,
		.buffer_bytes = RING_BUFFER_BYTES,
	};
	int error = cv_ring_new(&ring_config, &worker->ring);

	if (error)
		return error;
	worker->env.ring = worker->ring;
	worker->env.pipes =
		cv_pipe_pool_new(worker->config->daemon.max_pipes, PIPES_KEPT, PIPE_BYTES);
	if (!worker->env.pipes)
		return -ENOMEM;
	cv_slab_init(&worker->slab, sizeof(struct cv_session), worker->config->daemon.max_sessions);
	cv_slab_init(&worker->texts, TEXT_BYTES, worker->config->daemon.max_sessions);
	cv_buffer_init(&worker->app, APP_LIMIT);
	worker->descriptors_limit = descriptors_limit();
	if (worker->index == 0) {
		worker->checks =
			cv_backend_checks_new(worker->ring, worker->resolver, worker->config);
		worker->observatory = cv_observatory_new(worker);
	}
	cv_reverse_use(worker, worker->config);
	return 0;
}

static void tear_down(struct cv_worker *worker)
{
	while (worker->listeners) {
		struct cv_listener *listener = worker->listeners;

		worker->listeners = listener->next;
		if (listener->fd >= 0)
			(void)close(listener->fd);
		free(listener);
	}
	cv_timer_disarm(worker->ring, &worker->drain_timer);
	cv_timer_disarm(worker->ring, &worker->tidy_timer);
	cv_timer_disarm(worker->ring, &worker->limits_timer);
	cv_timer_disarm(worker->ring, &worker->review_timer);
	worker->reverse = cv_reverse_free(worker->reverse);
	worker->streams = cv_streams_free(worker->streams);
	cv_buffer_done(&worker->app);
	cv_slab_done(&worker->slab);
	cv_slab_done(&worker->texts);
	worker->env.sockmap = cv_sockmap_free(worker->env.sockmap);
	worker->spider_paths = cv_spider_paths_free(worker->spider_paths);
	worker->datagram_pool = cv_datagram_pool_free(worker->datagram_pool);
	cv_pipe_pool_free(worker->env.pipes);
	worker->ring = cv_ring_free(worker->ring);
}

/* Closing a listener resets whoever waits in its queue. */
static void serve_queue(struct cv_listener *listener)
{
	int fd;

	while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		accepted(&listener->accept_op, fd, 0);
}

/* The listening sockets close as soon as their accepts ended, long before the sessions have. */
static void close_quiet_listeners(struct cv_worker *worker)
{
	for (struct cv_listener *l = worker->listeners; l; l = l->next) {
		if (l->accept_op.pending || l->fd < 0)
			continue;
		if (worker->retiring && !l->is_shared)
			serve_queue(l);
		(void)close(l->fd);
		l->fd = -1;
	}
}

static void turn(struct cv_worker *worker)
{
	const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
	int error = cv_ring_turn(worker->ring);

	if (!error)
		return;
	if (error == -ENOMEM || error == -ENOBUFS) { /* nothing was submitted, nothing is lost */
		cv_worker_count(worker, error);
		(void)nanosleep(&pause, NULL);
		return;
	}
	cv_log(CV_LOG_ERROR, "worker %u: ring: %s", worker->index, cv_reason_text(error));
	abort(); /* without a ring no session of this worker can even be closed */
}

static void *thread_main(void *opaque)
{
	struct cv_worker *worker = opaque;
	int error = set_up(worker);

	atomic_store(&worker->start_error, error);
	atomic_store(&worker->ready, true);
	if (error)
		return NULL;
	/* dials outlive their sessions until the kernel has given up on them, as it was asked to */
	while (!worker->stopping || worker->sessions || !listeners_quiet(worker) ||
	       !cv_connect_all_ended(worker->ring)) {
		turn(worker);
		if (worker->stopping)
			close_quiet_listeners(worker);
	}
	cv_buffer_store_empty();
	return NULL;
}

int cv_worker_start(struct cv_worker *worker)
{
	const struct timespec pause = {.tv_nsec = 1000 * 1000};
	sigset_t all, before;
	int error;

	sigfillset(&all); /* signals are the main thread's */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	/* Where a sanitizer serves malloc(), glibc's own wakes up in the first malloc_trim(); two
	 * threads must not do that at the same time: it aborts when they end. */
	(void)malloc_trim(0);
	error = pthread_create(&worker->thread, NULL, thread_main, worker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return -error;
	while (!atomic_load(&worker->ready))
		(void)nanosleep(&pause, NULL);
	error = atomic_load(&worker->start_error);
	if (error) {
		cv_worker_join(worker);
		cv_worker_done(worker);
	}
	return error;
}

void cv_worker_join(struct cv_worker *worker)
{
	pthread_join(worker->thread, NULL);
}

void cv_worker_done(struct cv_worker *worker)
{
	if (worker->ring)
		tear_down(worker);
}

/* ---- visits ------------------------------------------------------------------------------- */

/* Newest first, so ids fall: what was visited already, and what came since, is skipped. */
static void visit_posted(struct cv_post *post)
{
	struct cv_worker_visit *visit = cv_container_of(post, struct cv_worker_visit, post);
	struct cv_session *s = visit->worker->sessions, *next;
	unsigned seen = 0;

	while (s && s->id >= visit->below_id)
		s = s->next;
	for (; s && seen < VISIT_CHUNK; s = next, seen++) {
		next = s->next;
		visit->below_id = s->id;
		visit->session(visit, s);
	}
	pthread_mutex_lock(&visit->lock);
	visit->finished = !s;
	visit->answered = true;
	pthread_cond_signal(&visit->done);
	pthread_mutex_unlock(&visit->lock);
}

void cv_worker_visit_all(struct cv_worker *worker, struct cv_worker_visit *visit)
{
	visit->post.run = visit_posted;
	visit->worker = worker;
	visit->below_id = UINT64_MAX;
	visit->finished = false;
	pthread_mutex_init(&visit->lock, NULL);
	pthread_cond_init(&visit->done, NULL);
	while (!visit->finished) {
		visit->answered = false;
		cv_ring_post(worker->ring, &visit->post);
		pthread_mutex_lock(&visit->lock);
		while (!visit->answered)
			pthread_cond_wait(&visit->done, &visit->lock);
		pthread_mutex_unlock(&visit->lock);
	}
	pthread_cond_destroy(&visit->done);
	pthread_mutex_destroy(&visit->lock);
}
