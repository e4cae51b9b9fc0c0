/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tables that the code under test may write to, in the guest of a group. They
 * keep account of what was asked for, fail where they are told to, and move if
 * they are told to: a frozen table that is written to is left as it is, and the
 * writing is done in a copy.
 */
#ifndef _VMEM_KUNIT_TABLES_H
#define _VMEM_KUNIT_TABLES_H

#include <vmem/map.h>

#include "group.h"

/**
 * struct tables - tables that can be written to
 * @t: what the core is given
 * @g: where they are; its registers follow its roots
 * @was: the guest when it was frozen
 * @nr_frozen: so many of the guest's pages, the first, are frozen
 * @allocs: tables made
 * @writes: entries written
 * @moves: tables moved
 * @updates: roots moved
 * @fail_alloc: which table is not to be had, counted from 1; 0 for none
 * @fail_write: which entry cannot be written
 * @fail_update: which move of a root cannot be told
 * @fail_with: what the failing one returns; 0 for an errno of its own
 */
struct tables {
	struct vmem_tables t;
	struct group *g;
	struct guest *was;
	int nr_frozen;
	int allocs;
	int writes;
	int moves;
	int updates;
	int fail_alloc;
	int fail_write;
	int fail_update;
	int fail_with;
};

/* In @g, which is reset. If not @movable, they never move. */
struct tables *tables_alloc(struct kunit *test, struct group *g, bool movable);

/* Start anew, with @g as well. */
void tables_reset(struct tables *tb);

/* Clear the account, and fail no more. */
void tables_forget(struct tables *tb);

/* From now on, every table that is there moves when it is written to. */
void tables_freeze(struct tables *tb);

/* Is what was frozen as it was? */
bool tables_kept(const struct tables *tb);

#endif /* _VMEM_KUNIT_TABLES_H */
