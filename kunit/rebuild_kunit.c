// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rebuilds: what is built is what was there, page for page and link for link,
 * in spaces made by hand and in random graphs.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "graph.h"
#include "rebuild.h"

#define NR_GRAPHS 300
#define MAX_CALLS 20000

KUNIT_ARRAY_PARAM(mode, modes, mode_desc);
KUNIT_ARRAY_PARAM(share, shares, share_desc);

/**
 * struct scene - spaces made by hand, and what is built after them
 * @test: the test it belongs to
 * @mode: how they page
 * @g: the spaces
 * @re: what is built
 */
struct scene {
	struct kunit *test;
	const struct mode *mode;
	struct group *g;
	struct rebuilt *re;
};

static void add_space(struct scene *sc)
{
	group_add_root(sc->g, group_new_root(sc->g));
}

static void scene_reset(struct scene *sc)
{
	group_reset(sc->g, true);
	add_space(sc);
}

static struct scene *scene_alloc(struct kunit *test, const struct mode *mode)
{
	struct scene *sc = kunit_kzalloc(test, sizeof(*sc), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, sc);
	sc->test = test;
	sc->mode = mode;
	sc->g = group_alloc(test, mode);
	sc->re = rebuilt_alloc(test, sc->g, oracle_alloc(test));
	scene_reset(sc);
	return sc;
}

/*
 * Map a page of @level in the space of @root, and tables on the way. A large
 * page has PAT set, unless it is among @flags.
 */
static void map_page(struct scene *sc, u32 root, u64 va, int level, u64 flags)
{
	struct space *s = sc->g->s;
	u64 raw = space_leaf(s, level, space_frame(s, level), 0);

	group_set(sc->g, sc->g->roots[root].table, va, level, raw ^ flags);
}

static void rebuild(struct scene *sc)
{
	rebuilt_begin(sc->re);
	KUNIT_ASSERT_EQ(sc->test, rebuilt_run(sc->re, U64_MAX), 0);
}

static void expect_rebuilt(struct scene *sc)
{
	rebuild(sc);
	KUNIT_EXPECT_TRUE(sc->test, rebuilt_check_pages(sc->re));
	KUNIT_EXPECT_TRUE(sc->test, rebuilt_check_walk(sc->re));
	rebuilt_end(sc->re);
}

static struct ref new_ref(const struct scene *sc, u32 root, u64 va)
{
	struct ref ref;

	ref_translate(sc->re->to->s->guest, &sc->re->to->regs[root], va, &ref);
	return ref;
}

/*
 * Part one: by hand.
 */
static void vmem_rebuild_nothing(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);

	expect_rebuilt(sc);
	KUNIT_EXPECT_EQ(test, sc->re->tb->allocs, 1);
	KUNIT_EXPECT_EQ(test, sc->re->tb->writes, 0);
}

static void vmem_rebuild_sizes(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	int level;

	for (level = 1; level <= sc->mode->max_leaf; level++) {
		scene_reset(sc);
		map_page(sc, 0, space_va(sc->g->s, level), level, PTE_PWU);
		map_page(sc, 0, sc->mode->last, level, PTE_P);
		map_page(sc, 0, 0, level, PTE_P | PTE_U);
		expect_rebuilt(sc);
	}
}

/* All new roots are the first tables, in order, those given twice once. */
static void expect_roots(struct scene *sc)
{
	struct group *to = sc->re->to;
	u64 first = to->s->guest->pages[0].gpa + sc->mode->root_at;
	u64 step = group_root_step(to);

	KUNIT_EXPECT_EQ(sc->test, to->roots[0].table, first);
	KUNIT_EXPECT_EQ(sc->test, to->roots[1].table, first + step);
	KUNIT_EXPECT_EQ(sc->test, to->roots[2].table, first);
	KUNIT_EXPECT_EQ(sc->test, to->roots[3].table, first + 2 * step);
}

/* Two spaces, the first again, and one without memory behind it. */
static void add_roots(struct scene *sc)
{
	add_space(sc);
	group_add_root(sc->g, sc->g->roots[0].table);
	group_add_root(sc->g, sc->mode->tables + SZ_1M / 2);
	map_page(sc, 0, space_va(sc->g->s, 1), 1, PTE_PWU);
	map_page(sc, 1, space_va(sc->g->s, 1), 1, PTE_P);
}

static void vmem_rebuild_roots(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);

	add_roots(sc);
	expect_rebuilt(sc);
	expect_roots(sc);
	KUNIT_EXPECT_EQ(test, sc->re->rb.stats.dropped, 1ULL);
}

