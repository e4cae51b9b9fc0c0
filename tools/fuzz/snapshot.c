// SPDX-License-Identifier: GPL-2.0-only
/*
 * Target: snapshots. Any bytes as tables: in the snapshot, every address leads
 * to the same contents by entries with the same rights, what is no memory is
 * where it was, and what was left out or cannot be read leads nowhere.
 */
#include <linux/errno.h>
#include <linux/limits.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <vmem/snapshot.h>

#include "arena.h"
#include "rebuild.h"

#define MAX_CALLS 200

static struct arena arena;
static struct vmem_snapshot snapshot;
static struct vmem_root built[GROUP_MAX_ROOTS];
static struct guest *tables;

static int make_snapshot(struct input *in)
{
	u64 budget = choose(in, 2) ? U64_MAX : arena.mode.top + choose(in, 600);
	struct guest *guest = arena.g->s->guest;
	int ret, calls = 0;

	do {
		fuzz_fail_alloc(choose(in, 16));
		guest_fail_pin(guest, choose(in, 16), -ENOMEM);
		ret = vmem_snapshot_make(&snapshot, &guest->mem, budget);
		fuzz_fail_alloc(0);
		guest_fail_pin(guest, 0, 0);
	} while ((ret == VMEM_WALK_STOP || ret == -ENOMEM) &&
		 ++calls < MAX_CALLS);
	return ret;
}

/**
 * struct bytes - what is read of the snapshot
 * @at: where it goes
 * @end: no further
 */
struct bytes {
	u8 *at;
	u8 *end;
};

static int sink(const void *data, size_t len, void *priv)
{
	struct bytes *bytes = priv;

	REQUIRE(len <= (size_t)(bytes->end - bytes->at));
	memcpy(bytes->at, data, len);
	bytes->at += len;
	return 0;
}

static void read_snapshot(u64 gpa, void *to, size_t len)
{
	struct bytes bytes = { to, to + len };
	u64 at = gpa;

	REQUIRE(!vmem_snapshot_read(&snapshot, &arena.g->s->guest->mem, &at,
				    gpa + len, sink, &bytes));
	REQUIRE(at == gpa + len && bytes.at == bytes.end);
}

/* The new tables, for the reference to walk. */
static void copy_tables(void)
{
	u32 i;

	guest_reset(tables, false);
	for (i = 0; i < snapshot.nr_made; i++) {
		u64 gpa = snapshot.base + (u64)i * SZ_4K;

		guest_add(tables, gpa);
		read_snapshot(gpa, tables->pages[i].truth, SZ_4K);
		memcpy(tables->pages[i].view, tables->pages[i].truth, SZ_4K);
	}
}

static bool is_allowed(u64 va)
{
	return vmem_scope_holds(&arena.g->scope, va, va);
}

/* Memory of zeros, memory that cannot be read, and none, in all sizes. */
static void make_areas(struct input *in)
{
	static const u64 lens[] = { SZ_4K, 2 * SZ_4K, SZ_1M, SZ_4M, SZ_1G };
	static const int states[] = { 0, 0, -EIO, -EIO, -ENXIO };
	int i, nr = choose(in, GUEST_MAX_AREAS - 1);

	for (i = 0; i < nr; i++) {
		u64 len = lens[choose(in, ARRAY_SIZE(lens))];
		u64 gpa = arena_gpa(&arena, in) & VMEM_PAGE_MASK;

		if (choose(in, 2))
			gpa &= -len;
		guest_add_area(arena.g->s->guest, gpa, len,
			       states[choose(in, ARRAY_SIZE(states))]);
	}
}

/* Are all bytes of the old page the same thing? */
static bool is_uniform(const struct ref *old)
{
	struct vmem_mem *mem = &arena.g->s->guest->mem;
	u64 len = old->t.out_page_size, gpa = old->t.out_gpa & -len;
	int state = guest_state(arena.g->s->guest, gpa);
	u64 done, same;

	for (done = 0; done < len; done += same)
		if (mem->ops->probe(mem, gpa + done, len - done, &same) !=
		    state)
			return false;
	return true;
}

/* No entry of a smaller page can name it. */
static bool is_high(const struct ref *old)
{
	return arena.mode.entry_size == 4 && old->t.out_gpa >> 32;
}

static bool in_extents(u64 gpa)
{
	u32 i;

	for (i = 0; i < snapshot.nr_extents; i++)
		if (gpa - snapshot.extents[i].gpa < snapshot.extents[i].len)
			return true;
	return false;
}

