// SPDX-License-Identifier: MIT
/*
 * test_reality_flight.c - the worked vector of REALITY 14, byte by byte: session id, ServerHello,
 * certificates, records, Finished, secrets.
 */
#include "reality_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char hello_hex[] =
	"010000b90303808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f209f287bc1a1b2"
	"f5178e2a3824399e46291c75e9f181d5f32ef7de3636c6cd07410006130113021303"
	"0100006a00000014001200000f7777772e6578616d706c652e636f6d000a00040002001d000d00060004040308"
	"07001000050003026832002b0003020304002d00020101003300260024001d00205869aff450549732cbaaed5e"
	"5df9b30a6da31cb0e5742bad5ad4a1a768f1a67b";
static const char share_hex[] = "5869aff450549732cbaaed5e5df9b30a6da31cb0e5742bad5ad4a1a768f1a67b";
static const char auth_key_hex[] =
	"e4044caed0c1580d37ddf4808166824f7f59e9294cb596430327ef11b7e59e45";
static const char claim_hex[] = "1a071c006955b9000123456789abcdef";
static const char server_hello_hex[] =
	"020000760303c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf209f287bc1a1b2"
	"f5178e2a3824399e46291c75e9f181d5f32ef7de3636c6cd0741130100002e002b0002030400330024001d0020"
	"244fe3b963e899dd295baffce248d3530f3a9a7479ba063002680ebfe7adad49";
static const char der_hex[] =
	"3081af3063a003020102020100300506032b657030003022180f30303031303130313030303030305a180f3030"
	"3031303130313030303030305a3000302a300506032b65700321002543b92ff1095511476adc8369db6ddc9336"
	"65a11978dda1404ee1066ca9559d300506032b6570034100a68781257fc6ac191fa29e30c25b419361f24a6f65"
	"58a8df66167d3ddd210af5ccd98ca51bbad72c935a819ba5ee8dbee60eaafd9f1652976e1acc15c2cc3f54";
static const char ee_record_hex[] =
	"1703030024d27a3e2b9dee5f6bbb38f966de23f29367ac4ecc3c87b087cbbf1c348036466ebabe798e";
static const char verify_hex[] =
	"0f0000440807004001c583f5b70aea8b34f50549832f816ac08ae10d1d06eaae3e4ef946e3bd7ab93efb81ade9"
	"6df63c933e69e7d2b50dc92ad3e5e47e2e69e3ffcf4d797ebfb50e";
static const char finished_hex[] =
	"14000020cd20f0bd416cab1ed4d422a788cfdde68299f7a4675f4ab983918963cf0fea87";
static const char ticket_record_hex[] =
	"170303003ba5d1e74dbc984221e7167cc2481c6e4f6305179502c99f83adc9388737dee509432826a54337d3d2"
	"a6c5a40606f2ea80b3447a895426ec14930494";
static const char client_finished_hex[] =
	"1400002043d277025d178195b81acbf8cc9fbba6a5ef6fe8fa79560a68e70aad9c049564";
static const char key_log[] = "CLIENT_HANDSHAKE_TRAFFIC_SECRET "
			      "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f "
			      "3e290d60a421fa60afc07b0afd8d628d6cb92c2584d6d9abb527c8a7ea7a87e9\n"
			      "SERVER_HANDSHAKE_TRAFFIC_SECRET "
			      "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f "
			      "b4cb8b01e6f9c95746daa9b9246a4aa3dfc473f6fbb2d982ee16866db48321c7\n"
			      "CLIENT_TRAFFIC_SECRET_0 "
			      "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f "
			      "8dddd5a66575ca78a67a83bcc14387634a0521b0ee818da8b4ed5e7ba7ebbfee\n"
			      "SERVER_TRAFFIC_SECRET_0 "
			      "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f "
			      "8657e1ca89e8a5f35d9fed973e0aea2872e68fb2520d035a080239c378eda221\n";

struct world {
	struct rig_config config;
	struct rig_client client;
	struct cv_reality_server *server;
};

static void assert_hex(const uint8_t *bytes, size_t len, const char *hex)
{
	uint8_t expected[4096];

	assert_int_equal(len, rig_hex(hex, expected, sizeof(expected)));
	assert_memory_equal(bytes, expected, len);
}

static void start(struct world *world)
{
	struct rig_hello hello = rig_hello_default();

	rig_config_start(&world->config);
	rig_client_start(&world->client, &hello);
	world->server = cv_reality_server_new(&world->config.reality);
	assert_non_null(world->server);
	cv_reality_server_set_entropy(world->server, &rig_entropy);
}

