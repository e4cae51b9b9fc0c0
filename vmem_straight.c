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

/* Pin the tables on the way to @leaf and read their entries; decode the last. */
static int go_down(struct vmem_mem *mem, const struct vmem_root *root,
		   struct vmem_visit *leaf, struct way *way,
		   struct vmem_trace *path, struct vmem_entry *entry)
{
	const struct vmem_mode *mode = &root->mode;
	const struct vmem_arch *arch = mode->arch;
	u64 last_index = BIT_ULL(arch->index_bits) - 1, table = root->table;
	int level, shift = vmem_level_shift(arch, mode->top);

	for (level = mode->top;; level--, shift -= arch->index_bits) {
		const void *page = vmem_pin(mem, table);
		struct vmem_trace *trace = &path[way->nr];

		if (IS_ERR(page))
			return PTR_ERR(page);
		trace->entry_gpa = table + (leaf->va >> shift & last_index) *
						   arch->entry_size;
		way->pages[way->nr] = page;
		way->entries[way->nr] =
			page + (trace->entry_gpa & ~VMEM_PAGE_MASK);
		trace->raw = vmem_load_entry(arch->entry_size,
					     way->entries[way->nr++]);
		*entry = vmem_decode(mode, level, trace->raw);
		leaf->perms &= entry->perms;
		if (entry->kind != VMEM_ENTRY_TABLE)
			break;
		table = entry->addr;
	}
	leaf->level = level;
	leaf->page_size = BIT_ULL(shift);
	return 0;
}

/* Read the path once more, root first: see changed_level() in vmem_core.c. */
static bool is_way_held(const struct vmem_arch *arch, const struct way *way,
			const struct vmem_trace *path)
{
	int i;

	for (i = 0; i < way->nr; i++)
		if (vmem_load_entry(arch->entry_size, way->entries[i]) !=
		    path[i].raw)
			return false;
	return true;
}

/* The leaf that the way leads to, once it has been read. */
static void show_leaf(const struct vmem_root *root,
		      const struct vmem_entry *entry, const struct way *way,
		      struct vmem_trace *path, struct vmem_visit *leaf)
{
	u64 offset = leaf->va & (leaf->page_size - 1);

	leaf->root = root;
	leaf->index = 0;
	leaf->status = VMEM_MAPPED;
	leaf->last_va = leaf->va;
	leaf->base = leaf->va - offset;
	leaf->gpa = entry->addr + offset;
	leaf->cow = vmem_is_cow(&root->mode, path[way->nr - 1].raw);
	if (leaf->cow)
		leaf->perms &= ~VMEM_WRITABLE;
	memset(path + way->nr, 0, (VMEM_MAX_LEVELS - way->nr) * sizeof(*path));
	leaf->path = path;
	leaf->nr_path = way->nr;
	leaf->referenced = false;
	leaf->owner = 0;
	leaf->owner_va = 0;
	leaf->owner_perms = 0;
}

int vmem_straight(struct vmem_mem *mem, const struct vmem_root *root, u64 va,
		  struct vmem_visit *leaf, struct vmem_trace *path,
		  u32 *attempts)
{
	struct vmem_entry entry = {};
	struct way way __uninitialized;
	bool found, held;
	int i, ret;

	if (!vmem_is_canonical(&root->mode, va))
		return 0;
	way.nr = 0;
	leaf->va = va;
	leaf->perms = VMEM_WRITABLE | VMEM_USER | VMEM_EXECUTABLE;
	ret = go_down(mem, root, leaf, &way, path, &entry);
	found = !ret && entry.kind == VMEM_ENTRY_LEAF;
	held = mem->constant || is_way_held(root->mode.arch, &way, path);
	for (i = 0; i < way.nr; i++)
		vmem_unpin(mem, path[i].entry_gpa, way.pages[i]);
	*attempts += !held;
	if (!found || !held)
		return vmem_pin_status(ret) ? 0 : ret;
	show_leaf(root, &entry, &way, path, leaf);
	return VMEM_WALK_STOP;
}
