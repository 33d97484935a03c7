/* SPDX-License-Identifier: MIT */
/*
 * datagram_proxy.h - an association of ours at an upstream SOCKS5 proxy (row 38): a control
 * connection, and a socket for datagrams in its framing.
 */
#ifndef CV_SESSION_DATAGRAM_PROXY_H
#define CV_SESSION_DATAGRAM_PROXY_H

#include "session/datagrams.h"

struct cv_datagram_proxy; /* heap object; frees itself when its operations have ended */

/* What failed while @bytes waited: cv_datagram_proxy_send() says what, and does not keep them. */
typedef void (*cv_datagram_lost)(void *owner, const struct cv_destination *destination,
				 uint8_t *bytes, size_t len_bytes);

/** cv_datagram_proxy_new() - Asks nothing before the first datagram. @near: as in datagrams.h;
 * @lost: with the same owner. NULL: out of memory. */
struct cv_datagram_proxy *cv_datagram_proxy_new(struct cv_session *session,
						const struct cv_outbound *outbound,
						const struct cv_datagram_near *near,
						cv_datagram_lost lost);
/** cv_datagram_proxy_free() - deliver() will not be called any more. NULL-safe, returns NULL. */
struct cv_datagram_proxy *cv_datagram_proxy_free(struct cv_datagram_proxy *proxy);
/** cv_datagram_proxy_carries() - Can datagrams go through @outbound at all? What is reached over
 * TLS or through another outbound cannot: they would cross the network in clear text, or around the
 * one in between. */
bool cv_datagram_proxy_carries(const struct cv_outbound *outbound);
const struct cv_outbound *cv_datagram_proxy_outbound(const struct cv_datagram_proxy *proxy);
/** cv_datagram_proxy_send() - Returns 0: sent, or kept until the proxy has answered;
 * CV_UPSTREAM_FAILED: it failed a moment ago, and others ways may be taken; what it said against
 * datagrams; -errno of the socket; CV_INTERNAL_RESOURCE: too many wait. */
int cv_datagram_proxy_send(struct cv_datagram_proxy *proxy,
			   const struct cv_destination *destination, uint8_t *bytes,
			   size_t len_bytes);

#endif
