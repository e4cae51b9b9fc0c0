// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmem_map(): what is mapped is what the reference then finds, what is refused
 * changes nothing, and tables that move take their parents along.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "rng.h"
#include "tables.h"

/* The convention that these tests mark copy-on-write pages by. */
#define COW_MASK GENMASK_ULL(11, 9)
#define COW_VALUE BIT_ULL(9)

#define PTE_ADDR GENMASK_ULL(51, 12)

KUNIT_ARRAY_PARAM(mode, modes, mode_desc);
KUNIT_ARRAY_PARAM(share, shares, share_desc);

/**
 * struct scene - a space to map things in
 * @test: the test it belongs to
 * @mode: how it pages
 * @g: the space, and others
 * @tb: its tables
 * @was: the guest before something was tried
 */
struct scene {
	struct kunit *test;
	const struct mode *mode;
	struct group *g;
	struct tables *tb;
	struct guest *was;
};

static void add_space(struct scene *sc)
{
	struct vmem_mode *mode;

	group_add_root(sc->g, group_new_root(sc->g));
	mode = &sc->g->roots[sc->g->nr_roots - 1].mode;
	mode->cow_mask = COW_MASK;
	mode->cow_value = COW_VALUE;
}

/* One empty space. */
static void scene_reset(struct scene *sc)
{
	tables_reset(sc->tb);
	add_space(sc);
}

static struct scene *scene_alloc(struct kunit *test, const struct mode *mode,
				 bool movable)
{
	struct scene *sc = kunit_kzalloc(test, sizeof(*sc), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, sc);
	sc->test = test;
	sc->mode = mode;
	sc->g = group_alloc(test, mode);
	sc->tb = tables_alloc(test, sc->g, movable);
	sc->was = guest_alloc(test);
	scene_reset(sc);
	return sc;
}

static void scene_free(struct scene *sc)
{
	KUNIT_EXPECT_TRUE(sc->test, guest_is_intact(sc->g->s->guest));
	vmem_tables_destroy(&sc->tb->t);
}

static int map_in(struct scene *sc, int root, const struct vmem_mapping *m)
{
	return vmem_map(&sc->tb->t, &sc->g->roots[root], m);
}

static int map(struct scene *sc, const struct vmem_mapping *m)
{
	return map_in(sc, 0, m);
}

/* @nr pages of @level at @va. There is room for more behind their frames. */
static struct vmem_mapping pages_at(const struct scene *sc, int level, u64 va,
				    int nr)
{
	u64 size = space_span(sc->g->s, level);

	return (struct vmem_mapping){
		.va = va,
		.last_va = va + (nr * size - 1),
		.gpa = space_frame(sc->g->s, level) - 16 * size,
		.page_size = size,
		.kind = VMEM_KIND_BASIC,
		.perms = ALL_PERMS,
	};
}

/* Pages that lie in two tables, unless that of their level is the root. */
static struct vmem_mapping some_pages(const struct scene *sc, int level, int nr)
{
	u64 size = space_span(sc->g->s, level);
	u64 region = group_region(sc->g, level);
	u64 va = space_va(sc->g->s, level);

	if (level < sc->mode->top)
		va = (va | (region - 1)) + 1 - nr / 2 * size;
	return pages_at(sc, level, va, nr);
}

static struct vmem_mapping nothing_at(u64 va, u64 last_va)
{
	return (struct vmem_mapping){
		.va = va,
		.last_va = last_va,
		.kind = VMEM_KIND_UNMAPPED,
	};
}

static bool can_say(const struct mode *mode, u32 perms)
{
	return perms & VMEM_EXECUTABLE || mode->regs.efer & EFER_NX;
}

static struct ref ref_at(const struct scene *sc, int root, u64 va)
{
	struct ref ref;

	ref_translate(sc->g->s->guest, &sc->g->regs[root], va, &ref);
	return ref;
}

static u64 leaf_raw(const struct ref *ref)
{
	return ref->t.out_trace[ref->t.out_nr_trace - 1].raw;
}

static bool page_fits(const struct ref *ref, const struct vmem_mapping *m,
		      u64 va)
{
	bool cow;

	if (ref->t.out_status != VMEM_MAPPED)
		return false;
	cow = (leaf_raw(ref) & COW_MASK) == COW_VALUE;
	return ref->t.out_gpa == m->gpa + (va - m->va) &&
	       ref->t.out_page_size == m->page_size &&
	       ref->t.out_perms == m->perms &&
	       cow == (m->kind == VMEM_KIND_COW);
}

/* The first and the last byte of each page. */
static void expect_mapped_in(struct scene *sc, int root,
			     const struct vmem_mapping *m)
{
	u64 va = m->va;
	struct ref ref;

	for (;;) {
		ref = ref_at(sc, root, va);
		KUNIT_EXPECT_TRUE_MSG(sc->test, page_fits(&ref, m, va),
				      "%#llx: %#llx, not %#llx", va,
				      ref.t.out_gpa, m->gpa + (va - m->va));
		va += m->page_size - 1;
		ref = ref_at(sc, root, va);
		KUNIT_EXPECT_TRUE(sc->test, page_fits(&ref, m, va));
		if (va == m->last_va)
			return;
		va++;
	}
}

static void expect_mapped(struct scene *sc, const struct vmem_mapping *m)
{
	expect_mapped_in(sc, 0, m);
}

static void expect_nothing(struct scene *sc, u64 va)
{
	KUNIT_EXPECT_NE(sc->test, ref_at(sc, 0, va).t.out_status,
			(u32)VMEM_MAPPED);
}

static void remember(struct scene *sc)
{
	guest_copy(sc->was, sc->g->s->guest);
	tables_forget(sc->tb);
}

/* Nothing was written, and nothing asked for. */
static void expect_untouched(struct scene *sc)
{
	KUNIT_EXPECT_TRUE(sc->test, guest_equal(sc->g->s->guest, sc->was));
	KUNIT_EXPECT_EQ(sc->test, sc->tb->allocs, 0);
	KUNIT_EXPECT_EQ(sc->test, sc->tb->writes, 0);
	KUNIT_EXPECT_EQ(sc->test, sc->tb->updates, 0);
}

static void expect_refused(struct scene *sc, const struct vmem_mapping *m,
			   int ret)
{
	remember(sc);
	KUNIT_EXPECT_EQ(sc->test, map(sc, m), ret);
	expect_untouched(sc);
}

/*
 * Part one: what can be mapped.
 */
static void map_some(struct scene *sc, int level, u32 kind, u32 perms)
{
	struct vmem_mapping m = some_pages(sc, level, 3);

	m.kind = kind;
	m.perms = perms;
	scene_reset(sc);
	KUNIT_EXPECT_EQ(sc->test, map(sc, &m), 0);
	expect_mapped(sc, &m);
	expect_nothing(sc, m.va - 1);
	expect_nothing(sc, m.last_va + 1);
}

static void map_level(struct scene *sc, int level)
{
	u32 perms;

	for (perms = 0; perms <= ALL_PERMS; perms++) {
		if (!can_say(sc->mode, perms))
			continue;
		map_some(sc, level, VMEM_KIND_BASIC, perms);
		if (!(perms & VMEM_WRITABLE))
			map_some(sc, level, VMEM_KIND_COW, perms);
	}
}

