/* SPDX-License-Identifier: MIT */
/*
 * address.h - a destination as protocols name it (IP or domain, and port), and socket addresses.
 */
#ifndef CV_BASE_ADDRESS_H
#define CV_BASE_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum cv_address_kind { CV_ADDRESS_NONE, CV_ADDRESS_IPV4, CV_ADDRESS_IPV6, CV_ADDRESS_DOMAIN };

#define CV_DOMAIN_MAX 255

struct cv_destination {
	enum cv_address_kind kind;
	uint16_t port; /* host order */
	union {
		uint8_t ipv4[4];
		uint8_t ipv6[16];
		char domain[CV_DOMAIN_MAX + 1]; /* NUL terminated, no trailing dot */
	};
};

/* One dialable socket address; unix paths included. */
struct cv_sockaddr {
	socklen_t len_bytes;
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	};
};

/** cv_destination_set_text() - IP literal (also "[v6]") or domain [0-9A-Za-z._-]{1,255} with at
 * most one trailing dot, normalised. Returns 0 or CV_PEER_ADDRESS. */
int cv_destination_set_text(struct cv_destination *destination, const char *host, uint16_t port);
/** cv_destination_normalize() - v4-mapped IPv6 becomes IPv4, domain that is an IP literal
 * becomes IP. */
void cv_destination_normalize(struct cv_destination *destination);
/** cv_destination_format() - "host:port" / "[v6]:port" into @text (CV_DESTINATION_TEXT bytes). */
#define CV_DESTINATION_TEXT 272
void cv_destination_format(const struct cv_destination *destination,
			   char text[CV_DESTINATION_TEXT]);
/** cv_destination_to_sockaddr() - For IPs only. Returns false for domains. */
bool cv_destination_to_sockaddr(const struct cv_destination *destination,
				struct cv_sockaddr *ret_address);
/** cv_sockaddr_from_unix() - "/path", "@name" (exact length) or "@@name" (zero-padded, REALITY 2).
 * Returns 0 or CV_INTERNAL_CONFIG (empty, relative or longer than sun_path). */
int cv_sockaddr_from_unix(const char *path, struct cv_sockaddr *ret_address);
/** cv_sockaddr_format() - "1.2.3.4:5", "[::1]:5" or "unix:/path". */
void cv_sockaddr_format(const struct cv_sockaddr *address, char text[CV_DESTINATION_TEXT]);
/** cv_sockaddr_to_destination() - IP socket address to destination (v4-mapped normalised). */
bool cv_sockaddr_to_destination(const struct cv_sockaddr *address,
				struct cv_destination *ret_destination);
/** cv_destination_same_host() - The same IP, whatever the ports; false for names. */
bool cv_destination_same_host(const struct cv_destination *one, const struct cv_destination *other);
/** cv_destination_is_any() - No host at all, or 0.0.0.0 or ::. */
bool cv_destination_is_any(const struct cv_destination *destination);
uint16_t cv_sockaddr_port(const struct cv_sockaddr *address);

#endif
