/* SPDX-License-Identifier: MIT */
/*
 * reason.h - why something ended: one enum for return codes, log fields, metric labels and BPF.
 *
 * A value names who is at fault: PEER_ (the accepted client), TARGET_ (the site REALITY imitates),
 * UPSTREAM_ (where a session is forwarded to), POLICY_ (a rule of the operator), INTERNAL_ (us).
 * Values are negative so that they can be returned where 0 means success, stay below every -errno,
 * and are never reused or renumbered.
 */
#ifndef CULVERT_REASON_H
#define CULVERT_REASON_H

/* X(name, number, text for people) */
#define CV_REASONS(X) \
	X(PEER_DECODE, -2001, "malformed message") \
	X(PEER_TOO_LONG, -2002, "message longer than its limit") \
	X(PEER_TRUNCATED, -2003, "stream ended inside a message") \
	X(PEER_NOT_TLS, -2004, "first bytes are not a TLS handshake") \
	X(PEER_NO_TLS13, -2005, "ClientHello does not offer TLS 1.3") \
	X(PEER_SNI_NOT_LISTED, -2006, "SNI is not in serverNames") \
	X(PEER_NO_AUTH_SHARE, -2007, "no X25519 or X25519MLKEM768 key share to authenticate with") \
	X(PEER_AUTH_FAILED, -2008, "session id does not authenticate") \
	X(PEER_VERSION, -2009, "client version outside minClientVer..maxClientVer") \
	X(PEER_CLOCK, -2010, "client clock outside maxTimeDiff") \
	X(PEER_SHORT_ID, -2011, "shortId is not listed") \
	X(PEER_REPLAY, -2012, "ClientHello was seen before") \
	X(PEER_NO_MLKEM, -2013, "no X25519MLKEM768 share ahead of X25519 (requireMLKEM)") \
	X(PEER_FINISHED, -2014, "client Finished does not verify") \
	X(PEER_BAD_RECORD, -2015, "TLS record does not authenticate") \
	X(PEER_UNEXPECTED_MESSAGE, -2016, "message not allowed in this state") \
	X(PEER_ALERT, -2017, "peer sent a TLS alert") \
	X(PEER_UNKNOWN_USER, -2018, "unknown user id") \
	X(PEER_FLOW, -2019, "flow does not match the user's flow") \
	X(PEER_COMMAND, -2020, "command not supported") \
	X(PEER_ADDRESS, -2021, "address type or address not valid") \
	X(PEER_CREDENTIALS, -2022, "user name or password refused") \
	X(PEER_NO_METHOD, -2023, "no acceptable authentication method") \
	X(PEER_RESET, -2024, "client reset the connection") \
	X(PEER_TIMEOUT, -2025, "client did not answer in time") \
	X(PEER_CLOSED, -2026, "client closed before it was served") \
	X(PEER_PROTOCOL_VERSION, -2027, "protocol version not supported") \
	X(PEER_TLS_HANDSHAKE, -2028, "TLS handshake with the client failed") \
	X(PEER_SESSION_ID, -2029, "session id is not 32 bytes") \
	X(PEER_KEY_UPDATE, -2030, "client changed its TLS keys, which this kernel cannot follow") \
	X(PEER_NO_CLOSE_NOTIFY, -2031, "client ended without close_notify") \
	X(PEER_FRAGMENT, -2032, "fragment of a datagram, dropped") \
	X(PEER_STRANGER, -2033, "somebody else's datagram or connection, dropped") \
	X(PEER_SLOW, -2034, "client does not read what comes for it, datagram dropped") \
	X(PEER_NO_UPGRADE, -2040, "HTTP request for another host or path, or not to upgrade") \
	X(TARGET_UNREACHABLE, -2101, "target cannot be dialled") \
	X(TARGET_CLOSED, -2102, "target closed the connection") \
	X(TARGET_SPEAKS_FIRST, -2103, "target spoke before the ClientHello") \
	X(TARGET_NOT_TLS13, -2104, "target's answer is not a TLS 1.3 ServerHello we can use") \
	X(TARGET_HELLO_RETRY, -2105, "target answered with HelloRetryRequest") \
	X(TARGET_GROUP, -2106, "target chose a group we cannot imitate") \
	X(TARGET_TEMPLATE, -2107, "target's flight does not fit the template") \
	X(TARGET_PADDING, -2108, "target's records are too small for ours") \
	X(TARGET_TIMEOUT, -2109, "target ended the handshake before the client did") \
	X(TARGET_SESSION_ID, -2110, "target does not echo the session id") \
	X(UPSTREAM_REFUSED, -2201, "upstream refused the connection") \
	X(UPSTREAM_UNREACHABLE, -2202, "upstream network or host unreachable") \
	X(UPSTREAM_TIMEOUT, -2203, "upstream did not answer in time") \
	X(UPSTREAM_RESOLVE, -2204, "upstream name does not resolve") \
	X(UPSTREAM_RESET, -2205, "upstream reset the connection") \
	X(UPSTREAM_CLOSED, -2206, "upstream closed during the handshake") \
	X(UPSTREAM_DECODE, -2207, "upstream sent a malformed message") \
	X(UPSTREAM_ALERT, -2208, "upstream sent a TLS alert") \
	X(UPSTREAM_CERTIFICATE, -2209, "upstream's certificate does not verify") \
	X(UPSTREAM_REAL_CERTIFICATE, -2210, \
	  "upstream is the real site: REALITY did not accept us") \
	X(UPSTREAM_NOT_TLS13, -2211, "upstream does not speak TLS 1.3") \
	X(UPSTREAM_FINISHED, -2212, "upstream's Finished does not verify") \
	X(UPSTREAM_BAD_RECORD, -2213, "upstream's TLS record does not authenticate") \
	X(UPSTREAM_UNEXPECTED_MESSAGE, -2214, "upstream sent a message not allowed in this state") \
	X(UPSTREAM_VERSION, -2215, "upstream answered with another protocol version") \
	X(UPSTREAM_GROUP, -2216, "upstream chose a group we did not offer") \
	X(UPSTREAM_TRUNCATED, -2217, "upstream ended inside a message") \
	X(UPSTREAM_NO_ROUTE, -2218, "no route to the upstream's network")                         \
	X(UPSTREAM_KEY_UPDATE, -2219, \
	  "upstream changed its TLS keys, which this kernel cannot follow") \
	X(UPSTREAM_NO_CLOSE_NOTIFY, -2220, "upstream ended without close_notify") \
	X(UPSTREAM_CREDENTIALS, -2221, "upstream proxy refuses our user name or password") \
	X(UPSTREAM_SAYS_FAILURE, -2222, "upstream proxy reports a general failure") \
	X(UPSTREAM_SAYS_FORBIDDEN, -2223, "upstream proxy's rules forbid the destination") \
	X(UPSTREAM_SAYS_NO_ROUTE, -2224, "upstream proxy has no route to the destination") \
	X(UPSTREAM_SAYS_UNREACHABLE, -2225, "upstream proxy cannot reach the destination") \
	X(UPSTREAM_SAYS_REFUSED, -2226, "destination refused the upstream proxy") \
	X(UPSTREAM_SAYS_TIMEOUT, -2227, "destination did not answer the upstream proxy") \
	X(UPSTREAM_SAYS_COMMAND, -2228, "upstream proxy does not know the command") \
	X(UPSTREAM_SAYS_ADDRESS_TYPE, -2229, "upstream proxy does not know the address type") \
	X(UPSTREAM_SAYS_UNAVAILABLE, -2230, "upstream proxy is not available just now") \
	X(UPSTREAM_FAILED, -2231, "upstream proxy failed and is not to be gone around") \
	X(UPSTREAM_GONE_AROUND, -2232, "upstream proxy failed, sessions went out directly") \
	X(UPSTREAM_SLOW, -2233, "upstream does not read what goes to it, datagram dropped") \
	X(UPSTREAM_NO_TUNNEL, -2260, "no bridge has a tunnel open") \
	X(UPSTREAM_NO_UPGRADE, -2240, "upstream's web server does not upgrade the connection") \
	X(POLICY_BLOCKED, -2301, "blocked by a routing rule") \
	X(POLICY_NO_OUTBOUND, -2302, "rule names an outbound that does not exist") \
	X(POLICY_NO_FALLBACK, -2303, "no fallback configured") \
	X(POLICY_IDLE, -2304, "idle longer than the policy allows") \
	X(POLICY_SESSION_LIMIT, -2305, "too many sessions") \
	X(POLICY_STOPPING, -2306, "daemon is stopping") \
	X(POLICY_USER_DISABLED, -2307, "user is disabled") \
	X(POLICY_PRIVATE_TARGET, -2308, "private target refused") \
	X(POLICY_QUOTA, -2311, "user's quota is used up") \
	X(POLICY_EXPIRED, -2312, "user's time is over") \
	X(POLICY_USER_SESSIONS, -2313, "user has too many sessions") \
	X(POLICY_USER_ADDRESSES, -2314, "user comes from too many addresses") \
	X(POLICY_KICKED, -2315, "ended by the operator") \
	X(POLICY_NEEDS_RESTART, -2330, "cannot change while the daemon runs") \
	X(POLICY_EDGE_DROP, -2316, "name, or what is no TLS, is dropped by the edge") \
	X(POLICY_BANNED, -2317, "too many failed logins from this address") \
	X(POLICY_NO_PROXY, -2340, "user's external proxy does not exist") \
	X(POLICY_NO_DATAGRAMS, -2350, "outbound carries no datagrams") \
	X(POLICY_RATE, -2351, "datagram above the user's rate, dropped") \
	X(POLICY_STALLED, -2352, "took nothing while others on its carrier waited") \
	X(POLICY_NOT_TRUSTED, -2341, "not one of the proxies whose PROXY header counts") \
	X(POLICY_KEY_LIMIT, -2309, \
	  "TLS key served as long as it may, and this kernel cannot change it") \
	X(INTERNAL_MEMORY, -2401, "out of memory") \
	X(INTERNAL_CRYPTO, -2402, "cryptographic operation failed") \
	X(INTERNAL_RESOURCE, -2403, "out of descriptors, pipes or slots") \
	X(INTERNAL_SYSTEM, -2404, "unexpected system error") \
	X(INTERNAL_STATE, -2405, "impossible state") \
	X(INTERNAL_CONFIG, -2406, "configuration not valid") \
	X(INTERNAL_SELFTEST, -2410, "this kernel failed the self-test of sockmap") \
	X(INTERNAL_REFUSED, -2411, "the kernel refused a socket for sockmap")

enum cv_reason {
	CV_OK = 0,
#define X(name, number, text) CV_##name = (number),
	CV_REASONS(X)
#undef X
};

#endif
