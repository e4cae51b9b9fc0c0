// SPDX-License-Identifier: GPL-2.0-only
/*
 * Target: writing. Mappings, links and what takes them away, in any order, in
 * tables that are any bytes or were made by nothing else; tables that move, and
 * tables, writes and memory that are not to be had.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "arena.h"
#include "tables.h"

/* More than this many tables are not to be had. */
#define MAX_PAGES 200

static struct arena arena;
static struct tables *fixed;
static struct tables *movable;
static struct tables *tables;
static struct guest *before;
static struct vmem_root from[GROUP_MAX_ROOTS];
static bool grown;

static int some_level(struct input *in)
{
	return 1 + choose(in, arena.mode.top);
}

/* The errnos that the header has, and those of @tables. */
static bool is_documented(int ret)
{
	switch (ret) {
	case -EINVAL:
	case -ERANGE:
	case -EEXIST:
	case -EACCES:
	case -EIO:
	case -EMLINK:
	case -ENXIO:
	case -ENOENT:
	case -ENOMEM:
	case -EBADE:
		return true;
	}
	return ret >= 0 && ret <= VMEM_MAP_ABSENT;
}

/* After these, the tables are as they were. */
static bool is_refusal(int ret)
{
	return ret == -EINVAL || ret == -EEXIST || ret == -EACCES ||
	       ret == -EIO || ret == -ENOENT;
}

/* Where something was mapped, or linked to: there is more to come upon. */
static struct place {
	u32 root;
	u64 va;
} places[8];
static u32 nr_places;

static void note_place(u32 root, u64 va)
{
	places[nr_places++ % ARRAY_SIZE(places)] =
		(struct place){ .root = root, .va = va };
}

static struct place some_place(struct input *in)
{
	u32 nr = min_t(u32, nr_places, ARRAY_SIZE(places));

	if (nr && choose(in, 4))
		return places[choose(in, nr)];
	return (struct place){
		.root = choose(in, arena.g->nr_roots),
		.va = arena_edge(&arena, in),
	};
}

static struct vmem_mapping some_mapping(struct input *in, u64 at)
{
	u64 size = space_span(arena.g->s, some_level(in));
	u64 va = at & ~(choose(in, 16) ? size - 1 : 0);
	u64 nr = 1 + (choose(in, 4) ? choose(in, 4) : choose(in, 64));
	struct vmem_mapping mapping = {
		.va = va,
		.last_va = va + (size * nr - 1),
		.page_size = size,
		.kind = choose(in, 4) ? VMEM_KIND_BASIC : choose(in, 4),
		.perms = choose(in, 8),
	};

	if (choose(in, 4))
		mapping.gpa = arena_gpa(&arena, in) & -size;
	else
		mapping.gpa = choose_bits(in, 7) & -size;
	/* Where tables lead back to themselves, there is no end to a large range. */
	if (!grown && mapping.last_va - va >= 4 * SZ_1G)
		mapping.last_va = va + (4 * SZ_1G - 1);
	if (mapping.last_va < va)
		mapping.last_va = U64_MAX;
	return mapping;
}

static struct vmem_reference some_reference(struct input *in)
{
	struct place owner = some_place(in);
	struct vmem_reference reference = {
		.table = choose(in, VMEM_TABLE_PAE_PD + 1),
		.perms = choose(in, 8),
		.space = from[owner.root].table,
		.our_va = arena_edge(&arena, in),
		.their_va = owner.va,
		.owner_root = owner.root,
	};

	if (!choose(in, 32))
		reference.owner_root++;
	return reference;
}

/* Entries such as a walk could have found on the way. */
static void some_path(struct input *in, struct vmem_trace *path)
{
	u64 mask = arena.mode.entry_size == 8 ? U64_MAX : U32_MAX;
	int i;

	for (i = 0; i < VMEM_MAX_LEVELS; i++)
		path[i].raw = (choose_bits(in, 8) & mask) | PTE_P;
}

