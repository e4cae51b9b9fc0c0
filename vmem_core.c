// SPDX-License-Identifier: GPL-2.0-only
/*
 * The walk over guest page tables, and the questions that are callbacks on it.
 * Nothing here knows where guest memory comes from (see vmem/mem.h) or what an
 * entry's bits mean (see vmem/arch.h).
 */
#include <linux/compiler.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <vmem/spaces.h>
#include <vmem/translate.h>

/**
 * struct followed - a table that is somebody else's, and was followed
 * @owner: whose it is, and where; @owner.table is 0 if there is none
 * @base: first virtual address of its region here
 */
struct followed {
	struct vmem_owner owner;
	u64 base;
};

/* The entries on a path, root first, and zeros. */
struct path {
	struct vmem_trace entries[VMEM_MAX_LEVELS];
};

/* Where those of them that named a table can be read again. */
struct names {
	const void *entries[VMEM_MAX_LEVELS - 1];
};

static const struct path no_path;

/* No region has this number. */
#define NOWHERE U64_MAX

/**
 * struct frame - a table that the walk was in and can go back to
 * @region: number of its region among those of its size; NOWHERE if the frame is
 *	free
 * @last_va: last virtual address of its region
 * @table: its guest-physical address
 * @entries: where its entries are, in a page that is pinned
 * @format: what they are made of
 * @held: how many tables above page tables the walk had dropped when all of those
 *	above this one were known to be there
 * @level: the table's level
 * @shift: log2 of what one of its entries spans
 * @nr_path: entries on the path that ends in it
 * @perms: permissions of the path down to this table
 * @path: the entries read on the way to it, and the last one read in it
 * @names: where those on the way are
 * @followed: the last table down to this one that is somebody else's
 * @number: tables that the walk had entered by then, this one included; 0 if the
 *	frame is free
 * @above: the frame of the table above; NULL if it is the root
 * @number_above: what the number of that one was
 * @used: whether it is among the frames that were used
 * @next: the one of its level that was used before
 *
 * What is looked at for each address comes first, and fits into a cache line.
 */
struct frame {
	u64 region;
	u64 last_va;
	u64 table;
	const void *entries;
	const struct vmem_format *format;
	u64 held;
	int level;
	int shift;
	int nr_path;
	u32 perms;
	struct path path;
	struct names names;
	struct followed followed;
	u64 number;
	const struct frame *above;
	u64 number_above;
	bool used;
	struct frame *next;
};

/* There are so many times fewer for each level further up. */
#define FEWER_FRAMES 8

static void init_frames(struct frame *frames, u32 nr)
{
	u32 i;

	for (i = 0; i < nr; i++) {
		frames[i].region = NOWHERE;
		frames[i].number = 0;
		frames[i].used = false;
	}
}

/**
 * struct level - the tables of one level that are remembered
 * @frames: the frames, by region
 * @last: how many they are, a power of two, less one
 * @used: the frame that was used last
 */
struct level {
	struct frame *frames;
	u64 last;
	struct frame *used;
};

/**
 * struct walker - a walk of one space under way
 * @walk: what was asked for, and the cursor
 * @root: the space
 * @mode: its paging mode
 * @entry_shift: log2 of the size of an entry
 * @index_bits: log2 of how many entries a table has
 * @last_index: index of the last of them
 * @levels: the tables that are remembered, as in the processor's
 *	paging-structure caches (SDM vol. 3, 4.10.3), but no longer than for one
 *	walk
 * @frame: the table that is being read; NULL before the root is
 * @dropped: how many tables above page tables were forgotten
 * @attempts: how often the path to the cursor has changed while it was read
 * @clear_va: first address of a part of the scope without a gap
 * @clear_last: last address of that part
 * @last_va: the last address that was visited, or passed over
 */
struct walker {
	struct vmem_walk *walk;
	const struct vmem_root *root;
	const struct vmem_mode *mode;
	int entry_shift;
	int index_bits;
	u64 last_index;
	struct level levels[VMEM_MAX_LEVELS + 1];
	struct frame *frame;
	u64 dropped;
	u32 attempts;
	u64 clear_va;
	u64 clear_last;
	u64 last_va;
};

/* Let others run; a caller that was killed goes no further. */
static int walk_breathe(void)
{
	cond_resched();
	return fatal_signal_pending(current) ? -EINTR : 0;
}

static void init_levels(struct walker *w, struct frame *frames, u32 nr)
{
	int level;

	for (level = VMEM_LEVEL_PT; level < w->mode->top; level++) {
		w->levels[level].frames = frames;
		w->levels[level].last = nr - 1;
		w->levels[level].used = NULL;
		frames += nr;
		nr = max(nr / FEWER_FRAMES, 1U);
	}
	w->levels[level].frames = frames;
	w->levels[level].used = NULL;
}

/* 2^64 divided by the golden ratio: spreads numbers that lie close together. */
#define SPREAD 0x9e3779b97f4a7c15ULL

/* So many frames are looked at for a table above the lowest ones. */
#define WAYS 8

/*
 * Tables further up have many below them that are of no use without them, and are
 * asked for less often: none makes room for another while a frame nearby is free.
 */
static struct frame *upper_frame(const struct level *level, u64 region, u64 i)
{
	struct frame *frame, *best = &level->frames[i & level->last];
	u64 way;

	for (way = 0; way < WAYS && way <= level->last; way++) {
		frame = &level->frames[(i + way) & level->last];
		if (frame->region == region)
			return frame;
		if (best->region != NOWHERE && frame->region == NOWHERE)
			best = frame;
	}
	return best;
}

/*
 * Where the table of a region is remembered: neighbours side by side, and those
 * in another table somewhere else. A guest that has them meet loses time only.
 */
static __always_inline struct frame *frame_of(const struct walker *w, int level,
					      u64 region)
{
	u64 above = (region >> w->index_bits) * SPREAD;
	u64 i = region + (above >> 32);

	if (level > VMEM_LEVEL_PT)
		return upper_frame(&w->levels[level], region, i);
	return &w->levels[level].frames[i & w->levels[level].last];
}

static struct frame *root_frame(const struct walker *w)
{
	return w->levels[w->mode->top].frames;
}

static void forget_table(struct walker *w, struct frame *frame)
{
	struct vmem_mem *mem = w->walk->mem;

	if (frame->region == NOWHERE)
		return;
	w->dropped += frame->level > VMEM_LEVEL_PT;
	mem->ops->unpin(mem, frame->table,
			frame->entries - (frame->table & ~VMEM_PAGE_MASK));
	frame->region = NOWHERE;
	frame->number = 0;
}

/* Whether all tables above are there that a table was entered from. */
static bool is_below_held(const struct frame *frame)
{
	for (; frame->above; frame = frame->above)
		if (frame->above->number != frame->number_above)
			return false;
	return true;
}

/*
 * What has led to a table can be read again while those above it are there. None
 * of them has gone, if no table above page tables has since that was looked at.
 */
static __always_inline bool is_held(const struct walker *w, struct frame *frame)
{
	if (likely(frame->held == w->dropped))
		return true;
	if (!is_below_held(frame))
		return false;
	frame->held = w->dropped;
	return true;
}

/* The next thing to do is to enter the root. */
static void forget_path(struct walker *w)
{
	w->frame = NULL;
	w->clear_va = U64_MAX;
	w->clear_last = 0;
}

/* Tables of @top and of the levels below it. */
static void forget_levels(struct walker *w, int top)
{
	struct frame *frame;
	int level;

	for (level = VMEM_LEVEL_PT; level <= top; level++) {
		for (frame = w->levels[level].used; frame;
		     frame = frame->next) {
			forget_table(w, frame);
			frame->used = false;
		}
		w->levels[level].used = NULL;
	}
}

