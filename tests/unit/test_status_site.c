// SPDX-License-Identifier: MIT
/*
 * test_status_site.c - the status endpoint without sockets: configuration, who is let in, limits of
 * guessing, what responses look like, labels that anybody could have chosen.
 */
#include "config_text.h"

#include "control/status_page.h"
#include "control/status_report.h"
#include "control/status_site.h"
#include "policy/password.h"
#include "wire/base64.h"

#include <culvert/reason.h>
#include <errno.h>

#define OUT "\"outbounds\": [{\"protocol\": \"freedom\", \"tag\": \"%s\"}]"
#define SOCKS(accounts) \
	"\"inbounds\": [{\"listen\": \"127.0.0.1\", \"port\": 1, \"protocol\": \"socks\", " \
	"\"settings\": {\"auth\": \"password\", \"accounts\": [" accounts "]}}]"
#define HASH \
	"$6$rounds=1000$saltsalt$7S6OZma2y1VlNlrtWtqNBfvJbuBpimUwa/4O6Bvw3a/oP3V6Y9XBCWkI" \
	"O2TOriqwZ0OjvWGbvoD2ktR21buYa/" /* "pw-c" */

struct stage {
	struct cv_config *config;
	struct cv_worker worker; /* no thread: nobody is visited */
	struct cv_control_view view;
	struct cv_status_site *site;
	char text[1 << 20];
};

static char tag[512] = "direct";

static char *config_text(const char *accounts, const char *status)
{
	char *text = NULL;

	assert_true(asprintf(&text, "{" SOCKS("%s") ", " OUT ", \"culvert\": {\"status\": %s}}",
			     accounts, tag, status) > 0);
	return text;
}

static void stage_open(struct stage *stage, const char *accounts, const char *status)
{
	char *text = config_text(accounts, status);

	memset(stage, 0, sizeof(*stage));
	stage->config = config_good(text);
	stage->view = (struct cv_control_view){.config = stage->config,
					       .workers = &stage->worker};
	assert_int_equal(cv_status_site_new(&stage->view, "1.2", &stage->site), 0);
	free(text);
}

static void stage_close(struct stage *stage)
{
	cv_status_site_free(stage->site);
	cv_config_free(stage->config);
}

/* The status of the response, which is left in stage->text. */
static int ask(struct stage *stage, const char *request, uint64_t now_ms)
{
	struct cv_buffer out;
	int status;

	cv_buffer_init(&out, CV_STATUS_RESPONSE_MAX);
	assert_int_equal(cv_status_site_respond(stage->site, cv_span_of(request, strlen(request)),
						now_ms, &out),
			 0);
	assert_true(cv_buffer_len(&out) < sizeof(stage->text));
	memcpy(stage->text, cv_buffer_bytes(&out), cv_buffer_len(&out));
	stage->text[cv_buffer_len(&out)] = '\0';
	cv_buffer_done(&out);
	assert_int_equal(sscanf(stage->text, "HTTP/1.1 %d ", &status), 1);
	assert_non_null(strstr(stage->text, "\r\nConnection: close\r\n"));
	assert_non_null(strstr(stage->text, "\r\nContent-Security-Policy: default-src 'none'"));
	return status;
}

static int ask_as(struct stage *stage, const char *login, const char *line, uint64_t now_ms)
{
	char request[1024], text[512];

	cv_base64url_encode((const uint8_t *)login, strlen(login), text);
	snprintf(request, sizeof(request), "%s HTTP/1.1\r\nHost: x\r\nAuthorization: Basic %s\r\n"
					   "\r\n", line, text);
	return ask(stage, request, now_ms);
}

/* ---- configuration ------------------------------------------------------------------------ */

static void is_refused(const char *status, const char *finding)
{
	char *text = config_text("{\"user\": \"a\", \"pass\": \"b\"}", status);
	struct findings findings;

	assert_null(config_parse(text, &findings));
	if (!strstr(findings.text, finding))
		fail_msg("%s: expected %s, found %s", status, finding, findings.text);
	assert_null(strstr(findings.text, "rounds=1000"));
	free(text);
}

