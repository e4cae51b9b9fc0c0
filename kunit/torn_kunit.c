// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tables that change while they are read. The guest writes to them when a page is
 * pinned, so after the entry that names it was read and before what is in it,
 * and in the callbacks. Pages are only where a pin hands them out, as in the
 * other tests, and what is written shows there at once.
 */
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <vmem/near.h>
#include <vmem/snapshot.h>

#include "graph.h"
#include "rebuild.h"

#define ATTEMPTS 4
#define MAX_STEPS 12
#define MAX_PATHS 40
#define MAX_VAS 64

/* What the processor sets by itself, and a bit that is the guest's own. */
#define PTE_ACCESSED BIT_ULL(5)
#define PTE_OWN BIT_ULL(9)

KUNIT_ARRAY_PARAM(mode, modes, mode_desc);

/**
 * struct change - one write of the guest
 * @gpa: the entry; 0 for no write
 * @raw: what it is to be
 * @flip: if not 0, these bits of it are inverted instead
 */
struct change {
	u64 gpa;
	u64 raw;
	u64 flip;
};

/**
 * struct step - what the guest does at some moment
 * @table: when this page is pinned
 * @changes: what is written then
 */
struct step {
	u64 table;
	struct change changes[2];
};

/**
 * struct storm - guest memory that changes when it is pinned
 * @mem: what the core is given
 * @guest: the guest
 * @size: bytes of an entry
 * @on_pin: what happens before a page is pinned
 * @steps: what the guest does, one after the other
 * @nr: how many they are
 * @next: the next of them
 * @held: pages that are pinned now
 * @peak: most pages that were pinned at once
 */
struct storm {
	struct vmem_mem mem;
	struct guest *guest;
	int size;
	void (*on_pin)(struct storm *st, u64 table);
	struct step steps[MAX_STEPS];
	int nr;
	int next;
	int held;
	int peak;
};

static const void *storm_pin(struct vmem_mem *mem, u64 gpa)
{
	struct storm *st = container_of(mem, struct storm, mem);
	struct vmem_mem *of = &st->guest->mem;
	const void *page;

	if (st->on_pin)
		st->on_pin(st, gpa & VMEM_PAGE_MASK);
	page = of->ops->pin(of, gpa);
	if (!IS_ERR(page))
		st->peak = max(st->peak, ++st->held);
	return page;
}

static void storm_unpin(struct vmem_mem *mem, u64 gpa, const void *page)
{
	struct storm *st = container_of(mem, struct storm, mem);
	struct vmem_mem *of = &st->guest->mem;

	st->held--;
	of->ops->unpin(of, gpa, page);
}

static const struct vmem_mem_ops storm_ops = {
	.pin = storm_pin,
	.unpin = storm_unpin,
};

static void storm_init(struct storm *st, struct guest *guest, int size,
		       void (*on_pin)(struct storm *st, u64 table))
{
	st->mem.ops = &storm_ops;
	st->guest = guest;
	st->size = size;
	st->on_pin = on_pin;
}

/* Write to the guest, whose pages may be pinned. */
static void storm_write(struct storm *st, u64 gpa, u64 raw)
{
	struct guest_page *page = st->guest->pages;
	int i;

	guest_write(st->guest, gpa, st->size, raw);
	for (i = 0; i < st->guest->nr_pages; i++, page++) {
		if (page->gpa == (gpa & VMEM_PAGE_MASK) && page->pins)
			memcpy(page->view, page->truth, VMEM_PAGE_SIZE);
	}
}

static u64 storm_read(const struct storm *st, u64 gpa)
{
	u64 raw = 0;

	KUNIT_ASSERT_TRUE(st->guest->test,
			  guest_read(st->guest, gpa, st->size, &raw));
	return raw;
}

static void storm_step(struct storm *st, u64 table)
{
	const struct step *step = &st->steps[st->next];
	const struct change *c = step->changes;
	int i;

	if (st->next == st->nr || table != step->table)
		return;
	st->next++;
	for (i = 0; i < ARRAY_SIZE(step->changes); i++, c++) {
		if (c->gpa)
			storm_write(st, c->gpa,
				    c->flip ? storm_read(st, c->gpa) ^ c->flip :
					      c->raw);
	}
}

static void storm_calm(struct storm *st)
{
	st->nr = 0;
	st->next = 0;
	st->peak = 0;
}

/* Nothing is pinned any more, and nothing was read that was not. */
static bool storm_is_over(const struct storm *st)
{
	return !st->held && guest_is_intact(st->guest);
}

static struct storm *storm_alloc(struct kunit *test, struct space *s)
{
	struct storm *st = kunit_kzalloc(test, sizeof(*st), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, st);
	storm_init(st, s->guest, s->mode->entry_size, storm_step);
	return st;
}

static u64 table_of(u64 raw)
{
	return raw & GENMASK_ULL(51, 12);
}

/* Where there is no memory, but could be. */
static u64 gone(const struct space *s, int i)
{
	return s->mode->tables + SZ_1M / 2 + i * SZ_4K;
}

/*
 * How a path can end, and the paths that end so.
 */
enum ending { END_PAGE, END_HOLE, END_RESERVED, END_UNBACKED, NR_ENDINGS };

/* Let the path of @va end in a table of @level; false if it cannot. */
static bool make_path(struct space *s, u64 va, enum ending ending, int level)
{
	if (ending == END_UNBACKED ? level == s->mode->top :
	    ending == END_RESERVED ? !space_reserved(s, level) :
	    ending == END_PAGE	   ? level > s->mode->max_leaf :
				     false)
		return false;
	space_reset(s);
	if (ending == END_PAGE)
		space_map(s, va, level, space_frame(s, level), PTE_PWU);
	else if (ending == END_HOLE)
		space_set(s, va, level, PTE_W);
	else if (ending == END_RESERVED)
		space_set(s, va, level, space_reserved(s, level));
	else
		space_set(s, va, level + 1,
			  space_link(s, level + 1, gone(s, 0), PTE_PWU));
	return true;
}

/* Another table for that at @table, and another page in it, if it maps one. */
static u64 make_twin(struct space *s, u64 va, u64 table, int level, int i)
{
	u64 twin = s->next_table, at, raw, frame;

	if (!guest_has(s->guest, table))
		return gone(s, i);
	guest_add(s->guest, twin);
	s->next_table += VMEM_PAGE_SIZE;
	guest_copy_page(s->guest, twin, table);
	at = space_entry(s, va, level) & ~VMEM_PAGE_MASK;
	guest_read(s->guest, twin + at, s->mode->entry_size, &raw);
	frame = space_frame(s, level);
	if (raw == space_leaf(s, level, frame, PTE_PWU)) {
		frame += (i & 3) * space_span(s, level);
		guest_write(s->guest, twin + at, s->mode->entry_size,
			    space_leaf(s, level, frame, PTE_P | PTE_U));
	}
	return twin;
}

/*
 * Whenever the table that the entry of @level names is pinned, let that entry
 * name another one, @nr times.
 */
static void plan_twins(struct storm *st, struct space *s, u64 va, int level,
		       int nr)
{
	u64 entry = space_entry(s, va, level), first, twin;
	int i;

	storm_calm(st);
	first = table_of(storm_read(st, entry));
	twin = first;
	for (i = 0; i < nr; i++) {
		st->steps[i] = (struct step){ .table = twin };
		twin = make_twin(s, va, first, level - 1, i + 1);
		st->steps[i].changes[0] = (struct change){
			.gpa = entry,
			.raw = space_link(s, level, twin, PTE_PWU),
		};
	}
	st->nr = nr;
}

/**
 * struct question - the same address three times, in one of several ways
 * @st: the guest
 * @s: its space
 * @spaces: walked to the end
 * @alone: by calls of their own
 * @shared: with @spaces
 * @brief: without the paths
 * @pad: other addresses before and behind
 * @nr: how many addresses there are
 * @vas: the addresses
 * @got: the answers
 */
struct question {
	struct storm *st;
	struct space *s;
	struct vmem_spaces spaces;
	bool alone;
	bool shared;
	bool brief;
	int pad;
	int nr;
	u64 vas[MAX_VAS];
	struct vmem_translation got[MAX_VAS];
};

#define NR_SAME 3
#define NR_WAYS 10

static struct question *question_alloc(struct kunit *test)
{
	struct question *q = kunit_kzalloc(test, sizeof(*q), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, q);
	q->s = space_alloc(test, test->param_value);
	q->st = storm_alloc(test, q->s);
	return q;
}

static void question_way(struct question *q, int way)
{
	q->alone = way < 2;
	q->shared = way & 1;
	q->brief = way == 2 || way == 5;
	q->pad = way < 4 ? 0 : way < 8 ? 2 : 12;
}

static void question_vas(struct question *q, u64 va)
{
	u64 far = va ^ space_span(q->s, q->s->mode->top) * 2;
	int i;

	/* One bit must not lead from a table on one path to one on the other. */
	q->s->next_table += 3 * SZ_64K;
	space_map(q->s, far, 1, q->s->mode->frame, PTE_PWU);
	q->nr = NR_SAME + 2 * q->pad;
	for (i = 0; i < q->nr; i++)
		q->vas[i] = i < q->pad || i >= q->pad + NR_SAME ?
				    far + i * SZ_4K :
				    va;
}

