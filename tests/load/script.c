// SPDX-License-Identifier: MIT
/*
 * script.c - reads what a connection is to do: words separated by commas, values behind colons.
 */
#include "load/hostile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum value { NONE, HEX, HEX_PERIOD, LINES, LINES_PERIOD, NUMBER };

static const struct word {
	const char *name;
	enum verb verb;
	enum value value;
} words[] = {
	{"send", SEND, HEX},	      {"sendline", SEND, LINES},
	{"drip", DRIP, HEX_PERIOD},   {"dripline", DRIP, LINES_PERIOD},
	{"flood", FLOOD, HEX},	      {"expect", EXPECT, HEX},
	{"read", READ, NUMBER},	      {"ask", ASK, NUMBER},
	{"slow", SLOW, NUMBER},	      {"final", FINAL, NUMBER},
	{"cut", CUT, NUMBER},	      {"half", HALF, NUMBER},
	{"give", GIVE, NUMBER},	      {"wait", WAIT, NUMBER},
	{"meet", MEET, NONE},	      {"end", END, NONE},
	{"silent", SILENT, NONE},     {"close", CLOSE, NONE},
	{"reset", RESET, NONE},
};

static int digit(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

static bool parse_hex(const char *text, struct bytes *ret)
{
	const size_t len = strlen(text) / 2;

	ret->data = malloc(len ? len : 1);
	ret->len = len;
	if (!ret->data || strlen(text) % 2)
		return false;
	for (size_t i = 0; i < len; i++) {
		const int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		ret->data[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static bool add_line(struct step *step, const char *text)
{
	struct bytes *more = reallocarray(step->lines, step->line_count + 1, sizeof(*more));

	if (!more)
		return false;
	step->lines = more;
	return parse_hex(text, &step->lines[step->line_count++]);
}

/* Each connection has a line of its own, e.g. a hello that is not a copy of another's. */
static bool read_lines(struct step *step, const char *path)
{
	FILE *file = fopen(path, "r");
	char *line = NULL;
	size_t room = 0;
	bool good = file != NULL;

	while (good && getline(&line, &room, file) > 0) {
		line[strcspn(line, "\n")] = '\0';
		good = add_line(step, line);
	}
	free(line);
	if (file)
		(void)fclose(file);
	return good && step->line_count > 0;
}

static bool parse_value(struct step *step, enum value value, const char *text, const char *period)
{
	if (value == NUMBER)
		step->number = (uint32_t)strtoul(text, NULL, 10);
	if (value == HEX_PERIOD || value == LINES_PERIOD)
		step->period_ms = (uint32_t)strtoul(period, NULL, 10);
	if (value == HEX || value == HEX_PERIOD)
		return add_line(step, text);
	if (value == LINES || value == LINES_PERIOD)
		return read_lines(step, text);
	return true;
}

static bool parse_step(char *text, struct step *step)
{
	char *rest = NULL, *name = strtok_r(text, ":", &rest);
	char *value = strtok_r(NULL, ":", &rest), *period = strtok_r(NULL, ":", &rest);

	for (size_t i = 0; name && i < sizeof(words) / sizeof(words[0]); i++) {
		const struct word *word = &words[i];
		const bool is_timed = word->value == HEX_PERIOD || word->value == LINES_PERIOD;

		if (strcmp(word->name, name) != 0)
			continue;
		if ((word->value != NONE) != (value != NULL) || is_timed != (period != NULL))
			return false;
		step->verb = word->verb;
		return parse_value(step, word->value, value, period);
	}
	return false;
}

const char *script_parse(char *text, struct script *ret_script)
{
	char *rest = NULL, *next = strtok_r(text, ",", &rest);

	for (; next; next = strtok_r(NULL, ",", &rest)) {
		if (ret_script->count == HOSTILE_STEPS)
			return "too many steps";
		if (!parse_step(next, &ret_script->steps[ret_script->count++]))
			return "a step that nobody knows, or with a wrong value";
	}
	return ret_script->count ? NULL : "no step";
}

void script_done(struct script *script)
{
	for (size_t i = 0; i < script->count; i++) {
		for (size_t k = 0; k < script->steps[i].line_count; k++)
			free(script->steps[i].lines[k].data);
		free(script->steps[i].lines);
	}
}
