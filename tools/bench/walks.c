// SPDX-License-Identifier: GPL-2.0-only
/*
 * Walks of whole spaces, against minimal walks that know sharing or expand
 */
#include <stdlib.h>

#include "native.h"

u64 run_floor_leaves(void *priv)
{
	struct spaces_case *c = priv;
	u64 sum = 0, nr = 0;
	u32 i;

	for (i = 0; i < c->nr; i++)
		sum += floor_leaves(c->guest->memory, c->guest->spaces[i], &nr);
	return sum ^ nr;
}

u64 run_floor_rows(void *priv)
{
	struct spaces_case *c = priv;
	struct tally tally = {};
	u32 i;

	for (i = 0; i < c->nr; i++)
		floor_rows(c->guest->memory, c->guest->spaces[i], &tally);
	return tally_answer(&tally);
}

u64 run_floor_spaces(void *priv)
{
	struct spaces_case *c = priv;
	struct tally tally = {};

	floor_spaces(c->guest->memory, c->guest->spaces, c->nr, &c->seen,
		     &tally);
	return tally_answer(&tally);
}

u64 run_core_rows(void *priv)
{
	struct spaces_case *c = priv;
	struct tally tally = {};
	u32 i;

	for (i = 0; i < c->nr; i++)
		core_rows(c->guest, &c->roots[i], &tally);
	return tally_answer(&tally);
}

u64 run_core_spaces(void *priv)
{
	struct spaces_case *c = priv;
	struct tally tally = {};

	core_spaces(c->guest, c->roots, c->nr, &tally);
	return tally_answer(&tally);
}

void spaces_case_init(struct spaces_case *c, struct guest *guest, u32 nr)
{
	struct tally tally = {};
	u32 i;

	*c = (struct spaces_case){ .guest = guest, .nr = nr };
	c->roots = calloc(nr, sizeof(*c->roots));
	if (!c->roots)
		die("out of memory for %u roots", nr);
	for (i = 0; i < nr; i++)
		c->roots[i] = guest_root(guest, i);
	c->tables = core_spaces(guest, c->roots, nr, &tally).known;
	floor_seen_init(&c->seen, c->tables);
	c->answer = tally_answer(&tally);
}

/**
 * struct expanded - what the core says of spaces, each alone
 * @tally: the rows
 * @leaves: the leaves that they are made of
 * @sum: of the leaves' addresses
 */
struct expanded {
	struct tally tally;
	u64 leaves;
	u64 sum;
};

static int expand_row(const struct vmem_mapping *row, void *priv)
{
	struct expanded *all = priv;
	u64 nr = (row->last_va - row->va + 1) / row->page_size;

	tally_row(&all->tally, row->va, row->last_va, row->gpa, row->perms);
	all->leaves += nr;
	all->sum += nr * row->gpa + nr * (nr - 1) / 2 * row->page_size;
	return 0;
}

void spaces_case_expand(struct spaces_case *c)
{
	struct expanded all = {};
	u32 i;

	for (i = 0; i < c->nr; i++) {
		struct vmem_range range = {
			.mem = &c->guest->mem,
			.root = &c->roots[i],
			.last_va = LAST_VA,
			.budget = NO_BUDGET,
			.emit = expand_row,
			.priv = &all,
		};

		if (vmem_virt_to_phys(&range))
			die("the space cannot be walked");
	}
	c->leaves = all.leaves;
	c->rows_answer = tally_answer(&all.tally);
	c->leaves_answer = all.sum ^ all.leaves;
}

void spaces_case_destroy(struct spaces_case *c)
{
	floor_seen_destroy(&c->seen);
	free(c->roots);
}
