// SPDX-License-Identifier: GPL-2.0-only
/*
 * snapshot.c - VMEM_SNAPSHOT and VMEM_SNAPSHOT_READ, on tables made by hand
 *
 * Every snapshot here is read and looked at with vmem in turn: its spaces are
 * those of the guest but for the names of pages, by check_copy(). What goes for
 * commands as such is tested in uapi.c.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>

#include "copy.h"
#include "ktap.h"
#include "random.h"
#include "world.h"

#define SMALL MB(4)
#define BASE GB(8)
#define BASE_I686 GB(2)
#define KERNEL_VA 0xffff888000000000ULL

/* What a PDE of an i686 guest maps. */
#define PDE(n) (MB(4) * (__u64)(n))

/* ---- What has to be so of every snapshot ---- */

/* The roots that the snapshot has for those of the world, in @cr3. */
static void new_roots(const struct world *w, __u64 base, __u64 *cr3)
{
	__u64 next = base;
	__u32 i, first;

	for (i = 0; i < w->nr; i++) {
		for (first = 0; w->cr3[first] != w->cr3[i]; first++)
			;
		cr3[i] = cr3[first];
		if (first != i)
			continue;
		cr3[i] = next;
		next += PAGE;
	}
}

/* The copy's spaces are the world's. Says how many pages they map. */
static __u64 check_copy(const struct world *w, const struct copy *copy)
{
	static __u64 cr3[WORLD_MAX];
	struct view old = {
		.session = world_open(w),
		.regs = w->spaces.regs,
		.cr3 = w->cr3,
		.nr = w->nr,
		.va = w->spaces.va,
		.last_va = w->spaces.last_va,
		.any_size = w->spaces.va || w->spaces.last_va != ~0ULL,
	};
	struct view new = old;
	__u64 nr;

	new_roots(w, copy->rams[0].gpa, cr3);
	new.session = copy_open(copy);
	new.cr3 = cr3;
	nr = check_same_but_for_names(&old, &new);
	close(old.session);
	close(new.session);
	return nr;
}

/* A snapshot on a session of its own. */
static struct copy take(const struct world *w, __u64 base,
			struct vmem_snapshot_args *made)
{
	int session = world_open(w);
	struct copy copy;
	__u32 nr_calls;

	CHECK_EQ(session_snapshot(session, 0, base, made, &nr_calls), 0);
	copy = copy_read(session, made);
	CHECK_EQ(copy.rams[0].gpa, base);
	close(session);
	return copy;
}

static void check_stats(const struct vmem_snapshot_args *made, __u64 tables,
			__u64 leaves, __u64 links, __u64 empty, __u64 dropped)
{
	CHECK_EQ(made->out_stats.tables, tables);
	CHECK_EQ(made->out_stats.leaves, leaves);
	CHECK_EQ(made->out_stats.links, links);
	CHECK_EQ(made->out_stats.empty_links, empty);
	CHECK_EQ(made->out_stats.dropped, dropped);
}

/* Pages with memory behind them, each with contents of its own. */
static __u64 map_own(struct world *w, struct tables *t, __u64 va, __u64 nr)
{
	__u64 gpa = ram_alloc(&w->ram, nr * PAGE), i;

	for (i = 0; i < nr; i++) {
		memset(ram_ptr(&w->ram, gpa + i * PAGE), (int)(gpa / PAGE + i),
		       PAGE);
		/* Backwards, so that none is contiguous with the next. */
		tables_map(t, va + (nr - 1 - i) * PAGE, gpa + i * PAGE,
			   VMEM_LEVEL_PT, PTE_PWU);
	}
	return gpa;
}

/* ---- What is in it ---- */

static void i686_two_spaces(void)
{
	struct vmem_snapshot_args made;
	struct tables a, b, na, nb;
	struct copy copy;
	struct world w;

	world_init(&w, SMALL);
	a = world_add_i686(&w);
	b = world_add_i686(&w);
	map_own(&w, &a, PDE(1), 3);
	world_share(&b, PDE(9), &a, PDE(1), VMEM_LEVEL_PT, PTE_P | PTE_U);
	map_own(&w, &b, PDE(2), 2);
	copy = take(&w, BASE_I686, &made);
	/* Two roots, the shared table, and B's own. */
	check_stats(&made, 4, 5, 1, 0, 0);
	CHECK_EQ(made.out_nr_extents, 1);
	CHECK_EQ(copy_len(&copy), (4 + 5) * PAGE);
	CHECK_EQ(check_copy(&w, &copy), 8);
	na = copy_tables(&copy, &a, 0);
	nb = copy_tables(&copy, &b, 1);
	CHECK_EQ(world_table(&na, PDE(1), VMEM_LEVEL_PT),
		 world_table(&nb, PDE(9), VMEM_LEVEL_PT));
	CHECK_EQ(tables_walk(&nb, PDE(9)).out_perms,
		 VMEM_USER | VMEM_EXECUTABLE);
	copy_free(&copy);
	world_free(&w);
}

static void amd64_shared_at_every_level(void)
{
	struct vmem_snapshot_args made;
	struct tables a, t;
	struct copy copy;
	struct world w;
	int level;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	map_own(&w, &a, KERNEL_VA, 3);
	for (level = VMEM_LEVEL_PT; level <= VMEM_LEVEL_PDPT; level++) {
		t = world_add_amd64(&w);
		world_share(&t, GB(512) * 3, &a, KERNEL_VA, level, PTE_PWU);
	}
	copy = take(&w, BASE, &made);
	/* The first has 4; of the others, the tables above what they share. */
	check_stats(&made, 4 + 3 + 2 + 1, 3, 3, 0, 0);
	CHECK_EQ(copy_len(&copy), (10 + 3) * PAGE);
	CHECK_EQ(check_copy(&w, &copy), 4 * 3);
	copy_free(&copy);
	world_free(&w);
}

/* A page is there once, wherever and however often it is mapped. */
static void page_mapped_many_times(void)
{
	struct vmem_snapshot_args made;
	struct tables a, b;
	struct copy copy;
	struct world w;
	__u64 gpa, i;

	world_init(&w, SMALL);
	a = world_add_i686(&w);
	b = world_add_i686(&w);
	gpa = map_own(&w, &a, PDE(1), 1);
	for (i = 1; i < 1000; i++)
		tables_map(i % 2 ? &a : &b, PDE(1) + i * PAGE, gpa,
			   VMEM_LEVEL_PT, i % 3 ? PTE_P : PTE_PWU);
	copy = take(&w, BASE_I686, &made);
	check_stats(&made, 4, 1000, 0, 0, 0);
	CHECK_EQ(copy_len(&copy), (4 + 1) * PAGE);
	CHECK_EQ(check_copy(&w, &copy), 1000);
	copy_free(&copy);
	world_free(&w);
}

