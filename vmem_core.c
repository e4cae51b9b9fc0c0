// SPDX-License-Identifier: GPL-2.0-only
/*
 * The walk over guest page tables, and the questions that are callbacks on it.
 * Nothing here knows where guest memory comes from (see vmem/mem.h) or what an
 * entry's bits mean (see vmem/arch.h).
 */
#include <linux/compiler.h>
#include <linux/err.h>
#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/string.h>
#include <vmem/spaces.h>
#include <vmem/translate.h>

#define GUEST_CR0_PE BIT_ULL(0)
#define GUEST_CR0_PG BIT_ULL(31)
#define GUEST_CR4_PSE BIT_ULL(4)
#define GUEST_CR4_PAE BIT_ULL(5)
#define GUEST_CR4_LA57 BIT_ULL(12)
#define GUEST_EFER_LME BIT_ULL(8)
#define GUEST_EFER_NXE BIT_ULL(11)

static int regime_2level(struct vmem_regime *regime,
			 const struct vmem_regs *regs)
{
	regime->arch = &vmem_arch_i686;
	regime->top = VMEM_LEVEL_PD;
	regime->pse = regs->cr4 & GUEST_CR4_PSE;
	regime->hole = BIT_ULL(32);
	regime->hole_last = U64_MAX;
	return 0;
}

/* Canonical addresses repeat bit 47 in bits 63:48 (SDM vol. 1, 3.3.7.1). */
static int regime_4level(struct vmem_regime *regime,
			 const struct vmem_regs *regs)
{
	regime->arch = &vmem_arch_amd64;
	regime->top = VMEM_LEVEL_PML4;
	regime->nxe = regs->efer & GUEST_EFER_NXE;
	regime->hole = BIT_ULL(47);
	regime->hole_last = ~BIT_ULL(47);
	return 0;
}

/* EFER.LMA follows from CR0.PG and EFER.LME, so it is not asked. */
static int regime_init(struct vmem_regime *regime, const struct vmem_regs *regs)
{
	if (!(regs->cr0 & GUEST_CR0_PE) || !(regs->cr0 & GUEST_CR0_PG))
		return -EINVAL;
	if (regs->maxphyaddr < VMEM_MIN_PHYADDR ||
	    regs->maxphyaddr > VMEM_MAX_PHYADDR)
		return -EINVAL;
	regime->maxphyaddr = regs->maxphyaddr;
	regime->cow_mask = regs->cow_mask;
	regime->cow_value = regs->cow_value;

	if (!(regs->efer & GUEST_EFER_LME))
		return regs->cr4 & GUEST_CR4_PAE ? -EOPNOTSUPP :
						   regime_2level(regime, regs);
	if (!(regs->cr4 & GUEST_CR4_PAE))
		return -EINVAL;
	return regs->cr4 & GUEST_CR4_LA57 ? -EOPNOTSUPP :
					    regime_4level(regime, regs);
}

/* The convention must not take a bit that means something to the processor. */
static bool cow_is_sound(const struct vmem_regime *regime)
{
	return !(regime->cow_mask & ~regime->arch->ignored) &&
	       !(regime->cow_value & ~regime->cow_mask) &&
	       !regime->cow_mask == !regime->cow_value;
}

int vmem_root_init(struct vmem_root *root, const struct vmem_regs *regs)
{
	int ret;

	if (regs->__reserved)
		return -EOPNOTSUPP;

	memset(root, 0, sizeof(*root));
	ret = regime_init(&root->regime, regs);
	if (ret)
		return ret;
	if (!cow_is_sound(&root->regime))
		return -EINVAL;
	root->table = root->regime.arch->root_table(&root->regime, regs->cr3);
	return 0;
}

/**
 * struct alias - a table that is somebody else's, and was followed
 * @owner: whose it is, and where; @owner.table is 0 if there is none
 * @base: first virtual address of its region here
 */
struct alias {
	struct vmem_owner owner;
	u64 base;
};

/**
 * struct frame - a table on the path from the root
 * @table: its guest-physical address
 * @page: the page that holds it, pinned
 * @perms: permissions of the path down to this table
 * @alias: the last table down to this one that is somebody else's
 */
