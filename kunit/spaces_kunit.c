// SPDX-License-Identifier: GPL-2.0-only
/*
 * Many spaces at once: one scenario for each rule of what is owned, what is a
 * reference, and what a translation says about it. Each is compared with the
 * oracle besides what it says itself.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "oracle.h"

KUNIT_ARRAY_PARAM(share, shares, share_desc);
KUNIT_ARRAY_PARAM(mode, modes, mode_desc);

/* Indices that the shared table and those below it use. */
#define SLOT_PAGES 1
#define SLOT_CHILD 3
#define SLOT_EMPTY 5
#define SLOT_USER 7

/* What they map is merged to so many mappings in each table. */
#define MAPPINGS_PER_TABLE 3

#define MAX_SPACES 3

/**
 * struct scene - some spaces and a table that they may share
 * @test: the test it belongs to
 * @share: the parameter of the test, where it is one
 * @g: the spaces
 * @o: what is to be told
 * @r: what is told
 * @roots: root tables, of no group until they are added
 * @table: the table to share
 */
struct scene {
	struct kunit *test;
	const struct share *share;
	struct group *g;
	struct oracle *o;
	struct records *r;
	u64 roots[MAX_SPACES];
	u64 table;
};

static struct scene *scene_of_mode(struct kunit *test, const struct mode *mode)
{
	struct scene *sc = kunit_kzalloc(test, sizeof(*sc), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, sc);
	sc->test = test;
	sc->g = group_alloc(test, mode);
	sc->o = oracle_alloc(test);
	sc->r = records_alloc(test);
	return sc;
}

static void fill_table(struct scene *sc, u64 table, int level)
{
	struct space *s = sc->g->s;
	u64 gpa = space_frame(s, level), size = space_span(s, level);
	int last = (1 << s->mode->index_bits) - 1;
	u64 child;

	if (level <= s->mode->max_leaf) {
		group_put(sc->g, table, SLOT_PAGES,
			  space_leaf(s, level, gpa, PTE_PWU));
		group_put(sc->g, table, SLOT_PAGES + 1,
			  space_leaf(s, level, gpa + size, PTE_PWU));
		group_put(sc->g, table, SLOT_USER,
			  space_leaf(s, level, gpa, PTE_P | PTE_U));
		group_put(sc->g, table, last,
			  space_leaf(s, level, gpa, PTE_P | PTE_W));
	}
	if (level == 1)
		return;
	child = group_add_table(sc->g);
	group_put(sc->g, table, SLOT_CHILD, child | PTE_PWU);
	fill_table(sc, child, level - 1);
}

/* Empty roots, and a table of the level to share with all kinds of pages. */
static void scene_reset(struct scene *sc)
{
	int i;

	group_reset(sc->g, true);
	for (i = 0; i < MAX_SPACES; i++)
		sc->roots[i] = group_new_root(sc->g);
	sc->table = group_add_table(sc->g);
	fill_table(sc, sc->table, sc->share ? sc->share->level : 1);
}

static struct scene *scene_alloc(struct kunit *test)
{
	const struct share *share = test->param_value;
	struct scene *sc = scene_of_mode(test, share->mode);

	sc->share = share;
	scene_reset(sc);
	return sc;
}

static struct scene *scene_alloc_mode(struct kunit *test)
{
	struct scene *sc = scene_of_mode(test, test->param_value);

	scene_reset(sc);
	return sc;
}

/* The @nth region that a table of @level can map. */
static u64 region_at(const struct scene *sc, int level, int nth)
{
	u64 size = group_region(sc->g, level);

	return (sc->g->s->mode->va & -size) + nth * size;
}

static u64 at(const struct scene *sc, int nth)
{
	return region_at(sc, sc->share->level, nth);
}

static u64 region_size(const struct scene *sc)
{
	return group_region(sc->g, sc->share->level);
}

/* Let a root have the shared table in the @nth region. */
static void link_at(struct scene *sc, u64 root, int nth, u64 flags)
{
	group_link(sc->g, root, at(sc, nth), sc->share->level, sc->table,
		   flags);
}

/* Levels of tables in the shared one, itself among them, that have pages. */
static int page_levels(const struct scene *sc)
{
	return min(sc->share->level, sc->g->s->mode->max_leaf);
}

/* Let the last entry of a root name the page that root @to is in. */
static void link_root(struct scene *sc, int i, int to)
{
	const struct space *s = sc->g->s;
	int top = s->mode->top;

	group_put(sc->g, sc->roots[i], mode_entries(s->mode, top) - 1,
		  space_link(s, top, sc->roots[to] & VMEM_PAGE_MASK, PTE_PWU));
}

static void add_space(struct scene *sc, int i)
{
	group_add_root(sc->g, sc->roots[i]);
}

static void expect_told(struct scene *sc)
{
	KUNIT_ASSERT_TRUE(sc->test, oracle_check(sc->o, sc->g, sc->r));
}

static void expect_count(struct scene *sc, u32 type, int nr)
{
	KUNIT_EXPECT_EQ(sc->test, records_count(sc->r, type), nr);
}

static const struct vmem_record *get(struct scene *sc, u32 type, int nth)
{
	const struct vmem_record *r = records_get(sc->r, type, nth);

	KUNIT_ASSERT_NOT_NULL(sc->test, r);
	return r;
}

/* The @nth reference is to the shared table: whose, where, and by whom. */
static void expect_reference(struct scene *sc, int nth, u32 root, u64 our_va,
			     u32 owner, u64 their_va)
{
	struct vmem_record want = {
		.type = VMEM_ALIASING,
		.root = root,
		.reference = {
			.table = sc->share->name,
			.perms = ALL_PERMS,
			.table_gpa = sc->table,
			.space = sc->g->roots[owner].table,
			.our_va = our_va,
			.their_va = their_va,
			.len = region_size(sc),
			.owner_root = owner,
			.owner_perms = ALL_PERMS,
		},
	};

	KUNIT_EXPECT_TRUE(sc->test,
			  record_equal(get(sc, VMEM_ALIASING, nth), &want));
}

/* Translate, after a walk of all. */
static struct vmem_translation shared(struct scene *sc, u32 root, u64 va)
{
	struct vmem_translation t = {};
	struct vmem_spaces spaces;
	int ret;

	group_walk_all(sc->g, &spaces, sc->r);
	ret = vmem_translate_shared(&sc->g->s->guest->mem, &spaces, root, va,
				    &t);
	vmem_spaces_destroy(&spaces);
	KUNIT_ASSERT_EQ(sc->test, ret, 0);
	return t;
}

/* Offset in the shared table of @index in the table of @level in it. */
static u64 inside(const struct scene *sc, int level, int index)
{
	u64 offset = index * space_span(sc->g->s, level);
	int l;

	for (l = sc->share->level; l > level; l--)
		offset += SLOT_CHILD * space_span(sc->g->s, l);
	return offset;
}

