// SPDX-License-Identifier: GPL-2.0-only
/*
 * Batches of addresses: what one walk answers for many is what each of them is
 * answered alone, and a table is looked up once for all that lead through it.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/sort.h>
#include <linux/string.h>
#include <vmem/near.h>

#include "graph.h"

#define NR_GRAPHS 300
#define NR_WIDE 12
#define MAX_VAS 1200
#define MAX_CALLS 100000

KUNIT_ARRAY_PARAM(mode, modes, mode_desc);

/**
 * struct trial - addresses, and what is to be answered
 * @r: the spaces, and where the randomness comes from
 * @spaces: they have been walked to the end
 * @shared: ask with @spaces; if clear, of one space alone
 * @far: ask without near tables
 * @index: index of the root
 * @nr: how many addresses there are
 * @vas: the addresses
 * @nr_ok: how many of them there is an answer to, up to the first without one
 * @ret: what is returned when they are answered
 * @want: the answers
 * @got: what a batch answered, if it is asked for piece by piece
 * @taken: how many of @got there are
 * @at_once: no more addresses than this are given to a batch at once
 * @room: where the addresses of the batch are
 * @results: where its answers are
 * @dense: where many PTs are side by side
 * @hand: room for pages in hand
 */
struct trial {
	struct graph *r;
	struct vmem_spaces spaces;
	bool shared;
	bool far;
	u32 index;
	int nr;
	u64 vas[MAX_VAS];
	int nr_ok;
	int ret;
	struct vmem_translation want[MAX_VAS];
	struct vmem_translation got[MAX_VAS];
	int taken;
	u32 at_once;
	u64 room[2 * MAX_VAS];
	struct vmem_translation results[2 * MAX_VAS];
	u64 dense;
	struct vmem_held hand[VMEM_NR_HELD];
};

static struct trial *trial_alloc(struct kunit *test)
{
	struct trial *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, t);
	t->r = graph_alloc(test, test->param_value);
	return t;
}

static struct guest *guest_of(const struct trial *t)
{
	return t->r->g->s->guest;
}

/* All of the graph's spaces have to be walked before they can be asked. */
static void trial_begin(struct trial *t)
{
	group_walk_all(t->r->g, &t->spaces, t->r->whole);
	t->index = graph_below(t->r, t->r->g->nr_roots);
	t->nr = 0;
}

static void trial_end(struct trial *t)
{
	vmem_spaces_destroy(&t->spaces);
}

/*
 * The addresses.
 */
static u64 near_scope(struct trial *t)
{
	const struct vmem_scope *scope = &t->r->g->scope;
	u32 i = graph_below(t->r, 2 * scope->nr_excluded + 2);
	u64 va;

	if (i < 2)
		va = i ? scope->last_va : scope->va;
	else if (i & 1)
		va = scope->excluded[i / 2 - 1].last_va;
	else
		va = scope->excluded[i / 2 - 1].va;
	return va + graph_below(t->r, 3) - 1;
}

/* The same address again, or one in a page or a table close by. */
static u64 near_other(struct trial *t)
{
	u64 va = t->vas[graph_below(t->r, t->nr)];
	int level = 1 + graph_below(t->r, t->r->g->s->mode->top);

	switch (graph_below(t->r, 4)) {
	case 0:
		return va;
	case 1:
		return va + graph_below(t->r, 3) - 1;
	case 2:
		return va ^ space_span(t->r->g->s, level);
	default:
		return va ^ rng_bits64(&t->r->rng) % space_span(t->r->g->s, 2);
	}
}

static u64 random_va(struct trial *t)
{
	switch (graph_below(t->r, 8)) {
	case 0:
		return graph_edge(t->r);
	case 1:
		return near_scope(t);
	case 2 ... 3:
		return t->nr ? near_other(t) : graph_va(t->r);
	case 4:
		return graph_one_in(t->r, 4) ? rng_bits64(&t->r->rng) :
					       graph_va(t->r);
	default:
		return graph_va(t->r);
	}
}

