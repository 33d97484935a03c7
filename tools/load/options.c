// SPDX-License-Identifier: MIT
/*
 * options.c - the command line; `load` without one says it all.
 */
#include "load.h"

#include "wire/base64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_LEAST 22 /* a TLS record; a datagram's number and time */

static const char usage[] =
	"usage: load serve ADDRESS [--bulk PORT] [--tls PORT --certificate FILE --key FILE]\n"
	"                  [--echo PORT] [--udp-echo PORT] [--stamp PORT] [--cores LIST]\n"
	"                  [--counter FILE]\n"
	"  Prints \"ready\", and on SIGTERM one JSON object.\n"
	"  bulk      the first byte says what: d endless download, u upload thrown away, e echo,\n"
	"            i one byte back and then idle, c 1000 bytes and the end\n"
	"  tls       the same by \"GET /d\" behind a TLS 1.3 handshake; what follows are records "
	"that\n"
	"            nobody decrypts, without end the same ones\n"
	"  echo      sends back what comes; udp-echo likewise\n"
	"  stamp     answers the first bytes with the time it saw them (for run decision)\n"
	"\n"
	"       load run KIND --via WAY [--relay ADDRESS:PORT] [--to ADDRESS:PORT] [--sni NAME]\n"
	"                [--inner-tls] [--connections N] [--seconds S] [--warm S] [--message "
	"BYTES]\n"
	"                [--rate PER_SECOND] [--timeout S] [--cores LIST] [--counter FILE]\n"
	"                [--user NAME --password PASSWORD] [--public-key KEY --short-id HEX]\n"
	"                [--x25519-only]\n"
	"  Prints \"ready\" when all connections stand, and at the end, or on SIGTERM, one JSON "
	"object.\n"
	"  KIND      download upload request churn idle handshake probe decision udp\n"
	"  WAY       direct socks5 http sni socks5-tls http-tls reality-x25519 reality-hybrid "
	"tls13\n"
	"  sni, probe: TLS to the name straight to the relay; handshake: via tls13, reality-*\n"
	"  --rate    requests or datagrams per second in all; a request's time runs from when it "
	"was\n"
	"            due. Without it each connection asks again as soon as it was answered\n"
	"  --warm    is over before anything is counted; --seconds follow\n"
	"  --counter 8 bytes, shared: bytes moved so far\n";

static const char *const kind_names[CV_LOAD_KINDS] = {
	"download", "upload", "request", "churn", "idle", "handshake", "probe", "decision", "udp",
};

static const char *const way_names[CV_LOAD_WAYS] = {
	"direct",   "socks5",         "http",           "sni",   "socks5-tls",
	"http-tls", "reality-x25519", "reality-hybrid", "tls13",
};

const char *cv_load_failure_name(enum cv_load_failure failure)
{
	static const char *const names[CV_LOAD_FAILURES] = {
		"socket", "connect", "reset", "closed", "proxy", "tls", "timeout",
	};

	return names[failure];
}

static bool index_of(const char *word, const char *const *names, int count, int *ret_index)
{
	for (int i = 0; i < count; i++) {
		if (strcmp(word, names[i]) == 0) {
			*ret_index = i;
			return true;
		}
	}
	return false;
}

static bool number_of(const char *text, double least, double most, double *ret_number)
{
	char *end;
	const double number = strtod(text, &end);

	if (end == text || *end || !(number >= least && number <= most))
		return false;
	*ret_number = number;
	return true;
}

static bool port_of(const char *text, uint16_t *ret_port)
{
	double number;

	if (!number_of(text, 1, 65535, &number))
		return false;
	*ret_port = (uint16_t)number;
	return true;
}

/* HOST:PORT, [IPv6]:PORT. */
static bool place_of(const char *text, struct cv_destination *ret_place)
{
	const char *colon = strrchr(text, ':');
	char host[CV_DOMAIN_MAX + 3];
	uint16_t port;

	if (!colon || (size_t)(colon - text) >= sizeof(host) || !port_of(colon + 1, &port))
		return false;
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	return cv_destination_set_text(ret_place, host, port) == 0;
}

