/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The straight way: from the root to the leaf of one address, with nothing to
 * remember, to share or to call back. A shortcut in front of the walk.
 */
#ifndef _VMEM_STRAIGHT_H
#define _VMEM_STRAIGHT_H

#include <vmem/walk.h>

/**
 * vmem_straight - find the leaf of one address without the walk
 * @mem: the guest's memory
 * @root: the address space
 * @va: the address
 * @leaf: set to the visit that a walk would show, with a path of one moment, but
 *	that it knows no owners
 * @path: room for VMEM_MAX_LEVELS entries, which @leaf names
 * @attempts: incremented if the guest has changed the path meanwhile
 *
 * Return: VMEM_WALK_STOP if the leaf was found; 0 where that takes the walk: there
 * is no leaf, no memory on the way to it, or the path has changed; any other errno
 * of pinning a table.
 */
int vmem_straight(struct vmem_mem *mem, const struct vmem_root *root, u64 va,
		  struct vmem_visit *leaf, struct vmem_trace *path,
		  u32 *attempts);

#endif /* _VMEM_STRAIGHT_H */
