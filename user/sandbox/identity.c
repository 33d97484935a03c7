// SPDX-License-Identifier: MIT
/*
 * identity.c - from root to a user of the daemon's own (culvert.user).
 *
 * Before anything is opened for writing, so that what the daemon makes is that user's from the
 * first start on. Ports and BPF programs still want capabilities then, which the change of uid
 * would take: they are kept, and given up one step later.
 */
#include "sandbox/identity.h"

#include "sandbox/capabilities.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#define ENTRY_BYTES 16384

int cv_identity_become(const char *user)
{
	char *text = malloc(ENTRY_BYTES);
	struct passwd entry, *found = NULL;
	int error = text ? -getpwnam_r(user, &entry, text, ENTRY_BYTES, &found) : -ENOMEM;

	if (!error && !found)
		error = -ENOENT;
	if (!error && found->pw_uid == geteuid()) {
		free(text);
		return 0;
	}
	if (!error && (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 ||
		       initgroups(user, found->pw_gid) != 0 ||
		       setresgid(found->pw_gid, found->pw_gid, found->pw_gid) != 0 ||
		       setresuid(found->pw_uid, found->pw_uid, found->pw_uid) != 0))
		error = -errno;
	free(text);
	return error ? error : cv_capabilities_resume();
}
