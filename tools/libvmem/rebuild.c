// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rebuild: callbacks on the walk over many spaces that map, in new tables, what
 * they are shown. The walk's order is all that it takes: what a reference leads
 * to has been built before it.
 */
#include <linux/errno.h>
#include <linux/string.h>
#include <vmem/rebuild.h>
#include <vmem/spaces.h>

/* What a large page grants is in the entries of the smaller ones. */
#define ALL_PERMS (VMEM_WRITABLE | VMEM_USER | VMEM_EXECUTABLE)

struct rebuilder {
	struct vmem_rebuild *rebuild;
	struct vmem_built built;
};

/* One page of 4 KiB or several, as a whole. */
static bool is_pages(u64 va, u64 last_va)
{
	return va <= last_va && !((va | (last_va + 1)) & ~VMEM_PAGE_MASK);
}

static bool is_scope_of_pages(const struct vmem_scope *scope)
{
	u32 i;

	for (i = 0; i < scope->nr_excluded; i++)
		if (!is_pages(scope->excluded[i].va,
			      scope->excluded[i].last_va))
			return false;
	return is_pages(scope->va, scope->last_va);
}

static u32 first_with_table(const struct vmem_root *roots, u32 index)
{
	u32 i = 0;

	while (roots[i].table != roots[index].table)
		i++;
	return i;
}

/* What is rebuilt is not encrypted: the bit that would tell is one of the address. */
static void make_plain(struct vmem_mode *mode)
{
	mode->addr |= mode->encryption;
	mode->straight = BIT_ULL(mode->maxphyaddr);
	mode->encryption = 0;
	mode->shared = false;
	mode->arch->init_formats(mode);
}

static int make_root(struct vmem_rebuild *rebuild, u32 index)
{
	struct vmem_tables *tables = rebuild->tables;
	struct vmem_root *built = &rebuild->built[index];
	const struct vmem_mode *mode = &built->mode;
	u32 first = first_with_table(rebuild->roots, index);
	int ret;

	*built = rebuild->roots[index];
	make_plain(&built->mode);
	if (first != index) {
		built->table = rebuild->built[first].table;
		return 0;
	}
	ret = tables->ops->alloc_table(tables, mode->top, &built->table);
	if (ret)
		return vmem_callback_errno(ret);
	/* CR3 has to name it. */
	if (mode->arch->root_table(mode, built->table) != built->table)
		return -ERANGE;
	return 0;
}

/*
 * All new roots come first, so that the caller can tell where they are. The
 * cursor says how many there are: a call that goes on makes none again.
 */
static int make_roots(struct vmem_rebuild *rebuild)
{
	int ret;

	while (rebuild->root < rebuild->nr_roots) {
		ret = make_root(rebuild, rebuild->root);
		if (ret)
			return ret;
		rebuild->root++;
	}
	return 0;
}

static int rebuild_space(const struct vmem_root *root, u32 index, u32 alias_of,
			 void *priv)
{
	return 0;
}

static int rebuild_reference(const struct vmem_visit *visit, void *priv)
{
	struct rebuilder *rb = priv;
	struct vmem_rebuild_stats *stats = &rb->rebuild->stats;
	struct vmem_record record;
	int ret;

	vmem_reference_record(visit, rb->rebuild->roots, &record);
	ret = vmem_space_aware_map(&rb->built, &record, visit->path);
	if (ret < 0)
		return ret;
	if (ret)
		stats->empty_links++;
	else
		stats->links++;
	return 0;
}

static int rebuild_anomaly(const struct vmem_visit *visit, void *priv)
{
	struct vmem_rebuild *rebuild = ((struct rebuilder *)priv)->rebuild;

	/* What is behind the others is rebuilt as any other table. */
	switch (visit->status) {
	case VMEM_UNREADABLE:
	case VMEM_WITHHELD:
		if (rebuild->strict)
			return -EIO;
		rebuild->stats.unreadable++;
		return 0;
	case VMEM_RESERVED:
	case VMEM_UNBACKED:
		rebuild->stats.dropped++;
		return 0;
	default:
		return 0;
	}
}

/* What would be made of it was never there. */
static int rebuild_torn(const struct vmem_visit *visit, void *priv)
{
	return -EAGAIN;
}

/*
 * The entry of a page of @level as a part of the visited leaf. Who else comes to
 * it by another path may have more rights than this one, so it is the entry's
 * own bit that says whether the page is writable.
 */
static u64 leaf_entry(const struct rebuilder *rb,
		      const struct vmem_visit *visit, int level)
{
	const struct vmem_rebuild *rebuild = rb->rebuild;
	const struct vmem_mode *mode = &visit->root->mode;
	u64 raw = visit->path[visit->nr_path - 1].raw;
	int from;

	for (from = visit->level; from > level; from--)
		raw = mode->arch->split(mode, from, raw);
	if (raw & VMEM_RAW_WRITABLE && !visit->cow && rebuild->ops->make_cow &&
	    rebuild->ops->make_cow(visit, rebuild->priv))
		raw = (raw & ~(VMEM_RAW_WRITABLE | mode->cow_mask)) |
		      mode->cow_value;
	return raw;
}

