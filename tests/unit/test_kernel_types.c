// SPDX-License-Identifier: MIT
/*
 * test_kernel_types.c - our reading of the kernel's BTF against libbpf's, and of what is no BTF.
 */
#include "engine/kernel_types.h"

#include "engine/kernel_parts.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct {
	const char *type, *field;
} fields[] = {
	{"tcp_sock", "rcv_nxt"},     {"tcp_sock", "bytes_received"}, {"tcp_sock", "bytes_acked"},
	{"tcp_sock", "write_seq"},   {"tcp_sock", "snd_una"},	     {"tcp_sock", "copied_seq"},
	{"sk_buff", "cb"},
};

struct place {
	uint32_t bit_offset;
	long size_bytes;
};

static struct place find(const struct btf *btf, const char *name, const char *field)
{
	const struct btf_type *type =
		btf__type_by_id(btf, (uint32_t)btf__find_by_name_kind(btf, name, BTF_KIND_STRUCT));
	struct place place = {0};

	assert_non_null(type);
	for (uint32_t i = 0; i < btf_vlen(type); i++) {
		const struct btf_member *member = &btf_members(type)[i];

		if (strcmp(btf__name_by_offset(btf, member->name_off), field) == 0) {
			place.bit_offset = btf_member_bit_offset(type, i);
			place.size_bytes = btf__resolve_size(btf, member->type);
		}
	}
	return place;
}

static void this_kernel_as_libbpf_reads_it(void **state)
{
	struct btf *whole = btf__parse(CV_KERNEL_BTF, NULL), *own;
	struct cv_kernel_types types;

	(void)state;
	if (!whole)
		skip();
	cv_kernel_types_open(&types);
	assert_true(types.path[0] != '\0');
	own = btf__parse(types.path, NULL);
	assert_non_null(own);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		struct place theirs = find(whole, fields[i].type, fields[i].field);
		struct place ours = find(own, fields[i].type, fields[i].field);

		assert_true(theirs.size_bytes > 0);
		assert_int_equal(ours.bit_offset, theirs.bit_offset);
		assert_int_equal(ours.size_bytes, theirs.size_bytes);
	}
	btf__free(own);
	btf__free(whole);
	cv_kernel_types_close(&types);
	assert_int_equal(types.fd, -1);
}

/* ---- a kernel of our making --------------------------------------------------------------- */

enum flaw { SOUND, TWICE, NO_FIELD, BITFIELD, POINTER };

static struct btf *kernel_new(enum flaw flaw)
{
	struct btf *btf = btf__new_empty();
	int u32, u64, letter, letters, word;

	assert_non_null(btf);
	(void)btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
	u64 = btf__add_int(btf, "long unsigned int", 8, 0);
	u32 = btf__add_int(btf, "unsigned int", 4, 0);
	letter = btf__add_int(btf, "char", 1, 0);
	letters = btf__add_array(btf, u64, letter, 48);
	word = btf__add_volatile(btf, btf__add_typedef(btf, "u32", u32));
	(void)btf__add_func_proto(btf, u32);
	(void)btf__add_enum(btf, "state", 4);
	(void)btf__add_enum_value(btf, "OPEN", 1);
	if (flaw == POINTER)
		word = btf__add_ptr(btf, u32);
	for (int i = 0; i < (flaw == TWICE ? 2 : 1); i++) {
		(void)btf__add_struct(btf, "tcp_sock", 64);
		if (flaw != NO_FIELD)
			(void)btf__add_field(btf, "rcv_nxt", word, 32, 0);
		(void)btf__add_field(btf, "bytes_received", u64, 64, 0);
		(void)btf__add_field(btf, "bytes_acked", u64, 128, 0);
		(void)btf__add_field(btf, "write_seq", u32, 192, 0);
		(void)btf__add_field(btf, "snd_una", u32, 224, 0);
		(void)btf__add_field(btf, "copied_seq", u32, 256, flaw == BITFIELD ? 7 : 0);
		(void)btf__add_field(btf, "flags", u32, 320, 3); /* offsets mean more then */
	}
	(void)btf__add_struct(btf, "sk_buff", 64);
	(void)btf__add_field(btf, "cb", letters, 80, 0);
	return btf;
}