/* What @root has in the @nth region is the owner's, and really there. */
static void expect_shared(struct scene *sc, u32 root, int nth, u32 owner,
			  int their_nth)
{
	u64 space = sc->g->roots[owner].table;
	struct vmem_translation t;
	u64 offset, size;
	int level;

	for (level = page_levels(sc); level >= 1; level--) {
		size = space_span(sc->g->s, level);
		offset = inside(sc, level, SLOT_PAGES + 1) + 0x123;
		t = shared(sc, root, at(sc, nth) + offset);
		KUNIT_EXPECT_EQ(sc->test, t.out_status, (u32)VMEM_MAPPED);
		KUNIT_EXPECT_EQ(sc->test, t.out_page_size, size);
		KUNIT_EXPECT_EQ(sc->test, t.out_gpa,
				space_frame(sc->g->s, level) + size + 0x123);
		KUNIT_EXPECT_EQ(sc->test, t.out_perms, ALL_PERMS);
		KUNIT_EXPECT_EQ(sc->test, t.out_referenced, 1U);
		KUNIT_EXPECT_EQ(sc->test, t.out_owner_space, space);
		KUNIT_EXPECT_EQ(sc->test, t.out_owner_root, owner);
		KUNIT_EXPECT_EQ(sc->test, t.out_owner_va,
				at(sc, their_nth) + offset);
	}
}

/* Nothing at the referenced spot means nothing here. */
static void expect_nothing_shared(struct scene *sc, u32 root, int nth)
{
	struct vmem_translation t;
	int level;

	for (level = sc->share->level; level >= 1; level--) {
		t = shared(sc, root,
			   at(sc, nth) + inside(sc, level, SLOT_EMPTY));
		KUNIT_EXPECT_EQ(sc->test, t.out_status, (u32)VMEM_NOT_PRESENT);
		KUNIT_EXPECT_EQ(sc->test, t.out_level, (u32)level);
		KUNIT_EXPECT_EQ(sc->test, t.out_referenced, 0U);
		KUNIT_EXPECT_EQ(sc->test, t.out_owner_space, 0ULL);
		KUNIT_EXPECT_EQ(sc->test, t.out_owner_va, 0ULL);
	}
}

static void two_sharers(struct kunit *test, int nth)
{
	struct scene *sc = scene_alloc(test);

	link_at(sc, sc->roots[0], 1, PTE_PWU);
	link_at(sc, sc->roots[1], nth, PTE_PWU);
	add_space(sc, 0);
	add_space(sc, 1);
	expect_told(sc);
	expect_count(sc, VMEM_SPACE, 2);
	expect_count(sc, VMEM_ANOMALY, 0);
	expect_count(sc, VMEM_ALIASING, 1);
	expect_count(sc, VMEM_THIS_SPACE, page_levels(sc) * MAPPINGS_PER_TABLE);
	expect_reference(sc, 0, 1, at(sc, nth), 0, at(sc, 1));
	expect_shared(sc, 1, nth, 0, 1);
	expect_nothing_shared(sc, 1, nth);
}

static void vmem_spaces_same_address(struct kunit *test)
{
	two_sharers(test, 1);
}

static void vmem_spaces_other_address(struct kunit *test)
{
	two_sharers(test, 3);
	two_sharers(test, 0);
}

/* The owner's own table is not a shared one to the owner. */
static void vmem_spaces_owner(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	struct vmem_translation t;

	link_at(sc, sc->roots[0], 1, PTE_PWU);
	link_at(sc, sc->roots[1], 1, PTE_PWU);
	add_space(sc, 0);
	add_space(sc, 1);
	t = shared(sc, 0, at(sc, 1) + inside(sc, 1, SLOT_PAGES));
	KUNIT_EXPECT_EQ(test, t.out_status, (u32)VMEM_MAPPED);
	KUNIT_EXPECT_EQ(test, t.out_referenced, 0U);
	KUNIT_EXPECT_EQ(test, t.out_owner_space, 0ULL);
	KUNIT_EXPECT_EQ(test, t.out_owner_va, 0ULL);
}

static void vmem_spaces_three_sharers(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	int i;

	for (i = 0; i < 3; i++) {
		link_at(sc, sc->roots[i], i, PTE_PWU);
		add_space(sc, i);
	}
	expect_told(sc);
	expect_count(sc, VMEM_ALIASING, 2);
	expect_reference(sc, 0, 1, at(sc, 1), 0, at(sc, 0));
	expect_reference(sc, 1, 2, at(sc, 2), 0, at(sc, 0));
	expect_shared(sc, 1, 1, 0, 0);
	expect_shared(sc, 2, 2, 0, 0);
}

static const u8 orders[][3] = {
	{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
	{ 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
};

/* Space i has the table in region i, whatever the order is. */
static void expect_order(struct scene *sc, const u8 *order)
{
	int i;

	sc->g->nr_roots = 0;
	for (i = 0; i < 3; i++)
		add_space(sc, order[i]);
	expect_told(sc);
	expect_count(sc, VMEM_ALIASING, 2);
	for (i = 1; i < 3; i++) {
		expect_reference(sc, i - 1, i, at(sc, order[i]), 0,
				 at(sc, order[0]));
		expect_shared(sc, i, order[i], 0, order[0]);
		expect_nothing_shared(sc, i, order[i]);
	}
}

static void vmem_spaces_permuted(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	int i;

	for (i = 0; i < 3; i++)
		link_at(sc, sc->roots[i], i, PTE_PWU);
	for (i = 0; i < (int)ARRAY_SIZE(orders); i++)
		expect_order(sc, orders[i]);
}

static void vmem_spaces_same_root(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);

	link_at(sc, sc->roots[0], 0, PTE_PWU);
	link_at(sc, sc->roots[0], 2, PTE_PWU);
	add_space(sc, 0);
	expect_told(sc);
	expect_count(sc, VMEM_ALIASING, 1);
	expect_reference(sc, 0, 0, at(sc, 2), 0, at(sc, 0));
	expect_shared(sc, 0, 2, 0, 0);
	expect_nothing_shared(sc, 0, 2);
}

/* The last region of the address space, whose end is the end. */
static void vmem_spaces_last_region(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	u64 last = sc->g->s->mode->last & -region_size(sc);
	struct vmem_translation t;

	link_at(sc, sc->roots[0], 1, PTE_PWU);
	group_link(sc->g, sc->roots[0], last, sc->share->level, sc->table,
		   PTE_PWU);
	group_link(sc->g, sc->roots[1], last, sc->share->level, sc->table,
		   PTE_PWU);
	add_space(sc, 0);
	add_space(sc, 1);
	expect_told(sc);
	expect_count(sc, VMEM_ALIASING, 2);
	expect_reference(sc, 0, 0, last, 0, at(sc, 1));
	expect_reference(sc, 1, 1, last, 0, at(sc, 1));
	if (page_levels(sc) < sc->share->level)
		return;
	t = shared(sc, 1, sc->g->s->mode->last);
	KUNIT_EXPECT_EQ(test, t.out_status, (u32)VMEM_MAPPED);
	KUNIT_EXPECT_EQ(test, t.out_owner_va, at(sc, 1) + region_size(sc) - 1);
}

static void expect_space(struct scene *sc, int nth, u32 alias_of)
{
	struct vmem_record want = {
		.type = VMEM_SPACE,
		.root = nth,
		.space = {
			.space = sc->g->roots[nth].table,
			.alias_of = alias_of,
		},
	};

	KUNIT_EXPECT_TRUE(sc->test,
			  record_equal(get(sc, VMEM_SPACE, nth), &want));
}

/* The flags in CR3 do not make another root of it. */
static void vmem_spaces_root_twice(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);

	link_at(sc, sc->roots[0], 0, PTE_PWU);
	link_at(sc, sc->roots[1], 1, PTE_PWU);
	add_space(sc, 0);
	group_add_root(sc->g, sc->roots[0] | 0x18);
	add_space(sc, 1);
	add_space(sc, 0);
	expect_told(sc);
	expect_space(sc, 0, 0);
	expect_space(sc, 1, 0);
	expect_space(sc, 2, 2);
	expect_space(sc, 3, 0);
	expect_count(sc, VMEM_ALIASING, 1);
	expect_reference(sc, 0, 2, at(sc, 1), 0, at(sc, 0));
	expect_shared(sc, 2, 1, 0, 0);
}

