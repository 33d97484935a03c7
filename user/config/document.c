// SPDX-License-Identifier: MIT
/*
 * document.c - JSON with comments, and on which line each value stands.
 *
 *   text --blank comments--> text of the same length --json-c--> tree
 *                                  '--scan along the tree--> line number as each value's userdata
 *
 * json-c forgets positions; the scan walks text and tree side by side. It trusts the syntax, which
 * json-c has checked before.
 */
#include "config/json_text.h"
#include "config/node.h"

#include "base/reason.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX_BYTES (16u << 20)
#define DEPTH_MAX 32
#define ROOM_PER_BYTE 8 /* of a text, in objects */
#define ROOM_BYTES 65536

/* ---- reading ------------------------------------------------------------------------------ */

static struct {
	void (*seen)(void *context, const char *path, int error);
	void *context;
} watcher;

void cv_document_watch(void (*seen)(void *context, const char *path, int error), void *context)
{
	watcher.seen = seen;
	watcher.context = context;
}

void cv_document_seen(const char *path, int error)
{
	if (watcher.seen)
		watcher.seen(watcher.context, path, error);
}

static int read_all(int fd, char *text, size_t size, size_t *ret_len)
{
	size_t len = 0;

	while (len < size) {
		const ssize_t got = read(fd, text + len, size - len);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		len += (size_t)got;
	}
	*ret_len = len;
	return 0;
}

int cv_document_read_file(const char *path, char **ret_text, size_t *ret_len)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = NULL;
	struct stat status;
	size_t size, len = 0;
	int error = fd < 0 ? -errno : 0;

	cv_document_seen(path, error);
	if (error)
		return error;
	error = fstat(fd, &status) < 0 ? -errno : 0;
	if (!error && S_ISDIR(status.st_mode))
		error = -EISDIR;
	/* a pipe or /dev/stdin tells no size */
	size = error || !S_ISREG(status.st_mode) ? FILE_MAX_BYTES : (size_t)status.st_size;
	if (!error && size > FILE_MAX_BYTES)
		error = -EFBIG;
	if (!error && !(text = malloc(size + 1)))
		error = -ENOMEM;
	if (!error)
		error = read_all(fd, text, size, &len);
	(void)close(fd);
	if (error) {
		free(text);
		return error;
	}
	text[len] = '\0';
	*ret_text = text;
	*ret_len = len;
	return 0;
}

/* ---- comments ----------------------------------------------------------------------------- */

static size_t skip_string(const char *text, size_t len, size_t at)
{
	for (at++; at < len && text[at] != '"'; at++)
		if (text[at] == '\\')
			at++;
	return at < len ? at + 1 : len;
}

static size_t blank_line(char *text, size_t len, size_t at)
{
	while (at < len && text[at] != '\n')
		text[at++] = ' ';
	return at;
}

/* Newlines stay, so that lines keep their numbers. */
static size_t blank_block(char *text, size_t len, size_t at)
{
	const char *end = memmem(text + at + 2, len - at - 2, "*/", 2);
	const size_t stop = end ? (size_t)(end - text) + 2 : len;

	if (!end)
		return len + 1;
	for (; at < stop; at++)
		if (text[at] != '\n')
			text[at] = ' ';
	return at;
}

/* Returns the offset of a comment without end, or SIZE_MAX. */
static size_t blank_comments(char *text, size_t len)
{
	size_t at = 0;

	while (at < len) {
		const size_t start = at;

		if (text[at] == '"')
			at = skip_string(text, len, at);
		else if (text[at] == '#' ||
			 (text[at] == '/' && at + 1 < len && text[at + 1] == '/'))
			at = blank_line(text, len, at);
		else if (text[at] == '/' && at + 1 < len && text[at + 1] == '*')
			at = blank_block(text, len, at);
		else
			at++;
		if (at > len)
			return start;
	}
	return SIZE_MAX;
}

/* ---- lines -------------------------------------------------------------------------------- */

struct scan {
	const struct cv_document *document;
	const char *at, *end;
	unsigned line;
};

