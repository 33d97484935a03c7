/* SPDX-License-Identifier: MIT */
#ifndef CV_BASE_CONTAINER_H
#define CV_BASE_CONTAINER_H

#include <stddef.h>

/** cv_container_of() - The struct of @type whose @member is at @pointer. */
#define cv_container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

#endif
