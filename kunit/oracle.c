// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a walk over many spaces is to tell, by brute force.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/string.h>

#include "oracle.h"

static void oracle_table(struct oracle *o, u32 root, int level, u64 table,
			 u64 base);

struct oracle *oracle_alloc(struct kunit *test)
{
	struct oracle *o = kunit_kzalloc(test, sizeof(*o), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, o);
	return o;
}

static const struct mode *mode_of(const struct oracle *o)
{
	return o->g->s->mode;
}

static void index_page(struct oracle_page *page, const struct guest_page *from,
		       int entry_size)
{
	int i, nr = VMEM_PAGE_SIZE / entry_size;
	const u32 *half = (const u32 *)from->truth;
	const u64 *whole = (const u64 *)from->truth;

	page->gpa = from->gpa;
	page->nr = 0;
	for (i = 0; i < nr; i++) {
		if (entry_size == 8 ? whole[i] : half[i])
			page->index[page->nr++] = i;
	}
}

static const struct oracle_page *find_page(const struct oracle *o, u64 table)
{
	int i;

	for (i = 0; i < o->g->s->guest->nr_pages; i++) {
		if (o->pages[i].gpa == table)
			return &o->pages[i];
	}
	return NULL;
}

/* The scope as a list of what may be looked at. */
static void list_allowed(struct oracle *o)
{
	const struct vmem_scope *scope = &o->g->scope;
	u64 va = scope->va;
	u32 i;

	o->nr_allowed = 0;
	for (i = 0; i < scope->nr_excluded; i++) {
		const struct vmem_span *out = &scope->excluded[i];

		if (out->last_va < va)
			continue;
		if (out->va > scope->last_va)
			break;
		if (out->va > va)
			o->allowed[o->nr_allowed++] =
				(struct vmem_span){ va, out->va - 1 };
		if (out->last_va >= scope->last_va)
			return;
		va = out->last_va + 1;
	}
	o->allowed[o->nr_allowed++] = (struct vmem_span){ va, scope->last_va };
}

/* The next part of @va to @last_va that may be looked at, from @i on. */
static bool next_allowed(const struct oracle *o, int *i, u64 va, u64 last_va,
			 struct vmem_span *span)
{
	for (; *i < o->nr_allowed; (*i)++) {
		span->va = max_t(u64, va, o->allowed[*i].va);
		span->last_va = min_t(u64, last_va, o->allowed[*i].last_va);
		if (span->va <= span->last_va) {
			(*i)++;
			return true;
		}
	}
	return false;
}

static bool is_allowed(const struct oracle *o, u64 va)
{
	struct vmem_span span;
	int i = 0;

	return next_allowed(o, &i, va, va, &span);
}

static u64 window_of(const struct oracle *o, u64 va, u64 last_va)
{
	struct vmem_span span;
	int i = 0;

	if (next_allowed(o, &i, va, last_va, &span) && span.va == va &&
	    span.last_va == last_va)
		return VMEM_WINDOW_ALL;
	return va;
}

static const struct oracle_key *find_key(const struct oracle *o, u64 table,
					 int level, u64 window)
{
	int i;

	for (i = 0; i < o->nr_keys; i++) {
		if (o->keys[i].table == table && o->keys[i].level == level &&
		    o->keys[i].window == window)
			return &o->keys[i];
	}
	return NULL;
}

/* Of a part of a table it is not told whether another level had one too. */
static bool is_known_elsewhere(const struct oracle *o, u64 table, int level)
{
	int i;

	for (i = 0; i < o->nr_keys; i++) {
		const struct oracle_key *key = &o->keys[i];

		if (key->table == table && key->level != level &&
		    (key->window == VMEM_WINDOW_ALL ||
		     key->level == mode_of(o)->top))
			return true;
	}
	return false;
}

static struct oracle_key *add_key(struct oracle *o)
{
	KUNIT_ASSERT_LT(o->g->test, o->nr_keys, ORACLE_MAX_KEYS);
	return &o->keys[o->nr_keys++];
}

static struct vmem_record *add_record(struct oracle *o, u32 type, u32 root)
{
	struct vmem_record *r = &o->want.r[o->want.nr++];

	KUNIT_ASSERT_LT(o->g->test, o->want.nr, MAX_RECORDS);
	memset(r, 0, sizeof(*r));
	r->type = type;
	r->root = root;
	return r;
}