static void forget_tables(struct walker *w)
{
	forget_levels(w, w->mode->top);
	forget_path(w);
}

/* Go to the table of a region if it is remembered. */
static __always_inline bool find_at(struct walker *w, int level, u64 region)
{
	struct frame *frame = frame_of(w, level, region);

	if (frame->region != region || !is_held(w, frame))
		return false;
	w->frame = frame;
	return true;
}

/* Go to the deepest table that is remembered and whose region holds the cursor. */
static __always_inline void find_table(struct walker *w)
{
	u64 va = w->walk->va;
	u64 region = va >> (VMEM_PAGE_SHIFT + w->index_bits);
	int level;

	/* Most addresses go no further. */
	if (likely(find_at(w, VMEM_LEVEL_PT, region)))
		return;
	for (level = VMEM_LEVEL_PT + 1; level < w->mode->top; level++) {
		region >>= w->index_bits;
		if (find_at(w, level, region))
			return;
	}
	w->frame = root_frame(w);
	/* The root's region has a hole, which nothing below it reaches into. */
	w->frame->last_va = va < w->mode->hole ? w->mode->hole - 1 : U64_MAX;
}

static int pin_table(struct walker *w, struct frame *frame, int level,
		     u64 table)
{
	struct vmem_mem *mem = w->walk->mem;
	const void *page;
	int ret = walk_breathe();

	if (ret)
		return ret;
	forget_table(w, frame);
	page = mem->ops->pin(mem, table);
	if (IS_ERR(page))
		return PTR_ERR(page);
	if (!frame->used) {
		frame->used = true;
		frame->next = w->levels[level].used;
		w->levels[level].used = frame;
	}
	frame->level = level;
	frame->table = table;
	frame->entries = page + (table & ~VMEM_PAGE_MASK);
	frame->number = ++w->walk->tables;
	frame->held = w->dropped;
	return 0;
}

static __always_inline u64 index_of(const struct walker *w, u64 va)
{
	return (va >> w->frame->shift) & w->last_index;
}

static int enter_root(struct walker *w)
{
	struct frame *frame = root_frame(w);
	int ret = pin_table(w, frame, w->mode->top, w->root->table);

	if (ret)
		return ret;
	frame->region = 0;
	frame->format = &w->mode->formats[frame->level];
	frame->shift = vmem_level_shift(w->mode->arch, frame->level);
	frame->nr_path = 1;
	frame->perms = VMEM_WRITABLE | VMEM_USER | VMEM_EXECUTABLE;
	frame->followed.owner.table = 0;
	frame->above = NULL;
	frame->path = no_path;
	w->frame = frame;
	return 0;
}

/* Go to the table that the entry has named which was read last. */
static int enter_table(struct walker *w, const struct vmem_entry *entry)
{
	const struct frame *above = w->frame;
	int last = above->nr_path - 1;
	u64 region = w->walk->va >> above->shift;
	struct frame *frame = frame_of(w, above->level - 1, region);
	int ret = pin_table(w, frame, above->level - 1, entry->addr);

	if (ret)
		return ret;
	frame->region = region;
	frame->last_va = w->walk->va | (BIT_ULL(above->shift) - 1);
	frame->format = above->format - 1;
	frame->shift = above->shift - w->index_bits;
	frame->nr_path = above->nr_path + 1;
	frame->perms = above->perms & entry->perms;
	frame->followed.owner.table = 0;
	frame->path = above->path;
	frame->above = above;
	frame->number_above = above->number;
	frame->names = above->names;
	frame->names.entries[last] =
		above->entries + (index_of(w, w->walk->va) << w->entry_shift);
	w->frame = frame;
	return 0;
}

/* The table that was just entered is not to be walked. */
static void leave_table(struct walker *w)
{
	forget_table(w, w->frame);
	find_table(w);
}

/* One untorn load; the guest may write to the entry at any time. */
static __always_inline u64 read_entry(const void *entries, int entry_shift,
				      u64 index)
{
	if (entry_shift == ilog2(sizeof(u32)))
		return READ_ONCE(((const u32 *)entries)[index]);
	return READ_ONCE(((const u64 *)entries)[index]);
}

/*
 * Of a region that begins at @base, from the cursor to @last_va. Field by field:
 * compilers clear structures of this size by string instructions, which are slow
 * for so little.
 */
static __always_inline struct vmem_visit make_visit(const struct walker *w,
						    u64 base, u64 last_va)
{
	struct vmem_visit visit;

	visit.root = w->root;
	visit.index = w->walk->root;
	visit.status = VMEM_MAPPED;
	visit.level = VMEM_LEVEL_NONE;
	visit.va = w->walk->va;
	visit.last_va = last_va;
	visit.base = base;
	visit.gpa = 0;
	visit.page_size = 0;
	visit.perms = 0;
	visit.cow = false;
	visit.path = no_path.entries;
	visit.nr_path = 0;
	visit.referenced = false;
	visit.owner = 0;
	visit.owner_va = 0;
	visit.owner_perms = 0;
	return visit;
}

/* Likewise, of what the entry that was read last spans. */
static __always_inline struct vmem_visit entry_visit(const struct walker *w,
						     u64 base, u64 last_va)
{
	struct vmem_visit visit = make_visit(w, base, last_va);

	visit.level = w->frame->level;
	visit.path = w->frame->path.entries;
	visit.nr_path = w->frame->nr_path;
	return visit;
}

static __always_inline void set_owner(struct vmem_visit *visit,
				      const struct followed *followed)
{
	visit->referenced = followed->owner.table;
	if (!visit->referenced)
		return;
	visit->owner = followed->owner.root;
	visit->owner_va = followed->owner.va + (visit->base - followed->base);
	visit->owner_perms = followed->owner.perms;
}

static __always_inline int changed_level_of(const struct frame *frame,
					    u64 index, u64 raw, int entry_shift)
{
	int i, last = frame->nr_path - 1;

	/* A third faster than a loop: most translations come by here. */
#pragma GCC unroll 4
	for (i = 0; i < VMEM_MAX_LEVELS - 1 && i < last; i++)
		if (read_entry(frame->names.entries[i], entry_shift, 0) !=
		    frame->path.entries[i].raw)
			return frame->level + last - i;
	return read_entry(frame->entries, entry_shift, index) == raw ?
		       VMEM_LEVEL_NONE :
		       frame->level;
}

/*
 * Read the path once more, root first, that ends in this table with @raw at
 * @index. Returns the level where it is not what it was, or 0: then all of it was
 * there when @raw was read the first time, as what led to it was there before
 * and after that, unless the guest has put back meanwhile what it had taken away.
 * That is why @raw is read again as well, and last: a table that is off the path
 * while the guest fills it would have to be taken off twice to be taken for one
 * that is on it.
 */
static __always_inline int changed_level(const struct walker *w, u64 index,
					 u64 raw)
{
	if (w->entry_shift == ilog2(sizeof(u32)))
		return changed_level_of(w->frame, index, raw,
					ilog2(sizeof(u32)));
	return changed_level_of(w->frame, index, raw, ilog2(sizeof(u64)));
}

/* Whether an anomaly answers SKIP is asked only where there is a way down. */
static int go_on(int ret)
{
	return ret == VMEM_WALK_SKIP ? 0 : ret;
}

/* So often is a path read that the guest changes each time. */
#define MAX_ATTEMPTS 4

