// SPDX-License-Identifier: MIT
/*
 * spider_http1.c - HTTP/1.1 (RFC 9112) for sites whose ALPN answer was not h2: one request at a
 * time on one connection, answers with a length, chunked, or until the connection ends.
 */
#include "protocol/spider_state.h"

#include "base/reason.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LINES_MAX 200

/* ---- request ---- */

static int append_text(struct cv_spider *spider, const char *text)
{
	return cv_buffer_append(&spider->output, text, strlen(text));
}

static int append_field(void *context, const char *name, const char *value)
{
	struct cv_spider *spider = context;
	int result = append_text(spider, name);

	if (result == 0)
		result = append_text(spider, ": ");
	if (result == 0)
		result = append_text(spider, value);
	if (result == 0)
		result = append_text(spider, "\r\n");
	return result;
}

int cv_spider_http1_request(struct cv_spider *spider, struct cv_spider_worker *worker)
{
	char line[CV_SPIDER_PATH_MAX + 32];
	int result;

	memset(&spider->http1, 0, sizeof(spider->http1));
	snprintf(line, sizeof(line), "GET %s HTTP/1.1\r\n", worker->path);
	result = append_text(spider, line);
	if (result == 0)
		result = append_field(spider, "Host", spider->server_name);
	if (result == 0)
		result = append_field(spider, "Connection", "keep-alive");
	if (result == 0)
		result = cv_spider_emit_headers(spider, worker, append_field, spider);
	if (result == 0)
		result = append_text(spider, "\r\n");
	return result;
}

/* ---- answer ---- */

static struct cv_spider_worker *asking_worker(struct cv_spider *spider)
{
	for (size_t i = 0; i < spider->worker_count; i++)
		if (spider->workers[i].state == CV_WORKER_ASKING)
			return &spider->workers[i];
	return NULL;
}

static int answer_end(struct cv_spider *spider, uint64_t now_ms)
{
	bool must_close = spider->http1.close;

	if (must_close)
		return CV_UPSTREAM_CLOSED;
	cv_spider_answered(spider, asking_worker(spider), now_ms);
	return 0;
}

static int status_line(struct cv_http1_reader *http1)
{
	if (strncmp(http1->line, "HTTP/1.", 7) != 0 || strlen(http1->line) < 12)
		return CV_UPSTREAM_DECODE;
	http1->close = http1->line[7] == '0';
	http1->status = (unsigned)strtoul(http1->line + 9, NULL, 10);
	return http1->status >= 100 && http1->status <= 999 ? 0 : CV_UPSTREAM_DECODE;
}

static const char *field_value(const char *line, const char *name)
{
	size_t len = strlen(name);

	if (strncasecmp(line, name, len) != 0 || line[len] != ':')
		return NULL;
	line += len + 1;
	return line + strspn(line, " \t");
}

static int field_line(struct cv_http1_reader *http1)
{
	const char *value;
	char *end;

	value = field_value(http1->line, "content-length");
	if (value) {
		http1->body_left = strtoull(value, &end, 10);
		if (value[0] < '0' || value[0] > '9' || end[strspn(end, " \t")])
			return CV_UPSTREAM_DECODE;
		http1->has_length = true;
	}
	value = field_value(http1->line, "transfer-encoding");
	if (value && strcasestr(value, "chunked"))
		http1->chunked = true;
	value = field_value(http1->line, "connection");
	if (value && strcasestr(value, "close"))
		http1->close = true;
	return 0;
}

/* The empty line: what follows is decided by RFC 9112 6.3. */
static int head_end(struct cv_spider *spider, uint64_t now_ms)
{
	struct cv_http1_reader *http1 = &spider->http1;
	bool no_body = http1->status == 204 || http1->status == 304;

	if (http1->line_count == 0)
		return CV_UPSTREAM_DECODE;
	http1->line_count = 0;
	if (http1->status < 200) { /* interim: the real answer follows */
		http1->chunked = http1->has_length = false;
		return http1->status == 101 ? CV_UPSTREAM_UNEXPECTED_MESSAGE : 0;
	}
	if (no_body || (!http1->chunked && http1->has_length && http1->body_left == 0))
		return answer_end(spider, now_ms);
	if (http1->chunked)
		http1->state = CV_HTTP1_CHUNK_SIZE;
	else
		http1->state = http1->has_length ? CV_HTTP1_BODY : CV_HTTP1_UNTIL_CLOSE;
	return 0;
}

