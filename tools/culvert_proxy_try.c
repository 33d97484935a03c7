// SPDX-License-Identifier: MIT
/*
 * culvert_proxy_try.c - a page by HTTP and one by HTTPS through a proxy, with blocking calls.
 *
 *   dial -> [TLS to the proxy] -> SOCKS5 or CONNECT -> [TLS to the site] -> HEAD / -> status line
 *
 * level[0] is what the socket gave; each TLS layer turns level[i] into level[i + 1]. The handshakes
 * are the daemon's own codecs, so that what works here works there.
 */
#include "culvert_proxy.h"

#include "base/clock.h"
#include "base/reason.h"
#include "crypto/crypto.h"
#include "protocol/tls_client.h"
#include "wire/http_connect.h"
#include "wire/socks5_client.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LEVELS 3
#define LIMIT (256 * 1024)

struct line {
	int fd;
	uint64_t due_ms;
	struct cv_buffer level[LEVELS], output;
	struct cv_layer *layers[LEVELS - 1];
	size_t layer_count;
	char detail[128]; /* of a failure, "" = none */
};

/* ---- socket ------------------------------------------------------------------------------- */

static int wait_for(const struct line *line, short events)
{
	struct pollfd poll_fd = {.fd = line->fd, .events = events};
	const uint64_t now_ms = cv_clock_ms();
	const int count =
		now_ms < line->due_ms ? poll(&poll_fd, 1, (int)(line->due_ms - now_ms)) : 0;

	return count > 0 ? 0 : CV_UPSTREAM_TIMEOUT;
}

static int reason_of(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return CV_UPSTREAM_REFUSED;
	case ECONNRESET:
	case EPIPE:
		return CV_UPSTREAM_RESET;
	case ETIMEDOUT:
		return CV_UPSTREAM_TIMEOUT;
	default:
		return CV_UPSTREAM_UNREACHABLE;
	}
}

static int connect_one(struct line *line, const struct addrinfo *address)
{
	socklen_t len = sizeof(int);
	int error = 0;

	line->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (line->fd < 0)
		return CV_INTERNAL_RESOURCE;
	if (connect(line->fd, address->ai_addr, address->ai_addrlen) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return reason_of(errno);
	if (wait_for(line, POLLOUT) != 0)
		return CV_UPSTREAM_TIMEOUT;
	(void)getsockopt(line->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	return error ? reason_of(error) : 0;
}

static int dial(struct line *line, const struct cv_destination *destination)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	char host[CV_DESTINATION_TEXT], port[8], *name = host, *colon;
	struct addrinfo *addresses;
	int result = CV_UPSTREAM_RESOLVE;

	cv_destination_format(destination, host);
	colon = strrchr(host, ':');
	snprintf(port, sizeof(port), "%u", destination->port);
	*colon = '\0';
	if (*name == '[') {
		colon[-1] = '\0';
		name++;
	}
	if (getaddrinfo(name, port, &hints, &addresses) != 0)
		return result;
	for (const struct addrinfo *a = addresses; a && result; a = a->ai_next) {
		if (line->fd >= 0)
			(void)close(line->fd);
		result = connect_one(line, a);
	}
	freeaddrinfo(addresses);
	return result;
}

static int flush(struct line *line)
{
	struct cv_buffer *out = &line->output;
	int result = 0;

	while (result == 0 && cv_buffer_len(out) > 0) {
		const ssize_t count = send(line->fd, cv_buffer_bytes(out), cv_buffer_len(out),
					   MSG_NOSIGNAL);

		if (count > 0)
			cv_buffer_consume(out, (size_t)count);
		else if (errno == EAGAIN)
			result = wait_for(line, POLLOUT);
		else
			result = reason_of(errno);
	}
	return result;
}

struct emit_context {
	struct line *line;
	size_t below; /* layers [0, below) are still to be passed */
};

static int emit_down(void *opaque, struct cv_span bytes)
{
	struct emit_context *context = opaque, next = *context;
	struct cv_layer *layer;

	if (context->below == 0)
		return cv_buffer_append(&context->line->output, bytes.data, bytes.len_bytes);
	layer = context->line->layers[--next.below];
	return layer->ops->encode(layer, bytes, emit_down, &next);
}

static int say(struct line *line, struct cv_buffer *bytes)
{
	struct emit_context context = {.line = line, .below = line->layer_count};
	const int error = emit_down(&context, cv_buffer_span(bytes));

	cv_buffer_consume(bytes, cv_buffer_len(bytes));
	return error ? error : flush(line);
}

/* Passes what is on each level up as far as it goes. CV_LAYER_EOF: nothing more will come. */
static int decode(struct line *line)
{
	int result = 0;

	for (size_t i = 0; i < line->layer_count && result == 0; i++) {
		struct cv_buffer *from = &line->level[i];

		while (result == 0 && cv_buffer_len(from) > 0) {
			struct cv_span in = cv_buffer_span(from);
			const size_t before = in.len_bytes;

			result = line->layers[i]->ops->decode(line->layers[i], &in,
							      &line->level[i + 1], &line->output);
			cv_buffer_consume(from, before - in.len_bytes);
		}
		if (result == -EAGAIN)
			result = 0;
	}
	return result;
}

/* More bytes on the topmost level, or why there are none. */
static int hear(struct line *line)
{
	struct cv_buffer *top = &line->level[line->layer_count];
	const size_t had_bytes = cv_buffer_len(top);

	while (cv_buffer_len(top) == had_bytes) {
		uint8_t bytes[16384];
		ssize_t count;
		int result = wait_for(line, POLLIN);

		if (result)
			return result;
		count = recv(line->fd, bytes, sizeof(bytes), 0);
		if (count <= 0)
			return count == 0 ? CV_UPSTREAM_CLOSED : reason_of(errno);
		result = cv_buffer_append(&line->level[0], bytes, (size_t)count);
		if (!result)
			result = decode(line);
		if (result && cv_buffer_len(top) == had_bytes)
			return result == CV_LAYER_EOF ? CV_UPSTREAM_CLOSED : result;
	}
	return 0;
}

/* ---- handshakes --------------------------------------------------------------------------- */

static int secure(struct line *line, const struct cv_tls_client_config *config)
{
	struct cv_buffer *in = &line->level[line->layer_count];
	struct cv_tls_client *client = cv_tls_client_new(config, cv_clock_wall_ms());
	int result = client ? -EAGAIN : CV_INTERNAL_CRYPTO, error;

	while (result == -EAGAIN) {
		struct cv_span bytes = cv_buffer_span(in);
		const size_t before = bytes.len_bytes;

		if (before)
			result = cv_tls_client_read(client, &bytes);
		cv_buffer_consume(in, before - bytes.len_bytes);
		error = say(line, cv_tls_client_output(client));
		if (error)
			result = error;
		if (result == -EAGAIN) {
			error = hear(line);
			result = error ? error : -EAGAIN;
		}
	}
	if (result == CV_UPSTREAM_CERTIFICATE)
		snprintf(line->detail, sizeof(line->detail), "%s",
			 cv_tls_client_error_text(client));
	if (result == 0)
		line->layers[line->layer_count++] = cv_tls_client_take_layer(client);
	cv_tls_client_free(client);
	if (!result)
		result = decode(line);
	return result < 0 ? result : 0; /* that it ends is told to whoever wants more */
}

static int ask_proxy(struct line *line, const struct cv_outbound *outbound,
		     const struct cv_destination *destination)
{
	const bool is_socks = outbound->protocol == CV_OUTBOUND_SOCKS;
	struct cv_buffer *in = &line->level[line->layer_count], out;
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

		error = say(line, &out);
		if (!error)
			error = hear(line);
		result = error	    ? error
			 : is_socks ? cv_socks5_client_read(&socks, cv_buffer_span(in), &out, &used)
				    : cv_http_connect_read(&http, cv_buffer_span(in), &used);
		cv_buffer_consume(in, used);
	}
	cv_buffer_done(&out);
	return result;
}

