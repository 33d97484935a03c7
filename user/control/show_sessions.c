// SPDX-License-Identifier: MIT
/*
 * show_sessions.c - sessions as a list, and one of them with everything that is known about it.
 *
 * Both run on the worker that owns the session: what is shown of one session is of one instant.
 */
#include "control/command.h"
#include "session/handover.h"
#include "session/session.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <string.h>

#define ID_TEXT 40

struct session_list {
	struct json_object *array;
	const char *only; /* "worker.id": this one, with details; NULL = all */
};

static void id_text(const struct cv_session *session, char text[ID_TEXT])
{
	snprintf(text, ID_TEXT, "%u.%" PRIu64, session->worker->index, session->id);
}

static void add_direction(struct json_object *object, const char *key, struct cv_session *session,
			  enum cv_direction direction)
{
	struct json_object *member = json_object_new_object();
	struct cv_flow *flow = &session->flow[direction];
	char text[CV_HANDOVER_TEXT];

	cv_json_text(member, "engine", flow->engine ? flow->engine->name : "layers");
	cv_handover_describe(session, direction, text);
	cv_json_text(member, "state", text);
	cv_json_u64(member, "bytes", cv_session_bytes(session, direction));
	cv_json_u64(member, "kernel_bytes", flow->moved_bytes);
	json_object_object_add(object, key, member);
}

static void peer_text(int fd, char text[CV_DESTINATION_TEXT])
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.un)};

	text[0] = '\0';
	if (fd >= 0 && getpeername(fd, &address.any, &address.len_bytes) == 0)
		cv_sockaddr_format(&address, text);
}

static void local_text(int fd, char text[CV_DESTINATION_TEXT])
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.un)};

	text[0] = '\0';
	if (fd >= 0 && getsockname(fd, &address.any, &address.len_bytes) == 0)
		cv_sockaddr_format(&address, text);
}

static struct json_object *session_json(struct cv_session *session)
{
	uint64_t now_ms = cv_ring_now_ms(session->worker->ring);
	struct json_object *object = json_object_new_object();
	char text[CV_DESTINATION_TEXT];

	id_text(session, text);
	cv_json_text(object, "id", text);
	cv_json_u64(object, "worker", session->worker->index);
	cv_json_text(object, "state", cv_session_state_name(session));
	cv_json_text(object, "inbound", session->inbound->tag);
	cv_json_text(object, "user", cv_session_user_name(session));
	peer_text(session->client.fd, text);
	cv_json_text(object, "client", text);
	cv_json_text(object, "outbound",
		     session->is_fallback ? "fallback"
		     : session->outbound  ? session->outbound->tag
					  : "");
	cv_json_text(object, "destination", session->destination_text);
	add_direction(object, "uplink", session, CV_UPLINK);
	add_direction(object, "downlink", session, CV_DOWNLINK);
	cv_json_u64(object, "age_ms", now_ms - session->started_ms);
	cv_json_u64(object, "idle_ms", now_ms - cv_session_idle_since_ms(session));
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
		json_object_array_add(array, member);
	}
	json_object_object_add(object, "layers", array);
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
	cv_json_u64(member, "not_sent_bytes", info.tcpi_notsent_bytes);
	cv_json_u64(member, "unacked_segments", info.tcpi_unacked);
	if (info.tcpi_max_pacing_rate != UINT64_MAX)
		cv_json_u64(member, "pacing_limit_bytes_per_s", info.tcpi_max_pacing_rate);
	json_object_object_add(object, "tcp", member);
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
			json_object_array_add(array, json_object_new_string(names[i].name));
	json_object_object_add(object, "facts", array);
}

static void add_leg(struct json_object *object, const char *key, const struct cv_leg *leg)
{
	struct json_object *member = json_object_new_object();
	char text[CV_DESTINATION_TEXT];

	local_text(leg->fd, text);
	cv_json_text(member, "local", text);
	peer_text(leg->fd, text);
	cv_json_text(member, "peer", text);
	add_layers(member, leg);
	add_facts(member, leg);
	cv_json_u64(member, "undecoded_bytes", cv_leg_undecoded(leg));
	cv_json_u64(member, "queued_bytes", cv_leg_queued(leg));
	add_tcp(member, leg->fd);
	json_object_object_add(object, key, member);
}

/* ---- the two topics ----------------------------------------------------------------------- */

static void list_session(struct cv_worker_visit *visit, struct cv_session *session)
{
	struct session_list *list = visit->context;

	cv_session_account(session);
	json_object_array_add(list->array, session_json(session));
}

static void find_session(struct cv_worker_visit *visit, struct cv_session *session)
{
	struct session_list *list = visit->context;
	struct json_object *object;
	char text[ID_TEXT];

	id_text(session, text);
	if (strcmp(list->only, text) != 0)
		return;
	object = session_json(session);
	add_leg(object, "client_leg", &session->client);
	add_leg(object, "upstream_leg", &session->upstream);
	json_object_array_add(list->array, object);
}

void cv_show_sessions(const struct cv_control_view *view, const char *argument,
		      struct json_object *answer)
{
	struct session_list list = {.array = json_object_new_array()};

	(void)argument;
	cv_show_visit(view, list_session, &list);
	json_object_object_add(answer, "sessions", list.array);
}

void cv_show_session(const struct cv_control_view *view, const char *argument,
		     struct json_object *answer)
{
	struct session_list list = {.array = json_object_new_array(), .only = argument};

	cv_show_visit(view, find_session, &list);
	json_object_object_add(answer, "sessions", list.array);
}
