// SPDX-License-Identifier: MIT
/*
 * show_sni.c - classes of server names: what each is called, how many connections the kernel put
 * into it and what it dropped of them, and what moved for its sessions, whoever decided.
 */
#include "control/command.h"
#include "engine/classify.h"
#include "session/session.h"

#include <string.h>

struct tally {
	uint64_t sessions[CV_CLASSIFY_CLASSES];
};

static void count_session(struct cv_worker_visit *visit, struct cv_session *session)
{
	struct tally *tally = visit->context;

	cv_session_account(session);
	tally->sessions[session->sni_class]++;
}

/* NULL: no such class. */
static const char *name_of(const struct cv_config *config, uint32_t class)
{
	static const char *const fixed[CV_SNI_CLASS_FIRST] = {
		[CV_SNI_CLASS_NONE] = "(none)",
		[CV_SNI_CLASS_UNDECIDED] = "(undecided)",
		[CV_SNI_CLASS_NOT_TLS] = "(not TLS)",
		[CV_SNI_CLASS_NO_NAME] = "(no name)",
		[CV_SNI_CLASS_OTHER] = "(other)",
	};

	if (class < CV_SNI_CLASS_FIRST)
		return fixed[class];
	return class - CV_SNI_CLASS_FIRST < config->sni_class_count ?
		       config->sni_classes[class - CV_SNI_CLASS_FIRST] :
		       NULL;
}

static struct json_object *class_json(const struct cv_control_view *view, uint32_t class,
				      const struct tally *tally)
{
	struct json_object *object = json_object_new_object();
	struct cv_sni_counter counter = {0};
	uint64_t bytes[2] = {0};

	for (unsigned i = 0; i < view->worker_count; i++)
		for (int d = CV_UPLINK; d <= CV_DOWNLINK; d++)
			bytes[d] += cv_counter(&view->workers[i].counters.class_bytes[class][d]);
	if (view->kernel && !view->kernel->classify.error)
		(void)cv_classify_count(view->kernel->classify_counters_fd, class, &counter);
	cv_json_u64(object, "number", class);
	cv_json_text(object, "class", name_of(view->config, class));
	cv_json_u64(object, "kernel_connections", counter.connections);
	cv_json_u64(object, "kernel_dropped_segments", counter.dropped_segments);
	cv_json_u64(object, "sessions", tally->sessions[class]);
	cv_json_u64(object, "uplink_bytes", bytes[CV_UPLINK]);
	cv_json_u64(object, "downlink_bytes", bytes[CV_DOWNLINK]);
	return object;
}

void cv_show_sni(const struct cv_control_view *view, const char *argument,
		 struct json_object *answer)
{
	struct json_object *array = json_object_new_array();
	const bool in_kernel = view->worker_count && view->workers[0].classify;
	const char *why = view->kernel ? view->kernel->classify.why : "";
	struct tally tally = {0};

	(void)argument;
	cv_show_visit(view, count_session, &tally);
	for (uint32_t class = 0; class < CV_CLASSIFY_CLASSES; class++)
		if (name_of(view->config, class))
			json_object_array_add(array, class_json(view, class, &tally));
	json_object_object_add(answer, "classes", array);
	cv_json_bool(answer, "in_kernel", in_kernel);
	cv_json_text(answer, "why_not_in_kernel",
		     in_kernel ? "" : *why ? why : "no names to look for, or not wanted");
}
