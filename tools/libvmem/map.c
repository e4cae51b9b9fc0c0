// SPDX-License-Identifier: GPL-2.0-only
/*
 * The write side: mappings and links in tables under construction, as callbacks
 * on the walk. Where an entry is missing, a callback writes it and sends the
 * walk there again; nothing here descends by itself.
 */
#include <linux/errno.h>
#include <linux/string.h>
#include <vmem/map.h>

/* A table that is made grants everything: see vmem_map(). */
#define ALL_PERMS (VMEM_WRITABLE | VMEM_USER | VMEM_EXECUTABLE)

/* A table may be one of several levels: it is known by its address alone. */
#define ANY_LEVEL VMEM_LEVEL_PT

u64 vmem_tables_encode(const struct vmem_tables *tables,
		       const struct vmem_mode *mode, int level,
		       enum vmem_entry_kind kind, u64 addr, u32 perms)
{
	u64 raw = mode->arch->encode(mode, level, kind, addr, perms);

	if (!tables->used)
		return raw;
	if (kind == VMEM_ENTRY_LEAF && perms & VMEM_WRITABLE)
		raw |= VMEM_RAW_DIRTY;
	/* A PDPTE of PAE, which denies nothing, has no such bit either. */
	if (mode->formats[level].table_grants)
		return raw;
	return raw | VMEM_RAW_ACCESSED;
}

static bool is_shared(const struct vmem_tables *tables, u64 table)
{
	return vmem_seen_find(&tables->shared, table, ANY_LEVEL,
			      VMEM_WINDOW_ALL);
}

static int reserve_shared(struct vmem_tables *tables)
{
	return tables->ops->update_root ? vmem_seen_reserve(&tables->shared) :
					  0;
}

/* Does not fail after reserve_shared(). */
static int note_shared(struct vmem_tables *tables, u64 table)
{
	const struct vmem_owner owner = {
		.table = table,
		.window = VMEM_WINDOW_ALL,
	};
	int ret;

	if (!tables->ops->update_root || is_shared(tables, table))
		return 0;
	ret = vmem_seen_reserve(&tables->shared);
	if (!ret)
		vmem_seen_add(&tables->shared, ANY_LEVEL, &owner);
	return ret;
}

/* vmem_tables_learn() */

struct learn {
	struct vmem_tables *tables;
	struct vmem_seen seen;
};

/*
 * CR3 is a parent as well: of a root that is given twice, or that is a table. What moves
 * is a page, wherever in it a root of PAE begins.
 */
static int learn_space(const struct vmem_root *root, u32 index, u32 alias_of,
		       void *priv)
{
	struct learn *learn = priv;
	u64 page = root->table & VMEM_PAGE_MASK;
	bool shared = alias_of != index;
	int level;

	for (level = VMEM_LEVEL_PT; level < root->mode.top; level++)
		if (vmem_seen_find(&learn->seen, page, level, VMEM_WINDOW_ALL))
			shared = true;
	return shared ? note_shared(learn->tables, page) : 0;
}

static int learn_reference(const struct vmem_visit *visit, void *priv)
{
	struct learn *learn = priv;

	return note_shared(learn->tables, visit->gpa);
}

static int learn_leaf(const struct vmem_visit *visit, void *priv)
{
	return 0;
}

/* Another entry names the table as one of another level. */
static int learn_anomaly(const struct vmem_visit *visit, void *priv)
{
	if (visit->status == VMEM_ANCESTOR || visit->status == VMEM_CROSS_LEVEL)
		return learn_reference(visit, priv);
	return 0;
}

static const struct vmem_walk_ops learn_ops = {
	.space = learn_space,
	.reference = learn_reference,
	.leaf = learn_leaf,
	.anomaly = learn_anomaly,
};