/* What fails is gone on with, and makes nothing twice. */
static void vmem_rebuild_no_memory(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	int nth, ret;

	add_roots(sc);
	for (nth = 1;; nth++) {
		rebuilt_begin(sc->re);
		sc->re->tb->fail_alloc = nth;
		ret = rebuilt_run(sc->re, U64_MAX);
		if (!ret)
			break;
		KUNIT_EXPECT_EQ(test, ret, -ENOMEM);
		KUNIT_EXPECT_EQ(test, sc->re->tb->allocs, nth - 1);
		KUNIT_ASSERT_EQ(test, rebuilt_run(sc->re, U64_MAX), 0);
		expect_roots(sc);
		KUNIT_EXPECT_TRUE(test, rebuilt_check_pages(sc->re));
		KUNIT_EXPECT_TRUE(test, rebuilt_check_walk(sc->re));
		rebuilt_end(sc->re);
	}
	rebuilt_end(sc->re);
	KUNIT_EXPECT_EQ(test, nth, 4 + 2 * (sc->mode->top - 1));
}

/* Once all is done, another call does nothing. */
static void vmem_rebuild_done(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	struct vmem_rebuild_stats stats;

	add_roots(sc);
	map_page(sc, 1, sc->mode->last, 1, PTE_P);
	rebuild(sc);
	stats = sc->re->rb.stats;
	tables_freeze(sc->re->tb);
	KUNIT_EXPECT_EQ(test, rebuilt_run(sc->re, U64_MAX), 0);
	KUNIT_EXPECT_TRUE(test,
			  guest_equal(sc->re->to->s->guest, sc->re->tb->was));
	KUNIT_EXPECT_EQ(test, sc->re->rb.stats.leaves, stats.leaves);
	KUNIT_EXPECT_EQ(test, sc->re->rb.stats.dropped, stats.dropped);
	KUNIT_EXPECT_EQ(test, sc->re->rb.stats.tables, stats.tables);
	rebuilt_end(sc->re);
}

/* A CR3 that cannot name the root, or an entry that cannot name the table. */
static void vmem_rebuild_too_high(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 end = mode_roots_end(sc->mode);
	int i, tables = sc->mode->top;

	rebuilt_begin(sc->re);
	sc->re->to->s->next_table = end;
	KUNIT_EXPECT_EQ(test, rebuilt_run(sc->re, U64_MAX), -ERANGE);
	rebuilt_end(sc->re);
	map_page(sc, 0, space_va(sc->g->s, 1), 1, PTE_PWU);
	/* What CR3 cannot name, a PDPTE of PAE may. */
	if (end < mode_tables_end(sc->mode))
		tables = 1;
	for (i = 0; i < tables; i++) {
		rebuilt_begin(sc->re);
		sc->re->to->s->next_table = end - i * SZ_4K;
		KUNIT_EXPECT_EQ(test, rebuilt_run(sc->re, U64_MAX), -ERANGE);
		rebuilt_end(sc->re);
	}
	rebuilt_begin(sc->re);
	sc->re->to->s->next_table = end - i * SZ_4K;
	KUNIT_EXPECT_EQ(test, rebuilt_run(sc->re, U64_MAX), 0);
	rebuilt_end(sc->re);
}

/* A scope that cuts a page of 4 KiB, at any of its ends. */
static void expect_cut(struct scene *sc)
{
	rebuilt_begin(sc->re);
	KUNIT_EXPECT_EQ(sc->test, rebuilt_run(sc->re, U64_MAX), -EINVAL);
	KUNIT_EXPECT_EQ(sc->test, sc->re->tb->allocs, 0);
	rebuilt_end(sc->re);
}

static void vmem_rebuild_cuts_page(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);

	map_page(sc, 0, space_va(sc->g->s, 1), 1, PTE_PWU);
	group_set_range(sc->g, 1, U64_MAX);
	expect_cut(sc);
	group_set_range(sc->g, 0, U64_MAX - 1);
	expect_cut(sc);
	group_set_range(sc->g, 0, SZ_4K);
	expect_cut(sc);
	group_set_range(sc->g, 0, U64_MAX);
	group_exclude(sc->g, SZ_4K, SZ_8K - 1);
	expect_rebuilt(sc);
	group_exclude(sc->g, SZ_16K, SZ_32K);
	expect_cut(sc);
	group_set_range(sc->g, 0, U64_MAX);
	group_exclude(sc->g, SZ_4K + 8, SZ_8K - 1);
	expect_cut(sc);
}

/* A scope without an address, or one that leaves out what is no range. */
static void vmem_rebuild_empty_range(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);

	map_page(sc, 0, space_va(sc->g->s, 1), 1, PTE_PWU);
	group_set_range(sc->g, SZ_4K, SZ_4K - 1);
	expect_cut(sc);
	group_set_range(sc->g, SZ_64K, SZ_16K - 1);
	expect_cut(sc);
	group_set_range(sc->g, 0, U64_MAX);
	group_exclude(sc->g, SZ_4K, SZ_4K - 1);
	expect_cut(sc);
	group_set_range(sc->g, 0, U64_MAX);
	rebuilt_begin(sc->re);
	sc->re->rb.nr_roots = 0;
	KUNIT_EXPECT_EQ(test, rebuilt_run(sc->re, U64_MAX), -EINVAL);
	rebuilt_end(sc->re);
}

