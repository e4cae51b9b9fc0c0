// SPDX-License-Identifier: GPL-2.0-only
/*
 * judge_tables.c - registers and page tables made at random, in any paging mode:
 * Intel SDM vol. 3, 4.3 to 4.5; AMD APM vol. 2, 5.2 and 5.3
 */
#include "judge_tables.h"
#include "ktap.h"
#include "random.h"

/* ---- Memory ---- */

__u32 islands_nr(const struct processor *processor)
{
	return (__u32)(processor->maxphyaddr - FIRST_ISLAND_BIT + 1);
}

__u64 island_gpa(__u32 island)
{
	return island ? BIT_ULL(FIRST_ISLAND_BIT + island - 1) : 0;
}

void *island_ptr(const struct processor *processor, __u8 *islands, __u64 gpa)
{
	__u32 i;

	for (i = 0; i < islands_nr(processor); i++)
		if (gpa >= island_gpa(i) && gpa - island_gpa(i) < ISLAND)
			return islands + i * ISLAND + (gpa - island_gpa(i));
	return NULL;
}

/* ---- Random numbers ---- */

__u32 below(struct round *r, __u32 nr)
{
	return (__u32)(random_next(&r->random) % nr);
}

bool one_in(struct round *r, __u32 nr)
{
	return !below(r, nr);
}

static __u64 any_bits(struct round *r)
{
	return random_next(&r->random) << 62 ^ random_next(&r->random) << 31 ^
	       random_next(&r->random);
}

static __u64 one_bit_of(struct round *r, __u64 mask)
{
	__u64 bit;

	if (!mask)
		return 0;
	do
		bit = BIT_ULL(below(r, 64));
	while (!(bit & mask));
	return bit;
}

static __u64 bits(int high, int low)
{
	return high < low ? 0 : (~0ULL >> (63 - high)) & (~0ULL << low);
}

/* An island's address that has no bit outside @high - 1 to @low */
static __u64 some_island(struct round *r, int low, int high)
{
	int first = low < FIRST_ISLAND_BIT ? FIRST_ISLAND_BIT : low;
	__u32 n = high > first ? below(r, (__u32)(high - first) + 1) : 0;

	return n ? BIT_ULL(first + (int)n - 1) : 0;
}

/* ---- Registers ---- */

static __u64 cr4_features(const struct processor *p)
{
	return CR4_PSE | CR4_PGE | (p->smep ? CR4_SMEP : 0) |
	       (p->smap ? CR4_SMAP : 0) | (p->keys ? CR4_PKE : 0);
}

static void make_registers(struct round *r)
{
	const struct paging *paging = r->paging;

	r->cr0 = CR0_PG | CR0_NE | CR0_ET | CR0_MP | CR0_PE;
	r->cr0 |= any_bits(r) & CR0_WP;
	r->cr4 = any_bits(r) & cr4_features(r->processor);
	r->efer = r->processor->nx ? any_bits(r) & EFER_NXE : 0;
	r->pkru = (__u32)any_bits(r) & (__u32)any_bits(r);
	if (paging->top > VMEM_LEVEL_PD)
		r->cr4 |= CR4_PAE;
	if (is_long(paging))
		r->efer |= EFER_LME | EFER_LMA;
	if (paging->top == VMEM_LEVEL_PML5)
		r->cr4 |= CR4_LA57;
}

/* ---- Entries ---- */

/* Does a page of @level's own size exist? */
static bool has_pages(const struct round *r, int level)
{
	if (level == VMEM_LEVEL_PT || level >= r->paging->top)
		return level == VMEM_LEVEL_PD && r->cr4 & CR4_PSE;
	return level <= VMEM_LEVEL_PDPT;
}

/* Bits that have no bearing on where the entry leads, nor on who may go there */
static __u64 free_bits(const struct round *r, int level, bool page)
{
	__u64 free = bits(11, 9) | bits(6, 3);

	if (is_pae(r->paging) && level == VMEM_LEVEL_PDPT)
		return bits(11, 9) | bits(4, 3);
	if (level < VMEM_LEVEL_PML4)
		free |= BIT_ULL(8);
	if (level == VMEM_LEVEL_PT)
		free |= BIT_ULL(7);
	else if (page)
		free |= BIT_ULL(12);
	else if (level == VMEM_LEVEL_PD && !has_pages(r, level))
		free |= BIT_ULL(7);
	return is_long(r->paging) ? free | bits(62, 52) : free;
}

