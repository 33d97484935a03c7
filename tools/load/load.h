/* SPDX-License-Identifier: MIT */
/*
 * load.h - what the files of the load generator share: options, a ring, counters, a worker.
 */
#ifndef CV_LOAD_LOAD_H
#define CV_LOAD_LOAD_H

#include "base/address.h"
#include "base/buffer.h"
#include "protocol/tls_client.h"

#include <liburing.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

#define CV_LOAD_CORES_MAX 64
#define CV_LOAD_MESSAGE_MAX 65536u
/* To 'c'; behind TLS to 'i', too: enough for a relay to see a record. */
#define CV_LOAD_ANSWER_BYTES 1000

enum cv_load_kind {
	CV_LOAD_DOWNLOAD, CV_LOAD_UPLOAD, CV_LOAD_REQUEST, CV_LOAD_CHURN, CV_LOAD_IDLE,
	CV_LOAD_HANDSHAKE, CV_LOAD_PROBE, CV_LOAD_DECISION, CV_LOAD_UDP, CV_LOAD_KINDS,
};

enum cv_load_way {
	CV_LOAD_DIRECT, CV_LOAD_SOCKS5, CV_LOAD_HTTP, CV_LOAD_SNI, CV_LOAD_SOCKS5_TLS,
	CV_LOAD_HTTP_TLS, CV_LOAD_REALITY_X25519, CV_LOAD_REALITY_HYBRID, CV_LOAD_TLS13,
	CV_LOAD_WAYS,
};

/* Why a connection failed. */
enum cv_load_failure {
	CV_LOAD_FAIL_SOCKET,  /* none to be had here */
	CV_LOAD_FAIL_CONNECT, /* refused, unreachable */
	CV_LOAD_FAIL_RESET,
	CV_LOAD_FAIL_CLOSED, /* the other side ended it where it should not */
	CV_LOAD_FAIL_PROXY,  /* said no, or nonsense */
	CV_LOAD_FAIL_TLS,
	CV_LOAD_FAIL_TIMEOUT,
	CV_LOAD_FAILURES,
};

struct cv_load_options {
	enum cv_load_kind kind;
	enum cv_load_way way;
	struct cv_destination to;
	struct cv_sockaddr dial; /* the relay, or where to go without one */
	const char *sni, *user, *password, *counter_path;
	const char *certificate_path, *key_path;
	struct cv_reality_client_config reality;
	bool has_to, has_relay, has_public_key, inner_tls, only_x25519;
	uint32_t connections, message_bytes;
	double seconds, warm_seconds, timeout_seconds, rate;
	int cores[CV_LOAD_CORES_MAX];
	size_t core_count;
	struct cv_destination serve_host;
	uint16_t bulk_port, tls_port, echo_port, stamp_port, udp_echo_port;
};

/** cv_load_parse_run() - The words behind "run". False after saying what is wrong on stderr. */
bool cv_load_parse_run(int argc, char **argv, struct cv_load_options *ret_options);
/** cv_load_parse_serve() - The words behind "serve". As cv_load_parse_run(). */
bool cv_load_parse_serve(int argc, char **argv, struct cv_load_options *ret_options);
const char *cv_load_failure_name(enum cv_load_failure failure);

/* ---- time and latencies, in clock.c -------------------------------------------------------- */

#define CV_LOAD_SECOND_NS 1000000000ull
#define CV_LOAD_BUCKETS (48 * 32)

/* 32 buckets per doubling of nanoseconds: a percentile is at most 3 % too high. */
struct cv_load_histogram {
	uint64_t count, max_ns, buckets[CV_LOAD_BUCKETS];
};

uint64_t cv_load_now_ns(void);
void cv_load_histogram_add(struct cv_load_histogram *histogram, uint64_t ns);
void cv_load_histogram_merge(struct cv_load_histogram *histogram,
			     const struct cv_load_histogram *other);
/** cv_load_histogram_us() - Microseconds that @part of all stay within; 0 without any. */
double cv_load_histogram_us(const struct cv_load_histogram *histogram, double part);

/* ---- a ring, in uring.c -------------------------------------------------------------------- */

struct cv_load_ring {
	struct io_uring uring;
	uint64_t enter_count;
};

