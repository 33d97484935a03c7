// SPDX-License-Identifier: MIT
/*
 * mapped_port.c - between the table of ports that outlive streams and a session that has one.
 *
 * Each worker that has left a port behind looks through the table when its time is over. The clock
 * is the machine's, the same for all workers.
 */
#include "session/mapped_port.h"

#include "session/worker.h"

#include <string.h>
#include <unistd.h>

static void sweep_due(struct cv_timer *timer)
{
	struct cv_worker *worker = cv_container_of(timer, struct cv_worker, mappings_timer);
	const uint64_t now_ms = cv_ring_now_ms(worker->ring);
	const uint64_t again_ms = cv_mappings_sweep(now_ms);

	if (again_ms)
		cv_timer_arm(worker->ring, timer, now_ms + again_ms);
}

static void sweep_later(struct cv_worker *worker)
{
	if (worker->mappings_timer.heap_index) /* armed */
		return;
	worker->mappings_timer.due = sweep_due;
	cv_timer_arm(worker->ring, &worker->mappings_timer,
		     cv_ring_now_ms(worker->ring) + CV_MAPPING_KEPT_MS);
}

struct cv_mapping *cv_mapped_port_take(struct cv_session *session, const uint8_t *global_id,
				       struct cv_datagrams *datagrams)
{
	struct cv_mapping_name name = {.user = {0}};
	struct cv_mapping *port;
	int fd = -1;

	if (session->user)
		memcpy(name.user, session->user->uuid, sizeof(name.user));
	memcpy(name.global_id, global_id, sizeof(name.global_id));
	port = cv_mapping_take(&name, cv_ring_now_ms(session->worker->ring), &fd);
	if (fd >= 0 && cv_datagrams_adopt(datagrams, fd) != 0)
		(void)close(fd);
	return port;
}

void cv_mapped_port_opened(struct cv_mapping *port, struct cv_datagram_socket *direct)
{
	const int fd = port && direct ? cv_datagram_dup(direct) : -1;

	if (port)
		cv_mapping_set(port, fd < 0 ? -1 : fd);
}

void cv_mapped_port_leave(struct cv_session *session, struct cv_mapping *port)
{
	if (!port)
		return;
	cv_mapping_leave(port, cv_ring_now_ms(session->worker->ring));
	sweep_later(session->worker);
}
