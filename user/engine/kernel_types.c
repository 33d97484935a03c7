// SPDX-License-Identifier: MIT
/*
 * kernel_types.c - two structs out of the kernel's BTF.
 *
 *   /sys/kernel/btf/vmlinux:  header | types, one behind the other | strings
 *     walk all types, once --> struct tcp_sock, struct sk_buff, each just once
 *       each field of theirs that we want --> offset, and its type's size
 *   --> a BTF of these two with these fields, in memory --> libbpf
 *
 * Types have no index: the n-th is found by walking. Only structs' names are looked at, and of
 * fields' types there are few, most of them near the beginning.
 */
#include "engine/kernel_types.h"

#include <bpf/btf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/btf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define FIELDS 8
#define BYTES_MAX (64u << 20)
#define CHAIN_MAX 8 /* of typedefs and qualifiers */

/* All that bpf/ reads through preserve_access_index: what is missing here does not load. */
static const struct wanted {
	const char *name, *fields[FIELDS];
} wanted[] = {
	{"tcp_sock",
	 {"rcv_nxt", "bytes_received", "bytes_acked", "write_seq", "snd_una", "copied_seq"}},
	{"sk_buff", {"cb"}},
};

#define WANTED (sizeof(wanted) / sizeof(wanted[0]))

struct source {
	const uint8_t *types;
	uint32_t types_bytes;
	const char *strings;
	uint32_t strings_bytes;
};

/* ---- reading ------------------------------------------------------------------------------ */

static bool source_open(const void *bytes, size_t len_bytes, struct source *ret_source)
{
	const struct btf_header *header = bytes;
	size_t body_bytes;

	if (len_bytes < sizeof(*header) || header->magic != BTF_MAGIC ||
	    header->version != BTF_VERSION || header->hdr_len < sizeof(*header) ||
	    header->hdr_len > len_bytes)
		return false;
	body_bytes = len_bytes - header->hdr_len;
	if (header->type_off % 4 || header->hdr_len % 4 || header->type_off > body_bytes ||
	    header->type_len > body_bytes - header->type_off || header->str_off > body_bytes ||
	    header->str_len > body_bytes - header->str_off || header->str_len == 0)
		return false;
	ret_source->types = (const uint8_t *)bytes + header->hdr_len + header->type_off;
	ret_source->types_bytes = header->type_len;
	ret_source->strings = (const char *)bytes + header->hdr_len + header->str_off;
	ret_source->strings_bytes = header->str_len;
	return ret_source->strings[header->str_len - 1] == '\0';
}

static const char *string_at(const struct source *source, uint32_t offset)
{
	return offset < source->strings_bytes ? source->strings + offset : "";
}

/* Of a type's description: as much anyway, and as much for each of its parts. */
static const struct layout {
	uint8_t is_known, more_bytes, part_bytes;
} layouts[] = {
	[BTF_KIND_INT] = {1, 4, 0},
	[BTF_KIND_PTR] = {1, 0, 0},
	[BTF_KIND_ARRAY] = {1, sizeof(struct btf_array), 0},
	[BTF_KIND_STRUCT] = {1, 0, sizeof(struct btf_member)},
	[BTF_KIND_UNION] = {1, 0, sizeof(struct btf_member)},
	[BTF_KIND_ENUM] = {1, 0, sizeof(struct btf_enum)},
	[BTF_KIND_FWD] = {1, 0, 0},
	[BTF_KIND_TYPEDEF] = {1, 0, 0},
	[BTF_KIND_VOLATILE] = {1, 0, 0},
	[BTF_KIND_CONST] = {1, 0, 0},
	[BTF_KIND_RESTRICT] = {1, 0, 0},
	[BTF_KIND_FUNC] = {1, 0, 0},
	[BTF_KIND_FUNC_PROTO] = {1, 0, sizeof(struct btf_param)},
	[BTF_KIND_VAR] = {1, sizeof(struct btf_var), 0},
	[BTF_KIND_DATASEC] = {1, 0, sizeof(struct btf_var_secinfo)},
	[BTF_KIND_FLOAT] = {1, 0, 0},
	[BTF_KIND_DECL_TAG] = {1, sizeof(struct btf_decl_tag), 0},
	[BTF_KIND_TYPE_TAG] = {1, 0, 0},
	[BTF_KIND_ENUM64] = {1, 0, sizeof(struct btf_enum64)},
};

