/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Near tables: those that addresses of a batch were found in, kept at hand for
 * the addresses that follow. A shortcut in front of the walk, which knows nothing
 * of it: as the processor's paging-structure caches (SDM vol. 3, 4.10.3), but for
 * one batch, and with every path read again.
 */
#ifndef _VMEM_NEAR_H
#define _VMEM_NEAR_H

#include <linux/types.h>
#include <vmem/walk.h>

struct vmem_near;

/**
 * vmem_near_alloc - make room for near tables of one space
 * @mem: the guest's memory
 * @root: the space
 *
 * Return: the room; NULL if memory is short, which costs time and nothing else.
 */
struct vmem_near *vmem_near_alloc(struct vmem_mem *mem,
				  const struct vmem_root *root);

/**
 * vmem_near_forget - unpin the tables
 * @near: the near tables, or NULL
 */
void vmem_near_forget(struct vmem_near *near);

/**
 * vmem_near_free - unpin the tables and free the room
 * @near: what vmem_near_alloc() returned
 */
void vmem_near_free(struct vmem_near *near);

/**
 * vmem_near_note - the walk has found a leaf
 * @near: the near tables
 * @visit: the leaf
 */
void vmem_near_note(struct vmem_near *near, const struct vmem_visit *visit);

/**
 * vmem_near_find - find an address without the walk
 * @near: the near tables
 * @va: the address
 *
 * Return: the visit of the leaf that maps the address, as the walk would show
 * it, with a path of one moment; NULL where that takes the walk: no table is at
 * hand, there is no leaf, or its path has changed.
 */
const struct vmem_visit *vmem_near_find(struct vmem_near *near, u64 va);

#endif /* _VMEM_NEAR_H */
