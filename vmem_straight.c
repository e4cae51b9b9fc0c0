// SPDX-License-Identifier: GPL-2.0-only
/*
 * The straight way to a leaf: one address alone takes a third of the time that the
 * walk takes for it. Whatever is not a leaf on a path that holds is the walk's.
 */
#include <linux/err.h>
#include <linux/string.h>
#include <vmem/straight.h>

/**
 * struct way - tables on the way to a leaf
 * @nr: number of tables
 * @pages: the pages that they are in, pinned
 * @entries: the entry that was read in each of them
 */
struct way {
	int nr;
	const void *pages[VMEM_MAX_LEVELS];
	const void *entries[VMEM_MAX_LEVELS];
};

/* Read the entries on the way to @va, and pin their tables; the last is decoded. */
static struct vmem_entry go_down(struct vmem_mem *mem,
				 const struct vmem_mode *mode, u64 table,
				 struct vmem_visit *leaf, struct way *way,
				 struct vmem_trace *path)
{
	const struct vmem_arch *arch = mode->arch;
	u64 last_index = BIT_ULL(arch->index_bits) - 1;
	int level, shift = vmem_level_shift(arch, mode->top);
	struct vmem_entry entry = {};
	u64 gpa;

	for (level = mode->top;; level--, shift -= arch->index_bits) {
		const void *page = mem->ops->pin(mem, table);

		if (IS_ERR(page))
			return (struct vmem_entry){};
		gpa = table +
		      (leaf->va >> shift & last_index) * arch->entry_size;
		way->pages[way->nr] = page;
		way->entries[way->nr] = page + (gpa & ~VMEM_PAGE_MASK);
		path[way->nr].entry_gpa = gpa;
		path[way->nr].raw =
			vmem_load_entry(arch, way->entries[way->nr]);
		entry = vmem_decode(mode, level, path[way->nr].raw);
		way->nr++;
		leaf->perms &= entry.perms;
		if (entry.kind != VMEM_ENTRY_TABLE)
			break;
		table = entry.addr;
	}
	leaf->level = level;
	leaf->page_size = BIT_ULL(shift);
	return entry;
}

/* Read the path once more, root first: see changed_level() in vmem_core.c. */
static bool is_way_held(const struct vmem_arch *arch, const struct way *way,
			const struct vmem_trace *path)
{
	int i;

	for (i = 0; i < way->nr; i++)
		if (vmem_load_entry(arch, way->entries[i]) != path[i].raw)
			return false;
	return true;
}

bool vmem_straight(struct vmem_mem *mem, const struct vmem_root *root, u64 va,
		   struct vmem_visit *leaf, struct vmem_trace *path)
{
	const struct vmem_mode *mode = &root->mode;
	struct way way = { .nr = 0 };
	struct vmem_entry entry;
	u64 offset;
	bool held;
	int i;

	if (!vmem_is_canonical(mode, va))
		return false;
	leaf->va = va;
	leaf->perms = VMEM_WRITABLE | VMEM_USER | VMEM_EXECUTABLE;
	entry = go_down(mem, mode, root->table, leaf, &way, path);
	held = entry.kind == VMEM_ENTRY_LEAF &&
	       (mem->constant || is_way_held(mode->arch, &way, path));
	for (i = 0; i < way.nr; i++)
		mem->ops->unpin(mem, path[i].entry_gpa, way.pages[i]);
	if (!held)
		return false;

	offset = va & (leaf->page_size - 1);
	leaf->root = root;
	leaf->index = 0;
	leaf->status = VMEM_MAPPED;
	leaf->last_va = va;
	leaf->base = va - offset;
	leaf->gpa = entry.addr + offset;
	leaf->cow = vmem_is_cow(mode, path[way.nr - 1].raw);
	if (leaf->cow)
		leaf->perms &= ~VMEM_WRITABLE;
	memset(path + way.nr, 0, (VMEM_MAX_LEVELS - way.nr) * sizeof(*path));
	leaf->path = path;
	leaf->nr_path = way.nr;
	leaf->referenced = false;
	leaf->owner = 0;
	leaf->owner_va = 0;
	leaf->owner_perms = 0;
	return true;
}
