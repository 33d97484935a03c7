// SPDX-License-Identifier: MIT
/*
 * status_site.c - requests and responses of the status endpoint.
 *
 *   head -> judge -> who is it? -> method, path -> report -> response
 *
 * The right password is remembered by a keyed MAC, so that a page that asks every two seconds
 * computes one hash. Every question that needs a hash costs a token, right or wrong, known name or
 * not: whoever guesses waits for tokens, while the operator's page goes on by memory.
 */
#include "control/status_site.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/status_page.h"
#include "control/status_report.h"
#include "crypto/crypto.h"
#include "policy/password.h"
#include "wire/http_request.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <culvert/reason.h>

#define TOKENS 5
#define TOKEN_MS 2000
#define MAC_LEN 32
#define HEAD_TEXT 1536
#define DATE_TEXT 40

struct cv_status_site {
	struct cv_control_view view;
	pthread_mutex_t view_lock; /* a request is answered under it */
	struct cv_status_process process;
	char policy[CV_STATUS_POLICY];
	uint8_t key[MAC_LEN], right[MAC_LEN]; /* right: who was let in last */
	bool is_remembered;
	unsigned tokens;
	uint64_t token_at_ms; /* when the last one came */
};

struct response {
	unsigned status;
	const char *type, *more; /* more: whole header lines */
	const char *body;
	size_t len;
	bool is_page;
};

/* ---- life --------------------------------------------------------------------------------- */

int cv_status_site_new(const struct cv_control_view *view, const char *version,
		       struct cv_status_site **ret_site)
{
	struct cv_status_site *site = calloc(1, sizeof(*site));

	if (!site)
		return -ENOMEM;
	pthread_mutex_init(&site->view_lock, NULL);
	site->view = *view;
	site->process = (struct cv_status_process){
		.version = version,
		.started_ms = cv_clock_ms(),
		.started_wall_ms = cv_clock_wall_ms(),
	};
	site->tokens = TOKENS;
	if (cv_random_bytes(site->key, sizeof(site->key)) != 0 ||
	    cv_status_page_policy(site->policy) != 0) {
		(void)cv_status_site_free(site);
		return CV_INTERNAL_CRYPTO;
	}
	*ret_site = site;
	return 0;
}

struct cv_status_site *cv_status_site_free(struct cv_status_site *site)
{
	if (!site)
		return NULL;
	pthread_mutex_destroy(&site->view_lock);
	cv_cleanse(site, sizeof(*site));
	free(site);
	return NULL;
}

void cv_status_site_use(struct cv_status_site *site, const struct cv_config *config)
{
	pthread_mutex_lock(&site->view_lock);
	site->view.config = config;
	pthread_mutex_unlock(&site->view_lock);
}

/* ---- who is it? --------------------------------------------------------------------------- */

static bool take_token(struct cv_status_site *site, uint64_t now_ms)
{
	const uint64_t come = (now_ms - site->token_at_ms) / TOKEN_MS;

	if (come > 0) {
		site->tokens = come >= TOKENS - site->tokens ? TOKENS
							     : site->tokens + (unsigned)come;
		site->token_at_ms += come * TOKEN_MS;
	}
	if (site->tokens == 0)
		return false;
	site->tokens--;
	return true;
}

/* Of name, password and the hash that they were right for. */
static int mac_of(const struct cv_status_site *site, const struct cv_http_credentials *credentials,
		  uint8_t mac[MAC_LEN])
{
	const char *stored = site->view.config->daemon.status.password;
	const struct cv_mac_part parts[] = {
		{stored, strlen(stored) + 1},
		{credentials->user, credentials->user_len + 1},
		{credentials->password, credentials->password_len + 1},
	};

	return cv_hmac(CV_SHA256, site->key, sizeof(site->key), parts, 3, mac);
}

static bool is_name(const char *wanted, const struct cv_http_credentials *credentials)
{
	char one[CV_HTTP_CREDENTIAL_MAX + 1] = {0}, other[CV_HTTP_CREDENTIAL_MAX + 1] = {0};

	memcpy(one, wanted, strlen(wanted));
	memcpy(other, credentials->user, credentials->user_len);
	return cv_equal_constant_time(one, other, sizeof(one));
}

