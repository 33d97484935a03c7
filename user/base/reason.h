/* SPDX-License-Identifier: MIT */
#ifndef CV_BASE_REASON_H
#define CV_BASE_REASON_H

#include <culvert/reason.h>

#include <stddef.h>

/** cv_reason_count() - How many reasons exist; indices 0..count-1 are valid below. */
size_t cv_reason_count(void);

/** cv_reason_index() - Dense index of @reason for counter tables; -1 if it is none of ours. */
int cv_reason_index(int reason);

/** cv_reason_at() - The reason with dense index @index (0..count-1). */
int cv_reason_at(size_t index);

/** cv_reason_label() - Stable lower-case label ("peer_short_id"); "ok" for 0, "errno" for -errno,
 * "unknown" for anything else. */
const char *cv_reason_label(int reason);

/** cv_reason_text() - Sentence for people; strerror() text for -errno values. */
const char *cv_reason_text(int reason);

#endif