static int no_emit(const struct vmem_record *record, void *priv)
{
	return 0;
}

static int walk_spaces(struct question *q)
{
	memset(&q->spaces, 0, sizeof(q->spaces));
	q->spaces.roots = &q->s->root;
	q->spaces.nr_roots = 1;
	q->spaces.scope.last_va = U64_MAX;
	return vmem_walk_va_spaces(&q->spaces, &q->s->guest->mem, U64_MAX,
				   no_emit, NULL);
}

static int ask_alone(struct question *q)
{
	int i, ret = 0;

	for (i = 0; !ret && i < q->nr; i++)
		ret = q->shared ?
			      vmem_translate_shared(&q->st->mem, &q->spaces, 0,
						    q->vas[i], &q->got[i]) :
			      vmem_translate(&q->st->mem, &q->s->root,
					     q->vas[i], &q->got[i]);
	return ret;
}

static int ask(struct question *q)
{
	struct vmem_batch batch = {
		.mem = &q->st->mem,
		.root = q->shared ? NULL : &q->s->root,
		.spaces = q->shared ? &q->spaces : NULL,
		.brief = q->brief,
		.vas = q->vas,
		.results = q->got,
		.nr = q->nr,
	};
	int ret = 0;

	if (q->shared)
		ret = walk_spaces(q);
	memset(q->got, 0xa5, sizeof(q->got));
	if (!ret)
		ret = q->alone ? ask_alone(q) : group_translate(&batch);
	if (q->shared)
		vmem_spaces_destroy(&q->spaces);
	if (!ret && !q->alone && batch.done != batch.nr)
		return -EBADE;
	return ret;
}

static bool answer_is(struct question *q, int i,
		      const struct vmem_translation *want)
{
	size_t size = q->brief ? VMEM_TRANSLATION_BRIEF : sizeof(*want);

	if (!memcmp(&q->got[i], want, size))
		return true;
	kunit_err(q->s->test,
		  "answer %d: status %u level %u trace %u, not %u level %u", i,
		  q->got[i].out_status, q->got[i].out_level,
		  q->got[i].out_nr_trace, want->out_status, want->out_level);
	return false;
}

/*
 * After so many changes: each address has its own attempts, and the rest is as it
 * is now. @level is where the path is torn.
 */
static bool check_answers(struct question *q, int level)
{
	const struct vmem_translation torn = {
		.out_status = VMEM_TORN,
		.out_level = level,
	};
	int i, left = q->st->nr;
	struct ref ref;

	if (q->st->next != min(q->st->nr, NR_SAME * ATTEMPTS)) {
		kunit_err(q->s->test, "%d changes of %d", q->st->next,
			  q->st->nr);
		return false;
	}
	for (i = 0; i < q->nr; i++) {
		bool same = i >= q->pad && i < q->pad + NR_SAME;

		space_ref(q->s, q->vas[i], &ref);
		if (!answer_is(q, i, same && left >= ATTEMPTS ? &torn : &ref.t))
			return false;
		if (same)
			left = left < ATTEMPTS ? 0 : left - ATTEMPTS;
	}
	return storm_is_over(q->st);
}

static bool check_twins(struct question *q, int ending, int end, int level,
			int nr)
{
	u64 va = space_va(q->s, q->s->mode->max_leaf);

	if (!make_path(q->s, va, ending, end))
		return true;
	question_vas(q, va);
	plan_twins(q->st, q->s, va, level, nr);
	if (ask(q) || !check_answers(q, level) ||
	    (q->alone && q->st->peak > q->s->mode->top)) {
		kunit_err(q->s->test,
			  "ending %d at %d, %d changes at %d, pad %d", ending,
			  end, nr, level, q->pad);
		return false;
	}
	return true;
}

/* A path that ends like that, changed at each level, each number of times. */
static bool check_ending(struct question *q, int ending)
{
	int end, level, nr, top = q->s->mode->top;

	for (end = 1; end < top; end++)
		for (level = end + 1; level <= top; level++)
			for (nr = 0; nr <= MAX_STEPS; nr++)
				if (!check_twins(q, ending, end, level, nr))
					return false;
	return true;
}

static void vmem_torn_attempts(struct kunit *test)
{
	struct question *q = question_alloc(test);
	int ending, way;

	for (way = 0; way < NR_WAYS; way++) {
		question_way(q, way);
		for (ending = 0; ending < NR_ENDINGS; ending++)
			KUNIT_ASSERT_TRUE(test, check_ending(q, ending));
		cond_resched();
	}
}

/* A bit of an entry of @level that says nothing of where it leads, or for whom. */
static u64 quiet_bit(const struct space *s, int level)
{
	return mode_denies(s->mode, level) ? PTE_ACCESSED : PTE_OWN;
}

/* An address that has others before and behind it, in any table. */
static u64 inner_va(const struct space *s)
{
	u64 va = space_va(s, 1), span = space_span(s, s->mode->top);

	return va < span ? va + span : va;
}

/*
 * A second change in the same attempts, higher up: the level is that of the
 * higher one of the last attempt. @mask has a bit for each attempt in which the
 * upper entry changes; the lower one does in all but those in @spare.
 */
static bool check_levels(struct question *q, int upper, int lower, u32 mask,
			 u32 spare)
{
	u64 va = space_va(q->s, 1);
	struct ref ref;
	int i;

	make_path(q->s, va, END_PAGE, 1);
	question_vas(q, va);
	q->nr = 1;
	plan_twins(q->st, q->s, va, lower, ATTEMPTS);
	for (i = 0; i < ATTEMPTS; i++) {
		if (mask & BIT(i))
			q->st->steps[i].changes[1] = (struct change){
				.gpa = space_entry(q->s, va, upper),
				.flip = quiet_bit(q->s, upper),
			};
		if (spare & BIT(i))
			q->st->steps[i].changes[0].gpa = 0;
	}
	if (ask(q) || q->st->next != ATTEMPTS || !storm_is_over(q->st))
		return false;
	/* Two changes take one attempt. */
	memset(&ref, 0, sizeof(ref));
	ref.t.out_status = VMEM_TORN;
	ref.t.out_level = mask & BIT(ATTEMPTS - 1) ? upper : lower;
	return answer_is(q, 0, &ref.t);
}

static bool check_masks(struct question *q, int upper, int lower)
{
	const u32 last = BIT(ATTEMPTS - 1);
	u32 mask;

	for (mask = 0; mask < BIT(ATTEMPTS); mask++) {
		q->alone = mask & 1;
		if (!check_levels(q, upper, lower, mask, 0))
			return false;
		if (mask & last && !check_levels(q, upper, lower, mask, last))
			return false;
	}
	return true;
}

static void vmem_torn_level(struct kunit *test)
{
	struct question *q = question_alloc(test);
	int upper, lower;

	if (q->s->mode->top < 3)
		kunit_skip(test, "too few levels");
	for (upper = 3; upper <= q->s->mode->top; upper++)
		for (lower = 2; lower < upper; lower++)
			KUNIT_EXPECT_TRUE(test, check_masks(q, upper, lower));
}

/* One bit of one entry, when any table below it is looked at. */
static bool check_bit(struct question *q, int upper, int below, int bit)
{
	u64 va = space_va(q->s, 1), entry;
	struct ref ref;

	make_path(q->s, va, END_PAGE, 1);
	question_vas(q, va);
	entry = space_entry(q->s, va, upper);
	storm_calm(q->st);
	q->st->steps[0] = (struct step){
		.table = space_entry(q->s, va, below) & VMEM_PAGE_MASK,
		.changes = { { .gpa = entry, .flip = BIT_ULL(bit) } },
	};
	q->st->nr = 1;
	if (ask(q) || q->st->next != 1 || !storm_is_over(q->st))
		return false;
	space_ref(q->s, va, &ref);
	return answer_is(q, q->pad, &ref.t) &&
	       answer_is(q, q->pad + 1, &ref.t) &&
	       answer_is(q, q->pad + 2, &ref.t);
}

static void vmem_torn_any_bit(struct kunit *test)
{
	struct question *q = question_alloc(test);
	int upper, below, bit, way = 0;
	bool good;

	for (upper = 2; upper <= q->s->mode->top; upper++)
		for (below = 1; below < upper; below++)
			for (bit = 0; bit < 8 * q->s->mode->entry_size; bit++) {
				question_way(q, way++ % NR_WAYS);
				good = check_bit(q, upper, below, bit);
				KUNIT_ASSERT_TRUE_MSG(test, good,
						      "bit %d of %d, below %d",
						      bit, upper, below);
			}
}

/*
 * Reading. Two pages, one on each side of where a table ends.
 */

struct text {
	int len;
	u8 first[4];
	bool ok;
};

static int take_text(const void *data, size_t len, void *priv)
{
	const u8 *bytes = data;
	struct text *text = priv;

	if (len != SZ_4K || bytes[0] != bytes[SZ_4K - 1] || text->len > 3)
		text->ok = false;
	else
		text->first[text->len++] = bytes[0];
	return 0;
}

