/* SPDX-License-Identifier: MIT */
/*
 * kernel_types.h - the few types of the kernel's own that our BPF programs read.
 *
 * libbpf finds a field's offset in the kernel's description of all its types (BTF, 5 MB), which it
 * parses and searches anew for each object: 10 ms of CPU. We look for two structs in it and hand
 * libbpf a description of those alone.
 */
#ifndef CV_ENGINE_KERNEL_TYPES_H
#define CV_ENGINE_KERNEL_TYPES_H

#include <stddef.h>

#define CV_KERNEL_BTF "/sys/kernel/btf/vmlinux"

struct btf;

struct cv_kernel_types {
	int fd;
	char path[32]; /* of @fd, while it is open; "" = none */
};

/**
 * cv_kernel_types_pick() - What our programs read, out of a kernel's BTF.
 * @bytes: the whole of it, not trusted. @ret_btf: freed with btf__free().
 * Returns 0; -EBADMSG: not BTF, or of kinds from after our time; -ENOENT: a struct or field is not
 * there, or not just once; -ENOTSUP: a field is neither a number nor characters; -ENOMEM.
 */
int cv_kernel_types_pick(const void *bytes, size_t len_bytes, struct btf **ret_btf);

/**
 * cv_kernel_types_open() - The same of this kernel, as a file for bpf_object_open_opts.
 * Whatever fails leaves none: libbpf then reads the kernel's BTF by itself, with its own errors.
 */
void cv_kernel_types_open(struct cv_kernel_types *ret_types);
/** cv_kernel_types_close() - After the load, which is when libbpf reads it. */
void cv_kernel_types_close(struct cv_kernel_types *types);

#endif
