// SPDX-License-Identifier: MIT
/*
 * culvert_check_target.c - what can be said of REALITY targets without connecting to them: ports,
 * names that do not belong together, and where the names lead. `culvert probe` does the rest.
 *
 * All names are resolved at once and within one deadline, so that a machine without a resolver
 * waits seconds and not minutes.
 */
#include "culvert_check.h"

#include "base/clock.h"
#include "policy/private_address.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESOLVE_MS 3000
#define NAMES_MAX 64

struct lookup {
	const struct cv_inbound *inbound;
	const struct cv_reality_target *target;
	struct gaicb request;
};

static __attribute__((format(printf, 4, 5))) void warn(const struct cv_config_report *report,
						       const struct cv_inbound *inbound,
						       const struct cv_reality_target *target,
						       const char *format, ...)
{
	char what[256], text[1024];
	va_list list;

	va_start(list, format);
	vsnprintf(what, sizeof(what), format, list);
	va_end(list);
	snprintf(text, sizeof(text), "inbound %s, target %s: %s", inbound->tag,
		 target->address_text, what);
	report->line(report->context, false, text);
}

/* ---- offline ------------------------------------------------------------------------------ */

/* Last two labels: "www.example.com" and "example.com" are one site, mostly. */
static const char *site_of(const char *name)
{
	const char *dot = strrchr(name, '.');

	while (dot && dot > name && dot[-1] != '.')
		dot--;
	return dot ? dot : name;
}

static bool names_fit(const struct cv_reality_target *target)
{
	for (size_t i = 0; i < target->server_name_count; i++)
		if (strcasecmp(site_of(target->server_names[i]),
			       site_of(target->destination.domain)) == 0)
			return true;
	return target->destination.kind != CV_ADDRESS_DOMAIN ||
	       strcasecmp(target->destination.domain, "localhost") == 0;
}

/* 0: none, an edge leads there. */
static uint16_t port_of(const struct cv_inbound *inbound)
{
	return inbound->listen_count ? cv_sockaddr_port(&inbound->listen_addresses[0]) : 0;
}

static void check_offline(const struct cv_inbound *inbound, const struct cv_config_report *report)
{
	const struct cv_reality_inbound *reality = inbound->reality;
	const uint16_t port = port_of(inbound);

	if (port && port != 443)
		warn(report, inbound, &reality->targets[0],
		     "web sites are on port 443, this inbound is on %u", port);
	if (reality->target_count > 1)
		warn(report, inbound, &reality->targets[0],
		     "with several targets the hello is read before one is dialled, which a prober "
		     "can time");
	for (size_t i = 0; i < reality->target_count; i++)
		if (!names_fit(&reality->targets[i]))
			warn(report, inbound, &reality->targets[i],
			     "none of its serverNames looks like a name of this site");
}

/* ---- online ------------------------------------------------------------------------------- */

static bool same_ip(const struct sockaddr *a, const struct sockaddr *b)
{
	const struct sockaddr_in *a4 = (const struct sockaddr_in *)(const void *)a;
	const struct sockaddr_in *b4 = (const struct sockaddr_in *)(const void *)b;
	const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)(const void *)a;
	const struct sockaddr_in6 *b6 = (const struct sockaddr_in6 *)(const void *)b;

	if (!a || a->sa_family != b->sa_family)
		return false;
	return a->sa_family == AF_INET ? a4->sin_addr.s_addr == b4->sin_addr.s_addr
				       : memcmp(&a6->sin6_addr, &b6->sin6_addr, 16) == 0;
}

static bool is_ours(const struct addrinfo *address, const struct ifaddrs *interfaces)
{
	for (const struct ifaddrs *i = interfaces; i; i = i->ifa_next)
		if (same_ip(i->ifa_addr, address->ai_addr))
			return true;
	return false;
}

static bool is_private(const struct addrinfo *address)
{
	struct cv_sockaddr copy = {.len_bytes = address->ai_addrlen};

	if (address->ai_addrlen > sizeof(copy.un))
		return true;
	memcpy(&copy.any, address->ai_addr, address->ai_addrlen);
	return cv_address_is_private(&copy);
}