/* A large page that lies in the scope in part is smaller ones in there. */
static void cut_page(struct scene *sc, int level, u64 flags)
{
	u64 va = space_va(sc->g->s, level), size = space_span(sc->g->s, level);
	u64 half = va + size / 2;

	scene_reset(sc);
	map_page(sc, 0, va, level, flags);
	map_page(sc, 0, va + size, level, flags);
	group_set_range(sc->g, va + SZ_4K, va + 2 * size - 1);
	expect_rebuilt(sc);
	group_set_range(sc->g, 0, va + size + SZ_8K - 1);
	expect_rebuilt(sc);
	group_set_range(sc->g, 0, U64_MAX);
	group_exclude(sc->g, half - SZ_4K, half + SZ_8K - 1);
	group_exclude(sc->g, half + SZ_16K, half + SZ_16K + SZ_4K - 1);
	expect_rebuilt(sc);
	/* At its end, so that only whole pages of the next size remain. */
	group_set_range(sc->g, half, U64_MAX);
	expect_rebuilt(sc);
	KUNIT_EXPECT_LE(sc->test, sc->re->rb.stats.leaves, 1025ULL);
}

static void vmem_rebuild_cuts_large_page(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	bool nx = sc->mode->regs.efer & EFER_NX;
	int level;

	for (level = 2; level <= sc->mode->max_leaf; level++) {
		cut_page(sc, level, PTE_PWU);
		cut_page(sc, level, PTE_PWU | PTE_PAT_LARGE);
		cut_page(sc, level, PTE_P | GENMASK_ULL(6, 3) | BIT_ULL(8));
		if (nx)
			cut_page(sc, level, PTE_P | PTE_NX | BIT_ULL(62));
	}
}

/* The policy has large pages split, of which some are cut as well. */
static void split_page(struct scene *sc, int level, u64 flags)
{
	u64 va = space_va(sc->g->s, level), size = space_span(sc->g->s, level);

	scene_reset(sc);
	map_page(sc, 0, va, level, flags);
	map_page(sc, 0, va + size, level, flags);
	map_page(sc, 0, va + 2 * size, level - 1, PTE_PWU);
	rebuild(sc);
	KUNIT_EXPECT_TRUE(sc->test, rebuilt_check_pages(sc->re));
	KUNIT_EXPECT_EQ(sc->test, sc->re->rb.stats.leaves,
			2 * size / sc->re->split + 1);
	rebuilt_end(sc->re);
	group_set_range(sc->g, va + SZ_4K, U64_MAX);
	group_exclude(sc->g, va + size + SZ_8K, va + size + SZ_16K - 1);
	rebuild(sc);
	KUNIT_EXPECT_TRUE(sc->test, rebuilt_check_pages(sc->re));
	rebuilt_end(sc->re);
}

static void vmem_rebuild_splits(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	int level;

	for (level = 2; level <= sc->mode->max_leaf; level++) {
		sc->re->split = space_span(sc->g->s, level - 1);
		split_page(sc, level, PTE_PWU);
		split_page(sc, level, PTE_PWU | PTE_PAT_LARGE);
		split_page(sc, level, PTE_P | GENMASK_ULL(6, 3) | BIT_ULL(8));
	}
}

/* Tables that stand for a large page are as used as those that are made. */
static void vmem_rebuild_splits_used(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 va = space_va(sc->g->s, 2);
	struct ref ref;
	int used;

	if (sc->mode->max_leaf < 2)
		kunit_skip(test, "no large pages");
	map_page(sc, 0, va, 2, PTE_PWU);
	sc->re->split = SZ_4K;
	for (used = 0; used < 2; used++) {
		sc->re->tb->t.used = used;
		rebuild(sc);
		ref = new_ref(sc, 0, va);
		KUNIT_EXPECT_EQ(test, ref.t.out_level, 1U);
		KUNIT_EXPECT_EQ(test,
				ref.t.out_trace[sc->mode->top - 2].raw &
					VMEM_RAW_ACCESSED,
				used ? VMEM_RAW_ACCESSED : 0);
		/* The page's own are the guest's. */
		KUNIT_EXPECT_EQ(test,
				ref.t.out_trace[sc->mode->top - 1].raw &
					VMEM_RAW_ACCESSED,
				0ULL);
		rebuilt_end(sc->re);
	}
}

/* Each bit that a table's or a page's entry can have, at each level. */
static void keep_flags(struct scene *sc, int leaf, int level, u64 bit)
{
	u64 va = space_va(sc->g->s, leaf), root, entry, raw;

	scene_reset(sc);
	root = sc->g->roots[0].table;
	map_page(sc, 0, va, leaf, PTE_PWU);
	entry = group_entry(sc->g, root, va, level);
	guest_read(sc->g->s->guest, entry, sc->mode->entry_size, &raw);
	guest_write(sc->g->s->guest, entry, sc->mode->entry_size, raw ^ bit);
	expect_rebuilt(sc);
}

static void vmem_rebuild_keeps_flags(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	int leaf, level, bit, last;

	last = sc->mode->entry_size == 4     ? 11 :
	       sc->mode->regs.efer & EFER_NX ? 63 :
					       62;
	for (leaf = 1; leaf <= sc->mode->max_leaf; leaf++) {
		for (level = leaf; level <= sc->mode->top; level++) {
			for (bit = 1; bit <= last; bit++) {
				/* PS makes something else of it. */
				if ((bit == 7 && level > 1) ||
				    (bit > 11 && bit < 52))
					continue;
				keep_flags(sc, leaf, level, BIT_ULL(bit));
			}
		}
	}
}

