// SPDX-License-Identifier: MIT
/*
 * session_limits.c - quota, expiry and rates of live sessions, and how an operator ends them.
 *
 * Sessions of people without limits cost nothing here. The others stand in a list of their worker,
 * which is looked through every LOOK_MS: what moved is accounted, whoever may not go on is ended,
 * and the rates are divided again. No byte passes through here: a rate is the pacing of the sink's
 * socket (SO_MAX_PACING_RATE), which holds for every engine.
 *
 *   hungry: uses its share, or has just begun to send     gets an equal part of what is left
 *   modest: does not use its share                        takes what it takes off the rate
 *
 * All sessions of a person, of all workers, add themselves to two sums (struct cv_usage), out of
 * which each computes its own share.
 */
#include "session/session_limits.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mutation.h"
#include "base/reason.h"
#include "crypto/uuid.h"
#include "policy/reload.h"
#include "session/preamble.h"
#include "session/session.h"
#include "wire/vless.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define LOOK_MS 200
#define SOON_MS 20     /* after somebody new came */
#define SILENCE_MS 100
#define BACKLOG_BYTES 16384
#define WINDOW_MS 1000 /* over which it is judged whether a share is used */

struct pace { /* one direction */
	uint64_t since_ms, sent_bytes; /* beginning of the window */
	uint64_t looked_ms;
	uint64_t now_bytes, moved_bytes; /* sent, and given to the sink, at the last look */
	uint64_t fresh_bytes; /* of them, those that owed_bytes does not count yet */
	int64_t owed_bytes;
	uint64_t share, rate; /* the rate is what the socket has; 0 = not yet */
	uint64_t modest_bytes_per_s;
	bool hungry, backlog;
};

struct cv_limited {
	struct cv_session *session;
	struct cv_limited *next, *previous; /* the worker's list */
	struct cv_sockaddr from;            /* while holds_source */
	struct pace pace[2];
	bool holds_source, relaying;
	bool paced[2]; /* there is a rate, and the sink's socket keeps to it */
};

/* ---- rates -------------------------------------------------------------------------------- */

/* The session's part of the person's sums. */
static void contribute(struct cv_usage *usage, int direction, struct pace *pace, bool hungry,
		       uint64_t modest_bytes_per_s)
{
	if (hungry != pace->hungry)
		atomic_fetch_add_explicit(&usage->hungry_count[direction], hungry ? 1u : -1u,
					  memory_order_relaxed);
	if (modest_bytes_per_s != pace->modest_bytes_per_s)
		atomic_fetch_add_explicit(&usage->modest_bytes_per_s[direction],
					  modest_bytes_per_s - pace->modest_bytes_per_s,
					  memory_order_relaxed);
	pace->hungry = hungry;
	pace->modest_bytes_per_s = modest_bytes_per_s;
}

/* What the sink's peer has got of this direction, records and all: the kernel's own count, which
 * knows no engine. */
