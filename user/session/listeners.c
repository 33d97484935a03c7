// SPDX-License-Identifier: MIT
/*
 * listeners.c - each address of each inbound: steered where the kernel part is there, else bound.
 *
 *   steered  no port is bound: sk_lookup leads the address to our listeners. Changing hands is one
 *            map update, ports below 1024 need no capability, any process may be the next.
 *   bound    SO_REUSEPORT, one socket for each worker; unix paths: one socket for all
 *
 * Where names in hellos decide something, a program on the listeners reads them ahead of us.
 */
#include "session/listeners.h"

#include "base/log.h"
#include "base/reason.h"
#include "engine/classify.h"
#include "engine/steer.h"
#include "ring/listen.h"
#include "session/inherited.h"
#include "session/session_tunnel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096

struct cv_listeners {
	struct cv_listeners_request request;
	struct cv_steer *steer; /* NULL: everything is bound */
	struct cv_inherited inherited;
	bool has_inherited; /* some, and each is a worker's now */
	struct cv_inherited bound; /* the workers' descriptors, for a successor */
	struct cv_classify *classify; /* NULL: names are read in user space only */
};

/* ---- how ---------------------------------------------------------------------------------- */

static const char *steer_error(const struct cv_kernel *kernel, int error)
{
	if (error == -ENOTCONN)
		return "the pins steer another network namespace";
	return kernel->steer.error ? kernel->steer.why : strerror(-error);
}

static int decide(struct cv_listeners *listeners)
{
	const struct cv_daemon_settings *settings = &listeners->request.config->daemon;
	const struct cv_kernel *kernel = listeners->request.kernel;
	int error;

	if (!settings->steer)
		return 0;
	error = cv_steer_new(kernel, settings->pin_directory, &listeners->steer);
	if (!error) {
		cv_log(CV_LOG_INFO, "steering by the pins in %s", settings->pin_directory);
		return 0;
	}
	if (error == -ENOMEM || settings->bpf == CV_BPF_REQUIRE) {
		cv_log(CV_LOG_ERROR, "steering: %s", steer_error(kernel, error));
		return error;
	}
	cv_log(CV_LOG_INFO, "no steering: %s", steer_error(kernel, error));
	return 0;
}

/* ---- names -------------------------------------------------------------------------------- */

static int fill_names(struct cv_classify *classify, const struct cv_edge *edge)
{
	int error = 0;

	for (size_t i = 0; i < edge->name_count && !error; i++)
		error = cv_classify_add_name(classify, edge->table, edge->names[i].text,
					     edge->names[i].class, edge->names[i].action);
	return error;
}

static int classify_new(struct cv_listeners *listeners, bool *ret_drops)
{
	const struct cv_config *config = listeners->request.config;
	const char *directory = config->daemon.pin_directory;
	int error = -ENOENT;

	*ret_drops = false;
	for (size_t i = 0; i < config->inbound_count; i++) {
		const struct cv_edge *edge = config->inbounds[i].edge;

		if (!edge)
			continue;
		*ret_drops |= edge->drops;
		error = listeners->classify ? 0 : cv_classify_new(listeners->request.kernel,
								  directory,
								  &listeners->classify);
		if (!error)
			error = fill_names(listeners->classify, edge);
		if (error)
			break;
	}
	return error;
}

/* Without it everything is decided in user space, by the same names. */
static int prepare_names(struct cv_listeners *listeners)
{
	const struct cv_kernel *kernel = listeners->request.kernel;
	bool drops;
	int error = classify_new(listeners, &drops);

	if (error) {
		listeners->classify = cv_classify_free(listeners->classify);
		if (drops)
			cv_log(CV_LOG_INFO, "names are read in user space only: %s",
			       kernel->classify.error ? kernel->classify.why : strerror(-error));
	}
	for (unsigned i = 0; i < listeners->request.worker_count; i++)
		listeners->request.workers[i].classify = listeners->classify;
	if (drops && error &&
	    listeners->request.config->daemon.bpf == CV_BPF_REQUIRE) {
		cv_log(CV_LOG_ERROR, "names cannot be read in the kernel, which is required");
		return error;
	}
	return 0;
}