/* All bits of an entry but its address. */
static void bits_of_entries_stay(void)
{
	const __u64 bits = PTE_P | PTE_U | PTE_A | PTE_D | BIT_ULL(3) |
			   BIT_ULL(4) | BIT_ULL(7) | BIT_ULL(8) | BIT_ULL(10) |
			   BIT_ULL(53) | BIT_ULL(60) | PTE_NX;
	struct vmem_snapshot_args made;
	struct vmem_translation old, new;
	struct tables a, na;
	struct copy copy;
	struct world w;
	int i;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	map_own(&w, &a, 0, 2);
	tables_set(&a, 0, VMEM_LEVEL_PT, tables_walk(&a, 0).out_gpa | bits);
	tables_set(&a, 0, VMEM_LEVEL_PD,
		   world_table(&a, 0, VMEM_LEVEL_PT) | PTE_P | PTE_U | PTE_A |
			   BIT_ULL(11) | BIT_ULL(52));
	copy = take(&w, BASE, &made);
	na = copy_tables(&copy, &a, 0);
	old = tables_walk(&a, 0);
	new = tables_walk(&na, 0);
	CHECK_EQ(new.out_nr_trace, 4);
	for (i = 0; i < 4; i++)
		CHECK_EQ(new.out_trace[i].raw & 0xfff0000000000fff,
			 old.out_trace[i].raw & 0xfff0000000000fff);
	CHECK_EQ(check_copy(&w, &copy), 2);
	copy_free(&copy);
	world_free(&w);
}

static void check_aligned(struct copy *copy, const struct tables *like,
			  __u64 va, __u64 size)
{
	struct tables t = copy_tables(copy, like, 0);
	struct vmem_translation tr = tables_walk(&t, va);

	CHECK_EQ(tr.out_status, VMEM_MAPPED);
	CHECK_EQ(tr.out_page_size, size);
	CHECK_EQ(tr.out_gpa & (size - 1), 0);
}

/* So much is not read as a whole. */
static void check_at(int session, __u64 gpa, __u8 want)
{
	__u8 byte;

	CHECK_EQ(session_snapshot_read(session, gpa, &byte, 1), 0);
	CHECK_EQ(byte, want);
}

/* All of what the others are in is there, once. */
static void check_1g(struct world *w, struct tables *a)
{
	struct vmem_snapshot_args made;
	__u64 gpa;
	__u32 nr_calls;
	int session;

	tables_map(a, GB(512), GB(1), VMEM_LEVEL_PDPT, PTE_P);
	tables_map(a, GB(513), GB(1) + MB(4), VMEM_LEVEL_PD, PTE_P);
	tables_map(a, GB(514), GB(1) + MB(5), VMEM_LEVEL_PT, PTE_PWU);
	w->spaces.va = GB(4);
	session = world_open(w);
	CHECK_EQ(session_snapshot(session, 0, BASE + 5 * PAGE, &made,
				  &nr_calls),
		 0);
	CHECK_EQ(made.out_nr_extents, 3);
	CHECK_EQ(made.out_extents[1].len, MB(4));
	gpa = made.out_extents[2].gpa;
	CHECK_EQ(gpa & (GB(1) - 1), 0);
	CHECK_EQ(made.out_extents[2].len, GB(1));
	check_at(session, gpa + MB(5) - 1, 0);
	check_at(session, gpa + MB(5), 5);
	check_at(session, gpa + MB(6) - 1, 5);
	check_at(session, gpa + MB(6), 0);
	check_at(session, gpa + GB(1) - 1, 7);
	close(session);
}

static void amd64_large_pages(void)
{
	struct guest_ram more = ram_new(GB(1), GB(1) + MB(8));
	struct vmem_snapshot_args made;
	struct tables a;
	struct copy copy;
	struct world w;

	world_init(&w, SMALL);
	world_add_slot(&w, 1, more.gpa, more.hva, more.len);
	a = world_add_amd64(&w);
	map_own(&w, &a, 0, 3);
	memset(more.hva + MB(5), 5, MB(1));
	memset(more.hva + GB(1) - MB(1), 7, MB(1));
	memset(more.hva + GB(1) + MB(4), 9, MB(1));
	tables_map(&a, GB(4), GB(2) + MB(4), VMEM_LEVEL_PD, PTE_PWU);
	tables_map(&a, GB(5), GB(2) + MB(2), VMEM_LEVEL_PD, PTE_PWU);
	/* A small page of a large one is a part of it. */
	tables_map(&a, GB(6), GB(2) + MB(4) + 7 * PAGE, VMEM_LEVEL_PT, PTE_PWU);
	copy = take(&w, BASE + 5 * PAGE, &made);
	CHECK_EQ(made.out_nr_extents, 2);
	CHECK_EQ(made.out_extents[1].len, MB(4));
	CHECK_EQ(copy_len(&copy), MB(4) + (made.out_stats.tables + 3) * PAGE);
	check_aligned(&copy, &a, GB(4), MB(2));
	check_aligned(&copy, &a, GB(5), MB(2));
	CHECK_EQ(check_copy(&w, &copy), 3 + 2 * 512 + 1);
	copy_free(&copy);

	check_1g(&w, &a);
	world_free(&w);
	ram_free(&more);
}

static void i686_large_pages(void)
{
	struct guest_ram more = ram_new(GB(1), MB(16));
	struct vmem_snapshot_args made;
	struct tables a;
	struct copy copy;
	struct world w;

	world_init(&w, SMALL);
	world_add_slot(&w, 1, more.gpa, more.hva, more.len);
	a = world_add_i686(&w);
	map_own(&w, &a, PDE(1), 3);
	memset(more.hva + MB(5), 5, MB(1));
	tables_map(&a, PDE(3), GB(1) + MB(4), VMEM_LEVEL_PD, PTE_PWU);
	tables_map(&a, PDE(4), GB(1) + MB(8), VMEM_LEVEL_PD, PTE_P);
	/* In the second half of its 4 MiB. */
	tables_map(&a, PDE(5), GB(1) + MB(7), VMEM_LEVEL_PT, PTE_PWU);
	copy = take(&w, BASE_I686 + MB(1), &made);
	CHECK_EQ(made.out_nr_extents, 2);
	CHECK_EQ(made.out_extents[1].len, MB(8));
	check_aligned(&copy, &a, PDE(3), MB(4));
	check_aligned(&copy, &a, PDE(4), MB(4));
	CHECK_EQ(check_copy(&w, &copy), 3 + 2 * 1024 + 1);
	copy_free(&copy);
	world_free(&w);
	ram_free(&more);
}

/* What is left of a large page is mapped by smaller ones. */
static void part_of_a_large_page(void)
{
	static const struct vmem_span excluded = { GB(1) + 5 * PAGE,
						   GB(1) + 6 * PAGE - 1 };
	struct guest_ram more = ram_new(GB(1), MB(4));
	struct vmem_snapshot_args made;
	struct tables a, na;
	struct copy copy;
	struct world w;

	world_init(&w, SMALL);
	world_add_slot(&w, 1, more.gpa, more.hva, more.len);
	memset(more.hva, 3, MB(2));
	a = world_add_amd64(&w);
	tables_map(&a, GB(1), GB(1), VMEM_LEVEL_PD, PTE_PWU);
	w.spaces.excluded = &excluded;
	w.spaces.nr_excluded = 1;
	copy = take(&w, BASE, &made);
	CHECK_EQ(made.out_stats.leaves, 511);
	CHECK_EQ(copy_len(&copy), (4 + 511) * PAGE);
	na = copy_tables(&copy, &a, 0);
	CHECK_EQ(tables_walk(&na, GB(1)).out_page_size, PAGE);
	CHECK_EQ(tables_walk(&na, excluded.va).out_status, VMEM_NOT_PRESENT);
	CHECK_EQ(tables_walk(&na, GB(1) + 6 * PAGE).out_status, VMEM_MAPPED);
	copy_free(&copy);
	world_free(&w);
	ram_free(&more);
}

