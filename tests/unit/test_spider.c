// SPDX-License-Identifier: MIT
/*
 * test_spider.c - spiderX, the requests as a site sees them, and answers in every form: HTTP/2 with
 * padding and odd segmentation, HTTP/1.1 with lengths and chunks, four content codings.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cursor.h"
#include "base/reason.h"
#include "protocol/spider_state.h"
#include "wire/base64.h"

#define HOST "www.example.com"

static const char page[] =
	"<html><a href=\"/one\">1</a> <a href=\"/two?x=1#frag\">2</a> "
	"<a href=\"https://www.example.com/three\">3</a> "
	"<a href=\"https://other.example.net/x\">4</a> <a href=\"/pic.png\">5</a> "
	"<a href=\"//cdn/x\">6</a></html>";

/* the same page, compressed by other implementations */
static const char page_brotli[] =
	"1bc90020c46f273fedb4bf7c27ce34eb9be5488a37ce67bc15aebbf3c15e16bc069b74f1f586e71e378b1597"
	"43d14b342dcd757113a4c2bae0c57d2bfda8643f7908d20143edda21f2df2026108c083414b78b6f884dec59"
	"066823e70b94ca1cf01e2003";
static const char page_gzip[] =
	"1f8b08000000000000036d8f4b0ac3300c44af12d4bd45fa5b1447398b7194a8107f7005f6f14bba6868e876"
	"de1b86b1a26125eb3a293c0f802932506fd151b7875ad3d886fe3417b7009d7fa9a8e6d703b1d66ab8b99057"
	"363e055429cc4097ff7652e1f2f5232b36a0eb61373fbdc97101ba1d00fa296e85fb965bfc7c78032234135c"
	"ca000000";
static const char page_zstd[] =
	"28b52ffd24cabd030022c7171a80a93a608458ae4f24ad0909230d9160590450bb07075133a00baa56f30f41"
	"339e1dd2079a09732621dc059af1bdec2d770b68ee3eeeaf96cc2ab7505c0321fc0b09d7cd00cd043da4308e"
	"6868b08ba21f4373597b1ec83e2ee8a85acd2707003b83c3b3f34f493e95a61195f20425eb084f3c921b0142";

/* ---- spiderX ---- */

static void plan_takes_its_keys_out(void **state)
{
	struct cv_spider_plan plan;

	(void)state;
	assert_int_equal(cv_spider_plan_parse(NULL, &plan), 0);
	assert_string_equal(plan.path, "/");
	assert_int_equal(plan.concurrency.to, 0);
	assert_int_equal(cv_spider_plan_parse("/a/b?p=100-200&c=2&t=3-5&i=10-20&r=7", &plan), 0);
	assert_string_equal(plan.path, "/a/b");
	assert_int_equal(plan.padding.from, 100);
	assert_int_equal(plan.padding.to, 200);
	assert_int_equal(plan.concurrency.from, 2);
	assert_int_equal(plan.concurrency.to, 2);
	assert_int_equal(plan.times.to, 5);
	assert_int_equal(plan.interval_ms.from, 10);
	assert_int_equal(plan.return_ms.to, 7);
	assert_int_equal(cv_spider_plan_parse("/s?q=x&p=1&lang=en&&cc=3", &plan), 0);
	assert_string_equal(plan.path, "/s?q=x&lang=en&cc=3");
	assert_int_equal(plan.padding.to, 1);
	assert_int_equal(cv_spider_plan_parse("/?c=99999&p=0-99999999999&t=5", &plan), 0);
	assert_int_equal(plan.concurrency.to, CV_SPIDER_WORKERS_MAX);
	assert_int_equal(plan.padding.to, CV_SPIDER_PADDING_MAX);
}

