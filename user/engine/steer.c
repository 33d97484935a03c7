// SPDX-License-Identifier: MIT
/*
 * steer.c - slots and addresses of bpf/steer.bpf.c.
 *
 *   slots      0 .. n-1 | n .. 2n-1 | ...      each address has a run, one slot per worker
 *   a restart  old run -----------------> the successor's run, filled before anything leads there
 *              steer_ports[address] = successor's run           (one update: the moment of change)
 *              the old listeners close, their slots empty themselves
 *
 * A slot is taken with BPF_NOEXIST, so two daemons never share a run. A daemon that crashed leaves
 * its addresses behind with empty slots: they lead nowhere and are removed by the next one, which
 * must not put its listeners where a forgotten address leads.
 */
#include "engine/steer.h"

#include "engine/bpffs.h"
#include "engine/kernel_pins.h"
#include "ring/listen.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

struct place {
	struct cv_steer_key key;
	struct cv_steer_port port, before; /* before: who had it, slot_count 0 = nobody */
};

struct cv_steer {
	const struct cv_kernel *kernel;
	char *directory;
	uint64_t owner;
	struct place *places;
	size_t place_count;
	bool in_force;
};

/* ---- keys --------------------------------------------------------------------------------- */

static bool all_zero(const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i])
			return false;
	return true;
}

/* "::" takes both families, as a bound dual-stack socket does. */
static struct cv_steer_key key_of(const struct cv_sockaddr *address)
{
	struct cv_steer_key key = {.family = CV_STEER_IPV4, .port = cv_sockaddr_port(address)};
	const struct in6_addr *ipv6 = &address->in6.sin6_addr;

	if (address->any.sa_family == AF_INET) {
		memcpy(key.address, &address->in.sin_addr, 4);
	} else if (IN6_IS_ADDR_V4MAPPED(ipv6)) {
		memcpy(key.address, ipv6->s6_addr + 12, 4);
	} else {
		key.family = all_zero(ipv6->s6_addr, 16) ? CV_STEER_ANY : CV_STEER_IPV6;
		memcpy(key.address, ipv6->s6_addr, 16);
	}
	return key;
}

void cv_steer_key_format(const struct cv_steer_key *key, char *text)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.in6)};

	if (key->family == CV_STEER_IPV4) {
		address.len_bytes = sizeof(address.in);
		address.in.sin_family = AF_INET;
		address.in.sin_port = htons(key->port);
		memcpy(&address.in.sin_addr, key->address, 4);
	} else {
		address.in6.sin6_family = AF_INET6;
		address.in6.sin6_port = htons(key->port);
		memcpy(&address.in6.sin6_addr, key->address, 16);
	}
	cv_sockaddr_format(&address, text);
}

/* ---- what is in the maps ------------------------------------------------------------------ */

bool cv_steer_alive(int listeners_fd, const struct cv_steer_port *port)
{
	for (uint32_t i = 0; i < port->slot_count && i < CV_STEER_SLOTS; i++) {
		uint32_t slot = port->first_slot + i;
		uint64_t cookie;

		if (bpf_map_lookup_elem(listeners_fd, &slot, &cookie) == 0)
			return true;
	}
	return false;
}

int cv_steer_count(int counters_fd, uint32_t counter, struct cv_steer_counter *ret_counter)
{
	int cpus = libbpf_num_possible_cpus();
	struct cv_steer_counter *each = cpus > 0 ? calloc((size_t)cpus, sizeof(*each)) : NULL;
	int error = each ? 0 : -ENOMEM;

	if (each && bpf_map_lookup_elem(counters_fd, &counter, each) != 0)
		error = -errno;
	if (!error)
		*ret_counter = (struct cv_steer_counter){0};
	for (int i = 0; i < cpus && !error; i++) {
		ret_counter->steered += each[i].steered;
		ret_counter->empty += each[i].empty;
		ret_counter->errors += each[i].errors;
	}
	free(each);
	return error;
}

static void count_from_zero(const struct cv_steer *steer, uint32_t counter)
{
	int cpus = libbpf_num_possible_cpus();
	struct cv_steer_counter *zero = cpus > 0 ? calloc((size_t)cpus, sizeof(*zero)) : NULL;

	if (zero)
		(void)bpf_map_update_elem(steer->kernel->steer_counters_fd, &counter, zero,
					  BPF_ANY);
	free(zero);
}

uint32_t cv_steer_holder(const struct cv_steer *steer, const struct cv_sockaddr *address)
{
	const struct cv_steer_key key = key_of(address);
	struct cv_steer_port port;

	if (bpf_map_lookup_elem(steer->kernel->steer_ports_fd, &key, &port) != 0 ||
	    port.owner == steer->owner || !cv_steer_alive(steer->kernel->steer_listeners_fd, &port))
		return 0;
	return port.owner_pid;
}

