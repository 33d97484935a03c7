// SPDX-License-Identifier: MIT
/*
 * test_reverse_tunnels.c - a portal, and a bridge, on a real worker; the test is the other end of
 * their tunnels, by frames written and read by hand, and whoever uses them.
 *
 *   portal   the test asks a SOCKS5 inbound for the portal's domain: it is a bridge from then on;
 *            whoever asks for anything else is a user
 *   bridge   dials the test by VLESS: first for the domain, then for what comes out of the tunnel
 */
#include "carrier_talk.h"

#include "base/reason.h"
#include "policy/reverse.h"
#include "session/session.h"
#include "wire/reverse_control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define DOMAIN "tunnel.test"

static const char socks_answer[] = "\005\000\000\001\000\000\000\000\000\000";

static char bridge_tag[] = "bridge", bridge_domain[] = DOMAIN;

struct play {
	struct session_stage stage;
	struct cv_bridge bridge;
	struct talk talk;
};

static void play_done(struct play *play)
{
	cv_worker_stop(&play->stage.worker);
	play->stage.stopped = true;
	if (play->talk.fd > 0)
		(void)close(play->talk.fd);
	talk_done(&play->talk);
	stage_done(&play->stage);
	play->stage.outbound.portal = cv_portal_free(play->stage.outbound.portal);
}

static void expect_state(const uint8_t *data, size_t len_bytes, enum cv_reverse_state wanted)
{
	enum cv_reverse_state found;

	assert_int_equal(cv_reverse_control_read(cv_span_of(data, len_bytes), &found), 0);
	assert_int_equal(found, wanted);
}

static void expect_gone(int fd)
{
	char byte;

	assert_true(recv(fd, &byte, 1, 0) <= 0);
	(void)close(fd);
}

/* ---- portal ------------------------------------------------------------------------------- */

static void portal_start(struct play *play)
{
	memset(play, 0, sizeof(*play));
	stage_init(&play->stage);
	play->stage.config.daemon.max_sessions = 600;
	play->stage.outbound.protocol = CV_OUTBOUND_PORTAL;
	play->stage.outbound.portal = cv_portal_new(DOMAIN, "reverse");
	assert_non_null(play->stage.outbound.portal);
	stage_start(&play->stage, "splice");
}

static int ask_for(struct play *play, const char *name, uint16_t port)
{
	const uint8_t len = (uint8_t)strlen(name);
	const int fd = stage_dial(&play->stage);
	uint8_t request[300] = {5, 1, 0, 3, len};

	stage_send(fd, "\005\001\000", 3);
	stage_expect(fd, "\005\000", 2);
	memcpy(request + 5, name, len);
	request[5 + len] = (uint8_t)(port >> 8);
	request[6 + len] = (uint8_t)port;
	stage_send(fd, request, 7u + len);
	return fd;
}

/* A tunnel, with its control open. */
static void be_bridge(struct play *play, struct talk *talk)
{
	uint8_t data[CV_MUX_DATAGRAM_MAX];
	struct cv_mux_frame frame;

	talk_init(talk, ask_for(play, DOMAIN, 1), 0);
	stage_expect(talk->fd, socks_answer, 10);
	frame = talk_frame(talk, data);
	assert_int_equal(frame.status, CV_MUX_NEW);
	assert_int_equal(frame.session, 1);
	assert_int_equal(frame.network, CV_MUX_UDP);
	assert_int_equal(frame.address.kind, CV_ADDRESS_DOMAIN);
	assert_string_equal(frame.address.domain, "reverse");
	assert_int_equal(frame.address.port, 0);
	expect_state(data, frame.data_bytes, CV_REVERSE_ACTIVE);
}