/* "0,2-3" */
static bool cores_of(const char *text, struct cv_load_options *options)
{
	while (*text) {
		char *end;
		long first = strtol(text, &end, 10), last = first;

		if (end == text || first < 0)
			return false;
		if (*end == '-')
			last = strtol(end + 1, &end, 10);
		for (; first <= last; first++) {
			if (options->core_count == CV_LOAD_CORES_MAX)
				return false;
			options->cores[options->core_count++] = (int)first;
		}
		if (*end != '\0' && *end != ',')
			return false;
		text = *end ? end + 1 : end;
	}
	return options->core_count > 0;
}

static bool key_of(const char *text, struct cv_load_options *options)
{
	size_t len = sizeof(options->reality.server_public);

	options->has_public_key = true;
	if (strlen(text) == 64)
		return cv_hex_decode(text, options->reality.server_public, &len) == 0 && len == 32;
	return cv_base64url_decode(text, options->reality.server_public, &len) == 0 && len == 32;
}

static bool short_id_of(const char *text, struct cv_load_options *options)
{
	size_t len = sizeof(options->reality.short_id);

	return cv_hex_decode(text, options->reality.short_id, &len) == 0;
}

static bool take_number(const char *name, const char *value, struct cv_load_options *options)
{
	double number;

	if (strcmp(name, "--connections") == 0 && number_of(value, 1, 1e6, &number))
		options->connections = (uint32_t)number;
	else if (strcmp(name, "--message") == 0 &&
		 number_of(value, 1, CV_LOAD_MESSAGE_MAX, &number))
		options->message_bytes = (uint32_t)number;
	else if (strcmp(name, "--seconds") == 0)
		return number_of(value, 0, 1e6, &options->seconds);
	else if (strcmp(name, "--warm") == 0)
		return number_of(value, 0, 1e6, &options->warm_seconds);
	else if (strcmp(name, "--timeout") == 0)
		return number_of(value, 0.1, 1e6, &options->timeout_seconds);
	else if (strcmp(name, "--rate") == 0)
		return number_of(value, 0, 1e9, &options->rate);
	else
		return false;
	return true;
}

static bool take_text(const char *name, const char *value, struct cv_load_options *options)
{
	const struct {
		const char *name, **where;
	} texts[] = {
		{"--sni", &options->sni},
		{"--user", &options->user},
		{"--password", &options->password},
		{"--counter", &options->counter_path},
		{"--certificate", &options->certificate_path},
		{"--key", &options->key_path},
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (strcmp(name, texts[i].name) == 0) {
			*texts[i].where = value;
			return true;
		}
	}
	return false;
}

static bool take_run(const char *name, const char *value, struct cv_load_options *options)
{
	struct cv_destination relay;
	int way;

	if (strcmp(name, "--via") == 0) {
		if (!index_of(value, way_names, CV_LOAD_WAYS, &way))
			return false;
		options->way = (enum cv_load_way)way;
		return true;
	}
	if (strcmp(name, "--relay") == 0) {
		options->has_relay = true;
		return place_of(value, &relay) &&
		       cv_destination_to_sockaddr(&relay, &options->dial);
	}
	if (strcmp(name, "--to") == 0) {
		options->has_to = true;
		return place_of(value, &options->to);
	}
	if (strcmp(name, "--public-key") == 0)
		return key_of(value, options);
	if (strcmp(name, "--short-id") == 0)
		return short_id_of(value, options);
	return take_number(name, value, options);
}

static bool take_serve(const char *name, const char *value, struct cv_load_options *options)
{
	if (strcmp(name, "--bulk") == 0)
		return port_of(value, &options->bulk_port);
	if (strcmp(name, "--tls") == 0)
		return port_of(value, &options->tls_port);
	if (strcmp(name, "--echo") == 0)
		return port_of(value, &options->echo_port);
	if (strcmp(name, "--udp-echo") == 0)
		return port_of(value, &options->udp_echo_port);
	return strcmp(name, "--stamp") == 0 && port_of(value, &options->stamp_port);
}

static bool complain(const char *what, const char *value)
{
	fprintf(stderr, "load: %s %s\n\n%s", what, value, usage);
	return false;
}

