/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest made of an input's bytes: a few pages that are likely to name each
 * other, at any level, and spaces in them.
 */
#ifndef ARENA_H
#define ARENA_H

#include <fuzz/fuzz.h>

#include "group.h"

#define ARENA_TABLES 10

/**
 * struct arena - the guest
 * @g: its spaces; their mode is @mode
 * @mode: the paging mode
 * @tables: the pages
 * @nr_tables: how many they are
 * @nr_entries: how many entries were written, those that follow each other as
 *	one page after the other counted too
 * @cow: it marks pages copy-on-write, of which the helpers know nothing
 * @longest: set by the target: so many entries may follow each other
 * @steady: set by the target: pages stay where they are while they are not pinned
 * @empty: set by the target: there is nothing in the pages
 */
struct arena {
	struct group *g;
	struct mode mode;
	u64 tables[ARENA_TABLES];
	int nr_tables;
	int nr_entries;
	bool cow;
	int longest;
	bool steady;
	bool empty;
};

/* Before anything else; clears what the target is to set. */
void arena_init(struct arena *a);

/* Make a guest, in place of what is in @a. */
void arena_make(struct arena *a, struct input *in);

/* Write entries into its pages as the next bytes say; false if that was all. */
bool arena_write(struct arena *a, struct input *in);

/* An address that likely leads far. */
u64 arena_va(const struct arena *a, struct input *in);

/* An address to begin or end at: often where a table's region does. */
u64 arena_edge(const struct arena *a, struct input *in);

/* Give the scope's ends to whole pages. */
void arena_align_scope(struct arena *a);

/* A page's address that is one of the guest's, mostly. */
u64 arena_gpa(const struct arena *a, struct input *in);

#endif
