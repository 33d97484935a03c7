// SPDX-License-Identifier: MIT
/*
 * attack.c - many connections, each with a script; one thread, epoll, a tick for what waits.
 *
 *   connect -> step 0 -> step 1 ... -> done        or, on the way:
 *   refused (connect), fin, rst (the peer ended it), wrong (bytes), late (its deadline)
 */
#include "load/hostile.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 20
#define EVENTS 256
#define TIMES_MAX (1u << 20)
#define SLOW_BUFFER_BYTES 32768

enum outcome { GOING, DONE, REFUSED, FIN, RST, WRONG, LATE, OUTCOMES };

static const char *const outcome_names[] = {"", "done", "refused", "fin", "rst", "wrong", "late"};

struct connection {
	int fd; /* -1: free */
	bool connected, sent_request, ended;
	uint32_t number, seed;
	uint16_t script, step;
	uint64_t offset; /* bytes of this step, done */
	uint64_t began_ms, step_ms, asked_us;
	uint32_t wants; /* of epoll */
};

struct times {
	uint32_t *us, count;
};

struct run {
	const struct attack *attack;
	struct connection *connections;
	int epoll;
	uint32_t started, active, meeting;
	bool met, over;
	uint64_t connected, bytes_in, bytes_out, longest_ms, began_ms;
	uint64_t outcomes[HOSTILE_SCRIPTS][HOSTILE_STEPS + 1][OUTCOMES];
	struct times asks, lives; /* of requests; of connections, whole */
};

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

static uint64_t now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static const struct step *step_of(const struct run *run, const struct connection *one)
{
	const struct script *script = &run->attack->scripts[one->script];

	return one->step < script->count ? &script->steps[one->step] : NULL;
}

static const struct bytes *bytes_of(const struct step *step, const struct connection *one)
{
	return &step->lines[one->number % step->line_count];
}

static void note(struct times *times, uint64_t since_us)
{
	if (times->count < TIMES_MAX)
		times->us[times->count++] = (uint32_t)(now_us() - since_us);
}

/* ---- the end of one ------------------------------------------------------------------------- */

