// SPDX-License-Identifier: GPL-2.0-only
/*
 * The walk over guest page tables, and nothing else: whatever is asked about a
 * guest is a set of callbacks on it. Nothing here knows where guest memory comes
 * from (see vmem/mem.h) or what an entry's bits mean (see vmem/arch.h).
 */
#include <linux/compiler.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/string.h>
#include <vmem/walk.h>

/**
 * struct followed - a shared table that the walk followed on its way
 * @owner: its owner, and its place there; @owner.table is 0 if there is none
 * @base: first virtual address of its region here
 */
struct followed {
	struct vmem_owner owner;
	u64 base;
};

/**
 * struct frame - a table that the walk is in
 * @table: guest-physical address of the table
 * @entries: its entries, in a pinned page
 * @at: the entry that was read last
 * @base: first virtual address of its region
 * @last_va: last virtual address of its region
 * @format: format of its entries
 * @trace: the entry that was read last, as callbacks are shown it
 * @level: level of the table
 * @nr_path: number of tables down to this one
 * @shift: log2 of the bytes that one of its entries spans
 * @perms: permissions of the path down to the table
 * @followed: the last shared table on the path down to this one
 */
struct frame {
	u64 table;
	const void *entries;
	const void *at;
	u64 base;
	u64 last_va;
	const struct vmem_format *format;
	struct vmem_trace *trace;
	int level;
	int nr_path;
	int shift;
	u32 perms;
	struct followed followed;
};

/**
 * struct walker - a walk of one space under way
 * @walk: the question, and the cursor
 * @ops: its callbacks
 * @root: the space
 * @mode: paging mode of the space
 * @entry_shift: log2 of the size of an entry
 * @index_bits: log2 of the number of entries in a table
 * @last_index: index of the last of them
 * @frame: the table that is being read, the lowest of @stack; NULL if none is
 * @stack: the tables from the root down
 * @path: the entry that was read last in each of them, and zeros
 * @steady: visits show paths of one moment
 * @torn: tables that were replaced are reported when they are left
 * @attempts: times in a row that the path to the cursor changed under the walk
 * @alike: bits in which leaves of one visit are alike, but for the address
 * @clear_va: first address of a part of the scope without gaps
 * @clear_last: last address of that part
 * @last_va: last address that is done
 * @leaf: the visit of a leaf; what is the same for all leaves of @frame is set
 *	when the walk gets there, which saves a fifth where each leaf is a row
 */
struct walker {
	struct vmem_walk *walk;
	const struct vmem_walk_ops *ops;
	const struct vmem_root *root;
	const struct vmem_mode *mode;
	int entry_shift;
	int index_bits;
	u64 last_index;
	struct frame *frame;
	struct frame stack[VMEM_MAX_LEVELS];
	struct vmem_trace path[VMEM_MAX_LEVELS];
	bool steady;
	bool torn;
	u32 attempts;
	u64 alike;
	u64 clear_va;
	u64 clear_last;
	u64 last_va;
	struct vmem_visit leaf;
};

int vmem_breathe(void)
{
	cond_resched();
	if (fatal_signal_pending(current))
		return -EINTR;
	return signal_pending(current) ? -ERESTARTSYS : 0;
}

static void go_to(struct walker *w, struct frame *frame)
{
	w->frame = frame;
	w->leaf.level = frame->level;
	w->leaf.page_size = BIT_ULL(frame->shift);
	w->leaf.nr_path = frame->nr_path;
	w->leaf.referenced = frame->followed.owner.table;
	if (w->leaf.referenced)
		return;
	w->leaf.owner = 0;
	w->leaf.owner_va = 0;
	w->leaf.owner_perms = 0;
}

static void unpin_table(const struct walker *w, const struct frame *frame)
{
	struct vmem_mem *mem = w->walk->mem;

	vmem_unpin(mem, frame->table,
		   frame->entries - (frame->table & ~VMEM_PAGE_MASK));
}

static void leave_table(struct walker *w)
{
	struct frame *frame = w->frame;

	unpin_table(w, frame);
	*frame->trace = (struct vmem_trace){};
	if (frame == w->stack)
		w->frame = NULL;
	else
		go_to(w, frame - 1);
}

/* The next thing to do is to enter the root. */
static void leave_all(struct walker *w)
{
	const struct frame *frame;

	for (frame = w->stack; w->frame && frame <= w->frame; frame++)
		unpin_table(w, frame);
	memset(w->path, 0, sizeof(w->path));
	w->frame = NULL;
	w->clear_va = U64_MAX;
	w->clear_last = 0;
}