static int pick(enum flaw flaw, struct btf **ret_own)
{
	struct btf *btf = kernel_new(flaw);
	uint32_t len_bytes;
	const void *bytes = btf__raw_data(btf, &len_bytes);
	int error = cv_kernel_types_pick(bytes, len_bytes, ret_own);

	btf__free(btf);
	return error;
}

static void names_of_types_are_seen_through(void **state)
{
	struct btf *own = NULL;

	(void)state;
	assert_int_equal(pick(SOUND, &own), 0);
	assert_int_equal(find(own, "tcp_sock", "rcv_nxt").bit_offset, 32);
	assert_int_equal(find(own, "tcp_sock", "rcv_nxt").size_bytes, 4);
	assert_int_equal(find(own, "tcp_sock", "bytes_acked").bit_offset, 128);
	assert_int_equal(find(own, "tcp_sock", "bytes_acked").size_bytes, 8);
	assert_int_equal(find(own, "sk_buff", "cb").bit_offset, 80);
	assert_int_equal(find(own, "sk_buff", "cb").size_bytes, 48);
	btf__free(own);
}

static void what_it_cannot_know_is_left_to_libbpf(void **state)
{
	struct btf *own = NULL;

	(void)state;
	assert_int_equal(pick(TWICE, &own), -ENOENT);
	assert_int_equal(pick(NO_FIELD, &own), -ENOENT);
	assert_int_equal(pick(BITFIELD, &own), -ENOTSUP);
	assert_int_equal(pick(POINTER, &own), -ENOTSUP);
	assert_null(own);
}

/* At its exact end, for the sanitizers. */
static int pick_copy(const uint8_t *bytes, size_t len_bytes)
{
	uint8_t *copy = malloc(len_bytes ? len_bytes : 1);
	struct btf *own = NULL;
	int error;

	assert_non_null(copy);
	memcpy(copy, bytes, len_bytes);
	error = cv_kernel_types_pick(copy, len_bytes, &own);
	btf__free(own);
	free(copy);
	return error;
}

static void what_is_no_btf_is_refused(void **state)
{
	struct btf *btf = kernel_new(SOUND);
	uint32_t len_bytes;
	const void *raw = btf__raw_data(btf, &len_bytes);
	uint8_t *bytes = malloc(len_bytes);

	(void)state;
	assert_non_null(bytes);
	memcpy(bytes, raw, len_bytes);
	btf__free(btf);
	assert_int_equal(pick_copy(bytes, len_bytes), 0);
	for (size_t len = 0; len < len_bytes; len++)
		assert_int_equal(pick_copy(bytes, len), -EBADMSG);
	for (size_t at = 0; at < len_bytes; at++)
		for (int bit = 0; bit < 8; bit++) { /* anything but a wrong access */
			bytes[at] ^= (uint8_t)(1 << bit);
			(void)pick_copy(bytes, len_bytes);
			bytes[at] ^= (uint8_t)(1 << bit);
		}
	free(bytes);
}

/* ---- the programs ------------------------------------------------------------------------- */

static int load(const struct cv_kernel_kind *kind, const struct cv_kernel_types *types)
{
	void *skeleton = NULL;
	int error = kind->open(types, &skeleton) ? kind->load(skeleton) : -errno;

	if (skeleton)
		kind->destroy(skeleton);
	return error;
}

/* Each one's fields are all in the table; and where we find nothing, libbpf does. */
static void each_part_loads_with_them_and_without(void **state)
{
	const struct cv_kernel_types none = {.fd = -1};
	libbpf_print_fn_t print = libbpf_set_print(NULL);
	struct cv_kernel_types types;
	size_t loaded = 0;

	(void)state;
	cv_kernel_types_open(&types);
	for (size_t i = 0; i < cv_kernel_part_count; i++) {
		int error = load(&cv_kernel_parts[i], &none);

		assert_int_equal(load(&cv_kernel_parts[i], &types), error);
		loaded += !error;
	}
	cv_kernel_types_close(&types);
	libbpf_set_print(print);
	if (!loaded)
		skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(this_kernel_as_libbpf_reads_it),
		cmocka_unit_test(names_of_types_are_seen_through),
		cmocka_unit_test(what_it_cannot_know_is_left_to_libbpf),
		cmocka_unit_test(what_is_no_btf_is_refused),
		cmocka_unit_test(each_part_loads_with_them_and_without),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
