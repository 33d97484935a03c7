/* SPDX-License-Identifier: MIT */
/*
 * sim_allocations.h - whole sessions for which there is no memory: a run is repeated, and each time
 * another allocation of the program fails, alone or with those behind it.
 *
 * CULVERT_SIM_STARVE=N: at N places of each input, spread evenly (0: at all). =@N: at the N-th
 * allocation, to look into a finding. Whatever fails, what sim_world.h names is held to, nothing
 * leaks, and a client that comes afterwards is served.
 */
#ifndef CV_FUZZ_SIM_ALLOCATIONS_H
#define CV_FUZZ_SIM_ALLOCATIONS_H

#include "base/buffer.h"

#include <stdbool.h>

struct sim_world;

/** sim_run_starved() - Repeats @run while CULVERT_SIM_STARVE wants it. False: it does not. */
bool sim_run_starved(void (*run)(const struct sim_world *about, struct cv_span input),
		     const struct sim_world *about, struct cv_span input);
/** sim_starve_begin() - From here on the program's allocations count. */
void sim_starve_begin(void);
void sim_starve_end(void);
/** sim_starve_soon() - The @n-th allocation from now fails; not where each of them does. */
void sim_starve_soon(unsigned n);
/** sim_starve_hit() - One has failed in this run. */
bool sim_starve_hit(void);
/** sim_realloc() - The world's own, which never fails. */
void *sim_realloc(void *memory, size_t bytes);

#endif
