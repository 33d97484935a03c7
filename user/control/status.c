// SPDX-License-Identifier: MIT
/*
 * status.c - accepts clients, reads one request of each, writes the response, closes.
 *
 *   accept (from loopback only) -> READ a request -> status_site.c -> WRITE -> close
 *
 * One thread polls them all, as control_socket.c does. A client has CLIENT_MS for its request,
 * however it is cut, as long again for each step forward in its response, and RESPONSE_MS for all
 * of it. While all places are taken, others wait in the backlog.
 */
#include "control/status.h"

#include "base/clock.h"
#include "control/status_site.h"
#include "crypto/crypto.h"
#include "ring/listen.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENT_MS 5000
#define RESPONSE_MS 30000
#define CLIENTS_MAX 32
#define ACCEPT_PAUSE_MS 50
#define BACKLOG 32

struct client {
	int fd;
	uint64_t until_ms, end_ms;
	uint8_t request[CV_STATUS_REQUEST_MAX];
	size_t request_len;
	struct cv_buffer response; /* not empty: it is being written */
};

struct cv_status {
	struct cv_status_site *site;
	int listen_fd, wake_fd;
	pthread_t thread;
	struct client *clients[CLIENTS_MAX];
	unsigned client_count;
};

/* ---- one client --------------------------------------------------------------------------- */

/* Each step returns false when the client is done with. */

static bool client_close(struct client *client)
{
	/* with bytes unread, closing would be a reset, which may overtake the response */
	(void)shutdown(client->fd, SHUT_WR);
	while (recv(client->fd, client->request, sizeof(client->request), MSG_DONTWAIT) > 0)
		;
	(void)close(client->fd);
	cv_buffer_done(&client->response);
	cv_cleanse(client->request, sizeof(client->request)); /* a password was in it */
	free(client);
	return false;
}

static bool client_write(struct client *client)
{
	const struct cv_span left = cv_buffer_span(&client->response);
	const ssize_t put = send(client->fd, left.data, left.len_bytes,
				 MSG_NOSIGNAL | MSG_DONTWAIT);
	uint64_t now_ms;

	if (put < 0)
		return errno == EAGAIN || errno == EINTR ? true : client_close(client);
	now_ms = cv_clock_ms();
	client->until_ms = now_ms + CLIENT_MS < client->end_ms ? now_ms + CLIENT_MS
							       : client->end_ms;
	cv_buffer_consume(&client->response, (size_t)put);
	return cv_buffer_len(&client->response) > 0 ? true : client_close(client);
}

static bool client_read(struct cv_status *status, struct client *client)
{
	const ssize_t got = recv(client->fd, client->request + client->request_len,
				 sizeof(client->request) - client->request_len, MSG_DONTWAIT);
	int result;

	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? true : client_close(client);
	if (got == 0)
		return client_close(client);
	client->request_len += (size_t)got;
	result = cv_status_site_respond(status->site,
					cv_span_of(client->request, client->request_len),
					cv_clock_ms(), &client->response);
	if (result == -EAGAIN)
		return true;
	if (result)
		return client_close(client);
	client->end_ms = cv_clock_ms() + RESPONSE_MS;
	return client_write(client);
}

static bool client_step(struct cv_status *status, struct client *client, short events)
{
	if (!events)
		return cv_clock_ms() < client->until_ms ? true : client_close(client);
	return cv_buffer_len(&client->response) > 0 ? client_write(client)
						    : client_read(status, client);
}

/* ---- all of them -------------------------------------------------------------------------- */

/* Rules of a packet filter, and route_localnet, can lead others to a loopback address. */
static bool is_from_here(const struct cv_sockaddr *peer)
{
	struct cv_destination host;

	if (!cv_sockaddr_to_destination(peer, &host))
		return false;
	return (host.kind == CV_ADDRESS_IPV4 && host.ipv4[0] == 127) ||
	       (host.kind == CV_ADDRESS_IPV6 &&
		memcmp(host.ipv6, &in6addr_loopback, sizeof(host.ipv6)) == 0);
}

static void add_client(struct cv_status *status, int fd, const struct cv_sockaddr *peer)
{
	struct client *client = is_from_here(peer) ? calloc(1, sizeof(*client)) : NULL;

	if (!client) {
		(void)close(fd);
		return;
	}
	client->fd = fd;
	client->until_ms = cv_clock_ms() + CLIENT_MS;
	cv_buffer_init(&client->response, CV_STATUS_RESPONSE_MAX);
	status->clients[status->client_count++] = client;
}

