// SPDX-License-Identifier: MIT
/*
 * reason.c - labels and texts of enum cv_reason, generated from the one list in culvert/reason.h.
 *
 * Counters want a dense index while the numbers have gaps (they name their class in the hundreds
 * and are never reused), so a switch maps number to index; compilers turn it into a jump table.
 * Labels are the enumerator names in lower case, made once: the list is written only once.
 */
#include "base/reason.h"

#include <ctype.h>
#include <pthread.h>
#include <string.h>

/* Numbers above this are -errno: Linux keeps errno below 134, culvert starts at 2001. */
#define ERRNO_MIN (-2000)

enum reason_index {
#define X(name, number, text) INDEX_##name,
	CV_REASONS(X)
#undef X
	REASON_COUNT
};

static const struct {
	int number;
	const char *name;
	const char *text;
} reasons[REASON_COUNT] = {
#define X(name, number, text) {number, #name, text},
	CV_REASONS(X)
#undef X
};

#define LABEL_MAX 48
static char labels[REASON_COUNT][LABEL_MAX];
static pthread_once_t labels_once = PTHREAD_ONCE_INIT;

static void labels_make(void)
{
	for (size_t i = 0; i < REASON_COUNT; i++) {
		const char *name = reasons[i].name;

		for (size_t j = 0; name[j] && j < LABEL_MAX - 1; j++)
			labels[i][j] = (char)tolower((unsigned char)name[j]);
	}
}

size_t cv_reason_count(void)
{
	return REASON_COUNT;
}

int cv_reason_index(int reason)
{
	switch (reason) {
#define X(name, number, text) \
	case number: \
		return INDEX_##name;
		CV_REASONS(X)
#undef X
	default:
		return -1;
	}
}

int cv_reason_at(size_t index)
{
	return index < REASON_COUNT ? reasons[index].number : CV_INTERNAL_STATE;
}

const char *cv_reason_label(int reason)
{
	const int index = cv_reason_index(reason);

	if (index >= 0) {
		pthread_once(&labels_once, labels_make);
		return labels[index];
	}
	if (reason == CV_OK)
		return "ok";
	return reason < 0 && reason > ERRNO_MIN ? "errno" : "unknown";
}

const char *cv_reason_text(int reason)
{
	const int index = cv_reason_index(reason);

	if (index >= 0)
		return reasons[index].text;
	if (reason == CV_OK)
		return "success";
	/* strerrordesc_np() never writes to shared memory, unlike strerror(). */
	const char *text = reason < 0 && reason > ERRNO_MIN ? strerrordesc_np(-reason) : NULL;

	return text ? text : "unknown reason";
}
