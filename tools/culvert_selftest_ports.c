// SPDX-License-Identifier: MIT
/*
 * culvert_selftest_ports.c - each listener as a stranger meets it.
 *
 *   listeners     somebody answers
 *   tls           1.3, and nothing below
 *   certificates  verify for their own name, and do so for some time to come
 *   anonymous     without a password nothing is done
 *   loopback      what is for this machine is not reached by its other addresses
 *   status        asks for a password
 */
#include "culvert_selftest.h"

#include "base/clock.h"
#include "base/cursor.h"
#include "base/reason.h"
#include "culvert_line.h"
#include "session/target_probe.h"

#include <errno.h>
#include <glob.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 5000
#define NEIGHBOUR_MS 1000
#define DAY_S 86400
#define SOON_DAYS 3
#define WARN_DAYS 14
#define SUBJECT_TEXT 400

/* ---- addresses ---------------------------------------------------------------------------- */

/* What to dial for a listener. */
static struct cv_sockaddr dialable(const struct cv_sockaddr *listen)
{
	struct cv_sockaddr address = *listen;

	if (!cv_selftest_is_wildcard(listen))
		return address;
	if (address.any.sa_family == AF_INET)
		address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		address.in6.sin6_addr = in6addr_loopback;
	return address;
}

static void subject_of(const struct cv_inbound *inbound, const struct cv_sockaddr *address,
		       char text[SUBJECT_TEXT])
{
	char where[CV_DESTINATION_TEXT];

	cv_sockaddr_format(address, where);
	(void)snprintf(text, SUBJECT_TEXT, "%.100s %s", inbound->tag, where);
}

static int dial(struct cv_line *line, const struct cv_sockaddr *address, uint32_t wait_ms)
{
	cv_line_init(line, cv_clock_ms() + wait_ms);
	return cv_line_connect(line, &address->any, address->len_bytes);
}

static bool answers(const struct cv_sockaddr *address, uint32_t wait_ms)
{
	struct cv_line line;
	const int error = dial(&line, address, wait_ms);

	cv_line_done(&line);
	return error == 0;
}

static bool check_listener(struct cv_selftest *test, const char *subject,
			   const struct cv_sockaddr *address)
{
	struct cv_line line;
	const int error = dial(&line, address, WAIT_MS);

	cv_line_done(&line);
	if (error)
		cv_selftest_say(
			test, CV_VERDICT_FAIL, "listeners", subject,
			"%s: culvertd runs by another configuration (culvert reload, culvert "
			"restart), or a packet filter is in between",
			cv_reason_text(error));
	else
		cv_selftest_say(test, CV_VERDICT_OK, "listeners", subject, "answers");
	return !error;
}

/* ---- TLS ---------------------------------------------------------------------------------- */

/* A hello of TLS 1.0 to 1.2 as @version says, with suites and groups that any such server has. */
static size_t old_hello(uint8_t *bytes, size_t size, uint16_t version)
{
	static const uint16_t suites[] = {0xc02b, 0xc02c, 0xc02f, 0xc030, 0xcca8, 0xcca9,
					  0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035};
	static const uint16_t schemes[] = {0x0403, 0x0503, 0x0804, 0x0805, 0x0401, 0x0501, 0x0201};
	static const uint16_t groups[] = {0x001d, 0x0017, 0x0018};
	struct cv_writer writer = cv_writer_of(bytes, size);
	size_t record, message, list, extensions, extension;

	cv_write_u8(&writer, 22);
	cv_write_u16(&writer, 0x0301);
	record = cv_write_open16(&writer);
	cv_write_u8(&writer, 1);
	message = cv_write_open24(&writer);
	cv_write_u16(&writer, version);
	for (int i = 0; i < 32; i++)
		cv_write_u8(&writer, (uint8_t)(i * 7 + 3));
	cv_write_u8(&writer, 0);
	list = cv_write_open16(&writer);
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
		cv_write_u16(&writer, suites[i]);
	cv_write_close16(&writer, list);
	cv_write_u16(&writer, 0x0100); /* no compression */
	extensions = cv_write_open16(&writer);
	cv_write_u16(&writer, 10);
	extension = cv_write_open16(&writer);
	list = cv_write_open16(&writer);
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		cv_write_u16(&writer, groups[i]);
	cv_write_close16(&writer, list);
	cv_write_close16(&writer, extension);
	cv_write_u16(&writer, 11);
	cv_write_u16(&writer, 2);
	cv_write_u16(&writer, 0x0100); /* points not compressed */
	cv_write_u16(&writer, 13);
	extension = cv_write_open16(&writer);
	list = cv_write_open16(&writer);
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		cv_write_u16(&writer, schemes[i]);
	cv_write_close16(&writer, list);
	cv_write_close16(&writer, extension);
	cv_write_close16(&writer, extensions);
	cv_write_close24(&writer, message);
	cv_write_close16(&writer, record);
	return cv_writer_len(&writer);
}

