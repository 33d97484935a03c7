// SPDX-License-Identifier: MIT
/*
 * loadgen.c - load for the benchmark: a site, downloads, REALITY handshakes, primitives.
 *
 *   loadgen site PORT CERTIFICATE KEY [GROUPS]
 *       TLS 1.3 server until SIGTERM. "GET /small": a small response. Anything else: records
 *       without end, the same bytes again and again (nobody decrypts them), so that the site costs
 *       next to nothing beside what is measured
 *   loadgen download SOCKS_PORT SITE_PORT CONNECTIONS SECONDS PATH
 *       each connection: SOCKS5 CONNECT to localhost, TLS 1.3, GET, then the ciphertext is thrown
 *       away in the kernel (MSG_TRUNC), so that the generator costs as little as can be
 *   loadgen tls PORT SNI CONNECTIONS SECONDS PATH
 *       the same without SOCKS5: TLS straight to PORT
 *   loadgen idle SOCKS_PORT SITE_PORT CONNECTIONS SECONDS PATH
 *       as download up to the first response bytes, then nothing: handed-over idle sessions
 *   loadgen reality PORT SNI PUBLIC_KEY_HEX SHORT_ID_HEX SECONDS
 *       REALITY handshakes one after the other, closed after the server's Finished verified
 *   loadgen primitives
 *       microseconds per operation of what one handshake consists of
 *
 * Prints one JSON object (downloads: after "ready", when all have asked). One thread, epoll.
 */
#include "base/clock.h"
#include "crypto/crypto.h"
#include "protocol/tls_client.h"
#include "wire/base64.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SETUP_MS 20000

enum stage { EXPECT_CONNECT, EXPECT_METHOD, EXPECT_REPLY, EXPECT_TLS, EXPECT_BODY, IDLE, FAILED };

struct download {
	int fd;
	enum stage stage;
	SSL *ssl;
	size_t reply_bytes;
};

static struct {
	uint64_t bytes, failed, established;
	uint16_t site_port;
	const char *path, *sni; /* sni: no SOCKS5 */
	bool idle;
	SSL_CTX *tls;
	int epoll;
} load;

static int dial(uint16_t port, bool nonblocking)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	const int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 && errno != EINPROGRESS) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

static void watch(struct download *download, uint32_t events, int operation)
{
	struct epoll_event event = {.events = events, .data.ptr = download};

	(void)epoll_ctl(load.epoll, operation, download->fd, &event);
}

static void fail(struct download *download)
{
	if (download->stage == FAILED)
		return;
	download->stage = FAILED;
	load.failed++;
	SSL_free(download->ssl);
	download->ssl = NULL;
	(void)close(download->fd);
}