/* Permissions of a path down to and with its entry of @level. */
static u32 path_perms(const struct oracle *o, const struct ref *ref, int level)
{
	int i, nr = mode_of(o)->top - level + 1;
	u32 perms = ALL_PERMS;

	for (i = 0; i < nr; i++) {
		u64 raw = ref->t.out_trace[i].raw;

		if (!mode_denies(mode_of(o), mode_of(o)->top - i))
			continue;
		if (!(raw & PTE_W))
			perms &= ~VMEM_WRITABLE;
		if (!(raw & PTE_U))
			perms &= ~VMEM_USER;
		if (raw & PTE_NX)
			perms &= ~VMEM_EXECUTABLE;
	}
	return perms;
}

/* The entry of @level on the path. */
static u64 raw_of(const struct oracle *o, const struct ref *ref, int level)
{
	return ref->t.out_trace[mode_of(o)->top - level].raw;
}

/* The table that the entry of @level names; false if it names none. */
static bool named_table(const struct oracle *o, const struct ref *ref,
			int level, u64 *table)
{
	u32 next = mode_of(o)->top - level + 1;

	if (ref->t.out_nr_trace > next) {
		*table = ref->t.out_trace[next].entry_gpa & VMEM_PAGE_MASK;
		return true;
	}
	*table = ref->table;
	return ref->t.out_status == VMEM_UNBACKED;
}

static bool is_ancestor(const struct oracle *o, const struct ref *ref,
			int level, u64 table)
{
	int i, nr = mode_of(o)->top - level + 1;

	for (i = 0; i < nr; i++) {
		if ((ref->t.out_trace[i].entry_gpa & VMEM_PAGE_MASK) == table)
			return true;
	}
	return false;
}

/*
 * Looking records up.
 */
static bool record_span(const struct vmem_record *r, u64 *va, u64 *last_va)
{
	switch (r->type) {
	case VMEM_THIS_SPACE:
		*va = r->mapping.va;
		*last_va = r->mapping.last_va;
		return true;
	case VMEM_ALIASING:
		*va = r->reference.our_va;
		*last_va = r->reference.our_va + r->reference.len - 1;
		return true;
	case VMEM_ANOMALY:
		*va = r->anomaly.va;
		*last_va = r->anomaly.last_va;
		return r->anomaly.status == VMEM_RESERVED ||
		       r->anomaly.status == VMEM_UNBACKED;
	default:
		return false;
	}
}

/* The record that tells about @va in the space of @root; -1 if none does. */
static int find_record(const struct records *records, u32 root, u64 va)
{
	u64 first, last;
	int i;

	for (i = 0; i < records->nr; i++) {
		const struct vmem_record *r = &records->r[i];

		if (r->type == VMEM_SPACE && r->root == root &&
		    r->space.alias_of != root)
			return find_record(records, r->space.alias_of, va);
		if (r->root == root && record_span(r, &first, &last) &&
		    first <= va && va <= last)
			return i;
	}
	return -1;
}

/**
 * struct found - where the references of an address lead
 * @at: the record that it ends at; -1 if at none
 * @va: the address there
 * @perms: permissions that the references leave
 * @unknown: permissions that the records do not tell
 */
struct found {
	int at;
	u64 va;
	u32 perms;
	u32 unknown;
};

/* False if a reference does not lead to an earlier record. */
static bool follow_records(const struct records *records, u32 root, u64 va,
			   struct found *found)
{
	int before = records->nr;

	found->va = va;
	found->perms = ALL_PERMS;
	found->unknown = 0;
	for (;;) {
		const struct vmem_reference *a;

		found->at = find_record(records, root, found->va);
		if (found->at >= before)
			return false;
		if (found->at < 0 ||
		    records->r[found->at].type != VMEM_ALIASING)
			return true;
		before = found->at;
		a = &records->r[found->at].reference;
		root = a->owner_root;
		found->va = found->va - a->our_va + a->their_va;
		found->perms &= a->perms;
		found->unknown |= found->perms & ~a->owner_perms;
		found->perms &= a->owner_perms;
	}
}