/* Does the server answer it with a ServerHello? */
static bool speaks_old_tls(const struct cv_sockaddr *address, uint16_t version)
{
	uint8_t hello[512];
	const size_t len = old_hello(hello, sizeof(hello), version);
	struct cv_line line;
	bool speaks = false;
	int error = dial(&line, address, WAIT_MS);

	if (!error)
		error = cv_line_send(&line, hello, len);
	while (!error && cv_buffer_len(cv_line_input(&line)) < 6)
		error = cv_line_hear(&line);
	if (!error)
		speaks = cv_buffer_bytes(cv_line_input(&line))[0] == 22 &&
			 cv_buffer_bytes(cv_line_input(&line))[5] == 2;
	cv_line_done(&line);
	return speaks;
}

static struct cv_target_probe_result
shake_hands(const struct cv_sockaddr *address, const char *name, const struct cv_trust_store *trust)
{
	const struct cv_target_probe_config config = {
		.addresses = address,
		.address_count = 1,
		.server_name = name,
		.trust = trust,
		.alpn_class = CV_ALPN_NONE,
		.describe_leaf = true,
		.window_ms = 1,
		.timeout_ms = WAIT_MS,
	};
	struct cv_target_probe_result result;

	cv_target_probe_run(&config, 1, -1, &result);
	return result;
}

static void check_versions(struct cv_selftest *test, const char *subject,
			   const struct cv_sockaddr *address,
			   const struct cv_target_probe_result *now)
{
	static const struct {
		uint16_t version;
		const char *name;
	} old[] = {{0x0303, "1.2"}, {0x0302, "1.1"}, {0x0301, "1.0"}};

	if (now->facts.version != 0x0304) {
		cv_selftest_say(
			test, CV_VERDICT_FAIL, "tls", subject,
			"no TLS 1.3: %s; does something else answer there, or does it want to be "
			"asked for by name (--name)?",
			now->error_text);
		return;
	}
	for (size_t i = 0; i < sizeof(old) / sizeof(old[0]); i++) {
		if (!speaks_old_tls(address, old[i].version))
			continue;
		cv_selftest_say(test, CV_VERDICT_FAIL, "tls", subject,
				"speaks TLS %s, too: remove minVersion from its tlsSettings",
				old[i].name);
		return;
	}
	cv_selftest_say(test, CV_VERDICT_OK, "tls", subject, "TLS 1.3 and nothing below");
}

static void name_to_verify(const struct cv_x509_facts *leaf, char *name, size_t size)
{
	const char *text = leaf->name;

	if (strncmp(text, "*.", 2) == 0)
		(void)snprintf(name, size, "www%s", text + 1);
	else
		(void)snprintf(name, size, "%s", text);
}

static void check_expiry(struct cv_selftest *test, const char *subject,
			 const struct cv_x509_facts *leaf)
{
	const int64_t left_s = leaf->not_after_s - (int64_t)(cv_clock_wall_ms() / 1000);
	const long long days = (long long)(left_s / DAY_S);

	if (left_s < SOON_DAYS * DAY_S)
		cv_selftest_say(test, CV_VERDICT_FAIL, "certificates", subject,
				"%s: ends in %lld days: renew it, then culvert reload", leaf->name,
				days);
	else if (left_s < WARN_DAYS * DAY_S)
		cv_selftest_say(test, CV_VERDICT_WARN, "certificates", subject,
				"%s: ends in %lld days: is it renewed by itself?", leaf->name,
				days);
	else
		cv_selftest_say(test, CV_VERDICT_OK, "certificates", subject,
				"%s: verifies, %lld days left", leaf->name, days);
}