static u64 data_page(const struct space *s, int i)
{
	return s->mode->frame + i * SZ_4K;
}

/* The data of each twin of a PT differ. */
static void make_text(struct question *q, u64 va)
{
	int i;

	make_path(q->s, va, END_PAGE, 1);
	space_map(q->s, va - SZ_4K, 1, data_page(q->s, 5), PTE_PWU);
	for (i = 0; i < 6; i++) {
		guest_add(q->s->guest, data_page(q->s, i));
		guest_fill(q->s->guest, data_page(q->s, i), 0x40 + i);
	}
}

static bool check_reading(struct question *q, int level, int nr)
{
	u64 va = inner_va(q->s) & -space_span(q->s, level);
	struct text text = { .ok = true };
	struct vmem_copy copy = {
		.mem = &q->st->mem,
		.root = &q->s->root,
		.va = va - SZ_4K,
		.last_va = va + SZ_4K - 1,
		.sink = take_text,
		.priv = &text,
	};
	struct ref ref;
	int ret;

	make_text(q, va);
	plan_twins(q->st, q->s, va, level, nr);
	ret = vmem_read(&copy);
	if (nr >= ATTEMPTS) {
		if (ret != VMEM_WALK_STOP || copy.va != va || text.len != 1 ||
		    copy.status != VMEM_TORN || copy.level != level ||
		    q->st->next != ATTEMPTS || !storm_is_over(q->st))
			return false;
		storm_calm(q->st);
		ret = vmem_read(&copy);
	}
	space_ref(q->s, va, &ref);
	return !ret && copy.status == VMEM_MAPPED && !copy.level && text.ok &&
	       text.len == 2 && text.first[0] == 0x45 &&
	       text.first[1] == guest_byte(q->s->guest, ref.t.out_gpa) &&
	       storm_is_over(q->st) && q->st->peak <= q->s->mode->top + 1;
}

static void vmem_torn_read(struct kunit *test)
{
	struct question *q = question_alloc(test);
	int level, nr;

	for (level = 2; level <= q->s->mode->top; level++)
		for (nr = 0; nr <= 2 * ATTEMPTS; nr++)
			KUNIT_EXPECT_TRUE_MSG(test, check_reading(q, level, nr),
					      "%d changes at %d", nr, level);
}

/*
 * Weather: batches while the guest writes anything anywhere. An answer that is
 * written is what the reference finds at that very moment, as nothing changes
 * from the last pin on.
 */

/**
 * struct weather - a batch in a guest that writes at random
 * @st: the guest
 * @r: its spaces, and where the randomness comes from
 * @spaces: they have been walked, before anything changed
 * @records: what that told
 * @batch: the batch
 * @vas: its addresses
 * @results: its answers
 * @paths: addresses that lead far
 * @nr_paths: how many they are
 * @index: index of the space that is asked
 * @rounds: pieces that are to come
 * @pieces: pieces so far
 * @one_in: how many pins there are to a change; 0 for none
 * @checked: answers that are known to be right
 * @changes: changes since the last of them
 * @stale: what is remembered may have changed, which takes one attempt to see
 * @torn: addresses that were answered TORN
 * @calm: nothing changes
 * @roots: how often the root was pinned
 * @ok: nothing was wrong so far
 */
struct weather {
	struct storm st;
	struct graph *r;
	struct vmem_spaces spaces;
	struct records *records;
	struct vmem_batch batch;
	u64 vas[MAX_VAS];
	struct vmem_translation results[MAX_VAS];
	u64 paths[512];
	int nr_paths;
	u32 index;
	int rounds;
	int pieces;
	u32 one_in;
	u32 checked;
	int changes;
	bool stale;
	int torn;
	bool calm;
	int roots;
	bool ok;
};

#define UNWRITTEN 0xa5a5a5a5

static bool answer_fits(struct weather *w, u32 i)
{
	const struct vmem_translation *got = &w->results[i];
	struct vmem_translation want;
	struct ref ref;
	size_t size = w->batch.brief ? VMEM_TRANSLATION_BRIEF :
				       offsetof(struct vmem_translation,
						out_owner_space);

	ref_translate(w->st.guest, &w->r->g->regs[w->index], w->vas[i], &ref);
	want = ref.t;
	if (got->out_status == VMEM_TORN) {
		memset(&want, 0, sizeof(want));
		want.out_status = VMEM_TORN;
		want.out_level = got->out_level;
		w->torn++;
		if (w->changes + w->stale < ATTEMPTS || got->out_level < 2 ||
		    got->out_level > (u32)w->r->g->s->mode->top)
			want.out_status = VMEM_MAPPED;
	}
	if (!memcmp(got, &want, size))
		return true;
	kunit_err(w->r->g->test, "va %#llx status %u level %u gpa %#llx",
		  w->vas[i], got->out_status, got->out_level, got->out_gpa);
	kunit_err(w->r->g->test, "  not %u level %u gpa %#llx; %d changes",
		  want.out_status, want.out_level, want.out_gpa, w->changes);
	return false;
}

/* Look at the answers that have been written since the last change. */
static void look(struct weather *w)
{
	while (w->checked < w->batch.nr &&
	       w->results[w->checked].out_status != UNWRITTEN) {
		if (!answer_fits(w, w->checked++))
			w->ok = false;
		/* After a TORN, nothing is remembered. */
		w->stale |= w->changes;
		if (w->results[w->checked - 1].out_status == VMEM_TORN)
			w->stale = false;
		w->changes = 0;
	}
}

static u64 some_path(struct weather *w)
{
	return w->paths[graph_below(w->r, w->nr_paths)];
}

/* An entry on the path to @va gets what some other path has there, or a bit. */
static void blow(struct weather *w, u64 va)
{
	static const u64 bits[] = {
		PTE_P, PTE_W, PTE_U, PTE_PS, PTE_NX, PTE_ACCESSED, PTE_OWN,
	};
	struct group *g = w->r->g;
	struct ref to, from;
	u64 gpa, raw;
	u32 i;

	ref_translate(g->s->guest, &g->regs[w->index], va, &to);
	if (!to.t.out_nr_trace)
		return;
	i = graph_below(w->r, to.t.out_nr_trace);
	gpa = to.t.out_trace[i].entry_gpa;
	ref_translate(g->s->guest, &g->regs[graph_below(w->r, g->nr_roots)],
		      some_path(w), &from);
	if (i < from.t.out_nr_trace && !graph_one_in(w->r, 4)) {
		raw = from.t.out_trace[i].raw;
	} else {
		raw = storm_read(&w->st, gpa);
		raw ^= bits[graph_below(w->r, ARRAY_SIZE(bits))];
	}
	storm_write(&w->st, gpa, raw);
}

static void weather_pin(struct storm *st, u64 table)
{
	struct weather *w = container_of(st, struct weather, st);
	u64 va;
	int i;

	look(w);
	w->roots += table == (w->r->g->roots[w->index].table & VMEM_PAGE_MASK);
	if (!w->one_in || !graph_one_in(w->r, w->one_in))
		return;
	va = w->checked < w->batch.nr && !graph_one_in(w->r, 4) ?
		     w->vas[w->checked] :
		     some_path(w);
	for (i = w->one_in == 1 ? 3 : 1; i; i--)
		blow(w, va);
	w->changes++;
}

static void give_vas(struct weather *w, u32 nr)
{
	u32 i;

	memset(w->results, 0xa5, sizeof(w->results));
	for (i = 0; i < nr; i++)
		w->vas[i] = i && graph_one_in(w->r, 3) ?
				    w->vas[i - 1] :
				    some_path(w) + graph_below(w->r, 3 * SZ_4K);
	w->batch.nr = nr;
	w->batch.done = 0;
	w->checked = 0;
	w->changes = 0;
}

/* Between the pieces is where everything that is near may go stale. */
static bool next_piece(struct weather *w)
{
	struct vmem_batch *batch = &w->batch;
	int i;

	look(w);
	w->ok = w->ok && w->checked == batch->nr && batch->done == batch->nr;
	batch->done = 0;
	if (!w->rounds || !w->ok)
		return false;
	w->rounds--;
	w->pieces++;
	w->stale = true;
	for (i = w->calm ? 0 : graph_below(w->r, 4); i > 0; i--)
		blow(w, graph_one_in(w->r, 2) ? w->vas[0] : some_path(w));
	give_vas(w, 1 + graph_below(w->r, MAX_VAS));
	return true;
}