static int rising(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static int falling(const void *a, const void *b)
{
	return rising(b, a);
}

static void random_vas(struct trial *t)
{
	int nr = 1 + graph_below(t->r, graph_one_in(t->r, 8) ? MAX_VAS : 40);

	while (t->nr < nr) {
		t->vas[t->nr] = random_va(t);
		t->nr++;
	}
	switch (graph_below(t->r, 4)) {
	case 0:
		return sort(t->vas, nr, sizeof(*t->vas), rising, NULL);
	case 1:
		return sort(t->vas, nr, sizeof(*t->vas), falling, NULL);
	}
}

/* Who owns a table is nothing that the reference knows. */
static void set_owner(struct vmem_translation *t,
		      const struct vmem_translation *from)
{
	t->out_referenced = 1;
	t->out_owner_root = from->out_owner_root;
	t->out_owner_space = from->out_owner_space;
	t->out_owner_va = from->out_owner_va;
}

/* The very place is nobody else's, and a root given twice is one space. */
static bool is_own(const struct trial *t, u64 va,
		   const struct vmem_translation *answer)
{
	return answer->out_owner_va == va &&
	       t->r->g->roots[answer->out_owner_root].table ==
		       t->r->g->roots[t->index].table;
}

/*
 * What is to be answered: each address alone. That the answers to these are right
 * is for others to test; the reference is asked all the same.
 */
static bool ask_alone(struct trial *t, int i)
{
	const struct group *g = t->r->g;
	struct vmem_mem *mem = &g->s->guest->mem;
	struct vmem_translation *want = &t->want[i];
	struct ref ref;

	memset(want, 0xa5, sizeof(*want));
	t->ret = t->shared ? vmem_translate_shared(mem, &t->spaces, t->index,
						   t->vas[i], want) :
			     vmem_translate(mem, &g->roots[t->index], t->vas[i],
					    want);
	ref_translate(g->s->guest, &g->regs[t->index], t->vas[i], &ref);
	if (t->ret)
		return t->ret == -ENXIO && !t->shared &&
		       ref.t.out_status == VMEM_UNBACKED && !ref.t.out_nr_trace;
	if (t->shared && want->out_referenced) {
		if (is_own(t, t->vas[i], want))
			return false;
		set_owner(&ref.t, want);
	}
	return !memcmp(want, &ref.t, sizeof(ref.t));
}

static bool ask_each(struct trial *t, bool shared)
{
	t->shared = shared;
	t->ret = 0;
	for (t->nr_ok = 0; t->nr_ok < t->nr; t->nr_ok++) {
		if (!ask_alone(t, t->nr_ok)) {
			kunit_err(t->r->g->test, "va %#llx alone: %d",
				  t->vas[t->nr_ok], t->ret);
			return false;
		}
		if (t->ret)
			break;
	}
	return true;
}

/*
 * The batches.
 */
static struct vmem_batch make_batch(struct trial *t)
{
	memset(t->results, 0xa5, sizeof(*t->results) * t->nr);
	return (struct vmem_batch){
		.mem = &guest_of(t)->mem,
		.root = t->shared ? NULL : &t->r->g->roots[t->index],
		.spaces = t->shared ? &t->spaces : NULL,
		.index = t->shared ? t->index : 0,
		.vas = t->vas,
		.results = t->results,
		.nr = t->nr,
	};
}

static bool answers_fit(struct trial *t, const struct vmem_translation *got,
			int nr, size_t size)
{
	int i;

	for (i = 0; i < nr; i++) {
		if (!memcmp(&got[i], &t->want[i], size))
			continue;
		kunit_err(t->r->g->test, "answer %d of %d: va %#llx", i, t->nr,
			  t->vas[i]);
		kunit_err(t->r->g->test,
			  "  status %u level %u gpa %#llx perms %#x",
			  got[i].out_status, got[i].out_level, got[i].out_gpa,
			  got[i].out_perms);
		return false;
	}
	return guest_is_intact(guest_of(t));
}

static bool ended_well(struct trial *t, int ret, int done)
{
	if (ret == t->ret && done == t->nr_ok)
		return true;
	kunit_err(t->r->g->test, "%d after %d of %d, and not %d after %d", ret,
		  done, t->nr, t->ret, t->nr_ok);
	return false;
}

static bool check_whole(struct trial *t, bool brief)
{
	struct vmem_batch batch = make_batch(t);
	size_t size = brief ? VMEM_TRANSLATION_BRIEF : sizeof(*t->want);
	u32 known = t->spaces.seen.nr;
	int ret;

	batch.brief = brief;
	ret = t->far ? vmem_translate_batch(&batch) : group_translate(&batch);
	/* Several threads may ask at once: none may change anything. */
	return known == t->spaces.seen.nr && ended_well(t, ret, batch.done) &&
	       answers_fit(t, t->results, t->nr_ok, size);
}

/* A table that one address leads through: its level, and where its region is. */
static u64 region_of(const struct trial *t, int i, int level)
{
	return t->vas[i] / space_span(t->r->g->s, level) >>
	       t->r->g->s->mode->index_bits;
}

/* How many tables an address leads through that the one before does not. */
static int new_tables(const struct trial *t, int i)
{
	int top = t->r->g->s->mode->top;
	int nr = t->want[i].out_nr_trace;
	int level, known = 0;

	if (i && t->want[i - 1].out_nr_trace && nr) {
		int both = min_t(int, nr, t->want[i - 1].out_nr_trace);

		for (level = top; level > top - both; level--)
			known += region_of(t, i, level) ==
					 region_of(t, i - 1, level) ||
				 level == top;
	}
	/* There is nothing to remember of a table that is not there. */
	return nr - known + (t->want[i].out_status == VMEM_UNBACKED);
}

/*
 * By rising address, each table is looked up just once, where none is kept near.
 * The sign of an address keeps the two halves apart, and none that is not canonical
 * comes between.
 */
static bool check_pins(struct trial *t)
{
	int i, last = -1;
	unsigned int want = 0;
	bool ok;

	sort(t->vas, t->nr, sizeof(*t->vas), rising, NULL);
	if (!ask_each(t, false))
		return false;
	if (t->ret)
		return true;
	/* Addresses that lead nowhere at all are of no interest here. */
	for (i = 0; i < t->nr; i++) {
		if (!t->want[i].out_nr_trace)
			continue;
		t->vas[++last] = t->vas[i];
		t->want[last] = t->want[i];
	}
	t->nr = last + 1;
	t->nr_ok = t->nr;
	/* Of one alone, what is no leaf is looked up by the walk once more. */
	if (t->nr == 1)
		return true;
	for (i = 0; i < t->nr; i++)
		want += new_tables(t, i);
	guest_forget_pins(guest_of(t));
	t->far = true;
	ok = check_whole(t, false);
	t->far = false;
	if (!ok)
		return false;
	if (guest_of(t)->pins != want)
		kunit_err(t->r->g->test, "%u pins and not %u",
			  guest_of(t)->pins, want);
	return guest_of(t)->pins == want;
}

/* Whichever pin fails, what is done is right, and the next call does the rest. */
static bool check_failing(struct trial *t)
{
	struct vmem_batch batch;
	unsigned int nth = 0;
	int ret;

	do {
		batch = make_batch(t);
		guest_fail_pin(guest_of(t), ++nth, -ENOMEM);
		ret = group_translate(&batch);
		guest_fail_pin(guest_of(t), 0, 0);
		if (ret != -ENOMEM)
			break;
		if (batch.done >= batch.nr ||
		    !answers_fit(t, t->results, batch.done, sizeof(*t->want)))
			return false;
		ret = group_translate(&batch);
		if (!ended_well(t, ret, batch.done) ||
		    !answers_fit(t, t->results, t->nr_ok, sizeof(*t->want)))
			return false;
	} while (nth < MAX_CALLS);
	return ended_well(t, ret, batch.done);
}

/* Addresses in pieces, not always in the same place, so that none is kept. */
static struct vmem_batch make_piece(struct trial *t)
{
	struct vmem_batch piece = make_batch(t);
	int at = graph_below(t->r, MAX_VAS);

	piece.nr =
		min_t(int, 1 + graph_below(t->r, t->at_once), t->nr - t->taken);
	memset(t->room, 0xa5, sizeof(t->room));
	memset(&t->results[at], 0xa5, piece.nr * sizeof(*t->results));
	memcpy(&t->room[at], &t->vas[t->taken], piece.nr * sizeof(*t->vas));
	piece.vas = &t->room[at];
	piece.results = &t->results[at];
	return piece;
}

static int translate_piece(struct trial *t, struct vmem_near *near,
			   bool fail_pins)
{
	struct vmem_batch piece = make_piece(t);
	int ret, calls = 0;

	piece.near = near;
	do {
		if (fail_pins)
			guest_fail_pin(guest_of(t), 1 + graph_below(t->r, 20),
				       -ENOMEM);
		ret = vmem_translate_batch(&piece);
		guest_fail_pin(guest_of(t), 0, 0);
		if (ret == -ENOMEM && piece.done == piece.nr)
			return -EBADE;
	} while (ret == -ENOMEM && ++calls < MAX_CALLS);
	memcpy(&t->got[t->taken], piece.results, piece.done * sizeof(*t->got));
	t->taken += piece.done;
	return ret;
}

/* What is near stays so from one piece to the next. */
static bool check_pieces(struct trial *t)
{
	struct vmem_near *near =
		vmem_near_alloc(&guest_of(t)->mem, &t->r->g->roots[t->index]);
	bool fail_pins = graph_one_in(t->r, 3);
	int ret = 0;

	t->taken = 0;
	t->at_once = graph_one_in(t->r, 3) ? 1 : graph_below(t->r, 80) + 1;
	while (!ret && t->taken < t->nr)
		ret = translate_piece(t, near, fail_pins);
	vmem_near_free(near);
	return ended_well(t, ret, t->taken) &&
	       answers_fit(t, t->got, t->nr_ok, sizeof(*t->want));
}

/* The same with pages in hand, by the straight way where there is one. */
static bool check_in_hand(struct trial *t)
{
	struct vmem_mem *mem = &guest_of(t)->mem;
	struct vmem_batch batch = make_batch(t);
	int ret;

	mem->hand = t->hand;
	ret = vmem_translate_batch(&batch);
	vmem_hand_empty(mem);
	mem->hand = NULL;
	return ended_well(t, ret, batch.done) &&
	       answers_fit(t, t->results, t->nr_ok, sizeof(*t->want));
}

static bool check_batch(struct trial *t, bool shared)
{
	return ask_each(t, shared) && check_whole(t, false) &&
	       check_whole(t, true) && check_pieces(t) && check_in_hand(t) &&
	       (t->nr > 24 || !graph_one_in(t->r, 4) || check_failing(t));
}

static void vmem_batch_random_graphs(struct kunit *test)
{
	struct trial *t = trial_alloc(test);
	bool ok;
	u64 i;

	for (i = 0; i < NR_GRAPHS; i++) {
		graph_make(t->r, rng_first_seed + i);
		trial_begin(t);
		random_vas(t);
		ok = check_batch(t, true) && check_batch(t, false) &&
		     check_pins(t);
		trial_end(t);
		KUNIT_ASSERT_TRUE_MSG(test, ok, "again: vmem_kunit.seed=%llu",
				      rng_first_seed + i);
		cond_resched();
	}
}

/*
 * More tables than are remembered: a few PTs, each in many places and with other
 * rights in each, so that a table that is taken for another one shows.
 */
#define NR_PTS 8
#define NR_REGIONS 1024

static u64 make_pt(struct trial *t, int i)
{
	struct group *g = t->r->g;
	u64 table = group_add_table(g);
	u64 frame = g->s->mode->frame + i * SZ_4M;
	int page;

	for (page = 0; page < BIT(g->s->mode->index_bits); page++)
		group_put(g, table, page,
			  (frame + page * SZ_4K) | PTE_P |
				  (page / 64 % 4) << 1);
	return table;
}

/* Here and there, and without a gap in NR_REGIONS of the first space. */
static void make_wide(struct trial *t, u64 seed)
{
	struct group *g = t->r->g;
	u64 va, pts[NR_PTS];
	/* Each of those apart takes the more tables the more levels there are. */
	int i, apart = g->s->mode->top > 4 ? 300 : 600;

	graph_make(t->r, seed);
	group_reset(g, seed & 1);
	group_add_root(g, group_new_root(g));
	group_add_root(g, group_new_root(g));
	for (i = 0; i < NR_PTS; i++)
		pts[i] = make_pt(t, i);
	t->dense = graph_va(t->r) & -(NR_REGIONS * group_region(g, 1));
	for (i = 0; i < NR_REGIONS + apart; i++) {
		va = i < NR_REGIONS ? t->dense + i * group_region(g, 1) :
				      graph_va(t->r);
		group_link(g, g->roots[i < NR_REGIONS ? 0 : i & 1].table, va, 1,
			   pts[graph_below(t->r, NR_PTS)],
			   PTE_P | graph_below(t->r, 4) << 1);
	}
}

static void wide_vas(struct trial *t)
{
	u64 size = group_region(t->r->g, 1);
	int i;

	for (i = 0; i < MAX_VAS; i++)
		t->vas[i] =
			graph_one_in(t->r, 3) ?
				graph_va(t->r) :
				t->dense +
					graph_below(t->r, NR_REGIONS) * size +
					graph_below(t->r, size);
	t->nr = MAX_VAS;
}

static void vmem_batch_evicts(struct kunit *test)
{
	struct trial *t = trial_alloc(test);
	bool ok;
	u64 i;

	for (i = 0; i < NR_WIDE; i++) {
		make_wide(t, rng_first_seed + i);
		trial_begin(t);
		wide_vas(t);
		ok = check_batch(t, true) && check_batch(t, false) &&
		     check_pins(t);
		trial_end(t);
		KUNIT_ASSERT_TRUE_MSG(test, ok, "again: vmem_kunit.seed=%llu",
				      rng_first_seed + i);
		cond_resched();
	}
}

/* In turns through a few tables: each is kept near meanwhile. */
static void vmem_batch_takes_turns(struct kunit *test)
{
	struct trial *t = trial_alloc(test);
	struct group *g = t->r->g;
	u64 root, va = space_va(g->s, g->s->mode->top);
	int i;

	group_reset(g, true);
	root = group_new_root(g);
	group_add_root(g, root);
	for (i = 0; i < 8; i++)
		group_set(g, root, va + i * group_region(g, 1), 1,
			  g->s->mode->frame | PTE_PWU);
	trial_begin(t);
	for (t->nr = 0; t->nr < MAX_VAS; t->nr++)
		t->vas[t->nr] = va + (t->nr % 8) * group_region(g, 1);
	KUNIT_EXPECT_TRUE(test, ask_each(t, false));
	guest_forget_pins(guest_of(t));
	KUNIT_EXPECT_TRUE(test, check_whole(t, false));
	KUNIT_EXPECT_LT(test, guest_of(t)->pins, MAX_VAS / 4U);

	KUNIT_EXPECT_TRUE(test, ask_each(t, true));
	guest_forget_pins(guest_of(t));
	KUNIT_EXPECT_TRUE(test, check_whole(t, false));
	KUNIT_EXPECT_LT(test, guest_of(t)->pins, MAX_VAS / 4U);
	trial_end(t);
}

/* All in one table: that many addresses cost no more pins than one. */
static void vmem_batch_one_table(struct kunit *test)
{
	struct trial *t = trial_alloc(test);
	struct group *g = t->r->g;
	u64 root, va = space_va(g->s, 2);

	group_reset(g, true);
	root = group_new_root(g);
	group_add_root(g, root);
	group_set(g, root, va, 1, g->s->mode->frame | PTE_PWU);
	trial_begin(t);
	for (t->nr = 0; t->nr < 7; t->nr++)
		t->vas[t->nr] = va + SZ_4K * (t->nr / 3);
	KUNIT_EXPECT_TRUE(test, ask_each(t, false));
	guest_forget_pins(guest_of(t));
	t->far = true;
	KUNIT_EXPECT_TRUE(test, check_whole(t, false));
	KUNIT_EXPECT_EQ(test, guest_of(t)->pins, (u32)g->s->mode->top);
	trial_end(t);
}

/*
 * A table that came into a shared one after the walk: nobody owns it, but the one
 * above it is somebody else's.
 */
static void vmem_batch_new_table(struct kunit *test)
{
	struct trial *t = trial_alloc(test);
	struct group *g = t->r->g;
	u64 va = space_va(g->s, 2), new = va + group_region(g, 1);
	const struct vmem_translation *got = &t->results[3];
	u64 roots[2], pd;

	if (g->s->mode->top < 4)
		kunit_skip(test, "too few levels");
	roots[0] = group_new_root(g);
	roots[1] = group_new_root(g);
	group_add_root(g, roots[0]);
	group_add_root(g, roots[1]);
	group_set(g, roots[0], va, 1, g->s->mode->frame | PTE_PWU);
	pd = group_entry(g, roots[0], va, 2) & VMEM_PAGE_MASK;
	group_link(g, roots[1], va, 2, pd, PTE_PWU);
	group_set(g, roots[1], 0, 1, g->s->mode->frame | PTE_PWU);
	trial_begin(t);
	group_set(g, roots[0], new, 1, g->s->mode->frame | PTE_P);

	t->index = 1;
	t->vas[0] = va;
	t->vas[1] = 0;
	t->vas[2] = va;
	t->vas[3] = new + 0x123;
	t->vas[4] = 0;
	t->nr = 5;
	KUNIT_EXPECT_TRUE(test, ask_each(t, true));
	KUNIT_EXPECT_TRUE(test, check_whole(t, false));
	KUNIT_EXPECT_EQ(test, got->out_status, (u32)VMEM_MAPPED);
	KUNIT_EXPECT_EQ(test, got->out_referenced, 1U);
	KUNIT_EXPECT_EQ(test, got->out_owner_root, 0U);
	KUNIT_EXPECT_EQ(test, got->out_owner_space, roots[0]);
	KUNIT_EXPECT_EQ(test, got->out_owner_va, new + 0x123);
	KUNIT_EXPECT_EQ(test, t->results[4].out_referenced, 0U);
	trial_end(t);
}

/*
 * A root that is not there, with addresses that need none before, between and
 * behind.
 */
static void dead_root(struct trial *t)
{
	struct group *g = t->r->g;
	int i;

	rng_seed(&t->r->rng, rng_first_seed);
	group_reset(g, true);
	group_add_root(g, group_new_root(g));
	group_add_root(g, graph_hole(t->r));
	trial_begin(t);
	t->index = 1;
	for (i = 0; i < 20; i++)
		t->vas[i] = i < 5 || i % 3 ? g->roots[1].mode.noncanonical + i :
					     SZ_4K * i;
	t->nr = 20;
}

static void vmem_batch_dead_root(struct kunit *test)
{
	struct trial *t = trial_alloc(test);
	int i;

	dead_root(t);
	KUNIT_EXPECT_TRUE(test, ask_each(t, false));
	KUNIT_EXPECT_EQ(test, t->ret, -ENXIO);
	KUNIT_EXPECT_EQ(test, t->nr_ok, 6);
	for (i = 0; i < 8; i++)
		KUNIT_EXPECT_TRUE(test, check_batch(t, false));

	/* With all spaces, that is an answer like any other. */
	for (i = 0; i < 8; i++)
		KUNIT_EXPECT_TRUE(test, check_batch(t, true));
	KUNIT_EXPECT_EQ(test, t->nr_ok, 20);
	trial_end(t);
}

/* Nothing to ask. */
static void vmem_batch_empty(struct kunit *test)
{
	struct trial *t = trial_alloc(test);
	struct vmem_batch batch;

	dead_root(t);
	t->shared = false;
	batch = make_batch(t);
	batch.nr = 0;
	KUNIT_EXPECT_EQ(test, group_translate(&batch), 0);
	KUNIT_EXPECT_EQ(test, batch.done, 0U);
	batch.nr = 3;
	batch.done = 3;
	KUNIT_EXPECT_EQ(test, group_translate(&batch), 0);
	KUNIT_EXPECT_EQ(test, batch.done, 3U);
	trial_end(t);
}

static struct kunit_case vmem_batch_test_cases[] = {
	KUNIT_CASE_PARAM(vmem_batch_empty, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_batch_one_table, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_batch_takes_turns, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_batch_new_table, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_batch_dead_root, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_batch_evicts, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_batch_random_graphs, mode_gen_params),
	{}
};

static struct kunit_suite vmem_batch_suite = {
	.name = "vmem_batch",
	.test_cases = vmem_batch_test_cases,
};

kunit_test_suite(vmem_batch_suite);
