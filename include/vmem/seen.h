/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The tables that a walk of many spaces has seen, and who owns them: the space
 * that reached a table first, in the order of the roots.
 */
#ifndef _VMEM_SEEN_H
#define _VMEM_SEEN_H

#include <linux/types.h>
#include <uapi/linux/vmem.h>

/* The window of a table whose whole region is walked. */
#define VMEM_WINDOW_ALL (~0ULL)

/**
 * struct vmem_owner - a table and its owner
 * @table: guest-physical address of the table, with its level in the low bits
 * @window: VMEM_WINDOW_ALL if the whole of the table's region is walked, else
 *	the region's first address: a table of which a part is walked can stand
 *	for the same part of itself at the same address only
 * @va: first virtual address of the table's region in the owner's space
 * @root: index of the owner's root
 * @perms: permissions of the owner's path down to the table
 */
struct vmem_owner {
	u64 table;
	u64 window;
	u64 va;
	u32 root;
	u32 perms;
};

/**
 * struct vmem_seen - the tables seen, a hash table; all zero is an empty one
 * @slots: the slots, free where @table is 0
 * @nr_slots: how many they are, 0 or a power of two
 * @nr: slots in use
 * @salt: multipliers of the hash
 */
struct vmem_seen {
	struct vmem_owner *slots;
	u32 nr_slots;
	u32 nr;
	u64 salt[2];
};

/**
 * vmem_seen_find - look a table up
 * @seen: the tables seen
 * @table: guest-physical address of the table
 * @level: its level
 * @window: its window
 *
 * Return: the owner, valid until the next vmem_seen_add(); NULL if there is
 * none.
 */
const struct vmem_owner *vmem_seen_find(const struct vmem_seen *seen, u64 table,
					int level, u64 window);

/**
 * vmem_seen_reserve - make sure that one more table can be noted
 * @seen: the tables seen
 *
 * Return: 0; -ENOSPC if VMEM_MAX_TABLES are known; -ENOMEM.
 */
int vmem_seen_reserve(struct vmem_seen *seen);

/**
 * vmem_seen_add - note the owner of a table that is not known yet
 * @seen: the tables seen, after vmem_seen_reserve()
 * @level: level of the table
 * @owner: what to note; the level is added to its @table
 */
void vmem_seen_add(struct vmem_seen *seen, int level,
		   const struct vmem_owner *owner);

/**
 * vmem_seen_destroy - free the tables seen
 * @seen: the tables seen; empty afterwards
 */
void vmem_seen_destroy(struct vmem_seen *seen);

#endif /* _VMEM_SEEN_H */
