// SPDX-License-Identifier: GPL-2.0-only
/*
 * folder.c - folders in debugfs: of sessions, with their counters, and of VMs
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>

#include "folder.h"
#include "ktap.h"

#define VMEM_DIR "/sys/kernel/debug/vmem"

/* Beside them is a file, of what is counted over all sessions. */
static bool is_folder(const struct dirent *entry)
{
	return entry->d_type == DT_DIR && entry->d_name[0] != '.';
}

int count_folders(void)
{
	struct dirent *entry;
	int nr = 0;
	DIR *dir;

	dir = opendir(VMEM_DIR);
	must(dir ? 0 : -1, VMEM_DIR);
	while ((entry = readdir(dir)))
		nr += is_folder(entry);
	closedir(dir);
	return nr;
}

/* KVM has a folder for each VM, named <pid>-<descriptor>. */
int count_ownerless_vms(void)
{
	DIR *dir = opendir("/sys/kernel/debug/kvm");
	struct dirent *entry;
	int pid, fd, nr = 0;

	must(dir ? 0 : -1, "/sys/kernel/debug/kvm");
	while ((entry = readdir(dir)))
		nr += sscanf(entry->d_name, "%d-%d", &pid, &fd) == 2 &&
		      kill(pid, 0);
	closedir(dir);
	return nr;
}

/* Folders are named <pid>-<number>. */
struct folder newest_folder(void)
{
	struct folder folder = { .path = VMEM_DIR "/none" };
	unsigned int number, best = 0;
	struct dirent *entry;
	int pid;
	DIR *dir;

	dir = opendir(VMEM_DIR);
	must(dir ? 0 : -1, VMEM_DIR);
	while ((entry = readdir(dir))) {
		if (sscanf(entry->d_name, "%d-%u", &pid, &number) != 2 ||
		    pid != getpid() || number < best)
			continue;
		best = number;
		snprintf(folder.path, sizeof(folder.path), VMEM_DIR "/%s",
			 entry->d_name);
	}
	closedir(dir);
	return folder;
}

int try_open_in(const struct folder *folder, const char *name)
{
	char path[400];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder->path, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int open_in(const struct folder *folder, const char *name)
{
	int fd = try_open_in(folder, name);

	errno = fd < 0 ? -fd : 0;
	return (int)must(fd, name);
}

struct counters pread_counters(int fd)
{
	static const char *const names[] = {
		"calls", "calls_killed",  "pages_looked_up",
		"hints", "hints_dropped", "translations",
		"torn",	 "bytes_read"
	};
	struct counters c = {};
	long long *const values[] = { &c.calls, &c.killed,  &c.looked_up,
				      &c.hints, &c.dropped, &c.translations,
				      &c.torn,	&c.bytes };
	char text[512] = "", name[32];
	const char *line = text;
	unsigned int i;
	int end;

	must(pread(fd, text, sizeof(text) - 1, 0), "counters");
	for (i = 0; i < ARRAY_SIZE(names); i++, line += end) {
		end = 0;
		*values[i] = -1;
		if (sscanf(line, "%31s %lld %n", name, values[i], &end) != 2 ||
		    strcmp(name, names[i]))
			ktap_fail("not understood: '%s'", text);
	}
	CHECK_EQ(*line, 0);
	return c;
}

struct counters read_counters(const struct folder *folder)
{
	int fd = open_in(folder, "counters");
	struct counters c = pread_counters(fd);

	close(fd);
	return c;
}
