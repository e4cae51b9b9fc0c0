// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest made of an input's bytes.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sizes.h>
#include <linux/sort.h>
#include <linux/string.h>

#include "arena.h"

static struct kunit nobody;

static int entries_of_table(const struct arena *a)
{
	return 1 << a->mode.index_bits;
}

static u64 random_table(const struct arena *a, u8 which)
{
	return a->tables[which % a->nr_tables];
}

/* The same few in all tables, so that addresses made of them lead far. */
static int likely_index(const struct arena *a, u8 which)
{
	const int nr = entries_of_table(a);
	const int indices[] = { 0, nr - 1, nr / 2, nr / 2 - 1, 1, 7, 300 };

	return indices[which % ARRAY_SIZE(indices)] % nr;
}

static void put(struct arena *a, u64 table, int index, u64 raw)
{
	group_put(a->g, table, index, raw);
	a->nr_entries++;
}

/* Present, with permissions from the input and whatever else it sets. */
static u64 take_flags(struct arena *a, struct input *in)
{
	u16 flags = take(in, 2);
	u64 raw = (flags & 0xe7e) | PTE_P;

	if (a->mode.entry_size == 4)
		return raw;
	if (flags >> 15)
		raw |= PTE_NX;
	if (flags >> 14 & 1)
		raw |= mode_encryption(&a->mode);
	/* All is reserved there in PAE, and this in the upper tables by AMD. */
	if (!mode_is_pae(&a->mode))
		raw |= (u64)(flags >> 12 & 7) << 57;
	if (a->mode.regs.rules & VMEM_RULES_AMD && (flags >> 7 & 3) == 3)
		raw |= PTE_G;
	return raw;
}

/* Pages of any size that follow each other. */
static void put_pages(struct arena *a, struct input *in, u64 table, int index)
{
	int level = 1 + take(in, 1) % a->mode.max_leaf;
	u64 flags = take_flags(a, in);
	u64 step = space_span(a->g->s, level);
	u8 frame = take(in, 1);
	int run = take(in, 1) % a->longest;
	u64 raw = space_leaf(a->g->s, level, space_frame(a->g->s, level),
			     flags & ~PTE_PS);

	/* Tables can be pages as well. */
	if (level == 1 && frame & 0x80)
		raw = random_table(a, frame) | flags;
	else if (level == 1)
		raw += (frame & 7) * SZ_4K;
	for (; index < entries_of_table(a); index++, raw += step) {
		put(a, table, index, raw);
		if (!run--)
			break;
	}
}

/*
 * All of them, or some, may name one table. Half of those of PAE are such as its roots
 * can have.
 */
static void put_links(struct arena *a, struct input *in, u64 table, int index)
{
	u64 to = random_table(a, take(in, 1));
	u64 flags = take_flags(a, in);
	u8 many = take(in, 1);
	int level = many & 8 ? a->mode.top : VMEM_LEVEL_PT;
	u64 raw = space_link(a->g->s, level, to, flags);
	/* A whole table of links is rare, but of great effect. */
	int run = many >= 0xfe ? a->longest : many % 8 + 1;

	for (; index < entries_of_table(a) && run--; index++)
		put(a, table, index, raw & ~PTE_PS);
}

/* As kernels do with their own half: the same entries in another table. */
static void copy_table(struct arena *a, struct input *in, u64 to)
{
	u64 from = random_table(a, take(in, 1));

	if (to != from)
		guest_copy_page(a->g->s->guest, to, from);
}

static void put_bytes(struct arena *a, struct input *in, u64 table, int index)
{
	int size = a->mode.entry_size;
	int run = take(in, 1) % 32;

	for (; index < entries_of_table(a) && run-- >= 0; index++)
		put(a, table, index, take(in, size));
}

bool arena_write(struct arena *a, struct input *in)
{
	u8 kind = take(in, 1);
	u64 table = random_table(a, take(in, 1));
	u16 at = take(in, 2);
	int index = at & 0x8000 ? at % entries_of_table(a) :
				  likely_index(a, at);

	switch (kind % 8) {
	case 0:
		put_bytes(a, in, table, index);
		break;
	case 1:
	case 2:
		put_pages(a, in, table, index);
		break;
	case 3:
		copy_table(a, in, table);
		break;
	case 4:
		put(a, table, index,
		    space_reserved(a->g->s, 1 + take(in, 1) % a->mode.top));
		break;
	default:
		put_links(a, in, table, index);
	}
	return in->at < in->middle;
}