static bool weather_batch(struct weather *w)
{
	bool shared = !w->calm && graph_one_in(w->r, 2);
	u64 root;
	int ret;

	w->index = graph_below(w->r, w->r->g->nr_roots);
	root = w->r->g->roots[w->index].table;
	w->batch = (struct vmem_batch){
		.mem = &w->st.mem,
		.root = shared ? NULL : &w->r->g->roots[w->index],
		.spaces = shared ? &w->spaces : NULL,
		.index = shared ? w->index : 0,
		.brief = graph_one_in(w->r, 4),
		.vas = w->vas,
		.results = w->results,
	};
	give_vas(w, 8 + graph_below(w->r, MAX_VAS - 8));
	w->stale = false;
	w->roots = 0;
	w->rounds = graph_below(w->r, 6);
	w->one_in = w->calm ? 0 : graph_below(w->r, 4);
	w->pieces = 1;
	/* What is near is pinned once more. */
	if (!w->calm)
		w->batch.near =
			vmem_near_alloc(&w->st.mem, &w->r->g->roots[w->index]);
	do
		ret = vmem_translate_batch(&w->batch);
	while (!ret && next_piece(w));
	vmem_near_free(w->batch.near);
	if (ret)
		look(w);
	/* A root may well be where there is no memory; none goes away. */
	if ((ret && (ret != -ENXIO || guest_has(w->st.guest, root))) ||
	    !w->ok || !storm_is_over(&w->st)) {
		kunit_err(w->r->g->test, "%d, shared %d", ret, shared);
		return false;
	}
	return true;
}

static bool weather_check(struct weather *w, int nr)
{
	bool ok = true;

	w->ok = true;
	group_walk_all(w->r->g, &w->spaces, w->records);
	while (ok && nr--)
		ok = weather_batch(w);
	vmem_spaces_destroy(&w->spaces);
	return ok;
}

static struct weather *weather_alloc(struct kunit *test)
{
	struct weather *w = kunit_kzalloc(test, sizeof(*w), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, w);
	w->r = graph_alloc(test, test->param_value);
	w->records = records_alloc(test);
	storm_init(&w->st, w->r->g->s->guest, w->r->g->s->mode->entry_size,
		   weather_pin);
	return w;
}

static void vmem_torn_random_graphs(struct kunit *test)
{
	struct weather *w = weather_alloc(test);
	u64 i;

	for (i = 0; i < 300; i++) {
		graph_make(w->r, rng_first_seed + i);
		for (w->nr_paths = 0; w->nr_paths < MAX_PATHS; w->nr_paths++)
			w->paths[w->nr_paths] = graph_va(w->r);
		KUNIT_ASSERT_TRUE_MSG(test, weather_check(w, 6),
				      "again: vmem_kunit.seed=%llu",
				      rng_first_seed + i);
		cond_resched();
	}
	/* Or this proves little. */
	KUNIT_EXPECT_GT(test, w->torn, 5);
}

/*
 * More tables of each level than are remembered, so that many are forgotten, and
 * others come to be where they were.
 */
#define NR_PTS 6

static u64 wide_pt(struct group *g, int i)
{
	u64 table = group_add_table(g);
	int page;

	for (page = 0; page < 64; page++)
		group_put(g, table, page,
			  (g->s->mode->frame + (i * 64 + page) * SZ_4K) |
				  PTE_PWU);
	return table;
}

static void make_wide(struct weather *w, u64 seed)
{
	struct group *g;
	u64 pts[NR_PTS], root, va;
	int i, span;

	graph_make(w->r, seed);
	g = w->r->g;
	group_reset(g, true);
	root = group_new_root(g);
	group_add_root(g, root);
	for (i = 0; i < NR_PTS; i++)
		pts[i] = wide_pt(g, i);
	w->nr_paths = 0;
	for (i = 0; i < 260; i++) {
		/* 12 PDPTs with 9 PDs each, or 200 PTs. */
		span = i % (g->s->mode->top < 4 ? 200 : 108);
		va = g->s->mode->top < 4 ?
			     span * space_span(g->s, 2) :
			     span % 12 * space_span(g->s, 4) +
				     span / 12 * space_span(g->s, 3) +
				     i % 5 * space_span(g->s, 2);
		group_link(g, root, va, 1, pts[graph_below(w->r, NR_PTS)],
			   PTE_PWU);
		w->paths[w->nr_paths++] = va;
	}
}

static void vmem_torn_wide(struct kunit *test)
{
	struct weather *w = weather_alloc(test);
	u64 i;

	for (i = 0; i < 12; i++) {
		make_wide(w, rng_first_seed + i);
		KUNIT_ASSERT_TRUE_MSG(test, weather_check(w, 30),
				      "again: vmem_kunit.seed=%llu",
				      rng_first_seed + i);
		cond_resched();
	}
	KUNIT_EXPECT_GT(test, w->torn, 0);
}

/*
 * Where nothing changes, no path is read anew, which would begin at the root:
 * whatever a path is compared with is pinned as long as the walk is on it.
 */
static void vmem_torn_calm(struct kunit *test)
{
	struct weather *w = weather_alloc(test);
	int i, nr;

	w->calm = true;
	for (i = 0; i < 6; i++) {
		make_wide(w, rng_first_seed + i);
		for (nr = 0; nr < 20; nr++) {
			KUNIT_ASSERT_TRUE(test, weather_check(w, 1));
			KUNIT_EXPECT_EQ(test, w->roots, w->pieces);
		}
		cond_resched();
	}
	KUNIT_EXPECT_EQ(test, w->torn, 0);
}

/*
 * Watches: a walk whose callbacks write to the guest. Nothing changes between
 * two callbacks, so it is plain what the walk finds when it leaves a table.
 */

/**
 * struct entered - a table that the walk is in
 * @open: it is
 * @base: first address of its region
 * @last: last address of its region in the scope
 * @gpa: the table
 * @path: the entries that led to it
 * @nr_path: how many they are
 */
struct entered {
	bool open;
	u64 base;
	u64 last;
	u64 gpa;
	struct vmem_trace path[VMEM_MAX_LEVELS];
	int nr_path;
};

/**
 * struct watch - a walk that is watched
 * @st: the guest
 * @r: the space, and where the randomness comes from
 * @walk: the walk
 * @entered: the tables that it is in, by level
 * @told: how often @torn was called since the last other callback
 * @torn: what it was given
 * @paths: the paths of that
 * @visited: something was visited in this call
 * @behind: the end of what was visited last
 * @stop_in: visits before it is stopped; -1 for never
 * @fail: let @torn fail
 * @nr_torn: how often it was called
 * @ret: what the last call returned
 * @ok: nothing was wrong so far
 */
struct watch {
	struct storm st;
	struct graph *r;
	struct vmem_walk walk;
	struct entered entered[VMEM_MAX_LEVELS + 1];
	int told;
	struct vmem_visit torn[2];
	struct vmem_trace paths[2][VMEM_MAX_LEVELS];
	bool visited;
	u64 behind;
	int stop_in;
	bool fail;
	int nr_torn;
	int ret;
	bool ok;
};

static bool has_changed(const struct watch *w, const struct entered *in,
			int level)
{
	const struct vmem_trace *was = &in->path[in->nr_path - 1];
	const struct vmem_mode *mode = &w->walk.roots->mode;
	struct vmem_entry a = vmem_decode(mode, level + 1, was->raw);
	struct vmem_entry b = vmem_decode(mode, level + 1,
					  storm_read(&w->st, was->entry_gpa));

	return a.kind != b.kind || a.addr != b.addr || a.perms != b.perms;
}

static bool torn_fits(const struct watch *w, const struct entered *in,
		      int level, int i)
{
	const struct vmem_visit *v = &w->torn[i];

	return v->status == VMEM_TORN && v->level == level &&
	       v->base == in->base &&
	       v->va == max(in->base, w->walk.scope.va) &&
	       v->last_va == in->last && v->gpa == in->gpa &&
	       v->root == w->walk.roots && !v->index &&
	       v->nr_path == in->nr_path &&
	       !memcmp(w->paths[i], in->path, in->nr_path * sizeof(*in->path));
}

/*
 * The tables that end up to @last_va are left: of those that have changed, the
 * highest is told. Returns whether it is the @nth that was.
 */
static bool leave_some(struct watch *w, u64 last_va, int *nth)
{
	const struct entered *want = NULL;
	int level, at = 0;

	for (level = 1; level <= VMEM_MAX_LEVELS; level++) {
		struct entered *in = &w->entered[level];

		if (!in->open || in->last > last_va)
			continue;
		in->open = false;
		if (has_changed(w, in, level)) {
			want = in;
			at = level;
		}
	}
	if (!want || (*nth < w->told && torn_fits(w, want, at, (*nth)++)))
		return true;
	kunit_err(w->r->g->test, "%d told, level %d %#llx..%#llx", w->told,
		  w->torn[0].level, w->torn[0].va, w->torn[0].last_va);
	kunit_err(w->r->g->test, "  and not level %d %#llx..%#llx", at,
		  want->base, want->last);
	return false;
}

/* Tables may end with what was visited last, or with what is excluded then. */
static void leave(struct watch *w, u64 va, bool all)
{
	int nth = 0;

	if (w->visited && !leave_some(w, w->behind, &nth))
		w->ok = false;
	if ((all || va) && !leave_some(w, all ? U64_MAX : va - 1, &nth))
		w->ok = false;
	if (nth != w->told)
		w->ok = false;
	w->told = 0;
}

