// SPDX-License-Identifier: MIT
/*
 * peer.c - the internet: whatever it is asked for, byte for byte; epoll, one thread.
 *
 * A request is a byte, a length and a seed (sequence.c), one after the other on a connection:
 *   d  send so many bytes of that stream          u  take as many, answer 'k' or 'x' (not these)
 *   f  like d, then FIN                           r  like d, then RST
 *   h  take what comes until FIN, which must be as many and these; answer 'k' or 'x', FIN
 * Datagrams come back as they are.
 */
#include "load/hostile.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 256
#define TURN_BYTES (256 * 1024) /* of one connection before the others */

struct client {
	int fd;
	char kind; /* 0: a request is awaited */
	uint8_t request[REQUEST_BYTES];
	size_t have;
	uint32_t length, seed;
	uint64_t offset;
	bool wrong;
};

struct server {
	int epoll, listener, datagrams;
};

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

static uint32_t get_be32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

enum progress { AGAIN, NEXT, OVER };

static enum progress failed(void)
{
	return errno == EAGAIN ? AGAIN : OVER;
}

/* ---- requests ------------------------------------------------------------------------------- */

static enum progress read_request(struct client *client)
{
	const ssize_t got = recv(client->fd, client->request + client->have,
				 REQUEST_BYTES - client->have, 0);

	if (got == 0)
		return OVER;
	if (got < 0)
		return failed();
	client->have += (size_t)got;
	if (client->have < REQUEST_BYTES)
		return NEXT;
	client->have = 0;
	client->kind = (char)client->request[0];
	client->length = get_be32(client->request + 1);
	client->seed = get_be32(client->request + 5);
	client->offset = 0;
	client->wrong = false;
	return NEXT;
}

static void reset(int fd)
{
	const struct linger linger = {.l_onoff = 1, .l_linger = 0};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static enum progress send_stream(struct client *client)
{
	while (client->offset < client->length) {
		size_t len = client->length - client->offset;
		const uint8_t *data = sequence_at(client->seed, client->offset, &len);
		const ssize_t sent = send(client->fd, data, len, MSG_NOSIGNAL);

		if (sent < 0)
			return failed();
		client->offset += (uint64_t)sent;
	}
	if (client->kind == 'r')
		reset(client->fd);
	if (client->kind != 'd')
		return OVER;
	client->kind = 0;
	return NEXT;
}

static enum progress take_stream(struct client *client)
{
	uint8_t data[65536];
	size_t len = client->kind == 'h' ? sizeof(data) : client->length - client->offset;
	const uint8_t *want = sequence_at(client->seed, client->offset, &len);
	ssize_t got = 0;

	if (len > sizeof(data))
		len = sizeof(data);
	if (len > 0)
		got = recv(client->fd, data, len, 0);
	if (got < 0)
		return failed();
	if (got == 0 && len > 0)
		return client->kind == 'h' ? NEXT : OVER;
	client->wrong |= memcmp(data, want, (size_t)got) != 0;
	client->offset += (uint64_t)got;
	return AGAIN;
}

static enum progress judge(struct client *client)
{
	const bool good = !client->wrong && client->offset == client->length;
	const char answer = good ? 'k' : 'x';
	const bool was_last = client->kind == 'h';

	client->kind = 0;
	if (send(client->fd, &answer, 1, MSG_NOSIGNAL) < 0)
		return OVER;
	return was_last ? OVER : NEXT;
}

static enum progress take(struct client *client)
{
	uint64_t before;
	enum progress progress;

	do {
		if (client->kind == 'u' && client->offset == client->length)
			return judge(client);
		before = client->offset;
		progress = take_stream(client);
	} while (progress == AGAIN && client->offset > before);
	return progress == NEXT ? judge(client) : progress;
}

static enum progress serve(struct client *client)
{
	switch (client->kind) {
	case 0:
		return read_request(client);
	case 'd':
	case 'f':
	case 'r':
		return send_stream(client);
	case 'u':
	case 'h':
		return take(client);
	default:
		return OVER;
	}
}

static void ready(struct client *client)
{
	enum progress progress = NEXT;

	while (progress == NEXT)
		progress = serve(client);
	if (progress == AGAIN)
		return;
	(void)close(client->fd);
	free(client);
}

/* ---- server --------------------------------------------------------------------------------- */

static void accept_all(const struct server *server)
{
	const int on = 1;

	for (;;) {
		struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP};
		const int fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct client *client = fd < 0 ? NULL : calloc(1, sizeof(*client));

		if (!client) {
			if (fd >= 0)
				(void)close(fd);
			return;
		}
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		client->fd = fd;
		event.data.ptr = client;
		if (epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
			(void)close(fd);
			free(client);
		}
	}
}

static void echo_all(const struct server *server)
{
	struct sockaddr_in from;
	uint8_t data[65536];

	for (;;) {
		socklen_t len = sizeof(from);
		const ssize_t got = recvfrom(server->datagrams, data, sizeof(data), 0,
					     (struct sockaddr *)&from, &len);

		if (got < 0)
			return;
		(void)sendto(server->datagrams, data, (size_t)got, 0,
			     (struct sockaddr *)&from, len);
	}
}

static bool open_both(struct server *server, const struct sockaddr_in *address)
{
	struct epoll_event event = {.events = EPOLLIN};
	const int type = SOCK_NONBLOCK | SOCK_CLOEXEC, on = 1;

	server->epoll = epoll_create1(EPOLL_CLOEXEC);
	server->listener = socket(AF_INET, SOCK_STREAM | type, 0);
	server->datagrams = socket(AF_INET, SOCK_DGRAM | type, 0);
	if (server->epoll < 0 || server->listener < 0 || server->datagrams < 0)
		return false;
	(void)setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(server->listener, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
	    listen(server->listener, 4096) < 0 ||
	    bind(server->datagrams, (const struct sockaddr *)address, sizeof(*address)) < 0)
		return false;
	event.data.ptr = &server->listener;
	if (epoll_ctl(server->epoll, EPOLL_CTL_ADD, server->listener, &event) < 0)
		return false;
	event.data.ptr = &server->datagrams;
	return epoll_ctl(server->epoll, EPOLL_CTL_ADD, server->datagrams, &event) == 0;
}

int peer_serve(const char *address, uint16_t port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct server server;
	struct epoll_event events[EVENTS];

	if (inet_pton(AF_INET, address, &at.sin_addr) != 1 || !open_both(&server, &at)) {
		perror("hostile serve");
		return 1;
	}
	(void)signal(SIGTERM, stop);
	puts("ready");
	(void)fflush(stdout);
	while (!stopped) {
		const int count = epoll_wait(server.epoll, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == &server.listener)
				accept_all(&server);
			else if (events[i].data.ptr == &server.datagrams)
				echo_all(&server);
			else
				ready(events[i].data.ptr);
		}
	}
	return 0;
}