/* What an entry above another has kept is one page's, not another's. */
static void vmem_rebuild_shares(struct kunit *test)
{
	const struct share *share = test->param_value;
	struct scene *sc = scene_alloc(test, share->mode);
	u64 region = group_region(sc->g, share->level);
	u64 va = sc->mode->va & -region, table, empty;

	add_space(sc);
	add_space(sc);
	map_page(sc, 0, va, 1, PTE_PWU);
	map_page(sc, 0, va + 3 * SZ_4K, 1, PTE_P);
	guest_read(sc->g->s->guest,
		   group_entry(sc->g, sc->g->roots[0].table, va,
			       share->level + 1),
		   sc->mode->entry_size, &table);
	table &= GENMASK_ULL(51, 12);
	empty = group_add_table(sc->g);
	group_link(sc->g, sc->g->roots[0].table, va + region, share->level,
		   table, PTE_P | PTE_U);
	group_link(sc->g, sc->g->roots[1].table, va, share->level, table,
		   PTE_P | PTE_W);
	group_link(sc->g, sc->g->roots[1].table, va + region, share->level,
		   empty, PTE_PWU);
	group_link(sc->g, sc->g->roots[2].table, va + 2 * region, share->level,
		   empty, PTE_PWU);
	expect_rebuilt(sc);
	KUNIT_EXPECT_EQ(test, sc->re->rb.stats.links, 2ULL);
	KUNIT_EXPECT_EQ(test, sc->re->rb.stats.empty_links, 1ULL);
	/* In part, at the same address and at another. */
	group_set_range(sc->g, va + SZ_4K, va + region + SZ_16K - 1);
	expect_rebuilt(sc);
	group_set_range(sc->g, va + SZ_4K, U64_MAX);
	expect_rebuilt(sc);
}

/* Of what a walk tells, and nothing else: no entry of a path is at hand. */
static void build_from_records(struct scene *sc)
{
	struct rebuilt *re = sc->re;
	struct vmem_built built = {
		.tables = &re->tb->t,
		.from = sc->g->roots,
		.roots = re->to->roots,
		.nr = sc->g->nr_roots,
	};
	struct vmem_spaces spaces;
	u32 i;
	int j;

	tables_reset(re->tb);
	for (i = 0; i < sc->g->nr_roots; i++)
		group_add_root(re->to, group_new_root(re->to));
	group_walk_all(sc->g, &spaces, re->records);
	for (j = 0; j < re->records->nr; j++) {
		if (re->records->r[j].type == VMEM_SPACE)
			continue;
		KUNIT_EXPECT_EQ(sc->test,
				vmem_space_aware_map(&built, &re->records->r[j],
						     NULL),
				0);
	}
	vmem_tables_destroy(&re->tb->t);
}

static u32 old_perms(const struct scene *sc, u32 root, u64 va)
{
	struct ref ref;

	ref_translate(sc->g->s->guest, &sc->g->regs[root], va, &ref);
	return ref.t.out_perms;
}

/*
 * The owner's path takes a right away that the page has and the reference's path
 * leaves it. With the paths, both are as they were; from records alone, the
 * page has lost it in both.
 */
static void vmem_rebuild_rights_of_records(struct kunit *test)
{
	const struct share *share = test->param_value;
	struct scene *sc = scene_alloc(test, share->mode);
	u64 va = sc->mode->va & -group_region(sc->g, share->level);
	u64 table = group_add_table(sc->g);
	u32 owner, reference;

	if (!mode_denies(share->mode, share->level + 1))
		kunit_skip(test, "the root grants everything");
	add_space(sc);
	group_link(sc->g, sc->g->roots[0].table, va, share->level, table,
		   PTE_P | PTE_U);
	group_link(sc->g, sc->g->roots[1].table, va, share->level, table,
		   PTE_P | PTE_W);
	map_page(sc, 0, va, 1, PTE_PWU);
	owner = old_perms(sc, 0, va);
	reference = old_perms(sc, 1, va);
	KUNIT_EXPECT_EQ(test, reference & ~owner, (u32)VMEM_WRITABLE);
	KUNIT_EXPECT_EQ(test, owner & ~reference, (u32)VMEM_USER);
	rebuild(sc);
	KUNIT_EXPECT_EQ(test, new_ref(sc, 0, va).t.out_perms, owner);
	KUNIT_EXPECT_EQ(test, new_ref(sc, 1, va).t.out_perms, reference);
	rebuilt_end(sc->re);
	build_from_records(sc);
	KUNIT_EXPECT_EQ(test, new_ref(sc, 0, va).t.out_perms, owner);
	KUNIT_EXPECT_EQ(test, new_ref(sc, 1, va).t.out_perms,
			reference & owner);
}

/**
 * struct answers - a policy that says what it is told to
 * @split: of pages larger than 4 KiB
 * @answer: of others, at addresses that have this bit set
 * @bit: the bit
 */
