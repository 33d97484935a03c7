// SPDX-License-Identifier: MIT
/*
 * places.c - a set of paths.
 *
 * All of /etc is read, not single files of it: resolv.conf and hosts are replaced while we run (by
 * dhclient, editors), and a rule for a file does not hold for the next file of its name. Whoever
 * keeps secrets from a daemon in /etc does that by their modes, which is why it should not be root.
 * /proc is needed whole, to see whether a daemon that shares our kernel maps is alive.
 */
#include "sandbox/places.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const system_places[] = {
	"/etc", "/lib", "/lib64", "/usr", "/proc", "/sys/devices/system", "/dev/null",
	"/dev/urandom", "/dev/random",
	"/run/resolvconf", "/run/systemd/resolve", "/run/NetworkManager", "/run/nscd",
#ifdef CV_SANITIZED
	"/", /* to name the functions in a report */
#endif
};

int cv_place_set_add(struct cv_place_set *places, const char *path, enum cv_reach reach)
{
	struct cv_landlock_place *grown;
	char *copy;

	for (size_t i = 0; i < places->count; i++)
		if (places->places[i].reach == reach && strcmp(places->places[i].path, path) == 0)
			return 0;
	grown = reallocarray(places->places, places->count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	places->places = grown;
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	grown[places->count++] = (struct cv_landlock_place){.path = copy, .reach = reach};
	return 0;
}

static int add_directory_of(struct cv_place_set *places, const char *path, enum cv_reach reach)
{
	const char *slash = strrchr(path, '/');
	char directory[PATH_MAX];

	if (!slash)
		return cv_place_set_add(places, ".", reach);
	if (slash == path || (size_t)(slash - path) >= sizeof(directory))
		return cv_place_set_add(places, path, reach); /* never the whole of "/" */
	memcpy(directory, path, (size_t)(slash - path));
	directory[slash - path] = '\0';
	return cv_place_set_add(places, directory, reach);
}

int cv_place_set_add_file(struct cv_place_set *places, const char *path, enum cv_reach reach)
{
	char real[PATH_MAX];
	struct stat status;
	int error;

	if (stat(path, &status) == 0 && !S_ISREG(status.st_mode) && !S_ISSOCK(status.st_mode))
		return cv_place_set_add(places, path, reach);
	error = add_directory_of(places, path, reach);
	if (!error && realpath(path, real) && strcmp(real, path) != 0)
		error = add_directory_of(places, real, reach);
	return error;
}

int cv_place_set_add_system(struct cv_place_set *places)
{
	int error = 0;

	for (size_t i = 0; i < sizeof(system_places) / sizeof(system_places[0]) && !error; i++)
		error = cv_place_set_add(places, system_places[i], CV_REACH_READ);
	if (!error) /* where a symbolic link leads to, whoever maintains it */
		error = cv_place_set_add_file(places, "/etc/resolv.conf", CV_REACH_READ);
	if (!error)
		error = cv_place_set_add(places, "/dev/null", CV_REACH_WRITE);
	return error;
}

void cv_place_set_done(struct cv_place_set *places)
{
	for (size_t i = 0; i < places->count; i++)
		free(places->places[i].path);
	free(places->places);
	*places = (struct cv_place_set){0};
}
