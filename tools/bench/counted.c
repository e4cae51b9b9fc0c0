// SPDX-License-Identifier: GPL-2.0-only
/*
 * counted - the hot paths, for their instructions to be counted
 *
 * To be run under callgrind, by budget.py. What is counted is dumped after each
 * path with the path's name; a line of output says how many units it had. In
 * "NAME UNITS - OTHER", what OTHER took is to be taken off first.
 */
#include <linux/kernel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <valgrind/callgrind.h>

#include "addresses.h"

#define NR_ADDRESSES 8192
#define NR_TABLES 256
#define NR_ENTRIES (NR_TABLES * ENTRIES)

/**
 * struct path - a hot path
 * @name: as in the file of budgets
 * @units: what is paid for
 * @everywhere: in every mode, and not just with 4 levels
 * @less: the path whose instructions are not counted here, or NULL
 * @make: makes the guest
 * @run: the path
 */
struct path {
	const char *name;
	u32 units;
	bool everywhere;
	const char *less;
	struct guest *(*make)(int levels);
	void (*run)(struct guest *guest, const struct vmem_root *root);
};

static u64 vas[NR_ADDRESSES];

static void translate_one(struct guest *guest, const struct vmem_root *root)
{
	core_translate_singly(guest, root, vas, NR_ADDRESSES);
}

static void translate_64(struct guest *guest, const struct vmem_root *root)
{
	core_translate(guest, root, vas, NR_ADDRESSES, 64, false);
}

static void translate_4096(struct guest *guest, const struct vmem_root *root)
{
	core_translate(guest, root, vas, NR_ADDRESSES, 4096, false);
}

static void brief_64(struct guest *guest, const struct vmem_root *root)
{
	core_translate(guest, root, vas, NR_ADDRESSES, 64, true);
}

static void brief_4096(struct guest *guest, const struct vmem_root *root)
{
	core_translate(guest, root, vas, NR_ADDRESSES, 4096, true);
}

static void rows(struct guest *guest, const struct vmem_root *root)
{
	struct tally tally = {};

	core_rows(guest, root, &tally);
}

static void spaces(struct guest *guest, const struct vmem_root *root)
{
	struct tally tally = {};

	core_spaces(guest, root, 1, &tally);
}

/* Page tables in a row, of which an entry is what @entry says. */
static struct guest *make_tables(int levels, u64 (*entry)(u64 i, u64 *random))
{
	struct guest *guest = guest_new(1ULL << 30);
	u64 random = 1;
	u64 root, i;

	guest_set_levels(guest, levels);
	root = guest_new_space(guest);

	for (i = 0; i < NR_ENTRIES; i++)
		guest_put(guest, root, i << 12, VMEM_LEVEL_PT,
			  entry(i, &random));
	return guest;
}

static u64 contiguous(u64 i, u64 *random)
{
	return i << 12 | ALL_RIGHTS;
}

static u64 scattered(u64 i, u64 *random)
{
	return (random_next(random) & 0x3ffff000) | ALL_RIGHTS;
}

/* One leaf in 16, so that the entries of addresses do not follow each other. */
static u64 sparse(u64 i, u64 *random)
{
	u64 entry = scattered(i, random);

	return random_next(random) % 16 ? 0 : entry;
}

static u64 empty(u64 i, u64 *random)
{
	return 0;
}

static struct guest *make_contiguous(int levels)
{
	return make_tables(levels, contiguous);
}

static struct guest *make_scattered(int levels)
{
	return make_tables(levels, scattered);
}

static struct guest *make_empty(int levels)
{
	return make_tables(levels, empty);
}

static struct guest *make_sparse(int levels)
{
	struct guest *guest = make_tables(levels, sparse);
	struct vmem_root root = guest_root(guest, 0);

	addresses_of_leaves(guest, &root, vas, NR_ADDRESSES);
	return guest;
}

/* One page table, named by all entries of some page directories. */
static struct guest *make_shared(int levels)
{
	struct guest *guest = guest_new(1ULL << 30);
	u64 root, table, i;

	guest_set_levels(guest, levels);
	root = guest_new_space(guest);
	table = guest_new_table(guest);
	for (i = 0; i < NR_ENTRIES; i++)
		guest_put(guest, root, i << 21, VMEM_LEVEL_PD,
			  table | ALL_RIGHTS);
	return guest;
}

static const struct path paths[] = {
	{ "translate-one", NR_ADDRESSES, true, NULL, make_sparse,
	  translate_one },
	{ "translate-64", NR_ADDRESSES, true, NULL, make_sparse, translate_64 },
	{ "translate-4096", NR_ADDRESSES, false, NULL, make_sparse,
	  translate_4096 },
	{ "brief-64", NR_ADDRESSES, true, NULL, make_sparse, brief_64 },
	{ "brief-4096", NR_ADDRESSES, false, NULL, make_sparse, brief_4096 },
	{ "scan-contiguous", NR_ENTRIES, true, NULL, make_contiguous, rows },
	{ "scan-scattered", NR_ENTRIES, true, NULL, make_scattered, rows },
	{ "scan-empty", NR_ENTRIES, false, NULL, make_empty, rows },
	{ "pass-shared", NR_ENTRIES, false, NULL, make_shared, spaces },
	{ "claim", NR_TABLES, false, "scan-empty", make_empty, spaces },
};

/**
 * struct other - a mode besides that of 4 levels
 * @name: what the names of its paths begin with
 * @levels: of its paging; PAE has 3
 */
struct other {
	const char *name;
	int levels;
};

static const struct other others[] = {
	{ "i686", 2 },
	{ "pae", 3 },
	{ "la57", 5 },
};

/*
 * In place of the C library's: the hash of tables has the same salt in each run. With
 * a random one, one run in some hundreds has tables collide, and counts twice as
 * many instructions.
 */
ssize_t getrandom(void *bytes, size_t size, unsigned int flags)
{
	memset(bytes, 0x5b, size);
	return size;
}

static void count(const struct path *path, const char *name, int levels)
{
	struct guest *guest = path->make(levels);
	struct vmem_root root = guest_root(guest, 0);

	CALLGRIND_ZERO_STATS;
	CALLGRIND_TOGGLE_COLLECT;
	path->run(guest, &root);
	CALLGRIND_TOGGLE_COLLECT;
	CALLGRIND_DUMP_STATS_AT(name);
	guest_free(guest);

	printf("%s %u", name, path->units);
	if (path->less)
		printf(" - %s", path->less);
	putchar('\n');
}

static void count_everywhere(const struct other *other)
{
	char name[64];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(paths); i++) {
		snprintf(name, sizeof(name), "%s-%s", other->name,
			 paths[i].name);
		if (paths[i].everywhere)
			count(&paths[i], name, other->levels);
	}
}

int main(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(paths); i++)
		count(&paths[i], paths[i].name, VMEM_LEVEL_PML4);
	for (i = 0; i < ARRAY_SIZE(others); i++)
		count_everywhere(&others[i]);
	return 0;
}
