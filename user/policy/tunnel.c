// SPDX-License-Identifier: MIT
/*
 * tunnel.c - where a tunnel leads: the entry of portMap for the port come to, else its address and
 * port, else this machine and the same port (compat 4.4).
 */
#include "policy/tunnel.h"

#include <stdlib.h>

static const struct cv_tunnel_port *find_port(const struct cv_tunnel *tunnel, uint16_t port)
{
	for (size_t i = 0; i < tunnel->port_count; i++)
		if (tunnel->ports[i].port == port)
			return &tunnel->ports[i];
	return NULL;
}

static void set_this_machine(const struct cv_destination *local, struct cv_destination *target)
{
	const uint16_t port = target->port;

	*target = (struct cv_destination){.kind = CV_ADDRESS_IPV4, .port = port};
	if (local->kind == CV_ADDRESS_IPV6) {
		target->kind = CV_ADDRESS_IPV6;
		target->ipv6[15] = 1;
	} else {
		target->ipv4[0] = 127;
		target->ipv4[3] = 1;
	}
}

void cv_tunnel_target(const struct cv_tunnel *tunnel, const struct cv_destination *local,
		      struct cv_destination *ret_target)
{
	const struct cv_tunnel_port *entry = find_port(tunnel, local->port);
	struct cv_destination target = tunnel->to;
	uint16_t port = target.port;

	if (entry && entry->to.port)
		port = entry->to.port;
	if (entry && entry->to.kind != CV_ADDRESS_NONE)
		target = entry->to;
	if (target.kind == CV_ADDRESS_NONE)
		set_this_machine(local, &target);
	target.port = port ? port : local->port;
	*ret_target = target;
}

struct cv_tunnel *cv_tunnel_free(struct cv_tunnel *tunnel)
{
	if (tunnel)
		free(tunnel->ports);
	free(tunnel);
	return NULL;
}