static void vmem_spaces_root_again(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);

	link_at(sc, sc->roots[0], 0, PTE_PWU);
	link_at(sc, sc->roots[1], 1, PTE_PWU);
	add_space(sc, 0);
	add_space(sc, 1);
	add_space(sc, 0);
	expect_told(sc);
	expect_space(sc, 0, 0);
	expect_space(sc, 1, 1);
	expect_space(sc, 2, 0);
	expect_count(sc, VMEM_ALIASING, 1);
	expect_reference(sc, 0, 1, at(sc, 1), 0, at(sc, 0));
	/* Nothing of it follows. */
	KUNIT_EXPECT_EQ(test, sc->r->r[sc->r->nr - 1].type, (u32)VMEM_SPACE);
}

/* A root that is given twice is its own, not somebody else's. */
static void vmem_spaces_root_twice_owner(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	struct vmem_translation t;

	link_at(sc, sc->roots[0], 0, PTE_PWU);
	add_space(sc, 0);
	add_space(sc, 0);
	t = shared(sc, 1, at(sc, 0) + inside(sc, 1, SLOT_PAGES));
	KUNIT_EXPECT_EQ(test, t.out_status, (u32)VMEM_MAPPED);
	KUNIT_EXPECT_EQ(test, t.out_referenced, 0U);
	KUNIT_EXPECT_EQ(test, t.out_owner_space, 0ULL);
}

static void expect_mapping(struct scene *sc, int nth, u32 root, u64 va,
			   u64 last_va, u64 gpa, u64 page_size)
{
	const struct vmem_record *r = get(sc, VMEM_THIS_SPACE, nth);

	KUNIT_EXPECT_EQ(sc->test, r->root, root);
	KUNIT_EXPECT_EQ(sc->test, r->mapping.va, va);
	KUNIT_EXPECT_EQ(sc->test, r->mapping.last_va, last_va);
	KUNIT_EXPECT_EQ(sc->test, r->mapping.gpa, gpa);
	KUNIT_EXPECT_EQ(sc->test, r->mapping.page_size, page_size);
}

/*
 * The range has the last page of one region and the first two of the next. In
 * the first space the table is in the one, in the second space in the other: a
 * reference would bring in what is not in the range, and lose what is.
 */
static void vmem_spaces_clipped_range(struct kunit *test)
{
	struct scene *sc = scene_alloc_mode(test);
	u64 size = group_region(sc->g, 1), frame = space_frame(sc->g->s, 1);
	int i, last = (1 << sc->g->s->mode->index_bits) - 1;

	for (i = 0; i <= last; i++)
		group_put(sc->g, sc->table, i,
			  (frame + (last - i) * SZ_4K) | PTE_PWU);
	group_link(sc->g, sc->roots[0], 0, 1, sc->table, PTE_PWU);
	group_link(sc->g, sc->roots[1], size, 1, sc->table, PTE_PWU);
	add_space(sc, 0);
	add_space(sc, 1);
	/* 2-level: 0x3ff000 to 0x401fff */
	group_set_range(sc->g, size - SZ_4K, size + SZ_8K - 1);
	expect_told(sc);
	KUNIT_EXPECT_EQ(test, sc->r->nr, 5);
	expect_mapping(sc, 0, 0, size - SZ_4K, size - 1, frame, SZ_4K);
	expect_mapping(sc, 1, 1, size, size + SZ_4K - 1, frame + last * SZ_4K,
		       SZ_4K);
	expect_mapping(sc, 2, 1, size + SZ_4K, size + SZ_8K - 1,
		       frame + (last - 1) * SZ_4K, SZ_4K);
}

static void vmem_spaces_partial_same_address(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);

	link_at(sc, sc->roots[0], 1, PTE_PWU);
	link_at(sc, sc->roots[1], 1, PTE_PWU);
	add_space(sc, 0);
	add_space(sc, 1);
	group_set_range(sc->g, at(sc, 1) + inside(sc, sc->share->level, 2),
			U64_MAX);
	expect_told(sc);
	expect_count(sc, VMEM_ALIASING, 1);
	expect_reference(sc, 0, 1, at(sc, 1), 0, at(sc, 1));
	expect_shared(sc, 1, 1, 0, 1);
}

static void vmem_spaces_partial_other_address(struct kunit *test)
{
	struct scene *sc = scene_of_mode(test, test->param_value);
	u64 size = group_region(sc->g, 1), va;

	scene_reset(sc);
	va = region_at(sc, 1, 0);
	group_link(sc->g, sc->roots[0], va, 1, sc->table, PTE_PWU);
	group_link(sc->g, sc->roots[1], va + size, 1, sc->table, PTE_PWU);
	add_space(sc, 0);
	add_space(sc, 1);
	/* Whole in the first space, in part in the second; and the reverse. */
	group_set_range(sc->g, va, va + size + 2 * SZ_4K - 1);
	expect_told(sc);
	expect_count(sc, VMEM_ALIASING, 0);
	expect_count(sc, VMEM_THIS_SPACE, MAPPINGS_PER_TABLE + 1);
	group_set_range(sc->g, va + 2 * SZ_4K, va + 2 * size - 1);
	expect_told(sc);
	expect_count(sc, VMEM_ALIASING, 0);
	expect_count(sc, VMEM_THIS_SPACE, 2 * MAPPINGS_PER_TABLE);
}

/**
 * struct exclusion - a range to exclude, and what becomes of references
 * @desc: for people
 * @from: region that it begins in; -1 for address 0
 * @from_slot: the entry that it begins with
 * @to: region that it ends in; -1 for the last address
 * @to_slot: the entry that it ends before
 * @same: references if both spaces have the table in region 1
 * @other: references if the second one has it in region 2
 */
struct exclusion {
	const char *desc;
	int from;
	int from_slot;
	int to;
	int to_slot;
	int same;
	int other;
};

/* clang-format off */
static const struct exclusion exclusions[] = {
	{ "inside the table", 1, 2, 1, 3, 1, 0 },
	{ "its first entry", 1, 0, 1, 1, 1, 0 },
	{ "up to its end", 1, 7, 2, 0, 1, 0 },
	{ "all of it", 1, 0, 2, 0, 0, 0 },
	{ "it and its neighbours", 0, 7, 3, 2, 0, 0 },
	{ "straddling its start", 0, 7, 1, 2, 1, 0 },
	{ "straddling its end", 1, 7, 2, 2, 1, 0 },
	{ "before it", 0, 0, 1, 0, 1, 1 },
	{ "behind both", 3, 0, 4, 0, 1, 1 },
	{ "all up to its middle", -1, 0, 1, 2, 1, 0 },
	{ "all up to it", -1, 0, 1, 0, 1, 1 },
	{ "all from its middle", 1, 2, -1, 0, 1, 0 },
	{ "all behind both", 3, 0, -1, 0, 1, 1 },
	{ "everything", -1, 0, -1, 0, 0, 0 },
};