static void vmem_map_sizes(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, false);
	int level;

	for (level = 1; level <= sc->mode->max_leaf; level++)
		map_level(sc, level);
	scene_free(sc);
}

/* Tables on the way are as many as it takes, and grant everything. */
static void vmem_map_tables(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, false);
	struct vmem_mapping m;
	struct ref ref;
	int i, level;
	u64 raw;

	for (level = 1; level <= sc->mode->max_leaf; level++) {
		scene_reset(sc);
		m = pages_at(sc, level, space_va(sc->g->s, level), 1);
		m.perms = VMEM_EXECUTABLE;
		KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
		KUNIT_EXPECT_EQ(test, sc->tb->allocs, sc->mode->top - level);
		ref = ref_at(sc, 0, m.va);
		for (i = 0; i < sc->mode->top - level; i++) {
			raw = ref.t.out_trace[i].raw;
			KUNIT_EXPECT_EQ(test, raw & ~PTE_ADDR,
					space_link(sc->g->s, sc->mode->top - i,
						   0, PTE_PWU));
		}
		/* A second page is another entry of the same tables. */
		m = pages_at(sc, level, m.last_va + 1, 1);
		tables_forget(sc->tb);
		KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
		KUNIT_EXPECT_EQ(test, sc->tb->allocs, 0);
		KUNIT_EXPECT_EQ(test, sc->tb->writes, 1);
	}
	scene_free(sc);
}

static void vmem_map_last_page(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, false);
	struct vmem_mapping m;
	int level;
	u64 size;

	for (level = 1; level <= sc->mode->max_leaf; level++) {
		scene_reset(sc);
		size = space_span(sc->g->s, level);
		m = pages_at(sc, level, sc->mode->last - (2 * size - 1), 2);
		KUNIT_ASSERT_EQ(test, m.last_va, sc->mode->last);
		KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
		expect_mapped(sc, &m);
		expect_nothing(sc, m.va - 1);
		m = nothing_at(m.va + size, m.last_va);
		KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
		expect_nothing(sc, m.va);
		expect_nothing(sc, m.last_va);
		KUNIT_EXPECT_EQ(test, ref_at(sc, 0, m.va - 1).t.out_status,
				(u32)VMEM_MAPPED);
	}
	scene_free(sc);
}

static void vmem_map_first_page(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, false);
	struct vmem_mapping m;
	int level;

	for (level = 1; level <= sc->mode->max_leaf; level++) {
		scene_reset(sc);
		m = pages_at(sc, level, 0, 1);
		m.gpa = 0;
		KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
		expect_mapped(sc, &m);
	}
	scene_free(sc);
}

/* What was there is gone: address, permissions and kind. */
static void vmem_map_replaces(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, false);
	struct vmem_mapping m, n;
	int level;

	for (level = 1; level <= sc->mode->max_leaf; level++) {
		scene_reset(sc);
		m = some_pages(sc, level, 4);
		KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
		tables_forget(sc->tb);
		n = pages_at(sc, level, m.va + m.page_size, 2);
		n.gpa += 8 * m.page_size;
		n.kind = VMEM_KIND_COW;
		n.perms = VMEM_EXECUTABLE;
		KUNIT_EXPECT_EQ(test, map(sc, &n), 0);
		expect_mapped(sc, &n);
		m.last_va = n.va - 1;
		expect_mapped(sc, &m);
		n.kind = VMEM_KIND_BASIC;
		n.perms = ALL_PERMS;
		KUNIT_EXPECT_EQ(test, map(sc, &n), 0);
		expect_mapped(sc, &n);
		KUNIT_EXPECT_EQ(test, sc->tb->allocs, 0);
	}
	scene_free(sc);
}

/*
 * Part two: what is to be empty.
 */
static void vmem_map_unmap_empty(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, false);
	u64 region = group_region(sc->g, 1);
	struct vmem_mapping m;

	m = nothing_at(sc->mode->va, sc->mode->va + 3 * region - 1);
	expect_refused(sc, &m, 0);
	m = nothing_at(sc->mode->last - SZ_4K + 1, sc->mode->last);
	expect_refused(sc, &m, 0);
	m = nothing_at(0, SZ_4K - 1);
	expect_refused(sc, &m, 0);
	scene_free(sc);
}

/* Only the addresses count; tables stay. */
static void vmem_map_unmap(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, false);
	struct vmem_mapping m, n;
	int level;

	for (level = 1; level <= sc->mode->max_leaf; level++) {
		scene_reset(sc);
		m = some_pages(sc, level, 6);
		KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
		tables_forget(sc->tb);
		n = nothing_at(m.va + 2 * m.page_size,
			       m.va + 4 * m.page_size - 1);
		n.gpa = 0x123;
		n.page_size = 77;
		n.perms = ~0U;
		KUNIT_EXPECT_EQ(test, map(sc, &n), 0);
		expect_nothing(sc, n.va);
		expect_nothing(sc, n.last_va);
		KUNIT_EXPECT_EQ(test, sc->tb->allocs, 0);
		KUNIT_EXPECT_EQ(test, sc->tb->writes, 2);
		m.last_va = n.va - 1;
		expect_mapped(sc, &m);
		m.gpa += 4 * m.page_size;
		m.va = n.last_va + 1;
		m.last_va = m.va + 2 * m.page_size - 1;
		expect_mapped(sc, &m);
	}
	scene_free(sc);
}

/* What a large page maps in part cannot go in part. */
static void vmem_map_unmap_large(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, false);
	struct vmem_mapping m, n;
	int level;

	for (level = 2; level <= sc->mode->max_leaf; level++) {
		scene_reset(sc);
		m = pages_at(sc, level, space_va(sc->g->s, level), 2);
		KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
		n = nothing_at(m.va + SZ_4K, m.last_va);
		expect_refused(sc, &n, -EEXIST);
		n = nothing_at(m.va, m.last_va - SZ_4K);
		expect_refused(sc, &n, -EEXIST);
		n = nothing_at(m.va + SZ_4K, m.va + SZ_8K - 1);
		expect_refused(sc, &n, -EEXIST);
		n = nothing_at(m.va - SZ_4K, m.last_va + SZ_4K);
		KUNIT_EXPECT_EQ(test, map(sc, &n), 0);
		expect_nothing(sc, m.va);
		expect_nothing(sc, m.last_va);
	}
	scene_free(sc);
}

static void vmem_map_unmap_refused(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, false);
	struct vmem_mapping m = some_pages(sc, 1, 4);
	u64 va = m.va, last = m.last_va;

	KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
	m = nothing_at(va + 1, last);
	expect_refused(sc, &m, -EINVAL);
	m = nothing_at(va, last - 1);
	expect_refused(sc, &m, -EINVAL);
	m = nothing_at(last + 1, va - 1);
	expect_refused(sc, &m, -EINVAL);
	m = nothing_at(va, va - 1);
	expect_refused(sc, &m, -EINVAL);
	/* Over an end of the address space, what is mapped below it included. */
	m = nothing_at(0, U64_MAX);
	expect_refused(sc, &m, -ERANGE);
	m = nothing_at(sc->g->roots[0].mode.noncanonical,
		       sc->g->roots[0].mode.noncanonical + SZ_4K - 1);
	expect_refused(sc, &m, -ERANGE);
	scene_free(sc);
}

