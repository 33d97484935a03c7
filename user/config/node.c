// SPDX-License-Identifier: MIT
/*
 * node.c - places in a configuration file, and what is said about them.
 */
#include "config/node.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FINDING_MAX 1024
#define PATH_MAX_BYTES 256
#define VALUE_SHOWN 60

/* ---- walking ------------------------------------------------------------------------------ */

struct cv_node cv_node_root(const struct cv_document *document)
{
	return (struct cv_node){
		.document = document, .key = "", .json = document->root, .is_present = true};
}

struct cv_node cv_node_member(const struct cv_node *object, const char *name)
{
	struct cv_node node = {.document = object->document, .parent = object, .key = name};

	if (!json_object_is_type(object->json, json_type_object))
		return node;
	json_object_object_foreach(object->json, key, value)
	{
		/* first letters tell most keys apart, whatever their case */
		if (((key[0] ^ name[0]) & ~0x20) != 0 || strcasecmp(key, name) != 0)
			continue;
		node.key = key;
		node.json = value;
		node.is_present = true;
		if (strcmp(key, name) == 0)
			break;
	}
	return node;
}

size_t cv_node_count(const struct cv_node *array)
{
	return json_object_is_type(array->json, json_type_array)
		       ? json_object_array_length(array->json)
		       : 0;
}

struct cv_node cv_node_element(const struct cv_node *array, size_t index)
{
	return (struct cv_node){
		.document = array->document,
		.parent = array,
		.index = index,
		.json = json_object_array_get_idx(array->json, index),
		.is_present = true,
	};
}

unsigned cv_node_line(const struct cv_node *node)
{
	for (; node; node = node->parent) {
		const uintptr_t line =
			node->json ? (uintptr_t)json_object_get_userdata(node->json) : 0;

		if (line)
			return (unsigned)line;
	}
	return 1;
}

bool cv_node_is_unset(const struct cv_node *node)
{
	if (!node->is_present)
		return true;
	switch (json_object_get_type(node->json)) {
	case json_type_null:
		return true;
	case json_type_boolean:
		return !json_object_get_boolean(node->json);
	case json_type_int:
		return json_object_get_int64(node->json) == 0;
	case json_type_string:
		return json_object_get_string_len(node->json) == 0;
	case json_type_array:
		return json_object_array_length(node->json) == 0;
	case json_type_object:
		return json_object_object_length(node->json) == 0;
	default:
		return false;
	}
}

const char *cv_node_text(const struct cv_node *node)
{
	const char *text;

	if (!json_object_is_type(node->json, json_type_string)) {
		cv_node_expected(node, "a string");
		return NULL;
	}
	text = json_object_get_string(node->json);
	if (strlen(text) != (size_t)json_object_get_string_len(node->json)) {
		cv_node_expected(node, "a string without NUL");
		return NULL;
	}
	return text;
}

static void each_part(const struct cv_node *node, const char *text,
		      void (*each)(const struct cv_node *node, const char *text, void *context),
		      void *context)
{
	char *copy = cv_load_strdup(cv_node_load(node), text);
	char *at = copy, *part;

	while ((part = strsep(&at, ",")))
		each(node, part, context);
	free(copy);
}

void cv_node_each_text(const struct cv_node *node,
		       void (*each)(const struct cv_node *node, const char *text, void *context),
		       void *context)
{
	const char *text;

	if (!node->json)
		return;
	if (json_object_is_type(node->json, json_type_string)) {
		text = cv_node_text(node);
		if (text && *text)
			each_part(node, text, each, context);
		return;
	}
	if (!json_object_is_type(node->json, json_type_array)) {
		cv_node_expected(node, "a list of strings");
		return;
	}
	for (size_t i = 0; i < cv_node_count(node); i++) {
		const struct cv_node element = cv_node_element(node, i);

		text = cv_node_text(&element);
		if (text)
			each(&element, text, context);
	}
}

/* ---- findings ----------------------------------------------------------------------------- */

