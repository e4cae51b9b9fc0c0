/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The oracle: what a walk over many spaces is to tell, found by brute force. It
 * recurses from each root, asks the reference about every entry, keeps what it
 * has seen in a list that is searched from its start, and has nothing in common
 * with the code under test. The checks log what is wrong.
 */
#ifndef _VMEM_KUNIT_ORACLE_H
#define _VMEM_KUNIT_ORACLE_H

#include "group.h"

#define ORACLE_MAX_KEYS 512

/* Mappings that are shared too often are looked at in samples only. */
#define ORACLE_MAX_EXPANDED 3000

/**
 * struct oracle_key - a table that has been seen, as rule 3 knows it
 * @table: its address
 * @level: its level
 * @window: VMEM_WINDOW_ALL, or where its region starts if it is seen in part
 * @va: where its owner has it
 * @root: index of the owner
 * @perms: permissions of the owner's path to it
 */
struct oracle_key {
	u64 table;
	int level;
	u64 window;
	u64 va;
	u32 root;
	u32 perms;
};

/**
 * struct oracle_page - a page of the guest as a table
 * @gpa: its address
 * @nr: entries that are not 0
 * @index: their indices
 */
struct oracle_page {
	u64 gpa;
	int nr;
	u16 index[1024];
};

/**
 * struct oracle_piece - a part of what an entry maps, or fails to
 * @va: first virtual address
 * @last_va: last virtual address
 * @ref: what the reference says about the first address of the entry
 * @base: that address
 */
struct oracle_piece {
	u64 va;
	u64 last_va;
	const struct ref *ref;
	u64 base;
};

/**
 * struct oracle - what is to be told of a group
 * @g: the group
 * @pages: the guest's pages
 * @allowed: the scope less what is excluded from it
 * @nr_allowed: number of @allowed
 * @keys: the tables seen
 * @nr_keys: number of @keys
 * @want: the records
 * @leaves: pages that are mapped, references not followed
 * @cut_tables: tables that have to stand for large ones of these pages, of
 *	which a part is allowed
 * @naive: expand everything for @take; see oracle_expand()
 * @take: gets the pieces
 * @priv: passed to @take
 * @got: the records that are checked
 * @root: index of the root that is expanded
 * @expanded: how many pieces it has so far
 * @bytes: how many bytes they have
 * @ok: they are all in @got
 */
struct oracle {
	const struct group *g;
	struct oracle_page pages[GUEST_MAX_PAGES];
	struct vmem_span allowed[GROUP_MAX_EXCLUDED + 1];
	int nr_allowed;
	struct oracle_key keys[ORACLE_MAX_KEYS];
	int nr_keys;
	struct records want;
	u64 leaves;
	u64 cut_tables;
	bool naive;
	void (*take)(struct oracle *o, const struct oracle_piece *p,
		     void *priv);
	void *priv;
	const struct records *got;
	u32 root;
	int expanded;
	u64 bytes;
	bool ok;
};

struct oracle *oracle_alloc(struct kunit *test);

/* Find out what is to be told. */
void oracle_run(struct oracle *o, const struct group *g);

/*
 * After oracle_run(): expand a space alone, references and all, as far as the
 * scope goes, and give @take what its entries map or fail to, up to
 * ORACLE_MAX_EXPANDED pieces. @take clears @o->ok to end it. Returns that.
 */
bool oracle_expand(struct oracle *o, u32 root,
		   void (*take)(struct oracle *o, const struct oracle_piece *p,
				void *priv),
		   void *priv);

/*
 * The records and the counters of a walk that was not interrupted are as they
 * should be.
 */
bool oracle_check_walk(struct oracle *o, const struct records *got,
		       const struct vmem_spaces_stats *stats);

/*
 * With what they refer to in place of the references, the records of every
 * space are what expanding it alone gives: all of it, and nothing else. Every
 * reference leads to records before it.
 */
bool oracle_check_expansion(struct oracle *o, const struct records *got);

/*
 * Translations of @va agree with the reference, and with oracle_run() on the
 * owner, in whose space the address leads to the same entry. Whether the guest is
 * intact is left to the caller, who may ask once for many.
 */
bool oracle_check_va(struct oracle *o, struct vmem_spaces *spaces, u32 root,
		     u64 va);

/* All of these, on a walk from the start to the end. */
bool oracle_check(struct oracle *o, const struct group *g,
		  struct records *records);

#endif /* _VMEM_KUNIT_ORACLE_H */