/* clang-format on */

/* No record has a page or an anomaly in what is excluded. */
static bool keeps_out(struct scene *sc)
{
	const struct vmem_span *out = sc->g->excluded;
	u64 va, last_va;
	int i;

	for (i = 0; i < sc->r->nr; i++) {
		const struct vmem_record *r = &sc->r->r[i];

		if (r->type != VMEM_THIS_SPACE && r->type != VMEM_ANOMALY)
			continue;
		va = r->type == VMEM_ANOMALY ? r->anomaly.va : r->mapping.va;
		last_va = r->type == VMEM_ANOMALY ? r->anomaly.last_va :
						    r->mapping.last_va;
		if (va <= out->last_va && last_va >= out->va)
			return false;
	}
	return true;
}

/* References to the shared table itself, not to one below it. */
static int count_shared(const struct scene *sc)
{
	int i, nr = 0;

	for (i = 0; i < sc->r->nr; i++) {
		const struct vmem_record *r = &sc->r->r[i];

		nr += r->type == VMEM_ALIASING &&
		      r->reference.table_gpa == sc->table;
	}
	return nr;
}

static void expect_excluded(struct scene *sc, const struct exclusion *e,
			    int nth)
{
	u64 slot = space_span(sc->g->s, sc->share->level);
	u64 va = 0, last_va = U64_MAX;
	int want = nth == 1 ? e->same : e->other;

	scene_reset(sc);
	link_at(sc, sc->roots[0], 1, PTE_PWU);
	link_at(sc, sc->roots[1], nth, PTE_PWU);
	add_space(sc, 0);
	add_space(sc, 1);
	if (e->from >= 0)
		va = at(sc, e->from) + e->from_slot * slot;
	if (e->to >= 0)
		last_va = at(sc, e->to) + e->to_slot * slot - 1;
	group_exclude(sc->g, va, last_va);
	KUNIT_EXPECT_TRUE_MSG(sc->test, oracle_check(sc->o, sc->g, sc->r), "%s",
			      e->desc);
	KUNIT_EXPECT_TRUE_MSG(sc->test, keeps_out(sc), "%s", e->desc);
	KUNIT_EXPECT_EQ_MSG(sc->test, count_shared(sc), want, "%s", e->desc);
}

static void vmem_spaces_excluded(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	int i;

	for (i = 0; i < (int)ARRAY_SIZE(exclusions); i++) {
		expect_excluded(sc, &exclusions[i], 1);
		expect_excluded(sc, &exclusions[i], 2);
	}
}

/* Many exclusions, next to each other and to the ends of the range. */
static void vmem_spaces_excluded_adjacent(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	u64 slot = space_span(sc->g->s, sc->share->level);
	u64 va = at(sc, 1), last_va = va + region_size(sc) - 1;

	link_at(sc, sc->roots[0], 1, PTE_PWU);
	link_at(sc, sc->roots[1], 1, PTE_PWU);
	add_space(sc, 0);
	add_space(sc, 1);
	group_set_range(sc->g, va + 1, last_va - 1);
	group_exclude(sc->g, va - 5, va + 9);
	group_exclude(sc->g, va + 10, va + slot - 1);
	group_exclude(sc->g, va + 2 * slot, va + 2 * slot);
	group_exclude(sc->g, va + 2 * slot + 1, va + 2 * slot + 1);
	group_exclude(sc->g, va + 2 * slot + 3, va + 2 * slot + 4);
	group_exclude(sc->g, last_va - 9, last_va - 1);
	expect_told(sc);
	expect_count(sc, VMEM_ALIASING, 1);
}

/* A page with an exclusion in it is two clipped mappings. */
static void vmem_spaces_excluded_in_page(struct kunit *test)
{
	struct scene *sc = scene_alloc_mode(test);
	struct space *s = sc->g->s;
	u64 va, gpa, size, from, to;
	int level;

	for (level = 1; level <= s->mode->max_leaf; level++) {
		scene_reset(sc);
		va = region_at(sc, level, 0) + space_span(s, level);
		gpa = space_frame(s, level);
		size = space_span(s, level);
		from = size / 4 + 3;
		to = size / 2 + 5;
		group_set(sc->g, sc->roots[0], va, level,
			  space_leaf(s, level, gpa, PTE_PWU));
		add_space(sc, 0);
		group_exclude(sc->g, va + from, va + to);
		expect_told(sc);
		expect_count(sc, VMEM_THIS_SPACE, 2);
		expect_mapping(sc, 0, 0, va, va + from - 1, gpa, size);
		expect_mapping(sc, 1, 0, va + to + 1, va + size - 1,
			       gpa + to + 1, size);
	}
}

/*
 * Tables that refer to themselves.
 */
static struct vmem_spaces_stats stats_of(struct scene *sc)
{
	struct vmem_spaces_stats stats;
	struct vmem_spaces spaces;

	group_walk_all(sc->g, &spaces, sc->r);
	stats = spaces.stats;
	vmem_spaces_destroy(&spaces);
	return stats;
}

/* A table that is referred to is told once, exclusions in it or not. */
static void vmem_spaces_excluded_once(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	u64 slot = space_span(sc->g->s, sc->share->level);
	int i;

	link_at(sc, sc->roots[0], 1, PTE_PWU);
	link_at(sc, sc->roots[1], 1, PTE_PWU);
	add_space(sc, 0);
	add_space(sc, 1);
	for (i = 2; i < 9; i += 2)
		group_exclude(sc->g, at(sc, 1) + i * slot,
			      at(sc, 1) + i * slot + slot / 2);
	KUNIT_EXPECT_EQ(test, stats_of(sc).references, 1ULL);
	expect_count(sc, VMEM_ALIASING, 1);
	expect_told(sc);
}

static int count_anomalies(const struct scene *sc, enum vmem_status status,
			   int level, u64 table)
{
	int i, nr = 0;

	for (i = 0; i < sc->r->nr; i++) {
		const struct vmem_record *r = &sc->r->r[i];

		nr += r->type == VMEM_ANOMALY && r->anomaly.status == status &&
		      r->anomaly.level == (u32)level &&
		      r->anomaly.table_gpa == table;
	}
	return nr;
}

static void expect_anomalies(struct scene *sc, enum vmem_status status,
			     int level, u64 table, int nr)
{
	KUNIT_EXPECT_EQ(sc->test, count_anomalies(sc, status, level, table),
			nr);
}

/* The root is seen once at each level, whatever names it how often. */
static void expect_self_map(struct scene *sc)
{
	int level, top = sc->g->s->mode->top;
	struct vmem_spaces_stats stats;

	expect_told(sc);
	for (level = 1; level < top; level++)
		expect_anomalies(sc, VMEM_ANCESTOR, level,
				 sc->roots[0] & VMEM_PAGE_MASK, 1);
	stats = stats_of(sc);
	KUNIT_EXPECT_LE(sc->test, stats.tables, stats.known);
	KUNIT_EXPECT_EQ(sc->test, stats.tables, (u64)sc->o->nr_keys);
}