static void range_and_exclusions(void)
{
	static const struct vmem_span excluded[] = {
		{ PDE(1) + PAGE, PDE(1) + 2 * PAGE - 1 },
		{ PDE(7), PDE(8) - 1 },
	};
	struct vmem_snapshot_args made;
	struct tables a, b, nb;
	struct copy copy;
	struct world w;

	world_init(&w, SMALL);
	a = world_add_i686(&w);
	b = world_add_i686(&w);
	map_own(&w, &a, PDE(1), 3);
	map_own(&w, &a, 0, 3);
	world_share(&b, PDE(7), &a, PDE(1), VMEM_LEVEL_PT, PTE_PWU);
	world_share(&b, PDE(5), &a, PDE(1), VMEM_LEVEL_PT, PTE_PWU);
	w.spaces.va = PAGE;
	w.spaces.excluded = excluded;
	w.spaces.nr_excluded = 2;
	copy = take(&w, BASE_I686, &made);
	/* Of A, what is not left out; of B, a table that shows all of it. */
	check_stats(&made, 2 + 2 + 1, 2 + 2 + 3, 0, 0, 0);
	CHECK_EQ(copy_len(&copy), (5 + 5) * PAGE);
	nb = copy_tables(&copy, &b, 1);
	CHECK_EQ(tables_walk(&nb, PDE(5) + PAGE).out_status, VMEM_MAPPED);
	CHECK_EQ(tables_walk(&nb, PDE(7)).out_status, VMEM_NOT_PRESENT);
	copy_free(&copy);
	world_free(&w);
}

static void scope_of_parts_of_pages(void)
{
	static const struct vmem_span spans[] = {
		{ PAGE + 1, 2 * PAGE - 1 },
		{ PAGE, 2 * PAGE },
	};
	struct vmem_snapshot_args made;
	struct tables a;
	struct world w;
	int session, i;

	world_init(&w, SMALL);
	a = world_add_i686(&w);
	map_own(&w, &a, 0, 3);
	for (i = 0; i < 2; i++) {
		w.spaces.va = spans[i].va;
		w.spaces.last_va = spans[i].last_va;
		session = world_open(&w);
		CHECK_EQ(session_snapshot_once(session, 0, BASE_I686, &made),
			 -EINVAL);
		close(session);
	}
	w.spaces.va = 0;
	w.spaces.last_va = ~0ULL;
	w.spaces.nr_excluded = 1;
	for (i = 0; i < 2; i++) {
		w.spaces.excluded = &spans[i];
		session = world_open(&w);
		CHECK_EQ(session_snapshot_once(session, 0, BASE_I686, &made),
			 -EINVAL);
		close(session);
	}
	world_free(&w);
}

static void roots_given_twice(void)
{
	struct vmem_snapshot_args made;
	struct tables a, b;
	struct copy copy;
	struct world w;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	world_add_root(&w, &a);
	b = world_add_amd64(&w);
	world_add_root(&w, &a);
	map_own(&w, &a, 0, 2);
	map_own(&w, &b, 0, 2);
	copy = take(&w, BASE, &made);
	check_stats(&made, 8, 4, 0, 0, 0);
	CHECK_EQ(check_copy(&w, &copy), 4 * 2);
	copy_free(&copy);
	world_free(&w);
}

static void entries_that_lead_nowhere(void)
{
	struct vmem_snapshot_args made;
	struct tables a, nowhere, na;
	struct copy copy;
	struct world w;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	nowhere = a;
	nowhere.root = GB(40);
	world_add_root(&w, &nowhere);
	map_own(&w, &a, 0, 2);
	tables_set(&a, MB(2), VMEM_LEVEL_PD, GB(40) | PTE_PWU);
	tables_set(&a, 5 * PAGE, VMEM_LEVEL_PT, GB(1) | BIT_ULL(45) | PTE_PWU);
	/* A table in which there is nothing is left out, and its link. */
	tables_set(&a, GB(3), VMEM_LEVEL_PT, 0);
	world_share(&a, GB(4), &a, GB(3), VMEM_LEVEL_PD, PTE_PWU);
	copy = take(&w, BASE, &made);
	check_stats(&made, 4 + 1, 2, 0, 1, 3);
	CHECK_EQ(check_copy(&w, &copy), 2);
	na = copy_tables(&copy, &a, 0);
	CHECK_EQ(tables_walk(&na, GB(3)).out_level, VMEM_LEVEL_PDPT);
	CHECK_EQ(tables_walk(&na, GB(4)).out_level, VMEM_LEVEL_PDPT);
	copy_free(&copy);
	world_free(&w);
}

/* Its tables are pages too: copies of those of old, that nobody uses. */
static void tables_mapped_as_pages(void)
{
	struct vmem_snapshot_args made;
	struct tables a, na;
	struct copy copy;
	struct world w;
	__u64 pt;

	world_init(&w, SMALL);
	a = world_add_i686(&w);
	map_own(&w, &a, PDE(2), 2);
	pt = world_table(&a, PDE(2), VMEM_LEVEL_PT);
	tables_map(&a, PDE(2) + 9 * PAGE, pt, VMEM_LEVEL_PT, PTE_PWU);
	copy = take(&w, BASE_I686, &made);
	check_stats(&made, 2, 3, 0, 0, 0);
	CHECK_EQ(copy_len(&copy), (2 + 3) * PAGE);
	na = copy_tables(&copy, &a, 0);
	CHECK_EQ(memcmp(copy_ptr(&copy,
				 tables_walk(&na, PDE(2) + 9 * PAGE).out_gpa),
			ram_ptr(&w.ram, pt), PAGE),
		 0);
	CHECK_EQ(check_copy(&w, &copy), 3);
	copy_free(&copy);
	world_free(&w);
}

static void i686_self_map(void)
{
	struct vmem_snapshot_args made;
	struct tables a, na;
	struct copy copy;
	struct world w;

	world_init(&w, SMALL);
	a = world_add_i686(&w);
	map_own(&w, &a, PDE(2), 2);
	tables_set(&a, PDE(1023), VMEM_LEVEL_PD, a.root | PTE_PWU);
	copy = take(&w, BASE_I686, &made);
	/* What it shows are the tables of old, which are pages here. */
	CHECK_EQ(made.out_stats.tables, 3);
	CHECK_EQ(made.out_stats.leaves, 2 + 2);
	na = copy_tables(&copy, &a, 0);
	CHECK_EQ(memcmp(copy_ptr(&copy,
				 tables_walk(&na, -PAGE & 0xffffffff).out_gpa),
			ram_ptr(&w.ram, a.root), PAGE),
		 0);
	CHECK_EQ(check_copy(&w, &copy), 4);
	copy_free(&copy);
	world_free(&w);
}

