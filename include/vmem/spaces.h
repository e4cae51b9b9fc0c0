/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Many spaces at once: what each of them maps, with references in place of what
 * is shared.
 */
#ifndef _VMEM_SPACES_H
#define _VMEM_SPACES_H

#include <linux/types.h>
#include <vmem/walk.h>

/**
 * struct vmem_spaces - a walk over many spaces that can be left and resumed
 * @roots: their roots, in order of primacy, all of one paging mode
 * @nr_roots: how many they are
 * @scope: the part of each space to walk
 * @seen: the tables seen so far
 * @root: cursor: index of the root
 * @va: cursor: first address not finished; @scope.va to begin with
 * @pending: a mapping that what comes next may continue; UNMAPPED if none
 * @pending_root: index of its root
 * @torn: a VMEM_ANOMALY that is not told yet: VMEM_TORN; its type is 0 if there
 *	is none
 * @walked: all was walked: @seen does not change any more
 * @done: all was emitted as well
 * @stats: what was found so far
 */
struct vmem_spaces {
	const struct vmem_root *roots;
	u32 nr_roots;
	struct vmem_scope scope;
	struct vmem_seen seen;
	u32 root;
	u64 va;
	struct vmem_mapping pending;
	u32 pending_root;
	struct vmem_record torn;
	bool walked;
	bool done;
	struct vmem_spaces_stats stats;
};

/**
 * vmem_walk_va_spaces - walk many spaces and report what they share
 * @spaces: the spaces, and the cursor
 * @mem: the guest's memory
 * @budget: how many entries may be read
 * @emit: gets the records in order: of each root VMEM_SPACE first, then what is
 *	in it by rising address, but that VMEM_TORN comes behind what it is about.
 *	Returns 0; VMEM_WALK_STOP if it did not take
 *	the record and the walk is to end; or a negative errno.
 * @priv: passed to @emit
 *
 * A reference names an earlier space, or the same space at a lower address, and
 * all that it refers to has been emitted before it.
 *
 * Return: 0 when all is done; VMEM_WALK_STOP when @emit ended it or the budget
 * is used up; any errno of vmem_walk() or of @emit. The next call goes on where
 * this one ended.
 */
int vmem_walk_va_spaces(struct vmem_spaces *spaces, struct vmem_mem *mem,
			u64 budget,
			int (*emit)(const struct vmem_record *rec, void *priv),
			void *priv);

/**
 * vmem_spaces_destroy - free what a walk has seen
 * @spaces: the spaces; @roots and @scope stay the caller's
 */
static inline void vmem_spaces_destroy(struct vmem_spaces *spaces)
{
	vmem_seen_destroy(&spaces->seen);
}

/**
 * vmem_reference_record - the reference that an alias is told as
 * @visit: the visit of a table that is owned already
 * @roots: the walk's roots
 * @record: set to VMEM_ALIASING
 */
void vmem_reference_record(const struct vmem_visit *visit,
			   const struct vmem_root *roots,
			   struct vmem_record *record);

/**
 * vmem_translate_shared - translate one address in one of many spaces, and tell
 *	which of them owns the table that maps it
 * @mem: the guest's memory
 * @spaces: the spaces, walked to the end
 * @index: index of the address's root
 * @va: the virtual address
 * @result: the answer
 *
 * Return: as of vmem_translate(), but that a root without memory behind it is an
 * answer here: VMEM_UNBACKED.
 */
int vmem_translate_shared(struct vmem_mem *mem, struct vmem_spaces *spaces,
			  u32 index, u64 va, struct vmem_translation *result);

#endif /* _VMEM_SPACES_H */
