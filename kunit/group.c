// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address spaces that are looked at together, and the records about them.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/string.h>
#include <vmem/near.h>

#include "group.h"

/* clang-format off */
const struct share shares[NR_SHARES] = {
	{ "4-level, NXE, 52 bits: PT", &modes[0], 1, VMEM_TABLE_AMD64_PT },
	{ "4-level, NXE, 52 bits: PD", &modes[0], 2, VMEM_TABLE_AMD64_PD },
	{ "4-level, NXE, 52 bits: PDPT", &modes[0], 3, VMEM_TABLE_AMD64_PDPT },
	{ "4-level, NXE, 36 bits: PT", &modes[1], 1, VMEM_TABLE_AMD64_PT },
	{ "4-level, NXE, 36 bits: PD", &modes[1], 2, VMEM_TABLE_AMD64_PD },
	{ "4-level, NXE, 36 bits: PDPT", &modes[1], 3, VMEM_TABLE_AMD64_PDPT },
	{ "4-level, no NXE, 40 bit: PT", &modes[2], 1, VMEM_TABLE_AMD64_PT },
	{ "4-level, no NXE, 40 bit: PD", &modes[2], 2, VMEM_TABLE_AMD64_PD },
	{ "4-level, no NXE, 40 bit: PDPT", &modes[2], 3, VMEM_TABLE_AMD64_PDPT },
	{ "2-level, PSE, 36 bits: PT", &modes[3], 1, VMEM_TABLE_I686_PT },
	{ "2-level, PSE, 52 bits: PT", &modes[4], 1, VMEM_TABLE_I686_PT },
	{ "2-level, no PSE: PT", &modes[5], 1, VMEM_TABLE_I686_PT },
	{ "PAE, NXE, 52 bits: PT", &modes[6], 1, VMEM_TABLE_PAE_PT },
	{ "PAE, NXE, 52 bits: PD", &modes[6], 2, VMEM_TABLE_PAE_PD },
	{ "PAE, no NXE, 36 bits: PT", &modes[7], 1, VMEM_TABLE_PAE_PT },
	{ "PAE, no NXE, 36 bits: PD", &modes[7], 2, VMEM_TABLE_PAE_PD },
	{ "5-level, NXE, 52 bits: PT", &modes[8], 1, VMEM_TABLE_AMD64_PT },
	{ "5-level, NXE, 52 bits: PD", &modes[8], 2, VMEM_TABLE_AMD64_PD },
	{ "5-level, NXE, 52 bits: PDPT", &modes[8], 3, VMEM_TABLE_AMD64_PDPT },
	{ "5-level, NXE, 52 bits: PML4", &modes[8], 4, VMEM_TABLE_AMD64_PML4 },
	{ "5-level, AMD, 43 bits: PT", &modes[9], 1, VMEM_TABLE_AMD64_PT },
	{ "5-level, AMD, 43 bits: PD", &modes[9], 2, VMEM_TABLE_AMD64_PD },
	{ "5-level, AMD, 43 bits: PDPT", &modes[9], 3, VMEM_TABLE_AMD64_PDPT },
	{ "5-level, AMD, 43 bits: PML4", &modes[9], 4, VMEM_TABLE_AMD64_PML4 },
	{ "4-level, shared bit: PT", &modes[10], 1, VMEM_TABLE_AMD64_PT },
	{ "4-level, shared bit: PD", &modes[10], 2, VMEM_TABLE_AMD64_PD },
	{ "4-level, shared bit: PDPT", &modes[10], 3, VMEM_TABLE_AMD64_PDPT },
};

/* clang-format on */

struct group *group_alloc(struct kunit *test, const struct mode *mode)
{
	struct group *g = kunit_kzalloc(test, sizeof(*g), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, g);
	g->test = test;
	g->s = space_alloc(test, mode);
	group_reset(g, true);
	return g;
}

void group_reset(struct group *g, bool bounce)
{
	guest_reset(g->s->guest, bounce);
	g->s->next_table = g->s->mode->tables;
	g->next_root = 0;
	g->nr_roots = 0;
	group_set_range(g, 0, U64_MAX);
}

u64 group_add_table(struct group *g)
{
	u64 table = g->s->next_table;

	guest_add(g->s->guest, table);
	g->s->next_table += VMEM_PAGE_SIZE;
	return table;
}