/* 0, or the status that refuses. */
static unsigned check_credentials(struct cv_status_site *site, uint64_t now_ms,
				  const struct cv_http_credentials *credentials)
{
	const struct cv_status_settings *settings = &site->view.config->daemon.status;
	uint8_t mac[MAC_LEN];
	bool right, named;

	if (mac_of(site, credentials, mac) != 0)
		return 500;
	if (site->is_remembered && cv_equal_constant_time(mac, site->right, sizeof(mac)))
		return 0;
	if (!take_token(site, now_ms))
		return 429;
	named = is_name(settings->user, credentials);
	right = cv_password_verify(settings->password, credentials->password,
				   credentials->password_len);
	if (!named || !right) {
		cv_log(CV_LOG_WARNING, "status: wrong name or password");
		return 401;
	}
	memcpy(site->right, mac, sizeof(mac));
	site->is_remembered = true;
	return 0;
}

static unsigned authorize(struct cv_status_site *site, const struct cv_http_head *head,
			  uint64_t now_ms)
{
	struct cv_http_credentials credentials;
	unsigned status = 401;

	if (cv_http_basic(head, "authorization", &credentials) != 0)
		return status;
	status = check_credentials(site, now_ms, &credentials);
	cv_cleanse(&credentials, sizeof(credentials));
	return status;
}

/* ---- responses ---------------------------------------------------------------------------- */