/* The path to the cursor has changed at @level while it was read. */
static int visit_changed(struct walker *w, const struct vmem_walk_ops *ops,
			 int level, u64 last_va)
{
	struct vmem_visit visit;
	int ret;

	if (++w->attempts < MAX_ATTEMPTS)
		return VMEM_WALK_AGAIN;
	w->attempts = 0;
	visit = make_visit(w, w->walk->va, last_va);
	visit.status = VMEM_TORN;
	visit.level = level;
	ret = go_on(ops->anomaly(&visit, w->walk->priv));
	/* The next path is not to begin with what is known to have gone. */
	if (ret == VMEM_WALK_MOVE)
		forget_tables(w);
	return ret;
}

/*
 * The path is about to be shown that ends with @raw at @index, for what reaches
 * to @last_va: FOLLOW if it can be, or else what the walk has to do.
 */
static __always_inline int hold_path(struct walker *w,
				     const struct vmem_walk_ops *ops, u64 index,
				     u64 raw, u64 last_va)
{
	int level;

	if (!ops->steady)
		return VMEM_WALK_FOLLOW;
	level = changed_level(w, index, raw);
	if (unlikely(level))
		return visit_changed(w, ops, level, last_va);
	w->attempts = 0;
	return VMEM_WALK_FOLLOW;
}

/* Of a table that the entry which was read last has named. */
static struct vmem_visit table_visit(const struct walker *w,
				     const struct vmem_entry *entry, u64 base)
{
	struct vmem_visit visit = entry_visit(w, base, w->last_va);

	visit.level--;
	visit.gpa = entry->addr;
	visit.perms = entry->perms & w->frame->perms;
	return visit;
}

/* The table that the visit is of could not be entered, because of @err. */
static int visit_unpinned(struct walker *w, const struct vmem_walk_ops *ops,
			  struct vmem_visit visit, int err)
{
	int ret;

	if (visit.nr_path) {
		ret = hold_path(w, ops, index_of(w, visit.va),
				visit.path[visit.nr_path - 1].raw,
				visit.last_va);
		if (ret != VMEM_WALK_FOLLOW)
			return ret;
	}
	visit.status = vmem_pin_status(err);
	visit.perms = 0;
	return go_on(ops->anomaly(&visit, w->walk->priv));
}

/*
 * What a table that is about to be claimed is besides: on the path at a higher
 * level, or known at another level. VMEM_MAPPED if it is neither.
 */
static enum vmem_status other_view(const struct walker *w,
				   const struct vmem_visit *visit)
{
	int i, level, top = w->mode->top;

	for (i = 0; i < visit->nr_path; i++)
		if ((visit->path[i].entry_gpa & VMEM_PAGE_MASK) == visit->gpa)
			return VMEM_ANCESTOR;
	for (level = VMEM_LEVEL_PT; level <= top; level++)
		if (level != visit->level &&
		    vmem_seen_find(w->walk->seen, visit->gpa, level,
				   VMEM_WINDOW_ALL))
			return VMEM_CROSS_LEVEL;
	return VMEM_MAPPED;
}

/* The space is the first to reach the table that was just entered. */
static int claim_table(struct walker *w, const struct vmem_walk_ops *ops,
		       struct vmem_visit *visit, u64 window)
{
	const struct vmem_walk *walk = w->walk;
	const struct vmem_owner owner = {
		.table = visit->gpa,
		.window = window,
		.va = visit->base,
		.root = walk->root,
		.perms = visit->perms,
	};
	int ret = vmem_seen_reserve(walk->seen);

	visit->status = other_view(w, visit);
	if (!ret && visit->status != VMEM_MAPPED)
		ret = ops->anomaly(visit, walk->priv);
	if (!ret && ops->table)
		ret = ops->table(visit, walk->priv);
	if (!ret)
		vmem_seen_add(walk->seen, visit->level, &owner);
	return ret;
}

/*
 * Whose table the next frame is. What was claimed at this very place is the
 * space's own: a walk that was stopped in there has come back to it.
 */
static struct followed make_followed(const struct walker *w,
				     const struct vmem_owner *owner, u64 base)
{
	if (!owner)
		return w->frame->followed;
	if (owner->root == w->walk->root && owner->va == base)
		return (struct followed){};
	return (struct followed){ .owner = *owner, .base = base };
}

/* A table that is not entered is passed over as a whole, exclusions and all. */
static void pass_table(struct walker *w, u64 last_va)
{
	w->last_va = min(last_va, w->walk->scope.last_va);
}

/* As visit_table(), where something is known of sharing. */
static int visit_shareable(struct walker *w, const struct vmem_walk_ops *ops,
			   const struct vmem_entry *entry, u64 base)
{
	const struct vmem_walk *walk = w->walk;
	struct vmem_visit visit = table_visit(w, entry, base);
	bool share = vmem_shared_table(w->mode->arch, visit.level);
	u64 last_va = base + (BIT_ULL(w->frame->shift) - 1);
	/* See struct vmem_owner. */
	u64 window = vmem_scope_holds(&walk->scope, base, last_va) ?
			     VMEM_WINDOW_ALL :
			     base;
	const struct vmem_owner *owner =
		share ? vmem_seen_find(walk->seen, visit.gpa, visit.level,
				       window) :
			NULL;
	struct followed followed = make_followed(w, owner, base);
	int ret;

	if (owner && followed.owner.table) {
		set_owner(&visit, &followed);
		pass_table(w, last_va);
		visit.last_va = w->last_va;
		ret = ops->reference(&visit, walk->priv);
		if (ret != VMEM_WALK_FOLLOW)
			return ret;
	}

	ret = enter_table(w, entry);
	if (ret)
		return vmem_pin_status(ret) ?
			       visit_unpinned(w, ops, visit, ret) :
			       ret;
	if (owner || !share || !walk->claim) {
		w->frame->followed = followed;
		return VMEM_WALK_FOLLOW;
	}

	ret = claim_table(w, ops, &visit, window);
	if (!ret)
		return VMEM_WALK_FOLLOW;
	leave_table(w);
	pass_table(w, last_va);
	return go_on(ret);
}

/* As visit_table(), where nothing is known of sharing. */
static int visit_private(struct walker *w, const struct vmem_walk_ops *ops,
			 const struct vmem_entry *entry, u64 base)
{
	struct vmem_visit visit;
	int ret;

	if (ops->table) {
		visit = table_visit(w, entry, base);
		ret = ops->table(&visit, w->walk->priv);
		if (ret) {
			pass_table(w, base + (BIT_ULL(w->frame->shift) - 1));
			return go_on(ret);
		}
	}
	ret = enter_table(w, entry);
	if (!vmem_pin_status(ret))
		return ret ?: VMEM_WALK_FOLLOW;
	return visit_unpinned(w, ops, table_visit(w, entry, base), ret);
}

/*
 * The cursor lies in an entry that names a table, whose region begins at @base:
 * pass over it, if it is known as somebody else's, or enter it, which is FOLLOW.
 */
static int visit_table(struct walker *w, const struct vmem_walk_ops *ops,
		       const struct vmem_entry *entry, u64 base)
{
	return w->walk->seen ? visit_shareable(w, ops, entry, base) :
			       visit_private(w, ops, entry, base);
}

static int visit_reserved(struct walker *w, const struct vmem_walk_ops *ops,
			  u64 base)
{
	struct vmem_visit visit = entry_visit(w, base, w->last_va);

	visit.status = VMEM_RESERVED;
	return go_on(ops->anomaly(&visit, w->walk->priv));
}

