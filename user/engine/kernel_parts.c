// SPDX-License-Identifier: MIT
/*
 * kernel_parts.c - the table: each BPF part, its skeleton and its pins.
 */
#include "engine/kernel_parts.h"

#include "base/mutation.h"
#include "engine/classify.h"
#include "engine/kernel_types.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <culvert/relay.h>
#include <culvert/steer.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "classify.skel.h"
#include "relay.skel.h"
#include "steer.skel.h"

static struct bpf_object_open_opts open_options(const struct cv_kernel_types *types)
{
	return (struct bpf_object_open_opts){
		.sz = sizeof(struct bpf_object_open_opts),
		.btf_custom_path = types->path[0] ? types->path : NULL,
	};
}

/* ---- steer -------------------------------------------------------------------------------- */

static struct bpf_object *steer_open(const struct cv_kernel_types *types, void **ret_skeleton)
{
	struct steer_bpf *skeleton = steer_bpf__open();

	(void)types; /* it reads none */
	*ret_skeleton = skeleton;
	return skeleton ? skeleton->obj : NULL;
}

static int steer_load(void *skeleton)
{
	return steer_bpf__load(skeleton);
}

static void steer_destroy(void *skeleton)
{
	steer_bpf__destroy(skeleton);
}

static const struct cv_pin steer_pins[] = {
	{"steer_ports", CV_PIN_MAP, CV_PIN_DAEMON_WRITES,
	 offsetof(struct cv_kernel, steer_ports_fd)},
	{"steer_listeners", CV_PIN_MAP, CV_PIN_DAEMON_WRITES,
	 offsetof(struct cv_kernel, steer_listeners_fd)},
	{"steer_counters", CV_PIN_MAP, CV_PIN_DAEMON_WRITES,
	 offsetof(struct cv_kernel, steer_counters_fd)},
	{"steer_forbidden", CV_PIN_MAP, CV_PIN_DAEMON_READS,
	 offsetof(struct cv_kernel, steer_forbidden_fd)},
	{"steer", CV_PIN_PROGRAM, CV_PIN_LOADER_ONLY, 0},
	{"steer_link", CV_PIN_LINK, CV_PIN_LOADER_ONLY, 0},
	{NULL, CV_PIN_MAP, CV_PIN_LOADER_ONLY, 0},
};

/* ---- classify ----------------------------------------------------------------------------- */

static struct bpf_object *classify_open(const struct cv_kernel_types *types, void **ret_skeleton)
{
	const struct bpf_object_open_opts options = open_options(types);
	struct classify_bpf *skeleton = classify_bpf__open_opts(&options);

	*ret_skeleton = skeleton;
	if (!skeleton)
		return NULL;
	cv_classify_mutate(skeleton);
	return skeleton->obj;
}

static int classify_load(void *skeleton)
{
	return classify_bpf__load(skeleton);
}

static void classify_destroy(void *skeleton)
{
	classify_bpf__destroy(skeleton);
}

static const struct cv_pin classify_pins[] = {
	{"sni_names", CV_PIN_MAP, CV_PIN_DAEMON_WRITES,
	 offsetof(struct cv_kernel, classify_names_fd)},
	{"sni_ports", CV_PIN_MAP, CV_PIN_DAEMON_WRITES,
	 offsetof(struct cv_kernel, classify_ports_fd)},
	{"sni_results", CV_PIN_MAP, CV_PIN_DAEMON_WRITES,
	 offsetof(struct cv_kernel, classify_results_fd)},
	{"sni_counters", CV_PIN_MAP, CV_PIN_DAEMON_WRITES,
	 offsetof(struct cv_kernel, classify_counters_fd)},
	{"sni_hellos", CV_PIN_MAP, CV_PIN_LOADER_ONLY, 0},
	{"classify", CV_PIN_PROGRAM, CV_PIN_DAEMON_WRITES, /* to attach it, opening asks for both */
	 offsetof(struct cv_kernel, classify_program_fd)},
	{NULL, CV_PIN_MAP, CV_PIN_LOADER_ONLY, 0},
};

/* ---- relay -------------------------------------------------------------------------------- */

static struct bpf_object *relay_open(const struct cv_kernel_types *types, void **ret_skeleton)
{
	const struct bpf_object_open_opts options = open_options(types);
	struct relay_bpf *skeleton = relay_bpf__open_opts(&options);

