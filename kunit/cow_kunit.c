// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copy-on-write, which is a convention of one guest: off unless it is given,
 * decided before the writable bit, and told by every question that decodes.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "group.h"

/* Three bits of which one is set, as hyperlight has it. */
#define COW_MASK GENMASK_ULL(11, 9)
#define COW_VALUE BIT_ULL(9)

KUNIT_ARRAY_PARAM(mode, modes, mode_desc);
KUNIT_ARRAY_PARAM(share, shares, share_desc);

/*
 * Part one: which conventions there are.
 */
static int init_with(const struct mode *mode, u64 mask, u64 value)
{
	struct vmem_regs regs = mode->regs;
	struct vmem_root root;
	int ret;

	regs.cow_mask = mask;
	regs.cow_value = value;
	memset(&root, 0xa5, sizeof(root));
	ret = vmem_root_init(&root, &regs);
	if (!ret &&
	    (root.mode.cow_mask != mask || root.mode.cow_value != value))
		return -EBADE;
	return ret;
}

/* The manuals' "ignored" bits that no other feature has a use for. */
static bool is_ignored(const struct mode *mode, int bit)
{
	return (bit >= 9 && bit <= 11) ||
	       (mode_is_long(mode) && bit >= 52 && bit <= 58);
}

static void vmem_cow_bits(struct kunit *test)
{
	const struct mode *mode = test->param_value;
	int bit, want;

	for (bit = 0; bit < 64; bit++) {
		want = is_ignored(mode, bit) ? 0 : -EINVAL;
		KUNIT_EXPECT_EQ(test,
				init_with(mode, BIT_ULL(bit), BIT_ULL(bit)),
				want);
		/* One bad bit among good ones. */
		KUNIT_EXPECT_EQ(test,
				init_with(mode, COW_MASK | BIT_ULL(bit),
					  COW_VALUE),
				want);
	}
}

static void vmem_cow_values(struct kunit *test)
{
	const struct mode *mode = test->param_value;

	KUNIT_EXPECT_EQ(test, init_with(mode, 0, 0), 0);
	KUNIT_EXPECT_EQ(test, init_with(mode, COW_MASK, COW_VALUE), 0);
	KUNIT_EXPECT_EQ(test, init_with(mode, COW_MASK, COW_MASK), 0);
	KUNIT_EXPECT_EQ(test, init_with(mode, COW_MASK, 0), -EINVAL);
	KUNIT_EXPECT_EQ(test, init_with(mode, 0, COW_VALUE), -EINVAL);
	KUNIT_EXPECT_EQ(test, init_with(mode, BIT_ULL(10), COW_VALUE), -EINVAL);
	KUNIT_EXPECT_EQ(test, init_with(mode, BIT_ULL(10), COW_MASK), -EINVAL);
	KUNIT_EXPECT_EQ(test, init_with(mode, U64_MAX, U64_MAX), -EINVAL);
}

/*
 * Part two: what a page is.
 */
struct cow_case {
	const char *desc;
	u64 flags;
	bool cow;
	bool writable;
};

/* clang-format off */
static const struct cow_case cow_cases[] = {
	{ "plain", PTE_P | PTE_U, false, false },
	{ "writable", PTE_PWU, false, true },
	{ "marked", PTE_P | PTE_U | COW_VALUE, true, false },
	{ "marked and writable", PTE_PWU | COW_VALUE, true, false },
	{ "another value", PTE_PWU | BIT_ULL(10), false, true },
	{ "more bits of the mask", PTE_PWU | COW_MASK, false, true },
};

/* clang-format on */

static struct space *cow_space(struct kunit *test, const struct mode *mode)
{
	struct space *s = space_alloc(test, mode);

	s->regs.cow_mask = COW_MASK;
	s->regs.cow_value = COW_VALUE;
	space_reset(s);
	return s;
}

static void expect_page(struct space *s, int level, const struct cow_case *c)
{
	u32 perms = VMEM_USER | VMEM_EXECUTABLE |
		    (c->writable ? VMEM_WRITABLE : 0);
	struct recorder *rec = recorder_alloc(s->test);
	u64 va = space_va(s, level);
	struct vmem_range range = space_range(s, va, va + SZ_4K - 1, rec);
	struct vmem_translation t;

	KUNIT_ASSERT_EQ(s->test,
			vmem_translate(&s->guest->mem, &s->root, va, &t), 0);
	KUNIT_EXPECT_EQ(s->test, t.out_status, (u32)VMEM_MAPPED);
	KUNIT_EXPECT_EQ_MSG(s->test, t.out_perms, perms, "%s", c->desc);
	KUNIT_EXPECT_EQ(s->test, t.out_gpa, space_frame(s, level));
	KUNIT_EXPECT_EQ(s->test, vmem_virt_to_phys(&range), 0);
	KUNIT_ASSERT_EQ(s->test, rec->nr, 1);
	KUNIT_EXPECT_EQ_MSG(s->test, rec->maps[0].kind,
			    (u32)(c->cow ? VMEM_KIND_COW : VMEM_KIND_BASIC),
			    "%s", c->desc);
	KUNIT_EXPECT_EQ_MSG(s->test, rec->maps[0].perms, perms, "%s", c->desc);
	kunit_kfree(s->test, rec);
}

