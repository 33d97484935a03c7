// SPDX-License-Identifier: MIT
/*
 * reverse.c - choices of bridges and portals, as the others make them (reverse 3).
 *
 * A tunnel belongs to the worker that accepted it; a portal knows of each worker only how many it
 * has, so that a session of a worker without any can be led to one that has some.
 */
#include "policy/reverse.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define RETRY_MAX_MS 1500
#define RETRY_FIRST_MS 200
#define JITTER_MS 500

/* ---- choices ------------------------------------------------------------------------------ */

static size_t pick_among(const struct cv_tunnel_view *tunnels, size_t count, bool draining)
{
	size_t picked = CV_REVERSE_NO_TUNNEL;

	for (size_t i = 0; i < count; i++) {
		const struct cv_tunnel_view *tunnel = &tunnels[i];

		if (tunnel->lost || tunnel->draining != draining ||
		    tunnel->total >= CV_REVERSE_IDS_MAX)
			continue;
		if (picked == CV_REVERSE_NO_TUNNEL || tunnel->streams < tunnels[picked].streams)
			picked = i;
	}
	return picked;
}

size_t cv_reverse_pick(const struct cv_tunnel_view *tunnels, size_t count)
{
	const size_t picked = pick_among(tunnels, count, false);

	return picked == CV_REVERSE_NO_TUNNEL ? pick_among(tunnels, count, true) : picked;
}

bool cv_reverse_is_worn(uint64_t total)
{
	return total > CV_REVERSE_DRAIN_AFTER;
}

bool cv_reverse_wants_more(uint32_t active, uint32_t streams)
{
	return active == 0 || streams / active > CV_REVERSE_STREAMS_PER_TUNNEL;
}

bool cv_reverse_opens(const struct cv_bridge_view *view)
{
	if (view->active == 0)
		return view->is_first;
	return cv_reverse_wants_more(view->active, view->streams) &&
	       view->active % view->worker_count == view->worker;
}

bool cv_reverse_is_silent(uint64_t heard_ms, uint64_t now_ms, bool is_drained)
{
	return now_ms >= heard_ms + (is_drained ? CV_REVERSE_DRAINED_MS : CV_REVERSE_SILENCE_MS);
}

uint32_t cv_reverse_retry_ms(uint32_t failures, uint32_t jitter)
{
	uint32_t wait_ms = RETRY_FIRST_MS;

	for (uint32_t i = 1; i < failures && wait_ms < RETRY_MAX_MS; i++)
		wait_ms *= 2;
	if (wait_ms > RETRY_MAX_MS)
		wait_ms = RETRY_MAX_MS;
	return wait_ms + (failures > 1 ? jitter % JITTER_MS : 0);
}

/* ---- portals ------------------------------------------------------------------------------ */

struct place {
	void *worker; /* NULL: has no tunnel */
	uint32_t active, draining;
};

struct cv_portal {
	_Atomic uint32_t owner_count;
	char *domain, *control_domain;
	pthread_mutex_t lock;
	size_t next; /* place to be asked first */
	struct place places[CV_PORTAL_PLACES];
};

struct cv_portal *cv_portal_new(const char *domain, const char *control_domain)
{
	struct cv_portal *portal = calloc(1, sizeof(*portal));

	if (!portal)
		return NULL;
	atomic_init(&portal->owner_count, 1);
	pthread_mutex_init(&portal->lock, NULL);
	portal->domain = strdup(domain);
	portal->control_domain = strdup(control_domain);
	return portal->domain && portal->control_domain ? portal : cv_portal_free(portal);
}

struct cv_portal *cv_portal_share(struct cv_portal *portal)
{
	atomic_fetch_add(&portal->owner_count, 1);
	return portal;
}

struct cv_portal *cv_portal_free(struct cv_portal *portal)
{
	if (!portal || atomic_fetch_sub(&portal->owner_count, 1) > 1)
		return NULL;
	pthread_mutex_destroy(&portal->lock);
	free(portal->domain);
	free(portal->control_domain);
	free(portal);
	return NULL;
}

const char *cv_portal_domain(const struct cv_portal *portal)
{
	return portal->domain;
}

const char *cv_portal_control_domain(const struct cv_portal *portal)
{
	return portal->control_domain;
}

bool cv_portal_is_tunnel(const struct cv_portal *portal, const struct cv_destination *destination)
{
	return destination->kind == CV_ADDRESS_DOMAIN &&
	       strcasecmp(destination->domain, portal->domain) == 0;
}

void cv_portal_note(struct cv_portal *portal, size_t place, void *worker, uint32_t active,
		    uint32_t draining)
{
	if (place >= CV_PORTAL_PLACES)
		return;
	pthread_mutex_lock(&portal->lock);
	portal->places[place] = (struct place){
		.worker = active + draining ? worker : NULL,
		.active = active,
		.draining = draining,
	};
	pthread_mutex_unlock(&portal->lock);
}

static bool is_wanted(const struct place *place, bool draining)
{
	return place->worker && (draining ? place->draining : place->active) > 0;
}

static struct place *find(struct cv_portal *portal, size_t but_place, bool draining)
{
	for (size_t i = 0; i < CV_PORTAL_PLACES; i++) {
		const size_t at = (portal->next + i) % CV_PORTAL_PLACES;

		if (at == but_place || !is_wanted(&portal->places[at], draining))
			continue;
		portal->next = at + 1;
		return &portal->places[at];
	}
	return NULL;
}

size_t cv_portal_elsewhere(struct cv_portal *portal, size_t place,
			   void (*post)(void *worker, void *context), void *context)
{
	struct place *found;

	pthread_mutex_lock(&portal->lock);
	found = find(portal, place, false);
	if (!found)
		found = find(portal, place, true);
	if (found)
		post(found->worker, context);
	pthread_mutex_unlock(&portal->lock);
	return found ? (size_t)(found - portal->places) : CV_PORTAL_PLACES;
}

bool cv_portal_has_tunnel(struct cv_portal *portal, size_t place)
{
	bool result;

	if (place >= CV_PORTAL_PLACES)
		return false;
	pthread_mutex_lock(&portal->lock);
	result = portal->places[place].worker;
	pthread_mutex_unlock(&portal->lock);
	return result;
}

void cv_portal_count(struct cv_portal *portal, uint32_t *ret_active, uint32_t *ret_draining)
{
	uint32_t active = 0, draining = 0;

	pthread_mutex_lock(&portal->lock);
	for (size_t i = 0; i < CV_PORTAL_PLACES; i++) {
		active += portal->places[i].active;
		draining += portal->places[i].draining;
	}
	pthread_mutex_unlock(&portal->lock);
	*ret_active = active;
	*ret_draining = draining;
}