struct answers {
	bool split;
	int answer;
	u64 bit;
};

static int answer(const struct vmem_visit *visit, u64 *gpa, u64 len, void *priv)
{
	const struct answers *answers = priv;

	if (answers->split && len > SZ_4K)
		return VMEM_PLACE_SPLIT;
	return *gpa & answers->bit ? answers->answer : 0;
}

static int rebuild_with(struct scene *sc, struct answers *answers)
{
	static const struct vmem_rebuild_ops ops = { .place = answer };

	rebuilt_begin(sc->re);
	sc->re->rb.ops = &ops;
	sc->re->rb.priv = answers;
	return rebuilt_run(sc->re, U64_MAX);
}

/* What the walk's callbacks may answer means nothing from the policy. */
static void vmem_rebuild_bad_answers(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	struct answers answers = { .bit = U64_MAX };

	map_page(sc, 0, space_va(sc->g->s, 1), 1, PTE_PWU);
	for (answers.answer = VMEM_PLACE_SPLIT;
	     answers.answer <= VMEM_WALK_MOVE + 1; answers.answer++) {
		KUNIT_ASSERT_EQ(test, rebuild_with(sc, &answers), -EINVAL);
		KUNIT_EXPECT_EQ(test, sc->re->tb->allocs, 1);
		KUNIT_EXPECT_EQ(test, sc->re->rb.stats.leaves, 0ULL);
		rebuilt_end(sc->re);
	}
	rebuilt_begin(sc->re);
	sc->re->tb->fail_alloc = 1;
	sc->re->tb->fail_with = VMEM_WALK_STOP;
	KUNIT_EXPECT_EQ(test, rebuilt_run(sc->re, U64_MAX), -EINVAL);
	rebuilt_end(sc->re);
}

static void expect_placed(struct scene *sc, u32 root, u64 va, u64 gpa)
{
	struct ref ref = new_ref(sc, root, va);

	if (!gpa) {
		KUNIT_EXPECT_EQ(sc->test, ref.t.out_status,
				(u32)VMEM_NOT_PRESENT);
		return;
	}
	KUNIT_EXPECT_EQ(sc->test, ref.t.out_status, (u32)VMEM_MAPPED);
	KUNIT_EXPECT_EQ(sc->test, ref.t.out_gpa, gpa);
}

/*
 * A page that is left out has no entry. A table of which all are left out is not
 * made, and what refers to it refers to nothing.
 */
static void vmem_rebuild_left_out(struct kunit *test)
{
	const struct share *share = test->param_value;
	struct scene *sc = scene_alloc(test, share->mode);
	u64 region = group_region(sc->g, share->level);
	u64 va = sc->mode->va & -region, table = group_add_table(sc->g);
	u64 frame = space_frame(sc->g->s, 1), root = sc->g->roots[0].table;
	struct answers answers = { .answer = VMEM_PLACE_OUT, .bit = SZ_4K };

	add_space(sc);
	group_link(sc->g, root, va, share->level, table, PTE_PWU);
	group_link(sc->g, sc->g->roots[1].table, va, share->level, table,
		   PTE_PWU);
	group_set(sc->g, root, va, 1, (frame + SZ_4K) | PTE_PWU);
	KUNIT_ASSERT_EQ(test, rebuild_with(sc, &answers), 0);
	KUNIT_EXPECT_EQ(test, sc->re->tb->allocs, 2);
	KUNIT_EXPECT_EQ(test, sc->re->rb.stats.leaves, 0ULL);
	KUNIT_EXPECT_EQ(test, sc->re->rb.stats.left_out, 1ULL);
	KUNIT_EXPECT_EQ(test, sc->re->rb.stats.empty_links, 1ULL);
	expect_placed(sc, 0, va, 0);
	expect_placed(sc, 1, va, 0);
	rebuilt_end(sc->re);

	group_set(sc->g, root, va + SZ_4K, 1, frame | PTE_PWU);
	KUNIT_ASSERT_EQ(test, rebuild_with(sc, &answers), 0);
	KUNIT_EXPECT_EQ(test, sc->re->rb.stats.leaves, 1ULL);
	KUNIT_EXPECT_EQ(test, sc->re->rb.stats.left_out, 1ULL);
	KUNIT_EXPECT_EQ(test, sc->re->rb.stats.links, 1ULL);
	expect_placed(sc, 1, va, 0);
	expect_placed(sc, 1, va + SZ_4K, frame);
	rebuilt_end(sc->re);
}

