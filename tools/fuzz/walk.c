// SPDX-License-Identifier: GPL-2.0-only
/*
 * Target: reading. Any bytes as tables that do not change meanwhile: what the
 * core says of them is what the reference and the oracle of the KUnit suites
 * say, asked in one call or in many, of one address or of a batch.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <vmem/near.h>

#include "arena.h"
#include "oracle.h"

static struct arena arena;
static struct oracle *oracle;
static struct records *records;
static struct records *parts;
static struct recorder *whole;
static struct recorder *pieces;
static struct vmem_spaces spaces;

#define MAX_CALLS 200

/* What reads all of a table, on a path as deep as any. */
static u64 some_budget(struct input *in)
{
	return arena.mode.top + choose(in, 600);
}

/* Calls with little budget, little room and short of memory tell the same. */
static void check_resumed(struct input *in)
{
	u64 budget = some_budget(in);
	int ret, calls = 0, room = 1 + choose(in, 8);
	u32 fail_alloc = choose(in, 4), fail_pin = choose(in, 8);
	/* An exclusion may cut one in two, which is read for either then. */
	u64 entries =
		(1ULL << arena.mode.index_bits) + arena.g->scope.nr_excluded;

	group_begin(arena.g, &spaces);
	records_reset(parts);
	do {
		parts->room = parts->nr + room;
		fuzz_fail_alloc(calls ? 0 : fail_alloc);
		guest_fail_pin(arena.g->s->guest, calls % 2 ? fail_pin : 0,
			       -ENOMEM);
		ret = group_walk(arena.g, &spaces, budget, parts);
		fuzz_fail_alloc(0);
		REQUIRE(parts->nr <= parts->room);
	} while ((ret == VMEM_WALK_STOP || ret == -ENOMEM) &&
		 ++calls < MAX_CALLS);
	guest_fail_pin(arena.g->s->guest, 0, 0);
	if (calls < MAX_CALLS) {
		REQUIRE(!ret && records_equal(NULL, parts, records));
		REQUIRE(spaces.stats.tables <=
			spaces.stats.known + (u64)calls * arena.mode.top);
		REQUIRE(spaces.stats.entries <= spaces.stats.tables * entries);
	}
	vmem_spaces_destroy(&spaces);
	REQUIRE(guest_is_intact(arena.g->s->guest));
}

/* Each table is read once, but for entries that exclusions cut to pieces. */
static u64 most_entries(void)
{
	return (spaces.stats.known << arena.mode.index_bits) +
	       arena.g->nr_roots * arena.mode.top * arena.g->scope.nr_excluded;
}

static void walk_all(void)
{
	int ret;

	group_begin(arena.g, &spaces);
	records_reset(records);
	ret = group_walk(arena.g, &spaces, U64_MAX, records);
	if (ret == -E2BIG)
		fuzz_too_much();
	REQUIRE(!ret);
	REQUIRE(spaces.stats.entries <= most_entries());
}

#define MAX_VAS 40

/**
 * struct asked - a batch that is given in pieces
 * @batch: the batch
 * @vas: the addresses
 * @results: what the batch says of them
 * @nr: how many they are
 * @piece: so many at once
 * @got: how many were answered
 */
struct asked {
	struct vmem_batch batch;
	u64 vas[MAX_VAS];
	struct vmem_translation results[MAX_VAS];
	u32 nr;
	u32 piece;
	u32 got;
};

/* Piece by piece, with what is near kept in between. */
static int ask(struct asked *asked)
{
	struct vmem_batch *batch = &asked->batch;
	int ret = 0;

	batch->near = vmem_near_alloc(batch->mem, batch->root);
	while (!ret && asked->got < asked->nr) {
		batch->vas = asked->vas + asked->got;
		batch->results = asked->results + asked->got;
		batch->nr = min(asked->nr - asked->got, asked->piece);
		batch->done = 0;
		ret = vmem_translate_batch(batch);
		asked->got += batch->done;
	}
	vmem_near_free(batch->near);
	return ret;
}

