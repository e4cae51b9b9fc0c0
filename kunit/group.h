/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Address spaces that are looked at together: one guest, several roots, tables
 * that a test links to each other as it likes, and lists of the records that
 * vmem_walk_va_spaces() gives.
 */
#ifndef _VMEM_KUNIT_GROUP_H
#define _VMEM_KUNIT_GROUP_H

#include <linux/types.h>
#include <vmem/spaces.h>
#include <vmem/translate.h>

#include "space.h"

#define GROUP_MAX_ROOTS 8
#define GROUP_MAX_EXCLUDED 8

/**
 * struct group - spaces that are looked at together
 * @test: the test it belongs to
 * @s: the guest and its mode; its own root is of no meaning
 * @next_root: the place behind the last of group_new_root()
 * @nr_roots: how many spaces there are
 * @regs: their registers
 * @roots: what vmem_root_init() made of them
 * @scope: the part to look at; all of it to begin with
 * @excluded: what the scope's exclusions point to
 */
struct group {
	struct kunit *test;
	struct space *s;
	u64 next_root;
	u32 nr_roots;
	struct vmem_regs regs[GROUP_MAX_ROOTS];
	struct vmem_root roots[GROUP_MAX_ROOTS];
	struct vmem_scope scope;
	struct vmem_span excluded[GROUP_MAX_EXCLUDED];
};

/* A group without roots, in a guest without pages. It goes with the test. */
struct group *group_alloc(struct kunit *test, const struct mode *mode);

/* Start anew; see guest_reset() for @bounce. */
void group_reset(struct group *g, bool bounce);

/* Add a page to put a table in. */
u64 group_add_table(struct group *g);

/*
 * A place for a root table: a page of its own, or beside other roots where roots are
 * smaller than a page.
 */
u64 group_new_root(struct group *g);

/* From one of them to the next, if they are the only tables made. */
static inline u64 group_root_step(const struct group *g)
{
	const struct mode *mode = g->s->mode;

	return mode->root_at ?
		       mode_entries(mode, mode->top) * mode->entry_size :
		       VMEM_PAGE_SIZE;
}

/* Add a space at the end; for a root of one's own, group_new_root(). */
void group_add_root(struct group *g, u64 cr3);

/* Look at this range only, without exclusions. */
void group_set_range(struct group *g, u64 va, u64 last_va);

/* Exclude a range above those that are excluded already. */
void group_exclude(struct group *g, u64 va, u64 last_va);

/*
 * Address of the entry of @va in the table of @level, from the root table
 * @root on. Tables that are missing on the way are added, with all permissions.
 */
u64 group_entry(struct group *g, u64 root, u64 va, int level);

/* Write that entry. */
void group_set(struct group *g, u64 root, u64 va, int level, u64 raw);

/* Let @table be the table of @level that maps @va. */
void group_link(struct group *g, u64 root, u64 va, int level, u64 table,
		u64 flags);

/* Write the entry of an index. */
void group_put(struct group *g, u64 table, int index, u64 raw);

/* Bytes that a whole table of @level maps. */
u64 group_region(const struct group *g, int level);

/**
 * struct share - a table that is shared
 * @desc: for people
 * @mode: the paging mode
 * @level: the table's level
 * @name: what references call it
 */
struct share {
	const char *desc;
	const struct mode *mode;
	int level;
	enum vmem_table name;
};

#define NR_SHARES 27

/* Every table that can be shared, in every mode. */
extern const struct share shares[NR_SHARES];

static inline void share_desc(const struct share *share, char *desc)
{
	strscpy(desc, share->desc, KUNIT_PARAM_DESC_SIZE);
}

#define MAX_RECORDS 4096

/**
 * struct records - records, in order
 * @room: refuse what comes when there are so many
 * @nr: how many there are
 * @r: the records
 */
struct records {
	int room;
	int nr;
	struct vmem_record r[MAX_RECORDS];
};

struct records *records_alloc(struct kunit *test);
void records_reset(struct records *records);

/* The emit callback that goes with it. */
int records_emit(const struct vmem_record *record, void *priv);

bool record_equal(const struct vmem_record *a, const struct vmem_record *b);

/* Compare, and log the first difference. */
bool records_equal(struct kunit *test, const struct records *got,
		   const struct records *want);

/* How many there are of a type. */
int records_count(const struct records *records, u32 type);

/* The @nth record of a type, from 0; NULL if there is none. */
const struct vmem_record *records_get(const struct records *records, u32 type,
				      int nth);

/* Make ready to walk; vmem_spaces_destroy() when done. */
void group_begin(const struct group *g, struct vmem_spaces *spaces);

/* One call of vmem_walk_va_spaces(). */
int group_walk(const struct group *g, struct vmem_spaces *spaces, u64 budget,
	       struct records *records);

/* Begin, and walk to the end in one call. */
void group_walk_all(const struct group *g, struct vmem_spaces *spaces,
		    struct records *records);

/* vmem_translate_batch() with near tables, as long as it runs. */
int group_translate(struct vmem_batch *batch);

#endif /* _VMEM_KUNIT_GROUP_H */
