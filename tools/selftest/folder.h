/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * folder.h - folders in debugfs: of sessions, with their counters, and of VMs
 */
#ifndef VMEM_SELFTEST_FOLDER_H
#define VMEM_SELFTEST_FOLDER_H

struct folder {
	char path[320];
};

/* How many sessions have one. */
int count_folders(void);

/* VMs that are there though their processes have gone. */
int count_ownerless_vms(void);

/* That of the session that this process attached last. */
struct folder newest_folder(void);

/* A descriptor of a file in it, or -errno. */
int try_open_in(const struct folder *folder, const char *name);

/* A descriptor. Gives up on the program where there is none. */
int open_in(const struct folder *folder, const char *name);

/**
 * struct counters - the file of this name
 * @calls: calls that walked
 * @killed: those of them that a signal ended
 * @looked_up: pages looked up in the owner's mapping so far
 * @hints: how many hints there are
 * @dropped: hints dropped because of a change
 * @translations: addresses translated
 * @torn: answers that were VMEM_TORN
 * @bytes: bytes read by virtual address
 */
struct counters {
	long long calls;
	long long killed;
	long long looked_up;
	long long hints;
	long long dropped;
	long long translations;
	long long torn;
	long long bytes;
};

/* Checks that it says this and nothing else. */
struct counters read_counters(const struct folder *folder);

/* The same of a descriptor, which needs no right to open it. */
struct counters pread_counters(int fd);

#endif /* VMEM_SELFTEST_FOLDER_H */
