/* SPDX-License-Identifier: MIT */
/* sim_calls.h - the functions that the linker puts in front of the C library's. */
#ifndef CV_FUZZ_SIM_CALLS_H
#define CV_FUZZ_SIM_CALLS_H

#include "session/session.h"

#include <pthread.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

int __wrap_socket(int family, int type, int protocol);
ssize_t __wrap_recv(int fd, void *bytes, size_t len_bytes, int flags);
ssize_t __real_recv(int fd, void *bytes, size_t len_bytes, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t len_bytes, int flags);
ssize_t __real_send(int fd, const void *bytes, size_t len_bytes, int flags);
ssize_t __wrap_splice(int in, off_t *in_at, int out, off_t *out_at, size_t len_bytes,
		      unsigned flags);
ssize_t __real_splice(int in, off_t *in_at, int out, off_t *out_at, size_t len_bytes,
		      unsigned flags);
int __wrap_shutdown(int fd, int how);
int __real_shutdown(int fd, int how);
int __wrap_close(int fd);
int __real_close(int fd);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len_bytes);
int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *len_bytes);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len_bytes);
int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t len_bytes);
int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *len_bytes);
int __real_getsockname(int fd, struct sockaddr *address, socklen_t *len_bytes);
int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *len_bytes);
int __real_getpeername(int fd, struct sockaddr *address, socklen_t *len_bytes);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *len_bytes, int flags);
int __real_accept4(int fd, struct sockaddr *address, socklen_t *len_bytes, int flags);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*start)(void *), void *context);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*start)(void *), void *context);
int __wrap_pthread_join(pthread_t thread, void **result);
int __real_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock);
int __real_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock);
int __wrap_malloc_trim(size_t pad);
bool __wrap_cv_handover_is_drained(struct cv_session *session, enum cv_direction direction);
bool __real_cv_handover_is_drained(struct cv_session *session, enum cv_direction direction);
int __wrap_cv_handover_try(struct cv_session *session, enum cv_direction direction,
			   const struct cv_engine *engine);
int __real_cv_handover_try(struct cv_session *session, enum cv_direction direction,
			   const struct cv_engine *engine);

#endif
