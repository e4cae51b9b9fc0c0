// SPDX-License-Identifier: GPL-2.0-only
/*
 * Minimal walks; see floor.h for what they leave out
 */
#include <stdlib.h>

#include "floor.h"
#include "guest.h"

#define TOP 4
#define PERMS_MASK (WRITABLE | USER)

static inline const u64 *table_at(const unsigned char *memory, u64 entry)
{
	return (const u64 *)(memory + (entry & ADDRESS));
}

static u64 translate(const unsigned char *memory, u64 root, u64 va)
{
	u64 entry = root, offset;
	int shift;

	for (shift = 39;; shift -= 9) {
		entry = table_at(memory, entry)[va >> shift & (ENTRIES - 1)];
		if (!(entry & PRESENT))
			return 0;
		if (shift == 12 || entry & LARGE)
			break;
	}
	offset = va & (BIT_ULL(shift) - 1);
	return (entry & ADDRESS & ~(BIT_ULL(shift) - 1)) | offset;
}

u64 floor_translate(const unsigned char *memory, u64 root, const u64 *vas,
		    u32 nr)
{
	u64 sum = 0;
	u32 i;

	for (i = 0; i < nr; i++)
		sum += translate(memory, root, vas[i]);
	return sum;
}

/* As the core says it: writable, user, executable. */
static u32 told_perms(u64 perms)
{
	return (perms & PERMS_MASK) >> 1 | (perms & NO_EXECUTE ? 0 : 4);
}

static u64 restrict_perms(u64 perms, u64 entry)
{
	return (perms & entry & PERMS_MASK) | ((perms | entry) & NO_EXECUTE);
}

/*
 * Field by field: to clear 152 bytes first takes longer than all the rest. What
 * is mapped has read two entries at least.
 */
static inline void clear_trace(struct vmem_translation *result)
{
	result->out_trace[2] = (struct vmem_trace){};
	result->out_trace[3] = (struct vmem_trace){};
	result->out_trace[4] = (struct vmem_trace){};
	result->out_owner_space = 0;
	result->out_owner_va = 0;
	result->out_referenced = 0;
	result->out_owner_root = 0;
}

static inline void fill_in(const unsigned char *memory, u64 root, u64 va,
			   bool brief, struct vmem_translation *result)
{
	u64 entry = root, perms = PERMS_MASK;
	int shift, nr = 0;
	u64 at;

	if (!brief)
		clear_trace(result);
	for (shift = 39;; shift -= 9) {
		at = (entry & ADDRESS) + (va >> shift & (ENTRIES - 1)) * 8;
		entry = *(const u64 *)(memory + at);
		if (!brief)
			result->out_trace[nr] =
				(struct vmem_trace){ at, entry };
		nr++;
		if (!(entry & PRESENT))
			break;
		perms = restrict_perms(perms, entry);
		if (shift == 12 || entry & LARGE)
			break;
	}
	result->out_gpa = (entry & ADDRESS & ~(BIT_ULL(shift) - 1)) |
			  (va & (BIT_ULL(shift) - 1));
	result->out_page_size = BIT_ULL(shift);
	result->out_status = entry & PRESENT ? VMEM_MAPPED : VMEM_NOT_PRESENT;
	result->out_perms = told_perms(perms);
	result->out_level = TOP + 1 - nr;
	result->out_nr_trace = nr;
}

void floor_translate_full(const unsigned char *memory, u64 root, const u64 *vas,
			  struct vmem_translation *results, u32 nr)
{
	u32 i;

	for (i = 0; i < nr; i++)
		fill_in(memory, root, vas[i], false, &results[i]);
}

void floor_translate_brief(const unsigned char *memory, u64 root,
			   const u64 *vas, struct vmem_translation *results,
			   u32 nr)
{
	u32 i;

	for (i = 0; i < nr; i++)
		fill_in(memory, root, vas[i], true, &results[i]);
}

static u64 leaf_address(u64 entry, int level)
{
	return entry & ADDRESS & ~(BIT_ULL(12 + 9 * (level - 1)) - 1);
}

static bool is_leaf(u64 entry, int level)
{
	return level == 1 || entry & LARGE;
}

static u64 leaves(const unsigned char *memory, u64 table, int level, u64 *nr)
{
	const u64 *entries = table_at(memory, table);
	u64 sum = 0;
	int i;

	for (i = 0; i < ENTRIES; i++) {
		u64 entry = entries[i];

		if (!(entry & PRESENT))
			continue;
		if (is_leaf(entry, level)) {
			sum += leaf_address(entry, level);
			++*nr;
		} else {
			sum += leaves(memory, entry, level - 1, nr);
		}
	}
	return sum;
}

