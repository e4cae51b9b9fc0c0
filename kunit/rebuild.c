// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rebuilds against the expansion of what they are built after.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "rebuild.h"

static int place(const struct vmem_visit *visit, u64 *gpa, u64 len, void *priv)
{
	struct rebuilt *re = priv;

	KUNIT_EXPECT_EQ(re->from->test, visit->status, VMEM_MAPPED);
	KUNIT_EXPECT_EQ(re->from->test, *gpa & (len - 1), 0ULL);
	if (re->split && len > re->split)
		return VMEM_PLACE_SPLIT;
	*gpa = rebuilt_place(re, *gpa);
	return 0;
}

static bool make_cow(const struct vmem_visit *visit, void *priv)
{
	struct rebuilt *re = priv;

	return re->cow;
}

static const struct vmem_rebuild_ops rebuild_ops = {
	.place = place,
	.make_cow = make_cow,
};

struct rebuilt *rebuilt_alloc(struct kunit *test, struct group *from,
			      struct oracle *o)
{
	struct rebuilt *re = kunit_kzalloc(test, sizeof(*re), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, re);
	re->from = from;
	re->o = o;
	re->to = group_alloc(test, from->s->mode);
	re->tb = tables_alloc(test, re->to, false);
	re->to_o = oracle_alloc(test);
	re->records = records_alloc(test);
	return re;
}

void rebuilt_begin(struct rebuilt *re)
{
	u64 old = re->from->s->mode->tables;

	tables_reset(re->tb);
	/* An address that was forgotten is not to be one of a new table. */
	re->to->s->next_table = old > SZ_16M ? old - SZ_16M : old + SZ_16M;
	re->rb = (struct vmem_rebuild){
		.roots = re->from->roots,
		.nr_roots = re->from->nr_roots,
		.scope = re->from->scope,
		.tables = &re->tb->t,
		.built = re->to->roots,
		.ops = &rebuild_ops,
		.priv = re,
	};
}

struct vmem_regs rebuilt_regs(const struct vmem_regs *from)
{
	struct vmem_regs regs = *from;

	regs.rules &= VMEM_RULES_AMD | VMEM_RULES_NO_1G;
	return regs;
}

int rebuilt_run(struct rebuilt *re, u64 budget)
{
	int ret = vmem_rebuild(&re->rb, &re->from->s->guest->mem, budget);
	u32 i;

	if (ret)
		return ret;
	re->to->nr_roots = re->from->nr_roots;
	for (i = 0; i < re->to->nr_roots; i++) {
		re->to->regs[i] = rebuilt_regs(&re->from->regs[i]);
		re->to->regs[i].cr3 = re->to->roots[i].table;
	}
	return 0;
}

void rebuilt_end(struct rebuilt *re)
{
	vmem_rebuild_destroy(&re->rb);
	vmem_tables_destroy(&re->tb->t);
}

/* Far from where it was, and where an entry of any level can name it. */
u64 rebuilt_place(const struct rebuilt *re, u64 gpa)
{
	const struct mode *mode = re->from->s->mode;
	int width = mode->entry_size == 4 ? 32 : mode->regs.maxphyaddr;

	return (gpa - SZ_1G) & (BIT_ULL(width) - 1) & ~mode_encryption(mode);
}

u64 entry_flags(const struct mode *mode, int level, bool leaf, u64 raw)
{
	u64 flags = raw & ~GENMASK_ULL(51, 12);

	if (!leaf || level == 1)
		return flags;
	return (flags & ~PTE_PS) | (raw & PTE_PAT_LARGE ? PTE_PS : 0);
}

u64 rebuilt_flags(const struct rebuilt *re, int level, u64 raw)
{
	u64 flags = entry_flags(re->from->s->mode, level, true, raw);

	if (!re->cow || (flags & COW_MASK) == COW_VALUE || !(flags & PTE_W))
		return flags;
	return (flags & ~(PTE_W | COW_MASK)) | COW_VALUE;
}

/*
 * Page by page.
 */

/* The largest page at @va that lies in the piece and in the old page. */
static int new_level(const struct rebuilt *re, const struct oracle_piece *p,
		     u64 va)
{
	int level = p->ref->t.out_level;

	while (va & (space_span(re->to->s, level) - 1) ||
	       p->last_va - va < space_span(re->to->s, level) - 1)
		level--;
	while (re->split && space_span(re->to->s, level) > re->split)
		level--;
	return level;
}

static bool upper_fits(const struct rebuilt *re, const struct ref *old,
		       const struct ref *new, int depth)
{
	const struct mode *mode = re->from->s->mode;
	int level = mode->top - depth;
	u64 flags =
		entry_flags(mode, level, false, new->t.out_trace[depth].raw);
	u64 raw = old->t.out_trace[depth].raw;

	/* Whatever set Accessed in a PDPTE of PAE, none that is written has it. */
	if (!mode_denies(mode, level))
		raw &= ~VMEM_RAW_ACCESSED;
	/* A table that stands for a large page grants everything. */
	if (depth >= (int)old->t.out_nr_trace - 1)
		return flags == PTE_PWU;
	return flags == entry_flags(mode, level, false, raw);
}

