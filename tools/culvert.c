// SPDX-License-Identifier: MIT
/*
 * culvert.c - the operator's tool: one table of commands, one file per command.
 */
#include "culvert.h"

#include "culvert_probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *arguments, *description;
} commands[] = {
	{"keys", cv_cmd_keys, "[--mldsa | --from PRIVATE] [--json]", "make a REALITY key pair"},
	{"uuid", cv_cmd_uuid, "[TEXT] [--json]", "make a user id, at random or from a text"},
	{"link", cv_cmd_link, "USER -c FILE [--client] [--host H] [--port P] ... | --parse URL",
	 "a user's links and QR code, or a client's configuration; or an outbound from a link"},
	{"check", cv_cmd_check, "FILE [--offline] [--json]",
	 "check a configuration without starting it"},
	{"selftest", cv_cmd_selftest,
	 "-c FILE [--ca FILE] [--name NAME] [--log FILE] [--control PATH] [--offline] [--json]",
	 "does a running installation keep what is promised? Exit status 0: yes, 1: no"},
	{"import", cv_cmd_import, "HAPROXY.CFG | NODES.YAML | LINK | -",
	 "routing by server name, or a client's servers, as a configuration of ours on standard "
	 "output"},
	{"export", cv_cmd_export, "haproxy FILE [--behind HOST:PORT]",
	 "the same routing as a haproxy.cfg, for those who keep HAProxy"},
	{"probe", cv_cmd_probe, "TARGET [--sni NAME] [--ca FILE] [--json]",
	 "does this site make a good target?"},
	{"show", cv_cmd_show,
	 "sessions | session ID | carriers | users | engines | sni | backends | proxies | "
	 "outbounds | kernel | workers | reasons [OPTIONS]",
	 "look into a running daemon"},
	{"kick", cv_cmd_kick, "USER [--control PATH] [--json]",
	 "end all sessions of a user (e-mail, name or id); exit status 1 if there was none"},
	{"user", cv_cmd_user,
	 "list | show | add | remove | enable | disable | set-password | set-proxy ...",
	 "people in users.json: a running daemon takes changes up at once"},
	{"proxy", cv_cmd_proxy,
	 "list | show | add | update | remove | enable | disable | test | status ...",
	 "upstream proxies in external_proxy.json: a running daemon takes changes up at once"},
	{"load", cv_cmd_load,
	 "[--directory D] [--user NAME] [--group NAME] [--ports LIST] [--json]",
	 "pin the BPF programs and maps that culvertd uses (root)"},
	{"unload", cv_cmd_unload, "[--directory D] [--force]", "remove them again (root)"},
	{"status", cv_cmd_status, "[--directory D] [--json]",
	 "what is pinned, and who listens through it"},
	{"reload", cv_cmd_reload, "[--control PATH] [--json]",
	 "let a running culvertd read its configuration again; a bad one changes nothing"},
	{"restart", cv_cmd_restart, "[--control PATH] [--json]",
	 "replace a running culvertd without losing a connection"},
	{"probe-kernel", cv_cmd_probe_kernel, "[--json]",
	 "what this kernel and these rights give culvert, by trying"},
	{"version", cv_cmd_version, "[--json]", "versions, and what this kernel has"},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *out)
{
	fputs("usage: culvert COMMAND ...\n\n", out);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		fprintf(out, "  %-12s %s\n               %s\n", commands[i].name,
			commands[i].arguments, commands[i].description);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		usage(stderr);
		return CV_EXIT_USAGE;
	}
	if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
	    strcmp(argv[1], "-h") == 0) {
		usage(stdout);
		return EXIT_SUCCESS;
	}
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "culvert: no command %s; see culvert help\n", argv[1]);
	return CV_EXIT_USAGE;
}
