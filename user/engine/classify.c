// SPDX-License-Identifier: MIT
/*
 * classify.c - tables, ports and results of bpf/classify.bpf.c.
 *
 *   names of table 7 -> ports -> table 7        (a port never leads to a half-filled table)
 *   a restart:  successor's names -> ports -> the successor's table; then ours are removed
 *
 * A port that leads elsewhere by the time we end is its new owner's.
 */
#include "engine/classify.h"

#include "base/mutation.h"
#include "engine/kernel_pins.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <ctype.h>
#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "classify.skel.h"

struct cv_classify {
	const struct cv_kernel *kernel;
	uint32_t first_table; /* number of our table 0 */
	struct cv_sni_name *names;
	size_t name_count;
	uint32_t ports[CV_CLASSIFY_PORTS];
	size_t port_count;
};

void cv_classify_mutate(struct classify_bpf *skeleton)
{
	skeleton->rodata->without_sequence_rule = !cv_rule_holds("classify-sequence");
	skeleton->rodata->without_whole_rule = !cv_rule_holds("classify-whole");
}

/* ---- life --------------------------------------------------------------------------------- */

static int expect_our_namespace(const struct cv_kernel *kernel, const char *directory)
{
	struct cv_pins_info info;
	char why[CV_PINS_WHY];
	int error;

	if (kernel->origin != CV_KERNEL_PINNED)
		return 0;
	error = cv_pins_read(directory, &info, why);
	if (!error && info.netns_inode != cv_pins_netns())
		error = -ENOTCONN;
	return error;
}

/* What another configuration counted under our numbers is not ours. */
static void count_from_zero(int counters_fd)
{
	int cpus = libbpf_num_possible_cpus();
	struct cv_sni_counter *zero = cpus > 0 ? calloc((size_t)cpus, sizeof(*zero)) : NULL;

	for (uint32_t class = 0; zero && class < CV_CLASSIFY_CLASSES; class++)
		(void)bpf_map_update_elem(counters_fd, &class, zero, BPF_ANY);
	free(zero);
}

int cv_classify_new(const struct cv_kernel *kernel, const char *directory,
		    struct cv_classify **ret_classify)
{
	struct cv_classify *classify;
	uint32_t number;
	int error = kernel->classify.error;

	if (!error)
		error = expect_our_namespace(kernel, directory);
	if (error)
		return error;
	classify = calloc(1, sizeof(*classify));
	if (!classify)
		return -ENOMEM;
	if (getrandom(&number, sizeof(number), 0) != sizeof(number)) {
		free(classify);
		return -ENOMEM;
	}
	count_from_zero(kernel->classify_counters_fd);
	classify->kernel = kernel;
	classify->first_table = number & ~(CV_CLASSIFY_TABLES - 1u);
	*ret_classify = classify;
	return 0;
}

static bool is_ours(const struct cv_classify *classify, uint32_t number)
{
	return (number & ~(CV_CLASSIFY_TABLES - 1u)) == classify->first_table;
}

static void port_remove(const struct cv_classify *classify, uint32_t port)
{
	struct cv_sni_port now;

	if (bpf_map_lookup_elem(classify->kernel->classify_ports_fd, &port, &now) == 0 &&
	    is_ours(classify, now.table))
		(void)bpf_map_delete_elem(classify->kernel->classify_ports_fd, &port);
}

struct cv_classify *cv_classify_free(struct cv_classify *classify)
{
	if (!classify)
		return NULL;
	for (size_t i = 0; i < classify->port_count; i++)
		port_remove(classify, classify->ports[i]);
	for (size_t i = 0; i < classify->name_count; i++)
		(void)bpf_map_delete_elem(classify->kernel->classify_names_fd, &classify->names[i]);
	free(classify->names);
	free(classify);
	return NULL;
}

/* ---- tables ------------------------------------------------------------------------------- */

static int remember(struct cv_classify *classify, const struct cv_sni_name *key)
{
	struct cv_sni_name *names = classify->names;

	if ((classify->name_count & (classify->name_count - 1)) == 0) /* full: double it */
		names = realloc(names, (classify->name_count ? 2 * classify->name_count : 1) *
					       sizeof(*names));
	if (!names)
		return -ENOMEM;
	classify->names = names;
	names[classify->name_count++] = *key;
	return 0;
}