static void leave(struct run *run, struct connection *one, enum outcome outcome, bool reset)
{
	const struct linger linger = {.l_onoff = 1, .l_linger = 0};
	const uint64_t age_ms = now_us() / 1000 - one->began_ms;
	const struct step *step = step_of(run, one);

	if (step && step->verb == MEET && one->connected)
		run->meeting--;
	if (reset)
		(void)setsockopt(one->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	if (age_ms > run->longest_ms)
		run->longest_ms = age_ms;
	if (outcome == DONE)
		note(&run->lives, one->began_ms * 1000);
	(void)close(one->fd);
	one->fd = -1;
	run->active--;
	run->outcomes[one->script][one->step][outcome]++;
}

static enum outcome by_errno(void)
{
	return errno == ECONNRESET || errno == EPIPE ? RST : errno == ECONNREFUSED ? REFUSED : LATE;
}

/* ---- steps: each returns DONE (the next one), GOING (wait), or how it ended ------------------ */

static enum outcome send_some(struct run *run, struct connection *one, const uint8_t *data,
			      size_t len)
{
	const ssize_t sent = send(one->fd, data, len, MSG_NOSIGNAL);

	if (sent < 0)
		return errno == EAGAIN ? GOING : by_errno();
	one->offset += (uint64_t)sent;
	run->bytes_out += (uint64_t)sent;
	return DONE;
}

static enum outcome step_send(struct run *run, struct connection *one, const struct step *step)
{
	const struct bytes *bytes = bytes_of(step, one);

	while (one->offset < bytes->len) {
		const enum outcome outcome = send_some(run, one, bytes->data + one->offset,
						       bytes->len - one->offset);

		if (outcome != DONE)
			return outcome;
		if (step->verb == FLOOD)
			one->offset %= bytes->len;
	}
	return DONE;
}

static enum outcome step_drip(struct run *run, struct connection *one, const struct step *step)
{
	const struct bytes *bytes = bytes_of(step, one);
	const uint64_t due_ms = one->step_ms + one->offset * step->period_ms;
	uint8_t ignored[256];
	const ssize_t got = recv(one->fd, ignored, sizeof(ignored), MSG_DONTWAIT);
	enum outcome outcome;

	if (got == 0)
		return FIN;
	if (got < 0 && errno != EAGAIN)
		return by_errno();
	if (one->offset == bytes->len)
		return DONE;
	if (now_us() / 1000 < due_ms)
		return GOING;
	outcome = send_some(run, one, bytes->data + one->offset, 1);
	return outcome == DONE ? GOING : outcome;
}

static enum outcome receive(struct run *run, struct connection *one, uint8_t *data, size_t *len)
{
	const ssize_t got = recv(one->fd, data, *len, 0);

	if (got == 0)
		return FIN;
	if (got < 0)
		return errno == EAGAIN ? GOING : by_errno();
	*len = (size_t)got;
	one->offset += (uint64_t)got;
	run->bytes_in += (uint64_t)got;
	return DONE;
}

static enum outcome step_read(struct run *run, struct connection *one, const struct step *step)
{
	const struct bytes *bytes = step->verb == EXPECT ? bytes_of(step, one) : NULL;
	const uint64_t want = bytes ? bytes->len : step->number;
	uint8_t data[16384];

	while (one->offset < want) {
		const uint64_t before = one->offset;
		size_t len = want - before < sizeof(data) ? want - before : sizeof(data);
		const enum outcome outcome = receive(run, one, data, &len);

		if (outcome != DONE)
			return outcome;
		if (bytes && memcmp(data, bytes->data + before, len) != 0)
			return WRONG;
	}
	return DONE;
}

static enum outcome send_request(struct run *run, struct connection *one, char kind,
				 uint32_t number)
{
	uint8_t request[REQUEST_BYTES];
	enum outcome outcome;

	if (one->sent_request)
		return DONE;
	request_put(request, kind, number, one->seed);
	outcome = send_some(run, one, request, sizeof(request)); /* the first bytes have room */
	if (outcome != DONE)
		return outcome;
	one->sent_request = true;
	one->offset = 0;
	one->asked_us = now_us();
	return DONE;
}

static char kind_of(const struct step *step)
{
	switch (step->verb) {
	case FINAL:
		return 'f';
	case CUT:
		return 'r';
	case GIVE:
		return 'u';
	case HALF:
		return 'h';
	default:
		return 'd';
	}
}

/* A piece of the answer; with SLOW the tick comes for the next one. */
static enum outcome take_piece(struct run *run, struct connection *one, const struct step *step)
{
	const uint64_t before = one->offset;
	uint8_t data[16384];
	size_t len = step->number - before;
	const uint8_t *want = sequence_at(one->seed, before, &len);
	enum outcome outcome;

	if (len > sizeof(data))
		len = sizeof(data);
	outcome = receive(run, one, data, &len);
	if (outcome == DONE && memcmp(data, want, len) != 0)
		return WRONG;
	if (outcome == DONE && step->verb == SLOW && one->offset < step->number)
		return GOING;
	return outcome;
}

static enum outcome step_ask(struct run *run, struct connection *one, const struct step *step)
{
	enum outcome outcome = send_request(run, one, kind_of(step), step->number);
	uint8_t more;
	size_t len = 1;

	while (outcome == DONE && one->offset < step->number)
		outcome = take_piece(run, one, step);
	if (step->verb == CUT && (outcome == RST || outcome == FIN))
		return DONE;
	if (outcome == DONE && step->verb == ASK)
		note(&run->asks, one->asked_us);
	if (outcome != DONE || (step->verb != FINAL && step->verb != CUT))
		return outcome;
	outcome = receive(run, one, &more, &len);
	if (outcome == DONE)
		return WRONG;
	return outcome == FIN || (outcome == RST && step->verb == CUT) ? DONE : outcome;
}

static enum outcome step_give(struct run *run, struct connection *one, const struct step *step)
{
	enum outcome outcome = send_request(run, one, kind_of(step), step->number);
	uint8_t answer = 0;
	size_t len = 1;

	while (outcome == DONE && one->offset < step->number) {
		size_t most = step->number - one->offset;
		const uint8_t *data = sequence_at(one->seed, one->offset, &most);

		outcome = send_some(run, one, data, most);
	}
	if (outcome == DONE && step->verb == HALF && !one->ended) {
		one->ended = true;
		if (shutdown(one->fd, SHUT_WR) < 0)
			return by_errno();
	}
	if (outcome == DONE)
		outcome = receive(run, one, &answer, &len);
	if (outcome != DONE)
		return outcome;
	note(&run->asks, one->asked_us);
	return answer == 'k' ? DONE : WRONG;
}

static enum outcome step_silent(struct run *run, struct connection *one, const struct step *step)
{
	uint8_t data[16384];
	enum outcome outcome = DONE;

	if (step->verb == END && !one->ended && shutdown(one->fd, SHUT_WR) < 0 &&
	    errno != ENOTCONN) /* both have said FIN already */
		return by_errno();
	one->ended = true;
	while (outcome == DONE) {
		size_t len = sizeof(data);

		outcome = receive(run, one, data, &len);
	}
	return outcome == FIN || outcome == RST ? DONE : outcome;
}

static enum outcome run_step(struct run *run, struct connection *one, const struct step *step)
{
	switch (step->verb) {
	case SEND:
	case FLOOD:
		return step_send(run, one, step);
	case DRIP:
		return step_drip(run, one, step);
	case EXPECT:
	case READ:
		return step_read(run, one, step);
	case ASK:
	case SLOW:
	case FINAL:
	case CUT:
		return step_ask(run, one, step);
	case GIVE:
	case HALF:
		return step_give(run, one, step);
	case WAIT:
		return now_us() / 1000 >= one->step_ms + step->number ? DONE : GOING;
	case MEET:
		return GOING; /* go() lets them go */
	case END:
	case SILENT:
		return step_silent(run, one, step);
	default:
		return DONE;
	}
}

/* ---- dispatch ------------------------------------------------------------------------------- */

static void begin_step(struct run *run, struct connection *one)
{
	const struct step *step = step_of(run, one);

	one->offset = 0;
	one->sent_request = one->ended = false;
	one->seed = one->seed * 1664525 + 1013904223;
	one->step_ms = now_us() / 1000;
	if (step && step->verb == MEET)
		run->meeting++;
}

static void watch(struct run *run, struct connection *one, const struct step *step)
{
	const bool sends = step->verb == SEND || step->verb == FLOOD || step->verb == GIVE ||
			   step->verb == HALF || step->verb == ASK;
	const bool idle = step->verb == WAIT || step->verb == SLOW; /* what came is for later */
	struct epoll_event event = {.data.ptr = one};

	event.events = EPOLLET | (idle ? 0 : EPOLLIN) | (sends ? EPOLLOUT : 0);
	if (event.events == one->wants)
		return;
	one->wants = event.events;
	(void)epoll_ctl(run->epoll, EPOLL_CTL_MOD, one->fd, &event);
}

static void advance(struct run *run, struct connection *one)
{
	const struct step *step;

	while ((step = step_of(run, one))) {
		enum outcome outcome = run_step(run, one, step);

		if (outcome == GOING) {
			watch(run, one, step);
			return;
		}
		if (outcome != DONE) {
			leave(run, one, outcome, false);
			return;
		}
		if (step->verb == CLOSE || step->verb == RESET) {
			leave(run, one, DONE, step->verb == RESET);
			return;
		}
		one->step++;
		begin_step(run, one);
	}
	leave(run, one, DONE, false);
}

static void event(struct run *run, struct connection *one, uint32_t events)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (one->fd < 0)
		return;
	if (!one->connected) {
		if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
			return;
		(void)getsockopt(one->fd, SOL_SOCKET, SO_ERROR, &error, &len);
		if (error) {
			leave(run, one, REFUSED, false);
			return;
		}
		one->connected = true;
		run->connected++;
		begin_step(run, one);
	}
	advance(run, one);
}

