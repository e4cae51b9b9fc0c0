// SPDX-License-Identifier: GPL-2.0-only
/*
 * counted - the hot paths, for their instructions to be counted
 *
 * To be run under callgrind, by budget.py. What is counted is dumped after each
 * path with the path's name; a line of output says how many units it had. In
 * "NAME UNITS - OTHER", what OTHER took is to be taken off first.
 */
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
 * @levels: of the guest's paging; PAE has 3
 * @less: the path whose instructions are not counted here, or NULL
 * @make: makes the guest
 * @run: the path
 */
struct path {
	const char *name;
	u32 units;
	int levels;
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

/* Some of them in the other modes as well. */
#define PATHS_OF(name, levels)                                       \
	{ name "-translate-one", NR_ADDRESSES, levels, NULL,         \
	  make_sparse,		 translate_one },                    \
		{ name "-translate-64", NR_ADDRESSES, levels, NULL,  \
		  make_sparse,		translate_64 },              \
		{ name "-brief-64", NR_ADDRESSES, levels, NULL,      \
		  make_sparse,	    brief_64 },                      \
		{ name "-scan-contiguous", NR_ENTRIES, levels, NULL, \
		  make_contiguous,	   rows },                   \
	{                                                            \
		name "-scan-scattered", NR_ENTRIES, levels, NULL,    \
			make_scattered, rows                         \
	}

static const struct path paths[] = {
	{ "translate-one", NR_ADDRESSES, 4, NULL, make_sparse, translate_one },
	{ "translate-64", NR_ADDRESSES, 4, NULL, make_sparse, translate_64 },
	{ "translate-4096", NR_ADDRESSES, 4, NULL, make_sparse,
	  translate_4096 },
	{ "brief-64", NR_ADDRESSES, 4, NULL, make_sparse, brief_64 },
	{ "brief-4096", NR_ADDRESSES, 4, NULL, make_sparse, brief_4096 },
	{ "scan-contiguous", NR_ENTRIES, 4, NULL, make_contiguous, rows },
	{ "scan-scattered", NR_ENTRIES, 4, NULL, make_scattered, rows },
	{ "scan-empty", NR_ENTRIES, 4, NULL, make_empty, rows },
	{ "pass-shared", NR_ENTRIES, 4, NULL, make_shared, spaces },
	{ "claim", NR_TABLES, 4, "scan-empty", make_empty, spaces },
	PATHS_OF("i686", 2),
	PATHS_OF("pae", 3),
	PATHS_OF("la57", 5),
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

static void count(const struct path *path)
{
	struct guest *guest = path->make(path->levels);
	struct vmem_root root = guest_root(guest, 0);

	CALLGRIND_ZERO_STATS;
	CALLGRIND_TOGGLE_COLLECT;
	path->run(guest, &root);
	CALLGRIND_TOGGLE_COLLECT;
	CALLGRIND_DUMP_STATS_AT(path->name);
	guest_free(guest);

	printf("%s %u", path->name, path->units);
	if (path->less)
		printf(" - %s", path->less);
	putchar('\n');
}

int main(void)
{
	size_t i;

	for (i = 0; i < sizeof(paths) / sizeof(*paths); i++)
		count(&paths[i]);
	return 0;
}
