// SPDX-License-Identifier: MIT
/*
 * engine.c - the table of engines, and what they all do at a source's end.
 */
#include "engine/flow.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static const struct cv_engine *const engines[] = {&cv_engine_copy, &cv_engine_splice};

const struct cv_engine *cv_engine_find(const char *name)
{
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		if (strcmp(engines[i]->name, name) == 0)
			return engines[i];
	return NULL;
}

int cv_flow_half_close(struct cv_flow *flow)
{
	return shutdown(flow->sink_fd, SHUT_WR) < 0 ? -errno : 0;
}

void cv_flow_moved(struct cv_flow *flow, size_t count_bytes)
{
	flow->moved_bytes += count_bytes;
	flow->last_move_ms = cv_ring_now_ms(flow->env->ring);
}

void cv_flow_end(struct cv_flow *flow, int result, enum cv_flow_side side)
{
	flow->failed_side = side;
	if (result == 0 && cv_flow_half_close(flow) < 0) {
		/* ENOTCONN: the sink was reset before it could get its FIN */
		flow->failed_side = CV_FLOW_SINK;
		result = -ECONNRESET;
	}
	flow->ended(flow, result);
}