static void bad_plans_are_refused(void **state)
{
	static const char *const bad[] = {"x", "?p=1", "/?p=", "/?p=5-2", "/?p=1-", "/?p=-1",
					  "/?p=1x", "/?p=1-2-3", "/a b", "/\n", "/\xc3\xa4"};
	struct cv_spider_plan plan = {.path = "untouched"};
	char text[CV_SPIDER_PATH_MAX + 1];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(cv_spider_plan_parse(bad[i], &plan), CV_INTERNAL_CONFIG);
	memset(text, 'a', sizeof(text) - 1);
	text[0] = '/';
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(cv_spider_plan_parse(text, &plan), CV_INTERNAL_CONFIG);
	assert_string_equal(plan.path, "untouched");
}

/* ---- a site in the test ---- */

struct site {
	struct cv_spider_paths *paths;
	struct cv_spider *spider;
	struct cv_spider_plan plan;
	uint64_t now_ms;
};

static void site_open(struct site *site, const char *spider_x, enum cv_fingerprint fingerprint,
		      bool http2)
{
	struct cv_spider_config config = {.server_name = HOST, .fingerprint = fingerprint,
					  .http2 = http2};

	memset(site, 0, sizeof(*site));
	site->now_ms = 1000;
	site->paths = cv_spider_paths_new();
	assert_int_equal(cv_spider_plan_parse(spider_x, &site->plan), 0);
	config.plan = &site->plan;
	config.paths = site->paths;
	site->spider = cv_spider_new(&config, site->now_ms);
	assert_non_null(site->spider);
}

static void site_close(struct site *site)
{
	assert_null(cv_spider_free(site->spider));
	assert_null(cv_spider_paths_free(site->paths));
}

static int say(struct site *site, const void *bytes, size_t len)
{
	return cv_spider_read(site->spider, cv_span_of(bytes, len), site->now_ms);
}

static size_t known_count(struct site *site)
{
	return cv_spider_paths_count(cv_spider_paths_of(site->paths, HOST, "/"));
}

/* ---- HTTP/2 ---- */

struct frame {
	uint8_t type, flags;
	uint32_t stream;
	const uint8_t *payload;
	size_t len;
};

static bool next_frame(struct cv_reader *reader, struct frame *frame)
{
	if (cv_reader_left(reader) == 0)
		return false;
	frame->len = cv_read_u24(reader);
	frame->type = cv_read_u8(reader);
	frame->flags = cv_read_u8(reader);
	frame->stream = cv_read_u32(reader);
	frame->payload = cv_read_bytes(reader, frame->len);
	assert_false(reader->failed);
	return true;
}

static size_t make_frame(uint8_t *out, uint8_t type, uint8_t flags, uint32_t stream,
			 const void *payload, size_t len)
{
	struct cv_writer writer = cv_writer_of(out, 9 + len);

	cv_write_u24(&writer, (uint32_t)len);
	cv_write_u8(&writer, type);
	cv_write_u8(&writer, flags);
	cv_write_u32(&writer, stream);
	cv_write_bytes(&writer, payload, len);
	assert_false(writer.failed);
	return 9 + len;
}

static int say_frame(struct site *site, uint8_t type, uint8_t flags, uint32_t stream,
		     const void *payload, size_t len)
{
	uint8_t *bytes = malloc(9 + len);
	size_t used = make_frame(bytes, type, flags, stream, payload, len);
	int result = say(site, bytes, used);

	free(bytes);
	return result;
}

/* The header block's literals as "name: value\n" text; indexed fields by their number. */
static void read_block(const uint8_t *block, size_t len, char *text, size_t size)
{
	struct cv_reader reader = cv_reader_of(block, len);
	size_t at = 0;

	while (cv_reader_left(&reader)) {
		uint8_t first = cv_read_u8(&reader);
		const char *parts[2] = {"", ""};
		int lens[2] = {0, 0};

		if (first & 0x80) {
			at += (size_t)snprintf(text + at, size - at, "[%d]\n", first & 0x7f);
			continue;
		}
		for (int i = first ? 1 : 0; i < 2; i++) {
			size_t string_len = cv_read_u8(&reader);

			if (string_len == 127)
				for (int shift = 0;; shift += 7) {
					uint8_t more = cv_read_u8(&reader);

					string_len += (size_t)(more & 0x7f) << shift;
					if (!(more & 0x80))
						break;
				}
			parts[i] = (const char *)cv_read_bytes(&reader, string_len);
			lens[i] = (int)string_len;
		}
		assert_false(reader.failed);
		if (first)
			at += (size_t)snprintf(text + at, size - at, "[%d]: %.*s\n", first, lens[1],
					       parts[1]);
		else
			at += (size_t)snprintf(text + at, size - at, "%.*s: %.*s\n", lens[0],
					       parts[0], lens[1], parts[1]);
	}
}

