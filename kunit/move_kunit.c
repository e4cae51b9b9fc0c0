// SPDX-License-Identifier: GPL-2.0-only
/*
 * Walks whose callbacks put the cursor elsewhere: wherever that is, they go on
 * there as a walk would that begins there.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "graph.h"

#define NR_GRAPHS 400
#define MAX_JUMPS 60
#define MAX_STAY 4
#define MAX_VISITS (MAX_JUMPS * (MAX_STAY + 1) + 1)

KUNIT_ARRAY_PARAM(mode, modes, mode_desc);

/* Which callback it was. */
enum callback { ON_LEAF, ON_HOLE, ON_ANOMALY };

/**
 * struct jump - a place to go to
 * @va: where
 * @stay: how many visits to see there before the last one
 */
struct jump {
	u64 va;
	int stay;
};

/**
 * struct call - a callback
 * @kind: which one
 * @visit: what it was shown
 * @path: what the visit's path was
 */
struct call {
	enum callback kind;
	struct vmem_visit visit;
	struct vmem_trace path[VMEM_MAX_LEVELS];
};

/**
 * struct calls - the callbacks of a walk
 * @nr: how many there were
 * @calls: they
 */
struct calls {
	int nr;
	struct call calls[MAX_VISITS];
};

/**
 * struct journey - a walk that moves about
 * @r: the spaces, and where the randomness comes from
 * @spaces: they have been walked to the end, and own tables
 * @seen: the owners are looked at
 * @runs: leaves that follow each other are one visit
 * @holes: holes are told
 * @index: index of the root
 * @nr_jumps: how many places there are to go to
 * @jumps: the places
 * @walk: the walk
 * @at: the jump that is next
 * @stay: visits that are left before it
 * @again: one in how many visits is asked for again, 0 for none
 * @asked: the one before was
 * @moved: what the walk showed
 * @apart: what one walk for each place showed
 * @from: how many moves there were, by callback
 */
struct journey {
	struct graph *r;
	struct vmem_spaces spaces;
	bool seen;
	bool runs;
	bool holes;
	u32 index;
	int nr_jumps;
	struct jump jumps[MAX_JUMPS];
	struct vmem_walk walk;
	int at;
	int stay;
	u32 again;
	bool asked;
	struct calls *log;
	struct calls moved;
	struct calls apart;
	int from[ON_ANOMALY + 1];
};

static struct journey *journey_alloc(struct kunit *test)
{
	struct journey *j = kunit_kzalloc(test, sizeof(*j), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, j);
	j->r = graph_alloc(test, test->param_value);
	return j;
}

static void log_call(struct journey *j, enum callback kind,
		     const struct vmem_visit *v)
{
	struct call *call = &j->log->calls[j->log->nr++];

	KUNIT_ASSERT_LT(j->r->g->test, j->log->nr, MAX_VISITS);
	memset(call, 0, sizeof(*call));
	call->kind = kind;
	call->visit = *v;
	memcpy(call->path, v->path, v->nr_path * sizeof(*v->path));
}

/* Once in a while, have the same visit again. */
static bool ask_again(struct journey *j)
{
	j->asked = !j->asked && j->again && graph_one_in(j->r, j->again);
	return j->asked;
}

static int go_on(struct journey *j, enum callback kind,
		 const struct vmem_visit *v)
{
	if (kind != ON_ANOMALY && ask_again(j))
		return VMEM_WALK_AGAIN;
	log_call(j, kind, v);
	if (j->stay--)
		return 0;
	if (j->at == j->nr_jumps)
		return VMEM_WALK_STOP;
	j->walk.va = j->jumps[j->at].va;
	j->stay = j->jumps[j->at].stay;
	j->at++;
	j->from[kind]++;
	return VMEM_WALK_MOVE;
}

static int on_leaf(const struct vmem_visit *v, void *priv)
{
	return go_on(priv, ON_LEAF, v);
}

