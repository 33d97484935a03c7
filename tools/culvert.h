/* SPDX-License-Identifier: MIT */
/*
 * culvert.h - the commands of the CLI; each returns the exit status (0 good, 1 failed, 2 usage or
 * configuration).
 */
#ifndef CULVERT_TOOLS_CULVERT_H
#define CULVERT_TOOLS_CULVERT_H

#define CV_EXIT_USAGE 2

int cv_cmd_keys(int argc, char **argv);
int cv_cmd_uuid(int argc, char **argv);
int cv_cmd_link(int argc, char **argv);
int cv_cmd_check(int argc, char **argv);
int cv_cmd_import(int argc, char **argv);
int cv_cmd_export(int argc, char **argv);
int cv_cmd_load(int argc, char **argv);
int cv_cmd_unload(int argc, char **argv);
int cv_cmd_status(int argc, char **argv);
int cv_cmd_reload(int argc, char **argv);
int cv_cmd_restart(int argc, char **argv);
int cv_cmd_probe_kernel(int argc, char **argv);
int cv_cmd_show(int argc, char **argv);
int cv_cmd_selftest(int argc, char **argv);
int cv_cmd_kick(int argc, char **argv);
int cv_cmd_user(int argc, char **argv);
int cv_cmd_proxy(int argc, char **argv);
int cv_cmd_version(int argc, char **argv);

#endif
