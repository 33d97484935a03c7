// SPDX-License-Identifier: MIT
/*
 * target_probe.c - what a target does after a handshake (REALITY 7).
 *
 *   CONNECT --> HANDSHAKE --+--> COLLECT (A)  second flight sent, bytes gathered for window_ms
 *                           +--> CCS (B)      2, then 15, then 16 more CCS, 1 s after each
 *
 * Our own TLS client holds its second flight back, so that the moment from which bytes count is
 * exact. Nothing collected is decrypted: only lengths matter. All probes of a batch live in one
 * poll loop; each has one deadline for its present state. In B an answer means the target gave up:
 * an alert in the clear, or (its alerts are encrypted by then) the end of the connection.
 */
#include "session/target_probe.h"

#include "base/clock.h"
#include "base/reason.h"
#include "crypto/tls_record.h"
#include "wire/proxy_protocol.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define COLLECT_MAX (256 * 1024)
#define READ_CHUNK 16384
#define RECORD_HEADER 5
#define CCS_ROUNDS 3
#define SILENCE_MS 1000

enum probe_state { PROBE_CONNECT, PROBE_HANDSHAKE, PROBE_COLLECT, PROBE_CCS, PROBE_ENDED };

struct probe {
	const struct cv_target_probe_config *config;
	struct cv_target_probe_result *result;
	enum probe_state state;
	int fd;
	size_t address_index;
	int connect_error; /* errno of the last address that failed */
	uint64_t started_ms, deadline_ms;
	struct cv_tls_client *client;
	struct cv_buffer out; /* to be written */
	struct cv_buffer in;  /* handshake bytes, later what is collected */
	uint64_t spoke_ms;     /* when the target last said something while we collect */
	size_t before_silence; /* bytes collected before it fell silent; SIZE_MAX = it has not */
	int ccs_round;
};

/* CCS sent in all after each round, and the limit that an answer to it means (REALITY 7 B). */
static const struct {
	int more;
	int16_t limit;
} ccs_rounds[CCS_ROUNDS] = {{2, 1}, {15, 16}, {16, 32}};

static const uint8_t ccs_record[] = {0x14, 0x03, 0x03, 0x00, 0x01, 0x01};

size_t cv_target_split_records(struct cv_span bytes, uint16_t *ret_lengths, size_t max)
{
	size_t count = 0;

	while (bytes.len_bytes >= RECORD_HEADER && bytes.data[0] == CV_TLS_APPLICATION &&
	       bytes.data[1] == 0x03 && bytes.data[2] == 0x03) {
		size_t len = RECORD_HEADER + ((size_t)bytes.data[3] << 8 | bytes.data[4]);

		if (len > CV_TLS_RECORD_MAX)
			break;
		if (count < max)
			ret_lengths[count] = (uint16_t)len;
		count++;
		cv_span_skip(&bytes, len);
	}
	return count;
}

/* ---- resolving ---- */

static int resolve_domain(const struct cv_destination *destination, struct cv_sockaddr *addresses,
			  size_t max_count)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	size_t count = 0;
	char port[8];

	snprintf(port, sizeof(port), "%u", destination->port);
	if (getaddrinfo(destination->domain, port, &hints, &list) != 0)
		return CV_TARGET_UNREACHABLE;
	for (struct addrinfo *entry = list; entry && count < max_count; entry = entry->ai_next) {
		if (entry->ai_addrlen > sizeof(addresses->in6))
			continue;
		memset(&addresses[count], 0, sizeof(addresses[count]));
		memcpy(&addresses[count].any, entry->ai_addr, entry->ai_addrlen);
		addresses[count++].len_bytes = entry->ai_addrlen;
	}
	freeaddrinfo(list);
	return count ? (int)count : CV_TARGET_UNREACHABLE;
}