int vmem_tables_learn(struct vmem_tables *tables, const struct vmem_root *roots,
		      u32 nr_roots)
{
	struct learn learn = { .tables = tables };
	struct vmem_walk walk = {
		.mem = &tables->mem,
		.roots = roots,
		.nr_roots = nr_roots,
		.scope = { .last_va = U64_MAX },
		.seen = &learn.seen,
		.claim = true,
		.budget = U64_MAX,
		.ops = &learn_ops,
		.priv = &learn,
	};
	int ret = vmem_walk(&walk);

	vmem_seen_destroy(&learn.seen);
	return ret;
}

/**
 * struct writer - a walk that writes to what it walks
 * @tables: the tables
 * @root: the space
 * @level: level of the table whose entries are to be written
 * @perms: what the mapping or the link grants
 * @path: entries to write, by level from the root's down, but for their
 *	addresses; NULL to make them up
 */
struct writer {
	struct vmem_tables *tables;
	struct vmem_root *root;
	int level;
	u32 perms;
	const struct vmem_trace *path;
};

static int move_root(struct writer *w, u64 page)
{
	u64 table = page + (w->root->table & ~VMEM_PAGE_MASK);
	int ret = w->tables->ops->update_root(w->tables, w->root, table);

	if (!ret)
		w->root->table = table;
	return vmem_callback_errno(ret);
}

/* Does a write to the entry move its table? */
static bool moves(struct vmem_tables *tables, u64 entry_gpa)
{
	return tables->ops->moves &&
	       tables->ops->moves(tables, entry_gpa & VMEM_PAGE_MASK);
}

/*
 * Can the visited entry be written? A table that moves has the entry above it
 * written as well. A shared one must stay, and this is the time to find out:
 * nothing has been copied yet.
 */
static int check_moves(const struct writer *w, const struct vmem_visit *visit)
{
	int depth = visit->nr_path;

	while (depth--) {
		u64 entry_gpa = visit->path[depth].entry_gpa;

		if (!moves(w->tables, entry_gpa))
			return 0;
		if (is_shared(w->tables, entry_gpa & VMEM_PAGE_MASK))
			return -EMLINK;
	}
	return 0;
}

/* 1 if the entry's table moved, to *@table. */
static int write_entry(struct writer *w, u64 entry_gpa, u64 raw, u64 *table)
{
	struct vmem_tables *tables = w->tables;
	u64 now = entry_gpa;
	int ret;

	ret = tables->ops->write_entry(tables, &now,
				       w->root->mode.arch->entry_size, raw);
	if (ret || now == entry_gpa)
		return vmem_callback_errno(ret);
	if (!moves(tables, entry_gpa))
		return -EINVAL;
	*table = now & VMEM_PAGE_MASK;
	return 1;
}

/*
 * Write the visited entry. If its table moves, the entry above has to name the
 * new one, and so on up to the root. AGAIN if anything moved.
 */
static int write_visited(struct writer *w, const struct vmem_visit *visit,
			 u64 raw)
{
	const struct vmem_mode *mode = &w->root->mode;
	const struct vmem_trace *path = visit->path;
	int depth = visit->nr_path - 1;
	int level = mode->top - depth;
	u64 table;
	int moved = check_moves(w, visit);

	if (!moved)
		moved = write_entry(w, path[depth].entry_gpa, raw, &table);
	if (moved <= 0)
		return moved;
	while (moved > 0 && depth--) {
		level++;
		raw = mode->arch->retarget(mode, level, path[depth].raw, table);
		moved = write_entry(w, path[depth].entry_gpa, raw, &table);
	}
	if (moved > 0)
		moved = move_root(w, table);
	return moved ?: VMEM_WALK_AGAIN;
}

/* The entry of a table of @level that is to name @table. */
static u64 table_entry(const struct writer *w, int level, u64 table, u32 perms)
{
	const struct vmem_mode *mode = &w->root->mode;
	const struct vmem_arch *arch = mode->arch;

	if (w->path)
		return arch->retarget(mode, level,
				      w->path[mode->top - level].raw, table);
	return vmem_tables_encode(w->tables, mode, level, VMEM_ENTRY_TABLE,
				  table, perms);
}

