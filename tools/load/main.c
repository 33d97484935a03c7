// SPDX-License-Identifier: MIT
/*
 * main.c - load: a generator of load and the site it goes to.
 *
 *   load run ...  --(relay under test)-->  load serve ...
 *
 * One thread and one io_uring per core given, nothing shared but a few counters. It is meant to
 * cost little beside what it measures: downloads are thrown away in the kernel (MSG_TRUNC), what is
 * sent is always the same memory, TLS ends where nobody decrypts. What it costs nevertheless is in
 * the result: CPU seconds and calls of io_uring_enter.
 */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 2
#define RECORD_LEAST 22 /* header, one byte, its type, its tag */

uint8_t cv_load_bytes[CV_LOAD_BYTES];
uint8_t cv_load_message[CV_LOAD_MESSAGE_MAX];
uint8_t cv_load_scratch[1 << 20];

static void make_records(uint8_t *at, size_t left, uint32_t seed)
{
	while (left > 0) {
		size_t whole = left < CV_LOAD_RECORD_BYTES ? left : CV_LOAD_RECORD_BYTES;

		if (left > whole && left - whole < RECORD_LEAST)
			whole -= RECORD_LEAST;
		memcpy(at, "\x17\x03\x03", 3);
		at[3] = (uint8_t)((whole - 5) >> 8);
		at[4] = (uint8_t)((whole - 5) & 0xff);
		for (size_t i = 5; i < whole; i++)
			at[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
		at += whole;
		left -= whole;
	}
}

void cv_load_die(const char *what, int error)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(error));
	exit(EXIT_FAILURE);
}