/* The site's status, or a reason. */
static int ask_site(struct line *line, const struct cv_destination *destination)
{
	struct cv_buffer *in = &line->level[line->layer_count], out;
	char host[CV_DESTINATION_TEXT], request[CV_DESTINATION_TEXT + 64];
	int len, result, status;

	cv_destination_format(destination, host);
	len = snprintf(request, sizeof(request),
		       "HEAD / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host);
	cv_buffer_init(&out, LIMIT);
	result = cv_buffer_append(&out, request, (size_t)len);
	if (!result)
		result = say(line, &out);
	while (!result && cv_buffer_len(in) < sizeof("HTTP/1.1 200") - 1)
		result = hear(line);
	cv_buffer_done(&out);
	if (result)
		return result;
	memcpy(request, cv_buffer_bytes(in), 12);
	request[12] = '\0';
	return sscanf(request, "HTTP/1.%*1d %3d", &status) == 1 && status > 99 ? status
									: CV_UPSTREAM_DECODE;
}

/* ---- one request -------------------------------------------------------------------------- */

static int secure_site(struct line *line, const struct cv_destination *site, const char *ca_file)
{
	static const char *const alpn[] = {"http/1.1", NULL};
	struct cv_trust_store *trust = cv_trust_store_new(ca_file, !ca_file);
	char name[CV_DESTINATION_TEXT];
	struct cv_tls_client_config config = {.server_name = name, .alpn = alpn, .trust = trust};
	int result = CV_INTERNAL_CONFIG;

	cv_destination_format(site, name);
	*strrchr(name, ':') = '\0';
	if (trust)
		result = secure(line, &config);
	cv_trust_store_free(trust);
	return result;
}

static int request(struct line *line, const struct cv_outbound *outbound,
		   const struct cv_destination *site, bool is_https, const char *ca_file)
{
	const struct cv_tls_client_config config = {
		.server_name = outbound->server_name,
		.fingerprint = outbound->fingerprint,
		.alpn = (const char *const *)outbound->alpn,
		.trust = outbound->trust,
		.allow_insecure = outbound->allow_insecure,
	};
	int result = dial(line, &outbound->server);

	if (!result && outbound->security == CV_SECURITY_TLS)
		result = secure(line, &config);
	if (!result)
		result = ask_proxy(line, outbound, site);
	if (!result && is_https)
		result = secure_site(line, site, ca_file);
	return result ? result : ask_site(line, site);
}

static void line_done(struct line *line)
{
	for (size_t i = 0; i < line->layer_count; i++)
		if (line->layers[i])
			line->layers[i]->ops->free(line->layers[i]);
	for (size_t i = 0; i < LEVELS; i++)
		cv_buffer_done(&line->level[i]);
	cv_buffer_done(&line->output);
	if (line->fd >= 0)
		(void)close(line->fd);
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
		struct line line = {.fd = -1};
		const uint64_t began_ms = cv_clock_ms();

		for (size_t i = 0; i < LEVELS; i++)
			cv_buffer_init(&line.level[i], LIMIT);
		cv_buffer_init(&line.output, LIMIT);
		line.due_ms = began_ms + trial->timeout_ms;
		outcome = request(&line, outbound, &site, is_https, trial->ca_file);
		snprintf(detail, sizeof(detail), "%s", line.detail);
		line_done(&line);
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