/* Tables between which others are let run. */
#define TABLES_AT_ONCE 64

/* The entries of a table, once its page is pinned; or an ERR_PTR(). */
static const void *pin_table(struct walker *w, u64 table)
{
	const void *page;
	int ret;

	if (w->walk->tables % TABLES_AT_ONCE == 0) {
		ret = vmem_breathe();
		if (ret)
			return ERR_PTR(ret);
	}
	page = vmem_pin(w->walk->mem, table);
	if (IS_ERR(page))
		return page;
	w->walk->tables++;
	return page + (table & ~VMEM_PAGE_MASK);
}

static int enter_root(struct walker *w)
{
	const struct vmem_mode *mode = w->mode;
	struct frame *frame = w->stack;
	const void *entries = pin_table(w, w->root->table);

	if (IS_ERR(entries))
		return PTR_ERR(entries);
	frame->table = w->root->table;
	frame->entries = entries;
	frame->base = 0;
	frame->last_va = U64_MAX;
	frame->format = &mode->formats[mode->top];
	frame->trace = w->path;
	frame->level = mode->top;
	frame->nr_path = 1;
	frame->shift = vmem_level_shift(mode->arch, mode->top);
	frame->perms = VMEM_WRITABLE | VMEM_USER | VMEM_EXECUTABLE;
	frame->followed.owner.table = 0;
	go_to(w, frame);
	return 0;
}

/* Go down to the table that the entry at the cursor names. */
static int enter_table(struct walker *w, const struct vmem_entry *entry)
{
	const struct frame *above = w->frame;
	struct frame *frame = w->frame + 1;
	u64 offset = BIT_ULL(above->shift) - 1;
	const void *entries = pin_table(w, entry->addr);

	if (IS_ERR(entries))
		return PTR_ERR(entries);
	frame->table = entry->addr;
	frame->entries = entries;
	frame->base = w->walk->va & ~offset;
	frame->last_va = w->walk->va | offset;
	frame->format = above->format - 1;
	frame->trace = above->trace + 1;
	frame->level = above->level - 1;
	frame->nr_path = above->nr_path + 1;
	frame->shift = above->shift - w->index_bits;
	frame->perms = above->perms & entry->perms;
	frame->followed.owner.table = 0;
	go_to(w, frame);
	return 0;
}

static u64 read_entry(const struct walker *w, const void *entry)
{
	return vmem_load_entry(1 << w->entry_shift, entry);
}

/*
 * A visit from the cursor to @last_va, in a region that begins at @base. Field by
 * field: a compiler clears so large a struct by a string instruction first, and a
 * walk of many spaces takes twice as long. For the same reason visits here are
 * __uninitialized, as kernels may clear all that is on the stack.
 */
static void make_visit(const struct walker *w, struct vmem_visit *visit,
		       u64 base, u64 last_va)
{
	visit->root = w->root;
	visit->index = w->walk->root;
	visit->status = VMEM_MAPPED;
	visit->level = VMEM_LEVEL_NONE;
	visit->va = w->walk->va;
	visit->last_va = last_va;
	visit->base = base;
	visit->gpa = 0;
	visit->page_size = 0;
	visit->perms = 0;
	visit->cow = false;
	visit->path = w->path;
	visit->nr_path = 0;
	visit->referenced = false;
	visit->owner = 0;
	visit->owner_va = 0;
	visit->owner_perms = 0;
}

/* The same for the region of the entry that was read last. */
static void entry_visit(const struct walker *w, struct vmem_visit *visit,
			u64 base)
{
	make_visit(w, visit, base, w->last_va);
	visit->level = w->frame->level;
	visit->nr_path = w->frame->nr_path;
}

static void set_owner(struct vmem_visit *visit, const struct followed *followed)
{
	visit->owner = followed->owner.root;
	visit->owner_va = followed->owner.va + (visit->base - followed->base);
	visit->owner_perms = followed->owner.perms;
}

/* The level of the first table above @end whose entry has changed, or 0. */
static int changed_above(const struct walker *w, const struct frame *end)
{
	const struct frame *frame;

	for (frame = w->stack; frame < end; frame++)
		if (read_entry(w, frame->at) != frame->trace->raw)
			return frame->level;
	return VMEM_LEVEL_NONE;
}