/*
 * Part three: what is refused. Each of these spoils a good mapping of six pages
 * in two tables, or puts something in its way, at its end where it can: whoever
 * looks while he writes has written something by then.
 */
struct refusal {
	const char *desc;
	int ret;
	bool (*spoil)(struct scene *sc, int level, struct vmem_mapping *m);
};

static bool spoil_va(struct scene *sc, int level, struct vmem_mapping *m)
{
	u64 half = m->page_size / 2;

	m->va += half;
	m->gpa += half;
	return true;
}

static bool spoil_last(struct scene *sc, int level, struct vmem_mapping *m)
{
	m->last_va -= m->page_size / 2;
	return true;
}

static bool spoil_last_by_one(struct scene *sc, int level,
			      struct vmem_mapping *m)
{
	m->last_va++;
	return true;
}

static bool spoil_gpa(struct scene *sc, int level, struct vmem_mapping *m)
{
	m->gpa += m->page_size / 2;
	return true;
}

static bool spoil_order(struct scene *sc, int level, struct vmem_mapping *m)
{
	m->last_va = m->va - 1;
	return true;
}

static bool spoil_size(struct scene *sc, int level, struct vmem_mapping *m)
{
	m->page_size = 2 * SZ_4K;
	m->last_va = m->va + m->page_size - 1;
	m->va &= -m->page_size;
	m->gpa &= -m->page_size;
	return true;
}

static bool spoil_no_size(struct scene *sc, int level, struct vmem_mapping *m)
{
	m->page_size = 0;
	return true;
}

/* A page of the root's entries, or where CR4.PSE is off. */
static bool spoil_too_large(struct scene *sc, int level, struct vmem_mapping *m)
{
	m->page_size = space_span(sc->g->s, sc->mode->max_leaf + 1);
	m->va &= -m->page_size;
	m->last_va = m->va + m->page_size - 1;
	m->gpa = 0;
	return sc->mode->max_leaf < sc->mode->top;
}

static bool spoil_kind(struct scene *sc, int level, struct vmem_mapping *m)
{
	m->kind = VMEM_KIND_COW + 1;
	return true;
}

static bool spoil_perms(struct scene *sc, int level, struct vmem_mapping *m)
{
	m->perms |= BIT(3);
	return true;
}

static bool spoil_nx(struct scene *sc, int level, struct vmem_mapping *m)
{
	m->perms &= ~VMEM_EXECUTABLE;
	return !can_say(sc->mode, m->perms);
}

static bool spoil_convention(struct scene *sc, int level,
			     struct vmem_mapping *m)
{
	m->kind = VMEM_KIND_COW;
	m->perms &= ~VMEM_WRITABLE;
	sc->g->roots[0].mode.cow_mask = 0;
	sc->g->roots[0].mode.cow_value = 0;
	return true;
}

static bool spoil_writable_cow(struct scene *sc, int level,
			       struct vmem_mapping *m)
{
	m->kind = VMEM_KIND_COW;
	return true;
}

/* The first frame that an entry of @level cannot name. */
static u64 frame_end(const struct scene *sc, int level)
{
	int width = sc->mode->regs.maxphyaddr;

	if (sc->mode->entry_size == 8)
		return BIT_ULL(width);
	return BIT_ULL(level == 1 ? 32 : min(width, 40));
}

static bool spoil_frame(struct scene *sc, int level, struct vmem_mapping *m)
{
	m->gpa = frame_end(sc, level);
	return true;
}

static bool spoil_last_frame(struct scene *sc, int level,
			     struct vmem_mapping *m)
{
	m->gpa = frame_end(sc, level) - 5 * m->page_size;
	return true;
}

static bool spoil_high_frame(struct scene *sc, int level,
			     struct vmem_mapping *m)
{
	m->gpa = BIT_ULL(63);
	return true;
}

/* The bit that tells whether a page is encrypted is no address bit. */
static bool spoil_encrypted_frame(struct scene *sc, int level,
				  struct vmem_mapping *m)
{
	m->gpa |= mode_encryption(sc->mode);
	return mode_encryption(sc->mode);
}

static bool spoil_wrap(struct scene *sc, int level, struct vmem_mapping *m)
{
	m->gpa = -m->page_size;
	return true;
}

static bool spoil_end(struct scene *sc, int level, struct vmem_mapping *m)
{
	m->va = sc->g->roots[0].mode.noncanonical - 3 * m->page_size;
	m->last_va = m->va + 6 * m->page_size - 1;
	return true;
}

static bool spoil_canonical(struct scene *sc, int level, struct vmem_mapping *m)
{
	m->va = BIT_ULL(60);
	m->last_va = m->va + m->page_size - 1;
	return true;
}

static bool spoil_behind_hole(struct scene *sc, int level,
			      struct vmem_mapping *m)
{
	m->va = sc->g->roots[0].mode.noncanonical_last + 1 - 3 * m->page_size;
	m->last_va = m->va + 6 * m->page_size - 1;
	return mode_is_long(sc->mode);
}

/* Where the mapping's second half begins: another table maps it. */
static u64 second_table(const struct scene *sc, int level,
			const struct vmem_mapping *m)
{
	return m->last_va & -group_region(sc->g, level);
}

static bool spoil_larger_page(struct scene *sc, int level,
			      struct vmem_mapping *m)
{
	struct space *s = sc->g->s;

	if (level == sc->mode->max_leaf)
		return false;
	group_set(sc->g, sc->g->roots[0].table, second_table(sc, level, m),
		  level + 1,
		  space_leaf(s, level + 1, space_frame(s, level + 1), PTE_PWU));
	return true;
}

static bool spoil_table(struct scene *sc, int level, struct vmem_mapping *m)
{
	if (level == 1)
		return false;
	group_set(sc->g, sc->g->roots[0].table, m->last_va, level,
		  group_add_table(sc->g) | PTE_PWU);
	return true;
}

static bool spoil_reserved(struct scene *sc, int level, struct vmem_mapping *m)
{
	u64 raw = space_reserved(sc->g->s, level);

	group_set(sc->g, sc->g->roots[0].table, m->last_va, level, raw);
	return raw;
}

static bool spoil_reserved_above(struct scene *sc, int level,
				 struct vmem_mapping *m)
{
	u64 raw = space_reserved(sc->g->s, level + 1);

	if (level < sc->mode->top)
		group_set(sc->g, sc->g->roots[0].table, m->last_va, level + 1,
			  raw);
	return level < sc->mode->top && raw;
}

static bool spoil_unbacked(struct scene *sc, int level, struct vmem_mapping *m)
{
	if (level == sc->mode->top)
		return false;
	group_link(sc->g, sc->g->roots[0].table, m->last_va, level,
		   sc->mode->tables + SZ_1M, PTE_PWU);
	return true;
}