static void vmem_spaces_self_map(struct kunit *test)
{
	struct scene *sc = scene_alloc_mode(test);

	group_link(sc->g, sc->roots[0], region_at(sc, 1, 0), 1, sc->table,
		   PTE_PWU);
	link_root(sc, 0, 0);
	add_space(sc, 0);
	expect_self_map(sc);
	/* A second space that has the same, of its own. */
	group_link(sc->g, sc->roots[1], region_at(sc, 1, 0), 1, sc->table,
		   PTE_PWU);
	link_root(sc, 1, 1);
	add_space(sc, 1);
	expect_self_map(sc);
}

static void vmem_spaces_self_map_everywhere(struct kunit *test)
{
	struct scene *sc = scene_alloc_mode(test);
	const struct space *s = sc->g->s;
	int top = s->mode->top;
	int i, nr = mode_entries(s->mode, top);

	for (i = 0; i < nr; i++)
		group_put(sc->g, sc->roots[0], i,
			  space_link(s, top, sc->roots[0] & VMEM_PAGE_MASK,
				     PTE_PWU));
	add_space(sc, 0);
	expect_self_map(sc);
	KUNIT_EXPECT_EQ(test, stats_of(sc).tables, (u64)top);
	KUNIT_EXPECT_EQ(test, stats_of(sc).leaves, (u64)nr);
	expect_count(sc, VMEM_ANOMALY, top - 1);
	expect_count(sc, VMEM_ALIASING, (top - 1) * (nr - 1));
}

/* One space's root is another's page table. */
static void vmem_spaces_cross_level_root(struct kunit *test)
{
	struct scene *sc = scene_alloc_mode(test);
	u64 va = region_at(sc, 1, 0);

	if (sc->g->s->mode->root_at)
		kunit_skip(test, "both roots are in the same page");
	group_link(sc->g, sc->roots[0], va, 1, sc->table, PTE_PWU);
	group_link(sc->g, sc->roots[1], va, 1, sc->roots[0], PTE_PWU);
	add_space(sc, 0);
	add_space(sc, 1);
	expect_told(sc);
	expect_count(sc, VMEM_ALIASING, 0);
	expect_count(sc, VMEM_ANOMALY, 1);
	expect_anomalies(sc, VMEM_CROSS_LEVEL, 1, sc->roots[0], 1);
	/* CR3 names a root at its own level, known at another or not. */
	sc->g->nr_roots = 0;
	add_space(sc, 1);
	add_space(sc, 0);
	expect_told(sc);
	expect_count(sc, VMEM_ALIASING, 0);
	expect_count(sc, VMEM_ANOMALY, 0);
}

/* One space's page table is another's page directory, and so on. */
static void vmem_spaces_cross_level(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	int level = sc->share->level;
	u64 va = region_at(sc, level + 1, 0);

	if (level + 1 >= sc->g->s->mode->top)
		kunit_skip(test, "the level above has roots only");
	link_at(sc, sc->roots[0], 1, PTE_PWU);
	link_at(sc, sc->roots[2], 1, PTE_PWU);
	group_link(sc->g, sc->roots[1], va, level + 1, sc->table, PTE_PWU);
	group_link(sc->g, sc->roots[2], va, level + 1, sc->table, PTE_PWU);
	add_space(sc, 0);
	add_space(sc, 1);
	add_space(sc, 2);
	expect_told(sc);
	expect_anomalies(sc, VMEM_CROSS_LEVEL, level + 1, sc->table, 1);
}

/* Views of a part of the table do not tell of each other. */
static void vmem_spaces_cross_level_partial(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	int level = sc->share->level;
	u64 va = region_at(sc, level + 1, 0);

	if (level + 1 >= sc->g->s->mode->top)
		kunit_skip(test, "the level above has roots only");
	group_link(sc->g, sc->roots[0], va, level, sc->table, PTE_PWU);
	group_link(sc->g, sc->roots[1], va, level + 1, sc->table, PTE_PWU);
	add_space(sc, 0);
	add_space(sc, 1);
	group_set_range(sc->g, va + SZ_4K, U64_MAX);
	expect_told(sc);
	expect_anomalies(sc, VMEM_CROSS_LEVEL, level + 1, sc->table, 0);
}

/*
 * Permissions.
 */
static void expect_perms(struct scene *sc, u32 perms, u32 owner_perms)
{
	u64 offset = inside(sc, 1, SLOT_PAGES);
	const struct vmem_reference *a;

	add_space(sc, 0);
	add_space(sc, 1);
	expect_told(sc);
	expect_count(sc, VMEM_ALIASING, 1);
	a = &get(sc, VMEM_ALIASING, 0)->reference;
	KUNIT_EXPECT_EQ(sc->test, a->perms, perms);
	KUNIT_EXPECT_EQ(sc->test, a->owner_perms, owner_perms);
	KUNIT_EXPECT_EQ(sc->test, get(sc, VMEM_THIS_SPACE, 0)->mapping.perms,
			owner_perms);
	KUNIT_EXPECT_EQ(sc->test, shared(sc, 0, at(sc, 1) + offset).out_perms,
			owner_perms);
	KUNIT_EXPECT_EQ(sc->test, shared(sc, 1, at(sc, 2) + offset).out_perms,
			perms);
}

static void vmem_spaces_perms(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	bool nxe = sc->g->s->mode->regs.efer & EFER_NX;
	u64 flags[] = { PTE_P, PTE_P | PTE_W, PTE_P | PTE_U,
			PTE_PWU | (nxe ? PTE_NX : 0) };
	u32 perms[] = { VMEM_EXECUTABLE, VMEM_EXECUTABLE | VMEM_WRITABLE,
			VMEM_EXECUTABLE | VMEM_USER,
			nxe ? VMEM_WRITABLE | VMEM_USER : ALL_PERMS };
	int i, j, nr = ARRAY_SIZE(flags);

	if (!mode_denies(sc->share->mode, sc->share->level + 1))
		kunit_skip(test, "the root grants everything");
	for (i = 0; i < nr; i++) {
		for (j = 0; j < nr; j++) {
			scene_reset(sc);
			link_at(sc, sc->roots[0], 1, flags[i]);
			link_at(sc, sc->roots[1], 2, flags[j]);
			expect_perms(sc, perms[j], perms[i]);
		}
	}
}

/* The upper entries count as well. */
static void vmem_spaces_perms_above(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	int top = sc->g->s->mode->top;
	u64 gpa, raw;

	if (sc->share->level + 1 == top)
		kunit_skip(test, "the root names the table");
	if (!mode_denies(sc->share->mode, top))
		kunit_skip(test, "the root grants everything");
	link_at(sc, sc->roots[0], 1, PTE_PWU);
	link_at(sc, sc->roots[1], 2, PTE_PWU);
	gpa = group_entry(sc->g, sc->roots[1], at(sc, 2), top);
	guest_read(sc->g->s->guest, gpa, 8, &raw);
	guest_write(sc->g->s->guest, gpa, 8, raw & ~(PTE_U | PTE_W));
	expect_perms(sc, VMEM_EXECUTABLE, ALL_PERMS);
}

/*
 * Entries that lead nowhere.
 */
static u64 nowhere(const struct scene *sc)
{
	return sc->g->s->mode->tables + SZ_1M / 2;
}

