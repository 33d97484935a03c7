// SPDX-License-Identifier: MIT
/*
 * culvert_show.c - `culvert show`: looks into a running daemon and prints tables.
 *
 *   ask --(HALF_SECOND later)--> ask again -> rates of sessions and users -> sort -> print
 *                                   ^------------------- --watch ------------------'
 *
 * Rates come from two answers, so the daemon keeps none. --json prints the last answer as it is,
 * rates added.
 */
#include "culvert.h"
#include "culvert_ask.h"
#include "culvert_table.h"

#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SAMPLE_S 0.5
#define WATCH_S 2.0
#define RECORDS_MAX 1000000

struct show {
	const char *control, *command; /* what is asked */
	const char *user;	       /* only sessions of this one; NULL = all */
	size_t limit;		       /* records printed; 0 = all */
	bool json;
	double watch_s; /* 0 = once */
	unsigned repeat; /* --watch: so often, 0 = until a signal */
};

static volatile sig_atomic_t stopped;

static void stop(int number)
{
	(void)number;
	stopped = 1;
}

/* ---- what is printed for which topic ------------------------------------------------------- */

static const struct cv_column session_columns[] = {
	{"ID", cv_text_cell, "id"},
	{"STATE", cv_text_cell, "state"},
	{"INBOUND", cv_text_cell, "inbound"},
	{"USER", cv_text_cell, "user"},
	{"CLIENT", cv_text_cell, "client"},
	{"DESTINATION", cv_text_cell, "destination"},
	{"VIA", cv_text_cell, "outbound"},
	{"UPLINK", cv_direction_cell, "uplink"},
	{"RATE", cv_rate_cell, "uplink_rate"},
	{"DOWNLINK", cv_direction_cell, "downlink"},
	{"RATE", cv_rate_cell, "downlink_rate"},
	{"AGE", cv_age_cell, "age_ms"},
	{"IDLE", cv_age_cell, "idle_ms"},
};

static const struct cv_column user_columns[] = {
	{"INBOUND", cv_text_cell, "inbound"},	   {"NAME", cv_text_cell, "name"},
	{"EMAIL", cv_text_cell, "email"},	   {"SESSIONS", cv_text_cell, "sessions"},
	{"UPLINK", cv_bytes_cell, "uplink_bytes"}, {"RATE", cv_rate_cell, "uplink_rate"},
	{"DOWNLINK", cv_bytes_cell, "downlink_bytes"}, {"RATE", cv_rate_cell, "downlink_rate"},
};

static const struct cv_column engine_columns[] = {
	{"ENGINE", cv_text_cell, "engine"},
	{"UPLINK FLOWS", cv_text_cell, "uplink_flows"},
	{"BYTES", cv_bytes_cell, "uplink_bytes"},
	{"DOWNLINK FLOWS", cv_text_cell, "downlink_flows"},
	{"BYTES", cv_bytes_cell, "downlink_bytes"},
};

#define TABLE(columns) columns, sizeof(columns) / sizeof(columns[0])

static const struct topic {
	const char *name;
	const struct cv_column *columns; /* NULL: record by record */
	size_t column_count;
	bool has_rates;
} topics[] = {
	{"sessions", TABLE(session_columns), true}, {"session", NULL, 0, true},
	{"users", TABLE(user_columns), true},	    {"engines", TABLE(engine_columns), false},
	{"kernel", NULL, 0, false},		    {"workers", NULL, 0, false},
	{"reasons", NULL, 0, false},
};

static const struct topic *topic_of(const char *command)
{
	size_t len = strcspn(command, " ");

	for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++)
		if (strlen(topics[i].name) == len && strncmp(topics[i].name, command, len) == 0)
			return &topics[i];
	return NULL;
}

/* ---- rates --------------------------------------------------------------------------------- */

static uint64_t moved(struct json_object *record, bool uplink)
{
	struct json_object *direction = cv_member(record, uplink ? "uplink" : "downlink");

	if (direction)
		return cv_member_u64(direction, "bytes");
	return cv_member_u64(record, uplink ? "uplink_bytes" : "downlink_bytes");
}

/* The same record in both answers has one key: a session's id, a user's inbound and name. */
static void key_of(struct json_object *record, char text[CV_CELL_MAX * 4])
{
	const char *id = json_object_get_string(cv_member(record, "id"));

	if (id)
		snprintf(text, CV_CELL_MAX * 4, "%s", id);
	else
		snprintf(text, CV_CELL_MAX * 4, "%s/%s/%s",
			 json_object_get_string(cv_member(record, "inbound")),
			 json_object_get_string(cv_member(record, "name")),
			 json_object_get_string(cv_member(record, "email")));
}