/*
 * Read the path again, root first: the level of the first entry that has changed,
 * or 0. If none has, the whole path existed between the two readings of what is
 * above the last entry, unless the guest changed an entry and put it back. Those
 * are read twice since what leads to a table may have been read for an address
 * long before. The last entry is read last: a table that was filled while it was
 * off the path then passes only if the guest takes it off twice.
 */
static int changed_level(const struct walker *w)
{
	return changed_above(w, w->frame) ?: changed_above(w, w->frame + 1);
}

/* SKIP matters only where the walk could descend; elsewhere it is 0. */
static int go_on(int ret)
{
	return ret == VMEM_WALK_SKIP ? 0 : ret;
}

/* Attempts to read a path that keeps changing. */
#define MAX_ATTEMPTS 4

/* The path to the cursor has changed at @level while it was read. */
static int visit_changed(struct walker *w, int level)
{
	struct vmem_visit visit __uninitialized;
	int ret;

	if (++w->attempts < MAX_ATTEMPTS)
		return VMEM_WALK_AGAIN;
	w->attempts = 0;
	make_visit(w, &visit, w->walk->va, w->last_va);
	visit.status = VMEM_TORN;
	visit.level = level;
	ret = go_on(w->ops->anomaly(&visit, w->walk->priv));
	/* The next path must not begin with entries that have changed. */
	if (ret == VMEM_WALK_MOVE)
		leave_all(w);
	return ret;
}

/*
 * The path that ends with the entry read last is about to be shown: FOLLOW if it
 * can be, or else what the walk has to do.
 */
static inline int hold_path(struct walker *w)
{
	int level = w->steady ? changed_level(w) : VMEM_LEVEL_NONE;

	if (unlikely(level))
		return visit_changed(w, level);
	w->attempts = 0;
	return VMEM_WALK_FOLLOW;
}

/* The table of the visit could not be entered, for lack of memory there. */
static int visit_nowhere(struct walker *w, struct vmem_visit *visit, int why)
{
	int ret = visit->nr_path ? hold_path(w) : VMEM_WALK_FOLLOW;

	if (ret != VMEM_WALK_FOLLOW)
		return ret;
	visit->status = vmem_pin_status(why);
	visit->perms = 0;
	return go_on(w->ops->anomaly(visit, w->walk->priv));
}

/* The table that the entry read last names. */
static void table_visit(const struct walker *w, struct vmem_visit *visit,
			const struct vmem_entry *entry, u64 base)
{
	entry_visit(w, visit, base);
	visit->level--;
	visit->gpa = entry->addr;
	visit->perms = entry->perms & w->frame->perms;
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
static int claim_table(struct walker *w, struct vmem_visit *visit, u64 window)
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
		ret = w->ops->anomaly(visit, walk->priv);
	if (!ret && w->ops->table)
		ret = w->ops->table(visit, walk->priv);
	if (!ret)
		vmem_seen_add(walk->seen, visit->level, &owner);
	return ret;
}

/* A table that is not entered is passed over as a whole, exclusions and all. */
static void pass_table(struct walker *w, u64 last_va)
{
	w->last_va = min(last_va, w->walk->scope.last_va);
}

/*
 * The owner of a table, if it is another space, or this one elsewhere. What was
 * claimed at this very place is the space's own: a walk that was stopped in there
 * has come back to it.
 */
static bool is_foreign(const struct walker *w, const struct vmem_owner *owner,
		       u64 base)
{
	return owner && (owner->root != w->walk->root || owner->va != base);
}

/* A table is entered that was not claimed just now. */
static void follow_owner(struct walker *w, const struct vmem_owner *owner,
			 u64 base)
{
	struct frame *frame = w->frame;

	if (!owner)
		frame->followed = frame[-1].followed;
	else if (is_foreign(w, owner, base))
		frame->followed = (struct followed){ *owner, base };
	go_to(w, frame);
}

static int visit_reference(struct walker *w, struct vmem_visit *visit,
			   const struct vmem_owner *owner, u64 last_va)
{
	pass_table(w, last_va);
	visit->last_va = w->last_va;
	visit->referenced = true;
	visit->owner = owner->root;
	visit->owner_va = owner->va;
	visit->owner_perms = owner->perms;
	return w->ops->reference(visit, w->walk->priv);
}

