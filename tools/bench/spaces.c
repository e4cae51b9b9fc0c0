// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whole spaces of the captured guest, and full page tables
 */
#include <linux/kernel.h>
#include <stdio.h>
#include <stdlib.h>

#include "addresses.h"
#include "native.h"

#define DENSE_TABLES 1000

#define SHARING_NOTE \
	NO_CHECKS    \
	"It gives the same rows, visits a shared table once, and does not say whose it is."

#define MANY_NOTE \
	NO_CHECKS \
	"One that expands merges rows, one adds up; the one that knows sharing names no owner."

#define ROWS_NOTE \
	NO_CHECKS \
	"It gives the same rows: every mapping of the space, with what is shared as often as it is mapped."

#define DENSE_NOTE \
	"The sum has nothing to decode. Each scattered page is a row, and a call for it."

static void whole_space(struct bench *bench, struct spaces_case *c)
{
	struct measurement spaces = {
		.id = "whole-space",
		.title = "a whole space, what is shared once",
		.unit = "us",
		.note = SHARING_NOTE,
		.per = 1e3,
		.priv = c,
		.contenders = {
			{ "vmem", run_core_spaces, c->answer },
			{ "minimal C walk that knows sharing", run_floor_spaces,
			  c->answer, .at_most = 2 },
			{ "minimal C walk that expands", run_floor_leaves,
			  c->leaves_answer },
		},
	};
	struct measurement rows = {
		.id = "whole-space-rows",
		.title = "a whole space, every mapping",
		.unit = "us",
		.note = ROWS_NOTE,
		.per = 1e3,
		.priv = c,
		.contenders = {
			{ "vmem", run_core_rows, c->rows_answer },
			{ "minimal C walk that expands", run_floor_rows,
			  c->rows_answer, .at_most = 2 },
			{ "minimal C walk that knows sharing", run_floor_spaces,
			  c->answer },
		},
	};

	bench_measure(bench, &spaces);
	bench_measure(bench, &rows);
}

static void many_spaces(struct bench *bench, struct spaces_case *c)
{
	char title[64];
	struct measurement m = {
		.id = "many-spaces",
		.title = title,
		.unit = "us",
		.note = MANY_NOTE,
		.per = 1e3,
		.priv = c,
		.contenders = {
			{ "vmem", run_core_spaces, c->answer },
			{ "minimal C walk that expands, merges rows",
			  run_floor_rows, c->rows_answer, .times_faster = 100 },
			{ "minimal C walk that expands, adds up",
			  run_floor_leaves, c->leaves_answer,
			  .times_faster = 100 },
			{ "minimal C walk that knows sharing", run_floor_spaces,
			  c->answer },
		},
	};

	snprintf(title, sizeof(title), "%u spaces in one walk", c->nr);
	bench_measure(bench, &m);
}

void bench_spaces(struct bench *bench, struct guest *captured)
{
	struct spaces_case c;

	if (!captured)
		return;
	spaces_case_init(&c, captured, 1);
	spaces_case_expand(&c);
	whole_space(bench, &c);
	spaces_case_destroy(&c);

	spaces_case_init(&c, captured, captured->nr_spaces);
	spaces_case_expand(&c);
	many_spaces(bench, &c);
	spaces_case_destroy(&c);
}

/**
 * struct dense_case - full page tables
 * @spaces: the space that they are in
 * @tables: their addresses
 * @sum: of their bytes
 */
struct dense_case {
	struct spaces_case spaces;
	u64 tables[DENSE_TABLES];
	u64 sum;
};

static u64 run_sum(void *priv)
{
	struct dense_case *c = container_of(priv, struct dense_case, spaces);

	return floor_sum(c->spaces.guest->memory, c->tables, DENSE_TABLES);
}

static void dense_init(struct dense_case *c, bool scattered)
{
	struct guest *guest = guest_new(4ULL << 30);
	u64 root = guest_new_space(guest);
	u64 random = 1;
	u64 i, at;

	for (i = 0; i < (u64)DENSE_TABLES * ENTRIES; i++) {
		at = scattered ? random_next(&random) % guest->size : i << 12;
		*guest_entry(guest, root, i << 12, VMEM_LEVEL_PT) =
			(at & ADDRESS) | ALL_RIGHTS;
	}
	for (i = 0; i < DENSE_TABLES; i++)
		c->tables[i] =
			*guest_entry(guest, root, i << 21, VMEM_LEVEL_PD) &
			ADDRESS;
	spaces_case_init(&c->spaces, guest, 1);
	spaces_case_expand(&c->spaces);
	c->sum = floor_sum(guest->memory, c->tables, DENSE_TABLES);
}

static void dense_destroy(struct dense_case *c)
{
	struct guest *guest = c->spaces.guest;

	spaces_case_destroy(&c->spaces);
	guest_free(guest);
}

static void full_tables(struct bench *bench, bool scattered)
{
	static struct dense_case c;
	struct measurement rows = {
		.id = scattered ? "dense-scattered" : "dense-contiguous",
		.title = scattered ? "1,000 full PTs, pages scattered" :
				     "1,000 full PTs, pages contiguous",
		.unit = "ns/entry",
		.note = DENSE_NOTE,
		.per = (double)DENSE_TABLES * ENTRIES,
		.priv = &c.spaces,
	};

	dense_init(&c, scattered);
	rows.contenders[0] = (struct contender){ "vmem", run_core_rows,
						 c.spaces.rows_answer };
	rows.contenders[1] = (struct contender){ "adding up the bytes", run_sum,
						 c.sum, .at_most = 2 };
	rows.contenders[2] = (struct contender){ "minimal C walk, same rows",
						 run_floor_rows,
						 c.spaces.rows_answer };
	bench_measure(bench, &rows);
	dense_destroy(&c);
}

void bench_dense(struct bench *bench)
{
	if (!bench_wants(bench, "dense"))
		return;
	full_tables(bench, false);
	full_tables(bench, true);
}
