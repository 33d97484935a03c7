// SPDX-License-Identifier: MIT
/*
 * schema.c - one object against its table of fields.
 */
#include "config/schema.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static void *member(const struct cv_field *field, void *target)
{
	return (char *)target + field->offset;
}

static uint64_t field_max(const struct cv_field *field)
{
	if (field->max)
		return field->max;
	return field->type == CV_FIELD_U32 ? UINT32_MAX : UINT64_MAX;
}

/* ---- defaults ----------------------------------------------------------------------------- */

static int word_default(const struct cv_field *field)
{
	for (const struct cv_word *word = field->words; word->text; word++)
		if (field->text && strcasecmp(word->text, field->text) == 0)
			return word->value;
	return field->words->value;
}

static void set_default(const struct cv_field *field, const struct cv_node *node, void *target)
{
	switch (field->type) {
	case CV_FIELD_BOOL:
		*(bool *)member(field, target) = field->number != 0;
		break;
	case CV_FIELD_U32:
		*(uint32_t *)member(field, target) = (uint32_t)field->number;
		break;
	case CV_FIELD_U64:
		*(uint64_t *)member(field, target) = field->number;
		break;
	case CV_FIELD_TEXT:
		*(const char **)member(field, target) = field->text ? field->text : "";
		break;
	case CV_FIELD_WORD:
		*(int *)member(field, target) = word_default(field);
		break;
	case CV_FIELD_OBJECT:
	case CV_FIELD_ARRAY:
	case CV_FIELD_ANY:
		*(struct cv_node *)member(field, target) = (struct cv_node){
			.document = node->document, .parent = node, .key = field->name};
		break;
	default:
		break;
	}
}

/* ---- values ------------------------------------------------------------------------------- */

static void expected_number(const struct cv_field *field, const struct cv_node *value)
{
	const char *unit = field->unit ? field->unit : "";
	const char *of = field->unit ? "of " : "";
	const uint64_t max = field_max(field);

	if (max >= UINT32_MAX)
		cv_node_expected(value, "a number %s%s%sfrom %ju", of, unit, *unit ? " " : "",
				 (uintmax_t)field->min);
	else
		cv_node_expected(value, "a number %s%s%sfrom %ju to %ju", of, unit,
				 *unit ? " " : "", (uintmax_t)field->min, (uintmax_t)max);
}

static void read_number(const struct cv_field *field, const struct cv_node *value, void *target)
{
	uint64_t number;

	if (!json_object_is_type(value->json, json_type_int) ||
	    (json_object_get_int64(value->json) < 0)) {
		expected_number(field, value);
		return;
	}
	number = json_object_get_uint64(value->json);
	if (number < field->min || number > field_max(field))
		expected_number(field, value);
	else if (field->type == CV_FIELD_U32)
		*(uint32_t *)member(field, target) = (uint32_t)number;
	else
		*(uint64_t *)member(field, target) = number;
}

static void list_words(const struct cv_word *words, char *text, size_t size)
{
	size_t len = 0;

	for (; words->text && len < size; words++) {
		if (words->value == CV_WORD_UNSUPPORTED)
			continue;
		len += (size_t)snprintf(text + len, size - len, "%s%s", len ? ", " : "",
					words->text[0] ? words->text : "\"\"");
	}
}

bool cv_schema_word(const struct cv_word *words, const struct cv_node *node, const char *text,
		    int *ret_value)
{
	char list[256] = "";

	for (const struct cv_word *word = words; word->text; word++) {
		if (strcasecmp(word->text, text) != 0)
			continue;
		if (word->value == CV_WORD_UNSUPPORTED) {
			cv_node_error(node, "\"%s\" is " CV_NOT_SUPPORTED, word->text);
			return false;
		}
		*ret_value = word->value;
		return true;
	}
	list_words(words, list, sizeof(list));
	cv_node_expected(node, "one of %s", list);
	return false;
}

bool cv_schema_has_word(const struct cv_word *words, const struct cv_node *node)
{
	if (!json_object_is_type(node->json, json_type_string))
		return false;
	for (; words->text; words++)
		if (strcasecmp(words->text, json_object_get_string(node->json)) == 0)
			return words->value != CV_WORD_UNSUPPORTED;
	return false;
}

