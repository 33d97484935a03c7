/* SPDX-License-Identifier: MIT */
/*
 * tls_identity.h - a certificate and its key, made for the test.
 */
#ifndef CV_TESTS_TLS_IDENTITY_H
#define CV_TESTS_TLS_IDENTITY_H

#include "protocol/tls_server.h"

/** tls_identity_make() - @alternatives: subjectAltName as openssl writes it, or NULL. */
struct cv_tls_certificate tls_identity_make(const char *common_name, const char *alternatives);
void tls_identity_free(struct cv_tls_certificate *identity);

#endif