static void check_certificate(struct cv_selftest *test, const char *subject,
			      const struct cv_sockaddr *address,
			      const struct cv_target_probe_result *now)
{
	struct cv_trust_store *trust = cv_trust_store_new(test->ca_file, true);
	struct cv_target_probe_result checked;
	char name[260];

	if (*test->name)
		(void)snprintf(name, sizeof(name), "%s", test->name);
	else
		name_to_verify(&now->facts.leaf, name, sizeof(name));
	if (!trust || !*name) {
		cv_selftest_say(test, CV_VERDICT_FAIL, "certificates", subject, "%s",
				trust ? "there is no name in it that clients could verify"
				      : "the file of --ca cannot be read");
		cv_trust_store_free(trust);
		return;
	}
	checked = shake_hands(address, name, trust);
	if (checked.facts.certificate_checked && checked.facts.certificate_result == 0)
		check_expiry(test, subject, &checked.facts.leaf);
	else
		cv_selftest_say(
			test, CV_VERDICT_FAIL, "certificates", subject,
			"%s: %s; clients refuse it, or are told not to look: get one from an "
			"authority (or --ca FILE, if that is your own)",
			name,
			checked.facts.certificate_error ? checked.facts.certificate_error
							: checked.error_text);
	cv_trust_store_free(trust);
}

/* ---- nobody ------------------------------------------------------------------------------- */

static int open_as_client(const struct cv_selftest *test, struct cv_line *line,
			  const struct cv_inbound *inbound, const struct cv_sockaddr *address)
{
	static const char *const no_alpn[] = {NULL};
	const struct cv_tls_client_config config = {.server_name = test->name, .alpn = no_alpn};
	const int error = dial(line, address, WAIT_MS);

	if (error || inbound->security != CV_SECURITY_TLS)
		return error;
	return cv_line_secure(line, &config);
}

/* What is said to @question, up to @wanted bytes. Returns its length, or why it was not asked. */
static int ask(const struct cv_selftest *test, const struct cv_inbound *inbound,
	       const struct cv_sockaddr *address, const void *question, size_t question_len,
	       char *answer, size_t wanted)
{
	struct cv_line line;
	struct cv_buffer *in;
	size_t len = 0;
	int error = open_as_client(test, &line, inbound, address), ended = 0;

	in = cv_line_input(&line);
	if (!error)
		ended = cv_line_send(&line, question, question_len);
	while (!error && !ended && cv_buffer_len(in) < wanted)
		ended = cv_line_hear(&line);
	len = cv_buffer_len(in) < wanted ? cv_buffer_len(in) : wanted;
	if (!error && len)
		memcpy(answer, cv_buffer_bytes(in), len);
	cv_line_done(&line);
	return error ? error : (int)len;
}

/* 1, 0, or a reason. */
static int socks_is_open(const struct cv_selftest *test, const struct cv_inbound *inbound,
			 const struct cv_sockaddr *address)
{
	static const uint8_t greeting[] = {5, 1, 0};
	char answer[2];
	const int len = ask(test, inbound, address, greeting, sizeof(greeting), answer, 2);

	return len < 0 ? len : len == 2 && answer[0] == 5 && answer[1] == 0;
}

/* Of CONNECT without credentials: a proxy that asks for them says so, whoever that was for. */
static int http_is_open(const struct cv_selftest *test, const struct cv_inbound *inbound,
			const struct cv_sockaddr *address)
{
	static const char request[] = "CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n";
	char answer[13] = "";
	const int len = ask(test, inbound, address, request, sizeof(request) - 1, answer, 12);
	int status;

	if (len < 12)
		return len < 0 ? len : 0;
	return sscanf(answer, "HTTP/1.%*1d %3d", &status) == 1 &&
	       (status < 400 || status == 403 || status >= 500);
}