/* The visited entry is to name a table, which is made or given. */
static int write_table(struct writer *w, const struct vmem_visit *visit,
		       u64 table, u32 perms)
{
	const struct vmem_mode *mode = &w->root->mode;
	int level = mode->top - (visit->nr_path - 1);
	u64 raw = table_entry(w, level, table, perms);
	struct vmem_entry entry = vmem_decode(mode, level, raw);

	if (entry.kind != VMEM_ENTRY_TABLE || entry.addr != table)
		return -ERANGE;
	return write_visited(w, visit, raw);
}

static int alloc_table(struct vmem_tables *tables, int level, u64 *table)
{
	int ret = tables->ops->alloc_table(tables, level, table);

	return vmem_callback_errno(ret);
}

/* A table is missing on the way: make it, and go down there. */
static int add_table(struct writer *w, const struct vmem_visit *visit)
{
	u64 table;
	int ret = check_moves(w, visit);

	if (!ret)
		ret = alloc_table(w->tables, visit->level - 1, &table);
	if (!ret)
		ret = write_table(w, visit, table, ALL_PERMS);
	return ret ?: VMEM_WALK_AGAIN;
}

static int walk_writer(struct writer *w, u64 va, u64 last_va,
		       const struct vmem_walk_ops *ops, void *priv)
{
	struct vmem_walk walk = {
		.mem = &w->tables->mem,
		.roots = w->root,
		.nr_roots = 1,
		.scope = { .va = va, .last_va = last_va },
		.va = va,
		.budget = U64_MAX,
		.ops = ops,
		.priv = priv,
	};

	return vmem_walk(&walk);
}

static int refuse_broken(const struct vmem_visit *visit, void *priv)
{
	return -EIO;
}

/* vmem_map(): a walk that checks, and then one that writes */

struct map {
	struct writer w;
	const struct vmem_mapping *mapping;
};

/* The entry that is to map the page of @va. */
static u64 page_entry(const struct map *map, u64 va)
{
	const struct vmem_mapping *mapping = map->mapping;
	const struct vmem_mode *mode = &map->w.root->mode;
	const struct vmem_arch *arch = mode->arch;
	int level = map->w.level;
	u64 gpa = mapping->gpa + (va - mapping->va);
	u64 raw;

	if (map->w.path)
		return arch->retarget(mode, level,
				      map->w.path[mode->top - level].raw, gpa);
	raw = vmem_tables_encode(map->w.tables, mode, level, VMEM_ENTRY_LEAF,
				 gpa, mapping->perms);
	return mapping->kind == VMEM_KIND_COW ? raw | mode->cow_value : raw;
}

static int check_table(const struct vmem_visit *visit, void *priv)
{
	const struct map *map = priv;

	if (visit->level < map->w.level)
		return -EEXIST;
	return map->w.perms & ~visit->perms ? -EACCES : 0;
}

static int check_leaf(const struct vmem_visit *visit, void *priv)
{
	const struct map *map = priv;

	return visit->level == map->w.level ? 0 : -EEXIST;
}

static int check_hole(const struct vmem_visit *visit, void *priv)
{
	return visit->status == VMEM_NON_CANONICAL ? -ERANGE : 0;
}

static const struct vmem_walk_ops check_ops = {
	.table = check_table,
	.leaf = check_leaf,
	.hole = check_hole,
	.anomaly = refuse_broken,
};

static int map_leaf(const struct vmem_visit *visit, void *priv)
{
	struct map *map = priv;
	u64 raw = page_entry(map, visit->va);

	/* Where its table moved, the walk comes by what was written. */
	if (visit->path[visit->nr_path - 1].raw == raw)
		return 0;
	return write_visited(&map->w, visit, raw);
}

