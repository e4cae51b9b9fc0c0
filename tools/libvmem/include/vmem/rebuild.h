/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rebuild: the tables of many spaces made anew, as they are: what was shared is
 * so again.
 */
#ifndef _VMEM_REBUILD_H
#define _VMEM_REBUILD_H

#include <linux/types.h>
#include <vmem/map.h>

/*
 * What @place may answer besides 0 and a negative errno: OUT leaves the page out;
 * SPLIT maps pages of the next smaller size in its place, and asks for each of
 * them. A page of 4 KiB cannot be split.
 */
#define VMEM_PLACE_OUT 1
#define VMEM_PLACE_SPLIT 2

/**
 * struct vmem_rebuild_ops - the policy of a rebuild
 * @place: A page of @len bytes at *@gpa is to be mapped: the visited leaf or a
 *	part of it. Store in *@gpa the address that the rebuilt space maps
 *	instead, aligned to @len. Returns 0, OUT, SPLIT or a negative errno; any
 *	other value counts as -EINVAL.
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
 * @leaves: pages mapped; of a large page that was split, or that the scope holds
 *	in part, the smaller ones that stand for it
 * @links: links to tables of earlier spaces, or of the same one
 * @empty_links: references to tables in which nothing is mapped
 * @dropped: entries that lead nowhere, and are left out
 * @left_out: pages that @place left out, in units of 4 KiB
 * @unreadable: tables that cannot be read, and are left out
 */
struct vmem_rebuild_stats {
	u64 tables;
	u64 leaves;
	u64 links;
	u64 empty_links;
	u64 dropped;
	u64 left_out;
	u64 unreadable;
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
 * @strict: a table that cannot be read fails the rebuild
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
	bool strict;
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
 * @budget: entries that may be read
 *
 * The new roots are made before any other table, in order. Then each table that
 * leads to a page is made once, however many entries name it, and every entry
 * keeps its bits but for the address, so rights, caching and keys are what they
 * were. Entries that lead nowhere, and tables that lead to no page, are left
 * out.
 *
 * After an errno, @root and @va of @rebuild say where it happened.
 *
 * Return: 0 when all is done.
 * VMEM_WALK_STOP: the budget is used up: go on with another call.
 * -EINVAL: there are no roots, the scope is empty or has an empty exclusion (its
 * last address comes before its first) or cuts pages of 4 KiB, or the policy or
 * @tables answered what it must not.
 * -EAGAIN: the guest put other tables in the place of some while they were read.
 * What was built is of no use then; do not call again.
 * -EIO: a table cannot be read, and @strict is set.
 * Any other errno of vmem_walk(), of vmem_space_aware_map() or of the policy.
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
