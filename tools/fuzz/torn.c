// SPDX-License-Identifier: GPL-2.0-only
/*
 * Target: a guest that writes to its tables all the time: before any load of an
 * entry and before any pin, as the input says, it changes some, or takes a page
 * away. What the core answers then is of the guest's making. It has to stay in
 * what it has pinned, to end, and to give everything back.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <vmem/snapshot.h>

#include "arena.h"
#include "tables.h"

#define MAX_CALLS 60

static struct arena arena;
static struct input *input;
static struct vmem_spaces spaces;
static struct vmem_snapshot snapshot;
static struct vmem_root built[GROUP_MAX_ROOTS];
static struct records *records;
static struct recorder *recorder;
/* So many loads until the guest does something. */
static u32 quiet;

static bool is_pinned(const void *entry, size_t size)
{
	const struct guest *guest = arena.g->s->guest;
	int i;

	for (i = 0; i < guest->nr_pages; i++) {
		const struct guest_page *page = &guest->pages[i];
		u64 offset = (const u8 *)entry - page->view;

		if (offset <= SZ_4K - size)
			return page->pins;
	}
	return false;
}

/* Also of new tables, which are the core's own. */
static bool is_made(const void *entry, size_t size)
{
	u32 i;

	for (i = 0; i < snapshot.nr_made; i++) {
		u64 offset = entry - snapshot.made[i].page;

		if (offset <= SZ_4K - size)
			return true;
	}
	return false;
}

static void change(void)
{
	if (quiet--)
		return;
	arena_write(&arena, input);
	quiet = choose(input, 24);
}

static void before_load(const void *entry, size_t size)
{
	REQUIRE(is_pinned(entry, size) || is_made(entry, size));
	change();
}

static const struct vmem_mem_ops *guest_ops;

/* The page may be gone by now, and come back. */
static const void *pin(struct vmem_mem *mem, u64 gpa)
{
	change();
	if (!choose(input, 32))
		guest_fail_pin(arena.g->s->guest, 1,
			       choose(input, 2) ? -ENXIO : -ENOMEM);
	return guest_ops->pin(mem, gpa);
}

static void unpin(struct vmem_mem *mem, u64 gpa, const void *page)
{
	guest_ops->unpin(mem, gpa, page);
}

static int probe(struct vmem_mem *mem, u64 gpa, u64 len, u64 *same)
{
	static const int answers[] = { 0, -ENXIO, -EIO };
	int ret;

	change();
	ret = guest_ops->probe(mem, gpa, len, same);
	return choose(input, 16) ? ret : answers[choose(input, 3)];
}

static const struct vmem_mem_ops changing_ops = {
	.pin = pin,
	.unpin = unpin,
	.probe = probe,
};

static bool is_plausible(int ret)
{
	return !ret || ret == VMEM_WALK_STOP || ret == -ENOMEM || ret == -ENXIO;
}

static void walk(void)
{
	u64 before, budget = arena.mode.top + choose(input, 3000);
	int ret, calls = 0;

	group_begin(arena.g, &spaces);
	do {
		before = spaces.stats.entries;
		records_reset(records);
		records->room = 1 + choose(input, 256);
		ret = group_walk(arena.g, &spaces, budget, records);
		REQUIRE(is_plausible(ret) && ret != -ENXIO);
		REQUIRE(spaces.stats.entries - before <= budget);
		REQUIRE(records->nr <= records->room);
	} while (ret && ++calls < MAX_CALLS);
}

static struct vmem_entry entry_at(const struct vmem_translation *t, u32 i)
{
	const struct vmem_mode *mode = &arena.g->roots[0].mode;

	return vmem_decode(mode, arena.mode.top - i, t->out_trace[i].raw);
}

/*
 * Whatever the guest did, the path that is told leads where the answer says: no
 * entry was read twice, once for this and once for that.
 */
static void check_path(u64 va, const struct vmem_translation *t)
{
	u32 i, perms = ALL_PERMS, last = t->out_nr_trace - 1;
	struct vmem_entry entry;
	u64 size;

	for (i = 0; i <= last; i++) {
		u64 index = t->out_trace[i].entry_gpa / arena.mode.entry_size;

		int level = arena.mode.top - i;

		size = space_span(arena.g->s, level);
		REQUIRE(((va / size ^ index) &
			 (mode_entries(&arena.mode, level) - 1)) == 0);
		entry = entry_at(t, i);
		perms &= entry.perms;
		if (i == last)
			break;
		REQUIRE(entry.kind == VMEM_ENTRY_TABLE);
		REQUIRE(entry.addr ==
			(t->out_trace[i + 1].entry_gpa & VMEM_PAGE_MASK));
	}
	if (t->out_status != VMEM_MAPPED)
		return;
	if (arena.cow &&
	    vmem_is_cow(&arena.g->roots[0].mode, t->out_trace[last].raw))
		perms &= ~VMEM_WRITABLE;
	REQUIRE(entry.kind == VMEM_ENTRY_LEAF && t->out_perms == perms);
	REQUIRE(t->out_gpa == entry.addr + (va & (size - 1)));
}

