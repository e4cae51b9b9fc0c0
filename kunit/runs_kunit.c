// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs: pages that follow each other and are told as one visit, and zeros that
 * nobody is told of. Taken apart again they are what a walk entry by entry
 * shows, which is compared with the reference; and they cost the same.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "rng.h"
#include "space.h"

#define NR_SETS 150
#define MAX_PIECES 16384
#define MAX_EXCLUDED 4
#define MAX_CALLS 100000

/* One of three bits, as hyperlight has it. */
#define COW_MASK GENMASK_ULL(11, 9)
#define COW_VALUE BIT_ULL(9)

KUNIT_ARRAY_PARAM(mode, modes, mode_desc);

/**
 * struct piece - what one entry maps, or fails to
 * @status: what became of it
 * @level: level of its table
 * @va: first address, in the scope
 * @last_va: last address, in the scope
 * @gpa: where @va is mapped; 0 unless it is
 * @perms: the path's permissions
 * @cow: it is copy-on-write
 */
struct piece {
	u32 status;
	int level;
	u64 va;
	u64 last_va;
	u64 gpa;
	u32 perms;
	bool cow;
};

struct pieces {
	int nr;
	struct piece p[MAX_PIECES];
};

/**
 * struct runs - a random set of tables with runs in them
 * @s: its space
 * @rng: where the randomness comes from
 * @scope: the part to walk
 * @excluded: what the scope's exclusions point to
 * @want: what is found entry by entry
 * @got: what is found otherwise
 * @log: the one that is written
 * @single: each visit is to be of one entry
 * @refuse: one in how many visits is refused at first, 0 for none
 * @refused: where that was last
 * @walk: the walk that is under way
 * @flat: the mappings that there are
 * @rec: those that were told
 * @wrong: something was
 * @visits: how many visits of leaves there were, in walks that tell runs
 * @leaves: how many leaves they had
 */
struct runs {
	struct space *s;
	struct rnd_state rng;
	struct vmem_scope scope;
	struct vmem_span excluded[MAX_EXCLUDED];
	struct pieces want;
	struct pieces got;
	struct pieces *log;
	bool single;
	u32 refuse;
	u64 refused;
	struct vmem_walk *walk;
	struct recorder *flat;
	struct recorder *rec;
	bool wrong;
	u64 visits;
	u64 leaves;
};

static u32 below(struct runs *r, u32 limit)
{
	return rng_below(&r->rng, limit);
}

static bool one_in(struct runs *r, u32 n)
{
	return rng_one_in(&r->rng, n);
}

static struct runs *runs_alloc(struct kunit *test)
{
	struct runs *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, r);
	r->s = space_alloc(test, test->param_value);
	r->flat = recorder_alloc(test);
	r->rec = recorder_alloc(test);
	return r;
}

/*
 * The tables. A run is pages that follow each other, with now and then an entry
 * that differs: in a bit that matters, in one that does not, or in its address.
 */
static u64 run_flags(struct runs *r)
{
	u64 flags = PTE_P | (rng_bits64(&r->rng) & 0x7e);

	if (r->s->mode->entry_size == 8 && r->s->regs.efer & EFER_NX)
		flags |= rng_bits64(&r->rng) & PTE_NX;
	flags |= rng_bits64(&r->rng) & mode_encryption(r->s->mode);
	return one_in(r, 3) ? flags | COW_VALUE : flags;
}

/* Where addresses end, or one format does; or anywhere. */
static u64 run_frame(struct runs *r, int level)
{
	u64 span = space_span(r->s, level);
	u64 end = BIT_ULL(min_t(u32, r->s->regs.maxphyaddr,
				r->s->mode->entry_size == 8 ? 52 : 40));

	if (r->s->mode->entry_size == 4 && (level == 1 || one_in(r, 2)))
		end = BIT_ULL(32);
	if (mode_encryption(r->s->mode) && one_in(r, 2))
		end = mode_encryption(r->s->mode);
	switch (below(r, 3)) {
	case 0:
		return end - span * below(r, 20);
	case 1:
		return span * below(r, 4);
	default:
		return space_frame(r->s, level) & -span;
	}
}

