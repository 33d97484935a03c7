// SPDX-License-Identifier: MIT
/*
 * address.c - destinations and socket addresses: parsing, normal form, text.
 *
 * One destination has one form, or routing rules could be walked around: an IP literal sent as a
 * domain is an IP, an IPv4-mapped IPv6 address is IPv4, and a domain carries no trailing dot.
 * Domains are what VLESS and SOCKS5 allow, [0-9A-Za-z._-]; anything else could not be resolved and
 * would only reach logs and rules.
 */
#include "base/address.h"

#include <culvert/reason.h>

#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const uint8_t v4_mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool domain_byte_valid(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '.' || c == '_' || c == '-';
}

/* "1.2.3.4", "::1" or "[::1]" of @len bytes; true if it was one. */
static bool destination_set_ip(struct cv_destination *destination, const char *host, size_t len)
{
	const bool bracketed = len >= 2 && host[0] == '[' && host[len - 1] == ']';
	char text[INET6_ADDRSTRLEN];
	struct in6_addr ipv6;
	struct in_addr ipv4;

	if (bracketed) {
		host++;
		len -= 2;
	}
	if (len >= sizeof(text))
		return false;
	memcpy(text, host, len);
	text[len] = '\0';
	if (!bracketed && inet_pton(AF_INET, text, &ipv4) == 1) {
		destination->kind = CV_ADDRESS_IPV4;
		memcpy(destination->ipv4, &ipv4, sizeof(destination->ipv4));
		return true;
	}
	if (inet_pton(AF_INET6, text, &ipv6) == 1) {
		destination->kind = CV_ADDRESS_IPV6;
		memcpy(destination->ipv6, &ipv6, sizeof(destination->ipv6));
		return true;
	}
	return false;
}

static void destination_unmap(struct cv_destination *destination)
{
	uint8_t ipv4[4];

	if (destination->kind != CV_ADDRESS_IPV6 ||
	    memcmp(destination->ipv6, v4_mapped_prefix, sizeof(v4_mapped_prefix)) != 0)
		return;
	memcpy(ipv4, destination->ipv6 + sizeof(v4_mapped_prefix), sizeof(ipv4));
	destination->kind = CV_ADDRESS_IPV4;
	memcpy(destination->ipv4, ipv4, sizeof(ipv4));
}

int cv_destination_set_text(struct cv_destination *destination, const char *host, uint16_t port)
{
	struct cv_destination result = {.port = port};
	size_t len = strnlen(host, CV_DOMAIN_MAX + 2);

	if (!destination_set_ip(&result, host, len)) {
		if (len > 0 && host[len - 1] == '.')
			len--;
		/* One dot is the root's. A second one would survive and walk around every rule. */
		if (len == 0 || len > CV_DOMAIN_MAX || host[len - 1] == '.')
			return CV_PEER_ADDRESS;
		for (size_t i = 0; i < len; i++)
			if (!domain_byte_valid(host[i]))
				return CV_PEER_ADDRESS;
		result.kind = CV_ADDRESS_DOMAIN;
		memcpy(result.domain, host, len);
		result.domain[len] = '\0';
	}
	cv_destination_normalize(&result);
	*destination = result;
	return 0;
}

void cv_destination_normalize(struct cv_destination *destination)
{
	if (destination->kind == CV_ADDRESS_DOMAIN) {
		struct cv_destination literal = {.port = destination->port};
		size_t len = strnlen(destination->domain, CV_DOMAIN_MAX);

		if (len > 1 && destination->domain[len - 1] == '.')
			destination->domain[--len] = '\0';
		if (destination_set_ip(&literal, destination->domain, len))
			*destination = literal;
	}
	destination_unmap(destination);
}

void cv_destination_format(const struct cv_destination *destination, char text[CV_DESTINATION_TEXT])
{
	char ip[INET6_ADDRSTRLEN] = "";

	switch (destination->kind) {
	case CV_ADDRESS_IPV4:
		inet_ntop(AF_INET, destination->ipv4, ip, sizeof(ip));
		snprintf(text, CV_DESTINATION_TEXT, "%s:%u", ip, destination->port);
		break;
	case CV_ADDRESS_IPV6:
		inet_ntop(AF_INET6, destination->ipv6, ip, sizeof(ip));
		snprintf(text, CV_DESTINATION_TEXT, "[%s]:%u", ip, destination->port);
		break;
	case CV_ADDRESS_DOMAIN:
		snprintf(text, CV_DESTINATION_TEXT, "%.*s:%u", CV_DOMAIN_MAX, destination->domain,
			 destination->port);
		break;
	default:
		snprintf(text, CV_DESTINATION_TEXT, "none");
		break;
	}
}

bool cv_destination_to_sockaddr(const struct cv_destination *destination,
				struct cv_sockaddr *ret_address)
{
	struct cv_sockaddr address = {0};