/* Bits that are reserved, or may be by a vendor's rule */
static __u64 reserved_bits(const struct round *r, int level, bool page)
{
	int width = r->processor->maxphyaddr;
	__u64 reserved = bits(51, width);

	if (r->paging->top == VMEM_LEVEL_PD)
		return page && level == VMEM_LEVEL_PD ?
			       BIT_ULL(21) | bits(20, 13 + width - 32) :
			       0;
	if (!(r->efer & EFER_NXE))
		reserved |= PTE_NX;
	if (is_long(r->paging) && level >= VMEM_LEVEL_PML4)
		reserved |= bits(8, 7);
	if (is_pae(r->paging))
		reserved |= bits(62, 52);
	if (is_pae(r->paging) && level == VMEM_LEVEL_PDPT)
		reserved |= PTE_NX | bits(8, 6) | bits(2, 1);
	if (page && level > VMEM_LEVEL_PT)
		reserved |= bits(level_shift(r->paging, level) - 1, 13);
	return reserved;
}

static __u64 rights(struct round *r, int level)
{
	__u64 raw = 0;

	if (is_pae(r->paging) && level == VMEM_LEVEL_PDPT)
		return 0;
	if (!one_in(r, 8))
		raw |= PTE_W;
	if (!one_in(r, 8))
		raw |= PTE_U;
	if (r->efer & EFER_NXE && r->paging->top > VMEM_LEVEL_PD &&
	    one_in(r, 8))
		raw |= PTE_NX;
	return raw;
}

/* An entry of a PAE root with a reserved bit may fail all of MOV to CR3. */
static bool may_be_reserved(const struct round *r, int level)
{
	return !is_pae(r->paging) || level != VMEM_LEVEL_PDPT || r->bad_root;
}

/* As often one of those that are reserved in some entries alone */
static __u64 some_reserved_bit(struct round *r, int level, bool page)
{
	__u64 reserved = reserved_bits(r, level, page);
	__u64 few = reserved & ~bits(62, r->processor->maxphyaddr);

	return one_bit_of(r, few && one_in(r, 2) ? few : reserved);
}

/* Large pages, and the four of such a root, are few. */
static __u32 flaws_among(const struct round *r, int level, bool page)
{
	if (is_pae(r->paging) && level == VMEM_LEVEL_PDPT)
		return r->bad_root ? 8 : 32;
	return page && level > VMEM_LEVEL_PT ? 12 : 32;
}

static __u64 with_flaw(struct round *r, int level, bool page, __u64 raw)
{
	switch (below(r, flaws_among(r, level, page))) {
	case 0:
		return raw & ~PTE_P;
	case 1:
		return any_bits(r) & ~PTE_P;
	case 2:
	case 3:
		return may_be_reserved(r, level) ?
			       raw | some_reserved_bit(r, level, page) :
			       raw;
	default:
		return raw;
	}
}

/* ---- Addresses that entries lead to ---- */

static int width(const struct round *r)
{
	return r->paging->top == VMEM_LEVEL_PD ? 32 : r->processor->maxphyaddr;
}

static __u64 some_table(struct round *r, int level)
{
	return r->tables[level][below(r, NR_TABLES)];
}

static __u64 some_page(struct round *r)
{
	return some_island(r, FIRST_ISLAND_BIT, width(r)) |
	       below(r, DATA_PAGES) * PAGE;
}

/*
 * Addresses in the first column find islands inside a page at 0, those in the second
 * the first pages of any island that such a page can begin with. A page of 4 MiB has
 * address bits 39:32 in bits 20:13.
 */
static __u64 large_page(struct round *r, int level, int column)
{
	bool pse36 = r->paging->top == VMEM_LEVEL_PD;
	int high = r->processor->maxphyaddr;
	__u64 gpa;

	if (!column)
		return PTE_PS;
	if (pse36 && high > 40)
		high = 40;
	gpa = some_island(r, level_shift(r->paging, level), high);
	return PTE_PS | (pse36 ? (gpa & bits(31, 22)) | gpa >> 32 << 13 : gpa);
}

static __u64 some_entry(struct round *r, int level, int column)
{
	bool large = column < 2 && has_pages(r, level);
	bool page = large || level == VMEM_LEVEL_PT;
	__u64 raw;

	if (large)
		raw = large_page(r, level, column);
	else
		raw = page ? some_page(r) : some_table(r, level - 1);
	raw |= PTE_P | rights(r, level);
	raw |= any_bits(r) & free_bits(r, level, page);
	return with_flaw(r, level, page, raw);
}

/* ---- Tables ---- */

