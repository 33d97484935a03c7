/* SPDX-License-Identifier: MIT */
/*
 * pins.h - the map "info" beside the pins: who made them, and in which layouts.
 *
 * Written last by `culvert load`: a directory without it was left by a loader that died. This
 * struct only ever grows at its end, so that every culvert can read the front of every other's.
 */
#ifndef CULVERT_PINS_H
#define CULVERT_PINS_H

#include <linux/types.h>

#define CV_PINS_MAGIC 0x7672656c75637631ULL
#define CV_PINS_VERSION 1 /* of this struct */
#define CV_PINS_PARTS 8

enum cv_pins_part { CV_PINS_STEER, CV_PINS_CLASSIFY, CV_PINS_RELAY };

struct cv_pins_info {
	__u64 magic;
	__u32 version;
	__u16 mounted_bpffs; /* 1: unload unmounts what load mounted */
	__u16 parent_mode; /* what unload gives the parent directory back, 0 = it was not changed */
	__u32 layouts[CV_PINS_PARTS]; /* CV_<PART>_VERSION of what is pinned, 0 = part is absent */
	char culvert[32];             /* the loader's version, for people */
	__u64 loaded_at_s;            /* since 1970 */
	__u64 netns_inode;            /* where sk_lookup is attached */
};
_Static_assert(sizeof(struct cv_pins_info) == 96, "layout of the map info");

#endif
