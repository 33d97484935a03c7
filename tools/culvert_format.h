/* SPDX-License-Identifier: MIT */
/*
 * culvert_format.h - numbers for people.
 */
#ifndef CULVERT_TOOLS_CULVERT_FORMAT_H
#define CULVERT_TOOLS_CULVERT_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#define CV_NUMBER_TEXT 24 /* enough for each of them */

/** cv_format_bytes() - Powers of 1024: "512 B", "1.2 MiB". */
void cv_format_bytes(uint64_t bytes, char text[CV_NUMBER_TEXT]);
/** cv_format_rate() - Powers of 1000, as links are sold: "3.4 MB/s". */
void cv_format_rate(uint64_t bytes_per_s, char text[CV_NUMBER_TEXT]);
/** cv_format_age() - "45s", "2m05s", "3h12m", "4d06h". */
void cv_format_age(uint64_t ms, char text[CV_NUMBER_TEXT]);
/** cv_format_us() - "850 us", "12.3 ms", "1.5 s". */
void cv_format_us(uint64_t us, char text[CV_NUMBER_TEXT]);
/** cv_format_by_key() - By what @key's end says that @value is: "bytes", "bytes_per_s", "_ms",
 * "_us"; else the plain number. */
void cv_format_by_key(const char *key, uint64_t value, char text[CV_NUMBER_TEXT]);

#endif
