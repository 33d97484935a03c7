// SPDX-License-Identifier: MIT
/*
 * sockmap.c - which indices of the relay maps are this worker's, and when to look at them.
 *
 *   chunk: free --owner 0 -> us (compare and swap)--> ours, to the worker's end
 *          its owner is dead --------------------^
 *   slot:  unused -> taken -> retired -> (its sockets closed: the kernel emptied it) -> taken
 *
 * A slot is never emptied by hand: taking a live socket out of a sockmap loses bytes. So a retired
 * one waits in a queue until its turn, and is tried then: BPF_NOEXIST says whether it is empty.
 *
 * The program cannot wake the daemon when it stops redirecting a flow: a poll for input would wake
 * it for each packet, and a ring buffer has one reader while the maps have several processes. It
 * adds one to the chunk's events, and one timer per worker looks at the few chunks it has: every 20
 * ms while bytes move, five times a second else. 20 ms are less than what a stopped flow has queued
 * in its sink lasts at 50 MB/s; faster flows lose 2 % once per hold.
 */
#include "engine/sockmap.h"

#include "base/clock.h"
#include "base/container.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define TICK_BUSY_MS 20
#define TICK_CALM_MS 200
#define ACTIVE_MS 2000
#define TRIES 16 /* retired slots looked at before a new chunk is claimed */
#define PROCESS_BITS 42

struct chunk {
	uint32_t number;
	uint64_t events; /* of struct cv_relay_chunk, when last looked */
	struct cv_sockmap_slot slots[CV_RELAY_CHUNK];
};

struct cv_sockmap {
	const struct cv_kernel *kernel;
	struct cv_ring *ring;
	struct cv_relay_flow *flows;   /* mapped, CV_RELAY_FLOWS */
	struct cv_relay_chunk *shared; /* mapped, CV_RELAY_CHUNKS */
	struct chunk *chunks[CV_RELAY_CHUNKS]; /* by number; NULL = not ours */
	uint64_t process;
	uint32_t retired_first, retired_last, retired_count, used_count;
	uint32_t waiting_first;
	uint64_t active_ms;
	struct cv_timer timer;
};

/* ---- processes ---------------------------------------------------------------------------- */

/* Field 22 of /proc/PID/stat, in ticks since boot. The name before it may hold anything. */
static uint64_t start_ticks(uint64_t pid)
{
	char path[64], text[1024], *at;
	uint64_t ticks = 0;
	size_t size;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	size = fread(text, 1, sizeof(text) - 1, file);
	(void)fclose(file);
	text[size] = '\0';
	at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (at)
		ticks = strtoull(at + 1, NULL, 10);
	return ticks & ((1ull << PROCESS_BITS) - 1);
}

static uint64_t process_of(uint64_t pid)
{
	uint64_t ticks = start_ticks(pid);

	return ticks ? pid << PROCESS_BITS | ticks : 0;
}

uint64_t cv_sockmap_process(void)
{
	return process_of((uint64_t)getpid());
}

/* ---- chunks ------------------------------------------------------------------------------- */

