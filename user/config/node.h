/* SPDX-License-Identifier: MIT */
/*
 * node.h - a place in a configuration file: its JSON value, its path, its line; findings about it.
 *
 * Nodes live on the stack of the function that looks at the value; a child points at its parent, so
 * that the path can be told. Values are borrowed from the document.
 */
#ifndef CV_CONFIG_NODE_H
#define CV_CONFIG_NODE_H

#include "config/config_load.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

struct cv_load;

struct cv_document {
	struct cv_load *load;
	const char *file; /* for findings */
	struct json_object *root;
};

/* One run of the loader. */
struct cv_load {
	const struct cv_config_report *report;
	size_t error_count;
	bool out_of_memory;
	struct cv_config *config; /* being filled */
	struct cv_geo_file *geo_files; /* load_geo.c */
	struct cv_usage_table *usages; /* of the configuration before this one, or NULL */
	const char *directory;    /* of the main file, for relative paths; "" = as they are */
	bool system_trust_tried;
	struct cv_trust_store *system_trust; /* owned by config */
	struct cv_document users;	     /* users.json, once for all inbounds; if users_path */
	char *users_path;
	struct cv_read_user *read_users; /* load_users.c, of this list of users */
	const struct json_object *read_users_of;
};

struct cv_node {
	const struct cv_document *document;
	const struct cv_node *parent; /* NULL: the document itself */
	const char *key;              /* NULL: an element of an array */
	size_t index;
	struct json_object *json; /* NULL: null, or not present */
	bool is_present;
};

/**
 * cv_document_open() - Parse @text (JSON with //, # and block comments).
 * @ret_document: close with cv_document_close()
 * Returns: 0; CV_INTERNAL_CONFIG after reporting why not.
 */
int cv_document_open(struct cv_load *load, const char *file, const char *text, size_t len,
		     struct cv_document *ret_document);
void cv_document_close(struct cv_document *document);
/** cv_document_read_file() - Whole file, NUL terminated; caller frees. 0 or -errno (-EFBIG above
 * 16 MiB). */
int cv_document_read_file(const char *path, char **ret_text, size_t *ret_len);
/** cv_document_watch() - From now on @seen hears of each file that a configuration names and that
 * was read (@error 0) or could not be, and of each unix socket. NULL: of none. One thread. */
void cv_document_watch(void (*seen)(void *context, const char *path, int error), void *context);
/** cv_document_seen() - @path was read elsewhere, or is a socket. */
void cv_document_seen(const char *path, int error);

/** cv_node_root() - The document as a node. */
struct cv_node cv_node_root(const struct cv_document *document);
/** cv_node_member() - By name, case ignored; is_present tells whether it is there. */
struct cv_node cv_node_member(const struct cv_node *object, const char *name);
/** cv_node_element() - @index below cv_node_count(). */
struct cv_node cv_node_element(const struct cv_node *array, size_t index);
/** cv_node_count() - Elements of an array, 0 for anything else. */
size_t cv_node_count(const struct cv_node *array);
unsigned cv_node_line(const struct cv_node *node);
/** cv_node_is_unset() - Absent, null, false, 0, "", [] or {}. */
bool cv_node_is_unset(const struct cv_node *node);
/** cv_node_text() - The string, or NULL (reported) if it is none or holds a NUL. */
const char *cv_node_text(const struct cv_node *node);
/** cv_node_each_text() - For each string of an array, or of one string split at ",". Anything else
 * is reported. @node with is_present false: nothing. */
void cv_node_each_text(const struct cv_node *node,
		       void (*each)(const struct cv_node *node, const char *text, void *context),
		       void *context);

/* Findings: "file:line: path: text". An error makes the whole configuration fail. */
void cv_node_error(const struct cv_node *node, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void cv_node_warning(const struct cv_node *node, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/** cv_node_expected() - Error "expected FORMAT, found VALUE". */
void cv_node_expected(const struct cv_node *node, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/** cv_node_expected_secret() - Likewise, and the value is not shown. */
void cv_node_expected_secret(const struct cv_node *node, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/** cv_load_error() - About no place in a file. */
void cv_load_error(struct cv_load *load, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static inline struct cv_load *cv_node_load(const struct cv_node *node)
{
	return node->document->load;
}

/* Memory for the configuration; a failure is remembered in @load and makes it fail. */
char *cv_load_strdup(struct cv_load *load, const char *text);
void *cv_load_calloc(struct cv_load *load, size_t count, size_t size);
/** cv_load_grow() - Room for one more zeroed element behind @count; NULL (remembered) on failure.
 */
void *cv_load_grow(struct cv_load *load, void *array, size_t count, size_t size);

#endif
