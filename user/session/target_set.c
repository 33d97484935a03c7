// SPDX-License-Identifier: MIT
/*
 * target_set.c - the learners of all REALITY targets of one configuration.
 *
 * A learner belongs to every set that has its target: when a configuration follows another one,
 * what was learned goes on. All of this is called by one thread.
 */
#include "session/target_set.h"

#include "base/clock.h"
#include "base/log.h"
#include "session/target_learner.h"

#include <culvert/reason.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEARN_WAIT_MS 60000 /* for all targets together */
#define LEARN_LOOK_MS 200   /* how often that wait looks whether it must stop */

struct learned {
	struct cv_target_learner *learner;
	unsigned owner_count;
	/* what it was started with */
	char *target_text;
	int xver;
	uint32_t interval_s;
	char (*names)[256];
	size_t name_count;
};

struct cv_target_set {
	struct learned **learned;
	size_t count;
};

static void leave(struct learned *learned)
{
	if (!learned || --learned->owner_count > 0)
		return;
	cv_target_learner_stop(learned->learner);
	free(learned->target_text);
	free(learned->names);
	free(learned);
}

static struct learned *find(const struct cv_target_set *set,
			    const struct cv_reality_inbound *inbound,
			    const struct cv_reality_target *target)
{
	for (size_t i = 0; set && i < set->count; i++) {
		struct learned *learned = set->learned[i];

		if (strcmp(learned->target_text, target->address_text) == 0 &&
		    learned->xver == target->xver &&
		    learned->interval_s == inbound->learn_interval_s &&
		    learned->name_count == target->server_name_count &&
		    memcmp(learned->names, target->server_names,
			   learned->name_count * sizeof(*learned->names)) == 0)
			return learned;
	}
	return NULL;
}

static int start(const struct cv_reality_inbound *inbound, const struct cv_reality_target *target,
		 struct learned **ret_learned)
{
	const struct cv_target_learner_config config = {
		.target_text = target->address_text,
		.destination = target->destination,
		.unix_address = target->unix_address,
		.xver = target->xver,
		.server_names = target->server_names,
		.server_name_count = target->server_name_count,
		.interval_s = inbound->learn_interval_s,
	};
	struct learned *learned = calloc(1, sizeof(*learned));
	int error = CV_INTERNAL_MEMORY;

	if (!learned)
		return error;
	learned->owner_count = 1;
	learned->xver = target->xver;
	learned->interval_s = inbound->learn_interval_s;
	learned->name_count = target->server_name_count;
	learned->target_text = strdup(target->address_text);
	learned->names = calloc(learned->name_count + 1, sizeof(*learned->names));
	if (learned->target_text && learned->names) {
		memcpy(learned->names, target->server_names,
		       learned->name_count * sizeof(*learned->names));
		error = cv_target_learner_start(&config, &learned->learner);
	}
	if (error)
		leave(learned);
	else
		*ret_learned = learned;
	return error;
}

static int add(struct cv_target_set *set, const struct cv_target_set *former,
	       const struct cv_reality_inbound *inbound, struct cv_reality_target *target)
{
	struct learned *learned = find(former, inbound, target);
	int error = 0;

	if (learned)
		learned->owner_count++;
	else
		error = start(inbound, target, &learned);
	if (error)
		return error;
	set->learned[set->count++] = learned;
	target->reality.profile = cv_target_learner_profile;
	target->reality.profile_context = learned->learner;
	return 0;
}

static size_t count_targets(const struct cv_config *config)
{
	size_t count = 0;

	for (size_t i = 0; i < config->inbound_count; i++)
		if (config->inbounds[i].reality)
			count += config->inbounds[i].reality->target_count;
	return count;
}

int cv_target_set_new(struct cv_config *config, const struct cv_target_set *former,
		      struct cv_target_set **ret_set)
{
	struct cv_target_set *set = calloc(1, sizeof(*set));
	int error = 0;

	if (!set)
		return CV_INTERNAL_MEMORY;
	set->learned = calloc(count_targets(config) + 1, sizeof(struct learned *));
	if (!set->learned)
		error = CV_INTERNAL_MEMORY;
	for (size_t i = 0; i < config->inbound_count && !error; i++) {
		struct cv_reality_inbound *reality = config->inbounds[i].reality;

		for (size_t t = 0; reality && t < reality->target_count && !error; t++)
			error = add(set, former, reality, &reality->targets[t]);
	}
	if (error)
		cv_target_set_free(set);
	else
		*ret_set = set;
	return error;
}

size_t cv_target_set_count(const struct cv_target_set *set)
{
	return set->count;
}

int cv_target_set_wait(const struct cv_target_set *set, bool (*must_stop)(void))
{
	const uint64_t until_ms = cv_clock_ms() + LEARN_WAIT_MS;

	for (size_t i = 0; i < set->count; i++) {
		struct cv_target_learner *learner = set->learned[i]->learner;

		while (cv_target_learner_wait_ready(learner, LEARN_LOOK_MS) != 0) {
			if (must_stop())
				return -EINTR;
			if (cv_clock_ms() < until_ms)
				continue;
			cv_log(CV_LOG_WARNING, "a target is not learned yet; it will be, later");
			break;
		}
	}
	return 0;
}

struct cv_target_set *cv_target_set_free(struct cv_target_set *set)
{
	if (!set)
		return NULL;
	for (size_t i = 0; i < set->count; i++)
		leave(set->learned[i]);
	free(set->learned);
	free(set);
	return NULL;
}