static void test_configuration(void **state)
{
	struct stage stage;

	(void)state;
	stage_open(&stage, "{\"user\": \"a\", \"pass\": \"b\"}", "{\"password\": \"" HASH "\"}");
	assert_int_equal(cv_sockaddr_port(&stage.config->daemon.status.address), 9000);
	assert_int_equal(stage.config->daemon.status.max_users, 100);
	stage_close(&stage);
	is_refused("{}", "culvert.status.password: required, but missing");
	is_refused("{\"password\": \"clear\"}", "password: expected a hash");
	is_refused("{\"password\": \"{plain}clear\"}", "password: expected a hash");
	is_refused("{\"password\": \"$6$rounds=1000$cut\"}", "password: the hash is cut");
	is_refused("{\"password\": \"" HASH "\", \"listen\": \"0.0.0.0\"}",
		   "f.json:1: culvert.status.listen: expected a loopback address");
	is_refused("{\"password\": \"" HASH "\", \"listen\": \"128.0.0.1\"}", "loopback");
	is_refused("{\"password\": \"" HASH "\", \"listen\": \"::2\"}", "loopback");
	is_refused("{\"password\": \"" HASH "\", \"user\": \"a:b\"}", "status.user: expected");
	is_refused("{\"password\": \"" HASH "\", \"user\": \"\"}", "status.user: expected");
	is_refused("{\"password\": \"" HASH "\", \"port\": 0}", "status.port: expected");
	is_refused("{\"password\": \"" HASH "\", \"maxUsers\": 1001}", "status.maxUsers: expected");
}

/* ---- who is let in ------------------------------------------------------------------------ */