u64 group_new_root(struct group *g)
{
	u64 root = g->next_root;

	/* At the end of a page, or with a page for each */
	if (!(root & ~VMEM_PAGE_MASK))
		root = group_add_table(g) + g->s->mode->root_at;
	g->next_root = root + group_root_step(g);
	return root;
}

void group_add_root(struct group *g, u64 cr3)
{
	u32 i = g->nr_roots++;

	KUNIT_ASSERT_LT(g->test, i, (u32)GROUP_MAX_ROOTS);
	g->regs[i] = g->s->mode->regs;
	g->regs[i].cr3 = cr3;
	KUNIT_ASSERT_EQ(g->test, vmem_root_init(&g->roots[i], &g->regs[i]), 0);
}

void group_set_range(struct group *g, u64 va, u64 last_va)
{
	g->scope = (struct vmem_scope){
		.va = va,
		.last_va = last_va,
		.excluded = g->excluded,
	};
}

void group_exclude(struct group *g, u64 va, u64 last_va)
{
	u32 i = g->scope.nr_excluded++;

	KUNIT_ASSERT_LT(g->test, i, (u32)GROUP_MAX_EXCLUDED);
	g->excluded[i].va = va;
	g->excluded[i].last_va = last_va;
}

static u64 group_entry_at(const struct group *g, u64 table, u64 va, int level)
{
	u64 index = va / space_span(g->s, level);

	index &= mode_entries(g->s->mode, level) - 1;
	return table + index * g->s->mode->entry_size;
}

u64 group_entry(struct group *g, u64 root, u64 va, int level)
{
	u64 gpa = group_entry_at(g, root, va, g->s->mode->top);
	int size = g->s->mode->entry_size;
	u64 raw;
	int l;

	for (l = g->s->mode->top; l > level; l--) {
		KUNIT_ASSERT_TRUE(g->test,
				  guest_read(g->s->guest, gpa, size, &raw));
		if (!raw) {
			raw = space_link(g->s, l, group_add_table(g), PTE_PWU);
			guest_write(g->s->guest, gpa, size, raw);
		}
		gpa = group_entry_at(g, space_table_of(g->s, raw), va, l - 1);
	}
	return gpa;
}

void group_set(struct group *g, u64 root, u64 va, int level, u64 raw)
{
	guest_write(g->s->guest, group_entry(g, root, va, level),
		    g->s->mode->entry_size, raw);
}

void group_link(struct group *g, u64 root, u64 va, int level, u64 table,
		u64 flags)
{
	group_set(g, root, va, level + 1,
		  space_link(g->s, level + 1, table, flags));
}

void group_put(struct group *g, u64 table, int index, u64 raw)
{
	int size = g->s->mode->entry_size;

	guest_write(g->s->guest, table + index * size, size, raw);
}

u64 group_region(const struct group *g, int level)
{
	return space_span(g->s, level + 1);
}

struct records *records_alloc(struct kunit *test)
{
	struct records *records =
		kunit_kzalloc(test, sizeof(*records), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, records);
	records_reset(records);
	return records;
}

void records_reset(struct records *records)
{
	records->nr = 0;
	records->room = MAX_RECORDS;
}

int records_emit(const struct vmem_record *record, void *priv)
{
	struct records *records = priv;

	if (records->nr == MAX_RECORDS)
		return -E2BIG;
	if (records->nr >= records->room)
		return VMEM_WALK_STOP;
	records->r[records->nr++] = *record;
	return 0;
}

static bool mapping_equal(const struct vmem_mapping *a,
			  const struct vmem_mapping *b)
{
	return a->va == b->va && a->last_va == b->last_va && a->gpa == b->gpa &&
	       a->page_size == b->page_size && a->perms == b->perms &&
	       a->kind == b->kind && a->attributes == b->attributes;
}

static bool reference_equal(const struct vmem_reference *a,
			    const struct vmem_reference *b)
{
	return a->table == b->table && a->perms == b->perms &&
	       a->table_gpa == b->table_gpa && a->space == b->space &&
	       a->our_va == b->our_va && a->their_va == b->their_va &&
	       a->len == b->len && a->owner_root == b->owner_root &&
	       a->owner_perms == b->owner_perms;
}

static bool anomaly_equal(const struct vmem_anomaly *a,
			  const struct vmem_anomaly *b)
{
	return a->status == b->status && a->level == b->level &&
	       a->va == b->va && a->last_va == b->last_va &&
	       a->table_gpa == b->table_gpa && a->raw == b->raw;
}