static uint64_t sent_bytes(struct cv_session *session, int direction, bool *ret_backlog)
{
	const int fd = cv_session_sink(session, direction)->fd;
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (fd < 0 || getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		memset(&info, 0, sizeof(info));
	*ret_backlog = info.tcpi_notsent_bytes >= BACKLOG_BYTES; /* less may only be on its way */
	return info.tcpi_bytes_acked;
}

static void start_window(struct pace *pace, uint64_t now_ms)
{
	pace->since_ms = now_ms;
	pace->sent_bytes = pace->now_bytes;
}

static void judge_window(struct cv_usage *usage, int direction, struct pace *pace,
			 uint64_t elapsed_ms)
{
	const uint64_t bytes = pace->now_bytes - pace->sent_bytes;
	const uint64_t bytes_per_s = bytes * 1000 / elapsed_ms;
	const bool hungry = bytes > 0 && bytes_per_s >= pace->share / 4 * 3;

	contribute(usage, direction, pace, hungry, hungry ? 0 : bytes_per_s);
}

static bool is_silent(const struct pace *pace)
{
	return !pace->hungry && !pace->backlog && pace->modest_bytes_per_s == 0;
}

/* Is the share what slows this direction down? Unsent bytes say so at once, but not every engine
 * lets them pile up in the sink; over a window, what was sent does. */
static void judge(struct cv_session *session, int direction, struct pace *pace, uint64_t now_ms)
{
	struct cv_usage *usage = session->user->usage;
	const uint64_t elapsed_ms = now_ms - pace->since_ms;
	const uint64_t moved_bytes = cv_session_bytes(session, direction);
	uint64_t sent;
	bool backlog;

	if (is_silent(pace) && moved_bytes == pace->moved_bytes &&
	    session->state != CV_SESSION_CARRIER) /* which counts none as its own */
		return; /* thousands of these cost no system call */
	pace->moved_bytes = moved_bytes;
	sent = sent_bytes(session, direction, &backlog);
	if (sent < pace->now_bytes) /* no TCP, no count */
		return;
	pace->fresh_bytes += sent - pace->now_bytes;
	if (sent > pace->now_bytes) { /* a queue that drains slowly is no idle session */
		session->last_activity_ms = now_ms;
		pace->now_bytes = sent;
	}
	if (backlog && !pace->backlog && !pace->hungry) {
		contribute(usage, direction, pace, true, 0); /* nobody knows yet how hungry */
		start_window(pace, now_ms);
	} else if (elapsed_ms >= WINDOW_MS) {
		judge_window(usage, direction, pace, elapsed_ms);
		start_window(pace, now_ms);
	} else if (!backlog && pace->hungry && elapsed_ms >= SILENCE_MS &&
		   (sent - pace->sent_bytes) * 8000 < pace->share * elapsed_ms) {
		/* it came, but has next to nothing to say */
		contribute(usage, direction, pace, false, sent - pace->sent_bytes);
	}
	pace->backlog = backlog;
}

/* A modest one has room to become hungry, but not for all of them to do so at once. */
static uint64_t share_of(const struct cv_usage *usage, int direction, const struct pace *pace)
{
	const uint64_t modest = atomic_load_explicit(&usage->modest_bytes_per_s[direction],
						     memory_order_relaxed);
	const uint32_t hungry =
		atomic_load_explicit(&usage->hungry_count[direction], memory_order_relaxed);
	const uint64_t rate = cv_usage_limits(usage).bytes_per_s[direction];

	if (pace->hungry)
		return cv_limits_share(rate, modest, hungry);
	return pace->modest_bytes_per_s + cv_limits_share(rate, modest, 2 * (hungry + 1));
}

/* What is owed to the direction, or by it: a pacing timer that comes late costs some per cent, on a
 * busy machine many; the first segments are not paced at all, and it may have begun at a time when
 * others were silent. */
static void settle(struct pace *pace, uint64_t share_before, uint64_t now_ms)
{
	const int64_t share = (int64_t)pace->share;
	const int64_t due = share < (int64_t)share_before ? share : (int64_t)share_before;

	pace->owed_bytes += due * (int64_t)(now_ms - pace->looked_ms) / 1000 -
			    (int64_t)pace->fresh_bytes;
	if (pace->owed_bytes > share / 2)
		pace->owed_bytes = share / 2;
	else if (pace->owed_bytes < -2 * share)
		pace->owed_bytes = -2 * share;
	if (!pace->backlog && pace->owed_bytes > 0) /* it did not want them */
		pace->owed_bytes = 0;
	pace->fresh_bytes = 0;
	pace->looked_ms = now_ms;
}

/* What is owed is paid back within half a second, what was too much within a whole one. */
static unsigned long rate_of(const struct pace *pace)
{
	const int64_t share = (int64_t)pace->share;
	int64_t rate = share + (pace->owed_bytes > 0 ? 2 : 1) * pace->owed_bytes;

	if (rate > 2 * share)
		rate = 2 * share;
	return (unsigned long)(rate > share / 2 ? rate : share / 2);
}

static void set_pace(struct cv_session *session, int direction, struct pace *pace, uint64_t now_ms)
{
	const int fd = cv_session_sink(session, direction)->fd;
	const uint64_t share_before = pace->share;
	const unsigned slack = is_silent(pace) ? 2 : 64; /* the silent ones' rate is only a guard */
	unsigned long rate;

	pace->share = share_of(session->user->usage, direction, pace);
	settle(pace, share_before, now_ms);
	rate = rate_of(pace);
	if (fd < 0 || (rate <= pace->rate + pace->rate / slack &&
		       pace->rate <= rate + rate / slack))
		return; /* near enough */
	if (setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate)) == 0)
		pace->rate = rate;
}

static void begin_pace(struct cv_session *session, int direction, uint64_t now_ms)
{
	struct pace *pace = &session->limited->pace[direction];

	session->limited->paced[direction] = true;
	pace->looked_ms = now_ms;
	pace->rate = 0; /* the socket may be another one than before */
	pace->now_bytes = sent_bytes(session, direction, &pace->backlog); /* of the handshake */
	start_window(pace, now_ms);
	contribute(session->user->usage, direction, pace, true, 0);
	set_pace(session, direction, pace, now_ms);
}

static void end_pace(struct cv_session *session, int direction)
{
	const int fd = cv_session_sink(session, direction)->fd;
	const unsigned long none = ~0ul;

	session->limited->paced[direction] = false;
	contribute(session->user->usage, direction, &session->limited->pace[direction], false, 0);
	if (fd >= 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &none, sizeof(none));
}