/* Takes the output apart: returns how many HEADERS frames it holds, the last one as text. */
static int requests(struct site *site, char *text, size_t size, uint32_t *ret_stream)
{
	struct cv_buffer *output = cv_spider_output(site->spider);
	struct cv_reader reader = cv_reader_of(cv_buffer_bytes(output), cv_buffer_len(output));
	struct frame frame;
	int count = 0;

	if (cv_reader_left(&reader) > 24 && memcmp(reader.at, "PRI * HTTP/2.0", 14) == 0)
		cv_read_bytes(&reader, 24);
	while (next_frame(&reader, &frame)) {
		size_t skip = frame.flags & 32 ? 5 : 0;

		if (frame.type != 1)
			continue;
		count++;
		assert_int_equal(frame.flags & 5, 5);
		read_block(frame.payload + skip, frame.len - skip, text, size);
		*ret_stream = frame.stream;
	}
	cv_buffer_consume(output, cv_buffer_len(output));
	return count;
}

static void chrome_opens_like_chrome(void **state)
{
	struct cv_buffer *output;
	struct cv_reader reader;
	struct frame frame;
	struct site site;
	char text[8192];

	(void)state;
	site_open(&site, "/start?p=5", CV_FINGERPRINT_CHROME, true);
	output = cv_spider_output(site.spider);
	reader = cv_reader_of(cv_buffer_bytes(output), cv_buffer_len(output));
	assert_memory_equal(cv_read_bytes(&reader, 24), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	assert_true(next_frame(&reader, &frame));
	assert_int_equal(frame.type, 4);
	assert_int_equal(frame.len, 24);
	assert_memory_equal(frame.payload, "\x00\x01\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00"
			    "\x00\x04\x00\x60\x00\x00\x00\x06\x00\x04\x00\x00", 24);
	assert_true(next_frame(&reader, &frame));
	assert_int_equal(frame.type, 8);
	assert_memory_equal(frame.payload, "\x00\xef\x00\x01", 4);
	assert_true(next_frame(&reader, &frame));
	assert_int_equal(frame.type, 1);
	assert_int_equal(frame.stream, 1);
	assert_int_equal(frame.flags, 1 | 4 | 32);
	assert_memory_equal(frame.payload, "\x80\x00\x00\x00\xff", 5);
	read_block(frame.payload + 5, frame.len - 5, text, sizeof(text));
	assert_memory_equal(text, "[2]\n[1]: " HOST "\n[7]\n[4]: /start\nsec-ch-ua: ", 49);
	assert_non_null(strstr(text, "\ncookie: padding=00000\n"));
	assert_non_null(strstr(text, "\nsec-fetch-site: none\n"));
	assert_null(strstr(text, "\nreferer:"));
	assert_false(next_frame(&reader, &frame));
	assert_int_equal(cv_spider_requests(site.spider), 1);
	assert_false(cv_spider_finished(site.spider));
	site_close(&site);
}

static void others_have_their_own_shape(void **state)
{
	struct site site;
	char text[8192];
	uint32_t stream;

	(void)state;
	site_open(&site, "/", CV_FINGERPRINT_FIREFOX, true);
	assert_int_equal(requests(&site, text, sizeof(text), &stream), 1);
	assert_int_equal(stream, 3);
	assert_memory_equal(text, "[2]\n[4]\n[1]: " HOST "\n[7]\nuser-agent: ", 41);
	site_close(&site);
	site_open(&site, "/", CV_FINGERPRINT_SAFARI, true);
	assert_int_equal(requests(&site, text, sizeof(text), &stream), 1);
	assert_memory_equal(text, "[2]\n[7]\n[1]: " HOST "\n[4]\nsec-fetch-dest: ", 45);
	site_close(&site);
}

static void long_cookie_fits(void **state)
{
	static char text[16384];
	struct site site;
	uint32_t stream;

	(void)state;
	site_open(&site, "/?p=8192", CV_FINGERPRINT_CHROME, true);
	assert_int_equal(requests(&site, text, sizeof(text), &stream), 1);
	assert_non_null(strstr(text, "cookie: padding=0000"));
	assert_int_equal(strspn(strstr(text, "padding=") + 8, "0"), 8192);
	site_close(&site);
}

static void workers_follow_the_plan(void **state)
{
	struct site site;
	char text[8192];
	uint32_t stream, first_streams[4] = {0};

	(void)state;
	site_open(&site, "/?c=2&t=2&i=50&r=300", CV_FINGERPRINT_CHROME, true);
	assert_int_equal(cv_spider_return_at_ms(site.spider), 1300);
	assert_int_equal(requests(&site, text, sizeof(text), &stream), 1);
	assert_int_equal(say_frame(&site, 4, 0, 0, NULL, 0), 0);
	assert_int_equal(say_frame(&site, 1, 4, 1, "\x88", 1), 0);
	assert_int_equal(say_frame(&site, 0, 1, 1, page, strlen(page)), 0);
	assert_int_equal(known_count(&site), 4); /* "/" and three links */
	assert_int_equal(cv_spider_requests(site.spider), 3);
	assert_int_equal(requests(&site, text, sizeof(text), &stream), 2);
	assert_int_equal(stream, 5);
	assert_non_null(strstr(text, "\nreferer: https://" HOST "/\n"));
	assert_non_null(strstr(text, "\nsec-fetch-site: same-origin\n"));

	/* both answered: both pause */
	assert_int_equal(say_frame(&site, 1, 5, 3, "\x88", 1), 0);
	assert_int_equal(say_frame(&site, 3, 0, 5, "\x00\x00\x00\x08", 4), 0); /* reset */
	assert_int_equal(cv_spider_next_wake_ms(site.spider), 1050);
	assert_int_equal(requests(&site, text, sizeof(text), &stream), 0);
	cv_spider_wake(site.spider, 1049);
	assert_int_equal(cv_spider_requests(site.spider), 3);
	cv_spider_wake(site.spider, 1050);
	assert_int_equal(requests(&site, text, sizeof(text), &first_streams[0]), 2);
	assert_int_equal(cv_spider_next_wake_ms(site.spider), CV_SPIDER_NEVER);
	assert_false(cv_spider_finished(site.spider));
	assert_int_equal(say_frame(&site, 1, 5, 7, "\x88", 1), 0);
	assert_int_equal(say_frame(&site, 1, 5, 9, "\x88", 1), 0);
	assert_true(cv_spider_finished(site.spider));
	assert_int_equal(cv_spider_requests(site.spider), 5);
	site_close(&site);
}

static void data_in_any_segmentation(void **state)
{
	static const size_t chunks[] = {1, 2, 5, 11, 64};
	uint8_t stream_bytes[2048], padded[600];
	size_t len = 0, page_len = strlen(page);

	(void)state;
	padded[0] = 77; /* pad length */
	memcpy(padded + 1, page, page_len);
	memset(padded + 1 + page_len, '"', 77);
	len += make_frame(stream_bytes + len, 1, 4, 1, "\x88", 1);
	len += make_frame(stream_bytes + len, 0, 8, 1, padded, 1 + page_len + 77);
	len += make_frame(stream_bytes + len, 6, 0, 0, "pingpong", 8);
	len += make_frame(stream_bytes + len, 0, 1, 1, "<a href=\"/last\">", 16);
	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		struct cv_buffer *output;
		struct site site;

		site_open(&site, "/", CV_FINGERPRINT_CHROME, true);
		output = cv_spider_output(site.spider);
		cv_buffer_consume(output, cv_buffer_len(output));
		for (size_t at = 0; at < len; at += chunks[i])
			assert_int_equal(say(&site, stream_bytes + at,
					     len - at < chunks[i] ? len - at : chunks[i]), 0);
		assert_int_equal(known_count(&site), 5);
		assert_true(cv_spider_finished(site.spider));
		assert_int_equal(cv_buffer_len(output), 17);
		assert_memory_equal(cv_buffer_bytes(output),
				    "\x00\x00\x08\x06\x01\x00\x00\x00\x00pingpong", 17);
		site_close(&site);
	}
}

