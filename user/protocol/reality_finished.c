// SPDX-License-Identifier: MIT
/*
 * reality_finished.c - after our flight: the client's Finished, then the target's habits.
 *
 *   client  [CCS ..]  [Finished]  | application data ..       -> leftover
 *   we                            | [post-handshake records]  -> output, then VLESS
 *
 * The client is authenticated, but a prober may have replayed its hello and now watches what we do
 * with records it made up. So each fault is answered the way the common TLS 1.3 servers answer it:
 * header checks in their order (type, version, length), the alert protected under the application
 * key, because a server has changed its writing key with its Finished, then close.
 */
#include "protocol/reality_internal.h"

#include "protocol/tls_alert.h"

#include <culvert/reason.h>

#include <errno.h>
#include <string.h>

#define MESSAGE_HEADER 4
#define WARNINGS_MAX 5
#define CCS_LIMIT_DEFAULT 32 /* where nothing is known about the target */

/* ---- faults ------------------------------------------------------------------------------- */

/* observable: 24 bytes of type 23, as an encrypted alert always is; then FIN */
static int refuse(struct cv_reality_server *server, int reason, uint8_t description)
{
	const uint8_t body[CV_TLS_ALERT_BODY] = {CV_TLS_ALERT_FATAL, description};

	(void)cv_tls_record_seal(&server->tx, CV_TLS_ALERT, body, sizeof(body), 0, &server->output);
	return reason;
}

static int refuse_unexpected(struct cv_reality_server *server)
{
	return refuse(server, CV_PEER_UNEXPECTED_MESSAGE, CV_TLS_UNEXPECTED_MESSAGE);
}

static int refuse_open(struct cv_reality_server *server, int result)
{
	switch (result) {
	case CV_PEER_BAD_RECORD:
		return refuse(server, result, CV_TLS_BAD_RECORD_MAC);
	case CV_PEER_TOO_LONG:
		return refuse(server, result, CV_TLS_RECORD_OVERFLOW);
	case CV_PEER_UNEXPECTED_MESSAGE:
		return refuse_unexpected(server);
	default:
		return refuse(server, result, CV_TLS_INTERNAL_ERROR);
	}
}

/* ---- established -------------------------------------------------------------------------- */

/*
 * observable: what the target says first on a fresh connection (tickets, SETTINGS) has lengths a
 * censor knows; ours come at the same place. A list that does not fit is cut, never the handshake.
 */
static int send_post_handshake(struct cv_reality_server *server)
{
	const struct cv_post_handshake *after =
		cv_target_profile_after(&server->profile, server->variant);
	static const uint8_t nothing;
	int result = 0;

	for (int i = 0; i < after->count && i < CV_POST_HANDSHAKE_MAX && !result; i++) {
		size_t len = after->len[i];

		if (server->empty_records_sent == CV_REALITY_USELESS_MAX ||
		    len > cv_buffer_room(&server->output))
			break;
		if (len < CV_REALITY_RECORD_MIN || len > CV_REALITY_RECORD_MAX)
			continue;
		result = cv_tls_record_seal(&server->tx, CV_TLS_APPLICATION, &nothing, 0, len,
					    &server->output);
		server->empty_records_sent++;
	}
	return result;
}

static int establish(struct cv_reality_server *server)
{
	int result;

	cv_tls_keys_done(&server->rx);
	result = cv_tls_keys_init(&server->rx, server->suite, server->secrets.client_application,
				  false);
	if (result == 0)
		result = send_post_handshake(server);
	return result ? refuse(server, result, CV_TLS_INTERNAL_ERROR) : 0;
}

/* ---- messages ----------------------------------------------------------------------------- */

static int judge_finished(struct cv_reality_server *server)
{
	size_t hash_len = cv_hash_len(server->suite->hash);

	if (server->message_len != MESSAGE_HEADER + hash_len)
		return refuse(server, CV_PEER_DECODE, CV_TLS_DECODE_ERROR);
	if (!cv_equal_constant_time(server->message + MESSAGE_HEADER, server->client_verify_data,
				    hash_len))
		return refuse(server, CV_PEER_FINISHED, CV_TLS_DECRYPT_ERROR);
	return establish(server);
}

/* In the order in which it becomes visible: type, size, record boundary, contents. */
static int judge_message(struct cv_reality_server *server, size_t surplus_bytes)
{
	const uint8_t *header = server->message;
	size_t needed;

	if (header[0] != CV_TLS_FINISHED)
		return refuse_unexpected(server);
	if (server->message_len < MESSAGE_HEADER)
		return -EAGAIN;
	needed = MESSAGE_HEADER + ((size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3]);
	if (needed > sizeof(server->message))
		return refuse(server, CV_PEER_TOO_LONG, CV_TLS_ILLEGAL_PARAMETER);
	if (server->message_len > needed || surplus_bytes > 0) /* keys change here, RFC 8446 5.1 */
		return refuse_unexpected(server);
	return server->message_len < needed ? -EAGAIN : judge_finished(server);
}

