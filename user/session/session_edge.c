// SPDX-License-Identifier: MIT
/*
 * session_edge.c - classes of server names in a session.
 *
 *   kernel knows the class ---------------------------------.
 *   else the hello in client.in: assembled, parsed, matched -+-> passed   program off the socket
 *                                                            '-> dropped  payload never arrives
 *
 * observable: a dropped connection looks as if its client had said nothing: the session runs on as
 * a silent client's does, with the target's time-out or ours at its end. What the kernel dropped is
 * not even acknowledged; what user space read before it could decide was. While a listener drops
 * names, hellos reach the target whole and not as they trickle in.
 *
 * The kernel's drop wakes nobody. It is counted when the session ends or goes on.
 */
#include "session/session_edge.h"

#include "base/log.h"
#include "base/reason.h"
#include "engine/classify.h"
#include "session/handshake.h"
#include "session/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_ALERT 21
#define RECORD_HANDSHAKE 22

struct found {
	uint32_t class;
	struct cv_edge_place place;
	size_t target; /* of a REALITY inbound */
};

/* ---- the kernel's word -------------------------------------------------------------------- */

static bool ask_kernel(const struct cv_session *session, struct cv_sni_result *ret_result)
{
	const struct cv_classify *classify = session->worker->classify;
	const struct cv_edge *edge = session->inbound->edge;

	return classify && edge && session->client.fd >= 0 &&
	       cv_classify_read(classify, session->client.fd, edge->table, ret_result) == 0;
}

static bool is_target(const struct cv_edge *edge, uint32_t class)
{
	return class >= edge->first_target && class - edge->first_target < edge->target_count;
}

static bool place_of_class(const struct cv_edge *edge, const struct cv_sni_result *result,
			   struct cv_edge_place *ret_place)
{
	if (result->action == CV_SNI_DROP) {
		*ret_place = (struct cv_edge_place){.kind = CV_EDGE_DROP};
		return true;
	}
	switch (result->class) {
	case CV_SNI_CLASS_NOT_TLS:
		*ret_place = edge->no_tls;
		return true;
	case CV_SNI_CLASS_NO_NAME:
		*ret_place = edge->no_name;
		return true;
	case CV_SNI_CLASS_OTHER:
		*ret_place = edge->unknown;
		return true;
	default:
		return cv_edge_class_place(edge, result->class, ret_place);
	}
}

/* The inbound that @place means, with targets to choose from; else NULL. */
static const struct cv_inbound *chooser(const struct cv_session *session,
					const struct cv_edge_place *place)
{
	const struct cv_inbound *inbound = session->inbound;

	if (place->kind == CV_EDGE_INBOUND)
		inbound = &session->config->inbounds[place->inbound];
	return inbound->reality && inbound->reality->target_count > 1 ? inbound : NULL;
}

/* False also for what must be read to choose a target: REALITY's names count letter by letter, and
 * of another inbound's the kernel knows nothing. */
static bool find_in_kernel(const struct cv_session *session, struct found *ret_found)
{
	const struct cv_edge *edge = session->inbound->edge;
	struct cv_sni_result result;

	if (!ask_kernel(session, &result) || !place_of_class(edge, &result, &ret_found->place))
		return false;
	if (is_target(edge, result.class) && result.has_uppercase)
		return false;
	if (ret_found->place.kind == CV_EDGE_INBOUND && chooser(session, &ret_found->place))
		return false;
	ret_found->class = result.class;
	ret_found->target = is_target(edge, result.class) ? result.class - edge->first_target : 0;
	return true;
}

/* ---- our own ------------------------------------------------------------------------------ */

static bool lists_name(const struct cv_reality_target *target, const char *name)
{
	for (size_t i = 0; i < target->server_name_count; i++)
		if (strcmp(target->server_names[i], name) == 0)
			return true;
	return false;
}

static size_t target_of(const struct cv_inbound *inbound, const char *name)
{
	const struct cv_reality_inbound *reality = inbound->reality;

	for (size_t i = 0; reality && i < reality->target_count; i++)
		if (lists_name(&reality->targets[i], name))
			return i;
	return 0;
}

static void match(const struct cv_session *session, const char *name, struct found *found)
{
	const struct cv_edge *edge = session->inbound->edge;
	const struct cv_edge_name *entry = edge ? cv_edge_match(edge, name) : NULL;
	const struct cv_inbound *chooses;

	found->class = entry ? entry->class : CV_SNI_CLASS_OTHER;
	found->place = (struct cv_edge_place){0};
	if (entry)
		found->place = entry->place;
	else if (edge)
		found->place = edge->unknown;
	chooses = chooser(session, &found->place);
	found->target = chooses ? target_of(chooses, name) : 0;
}

/* As the kernel says it: by the first byte or two. */
static bool is_no_tls(struct cv_span bytes)
{
	if (bytes.len_bytes == 0)
		return false;
	if (bytes.data[0] != RECORD_HANDSHAKE && bytes.data[0] != RECORD_ALERT)
		return true;
	return bytes.len_bytes > 1 && bytes.data[1] >= 0x10;
}