/* Also takes the program of a predecessor off that this socket comes from. */
static int classify_listener(const struct cv_listeners *listeners, const struct cv_inbound *inbound,
			     const struct cv_sockaddr *address, int fd)
{
	const struct cv_edge *edge = inbound->edge;
	const int unused = 0;
	int error = 0;

	if (address->any.sa_family == AF_UNIX)
		return 0;
	if (!edge || !listeners->classify || inbound->accepts_proxy) {
		(void)setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused));
		return 0;
	}
	error = cv_classify_add_port(listeners->classify, cv_sockaddr_port(address), edge->table,
				     edge->not_tls);
	return error ? error : cv_classify_attach(listeners->classify, fd);
}

static void classify_listeners(const struct cv_listeners *listeners,
			       const struct cv_inbound *inbound, const struct cv_sockaddr *address,
			       const int *fds)
{
	int error = 0;

	for (unsigned i = 0; i < listeners->request.worker_count && !error; i++)
		error = classify_listener(listeners, inbound, address, fds[i]);
	if (error)
		cv_log(CV_LOG_WARNING, "inbound %s: names on port %u are read in user space: %s",
		       inbound->tag, cv_sockaddr_port(address), strerror(-error));
}

/* ---- life --------------------------------------------------------------------------------- */

int cv_listeners_new(const struct cv_listeners_request *request,
		     struct cv_listeners **ret_listeners)
{
	struct cv_listeners *listeners = calloc(1, sizeof(*listeners));
	int error;

	if (!listeners)
		return -ENOMEM;
	listeners->request = *request;
	if (request->takeover)
		cv_inherited_find(&listeners->inherited);
	error = decide(listeners);
	if (!error)
		error = prepare_names(listeners);
	if (error)
		(void)cv_listeners_free(listeners);
	else
		*ret_listeners = listeners;
	return error;
}

struct cv_listeners *cv_listeners_free(struct cv_listeners *listeners)
{
	if (!listeners)
		return NULL;
	listeners->steer = cv_steer_free(listeners->steer);
	cv_inherited_close(&listeners->inherited);
	listeners->classify = cv_classify_free(listeners->classify);
	free(listeners);
	return NULL;
}

static bool is_steered(const struct cv_listeners *listeners, const struct cv_sockaddr *address)
{
	return listeners->steer && address->any.sa_family != AF_UNIX &&
	       cv_steer_allows(listeners->steer, address);
}

static int for_each_address(struct cv_listeners *listeners,
			    int (*visit)(struct cv_listeners *listeners,
					 const struct cv_inbound *inbound,
					 const struct cv_sockaddr *address))
{
	const struct cv_config *config = listeners->request.config;
	int error = 0;

	for (size_t i = 0; i < config->inbound_count && !error; i++) {
		const struct cv_inbound *inbound = &config->inbounds[i];

		for (size_t a = 0; a < inbound->listen_count && !error; a++)
			error = visit(listeners, inbound, &inbound->listen_addresses[a]);
	}
	return error;
}

/* ---- is it free? -------------------------------------------------------------------------- */

/* SO_REUSEPORT would let a second daemon take half of the first one's clients without a word, so
 * each address is bound once without it. Before all listeners: ours may overlap. */
static int try_to_bind(const struct cv_sockaddr *address)
{
	const int on = 1, off = 0;
	int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), error = 0;

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address->any.sa_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, &address->any, address->len_bytes) < 0)
		error = -errno;
	(void)close(fd);
	return error;
}

static int refuse(const struct cv_inbound *inbound, const struct cv_sockaddr *address, int error,
		  uint32_t holder)
{
	char text[CV_DESTINATION_TEXT];

	cv_sockaddr_format(address, text);
	if (holder)
		cv_log(CV_LOG_ERROR,
		       "inbound %s: culvertd %u listens on %s; --takeover would replace it",
		       inbound->tag, holder, text);
	else
		cv_log(CV_LOG_ERROR, "inbound %s: cannot listen on %s: %s", inbound->tag, text,
		       strerror(-error));
	return error;
}