bool cv_steer_allows(const struct cv_steer *steer, const struct cv_sockaddr *address)
{
	const uint16_t port = cv_sockaddr_port(address);
	const uint32_t word = port / 64;
	uint64_t bits;

	return bpf_map_lookup_elem(steer->kernel->steer_forbidden_fd, &word, &bits) == 0 &&
	       !(bits >> (port % 64) & 1);
}

/* Addresses of daemons that died. Under the lock: a living one fills its slots first. */
static void forget_dead(const struct cv_kernel *kernel)
{
	struct cv_steer_key key, next;
	struct cv_steer_port port;
	bool more = bpf_map_get_next_key(kernel->steer_ports_fd, NULL, &key) == 0;

	while (more) {
		more = bpf_map_get_next_key(kernel->steer_ports_fd, &key, &next) == 0;
		if (bpf_map_lookup_elem(kernel->steer_ports_fd, &key, &port) == 0 &&
		    !cv_steer_alive(kernel->steer_listeners_fd, &port))
			(void)bpf_map_delete_elem(kernel->steer_ports_fd, &key);
		key = next;
	}
}

/* ---- life --------------------------------------------------------------------------------- */

int cv_steer_new(const struct cv_kernel *kernel, const char *directory, struct cv_steer **ret_steer)
{
	struct cv_pins_info info;
	char why[CV_PINS_WHY];
	struct cv_steer *steer;
	int lock, error = kernel->steer.error ? kernel->steer.error
					      : cv_pins_read(directory, &info, why);

	if (!error && info.netns_inode != cv_pins_netns())
		error = -ENOTCONN;
	if (error)
		return error;
	steer = calloc(1, sizeof(*steer));
	if (steer) {
		steer->kernel = kernel;
		steer->directory = strdup(directory);
		steer->places = calloc(CV_STEER_PORTS, sizeof(*steer->places));
	}
	if (!steer || !steer->directory || !steer->places ||
	    getrandom(&steer->owner, sizeof(steer->owner), 0) != sizeof(steer->owner)) {
		(void)cv_steer_free(steer);
		return -ENOMEM;
	}
	lock = cv_bpffs_lock(directory);
	if (lock >= 0) {
		forget_dead(kernel);
		(void)close(lock);
	}
	*ret_steer = steer;
	return 0;
}

static void place_remove(const struct cv_steer *steer, const struct place *place)
{
	struct cv_steer_port now;

	if (bpf_map_lookup_elem(steer->kernel->steer_ports_fd, &place->key, &now) == 0 &&
	    now.owner == steer->owner)
		(void)bpf_map_delete_elem(steer->kernel->steer_ports_fd, &place->key);
}

struct cv_steer *cv_steer_free(struct cv_steer *steer)
{
	int lock;

	if (!steer)
		return NULL;
	if (steer->in_force) {
		lock = cv_bpffs_lock(steer->directory);
		for (size_t i = 0; i < steer->place_count; i++)
			place_remove(steer, &steer->places[i]);
		if (lock >= 0)
			(void)close(lock);
	}
	free(steer->places);
	free(steer->directory);
	free(steer);
	return NULL;
}

/* ---- slots -------------------------------------------------------------------------------- */

/* All of @fds into the run at @first, or none: -EEXIST if a slot is somebody's. */
static int run_take(const struct cv_steer *steer, uint32_t first, const int *fds, unsigned count)
{
	const int map = steer->kernel->steer_listeners_fd;

	for (uint32_t i = 0; i < count; i++) {
		uint32_t slot = first + i;
		uint64_t value = (uint64_t)fds[i];
		int error;

		if (bpf_map_update_elem(map, &slot, &value, BPF_NOEXIST) == 0)
			continue;
		error = -errno;
		while (i-- > 0) {
			slot = first + i;
			(void)bpf_map_delete_elem(map, &slot);
		}
		return error;
	}
	return 0;
}

/* Does any address lead into the run at @first? */
static bool run_is_led_to(const struct cv_steer *steer, uint32_t first, unsigned count)
{
	const int map = steer->kernel->steer_ports_fd;
	struct cv_steer_key key, *previous = NULL;
	struct cv_steer_port port;

	while (bpf_map_get_next_key(map, previous, &key) == 0) {
		if (bpf_map_lookup_elem(map, &key, &port) == 0 && port.first_slot < first + count &&
		    first < port.first_slot + port.slot_count)
			return true;
		previous = &key;
	}
	return false;
}

