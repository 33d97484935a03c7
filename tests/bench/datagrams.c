// SPDX-License-Identifier: MIT
/*
 * datagrams.c - datagrams per second through a SOCKS5 association, and how many are lost.
 *
 *   datagrams SOCKS_PORT PER_SECOND SECONDS BYTES
 *
 *   sender -> SOCKS5 UDP of SOCKS_PORT -> ... -> receiver, all on 127.0.0.1
 *
 * Sends what is due each millisecond in one call, numbered; what was missed while the machine did
 * something else is not made up for, as it would be a burst at another rate. One thread sends, one
 * counts. Prints one JSON object: sent, received (each number once), seconds.
 */
#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEADER 10
#define BATCH 256
#define LATE_MS 5
#define BYTES_MAX 8000
#define BUFFER_BYTES (32 << 20)

struct receiver {
	int fd;
	uint8_t *seen; /* by number */
	uint32_t count;
	_Atomic uint32_t received;
};

static void fail(const char *what)
{
	fprintf(stderr, "datagrams: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int open_socket(int type, int size_option)
{
	const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), size_bytes = BUFFER_BYTES;

	if (fd < 0)
		fail("socket");
	if (size_option && setsockopt(fd, SOL_SOCKET, size_option, &size_bytes, sizeof(int)) < 0)
		fail("setsockopt");
	return fd;
}

/* Returns a socket that is connected to the association's port. */
static int associate(uint16_t socks_port)
{
	static const uint8_t greeting[] = {5, 1, 0}, request[] = {5, 3, 0, 1, 0, 0, 0, 0, 0, 0};
	struct sockaddr_in address = loopback(socks_port);
	const int control = open_socket(SOCK_STREAM, 0); /* open until the end */
	const int fd = open_socket(SOCK_DGRAM, SO_SNDBUFFORCE);
	uint8_t answer[12];

	if (connect(control, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("connect");
	if (send(control, greeting, sizeof(greeting), 0) < 0 ||
	    recv(control, answer, 2, MSG_WAITALL) != 2 ||
	    send(control, request, sizeof(request), 0) < 0 ||
	    recv(control, answer + 2, 10, MSG_WAITALL) != 10 || answer[3] != 0)
		fail("UDP ASSOCIATE");
	memcpy(&address.sin_port, answer + 10, 2);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("connect");
	return fd;
}

static void *receive(void *opaque)
{
	static uint8_t memory[BATCH][BYTES_MAX];
	struct receiver *receiver = opaque;
	struct mmsghdr messages[BATCH] = {0};
	struct iovec pieces[BATCH];

	for (size_t i = 0; i < BATCH; i++) {
		pieces[i] = (struct iovec){.iov_base = memory[i], .iov_len = BYTES_MAX};
		messages[i].msg_hdr.msg_iov = &pieces[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	for (;;) {
		const int count = recvmmsg(receiver->fd, messages, BATCH, MSG_WAITFORONE, NULL);

		for (int i = 0; i < count; i++) {
			uint32_t number;

			memcpy(&number, memory[i], sizeof(number));
			if (messages[i].msg_len < sizeof(number) || number >= receiver->count ||
			    receiver->seen[number])
				continue;
			receiver->seen[number] = 1;
			atomic_fetch_add(&receiver->received, 1);
		}
	}
	return NULL;
}

static void send_some(int fd, const struct sockaddr_in *to, uint32_t first, uint32_t count,
		      size_t bytes)
{
	static uint8_t memory[BATCH][HEADER + BYTES_MAX];
	struct mmsghdr messages[BATCH] = {0};
	struct iovec pieces[BATCH];

	for (uint32_t i = 0; i < count; i++) {
		const uint32_t number = first + i;

		memory[i][3] = 1;
		memcpy(memory[i] + 4, &to->sin_addr, 4);
		memcpy(memory[i] + 8, &to->sin_port, 2);
		memcpy(memory[i] + HEADER, &number, sizeof(number));
		pieces[i] = (struct iovec){.iov_base = memory[i], .iov_len = HEADER + bytes};
		messages[i].msg_hdr.msg_iov = &pieces[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	if (sendmmsg(fd, messages, count, 0) < 0 && errno != ECONNREFUSED)
		fail("sendmmsg");
}

static void pause_ms(long ms)
{
	const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&pause, NULL);
}

/* The first one finds the way: as programs do, which ask and wait. */
static void find_way(int fd, const struct sockaddr_in *to, struct receiver *receiver, size_t bytes)
{
	for (int i = 0; i < 100 && atomic_load(&receiver->received) == 0; i++) {
		if (i % 20 == 0)
			send_some(fd, to, 0, 1, bytes);
		pause_ms(50);
	}
	if (atomic_load(&receiver->received) == 0) {
		errno = ETIMEDOUT;
		fail("the first datagram");
	}
}

static uint64_t send_all(int fd, const struct sockaddr_in *to, uint32_t total, uint32_t per_s,
			 size_t bytes)
{
	const uint64_t began_ms = cv_clock_ms(), most = per_s * LATE_MS / 1000 + 1;
	uint64_t missed = 0;
	uint32_t sent = 1;

	while (sent < total) {
		uint64_t due = (cv_clock_ms() - began_ms + 1) * per_s / 1000 - missed;
		uint32_t count;

		if (due > sent + most) {
			missed += due - sent - most;
			due = sent + most;
		}
		count = due < total ? (uint32_t)due - sent : total - sent;
		if (due <= sent) {
			pause_ms(1);
			continue;
		}
		if (count > BATCH)
			count = BATCH;
		send_some(fd, to, sent, count, bytes);
		sent += count;
	}
	return cv_clock_ms() - began_ms;
}

int main(int argc, char **argv)
{
	struct receiver receiver = {0};
	struct sockaddr_in to = loopback(0);
	socklen_t to_bytes = sizeof(to);
	uint32_t per_s, before = UINT32_MAX;
	uint64_t took_ms;
	size_t bytes;
	pthread_t thread;
	int fd;

	if (argc != 5) {
		fprintf(stderr, "usage: datagrams SOCKS_PORT PER_SECOND SECONDS BYTES\n");
		return 2;
	}
	per_s = (uint32_t)atoi(argv[2]);
	bytes = (size_t)atoi(argv[4]);
	receiver.count = per_s * (uint32_t)atoi(argv[3]);
	receiver.seen = calloc(receiver.count + 1, 1);
	receiver.fd = open_socket(SOCK_DGRAM, SO_RCVBUFFORCE);
	if (!receiver.seen || bytes < sizeof(uint32_t) || bytes > BYTES_MAX ||
	    bind(receiver.fd, (struct sockaddr *)&to, to_bytes) < 0 ||
	    getsockname(receiver.fd, (struct sockaddr *)&to, &to_bytes) < 0)
		fail("receiver");
	fd = associate((uint16_t)atoi(argv[1]));
	if (pthread_create(&thread, NULL, receive, &receiver) != 0)
		fail("thread");
	find_way(fd, &to, &receiver, bytes);
	took_ms = send_all(fd, &to, receiver.count, per_s, bytes);
	for (uint32_t now = atomic_load(&receiver.received); now != before && now < receiver.count;
	     now = atomic_load(&receiver.received)) {
		before = now;
		pause_ms(500);
	}
	printf("{\"sent\": %u, \"received\": %u, \"seconds\": %.3f}\n", receiver.count,
	       atomic_load(&receiver.received), (double)took_ms / 1000);
	return 0;
}
