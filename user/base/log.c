// SPDX-License-Identifier: MIT
/*
 * log.c - one line per event, one write(2) per line, no lock.
 *
 * A line is built on the caller's stack and written at once; O_APPEND keeps lines of several
 * workers whole. The log owns one descriptor for the life of the process: opening again (log
 * rotation) replaces what is behind it with dup3(2), so a worker in the middle of a line writes to
 * the old file or the new one, never to a closed number. Before cv_log_open() lines go to stderr.
 *
 * Control bytes are replaced by '?': names sent by a peer must not forge lines or drive a terminal.
 */
#include "base/log.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static const char *const level_names[] = {"debug", "info", "warning", "error"};

static atomic_int log_fd = -1;
static atomic_int log_level = CV_LOG_INFO;
static atomic_int copy_fd = -1;

/* Put @fd (consumed) behind the log's descriptor. */
static int log_install(int fd)
{
	const int old = atomic_load(&log_fd);
	int error = 0;

	if (old < 0) {
		atomic_store(&log_fd, fd);
		return 0;
	}
	if (dup3(fd, old, O_CLOEXEC) < 0)
		error = -errno;
	close(fd);
	return error;
}

int cv_log_open(const char *path, enum cv_log_level level)
{
	const bool to_stderr = !path || !*path;
	const int fd = to_stderr ? fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)
				 : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);

	if (fd < 0)
		return -errno;

	const int error = log_install(fd);

	if (!error)
		atomic_store(&log_level, (int)level);
	return error;
}

void cv_log_copy_errors(int fd)
{
	atomic_store(&copy_fd, fd);
}

bool cv_log_wants(enum cv_log_level level)
{
	return level < CV_LOG_NONE &&
	       (int)level >= atomic_load_explicit(&log_level, memory_order_relaxed);
}

static size_t line_start(char *line, size_t size_bytes, enum cv_log_level level)
{
	const uint64_t now_ms = cv_clock_wall_ms();
	const time_t now = (time_t)(now_ms / 1000);
	struct tm utc = {0};

	gmtime_r(&now, &utc);

	size_t len = strftime(line, size_bytes, "%Y-%m-%dT%H:%M:%S", &utc);
	const int more = snprintf(line + len, size_bytes - len, ".%03uZ %s ",
				  (unsigned int)(now_ms % 1000), level_names[level]);

	return more > 0 ? len + (size_t)more : len;
}

static void line_write(const char *line, size_t len)
{
	const int fd = atomic_load(&log_fd);
	ssize_t written;

	do
		written = write(fd < 0 ? STDERR_FILENO : fd, line, len);
	while (written < 0 && errno == EINTR);
	/* Nothing can be done about a full disk here; a session must not fail for it. */
}

void cv_log(enum cv_log_level level, const char *format, ...)
{
	char line[LINE_MAX_BYTES];
	const int saved_errno = errno;
	va_list arguments;

	const int copy = level == CV_LOG_ERROR ? atomic_load(&copy_fd) : -1;

	if (!cv_log_wants(level) && copy < 0)
		return;

	const size_t start = line_start(line, sizeof(line), level);
	const size_t room = sizeof(line) - start;

	va_start(arguments, format);
	const int wanted = vsnprintf(line + start, room, format, arguments);
	va_end(arguments);

	/* vsnprintf() keeps the last byte for its NUL: that is where the newline goes. */
	size_t len = start;

	if (wanted > 0)
		len += (size_t)wanted < room ? (size_t)wanted : room - 1;
	for (size_t i = start; i < len; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[len] = '\n';
	if (cv_log_wants(level))
		line_write(line, len + 1);
	if (copy >= 0 && write(copy, line + start, len + 1 - start) < 0)
		atomic_store(&copy_fd, -1); /* nobody reads it any more */
	errno = saved_errno;
}

bool cv_log_turn(struct cv_log_pace *pace, uint64_t *ret_held_back)
{
	const uint64_t now_ms = cv_clock_ms();
	uint64_t next_ms = atomic_load(&pace->next_ms);

	if (now_ms < next_ms ||
	    !atomic_compare_exchange_strong(&pace->next_ms, &next_ms, now_ms + CV_LOG_PACE_MS)) {
		atomic_fetch_add(&pace->held_back, 1);
		return false;
	}
	*ret_held_back = atomic_exchange(&pace->held_back, 0);
	return true;
}

bool cv_log_some(struct cv_log_pace *pace, uint32_t most, uint64_t *ret_held_back)
{
	const uint64_t now_ms = cv_clock_ms();
	uint64_t next_ms = atomic_load(&pace->next_ms);

	*ret_held_back = 0;
	if (now_ms >= next_ms &&
	    atomic_compare_exchange_strong(&pace->next_ms, &next_ms, now_ms + CV_LOG_PACE_MS)) {
		atomic_store(&pace->said, 0);
		*ret_held_back = atomic_exchange(&pace->held_back, 0);
	}
	if (atomic_fetch_add(&pace->said, 1) < most)
		return true;
	atomic_fetch_add(&pace->held_back, 1);
	return false;
}