static void send_all(struct download *download, const void *bytes, size_t len)
{
	if (send(download->fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
		fail(download);
}

static void run_tls(struct download *download)
{
	int result = SSL_do_handshake(download->ssl);

	if (result != 1) {
		if (SSL_get_error(download->ssl, result) == SSL_ERROR_WANT_READ)
			return;
		fail(download);
		return;
	}
	load.established++;
	download->stage = EXPECT_BODY;
}

/* Nothing flows before all have shaken hands: the first ones would starve the others. */
static void ask_all(struct download *downloads, size_t count)
{
	char request[256];
	int len = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n",
			   load.path);

	for (size_t i = 0; i < count; i++)
		if ((downloads[i].stage == EXPECT_BODY || downloads[i].stage == IDLE) &&
		    SSL_write(downloads[i].ssl, request, len) != len)
			fail(&downloads[i]);
}

static void start_tls(struct download *download)
{
	download->ssl = SSL_new(load.tls);
	SSL_set_fd(download->ssl, download->fd);
	SSL_set_connect_state(download->ssl);
	if (load.sni)
		(void)SSL_set_tlsext_host_name(download->ssl, load.sni);
	download->stage = EXPECT_TLS;
	run_tls(download);
}

static void run_body(struct download *download)
{
	static char sink[1 << 20];

	for (int i = 0; i < 8; i++) {
		ssize_t got = recv(download->fd, sink, sizeof(sink), MSG_TRUNC | MSG_DONTWAIT);

		if (got <= 0) {
			if (got == 0 || errno != EAGAIN)
				fail(download);
			return;
		}
		load.bytes += (uint64_t)got;
		if (load.idle) { /* the response's first bytes: small file, all of it */
			download->stage = IDLE;
			return;
		}
	}
}

static void run_socks(struct download *download)
{
	uint8_t reply[64];
	uint8_t request[] = {5, 1, 0, 3, 9, 'l', 'o', 'c', 'a', 'l', 'h', 'o', 's', 't', 0, 0};
	ssize_t got = recv(download->fd, reply, download->stage == EXPECT_METHOD ? 2 : 10, 0);

	if (got <= 0) {
		if (got == 0 || errno != EAGAIN)
			fail(download);
		return;
	}
	download->reply_bytes += (size_t)got;
	if (download->stage == EXPECT_METHOD && download->reply_bytes == 2) {
		request[14] = (uint8_t)(load.site_port >> 8);
		request[15] = (uint8_t)load.site_port;
		download->stage = EXPECT_REPLY;
		download->reply_bytes = 0;
		send_all(download, request, sizeof(request));
	} else if (download->stage == EXPECT_REPLY && download->reply_bytes == 10) {
		if (reply[got - 9] != 0 && got == 10)
			fail(download);
		else
			start_tls(download);
	}
}

static void event(struct download *download, uint32_t events)
{
	switch (download->stage) {
	case EXPECT_CONNECT:
		if (events & (EPOLLERR | EPOLLHUP)) {
			fail(download);
			break;
		}
		watch(download, EPOLLIN, EPOLL_CTL_MOD);
		if (load.sni) {
			start_tls(download);
			break;
		}
		download->stage = EXPECT_METHOD;
		send_all(download, "\005\001", 3); /* the literal's NUL is method 00 */
		break;
	case EXPECT_METHOD:
	case EXPECT_REPLY:
		run_socks(download);
		break;
	case EXPECT_TLS:
		run_tls(download);
		break;
	case EXPECT_BODY:
		run_body(download);
		break;
	case IDLE:
		run_body(download);
		break;
	case FAILED:
		break;
	}
}

static void run_until(uint64_t end_ms, size_t established)
{
	struct epoll_event events[256];

	while (cv_clock_ms() < end_ms && load.established + load.failed < established) {
		int ready = epoll_wait(load.epoll, events, 256, 100);

		for (int i = 0; i < ready; i++)
			event(events[i].data.ptr, events[i].events);
	}
}

static int run_downloads(char **argv, bool idle)
{
	uint16_t socks_port = (uint16_t)atoi(argv[0]);
	size_t count = (size_t)atoi(argv[2]);
	struct download *downloads = calloc(count, sizeof(*downloads));
	uint64_t started_ms;

	load.site_port = (uint16_t)atoi(argv[1]);
	load.path = argv[4];
	load.idle = idle;
	load.epoll = epoll_create1(EPOLL_CLOEXEC);
	load.tls = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_min_proto_version(load.tls, TLS1_3_VERSION);
	for (size_t i = 0; i < count; i++) {
		downloads[i].fd = dial(socks_port, true);
		if (downloads[i].fd < 0)
			return EXIT_FAILURE;
		watch(&downloads[i], EPOLLOUT, EPOLL_CTL_ADD);
	}
	run_until(cv_clock_ms() + SETUP_MS, count);
	ask_all(downloads, count);
	started_ms = cv_clock_ms();
	load.bytes = 0;
	printf("ready\n");
	(void)fflush(stdout);
	run_until(started_ms + (uint64_t)(atof(argv[3]) * 1000), SIZE_MAX);
	printf("{\"bytes\": %llu, \"seconds\": %.3f, \"established\": %llu, \"failed\": %llu}\n",
	       (unsigned long long)load.bytes, (double)(cv_clock_ms() - started_ms) / 1000,
	       (unsigned long long)load.established, (unsigned long long)load.failed);
	return EXIT_SUCCESS;
}

/* ---- the site ------------------------------------------------------------------------------ */

enum { RECORD_BYTES = 16384 + 256, RECORDS = 64, BURST = 4 };

struct visitor {
	int fd;
	SSL *ssl;
	bool answered, endless;
	size_t at; /* in endless_records */
};

static uint8_t endless_records[RECORDS * (5 + RECORD_BYTES)];

static void make_endless_records(void)
{
	uint8_t *at = endless_records;
	uint32_t x = 1;

	for (int i = 0; i < RECORDS; i++) {
		memcpy(at, "\x17\x03\x03", 3);
		at[3] = RECORD_BYTES >> 8;
		at[4] = RECORD_BYTES & 0xff;
		for (int b = 0; b < RECORD_BYTES; b++)
			at[5 + b] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
		at += 5 + RECORD_BYTES;
	}
}

static void visitor_leave(struct visitor *visitor)
{
	SSL_free(visitor->ssl);
	(void)close(visitor->fd);
	free(visitor);
}

/* False when the visitor is gone. */
static bool visitor_pour(struct visitor *visitor)
{
	for (int i = 0; i < BURST; i++) {
		ssize_t sent = send(visitor->fd, endless_records + visitor->at,
				    sizeof(endless_records) - visitor->at, MSG_NOSIGNAL);

		if (sent < 0)
			return errno == EAGAIN;
		visitor->at = (visitor->at + (size_t)sent) % sizeof(endless_records);
	}
	return true;
}

static bool visitor_event(struct visitor *visitor)
{
	static const char small[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
	char text[2048] = "";
	int got;

	if (visitor->endless)
		return visitor_pour(visitor);
	got = SSL_read(visitor->ssl, text, sizeof(text) - 1);
	if (got <= 0)
		return SSL_get_error(visitor->ssl, got) == SSL_ERROR_WANT_READ;
	if (strncmp(text, "GET /small", 10) == 0) {
		memcpy(text, small, sizeof(small) - 1);
		return SSL_write(visitor->ssl, text, sizeof(small) - 1 + 1000) > 0;
	}
	visitor->endless = true;
	(void)epoll_ctl(load.epoll, EPOLL_CTL_MOD, visitor->fd,
			&(struct epoll_event){.events = EPOLLOUT, .data.ptr = visitor});
	return true;
}

static void visitor_arrive(int listener)
{
	struct visitor *visitor = calloc(1, sizeof(*visitor));
	const int one = 1;

	if (!visitor)
		return;
	visitor->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	visitor->ssl = SSL_new(load.tls);
	if (visitor->fd < 0 || !visitor->ssl) {
		visitor_leave(visitor);
		return;
	}
	(void)setsockopt(visitor->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	SSL_set_fd(visitor->ssl, visitor->fd);
	SSL_set_accept_state(visitor->ssl);
	(void)epoll_ctl(load.epoll, EPOLL_CTL_ADD, visitor->fd,
			&(struct epoll_event){.events = EPOLLIN, .data.ptr = visitor});
}

static int run_site(char **argv)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(argv[0])),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct epoll_event events[256];
	const int one = 1;

	make_endless_records();
	load.tls = SSL_CTX_new(TLS_server_method());
	load.epoll = epoll_create1(EPOLL_CLOEXEC);
	(void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 4096) < 0 ||
	    SSL_CTX_use_certificate_chain_file(load.tls, argv[1]) != 1 ||
	    SSL_CTX_use_PrivateKey_file(load.tls, argv[2], SSL_FILETYPE_PEM) != 1 ||
	    (argv[3] && SSL_CTX_set1_groups_list(load.tls, argv[3]) != 1))
		return EXIT_FAILURE;
	SSL_CTX_set_min_proto_version(load.tls, TLS1_3_VERSION);
	(void)epoll_ctl(load.epoll, EPOLL_CTL_ADD, listener,
			&(struct epoll_event){.events = EPOLLIN, .data.ptr = NULL});
	for (;;) {
		int ready = epoll_wait(load.epoll, events, 256, -1);

		for (int i = 0; i < ready; i++) {
			struct visitor *visitor = events[i].data.ptr;

			if (!visitor)
				visitor_arrive(listener);
			else if (!visitor_event(visitor))
				visitor_leave(visitor);
		}
	}
}

