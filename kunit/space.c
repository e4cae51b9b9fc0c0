// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address spaces made up by tests, and checks against the reference.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "space.h"

/*
 * The widths are chosen so that an address cut to 32 bits, to less than
 * MAXPHYADDR, or extended by its sign would show. In PAE paging CR3 has 32 bits, and
 * a root has four entries: there, what the tests map around @va is all behind the
 * first. An AMD guest has its C-bit above MAXPHYADDR, Intel's shared bit is the last
 * below it.
 */
/* clang-format off */
const struct mode modes[NR_MODES] = {
	{
		.desc = "4-level, NXE, 52 bits",
		.regs = GUEST_REGS_AMD64(EFER_NX, 52),
		.top = 4, .index_bits = 9, .root_bits = 9, .entry_size = 8,
		.max_leaf = 3,
		.tables = 0x0008000123400000, .frame = 0x000c000640000000,
		.big_frame = 0x000c000640000000,
		.va = 0xffffa95340000000, .last = U64_MAX,
	}, {
		.desc = "4-level, NXE, 36 bits",
		.regs = GUEST_REGS_AMD64(EFER_NX, 36),
		.top = 4, .index_bits = 9, .root_bits = 9, .entry_size = 8,
		.max_leaf = 3,
		.tables = 0xf23400000, .frame = 0x640000000,
		.big_frame = 0xe40000000,
		.va = 0x00007a5340000000, .last = U64_MAX,
	}, {
		.desc = "4-level, no NXE, 40 bits",
		.regs = GUEST_REGS_AMD64(0, 40),
		.top = 4, .index_bits = 9, .root_bits = 9, .entry_size = 8,
		.max_leaf = 3,
		.tables = 0x8123400000, .frame = 0xc640000000,
		.big_frame = 0xc640000000,
		.va = 0xffffa95340000000, .last = U64_MAX,
	}, {
		.desc = "2-level, PSE, 36 bits",
		.regs = GUEST_REGS_I686(X86_CR4_PSE, 36),
		.top = 2, .index_bits = 10, .root_bits = 10, .entry_size = 4,
		.max_leaf = 2,
		.tables = 0xf0345000, .frame = 0xe5400000,
		.big_frame = 0xf00400000,
		.va = 0xc0000000, .last = U32_MAX,
	}, {
		.desc = "2-level, PSE, 52 bits",
		.regs = GUEST_REGS_I686(X86_CR4_PSE, 52),
		.top = 2, .index_bits = 10, .root_bits = 10, .entry_size = 4,
		.max_leaf = 2,
		.tables = 0x00345000, .frame = 0x65400000,
		.big_frame = 0xffffc00000 - SZ_16M,
		.va = 0x40000000, .last = U32_MAX,
	}, {
		.desc = "2-level, no PSE",
		.regs = GUEST_REGS_I686(0, 32),
		.top = 2, .index_bits = 10, .root_bits = 10, .entry_size = 4,
		.max_leaf = 1,
		.tables = 0xfff00000, .frame = 0xe5400000,
		.va = 0xc0000000, .last = U32_MAX,
	}, {
		.desc = "PAE, NXE, 52 bits",
		.regs = GUEST_REGS_PAE(EFER_NX, 52),
		.top = 3, .index_bits = 9, .root_bits = 2, .entry_size = 8,
		.max_leaf = 2,
		.tables = 0xe2340000, .root_at = 0xfa0,
		.frame = 0x000c000640000000,
		.big_frame = 0x000a000640000000,
		.va = 0x2a400000, .last = U32_MAX,
	}, {
		.desc = "PAE, no NXE, 36 bits",
		.regs = GUEST_REGS_PAE(0, 36),
		.top = 3, .index_bits = 9, .root_bits = 2, .entry_size = 8,
		.max_leaf = 2,
		.tables = 0x12340000, .frame = 0x640000000,
		.big_frame = 0xe40000000,
		.va = 0x01c00000, .last = U32_MAX,
	}, {
		.desc = "5-level, NXE, 52 bits",
		.regs = GUEST_REGS_LA57(EFER_NX, 52, 0),
		.top = 5, .index_bits = 9, .root_bits = 9, .entry_size = 8,
		.max_leaf = 3,
		.tables = 0x0008000123400000, .frame = 0x000c000640000000,
		.big_frame = 0x000a000640000000,
		.va = 0xff2fa95340000000, .last = U64_MAX,
	}, {
		.desc = "5-level, AMD, no 1 GiB pages, 43 bits",
		.regs = GUEST_REGS_LA57(EFER_NX, 43,
					VMEM_RULES_AMD | VMEM_RULES_NO_1G |
					VMEM_RULES_ENCRYPTION_BIT(47)),
		.top = 5, .index_bits = 9, .root_bits = 9, .entry_size = 8,
		.max_leaf = 2,
		.tables = 0x40123400000, .frame = 0x60640000000,
		.big_frame = 0x50640000000,
		.va = 0x00d07a5340000000, .last = U64_MAX,
	}, {
		.desc = "4-level, shared bit, 52 bits",
		.regs = {
			.cr0 = X86_CR0_PG | X86_CR0_PE, .cr4 = X86_CR4_PAE,
			.efer = EFER_LME | EFER_LMA | EFER_NX, .maxphyaddr = 52,
			.rules = VMEM_RULES_SHARED_BIT |
				 VMEM_RULES_ENCRYPTION_BIT(51),
		},
		.top = 4, .index_bits = 9, .root_bits = 9, .entry_size = 8,
		.max_leaf = 3,
		.tables = 0x0004000123400000, .frame = 0x0006000640000000,
		.big_frame = 0x0005000640000000,
		.va = 0x00007a5340000000, .last = U64_MAX,
	},
};