int cv_classify_add_name(struct cv_classify *classify, uint32_t table, const char *name,
			 uint32_t class, enum cv_sni_action action)
{
	const struct cv_sni_rule rule = {.class = class, .action = action};
	struct cv_sni_name key = {.table = classify->first_table + table};
	int error;

	if (table >= CV_CLASSIFY_TABLES || class >= CV_CLASSIFY_CLASSES ||
	    strlen(name) >= sizeof(key.name))
		return -EINVAL;
	for (size_t i = 0; name[i]; i++)
		key.name[i] = (char)tolower((unsigned char)name[i]);
	if (bpf_map_update_elem(classify->kernel->classify_names_fd, &key, &rule, BPF_NOEXIST) != 0)
		return -errno;
	error = remember(classify, &key);
	if (error)
		(void)bpf_map_delete_elem(classify->kernel->classify_names_fd, &key);
	return error;
}

int cv_classify_add_port(struct cv_classify *classify, uint16_t port, uint32_t table,
			 enum cv_sni_action not_tls)
{
	const int map = classify->kernel->classify_ports_fd;
	const struct cv_sni_port value = {.table = classify->first_table + table,
					  .not_tls = not_tls};
	const uint32_t key = port;

	if (table >= CV_CLASSIFY_TABLES)
		return -EINVAL;
	for (size_t i = 0; i < classify->port_count; i++) {
		struct cv_sni_port now;

		if (classify->ports[i] != key)
			continue;
		if (bpf_map_lookup_elem(map, &key, &now) == 0 && now.table == value.table)
			return 0;
		(void)bpf_map_delete_elem(map, &key);
		return -EBUSY;
	}
	if (classify->port_count == CV_CLASSIFY_PORTS)
		return -ENOSPC;
	if (bpf_map_update_elem(map, &key, &value, BPF_ANY) != 0)
		return -errno;
	classify->ports[classify->port_count++] = key;
	return 0;
}

/* ---- sockets ------------------------------------------------------------------------------ */

int cv_classify_attach(const struct cv_classify *classify, int listener_fd)
{
	const int program = classify->kernel->classify_program_fd;

	if (setsockopt(listener_fd, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof(program)) != 0)
		return -errno;
	return 0;
}

static bool cookie_of(int fd, uint64_t *ret_cookie)
{
	socklen_t len_bytes = sizeof(*ret_cookie);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, ret_cookie, &len_bytes) == 0;
}

int cv_classify_read(const struct cv_classify *classify, int fd, uint32_t table,
		     struct cv_sni_result *ret_result)
{
	struct cv_sni_result result;
	uint64_t cookie;

	if (!cookie_of(fd, &cookie) ||
	    bpf_map_lookup_elem(classify->kernel->classify_results_fd, &cookie, &result) != 0 ||
	    result.table != classify->first_table + table ||
	    result.class == CV_SNI_CLASS_UNDECIDED)
		return -ENOENT;
	*ret_result = result;
	return 0;
}

void cv_classify_detach(const struct cv_classify *classify, int fd)
{
	const int unused = 0;
	uint64_t cookie;

	(void)setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused));
	/* after the program is gone: it would take the connection's rest for its beginning */
	if (cookie_of(fd, &cookie))
		(void)bpf_map_delete_elem(classify->kernel->classify_results_fd, &cookie);
}

int cv_classify_silence(int fd)
{
	static const struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 12), /* data offset of the TCP header */
		BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 2),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 60),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_X, 0, 1, 0), /* no payload: the last one */
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog program = {
		.len = sizeof(code) / sizeof(code[0]),
		.filter = (struct sock_filter *)code,
	};

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) != 0)
		return -errno;
	return 0;
}

/* ---- counters ----------------------------------------------------------------------------- */

int cv_classify_count(int counters_fd, uint32_t class, struct cv_sni_counter *ret_counter)
{
	int cpus = libbpf_num_possible_cpus();
	struct cv_sni_counter *each = cpus > 0 ? calloc((size_t)cpus, sizeof(*each)) : NULL;
	int error = each ? 0 : -ENOMEM;

	if (each && bpf_map_lookup_elem(counters_fd, &class, each) != 0)
		error = -errno;
	if (!error)
		*ret_counter = (struct cv_sni_counter){0};
	for (int i = 0; i < cpus && !error; i++) {
		ret_counter->connections += each[i].connections;
		ret_counter->dropped_segments += each[i].dropped_segments;
	}
	free(each);
	return error;
}