/* Does it want connections, or datagrams? */
static bool carries(const struct cv_inbound *inbound, bool connections)
{
	if (!inbound->tunnel)
		return connections;
	return connections ? inbound->tunnel->carries_tcp : inbound->tunnel->carries_udp;
}

static int expect_free(struct cv_listeners *listeners, const struct cv_inbound *inbound,
		       const struct cv_sockaddr *address)
{
	uint32_t holder;
	int error;

	if (address->any.sa_family == AF_UNIX)
		return 0;
	error = carries(inbound, false) && !listeners->request.takeover
			? cv_tunnel_expect_free(address)
			: 0;
	if (error || !carries(inbound, true))
		return error ? refuse(inbound, address, error, 0) : 0;
	holder = listeners->steer ? cv_steer_holder(listeners->steer, address) : 0;
	if (holder && !listeners->request.takeover)
		return refuse(inbound, address, -EADDRINUSE, holder);
	if (cv_inherited_has(&listeners->inherited, address))
		return 0;
	error = try_to_bind(address);
	if (error == -EACCES &&
	    is_steered(listeners, address)) { /* a port below 1024: no need to bind it */
		error = cv_listen_expect_free(address);
		error = error == -EADDRINUSE ? error : 0;
	}
	return error ? refuse(inbound, address, error, 0) : 0;
}

int cv_listeners_expect_free(struct cv_listeners *listeners)
{
	return for_each_address(listeners, expect_free);
}

/* ---- listening ---------------------------------------------------------------------------- */

/* A path can be bound once only: the workers accept from one queue. */
static int share_socket(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return copy < 0 ? -errno : copy;
}

/* An old daemon's sockets first: one more would split what waits for it from what comes. */
static int bind_one(struct cv_listeners *listeners, const struct cv_inbound *inbound,
		    const struct cv_sockaddr *address, int first)
{
	const bool is_unix = address->any.sa_family == AF_UNIX;
	int fd = is_unix && first >= 0 ? share_socket(first)
				       : cv_inherited_take(&listeners->inherited, address);

	if (fd >= 0 || (is_unix && first >= 0))
		return fd;
	if (is_unix && listeners->request.takeover)
		return cv_listen_replace(address, BACKLOG, inbound->unix_mode);
	return cv_listen(address, BACKLOG, inbound->unix_mode);
}

static int open_bound(struct cv_listeners *listeners, const struct cv_inbound *inbound,
		      const struct cv_sockaddr *address, int *ret_fds)
{
	for (unsigned i = 0; i < listeners->request.worker_count; i++) {
		ret_fds[i] = bind_one(listeners, inbound, address, i ? ret_fds[0] : -1);
		if (ret_fds[i] >= 0)
			continue;
		int error = ret_fds[i];

		while (i-- > 0)
			(void)close(ret_fds[i]);
		return error;
	}
	for (unsigned i = 0; i < listeners->request.worker_count; i++)
		if (listeners->bound.count < CV_INHERITED_MAX)
			listeners->bound.fds[listeners->bound.count++] = ret_fds[i];
	return 0;
}

/* The old daemon had more workers: what is in the queue of each socket must be accepted. */
static int give_the_rest(struct cv_listeners *listeners, const struct cv_inbound *inbound,
			 const struct cv_sockaddr *address)
{
	int fd;

	for (unsigned i = 0; address->any.sa_family != AF_UNIX; i++) {
		fd = cv_inherited_take(&listeners->inherited, address);
		if (fd < 0)
			break;
		(void)classify_listener(listeners, inbound, address, fd);
		if (cv_worker_listen(
			    &listeners->request.workers[i % listeners->request.worker_count],
			    inbound, fd) != 0) {
			(void)close(fd);
			return -ENOMEM;
		}
		if (listeners->bound.count < CV_INHERITED_MAX)
			listeners->bound.fds[listeners->bound.count++] = fd;
	}
	return 0;
}