static void windows_are_given_back(void **state)
{
	static uint8_t zeros[16384];
	struct cv_buffer *output;
	struct cv_reader reader;
	struct frame frame;
	struct site site;
	bool seen = false;

	(void)state;
	site_open(&site, "/", CV_FINGERPRINT_FIREFOX, true);
	output = cv_spider_output(site.spider);
	cv_buffer_consume(output, cv_buffer_len(output));
	for (int i = 0; i < 5; i++) /* more than half of 131072 */
		assert_int_equal(say_frame(&site, 0, 0, 3, zeros, sizeof(zeros)), 0);
	reader = cv_reader_of(cv_buffer_bytes(output), cv_buffer_len(output));
	while (next_frame(&reader, &frame)) {
		assert_int_equal(frame.type, 8);
		assert_int_equal(frame.stream, 3);
		assert_memory_equal(frame.payload, "\x00\x01\x40\x00", 4);
		seen = true;
	}
	assert_true(seen);
	site_close(&site);
}

static int after_frame(uint8_t type, uint8_t flags, uint32_t stream, const void *payload,
		       size_t len)
{
	struct site site;
	int result;

	site_open(&site, "/", CV_FINGERPRINT_CHROME, true);
	result = say_frame(&site, type, flags, stream, payload, len);
	if (result < 0) {
		assert_int_equal(say_frame(&site, 4, 0, 0, NULL, 0), result); /* stays silent */
		assert_true(cv_spider_finished(site.spider));
	}
	site_close(&site);
	return result;
}

