// SPDX-License-Identifier: MIT
/*
 * setup.c - what this kernel's io_uring can do, found by asking for it.
 *
 * The ring is set up with the most flags the kernel accepts: the newest are dropped first. Before
 * it is enabled it is restricted to the operations that we use: nobody opens a file with it. Each
 * multishot form is tried on a descriptor that is no socket: a kernel that knows it complains about
 * the descriptor (ENOTSOCK), one that does not about the request (EINVAL).
 */
#include "ring/internal.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PROBE_ENTRIES 8
#define COMPLETIONS_PER_ENTRY 4

static const unsigned flag_steps[] = {
	IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER |
		IORING_SETUP_DEFER_TASKRUN,			   /* 6.1 */
	IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER, /* 6.0 */
	IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN,	   /* 5.19 */
	0,
};

/* What operation.c starts. A system call filter does not see what goes through a ring. */
static const uint8_t operations[] = {
	IORING_OP_ACCEPT, IORING_OP_RECV, IORING_OP_POLL_ADD,
	IORING_OP_CONNECT, IORING_OP_SEND, IORING_OP_ASYNC_CANCEL,
};
static const uint8_t registrations[] = {IORING_REGISTER_PBUF_RING, IORING_UNREGISTER_PBUF_RING};

unsigned cv_ring_allowed_operations(void)
{
	return sizeof(operations);
}

/* liburing 2.3 declares functions for what is needed here, but its library lacks them. */
static int ring_register(const struct io_uring *uring, unsigned opcode, const void *list,
			 unsigned count)
{
	return syscall(SYS_io_uring_register, uring->ring_fd, opcode, list, count) < 0 ? -errno : 0;
}

/* For good, while the ring is not enabled yet. */
static int restrict_to_ours(struct io_uring *uring)
{
	struct io_uring_restriction list[sizeof(operations) + sizeof(registrations) + 1] = {
		{.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
		 .sqe_flags = IOSQE_BUFFER_SELECT},
	};
	unsigned count = 1;

	for (size_t i = 0; i < sizeof(operations); i++, count++) {
		list[count].opcode = IORING_RESTRICTION_SQE_OP;
		list[count].sqe_op = operations[i];
	}
	for (size_t i = 0; i < sizeof(registrations); i++, count++) {
		list[count].opcode = IORING_RESTRICTION_REGISTER_OP;
		list[count].register_op = registrations[i];
	}
	return ring_register(uring, IORING_REGISTER_RESTRICTIONS, list, count);
}

static int queue_init(struct io_uring *uring, uint32_t entry_count, unsigned flags)
{
	struct io_uring_params params = {
		.flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |
			 IORING_SETUP_R_DISABLED,
		.cq_entries = entry_count * COMPLETIONS_PER_ENTRY,
	};
	int error = io_uring_queue_init_params(entry_count, uring, &params);

	if (error)
		return error;
	/* No completion may be lost, addresses are free after the submission, waits have a timeout.
	 */
	if (!(params.features & IORING_FEAT_NODROP) || !(params.features & IORING_FEAT_EXT_ARG) ||
	    !(params.features & IORING_FEAT_SUBMIT_STABLE) ||
	    !(params.features & IORING_FEAT_FAST_POLL)) {
		io_uring_queue_exit(uring);
		return -ENOSYS;
	}
	return 0;
}

/* The result of one entry that is certain to end at once. */
static int submit_one(struct io_uring *uring)
{
	struct __kernel_timespec second = {.tv_sec = 1};
	struct io_uring_cqe *cqe = NULL;
	int result = io_uring_submit_and_wait_timeout(uring, &cqe, 1, &second, NULL);

	if (!cqe)
		return result < 0 ? result : -EIO;
	result = cqe->res;
	io_uring_cqe_seen(uring, cqe);
	return result;
}

static bool probe_multishot(struct io_uring *uring, int no_socket_fd, bool accept)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(uring);

	if (!sqe)
		return false;
	if (accept) {
		io_uring_prep_multishot_accept(sqe, no_socket_fd, NULL, NULL, 0);
	} else {
		io_uring_prep_recv_multishot(sqe, no_socket_fd, NULL, 0, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = CV_RING_BUFFER_GROUP;
	}
	return submit_one(uring) == -ENOTSOCK;
}

/* The ring must not be restricted yet. */
static void probe_table(struct io_uring *uring, struct cv_ring_features *features)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(uring);

	if (!probe)
		return;
	features->splice = io_uring_opcode_supported(probe, IORING_OP_SPLICE);
	features->send_zc = io_uring_opcode_supported(probe, IORING_OP_SEND_ZC);
	io_uring_free_probe(probe);
}

static void probe_operations(struct io_uring *uring, struct cv_ring_features *features)
{
	int no_socket_fd = eventfd(0, EFD_CLOEXEC);

	if (no_socket_fd >= 0) {
		features->multishot_accept = probe_multishot(uring, no_socket_fd, true);
		features->multishot_recv = probe_multishot(uring, no_socket_fd, false);
		(void)close(no_socket_fd);
	}
}

static int queue_setup(struct io_uring *uring, uint32_t entry_count, bool plain,
		       struct cv_ring_features *ret_features)
{
	const size_t step_count = sizeof(flag_steps) / sizeof(flag_steps[0]);
	int error = -EINVAL;

	for (size_t i = plain ? step_count - 1 : 0; i < step_count; i++) {
		const unsigned flags = flag_steps[i];

		error = queue_init(uring, entry_count, flags);
		if (error == -EINVAL)
			continue;
		memset(ret_features, 0, sizeof(*ret_features));
		ret_features->single_issuer = flags & IORING_SETUP_SINGLE_ISSUER;
		ret_features->defer_taskrun = flags & IORING_SETUP_DEFER_TASKRUN;
		ret_features->coop_taskrun = flags & IORING_SETUP_COOP_TASKRUN;
		break;
	}
	if (error)
		return error;
	if (!plain)
		probe_table(uring, ret_features);
	error = restrict_to_ours(uring);
	if (!error)
		error = ring_register(uring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	if (error)
		io_uring_queue_exit(uring);
	return error;
}

int cv_ring_setup(const struct cv_ring_config *config, struct cv_ring *ring)
{
	int error = queue_setup(&ring->uring, config->entry_count, config->plain, &ring->features);

	if (error)
		return error;
	if (!config->plain)
		probe_operations(&ring->uring, &ring->features);
	return 0;
}

static bool probe_buffer_ring(struct io_uring *uring)
{
	struct io_uring_buf_reg reg = {.ring_entries = PROBE_ENTRIES, .bgid = CV_RING_BUFFER_GROUP};
	const size_t size_bytes = PROBE_ENTRIES * sizeof(struct io_uring_buf);
	void *memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);
	bool works;

	if (memory == MAP_FAILED)
		return false;
	reg.ring_addr = (uintptr_t)memory;
	works = !io_uring_register_buf_ring(uring, &reg, 0);
	if (works)
		(void)io_uring_unregister_buf_ring(uring, CV_RING_BUFFER_GROUP);
	(void)munmap(memory, size_bytes);
	return works;
}

int cv_ring_probe(struct cv_ring_features *ret_features)
{
	struct cv_ring_features features;
	struct io_uring uring;
	int error = queue_setup(&uring, PROBE_ENTRIES, false, &features);

	if (error)
		return error;
	probe_operations(&uring, &features);
	features.buffer_ring = probe_buffer_ring(&uring);
	io_uring_queue_exit(&uring);
	*ret_features = features;
	return 0;
}