static bool spoil_right(struct scene *sc, int level,
			const struct vmem_mapping *m, u64 flip)
{
	if (level == sc->mode->top || !mode_denies(sc->mode, level + 1))
		return false;
	group_link(sc->g, sc->g->roots[0].table, m->last_va, level,
		   group_add_table(sc->g), PTE_PWU ^ flip);
	return true;
}

static bool spoil_write(struct scene *sc, int level, struct vmem_mapping *m)
{
	return spoil_right(sc, level, m, PTE_W);
}

static bool spoil_user(struct scene *sc, int level, struct vmem_mapping *m)
{
	return spoil_right(sc, level, m, PTE_U);
}

static bool spoil_execute(struct scene *sc, int level, struct vmem_mapping *m)
{
	return sc->mode->regs.efer & EFER_NX &&
	       spoil_right(sc, level, m, PTE_NX);
}

static const struct refusal refusals[] = {
	{ "first address unaligned", -EINVAL, spoil_va },
	{ "last address unaligned", -EINVAL, spoil_last },
	{ "last address is exclusive", -EINVAL, spoil_last_by_one },
	{ "frame unaligned", -EINVAL, spoil_gpa },
	{ "empty", -EINVAL, spoil_order },
	{ "no such page size", -EINVAL, spoil_size },
	{ "no page size", -EINVAL, spoil_no_size },
	{ "no such large pages", -EINVAL, spoil_too_large },
	{ "no such kind", -EINVAL, spoil_kind },
	{ "no such permission", -EINVAL, spoil_perms },
	{ "no execute-disable", -EINVAL, spoil_nx },
	{ "no convention", -EINVAL, spoil_convention },
	{ "writable and copy-on-write", -EINVAL, spoil_writable_cow },
	{ "frame too high", -ERANGE, spoil_frame },
	{ "last frame too high", -ERANGE, spoil_last_frame },
	{ "frame over the address bits", -ERANGE, spoil_high_frame },
	{ "frame with the encryption bit", -ERANGE, spoil_encrypted_frame },
	{ "frames wrap around", -ERANGE, spoil_wrap },
	{ "over the end", -ERANGE, spoil_end },
	{ "not canonical", -ERANGE, spoil_canonical },
	{ "out of the hole", -ERANGE, spoil_behind_hole },
	{ "over a larger page", -EEXIST, spoil_larger_page },
	{ "over a table", -EEXIST, spoil_table },
	{ "over a reserved entry", -EIO, spoil_reserved },
	{ "under a reserved entry", -EIO, spoil_reserved_above },
	{ "in a table that is not there", -EIO, spoil_unbacked },
	{ "in a table that cannot be written to", -EACCES, spoil_write },
	{ "in a table that is not the user's", -EACCES, spoil_user },
	{ "in a table that cannot be executed", -EACCES, spoil_execute },
};

static void refusal_desc(const struct refusal *refusal, char *desc)
{
	strscpy(desc, refusal->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(refusal, refusals, refusal_desc);

static void refuse_level(struct scene *sc, const struct refusal *refusal,
			 int level)
{
	struct vmem_mapping m = some_pages(sc, level, 6);

	scene_reset(sc);
	if (!refusal->spoil(sc, level, &m))
		return;
	tables_freeze(sc->tb);
	expect_refused(sc, &m, refusal->ret);
	/* But for what is wrong, it could have been mapped. */
	scene_reset(sc);
	m = some_pages(sc, level, 6);
	KUNIT_EXPECT_EQ(sc->test, map(sc, &m), 0);
}

static void vmem_map_refused(struct kunit *test)
{
	const struct refusal *refusal = test->param_value;
	struct scene *sc;
	int i, level;

	for (i = 0; i < NR_MODES; i++) {
		sc = scene_alloc(test, &modes[i], true);
		for (level = 1; level <= sc->mode->max_leaf; level++)
			refuse_level(sc, refusal, level);
		scene_free(sc);
	}
}

/*
 * Its first and its last frame have names, and those between that have the bit of
 * encryption have none.
 */
static void vmem_map_over_encryption(struct kunit *test)
{
	static const struct mode mode = {
		.regs = {
			.cr0 = X86_CR0_PG | X86_CR0_PE, .cr4 = X86_CR4_PAE,
			.efer = EFER_LME | EFER_NX, .maxphyaddr = 52,
			.rules = VMEM_RULES_ENCRYPTION_BIT(32),
		},
		.top = 4, .index_bits = 9, .root_bits = 9, .entry_size = 8,
		.max_leaf = 3, .tables = SZ_16M, .big_frame = 20ULL << 30,
		.va = 0x7a5340000000, .last = U64_MAX,
	};
	struct scene *sc = scene_alloc(test, &mode, false);
	struct vmem_mapping m = pages_at(sc, 3, mode.va, 6);

	m.gpa = 3ULL << 30;
	expect_refused(sc, &m, -ERANGE);
	m.gpa = 8ULL << 30;
	m.last_va = m.va + (4ULL << 30) - 1;
	KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
	expect_mapped(sc, &m);
	scene_free(sc);
}

/* A table with fewer rights does for a mapping that wants no more. */
static void vmem_map_enough_rights(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, false);
	struct vmem_mapping m = some_pages(sc, 1, 2);

	spoil_write(sc, 1, &m);
	m.perms &= ~VMEM_WRITABLE;
	KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
	expect_mapped(sc, &m);
	m.kind = VMEM_KIND_COW;
	KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
	expect_mapped(sc, &m);
	scene_free(sc);
}

/*
 * Part four: what fails on the way. Every page is as it was or as it is to be,
 * and a second try goes on.
 */
static void expect_first_part(struct scene *sc, const struct vmem_mapping *m)
{
	bool ended = false;
	struct ref ref;
	u64 va;

	for (va = m->va; va < m->last_va; va += m->page_size) {
		ref = ref_at(sc, 0, va);
		if (ref.t.out_status != VMEM_MAPPED)
			ended = true;
		else
			KUNIT_EXPECT_TRUE(sc->test,
					  !ended && page_fits(&ref, m, va));
	}
	KUNIT_EXPECT_TRUE(sc->test, ended);
}

static void vmem_map_no_memory(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, false);
	struct vmem_mapping m = some_pages(sc, 1, 6);
	int nth, ret;

	for (nth = 1;; nth++) {
		scene_reset(sc);
		sc->tb->fail_alloc = nth;
		ret = map(sc, &m);
		if (!ret)
			break;
		KUNIT_EXPECT_EQ(test, ret, -ENOMEM);
		KUNIT_EXPECT_EQ(test, sc->tb->allocs, nth - 1);
		expect_first_part(sc, &m);
		KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
		expect_mapped(sc, &m);
		/* What was made before was found again. */
		KUNIT_EXPECT_EQ(test, sc->tb->allocs, sc->mode->top);
	}
	KUNIT_EXPECT_GT(test, nth, 2);
	scene_free(sc);
}

static void vmem_map_no_write(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, true);
	struct vmem_mapping m = some_pages(sc, 1, 6);
	int nth, ret;

	for (nth = 1;; nth++) {
		scene_reset(sc);
		sc->tb->fail_write = nth;
		ret = map(sc, &m);
		if (!ret)
			break;
		KUNIT_EXPECT_EQ(test, ret, -EBADE);
		expect_first_part(sc, &m);
		KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
		expect_mapped(sc, &m);
	}
	KUNIT_EXPECT_GT(test, nth, 6);
	scene_free(sc);
}