struct frame {
	u64 table;
	const void *page;
	u32 perms;
	struct alias alias;
};

/**
 * struct walker - a walk of one space under way
 * @walk: what was asked for, and the cursor
 * @regime: the space's paging mode
 * @level: level of the table being read, above @regime->top before the root
 * @frames: the tables from the root to that one, by level
 * @path: the entries read on the way to them, root first
 * @visit: what the next callback is shown
 */
struct walker {
	struct vmem_walk *walk;
	const struct vmem_regime *regime;
	int level;
	struct frame frames[VMEM_MAX_LEVELS + 1];
	struct vmem_trace path[VMEM_MAX_LEVELS];
	struct vmem_visit visit;
};

/* Let others run; a caller that was killed goes no further. */
static int walk_breathe(void)
{
	cond_resched();
	return fatal_signal_pending(current) ? -EINTR : 0;
}

static int enter_table(struct walker *w, int level, u64 table, u32 perms)
{
	struct vmem_mem *mem = w->walk->mem;
	struct frame *frame = &w->frames[level];
	int ret = walk_breathe();

	if (ret)
		return ret;
	frame->page = mem->ops->pin(mem, table);
	if (IS_ERR(frame->page))
		return PTR_ERR(frame->page);
	frame->table = table;
	frame->perms = perms;
	w->level = level;
	w->walk->tables++;
	return 0;
}

static void leave_table(struct walker *w)
{
	struct vmem_mem *mem = w->walk->mem;
	struct frame *frame = &w->frames[w->level++];

	mem->ops->unpin(mem, frame->table, frame->page);
}

/* One untorn load; the guest may write to the entry at any time. */
static u64 read_entry(const struct walker *w, u64 entry_gpa)
{
	const void *entry =
		w->frames[w->level].page + (entry_gpa & ~VMEM_PAGE_MASK);

	if (w->regime->arch->entry_size == sizeof(u32))
		return READ_ONCE(*(const u32 *)entry);
	return READ_ONCE(*(const u64 *)entry);
}

/* Nothing of the last visit may show in the next. */
static void clear_visit(struct walker *w, int nr_path)
{
	w->visit.nr_path = nr_path;
	w->visit.gpa = 0;
	w->visit.page_size = 0;
	w->visit.perms = 0;
	w->visit.cow = false;
	w->visit.aliased = false;
}

/* The next visit is of what is left of a region, from the cursor on. */
static void set_region(struct walker *w, u64 base, u64 last_va)
{
	const struct vmem_scope *scope = &w->walk->scope;
	const struct vmem_span *excluded =
		vmem_scope_next_excluded(scope, w->walk->va);
	struct vmem_visit *visit = &w->visit;

	visit->va = w->walk->va;
	visit->base = base;
	visit->last_va = min(last_va, scope->last_va);
	if (excluded && excluded->va <= visit->last_va)
		visit->last_va = excluded->va - 1;
}

static void set_owner(struct walker *w, const struct alias *alias)
{
	struct vmem_visit *visit = &w->visit;

	visit->aliased = alias->owner.table;
	if (!visit->aliased)
		return;
	visit->owner = alias->owner.root;
	visit->owner_va = alias->owner.va + (visit->base - alias->base);
	visit->owner_perms = alias->owner.perms;
}

/* Whether an anomaly answers SKIP is asked only where there is a way down. */
static int go_on(int ret)
{
	return ret == VMEM_WALK_SKIP ? 0 : ret;
}

static int call_anomaly(struct walker *w, enum vmem_status status, int level)
{
	w->visit.status = status;
	w->visit.level = level;
	return w->walk->ops->anomaly(&w->visit, w->walk->priv);
}

static int call_hole(struct walker *w, enum vmem_status status, int level)
{
	const struct vmem_walk *walk = w->walk;

	w->visit.status = status;
	w->visit.level = level;
	return walk->ops->hole ? walk->ops->hole(&w->visit, walk->priv) : 0;
}