static void broken_frames_end_it(void **state)
{
	static uint8_t big[16385];
	struct site site;
	int result = 0;

	(void)state;
	assert_int_equal(after_frame(0, 0, 1, big, sizeof(big)), CV_UPSTREAM_DECODE);
	assert_int_equal(after_frame(4, 0, 0, "12345", 5), CV_UPSTREAM_DECODE);
	assert_int_equal(after_frame(4, 0, 1, NULL, 0), CV_UPSTREAM_DECODE);
	assert_int_equal(after_frame(6, 0, 0, "1234567", 7), CV_UPSTREAM_DECODE);
	assert_int_equal(after_frame(5, 4, 1, "1234", 4), CV_UPSTREAM_UNEXPECTED_MESSAGE);
	assert_int_equal(after_frame(9, 4, 1, "1", 1), CV_UPSTREAM_UNEXPECTED_MESSAGE);
	assert_int_equal(after_frame(7, 0, 0, "12345678", 8), CV_UPSTREAM_CLOSED);
	assert_int_equal(after_frame(4, 1, 0, NULL, 0), 0);
	assert_int_equal(after_frame(99, 0xff, 1, "unknown", 7), 0);

	site_open(&site, "/", CV_FINGERPRINT_CHROME, true);
	assert_int_equal(say_frame(&site, 1, 0, 1, "\x88", 1), 0); /* no END_HEADERS */
	assert_int_equal(say_frame(&site, 0, 0, 1, "x", 1), CV_UPSTREAM_UNEXPECTED_MESSAGE);
	site_close(&site);

	site_open(&site, "/", CV_FINGERPRINT_CHROME, true);
	for (int i = 0; i < 2000 && result == 0; i++) {
		struct cv_buffer *output = cv_spider_output(site.spider);

		result = say_frame(&site, 6, 0, 0, "12345678", 8);
		cv_buffer_consume(output, cv_buffer_len(output));
	}
	assert_int_equal(result, CV_UPSTREAM_UNEXPECTED_MESSAGE); /* a ping flood */
	site_close(&site);
}

