/* SPDX-License-Identifier: MIT */
/*
 * log.h - the daemon's log. Floors below session log at debug only; secrets and user traffic never.
 */
#ifndef CV_BASE_LOG_H
#define CV_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum cv_log_level { CV_LOG_DEBUG, CV_LOG_INFO, CV_LOG_WARNING, CV_LOG_ERROR, CV_LOG_NONE };

/** cv_log_open() - Log to @path ("" or NULL = stderr) from @level up. Returns 0 or -errno. */
int cv_log_open(const char *path, enum cv_log_level level);
/** cv_log_copy_errors() - Messages of level error also go to @fd, bare, whatever the log's level;
 * -1 ends that. */
void cv_log_copy_errors(int fd);
bool cv_log_wants(enum cv_log_level level);
/** cv_log() - One line "TIMESTAMP level message"; thread safe, one write(2) per line. */
void cv_log(enum cv_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For lines that would come by the thousand; zeroed, one for each kind of line. */
struct cv_log_pace {
	_Atomic uint64_t next_ms, held_back;
	_Atomic uint32_t said; /* cv_log_some() only */
};

#define CV_LOG_PACE_MS 10000
/** cv_log_turn() - True once in CV_LOG_PACE_MS: the line may be logged, @ret_held_back others were
 * not since the last one. Thread safe. */
bool cv_log_turn(struct cv_log_pace *pace, uint64_t *ret_held_back);
/** cv_log_some() - True @most times in CV_LOG_PACE_MS; @ret_held_back is not 0 when there had been
 * more the last time. Thread safe; one more or less at the turn is possible. */
bool cv_log_some(struct cv_log_pace *pace, uint32_t most, uint64_t *ret_held_back);

#define cv_log_debug(...) \
	do { \
		if (cv_log_wants(CV_LOG_DEBUG)) \
			cv_log(CV_LOG_DEBUG, __VA_ARGS__); \
	} while (0)

#endif
