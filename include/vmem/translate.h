/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Questions about one address space, each a few callbacks on the walk.
 */
#ifndef _VMEM_TRANSLATE_H
#define _VMEM_TRANSLATE_H

#include <linux/types.h>
#include <vmem/walk.h>

/**
 * vmem_translate - translate one address
 * @mem: the guest's memory
 * @root: the address space
 * @va: the virtual address
 * @result: the answer
 *
 * Return: 0 if there is an answer; any errno of vmem_walk().
 */
int vmem_translate(struct vmem_mem *mem, const struct vmem_root *root, u64 va,
		   struct vmem_translation *result);

struct vmem_near;
struct vmem_spaces;

/**
 * struct vmem_batch - addresses of one space to translate together
 * @mem: the guest's memory
 * @root: the address space
 * @spaces: NULL; or many spaces, walked to the end: the address space is one of
 *	them, and the answers tell who owns the tables
 * @index: with @spaces, index of the address space's root
 * @near: optional: tables at hand of this address space, which many addresses
 *	share, in this batch or in several
 * @brief: nobody wants what begins with @out_trace, and it is undefined then
 * @vas: the addresses, in any order
 * @results: the answers, one for each
 * @nr: how many they are
 * @done: how many answers there are; the next call goes on from there
 * @torn: counts those that are VMEM_TORN
 *
 * Each answer is of one moment: see @steady of struct vmem_walk_ops.
 */
struct vmem_batch {
	struct vmem_mem *mem;
	const struct vmem_root *root;
	struct vmem_spaces *spaces;
	u32 index;
	struct vmem_near *near;
	bool brief;
	const u64 *vas;
	struct vmem_translation *results;
	u32 nr;
	u32 done;
	u32 torn;
};

/**
 * vmem_translate_batch - translate many addresses
 * @batch: the addresses, and how far they are done
 *
 * Return: 0 when all is done; with @batch->done less than @batch->nr, any errno of
 * vmem_walk(), but that with @spaces a root without readable memory is an answer.
 */
int vmem_translate_batch(struct vmem_batch *batch);

/**
 * struct vmem_range - a range of an address space to flatten into mappings
 * @mem: the guest's memory
 * @root: the address space
 * @va: first virtual address; on return the cursor: what @emit has been given
 *	lies below it and nothing else does
 * @last_va: last virtual address, inclusive, not below @va
 * @budget: how many entries may be read; on return what is left of it
 * @anomalies: counts entries that are present but lead nowhere
 * @torn: counts tables that were not to be found where they had been any more
 *	when the walk left them
 * @attributes: tell those of mappings too
 * @emit: gets each mapping, merged with its neighbours, by rising address.
 *	Returns 0; VMEM_WALK_STOP if it did not take the mapping and the walk is
 *	to end; or a negative errno.
 * @priv: passed to @emit
 */
struct vmem_range {
	struct vmem_mem *mem;
	const struct vmem_root *root;
	u64 va;
	u64 last_va;
	u64 budget;
	u64 anomalies;
	u64 torn;
	bool attributes;
	int (*emit)(const struct vmem_mapping *mapping, void *priv);
	void *priv;
};

/**
 * vmem_virt_to_phys - flatten a range of an address space into mappings
 * @range: the range, and the cursor
 *
 * Two leaves merge if they have the same page size, permissions and, with
 * @attributes, attributes, and follow each other in virtual and in guest-physical
 * memory.
 *
 * Return: 0 when the range is done; VMEM_WALK_STOP when @emit ended it or the
 * budget is used up; any errno of vmem_walk() or of @emit. The cursor is
 * valid unless the range is done.
 */
int vmem_virt_to_phys(struct vmem_range *range);

/**
 * struct vmem_copy - guest memory to read by virtual address
 * @mem: the guest's memory
 * @root: the address space
 * @va: first virtual address; on return the cursor: the first one not given to
 *	@sink
 * @last_va: last virtual address, inclusive, not below @va
 * @status: VMEM_MAPPED, or why the address at the cursor could not be read; the
 *	path of each page is of one moment, or VMEM_TORN
 * @level: where the path of that address ended
 * @sink: takes @len bytes at @data, which lie inside one page; 0 or an errno
 * @priv: passed to @sink
 */
struct vmem_copy {
	struct vmem_mem *mem;
	const struct vmem_root *root;
	u64 va;
	u64 last_va;
	enum vmem_status status;
	int level;
	int (*sink)(const void *data, size_t len, void *priv);
	void *priv;
};

/**
 * vmem_read - read guest memory by virtual address, up to the first address
 *	that is not mapped to memory
 * @copy: what to read, and the cursor
 *
 * Return: 0 when all was read; VMEM_WALK_STOP when it ended at an address that
 * @status tells about; any errno of vmem_walk() or of @sink.
 */
int vmem_read(struct vmem_copy *copy);

#endif /* _VMEM_TRANSLATE_H */