u64 floor_leaves(const unsigned char *memory, u64 root, u64 *nr)
{
	return leaves(memory, root, TOP, nr);
}

/**
 * struct rows - leaves being merged
 * @memory: the guest's memory
 * @seen: the tables seen; NULL to expand
 * @tally: what was told
 * @va: first address of the row that is open
 * @end: the address behind it
 * @gpa: what @va is mapped to
 * @size: of its pages; 0 if no row is open
 * @perms: bits of the path that restrict
 */
struct rows {
	const unsigned char *memory;
	struct floor_seen *seen;
	struct tally *tally;
	u64 va;
	u64 end;
	u64 gpa;
	u64 size;
	u64 perms;
};

static void end_row(struct rows *rows)
{
	if (rows->size)
		tally_row(rows->tally, rows->va, rows->end - 1, rows->gpa,
			  told_perms(rows->perms));
	rows->size = 0;
}

static inline void add_leaf(struct rows *rows, u64 va, u64 gpa, u64 size,
			    u64 perms)
{
	if (rows->size == size && rows->end == va && rows->perms == perms &&
	    rows->gpa + (va - rows->va) == gpa) {
		rows->end = va + size;
		return;
	}
	end_row(rows);
	rows->va = va;
	rows->end = va + size;
	rows->gpa = gpa;
	rows->size = size;
	rows->perms = perms;
}

static bool seen_before(struct floor_seen *seen, u64 entry, int level)
{
	u64 table = (entry & ADDRESS) | level;
	u64 i = (table * 0x9e3779b97f4a7c15ULL >> 32) & seen->mask;

	for (; seen->slots[i].run == seen->run; i = (i + 1) & seen->mask)
		if (seen->slots[i].table == table)
			return true;
	seen->slots[i].table = table;
	seen->slots[i].run = seen->run;
	return false;
}

/* @perms: what the path restricts; write and user rights are anded, NX is ored */
static void walk_rows(struct rows *rows, u64 table, int level, u64 va,
		      u64 perms)
{
	const u64 *entries = table_at(rows->memory, table);
	u64 size = BIT_ULL(12 + 9 * (level - 1));
	int i;

	for (i = 0; i < ENTRIES; i++, va += size) {
		u64 entry = entries[i];
		u64 rights;

		if (!(entry & PRESENT))
			continue;
		rights = restrict_perms(perms, entry);
		if (level == TOP && i >= ENTRIES / 2)
			va |= 0xffffULL << 48;
		if (is_leaf(entry, level)) {
			add_leaf(rows, va, leaf_address(entry, level), size,
				 rights);
		} else if (rows->seen &&
			   seen_before(rows->seen, entry, level - 1)) {
			end_row(rows);
			rows->tally->references++;
		} else {
			walk_rows(rows, entry, level - 1, va, rights);
		}
	}
}

void floor_rows(const unsigned char *memory, u64 root, struct tally *tally)
{
	struct rows rows = { .memory = memory, .tally = tally };

	walk_rows(&rows, root, TOP, 0, PERMS_MASK);
	end_row(&rows);
}

void floor_seen_init(struct floor_seen *seen, u64 tables)
{
	u64 slots = 512;

	while (slots < 2 * tables)
		slots *= 2;
	seen->slots = calloc(slots, sizeof(*seen->slots));
	if (!seen->slots)
		die("out of memory for %llu tables", tables);
	seen->mask = slots - 1;
	seen->run = 0;
}

void floor_seen_destroy(struct floor_seen *seen)
{
	free(seen->slots);
}

void floor_spaces(const unsigned char *memory, const u64 *roots, u32 nr_roots,
		  struct floor_seen *seen, struct tally *tally)
{
	struct rows rows = { .memory = memory, .seen = seen, .tally = tally };
	u32 i;

	seen->run++;
	for (i = 0; i < nr_roots; i++) {
		walk_rows(&rows, roots[i], TOP, 0, PERMS_MASK);
		end_row(&rows);
	}
}

u64 floor_sum(const unsigned char *memory, const u64 *tables, u32 nr)
{
	u64 sum = 0;
	u32 i, j;

	for (i = 0; i < nr; i++) {
		const u64 *entries = table_at(memory, tables[i]);

		for (j = 0; j < ENTRIES; j++)
			sum += entries[j];
	}
	return sum;
}