static void add_rate(struct json_object *record, struct json_object *before, bool uplink,
		     double seconds)
{
	uint64_t now = moved(record, uplink), then = before ? moved(before, uplink) : now;
	double rate = now > then ? (double)(now - then) / seconds : 0;

	json_object_object_add(record, uplink ? "uplink_rate" : "downlink_rate",
			       json_object_new_uint64((uint64_t)rate));
}

static void add_rates(struct json_object *before, struct json_object *after, double seconds)
{
	struct json_object *index = json_object_new_object();
	char key[CV_CELL_MAX * 4];

	for (size_t i = 0; before && i < json_object_array_length(before); i++) {
		struct json_object *record = json_object_array_get_idx(before, i);

		key_of(record, key);
		json_object_object_add(index, key, json_object_get(record));
	}
	for (size_t i = 0; i < json_object_array_length(after); i++) {
		struct json_object *record = json_object_array_get_idx(after, i);

		key_of(record, key);
		add_rate(record, cv_member(index, key), true, seconds);
		add_rate(record, cv_member(index, key), false, seconds);
	}
	json_object_put(index);
}

static int by_rate(const void *a, const void *b)
{
	struct json_object *left = *(struct json_object *const *)a;
	struct json_object *right = *(struct json_object *const *)b;
	uint64_t l = cv_member_u64(left, "uplink_rate") + cv_member_u64(left, "downlink_rate");
	uint64_t r = cv_member_u64(right, "uplink_rate") + cv_member_u64(right, "downlink_rate");

	if (l == r) {
		l = moved(left, true) + moved(left, false);
		r = moved(right, true) + moved(right, false);
	}
	return l < r ? 1 : l > r ? -1 : 0;
}

/* ---- one look ------------------------------------------------------------------------------ */

static struct json_object *only_of(struct json_object *array, const char *user)
{
	struct json_object *kept = json_object_new_array();

	for (size_t i = 0; i < json_object_array_length(array); i++) {
		struct json_object *record = json_object_array_get_idx(array, i);
		const char *name = json_object_get_string(cv_member(record, "user"));

		if (name && strcmp(name, user) == 0)
			json_object_array_add(kept, json_object_get(record));
	}
	return kept;
}

/* The answer's records, or NULL for topics that are no list. */
static struct json_object *records_of(struct json_object *answer, const struct topic *topic)
{
	const char *name = strcmp(topic->name, "session") == 0 ? "sessions" : topic->name;
	struct json_object *records = cv_member(answer, name);

	return json_object_is_type(records, json_type_array) ? records : NULL;
}

static void print_whole(struct json_object *answer, struct json_object *records)
{
	if (!records) {
		json_object_object_foreach(answer, key, value)
		{
			(void)key;
			if (json_object_is_type(value, json_type_object))
				cv_print_record(value, 0);
		}
		return;
	}
	for (size_t i = 0; i < json_object_array_length(records); i++) {
		if (i)
			putchar('\n');
		cv_print_record(json_object_array_get_idx(records, i), 0);
	}
}

static void print_answer(const struct show *show, const struct topic *topic,
			 struct json_object *answer)
{
	struct json_object *records = records_of(answer, topic);

	if (show->json)
		puts(json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PRETTY));
	else if (topic->columns)
		cv_print_columns(records, topic->columns, topic->column_count, show->limit);
	else
		print_whole(answer, records);
}

/* False, after saying why, if the daemon did not give what was asked for. */
static bool is_good(const struct show *show, const struct topic *topic, struct json_object *answer)
{
	const char *error = json_object_get_string(cv_member(answer, "error"));
	struct json_object *records = records_of(answer, topic);

	if (error)
		fprintf(stderr, "culvert show: %s\n", error);
	else if (topic->columns && !records)
		fprintf(stderr, "culvert show: the daemon is of another version\n");
	else if (strcmp(topic->name, "session") == 0 && json_object_array_length(records) == 0)
		fprintf(stderr, "culvert show: no session is called %s\n", show->command + 8);
	else
		return true;
	return false;
}