static int visit_non_canonical(struct walker *w)
{
	clear_visit(w, 0);
	set_region(w, w->regime->hole, w->regime->hole_last);
	return call_hole(w, VMEM_NON_CANONICAL, VMEM_LEVEL_NONE);
}

static int visit_unbacked(struct walker *w, int level, u64 table)
{
	w->visit.gpa = table;
	w->visit.perms = 0;
	return go_on(call_anomaly(w, VMEM_UNBACKED, level));
}

static int visit_leaf(struct walker *w, u64 page, u32 perms, u64 size)
{
	const struct vmem_walk *walk = w->walk;
	struct vmem_visit *visit = &w->visit;

	visit->status = VMEM_MAPPED;
	visit->level = w->level;
	visit->gpa = page + (walk->va & (size - 1));
	visit->page_size = size;
	visit->cow =
		vmem_is_cow(w->regime, visit->path[visit->nr_path - 1].raw);
	visit->perms = visit->cow ? perms & ~VMEM_WRITABLE : perms;
	set_owner(w, &w->frames[w->level].alias);
	return walk->ops->leaf(visit, walk->priv);
}

/*
 * What a table that is about to be claimed is besides: on the path at a higher
 * level, or known at another level. VMEM_MAPPED if it is neither.
 */
static enum vmem_status other_view(const struct walker *w, u64 table)
{
	int level;

	for (level = w->level + 1; level <= w->regime->top; level++)
		if (w->frames[level].table == table)
			return VMEM_ANCESTOR;
	for (level = VMEM_LEVEL_PT; level <= w->regime->top; level++)
		if (level != w->level && vmem_seen_find(w->walk->seen, table,
							level, VMEM_WINDOW_ALL))
			return VMEM_CROSS_LEVEL;
	return VMEM_MAPPED;
}

/* The space is the first to reach the table that was just entered. */
static int claim_table(struct walker *w, u64 window)
{
	const struct vmem_walk *walk = w->walk;
	const struct frame *frame = &w->frames[w->level];
	const struct vmem_owner owner = {
		.table = frame->table,
		.window = window,
		.va = w->visit.base,
		.root = walk->root,
		.perms = frame->perms,
	};
	enum vmem_status status = other_view(w, frame->table);
	int ret = vmem_seen_reserve(walk->seen);

	if (!ret && status != VMEM_MAPPED)
		ret = call_anomaly(w, status, w->level);
	if (!ret && walk->ops->table)
		ret = walk->ops->table(&w->visit, walk->priv);
	if (!ret)
		vmem_seen_add(walk->seen, w->level, &owner);
	return ret;
}

/* See struct vmem_owner. */
static u64 table_window(const struct vmem_scope *scope, u64 base, u64 last_va)
{
	return vmem_scope_holds(scope, base, last_va) ? VMEM_WINDOW_ALL : base;
}

/*
 * Whose table the next frame is. What was claimed at this very place is the
 * space's own: a walk that was stopped in there has come back to it.
 */
static struct alias make_alias(const struct walker *w,
			       const struct vmem_owner *owner)
{
	u64 base = w->visit.base;

	if (!owner)
		return w->frames[w->level].alias;
	if (owner->root == w->walk->root && owner->va == base)
		return (struct alias){};
	return (struct alias){ .owner = *owner, .base = base };
}

/* A table that is not entered is passed over as a whole, exclusions and all. */
static void pass_table(struct walker *w, u64 last_va)
{
	w->visit.last_va = min(last_va, w->walk->scope.last_va);
}

/*
 * The cursor lies in an entry that names a table: pass over it, if it is known
 * as somebody else's, or enter it.
 */