static int visit_empty(struct walker *w, const struct vmem_walk_ops *ops,
		       u64 base)
{
	struct vmem_visit visit = entry_visit(w, base, w->last_va);

	visit.status = VMEM_NOT_PRESENT;
	return ops->hole(&visit, w->walk->priv);
}

static __always_inline int visit_leaf(struct walker *w,
				      const struct vmem_walk_ops *ops,
				      const struct vmem_entry *entry, u64 base,
				      u64 last_va, u64 raw)
{
	struct vmem_visit visit = entry_visit(w, base, last_va);

	visit.status = VMEM_MAPPED;
	visit.gpa = entry->addr + (visit.va - base);
	visit.page_size = BIT_ULL(w->frame->shift);
	visit.perms = entry->perms & w->frame->perms;
	visit.cow = vmem_is_cow(w->mode, raw);
	if (visit.cow)
		visit.perms &= ~VMEM_WRITABLE;
	if (w->frame->followed.owner.table)
		set_owner(&visit, &w->frame->followed);
	return ops->leaf(&visit, w->walk->priv);
}

/* An entry that was read before its turn, so that none is read twice. */
struct ahead {
	bool known;
	u64 raw;
};

static __always_inline u64 count_alike_of(const void *entries, int entry_shift,
					  u64 index, u64 raw, u64 step,
					  u64 mask, u64 max,
					  struct ahead *ahead)
{
	u64 nr;

	for (nr = 1; nr < max; nr++) {
		ahead->raw = read_entry(entries, entry_shift, index + nr);
		raw += step;
		if ((ahead->raw ^ raw) & mask) {
			ahead->known = true;
			break;
		}
	}
	return nr;
}

/*
 * How many entries, of @max at most, go on as @raw at @index does: by @step from
 * one to the next, but for bits that are not in @mask. Compiled for either size
 * of entries, as dense tables are read here.
 */
static __always_inline u64 count_alike(const struct walker *w, u64 index,
				       u64 raw, u64 step, u64 mask, u64 max,
				       struct ahead *ahead)
{
	const void *entries = w->frame->entries;

	if (w->entry_shift == ilog2(sizeof(u32)))
		return count_alike_of(entries, ilog2(sizeof(u32)), index, raw,
				      step, mask, max, ahead);
	return count_alike_of(entries, ilog2(sizeof(u64)), index, raw, step,
			      mask, max, ahead);
}

/*
 * How many entries can be visited as one with the one at @index, which is one of
 * them: zeros that nobody is told of, or pages that follow each other, if the
 * callback can do with several.
 */
static __always_inline u64 count_run(const struct walker *w,
				     const struct vmem_walk_ops *ops, u64 index,
				     u64 raw, const struct vmem_entry *entry,
				     u64 max, struct ahead *ahead)
{
	const struct vmem_mode *mode = w->mode;
	int shift = w->frame->shift;
	u64 above;

	if (!raw && !ops->hole)
		return count_alike(w, index, 0, 0, U64_MAX, max, ahead);
	if (!ops->runs || entry->kind != VMEM_ENTRY_LEAF)
		return 1;
	above = (BIT_ULL(mode->maxphyaddr) - entry->addr) >> shift;
	return count_alike(w, index, raw, BIT_ULL(shift),
			   ~mode->arch->untold | mode->cow_mask,
			   min(max, above), ahead);
}

/*
 * Visit the entry that the cursor lies in, which has been read, and those behind
 * it that can be told together with it, up to @last_va.
 */
static __always_inline int visit_entry(struct walker *w,
				       const struct vmem_walk_ops *ops, u64 raw,
				       u64 last_va, struct ahead *ahead)
{
	struct frame *frame = w->frame;
	u64 base = w->walk->va >> frame->shift << frame->shift;
	u64 index = index_of(w, w->walk->va);
	u64 max = min(((last_va - base) >> frame->shift) + 1, w->walk->budget);
	struct vmem_entry entry = vmem_decode_as(w->mode, frame->format, raw);
	u64 nr = count_run(w, ops, index, raw, &entry, max, ahead);
	struct vmem_trace *trace = &frame->path.entries[frame->nr_path - 1];
	int ret;

	w->walk->budget -= nr;
	last_va = min(base + ((nr << frame->shift) - 1), last_va);
	trace->entry_gpa = frame->table + (index << w->entry_shift);
	trace->raw = raw;

	if (likely(entry.kind == VMEM_ENTRY_LEAF)) {
		ret = hold_path(w, ops, index, raw, last_va);
		if (likely(ret == VMEM_WALK_FOLLOW))
			ret = visit_leaf(w, ops, &entry, base, last_va, raw);
		if (!ret)
			w->last_va = last_va;
		return ret;
	}
	w->last_va = last_va;
	if (entry.kind == VMEM_ENTRY_TABLE) {
		/* A copy, so that the other may stay in registers. */
		const struct vmem_entry table = entry;

		return visit_table(w, ops, &table, base);
	}
	ret = hold_path(w, ops, index, raw, last_va);
	if (ret != VMEM_WALK_FOLLOW)
		return ret;
	if (entry.kind == VMEM_ENTRY_RESERVED)
		return visit_reserved(w, ops, base);
	return ops->hole ? visit_empty(w, ops, base) : 0;
}

/*
 * Visit entries from the cursor on, until one leads to a table, a callback says
 * so, or the table or the part of the scope ends.
 */
static __always_inline int visit_entries(struct walker *w,
					 const struct vmem_walk_ops *ops)
{
	struct vmem_walk *walk = w->walk;
	u64 last_va = min(w->frame->last_va, w->clear_last);
	struct ahead ahead = {};
	u64 raw;
	int ret;

	for (;;) {
		if (!walk->budget)
			return VMEM_WALK_STOP;
		raw = ahead.known ?
			      ahead.raw :
			      read_entry(w->frame->entries, w->entry_shift,
					 index_of(w, walk->va));
		ahead.known = false;
		ret = visit_entry(w, ops, raw, last_va, &ahead);
		if (ret || w->last_va >= last_va)
			return ret;
		walk->va = w->last_va + 1;
	}
}

/* The last address behind one that is in the scope before it has a gap. */
static u64 clear_until(const struct vmem_scope *scope, u64 va)
{
	const struct vmem_span *excluded = vmem_scope_next_excluded(scope, va);

	return excluded && excluded->va <= scope->last_va ? excluded->va - 1 :
							    scope->last_va;
}

/*
 * The root cannot be entered. If there are other spaces to go on with, that is
 * told once.
 */
static int visit_dead_root(struct walker *w, const struct vmem_walk_ops *ops,
			   int err)
{
	const struct vmem_scope *scope = &w->walk->scope;
	struct vmem_visit visit;

	if (!ops->space)
		return err;
	visit = make_visit(w, scope->va, clear_until(scope, w->walk->va));
	visit.level = w->mode->top;
	visit.gpa = w->root->table;
	pass_table(w, U64_MAX);
	return visit_unpinned(w, ops, visit, err);
}

static int visit_non_canonical(struct walker *w,
			       const struct vmem_walk_ops *ops)
{
	const struct vmem_mode *mode = w->mode;
	struct vmem_visit visit;

	w->last_va =
		min(clear_until(&w->walk->scope, w->walk->va), mode->hole_last);
	if (!ops->hole)
		return 0;
	visit = make_visit(w, mode->hole, w->last_va);
	visit.status = VMEM_NON_CANONICAL;
	return ops->hole(&visit, w->walk->priv);
}

/*
 * The cursor may not be in a part of the scope where there is something to look
 * for: pass over what has been left out, or is not canonical, or else find such a
 * part and enter the root, which is FOLLOW.
 */