/* ---- content codings ---- */

static void check_coding(const char *hex, size_t chunk)
{
	uint8_t bytes[1024];
	size_t len = sizeof(bytes);
	struct site site;

	assert_int_equal(cv_hex_decode(hex, bytes, &len), 0);
	site_open(&site, "/", CV_FINGERPRINT_CHROME, true);
	for (size_t at = 0; at < len; at += chunk)
		assert_int_equal(say_frame(&site, 0, at + chunk >= len, 1, bytes + at,
					   len - at < chunk ? len - at : chunk), 0);
	assert_int_equal(known_count(&site), 4);
	site_close(&site);
}

static void every_coding_is_read(void **state)
{
	(void)state;
	for (size_t chunk = 1; chunk < 300; chunk += 13) {
		check_coding(page_brotli, chunk);
		check_coding(page_gzip, chunk);
		check_coding(page_zstd, chunk);
	}
}

static void broken_coding_has_no_links(void **state)
{
	struct site site;

	(void)state;
	site_open(&site, "/", CV_FINGERPRINT_CHROME, true);
	assert_int_equal(say_frame(&site, 0, 0, 1, "\x1f\x8b\x08\x00xxxxxxxxxxxxxxxxxxxxxxx", 27),
			 0);
	assert_int_equal(say_frame(&site, 0, 1, 1, page, strlen(page)), 0);
	assert_int_equal(known_count(&site), 1);
	site_close(&site);
}

static void links_have_limits(void **state)
{
	static char text[700];
	struct site site;

	(void)state;
	site_open(&site, "/", CV_FINGERPRINT_CHROME, true);
	memset(text, 'a', sizeof(text));
	assert_int_equal(say_frame(&site, 0, 0, 1, "<a href=\"/", 10), 0);
	assert_int_equal(say_frame(&site, 0, 0, 1, text, 600), 0);
	assert_int_equal(say_frame(&site, 0, 0, 1, "\"><a href=\"/sp ace\"><a hhref=\"/ok\">", 35),
			 0);
	assert_int_equal(known_count(&site), 2); /* "/" and "/ok" */
	for (int i = 0; i < 400; i++) {
		int len = sprintf(text, "<a href=\"/p%d\">", i);

		assert_int_equal(say_frame(&site, 0, 0, 1, text, (size_t)len), 0);
	}
	assert_int_equal(known_count(&site), 256);
	site_close(&site);
}

/* ---- HTTP/1.1 ---- */

static int count_requests(struct site *site, char *text, size_t size)
{
	struct cv_buffer *output = cv_spider_output(site->spider);
	size_t len = cv_buffer_len(output) < size - 1 ? cv_buffer_len(output) : size - 1;
	int count = 0;

	if (len)
		memcpy(text, cv_buffer_bytes(output), len);
	text[len] = '\0';
	cv_buffer_consume(output, cv_buffer_len(output));
	for (const char *at = text; (at = strstr(at, "GET ")) != NULL; at++)
		count++;
	return count;
}

