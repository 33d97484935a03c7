// SPDX-License-Identifier: MIT
/*
 * faults.c - stands between culvertd and libc, and fails what a test asks it to (LD_PRELOAD).
 *
 *   test --writes--> the file FAULTS <--maps-- this library, in front of libc and liburing
 *
 * The file is an array of 64-bit words: enum word first, then struct fault for each FAULT_CALLS().
 * faults.py reads the names from this file. "odds" are in a million; "left" counts down, so that
 * left = 3 fails three calls and no more.
 *
 * What goes through io_uring is changed on its way to the kernel: an operation that shall fail
 * becomes a no-op whose completion gets the error, and one that shall be short asks for less. So
 * nothing is lost or done twice that a real fault would not lose or do twice.
 */
#include "../copied_text.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum word { /* of the file; signed where that makes sense */
	WORD_ALLOC_ODDS,
	WORD_ALLOC_LEFT,  /* how many more may fail; -1: any */
	WORD_ALLOC_COUNT, /* how many were asked for */
	WORD_ALLOC_HITS,  /* how many failed */
	WORD_WALL_MS,	  /* added to CLOCK_REALTIME */
	WORD_STEADY_MS,	  /* added to CLOCK_MONOTONIC */
	WORD_SHORT_BYTES, /* no transfer is longer, 0: off */
	WORD_SHORT_HITS,
	WORD_RING_ENTRIES, /* of each ring, 0: as asked for; both sides of it */
	WORD_OVERFLOWS,	   /* completions that did not fit */
	WORD_COUNT = 16,
};

/* io_uring's operations are called ring_... */
#define FAULT_CALLS(X) \
	X(socket) X(accept4) X(pipe2) X(splice) X(recv) X(recvmsg) X(recvmmsg) X(send) X(sendmsg) \
	X(sendmmsg) X(sendto) X(read) X(write) X(open) X(fsync) X(rename) X(epoll_ctl) X(eventfd) \
	X(mmap) X(getsockopt) X(setsockopt) X(getaddrinfo) X(pthread_create) X(getrandom) \
	X(bpf_map_update_elem) X(ring_setup) X(ring_enter) X(ring_buffers) X(ring_accept) \
	X(ring_connect) X(ring_send) X(ring_recv) X(ring_poll)

#define X(name) CALL_##name,
enum call { FAULT_CALLS(X) CALL_COUNT };
#undef X

struct fault {
	_Atomic int64_t error; /* errno */
	_Atomic int64_t odds;
	_Atomic int64_t left; /* -1: any number */
	_Atomic int64_t hits;
};

struct control {
	_Atomic int64_t words[WORD_COUNT];
	struct fault faults[CALL_COUNT];
};

static struct control off = {0};
static struct control *control = &off;

__attribute__((constructor)) static void faults_open(void)
{
	const char *path = getenv("FAULTS");
	int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0) : -1;
	void *memory;

	if (fd < 0)
		return;
	memory = (void *)syscall(SYS_mmap, NULL, sizeof(*control), PROT_READ | PROT_WRITE,
				 MAP_SHARED, fd, 0);
	if (memory != MAP_FAILED)
		control = memory;
	(void)syscall(SYS_close, fd);
}

static int64_t word(enum word which)
{
	return atomic_load_explicit(&control->words[which], memory_order_relaxed);
}

static void count(enum word which)
{
	atomic_fetch_add_explicit(&control->words[which], 1, memory_order_relaxed);
}

static bool happens(int64_t odds)
{
	static _Thread_local uint64_t state;

	if (odds <= 0)
		return false;
	if (state == 0)
		state = (uint64_t)(uintptr_t)&state | 1;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (int64_t)(state % 1000000) < odds;
}

static bool take_one(_Atomic int64_t *left)
{
	int64_t now = atomic_load(left);

	while (now > 0 && !atomic_compare_exchange_weak(left, &now, now - 1))
		;
	return now != 0;
}

/* The errno that this call shall end with, or 0. */
static int fault(enum call call)
{
	struct fault *f = &control->faults[call];

	if (!happens(atomic_load_explicit(&f->odds, memory_order_relaxed)) || !take_one(&f->left))
		return 0;
	atomic_fetch_add(&f->hits, 1);
	return (int)atomic_load(&f->error);
}

static bool fails(enum call call)
{
	int error = fault(call);

	if (error)
		errno = error;
	return error;
}

static size_t shorter(size_t bytes)
{
	const int64_t most = word(WORD_SHORT_BYTES);

	if (most <= 0 || bytes <= (size_t)most)
		return bytes;
	count(WORD_SHORT_HITS);
	return (size_t)most;
}

#define REAL(name) \
	static __typeof__(&name) real; \
	if (!real) \
		real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* ---- memory ------------------------------------------------------------------------------- */

