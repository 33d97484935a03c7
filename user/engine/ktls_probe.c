// SPDX-License-Identifier: MIT
/*
 * ktls_probe.c - may kernel TLS be used here?
 *
 *   policy -> version (faults that no trial shows) -> trial on loopback pairs -> support
 *
 * A trial per suite: one end of a TCP pair gets the protocol and keys both ways, the other end
 * seals and opens its records in user space. Whatever differs from what the engine relies on
 * switches kernel TLS off, with the step that differed. The versions are those of Debian's
 * packages: below them a peer can crash the kernel or read what it should not.
 */
#include "crypto/tls_record.h"
#include "engine/ktls.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <unistd.h>

#define WAIT_S 2
#define PIECE 64

/* ---- version ------------------------------------------------------------------------------ */

struct kernel_version {
	unsigned major, minor, patch;
};

static bool version_parse(const char *text, struct kernel_version *ret_version)
{
	struct kernel_version version = {0};

	if (sscanf(text, "%u.%u.%u", &version.major, &version.minor, &version.patch) < 2)
		return false;
	*ret_version = version;
	return true;
}

bool cv_ktls_kernel_is_sound(const char *release, const char *version)
{
	const char *debian = strstr(version, "Debian "); /* its release has no patch number */
	struct kernel_version kernel;

	if (!(debian && version_parse(debian + strlen("Debian "), &kernel)) &&
	    !version_parse(release, &kernel))
		return false;
	if (kernel.major == 6 && kernel.minor == 1)
		return kernel.patch >= 190;
	if (kernel.major == 6 && kernel.minor == 12)
		return kernel.patch >= 105;
	return kernel.major > 7 || (kernel.major == 7 && kernel.minor >= 2);
}

/* ---- trial -------------------------------------------------------------------------------- */

struct trial {
	struct cv_ktls ktls; /* one end of the pair */
	int plain_fd;	     /* the other, which works in user space */
	int pipe[2];
	struct cv_tls_keys seal, open; /* its keys */
	struct cv_buffer wire;
};