int cv_target_resolve(const struct cv_destination *destination,
		      const struct cv_sockaddr *unix_address, struct cv_sockaddr *ret_addresses,
		      size_t max_count)
{
	if (unix_address && unix_address->len_bytes > 0) {
		ret_addresses[0] = *unix_address;
		return 1;
	}
	if (destination->kind == CV_ADDRESS_DOMAIN)
		return resolve_domain(destination, ret_addresses, max_count);
	if (!cv_destination_to_sockaddr(destination, &ret_addresses[0]))
		return CV_TARGET_UNREACHABLE;
	return 1;
}

/* ---- one probe ---- */

static void probe_end(struct probe *probe, int reason, const char *text)
{
	struct cv_target_probe_result *result = probe->result;

	if (probe->client)
		result->facts = *cv_tls_client_facts(probe->client);
	result->reason = reason;
	snprintf(result->error_text, sizeof(result->error_text), "%s",
		 text ? text : reason ? cv_reason_text(reason) : "");
	probe->client = cv_tls_client_free(probe->client);
	cv_buffer_done(&probe->out);
	cv_buffer_done(&probe->in);
	if (probe->fd >= 0)
		close(probe->fd);
	probe->fd = -1;
	probe->state = PROBE_ENDED;
}

static void close_attempt(struct probe *probe, int error)
{
	probe->connect_error = error;
	if (probe->fd >= 0)
		close(probe->fd);
	probe->fd = -1;
	probe->address_index++;
}