/* Pins of the tables fail likewise. */
static void vmem_map_no_pin(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, false);
	struct vmem_mapping m = some_pages(sc, 1, 6);
	int nth, ret;

	for (nth = 1;; nth++) {
		scene_reset(sc);
		guest_forget_pins(sc->g->s->guest);
		guest_fail_pin(sc->g->s->guest, nth, -ENOMEM);
		ret = map(sc, &m);
		guest_fail_pin(sc->g->s->guest, 0, 0);
		if (!ret)
			break;
		KUNIT_EXPECT_EQ(test, ret, -ENOMEM);
		expect_first_part(sc, &m);
		KUNIT_EXPECT_TRUE(test, guest_is_intact(sc->g->s->guest));
		KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
		expect_mapped(sc, &m);
	}
	KUNIT_EXPECT_GT(test, nth, 4);
	scene_free(sc);
}

/* Nobody knows what a table maps that cannot be read: it is not passed over. */
static void vmem_map_unreadable(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, false);
	struct vmem_mapping m = pages_at(sc, 1, space_va(sc->g->s, 1), 3);
	struct vmem_mapping n = nothing_at(m.va, m.last_va);
	struct ref ref;
	int i;

	KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
	ref = ref_at(sc, 0, m.va);
	remember(sc);
	for (i = 0; i < sc->mode->top; i++) {
		guest_add_area(sc->g->s->guest,
			       ref.t.out_trace[i].entry_gpa & VMEM_PAGE_MASK,
			       SZ_4K, -EIO);
		KUNIT_EXPECT_EQ(test, map(sc, &n), -EIO);
		KUNIT_EXPECT_EQ(test, map(sc, &m), -EIO);
		sc->g->s->guest->nr_areas = 0;
		expect_untouched(sc);
	}
	scene_free(sc);
}

/*
 * Part five: tables that move.
 */

/* A page beside those of @m, in the same table. */
static struct vmem_mapping page_beside(const struct scene *sc,
				       const struct vmem_mapping *m)
{
	struct vmem_mapping page = *m;

	page.va = m->va - 3 * m->page_size;
	page.last_va = page.va + m->page_size - 1;
	return page;
}

/* The first write moves the table, which must not be the end of the others. */
static void vmem_map_moves(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, true);
	struct vmem_mapping m, beside;
	u64 root;
	int level;

	for (level = 1; level <= sc->mode->max_leaf; level++) {
		scene_reset(sc);
		m = pages_at(sc, level, space_va(sc->g->s, level), 3);
		beside = page_beside(sc, &m);
		KUNIT_EXPECT_EQ(test, map(sc, &beside), 0);
		root = sc->g->roots[0].table;
		tables_freeze(sc->tb);
		tables_forget(sc->tb);
		KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
		expect_mapped(sc, &m);
		expect_mapped(sc, &beside);
		KUNIT_EXPECT_EQ(test, sc->tb->allocs, 0);
		KUNIT_EXPECT_EQ(test, sc->tb->moves, sc->mode->top - level + 1);
		KUNIT_EXPECT_EQ(test, sc->tb->updates, 1);
		KUNIT_EXPECT_NE(test, sc->g->roots[0].table, root);
		KUNIT_EXPECT_EQ(test, sc->g->roots[0].table,
				sc->g->regs[0].cr3);
		KUNIT_EXPECT_TRUE(test, tables_kept(sc->tb));
	}
	scene_free(sc);
}

static void vmem_map_moves_unmapping(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, true);
	struct vmem_mapping m = some_pages(sc, 1, 6);
	struct vmem_mapping n = nothing_at(m.va + SZ_4K, m.va + 5 * SZ_4K - 1);

	KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
	tables_freeze(sc->tb);
	KUNIT_EXPECT_EQ(test, map(sc, &n), 0);
	KUNIT_EXPECT_TRUE(test, tables_kept(sc->tb));
	KUNIT_EXPECT_EQ(test, sc->tb->updates, 1);
	expect_nothing(sc, n.va);
	expect_nothing(sc, n.va + 2 * SZ_4K);
	expect_nothing(sc, n.last_va);
	m.last_va = n.va - 1;
	expect_mapped(sc, &m);
	m.va = n.last_va + 1;
	m.gpa += 5 * SZ_4K;
	m.last_va = m.va + SZ_4K - 1;
	expect_mapped(sc, &m);
	scene_free(sc);
}

/* A new table's parent moves before the table is there. */
static void vmem_map_moves_for_a_table(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, true);
	struct vmem_mapping m = some_pages(sc, 1, 2);
	struct vmem_mapping n = m;

	m.last_va = m.va + SZ_4K - 1;
	n.va = m.last_va + 1;
	n.gpa += SZ_4K;
	KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
	tables_freeze(sc->tb);
	KUNIT_EXPECT_EQ(test, map(sc, &n), 0);
	KUNIT_EXPECT_TRUE(test, tables_kept(sc->tb));
	expect_mapped(sc, &m);
	expect_mapped(sc, &n);
	scene_free(sc);
}

/* Bits of an entry that names a table, of which the processor makes nothing. */
static u64 odd_bits(const struct mode *mode)
{
	u64 bits = BIT_ULL(3) | BIT_ULL(5) | BIT_ULL(10);

	return mode_is_long(mode) ? bits | BIT_ULL(58) | BIT_ULL(52) : bits;
}

static void vmem_map_moves_keep_flags(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, true);
	struct vmem_mapping m = pages_at(sc, 1, space_va(sc->g->s, 1), 1);
	struct vmem_mapping beside = page_beside(sc, &m);
	u64 root = sc->g->roots[0].table;
	struct ref before, after;
	u64 flags, raw;
	int i, level;

	KUNIT_EXPECT_EQ(test, map(sc, &beside), 0);
	for (level = sc->mode->top; level > 1; level--) {
		before = ref_at(sc, 0, m.va);
		raw = before.t.out_trace[sc->mode->top - level].raw;
		flags = PTE_P | PTE_U | odd_bits(sc->mode);
		group_link(sc->g, root, m.va, level - 1, raw & PTE_ADDR, flags);
	}
	tables_freeze(sc->tb);
	before = ref_at(sc, 0, beside.va);
	m.perms &= ~VMEM_WRITABLE;
	KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
	expect_mapped(sc, &m);
	after = ref_at(sc, 0, beside.va);
	for (i = 0; i < sc->mode->top - 1; i++) {
		KUNIT_EXPECT_EQ(test, before.t.out_trace[i].raw & ~PTE_ADDR,
				after.t.out_trace[i].raw & ~PTE_ADDR);
		KUNIT_EXPECT_NE(test, before.t.out_trace[i].raw,
				after.t.out_trace[i].raw);
	}
	scene_free(sc);
}

