// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random tables against the reference. A set is a dozen pages that refer to
 * each other in any way: shared, in circles, as tables of two levels at once,
 * as pages, with reserved bits, and to where there is no memory. Everything in
 * a set follows from its seed.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sched.h>
#include <linux/sizes.h>

#include "rng.h"
#include "space.h"

#define NR_SETS 1000
#define NR_TABLES 16
#define NR_SLOTS 8
#define NR_VAS 12
#define NR_RANGES 2

/**
 * struct random - a random set of tables
 * @s: its space
 * @rng: where the randomness comes from
 * @tables: the pages that entries refer to
 * @slots: the indices of most entries, in all tables: the same few, so that
 *	addresses made of them lead far
 */
struct random {
	struct space *s;
	struct rnd_state rng;
	u64 tables[NR_TABLES];
	int slots[NR_SLOTS];
};

KUNIT_ARRAY_PARAM(mode, modes, mode_desc);

static u32 below(struct random *r, u32 limit)
{
	return rng_below(&r->rng, limit);
}

static bool one_in(struct random *r, u32 n)
{
	return !below(r, n);
}

static u64 bits64(struct random *r)
{
	return rng_bits64(&r->rng);
}

static void make_pages(struct random *r)
{
	const struct mode *mode = r->s->mode;
	u64 gpa = mode->tables;
	int i;

	for (i = 0; i < NR_TABLES - 1; i++) {
		r->tables[i] = gpa;
		gpa += SZ_4K * (1 + below(r, 3));
	}
	r->tables[i] = 0;
	for (i = 0; i < NR_TABLES; i++)
		guest_add(r->s->guest, r->tables[i]);
}

static void make_slots(struct random *r)
{
	int nr = BIT(r->s->mode->index_bits);
	int i;

	for (i = 0; i < NR_SLOTS; i++)
		r->slots[i] = below(r, nr);
	r->slots[0] = 0;
	r->slots[1] = nr - 1;
	r->slots[2] = nr / 2 - below(r, 2);
}

/* Flags of an entry: mostly permissive, so that paths do not all look alike. */
static u64 random_flags(struct random *r)
{
	u64 flags = PTE_P | (bits64(r) & 0xe78);

	if (!one_in(r, 4))
		flags |= PTE_W;
	if (!one_in(r, 4))
		flags |= PTE_U;
	if (mode_is_long(r->s->mode))
		flags |= bits64(r) & GENMASK_ULL(62, 52);
	/* Where it is a reserved bit, many paths would end at it. */
	if (r->s->mode->entry_size == 8 &&
	    one_in(r, r->s->regs.efer & EFER_NX ? 8 : 32))
		flags |= PTE_NX;
	if (mode_encryption(r->s->mode) && one_in(r, 2))
		flags |= mode_encryption(r->s->mode);
	if (r->s->regs.rules & VMEM_RULES_AMD && one_in(r, 32))
		flags |= PTE_G;
	return flags;
}

static u64 random_table_entry(struct random *r)
{
	u64 raw = r->tables[below(r, NR_TABLES)] | random_flags(r);

	return one_in(r, 12) ? raw | PTE_PS : raw;
}

/* A page of some level's size; @step leads to the frame behind it. */
static u64 random_page_entry(struct random *r, u64 *step)
{
	const struct mode *mode = r->s->mode;
	int level = 1 + below(r, mode->top - 1);
	u64 gpa = bits64(r) & (BIT_ULL(mode->regs.maxphyaddr) - 1);
	u64 flags = random_flags(r);

	*step = space_span(r->s, level);
	if (level > 1 && mode->entry_size == 8)
		return (gpa & -*step) | flags | PTE_PS | one_in(r, 4) << 12;
	if (mode->entry_size == 8)
		return (gpa & PAGE_MASK) | flags | one_in(r, 4) << 7;

	/* In a PDE without PSE this is a table that is likely not there. */
	gpa = (u32)gpa;
	if (one_in(r, 2))
		return (gpa & PAGE_MASK) | flags;
	*step = SZ_4M;
	return (gpa & 0xffc00000) | flags | PTE_PS | below(r, 4) << 12;
}

