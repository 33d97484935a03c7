// SPDX-License-Identifier: MIT
/*
 * sequence.c - bytes that both ends know: a table, read in circles from a place that the seed says,
 * so that a byte lost, doubled or of another stream is seen.
 */
#include "load/hostile.h"

static uint8_t table[SEQUENCE_PERIOD];

static void fill(void)
{
	uint32_t state = 1;

	for (size_t i = 0; i < SEQUENCE_PERIOD; i++) {
		state = state * 1664525 + 1013904223;
		table[i] = (uint8_t)(state >> 24);
	}
}

const uint8_t *sequence_at(uint32_t seed, uint64_t offset, size_t *ret_len)
{
	const size_t at = (seed + offset) % SEQUENCE_PERIOD;

	if (table[0] == 0 && table[1] == 0)
		fill();
	if (*ret_len > SEQUENCE_PERIOD - at)
		*ret_len = SEQUENCE_PERIOD - at;
	return table + at;
}

void request_put(uint8_t out[REQUEST_BYTES], char kind, uint32_t length, uint32_t seed)
{
	out[0] = (uint8_t)kind;
	for (int i = 0; i < 4; i++) {
		out[1 + i] = (uint8_t)(length >> (24 - 8 * i));
		out[5 + i] = (uint8_t)(seed >> (24 - 8 * i));
	}
}
