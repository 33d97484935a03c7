// SPDX-License-Identifier: MIT
/*
 * pins.bpf.c - no program, one map: what `culvert load` tells about its other pins.
 *
 * A map rather than a file because a bpffs holds nothing else; with its BTF, so that
 * `bpftool map dump` prints names.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <culvert/pins.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cv_pins_info);
} culvert_info SEC(".maps");

char _license[] SEC("license") = "Dual MIT/GPL";