/* As visit_table(), in a walk that knows of sharing. */
static int visit_shareable(struct walker *w, const struct vmem_entry *entry,
			   u64 base)
{
	const struct vmem_walk *walk = w->walk;
	int level = w->frame->level - 1;
	bool share = vmem_shared_table(w->mode->arch, level);
	u64 last_va = base + (w->leaf.page_size - 1);
	/* See struct vmem_owner. */
	u64 window = vmem_scope_holds(&walk->scope, base, last_va) ?
			     VMEM_WINDOW_ALL :
			     base;
	const struct vmem_owner *owner = NULL;
	struct vmem_visit visit __uninitialized;
	int ret;

	if (share)
		owner = vmem_seen_find(walk->seen, entry->addr, level, window);
	table_visit(w, &visit, entry, base);
	if (is_foreign(w, owner, base)) {
		ret = visit_reference(w, &visit, owner, last_va);
		if (ret != VMEM_WALK_FOLLOW)
			return ret;
	}

	ret = enter_table(w, entry);
	if (ret)
		return vmem_pin_status(ret) ? visit_nowhere(w, &visit, ret) :
					      ret;
	if (owner || !share || !walk->claim) {
		follow_owner(w, owner, base);
		return VMEM_WALK_FOLLOW;
	}

	ret = claim_table(w, &visit, window);
	if (!ret)
		return VMEM_WALK_FOLLOW;
	leave_table(w);
	pass_table(w, last_va);
	return go_on(ret);
}

/* As visit_table(), in a walk that knows nothing of sharing. */
static int visit_private(struct walker *w, const struct vmem_entry *entry,
			 u64 base)
{
	struct vmem_visit visit __uninitialized;
	int ret;

	if (w->ops->table) {
		table_visit(w, &visit, entry, base);
		ret = w->ops->table(&visit, w->walk->priv);
		if (ret) {
			pass_table(w, base + (BIT_ULL(w->frame->shift) - 1));
			return go_on(ret);
		}
	}
	ret = enter_table(w, entry);
	if (!vmem_pin_status(ret))
		return ret ?: VMEM_WALK_FOLLOW;
	table_visit(w, &visit, entry, base);
	return visit_nowhere(w, &visit, ret);
}

/*
 * The cursor lies in an entry that names a table, whose region begins at @base:
 * pass over it, if it is known as somebody else's, or enter it, which is FOLLOW.
 */
static int visit_table(struct walker *w, const struct vmem_entry *entry,
		       u64 base)
{
	return w->walk->seen ? visit_shareable(w, entry, base) :
			       visit_private(w, entry, base);
}

/**
 * struct scan - entries of a table that are visited one after the other
 * @index: index of the next entry
 * @last_index: index of the last one
 * @last_va: last virtual address to visit
 * @known: the next entry has been read, so that none is read twice
 * @raw: that entry
 */
struct scan {
	u64 index;
	u64 last_index;
	u64 last_va;
	bool known;
	u64 raw;
};

/*
 * Count the entries behind @entry, up to @max, that each equal the one before plus
 * @step in the bits of @mask; @raw is the value of @entry. Compiled for each size
 * of entries: dense tables are read here. With vmem_decode_as() and its callers
 * in line, rows take a seventh less time.
 */
static __always_inline u64 count_alike_of(const void *entry, int size, u64 raw,
					  u64 step, u64 mask, u64 max,
					  struct scan *scan)
{
	const void *last = entry + max * size;
	const void *at = entry;
	u64 next;

	while (at < last) {
		next = vmem_load_entry(size, at + size);
		raw += step;
		if ((next ^ raw) & mask) {
			scan->known = true;
			scan->raw = next;
			break;
		}
		at += size;
	}
	return (at - entry) / size;
}

/*
 * The same for zeros, of which most tables are full: as long as what the loop
 * takes is as little as can be, and its beginning can be aligned.
 */
static u64 count_zeros(const u64 *entry, u64 max, struct scan *scan)
{
	u64 nr = 0;

	if (!max)
		return 0;
	do {
		scan->raw = READ_ONCE(entry[nr + 1]);
		if (scan->raw) {
			scan->known = true;
			break;
		}
	} while (++nr < max);
	return nr;
}

static __always_inline u64 count_alike(const struct walker *w,
				       const void *entry, u64 raw, u64 step,
				       u64 mask, u64 max, struct scan *scan)
{
	if (w->entry_shift == ilog2(sizeof(u32)))
		return count_alike_of(entry, sizeof(u32), raw, step, mask, max,
				      scan);
	if (!step)
		return count_zeros(entry, max, scan);
	return count_alike_of(entry, sizeof(u64), raw, step, mask, max, scan);
}