static int visit_table(struct walker *w, u64 table, u32 perms, u64 last_va)
{
	const struct vmem_walk *walk = w->walk;
	int level = w->level - 1;
	struct frame *frame = &w->frames[level];
	bool share = walk->seen && vmem_shared_table(w->regime->arch, level);
	u64 window = table_window(&walk->scope, w->visit.base, last_va);
	const struct vmem_owner *owner =
		share ? vmem_seen_find(walk->seen, table, level, window) : NULL;
	int ret;

	w->visit.gpa = table;
	w->visit.perms = perms;
	w->visit.level = level;
	frame->alias = make_alias(w, owner);

	if (!walk->seen && walk->ops->table) {
		ret = walk->ops->table(&w->visit, walk->priv);
		if (ret) {
			pass_table(w, last_va);
			return go_on(ret);
		}
	}
	if (owner && frame->alias.owner.table) {
		set_owner(w, &frame->alias);
		pass_table(w, last_va);
		ret = walk->ops->alias(&w->visit, walk->priv);
		if (ret != VMEM_WALK_FOLLOW)
			return ret;
	}

	ret = enter_table(w, level, table, perms);
	if (ret == -ENXIO)
		return visit_unbacked(w, level, table);
	if (ret || owner || !share || !walk->claim)
		return ret;

	frame->alias = (struct alias){};
	ret = claim_table(w, window);
	if (!ret)
		return 0;
	leave_table(w);
	pass_table(w, last_va);
	return go_on(ret);
}

/* Read the entry that the cursor lies in, and do what it asks for. */
static int visit_entry(struct walker *w)
{
	const struct vmem_arch *arch = w->regime->arch;
	struct frame *frame = &w->frames[w->level];
	u64 va = w->walk->va;
	u64 size = vmem_level_size(arch, w->level);
	u64 base = va & ~(size - 1);
	u64 last_va = va | (size - 1);
	u64 index = (va >> vmem_level_shift(arch, w->level)) &
		    ((1U << arch->index_bits) - 1);
	u64 entry_gpa = frame->table + index * arch->entry_size;
	u64 raw = read_entry(w, entry_gpa);
	struct vmem_entry entry = arch->decode(w->regime, w->level, raw);
	u32 perms = frame->perms & entry.perms;
	int depth = w->regime->top - w->level;

	w->path[depth] = (struct vmem_trace){ entry_gpa, raw };
	clear_visit(w, depth + 1);
	set_region(w, base, last_va);

	switch (entry.kind) {
	case VMEM_ENTRY_TABLE:
		return visit_table(w, entry.addr, perms, last_va);
	case VMEM_ENTRY_LEAF:
		return visit_leaf(w, entry.addr, perms, size);
	case VMEM_ENTRY_RESERVED:
		return go_on(call_anomaly(w, VMEM_RESERVED, w->level));
	default:
		return call_hole(w, VMEM_NOT_PRESENT, w->level);
	}
}

/*
 * Enter the root, once there is an address to look for. If it is not backed, and
 * there are other spaces to go on with, that is told once.
 */
static int visit_root(struct walker *w)
{
	const struct vmem_walk *walk = w->walk;
	u64 table = w->visit.root->table;
	int top = w->regime->top;
	int ret = enter_table(w, top, table,
			      VMEM_WRITABLE | VMEM_USER | VMEM_EXECUTABLE);

	if (ret != -ENXIO || !walk->ops->space)
		return ret;
	clear_visit(w, 0);
	set_region(w, walk->scope.va, U64_MAX);
	ret = visit_unbacked(w, top, table);
	pass_table(w, U64_MAX);
	return ret;
}

/* Visit what is at the cursor, or enter a table there. */
static int visit_next(struct walker *w)
{
	struct vmem_walk *walk = w->walk;
	const struct vmem_span *excluded =
		vmem_scope_next_excluded(&walk->scope, walk->va);

	if (excluded && excluded->va <= walk->va) {
		w->visit.last_va = min(excluded->last_va, walk->scope.last_va);
		return 0;
	}
	if (!vmem_is_canonical(w->regime, walk->va))
		return visit_non_canonical(w);
	if (w->level > w->regime->top)
		return visit_root(w);
	if (!walk->budget)
		return VMEM_WALK_STOP;
	walk->budget--;
	return visit_entry(w);
}

/* Move the cursor, and out of the tables whose region does not hold it. */
static void move_to(struct walker *w, u64 va)
{
	u64 changed = va ^ w->walk->va;

	w->walk->va = va;
	while (w->level < w->regime->top &&
	       changed >> vmem_level_shift(w->regime->arch, w->level + 1))
		leave_table(w);
}

