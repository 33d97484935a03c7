/* SPDX-License-Identifier: MIT */
#ifndef CV_TOOLS_CULVERT_PROBE_H
#define CV_TOOLS_CULVERT_PROBE_H

/** cv_cmd_probe() - `culvert probe`; argv[0] is the subcommand. Returns the exit status. */
int cv_cmd_probe(int argc, char **argv);

#endif
