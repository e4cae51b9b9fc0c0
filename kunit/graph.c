// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random table graphs that several spaces share.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/prandom.h>
#include <linux/sizes.h>
#include <linux/sort.h>

#include "graph.h"

struct graph *graph_alloc(struct kunit *test, const struct mode *mode)
{
	struct graph *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, r);
	r->g = group_alloc(test, mode);
	r->o = oracle_alloc(test);
	r->whole = records_alloc(test);
	r->parts = records_alloc(test);
	return r;
}

static void make_slots(struct graph *r)
{
	int i, nr = BIT(r->g->s->mode->index_bits);

	for (i = 0; i < GRAPH_SLOTS; i++)
		r->slots[i] = graph_below(r, nr);
	r->slots[0] = 0;
	r->slots[1] = nr - 1;
	r->slots[2] = nr / 2 - graph_below(r, 2);
	r->slots[3] = graph_below(r, 2);
}

static u64 random_flags(struct graph *r)
{
	u64 flags = PTE_P | (rng_bits64(&r->rng) & 0x78);

	if (!graph_one_in(r, 4))
		flags |= PTE_W;
	if (!graph_one_in(r, 4))
		flags |= PTE_U;
	/* Where it is a reserved bit, many paths would end at it. */
	if (r->g->s->mode->entry_size == 8 &&
	    graph_one_in(r, r->g->s->mode->regs.efer & EFER_NX ? 4 : 64))
		flags |= PTE_NX;
	/* Rules, where there are any: most AMD entries do well without G. */
	if (mode_encryption(r->g->s->mode) && graph_one_in(r, 2))
		flags |= mode_encryption(r->g->s->mode);
	if (r->g->s->regs.rules & VMEM_RULES_AMD && graph_one_in(r, 16))
		flags |= PTE_G;
	return flags;
}

u64 graph_hole(const struct graph *r)
{
	return r->g->s->mode->tables + SZ_1M / 2;
}

/* A page of some level's size: the same few frames, so that some merge. */
static u64 random_page(struct graph *r, u64 *step)
{
	int level = 1 + graph_below(r, r->g->s->mode->max_leaf);

	*step = space_span(r->g->s, level);
	return space_leaf(r->g->s, level, space_frame(r->g->s, level),
			  random_flags(r)) +
	       (level == 1 ? graph_below(r, 4) * SZ_4K : 0);
}

static u64 random_entry(struct graph *r, u64 *step)
{
	u64 raw;

	*step = 0;
	switch (graph_below(r, 16)) {
	case 0:
		return rng_bits64(&r->rng) & (U32_MAX & ~PTE_P);
	case 1:
		raw = space_reserved(r->g->s, 1 + graph_below(r, 3));
		return raw ? raw : graph_hole(r) | random_flags(r);
	case 2:
		return graph_hole(r) | random_flags(r);
	case 3 ... 6:
		return random_page(r, step);
	default:
		raw = r->tables[graph_below(r, r->nr_tables)] | random_flags(r);
		return graph_one_in(r, 16) ? raw | PTE_PS : raw;
	}
}

static void fill_slot(struct graph *r, u64 table, int index)
{
	int nr = BIT(r->g->s->mode->index_bits);
	u64 step, raw = random_entry(r, &step);
	int run = step && graph_one_in(r, 3) ? 1 + graph_below(r, 4) : 1;

	for (; run && index < nr; run--, index++, raw += step)
		group_put(r->g, table, index, raw);
}

static void make_tables(struct graph *r)
{
	int i, slot;

	/* Bounced pages catch more and cost more. */
	group_reset(r->g, graph_one_in(r, 16));
	r->nr_tables = 3 + graph_below(r, GRAPH_MAX_TABLES - 2);
	for (i = 0; i < r->nr_tables; i++)
		r->tables[i] = group_add_table(r->g);
	for (i = 0; i < r->nr_tables; i++) {
		for (slot = 0; slot < GRAPH_SLOTS; slot++) {
			if (graph_one_in(r, 2))
				fill_slot(r, r->tables[i], r->slots[slot]);
		}
	}
}

/* As kernels do with their own half: the same entries in another root. */
static void copy_entries(struct graph *r, u64 from, u64 to)
{
	int i, size = r->g->s->mode->entry_size;
	u64 raw;

	for (i = 0; i < GRAPH_SLOTS; i++) {
		if (graph_one_in(r, 3))
			continue;
		guest_read(r->g->s->guest, from + r->slots[i] * size, size,
			   &raw);
		if (graph_one_in(r, 4))
			raw &= ~(graph_one_in(r, 2) ? PTE_W : PTE_U);
		group_put(r->g, to, r->slots[i], raw);
	}
}

