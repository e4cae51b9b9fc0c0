// SPDX-License-Identifier: GPL-2.0-only
/*
 * Snapshot: one walk rebuilds the tables, with the pages where they were, and
 * gathers what they map. Then each page gets its address, which is written into
 * the new tables. The guest is read once for the tables and once for the contents
 * of each page.
 */
#include <linux/bitops.h>
#include <linux/err.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>
#include <vmem/snapshot.h>

#define FIRST_ROOM 64U

/* Double an array that is full. The guest chooses its size, up to the limit. */
static int make_room(void *arrayp, u32 nr, u32 *room, size_t size)
{
	u32 more = *room ? *room * 2 : FIRST_ROOM;
	void *old = *(void **)arrayp;
	void *array;

	if (nr < *room)
		return 0;
	if (nr >= VMEM_MAX_TABLES)
		return -ENOSPC;
	array = kvcalloc(more, size, VMEM_GFP);
	if (!array)
		return -ENOMEM;
	if (nr)
		memcpy(array, old, nr * size);
	kvfree(old);
	*(void **)arrayp = array;
	*room = more;
	return 0;
}

/* The new tables */

static struct vmem_snapshot *of_tables(struct vmem_tables *tables)
{
	return container_of(tables, struct vmem_snapshot, tables);
}

/* The contents of the table at @gpa; NULL if there is none. */
static void *table_at(const struct vmem_snapshot *snapshot, u64 gpa)
{
	u64 index = (gpa - snapshot->base) >> VMEM_PAGE_SHIFT;

	return index < snapshot->nr_made ? snapshot->made[index].page : NULL;
}

/* Can an entry name a table, or a small page, there? */
static bool can_name(const struct vmem_snapshot *snapshot, u64 gpa)
{
	const struct vmem_mode *mode = &snapshot->rebuild.built->mode;

	return !(gpa & ~mode->arch->table_addr || gpa >> mode->maxphyaddr);
}

static int alloc_table(struct vmem_tables *tables, int level, u64 *table)
{
	struct vmem_snapshot *snapshot = of_tables(tables);
	struct vmem_new_table made = { .level = level };
	u64 gpa = snapshot->base + ((u64)snapshot->nr_made << VMEM_PAGE_SHIFT);
	int ret;

	if (!can_name(snapshot, gpa))
		return -ERANGE;
	ret = make_room(&snapshot->made, snapshot->nr_made,
			&snapshot->room_made, sizeof(made));
	if (ret)
		return ret;
	made.page = kzalloc(VMEM_PAGE_SIZE, VMEM_GFP);
	if (!made.page)
		return -ENOMEM;
	*table = gpa;
	snapshot->made[snapshot->nr_made++] = made;
	return 0;
}

/* Both formats are little-endian, as is the processor that runs this. */
static int write_entry(struct vmem_tables *tables, u64 *entry_gpa, int size,
		       u64 raw)
{
	void *page = table_at(of_tables(tables), *entry_gpa);

	memcpy(page + (*entry_gpa & ~VMEM_PAGE_MASK), &raw, size);
	return 0;
}

static const struct vmem_tables_ops table_ops = {
	.alloc_table = alloc_table,
	.write_entry = write_entry,
};

static const void *pin_table(struct vmem_mem *mem, u64 gpa)
{
	struct vmem_tables *tables = container_of(mem, struct vmem_tables, mem);
	void *page = table_at(of_tables(tables), gpa);

	return page ?: ERR_PTR(-ENXIO);
}

static void unpin_table(struct vmem_mem *mem, u64 gpa, const void *page)
{
}

static const struct vmem_mem_ops table_mem_ops = {
	.pin = pin_table,
	.unpin = unpin_table,
};

/* What is mapped */

/* What stands for a level in the index. */
#define INDEX_PLACED 1
#define INDEX_KEPT 2

static struct vmem_block *find_block(const struct vmem_snapshot *snapshot,
				     u64 gpa, bool kept)
{
	int level = kept ? INDEX_KEPT : INDEX_PLACED;
	u64 base = gpa & ~(VMEM_BLOCK_SIZE - 1);
	const struct vmem_owner *found;

	found = vmem_seen_find(&snapshot->index, base, level, VMEM_WINDOW_ALL);
	return found ? &snapshot->blocks[found->root] : NULL;
}

