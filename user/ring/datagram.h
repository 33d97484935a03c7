/* SPDX-License-Identifier: MIT */
/*
 * datagram.h - UDP sockets on a ring.
 *
 * The ring waits, datagrams are read and written by hand, sixteen at a time, into memory that all
 * sockets of a worker share: whoever waits holds no buffer. A recvmsg given to the ring would need
 * one of 64 KiB for each socket, or would cut what does not fit. The kernel hands over what came in
 * one go in one piece where it can (UDP_GRO), and takes a run of equal ones likewise (UDP_SEGMENT).
 */
#ifndef CV_RING_DATAGRAM_H
#define CV_RING_DATAGRAM_H

#include "ring/ring.h"

#define CV_DATAGRAM_HEADROOM 264 /* writable, in front of each datagram received */

struct cv_datagram_pool;   /* the memory; of one ring */
struct cv_datagram_socket; /* heap object; frees itself when it is closed and its poll ended */

/** cv_datagram_pool_new() - 1 MiB of addresses, memory only as touched. NULL: out of memory. */
struct cv_datagram_pool *cv_datagram_pool_new(void);
/** cv_datagram_pool_free() - After the ring's last turn. NULL-safe, returns NULL. */
struct cv_datagram_pool *cv_datagram_pool_free(struct cv_datagram_pool *pool);

struct cv_datagram_config {
	struct cv_ring *ring;
	struct cv_datagram_pool *pool;
	const struct cv_sockaddr *address; /* to bind to; NULL: any of either family, any port */
	/* For each datagram, on the ring's thread. @bytes are its own until it returns, and the
	 * headroom. It may send on any socket, and close any. */
	void (*received)(void *owner, const struct cv_sockaddr *from, uint8_t *bytes,
			 size_t len_bytes);
	/* Before each batch: false: nothing is read. NULL: always. May close. */
	bool (*may_read)(void *owner);
	/* After each batch of them, while all are still in memory. NULL: not told. May close. */
	void (*batch_done)(void *owner);
	/* A queued datagram could not be sent, for -errno. It may only count. NULL: not told. */
	void (*unsent)(void *owner, int error);
	void *owner;
};

/** cv_datagram_open() - Returns 0 or -errno. */
int cv_datagram_open(const struct cv_datagram_config *config,
		     struct cv_datagram_socket **ret_socket);
/** cv_datagram_close() - received() will not be called any more; the port is free after the ring's
 * next turn. NULL-safe, returns NULL. */
struct cv_datagram_socket *cv_datagram_close(struct cv_datagram_socket *socket);
/** cv_datagram_connect() - From now on only to and from @address. Returns 0 or -errno. */
int cv_datagram_connect(struct cv_datagram_socket *socket, const struct cv_sockaddr *address);
/** cv_datagram_send() - At once or not at all; @to NULL: where it is connected to. Returns 0 or
 * -errno: -EAGAIN if the queue is full, -EMSGSIZE, -EAFNOSUPPORT, what the network says. */
int cv_datagram_send(struct cv_datagram_socket *socket, const struct cv_sockaddr *to,
		     const uint8_t *bytes, size_t len_bytes);
/** cv_datagram_queue() - To be sent with others: @bytes have to stay as they are until
 * cv_datagram_flush(). What could not be sent is told to unsent(). Returns 0 or -EAFNOSUPPORT. */
int cv_datagram_queue(struct cv_datagram_socket *socket, const struct cv_sockaddr *to,
		      const uint8_t *bytes, size_t len_bytes);
/** cv_datagram_flush() - Send what is queued. NULL-safe. */
void cv_datagram_flush(struct cv_datagram_socket *socket);
/** cv_datagram_adopt() - As cv_datagram_open() for a socket that is bound already; takes @fd over
 * unless it fails. Others may have descriptors of it. @config->address is not looked at. */
int cv_datagram_adopt(const struct cv_datagram_config *config, int fd,
		      struct cv_datagram_socket **ret_socket);
/** cv_datagram_dup() - Another descriptor of the socket, or -errno. From then on the port stays as
 * long as either is open. */
int cv_datagram_dup(struct cv_datagram_socket *socket);
/** cv_datagram_local() - The address it is bound to. Returns 0 or -errno. */
int cv_datagram_local(const struct cv_datagram_socket *socket, struct cv_sockaddr *ret_address);

#endif