static bool mapping_has(const struct vmem_mapping *m, const struct found *f,
			const struct oracle_piece *p)
{
	const struct vmem_translation *t = &p->ref->t;
	u32 known = ~f->unknown;

	return p->ref->t.out_status == VMEM_MAPPED &&
	       m->last_va - f->va >= p->last_va - p->va &&
	       m->gpa + (f->va - m->va) == t->out_gpa + (p->va - p->base) &&
	       m->page_size == t->out_page_size &&
	       (m->perms & f->perms & known) == (t->out_perms & known);
}

static bool anomaly_has(const struct vmem_anomaly *a, const struct found *f,
			const struct oracle_piece *p)
{
	const struct vmem_translation *t = &p->ref->t;
	u64 raw = t->out_nr_trace ? t->out_trace[t->out_nr_trace - 1].raw : 0;

	return a->status == t->out_status && a->level == t->out_level &&
	       a->last_va - f->va >= p->last_va - p->va && a->raw == raw &&
	       a->table_gpa == p->ref->table;
}

static void expect_piece_told(struct oracle *o, const struct oracle_piece *p,
			      void *priv)
{
	const struct vmem_record *r;
	struct found found;

	o->ok = follow_records(o->got, o->root, p->va, &found) && found.at >= 0;
	if (o->ok) {
		r = &o->got->r[found.at];
		o->ok = r->type == VMEM_THIS_SPACE ?
				mapping_has(&r->mapping, &found, p) :
				anomaly_has(&r->anomaly, &found, p);
	}
	if (!o->ok)
		kunit_err(o->g->test,
			  "root %u: the records are wrong on %#llx..%#llx",
			  o->root, p->va, p->last_va);
}

/*
 * The recursion.
 */
static bool extends(const struct vmem_record *r, u32 root,
		    const struct vmem_mapping *m)
{
	return r->type == VMEM_THIS_SPACE && r->root == root &&
	       r->mapping.last_va + 1 == m->va &&
	       r->mapping.gpa + (m->va - r->mapping.va) == m->gpa &&
	       r->mapping.page_size == m->page_size &&
	       r->mapping.perms == m->perms;
}

static void tell_mapping(struct oracle *o, u32 root,
			 const struct oracle_piece *p)
{
	struct vmem_record *last = &o->want.r[o->want.nr - 1];
	struct vmem_mapping m = {
		.va = p->va,
		.last_va = p->last_va,
		.gpa = p->ref->t.out_gpa + (p->va - p->base),
		.page_size = p->ref->t.out_page_size,
		.kind = VMEM_KIND_BASIC,
		.perms = p->ref->t.out_perms,
	};

	if (extends(last, root, &m))
		last->mapping.last_va = m.last_va;
	else
		add_record(o, VMEM_THIS_SPACE, root)->mapping = m;
}

static void tell_anomaly(struct oracle *o, u32 root, enum vmem_status status,
			 int level, u64 table, u64 raw, struct vmem_span span)
{
	add_record(o, VMEM_ANOMALY, root)->anomaly = (struct vmem_anomaly){
		.status = status,
		.level = level,
		.va = span.va,
		.last_va = span.last_va,
		.table_gpa = table,
		.raw = raw,
	};
}

static void expand_piece(struct oracle *o, const struct oracle_piece *p)
{
	if (o->expanded++ >= ORACLE_MAX_EXPANDED || !o->ok)
		return;
	o->bytes += p->last_va - p->va + 1;
	o->take(o, p, o->priv);
}

static void tell_piece(struct oracle *o, u32 root, int level,
		       const struct oracle_piece *p)
{
	struct vmem_span span = { p->va, p->last_va };

	if (o->naive)
		expand_piece(o, p);
	else if (p->ref->t.out_status == VMEM_MAPPED)
		tell_mapping(o, root, p);
	else
		tell_anomaly(o, root, p->ref->t.out_status, p->ref->t.out_level,
			     p->ref->table, raw_of(o, p->ref, level), span);
}

/* As many as it takes to map what is allowed of a page of @level. */
static u64 cut_tables(const struct oracle *o, u64 base, int level)
{
	u64 last = base + space_span(o->g->s, level) - 1;
	struct vmem_span span;
	u64 va, nr = 1;
	int i = 0;

	if (level == 1 || !next_allowed(o, &i, base, last, &span) ||
	    (span.va == base && span.last_va == last))
		return 0;
	for (va = base; va - 1 != last; va += space_span(o->g->s, level - 1))
		nr += cut_tables(o, va, level - 1);
	return nr;
}

