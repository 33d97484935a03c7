// SPDX-License-Identifier: MIT
/*
 * sim_allocations.c - see sim_allocations.h. Where an allocation can fail is known from a run in
 * which none does; the world repeats itself exactly (clock, randomness), up to the one that fails.
 */
#include "sim_allocations.h"

#include "check.h"
#include "failing_allocations.h"
#include "sim_people.h"

#include <limits.h>
#include <nghttp2/nghttp2.h>
#include <sanitizer/allocator_interface.h>
#include <sanitizer/lsan_interface.h>
#include <stdio.h>

#define IN_A_ROW 20

/* A frame that it cannot pack is nobody's any more: 1.52 leaks it. */
FAILING_NOT_IN(ssize_t, nghttp2_session_mem_send,
	       (nghttp2_session *session, const uint8_t **ret_frame), (session, ret_frame))

static struct {
	long at, count; /* the @at-th fails, and so do the @count - 1 behind it */
} starved;
static bool was_hit;

void *sim_realloc(void *memory, size_t bytes)
{
	void *const result = FAILING_REAL(realloc)(memory, bytes);

	check(result != NULL);
	return result;
}

/* Whom the program serves no longer now has been let down: that is no mistake of it. */
static void told(void)
{
	was_hit = true;
	sim_people.was_rude = true;
	if (sim_is_traced())
		__sanitizer_print_stack_trace();
}

void sim_starve_begin(void)
{
	was_hit = false;
	failing_told = told;
	if (starved.at > 0)
		failing_begin(FAILING_ME, starved.at, starved.count);
}

void sim_starve_end(void)
{
	(void)failing_end();
}

void sim_starve_soon(unsigned n)
{
	if (starved.at == 0)
		failing_begin(FAILING_ME, 1 + (long)n, 1);
}

bool sim_starve_hit(void)
{
	return was_hit;
}

struct starving {
	void (*run)(const struct sim_world *about, struct cv_span input);
	const struct sim_world *about;
	struct cv_span input;
};

static void run_at(const struct starving *what, long at, long count)
{
	const size_t before = __sanitizer_get_current_allocated_bytes();

	starved.at = at;
	starved.count = count;
	if (sim_is_traced())
		fprintf(stderr, "without allocation %ld, %ld in a row\n", at, count);
	what->run(what->about, what->input);
	starved.at = 0;
	/* libraries keep some */
	if (__sanitizer_get_current_allocated_bytes() != before)
		check(__lsan_do_recoverable_leak_check() == 0);
}

/* Inputs begin at different places, so that several see more together. */
static long first_place(struct cv_span input, long step)
{
	unsigned long sum = 0;

	for (size_t i = 0; i < input.len_bytes; i++)
		sum = sum * 31 + input.data[i];
	return 1 + (long)(sum % (unsigned long)step);
}

bool sim_run_starved(void (*run)(const struct sim_world *about, struct cv_span input),
		     const struct sim_world *about, struct cv_span input)
{
	const char *places = getenv("CULVERT_SIM_STARVE");
	const struct starving what = {.run = run, .about = about, .input = input};
	long count, step;

	if (!places)
		return false;
	run(about, input); /* libraries prepare themselves */
	run_at(&what, LONG_MAX, 1);
	count = LONG_MAX - atomic_load(&failing_left);
	step = strtol(places, NULL, 10);
	step = step > 0 ? count / step + 1 : 1;
	if (sim_is_traced())
		fprintf(stderr, "%ld allocations\n", count);
	if (places[0] == '@') {
		run_at(&what, strtol(places + 1, NULL, 10), 1);
		run_at(&what, strtol(places + 1, NULL, 10), IN_A_ROW);
		return true;
	}
	for (long at = first_place(input, step); at <= count; at += step) {
		run_at(&what, at, 1);
		run_at(&what, at, IN_A_ROW);
	}
	return true;
}