static void test_guessing_is_limited(void **state)
{
	struct stage stage;
	uint64_t now_ms = 1000000;

	(void)state;
	stage_open(&stage, "{\"user\": \"a\", \"pass\": \"b\"}", "{\"password\": \"" HASH "\"}");
	assert_int_equal(ask(&stage, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", now_ms), 401);
	assert_non_null(strstr(stage.text, "\r\nWWW-Authenticate: Basic realm="));
	assert_int_equal(ask_as(&stage, "culvert:pw-c", "GET /", now_ms), 200);
	for (int i = 0; i < 4; i++)
		assert_int_equal(ask_as(&stage, i & 1 ? "culvert:x" : "root:pw-c", "GET /", now_ms),
				 401);
	assert_int_equal(ask_as(&stage, "culvert:x", "GET /", now_ms), 429);
	assert_int_equal(ask_as(&stage, "culvert:pw-c", "GET /", now_ms), 200); /* remembered */
	assert_int_equal(ask_as(&stage, "culvert:x", "GET /", now_ms + 1999), 429);
	assert_int_equal(ask_as(&stage, "culvert:x", "GET /", now_ms + 2000), 401);
	assert_int_equal(ask_as(&stage, "culvert:x", "GET /", now_ms + 2001), 429);
	for (int i = 0; i < 5; i++)
		assert_int_equal(ask_as(&stage, "culvert:x", "GET /", now_ms + 1000000), 401);
	assert_int_equal(ask_as(&stage, "culvert:x", "GET /", now_ms + 1000000), 429);
	stage_close(&stage);
}

/* Who was let in by the old hash is nobody by the new one. */
static void test_another_password(void **state)
{
	char stored[CV_PASSWORD_STORED], status[CV_PASSWORD_STORED + 32];
	struct stage stage, next;

	(void)state;
	assert_int_equal(cv_password_hash("new", stored), 0);
	snprintf(status, sizeof(status), "{\"password\": \"%s\"}", stored);
	stage_open(&stage, "{\"user\": \"a\", \"pass\": \"b\"}", "{\"password\": \"" HASH "\"}");
	stage_open(&next, "{\"user\": \"a\", \"pass\": \"b\"}", status);
	assert_int_equal(ask_as(&stage, "culvert:pw-c", "GET /", 0), 200);
	cv_status_site_use(stage.site, next.config);
	assert_int_equal(ask_as(&stage, "culvert:pw-c", "GET /", 0), 401);
	assert_int_equal(ask_as(&stage, "culvert:new", "GET /", 0), 200);
	stage_close(&stage);
	stage_close(&next);
}

/* ---- requests ----------------------------------------------------------------------------- */

static void test_requests(void **state)
{
	struct stage stage;
	struct cv_buffer out;
	static char endless[CV_STATUS_REQUEST_MAX + 1];

	(void)state;
	stage_open(&stage, "{\"user\": \"a\", \"pass\": \"b\"}", "{\"password\": \"" HASH "\"}");
	assert_int_equal(ask_as(&stage, "culvert:pw-c", "HEAD /", 0), 200);
	assert_string_equal(strstr(stage.text, "\r\n\r\n"), "\r\n\r\n");
	assert_int_equal(ask_as(&stage, "culvert:pw-c", "POST /", 0), 405);
	assert_non_null(strstr(stage.text, "\r\nAllow: GET, HEAD\r\n"));
	assert_int_equal(ask_as(&stage, "culvert:pw-c", "GET /no", 0), 404);
	assert_int_equal(ask_as(&stage, "culvert:pw-c", "GET /metrics?x", 0), 200);
	assert_int_equal(ask_as(&stage, "culvert:pw-c", "GET http://a/metrics", 0), 200);
	assert_int_equal(ask_as(&stage, "culvert:pw-c", "GET https://a/", 0), 400);
	assert_int_equal(ask_as(&stage, "culvert:pw-c", "GET /status.json", 0), 200);
	assert_int_equal(ask(&stage, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", 0),
			 413);
	memset(endless, 'a', CV_STATUS_REQUEST_MAX);
	memcpy(endless, "GET /", 5);
	cv_buffer_init(&out, CV_STATUS_RESPONSE_MAX);
	assert_int_equal(cv_status_site_respond(stage.site, cv_span_of(endless, 100), 0, &out),
			 -EAGAIN);
	cv_buffer_done(&out);
	assert_int_equal(ask(&stage, endless, 0), 431);
	stage_close(&stage);
}

/* ---- reports ------------------------------------------------------------------------------ */

static void test_labels(void **state)
{
	struct stage stage;
	char cut[512];

	(void)state;
	tag[0] = '\0';
	for (int i = 0; i < 100; i++)
		strcat(tag, "\xe4\xba\xba");
	stage_open(&stage,
		   "{\"user\": \"q\\\"b\\\\n\\nx\\u0001\", \"pass\": \"b\"}, "
		   "{\"user\": \"\xc3\xa4\xe4\xba\xba\", \"pass\": \"b\"}, "
		   "{\"user\": \"last\", \"pass\": \"b\"}, {\"user\": \"more\", \"pass\": \"b\"}",
		   "{\"password\": \"" HASH "\", \"maxUsers\": 2}");
	assert_int_equal(ask_as(&stage, "culvert:pw-c", "GET /metrics", 0), 200);
	assert_non_null(strstr(stage.text,
			       "\nculvert_user_sessions{user=\"q\\\"b\\\\n\\nx?\"} 0\n"));
	assert_non_null(strstr(stage.text,
			       "\nculvert_user_sessions{user=\"\xc3\xa4\xe4\xba\xba\"} 0\n"));
	assert_non_null(strstr(stage.text, "\nculvert_user_sessions{user=\"other\"} 0\n"));
	assert_null(strstr(stage.text, "last"));
	cut[0] = '\0';
	for (int i = 0; i < 85; i++) /* 255 bytes, and no half of a character */
		strcat(cut, "\xe4\xba\xba");
	assert_non_null(strstr(stage.text, cut));
	assert_null(strstr(stage.text, strcat(cut, "\xe4")));
	assert_non_null(strstr(stage.text, "\nculvert_info{version=\"1.2\"} 1\n"));
	stage_close(&stage);
}

static void test_page(void **state)
{
	char policy[CV_STATUS_POLICY];

	(void)state;
	assert_int_equal(cv_status_page_policy(policy), 0);
	assert_non_null(strstr(policy, "script-src 'sha256-"));
	assert_int_equal(strlen(cv_status_page), cv_status_page_len());
	assert_null(strstr(cv_status_page, "innerHTML"));
	assert_null(strstr(cv_status_page, " style=\""));
	assert_null(strstr(cv_status_page, " onclick"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_configuration),
		cmocka_unit_test(test_guessing_is_limited),
		cmocka_unit_test(test_another_password),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_labels),
		cmocka_unit_test(test_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
