// SPDX-License-Identifier: MIT
/*
 * serve.c - the site behind the relay: endless downloads, uploads thrown away, echoes.
 *
 *   port bulk:  FIRST ----first byte----> POUR, SINK, ECHO, IDLE or ANSWER
 *   port tls:   TLS ----"GET /x"--------> the same; from there on nobody encrypts or decrypts:
 *               records are memory, made once
 *   port echo:  ECHO at once; port stamp: STAMP
 *
 * Each core has listeners of its own (SO_REUSEPORT).
 */
#include "load.h"

#include "protocol/tls_server.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENTRIES 1024
#define RECEIVE_BYTES 16384
#define SEND_BYTES (256u << 10)
#define ECHO_BYTES 65536
#define WAIT_NS CV_LOAD_SECOND_NS
#define PEM_MAX 65536

static uint8_t small_record[CV_LOAD_ANSWER_BYTES] = {0x17, 3, 3, (CV_LOAD_ANSWER_BYTES - 5) >> 8,
					     (CV_LOAD_ANSWER_BYTES - 5) & 0xff};

enum stage { FIRST, TLS, POUR, SINK, ECHO, IDLE, ANSWER, STAMP };

struct listener {
	struct site *site;
	int fd;
	enum stage stage; /* of those accepted here */
};

struct site { /* one per core */
	struct cv_load_ring ring;
	struct listener listeners[4];
	size_t listener_count;
	const struct cv_tls_server_context *tls;
	uint64_t bytes, accepted;
	int core;
	_Atomic uint64_t *moved_bytes;
};

struct visitor {
	struct site *site;
	int fd;
	enum stage stage;
	unsigned pending_count;
	bool is_leaving, is_tls, is_last; /* is_last: what is being sent ends it */
	struct cv_tls_server *tls;
	struct cv_layer *layer; /* behind the handshake, for the request */
	struct cv_buffer in, out;
	uint8_t *echo;
	size_t at;
	uint64_t stamp_ns;
};

/* ---- operations ---------------------------------------------------------------------------- */

static void visitor_free(struct visitor *visitor)
{
	cv_tls_server_free(visitor->tls);
	if (visitor->layer)
		visitor->layer->ops->free(visitor->layer);
	cv_buffer_done(&visitor->in);
	cv_buffer_done(&visitor->out);
	(void)close(visitor->fd);
	free(visitor->echo);
	free(visitor);
}

static void leave(struct visitor *visitor)
{
	visitor->is_leaving = true;
	(void)shutdown(visitor->fd, SHUT_RDWR);
}

static void visitor_send(struct visitor *visitor, const void *bytes, size_t len_bytes, int flags)
{
	struct io_uring_sqe *entry =
		cv_load_ring_entry(&visitor->site->ring, visitor, CV_LOAD_OP_SEND);

	io_uring_prep_send(entry, visitor->fd, bytes, len_bytes, MSG_NOSIGNAL | flags);
	visitor->pending_count++;
}

static void visitor_receive(struct visitor *visitor, void *space, size_t len_bytes, int flags)
{
	struct io_uring_sqe *entry =
		cv_load_ring_entry(&visitor->site->ring, visitor, CV_LOAD_OP_RECV);

	io_uring_prep_recv(entry, visitor->fd, space, len_bytes, flags);
	visitor->pending_count++;
}

static void discard(struct visitor *visitor)
{
	visitor_receive(visitor, cv_load_scratch, sizeof(cv_load_scratch), MSG_TRUNC);
}

static void receive_some(struct visitor *visitor)
{
	uint8_t *space;

	if (cv_buffer_reserve(&visitor->in, RECEIVE_BYTES, &space) != 0)
		leave(visitor);
	else
		visitor_receive(visitor, space, RECEIVE_BYTES, 0);
}

static void pour(struct visitor *visitor)
{
	size_t len_bytes = CV_LOAD_BYTES - visitor->at;

	visitor_send(visitor, cv_load_bytes + visitor->at,
		     len_bytes < SEND_BYTES ? len_bytes : SEND_BYTES, 0);
}

static void echo(struct visitor *visitor)
{
	if (!visitor->echo)
		visitor->echo = malloc(ECHO_BYTES);
	if (!visitor->echo)
		leave(visitor);
	else
		visitor_receive(visitor, visitor->echo, ECHO_BYTES, 0);
}

/* ---- what a visitor wants ------------------------------------------------------------------ */

static void moved(struct site *site, uint64_t bytes)
{
	site->bytes += bytes;
	if (site->moved_bytes)
		atomic_fetch_add_explicit(site->moved_bytes, bytes, memory_order_relaxed);
}