/* ---- REALITY handshakes ------------------------------------------------------------------- */

static int exchange(int fd, struct cv_tls_client *client)
{
	struct cv_buffer in;
	int result = -EAGAIN;

	cv_buffer_init(&in, 1 << 20);
	while (result == -EAGAIN) {
		struct cv_buffer *out = cv_tls_client_output(client);
		struct cv_span span;
		uint8_t *space;
		ssize_t got;

		if (send(fd, cv_buffer_bytes(out), cv_buffer_len(out), MSG_NOSIGNAL) < 0)
			break;
		cv_buffer_consume(out, cv_buffer_len(out));
		if (cv_buffer_reserve(&in, 16384, &space) != 0)
			break;
		got = recv(fd, space, 16384, 0);
		if (got <= 0)
			break;
		cv_buffer_commit(&in, (size_t)got);
		span = cv_buffer_span(&in);
		result = cv_tls_client_read(client, &span);
		cv_buffer_consume(&in, cv_buffer_len(&in) - span.len_bytes);
	}
	if (result == 0) {
		struct cv_buffer *out = cv_tls_client_output(client);

		if (send(fd, cv_buffer_bytes(out), cv_buffer_len(out), MSG_NOSIGNAL) < 0)
			result = -errno;
	}
	cv_buffer_done(&in);
	return result;
}

