/* SPDX-License-Identifier: MIT */
/*
 * sockmap_selftest.h - does this kernel keep the rules that engine_sockmap.c stands on?
 */
#ifndef CV_ENGINE_SOCKMAP_SELFTEST_H
#define CV_ENGINE_SOCKMAP_SELFTEST_H

#include "engine/choice.h"
#include "engine/kernel.h"

#define CV_SELFTEST_WHY 128

struct cv_sockmap_selftest;

/**
 * cv_sockmap_selftest_run() - Run all of it now, in a ring of its own: a second or two.
 * @ret_why: what failed, "" on success; CV_SELFTEST_WHY bytes.
 * Returns 0; -EILSEQ when a rule does not hold; else -errno: it could not be tested.
 */
int cv_sockmap_selftest_run(const struct cv_kernel *kernel, char *ret_why);

/**
 * cv_sockmap_selftest_start() - Get the verdict of this boot's kernel from @directory, or find it
 * out in a thread and leave it there.
 * @kernel: borrowed, must outlive the test. @directory: e.g. "/run/culvert"; one that cannot be
 * written means a test per process. Returns 0 or -errno.
 */
int cv_sockmap_selftest_start(const struct cv_kernel *kernel, const char *directory,
			      struct cv_sockmap_selftest **ret_test);
/** cv_sockmap_selftest_state() - From any thread, at any time; NULL is absent. */
enum cv_sockmap_state cv_sockmap_selftest_state(const struct cv_sockmap_selftest *test);
/** cv_sockmap_selftest_wait() - Until it is done, at most @wait_ms. */
enum cv_sockmap_state cv_sockmap_selftest_wait(struct cv_sockmap_selftest *test, uint32_t wait_ms);
/** cv_sockmap_selftest_why() - What failed or is absent, "" else. @test not NULL; belongs to it. */
const char *cv_sockmap_selftest_why(const struct cv_sockmap_selftest *test);
/** cv_sockmap_selftest_free() - Waits for its end. NULL-safe, returns NULL. */
struct cv_sockmap_selftest *cv_sockmap_selftest_free(struct cv_sockmap_selftest *test);

#endif
