// SPDX-License-Identifier: MIT
/*
 * sim_calls.c - the program's system calls on descriptors of the simulated network.
 *
 * The linker leads every call of one of these functions here (--wrap=NAME in the Makefile); what is
 * not about a simulated descriptor goes on to the C library.
 */
#include "sim_calls.h"

#include "base/mutation.h"
#include "check.h"
#include "sim_net.h"
#include "sim_ring.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define STATE_ESTABLISHED 1
#define STATE_CLOSE 7

static ssize_t told(int result)
{
	if (result >= 0)
		return result;
	errno = -result;
	return -1;
}

static size_t at_once(size_t len_bytes)
{
	return len_bytes < sim_whims.chunk_bytes ? len_bytes : sim_whims.chunk_bytes;
}

static bool is_whim(void)
{
	if (sim_whims.again_count == 0)
		return false;
	sim_whims.again_count--;
	errno = EAGAIN;
	return true;
}

int __wrap_socket(int family, int type, int protocol)
{
	if ((family != AF_INET && family != AF_INET6) || (type & 15) != SOCK_STREAM)
		return (int)told(-EAFNOSUPPORT);
	check(protocol == 0 && (type & SOCK_NONBLOCK));
	return sim_socket();
}

ssize_t __wrap_recv(int fd, void *bytes, size_t len_bytes, int flags)
{
	struct sim_end *end = sim_end_of(fd);

	if (!end)
		return __real_recv(fd, bytes, len_bytes, flags);
	check((flags & ~MSG_PEEK) == MSG_DONTWAIT);
	if (is_whim())
		return -1;
	if (flags & MSG_PEEK)
		return told(sim_peek(end, bytes));
	return told(sim_recv(end, bytes, at_once(len_bytes)));
}

ssize_t __wrap_send(int fd, const void *bytes, size_t len_bytes, int flags)
{
	struct sim_end *end = sim_end_of(fd);

	if (!end)
		return __real_send(fd, bytes, len_bytes, flags);
	check((flags & MSG_DONTWAIT) && (flags & MSG_NOSIGNAL));
	return is_whim() ? -1 : told(sim_send(end, bytes, at_once(len_bytes)));
}

/* Between a simulated socket and a pipe of the kernel's, which holds no more than a page each. */
static ssize_t socket_to_pipe(struct sim_end *end, int pipe, size_t len_bytes)
{
	static uint8_t block[65536];
	const size_t most = at_once(len_bytes < sizeof(block) ? len_bytes : sizeof(block));
	const ssize_t taken = told(sim_recv(end, block, most));

	if (taken > 0)
		check(write(pipe, block, (size_t)taken) == taken);
	return taken;
}

static ssize_t pipe_to_socket(int pipe, struct sim_end *end, size_t len_bytes)
{
	static uint8_t block[65536];
	const int room = sim_room(end);
	size_t most = at_once(len_bytes < sizeof(block) ? len_bytes : sizeof(block));
	ssize_t taken;

	if (room < 0)
		return told(room);
	if (most > (size_t)room)
		most = (size_t)room;
	taken = read(pipe, block, most);
	if (taken > 0)
		check(sim_send(end, block, (size_t)taken) == taken);
	return taken;
}

ssize_t __wrap_splice(int in, off_t *in_at, int out, off_t *out_at, size_t len_bytes,
		      unsigned flags)
{
	struct sim_end *source = sim_end_of(in), *sink = sim_end_of(out);

	if (!source && !sink)
		return __real_splice(in, in_at, out, out_at, len_bytes, flags);
	check(!(source && sink) && !in_at && !out_at);
	if (is_whim())
		return -1;
	return source ? socket_to_pipe(source, out, len_bytes)
		      : pipe_to_socket(in, sink, len_bytes);
}

int __wrap_shutdown(int fd, int how)
{
	struct sim_end *end = sim_end_of(fd);

	if (!end)
		return __real_shutdown(fd, how);
	check(how == SHUT_WR);
	if (!cv_rule_holds("sim-fin"))
		return 0;
	if (!cv_rule_holds("sim-widen"))
		sim_fail(end, -ECONNRESET);
	if (end->is_dead || end->kind != SIM_CONNECTED)
		return (int)told(-ENOTCONN);
	sim_say_fin(end);
	return 0;
}

int __wrap_close(int fd)
{
	struct sim_end *end = sim_end_of(fd);

	if (!end)
		return __real_close(fd);
	check(!sim_is_awaited(fd)); /* an operation is under way on it */
	if (!cv_rule_holds("sim-descriptor"))
		return 0;
	end->has_fd = false;
	(void)sim_close(end);
	return 0;
}