/* The entry that named one of these tables, or one on the path to somewhere. */
static void stir(struct watch *w)
{
	static const u64 bits[] = {
		PTE_ACCESSED, PTE_OWN, PTE_W, PTE_U, PTE_P, PTE_PS, PTE_NX,
	};
	int level = 1 + graph_below(w->r, w->r->g->s->mode->top);
	const struct entered *in = &w->entered[level];
	const struct vmem_trace *was;
	u64 raw;

	if (!in->open)
		return;
	was = &in->path[in->nr_path - 1];
	raw = storm_read(&w->st, was->entry_gpa);
	switch (graph_below(w->r, 4)) {
	case 0:
		raw = was->raw;
		break;
	case 1:
		raw = w->r->tables[graph_below(w->r, w->r->nr_tables)] |
		      PTE_PWU;
		break;
	default:
		raw ^= bits[graph_below(w->r, ARRAY_SIZE(bits))];
	}
	storm_write(&w->st, was->entry_gpa, raw);
}

static int watch_visit(const struct vmem_visit *v, struct watch *w)
{
	leave(w, v->va, false);
	if (v->status == VMEM_UNBACKED)
		w->entered[v->level].open = false;
	if (graph_one_in(w->r, 3))
		stir(w);
	if (!w->ok)
		return -EBADE;
	if (w->stop_in >= 0 && !w->stop_in--)
		return VMEM_WALK_STOP;
	w->visited = true;
	w->behind = v->last_va;
	return 0;
}

static int watch_leaf(const struct vmem_visit *v, void *priv)
{
	return watch_visit(v, priv);
}

static int watch_table(const struct vmem_visit *v, void *priv)
{
	struct watch *w = priv;
	struct entered *in = &w->entered[v->level];

	leave(w, v->va, false);
	if (in->open || !v->nr_path)
		w->ok = false;
	in->open = true;
	in->base = v->base;
	in->last = min(v->base + (group_region(w->r->g, v->level) - 1),
		       w->walk.scope.last_va);
	in->gpa = v->gpa;
	in->nr_path = v->nr_path;
	memcpy(in->path, v->path, v->nr_path * sizeof(*v->path));
	if (graph_one_in(w->r, 6)) {
		in->open = false;
		w->visited = true;
		w->behind = in->last;
		return VMEM_WALK_SKIP;
	}
	if (graph_one_in(w->r, 3))
		stir(w);
	return w->ok ? 0 : -EBADE;
}

static int watch_torn(const struct vmem_visit *v, void *priv)
{
	struct watch *w = priv;

	w->nr_torn++;
	if (w->told == ARRAY_SIZE(w->torn))
		return -EBADE;
	w->torn[w->told] = *v;
	memcpy(w->paths[w->told++], v->path, v->nr_path * sizeof(*v->path));
	return w->fail ? -EFAULT : 0;
}

/* Several calls, each of which may be stopped or use up its budget. */
static bool watch_walk(struct watch *w)
{
	const struct vmem_walk_ops ops = {
		.leaf = watch_leaf,
		.hole = watch_leaf,
		.anomaly = watch_leaf,
		.table = watch_table,
		.torn = watch_torn,
		.runs = graph_one_in(w->r, 2),
	};
	int ret, calls = 0;

	w->ret = 0;
	w->walk = (struct vmem_walk){
		.mem = &w->st.mem,
		.roots = w->r->g->roots,
		.nr_roots = 1,
		.scope = w->r->g->scope,
		.va = w->r->g->scope.va,
		.ops = &ops,
		.priv = w,
	};
	do {
		w->walk.budget = 1 + graph_below(w->r, 3000);
		w->stop_in = graph_one_in(w->r, 2) ? -1 :
						     graph_below(w->r, 600);
		w->visited = false;
		ret = vmem_walk(&w->walk);
		w->ret = ret;
		if (!w->ok || (ret < 0 && ret != -ENXIO))
			break;
		leave(w, 0, true);
	} while (ret == VMEM_WALK_STOP && ++calls < 10 && w->ok);
	w->walk.ops = NULL;
	return w->ok && (ret >= 0 || ret == -ENXIO) && storm_is_over(&w->st) &&
	       w->st.peak <= w->r->g->s->mode->top;
}

static struct watch *watch_alloc(struct kunit *test)
{
	struct watch *w = kunit_kzalloc(test, sizeof(*w), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, w);
	w->r = graph_alloc(test, test->param_value);
	storm_init(&w->st, w->r->g->s->guest, w->r->g->s->mode->entry_size,
		   NULL);
	w->ok = true;
	return w;
}

static void vmem_torn_random_walks(struct kunit *test)
{
	struct watch *w = watch_alloc(test);
	u64 i;

	for (i = 0; i < 500; i++) {
		graph_make(w->r, rng_first_seed + i);
		KUNIT_ASSERT_TRUE_MSG(test, watch_walk(w),
				      "again: vmem_kunit.seed=%llu",
				      rng_first_seed + i);
		cond_resched();
	}
	KUNIT_EXPECT_GT(test, w->nr_torn, 200);
}

/* An errno of the callback is that of the walk. */
static void vmem_torn_callback_fails(struct kunit *test)
{
	struct watch *w = watch_alloc(test);
	u64 i;

	for (i = 0; i < 50; i++) {
		graph_make(w->r, rng_first_seed + i);
		w->fail = true;
		w->nr_torn = 0;
		w->ok = true;
		w->told = 0;
		memset(w->entered, 0, sizeof(w->entered));
		watch_walk(w);
		KUNIT_EXPECT_LE(test, w->nr_torn, 1);
		KUNIT_EXPECT_EQ(test, w->ret == -EFAULT, !!w->nr_torn);
		KUNIT_EXPECT_TRUE(test, storm_is_over(&w->st));
	}
}

/*
 * Which bits count: those that say where, who and how. Only one table is left
 * where its region ends, as the range goes on a little behind.
 */
static bool bit_counts(const struct mode *mode, int level, int bit)
{
	if (BIT_ULL(bit) == mode_encryption(mode))
		return false;
	if (bit < 3 || (bit >= 12 && bit < 52) || bit == 63)
		return true;
	if (mode_is_pae(mode) && level == mode->top)
		return bit > 51 || (bit >= 6 && bit <= 8);
	if (bit == 7)
		return mode->entry_size == 8 || mode->max_leaf > 1;
	if (bit == 8)
		return level > VMEM_LEVEL_PDPT &&
		       mode->regs.rules & VMEM_RULES_AMD;
	return bit > 51 && mode_is_pae(mode);
}

/**
 * struct story - what a walk over spaces tells, while the guest writes
 * @st: the guest
 * @g: the spaces
 * @spaces: the walk
 * @was: what is told if nothing changes
 * @got: what is told
 * @refuse_at: which record is refused, once; -1 for none
 * @how: the answer to it
 * @refused: it was, in this call
 * @late: records that came after it in the same call
 */
struct story {
	struct storm st;
	struct group *g;
	struct vmem_spaces spaces;
	struct records *was;
	struct records *got;
	int refuse_at;
	int how;
	bool refused;
	int late;
};

static struct story *story_alloc(struct kunit *test)
{
	struct story *y = kunit_kzalloc(test, sizeof(*y), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, y);
	y->g = group_alloc(test, test->param_value);
	y->was = records_alloc(test);
	y->got = records_alloc(test);
	storm_init(&y->st, y->g->s->guest, y->g->s->mode->entry_size,
		   storm_step);
	y->refuse_at = -1;
	return y;
}

static int story_emit(const struct vmem_record *record, void *priv)
{
	struct story *y = priv;

	if (y->refused)
		y->late++;
	if (y->got->nr == y->refuse_at) {
		y->refused = true;
		y->refuse_at = -1;
		return y->how;
	}
	return records_emit(record, y->got);
}

static void story_begin(struct story *y)
{
	group_begin(y->g, &y->spaces);
	records_reset(y->got);
	y->late = 0;
}

static int story_call(struct story *y, u64 budget)
{
	y->refused = false;
	return vmem_walk_va_spaces(&y->spaces, &y->st.mem, budget, story_emit,
				   y);
}

/* In one call, and without any change before. */
static bool story_tell(struct story *y)
{
	int ret;

	group_walk_all(y->g, &y->spaces, y->was);
	vmem_spaces_destroy(&y->spaces);
	y->st.next = 0;
	story_begin(y);
	ret = story_call(y, U64_MAX);
	vmem_spaces_destroy(&y->spaces);
	return !ret && y->spaces.done && !y->late && storm_is_over(&y->st) &&
	       y->spaces.stats.anomalies ==
		       (u64)records_count(y->got, VMEM_ANOMALY);
}

static bool is_torn(const struct vmem_record *record)
{
	return record->type == VMEM_ANOMALY &&
	       record->anomaly.status == VMEM_TORN;
}

/* Where the @nth TORN is; -1 if there are not so many. */
static int torn_at(const struct records *records, int nth)
{
	int i;

	for (i = 0; i < records->nr; i++) {
		if (is_torn(&records->r[i]) && !nth--)
			return i;
	}
	return -1;
}

