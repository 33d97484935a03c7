// SPDX-License-Identifier: MIT
/*
 * test_target_probe.c - what the probes and the learner find out about OpenSSL servers on loopback
 * and on a unix socket, and what they do about targets that are gone, silent or not TLS 1.3.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/reason.h"
#include "session/target_learner.h"
#include "session/target_probe.h"

/* ---- a target: one thread per connection ---- */

struct target {
	int listener;
	struct cv_sockaddr address;
	SSL_CTX *context;
	pthread_t thread;
	bool proxy_header;
	atomic_bool silent;
	char header[128];
	atomic_int connections;
	atomic_int serving; /* connection threads alive */
};

struct connection {
	struct target *target;
	int fd;
};

static void read_proxy_header(struct target *target, int fd)
{
	size_t len = 0;

	while (len + 1 < sizeof(target->header) && read(fd, target->header + len, 1) == 1)
		if (target->header[len++] == '\n')
			break;
	target->header[len] = '\0';
}

static void *serve(void *argument)
{
	struct connection connection = *(struct connection *)argument;
	struct target *target = connection.target;
	SSL *ssl = SSL_new(connection.target->context);
	char bytes[256];

	free(argument);
	if (connection.target->proxy_header)
		read_proxy_header(connection.target, connection.fd);
	SSL_set_fd(ssl, connection.fd);
	if (!connection.target->silent && SSL_accept(ssl) == 1) {
		while (SSL_read(ssl, bytes, sizeof(bytes)) > 0)
			;
	} else if (connection.target->silent) {
		while (read(connection.fd, bytes, sizeof(bytes)) > 0)
			;
	}
	SSL_free(ssl);
	close(connection.fd);
	atomic_fetch_sub(&target->serving, 1);
	return NULL;
}

static void *accept_loop(void *argument)
{
	struct target *target = argument;

	for (;;) {
		struct connection *connection = malloc(sizeof(*connection));
		pthread_t thread;
		int fd = accept(target->listener, NULL, NULL);

		if (fd < 0) {
			free(connection);
			return NULL;
		}
		atomic_fetch_add(&target->connections, 1);
		atomic_fetch_add(&target->serving, 1);
		*connection = (struct connection){target, fd};
		pthread_create(&thread, NULL, serve, connection);
		pthread_detach(thread);
	}
}

static SSL_CTX *make_context(void)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();

	X509_set_version(certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
				   (const uint8_t *)"target", -1, -1, 0);
	X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
	X509_set_pubkey(certificate, key);
	X509_sign(certificate, key, EVP_sha256());
	SSL_CTX_use_certificate(context, certificate);
	SSL_CTX_use_PrivateKey(context, key);
	X509_free(certificate);
	EVP_PKEY_free(key);
	return context;
}

static struct target *target_start(const char *unix_path)
{
	struct target *target = calloc(1, sizeof(*target));