static void copy_on_write(void)
{
	struct vmem_snapshot_args made;
	struct tables a, b, na, nb;
	struct copy copy;
	struct world w;
	__u32 nr_calls;
	int session;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	b = world_add_amd64(&w);
	map_own(&w, &a, 0, 1);
	tables_set(&a, PAGE, VMEM_LEVEL_PT,
		   ram_alloc(&w.ram, PAGE) | PTE_P | PTE_U);
	tables_map(&b, 0, tables_walk(&a, 0).out_gpa, VMEM_LEVEL_PT,
		   PTE_PWU | BIT_ULL(10));
	session = world_open(&w);
	CHECK_EQ(session_snapshot_once(session, VMEM_SNAPSHOT_COW, BASE, &made),
		 -EINVAL);
	close(session);
	w.spaces.regs.cow_mask = 0xe00;
	w.spaces.regs.cow_value = 0x200;
	session = world_open(&w);
	CHECK_EQ(session_snapshot(session, VMEM_SNAPSHOT_COW, BASE, &made,
				  &nr_calls),
		 0);
	copy = copy_read(session, &made);
	na = copy_tables(&copy, &a, 0);
	nb = copy_tables(&copy, &b, 1);
	CHECK_EQ(tables_walk(&na, 0).out_trace[3].raw & 0xfff,
		 PTE_P | PTE_U | 0x200);
	CHECK_EQ(tables_walk(&na, PAGE).out_trace[3].raw & 0xfff,
		 PTE_P | PTE_U);
	CHECK_EQ(tables_walk(&nb, 0).out_trace[3].raw & 0xfff,
		 PTE_P | PTE_U | 0x200);
	CHECK_EQ(tables_walk(&na, 0).out_gpa, tables_walk(&nb, 0).out_gpa);
	/* The flag is a part of what has been begun, too. */
	CHECK_EQ(session_snapshot_once(session, 0, BASE, &made), -EINVAL);
	close(session);
	copy_free(&copy);
	world_free(&w);
}

/* ---- Where it is ---- */

static void base_is_refused(void)
{
	static const __u64 bases[] = { 1,	    PAGE - 1, BASE + 0x800,
				       BIT_ULL(52), ~0ULL,    -PAGE };
	struct vmem_snapshot_args made;
	struct tables a;
	struct copy copy;
	struct world w;
	size_t i;
	int session;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	map_own(&w, &a, 0, 2);
	session = world_open(&w);
	for (i = 0; i < ARRAY_SIZE(bases); i++)
		CHECK_EQ(session_snapshot_once(session, 0, bases[i], &made),
			 -EINVAL);
	/* Nothing has begun by that. */
	CHECK_EQ(session_snapshot_once(session, 0, 0, &made), 0);
	CHECK_EQ(made.out_more, 0);
	close(session);
	copy = take(&w, 0, &made);
	CHECK_EQ(check_copy(&w, &copy), 2);
	copy_free(&copy);
	/* Over the guest's own memory, which is another machine's. */
	copy = take(&w, w.ram.gpa, &made);
	CHECK_EQ(check_copy(&w, &copy), 2);
	copy_free(&copy);
	world_free(&w);
}

/* MAXPHYADDR is 40 here. */
static void base_out_of_reach(void)
{
	static const __u64 amd64[] = { GB(1024), GB(1024) - PAGE,
				       BIT_ULL(52) - PAGE };
	static const __u64 i686[] = { GB(4), GB(4) - PAGE, GB(4) - 2 * PAGE,
				      GB(64) };
	struct vmem_snapshot_args made;
	struct tables a;
	struct world w;
	size_t i;
	int session, n;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	map_own(&w, &a, 0, 2);
	for (i = 0; i < ARRAY_SIZE(amd64); i++) {
		session = world_open(&w);
		/* And that is the end of it. */
		for (n = 0; n < 2; n++)
			CHECK_EQ(session_snapshot_once(session, 0, amd64[i],
						       &made),
				 -ERANGE);
		CHECK_EQ(session_snapshot_once(session, 0, BASE, &made),
			 -ERANGE);
		close(session);
	}
	world_free(&w);

	world_init(&w, SMALL);
	a = world_add_i686(&w);
	map_own(&w, &a, 0, 2);
	for (i = 0; i < ARRAY_SIZE(i686); i++) {
		session = world_open(&w);
		CHECK_EQ(session_snapshot_once(session, 0, i686[i], &made),
			 -ERANGE);
		close(session);
	}
	world_free(&w);
}

/* A root has to be where CR3 can say, though no entry names it. */
static void root_out_of_reach(void)
{
	struct guest_ram more = ram_new(MB(8), MB(4));
	struct vmem_snapshot_args made;
	struct tables a;
	struct world w;
	int session;

	world_init(&w, SMALL);
	world_add_slot(&w, 1, more.gpa, more.hva, more.len);
	a = world_add_i686(&w);
	tables_map(&a, PDE(1), MB(8), VMEM_LEVEL_PD, PTE_PWU);
	session = world_open(&w);
	CHECK_EQ(session_snapshot_once(session, 0, GB(4), &made), -ERANGE);
	close(session);
	world_free(&w);

	world_init(&w, SMALL);
	world_add_amd64(&w);
	session = world_open(&w);
	CHECK_EQ(session_snapshot_once(session, 0, GB(1024), &made), -ERANGE);
	close(session);
	world_free(&w);
	ram_free(&more);
}

#define DEVICE_GPA GB(9)

static void devices_stay(void)
{
	struct vmem_snapshot_args made;
	struct tables a, na;
	struct copy copy;
	struct world w;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	map_own(&w, &a, 0, 2);
	tables_map(&a, GB(1), DEVICE_GPA, VMEM_LEVEL_PT, PTE_PWU);
	tables_map(&a, GB(2), DEVICE_GPA + MB(2), VMEM_LEVEL_PD, PTE_PWU);
	copy = take(&w, BASE, &made);
	CHECK_EQ(made.out_stats.leaves, 4);
	CHECK_EQ(copy_len(&copy), (made.out_stats.tables + 2) * PAGE);
	na = copy_tables(&copy, &a, 0);
	CHECK_EQ(tables_walk(&na, GB(1)).out_gpa, DEVICE_GPA);
	CHECK_EQ(tables_walk(&na, GB(2)).out_gpa, DEVICE_GPA + MB(2));
	CHECK_EQ(check_copy(&w, &copy), 2 + 1 + 512);
	copy_free(&copy);
	world_free(&w);
}

/* One page of it in the snapshot's last one is enough. */
static void device_in_the_way(void)
{
	const __u64 pages = 6 + 2;
	struct vmem_snapshot_args made;
	struct tables a;
	struct copy copy;
	struct world w;
	int session;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	map_own(&w, &a, 0, 2);
	tables_map(&a, GB(1), DEVICE_GPA, VMEM_LEVEL_PT, PTE_PWU);
	copy = take(&w, DEVICE_GPA - pages * PAGE, &made);
	CHECK_EQ(copy_len(&copy), pages * PAGE);
	copy_free(&copy);
	copy = take(&w, DEVICE_GPA + PAGE, &made);
	copy_free(&copy);

	session = world_open(&w);
	CHECK_EQ(session_snapshot_once(session, 0,
				       DEVICE_GPA - (pages - 1) * PAGE, &made),
		 -EADDRINUSE);
	CHECK_EQ(session_snapshot_once(session, 0,
				       DEVICE_GPA - (pages - 1) * PAGE, &made),
		 -EADDRINUSE);
	CHECK_EQ(session_snapshot_once(session, 0, BASE, &made), -EADDRINUSE);
	CHECK_EQ(session_snapshot_read(session, BASE, &made, 8), -EBUSY);
	close(session);
	session = world_open(&w);
	CHECK_EQ(session_snapshot_once(session, 0, DEVICE_GPA, &made),
		 -EADDRINUSE);
	close(session);
	world_free(&w);
}

