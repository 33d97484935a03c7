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

bool cv_session_client_address(const struct cv_session *session, struct cv_sockaddr *ret_address)
{
	*ret_address = (struct cv_sockaddr){.len_bytes = sizeof(ret_address->un)};
	if (session->proxied)
		*ret_address = session->proxied->source;
	else if (session->client.fd < 0 ||
		 getpeername(session->client.fd, &ret_address->any, &ret_address->len_bytes) < 0)
		return false;
	return true;
}

bool cv_session_local_address(const struct cv_session *session, struct cv_destination *ret_local)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.un)};

	if (getsockname(session->client.fd, &address.any, &address.len_bytes) < 0 ||
	    !cv_sockaddr_to_destination(&address, ret_local))
		return false;
	ret_local->port = 0;
	return true;
}

int cv_session_proxy_header(struct cv_session *session, int version)
{
	struct cv_sockaddr source, destination = {.len_bytes = sizeof(destination.un)};

	if (version == 0)
		return 0;
	if (!cv_session_client_address(session, &source))
		return CV_PEER_RESET;
	if (session->proxied)
		destination = session->proxied->destination;
	else if (getsockname(session->client.fd, &destination.any, &destination.len_bytes) < 0)
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
