/* SPDX-License-Identifier: MIT */
/*
 * classify.h - what bpf/classify.bpf.c and user space share about classes of server names.
 *
 *	sni_ports[port]			which table of names counts there, and what is dropped
 *	sni_names[table, name]		class of a name, exact or "*.suffix" (longest suffix wins)
 *	sni_results[socket cookie]	what was decided about a connection
 *	sni_counters[class]		per CPU
 *	sni_hellos[socket cookie]	hellos that are not complete yet
 *
 * Tables have random numbers, so that a daemon and its successor share the maps: what the one finds
 * under the other's table is as good as undecided.
 */
#ifndef CULVERT_CLASSIFY_H
#define CULVERT_CLASSIFY_H

#include <linux/types.h>

#define CV_CLASSIFY_VERSION 1

#define CV_CLASSIFY_NAME_BYTES 256 /* with the NUL; the rest is zero */
#define CV_CLASSIFY_CLASSES 1024
#define CV_CLASSIFY_NAMES 65536
#define CV_CLASSIFY_PORTS 4096
#define CV_CLASSIFY_HELLOS 2048
#define CV_CLASSIFY_RESULTS 65536

enum cv_sni_class {
	CV_SNI_CLASS_NONE, /* nothing known */
	CV_SNI_CLASS_UNDECIDED, /* user space must look for itself */
	CV_SNI_CLASS_NOT_TLS,
	CV_SNI_CLASS_NO_NAME, /* a ClientHello without server name */
	CV_SNI_CLASS_OTHER,   /* a name that no entry matches */
	CV_SNI_CLASS_FIRST = 8, /* from here on: what sni_names says */
};

enum cv_sni_action {
	CV_SNI_PASS,
	CV_SNI_DROP, /* this segment and all that follow are never acknowledged */
};

struct cv_sni_name {
	__u32 table;
	char name[CV_CLASSIFY_NAME_BYTES]; /* lower case, NUL terminated and zero filled */
};

struct cv_sni_rule {
	__u32 class;
	__u32 action; /* enum cv_sni_action */
};

struct cv_sni_port {
	__u32 table;
	__u32 not_tls; /* enum cv_sni_action */
};

struct cv_sni_result {
	__u32 table;
	__u32 class;
	__u32 action;	     /* enum cv_sni_action */
	__u32 has_uppercase; /* the name was not in lower case */
};

struct cv_sni_counter {
	__u64 connections;
	__u64 dropped_segments;
};

_Static_assert(sizeof(struct cv_sni_name) == 260, "layout version 1");
_Static_assert(sizeof(struct cv_sni_rule) == 8, "layout version 1");
_Static_assert(sizeof(struct cv_sni_port) == 8, "layout version 1");
_Static_assert(sizeof(struct cv_sni_result) == 16, "layout version 1");
_Static_assert(sizeof(struct cv_sni_counter) == 16, "layout version 1");

#endif