/* A part of a large page, and a large page as a whole. */
static void vmem_rebuild_left_out_large(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	struct answers answers = { .answer = VMEM_PLACE_OUT, .bit = SZ_4K };
	u64 va = space_va(sc->g->s, 2), size = space_span(sc->g->s, 2);
	u64 frame = 0x80000000;

	if (sc->mode->max_leaf < 2)
		kunit_skip(test, "no large pages");
	group_set(sc->g, sc->g->roots[0].table, va, 2,
		  space_leaf(sc->g->s, 2, frame, PTE_PWU));
	answers.split = true;
	KUNIT_ASSERT_EQ(test, rebuild_with(sc, &answers), 0);
	KUNIT_EXPECT_EQ(test, sc->re->rb.stats.leaves, size / SZ_8K);
	KUNIT_EXPECT_EQ(test, sc->re->rb.stats.left_out, size / SZ_8K);
	expect_placed(sc, 0, va, frame);
	expect_placed(sc, 0, va + SZ_4K, 0);
	expect_placed(sc, 0, va + size - SZ_8K, frame + size - SZ_8K);
	expect_placed(sc, 0, va + size - SZ_4K, 0);
	rebuilt_end(sc->re);

	answers = (struct answers){ .answer = VMEM_PLACE_OUT, .bit = frame };
	KUNIT_ASSERT_EQ(test, rebuild_with(sc, &answers), 0);
	KUNIT_EXPECT_EQ(test, sc->re->tb->allocs, 1);
	KUNIT_EXPECT_EQ(test, sc->re->rb.stats.leaves, 0ULL);
	KUNIT_EXPECT_EQ(test, sc->re->rb.stats.left_out, size / SZ_4K);
	rebuilt_end(sc->re);
}

static int refuse(const struct vmem_visit *visit, u64 *gpa, u64 len, void *priv)
{
	return -EBADE;
}

static void vmem_rebuild_no_place(struct kunit *test)
{
	static const struct vmem_rebuild_ops refuse_ops = { .place = refuse };
	struct scene *sc = scene_alloc(test, test->param_value);

	map_page(sc, 0, space_va(sc->g->s, 1), 1, PTE_PWU);
	rebuilt_begin(sc->re);
	sc->re->rb.ops = &refuse_ops;
	KUNIT_EXPECT_EQ(test, rebuilt_run(sc->re, U64_MAX), -EBADE);
	KUNIT_EXPECT_EQ(test, sc->re->tb->allocs, 1);
	rebuilt_end(sc->re);
}

static int place_far(const struct vmem_visit *visit, u64 *gpa, u64 len,
		     void *priv)
{
	const u64 *place = priv;

	*gpa = *place;
	return 0;
}

static int rebuild_far(struct scene *sc, u64 gpa)
{
	static const struct vmem_rebuild_ops far_ops = { .place = place_far };
	int ret;

	rebuilt_begin(sc->re);
	sc->re->rb.ops = &far_ops;
	sc->re->rb.priv = &gpa;
	ret = rebuilt_run(sc->re, U64_MAX);
	if (!ret)
		expect_placed(sc, 0, space_va(sc->g->s, 1), gpa);
	rebuilt_end(sc->re);
	return ret;
}

/*
 * Pages up to the last that an entry can name. The bit of encryption is one of the
 * address there, and reserved above it.
 */
static void vmem_rebuild_far(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 end = mode_tables_end(sc->mode), bit = mode_encryption(sc->mode);

	map_page(sc, 0, space_va(sc->g->s, 1), 1, PTE_PWU);
	KUNIT_EXPECT_EQ(test, rebuild_far(sc, end - SZ_4K), 0);
	KUNIT_EXPECT_EQ(test, rebuild_far(sc, end), -ERANGE);
	KUNIT_EXPECT_EQ(test, rebuild_far(sc, BIT_ULL(62)), -ERANGE);
	if (bit)
		KUNIT_EXPECT_EQ(test, rebuild_far(sc, bit),
				bit < end ? 0 : -ERANGE);
}

/*
 * Part two: copy-on-write.
 */
static void set_convention(struct group *g)
{
	u32 i;

	for (i = 0; i < g->nr_roots; i++) {
		g->roots[i].mode.cow_mask = COW_MASK;
		g->roots[i].mode.cow_value = COW_VALUE;
	}
}

static void clear_convention(struct group *g)
{
	u32 i;

	for (i = 0; i < g->nr_roots; i++) {
		g->roots[i].mode.cow_mask = 0;
		g->roots[i].mode.cow_value = 0;
	}
}

/* As the code under test sees it, with the convention. */
static void expect_cow(struct scene *sc, u32 root, u64 va)
{
	struct vmem_translation t;
	struct recorder *rec = recorder_alloc(sc->test);
	struct vmem_range range = {
		.mem = &sc->re->to->s->guest->mem,
		.root = &sc->re->to->roots[root],
		.va = va,
		.last_va = va + SZ_4K - 1,
		.budget = U64_MAX,
		.emit = recorder_emit,
		.priv = rec,
	};

	KUNIT_ASSERT_EQ(sc->test, vmem_virt_to_phys(&range), 0);
	KUNIT_ASSERT_EQ(sc->test, rec->nr, 1);
	KUNIT_EXPECT_EQ(sc->test, rec->maps[0].kind, (u32)VMEM_KIND_COW);
	KUNIT_EXPECT_EQ(sc->test, rec->maps[0].perms & VMEM_WRITABLE, 0U);
	KUNIT_ASSERT_EQ(sc->test, vmem_translate(range.mem, range.root, va, &t),
			0);
	KUNIT_EXPECT_EQ(sc->test, t.out_perms & VMEM_WRITABLE, 0U);
	kunit_kfree(sc->test, rec);
}