	assert_non_null(target);
	target->context = make_context();
	if (unix_path) {
		assert_int_equal(cv_sockaddr_from_unix(unix_path, &target->address), 0);
	} else {
		target->address.len_bytes = sizeof(target->address.in);
		target->address.in = (struct sockaddr_in){
			.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	}
	target->listener = socket(target->address.any.sa_family, SOCK_STREAM, 0);
	assert_int_equal(bind(target->listener, &target->address.any, target->address.len_bytes),
			 0);
	assert_int_equal(listen(target->listener, 64), 0);
	getsockname(target->listener, &target->address.any, &target->address.len_bytes);
	return target;
}

static void target_run(struct target *target)
{
	pthread_create(&target->thread, NULL, accept_loop, target);
}

static void target_stop(struct target *target)
{
	shutdown(target->listener, SHUT_RDWR);
	pthread_join(target->thread, NULL);
	close(target->listener);
	while (atomic_load(&target->serving)) /* connection threads end with their sockets */
		usleep(1000);
	SSL_CTX_free(target->context);
	free(target);
}

static struct cv_target_probe_config probe_of(const struct target *target)
{
	return (struct cv_target_probe_config){
		.addresses = &target->address, .address_count = 1, .server_name = "www.example.com",
		.alpn_class = CV_ALPN_H2, .window_ms = 300, .timeout_ms = 2000};
}

/* ---- record splitting ---- */

static void splits_records(void **state)
{
	static const uint8_t bytes[] = {0x17, 3, 3, 0, 2, 1, 2, 0x17, 3, 3, 0, 0,
					0x17, 3, 3, 0x10, 0, 9};
	static const uint8_t alert[] = {0x15, 3, 3, 0, 2, 1, 0, 0x17, 3, 3, 0, 0};
	static const uint8_t huge[] = {0x17, 3, 3, 0xff, 0xff};
	uint16_t lengths[3] = {0};

	(void)state;
	assert_int_equal(cv_target_split_records(cv_span_of(bytes, sizeof(bytes)), lengths, 3), 3);
	assert_int_equal(lengths[0], 7);
	assert_int_equal(lengths[1], 5);
	assert_int_equal(lengths[2], 4101); /* cut off, but announced */
	assert_int_equal(cv_target_split_records(cv_span_of(bytes, 16), lengths, 3), 2);
	lengths[1] = 77;
	assert_int_equal(cv_target_split_records(cv_span_of(bytes, sizeof(bytes)), lengths, 1), 3);
	assert_int_equal(lengths[1], 77); /* counted, not stored */
	assert_int_equal(cv_target_split_records(cv_span_of(alert, sizeof(alert)), lengths, 3), 0);
	assert_int_equal(cv_target_split_records(cv_span_of(huge, sizeof(huge)), lengths, 3), 0);
	assert_int_equal(cv_target_split_records(cv_span_of(NULL, 0), lengths, 3), 0);
}

/* ---- probes ---- */

static void tickets_are_seen(void **state)
{
	struct target *target = target_start(NULL);
	struct cv_target_probe_config configs[3];
	struct cv_target_probe_result results[3];

	(void)state;
	target_run(target);
	for (int i = 0; i < 3; i++) {
		configs[i] = probe_of(target);
		configs[i].alpn_class = (enum cv_alpn_class)i;
	}
	cv_target_probe_run(configs, 3, -1, results);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(results[i].reason, 0);
		assert_int_equal(results[i].after.count, 2); /* tickets */
		assert_int_equal(results[i].post_handshake_seen, 2);
		assert_true(results[i].after.len[0] > 100);
		assert_int_equal(results[i].after.len[0],
				 results[i].after.len[1]);
		assert_int_equal(results[i].facts.version, 0x0304);
		assert_true(results[i].facts.record_count >= 5);
	}
	target_stop(target);
}

/* What a hello leaves out, the target does not choose, whatever it prefers. */
static void omissions_lead_to_each_variant(void **state)
{
	static const char *const alpn[] = {"", "http/1.1", "h2"};
	static const struct cv_hello_omissions omit[] = {
		{.hybrid = true, .sha384 = true},
		{.hybrid = true, .sha256 = true},
		{.sha256 = true}};
	struct target *target = target_start(NULL);
	struct cv_target_probe_config configs[9];
	struct cv_target_probe_result results[9];

	(void)state;
	SSL_CTX_set_options(target->context, SSL_OP_CIPHER_SERVER_PREFERENCE);
	target_run(target);
	for (int i = 0; i < 9; i++) {
		configs[i] = probe_of(target);
		configs[i].alpn_class = (enum cv_alpn_class)(i % 3);
		configs[i].omit = omit[i / 3];
	}
	cv_target_probe_run(configs, 9, -1, results);
	for (int i = 0; i < 9; i++) {
		assert_int_equal(results[i].reason, 0);
		if (omit[i / 3].hybrid)
			assert_int_equal(results[i].facts.group, CV_GROUP_X25519);
		assert_int_equal(results[i].facts.suite == 0x1302, omit[i / 3].sha256);
		assert_int_equal(results[i].after.count, 2);
		if (results[i].facts.alpn[0])
			assert_string_equal(results[i].facts.alpn, alpn[i % 3]);
	}
	/* OpenSSL's ticket holds the session's secret, which is as long as the hash */
	assert_int_equal(results[3].after.len[0], results[0].after.len[0] + 16);
	target_stop(target);
}

static void no_tickets_no_records(void **state)
{
	struct target *target = target_start(NULL);
	struct cv_target_probe_config config = probe_of(target);
	struct cv_target_probe_result result;

	(void)state;
	SSL_CTX_set_num_tickets(target->context, 0);
	target_run(target);
	cv_target_probe_run(&config, 1, -1, &result);
	assert_int_equal(result.reason, 0);
	assert_int_equal(result.after.count, 0);
	target_stop(target);
}