/* The page that was mapped last is where it was to be. */
static void check_mapped(u32 root, const struct vmem_mapping *mapping)
{
	struct ref ref;

	ref_translate(arena.g->s->guest, &arena.g->regs[root], mapping->last_va,
		      &ref);
	if (mapping->kind == VMEM_KIND_UNMAPPED) {
		REQUIRE(ref.t.out_status != VMEM_MAPPED);
		return;
	}
	REQUIRE(ref.t.out_status == VMEM_MAPPED);
	REQUIRE(ref.t.out_gpa ==
		mapping->gpa + (mapping->last_va - mapping->va));
	REQUIRE(ref.t.out_page_size == mapping->page_size);
	REQUIRE(ref.t.out_perms == mapping->perms);
}

/* The table of a level that is on the path; 0 if the path ends above. */
static u64 table_on_path(u32 root, u64 va, int level)
{
	u32 depth = arena.mode.top - level;
	struct ref ref;

	ref_translate(arena.g->s->guest, &arena.g->regs[root], va, &ref);
	return ref.t.out_nr_trace > depth ?
		       ref.t.out_trace[depth].entry_gpa & VMEM_PAGE_MASK :
		       0;
}

/* Both come by the same table now, or there was none and is none. */
static void check_linked(u32 root, const struct vmem_reference *reference,
			 bool linked)
{
	static const int levels[] = {
		[VMEM_TABLE_I686_PT] = VMEM_LEVEL_PT,
		[VMEM_TABLE_AMD64_PT] = VMEM_LEVEL_PT,
		[VMEM_TABLE_AMD64_PD] = VMEM_LEVEL_PD,
		[VMEM_TABLE_AMD64_PDPT] = VMEM_LEVEL_PDPT,
		[VMEM_TABLE_AMD64_PML4] = VMEM_LEVEL_PML4,
		[VMEM_TABLE_PAE_PT] = VMEM_LEVEL_PT,
		[VMEM_TABLE_PAE_PD] = VMEM_LEVEL_PD,
	};
	int level = levels[reference->table];
	u64 ours = table_on_path(root, reference->our_va, level);
	u64 theirs = table_on_path(reference->owner_root, reference->their_va,
				   level);

	REQUIRE(ours == theirs && !theirs == !linked);
}

/**
 * struct tried - what a call was to do
 * @unmap: take pages away
 * @single: write to one entry, and make the tables on the way to it
 * @path: entries were given as well, which need not fit what is to be granted
 */
struct tried {
	bool unmap;
	bool single;
	bool path;
};

static int map(struct input *in, struct tried *tried)
{
	struct place at = some_place(in);
	struct vmem_mapping mapping = some_mapping(in, at.va);
	int ret = vmem_map(&tables->t, &arena.g->roots[at.root], &mapping);

	REQUIRE(ret <= 0);
	tried->unmap = mapping.kind == VMEM_KIND_UNMAPPED;
	tried->single = !tried->unmap &&
			mapping.last_va - mapping.va == mapping.page_size - 1;
	if (!ret && grown)
		check_mapped(at.root, &mapping);
	if (!ret)
		note_place(at.root, mapping.last_va);
	return ret;
}

static int map_aware(struct input *in, struct tried *tried)
{
	struct vmem_built built = {
		.tables = &tables->t,
		.from = from,
		.roots = arena.g->roots,
		.nr = arena.g->nr_roots,
	};
	struct vmem_record record = {
		.type = VMEM_SPACE + choose(in, 4),
		.root = choose(in, arena.g->nr_roots + 1),
	};
	struct vmem_trace entries[VMEM_MAX_LEVELS];
	struct place at = some_place(in);
	int ret;

	if (record.type == VMEM_ALIASING || choose(in, 3)) {
		record.type = VMEM_ALIASING;
		record.reference = some_reference(in);
		at.va = record.reference.our_va;
	} else {
		record.mapping = some_mapping(in, at.va);
	}
	tried->path = !choose(in, 3);
	tried->single = record.type == VMEM_ALIASING;
	some_path(in, entries);
	ret = vmem_space_aware_map(&built, &record,
				   tried->path ? entries : NULL);
	if (ret >= 0 && grown && record.type == VMEM_ALIASING)
		check_linked(record.root, &record.reference, !ret);
	if (!ret)
		note_place(record.root, at.va);
	return ret;
}

