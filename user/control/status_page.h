/* SPDX-License-Identifier: MIT */
/*
 * status_page.h - the page for people, status.html as it is in the tree, and what a browser may do
 * for it.
 */
#ifndef CV_CONTROL_STATUS_PAGE_H
#define CV_CONTROL_STATUS_PAGE_H

#include <stddef.h>

extern const char cv_status_page[];

/** cv_status_page_len() - Its bytes. */
size_t cv_status_page_len(void);

#define CV_STATUS_POLICY 320
/** cv_status_page_policy() - The Content-Security-Policy for it: its own style and script by their
 * hashes, answers of ours, nothing else. 0 or CV_INTERNAL_CRYPTO. Source: CSP 3, 8.2. */
int cv_status_page_policy(char ret_policy[CV_STATUS_POLICY]);

#endif