static bool owner_take(struct cv_sockmap *sockmap, uint32_t number)
{
	uint64_t *owner = (uint64_t *)&sockmap->shared[number].owner;
	uint64_t present = __atomic_load_n(owner, __ATOMIC_RELAXED);

	if (present == sockmap->process)
		return false; /* another worker's */
	if (present && process_of(present >> PROCESS_BITS) == present)
		return false;
	return __atomic_compare_exchange_n(owner, &present, sockmap->process, false,
					   __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void retire(struct cv_sockmap *sockmap, struct cv_sockmap_slot *slot)
{
	slot->next = CV_SOCKMAP_NO_SLOT;
	if (sockmap->retired_count)
		cv_sockmap_slot(sockmap, sockmap->retired_last)->next = slot->index;
	else
		sockmap->retired_first = slot->index;
	sockmap->retired_last = slot->index;
	sockmap->retired_count++;
}

/* Before the others: these are known to be empty. */
static void retire_first(struct cv_sockmap *sockmap, struct cv_sockmap_slot *slot)
{
	if (!sockmap->retired_count)
		sockmap->retired_last = slot->index;
	slot->next = sockmap->retired_count ? sockmap->retired_first : CV_SOCKMAP_NO_SLOT;
	sockmap->retired_first = slot->index;
	sockmap->retired_count++;
}

static int chunk_claim(struct cv_sockmap *sockmap)
{
	uint32_t number = 0;
	struct chunk *chunk;

	while (number < CV_RELAY_CHUNKS && !owner_take(sockmap, number))
		number++;
	if (number == CV_RELAY_CHUNKS)
		return -ENOSPC;
	chunk = calloc(1, sizeof(*chunk));
	if (!chunk) {
		__atomic_store_n(&sockmap->shared[number].owner, 0, __ATOMIC_RELEASE);
		return -ENOMEM;
	}
	chunk->number = number;
	chunk->events = sockmap->shared[number].events;
	sockmap->chunks[number] = chunk;
	for (uint32_t i = CV_RELAY_CHUNK; i-- > 0;) {
		chunk->slots[i].index = number * CV_RELAY_CHUNK + i;
		chunk->slots[i].kernel = &sockmap->flows[chunk->slots[i].index];
		retire_first(sockmap, &chunk->slots[i]);
	}
	return 0;
}

/* ---- time --------------------------------------------------------------------------------- */

static void look_at_events(struct cv_sockmap *sockmap, struct chunk *chunk)
{
	uint64_t events = __atomic_load_n(&sockmap->shared[chunk->number].events, __ATOMIC_ACQUIRE);

	if (events == chunk->events)
		return;
	chunk->events = events;
	for (uint32_t i = 0; i < CV_RELAY_CHUNK; i++)
		if (chunk->slots[i].flow)
			cv_sockmap_limited(&chunk->slots[i]);
}

/* The soonest of what still waits is returned. */
static uint64_t run_waiting(struct cv_sockmap *sockmap, uint64_t now_ms)
{
	uint32_t index = sockmap->waiting_first;
	uint64_t soonest_ms = UINT64_MAX;

	sockmap->waiting_first = CV_SOCKMAP_NO_SLOT;
	while (index != CV_SOCKMAP_NO_SLOT) {
		struct cv_sockmap_slot *slot = cv_sockmap_slot(sockmap, index);

		index = slot->next;
		slot->waiting = false;
		if (!slot->flow)
			retire(sockmap, slot);
		else if (slot->due_ms <= now_ms)
			cv_sockmap_due(slot);
		else
			cv_sockmap_wait(sockmap, slot, (uint32_t)(slot->due_ms - now_ms));
	}
	for (index = sockmap->waiting_first; index != CV_SOCKMAP_NO_SLOT;
	     index = cv_sockmap_slot(sockmap, index)->next)
		if (cv_sockmap_slot(sockmap, index)->due_ms < soonest_ms)
			soonest_ms = cv_sockmap_slot(sockmap, index)->due_ms;
	return soonest_ms;
}

static void tick(struct cv_timer *timer)
{
	struct cv_sockmap *sockmap = cv_container_of(timer, struct cv_sockmap, timer);
	uint64_t now_ms = cv_ring_now_ms(sockmap->ring), due_ms;

	for (uint32_t number = 0; number < CV_RELAY_CHUNKS; number++)
		if (sockmap->chunks[number])
			look_at_events(sockmap, sockmap->chunks[number]);
	due_ms = run_waiting(sockmap, now_ms);
	if (due_ms > now_ms + TICK_BUSY_MS && now_ms < sockmap->active_ms + ACTIVE_MS)
		due_ms = now_ms + TICK_BUSY_MS;
	if (due_ms > now_ms + TICK_CALM_MS)
		due_ms = now_ms + TICK_CALM_MS;
	if (sockmap->used_count) /* never at once: other timers want their turn, too */
		cv_timer_arm(sockmap->ring, timer, due_ms > now_ms ? due_ms : now_ms + 1);
}

static void tick_within(struct cv_sockmap *sockmap, uint32_t delay_ms)
{
	uint64_t due_ms = cv_ring_now_ms(sockmap->ring) + delay_ms;

	if (sockmap->timer.heap_index == 0 || sockmap->timer.due_ms > due_ms)
		cv_timer_arm(sockmap->ring, &sockmap->timer, due_ms);
}

void cv_sockmap_wait(struct cv_sockmap *sockmap, struct cv_sockmap_slot *slot, uint32_t delay_ms)
{
	slot->due_ms = cv_ring_now_ms(sockmap->ring) + delay_ms;
	if (!slot->waiting) {
		slot->waiting = true;
		slot->next = sockmap->waiting_first;
		sockmap->waiting_first = slot->index;
	}
	tick_within(sockmap, delay_ms);
}

void cv_sockmap_active(struct cv_sockmap *sockmap)
{
	sockmap->active_ms = cv_ring_now_ms(sockmap->ring);
	tick_within(sockmap, TICK_BUSY_MS);
}

/* ---- slots -------------------------------------------------------------------------------- */

struct cv_sockmap_slot *cv_sockmap_slot(struct cv_sockmap *sockmap, uint32_t index)
{
	return &sockmap->chunks[index / CV_RELAY_CHUNK]->slots[index % CV_RELAY_CHUNK];
}

static struct cv_sockmap_slot *retired_pop(struct cv_sockmap *sockmap)
{
	struct cv_sockmap_slot *slot = cv_sockmap_slot(sockmap, sockmap->retired_first);

	sockmap->retired_first = slot->next;
	sockmap->retired_count--;
	return slot;
}

/* Both sockets that @slot served are closed, if this is not -EEXIST. */
static int slot_fill(struct cv_sockmap *sockmap, struct cv_sockmap_slot *slot, int sink_fd)
{
	const struct cv_kernel *kernel = sockmap->kernel;
	uint64_t value;

	if (bpf_map_lookup_elem(kernel->relay_sources_fd, &slot->index, &value) == 0)
		return -EEXIST;
	value = (uint64_t)sink_fd;
	if (bpf_map_update_elem(kernel->relay_sinks_fd, &slot->index, &value, BPF_NOEXIST) < 0)
		return -errno;
	if (slot->kernel->source_cookie)
		(void)bpf_map_delete_elem(kernel->relay_slots_fd, &slot->kernel->source_cookie);
	memset(slot->kernel, 0, sizeof(*slot->kernel));
	return 0;
}

static void slot_begin(struct cv_sockmap *sockmap, struct cv_sockmap_slot *slot,
		       struct cv_flow *flow)
{
	*slot = (struct cv_sockmap_slot){
		.flow = flow,
		.kernel = slot->kernel,
		.index = slot->index,
		.next = CV_SOCKMAP_NO_SLOT,
	};
	sockmap->used_count++;
	cv_sockmap_active(sockmap);
}

int cv_sockmap_take(struct cv_sockmap *sockmap, struct cv_flow *flow,
		    struct cv_sockmap_slot **ret_slot)
{
	for (uint32_t tries = 0, claimed = 0; claimed < 2;) {
		struct cv_sockmap_slot *slot;
		int error = 0;

		if (tries++ >= TRIES || !sockmap->retired_count) {
			error = chunk_claim(sockmap);
			claimed++;
			if (error && !sockmap->retired_count)
				return error;
			tries = 0;
		}
		slot = retired_pop(sockmap);
		error = slot_fill(sockmap, slot, flow->sink_fd);
		if (!error) {
			slot_begin(sockmap, slot, flow);
			*ret_slot = slot;
			return 0;
		}
		retire(sockmap, slot);
		if (error != -EEXIST)
			return error;
	}
	return -ENOSPC;
}

void cv_sockmap_give(struct cv_sockmap *sockmap, struct cv_sockmap_slot *slot)
{
	slot->flow = NULL;
	sockmap->used_count--;
	if (!slot->waiting) /* else the next tick does */
		retire(sockmap, slot);
	else
		tick_within(sockmap, TICK_CALM_MS);
}

uint32_t cv_sockmap_used(const struct cv_sockmap *sockmap)
{
	return sockmap->used_count;
}

/* ---- life --------------------------------------------------------------------------------- */

static void *map_memory(int fd, size_t size_bytes)
{
	void *memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

int cv_sockmap_new(const struct cv_kernel *kernel, struct cv_ring *ring,
		   struct cv_sockmap **ret_sockmap)
{
	struct cv_sockmap *sockmap = calloc(1, sizeof(*sockmap));

	if (!sockmap)
		return -ENOMEM;
	sockmap->kernel = kernel;
	sockmap->ring = ring;
	sockmap->timer.due = tick;
	sockmap->waiting_first = CV_SOCKMAP_NO_SLOT;
	sockmap->process = cv_sockmap_process();
	sockmap->flows =
		map_memory(kernel->relay_flows_fd, CV_RELAY_FLOWS * sizeof(*sockmap->flows));
	if (sockmap->flows)
		sockmap->shared = map_memory(kernel->relay_chunks_fd,
					     CV_RELAY_CHUNKS * sizeof(*sockmap->shared));
	if (!sockmap->shared || !sockmap->process) {
		int error = sockmap->process ? -errno : -ESRCH;

		cv_sockmap_free(sockmap);
		return error;
	}
	*ret_sockmap = sockmap;
	return 0;
}

struct cv_sockmap *cv_sockmap_free(struct cv_sockmap *sockmap)
{
	if (!sockmap)
		return NULL;
	cv_timer_disarm(sockmap->ring, &sockmap->timer);
	for (uint32_t number = 0; number < CV_RELAY_CHUNKS; number++) {
		if (!sockmap->chunks[number])
			continue;
		free(sockmap->chunks[number]);
		__atomic_store_n(&sockmap->shared[number].owner, 0, __ATOMIC_RELEASE);
	}
	if (sockmap->shared)
		(void)munmap(sockmap->shared, CV_RELAY_CHUNKS * sizeof(*sockmap->shared));
	if (sockmap->flows)
		(void)munmap(sockmap->flows, CV_RELAY_FLOWS * sizeof(*sockmap->flows));
	free(sockmap);
	return NULL;
}

const struct cv_kernel *cv_sockmap_kernel(const struct cv_sockmap *sockmap)
{
	return sockmap->kernel;
}
