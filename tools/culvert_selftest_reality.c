// SPDX-License-Identifier: MIT
/*
 * culvert_selftest_reality.c - what REALITY promises: a stranger meets the target, nobody else.
 *
 *   us -- hello with a listed name --> target        certificate A
 *   us -- the same hello --> our inbound             certificate B: the same one
 */
#include "culvert_selftest.h"

#include "session/target_probe.h"

#include <stdio.h>
#include <string.h>

#define WAIT_MS 10000
#define ADDRESSES 8
#define SUBJECT_TEXT 400

static struct cv_target_probe_result probe(const struct cv_sockaddr *addresses, size_t count,
					   const char *name, int xver)
{
	const struct cv_target_probe_config config = {
		.addresses = addresses,
		.address_count = count,
		.xver = xver,
		.server_name = name,
		.alpn_class = CV_ALPN_NONE,
		.describe_leaf = true,
		.window_ms = 1,
		.timeout_ms = WAIT_MS,
	};
	struct cv_target_probe_result result;

	cv_target_probe_run(&config, 1, -1, &result);
	return result;
}

static bool has_leaf(const struct cv_target_probe_result *result)
{
	return result->facts.version == 0x0304 && result->facts.leaf.not_after_s != 0;
}

static void compare(struct cv_selftest *test, const struct cv_inbound *inbound, const char *subject,
		    const char *name, const struct cv_target_probe_result *theirs)
{
	struct cv_sockaddr address = inbound->listen_addresses[0];
	struct cv_target_probe_result ours;

	if (cv_selftest_is_wildcard(&address) && address.any.sa_family == AF_INET)
		address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else if (cv_selftest_is_wildcard(&address))
		address.in6.sin6_addr = in6addr_loopback;
	ours = probe(&address, 1, name, 0);
	if (!has_leaf(&ours))
		cv_selftest_say(
			test, CV_VERDICT_FAIL, "strangers", subject,
			"a stranger who asks for %s gets no handshake: %s; the target gives "
			"one, so culvertd runs by another configuration (culvert reload), or "
			"something else answers there",
			name, ours.error_text);
	else if (memcmp(ours.facts.leaf.sha256, theirs->facts.leaf.sha256, 32) != 0)
		cv_selftest_say(test, CV_VERDICT_FAIL, "strangers", subject,
				"a stranger who asks for %s gets another certificate (%s) than the "
				"target's, and knows us by it: culvert reload, or ss -ltnp",
				name, ours.facts.leaf.name);
	else
		cv_selftest_say(test, CV_VERDICT_OK, "strangers", subject,
				"a stranger who asks for %s gets the target's own certificate",
				name);
}

static void check_target(struct cv_selftest *test, const struct cv_inbound *inbound,
			 const struct cv_reality_target *target)
{
	const char *name = target->server_name_count ? target->server_names[0] : "";
	struct cv_sockaddr addresses[ADDRESSES];
	struct cv_target_probe_result theirs;
	char subject[SUBJECT_TEXT];
	int count = cv_target_resolve(&target->destination, &target->unix_address, addresses,
				      ADDRESSES);

	(void)snprintf(subject, sizeof(subject), "%.100s %.250s", inbound->tag,
		       target->address_text);
	if (count < 0) {
		cv_selftest_say(
			test, CV_VERDICT_FAIL, "targets", subject,
			"its name does not resolve: neither strangers nor users are served");
		return;
	}
	theirs = probe(addresses, (size_t)count, name, target->xver);
	if (!has_leaf(&theirs)) {
		cv_selftest_say(test, CV_VERDICT_FAIL, "targets", subject,
				"no TLS 1.3 handshake for %s: %s; without it nobody is served "
				"(culvert probe says more)",
				name, theirs.error_text);
		return;
	}
	cv_selftest_say(test, CV_VERDICT_OK, "targets", subject, "answers for %s in %u ms", name,
			theirs.connect_ms + theirs.handshake_ms);
	if (inbound->listen_count > 0 && !inbound->accepts_proxy)
		compare(test, inbound, subject, name, &theirs);
}

void cv_selftest_reality(struct cv_selftest *test)
{
	for (size_t i = 0; i < test->config->inbound_count; i++) {
		const struct cv_inbound *inbound = &test->config->inbounds[i];

		if (!inbound->reality)
			continue;
		if (!test->is_online) {
			cv_selftest_say(test, CV_VERDICT_WARN, "targets", inbound->tag,
					"not asked (--offline), nor what strangers meet");
			continue;
		}
		for (size_t t = 0; t < inbound->reality->target_count; t++)
			check_target(test, inbound, &inbound->reality->targets[t]);
	}
}