static void check_anonymous(struct cv_selftest *test, const char *subject,
			    const struct cv_inbound *inbound, const struct cv_sockaddr *address)
{
	int open = 0;

	if (!inbound->users && !cv_selftest_is_public(inbound)) {
		cv_selftest_say(test, CV_VERDICT_OK, "anonymous", subject,
				"asks for no password, and is for this machine only");
		return;
	}
	if (inbound->protocol != CV_INBOUND_HTTP)
		open = socks_is_open(test, inbound, address);
	if (!open && inbound->protocol != CV_INBOUND_SOCKS)
		open = http_is_open(test, inbound, address);
	if (open < 0)
		cv_selftest_say(test, CV_VERDICT_WARN, "anonymous", subject,
				"not looked at: %s (--name, if it wants to be asked for by name)",
				cv_reason_text(open));
	else if (open)
		cv_selftest_say(test, CV_VERDICT_FAIL, "anonymous", subject,
				"serves whoever comes without a password: does culvertd run by "
				"this configuration (culvert reload), does something else answer "
				"there?");
	else
		cv_selftest_say(test, CV_VERDICT_OK, "anonymous", subject,
				"does nothing without a password");
}

/* ---- this machine only -------------------------------------------------------------------- */

static bool listens_at(const struct cv_config *config, const struct cv_sockaddr *address)
{
	for (size_t i = 0; i < config->inbound_count; i++)
		for (size_t a = 0; a < config->inbounds[i].listen_count; a++) {
			const struct cv_sockaddr *one = &config->inbounds[i].listen_addresses[a];

			if (one->any.sa_family != AF_UNIX &&
			    cv_sockaddr_port(one) == cv_sockaddr_port(address) &&
			    !cv_selftest_is_loopback(one))
				return true;
		}
	return false;
}

static bool neighbour(const struct ifaddrs *interface, uint16_t port,
		      struct cv_sockaddr *ret_address)
{
	struct cv_sockaddr address = {0};

	if (!interface->ifa_addr || !(interface->ifa_flags & IFF_UP))
		return false;
	if (interface->ifa_addr->sa_family == AF_INET) {
		memcpy(&address.in, interface->ifa_addr, sizeof(address.in));
		address.in.sin_port = htons(port);
		address.len_bytes = sizeof(address.in);
	} else if (interface->ifa_addr->sa_family == AF_INET6) {
		memcpy(&address.in6, interface->ifa_addr, sizeof(address.in6));
		address.in6.sin6_port = htons(port);
		address.len_bytes = sizeof(address.in6);
	} else {
		return false;
	}
	*ret_address = address;
	return !cv_selftest_is_loopback(&address);
}

/* True if something answers at another address of this machine, which is not one of ours. */
static bool leaks(struct cv_selftest *test, const char *subject, uint16_t port)
{
	struct ifaddrs *interfaces = NULL;
	char text[CV_DESTINATION_TEXT];
	bool found = false;

	(void)getifaddrs(&interfaces);
	for (const struct ifaddrs *i = interfaces; i && !found; i = i->ifa_next) {
		struct cv_sockaddr address;

		if (!neighbour(i, port, &address) || listens_at(test->config, &address) ||
		    !answers(&address, NEIGHBOUR_MS))
			continue;
		found = true;
		cv_sockaddr_format(&address, text);
		cv_selftest_say(test, CV_VERDICT_FAIL, "loopback", subject,
				"is for this machine only, but %s answers as well: what forwards "
				"that (ss -ltnp)?",
				text);
	}
	freeifaddrs(interfaces);
	return found;
}

/* The kernel lets neighbours send to 127.0.0.0/8 by this. */
static bool routes_localnet(char *ret_path, size_t size)
{
	glob_t found = {0};
	bool is_on = false;

	if (glob("/proc/sys/net/ipv4/conf/*/route_localnet", 0, NULL, &found) != 0)
		return false;
	for (size_t i = 0; i < found.gl_pathc && !is_on; i++) {
		FILE *file = fopen(found.gl_pathv[i], "re");

		is_on = file && fgetc(file) == '1';
		if (file)
			(void)fclose(file);
		if (is_on)
			(void)snprintf(ret_path, size, "%s", found.gl_pathv[i]);
	}
	globfree(&found);
	return is_on;
}