/* Each descriptor becomes a worker's, or is closed. */
static int give_to_workers(struct cv_listeners *listeners, const struct cv_inbound *inbound,
			   const int *fds)
{
	int error = 0;

	for (unsigned i = 0; i < listeners->request.worker_count; i++) {
		if (!error && cv_worker_listen(&listeners->request.workers[i], inbound, fds[i]))
			error = -ENOMEM;
		if (error)
			(void)close(fds[i]);
	}
	return error;
}

/* One socket for each worker; sk_lookup leads connections only, so these are always bound. */
static int hear_on(struct cv_listeners *listeners, const struct cv_inbound *inbound,
		   const struct cv_sockaddr *address)
{
	char text[CV_DESTINATION_TEXT];

	for (unsigned i = 0; i < listeners->request.worker_count; i++) {
		const int fd = cv_tunnel_bind(address);

		if (fd < 0)
			return refuse(inbound, address, fd, 0);
		if (cv_worker_hear(&listeners->request.workers[i], inbound, fd) != 0) {
			(void)close(fd);
			return -ENOMEM;
		}
	}
	cv_sockaddr_format(address, text);
	cv_log(CV_LOG_INFO, "inbound %s hears datagrams on %s", inbound->tag, text);
	return 0;
}

static int listen_on(struct cv_listeners *listeners, const struct cv_inbound *inbound,
		     const struct cv_sockaddr *address)
{
	const bool steered = is_steered(listeners, address);
	const unsigned count = listeners->request.worker_count;
	char text[CV_DESTINATION_TEXT];
	int fds[256];
	int error;

	if (count > sizeof(fds) / sizeof(fds[0]))
		return -EINVAL;
	error = carries(inbound, false) && address->any.sa_family != AF_UNIX
			? hear_on(listeners, inbound, address)
			: 0;
	if (error || !carries(inbound, true))
		return error;
	error = steered ? cv_steer_listen(listeners->steer, address, inbound->tag, BACKLOG, count,
					  fds)
			: open_bound(listeners, inbound, address, fds);
	if (error)
		return refuse(inbound, address, error, 0);
	classify_listeners(listeners, inbound, address, fds);
	error = give_to_workers(listeners, inbound, fds);
	if (!error && !steered)
		error = give_the_rest(listeners, inbound, address);
	cv_sockaddr_format(address, text);
	if (!error)
		cv_log(CV_LOG_INFO, "inbound %s listens on %s%s", inbound->tag, text,
		       steered ? ", steered" : "");
	return error;
}

/* A path has one socket, of which each worker of the old daemon had a copy. */
static int close_copies(struct cv_listeners *listeners, const struct cv_inbound *inbound,
			const struct cv_sockaddr *address)
{
	int fd = 0;

	(void)inbound;
	while (address->any.sa_family == AF_UNIX && fd >= 0) {
		fd = cv_inherited_take(&listeners->inherited, address);
		if (fd >= 0)
			(void)close(fd);
	}
	return 0;
}

int cv_listeners_open(struct cv_listeners *listeners)
{
	int error = for_each_address(listeners, listen_on);

	if (!error)
		error = for_each_address(listeners, close_copies);
	listeners->has_inherited = !error && cv_inherited_all_taken(&listeners->inherited);
	cv_inherited_close(&listeners->inherited); /* addresses that we do not have any more */
	if (error || !listeners->steer)
		return error;
	error = cv_steer_commit(listeners->steer, listeners->request.takeover);
	if (error)
		cv_log(CV_LOG_ERROR, "steering: cannot take the addresses: %s", strerror(-error));
	return error;
}

bool cv_listeners_has_inherited(const struct cv_listeners *listeners)
{
	return listeners->has_inherited;
}

const int *cv_listeners_bound(const struct cv_listeners *listeners, size_t *ret_count)
{
	*ret_count = listeners->bound.count;
	return listeners->bound.fds;
}
