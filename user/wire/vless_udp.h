/* SPDX-License-Identifier: MIT */
/*
 * vless_udp.h - datagrams on a VLESS stream, in either of its two forms.
 *
 *   command 2   length 2 | datagram | length 2 | datagram ...   all to and from one target
 *   command 3   XUDP (xudp.h): each with its address
 */
#ifndef CV_WIRE_VLESS_UDP_H
#define CV_WIRE_VLESS_UDP_H

#include "wire/xudp.h"

#define CV_VLESS_UDP_DATA_MAX 8190 /* that is written with a length: readers have 8 KiB for both \
				    */
#define CV_VLESS_UDP_FRAME_MAX CV_XUDP_FRAME_MAX

struct cv_vless_udp {
	bool is_xudp;
	struct cv_xudp xudp;
	struct cv_destination target; /* command 2: the only one */
};

/** cv_vless_udp_plain() - Command 2 with @target, either side. */
void cv_vless_udp_plain(struct cv_vless_udp *udp, const struct cv_destination *target);
/** cv_vless_udp_xudp_client() / _server() - As in xudp.h. */
void cv_vless_udp_xudp_client(struct cv_vless_udp *udp, const uint8_t *global_id);
void cv_vless_udp_xudp_server(struct cv_vless_udp *udp);

/** cv_vless_udp_read() - As cv_xudp_read(); a length of 0 is passed over. Source: VLESS 4. */
int cv_vless_udp_read(struct cv_vless_udp *udp, struct cv_span bytes,
		      struct cv_xudp_datagram *ret_datagram, size_t *ret_used_bytes);
/** cv_vless_udp_append() - As cv_xudp_append(); CV_PEER_TOO_LONG above CV_VLESS_UDP_DATA_MAX, and
 * of an empty datagram nothing is written: there is no form for it. With a length @address is not
 * looked at. Source: VLESS 4. */
int cv_vless_udp_append(struct cv_vless_udp *udp, const struct cv_destination *address,
			struct cv_span data, struct cv_buffer *out);

#endif