/* Go on behind what was visited. False at the end of the scope. */
static bool advance(struct walker *w)
{
	if (w->visit.last_va == w->walk->scope.last_va)
		return false;
	move_to(w, w->visit.last_va + 1);
	return true;
}

static void leave_all(struct walker *w)
{
	while (w->level <= w->regime->top)
		leave_table(w);
}

static int walk_scope(struct walker *w)
{
	int level, ret;

	for (;;) {
		level = w->level;
		ret = visit_next(w);
		if (ret == VMEM_WALK_AGAIN)
			leave_all(w);
		else if (ret)
			return ret;
		else if (w->level >= level && !advance(w))
			return 0;
	}
}

/* Tell of the root that is next, once. SKIP if it was walked already. */
static int announce_space(struct walker *w)
{
	const struct vmem_walk *walk = w->walk;
	const struct vmem_root *root = w->visit.root;
	int top = w->regime->top;
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
	ret = walk->ops->space(root, walk->root,
			       owner ? owner->root : walk->root, walk->priv);
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
	struct walker w = {
		.walk = walk,
		.regime = &root->regime,
		.level = root->regime.top + 1,
		.visit.root = root,
		.visit.index = walk->root,
	};
	int ret;

	w.visit.path = w.path;
	if (walk->ops->space) {
		ret = announce_space(&w);
		if (ret)
			return go_on(ret);
	}

	ret = walk_scope(&w);
	leave_all(&w);
	return ret;
}

int vmem_walk(struct vmem_walk *walk)
{
	int ret = walk_space(walk);

	while (!ret && walk->root + 1 < walk->nr_roots) {
		walk->root++;
		walk->va = walk->scope.va;
		ret = walk_space(walk);
	}
	return ret;
}

/* vmem_translate(): whatever the walk finds at the one address is the answer */

struct translate {
	struct vmem_walk walk;
	struct vmem_translation *result;
};

static int translate_visit(const struct vmem_visit *visit, void *priv)
{
	struct translate *translate = priv;
	struct vmem_translation *result = translate->result;

	result->out_status = visit->status;
	result->out_level = visit->level;
	if (visit->status == VMEM_MAPPED) {
		result->out_gpa = visit->gpa;
		result->out_page_size = visit->page_size;
		result->out_perms = visit->perms;
	}
	if (visit->status == VMEM_MAPPED && visit->aliased) {
		result->out_aliased = 1;
		result->out_owner_root = visit->owner;
		result->out_owner_space =
			translate->walk.roots[visit->owner].table;
		result->out_owner_va =
			visit->owner_va + (visit->va - visit->base);
	}
	result->out_nr_trace = visit->nr_path;
	memcpy(result->out_trace, visit->path,
	       visit->nr_path * sizeof(*visit->path));
	return VMEM_WALK_STOP;
}

static int follow_alias(const struct vmem_visit *visit, void *priv)
{
	return VMEM_WALK_FOLLOW;
}

static const struct vmem_walk_ops translate_ops = {
	.alias = follow_alias,
	.leaf = translate_visit,
	.hole = translate_visit,
	.anomaly = translate_visit,
};

static int translate(struct translate *translate)
{
	struct vmem_walk *walk = &translate->walk;
	int ret;

	walk->budget = VMEM_MAX_LEVELS;
	walk->ops = &translate_ops;
	walk->priv = translate;
	memset(translate->result, 0, sizeof(*translate->result));
	ret = vmem_walk(walk);
	return ret == VMEM_WALK_STOP ? 0 : ret;
}

int vmem_translate(struct vmem_mem *mem, const struct vmem_root *root, u64 va,
		   struct vmem_translation *result)
{
	struct translate one = {
		.walk.mem = mem,
		.walk.roots = root,
		.walk.nr_roots = 1,
		.walk.scope = { .va = va, .last_va = va },
		.walk.va = va,
		.result = result,
	};

	return translate(&one);
}

