// SPDX-License-Identifier: GPL-2.0-only
/*
 * Near tables: a shortcut in front of the walk, for many addresses of one space
 *
 * With them, 4,096 random addresses take a quarter of the time. They pin the pages
 * on their paths themselves, so the walk need not know of them.
 */
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/string.h>
#include <vmem/near.h>

#define NR_NEAR 256

/* No region has this number. */
#define NOWHERE U64_MAX

/* 2^64 divided by the golden ratio: spreads numbers that lie close together. */
#define SPREAD 0x9e3779b97f4a7c15ULL

/**
 * struct near - a table that leaves were found in
 * @entries: its entries, in a pinned page
 * @table: guest-physical address of the table
 * @format: format of its entries
 * @perms: permissions of the path down to the table
 * @level: level of the table
 * @nr_path: number of tables down to this one
 * @referenced: see struct vmem_visit; so are those with this name's owner
 * @owner: index of the owner's root
 * @owner_perms: permissions of the owner's path
 * @owner_distance: what the owner's addresses have more than those here
 * @path: the path, its last entry being the one that was read last
 * @names: the entries that lead to the table, in pinned pages
 * @pages: the pages on the path, root first, its own page last
 *
 * What is looked at for each address comes first, and fits into a cache line.
 */
struct near {
	const void *entries;
	u64 table;
	const struct vmem_format *format;
	u32 perms;
	int level;
	int nr_path;
	bool referenced;
	u32 owner;
	u32 owner_perms;
	u64 owner_distance;
	struct vmem_trace path[VMEM_MAX_LEVELS];
	const void *names[VMEM_MAX_LEVELS - 1];
	const void *pages[VMEM_MAX_LEVELS];
};

/**
 * struct vmem_near - the near tables of a space
 * @mem: the guest's memory
 * @mode: paging mode of the space
 * @entry_shift: log2 of the size of an entry
 * @last_index: index of the last entry of a table
 * @top: the highest level whose tables can have leaves
 * @leaf: the leaf that was found last
 * @regions: for each of @tables, the number of its region among those of its size;
 *	NOWHERE if it is free. Apart, so that to find nothing costs little.
 * @once: for each of @tables, the region of the leaf that was noted last
 * @tables: the tables
 */
struct vmem_near {
	struct vmem_mem *mem;
	const struct vmem_mode *mode;
	int entry_shift;
	u64 last_index;
	int top;
	struct vmem_visit leaf;
	u64 regions[NR_NEAR];
	u64 once[NR_NEAR];
	struct near tables[NR_NEAR];
};

struct vmem_near *vmem_near_alloc(struct vmem_mem *mem,
				  const struct vmem_root *root)
{
	const struct vmem_arch *arch = root->mode.arch;
	struct vmem_near *near = kvmalloc(sizeof(*near), VMEM_GFP);
	u32 i;

	if (!near)
		return NULL;
	near->mem = mem;
	near->mode = &root->mode;
	near->entry_shift = ilog2(arch->entry_size);
	near->last_index = BIT_ULL(arch->index_bits) - 1;
	near->top = min_t(int, root->mode.top, VMEM_LEVEL_PDPT);
	near->leaf = (struct vmem_visit){ .root = root };
	for (i = 0; i < NR_NEAR; i++) {
		near->regions[i] = NOWHERE;
		near->once[i] = NOWHERE;
	}
	return near;
}

static void unpin_near(struct vmem_near *near, const struct near *table, int nr)
{
	struct vmem_mem *mem = near->mem;

	while (nr--)
		vmem_unpin(mem, table->path[nr].entry_gpa, table->pages[nr]);
}

static void drop_near(struct vmem_near *near, u32 slot)
{
	if (near->regions[slot] == NOWHERE)
		return;
	unpin_near(near, &near->tables[slot], near->tables[slot].nr_path);
	near->regions[slot] = NOWHERE;
}

void vmem_near_forget(struct vmem_near *near)
{
	u32 i;

	for (i = 0; near && i < NR_NEAR; i++)
		drop_near(near, i);
}

void vmem_near_free(struct vmem_near *near)
{
	vmem_near_forget(near);
	kvfree(near);
}

/* Neighbours side by side, and those in another table somewhere else. */
static u32 near_slot(const struct vmem_near *near, u64 region)
{
	u64 above = (region >> near->mode->arch->index_bits) * SPREAD;

	return (region + (above >> 32)) % NR_NEAR;
}

/* Pin the tables on the path. If that fails, there is no shortcut. */
static bool pin_near(struct vmem_near *near, struct near *table, int nr_path)
{
	struct vmem_mem *mem = near->mem;
	int i;

	for (i = 0; i < nr_path; i++) {
		u64 gpa = table->path[i].entry_gpa;

		table->pages[i] = vmem_pin(mem, gpa);
		if (IS_ERR(table->pages[i])) {
			unpin_near(near, table, i);
			return false;
		}
		if (i < nr_path - 1)
			table->names[i] =
				table->pages[i] + (gpa & ~VMEM_PAGE_MASK);
	}
	return true;
}

