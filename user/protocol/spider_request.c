// SPDX-License-Identifier: MIT
/*
 * spider_request.c - the headers of a navigation as each browser sends them, in its order.
 *
 * One table per browser; a row has the name for HTTP/2 (always lower case) and for HTTP/1.1 (NULL:
 * not sent there). Three values are filled in per request: sec-fetch-site, referer, cookie.
 */
#include "protocol/spider_state.h"

#include "crypto/crypto.h"

#include <stdio.h>
#include <string.h>

struct header_row {
	const char *http2, *http1;
	const char *value; /* or one of the markers below */
};

static const char fetch_site[] = "<site>", referer[] = "<referer>", cookie[] = "<cookie>";

static const struct header_row chrome_rows[] = {
	{"sec-ch-ua", "sec-ch-ua",
	 "\"Not;A=Brand\";v=\"8\", \"Chromium\";v=\"150\", \"Google Chrome\";v=\"150\""},
	{"sec-ch-ua-mobile", "sec-ch-ua-mobile", "?0"},
	{"sec-ch-ua-platform", "sec-ch-ua-platform", "\"Windows\""},
	{"upgrade-insecure-requests", "Upgrade-Insecure-Requests", "1"},
	{"user-agent", "User-Agent",
	 "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
	 "Chrome/150.0.0.0 Safari/537.36"},
	{"accept", "Accept",
	 "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,"
	 "*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"},
	{"sec-fetch-site", "Sec-Fetch-Site", fetch_site},
	{"sec-fetch-mode", "Sec-Fetch-Mode", "navigate"},
	{"sec-fetch-user", "Sec-Fetch-User", "?1"},
	{"sec-fetch-dest", "Sec-Fetch-Dest", "document"},
	{"referer", "Referer", referer},
	{"accept-encoding", "Accept-Encoding", "gzip, deflate, br, zstd"},
	{"accept-language", "Accept-Language", "en-US,en;q=0.9"},
	{"cookie", "Cookie", cookie},
	{"priority", NULL, "u=0, i"},
	{NULL, NULL, NULL},
};

static const struct header_row firefox_rows[] = {
	{"user-agent", "User-Agent",
	 "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:148.0) Gecko/20100101 Firefox/148.0"},
	{"accept", "Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
	{"accept-language", "Accept-Language", "en-US,en;q=0.5"},
	{"accept-encoding", "Accept-Encoding", "gzip, deflate, br, zstd"},
	{"referer", "Referer", referer},
	{"cookie", "Cookie", cookie},
	{"upgrade-insecure-requests", "Upgrade-Insecure-Requests", "1"},
	{"sec-fetch-dest", "Sec-Fetch-Dest", "document"},
	{"sec-fetch-mode", "Sec-Fetch-Mode", "navigate"},
	{"sec-fetch-site", "Sec-Fetch-Site", fetch_site},
	{"sec-fetch-user", "Sec-Fetch-User", "?1"},
	{"priority", "Priority", "u=0, i"},
	{"te", NULL, "trailers"},
	{NULL, NULL, NULL},
};

static const struct header_row safari_rows[] = {
	{"sec-fetch-dest", "Sec-Fetch-Dest", "document"},
	{"user-agent", "User-Agent",
	 "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
	 "Version/26.0 Safari/605.1.15"},
	{"accept", "Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
	{"sec-fetch-site", "Sec-Fetch-Site", fetch_site},
	{"sec-fetch-mode", "Sec-Fetch-Mode", "navigate"},
	{"cookie", "Cookie", cookie},
	{"referer", "Referer", referer},
	{"accept-language", "Accept-Language", "en-US,en;q=0.9"},
	{"priority", "Priority", "u=0, i"},
	{"accept-encoding", "Accept-Encoding", "gzip, deflate, br"},
	{NULL, NULL, NULL},
};

static const struct header_row *rows_of(enum cv_fingerprint fingerprint)
{
	switch (fingerprint) {
	case CV_FINGERPRINT_FIREFOX:
		return firefox_rows;
	case CV_FINGERPRINT_SAFARI:
		return safari_rows;
	default:
		return chrome_rows;
	}
}

const char *cv_spider_user_agent(enum cv_fingerprint fingerprint)
{
	for (const struct header_row *row = rows_of(fingerprint); row->http2; row++)
		if (strcmp(row->http2, "user-agent") == 0)
			return row->value;
	return "";
}

static const char *cookie_value(const struct cv_spider *spider, char *text)
{
	static const char name[] = "padding=";
	uint32_t zeros = cv_spider_draw(spider->plan.padding);

	memcpy(text, name, sizeof(name));
	memset(text + sizeof(name) - 1, '0', zeros);
	text[sizeof(name) - 1 + zeros] = '\0';
	return text;
}

/* NULL: this header is not sent with this request. */
static const char *value_of(const struct cv_spider *spider, const struct cv_spider_worker *worker,
			    const char *value, char *text, size_t size)
{
	bool has_referer = worker->referer[0] != '\0';

	if (value == fetch_site)
		return has_referer ? "same-origin" : "none";
	if (value == cookie)
		return cookie_value(spider, text);
	if (value != referer)
		return value;
	if (!has_referer)
		return NULL;
	snprintf(text, size, "https://%s%s", spider->server_name, worker->referer);
	return text;
}

int cv_spider_emit_headers(const struct cv_spider *spider, const struct cv_spider_worker *worker,
			   cv_header_emit emit, void *context)
{
	char text[CV_SPIDER_PADDING_MAX + 1024];
	int result = 0;

	for (const struct header_row *row = rows_of(spider->fingerprint); row->http2; row++) {
		const char *name = spider->http2 ? row->http2 : row->http1;
		const char *value = value_of(spider, worker, row->value, text, sizeof(text));

		if (name && value && result == 0)
			result = emit(context, name, value);
	}
	return result;
}
