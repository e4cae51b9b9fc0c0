// SPDX-License-Identifier: GPL-2.0-only
/*
 * Translation of random addresses, against the least code that can do it
 */
#include <stdio.h>
#include <stdlib.h>

#include "addresses.h"
#include "native.h"

/* Leaves of the made-up guest, and page tables that they are spread over. */
#define SCATTERED_LEAVES 65536
#define SCATTERED_TABLES 4096

#define AT_MOST 2.0

static u64 run_core(void *priv)
{
	struct translate_case *c = priv;

	return core_translate(c->guest, &c->root, c->vas, NR_ADDRESSES,
			      c->batch, c->brief);
}

static u64 run_core_singly(void *priv)
{
	struct translate_case *c = priv;

	return core_translate_singly(c->guest, &c->root, c->vas, NR_ADDRESSES);
}

static u64 run_floor(void *priv)
{
	struct translate_case *c = priv;

	return floor_translate(c->guest->memory, c->root.table, c->vas,
			       NR_ADDRESSES);
}

static u64 run_floor_same(void *priv)
{
	static struct vmem_translation results[MAX_BATCH];
	struct translate_case *c = priv;
	u64 sum = 0;
	u32 i, j;

	for (i = 0; i < NR_ADDRESSES; i += c->batch) {
		if (c->brief)
			floor_translate_brief(c->guest->memory, c->root.table,
					      c->vas + i, results, c->batch);
		else
			floor_translate_full(c->guest->memory, c->root.table,
					     c->vas + i, results, c->batch);
		for (j = 0; j < c->batch; j++)
			sum += results[j].out_gpa;
	}
	return sum;
}

#define NOTE      \
	NO_CHECKS \
	"It gives an address alone, or the same answer for what is mapped, with entries if asked."

struct translate_case *translate_case_new(struct guest *guest)
{
	struct translate_case *c = calloc(1, sizeof(*c));

	if (!c)
		die("out of memory for addresses");
	c->guest = guest;
	c->root = guest_root(guest, 0);
	addresses_of_leaves(guest, &c->root, c->vas, NR_ADDRESSES);
	return c;
}

struct measurement of_translation(struct translate_case *c)
{
	u64 answer = run_floor(c);

	return (struct measurement){
		.id = "translate",
		.unit = "ns/address",
		.note = NOTE,
		.per = NR_ADDRESSES,
		.priv = c,
		.contenders = {
			{ "vmem",
			  c->brief || c->batch > 1 ? run_core : run_core_singly,
			  answer },
			{ "minimal C walk", run_floor, answer },
		},
	};
}

static void compare(struct bench *bench, struct translate_case *c,
		    const char *what, const char *id)
{
	struct measurement m = of_translation(c);
	const char *path = c->brief ? "" : ", with paths";
	char full_id[64], title[128];

	snprintf(full_id, sizeof(full_id), "translate-%s-%u%s", id, c->batch,
		 c->brief ? "-brief" : "");
	if (c->batch > 1)
		snprintf(title, sizeof(title), "translate, %s, %u at once%s",
			 what, c->batch, path);
	else
		snprintf(title, sizeof(title), "translate, %s, one by one%s",
			 what, path);
	m.id = full_id;
	m.title = title;
	if (c->batch > 1)
		m.contenders[1].at_most = AT_MOST;
	m.contenders[2] = (struct contender){ "minimal C walk, same answer",
					      run_floor_same,
					      m.contenders[1].answer };
	bench_measure(bench, &m);
}

static void compare_batches(struct bench *bench, struct translate_case *c,
			    const char *what, const char *id)
{
	static const struct {
		u32 batch;
		bool brief;
	} kinds[] = {
		{ 64, true },  { 256, true },	{ 4096, true },
		{ 64, false }, { 4096, false }, { 1, false },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		c->batch = kinds[i].batch;
		c->brief = kinds[i].brief;
		compare(bench, c, what, id);
	}
}

static struct guest *scattered_guest(void)
{
	struct guest *guest = guest_new(1ULL << 30);
	u64 root = guest_new_space(guest);
	u64 random = 1;
	u32 i;

	for (i = 0; i < SCATTERED_LEAVES; i++) {
		u64 va = random_next(&random) % SCATTERED_TABLES << 21 |
			 (random_next(&random) & 0x1ff000);
		u64 gpa = random_next(&random) % guest->size & ADDRESS;

		*guest_entry(guest, root, va, VMEM_LEVEL_PT) = gpa | ALL_RIGHTS;
	}
	return guest;
}

void bench_translate(struct bench *bench, struct guest *captured)
{
	struct translate_case *c;
	struct guest *made;

	if (!bench_wants(bench, "translate"))
		return;
	if (captured) {
		c = translate_case_new(captured);
		compare_batches(bench, c, "Debian guest, by leaf", "leaf");
		addresses_of_bytes(captured, &c->root, c->vas, NR_ADDRESSES);
		compare_batches(bench, c, "Debian guest, by byte", "byte");
		free(c);
	}

	made = scattered_guest();
	c = translate_case_new(made);
	compare_batches(bench, c, "4,096 PTs made up", "scattered");
	guest_free(made);
	free(c);
}
