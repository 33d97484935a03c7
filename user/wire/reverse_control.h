/* SPDX-License-Identifier: MIT */
/*
 * reverse_control.h - what a portal tells a bridge about a tunnel: a protobuf message of two
 * fields, in each datagram of a sub-session to a name that is nobody's.
 *
 *   08 state 1 (absent: active)      9a 06 length random bytes, so that no two look the same
 */
#ifndef CV_WIRE_REVERSE_CONTROL_H
#define CV_WIRE_REVERSE_CONTROL_H

#include "base/address.h"
#include "base/buffer.h"

enum cv_reverse_state { CV_REVERSE_ACTIVE = 0, CV_REVERSE_DRAIN = 1 };

#define CV_REVERSE_RANDOM_MAX 64
#define CV_REVERSE_CONTROL_MAX (2 + 3 + CV_REVERSE_RANDOM_MAX)
#define CV_REVERSE_DOMAIN "reverse" /* the name, of those in use */

/** cv_reverse_control_write() - Returns the length; @random: at most CV_REVERSE_RANDOM_MAX bytes,
 * more are left out. Source: reverse 3.1. */
size_t cv_reverse_control_write(enum cv_reverse_state state, struct cv_span random,
				uint8_t ret_bytes[CV_REVERSE_CONTROL_MAX]);
/** cv_reverse_control_read() - 0; CV_PEER_DECODE: no protobuf, or a state of the future. Unknown
 * fields are skipped. */
int cv_reverse_control_read(struct cv_span bytes, enum cv_reverse_state *ret_state);
/** cv_reverse_is_control() - Is a sub-session to @destination the control's? By any of the three
 * names that programs use. */
bool cv_reverse_is_control(const struct cv_destination *destination);

#endif
