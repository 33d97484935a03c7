// SPDX-License-Identifier: MIT
/*
 * choice.c - see choice.h, which says the rule; here it is once more, for the machine.
 */
#include "engine/choice.h"

#include <string.h>

static const char *const texts[] = {
	[CV_WHY_BEST] = "",
	[CV_WHY_CONFIGURED] = "culvert.engine says so",
	[CV_WHY_ABSENT] = "sockmap: not available to this process",
	[CV_WHY_TESTING] = "sockmap: self-test not done yet",
	[CV_WHY_TEST_FAILED] = "sockmap: this kernel failed the self-test",
	[CV_WHY_YOUNG] = "sockmap: not 2 s old yet",
	[CV_WHY_ONE_WAY] = "sockmap: the other direction is in user space or over",
	[CV_WHY_BOTH_WAYS] = "sockmap: both directions are busy",
	[CV_WHY_REVERSE] = "sockmap: the other direction has it",
	[CV_WHY_QUIET] = "sockmap: too little moves to save anything",
	[CV_WHY_FEW_FLOWS] = "sockmap: fewer than 8 busy flows here",
	[CV_WHY_MANY_FLOWS] = "sockmap: more than 256 busy flows here",
	[CV_WHY_SMALL_PACKETS] = "sockmap: small packets",
	[CV_WHY_SLOW_RECEIVER] = "sockmap: the receiver is slower than the sender",
	[CV_WHY_REFUSED] = "sockmap: the kernel refused a socket",
	[CV_WHY_PROMOTING] = "going to sockmap",
};

const char *cv_choice_text(enum cv_choice_why why)
{
	return texts[why];
}

enum cv_choice_mode cv_choice_mode(const char *name)
{
	if (strcmp(name, "copy") == 0)
		return CV_CHOICE_COPY;
	if (strcmp(name, "splice") == 0)
		return CV_CHOICE_SPLICE;
	return strcmp(name, "sockmap") == 0 ? CV_CHOICE_SOCKMAP : CV_CHOICE_AUTO;
}

static bool is_loaded(const struct cv_choice_direction *direction)
{
	return direction->bytes >= CV_CHOICE_BYTES && direction->wakes >= CV_CHOICE_WAKES;
}

static bool is_large(const struct cv_choice_direction *direction)
{
	return direction->bytes / CV_CHOICE_WAKE_BYTES >= direction->wakes &&
	       direction->packet_bytes >= CV_CHOICE_PACKET_BYTES;
}

bool cv_choice_is_busy(const struct cv_choice_direction *direction)
{
	return is_loaded(direction) && is_large(direction) && direction->fulls == 0;
}

static enum cv_choice_why traffic(const struct cv_choice_input *input)
{
	const struct cv_choice_direction *up = &input->direction[0], *down = &input->direction[1];

	if (!is_loaded(up) && !is_loaded(down))
		return CV_WHY_QUIET;
	if (is_loaded(up) && is_loaded(down))
		return CV_WHY_BOTH_WAYS;
	if (up->fulls || down->fulls)
		return CV_WHY_SLOW_RECEIVER;
	if ((is_loaded(up) && !is_large(up)) || (is_loaded(down) && !is_large(down)))
		return CV_WHY_SMALL_PACKETS;
	if (input->busy_flows < CV_CHOICE_FLOWS)
		return CV_WHY_FEW_FLOWS;
	return input->busy_flows > CV_CHOICE_FLOWS_MAX ? CV_WHY_MANY_FLOWS : CV_WHY_BEST;
}

static enum cv_choice_why hindrance(const struct cv_choice_input *input)
{
	if (input->mode == CV_CHOICE_COPY || input->mode == CV_CHOICE_SPLICE)
		return CV_WHY_CONFIGURED;
	if (input->sockmap == CV_SOCKMAP_ABSENT)
		return CV_WHY_ABSENT;
	if (input->sockmap == CV_SOCKMAP_TESTING)
		return CV_WHY_TESTING;
	if (input->sockmap == CV_SOCKMAP_FAILED)
		return CV_WHY_TEST_FAILED;
	if (input->refused)
		return CV_WHY_REFUSED;
	if (!input->both_active)
		return CV_WHY_ONE_WAY;
	if (input->mode == CV_CHOICE_SOCKMAP)
		return CV_WHY_BEST;
	return input->age_ms < CV_CHOICE_AGE_MS ? CV_WHY_YOUNG : traffic(input);
}

bool cv_choice_promotes(const struct cv_choice_input *input, enum cv_choice_why *ret_why)
{
	enum cv_choice_why why = hindrance(input);

	*ret_why = why == CV_WHY_BEST ? CV_WHY_PROMOTING : why;
	return why == CV_WHY_BEST;
}
