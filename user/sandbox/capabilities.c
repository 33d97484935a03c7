// SPDX-License-Identifier: MIT
/*
 * capabilities.c - five sets of capabilities, brought down to one.
 *
 *   bounding, ambient, inheritable -> empty: what an exec could give
 *   permitted, effective           -> what is kept
 *   secure bits                    -> uid 0 is nobody special any more, locked
 *
 * Bounding set and secure bits take CAP_SETPCAP. Who has none of it has no right to lose either:
 * no_new_privs keeps an exec from giving any.
 */
#include "sandbox/capabilities.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CAP_CHECKPOINT_RESTORE
#define CAP_CHECKPOINT_RESTORE 40
#endif

static const char *const names[] = {
	"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid",
	"setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw",
	"ipc_lock", "ipc_owner", "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct",
	"sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod",
	"lease", "audit_write", "audit_control", "setfcap", "mac_override", "mac_admin", "syslog",
	"wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore",
};

struct sets {
	struct __user_cap_header_struct header;
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
};

static int sets_read(struct sets *sets)
{
	memset(sets, 0, sizeof(*sets));
	sets->header.version = _LINUX_CAPABILITY_VERSION_3;
	return syscall(SYS_capget, &sets->header, sets->data) == 0 ? 0 : -errno;
}

static int sets_write(struct sets *sets)
{
	sets->header.pid = 0;
	return syscall(SYS_capset, &sets->header, sets->data) == 0 ? 0 : -errno;
}

uint64_t cv_capabilities_have(void)
{
	struct sets sets;

	if (sets_read(&sets) != 0)
		return 0;
	return (uint64_t)sets.data[1].effective << 32 | sets.data[0].effective;
}

int cv_capabilities_suspend(uint64_t mask)
{
	struct sets sets;
	int error = sets_read(&sets);

	for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		sets.data[i].effective = sets.data[i].permitted & (uint32_t)(mask >> (32 * i));
	return error ? error : sets_write(&sets);
}

int cv_capabilities_resume(void)
{
	return cv_capabilities_suspend(~0ull);
}

/* What the kernel knows above CAP_CHECKPOINT_RESTORE, it is asked for as well. */
static int bounding_empty(void)
{
	for (unsigned long number = 0; number < 64; number++)
		if (prctl(PR_CAPBSET_READ, number, 0, 0, 0) == 1 &&
		    prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0)
			return -errno;
	return 0;
}

static int root_is_nobody(void)
{
	const unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
				   SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED;

	return prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) == 0 ? 0 : -errno;
}

int cv_capabilities_keep(uint64_t mask)
{
	struct sets sets;
	int error = 0;

	if (cv_capabilities_have() & CV_CAPABILITY(CAP_SETPCAP)) {
		error = bounding_empty();
		if (!error)
			error = root_is_nobody();
	}
	if (!error && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
		error = -errno;
	if (!error)
		error = sets_read(&sets);
	if (error)
		return error;
	for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		sets.data[i].permitted &= (uint32_t)(mask >> (32 * i));
		sets.data[i].effective = sets.data[i].permitted;
		sets.data[i].inheritable = 0;
	}
	return sets_write(&sets);
}

void cv_capabilities_format(uint64_t mask, char text[CV_CAPABILITIES_TEXT])
{
	size_t len = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < 64 && len < CV_CAPABILITIES_TEXT; i++) {
		if (!(mask & CV_CAPABILITY(i)))
			continue;
		if (i < sizeof(names) / sizeof(names[0]))
			len += (size_t)snprintf(text + len, CV_CAPABILITIES_TEXT - len, "%s%s",
						len ? " " : "", names[i]);
		else
			len += (size_t)snprintf(text + len, CV_CAPABILITIES_TEXT - len, "%s%u",
						len ? " " : "", i);
	}
	if (len == 0)
		strcpy(text, "no");
}
