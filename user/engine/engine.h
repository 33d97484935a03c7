/* SPDX-License-Identifier: MIT */
/*
 * engine.h - what moves the steady-state bytes of one direction of a session.
 *
 * A flow is one direction: source socket -> sink socket, both transparent, nothing of it left in
 * user space (law 1). An engine drains what the kernel has queued, in order; at the source's FIN it
 * sends FIN to the sink after the last byte and leaves the reverse direction alone (law 2);
 * moved_bytes is live at every instant (law 3). The process must ignore SIGPIPE: splice(2) knows no
 * MSG_NOSIGNAL.
 */
#ifndef CV_ENGINE_ENGINE_H
#define CV_ENGINE_ENGINE_H

#include "ring/ring.h"

struct cv_ktls;
struct cv_pipe;
struct cv_sockmap;
struct cv_engine;

struct cv_engine_env { /* one per worker */
	struct cv_ring *ring;
	struct cv_pipe_pool *pipes;
	struct cv_sockmap *sockmap; /* NULL = the kernel part is absent or failed its test */
};

/* What ended() gets after cv_flow_yield(): nothing of the direction is in user space and both
 * sockets are as they were, for the next engine. */
#define CV_FLOW_YIELDED 1

enum cv_flow_side { CV_FLOW_SOURCE, CV_FLOW_SINK };

struct cv_flow {
	const struct cv_engine *engine; /* set by start */
	struct cv_engine_env *env;
	int source_fd; /* borrowed from the session */
	int sink_fd;   /* borrowed */
	uint32_t source_before_bytes; /* read from the source before start, modulo 2^32 */
	struct cv_ktls *source_tls, *sink_tls; /* where the kernel does TLS; else NULL */
	uint64_t moved_bytes;   /* written to the sink by the engine; read it any time */
	uint64_t last_move_ms;  /* ring clock of the last progress */
	/*
	 * ended: called exactly once, when no operation of the flow is pending any more.
	 * @result: 0 = source ended, every byte delivered, FIN sent to the sink; -ECANCELED after
	 * stop; CV_FLOW_YIELDED; else -errno or a reason, with @failed_side set.
	 */
	void (*ended)(struct cv_flow *flow, int result);
	enum cv_flow_side failed_side;
	/* engine's own state */
	int stop_result;      /* what ended() gets once stopping */
	struct cv_op op;
	struct cv_watch source_watch, sink_watch;
	struct cv_pipe *pipe; /* splice: held only while it holds bytes */
	uint8_t *block; /* what a full sink did not take of bytes that went through user space */
	union {
		uint32_t pipe_bytes; /* splice: bytes in the pipe */
		uint32_t slot;	     /* sockmap: its index */
	};
	uint32_t block_at, block_end;
	/* since the owner last set them to 0: what a choice of engine looks at */
	uint16_t wake_count, full_count; /* turns; of these, ended by a full sink */
	uint8_t state;
	bool stopping, yielding;
	uint8_t owner_tag; /* the owner's own, untouched by engines */
};

_Static_assert(sizeof(struct cv_flow) <= 176, "an idle session holds two flows in 1 KiB");

struct cv_engine {
	const char *name;
	/** start: take over the direction; 0 or -errno (then nothing changed). */
	int (*start)(struct cv_flow *flow);
	/** poll_progress: refresh moved_bytes / last_move_ms from the kernel's count where it
	 * counts. */
	void (*poll_progress)(struct cv_flow *flow);
	/** half_close: send FIN to the sink now that everything moved (engines call it at source
	 * EOF). */
	int (*half_close)(struct cv_flow *flow);
	/** stop: end the flow early; ended(-ECANCELED) follows, possibly at once. Bytes may be
	 * lost. */
	void (*stop)(struct cv_flow *flow);
	/** describe: state for `culvert show session`, e.g. "splice: waiting for source". */
	void (*describe)(const struct cv_flow *flow, char *text, size_t size_bytes);
};

/** cv_flow_watch_sink() - Nobody reads @flow's sink any more (its peer sent FIN): from now on end
 * the flow (-ECONNRESET, CV_FLOW_SINK) as soon as the sink dies, even if there is nothing to write.
 * Before that, whoever reads the sink notices, after the last byte. May be repeated. */
void cv_flow_watch_sink(struct cv_flow *flow);

/** cv_flow_yield() - End a copy or splice flow as soon as no byte of it is in user space or a pipe:
 * ended(CV_FLOW_YIELDED), within this turn or later, unless it ends otherwise. A flow with a full
 * sink goes on until that has taken all. Other engines do not yield. */
void cv_flow_yield(struct cv_flow *flow);

extern const struct cv_engine cv_engine_copy;
extern const struct cv_engine cv_engine_splice;
/* Sockets once given to it must not be spliced from then on: the reverse direction is for sockmap
 * or copy, until both are closed. start: also -ENOTSUP (not available), -EOPNOTSUPP (an end of the
 * connection has said FIN), -ENOSPC. */
extern const struct cv_engine cv_engine_sockmap;
extern const struct cv_engine cv_engine_ktls; /* only for flows with kernel TLS at an end */

/* Counters by engine: [0] is for bytes that user space moves through layers, with no engine. */
#define CV_ENGINES 8
#define CV_ENGINE_LAYERS 0

/** cv_engine_index() - 1 to CV_ENGINES - 1; CV_ENGINE_LAYERS for NULL. */
size_t cv_engine_index(const struct cv_engine *engine);
/** cv_engine_name() - Of an index: "layers", an engine's name, or NULL if there is none. */
const char *cv_engine_name(size_t index);
/** cv_engine_find() - By name, NULL if unknown. */
const struct cv_engine *cv_engine_find(const char *name);

#endif
