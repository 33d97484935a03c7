// SPDX-License-Identifier: MIT
/*
 * culvert_line.c - a connection with blocking calls, TLS upon TLS.
 *
 *   dial -> [secure -> [secure]] -> say, hear
 *
 * level[0] is what the socket gave; each TLS layer turns level[i] into level[i + 1]. The handshakes
 * are the daemon's own codecs, so that what works here works there.
 */
#include "culvert_line.h"

#include "base/clock.h"
#include "base/reason.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LIMIT (256 * 1024)

/* ---- socket ------------------------------------------------------------------------------- */

static int wait_for(const struct cv_line *line, short events)
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

int cv_line_connect(struct cv_line *line, const struct sockaddr *address, socklen_t address_len)
{
	socklen_t len = sizeof(int);
	int error = 0;

	line->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (line->fd < 0)
		return CV_INTERNAL_RESOURCE;
	if (connect(line->fd, address, address_len) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return reason_of(errno);
	if (wait_for(line, POLLOUT) != 0)
		return CV_UPSTREAM_TIMEOUT;
	(void)getsockopt(line->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	return error ? reason_of(error) : 0;
}

int cv_line_dial(struct cv_line *line, const struct cv_destination *destination)
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
		result = cv_line_connect(line, a->ai_addr, a->ai_addrlen);
	}
	freeaddrinfo(addresses);
	return result;
}

static int flush(struct cv_line *line)
{
	struct cv_buffer *out = &line->output;
	int result = 0;

	while (result == 0 && cv_buffer_len(out) > 0) {
		const ssize_t count =
			send(line->fd, cv_buffer_bytes(out), cv_buffer_len(out), MSG_NOSIGNAL);

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
	struct cv_line *line;
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

int cv_line_say(struct cv_line *line, struct cv_buffer *bytes)
{
	struct emit_context context = {.line = line, .below = line->layer_count};
	const int error = emit_down(&context, cv_buffer_span(bytes));

	cv_buffer_consume(bytes, cv_buffer_len(bytes));
	return error ? error : flush(line);
}

/* Passes what is on each level up as far as it goes. CV_LAYER_EOF: nothing more will come, but what
 * came before the end is there: the ends of all levels may arrive in one segment with it. */
static int decode(struct cv_line *line)
{
	int result = 0, end = 0;

	for (size_t i = 0; i < line->layer_count && result == 0; i++) {
		struct cv_buffer *from = &line->level[i];

		while (result == 0 && cv_buffer_len(from) > 0) {
			struct cv_span in = cv_buffer_span(from);
			const size_t before = in.len_bytes;

			result = line->layers[i]->ops->decode(line->layers[i], &in,
							      &line->level[i + 1], &line->output);
			cv_buffer_consume(from, before - in.len_bytes);
		}
		if (result == CV_LAYER_EOF)
			end = result;
		if (result == -EAGAIN || result == CV_LAYER_EOF)
			result = 0;
	}
	return result ? result : end;
}

/* More bytes on the topmost level, or why there are none. */
int cv_line_hear(struct cv_line *line)
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

int cv_line_secure(struct cv_line *line, const struct cv_tls_client_config *config)
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
		error = cv_line_say(line, cv_tls_client_output(client));
		if (error)
			result = error;
		if (result == -EAGAIN) {
			error = cv_line_hear(line);
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

/* ---- life --------------------------------------------------------------------------------- */

void cv_line_init(struct cv_line *line, uint64_t due_ms)
{
	*line = (struct cv_line){.fd = -1, .due_ms = due_ms};
	for (size_t i = 0; i < CV_LINE_LEVELS; i++)
		cv_buffer_init(&line->level[i], LIMIT);
	cv_buffer_init(&line->output, LIMIT);
}

void cv_line_done(struct cv_line *line)
{
	for (size_t i = 0; i < line->layer_count; i++)
		if (line->layers[i])
			line->layers[i]->ops->free(line->layers[i]);
	for (size_t i = 0; i < CV_LINE_LEVELS; i++)
		cv_buffer_done(&line->level[i]);
	cv_buffer_done(&line->output);
	if (line->fd >= 0)
		(void)close(line->fd);
}

struct cv_buffer *cv_line_input(struct cv_line *line)
{
	return &line->level[line->layer_count];
}

int cv_line_send(struct cv_line *line, const void *bytes, size_t count_bytes)
{
	struct cv_buffer out;
	int error;

	cv_buffer_init(&out, LIMIT);
	error = cv_buffer_append(&out, bytes, count_bytes);
	if (!error)
		error = cv_line_say(line, &out);
	cv_buffer_done(&out);
	return error;
}