static int emit(void *context, struct cv_span bytes)
{
	return cv_buffer_append(&((struct visitor *)context)->out, bytes.data, bytes.len_bytes);
}

/* For those who ask for a page: "GET / ". */
static void answer_page(struct visitor *visitor)
{
	static const char page[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"
				   "Connection: close\r\n\r\nok\n";

	visitor->stage = ANSWER;
	visitor->is_last = true;
	if (visitor->layer->ops->encode(visitor->layer, cv_span_of(page, sizeof(page) - 1), emit,
					visitor) != 0)
		leave(visitor);
	else
		visitor_send(visitor, cv_buffer_bytes(&visitor->out), cv_buffer_len(&visitor->out),
			     MSG_WAITALL);
}

/* @rest: what came behind the word. */
static void choose(struct visitor *visitor, char what, struct cv_span rest)
{
	switch (what) {
	case 'd':
		visitor->stage = POUR;
		pour(visitor);
		break;
	case 'u':
		visitor->stage = SINK;
		moved(visitor->site, rest.len_bytes);
		discard(visitor);
		break;
	case 'e':
		visitor->stage = ECHO;
		if (rest.len_bytes > 0 &&
		    cv_buffer_append(&visitor->out, rest.data, rest.len_bytes) == 0)
			visitor_send(visitor, cv_buffer_bytes(&visitor->out), rest.len_bytes,
				     MSG_WAITALL);
		else
			echo(visitor);
		break;
	case 'i':
		visitor->stage = IDLE;
		visitor_send(visitor, small_record, visitor->is_tls ? CV_LOAD_ANSWER_BYTES : 1,
			     MSG_WAITALL);
		break;
	case 'c':
		visitor->stage = ANSWER;
		visitor->is_last = true;
		visitor_send(visitor, small_record, CV_LOAD_ANSWER_BYTES, MSG_WAITALL);
		break;
	default:
		leave(visitor);
	}
	cv_buffer_done(&visitor->in);
}

/* The first record behind the handshake is the request. */
static void read_request(struct visitor *visitor)
{
	struct cv_span span = cv_buffer_span(&visitor->in);
	struct cv_buffer request, reply;
	int result;

	cv_buffer_init(&request, ECHO_BYTES);
	cv_buffer_init(&reply, ECHO_BYTES);
	do {
		result = visitor->layer->ops->decode(visitor->layer, &span, &request, &reply);
	} while (result == 0 && cv_buffer_len(&request) == 0);
	if (result == -EAGAIN) {
		receive_some(visitor);
	} else if (result != 0 || cv_buffer_len(&request) < 6) {
		leave(visitor);
	} else if (cv_buffer_bytes(&request)[5] == ' ') {
		answer_page(visitor);
	} else {
		choose(visitor, (char)cv_buffer_bytes(&request)[5], span);
	}
	cv_buffer_done(&request);
	cv_buffer_done(&reply);
}

/* One thing at a time: what the handshake has to say, then the next bytes. */
static void advance_tls(struct visitor *visitor)
{
	if (cv_buffer_len(&visitor->out) > 0)
		visitor_send(visitor, cv_buffer_bytes(&visitor->out), cv_buffer_len(&visitor->out),
			     MSG_WAITALL);
	else if (visitor->layer)
		read_request(visitor);
	else
		receive_some(visitor);
}

static void shake_hands(struct visitor *visitor)
{
	struct cv_span span = cv_buffer_span(&visitor->in);
	const int result = cv_tls_server_read(visitor->tls, &span);
	struct cv_buffer *said = cv_tls_server_output(visitor->tls);

	cv_buffer_consume(&visitor->in, cv_buffer_len(&visitor->in) - span.len_bytes);
	if ((result != 0 && result != -EAGAIN) ||
	    cv_buffer_append(&visitor->out, cv_buffer_bytes(said), cv_buffer_len(said)) != 0) {
		leave(visitor);
		return;
	}
	cv_buffer_consume(said, cv_buffer_len(said));
	if (result == 0) {
		visitor->layer = cv_tls_server_take_layer(visitor->tls);
		visitor->tls = cv_tls_server_free(visitor->tls);
	}
	advance_tls(visitor);
}

/* ---- events -------------------------------------------------------------------------------- */

static void visitor_sent(struct visitor *visitor, size_t bytes)
{
	moved(visitor->site, bytes);
	if (visitor->is_last) {
		leave(visitor);
	} else if (visitor->stage == POUR) {
		visitor->at = (visitor->at + bytes) % CV_LOAD_BYTES;
		pour(visitor);
	} else if (visitor->stage == ECHO) {
		cv_buffer_done(&visitor->out);
		echo(visitor);
	} else if (visitor->stage == TLS) {
		cv_buffer_consume(&visitor->out, bytes);
		advance_tls(visitor);
	} else {
		discard(visitor); /* IDLE: until it goes */
	}
}

static void visitor_received(struct visitor *visitor, size_t bytes)
{
	switch (visitor->stage) {
	case FIRST: {
		const char what = (char)cv_buffer_bytes(&visitor->in)[0];

		cv_buffer_commit(&visitor->in, bytes);
		choose(visitor, what, cv_span_of(cv_buffer_bytes(&visitor->in) + 1, bytes - 1));
		break;
	}
	case TLS:
		cv_buffer_commit(&visitor->in, bytes);
		if (visitor->layer)
			read_request(visitor);
		else
			shake_hands(visitor);
		break;
	case STAMP:
		visitor->stamp_ns = cv_load_now_ns();
		visitor->is_last = true;
		visitor_send(visitor, &visitor->stamp_ns, sizeof(visitor->stamp_ns), MSG_WAITALL);
		break;
	case ECHO:
		visitor_send(visitor, visitor->echo, bytes, MSG_WAITALL);
		break;
	default:
		moved(visitor->site, bytes);
		discard(visitor);
	}
}

static void visitor_event(struct visitor *visitor, enum cv_load_op op, int32_t result)
{
	visitor->pending_count--;
	if (!visitor->is_leaving) {
		if (result <= 0)
			leave(visitor);
		else if (op == CV_LOAD_OP_SEND)
			visitor_sent(visitor, (size_t)result);
		else
			visitor_received(visitor, (size_t)result);
	}
	if (visitor->is_leaving && visitor->pending_count == 0)
		visitor_free(visitor);
}

static void listener_arm(struct listener *listener)
{
	struct io_uring_sqe *entry =
		cv_load_ring_entry(&listener->site->ring, listener, CV_LOAD_OP_ACCEPT);

	io_uring_prep_multishot_accept(entry, listener->fd, NULL, NULL, SOCK_CLOEXEC);
}

static void visitor_arrive(struct listener *listener, int fd)
{
	struct visitor *visitor = calloc(1, sizeof(*visitor));
	const int one = 1;

	if (!visitor)
		cv_load_die("memory", ENOMEM);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	visitor->site = listener->site;
	visitor->fd = fd;
	visitor->stage = listener->stage;
	visitor->is_tls = visitor->stage == TLS;
	listener->site->accepted++;
	cv_buffer_init(&visitor->in, 4 * ECHO_BYTES);
	cv_buffer_init(&visitor->out, 4 * ECHO_BYTES);
	if (visitor->is_tls)
		visitor->tls = cv_tls_server_new(listener->site->tls);
	if (visitor->is_tls && !visitor->tls)
		cv_load_die("memory", ENOMEM);
	if (visitor->stage == ECHO)
		echo(visitor);
	else if (visitor->stage == STAMP)
		discard(visitor);
	else
		receive_some(visitor);
}

static void listener_event(struct listener *listener, int32_t result, uint32_t flags)
{
	if (result >= 0)
		visitor_arrive(listener, result);
	if (!(flags & IORING_CQE_F_MORE))
		listener_arm(listener);
}

static void *site_run(void *opaque)
{
	struct site *site = opaque;
	const int error = cv_load_ring_init(&site->ring, ENTRIES);

	if (error)
		cv_load_die("io_uring", -error);
	cv_load_pin(site->core);
	for (size_t i = 0; i < site->listener_count; i++)
		listener_arm(&site->listeners[i]);
	for (;;) {
		struct io_uring_cqe *completion;
		unsigned head, count = 0;

		cv_load_ring_wait(&site->ring, WAIT_NS);
		io_uring_for_each_cqe(&site->ring.uring, head, completion)
		{
			void *object = (void *)(uintptr_t)(completion->user_data &
							   ~(uint64_t)CV_LOAD_OP_MASK);
			const enum cv_load_op op = completion->user_data & CV_LOAD_OP_MASK;

			count++;
			if (op == CV_LOAD_OP_ACCEPT)
				listener_event(object, completion->res, completion->flags);
			else
				visitor_event(object, op, completion->res);
		}
		io_uring_cq_advance(&site->ring.uring, count);
	}
	return NULL;
}

/* ---- set-up -------------------------------------------------------------------------------- */

int cv_load_bind(const struct cv_destination *host, uint16_t port, int type)
{
	struct cv_destination place = *host;
	struct cv_sockaddr address;
	const int one = 1, size_bytes = 32 << 20;
	int fd;

	place.port = port;
	(void)cv_destination_to_sockaddr(&place, &address);
	fd = socket(address.any.sa_family, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		cv_load_die("socket", errno);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (type == SOCK_DGRAM) {
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size_bytes, sizeof(int));
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size_bytes, sizeof(int));
	}
	if (bind(fd, &address.any, address.len_bytes) != 0 ||
	    (type == SOCK_STREAM && listen(fd, 65535) != 0))
		cv_load_die("bind", errno);
	return fd;
}

