// SPDX-License-Identifier: GPL-2.0-only
/*
 * A draw: the mappings of a space, each with a number of lots
 */
#include <stdlib.h>
#include <vmem/spaces.h>

#include "addresses.h"

#define SEED 0x20261120ULL

/**
 * struct draw - what addresses are drawn from
 * @rows: the mappings
 * @ends: for each, how many lots it and those before it have
 * @nr: how many they are
 * @room: how many there is room for
 * @by_leaf: a leaf is a lot, whatever its size; else a byte is
 */
struct draw {
	struct vmem_mapping *rows;
	u64 *ends;
	u32 nr;
	u32 room;
	bool by_leaf;
};

static void make_room(struct draw *draw)
{
	if (draw->nr < draw->room)
		return;
	draw->room = draw->room ? 2 * draw->room : 1024;
	draw->rows = reallocarray(draw->rows, draw->room, sizeof(*draw->rows));
	draw->ends = reallocarray(draw->ends, draw->room, sizeof(*draw->ends));
	if (!draw->rows || !draw->ends)
		die("out of memory for mappings");
}

static int add_row(const struct vmem_mapping *row, void *priv)
{
	struct draw *draw = priv;
	u64 lots = row->last_va - row->va + 1;

	make_room(draw);
	if (draw->by_leaf)
		lots /= row->page_size;
	draw->rows[draw->nr] = *row;
	draw->ends[draw->nr] = lots + (draw->nr ? draw->ends[draw->nr - 1] : 0);
	draw->nr++;
	return 0;
}

static int add_record(const struct vmem_record *record, void *priv)
{
	return record->type == VMEM_THIS_SPACE ?
		       add_row(&record->mapping, priv) :
		       0;
}

static u64 draw_address(const struct draw *draw, u64 *random)
{
	u64 lot = random_next(random) % draw->ends[draw->nr - 1];
	u32 low = 0, high = draw->nr - 1;
	const struct vmem_mapping *row;

	while (low < high) {
		u32 mid = low + (high - low) / 2;

		if (draw->ends[mid] <= lot)
			low = mid + 1;
		else
			high = mid;
	}
	row = &draw->rows[low];
	lot -= low ? draw->ends[low - 1] : 0;
	if (!draw->by_leaf)
		return row->va + lot;
	return row->va + lot * row->page_size +
	       random_next(random) % row->page_size;
}

static void draw_all(struct draw *draw, u64 *vas, u32 nr)
{
	u64 random = SEED;
	u32 i;

	if (!draw->nr)
		die("nothing is mapped in the space");
	for (i = 0; i < nr; i++)
		vas[i] = draw_address(draw, &random);
	free(draw->rows);
	free(draw->ends);
}

void addresses_of_leaves(struct guest *guest, const struct vmem_root *root,
			 u64 *vas, u32 nr)
{
	struct draw draw = { .by_leaf = true };
	struct vmem_spaces spaces = {
		.roots = root,
		.nr_roots = 1,
		.scope = { .last_va = LAST_VA },
	};

	if (vmem_walk_va_spaces(&spaces, &guest->mem, NO_BUDGET, add_record,
				&draw))
		die("the space cannot be walked");
	vmem_spaces_destroy(&spaces);
	draw_all(&draw, vas, nr);
}

void addresses_of_bytes(struct guest *guest, const struct vmem_root *root,
			u64 *vas, u32 nr)
{
	struct draw draw = {};
	struct vmem_range range = {
		.mem = &guest->mem,
		.root = root,
		.last_va = LAST_VA,
		.budget = NO_BUDGET,
		.emit = add_row,
		.priv = &draw,
	};

	if (vmem_virt_to_phys(&range))
		die("the space cannot be walked");
	draw_all(&draw, vas, nr);
}