static void stop(struct world *world)
{
	cv_reality_server_free(world->server);
	rig_client_stop(&world->client);
	rig_config_stop(&world->config);
}

static void up_to_flight(struct world *world, const struct rig_flight *flight)
{
	struct cv_buffer bytes;

	cv_buffer_init(&bytes, 1 << 20);
	rig_hello_records(&world->client, 16384, &bytes);
	assert_int_equal(
		cv_reality_server_client_bytes(world->server, cv_buffer_span(&bytes), RIG_WALL_MS),
		CV_REALITY_WAIT);
	cv_buffer_consume(&bytes, cv_buffer_len(&bytes));
	rig_flight_write(flight, &world->client, &bytes);
	assert_int_equal(
		cv_reality_server_target_bytes(world->server, cv_buffer_span(&bytes), RIG_WALL_MS),
		CV_REALITY_FLIGHT);
	cv_buffer_done(&bytes);
}

static void the_rig_builds_the_vector(void **state)
{
	struct world world;

	(void)state;
	start(&world);
	assert_hex(cv_buffer_bytes(&world.client.hello), cv_buffer_len(&world.client.hello),
		   hello_hex);
	stop(&world);
}

static void session_id(void **state)
{
	uint8_t hello[256], before[256], private_key[32], share[32], auth_key[32], plain[16];
	size_t len = rig_hex(hello_hex, hello, sizeof(hello));

	(void)state;
	for (int i = 0; i < 32; i++)
		private_key[i] = (uint8_t)(i + 1);
	rig_hex(share_hex, share, 32);
	assert_int_equal(cv_reality_auth_key(private_key, share, hello + 6, auth_key), 0);
	assert_hex(auth_key, 32, auth_key_hex);
	memcpy(before, hello, len);
	assert_int_equal(cv_reality_session_id_open(auth_key, hello, len, plain), 0);
	assert_hex(plain, 16, claim_hex);
	assert_memory_equal(hello, before, len); /* the transcript needs it as it came */

	for (size_t i = 0; i < len; i++) { /* every bit of the hello is authenticated */
		hello[i] ^= 1;
		assert_int_equal(cv_reality_session_id_open(auth_key, hello, len, plain),
				 CV_PEER_AUTH_FAILED);
		hello[i] ^= 1;
	}
}

static void degenerate_shares(void **state)
{
	uint8_t private_key[32] = {1}, share[32] = {0}, random[32] = {0}, auth_key[32];

	(void)state;
	assert_int_equal(cv_reality_auth_key(private_key, share, random, auth_key),
			 CV_PEER_AUTH_FAILED);
}

static void certificate(void **state)
{
	uint8_t message[CV_REALITY_CERTIFICATE_MAX];
	struct world world;

	(void)state;
	start(&world);
	assert_int_equal(cv_reality_certificate_len(false), 191);
	assert_int_equal(cv_reality_certificate_write(&world.config.reality, world.client.auth_key,
						      cv_span_of(NULL, 0), cv_span_of(NULL, 0),
						      message),
			 0);
	assert_hex(message, 13 - 2, "0b0000bb000000b70000b2");
	assert_hex(message + 11, 178, der_hex);
	assert_hex(message + 189, 2, "0000");
	stop(&world);
}

static void certificate_with_mldsa(void **state)
{
	uint8_t message[CV_REALITY_CERTIFICATE_MAX], server_hello[256], hello[256], digest[32];
	struct cv_span client_hello, sent;
	struct world world;

	(void)state;
	start(&world);
	rig_config_with_mldsa(&world.config);
	client_hello = cv_span_of(hello, rig_hex(hello_hex, hello, sizeof(hello)));
	sent = cv_span_of(server_hello,
			  rig_hex(server_hello_hex, server_hello, sizeof(server_hello)));
	assert_int_equal(cv_reality_certificate_len(true), 3522);
	assert_int_equal(cv_reality_certificate_write(&world.config.reality, world.client.auth_key,
						      client_hello, sent, message),
			 0);
	assert_hex(message, 11, "0b000dbe00000dba000db5");
	assert_int_equal(cv_hash(CV_SHA256, message + 11, 3509, digest), 0);
	assert_hex(digest, 32, "ce44cf66969a859b299f6cf53bc0e1397f51ce26a4046d27af54ffbd5945e2ce");
	assert_int_equal(cv_hash(CV_SHA256, message + 11 + 126, 3309, digest), 0);
	assert_hex(digest, 32, "50ecbd47a0a3706e72adf6b66b3f8c5a9a7138134ecb370623ad924b1c5f08ec");
	stop(&world);
}

