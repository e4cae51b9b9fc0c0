/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rebuild: the tables of many spaces made anew, as they are: what was shared is
 * so again.
 */
#ifndef _VMEM_REBUILD_H
#define _VMEM_REBUILD_H

#include <linux/types.h>
#include <vmem/map.h>

/**
 * struct vmem_rebuild_ops - the policy of a rebuild
 * @place: Pages of the visited leaf's space are to be mapped, from the one at
 *	*@gpa on, @len bytes. Say in *@gpa where the rebuilt space is to map them
 *	instead, which must be as much aligned. Returns 0 or an errno.
 * @make_cow: optional: is the page that is visited, whose entry lets it be
 *	written to, to be copy-on-write in the rebuilt spaces? Wants a convention
 *	in the roots.
 */
struct vmem_rebuild_ops {
	int (*place)(const struct vmem_visit *visit, u64 *gpa, u64 len,
		     void *priv);
	bool (*make_cow)(const struct vmem_visit *visit, void *priv);
};

/**
 * struct vmem_rebuild_stats - what a rebuild has done so far
 * @tables: tables of the guest that were read
 * @leaves: pages mapped; of a large page that the scope holds in part, the
 *	smaller ones that stand for it
 * @links: links to tables of earlier spaces, or of the same one
 * @empty_links: references to tables in which nothing is mapped
 * @dropped: entries that lead nowhere, and are left out
 */
struct vmem_rebuild_stats {
	u64 tables;
	u64 leaves;
	u64 links;
	u64 empty_links;
	u64 dropped;
};

/**
 * struct vmem_rebuild - a rebuild that can be left and resumed
 * @roots: the spaces, in order of primacy, all of one paging mode
 * @nr_roots: how many they are
 * @scope: the part of each space to rebuild; no page of 4 KiB lies in it in part
 * @tables: where the new tables are made
 * @built: room for @nr_roots roots, which are the result. A root that is given
 *	twice has one result.
 * @ops: the policy
 * @priv: passed to it
 * @seen: the tables seen so far
 * @begun: the new roots are there
 * @root: cursor: index of the root
 * @va: cursor: first address not finished
 * @done: all is rebuilt
 * @stats: what was done so far
 */
struct vmem_rebuild {
	const struct vmem_root *roots;
	u32 nr_roots;
	struct vmem_scope scope;
	struct vmem_tables *tables;
	struct vmem_root *built;
	const struct vmem_rebuild_ops *ops;
	void *priv;
	struct vmem_seen seen;
	bool begun;
	u32 root;
	u64 va;
	bool done;
	struct vmem_rebuild_stats stats;
};

/**
 * vmem_rebuild - rebuild spaces
 * @rebuild: the spaces, and the cursor
 * @mem: the guest's memory
 * @budget: how many entries may be read
 *
 * The new roots are made before any other table, in order. Then each table that
 * leads to a page is made once, however many entries name it, and every entry
 * keeps its bits but for the address, so rights, caching and keys are what they
 * were. Entries that lead nowhere, and tables that lead to no page, are left
 * out.
 *
 * Return: 0 when all is done; VMEM_WALK_STOP when the budget is used up: go on
 * with another call; -EINVAL if the scope cuts pages of 4 KiB; -EAGAIN if the
 * guest put other tables in the place of some while they were read, and then what
 * was built is of no use, and it is not to be called again; any errno of
 * vmem_walk(), of vmem_space_aware_map() or of the policy.
 */
int vmem_rebuild(struct vmem_rebuild *rebuild, struct vmem_mem *mem,
		 u64 budget);

/**
 * vmem_rebuild_destroy - free what a rebuild has seen
 * @rebuild: the rebuild; what it built stays
 */
static inline void vmem_rebuild_destroy(struct vmem_rebuild *rebuild)
{
	vmem_seen_destroy(&rebuild->seen);
}

#endif /* _VMEM_REBUILD_H */