/* 0, -EAGAIN, or why there is no whole hello. */
static int assemble(struct cv_session *session, struct cv_span bytes)
{
	struct cv_handshake *handshake = session->handshake;
	size_t used;

	cv_hello_assembler_done(&handshake->assembler);
	cv_hello_assembler_init(&handshake->assembler);
	handshake->assembler_used = true;
	if (is_no_tls(bytes))
		return CV_PEER_NOT_TLS;
	return bytes.len_bytes ? cv_hello_assembler_add(&handshake->assembler, bytes, &used)
			       : -EAGAIN;
}

static bool may_grow(const struct cv_session *session)
{
	return !(session->client.facts & CV_LEG_FIN_RECEIVED) &&
	       cv_buffer_len(&session->client.in) < CV_LEG_IN_LIMIT / 2;
}

/* Every byte of the hello is looked at again with each piece: pieces are few, hellos short. */
static bool find_in_hello(struct cv_session *session, struct found *ret_found)
{
	const struct cv_edge *edge = session->inbound->edge;
	int result = assemble(session, cv_buffer_span(&session->client.in));
	struct cv_client_hello *hello;

	*ret_found = (struct found){.class = CV_SNI_CLASS_UNDECIDED};
	if (result == -EAGAIN && may_grow(session))
		return false;
	if (edge) /* a hello that is none goes where unknown names do */
		ret_found->place = result == CV_PEER_NOT_TLS ? edge->no_tls : edge->unknown;
	if (result == CV_PEER_NOT_TLS)
		ret_found->class = CV_SNI_CLASS_NOT_TLS;
	hello = result == 0 ? malloc(sizeof(*hello)) : NULL;
	if (hello && cv_client_hello_parse(cv_buffer_span(&session->handshake->assembler.message),
					   hello) == 0) {
		ret_found->class = CV_SNI_CLASS_NO_NAME;
		if (edge)
			ret_found->place = edge->no_name;
		if (hello->has_server_name)
			match(session, hello->server_name, ret_found);
	}
	free(hello);
	return true;
}

/* ---- deciding ----------------------------------------------------------------------------- */

static void set_class(struct cv_session *session, uint32_t class)
{
	session->sni_class = (uint16_t)(class < CV_CLASSIFY_CLASSES ? class : CV_SNI_CLASS_OTHER);
	if (class != CV_SNI_CLASS_NONE)
		atomic_fetch_add_explicit(
			&session->worker->counters.class_sessions[session->sni_class], 1,
			memory_order_relaxed);
}

static void note_drop(struct cv_session *session)
{
	session->edge_state = CV_EDGE_DROPPED;
	cv_worker_count(session->worker, CV_POLICY_EDGE_DROP);
	cv_log(CV_LOG_INFO, "inbound=%s class=%u: %s (%s)", session->inbound->tag,
	       session->sni_class, cv_reason_label(CV_POLICY_EDGE_DROP),
	       cv_reason_text(CV_POLICY_EDGE_DROP));
	cv_buffer_consume(&session->client.in, cv_buffer_len(&session->client.in));
}

static void detach(struct cv_session *session)
{
	if (session->worker->classify && session->inbound->edge && session->client.fd >= 0)
		cv_classify_detach(session->worker->classify, session->client.fd);
}

enum cv_edge_state cv_edge_look(struct cv_session *session)
{
	struct found found;

	if (session->edge_state != CV_EDGE_OPEN)
		return session->edge_state;
	if (!find_in_kernel(session, &found) && !find_in_hello(session, &found))
		return CV_EDGE_OPEN;
	set_class(session, session->inbound->edge ? found.class : CV_SNI_CLASS_NONE);
	if (found.place.kind == CV_EDGE_DROP) {
		note_drop(session);
		/* without it the client is acknowledged, and heard by nobody all the same */
		(void)cv_classify_silence(session->client.fd);
		return session->edge_state;
	}
	session->handshake->chosen_target = found.target;
	session->handshake->place = found.place;
	session->edge_state = CV_EDGE_PASSED;
	detach(session);
	return session->edge_state;
}

bool cv_edge_holds(struct cv_session *session)
{
	const struct cv_edge *edge = session->inbound->edge;

	if (session->edge_state == CV_EDGE_OPEN && (!edge || !edge->drops))
		return false;
	if (session->edge_state == CV_EDGE_DROPPED) /* what was on its way to us */
		cv_buffer_consume(&session->client.in, cv_buffer_len(&session->client.in));
	return cv_edge_look(session) != CV_EDGE_PASSED;
}

static const char *name_of(const struct cv_session *session)
{
	const struct cv_handshake *handshake = session->handshake;
	const struct cv_client_hello *hello;

	if (!handshake)
		return "";
	if (handshake->server_name[0] || !handshake->reality)
		return handshake->server_name;
	hello = cv_reality_server_hello(handshake->reality);
	return hello ? hello->server_name : "";
}

void cv_edge_leave(struct cv_session *session)
{
	struct cv_sni_result result;
	struct found found;

	if (session->edge_state != CV_EDGE_OPEN || !session->inbound->edge)
		return;
	if (ask_kernel(session, &result)) {
		set_class(session, result.class);
		if (result.action == CV_SNI_DROP) {
			note_drop(session);
			return;
		}
	} else if (name_of(session)[0]) {
		match(session, name_of(session), &found);
		set_class(session, found.class);
	}
	session->edge_state = CV_EDGE_PASSED;
	detach(session);
}