static int on_hole(const struct vmem_visit *v, void *priv)
{
	return go_on(priv, ON_HOLE, v);
}

static int on_anomaly(const struct vmem_visit *v, void *priv)
{
	return go_on(priv, ON_ANOMALY, v);
}

static int on_reference(const struct vmem_visit *v, void *priv)
{
	return VMEM_WALK_FOLLOW;
}

/* Nobody writes: what is told to have changed was read where it is no more. */
static int on_torn(const struct vmem_visit *v, void *priv)
{
	struct journey *j = priv;

	KUNIT_FAIL(j->r->g->test, "torn: %#llx, level %d", v->va, v->level);
	return 0;
}

/* One walk from a place on, that goes to those up to @last. */
static int go(struct journey *j, struct calls *log, int first, int last)
{
	const struct vmem_walk_ops ops = {
		.leaf = on_leaf,
		.hole = j->holes ? on_hole : NULL,
		.anomaly = on_anomaly,
		.reference = on_reference,
		.torn = on_torn,
		.runs = j->runs,
	};
	int ret;

	j->log = log;
	j->at = first + 1;
	j->nr_jumps = last;
	j->stay = j->jumps[first].stay;
	j->walk = (struct vmem_walk){
		.mem = &j->r->g->s->guest->mem,
		.roots = j->r->g->roots,
		.nr_roots = j->r->g->nr_roots,
		.scope = j->r->g->scope,
		.seen = j->seen ? &j->spaces.seen : NULL,
		.root = j->index,
		.va = j->jumps[first].va,
		.budget = U64_MAX,
		.ops = &ops,
		.priv = j,
	};
	/* The space at hand only. */
	j->walk.nr_roots = j->index + 1;
	ret = vmem_walk(&j->walk);
	j->walk.ops = NULL;
	return ret;
}

static bool visits_equal(const struct vmem_visit *a, const struct vmem_visit *b)
{
	return a->root == b->root && a->index == b->index &&
	       a->status == b->status && a->level == b->level &&
	       a->va == b->va && a->last_va == b->last_va &&
	       a->base == b->base && a->gpa == b->gpa &&
	       a->page_size == b->page_size && a->perms == b->perms &&
	       a->cow == b->cow && a->nr_path == b->nr_path &&
	       a->referenced == b->referenced && a->owner == b->owner &&
	       a->owner_va == b->owner_va && a->owner_perms == b->owner_perms;
}

static bool calls_equal(struct journey *j)
{
	const struct call *a, *b;
	int i;

	for (i = 0; i < j->moved.nr && i < j->apart.nr; i++) {
		a = &j->moved.calls[i];
		b = &j->apart.calls[i];
		if (a->kind != b->kind || !visits_equal(&a->visit, &b->visit) ||
		    memcmp(a->path, b->path, sizeof(a->path))) {
			kunit_err(j->r->g->test, "visit %d: %#llx..%#llx", i,
				  a->visit.va, a->visit.last_va);
			kunit_err(j->r->g->test, "  and not %#llx..%#llx",
				  b->visit.va, b->visit.last_va);
			return false;
		}
	}
	if (j->moved.nr != j->apart.nr)
		kunit_err(j->r->g->test, "%d visits and not %d", j->moved.nr,
			  j->apart.nr);
	return j->moved.nr == j->apart.nr && guest_is_intact(j->r->g->s->guest);
}

/* The same places, in one walk and in one for each, up to one that ends first. */
static bool check_journey(struct journey *j)
{
	int i, ret, one, nr = j->nr_jumps;
	u32 again = j->again;

	j->moved.nr = 0;
	j->apart.nr = 0;
	j->asked = false;
	ret = go(j, &j->moved, 0, nr);
	j->again = 0;
	for (i = 0; i < nr; i++) {
		one = go(j, &j->apart, i, i + 1);
		if (one != VMEM_WALK_STOP)
			break;
	}
	j->again = again;
	j->nr_jumps = nr;
	if (ret != one)
		kunit_err(j->r->g->test, "%d and not %d", ret, one);
	return ret == one && calls_equal(j);
}

