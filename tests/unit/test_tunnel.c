// SPDX-License-Identifier: MIT
/* test_tunnel.c - where a tunnel leads, by its address, its port and its portMap. */
#include "policy/tunnel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct cv_destination at(const char *host, uint16_t port)
{
	struct cv_destination destination = {.kind = CV_ADDRESS_NONE, .port = port};

	if (*host)
		assert_int_equal(cv_destination_set_text(&destination, host, port), 0);
	return destination;
}

static void leads(const struct cv_tunnel *tunnel, const char *host, uint16_t port,
		  const char *wanted)
{
	const struct cv_destination local = at(host, port);
	struct cv_destination target;
	char text[CV_DESTINATION_TEXT];

	cv_tunnel_target(tunnel, &local, &target);
	cv_destination_format(&target, text);
	assert_string_equal(text, wanted);
}

static void test_address_and_port(void **state)
{
	struct cv_tunnel tunnel = {.to = at("a.test", 80)};

	(void)state;
	leads(&tunnel, "192.0.2.1", 8080, "a.test:80");
	tunnel.to = at("a.test", 0);
	leads(&tunnel, "192.0.2.1", 8080, "a.test:8080");
	tunnel.to = at("", 80);
	leads(&tunnel, "192.0.2.1", 8080, "127.0.0.1:80");
	leads(&tunnel, "2001:db8::1", 8080, "[::1]:80");
	tunnel.to = at("", 0);
	leads(&tunnel, "192.0.2.1", 8080, "127.0.0.1:8080");
}

static void test_port_map(void **state)
{
	struct cv_tunnel_port ports[] = {
		{.port = 1, .to = at("b.test", 10)},
		{.port = 2, .to = at("b.test", 0)},
		{.port = 3, .to = at("", 30)},
	};
	const struct cv_tunnel tunnel = {
		.to = at("a.test", 80), .ports = ports, .port_count = 3};

	(void)state;
	leads(&tunnel, "192.0.2.1", 1, "b.test:10");
	leads(&tunnel, "192.0.2.1", 2, "b.test:80"); /* as the tunnel's, which is given */
	leads(&tunnel, "192.0.2.1", 3, "a.test:30");
	leads(&tunnel, "192.0.2.1", 4, "a.test:80");
}

static void test_its_end(void **state)
{
	struct cv_tunnel *tunnel = calloc(1, sizeof(*tunnel));

	(void)state;
	tunnel->ports = calloc(1, sizeof(*tunnel->ports));
	assert_null(cv_tunnel_free(tunnel));
	assert_null(cv_tunnel_free(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_address_and_port),
		cmocka_unit_test(test_port_map),
		cmocka_unit_test(test_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