/* A user that says @text, which comes as New on @talk. */
static int be_user(struct play *play, struct talk *talk, const char *text, uint16_t *ret_id)
{
	const int user = ask_for(play, "service.test", 80);
	uint8_t data[CV_MUX_DATAGRAM_MAX];
	struct cv_mux_frame frame;

	stage_expect(user, socks_answer, 10);
	stage_send(user, text, strlen(text));
	frame = talk_frame(talk, data);
	assert_int_equal(frame.status, CV_MUX_NEW);
	assert_int_equal(frame.network, CV_MUX_TCP);
	assert_string_equal(frame.address.domain, "service.test");
	assert_int_equal(frame.address.port, 80);
	assert_int_equal(frame.data_bytes, strlen(text));
	assert_memory_equal(data, text, frame.data_bytes);
	*ret_id = frame.session;
	return user;
}

static void test_portal_carries(void **state)
{
	struct play play;
	uint16_t id = 0;
	int user;

	(void)state;
	portal_start(&play);
	be_bridge(&play, &play.talk);
	user = be_user(&play, &play.talk, "question", &id);
	assert_int_equal(id, 2);
	talk_keep(&play.talk, id, "answer", 6);
	stage_expect(user, "answer", 6);
	stage_send(user, "more", 4);
	talk_expect(&play.talk, id, "more");
	talk_end(&play.talk, id, false);
	stage_expect_fin(user);
	(void)close(user);
	stage_wait_sessions(&play.stage, 1); /* the tunnel stays */
	user = be_user(&play, &play.talk, "again", &id);
	assert_int_equal(id, 3);
	stage_reset(user);
	talk_expect_end(&play.talk, id, true);
	user = be_user(&play, &play.talk, "again", &id);
	talk_end(&play.talk, id, true);
	stage_expect_reset(user);
	(void)close(user);
	play_done(&play);
}

/* One byte at a time; what bridges do not say is passed over. */
static void test_portal_byte_by_byte(void **state)
{
	static const uint8_t keep[] = "\000\004\000\002\002\001\000\006answer";
	static const uint8_t new[] = "\000\014\000\007\001\001\001\000\120\001\177\000\000\001"
				     "\000\003abc";
	struct play play;
	uint16_t id = 0;
	int user;

	(void)state;
	portal_start(&play);
	be_bridge(&play, &play.talk);
	user = be_user(&play, &play.talk, "question", &id);
	for (size_t i = 0; i < sizeof(new) - 1; i++)
		stage_send(play.talk.fd, new + i, 1);
	for (size_t i = 0; i < sizeof(keep) - 1; i++)
		stage_send(play.talk.fd, keep + i, 1);
	stage_expect(user, "answer", 6);
	(void)close(user);
	play_done(&play);
}

static void test_portal_without_bridge(void **state)
{
	struct play play;
	char answer[10];
	int user;

	(void)state;
	portal_start(&play);
	user = ask_for(&play, "service.test", 80);
	assert_int_equal(recv(user, answer, sizeof(answer), MSG_WAITALL), sizeof(answer));
	assert_int_not_equal(answer[1], 0);
	expect_gone(user);
	assert_int_equal(stage_reason(&play.stage, CV_UPSTREAM_NO_TUNNEL), 1);
	play_done(&play);
}

/* Users are spread; when a tunnel breaks, its users are cut and the others go on. */
static void test_portal_two_tunnels(void **state)
{
	struct play play;
	struct talk other;
	uint16_t id = 0, other_id = 0;
	int user, other_user;

	(void)state;
	portal_start(&play);
	be_bridge(&play, &play.talk);
	be_bridge(&play, &other);
	user = be_user(&play, &play.talk, "one", &id);
	other_user = be_user(&play, &other, "two", &other_id);
	stage_reset(play.talk.fd);
	play.talk.fd = -1;
	stage_expect_reset(user);
	(void)close(user);
	talk_keep(&other, other_id, "goes on", 7);
	stage_expect(other_user, "goes on", 7);
	(void)close(other_user);
	talk_expect_end(&other, other_id, false);
	user = be_user(&play, &other, "three", &id);
	(void)close(other.fd); /* a tunnel's end is no end of what is inside */
	stage_expect_reset(user);
	(void)close(user);
	stage_wait_sessions(&play.stage, 0);
	talk_done(&other);
	play_done(&play);
}