static void fail_something(struct input *in)
{
	u32 nth = 1 + choose(in, 8);

	/* Of the errnos, and of what an op must not answer. */
	tables->fail_with = choose(in, 4) ? 0 : 1 + choose(in, 8);
	switch (choose(in, 8)) {
	case 0:
		tables->fail_alloc = nth;
		break;
	case 1:
		tables->fail_write = nth;
		break;
	case 2:
		tables->fail_update = nth;
		break;
	case 3:
		fuzz_fail_alloc(nth);
		break;
	case 4:
		guest_fail_pin(arena.g->s->guest, nth, -ENOMEM);
	}
}

static void fail_no_more(void)
{
	fuzz_fail_alloc(0);
	guest_fail_pin(arena.g->s->guest, 0, 0);
	tables->fail_alloc = 0;
	tables->fail_write = 0;
	tables->fail_update = 0;
	tables->fail_with = 0;
}

static void check_op(struct input *in)
{
	bool aware = choose(in, 3) == 0, refused;
	struct tried tried = {};
	int ret;

	guest_copy(before, arena.g->s->guest);
	if (before->nr_pages > MAX_PAGES)
		fuzz_too_much();
	if (tables == movable && !choose(in, 16))
		tables_freeze(tables);
	fail_something(in);
	ret = aware ? map_aware(in, &tried) : map(in, &tried);
	refused = tried.single && ret == -EMLINK;
	if (!tried.path && !tables->fail_with)
		refused |= is_refusal(ret);
	fail_no_more();
	REQUIRE(is_documented(ret));
	REQUIRE(aware || ret <= 0);
	/* In tables that lead back to themselves, a write changes the way. */
	if (grown && refused)
		REQUIRE(guest_equal(before, arena.g->s->guest));
	if (tried.unmap && tables == fixed)
		REQUIRE(arena.g->s->guest->nr_pages == before->nr_pages);
	REQUIRE(guest_is_intact(arena.g->s->guest));
	REQUIRE(!tables->nr_frozen || tables_kept(tables));
}

static void make(struct input *in)
{
	u8 how = choose(in, 256);
	u32 i;

	grown = how & 1;
	arena.empty = grown;
	arena_make(&arena, in);
	tables = how & 2 ? movable : fixed;
	nr_places = 0;
	tables->nr_frozen = 0;
	tables->t.used = how & 8;
	tables_forget(tables);
	for (i = 0; i < arena.g->nr_roots; i++)
		from[i] = arena.g->roots[i];
	if (tables == movable)
		REQUIRE(!vmem_tables_learn(&tables->t, arena.g->roots,
					   arena.g->nr_roots));
	if (tables == movable && how & 4)
		tables_freeze(tables);
}

void fuzz_init(void)
{
	arena_init(&arena);
	arena.steady = true;
	arena.longest = 40;
	fixed = tables_alloc(NULL, arena.g, false);
	movable = tables_alloc(NULL, arena.g, true);
	tables = fixed;
	before = guest_alloc(NULL);
}

void fuzz_one(const u8 *data, size_t size)
{
	struct input in = input_of(data, size);
	int ops = 0;

	if (!setjmp(fuzz_start)) {
		make(&in);
		while (in.middle < in.end && ops++ < 30)
			check_op(&in);
	}
	fail_no_more();
	vmem_tables_destroy(&tables->t);
}