static int run_find(const struct cv_steer *steer, const int *fds, unsigned count,
		    uint32_t *ret_first)
{
	for (uint32_t first = 0; first + count <= CV_STEER_SLOTS; first += count) {
		int error = run_is_led_to(steer, first, count) ? -EEXIST
							       : run_take(steer, first, fds, count);

		if (!error)
			*ret_first = first;
		if (error != -EEXIST)
			return error;
	}
	return -ENOSPC;
}

static int open_listeners(int family, int backlog, unsigned count, int *ret_fds)
{
	for (unsigned i = 0; i < count; i++) {
		ret_fds[i] = cv_listen_steered(family, backlog);
		if (ret_fds[i] >= 0)
			continue;
		int error = ret_fds[i];

		while (i-- > 0)
			(void)close(ret_fds[i]);
		return error;
	}
	return 0;
}

int cv_steer_listen(struct cv_steer *steer, const struct cv_sockaddr *address, const char *inbound,
		    int backlog, unsigned count, int *ret_fds)
{
	struct place place = {
		.key = key_of(address),
		.port = {.slot_count = count,
			 .owner = steer->owner,
			 .owner_pid = (uint32_t)getpid()},
	};
	int error;

	if (steer->place_count == CV_STEER_PORTS)
		return -ENOSPC;
	error = open_listeners(address->any.sa_family, backlog, count, ret_fds);
	if (error)
		return error;
	error = run_find(steer, ret_fds, count, &place.port.first_slot);
	if (error) {
		for (unsigned i = 0; i < count; i++)
			(void)close(ret_fds[i]);
		return error;
	}
	(void)snprintf(place.port.inbound, sizeof(place.port.inbound), "%s", inbound);
	steer->places[steer->place_count++] = place;
	return 0;
}

/* ---- in force ----------------------------------------------------------------------------- */

struct used_counters {
	bool used[CV_STEER_PORTS];
};

static void find_used(const struct cv_steer *steer, struct used_counters *ret_used)
{
	const int map = steer->kernel->steer_ports_fd;
	struct cv_steer_key key, *previous = NULL;
	struct cv_steer_port port;

	memset(ret_used, 0, sizeof(*ret_used));
	while (bpf_map_get_next_key(map, previous, &key) == 0) {
		if (bpf_map_lookup_elem(map, &key, &port) == 0 && port.counter < CV_STEER_PORTS)
			ret_used->used[port.counter] = true;
		previous = &key;
	}
}

/* An address keeps its counter for as long as somebody serves it. */
static int assign_counter(const struct cv_steer *steer, struct place *place, bool takeover,
			  struct used_counters *counters)
{
	uint32_t counter = 0;

	if (bpf_map_lookup_elem(steer->kernel->steer_ports_fd, &place->key, &place->before) == 0) {
		bool alive = cv_steer_alive(steer->kernel->steer_listeners_fd, &place->before);

		place->port.counter = place->before.counter;
		if (!alive)
			count_from_zero(steer, place->before.counter);
		return alive && !takeover ? -EADDRINUSE : 0;
	}
	while (counter < CV_STEER_PORTS && counters->used[counter])
		counter++;
	if (counter == CV_STEER_PORTS)
		return -ENOSPC;
	counters->used[counter] = true;
	place->port.counter = counter;
	count_from_zero(steer, counter);
	return 0;
}

static void place_give_back(const struct cv_steer *steer, const struct place *place)
{
	if (place->before.slot_count)
		(void)bpf_map_update_elem(steer->kernel->steer_ports_fd, &place->key,
					  &place->before, BPF_EXIST);
	else
		place_remove(steer, place);
}

static int commit_locked(struct cv_steer *steer, bool takeover)
{
	struct used_counters counters;
	int error = 0;

	find_used(steer, &counters);
	for (size_t i = 0; i < steer->place_count && !error; i++)
		error = assign_counter(steer, &steer->places[i], takeover, &counters);
	for (size_t i = 0; i < steer->place_count && !error; i++)
		if (bpf_map_update_elem(steer->kernel->steer_ports_fd, &steer->places[i].key,
					&steer->places[i].port, BPF_ANY) != 0)
			error = -errno;
	for (size_t i = 0; i < steer->place_count && error; i++)
		place_give_back(steer, &steer->places[i]);
	return error;
}

int cv_steer_commit(struct cv_steer *steer, bool takeover)
{
	int lock = cv_bpffs_lock(steer->directory), error;

	if (lock < 0)
		return lock;
	error = commit_locked(steer, takeover);
	steer->in_force = !error;
	(void)close(lock);
	return error;
}