static u64 random_entry(struct random *r, u64 *step)
{
	u64 mask = r->s->mode->entry_size == 8 ? U64_MAX : U32_MAX;

	*step = 0;
	switch (below(r, 16)) {
	case 0:
		return bits64(r) & mask & ~PTE_P;
	case 1:
		return (bits64(r) & mask) | PTE_P;
	case 2:
		/* The hole behind the pages, more often than not. */
		return (r->s->mode->tables + SZ_1M / 2) | random_flags(r);
	case 3 ... 7:
		return random_page_entry(r, step);
	default:
		return random_table_entry(r);
	}
}

/* One entry, or a run of them whose pages follow each other. */
static void fill_slot(struct random *r, u64 table, int index)
{
	int size = r->s->mode->entry_size;
	int nr = BIT(r->s->mode->index_bits);
	int run = one_in(r, 4) ? 1 + below(r, 12) : 1;
	u64 step, raw = random_entry(r, &step);

	for (; run && index < nr; run--, index++, raw += step)
		guest_write(r->s->guest, table + index * size, size, raw);
}

static void fill_tables(struct random *r)
{
	int i, slot;

	for (i = 0; i < NR_TABLES; i++) {
		for (slot = 0; slot < NR_SLOTS; slot++) {
			if (!one_in(r, 6))
				fill_slot(r, r->tables[i], r->slots[slot]);
		}
	}
}

/* Four entries, most of which lead on, anywhere in a page. */
static u64 make_pae_root(struct random *r, u64 table)
{
	u64 root = table + (one_in(r, 4) ? 0 : below(r, 128) * 32);
	u64 at, raw, step;

	for (at = root; at < root + 32; at += 8) {
		raw = space_link(r->s, r->s->mode->top,
				 r->tables[below(r, NR_TABLES)],
				 random_flags(r));
		if (one_in(r, 8))
			raw = random_entry(r, &step);
		if (!one_in(r, 6))
			guest_write(r->s->guest, at, 8, raw);
	}
	return root;
}

static void make_set(struct random *r, u64 seed)
{
	u64 root;

	rng_seed(&r->rng, seed);
	/* Bounced pages catch more and cost more. */
	guest_reset(r->s->guest, one_in(r, 16));
	make_pages(r);
	make_slots(r);
	fill_tables(r);
	root = r->tables[below(r, NR_TABLES)];
	if (mode_is_pae(r->s->mode))
		root = make_pae_root(r, root) | below(r, 32);
	else
		root |= below(r, SZ_4K);
	space_set_root(r->s, root);
}

static int random_index(struct random *r, int level)
{
	int nr = mode_entries(r->s->mode, level);
	int index;

	if (one_in(r, 16))
		return below(r, nr);
	index = r->slots[below(r, NR_SLOTS)] % nr;
	if (one_in(r, 4))
		index += below(r, 4);
	return min(index, nr - 1);
}

static u64 random_edge(struct random *r)
{
	const struct vmem_mode *mode = &r->s->root.mode;
	u64 edges[] = { 0, U64_MAX, r->s->mode->last, mode->noncanonical,
			mode->noncanonical_last };

	return edges[below(r, ARRAY_SIZE(edges))] + below(r, 3) - 1;
}

static u64 random_offset(struct random *r)
{
	if (one_in(r, 4))
		return one_in(r, 2) ? 0 : SZ_4K - 1;
	return below(r, SZ_4K);
}

static u64 random_va(struct random *r)
{
	u64 va = random_offset(r);
	int level;

	if (one_in(r, 16))
		return random_edge(r);
	if (one_in(r, 64))
		return bits64(r);
	for (level = 1; level <= r->s->mode->top; level++)
		va += random_index(r, level) * space_span(r->s, level);
	return mode_canonical(r->s->mode, va);
}