static int visit_gap(struct walker *w, const struct vmem_walk_ops *ops)
{
	const struct vmem_scope *scope = &w->walk->scope;
	u64 va = w->walk->va;
	const struct vmem_span *excluded = vmem_scope_next_excluded(scope, va);
	int ret;

	if (excluded && excluded->va <= va) {
		w->last_va = min(excluded->last_va, scope->last_va);
		return 0;
	}
	if (!vmem_is_canonical(w->mode, va))
		return visit_non_canonical(w, ops);
	if (!w->frame) {
		ret = enter_root(w);
		if (ret)
			return vmem_pin_status(ret) ?
				       visit_dead_root(w, ops, ret) :
				       ret;
	}
	w->clear_va = scope->nr_excluded ? va : scope->va;
	w->clear_last = clear_until(scope, va);
	return VMEM_WALK_FOLLOW;
}

/* Visit what is at the cursor; FOLLOW if that is known now, and not visited. */
static __always_inline int visit_next(struct walker *w,
				      const struct vmem_walk_ops *ops)
{
	u64 va = w->walk->va;
	int ret;

	if (unlikely(va < w->clear_va || va > w->clear_last ||
		     !vmem_is_canonical(w->mode, va)))
		return visit_gap(w, ops);
	find_table(w);
	do
		ret = visit_entries(w, ops);
	while (ret == VMEM_WALK_FOLLOW);
	return ret;
}

/* Whether the entry that named a table says anything else by now. */
static bool is_renamed(const struct walker *w, const struct frame *frame)
{
	int last = frame->nr_path - 2;
	u64 then = frame->path.entries[last].raw;
	u64 now = read_entry(frame->names.entries[last], w->entry_shift, 0);
	struct vmem_entry was, is;

	/* The processor notes in an entry that it was used. */
	was = vmem_decode_as(w->mode, frame->format + 1, then);
	is = vmem_decode_as(w->mode, frame->format + 1, now);
	return is.kind != was.kind || is.addr != was.addr ||
	       is.perms != was.perms;
}

static int visit_renamed(const struct walker *w,
			 const struct vmem_walk_ops *ops,
			 const struct frame *frame)
{
	const struct vmem_scope *scope = &w->walk->scope;
	u64 base = frame->region << (frame->shift + w->index_bits);
	struct vmem_visit visit;

	visit = make_visit(w, base, min(frame->last_va, scope->last_va));
	visit.status = VMEM_TORN;
	visit.va = max(base, scope->va);
	visit.level = frame->level;
	visit.gpa = frame->table;
	visit.path = frame->path.entries;
	visit.nr_path = frame->nr_path - 1;
	return ops->torn(&visit, w->walk->priv);
}

/*
 * The walk is behind @last_va: forget the tables that end there, of which one of
 * each level is remembered, and they lie in each other, unless the cursor was
 * moved: what led to a table may have been dropped then. The highest that has
 * changed speaks for the others.
 */
static int leave_tables(struct walker *w, const struct vmem_walk_ops *ops,
			u64 last_va)
{
	const struct frame *frame;
	int level, left = VMEM_LEVEL_NONE, ret = 0;
	bool told = false;

	for (level = w->mode->top - 1; level >= VMEM_LEVEL_PT; level--) {
		frame = w->levels[level].frames;
		if (frame->region == NOWHERE || frame->last_va > last_va)
			continue;
		left = max(left, level);
		if (told || !is_below_held(frame) || !is_renamed(w, frame))
			continue;
		told = true;
		ret = visit_renamed(w, ops, frame);
	}
	/* After an errno there is no more to be told. */
	forget_levels(w, ret ? w->mode->top : left);
	return ret;
}

/* Addresses between which others are let run, where no table is entered. */
#define MOVES_AT_ONCE 1024

static __always_inline int walk_scope(struct walker *w,
				      const struct vmem_walk_ops *ops)
{
	struct vmem_walk *walk = w->walk;
	u32 moves = 0;
	int ret;

	for (;;) {
		ret = visit_next(w, ops);
		if (likely(ret == VMEM_WALK_MOVE)) {
			ret = ++moves % MOVES_AT_ONCE ? 0 : walk_breathe();
			if (ret)
				return ret;
		} else if (ret == VMEM_WALK_AGAIN) {
			forget_tables(w);
		} else if (ret != VMEM_WALK_FOLLOW) {
			if (ret || w->last_va == walk->scope.last_va)
				return ret;
			walk->va = w->last_va + 1;
			ret = ops->torn ? leave_tables(w, ops, w->last_va) : 0;
			if (ret)
				return ret;
		}
	}
}

/* Tell of the root that is next, once. SKIP if it was walked already. */
static int announce_space(struct walker *w, const struct vmem_walk_ops *ops)
{
	const struct vmem_walk *walk = w->walk;
	const struct vmem_root *root = w->root;
	int top = w->mode->top;
	const struct vmem_owner *owner =
		vmem_seen_find(walk->seen, root->table, top, VMEM_WINDOW_ALL);
	const struct vmem_owner mine = {
		.table = root->table,
		.window = VMEM_WINDOW_ALL,
		.root = walk->root,
	};
	int ret;

	if (owner && owner->root == walk->root)
		return 0;
	if (!owner && walk->claim) {
		ret = vmem_seen_reserve(walk->seen);
		if (ret)
			return ret;
	}
	ret = ops->space(root, walk->root, owner ? owner->root : walk->root,
			 walk->priv);
	if (ret)
		return ret;
	if (owner)
		return VMEM_WALK_SKIP;
	if (walk->claim)
		vmem_seen_add(walk->seen, top, &mine);
	return 0;
}

static __always_inline int walk_space(struct vmem_walk *walk,
				      const struct vmem_walk_ops *ops,
				      struct frame *frames, u32 nr_frames)
{
	const struct vmem_root *root = &walk->roots[walk->root];
	struct walker w;
	int ret;

	w.walk = walk;
	w.root = root;
	w.mode = &root->mode;
	w.entry_shift = ilog2(root->mode.arch->entry_size);
	w.index_bits = root->mode.arch->index_bits;
	w.last_index = BIT(w.index_bits) - 1;
	w.dropped = 0;
	w.attempts = 0;
	init_levels(&w, frames, nr_frames);
	forget_path(&w);
	if (ops->space) {
		ret = announce_space(&w, ops);
		if (ret)
			return go_on(ret);
	}

	ret = walk_scope(&w, ops);
	if (ops->torn)
		ret = leave_tables(&w, ops, U64_MAX) ?: ret;
	forget_tables(&w);
	return ret;
}

/*
 * The walk. It is compiled anew for each question that passes its callbacks as
 * a constant, so that they cost no call.
 */
static __always_inline int walk_spaces(struct vmem_walk *walk,
				       const struct vmem_walk_ops *ops,
				       struct frame *frames, u32 nr_frames)
{
	int ret = walk_space(walk, ops, frames, nr_frames);

	while (!ret && walk->root + 1 < walk->nr_roots) {
		walk->root++;
		walk->va = walk->scope.va;
		ret = walk_space(walk, ops, frames, nr_frames);
	}
	return ret;
}

static __always_inline int walk_with(struct vmem_walk *walk,
				     const struct vmem_walk_ops *ops)
{
	struct frame path[VMEM_MAX_LEVELS];

	init_frames(path, ARRAY_SIZE(path));
	return walk_spaces(walk, ops, path, 1);
}

int vmem_walk(struct vmem_walk *walk)
{
	return walk_with(walk, walk->ops);
}