static void http1_asks_one_at_a_time(void **state)
{
	char text[4096], answer[1024];
	struct site site;

	(void)state;
	site_open(&site, "/a?c=2&t=1", CV_FINGERPRINT_CHROME, false);
	assert_int_equal(count_requests(&site, text, sizeof(text)), 1);
	assert_memory_equal(text, "GET /a HTTP/1.1\r\nHost: " HOST "\r\nConnection: keep-alive\r\n",
			    63);
	assert_non_null(strstr(text, "\r\nCookie: padding=\r\n"));
	assert_non_null(strstr(text, "\r\n\r\n"));
	snprintf(answer, sizeof(answer),
		 "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nServer: x\r\n\r\n%s", strlen(page),
		 page);
	assert_int_equal(say(&site, answer, strlen(answer)), 0);
	assert_int_equal(known_count(&site), 4);
	assert_int_equal(count_requests(&site, text, sizeof(text)), 1);
	assert_non_null(strstr(text, "\r\nReferer: https://" HOST "/a\r\n"));
	assert_int_equal(say(&site, "HTTP/1.1 304 Not Modified\r\n\r\n", 29), 0);
	assert_int_equal(count_requests(&site, text, sizeof(text)), 1);
	assert_int_equal(say(&site, "HTTP/1.1 204 No\r\nContent-Length: 7\r\n\r\n", 38), 0);
	assert_true(cv_spider_finished(site.spider));
	assert_int_equal(say(&site, "more", 4), CV_UPSTREAM_UNEXPECTED_MESSAGE);
	site_close(&site);
}

static void http1_chunked_in_any_segmentation(void **state)
{
	static const char answer[] =
		"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
		"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
		"d;ext=1\r\n<a href=\"/one\r\n6\r\n\">text\r\n0\r\nTrailer: 1\r\n\r\n";

	(void)state;
	for (size_t chunk = 1; chunk < 40; chunk++) {
		struct site site;

		site_open(&site, "/", CV_FINGERPRINT_SAFARI, false);
		for (size_t at = 0; at < strlen(answer); at += chunk)
			assert_int_equal(say(&site, answer + at,
					     strlen(answer) - at < chunk ? strlen(answer) - at
									 : chunk), 0);
		assert_true(cv_spider_finished(site.spider));
		assert_int_equal(known_count(&site), 2);
		site_close(&site);
	}
}

static int after_answer(const char *answer)
{
	struct site site;
	int result;

	site_open(&site, "/", CV_FINGERPRINT_CHROME, false);
	result = say(&site, answer, strlen(answer));
	site_close(&site);
	return result;
}

static void broken_http1_ends_it(void **state)
{
	static char endless[10000];

	(void)state;
	assert_int_equal(after_answer("SSH-2.0-OpenSSH\r\n"), CV_UPSTREAM_DECODE);
	assert_int_equal(after_answer("\r\n\r\n"), CV_UPSTREAM_DECODE);
	assert_int_equal(after_answer("HTTP/1.1 99 x\r\n\r\n"), CV_UPSTREAM_DECODE);
	assert_int_equal(after_answer("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
			 CV_UPSTREAM_DECODE);
	assert_int_equal(after_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
				      "zz\r\n"), CV_UPSTREAM_DECODE);
	assert_int_equal(after_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
				      "1\r\nab\r\n"), CV_UPSTREAM_DECODE);
	assert_int_equal(after_answer("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0"
				      "\r\n\r\n"), CV_UPSTREAM_CLOSED);
	assert_int_equal(after_answer("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
			 CV_UPSTREAM_CLOSED);
	assert_int_equal(after_answer("HTTP/1.1 200 OK\r\n\r\nuntil the end"), 0);
	memset(endless, 'a', sizeof(endless) - 1);
	assert_int_equal(after_answer(endless), CV_UPSTREAM_DECODE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plan_takes_its_keys_out),
		cmocka_unit_test(bad_plans_are_refused),
		cmocka_unit_test(chrome_opens_like_chrome),
		cmocka_unit_test(others_have_their_own_shape),
		cmocka_unit_test(long_cookie_fits),
		cmocka_unit_test(workers_follow_the_plan),
		cmocka_unit_test(data_in_any_segmentation),
		cmocka_unit_test(windows_are_given_back),
		cmocka_unit_test(broken_frames_end_it),
		cmocka_unit_test(every_coding_is_read),
		cmocka_unit_test(broken_coding_has_no_links),
		cmocka_unit_test(links_have_limits),
		cmocka_unit_test(http1_asks_one_at_a_time),
		cmocka_unit_test(http1_chunked_in_any_segmentation),
		cmocka_unit_test(broken_http1_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