	*ret_skeleton = skeleton;
	if (!skeleton)
		return NULL;
	skeleton->rodata->without_limit = !cv_rule_holds("relay-limit");
	skeleton->rodata->without_fin_rule = !cv_rule_holds("relay-fin");
	skeleton->rodata->without_repeated_rule = !cv_rule_holds("relay-repeated");
	return skeleton->obj;
}

static int relay_load(void *skeleton)
{
	return relay_bpf__load(skeleton);
}

static void relay_destroy(void *skeleton)
{
	relay_bpf__destroy(skeleton);
}

/* The program hangs on the map from then on: whoever holds the maps has all. */
static int relay_attach(void *opaque)
{
	const struct relay_bpf *skeleton = opaque;
	int error = bpf_prog_attach(bpf_program__fd(skeleton->progs.relay_verdict),
				    bpf_map__fd(skeleton->maps.relay_sources),
				    BPF_SK_SKB_STREAM_VERDICT, 0);

	return error < 0 ? -errno : 0;
}

static const struct cv_pin relay_pins[] = {
	{"relay_sinks", CV_PIN_MAP, CV_PIN_DAEMON_WRITES,
	 offsetof(struct cv_kernel, relay_sinks_fd)},
	{"relay_sources", CV_PIN_MAP, CV_PIN_DAEMON_WRITES,
	 offsetof(struct cv_kernel, relay_sources_fd)},
	{"relay_slots", CV_PIN_MAP, CV_PIN_DAEMON_WRITES,
	 offsetof(struct cv_kernel, relay_slots_fd)},
	{"relay_flows", CV_PIN_MAP, CV_PIN_DAEMON_WRITES,
	 offsetof(struct cv_kernel, relay_flows_fd)},
	{"relay_chunks", CV_PIN_MAP, CV_PIN_DAEMON_WRITES,
	 offsetof(struct cv_kernel, relay_chunks_fd)},
	{"relay_verdict", CV_PIN_PROGRAM, CV_PIN_LOADER_ONLY, 0},
	{NULL, CV_PIN_MAP, CV_PIN_LOADER_ONLY, 0},
};

/* ---- table -------------------------------------------------------------------------------- */

const struct cv_kernel_kind cv_kernel_parts[] = {
	{
		.name = "steer",
		.index = CV_PINS_STEER,
		.layout = CV_STEER_VERSION,
		.part_offset = offsetof(struct cv_kernel, steer),
		/* without pins no second daemon could take the slots over: nothing would be won */
		.mask = CV_KERNEL_LOAD_NONE,
		.open = steer_open,
		.load = steer_load,
		.destroy = steer_destroy,
		.pins = steer_pins,
	},
	{
		.name = "classify",
		.index = CV_PINS_CLASSIFY,
		.layout = CV_CLASSIFY_VERSION,
		.part_offset = offsetof(struct cv_kernel, classify),
		.mask = CV_KERNEL_LOAD_CLASSIFY,
		.open = classify_open,
		.load = classify_load,
		.destroy = classify_destroy,
		.pins = classify_pins,
	},
	{
		.name = "relay",
		.index = CV_PINS_RELAY,
		.layout = CV_RELAY_VERSION,
		.part_offset = offsetof(struct cv_kernel, relay),
		.mask = CV_KERNEL_LOAD_RELAY,
		.open = relay_open,
		.load = relay_load,
		.destroy = relay_destroy,
		.attach = relay_attach,
		.pins = relay_pins,
	},
};

const size_t cv_kernel_part_count = sizeof(cv_kernel_parts) / sizeof(cv_kernel_parts[0]);

/* ---- pins --------------------------------------------------------------------------------- */

int cv_pins_path(const char *directory, const char *name, char *ret_path)
{
	int len = snprintf(ret_path, PATH_MAX, "%s/%s", directory, name);

	return len < 0 || len >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int cv_pins_open(const char *directory, const struct cv_pin *pin)
{
	LIBBPF_OPTS(bpf_obj_get_opts, options,
		    .file_flags = pin->access == CV_PIN_DAEMON_READS ? BPF_F_RDONLY : 0);
	char path[PATH_MAX];
	int error = cv_pins_path(directory, pin->name, path);
	int fd;

	if (error)
		return error;
	fd = bpf_obj_get_opts(path, &options); /* the kernel sets CLOEXEC */
	return fd < 0 ? -errno : fd;
}
