// SPDX-License-Identifier: MIT
/*
 * relay_maps.c - bpf/relay.bpf.c into the kernel.
 *
 * The program hangs on the map relay_sources from then on: whoever holds the maps has all.
 */
#include "engine/relay_maps.h"

#include "base/mutation.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "relay.skel.h"

void cv_relay_mutate(struct relay_bpf *skeleton)
{
	skeleton->rodata->without_limit = !cv_rule_holds("relay-limit");
	skeleton->rodata->without_fin_rule = !cv_rule_holds("relay-fin");
}

int cv_relay_attach(struct relay_bpf *skeleton)
{
	int error = bpf_prog_attach(bpf_program__fd(skeleton->progs.relay_verdict),
				    bpf_map__fd(skeleton->maps.relay_sources),
				    BPF_SK_SKB_STREAM_VERDICT, 0);

	return error < 0 ? -errno : 0;
}

static int keep(const struct bpf_map *map, int *ret_fd)
{
	*ret_fd = fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 3);
	return *ret_fd < 0 ? -errno : 0;
}

static int keep_all(struct relay_bpf *skeleton, struct cv_relay_maps *maps)
{
	int error = keep(skeleton->maps.relay_sinks, &maps->sinks_fd);

	if (!error)
		error = keep(skeleton->maps.relay_sources, &maps->sources_fd);
	if (!error)
		error = keep(skeleton->maps.relay_slots, &maps->slots_fd);
	if (!error)
		error = keep(skeleton->maps.relay_flows, &maps->flows_fd);
	if (!error)
		error = keep(skeleton->maps.relay_chunks, &maps->chunks_fd);
	return error;
}

int cv_relay_maps_load(struct cv_relay_maps *ret_maps)
{
	struct cv_relay_maps maps = {-1, -1, -1, -1, -1};
	libbpf_print_fn_t print = libbpf_set_print(NULL);
	struct relay_bpf *skeleton = relay_bpf__open();
	int error = skeleton ? 0 : -errno;

	if (!error) {
		cv_relay_mutate(skeleton);
		error = relay_bpf__load(skeleton);
	}
	if (!error)
		error = cv_relay_attach(skeleton);
	if (!error)
		error = keep_all(skeleton, &maps);
	relay_bpf__destroy(skeleton);
	libbpf_set_print(print);
	if (error)
		cv_relay_maps_close(&maps);
	else
		*ret_maps = maps;
	return error;
}

static void close_one(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}

void cv_relay_maps_close(struct cv_relay_maps *maps)
{
	close_one(maps->sinks_fd);
	close_one(maps->sources_fd);
	close_one(maps->slots_fd);
	close_one(maps->flows_fd);
	close_one(maps->chunks_fd);
	*maps = (struct cv_relay_maps){-1, -1, -1, -1, -1};
}
