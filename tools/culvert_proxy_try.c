// SPDX-License-Identifier: MIT
/*
 * culvert_proxy_try.c - a page by HTTP and one by HTTPS through a proxy, with blocking calls.
 *
 *   dial -> [TLS to the proxy] -> SOCKS5 or CONNECT -> [TLS to the site] -> HEAD / -> status line
 */
#include "culvert_proxy.h"

#include "base/clock.h"
#include "base/reason.h"
#include "crypto/crypto.h"
#include "culvert_line.h"
#include "wire/http_connect.h"
#include "wire/socks5_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT (256 * 1024)

static int ask_proxy(struct cv_line *line, const struct cv_outbound *outbound,
		     const struct cv_destination *destination)
{
	const bool is_socks = outbound->protocol == CV_OUTBOUND_SOCKS;
	struct cv_buffer *in = cv_line_input(line), out;
	struct cv_http_connect http = {0};
	struct cv_socks5_client socks;
	int result, error;

	cv_buffer_init(&out, LIMIT);
	result = is_socks ? cv_socks5_client_start(&socks, destination, outbound->proxy_user,
						   outbound->proxy_password, &out)
			  : cv_http_connect_write(destination, outbound->proxy_user,
						  outbound->proxy_password, outbound->headers,
						  &out);
	result = result ? result : -EAGAIN;
	while (result == -EAGAIN) {
		size_t used = 0;

		error = cv_line_say(line, &out);
		if (!error)
			error = cv_line_hear(line);
		result = error	    ? error
			 : is_socks ? cv_socks5_client_read(&socks, cv_buffer_span(in), &out, &used)
				    : cv_http_connect_read(&http, cv_buffer_span(in), &used);
		cv_buffer_consume(in, used);
	}
	cv_buffer_done(&out);
	return result;
}

/* The site's status, or a reason. */
static int ask_site(struct cv_line *line, const struct cv_destination *destination)
{
	struct cv_buffer *in = cv_line_input(line), out;
	char host[CV_DESTINATION_TEXT], request[CV_DESTINATION_TEXT + 64];
	int len, result, status;

	cv_destination_format(destination, host);
	len = snprintf(request, sizeof(request),
		       "HEAD / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host);
	cv_buffer_init(&out, LIMIT);
	result = cv_buffer_append(&out, request, (size_t)len);
	if (!result)
		result = cv_line_say(line, &out);
	while (!result && cv_buffer_len(in) < sizeof("HTTP/1.1 200") - 1)
		result = cv_line_hear(line);
	cv_buffer_done(&out);
	if (result)
		return result;
	memcpy(request, cv_buffer_bytes(in), 12);
	request[12] = '\0';
	return sscanf(request, "HTTP/1.%*1d %3d", &status) == 1 && status > 99 ? status
									: CV_UPSTREAM_DECODE;
}

/* ---- one request -------------------------------------------------------------------------- */

static int secure_site(struct cv_line *line, const struct cv_destination *site, const char *ca_file)
{
	static const char *const alpn[] = {"http/1.1", NULL};
	struct cv_trust_store *trust = cv_trust_store_new(ca_file, !ca_file);
	char name[CV_DESTINATION_TEXT];
	struct cv_tls_client_config config = {.server_name = name, .alpn = alpn, .trust = trust};
	int result = CV_INTERNAL_CONFIG;

	cv_destination_format(site, name);
	*strrchr(name, ':') = '\0';
	if (trust)
		result = cv_line_secure(line, &config);
	cv_trust_store_free(trust);
	return result;
}

static int request(struct cv_line *line, const struct cv_outbound *outbound,
		   const struct cv_destination *site, bool is_https, const char *ca_file)
{
	const struct cv_tls_client_config config = {
		.server_name = outbound->server_name,
		.fingerprint = outbound->fingerprint,
		.alpn = (const char *const *)outbound->alpn,
		.trust = outbound->trust,
		.allow_insecure = outbound->allow_insecure,
	};
	int result = cv_line_dial(line, &outbound->server);

	if (!result && outbound->security == CV_SECURITY_TLS)
		result = cv_line_secure(line, &config);
	if (!result)
		result = ask_proxy(line, outbound, site);
	if (!result && is_https)
		result = secure_site(line, site, ca_file);
	return result ? result : ask_site(line, site);
}

static bool parse_site(const char *text, struct cv_destination *ret_site)
{
	const char *colon = strrchr(text, ':');
	char host[CV_DOMAIN_MAX + 3], *end;
	unsigned long port;

	if (!colon || colon == text || (size_t)(colon - text) >= sizeof(host))
		return false;
	snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	port = strtoul(colon + 1, &end, 10);
	return colon[1] && !*end && port >= 1 && port <= 65535 &&
	       cv_destination_set_text(ret_site, host, (uint16_t)port) == 0;
}

static void put_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, json_object_new_string(text));
}

static void put_outcome(struct json_object *answer, int outcome, const char *detail,
			uint64_t spent_ms, unsigned tries)
{
	json_object_object_add(answer, "tries", json_object_new_int64(tries));
	if (outcome > 0) {
		json_object_object_add(answer, "http_status", json_object_new_int64(outcome));
		json_object_object_add(answer, "latency_ms", json_object_new_uint64(spent_ms));
		return;
	}
	put_text(answer, "reason", cv_reason_label(outcome));
	put_text(answer, "what", *detail ? detail : cv_reason_text(outcome));
}

/* True if the page came; its time is added to @ret_latency_ms. */
static bool try_site(const struct cv_outbound *outbound, const struct cv_proxy_trial *trial,
		     bool is_https, struct json_object *result, uint64_t *ret_latency_ms)
{
	const char *text = is_https ? trial->https : trial->http;
	struct json_object *answer = json_object_new_object();
	struct cv_destination site;
	char detail[128] = "";
	int outcome = CV_INTERNAL_CONFIG;
	uint64_t spent_ms = 0;
	unsigned tries = 0;

	json_object_object_add(result, is_https ? "https" : "http", answer);
	put_text(answer, "site", text);
	while (parse_site(text, &site) && tries < trial->tries && outcome <= 0) {
		const uint64_t began_ms = cv_clock_ms();
		struct cv_line line;

		cv_line_init(&line, began_ms + trial->timeout_ms);
		outcome = request(&line, outbound, &site, is_https, trial->ca_file);
		snprintf(detail, sizeof(detail), "%s", line.detail);
		cv_line_done(&line);
		spent_ms = cv_clock_ms() - began_ms;
		tries++;
	}
	put_outcome(answer, outcome, detail, spent_ms, tries);
	if (outcome > 0 && spent_ms > *ret_latency_ms)
		*ret_latency_ms = spent_ms;
	return outcome > 0;
}

bool cv_proxy_try(const struct cv_outbound *outbound, const struct cv_proxy_trial *trial,
		  struct json_object *result)
{
	uint64_t latency_ms = 0;
	bool good = true;

	if (strcmp(trial->http, "none") != 0)
		good &= try_site(outbound, trial, false, result, &latency_ms);
	if (strcmp(trial->https, "none") != 0)
		good &= try_site(outbound, trial, true, result, &latency_ms);
	put_text(result, "status", good ? "success" : "failed");
	if (good)
		json_object_object_add(result, "latency_ms", json_object_new_uint64(latency_ms));
	return good;
}
