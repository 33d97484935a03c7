// SPDX-License-Identifier: MIT
/*
 * show_sessions.c - sessions as a list, and one of them with everything that is known about it.
 *
 * Both look on the worker that owns the session: what is shown of one session is of one instant.
 */
#include "control/command.h"
#include "session/handover.h"
#include "session/preamble.h"
#include "session/session.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_TEXT 40

/* What a worker says of one session: plain copies, which take it about a microsecond. The JSON is
 * made of them by the thread that asked. Strings not copied are constants or of the configuration.
 */
struct row {
	uint64_t id, age_ms, idle_ms;
	unsigned worker;
	const char *state, *inbound, *user, *outbound, *sni_class;
	struct cv_sockaddr client;
	char *destination; /* owned */
	struct {
		const char *engine;
		uint64_t bytes, kernel_bytes;
	} direction[2];
};

struct row_list {
	struct row *rows;
	size_t count, size;
	const char *who; /* sessions of this user only; "" = all */
	bool failed;	 /* out of memory: the list is not whole */
};

struct search {
	const char *id_text;
	struct json_object *array;
};

static void id_text(const struct cv_session *session, char text[ID_TEXT])
{
	snprintf(text, ID_TEXT, "%u.%" PRIu64, session->worker->index, session->id);
}

static void fill_direction(struct row *row, struct cv_session *session, enum cv_direction direction)
{
	struct cv_flow *flow = &session->flow[direction];

	row->direction[direction].bytes = cv_session_bytes(session, direction);
	row->direction[direction].kernel_bytes = flow->moved_bytes;
	row->direction[direction].engine = cv_engine_name(cv_engine_index(flow->engine));
}

/* Returns false when memory is out. */
static bool fill_row(struct row *row, struct cv_session *session)
{
	uint64_t now_ms = cv_ring_now_ms(session->worker->ring);

	cv_session_account(session);
	*row = (struct row){
		.id = session->id,
		.worker = session->worker->index,
		.state = cv_session_state_name(session),
		.inbound = session->inbound->tag,
		.user = cv_session_user_name(session),
		.outbound = cv_session_outbound_name(session),
		.sni_class = session->sni_class ? cv_show_class(session->config,
								session->sni_class)
						: "",
		.age_ms = now_ms - session->started_ms,
		.idle_ms = now_ms - cv_session_idle_since_ms(session),
	};
	if (!cv_session_client_address(session, &row->client))
		row->client.len_bytes = 0;
	fill_direction(row, session, CV_UPLINK);
	fill_direction(row, session, CV_DOWNLINK);
	if (!session->destination_text)
		return true;
	row->destination = strdup(session->destination_text);
	return row->destination != NULL;
}

/* ---- as JSON ------------------------------------------------------------------------------ */

static void add_direction(struct json_object *object, const char *key, const struct row *row,
			  enum cv_direction direction)
{
	struct json_object *member = json_object_new_object();

	cv_json_text(member, "engine", row->direction[direction].engine);
	cv_json_u64(member, "bytes", row->direction[direction].bytes);
	cv_json_u64(member, "kernel_bytes", row->direction[direction].kernel_bytes);
	cv_json_add(object, key, member);
}

/* Takes over what @row owns. */
static struct json_object *row_json(struct row *row)
{
	struct json_object *object = json_object_new_object();
	char id[ID_TEXT], client[CV_DESTINATION_TEXT] = "";

	snprintf(id, sizeof(id), "%u.%" PRIu64, row->worker, row->id);
	if (row->client.len_bytes)
		cv_sockaddr_format(&row->client, client);
	cv_json_text(object, "id", id);
	cv_json_u64(object, "worker", row->worker);
	cv_json_text(object, "state", row->state);
	cv_json_text(object, "inbound", row->inbound);
	cv_json_text(object, "user", row->user);
	cv_json_text(object, "client", client);
	cv_json_text(object, "outbound", row->outbound);
	cv_json_text(object, "destination", row->destination);
	cv_json_text(object, "sni_class", row->sni_class);
	add_direction(object, "uplink", row, CV_UPLINK);
	add_direction(object, "downlink", row, CV_DOWNLINK);
	cv_json_u64(object, "age_ms", row->age_ms);
	cv_json_u64(object, "idle_ms", row->idle_ms);
	free(row->destination);
	return object;
}

