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
 * @kept: there is no memory behind these pages: they stay where they are
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
 * struct vmem_snapshot - a snapshot; all zero but for what the caller sets
 * @rebuild: the spaces; the caller sets @roots, @nr_roots, @scope and @built
 * @base: guest-physical address where the snapshot's memory begins; set by the
 *	caller
 * @cow: writable pages are to be copy-on-write; set by the caller
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
 * @mem: the guest's memory, during a call
 * @extents: the snapshot's memory, by rising address
 * @nr_extents: how many they are
 * @done: the snapshot is there, and does not change any more
 */
struct vmem_snapshot {
	struct vmem_rebuild rebuild;
	u64 base;
	bool cow;
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
	struct vmem_mem *mem;
	struct vmem_extent extents[VMEM_MAX_EXTENTS];
	u32 nr_extents;
	bool done;
};

/**
 * vmem_snapshot_make - rebuild the tables, and give every page its place
 * @snapshot: the snapshot, as far as it is
 * @mem: the guest's memory; nobody may run in the guest meanwhile
 * @budget: how many entries may be read
 *
 * The i-th root is at @base + i * VMEM_PAGE_SIZE, counting each once. Pages
 * without memory behind them, a device's for one, are mapped where they were.
 *
 * Return: 0 when all is done; VMEM_WALK_STOP: go on with another call; -ENOSPC if
 * there are more than VMEM_MAX_TABLES tables, or blocks of 2 MiB; -EAGAIN if
 * the guest changed its tables meanwhile; -EADDRINUSE if pages that stay where
 * they are lie where the snapshot is to be; -ERANGE if an entry cannot name an
 * address in it; any errno of vmem_rebuild(). After an errno but -ENOMEM and
 * -EINTR it cannot be gone on with.
 */
int vmem_snapshot_make(struct vmem_snapshot *snapshot, struct vmem_mem *mem,
		       u64 budget);

/**
 * vmem_snapshot_read - read the snapshot's memory
 * @snapshot: the snapshot, done
 * @mem: the guest's memory
 * @gpa: address in the snapshot; on return, up to where @sink took it
 * @end: where to end
 * @sink: takes @len bytes at @data, in order; 0 or an errno
 * @priv: passed to it
 *
 * What the guest has no memory for is zero.
 *
 * Return: 0; an errno of @mem or of @sink.
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