/* The type at @at; NULL behind the last one, and where it is none. */
static const struct btf_type *type_at(const struct source *source, uint32_t at, uint32_t *ret_next)
{
	const struct btf_type *type = (const void *)(source->types + at);
	const uint32_t left_bytes = source->types_bytes - at;
	const struct layout *layout;
	uint32_t kind, bytes;

	if (left_bytes < sizeof(*type))
		return NULL;
	kind = BTF_INFO_KIND(type->info);
	if (kind >= sizeof(layouts) / sizeof(layouts[0]) || !layouts[kind].is_known)
		return NULL;
	layout = &layouts[kind];
	bytes = sizeof(*type) + layout->more_bytes + BTF_INFO_VLEN(type->info) * layout->part_bytes;
	if (bytes > left_bytes)
		return NULL;
	*ret_next = at + bytes;
	return type;
}

static const struct btf_type *type_numbered(const struct source *source, uint32_t number)
{
	const struct btf_type *type = NULL;
	uint32_t at = 0;

	for (uint32_t i = 1; i <= number; i++) {
		type = type_at(source, at, &at);
		if (!type)
			return NULL;
	}
	return type;
}

static int find_structs(const struct source *source, const struct btf_type *ret_found[WANTED])
{
	const struct btf_type *type;
	uint32_t at = 0;

	while ((type = type_at(source, at, &at)) != NULL) {
		const char *name = "";

		if (BTF_INFO_KIND(type->info) == BTF_KIND_STRUCT)
			name = string_at(source, type->name_off);
		for (size_t i = 0; i < WANTED && name[0]; i++) {
			if (strcmp(name, wanted[i].name) != 0)
				continue;
			if (ret_found[i])
				return -ENOENT;
			ret_found[i] = type;
		}
	}
	if (at != source->types_bytes)
		return -EBADMSG;
	for (size_t i = 0; i < WANTED; i++)
		if (!ret_found[i])
			return -ENOENT;
	return 0;
}

/* ---- writing ------------------------------------------------------------------------------ */

static const struct btf_type *without_names(const struct source *source, uint32_t number)
{
	const struct btf_type *type = NULL;

	for (int i = 0; i < CHAIN_MAX; i++) {
		type = type_numbered(source, number);
		switch (type ? BTF_INFO_KIND(type->info) : BTF_KIND_UNKN) {
		case BTF_KIND_TYPEDEF:
		case BTF_KIND_VOLATILE:
		case BTF_KIND_CONST:
		case BTF_KIND_TYPE_TAG:
			number = type->type;
			break;
		default:
			return type;
		}
	}
	return NULL;
}

static int add_number(struct btf *btf, uint32_t bytes)
{
	return btf__add_int(btf, bytes == 8 ? "u64" : bytes == 4 ? "u32" : "u8", bytes, 0);
}

/* A number of as many bytes, or an array of such. Its number in @btf, or negative. */
static int add_type(struct btf *btf, const struct source *source, uint32_t number)
{
	const struct btf_type *type = without_names(source, number);
	const struct btf_array *array = NULL;
	int element, index;

	if (type && BTF_INFO_KIND(type->info) == BTF_KIND_ARRAY) {
		array = (const void *)(type + 1);
		type = without_names(source, array->type);
	}
	if (!type || BTF_INFO_KIND(type->info) != BTF_KIND_INT ||
	    (type->size != 1 && type->size != 4 && type->size != 8))
		return -ENOTSUP;
	element = add_number(btf, type->size);
	if (!array || element < 0)
		return element;
	index = add_number(btf, 4);
	return index < 0 ? index : btf__add_array(btf, index, element, (int)array->nelems);
}

static const struct btf_member *member_named(const struct source *source,
					     const struct btf_type *type, const char *name)
{
	const struct btf_member *members = (const void *)(type + 1);

	for (uint32_t i = 0; i < BTF_INFO_VLEN(type->info); i++)
		if (strcmp(string_at(source, members[i].name_off), name) == 0)
			return &members[i];
	return NULL;
}

