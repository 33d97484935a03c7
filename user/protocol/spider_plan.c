// SPDX-License-Identifier: MIT
/*
 * spider_plan.c - spiderX taken apart (REALITY 12.1, 12.3), and the paths known per server name.
 *
 * spiderX is a path whose query keys p, c, t, i, r are ours and removed; everything else stays in
 * the path that is asked for. Known paths start with that one and grow by the links of what was
 * read, within limits: names, paths per name, bytes per path.
 */
#include "protocol/spider_state.h"

#include "base/reason.h"
#include "crypto/crypto.h"

#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 64
#define PATHS_MAX 256
#define MS_MAX 3600000 /* an hour of pause is more than any plan needs */

/* ---- spiderX ---- */

static uint32_t clamp(uint64_t value, uint32_t limit)
{
	return value < limit ? (uint32_t)value : limit;
}

/* Digits up to @end; false if there are none or too many. */
static bool read_number(const char **at, const char *end, uint64_t *ret_value)
{
	const char *start = *at;
	uint64_t value = 0;

	for (; *at < end && **at >= '0' && **at <= '9' && *at - start < 12; (*at)++)
		value = value * 10 + (uint64_t)(**at - '0');
	*ret_value = value;
	return *at > start;
}

static bool read_range(const char *at, const char *end, uint32_t limit,
		       struct cv_spider_range *ret_range)
{
	uint64_t from, to;

	if (!read_number(&at, end, &from))
		return false;
	to = from;
	if (at < end && *at == '-') {
		at++;
		if (!read_number(&at, end, &to))
			return false;
	}
	if (at != end || to < from)
		return false;
	*ret_range = (struct cv_spider_range){clamp(from, limit), clamp(to, limit)};
	return true;
}

/* Returns where the range of one-letter @key goes, NULL if the key is not ours. */
static struct cv_spider_range *range_of(struct cv_spider_plan *plan, char key, uint32_t *ret_limit)
{
	switch (key) {
	case 'p':
		*ret_limit = CV_SPIDER_PADDING_MAX;
		return &plan->padding;
	case 'c':
		*ret_limit = CV_SPIDER_WORKERS_MAX;
		return &plan->concurrency;
	case 't':
		*ret_limit = CV_SPIDER_TIMES_MAX;
		return &plan->times;
	case 'i':
		*ret_limit = MS_MAX;
		return &plan->interval_ms;
	case 'r':
		*ret_limit = MS_MAX;
		return &plan->return_ms;
	default:
		return NULL;
	}
}

static void append_text(struct cv_spider_plan *plan, const char *text, size_t len)
{
	size_t at = strlen(plan->path);

	memcpy(plan->path + at, text, len); /* fits: the result is never longer than spiderX */
	plan->path[at + len] = '\0';
}

/* One "key=value" of the query: ours is taken out, others are put back. */
static bool take_pair(struct cv_spider_plan *plan, const char *pair, size_t len, bool *is_first)
{
	struct cv_spider_range *range = NULL;
	uint32_t limit = 0;

	if (len >= 2 && pair[1] == '=')
		range = range_of(plan, pair[0], &limit);
	if (range)
		return read_range(pair + 2, pair + len, limit, range);
	append_text(plan, *is_first ? "?" : "&", 1);
	append_text(plan, pair, len);
	*is_first = false;
	return true;
}

static bool is_plain(const char *text)
{
	for (; *text; text++)
		if (*text <= ' ' || *text > '~')
			return false;
	return true;
}

int cv_spider_plan_parse(const char *spider_x, struct cv_spider_plan *ret_plan)
{
	struct cv_spider_plan plan = {0};
	bool is_first = true;
	const char *query;

	if (!spider_x || !spider_x[0])
		spider_x = "/";
	if (spider_x[0] != '/' || strlen(spider_x) >= sizeof(plan.path) || !is_plain(spider_x))
		return CV_INTERNAL_CONFIG;
	query = strchr(spider_x, '?');
	append_text(&plan, spider_x, query ? (size_t)(query - spider_x) : strlen(spider_x));
	while (query && query[1]) {
		const char *pair = query + 1;
		size_t len = strcspn(pair, "&");

		if (len && !take_pair(&plan, pair, len, &is_first))
			return CV_INTERNAL_CONFIG;
		query = pair[len] ? pair + len : NULL;
	}
	*ret_plan = plan;
	return 0;
}

uint32_t cv_spider_draw(struct cv_spider_range range)
{
	return range.from + cv_random_below(range.to - range.from + 1);
}

/* ---- known paths ---- */

struct cv_spider_path_list {
	char server_name[256];
	char *paths[PATHS_MAX];
	size_t count;
};

struct cv_spider_paths {
	struct cv_spider_path_list *lists[NAMES_MAX];
	size_t count;
};

struct cv_spider_paths *cv_spider_paths_new(void)
{
	return calloc(1, sizeof(struct cv_spider_paths));
}

struct cv_spider_paths *cv_spider_paths_free(struct cv_spider_paths *paths)
{
	if (!paths)
		return NULL;
	for (size_t i = 0; i < paths->count; i++) {
		for (size_t j = 0; j < paths->lists[i]->count; j++)
			free(paths->lists[i]->paths[j]);
		free(paths->lists[i]);
	}
	free(paths);
	return NULL;
}

static struct cv_spider_path_list *find_list(const struct cv_spider_paths *paths,
					     const char *server_name)
{
	for (size_t i = 0; i < paths->count; i++)
		if (strcmp(paths->lists[i]->server_name, server_name) == 0)
			return paths->lists[i];
	return NULL;
}

struct cv_spider_path_list *cv_spider_paths_of(struct cv_spider_paths *paths,
					       const char *server_name, const char *first)
{
	struct cv_spider_path_list *list = find_list(paths, server_name);

	if (list)
		return list;
	if (paths->count == NAMES_MAX || strlen(server_name) >= sizeof(list->server_name))
		return NULL;
	list = calloc(1, sizeof(*list));
	if (!list)
		return NULL;
	strcpy(list->server_name, server_name);
	cv_spider_paths_add(list, first);
	if (list->count == 0) {
		free(list);
		return NULL;
	}
	paths->lists[paths->count++] = list;
	return list;
}

const char *cv_spider_paths_draw(const struct cv_spider_path_list *list)
{
	return list->paths[cv_random_below((uint32_t)list->count)];
}

void cv_spider_paths_add(struct cv_spider_path_list *list, const char *path)
{
	char *copy;

	if (path[0] != '/' || strlen(path) >= CV_SPIDER_PATH_MAX || !is_plain(path) ||
	    list->count == PATHS_MAX)
		return;
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->paths[i], path) == 0)
			return;
	copy = strdup(path);
	if (copy)
		list->paths[list->count++] = copy;
}

size_t cv_spider_paths_count(const struct cv_spider_path_list *list)
{
	return list->count;
}