/* OpenSSL ignores 32 CCS records in a row. */
static void ccs_tolerance_is_found(void **state)
{
	struct target *target = target_start(NULL);
	struct cv_target_probe_config config = probe_of(target);
	struct cv_target_probe_result result;

	(void)state;
	target_run(target);
	config.kind = CV_TARGET_PROBE_CCS;
	cv_target_probe_run(&config, 1, -1, &result);
	assert_int_equal(result.reason, 0);
	assert_int_equal(result.ccs_limit, 32);
	target_stop(target);
}

static void proxy_header_goes_first(void **state)
{
	struct target *target = target_start(NULL);
	struct cv_target_probe_config config = probe_of(target);
	struct cv_target_probe_result result;
	char expected[128];

	(void)state;
	target->proxy_header = true;
	target_run(target);
	config.xver = 1;
	cv_target_probe_run(&config, 1, -1, &result);
	assert_int_equal(result.reason, 0);
	assert_int_equal(result.after.count, 2);
	assert_memory_equal(target->header, "PROXY TCP4 127.0.0.1 127.0.0.1 ", 31);
	snprintf(expected, sizeof(expected), " %u\r\n", cv_sockaddr_port(&target->address));
	assert_non_null(strstr(target->header, expected));
	target_stop(target);
}

static void unix_targets_work(void **state)
{
	struct target *target;
	struct cv_target_probe_config config;
	struct cv_target_probe_result result;
	char name[64];

	(void)state;
	snprintf(name, sizeof(name), "@cv-test-target-%d", (int)getpid());
	target = target_start(name);
	target->proxy_header = true;
	target_run(target);
	config = probe_of(target);
	config.xver = 1;
	cv_target_probe_run(&config, 1, -1, &result);
	assert_int_equal(result.reason, 0);
	assert_int_equal(result.after.count, 2);
	assert_string_equal(target->header, "PROXY UNKNOWN\r\n");
	target_stop(target);
}

static void failures_say_why(void **state)
{
	struct target *tls12 = target_start(NULL), *silent = target_start(NULL);
	struct cv_target_probe_config configs[3];
	struct cv_target_probe_result results[3];
	struct cv_sockaddr gone = {.len_bytes = sizeof(struct sockaddr_in)};

	(void)state;
	SSL_CTX_set_max_proto_version(tls12->context, TLS1_2_VERSION);
	silent->silent = true;
	target_run(tls12);
	target_run(silent);
	gone.in = (struct sockaddr_in){.sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				       .sin_port = htons(1)};
	configs[0] = probe_of(tls12);
	configs[1] = probe_of(silent);
	configs[1].timeout_ms = 300;
	configs[2] = probe_of(silent);
	configs[2].addresses = &gone;
	cv_target_probe_run(configs, 3, -1, results);
	assert_int_equal(results[0].reason, CV_UPSTREAM_NOT_TLS13);
	assert_int_equal(results[1].reason, -ETIMEDOUT);
	assert_int_equal(results[2].reason, CV_TARGET_UNREACHABLE);
	for (int i = 0; i < 3; i++)
		assert_true(results[i].error_text[0] != '\0');
	target_stop(tls12);
	target_stop(silent);
}

static void next_address_is_tried(void **state)
{
	struct target *target = target_start(NULL);
	struct cv_target_probe_config config = probe_of(target);
	struct cv_target_probe_result result;
	struct cv_sockaddr addresses[2];

	(void)state;
	target_run(target);
	addresses[0] = addresses[1] = target->address;
	addresses[0].in.sin_port = htons(1);
	config.addresses = addresses;
	config.address_count = 2;
	cv_target_probe_run(&config, 1, -1, &result);
	assert_int_equal(result.reason, 0);
	target_stop(target);
}

static void stop_descriptor_cancels(void **state)
{
	struct target *silent = target_start(NULL);
	struct cv_target_probe_config configs[40];
	static struct cv_target_probe_result results[40];
	int stop_fd = eventfd(1, EFD_CLOEXEC);
	uint64_t before = cv_clock_ms();

	(void)state;
	silent->silent = true;
	target_run(silent);
	for (int i = 0; i < 40; i++)
		configs[i] = probe_of(silent);
	cv_target_probe_run(configs, 40, stop_fd, results);
	assert_true(cv_clock_ms() - before < 1000);
	for (int i = 0; i < 40; i++)
		assert_int_equal(results[i].reason, -ECANCELED);
	close(stop_fd);
	target_stop(silent);
}

/* ---- learner ---- */

static const struct cv_post_handshake *after_of(const struct cv_target_profile *profile,
						enum cv_target_variant variant)
{
	return cv_target_profile_after(profile, variant);
}