/* clang-format on */

u64 mode_canonical(const struct mode *mode, u64 va)
{
	u64 sign = BIT_ULL(VMEM_PAGE_SHIFT - 1 + mode->top * mode->index_bits);

	if (!mode_is_long(mode))
		return va & mode->last;
	return va & sign ? va | -sign : va & (sign - 1);
}

struct space *space_alloc(struct kunit *test, const struct mode *mode)
{
	struct space *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, s);
	s->test = test;
	s->mode = mode;
	s->regs = mode->regs;
	s->guest = guest_alloc(test);
	s->bounce = true;
	space_reset(s);
	return s;
}

static u64 space_add_table(struct space *s)
{
	u64 table = s->next_table;

	guest_add(s->guest, table);
	s->next_table += VMEM_PAGE_SIZE;
	return table;
}

void space_reset(struct space *s)
{
	guest_reset(s->guest, s->bounce);
	s->next_table = s->mode->tables;
	space_set_root(s, space_add_table(s) + s->mode->root_at);
}

void space_set_root(struct space *s, u64 cr3)
{
	s->regs.cr3 = cr3;
	KUNIT_ASSERT_EQ(s->test, vmem_root_init(&s->root, &s->regs), 0);
}

u64 space_span(const struct space *s, int level)
{
	return SZ_4K * (1ULL << s->mode->index_bits * (level - 1));
}

static u64 space_entry_at(const struct space *s, u64 table, u64 va, int level)
{
	u64 index = va / space_span(s, level);

	index &= mode_entries(s->mode, level) - 1;
	return table + index * s->mode->entry_size;
}

u64 space_link(const struct space *s, int level, u64 table, u64 flags)
{
	/* All that a PDPTE of PAE may have besides an address (SDM table 4-8) */
	if (!mode_denies(s->mode, level))
		flags &= PTE_P | GENMASK_ULL(4, 3) | GENMASK_ULL(11, 9);
	return table | flags;
}