/* What is left without them is what was told when nothing changed. */
static bool rest_is_same(struct story *y, const struct records *got)
{
	int i, nr = 0;

	for (i = 0; i < got->nr; i++) {
		if (is_torn(&got->r[i]))
			continue;
		if (nr == y->was->nr ||
		    !record_equal(&got->r[i], &y->was->r[nr])) {
			kunit_err(y->g->test, "record %d of %d is another", i,
				  got->nr);
			return false;
		}
		nr++;
	}
	if (nr != y->was->nr)
		kunit_err(y->g->test, "%d records and not %d", nr, y->was->nr);
	return nr == y->was->nr;
}

/* A page at @va and one close by, in a scope that ends soon behind its table. */
static void make_one(struct story *y, u64 va, int level)
{
	u64 span = space_span(y->g->s, level), base = va & -span, root;

	group_reset(y->g, true);
	root = group_new_root(y->g);
	group_add_root(y->g, root);
	group_set(y->g, root, va, 1, y->g->s->mode->frame | PTE_PWU);
	group_set(y->g, root, va + SZ_8K, 1, y->g->s->mode->frame | PTE_PWU);
	group_set_range(y->g, base - SZ_4K, base + span + SZ_4K - 1);
	storm_calm(&y->st);
}

static u64 entry_of(struct story *y, u32 root, u64 va, int level)
{
	return group_entry(y->g, y->g->roots[root].table, va, level);
}

static void plan_flip(struct story *y, u64 va, int below, int level, u64 bits)
{
	u64 entry = entry_of(y, 0, va, level);
	u64 table = entry_of(y, 0, va, below) & VMEM_PAGE_MASK;

	y->st.steps[y->st.nr++] = (struct step){
		.table = table,
		.changes = { { .gpa = entry, .flip = bits } },
	};
}

static int flatten(struct story *y, struct recorder *rec, u64 *torn)
{
	struct vmem_range range = {
		.mem = &y->st.mem,
		.root = &y->g->roots[0],
		.va = y->g->scope.va,
		.last_va = y->g->scope.last_va,
		.budget = U64_MAX,
		.emit = recorder_emit,
		.priv = rec,
	};
	int ret;

	recorder_reset(rec);
	y->st.next = 0;
	ret = vmem_virt_to_phys(&range);
	*torn = range.torn;
	return ret;
}

static bool is_record_of(struct story *y, const struct vmem_record *record,
			 u64 va, int level, u64 raw)
{
	u64 region = group_region(y->g, level), base = va & -region;
	const struct vmem_anomaly *an = &record->anomaly;

	return is_torn(record) && record->root == 0 &&
	       an->level == (u32)level && an->va == max(base, y->g->scope.va) &&
	       an->last_va == min(base + (region - 1), y->g->scope.last_va) &&
	       an->table_gpa == table_of(raw) && an->raw == raw;
}

static bool check_counting(struct story *y, struct recorder *rec, int level,
			   int below, int bit)
{
	u64 va = inner_va(y->g->s), torn, raw;
	bool want = bit_counts(y->g->s->mode, level, bit);

	make_one(y, va, level);
	plan_flip(y, va, below, level, BIT_ULL(bit));
	raw = storm_read(&y->st, entry_of(y, 0, va, level));
	if (flatten(y, rec, &torn) || torn != want || rec->nr != 2)
		return false;
	storm_write(&y->st, y->st.steps[0].changes[0].gpa, raw);

	if (!story_tell(y) || !rest_is_same(y, y->got) ||
	    y->got->nr != y->was->nr + want)
		return false;
	return !want ||
	       is_record_of(y, &y->got->r[y->got->nr - 1], va, level - 1, raw);
}

static void vmem_torn_bits(struct kunit *test)
{
	struct recorder *rec = recorder_alloc(test);
	struct story *y = story_alloc(test);
	int level, below, bit;
	bool good;

	for (level = 2; level <= y->g->s->mode->top; level++)
		for (below = 1; below < level; below++)
			for (bit = 0; bit < 8 * y->st.size; bit++) {
				good = check_counting(y, rec, level, below,
						      bit);
				KUNIT_EXPECT_TRUE_MSG(test, good,
						      "bit %d of %d, below %d",
						      bit, level, below);
			}
}

/* What the entry of @level was before it lost a right. */
static u64 link_before(struct story *y, u64 va, int level)
{
	u64 raw = storm_read(&y->st, entry_of(y, 0, va, level));

	return space_link(y->g->s, level, table_of(raw), PTE_PWU);
}

/*
 * Tables in each other: where they end together, the upper one is told; else
 * each of them, the lower one first, with what is between.
 */
static void check_nested(struct story *y, struct recorder *rec, int upper,
			 int lower)
{
	struct kunit *test = y->g->test;
	u64 va = inner_va(y->g->s), span = space_span(y->g->s, lower);
	u64 torn, next = (va & -span) + span, raw;

	make_one(y, va, upper);
	plan_flip(y, va, lower - 1, lower, PTE_W);
	y->st.steps[0].changes[1] = (struct change){
		.gpa = entry_of(y, 0, va, upper),
		.flip = PTE_U,
	};
	raw = link_before(y, va, lower);
	group_set(y->g, y->g->roots[0].table, next, 1,
		  y->g->s->mode->frame | PTE_PWU);
	KUNIT_EXPECT_TRUE(test, story_tell(y));
	KUNIT_EXPECT_TRUE(test, rest_is_same(y, y->got));
	KUNIT_ASSERT_EQ(test, y->got->nr, y->was->nr + 2);
	KUNIT_EXPECT_TRUE(test,
			  is_record_of(y, &y->got->r[3], va, lower - 1, raw));
	raw = link_before(y, va, upper);
	KUNIT_EXPECT_TRUE(test,
			  is_record_of(y, &y->got->r[5], va, upper - 1, raw));

	make_one(y, va, upper);
	group_set_range(y->g, va, next - 1);
	KUNIT_EXPECT_TRUE(test, story_tell(y));
	KUNIT_EXPECT_TRUE(test, rest_is_same(y, y->got));
	storm_calm(&y->st);
	make_one(y, va, upper);
	group_set_range(y->g, va, next - 1);
	plan_flip(y, va, lower - 1, lower, PTE_W);
	y->st.steps[0].changes[1] = (struct change){
		.gpa = entry_of(y, 0, va, upper),
		.flip = PTE_U,
	};
	KUNIT_EXPECT_TRUE(test, story_tell(y));
	KUNIT_ASSERT_EQ(test, y->got->nr, y->was->nr + 1);
	KUNIT_EXPECT_TRUE(test,
			  is_record_of(y, &y->got->r[3], va, upper - 1, raw));
	storm_write(&y->st, entry_of(y, 0, va, upper), raw);
	KUNIT_EXPECT_EQ(test, flatten(y, rec, &torn), 0);
	KUNIT_EXPECT_EQ(test, torn, 1ULL);
}

static void vmem_torn_nested(struct kunit *test)
{
	struct recorder *rec = recorder_alloc(test);
	struct story *y = story_alloc(test);
	int upper, lower;

	if (y->g->s->mode->top < 3)
		kunit_skip(test, "too few levels");
	for (upper = 3; upper <= y->g->s->mode->top; upper++)
		for (lower = 2; lower < upper; lower++)
			check_nested(y, rec, upper, lower);
}

/*
 * Trees: two spaces that share a table, in which any of the tables may change,
 * in any call. Each is told once, in its place.
 */
#define MAX_KNOWN 24

/**
 * struct known - a table of the tree
 * @gpa: the table
 * @level: its level
 * @root: index of the space that reaches it first
 * @base: first address of its region there
 * @last: last address of its region there
 * @entry: the entry that names it
 * @raw: what that is
 * @armed: it is to change when it is pinned
 */
struct known {
	u64 gpa;
	int level;
	u32 root;
	u64 base;
	u64 last;
	u64 entry;
	u64 raw;
	bool armed;
};

/**
 * struct tree - the tree
 * @y: what is told of it
 * @known: its tables, by root and then by where they end, the lower ones first
 * @nr: how many they are
 * @fired: how many changes there were
 * @merged: what is told, with TORN records that follow each other as one
 * @want: what is to be told, likewise
 * @tie: which of these are of several tables of the same level
 */
struct tree {
	struct story y;
	struct known known[MAX_KNOWN];
	int nr;
	int fired;
	struct records *merged;
	struct records *want;
	bool tie[MAX_RECORDS];
};

static void tree_pin(struct storm *st, u64 table)
{
	struct tree *t = container_of(st, struct tree, y.st);
	struct known *k;

	/* A table that cannot be had is not entered. */
	if (st->guest->pins + 1 == st->guest->fail_at)
		return;
	for (k = t->known; k < t->known + t->nr; k++) {
		if (k->gpa != table || !k->armed)
			continue;
		storm_write(st, k->entry, k->raw ^ PTE_W);
		k->armed = false;
		t->fired++;
	}
}

/* As it was before. */
static void tree_mend(struct tree *t)
{
	struct known *k;

	for (k = t->known; k < t->known + t->nr; k++)
		storm_write(&t->y.st, k->entry, k->raw);
}