static void vmem_spaces_unbacked_root(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	const struct vmem_record *r;

	link_at(sc, sc->roots[0], 0, PTE_PWU);
	link_at(sc, sc->roots[1], 1, PTE_PWU);
	add_space(sc, 0);
	group_add_root(sc->g, nowhere(sc));
	add_space(sc, 1);
	group_add_root(sc->g, nowhere(sc));
	expect_told(sc);
	expect_space(sc, 3, 1);
	expect_count(sc, VMEM_ANOMALY, 1);
	r = get(sc, VMEM_ANOMALY, 0);
	KUNIT_EXPECT_EQ(test, r->root, 1U);
	KUNIT_EXPECT_EQ(test, r->anomaly.status, (u32)VMEM_UNBACKED);
	KUNIT_EXPECT_EQ(test, r->anomaly.level, (u32)sc->g->s->mode->top);
	KUNIT_EXPECT_EQ(test, r->anomaly.table_gpa, nowhere(sc));
	KUNIT_EXPECT_EQ(test, r->anomaly.raw, 0ULL);
	KUNIT_EXPECT_EQ(test, r->anomaly.va, 0ULL);
	KUNIT_EXPECT_EQ(test, r->anomaly.last_va, U64_MAX);
	expect_reference(sc, 0, 2, at(sc, 1), 0, at(sc, 0));
	KUNIT_EXPECT_EQ(test, shared(sc, 1, at(sc, 1)).out_status,
			(u32)VMEM_UNBACKED);
	KUNIT_EXPECT_EQ(test, shared(sc, 3, at(sc, 1)).out_level,
			(u32)sc->g->s->mode->top);
}

/* Of an unbacked root, too, nothing is told that is excluded. */
static void vmem_spaces_unbacked_root_excluded(struct kunit *test)
{
	struct scene *sc = scene_alloc_mode(test);

	group_add_root(sc->g, nowhere(sc));
	group_exclude(sc->g, 0, SZ_1M - 1);
	expect_told(sc);
	KUNIT_EXPECT_TRUE(test, keeps_out(sc));

	sc->g->scope.nr_excluded = 0;
	group_set_range(sc->g, 0, SZ_4M - 1);
	group_exclude(sc->g, SZ_1M, U64_MAX);
	expect_told(sc);
	KUNIT_EXPECT_TRUE(test, keeps_out(sc));

	sc->g->scope.nr_excluded = 0;
	group_set_range(sc->g, SZ_1M, SZ_4M - 1);
	group_exclude(sc->g, 0, U64_MAX);
	expect_told(sc);
	KUNIT_EXPECT_TRUE(test, keeps_out(sc));
}

/* Nothing was emitted for a reference to lead to. */
static void vmem_spaces_unbacked_table(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	int level = sc->share->level;

	sc->table = nowhere(sc);
	link_at(sc, sc->roots[0], 0, PTE_PWU);
	link_at(sc, sc->roots[0], 2, PTE_PWU);
	link_at(sc, sc->roots[1], 0, PTE_PWU);
	add_space(sc, 0);
	add_space(sc, 1);
	expect_told(sc);
	expect_count(sc, VMEM_ALIASING, 0);
	expect_count(sc, VMEM_ANOMALY, 3);
	expect_anomalies(sc, VMEM_UNBACKED, level, sc->table, 3);
}

static void vmem_spaces_reserved(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	u64 raw = space_reserved(sc->g->s, sc->share->level);
	const struct vmem_anomaly *a;
	u64 va;

	if (!raw)
		kunit_skip(test, "no reserved bits");
	group_put(sc->g, sc->table, SLOT_EMPTY, raw);
	link_at(sc, sc->roots[0], 0, PTE_PWU);
	link_at(sc, sc->roots[1], 0, PTE_PWU);
	add_space(sc, 0);
	add_space(sc, 1);
	expect_told(sc);
	expect_count(sc, VMEM_ALIASING, 1);
	expect_count(sc, VMEM_ANOMALY, 1);
	a = &get(sc, VMEM_ANOMALY, 0)->anomaly;
	va = at(sc, 0) + inside(sc, sc->share->level, SLOT_EMPTY);
	KUNIT_EXPECT_EQ(test, a->status, (u32)VMEM_RESERVED);
	KUNIT_EXPECT_EQ(test, a->level, (u32)sc->share->level);
	KUNIT_EXPECT_EQ(test, a->va, va);
	KUNIT_EXPECT_EQ(test, a->last_va,
			va + space_span(sc->g->s, sc->share->level) - 1);
	KUNIT_EXPECT_EQ(test, a->table_gpa, 0ULL);
	KUNIT_EXPECT_EQ(test, a->raw, raw);
}

/* A large page is not a table, even if it looks like one inside. */
static void vmem_spaces_large_page(struct kunit *test)
{
	struct scene *sc = scene_alloc_mode(test);
	struct space *s = sc->g->s;
	u64 va, gpa;
	int i, level;

	for (level = 2; level <= s->mode->max_leaf; level++) {
		scene_reset(sc);
		va = region_at(sc, level, 0);
		gpa = space_frame(s, level);
		guest_add(s->guest, gpa);
		guest_write(s->guest, gpa, 4, sc->table | PTE_PWU);
		for (i = 0; i < 3; i++) {
			group_set(sc->g, sc->roots[i], va, level,
				  space_leaf(s, level, gpa, PTE_PWU));
			add_space(sc, i);
		}
		expect_told(sc);
		expect_count(sc, VMEM_ALIASING, 0);
		expect_count(sc, VMEM_ANOMALY, 0);
		expect_count(sc, VMEM_THIS_SPACE, 3);
	}
}

/*
 * The walk itself, where what is seen is somebody else's business.
 */

/**
 * struct visits - what a walk has shown
 * @sc: the scene
 * @prune: index of the root in which the shared table is pruned; -1 for none
 * @follow: follow references
 * @spaces: spaces begun
 * @owners: how often the shared table was visited for the first time
 * @owner: index of the root in which that was last
 * @references: references to it
 * @reference: the last of them, without pointers
 * @leaves: leaves, by root
 * @foreign: leaves that belong to somebody else, and rightly so
 * @anomalies: anomalies
 */
struct visits {
	struct scene *sc;
	int prune;
	bool follow;
	int spaces;
	int owners;
	u32 owner;
	int references;
	struct vmem_visit reference;
	int leaves[MAX_SPACES];
	int foreign;
	int anomalies;
};

static int visit_space(const struct vmem_root *root, u32 index, u32 alias_of,
		       void *priv)
{
	struct visits *v = priv;

	v->spaces++;
	return 0;
}

static int visit_table(const struct vmem_visit *visit, void *priv)
{
	struct visits *v = priv;

	if (visit->gpa != v->sc->table)
		return 0;
	v->owners++;
	v->owner = visit->index;
	return (int)visit->index == v->prune ? VMEM_WALK_SKIP : 0;
}

static int visit_reference(const struct vmem_visit *visit, void *priv)
{
	struct visits *v = priv;

	v->references += visit->gpa == v->sc->table && visit->referenced;
	v->reference = *visit;
	return v->follow ? VMEM_WALK_FOLLOW : 0;
}

/* Is the leaf where the owner has it? Space i has the table in region i. */
static bool is_foreign(const struct visits *v, const struct vmem_visit *visit)
{
	struct scene *sc = v->sc;

	return visit->referenced && visit->owner == v->owner &&
	       visit->owner_va ==
		       visit->base - at(sc, visit->index) + at(sc, v->owner);
}

static int visit_leaf(const struct vmem_visit *visit, void *priv)
{
	struct visits *v = priv;

	v->leaves[visit->index]++;
	v->foreign += is_foreign(v, visit);
	return 0;
}

