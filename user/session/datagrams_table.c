// SPDX-License-Identifier: MIT
/*
 * datagrams_table.c - the destinations of one client's datagrams: by name, and by last use.
 *
 * There are at most DESTINATIONS_MAX of them; one more takes the place of the one that was not used
 * for the longest time.
 */
#include "session/datagrams_state.h"

#include "session/waiting.h"

#include <stdlib.h>
#include <string.h>

#define DESTINATIONS_MAX 256

static size_t key_of(const struct cv_destination *name, const void **ret_key)
{
	*ret_key = name->ipv6;
	if (name->kind == CV_ADDRESS_DOMAIN)
		return strlen(name->domain);
	return name->kind == CV_ADDRESS_IPV4 ? sizeof(name->ipv4) : sizeof(name->ipv6);
}

/* A client that finds collisions makes only its own list longer, up to DESTINATIONS_MAX. */
static struct cv_datagram_destination **bucket_of(struct cv_datagrams *datagrams,
						  const struct cv_destination *name)
{
	const void *key;
	const size_t len_bytes = key_of(name, &key);
	uint32_t hash = 2166136261u ^ name->port;

	for (size_t i = 0; i < len_bytes; i++)
		hash = (hash ^ ((const uint8_t *)key)[i]) * 16777619u;
	return &datagrams->buckets[(hash ^ hash >> 16) & (CV_DATAGRAM_BUCKETS - 1)];
}

static bool same_name(const struct cv_destination *one, const struct cv_destination *other)
{
	const void *keys[2];
	const size_t len_bytes = key_of(one, &keys[0]);

	return one->kind == other->kind && one->port == other->port &&
	       key_of(other, &keys[1]) == len_bytes && memcmp(keys[0], keys[1], len_bytes) == 0;
}

static void unlink_use(struct cv_datagram_destination *destination)
{
	struct cv_datagrams *datagrams = destination->datagrams;

	*(destination->newer ? &destination->newer->older : &datagrams->newest) =
		destination->older;
	*(destination->older ? &destination->older->newer : &datagrams->oldest) =
		destination->newer;
	destination->newer = destination->older = NULL;
}

static void link_use(struct cv_datagram_destination *destination)
{
	struct cv_datagrams *datagrams = destination->datagrams;

	destination->older = datagrams->newest;
	*(datagrams->newest ? &datagrams->newest->newer : &datagrams->oldest) = destination;
	datagrams->newest = destination;
	destination->used_ms = cv_datagrams_now_ms(datagrams);
}

static void stop_resolving(struct cv_datagram_destination *destination)
{
	if (!destination->resolving)
		return;
	cv_resolve_cancel(&destination->query);
	destination->resolving = false;
	destination->datagrams->resolving_count--;
}

void cv_datagram_destination_forget(struct cv_datagram_destination *destination)
{
	struct cv_datagrams *datagrams = destination->datagrams;
	struct cv_datagram_destination **at = bucket_of(datagrams, &destination->name);

	while (*at != destination)
		at = &(*at)->next;
	*at = destination->next;
	unlink_use(destination);
	stop_resolving(destination);
	cv_buffer_done(&destination->waiting);
	datagrams->renamed_count -= destination->is_renamed;
	datagrams->destination_count--;
	if (destination->owns_carrier) {
		datagrams->owned_carriers--;
		cv_datagram_carrier_free(destination->carrier);
	}
	free(destination);
}

struct cv_datagram_destination *cv_datagram_destination_find(struct cv_datagrams *datagrams,
							     const struct cv_destination *name)
{
	struct cv_datagram_destination *destination = *bucket_of(datagrams, name);

	while (destination && !same_name(&destination->name, name))
		destination = destination->next;
	if (!destination)
		return NULL;
	if (destination->until_ms <= cv_datagrams_now_ms(datagrams)) {
		cv_datagram_destination_forget(destination);
		return NULL;
	}
	if (datagrams->newest != destination) {
		unlink_use(destination);
		link_use(destination);
	}
	destination->used_ms = cv_datagrams_now_ms(datagrams);
	return destination;
}

struct cv_datagram_destination *cv_datagram_destination_add(struct cv_datagrams *datagrams,
							    const struct cv_destination *name)
{
	struct cv_datagram_destination **bucket = bucket_of(datagrams, name), *destination;

	if (datagrams->destination_count >= DESTINATIONS_MAX)
		cv_datagram_destination_forget(datagrams->oldest);
	destination = calloc(1, sizeof(*destination));
	if (!destination)
		return NULL;
	destination->datagrams = datagrams;
	destination->name = *name;
	destination->until_ms = UINT64_MAX;
	destination->next = *bucket;
	*bucket = destination;
	cv_buffer_init(&destination->waiting, CV_WAITING_BYTES);
	datagrams->destination_count++;
	link_use(destination);
	return destination;
}

static bool answers_from(const struct cv_datagram_destination *destination,
			 const struct cv_destination *source)
{
	struct cv_destination address;

	return destination->is_renamed && destination->way == CV_WAY_DIRECT &&
	       cv_sockaddr_to_destination(&destination->addresses[0], &address) &&
	       same_name(&address, source);
}

const struct cv_datagram_destination *
cv_datagram_destination_behind(struct cv_datagrams *datagrams, const struct cv_destination *source)
{
	struct cv_datagram_destination *destination = NULL;

	if (datagrams->renamed_count > 0)
		for (destination = datagrams->newest;
		     destination && !answers_from(destination, source);)
			destination = destination->older;
	if (destination)
		return destination;
	destination = *bucket_of(datagrams, source);
	while (destination && !same_name(&destination->name, source))
		destination = destination->next;
	return destination;
}