/* Four entries, most of which lead on, anywhere in a page. */
static u64 make_pae_root(struct graph *r, u64 table)
{
	int at = graph_one_in(r, 4) ? 0 : graph_below(r, 128) * 4;
	int i, top = r->g->s->mode->top;
	u64 raw;

	for (i = at; i < at + 4; i++) {
		raw = r->tables[graph_below(r, r->nr_tables)];
		if (graph_one_in(r, 8))
			raw = graph_hole(r);
		raw = space_link(r->g->s, top, raw, random_flags(r));
		if (graph_one_in(r, 8))
			raw |= space_reserved(r->g->s, top);
		if (!graph_one_in(r, 4))
			group_put(r->g, table, i, raw);
	}
	return table + at * sizeof(u64);
}

/* With five levels, few paths reach the lowest unless the root leads on. */
static void lead_on(struct graph *r, u64 table)
{
	int i;

	for (i = 0; i < GRAPH_SLOTS; i++) {
		u64 next = r->tables[graph_below(r, r->nr_tables)];

		if (graph_one_in(r, 3))
			group_put(r->g, table, r->slots[i],
				  next | random_flags(r));
	}
}

/* What CR3 has below the address of a root. */
static u32 root_size(const struct graph *r)
{
	const struct mode *mode = r->g->s->mode;

	return mode_entries(mode, mode->top) * mode->entry_size;
}

static void make_roots(struct graph *r)
{
	int nr = 1 + graph_below(r, 6);
	u64 table, last = 0, root = 0;

	while (nr--) {
		table = r->tables[graph_below(r, r->nr_tables)];
		if (last && !graph_one_in(r, 3))
			copy_entries(r, last, table);
		last = table;
		if (r->g->s->mode->top > 4)
			lead_on(r, table);
		if (mode_is_pae(r->g->s->mode)) {
			if (!root || !graph_one_in(r, 8))
				root = make_pae_root(r, table);
			table = root;
		}
		if (graph_one_in(r, 24))
			table = graph_hole(r);
		group_add_root(r->g, table | graph_below(r, root_size(r)));
	}
}

u64 graph_va(struct graph *r)
{
	u64 va = graph_one_in(r, 2) ? 0 : graph_below(r, SZ_4K);
	int level, index;

	for (level = 1; level <= r->g->s->mode->top; level++) {
		index = r->slots[graph_below(r, GRAPH_SLOTS)];
		if (graph_one_in(r, 8))
			index = graph_below(r, BIT(r->g->s->mode->index_bits));
		index %= mode_entries(r->g->s->mode, level);
		va += index * space_span(r->g->s, level);
	}
	return mode_canonical(r->g->s->mode, va);
}

u64 graph_edge(struct graph *r)
{
	u64 size = space_span(r->g->s, 1 + graph_below(r, r->g->s->mode->top));
	u64 va = graph_va(r);

	switch (graph_below(r, 8)) {
	case 0:
		return 0;
	case 1:
		return graph_one_in(r, 2) ? r->g->s->mode->last : U64_MAX;
	case 2 ... 4:
		return (va & -size) - graph_below(r, 2);
	case 5:
		return va | (size - 1);
	default:
		return va;
	}
}

static int compare_vas(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static void random_edges(struct graph *r, u64 *edges, int nr)
{
	int i;

	for (i = 0; i < nr; i++)
		edges[i] = graph_edge(r);
	sort(edges, nr, sizeof(*edges), compare_vas, NULL);
}

static void make_scope(struct graph *r)
{
	int i, nr = graph_below(r, 4);
	u64 edges[8];

	if (graph_one_in(r, 2)) {
		random_edges(r, edges, 2);
		group_set_range(r->g, edges[0], edges[1]);
	}
	if (graph_one_in(r, 4))
		return;
	random_edges(r, edges, 2 * nr);
	for (i = 0; i < nr; i++) {
		/* Two edges may be the same: then the second range goes. */
		if (!i || edges[2 * i] > edges[2 * i - 1])
			group_exclude(r->g, edges[2 * i], edges[2 * i + 1]);
		else
			edges[2 * i + 1] = edges[2 * i - 1];
	}
}

void graph_make(struct graph *r, u64 seed)
{
	rng_seed(&r->rng, seed);
	make_slots(r);
	make_tables(r);
	make_roots(r);
	make_scope(r);
}

void graph_permute(struct graph *r)
{
	u32 i, j;

	for (i = r->g->nr_roots - 1; i; i--) {
		j = graph_below(r, i + 1);
		swap(r->g->roots[i], r->g->roots[j]);
		swap(r->g->regs[i], r->g->regs[j]);
	}
}

/* An exclusion that grows into the one before is a part of it. */
void graph_align_scope(struct graph *r)
{
	struct vmem_scope *scope = &r->g->scope;
	struct vmem_span *last = NULL;
	u32 i, nr = 0;

	scope->va &= VMEM_PAGE_MASK;
	scope->last_va |= ~VMEM_PAGE_MASK;
	for (i = 0; i < scope->nr_excluded; i++) {
		struct vmem_span span = r->g->excluded[i];

		span.va &= VMEM_PAGE_MASK;
		span.last_va |= ~VMEM_PAGE_MASK;
		if (last && span.va <= last->last_va) {
			last->last_va = span.last_va;
			continue;
		}
		last = &r->g->excluded[nr++];
		*last = span;
	}
	scope->nr_excluded = nr;
}