/* The groups depend on the OpenSSL below, the hashes do not. A ticket is encrypted in blocks of 16
 * bytes and holds a random number that takes a byte more every other time. */
static void expect_hashes_learned(const struct cv_target_profile *profile)
{
	const struct cv_post_handshake *sha256 = &profile->after[CV_TARGET_CLASSIC_SHA256];
	const struct cv_post_handshake *sha384 = &profile->after[CV_TARGET_CLASSIC_SHA384];

	assert_true(sha256->known && sha384->known);
	assert_int_equal(sha256->count, 2);
	assert_int_equal(sha384->count, 2);
	assert_in_range(sha384->len[0], sha256->len[0], sha256->len[0] + 32);
	assert_int_equal((sha384->len[0] - sha256->len[0]) % 16, 0);
	assert_true(after_of(profile, CV_TARGET_HYBRID_SHA384)->known);
}

static void learner_publishes(void **state)
{
	static char names[3][256] = {"www.example.com", "a.example.com", ""};
	struct target *target = target_start(NULL);
	struct cv_target_learner_config config = {
		.target_text = "loopback", .server_names = names, .server_name_count = 3,
		.window_ms = 300, .timeout_ms = 20000};
	struct cv_target_learner *learner = NULL;
	struct cv_target_profile profile;

	(void)state;
	target_run(target);
	assert_true(cv_sockaddr_to_destination(&target->address, &config.destination));
	assert_int_equal(cv_target_learner_start(&config, &learner), 0);
	profile = cv_target_learner_profile(learner, "www.example.com", CV_ALPN_H2);
	assert_int_equal(profile.ccs_limit, CV_CCS_LIMIT_UNKNOWN);
	assert_int_equal(cv_target_learner_wait_ready(learner, 30000), 0);
	assert_int_equal(atomic_load(&target->connections), 3 * 13);
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < CV_ALPN_CLASSES; j++) {
			profile = cv_target_learner_profile(learner, names[i],
							    (enum cv_alpn_class)j);
			expect_hashes_learned(&profile);
			assert_int_equal(profile.ccs_limit, 32);
		}
	profile = cv_target_learner_profile(learner, "b.example.com", CV_ALPN_H2);
	assert_false(after_of(&profile, CV_TARGET_HYBRID_SHA256)->known);
	assert_int_equal(profile.ccs_limit, CV_CCS_LIMIT_UNKNOWN);
	assert_null(cv_target_learner_stop(learner));
	target_stop(target);
}

/* A target that refuses a suite: ready in time, and its other lists stand in, though nobody will
 * ever need them there. */
static void refused_variant_is_left_out(void **state)
{
	static char names[1][256] = {"www.example.com"};
	struct target *target = target_start(NULL);
	struct cv_target_learner_config config = {
		.target_text = "loopback", .server_names = names, .server_name_count = 1,
		.window_ms = 300, .timeout_ms = 2000};
	struct cv_target_learner *learner = NULL;
	struct cv_target_profile profile;

	(void)state;
	assert_int_equal(SSL_CTX_set_ciphersuites(target->context, "TLS_AES_128_GCM_SHA256"), 1);
	target_run(target);
	assert_true(cv_sockaddr_to_destination(&target->address, &config.destination));
	assert_int_equal(cv_target_learner_start(&config, &learner), 0);
	assert_int_equal(cv_target_learner_wait_ready(learner, 10000), 0);
	profile = cv_target_learner_profile(learner, "www.example.com", CV_ALPN_H2);
	assert_true(profile.after[CV_TARGET_CLASSIC_SHA256].known);
	assert_false(profile.after[CV_TARGET_CLASSIC_SHA384].known);
	assert_false(profile.after[CV_TARGET_HYBRID_SHA384].known);
	assert_ptr_equal(after_of(&profile, CV_TARGET_CLASSIC_SHA384),
			 &profile.after[CV_TARGET_CLASSIC_SHA256]);
	cv_target_learner_stop(learner);
	target_stop(target);
}

