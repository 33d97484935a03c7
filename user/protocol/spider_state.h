/* SPDX-License-Identifier: MIT */
/*
 * spider_state.h - the spider's inside, shared by the spider_*.c files only.
 *
 *   spider.c         workers, their timing, the interface
 *   spider_plan.c    spiderX and the known paths
 *   spider_request.c what a browser's GET looks like
 *   spider_h2.c      HTTP/2 frames          spider_http1.c  HTTP/1.1 messages
 *   spider_body.c    content codings, links
 */
#ifndef CV_PROTOCOL_SPIDER_STATE_H
#define CV_PROTOCOL_SPIDER_STATE_H

#include "protocol/spider.h"

#define CV_SPIDER_OUTPUT_MAX (512 * 1024)
#define CV_SPIDER_BODY_MAX (4 * 1024 * 1024) /* decoded bytes looked at per answer */
#define CV_SPIDER_FRAME_MAX 16384
#define CV_SPIDER_LINE_MAX 8192

/* ---- bodies ---- */

struct cv_spider_path_list;

struct cv_link_scanner {
	size_t matched; /* of: href=" */
	bool collecting;
	char link[CV_SPIDER_PATH_MAX + 300];
	size_t link_len;
};

struct cv_spider_body {
	struct cv_link_scanner scanner;
	uint8_t head[4]; /* the coding is recognised by these */
	size_t head_len;
	void *decoder;
	int coding; /* enum in spider_body.c; 0 = not known yet */
	size_t decoded_bytes;
};

void cv_spider_body_begin(struct cv_spider_body *body);
void cv_spider_body_done(struct cv_spider_body *body);
/** cv_spider_body_add() - Content bytes as received; links go to @paths. Never fails: what cannot
 * be decoded has no links. */
void cv_spider_body_add(struct cv_spider_body *body, const char *server_name,
			struct cv_spider_path_list *paths, struct cv_span bytes);

/* ---- known paths ---- */

/** cv_spider_paths_of() - The list of @server_name, created with @first in it; NULL: no memory. */
struct cv_spider_path_list *cv_spider_paths_of(struct cv_spider_paths *paths,
					       const char *server_name, const char *first);
const char *cv_spider_paths_draw(const struct cv_spider_path_list *list);
/** cv_spider_paths_add() - Keeps @path if it is new, well-formed and there is room. */
void cv_spider_paths_add(struct cv_spider_path_list *list, const char *path);
size_t cv_spider_paths_count(const struct cv_spider_path_list *list);
uint32_t cv_spider_draw(struct cv_spider_range range);

/* ---- workers ---- */

enum cv_spider_worker_state { CV_WORKER_OFF, CV_WORKER_PAUSING, CV_WORKER_READY, CV_WORKER_ASKING };

struct cv_spider_worker {
	enum cv_spider_worker_state state;
	uint32_t left;   /* requests still to make, the present one included */
	uint64_t wake_ms;
	uint32_t stream; /* HTTP/2 */
	uint32_t stream_unacked;
	char path[CV_SPIDER_PATH_MAX];
	char referer[CV_SPIDER_PATH_MAX]; /* "" = none */
	struct cv_spider_body body;
};

struct cv_h2_reader {
	uint8_t header[9];
	size_t header_len;
	uint32_t frame_left, frame_len, stream;
	uint8_t type, flags;
	uint8_t pad_len;
	bool pad_known;
	struct cv_buffer payload; /* frames that are needed whole */
	uint32_t connection_unacked;
	uint32_t next_stream;
	bool in_headers; /* CONTINUATION must follow */
	unsigned control_count; /* PING and SETTINGS since the last data */
};

enum cv_http1_state {
	CV_HTTP1_HEAD, CV_HTTP1_BODY, CV_HTTP1_UNTIL_CLOSE, CV_HTTP1_CHUNK_SIZE, CV_HTTP1_CHUNK,
	CV_HTTP1_CHUNK_END, CV_HTTP1_TRAILERS,
};

struct cv_http1_reader {
	enum cv_http1_state state;
	char line[CV_SPIDER_LINE_MAX];
	size_t line_len;
	uint64_t body_left;
	unsigned line_count, status;
	bool chunked, close, has_length;
};

struct cv_spider {
	struct cv_spider_plan plan;
	char server_name[256];
	enum cv_fingerprint fingerprint;
	bool http2, dead;
	int result; /* why dead */
	struct cv_spider_path_list *known;
	struct cv_buffer output;
	struct cv_spider_worker workers[1 + CV_SPIDER_WORKERS_MAX]; /* [0]: the first request */
	size_t worker_count;
	unsigned request_count;
	uint64_t return_at_ms;
	struct cv_h2_reader h2;
	struct cv_http1_reader http1;
};

/** cv_spider_answered() - The answer to @worker's request has ended. */
void cv_spider_answered(struct cv_spider *spider, struct cv_spider_worker *worker, uint64_t now_ms);
/** cv_spider_die() - No more requests; returns @reason. */
int cv_spider_die(struct cv_spider *spider, int reason);

/* ---- requests ---- */

typedef int (*cv_header_emit)(void *context, const char *name, const char *value);
/** cv_spider_emit_headers() - The browser's headers in its order; @http1: that version's names. */
int cv_spider_emit_headers(const struct cv_spider *spider, const struct cv_spider_worker *worker,
			   cv_header_emit emit, void *context);

int cv_spider_h2_preface(struct cv_spider *spider);
int cv_spider_h2_request(struct cv_spider *spider, struct cv_spider_worker *worker);
int cv_spider_h2_read(struct cv_spider *spider, struct cv_span bytes, uint64_t now_ms);
int cv_spider_http1_request(struct cv_spider *spider, struct cv_spider_worker *worker);
int cv_spider_http1_read(struct cv_spider *spider, struct cv_span bytes, uint64_t now_ms);

#endif
