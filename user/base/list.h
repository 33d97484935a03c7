/* SPDX-License-Identifier: MIT */
/*
 * list.h - a doubly linked list through its members: adding and taking out cost the same for all.
 *
 * A head and a member are the same struct. One that is zeroed stands in no list.
 */
#ifndef CV_BASE_LIST_H
#define CV_BASE_LIST_H

#include "base/container.h"

#include <stdbool.h>

struct cv_list {
	struct cv_list *next, *previous;
};

static inline void cv_list_init(struct cv_list *head)
{
	head->next = head->previous = head;
}

static inline bool cv_list_is_in(const struct cv_list *member)
{
	return member->next;
}

static inline bool cv_list_is_empty(const struct cv_list *head)
{
	return head->next == head;
}

/** cv_list_add() - At the end, unless @member stands in a list already. */
static inline void cv_list_add(struct cv_list *head, struct cv_list *member)
{
	if (member->next)
		return;
	member->next = head;
	member->previous = head->previous;
	head->previous->next = member;
	head->previous = member;
}

/** cv_list_remove() - No-op if it stands in none. */
static inline void cv_list_remove(struct cv_list *member)
{
	if (!member->next)
		return;
	member->next->previous = member->previous;
	member->previous->next = member->next;
	member->next = member->previous = NULL;
}

/** cv_list_first() - The @type that the first member is the @member of; NULL: there is none. */
#define cv_list_first(head, type, member) \
	(cv_list_is_empty(head) ? NULL : cv_container_of((head)->next, type, member))

#endif