static int map_hole(const struct vmem_visit *visit, void *priv)
{
	struct map *map = priv;

	if (visit->level > map->w.level)
		return add_table(&map->w, visit);
	return write_visited(&map->w, visit, page_entry(map, visit->va));
}

static const struct vmem_walk_ops map_ops = {
	.leaf = map_leaf,
	.hole = map_hole,
	.anomaly = refuse_broken,
};

/* A larger page can be unmapped as a whole only. */
static int check_unmap_leaf(const struct vmem_visit *visit, void *priv)
{
	return visit->va == visit->base && visit->last_va - visit->va ==
						   visit->page_size - 1 ?
		       0 :
		       -EEXIST;
}

/* What leads nowhere maps nothing. A table that cannot be read may map a page. */
static int refuse_unreadable(const struct vmem_visit *visit, void *priv)
{
	return visit->status == VMEM_UNREADABLE ||
			       visit->status == VMEM_WITHHELD ?
		       -EIO :
		       0;
}

static const struct vmem_walk_ops check_unmap_ops = {
	.leaf = check_unmap_leaf,
	.hole = check_hole,
	.anomaly = refuse_unreadable,
};

static int unmap_leaf(const struct vmem_visit *visit, void *priv)
{
	struct map *map = priv;

	return write_visited(&map->w, visit, 0);
}

static const struct vmem_walk_ops unmap_ops = {
	.leaf = unmap_leaf,
	.anomaly = refuse_unreadable,
};

/* The level whose entries map pages of this size; 0 if there is none. */
static int level_of_size(const struct vmem_mode *mode, u64 page_size)
{
	int level;

	for (level = VMEM_LEVEL_PT; level <= mode->top; level++)
		if (vmem_level_size(mode->arch, level) == page_size)
			return level;
	return 0;
}

static bool is_aligned(const struct vmem_mapping *mapping, u64 size)
{
	return !((mapping->va | (mapping->last_va + 1) | mapping->gpa) &
		 (size - 1));
}

/* Does the entry of a page say what it is to say? */
static int check_page(const struct map *map, u64 va)
{
	const struct vmem_mode *mode = &map->w.root->mode;
	const struct vmem_mapping *mapping = map->mapping;
	u64 raw = page_entry(map, va);
	struct vmem_entry entry = vmem_decode(mode, map->w.level, raw);

	if (entry.kind != VMEM_ENTRY_LEAF ||
	    entry.addr != mapping->gpa + (va - mapping->va))
		return -ERANGE;
	if (map->w.path)
		return 0;
	return entry.perms == mapping->perms ? 0 : -EINVAL;
}

static int check_mapping(struct map *map)
{
	const struct vmem_mapping *mapping = map->mapping;
	const struct vmem_mode *mode = &map->w.root->mode;
	bool cow = mapping->kind == VMEM_KIND_COW;
	u64 probe, last_gpa;
	int ret;

	if (!cow && mapping->kind != VMEM_KIND_BASIC)
		return -EINVAL;
	if (cow && (!mode->cow_mask || mapping->perms & VMEM_WRITABLE))
		return -EINVAL;
	map->w.level = level_of_size(mode, mapping->page_size);
	if (!map->w.level || !is_aligned(mapping, mapping->page_size))
		return -EINVAL;
	/* Does the format know pages of this size, and these permissions? */
	probe = mode->arch->encode(mode, map->w.level, VMEM_ENTRY_LEAF, 0,
				   mapping->perms);
	if (vmem_decode(mode, map->w.level, probe).kind != VMEM_ENTRY_LEAF)
		return -EINVAL;
	last_gpa = mapping->gpa + (mapping->last_va - mapping->va);
	if (last_gpa < mapping->gpa ||
	    (mapping->gpa ^ last_gpa) >= mode->straight)
		return -ERANGE;
	ret = check_page(map, mapping->va);
	return ret   ?:
		       check_page(map,
				  mapping->last_va + 1 - mapping->page_size);
}