static void failed_round_keeps_the_profile(void **state)
{
	static char names[1][256] = {"www.example.com"};
	struct target *target = target_start(NULL);
	struct cv_target_learner_config config = {
		.target_text = "loopback", .server_names = names, .server_name_count = 1,
		.window_ms = 100, .timeout_ms = 500, .interval_s = 1};
	struct cv_target_learner *learner = NULL;
	struct cv_target_profile profile;
	int seen;

	(void)state;
	cv_log_open(NULL, CV_LOG_NONE);
	target_run(target);
	assert_true(cv_sockaddr_to_destination(&target->address, &config.destination));
	assert_int_equal(cv_target_learner_start(&config, &learner), 0);
	assert_int_equal(cv_target_learner_wait_ready(learner, 10000), 0);
	seen = atomic_load(&target->connections);
	target->silent = true;
	for (int i = 0; i < 60 && atomic_load(&target->connections) < seen + 14; i++)
		usleep(100000);
	assert_true(atomic_load(&target->connections) >= seen + 14); /* it did learn again, twice */
	profile = cv_target_learner_profile(learner, "www.example.com", CV_ALPN_H2);
	assert_int_equal(after_of(&profile, CV_TARGET_HYBRID_SHA256)->count, 2);
	assert_int_equal(profile.ccs_limit, 32);
	cv_target_learner_stop(learner);
	target_stop(target);
}

static unsigned after_now(struct cv_target_learner *learner)
{
	struct cv_target_profile profile =
		cv_target_learner_profile(learner, "www.example.com", CV_ALPN_H2);
	unsigned count = after_of(&profile, CV_TARGET_CLASSIC_SHA256)->count;

	assert_in_range(count, 2, 3);
	return count;
}

/* A target whose answers vary: what is said varies, too. */
static void every_list_seen_is_used(void **state)
{
	static char names[1][256] = {"www.example.com"};
	struct target *target = target_start(NULL);
	struct cv_target_learner_config config = {
		.target_text = "loopback", .server_names = names, .server_name_count = 1,
		.window_ms = 300, .timeout_ms = 20000, .interval_s = 1};
	struct cv_target_learner *learner = NULL;
	bool seen[4] = {false}; /* by the number of tickets */

	(void)state;
	cv_log_open(NULL, CV_LOG_NONE);
	target_run(target);
	assert_true(cv_sockaddr_to_destination(&target->address, &config.destination));
	assert_int_equal(cv_target_learner_start(&config, &learner), 0);
	assert_int_equal(cv_target_learner_wait_ready(learner, 30000), 0);
	assert_int_equal(after_now(learner), 2);
	SSL_CTX_set_num_tickets(target->context, 3);
	for (int i = 0; i < 3000 && !seen[3]; i++) { /* until the next round has seen three */
		usleep(10000);
		seen[after_now(learner)] = true;
	}
	for (int i = 0; i < 1000; i++)
		seen[after_now(learner)] = true;
	assert_true(seen[2] && seen[3]);
	cv_target_learner_stop(learner);
	target_stop(target);
}

static void unreachable_target_is_ready_and_empty(void **state)
{
	static char names[1][256] = {"www.example.com"};
	struct cv_target_learner_config config = {
		.target_text = "gone", .server_names = names, .server_name_count = 1,
		.timeout_ms = 500};
	struct cv_target_learner *learner = NULL;
	struct cv_target_profile profile;

	(void)state;
	cv_log_open(NULL, CV_LOG_NONE);
	assert_int_equal(cv_destination_set_text(&config.destination, "127.0.0.1", 1), 0);
	assert_int_equal(cv_target_learner_start(&config, &learner), 0);
	assert_int_equal(cv_target_learner_wait_ready(learner, 5000), 0);
	profile = cv_target_learner_profile(learner, "www.example.com", CV_ALPN_H2);
	for (int i = 0; i < CV_TARGET_VARIANTS; i++)
		assert_false(profile.after[i].known);
	cv_target_learner_stop(learner);
	cv_target_learner_stop(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(splits_records),
		cmocka_unit_test(tickets_are_seen),
		cmocka_unit_test(omissions_lead_to_each_variant),
		cmocka_unit_test(no_tickets_no_records),
		cmocka_unit_test(ccs_tolerance_is_found),
		cmocka_unit_test(proxy_header_goes_first),
		cmocka_unit_test(unix_targets_work),
		cmocka_unit_test(failures_say_why),
		cmocka_unit_test(next_address_is_tried),
		cmocka_unit_test(stop_descriptor_cancels),
		cmocka_unit_test(learner_publishes),
		cmocka_unit_test(refused_variant_is_left_out),
		cmocka_unit_test(failed_round_keeps_the_profile),
		cmocka_unit_test(every_list_seen_is_used),
		cmocka_unit_test(unreachable_target_is_ready_and_empty),
	};

	signal(SIGPIPE, SIG_IGN); /* the OpenSSL side writes to closed sockets */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