/* NULL only if @ret says why. */
static struct vmem_block *add_block(struct vmem_snapshot *snapshot, u64 gpa,
				    bool kept, int *ret)
{
	const struct vmem_owner owner = {
		.table = gpa & ~(VMEM_BLOCK_SIZE - 1),
		.window = VMEM_WINDOW_ALL,
		.root = snapshot->nr_blocks,
	};
	struct vmem_block *block = find_block(snapshot, gpa, kept);

	if (block)
		return block;
	*ret = vmem_seen_reserve(&snapshot->index);
	if (!*ret)
		*ret = make_room(&snapshot->blocks, snapshot->nr_blocks,
				 &snapshot->room_blocks, sizeof(*block));
	if (*ret)
		return NULL;
	vmem_seen_add(&snapshot->index, kept ? INDEX_KEPT : INDEX_PLACED,
		      &owner);
	block = &snapshot->blocks[snapshot->nr_blocks++];
	*block = (struct vmem_block){ .gpa = owner.table, .kept = kept };
	return block;
}

static u64 page_of_block(u64 gpa)
{
	return gpa >> VMEM_PAGE_SHIFT & (VMEM_BLOCK_PAGES - 1);
}

static bool has_page(const struct vmem_block *block, u64 page)
{
	return block->pages[page / 64] & BIT_ULL(page % 64);
}

/* What such a page is to a block; see struct vmem_block. */
static u8 page_align(u64 size)
{
	return size > VMEM_PAGE_SIZE ? ilog2(size) : 0;
}

/* The block that has the page as one that was noted; NULL if there is none. */
static struct vmem_block *find_page(const struct vmem_snapshot *snapshot,
				    u64 gpa, u64 size, bool kept)
{
	struct vmem_block *block = find_block(snapshot, gpa, kept);

	return block && block->align >= page_align(size) &&
			       has_page(block, page_of_block(gpa)) ?
		       block :
		       NULL;
}

/*
 * The page at @gpa is mapped. A large one takes all of its blocks, the first one
 * last: find_page() looks there, and this may fail on the way and be called
 * again.
 */
static int note_page(struct vmem_snapshot *snapshot, u64 gpa, u64 size,
		     bool kept)
{
	u8 align = page_align(size);
	struct vmem_block *block;
	u64 at = gpa + (size - 1);
	u64 page = page_of_block(gpa);
	int ret = 0;

	for (;; at -= VMEM_BLOCK_SIZE) {
		block = add_block(snapshot, at, kept, &ret);
		if (!block)
			return ret;
		if (!align) {
			block->pages[page / 64] |= BIT_ULL(page % 64);
			return 0;
		}
		memset(block->pages, 0xff, sizeof(block->pages));
		block->align = max(block->align, align);
		if (at - gpa < VMEM_BLOCK_SIZE)
			return 0;
	}
}

/* What there is behind a page. */
#define HAS_MEMORY 1
#define HAS_DEVICE 2
#define HAS_UNREADABLE 4

static int probe(struct vmem_mem *mem, u64 gpa, u64 len, u64 *same)
{
	const void *page;

	if (mem->ops->probe)
		return mem->ops->probe(mem, gpa, len, same);
	*same = VMEM_PAGE_SIZE;
	page = mem->ops->pin(mem, gpa);
	if (IS_ERR(page))
		return PTR_ERR(page);
	mem->ops->unpin(mem, gpa, page);
	return 0;
}

/* A bit of the above, or an errno. */
static int probe_part(struct vmem_mem *mem, u64 gpa, u64 len, u64 *same)
{
	int has, ret = probe(mem, gpa, len, same);

	switch (ret) {
	case 0:
		has = HAS_MEMORY;
		break;
	case -ENXIO:
		has = HAS_DEVICE;
		break;
	case -EIO:
	case -EACCES:
		has = HAS_UNREADABLE;
		break;
	default:
		return vmem_callback_errno(ret);
	}
	if (!*same || *same > len || *same & ~VMEM_PAGE_MASK)
		return -EINVAL;
	return has;
}