static void vmem_cow_pages(struct kunit *test)
{
	struct space *s = cow_space(test, test->param_value);
	int i, level;

	for (level = 1; level <= s->mode->max_leaf; level++) {
		for (i = 0; i < (int)ARRAY_SIZE(cow_cases); i++) {
			space_reset(s);
			space_map(s, space_va(s, level), level,
				  space_frame(s, level), cow_cases[i].flags);
			expect_page(s, level, &cow_cases[i]);
		}
	}
}

/* Without the convention, its bits mean nothing. */
static void vmem_cow_off(struct kunit *test)
{
	static const struct cow_case writable = { .desc = "off",
						  .writable = true };
	struct space *s = space_alloc(test, test->param_value);
	int level;

	for (level = 1; level <= s->mode->max_leaf; level++) {
		space_reset(s);
		space_map(s, space_va(s, level), level, space_frame(s, level),
			  PTE_PWU | COW_VALUE);
		expect_page(s, level, &writable);
	}
}

/* In an entry that names a table the bits mean nothing either. */
static void vmem_cow_tables(struct kunit *test)
{
	struct space *s = cow_space(test, test->param_value);
	u64 va = space_va(s, 1);
	int level;

	space_map(s, va, 1, space_frame(s, 1), PTE_PWU);
	for (level = 2; level <= s->mode->top; level++)
		space_set(s, va, level, space_get(s, va, level) | COW_VALUE);
	expect_page(s, 1, &cow_cases[1]);
	KUNIT_EXPECT_TRUE(test, space_check_va(s, va));
}

/* Rows of pages with the same rights, some marked: like merges with like. */
static void vmem_cow_rows(struct kunit *test)
{
	static const struct {
		u64 flags;
		u32 kind;
	} rows[] = {
		{ PTE_P | PTE_U, VMEM_KIND_BASIC },
		{ PTE_P | PTE_U | COW_VALUE, VMEM_KIND_COW },
		{ PTE_P | PTE_U | BIT_ULL(10), VMEM_KIND_BASIC },
		{ PTE_PWU | COW_VALUE, VMEM_KIND_COW },
	};
	struct space *s = cow_space(test, test->param_value);
	struct recorder *rec = recorder_alloc(test);
	struct vmem_range range;
	int i, nr = ARRAY_SIZE(rows);
	u64 va = space_va(s, 1);

	for (i = 0; i < 2 * nr; i++)
		space_map(s, va + i * SZ_4K, 1, s->mode->frame + i * SZ_4K,
			  rows[i / 2].flags);
	range = space_range(s, va, va + 2 * nr * SZ_4K - 1, rec);
	KUNIT_EXPECT_EQ(test, vmem_virt_to_phys(&range), 0);
	KUNIT_ASSERT_EQ(test, rec->nr, nr);
	for (i = 0; i < nr; i++) {
		KUNIT_EXPECT_EQ(test, rec->maps[i].kind, rows[i].kind);
		KUNIT_EXPECT_EQ(test, rec->maps[i].va, va + 2 * i * SZ_4K);
		KUNIT_EXPECT_EQ(test, rec->maps[i].perms,
				(u32)(VMEM_USER | VMEM_EXECUTABLE));
	}
}

/* Nothing of a page that is marked shows in the next visit. */
static int take_leaf(const struct vmem_visit *visit, void *priv)
{
	return visit->cow ? 0 : -EBADE;
}

static int take_hole(const struct vmem_visit *visit, void *priv)
{
	int *holes = priv;

	(*holes)++;
	return visit->cow ? -EBADE : 0;
}

static void vmem_cow_holes(struct kunit *test)
{
	static const struct vmem_walk_ops ops = {
		.leaf = take_leaf,
		.hole = take_hole,
		.anomaly = take_hole,
	};
	struct space *s = cow_space(test, test->param_value);
	u64 va = space_va(s, 1);
	int holes = 0;
	struct vmem_walk walk = {
		.mem = &s->guest->mem,
		.roots = &s->root,
		.nr_roots = 1,
		.scope = { .va = va, .last_va = va + SZ_16K - 1 },
		.va = va,
		.budget = U64_MAX,
		.ops = &ops,
		.priv = &holes,
	};

	space_map(s, va, 1, s->mode->frame, PTE_P | COW_VALUE);
	KUNIT_EXPECT_EQ(test, vmem_walk(&walk), 0);
	KUNIT_EXPECT_EQ(test, holes, 3);
}