/* ---- The order of calls ---- */

static void order_of_calls(void)
{
	struct vmem_snapshot_args made, again;
	struct session_spaces spaces;
	struct tables a;
	struct world w;
	char byte;
	int session;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	map_own(&w, &a, 0, 2);
	spaces = w.spaces;
	session = session_open();
	CHECK_EQ(session_snapshot_once(session, 0, BASE, &made), -ENOTCONN);
	CHECK_EQ(session_snapshot_read(session, BASE, &byte, 1), -ENOTCONN);
	CHECK_EQ(session_attach_kvm(session, w.vm_fd), 0);
	CHECK_EQ(session_snapshot_once(session, 0, BASE, &made), -ENODATA);
	CHECK_EQ(session_snapshot_read(session, BASE, &byte, 1), -ENODATA);
	CHECK_EQ(session_set_spaces(session, &spaces), 0);
	CHECK_EQ(session_snapshot_read(session, BASE, &byte, 1), -EBUSY);

	/* What cannot be, does not begin it. */
	CHECK_EQ(session_snapshot_once(session, 0, 1, &made), -EINVAL);
	CHECK_EQ(session_snapshot_read(session, BASE, &byte, 1), -EBUSY);
	CHECK_EQ(session_snapshot_once(session, 0, BASE, &made), 0);
	CHECK_EQ(made.out_more, 0);
	CHECK_EQ(session_snapshot_read(session, BASE, &byte, 1), 0);

	/* There is one, and it stays. */
	CHECK_EQ(session_snapshot_once(session, 0, BASE + PAGE, &again),
		 -EINVAL);
	CHECK_EQ(session_snapshot_once(session, 0, BASE, &again), 0);
	CHECK_EQ(memcmp(&made, &again, sizeof(made)), 0);
	CHECK_EQ(session_set_spaces(session, &spaces), -EISCONN);
	CHECK_EQ(session_snapshot_read(session, BASE, &byte, 1), 0);
	close(session);
	world_free(&w);
}

/* The walk and the snapshot go their ways, whatever the order. */
static void walk_and_snapshot(void)
{
	struct session_records whole = { .per_call = 64 };
	struct session_records records = { .per_call = 1 };
	struct vmem_snapshot_args made;
	struct tables a, b;
	struct copy copy;
	struct world w;
	bool more = true;
	int session;

	world_init(&w, SMALL);
	a = world_add_i686(&w);
	b = world_add_i686(&w);
	map_own(&w, &a, PDE(1), 5);
	world_share(&b, PDE(9), &a, PDE(1), VMEM_LEVEL_PT, PTE_PWU);
	world_walk(&w, &whole);
	session = world_open(&w);
	CHECK_EQ(session_walk_once(session, &records, &more), 0);
	CHECK_EQ(session_snapshot_once(session, 0, BASE_I686, &made), 0);
	while (more && !ktap_reason[0])
		CHECK_EQ(session_walk_once(session, &records, &more), 0);
	check_same_records("walk around it", &records, whole.rows, whole.nr);
	copy = copy_read(session, &made);
	CHECK_EQ(check_copy(&w, &copy), 10);
	close(session);
	free(records.rows);
	free(whole.rows);
	copy_free(&copy);
	world_free(&w);
}

static void child_asks(void *arg)
{
	const int *session = arg;
	struct vmem_snapshot_args made;
	char byte;

	CHECK_EQ(session_snapshot_once(*session, 0, BASE, &made), -EPERM);
	CHECK_EQ(session_snapshot_read(*session, BASE, &byte, 1), -EPERM);
}

static int open_on_regions(const struct world *w)
{
	const struct vmem_region region = {
		.gpa = w->ram.gpa,
		.len = w->ram.len,
		.hva = (uintptr_t)w->ram.hva,
	};
	int session = session_open();

	CHECK_EQ(session_attach_regions(session, &region, 1), 0);
	CHECK_EQ(session_set_spaces(session, &w->spaces), 0);
	return session;
}

static void regions_of_the_parent(void)
{
	struct vmem_snapshot_args made;
	struct tables a;
	struct world w;
	char byte;
	int session;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	map_own(&w, &a, 0, 2);
	session = open_on_regions(&w);
	ktap_wait(ktap_fork(child_asks, &session));
	CHECK_EQ(session_snapshot_once(session, 0, BASE, &made), 0);
	ktap_wait(ktap_fork(child_asks, &session));
	CHECK_EQ(session_snapshot_read(session, BASE, &byte, 1), 0);
	close(session);
	world_free(&w);
}

/* ---- Reading ---- */

static int read_once(int session, __u64 gpa, __u64 len, void *buf,
		     __u64 *out_len)
{
	struct vmem_snapshot_read_args args = {
		.size = sizeof(args),
		.gpa = gpa,
		.len = len,
		.buf = (uintptr_t)buf,
	};
	int ret = session_call(session, VMEM_SNAPSHOT_READ, &args);

	*out_len = args.out_len;
	return ret;
}

static bool is_all(const __u8 *bytes, size_t len, __u8 value)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (bytes[i] != value)
			return false;
	return true;
}

/* Before, between and behind the pieces there are zeros. */
static void read_where_nothing_is(void)
{
	static __u8 buf[4 * PAGE];
	struct guest_ram more = ram_new(GB(1), MB(4));
	struct vmem_snapshot_args made;
	struct vmem_extent *e = made.out_extents;
	struct tables a;
	struct world w;
	__u32 nr_calls;
	int session;

	world_init(&w, SMALL);
	world_add_slot(&w, 1, more.gpa, more.hva, more.len);
	memset(more.hva, 0xee, more.len);
	a = world_add_amd64(&w);
	map_own(&w, &a, 0, 3);
	tables_map(&a, GB(1), GB(1), VMEM_LEVEL_PD, PTE_PWU);
	session = world_open(&w);
	CHECK_EQ(session_snapshot(session, 0, BASE, &made, &nr_calls), 0);
	CHECK_EQ(made.out_nr_extents, 2);

	CHECK_EQ(session_snapshot_read(session, 0, buf, sizeof(buf)), 0);
	CHECK(is_all(buf, sizeof(buf), 0));
	CHECK_EQ(session_snapshot_read(session, BASE - 2 * PAGE, buf,
				       2 * PAGE + 1),
		 0);
	CHECK(is_all(buf, 2 * PAGE, 0));
	CHECK(buf[2 * PAGE]);
	CHECK_EQ(session_snapshot_read(session, e[0].gpa + e[0].len, buf,
				       sizeof(buf)),
		 0);
	CHECK(is_all(buf, sizeof(buf), 0));
	CHECK_EQ(session_snapshot_read(session, e[1].gpa - 5, buf, 10), 0);
	CHECK(is_all(buf, 5, 0) && is_all(buf + 5, 5, 0xee));
	CHECK_EQ(session_snapshot_read(session, e[1].gpa + e[1].len - 5, buf,
				       sizeof(buf)),
		 0);
	CHECK(is_all(buf, 5, 0xee) && is_all(buf + 5, sizeof(buf) - 5, 0));
	CHECK_EQ(session_snapshot_read(session, ~0ULL - 2 * PAGE, buf, PAGE),
		 0);
	CHECK(is_all(buf, PAGE, 0));
	close(session);
	world_free(&w);
	ram_free(&more);
}