/* What makes no sense ends the tunnel. */
static void test_portal_nonsense(void **state)
{
	struct play play;
	uint16_t id = 0;
	int user;

	(void)state;
	portal_start(&play);
	be_bridge(&play, &play.talk);
	user = be_user(&play, &play.talk, "one", &id);
	stage_send(play.talk.fd, "\000\004\000\002\011\000", 6);
	talk_expect_closed(&play.talk);
	stage_expect_reset(user);
	(void)close(user);
	play_done(&play);
}

/* The 257th stream, the control among them, is the last one, if there is another tunnel. */
static void test_portal_drains(void **state)
{
	uint8_t data[CV_MUX_DATAGRAM_MAX];
	struct cv_mux_frame frame;
	struct play play;
	struct talk other;
	uint16_t id = 0;
	int users[3];

	(void)state;
	portal_start(&play);
	be_bridge(&play, &play.talk);
	for (int i = 2; i <= CV_REVERSE_DRAIN_AFTER; i++) {
		const int user = be_user(&play, &play.talk, "x", &id);

		assert_int_equal(id, i);
		talk_end(&play.talk, id, false);
		stage_expect_fin(user);
		(void)close(user);
	}
	users[0] = ask_for(&play, "service.test", 80);
	frame = talk_frame(&play.talk, data);
	assert_int_equal(frame.status, CV_MUX_KEEP);
	assert_int_equal(frame.session, 1);
	expect_state(data, frame.data_bytes, CV_REVERSE_DRAIN);
	talk_expect_end(&play.talk, 1, false);
	assert_int_equal(talk_frame(&play.talk, NULL).session, CV_REVERSE_DRAIN_AFTER + 1);
	users[1] = be_user(&play, &play.talk, "there is no other", &id);
	be_bridge(&play, &other);
	users[2] = be_user(&play, &other, "there is", &id);
	for (int i = 0; i < 3; i++)
		(void)close(users[i]);
	(void)close(other.fd);
	talk_done(&other);
	play_done(&play);
}

/* A bridge that ends the control wants no more. */
static void test_portal_is_left(void **state)
{
	struct play play;
	struct talk other;
	uint16_t id = 0;

	(void)state;
	portal_start(&play);
	be_bridge(&play, &play.talk);
	be_bridge(&play, &other);
	talk_end(&other, 1, false);
	for (uint16_t unknown = 7; unknown < 9; unknown++) { /* once answered, it is read */
		talk_keep(&other, unknown, "x", 1);
		talk_expect_end(&other, unknown, false);
	}
	for (int i = 0; i < 3; i++) {
		const int user = be_user(&play, &play.talk, "two", &id);

		talk_end(&play.talk, id, false);
		stage_expect_fin(user);
		(void)close(user);
	}
	(void)close(other.fd);
	talk_done(&other);
	play_done(&play);
}

/* ---- bridge ------------------------------------------------------------------------------- */

static void bridge_start(struct play *play)
{
	struct cv_outbound *outbound = &play->stage.outbound;

	memset(play, 0, sizeof(*play));
	stage_init(&play->stage);
	outbound->protocol = CV_OUTBOUND_VLESS;
	outbound->uuid[0] = 9;
	assert_true(cv_sockaddr_to_destination(&play->stage.upstream_address, &outbound->server));
	play->bridge.domain = bridge_domain;
	play->bridge.inbound = (struct cv_inbound){.tag = bridge_tag,
						   .protocol = CV_INBOUND_TUNNEL};
	play->stage.config.bridges = &play->bridge;
	play->stage.config.bridge_count = 1;
	stage_start(&play->stage, "splice");
}

/* A tunnel that was asked for; nothing is said on it yet but VLESS's answer. */
static void accept_tunnel(struct play *play, struct talk *talk)
{
	uint8_t expected[19 + 4 + sizeof(DOMAIN) - 1] = {0, 9};

	expected[18] = 1; /* TCP, port 0, a name */
	expected[21] = 2;
	expected[22] = sizeof(DOMAIN) - 1;
	memcpy(expected + 23, DOMAIN, sizeof(DOMAIN) - 1);
	talk_init(talk, stage_accept(&play->stage), 0);
	stage_expect(talk->fd, expected, sizeof(expected));
	stage_send(talk->fd, "\000\000", 2);
}

