// SPDX-License-Identifier: MIT
/*
 * hostile.c - treats a server badly, for tests: many connections that each follow a script, SYN
 * floods, and the peer that answers those whom the server serves.
 */
#include "load/hostile.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static int usage(const char *why)
{
	fprintf(stderr,
		"%s\n"
		"hostile serve ADDRESS PORT\n"
		"hostile syn ADDRESS PORT NETWORK-OF-16-BITS RATE SECONDS\n"
		"hostile run --to ADDRESS --port PORT [--from ADDRESS,...] [--count N]\n"
		"        [--at-a-time N] [--rate N] [--seconds S] [--deadline S] SCRIPT...\n"
		"Connection n follows script n modulo their number: steps with commas between.\n"
		"  send:HEX sendline:FILE drip:HEX:MS dripline:FILE:MS flood:HEX   line n of FILE\n"
		"  expect:HEX read:N ask:N slow:N final:N cut:N give:N half:N wait:MS meet end\n"
		"  silent close reset\n",
		why);
	return 2;
}

static bool parse_from(char *text, struct attack *attack)
{
	char *rest = NULL;

	for (char *next = strtok_r(text, ",", &rest); next; next = strtok_r(NULL, ",", &rest))
		if (attack->from_count == sizeof(attack->from) / sizeof(attack->from[0]) ||
		    inet_pton(AF_INET, next, &attack->from[attack->from_count++]) != 1)
			return false;
	return true;
}

static bool parse_option(int option, char *value, struct attack *attack)
{
	const uint32_t number = (uint32_t)strtoul(value, NULL, 10);

	switch (option) {
	case 't':
		return inet_pton(AF_INET, value, &attack->to.sin_addr) == 1;
	case 'f':
		return parse_from(value, attack);
	case 'p':
		attack->to.sin_port = htons((uint16_t)number);
		return true;
	case 'c':
		attack->count = number;
		return true;
	case 'a':
		attack->at_a_time = number;
		return true;
	case 'r':
		attack->rate = number;
		return true;
	case 's':
		attack->seconds = number;
		return true;
	case 'd':
		attack->deadline_s = number;
		return true;
	default:
		return false;
	}
}

static const struct option options[] = {
	{"to", required_argument, NULL, 't'},	     {"port", required_argument, NULL, 'p'},
	{"from", required_argument, NULL, 'f'},	     {"count", required_argument, NULL, 'c'},
	{"at-a-time", required_argument, NULL, 'a'}, {"rate", required_argument, NULL, 'r'},
	{"seconds", required_argument, NULL, 's'},   {"deadline", required_argument, NULL, 'd'},
	{0},
};

static int run(int count, char **words)
{
	static struct attack attack = {.to.sin_family = AF_INET, .count = 1, .deadline_s = 60};
	int option, status;

	while ((option = getopt_long(count, words, "", options, NULL)) != -1)
		if (option == '?' || !parse_option(option, optarg, &attack))
			return usage("a wrong value");
	for (int i = optind; i < count; i++) {
		const char *why = attack.script_count == HOSTILE_SCRIPTS
					  ? "too many scripts"
					  : script_parse(words[i],
							 &attack.scripts[attack.script_count++]);

		if (why)
			return usage(why);
	}
	if (attack.script_count == 0)
		return usage("no script");
	if (attack.at_a_time == 0 || (attack.at_a_time > attack.count && !attack.seconds))
		attack.at_a_time = attack.count;
	status = attack_run(&attack);
	for (size_t i = 0; i < attack.script_count; i++)
		script_done(&attack.scripts[i]);
	return status;
}

int main(int count, char **words)
{
	struct rlimit limit;
	struct sockaddr_in to = {.sin_family = AF_INET};
	struct in_addr network;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (count == 4 && strcmp(words[1], "serve") == 0)
		return peer_serve(words[2], (uint16_t)atoi(words[3]));
	if (count > 3 && strcmp(words[1], "run") == 0)
		return run(count - 1, words + 1);
	if (count != 7 || strcmp(words[1], "syn") != 0 ||
	    inet_pton(AF_INET, words[2], &to.sin_addr) != 1 ||
	    inet_pton(AF_INET, words[4], &network) != 1)
		return usage("what shall be done?");
	to.sin_port = htons((uint16_t)atoi(words[3]));
	return syn_flood(&to, network, (uint32_t)atoi(words[5]), (uint32_t)atoi(words[6]));
}
