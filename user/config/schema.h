/* SPDX-License-Identifier: MIT */
/*
 * schema.h - the keys of one kind of configuration object, as data.
 *
 * A table of fields says what each key is called, what it may hold, what it is when absent and
 * where its value goes; cv_schema_read() does the rest: key names without regard to case, aliases,
 * ranges, unknown keys, and what this version of culvert does not do.
 */
#ifndef CV_CONFIG_SCHEMA_H
#define CV_CONFIG_SCHEMA_H

#include "config/node.h"

#include <limits.h>

enum cv_field_type {                   /* member of the target */
		     CV_FIELD_END,     /* of the table; with a name: unknown keys are fine */
		     CV_FIELD_BOOL,    /* bool */
		     CV_FIELD_U32,     /* uint32_t, min..max */
		     CV_FIELD_U64,     /* uint64_t, min..max */
		     CV_FIELD_TEXT,    /* const char *, borrowed from the document */
		     CV_FIELD_WORD,    /* int, one of words */
		     CV_FIELD_OBJECT,  /* struct cv_node; null counts as absent */
		     CV_FIELD_ARRAY,   /* struct cv_node; null counts as absent */
		     CV_FIELD_ANY,     /* struct cv_node */
		     CV_FIELD_IGNORED, /* known, means nothing to us, nothing to say */
		     CV_FIELD_WARNED,  /* not supported, harmless: warning unless unset or the
					  default */
		     CV_FIELD_REFUSED, /* not supported, and ignoring it would matter: error
					  likewise */
};

#define CV_WORD_UNSUPPORTED INT_MIN /* a word that is known, but not to this version */

struct cv_word {
	const char *text; /* NULL ends the list */
	int value;
};

struct cv_field {
	const char *name;
	const char *alias; /* an older or newer name; @name wins if both are given */
	enum cv_field_type type;
	bool is_required, is_secret;
	size_t offset;
	uint64_t min, max; /* numbers; max 0 = of the type */
	uint64_t number;   /* default of numbers and booleans */
	const char *text;  /* default of texts and words; what is not supported: harmless value */
	const char *unit;  /* for messages: "seconds" */
	const struct cv_word *words;
	const char *why; /* what is not supported: more about it, or NULL */
};

#define CV_FIELD(type_, member_) .offset = offsetof(type_, member_)

/**
 * cv_schema_read() - Read @node (an object; absent or null: all defaults) into @target.
 * Every field is set, to its default after an error. Findings are reported.
 */
void cv_schema_read(const struct cv_field *fields, const struct cv_node *node, void *target);

/** cv_schema_word() - @text as one of @words, case ignored; errors are reported about @node.
 * Returns false after an error. */
bool cv_schema_word(const struct cv_word *words, const struct cv_node *node, const char *text,
		    int *ret_value);

/** cv_schema_has_word() - Is @node one of @words that are supported? Reports nothing. */
bool cv_schema_has_word(const struct cv_word *words, const struct cv_node *node);

#define CV_NOT_SUPPORTED "not supported by this version of culvert"

#endif