/*
 * Read the next entry: does it go on as @raw does, which was read last, by @step,
 * but for bits that are not in @mask?
 */
static __always_inline bool goes_on(const struct walker *w, struct scan *scan,
				    u64 raw, u64 step, u64 mask)
{
	if (scan->index > scan->last_index || !w->walk->budget)
		return false;
	scan->raw = read_entry(w, w->frame->entries +
					  (scan->index << w->entry_shift));
	scan->known = true;
	return !((scan->raw ^ (raw + step)) & mask);
}

/* Let the visit of what is at @addr take the entries that go on likewise. */
static __always_inline void extend_visit(struct walker *w, struct scan *scan,
					 u64 addr, u64 step, u64 mask)
{
	const void *next = w->frame->entries + (scan->index << w->entry_shift);
	struct vmem_walk *walk = w->walk;
	int shift = w->frame->shift;
	u64 max = min(scan->last_index + 1 - scan->index, walk->budget);
	u64 nr;

	/* Addresses must not get wider than they can be. */
	if (step) {
		addr &= w->mode->straight - 1;
		max = min(max, ((w->mode->straight - addr) >> shift) - 1);
	}
	if (!max)
		return;
	scan->known = false;
	nr = 1 + count_alike(w, next, scan->raw, step, mask, max - 1, scan);
	walk->budget -= nr;
	scan->index += nr;
	w->last_va = min(w->last_va + (nr << shift), scan->last_va);
}

static __always_inline int visit_leaf(struct walker *w, struct scan *scan,
				      const struct vmem_entry *entry, u64 raw)
{
	struct vmem_visit *visit = &w->leaf;
	u64 offset = w->walk->va & (visit->page_size - 1);
	int ret;

	if (w->ops->runs && goes_on(w, scan, raw, visit->page_size, w->alike))
		extend_visit(w, scan, entry->addr, visit->page_size, w->alike);
	ret = hold_path(w);
	if (ret != VMEM_WALK_FOLLOW)
		return ret;
	visit->va = w->walk->va;
	visit->last_va = w->last_va;
	visit->base = visit->va - offset;
	visit->gpa = entry->addr + offset;
	visit->perms = entry->perms & w->frame->perms;
	visit->cow = vmem_is_cow(w->mode, raw);
	if (visit->cow)
		visit->perms &= ~VMEM_WRITABLE;
	if (visit->referenced)
		set_owner(visit, &w->frame->followed);
	return w->ops->leaf(visit, w->walk->priv);
}

/* What is no leaf, and no way down. */
static int visit_hole(struct walker *w, const struct vmem_entry *entry,
		      u64 base)
{
	struct vmem_visit visit __uninitialized;
	int ret = hold_path(w);

	if (ret != VMEM_WALK_FOLLOW)
		return ret;
	if (entry->kind == VMEM_ENTRY_EMPTY && !w->ops->hole)
		return 0;
	entry_visit(w, &visit, base);
	if (entry->kind == VMEM_ENTRY_RESERVED) {
		visit.status = VMEM_RESERVED;
		return go_on(w->ops->anomaly(&visit, w->walk->priv));
	}
	visit.status = VMEM_NOT_PRESENT;
	return w->ops->hole(&visit, w->walk->priv);
}

/* Visit the entry at the cursor, and those that are one visit with it. */
static __always_inline int visit_entry(struct walker *w, struct scan *scan)
{
	struct frame *frame = w->frame;
	u64 va = w->walk->va, offset = w->leaf.page_size - 1;
	u64 bytes = scan->index++ << w->entry_shift;
	struct vmem_entry entry;
	u64 raw;

	frame->at = frame->entries + bytes;
	raw = scan->known ? scan->raw : read_entry(w, frame->at);
	scan->known = false;
	w->last_va = min(va | offset, scan->last_va);
	/* Zeros that nobody is told of are passed over together. */
	if (!raw && !w->ops->hole) {
		if (goes_on(w, scan, 0, 0, U64_MAX))
			extend_visit(w, scan, 0, 0, U64_MAX);
		return 0;
	}
	frame->trace->entry_gpa = frame->table + bytes;
	frame->trace->raw = raw;
	entry = vmem_decode_as(w->mode, frame->format, raw);
	if (likely(entry.kind == VMEM_ENTRY_LEAF))
		return visit_leaf(w, scan, &entry, raw);
	if (entry.kind == VMEM_ENTRY_TABLE)
		return visit_table(w, &entry, va & ~offset);
	return visit_hole(w, &entry, va & ~offset);
}

