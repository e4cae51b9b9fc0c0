/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The walk: the one function that descends through tables. Whatever vmem does
 * with a guest's tables is a set of callbacks on it.
 */
#ifndef _VMEM_WALK_H
#define _VMEM_WALK_H

#include <linux/types.h>
#include <vmem/arch.h>

/**
 * struct vmem_visit - what a callback is shown
 * @root: the space
 * @status: what the visit is: VMEM_MAPPED for a leaf, VMEM_NOT_PRESENT and
 *	VMEM_NON_CANONICAL for a hole, any other for an anomaly
 * @level: level of the table that holds the entry; of the table itself where
 *	it is unbacked; VMEM_LEVEL_NONE where the address is not canonical
 * @va: first virtual address of the region, clipped to the range of the walk
 * @last_va: last virtual address of the region, clipped likewise
 * @gpa: guest-physical address of @va (leaf), or of the table (unbacked)
 * @page_size: a leaf's own size in bytes, 0 for anything else
 * @perms: effective permissions of the path, the visited entry included; 0 for
 *	anything but a leaf
 * @path: the entries read on the way, root first
 * @nr_path: how many they are. The last one is the visited entry, or the one
 *	that named the table which is unbacked.
 */
struct vmem_visit {
	const struct vmem_root *root;
	enum vmem_status status;
	int level;
	u64 va;
	u64 last_va;
	u64 gpa;
	u64 page_size;
	u32 perms;
	const struct vmem_trace *path;
	int nr_path;
};

/* What a callback returns to end the walk; the cursor stays at its visit. */
#define VMEM_WALK_STOP 1

/**
 * struct vmem_walk_ops - the callbacks
 * @leaf: one page, of its natural size
 * @hole: optional: a region where nothing is mapped: one entry that is not
 *	present, or the part of the range that is not canonical
 * @anomaly: an entry that is present but leads nowhere; the region is skipped
 *
 * Each returns 0 to go on, VMEM_WALK_STOP to end the walk here, or a negative
 * errno to fail it. The visit is valid during the call only.
 */
struct vmem_walk_ops {
	int (*leaf)(const struct vmem_visit *visit, void *priv);
	int (*hole)(const struct vmem_visit *visit, void *priv);
	int (*anomaly)(const struct vmem_visit *visit, void *priv);
};

/**
 * struct vmem_walk - one walk
 * @mem: the guest's memory
 * @root: the space to walk
 * @va: first virtual address of the range; on return the cursor: the first
 *	address whose visit is not finished
 * @last_va: last virtual address of the range, inclusive, not below @va
 * @budget: how many entries may be read; on return what is left of it
 * @ops: the callbacks
 * @priv: passed to them
 */
struct vmem_walk {
	struct vmem_mem *mem;
	const struct vmem_root *root;
	u64 va;
	u64 last_va;
	u64 budget;
	const struct vmem_walk_ops *ops;
	void *priv;
};

/**
 * vmem_walk - walk a range of an address space in order of its addresses
 * @walk: what to walk, and the cursor
 *
 * Every entry is read once, in one load, and a leaf is never read as a table.
 * The guest may change its tables meanwhile: the walk then sees some of the old
 * and some of the new, and ends in any case.
 *
 * Return: 0 when the range is done; VMEM_WALK_STOP when a callback ended it or
 * the budget is used up: go on from the cursor; -ENXIO if the root table is not
 * backed by memory; -EINTR if the caller was killed; what pinning a table or a
 * callback returned. The cursor is valid unless the range is done.
 */
int vmem_walk(struct vmem_walk *walk);

#endif /* _VMEM_WALK_H */