static int map_with(struct vmem_tables *tables, struct vmem_root *root,
		    const struct vmem_mapping *mapping,
		    const struct vmem_trace *path)
{
	struct map map = {
		.w = { .tables = tables,
		       .root = root,
		       .perms = mapping->perms,
		       .path = path },
		.mapping = mapping,
	};
	bool unmap = mapping->kind == VMEM_KIND_UNMAPPED;
	int ret;

	if (mapping->va > mapping->last_va)
		return -EINVAL;
	if (!unmap)
		ret = check_mapping(&map);
	else
		ret = (mapping->va | (mapping->last_va + 1)) & ~VMEM_PAGE_MASK ?
			      -EINVAL :
			      0;
	if (ret)
		return ret;
	ret = walk_writer(&map.w, mapping->va, mapping->last_va,
			  unmap ? &check_unmap_ops : &check_ops, &map);
	if (ret)
		return ret;
	return walk_writer(&map.w, mapping->va, mapping->last_va,
			   unmap ? &unmap_ops : &map_ops, &map);
}

int vmem_map(struct vmem_tables *tables, struct vmem_root *root,
	     const struct vmem_mapping *mapping)
{
	return map_with(tables, root, mapping, NULL);
}

/* vmem_space_aware_map() */

/**
 * struct link - a link to a table, or the search for one
 * @w: the walk; its @level is that of the entries that name such tables
 * @table: the table
 * @found: the owner has one
 * @cleared: there was an entry, and it is empty now
 */
struct link {
	struct writer w;
	u64 table;
	bool found;
	bool cleared;
};

static int refuse_page(const struct vmem_visit *visit, void *priv)
{
	return -EEXIST;
}

static int stop_there(const struct vmem_visit *visit, void *priv)
{
	return VMEM_WALK_STOP;
}

static int find_nothing(const struct vmem_visit *visit, void *priv)
{
	return refuse_unreadable(visit, priv) ?: VMEM_WALK_STOP;
}

static int find_table(const struct vmem_visit *visit, void *priv)
{
	struct link *link = priv;

	if (visit->level >= link->w.level)
		return 0;
	link->table = visit->gpa;
	link->found = true;
	return VMEM_WALK_STOP;
}

static const struct vmem_walk_ops find_ops = {
	.table = find_table,
	.leaf = refuse_page,
	.hole = stop_there,
	.anomaly = find_nothing,
};

static int clear_visited(struct link *link, const struct vmem_visit *visit)
{
	int ret = write_visited(&link->w, visit, 0);

	if (ret < 0)
		return ret;
	link->cleared = true;
	return VMEM_WALK_STOP;
}

static int clear_table(const struct vmem_visit *visit, void *priv)
{
	struct link *link = priv;

	if (visit->level >= link->w.level)
		return 0;
	return clear_visited(link, visit);
}

static int clear_leaf(const struct vmem_visit *visit, void *priv)
{
	struct link *link = priv;

	if (visit->level != link->w.level)
		return -EEXIST;
	return clear_visited(link, visit);
}

static int clear_hole(const struct vmem_visit *visit, void *priv)
{
	struct link *link = priv;

	if (visit->level != link->w.level)
		return VMEM_WALK_STOP;
	return clear_visited(link, visit);
}

/* What names a table that is not there is an entry above ours. */
static int clear_anomaly(const struct vmem_visit *visit, void *priv)
{
	int ret = refuse_unreadable(visit, priv);

	if (ret || visit->status == VMEM_UNBACKED)
		return ret ?: VMEM_WALK_STOP;
	return clear_hole(visit, priv);
}

static const struct vmem_walk_ops clear_ops = {
	.table = clear_table,
	.leaf = clear_leaf,
	.hole = clear_hole,
	.anomaly = clear_anomaly,
};