/* json-c 0.16 reads a key that could not be copied. The daemon looks for room beforehand. */
static _Thread_local bool parsing;

static bool no_memory(void)
{
	count(WORD_ALLOC_COUNT);
	if (parsing || !happens(word(WORD_ALLOC_ODDS)) ||
	    !take_one(&control->words[WORD_ALLOC_LEFT]))
		return false;
	count(WORD_ALLOC_HITS);
	errno = ENOMEM;
	return true;
}

/* dlsym() itself allocates: from here, never to be freed. */
static _Alignas(16) char early[65536];
static _Atomic size_t early_used;
static _Thread_local volatile bool looking; /* dlsym() calls us, which its declaration denies */

static void *early_take(size_t bytes)
{
	size_t at = atomic_fetch_add(&early_used, (bytes + 31) / 16 * 16);

	return at + bytes < sizeof(early) ? early + at : NULL;
}

static bool is_early(const void *memory)
{
	return (const char *)memory >= early && (const char *)memory < early + sizeof(early);
}

#define REAL_ALLOCATION(name) \
	static __typeof__(&name) real; \
	if (!real && !looking) { \
		looking = true; \
		real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
		looking = false; \
	}

void *malloc(size_t bytes)
{
	REAL_ALLOCATION(malloc);
	if (!real)
		return early_take(bytes);
	return no_memory() ? NULL : real(bytes);
}

void *calloc(size_t members, size_t bytes)
{
	REAL_ALLOCATION(calloc);
	if (!real)
		return early_take(members * bytes);
	return no_memory() ? NULL : real(members, bytes);
}

void *realloc(void *memory, size_t bytes)
{
	REAL_ALLOCATION(realloc);
	if (!real || is_early(memory)) {
		void *more = early_take(bytes);

		if (more && memory)
			memcpy(more, memory, bytes); /* what lies behind it is ours, too */
		return more;
	}
	return no_memory() ? NULL : real(memory, bytes);
}

int posix_memalign(void **ret_memory, size_t alignment, size_t bytes)
{
	REAL_ALLOCATION(posix_memalign);
	return no_memory() ? ENOMEM : real(ret_memory, alignment, bytes);
}

static void free_real(void *memory)
{
	REAL_ALLOCATION(free);
	if (real)
		real(memory);
}

void free(void *memory)
{
	if (memory && !is_early(memory))
		free_real(memory);
}

struct json_tokener;
struct json_object *json_tokener_parse_ex(struct json_tokener *tokener, const char *text, int len);
struct json_object *json_tokener_parse_ex(struct json_tokener *tokener, const char *text, int len)
{
	struct json_object *result;

	REAL(json_tokener_parse_ex);
	parsing = true;
	result = real(tokener, text, len);
	parsing = false;
	return result;
}

void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	if (flags & MAP_ANONYMOUS && fails(CALL_mmap))
		return MAP_FAILED;
	return (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset);
}

/* ---- clocks ------------------------------------------------------------------------------- */

static void time_add(struct timespec *time, int64_t ms)
{
	int64_t ns = time->tv_nsec + ms % 1000 * 1000000;

	time->tv_sec += ms / 1000 + (ns >= 1000000000) - (ns < 0);
	time->tv_nsec = ns + (ns < 0 ? 1000000000 : 0) - (ns >= 1000000000 ? 1000000000 : 0);
}

int clock_gettime(clockid_t clock, struct timespec *ret_time)
{
	int result;

	REAL(clock_gettime);
	result = real(clock, ret_time);
	if (result == 0 && clock == CLOCK_REALTIME)
		time_add(ret_time, word(WORD_WALL_MS));
	else if (result == 0 && clock == CLOCK_MONOTONIC)
		time_add(ret_time, word(WORD_STEADY_MS));
	return result;
}

time_t time(time_t *ret_time)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (ret_time)
		*ret_time = now.tv_sec;
	return now.tv_sec;
}

/* The kernel knows nothing of our clocks. A clock that began at a boot has not come as far. */
int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
			   const struct timespec *until)
{
	struct timespec real_until = *until;

	REAL(pthread_cond_timedwait);
	time_add(&real_until,
		 -word(until->tv_sec > 1000000000 ? WORD_WALL_MS : WORD_STEADY_MS));
	return real(condition, mutex, &real_until);
}

int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock,
			   const struct timespec *until)
{
	struct timespec real_until = *until;

	REAL(pthread_cond_clockwait);
	time_add(&real_until, -word(clock == CLOCK_REALTIME ? WORD_WALL_MS : WORD_STEADY_MS));
	return real(condition, mutex, clock, &real_until);
}