static void check_answer(const struct asked *asked, u32 i)
{
	const struct vmem_batch *batch = &asked->batch;
	const struct vmem_translation *got = &asked->results[i];
	struct vmem_translation one;
	int ret = batch->spaces ?
			  vmem_translate_shared(batch->mem, batch->spaces,
						batch->index, asked->vas[i],
						&one) :
			  vmem_translate(batch->mem, batch->root, asked->vas[i],
					 &one);

	REQUIRE(!ret);
	REQUIRE(one.out_status != VMEM_TORN);
	if (batch->brief) {
		REQUIRE(one.out_status == got->out_status &&
			one.out_gpa == got->out_gpa &&
			one.out_perms == got->out_perms &&
			one.out_page_size == got->out_page_size);
		return;
	}
	REQUIRE(translation_equal(&one, got));
	REQUIRE(!memcmp(one.out_trace, got->out_trace, sizeof(one.out_trace)));
	REQUIRE(!memchr_inv(got->out_trace + got->out_nr_trace, 0,
			    (VMEM_MAX_LEVELS - got->out_nr_trace) *
				    sizeof(*got->out_trace)));
	REQUIRE(one.out_referenced == got->out_referenced &&
		one.out_owner_root == got->out_owner_root &&
		one.out_owner_va == got->out_owner_va &&
		one.out_owner_space == got->out_owner_space);
}

/* Together, they have the answers that they have one by one. */
static void check_batch(struct input *in, struct vmem_spaces *with)
{
	static struct asked asked;
	u32 i, root = choose(in, arena.g->nr_roots);
	int ret;

	memset(&asked, 0, sizeof(asked));
	asked.nr = 1 + choose(in, MAX_VAS);
	asked.piece = 1 + choose(in, MAX_VAS);
	asked.batch = (struct vmem_batch){
		.mem = &arena.g->s->guest->mem,
		.root = &arena.g->roots[root],
		.spaces = with,
		.index = root,
		.brief = choose(in, 2),
	};
	for (i = 0; i < asked.nr; i++)
		asked.vas[i] = choose(in, 4) ? arena_va(&arena, in) :
					       arena_edge(&arena, in);
	ret = ask(&asked);
	if (ret == -ENXIO && !with) {
		REQUIRE(!guest_has(arena.g->s->guest,
				   arena.g->roots[root].table));
		return;
	}
	REQUIRE(!ret && asked.got == asked.nr);
	for (i = 0; i < asked.nr; i++)
		check_answer(&asked, i);
	REQUIRE(guest_is_intact(arena.g->s->guest));
}

static void check_translations(struct input *in)
{
	int i, nr = 1 + choose(in, 8);

	for (i = 0; i < nr; i++) {
		u64 va = choose(in, 4) ? arena_va(&arena, in) :
					 arena_edge(&arena, in);
		u32 root = choose(in, arena.g->nr_roots);

		if (!arena.cow)
			REQUIRE(oracle_check_va(oracle, &spaces, root, va));
	}
	check_batch(in, choose(in, 2) ? &spaces : NULL);
}

/* One space alone, where nothing is known of sharing: small ranges. */
static void check_range(struct input *in)
{
	struct space *s = arena.g->s;
	u64 va = choose(in, 2) ? arena_va(&arena, in) : arena_edge(&arena, in);
	u64 last_va = va + choose(in, 65536) * 64ULL;
	struct vmem_range range;
	int ret;

	if (last_va < va)
		last_va = U64_MAX;
	space_set_root(s, arena_gpa(&arena, in));
	recorder_reset(whole);
	range = space_range(s, va, last_va, whole);
	ret = space_flatten(s, &range, U64_MAX);
	if (ret == -ENXIO || ret == -ENOSPC)
		return;
	REQUIRE(!ret && recorder_is_merged(whole));
	if (!arena.cow) {
		REQUIRE(space_check_range(s, va, last_va, whole,
					  range.anomalies));
		REQUIRE(space_check_walk(s, va, last_va));
	}
	recorder_reset(pieces);
	range = space_range(s, va, last_va, pieces);
	ret = space_flatten(s, &range, some_budget(in));
	REQUIRE(!ret || ret == -ENOSPC);
	if (ret)
		return;
	recorder_merge(pieces);
	REQUIRE(recorder_equal(pieces, whole));
	REQUIRE(guest_is_intact(s->guest));
}