static bool comes_before(const struct known *a, const struct known *b)
{
	if (a->root != b->root)
		return a->root < b->root;
	return a->last != b->last ? a->last < b->last : a->level < b->level;
}

static void tree_know(struct tree *t, u32 root, u64 va, int level)
{
	u64 entry = entry_of(&t->y, root, va, level + 1);
	u64 region = group_region(t->y.g, level), base = va & -region;
	struct known new = {
		.level = level,
		.root = root,
		.base = base,
		.entry = entry,
		.last = base + (region - 1),
		.raw = storm_read(&t->y.st, entry),
	};
	int i;

	new.gpa = table_of(new.raw);
	for (i = 0; i < t->nr; i++) {
		if (t->known[i].gpa == new.gpa)
			return;
	}
	for (i = t->nr++; i && comes_before(&new, &t->known[i - 1]); i--)
		t->known[i] = t->known[i - 1];
	t->known[i] = new;
}

static void tree_page(struct tree *t, u32 root, u64 va, int frame)
{
	struct group *g = t->y.g;
	int level;

	group_set(g, g->roots[root].table, va, 1,
		  (g->s->mode->frame + frame * SZ_4K) | PTE_PWU);
	for (level = g->s->mode->top - 1; level; level--)
		tree_know(t, root, va, level);
}

static u64 tree_va(const struct tree *t)
{
	const struct group *g = t->y.g;

	return g->s->mode->va & -space_span(g->s, g->s->mode->top);
}

static void tree_make(struct tree *t)
{
	struct group *g = t->y.g;
	u64 b = tree_va(t), region = group_region(g, 1), root;
	bool deep = g->s->mode->top > 3;
	u64 far = deep ? space_span(g->s, 3) : 8 * region;
	u64 farther = deep ? space_span(g->s, 4) : 16 * region;
	int i;

	group_reset(g, true);
	t->nr = 0;
	t->fired = 0;
	for (i = 0; i < 2; i++)
		group_add_root(g, group_new_root(g));
	for (i = 0; i < 3; i++)
		tree_page(t, 0, b + 2 * i * SZ_4K, i);
	/* One mapping over the end of a table. */
	tree_page(t, 0, b + region - SZ_4K, 5);
	tree_page(t, 0, b + region, 6);
	tree_page(t, 0, b + region + SZ_64K, 9);
	/* A table without pages, and one that no mapping follows. */
	group_set(g, g->roots[0].table, b + 3 * region, 1, PTE_W);
	tree_know(t, 0, b + 3 * region, 1);
	tree_page(t, 0, b + far, 11);
	group_set(g, g->roots[0].table, b + far + 2 * region, 1, 0);
	tree_know(t, 0, b + far + 2 * region, 1);
	tree_page(t, 0, b + farther, 12);

	tree_page(t, 1, b + 2 * region, 13);
	root = g->roots[1].table;
	group_link(g, root, b + 4 * region, 1,
		   entry_of(&t->y, 0, b, 1) & VMEM_PAGE_MASK, PTE_PWU);
	tree_page(t, 1, b + far, 14);
	tree_mend(t);
}

static struct tree *tree_alloc(struct kunit *test)
{
	struct tree *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);
	struct story *y;

	KUNIT_ASSERT_NOT_NULL(test, t);
	y = story_alloc(test);
	t->y = *y;
	t->merged = records_alloc(test);
	t->want = records_alloc(test);
	t->y.st.on_pin = tree_pin;
	tree_make(t);
	group_walk_all(t->y.g, &t->y.spaces, t->y.was);
	vmem_spaces_destroy(&t->y.spaces);
	return t;
}

static u64 starts_at(const struct vmem_record *r)
{
	switch (r->type) {
	case VMEM_THIS_SPACE:
		return r->mapping.va;
	case VMEM_ALIASING:
		return r->reference.our_va;
	case VMEM_ANOMALY:
		return r->anomaly.va;
	default:
		return 0;
	}
}

static bool is_behind(const struct vmem_record *r, const struct known *k)
{
	return r->root > k->root ||
	       (r->root == k->root && r->type != VMEM_SPACE &&
		starts_at(r) > k->last);
}

/* Add a record, or make one of two TORN ones in a row. */
static void add_merged(struct records *to, const struct vmem_record *record,
		       bool *tie)
{
	struct vmem_record *last = to->nr ? &to->r[to->nr - 1] : NULL;
	u64 va, last_va;

	if (!last || !is_torn(last) || !is_torn(record) ||
	    last->root != record->root) {
		to->r[to->nr++] = *record;
		if (tie)
			tie[to->nr - 1] = false;
		return;
	}
	va = min(last->anomaly.va, record->anomaly.va);
	last_va = max(last->anomaly.last_va, record->anomaly.last_va);
	if (tie && last->anomaly.level == record->anomaly.level)
		tie[to->nr - 1] = true;
	if (last->anomaly.level < record->anomaly.level) {
		*last = *record;
		if (tie)
			tie[to->nr - 1] = false;
	}
	last->anomaly.va = va;
	last->anomaly.last_va = last_va;
}

static void add_known(struct tree *t, const struct known *k)
{
	const struct vmem_record record = {
		.type = VMEM_ANOMALY,
		.root = k->root,
		.anomaly = {
			.status = VMEM_TORN, .level = k->level,
			.va = k->base, .last_va = k->last,
			.table_gpa = k->gpa, .raw = k->raw,
		},
	};

	add_merged(t->want, &record, t->tie);
}

/* The next table that is told from @i on; those that end with it are not. */
static int next_told(const struct tree *t, const bool *changes, int i)
{
	int told = -1;

	for (; i < t->nr; i++) {
		if (told >= 0 && (t->known[i].last != t->known[told].last ||
				  t->known[i].root != t->known[told].root))
			break;
		if (changes[i])
			told = i;
	}
	return told;
}

/* What is to be told if these tables change, in one call. */
static void tree_expect(struct tree *t, const bool *changes)
{
	int i, told = next_told(t, changes, 0);

	records_reset(t->want);
	for (i = 0; i <= t->y.was->nr; i++) {
		while (told >= 0 &&
		       (i == t->y.was->nr ||
			is_behind(&t->y.was->r[i], &t->known[told]))) {
			add_known(t, &t->known[told]);
			told = next_told(t, changes, told + 1);
		}
		if (i < t->y.was->nr)
			add_merged(t->want, &t->y.was->r[i], t->tie);
	}
}

static void merge(struct tree *t, const struct records *from)
{
	int i;

	records_reset(t->merged);
	for (i = 0; i < from->nr; i++)
		add_merged(t->merged, &from->r[i], NULL);
}

static bool tree_is_told(struct tree *t, const struct records *got)
{
	int i;

	merge(t, got);
	for (i = 0; i < min(t->want->nr, t->merged->nr); i++) {
		if (!is_torn(&t->want->r[i]) || !t->tie[i])
			continue;
		t->want->r[i].anomaly.table_gpa =
			t->merged->r[i].anomaly.table_gpa;
		t->want->r[i].anomaly.raw = t->merged->r[i].anomaly.raw;
	}
	return records_equal(t->y.g->test, t->merged, t->want);
}

static void tree_arm(struct tree *t, const bool *changes)
{
	int i;

	tree_mend(t);
	t->fired = 0;
	for (i = 0; i < t->nr; i++)
		t->known[i].armed = changes[i];
}

/* Any of the tables at once. */
static void vmem_torn_spaces(struct kunit *test)
{
	struct tree *t = tree_alloc(test);
	bool changes[MAX_KNOWN] = {};
	struct rnd_state rng;
	int i, nr, ret;

	rng_seed(&rng, rng_first_seed);
	for (nr = 0; nr < 400; nr++) {
		for (i = 0; i < t->nr; i++)
			changes[i] = nr < t->nr ? i == nr :
						  rng_one_in(&rng, 1 + nr % 6);
		tree_arm(t, changes);
		tree_expect(t, changes);
		story_begin(&t->y);
		ret = story_call(&t->y, U64_MAX);
		vmem_spaces_destroy(&t->y.spaces);
		KUNIT_ASSERT_EQ(test, ret, 0);
		KUNIT_ASSERT_TRUE(test, t->y.spaces.done);
		KUNIT_ASSERT_TRUE(test, tree_is_told(t, t->y.got));
		KUNIT_EXPECT_EQ(test, t->y.spaces.stats.anomalies,
				(u64)records_count(t->y.got, VMEM_ANOMALY));
		KUNIT_EXPECT_TRUE(test, storm_is_over(&t->y.st));
	}
}

/* How many records that are no TORN are among the first @nr. */
static int count_rest(const struct records *got, int nr)
{
	int i, rest = 0;

	for (i = 0; i < nr; i++)
		rest += !is_torn(&got->r[i]);
	return rest;
}

/*
 * One table changes, in whatever call it is first read, and is as it was in the
 * next. It is told once: where it would be without the interruption or, if that
 * was before its end, in what comes next.
 */
