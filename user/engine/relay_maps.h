/* SPDX-License-Identifier: MIT */
#ifndef CV_ENGINE_RELAY_MAPS_H
#define CV_ENGINE_RELAY_MAPS_H

#include <culvert/relay.h>

struct cv_relay_maps { /* descriptors of bpf/relay.bpf.c's maps; <culvert/relay.h> */
	int sinks_fd, sources_fd, slots_fd, flows_fd, chunks_fd;
};

struct relay_bpf;

/** cv_relay_mutate() - Leave out of the opened, not yet loaded program what cv_rule_holds() says:
 * "relay-limit", "relay-fin". Nothing in other builds than those for tests. */
void cv_relay_mutate(struct relay_bpf *skeleton);
/** cv_relay_attach() - Make the loaded program the verdict of relay_sources. 0 or -errno. */
int cv_relay_attach(struct relay_bpf *skeleton);

/**
 * cv_relay_maps_load() - Load program and maps for this process alone; gone with the descriptors.
 * libbpf's messages are silenced during the call: not from two threads at once.
 * @ret_maps: closed by cv_relay_maps_close(). Returns 0 or -errno (-EPERM: rights).
 */
int cv_relay_maps_load(struct cv_relay_maps *ret_maps);
void cv_relay_maps_close(struct cv_relay_maps *maps);

#endif
