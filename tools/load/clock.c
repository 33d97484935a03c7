// SPDX-License-Identifier: MIT
/*
 * clock.c - nanoseconds, and how they are distributed.
 */
#include "load.h"

#include <time.h>

#define PART_BITS 5

uint64_t cv_load_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * CV_LOAD_SECOND_NS + (uint64_t)now.tv_nsec;
}

static size_t bucket_of(uint64_t ns)
{
	size_t octave, bucket;

	if (ns < 1u << PART_BITS)
		return (size_t)ns;
	octave = (size_t)(63 - __builtin_clzll(ns));
	bucket = ((octave - PART_BITS + 1) << PART_BITS) +
		 ((ns >> (octave - PART_BITS)) & ((1u << PART_BITS) - 1));
	return bucket < CV_LOAD_BUCKETS ? bucket : CV_LOAD_BUCKETS - 1;
}

/* The first nanosecond that is not in it. */
static uint64_t end_of(size_t bucket)
{
	const size_t octave = bucket >> PART_BITS;
	const uint64_t part = bucket & ((1u << PART_BITS) - 1);

	if (octave == 0)
		return part + 1;
	return ((1ull << PART_BITS) + part + 1) << (octave - 1);
}

void cv_load_histogram_add(struct cv_load_histogram *histogram, uint64_t ns)
{
	histogram->count++;
	histogram->buckets[bucket_of(ns)]++;
	if (ns > histogram->max_ns)
		histogram->max_ns = ns;
}

void cv_load_histogram_merge(struct cv_load_histogram *histogram,
			     const struct cv_load_histogram *other)
{
	histogram->count += other->count;
	if (other->max_ns > histogram->max_ns)
		histogram->max_ns = other->max_ns;
	for (size_t i = 0; i < CV_LOAD_BUCKETS; i++)
		histogram->buckets[i] += other->buckets[i];
}

double cv_load_histogram_us(const struct cv_load_histogram *histogram, double part)
{
	uint64_t seen = 0;

	for (size_t i = 0; i < CV_LOAD_BUCKETS && histogram->count; i++) {
		seen += histogram->buckets[i];
		if ((double)seen >= part * (double)histogram->count) {
			const uint64_t ns = end_of(i);

			return (double)(ns < histogram->max_ns ? ns : histogram->max_ns) / 1e3;
		}
	}
	return 0;
}