/* An entry of @level where the path ends: one piece for each part allowed. */
static void oracle_end(struct oracle *o, u32 root, int level, u64 base,
		       const struct ref *ref)
{
	u64 last = base + space_span(o->g->s, level) - 1;
	struct oracle_piece p = { .ref = ref, .base = base };
	struct vmem_span span;
	int i = 0;

	if (!o->naive && ref->t.out_status == VMEM_MAPPED)
		o->cut_tables += cut_tables(o, base, level);
	while (next_allowed(o, &i, base, last, &span)) {
		if (!o->naive)
			o->leaves += ref->t.out_status == VMEM_MAPPED;
		p.va = span.va;
		p.last_va = span.last_va;
		tell_piece(o, root, level, &p);
	}
}

static enum vmem_table table_name(const struct oracle *o, int level)
{
	static const enum vmem_table amd64[] = {
		[1] = VMEM_TABLE_AMD64_PT,
		[2] = VMEM_TABLE_AMD64_PD,
		[3] = VMEM_TABLE_AMD64_PDPT,
		[4] = VMEM_TABLE_AMD64_PML4,
	};

	if (mode_is_long(mode_of(o)))
		return amd64[level];
	if (mode_is_pae(mode_of(o)))
		return level == 1 ? VMEM_TABLE_PAE_PT : VMEM_TABLE_PAE_PD;
	return VMEM_TABLE_I686_PT;
}

static void tell_reference(struct oracle *o, u32 root, u64 base, u32 perms,
			   const struct oracle_key *key)
{
	add_record(o, VMEM_ALIASING, root)->reference = (struct vmem_reference){
		.table = table_name(o, key->level),
		.perms = perms,
		.table_gpa = key->table,
		.space = o->g->roots[key->root].table,
		.our_va = base,
		.their_va = key->va,
		.len = group_region(o->g, key->level),
		.owner_root = key->root,
		.owner_perms = key->perms,
	};
}

/* The first visit of a table, which an entry of the level above names. */
static void oracle_claim(struct oracle *o, u32 root,
			 const struct oracle_key *key, const struct ref *ref)
{
	u64 last = key->va + group_region(o->g, key->level) - 1;
	enum vmem_status status = VMEM_MAPPED;
	struct vmem_span span;
	int i = 0;

	if (is_ancestor(o, ref, key->level + 1, key->table))
		status = VMEM_ANCESTOR;
	else if (is_known_elsewhere(o, key->table, key->level))
		status = VMEM_CROSS_LEVEL;
	if (status != VMEM_MAPPED && next_allowed(o, &i, key->va, last, &span))
		tell_anomaly(o, root, status, key->level, key->table,
			     raw_of(o, ref, key->level + 1), span);
	*add_key(o) = *key;
	oracle_table(o, root, key->level, key->table, key->va);
}

/* The entry of @base in a table of @level names @table. */
static void oracle_named(struct oracle *o, u32 root, int level, u64 base,
			 u64 table, const struct ref *ref)
{
	u64 last = base + space_span(o->g->s, level) - 1;
	const struct oracle_key *known;
	struct oracle_key key = {
		.table = table,
		.level = level - 1,
		.window = window_of(o, base, last),
		.va = base,
		.root = root,
		.perms = path_perms(o, ref, level),
	};

	if (!guest_has(o->g->s->guest, table)) {
		oracle_end(o, root, level, base, ref);
		return;
	}
	if (o->naive) {
		oracle_table(o, root, level - 1, table, base);
		return;
	}
	known = find_key(o, table, level - 1, key.window);
	if (known)
		tell_reference(o, root, base, key.perms, known);
	else
		oracle_claim(o, root, &key, ref);
}

static void oracle_entry(struct oracle *o, u32 root, int level, u64 base)
{
	u64 last = base + space_span(o->g->s, level) - 1;
	struct vmem_span span;
	struct ref ref;
	u64 table;
	int i = 0;

	if (!next_allowed(o, &i, base, last, &span))
		return;
	ref_translate(o->g->s->guest, &o->g->regs[root], base, &ref);
	if (named_table(o, &ref, level, &table))
		oracle_named(o, root, level, base, table, &ref);
	else if (ref.t.out_status != VMEM_NOT_PRESENT)
		oracle_end(o, root, level, base, &ref);
}

