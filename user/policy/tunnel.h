/* SPDX-License-Identifier: MIT */
/*
 * tunnel.h - an inbound of protocol tunnel (dokodemo-door): whoever comes is led to one place, that
 * the configuration names.
 */
#ifndef CV_POLICY_TUNNEL_H
#define CV_POLICY_TUNNEL_H

#include "base/address.h"

#include <stddef.h>

struct cv_tunnel_port { /* of portMap */
	uint16_t port;
	struct cv_destination to; /* kind NONE: the tunnel's address; port 0: the port come to */
};

struct cv_tunnel {
	struct cv_destination to; /* kind NONE: this machine; port 0: the port come to */
	struct cv_tunnel_port *ports;
	size_t port_count;
	bool carries_tcp, carries_udp;
};

/** cv_tunnel_target() - Where a client that came to @local, an IP and port, is led. */
void cv_tunnel_target(const struct cv_tunnel *tunnel, const struct cv_destination *local,
		      struct cv_destination *ret_target);
/** cv_tunnel_free() - NULL-safe, returns NULL. */
struct cv_tunnel *cv_tunnel_free(struct cv_tunnel *tunnel);

#endif
