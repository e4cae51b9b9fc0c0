// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random table graphs that several spaces share, against the oracle. A graph is
 * a handful of pages that refer to each other in any way, with up to six roots
 * and a scope; all of it follows from its seed.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/prandom.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/sort.h>

#include "oracle.h"
#include "rng.h"

#define NR_GRAPHS 2000
#define MAX_TABLES 9
#define NR_SLOTS 6
#define NR_VAS 6
#define MAX_CALLS 20000

/**
 * struct graph - a random graph
 * @g: the spaces
 * @o: what is to be found
 * @rng: where the randomness comes from
 * @nr_tables: number of @tables
 * @tables: the pages that entries refer to
 * @slots: the indices of most entries, in all tables
 * @whole: what one call told
 * @parts: what many calls told
 */
struct graph {
	struct group *g;
	struct oracle *o;
	struct rnd_state rng;
	int nr_tables;
	u64 tables[MAX_TABLES];
	int slots[NR_SLOTS];
	struct records *whole;
	struct records *parts;
};

KUNIT_ARRAY_PARAM(mode, modes, mode_desc);

static u32 below(struct graph *r, u32 limit)
{
	return rng_below(&r->rng, limit);
}

static bool one_in(struct graph *r, u32 n)
{
	return rng_one_in(&r->rng, n);
}

static struct graph *graph_alloc(struct kunit *test)
{
	struct graph *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, r);
	r->g = group_alloc(test, test->param_value);
	r->o = oracle_alloc(test);
	r->whole = records_alloc(test);
	r->parts = records_alloc(test);
	return r;
}

static void make_slots(struct graph *r)
{
	int i, nr = BIT(r->g->s->mode->index_bits);

	for (i = 0; i < NR_SLOTS; i++)
		r->slots[i] = below(r, nr);
	r->slots[0] = 0;
	r->slots[1] = nr - 1;
	r->slots[2] = nr / 2 - below(r, 2);
	r->slots[3] = below(r, 2);
}

static u64 random_flags(struct graph *r)
{
	u64 flags = PTE_P | (rng_bits64(&r->rng) & 0x78);

	if (!one_in(r, 4))
		flags |= PTE_W;
	if (!one_in(r, 4))
		flags |= PTE_U;
	/* Where it is a reserved bit, many paths would end at it. */
	if (r->g->s->mode->entry_size == 8 &&
	    one_in(r, r->g->s->mode->regs.efer & EFER_NX ? 4 : 64))
		flags |= PTE_NX;
	return flags;
}

/* Where there is no memory, but could be. */
static u64 hole_gpa(const struct graph *r)
{
	return r->g->s->mode->tables + SZ_1M / 2;
}

/* A page of some level's size: the same few frames, so that some merge. */
static u64 random_page(struct graph *r, u64 *step)
{
	int level = 1 + below(r, r->g->s->mode->max_leaf);

	*step = space_span(r->g->s, level);
	return space_leaf(r->g->s, level, space_frame(r->g->s, level),
			  random_flags(r)) +
	       (level == 1 ? below(r, 4) * SZ_4K : 0);
}

static u64 random_entry(struct graph *r, u64 *step)
{
	u64 raw;

	*step = 0;
	switch (below(r, 16)) {
	case 0:
		return rng_bits64(&r->rng) & (U32_MAX & ~PTE_P);
	case 1:
		raw = space_reserved(r->g->s, 1 + below(r, 3));
		return raw ? raw : hole_gpa(r) | random_flags(r);
	case 2:
		return hole_gpa(r) | random_flags(r);
	case 3 ... 6:
		return random_page(r, step);
	default:
		raw = r->tables[below(r, r->nr_tables)] | random_flags(r);
		return one_in(r, 16) ? raw | PTE_PS : raw;
	}
}

static void fill_slot(struct graph *r, u64 table, int index)
{
	int nr = BIT(r->g->s->mode->index_bits);
	u64 step, raw = random_entry(r, &step);
	int run = step && one_in(r, 3) ? 1 + below(r, 4) : 1;

	for (; run && index < nr; run--, index++, raw += step)
		group_put(r->g, table, index, raw);
}

static void make_tables(struct graph *r)
{
	int i, slot;

	/* Bounced pages catch more and cost more. */
	group_reset(r->g, one_in(r, 16));
	r->nr_tables = 3 + below(r, MAX_TABLES - 2);
	for (i = 0; i < r->nr_tables; i++)
		r->tables[i] = group_add_table(r->g);
	for (i = 0; i < r->nr_tables; i++) {
		for (slot = 0; slot < NR_SLOTS; slot++) {
			if (one_in(r, 2))
				fill_slot(r, r->tables[i], r->slots[slot]);
		}
	}
}

