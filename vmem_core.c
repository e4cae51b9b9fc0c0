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

	if (!(regs->efer & GUEST_EFER_LME))
		return regs->cr4 & GUEST_CR4_PAE ? -EOPNOTSUPP :
						   regime_2level(regime, regs);
	if (!(regs->cr4 & GUEST_CR4_PAE))
		return -EINVAL;
	return regs->cr4 & GUEST_CR4_LA57 ? -EOPNOTSUPP :
					    regime_4level(regime, regs);
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
	root->table = root->regime.arch->root_table(&root->regime, regs->cr3);
	return 0;
}

/**
 * struct frame - a table on the path from the root
 * @table: its guest-physical address
 * @page: the page that holds it, pinned
 * @perms: permissions of the path down to this table
 */
struct frame {
	u64 table;
	const void *page;
	u32 perms;
};

/**
 * struct walker - a walk under way
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
}

/* Show the region from the cursor to @last_va to the callback for @status. */
static int call_back(struct walker *w, enum vmem_status status, int level,
		     u64 last_va)
{
	const struct vmem_walk *walk = w->walk;
	struct vmem_visit *visit = &w->visit;

	visit->status = status;
	visit->level = level;
	visit->va = walk->va;
	visit->last_va = min(last_va, walk->last_va);

	switch (status) {
	case VMEM_MAPPED:
		return walk->ops->leaf(visit, walk->priv);
	case VMEM_NOT_PRESENT:
	case VMEM_NON_CANONICAL:
		return walk->ops->hole ? walk->ops->hole(visit, walk->priv) : 0;
	default:
		return walk->ops->anomaly(visit, walk->priv);
	}
}

static int visit_non_canonical(struct walker *w)
{
	clear_visit(w, 0);
	return call_back(w, VMEM_NON_CANONICAL, VMEM_LEVEL_NONE,
			 w->regime->hole_last);
}

static int visit_leaf(struct walker *w, const struct vmem_entry *entry,
		      u32 perms, u64 size, u64 last_va)
{
	struct vmem_visit *visit = &w->visit;

	visit->gpa = entry->addr + (w->walk->va & (size - 1));
	visit->page_size = size;
	visit->perms = perms;
	return call_back(w, VMEM_MAPPED, w->level, last_va);
}

/*
 * Read the entry that the cursor lies in. If it names a table that is backed,
 * enter that; else call back for the region that the entry spans.
 */