u64 space_table_of(const struct space *s, u64 raw)
{
	return raw & GENMASK_ULL(51, 12) & ~mode_encryption(s->mode);
}

u64 space_entry(struct space *s, u64 va, int level)
{
	u64 gpa = space_entry_at(s, s->mode->tables + s->mode->root_at, va,
				 s->mode->top);
	int size = s->mode->entry_size;
	u64 raw;
	int l;

	for (l = s->mode->top; l > level; l--) {
		KUNIT_ASSERT_TRUE(s->test,
				  guest_read(s->guest, gpa, size, &raw));
		if (!raw) {
			raw = space_link(s, l, space_add_table(s), PTE_PWU);
			guest_write(s->guest, gpa, size, raw);
		}
		gpa = space_entry_at(s, space_table_of(s, raw), va, l - 1);
	}
	return gpa;
}

void space_set(struct space *s, u64 va, int level, u64 raw)
{
	guest_write(s->guest, space_entry(s, va, level), s->mode->entry_size,
		    raw);
}

u64 space_get(struct space *s, u64 va, int level)
{
	u64 raw;

	KUNIT_ASSERT_TRUE(s->test,
			  guest_read(s->guest, space_entry(s, va, level),
				     s->mode->entry_size, &raw));
	return raw;
}

u64 space_leaf(const struct space *s, int level, u64 gpa, u64 flags)
{
	if (level == 1)
		return gpa | flags;
	if (s->mode->entry_size == 8)
		return gpa | flags | PTE_PS | PTE_PAT_LARGE;
	return (gpa & 0xffc00000) | (gpa >> 32) << 13 | flags | PTE_PS |
	       PTE_PAT_LARGE;
}

void space_map(struct space *s, u64 va, int level, u64 gpa, u64 flags)
{
	space_set(s, va, level, space_leaf(s, level, gpa, flags));
}

static u64 reserved8(const struct space *s, int level)
{
	bool pae = mode_is_pae(s->mode);
	u32 width = s->regs.maxphyaddr;

	if (level > s->mode->max_leaf && pae)
		return PTE_PWU;
	if (level > s->mode->max_leaf && s->regs.rules & VMEM_RULES_AMD)
		return (level > VMEM_LEVEL_PDPT ? PTE_G : PTE_PS) | PTE_PWU;
	if (level > VMEM_LEVEL_PDPT)
		return PTE_PS | PTE_PWU;
	if (level > VMEM_LEVEL_PT)
		return BIT_ULL(13) | PTE_PS | PTE_PWU;
	/* In long mode there is nothing reserved above the widest address. */
	return width < 52 || pae ? BIT_ULL(width) | PTE_PWU : 0;
}

u64 space_reserved(const struct space *s, int level)
{
	if (s->mode->entry_size == 8)
		return reserved8(s, level);
	if (level == VMEM_LEVEL_PD && s->mode->max_leaf == VMEM_LEVEL_PD)
		return BIT_ULL(21) | PTE_PS | PTE_PWU;
	return 0;
}

u64 space_frame(const struct space *s, int level)
{
	return level == 1 ? s->mode->frame : s->mode->big_frame;
}

u64 space_va(const struct space *s, int level)
{
	return s->mode->va + (0x12345000 & -space_span(s, level));
}

void space_ref(const struct space *s, u64 va, struct ref *ref)
{
	ref_translate(s->guest, &s->regs, va, ref);
}

struct recorder *recorder_alloc(struct kunit *test)
{
	struct recorder *rec = kunit_kzalloc(test, sizeof(*rec), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, rec);
	recorder_reset(rec);
	return rec;
}

void recorder_reset(struct recorder *rec)
{
	rec->nr = 0;
	rec->stop_at = -1;
}

int recorder_emit(const struct vmem_mapping *mapping, void *priv)
{
	struct recorder *rec = priv;

	if (rec->nr == rec->stop_at)
		return VMEM_WALK_STOP;
	if (rec->nr == MAX_MAPPINGS)
		return -ENOSPC;
	rec->maps[rec->nr++] = *mapping;
	return 0;
}