/*
 * Visit entries from the cursor on, until one leads to a table, a callback says
 * so, or the table or the part of the scope ends.
 */
static int visit_entries(struct walker *w)
{
	struct vmem_walk *walk = w->walk;
	int shift = w->frame->shift;
	struct scan scan __uninitialized;
	int ret;

	scan.last_va = min(w->frame->last_va, w->clear_last);
	scan.index = (walk->va >> shift) & w->last_index;
	scan.last_index = (scan.last_va >> shift) & w->last_index;
	scan.known = false;
	for (;;) {
		if (!walk->budget)
			return VMEM_WALK_STOP;
		walk->budget--;
		ret = visit_entry(w, &scan);
		if (ret || w->last_va >= scan.last_va)
			return ret;
		walk->va = w->last_va + 1;
	}
}

/* The last address behind one that is in the scope before it has a gap. */
static u64 clear_until(const struct walker *w, u64 va)
{
	const struct vmem_scope *scope = &w->walk->scope;
	const struct vmem_span *excluded = vmem_scope_next_excluded(scope, va);

	return excluded && excluded->va <= scope->last_va ? excluded->va - 1 :
							    scope->last_va;
}

/*
 * The root cannot be entered. If there are other spaces to go on with, that is
 * told once.
 */
static int visit_dead_root(struct walker *w, int why)
{
	struct vmem_visit visit __uninitialized;

	if (!w->ops->space)
		return why;
	make_visit(w, &visit, w->walk->scope.va, clear_until(w, w->walk->va));
	visit.level = w->mode->top;
	visit.gpa = w->root->table;
	pass_table(w, U64_MAX);
	return visit_nowhere(w, &visit, why);
}

static int visit_non_canonical(struct walker *w)
{
	const struct vmem_mode *mode = w->mode;
	struct vmem_visit visit __uninitialized;

	w->last_va = min(clear_until(w, w->walk->va), mode->noncanonical_last);
	if (!w->ops->hole)
		return 0;
	make_visit(w, &visit, mode->noncanonical, w->last_va);
	visit.status = VMEM_NON_CANONICAL;
	return w->ops->hole(&visit, w->walk->priv);
}

/*
 * The cursor may not be in a part of the scope where there is something to look
 * for: pass over what has been left out, or is not canonical, or else find such a
 * part and enter the root, which is FOLLOW.
 */
static int visit_gap(struct walker *w)
{
	const struct vmem_scope *scope = &w->walk->scope;
	const struct vmem_mode *mode = w->mode;
	u64 va = w->walk->va;
	const struct vmem_span *excluded = vmem_scope_next_excluded(scope, va);
	int ret;

	if (excluded && excluded->va <= va) {
		w->last_va = min(excluded->last_va, scope->last_va);
		return 0;
	}
	if (!vmem_is_canonical(mode, va))
		return visit_non_canonical(w);
	if (!w->frame) {
		ret = enter_root(w);
		if (ret)
			return vmem_pin_status(ret) ? visit_dead_root(w, ret) :
						      ret;
	}
	/* The half of the address space that is on this side of the hole. */
	w->clear_va = va < mode->noncanonical ? 0 : mode->noncanonical_last + 1;
	w->clear_last = va < mode->noncanonical ? mode->noncanonical - 1 :
						  U64_MAX;
	w->clear_va = max(w->clear_va, scope->nr_excluded ? va : scope->va);
	w->clear_last = min(w->clear_last, clear_until(w, va));
	return VMEM_WALK_FOLLOW;
}

/* Visit what is at the cursor; FOLLOW if that is known now, and not visited. */
static int visit_next(struct walker *w)
{
	u64 va = w->walk->va;
	int ret;

	if (va < w->clear_va || va > w->clear_last)
		return visit_gap(w);
	while (va < w->frame->base || va > w->frame->last_va)
		leave_table(w);
	do
		ret = visit_entries(w);
	while (ret == VMEM_WALK_FOLLOW);
	return ret;
}