static bool is_paced(const struct cv_limited *limited)
{
	return limited->relaying && limited->session->state != CV_SESSION_CLOSED;
}

static void for_each_rate(struct cv_limited *limited, uint64_t now_ms,
			  void (*visit)(struct cv_session *session, int direction,
					struct pace *pace, uint64_t now_ms))
{
	for (int d = CV_UPLINK; is_paced(limited) && d <= CV_DOWNLINK; d++)
		if (limited->paced[d])
			visit(limited->session, d, &limited->pace[d], now_ms);
}

/* A reload brings rates, and takes them away. */
static void follow_rates(struct cv_limited *limited, uint64_t now_ms)
{
	struct cv_session *session = limited->session;
	const struct cv_limits limits = cv_usage_limits(session->user->usage);

	for (int d = CV_UPLINK; is_paced(limited) && d <= CV_DOWNLINK; d++) {
		if (limits.bytes_per_s[d] && !limited->paced[d])
			begin_pace(session, d, now_ms);
		else if (!limits.bytes_per_s[d] && limited->paced[d])
			end_pace(session, d);
	}
}

/* ---- the worker's look -------------------------------------------------------------------- */

/* May free the session. */
static void look_at(struct cv_limited *limited, uint64_t now_ms, uint64_t wall_ms)
{
	struct cv_session *session = limited->session;
	int reason;

	cv_session_account(session);
	reason = cv_usage_check(session->user->usage, wall_ms);
	if (reason) {
		cv_limits_end(session, reason);
		return;
	}
	follow_rates(limited, now_ms);
	for_each_rate(limited, now_ms, judge);
}

static void look_due(struct cv_timer *timer)
{
	struct cv_worker *worker = cv_container_of(timer, struct cv_worker, limits_timer);
	const uint64_t now_ms = cv_ring_now_ms(worker->ring), wall_ms = cv_clock_wall_ms();
	struct cv_limited *limited = worker->limited, *next;

	for (; limited; limited = next) {
		next = limited->next;
		look_at(limited, now_ms, wall_ms);
	}
	/* after all have been judged: shares out of sums that are half done would be too large */
	for (limited = worker->limited; limited; limited = limited->next)
		for_each_rate(limited, now_ms, set_pace);
	if (worker->limited)
		cv_timer_arm(worker->ring, timer, now_ms + LOOK_MS);
}

static void look_within(struct cv_worker *worker, uint64_t delay_ms)
{
	const uint64_t due_ms = cv_ring_now_ms(worker->ring) + delay_ms;

	worker->limits_timer.due = look_due;
	if (worker->limits_timer.heap_index == 0 || worker->limits_timer.due_ms > due_ms)
		cv_timer_arm(worker->ring, &worker->limits_timer, due_ms);
}

/* ---- coming and going --------------------------------------------------------------------- */

static struct cv_limited *limited_new(struct cv_session *session)
{
	struct cv_limited *limited = calloc(1, sizeof(*limited));
	struct cv_worker *worker = session->worker;

	if (!limited)
		return NULL;
	limited->session = session;
	limited->next = worker->limited;
	if (worker->limited)
		worker->limited->previous = limited;
	worker->limited = limited;
	look_within(worker, LOOK_MS);
	return limited;
}

static void limited_free(struct cv_limited *limited)
{
	struct cv_worker *worker = limited->session->worker;

	if (limited->next)
		limited->next->previous = limited->previous;
	if (limited->previous)
		limited->previous->next = limited->next;
	else
		worker->limited = limited->next;
	free(limited);
}

static int enter(struct cv_session *session, struct cv_usage *usage)
{
	struct cv_limited *limited = limited_new(session);
	struct cv_sockaddr *from;
	int reason;

	if (!limited)
		return CV_INTERNAL_MEMORY;
	from = &limited->from;
	if (!cv_session_client_address(session, from))
		from->any.sa_family = AF_UNSPEC;
	reason = cv_usage_enter(usage, from, cv_clock_wall_ms(), &limited->holds_source);
	if (reason)
		limited_free(limited);
	else
		session->limited = limited;
	return reason;
}

int cv_limits_admit(struct cv_session *session, struct cv_user *user)
{
	struct cv_usage *usage = user->usage;
	const struct cv_limits limits = usage ? cv_usage_limits(usage) : (struct cv_limits){0};
	bool holds_source;
	int reason = 0;

	/* it began before a reload, and shows who it is after that */
	if (session->config != session->worker->config &&
	    cv_reload_removes(session->worker->config, session->inbound, user))
		return CV_POLICY_USER_DISABLED;
	if (cv_limits_any(&limits))
		reason = enter(session, usage);
	else if (usage)
		reason = cv_usage_enter(usage, NULL, 0, &holds_source);
	if (reason)
		return reason;
	session->user = user;
	atomic_fetch_add_explicit(&user->counters->session_count, 1, memory_order_relaxed);
	return 0;
}