/*
 * The places: inside the scope, and some of them inside what is excluded from it.
 */
static u64 somewhere(struct journey *j, u64 last)
{
	const struct vmem_scope *scope = &j->r->g->scope;
	int level = 1 + graph_below(j->r, j->r->g->s->mode->top);

	switch (graph_below(j->r, 10)) {
	case 0:
		return graph_edge(j->r);
	case 1:
		return scope->nr_excluded ?
			       scope->excluded[graph_below(j->r,
							   scope->nr_excluded)]
					       .last_va +
				       graph_below(j->r, 3) - 1 :
			       scope->last_va;
	case 2:
		return j->r->g->roots[0].mode.noncanonical +
		       graph_below(j->r, 3) - 1;
	case 3:
		return last;
	case 4:
		return last ^ space_span(j->r->g->s, level);
	case 5:
		return last + SZ_4K * (graph_below(j->r, 5) - 2);
	default:
		return graph_va(j->r);
	}
}

static void plan(struct journey *j)
{
	const struct vmem_scope *scope = &j->r->g->scope;
	u64 va = scope->va;
	int i;

	j->nr_jumps = 1 + graph_below(j->r, MAX_JUMPS);
	for (i = 0; i < j->nr_jumps; i++) {
		va = somewhere(j, va);
		if (va < scope->va || va > scope->last_va)
			va = graph_one_in(j->r, 2) ? scope->va : scope->last_va;
		j->jumps[i].va = va;
		/* The end of the scope would be the end of many. */
		j->jumps[i].stay = scope->last_va - va < SZ_1M ?
					   0 :
					   graph_below(j->r, MAX_STAY + 1);
	}
}

static bool check_graph(struct journey *j)
{
	bool ok = true;
	int i;

	group_walk_all(j->r->g, &j->spaces, j->r->whole);
	for (i = 0; ok && i < 8; i++) {
		j->seen = i & 1;
		j->runs = graph_one_in(j->r, 2);
		j->holes = !graph_one_in(j->r, 4);
		j->again = graph_one_in(j->r, 2) ? 1 + graph_below(j->r, 8) : 0;
		j->index = graph_below(j->r, j->r->g->nr_roots);
		plan(j);
		ok = check_journey(j);
	}
	vmem_spaces_destroy(&j->spaces);
	return ok;
}

static void vmem_move_random_graphs(struct kunit *test)
{
	struct journey *j = journey_alloc(test);
	u64 i;

	for (i = 0; i < NR_GRAPHS; i++) {
		graph_make(j->r, rng_first_seed + i);
		KUNIT_ASSERT_TRUE_MSG(test, check_graph(j),
				      "again: vmem_kunit.seed=%llu",
				      rng_first_seed + i);
		cond_resched();
	}
	/* From everywhere, or this proves little. */
	KUNIT_EXPECT_GT(test, j->from[ON_LEAF], 200);
	KUNIT_EXPECT_GT(test, j->from[ON_HOLE], 200);
	KUNIT_EXPECT_GT(test, j->from[ON_ANOMALY], 200);
}

/*
 * To and fro: two tables that lie close together share all that is above them,
 * and what is remembered is not looked up again.
 */
static void two_tables(struct journey *j)
{
	struct group *g = j->r->g;
	u64 root, va = space_va(g->s, 2);

	group_reset(g, true);
	root = group_new_root(g);
	group_add_root(g, root);
	group_set(g, root, va, 1, g->s->mode->frame | PTE_PWU);
	group_set(g, root, va + SZ_8K, 1, (g->s->mode->frame + SZ_1M) | PTE_P);
	group_set(g, root, va + group_region(g, 1), 1,
		  g->s->mode->frame | PTE_P | PTE_U);
	j->holes = true;
	j->index = 0;
	j->nr_jumps = 0;
}