/* As kernels do with their own half: the same entries in another root. */
static void copy_entries(struct graph *r, u64 from, u64 to)
{
	int i, size = r->g->s->mode->entry_size;
	u64 raw;

	for (i = 0; i < NR_SLOTS; i++) {
		if (one_in(r, 3))
			continue;
		guest_read(r->g->s->guest, from + r->slots[i] * size, size,
			   &raw);
		if (one_in(r, 4))
			raw &= ~(one_in(r, 2) ? PTE_W : PTE_U);
		group_put(r->g, to, r->slots[i], raw);
	}
}

static void make_roots(struct graph *r)
{
	int nr = 1 + below(r, 6);
	u64 table, last = 0;

	while (nr--) {
		table = r->tables[below(r, r->nr_tables)];
		if (last && !one_in(r, 3))
			copy_entries(r, last, table);
		last = table;
		if (one_in(r, 24))
			table = hole_gpa(r);
		group_add_root(r->g, table | below(r, SZ_4K));
	}
}

static u64 random_va(struct graph *r)
{
	u64 va = one_in(r, 2) ? 0 : below(r, SZ_4K);
	int level, index;

	for (level = 1; level <= r->g->s->mode->top; level++) {
		index = r->slots[below(r, NR_SLOTS)];
		if (one_in(r, 8))
			index = below(r, BIT(r->g->s->mode->index_bits));
		va += index * space_span(r->g->s, level);
	}
	if (r->g->s->mode->top == 4 && va & BIT_ULL(47))
		va |= GENMASK_ULL(63, 48);
	return va;
}

/* An address to end at: often where a table of some level begins or ends. */
static u64 random_edge(struct graph *r)
{
	u64 size = space_span(r->g->s, 1 + below(r, r->g->s->mode->top));
	u64 va = random_va(r);

	switch (below(r, 8)) {
	case 0:
		return 0;
	case 1:
		return one_in(r, 2) ? r->g->s->mode->last : U64_MAX;
	case 2 ... 4:
		return (va & -size) - below(r, 2);
	case 5:
		return va | (size - 1);
	default:
		return va;
	}
}