/* The bits of an entry: any, but for where a page's address is. */
static u64 odd_bit(struct runs *r)
{
	static const u8 small[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
	static const u8 large[] = { 1,	2,  5,	6,  9,	10, 11, 52,
				    53, 58, 59, 61, 62, 63, 0,	7 };

	if (mode_encryption(r->s->mode) && one_in(r, 8))
		return mode_encryption(r->s->mode);
	/* In PAE paging, most of the others are reserved. */
	if (r->s->mode->entry_size == 4 ||
	    (mode_is_pae(r->s->mode) && !one_in(r, 8)))
		return BIT_ULL(small[below(r, ARRAY_SIZE(small))]);
	return BIT_ULL(large[below(r, ARRAY_SIZE(large))]);
}

static u64 plant_run(struct runs *r, u64 va, u64 end, int level)
{
	u64 span = space_span(r->s, level);
	u64 gpa = run_frame(r, level);
	u64 flags = run_flags(r);
	u32 nr = 1 + below(r, one_in(r, 4) ? 400 : 30);
	u32 odd = one_in(r, 2) ? 1 + below(r, 16) : 0;

	for (; nr && va < end; nr--, va += span, gpa += span) {
		u64 raw = space_leaf(r->s, level, gpa, flags);

		if (odd && one_in(r, odd)) {
			raw ^= odd_bit(r);
			if (one_in(r, 2))
				flags ^= odd_bit(r) & ~PTE_P;
		}
		if (odd && one_in(r, 2 * odd))
			gpa += span * (below(r, 3) - 1);
		space_set(r->s, va, level, raw);
	}
	return va;
}

static u64 plant_holes(struct runs *r, u64 va, u64 end, int level)
{
	u32 nr = 1 + below(r, one_in(r, 4) ? 200 : 8);
	u64 raw = one_in(r, 3) ? rng_bits64(&r->rng) & U32_MAX & ~PTE_P : 0;

	for (; nr && va < end; nr--, va += space_span(r->s, level))
		space_set(r->s, va, level, one_in(r, 20) ? raw ^ PTE_W : raw);
	return va;
}

/* A table of @level, whose region begins at @va, or the first @nr entries of it. */
static void plant_table(struct runs *r, u64 va, int level, u32 nr)
{
	u64 end = va + nr * space_span(r->s, level);

	while (va < end) {
		if (one_in(r, 3))
			va = plant_holes(r, va, end, level);
		else if (one_in(r, 20) && space_reserved(r->s, level))
			space_set(r->s, va, level, space_reserved(r->s, level));
		else
			va = plant_run(r, va, end, level);
	}
}

/* A width that has room for the tables. */
static void random_width(struct runs *r)
{
	u32 least = r->s->mode->entry_size == 8 ? r->s->mode->regs.maxphyaddr :
						  VMEM_MIN_PHYADDR;

	r->s->regs.maxphyaddr =
		one_in(r, 2) ? r->s->mode->regs.maxphyaddr :
			       least + below(r, VMEM_MAX_PHYADDR + 1 - least);
}

/* Where the tables are; all addresses of a set are close to it. */
static u64 place(const struct runs *r)
{
	return r->s->mode->va & -space_span(r->s, r->s->mode->max_leaf);
}

static void make_tables(struct runs *r)
{
	u32 nr = BIT(r->s->mode->index_bits);
	u64 va = place(r);
	int i;

	random_width(r);
	r->s->bounce = one_in(r, 8);
	r->s->regs.cow_mask = one_in(r, 3) ? 0 : COW_MASK;
	r->s->regs.cow_value = r->s->regs.cow_mask & COW_VALUE;
	space_reset(r->s);
	for (i = 0; i < 3; i++)
		plant_table(r, va + i * space_span(r->s, 2), 1, nr);
	va += 3 * space_span(r->s, 2);
	if (r->s->mode->max_leaf >= 2)
		plant_table(r, va, 2, below(r, 200));
	va = place(r) + space_span(r->s, 3);
	if (r->s->mode->max_leaf >= 3)
		plant_table(r, va, 3, below(r, 60));
	/* A path that denies something. */
	if (one_in(r, 2)) {
		va = place(r) + space_span(r->s, 2);
		space_set(r->s, va, 2,
			  space_get(r->s, va, 2) &
				  ~(one_in(r, 2) ? PTE_W : PTE_U));
	}
}

/* An address in what was planted, or a little before or behind it. */
static u64 somewhere(struct runs *r)
{
	u64 size = space_span(r->s, 1 + below(r, r->s->mode->max_leaf + 1));
	u64 va = place(r) - SZ_64K;

	va += rng_bits64(&r->rng) % (4 * size);
	return one_in(r, 2) ? va & VMEM_PAGE_MASK : va;
}

static void make_scope(struct runs *r)
{
	u64 va = somewhere(r), last_va = somewhere(r);
	u32 i, nr = below(r, MAX_EXCLUDED + 1);

	if (one_in(r, 4)) {
		va = place(r) - SZ_1M;
		last_va = place(r) + 64 * space_span(r->s, 2);
	}
	r->scope = (struct vmem_scope){
		.va = min(va, last_va),
		.last_va = max(va, last_va),
		.excluded = r->excluded,
	};
	va = r->scope.va;
	for (i = 0; i < nr && va < r->scope.last_va; i++) {
		va += rng_bits64(&r->rng) % (one_in(r, 2) ? SZ_1M : SZ_16M);
		last_va = va + below(r, one_in(r, 2) ? SZ_16K : SZ_4M);
		r->excluded[i].va = va;
		r->excluded[i].last_va = last_va;
		va = last_va + 1;
	}
	r->scope.nr_excluded = i;
}

static void make_set(struct runs *r, u64 seed)
{
	rng_seed(&r->rng, seed);
	make_tables(r);
	make_scope(r);
}

/*
 * What is told. A visit is taken apart into its entries, and the reference is
 * asked about each.
 */
static bool piece_fits(struct runs *r, const struct vmem_visit *v,
		       const struct piece *p)
{
	u64 raw, mask = r->s->regs.cow_mask;
	struct ref ref;
	u32 perms;
	bool cow;

	space_ref(r->s, p->va, &ref);
	if (p->status != ref.t.out_status || p->level != (int)ref.t.out_level)
		return false;
	if (ref.span && (p->va | (ref.span - 1)) < p->last_va)
		return false;
	if (p->status != VMEM_MAPPED)
		return true;
	raw = ref.t.out_trace[ref.t.out_nr_trace - 1].raw;
	cow = mask && (raw & mask) == COW_VALUE;
	perms = cow ? ref.t.out_perms & ~VMEM_WRITABLE : ref.t.out_perms;
	return p->gpa == ref.t.out_gpa && p->perms == perms && p->cow == cow &&
	       v->page_size == ref.t.out_page_size &&
	       (p->va != v->va ||
		!memcmp(v->path, ref.t.out_trace,
			ref.t.out_nr_trace * sizeof(*v->path)));
}

static void take_piece(struct runs *r, const struct vmem_visit *v,
		       const struct piece *p)
{
	if (r->log->nr == MAX_PIECES || !piece_fits(r, v, p)) {
		if (!r->wrong)
			kunit_err(r->s->test,
				  "wrong: %#llx..%#llx status %u gpa %#llx",
				  p->va, p->last_va, p->status, p->gpa);
		r->wrong = true;
		return;
	}
	r->log->p[r->log->nr++] = *p;
}

static int refuse(struct runs *r, const struct vmem_visit *v)
{
	if (!r->refuse || r->refused == v->va || !one_in(r, r->refuse))
		return 0;
	/* The cursor is at the visit that is not taken, and comes back to it. */
	r->wrong |= r->walk->va != v->va;
	r->refused = v->va;
	return VMEM_WALK_STOP;
}

static int take_visit(struct runs *r, const struct vmem_visit *v)
{
	struct piece p = {
		.status = v->status,
		.level = v->level,
		.va = v->va,
		.last_va = v->last_va,
	};

	if (refuse(r, v))
		return VMEM_WALK_STOP;
	take_piece(r, v, &p);
	return r->wrong ? -EBADE : 0;
}

static int take_leaves(const struct vmem_visit *v, void *priv)
{
	struct runs *r = priv;
	struct piece p = {
		.status = v->status,
		.level = v->level,
		.perms = v->perms,
		.cow = v->cow,
	};
	u64 va, last_va;

	if (refuse(r, v))
		return VMEM_WALK_STOP;
	r->visits += !r->single;
	for (va = v->va; !r->wrong; va = last_va + 1) {
		last_va = min(va | (v->page_size - 1), v->last_va);
		p.va = va;
		p.last_va = last_va;
		p.gpa = v->gpa + (va - v->va);
		take_piece(r, v, &p);
		r->leaves += !r->single;
		if (last_va == v->last_va)
			break;
	}
	r->wrong |= r->single && (v->va | (v->page_size - 1)) < v->last_va;
	return r->wrong ? -EBADE : 0;
}

static int take_other(const struct vmem_visit *v, void *priv)
{
	return take_visit(priv, v);
}

/* The first address from @va on that is not excluded. */
static u64 skip_excluded(const struct runs *r, u64 va)
{
	u32 i;

	for (i = 0; i < r->scope.nr_excluded; i++) {
		if (r->excluded[i].va <= va && va <= r->excluded[i].last_va)
			va = r->excluded[i].last_va + 1;
	}
	return va;
}

/* The pieces are all of the scope, and nothing twice. */
static bool pieces_tile(const struct runs *r, const struct pieces *pieces)
{
	u64 va = r->scope.va;
	int i;

	for (i = 0; i < pieces->nr; i++) {
		if (pieces->p[i].va != skip_excluded(r, va))
			break;
		va = pieces->p[i].last_va + 1;
	}
	if (i == pieces->nr && skip_excluded(r, va) > r->scope.last_va)
		return true;
	kunit_err(r->s->test, "nothing at %#llx", va);
	return false;
}

static bool is_hole(const struct piece *p)
{
	return p->status == VMEM_NOT_PRESENT || p->status == VMEM_NON_CANONICAL;
}

static bool piece_equal(const struct piece *a, const struct piece *b)
{
	return a->status == b->status && a->level == b->level &&
	       a->va == b->va && a->last_va == b->last_va && a->gpa == b->gpa &&
	       a->perms == b->perms && a->cow == b->cow;
}

/* But for the holes, if they were not told. */
static bool pieces_equal(struct runs *r, bool holes)
{
	int i, k = 0;

	for (i = 0; i < r->want.nr; i++) {
		if (!holes && is_hole(&r->want.p[i]))
			continue;
		if (k == r->got.nr ||
		    !piece_equal(&r->want.p[i], &r->got.p[k])) {
			kunit_err(r->s->test, "not the same from %#llx on",
				  r->want.p[i].va);
			return false;
		}
		k++;
	}
	return k == r->got.nr;
}

static struct vmem_walk make_walk(struct runs *r,
				  const struct vmem_walk_ops *ops)
{
	return (struct vmem_walk){
		.mem = &r->s->guest->mem,
		.roots = &r->s->root,
		.nr_roots = 1,
		.scope = r->scope,
		.va = r->scope.va,
		.budget = U64_MAX,
		.ops = ops,
		.priv = r,
	};
}

static struct vmem_walk_ops make_ops(bool runs, bool holes)
{
	return (struct vmem_walk_ops){
		.leaf = take_leaves,
		.hole = holes ? take_other : NULL,
		.anomaly = take_other,
		.runs = runs,
	};
}

static int walk_into(struct runs *r, struct pieces *log, bool single,
		     struct vmem_walk *walk)
{
	r->log = log;
	r->single = single;
	r->walk = walk;
	return vmem_walk(walk);
}

/* Entry by entry. */
static bool walk_single(struct runs *r, struct vmem_walk *walk)
{
	const struct vmem_walk_ops ops = make_ops(false, true);
	int ret;

	*walk = make_walk(r, &ops);
	r->want.nr = 0;
	ret = walk_into(r, &r->want, true, walk);
	return !ret && !r->wrong && pieces_tile(r, &r->want) &&
	       guest_is_intact(r->s->guest);
}

/* In one call: the same entries are read, of the same tables. */
static bool check_whole(struct runs *r, const struct vmem_walk *single,
			bool runs, bool holes)
{
	const struct vmem_walk_ops ops = make_ops(runs, holes);
	struct vmem_walk walk = make_walk(r, &ops);
	int ret;

	r->got.nr = 0;
	r->refuse = 0;
	ret = walk_into(r, &r->got, !runs, &walk);
	if (ret || walk.budget != single->budget ||
	    walk.tables != single->tables) {
		kunit_err(r->s->test, "%d, %llu entries and not %llu", ret,
			  U64_MAX - walk.budget, U64_MAX - single->budget);
		return false;
	}
	return !r->wrong && pieces_equal(r, holes) &&
	       guest_is_intact(r->s->guest);
}

/*
 * In many calls, beside a walk entry by entry that has the same budgets: both end
 * at the same places.
 */
static bool check_in_step(struct runs *r, bool runs, bool holes, u32 most)
{
	const struct vmem_walk_ops ops = make_ops(runs, holes);
	const struct vmem_walk_ops single = make_ops(false, true);
	struct vmem_walk walk = make_walk(r, &ops);
	struct vmem_walk other = make_walk(r, &single);
	int ret, want, calls = 0;

	r->got.nr = 0;
	r->want.nr = 0;
	r->refuse = 0;
	do {
		walk.budget = r->s->mode->top + below(r, most);
		other.budget = walk.budget;
		ret = walk_into(r, &r->got, !runs, &walk);
		want = walk_into(r, &r->want, true, &other);
		if (ret != want || walk.budget != other.budget ||
		    walk.tables != other.tables ||
		    (ret && walk.va != other.va)) {
			kunit_err(r->s->test, "%d at %#llx and not %d at %#llx",
				  ret, walk.va, want, other.va);
			return false;
		}
	} while (ret == VMEM_WALK_STOP && !r->wrong && ++calls < MAX_CALLS);
	return !ret && !r->wrong && pieces_equal(r, holes) &&
	       guest_is_intact(r->s->guest);
}

/* A callback that ends the walk now and then: the cursor stays at its visit. */
static bool check_refused(struct runs *r, bool holes)
{
	const struct vmem_walk_ops ops = make_ops(true, holes);
	struct vmem_walk walk = make_walk(r, &ops);
	int ret, calls = 0;

	r->got.nr = 0;
	r->refuse = 1 + below(r, 20);
	r->refused = U64_MAX;
	do {
		ret = walk_into(r, &r->got, false, &walk);
	} while (ret == VMEM_WALK_STOP && !r->wrong && ++calls < MAX_CALLS);
	return !ret && !r->wrong && pieces_equal(r, holes) &&
	       guest_is_intact(r->s->guest);
}

/* Does a piece go on where the mapping ends? */
static bool piece_continues(struct runs *r, const struct vmem_mapping *m,
			    const struct piece *p)
{
	return m->last_va + 1 == p->va && m->gpa + (p->va - m->va) == p->gpa &&
	       m->perms == p->perms &&
	       m->page_size == space_span(r->s, p->level) &&
	       m->kind == (p->cow ? VMEM_KIND_COW : VMEM_KIND_BASIC);
}

/* What was found entry by entry, flattened. False if there is too much of it. */
static bool flatten_pieces(struct runs *r, struct recorder *rec)
{
	int i;

	recorder_reset(rec);
	for (i = 0; i < r->want.nr; i++) {
		const struct piece *p = &r->want.p[i];
		struct vmem_mapping *m = &rec->maps[rec->nr];

		if (p->status != VMEM_MAPPED)
			continue;
		if (rec->nr && piece_continues(r, m - 1, p)) {
			m[-1].last_va = p->last_va;
			continue;
		}
		if (rec->nr == MAX_MAPPINGS)
			return false;
		m->va = p->va;
		m->last_va = p->last_va;
		m->gpa = p->gpa;
		m->page_size = space_span(r->s, p->level);
		m->kind = p->cow ? VMEM_KIND_COW : VMEM_KIND_BASIC;
		m->perms = p->perms;
		rec->nr++;
	}
	return true;
}

/* Mappings: those of one call are merged, and those of many can be. */
static bool check_flat(struct runs *r)
{
	struct vmem_range range;
	u64 budget = one_in(r, 2) ? U64_MAX : r->s->mode->top + below(r, 200);
	int ret;

	if (r->scope.nr_excluded || !flatten_pieces(r, r->flat))
		return true;
	recorder_reset(r->rec);
	range = space_range(r->s, r->scope.va, r->scope.last_va, r->rec);
	ret = space_flatten(r->s, &range, budget);
	if (ret == -ENOSPC && budget != U64_MAX)
		return true;
	if (budget != U64_MAX)
		recorder_merge(r->rec);
	if (ret || !recorder_equal(r->rec, r->flat))
		kunit_err(r->s->test, "flat: %d, %d mappings and not %d", ret,
			  r->rec->nr, r->flat->nr);
	return !ret && recorder_equal(r->rec, r->flat);
}

static bool check_set(struct runs *r)
{
	struct vmem_walk single;

	r->wrong = false;
	r->refuse = 0;
	return walk_single(r, &single) &&
	       check_whole(r, &single, false, false) &&
	       check_whole(r, &single, true, false) &&
	       check_whole(r, &single, true, true) && check_refused(r, false) &&
	       check_refused(r, true) && check_in_step(r, true, false, 600) &&
	       check_in_step(r, true, true, 40) &&
	       check_in_step(r, false, false, 60) && check_flat(r);
}

static void vmem_runs_random_tables(struct kunit *test)
{
	struct runs *r = runs_alloc(test);
	u64 i;

	for (i = 0; i < NR_SETS; i++) {
		make_set(r, rng_first_seed + i);
		KUNIT_ASSERT_TRUE_MSG(test, check_set(r),
				      "again: vmem_kunit.seed=%llu",
				      rng_first_seed + i);
		cond_resched();
	}
	/* There are runs, or this proves little. */
	KUNIT_EXPECT_GT(test, r->leaves, 2 * r->visits);
}

/*
 * By hand: a run of 16 pages, with something in the middle.
 */
#define RUN_PAGES 16

/**
 * struct break_case - what is between two halves of a run
 * @desc: for people
 * @flip: bits of the second half that differ
 * @shift: pages by which its frames are elsewhere
 * @visits: how many visits there are
 * @long_only: the case is of a bit that only long mode ignores
 */
struct break_case {
	const char *desc;
	u64 flip;
	int shift;
	int visits;
	bool long_only;
};

/* clang-format off */
static const struct break_case break_cases[] = {
	{ "nothing", .visits = 1 },
	{ "accessed", .flip = BIT_ULL(5), .visits = 1 },
	{ "dirty", .flip = BIT_ULL(6), .visits = 1 },
	{ "accessed and dirty", .flip = BIT_ULL(5) | BIT_ULL(6), .visits = 1 },
	{ "write-through", .flip = BIT_ULL(3), .visits = 1 },
	{ "cache disabled", .flip = BIT_ULL(4), .visits = 1 },
	{ "global", .flip = BIT_ULL(8), .visits = 1 },
	{ "ignored, not of the convention", .flip = BIT_ULL(11), .visits = 1 },
	{ "ignored, above", .flip = BIT_ULL(52), .visits = 1, .long_only = true },
	{ "copy-on-write", .flip = BIT_ULL(9), .visits = 2 },
	{ "writable", .flip = PTE_W, .visits = 2 },
	{ "user", .flip = PTE_U, .visits = 2 },
	{ "execute-disable", .flip = PTE_NX, .visits = 2 },
	{ "not present", .flip = PTE_P, .visits = 1 },
	{ "a gap in the frames", .shift = 1, .visits = 2 },
	{ "the same frame again", .shift = -1, .visits = 2 },
};

/* clang-format on */

static void break_desc(const struct break_case *c, char *desc)
{
	strscpy(desc, c->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(break, break_cases, break_desc);

static void plant_halves(struct runs *r, int level, const struct break_case *c)
{
	u64 va = space_va(r->s, level), span = space_span(r->s, level);
	u64 i, gpa, flags;

	r->s->regs.cow_mask = GENMASK_ULL(10, 9);
	r->s->regs.cow_value = COW_VALUE;
	space_reset(r->s);
	for (i = 0; i < RUN_PAGES; i++) {
		bool second = i >= RUN_PAGES / 2;

		gpa = (i + 8 + (second ? c->shift : 0)) * span;
		flags = PTE_PWU ^ (second ? c->flip : 0);
		space_map(r->s, va + i * span, level, gpa, flags);
	}
	r->scope = (struct vmem_scope){
		.va = va,
		.last_va = va + RUN_PAGES * span - 1,
		.excluded = r->excluded,
	};
}

static void expect_visits(struct runs *r, u64 visits, u64 leaves)
{
	const struct vmem_walk_ops ops = make_ops(true, false);
	struct vmem_walk walk = make_walk(r, &ops);

	r->got.nr = 0;
	r->refuse = 0;
	r->visits = 0;
	r->leaves = 0;
	r->wrong = false;
	KUNIT_EXPECT_EQ(r->s->test, walk_into(r, &r->got, false, &walk), 0);
	KUNIT_EXPECT_FALSE(r->s->test, r->wrong);
	KUNIT_EXPECT_EQ(r->s->test, r->visits, visits);
	KUNIT_EXPECT_EQ(r->s->test, r->leaves, leaves);
}

static void expect_break(struct kunit *test, const struct mode *mode,
			 const struct break_case *c)
{
	struct runs *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	int level, leaves = c->flip & PTE_P ? RUN_PAGES / 2 : RUN_PAGES;

	KUNIT_ASSERT_NOT_NULL(test, r);
	r->s = space_alloc(test, mode);
	for (level = 1; level <= mode->max_leaf; level++) {
		plant_halves(r, level, c);
		expect_visits(r, c->visits, leaves);
	}
}

static void vmem_runs_break(struct kunit *test)
{
	const struct break_case *c = test->param_value;

	int i;

	for (i = 0; i < NR_MODES; i++) {
		if ((c->flip & PTE_NX && !(modes[i].regs.efer & EFER_NX)) ||
		    (c->long_only && !mode_is_long(&modes[i])))
			continue;
		expect_break(test, &modes[i], c);
	}
}

/* An exclusion of one byte cuts a run; a scope begins and ends inside a page. */
static void vmem_runs_cut(struct kunit *test)
{
	const struct break_case plain = {};
	struct runs *r = runs_alloc(test);
	u64 va, span;
	int level;

	for (level = 1; level <= r->s->mode->max_leaf; level++) {
		plant_halves(r, level, &plain);
		va = space_va(r->s, level);
		span = space_span(r->s, level);
		r->scope.va += span + 0x123;
		r->scope.last_va -= 2 * span - 0x21;
		expect_visits(r, 1, RUN_PAGES - 2);

		r->excluded[0].va = va + 5 * span + 0x10;
		r->excluded[0].last_va = va + 5 * span + 0x10;
		r->scope.nr_excluded = 1;
		/* The page that is cut has a part before and one behind. */
		expect_visits(r, 2, RUN_PAGES - 1);
		r->excluded[0].va = va + 5 * span;
		r->excluded[0].last_va = va + 7 * span - 1;
		expect_visits(r, 2, RUN_PAGES - 4);
	}
}

/* Frames up to the last address that the guest can have, and then from 0 on. */
static void vmem_runs_wrap(struct kunit *test)
{
	struct runs *r = runs_alloc(test);
	u64 va = space_va(r->s, 1);
	u64 end = r->s->mode->entry_size == 8 ? BIT_ULL(r->s->regs.maxphyaddr) :
						BIT_ULL(32);
	int i;

	for (i = 0; i < RUN_PAGES; i++)
		space_map(r->s, va + i * SZ_4K, 1,
			  (end + (i - 8) * SZ_4K) & (end - 1), PTE_PWU);
	r->scope = (struct vmem_scope){
		.va = va,
		.last_va = va + RUN_PAGES * SZ_4K - 1,
	};
	expect_visits(r, 2, RUN_PAGES);

	/* As a sum has it, the address carries into what is not the address. */
	for (i = 8; i < RUN_PAGES; i++)
		space_set(r->s, va + i * SZ_4K, 1,
			  (end + (i - 8) * SZ_4K) | PTE_PWU);
	if (r->s->mode->entry_size == 4 ||
	    (r->s->regs.maxphyaddr == 52 && mode_is_long(r->s->mode)))
		expect_visits(r, 2, RUN_PAGES);
	else
		expect_visits(r, 1, 8);
}

/* Entries from @first on: a sum may carry into bits that are no address. */
static void plant_raw(struct runs *r, int level, u64 first)
{
	u64 va = space_va(r->s, level), span = space_span(r->s, level);
	int i;

	space_reset(r->s);
	for (i = 0; i < RUN_PAGES; i++)
		space_set(r->s, va + i * span, level,
			  space_leaf(r->s, level, first + i * span, PTE_PWU));
	r->scope = (struct vmem_scope){
		.va = va,
		.last_va = va + RUN_PAGES * span - 1,
	};
}

/* Up to the bit that tells of encryption, into it, and behind it. */
static void vmem_runs_encryption(struct kunit *test)
{
	struct runs *r = runs_alloc(test);
	u64 bit = mode_encryption(r->s->mode), half;
	int level;

	if (r->s->mode->entry_size == 4)
		kunit_skip(test, "no such bit in this mode");
	if (mode_is_pae(r->s->mode)) {
		bit = BIT_ULL(34);
		r->s->regs.rules = VMEM_RULES_ENCRYPTION_BIT(34);
	}
	if (!bit)
		kunit_skip(test, "the tables have addresses in the way");
	r->s->regs.maxphyaddr = max_t(u32, r->s->regs.maxphyaddr, 48);
	for (level = 1; level <= r->s->mode->max_leaf; level++) {
		half = RUN_PAGES / 2 * space_span(r->s, level);
		plant_raw(r, level, bit - half);
		expect_visits(r, 2, RUN_PAGES);
		plant_raw(r, level, bit);
		expect_visits(r, 1, RUN_PAGES);
		if (2 * bit >= BIT_ULL(r->s->regs.maxphyaddr))
			continue;
		/* From the last page with the bit to the first beyond it. */
		plant_raw(r, level, 2 * bit - half);
		expect_visits(r, 2, RUN_PAGES);
	}
}

/* A budget ends inside a run: the next call goes on where it ended. */
static void vmem_runs_budget(struct kunit *test)
{
	const struct vmem_walk_ops ops = make_ops(true, false);
	const struct break_case plain = {};
	struct runs *r = runs_alloc(test);
	struct vmem_walk walk;
	int top = r->s->mode->top;
	u64 va = space_va(r->s, 1);

	plant_halves(r, 1, &plain);
	walk = make_walk(r, &ops);
	walk.budget = top - 1 + 5;
	KUNIT_EXPECT_EQ(test, walk_into(r, &r->got, false, &walk),
			VMEM_WALK_STOP);
	KUNIT_EXPECT_EQ(test, walk.va, va + 5 * SZ_4K);
	KUNIT_EXPECT_EQ(test, walk.budget, 0ULL);
	KUNIT_EXPECT_EQ(test, r->visits, 1ULL);
	KUNIT_EXPECT_EQ(test, r->leaves, 5ULL);
	walk.budget = top - 1 + RUN_PAGES - 5;
	KUNIT_EXPECT_EQ(test, walk_into(r, &r->got, false, &walk), 0);
	KUNIT_EXPECT_EQ(test, walk.budget, 0ULL);
	KUNIT_EXPECT_EQ(test, r->visits, 2ULL);
	KUNIT_EXPECT_EQ(test, r->leaves, (u64)RUN_PAGES);
}

/* A mapping that cannot be taken fails the call, even where its budget ends. */
static int emit_nothing(const struct vmem_mapping *mapping, void *priv)
{
	return -EFAULT;
}

static void vmem_runs_emit_error(struct kunit *test)
{
	const struct break_case plain = {};
	struct runs *r = runs_alloc(test);
	u64 va = space_va(r->s, 1);
	struct vmem_range range;
	int nr;

	plant_halves(r, 1, &plain);
	for (nr = 1; nr <= RUN_PAGES; nr++) {
		range = space_range(r->s, va, r->scope.last_va, r->rec);
		range.emit = emit_nothing;
		range.budget = r->s->mode->top - 1 + nr;
		KUNIT_EXPECT_EQ(test, vmem_virt_to_phys(&range), -EFAULT);
		KUNIT_EXPECT_EQ(test, range.va, va);
	}
}

/*
 * The entry that ended a run was read to know that it does. What the guest writes
 * there while the run is told comes too late: nothing is read twice.
 */
static int take_and_write(const struct vmem_visit *v, void *priv)
{
	struct runs *r = priv;
	u64 va = space_va(r->s, 1) + RUN_PAGES / 2 * SZ_4K;

	if (v->va < va)
		space_set(r->s, va, 1, SZ_1M | PTE_PWU);
	r->visits++;
	r->got.p[r->got.nr++].gpa = v->gpa;
	return 0;
}

static void vmem_runs_read_once(struct kunit *test)
{
	const struct vmem_walk_ops ops = {
		.leaf = take_and_write,
		.anomaly = take_other,
		.runs = true,
	};
	const struct break_case gap = { .shift = 1 };
	struct runs *r = runs_alloc(test);
	struct vmem_walk walk;

	/* A page that bounces shows nothing of what is written meanwhile. */
	r->s->bounce = false;
	plant_halves(r, 1, &gap);
	walk = make_walk(r, &ops);
	KUNIT_EXPECT_EQ(test, vmem_walk(&walk), 0);
	KUNIT_EXPECT_EQ(test, r->visits, 2ULL);
	KUNIT_EXPECT_EQ(test, r->got.p[0].gpa, 8ULL * SZ_4K);
	KUNIT_EXPECT_EQ(test, r->got.p[1].gpa,
			(8ULL + RUN_PAGES / 2 + 1) * SZ_4K);
}

static struct kunit_case vmem_runs_test_cases[] = {
	KUNIT_CASE_PARAM(vmem_runs_emit_error, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_runs_read_once, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_runs_break, break_gen_params),
	KUNIT_CASE_PARAM(vmem_runs_cut, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_runs_wrap, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_runs_encryption, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_runs_budget, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_runs_random_tables, mode_gen_params),
	{}
};

static struct kunit_suite vmem_runs_suite = {
	.name = "vmem_runs",
	.test_cases = vmem_runs_test_cases,
};

kunit_test_suite(vmem_runs_suite);
