// SPDX-License-Identifier: MIT
/*
 * vless_versions.c - which version of VLESS a client speaks with a server whose version it was not
 * told.
 *
 * Requests that are under way when something is learnt may still tell of the time before; that
 * moves the trial by a request or two, no more: version 0 is used on trial, or after an answer.
 */
#include "protocol/vless_versions.h"

uint8_t cv_vless_versions_pick(struct cv_vless_versions *versions, uint64_t now_ms,
			       bool *ret_is_news)
{
	*ret_is_news = false;
	if (atomic_exchange(&versions->is_answered, false)) {
		atomic_store(&versions->closed, 0);
		atomic_store(&versions->until_ms, now_ms + CV_VLESS_0_MS);
		*ret_is_news = true;
	}
	if (now_ms < atomic_load(&versions->until_ms))
		return 0;
	if (atomic_exchange(&versions->until_ms, 0) != 0)
		atomic_store(&versions->closed, 0);
	return atomic_load(&versions->closed) < CV_VLESS_CLOSED_MAX;
}

void cv_vless_versions_answered(struct cv_vless_versions *versions, uint8_t version)
{
	if (version != 0)
		atomic_store(&versions->closed, 0);
	else if (atomic_load(&versions->closed) >= CV_VLESS_CLOSED_MAX)
		atomic_store(&versions->is_answered, true);
}

void cv_vless_versions_closed(struct cv_vless_versions *versions, uint8_t version)
{
	if (version != 0)
		atomic_fetch_add(&versions->closed, 1);
	else if (!atomic_load(&versions->is_answered))
		atomic_store(&versions->closed, 0);
}