static void site_listen(struct site *site, const struct cv_load_options *options, uint16_t port,
			enum stage stage)
{
	if (port == 0)
		return;
	site->listeners[site->listener_count++] = (struct listener){
		.site = site,
		.fd = cv_load_bind(&options->serve_host, port, SOCK_STREAM),
		.stage = stage,
	};
}

static struct cv_span file_of(const char *path)
{
	uint8_t *bytes = malloc(PEM_MAX);
	FILE *file = fopen(path, "re");
	size_t len_bytes;

	if (!bytes || !file)
		cv_load_die(path, errno);
	len_bytes = fread(bytes, 1, PEM_MAX, file);
	(void)fclose(file);
	return cv_span_of(bytes, len_bytes);
}

static struct cv_tls_server_context *tls_context(const struct cv_load_options *options)
{
	const struct cv_tls_certificate certificate = {
		.chain_pem = file_of(options->certificate_path),
		.key_pem = file_of(options->key_path),
	};
	const struct cv_tls_server_config config = {.certificates = &certificate,
						    .certificate_count = 1};
	struct cv_tls_server_context *context;
	char error_text[CV_TLS_ERROR_TEXT];

	if (cv_tls_server_context_new(&config, &context, error_text) != 0) {
		fprintf(stderr, "load: %s\n", error_text);
		exit(EXIT_FAILURE);
	}
	free((void *)(uintptr_t)certificate.chain_pem.data);
	free((void *)(uintptr_t)certificate.key_pem.data);
	return context;
}

