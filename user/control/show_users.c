// SPDX-License-Identifier: MIT
/*
 * show_users.c - what each user of each inbound moved, and what their person may still use.
 */
#include "base/clock.h"
#include "base/reason.h"
#include "control/command.h"
#include "policy/usage.h"
#include "session/session.h"

#include <time.h>

static void refresh(struct cv_worker_visit *visit, struct cv_session *session)
{
	(void)visit;
	cv_session_account(session);
}

/* Why this user would be refused now, "ok" if not. */
static const char *state_of(const struct cv_user *user)
{
	int reason = user->enabled ? 0 : CV_POLICY_USER_DISABLED;

	if (!reason && user->usage)
		reason = cv_usage_check(user->usage, cv_clock_wall_ms());
	return cv_reason_label(reason);
}

static uint32_t source_count(struct cv_usage *usage)
{
	uint32_t count;

	pthread_mutex_lock(&usage->lock);
	count = usage->source_count;
	pthread_mutex_unlock(&usage->lock);
	return count;
}

static const char *period_text(enum cv_quota_reset resets)
{
	static const char *const texts[] = {[CV_QUOTA_NEVER] = "never",
					    [CV_QUOTA_DAILY] = "daily",
					    [CV_QUOTA_MONTHLY] = "monthly"};

	return texts[resets];
}

static void add_time(struct json_object *object, const char *key, uint64_t unix_ms)
{
	time_t at = (time_t)(unix_ms / 1000);
	char text[32] = "";
	struct tm parts;

	if (gmtime_r(&at, &parts))
		(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
	cv_json_text(object, key, text);
}

/* What the person may still use; a person with several entries has one of these. */
static void add_limits(struct json_object *object, struct cv_usage *usage)
{
	const struct cv_limits counting = cv_usage_limits(usage);
	const struct cv_limits *limits = &counting;
	uint64_t used = cv_usage_used(usage, CV_UPLINK) + cv_usage_used(usage, CV_DOWNLINK);
	struct json_object *member;

	if (!cv_limits_any(limits))
		return;
	member = json_object_new_object();
	cv_json_u64(member, "used_bytes", used);
	if (limits->quota_bytes) {
		cv_json_u64(member, "quota_bytes", limits->quota_bytes);
		cv_json_u64(member, "left_bytes",
			    used < limits->quota_bytes ? limits->quota_bytes - used : 0);
		cv_json_text(member, "quota_resets", period_text(limits->quota_resets));
	}
	if (limits->expires_ms)
		add_time(member, "expires", limits->expires_ms);
	if (limits->bytes_per_s[CV_UPLINK])
		cv_json_u64(member, "uplink_bytes_per_s", limits->bytes_per_s[CV_UPLINK]);
	if (limits->bytes_per_s[CV_DOWNLINK])
		cv_json_u64(member, "downlink_bytes_per_s", limits->bytes_per_s[CV_DOWNLINK]);
	if (limits->max_sessions)
		cv_json_u64(member, "max_sessions", limits->max_sessions);
	if (limits->max_source_addresses)
		cv_json_u64(member, "max_source_addresses", limits->max_source_addresses);
	if (limits->max_source_addresses)
		cv_json_u64(member, "source_addresses", source_count(usage));
	cv_json_u64(member, "sessions",
		    atomic_load_explicit(&usage->session_count, memory_order_relaxed));
	cv_json_add(object, "limits", member);
}

static struct json_object *user_json(const struct cv_inbound *inbound, struct cv_user *user)
{
	struct json_object *object = json_object_new_object();
	char identity[CV_USAGE_KEY];

	cv_usage_key(user, identity);
	cv_json_text(object, "identity", identity);
	cv_json_text(object, "inbound", inbound->tag);
	cv_json_text(object, "name", user->name);
	cv_json_text(object, "email", user->email);
	cv_json_text(object, "state", state_of(user));
	cv_json_u64(object, "uplink_bytes", cv_counter(&user->counters->moved_bytes[CV_UPLINK]));
	cv_json_u64(object, "downlink_bytes",
		    cv_counter(&user->counters->moved_bytes[CV_DOWNLINK]));
	cv_json_u64(object, "sessions",
		    atomic_load_explicit(&user->counters->session_count, memory_order_relaxed));
	if (user->usage)
		add_limits(object, user->usage);
	return object;
}

void cv_show_users(const struct cv_control_view *view, const char *argument,
		   struct json_object *answer)
{
	struct json_object *array = json_object_new_array();

	(void)argument;
	cv_show_visit(view, refresh, NULL);
	for (size_t i = 0; i < view->config->inbound_count; i++) {
		const struct cv_inbound *inbound = &view->config->inbounds[i];

		for (size_t u = 0; inbound->users && u < cv_user_count(inbound->users); u++)
			cv_json_append(array,
					      user_json(inbound, cv_user_at(inbound->users, u)));
	}
	cv_json_add(answer, "users", array);
}
