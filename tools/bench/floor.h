/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the core is compared with: the least code that gives the same answers
 * for a guest that is known to be sound. It trusts every entry: no bounds, no
 * reserved bits, no canonical addresses, no budget, nothing to resume, and the
 * recursion ends because such tables have no cycles. 4-level paging only.
 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include <linux/types.h>
#include <uapi/linux/vmem.h>

/**
 * struct tally - what was told, in few enough numbers to compare
 * @rows: mappings, merged
 * @references: shared tables passed over
 * @sum: of what the rows say
 */
struct tally {
	u64 rows;
	u64 references;
	u64 sum;
};

static inline void tally_row(struct tally *tally, u64 va, u64 last_va, u64 gpa,
			     u32 perms)
{
	tally->rows++;
	tally->sum += (va ^ gpa) + last_va + perms;
}

static inline u64 tally_answer(const struct tally *tally)
{
	return tally->sum ^ tally->rows << 40 ^ tally->references << 20;
}

/* Translate addresses; those that are not mapped count as 0. */
u64 floor_translate(const unsigned char *memory, u64 root, const u64 *vas,
		    u32 nr);

/*
 * The same, filling in what the core says of an address that is mapped, with the
 * whole path or briefly.
 */
void floor_translate_full(const unsigned char *memory, u64 root, const u64 *vas,
			  struct vmem_translation *results, u32 nr);
void floor_translate_brief(const unsigned char *memory, u64 root,
			   const u64 *vas, struct vmem_translation *results,
			   u32 nr);

/* Expand: visit all leaves of a space, sum their addresses, and count them. */
u64 floor_leaves(const unsigned char *memory, u64 root, u64 *nr);

/* Expand, and merge the leaves to rows. */
void floor_rows(const unsigned char *memory, u64 root, struct tally *tally);

/* A table's address with its level, and the run that saw it. */
struct floor_slot {
	u64 table;
	u64 run;
};

/**
 * struct floor_seen - the tables that were seen: a hash table that is large
 *	enough from the start and needs no clearing
 * @slots: the slots
 * @mask: how many slots there are, less 1
 * @run: number of this run
 */
struct floor_seen {
	struct floor_slot *slots;
	u64 mask;
	u64 run;
};

void floor_seen_init(struct floor_seen *seen, u64 tables);
void floor_seen_destroy(struct floor_seen *seen);

/* Visit every table of these spaces once, and merge the leaves to rows. */
void floor_spaces(const unsigned char *memory, const u64 *roots, u32 nr_roots,
		  struct floor_seen *seen, struct tally *tally);

/* Sum the bytes of tables, as the compiler likes it best. */
u64 floor_sum(const unsigned char *memory, const u64 *tables, u32 nr);

#endif
