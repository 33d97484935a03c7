/* SPDX-License-Identifier: MIT */
/*
 * vless_versions.h - what clients learn of a server that may speak version 0 of VLESS or 1.
 *
 *   1 --closed three times in a row, unanswered--> 0 on trial --answered--> 0 for an hour --> 1
 *   ^                                                 |
 *   \--------------------unanswered-------------------/
 *
 * Whoever can close connections gets no further than to version 0, which a server has to answer.
 */
#ifndef CV_PROTOCOL_VLESS_VERSIONS_H
#define CV_PROTOCOL_VLESS_VERSIONS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define CV_VLESS_CLOSED_MAX 3
#define CV_VLESS_0_MS (3600u * 1000u)

/* Of one server, shared by all workers. */
struct cv_vless_versions {
	_Atomic uint32_t closed;   /* requests of version 1 in a row */
	_Atomic bool is_answered;  /* a request of version 0 on trial */
	_Atomic uint64_t until_ms; /* version 0 is used */
};

/**
 * cv_vless_versions_pick() - The version of the next request, 0 or 1.
 * @ret_is_news: true once: from now on it is 0 for an hour
 * Source: VLESS v1 14.4.
 */
uint8_t cv_vless_versions_pick(struct cv_vless_versions *versions, uint64_t now_ms,
			       bool *ret_is_news);
/** cv_vless_versions_answered() - The server has said something to a request of @version. */
void cv_vless_versions_answered(struct cv_vless_versions *versions, uint8_t version);
/** cv_vless_versions_closed() - It closed before it said anything; on trial also: it was left. */
void cv_vless_versions_closed(struct cv_vless_versions *versions, uint8_t version);

#endif