static bool mappings_merge(const struct vmem_mapping *a,
			   const struct vmem_mapping *b)
{
	return a->last_va + 1 == b->va && a->gpa + (b->va - a->va) == b->gpa &&
	       a->page_size == b->page_size && a->perms == b->perms &&
	       a->kind == b->kind && a->attributes == b->attributes;
}

void recorder_merge(struct recorder *rec)
{
	int from, to = 0;

	for (from = 1; from < rec->nr; from++) {
		if (mappings_merge(&rec->maps[to], &rec->maps[from]))
			rec->maps[to].last_va = rec->maps[from].last_va;
		else
			rec->maps[++to] = rec->maps[from];
	}
	if (rec->nr)
		rec->nr = to + 1;
}

bool recorder_is_merged(const struct recorder *rec)
{
	int i;

	for (i = 1; i < rec->nr; i++) {
		if (mappings_merge(&rec->maps[i - 1], &rec->maps[i]))
			return false;
	}
	return true;
}

/* Field by field: a mapping may have been copied with or without padding. */
static bool mappings_equal(const struct vmem_mapping *a,
			   const struct vmem_mapping *b)
{
	return a->va == b->va && a->last_va == b->last_va && a->gpa == b->gpa &&
	       a->page_size == b->page_size && a->perms == b->perms &&
	       a->kind == b->kind && a->attributes == b->attributes;
}

bool recorder_equal(const struct recorder *a, const struct recorder *b)
{
	int i;

	if (a->nr != b->nr)
		return false;
	for (i = 0; i < a->nr; i++) {
		if (!mappings_equal(&a->maps[i], &b->maps[i]))
			return false;
	}
	return true;
}

struct vmem_range space_range(struct space *s, u64 va, u64 last_va,
			      struct recorder *rec)
{
	return (struct vmem_range){
		.mem = &s->guest->mem,
		.root = &s->root,
		.va = va,
		.last_va = last_va,
		.budget = U64_MAX,
		.emit = recorder_emit,
		.priv = rec,
	};
}

int space_flatten(struct space *s, struct vmem_range *range, u64 budget)
{
	u64 before;
	int ret;

	do {
		before = range->va;
		range->budget = budget;
		ret = vmem_virt_to_phys(range);
		if (range->budget > budget)
			return -ERANGE;
		if (ret == VMEM_WALK_STOP && range->va <= before)
			return -ELOOP;
	} while (ret == VMEM_WALK_STOP);
	return ret;
}

static bool same_trace(const struct vmem_trace *a, const struct vmem_trace *b,
		       u32 nr)
{
	u32 i;

	for (i = 0; i < nr; i++) {
		if (a[i].entry_gpa != b[i].entry_gpa || a[i].raw != b[i].raw)
			return false;
	}
	return true;
}

bool translation_equal(const struct vmem_translation *a,
		       const struct vmem_translation *b)
{
	return a->out_status == b->out_status && a->out_level == b->out_level &&
	       a->out_gpa == b->out_gpa && a->out_perms == b->out_perms &&
	       a->out_page_size == b->out_page_size &&
	       a->out_nr_trace == b->out_nr_trace &&
	       same_trace(a->out_trace, b->out_trace, a->out_nr_trace);
}

static void log_translation(struct space *s, const char *who, u64 va,
			    const struct vmem_translation *t)
{
	u32 i;

	kunit_err(s->test, "%s: va %#llx status %u level %u", who, va,
		  t->out_status, t->out_level);
	kunit_err(s->test, "  gpa %#llx size %#llx perms %#x", t->out_gpa,
		  t->out_page_size, t->out_perms);
	for (i = 0; i < min_t(u32, t->out_nr_trace, VMEM_MAX_LEVELS); i++)
		kunit_err(s->test, "  entry %#llx raw %#llx",
			  t->out_trace[i].entry_gpa, t->out_trace[i].raw);
}

