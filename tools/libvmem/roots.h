/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A search for roots, as its files share it
 */
#ifndef LIBVMEM_ROOTS_H
#define LIBVMEM_ROOTS_H

#include <linux/types.h>
#include <vmem/arch.h>

#include "vm.h"

/* Entries of the largest table */
#define MAX_ENTRIES 1024

/* PAE: PDPTEs of a root */
#define PAE_ENTRIES 4

/**
 * struct top - what the entries of a top-level table lead to
 * @keys: of each entry, the address and the kind of what it names; 0 if nothing
 */
struct top {
	u64 keys[MAX_ENTRIES];
};

/* An entry that the processor would fault on */
#define BAD_KEY (~0ull)

/* How many pointers to a root are recorded. A kernel has a few. */
#define MAX_ACCOUNTS 32

/**
 * struct pointers - what the kernel's pointers to a root would be
 * @va: where the kernel has the root in its map of all memory; 0 if nowhere
 * @gpa: where the root is
 * @root: index of the root
 * @before: what was before those that were found: 0 where one begins a page
 * @page: in which page each of them is; of the same in one page, there is one
 * @nr: elements of @before and @page
 */
struct pointers {
	u64 va;
	u64 gpa;
	size_t root;
	u64 before[MAX_ACCOUNTS];
	u64 page[MAX_ACCOUNTS];
	unsigned int nr;
};

/**
 * struct account - a pointer to a root
 * @before: the word before it
 * @page: guest-physical address of the page that it is in
 * @root: index of the root
 */
struct account {
	u64 before;
	u64 page;
	size_t root;
};

/*
 * What half of a root maps is looked at by so many calls of the module at most, of which
 * each tells of 1024 pages: as many as map all of memory twice, page by page.
 */
#define CALLS_OF_A_ROOT(frames) (64 + (frames) / 512)

/**
 * struct finder - a search that is under way
 * @vm: the guest
 * @search: the search
 * @error: the failure
 * @root: the mode, and the reference's table
 * @nr: entries of a top-level table
 * @size: bytes between two places where a root can be
 * @split: index of the first entry of the kernel half
 * @like: the reference
 * @kernel: entries of its kernel half
 * @pd: PAE: its kernel half, if it is one PD
 * @calls_left: calls of the module for what user halves map
 * @pds_left: PAE: PDs that may be read to compare them
 * @room: elements that there is room for in the search's roots
 * @frames: a bit for each guest-physical page that is mapped to user mode by a root that
 *	a vCPU has
 * @others: likewise, by any other root
 * @nr_frames: bits of each
 * @looked: bytes of memory that had been read at the last look at the vCPUs
 * @from: PAE and 2-level: the first address of the kernel half
 * @pointers: by rising @va, those that are looked for
 * @nr_pointers: elements of @pointers
 * @nr_unmapped: those of which @va is not known yet
 * @accounts: pointers that were found, all together
 * @nr_accounts: elements of @accounts
 * @has_rivals: several roots have a table of user mode in common
 * @crowded: one of several with the same user half has more pointers than are recorded
 */
struct finder {
	struct libvmem *vm;
	struct libvmem_search *search;
	struct libvmem_error *error;
	struct vmem_root root;
	unsigned int nr;
	u64 size;
	unsigned int split;
	struct top like;
	unsigned int kernel;
	struct top pd;
	u64 calls_left;
	u64 pds_left;
	size_t room;
	u8 *frames;
	u8 *others;
	u64 nr_frames;
	u64 looked;
	u64 from;
	struct pointers *pointers;
	size_t nr_pointers;
	size_t nr_unmapped;
	struct account *accounts;
	size_t nr_accounts;
	bool has_rivals;
	bool crowded;
};

/**
 * struct likeness - how much of a kernel half is the reference's
 * @same: entries that are equal
 * @other: entries that both have, and are not equal
 * @more: entries that the reference does not have
 * @kernel: entries that the reference has
 */
struct likeness {
	unsigned int same;
	unsigned int other;
	unsigned int more;
	unsigned int kernel;
};

static inline bool is_pae(const struct finder *f)
{
	return f->root.mode.top == VMEM_LEVEL_PDPT;
}

static inline bool is_long(const struct finder *f)
{
	return f->root.mode.top >= VMEM_LEVEL_PML4;
}

/* Kernels isolate no tables of 2 levels. */
static inline bool may_have_twins(const struct finder *f)
{
	return is_pae(f) || is_long(f);
}

static inline struct vmem_regs regs_of_root(const struct finder *f, u64 root)
{
	struct vmem_regs regs = f->search->regs;

	regs.cr3 = root;
	return regs;
}

/* Said to be a process's */
static inline bool is_used(const struct libvmem_root_found *found)
{
	return found->kind == LIBVMEM_ROOT_USER ||
	       found->kind == LIBVMEM_ROOT_VCPU;
}

static inline bool is_marked(const struct finder *f, const u8 *bits, u64 gpa)
{
	u64 frame = gpa / VMEM_PAGE_SIZE;

	return frame < f->nr_frames && bits[frame / 8] & 1u << frame % 8;
}

/* roots.c */

/*
 * Set a bit for each page that a root maps to user mode. @bytes, @anomalies: set, how much
 * that is, and how many entries lead nowhere; or NULL. 1 if it is more than a process can
 * have, and not all was marked.
 */
int mark_user_pages(struct finder *f, u64 root, u8 *bits, u64 *bytes,
		    u64 *anomalies);

/* root_like.c */

/* What the entries of the root table at @root lead to; nothing if it cannot be read. */
int read_top(struct finder *f, u64 root, struct top *top);

/* The user half of @kernel, which is not empty, and at most half as much of a kernel. */
bool is_twin(struct finder *f, const struct top *user,
	     const struct top *kernel);

/* Whether a table looks like a root: sets how much its kernel half is the reference's. */
bool is_like_root(struct finder *f, const void *table,
		  struct likeness *likeness);

/* The kernel half that all roots are compared with is that of @root from now on. */
int take_reference(struct finder *f, u64 root);

/*
 * Of an image that tells no root: one of those whose kernel half most tables have that
 * can be roots. 0 if there is none.
 */
int guess_reference(struct finder *f, u64 *root);

/* root_rivals.c */

/* Of roots with the same user half, find the one that is used. */
int settle_rivals(struct finder *f);

#endif
