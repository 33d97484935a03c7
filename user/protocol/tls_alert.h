/* SPDX-License-Identifier: MIT */
/*
 * tls_alert.h - alert descriptions (RFC 8446 6) our server side sends or understands, and the
 * handshake message types it names.
 */
#ifndef CV_PROTOCOL_TLS_ALERT_H
#define CV_PROTOCOL_TLS_ALERT_H

#define CV_TLS_ALERT_BODY 2
#define CV_TLS_ALERT_WARNING 1
#define CV_TLS_ALERT_FATAL 2

enum cv_tls_alert_description {
	CV_TLS_CLOSE_NOTIFY = 0,
	CV_TLS_UNEXPECTED_MESSAGE = 10,
	CV_TLS_BAD_RECORD_MAC = 20,
	CV_TLS_RECORD_OVERFLOW = 22,
	CV_TLS_ILLEGAL_PARAMETER = 47,
	CV_TLS_DECODE_ERROR = 50,
	CV_TLS_DECRYPT_ERROR = 51,
	CV_TLS_INTERNAL_ERROR = 80,
	CV_TLS_USER_CANCELED = 90,
};

enum cv_tls_handshake_type {
	CV_TLS_CLIENT_HELLO = 1,
	CV_TLS_SERVER_HELLO = 2,
	CV_TLS_NEW_SESSION_TICKET = 4,
	CV_TLS_ENCRYPTED_EXTENSIONS = 8,
	CV_TLS_CERTIFICATE = 11,
	CV_TLS_CERTIFICATE_VERIFY = 15,
	CV_TLS_FINISHED = 20,
	CV_TLS_KEY_UPDATE = 24,
};

#endif