void cv_limits_leave(struct cv_session *session)
{
	struct cv_limited *limited = session->limited;
	struct cv_user *user = session->user;

	if (!user)
		return;
	atomic_fetch_sub_explicit(&user->counters->session_count, 1, memory_order_relaxed);
	if (user->usage)
		cv_usage_leave(user->usage,
			       limited && limited->holds_source ? &limited->from : NULL);
	if (!limited)
		return;
	for (int d = CV_UPLINK; d <= CV_DOWNLINK; d++)
		contribute(user->usage, d, &limited->pace[d], false, 0);
	limited_free(limited);
	session->limited = NULL;
}

void cv_limits_relay(struct cv_session *session)
{
	struct cv_limited *limited = session->limited;

	if (!limited)
		return;
	limited->relaying = true;
	for (int d = CV_UPLINK; d <= CV_DOWNLINK; d++)
		if (limited->paced[d]) /* with the request before; the sockets are new */
			end_pace(session, d);
	follow_rates(limited, cv_ring_now_ms(session->worker->ring));
	if (limited->paced[CV_UPLINK] || limited->paced[CV_DOWNLINK])
		look_within(session->worker, SOON_MS); /* the others give way */
}

void cv_limits_rest(struct cv_session *session)
{
	struct cv_limited *limited = session->limited;

	if (!limited)
		return;
	limited->relaying = false;
	for (int d = CV_UPLINK; d <= CV_DOWNLINK; d++)
		contribute(session->user->usage, d, &limited->pace[d], false, 0);
}

/* ---- ends --------------------------------------------------------------------------------- */

void cv_limits_end(struct cv_session *session, int reason)
{
	if (session->state == CV_SESSION_CLOSED)
		return;
	/* observable: both sides get RST. What was cut in the middle must not look whole, and
	 * whoever may not go on does not get what still waits in the socket either. */
	session->abort_client = session->abort_upstream = true;
	cv_session_close(session, reason);
	cv_session_event(session, NULL, 0);
}

struct kick {
	struct cv_worker_visit visit;
	const char *who;
	int reason;
	unsigned count;
};

static void kick_session(struct cv_worker_visit *visit, struct cv_session *session)
{
	struct kick *kick = cv_container_of(visit, struct kick, visit);

	if (!session->user || !cv_user_is_called(session->user, kick->who) ||
	    session->state == CV_SESSION_CLOSED || !cv_rule_holds("kick"))
		return;
	kick->count++;
	cv_limits_end(session, kick->reason);
}

unsigned cv_limits_kick(struct cv_worker *workers, unsigned worker_count, const char *who,
			int reason)
{
	struct kick kick = {.visit.session = kick_session, .who = who, .reason = reason};

	for (unsigned i = 0; i < worker_count; i++)
		cv_worker_visit_all(&workers[i], &kick.visit);
	/* an id lets people in, so it is written nowhere */
	cv_log(CV_LOG_WARNING, "user=%s: %u sessions ended (%s)",
	       cv_uuid_is_id(who) ? "(id)" : who, kick.count, cv_reason_label(reason));
	return kick.count;
}

struct follow {
	struct cv_worker_visit visit;
	const struct cv_config *config;
	unsigned count;
};

/* Of somebody who had no limit when it began; without memory for it, it goes on as it did. */
static void take_up_limits(struct cv_session *session)
{
	struct cv_usage *usage = session->user->usage;
	const struct cv_limits limits = usage ? cv_usage_limits(usage) : (struct cv_limits){0};

	if (session->limited || !cv_limits_any(&limits))
		return;
	session->limited = limited_new(session);
	if (session->limited)
		session->limited->relaying = session->state == CV_SESSION_RELAY ||
					     session->state == CV_SESSION_CARRIER ||
					     session->state == CV_SESSION_HTTP_EXCHANGE;
}

static void follow_session(struct cv_worker_visit *visit, struct cv_session *session)
{
	struct follow *follow = cv_container_of(visit, struct follow, visit);

	if (!session->user || session->config == follow->config ||
	    session->state == CV_SESSION_CLOSED)
		return;
	if (!cv_reload_removes(follow->config, session->inbound, session->user)) {
		take_up_limits(session);
		return;
	}
	follow->count++;
	cv_limits_end(session, CV_POLICY_USER_DISABLED);
}

unsigned cv_limits_follow(struct cv_worker *workers, unsigned worker_count,
			  const struct cv_config *config)
{
	struct follow follow = {.visit.session = follow_session, .config = config};

	for (unsigned i = 0; i < worker_count; i++)
		cv_worker_visit_all(&workers[i], &follow.visit);
	return follow.count;
}
