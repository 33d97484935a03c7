// SPDX-License-Identifier: MIT
/*
 * test_edge.c - names to classes: exact, wildcard, longest suffix; "edge" in the configuration.
 */
#include "config_text.h"

#include "policy/edge.h"

#include <stdint.h>

/* ---- matching ----------------------------------------------------------------------------- */

enum { EXACT = 20, DEEP, SHALLOW, TARGET };

static struct cv_edge *make(void)
{
	struct cv_edge *edge = cv_edge_new();

	assert_non_null(edge);
	edge->first_target = TARGET;
	edge->target_count = 2;
	assert_int_equal(cv_edge_add(edge, "*.example", SHALLOW, CV_SNI_PASS), 0);
	assert_int_equal(cv_edge_add(edge, "WWW.b.example", EXACT, CV_SNI_PASS), 0);
	assert_int_equal(cv_edge_add(edge, "*.b.Example", DEEP, CV_SNI_DROP), 0);
	assert_int_equal(cv_edge_add(edge, "own.example", TARGET, CV_SNI_PASS), 0);
	assert_null(cv_edge_seal(edge));
	return edge;
}

static uint32_t class_of(const struct cv_edge *edge, const char *name)
{
	const struct cv_edge_name *found = cv_edge_match(edge, name);

	return found ? found->class : 0;
}

static void test_match(void **state)
{
	struct cv_edge *edge = make();

	(void)state;
	assert_true(edge->drops);
	assert_int_equal(class_of(edge, "www.b.example"), EXACT);
	assert_int_equal(class_of(edge, "Www.B.eXample"), EXACT);
	assert_int_equal(class_of(edge, "x.b.example"), DEEP);
	assert_int_equal(class_of(edge, "y.x.b.example"), DEEP);
	assert_int_equal(class_of(edge, "a.www.b.example"), DEEP);
	assert_int_equal(class_of(edge, "b.example"), SHALLOW);
	assert_int_equal(class_of(edge, "own.example"), TARGET);
	assert_int_equal(class_of(edge, "x.own.example"), SHALLOW);
	assert_int_equal(class_of(edge, "example"), 0);
	assert_int_equal(class_of(edge, ".example"), 0);
	assert_int_equal(class_of(edge, ".b.example"), SHALLOW);
	assert_int_equal(class_of(edge, "xexample"), 0);
	assert_int_equal(class_of(edge, "b.example."), 0);
	assert_int_equal(class_of(edge, ""), 0);
	assert_int_equal(class_of(edge, "*.example"), SHALLOW);
	cv_edge_free(edge);
}

static void test_longest_name(void **state)
{
	struct cv_edge *edge = cv_edge_new();
	char name[258];

	(void)state;
	memset(name, 'a', sizeof(name));
	name[1] = '.';
	name[255] = '\0';
	assert_true(cv_edge_name_is_good(name));
	assert_int_equal(cv_edge_add(edge, name, EXACT, CV_SNI_PASS), 0);
	name[0] = '*';
	assert_int_equal(cv_edge_add(edge, name, DEEP, CV_SNI_PASS), 0);
	assert_null(cv_edge_seal(edge));
	name[0] = 'a';
	assert_int_equal(class_of(edge, name), EXACT);
	name[0] = 'b';
	assert_int_equal(class_of(edge, name), DEEP);
	name[255] = 'a';
	name[256] = '\0';
	assert_false(cv_edge_name_is_good(name));
	assert_int_equal(class_of(edge, name), 0);
	cv_edge_free(edge);
}