static int visit_entry(struct walker *w)
{
	const struct vmem_arch *arch = w->regime->arch;
	struct frame *frame = &w->frames[w->level];
	u64 va = w->walk->va;
	u64 size = vmem_level_size(arch, w->level);
	u64 last_va = va | (size - 1);
	u64 index = (va >> vmem_level_shift(arch, w->level)) &
		    ((1U << arch->index_bits) - 1);
	u64 entry_gpa = frame->table + index * arch->entry_size;
	u64 raw = read_entry(w, entry_gpa);
	struct vmem_entry entry = arch->decode(w->regime, w->level, raw);
	u32 perms = frame->perms & entry.perms;
	int depth = w->regime->top - w->level;
	int ret;

	w->path[depth] = (struct vmem_trace){ entry_gpa, raw };
	clear_visit(w, depth + 1);

	switch (entry.kind) {
	case VMEM_ENTRY_TABLE:
		ret = enter_table(w, w->level - 1, entry.addr, perms);
		if (ret != -ENXIO)
			return ret;
		w->visit.gpa = entry.addr;
		return call_back(w, VMEM_UNBACKED, w->level - 1, last_va);
	case VMEM_ENTRY_LEAF:
		return visit_leaf(w, &entry, perms, size, last_va);
	case VMEM_ENTRY_RESERVED:
		return call_back(w, VMEM_RESERVED, w->level, last_va);
	default:
		return call_back(w, VMEM_NOT_PRESENT, w->level, last_va);
	}
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

/* Go on behind the region that was visited. False at the end of the range. */
static bool advance(struct walker *w)
{
	if (w->visit.last_va == w->walk->last_va)
		return false;
	move_to(w, w->visit.last_va + 1);
	return true;
}

static int walk_range(struct walker *w)
{
	int level, ret;

	do {
		level = w->level;
		if (!vmem_is_canonical(w->regime, w->walk->va)) {
			ret = visit_non_canonical(w);
		} else if (w->walk->budget) {
			w->walk->budget--;
			ret = visit_entry(w);
		} else {
			ret = VMEM_WALK_STOP;
		}
		if (ret)
			return ret;
	} while (w->level < level || advance(w));

	return 0;
}

int vmem_walk(struct vmem_walk *walk)
{
	const struct vmem_regime *regime = &walk->root->regime;
	struct walker w = {
		.walk = walk,
		.regime = regime,
		.level = regime->top + 1,
		.visit.root = walk->root,
	};
	int ret;

	w.visit.path = w.path;
	ret = enter_table(&w, regime->top, walk->root->table,
			  VMEM_WRITABLE | VMEM_USER | VMEM_EXECUTABLE);
	if (!ret)
		ret = walk_range(&w);
	while (w.level <= regime->top)
		leave_table(&w);
	return ret;
}

/* vmem_translate(): whatever the walk finds at the one address is the answer */

static int translate_visit(const struct vmem_visit *visit, void *priv)
{
	struct vmem_translation *result = priv;

	result->out_status = visit->status;
	result->out_level = visit->level;
	if (visit->status == VMEM_MAPPED) {
		result->out_gpa = visit->gpa;
		result->out_page_size = visit->page_size;
		result->out_perms = visit->perms;
	}
	result->out_nr_trace = visit->nr_path;
	memcpy(result->out_trace, visit->path,
	       visit->nr_path * sizeof(*visit->path));
	return 0;
}

static const struct vmem_walk_ops translate_ops = {
	.leaf = translate_visit,
	.hole = translate_visit,
	.anomaly = translate_visit,
};

int vmem_translate(struct vmem_mem *mem, const struct vmem_root *root, u64 va,
		   struct vmem_translation *result)
{
	struct vmem_walk walk = {
		.mem = mem,
		.root = root,
		.va = va,
		.last_va = va,
		.budget = VMEM_MAX_LEVELS,
		.ops = &translate_ops,
		.priv = result,
	};

	memset(result, 0, sizeof(*result));
	return vmem_walk(&walk);
}

/* vmem_virt_to_phys(): leaves, merged while they continue each other */

/**
 * struct flatten - the mapping that the next leaf may continue
 * @range: what was asked for
 * @pending: the mapping, not given to @range->emit yet; UNMAPPED if none
 * @refused: what @range->emit returned in place of taking it
 */
struct flatten {
	struct vmem_range *range;
	struct vmem_mapping pending;
	int refused;
};

static int flatten_flush(struct flatten *flatten)
{
	struct vmem_range *range = flatten->range;

	if (flatten->pending.kind == VMEM_KIND_UNMAPPED)
		return 0;
	flatten->refused = range->emit(&flatten->pending, range->priv);
	if (!flatten->refused)
		flatten->pending.kind = VMEM_KIND_UNMAPPED;
	return flatten->refused;
}

static bool flatten_continues(const struct vmem_mapping *mapping,
			      const struct vmem_visit *visit)
{
	return mapping->kind != VMEM_KIND_UNMAPPED &&
	       mapping->page_size == visit->page_size &&
	       mapping->perms == visit->perms &&
	       mapping->last_va + 1 == visit->va &&
	       mapping->gpa + (visit->va - mapping->va) == visit->gpa;
}

static int flatten_leaf(const struct vmem_visit *visit, void *priv)
{
	struct flatten *flatten = priv;
	int ret;

	if (flatten_continues(&flatten->pending, visit)) {
		flatten->pending.last_va = visit->last_va;
		return 0;
	}

	ret = flatten_flush(flatten);
	if (ret)
		return ret;
	flatten->pending = (struct vmem_mapping){
		.va = visit->va,
		.last_va = visit->last_va,
		.gpa = visit->gpa,
		.page_size = visit->page_size,
		.kind = VMEM_KIND_BASIC,
		.perms = visit->perms,
	};
	return 0;
}

static int flatten_anomaly(const struct vmem_visit *visit, void *priv)
{
	struct flatten *flatten = priv;
	int ret = flatten_flush(flatten);

	/* Counted only if no resumed walk comes by here again. */
	if (!ret)
		flatten->range->anomalies++;
	return ret;
}

static const struct vmem_walk_ops flatten_ops = {
	.leaf = flatten_leaf,
	.anomaly = flatten_anomaly,
};

int vmem_virt_to_phys(struct vmem_range *range)
{
	struct flatten flatten = { .range = range };
	struct vmem_walk walk = {
		.mem = range->mem,
		.root = range->root,
		.va = range->va,
		.last_va = range->last_va,
		.budget = range->budget,
		.ops = &flatten_ops,
		.priv = &flatten,
	};
	int ret = vmem_walk(&walk);
	int refused = flatten.refused ?: flatten_flush(&flatten);

	range->budget = walk.budget;
	range->va = refused ? flatten.pending.va : walk.va;
	return ret ?: refused;
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
		.root = copy->root,
		.va = copy->va,
		.last_va = copy->last_va,
		/* The range bounds it: a read ends at the first hole. */
		.budget = U64_MAX,
		.ops = &read_ops,
		.priv = copy,
	};

	copy->status = VMEM_MAPPED;
	copy->level = VMEM_LEVEL_NONE;
	return vmem_walk(&walk);
}