/* Several of the bits if it is more than one thing, or an errno. */
static int probe_page(struct vmem_mem *mem, u64 gpa, u64 size)
{
	u64 done, same;
	int has = 0, ret;

	for (done = 0; done < size && !(has & (has - 1)); done += same) {
		same = 0;
		ret = probe_part(mem, gpa + done, size - done, &same);
		if (ret < 0)
			return ret;
		has |= ret;
	}
	return has;
}

/*
 * Pages keep their addresses until it is known what else is mapped. What was
 * found out of a page holds for all that map it.
 */
static int note_mapped(const struct vmem_visit *visit, u64 *gpa, u64 len,
		       void *priv)
{
	struct vmem_snapshot *snapshot = priv;
	int has;

	if (find_page(snapshot, *gpa, len, false) ||
	    find_page(snapshot, *gpa, len, true))
		return 0;
	has = probe_page(snapshot->mem, *gpa, len);
	if (has < 0)
		return has;
	if (has == HAS_MEMORY || has == HAS_DEVICE)
		return note_page(snapshot, *gpa, len, has == HAS_DEVICE);
	if (has != HAS_UNREADABLE &&
	    can_name(snapshot, *gpa + (len - VMEM_PAGE_SIZE)))
		return VMEM_PLACE_SPLIT;
	return snapshot->strict ? -EIO : VMEM_PLACE_OUT;
}

static bool make_cow(const struct vmem_visit *visit, void *priv)
{
	const struct vmem_snapshot *snapshot = priv;

	return snapshot->cow;
}

static const struct vmem_rebuild_ops rebuild_ops = {
	.place = note_mapped,
	.make_cow = make_cow,
};

/* The place of everything */

/* Small pages first, then ever larger ones: at most one gap for each size. */
static int compare_blocks(const void *ap, const void *bp)
{
	const struct vmem_block *a = *(struct vmem_block *const *)ap;
	const struct vmem_block *b = *(struct vmem_block *const *)bp;

	if (a->align != b->align)
		return a->align < b->align ? -1 : 1;
	return a->gpa < b->gpa ? -1 : 1;
}

static int sort_blocks(struct vmem_snapshot *snapshot)
{
	u32 i;

	snapshot->placed = kvcalloc(max(snapshot->nr_blocks, 1U),
				    sizeof(*snapshot->placed), VMEM_GFP);
	if (!snapshot->placed)
		return -ENOMEM;
	for (i = 0; i < snapshot->nr_blocks; i++)
		if (!snapshot->blocks[i].kept)
			snapshot->placed[snapshot->nr_placed++] =
				&snapshot->blocks[i];
	sort(snapshot->placed, snapshot->nr_placed, sizeof(*snapshot->placed),
	     compare_blocks, NULL);
	return 0;
}

/* Pages of the block that are mapped, of the first @nr. */
static u32 count_pages(const struct vmem_block *block, u64 nr)
{
	u32 count = 0;
	u64 i;

	for (i = 0; i < nr / 64; i++)
		count += hweight64(block->pages[i]);
	if (nr % 64)
		count += hweight64(block->pages[i] & (BIT_ULL(nr % 64) - 1));
	return count;
}

static u64 block_size(const struct vmem_block *block)
{
	if (block->align)
		return VMEM_BLOCK_SIZE;
	return (u64)count_pages(block, VMEM_BLOCK_PAGES) << VMEM_PAGE_SHIFT;
}

/*
 * Only a large page that was noted in part can make more gaps than there are
 * sizes: it was memory, the call failed, and it is none any more.
 */
static int add_extent(struct vmem_snapshot *snapshot, u64 gpa, u64 len)
{
	struct vmem_extent *next = &snapshot->extents[snapshot->nr_extents];

	if (snapshot->nr_extents && next[-1].gpa + next[-1].len == gpa) {
		next[-1].len += len;
		return 0;
	}
	if (snapshot->nr_extents == VMEM_MAX_EXTENTS)
		return -EAGAIN;
	*next = (struct vmem_extent){ .gpa = gpa, .len = len };
	snapshot->nr_extents++;
	return 0;
}