static void read_ranges(void)
{
	static const __u64 pieces[] = { 1, 7, 4095, 4096, 4097, 12345 };
	static __u8 whole[64 * PAGE], parts[64 * PAGE];
	struct vmem_snapshot_args made;
	__u64 at, len, done;
	struct tables a;
	struct world w;
	int session;
	size_t i;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	map_own(&w, &a, 0, 50);
	session = world_open(&w);
	CHECK_EQ(session_snapshot_once(session, 0, BASE, &made), 0);
	len = made.out_extents[0].len;
	CHECK_EQ(len, 54 * PAGE);
	CHECK_EQ(session_snapshot_read(session, BASE, whole, len), 0);
	for (i = 0; i < ARRAY_SIZE(pieces); i++) {
		memset(parts, POISON, sizeof(parts));
		for (at = 0; at < len; at += done) {
			done = len - at < pieces[i] ? len - at : pieces[i];
			CHECK_EQ(session_snapshot_read(session, BASE + at,
						       parts + at, done),
				 0);
		}
		CHECK_EQ(memcmp(whole, parts, len), 0);
		CHECK_EQ(parts[len], POISON);
	}
	CHECK_EQ(read_once(session, BASE, 0, parts, &done), -EINVAL);
	CHECK_EQ(read_once(session, ~0ULL, 2, parts, &done), -EOVERFLOW);
	CHECK_EQ(read_once(session, BASE, ~0ULL, parts, &done), -EOVERFLOW);
	CHECK_EQ(read_once(session, BASE, 8, (void *)~7ULL, &done), -EFAULT);
	CHECK_EQ(read_once(session, BASE, 8, NULL, &done), -EFAULT);
	close(session);
	world_free(&w);
}

/* The tables are as they were; the pages are as they are. */
static void pages_are_read_late(void)
{
	struct vmem_snapshot_args made;
	struct tables a, na;
	struct copy copy;
	struct world w;
	__u64 gpa;
	int session;

	world_init(&w, SMALL);
	a = world_add_i686(&w);
	gpa = map_own(&w, &a, 0, 1);
	session = world_open(&w);
	CHECK_EQ(session_snapshot_once(session, 0, BASE_I686, &made), 0);
	tables_set(&a, 0, VMEM_LEVEL_PT, 0);
	memset(ram_ptr(&w.ram, gpa), 0x77, PAGE);
	copy = copy_read(session, &made);
	na = copy_tables(&copy, &a, 0);
	CHECK_EQ(tables_walk(&na, 0).out_status, VMEM_MAPPED);
	CHECK(is_all(copy_ptr(&copy, tables_walk(&na, 0).out_gpa), PAGE, 0x77));
	close(session);
	copy_free(&copy);
	world_free(&w);
}

/* Not one bit of the guest's memory changes. */
static void guest_stays_as_it_was(void)
{
	struct vmem_snapshot_args made;
	struct tables a, b;
	struct copy copy;
	struct world w;
	void *before;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	b = world_add_amd64(&w);
	map_own(&w, &a, 0, 300);
	world_share(&b, GB(5), &a, 0, VMEM_LEVEL_PD, PTE_PWU);
	before = malloc(w.ram.used);
	must(before ? 0 : -1, "malloc");
	memcpy(before, w.ram.hva, w.ram.used);
	copy = take(&w, BASE, &made);
	CHECK_EQ(memcmp(before, w.ram.hva, w.ram.used), 0);
	free(before);
	copy_free(&copy);
	world_free(&w);
}

/* ---- Size, and being resumed ---- */

#define NR_PTS 900

/* Two roots with 900 PTs each, of which every fifth is shared. */
static void add_many_tables(struct world *w)
{
	struct tables a = world_add_i686(w), b = world_add_i686(w);
	__u64 gpa = ram_alloc(&w->ram, 64 * PAGE), i;

	for (i = 0; i < 64; i++)
		memset(ram_ptr(&w->ram, gpa + i * PAGE), (int)i + 1, PAGE);
	for (i = 0; i < NR_PTS; i++) {
		tables_map(&a, PDE(i), gpa + i % 64 * PAGE, VMEM_LEVEL_PT,
			   PTE_PWU);
		if (i % 5)
			tables_map(&b, PDE(i) + PAGE, gpa + i % 63 * PAGE,
				   VMEM_LEVEL_PT, PTE_PWU);
		else
			world_share(&b, PDE(i), &a, PDE(i), VMEM_LEVEL_PT,
				    PTE_PWU);
	}
}

/* What is in the snapshot of such a world, and how often it is mapped. */
#define MANY_TABLES (2 + NR_PTS + NR_PTS / 5 * 4)

static void check_many(const struct world *w, const struct copy *copy,
		       const struct vmem_snapshot_args *made)
{
	check_stats(made, MANY_TABLES, NR_PTS + NR_PTS / 5 * 4, NR_PTS / 5, 0,
		    0);
	CHECK_EQ(copy_len(copy), (MANY_TABLES + 64) * PAGE);
	CHECK_EQ(check_copy(w, copy), 2 * NR_PTS);
}

static void more_tables_than_pins(void)
{
	struct vmem_snapshot_args made;
	struct vmem_info_args info;
	struct copy copy;
	struct world w;
	__u32 nr_calls;
	char byte;
	int session;

	world_init(&w, MB(16));
	add_many_tables(&w);
	session = world_open(&w);
	CHECK_EQ(session_info(session, &info), 0);
	CHECK(info.out_max_pinned < MANY_TABLES);
	CHECK_EQ(session_snapshot_once(session, 0, BASE_I686, &made), 0);
	CHECK_EQ(made.out_more, 1);
	CHECK_EQ(made.out_nr_extents, 0);
	CHECK(made.out_stats.tables_read <= info.out_max_entries / 1024 + 2);
	CHECK_EQ(session_snapshot_read(session, BASE_I686, &byte, 1), -EBUSY);
	CHECK_EQ(session_snapshot_once(session, 0, BASE_I686 + PAGE, &made),
		 -EINVAL);
	CHECK_EQ(session_snapshot(session, 0, BASE_I686, &made, &nr_calls), 0);
	CHECK(nr_calls <= 2 + MANY_TABLES / 1000);
	printf("# %u calls more for %d tables\n", nr_calls, MANY_TABLES);
	copy = copy_read(session, &made);
	check_many(&w, &copy, &made);
	close(session);
	copy_free(&copy);
	world_free(&w);
}

/**
 * struct poor - somebody who may pin little
 * @w: the world
 * @pages: how many pages may be pinned
 */
struct poor {
	struct world w;
	__u64 pages;
};

static void take_with_few_pins(void *arg)
{
	struct poor *poor = arg;
	const struct rlimit few = { poor->pages * PAGE, poor->pages * PAGE };
	struct vmem_snapshot_args made;
	struct copy copy;
	__u32 nr_calls;
	int session = session_open();
	const struct vmem_region region = {
		.gpa = poor->w.ram.gpa,
		.len = poor->w.ram.len,
		.hva = (uintptr_t)poor->w.ram.hva,
	};

	must(setrlimit(RLIMIT_MEMLOCK, &few), "setrlimit");
	become_nobody();
	CHECK_EQ(session_attach_regions(session, &region, 1), 0);
	CHECK_EQ(session_set_spaces(session, &poor->w.spaces), 0);
	CHECK_EQ(session_snapshot(session, 0, BASE_I686, &made, &nr_calls), 0);
	printf("# %llu pages at a time: %u calls\n", poor->pages, nr_calls);
	copy = copy_read(session, &made);
	check_stats(&made, MANY_TABLES, NR_PTS + NR_PTS / 5 * 4, NR_PTS / 5, 0,
		    0);
	copy_free(&copy);
}