static void flight_and_secrets(void **state)
{
	struct rig_flight flight = rig_flight_default();
	struct cv_buffer *output;
	struct world world;
	size_t len;
	char *log;

	(void)state;
	start(&world);
	up_to_flight(&world, &flight);
	output = cv_reality_server_output(world.server);
	len = cv_buffer_len(output);
	assert_hex(cv_buffer_bytes(output) + 5, 122, server_hello_hex);
	assert_hex(cv_buffer_bytes(output) + 127 + 6, 41, ee_record_hex);
	assert_hex(cv_buffer_bytes(output) + len - 64, 64, ticket_record_hex);
	log = cv_reality_server_key_log(world.server);
	assert_string_equal(log, key_log);
	free(log);

	rig_client_read_flight(&world.client, &flight, &world.config, output);
	assert_int_equal(cv_buffer_len(output), 0);
	assert_hex(cv_buffer_bytes(&world.client.messages) + 6 + 191, 72, verify_hex);
	assert_hex(cv_buffer_bytes(&world.client.messages) + 6 + 191 + 72, 36, finished_hex);
	assert_hex(world.client.finished, world.client.finished_len, client_finished_hex);
	stop(&world);
}

/* Each mode with each suite and group, plain and ML-DSA; the rig's client checks everything. */
static void run_shape(const struct rig_flight *flight, const struct rig_hello *hello,
		      bool with_mldsa)
{
	struct world world;

	start(&world);
	rig_client_stop(&world.client);
	rig_client_start(&world.client, hello);
	if (with_mldsa)
		rig_config_with_mldsa(&world.config);
	up_to_flight(&world, flight);
	rig_client_read_flight(&world.client, flight, &world.config,
			       cv_reality_server_output(world.server));
	assert_int_equal(cv_buffer_len(cv_reality_server_output(world.server)), 0);
	assert_memory_equal(cv_reality_server_short_id(world.server), hello->short_id, 8);
	assert_int_equal(cv_reality_server_is_hybrid(world.server), hello->hybrid);
	stop(&world);
}

static void every_suite_group_and_mode(void **state)
{
	static const uint16_t suites[] = {0x1301, 0x1302, 0x1303};
	struct rig_hello hello = rig_hello_default();

	(void)state;
	hello.hybrid = true;
	for (int i = 0; i < 3 * 2 * 2 * 2; i++) {
		struct rig_flight flight = rig_flight_default();
		bool with_mldsa = i / 3 % 2;

		flight.suite = suites[i % 3];
		flight.group = i / 6 % 2 ? CV_GROUP_X25519MLKEM768 : CV_GROUP_X25519;
		flight.record_len[3] = 4200;
		flight.record_len[5] = 74;
		flight.record_len[6] = i % 2 ? 0 : 250;
		if (i / 12) {
			memset(flight.record_len, 0, sizeof(flight.record_len));
			flight.record_len[2] = with_mldsa ? 3674 : 600;
		}
		run_shape(&flight, &hello, with_mldsa);
	}
}

static void hybrid_share_alone_authenticates(void **state)
{
	struct rig_flight flight = rig_flight_default();
	struct rig_hello hello = rig_hello_default();

	(void)state;
	hello.x25519 = false;
	hello.hybrid = true;
	flight.group = CV_GROUP_X25519MLKEM768;
	run_shape(&flight, &hello, false);
}

static void smallest_and_largest_records(void **state)
{
	struct rig_flight flight = rig_flight_default();
	struct rig_hello hello = rig_hello_default();

	(void)state;
	flight.record_len[2] = 28;
	flight.record_len[3] = 213;
	flight.record_len[4] = 94;
	flight.record_len[5] = 58;
	flight.record_len[6] = 22;
	run_shape(&flight, &hello, false);
	flight.record_len[3] = 16406; /* a full inner plaintext, RFC 8446 5.4 */
	flight.record_len[4] = 9000;
	flight.record_len[6] = 16406;
	run_shape(&flight, &hello, false);
	flight.suite = 0x1302;
	flight.record_len[5] = 74;
	run_shape(&flight, &hello, false);
	memset(flight.record_len, 0, sizeof(flight.record_len));
	flight.record_len[2] = 16406;
	run_shape(&flight, &hello, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_rig_builds_the_vector),
		cmocka_unit_test(session_id),
		cmocka_unit_test(degenerate_shares),
		cmocka_unit_test(certificate),
		cmocka_unit_test(certificate_with_mldsa),
		cmocka_unit_test(flight_and_secrets),
		cmocka_unit_test(every_suite_group_and_mode),
		cmocka_unit_test(hybrid_share_alone_authenticates),
		cmocka_unit_test(smallest_and_largest_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