static int tcp_info(const struct sim_end *end, void *value, socklen_t *len_bytes)
{
	const struct sim_queue *in = &end->in;
	const bool is_over =
		end->is_dead || (end->said_fin && in->fin_arrived && end->peer->in.fin_arrived);
	const struct tcp_info info = {
		.tcpi_state =
			is_over && cv_rule_holds("sim-reset") ? STATE_CLOSE : STATE_ESTABLISHED,
		.tcpi_bytes_received = in->arrived_bytes + in->fin_arrived,
		.tcpi_bytes_acked = end->peer ? end->peer->in.arrived_bytes : 0,
		.tcpi_rcv_mss = 1448,
	};

	check(*len_bytes <= sizeof(info));
	memcpy(value, &info, *len_bytes);
	return 0;
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len_bytes)
{
	struct sim_end *end = sim_end_of(fd);

	if (!end)
		return __real_getsockopt(fd, level, name, value, len_bytes);
	if (level == IPPROTO_TCP && name == TCP_INFO && end->kind == SIM_CONNECTED)
		return tcp_info(end, value, len_bytes);
	return (int)told(-ENOPROTOOPT);
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len_bytes)
{
	struct sim_end *end = sim_end_of(fd);

	if (!end)
		return __real_setsockopt(fd, level, name, value, len_bytes);
	if (level == SOL_SOCKET && name == SO_LINGER)
		end->lingers_not = true;
	return 0;
}

static int address_of(const struct sim_end *end, bool is_peer, struct sockaddr *address,
		      socklen_t *len_bytes)
{
	struct sockaddr_in in = {.sin_family = AF_INET};

	if (is_peer && end->kind != SIM_CONNECTED)
		return (int)told(-ENOTCONN);
	in.sin_port = htons(end->port);
	in.sin_addr.s_addr = htonl(is_peer ? 0xc6336401 : INADDR_LOOPBACK); /* 198.51.100.1 */
	check(*len_bytes >= sizeof(in));
	memcpy(address, &in, sizeof(in));
	*len_bytes = sizeof(in);
	return 0;
}

int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *len_bytes)
{
	struct sim_end *end = sim_end_of(fd);

	return end ? address_of(end, false, address, len_bytes)
		   : __real_getsockname(fd, address, len_bytes);
}

int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *len_bytes)
{
	struct sim_end *end = sim_end_of(fd);

	return end ? address_of(end, true, address, len_bytes)
		   : __real_getpeername(fd, address, len_bytes);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	struct sim_end *end = sim_end_of(fd);
	va_list arguments;
	void *value;

	va_start(arguments, request);
	value = va_arg(arguments, void *);
	va_end(arguments);
	if (!end)
		return __real_ioctl(fd, request, value);
	if (request == SIOCOUTQ)
		*(int *)value = (int)(end->peer->in.end - end->peer->in.arrived);
	else if (request == SIOCOUTQNSD)
		*(int *)value = 0;
	else if (request == FIONREAD)
		*(int *)value = (int)(end->in.arrived - end->in.at);
	else
		return (int)told(-ENOTTY);
	return 0;
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *len_bytes, int flags)
{
	struct sim_end *end = sim_end_of(fd);

	if (!end)
		return __real_accept4(fd, address, len_bytes, flags);
	return (int)told(sim_accept(end));
}

/* ---- threads, clocks ---------------------------------------------------------------------- */

/* The worker's thread is this one: it runs to its end before pthread_create() returns. */
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*start)(void *), void *context)
{
	if (!sim_is_running())
		return __real_pthread_create(thread, attributes, start, context);
	*thread = pthread_self();
	(void)start(context);
	return 0;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
	return sim_is_running() ? 0 : __real_pthread_join(thread, result);
}

/* Who waits for a worker waits for its posts. */
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock)
{
	if (!sim_is_running())
		return __real_pthread_cond_wait(condition, lock);
	(void)pthread_mutex_unlock(lock);
	sim_run_posts();
	(void)pthread_mutex_lock(lock);
	return 0;
}

int __wrap_malloc_trim(size_t pad)
{
	(void)pad;
	return 0;
}

/* ---- the seam ----------------------------------------------------------------------------- */

bool __wrap_cv_handover_is_drained(struct cv_session *session, enum cv_direction direction)
{
	return !cv_rule_holds("sim-drained") || __real_cv_handover_is_drained(session, direction);
}

/* Law 1: nothing of a direction is in user space when an engine gets it. */
int __wrap_cv_handover_try(struct cv_session *session, enum cv_direction direction,
			   const struct cv_engine *engine)
{
	const struct cv_leg *source = cv_session_source(session, direction);
	const struct cv_leg *sink = cv_session_sink(session, direction);

	check(cv_leg_undecoded(source) == 0 && !source->recv_op.pending);
	check(cv_leg_queued(sink) == 0 && !sink->send_op.pending);
	check(cv_leg_rx_clear(source) && cv_leg_tx_clear(sink));
	check(!session->flow_active[direction] && !session->flow_ended[direction]);
	if (!cv_rule_holds("sim-count"))
		session->user_moved_bytes[direction]++;
	return __real_cv_handover_try(session, direction, engine);
}
