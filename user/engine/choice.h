/* SPDX-License-Identifier: MIT */
/*
 * choice.h - which engine should carry a session's transparent directions now? The one place.
 *
 * By configuration: copy and splice are what they say; sockmap takes the downlink at once, with
 * copy as its refuge and for the uplink. auto starts in splice and promotes the busy direction of a
 * session to sockmap, for good, if
 *
 *	it is CV_CHOICE_AGE_MS old and both its directions are transparent and open,
 *	a direction moved CV_CHOICE_BYTES in the last second and woke us CV_CHOICE_WAKES times for
 *	  that: there is something to save,
 *	each wake-up moved CV_CHOICE_WAKE_BYTES on average: large packets; per small packet the
 *	  kernel's work for a redirect is more than its share of a splice of many,
 *	the source's packets are CV_CHOICE_PACKET_BYTES or more, for the same reason,
 *	the other direction is not as busy: it has to make do with copy, since a socket that is
 *	  redirected to has no bound for what it is sent, see engine_sockmap.c,
 *	no receiver was slower than its sender: else the flow would only come back to user space,
 *	CV_CHOICE_FLOWS directions of this worker are as busy: one or a few flows are as fast or
 *	  faster in splice, since a redirect waits for a timer tick when the receiver is full;
 *	  but not more than CV_CHOICE_FLOWS_MAX, which splice moves faster on several processors:
 *	  redirects keep to few of them.
 *
 * There is no way back: a socket that leaves a sockmap alive loses bytes. A promoted direction
 * whose receiver is slow is copied for a while instead, see engine_sockmap.c.
 */
#ifndef CV_ENGINE_CHOICE_H
#define CV_ENGINE_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

#define CV_CHOICE_AGE_MS 2000
#define CV_CHOICE_BYTES (1u << 20)
#define CV_CHOICE_WAKES 20
#define CV_CHOICE_WAKE_BYTES 16384
#define CV_CHOICE_PACKET_BYTES 8192
#define CV_CHOICE_FLOWS 8
#define CV_CHOICE_FLOWS_MAX 256

enum cv_choice_mode { CV_CHOICE_AUTO, CV_CHOICE_COPY, CV_CHOICE_SPLICE, CV_CHOICE_SOCKMAP };

/* Why not a faster engine; one byte in a session. */
enum cv_choice_why {
	CV_WHY_BEST,	     /* this is the fastest for it */
	CV_WHY_CONFIGURED,   /* culvert.engine says so */
	CV_WHY_ABSENT,	     /* the kernel part of sockmap cannot be used */
	CV_WHY_TESTING,	     /* its self-test is not done yet */
	CV_WHY_TEST_FAILED,
	CV_WHY_YOUNG,
	CV_WHY_ONE_WAY,	     /* the other direction is in user space, or over */
	CV_WHY_BOTH_WAYS,    /* both directions are busy */
	CV_WHY_REVERSE,	     /* the other direction is in sockmap */
	CV_WHY_QUIET,
	CV_WHY_FEW_FLOWS,
	CV_WHY_MANY_FLOWS,
	CV_WHY_SMALL_PACKETS,
	CV_WHY_SLOW_RECEIVER,
	CV_WHY_REFUSED,	     /* the kernel did not take the socket */
	CV_WHY_PROMOTING,    /* on its way to sockmap */
};

enum cv_sockmap_state { CV_SOCKMAP_USABLE, CV_SOCKMAP_ABSENT, CV_SOCKMAP_TESTING,
			CV_SOCKMAP_FAILED };

struct cv_choice_direction { /* in the last second */
	uint64_t bytes;
	uint32_t wakes, fulls; /* turns for it; of these, ended by a full sink */
	uint32_t packet_bytes; /* what the source's largest packets carry, as its socket knows */
};

struct cv_choice_input {
	enum cv_choice_mode mode;
	enum cv_sockmap_state sockmap;
	bool refused;	  /* the kernel did so before */
	bool both_active; /* an engine has each direction, and neither is over */
	uint64_t age_ms;
	uint32_t busy_flows; /* directions of this worker, by cv_choice_is_busy() */
	struct cv_choice_direction direction[2];
};

/** cv_choice_is_busy() - @direction alone would be worth it. */
bool cv_choice_is_busy(const struct cv_choice_direction *direction);
/** cv_choice_promotes() - Should a session that copy or splice carries go to sockmap now?
 * @ret_why: always set. */
bool cv_choice_promotes(const struct cv_choice_input *input, enum cv_choice_why *ret_why);
/** cv_choice_text() - @why for people, e.g. "fewer than 8 busy flows". */
const char *cv_choice_text(enum cv_choice_why why);
/** cv_choice_mode() - Of "auto", "copy", "splice" or "sockmap". */
enum cv_choice_mode cv_choice_mode(const char *name);

#endif
