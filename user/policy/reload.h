/* SPDX-License-Identifier: MIT */
/*
 * reload.h - from one configuration to the next in a process that goes on.
 */
#ifndef CV_POLICY_RELOAD_H
#define CV_POLICY_RELOAD_H

#include "policy/config.h"

#define CV_RELOAD_TEXT 512

/**
 * cv_reload_obstacle() - What @next changes that a running process cannot: addresses, names that
 * the kernel reads in hellos, the object "culvert".
 * Returns 0, or CV_POLICY_NEEDS_RESTART with @ret_text saying which key it is.
 */
int cv_reload_obstacle(const struct cv_config *now, const struct cv_config *next,
		       char ret_text[CV_RELOAD_TEXT]);
/** cv_reload_successor() - The inbound in @next with the addresses of @inbound; NULL = none. */
struct cv_inbound *cv_reload_successor(const struct cv_inbound *inbound,
				       const struct cv_config *next);
/** cv_reload_inherit() - What people moved, which hellos were there already, and which proxies and
 * backends fail, goes on. Before any session begins with @next. */
void cv_reload_inherit(struct cv_config *next, const struct cv_config *now);
/** cv_reload_removes() - Is @user of @inbound nobody any more, or disabled, in @next? */
bool cv_reload_removes(const struct cv_config *next, const struct cv_inbound *inbound,
		       const struct cv_user *user);

#endif
