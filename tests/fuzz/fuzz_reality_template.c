// SPDX-License-Identifier: MIT
/*
 * fuzz_reality_template.c - the target's bytes, whole and as every prefix.
 *
 * The session id to be echoed is taken from where a ServerHello has it, so that the interesting
 * part is reached without guessing 32 bytes. What an error is decided on does not change by more
 * bytes; what is accepted must lie inside the input.
 */
#include "protocol/reality_internal.h"

#include <culvert/reason.h>

#include "check.h"

#include <errno.h>

#define ECHO_AT (CV_TLS_HEADER + CV_HELLO_SESSION_ID_OFFSET)

static void check_template(const struct cv_reality_template *template, struct cv_span saved)
{
	const size_t share_len = template->group == CV_GROUP_X25519 ? 32 : CV_REALITY_HYBRID_ANSWER;
	size_t total = CV_TLS_HEADER + template->server_hello_len + CV_TLS_HEADER + 1;

	check(template->group == CV_GROUP_X25519 || template->group == CV_GROUP_X25519MLKEM768);
	check(template->suite != NULL);
	check(template->key_share_offset + share_len <= template->server_hello_len);
	check(template->combined == (template->record_len[2] > 512));
	for (int i = 2; i <= 6; i++)
		check(template->record_len[i] <= CV_TLS_RECORD_MAX);
	if (template->combined) {
		check(saved.len_bytes >= total + CV_TLS_HEADER);
		return;
	}
	for (int i = 2; i <= 5; i++) {
		check(template->record_len[i] >= CV_TLS_HEADER);
		total += template->record_len[i];
	}
	check(saved.len_bytes >= total);
	check((template->record_len[6] > 0) == (saved.len_bytes > total));
	check(template->record_len[6] == 0 || saved.len_bytes > total + CV_TLS_HEADER);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct cv_span saved = cv_span_of(data, size);
	struct cv_reality_template template;
	uint8_t session_id[32] = {0};
	int decided = -EAGAIN;

	if (size >= ECHO_AT + sizeof(session_id))
		memcpy(session_id, data + ECHO_AT, sizeof(session_id));
	for (size_t len = 0; len <= size; len++) {
		const struct cv_span prefix = cv_span_of(data, len);
		const int result = cv_reality_template_read(prefix, session_id, &template);

		check(decided >= -EAGAIN || result == decided);
		decided = result;
		if (result == 0)
			check_template(&template, prefix);
		if (len > 4096) /* the rest is one long record */
			len += 61;
	}
	if (cv_reality_template_read(saved, session_id, &template) == 0)
		check_template(&template, saved);
	return 0;
}