static int take_handshake(struct cv_reality_server *server, struct cv_span body)
{
	size_t count = sizeof(server->message) - server->message_len;

	if (body.len_bytes == 0)
		return refuse_unexpected(server);
	if (count > body.len_bytes)
		count = body.len_bytes;
	memcpy(server->message + server->message_len, body.data, count);
	server->message_len += (uint8_t)count;
	return judge_message(server, body.len_bytes - count);
}

/* Whatever an alert says, a server answers with closing alone. */
static int take_alert(struct cv_reality_server *server, struct cv_span body)
{
	if (body.len_bytes != CV_TLS_ALERT_BODY)
		return refuse_unexpected(server);
	if (body.data[1] == CV_TLS_USER_CANCELED && ++server->warning_count <= WARNINGS_MAX)
		return -EAGAIN;
	return body.data[1] == CV_TLS_USER_CANCELED ? refuse_unexpected(server) : CV_PEER_ALERT;
}

/* ---- records ------------------------------------------------------------------------------ */

/*
 * observable: a prober may count how many ChangeCipherSpec records it takes until the alert; the
 * number was learned from the target (REALITY 7, probe B).
 */
static int take_ccs(struct cv_reality_server *server, struct cv_span record)
{
	int limit = server->profile.ccs_limit ? server->profile.ccs_limit : CCS_LIMIT_DEFAULT;

	if (record.len_bytes != CV_TLS_HEADER + 1 || record.data[CV_TLS_HEADER] != 1)
		return refuse_unexpected(server);
	server->ccs_count++;
	if (limit > 0 && server->ccs_count > (uint32_t)limit)
		return refuse_unexpected(server);
	return -EAGAIN;
}

static int take_protected(struct cv_reality_server *server, uint8_t *record, size_t record_len)
{
	uint8_t *plain = record + CV_TLS_HEADER, type;
	size_t len_bytes;
	int result;

	if (record_len < CV_REALITY_RECORD_MIN)
		return refuse_open(server, CV_PEER_BAD_RECORD);
	result = cv_tls_record_open(&server->rx, record, record_len, plain, &type, &len_bytes);
	if (result)
		return refuse_open(server, result);
	if (type == CV_TLS_HANDSHAKE)
		return take_handshake(server, cv_span_of(plain, len_bytes));
	if (type == CV_TLS_ALERT && server->message_len == 0)
		return take_alert(server, cv_span_of(plain, len_bytes));
	return refuse_unexpected(server);
}

/* Unprotected alerts are legal until the client has sent something protected. */
static bool type_is_known(const struct cv_reality_server *server, uint8_t type)
{
	return type == CV_TLS_APPLICATION || type == CV_TLS_CCS ||
	       (type == CV_TLS_ALERT && server->rx.sequence == 0);
}

/* observable: Go's servers say goodbye when an unprotected alert ends the handshake, others do not.
 */
static void say_close_notify(struct cv_reality_server *server)
{
	static const uint8_t body[CV_TLS_ALERT_BODY] = {CV_TLS_ALERT_WARNING, CV_TLS_CLOSE_NOTIFY};

	(void)cv_tls_record_seal(&server->tx, CV_TLS_ALERT, body, sizeof(body), 0, &server->output);
}

static int take_record(struct cv_reality_server *server, uint8_t *record, size_t record_len)
{
	struct cv_span whole = cv_span_of(record, record_len);
	int result;

	switch (record[0]) {
	case CV_TLS_CCS:
		return take_ccs(server, whole);
	case CV_TLS_ALERT:
		cv_span_skip(&whole, CV_TLS_HEADER);
		result = take_alert(server, whole);
		if (result == CV_PEER_ALERT && cv_reality_target_is_go(server))
			say_close_notify(server);
		return result;
	default:
		return take_protected(server, record, record_len);
	}
}

int cv_reality_finished_read(struct cv_reality_server *server)
{
	int result = -EAGAIN;

	while (result == -EAGAIN) {
		struct cv_span bytes = cv_buffer_span(&server->client);
		size_t record_len;

		if (bytes.len_bytes < CV_TLS_HEADER)
			return -EAGAIN;
		if (!type_is_known(server, bytes.data[0]))
			return refuse_unexpected(server);
		if (bytes.data[1] != 3 || bytes.data[2] != 3)
			return refuse(server, CV_PEER_DECODE, CV_TLS_DECODE_ERROR);
		result = cv_tls_record_peek(bytes, &record_len);
		if (result == -EAGAIN)
			return result;
		if (result)
			return refuse_open(server, result);
		result = take_record(server, cv_buffer_bytes(&server->client), record_len);
		cv_buffer_consume(&server->client, record_len);
	}
	return result;
}