/* A page larger than a block takes blocks that follow each other. */
static int assign_addresses(struct vmem_snapshot *snapshot)
{
	u64 end = snapshot->base + ((u64)snapshot->nr_made << VMEM_PAGE_SHIFT);
	u32 i;
	int ret;

	snapshot->nr_extents = 0;
	ret = add_extent(snapshot, snapshot->base, end - snapshot->base);
	for (i = 0; i < snapshot->nr_placed && !ret; i++) {
		struct vmem_block *block = snapshot->placed[i];
		u64 size = 1ULL << block->align;

		if (block->align && !(block->gpa & (size - 1)))
			end = (end + size - 1) & ~(size - 1);
		block->to = end;
		end += block_size(block);
		ret = add_extent(snapshot, block->to, end - block->to);
	}
	return ret;
}

/* Do pages that stay lie where the snapshot is to be? */
static int check_kept(const struct vmem_snapshot *snapshot)
{
	const struct vmem_extent *last =
		&snapshot->extents[snapshot->nr_extents - 1];
	u64 end = last->gpa + last->len;
	u32 i;

	if (end < snapshot->base)
		return -ERANGE;
	for (i = 0; i < snapshot->nr_blocks; i++) {
		const struct vmem_block *block = &snapshot->blocks[i];
		u64 page;

		if (!block->kept || block->gpa >= end ||
		    block->gpa + VMEM_BLOCK_SIZE <= snapshot->base)
			continue;
		for (page = 0; page < VMEM_BLOCK_PAGES; page++) {
			u64 gpa = block->gpa + (page << VMEM_PAGE_SHIFT);

			if (has_page(block, page) && gpa >= snapshot->base &&
			    gpa < end)
				return -EADDRINUSE;
		}
	}
	return 0;
}

/* Where the page at @gpa, which is mapped, is in the snapshot. */
static u64 new_place(const struct vmem_snapshot *snapshot, u64 gpa, u64 size)
{
	const struct vmem_block *block = find_page(snapshot, gpa, size, false);
	u64 page = page_of_block(gpa);

	if (!block)
		return gpa;
	if (!block->align)
		page = count_pages(block, page);
	return block->to + (page << VMEM_PAGE_SHIFT);
}

static int retarget_table(const struct vmem_snapshot *snapshot,
			  const struct vmem_new_table *table)
{
	const struct vmem_mode *mode = &snapshot->rebuild.built->mode;
	const struct vmem_arch *arch = mode->arch;
	u32 offset;

	for (offset = 0; offset < VMEM_PAGE_SIZE; offset += arch->entry_size) {
		struct vmem_entry entry;
		u64 raw = 0, gpa;

		memcpy(&raw, table->page + offset, arch->entry_size);
		entry = vmem_decode(mode, table->level, raw);
		if (entry.kind != VMEM_ENTRY_LEAF)
			continue;
		gpa = new_place(snapshot, entry.addr,
				vmem_level_size(arch, table->level));
		raw = arch->retarget(mode, table->level, raw, gpa);
		if (vmem_decode(mode, table->level, raw).addr != gpa)
			return -ERANGE;
		memcpy(table->page + offset, &raw, arch->entry_size);
	}
	return 0;
}

/* To be done once: it takes the addresses in the tables for the guest's. */
static int retarget_all(struct vmem_snapshot *snapshot)
{
	u32 i;
	int ret = 0;

	for (i = 0; i < snapshot->nr_made && !ret; i++)
		ret = retarget_table(snapshot, &snapshot->made[i]);
	return ret;
}

static int place_all(struct vmem_snapshot *snapshot)
{
	int ret = sort_blocks(snapshot);

	if (ret)
		return ret;
	ret = assign_addresses(snapshot);
	if (!ret)
		ret = check_kept(snapshot);
	return ret ?: retarget_all(snapshot);
}