static void set_line(struct json_object *json, unsigned line)
{
	/* a number keeps its text where we want the line; its usual way to print itself is as good
	 */
	if (json_object_is_type(json, json_type_double))
		json_object_set_serializer(json, NULL, NULL, NULL);
	json_object_set_userdata(json, (void *)(uintptr_t)line, NULL);
}

static void scan_space(struct scan *scan)
{
	for (; scan->at < scan->end && strchr(" \t\r\n", *scan->at); scan->at++)
		scan->line += *scan->at == '\n';
}

static void scan_string(struct scan *scan)
{
	const size_t left = (size_t)(scan->end - scan->at);

	scan->at += skip_string(scan->at, left, 0);
}

static void scan_value(struct scan *scan, struct json_object *json);

static void warn_twice(const struct scan *scan, const char *key)
{
	char text[512];

	snprintf(text, sizeof(text), "%s:%u: %.64s: given twice, the last one counts",
		 scan->document->file, scan->line, key);
	if (scan->document->load->report->line)
		scan->document->load->report->line(scan->document->load->report->context, false,
						   text);
}

/* The key that stands at @start in the text is the next one of the object, as nearly always. */
static bool is_next(const struct json_object_iterator *at, const struct json_object_iterator *end,
		    const char *start, size_t len)
{
	const char *name;

	if (json_object_iter_equal(at, end) || len < 2 || memchr(start, '\\', len))
		return false;
	name = json_object_iter_peek_name(at);
	return strlen(name) == len - 2 && memcmp(name, start + 1, len - 2) == 0;
}

/* Any key: one that has been there before, or that has to be decoded. */
static struct json_object *find_member(const struct scan *scan, struct json_object *object,
				       const char *start, size_t len)
{
	char *raw = strndup(start, len);
	struct json_object *name = raw ? json_tokener_parse(raw) : NULL, *value = NULL;

	if (name)
		value = json_object_object_get(object, json_object_get_string(name));
	if (value && json_object_get_userdata(value))
		warn_twice(scan, json_object_get_string(name));
	json_object_put(name);
	free(raw);
	return value;
}

/* @at: the members of @object that have not been met; both NULL if it is no object. */
static void scan_member(struct scan *scan, struct json_object *object,
			struct json_object_iterator *at)
{
	const char *start = scan->at;
	struct json_object *value = NULL;
	struct json_object_iterator end;

	scan_string(scan);
	if (object) {
		end = json_object_iter_end(object);
		if (is_next(at, &end, start, (size_t)(scan->at - start))) {
			value = json_object_iter_peek_value(at);
			json_object_iter_next(at);
		} else {
			value = find_member(scan, object, start, (size_t)(scan->at - start));
		}
	}
	if (value)
		set_line(value, scan->line);
	scan_space(scan);
	scan->at += scan->at < scan->end && *scan->at == ':';
	scan_value(scan, value);
}

static void scan_container(struct scan *scan, struct json_object *json, bool is_object)
{
	struct json_object *object = json_object_is_type(json, json_type_object) ? json : NULL;
	struct json_object_iterator members = json_object_iter_init_default();
	size_t index = 0;

	if (object)
		members = json_object_iter_begin(object);
	for (scan->at++; scan->at < scan->end;) {
		struct json_object *element = NULL;

		scan_space(scan);
		if (scan->at < scan->end && (*scan->at == '}' || *scan->at == ']')) {
			scan->at++;
			return;
		}
		if (scan->at < scan->end && *scan->at == ',') {
			scan->at++;
			continue;
		}
		if (is_object) {
			scan_member(scan, object, &members);
			continue;
		}
		if (json_object_is_type(json, json_type_array))
			element = json_object_array_get_idx(json, index++);
		if (element)
			set_line(element, scan->line);
		scan_value(scan, element);
	}
}

static void scan_value(struct scan *scan, struct json_object *json)
{
	scan_space(scan);
	if (scan->at >= scan->end)
		return;
	if (*scan->at == '{' || *scan->at == '[')
		scan_container(scan, json, *scan->at == '{');
	else if (*scan->at == '"')
		scan_string(scan);
	else
		do
			scan->at++;
		while (scan->at < scan->end && !strchr(",]} \t\r\n", *scan->at));
}