static int run_reality(char **argv)
{
	struct cv_reality_client_config reality = {.version = {26, 7, 28}};
	struct cv_tls_client_config config = {.server_name = argv[1], .reality = &reality};
	size_t key_len = 32, id_len = 8;
	uint64_t started_ms = cv_clock_ms(), end_ms = started_ms + (uint64_t)(atof(argv[4]) * 1000);
	uint64_t done = 0, failed = 0;

	if (cv_hex_decode(argv[2], reality.server_public, &key_len) != 0 ||
	    cv_hex_decode(argv[3], reality.short_id, &id_len) != 0)
		return EXIT_FAILURE;
	while (cv_clock_ms() < end_ms) {
		struct cv_tls_client *client = cv_tls_client_new(&config, cv_clock_wall_ms());
		int fd = dial((uint16_t)atoi(argv[0]), false);

		if (client && fd >= 0 && exchange(fd, client) == 0)
			done++;
		else
			failed++;
		cv_tls_client_free(client);
		if (fd >= 0)
			(void)close(fd);
	}
	printf("{\"handshakes\": %llu, \"failed\": %llu, \"seconds\": %.3f}\n",
	       (unsigned long long)done, (unsigned long long)failed,
	       (double)(cv_clock_ms() - started_ms) / 1000);
	return EXIT_SUCCESS;
}

/* ---- primitives --------------------------------------------------------------------------- */

static double cpu_us(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)usage.ru_utime.tv_sec * 1e6 + (double)usage.ru_utime.tv_usec;
}

static uint8_t private_key[32], public_key[32], shared[32], seed[64], mlkem_public[1184],
	ciphertext[1088], signature[64];
static struct cv_ed25519 *signer;

static int do_x25519(void)
{
	return cv_x25519(private_key, public_key, shared);
}

static int do_x25519_keygen(void)
{
	return cv_x25519_keygen(private_key, public_key);
}

static int do_encapsulate(void)
{
	return cv_mlkem768_encapsulate(mlkem_public, ciphertext, shared);
}

static int do_sign(void)
{
	return cv_ed25519_sign(signer, mlkem_public, 130, signature);
}

static double time_of(int (*operation)(void))
{
	const int rounds = 2000;
	double before = cpu_us();

	for (int i = 0; i < rounds; i++)
		if (operation() != 0)
			exit(EXIT_FAILURE);
	return (cpu_us() - before) / rounds;
}

static int run_primitives(void)
{
	double x25519, keygen, encapsulate, sign;

	if (cv_x25519_keygen(private_key, public_key) || cv_mlkem768_keygen(seed, mlkem_public))
		return EXIT_FAILURE;
	signer = cv_ed25519_from_seed(private_key);
	if (!signer)
		return EXIT_FAILURE;
	x25519 = time_of(do_x25519);
	keygen = time_of(do_x25519_keygen);
	encapsulate = time_of(do_encapsulate);
	sign = time_of(do_sign);
	printf("{\"x25519_us\": %.1f, \"x25519_keygen_us\": %.1f, \"mlkem768_encapsulate_us\": "
	       "%.1f, "
	       "\"ed25519_sign_us\": %.1f, \"handshake_x25519_us\": %.1f, "
	       "\"handshake_hybrid_us\": %.1f}\n",
	       x25519, keygen, encapsulate, sign, 2 * x25519 + keygen + sign,
	       2 * x25519 + keygen + sign + encapsulate);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc == 7 && strcmp(argv[1], "download") == 0)
		return run_downloads(argv + 2, false);
	if (argc == 7 && strcmp(argv[1], "tls") == 0) {
		load.sni = argv[3];
		return run_downloads(argv + 2, false);
	}
	if ((argc == 5 || argc == 6) && strcmp(argv[1], "site") == 0)
		return run_site(argv + 2);
	if (argc == 7 && strcmp(argv[1], "idle") == 0)
		return run_downloads(argv + 2, true);
	if (argc == 7 && strcmp(argv[1], "reality") == 0)
		return run_reality(argv + 2);
	if (argc == 2 && strcmp(argv[1], "primitives") == 0)
		return run_primitives();
	fprintf(stderr, "usage: see the head of loadgen.c\n");
	return 2;
}
