// SPDX-License-Identifier: MIT
/*
 * ring_probe.c - what this kernel's io_uring has, found by trying.
 */
#include "ring/ring.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/mman.h>

static bool setup_works(uint32_t flags)
{
	struct io_uring_params params = {.flags = flags};
	struct io_uring uring;

	if (io_uring_queue_init_params(8, &uring, &params) != 0)
		return false;
	io_uring_queue_exit(&uring);
	return true;
}

static bool buffer_ring_works(struct io_uring *uring)
{
	struct io_uring_buf_reg registration = {.ring_entries = 1};
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool works;

	if (memory == MAP_FAILED)
		return false;
	registration.ring_addr = (uint64_t)(uintptr_t)memory;
	works = io_uring_register_buf_ring(uring, &registration, 0) == 0;
	if (works)
		(void)io_uring_unregister_buf_ring(uring, 0);
	(void)munmap(memory, 4096);
	return works;
}

int cv_ring_probe(struct cv_ring_features *ret_features)
{
	struct cv_ring_features features = {0};
	struct io_uring_probe *probe;
	struct io_uring uring;
	int error = io_uring_queue_init(8, &uring, 0);

	if (error)
		return error;
	features.single_issuer = setup_works(IORING_SETUP_SINGLE_ISSUER);
	features.defer_taskrun =
		setup_works(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	features.coop_taskrun = setup_works(IORING_SETUP_COOP_TASKRUN);
	features.buffer_ring = buffer_ring_works(&uring);
	probe = io_uring_get_probe_ring(&uring);
	if (probe) {
		/* multishot accept came with buffer rings (5.19), multishot recv with SEND_ZC (6.0) */
		features.multishot_accept = features.buffer_ring;
		features.send_zc = io_uring_opcode_supported(probe, IORING_OP_SEND_ZC);
		features.multishot_recv = features.send_zc;
		features.splice = io_uring_opcode_supported(probe, IORING_OP_SPLICE);
		io_uring_free_probe(probe);
	}
	io_uring_queue_exit(&uring);
	*ret_features = features;
	return 0;
}
