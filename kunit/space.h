/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An address space made up by a test: a guest, its registers, helpers that
 * write its tables, and checks of what the core says about it. The checks
 * return whether all is well and log what is not.
 */
#ifndef _VMEM_KUNIT_SPACE_H
#define _VMEM_KUNIT_SPACE_H

#include <linux/types.h>
#include <vmem/translate.h>

#include "guest.h"
#include "reference.h"

#define PTE_P BIT_ULL(0)
#define PTE_W BIT_ULL(1)
#define PTE_U BIT_ULL(2)
#define PTE_PS BIT_ULL(7)
#define PTE_G BIT_ULL(8)
#define PTE_PAT_LARGE BIT_ULL(12)
#define PTE_NX BIT_ULL(63)
#define PTE_PWU (PTE_P | PTE_W | PTE_U)

#define ALL_PERMS (VMEM_WRITABLE | VMEM_USER | VMEM_EXECUTABLE)

/**
 * struct mode - a paging mode under test, and addresses that suit it
 * @desc: for people
 * @regs: the registers that select it, without CR3
 * @top: level of the root table
 * @index_bits: a table holds 1 << @index_bits entries
 * @root_bits: the same of a root table
 * @entry_size: bytes of an entry
 * @max_leaf: highest level whose entries may map pages
 * @tables: where the tests put their tables
 * @root_at: where the first root lies in its page
 * @frame: a frame for 4 KiB pages, aligned to any page
 * @big_frame: a frame for large pages, aligned to any page
 * @va: where the tests map things, aligned to any page
 * @last: last virtual address
 */
struct mode {
	const char *desc;
	struct vmem_regs regs;
	int top;
	int index_bits;
	int root_bits;
	int entry_size;
	int max_leaf;
	u64 tables;
	u64 root_at;
	u64 frame;
	u64 big_frame;
	u64 va;
	u64 last;
};

#define NR_MODES 11

extern const struct mode modes[NR_MODES];

static inline void mode_desc(const struct mode *mode, char *desc)
{
	strscpy(desc, mode->desc, KUNIT_PARAM_DESC_SIZE);
}

static inline bool mode_is_long(const struct mode *mode)
{
	return mode->regs.efer & EFER_LME;
}

static inline bool mode_is_pae(const struct mode *mode)
{
	return mode->entry_size == 8 && !mode_is_long(mode);
}

/* Entries of a table of @level. */
static inline int mode_entries(const struct mode *mode, int level)
{
	return BIT(level == mode->top ? mode->root_bits : mode->index_bits);
}

/* Can entries of @level that name tables deny anything? */
static inline bool mode_denies(const struct mode *mode, int level)
{
	return !mode_is_pae(mode) || level < VMEM_LEVEL_PDPT;
}

/* The bit of an entry that says whether a page is encrypted; 0 if none does. */
static inline u64 mode_encryption(const struct mode *mode)
{
	u32 bit = mode->regs.rules >> 8;

	return bit ? BIT_ULL(bit) : 0;
}

/* The first address over those that entries can name, where nothing is encrypted. */
static inline u64 mode_tables_end(const struct mode *mode)
{
	return BIT_ULL(mode->entry_size == 4 ? 32 : mode->regs.maxphyaddr);
}

/* The same for roots, which CR3 names. */
static inline u64 mode_roots_end(const struct mode *mode)
{
	return mode_is_long(mode) ? mode_tables_end(mode) : BIT_ULL(32);
}

/* @va with its high bits as the mode wants them. */
u64 mode_canonical(const struct mode *mode, u64 va);

#define MAX_MAPPINGS 2048

/**
 * struct recorder - what @emit has been given
 * @stop_at: refuse the mapping of this index; -1 for none
 * @nr: mappings taken
 * @maps: the mappings
 */
struct recorder {
	int stop_at;
	int nr;
	struct vmem_mapping maps[MAX_MAPPINGS];
};

/**
 * struct space - an address space
 * @test: the test it belongs to
 * @mode: how it pages
 * @guest: its memory
 * @regs: its registers
 * @root: what vmem_root_init() made of them
 * @next_table: where the next table goes
 * @bounce: what space_reset() makes of the guest's @bounce
 */
struct space {
	struct kunit *test;
	const struct mode *mode;
	struct guest *guest;
	struct vmem_regs regs;
	struct vmem_root root;
	u64 next_table;
	bool bounce;
};

/* A space with an empty root table. It goes with the test. */
struct space *space_alloc(struct kunit *test, const struct mode *mode);

/* Start anew with an empty root table. */
void space_reset(struct space *s);

/* Load CR3. */
void space_set_root(struct space *s, u64 cr3);

/* What one entry of a table of @level spans: the size of a page there. */
u64 space_span(const struct space *s, int level);

/*
 * Address of the entry of @va in its table of @level. Tables that are missing
 * on the way are added, with all permissions.
 */
u64 space_entry(struct space *s, u64 va, int level);

/*
 * The entry of a table of @level that names @table: without such flags as no entry
 * of that level has.
 */
u64 space_link(const struct space *s, int level, u64 table, u64 flags);

/* The table that an entry names; the tests' tables have no odd bits. */
u64 space_table_of(const struct space *s, u64 raw);

/* Write and read that entry. */
void space_set(struct space *s, u64 va, int level, u64 raw);
u64 space_get(struct space *s, u64 va, int level);

/* The entry that maps a page of @level at @gpa. */
u64 space_leaf(const struct space *s, int level, u64 gpa, u64 flags);

/* Map a page of @level. */
void space_map(struct space *s, u64 va, int level, u64 gpa, u64 flags);

/* An entry that faults in a table of @level; 0 if this mode has none. */
u64 space_reserved(const struct space *s, int level);

/* A frame for pages of @level. */
u64 space_frame(const struct space *s, int level);

/* An address to map a page of @level at, with indices that are not 0. */
u64 space_va(const struct space *s, int level);

/* What the reference makes of @va. */
void space_ref(const struct space *s, u64 va, struct ref *ref);

struct recorder *recorder_alloc(struct kunit *test);
void recorder_reset(struct recorder *rec);

/* The emit callback that goes with it. */
int recorder_emit(const struct vmem_mapping *mapping, void *priv);

/* Merge what could be: calls that go on begin with a mapping of their own. */
void recorder_merge(struct recorder *rec);

/* Is there anything that should have been merged? */
bool recorder_is_merged(const struct recorder *rec);

bool recorder_equal(const struct recorder *a, const struct recorder *b);

/* A range to ask for, with a budget without end. */
struct vmem_range space_range(struct space *s, u64 va, u64 last_va,
			      struct recorder *rec);

/*
 * Ask for the range until it is done, with @budget entries for each call.
 * Returns the last errno; -ELOOP for a call that gets nowhere.
 */
int space_flatten(struct space *s, struct vmem_range *range, u64 budget);

/* But for who owns what. */
bool translation_equal(const struct vmem_translation *a,
		       const struct vmem_translation *b);

/* vmem_translate() and the pages that it pins agree with the reference. */
bool space_check_va(struct space *s, u64 va);

/* @rec and @anomalies are what the reference finds, page by page. */
bool space_check_range(struct space *s, u64 va, u64 last_va,
		       const struct recorder *rec, u64 anomalies);

/* The visits of a walk tile the range and agree with the reference. */
bool space_check_walk(struct space *s, u64 va, u64 last_va);

#endif /* _VMEM_KUNIT_SPACE_H */