static int connect_pair(int *ret_near, int *ret_far)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct timeval wait = {.tv_sec = WAIT_S};
	const int on = 1;
	socklen_t len_bytes = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int near = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), far = -1, error = 0;

	if (listener < 0 || near < 0 ||
	    bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &len_bytes) < 0 ||
	    setsockopt(near, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0 ||
	    connect(near, (struct sockaddr *)&address, sizeof(address)) < 0)
		error = -errno;
	if (!error)
		far = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (!error && (far < 0 ||
		       setsockopt(far, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0 ||
		       setsockopt(far, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0))
		error = -errno;
	if (listener >= 0)
		(void)close(listener);
	if (error && near >= 0)
		(void)close(near);
	if (error)
		return error;
	*ret_near = near;
	*ret_far = far;
	return 0;
}

static const char *trial_open(struct trial *trial, const struct cv_tls_suite *suite)
{
	uint8_t secrets[2][CV_HASH_MAX];
	bool have_keys;

	if (pipe2(trial->pipe, O_CLOEXEC) < 0 ||
	    connect_pair(&trial->ktls.fd, &trial->plain_fd) < 0)
		return "no TCP pair on the loopback address";
	have_keys = cv_random_bytes(secrets, sizeof(secrets)) == 0 &&
		    cv_tls_keys_init(&trial->seal, suite, secrets[0], true) == 0 &&
		    cv_tls_keys_init(&trial->open, suite, secrets[1], false) == 0;
	cv_cleanse(secrets, sizeof(secrets));
	return have_keys ? NULL : "no keys";
}

static void trial_close(struct trial *trial)
{
	if (trial->ktls.fd >= 0)
		(void)close(trial->ktls.fd);
	if (trial->plain_fd >= 0)
		(void)close(trial->plain_fd);
	if (trial->pipe[0] >= 0) {
		(void)close(trial->pipe[0]);
		(void)close(trial->pipe[1]);
	}
	cv_tls_keys_done(&trial->seal);
	cv_tls_keys_done(&trial->open);
	cv_buffer_done(&trial->wire);
}

static bool send_sealed(struct trial *trial, uint8_t type, const void *bytes, size_t count_bytes)
{
	size_t len_bytes;
	ssize_t sent;

	cv_buffer_consume(&trial->wire, cv_buffer_len(&trial->wire));
	if (cv_tls_record_seal(&trial->seal, type, bytes, count_bytes, 0, &trial->wire) != 0)
		return false;
	len_bytes = cv_buffer_len(&trial->wire);
	sent = send(trial->plain_fd, cv_buffer_bytes(&trial->wire), len_bytes, MSG_NOSIGNAL);
	return sent == (ssize_t)len_bytes;
}

/* The next record of the wire, opened in user space, is this one. */
static bool expect_sealed(struct trial *trial, uint8_t type, const void *bytes, size_t count_bytes)
{
	uint8_t record[CV_TLS_HEADER + PIECE + 1 + CV_AEAD_TAG], plain[sizeof(record)], got_type;
	size_t record_len = CV_TLS_HEADER + count_bytes + 1 + CV_AEAD_TAG, got_len;

	return recv(trial->plain_fd, record, record_len, MSG_WAITALL) == (ssize_t)record_len &&
	       cv_tls_record_open(&trial->open, record, record_len, plain, &got_type, &got_len) ==
		       0 &&
	       got_type == type && got_len == count_bytes && memcmp(plain, bytes, got_len) == 0;
}

static const char *try_sending(struct trial *trial)
{
	static const uint8_t text[] = "from the kernel's end", close_notify[] = {1, 0};

	if (send(trial->ktls.fd, text, sizeof(text), MSG_NOSIGNAL) != sizeof(text) ||
	    !expect_sealed(trial, CV_TLS_APPLICATION, text, sizeof(text)))
		return "a record sent is not the right one";
	if (cv_ktls_send_control(&trial->ktls, CV_TLS_ALERT,
				 cv_span_of(close_notify, sizeof(close_notify))) < 0 ||
	    !expect_sealed(trial, CV_TLS_ALERT, close_notify, sizeof(close_notify)))
		return "an alert sent is not the right one";
	if (cv_ktls_sent_records(&trial->ktls) != trial->open.sequence)
		return "the count of records sent is not the right one";
	return NULL;
}

/* The pipe blocks, so that the first splice() waits for its record; it must take no part of the
 * alert behind it. */
static const char *try_receiving(struct trial *trial)
{
	static const uint8_t text[] = "from user space", alert[] = {2, 80};
	uint8_t bytes[PIECE], type;

	if (!send_sealed(trial, CV_TLS_APPLICATION, text, sizeof(text)) ||
	    recv(trial->ktls.fd, bytes, sizeof(text), MSG_WAITALL) != sizeof(text) ||
	    memcmp(bytes, text, sizeof(text)) != 0)
		return "a record received is not the right one";
	if (!send_sealed(trial, CV_TLS_APPLICATION, text, sizeof(text)) ||
	    !send_sealed(trial, CV_TLS_ALERT, alert, sizeof(alert)) ||
	    splice(trial->ktls.fd, NULL, trial->pipe[1], NULL, 65536, 0) != sizeof(text) ||
	    read(trial->pipe[0], bytes, sizeof(bytes)) != sizeof(text) ||
	    memcmp(bytes, text, sizeof(text)) != 0)
		return "a record spliced is not the right one";
	if (recv(trial->ktls.fd, bytes, sizeof(bytes), 0) >= 0 || errno != EIO)
		return "recv() at an alert does not say EIO";
	if (splice(trial->ktls.fd, NULL, trial->pipe[1], NULL, 65536, SPLICE_F_NONBLOCK) >= 0 ||
	    errno != EINVAL)
		return "splice() at an alert does not say EINVAL";
	if (cv_ktls_recv(trial->ktls.fd, bytes, sizeof(bytes), &type) != sizeof(alert) ||
	    type != CV_TLS_ALERT || memcmp(bytes, alert, sizeof(alert)) != 0)
		return "recvmsg() does not give the alert";
	return NULL;
}

/* Both directions again under the next keys: known to the kernel from 6.14. */
static bool try_rekey(struct trial *trial)
{
	static const uint8_t message[] = {24, 0, 0, 1, 0};
	uint8_t bytes[PIECE], type;

	return send_sealed(trial, CV_TLS_HANDSHAKE, message, sizeof(message)) &&
	       recv(trial->ktls.fd, bytes, sizeof(bytes), 0) < 0 &&
	       cv_ktls_recv(trial->ktls.fd, bytes, sizeof(bytes), &type) == sizeof(message) &&
	       type == CV_TLS_HANDSHAKE && cv_tls_keys_update(&trial->seal, true) == 0 &&
	       cv_ktls_set_keys(&trial->ktls, &trial->seal, false) == 0 &&
	       cv_tls_keys_update(&trial->open, false) == 0 &&
	       cv_ktls_set_keys(&trial->ktls, &trial->open, true) == 0 &&
	       !try_sending(trial) && !try_receiving(trial);
}

static const char *try_suite(uint16_t id, int *ret_error, bool *ret_rekey)
{
	struct trial trial = {.ktls.fd = -1, .plain_fd = -1, .pipe = {-1, -1}};
	const char *wrong;

	cv_buffer_init(&trial.wire, CV_TLS_RECORD_MAX);
	wrong = trial_open(&trial, cv_tls_suite_find(id));
	if (!wrong) {
		*ret_error = cv_ktls_attach(trial.ktls.fd);
		if (*ret_error)
			wrong = "a socket does not take the protocol \"tls\"";
	}
	if (!wrong) {
		*ret_error = cv_ktls_set_keys(&trial.ktls, &trial.open, true);
		if (!*ret_error)
			*ret_error = cv_ktls_set_keys(&trial.ktls, &trial.seal, false);
		if (*ret_error)
			wrong = "a socket does not take the keys";
	}
	if (!wrong)
		wrong = try_sending(&trial);
	if (!wrong)
		wrong = try_receiving(&trial);
	if (!wrong)
		*ret_rekey = try_rekey(&trial);
	trial_close(&trial);
	return wrong;
}

void cv_ktls_probe(enum cv_ktls_policy policy, struct cv_ktls_support *ret_support)
{
	static const uint16_t suites[] = {0x1301, 0x1302, 0x1303};
	struct cv_ktls_support support = {0};
	struct utsname name;
	const char *wrong = NULL;
	bool sound = uname(&name) == 0 && cv_ktls_kernel_is_sound(name.release, name.version);
	int error = 0;

	if (policy == CV_KTLS_OFF)
		wrong = "switched off by the configuration";
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]) && !wrong; i++)
		wrong = try_suite(suites[i], &error, &support.rekey);
	if (!wrong && !sound && policy != CV_KTLS_FORCE)
		wrong = "works, but this kernel has known faults (good: 6.1.190, 6.12.105, 7.2)";
	support.usable = !wrong;
	if (error)
		snprintf(support.why, sizeof(support.why), "%s: %s", wrong, strerror(-error));
	else if (wrong)
		snprintf(support.why, sizeof(support.why), "%s", wrong);
	else
		snprintf(support.why, sizeof(support.why), "three suites both ways%s%s",
			 support.rekey ? ", KeyUpdate" : ", no KeyUpdate before Linux 6.14",
			 sound ? "" : "; forced, known faults");
	*ret_support = support;
}
