/* SPDX-License-Identifier: MIT */
#ifndef CV_PROTOCOL_UPSTREAM_REASON_H
#define CV_PROTOCOL_UPSTREAM_REASON_H

#include <culvert/reason.h>

#include <stdbool.h>

/**
 * cv_upstream_reason() - The CV_UPSTREAM_ name of a fault that shared code reports as CV_PEER_.
 *
 * Codecs cannot know on which leg they run and blame the accepted client; a layer on the upstream
 * leg passes their results through here. Anything else (0, -errno, CV_INTERNAL_) comes back
 * unchanged.
 */
int cv_upstream_reason(int reason);

/** cv_upstream_is_answer() - A proxy's word about the destination: asking again would bring the
 * same, and going around it is not wanted. */
bool cv_upstream_is_answer(int reason);

#endif
