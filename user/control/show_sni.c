// SPDX-License-Identifier: MIT
/*
 * show_sni.c - classes of server names: what the configuration says of each, what the kernel and
 * the daemon counted.
 *
 *   kernel   connections and dropped segments, by all that hold the maps, since they were loaded
 *   daemon   sessions and bytes, since it started; a drop that the kernel decided is a session, too
 *
 * One entry for each of ours (in parentheses) and for each of the configuration.
 */
#include "control/command.h"
#include "engine/classify.h"
#include "session/session.h"

#include <stdlib.h>

struct sni_class {
	uint64_t names, drops; /* of the configuration */
	struct cv_edge_place place; /* of the first name that passes */
	bool is_led, is_mixed;	    /* it has one; others have other places */
	uint64_t now, sessions, bytes[2];
	struct cv_sni_counter kernel;
};

const char *cv_show_class(const struct cv_config *config, uint32_t class)
{
	static const char *const own[CV_SNI_CLASS_FIRST] = {
		[CV_SNI_CLASS_NONE] = "(none)",       [CV_SNI_CLASS_UNDECIDED] = "(undecided)",
		[CV_SNI_CLASS_NOT_TLS] = "(not TLS)", [CV_SNI_CLASS_NO_NAME] = "(no name)",
		[CV_SNI_CLASS_OTHER] = "(other)",
	};

	if (class < CV_SNI_CLASS_FIRST)
		return own[class];
	if (class - CV_SNI_CLASS_FIRST >= config->sni_class_count)
		return NULL;
	return config->sni_classes[class - CV_SNI_CLASS_FIRST];
}

/* ---- gathering ---------------------------------------------------------------------------- */

static void count_session(struct cv_worker_visit *visit, struct cv_session *session)
{
	struct sni_class *classes = visit->context;

	cv_session_account(session);
	classes[session->sni_class].now++;
}

static void add_place(struct sni_class *class, const struct cv_edge_place *place)
{
	if (place->kind == CV_EDGE_DROP)
		return;
	class->is_mixed |= class->is_led && !cv_edge_place_equal(&class->place, place);
	class->is_led = true;
	class->place = *place;
}

/* What has no name of its own leads somewhere, too. */
static void add_answers(struct sni_class *classes, const struct cv_edge *edge)
{
	add_place(&classes[CV_SNI_CLASS_NOT_TLS], &edge->no_tls);
	add_place(&classes[CV_SNI_CLASS_NO_NAME], &edge->no_name);
	add_place(&classes[CV_SNI_CLASS_OTHER], &edge->unknown);
	classes[CV_SNI_CLASS_NO_NAME].drops += edge->no_name.kind == CV_EDGE_DROP;
	classes[CV_SNI_CLASS_OTHER].drops += edge->unknown.kind == CV_EDGE_DROP;
}

static void add_names(struct sni_class *classes, const struct cv_edge *edge)
{
	add_answers(classes, edge);
	for (size_t i = 0; i < edge->name_count; i++) {
		const struct cv_edge_name *name = &edge->names[i];

		if (name->class >= CV_CLASSIFY_CLASSES)
			continue;
		classes[name->class].names++;
		classes[name->class].drops += name->action == CV_SNI_DROP;
		add_place(&classes[name->class], &name->place);
	}
	if (edge->not_tls == CV_SNI_DROP) /* the one thing without names that the kernel drops */
		classes[CV_SNI_CLASS_NOT_TLS].drops++;
}

static void add_counters(struct sni_class *classes, const struct cv_worker_counters *counters)
{
	for (size_t c = 0; c < CV_CLASSIFY_CLASSES; c++) {
		classes[c].sessions += cv_counter(&counters->class_sessions[c]);
		for (int d = CV_UPLINK; d <= CV_DOWNLINK; d++)
			classes[c].bytes[d] += cv_counter(&counters->class_bytes[c][d]);
	}
}

static void gather(const struct cv_control_view *view, struct sni_class *classes)
{
	const struct cv_kernel *kernel = view->kernel;
	size_t known = CV_SNI_CLASS_FIRST + view->config->sni_class_count;

	cv_show_visit(view, count_session, classes);
	for (unsigned i = 0; i < view->worker_count; i++)
		add_counters(classes, &view->workers[i].counters);
	for (size_t i = 0; i < view->config->inbound_count; i++)
		if (view->config->inbounds[i].edge)
			add_names(classes, view->config->inbounds[i].edge);
	for (size_t c = 0; kernel && kernel->classify.error == 0 && c < known; c++)
		(void)cv_classify_count(kernel->classify_counters_fd, (uint32_t)c,
					&classes[c].kernel);
}

/* ---- the topic ---------------------------------------------------------------------------- */

static const char *action_of(const struct sni_class *class)
{
	if (class->drops == 0)
		return "pass";
	return class->names > class->drops ? "pass, drop" : "drop";
}

static struct json_object *class_json(const struct cv_config *config, uint32_t number,
				      const char *name, const struct sni_class *class)
{
	struct json_object *object = json_object_new_object();
	char place[CV_SHOW_PLACE] = "";

	cv_json_u64(object, "number", number);
	cv_json_text(object, "class", name);
	if (class->is_led && !class->is_mixed)
		cv_show_place(config, &class->place, place);
	cv_json_text(object, "action", action_of(class));
	cv_json_text(object, "leads_to", class->is_mixed ? "(several)" : place);
	cv_json_u64(object, "names", class->names);
	cv_json_u64(object, "sessions", class->now);
	cv_json_u64(object, "sessions_total", class->sessions);
	cv_json_u64(object, "uplink_bytes", class->bytes[CV_UPLINK]);
	cv_json_u64(object, "downlink_bytes", class->bytes[CV_DOWNLINK]);
	cv_json_u64(object, "kernel_connections", class->kernel.connections);
	cv_json_u64(object, "kernel_dropped_segments", class->kernel.dropped_segments);
	return object;
}

/* Why names are decided by the daemon alone; "" if they are not. */
static const char *why_not_in_kernel(const struct cv_control_view *view)
{
	if (view->worker_count && view->workers[0].classify)
		return "";
	return view->kernel && view->kernel->classify.error ? view->kernel->classify.why
							    : "no names to look for, or not wanted";
}

void cv_show_sni(const struct cv_control_view *view, const char *argument,
		 struct json_object *answer)
{
	struct sni_class *classes = calloc(CV_CLASSIFY_CLASSES, sizeof(*classes));
	struct json_object *array = json_object_new_array();

	(void)argument;
	if (classes)
		gather(view, classes);
	for (uint32_t c = 0; classes && c < CV_CLASSIFY_CLASSES; c++)
		if (cv_show_class(view->config, c))
			cv_json_append(
				array, class_json(view->config, c, cv_show_class(view->config, c),
						  &classes[c]));
	cv_json_add(answer, "classes", array);
	cv_json_bool(answer, "in_kernel", !*why_not_in_kernel(view));
	cv_json_text(answer, "why_not_in_kernel", why_not_in_kernel(view));
	free(classes);
}
