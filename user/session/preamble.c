// SPDX-License-Identifier: MIT
/*
 * preamble.c - PROXY headers in front of a relay, key log lines beside it.
 */
#include "session/preamble.h"

#include "base/log.h"
#include "base/reason.h"
#include "crypto/crypto.h"
#include "wire/proxy_protocol.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int cv_session_proxy_header(struct cv_session *session, int version)
{
	struct cv_sockaddr source = {.len_bytes = sizeof(source.un)};
	struct cv_sockaddr destination = {.len_bytes = sizeof(destination.un)};

	if (version == 0)
		return 0;
	if (getpeername(session->client.fd, &source.any, &source.len_bytes) < 0 ||
	    getsockname(session->client.fd, &destination.any, &destination.len_bytes) < 0)
		return CV_PEER_RESET;
	return cv_proxy_protocol_write(version, &source, &destination, &session->upstream.out);
}

void cv_session_key_log(const char *path, char *lines)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (!lines || fd < 0 || write(fd, lines, strlen(lines)) < 0)
		cv_log(CV_LOG_WARNING, "masterKeyLog %s: cannot write", path);
	if (fd >= 0)
		(void)close(fd);
	if (lines)
		cv_cleanse(lines, strlen(lines));
	free(lines);
}