static void check_answer(u64 va, const struct vmem_translation *t)
{
	REQUIRE(t->out_nr_trace <= (u32)arena.mode.top);
	if (t->out_nr_trace && t->out_status != VMEM_TORN)
		check_path(va, t);
	if (t->out_status != VMEM_MAPPED) {
		REQUIRE(t->out_status <= VMEM_TORN);
		REQUIRE(!t->out_gpa && !t->out_perms && !t->out_page_size);
		return;
	}
	REQUIRE(t->out_nr_trace == arena.mode.top - t->out_level + 1);
	REQUIRE(t->out_page_size == space_span(arena.g->s, t->out_level));
	REQUIRE(t->out_owner_root < arena.g->nr_roots);
}

static void translate(void)
{
	static struct vmem_translation results[24];
	u64 vas[ARRAY_SIZE(results)];
	u32 i, index = choose(input, arena.g->nr_roots);
	bool shared = choose(input, 2) && spaces.done;
	struct vmem_batch batch = {
		.mem = &arena.g->s->guest->mem,
		.root = &arena.g->roots[index],
		.spaces = shared ? &spaces : NULL,
		.index = index,
		.vas = vas,
		.results = results,
		.nr = 1 + choose(input, ARRAY_SIZE(results)),
	};
	int ret;

	memset(results, 0xa5, sizeof(results));
	for (i = 0; i < batch.nr; i++)
		vas[i] = choose(input, 4) ? arena_va(&arena, input) :
					    arena_edge(&arena, input);
	ret = group_translate(&batch);
	REQUIRE(is_plausible(ret) && (!ret == (batch.done == batch.nr)));
	for (i = 0; i < batch.done; i++)
		check_answer(vas[i], &results[i]);
}

static void flatten(void)
{
	u64 va = arena_edge(&arena, input), budget = 4 + choose(input, 2000);
	struct vmem_range range;
	int ret;

	recorder_reset(recorder);
	space_set_root(arena.g->s, arena_gpa(&arena, input));
	range = space_range(arena.g->s, va, U64_MAX, recorder);
	range.budget = budget;
	ret = vmem_virt_to_phys(&range);
	REQUIRE(is_plausible(ret) || ret == -ENOSPC);
	REQUIRE(range.budget <= budget && (!ret || range.va >= va));
}

static int take_data(const void *data, size_t len, void *priv)
{
	static u8 page[SZ_4K];

	REQUIRE(len <= sizeof(page));
	memcpy(page, data, len);
	return 0;
}

static void read_memory(void)
{
	struct vmem_copy copy = {
		.mem = &arena.g->s->guest->mem,
		.root = &arena.g->roots[choose(input, arena.g->nr_roots)],
		.va = arena_va(&arena, input),
		.sink = take_data,
	};

	copy.last_va = copy.va | choose_bits(input, 2);
	REQUIRE(is_plausible(vmem_read(&copy)));
}

static void make_snapshot(void)
{
	u64 at = 0x20000000, budget = 4 + choose(input, 3000);
	struct vmem_mem *mem = &arena.g->s->guest->mem;
	int ret, calls = 0;

	arena_align_scope(&arena);
	snapshot.rebuild.roots = arena.g->roots;
	snapshot.rebuild.nr_roots = arena.g->nr_roots;
	snapshot.rebuild.scope = arena.g->scope;
	snapshot.rebuild.built = built;
	snapshot.base = at;
	snapshot.cow = arena.cow;
	do
		ret = vmem_snapshot_make(&snapshot, mem, budget);
	while ((ret == VMEM_WALK_STOP || ret == -ENOMEM) &&
	       ++calls < MAX_CALLS);
	REQUIRE(is_plausible(ret) || ret == -EAGAIN || ret == -ERANGE ||
		ret == -EADDRINUSE);
	if (!ret)
		vmem_snapshot_read(&snapshot, mem, &at,
				   at + (snapshot.nr_made + 4ULL) * SZ_4K,
				   take_data, NULL);
}

static void check_arena(void)
{
	struct vmem_mem *mem = &arena.g->s->guest->mem;
	int i;

	guest_ops = mem->ops;
	mem->ops = &changing_ops;
	fuzz_guest = before_load;
	quiet = choose(input, 24);
	walk();
	for (i = 0; i < 3; i++)
		translate();
	flatten();
	read_memory();
	make_snapshot();
	fuzz_guest = NULL;
	mem->ops = guest_ops;
	REQUIRE(guest_is_intact(arena.g->s->guest));
}

void fuzz_init(void)
{
	arena_init(&arena);
	arena.longest = 40;
	arena.steady = true;
	records = records_alloc(NULL);
	recorder = recorder_alloc(NULL);
}

void fuzz_one(const u8 *data, size_t size)
{
	/* What is there to begin with, and what comes. */
	struct input in = input_of(data, size / 2);
	struct input later = input_of(data + size / 2, size - size / 2);

	arena_make(&arena, &in);
	input = &later;
	check_arena();
	vmem_spaces_destroy(&spaces);
	vmem_snapshot_destroy(&snapshot);
	memset(&snapshot, 0, sizeof(snapshot));
}
