/* SPDX-License-Identifier: MIT */
/*
 * sim_net.h - TCP as a program meets it, in memory: nothing arrives before it is let through.
 *
 *   end A  --say-->  [ arrived | on its way ]  --hear-->  end B       and the same the other way
 *                            ^ sim_deliver() moves this border, then a FIN or a reset behind it
 *
 * An end is either the program's, which has a descriptor for it, or the world's. The program's
 * system calls on such descriptors are led here by the linker (--wrap): it is the real code that
 * runs, with the kernel's answers: what is queued, errno after a reset, TCP_INFO, splice(2).
 */
#ifndef CV_FUZZ_SIM_NET_H
#define CV_FUZZ_SIM_NET_H

#include "base/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_FD_FIRST 5000
#define SIM_ENDS 256
#define SIM_WORLD_PORT 9000 /* from here on servers of the world listen */

/* What is on its way to an end, and what it has not read yet. */
struct sim_queue {
	uint8_t *bytes;
	size_t at, arrived, end, size_bytes; /* [at, arrived): readable; [arrived, end): coming */
	uint64_t arrived_bytes;              /* ever */
	bool fin, fin_arrived, reset;        /* behind the last byte */
};

struct sim_end {
	enum { SIM_FREE, SIM_FRESH, SIM_LISTENER, SIM_CONNECTED } kind;
	bool has_fd, is_open; /* of the program; whoever holds it has not closed it */
	bool said_fin, is_dead, lingers_not;
	int error;            /* told once */
	uint16_t port;        /* where the connection came to */
	size_t window_bytes;  /* unread by the peer, at most */
	struct sim_end *peer; /* of a listener: the first in its queue */
	struct sim_end *next_waiting;
	struct sim_queue in;
};

/* ---- for the ring ---- */

/** sim_end_of() - Of a descriptor; NULL: it is the kernel's. */
struct sim_end *sim_end_of(int fd);
int sim_fd_of(const struct sim_end *end);
/** sim_socket() - A descriptor without a connection. */
int sim_socket(void);
/** sim_events() - As poll(2). */
uint32_t sim_events(const struct sim_end *end);
/** sim_dial() - Connect the program's @end to @port of whoever listens. Returns 0 or -errno. */
int sim_dial(struct sim_end *end, uint16_t port);
/** sim_accept() - A descriptor, or -EAGAIN. */
int sim_accept(struct sim_end *listener);
/** sim_recv() / sim_send() - As recv(2) and send(2), but with -errno. */
int sim_recv(struct sim_end *end, uint8_t *bytes, size_t most_bytes);
/** sim_peek() - As sim_recv() of one byte, with MSG_PEEK. */
int sim_peek(struct sim_end *end, uint8_t *first);
int sim_send(struct sim_end *end, const uint8_t *bytes, size_t len_bytes);
/** sim_room() - How much sim_send() would take, or what it would return. */
int sim_room(struct sim_end *end);

/* ---- for the world ---- */

void sim_net_start(void);
/** sim_net_stop() - Aborts unless the program has closed everything. */
void sim_net_stop(void);
/** sim_listen() - A listener for the program. */
int sim_listen(uint16_t port);
/** sim_connect() - The world's end of a new connection to the program; NULL: nobody listens. */
struct sim_end *sim_connect(uint16_t port);
/** sim_visitor() - The world's end of a connection that the program has made; NULL: none is new. */
struct sim_end *sim_visitor(void);
void sim_say_fin(struct sim_end *end);
/** sim_abort() - With a reset. @loses: what is on its way does not arrive. */
void sim_abort(struct sim_end *end, bool loses);
/** sim_close() - Returns if with a FIN; unread bytes make a reset of it. */
bool sim_close(struct sim_end *end);
/** sim_fail() - The network gives @end up, e.g. for -ETIMEDOUT; the peer is reset. */
void sim_fail(struct sim_end *end, int error);
/** sim_deliver() - Let at most @most_bytes through to @end; when all is, what is behind them. True:
 * something was. */
bool sim_deliver(struct sim_end *end, size_t most_bytes);
/** sim_deliver_all() - To everybody. */
bool sim_deliver_all(void);
/** sim_link() - The @index-th end that something is coming to; NULL: there are not so many. */
struct sim_end *sim_link(unsigned index);

struct sim_whims {
	size_t chunk_bytes;   /* a system call moves no more */
	size_t window_bytes;  /* of connections to come */
	unsigned again_count; /* so many calls say EAGAIN without need */
	int dial_error;       /* of the next connection; 0 = none */
};
extern struct sim_whims sim_whims;
/** sim_relax() - No whims any more. */
void sim_relax(void);

#endif