int vmem_translate_shared(struct vmem_mem *mem, struct vmem_spaces *spaces,
			  u32 index, u64 va, struct vmem_translation *result)
{
	const struct vmem_root *root = &spaces->roots[index];
	int top = root->regime.top;
	const struct vmem_owner *first;
	struct translate one = {
		.walk.mem = mem,
		.walk.roots = spaces->roots,
		.walk.nr_roots = index + 1,
		.walk.scope = spaces->scope,
		.walk.seen = &spaces->seen,
		.walk.root = index,
		.walk.va = va,
		.result = result,
	};
	int ret;

	/* A root given twice owns what it owned the first time. */
	first = vmem_seen_find(&spaces->seen, root->table, top,
			       VMEM_WINDOW_ALL);
	if (first)
		one.walk.root = first->root;

	if (vmem_scope_holds(&spaces->scope, va, va))
		ret = translate(&one);
	else
		ret = vmem_translate(mem, root, va, result);
	if (ret != -ENXIO)
		return ret;

	/* As in the walk, one dead root is no reason to give up on others. */
	result->out_status = VMEM_UNBACKED;
	result->out_level = top;
	return 0;
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

static int flatten_flush(struct flatten *flatten)
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

static bool flatten_continues(const struct flatten *flatten,
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

static int flatten_add(struct flatten *flatten, const struct vmem_visit *visit)
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

static int range_leaf(const struct vmem_visit *visit, void *priv)
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

static const struct vmem_walk_ops range_ops = {
	.leaf = range_leaf,
	.anomaly = range_anomaly,
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
		.ops = &range_ops,
		.priv = &vtp,
	};
	int ret = vmem_walk(&walk);
	/* What is pending was found whole, however the walk ended. */
	int refused = flatten_flush(&vtp.flatten);

	range->budget = walk.budget;
	range->va = refused ? vtp.flatten.pending.va : walk.va;
	return ret ?: refused;
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

/* Anything else comes after the mapping that was found before it. */
static int emit_record(struct walk_spaces *ws, const struct vmem_record *record,
		       u64 *count)
{
	int ret = flatten_flush(&ws->flatten);

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

static int spaces_leaf(const struct vmem_visit *visit, void *priv)
{
	struct walk_spaces *ws = priv;

	return flatten_add(&ws->flatten, visit);
}

void vmem_aliasing_record(const struct vmem_visit *visit,
			  const struct vmem_root *roots,
			  struct vmem_record *record)
{
	const struct vmem_arch *arch = visit->root->regime.arch;

	init_record(record, VMEM_ALIASING, visit->index);
	record->aliasing = (struct vmem_aliasing){
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

static int spaces_alias(const struct vmem_visit *visit, void *priv)
{
	struct walk_spaces *ws = priv;
	struct vmem_record record;

	vmem_aliasing_record(visit, ws->spaces->roots, &record);
	return emit_record(ws, &record, &ws->spaces->stats.aliases);
}

static int spaces_anomaly(const struct vmem_visit *visit, void *priv)
{
	struct walk_spaces *ws = priv;
	struct vmem_record record;

	init_record(&record, VMEM_ANOMALY, visit->index);
	record.anomaly = (struct vmem_anomaly){
		.status = visit->status,
		.level = visit->level,
		.va = visit->va,
		.last_va = visit->last_va,
		.table_gpa = visit->gpa,
	};
	if (visit->nr_path)
		record.anomaly.raw = visit->path[visit->nr_path - 1].raw;
	return emit_record(ws, &record, &ws->spaces->stats.anomalies);
}

static const struct vmem_walk_ops spaces_ops = {
	.space = spaces_space,
	.alias = spaces_alias,
	.leaf = spaces_leaf,
	.anomaly = spaces_anomaly,
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
			.ops = &spaces_ops,
		},
		.emit = emit,
		.priv = priv,
	};
	int ret = 0;

	ws.flatten.priv = &ws;
	ws.walk.priv = &ws;
	if (!spaces->walked)
		ret = vmem_walk(&ws.walk);
	spaces->walked |= !ret;
	/* What is pending goes before what ends the walk for good. */
	if (!ret || ret == -ENOSPC)
		ret = flatten_flush(&ws.flatten) ?: ret;
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
		if (ret == -ENXIO) {
			read_stop(visit, copy);
			copy->status = VMEM_UNBACKED;
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