static void report(const struct site *sites, size_t count)
{
	uint64_t bytes = 0, accepted = 0, enters = 0;
	struct rusage usage;

	for (size_t i = 0; i < count; i++) {
		bytes += sites[i].bytes;
		accepted += sites[i].accepted;
		enters += sites[i].ring.enter_count;
	}
	(void)getrusage(RUSAGE_SELF, &usage);
	printf("{\"bytes\": %llu, \"accepted\": %llu, \"cpu_seconds\": {\"user\": %.3f, "
	       "\"system\": %.3f}, \"enters\": %llu}\n",
	       (unsigned long long)bytes, (unsigned long long)accepted,
	       (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6,
	       (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6,
	       (unsigned long long)enters);
	(void)fflush(stdout);
}

int cv_load_serve(const struct cv_load_options *options)
{
	struct site *sites = calloc(options->core_count, sizeof(*sites));
	_Atomic uint64_t *moved_bytes = cv_load_counter(options->counter_path);
	const struct cv_tls_server_context *tls = options->tls_port ? tls_context(options) : NULL;
	static int udp_fd;
	pthread_t thread;
	sigset_t signals;
	int which;

	if (!sites)
		cv_load_die("memory", ENOMEM);
	for (size_t i = 0; i < options->core_count; i++) {
		sites[i].core = options->cores[i];
		sites[i].tls = tls;
		sites[i].moved_bytes = moved_bytes;
		site_listen(&sites[i], options, options->bulk_port, FIRST);
		site_listen(&sites[i], options, options->tls_port, TLS);
		site_listen(&sites[i], options, options->echo_port, ECHO);
		site_listen(&sites[i], options, options->stamp_port, STAMP);
	}
	for (size_t i = 0; i < options->core_count; i++)
		if (pthread_create(&thread, NULL, site_run, &sites[i]) != 0)
			cv_load_die("thread", EAGAIN);
	if (options->udp_echo_port) {
		udp_fd = cv_load_bind(&options->serve_host, options->udp_echo_port, SOCK_DGRAM);
		if (pthread_create(&thread, NULL, cv_load_udp_echo, &udp_fd) != 0)
			cv_load_die("thread", EAGAIN);
	}
	puts("ready");
	(void)fflush(stdout);
	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGINT);
	(void)sigwait(&signals, &which);
	report(sites, options->core_count);
	_exit(EXIT_SUCCESS); /* the threads never end */
}