	if (destination->kind == CV_ADDRESS_IPV4) {
		address.len_bytes = sizeof(address.in);
		address.in.sin_family = AF_INET;
		address.in.sin_port = htons(destination->port);
		memcpy(&address.in.sin_addr, destination->ipv4, sizeof(destination->ipv4));
	} else if (destination->kind == CV_ADDRESS_IPV6) {
		address.len_bytes = sizeof(address.in6);
		address.in6.sin6_family = AF_INET6;
		address.in6.sin6_port = htons(destination->port);
		memcpy(&address.in6.sin6_addr, destination->ipv6, sizeof(destination->ipv6));
	} else {
		return false;
	}
	*ret_address = address;
	return true;
}

int cv_sockaddr_from_unix(const char *path, struct cv_sockaddr *ret_address)
{
	struct cv_sockaddr address = {.un.sun_family = AF_UNIX};
	const size_t size = sizeof(address.un.sun_path);
	const size_t header = offsetof(struct sockaddr_un, sun_path);
	const bool abstract = path[0] == '@';
	const bool padded = abstract && path[1] == '@';
	const char *name = path + (abstract ? 1 : 0) + (padded ? 1 : 0);
	const size_t len = strnlen(name, size);

	if (len == 0 || len >= size || (!abstract && path[0] != '/'))
		return CV_INTERNAL_CONFIG;
	/* An abstract name starts with a NUL and does not end with one: the length tells. */
	memcpy(address.un.sun_path + (abstract ? 1 : 0), name, len);
	address.len_bytes = (socklen_t)(header + (padded ? size : len + 1));
	*ret_address = address;
	return 0;
}

static void unix_format(const struct cv_sockaddr *address, char text[CV_DESTINATION_TEXT])
{
	const size_t header = offsetof(struct sockaddr_un, sun_path);
	const char *path = address->un.sun_path;
	size_t len = address->len_bytes > header ? address->len_bytes - header : 0;

	if (len > sizeof(address->un.sun_path))
		len = sizeof(address->un.sun_path);
	if (len > 1 && path[0] == '\0')
		snprintf(text, CV_DESTINATION_TEXT, "unix:%s%.*s",
			 len == sizeof(address->un.sun_path) ? "@@" : "@", (int)len - 1, path + 1);
	else
		snprintf(text, CV_DESTINATION_TEXT, "unix:%.*s", (int)len, path);
}

void cv_sockaddr_format(const struct cv_sockaddr *address, char text[CV_DESTINATION_TEXT])
{
	char ip[INET6_ADDRSTRLEN] = "";

	switch (address->any.sa_family) {
	case AF_INET:
		inet_ntop(AF_INET, &address->in.sin_addr, ip, sizeof(ip));
		snprintf(text, CV_DESTINATION_TEXT, "%s:%u", ip, cv_sockaddr_port(address));
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &address->in6.sin6_addr, ip, sizeof(ip));
		snprintf(text, CV_DESTINATION_TEXT, "[%s]:%u", ip, cv_sockaddr_port(address));
		break;
	case AF_UNIX:
		unix_format(address, text);
		break;
	default:
		snprintf(text, CV_DESTINATION_TEXT, "none");
		break;
	}
}

bool cv_sockaddr_to_destination(const struct cv_sockaddr *address,
				struct cv_destination *ret_destination)
{
	struct cv_destination destination = {.port = cv_sockaddr_port(address)};

	if (address->any.sa_family == AF_INET) {
		destination.kind = CV_ADDRESS_IPV4;
		memcpy(destination.ipv4, &address->in.sin_addr, sizeof(destination.ipv4));
	} else if (address->any.sa_family == AF_INET6) {
		destination.kind = CV_ADDRESS_IPV6;
		memcpy(destination.ipv6, &address->in6.sin6_addr, sizeof(destination.ipv6));
	} else {
		return false;
	}
	destination_unmap(&destination);
	*ret_destination = destination;
	return true;
}

uint16_t cv_sockaddr_port(const struct cv_sockaddr *address)
{
	switch (address->any.sa_family) {
	case AF_INET:
		return ntohs(address->in.sin_port);
	case AF_INET6:
		return ntohs(address->in6.sin6_port);
	default:
		return 0;
	}
}

/* 0: no IP. */
static size_t ip_bytes(const struct cv_destination *destination)
{
	return destination->kind == CV_ADDRESS_IPV4   ? sizeof(destination->ipv4)
	       : destination->kind == CV_ADDRESS_IPV6 ? sizeof(destination->ipv6)
						      : 0;
}

bool cv_destination_same_host(const struct cv_destination *one, const struct cv_destination *other)
{
	const size_t len_bytes = ip_bytes(one);

	return len_bytes > 0 && one->kind == other->kind &&
	       memcmp(one->ipv6, other->ipv6, len_bytes) == 0;
}

bool cv_destination_is_any(const struct cv_destination *destination)
{
	static const uint8_t zeros[sizeof(destination->ipv6)];
	const size_t len_bytes = ip_bytes(destination);

	if (destination->kind == CV_ADDRESS_NONE)
		return true;
	return len_bytes > 0 && memcmp(destination->ipv6, zeros, len_bytes) == 0;
}
