// SPDX-License-Identifier: MIT
/*
 * bpffs.c - mounting, directories and modes around the pins.
 *
 * `culvert unload` has to leave the machine as `culvert load` found it, so each change made here
 * is told to the caller, who keeps it in the map info.
 */
#include "engine/bpffs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static int parent_of(const char *directory, char parent[PATH_MAX])
{
	size_t len = strlen(directory);

	while (len > 1 && directory[len - 1] == '/')
		len--;
	while (len > 1 && directory[len - 1] != '/')
		len--;
	while (len > 1 && directory[len - 1] == '/')
		len--;
	if (directory[0] != '/' || len >= PATH_MAX)
		return directory[0] != '/' ? -EINVAL : -ENAMETOOLONG;
	memcpy(parent, directory, len);
	parent[len] = '\0';
	return 0;
}

static int is_bpffs(const char *path)
{
	struct statfs status;

	if (statfs(path, &status) != 0)
		return -errno;
	return (unsigned long)status.f_type == BPF_FS_MAGIC;
}

/* Pins are for whoever may open them; the names may be seen. */
static int mount_bpffs(struct cv_bpffs_traces *traces)
{
	if (mount("bpf", CV_BPFFS_MOUNT, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755") != 0)
		return -errno;
	traces->mounted = true;
	return 0;
}

static int open_to_others(const char *parent, struct cv_bpffs_traces *traces)
{
	struct stat status;

	if (stat(parent, &status) != 0)
		return -errno;
	if (status.st_mode & S_IXOTH)
		return 0;
	if (chmod(parent, (status.st_mode & 07777) | S_IXGRP | S_IXOTH) != 0)
		return -errno;
	traces->parent_mode = (uint16_t)(status.st_mode & 07777);
	return 0;
}

/* The links maps.debug and progs.debug of the kernel's own are no content. */
static bool is_empty(const char *path)
{
	DIR *folder = opendir(path);
	const struct dirent *entry;
	bool found = !folder;

	while (folder && (entry = readdir(folder)))
		found |= entry->d_name[0] != '.' && !strstr(entry->d_name, ".debug");
	if (folder)
		closedir(folder);
	return !found;
}

static void undo(const char *parent, const struct cv_bpffs_traces *traces)
{
	if (traces->parent_mode)
		(void)chmod(parent, traces->parent_mode);
	if (traces->mounted && is_empty(CV_BPFFS_MOUNT))
		(void)umount(CV_BPFFS_MOUNT);
}

int cv_bpffs_make(const char *directory, bool open_parent, struct cv_bpffs_traces *ret_traces)
{
	struct cv_bpffs_traces traces = {0};
	char parent[PATH_MAX];
	int error = parent_of(directory, parent), found;

	if (error)
		return error;
	found = is_bpffs(parent);
	if (found == 0 && strcmp(parent, CV_BPFFS_MOUNT) == 0) {
		error = mount_bpffs(&traces);
		found = error ? error : 1;
	}
	if (found < 1)
		return found ? found : -EMEDIUMTYPE;
	if (open_parent)
		error = open_to_others(parent, &traces);
	if (!error && mkdir(directory, 0755) != 0)
		error = -errno;
	if (error && error != -EEXIST)
		undo(parent, &traces);
	else
		*ret_traces = traces;
	return error;
}

int cv_bpffs_empty(const char *directory)
{
	DIR *folder = opendir(directory);
	const struct dirent *entry;
	int error = 0;

	if (!folder)
		return -errno;
	while ((entry = readdir(folder))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(folder), entry->d_name, 0) != 0)
			error = -errno;
	}
	closedir(folder);
	return error;
}

int cv_bpffs_remove(const char *directory)
{
	int error = cv_bpffs_empty(directory);

	return error ? error : rmdir(directory) == 0 ? 0 : -errno;
}

void cv_bpffs_undo(const char *directory, const struct cv_bpffs_traces *traces)
{
	char parent[PATH_MAX];

	if (parent_of(directory, parent) == 0)
		undo(parent, traces);
}

int cv_bpffs_lock(const char *directory)
{
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int error;

	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX) != 0) {
		if (errno == EINTR)
			continue;
		error = -errno;
		(void)close(fd);
		return error;
	}
	return fd;
}