/* What an operation belongs to is in the low bits of its user data. */
enum cv_load_op { CV_LOAD_OP_CONNECT = 1, CV_LOAD_OP_SEND, CV_LOAD_OP_RECV, CV_LOAD_OP_ACCEPT };
#define CV_LOAD_OP_MASK 7u

/** cv_load_ring_init() - On the thread that will use it. Returns 0 or -errno. */
int cv_load_ring_init(struct cv_load_ring *ring, unsigned entry_count);
/** cv_load_ring_entry() - Never NULL: what is there is submitted when the queue is full. */
struct io_uring_sqe *cv_load_ring_entry(struct cv_load_ring *ring, void *object,
					enum cv_load_op op);
/** cv_load_ring_wait() - Submit, and wait for a completion or until @timeout_ns passed. */
void cv_load_ring_wait(struct cv_load_ring *ring, uint64_t timeout_ns);

/* ---- the whole process, in main.c ---------------------------------------------------------- */

struct cv_load_counts {
	uint64_t bytes, requests, established, unstarted, failed[CV_LOAD_FAILURES];
	uint64_t sent, received; /* datagrams */
};

/* What the workers of a run and its main thread tell each other. */
struct cv_load_run {
	const struct cv_load_options *options;
	_Atomic uint32_t settled_count; /* connections that stand or failed */
	_Atomic uint64_t start_ns;	/* 0: not yet */
	_Atomic bool is_over;
	_Atomic uint64_t *moved_bytes; /* shared with others: --counter */
};

struct cv_load_connection;

struct cv_load_worker {
	struct cv_load_run *run;
	const struct cv_load_options *options;
	struct cv_load_ring ring;
	struct cv_load_counts counts;
	struct cv_load_histogram latency, since_syn;
	uint64_t now_ns, enter_base, begun_ns, due_count;
	struct cv_load_connection *connections;
	struct cv_load_connection **waiting; /* --rate: those with nothing under way, newest last */
	uint32_t count, dialled_count, connecting_count, waiting_count;
	bool is_running, is_warm, is_over;
	int core; /* -1: anywhere */
	struct cv_buffer hello; /* for kind decision */
};

/** cv_load_moved() - Count bytes that arrived or were taken, also for whoever watches. */
static inline void cv_load_moved(struct cv_load_worker *worker, uint64_t bytes)
{
	worker->counts.bytes += bytes;
	if (worker->run->moved_bytes)
		atomic_fetch_add_explicit(worker->run->moved_bytes, bytes, memory_order_relaxed);
}

void cv_load_pin(int core);
/** cv_load_counter() - Eight bytes of a file that others see grow; NULL without @path. */
_Atomic uint64_t *cv_load_counter(const char *path);
/** cv_load_die() - "load: @what: strerror(@error)" and status 1. */
_Noreturn void cv_load_die(const char *what, int error);
/* What is sent, again and again: TLS records that nobody can read. */
#define CV_LOAD_RECORD_BYTES (5 + 16384 + 17)
#define CV_LOAD_BYTES (16 * CV_LOAD_RECORD_BYTES)
extern uint8_t cv_load_bytes[CV_LOAD_BYTES];
extern uint8_t cv_load_message[CV_LOAD_MESSAGE_MAX]; /* likewise: whole records, if it has to */
extern uint8_t cv_load_scratch[1 << 20]; /* written by the kernel, if at all; read by nobody */

/** cv_load_work() - A worker's thread: struct cv_load_worker. In work.c. */
void *cv_load_work(void *opaque);
/** cv_load_work_udp() - The same for kind udp. In udp.c. */
void *cv_load_work_udp(void *opaque);
/** cv_load_serve() - Until SIGTERM. Returns the exit status. In serve.c. */
int cv_load_serve(const struct cv_load_options *options);
/** cv_load_udp_echo() - Send back what comes to fd *@opaque. A thread. In udp.c. */
void *cv_load_udp_echo(void *opaque);
/** cv_load_bind() - A socket of @type at @port of @host, SO_REUSEPORT. Dies otherwise. */
int cv_load_bind(const struct cv_destination *host, uint16_t port, int type);

#endif
