// SPDX-License-Identifier: MIT
/*
 * show_carriers.c - sessions that carry others (mux), and what they hold of memory.
 *
 *   role    "server": its client opens the streams; "client": we do
 */
#include "control/command.h"
#include "session/carrier.h"
#include "session/session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* As in show_sessions.c: plain copies, the JSON is made by who asked. */
struct row {
	uint64_t id, age_ms;
	unsigned worker;
	const char *inbound, *user, *outbound;
	struct cv_carrier_report report;
};

struct row_list {
	struct row *rows;
	size_t count, size;
	bool failed;
};

static struct row *next_row(struct row_list *list)
{
	struct row *rows =
		cv_show_room(list->rows, list->count, &list->size, sizeof(*list->rows));

	if (!rows)
		return NULL;
	list->rows = rows;
	return &rows[list->count];
}

static void list_carrier(struct cv_worker_visit *visit, struct cv_session *session)
{
	struct row_list *list = visit->context;
	struct cv_carrier_report report;
	struct row *row;

	if (!cv_carrier_report(session, &report))
		return;
	row = next_row(list);
	if (!row) {
		list->failed = true;
		return;
	}
	list->count++;
	*row = (struct row){
		.id = session->id,
		.age_ms = cv_ring_now_ms(session->worker->ring) - session->started_ms,
		.worker = session->worker->index,
		.inbound = session->inbound->tag,
		.user = cv_session_user_name(session),
		.outbound = cv_session_outbound_name(session),
		.report = report,
	};
}

static struct json_object *row_json(const struct row *row)
{
	const struct cv_carrier_report *report = &row->report;
	struct json_object *object = json_object_new_object();
	char id[40];

	snprintf(id, sizeof(id), "%u.%" PRIu64, row->worker, row->id);
	cv_json_text(object, "id", id);
	cv_json_text(object, "role", report->role == CV_CARRIER_SERVER ? "server" : "client");
	cv_json_bool(object, "reverse", report->is_reverse);
	cv_json_text(object, "inbound", row->inbound);
	cv_json_text(object, "user", row->user);
	cv_json_text(object, "outbound", row->outbound);
	cv_json_u64(object, "streams", report->streams);
	cv_json_u64(object, "streams_max", report->streams_max);
	cv_json_u64(object, "streams_total", report->streams_total);
	cv_json_u64(object, "received_bytes", report->received_bytes);
	cv_json_u64(object, "sent_bytes", report->sent_bytes);
	cv_json_u64(object, "input_bytes", report->input_bytes);
	cv_json_u64(object, "input_most_bytes", report->input_most_bytes);
	cv_json_u64(object, "output_bytes", report->output_bytes);
	cv_json_u64(object, "memory_bytes", report->memory_bytes);
	cv_json_u64(object, "blocked_ms", report->blocked_ms);
	cv_json_u64(object, "stalled_total", report->stalled);
	cv_json_u64(object, "dropped_total", report->dropped);
	cv_json_u64(object, "age_ms", row->age_ms);
	return object;
}

void cv_show_carriers(const struct cv_control_view *view, const char *argument,
		      struct json_object *answer)
{
	struct row_list list = {0};
	struct json_object *array = json_object_new_array();

	(void)argument;
	cv_show_visit(view, list_carrier, &list);
	for (size_t i = 0; i < list.count; i++)
		cv_json_append(array, row_json(&list.rows[i]));
	free(list.rows);
	cv_json_add(answer, "carriers", array);
	if (list.failed)
		cv_json_text(answer, "error", "out of memory");
}
