// SPDX-License-Identifier: GPL-2.0-only
/*
 * Walks over the spaces of random graphs, against the oracle.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sched.h>

#include "graph.h"

#define NR_GRAPHS 1000
#define NR_VAS 6
#define MAX_CALLS 20000

KUNIT_ARRAY_PARAM(mode, modes, mode_desc);

/* Calls with little budget and little room tell the same. */
static bool check_resumed(struct graph *r)
{
	struct vmem_spaces spaces;
	int ret, calls = 0;
	bool ok;

	group_begin(r->g, &spaces);
	records_reset(r->parts);
	do {
		u64 budget = graph_one_in(r, 4) ?
				     U64_MAX :
				     r->g->s->mode->top + graph_below(r, 600);

		r->parts->room = r->parts->nr +
				 graph_below(r, graph_one_in(r, 2) ? 3 : 99);
		if (graph_one_in(r, 4))
			guest_fail_pin(r->g->s->guest, 1 + graph_below(r, 9),
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
	u32 root;
	u64 va;
	int i;

	group_walk_all(r->g, &spaces, r->parts);
	for (i = 0; ok && i < NR_VAS; i++) {
		root = graph_below(r, r->g->nr_roots);
		va = graph_one_in(r, 8) ? graph_edge(r) : graph_va(r);
		ok = oracle_check_va(r->o, &spaces, root, va);
	}
	vmem_spaces_destroy(&spaces);
	return ok && guest_is_intact(r->g->s->guest);
}

static bool check_order(struct graph *r)
{
	return oracle_check(r->o, r->g, r->whole) && check_vas(r);
}

static bool check_graph(struct graph *r)
{
	if (!check_order(r) || !check_resumed(r))
		return false;
	if (r->g->nr_roots == 1 || graph_one_in(r, 2))
		return true;
	graph_permute(r);
	return check_order(r);
}

static void vmem_spaces_random_graphs(struct kunit *test)
{
	struct graph *r = graph_alloc(test, test->param_value);
	u64 i;

	for (i = 0; i < NR_GRAPHS; i++) {
		graph_make(r, rng_first_seed + i);
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
	const struct vmem_reference *a = &r->reference;

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
	struct graph *r = graph_alloc(test, test->param_value);
	struct coverage c = {};
	int i, seed;

	for (seed = 0; seed < 600; seed++) {
		graph_make(r, rng_first_seed + seed);
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