/*
 * Part three: many spaces. What is copy-on-write in a shared table is so for
 * all, and following tells the same as the owner's records do.
 */
static void set_convention(struct group *g)
{
	u32 i;

	for (i = 0; i < g->nr_roots; i++) {
		g->regs[i].cow_mask = COW_MASK;
		g->regs[i].cow_value = COW_VALUE;
		KUNIT_ASSERT_EQ(g->test,
				vmem_root_init(&g->roots[i], &g->regs[i]), 0);
	}
}

/* One space's table, with a page that is marked and one that is not. */
static u64 share_pages(struct group *g, const struct share *share)
{
	u64 va = share->mode->va & -group_region(g, share->level);
	u64 table = group_add_table(g);
	int i;

	for (i = 0; i < 2; i++) {
		group_add_root(g, group_new_root(g));
		group_link(g, g->roots[i].table, va, share->level, table,
			   PTE_PWU);
	}
	set_convention(g);
	group_set(g, g->roots[0].table, va, 1,
		  share->mode->frame | PTE_PWU | COW_VALUE);
	group_set(g, g->roots[0].table, va + SZ_4K, 1,
		  (share->mode->frame + SZ_4K) | PTE_PWU);
	return va;
}

/* Follow everything in one space. */
static void expect_followed(struct group *g, u32 root, u64 va,
			    const struct records *records)
{
	struct recorder *rec = recorder_alloc(g->test);
	struct vmem_range range = {
		.mem = &g->s->guest->mem,
		.root = &g->roots[root],
		.last_va = U64_MAX,
		.budget = U64_MAX,
		.emit = recorder_emit,
		.priv = rec,
	};
	int i;

	KUNIT_EXPECT_EQ(g->test, vmem_virt_to_phys(&range), 0);
	KUNIT_ASSERT_EQ(g->test, rec->nr, 2);
	for (i = 0; i < 2; i++) {
		const struct vmem_record *r =
			records_get(records, VMEM_THIS_SPACE, i);

		KUNIT_ASSERT_NOT_NULL(g->test, r);
		KUNIT_EXPECT_EQ(g->test, rec->maps[i].kind, r->mapping.kind);
		KUNIT_EXPECT_EQ(g->test, rec->maps[i].perms, r->mapping.perms);
		KUNIT_EXPECT_EQ(g->test, rec->maps[i].gpa, r->mapping.gpa);
		KUNIT_EXPECT_EQ(g->test, rec->maps[i].va, va + i * SZ_4K);
	}
	kunit_kfree(g->test, rec);
}

static void vmem_cow_shared(struct kunit *test)
{
	const struct share *share = test->param_value;
	struct group *g = group_alloc(test, share->mode);
	struct records *records = records_alloc(test);
	u64 va = share_pages(g, share);
	struct vmem_translation t;
	struct vmem_spaces spaces;
	u32 i;

	group_walk_all(g, &spaces, records);
	KUNIT_EXPECT_EQ(test, records_count(records, VMEM_THIS_SPACE), 2);
	KUNIT_EXPECT_EQ(test, records_count(records, VMEM_ALIASING), 1);
	KUNIT_EXPECT_EQ(test,
			records_get(records, VMEM_THIS_SPACE, 0)->mapping.kind,
			(u32)VMEM_KIND_COW);
	KUNIT_EXPECT_EQ(test,
			records_get(records, VMEM_THIS_SPACE, 1)->mapping.kind,
			(u32)VMEM_KIND_BASIC);
	/* The reference is to a table, whose entry's rights are not a page's. */
	KUNIT_EXPECT_EQ(test,
			records_get(records, VMEM_ALIASING, 0)->reference.perms,
			(u32)ALL_PERMS);
	for (i = 0; i < 2; i++) {
		expect_followed(g, i, va, records);
		KUNIT_EXPECT_EQ(test,
				vmem_translate_shared(&g->s->guest->mem,
						      &spaces, i, va, &t),
				0);
		KUNIT_EXPECT_EQ(test, t.out_perms,
				(u32)(VMEM_USER | VMEM_EXECUTABLE));
		KUNIT_EXPECT_EQ(test, t.out_referenced, i);
	}
	vmem_spaces_destroy(&spaces);
	KUNIT_EXPECT_TRUE(test, guest_is_intact(g->s->guest));
}

static struct kunit_case vmem_cow_test_cases[] = {
	KUNIT_CASE_PARAM(vmem_cow_bits, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_cow_values, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_cow_pages, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_cow_off, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_cow_tables, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_cow_rows, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_cow_holes, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_cow_shared, share_gen_params),
	{}
};

static struct kunit_suite vmem_cow_suite = {
	.name = "vmem_cow",
	.test_cases = vmem_cow_test_cases,
};

kunit_test_suite(vmem_cow_suite);
