/* SPDX-License-Identifier: MIT */
#ifndef CULVERT_TOOLS_CHECK_H
#define CULVERT_TOOLS_CHECK_H

#include "config/config_load.h"

/** cv_check_targets() - Warnings about REALITY targets; @online: resolve their names (3 s at most).
 */
void cv_check_targets(const struct cv_config *config, bool online,
		      const struct cv_config_report *report);

#endif