static void check_loopback(struct cv_selftest *test)
{
	const struct cv_config *config = test->config;
	const struct cv_sockaddr *status = &config->daemon.status.address;
	char path[256], subject[SUBJECT_TEXT];
	size_t count = 0, bad = 0;

	for (size_t i = 0; i < config->inbound_count; i++)
		for (size_t a = 0; a < config->inbounds[i].listen_count; a++) {
			const struct cv_sockaddr *one = &config->inbounds[i].listen_addresses[a];

			if (one->any.sa_family == AF_UNIX || !cv_selftest_is_loopback(one))
				continue;
			count++;
			subject_of(&config->inbounds[i], one, subject);
			bad += leaks(test, subject, cv_sockaddr_port(one));
		}
	if (status->len_bytes) {
		count++;
		bad += leaks(test, "culvert.status", cv_sockaddr_port(status));
	}
	if (count && routes_localnet(path, sizeof(path))) {
		bad++;
		cv_selftest_say(
			test, CV_VERDICT_FAIL, "loopback", path,
			"is 1: neighbours in the same network reach 127.0.0.1; set it to 0");
	}
	if (count && !bad)
		cv_selftest_say(test, CV_VERDICT_OK, "loopback", "",
				"%zu ports for this machine only, and no way there from outside",
				count);
}

/* ---- status ------------------------------------------------------------------------------- */

static void check_status(struct cv_selftest *test)
{
	static const char request[] = "GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
	static const struct cv_inbound plain = {.security = CV_SECURITY_NONE};
	const struct cv_sockaddr *address = &test->config->daemon.status.address;
	char answer[13] = "", where[CV_DESTINATION_TEXT];

	if (address->len_bytes == 0)
		return;
	cv_sockaddr_format(address, where);
	if (!answers(address, WAIT_MS))
		cv_selftest_say(
			test, CV_VERDICT_FAIL, "status", where,
			"nobody answers: culvertd runs by another configuration, or the port "
			"was taken (its log says so): culvert restart");
	else if (ask(test, &plain, address, request, sizeof(request) - 1, answer, 12) < 12 ||
		 strcmp(answer, "HTTP/1.1 401") != 0)
		cv_selftest_say(test, CV_VERDICT_FAIL, "status", where,
				"does not ask for a password (\"%s\"): what answers there "
				"(ss -ltnp)?",
				answer);
	else
		cv_selftest_say(test, CV_VERDICT_OK, "status", where, "asks for a password");
}

/* ------------------------------------------------------------------------------------------- */

static void check_inbound(struct cv_selftest *test, const struct cv_inbound *inbound)
{
	for (size_t i = 0; i < inbound->listen_count && i < 4; i++) { /* of a range, the first */
		const struct cv_sockaddr address = dialable(&inbound->listen_addresses[i]);
		char subject[SUBJECT_TEXT];

		subject_of(inbound, &inbound->listen_addresses[i], subject);
		if (!check_listener(test, subject, &address) || i > 0)
			continue;
		if (inbound->accepts_proxy) {
			cv_selftest_say(
				test, CV_VERDICT_WARN, "listeners", subject,
				"expects a PROXY header: look at it through what is in front");
			continue;
		}
		if (inbound->security == CV_SECURITY_TLS) {
			const struct cv_target_probe_result now =
				shake_hands(&address, test->name, NULL);

			check_versions(test, subject, &address, &now);
			if (now.facts.version == 0x0304)
				check_certificate(test, subject, &address, &now);
		}
		if (inbound->protocol == CV_INBOUND_SOCKS || inbound->protocol == CV_INBOUND_HTTP ||
		    inbound->protocol == CV_INBOUND_MIXED)
			check_anonymous(test, subject, inbound, &address);
	}
}

void cv_selftest_ports(struct cv_selftest *test)
{
	for (size_t i = 0; i < test->config->inbound_count; i++)
		check_inbound(test, &test->config->inbounds[i]);
	check_loopback(test);
	check_status(test);
}