/* What the entries that lead to a table grant together. */
static u32 perms_above(const struct vmem_mode *mode,
		       const struct vmem_visit *visit)
{
	u32 perms = VMEM_WRITABLE | VMEM_USER | VMEM_EXECUTABLE;
	int i;

	for (i = 0; i < visit->nr_path - 1; i++)
		perms &= vmem_decode(mode, mode->top - i, visit->path[i].raw)
				 .perms;
	return perms;
}

static void keep_near(struct vmem_near *near, u32 slot, u64 region,
		      const struct vmem_visit *visit)
{
	struct near *table = &near->tables[slot];
	int last = visit->nr_path - 1, shift = ilog2(visit->page_size);
	u64 bytes = (visit->va >> shift & near->last_index)
		    << near->entry_shift;

	memcpy(table->path, visit->path, sizeof(table->path));
	if (!pin_near(near, table, visit->nr_path))
		return;
	table->table = visit->path[last].entry_gpa - bytes;
	table->entries = table->pages[last] + (table->table & ~VMEM_PAGE_MASK);
	table->format = &near->mode->formats[visit->level];
	table->perms = perms_above(near->mode, visit);
	table->level = visit->level;
	table->nr_path = visit->nr_path;
	table->referenced = visit->referenced;
	table->owner = visit->owner;
	table->owner_perms = visit->owner_perms;
	table->owner_distance = visit->owner_va - visit->base;
	near->regions[slot] = region;
}

void vmem_near_note(struct vmem_near *near, const struct vmem_visit *visit)
{
	u64 region = visit->va >> ilog2(visit->page_size) >>
		     near->mode->arch->index_bits;
	u32 slot = near_slot(near, region);
	u64 there = near->regions[slot];

	if (there == region && near->tables[slot].level == visit->level)
		return;
	/* What is there makes room for what is asked for twice in a row. */
	if (there == NOWHERE || near->once[slot] == region) {
		drop_near(near, slot);
		keep_near(near, slot, region, visit);
	}
	near->once[slot] = region;
}

static bool is_named(const struct vmem_near *near, const struct near *table)
{
	int i;

	for (i = 0; i < table->nr_path - 1; i++)
		if (vmem_load_entry(near->mode->arch->entry_size,
				    table->names[i]) != table->path[i].raw)
			return false;
	return true;
}

/* Is the path still there, with its last entry at @entry? See changed_level(). */
static bool is_path_held(const struct vmem_near *near, const struct near *table,
			 const void *entry)
{
	return is_named(near, table) && is_named(near, table) &&
	       vmem_load_entry(near->mode->arch->entry_size, entry) ==
		       table->path[table->nr_path - 1].raw;
}

static void show_owner(struct vmem_visit *leaf, const struct near *table)
{
	leaf->owner = table->owner;
	leaf->owner_va = leaf->base + table->owner_distance;
	leaf->owner_perms = table->owner_perms;
}

/* The leaf at an address in a table, whose entries span 1 << @shift bytes each. */
static const struct vmem_visit *near_leaf(struct vmem_near *near,
					  struct near *table, u64 va, int shift)
{
	u64 bytes = (va >> shift & near->last_index) << near->entry_shift;
	const void *at = table->entries + bytes;
	u64 raw = vmem_load_entry(near->mode->arch->entry_size, at),
	    offset = BIT_ULL(shift) - 1;
	struct vmem_entry entry =
		vmem_decode_as(near->mode, table->format, raw);
	struct vmem_trace *trace = &table->path[table->nr_path - 1];
	struct vmem_visit *leaf = &near->leaf;

	if (entry.kind != VMEM_ENTRY_LEAF)
		return NULL;
	trace->entry_gpa = table->table + bytes;
	trace->raw = raw;
	if (!near->mem->constant && !is_path_held(near, table, at)) {
		drop_near(near, table - near->tables);
		return NULL;
	}
	leaf->level = table->level;
	leaf->va = va;
	leaf->last_va = va;
	leaf->base = va & ~offset;
	leaf->gpa = entry.addr + (va & offset);
	leaf->page_size = offset + 1;
	leaf->perms = entry.perms & table->perms;
	leaf->cow = vmem_is_cow(near->mode, raw);
	if (leaf->cow)
		leaf->perms &= ~VMEM_WRITABLE;
	leaf->path = table->path;
	leaf->nr_path = table->nr_path;
	leaf->referenced = table->referenced;
	if (leaf->referenced)
		show_owner(leaf, table);
	return leaf;
}

const struct vmem_visit *vmem_near_find(struct vmem_near *near, u64 va)
{
	int bits = near->mode->arch->index_bits;
	int level, shift = VMEM_PAGE_SHIFT;
	struct near *table;
	u64 region;
	u32 slot;

	for (level = VMEM_LEVEL_PT; level <= near->top; level++) {
		region = va >> (shift + bits);
		slot = near_slot(near, region);
		table = &near->tables[slot];
		if (near->regions[slot] == region && table->level == level)
			return near_leaf(near, table, va, shift);
		shift += bits;
	}
	return NULL;
}