static void test_good_names(void **state)
{
	static const char *const good[] = {"a", "a.b", "*.a", "*.a.b", "xn--a.example", "_x"};
	static const char *const bad[] = {"",      ".",    "*",   "*.", "a.",  "*a",   "a.*",
					  "*.*.a", "**.a", "a b", " a", "a\t", "*..a", "\x7f"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(cv_edge_name_is_good(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(cv_edge_name_is_good(bad[i]));
}

static void test_twice(void **state)
{
	struct cv_edge *edge = make();

	(void)state;
	assert_int_equal(cv_edge_add(edge, "Own.example", TARGET + 1, CV_SNI_PASS), 0);
	assert_null(cv_edge_seal(edge));
	assert_int_equal(class_of(edge, "own.example"), CV_SNI_CLASS_UNDECIDED);
	assert_int_equal(cv_edge_add(edge, "OWN.example", EXACT, CV_SNI_DROP), 0);
	assert_string_equal(cv_edge_seal(edge), "own.example");
	cv_edge_free(edge);
}

/* ---- configuration ------------------------------------------------------------------------ */

#define CLIENTS "\"clients\":[{\"id\":\"5783a3e7-e373-51cd-8642-c83782b807c5\"}]"
#define REALITY(tag, more) \
	"{\"tag\":\"" tag "\",\"listen\":\"127.0.0.1\",\"port\":443,\"protocol\":\"vless\"," \
	"\"settings\":{\"decryption\":\"none\"," CLIENTS "},\"streamSettings\":{" \
	"\"network\":\"raw\",\"security\":\"reality\",\"realitySettings\":{" \
	"\"target\":\"a.test:443\",\"serverNames\":[\"a.test\"],\"shortIds\":[\"\"]," \
	"\"privateKey\":\"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI\"" more "}}}"
#define TARGETS ",\"targets\":[{\"target\":\"b.test:443\",\"serverNames\":[\"b.test\"]}]"
#define SOCKS "{\"tag\":\"s\",\"listen\":\"127.0.0.1\",\"port\":1080,\"protocol\":\"socks\"}"
#define FRONT "{\"tag\":\"front\",\"listen\":\"127.0.0.1\",\"port\":44,\"protocol\":\"edge\"}"
#define CONFIG(inbounds, edge) \
	"{\"inbounds\":[" inbounds "],\"outbounds\":[{\"protocol\":\"freedom\"}]" edge "}"
#define EDGE(text) ",\"edge\":{" text "}"

static void test_no_edge(void **state)
{
	struct cv_config *config = config_good(CONFIG(REALITY("r", "") "," SOCKS, ""));

	(void)state;
	assert_null(config->inbounds[0].edge);
	assert_null(config->inbounds[1].edge);
	assert_int_equal(config->sni_class_count, 0);
	cv_config_free(config);
}

static void test_targets_only(void **state)
{
	struct cv_config *config = config_good(CONFIG(SOCKS "," REALITY("r", TARGETS), ""));
	const struct cv_edge *edge = config->inbounds[1].edge;

	(void)state;
	assert_non_null(edge);
	assert_false(edge->drops);
	assert_int_equal(edge->table, 1);
	assert_int_equal(edge->target_count, 2);
	assert_int_equal(class_of(edge, "a.test"), edge->first_target);
	assert_int_equal(class_of(edge, "b.test"), edge->first_target + 1);
	assert_int_equal(config->sni_class_count, 2);
	assert_string_equal(config->sni_classes[1], "r/b.test:443");
	cv_config_free(config);
}

static void test_capital_target(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config =
		config_parse(CONFIG(REALITY("r", ",\"targets\":[{\"target\":\"b.test:443\","
						 "\"serverNames\":[\"B.test\"]}]"),
				    ""),
			     findings);

	(void)state;
	assert_non_null(config);
	assert_int_equal(class_of(config->inbounds[0].edge, "b.test"), CV_SNI_CLASS_UNDECIDED);
	cv_config_free(config);
	free(findings);
}

static void test_routes(void **state)
{
	struct cv_config *config = config_good(
		CONFIG(REALITY("r", "") "," SOCKS,
		       EDGE("\"notTls\":\"drop\",\"routes\":["
			    "{\"names\":[\"*.Test\",\"x.net\"],\"to\":\"drop\",\"class\":\"bad\"},"
			    "{\"names\":\"y.net\",\"to\":\"drop\",\"class\":\"bad\"},"
			    "{\"names\":[\"z.net\"],\"to\":\"pass\"}]")));
	const struct cv_edge *edge = config->inbounds[0].edge;

	(void)state;
	assert_null(config->inbounds[1].edge);
	assert_true(edge->drops);
	assert_int_equal(edge->not_tls, CV_SNI_DROP);
	assert_int_equal(cv_edge_match(edge, "a.test")->action, CV_SNI_PASS);
	assert_int_equal(cv_edge_match(edge, "b.test")->action, CV_SNI_DROP);
	assert_int_equal(class_of(edge, "b.test"), class_of(edge, "y.net"));
	assert_int_equal(cv_edge_match(edge, "z.net")->action, CV_SNI_PASS);
	assert_int_equal(config->sni_class_count, 3);
	assert_string_equal(config->sni_classes[class_of(edge, "x.net") - CV_SNI_CLASS_FIRST],
			    "bad");
	assert_string_equal(config->sni_classes[class_of(edge, "z.net") - CV_SNI_CLASS_FIRST],
			    "z.net");
	cv_config_free(config);
}

static void test_inbound_tag(void **state)
{
	struct cv_config *config = config_good(CONFIG(
		REALITY("r", "") "," REALITY("q", ""),
		EDGE("\"inboundTag\":[\"q\"],\"routes\":[{\"names\":[\"x\"],\"to\":\"drop\"}]")));

	(void)state;
	assert_null(config->inbounds[0].edge);
	assert_int_equal(cv_edge_match(config->inbounds[1].edge, "x")->action, CV_SNI_DROP);
	cv_config_free(config);
}

static void test_places(void **state)
{
	struct cv_config *config = config_good(CONFIG(
		FRONT "," REALITY("r", TARGETS),
		EDGE("\"target\":\"127.0.0.1:81\",\"noName\":\"raw80\",\"silence\":\"drop\","
		     "\"unknownName\":{\"backend\":\"two\"},"
		     "\"backends\":[{\"name\":\"one\",\"address\":\"/run/one\",\"xver\":2,"
		     "\"whenDown\":{\"backend\":\"two\"}},"
		     "{\"name\":\"two\",\"address\":\"127.0.0.1:2\",\"check\":true}],"
		     "\"routes\":[{\"to\":{\"inboundTag\":\"r\"}},"
		     "{\"names\":\"x\",\"to\":{\"backend\":\"one\"},\"class\":\"c\"},"
		     "{\"names\":\"y\",\"to\":{\"backend\":\"two\"},\"class\":\"c\"},"
		     "{\"names\":\"z\",\"to\":{\"backend\":\"127.0.0.1:3\",\"xver\":1}}]")));
	const struct cv_edge *edge = config->inbounds[0].edge;
	const struct cv_backend *one = cv_edge_match(edge, "x")->place.backend;
	const struct cv_backend *two = edge->unknown.backend;
	struct cv_edge_place place;

	(void)state;
	assert_true(edge->leads);
	assert_false(config->inbounds[1].edge->is_routed); /* it is behind */
	assert_int_equal(cv_edge_match(edge, "B.TEST")->place.kind, CV_EDGE_INBOUND);
	assert_int_equal(cv_edge_match(edge, "a.test")->place.inbound, 1);
	assert_string_equal(edge->target->address_text, "127.0.0.1:81");
	assert_string_equal(edge->no_name.backend->address_text, "127.0.0.1:80");
	assert_int_equal(edge->no_tls.kind, CV_EDGE_PASS);
	assert_int_equal(edge->silence.kind, CV_EDGE_DROP);
	assert_string_equal(one->name, "one");
	assert_int_equal(one->xver, 2);
	assert_true(one->unix_address.len_bytes > 0);
	assert_ptr_equal(one->when_down.backend, two);
	assert_int_equal(two->interval_ms, 10000);
	assert_true(two->fall == 3 && two->rise == 2 && two->is_checked && !one->is_checked);
	assert_int_equal(cv_edge_match(edge, "z")->place.backend->xver, 1);
	/* of a class that leads to two places the name must tell */
	assert_false(cv_edge_class_place(edge, class_of(edge, "x"), &place));
	assert_true(cv_edge_class_place(edge, class_of(edge, "z"), &place));
	assert_ptr_equal(place.backend, cv_edge_match(edge, "z")->place.backend);
	cv_config_free(config);
}

static void test_backend_health(void **state)
{
	struct cv_backend *backend = cv_backend_new();

	(void)state;
	assert_non_null(backend);
	backend->fall = 3;
	backend->rise = 2;
	for (int round = 0; round < 2; round++) {
		assert_false(cv_backend_note(backend, false));
		assert_false(cv_backend_note(backend, false));
		assert_false(cv_backend_note(backend, true)); /* not in a row */
		assert_false(cv_backend_note(backend, false));
		assert_false(cv_backend_note(backend, false));
		assert_false(backend->is_down);
		assert_true(cv_backend_note(backend, false));
		assert_true(backend->is_down);
		assert_false(cv_backend_note(backend, true));
		assert_false(cv_backend_note(backend, false));
		assert_false(cv_backend_note(backend, true));
		assert_true(cv_backend_note(backend, true));
		assert_false(backend->is_down);
	}
	assert_int_equal(backend->checks, 20);
	cv_backend_free(backend);
}

static void test_findings(void **state)
{
	static const struct {
		const char *edge, *wanted;
	} errors[] = {
		{CONFIG(REALITY("r", ""), EDGE("\"inboundTag\":\"q\"")), "no inbound is called"},
		{CONFIG(SOCKS, EDGE("\"inboundTag\":\"s\"")), "has neither REALITY nor TLS"},
		{CONFIG(REALITY("r", ""), EDGE("\"notTls\":\"terminate\"")),
		 "needs edge.terminateTag"},
		{CONFIG(REALITY("r", ""),
			EDGE("\"terminateTag\":\"r\",\"notTls\":\"terminate\"")),
		 "inbound \"r\" has no TLS of its own"},
		{CONFIG(REALITY("r", ""), EDGE("\"noName\":\"vanish\"")),
		 "expected one of pass, target, dest, drop, raw80, terminate"},
		{CONFIG(REALITY("r", ""), EDGE("\"silence\":{}")),
		 "expected either \"inboundTag\" or \"backend\""},
		{CONFIG(REALITY("r", ""), EDGE("\"silence\":{\"backend\":\"nowhere\"}")),
		 "host:port, a port, or a unix socket"},
		{CONFIG(REALITY("r", ""), EDGE("\"silence\":{\"inboundTag\":\"q\"}")),
		 "no inbound is called \"q\""},
		{CONFIG(FRONT, EDGE("\"silence\":{\"inboundTag\":\"front\"}")),
		 "inbound \"front\" only routes"},
		{CONFIG(FRONT, EDGE("\"silence\":\"drop\"")),
		 "edge.target: required, but missing: inbound \"front\" serves nothing itself"},
		{CONFIG(FRONT, ""), "required by inbound \"front\", but missing"},
		{CONFIG(FRONT, EDGE("\"target\":\"t:1\",\"backends\":["
				    "{\"name\":\"b\",\"address\":\"x:1\"},"
				    "{\"name\":\"b\",\"address\":\"x:2\"}]")),
		 "another backend has this name"},
		{CONFIG(FRONT, EDGE("\"target\":\"t:1\",\"backends\":["
				    "{\"name\":\"b\",\"address\":\"x:1\",\"check\":"
				    "{\"interval\":0}}]")),
		 "a number of seconds from 1 to 3600"},
		{CONFIG(REALITY("r", ""), EDGE("\"routes\":[{\"names\":\"x\"}]")),
		 "required, but missing"},
		{CONFIG(REALITY("r", ""), EDGE("\"routes\":[{\"to\":\"drop\"}]")),
		 "required, but missing"},
		{CONFIG(REALITY("r", ""),
			EDGE("\"routes\":[{\"names\":\"x\",\"to\":{\"inbound\":\"r\"}}]")),
		 "expected either \"inboundTag\" or \"backend\""},
		{CONFIG(REALITY("r", ""), EDGE("\"routes\":[{\"names\":\"x.*\",\"to\":\"drop\"}]")),
		 "a server name like"},
		{CONFIG(REALITY("r", ""),
			EDGE("\"routes\":[{\"names\":[\"x\",\"X\"],\"to\":\"drop\"}]")),
		 "\"x\" is listed twice"},
		{CONFIG(REALITY("r", ""),
			EDGE("\"routes\":[{\"names\":\"a.test\",\"to\":\"drop\"}]")),
		 "\"a.test\" is listed twice, or is a server name of inbound \"r\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct findings *findings = malloc(sizeof(*findings));

		assert_null(config_parse(errors[i].edge, findings));
		if (!strstr(findings->text, errors[i].wanted))
			fail_msg("wanted \"%s\", got:\n%s", errors[i].wanted, findings->text);
		free(findings);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_match),          cmocka_unit_test(test_longest_name),
		cmocka_unit_test(test_good_names),     cmocka_unit_test(test_twice),
		cmocka_unit_test(test_no_edge),        cmocka_unit_test(test_targets_only),
		cmocka_unit_test(test_routes),         cmocka_unit_test(test_inbound_tag),
		cmocka_unit_test(test_capital_target), cmocka_unit_test(test_findings),
		cmocka_unit_test(test_places),         cmocka_unit_test(test_backend_health),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