static int visit_anomaly(const struct vmem_visit *visit, void *priv)
{
	((struct visits *)priv)->anomalies++;
	return 0;
}

static const struct vmem_walk_ops visit_ops = {
	.space = visit_space,
	.table = visit_table,
	.reference = visit_reference,
	.leaf = visit_leaf,
	.anomaly = visit_anomaly,
};

/* Three spaces share the table; the visits of a walk over them. */
static void walk_visits(struct scene *sc, struct vmem_seen *seen,
			struct visits *v)
{
	struct vmem_walk walk = {
		.mem = &sc->g->s->guest->mem,
		.roots = sc->g->roots,
		.nr_roots = sc->g->nr_roots,
		.scope = sc->g->scope,
		.seen = seen,
		.claim = true,
		.budget = U64_MAX,
		.ops = &visit_ops,
		.priv = v,
	};

	v->sc = sc;
	KUNIT_EXPECT_EQ(sc->test, vmem_walk(&walk), 0);
	KUNIT_EXPECT_TRUE(sc->test, guest_is_intact(sc->g->s->guest));
}

static struct scene *scene_of_three(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	int i;

	for (i = 0; i < MAX_SPACES; i++) {
		link_at(sc, sc->roots[i], i, PTE_PWU);
		add_space(sc, i);
	}
	return sc;
}

/* Leaves in the shared table and below. */
static int leaves_inside(const struct scene *sc)
{
	return page_levels(sc) * 4;
}

/* A table that was pruned is nobody's: the next space to get there has it. */
static void vmem_spaces_prune(struct kunit *test)
{
	struct scene *sc = scene_of_three(test);
	struct visits v = { .prune = 0 };
	struct vmem_seen seen = {};

	walk_visits(sc, &seen, &v);
	vmem_seen_destroy(&seen);
	KUNIT_EXPECT_EQ(test, v.spaces, 3);
	KUNIT_EXPECT_EQ(test, v.owners, 2);
	KUNIT_EXPECT_EQ(test, v.owner, 1U);
	KUNIT_EXPECT_EQ(test, v.references, 1);
	KUNIT_EXPECT_EQ(test, v.reference.index, 2U);
	KUNIT_EXPECT_EQ(test, v.reference.owner, 1U);
	KUNIT_EXPECT_EQ(test, v.reference.owner_va, at(sc, 1));
	KUNIT_EXPECT_EQ(test, v.leaves[0], 0);
	KUNIT_EXPECT_EQ(test, v.leaves[1], leaves_inside(sc));
	KUNIT_EXPECT_EQ(test, v.leaves[2], 0);
}

static void vmem_spaces_follow(struct kunit *test)
{
	struct scene *sc = scene_of_three(test);
	struct visits v = { .prune = -1, .follow = true };
	struct vmem_seen seen = {};
	int i;

	walk_visits(sc, &seen, &v);
	vmem_seen_destroy(&seen);
	KUNIT_EXPECT_EQ(test, v.owners, 1);
	KUNIT_EXPECT_EQ(test, v.owner, 0U);
	KUNIT_EXPECT_EQ(test, v.references, 2);
	for (i = 0; i < MAX_SPACES; i++)
		KUNIT_EXPECT_EQ(test, v.leaves[i], leaves_inside(sc));
	KUNIT_EXPECT_EQ(test, v.foreign, 2 * leaves_inside(sc));
}

/* What is only looked at does not grow, and tells no anomalies of its own. */
static void vmem_spaces_no_claim(struct kunit *test)
{
	struct scene *sc = scene_of_three(test);
	struct visits v = { .sc = sc, .prune = -1, .follow = true };
	struct vmem_seen seen = {};
	struct vmem_walk walk = {
		.mem = &sc->g->s->guest->mem,
		.roots = sc->g->roots,
		.nr_roots = sc->g->nr_roots,
		.scope = sc->g->scope,
		.seen = &seen,
		.budget = U64_MAX,
		.ops = &visit_ops,
		.priv = &v,
	};

	link_root(sc, 0, 0);
	KUNIT_EXPECT_EQ(test, vmem_walk(&walk), 0);
	KUNIT_EXPECT_EQ(test, seen.nr, 0U);
	KUNIT_EXPECT_EQ(test, v.references, 0);
	KUNIT_EXPECT_EQ(test, v.anomalies, 0);
	KUNIT_EXPECT_GE(test, v.leaves[2], leaves_inside(sc));
	vmem_seen_destroy(&seen);
}

/*
 * What has been seen.
 */
#define NR_SEEN 5000

static struct vmem_owner nth_owner(u32 i)
{
	return (struct vmem_owner){
		.table = (u64)(i / 8 + 1) << 12,
		.window = i & 4 ? VMEM_WINDOW_ALL : (u64)(i & 1) << 39,
		.va = (u64)i << 21,
		.root = i,
		.perms = i & ALL_PERMS,
	};
}

/* Eight keys for each table: two levels, three windows, one of them twice. */
static int nth_level(u32 i)
{
	return i & 4 ? 1 + (i & 3) : 1 + (i >> 1 & 1);
}

static bool is_nth(const struct vmem_seen *seen, u32 i)
{
	struct vmem_owner want = nth_owner(i);
	const struct vmem_owner *got =
		vmem_seen_find(seen, want.table, nth_level(i), want.window);

	return got && got->va == want.va && got->root == want.root &&
	       got->perms == want.perms;
}

static void vmem_spaces_seen(struct kunit *test)
{
	struct vmem_seen seen = {};
	struct vmem_owner owner;
	int bad = 0;
	u32 i;

	for (i = 0; i < NR_SEEN; i++) {
		owner = nth_owner(i);
		if (vmem_seen_find(&seen, owner.table, nth_level(i),
				   owner.window))
			bad++;
		if (vmem_seen_reserve(&seen))
			bad++;
		vmem_seen_add(&seen, nth_level(i), &owner);
	}
	KUNIT_EXPECT_EQ(test, seen.nr, (u32)NR_SEEN);
	KUNIT_EXPECT_GE(test, seen.nr_slots, 2U * NR_SEEN);
	for (i = 0; i < NR_SEEN; i++)
		bad += !is_nth(&seen, i);
	KUNIT_EXPECT_EQ(test, bad, 0);
	KUNIT_EXPECT_TRUE(test, !vmem_seen_find(&seen, SZ_4K, 5, 0));
	vmem_seen_destroy(&seen);
	KUNIT_EXPECT_EQ(test, seen.nr, 0U);
	KUNIT_EXPECT_TRUE(test, !vmem_seen_find(&seen, SZ_4K, 1, 0));
}

/* As if so many were known: to make a guest of them would take minutes. */
static void vmem_spaces_seen_limit(struct kunit *test)
{
	struct scene *sc = scene_alloc_mode(test);
	struct vmem_spaces spaces;

	add_space(sc, 0);
	group_begin(sc->g, &spaces);
	spaces.seen.nr = VMEM_MAX_TABLES;
	KUNIT_EXPECT_EQ(test, group_walk(sc->g, &spaces, U64_MAX, sc->r),
			-ENOSPC);
	KUNIT_EXPECT_TRUE(test, guest_is_intact(sc->g->s->guest));
	spaces.seen.nr = 0;
	vmem_spaces_destroy(&spaces);
}

/*
 * Walks that are left and resumed.
 */

