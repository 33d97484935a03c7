/* SPDX-License-Identifier: MIT */
/*
 * worker.h - a thread with one ring: its listeners, its sessions, its counters. Shared-nothing.
 */
#ifndef CV_SESSION_WORKER_H
#define CV_SESSION_WORKER_H

#include "base/container.h"
#include "base/slab.h"
#include "engine/choice.h"
#include "engine/engine.h"
#include "policy/config.h"
#include "ring/ring.h"
#include "session/room.h"

#include <culvert/classify.h>

#include <pthread.h>
#include <stdatomic.h>

#define CV_WORKER_REASONS 128

struct cv_backend_checks;
struct cv_classify;
struct cv_datagram_pool;
struct cv_kernel;
struct cv_observatory;
struct cv_ktls_support;
struct cv_limited;
struct cv_reverse;
struct cv_session;
struct cv_sockmap_selftest;
struct cv_spider_paths;
struct cv_tunnel_listener;
struct cv_streams;
struct cv_verifier;

struct cv_listener {
	struct cv_worker *worker;
	const struct cv_inbound *inbound;
	int fd;
	struct cv_op accept_op;
	bool is_shared; /* with a successor: who waits in its queue is the successor's */
	struct cv_listener *next;
};

struct cv_worker_counters { /* written by the worker, read by anyone */
	_Atomic uint64_t accepted, relayed_uplink_bytes, relayed_downlink_bytes;
	_Atomic uint64_t promoted; /* sessions, to sockmap */
	_Atomic uint64_t engine_bytes[CV_ENGINES][2]; /* uplink, downlink */
	_Atomic uint64_t engine_flows[CV_ENGINES][2]; /* given to it; one flow may be to several */
	_Atomic uint64_t engine_refused[CV_ENGINES];  /* ... of these, not taken */
	_Atomic uint64_t class_bytes[CV_CLASSIFY_CLASSES][2];
	_Atomic uint64_t aside_bytes[2]; /* of strangers: to targets, fallbacks, backends */
	_Atomic uint64_t datagram_bytes[2]; /* an association's may leave by several outbounds */
	_Atomic uint64_t class_sessions[CV_CLASSIFY_CLASSES]; /* whose name was looked at */
	_Atomic uint64_t handed_over[2], reality_accepted, reality_hybrid, reality_classic;
	_Atomic uint64_t reasons[CV_WORKER_REASONS];
	_Atomic uint64_t receive_buffer_bytes; /* that the ring may have in use */
	_Atomic uint32_t sessions, associations;
};

struct cv_worker {
	unsigned index;
	struct cv_config *config; /* of sessions to come; a session has its own */
	struct cv_resolver *resolver; /* borrowed, shared by the process */
	struct cv_verifier *verifier; /* the same */
	const struct cv_ktls_support *ktls; /* borrowed; NULL = records stay in user space */
	const struct cv_engine *engine; /* what CLEAR <-> CLEAR directions are handed to first */
	enum cv_choice_mode mode;	/* and where they may go from there */
	const struct cv_kernel *kernel; /* borrowed; NULL = no sockmap */
	const struct cv_sockmap_selftest *selftest; /* borrowed; of the kernel's relay part */
	bool selftest_counted; /* that it failed */
	uint32_t busy_flows, busy_flows_next; /* directions worth a promotion, in the last second */
	struct cv_backend_checks *checks; /* of backends; the first worker's, else NULL */
	struct cv_observatory *observatory; /* likewise, of outbounds */
	const struct cv_classify *classify; /* names are read in the kernel; NULL: only here */
	struct cv_ring *ring;
	struct cv_engine_env env;
	struct cv_slab slab;
	struct cv_slab texts; /* short ones that live as long as their session */
	struct cv_session *sessions; /* list */
	struct cv_line lines[CV_LINES]; /* of strangers; room.c */
	uint32_t strangers;		/* in them */
	uint32_t leaving;		/* sessions that have to go, and still hold their slots */
	int descriptors_limit;
	struct cv_listener *listeners;
	struct cv_tunnel_listener *tunnels; /* for datagrams; session_tunnel.c */
	struct cv_datagram_pool *datagram_pool; /* NULL until a datagram needs it */
	struct cv_spider_paths *spider_paths; /* NULL until a spider needs them */
	struct cv_reverse *reverse; /* tunnels; NULL until there are some to be */
	struct cv_streams *streams; /* of carriers; NULL until there is one */
	struct cv_buffer app; /* scratch of the relay, empty between events */
	uint64_t next_id;
	struct cv_worker_counters counters;
	pthread_t thread;
	struct cv_post stop_post, retire_post;
	const int *shared_fds; /* of a retirement; borrowed */
	size_t shared_count;
	struct cv_timer drain_timer;
	struct cv_timer tidy_timer; /* gives the memory of past handshakes back to the system */
	bool tidy_again;	    /* sessions came after it was armed */
	struct cv_timer limits_timer; /* several times a second, while there are limited ones */
	struct cv_limited *limited;   /* sessions of users with limits; session_limits.c */
	struct cv_timer mappings_timer; /* while ports are kept for streams to come */
	struct cv_timer review_timer; /* each second, while there are sessions */
	bool stopping;
	bool retiring; /* a successor has the addresses: who is in our queues is served here */
	_Atomic bool ready; /* 0 until the ring runs */
	_Atomic int start_error;
};