/* All of a space's paths, of which there may be more than atoms. */
static void check_budget(struct input *in)
{
	struct space *s = arena.g->s;
	u64 va = arena_edge(&arena, in), budget = some_budget(in) * 16;
	struct vmem_range range;
	int ret;

	space_set_root(s, arena_gpa(&arena, in));
	recorder_reset(whole);
	range = space_range(s, va, U64_MAX, whole);
	range.budget = budget;
	ret = vmem_virt_to_phys(&range);
	REQUIRE(ret == 0 || ret == VMEM_WALK_STOP || ret == -ENXIO ||
		ret == -ENOSPC);
	REQUIRE(range.budget <= budget && range.va >= va);
	REQUIRE(ret != VMEM_WALK_STOP || !range.budget);
}

/**
 * struct reader - bytes that are read by virtual address
 * @va: the address of the next ones
 * @regs: the space
 */
struct reader {
	u64 va;
	struct vmem_regs regs;
};

static int check_bytes(const void *data, size_t len, void *priv)
{
	struct reader *reader = priv;
	const u8 *bytes = data;
	struct ref ref;

	ref_translate(arena.g->s->guest, &reader->regs, reader->va, &ref);
	REQUIRE(ref.t.out_status == VMEM_MAPPED);
	REQUIRE(len <= SZ_4K - (reader->va & (SZ_4K - 1)));
	REQUIRE(bytes[0] == guest_byte(arena.g->s->guest, ref.t.out_gpa));
	REQUIRE(bytes[len - 1] ==
		guest_byte(arena.g->s->guest, ref.t.out_gpa + (len - 1)));
	reader->va += len;
	return 0;
}

static void check_read(struct input *in)
{
	u32 root = choose(in, arena.g->nr_roots);
	u64 va = arena_va(&arena, in);
	u64 last_va = va + choose_bits(in, 2);
	struct reader reader = { .va = va, .regs = arena.g->regs[root] };
	struct vmem_copy copy = {
		.mem = &arena.g->s->guest->mem,
		.root = &arena.g->roots[root],
		.va = va,
		.last_va = last_va < va ? U64_MAX : last_va,
		.sink = check_bytes,
		.priv = &reader,
	};
	struct ref ref;
	int ret = vmem_read(&copy);

	if (ret == -ENXIO)
		return;
	REQUIRE(copy.va == reader.va);
	if (!ret) {
		REQUIRE(copy.va == copy.last_va + 1);
		return;
	}
	REQUIRE(ret == VMEM_WALK_STOP && copy.va <= copy.last_va);
	ref_translate(arena.g->s->guest, &reader.regs, copy.va, &ref);
	REQUIRE(copy.level == (int)ref.t.out_level);
	REQUIRE(copy.status == ref.t.out_status ||
		(ref.t.out_status == VMEM_MAPPED &&
		 copy.status == VMEM_UNBACKED));
}

/**
 * struct caller - a caller of the walk that answers anything
 * @in: the answers
 * @walk: the walk
 * @left: how many visits it has patience for
 * @next: where the next visit may not be below, unless it moved
 */
struct caller {
	struct input *in;
	struct vmem_walk *walk;
	int left;
};

/* Any answer that the header allows, of these. */
static int answer(const struct vmem_visit *visit, void *priv,
		  const int *answers, u32 nr)
{
	struct caller *caller = priv;
	u32 which = choose(caller->in, 16);

	REQUIRE(visit->va <= visit->last_va);
	REQUIRE(visit->last_va <= caller->walk->scope.last_va);
	REQUIRE(visit->base <= visit->va);
	REQUIRE(visit->nr_path >= 0 && visit->nr_path <= arena.mode.top);
	if (!caller->left--)
		return VMEM_WALK_STOP;
	return which < nr ? answers[which] : 0;
}

static int on_table(const struct vmem_visit *visit, void *priv)
{
	static const int answers[] = { VMEM_WALK_SKIP, VMEM_WALK_STOP };

	return answer(visit, priv, answers, ARRAY_SIZE(answers));
}

static int on_reference(const struct vmem_visit *visit, void *priv)
{
	static const int answers[] = { VMEM_WALK_FOLLOW, VMEM_WALK_FOLLOW,
				       VMEM_WALK_FOLLOW, VMEM_WALK_FOLLOW,
				       VMEM_WALK_STOP };

	return answer(visit, priv, answers, ARRAY_SIZE(answers));
}