static size_t path_put(const struct cv_node *node, char *path, size_t len)
{
	int put;

	if (!node->parent)
		return 0;
	len = path_put(node->parent, path, len);
	if (node->key)
		put = snprintf(path + len, PATH_MAX_BYTES - len, "%s%s", len ? "." : "", node->key);
	else
		put = snprintf(path + len, PATH_MAX_BYTES - len, "[%zu]", node->index);
	len += put > 0 ? (size_t)put : 0;
	return len < PATH_MAX_BYTES ? len : PATH_MAX_BYTES - 1;
}

/* What a terminal would obey rather than print becomes '?'. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

static void report(struct cv_load *load, bool is_error, char *text)
{
	load->error_count += is_error;
	make_printable(text);
	if (load->report->line)
		load->report->line(load->report->context, is_error, text);
}

__attribute__((format(printf, 3, 0))) static void finding(const struct cv_node *node, bool is_error,
							  const char *format, va_list list)
{
	char path[PATH_MAX_BYTES] = "", text[FINDING_MAX];
	int len;

	path_put(node, path, 0);
	len = snprintf(text, sizeof(text), "%s:%u: %s%s", node->document->file, cv_node_line(node),
		       path, path[0] ? ": " : "");
	if (len > 0 && (size_t)len < sizeof(text))
		vsnprintf(text + len, sizeof(text) - (size_t)len, format, list);
	report(cv_node_load(node), is_error, text);
}

void cv_node_error(const struct cv_node *node, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	finding(node, true, format, list);
	va_end(list);
}

void cv_node_warning(const struct cv_node *node, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	finding(node, false, format, list);
	va_end(list);
}

void cv_load_error(struct cv_load *load, const char *format, ...)
{
	char text[FINDING_MAX];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	report(load, true, text);
}

static void describe(const struct cv_node *node, bool is_secret, char *text, size_t size)
{
	static const char *const kinds[] = {
		[json_type_null] = "null",        [json_type_boolean] = "a boolean",
		[json_type_double] = "a number",  [json_type_int] = "a number",
		[json_type_object] = "an object", [json_type_array] = "a list",
		[json_type_string] = "a string",
	};
	const enum json_type type = json_object_get_type(node->json);

	if (!node->is_present)
		snprintf(text, size, "nothing");
	else if (type == json_type_string && is_secret)
		snprintf(text, size, "a string of %d bytes",
			 json_object_get_string_len(node->json));
	else if (type == json_type_string)
		snprintf(text, size, "\"%.*s\"%s", VALUE_SHOWN, json_object_get_string(node->json),
			 json_object_get_string_len(node->json) > VALUE_SHOWN ? "..." : "");
	else if (type == json_type_boolean || type == json_type_int || type == json_type_double)
		snprintf(text, size, "%.*s", VALUE_SHOWN, json_object_get_string(node->json));
	else
		snprintf(text, size, "%s", kinds[type]);
}

__attribute__((format(printf, 3, 0))) static void
expected(const struct cv_node *node, bool is_secret, const char *format, va_list list)
{
	char wanted[FINDING_MAX / 2], value[VALUE_SHOWN * 2];

	vsnprintf(wanted, sizeof(wanted), format, list);
	describe(node, is_secret, value, sizeof(value));
	cv_node_error(node, "expected %s, found %s", wanted, value);
}

void cv_node_expected(const struct cv_node *node, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	expected(node, false, format, list);
	va_end(list);
}

void cv_node_expected_secret(const struct cv_node *node, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	expected(node, true, format, list);
	va_end(list);
}

/* ---- memory ------------------------------------------------------------------------------- */

char *cv_load_strdup(struct cv_load *load, const char *text)
{
	char *copy = strdup(text);

	load->out_of_memory |= !copy;
	return copy;
}

void *cv_load_calloc(struct cv_load *load, size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);

	load->out_of_memory |= !memory;
	return memory;
}

void *cv_load_grow(struct cv_load *load, void *array, size_t count, size_t size)
{
	char *bigger = reallocarray(array, count + 1, size);

	if (bigger)
		memset(bigger + count * size, 0, size);
	load->out_of_memory |= !bigger;
	return bigger;
}