/* Who moved the root says so, and does not go on if nobody could be told. */
static void vmem_map_moves_untold(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, true);
	struct vmem_mapping m = pages_at(sc, 1, space_va(sc->g->s, 1), 3);
	struct vmem_mapping beside = page_beside(sc, &m);
	u64 root = sc->g->roots[0].table;

	KUNIT_EXPECT_EQ(test, map(sc, &beside), 0);
	tables_freeze(sc->tb);
	sc->tb->fail_update = 1;
	KUNIT_EXPECT_EQ(test, map(sc, &m), -EBADE);
	KUNIT_EXPECT_EQ(test, sc->g->roots[0].table, root);
	KUNIT_EXPECT_TRUE(test, tables_kept(sc->tb));
	expect_mapped(sc, &beside);
	expect_nothing(sc, m.va);
	KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
	expect_mapped(sc, &m);
	scene_free(sc);
}

/* A write that fails on the way up leaves what was there reachable. */
static void vmem_map_moves_fail(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, true);
	struct vmem_mapping m = pages_at(sc, 1, space_va(sc->g->s, 1), 3);
	struct vmem_mapping beside = page_beside(sc, &m);
	int nth;

	for (nth = 1; nth <= sc->mode->top; nth++) {
		scene_reset(sc);
		KUNIT_EXPECT_EQ(test, map(sc, &beside), 0);
		tables_freeze(sc->tb);
		sc->tb->fail_write = nth;
		KUNIT_EXPECT_EQ(test, map(sc, &m), -EBADE);
		KUNIT_EXPECT_TRUE(test, tables_kept(sc->tb));
		expect_mapped(sc, &beside);
		expect_nothing(sc, m.va);
		KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
		expect_mapped(sc, &m);
		expect_mapped(sc, &beside);
	}
	scene_free(sc);
}

/* A table that moves although it was to stay is one that nobody names. */
static void vmem_map_moves_unasked(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, true);
	struct vmem_mapping m = pages_at(sc, 1, space_va(sc->g->s, 1), 3);
	struct vmem_tables_ops ops = *sc->tb->t.ops;

	ops.moves = NULL;
	sc->tb->t.ops = &ops;
	tables_freeze(sc->tb);
	KUNIT_EXPECT_EQ(test, map(sc, &m), -EINVAL);
	KUNIT_EXPECT_EQ(test, sc->tb->updates, 0);
	scene_free(sc);
}

/* What the walk's callbacks may answer means nothing from one of the tables'. */
static void vmem_map_bad_answers(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, true);
	struct vmem_mapping m = pages_at(sc, 1, space_va(sc->g->s, 1), 3);
	int *fails[] = { &sc->tb->fail_alloc, &sc->tb->fail_write,
			 &sc->tb->fail_update };
	int i, answer;

	for (i = 0; i < (int)ARRAY_SIZE(fails); i++) {
		for (answer = 1; answer <= VMEM_WALK_MOVE + 1; answer++) {
			scene_reset(sc);
			tables_freeze(sc->tb);
			*fails[i] = 1;
			sc->tb->fail_with = answer;
			KUNIT_ASSERT_EQ(test, map(sc, &m), -EINVAL);
			KUNIT_EXPECT_TRUE(test, tables_kept(sc->tb));
			tables_forget(sc->tb);
			KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
			expect_mapped(sc, &m);
		}
	}
	scene_free(sc);
}

/*
 * Entries as the processor leaves them behind.
 */
static void expect_used(struct scene *sc, const struct vmem_mapping *m,
			bool used)
{
	struct ref ref = ref_at(sc, 0, m->va);
	u64 leaf = used ? VMEM_RAW_ACCESSED : 0;
	int i, last = ref.t.out_nr_trace - 1;

	for (i = 0; i < last; i++)
		KUNIT_EXPECT_EQ(sc->test,
				ref.t.out_trace[i].raw &
					(VMEM_RAW_ACCESSED | VMEM_RAW_DIRTY),
				space_link(sc->g->s, sc->mode->top - i, 0,
					   leaf));
	if (used && m->perms & VMEM_WRITABLE)
		leaf |= VMEM_RAW_DIRTY;
	KUNIT_EXPECT_EQ(sc->test,
			ref.t.out_trace[last].raw &
				(VMEM_RAW_ACCESSED | VMEM_RAW_DIRTY),
			leaf);
}

/* Accessed everywhere, and Dirty where it is no shadow stack. */
static void map_used(struct scene *sc, int level, u32 perms, bool used)
{
	struct vmem_mapping m =
		pages_at(sc, level, space_va(sc->g->s, level), 2);

	scene_reset(sc);
	sc->tb->t.used = used;
	m.perms = perms;
	KUNIT_EXPECT_EQ(sc->test, map(sc, &m), 0);
	expect_mapped(sc, &m);
	expect_used(sc, &m, used);
	m.kind = VMEM_KIND_COW;
	m.perms &= ~VMEM_WRITABLE;
	KUNIT_EXPECT_EQ(sc->test, map(sc, &m), 0);
	expect_mapped(sc, &m);
	expect_used(sc, &m, used);
	sc->tb->t.used = false;
}

static void vmem_map_used(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, false);
	int level;
	u32 perms;

	for (level = 1; level <= sc->mode->max_leaf; level++) {
		for (perms = 0; perms <= ALL_PERMS; perms++) {
			if (!can_say(sc->mode, perms))
				continue;
			map_used(sc, level, perms, true);
			map_used(sc, level, perms, false);
		}
	}
	scene_free(sc);
}

/*
 * Part six: tables that several entries name do not move.
 */
static int learn(struct scene *sc)
{
	return vmem_tables_learn(&sc->tb->t, sc->g->roots, sc->g->nr_roots);
}

/*
 * A page in the space of @root is not to be had: every space is as it was, and
 * there is no table more.
 */
static void expect_stuck(struct scene *sc, int root,
			 const struct vmem_mapping *m)
{
	u64 tables[GROUP_MAX_ROOTS];
	u32 i;

	for (i = 0; i < sc->g->nr_roots; i++)
		tables[i] = sc->g->roots[i].table;
	tables_freeze(sc->tb);
	tables_forget(sc->tb);
	KUNIT_EXPECT_EQ(sc->test, map_in(sc, root, m), -EMLINK);
	KUNIT_EXPECT_TRUE(sc->test, guest_equal(sc->g->s->guest, sc->tb->was));
	KUNIT_EXPECT_EQ(sc->test, sc->tb->updates, 0);
	for (i = 0; i < sc->g->nr_roots; i++)
		KUNIT_EXPECT_EQ(sc->test, sc->g->roots[i].table, tables[i]);
}

/* Two spaces, or one of them twice, have a table of the share's level. */
static struct scene *share_table(struct kunit *test, int second, int nth)
{
	const struct share *share = test->param_value;
	struct scene *sc = scene_alloc(test, share->mode, true);
	u64 region = group_region(sc->g, share->level);
	u64 va = sc->mode->va & -region, table;

	add_space(sc);
	table = group_add_table(sc->g);
	group_link(sc->g, sc->g->roots[0].table, va, share->level, table,
		   PTE_PWU);
	group_link(sc->g, sc->g->roots[second].table, va + nth * region,
		   share->level, table, PTE_PWU);
	return sc;
}