static void oracle_table(struct oracle *o, u32 root, int level, u64 table,
			 u64 base)
{
	const struct oracle_page *page = find_page(o, table & VMEM_PAGE_MASK);
	/* A root may begin anywhere in its page, and end before the page does. */
	int first = (table & ~VMEM_PAGE_MASK) / mode_of(o)->entry_size;
	int i, nr = mode_entries(mode_of(o), level);

	/* In an area of zeros there are tables without a page. */
	for (i = 0; page && i < page->nr; i++) {
		int index = page->index[i] - first;

		if (index < 0 || index >= nr)
			continue;
		/* Above the hole, addresses have all of the high bits set. */
		oracle_entry(o, root, level,
			     mode_canonical(mode_of(o),
					    base + index * space_span(o->g->s,
								      level)));
		if (o->naive && o->expanded > ORACLE_MAX_EXPANDED)
			return;
	}
}

static u32 first_of(const struct group *g, u32 root)
{
	u32 i;

	for (i = 0; g->roots[i].table != g->roots[root].table; i++)
		;
	return i;
}

/* The first part that may be looked at and has addresses of this mode. */
static bool first_canonical(const struct oracle *o, struct vmem_span *span)
{
	const struct vmem_mode *mode = &o->g->roots[0].mode;
	int i = 0;

	while (next_allowed(o, &i, 0, U64_MAX, span)) {
		if (vmem_is_canonical(mode, span->va))
			return true;
		if (span->last_va <= mode->noncanonical_last)
			continue;
		span->va = mode->noncanonical_last + 1;
		return true;
	}
	return false;
}

/*
 * CR3 leads nowhere. As of any table that is told once, the record names the
 * addresses from the first that is allowed to the next that is not.
 */
static void tell_no_root(struct oracle *o, u32 root)
{
	struct vmem_span span;

	if (first_canonical(o, &span))
		tell_anomaly(o, root, VMEM_UNBACKED, mode_of(o)->top,
			     o->g->roots[root].table, 0, span);
}

/* A root is read once there is an address to look for in it. */
static bool has_addresses(const struct oracle *o)
{
	struct vmem_span span;

	return first_canonical(o, &span);
}

static void oracle_root(struct oracle *o, u32 root)
{
	u64 table = o->g->roots[root].table;
	u32 first = first_of(o->g, root);

	add_record(o, VMEM_SPACE, root)->space = (struct vmem_space){
		.space = table,
		.alias_of = first,
	};
	if (first != root || !has_addresses(o))
		return;
	if (!guest_has(o->g->s->guest, table)) {
		tell_no_root(o, root);
		return;
	}
	*add_key(o) = (struct oracle_key){
		.table = table,
		.level = mode_of(o)->top,
		.root = root,
	};
	oracle_table(o, root, mode_of(o)->top, table, 0);
}

void oracle_run(struct oracle *o, const struct group *g)
{
	u32 i;

	o->g = g;
	o->nr_keys = 0;
	o->leaves = 0;
	o->cut_tables = 0;
	o->naive = false;
	records_reset(&o->want);
	list_allowed(o);
	for (i = 0; i < (u32)g->s->guest->nr_pages; i++)
		index_page(&o->pages[i], &g->s->guest->pages[i],
			   g->s->mode->entry_size);
	for (i = 0; i < g->nr_roots; i++)
		oracle_root(o, i);
}

/*
 * The checks.
 */
static u64 count(const struct oracle *o, u32 type)
{
	return records_count(&o->want, type);
}

static u32 distinct_roots(const struct group *g)
{
	u32 i, nr = 0;

	for (i = 0; i < g->nr_roots; i++)
		nr += first_of(g, i) == i;
	return nr;
}

static bool check_stats(const struct oracle *o,
			const struct vmem_spaces_stats *stats)
{
	u32 spaces = distinct_roots(o->g);
	bool ok = stats->spaces == spaces &&
		  stats->root_aliases == o->g->nr_roots - spaces &&
		  stats->mappings == count(o, VMEM_THIS_SPACE) &&
		  stats->references == count(o, VMEM_ALIASING) &&
		  stats->anomalies == count(o, VMEM_ANOMALY) &&
		  stats->leaves == o->leaves &&
		  stats->tables == (u64)o->nr_keys &&
		  stats->tables <= stats->known;

	if (!ok) {
		kunit_err(o->g->test,
			  "spaces %llu+%llu mappings %llu leaves %llu not %llu",
			  stats->spaces, stats->root_aliases, stats->mappings,
			  stats->leaves, o->leaves);
		kunit_err(o->g->test,
			  "refs %llu anomalies %llu tables %llu/%llu not %d",
			  stats->references, stats->anomalies, stats->tables,
			  stats->known, o->nr_keys);
	}
	return ok;
}

