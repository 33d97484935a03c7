// SPDX-License-Identifier: MIT
/*
 * edge.c - names in a sorted list: a look-up is one binary search for each label of the name.
 *
 *   a.b.example   "a.b.example", then "*.b.example", "*.example": the first that is there
 */
#include "policy/edge.h"

#include <culvert/reason.h>

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES (CV_CLASSIFY_NAME_BYTES - 1)

struct cv_edge *cv_edge_new(void)
{
	return calloc(1, sizeof(struct cv_edge));
}

struct cv_edge *cv_edge_free(struct cv_edge *edge)
{
	if (!edge)
		return NULL;
	for (size_t i = 0; i < edge->name_count; i++)
		free(edge->names[i].text);
	free(edge->names);
	free(edge->classes);
	free(edge);
	return NULL;
}

bool cv_edge_name_is_good(const char *text)
{
	const char *rest = strncmp(text, "*.", 2) == 0 ? text + 2 : text;
	const size_t len = strlen(text);

	if (!*rest || *rest == '.' || len > NAME_MAX_BYTES || text[len - 1] == '.')
		return false;
	for (; *rest; rest++)
		if ((unsigned char)*rest <= ' ' || *rest == '*' || *rest == 0x7f)
			return false;
	return true;
}

static void lower(char *text)
{
	for (; *text; text++)
		*text = (char)tolower((unsigned char)*text);
}

static int grow(struct cv_edge *edge)
{
	const size_t count = edge->name_count;
	struct cv_edge_name *names;

	if ((count & (count - 1)) != 0)
		return 0; /* room up to the next power of two */
	names = reallocarray(edge->names, count ? 2 * count : 1, sizeof(*names));
	if (!names)
		return CV_INTERNAL_MEMORY;
	edge->names = names;
	return 0;
}

static int add(struct cv_edge *edge, const char *text, uint32_t class, enum cv_sni_action action,
	       const struct cv_edge_place *place)
{
	char *copy = strdup(text);

	if (!copy || grow(edge) != 0) {
		free(copy);
		return CV_INTERNAL_MEMORY;
	}
	lower(copy);
	edge->names[edge->name_count++] = (struct cv_edge_name){copy, class, action, *place};
	edge->drops |= action == CV_SNI_DROP;
	return 0;
}

int cv_edge_add(struct cv_edge *edge, const char *text, uint32_t class, enum cv_sni_action action)
{
	const struct cv_edge_place place = {
		.kind = action == CV_SNI_DROP ? CV_EDGE_DROP : CV_EDGE_PASS};

	return add(edge, text, class, action, &place);
}

int cv_edge_add_place(struct cv_edge *edge, const char *text, uint32_t class,
		      const struct cv_edge_place *place)
{
	edge->leads |= place->kind == CV_EDGE_INBOUND || place->kind == CV_EDGE_BACKEND;
	return add(edge, text, class, place->kind == CV_EDGE_DROP ? CV_SNI_DROP : CV_SNI_PASS,
		   place);
}

static int compare(const void *left, const void *right)
{
	const struct cv_edge_name *a = left, *b = right;

	return strcmp(a->text, b->text);
}

static bool is_target(const struct cv_edge *edge, const struct cv_edge_name *name)
{
	return name->class == CV_SNI_CLASS_UNDECIDED ||
	       (name->class >= edge->first_target &&
		name->class - edge->first_target < edge->target_count);
}

/* Without memory for it user space takes the name each time. */
static void gather_classes(struct cv_edge *edge)
{
	free(edge->classes);
	edge->classes = calloc(CV_CLASSIFY_CLASSES, sizeof(*edge->classes));
	for (size_t i = 0; edge->classes && i < edge->name_count; i++) {
		const struct cv_edge_name *name = &edge->names[i];
		struct cv_edge_class *class;

		if (name->class >= CV_CLASSIFY_CLASSES || name->action == CV_SNI_DROP)
			continue;
		class = &edge->classes[name->class];
		class->is_mixed |=
			class->is_known && !cv_edge_place_equal(&class->place, &name->place);
		class->is_known = true;
		class->place = name->place;
	}
}

bool cv_edge_class_place(const struct cv_edge *edge, uint32_t class,
			 struct cv_edge_place *ret_place)
{
	if (!edge->classes || class >= CV_CLASSIFY_CLASSES || !edge->classes[class].is_known ||
	    edge->classes[class].is_mixed)
		return false;
	*ret_place = edge->classes[class].place;
	return true;
}

const char *cv_edge_seal(struct cv_edge *edge)
{
	size_t kept = 0;

	if (edge->name_count == 0)
		return NULL;
	qsort(edge->names, edge->name_count, sizeof(*edge->names), compare);
	for (size_t i = 1; i < edge->name_count; i++)
		if (compare(&edge->names[i - 1], &edge->names[i]) == 0 &&
		    !(is_target(edge, &edge->names[i - 1]) && is_target(edge, &edge->names[i])))
			return edge->names[i].text;
	for (size_t i = 1; i < edge->name_count; i++) {
		if (compare(&edge->names[kept], &edge->names[i]) != 0) {
			edge->names[++kept] = edge->names[i];
			continue;
		}
		if (edge->names[kept].class != edge->names[i].class)
			edge->names[kept].class = CV_SNI_CLASS_UNDECIDED;
		free(edge->names[i].text);
	}
	edge->name_count = kept + 1;
	gather_classes(edge);
	return NULL;
}

static const struct cv_edge_name *find(const struct cv_edge *edge, char *text)
{
	const struct cv_edge_name wanted = {.text = text};

	return bsearch(&wanted, edge->names, edge->name_count, sizeof(wanted), compare);
}

const struct cv_edge_name *cv_edge_match(const struct cv_edge *edge, const char *name)
{
	const size_t len = strlen(name);
	const struct cv_edge_name *found;
	char text[NAME_MAX_BYTES + 1];

	if (len > NAME_MAX_BYTES || edge->name_count == 0)
		return NULL;
	memcpy(text, name, len + 1);
	lower(text);
	found = find(edge, text);
	for (size_t dot = 1; dot < len && !found; dot++) {
		if (text[dot] != '.')
			continue;
		text[dot - 1] = '*'; /* a suffix needs something before it */
		found = find(edge, text + dot - 1);
	}
	return found;
}