static double now_s(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void pause_s(double seconds)
{
	struct timespec pause = {.tv_sec = (time_t)seconds};

	pause.tv_nsec = (long)((seconds - (double)pause.tv_sec) * 1e9);
	(void)nanosleep(&pause, NULL); /* a signal ends it: stopped is looked at next */
}

static void prepare(const struct show *show, const struct topic *topic, struct json_object *before,
		    struct json_object *answer, double seconds)
{
	struct json_object *records = records_of(answer, topic);

	if (!records || !topic->has_rates)
		return;
	add_rates(before ? records_of(before, topic) : NULL, records, seconds);
	if (show->user) {
		records = only_of(records, show->user);
		json_object_object_add(answer, "sessions", records);
	}
	json_object_array_sort(records, by_rate);
}

/* Asks, prints, and keeps the answer for the next rates. */
static int look(const struct show *show)
{
	const struct topic *topic = topic_of(show->command);
	struct json_object *before = topic->has_rates ? cv_ask(show->control, show->command) : NULL;
	double then_s = now_s();
	bool good = !topic->has_rates || (before && is_good(show, topic, before));

	for (unsigned n = 0; good && !stopped && (n == 0 || show->watch_s > 0); n++) {
		struct json_object *answer;
		double seconds;

		if (n > 0 && show->repeat && n >= show->repeat)
			break;
		if (n > 0 || topic->has_rates)
			pause_s(n > 0 ? show->watch_s : SAMPLE_S);
		answer = stopped ? NULL : cv_ask(show->control, show->command);
		good = stopped || (answer && is_good(show, topic, answer));
		if (answer && good) {
			seconds = now_s() - then_s;
			then_s += seconds;
			prepare(show, topic, before, answer, seconds);
			if (show->watch_s > 0 && isatty(STDOUT_FILENO))
				fputs("\033[H\033[J", stdout); /* home, clear */
			print_answer(show, topic, answer);
			(void)fflush(stdout);
		}
		json_object_put(before);
		before = answer;
	}
	json_object_put(before);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- command line -------------------------------------------------------------------------- */

static int usage(void)
{
	fputs("usage: culvert show sessions | session ID | users | engines | kernel | workers | "
	      "reasons\n"
	      "         [--user NAME] [--limit N] [--watch[=SECONDS]] [--repeat N]\n"
	      "         [--control PATH] [--json]\n",
	      stderr);
	return CV_EXIT_USAGE;
}

/* False when @text is no number within the limits. */
static bool number_of(const char *text, double min, double max, double *ret_value)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= min && value <= max))
		return false;
	*ret_value = value;
	return true;
}

static bool take_option(struct show *show, int option)
{
	double value = WATCH_S;

	switch (option) {
	case 'c':
		show->control = optarg;
		return true;
	case 'j':
		show->json = true;
		return true;
	case 'u':
		show->user = optarg;
		return true;
	case 'l':
		if (!number_of(optarg, 0, RECORDS_MAX, &value))
			return false;
		show->limit = (size_t)value;
		return true;
	case 'w':
		if (optarg && !number_of(optarg, 0.1, 3600, &value))
			return false;
		show->watch_s = value;
		return true;
	case 'r':
		if (!number_of(optarg, 1, 1e6, &value))
			return false;
		show->repeat = (unsigned)value;
		return true;
	default:
		return false;
	}
}

int cv_cmd_show(int argc, char **argv)
{
	static const struct option options[] = {
		{"control", required_argument, NULL, 'c'}, {"json", no_argument, NULL, 'j'},
		{"user", required_argument, NULL, 'u'},	   {"limit", required_argument, NULL, 'l'},
		{"watch", optional_argument, NULL, 'w'},   {"repeat", required_argument, NULL, 'r'},
		{NULL, 0, NULL, 0},
	};
	struct show show = {.control = CV_DEFAULT_CONTROL};
	struct sigaction action = {.sa_handler = stop};
	char command[128];
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (!take_option(&show, option))
			return usage();
	if (optind == argc || argc - optind > 2 || !topic_of(argv[optind]))
		return usage();
	if ((argc - optind == 2) != (strcmp(argv[optind], "session") == 0))
		return usage();
	if (show.user && strcmp(argv[optind], "sessions") != 0)
		return usage();
	(void)snprintf(command, sizeof(command), "%s%s%s", argv[optind],
		       argc - optind == 2 ? " " : "", argc - optind == 2 ? argv[optind + 1] : "");
	show.command = command;
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	return look(&show);
}