/* What is not said has a meaning of its own. */
static bool take_all(int argc, char **argv, struct cv_load_options *options,
		     bool (*own)(const char *, const char *, struct cv_load_options *))
{
	options->sni = options->user = options->password = "";
	options->connections = 1;
	options->seconds = 5;
	options->timeout_seconds = 20;
	options->message_bytes = 64;
	memcpy(options->reality.version, (uint8_t[]){26, 7, 28}, 3);
	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--inner-tls") == 0) {
			options->inner_tls = true;
			continue;
		}
		if (strcmp(argv[i], "--x25519-only") == 0) {
			options->only_x25519 = true;
			continue;
		}
		if (i + 1 == argc)
			return complain("no value:", argv[i]);
		if (!own(argv[i], argv[i + 1], options) &&
		    !take_text(argv[i], argv[i + 1], options) &&
		    !(strcmp(argv[i], "--cores") == 0 && cores_of(argv[i + 1], options)))
			return complain("not understood:", argv[i]);
		i++;
	}
	if (options->core_count == 0)
		options->cores[options->core_count++] = -1;
	return true;
}

static bool is_consistent(struct cv_load_options *options)
{
	const bool has_proxy = options->way == CV_LOAD_SOCKS5 || options->way == CV_LOAD_HTTP ||
			       options->way == CV_LOAD_SOCKS5_TLS ||
			       options->way == CV_LOAD_HTTP_TLS;
	const bool is_reality =
		options->way == CV_LOAD_REALITY_X25519 || options->way == CV_LOAD_REALITY_HYBRID;

	if (has_proxy && (!options->has_relay || !options->has_to))
		return complain("this way needs --relay and", "--to");
	if (is_reality != options->has_public_key)
		return complain("reality-* and --public-key", "belong together");
	if (is_reality && options->kind != CV_LOAD_HANDSHAKE)
		return complain("REALITY ends with its handshake:", "kind handshake only");
	if (options->kind == CV_LOAD_UDP && options->way != CV_LOAD_SOCKS5 &&
	    options->way != CV_LOAD_DIRECT)
		return complain("kind udp goes", "direct or by socks5");
	if (options->kind == CV_LOAD_DECISION && options->way != CV_LOAD_SNI &&
	    options->way != CV_LOAD_DIRECT)
		return complain("kind decision goes", "direct or by sni");
	if (!options->has_relay &&
	    !(options->has_to && cv_destination_to_sockaddr(&options->to, &options->dial)))
		return complain("where to?", "--relay ADDRESS:PORT or --to ADDRESS:PORT");
	return true;
}

bool cv_load_parse_run(int argc, char **argv, struct cv_load_options *ret_options)
{
	int kind;

	memset(ret_options, 0, sizeof(*ret_options));
	if (argc < 1 || !index_of(argv[0], kind_names, CV_LOAD_KINDS, &kind))
		return complain("no such kind:", argc ? argv[0] : "");
	ret_options->kind = (enum cv_load_kind)kind;
	if (!take_all(argc - 1, argv + 1, ret_options, take_run) || !is_consistent(ret_options))
		return false;
	if (ret_options->way == CV_LOAD_REALITY_X25519)
		ret_options->only_x25519 = true;
	if (ret_options->way == CV_LOAD_SNI || ret_options->way >= CV_LOAD_REALITY_X25519 ||
	    kind == CV_LOAD_HANDSHAKE || kind == CV_LOAD_PROBE)
		ret_options->inner_tls = kind != CV_LOAD_DECISION;
	if ((kind == CV_LOAD_UDP || ret_options->inner_tls) &&
	    ret_options->message_bytes < MESSAGE_LEAST)
		ret_options->message_bytes = MESSAGE_LEAST;
	return true;
}

bool cv_load_parse_serve(int argc, char **argv, struct cv_load_options *ret_options)
{
	memset(ret_options, 0, sizeof(*ret_options));
	if (argc < 1 || cv_destination_set_text(&ret_options->serve_host, argv[0], 0) != 0 ||
	    ret_options->serve_host.kind == CV_ADDRESS_DOMAIN)
		return complain("serve where?", argc ? argv[0] : "");
	if (!take_all(argc - 1, argv + 1, ret_options, take_serve))
		return false;
	if (ret_options->tls_port && (!ret_options->certificate_path || !ret_options->key_path))
		return complain("--tls needs", "--certificate and --key");
	return true;
}