static const char *phrase_of(unsigned status)
{
	static const struct {
		unsigned status;
		const char *phrase;
	} phrases[] = {
		{200, "OK"},
		{400, "Bad Request"},
		{401, "Unauthorized"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{413, "Content Too Large"},
		{429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"},
		{501, "Not Implemented"},
		{503, "Service Unavailable"},
		{505, "HTTP Version Not Supported"},
	};

	for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++)
		if (phrases[i].status == status)
			return phrases[i].phrase;
	return "Internal Server Error";
}

static const char *more_of(unsigned status)
{
	switch (status) {
	case 401:
		return "WWW-Authenticate: Basic realm=\"culvert\", charset=\"UTF-8\"\r\n";
	case 405:
		return "Allow: GET, HEAD\r\n";
	case 429:
		return "Retry-After: 2\r\n";
	default:
		return "";
	}
}

static void date_text(char text[DATE_TEXT])
{
	const time_t now = (time_t)(cv_clock_wall_ms() / 1000);
	struct tm parts;

	text[0] = '\0';
	if (gmtime_r(&now, &parts)) /* the C locale: nobody calls setlocale() */
		(void)strftime(text, DATE_TEXT, "%a, %d %b %Y %H:%M:%S GMT", &parts);
}

static int write_response(const struct cv_status_site *site, const struct response *response,
			  bool is_head, struct cv_buffer *out)
{
	char head[HEAD_TEXT], date[DATE_TEXT];
	int len, error;

	date_text(date);
	len = snprintf(head, sizeof(head),
		       "HTTP/1.1 %u %s\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
		       "%sConnection: close\r\nCache-Control: no-store\r\n"
		       "Content-Security-Policy: %s\r\nX-Content-Type-Options: nosniff\r\n"
		       "X-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\n"
		       "Cross-Origin-Resource-Policy: same-origin\r\n\r\n",
		       response->status, phrase_of(response->status), date, response->type,
		       response->len, response->more,
		       response->is_page ? site->policy : "default-src 'none'");
	if (len < 0 || (size_t)len >= sizeof(head))
		return CV_INTERNAL_STATE;
	error = cv_buffer_append(out, head, (size_t)len);
	if (!error && !is_head && response->len > 0)
		error = cv_buffer_append(out, response->body, response->len);
	return error;
}

static int refuse(const struct cv_status_site *site, unsigned status, bool is_head,
		  struct cv_buffer *out)
{
	char body[64];
	const int len = snprintf(body, sizeof(body), "%u %s\n", status, phrase_of(status));
	const struct response response = {
		.status = status,
		.type = "text/plain; charset=utf-8",
		.more = more_of(status),
		.body = body,
		.len = (size_t)len,
	};

	return write_response(site, &response, is_head, out);
}

static int send_json(const struct cv_status_site *site, bool is_head, struct cv_buffer *out)
{
	struct json_object *report = cv_status_json(&site->view, &site->process);
	struct response response = {.status = 200, .type = "application/json", .more = ""};
	int error;

	if (report)
		response.body = json_object_to_json_string_length(report, JSON_C_TO_STRING_PLAIN,
								  &response.len);
	error = response.body ? write_response(site, &response, is_head, out)
			      : refuse(site, 503, is_head, out);
	json_object_put(report);
	return error;
}

static int send_metrics(const struct cv_status_site *site, bool is_head, struct cv_buffer *out)
{
	struct response response = {
		.status = 200,
		.type = "text/plain; version=0.0.4; charset=utf-8",
		.more = "",
	};
	char *text = cv_status_metrics(&site->view, &site->process, &response.len);
	int error;

	response.body = text;
	error = text ? write_response(site, &response, is_head, out)
		     : refuse(site, 503, is_head, out);
	free(text);
	return error;
}

static int send_page(const struct cv_status_site *site, bool is_head, struct cv_buffer *out)
{
	const struct response response = {
		.status = 200,
		.type = "text/html; charset=utf-8",
		.more = "",
		.body = cv_status_page,
		.len = cv_status_page_len(),
		.is_page = true,
	};

	return write_response(site, &response, is_head, out);
}

/* ---- requests ----------------------------------------------------------------------------- */

/* Without its query. */
static struct cv_span path_of(const struct cv_http_head *head,
			      const struct cv_http_request *request)
{
	struct cv_span path = request->form == CV_HTTP_FORWARD ? request->path : head->target;
	const uint8_t *query = path.len_bytes ? memchr(path.data, '?', path.len_bytes) : NULL;

	if (query)
		path.len_bytes = (size_t)(query - path.data);
	return path;
}

static bool is_text(struct cv_span span, const char *text)
{
	return span.len_bytes == strlen(text) && memcmp(span.data, text, span.len_bytes) == 0;
}

static int answer(struct cv_status_site *site, const struct cv_http_head *head,
		  const struct cv_http_request *request, uint64_t now_ms, struct cv_buffer *out)
{
	const struct cv_span path = path_of(head, request);
	const bool is_head = is_text(head->method, "HEAD");
	const unsigned refusal = authorize(site, head, now_ms);

	if (refusal)
		return refuse(site, refusal, is_head, out);
	if (!is_head && !is_text(head->method, "GET"))
		return refuse(site, 405, is_head, out);
	if (path.len_bytes == 0 || is_text(path, "/"))
		return send_page(site, is_head, out);
	if (is_text(path, "/status.json"))
		return send_json(site, is_head, out);
	if (is_text(path, "/metrics"))
		return send_metrics(site, is_head, out);
	return refuse(site, 404, is_head, out);
}

int cv_status_site_respond(struct cv_status_site *site, struct cv_span bytes, uint64_t now_ms,
			   struct cv_buffer *out)
{
	struct cv_http_request request;
	struct cv_http_head head;
	unsigned status = 400;
	int error = cv_http_request_head_read(bytes, &head, &status);

	if (error == -EAGAIN && bytes.len_bytes < CV_STATUS_REQUEST_MAX)
		return error;
	if (error)
		return refuse(site, error == -EAGAIN ? 431 : status, false, out);
	if (cv_http_request_judge(&head, &request, &status) != 0)
		return refuse(site, status, false, out);
	if (request.framing == CV_HTTP_CHUNKED || request.body_bytes > 0)
		return refuse(site, 413, false, out);
	pthread_mutex_lock(&site->view_lock);
	error = answer(site, &head, &request, now_ms, out);
	pthread_mutex_unlock(&site->view_lock);
	return error;
}
