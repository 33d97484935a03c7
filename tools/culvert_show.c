// SPDX-License-Identifier: MIT
/*
 * culvert_show.c - `culvert show`: looks into a running daemon and prints tables.
 *
 *   ask --(SAMPLE_S later)--> ask again -> rates of sessions and users -> sort -> print
 *                                ^-------------------- --watch -------------------'
 *
 * Rates come from two answers, so the daemon keeps none. --json prints the last answer as it is,
 * rates added.
 */
#include "culvert.h"
#include "culvert_ask.h"
#include "culvert_rates.h"
#include "culvert_topics.h"

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define SAMPLE_S 0.5
#define WATCH_S 2.0
#define WATCH_MIN_S 0.1
#define WATCH_MAX_S 3600
#define RECORDS_MAX 1000000

struct show {
	const struct cv_topic *topic;
	const char *control;
	const char *argument; /* a session's id, or a user whose sessions are asked for, or "" */
	enum cv_order order;
	size_t limit;	 /* records printed; 0 = all */
	bool json;
	double watch_s;	 /* 0 = once */
	unsigned repeat; /* --watch: so often, 0 = until a signal */
};

static volatile sig_atomic_t stopped;

static void stop(int number)
{
	(void)number;
	stopped = 1;
}

/* ---- one answer --------------------------------------------------------------------------- */

/* NULL, after saying why unless stopped, if the daemon did not give what was asked for. */
static struct json_object *ask(const struct show *show)
{
	const struct cv_topic *topic = show->topic;
	struct json_object *answer, *records;
	char command[CV_COMMAND_MAX];
	const char *error;

	(void)snprintf(command, sizeof(command), "%s%s%s", topic->name, *show->argument ? " " : "",
		       show->argument);
	answer = cv_ask(show->control, command);
	if (!answer)
		return NULL;
	error = json_object_get_string(cv_member(answer, "error"));
	records = cv_topic_records(topic, answer);
	if (error)
		fprintf(stderr, "culvert show: %s\n", error);
	else if (!cv_member(answer, topic->member))
		fprintf(stderr, "culvert show: the daemon is of another version\n");
	else if (!topic->columns && records && json_object_array_length(records) == 0)
		fprintf(stderr, "culvert show: no session is called %s\n", show->argument);
	else
		return answer;
	json_object_put(answer);
	return NULL;
}

/* Rates, order and limit; the answer then holds what is to be seen. */
static void prepare(const struct show *show, struct json_object *before, struct json_object *answer,
		    double seconds)
{
	struct json_object *records = cv_topic_records(show->topic, answer), *sorted;
	size_t count;

	if (!records || !show->topic->has_rates)
		return;
	cv_rates_add(before ? cv_topic_records(show->topic, before) : NULL, records, seconds);
	sorted = cv_records_sort(records, show->order);
	if (!sorted)
		return;
	count = json_object_array_length(sorted);
	if (show->json && show->limit && count > show->limit) {
		json_object_array_del_idx(sorted, show->limit, count - show->limit);
		json_object_object_add(answer, "left_out",
				       json_object_new_uint64(count - show->limit));
	}
	json_object_object_add(answer, show->topic->member, sorted);
}

/* ---- output ------------------------------------------------------------------------------- */

static void print_answer(FILE *out, const struct show *show, struct json_object *answer,
			 size_t limit)
{
	if (show->json)
		fprintf(out, "%s\n",
			json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PRETTY));
	else
		cv_topic_print(out, show->topic, answer, limit);
}

/* Over what is there, no more than fits. */
static void redraw(const struct show *show, struct json_object *answer, const struct winsize *size)
{
	size_t rows = size->ws_row > 4 ? size->ws_row : 24, fit = rows - 2, len = 0;
	size_t limit = show->limit && show->limit < fit ? show->limit : fit;
	char *text = NULL;
	FILE *memory = open_memstream(&text, &len);

	if (!memory)
		return;
	print_answer(memory, show, answer, limit);
	if (fclose(memory) == 0)
		cv_print_screen(stdout, text, rows, size->ws_col ? size->ws_col : 80);
	free(text);
}