static int on_page(const struct vmem_visit *visit, void *priv)
{
	static const int answers[] = { VMEM_WALK_STOP, VMEM_WALK_AGAIN,
				       VMEM_WALK_MOVE, -EBADE };
	struct caller *caller = priv;
	struct vmem_scope *scope = &caller->walk->scope;
	int ret = answer(visit, priv, answers, ARRAY_SIZE(answers));
	u64 va;

	if (ret != VMEM_WALK_MOVE)
		return ret;
	va = arena_va(&arena, caller->in);
	if (va < scope->va || va > scope->last_va)
		return 0;
	caller->walk->va = va;
	return VMEM_WALK_MOVE;
}

static int on_anomaly(const struct vmem_visit *visit, void *priv)
{
	static const int answers[] = { VMEM_WALK_SKIP, VMEM_WALK_STOP, -EBADE };

	return answer(visit, priv, answers, ARRAY_SIZE(answers));
}

static int on_space(const struct vmem_root *root, u32 index, u32 alias_of,
		    void *priv)
{
	REQUIRE(alias_of <= index && index < arena.g->nr_roots);
	REQUIRE(root == &arena.g->roots[index]);
	return 0;
}

/* Nothing has changed: that is the only answer there is. */
static int on_torn(const struct vmem_visit *visit, void *priv)
{
	REQUIRE(false);
	return 0;
}

/* Whatever the callbacks answer, the walk stays in its bounds and ends. */
static void check_answers(struct input *in)
{
	struct vmem_walk_ops ops = {
		.space = on_space,
		.table = choose(in, 2) ? on_table : NULL,
		.reference = on_reference,
		.leaf = on_page,
		.hole = choose(in, 2) ? on_page : NULL,
		.anomaly = on_anomaly,
		.torn = on_torn,
		.runs = choose(in, 2),
	};
	struct vmem_seen seen = {};
	bool knows = choose(in, 2);
	struct vmem_walk walk = {
		.mem = &arena.g->s->guest->mem,
		.roots = arena.g->roots,
		.nr_roots = knows ? arena.g->nr_roots : 1,
		.scope = arena.g->scope,
		.seen = knows ? &seen : NULL,
		.claim = choose(in, 4),
		.va = arena.g->scope.va,
		.ops = &ops,
	};
	struct caller caller = { .in = in, .walk = &walk, .left = 2000 };
	int ret, calls = 0;

	if (!knows)
		ops.space = NULL;
	walk.priv = &caller;
	do {
		walk.budget = some_budget(in);
		ret = vmem_walk(&walk);
		REQUIRE(walk.root < walk.nr_roots);
	} while (ret == VMEM_WALK_STOP && ++calls < 40);
	REQUIRE(ret == 0 || ret == VMEM_WALK_STOP || ret == -EBADE ||
		ret == -ENXIO);
	vmem_seen_destroy(&seen);
	REQUIRE(guest_is_intact(arena.g->s->guest));
}

static void check_arena(struct input *in)
{
	if (!arena.cow)
		oracle_run(oracle, arena.g);
	walk_all();
	if (!arena.cow) {
		REQUIRE(oracle_check_walk(oracle, records, &spaces.stats));
		/* What is expanded has no end where tables are full of links. */
		if (arena.nr_entries <= 64)
			REQUIRE(oracle_check_expansion(oracle, records));
	}
	check_translations(in);
	vmem_spaces_destroy(&spaces);
	check_resumed(in);
	check_range(in);
	check_budget(in);
	check_read(in);
	check_answers(in);
}

void fuzz_init(void)
{
	arena_init(&arena);
	oracle = oracle_alloc(NULL);
	records = records_alloc(NULL);
	parts = records_alloc(NULL);
	whole = recorder_alloc(NULL);
	pieces = recorder_alloc(NULL);
}

void fuzz_one(const u8 *data, size_t size)
{
	struct input in = input_of(data, size);

	if (!setjmp(fuzz_start)) {
		arena_make(&arena, &in);
		check_arena(&in);
	}
	fuzz_fail_alloc(0);
	vmem_spaces_destroy(&spaces);
}
