/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * copy.h - a snapshot's memory in our own, and what has to be so of it
 */
#ifndef VMEM_SELFTEST_COPY_H
#define VMEM_SELFTEST_COPY_H

#include <libvmem.h>

#include "session.h"
#include "tables.h"

/**
 * struct copy - the memory of a snapshot
 * @rams: its pieces
 * @nr: how many they are
 */
struct copy {
	struct guest_ram rams[LIBVMEM_MAX_EXTENTS];
	__u32 nr;
};

/* Room for it, all of it zero. */
struct copy copy_new(const struct libvmem_extent *extents, __u32 nr);
void copy_free(struct copy *copy);

/*
 * Has the library write a snapshot of a VM of this process into @fd. Prints what
 * it says of a failure.
 */
int copy_make(int vm_fd, const struct libvmem_snapshot_args *args, int fd,
	      struct libvmem_snapshot *made, struct libvmem_error *error);

/* The memory of the snapshot in the file @fd. */
struct copy copy_load(int fd);

/* An empty file for a snapshot. */
int copy_file(void);

/* Bytes of it all. */
__u64 copy_len(const struct copy *copy);

/* Where we have @gpa; NULL where the snapshot has nothing. */
void *copy_ptr(const struct copy *copy, __u64 gpa);

/* The tables of the space with this index, whose old ones are like @like. */
struct tables copy_tables(struct copy *copy, const struct tables *like,
			  __u32 index);

/* A session that has it as its guest's memory. */
int copy_open(const struct copy *copy);

/**
 * struct view - spaces as a session sees them
 * @session: the session
 * @regs: the registers that they have in common
 * @cr3: their roots
 * @nr: how many they are
 * @va: where to begin in each
 * @last_va: where to end
 * @any_size: pages may be of other sizes, as those at the ends of a range are
 */
struct view {
	int session;
	struct vmem_regs regs;
	const __u64 *cr3;
	__u32 nr;
	__u64 va;
	__u64 last_va;
	bool any_size;
};

/*
 * Checks that two views are the same but for the names of pages: the same
 * addresses are mapped by the same pages, with the same rights, and those hold
 * the same. Returns how many pages of 4 KiB were compared.
 */
__u64 check_same_but_for_names(const struct view *a, const struct view *b);

#endif /* VMEM_SELFTEST_COPY_H */