static int chunk_size_line(struct cv_http1_reader *http1)
{
	char *end;

	if (!strchr("0123456789abcdefABCDEF", http1->line[0]) || !http1->line[0])
		return CV_UPSTREAM_DECODE;
	http1->body_left = strtoull(http1->line, &end, 16);
	if (*end && !strchr("; \t", *end))
		return CV_UPSTREAM_DECODE;
	http1->line_count = 0;
	http1->state = http1->body_left ? CV_HTTP1_CHUNK : CV_HTTP1_TRAILERS;
	return 0;
}

static int line_end(struct cv_spider *spider, uint64_t now_ms)
{
	struct cv_http1_reader *http1 = &spider->http1;
	bool is_empty = http1->line[0] == '\0';

	switch (http1->state) {
	case CV_HTTP1_HEAD:
		if (is_empty)
			return head_end(spider, now_ms);
		return http1->line_count++ == 0 ? status_line(http1) : field_line(http1);
	case CV_HTTP1_CHUNK_SIZE:
		return chunk_size_line(http1);
	case CV_HTTP1_CHUNK_END:
		http1->state = CV_HTTP1_CHUNK_SIZE;
		return is_empty ? 0 : CV_UPSTREAM_DECODE;
	default: /* trailers */
		http1->line_count++;
		return is_empty ? answer_end(spider, now_ms) : 0;
	}
}

static int line_byte(struct cv_spider *spider, uint8_t byte, uint64_t now_ms)
{
	struct cv_http1_reader *http1 = &spider->http1;

	if (byte != '\n') {
		if (http1->line_len + 1 == sizeof(http1->line) || byte == '\0')
			return CV_UPSTREAM_DECODE;
		http1->line[http1->line_len++] = (char)byte;
		return 0;
	}
	if (http1->line_len && http1->line[http1->line_len - 1] == '\r')
		http1->line_len--;
	http1->line[http1->line_len] = '\0';
	http1->line_len = 0;
	if (http1->line_count > LINES_MAX)
		return CV_UPSTREAM_DECODE;
	return line_end(spider, now_ms);
}

static int body_bytes(struct cv_spider *spider, struct cv_span *bytes, uint64_t now_ms)
{
	struct cv_http1_reader *http1 = &spider->http1;
	bool until_close = http1->state == CV_HTTP1_UNTIL_CLOSE;
	size_t part = bytes->len_bytes;

	if (!until_close && part > http1->body_left)
		part = (size_t)http1->body_left;
	cv_spider_body_add(&asking_worker(spider)->body, spider->server_name, spider->known,
			   cv_span_of(bytes->data, part));
	cv_span_skip(bytes, part);
	if (until_close)
		return 0;
	http1->body_left -= part;
	if (http1->body_left)
		return 0;
	if (http1->state == CV_HTTP1_BODY)
		return answer_end(spider, now_ms);
	http1->state = CV_HTTP1_CHUNK_END;
	return 0;
}

int cv_spider_http1_read(struct cv_spider *spider, struct cv_span bytes, uint64_t now_ms)
{
	int result = 0;

	while (result == 0 && bytes.len_bytes) {
		enum cv_http1_state state = spider->http1.state;

		if (!asking_worker(spider)) /* bytes nobody asked for */
			return CV_UPSTREAM_UNEXPECTED_MESSAGE;
		if (state == CV_HTTP1_BODY || state == CV_HTTP1_CHUNK ||
		    state == CV_HTTP1_UNTIL_CLOSE) {
			result = body_bytes(spider, &bytes, now_ms);
		} else {
			result = line_byte(spider, bytes.data[0], now_ms);
			cv_span_skip(&bytes, 1);
		}
	}
	return result;
}