static void begin(struct vmem_snapshot *snapshot)
{
	struct vmem_rebuild *rebuild = &snapshot->rebuild;

	snapshot->tables.ops = &table_ops;
	snapshot->tables.mem.ops = &table_mem_ops;
	rebuild->tables = &snapshot->tables;
	rebuild->ops = &rebuild_ops;
	rebuild->priv = snapshot;
	rebuild->strict = snapshot->strict;
}

int vmem_snapshot_make(struct vmem_snapshot *snapshot, struct vmem_mem *mem,
		       u64 budget)
{
	int ret;

	if (snapshot->done)
		return 0;
	if (!snapshot->rebuild.begun)
		begin(snapshot);
	snapshot->mem = mem;
	ret = vmem_rebuild(&snapshot->rebuild, mem, budget);
	snapshot->mem = NULL;
	snapshot->unreadable = snapshot->rebuild.stats.left_out +
			       snapshot->rebuild.stats.unreadable;
	/* What was read as a table is a page now, or the other way round. */
	if (ret == -EEXIST || ret == -EACCES)
		return -EAGAIN;
	if (ret)
		return ret;
	ret = place_all(snapshot);
	snapshot->done = !ret;
	return ret;
}

/* Reading it */

/* The guest's page that is at @gpa of the snapshot; false if there is none. */
static bool old_place(const struct vmem_snapshot *snapshot, u64 gpa, u64 *old)
{
	u32 low = 0, high = snapshot->nr_placed;
	const struct vmem_block *block;
	u64 nr, page;

	while (low < high) {
		u32 mid = low + (high - low) / 2;

		if (snapshot->placed[mid]->to <= gpa)
			low = mid + 1;
		else
			high = mid;
	}
	if (!low)
		return false;
	block = snapshot->placed[low - 1];
	if (gpa - block->to >= block_size(block))
		return false;

	nr = (gpa - block->to) >> VMEM_PAGE_SHIFT;
	page = nr;
	if (!block->align)
		for (page = 0; nr || !has_page(block, page); page++)
			nr -= has_page(block, page);
	*old = block->gpa + (page << VMEM_PAGE_SHIFT);
	return true;
}

static const u8 zeros[VMEM_PAGE_SIZE];

static int read_page(const struct vmem_snapshot *snapshot, struct vmem_mem *mem,
		     u64 gpa, size_t len,
		     int (*sink)(const void *data, size_t len, void *priv),
		     void *priv)
{
	u64 offset = gpa & ~VMEM_PAGE_MASK;
	const void *page = table_at(snapshot, gpa);
	u64 old;
	int ret;

	if (page)
		return sink(page + offset, len, priv);
	if (!old_place(snapshot, gpa & VMEM_PAGE_MASK, &old))
		return sink(zeros, len, priv);
	page = mem->ops->pin(mem, old);
	/* It was memory when the snapshot was made. */
	if (page == ERR_PTR(-ENXIO))
		return -EIO;
	if (IS_ERR(page))
		return PTR_ERR(page);
	ret = sink(page + offset, len, priv);
	mem->ops->unpin(mem, old, page);
	return ret;
}

int vmem_snapshot_read(struct vmem_snapshot *snapshot, struct vmem_mem *mem,
		       u64 *gpa, u64 end,
		       int (*sink)(const void *data, size_t len, void *priv),
		       void *priv)
{
	if (*gpa > end)
		return -EINVAL;
	while (*gpa < end) {
		size_t len = min_t(u64, end - *gpa,
				   VMEM_PAGE_SIZE - (*gpa & ~VMEM_PAGE_MASK));
		int ret = read_page(snapshot, mem, *gpa, len, sink, priv);

		if (ret)
			return vmem_callback_errno(ret);
		*gpa += len;
	}
	return 0;
}

void vmem_snapshot_destroy(struct vmem_snapshot *snapshot)
{
	u32 i;

	for (i = 0; i < snapshot->nr_made; i++)
		kfree(snapshot->made[i].page);
	kvfree(snapshot->made);
	kvfree(snapshot->blocks);
	kvfree(snapshot->placed);
	vmem_seen_destroy(&snapshot->index);
	vmem_tables_destroy(&snapshot->tables);
	vmem_rebuild_destroy(&snapshot->rebuild);
}