static u32 perms_of(const struct rebuilt *re, const struct ref *ref)
{
	u64 raw = ref->t.out_trace[ref->t.out_nr_trace - 1].raw;
	u32 perms = ref->t.out_perms;

	return rebuilt_flags(re, ref->t.out_level, raw) & PTE_W ?
		       perms :
		       perms & ~VMEM_WRITABLE;
}

static bool page_fits(const struct rebuilt *re, const struct oracle_piece *p,
		      u64 va, const struct ref *new)
{
	const struct mode *mode = re->from->s->mode;
	const struct ref *old = p->ref;
	int i, level = new_level(re, p, va), last = new->t.out_nr_trace - 1;
	u64 raw = old->t.out_trace[old->t.out_nr_trace - 1].raw;

	if (new->t.out_status != VMEM_MAPPED ||
	    new->t.out_level != (u32)level ||
	    new->t.out_gpa !=
		    rebuilt_place(re, old->t.out_gpa + (va - p->base)) ||
	    new->t.out_perms != perms_of(re, old) ||
	    entry_flags(mode, level, true, new->t.out_trace[last].raw) !=
		    rebuilt_flags(re, old->t.out_level, raw))
		return false;
	for (i = 0; i < last; i++) {
		if (!upper_fits(re, old, new, i))
			return false;
	}
	return true;
}

static bool piece_fits(struct rebuilt *re, const struct oracle_piece *p,
		       u32 root)
{
	bool mapped = p->ref->t.out_status == VMEM_MAPPED;
	u64 va = p->va, last;
	struct ref new;

	for (;;) {
		ref_translate(re->to->s->guest, &re->to->regs[root], va, &new);
		if (mapped ? !page_fits(re, p, va, &new) :
			     new.t.out_status == VMEM_MAPPED)
			return false;
		last = va | (new.span - 1);
		if (last >= p->last_va)
			return true;
		va = last + 1;
	}
}

static void take_old(struct oracle *o, const struct oracle_piece *p, void *priv)
{
	struct rebuilt *re = priv;

	o->ok = piece_fits(re, p, o->root);
	if (!o->ok)
		kunit_err(re->from->test,
			  "root %u: %#llx..%#llx is not rebuilt", o->root,
			  p->va, p->last_va);
	if (p->ref->t.out_status == VMEM_MAPPED)
		re->bytes += p->last_va - p->va + 1;
}

static void take_new(struct oracle *o, const struct oracle_piece *p, void *priv)
{
	struct rebuilt *re = priv;

	o->ok = p->ref->t.out_status == VMEM_MAPPED;
	if (!o->ok)
		kunit_err(re->from->test, "root %u: %#llx leads nowhere",
			  o->root, p->va);
	re->bytes -= p->last_va - p->va + 1;
}

static bool check_root(struct rebuilt *re, u32 root)
{
	re->bytes = 0;
	if (!oracle_expand(re->o, root, take_old, re) ||
	    !oracle_expand(re->to_o, root, take_new, re))
		return false;
	if (!re->bytes || re->o->expanded > ORACLE_MAX_EXPANDED ||
	    re->to_o->expanded > ORACLE_MAX_EXPANDED)
		return true;
	kunit_err(re->from->test, "root %u: %lld bytes were not rebuilt", root,
		  re->bytes);
	return false;
}

bool rebuilt_check_pages(struct rebuilt *re)
{
	u32 i;

	oracle_run(re->o, re->from);
	group_set_range(re->to, 0, U64_MAX);
	oracle_run(re->to_o, re->to);
	for (i = 0; i < re->from->nr_roots; i++) {
		if (!check_root(re, i))
			return false;
	}
	return guest_is_intact(re->from->s->guest) &&
	       guest_is_intact(re->to->s->guest);
}

/*
 * Record by record.
 */
static bool tells_any(const struct records *records, u32 root, u64 va,
		      u64 last_va)
{
	u64 first, last;
	int i;

	for (i = 0; i < records->nr; i++) {
		const struct vmem_record *r = &records->r[i];

		if (r->root != root || r->type == VMEM_SPACE)
			continue;
		first = r->type == VMEM_ALIASING ? r->reference.our_va :
						   r->mapping.va;
		last = r->type == VMEM_ALIASING ?
			       first + (r->reference.len - 1) :
			       r->mapping.last_va;
		if (first <= last_va && last >= va)
			return true;
	}
	return false;
}

