/* SPDX-License-Identifier: MIT */
/*
 * ktls.h - TLS 1.3 record protection in the kernel, for one established TCP socket.
 *
 *   cv_ktls_attach()    the upper layer protocol "tls": the socket still works as before, but can
 *                       never again enter a sockmap
 *   cv_ktls_set_keys()  from here on write() takes, or read() gives, plain bytes
 *
 * What is no application data never comes by read() or splice(): it is fetched with its type by
 * cv_ktls_recv(). The kernel understands none of it; whoever has the secrets (the record layer)
 * does, behind struct cv_ktls's control().
 */
#ifndef CV_ENGINE_KTLS_H
#define CV_ENGINE_KTLS_H

#include "base/buffer.h"
#include "crypto/tls_schedule.h"

#include <sys/types.h>

/* One socket with kernel TLS. Owned by its leg; flows borrow it. */
struct cv_ktls {
	int fd;
	bool rx_on, tx_on;
	bool close_notify_received; /* else a FIN is a truncation */
	bool close_notify_sent;
	bool data_received;	    /* since the last control() */
	/*
	 * control: a record that is no application data, or how reading failed (@type 0, @error).
	 * Returns 0 (go on), 1 (close_notify: the receiving direction is over) or a reason.
	 */
	int (*control)(struct cv_ktls *ktls, uint8_t type, struct cv_span body, int error);
	/* pay: send what is owed and what the key's lifetime asks for. 0, -EAGAIN or a reason. */
	int (*pay)(struct cv_ktls *ktls);
	void *owner;
	/* kept by ktls.c and the engine: has everything that was written reached TCP? */
	uint64_t tx_content_bytes, tx_base_bytes;
	uint64_t tx_first_sequence;
	uint64_t tx_records_max; /* at least as many as the kernel made with this key */
};

/** cv_ktls_attach() - Put the protocol "tls" on @fd. 0 (also when it is there already) or -errno:
 * -ENOENT without kernel TLS, -ENOTCONN unless established. */
int cv_ktls_attach(int fd);

/**
 * cv_ktls_set_keys() - Let the kernel protect what is sent (@is_tx) or open what is received.
 * @keys: secret, suite and the number of records so far; kept by the caller
 * RX: the next unread byte of the socket must be the first of a record. TX: everything sealed
 * before must be in the socket. Returns 0 or -errno; after an error nothing has changed. -EBUSY:
 * there are keys already and this kernel (before 6.14) cannot change them.
 */
int cv_ktls_set_keys(struct cv_ktls *ktls, const struct cv_tls_keys *keys, bool is_tx);

/** cv_ktls_send_control() - One record of @type, nonblocking. 0, -EAGAIN (socket full) or -errno.
 */
int cv_ktls_send_control(struct cv_ktls *ktls, uint8_t type, struct cv_span body);
/** cv_ktls_close_notify() - Send it unless it was sent already. As cv_ktls_send_control(). */
int cv_ktls_close_notify(struct cv_ktls *ktls);
/** cv_ktls_recv() - recvmsg(2), nonblocking, with the content type. As recv(2), but -errno. */
ssize_t cv_ktls_recv(int fd, void *bytes, size_t size_bytes, uint8_t *ret_type);

/** cv_ktls_wrote() - @count_bytes of content were given to the kernel in one call. */
void cv_ktls_wrote(struct cv_ktls *ktls, size_t count_bytes);
/** cv_ktls_push() - Have TCP send what it holds. For a full socket: records that came with "more
 * will follow" wait for what does not fit any more, for ever. */
void cv_ktls_push(const struct cv_ktls *ktls);
/** cv_ktls_is_pushed() - Every record made so far is in TCP's queue. The kernel keeps up to a
 * record back when the socket is full, and would drop that at shutdown() and close(). */
bool cv_ktls_is_pushed(const struct cv_ktls *ktls);
/** cv_ktls_sent_records() - Records made with the present key, as the kernel counts; 0 unknown. */
uint64_t cv_ktls_sent_records(const struct cv_ktls *ktls);

/* ---- is it to be used? (ktls_probe.c) ----------------------------------------------------- */

enum cv_ktls_policy { CV_KTLS_AUTO, CV_KTLS_OFF, CV_KTLS_FORCE };

struct cv_ktls_support {
	bool usable;
	bool rekey;    /* keys can be changed: from Linux 6.14 */
	char why[160]; /* why not, or what was found; for people */
};

/**
 * cv_ktls_probe() - Try all of it on loopback pairs: keys both ways for each suite, a record each
 * way, an alert as read(), splice() and recvmsg() see it.
 * AUTO asks for a kernel without known faults, too; FORCE only for the trial. Milliseconds; opens
 * and closes sockets; not for a worker's loop.
 */
void cv_ktls_probe(enum cv_ktls_policy policy, struct cv_ktls_support *ret_support);

/** cv_ktls_kernel_is_sound() - Whether this kernel has the fixes that kTLS needs: 6.1.190,
 * 6.12.105, 7.2 and later ones of the same series or above. @release and @version as uname() has
 * them; Debian's own version number is read from the latter. */
bool cv_ktls_kernel_is_sound(const char *release, const char *version);

#endif