/* ---- the document ------------------------------------------------------------------------- */

static unsigned line_of(const char *text, size_t offset)
{
	unsigned line = 1;

	for (size_t i = 0; i < offset; i++)
		line += text[i] == '\n';
	return line;
}

static void syntax_error(struct cv_load *load, const char *file, unsigned line, const char *what)
{
	cv_load_error(load, "%s:%u: %s", file, line, what);
}

/* json-c cannot always tell whether memory or the text was to blame, and some versions trip over
 * themselves without memory: so there has to be plenty beforehand. */
static bool has_room(size_t len)
{
	void *room = malloc(len * ROOM_PER_BYTE + ROOM_BYTES);

	free(room);
	return room;
}

/* @text, in ASCII, and what it says. */
static struct json_object *parse_ascii(struct cv_load *load, const char *file, const char *text,
				       size_t len)
{
	struct json_tokener *tokener = has_room(len) ? json_tokener_new_ex(DEPTH_MAX) : NULL;
	struct json_object *root;
	enum json_tokener_error error;
	size_t end;

	if (!tokener) {
		load->out_of_memory = true;
		return NULL;
	}
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	/* with the terminating NUL, which tells it that nothing follows */
	root = json_tokener_parse_ex(tokener, text, (int)len + 1);
	error = json_tokener_get_error(tokener);
	end = json_tokener_get_parse_end(tokener);
	json_tokener_free(tokener);
	if (end > len)
		end = len;
	if (error == json_tokener_success && !root && !strstr(text, "null"))
		load->out_of_memory = true;
	else if (error == json_tokener_continue || (!root && end == len))
		syntax_error(load, file, line_of(text, len), "the file ends inside a value");
	else if (error != json_tokener_success)
		syntax_error(load, file, line_of(text, end), json_tokener_error_desc(error));
	else if (!json_object_is_type(root, json_type_object))
		syntax_error(load, file, 1, "expected an object");
	else
		return root;
	json_object_put(root);
	return NULL;
}

static struct json_object *parse(struct cv_load *load, const char *file, const char *text,
				 size_t len)
{
	const size_t valid = cv_utf8_valid_bytes(text, len);
	struct json_object *root;
	char *ascii;

	if (valid < len) {
		syntax_error(load, file, line_of(text, valid), "invalid UTF-8");
		return NULL;
	}
	ascii = cv_json_ascii(text, len, &len);
	if (!ascii) {
		load->out_of_memory = true;
		return NULL;
	}
	root = parse_ascii(load, file, ascii, len);
	free(ascii);
	return root;
}

int cv_document_open(struct cv_load *load, const char *file, const char *text, size_t len,
		     struct cv_document *ret_document)
{
	struct cv_document document = {.load = load, .file = file};
	const size_t errors_before = load->error_count;
	size_t bad;
	char *copy;

	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		text += 3;
		len -= 3;
	}
	copy = len <= FILE_MAX_BYTES ? malloc(len + 1) : NULL;
	if (!copy) {
		load->out_of_memory = true;
		return CV_INTERNAL_CONFIG;
	}
	memcpy(copy, text, len);
	copy[len] = '\0';
	bad = blank_comments(copy, len);
	if (bad != SIZE_MAX)
		syntax_error(load, file, line_of(copy, bad), "this comment has no end");
	else if (memchr(copy, '\0', len))
		syntax_error(load, file, line_of(copy, strlen(copy)), "NUL byte");
	else
		document.root = parse(load, file, copy, len);
	if (document.root) {
		struct scan scan = {
			.document = &document, .at = copy, .end = copy + len, .line = 1};

		scan_value(&scan, document.root);
		*ret_document = document;
	}
	free(copy);
	return document.root && load->error_count == errors_before ? 0 : CV_INTERNAL_CONFIG;
}

void cv_document_close(struct cv_document *document)
{
	json_object_put(document->root);
	document->root = NULL;
}