bool oracle_check_walk(struct oracle *o, const struct records *got,
		       const struct vmem_spaces_stats *stats)
{
	return records_equal(o->g->test, got, &o->want) &&
	       check_stats(o, stats) && guest_is_intact(o->g->s->guest);
}

/* What the records tell about a range, references followed, in bytes. */
static u64 told_bytes(const struct records *records, u32 root, u64 va,
		      u64 last_va)
{
	u64 first, last, shift, bytes = 0;
	int i;

	for (i = 0; i < records->nr; i++) {
		const struct vmem_record *r = &records->r[i];

		if (r->root != root || !record_span(r, &first, &last))
			continue;
		first = max(first, va);
		last = min(last, last_va);
		if (first > last)
			continue;
		if (r->type == VMEM_ALIASING) {
			shift = r->reference.their_va - r->reference.our_va;
			bytes += told_bytes(records, r->reference.owner_root,
					    first + shift, last + shift);
		} else {
			bytes += last - first + 1;
		}
	}
	return bytes;
}

bool oracle_expand(struct oracle *o, u32 root,
		   void (*take)(struct oracle *o, const struct oracle_piece *p,
				void *priv),
		   void *priv)
{
	u64 table = o->g->roots[root].table;

	o->naive = true;
	o->take = take;
	o->priv = priv;
	o->root = root;
	o->expanded = 0;
	o->bytes = 0;
	o->ok = true;
	if (guest_has(o->g->s->guest, table))
		oracle_table(o, root, mode_of(o)->top, table, 0);
	return o->ok;
}

static bool check_root_expansion(struct oracle *o, u32 root)
{
	u64 told;

	oracle_expand(o, root, expect_piece_told, NULL);
	if (!guest_has(o->g->s->guest, o->g->roots[root].table))
		return true;
	if (!o->ok || o->expanded > ORACLE_MAX_EXPANDED)
		return o->ok;
	told = told_bytes(o->got, first_of(o->g, root), 0, U64_MAX);
	if (told != o->bytes)
		kunit_err(o->g->test, "root %u: %llu bytes told and not %llu",
			  root, told, o->bytes);
	return told == o->bytes;
}

bool oracle_check_expansion(struct oracle *o, const struct records *got)
{
	u32 i;

	o->got = got;
	for (i = 0; i < o->g->nr_roots; i++) {
		if (!check_root_expansion(o, i))
			return false;
	}
	return true;
}

/* The last table on the path that is owned elsewhere: whose, and where. */
static const struct oracle_key *find_owner(const struct oracle *o, u32 root,
					   u64 va, const struct ref *ref,
					   u64 *owner_va)
{
	const struct oracle_key *key, *owner = NULL;
	int level, top = mode_of(o)->top;

	for (level = top - 1; level >= (int)ref->t.out_level; level--) {
		u64 size = group_region(o->g, level), base = va & -size;
		u64 gpa = ref->t.out_trace[top - level].entry_gpa;

		key = find_key(o, gpa & VMEM_PAGE_MASK, level,
			       window_of(o, base, base + size - 1));
		if (!key ||
		    (key->root == first_of(o->g, root) && key->va == base))
			continue;
		owner = key;
		*owner_va = key->va + (va - base);
	}
	return owner;
}

static bool same_entry(const struct oracle *o, const struct ref *ref,
		       const struct vmem_translation *t, u32 root)
{
	struct ref theirs;
	u32 last = ref->t.out_nr_trace - 1;

	ref_translate(o->g->s->guest, &o->g->regs[root], t->out_owner_va,
		      &theirs);
	return theirs.t.out_nr_trace == ref->t.out_nr_trace &&
	       theirs.t.out_trace[last].entry_gpa ==
		       ref->t.out_trace[last].entry_gpa &&
	       theirs.t.out_gpa == ref->t.out_gpa;
}

