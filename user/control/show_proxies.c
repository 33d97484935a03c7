// SPDX-License-Identifier: MIT
/*
 * show_proxies.c - outbounds that ask a proxy: do they work, and what came of their sessions.
 */
#include "base/clock.h"
#include "control/command.h"

static const char *state_of(const struct cv_outbound *outbound, uint64_t *ret_left_ms)
{
	const uint64_t held_until_ms = atomic_load(&outbound->health->held_until_ms);
	const uint64_t now_ms = cv_clock_ms();

	*ret_left_ms = 0;
	if (outbound->is_disabled)
		return "disabled";
	if (held_until_ms == 0)
		return "in use";
	if (held_until_ms <= now_ms)
		return "to be tried";
	*ret_left_ms = held_until_ms - now_ms;
	return "held down"; /* or somebody tries it just now */
}

static struct json_object *proxy_json(const struct cv_outbound *outbound)
{
	struct json_object *object = json_object_new_object();
	struct cv_upstream_health *health = outbound->health;
	char server[CV_DESTINATION_TEXT];
	uint64_t left_ms;

	cv_destination_format(&outbound->server, server);
	cv_json_text(object, "outbound", outbound->tag);
	cv_json_text(object, "id", outbound->external_id);
	cv_json_text(object, "protocol", outbound->protocol == CV_OUTBOUND_HTTP ? "http" : "socks");
	cv_json_text(object, "server", server);
	cv_json_bool(object, "tls", outbound->security == CV_SECURITY_TLS);
	cv_json_text(object, "state", state_of(outbound, &left_ms));
	cv_json_u64(object, "held_down_ms", left_ms);
	cv_json_text(object, "fallback", outbound->retry.goes_around ? "direct" : "block");
	cv_json_u64(object, "sessions_total", cv_counter(&health->sessions));
	cv_json_u64(object, "failures_total", cv_counter(&health->failures));
	cv_json_u64(object, "gone_around_total", cv_counter(&health->gone_around));
	cv_json_u64(object, "refused_total", cv_counter(&health->refused));
	return object;
}

void cv_show_proxies(const struct cv_control_view *view, const char *argument,
		     struct json_object *answer)
{
	struct json_object *array = json_object_new_array();

	(void)argument;
	for (size_t i = 0; i < view->config->outbound_count; i++)
		if (view->config->outbounds[i].health)
			cv_json_append(array, proxy_json(&view->config->outbounds[i]));
	cv_json_add(answer, "proxies", array);
}