/* Whether the entry that named a table says anything else by now. */
static bool is_renamed(const struct walker *w, const struct frame *frame)
{
	u64 then = frame[-1].trace->raw;
	u64 now = read_entry(w, frame[-1].at);
	struct vmem_entry was, is;

	/* The processor notes in an entry that it was used. */
	was = vmem_decode(w->mode, frame[-1].level, then);
	is = vmem_decode(w->mode, frame[-1].level, now);
	return is.kind != was.kind || is.addr != was.addr ||
	       is.perms != was.perms;
}

static int visit_renamed(const struct walker *w, const struct frame *frame)
{
	const struct vmem_scope *scope = &w->walk->scope;
	struct vmem_visit visit __uninitialized;

	make_visit(w, &visit, frame->base, min(frame->last_va, scope->last_va));
	visit.status = VMEM_TORN;
	visit.va = max(frame->base, scope->va);
	visit.level = frame->level;
	visit.gpa = frame->table;
	visit.nr_path = frame->nr_path - 1;
	return w->ops->torn(&visit, w->walk->priv);
}

/*
 * The walk is behind @last_va: leave the tables that end there. The highest that
 * was replaced speaks for those below it.
 */
static int leave_tables(struct walker *w, u64 last_va)
{
	struct frame *first = w->stack + 1, *frame;
	int ret = 0;

	if (!w->frame)
		return 0;
	while (first <= w->frame && first->last_va > last_va)
		first++;
	for (frame = first; frame <= w->frame; frame++) {
		if (!is_renamed(w, frame))
			continue;
		ret = visit_renamed(w, frame);
		break;
	}
	while (w->frame >= first)
		leave_table(w);
	/* After an errno there is no more to be told. */
	if (ret)
		leave_all(w);
	return ret;
}

static int walk_scope(struct walker *w)
{
	struct vmem_walk *walk = w->walk;
	int ret;

	for (;;) {
		ret = visit_next(w);
		if (ret == VMEM_WALK_AGAIN) {
			leave_all(w);
		} else if (ret != VMEM_WALK_FOLLOW && ret != VMEM_WALK_MOVE) {
			if (ret || w->last_va == walk->scope.last_va)
				return ret;
			walk->va = w->last_va + 1;
			ret = w->torn ? leave_tables(w, w->last_va) : 0;
			if (ret)
				return ret;
		}
	}
}

/* Tell of the root that is next, once. SKIP if it was walked already. */
static int announce_space(struct walker *w)
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
	ret = w->ops->space(root, walk->root, owner ? owner->root : walk->root,
			    walk->priv);
	if (ret)
		return ret;
	if (owner)
		return VMEM_WALK_SKIP;
	if (walk->claim)
		vmem_seen_add(walk->seen, top, &mine);
	return 0;
}

static int walk_space(struct vmem_walk *walk)
{
	const struct vmem_root *root = &walk->roots[walk->root];
	const struct vmem_mode *mode = &root->mode;
	bool changes = !walk->mem->constant;
	struct walker w __uninitialized;
	int ret;

	w.walk = walk;
	w.ops = walk->ops;
	w.root = root;
	w.mode = mode;
	w.entry_shift = ilog2(mode->arch->entry_size);
	w.index_bits = mode->arch->index_bits;
	w.last_index = BIT_ULL(w.index_bits) - 1;
	w.frame = NULL;
	w.steady = changes && w.ops->steady;
	w.torn = changes && w.ops->torn;
	w.attempts = walk->attempts;
	w.alike = ~(w.ops->attributes ? mode->arch->ignored :
					mode->arch->untold) |
		  mode->cow_mask;
	make_visit(&w, &w.leaf, 0, 0);
	leave_all(&w);
	if (w.ops->space) {
		ret = announce_space(&w);
		if (ret)
			return go_on(ret);
	}

	ret = walk_scope(&w);
	if (w.torn)
		ret = leave_tables(&w, U64_MAX) ?: ret;
	leave_all(&w);
	return ret;
}

int vmem_walk(struct vmem_walk *walk)
{
	const struct vmem_scope *scope = &walk->scope;
	int ret;

	if (scope->va > scope->last_va || walk->va < scope->va ||
	    walk->va > scope->last_va)
		return -EINVAL;
	ret = walk_space(walk);
	while (!ret && walk->root + 1 < walk->nr_roots) {
		walk->root++;
		walk->va = scope->va;
		ret = walk_space(walk);
	}
	return ret;
}
