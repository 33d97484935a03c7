// SPDX-License-Identifier: MIT
/*
 * upstream_reason.c - who is at fault depends on the leg: the same malformed record is the client's
 * doing on one and the upstream's on the other.
 */
#include "protocol/upstream_reason.h"

int cv_upstream_reason(int reason)
{
	switch (reason) {
	case CV_PEER_DECODE:
	case CV_PEER_TOO_LONG:
		return CV_UPSTREAM_DECODE;
	case CV_PEER_TRUNCATED:
		return CV_UPSTREAM_TRUNCATED;
	case CV_PEER_BAD_RECORD:
		return CV_UPSTREAM_BAD_RECORD;
	case CV_PEER_UNEXPECTED_MESSAGE:
		return CV_UPSTREAM_UNEXPECTED_MESSAGE;
	case CV_PEER_ALERT:
		return CV_UPSTREAM_ALERT;
	case CV_PEER_PROTOCOL_VERSION:
		return CV_UPSTREAM_VERSION;
	case CV_PEER_KEY_UPDATE:
		return CV_UPSTREAM_KEY_UPDATE;
	case CV_PEER_NO_CLOSE_NOTIFY:
		return CV_UPSTREAM_NO_CLOSE_NOTIFY;
	default:
		return reason;
	}
}

bool cv_upstream_is_answer(int reason)
{
	switch (reason) {
	case CV_UPSTREAM_SAYS_FORBIDDEN:
	case CV_UPSTREAM_SAYS_NO_ROUTE:
	case CV_UPSTREAM_SAYS_UNREACHABLE:
	case CV_UPSTREAM_SAYS_REFUSED:
	case CV_UPSTREAM_SAYS_TIMEOUT:
	case CV_UPSTREAM_SAYS_COMMAND:
	case CV_UPSTREAM_SAYS_ADDRESS_TYPE:
		return true;
	default:
		return false;
	}
}