/* ---- details ------------------------------------------------------------------------------ */

static const char *transparency_text(enum cv_transparency transparency, bool penetrated)
{
	static const char *const texts[] = {
		[CV_OPAQUE] = "opaque", [CV_RECORDS] = "records", [CV_CLEAR] = "clear"};

	return penetrated ? "bypassed" : texts[transparency];
}

static void add_layers(struct json_object *object, const struct cv_leg *leg)
{
	struct json_object *array = json_object_new_array();
	size_t count = leg->stack ? leg->stack->count : 0;
	bool rx_bypassed = false, tx_bypassed = false;

	/* From the top: who penetrates is bypassed with all below. */
	for (size_t i = count; i-- > 0;) {
		const struct cv_layer *layer = leg->stack->layers[i];
		struct json_object *member = json_object_new_object();

		rx_bypassed |= layer->rx_penetrated;
		tx_bypassed |= layer->tx_penetrated;
		cv_json_text(member, "name", layer->ops->name);
		cv_json_text(member, "receiving", transparency_text(layer->rx, rx_bypassed));
		cv_json_text(member, "sending", transparency_text(layer->tx, tx_bypassed));
		cv_json_append(array, member);
	}
	cv_json_add(object, "layers", array);
}

static void add_tcp(struct json_object *object, int fd)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);
	struct json_object *member;

	if (fd < 0 || getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return; /* a unix socket */
	member = json_object_new_object();
	cv_json_u64(member, "rtt_us", info.tcpi_rtt);
	cv_json_u64(member, "congestion_window", info.tcpi_snd_cwnd);
	cv_json_u64(member, "retransmits", info.tcpi_total_retrans);
	cv_json_u64(member, "send_mss", info.tcpi_snd_mss);
	cv_json_u64(member, "receive_mss", info.tcpi_rcv_mss);
	if (info.tcpi_pacing_rate != UINT64_MAX)
		cv_json_u64(member, "pacing_bytes_per_s", info.tcpi_pacing_rate);
	cv_json_u64(member, "delivery_bytes_per_s", info.tcpi_delivery_rate);
	cv_json_u64(member, "not_sent_bytes", info.tcpi_notsent_bytes);
	cv_json_u64(member, "unacked_segments", info.tcpi_unacked);
	if (info.tcpi_max_pacing_rate != UINT64_MAX)
		cv_json_u64(member, "pacing_limit_bytes_per_s", info.tcpi_max_pacing_rate);
	cv_json_add(object, "tcp", member);
}

static void add_facts(struct json_object *object, const struct cv_leg *leg)
{
	static const struct {
		unsigned fact;
		const char *name;
	} names[] = {
		{CV_LEG_FIN_RECEIVED, "fin-received"}, {CV_LEG_APP_ENDED, "app-ended"},
		{CV_LEG_FIN_WANTED, "fin-wanted"},     {CV_LEG_FIN_SENT, "fin-sent"},
		{CV_LEG_RESET, "reset"},	       {CV_LEG_SEND_FAILED, "send-failed"},
	};
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (leg->facts & names[i].fact)
			cv_json_append(array, json_object_new_string(names[i].name));
	cv_json_add(object, "facts", array);
}

static void address_text(int fd, int (*get)(int, struct sockaddr *, socklen_t *),
			 char text[CV_DESTINATION_TEXT])
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.un)};

	text[0] = '\0';
	if (fd >= 0 && get(fd, &address.any, &address.len_bytes) == 0)
		cv_sockaddr_format(&address, text);
}

static void add_leg(struct json_object *object, const char *key, const struct cv_leg *leg)
{
	struct json_object *member = json_object_new_object();
	char text[CV_DESTINATION_TEXT];

	address_text(leg->fd, getsockname, text);
	cv_json_text(member, "local", text);
	address_text(leg->fd, getpeername, text);
	cv_json_text(member, "peer", text);
	add_layers(member, leg);
	add_facts(member, leg);
	cv_json_u64(member, "undecoded_bytes", cv_leg_undecoded(leg));
	cv_json_u64(member, "queued_bytes", cv_leg_queued(leg));
	add_tcp(member, leg->fd);
	cv_json_add(object, key, member);
}