static bool continues(const struct vmem_record *a, const struct vmem_record *b)
{
	return a->type == VMEM_THIS_SPACE && b->type == VMEM_THIS_SPACE &&
	       a->root == b->root && a->mapping.last_va + 1 == b->mapping.va &&
	       a->mapping.perms == b->mapping.perms &&
	       a->mapping.gpa + (b->mapping.va - a->mapping.va) ==
		       b->mapping.gpa;
}

static bool leads_nowhere(const struct records *before,
			  const struct vmem_record *r)
{
	const struct vmem_reference *a = &r->reference;

	if (r->type == VMEM_ALIASING)
		return !tells_any(before, a->owner_root, a->their_va,
				  a->their_va + (a->len - 1));
	return r->type == VMEM_ANOMALY;
}

/*
 * Leave out what leads nowhere, and what is told of addresses and of the sizes
 * of pages: what remains is to be the same of old and new.
 */
static void simplify(const struct rebuilt *re, struct records *records,
		     bool old)
{
	int i, nr = records->nr;

	records->nr = 0;
	for (i = 0; i < nr; i++) {
		struct vmem_record *to = &records->r[records->nr];
		struct vmem_record r = records->r[i];

		if (leads_nowhere(records, &r))
			continue;
		if (r.type == VMEM_SPACE)
			r.space.space = 0;
		if (r.type == VMEM_ALIASING) {
			r.reference.table_gpa = 0;
			r.reference.space = 0;
		}
		if (r.type == VMEM_THIS_SPACE) {
			r.mapping.page_size = SZ_4K;
			if (old)
				r.mapping.gpa =
					rebuilt_place(re, r.mapping.gpa);
		}
		if (records->nr && continues(to - 1, &r))
			to[-1].mapping.last_va = r.mapping.last_va;
		else
			records->r[records->nr++] = r;
	}
}

/* Tables that lead to a page, roots aside; after simplify(). */
static int count_tables(const struct rebuilt *re)
{
	const struct oracle *o = re->o;
	int i, nr = 0;

	for (i = 0; i < o->nr_keys; i++) {
		const struct oracle_key *key = &o->keys[i];
		u64 last_va;

		if (key->level == re->from->s->mode->top)
			continue;
		last_va = key->va + group_region(re->from, key->level) - 1;
		nr += tells_any(&o->want, key->root, key->va, last_va);
	}
	return nr;
}

static int count_roots(const struct rebuilt *re)
{
	u32 i, j;
	int nr = 0;

	for (i = 0; i < re->from->nr_roots; i++) {
		for (j = 0;
		     re->from->roots[j].table != re->from->roots[i].table; j++)
			;
		nr += j == i;
	}
	return nr;
}

static int count_broken(const struct records *records)
{
	int i, nr = 0;

	for (i = 0; i < records->nr; i++) {
		const struct vmem_record *r = &records->r[i];

		nr += r->type == VMEM_ANOMALY &&
		      (r->anomaly.status == VMEM_RESERVED ||
		       r->anomaly.status == VMEM_UNBACKED);
	}
	return nr;
}

static bool check_stats(const struct rebuilt *re, int references, int broken)
{
	const struct vmem_rebuild_stats *stats = &re->rb.stats;
	int links = records_count(&re->to_o->want, VMEM_ALIASING);
	int tables = count_roots(re) + count_tables(re) + re->o->cut_tables;

	if (stats->leaves == re->to_o->leaves && stats->links == (u64)links &&
	    stats->empty_links == (u64)(references - links) &&
	    stats->dropped == (u64)broken && re->tb->allocs == tables)
		return true;
	kunit_err(re->from->test,
		  "leaves %llu/%llu links %llu/%d empty %llu/%d", stats->leaves,
		  re->to_o->leaves, stats->links, links, stats->empty_links,
		  references - links);
	kunit_err(re->from->test, "dropped %llu/%d tables %d/%d",
		  stats->dropped, broken, re->tb->allocs, tables);
	return false;
}

/* The walks have the same scope, or their windows would not be the same. */
static bool check_records(struct rebuilt *re)
{
	int references, broken;

	oracle_run(re->o, re->from);
	references = records_count(&re->o->want, VMEM_ALIASING);
	broken = count_broken(&re->o->want);
	re->to->scope = re->from->scope;
	oracle_run(re->to_o, re->to);
	if (records_count(&re->to_o->want, VMEM_ANOMALY))
		return false;
	simplify(re, &re->o->want, true);
	simplify(re, &re->to_o->want, false);
	return records_equal(re->from->test, &re->to_o->want, &re->o->want) &&
	       check_stats(re, references, broken);
}

bool rebuilt_check_walk(struct rebuilt *re)
{
	if (!check_records(re))
		return false;
	group_set_range(re->to, 0, U64_MAX);
	return oracle_check(re->to_o, re->to, re->records);
}