static void few_pins_allowed(void)
{
	static const __u64 pages[] = { 2, 3, 8 };
	static struct poor poor;
	size_t i;

	world_init(&poor.w, MB(16));
	add_many_tables(&poor.w);
	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		poor.pages = pages[i];
		ktap_wait(ktap_fork(take_with_few_pins, &poor));
	}
	world_free(&poor.w);
}

static void take_with_one_pin(void *arg)
{
	static const struct rlimit one = { PAGE, PAGE };
	struct vmem_snapshot_args made;
	const struct poor *poor = arg;
	const struct vmem_region region = {
		.gpa = poor->w.ram.gpa,
		.len = poor->w.ram.len,
		.hva = (uintptr_t)poor->w.ram.hva,
	};
	int session = session_open();
	int i, ret = 0;

	must(setrlimit(RLIMIT_MEMLOCK, &one), "setrlimit");
	become_nobody();
	CHECK_EQ(session_attach_regions(session, &region, 1), 0);
	CHECK_EQ(session_set_spaces(session, &poor->w.spaces), 0);
	for (i = 0; i < 5 && !ret; i++)
		ret = session_snapshot_once(session, 0, BASE_I686, &made);
	/* Says so, rather than to come back for ever. */
	CHECK_EQ(ret, -ENOMEM);
}

static void too_few_pins_allowed(void)
{
	static struct poor poor;

	world_init(&poor.w, MB(16));
	add_many_tables(&poor.w);
	ktap_wait(ktap_fork(take_with_one_pin, &poor));
	world_free(&poor.w);
}

/* As an operating system has them: one kernel, many processes. */
static void add_processes(struct world *w, __u32 nr)
{
	struct tables kernel = world_add_amd64(w), t;
	__u64 i;

	for (i = 0; i < 8; i++)
		map_own(w, &kernel, KERNEL_VA + i * MB(2), 10);
	while (w->nr < nr) {
		t = world_add_amd64(w);
		world_share(&t, KERNEL_VA, &kernel, KERNEL_VA, VMEM_LEVEL_PDPT,
			    PTE_PWU);
		map_own(w, &t, w->nr * MB(2), 2);
	}
}

static void processes(__u32 nr)
{
	const __u64 tables = 1 + 2 + 8 + 4ULL * (nr - 1);
	const __u64 leaves = 80 + 2ULL * (nr - 1);
	struct vmem_snapshot_args made;
	struct copy copy;
	struct world w;
	double start;

	world_init(&w, MB(40));
	add_processes(&w, nr);
	start = seconds();
	copy = take(&w, BASE, &made);
	printf("# %u roots: %llu tables, %llu read, %llu KiB, %.3f s\n", nr,
	       made.out_stats.tables, made.out_stats.tables_read,
	       copy_len(&copy) >> 10, seconds() - start);
	check_stats(&made, tables, leaves, nr - 1, 0, 0);
	CHECK_EQ(copy_len(&copy), (tables + leaves) * PAGE);
	CHECK_EQ(check_copy(&w, &copy), 82ULL * (nr - 1) + 80);
	copy_free(&copy);
	world_free(&w);
}

static void many_processes(void)
{
	processes(40);
	processes(1000);
}

/* ---- Random graphs ---- */

#define POOL 4
#define NR_GRAPH_PAGES 8

/* Tables of every level below the roots, and pages, to be named. */
struct pool {
	__u64 state;
	__u64 tables[VMEM_LEVEL_PML4][POOL];
	__u64 pages;
	__u64 large;
};

/* A table leads to tables of the level below only, so that none is a cycle. */
static __u64 random_entry(struct pool *pool, const struct tables *t, int level)
{
	__u64 kind = random_next(&pool->state) % 8;
	__u64 bits = PTE_P | (random_next(&pool->state) &
			      (PTE_W | PTE_U | PTE_A | PTE_D | BIT_ULL(9)));

	if (level > VMEM_LEVEL_PT && kind < 5)
		return pool->tables[level - 1][random_next(&pool->state) % POOL] |
		       (bits & ~PTE_D);
	if (level == VMEM_LEVEL_PT && kind < 6)
		return (pool->pages +
			random_next(&pool->state) % NR_GRAPH_PAGES * PAGE) |
		       bits;
	if (level == VMEM_LEVEL_PD && kind < 7)
		return (pool->large + random_next(&pool->state) % 2 *
					      tables_page_size(t, level)) |
		       bits | PTE_PS;
	return 0;
}

static void fill_randomly(struct pool *pool, const struct tables *t,
			  __u64 table, int level)
{
	__u64 last = BIT_ULL(t->index_bits) - 1;
	const __u64 slots[] = { 0, 1, 2, 3, last / 2, last / 2 + 1, last };
	__u64 raw;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(slots); i++) {
		raw = random_entry(pool, t, level);
		memcpy(ram_ptr(t->ram, table + slots[i] * (__u64)t->entry_size),
		       &raw, (size_t)t->entry_size);
	}
}

static void random_world(struct world *w, __u64 seed, bool amd64)
{
	struct pool pool = { .state = seed, .large = MB(16) };
	struct tables t;
	int level, i;

	for (i = 0; i < 4; i++)
		t = amd64 ? world_add_amd64(w) : world_add_i686(w);
	pool.pages = ram_alloc(&w->ram, NR_GRAPH_PAGES * PAGE);
	for (i = 0; i < NR_GRAPH_PAGES; i++)
		memset(ram_ptr(&w->ram, pool.pages + (__u64)i * PAGE), i + 1,
		       PAGE);
	for (level = 1; level < t.top; level++)
		for (i = 0; i < POOL; i++)
			pool.tables[level][i] = ram_alloc(&w->ram, PAGE);
	for (level = 1; level < t.top; level++)
		for (i = 0; i < POOL; i++)
			fill_randomly(&pool, &t, pool.tables[level][i], level);
	for (i = 0; i < 4; i++)
		fill_randomly(&pool, &t, w->cr3[i], t.top);
	if (seed % 3 == 0)
		w->cr3[2] = w->cr3[0];
}

/* What is mapped from the middle of it on, by 2-level tables a half of it. */
static void random_scope(struct world *w, __u64 seed, bool amd64)
{
	__u64 state = seed * 77;

	if (seed % 2)
		return;
	w->spaces.va = random_next(&state) % 4096 * PAGE;
	w->spaces.last_va = amd64 ? GB(1) * (1 + random_next(&state) % 3) +
					    random_next(&state) % 4096 * PAGE -
					    1 :
				    GB(2) + MB(3) - 1;
}

static void random_graph(__u64 seed, bool amd64, struct guest_ram *large,
			 __u64 *links)
{
	struct vmem_snapshot_args made;
	struct copy copy;
	struct world w;

	world_init(&w, SMALL);
	world_add_slot(&w, 1, large->gpa, large->hva, large->len);
	random_world(&w, seed, amd64);
	random_scope(&w, seed, amd64);
	copy = take(&w, amd64 ? BASE : BASE_I686, &made);
	check_copy(&w, &copy);
	CHECK_EQ(made.out_stats.dropped, 0);
	*links += made.out_stats.links;
	if (ktap_reason[0])
		printf("# seed %llu\n", seed);
	copy_free(&copy);
	world_free(&w);
}