/* What a translation may pin: the root, and the pages of the path's entries. */
static u64 trace_pages(const struct space *s, const struct vmem_translation *t)
{
	u64 bits = guest_bit(s->guest, s->root.table);
	u32 i;

	for (i = 0; i < t->out_nr_trace; i++)
		bits |= guest_bit(s->guest, t->out_trace[i].entry_gpa);
	return bits;
}

bool space_check_va(struct space *s, u64 va)
{
	struct vmem_translation got;
	struct ref ref;
	int ret;

	space_ref(s, va, &ref);
	guest_forget_pins(s->guest);
	memset(&got, 0xa5, sizeof(got));
	ret = vmem_translate(&s->guest->mem, &s->root, va, &got);
	if (ret) {
		kunit_err(s->test, "va %#llx: error %d", va, ret);
		return false;
	}
	if (!translation_equal(&got, &ref.t)) {
		log_translation(s, "got", va, &got);
		log_translation(s, "want", va, &ref.t);
		return false;
	}
	if (s->guest->touched & ~trace_pages(s, &ref.t)) {
		kunit_err(s->test, "va %#llx: pinned more than its tables", va);
		return false;
	}
	return guest_is_intact(s->guest);
}

/* Do the mappings rise, without overlaps, inside the range? */
static bool maps_are_ordered(const struct recorder *rec, u64 va, u64 last_va)
{
	const struct vmem_mapping *m;
	u64 next = va;
	int i;

	for (i = 0; i < rec->nr; i++) {
		m = &rec->maps[i];
		if (m->va < next || m->last_va < m->va || m->last_va > last_va)
			return false;
		if (m->last_va == last_va)
			return i == rec->nr - 1;
		next = m->last_va + 1;
	}
	return true;
}

/* Is @va, whose page is mapped up to @last in the range, in @m as it should? */
static bool map_fits(const struct vmem_mapping *m, u64 va, u64 last,
		     const struct vmem_translation *t)
{
	return m->va <= va && m->last_va >= last &&
	       m->gpa + (va - m->va) == t->out_gpa &&
	       m->page_size == t->out_page_size && m->perms == t->out_perms &&
	       m->kind == VMEM_KIND_BASIC;
}

/* Last address of the region that shares the fate of @va. */
static u64 ref_last(const struct ref *ref, u64 va)
{
	return va | (ref->span - 1);
}

static bool is_anomaly(const struct ref *ref)
{
	return ref->t.out_status == VMEM_RESERVED ||
	       ref->t.out_status == VMEM_UNBACKED;
}

bool space_check_range(struct space *s, u64 va, u64 last_va,
		       const struct recorder *rec, u64 anomalies)
{
	const struct vmem_mapping *m = rec->maps;
	const struct vmem_mapping *end = rec->maps + rec->nr;
	u64 page, last, want = 0, counted = 0;
	struct ref ref;

	if (!maps_are_ordered(rec, va, last_va)) {
		kunit_err(s->test, "mappings out of order");
		return false;
	}
	for (page = va;; page = last + 1) {
		last = min(page | (SZ_4K - 1), last_va);
		while (m < end && m->last_va < page)
			m++;
		space_ref(s, page, &ref);
		if (is_anomaly(&ref) && (!want || page > counted)) {
			want++;
			counted = ref_last(&ref, page);
		}
		if (ref.t.out_status == VMEM_MAPPED ?
			    m == end || !map_fits(m, page, last, &ref.t) :
			    m < end && m->va <= last) {
			kunit_err(s->test, "wrong mapping in %#llx..%#llx", va,
				  last_va);
			log_translation(s, "want", page, &ref.t);
			return false;
		}
		if (last == last_va)
			break;
	}
	if (anomalies != want)
		kunit_err(s->test, "%llu anomalies and not %llu", anomalies,
			  want);
	return anomalies == want && guest_is_intact(s->guest);
}