u64 arena_gpa(const struct arena *a, struct input *in)
{
	u8 which = choose(in, 256);

	/* Where there is no memory, but could be. */
	if (which == 255)
		return a->mode.tables + SZ_1M / 2;
	return random_table(a, which);
}

u64 arena_va(const struct arena *a, struct input *in)
{
	u64 va = choose(in, 2) ? 0 : choose(in, SZ_4K);
	int level, index;

	for (level = 1; level <= a->mode.top; level++) {
		u8 which = choose(in, 256);

		index = which < 240 ? likely_index(a, which) :
				      choose(in, entries_of_table(a));
		index %= mode_entries(&a->mode, level);
		va += index * space_span(a->g->s, level);
	}
	return mode_canonical(&a->mode, va);
}

u64 arena_edge(const struct arena *a, struct input *in)
{
	u64 size = space_span(a->g->s, 1 + choose(in, a->mode.top));
	u8 kind = choose(in, 16);
	u64 va = arena_va(a, in);

	switch (kind) {
	case 0:
		return 0;
	case 1:
		return a->mode.last;
	case 2:
		return U64_MAX;
	case 3:
		return choose_bits(in, 8);
	case 4 ... 7:
		return va & -size;
	case 8 ... 9:
		return (va & -size) - 1;
	case 10 ... 11:
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

static void make_edges(const struct arena *a, struct input *in, u64 *edges,
		       int nr)
{
	int i;

	for (i = 0; i < nr; i++)
		edges[i] = arena_edge(a, in);
	sort(edges, nr, sizeof(*edges), compare_vas, NULL);
}

static void make_scope(struct arena *a, struct input *in)
{
	int i, nr = choose(in, 8);
	u64 edges[8];

	if (nr & 1) {
		make_edges(a, in, edges, 2);
		group_set_range(a->g, edges[0], edges[1]);
	}
	nr /= 2;
	make_edges(a, in, edges, 2 * nr);
	for (i = 0; i < nr; i++)
		if (!i || edges[2 * i] > edges[2 * i - 1])
			group_exclude(a->g, edges[2 * i], edges[2 * i + 1]);
		else
			edges[2 * i + 1] = edges[2 * i - 1];
}

/* Ranges that grow into each other become one. */
void arena_align_scope(struct arena *a)
{
	struct vmem_scope *scope = &a->g->scope;
	struct vmem_span *spans = a->g->excluded;
	u32 i, nr = 0;

	scope->va &= VMEM_PAGE_MASK;
	scope->last_va |= ~VMEM_PAGE_MASK;
	for (i = 0; i < scope->nr_excluded; i++) {
		u64 va = spans[i].va & VMEM_PAGE_MASK;
		u64 last_va = spans[i].last_va | ~VMEM_PAGE_MASK;

		if (nr && va <= spans[nr - 1].last_va)
			spans[nr - 1].last_va = last_va;
		else
			spans[nr++] = (struct vmem_span){ va, last_va };
	}
	scope->nr_excluded = nr;
}

void arena_init(struct arena *a)
{
	*a = (struct arena){ .mode = modes[0], .longest = 1024 };
	a->g = group_alloc(&nobody, &a->mode);
}

static void make_mode(struct arena *a, struct input *in)
{
	u8 how = take(in, 1);

	a->mode = modes[how % NR_MODES];
	a->cow = how >= 0xe0;
	if (a->cow) {
		a->mode.regs.cow_mask = GENMASK_ULL(11, 9);
		a->mode.regs.cow_value = BIT_ULL(9);
	}
	a->g->s->regs = a->mode.regs;
}

/* What CR3 has below a page's address: in PAE, where in it the root is. */
static u64 some_offset(const struct arena *a, struct input *in)
{
	if (mode_is_pae(&a->mode) && choose(in, 4))
		return likely_index(a, choose(in, 256)) * a->mode.entry_size;
	return choose(in, SZ_4K);
}

void arena_make(struct arena *a, struct input *in)
{
	u8 shape;
	int i, nr_roots = 1 + choose(in, 6);

	make_mode(a, in);
	shape = take(in, 1);
	/* Bounced pages catch more and cost more. */
	group_reset(a->g, shape >= 0xf8 && !a->steady);
	a->nr_entries = 0;
	a->nr_tables = 2 + shape % (ARENA_TABLES - 1);
	for (i = 0; i < a->nr_tables; i++)
		a->tables[i] = group_add_table(a->g);
	for (i = 0; i < nr_roots; i++)
		group_add_root(a->g, arena_gpa(a, in) | some_offset(a, in));
	make_scope(a, in);
	while (!a->empty && arena_write(a, in))
		;
}