#define NR_SEEDS 24

static void random_graphs(bool amd64)
{
	struct guest_ram large = ram_new(MB(16), MB(8));
	__u64 seed, links = 0, i;

	for (i = 0; i < large.len / PAGE; i++)
		memset(large.hva + i * PAGE, (int)i, 64);
	for (seed = 1; seed <= NR_SEEDS && !ktap_reason[0]; seed++)
		random_graph(seed, amd64, &large, &links);
	printf("# %d graphs, %llu links\n", NR_SEEDS, links);
	CHECK(links > NR_SEEDS);
	ram_free(&large);
}

static void i686_random_graphs(void)
{
	random_graphs(false);
}

static void amd64_random_graphs(void)
{
	random_graphs(true);
}

/* ---- Threads ---- */

#define NR_THREADS 3

/**
 * struct crowd - threads that make one snapshot
 * @session: the session
 * @nr_busy: calls that found another in it
 * @nr_wrong: calls that were answered otherwise
 */
struct crowd {
	int session;
	int nr_busy;
	int nr_wrong;
};

static void *make_among_others(void *arg)
{
	struct vmem_snapshot_args made = { .out_more = 1 };
	struct crowd *crowd = arg;
	int ret;

	while (made.out_more) {
		ret = session_snapshot_once(crowd->session, 0, BASE_I686,
					    &made);
		if (ret == -EBUSY)
			__atomic_fetch_add(&crowd->nr_busy, 1,
					   __ATOMIC_RELAXED);
		else if (ret)
			break;
	}
	__atomic_fetch_add(&crowd->nr_wrong, made.out_more, __ATOMIC_RELAXED);
	return NULL;
}

static void threads_make_one(void)
{
	struct crowd crowd = { .nr_busy = 0 };
	struct vmem_snapshot_args made;
	pthread_t threads[NR_THREADS];
	struct copy copy;
	struct world w;
	int i;

	world_init(&w, MB(16));
	add_many_tables(&w);
	crowd.session = world_open(&w);
	errno = EAGAIN;
	for (i = 0; i < NR_THREADS; i++)
		must(pthread_create(&threads[i], NULL, make_among_others,
				    &crowd) ?
			     -1 :
			     0,
		     "pthread_create");
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(crowd.nr_wrong, 0);
	printf("# %d calls found it busy\n", crowd.nr_busy);
	CHECK_EQ(session_snapshot_once(crowd.session, 0, BASE_I686, &made), 0);
	copy = copy_read(crowd.session, &made);
	check_many(&w, &copy, &made);
	close(crowd.session);
	copy_free(&copy);
	world_free(&w);
}

/* ---- Killed ---- */

static void read_for_ever(void *arg)
{
	static __u8 buf[MB(4)];
	const struct world *w = arg;
	struct vmem_snapshot_args made;
	__u32 nr_calls;
	int session = world_open(w);

	session_snapshot(session, 0, BASE, &made, &nr_calls);
	for (;;)
		session_snapshot_read(session, BASE, buf, sizeof(buf));
}

static void killed(void)
{
	struct world w;

	world_init(&w, MB(40));
	add_processes(&w, 1000);
	kill_callers("VMEM_SNAPSHOT", snapshot_for_ever, &w);
	kill_callers("VMEM_SNAPSHOT_READ", read_for_ever, &w);
	world_free(&w);
}

/* ---- What is left ---- */

/* Every third one is closed with the snapshot in its middle. */
static void rounds(const struct world *w, int nr)
{
	struct vmem_snapshot_args made;
	__u32 nr_calls;
	char byte;
	int session;

	while (nr--) {
		session = world_open(w);
		if (nr % 3) {
			CHECK_EQ(session_snapshot(session, 0, BASE_I686, &made,
						  &nr_calls),
				 0);
			CHECK_EQ(session_snapshot_read(session, BASE_I686,
						       &byte, 1),
				 0);
		} else {
			CHECK_EQ(session_snapshot_once(session, 0, BASE_I686,
						       &made),
				 0);
			CHECK_EQ(made.out_more, 1);
		}
		close(session);
	}
}

/* One that is left has 6.5 MB of tables, or 4 MB if it is not finished. */
#define TOLERANCE_KB 16384

static void memory_is_given_back(void)
{
	long before, after;
	long long pins;
	struct world w;

	world_init(&w, MB(16));
	add_many_tables(&w);
	rounds(&w, 6);
	pins = pins_held();
	before = kernel_memory();
	rounds(&w, 60);
	after = kernel_memory();
	printf("# 60 rounds: %ld kB before, %ld kB after, tolerance %d\n",
	       before, after, TOLERANCE_KB);
	CHECK(after - before < TOLERANCE_KB);
	CHECK_EQ(pins_held(), pins);
	world_free(&w);
}

static long long pins_at_start;

static void no_pins_left(void)
{
	CHECK_EQ(pins_held(), pins_at_start);
}

static const struct ktap_case cases[] = {
	{ "i686_two_spaces", i686_two_spaces },
	{ "amd64_shared_at_every_level", amd64_shared_at_every_level },
	{ "page_mapped_many_times", page_mapped_many_times },
	{ "bits_of_entries_stay", bits_of_entries_stay },
	{ "amd64_large_pages", amd64_large_pages },
	{ "i686_large_pages", i686_large_pages },
	{ "part_of_a_large_page", part_of_a_large_page },
	{ "range_and_exclusions", range_and_exclusions },
	{ "scope_of_parts_of_pages", scope_of_parts_of_pages },
	{ "roots_given_twice", roots_given_twice },
	{ "entries_that_lead_nowhere", entries_that_lead_nowhere },
	{ "tables_mapped_as_pages", tables_mapped_as_pages },
	{ "i686_self_map", i686_self_map },
	{ "copy_on_write", copy_on_write },
	{ "base_is_refused", base_is_refused },
	{ "base_out_of_reach", base_out_of_reach },
	{ "root_out_of_reach", root_out_of_reach },
	{ "devices_stay", devices_stay },
	{ "device_in_the_way", device_in_the_way },
	{ "order_of_calls", order_of_calls },
	{ "walk_and_snapshot", walk_and_snapshot },
	{ "regions_of_the_parent", regions_of_the_parent },
	{ "read_where_nothing_is", read_where_nothing_is },
	{ "read_ranges", read_ranges },
	{ "pages_are_read_late", pages_are_read_late },
	{ "guest_stays_as_it_was", guest_stays_as_it_was },
	{ "more_tables_than_pins", more_tables_than_pins },
	{ "few_pins_allowed", few_pins_allowed },
	{ "too_few_pins_allowed", too_few_pins_allowed },
	{ "many_processes", many_processes },
	{ "i686_random_graphs", i686_random_graphs },
	{ "amd64_random_graphs", amd64_random_graphs },
	{ "threads_make_one", threads_make_one },
	{ "killed", killed },
	{ "memory_is_given_back", memory_is_given_back },
	{ "no_pins_left", no_pins_left },
};

int main(void)
{
	pins_at_start = pins_held();
	return ktap_main(cases, ARRAY_SIZE(cases));
}