/*
 * One page of @level, which is all of the visited leaf or a part of it. Returns
 * OUT or SPLIT if that is what the policy says.
 */
static int rebuild_page(struct rebuilder *rb, const struct vmem_visit *visit,
			int level, u64 va)
{
	struct vmem_rebuild *rebuild = rb->rebuild;
	const struct vmem_mode *mode = &visit->root->mode;
	const struct vmem_arch *arch = mode->arch;
	u64 size = vmem_level_size(arch, level);
	struct vmem_trace path[VMEM_MAX_LEVELS];
	struct vmem_record record = {
		.type = VMEM_THIS_SPACE,
		.root = visit->index,
		.mapping = {
			.va = va,
			.last_va = va + (size - 1),
			.gpa = visit->gpa + (va - visit->va),
			.page_size = size,
			.kind = VMEM_KIND_BASIC,
			.perms = visit->perms,
		},
	};
	int depth = visit->nr_path - 1;
	int ret;

	ret = rebuild->ops->place(visit, &record.mapping.gpa, size,
				  rebuild->priv);
	if (ret == VMEM_PLACE_OUT ||
	    (ret == VMEM_PLACE_SPLIT && level > VMEM_LEVEL_PT))
		return ret;
	if (ret)
		return vmem_callback_errno(ret);

	/* The entries on the way to a smaller page are those of the large one. */
	memcpy(path, visit->path, depth * sizeof(*path));
	for (; depth < mode->top - level; depth++)
		path[depth].raw = vmem_tables_encode(rebuild->tables, mode,
						     mode->top - depth,
						     VMEM_ENTRY_TABLE, 0,
						     ALL_PERMS);
	path[depth].raw = leaf_entry(rb, visit, level);

	return vmem_space_aware_map(&rb->built, &record, path);
}

/* The largest page at @va that the visited leaf and its part hold. */
static int level_at(const struct vmem_visit *visit, u64 va)
{
	const struct vmem_arch *arch = visit->root->mode.arch;
	int level = visit->level;

	while (va & (vmem_level_size(arch, level) - 1) ||
	       visit->last_va - va < vmem_level_size(arch, level) - 1)
		level--;
	return level;
}

/* Counted once it is done: what fails on the way is begun anew. */
static int rebuild_leaf(const struct vmem_visit *visit, void *priv)
{
	const struct vmem_arch *arch = visit->root->mode.arch;
	struct rebuilder *rb = priv;
	u64 va = visit->va, leaves = 0, left_out = 0, size;
	int level, ret;

	for (;;) {
		level = level_at(visit, va);
		do
			ret = rebuild_page(rb, visit, level, va);
		while (ret == VMEM_PLACE_SPLIT && level--);
		if (ret < 0)
			return ret;
		size = vmem_level_size(arch, level);
		if (ret == VMEM_PLACE_OUT)
			left_out += size >> VMEM_PAGE_SHIFT;
		else
			leaves++;
		va += size - 1;
		if (va == visit->last_va)
			break;
		va++;
	}
	rb->rebuild->stats.leaves += leaves;
	rb->rebuild->stats.left_out += left_out;
	return 0;
}

static const struct vmem_walk_ops rebuild_ops = {
	.space = rebuild_space,
	.reference = rebuild_reference,
	.leaf = rebuild_leaf,
	.anomaly = rebuild_anomaly,
	.torn = rebuild_torn,
};

static int begin(struct vmem_rebuild *rebuild)
{
	int ret;

	if (!rebuild->nr_roots || !is_scope_of_pages(&rebuild->scope))
		return -EINVAL;
	ret = make_roots(rebuild);
	if (ret)
		return ret;
	rebuild->root = 0;
	rebuild->va = rebuild->scope.va;
	rebuild->begun = true;
	return 0;
}

int vmem_rebuild(struct vmem_rebuild *rebuild, struct vmem_mem *mem, u64 budget)
{
	struct rebuilder rb = {
		.rebuild = rebuild,
		.built = {
			.tables = rebuild->tables,
			.from = rebuild->roots,
			.roots = rebuild->built,
			.nr = rebuild->nr_roots,
		},
	};
	struct vmem_walk walk = {
		.mem = mem,
		.roots = rebuild->roots,
		.nr_roots = rebuild->nr_roots,
		.scope = rebuild->scope,
		.seen = &rebuild->seen,
		.claim = true,
		.budget = budget,
		.ops = &rebuild_ops,
		.priv = &rb,
	};
	int ret = rebuild->begun ? 0 : begin(rebuild);

	if (ret || rebuild->done)
		return ret;
	walk.root = rebuild->root;
	walk.va = rebuild->va;
	ret = vmem_walk(&walk);
	rebuild->done = !ret;
	rebuild->root = walk.root;
	rebuild->va = walk.va;
	rebuild->stats.tables += walk.tables;
	return ret;
}