static u64 share_va(const struct scene *sc)
{
	const struct share *share = sc->test->param_value;

	return sc->mode->va & -group_region(sc->g, share->level);
}

static void expect_share_stuck(struct scene *sc, int second, int nth)
{
	const struct share *share = sc->test->param_value;
	u64 region = group_region(sc->g, share->level);
	struct vmem_mapping m = pages_at(sc, 1, share_va(sc) + SZ_16K, 3);
	struct vmem_mapping n =
		pages_at(sc, 1, share_va(sc) + nth * region + SZ_32K, 3);

	expect_stuck(sc, 0, &m);
	expect_stuck(sc, second, &n);
}

static void vmem_map_shared_by_two(struct kunit *test)
{
	struct scene *sc = share_table(test, 1, 0);

	KUNIT_EXPECT_EQ(test, learn(sc), 0);
	expect_share_stuck(sc, 1, 0);
	scene_free(sc);
}

static void vmem_map_shared_in_one(struct kunit *test)
{
	struct scene *sc = share_table(test, 0, 1);

	KUNIT_EXPECT_EQ(test, learn(sc), 0);
	expect_share_stuck(sc, 0, 1);
	scene_free(sc);
}

/* Only what is shared stays: what is beside it moves. */
static void vmem_map_beside_shared(struct kunit *test)
{
	const struct share *share = test->param_value;
	struct scene *sc = share_table(test, 1, 0);
	u64 region = group_region(sc->g, share->level);
	struct vmem_mapping m = pages_at(sc, 1, share_va(sc) + 2 * region, 3);

	KUNIT_EXPECT_EQ(test, learn(sc), 0);
	tables_freeze(sc->tb);
	KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
	expect_mapped(sc, &m);
	KUNIT_EXPECT_TRUE(test, tables_kept(sc->tb));
	KUNIT_EXPECT_EQ(test, sc->g->roots[1].table, sc->g->regs[1].cr3);
	scene_free(sc);
}

/* A shared table that does not have to move can be written to. */
static void vmem_map_in_shared(struct kunit *test)
{
	struct scene *sc = share_table(test, 1, 0);
	struct vmem_mapping m = pages_at(sc, 1, share_va(sc) + SZ_16K, 3);

	KUNIT_EXPECT_EQ(test, learn(sc), 0);
	KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
	expect_mapped_in(sc, 0, &m);
	expect_mapped_in(sc, 1, &m);
	scene_free(sc);
}

/* The root's parents are CR3 and an entry of its own. */
static void vmem_map_self_map(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, true);
	struct vmem_mapping m = pages_at(sc, 1, space_va(sc->g->s, 1), 3);
	u64 root = sc->g->roots[0].table;

	group_put(sc->g, root, 3,
		  space_link(sc->g->s, sc->mode->top, root & VMEM_PAGE_MASK,
			     PTE_PWU));
	KUNIT_EXPECT_EQ(test, learn(sc), 0);
	expect_stuck(sc, 0, &m);
	scene_free(sc);
}

/* A table is a page table here and a page directory there. */
static void vmem_map_two_levels(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, true);
	u64 root = sc->g->roots[0].table;
	u64 va = sc->mode->va & -group_region(sc->g, 2), table;
	struct vmem_mapping m;

	if (sc->mode->top == 2)
		kunit_skip(test, "only one level can be shared");
	table = group_add_table(sc->g);
	group_link(sc->g, root, va, 2, table, PTE_PWU);
	group_link(sc->g, root, va + group_region(sc->g, 2), 1, table, PTE_PWU);
	KUNIT_EXPECT_EQ(test, learn(sc), 0);
	m = pages_at(sc, 1, va + SZ_16K, 1);
	expect_stuck(sc, 0, &m);
	m.va += group_region(sc->g, 2);
	m.last_va += group_region(sc->g, 2);
	expect_stuck(sc, 0, &m);
	scene_free(sc);
}

/* A root of its own is the table of another space as well, before or after. */
static void root_in_another(struct kunit *test, int outer, int inner)
{
	struct scene *sc = scene_alloc(test, test->param_value, true);
	int level = sc->mode->top - 1;
	u64 va = sc->mode->va & -group_region(sc->g, level);
	struct vmem_mapping m;

	add_space(sc);
	group_link(sc->g, sc->g->roots[outer].table, va, level,
		   sc->g->roots[inner].table & VMEM_PAGE_MASK, PTE_PWU);
	KUNIT_EXPECT_EQ(test, learn(sc), 0);
	m = pages_at(sc, 1, sc->mode->va, 1);
	expect_stuck(sc, inner, &m);
	scene_free(sc);
}

/* A root given twice: each of them names the table. */
static void vmem_map_root_twice(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, true);
	struct vmem_mapping m = pages_at(sc, 1, sc->mode->va, 1);

	group_add_root(sc->g, sc->g->roots[0].table);
	KUNIT_EXPECT_EQ(test, learn(sc), 0);
	expect_stuck(sc, 0, &m);
	expect_stuck(sc, 1, &m);
	scene_free(sc);
}

/* The tables below it could move, but their copies would hang on nothing. */
static void vmem_map_below_root_twice(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value, true);
	struct vmem_mapping m = pages_at(sc, 1, sc->mode->va, 1);
	struct vmem_mapping n = page_beside(sc, &m);

	KUNIT_EXPECT_EQ(test, map(sc, &m), 0);
	group_add_root(sc->g, sc->g->roots[0].table);
	KUNIT_EXPECT_EQ(test, learn(sc), 0);
	expect_stuck(sc, 0, &n);
	m.gpa += SZ_4K;
	expect_stuck(sc, 1, &m);
	n = nothing_at(m.va, m.last_va);
	expect_stuck(sc, 0, &n);
	scene_free(sc);
}

static void vmem_map_root_in_later(struct kunit *test)
{
	root_in_another(test, 1, 0);
}

static void vmem_map_root_in_earlier(struct kunit *test)
{
	root_in_another(test, 0, 1);
}

/*
 * Part seven: random sequences, against a model that knows a page by its
 * number. The window straddles the region of an upper table.
 */
#define MODEL_REGIONS 4
#define MODEL_MAX_PAGES (MODEL_REGIONS * 1024)
#define NR_OPS 120

/**
 * struct model - what is mapped, page by page
 * @sc: where it is really mapped
 * @rng: where the randomness comes from
 * @va: first address of the window
 * @nr: pages of 4 KiB in it
 * @per_table: pages of 4 KiB that a page table maps
 * @pages: the mapping that holds each; @kind is UNMAPPED if none does, and @va
 *	that of the page
 * @table: regions that have a page table
 */
struct model {
	struct scene *sc;
	struct rnd_state rng;
	u64 va;
	u32 nr;
	u32 per_table;
	struct vmem_mapping pages[MODEL_MAX_PAGES];
	bool table[MODEL_REGIONS];
};

static struct model *model_alloc(struct kunit *test, bool movable)
{
	struct model *mo = kunit_kzalloc(test, sizeof(*mo), GFP_KERNEL);
	u64 region;