/**
 * struct tiling - a walk that is being checked
 * @s: the space
 * @next: where the next visit is to begin
 * @last_va: end of the range
 * @done: the end of the range has been reached
 * @ok: nothing was wrong so far
 */
struct tiling {
	struct space *s;
	u64 next;
	u64 last_va;
	bool done;
	bool ok;
};

static u64 visit_last(const struct tiling *t, const struct vmem_visit *v,
		      const struct ref *ref)
{
	const struct vmem_mode *mode = &t->s->root.mode;

	if (v->status == VMEM_NON_CANONICAL)
		return min(mode->noncanonical_last, t->last_va);
	return min(ref_last(ref, v->va), t->last_va);
}

static bool visit_fits(const struct tiling *t, const struct vmem_visit *v)
{
	struct ref ref;
	u64 gpa;

	space_ref(t->s, v->va, &ref);
	if (v->va != t->next || t->done || v->last_va != visit_last(t, v, &ref))
		return false;
	gpa = v->status == VMEM_UNBACKED ? ref.table : ref.t.out_gpa;
	if (v->status == VMEM_UNBACKED || v->status == VMEM_MAPPED) {
		if (v->gpa != gpa)
			return false;
	}
	return v->root == &t->s->root && v->status == ref.t.out_status &&
	       v->level == (int)ref.t.out_level &&
	       v->page_size == ref.t.out_page_size &&
	       v->perms == ref.t.out_perms &&
	       v->nr_path == (int)ref.t.out_nr_trace &&
	       same_trace(v->path, ref.t.out_trace, ref.t.out_nr_trace);
}

static int tile(const struct vmem_visit *v, struct tiling *t, bool right_call)
{
	if (!right_call || !visit_fits(t, v)) {
		kunit_err(t->s->test, "wrong visit %#llx..%#llx, not %#llx",
			  v->va, v->last_va, t->next);
		kunit_err(t->s->test, "  status %u level %d path %d", v->status,
			  v->level, v->nr_path);
		kunit_err(t->s->test, "  gpa %#llx size %#llx perms %#x",
			  v->gpa, v->page_size, v->perms);
		t->ok = false;
		return -EBADE;
	}
	t->done = v->last_va == t->last_va;
	t->next = v->last_va + 1;
	return 0;
}

static int tile_leaf(const struct vmem_visit *v, void *priv)
{
	return tile(v, priv, v->status == VMEM_MAPPED);
}

static int tile_hole(const struct vmem_visit *v, void *priv)
{
	return tile(v, priv,
		    v->status == VMEM_NOT_PRESENT ||
			    v->status == VMEM_NON_CANONICAL);
}

static int tile_anomaly(const struct vmem_visit *v, void *priv)
{
	return tile(v, priv,
		    v->status == VMEM_RESERVED || v->status == VMEM_UNBACKED);
}

static const struct vmem_walk_ops tile_ops = {
	.leaf = tile_leaf,
	.hole = tile_hole,
	.anomaly = tile_anomaly,
};

bool space_check_walk(struct space *s, u64 va, u64 last_va)
{
	struct tiling t = { .s = s, .next = va, .last_va = last_va, .ok = true };
	struct vmem_walk walk = {
		.mem = &s->guest->mem,
		.roots = &s->root,
		.nr_roots = 1,
		.va = va,
		.scope = { .va = va, .last_va = last_va },
		.budget = U64_MAX,
		.ops = &tile_ops,
		.priv = &t,
	};
	int ret = vmem_walk(&walk);

	if (!ret && t.done)
		return t.ok && guest_is_intact(s->guest);
	kunit_err(s->test, "walk of %#llx..%#llx ended at %#llx with %d", va,
		  last_va, t.next, ret);
	return false;
}
