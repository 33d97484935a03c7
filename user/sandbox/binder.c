// SPDX-License-Identifier: MIT
/*
 * binder.c - the thread that may still bind ports below 1024.
 *
 * Listeners open when the targets were learned, long after the workers have started. What the main
 * thread may then, every worker may that it has started; so the right waits here, in a thread that
 * hears nothing, for the one call that needs it.
 */
#include "sandbox/binder.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

struct cv_binder {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int (*run)(void *context);
	void *context;
	int result;
	bool has_work, ending;
};

static void *thread_main(void *opaque)
{
	struct cv_binder *binder = opaque;

	pthread_mutex_lock(&binder->lock);
	while (!binder->ending) {
		if (binder->has_work) {
			binder->result = binder->run(binder->context);
			binder->has_work = false;
			pthread_cond_broadcast(&binder->changed);
		} else {
			pthread_cond_wait(&binder->changed, &binder->lock);
		}
	}
	pthread_mutex_unlock(&binder->lock);
	return NULL;
}

int cv_binder_new(struct cv_binder **ret_binder)
{
	struct cv_binder *binder = calloc(1, sizeof(*binder));
	sigset_t all, before;
	int error;

	if (!binder)
		return -ENOMEM;
	pthread_mutex_init(&binder->lock, NULL);
	pthread_cond_init(&binder->changed, NULL);
	sigfillset(&all); /* signals are the main thread's */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = -pthread_create(&binder->thread, NULL, thread_main, binder);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		free(binder);
	else
		*ret_binder = binder;
	return error;
}

int cv_binder_run(struct cv_binder *binder, int (*run)(void *context), void *context)
{
	int result;

	pthread_mutex_lock(&binder->lock);
	binder->run = run;
	binder->context = context;
	binder->has_work = true;
	pthread_cond_broadcast(&binder->changed);
	while (binder->has_work)
		pthread_cond_wait(&binder->changed, &binder->lock);
	result = binder->result;
	pthread_mutex_unlock(&binder->lock);
	return result;
}

struct cv_binder *cv_binder_free(struct cv_binder *binder)
{
	if (!binder)
		return NULL;
	pthread_mutex_lock(&binder->lock);
	binder->ending = true;
	pthread_cond_broadcast(&binder->changed);
	pthread_mutex_unlock(&binder->lock);
	pthread_join(binder->thread, NULL);
	pthread_mutex_destroy(&binder->lock);
	pthread_cond_destroy(&binder->changed);
	free(binder);
	return NULL;
}