static int link_visited(struct link *link, const struct vmem_visit *visit)
{
	int ret = write_table(&link->w, visit, link->table, link->w.perms);

	return ret < 0 ? ret : VMEM_WALK_STOP;
}

static int link_table(const struct vmem_visit *visit, void *priv)
{
	struct link *link = priv;

	if (visit->level >= link->w.level)
		return link->w.perms & ~visit->perms ? -EACCES : 0;
	return link_visited(link, visit);
}

static int link_hole(const struct vmem_visit *visit, void *priv)
{
	struct link *link = priv;

	if (visit->status == VMEM_NON_CANONICAL)
		return -ERANGE;
	if (visit->level > link->w.level)
		return add_table(&link->w, visit);
	return link_visited(link, visit);
}

static const struct vmem_walk_ops link_ops = {
	.table = link_table,
	.leaf = refuse_page,
	.hole = link_hole,
	.anomaly = refuse_broken,
};

/*
 * Level of the tables that a reference calls by this name; 0 if none are. That of the
 * root is none, though the format may have deeper roots.
 */
static int table_level(const struct vmem_mode *mode, u32 table)
{
	int level;

	for (level = VMEM_LEVEL_PT; table && level < mode->top; level++)
		if (vmem_shared_table(mode->arch, level) == table)
			return level;
	return 0;
}

static int walk_link(struct link *link, u64 va, const struct vmem_walk_ops *ops)
{
	int ret = walk_writer(&link->w, va, va, ops, link);

	return ret == VMEM_WALK_STOP ? 0 : ret;
}

/* Can the entry that is to name the table say these permissions? */
static bool can_say_perms(const struct link *link)
{
	const struct vmem_mode *mode = &link->w.root->mode;
	int level = link->w.level;
	u64 raw = table_entry(&link->w, level, 0, link->w.perms);
	struct vmem_entry entry = vmem_decode(mode, level, raw);

	return link->w.path ||
	       (entry.kind == VMEM_ENTRY_TABLE && entry.perms == link->w.perms);
}

/* A table has one parent more only once there is a link to it. */
static int make_link(struct link *link, u64 our_va)
{
	struct vmem_tables *tables = link->w.tables;
	int ret = can_say_perms(link) ? reserve_shared(tables) : -EINVAL;

	if (!ret)
		ret = walk_link(link, our_va, &link_ops);
	return ret ?: note_shared(tables, link->table);
}

static int map_reference(struct vmem_built *built, struct vmem_root *root,
			 const struct vmem_reference *reference,
			 const struct vmem_trace *path)
{
	u32 owner = reference->owner_root;
	int level = table_level(&root->mode, reference->table);
	struct link link = {
		.w = { .tables = built->tables,
		       .level = level + 1,
		       .perms = reference->perms,
		       .path = path },
	};
	int ret;

	if (owner >= built->nr || built->from[owner].table != reference->space)
		return -ENOENT;
	if (!level)
		return -EINVAL;

	link.w.root = &built->roots[owner];
	ret = walk_link(&link, reference->their_va, &find_ops);
	if (ret)
		return ret;

	link.w.root = root;
	if (!link.found) {
		ret = walk_link(&link, reference->our_va, &clear_ops);
		if (ret)
			return ret;
		return link.cleared ? VMEM_MAP_CLEARED : VMEM_MAP_ABSENT;
	}
	return make_link(&link, reference->our_va);
}

int vmem_space_aware_map(struct vmem_built *built,
			 const struct vmem_record *record,
			 const struct vmem_trace *path)
{
	struct vmem_root *root;

	if (record->root >= built->nr)
		return -ENOENT;
	root = &built->roots[record->root];
	switch (record->type) {
	case VMEM_THIS_SPACE:
		return map_with(built->tables, root, &record->mapping, path);
	case VMEM_ALIASING:
		return map_reference(built, root, &record->reference, path);
	default:
		return -EINVAL;
	}
}
