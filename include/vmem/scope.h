/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Scope: which part of each address space a walk looks at.
 */
#ifndef _VMEM_SCOPE_H
#define _VMEM_SCOPE_H

#include <linux/types.h>
#include <uapi/linux/vmem.h>

/**
 * struct vmem_scope - a range of virtual addresses, less what is excluded
 * @va: first address
 * @last_va: last address, inclusive, not below @va
 * @excluded: ranges to leave out, by rising address, disjoint
 * @nr_excluded: how many they are
 */
struct vmem_scope {
	u64 va;
	u64 last_va;
	const struct vmem_span *excluded;
	u32 nr_excluded;
};

/**
 * vmem_scope_next_excluded - the first exclusion that ends at or above @va
 * @scope: the scope
 * @va: a virtual address
 *
 * Return: the exclusion, which may begin above @va; NULL if there is none.
 */
static inline const struct vmem_span *
vmem_scope_next_excluded(const struct vmem_scope *scope, u64 va)
{
	u32 low = 0, high = scope->nr_excluded;

	while (low < high) {
		u32 mid = low + (high - low) / 2;

		if (scope->excluded[mid].last_va < va)
			low = mid + 1;
		else
			high = mid;
	}
	return low < scope->nr_excluded ? &scope->excluded[low] : NULL;
}

/**
 * vmem_scope_holds - does a scope hold the whole of a region
 * @scope: the scope
 * @va: first address of the region
 * @last_va: last address of the region, inclusive
 */
static inline bool vmem_scope_holds(const struct vmem_scope *scope, u64 va,
				    u64 last_va)
{
	const struct vmem_span *excluded;

	if (va < scope->va || last_va > scope->last_va)
		return false;
	excluded = vmem_scope_next_excluded(scope, va);
	return !excluded || excluded->va > last_va;
}

#endif /* _VMEM_SCOPE_H */