/* vmem_translate(): whatever the walk finds at an address is its answer */

/**
 * struct translate - addresses of a batch that are translated in one walk
 * @walk: the walk
 * @batch: the batch
 * @va: the address that is translated
 * @end: behind the last address
 * @result: its answer
 */
struct translate {
	struct vmem_walk walk;
	struct vmem_batch *batch;
	const u64 *va;
	const u64 *end;
	struct vmem_translation *result;
};

/* Whether the owners of tables are known at an address. */
static bool is_shared(const struct vmem_batch *batch, u64 va)
{
	return batch->spaces && vmem_scope_holds(&batch->spaces->scope, va, va);
}

/* All of the batch is answered: there may be more where it came from. */
static int translate_refill(struct translate *translate)
{
	struct vmem_batch *batch = translate->batch;
	int ret;

	batch->done = batch->nr;
	ret = batch->refill ? batch->refill(batch) : VMEM_WALK_STOP;
	translate->va = batch->vas + batch->done;
	translate->end = batch->vas + batch->nr;
	translate->result = batch->results + batch->done;
	if (ret)
		translate->end = translate->va;
	else if (!batch->nr)
		ret = VMEM_WALK_STOP;
	return ret;
}

/* Go to the address that is next, unless that takes another walk. */
static __always_inline int translate_next(struct translate *translate)
{
	const struct vmem_batch *batch = translate->batch;
	int ret;

	translate->result++;
	if (++translate->va == translate->end) {
		ret = translate_refill(translate);
		if (ret)
			return ret;
	}
	if (batch->spaces &&
	    is_shared(batch, *translate->va) != !!translate->walk.seen)
		return VMEM_WALK_STOP;
	translate->walk.va = *translate->va;
	return VMEM_WALK_MOVE;
}

static __always_inline int translate_leaf(const struct vmem_visit *visit,
					  void *priv)
{
	struct translate *translate = priv;
	struct vmem_translation *result = translate->result;

	result->out_gpa = visit->gpa;
	result->out_page_size = visit->page_size;
	result->out_status = VMEM_MAPPED;
	result->out_perms = visit->perms;
	result->out_level = visit->level;
	result->out_nr_trace = visit->nr_path;
	if (translate->batch->brief)
		return translate_next(translate);

	*(struct path *)result->out_trace = *(const struct path *)visit->path;
	result->out_owner_space = 0;
	result->out_owner_va = 0;
	result->out_referenced = visit->referenced;
	result->out_owner_root = 0;
	if (visit->referenced) {
		result->out_owner_root = visit->owner;
		result->out_owner_space =
			translate->walk.roots[visit->owner].table;
		result->out_owner_va =
			visit->owner_va + (visit->va - visit->base);
	}
	return translate_next(translate);
}

static int translate_nowhere(const struct vmem_visit *visit, void *priv)
{
	struct translate *translate = priv;
	struct vmem_translation *result = translate->result;

	memset(result, 0, sizeof(*result));
	result->out_status = visit->status;
	result->out_level = visit->level;
	result->out_nr_trace = visit->nr_path;
	memcpy(result->out_trace, visit->path,
	       visit->nr_path * sizeof(*visit->path));
	translate->batch->torn += visit->status == VMEM_TORN;
	return translate_next(translate);
}

static int follow_reference(const struct vmem_visit *visit, void *priv)
{
	return VMEM_WALK_FOLLOW;
}

static const struct vmem_walk_ops translate_ops = {
	.reference = follow_reference,
	.leaf = translate_leaf,
	.hole = translate_nowhere,
	.anomaly = translate_nowhere,
	.steady = true,
};

/* A root given twice owns what it owned the first time. */
static u32 first_index(struct vmem_spaces *spaces, u32 index)
{
	const struct vmem_root *root = &spaces->roots[index];
	const struct vmem_owner *first;

	first = vmem_seen_find(&spaces->seen, root->table, root->mode.top,
			       VMEM_WINDOW_ALL);
	return first ? first->root : index;
}

/*
 * The walk that answers for an address and those behind it. Field by field, as
 * make_visit(); what only walk_spaces() looks at stays as it is.
 */
static void init_translate_walk(struct vmem_walk *walk,
				const struct vmem_batch *batch, u64 va)
{
	struct vmem_spaces *spaces = batch->spaces;

	walk->mem = batch->mem;
	walk->roots = batch->root;
	walk->root = 0;
	walk->scope.va = 0;
	walk->scope.last_va = U64_MAX;
	walk->scope.nr_excluded = 0;
	walk->seen = NULL;
	walk->claim = false;
	walk->va = va;
	walk->budget = U64_MAX;
	walk->tables = 0;
	if (spaces) {
		walk->roots = spaces->roots;
		walk->root = first_index(spaces, batch->index);
	}
	if (is_shared(batch, va)) {
		walk->scope = spaces->scope;
		walk->seen = &spaces->seen;
	}
}

/* As in the walk, one dead root is no reason to give up on others. */
static void translate_dead_root(struct vmem_batch *batch, int err)
{
	struct vmem_translation *result = &batch->results[batch->done++];

	memset(result, 0, sizeof(*result));
	result->out_status = vmem_pin_status(err);
	result->out_level = batch->spaces->roots[batch->index].mode.top;
}

/* Translate what the next walk can do of the batch. */
static int translate_some(struct vmem_batch *batch, struct frame *frames,
			  u32 nr_pts)
{
	struct translate translate;
	int ret;

	init_translate_walk(&translate.walk, batch, batch->vas[batch->done]);
	translate.walk.priv = &translate;
	translate.batch = batch;
	translate.va = batch->vas + batch->done;
	translate.end = batch->vas + batch->nr;
	translate.result = batch->results + batch->done;
	ret = walk_space(&translate.walk, &translate_ops, frames, nr_pts);
	batch->done = translate.va - batch->vas;
	if (ret == VMEM_WALK_STOP)
		return 0;
	/* A refill may fail like that as well: there is nothing to answer then. */
	if (!vmem_pin_status(ret) || !batch->spaces ||
	    translate.va == translate.end)
		return ret;
	translate_dead_root(batch, ret);
	return batch->refill && batch->done == batch->nr ?
		       batch->refill(batch) :
		       0;
}

/* From so many addresses on, tables are remembered, and how many of them. */
#define BATCH_MIN 8
#define BATCH_PTS 512
#define BATCH_FRAMES \
	(BATCH_PTS + BATCH_PTS / (FEWER_FRAMES - 1) + VMEM_MAX_LEVELS)

/*
 * Where the frames of translations come from: for one path, or for a batch. They
 * are all free whenever nobody has them, so none has to be cleared for the few
 * that are needed.
 */
static struct kmem_cache *path_cache;
static struct kmem_cache *batch_cache;

#define CACHE_FLAGS (SLAB_ACCOUNT | SLAB_HWCACHE_ALIGN)

static void construct_path(void *frames)
{
	init_frames(frames, VMEM_MAX_LEVELS);
}

static void construct_batch(void *frames)
{
	init_frames(frames, BATCH_FRAMES);
}

int vmem_core_init(void)
{
	path_cache = kmem_cache_create("vmem_path",
				       VMEM_MAX_LEVELS * sizeof(struct frame),
				       0, CACHE_FLAGS, construct_path);
	batch_cache = kmem_cache_create("vmem_batch",
					BATCH_FRAMES * sizeof(struct frame), 0,
					CACHE_FLAGS, construct_batch);
	if (path_cache && batch_cache)
		return 0;
	vmem_core_exit();
	return -ENOMEM;
}