static void say_frame(struct talk *talk, const struct cv_mux_frame *frame, struct cv_span data,
		      bool slowly)
{
	struct cv_buffer out;

	cv_buffer_init(&out, CV_MUX_HEADER_MAX + CV_MUX_DATAGRAM_MAX);
	assert_int_equal(cv_mux_frame_append(*frame, CV_MUX_FORWARD, data, &out), 0);
	for (size_t i = 0; slowly && i < cv_buffer_len(&out); i++)
		stage_send(talk->fd, cv_buffer_bytes(&out) + i, 1);
	if (!slowly)
		stage_send(talk->fd, cv_buffer_bytes(&out), cv_buffer_len(&out));
	cv_buffer_done(&out);
}

static void say_new(struct talk *talk, uint16_t id, enum cv_mux_network network, const char *name,
		    const char *text)
{
	struct cv_mux_frame frame = {.session = id, .status = CV_MUX_NEW, .network = network};

	assert_int_equal(cv_destination_set_text(&frame.address, name, 0), 0);
	say_frame(talk, &frame, cv_span_of(text, strlen(text)), id % 2);
}

static void say_control(struct talk *talk, bool is_first, enum cv_reverse_state state,
			const char *name)
{
	uint8_t message[CV_REVERSE_CONTROL_MAX];
	const size_t len =
		cv_reverse_control_write(state, cv_span_of("1234", 4), message);
	struct cv_mux_frame frame = {.session = 1,
				     .status = is_first ? CV_MUX_NEW : CV_MUX_KEEP,
				     .network = is_first ? CV_MUX_UDP : CV_MUX_NO_NETWORK};

	if (is_first)
		assert_int_equal(cv_destination_set_text(&frame.address, name, 0), 0);
	say_frame(talk, &frame, cv_span_of(message, len), is_first);
}

/* A stream out of the tunnel: dialled by VLESS as well, that is, to us. */
static int accept_stream(struct play *play, const char *text)
{
	static const uint8_t expected[26] = {0, 9, [18] = 1, 0, 80, 1, 127, 0, 0, 1};
	const int upstream = stage_accept(&play->stage);

	stage_expect(upstream, expected, sizeof(expected));
	stage_expect(upstream, text, strlen(text));
	stage_send(upstream, "\000\000", 2);
	return upstream;
}

static void test_bridge_serves(void **state)
{
	static const char *const names[] = {"reverse", "reverse.internal.v2ray.com",
					    "reverse.internal.v2fly.org"};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct play play;
		int upstream;

		bridge_start(&play);
		accept_tunnel(&play, &play.talk);
		say_control(&play.talk, true, CV_REVERSE_ACTIVE, names[i]);
		talk_open(&play.talk, 2, CV_MUX_TCP, 80, "question");
		upstream = accept_stream(&play, "question");
		stage_send(upstream, "answer", 6);
		talk_expect(&play.talk, 2, "answer");
		(void)close(upstream);
		talk_expect_end(&play.talk, 2, false);
		talk_open(&play.talk, 3, CV_MUX_TCP, 80, "again");
		upstream = accept_stream(&play, "again");
		stage_reset(upstream);
		talk_expect_end(&play.talk, 3, true);
		play_done(&play);
	}
}