static void vmem_rebuild_cow(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 va, size;
	int level;

	sc->re->cow = true;
	for (level = 1; level <= sc->mode->max_leaf; level++) {
		scene_reset(sc);
		set_convention(sc->g);
		va = space_va(sc->g->s, level);
		size = space_span(sc->g->s, level);
		map_page(sc, 0, va, level, PTE_PWU);
		map_page(sc, 0, va + size, level, PTE_P | PTE_U | BIT_ULL(10));
		map_page(sc, 0, va + 2 * size, level, PTE_PWU | COW_MASK);
		map_page(sc, 0, va + 3 * size, level, PTE_PWU | COW_VALUE);
		rebuild(sc);
		expect_cow(sc, 0, va);
		expect_cow(sc, 0, va + 2 * size);
		expect_cow(sc, 0, va + 3 * size);
		KUNIT_EXPECT_TRUE(test, rebuilt_check_pages(sc->re));
		rebuilt_end(sc->re);
		/* And where a large page is cut. */
		group_set_range(sc->g, va + SZ_4K, U64_MAX);
		rebuild(sc);
		if (level > 1)
			expect_cow(sc, 0, va + SZ_4K);
		KUNIT_EXPECT_TRUE(test, rebuilt_check_pages(sc->re));
		rebuilt_end(sc->re);
	}
}

/*
 * The owner cannot write to the table's pages, and who links to it can: the
 * entry that maps a page is one for both, and is not to be writable.
 */
static void vmem_rebuild_cow_more_rights(struct kunit *test)
{
	const struct share *share = test->param_value;
	struct scene *sc = scene_alloc(test, share->mode);
	u64 va = sc->mode->va & -group_region(sc->g, share->level);
	u64 table = group_add_table(sc->g);

	add_space(sc);
	set_convention(sc->g);
	group_link(sc->g, sc->g->roots[0].table, va, share->level, table,
		   PTE_P | PTE_U);
	group_link(sc->g, sc->g->roots[1].table, va, share->level, table,
		   PTE_PWU);
	map_page(sc, 0, va, 1, PTE_PWU);
	sc->re->cow = true;
	rebuild(sc);
	expect_cow(sc, 1, va);
	KUNIT_EXPECT_TRUE(test, rebuilt_check_pages(sc->re));
	KUNIT_EXPECT_EQ(test, new_ref(sc, 1, va).t.out_perms & VMEM_WRITABLE,
			0U);
	rebuilt_end(sc->re);
}

/*
 * Part three: random graphs.
 */

/* Bits that are the guest's own, in every entry, and some pages without PAT. */
static void decorate(struct graph *r)
{
	struct space *s = r->g->s;
	u64 ours = GENMASK_ULL(11, 9), bits, raw, entry;
	int i, offset;

	if (mode_is_long(s->mode))
		ours |= GENMASK_ULL(62, 52);
	/* In some tables, this one is reserved. */
	if (!mode_is_pae(s->mode) && !(s->regs.rules & VMEM_RULES_AMD))
		ours |= PTE_G;

	for (i = 0; i < r->nr_tables; i++) {
		for (offset = 0; offset < SZ_4K;
		     offset += s->mode->entry_size) {
			entry = r->tables[i] + offset;
			guest_read(s->guest, entry, s->mode->entry_size, &raw);
			if (!(raw & PTE_P))
				continue;
			if (raw & PTE_PS && graph_one_in(r, 2))
				raw &= ~PTE_PAT_LARGE;
			bits = rng_bits64(&r->rng) & ours;
			guest_write(s->guest, entry, s->mode->entry_size,
				    raw | bits);
		}
	}
}

static void make_graph(struct graph *r, u64 seed)
{
	graph_make(r, seed);
	graph_align_scope(r);
	decorate(r);
}

static bool check_graph(struct graph *r, struct rebuilt *re)
{
	bool ok;
	int ret;

	rebuilt_begin(re);
	ret = rebuilt_run(re, U64_MAX);
	if (ret)
		kunit_err(r->g->test, "rebuild: %d", ret);
	ok = !ret && rebuilt_check_pages(re) && rebuilt_check_walk(re);
	rebuilt_end(re);
	return ok;
}

/* Little budget, and pins and tables that are not to be had. */
static int run_in_parts(struct graph *r, struct rebuilt *re)
{
	int ret, calls = 0;

	do {
		u64 budget = graph_one_in(r, 4) ?
				     U64_MAX :
				     r->g->s->mode->top + graph_below(r, 600);

		if (graph_one_in(r, 4))
			guest_fail_pin(r->g->s->guest, 1 + graph_below(r, 9),
				       -ENOMEM);
		if (graph_one_in(r, 4))
			re->tb->fail_alloc = 1 + graph_below(r, 4);
		if (graph_one_in(r, 4))
			guest_fail_pin(re->to->s->guest, 1 + graph_below(r, 20),
				       -ENOMEM);
		ret = rebuilt_run(re, budget);
		guest_fail_pin(r->g->s->guest, 0, 0);
		guest_fail_pin(re->to->s->guest, 0, 0);
		re->tb->fail_alloc = 0;
	} while ((ret == VMEM_WALK_STOP || ret == -ENOMEM) &&
		 ++calls < MAX_CALLS);
	return ret;
}

