/* SPDX-License-Identifier: MIT */
/*
 * steer.h - maps of bpf/steer.bpf.c: which address and port leads to which listeners.
 */
#ifndef CULVERT_STEER_H
#define CULVERT_STEER_H

#include <linux/types.h>

#define CV_STEER_VERSION 1

#define CV_STEER_PORTS 1024  /* addresses with a port */
#define CV_STEER_SLOTS 16384 /* listeners: one for each worker of each of those */
#define CV_STEER_NAME_BYTES 24

/* steer_forbidden: one bit for each port that is never steered; frozen once loaded */
#define CV_STEER_PORT_WORDS 1024 /* of 64 bits */

enum cv_steer_family { CV_STEER_ANY = 0, CV_STEER_IPV4 = 4, CV_STEER_IPV6 = 6 };

/* steer_ports: looked up as (family, address), (family, all zero), (CV_STEER_ANY, all zero) */
struct cv_steer_key {
	__u8 family;
	__u8 zero;
	__u16 port;       /* host order */
	__u8 address[16]; /* network order; IPv4: the first four */
};
_Static_assert(sizeof(struct cv_steer_key) == 20, "layout of steer_ports' key");

struct cv_steer_port {
	__u32 first_slot, slot_count; /* of steer_listeners; an empty slot is an ordinary lookup */
	__u32 counter;                /* index in steer_counters */
	__u32 owner_pid;              /* for people, as its own pid namespace has it */
	__u64 owner;                  /* drawn by the daemon: which process may change this */
	char inbound[CV_STEER_NAME_BYTES];
};
_Static_assert(sizeof(struct cv_steer_port) == 48, "layout of steer_ports' value");

struct cv_steer_counter { /* steer_counters, one for each CPU */
	__u64 steered;
	__u64 empty;  /* nobody in the slot: the ordinary lookup answered */
	__u64 errors; /* the kernel did not take the listener; likewise */
};
_Static_assert(sizeof(struct cv_steer_counter) == 24, "layout of steer_counters' value");

#endif