static int compare_vas(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static void random_edges(struct graph *r, u64 *edges, int nr)
{
	int i;

	for (i = 0; i < nr; i++)
		edges[i] = random_edge(r);
	sort(edges, nr, sizeof(*edges), compare_vas, NULL);
}

static void make_scope(struct graph *r)
{
	int i, nr = below(r, 4);
	u64 edges[8];

	if (one_in(r, 2)) {
		random_edges(r, edges, 2);
		group_set_range(r->g, edges[0], edges[1]);
	}
	if (one_in(r, 4))
		return;
	random_edges(r, edges, 2 * nr);
	for (i = 0; i < nr; i++) {
		/* Two edges may be the same: then the second range goes. */
		if (!i || edges[2 * i] > edges[2 * i - 1])
			group_exclude(r->g, edges[2 * i], edges[2 * i + 1]);
		else
			edges[2 * i + 1] = edges[2 * i - 1];
	}
}

static void make_graph(struct graph *r, u64 seed)
{
	rng_seed(&r->rng, seed);
	make_slots(r);
	make_tables(r);
	make_roots(r);
	make_scope(r);
}

/* Calls with little budget and little room tell the same. */
static bool check_resumed(struct graph *r)
{
	struct vmem_spaces spaces;
	int ret, calls = 0;
	bool ok;

	group_begin(r->g, &spaces);
	records_reset(r->parts);
	do {
		u64 budget = one_in(r, 4) ? U64_MAX :
					    r->g->s->mode->top + below(r, 600);

		r->parts->room = r->parts->nr + below(r, one_in(r, 2) ? 3 : 99);
		if (one_in(r, 4))
			guest_fail_pin(r->g->s->guest, 1 + below(r, 9),
				       -ENOMEM);
		ret = group_walk(r->g, &spaces, budget, r->parts);
		guest_fail_pin(r->g->s->guest, 0, 0);
	} while ((ret == VMEM_WALK_STOP || ret == -ENOMEM) &&
		 ++calls < MAX_CALLS);
	ok = !ret && records_equal(r->g->test, r->parts, r->whole) &&
	     spaces.stats.leaves == r->o->leaves &&
	     guest_is_intact(r->g->s->guest);
	if (!ok)
		kunit_err(r->g->test, "resumed: %d after %d calls, %llu/%llu",
			  ret, calls, spaces.stats.leaves, r->o->leaves);
	vmem_spaces_destroy(&spaces);
	return ok;
}

static bool check_vas(struct graph *r)
{
	struct vmem_spaces spaces;
	bool ok = true;
	int i;

	group_walk_all(r->g, &spaces, r->parts);
	for (i = 0; ok && i < NR_VAS; i++)
		ok = oracle_check_va(r->o, &spaces, below(r, r->g->nr_roots),
				     one_in(r, 8) ? random_edge(r) :
						    random_va(r));
	vmem_spaces_destroy(&spaces);
	return ok;
}

/* Another order of the roots. */
static void permute(struct graph *r)
{
	u32 i, j;

	for (i = r->g->nr_roots - 1; i; i--) {
		j = below(r, i + 1);
		swap(r->g->roots[i], r->g->roots[j]);
		swap(r->g->regs[i], r->g->regs[j]);
	}
}

static bool check_order(struct graph *r)
{
	return oracle_check(r->o, r->g, r->whole) && check_vas(r);
}

static bool check_graph(struct graph *r)
{
	if (!check_order(r) || !check_resumed(r))
		return false;
	if (r->g->nr_roots == 1 || one_in(r, 2))
		return true;
	permute(r);
	return check_order(r);
}

static void vmem_spaces_random_graphs(struct kunit *test)
{
	struct graph *r = graph_alloc(test);
	u64 i;

	for (i = 0; i < NR_GRAPHS; i++) {
		make_graph(r, rng_first_seed + i);
		KUNIT_ASSERT_TRUE_MSG(test, check_graph(r),
				      "again: vmem_kunit.seed=%llu",
				      rng_first_seed + i);
		cond_resched();
	}
}

/**
 * struct coverage - what random graphs have in them
 * @partial: references to a table that is seen in part
 * @across: references to another space
 * @inside: references inside a space
 * @wider: references with more rights than the owner has
 * @twice: roots that are given twice
 * @anomalies: anomalies by status
 * @expanded: graphs that were compared page for page
 */
struct coverage {
	int partial;
	int across;
	int inside;
	int wider;
	int twice;
	int anomalies[VMEM_CROSS_LEVEL + 1];
	int expanded;
};

static void cover_record(struct coverage *c, const struct group *g,
			 const struct vmem_record *r)
{
	const struct vmem_aliasing *a = &r->aliasing;

	if (r->type == VMEM_SPACE)
		c->twice += r->space.alias_of != r->root;
	if (r->type == VMEM_ANOMALY)
		c->anomalies[r->anomaly.status]++;
	if (r->type != VMEM_ALIASING)
		return;
	c->across += a->owner_root != r->root;
	c->inside += a->owner_root == r->root;
	c->wider += (a->perms & ~a->owner_perms) != 0;
	c->partial +=
		!vmem_scope_holds(&g->scope, a->our_va, a->our_va + a->len - 1);
}

/* Graphs have of everything, or the rest proves little. */
static void vmem_spaces_random_coverage(struct kunit *test)
{
	struct graph *r = graph_alloc(test);
	struct coverage c = {};
	int i, seed;

	for (seed = 0; seed < 600; seed++) {
		make_graph(r, rng_first_seed + seed);
		oracle_run(r->o, r->g);
		for (i = 0; i < r->o->want.nr; i++)
			cover_record(&c, r->g, &r->o->want.r[i]);
		oracle_check_expansion(r->o, &r->o->want);
		KUNIT_ASSERT_TRUE(test, r->o->ok);
		c.expanded += r->o->expanded <= ORACLE_MAX_EXPANDED;
	}
	KUNIT_EXPECT_GT(test, c.partial, 50);
	KUNIT_EXPECT_GT(test, c.across, 200);
	KUNIT_EXPECT_GT(test, c.inside, 20);
	KUNIT_EXPECT_GT(test, c.wider, 20);
	KUNIT_EXPECT_GT(test, c.twice, 50);
	KUNIT_EXPECT_GT(test, c.expanded, 500);
	KUNIT_EXPECT_GT(test, c.anomalies[VMEM_UNBACKED], 50);
	KUNIT_EXPECT_GT(test, c.anomalies[VMEM_ANCESTOR], 50);
	KUNIT_EXPECT_GT(test, c.anomalies[VMEM_CROSS_LEVEL], 30);
	if (r->g->s->mode->max_leaf > 1)
		KUNIT_EXPECT_GT(test, c.anomalies[VMEM_RESERVED], 20);
}

static struct kunit_case vmem_spaces_random_test_cases[] = {
	KUNIT_CASE_PARAM(vmem_spaces_random_coverage, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_spaces_random_graphs, mode_gen_params),
	{}
};

static struct kunit_suite vmem_spaces_random_suite = {
	.name = "vmem_spaces_random",
	.test_cases = vmem_spaces_random_test_cases,
};

kunit_test_suite(vmem_spaces_random_suite);