static bool reads_slowly(const struct script *script)
{
	for (size_t i = 0; i < script->count; i++)
		if (script->steps[i].verb == SLOW)
			return true;
	return false;
}

static bool start(struct run *run, struct connection *one)
{
	const struct attack *attack = run->attack;
	struct sockaddr_in from = {.sin_family = AF_INET};
	struct epoll_event wanted = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = one};
	const int on = 1, small = SLOW_BUFFER_BYTES;

	*one = (struct connection){.number = run->started, .seed = run->started * 2654435761u,
				   .script = (uint16_t)(run->started % attack->script_count),
				   .began_ms = now_us() / 1000, .wants = wanted.events};
	one->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (one->fd < 0)
		return false;
	if (reads_slowly(&attack->scripts[one->script]))
		(void)setsockopt(one->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (attack->from_count) {
		from.sin_addr = attack->from[run->started % attack->from_count];
		(void)setsockopt(one->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
		(void)bind(one->fd, (struct sockaddr *)&from, sizeof(from));
	}
	if ((connect(one->fd, (const struct sockaddr *)&attack->to, sizeof(attack->to)) < 0 &&
	     errno != EINPROGRESS) ||
	    epoll_ctl(run->epoll, EPOLL_CTL_ADD, one->fd, &wanted) < 0) {
		(void)close(one->fd);
		one->fd = -1;
		return false; /* no port or descriptor: later */
	}
	run->started++;
	run->active++;
	return true;
}

/* As many as there may be at this moment. */
static void start_more(struct run *run)
{
	const struct attack *attack = run->attack;
	const uint64_t age_ms = now_us() / 1000 - run->began_ms;
	uint32_t most = attack->seconds ? UINT32_MAX : attack->count;

	if (attack->seconds && age_ms >= attack->seconds * UINT64_C(1000))
		run->over = true;
	if (attack->rate && age_ms * attack->rate / 1000 < most)
		most = (uint32_t)(age_ms * attack->rate / 1000);
	for (uint32_t i = 0; i < attack->at_a_time && run->started < most && !run->over; i++)
		if (run->connections[i].fd < 0 && !start(run, &run->connections[i]))
			break;
	if (!attack->seconds && run->started >= attack->count)
		run->over = true;
}

/* All that live have met: the one who reads us may say when they go on, or that it is enough. */
static void go(struct run *run)
{
	char line[64];
	ssize_t got;
	const bool all_here = run->over && run->meeting > 0 && run->meeting == run->active;

	if (all_here && !run->met) {
		printf("met %u\n", run->meeting);
		(void)fflush(stdout);
		run->met = true;
	}
	got = run->met || run->attack->seconds ? read(STDIN_FILENO, line, sizeof(line)) : 0;
	if (got < 1)
		return;
	run->met = false;
	run->over |= run->attack->seconds > 0;
	for (uint32_t i = 0; i < run->attack->at_a_time; i++) {
		struct connection *one = &run->connections[i];
		const struct step *step = one->fd < 0 ? NULL : step_of(run, one);

		if (!step || step->verb != MEET || !one->connected)
			continue;
		run->meeting--;
		one->step++;
		begin_step(run, one);
		advance(run, one);
	}
}

static bool is_timed(enum verb verb)
{
	return verb == DRIP || verb == WAIT || verb == SLOW;
}

static void tick(struct run *run)
{
	const uint64_t now_ms = now_us() / 1000;
	const uint64_t most_ms = run->attack->deadline_s * UINT64_C(1000);

	for (uint32_t i = 0; i < run->attack->at_a_time; i++) {
		struct connection *one = &run->connections[i];
		const struct step *step = one->fd < 0 ? NULL : step_of(run, one);

		if (!step)
			continue;
		if (now_ms - one->began_ms > most_ms && step->verb != MEET)
			leave(run, one, LATE, true);
		else if (one->connected && is_timed(step->verb))
			advance(run, one);
	}
}

/* ---- the whole ------------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
	const uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

static void report_times(const char *name, struct times *times)
{
	const uint32_t count = times->count;

	qsort(times->us, count, sizeof(uint32_t), by_value);
	printf(",\"%s\":{\"count\":%u,\"p50_us\":%u,\"p99_us\":%u,\"max_us\":%u}", name, count,
	       count ? times->us[count / 2] : 0, count ? times->us[(uint64_t)count * 99 / 100] : 0,
	       count ? times->us[count - 1] : 0);
}

static void report(struct run *run)
{
	uint64_t sums[OUTCOMES] = {0};
	const char *comma = "";

	printf("{\"connections\":%u,\"connected\":%llu,\"where\":{", run->started,
	       (unsigned long long)run->connected);
	for (size_t s = 0; s < HOSTILE_SCRIPTS; s++)
		for (size_t k = 0; k <= HOSTILE_STEPS; k++)
			for (int o = DONE; o < OUTCOMES; o++) {
				if (run->outcomes[s][k][o] == 0)
					continue;
				sums[o] += run->outcomes[s][k][o];
				printf("%s\"%zu.%zu %s\":%llu", comma, s, k, outcome_names[o],
				       (unsigned long long)run->outcomes[s][k][o]);
				comma = ",";
			}
	printf("}");
	for (int o = DONE; o < OUTCOMES; o++)
		printf(",\"%s\":%llu", outcome_names[o], (unsigned long long)sums[o]);
	report_times("asks", &run->asks);
	report_times("lives", &run->lives);
	printf(",\"bytes_in\":%llu,\"bytes_out\":%llu,\"longest_ms\":%llu,\"seconds\":%.3f}\n",
	       (unsigned long long)run->bytes_in, (unsigned long long)run->bytes_out,
	       (unsigned long long)run->longest_ms,
	       (double)(now_us() / 1000 - run->began_ms) / 1000);
}

static void turn(struct run *run, uint64_t *last_tick_ms)
{
	struct epoll_event events[EVENTS];
	const int count = epoll_wait(run->epoll, events, EVENTS, TICK_MS);

	for (int i = 0; i < count; i++)
		event(run, events[i].data.ptr, events[i].events);
	start_more(run);
	go(run);
	if (now_us() / 1000 - *last_tick_ms >= TICK_MS) {
		*last_tick_ms = now_us() / 1000;
		tick(run);
	}
}

int attack_run(const struct attack *attack)
{
	static struct run run;
	uint64_t last_tick_ms;

	run.attack = attack;
	run.connections = calloc(attack->at_a_time, sizeof(*run.connections));
	run.asks.us = calloc(TIMES_MAX, sizeof(uint32_t));
	run.lives.us = calloc(TIMES_MAX, sizeof(uint32_t));
	run.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!run.connections || !run.asks.us || !run.lives.us || run.epoll < 0)
		return 1;
	for (uint32_t i = 0; i < attack->at_a_time; i++)
		run.connections[i].fd = -1;
	(void)signal(SIGTERM, stop);
	(void)fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
	last_tick_ms = run.began_ms = now_us() / 1000;
	start_more(&run);
	while (!stopped && (run.active > 0 || !run.over))
		turn(&run, &last_tick_ms);
	report(&run);
	for (uint32_t i = 0; i < attack->at_a_time; i++)
		if (run.connections[i].fd >= 0)
			(void)close(run.connections[i].fd);
	free(run.connections);
	free(run.asks.us);
	free(run.lives.us);
	(void)close(run.epoll);
	return 0;
}
