// SPDX-License-Identifier: MIT
/*
 * culvert_selftest_settings.c - promises that the configuration itself keeps or breaks, and the
 * clock, by which certificates, REALITY and expiry live.
 */
#include "culvert_selftest.h"

#include "base/clock.h"
#include "policy/password.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <time.h>

/* ---- ports -------------------------------------------------------------------------------- */

/* What is said there is encrypted by itself, or is what two others say to each other. */
static bool leaves_it_to_others(const struct cv_inbound *inbound)
{
	return inbound->protocol == CV_INBOUND_EDGE || inbound->protocol == CV_INBOUND_VMESS ||
	       inbound->protocol == CV_INBOUND_TUNNEL;
}

static void check_plain_ports(struct cv_selftest *test)
{
	size_t bad = 0;

	for (size_t i = 0; i < test->config->inbound_count; i++) {
		const struct cv_inbound *inbound = &test->config->inbounds[i];

		if (leaves_it_to_others(inbound) || inbound->security != CV_SECURITY_NONE ||
		    !cv_selftest_is_public(inbound))
			continue;
		bad++;
		cv_selftest_say(
			test, CV_VERDICT_FAIL, "plain_ports", inbound->tag,
			"others can reach it, and what is said there, passwords too, can be "
			"read on the way: give it TLS (streamSettings.security) or "
			"\"listen\": \"127.0.0.1\"");
	}
	if (!bad)
		cv_selftest_say(test, CV_VERDICT_OK, "plain_ports", "",
				"no port without TLS or REALITY can be reached by others");
}

static bool has_logins(const struct cv_inbound *inbound)
{
	return inbound->users && inbound->protocol != CV_INBOUND_VLESS &&
	       inbound->protocol != CV_INBOUND_VMESS;
}

static void check_guessing(struct cv_selftest *test)
{
	const struct cv_ban_policy *ban = &test->config->daemon.ban;
	bool asks = false;

	for (size_t i = 0; i < test->config->inbound_count; i++)
		asks |= has_logins(&test->config->inbounds[i]) &&
			cv_selftest_is_public(&test->config->inbounds[i]);
	if (!asks)
		return;
	if (ban->failures == 0)
		cv_selftest_say(test, CV_VERDICT_FAIL, "guessing", "culvert.loginFailures",
				"0: passwords may be guessed as fast as they can be sent; 5 is the "
				"default");
	else
		cv_selftest_say(test, CV_VERDICT_OK, "guessing", "",
				"%u wrong passwords within %u s ban an address for %u s",
				ban->failures, ban->window_s, ban->ban_s);
}

static void check_passwords(struct cv_selftest *test)
{
	size_t plain = 0, hashed = 0;

	for (size_t i = 0; i < test->config->inbound_count; i++) {
		const struct cv_inbound *inbound = &test->config->inbounds[i];

		for (size_t u = 0; has_logins(inbound) && u < cv_user_count(inbound->users); u++) {
			const char *stored = cv_user_at(inbound->users, u)->password;

			plain += *stored && cv_password_is_plain(stored);
			hashed += *stored && !cv_password_is_plain(stored);
		}
	}
	if (plain)
		cv_selftest_say(test, CV_VERDICT_WARN, "passwords", "",
				"%zu are stored as they are: whoever reads the file has them; "
				"usersFile takes hashes (culvert user set-password)",
				plain);
	else if (hashed)
		cv_selftest_say(test, CV_VERDICT_OK, "passwords", "", "%zu, all stored as hashes",
				hashed);
}

/* ---- ways out ----------------------------------------------------------------------------- */

static void check_upstreams(struct cv_selftest *test)
{
	size_t count = 0, bad = 0;

	for (size_t i = 0; i < test->config->outbound_count; i++) {
		const struct cv_outbound *outbound = &test->config->outbounds[i];

		if (outbound->security == CV_SECURITY_TLS && !outbound->is_disabled)
			count++;
		if (outbound->security != CV_SECURITY_TLS || !outbound->allow_insecure)
			continue;
		bad++;
		cv_selftest_say(
			test, CV_VERDICT_FAIL, "upstreams", outbound->tag,
			"its certificate is not verified (allow_insecure), so anybody on the "
			"way can be it: remove that, and name its own authority by ca_file");
	}
	if (count > bad)
		cv_selftest_say(test, CV_VERDICT_OK, "upstreams", "", "%zu with TLS, verified",
				count - bad);
}

static void check_upstream_logins(struct cv_selftest *test)
{
	for (size_t i = 0; i < test->config->outbound_count; i++) {
		const struct cv_outbound *outbound = &test->config->outbounds[i];
		struct cv_sockaddr address;

		if (outbound->security != CV_SECURITY_NONE || !outbound->proxy_password ||
		    !*outbound->proxy_password || outbound->via ||
		    (cv_destination_to_sockaddr(&outbound->server, &address) &&
		     cv_selftest_is_loopback(&address)))
			continue;
		cv_selftest_say(test, CV_VERDICT_WARN, "upstreams", outbound->tag,
				"our password for it is sent without TLS: use socks5s or https");
	}
}

static void check_private_targets(struct cv_selftest *test)
{
	bool is_public = false;

	for (size_t i = 0; i < test->config->inbound_count; i++)
		is_public |= test->config->inbounds[i].guards_private;
	for (size_t i = 0; is_public && i < test->config->outbound_count; i++) {
		const struct cv_outbound *outbound = &test->config->outbounds[i];

		if (outbound->protocol != CV_OUTBOUND_FREEDOM || outbound->block_private)
			continue;
		cv_selftest_say(test, CV_VERDICT_WARN, "private_targets", outbound->tag,
				"users reach this machine's own services and network through it "
				"(allowPrivate, or finalRules); well if that is meant");
		return;
	}
	if (is_public)
		cv_selftest_say(test, CV_VERDICT_OK, "private_targets", "",
				"users reach neither this machine nor its network");
}

/* ---- clock -------------------------------------------------------------------------------- */

static void check_clock(struct cv_selftest *test)
{
	const int64_t now_s = (int64_t)(cv_clock_wall_ms() / 1000);
	struct timex kernel = {0};
	struct stat status;

	if (stat(test->path, &status) == 0 && status.st_mtime > now_s + 60) {
		cv_selftest_say(test, CV_VERDICT_FAIL, "clock", "",
				"it is earlier than the last change of %s: set it (timedatectl "
				"set-ntp true); certificates, REALITY and expiry depend on it",
				test->path);
		return;
	}
	if (adjtimex(&kernel) == TIME_ERROR || kernel.status & STA_UNSYNC)
		cv_selftest_say(test, CV_VERDICT_WARN, "clock", "",
				"the kernel does not know it to be synchronised: is "
				"systemd-timesyncd or chrony running? REALITY clients need it to "
				"within maxTimeDiff");
	else
		cv_selftest_say(test, CV_VERDICT_OK, "clock", "", "synchronised");
}

/* ------------------------------------------------------------------------------------------- */

void cv_selftest_settings(struct cv_selftest *test)
{
	check_plain_ports(test);
	check_guessing(test);
	check_passwords(test);
	check_upstreams(test);
	check_upstream_logins(test);
	check_private_targets(test);
	check_clock(test);
}