static void print_look(const struct show *show, struct json_object *answer, bool is_first)
{
	struct winsize size = {0};

	if (show->watch_s > 0 && isatty(STDOUT_FILENO)) {
		(void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
		redraw(show, answer, &size);
	} else {
		if (!is_first && !show->json)
			putchar('\n');
		print_answer(stdout, show, answer, show->limit);
	}
	(void)fflush(stdout);
}

/* ---- looking ------------------------------------------------------------------------------ */

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

/* Asks, prints, and keeps the answer for the next rates. */
static int look(const struct show *show)
{
	bool has_rates = show->topic->has_rates;
	struct json_object *before = has_rates ? ask(show) : NULL;
	double then_s = now_s();
	bool good = !has_rates || before;
	unsigned count = 0;

	while (good && !stopped) {
		struct json_object *answer;
		double seconds;

		if (count > 0 || has_rates)
			pause_s(count > 0 ? show->watch_s : SAMPLE_S);
		answer = stopped ? NULL : ask(show);
		good = answer != NULL;
		if (answer) {
			seconds = now_s() - then_s;
			then_s += seconds;
			prepare(show, before, answer, seconds);
			print_look(show, answer, count == 0);
			good = !ferror(stdout);
		}
		json_object_put(before);
		before = answer;
		if (show->watch_s <= 0 || ++count == show->repeat)
			break;
	}
	json_object_put(before);
	if (count > 0 && isatty(STDOUT_FILENO))
		putchar('\n'); /* the shell's line comes below */
	return good || stopped ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- command line ------------------------------------------------------------------------- */

static int usage(void)
{
	fputs("usage: culvert show sessions | session ID | users | engines | sni | kernel | "
	      "workers | reasons\n"
	      "         [--user NAME] [--sort rate|bytes|age|idle] [--limit N]\n"
	      "         [--watch [SECONDS]] [--repeat N] [--control PATH] [--json]\n",
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

/* @ret_next: the word after a bare --watch, which may be its seconds. */
static bool take_option(struct show *show, int option, const char *next, const char **ret_next)
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
		show->argument = optarg;
		return *optarg != '\0';
	case 's':
		show->order = cv_order_find(optarg);
		return show->order != CV_ORDER_NONE;
	case 'l':
		if (!number_of(optarg, 0, RECORDS_MAX, &value))
			return false;
		show->limit = (size_t)value;
		return true;
	case 'w':
		if (optarg && !number_of(optarg, WATCH_MIN_S, WATCH_MAX_S, &value))
			return false;
		show->watch_s = value;
		*ret_next = optarg ? NULL : next;
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

/* TOPIC, and ID where there is one to say. */
static bool are_words(struct show *show, int count, char **words)
{
	show->topic = count > 0 ? cv_topic_find(words[0]) : NULL;
	if (!show->topic)
		return false;
	return count == (strcmp(words[0], "session") == 0 ? 2 : 1);
}

/* "--watch 5" as well as "--watch=5": @next, if it is a number and one word too many. */
static void take_seconds(struct show *show, int *count, char **words, const char *next)
{
	double value;
	int at = 0;

	while (at < *count && words[at] != next)
		at++;
	if (!next || at == *count || !number_of(next, WATCH_MIN_S, WATCH_MAX_S, &value))
		return;
	show->watch_s = value;
	for ((*count)--; at < *count; at++)
		words[at] = words[at + 1];
}

static bool take_words(struct show *show, int count, char **words, const char *next)
{
	if (!are_words(show, count, words)) {
		take_seconds(show, &count, words, next);
		if (!are_words(show, count, words))
			return false;
	}
	if (*show->argument && strcmp(words[0], "sessions") != 0)
		return false;
	if (count == 2)
		show->argument = words[1];
	return strlen(show->argument) < CV_COMMAND_MAX - 16 && !strpbrk(show->argument, "\r\n");
}

int cv_cmd_show(int argc, char **argv)
{
	static const struct option options[] = {
		{"control", required_argument, NULL, 'c'}, {"json", no_argument, NULL, 'j'},
		{"user", required_argument, NULL, 'u'},	   {"limit", required_argument, NULL, 'l'},
		{"watch", optional_argument, NULL, 'w'},   {"repeat", required_argument, NULL, 'r'},
		{"sort", required_argument, NULL, 's'},	   {NULL, 0, NULL, 0},
	};
	struct show show = {.control = CV_DEFAULT_CONTROL, .argument = ""};
	struct sigaction action = {.sa_handler = stop};
	const char *next = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (!take_option(&show, option, optind < argc ? argv[optind] : NULL, &next))
			return usage();
	if (!take_words(&show, argc - optind, argv + optind, next))
		return usage();
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	return look(&show);
}