void vmem_core_exit(void)
{
	kmem_cache_destroy(path_cache);
	kmem_cache_destroy(batch_cache);
}

/* Frames for many are a large piece of memory, and can be done without. */
#define BATCH_GFP (GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY)

static struct frame *alloc_frames(u32 nr, struct kmem_cache **cache)
{
	struct frame *frames = NULL;

	*cache = batch_cache;
	if (nr >= BATCH_MIN)
		frames = kmem_cache_alloc(batch_cache, BATCH_GFP);
	if (frames)
		return frames;
	*cache = path_cache;
	return kmem_cache_alloc(path_cache, VMEM_GFP);
}

int vmem_translate_batch(struct vmem_batch *batch)
{
	struct kmem_cache *cache;
	struct frame *frames = alloc_frames(batch->nr, &cache);
	u32 nr_pts = cache == batch_cache ? BATCH_PTS : 1;
	int ret = 0;

	if (!frames)
		return -ENOMEM;
	while (!ret && batch->done < batch->nr)
		ret = translate_some(batch, frames, nr_pts);
	kmem_cache_free(cache, frames);
	return ret;
}

int vmem_translate(struct vmem_mem *mem, const struct vmem_root *root, u64 va,
		   struct vmem_translation *result)
{
	struct vmem_batch one = {
		.mem = mem,
		.root = root,
		.vas = &va,
		.results = result,
		.nr = 1,
	};

	return vmem_translate_batch(&one);
}

int vmem_translate_shared(struct vmem_mem *mem, struct vmem_spaces *spaces,
			  u32 index, u64 va, struct vmem_translation *result)
{
	struct vmem_batch one = {
		.mem = mem,
		.spaces = spaces,
		.index = index,
		.vas = &va,
		.results = result,
		.nr = 1,
	};

	return vmem_translate_batch(&one);
}

/*
 * Leaves, merged while they continue each other: shared by
 * vmem_virt_to_phys() and vmem_walk_va_spaces().
 */

/**
 * struct flatten - the mapping that the next leaf may continue
 * @pending: the mapping, not given to @emit yet; UNMAPPED if none
 * @root: index of its root
 * @refused: what @emit returned in place of taking it
 * @emit: takes mappings
 * @priv: passed to it
 */
struct flatten {
	struct vmem_mapping pending;
	u32 root;
	int refused;
	int (*emit)(const struct vmem_mapping *mapping, void *priv);
	void *priv;
};

static __always_inline int flatten_flush(struct flatten *flatten)
{
	if (flatten->refused || flatten->pending.kind == VMEM_KIND_UNMAPPED)
		return flatten->refused;
	flatten->refused = flatten->emit(&flatten->pending, flatten->priv);
	if (!flatten->refused)
		flatten->pending.kind = VMEM_KIND_UNMAPPED;
	return flatten->refused;
}

static enum vmem_kind visit_kind(const struct vmem_visit *visit)
{
	return visit->cow ? VMEM_KIND_COW : VMEM_KIND_BASIC;
}

static __always_inline bool flatten_continues(const struct flatten *flatten,
					      const struct vmem_visit *visit)
{
	const struct vmem_mapping *mapping = &flatten->pending;

	return mapping->kind != VMEM_KIND_UNMAPPED &&
	       flatten->root == visit->index &&
	       mapping->page_size == visit->page_size &&
	       mapping->kind == visit_kind(visit) &&
	       mapping->perms == visit->perms &&
	       mapping->last_va + 1 == visit->va &&
	       mapping->gpa + (visit->va - mapping->va) == visit->gpa;
}

static __always_inline int flatten_add(struct flatten *flatten,
				       const struct vmem_visit *visit)
{
	int ret;

	if (flatten_continues(flatten, visit)) {
		flatten->pending.last_va = visit->last_va;
		return 0;
	}

	ret = flatten_flush(flatten);
	if (ret)
		return ret;
	flatten->root = visit->index;
	flatten->pending = (struct vmem_mapping){
		.va = visit->va,
		.last_va = visit->last_va,
		.gpa = visit->gpa,
		.page_size = visit->page_size,
		.kind = visit_kind(visit),
		.perms = visit->perms,
	};
	return 0;
}

/* vmem_virt_to_phys() */

struct virt_to_phys {
	struct flatten flatten;
	struct vmem_range *range;
};

static __always_inline int range_leaf(const struct vmem_visit *visit,
				      void *priv)
{
	struct virt_to_phys *vtp = priv;

	return flatten_add(&vtp->flatten, visit);
}

/* Counted only if no resumed walk comes by here again. */
static int range_anomaly(const struct vmem_visit *visit, void *priv)
{
	struct virt_to_phys *vtp = priv;
	int ret = flatten_flush(&vtp->flatten);

	if (!ret)
		vtp->range->anomalies++;
	return ret;
}

static int range_torn(const struct vmem_visit *visit, void *priv)
{
	struct virt_to_phys *vtp = priv;

	vtp->range->torn++;
	return 0;
}

static const struct vmem_walk_ops range_ops = {
	.leaf = range_leaf,
	.anomaly = range_anomaly,
	.torn = range_torn,
	.runs = true,
};

int vmem_virt_to_phys(struct vmem_range *range)
{
	struct virt_to_phys vtp = {
		.flatten = { .emit = range->emit, .priv = range->priv },
		.range = range,
	};
	struct vmem_walk walk = {
		.mem = range->mem,
		.roots = range->root,
		.nr_roots = 1,
		.scope = { .va = range->va, .last_va = range->last_va },
		.va = range->va,
		.budget = range->budget,
		.priv = &vtp,
	};
	int ret = walk_with(&walk, &range_ops);
	/* What is pending was found whole, however the walk ended. */
	int refused = flatten_flush(&vtp.flatten);

	range->budget = walk.budget;
	range->va = refused ? vtp.flatten.pending.va : walk.va;
	/* That the budget is used up as well is no news then. */
	return ret < 0 ? ret : refused ?: ret;
}

/*
 * vmem_walk_va_spaces(): mappings, and references in place of what an earlier
 * space, or this one at a lower address, has shown already.
 */

struct walk_spaces {
	struct flatten flatten;
	struct vmem_spaces *spaces;
	struct vmem_walk walk;
	int (*emit)(const struct vmem_record *record, void *priv);
	void *priv;
};

/* Cleared as a whole: all of it goes to user space. */
static void init_record(struct vmem_record *record, u32 type, u32 root)
{
	memset(record, 0, sizeof(*record));
	record->type = type;
	record->root = root;
}

/* What is to be told of torn tables, unless that is done. */
static int emit_torn(struct walk_spaces *ws)
{
	struct vmem_spaces *spaces = ws->spaces;
	int ret;

	if (!spaces->torn.type)
		return 0;
	ret = ws->emit(&spaces->torn, ws->priv);
	if (ret)
		return ret;
	spaces->torn.type = 0;
	spaces->stats.anomalies++;
	return 0;
}

static int emit_mapping(const struct vmem_mapping *mapping, void *priv)
{
	struct walk_spaces *ws = priv;
	struct vmem_spaces *spaces = ws->spaces;
	struct vmem_record record;
	int ret;

	init_record(&record, VMEM_THIS_SPACE, ws->flatten.root);
	record.mapping = *mapping;
	ret = ws->emit(&record, ws->priv);
	if (ret)
		return ret;
	spaces->stats.mappings++;
	spaces->stats.leaves += mapping->last_va / mapping->page_size -
				mapping->va / mapping->page_size + 1;
	return 0;
}