void cv_load_pin(int core)
{
	cpu_set_t set;

	if (core < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((size_t)core, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		cv_load_die("--cores", errno);
}

_Atomic uint64_t *cv_load_counter(const char *path)
{
	const int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644) : -1;
	void *memory;

	if (!path)
		return NULL;
	if (fd < 0 || ftruncate(fd, sizeof(uint64_t)) != 0)
		cv_load_die(path, errno);
	memory = mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		cv_load_die(path, errno);
	(void)close(fd);
	atomic_store((_Atomic uint64_t *)memory, 0);
	return memory;
}

/* Sleeps; true when a signal said that it is enough. */
static bool told_to_end(const sigset_t *signals, uint64_t ns)
{
	const struct timespec wait = {.tv_sec = (time_t)(ns / CV_LOAD_SECOND_NS),
				      .tv_nsec = (long)(ns % CV_LOAD_SECOND_NS)};

	return sigtimedwait(signals, NULL, &wait) > 0;
}

static bool sleep_until(const sigset_t *signals, uint64_t then_ns)
{
	uint64_t now_ns;

	while ((now_ns = cv_load_now_ns()) < then_ns)
		if (told_to_end(signals, then_ns - now_ns))
			return false;
	return true;
}

static void print_latency(const char *name, const struct cv_load_histogram *histogram)
{
	if (histogram->count == 0)
		return;
	printf("\"%s\": {\"count\": %llu, \"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, "
	       "\"p999\": %.1f, \"max\": %.1f}, ",
	       name, (unsigned long long)histogram->count, cv_load_histogram_us(histogram, 0.5),
	       cv_load_histogram_us(histogram, 0.9), cv_load_histogram_us(histogram, 0.99),
	       cv_load_histogram_us(histogram, 0.999), (double)histogram->max_ns / 1e3);
}

static void print_counts(const struct cv_load_counts *counts)
{
	uint64_t failed = 0;
	const char *comma = "";

	for (int i = 0; i < CV_LOAD_FAILURES; i++)
		failed += counts->failed[i];
	printf("\"bytes\": %llu, \"requests\": %llu, \"established\": %llu, \"failed\": %llu, "
	       "\"failures\": {",
	       (unsigned long long)counts->bytes, (unsigned long long)counts->requests,
	       (unsigned long long)counts->established, (unsigned long long)failed);
	for (int i = 0; i < CV_LOAD_FAILURES; i++) {
		if (counts->failed[i] == 0)
			continue;
		printf("%s\"%s\": %llu", comma, cv_load_failure_name((enum cv_load_failure)i),
		       (unsigned long long)counts->failed[i]);
		comma = ", ";
	}
	printf("}, ");
}

static double seconds_of(struct timeval after, struct timeval before)
{
	return (double)(after.tv_sec - before.tv_sec) +
	       (double)(after.tv_usec - before.tv_usec) / 1e6;
}

static void add(struct cv_load_worker *sum, const struct cv_load_worker *worker)
{
	sum->counts.bytes += worker->counts.bytes;
	sum->counts.requests += worker->counts.requests;
	sum->counts.established += worker->counts.established;
	sum->counts.unstarted += worker->counts.unstarted;
	sum->counts.sent += worker->counts.sent;
	sum->counts.received += worker->counts.received;
	for (int i = 0; i < CV_LOAD_FAILURES; i++)
		sum->counts.failed[i] += worker->counts.failed[i];
	sum->ring.enter_count += worker->ring.enter_count;
	cv_load_histogram_merge(&sum->latency, &worker->latency);
	cv_load_histogram_merge(&sum->since_syn, &worker->since_syn);
}

static void report(const struct cv_load_options *options, const struct cv_load_worker *workers,
		   double seconds, const struct rusage usage[2])
{
	static struct cv_load_worker sum;

	for (size_t i = 0; i < options->core_count; i++)
		add(&sum, &workers[i]);
	printf("{\"seconds\": %.4f, ", seconds);
	print_counts(&sum.counts);
	print_latency("latency_us", &sum.latency);
	print_latency("since_syn_us", &sum.since_syn);
	if (options->kind == CV_LOAD_UDP)
		printf("\"sent\": %llu, \"received\": %llu, ", (unsigned long long)sum.counts.sent,
		       (unsigned long long)sum.counts.received);
	if (options->rate > 0)
		printf("\"unstarted\": %llu, ", (unsigned long long)sum.counts.unstarted);
	printf("\"cpu_seconds\": {\"user\": %.3f, \"system\": %.3f}, \"enters\": %llu}\n",
	       seconds_of(usage[1].ru_utime, usage[0].ru_utime),
	       seconds_of(usage[1].ru_stime, usage[0].ru_stime),
	       (unsigned long long)sum.ring.enter_count);
}

/* False when it was told to end, or time is up. */
static bool wait_for_all(struct cv_load_run *run, const sigset_t *signals)
{
	const uint64_t deadline_ns = cv_load_now_ns() + 2 * CV_LOAD_SECOND_NS +
				     (uint64_t)(run->options->timeout_seconds * 2e9);

	while (atomic_load(&run->settled_count) < run->options->connections)
		if (cv_load_now_ns() > deadline_ns || told_to_end(signals, POLL_MS * 1000000ull))
			return false;
	return true;
}

static bool waits(const struct cv_load_options *options)
{
	return options->kind <= CV_LOAD_REQUEST || options->kind == CV_LOAD_IDLE ||
	       options->kind == CV_LOAD_UDP;
}

static void let_run(struct cv_load_run *run, const sigset_t *signals, struct rusage usage[2],
		    double *ret_seconds)
{
	const struct cv_load_options *options = run->options;
	bool goes_on = true;
	uint64_t begun_ns;

	if (waits(options) && !wait_for_all(run, signals))
		fprintf(stderr, "load: not all connections came\n");
	puts("ready");
	(void)fflush(stdout);
	begun_ns = cv_load_now_ns();
	(void)getrusage(RUSAGE_SELF, &usage[0]);
	atomic_store(&run->start_ns, begun_ns);
	if (options->warm_seconds > 0) {
		goes_on = sleep_until(signals, begun_ns + (uint64_t)(options->warm_seconds * 1e9));
		begun_ns = cv_load_now_ns();
		(void)getrusage(RUSAGE_SELF, &usage[0]);
	}
	if (goes_on)
		(void)sleep_until(signals, begun_ns + (uint64_t)(options->seconds * 1e9));
	*ret_seconds = (double)(cv_load_now_ns() - begun_ns) / 1e9;
	(void)getrusage(RUSAGE_SELF, &usage[1]);
	atomic_store(&run->is_over, true);
}

static int run_all(struct cv_load_options *options, const sigset_t *signals)
{
	struct cv_load_run run = {.options = options};
	struct cv_load_worker *workers;
	pthread_t threads[CV_LOAD_CORES_MAX];
	struct rusage usage[2];
	double seconds;

	if (options->core_count > options->connections)
		options->core_count = options->connections;
	workers = calloc(options->core_count, sizeof(*workers));
	if (!workers)
		cv_load_die("memory", ENOMEM);
	if (options->message_bytes >= RECORD_LEAST)
		make_records(cv_load_message, options->message_bytes, 2);
	run.moved_bytes = cv_load_counter(options->counter_path);
	for (size_t i = 0; i < options->core_count; i++) {
		workers[i].run = &run;
		workers[i].options = options;
		workers[i].core = options->cores[i];
		workers[i].count = options->connections / (uint32_t)options->core_count +
				   (i < options->connections % options->core_count);
		if (pthread_create(&threads[i], NULL,
				   options->kind == CV_LOAD_UDP ? cv_load_work_udp : cv_load_work,
				   &workers[i]) != 0)
			cv_load_die("thread", EAGAIN);
	}
	let_run(&run, signals, usage, &seconds);
	for (size_t i = 0; i < options->core_count; i++)
		(void)pthread_join(threads[i], NULL);
	report(options, workers, seconds, usage);
	free(workers);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static struct cv_load_options options;
	struct rlimit limit;
	sigset_t signals;

	(void)prctl(PR_SET_TIMERSLACK, 1000);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGINT);
	(void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
	make_records(cv_load_bytes, sizeof(cv_load_bytes), 1);
	if (argc > 2 && strcmp(argv[1], "serve") == 0)
		return cv_load_parse_serve(argc - 2, argv + 2, &options) ? cv_load_serve(&options)
									 : 2;
	if (!cv_load_parse_run(argc > 1 && strcmp(argv[1], "run") == 0 ? argc - 2 : 0, argv + 2,
			       &options))
		return 2;
	return run_all(&options, &signals);
}