static void check_addresses(const struct lookup *lookup, const struct cv_config_report *report)
{
	size_t private_count = 0, ours_count = 0, count = 0;
	struct ifaddrs *interfaces = NULL;

	(void)getifaddrs(&interfaces);
	for (const struct addrinfo *a = lookup->request.ar_result; a; a = a->ai_next, count++) {
		private_count += is_private(a);
		ours_count += is_ours(a, interfaces);
	}
	freeifaddrs(interfaces);
	if (ours_count > 0 && lookup->target->destination.port == port_of(lookup->inbound))
		warn(report, lookup->inbound, lookup->target,
		     "leads to this machine: the inbound would dial itself");
	else if (ours_count == 0 && private_count > 0)
		warn(report, lookup->inbound, lookup->target,
		     "%zu of %zu addresses are private ones", private_count, count);
}

static void check_lookup(struct lookup *lookup, const struct cv_config_report *report)
{
	const int error = gai_error(&lookup->request);

	if (error == 0)
		check_addresses(lookup, report);
	else
		warn(report, lookup->inbound, lookup->target, "does not resolve: %s",
		     error == EAI_INPROGRESS ? "no answer in time" : gai_strerror(error));
	if (error == EAI_INPROGRESS)
		(void)gai_cancel(&lookup->request);
	else if (error == 0)
		freeaddrinfo(lookup->request.ar_result);
}

/* Drops from @list what is done, so that the next wait is for the others. */
static bool some_left(struct gaicb **list, size_t count)
{
	bool left = false;

	for (size_t i = 0; i < count; i++) {
		if (list[i] && gai_error(list[i]) != EAI_INPROGRESS)
			list[i] = NULL;
		left |= list[i] != NULL;
	}
	return left;
}

static void wait_all(struct gaicb **list, size_t count)
{
	const uint64_t deadline_ms = cv_clock_ms() + RESOLVE_MS;
	uint64_t now_ms;

	while (some_left(list, count) && (now_ms = cv_clock_ms()) < deadline_ms) {
		const uint64_t left_ms = deadline_ms - now_ms;
		const struct timespec limit = {.tv_sec = (time_t)(left_ms / 1000),
					       .tv_nsec = (long)(left_ms % 1000) * 1000000};

		(void)gai_suspend((const struct gaicb *const *)list, (int)count, &limit);
	}
}

static size_t collect(const struct cv_config *config, struct lookup *lookups)
{
	size_t count = 0;

	for (size_t i = 0; i < config->inbound_count; i++) {
		const struct cv_reality_inbound *reality = config->inbounds[i].reality;

		for (size_t t = 0; reality && t < reality->target_count && count < NAMES_MAX; t++) {
			const struct cv_reality_target *target = &reality->targets[t];

			if (target->destination.kind != CV_ADDRESS_DOMAIN ||
			    strcasecmp(target->destination.domain, "localhost") == 0)
				continue;
			lookups[count].inbound = &config->inbounds[i];
			lookups[count].target = target;
			lookups[count++].request.ar_name = target->destination.domain;
		}
	}
	return count;
}

static void check_online(const struct cv_config *config, const struct cv_config_report *report)
{
	static struct lookup lookups[NAMES_MAX]; /* a late answer may still be written here */
	struct gaicb *list[NAMES_MAX];
	const size_t count = collect(config, lookups);

	for (size_t i = 0; i < count; i++)
		list[i] = &lookups[i].request;
	if (count == 0 || getaddrinfo_a(GAI_NOWAIT, list, (int)count, NULL) != 0)
		return;
	wait_all(list, count);
	for (size_t i = 0; i < count; i++)
		check_lookup(&lookups[i], report);
}

void cv_check_targets(const struct cv_config *config, bool online,
		      const struct cv_config_report *report)
{
	for (size_t i = 0; i < config->inbound_count; i++)
		if (config->inbounds[i].reality)
			check_offline(&config->inbounds[i], report);
	if (online)
		check_online(config, report);
}
