/* SPDX-License-Identifier: MIT */
/*
 * users_file.h - users.json outside the daemon: where it is, and whether the daemon would take it.
 */
#ifndef CV_CONFIG_USERS_FILE_H
#define CV_CONFIG_USERS_FILE_H

#include "config/config_load.h"

/** cv_users_check() - Would every kind of inbound take these users? @name is what findings call the
 * file. Returns 0, CV_INTERNAL_CONFIG after reporting why not, or -ENOMEM. */
int cv_users_check(const char *name, const char *text, size_t len,
		   const struct cv_config_report *report);

/** cv_external_load() - The proxies of an external_proxy.json, as a configuration of nothing but
 * their outbounds. A relative ca_file is looked for beside @name. As cv_config_load_text(). */
int cv_external_load(const char *name, const char *text, size_t len,
		     const struct cv_config_report *report, struct cv_config **ret_config);

struct cv_users_place {
	char *users_path;   /* as the daemon would open it; NULL if no inbound names one */
	char *external_path; /* likewise external_proxy.json; NULL if there is none */
	char *control_path; /* NULL: the default */
};
/** cv_users_place() - Of the configuration at @path, read as JSON and not checked further. Free the
 * members. Returns 0; CV_INTERNAL_CONFIG after reporting that it is no JSON, or that its inbounds
 * name different files; -errno. */
int cv_users_place(const char *path, const struct cv_config_report *report,
		   struct cv_users_place *ret_place);

#endif