static int add_struct(struct btf *btf, const struct source *source, const struct btf_type *type,
		      const struct wanted *want)
{
	const struct btf_member *found[FIELDS];
	int types[FIELDS], error;
	size_t count = 0;

	for (; count < FIELDS && want->fields[count]; count++) {
		found[count] = member_named(source, type, want->fields[count]);
		if (!found[count])
			return -ENOENT;
		types[count] = add_type(btf, source, found[count]->type);
		if (types[count] < 0)
			return types[count];
	}
	error = btf__add_struct(btf, want->name, type->size);
	for (size_t i = 0; i < count && error >= 0; i++) {
		uint32_t offset = found[i]->offset;

		if (BTF_INFO_KFLAG(type->info)) {
			if (BTF_MEMBER_BITFIELD_SIZE(offset))
				return -ENOTSUP;
			offset = BTF_MEMBER_BIT_OFFSET(offset);
		}
		error = btf__add_field(btf, want->fields[i], types[i], offset, 0);
	}
	return error < 0 ? error : 0;
}

int cv_kernel_types_pick(const void *bytes, size_t len_bytes, struct btf **ret_btf)
{
	const struct btf_type *found[WANTED] = {NULL};
	struct source source;
	struct btf *btf;
	int error;

	if (!source_open(bytes, len_bytes, &source))
		return -EBADMSG;
	error = find_structs(&source, found);
	if (error)
		return error;
	btf = btf__new_empty();
	if (!btf)
		return -errno;
	for (size_t i = 0; i < WANTED && !error; i++)
		error = add_struct(btf, &source, found[i], &wanted[i]);
	if (error)
		btf__free(btf);
	else
		*ret_btf = btf;
	return error;
}

/* ---- this kernel's ------------------------------------------------------------------------ */

/* A page at a time is all that sysfs gives. */
static bool read_all(int fd, uint8_t *bytes, size_t count_bytes)
{
	size_t have = 0;
	ssize_t got = 1;

	while (have < count_bytes && got > 0) {
		got = read(fd, bytes + have, count_bytes - have);
		have += got > 0 ? (size_t)got : 0;
	}
	return have == count_bytes;
}

/* From Linux 6.16 on it can be mapped; else it is read into as much memory. NULL: neither. */
static void *map_btf(size_t *ret_bytes)
{
	int fd = open(CV_KERNEL_BTF, O_RDONLY | O_CLOEXEC);
	struct stat status = {0};
	void *bytes = MAP_FAILED;
	size_t count;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &status) == 0 && status.st_size > 0 && status.st_size < BYTES_MAX) {
		count = (size_t)status.st_size;
		bytes = mmap(NULL, count, PROT_READ, MAP_PRIVATE, fd, 0);
		if (bytes == MAP_FAILED) {
			bytes = mmap(NULL, count, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
			if (bytes != MAP_FAILED && !read_all(fd, bytes, count)) {
				(void)munmap(bytes, count);
				bytes = MAP_FAILED;
			}
		}
		*ret_bytes = count;
	}
	(void)close(fd);
	return bytes == MAP_FAILED ? NULL : bytes;
}

static int file_of(const struct btf *btf)
{
	uint32_t len_bytes;
	const void *bytes = btf__raw_data(btf, &len_bytes);
	int fd = memfd_create("culvert-types", MFD_CLOEXEC | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = memfd_create("culvert-types", MFD_CLOEXEC);
	if (fd >= 0 && (!bytes || write(fd, bytes, len_bytes) != (ssize_t)len_bytes)) {
		(void)close(fd);
		fd = -1;
	}
	return fd;
}

void cv_kernel_types_open(struct cv_kernel_types *ret_types)
{
	struct cv_kernel_types types = {.fd = -1};
	size_t len_bytes = 0;
	void *bytes = map_btf(&len_bytes);
	struct btf *btf = NULL;

	if (bytes && cv_kernel_types_pick(bytes, len_bytes, &btf) == 0)
		types.fd = file_of(btf);
	if (types.fd >= 0)
		(void)snprintf(types.path, sizeof(types.path), "/proc/self/fd/%d", types.fd);
	if (types.path[0] && access(types.path, R_OK) != 0)
		types.path[0] = '\0'; /* no /proc */
	btf__free(btf);
	if (bytes)
		(void)munmap(bytes, len_bytes);
	*ret_types = types;
}

void cv_kernel_types_close(struct cv_kernel_types *types)
{
	if (types->fd >= 0)
		(void)close(types->fd);
	types->fd = -1;
	types->path[0] = '\0';
}