/* ---- descriptors and files ---------------------------------------------------------------- */

int socket(int family, int type, int protocol)
{
	REAL(socket);
	return fails(CALL_socket) ? -1 : real(family, type, protocol);
}

int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
	REAL(accept4);
	return fails(CALL_accept4) ? -1 : real(fd, address, len, flags);
}

int pipe2(int fds[2], int flags)
{
	REAL(pipe2);
	return fails(CALL_pipe2) ? -1 : real(fds, flags);
}

int eventfd(unsigned value, int flags)
{
	REAL(eventfd);
	return fails(CALL_eventfd) ? -1 : real(value, flags);
}

int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
	REAL(epoll_ctl);
	return fails(CALL_epoll_ctl) ? -1 : real(epoll, what, fd, event);
}

int open(const char *path, int flags, ...)
{
	va_list arguments;
	int mode;

	REAL(open);
	va_start(arguments, flags);
	mode = flags & O_CREAT ? va_arg(arguments, int) : 0;
	va_end(arguments);
	return fails(CALL_open) ? -1 : real(path, flags, mode);
}

int fsync(int fd)
{
	REAL(fsync);
	return fails(CALL_fsync) ? -1 : real(fd);
}

int rename(const char *from, const char *to)
{
	REAL(rename);
	return fails(CALL_rename) ? -1 : real(from, to);
}

ssize_t read(int fd, void *bytes, size_t count_bytes)
{
	REAL(read);
	return fails(CALL_read) ? -1 : real(fd, bytes, count_bytes);
}

/* Only what goes to files: no disk is full for an eventfd. */
ssize_t write(int fd, const void *bytes, size_t count_bytes)
{
	struct stat status;

	REAL(write);
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && fails(CALL_write))
		return -1;
	return real(fd, bytes, count_bytes);
}

/* ---- sockets ------------------------------------------------------------------------------ */

ssize_t splice(int from, off_t *from_at, int to, off_t *to_at, size_t bytes, unsigned flags)
{
	REAL(splice);
	return fails(CALL_splice) ? -1 : real(from, from_at, to, to_at, shorter(bytes), flags);
}

ssize_t recv(int fd, void *bytes, size_t count_bytes, int flags)
{
	REAL(recv);
	return fails(CALL_recv) ? -1 : real(fd, bytes, shorter(count_bytes), flags);
}

ssize_t send(int fd, const void *bytes, size_t count_bytes, int flags)
{
	REAL(send);
	return fails(CALL_send) ? -1 : real(fd, bytes, shorter(count_bytes), flags);
}

ssize_t sendto(int fd, const void *bytes, size_t count_bytes, int flags,
	       const struct sockaddr *address, socklen_t len)
{
	REAL(sendto);
	return fails(CALL_sendto) ? -1 : real(fd, bytes, count_bytes, flags, address, len);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	REAL(recvmsg);
	return fails(CALL_recvmsg) ? -1 : real(fd, message, flags);
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned number, int flags, struct timespec *wait)
{
	REAL(recvmmsg);
	return fails(CALL_recvmmsg) ? -1 : real(fd, messages, number, flags, wait);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	REAL(sendmsg);
	return fails(CALL_sendmsg) ? -1 : real(fd, message, flags);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned number, int flags)
{
	REAL(sendmmsg);
	return fails(CALL_sendmmsg) ? -1 : real(fd, messages, number, flags);
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *len)
{
	REAL(getsockopt);
	return fails(CALL_getsockopt) ? -1 : real(fd, level, option, value, len);
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
	REAL(setsockopt);
	return fails(CALL_setsockopt) ? -1 : real(fd, level, option, value, len);
}

/* ---- others ------------------------------------------------------------------------------- */

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
		struct addrinfo **ret_list)
{
	REAL(getaddrinfo);
	return fails(CALL_getaddrinfo) ? EAI_SYSTEM : real(host, service, hints, ret_list);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
		   void *argument)
{
	int error = fault(CALL_pthread_create);

	REAL(pthread_create);
	return error ? error : real(thread, attributes, run, argument);
}

ssize_t getrandom(void *bytes, size_t count_bytes, unsigned flags)
{
	REAL(getrandom);
	return fails(CALL_getrandom) ? -1 : real(bytes, count_bytes, flags);
}

int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags);
int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags)
{
	REAL(bpf_map_update_elem);
	if (fails(CALL_bpf_map_update_elem))
		return -errno;
	return real(fd, key, value, flags);
}

/* ---- io_uring ----------------------------------------------------------------------------- */

#define TURNED 1024 /* operations whose completions wait for their error */
#define RINGS 16