static void jump_to(struct journey *j, u64 va)
{
	j->jumps[j->nr_jumps++] = (struct jump){ .va = va };
}

static void vmem_move_inside(struct kunit *test)
{
	struct journey *j = journey_alloc(test);
	struct guest *guest = j->r->g->s->guest;
	u64 va = space_va(j->r->g->s, 2);
	int top = j->r->g->s->mode->top;

	two_tables(j);
	jump_to(j, va);
	jump_to(j, va + SZ_8K);
	jump_to(j, va + SZ_4K);
	jump_to(j, va);
	KUNIT_EXPECT_TRUE(test, check_journey(j));

	j->moved.nr = 0;
	guest_forget_pins(guest);
	KUNIT_EXPECT_EQ(test, go(j, &j->moved, 0, 4), VMEM_WALK_STOP);
	KUNIT_EXPECT_EQ(test, guest->pins, (u32)top);
	KUNIT_EXPECT_EQ(test, j->walk.tables, (u64)top);
	/* Once for each visit, and once for each table on the way. */
	KUNIT_EXPECT_EQ(test, U64_MAX - j->walk.budget, top - 1 + 4ULL);
}

static void vmem_move_out_and_back(struct kunit *test)
{
	struct journey *j = journey_alloc(test);
	struct group *g = j->r->g;
	u64 va = space_va(g->s, 2);
	u64 far = va ^ (space_span(g->s, g->s->mode->top) * 2);
	int top = g->s->mode->top;

	two_tables(j);
	jump_to(j, va);
	jump_to(j, far); /* a hole in the root: what is below is left */
	jump_to(j, va + SZ_8K);
	jump_to(j, va + group_region(g, 1)); /* one table more */
	KUNIT_EXPECT_TRUE(test, check_journey(j));

	j->moved.nr = 0;
	guest_forget_pins(g->s->guest);
	KUNIT_EXPECT_EQ(test, go(j, &j->moved, 0, 4), VMEM_WALK_STOP);
	KUNIT_EXPECT_EQ(test, g->s->guest->pins, 2U * top);
	KUNIT_EXPECT_EQ(test, j->moved.calls[0].visit.perms, (u32)ALL_PERMS);
	KUNIT_EXPECT_EQ(test, j->moved.calls[3].visit.perms,
			(u32)(VMEM_USER | VMEM_EXECUTABLE));
}

/* Far more moves than are made without a pause. */
static int hop(const struct vmem_visit *v, void *priv)
{
	struct journey *j = priv;

	if (!j->stay--)
		return VMEM_WALK_STOP;
	j->walk.va ^= SZ_8K;
	return VMEM_WALK_MOVE;
}

static void vmem_move_many(struct kunit *test)
{
	const struct vmem_walk_ops ops = {
		.leaf = hop,
		.hole = hop,
		.anomaly = hop,
	};
	struct journey *j = journey_alloc(test);

	two_tables(j);
	j->stay = 10000;
	j->walk = (struct vmem_walk){
		.mem = &j->r->g->s->guest->mem,
		.roots = j->r->g->roots,
		.nr_roots = 1,
		.scope = j->r->g->scope,
		.va = space_va(j->r->g->s, 2),
		.budget = U64_MAX,
		.ops = &ops,
		.priv = j,
	};
	KUNIT_EXPECT_EQ(test, vmem_walk(&j->walk), VMEM_WALK_STOP);
	KUNIT_EXPECT_EQ(test, j->stay, -1);
	KUNIT_EXPECT_EQ(test, j->walk.tables, (u64)j->r->g->s->mode->top);
	KUNIT_EXPECT_TRUE(test, guest_is_intact(j->r->g->s->guest));
}

/*
 * A walk that claims tables, from one table to another far away and back to the
 * first one's directory: what is on the path is what is above the cursor, and not
 * what was read last.
 */