/* Few enough pages to ask the reference about each of them. */
static void random_range(struct random *r, u64 *va, u64 *last_va)
{
	int level = 1 + below(r, r->s->mode->top);
	u64 len = below(r, (one_in(r, 16) ? 600 : 24) * SZ_4K);

	*va = random_va(r);
	/* From the end of one table to the start of the next. */
	if (one_in(r, 3))
		*va = (*va | (space_span(r->s, level) - 1)) -
		      below(r, 12 * SZ_4K);
	*last_va = *va + len < *va ? U64_MAX : *va + len;
}

static bool check_range(struct random *r, struct recorder *rec)
{
	struct vmem_range range;
	u64 va, last_va, budget;
	int ret;

	random_range(r, &va, &last_va);
	recorder_reset(rec);
	range = space_range(r->s, va, last_va, rec);
	budget = one_in(r, 3) ? r->s->mode->top + below(r, 32) : U64_MAX;
	ret = space_flatten(r->s, &range, budget);
	if (ret || (budget == U64_MAX && !recorder_is_merged(rec))) {
		kunit_err(r->s->test, "%#llx..%#llx: %d, or not merged", va,
			  last_va, ret);
		return false;
	}
	return space_check_range(r->s, va, last_va, rec, range.anomalies) &&
	       space_check_walk(r->s, va, last_va);
}

static bool check_set(struct random *r, struct recorder *rec)
{
	int i;

	for (i = 0; i < NR_VAS; i++) {
		if (!space_check_va(r->s, random_va(r)))
			return false;
	}
	for (i = 0; i < NR_RANGES; i++) {
		if (!check_range(r, rec))
			return false;
	}
	return true;
}

static void vmem_random_tables(struct kunit *test)
{
	struct random *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	struct recorder *rec = recorder_alloc(test);
	u64 i;

	KUNIT_ASSERT_NOT_NULL(test, r);
	r->s = space_alloc(test, test->param_value);
	for (i = 0; i < NR_SETS; i++) {
		make_set(r, rng_first_seed + i);
		KUNIT_ASSERT_TRUE_MSG(test, check_set(r, rec),
				      "again: vmem_kunit.seed=%llu",
				      rng_first_seed + i);
		cond_resched();
	}
}

/* Addresses that are steered end everywhere, or the rest proves little. */
static void vmem_random_coverage(struct kunit *test)
{
	struct random *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	int ends[VMEM_TORN + 1] = {};
	int levels[VMEM_MAX_LEVELS + 1] = {};
	struct ref ref;
	int i, set;

	KUNIT_ASSERT_NOT_NULL(test, r);
	r->s = space_alloc(test, test->param_value);
	for (set = 0; set < 600; set++) {
		make_set(r, rng_first_seed + set);
		for (i = 0; i < NR_VAS; i++) {
			space_ref(r->s, random_va(r), &ref);
			ends[ref.t.out_status]++;
			if (ref.t.out_status == VMEM_MAPPED)
				levels[ref.t.out_level]++;
		}
	}
	KUNIT_EXPECT_GT(test, ends[VMEM_MAPPED], 50);
	KUNIT_EXPECT_GT(test, ends[VMEM_NOT_PRESENT], 50);
	KUNIT_EXPECT_GT(test, ends[VMEM_NON_CANONICAL], 10);
	KUNIT_EXPECT_GT(test, ends[VMEM_UNBACKED], 10);
	if (r->s->mode->max_leaf > 1)
		KUNIT_EXPECT_GT(test, ends[VMEM_RESERVED], 10);
	for (i = 1; i <= r->s->mode->max_leaf; i++)
		KUNIT_EXPECT_GT(test, levels[i], 10);
}

static struct kunit_case vmem_random_test_cases[] = {
	KUNIT_CASE_PARAM(vmem_random_coverage, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_random_tables, mode_gen_params),
	{}
};

static struct kunit_suite vmem_random_suite = {
	.name = "vmem_random",
	.test_cases = vmem_random_test_cases,
};

kunit_test_suite(vmem_random_suite);
