/* SPDX-License-Identifier: MIT */
#ifndef CV_SANDBOX_NOTIFY_H
#define CV_SANDBOX_NOTIFY_H

/** cv_notify() - Tell the service manager @state ("READY=1", "STOPPING=1"); no-op without one. */
void cv_notify(const char *state);
/** cv_raise_limits() - Soft RLIMIT_NOFILE to the hard limit, RLIMIT_MEMLOCK as far as we may. */
void cv_raise_limits(void);

#endif
