/* SPDX-License-Identifier: MIT */
/*
 * password.h - how passwords are stored, and whether one is right.
 *
 * The stored form is one string, decided by its prefix:
 *
 *   $y$ yescrypt   $gy$ gost-yescrypt   $7$ scrypt   $6$ sha512-crypt   $5$ sha256-crypt
 *   $2a$ $2b$ $2y$ bcrypt   $argon2id$ argon2id   {plain}TEXT, or no $: the password itself
 */
#ifndef CV_POLICY_PASSWORD_H
#define CV_POLICY_PASSWORD_H

#include <stdbool.h>
#include <stddef.h>

#define CV_PASSWORD_MAX 255    /* bytes of a password: what SOCKS5 can carry */
#define CV_PASSWORD_STORED 384 /* bytes of a stored form, with the NUL */

/** cv_password_is_plain() - Is the password itself stored, and no hash? */
bool cv_password_is_plain(const char *stored);
/** cv_password_flaw() - Why nothing can be verified against @stored: a static text for people, or
 * NULL if it is well formed. Source: SOCKS5 A10. */
const char *cv_password_flaw(const char *stored);
/**
 * cv_password_verify() - Is it the password of @stored? Takes as long as the hash was made to take,
 * so not for an event loop, unless it is plain. False also for a @stored with a flaw, for a
 * password longer than CV_PASSWORD_MAX or with a NUL in it. Comparisons are in constant time.
 */
bool cv_password_verify(const char *stored, const char *password, size_t len);
/** cv_password_hash() - yescrypt with a random salt and libxcrypt's default cost.
 * Returns 0, -EINVAL (@password is too long) or CV_INTERNAL_CRYPTO. */
int cv_password_hash(const char *password, char ret_stored[CV_PASSWORD_STORED]);

#endif