static void check_contents(u64 old, u64 new)
{
	u8 byte;

	if (guest_state(arena.g->s->guest, old)) {
		REQUIRE(new == old);
		return;
	}
	REQUIRE(in_extents(new));
	read_snapshot(new, &byte, 1);
	REQUIRE(byte == guest_byte(arena.g->s->guest, old));
}

/* What is taken from the guest now is missed, and is not zeros. */
static void check_gone(u64 old, u64 new)
{
	struct guest *guest = arena.g->s->guest;
	struct bytes bytes = {};
	u64 at = new;

	if (guest_state(guest, old))
		return;
	guest_add_area(guest, old & VMEM_PAGE_MASK, SZ_4K,
		       old & SZ_4K ? -EIO : -ENXIO);
	REQUIRE(vmem_snapshot_read(&snapshot, &guest->mem, &at, new + 1, sink,
				   &bytes) == -EIO);
	REQUIRE(at == new);
	guest->nr_areas--;
}

static void check_va(u32 root, u64 va)
{
	struct vmem_regs regs = arena.g->regs[root];
	struct ref old, new;
	u32 lost;

	ref_translate(arena.g->s->guest, &regs, va, &old);
	/* What is in it is not encrypted. */
	regs.rules &= VMEM_RULES_AMD | VMEM_RULES_NO_1G;
	regs.cr3 = built[root].table;
	ref_translate(tables, &regs, va, &new);
	if (old.t.out_status != VMEM_MAPPED || !is_allowed(va)) {
		REQUIRE(new.t.out_status != VMEM_MAPPED);
		return;
	}
	if (guest_state(arena.g->s->guest, old.t.out_gpa) == -EIO ||
	    (is_high(&old) && !is_uniform(&old))) {
		REQUIRE(new.t.out_status != VMEM_MAPPED);
		REQUIRE(snapshot.unreadable);
		return;
	}
	REQUIRE(new.t.out_status == VMEM_MAPPED);
	REQUIRE(new.t.out_page_size <= old.t.out_page_size);
	lost = old.t.out_perms & ~new.t.out_perms;
	REQUIRE(!(new.t.out_perms & ~old.t.out_perms));
	REQUIRE(!lost || (snapshot.cow && lost == VMEM_WRITABLE));
	REQUIRE(in_extents(new.t.out_gpa) || new.t.out_gpa == old.t.out_gpa);
	check_contents(old.t.out_gpa, new.t.out_gpa);
	check_gone(old.t.out_gpa, new.t.out_gpa);
}

static void check_arena(struct input *in)
{
	static const u64 bases[] = { 0,		 SZ_4K,	     0x20000000,
				     0xe5400000, 0xfffff000, 0xfffffff000 };
	int i, ret, nr = 1 + choose(in, 40);

	snapshot.rebuild.roots = arena.g->roots;
	snapshot.rebuild.nr_roots = arena.g->nr_roots;
	snapshot.rebuild.scope = arena.g->scope;
	snapshot.rebuild.built = built;
	snapshot.base = choose(in, 8) ? bases[choose(in, ARRAY_SIZE(bases))] :
					choose_bits(in, 8) & VMEM_PAGE_MASK;
	snapshot.cow = arena.cow && choose(in, 2);
	snapshot.strict = !choose(in, 8);
	ret = make_snapshot(in);
	REQUIRE(guest_is_intact(arena.g->s->guest));
	if (ret) {
		REQUIRE(ret == VMEM_WALK_STOP || ret == -ENOMEM ||
			ret == -ERANGE || ret == -EADDRINUSE ||
			(ret == -EIO && snapshot.strict));
		return;
	}
	REQUIRE(!snapshot.strict || !snapshot.unreadable);
	REQUIRE(snapshot.done && snapshot.nr_extents >= 1 &&
		snapshot.nr_extents <= VMEM_MAX_EXTENTS);
	copy_tables();
	for (i = 0; i < nr; i++)
		check_va(choose(in, arena.g->nr_roots),
			 choose(in, 4) ? arena_va(&arena, in) :
					 arena_edge(&arena, in));
}

void fuzz_init(void)
{
	arena_init(&arena);
	arena.longest = 40;
	tables = guest_alloc(NULL);
}

void fuzz_one(const u8 *data, size_t size)
{
	struct input in = input_of(data, size);

	if (!setjmp(fuzz_start)) {
		arena_make(&arena, &in);
		arena_align_scope(&arena);
		make_areas(&in);
		check_arena(&in);
	}
	fuzz_fail_alloc(0);
	vmem_snapshot_destroy(&snapshot);
	memset(&snapshot, 0, sizeof(snapshot));
}
