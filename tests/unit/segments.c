// SPDX-License-Identifier: MIT
/*
 * segments.c - see segments.h. 10.9.0.2 is ours, 10.9.0.1 is the kernel's.
 */
#include "segments.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define HERE 0x0a090001u
#define THERE 0x0a090002u
#define PAYLOAD_MAX 1400

enum { FLAG_SYN = 1, FLAG_RST = 2, FLAG_ACK = 4 };

static int tun_fd = -1;
static uint16_t next_port = 20000;

/* ---- the device --------------------------------------------------------------------------- */

static int interface_up(int control, const char *name, uint32_t address)
{
	struct ifreq request = {0};
	struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};

	strcpy(request.ifr_name, name);
	memcpy(&request.ifr_addr, &ipv4, sizeof(ipv4));
	if (address && ioctl(control, SIOCSIFADDR, &request) < 0)
		return -errno;
	ipv4.sin_addr.s_addr = htonl(0xffffff00u);
	memcpy(&request.ifr_addr, &ipv4, sizeof(ipv4));
	if (address && ioctl(control, SIOCSIFNETMASK, &request) < 0)
		return -errno;
	request.ifr_flags = IFF_UP;
	return ioctl(control, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

int segments_open(void)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int control, error;

	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	tun_fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (tun_fd < 0)
		return -errno;
	strcpy(request.ifr_name, "tun0");
	if (ioctl(tun_fd, TUNSETIFF, &request) < 0)
		return -errno;
	control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	error = interface_up(control, "lo", 0);
	if (!error)
		error = interface_up(control, "tun0", HERE);
	(void)close(control);
	return error;
}

void segments_close(void)
{
	if (tun_fd >= 0)
		(void)close(tun_fd);
	tun_fd = -1;
}

/* ---- packets ------------------------------------------------------------------------------ */

struct packet {
	struct iphdr ip;
	struct tcphdr tcp;
	uint8_t payload[PAYLOAD_MAX];
} __attribute__((packed));

static uint32_t sum_words(const void *data, size_t count, uint32_t sum)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < count; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	return sum;
}

static uint16_t folded(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void transmit(const struct segments_peer *peer, uint32_t sequence, int tcp_flags,
		     const uint8_t *bytes, size_t count, int flags)
{
	struct packet packet = {
		.ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP},
		.tcp = {.doff = 5, .window = htons(65535)},
	};
	const size_t tcp_bytes = sizeof(packet.tcp) + count;

	if (count > PAYLOAD_MAX)
		abort();
	packet.ip.tot_len = htons((uint16_t)(sizeof(packet.ip) + tcp_bytes));
	packet.ip.saddr = htonl(THERE);
	packet.ip.daddr = htonl(HERE);
	packet.ip.check = folded(sum_words(&packet.ip, sizeof(packet.ip), 0));
	packet.tcp.source = htons(peer->local_port);
	packet.tcp.dest = htons(peer->port);
	packet.tcp.seq = htonl(sequence);
	packet.tcp.ack_seq = htonl(peer->acknowledged);
	packet.tcp.syn = (tcp_flags & FLAG_SYN) != 0;
	packet.tcp.rst = (tcp_flags & FLAG_RST) != 0;
	packet.tcp.ack = (tcp_flags & FLAG_ACK) != 0;
	if (count)
		memcpy(packet.payload, bytes, count);
	packet.tcp.check = folded(sum_words(&packet.tcp, tcp_bytes,
					    sum_words(&packet.ip.saddr, 8,
						      IPPROTO_TCP + (uint32_t)tcp_bytes)));
	if (flags & SEGMENT_BROKEN)
		packet.tcp.check ^= htons(0x5555);
	if (write(tun_fd, &packet, sizeof(packet.ip) + tcp_bytes) < 0)
		abort();
}

/* Waits for the answer to @peer's SYN; whatever else comes is thrown away. */
static uint32_t wait_for_syn_ack(const struct segments_peer *peer)
{
	struct pollfd poll_fd = {.fd = tun_fd, .events = POLLIN};
	struct packet packet;

	while (poll(&poll_fd, 1, 2000) == 1) {
		const ssize_t count = read(tun_fd, &packet, sizeof(packet));

		if (count >= (ssize_t)(sizeof(packet.ip) + sizeof(packet.tcp)) &&
		    packet.ip.version == 4 && packet.ip.protocol == IPPROTO_TCP &&
		    packet.tcp.syn && packet.tcp.ack && packet.tcp.dest == htons(peer->local_port))
			return ntohl(packet.tcp.seq);
	}
	abort();
}

/* ---- connections -------------------------------------------------------------------------- */

void segments_connect_with(struct segments_peer *peer, uint16_t port, const uint8_t *bytes,
			   size_t count)
{
	*peer = (struct segments_peer){.local_port = next_port++, .port = port};
	peer->first_sequence = 0xffffffc0u; /* the hello lies across the wrap */
	transmit(peer, peer->first_sequence - 1, FLAG_SYN, NULL, 0, 0);
	peer->acknowledged = wait_for_syn_ack(peer) + 1;
	transmit(peer, peer->first_sequence, FLAG_ACK, bytes, count, 0);
}

void segments_connect(struct segments_peer *peer, uint16_t port)
{
	segments_connect_with(peer, port, NULL, 0);
}

void segments_send(const struct segments_peer *peer, uint32_t offset, const uint8_t *bytes,
		   size_t count, int flags)
{
	transmit(peer, peer->first_sequence + offset, FLAG_ACK, bytes, count, flags);
}

void segments_reset(const struct segments_peer *peer)
{
	transmit(peer, peer->first_sequence, FLAG_RST, NULL, 0, 0);
}
