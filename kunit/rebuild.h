/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a rebuild of a group is held against: the group's own expansion.
 */
#ifndef _VMEM_KUNIT_REBUILD_H
#define _VMEM_KUNIT_REBUILD_H

#include <vmem/rebuild.h>

#include "oracle.h"
#include "tables.h"

/* The convention that the tests mark copy-on-write pages by. */
#define COW_MASK GENMASK_ULL(11, 9)
#define COW_VALUE BIT_ULL(9)

/**
 * struct rebuilt - spaces that are rebuilt, and what of
 * @from: the spaces
 * @o: what is in them
 * @to: what is built
 * @tb: its tables
 * @to_o: what is in it
 * @records: what a walk of it tells
 * @rb: the rebuild
 * @cow: what is writable is to be copy-on-write
 * @split: larger pages than these are split; 0 for none
 * @bytes: what the space that is expanded maps
 */
struct rebuilt {
	struct group *from;
	struct oracle *o;
	struct group *to;
	struct tables *tb;
	struct oracle *to_o;
	struct records *records;
	struct vmem_rebuild rb;
	bool cow;
	u64 split;
	u64 bytes;
};

/* Of @from; @o is the oracle to use on it. */
struct rebuilt *rebuilt_alloc(struct kunit *test, struct group *from,
			      struct oracle *o);

/* Empty tables, and nothing rebuilt yet; rebuilt_end() when done. */
void rebuilt_begin(struct rebuilt *re);

/* The registers that go with what is built, which is not encrypted. */
struct vmem_regs rebuilt_regs(const struct vmem_regs *from);

/* One call of vmem_rebuild(). */
int rebuilt_run(struct rebuilt *re, u64 budget);

/* Free what the rebuild has. */
void rebuilt_end(struct rebuilt *re);

/* The new address of a page. */
u64 rebuilt_place(const struct rebuilt *re, u64 gpa);

/*
 * What became of an entry, its address aside, as an entry of a lower level if
 * that is what stands for it.
 */
u64 rebuilt_flags(const struct rebuilt *re, int level, u64 raw);

/* The flags of an entry of @level, with PAT in one place for all levels. */
u64 entry_flags(const struct mode *mode, int level, bool leaf, u64 raw);

/*
 * Page for page, every space maps what it was built after, with the same bits
 * in every entry, in its scope, and nothing outside of it.
 */
bool rebuilt_check_pages(struct rebuilt *re);

/*
 * A walk tells of it what one told before, but for what leads nowhere, and it
 * has a table for each that leads to a page. It agrees with the oracle.
 */
bool rebuilt_check_walk(struct rebuilt *re);

#endif /* _VMEM_KUNIT_REBUILD_H */