struct claim {
	struct vmem_walk walk;
	struct group *g;
	u64 to[3];
	int at;
	u32 status;
};

static int claim_space(const struct vmem_root *root, u32 index, u32 alias_of,
		       void *priv)
{
	return 0;
}

static int claim_next(const struct vmem_visit *v, void *priv)
{
	struct claim *c = priv;

	if (c->at == ARRAY_SIZE(c->to))
		return VMEM_WALK_STOP;
	c->walk.va = c->to[c->at++];
	return VMEM_WALK_MOVE;
}

static int claim_anomaly(const struct vmem_visit *v, void *priv)
{
	struct claim *c = priv;

	c->status = v->status;
	return VMEM_WALK_STOP;
}

static u32 claim_status(struct claim *c)
{
	static const struct vmem_walk_ops ops = {
		.space = claim_space,
		.reference = on_reference,
		.leaf = claim_next,
		.hole = claim_next,
		.anomaly = claim_anomaly,
	};
	struct vmem_seen seen = {};

	c->at = 0;
	c->status = VMEM_MAPPED;
	c->walk = (struct vmem_walk){
		.mem = &c->g->s->guest->mem,
		.roots = c->g->roots,
		.nr_roots = 1,
		.scope = c->g->scope,
		.seen = &seen,
		.claim = true,
		.va = c->to[0],
		.budget = U64_MAX,
		.ops = &ops,
		.priv = c,
	};
	KUNIT_EXPECT_EQ(c->g->test, vmem_walk(&c->walk), VMEM_WALK_STOP);
	KUNIT_EXPECT_TRUE(c->g->test, guest_is_intact(c->g->s->guest));
	vmem_seen_destroy(&seen);
	return c->status;
}

/* The table of @level that maps @va. */
static u64 table_at(struct group *g, u64 va, int level)
{
	return group_entry(g, g->roots[0].table, va, level) & VMEM_PAGE_MASK;
}

static void vmem_move_claiming(struct kunit *test)
{
	struct claim *c = kunit_kzalloc(test, sizeof(*c), GFP_KERNEL);
	u64 root, va, far, pd;

	KUNIT_ASSERT_NOT_NULL(test, c);
	c->g = group_alloc(test, test->param_value);
	if (c->g->s->mode->top < 4)
		kunit_skip(test, "too few levels");
	va = space_va(c->g->s, 3);
	far = va + space_span(c->g->s, 4);
	root = group_new_root(c->g);
	group_add_root(c->g, root);
	group_set(c->g, root, va, 1, c->g->s->mode->frame | PTE_PWU);
	group_set(c->g, root, far, 3, PTE_W);
	c->to[0] = va;
	c->to[1] = far;
	c->to[2] = va + space_span(c->g->s, 2);

	/* Two levels above itself, and then beside a path that has gone. */
	pd = table_at(c->g, va, 2);
	group_link(c->g, root, c->to[2], 1, table_at(c->g, va, 3), PTE_PWU);
	KUNIT_EXPECT_EQ(test, claim_status(c), (u32)VMEM_ANCESTOR);
	group_link(c->g, root, c->to[2], 1, pd, PTE_PWU);
	KUNIT_EXPECT_EQ(test, claim_status(c), (u32)VMEM_ANCESTOR);
	group_link(c->g, root, c->to[2], 1, table_at(c->g, far, 3), PTE_PWU);
	KUNIT_EXPECT_EQ(test, claim_status(c), (u32)VMEM_CROSS_LEVEL);
}

static struct kunit_case vmem_move_test_cases[] = {
	KUNIT_CASE_PARAM(vmem_move_claiming, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_move_inside, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_move_out_and_back, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_move_many, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_move_random_graphs, mode_gen_params),
	{}
};

static struct kunit_suite vmem_move_suite = {
	.name = "vmem_move",
	.test_cases = vmem_move_test_cases,
};

kunit_test_suite(vmem_move_suite);