static void explain_direction(struct json_object *object, const char *key,
			      const struct cv_session *session, enum cv_direction direction)
{
	struct json_object *member = json_object_object_get(object, key);
	char text[CV_HANDOVER_TEXT];

	cv_handover_describe(session, direction, text);
	cv_json_text(member, "state", text);
	cv_handover_why(session, direction, text);
	cv_json_text(member, "why_not_faster", text);
}

/* What engine/choice.h decides by. */
static void add_choice(struct json_object *object, const struct cv_session *session)
{
	struct json_object *member = json_object_new_object();

	cv_json_text(member, "configured", session->worker->config->daemon.engine);
	cv_json_bool(member, "promoting", session->promoting);
	cv_json_bool(member, "in_sockmap", session->in_sockmap);
	cv_json_u64(member, "busy_flows_of_worker", session->worker->busy_flows);
	cv_json_u64(member, "busy_flows_needed", CV_CHOICE_FLOWS);
	for (int d = CV_UPLINK; d <= CV_DOWNLINK; d++) {
		struct json_object *second = json_object_new_object();

		cv_json_u64(second, "last_second_bytes", session->second_bytes[d]);
		cv_json_u64(second, "wakes", session->second_wakes[d]);
		cv_json_u64(second, "full_sinks", session->second_fulls[d]);
		cv_json_add(member, d == CV_UPLINK ? "uplink" : "downlink", second);
	}
	cv_json_add(object, "choice", member);
}

/* ---- the two topics ----------------------------------------------------------------------- */

static struct row *next_row(struct row_list *list)
{
	struct row *rows =
		cv_show_room(list->rows, list->count, &list->size, sizeof(*list->rows));

	if (!rows)
		return NULL;
	list->rows = rows;
	return &rows[list->count];
}

static void list_session(struct cv_worker_visit *visit, struct cv_session *session)
{
	struct row_list *list = visit->context;
	struct row *row;

	if (*list->who && !(session->user && cv_user_is_called(session->user, list->who)))
		return;
	row = next_row(list);
	if (row && fill_row(row, session))
		list->count++;
	else
		list->failed = true;
}

static void find_session(struct cv_worker_visit *visit, struct cv_session *session)
{
	struct search *search = visit->context;
	struct json_object *object;
	struct row row;
	char text[ID_TEXT];

	id_text(session, text);
	if (strcmp(search->id_text, text) != 0 || !fill_row(&row, session))
		return;
	object = row_json(&row);
	explain_direction(object, "uplink", session, CV_UPLINK);
	explain_direction(object, "downlink", session, CV_DOWNLINK);
	add_choice(object, session);
	add_leg(object, "client_leg", &session->client);
	add_leg(object, "upstream_leg", &session->upstream);
	cv_json_append(search->array, object);
}

void cv_show_sessions(const struct cv_control_view *view, const char *argument,
		      struct json_object *answer)
{
	struct row_list list = {.who = argument};
	struct json_object *array = json_object_new_array();

	cv_show_visit(view, list_session, &list);
	for (size_t i = 0; i < list.count; i++)
		cv_json_append(array, row_json(&list.rows[i]));
	free(list.rows);
	cv_json_add(answer, "sessions", array);
	if (list.failed)
		cv_json_text(answer, "error", "out of memory");
}

static int by_activity(const void *one, const void *other)
{
	const struct row *a = one, *b = other;

	if (a->idle_ms != b->idle_ms)
		return a->idle_ms < b->idle_ms ? -1 : 1;
	return a->age_ms < b->age_ms ? -1 : a->age_ms > b->age_ms;
}

void cv_show_active_sessions(const struct cv_control_view *view, size_t limit,
			     struct json_object *answer)
{
	struct row_list list = {.who = ""};
	struct json_object *array = json_object_new_array();

	cv_show_visit(view, list_session, &list);
	if (list.count > 0)
		qsort(list.rows, list.count, sizeof(*list.rows), by_activity);
	for (size_t i = 0; i < list.count; i++)
		if (i < limit)
			cv_json_append(array, row_json(&list.rows[i]));
		else
			free(list.rows[i].destination);
	free(list.rows);
	cv_json_add(answer, "sessions", array);
	cv_json_u64(answer, "session_count", list.count);
}

void cv_show_session(const struct cv_control_view *view, const char *argument,
		     struct json_object *answer)
{
	struct search search = {.id_text = argument, .array = json_object_new_array()};

	cv_show_visit(view, find_session, &search);
	cv_json_add(answer, "sessions", search.array);
}
