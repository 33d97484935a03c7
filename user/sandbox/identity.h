/* SPDX-License-Identifier: MIT */
#ifndef CV_SANDBOX_IDENTITY_H
#define CV_SANDBOX_IDENTITY_H

/** cv_identity_become() - The whole process is @user, with that user's groups and no other, for
 * good; capabilities stay until cv_capabilities_keep(). While there is one thread.
 * Returns 0; -ENOENT: no such user; -EPERM: who is not root cannot become somebody; -errno. */
int cv_identity_become(const char *user);

#endif