/* Starts connecting to the next address that can be tried; ends the probe after the last. */
static void probe_connect(struct probe *probe)
{
	for (; probe->address_index < probe->config->address_count; close_attempt(probe, errno)) {
		const struct cv_sockaddr *address = &probe->config->addresses[probe->address_index];
		const int one = 1;

		probe->fd = socket(address->any.sa_family,
				   SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (probe->fd < 0)
			continue;
		if (address->any.sa_family != AF_UNIX)
			setsockopt(probe->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (connect(probe->fd, &address->any, address->len_bytes) == 0 ||
		    errno == EINPROGRESS)
			return;
	}
	probe_end(probe, CV_TARGET_UNREACHABLE,
		  probe->connect_error ? strerror(probe->connect_error) : NULL);
}

static void probe_start(struct probe *probe, const struct cv_target_probe_config *config,
			struct cv_target_probe_result *result, uint64_t now_ms)
{
	memset(probe, 0, sizeof(*probe));
	memset(result, 0, sizeof(*result));
	probe->config = config;
	probe->result = result;
	probe->fd = -1;
	probe->started_ms = now_ms;
	probe->deadline_ms =
		now_ms + (config->timeout_ms ? config->timeout_ms : CV_TARGET_PROBE_TIMEOUT_MS);
	result->ccs_limit = CV_CCS_LIMIT_UNKNOWN;
	cv_buffer_init(&probe->out, 65536);
	cv_buffer_init(&probe->in, COLLECT_MAX);
	probe_connect(probe);
}

static int append_proxy_header(struct probe *probe)
{
	struct cv_sockaddr local = {.len_bytes = sizeof(local) - offsetof(struct cv_sockaddr, any)};

	if (!probe->config->xver)
		return 0;
	if (getsockname(probe->fd, &local.any, &local.len_bytes) < 0)
		return CV_INTERNAL_SYSTEM;
	return cv_proxy_protocol_write(probe->config->xver, &local,
				       &probe->config->addresses[probe->address_index],
				       &probe->out);
}

static int start_handshake(struct probe *probe)
{
	static const char *const no_alpn[] = {NULL};
	struct cv_tls_client_config config = {
		.server_name = probe->config->server_name,
		.fingerprint = probe->config->alpn_class == CV_ALPN_H2 ? CV_FINGERPRINT_CHROME
								       : CV_FINGERPRINT_GO,
		.alpn = probe->config->alpn_class == CV_ALPN_NONE ? no_alpn : NULL,
		.omit = probe->config->omit,
		.trust = probe->config->trust,
		.allow_insecure = true,
		.describe_leaf = probe->config->describe_leaf,
		.hold_finished = true,
	};
	int result = append_proxy_header(probe);

	if (result < 0)
		return result;
	probe->client = cv_tls_client_new(&config, cv_clock_wall_ms());
	return probe->client ? 0 : CV_INTERNAL_MEMORY;
}

static void probe_connected(struct probe *probe, uint64_t now_ms)
{
	socklen_t len = sizeof(int);
	int error = 0, result;

	getsockopt(probe->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		close_attempt(probe, error);
		probe_connect(probe);
		return;
	}
	probe->result->connect_ms = (uint32_t)(now_ms - probe->started_ms);
	result = start_handshake(probe);
	if (result < 0) {
		probe_end(probe, result, NULL);
		return;
	}
	probe->state = PROBE_HANDSHAKE;
}

/* What the TLS client wants to say goes behind the PROXY header; the kernel takes what it can. */
static int probe_write(struct probe *probe)
{
	struct cv_buffer *output = probe->client ? cv_tls_client_output(probe->client) : NULL;
	ssize_t written;
	int result;

	if (output && cv_buffer_len(output)) {
		result = cv_buffer_append(&probe->out, cv_buffer_bytes(output),
					  cv_buffer_len(output));
		if (result < 0)
			return result;
		cv_buffer_consume(output, cv_buffer_len(output));
	}
	if (cv_buffer_len(&probe->out) == 0)
		return 0;
	written = send(probe->fd, cv_buffer_bytes(&probe->out), cv_buffer_len(&probe->out),
		       MSG_NOSIGNAL);
	if (written < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	cv_buffer_consume(&probe->out, (size_t)written);
	return 0;
}

/* Returns 1 if bytes were read, 0 if there are none now, -1 at the end or an error. */
static int probe_read(struct probe *probe)
{
	uint8_t chunk[READ_CHUNK];
	ssize_t count = recv(probe->fd, chunk, sizeof(chunk), 0);

	if (count < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (count == 0 || cv_buffer_append(&probe->in, chunk, (size_t)count) < 0)
		return -1;
	return 1;
}

/* ---- probe A ---- */

static void finish_lengths(struct probe *probe)
{
	struct cv_post_handshake *after = &probe->result->after;
	size_t count = cv_target_split_records(cv_buffer_span(&probe->in), after->len,
					       CV_POST_HANDSHAKE_MAX);

	probe->result->post_handshake_seen = count;
	after->count = (uint8_t)(count < CV_POST_HANDSHAKE_MAX ? count : CV_POST_HANDSHAKE_MAX);
	after->known = true;
	probe_end(probe, 0, NULL);
}

static void start_collecting(struct probe *probe, uint64_t now_ms)
{
	uint32_t window_ms = probe->config->window_ms;
	int result = cv_tls_client_release(probe->client);

	if (result == 0)
		result = probe_write(probe);
	if (result < 0) {
		probe_end(probe, result, NULL);
		return;
	}
	/* what came with the flight belongs to the template (L6), not to this list */
	cv_buffer_consume(&probe->in, cv_buffer_len(&probe->in));
	probe->deadline_ms = now_ms + (window_ms ? window_ms : CV_TARGET_PROBE_WINDOW_MS);
	probe->spoke_ms = now_ms;
	probe->before_silence = SIZE_MAX;
	probe->state = PROBE_COLLECT;
}

/* What a target says after a silence and then hangs up is its own time-out's farewell
 * (close_notify), not something that belongs behind every handshake. */
static void forget_farewell(struct probe *probe)
{
	if (probe->before_silence < cv_buffer_len(&probe->in))
		probe->in.tail = probe->in.head + probe->before_silence;
}

static void step_collect(struct probe *probe, uint64_t now_ms)
{
	size_t had_bytes = cv_buffer_len(&probe->in);
	int result;

	do
		result = probe_read(probe);
	while (result > 0);
	if (cv_buffer_len(&probe->in) > had_bytes) {
		if (now_ms - probe->spoke_ms >= SILENCE_MS)
			probe->before_silence = had_bytes;
		probe->spoke_ms = now_ms;
	}
	if (result < 0) { /* EOF, reset, or more than we keep: what we have is the list */
		forget_farewell(probe);
		finish_lengths(probe);
	}
}

/* ---- probe B ---- */

static void next_ccs_round(struct probe *probe, uint64_t now_ms)
{
	int result = 0;

	for (int i = 0; result == 0 && i < ccs_rounds[probe->ccs_round].more; i++)
		result = cv_buffer_append(&probe->out, ccs_record, sizeof(ccs_record));
	if (result == 0)
		result = probe_write(probe);
	if (result == -EPIPE || result == -ECONNRESET) {
		probe->result->ccs_limit = ccs_rounds[probe->ccs_round].limit;
		probe_end(probe, 0, NULL);
	} else if (result < 0) {
		probe_end(probe, result, NULL);
	}
	probe->deadline_ms = now_ms + CV_TARGET_PROBE_CCS_WAIT_MS;
}

static void start_ccs(struct probe *probe, uint64_t now_ms)
{
	probe->state = PROBE_CCS;
	probe->ccs_round = 0;
	next_ccs_round(probe, now_ms);
}

/* An alert in the clear anywhere among whole records? */
static bool holds_alert(struct cv_span bytes)
{
	while (bytes.len_bytes >= RECORD_HEADER) {
		if (bytes.data[0] == CV_TLS_ALERT)
			return true;
		cv_span_skip(&bytes, RECORD_HEADER + ((size_t)bytes.data[3] << 8 | bytes.data[4]));
	}
	return false;
}

static void step_ccs(struct probe *probe)
{
	int result = probe_write(probe);

	if (result == 0)
		do
			result = probe_read(probe);
		while (result > 0);
	if (result < 0 || holds_alert(cv_buffer_span(&probe->in))) {
		probe->result->ccs_limit = ccs_rounds[probe->ccs_round].limit;
		probe_end(probe, 0, NULL);
	}
}

static void ccs_round_over(struct probe *probe, uint64_t now_ms)
{
	if (++probe->ccs_round < CCS_ROUNDS) {
		next_ccs_round(probe, now_ms);
		return;
	}
	probe->result->ccs_limit = -1;
	probe_end(probe, 0, NULL);
}

/* ---- the handshake ---- */

static void handshake_done(struct probe *probe, uint64_t now_ms)
{
	probe->result->handshake_ms =
		(uint32_t)(now_ms - probe->started_ms) - probe->result->connect_ms;
	if (probe->config->kind == CV_TARGET_PROBE_CCS)
		start_ccs(probe, now_ms);
	else
		start_collecting(probe, now_ms);
}

static void step_handshake(struct probe *probe, uint64_t now_ms)
{
	int result = probe_write(probe);
	int got = result == 0 ? probe_read(probe) : -1;
	struct cv_span span;

	if (got < 0) {
		probe_end(probe, result < 0 ? result : CV_TARGET_CLOSED, NULL);
		return;
	}
	span = cv_buffer_span(&probe->in);
	result = cv_tls_client_read(probe->client, &span);
	cv_buffer_consume(&probe->in, cv_buffer_len(&probe->in) - span.len_bytes);
	if (result == 0) {
		handshake_done(probe, now_ms);
	} else if (result != -EAGAIN) {
		probe_write(probe); /* the alert */
		probe_end(probe, result, cv_tls_client_error_text(probe->client));
	} else if (probe_write(probe) < 0) { /* a second hello, perhaps */
		probe_end(probe, CV_TARGET_CLOSED, NULL);
	}
}

static void probe_step(struct probe *probe, uint64_t now_ms)
{
	switch (probe->state) {
	case PROBE_CONNECT:
		probe_connected(probe, now_ms);
		break;
	case PROBE_HANDSHAKE:
		step_handshake(probe, now_ms);
		break;
	case PROBE_COLLECT:
		if (probe_write(probe) < 0)
			finish_lengths(probe);
		else
			step_collect(probe, now_ms);
		break;
	case PROBE_CCS:
		step_ccs(probe);
		break;
	case PROBE_ENDED:
		break;
	}
}

static void probe_expired(struct probe *probe, uint64_t now_ms)
{
	switch (probe->state) {
	case PROBE_COLLECT:
		finish_lengths(probe);
		break;
	case PROBE_CCS:
		ccs_round_over(probe, now_ms);
		break;
	case PROBE_ENDED:
		break;
	default:
		probe_end(probe, -ETIMEDOUT,
			  probe->state == PROBE_CONNECT ? "connecting took too long"
							: "handshake took too long");
	}
}

/* ---- a batch ---- */

static bool wants_write(const struct probe *probe)
{
	return probe->state == PROBE_CONNECT || cv_buffer_len(&probe->out) > 0 ||
	       (probe->client && cv_buffer_len(cv_tls_client_output(probe->client)) > 0);
}

/* Fills @polled ([0] is the stop descriptor) and returns the poll timeout, -1 if all have ended. */
static int prepare_poll(const struct probe *probes, size_t count, int stop_fd,
			struct pollfd *polled, uint64_t now_ms)
{
	uint64_t nearest = UINT64_MAX;

	polled[0] = (struct pollfd){.fd = stop_fd, .events = POLLIN};
	for (size_t i = 0; i < count; i++) {
		const struct probe *probe = &probes[i];

		polled[1 + i] = (struct pollfd){.fd = probe->fd};
		if (probe->state == PROBE_ENDED)
			continue;
		polled[1 + i].events = probe->state == PROBE_CONNECT ? POLLOUT
				       : wants_write(probe)          ? POLLIN | POLLOUT
								     : POLLIN;
		if (probe->deadline_ms < nearest)
			nearest = probe->deadline_ms;
	}
	if (nearest == UINT64_MAX)
		return -1;
	return nearest > now_ms ? (int)(nearest - now_ms) : 0;
}

static void cancel_all(struct probe *probes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (probes[i].state != PROBE_ENDED)
			probe_end(&probes[i], -ECANCELED, NULL);
}

static bool run_batch(struct probe *probes, size_t count, int stop_fd)
{
	struct pollfd polled[1 + CV_TARGET_PROBE_PARALLEL];

	for (;;) {
		int timeout = prepare_poll(probes, count, stop_fd, polled, cv_clock_ms());
		uint64_t now_ms;

		if (timeout < 0)
			return true;
		if (poll(polled, 1 + count, timeout) < 0 && errno != EINTR)
			return false;
		if (polled[0].revents)
			return false;
		now_ms = cv_clock_ms();
		for (size_t i = 0; i < count; i++) {
			if (probes[i].fd >= 0 && polled[1 + i].fd == probes[i].fd &&
			    polled[1 + i].revents)
				probe_step(&probes[i], now_ms);
			if (probes[i].state != PROBE_ENDED && now_ms >= probes[i].deadline_ms)
				probe_expired(&probes[i], now_ms);
		}
	}
}

void cv_target_probe_run(const struct cv_target_probe_config *configs, size_t count, int stop_fd,
			 struct cv_target_probe_result *ret_results)
{
	struct probe probes[CV_TARGET_PROBE_PARALLEL];
	bool go_on = true;

	for (size_t at = 0; at < count; at += CV_TARGET_PROBE_PARALLEL) {
		size_t batch = count - at < CV_TARGET_PROBE_PARALLEL ? count - at
								     : CV_TARGET_PROBE_PARALLEL;

		for (size_t i = 0; i < batch; i++)
			probe_start(&probes[i], &configs[at + i], &ret_results[at + i],
				    cv_clock_ms());
		if (go_on)
			go_on = run_batch(probes, batch, stop_fd);
		if (!go_on)
			cancel_all(probes, batch);
	}
}
