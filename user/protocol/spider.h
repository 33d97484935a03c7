/* SPDX-License-Identifier: MIT */
/*
 * spider.h - what a REALITY client does when the real site answers (REALITY 12.3): it browses there
 * like the browser it pretends to be. Sans-IO; HTTP/2, or HTTP/1.1 if that is what ALPN gave.
 *
 *   tls client says REAL_CERTIFICATE --> cv_spider_new() --> output: preface, first GET
 *   plaintext from the record layer  --> cv_spider_read()    (links go into the paths object)
 *   cv_spider_next_wake_ms() passed  --> cv_spider_wake()    (more GETs appear in output)
 *   cv_spider_return_at_ms() passed  --> the session may report failure to its client; the
 *                                        connection itself stays open as long as the policy allows
 */
#ifndef CV_PROTOCOL_SPIDER_H
#define CV_PROTOCOL_SPIDER_H

#include "protocol/fingerprint.h"

#define CV_SPIDER_PATH_MAX 512
#define CV_SPIDER_WORKERS_MAX 16
#define CV_SPIDER_PADDING_MAX 8192
#define CV_SPIDER_TIMES_MAX 1000
#define CV_SPIDER_NEVER UINT64_MAX

struct cv_spider_range { /* inclusive */
	uint32_t from, to;
};

/* spiderX, taken apart. Everything is 0 unless given: then only the first request is made. */
struct cv_spider_plan {
	char path[CV_SPIDER_PATH_MAX]; /* query keys p, c, t, i, r removed */
	struct cv_spider_range padding;     /* p: zeros in the cookie */
	struct cv_spider_range concurrency; /* c: workers */
	struct cv_spider_range times;       /* t: requests per worker */
	struct cv_spider_range interval_ms; /* i: pause between a worker's requests */
	struct cv_spider_range return_ms;   /* r: when the caller may report */
};

/**
 * cv_spider_plan_parse() - @spider_x: "/path?p=100-200&c=2&t=3-5&i=10-100&r=0"; "" or NULL is "/".
 * Values above our limits are clamped to them. Returns 0, or CV_INTERNAL_CONFIG (does not start
 * with "/", too long, control characters, a range that is not "a" or "a-b" with a <= b).
 */
int cv_spider_plan_parse(const char *spider_x, struct cv_spider_plan *ret_plan);

/* Known paths per server name; one object per worker, not thread safe. At most 64 names, 256 paths
 * each. */
struct cv_spider_paths;
struct cv_spider_paths *cv_spider_paths_new(void);
struct cv_spider_paths *cv_spider_paths_free(struct cv_spider_paths *paths);

struct cv_spider_config {
	const struct cv_spider_plan *plan; /* copied */
	const char *server_name;           /* copied */
	enum cv_fingerprint fingerprint;   /* as resolved by the TLS client: headers follow it */
	bool http2;                        /* ALPN was "h2" */
	struct cv_spider_paths *paths;     /* borrowed for the spider's lifetime */
};

struct cv_spider;

/** cv_spider_new() - The first request is in output at once. NULL when out of memory. */
struct cv_spider *cv_spider_new(const struct cv_spider_config *config, uint64_t now_ms);
struct cv_spider *cv_spider_free(struct cv_spider *spider);

/** cv_spider_output() - Plaintext to be sent through the record layer; the caller consumes it. */
struct cv_buffer *cv_spider_output(struct cv_spider *spider);

/**
 * cv_spider_read() - Plaintext from the site; everything is consumed.
 * Returns: 0; CV_UPSTREAM_CLOSED (GOAWAY, "connection: close": nothing more will be asked);
 * CV_UPSTREAM_DECODE, CV_UPSTREAM_UNEXPECTED_MESSAGE (not HTTP as we know it); CV_INTERNAL_MEMORY.
 * After an error the spider stays silent; the connection may be kept or closed.
 */
int cv_spider_read(struct cv_spider *spider, struct cv_span bytes, uint64_t now_ms);

/** cv_spider_next_wake_ms() - When cv_spider_wake() wants to be called; CV_SPIDER_NEVER if not. */
uint64_t cv_spider_next_wake_ms(const struct cv_spider *spider);
void cv_spider_wake(struct cv_spider *spider, uint64_t now_ms);

/** cv_spider_return_at_ms() - From when on the failure may be reported (REALITY 12.3, "r"). */
uint64_t cv_spider_return_at_ms(const struct cv_spider *spider);

/** cv_spider_finished() - Every planned request was answered, or nothing more can be asked. */
bool cv_spider_finished(const struct cv_spider *spider);

/** cv_spider_user_agent() - What the browser of that fingerprint calls itself. */
const char *cv_spider_user_agent(enum cv_fingerprint fingerprint);
/** cv_spider_requests() - How many requests were sent (for the log). */
unsigned cv_spider_requests(const struct cv_spider *spider);

#endif
