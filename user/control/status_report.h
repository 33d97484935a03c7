/* SPDX-License-Identifier: MIT */
/*
 * status_report.h - what the status endpoint tells, gathered from the topics of command.h.
 */
#ifndef CV_CONTROL_STATUS_REPORT_H
#define CV_CONTROL_STATUS_REPORT_H

#include "control/command.h"

struct cv_status_process {
	const char *version;
	uint64_t started_ms;	  /* monotonic */
	uint64_t started_wall_ms; /* Unix time */
};

/** cv_status_json() - For /status.json: what a page can show, long lists cut to their liveliest.
 * To be freed by json_object_put(); NULL: no memory. */
struct json_object *cv_status_json(const struct cv_control_view *view,
				   const struct cv_status_process *process);
/** cv_status_metrics() - For /metrics: Prometheus text format 0.0.4. malloc'ed; NULL: no memory.
 * The configuration's first max_users people have counters of their own, others are "other".
 * Source: Prometheus, exposition formats. */
char *cv_status_metrics(const struct cv_control_view *view, const struct cv_status_process *process,
			size_t *ret_len);

/** cv_status_gather() - All topics that are lists, and "reasons" as one: {reason, text, count}.
 * NULL: no memory. */
struct json_object *cv_status_gather(const struct cv_control_view *view);

#endif
