/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Random table graphs that several spaces share. A graph is a handful of pages
 * that refer to each other in any way, with up to six roots and a scope; all of
 * it follows from its seed.
 */
#ifndef _VMEM_KUNIT_GRAPH_H
#define _VMEM_KUNIT_GRAPH_H

#include "oracle.h"
#include "rng.h"

#define GRAPH_MAX_TABLES 9
#define GRAPH_SLOTS 6

/**
 * struct graph - a random graph
 * @g: the spaces
 * @o: what is to be found
 * @rng: where the randomness comes from
 * @nr_tables: number of @tables
 * @tables: the pages that entries refer to
 * @slots: the indices of most entries, in all tables
 * @whole: what one call told
 * @parts: what many calls told
 */
struct graph {
	struct group *g;
	struct oracle *o;
	struct rnd_state rng;
	int nr_tables;
	u64 tables[GRAPH_MAX_TABLES];
	int slots[GRAPH_SLOTS];
	struct records *whole;
	struct records *parts;
};

static inline u32 graph_below(struct graph *r, u32 limit)
{
	return rng_below(&r->rng, limit);
}

static inline bool graph_one_in(struct graph *r, u32 n)
{
	return rng_one_in(&r->rng, n);
}

/* Without pages. It goes with the test. */
struct graph *graph_alloc(struct kunit *test, const struct mode *mode);

/* Make the graph of a seed. */
void graph_make(struct graph *r, u64 seed);

/* Where there is no memory, but could be. */
u64 graph_hole(const struct graph *r);

/* An address that likely leads far. */
u64 graph_va(struct graph *r);

/* An address to end at: often where a table of some level begins or ends. */
u64 graph_edge(struct graph *r);

/* Give the scope's ends to whole pages. */
void graph_align_scope(struct graph *r);

/* Another order of the roots. */
void graph_permute(struct graph *r);

#endif /* _VMEM_KUNIT_GRAPH_H */
