// SPDX-License-Identifier: MIT
/*
 * fuzz_spider.c - spiderX, then a site's bytes in HTTP/2 or HTTP/1.1, whole or in pieces.
 *
 *   mode u8 (bit 0 HTTP/2, bits 1-2 browser, bits 3-7 piece size) | plan length u8 | plan | bytes
 *
 * Whatever comes, output stays within its limit and the spider asks no more than its plan allows.
 */
#include "protocol/spider_state.h"

#include "check.h"

#define REQUESTS_MAX (1 + CV_SPIDER_WORKERS_MAX * CV_SPIDER_TIMES_MAX)

static void talk(struct cv_spider *spider, struct cv_span input, size_t piece_bytes)
{
	uint64_t now_ms = 1000;
	int result = 0;

	while (result == 0 && input.len_bytes) {
		struct cv_buffer *output = cv_spider_output(spider);
		uint64_t wake_ms;

		result = cv_spider_read(spider, take_span(&input, piece_bytes), now_ms);
		check(result <= 0);
		check(cv_spider_requests(spider) <= REQUESTS_MAX);
		cv_buffer_consume(output, cv_buffer_len(output));
		wake_ms = cv_spider_next_wake_ms(spider);
		if (wake_ms != CV_SPIDER_NEVER) {
			check(result == 0);
			now_ms = wake_ms;
			cv_spider_wake(spider, now_ms);
		}
	}
	if (result < 0)
		check(cv_spider_finished(spider));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum cv_fingerprint browsers[] = {CV_FINGERPRINT_CHROME,
						       CV_FINGERPRINT_FIREFOX,
						       CV_FINGERPRINT_SAFARI, CV_FINGERPRINT_GO};
	struct cv_span input = cv_span_of(data, size), text;
	struct cv_spider_config config = {.server_name = "www.example.com"};
	uint8_t mode = take_u8(&input);
	struct cv_spider_plan plan;
	char spider_x[256] = "";

	text = take_span(&input, take_u8(&input));
	if (text.len_bytes)
		memcpy(spider_x, text.data, text.len_bytes);
	if (cv_spider_plan_parse(spider_x, &plan) < 0)
		return 0;
	check(plan.path[0] == '/');
	check(plan.padding.from <= plan.padding.to && plan.padding.to <= CV_SPIDER_PADDING_MAX);
	check(plan.concurrency.to <= CV_SPIDER_WORKERS_MAX);
	config.plan = &plan;
	config.http2 = mode & 1;
	config.fingerprint = browsers[mode >> 1 & 3];
	config.paths = cv_spider_paths_new();
	if (config.paths) {
		struct cv_spider *spider = cv_spider_new(&config, 0);

		check(spider != NULL);
		talk(spider, input, mode >> 3 ? mode >> 3 : SIZE_MAX);
		cv_spider_free(spider);
	}
	cv_spider_paths_free(config.paths);
	return 0;
}
