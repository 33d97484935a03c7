// SPDX-License-Identifier: MIT
/*
 * backend.c - backends: up or down.
 */
#include "policy/backend.h"

#include <stdatomic.h>
#include <stdlib.h>

struct cv_backend *cv_backend_new(void)
{
	return calloc(1, sizeof(struct cv_backend));
}

struct cv_backend *cv_backend_free(struct cv_backend *backend)
{
	if (!backend)
		return NULL;
	free(backend->name);
	free(backend->address_text);
	free(backend);
	return NULL;
}

bool cv_backend_note(struct cv_backend *backend, bool is_good)
{
	const bool is_down = atomic_load_explicit(&backend->is_down, memory_order_relaxed);

	atomic_fetch_add_explicit(&backend->checks, 1, memory_order_relaxed);
	if (!is_good)
		atomic_fetch_add_explicit(&backend->failed_checks, 1, memory_order_relaxed);
	if (is_good != is_down) { /* as it was */
		backend->run = 0;
		return false;
	}
	if (++backend->run < (is_down ? backend->rise : backend->fall))
		return false;
	backend->run = 0;
	atomic_store_explicit(&backend->is_down, !is_down, memory_order_relaxed);
	return true;
}