static void accept_clients(struct cv_status *status)
{
	struct pollfd wake = {.fd = status->wake_fd, .events = POLLIN};

	while (status->client_count < CLIENTS_MAX) {
		struct cv_sockaddr peer = {.len_bytes = sizeof(peer.un)};
		int fd = accept4(status->listen_fd, &peer.any, &peer.len_bytes, SOCK_CLOEXEC);

		if (fd < 0 && errno != EAGAIN) /* out of descriptors, say: not again at once */
			(void)poll(&wake, 1, ACCEPT_PAUSE_MS);
		if (fd < 0)
			return;
		add_client(status, fd, &peer);
	}
}

/* For poll(): until the first deadline. */
static int wait_ms(const struct cv_status *status)
{
	const uint64_t now_ms = cv_clock_ms();
	uint64_t until_ms = UINT64_MAX;

	for (unsigned i = 0; i < status->client_count; i++)
		if (status->clients[i]->until_ms < until_ms)
			until_ms = status->clients[i]->until_ms;
	if (until_ms == UINT64_MAX)
		return -1;
	return until_ms > now_ms ? (int)(until_ms - now_ms) : 0;
}

static void step_clients(struct cv_status *status, const struct pollfd *polled)
{
	const unsigned count = status->client_count;
	unsigned kept = 0;

	for (unsigned i = 0; i < count; i++)
		if (client_step(status, status->clients[i], polled[i].revents))
			status->clients[kept++] = status->clients[i];
	status->client_count = kept;
}

static void *thread_main(void *opaque)
{
	struct cv_status *status = opaque;
	struct pollfd polled[2 + CLIENTS_MAX] = {{.fd = status->wake_fd, .events = POLLIN}};
	bool room;

	do {
		room = status->client_count < CLIENTS_MAX;
		polled[1].fd = room ? status->listen_fd : -1;
		polled[1].events = POLLIN;
		for (unsigned i = 0; i < status->client_count; i++) {
			const struct client *client = status->clients[i];

			polled[2 + i].fd = client->fd;
			polled[2 + i].events = client->response.tail > client->response.head
						       ? POLLOUT
						       : POLLIN;
		}
		if (poll(polled, 2 + status->client_count, wait_ms(status)) < 0)
			continue;
		step_clients(status, polled + 2);
		if (room && polled[1].revents & POLLIN)
			accept_clients(status);
	} while (!(polled[0].revents & POLLIN));
	while (status->client_count > 0)
		(void)client_close(status->clients[--status->client_count]);
	return NULL;
}

/* ---- start and stop ----------------------------------------------------------------------- */

static void status_free(struct cv_status *status)
{
	if (status->listen_fd >= 0)
		(void)close(status->listen_fd);
	if (status->wake_fd >= 0)
		(void)close(status->wake_fd);
	status->site = cv_status_site_free(status->site);
	free(status);
}

static int status_open(struct cv_status *status, const struct cv_sockaddr *address, bool takeover)
{
	int error = takeover ? 0 : cv_listen_expect_free(address);

	if (error)
		return error;
	status->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (status->wake_fd < 0)
		return -errno;
	status->listen_fd = cv_listen(address, BACKLOG, 0);
	if (status->listen_fd < 0)
		return status->listen_fd;
	return -pthread_create(&status->thread, NULL, thread_main, status);
}

int cv_status_start(const struct cv_control_view *view, const char *version, bool takeover,
		    struct cv_status **ret_status)
{
	struct cv_status *status = calloc(1, sizeof(*status));
	int error;

	if (!status)
		return -ENOMEM;
	status->listen_fd = status->wake_fd = -1;
	error = cv_status_site_new(view, version, &status->site);
	if (!error)
		error = status_open(status, &view->config->daemon.status.address, takeover);
	if (error)
		status_free(status);
	else
		*ret_status = status;
	return error;
}

void cv_status_use(struct cv_status *status, const struct cv_config *config)
{
	if (status)
		cv_status_site_use(status->site, config);
}

struct cv_status *cv_status_stop(struct cv_status *status)
{
	const uint64_t one = 1;

	if (!status)
		return NULL;
	if (write(status->wake_fd, &one, sizeof(one)) == sizeof(one))
		pthread_join(status->thread, NULL);
	status_free(status);
	return NULL;
}