/* Nothing goes round in a circle, and what cannot be is refused; the tunnel stays. */
static void test_bridge_refuses(void **state)
{
	struct play play;
	int upstream;

	(void)state;
	bridge_start(&play);
	accept_tunnel(&play, &play.talk);
	say_control(&play.talk, true, CV_REVERSE_ACTIVE, "reverse");
	say_new(&play.talk, 4, CV_MUX_TCP, "Tunnel.Test", "x");
	talk_expect_end(&play.talk, 4, true);
	say_new(&play.talk, 5, CV_MUX_TCP, "v1.mux.cool", "x");
	talk_expect_end(&play.talk, 5, true);
	say_new(&play.talk, 6, CV_MUX_UDP, "reverse", "x"); /* there is a control already */
	talk_expect_end(&play.talk, 6, true);
	talk_keep(&play.talk, 77, "x", 1);
	talk_expect_end(&play.talk, 77, false);
	talk_keep(&play.talk, 1, "\377", 1); /* no message: the next one may be */
	talk_open(&play.talk, 8, CV_MUX_TCP, 80, "question");
	upstream = accept_stream(&play, "question");
	(void)close(upstream);
	talk_expect_end(&play.talk, 8, false);
	play_done(&play);
}

/* Drained, the tunnel goes on with what it has, and there is another one at once. */
static void test_bridge_is_drained(void **state)
{
	struct play play;
	struct talk next;
	int upstream;

	(void)state;
	bridge_start(&play);
	accept_tunnel(&play, &play.talk);
	say_control(&play.talk, true, CV_REVERSE_ACTIVE, "reverse");
	talk_open(&play.talk, 2, CV_MUX_TCP, 80, "question");
	upstream = accept_stream(&play, "question");
	say_control(&play.talk, false, CV_REVERSE_DRAIN, NULL);
	talk_end(&play.talk, 1, false);
	accept_tunnel(&play, &next);
	say_control(&next, true, CV_REVERSE_ACTIVE, "reverse");
	stage_send(upstream, "answer", 6);
	talk_expect(&play.talk, 2, "answer");
	(void)close(upstream);
	talk_expect_end(&play.talk, 2, false);
	(void)close(next.fd);
	talk_done(&next);
	play_done(&play);
}

/* However a tunnel ends, opened or not, by FIN, RST or nonsense: another one is opened. */
static void test_bridge_comes_back(void **state)
{
	struct play play;

	(void)state;
	bridge_start(&play);
	(void)close(stage_accept(&play.stage));
	stage_reset(stage_accept(&play.stage));
	for (int way = 0; way < 4; way++) {
		accept_tunnel(&play, &play.talk);
		if (way > 0)
			say_control(&play.talk, true, CV_REVERSE_ACTIVE, "reverse");
		if (way == 2)
			stage_reset(play.talk.fd);
		else if (way == 3)
			stage_send(play.talk.fd, "\377\377", 2);
		if (way == 3)
			talk_expect_closed(&play.talk);
		if (way != 2)
			(void)close(play.talk.fd);
		talk_done(&play.talk);
	}
	accept_tunnel(&play, &play.talk);
	say_control(&play.talk, true, CV_REVERSE_ACTIVE, "reverse");
	play_done(&play);
}

/* With its tunnel the streams in it are cut, on the other side as well. */
static void test_bridge_cuts(void **state)
{
	struct play play;
	int upstream;

	(void)state;
	bridge_start(&play);
	accept_tunnel(&play, &play.talk);
	say_control(&play.talk, true, CV_REVERSE_ACTIVE, "reverse");
	talk_open(&play.talk, 2, CV_MUX_TCP, 80, "question");
	upstream = accept_stream(&play, "question");
	(void)close(play.talk.fd);
	talk_done(&play.talk);
	stage_expect_reset(upstream);
	(void)close(upstream);
	accept_tunnel(&play, &play.talk);
	play_done(&play);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_portal_carries),
		cmocka_unit_test(test_portal_byte_by_byte),
		cmocka_unit_test(test_portal_without_bridge),
		cmocka_unit_test(test_portal_two_tunnels),
		cmocka_unit_test(test_portal_nonsense),
		cmocka_unit_test(test_portal_drains),
		cmocka_unit_test(test_portal_is_left),
		cmocka_unit_test(test_bridge_serves),
		cmocka_unit_test(test_bridge_refuses),
		cmocka_unit_test(test_bridge_is_drained),
		cmocka_unit_test(test_bridge_comes_back),
		cmocka_unit_test(test_bridge_cuts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