bool record_equal(const struct vmem_record *a, const struct vmem_record *b)
{
	if (a->type != b->type || a->root != b->root)
		return false;
	switch (a->type) {
	case VMEM_SPACE:
		return a->space.space == b->space.space &&
		       a->space.alias_of == b->space.alias_of &&
		       !a->space.__reserved && !b->space.__reserved;
	case VMEM_THIS_SPACE:
		return mapping_equal(&a->mapping, &b->mapping);
	case VMEM_ALIASING:
		return reference_equal(&a->reference, &b->reference);
	case VMEM_ANOMALY:
		return anomaly_equal(&a->anomaly, &b->anomaly);
	default:
		return false;
	}
}

static void record_log(struct kunit *test, const char *who, int i,
		       const struct vmem_record *r)
{
	const struct vmem_mapping *m = &r->mapping;
	const struct vmem_reference *al = &r->reference;
	const struct vmem_anomaly *an = &r->anomaly;

	kunit_err(test, "%s: record %d type %u root %u", who, i, r->type,
		  r->root);
	if (r->type == VMEM_SPACE)
		kunit_err(test, "  %#llx alias_of %u", r->space.space,
			  r->space.alias_of);
	if (r->type == VMEM_THIS_SPACE)
		kunit_err(test, "  %#llx..%#llx gpa %#llx size %#llx perms %#x",
			  m->va, m->last_va, m->gpa, m->page_size, m->perms);
	if (r->type == VMEM_ALIASING) {
		kunit_err(test, "  table %u at %#llx perms %#x of %#x",
			  al->table, al->table_gpa, al->perms, al->owner_perms);
		kunit_err(test, "  %#llx len %#llx is %#llx of %u (%#llx)",
			  al->our_va, al->len, al->their_va, al->owner_root,
			  al->space);
	}
	if (r->type == VMEM_ANOMALY)
		kunit_err(test,
			  "  %#llx..%#llx status %u level %u %#llx raw %#llx",
			  an->va, an->last_va, an->status, an->level,
			  an->table_gpa, an->raw);
}

bool records_equal(struct kunit *test, const struct records *got,
		   const struct records *want)
{
	int i;

	for (i = 0; i < got->nr && i < want->nr; i++) {
		if (!record_equal(&got->r[i], &want->r[i]))
			break;
	}
	if (i == got->nr && i == want->nr)
		return true;
	kunit_err(test, "%d records and not %d", got->nr, want->nr);
	if (i < got->nr)
		record_log(test, "got", i, &got->r[i]);
	if (i < want->nr)
		record_log(test, "want", i, &want->r[i]);
	return false;
}

int records_count(const struct records *records, u32 type)
{
	int i, nr = 0;

	for (i = 0; i < records->nr; i++)
		nr += records->r[i].type == type;
	return nr;
}

const struct vmem_record *records_get(const struct records *records, u32 type,
				      int nth)
{
	int i;

	for (i = 0; i < records->nr; i++) {
		if (records->r[i].type == type && !nth--)
			return &records->r[i];
	}
	return NULL;
}

void group_begin(const struct group *g, struct vmem_spaces *spaces)
{
	memset(spaces, 0, sizeof(*spaces));
	spaces->roots = g->roots;
	spaces->nr_roots = g->nr_roots;
	spaces->scope = g->scope;
	spaces->va = g->scope.va;
}

int group_walk(const struct group *g, struct vmem_spaces *spaces, u64 budget,
	       struct records *records)
{
	return vmem_walk_va_spaces(spaces, &g->s->guest->mem, budget,
				   records_emit, records);
}

void group_walk_all(const struct group *g, struct vmem_spaces *spaces,
		    struct records *records)
{
	int ret;

	group_begin(g, spaces);
	records_reset(records);
	ret = group_walk(g, spaces, U64_MAX, records);
	if (ret)
		vmem_spaces_destroy(spaces);
	KUNIT_ASSERT_EQ(g->test, ret, 0);
}

int group_translate(struct vmem_batch *batch)
{
	const struct vmem_root *root =
		batch->spaces ? &batch->spaces->roots[batch->index] :
				batch->root;
	int ret;

	batch->near = vmem_near_alloc(batch->mem, root);
	ret = vmem_translate_batch(batch);
	vmem_near_free(batch->near);
	batch->near = NULL;
	return ret;
}