/** cv_worker_start() - Start the thread: ring, engines. Listeners follow by cv_worker_listen().
 * Returns 0 or -errno; then nothing of it is left. */
int cv_worker_start(struct cv_worker *worker);
struct cv_worker_listen_post {
	struct cv_post post;
	struct cv_worker *worker;
	const struct cv_inbound *inbound;
	struct cv_listener *listener; /* what becomes of it; NULL: it hears datagrams */
	int fd;
	bool is_datagram;
};
/** cv_worker_listen() - Thread safe: accept on @fd for @inbound from now on. Takes @fd over, except
 * when it returns CV_INTERNAL_MEMORY. */
int cv_worker_listen(struct cv_worker *worker, const struct cv_inbound *inbound, int fd);
/** cv_worker_hear() - Likewise datagrams, for a tunnel. */
int cv_worker_hear(struct cv_worker *worker, const struct cv_inbound *inbound, int fd);
/**
 * cv_worker_use() - Sessions begin with @config from now on; waits until that is so. A listener
 * goes on for the inbound in it that has its address; there must be one (cv_reload_obstacle()).
 */
void cv_worker_use(struct cv_worker *worker, struct cv_config *config);
/** cv_worker_stop() - Thread safe: stop accepting, finish or cut at daemon.drain_s. */
void cv_worker_stop(struct cv_worker *worker);
/** cv_worker_retire() - Thread safe: as cv_worker_stop(), but accept for two more seconds and then
 * all that wait in the accept queues, since a successor has taken the addresses over. Not from the
 * sockets @shared, from which the successor accepts itself; they must live until the end. */
void cv_worker_retire(struct cv_worker *worker, const int *shared, size_t shared_count);
/** cv_worker_join() - Wait for the thread's end. */
void cv_worker_join(struct cv_worker *worker);
/** cv_worker_done() - After cv_worker_join() and cv_resolver_free(): free everything. */
void cv_worker_done(struct cv_worker *worker);

/** cv_worker_adopt() - A zeroed session in the worker's list, or NULL at the cap. */
struct cv_session *cv_worker_adopt(struct cv_worker *worker);
/** cv_worker_forget() - Take @session out of the list and give its slot back. */
void cv_worker_forget(struct cv_worker *worker, struct cv_session *session);
/** cv_worker_keep_text() - A long-lived copy or NULL; given back by cv_worker_forget_text(). */
char *cv_worker_keep_text(struct cv_worker *worker, const char *text);
void cv_worker_forget_text(struct cv_worker *worker, char *text);
/** cv_worker_count() - Add one to the counter of @reason; what this machine lacks (-ENOMEM,
 * -EMFILE ...) has one, too. Our own trouble is logged, now and then. */
void cv_worker_count(struct cv_worker *worker, int reason);

/* A request answered on the worker's own thread, e.g. a list of its sessions. */
struct cv_worker_visit {
	struct cv_post post;
	struct cv_worker *worker;
	void (*session)(struct cv_worker_visit *visit, struct cv_session *session);
	void *context;
	pthread_mutex_t lock;
	pthread_cond_t done;
	uint64_t below_id; /* sessions with smaller ids are still to be visited */
	bool answered, finished;
};
/** cv_worker_visit_all() - Call @visit->session for each session on the worker's thread, some per
 * turn, so that the worker goes on meanwhile; waits. Sessions that come meanwhile are left out. The
 * session visited may be ended. */
void cv_worker_visit_all(struct cv_worker *worker, struct cv_worker_visit *visit);

#endif