/* All that there is: every kind of record, and an exclusion. */
static struct scene *scene_of_all(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	u64 slot = space_span(sc->g->s, sc->share->level);
	int i;

	for (i = 0; i < MAX_SPACES; i++) {
		link_at(sc, sc->roots[i], 1, PTE_PWU);
		link_at(sc, sc->roots[i], 3 - i, PTE_P | PTE_U);
		group_link(sc->g, sc->roots[i], at(sc, 0), sc->share->level,
			   nowhere(sc), PTE_PWU);
		link_root(sc, i, 0);
		add_space(sc, i);
	}
	add_space(sc, 1);
	group_add_root(sc->g, nowhere(sc) + SZ_4K);
	group_exclude(sc->g, at(sc, 3) + slot, at(sc, 3) + 2 * slot - 1);
	expect_told(sc);
	KUNIT_ASSERT_GT(test, sc->r->nr, 12);
	return sc;
}

static void expect_resumed(struct scene *sc, struct vmem_spaces *spaces,
			   struct records *r)
{
	int nr = r->nr;

	KUNIT_EXPECT_TRUE(sc->test, records_equal(sc->test, r, &sc->o->want));
	KUNIT_EXPECT_TRUE(sc->test, spaces->done);
	KUNIT_EXPECT_EQ(sc->test, spaces->stats.leaves, sc->o->leaves);
	KUNIT_EXPECT_EQ(sc->test, spaces->stats.references,
			(u64)records_count(r, VMEM_ALIASING));
	KUNIT_EXPECT_EQ(sc->test, spaces->stats.mappings,
			(u64)records_count(r, VMEM_THIS_SPACE));
	KUNIT_EXPECT_EQ(sc->test, spaces->stats.anomalies,
			(u64)records_count(r, VMEM_ANOMALY));
	/* After the end, a call tells nothing. */
	KUNIT_EXPECT_EQ(sc->test, group_walk(sc->g, spaces, U64_MAX, r), 0);
	KUNIT_EXPECT_EQ(sc->test, r->nr, nr);
	KUNIT_EXPECT_TRUE(sc->test, guest_is_intact(sc->g->s->guest));
	vmem_spaces_destroy(spaces);
}

/* Refuse each record once. */
static void vmem_spaces_resume_refused(struct kunit *test)
{
	struct scene *sc = scene_of_all(test);
	int i, nr = sc->r->nr;
	struct vmem_spaces spaces;

	for (i = 0; i < nr; i++) {
		group_begin(sc->g, &spaces);
		records_reset(sc->r);
		sc->r->room = i;
		KUNIT_EXPECT_EQ(test,
				group_walk(sc->g, &spaces, U64_MAX, sc->r),
				VMEM_WALK_STOP);
		KUNIT_EXPECT_EQ(test, sc->r->nr, i);
		KUNIT_EXPECT_FALSE(test, spaces.done);
		sc->r->room = MAX_RECORDS;
		KUNIT_EXPECT_EQ(test,
				group_walk(sc->g, &spaces, U64_MAX, sc->r), 0);
		expect_resumed(sc, &spaces, sc->r);
	}
}

/* Calls that take one record each, and one that takes none in between. */
static void vmem_spaces_resume_one_by_one(struct kunit *test)
{
	struct scene *sc = scene_of_all(test);
	int i, nr = sc->r->nr;
	struct vmem_spaces spaces;

	group_begin(sc->g, &spaces);
	records_reset(sc->r);
	for (i = 0; i < 2 * nr; i++) {
		sc->r->room = i / 2;
		KUNIT_ASSERT_EQ(test,
				group_walk(sc->g, &spaces, U64_MAX, sc->r),
				VMEM_WALK_STOP);
		KUNIT_EXPECT_EQ(test, sc->r->nr, i / 2);
	}
	sc->r->room = nr;
	KUNIT_EXPECT_EQ(test, group_walk(sc->g, &spaces, U64_MAX, sc->r), 0);
	expect_resumed(sc, &spaces, sc->r);
}

/* Calls with a budget that is enough for one path, and for more. */
static void vmem_spaces_resume_budget(struct kunit *test)
{
	struct scene *sc = scene_of_all(test);
	u64 budget = sc->g->s->mode->top;
	struct vmem_spaces spaces;
	int ret, calls;

	for (; budget < 2000; budget += 1 + budget / 4) {
		group_begin(sc->g, &spaces);
		records_reset(sc->r);
		calls = 0;
		do
			ret = group_walk(sc->g, &spaces, budget, sc->r);
		while (ret == VMEM_WALK_STOP && ++calls < SZ_1M);
		KUNIT_ASSERT_EQ(test, ret, 0);
		KUNIT_EXPECT_GT(test, calls, budget < 100 ? 10 : 0);
		expect_resumed(sc, &spaces, sc->r);
	}
}

/* False once the @nth pin is beyond the end. */
static bool resume_after_pin(struct scene *sc, int nth, int err)
{
	struct vmem_spaces spaces;
	int ret;

	group_begin(sc->g, &spaces);
	records_reset(sc->r);
	guest_fail_pin(sc->g->s->guest, nth, err);
	ret = group_walk(sc->g, &spaces, U64_MAX, sc->r);
	guest_fail_pin(sc->g->s->guest, 0, 0);
	if (!ret) {
		vmem_spaces_destroy(&spaces);
		return false;
	}
	KUNIT_EXPECT_EQ(sc->test, ret, err);
	KUNIT_EXPECT_TRUE(sc->test, guest_is_intact(sc->g->s->guest));
	KUNIT_EXPECT_EQ(sc->test, group_walk(sc->g, &spaces, U64_MAX, sc->r),
			0);
	expect_resumed(sc, &spaces, sc->r);
	return true;
}

static void vmem_spaces_resume_pin(struct kunit *test)
{
	struct scene *sc = scene_of_all(test);
	int nth = 1;

	while (nth < 1000 && resume_after_pin(sc, nth, -ENOMEM)) {
		resume_after_pin(sc, nth, -EINTR);
		nth++;
	}
	KUNIT_EXPECT_GT(test, nth, sc->g->s->mode->top);
	KUNIT_EXPECT_LT(test, nth, 1000);
}

static struct kunit_case vmem_spaces_test_cases[] = {
	KUNIT_CASE_PARAM(vmem_spaces_same_address, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_other_address, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_owner, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_three_sharers, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_permuted, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_same_root, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_last_region, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_root_twice, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_root_again, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_root_twice_owner, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_clipped_range, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_partial_same_address, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_partial_other_address, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_excluded, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_excluded_adjacent, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_excluded_once, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_excluded_in_page, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_self_map, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_self_map_everywhere, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_cross_level_root, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_cross_level, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_cross_level_partial, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_perms, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_perms_above, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_unbacked_root, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_unbacked_root_excluded, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_unbacked_table, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_reserved, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_large_page, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_prune, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_follow, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_no_claim, share_gen_params),
	KUNIT_CASE(vmem_spaces_seen),
	KUNIT_CASE_PARAM(vmem_spaces_seen_limit, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_resume_refused, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_resume_one_by_one, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_resume_budget, share_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_resume_pin, share_gen_params),
	{}
};

static struct kunit_suite vmem_spaces_suite = {
	.name = "vmem_spaces",
	.test_cases = vmem_spaces_test_cases,
};

kunit_test_suite(vmem_spaces_suite);
