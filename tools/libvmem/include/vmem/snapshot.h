/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Snapshot: the memory of a machine that has the rebuilt tables of many spaces
 * and the pages that they map, each once, and nothing else.
 */
#ifndef _VMEM_SNAPSHOT_H
#define _VMEM_SNAPSHOT_H

#include <linux/types.h>
#include <uapi/linux/vmem.h>
#include <vmem/rebuild.h>

/**
 * struct vmem_extent - a piece of a snapshot's memory
 * @gpa: its guest-physical address
 * @len: its size in bytes
 */
struct vmem_extent {
	u64 gpa;
	u64 len;
};

/* A snapshot begins anew, aligned, for each size of page that it has. */
#define VMEM_MAX_EXTENTS 4

/* Guest memory is gathered by blocks of 2 MiB. */
#define VMEM_BLOCK_SHIFT 21
#define VMEM_BLOCK_SIZE BIT_ULL(VMEM_BLOCK_SHIFT)
#define VMEM_BLOCK_PAGES (VMEM_BLOCK_SIZE / VMEM_PAGE_SIZE)

/**
 * struct vmem_block - a piece of the guest's memory of which pages are mapped
 * @gpa: guest-physical address of its first page
 * @to: where it is in the snapshot; if @align is 0, where its first page is that
 *	is mapped, with the others behind it
 * @pages: a bit for each page that is mapped
 * @align: log2 of the size of the largest page that maps it; 0 if all are of
 *	4 KiB, and then only these are in the snapshot, else all of the block is
 * @kept: these pages are no memory: they are mapped where they were
 */
struct vmem_block {
	u64 gpa;
	u64 to;
	u64 pages[VMEM_BLOCK_PAGES / 64];
	u8 align;
	bool kept;
};

/**
 * struct vmem_new_table - a table of the snapshot
 * @page: its contents
 * @level: its level
 */
struct vmem_new_table {
	void *page;
	int level;
};

/**
 * struct vmem_snapshot - a snapshot; all zero but for the caller's members
 * @rebuild: the spaces; the caller sets @roots, @nr_roots, @scope and @built
 * @base: guest-physical address where the snapshot's memory begins; set by the
 *	caller
 * @cow: writable pages are to be copy-on-write; set by the caller
 * @strict: memory that cannot be read fails the snapshot; set by the caller
 * @tables: the new tables as the rebuild sees them
 * @made: the new tables, which lie from @base on, in this order
 * @nr_made: how many they are
 * @room_made: how many @made has room for
 * @blocks: what is mapped
 * @nr_blocks: how many they are
 * @room_blocks: how many @blocks has room for
 * @index: finds a block
 * @placed: the blocks that are in the snapshot, by rising @to
 * @nr_placed: how many they are
 * @unreadable: pages left out because they cannot be read, in units of 4 KiB,
 *	each mapping counted, and tables left out likewise
 * @mem: the guest's memory, during a call
 * @extents: the snapshot's memory, by rising address
 * @nr_extents: how many they are
 * @done: the snapshot is there, and does not change any more
 */
struct vmem_snapshot {
	struct vmem_rebuild rebuild;
	u64 base;
	bool cow;
	bool strict;
	struct vmem_tables tables;
	struct vmem_new_table *made;
	u32 nr_made;
	u32 room_made;
	struct vmem_block *blocks;
	u32 nr_blocks;
	u32 room_blocks;
	struct vmem_seen index;
	struct vmem_block **placed;
	u32 nr_placed;
	u64 unreadable;
	struct vmem_mem *mem;
	struct vmem_extent extents[VMEM_MAX_EXTENTS];
	u32 nr_extents;
	bool done;
};

/**
 * vmem_snapshot_make - rebuild the tables, and give every page its place
 * @snapshot: the snapshot, as far as it is
 * @mem: the guest's memory; the guest must not run meanwhile
 * @budget: entries that may be read
 *
 * The i-th root is at @base + i * VMEM_PAGE_SIZE, counting each once. Pages that
 * are no memory, a device's for one, are mapped where they were. Memory that
 * cannot be read is left out and counted. A large page that is only in part
 * memory that can be read becomes smaller pages, each of which is one of the
 * three. Where no entry can name those (above 4 GiB in 2-level paging), it is
 * left out as a whole, and counted.
 *
 * Return: 0 when all is done.
 * VMEM_WALK_STOP: the budget is used up: go on with another call.
 * -EIO: memory cannot be read, and @strict is set; @root and @va of @rebuild say
 * which space maps it where.
 * -ENOSPC: there would be more than VMEM_MAX_TABLES tables, or blocks of 2 MiB.
 * -EAGAIN: the guest changed its tables meanwhile.
 * -EADDRINUSE: pages that stay where they are lie where the snapshot is to be.
 * -ERANGE: an entry cannot name an address in the snapshot.
 * Any other errno of vmem_rebuild(). Only after -ENOMEM and -EINTR can it be gone
 * on with.
 */
int vmem_snapshot_make(struct vmem_snapshot *snapshot, struct vmem_mem *mem,
		       u64 budget);

/**
 * vmem_snapshot_read - read the snapshot's memory
 * @snapshot: the snapshot, done
 * @mem: the guest's memory
 * @gpa: address in the snapshot; on return, the first that @sink did not take
 * @end: first address behind the range
 * @sink: takes @len bytes at @data, in order; returns 0 or a negative errno
 * @priv: passed to it
 *
 * Outside of the extents, and in gaps between them, there are zeros.
 *
 * Return: 0; -EINVAL if @end comes before *@gpa; -EIO if the memory at *@gpa could
 * be read when the snapshot was made, and cannot any more; any other errno of @mem
 * or of @sink.
 */
int vmem_snapshot_read(struct vmem_snapshot *snapshot, struct vmem_mem *mem,
		       u64 *gpa, u64 end,
		       int (*sink)(const void *data, size_t len, void *priv),
		       void *priv);

/**
 * vmem_snapshot_destroy - free what a snapshot has
 * @snapshot: the snapshot
 */
void vmem_snapshot_destroy(struct vmem_snapshot *snapshot);

#endif /* _VMEM_SNAPSHOT_H */