static bool check_interrupted(struct tree *t, const struct known *k, u64 budget,
			      int fail_pin)
{
	int ret, calls = 0, at, place, told = -1;

	story_begin(&t->y);
	guest_fail_pin(t->y.st.guest, fail_pin, -ENOMEM);
	do {
		ret = story_call(&t->y, budget);
		if (t->fired && told < 0)
			told = count_rest(t->y.got, t->y.got->nr);
		tree_mend(t);
		if (!storm_is_over(&t->y.st) || t->y.st.held ||
		    (!ret && !t->y.spaces.done))
			ret = -EBADE;
	} while ((ret == VMEM_WALK_STOP || ret == -EFAULT || ret == -ENOMEM) &&
		 ++calls < 20000);
	guest_fail_pin(t->y.st.guest, 0, 0);
	vmem_spaces_destroy(&t->y.spaces);

	at = torn_at(t->y.got, 0);
	if (ret || t->fired != 1 || at < 0 || torn_at(t->y.got, 1) >= 0 ||
	    t->y.late || !rest_is_same(&t->y, t->y.got)) {
		kunit_err(t->y.g->test, "%d, changed %d, at %d and %d, late %d",
			  ret, t->fired, at, torn_at(t->y.got, 1), t->y.late);
		return false;
	}
	place = torn_at(t->want, 0);
	if (record_equal(&t->y.got->r[at], &t->want->r[place]) &&
	    (at == place || (told < place && (at == told || at == told + 1))))
		return true;
	kunit_err(t->y.g->test, "at %d, not %d, after %d; level %u not %d", at,
		  place, told, t->y.got->r[at].anomaly.level, k->level);
	return false;
}

static void vmem_torn_interrupted(struct kunit *test)
{
	static const int how[] = { VMEM_WALK_STOP, -EFAULT };
	struct tree *t = tree_alloc(test);
	bool changes[MAX_KNOWN] = {};
	int i, at, j;
	u64 budget;
	bool good;

	for (i = 0; i < t->nr; i++) {
		changes[i] = true;
		tree_expect(t, changes);
		for (at = 0; at < t->want->nr; at++)
			for (j = 0; j < ARRAY_SIZE(how); j++) {
				tree_arm(t, changes);
				t->y.refuse_at = at;
				t->y.how = how[j];
				good = check_interrupted(t, &t->known[i],
							 U64_MAX, 0);
				KUNIT_EXPECT_TRUE_MSG(test, good,
						      "%d, record %d: %d", i,
						      at, how[j]);
			}
		for (budget = 8; budget < 2600; budget += 1 + budget / 3) {
			tree_arm(t, changes);
			good = check_interrupted(t, &t->known[i], budget, 0);
			KUNIT_EXPECT_TRUE_MSG(test, good, "%d, budget %llu", i,
					      budget);
		}
		for (at = 1; at < 2 * t->nr; at++) {
			tree_arm(t, changes);
			KUNIT_EXPECT_TRUE_MSG(test,
					      check_interrupted(t, &t->known[i],
								U64_MAX, at),
					      "table %d, pin %d failed", i, at);
		}
		changes[i] = false;
	}
}

/*
 * Any tables, with any record refused, one by one and again and again: nothing is
 * lost, nothing is told twice, and each table that changed is in some TORN.
 */
static bool covers(const struct records *got, const struct known *k)
{
	const struct vmem_anomaly *an;
	int i;

	for (i = 0; i < got->nr; i++) {
		an = &got->r[i].anomaly;
		if (is_torn(&got->r[i]) && got->r[i].root == k->root &&
		    an->va <= k->base && an->last_va >= k->last &&
		    an->level >= (u32)k->level)
			return true;
	}
	return false;
}

static bool check_hindered(struct tree *t, const bool *changes,
			   struct rnd_state *rng)
{
	int ret, i, calls = 0;

	story_begin(&t->y);
	do {
		if (rng_one_in(rng, 2))
			t->y.refuse_at = t->y.got->nr + rng_below(rng, 3);
		t->y.how = rng_one_in(rng, 2) ? VMEM_WALK_STOP : -EFAULT;
		ret = story_call(&t->y, rng_one_in(rng, 3) ?
						8 + rng_below(rng, 3000) :
						U64_MAX);
		tree_mend(t);
	} while ((ret == VMEM_WALK_STOP || ret == -EFAULT) && ++calls < 20000);
	t->y.refuse_at = -1;
	vmem_spaces_destroy(&t->y.spaces);
	for (i = 0; i < t->nr; i++) {
		if (changes[i] && !covers(t->y.got, &t->known[i])) {
			kunit_err(t->y.g->test, "table %d is not told", i);
			return false;
		}
	}
	return !ret && !t->y.late && rest_is_same(&t->y, t->y.got) &&
	       torn_at(t->y.got, t->fired) < 0 && storm_is_over(&t->y.st) &&
	       t->y.spaces.stats.anomalies ==
		       (u64)records_count(t->y.got, VMEM_ANOMALY);
}

static void vmem_torn_hindered(struct kunit *test)
{
	struct tree *t = tree_alloc(test);
	bool changes[MAX_KNOWN] = {};
	struct rnd_state rng;
	int i, nr;

	for (nr = 0; nr < 400; nr++) {
		rng_seed(&rng, rng_first_seed + nr);
		for (i = 0; i < t->nr; i++)
			changes[i] = rng_one_in(&rng, 1 + nr % 6);
		tree_arm(t, changes);
		KUNIT_ASSERT_TRUE_MSG(test, check_hindered(t, changes, &rng),
				      "again: vmem_kunit.seed=%llu",
				      rng_first_seed + nr);
		cond_resched();
	}
}

/* A rebuild and a snapshot cannot go on with that. */
static int rebuild_tree(struct tree *t, struct rebuilt *re, u64 budget,
			int fail_pin)
{
	int ret, before;

	rebuilt_begin(re);
	guest_fail_pin(t->y.st.guest, fail_pin, -ENOMEM);
	do {
		before = t->fired;
		ret = vmem_rebuild(&re->rb, &t->y.st.mem, budget);
		/* At once, and not in some later call. */
		if (ret != -EAGAIN && t->fired != before)
			ret = -EBADE;
	} while (ret == VMEM_WALK_STOP || ret == -ENOMEM);
	rebuilt_end(re);
	guest_fail_pin(t->y.st.guest, 0, 0);
	return ret;
}

static int snapshot_tree(struct tree *t, struct vmem_snapshot *snap, u64 budget)
{
	struct vmem_root built[GROUP_MAX_ROOTS];
	int ret, before;

	*snap = (struct vmem_snapshot){
		.rebuild = {
			.roots = t->y.g->roots,
			.nr_roots = t->y.g->nr_roots,
			.scope = t->y.g->scope,
			.built = built,
		},
		.base = 0x20000000,
	};
	do {
		before = t->fired;
		ret = vmem_snapshot_make(snap, &t->y.st.mem, budget);
		if (ret != -EAGAIN && t->fired != before)
			ret = -EBADE;
	} while (ret == VMEM_WALK_STOP);
	vmem_snapshot_destroy(snap);
	return ret;
}

static void vmem_torn_rebuild(struct kunit *test)
{
	static const u64 budgets[] = { U64_MAX, 1000, 300, 37 };
	struct vmem_snapshot *snap =
		kunit_kzalloc(test, sizeof(*snap), GFP_KERNEL);
	struct tree *t = tree_alloc(test);
	struct rebuilt *re = rebuilt_alloc(test, t->y.g, oracle_alloc(test));
	bool changes[MAX_KNOWN] = {};
	int i, j, want, got;

	KUNIT_ASSERT_NOT_NULL(test, snap);
	for (i = 0; i <= t->nr; i++) {
		want = i < t->nr ? -EAGAIN : 0;
		if (want)
			changes[i] = true;
		for (j = 0; j < ARRAY_SIZE(budgets); j++) {
			tree_arm(t, changes);
			got = rebuild_tree(t, re, budgets[j], 0);
			KUNIT_EXPECT_EQ(test, got, want);
			tree_arm(t, changes);
			got = snapshot_tree(t, snap, budgets[j]);
			KUNIT_EXPECT_EQ(test, got, want);
			KUNIT_EXPECT_EQ(test, t->fired, !!want);
			KUNIT_EXPECT_TRUE(test, storm_is_over(&t->y.st));
		}
		for (j = 1; j < 2 * t->nr; j++) {
			tree_arm(t, changes);
			KUNIT_EXPECT_EQ(test, rebuild_tree(t, re, U64_MAX, j),
					want);
		}
		if (want)
			changes[i] = false;
	}
}

static struct kunit_case vmem_torn_test_cases[] = {
	KUNIT_CASE_PARAM(vmem_torn_calm, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_torn_attempts, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_torn_level, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_torn_any_bit, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_torn_read, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_torn_random_graphs, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_torn_wide, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_torn_random_walks, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_torn_callback_fails, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_torn_bits, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_torn_nested, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_torn_spaces, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_torn_interrupted, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_torn_hindered, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_torn_rebuild, mode_gen_params),
	{}
};

static struct kunit_suite vmem_torn_suite = {
	.name = "vmem_torn",
	.test_cases = vmem_torn_test_cases,
};

kunit_test_suite(vmem_torn_suite);