static bool owner_fits(const struct oracle *o, u32 root, u64 va,
		       const struct ref *ref, const struct vmem_translation *t)
{
	const struct oracle_key *owner = NULL;
	u64 owner_va;

	if (ref->t.out_status == VMEM_MAPPED && is_allowed(o, va))
		owner = find_owner(o, root, va, ref, &owner_va);
	if (!owner)
		return !t->out_referenced && !t->out_owner_space &&
		       !t->out_owner_va && !t->out_owner_root;
	return t->out_referenced == 1 && t->out_owner_va == owner_va &&
	       t->out_owner_root == owner->root &&
	       t->out_owner_space == o->g->roots[owner->root].table &&
	       same_entry(o, ref, t, owner->root);
}

/* The answer of a space alone, which knows nothing of owners. */
static bool alone_fits(const struct oracle *o, u32 root, u64 va,
		       const struct ref *ref)
{
	struct vmem_translation t;
	int ret = vmem_translate(&o->g->s->guest->mem, &o->g->roots[root], va,
				 &t);

	if (!guest_has(o->g->s->guest, o->g->roots[root].table) &&
	    vmem_is_canonical(&o->g->roots[root].mode, va))
		return ret == -ENXIO;
	return !ret && translation_equal(&t, &ref->t) && !t.out_referenced;
}

/* Without a root, there is no more to say of an address than that it is one. */
static void translate_root(const struct oracle *o, u32 root, u64 va,
			   struct ref *ref)
{
	ref_translate(o->g->s->guest, &o->g->regs[root], va, ref);
	if (guest_has(o->g->s->guest, o->g->roots[root].table) ||
	    !vmem_is_canonical(&o->g->roots[root].mode, va))
		return;
	memset(ref, 0, sizeof(*ref));
	ref->t.out_status = VMEM_UNBACKED;
	ref->t.out_level = mode_of(o)->top;
}

bool oracle_check_va(struct oracle *o, struct vmem_spaces *spaces, u32 root,
		     u64 va)
{
	struct vmem_mem *mem = &o->g->s->guest->mem;
	struct vmem_translation t;
	u32 nr = spaces->seen.nr;
	struct ref ref;
	int ret;

	translate_root(o, root, va, &ref);
	memset(&t, 0xa5, sizeof(t));
	ret = vmem_translate_shared(mem, spaces, root, va, &t);
	/* Several threads may translate at once: none may change anything. */
	if (!ret && spaces->seen.nr == nr && translation_equal(&t, &ref.t) &&
	    owner_fits(o, root, va, &ref, &t) && alone_fits(o, root, va, &ref))
		return true;
	kunit_err(o->g->test, "root %u va %#llx: %d, noted %u", root, va, ret,
		  spaces->seen.nr - nr);
	kunit_err(o->g->test, "  status %u level %u gpa %#llx perms %#x",
		  t.out_status, t.out_level, t.out_gpa, t.out_perms);
	kunit_err(o->g->test, "  referenced %u to %#llx of %u (%#llx)",
		  t.out_referenced, t.out_owner_va, t.out_owner_root,
		  t.out_owner_space);
	return false;
}

/* The first address of each record, and the last, and those beside them. */
static bool check_record_vas(struct oracle *o, struct vmem_spaces *spaces,
			     const struct records *got)
{
	int i, step = got->nr / 64 + 1;
	u64 va, last_va;

	for (i = 0; i < got->nr; i += step) {
		const struct vmem_record *r = &got->r[i];

		if (!record_span(r, &va, &last_va))
			continue;
		if (!oracle_check_va(o, spaces, r->root, va) ||
		    !oracle_check_va(o, spaces, r->root, va - 1) ||
		    !oracle_check_va(o, spaces, r->root, last_va) ||
		    !oracle_check_va(o, spaces, r->root, last_va + 1))
			return false;
	}
	return true;
}

bool oracle_check(struct oracle *o, const struct group *g,
		  struct records *records)
{
	struct vmem_spaces spaces;
	bool ok;

	oracle_run(o, g);
	group_walk_all(g, &spaces, records);
	ok = oracle_check_walk(o, records, &spaces.stats) &&
	     check_record_vas(o, &spaces, records) &&
	     guest_is_intact(g->s->guest) && oracle_check_expansion(o, records);
	vmem_spaces_destroy(&spaces);
	return ok;
}
