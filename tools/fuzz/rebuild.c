// SPDX-License-Identifier: GPL-2.0-only
/*
 * Target: rebuilds. Any bytes as tables: what is built after them maps the same,
 * page for page and record for record, and nothing else, in one call or in many
 * that are short of memory.
 */
#include <linux/errno.h>
#include <linux/limits.h>
#include <linux/sizes.h>

#include "arena.h"
#include "rebuild.h"

#define MAX_CALLS 200

static struct arena arena;
static struct oracle *oracle;
static struct rebuilt *whole;
static struct rebuilt *parts;
static bool begun;

static void begin(struct rebuilt *re)
{
	rebuilt_begin(re);
	begun = true;
}

static void end(void)
{
	if (!begun)
		return;
	rebuilt_end(whole);
	rebuilt_end(parts);
	begun = false;
}

/* Little budget, and pins, tables and memory that are not to be had. */
static int run_in_parts(struct input *in)
{
	u64 budget = arena.mode.top + choose(in, 600);
	struct guest *from = arena.g->s->guest, *to = parts->to->s->guest;
	int ret, calls = 0;

	do {
		fuzz_fail_alloc(choose(in, 8));
		guest_fail_pin(from, choose(in, 8), -ENOMEM);
		guest_fail_pin(to, choose(in, 16), -ENOMEM);
		parts->tb->fail_alloc = choose(in, 8);
		ret = rebuilt_run(parts, budget);
		fuzz_fail_alloc(0);
		guest_fail_pin(from, 0, 0);
		guest_fail_pin(to, 0, 0);
		parts->tb->fail_alloc = 0;
	} while ((ret == VMEM_WALK_STOP || ret == -ENOMEM) &&
		 ++calls < MAX_CALLS);
	return ret;
}

static void check_resumed(struct input *in)
{
	const struct vmem_rebuild_stats *a = &whole->rb.stats;
	const struct vmem_rebuild_stats *b = &parts->rb.stats;
	int ret = run_in_parts(in);

	if (ret == VMEM_WALK_STOP)
		return;
	REQUIRE(!ret);
	REQUIRE(guest_equal(whole->to->s->guest, parts->to->s->guest));
	REQUIRE(a->leaves == b->leaves && a->links == b->links &&
		a->empty_links == b->empty_links && a->dropped == b->dropped);
}

static void check_arena(struct input *in)
{
	whole->cow = arena.cow;
	parts->cow = arena.cow;
	whole->split = choose(in, 8) ? 0 : SZ_2M;
	parts->split = whole->split;
	begin(whole);
	begin(parts);
	REQUIRE(!rebuilt_run(whole, U64_MAX));
	check_resumed(in);
	REQUIRE(guest_is_intact(arena.g->s->guest));
	/* What is expanded has no end where tables are full of links. */
	if (arena.nr_entries <= 64)
		REQUIRE(rebuilt_check_pages(whole));
	if (!arena.cow && !whole->split && arena.nr_entries <= 64)
		REQUIRE(rebuilt_check_walk(whole));
}

void fuzz_init(void)
{
	arena_init(&arena);
	/* Every page takes a few walks. */
	arena.longest = 12;
	oracle = oracle_alloc(NULL);
	whole = rebuilt_alloc(NULL, arena.g, oracle);
	parts = rebuilt_alloc(NULL, arena.g, oracle);
}

void fuzz_one(const u8 *data, size_t size)
{
	struct input in = input_of(data, size);

	if (!setjmp(fuzz_start)) {
		arena_make(&arena, &in);
		arena_align_scope(&arena);
		check_arena(&in);
	}
	fuzz_fail_alloc(0);
	end();
}