/* In the end, every byte is where it is if all goes well. */
static bool check_resumed(struct graph *r, struct rebuilt *re,
			  struct rebuilt *parts)
{
	const struct vmem_rebuild_stats *a = &re->rb.stats, *b;
	int ret;
	bool ok;

	rebuilt_begin(re);
	ret = rebuilt_run(re, U64_MAX);
	rebuilt_begin(parts);
	ret = ret ?: run_in_parts(r, parts);
	b = &parts->rb.stats;
	ok = !ret && guest_equal(re->to->s->guest, parts->to->s->guest) &&
	     a->leaves == b->leaves && a->links == b->links &&
	     a->empty_links == b->empty_links && a->dropped == b->dropped &&
	     guest_is_intact(r->g->s->guest);
	if (!ok)
		kunit_err(r->g->test, "resumed: %d, %llu/%llu leaves", ret,
			  b->leaves, a->leaves);
	rebuilt_end(re);
	rebuilt_end(parts);
	return ok;
}

static bool check_split(struct graph *r, struct rebuilt *re)
{
	bool ok;

	re->split = SZ_2M;
	rebuilt_begin(re);
	ok = !rebuilt_run(re, U64_MAX) && rebuilt_check_pages(re);
	rebuilt_end(re);
	re->split = 0;
	return ok;
}

static bool check_cow(struct graph *r, struct rebuilt *re)
{
	bool ok;

	set_convention(r->g);
	re->cow = true;
	rebuilt_begin(re);
	ok = !rebuilt_run(re, U64_MAX) && rebuilt_check_pages(re);
	rebuilt_end(re);
	re->cow = false;
	clear_convention(r->g);
	return ok;
}

static void vmem_rebuild_random(struct kunit *test)
{
	struct graph *r = graph_alloc(test, test->param_value);
	struct rebuilt *re = rebuilt_alloc(test, r->g, r->o);
	struct rebuilt *parts = rebuilt_alloc(test, r->g, r->o);
	u64 i;

	for (i = 0; i < NR_GRAPHS; i++) {
		make_graph(r, rng_first_seed + i);
		KUNIT_ASSERT_TRUE_MSG(test,
				      check_graph(r, re) && check_cow(r, re) &&
					      check_split(r, re) &&
					      check_resumed(r, re, parts),
				      "again: vmem_kunit.seed=%llu",
				      rng_first_seed + i);
		cond_resched();
	}
}

/* Graphs have of everything, or the rest proves little. */
static void vmem_rebuild_random_coverage(struct kunit *test)
{
	struct graph *r = graph_alloc(test, test->param_value);
	struct rebuilt *re = rebuilt_alloc(test, r->g, r->o);
	struct vmem_rebuild_stats sum = {};
	int seed, tables = 0, cut = 0;

	/* Few paths reach the lowest of five levels. */
	for (seed = 0; seed < 100 * r->g->s->mode->top + 100; seed++) {
		make_graph(r, rng_first_seed + seed);
		rebuilt_begin(re);
		KUNIT_ASSERT_EQ(test, rebuilt_run(re, U64_MAX), 0);
		sum.leaves += re->rb.stats.leaves;
		sum.links += re->rb.stats.links;
		sum.empty_links += re->rb.stats.empty_links;
		sum.dropped += re->rb.stats.dropped;
		tables += re->tb->allocs;
		rebuilt_end(re);
		oracle_run(r->o, r->g);
		cut += r->o->cut_tables > 0;
	}
	KUNIT_EXPECT_GT(test, sum.leaves, 1000ULL);
	KUNIT_EXPECT_GT(test, sum.links, 100ULL);
	KUNIT_EXPECT_GT(test, sum.empty_links, 2ULL);
	KUNIT_EXPECT_GT(test, sum.dropped, 200ULL);
	KUNIT_EXPECT_GT(test, tables, 600);
	if (r->g->s->mode->max_leaf > 1)
		KUNIT_EXPECT_GT(test, cut, r->g->s->mode->top > 4 ? 1 : 5);
}

static struct kunit_case vmem_rebuild_test_cases[] = {
	KUNIT_CASE_PARAM(vmem_rebuild_nothing, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_sizes, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_roots, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_no_memory, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_done, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_too_high, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_cuts_page, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_empty_range, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_cuts_large_page, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_splits, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_splits_used, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_keeps_flags, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_shares, share_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_rights_of_records, share_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_bad_answers, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_left_out, share_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_left_out_large, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_no_place, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_far, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_cow, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_cow_more_rights, share_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_random_coverage, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_rebuild_random, mode_gen_params),
	{}
};

static struct kunit_suite vmem_rebuild_suite = {
	.name = "vmem_rebuild",
	.test_cases = vmem_rebuild_test_cases,
};

kunit_test_suite(vmem_rebuild_suite);
