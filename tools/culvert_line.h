/* SPDX-License-Identifier: MIT */
/*
 * culvert_line.h - a connection to a server or proxy, with blocking calls and one deadline.
 */
#ifndef CULVERT_TOOLS_CULVERT_LINE_H
#define CULVERT_TOOLS_CULVERT_LINE_H

#include "base/address.h"
#include "protocol/tls_client.h"

#define CV_LINE_LEVELS 3

struct cv_line {
	int fd;
	uint64_t due_ms; /* monotonic: nothing waits longer */
	struct cv_buffer level[CV_LINE_LEVELS], output;
	struct cv_layer *layers[CV_LINE_LEVELS - 1];
	size_t layer_count;
	char detail[128]; /* of a failure, "" = none */
};

void cv_line_init(struct cv_line *line, uint64_t due_ms);
void cv_line_done(struct cv_line *line);
/* Each returns 0 or a reason. */
int cv_line_connect(struct cv_line *line, const struct sockaddr *address, socklen_t address_len);
/** cv_line_dial() - Each address of a name in turn. */
int cv_line_dial(struct cv_line *line, const struct cv_destination *destination);
/** cv_line_secure() - TLS, inside of the TLS that is there already. */
int cv_line_secure(struct cv_line *line, const struct cv_tls_client_config *config);
/** cv_line_say() - All of @bytes, which is empty then. */
int cv_line_say(struct cv_line *line, struct cv_buffer *bytes);
int cv_line_send(struct cv_line *line, const void *bytes, size_t count_bytes);
/** cv_line_hear() - More bytes in cv_line_input(), or why there are none. */
int cv_line_hear(struct cv_line *line);
/** cv_line_input() - What came and was not consumed. */
struct cv_buffer *cv_line_input(struct cv_line *line);

#endif
