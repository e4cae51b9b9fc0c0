// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is mapped: ranges of one space flattened into mappings, and many spaces
 * with references in place of what they share
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include <vmem/spaces.h>
#include <vmem/translate.h>

/*
 * Leaves, merged while they continue each other: shared by
 * vmem_virt_to_phys() and vmem_walk_va_spaces().
 */

/**
 * struct flatten - the mapping that the next leaf may continue
 * @pending: the mapping, not given to @emit yet; UNMAPPED if none
 * @root: index of its root
 * @attributes: mappings have attributes
 * @refused: what @emit returned in place of taking it
 * @emit: takes mappings
 * @priv: passed to it
 */
struct flatten {
	struct vmem_mapping pending;
	u32 root;
	bool attributes;
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

static u32 visit_attributes(const struct flatten *flatten,
			    const struct vmem_visit *visit)
{
	return flatten->attributes ?
		       vmem_attributes(&visit->root->mode, visit->level,
				       visit->path[visit->nr_path - 1].raw) :
		       0;
}

static bool flatten_continues(const struct flatten *flatten,
			      const struct vmem_visit *visit)
{
	const struct vmem_mapping *mapping = &flatten->pending;

	/* Scattered pages differ here, and nothing else has to be looked at. */
	if (mapping->gpa + (visit->va - mapping->va) != visit->gpa)
		return false;
	return mapping->kind == visit_kind(visit) &&
	       flatten->root == visit->index &&
	       mapping->page_size == visit->page_size &&
	       mapping->perms == visit->perms &&
	       mapping->last_va + 1 == visit->va &&
	       mapping->attributes == visit_attributes(flatten, visit);
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
		.attributes = visit_attributes(flatten, visit),
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

static const struct vmem_walk_ops range_attributes_ops = {
	.leaf = range_leaf,
	.anomaly = range_anomaly,
	.torn = range_torn,
	.runs = true,
	.attributes = true,
};

int vmem_virt_to_phys(struct vmem_range *range)
{
	struct virt_to_phys vtp = {
		.flatten = {
			.attributes = range->attributes,
			.emit = range->emit,
			.priv = range->priv,
		},
		.range = range,
	};
	struct vmem_walk walk = {
		.mem = range->mem,
		.roots = range->root,
		.nr_roots = 1,
		.scope = { .va = range->va, .last_va = range->last_va },
		.va = range->va,
		.budget = range->budget,
		.ops = range->attributes ? &range_attributes_ops : &range_ops,
		.priv = &vtp,
	};
	int ret = vmem_walk(&walk);
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

static int spaces_leaf(const struct vmem_visit *visit, void *priv)
{
	struct walk_spaces *ws = priv;
	int ret;

	if (ws->spaces->torn.type && !flatten_continues(&ws->flatten, visit)) {
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
