/* SPDX-License-Identifier: MIT */
/*
 * classify_rig.h - hellos, connections over loopback, and what the maps say about them.
 */
#ifndef CV_TESTS_CLASSIFY_RIG_H
#define CV_TESTS_CLASSIFY_RIG_H

#include "engine/classify.h"
#include "engine/kernel.h"
#include "wire_bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TABLE 3
#define OTHER_TABLE 4
#define PORT 4430	/* names; what is not TLS is dropped */
#define LOOSE_PORT 4431 /* no names; what is not TLS passes */
#define UNLISTED_PORT 4432
#define FLOOD_PORT 4440

enum { EXACT = CV_SNI_CLASS_FIRST, WILD, LONGER, DROPPED };

extern struct cv_kernel *kernel;
extern struct cv_classify *classify;
extern struct bytes hello, received;

struct pair {
	int client, server;
};

/** classify_set_up() / _tear_down() - Network namespace, program, fill_tables(). */
int classify_set_up(void **state);
int classify_tear_down(void **state);
/** fill_tables() - A new classify with names and ports, in kernel's maps. */
void fill_tables(void);
/** skip_unless_ready() - Says why. */
void skip_unless_ready(void);

/** make_hello() - Into hello: for @name (NULL = none) behind an extension of @filler bytes. */
void make_hello(const char *name, size_t filler);
/** listen_on() - A listener with the program on it. */
int listen_on(int family, uint16_t port);
struct pair connect_to(int listener);
/** close_pair() - With a reset, so that ports are free at once. */
void close_pair(struct pair pair);
/** send_pieces() - The hello. */
void send_pieces(int fd, size_t piece_bytes);
/** is_silent() - Nothing to read, no end, for @wait_ms. */
bool is_silent(int fd, int wait_ms);
/** assert_received() - All of the hello arrives, unchanged. */
void assert_received(int fd);
/** class_of() - CV_SNI_CLASS_NONE if it is left to user space. */
uint32_t class_of(int fd, uint32_t table);
struct cv_sni_counter counter_of(uint32_t class);
bool map_is_empty(int fd, size_t key_bytes);

#endif