static struct turned {
	uint64_t user_data;
	int error;
} turned[TURNED];
static struct {
	struct io_uring *ring;
	unsigned seen; /* up to here completions were looked at */
} rings[RINGS];
static pthread_mutex_t ring_lock = PTHREAD_MUTEX_INITIALIZER;

static int call_of(const struct io_uring_sqe *sqe)
{
	switch (sqe->opcode) {
	case IORING_OP_ACCEPT:
		return CALL_ring_accept;
	case IORING_OP_CONNECT:
		return CALL_ring_connect;
	case IORING_OP_SEND:
		return CALL_ring_send;
	case IORING_OP_RECV:
		return CALL_ring_recv;
	case IORING_OP_POLL_ADD:
		return CALL_ring_poll;
	default:
		return -1;
	}
}

static void turn(struct io_uring_sqe *sqe)
{
	const int call = call_of(sqe);
	const uint64_t user_data = sqe->user_data;
	int error;

	if (sqe->opcode == IORING_OP_SEND || sqe->opcode == IORING_OP_RECV)
		sqe->len = (unsigned)shorter(sqe->len);
	if (sqe->opcode == IORING_OP_ACCEPT)
		sqe->ioprio = 0; /* one by one, so that each can fail */
	if (call < 0)
		return;
	for (int i = 0; i < TURNED; i++) {
		if (turned[i].user_data)
			continue;
		error = fault((enum call)call);
		if (!error)
			return;
		turned[i] = (struct turned){.user_data = user_data, .error = error};
		memset(sqe, 0, sizeof(*sqe));
		sqe->opcode = IORING_OP_NOP;
		sqe->user_data = user_data;
		return;
	}
}

static unsigned *seen_of(struct io_uring *ring)
{
	int free_one = -1;

	for (int i = RINGS - 1; i >= 0; i--) {
		if (rings[i].ring == ring)
			return &rings[i].seen;
		if (!rings[i].ring)
			free_one = i;
	}
	if (free_one < 0)
		abort();
	rings[free_one].ring = ring;
	rings[free_one].seen = *ring->cq.khead;
	return &rings[free_one].seen;
}

static void before_enter(struct io_uring *ring)
{
	pthread_mutex_lock(&ring_lock);
	for (unsigned i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++)
		turn(&ring->sq.sqes[i & *ring->sq.kring_mask]);
	pthread_mutex_unlock(&ring_lock);
}

static void after_enter(struct io_uring *ring)
{
	unsigned *seen;

	pthread_mutex_lock(&ring_lock);
	seen = seen_of(ring);
	for (; *seen != __atomic_load_n(ring->cq.ktail, __ATOMIC_ACQUIRE); ++*seen) {
		struct io_uring_cqe *cqe = &ring->cq.cqes[*seen & *ring->cq.kring_mask];

		for (int i = 0; i < TURNED && cqe->user_data; i++) {
			if (turned[i].user_data != cqe->user_data)
				continue;
			cqe->res = -turned[i].error;
			turned[i].user_data = 0;
			break;
		}
	}
	if (*ring->sq.kflags & IORING_SQ_CQ_OVERFLOW)
		count(WORD_OVERFLOWS);
	pthread_mutex_unlock(&ring_lock);
}

int io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
			       struct io_uring_params *params)
{
	const unsigned fewer = (unsigned)word(WORD_RING_ENTRIES);
	int error = fault(CALL_ring_setup);

	REAL(io_uring_queue_init_params);
	if (fewer && fewer < entries) {
		entries = fewer;
		params->cq_entries = fewer;
	}
	return error ? -error : real(entries, ring, params);
}

void io_uring_queue_exit(struct io_uring *ring)
{
	REAL(io_uring_queue_exit);
	pthread_mutex_lock(&ring_lock);
	for (int i = 0; i < RINGS; i++)
		if (rings[i].ring == ring)
			rings[i].ring = NULL;
	pthread_mutex_unlock(&ring_lock);
	real(ring);
}

int io_uring_submit(struct io_uring *ring)
{
	int result;

	REAL(io_uring_submit);
	before_enter(ring);
	result = real(ring);
	after_enter(ring);
	return result;
}

int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **ret_cqe,
				     unsigned wait_count, struct __kernel_timespec *timeout,
				     sigset_t *signals)
{
	int error = fault(CALL_ring_enter), result;

	REAL(io_uring_submit_and_wait_timeout);
	if (error)
		return -error;
	before_enter(ring);
	result = real(ring, ret_cqe, wait_count, timeout, signals);
	after_enter(ring);
	return result;
}

int io_uring_register_buf_ring(struct io_uring *ring, struct io_uring_buf_reg *registration,
			       unsigned flags)
{
	int error = fault(CALL_ring_buffers);

	REAL(io_uring_register_buf_ring);
	return error ? -error : real(ring, registration, flags);
}
