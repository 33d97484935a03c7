// SPDX-License-Identifier: MIT
/*
 * uring.c - one ring per thread: everything a turn brought about is submitted with the next wait.
 */
#include "load.h"

#include <errno.h>

static const unsigned flag_steps[] = {
	IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER |
		IORING_SETUP_DEFER_TASKRUN,                  /* 6.1 */
	IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN, /* 5.19 */
	0,
};

int cv_load_ring_init(struct cv_load_ring *ring, unsigned entry_count)
{
	int error = -EINVAL;

	for (size_t i = 0; error == -EINVAL && i < sizeof(flag_steps) / sizeof(*flag_steps); i++) {
		struct io_uring_params params = {
			.flags = flag_steps[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
			.cq_entries = 16 * entry_count,
		};

		error = io_uring_queue_init_params(entry_count, &ring->uring, &params);
	}
	return error;
}

struct io_uring_sqe *cv_load_ring_entry(struct cv_load_ring *ring, void *object, enum cv_load_op op)
{
	struct io_uring_sqe *entry = io_uring_get_sqe(&ring->uring);

	while (!entry) {
		ring->enter_count++;
		(void)io_uring_submit(&ring->uring);
		entry = io_uring_get_sqe(&ring->uring);
	}
	entry->user_data = (uintptr_t)object | op;
	return entry;
}

void cv_load_ring_wait(struct cv_load_ring *ring, uint64_t timeout_ns)
{
	struct __kernel_timespec timeout = {
		.tv_sec = (long long)(timeout_ns / CV_LOAD_SECOND_NS),
		.tv_nsec = (long long)(timeout_ns % CV_LOAD_SECOND_NS),
	};
	struct io_uring_cqe *completion;

	ring->enter_count++;
	(void)io_uring_submit_and_wait_timeout(&ring->uring, &completion, 1, &timeout, NULL);
}