static bool is_taken(const struct round *r, __u64 gpa)
{
	int level, i;

	for (level = VMEM_LEVEL_PT; level <= VMEM_LEVEL_PML5; level++)
		for (i = 0; i < NR_TABLES; i++)
			if ((r->tables[level][i] & ~(PAGE - 1)) == gpa)
				return true;
	return false;
}

static __u64 new_table(struct round *r, bool root)
{
	int high = root && !is_long(r->paging) ? 32 : width(r);
	__u64 gpa;

	do
		gpa = some_island(r, FIRST_ISLAND_BIT, high) |
		      (DATA_PAGES + below(r, ISLAND_PAGES - DATA_PAGES)) * PAGE;
	while (is_taken(r, gpa));
	memset(island_ptr(r->processor, r->islands, gpa), 0, PAGE);
	return gpa;
}

static void make_tables(struct round *r)
{
	int level, i;

	memset(r->tables, 0xff, sizeof(r->tables));
	for (level = VMEM_LEVEL_PT; level < r->paging->top; level++)
		for (i = 0; i < NR_TABLES; i++)
			r->tables[level][i] = new_table(r, false);
	r->tables[r->paging->top][0] = new_table(r, true);
	if (is_pae(r->paging))
		r->tables[r->paging->top][0] += below(r, PAGE / 32) * 32;
}

static __u32 some_index(struct round *r, __u32 nr)
{
	const __u32 edges[] = { 0, nr / 2 - 1, nr / 2, nr - 1 };

	return one_in(r, 4) ? edges[below(r, 4)] : below(r, nr);
}

static void make_columns(struct round *r, int level)
{
	bool top = level == r->paging->top;
	__u32 nr = 1u << r->paging->index_bits;
	__u32 *columns = r->columns[level];
	int i, j;

	if (top && is_pae(r->paging)) {
		for (i = 0; i < NR_COLUMNS; i++)
			columns[i] = (__u32)i % 3;
		return;
	}
	for (i = 0; i < NR_COLUMNS; i++)
		do {
			columns[i] = some_index(r, nr);
			for (j = 0; columns[j] != columns[i]; j++)
				;
		} while (j < i || (top && columns[i] == last_entry(r->paging)));
}

static void put(const struct round *r, __u64 table, __u32 index, __u64 raw)
{
	__u8 *page = island_ptr(r->processor, r->islands, table);
	size_t size = (size_t)r->paging->entry_size;

	memcpy(page + index * size, &raw, size);
}

static void fill(struct round *r, int level)
{
	int nr = level == r->paging->top ? 1 : NR_TABLES, i, j;

	for (i = 0; i < nr; i++)
		for (j = 0; j < NR_COLUMNS; j++)
			put(r, r->tables[level][i], r->columns[level][j],
			    some_entry(r, level, j));
}

/* Bits of CR3 that are neither the root's address nor reserved */
static __u64 cr3_free_bits(const struct paging *paging)
{
	return is_pae(paging) ? bits(4, 0) : bits(11, 0);
}

void round_make(struct round *r, __u64 guest)
{
	__u64 root;
	int level;

	make_registers(r);
	r->bad_root = is_pae(r->paging) && one_in(r, 4);
	make_tables(r);
	for (level = VMEM_LEVEL_PT; level <= r->paging->top; level++) {
		make_columns(r, level);
		fill(r, level);
	}
	root = r->tables[r->paging->top][0];
	put(r, root, last_entry(r->paging), guest);
	r->cr3 = root | (any_bits(r) & cr3_free_bits(r->paging));
}

/* ---- Virtual addresses ---- */

static __u64 inside_large_page(struct round *r, int level, int column)
{
	int shift = level_shift(r->paging, level);

	return (column ? 0 : some_island(r, FIRST_ISLAND_BIT, shift)) |
	       below(r, DATA_PAGES) * PAGE;
}

static __u64 canonical(struct round *r, __u64 va)
{
	int top = level_shift(r->paging, r->paging->top) +
		  r->paging->index_bits - 1;

	if (!is_long(r->paging))
		return va;
	if (va & BIT_ULL(top))
		va |= bits(63, top);
	return one_in(r, 32) ? va ^ BIT_ULL(top + (int)below(r, 64 - top)) : va;
}

__u64 round_va(struct round *r)
{
	__u64 va = below(r, PAGE / 8) * 8;
	int level, column;

	for (level = r->paging->top; level >= VMEM_LEVEL_PT; level--) {
		column = (int)below(r, NR_COLUMNS);
		va |= (__u64)r->columns[level][column]
		      << level_shift(r->paging, level);
		if (column < 2 && has_pages(r, level)) {
			va |= inside_large_page(r, level, column);
			break;
		}
	}
	return canonical(r, va);
}