static void read_text(const struct cv_field *field, const struct cv_node *value, void *target)
{
	const char *text;

	if (field->is_secret && !json_object_is_type(value->json, json_type_string)) {
		cv_node_expected_secret(value, "a string");
		return;
	}
	text = cv_node_text(value);
	if (text && field->type == CV_FIELD_WORD)
		(void)cv_schema_word(field->words, value, text, member(field, target));
	else if (text)
		*(const char **)member(field, target) = text;
}

static void read_container(const struct cv_field *field, const struct cv_node *value, void *target)
{
	if (field->type == CV_FIELD_OBJECT && !json_object_is_type(value->json, json_type_object))
		cv_node_expected(value, "an object");
	else if (field->type == CV_FIELD_ARRAY &&
		 !json_object_is_type(value->json, json_type_array))
		cv_node_expected(value, "a list");
	else
		*(struct cv_node *)member(field, target) = *value;
}

static bool is_harmless(const struct cv_field *field, const struct cv_node *value)
{
	return cv_node_is_unset(value) ||
	       (field->text && json_object_is_type(value->json, json_type_string) &&
		strcasecmp(json_object_get_string(value->json), field->text) == 0);
}

static void read_unsupported(const struct cv_field *field, const struct cv_node *value)
{
	const char *why = field->why ? field->why : "";

	if (is_harmless(field, value))
		return;
	if (field->type == CV_FIELD_REFUSED)
		cv_node_error(value, CV_NOT_SUPPORTED "%s%s", *why ? ": " : "", why);
	else
		cv_node_warning(value, CV_NOT_SUPPORTED ", ignored%s%s", *why ? ": " : "", why);
}

static void read_value(const struct cv_field *field, const struct cv_node *value, void *target)
{
	switch (field->type) {
	case CV_FIELD_BOOL:
		if (json_object_is_type(value->json, json_type_boolean))
			*(bool *)member(field, target) = json_object_get_boolean(value->json);
		else
			cv_node_expected(value, "true or false");
		break;
	case CV_FIELD_U32:
	case CV_FIELD_U64:
		read_number(field, value, target);
		break;
	case CV_FIELD_TEXT:
	case CV_FIELD_WORD:
		read_text(field, value, target);
		break;
	case CV_FIELD_OBJECT:
	case CV_FIELD_ARRAY:
	case CV_FIELD_ANY:
		read_container(field, value, target);
		break;
	case CV_FIELD_WARNED:
	case CV_FIELD_REFUSED:
		read_unsupported(field, value);
		break;
	default:
		break;
	}
}

/* ---- the object --------------------------------------------------------------------------- */

static bool is_known(const struct cv_field *fields, const char *key)
{
	for (; fields->type != CV_FIELD_END; fields++)
		if (strcasecmp(fields->name, key) == 0 ||
		    (fields->alias && strcasecmp(fields->alias, key) == 0))
			return true;
	return false;
}

static void warn_unknown(const struct cv_field *fields, const struct cv_node *node)
{
	json_object_object_foreach(node->json, key, value)
	{
		const struct cv_node unknown = {.document = node->document,
						.parent = node,
						.key = key,
						.json = value,
						.is_present = true};

		if (!is_known(fields, key))
			cv_node_warning(&unknown, "unknown key, ignored");
	}
}

/* Two names of one key that say different things: one of them is not heard. */
static void warn_both(const struct cv_field *field, const struct cv_node *node,
		      const struct cv_node *value)
{
	const struct cv_node other = cv_node_member(node, field->alias);

	if (other.json && value->json && !json_object_equal(other.json, value->json))
		cv_node_warning(&other, "ignored: \"%s\" is given too", value->key);
}

/* Called by its current name, not by its alias. */
static void required(const struct cv_field *field, const struct cv_node *node)
{
	const struct cv_node missing = cv_node_member(node, field->name);

	cv_node_error(&missing, "required, but missing");
}

void cv_schema_read(const struct cv_field *fields, const struct cv_node *node, void *target)
{
	const bool is_object = json_object_is_type(node->json, json_type_object);
	const struct cv_field *field = fields;

	if (node->json && !is_object)
		cv_node_expected(node, "an object");
	for (; field->type != CV_FIELD_END; field++) {
		struct cv_node value = cv_node_member(node, field->name);

		set_default(field, node, target);
		if (field->alias)
			warn_both(field, node, &value);
		if (!value.json && field->alias)
			value = cv_node_member(node, field->alias);
		if (value.json)
			read_value(field, &value, target);
		else if (field->is_required && (is_object || !node->json))
			required(field, node);
	}
	if (is_object && !field->name)
		warn_unknown(fields, node);
}