	KUNIT_ASSERT_NOT_NULL(test, mo);
	mo->sc = scene_alloc(test, test->param_value, movable);
	region = group_region(mo->sc->g, 1);
	mo->per_table = region / SZ_4K;
	mo->nr = MODEL_REGIONS * mo->per_table;
	mo->va = mo->sc->mode->va & -group_region(mo->sc->g, 2);
	/* In PAE paging, that is 0. */
	mo->va = (mo->va ?: group_region(mo->sc->g, 2)) - 2 * region;
	if (mo->sc->mode->top == 2)
		mo->va = mo->sc->mode->va;
	rng_seed(&mo->rng, rng_first_seed);
	return mo;
}

static struct vmem_mapping random_mapping(struct model *mo)
{
	const struct mode *mode = mo->sc->mode;
	int level = 1 + rng_below(&mo->rng, min(mode->max_leaf, 2));
	u32 unit = level == 1 ? 1 : mo->per_table;
	u32 first = rng_below(&mo->rng, mo->nr / unit) * unit;
	u32 nr = 1 + rng_below(&mo->rng, level == 1 ? 40 : 2);
	struct vmem_mapping m =
		pages_at(mo->sc, level, mo->va + (u64)first * SZ_4K, nr);
	u64 end = mo->va + (u64)mo->nr * SZ_4K;

	m.gpa += rng_below(&mo->rng, 8) * m.page_size;
	m.perms = rng_below(&mo->rng, 8);
	if (!can_say(mode, m.perms))
		m.perms |= VMEM_EXECUTABLE;
	m.kind = rng_below(&mo->rng, 3);
	if (m.kind == VMEM_KIND_COW)
		m.perms &= ~VMEM_WRITABLE;
	if (m.kind == VMEM_KIND_UNMAPPED && rng_one_in(&mo->rng, 4))
		m.last_va += (u64)mo->per_table * SZ_4K;
	if (m.last_va >= end)
		m.last_va = end - 1;
	return m;
}

static u32 page_nr(const struct model *mo, u64 va)
{
	return (va - mo->va) / SZ_4K;
}

static bool overlaps_in_part(const struct model *mo,
			     const struct vmem_mapping *m,
			     const struct vmem_mapping *page)
{
	u64 base = page->va & -page->page_size;

	return base < m->va || base + (page->page_size - 1) > m->last_va;
}

static int model_check(const struct model *mo, const struct vmem_mapping *m)
{
	u32 i, last = page_nr(mo, m->last_va);

	for (i = page_nr(mo, m->va); i <= last; i++) {
		const struct vmem_mapping *page = &mo->pages[i];
		bool mapped = page->kind != VMEM_KIND_UNMAPPED;

		if (m->kind == VMEM_KIND_UNMAPPED) {
			if (mapped && overlaps_in_part(mo, m, page))
				return -EEXIST;
			continue;
		}
		if (mapped && page->page_size != m->page_size)
			return -EEXIST;
		if (m->page_size > SZ_4K && mo->table[i / mo->per_table])
			return -EEXIST;
	}
	return 0;
}

static void model_map(struct model *mo, const struct vmem_mapping *m)
{
	u32 i, last = page_nr(mo, m->last_va);

	for (i = page_nr(mo, m->va); i <= last; i++) {
		u64 va = mo->va + (u64)i * SZ_4K;

		mo->pages[i] = *m;
		mo->pages[i].va = va;
		mo->pages[i].gpa = m->gpa + (va - m->va);
		if (m->kind != VMEM_KIND_UNMAPPED && m->page_size == SZ_4K)
			mo->table[i / mo->per_table] = true;
	}
}

static bool model_agrees(const struct model *mo)
{
	const struct vmem_mapping *page;
	struct ref ref;
	u32 i;

	for (i = 0; i < mo->nr; i++) {
		u64 va = mo->va + (u64)i * SZ_4K;

		page = &mo->pages[i];
		ref = ref_at(mo->sc, 0, va);
		if (page->kind == VMEM_KIND_UNMAPPED ?
			    ref.t.out_status != VMEM_NOT_PRESENT :
			    !page_fits(&ref, page, va)) {
			kunit_err(mo->sc->test, "%#llx: status %u, kind %u", va,
				  ref.t.out_status, page->kind);
			return false;
		}
	}
	return true;
}

static void random_ops(struct model *mo)
{
	struct kunit *test = mo->sc->test;
	bool movable = mo->sc->tb->t.ops->update_root;
	struct vmem_mapping m;
	int i, want;

	for (i = 0; i < NR_OPS; i++) {
		if (movable && rng_one_in(&mo->rng, 8))
			tables_freeze(mo->sc->tb);
		m = random_mapping(mo);
		want = model_check(mo, &m);
		if (!want)
			model_map(mo, &m);
		else
			remember(mo->sc);
		KUNIT_ASSERT_EQ(test, map(mo->sc, &m), want);
		if (want)
			expect_untouched(mo->sc);
		KUNIT_ASSERT_TRUE(test, tables_kept(mo->sc->tb));
		if (i % 4 == 0)
			KUNIT_ASSERT_TRUE(test, model_agrees(mo));
		cond_resched();
	}
	KUNIT_EXPECT_TRUE(test, model_agrees(mo));
	scene_free(mo->sc);
}

static void vmem_map_random(struct kunit *test)
{
	struct model *mo = model_alloc(test, false);
	int i, regions = 0, allocs = 0;

	random_ops(mo);
	for (i = 0; i < MODEL_REGIONS; i++)
		regions += mo->table[i];
	allocs = mo->sc->g->s->guest->nr_pages - 1;
	/* Two page directories, and one table of each level above those. */
	if (mo->sc->mode->top > 2)
		regions += mo->sc->mode->top - 1;
	KUNIT_EXPECT_EQ(test, allocs, regions);
}

static void vmem_map_random_moves(struct kunit *test)
{
	struct model *mo = model_alloc(test, true);

	random_ops(mo);
}

static struct kunit_case vmem_map_test_cases[] = {
	KUNIT_CASE_PARAM(vmem_map_sizes, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_tables, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_last_page, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_first_page, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_replaces, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_unmap_empty, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_unmap, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_unmap_large, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_unmap_refused, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_refused, refusal_gen_params),
	KUNIT_CASE(vmem_map_over_encryption),
	KUNIT_CASE_PARAM(vmem_map_enough_rights, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_no_memory, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_no_write, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_no_pin, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_unreadable, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_moves, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_moves_unmapping, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_moves_for_a_table, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_moves_keep_flags, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_moves_untold, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_moves_fail, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_moves_unasked, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_bad_answers, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_used, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_shared_by_two, share_gen_params),
	KUNIT_CASE_PARAM(vmem_map_shared_in_one, share_gen_params),
	KUNIT_CASE_PARAM(vmem_map_beside_shared, share_gen_params),
	KUNIT_CASE_PARAM(vmem_map_in_shared, share_gen_params),
	KUNIT_CASE_PARAM(vmem_map_self_map, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_two_levels, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_root_twice, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_below_root_twice, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_root_in_later, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_root_in_earlier, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_random, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_map_random_moves, mode_gen_params),
	{}
};

static struct kunit_suite vmem_map_suite = {
	.name = "vmem_map",
	.test_cases = vmem_map_test_cases,
};

kunit_test_suite(vmem_map_suite);