/* All that has its place before what comes next. */
static int emit_pending(struct walk_spaces *ws)
{
	return flatten_flush(&ws->flatten) ?: emit_torn(ws);
}

/* Anything else comes after the mapping that was found before it. */
static int emit_record(struct walk_spaces *ws, const struct vmem_record *record,
		       u64 *count)
{
	int ret = emit_pending(ws);

	if (!ret)
		ret = ws->emit(record, ws->priv);
	if (!ret)
		(*count)++;
	return ret;
}

static int spaces_space(const struct vmem_root *root, u32 index, u32 alias_of,
			void *priv)
{
	struct walk_spaces *ws = priv;
	struct vmem_spaces_stats *stats = &ws->spaces->stats;
	struct vmem_record record;

	init_record(&record, VMEM_SPACE, index);
	record.space.space = root->table;
	record.space.alias_of = alias_of;
	return emit_record(ws, &record,
			   alias_of == index ? &stats->spaces :
					       &stats->root_aliases);
}

static __always_inline int spaces_leaf(const struct vmem_visit *visit,
				       void *priv)
{
	struct walk_spaces *ws = priv;
	int ret;

	if (unlikely(ws->spaces->torn.type) &&
	    !flatten_continues(&ws->flatten, visit)) {
		ret = emit_pending(ws);
		if (ret)
			return ret;
	}
	return flatten_add(&ws->flatten, visit);
}

void vmem_reference_record(const struct vmem_visit *visit,
			   const struct vmem_root *roots,
			   struct vmem_record *record)
{
	const struct vmem_arch *arch = visit->root->mode.arch;

	init_record(record, VMEM_ALIASING, visit->index);
	record->reference = (struct vmem_reference){
		.table = vmem_shared_table(arch, visit->level),
		.perms = visit->perms,
		.table_gpa = visit->gpa,
		.space = roots[visit->owner].table,
		.our_va = visit->base,
		.their_va = visit->owner_va,
		.len = vmem_level_size(arch, visit->level + 1),
		.owner_root = visit->owner,
		.owner_perms = visit->owner_perms,
	};
}

static int spaces_reference(const struct vmem_visit *visit, void *priv)
{
	struct walk_spaces *ws = priv;
	struct vmem_record record;

	vmem_reference_record(visit, ws->spaces->roots, &record);
	return emit_record(ws, &record, &ws->spaces->stats.references);
}

static void anomaly_record(const struct vmem_visit *visit,
			   struct vmem_record *record)
{
	init_record(record, VMEM_ANOMALY, visit->index);
	record->anomaly = (struct vmem_anomaly){
		.status = visit->status,
		.level = visit->level,
		.va = visit->va,
		.last_va = visit->last_va,
		.table_gpa = visit->gpa,
	};
	if (visit->nr_path)
		record->anomaly.raw = visit->path[visit->nr_path - 1].raw;
}

static int spaces_anomaly(const struct vmem_visit *visit, void *priv)
{
	struct walk_spaces *ws = priv;
	struct vmem_record record;

	anomaly_record(visit, &record);
	return emit_record(ws, &record, &ws->spaces->stats.anomalies);
}

/* The cursor is behind it already, so this cannot be refused: it is kept. */
static int spaces_torn(const struct vmem_visit *visit, void *priv)
{
	struct walk_spaces *ws = priv;
	struct vmem_record *torn = &ws->spaces->torn, was = *torn;

	if (!was.type || visit->level > (int)was.anomaly.level)
		anomaly_record(visit, torn);
	if (was.type) {
		torn->anomaly.va = min(was.anomaly.va, visit->va);
		torn->anomaly.last_va =
			max(was.anomaly.last_va, visit->last_va);
	}
	return 0;
}

static const struct vmem_walk_ops spaces_ops = {
	.space = spaces_space,
	.reference = spaces_reference,
	.leaf = spaces_leaf,
	.anomaly = spaces_anomaly,
	.torn = spaces_torn,
	.runs = true,
};

int vmem_walk_va_spaces(struct vmem_spaces *spaces, struct vmem_mem *mem,
			u64 budget,
			int (*emit)(const struct vmem_record *rec, void *priv),
			void *priv)
{
	struct walk_spaces ws = {
		.flatten = {
			.pending = spaces->pending,
			.root = spaces->pending_root,
			.emit = emit_mapping,
		},
		.spaces = spaces,
		.walk = {
			.mem = mem,
			.roots = spaces->roots,
			.nr_roots = spaces->nr_roots,
			.scope = spaces->scope,
			.seen = &spaces->seen,
			.claim = true,
			.root = spaces->root,
			.va = spaces->va,
			.budget = budget,
		},
		.emit = emit,
		.priv = priv,
	};
	int ret = 0;

	ws.flatten.priv = &ws;
	ws.walk.priv = &ws;
	if (!spaces->walked)
		ret = walk_with(&ws.walk, &spaces_ops);
	spaces->walked |= !ret;
	/* What is pending goes before what ends the walk for good. */
	if (!ret || ret == -ENOSPC)
		ret = emit_pending(&ws) ?: ret;
	spaces->done = !ret;

	spaces->pending = ws.flatten.pending;
	spaces->pending_root = ws.flatten.root;
	spaces->root = ws.walk.root;
	spaces->va = ws.walk.va;
	spaces->stats.known = spaces->seen.nr;
	spaces->stats.tables += ws.walk.tables;
	spaces->stats.entries += budget - ws.walk.budget;
	return ret;
}

/* vmem_read(): leaves, page by page, up to the first thing that is not one */

static int read_page(struct vmem_copy *copy, u64 gpa, size_t len)
{
	struct vmem_mem *mem = copy->mem;
	const void *page = mem->ops->pin(mem, gpa);
	int ret;

	if (IS_ERR(page))
		return PTR_ERR(page);
	ret = copy->sink(page + (gpa & ~VMEM_PAGE_MASK), len, copy->priv);
	mem->ops->unpin(mem, gpa, page);
	return ret ?: walk_breathe();
}

static int read_stop(const struct vmem_visit *visit, void *priv)
{
	struct vmem_copy *copy = priv;

	copy->status = visit->status;
	copy->level = visit->level;
	return VMEM_WALK_STOP;
}

static int read_leaf(const struct vmem_visit *visit, void *priv)
{
	struct vmem_copy *copy = priv;
	u64 left = visit->last_va - visit->va + 1;
	u64 gpa = visit->gpa;
	size_t len;
	int ret;

	for (; left; left -= len, gpa += len) {
		len = min_t(u64, left,
			    VMEM_PAGE_SIZE - (gpa & ~VMEM_PAGE_MASK));
		ret = read_page(copy, gpa, len);
		if (vmem_pin_status(ret)) {
			read_stop(visit, copy);
			copy->status = vmem_pin_status(ret);
			return VMEM_WALK_STOP;
		}
		if (ret)
			return ret;
		copy->va += len;
	}
	return 0;
}

static const struct vmem_walk_ops read_ops = {
	.leaf = read_leaf,
	.hole = read_stop,
	.anomaly = read_stop,
	.steady = true,
};

int vmem_read(struct vmem_copy *copy)
{
	struct vmem_walk walk = {
		.mem = copy->mem,
		.roots = copy->root,
		.nr_roots = 1,
		.scope = { .va = copy->va, .last_va = copy->last_va },
		.va = copy->va,
		/* The range bounds it: a read ends at the first hole. */
		.budget = U64_MAX,
		.ops = &read_ops,
		.priv = copy,
	};

	copy->status = VMEM_MAPPED;
	copy->level = VMEM_LEVEL_NONE;
	return vmem_walk(&walk);
}
