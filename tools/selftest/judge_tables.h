/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * judge_tables.h - registers and page tables made at random, in any paging mode
 *
 * Guest memory is islands: one at 0, and one at each power of two up to the width of
 * addresses. An address bit that is lost leads from one island to another. Every
 * present entry without a reserved bit leads to memory.
 */
#ifndef VMEM_SELFTEST_JUDGE_TABLES_H
#define VMEM_SELFTEST_JUDGE_TABLES_H

#include "tables.h"

#define ISLAND KB(256)
#define FIRST_ISLAND_BIT 18

/* The first pages of an island are data, the others can be tables. */
#define DATA_PAGES 48
#define ISLAND_PAGES (ISLAND / PAGE)

#define CR4_PGE BIT_ULL(7)
#define CR4_SMEP BIT_ULL(20)
#define CR4_SMAP BIT_ULL(21)
#define CR4_PKE BIT_ULL(22)

/**
 * struct processor - what the processor has
 * @maxphyaddr: bits of a physical address
 * @la57: 5-level paging
 * @nx: execute-disable
 * @smep: supervisor-mode execution prevention
 * @smap: supervisor-mode access prevention
 * @keys: protection keys of user pages
 */
struct processor {
	int maxphyaddr;
	bool la57;
	bool nx;
	bool smep;
	bool smap;
	bool keys;
};

/**
 * struct paging - a paging mode
 * @name: for people
 * @top: enum vmem_level of the root table
 * @index_bits: bits of the address that index one table
 * @entry_size: bytes of one entry
 */
struct paging {
	const char *name;
	int top;
	int index_bits;
	int entry_size;
};

#define NR_TABLES 3
#define NR_COLUMNS 5

/**
 * struct round - registers and tables, and what addresses are made from
 * @paging: the paging mode
 * @processor: the processor
 * @islands: guest memory, one island behind the other
 * @random: state of the random numbers
 * @cr0: CR0
 * @cr3: CR3
 * @cr4: CR4
 * @efer: EFER
 * @pkru: PKRU
 * @bad_root: the four entries of a PAE root may have reserved bits
 * @tables: addresses of the tables, by level; there is one root
 * @columns: indices in use, by level, the same in all tables of one level. Where a
 *	level has pages of its own, the first two are always such pages.
 */
struct round {
	const struct paging *paging;
	const struct processor *processor;
	__u8 *islands;
	__u64 random;
	__u64 cr0;
	__u64 cr3;
	__u64 cr4;
	__u64 efer;
	__u32 pkru;
	bool bad_root;
	__u64 tables[VMEM_LEVEL_PML5 + 1][NR_TABLES];
	__u32 columns[VMEM_LEVEL_PML5 + 1][NR_COLUMNS];
};

static inline bool is_long(const struct paging *paging)
{
	return paging->top >= VMEM_LEVEL_PML4;
}

static inline bool is_pae(const struct paging *paging)
{
	return paging->top == VMEM_LEVEL_PDPT;
}

static inline int level_shift(const struct paging *paging, int level)
{
	return 12 + paging->index_bits * (level - 1);
}

/* The last entry of the root, in which the guest itself is */
static inline __u32 last_entry(const struct paging *paging)
{
	return is_pae(paging) ? 3 : (1u << paging->index_bits) - 1;
}

__u32 islands_nr(const struct processor *processor);
__u64 island_gpa(__u32 island);

/* Where we have @gpa; NULL if it is on no island */
void *island_ptr(const struct processor *processor, __u8 *islands, __u64 gpa);

/* A number below @nr, which is at most 31 bits wide */
__u32 below(struct round *r, __u32 nr);
bool one_in(struct round *r, __u32 nr);

/**
 * round_make - make registers and tables
 * @r: with @paging, @processor, @islands and @random set
 * @guest: entry of the root for the guest itself
 */
void round_make(struct round *r, __u64 guest);

/* An address of 8 bytes that these tables map or do not, or no canonical one */
__u64 round_va(struct round *r);

#endif /* VMEM_SELFTEST_JUDGE_TABLES_H */
