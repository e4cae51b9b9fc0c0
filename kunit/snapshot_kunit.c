// SPDX-License-Identifier: GPL-2.0-only
/*
 * Snapshots: a machine of its own, whose tables are read out of the snapshot's
 * memory. Every space maps the same bytes as before, each page of the guest is
 * there once, and nothing else is.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <vmem/snapshot.h>

#include "graph.h"
#include "rebuild.h"

#define NR_GRAPHS 300
#define MAX_CALLS 20000
#define MAX_RUNS 8192
#define BASE 0x20000000ULL

KUNIT_ARRAY_PARAM(mode, modes, mode_desc);
KUNIT_ARRAY_PARAM(share, shares, share_desc);

/**
 * struct run - guest memory that is mapped, and where it has gone
 * @old: its address
 * @new: its address in the snapshot
 * @len: bytes
 * @placed: it is memory; what is none stays where it was
 */
struct run {
	u64 old;
	u64 new;
	u64 len;
	bool placed;
};

/**
 * struct scene - a guest and its snapshot
 * @test: the test it belongs to
 * @mode: how it pages
 * @g: the guest's spaces
 * @o: what is in them
 * @snap: the snapshot
 * @built: its roots
 * @to: its tables, as a guest of their own
 * @to_o: what is in them
 * @runs: the memory that is found to be mapped, no two alike
 * @nr_runs: how many they are
 * @bytes: what the space that is expanded maps
 * @lost: pages that it mapped and that cannot be read, in units of 4 KiB
 */
struct scene {
	struct kunit *test;
	const struct mode *mode;
	struct group *g;
	struct oracle *o;
	struct vmem_snapshot snap;
	struct vmem_root built[GROUP_MAX_ROOTS];
	struct group *to;
	struct oracle *to_o;
	struct run runs[MAX_RUNS];
	int nr_runs;
	u64 bytes;
	u64 lost;
};

static struct scene *scene_of(struct kunit *test, struct group *g,
			      struct oracle *o)
{
	struct scene *sc = kunit_kzalloc(test, sizeof(*sc), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, sc);
	sc->test = test;
	sc->mode = g->s->mode;
	sc->g = g;
	sc->o = o;
	sc->to = group_alloc(test, sc->mode);
	sc->to_o = oracle_alloc(test);
	return sc;
}

static void add_space(struct scene *sc)
{
	group_add_root(sc->g, group_new_root(sc->g));
}

static void scene_reset(struct scene *sc)
{
	group_reset(sc->g, true);
	add_space(sc);
}

static struct scene *scene_alloc(struct kunit *test, const struct mode *mode)
{
	struct scene *sc =
		scene_of(test, group_alloc(test, mode), oracle_alloc(test));

	scene_reset(sc);
	return sc;
}

/* Memory whose every 4 bytes say where they are, and are no present entry. */
static void add_memory(struct scene *sc, u64 gpa)
{
	int offset;

	guest_add(sc->g->s->guest, gpa);
	for (offset = 0; offset < SZ_4K; offset += 4)
		guest_write(sc->g->s->guest, gpa + offset, 4,
			    (u32)((gpa + offset) >> 1 ^ gpa >> 32 << 20) & ~1U);
}

static void map_page(struct scene *sc, u32 root, u64 va, int level, u64 gpa)
{
	group_set(sc->g, sc->g->roots[root].table, va, level,
		  space_leaf(sc->g->s, level, gpa, PTE_PWU));
}

/* A page of 4 KiB that is made, with its memory. */
static void map_memory(struct scene *sc, u32 root, u64 va, u64 gpa)
{
	if (!guest_has(sc->g->s->guest, gpa))
		add_memory(sc, gpa);
	map_page(sc, root, va, 1, gpa);
}

/*
 * Making it, and reading it.
 */
static void begin(struct scene *sc, u64 base)
{
	sc->snap = (struct vmem_snapshot){
		.rebuild = {
			.roots = sc->g->roots,
			.nr_roots = sc->g->nr_roots,
			.scope = sc->g->scope,
			.built = sc->built,
		},
		.base = base,
	};
}

static int make(struct scene *sc, u64 budget)
{
	return vmem_snapshot_make(&sc->snap, &sc->g->s->guest->mem, budget);
}

static void end(struct scene *sc)
{
	vmem_snapshot_destroy(&sc->snap);
	KUNIT_EXPECT_TRUE(sc->test, guest_is_intact(sc->g->s->guest));
}

/* The snapshot's memory goes to a buffer, whose end @to is. */
static int sink(const void *data, size_t len, void *priv)
{
	u8 **to = priv;

	memcpy(*to, data, len);
	*to += len;
	return 0;
}

static int read_memory(struct scene *sc, u64 gpa, void *buf, size_t len)
{
	u8 *to = buf;
	u64 at = gpa;
	int ret = vmem_snapshot_read(&sc->snap, &sc->g->s->guest->mem, &at,
				     gpa + len, sink, &to);

	if (!ret && (at != gpa + len || to != (u8 *)buf + len))
		return -EBADE;
	return ret;
}

static u64 read_value(struct scene *sc, u64 gpa, int size)
{
	u64 value = 0;

	KUNIT_ASSERT_EQ(sc->test, read_memory(sc, gpa, &value, size), 0);
	return value;
}

/* The tables become a guest, so that whatever reads a guest reads them. */
static void load_tables(struct scene *sc)
{
	u64 table, offset;
	u32 i;

	group_reset(sc->to, false);
	for (i = 0; i < sc->snap.nr_made; i++) {
		table = sc->snap.base + (u64)i * SZ_4K;
		guest_add(sc->to->s->guest, table);
		for (offset = 0; offset < SZ_4K; offset += 8)
			guest_write(sc->to->s->guest, table + offset, 8,
				    read_value(sc, table + offset, 8));
	}
	for (i = 0; i < sc->g->nr_roots; i++) {
		group_add_root(sc->to, sc->built[i].table);
		sc->to->regs[i] = rebuilt_regs(&sc->g->regs[i]);
		sc->to->regs[i].cr3 = sc->built[i].table;
		sc->to->roots[i] = sc->built[i];
	}
}

static void make_all(struct scene *sc, u64 base)
{
	begin(sc, base);
	KUNIT_ASSERT_EQ(sc->test, make(sc, U64_MAX), 0);
	KUNIT_ASSERT_TRUE(sc->test, sc->snap.done);
	load_tables(sc);
}

static struct ref new_ref(const struct scene *sc, u32 root, u64 va)
{
	struct ref ref;

	ref_translate(sc->to->s->guest, &sc->to->regs[root], va, &ref);
	return ref;
}

/*
 * The checks.
 */
#define MIXED 1

/* What there is of all of it: 0, -ENXIO, -EIO, or MIXED. */
static int state_of(const struct scene *sc, u64 gpa, u64 len)
{
	struct vmem_mem *mem = &sc->g->s->guest->mem;
	int state = guest_state(sc->g->s->guest, gpa);
	u64 done, same;

	for (done = 0; done < len; done += same)
		if (mem->ops->probe(mem, gpa + done, len - done, &same) !=
		    state)
			return MIXED;
	return state;
}

/* Smaller pages of 2-level paging have no names for what is above 4 GB. */
static bool can_split(const struct scene *sc, u64 gpa, u64 len)
{
	return sc->mode->entry_size == 8 || gpa + len <= 4ULL * SZ_1G;
}

static bool note_run(struct scene *sc, u64 old, u64 new, u64 len, bool placed)
{
	int i;

	for (i = 0; i < sc->nr_runs; i++) {
		struct run *run = &sc->runs[i];

		if (run->old == old && run->new == new && run->len == len)
			return true;
	}
	KUNIT_ASSERT_LT(sc->test, sc->nr_runs, MAX_RUNS);
	sc->runs[sc->nr_runs++] = (struct run){ old, new, len, placed };
	return true;
}

/*
 * The largest page at @va that lies in the piece and in the old page, and is one
 * thing only. What is of several and cannot be split is lost.
 */
static int new_level(const struct scene *sc, const struct oracle_piece *p,
		     u64 va, int *state)
{
	u64 gpa = p->ref->t.out_gpa + (va - p->base), size;
	int level;

	for (level = p->ref->t.out_level;; level--) {
		size = space_span(sc->g->s, level);
		if (va & (size - 1) || p->last_va - va < size - 1)
			continue;
		*state = state_of(sc, gpa, size);
		if (*state != MIXED)
			return level;
		if (!can_split(sc, gpa, size)) {
			*state = -EIO;
			return level;
		}
	}
}

static bool page_fits(struct scene *sc, const struct oracle_piece *p, u64 va,
		      int level, bool placed, const struct ref *new)
{
	const struct ref *old = p->ref;
	int last = old->t.out_nr_trace - 1, new_last = new->t.out_nr_trace - 1;

	if (new->t.out_status != VMEM_MAPPED ||
	    new->t.out_level != (u32)level ||
	    new->t.out_perms != old->t.out_perms ||
	    entry_flags(sc->mode, level, true,
			new->t.out_trace[new_last].raw) !=
		    entry_flags(sc->mode, old->t.out_level, true,
				old->t.out_trace[last].raw))
		return false;
	return note_run(sc, old->t.out_gpa + (va - p->base), new->t.out_gpa,
			space_span(sc->g->s, level), placed);
}

/* A page of the piece: its size. What cannot be read is not mapped. */
static u64 take_page(struct scene *sc, struct oracle *o,
		     const struct oracle_piece *p, u64 va)
{
	struct ref new = new_ref(sc, o->root, va);
	int state, level = new_level(sc, p, va, &state);
	u64 size = space_span(sc->g->s, level);

	if (!state || state == -ENXIO) {
		o->ok = page_fits(sc, p, va, level, !state, &new);
		sc->bytes += size;
	} else {
		o->ok = new.t.out_status != VMEM_MAPPED;
		sc->lost += size / SZ_4K;
	}
	return size;
}

static void take_old(struct oracle *o, const struct oracle_piece *p, void *priv)
{
	struct scene *sc = priv;
	bool mapped = p->ref->t.out_status == VMEM_MAPPED;
	u64 va = p->va, last;
	struct ref new;

	for (;;) {
		if (mapped) {
			last = va + (take_page(sc, o, p, va) - 1);
		} else {
			new = new_ref(sc, o->root, va);
			o->ok = new.t.out_status != VMEM_MAPPED;
			last = va | (new.span - 1);
		}
		if (last >= p->last_va || !o->ok)
			break;
		va = last + 1;
	}
	if (!o->ok)
		kunit_err(sc->test, "root %u: %#llx is not as it was", o->root,
			  va);
}

static void take_new(struct oracle *o, const struct oracle_piece *p, void *priv)
{
	struct scene *sc = priv;

	o->ok = p->ref->t.out_status == VMEM_MAPPED;
	sc->bytes -= p->last_va - p->va + 1;
}

/* Every space maps what it mapped, and the runs are known. */
static bool check_spaces(struct scene *sc)
{
	u32 i;

	sc->nr_runs = 0;
	sc->lost = 0;
	oracle_run(sc->o, sc->g);
	oracle_run(sc->to_o, sc->to);
	for (i = 0; i < sc->g->nr_roots; i++) {
		sc->bytes = 0;
		if (!oracle_expand(sc->o, i, take_old, sc) ||
		    !oracle_expand(sc->to_o, i, take_new, sc))
			return false;
		if (sc->bytes && sc->o->expanded <= ORACLE_MAX_EXPANDED &&
		    sc->to_o->expanded <= ORACLE_MAX_EXPANDED) {
			kunit_err(sc->test, "root %u: %lld bytes are missing",
				  i, sc->bytes);
			return false;
		}
	}
	return true;
}

static bool is_in_extents(const struct scene *sc, u64 gpa, u64 len)
{
	u32 i;

	for (i = 0; i < sc->snap.nr_extents; i++) {
		const struct vmem_extent *extent = &sc->snap.extents[i];

		if (gpa >= extent->gpa &&
		    gpa + len <= extent->gpa + extent->len)
			return true;
	}
	return false;
}

static bool overlap(u64 a, u64 a_len, u64 b, u64 b_len)
{
	return a - b < b_len || b - a < a_len;
}

/* One place for each page, and one page for each place. */
static bool runs_agree(const struct run *a, const struct run *b)
{
	bool old = overlap(a->old, a->len, b->old, b->len);
	bool new = overlap(a->new, a->len, b->new, b->len);

	if (a->placed != b->placed)
		return !new;
	return old == new && (!old || a->new - a->old == b->new - b->old);
}

static bool check_run(const struct scene *sc, const struct run *run)
{
	u64 end = sc->snap.base + (u64)sc->snap.nr_made * SZ_4K;

	if (!run->placed)
		return run->new == run->old &&
		       !is_in_extents(sc, run->new, run->len);
	return is_in_extents(sc, run->new, run->len) && run->new >= end;
}

static bool check_runs(const struct scene *sc)
{
	int i, j;

	for (i = 0; i < sc->nr_runs; i++) {
		if (!check_run(sc, &sc->runs[i])) {
			kunit_err(sc->test, "%#llx is at %#llx",
				  sc->runs[i].old, sc->runs[i].new);
			return false;
		}
		for (j = 0; j < i; j++) {
			if (runs_agree(&sc->runs[i], &sc->runs[j]))
				continue;
			kunit_err(sc->test, "%#llx is at %#llx, %#llx at %#llx",
				  sc->runs[i].old, sc->runs[i].new,
				  sc->runs[j].old, sc->runs[j].new);
			return false;
		}
	}
	return true;
}

/* All of the guest's memory that is mapped, byte for byte. */
static bool check_page(struct scene *sc, const struct guest_page *page, u8 *buf)
{
	int i;

	for (i = 0; i < sc->nr_runs; i++) {
		const struct run *run = &sc->runs[i];

		if (page->gpa - run->old >= run->len)
			continue;
		if (!read_memory(sc, run->new + (page->gpa - run->old), buf,
				 SZ_4K) &&
		    !memcmp(buf, page->truth, SZ_4K))
			return true;
		kunit_err(sc->test, "%#llx has other contents", page->gpa);
		return false;
	}
	return true;
}

static bool check_contents(struct scene *sc)
{
	u8 *buf = kunit_kzalloc(sc->test, SZ_4K, GFP_KERNEL);
	bool ok = true;
	int i;

	KUNIT_ASSERT_NOT_NULL(sc->test, buf);
	for (i = 0; i < sc->g->s->guest->nr_pages && ok; i++)
		ok = check_page(sc, &sc->g->s->guest->pages[i], buf);
	kunit_kfree(sc->test, buf);
	return ok;
}

/* Memory that is in the snapshot: whole blocks for large pages. */
static u64 count_placed(const struct scene *sc)
{
	u64 sum = 0;
	int i, j;

	for (i = 0; i < sc->nr_runs; i++) {
		const struct run *run = &sc->runs[i];
		bool inside = !run->placed;

		for (j = 0; j < sc->nr_runs && !inside; j++) {
			const struct run *other = &sc->runs[j];

			inside = j != i && run->old >= other->old &&
				 run->old + run->len <=
					 other->old + other->len &&
				 (run->len < other->len || j < i);
		}
		if (!inside)
			sum += run->len;
	}
	return sum;
}

/* They rise, have gaps between them, and have no more in them than it takes. */
static bool check_extents(const struct scene *sc)
{
	const struct vmem_extent *extents = sc->snap.extents;
	u64 sum = 0, want = count_placed(sc) + (u64)sc->snap.nr_made * SZ_4K;
	u32 i;

	for (i = 0; i < sc->snap.nr_extents; i++) {
		sum += extents[i].len;
		if (!extents[i].len ||
		    (i &&
		     extents[i - 1].gpa + extents[i - 1].len >= extents[i].gpa))
			return false;
	}
	if (sum != want)
		kunit_err(sc->test, "%#llx bytes and not %#llx", sum, want);
	return sum == want && i && i <= VMEM_MAX_EXTENTS &&
	       extents[0].gpa == sc->snap.base;
}

static bool check_roots(const struct scene *sc)
{
	u64 next = sc->snap.base;
	u32 i, j;

	for (i = 0; i < sc->g->nr_roots; i++) {
		for (j = 0; sc->g->roots[j].table != sc->g->roots[i].table; j++)
			;
		if (sc->built[i].table != (j < i ? sc->built[j].table : next))
			return false;
		if (i == j)
			next += SZ_4K;
	}
	return true;
}

static bool check_snapshot(struct scene *sc)
{
	return check_roots(sc) && check_spaces(sc) &&
	       (!sc->lost || sc->snap.unreadable) && check_runs(sc) &&
	       check_contents(sc) && check_extents(sc) &&
	       guest_is_intact(sc->g->s->guest);
}

static void expect_snapshot(struct scene *sc)
{
	make_all(sc, BASE);
	KUNIT_EXPECT_TRUE(sc->test, check_snapshot(sc));
	end(sc);
}

/*
 * Part one: by hand.
 */
static void vmem_snapshot_nothing(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);

	make_all(sc, BASE);
	KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
	KUNIT_EXPECT_EQ(test, sc->snap.nr_extents, 1U);
	KUNIT_EXPECT_EQ(test, sc->snap.extents[0].gpa, BASE);
	KUNIT_EXPECT_EQ(test, sc->snap.extents[0].len, (u64)SZ_4K);
	KUNIT_EXPECT_EQ(test, make(sc, 0), 0);
	end(sc);
}

/* One page by two addresses, and in two spaces. */
static void vmem_snapshot_once(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 va = sc->mode->va, gpa = sc->mode->frame;

	add_space(sc);
	map_memory(sc, 0, va, gpa);
	map_memory(sc, 0, va + SZ_64K, gpa);
	map_memory(sc, 0, va + SZ_4K, gpa + SZ_4K);
	map_memory(sc, 1, va + SZ_1M, gpa);
	make_all(sc, BASE);
	KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
	KUNIT_EXPECT_EQ(test, new_ref(sc, 0, va).t.out_gpa,
			new_ref(sc, 0, va + SZ_64K).t.out_gpa);
	KUNIT_EXPECT_EQ(test, new_ref(sc, 0, va).t.out_gpa,
			new_ref(sc, 1, va + SZ_1M).t.out_gpa);
	KUNIT_EXPECT_EQ(test, sc->snap.nr_extents, 1U);
	KUNIT_EXPECT_EQ(test, sc->snap.extents[0].len,
			(u64)(sc->snap.nr_made + 2) * SZ_4K);
	end(sc);
}

static void vmem_snapshot_roots(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);

	add_space(sc);
	group_add_root(sc->g, sc->g->roots[0].table);
	group_add_root(sc->g, sc->mode->tables + SZ_1M / 2);
	map_memory(sc, 0, sc->mode->va, sc->mode->frame);
	map_memory(sc, 1, sc->mode->va, sc->mode->frame + SZ_4K);
	make_all(sc, BASE);
	KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
	KUNIT_EXPECT_EQ(test, sc->built[0].table, BASE);
	KUNIT_EXPECT_EQ(test, sc->built[1].table, BASE + SZ_4K);
	KUNIT_EXPECT_EQ(test, sc->built[2].table, BASE);
	KUNIT_EXPECT_EQ(test, sc->built[3].table, BASE + SZ_8K);
	end(sc);
}

/* Pages of many blocks, out of order, some at the ends of their blocks. */
static void vmem_snapshot_many_blocks(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 frame = sc->mode->frame;
	int i;

	for (i = 0; i < 12; i++) {
		u64 block = frame + (i * 5 % 12) * SZ_2M;

		map_memory(sc, 0, sc->mode->va + 4 * i * SZ_4K, block);
		map_memory(sc, 0, sc->mode->va + (4 * i + 1) * SZ_4K,
			   block + SZ_2M - SZ_4K);
		map_memory(sc, 0, sc->mode->va + (4 * i + 2) * SZ_4K,
			   block + 63 * SZ_4K);
		map_memory(sc, 0, sc->mode->va + (4 * i + 3) * SZ_4K,
			   block + 64 * SZ_4K);
	}
	expect_snapshot(sc);
}

/* A large page of memory, which says where it is at both ends and in between. */
static void add_large(struct scene *sc, int level, u64 gpa)
{
	u64 size = space_span(sc->g->s, level);

	guest_add_area(sc->g->s->guest, gpa, size, 0);
	add_memory(sc, gpa);
	add_memory(sc, gpa + SZ_4K);
	add_memory(sc, gpa + size / 2);
	add_memory(sc, gpa + size - SZ_4K);
}

static void alias_large(struct scene *sc, int level, u64 small, u64 large)
{
	u64 size = space_span(sc->g->s, level);
	u64 gpa = space_frame(sc->g->s, level);
	u64 last = gpa + size - SZ_4K;
	struct ref ref;

	scene_reset(sc);
	if (gpa >> 32 && sc->mode->entry_size == 4)
		gpa = 0x80000000;
	last = gpa + size - SZ_4K;
	add_large(sc, level, gpa);
	map_page(sc, 0, large, level, gpa);
	map_page(sc, 0, small, 1, gpa + SZ_4K);
	map_page(sc, 0, small + SZ_4K, 1, last);
	map_page(sc, 0, small + SZ_8K, 1, gpa + size / 2);
	make_all(sc, BASE);
	KUNIT_EXPECT_TRUE(sc->test, check_snapshot(sc));
	ref = new_ref(sc, 0, large);
	KUNIT_EXPECT_EQ(sc->test, ref.t.out_gpa & (size - 1), 0ULL);
	KUNIT_EXPECT_EQ(sc->test, new_ref(sc, 0, small).t.out_gpa,
			ref.t.out_gpa + SZ_4K);
	KUNIT_EXPECT_EQ(sc->test, new_ref(sc, 0, small + SZ_4K).t.out_gpa,
			ref.t.out_gpa + (last - gpa));
	KUNIT_EXPECT_EQ(sc->test, sc->snap.nr_extents, 2U);
	end(sc);
}

/* Whichever of them comes first. */
static void vmem_snapshot_large(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 va = sc->mode->va & -space_span(sc->g->s, sc->mode->max_leaf);
	int level;

	for (level = 2; level <= sc->mode->max_leaf; level++) {
		u64 size = space_span(sc->g->s, level);

		alias_large(sc, level, va - size + SZ_4K, va);
		alias_large(sc, level, va + size + SZ_4K, va);
	}
}

/* Pages of all sizes, inside each other: the largest one has them all. */
static void vmem_snapshot_nested(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 va = sc->mode->va, gpa = sc->mode->frame;
	int order;

	if (sc->mode->max_leaf < 3)
		kunit_skip(test, "one size of large pages only");
	va &= -(u64)SZ_1G;
	gpa &= -(u64)SZ_1G;
	for (order = 0; order < 2; order++) {
		u64 large = order ? va + SZ_1G : va - SZ_1G;

		scene_reset(sc);
		add_large(sc, 3, gpa);
		guest_add_area(sc->g->s->guest, gpa + SZ_1G, SZ_2M, 0);
		add_memory(sc, gpa + SZ_1G);
		add_memory(sc, gpa + SZ_1G + SZ_2M - SZ_4K);
		map_page(sc, 0, large, 3, gpa);
		map_page(sc, 0, va, 2, gpa + SZ_1G - SZ_2M);
		map_page(sc, 0, va + SZ_2M, 2, gpa + SZ_1G);
		map_page(sc, 0, va + 2 * SZ_2M, 1, gpa + SZ_1G - SZ_4K);
		map_page(sc, 0, va + 2 * SZ_2M + SZ_4K, 1, gpa);
		map_page(sc, 0, va + 2 * SZ_2M + SZ_8K, 1, gpa + SZ_1G);
		make_all(sc, BASE);
		KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
		KUNIT_EXPECT_EQ(test, sc->snap.nr_extents, 3U);
		end(sc);
	}
}

/* What has no memory stays, and so does what a cut page has of it. */
static void vmem_snapshot_device(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 va, gpa;
	int level;

	for (level = 1; level <= sc->mode->max_leaf; level++) {
		scene_reset(sc);
		gpa = space_frame(sc->g->s, level);
		map_page(sc, 0, space_va(sc->g->s, level), level, gpa);
		/* Below it in the same block is memory. */
		if (level == 1)
			map_memory(sc, 0, sc->mode->va, gpa + SZ_64K);
		make_all(sc, BASE);
		KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
		va = space_va(sc->g->s, level);
		KUNIT_EXPECT_EQ(test, new_ref(sc, 0, va).t.out_gpa, gpa);
		end(sc);
	}
}

/*
 * A large page that is memory in part becomes smaller ones: those with memory are
 * in the snapshot, the others stay. So a part that is mapped alone is the same
 * there and here.
 */
static void vmem_snapshot_half_backed(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 va = sc->mode->va, gpa = 0x80000000;

	if (sc->mode->max_leaf < 2)
		kunit_skip(test, "no large pages");
	va &= -space_span(sc->g->s, 2);
	add_memory(sc, gpa + SZ_64K);
	map_page(sc, 0, va, 2, gpa);
	map_page(sc, 0, va - SZ_4K, 1, gpa + SZ_1M);
	map_page(sc, 0, va - SZ_8K, 1, gpa + SZ_64K);
	make_all(sc, BASE);
	KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
	KUNIT_EXPECT_EQ(test, sc->snap.unreadable, 0ULL);
	KUNIT_EXPECT_EQ(test, new_ref(sc, 0, va).t.out_gpa, gpa);
	KUNIT_EXPECT_EQ(test, new_ref(sc, 0, va + SZ_1M).t.out_gpa,
			gpa + SZ_1M);
	KUNIT_EXPECT_EQ(test, new_ref(sc, 0, va + SZ_64K).t.out_gpa,
			new_ref(sc, 0, va - SZ_8K).t.out_gpa);
	end(sc);
	begin(sc, gpa);
	KUNIT_EXPECT_EQ(test, make(sc, U64_MAX), -EADDRINUSE);
	end(sc);
}

/* Where half of a page is memory, pages of the next size are whole ones. */
static void vmem_snapshot_half_large(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 va = sc->mode->va, gpa = 0x80000000;
	int level;

	va &= -space_span(sc->g->s, sc->mode->max_leaf);
	for (level = 2; level <= sc->mode->max_leaf; level++) {
		u64 size = space_span(sc->g->s, level);

		scene_reset(sc);
		guest_add_area(sc->g->s->guest, gpa + size / 2, size / 2, 0);
		add_memory(sc, gpa + size / 2);
		map_page(sc, 0, va, level, gpa);
		map_page(sc, 0, va + size, level - 1, gpa);
		make_all(sc, BASE);
		KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
		KUNIT_EXPECT_EQ(test, new_ref(sc, 0, va + size).t.out_gpa, gpa);
		KUNIT_EXPECT_EQ(test, new_ref(sc, 0, va).t.out_gpa, gpa);
		KUNIT_EXPECT_NE(test, new_ref(sc, 0, va + size / 2).t.out_gpa,
				gpa + size / 2);
		KUNIT_EXPECT_EQ(test, new_ref(sc, 0, va + size / 2).t.out_level,
				(u32)level - 1);
		end(sc);
	}
}

/*
 * Memory that cannot be read.
 */
static void expect_strict(struct scene *sc, int ret, u32 root, u64 va)
{
	begin(sc, BASE);
	sc->snap.strict = true;
	KUNIT_EXPECT_EQ(sc->test, make(sc, U64_MAX), ret);
	if (ret) {
		KUNIT_EXPECT_EQ(sc->test, sc->snap.rebuild.root, root);
		KUNIT_EXPECT_EQ(sc->test, sc->snap.rebuild.va, va);
	}
	end(sc);
}

static void vmem_snapshot_unreadable(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 va = sc->mode->va, gpa = sc->mode->frame;

	map_memory(sc, 0, va, gpa);
	map_memory(sc, 0, va + SZ_4K, gpa + SZ_4K);
	map_memory(sc, 0, va + SZ_8K, gpa + SZ_8K);
	map_memory(sc, 0, va + SZ_64K, gpa + SZ_4K);
	expect_strict(sc, 0, 0, 0);
	guest_add_area(sc->g->s->guest, gpa + SZ_4K, SZ_4K, -EIO);
	make_all(sc, BASE);
	KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
	KUNIT_EXPECT_EQ(test, sc->snap.unreadable, 2ULL);
	KUNIT_EXPECT_EQ(test, new_ref(sc, 0, va + SZ_4K).t.out_status,
			(u32)VMEM_NOT_PRESENT);
	KUNIT_EXPECT_EQ(test, sc->snap.extents[0].len,
			(u64)(sc->snap.nr_made + 2) * SZ_4K);
	end(sc);
	expect_strict(sc, -EIO, 0, va + SZ_4K);
}

/* Around the page that cannot be read, all is as large as it can be. */
static void vmem_snapshot_unreadable_part(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 va = sc->mode->va, gpa = 0x80000000, bad;
	int level;

	va &= -space_span(sc->g->s, sc->mode->max_leaf);
	for (level = 2; level <= sc->mode->max_leaf; level++) {
		u64 size = space_span(sc->g->s, level);

		scene_reset(sc);
		bad = size / 2 + SZ_64K;
		add_large(sc, level, gpa);
		guest_add_area(sc->g->s->guest, gpa + bad, SZ_4K, -EIO);
		map_page(sc, 0, va, level, gpa);
		map_page(sc, 0, va + size, 1, gpa + bad);
		map_page(sc, 0, va + size + SZ_4K, 1, gpa + size / 2);
		make_all(sc, BASE);
		KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
		KUNIT_EXPECT_EQ(test, sc->snap.unreadable, 2ULL);
		KUNIT_EXPECT_EQ(test, sc->lost, 2ULL);
		KUNIT_EXPECT_EQ(test, new_ref(sc, 0, va).t.out_level,
				(u32)level - 1);
		end(sc);
		expect_strict(sc, -EIO, 0, va);
	}
}

/* A large page of which nothing can be read, and one that is of all kinds. */
static void vmem_snapshot_unreadable_large(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	struct guest *guest = sc->g->s->guest;
	u64 va = sc->mode->va, gpa = 0x80000000;
	int level;

	va &= -space_span(sc->g->s, sc->mode->max_leaf);
	for (level = 2; level <= sc->mode->max_leaf; level++) {
		u64 size = space_span(sc->g->s, level);

		scene_reset(sc);
		guest_add_area(guest, gpa, size, -EIO);
		map_page(sc, 0, va, level, gpa);
		make_all(sc, BASE);
		KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
		KUNIT_EXPECT_EQ(test, sc->snap.unreadable, size / SZ_4K);
		KUNIT_EXPECT_EQ(test, sc->snap.nr_made, 1U);
		end(sc);
		guest->areas[0].len = SZ_16K;
		guest_add_area(guest, gpa + SZ_1M, SZ_1M, 0);
		add_memory(sc, gpa + SZ_1M + SZ_64K);
		make_all(sc, BASE);
		KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
		KUNIT_EXPECT_EQ(test, sc->snap.unreadable, 4ULL);
		KUNIT_EXPECT_EQ(test, new_ref(sc, 0, va + SZ_16K).t.out_gpa,
				gpa + SZ_16K);
		end(sc);
	}
}

/* A table, or a root, that cannot be read is left out like a page. */
static void vmem_snapshot_unreadable_table(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 va = sc->mode->va & -group_region(sc->g, 1), region, table, root;

	region = group_region(sc->g, 1);
	table = sc->mode->tables + SZ_1M / 2;
	root = table + SZ_4K;
	map_memory(sc, 0, va, sc->mode->frame);
	group_link(sc->g, sc->g->roots[0].table, va + region, 1, table,
		   PTE_PWU);
	make_all(sc, BASE);
	KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
	KUNIT_EXPECT_EQ(test, sc->snap.unreadable, 0ULL);
	KUNIT_EXPECT_EQ(test, sc->snap.rebuild.stats.dropped, 1ULL);
	end(sc);
	guest_add_area(sc->g->s->guest, table, SZ_8K, -EIO);
	make_all(sc, BASE);
	KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
	KUNIT_EXPECT_EQ(test, sc->snap.unreadable, 1ULL);
	KUNIT_EXPECT_EQ(test, sc->snap.rebuild.stats.dropped, 0ULL);
	end(sc);
	expect_strict(sc, -EIO, 0, va + region);
	group_set(sc->g, sc->g->roots[0].table, va + region, 2, 0);
	group_add_root(sc->g, root);
	make_all(sc, BASE);
	KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
	KUNIT_EXPECT_EQ(test, sc->snap.unreadable, 1ULL);
	end(sc);
	expect_strict(sc, -EIO, 1, 0);
}

/* Smaller pages cannot map what is above 4 GB in 2-level paging. */
static void vmem_snapshot_unsplittable(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	struct guest *guest = sc->g->s->guest;
	u64 va, gpa = 0x100000000ULL;

	if (sc->mode->entry_size == 8 || sc->mode->max_leaf < 2)
		kunit_skip(test, "smaller pages can map anything");
	va = sc->mode->va & -(u64)SZ_4M;
	add_large(sc, 2, gpa);
	map_page(sc, 0, va, 2, gpa);
	map_memory(sc, 0, va - SZ_4K, sc->mode->frame);
	expect_snapshot(sc);
	guest_add_area(guest, gpa + SZ_64K, SZ_4K, -EIO);
	make_all(sc, BASE);
	KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
	KUNIT_EXPECT_EQ(test, sc->snap.unreadable, (u64)SZ_4M / SZ_4K);
	end(sc);
	expect_strict(sc, -EIO, 0, va);
}

/* A provider that says nothing of memory has its pages pinned. */
static void vmem_snapshot_no_probe(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	struct guest *guest = sc->g->s->guest, *was = guest_alloc(test);
	const struct vmem_mem_ops *ops = guest->mem.ops;
	struct vmem_mem_ops no_probe = *ops;
	u64 va = sc->mode->va, gpa = 0x80000000, unreadable;

	if (sc->mode->max_leaf < 2)
		kunit_skip(test, "no large pages");
	no_probe.probe = NULL;
	va &= -space_span(sc->g->s, 2);
	add_large(sc, 2, gpa);
	guest_add_area(guest, gpa + SZ_64K, SZ_8K, -EIO);
	map_page(sc, 0, va, 2, gpa);
	map_page(sc, 0, va - SZ_4K, 1, gpa + SZ_64K);
	map_page(sc, 0, va - SZ_8K, 1, 0x70000000);
	make_all(sc, BASE);
	KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
	unreadable = sc->snap.unreadable;
	KUNIT_EXPECT_NE(test, unreadable, 0ULL);
	guest_copy(was, sc->to->s->guest);
	end(sc);

	begin(sc, BASE);
	guest->mem.ops = &no_probe;
	KUNIT_EXPECT_EQ(test, make(sc, U64_MAX), 0);
	KUNIT_EXPECT_EQ(test, sc->snap.unreadable, unreadable);
	load_tables(sc);
	guest->mem.ops = ops;
	KUNIT_EXPECT_TRUE(test, guest_equal(sc->to->s->guest, was));
	end(sc);
}

/**
 * struct bad_probe - an answer that a probe must not give
 * @ret: what it returns
 * @same: how many bytes it holds for
 * @want: what the snapshot fails with
 */
static const struct bad_probe {
	int ret;
	u64 same;
	int want;
} bad_probes[] = {
	{ 0, 0, -EINVAL },
	{ 0, SZ_4K - 1, -EINVAL },
	{ 0, SZ_8K, -EINVAL },
	{ -ENXIO, 0, -EINVAL },
	{ -EIO, U64_MAX, -EINVAL },
	{ VMEM_WALK_STOP, SZ_4K, -EINVAL },
	{ VMEM_WALK_MOVE, 0, -EINVAL },
	{ -EBADE, 0, -EBADE },
};

static const struct bad_probe *bad_probe;

static int probe_badly(struct vmem_mem *mem, u64 gpa, u64 len, u64 *same)
{
	*same = bad_probe->same;
	return bad_probe->ret;
}

static void vmem_snapshot_bad_probe(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	struct guest *guest = sc->g->s->guest;
	const struct vmem_mem_ops *ops = guest->mem.ops;
	struct vmem_mem_ops bad = *ops;
	int i;

	bad.probe = probe_badly;
	map_memory(sc, 0, sc->mode->va, sc->mode->frame);
	for (i = 0; i < (int)ARRAY_SIZE(bad_probes); i++) {
		bad_probe = &bad_probes[i];
		begin(sc, BASE);
		guest->mem.ops = &bad;
		KUNIT_EXPECT_EQ(test, make(sc, U64_MAX), bad_probe->want);
		guest->mem.ops = ops;
		end(sc);
	}
}

/* What was memory and is none any more is not zeros. */
static void vmem_snapshot_gone(struct kunit *test)
{
	static const int states[] = { -ENXIO, -EIO };
	struct scene *sc = scene_alloc(test, test->param_value);
	struct guest *guest = sc->g->s->guest;
	u8 *buf = kunit_kzalloc(test, SZ_16K, GFP_KERNEL), *to;
	u64 first, at;
	int i;

	KUNIT_ASSERT_NOT_NULL(test, buf);
	for (i = 0; i < (int)ARRAY_SIZE(states); i++) {
		scene_reset(sc);
		map_memory(sc, 0, sc->mode->va, sc->mode->frame);
		map_memory(sc, 0, sc->mode->va + SZ_4K,
			   sc->mode->frame + SZ_64K);
		make_all(sc, BASE);
		guest_add_area(guest, sc->mode->frame + SZ_64K, SZ_4K,
			       states[i]);
		first = BASE + (u64)sc->snap.nr_made * SZ_4K;
		at = first + 8;
		to = buf;
		KUNIT_EXPECT_EQ(test,
				vmem_snapshot_read(&sc->snap, &guest->mem, &at,
						   first + SZ_8K, sink, &to),
				-EIO);
		KUNIT_EXPECT_EQ(test, at, first + SZ_4K);
		KUNIT_EXPECT_PTR_EQ(test, to, buf + SZ_4K - 8);
		end(sc);
	}
}

/* Ranges without an address. */
static void vmem_snapshot_empty_range(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 at = BASE + SZ_4K;
	u8 byte, *to = &byte;

	map_memory(sc, 0, sc->mode->va, sc->mode->frame);
	make_all(sc, BASE);
	KUNIT_EXPECT_EQ(test,
			vmem_snapshot_read(&sc->snap, &sc->g->s->guest->mem,
					   &at, at - 1, sink, &to),
			-EINVAL);
	KUNIT_EXPECT_EQ(test,
			vmem_snapshot_read(&sc->snap, &sc->g->s->guest->mem,
					   &at, at, sink, &to),
			0);
	KUNIT_EXPECT_PTR_EQ(test, to, &byte);
	end(sc);
	group_set_range(sc->g, SZ_4K, SZ_4K - 1);
	begin(sc, BASE);
	KUNIT_EXPECT_EQ(test, make(sc, U64_MAX), -EINVAL);
	end(sc);
}

/*
 * A device where the snapshot is to be: in its first page, in its last, and
 * behind its end. Its tables are as many as the levels.
 */
static void vmem_snapshot_in_use(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 tables = sc->mode->top, first = BASE, last, gap;

	last = first + tables * SZ_4K;
	map_memory(sc, 0, sc->mode->va, sc->mode->frame);
	map_page(sc, 0, sc->mode->va + SZ_4K, 1, first);
	begin(sc, BASE);
	KUNIT_EXPECT_EQ(test, make(sc, U64_MAX), -EADDRINUSE);
	end(sc);
	map_page(sc, 0, sc->mode->va + SZ_4K, 1, last);
	begin(sc, BASE);
	KUNIT_EXPECT_EQ(test, make(sc, U64_MAX), -EADDRINUSE);
	end(sc);
	map_page(sc, 0, sc->mode->va + SZ_4K, 1, last + SZ_4K);
	map_page(sc, 0, sc->mode->va + SZ_8K, 1, first - SZ_4K);
	expect_snapshot(sc);
	if (sc->mode->max_leaf < 2)
		return;
	/* A large one that begins before it. */
	gap = space_span(sc->g->s, 2);
	map_page(sc, 0, (sc->mode->va & -gap) + 4 * gap, 2, BASE);
	begin(sc, BASE + gap - SZ_4K);
	KUNIT_EXPECT_EQ(test, make(sc, U64_MAX), -EADDRINUSE);
	end(sc);
}

/* Tables, pages or the root where nothing can name them. */
static void vmem_snapshot_too_high(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 roots_end = mode_roots_end(sc->mode);
	int i, pages = sc->mode->top + 1;

	map_memory(sc, 0, sc->mode->va, sc->mode->frame);
	/* What CR3 cannot name, a PDPTE of PAE may. */
	if (roots_end < mode_tables_end(sc->mode))
		pages = 1;
	for (i = 0; i < pages; i++) {
		begin(sc, roots_end - i * SZ_4K);
		KUNIT_EXPECT_EQ(test, make(sc, U64_MAX), -ERANGE);
		end(sc);
	}
	make_all(sc, roots_end - i * SZ_4K);
	KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
	end(sc);
	begin(sc, -(u64)SZ_4K);
	KUNIT_EXPECT_EQ(test, make(sc, U64_MAX), -ERANGE);
	end(sc);
}

/* Between the pieces, and around them, there is nothing. */
static void vmem_snapshot_gaps(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	const struct vmem_extent *extents = sc->snap.extents;
	u64 gpa = 0x80000000, size, gap, behind;
	u32 last;

	if (sc->mode->max_leaf < 2)
		kunit_skip(test, "no large pages, no gaps");
	size = space_span(sc->g->s, 2);
	add_large(sc, 2, gpa);
	map_page(sc, 0, sc->mode->va & -size, 2, gpa);
	map_memory(sc, 0, (sc->mode->va & -size) - SZ_4K, gpa + size);
	/* Memory that is not mapped, behind that which is. */
	add_memory(sc, gpa + size + SZ_4K);
	make_all(sc, BASE + SZ_8K);
	KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
	KUNIT_ASSERT_EQ(test, sc->snap.nr_extents, 2U);
	last = sc->snap.nr_extents - 1;
	gap = extents[0].gpa + extents[0].len;
	behind = extents[last].gpa + extents[last].len;
	KUNIT_EXPECT_EQ(test, extents[last].gpa & (size - 1), 0ULL);
	KUNIT_EXPECT_EQ(test, extents[last].len, size);
	KUNIT_EXPECT_EQ(test, read_value(sc, BASE, 8), 0ULL);
	KUNIT_EXPECT_EQ(test, read_value(sc, BASE + SZ_8K - 8, 8), 0ULL);
	KUNIT_EXPECT_EQ(test, read_value(sc, gap, 8), 0ULL);
	KUNIT_EXPECT_EQ(test, read_value(sc, extents[last].gpa - 8, 8), 0ULL);
	KUNIT_EXPECT_EQ(test, read_value(sc, behind, 8), 0ULL);
	KUNIT_EXPECT_NE(test, read_value(sc, behind - 8, 8), 0ULL);
	/* What the large page has zeros for. */
	KUNIT_EXPECT_EQ(test, read_value(sc, extents[last].gpa + SZ_16K, 8),
			0ULL);
	end(sc);
}

static int sink_nothing(const void *data, size_t len, void *priv)
{
	return -EBADE;
}

static int sink_badly(const void *data, size_t len, void *priv)
{
	return VMEM_WALK_STOP;
}

/* Reads that begin and end anywhere, and ones that fail and go on. */
static void vmem_snapshot_reads(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	struct guest *guest = sc->g->s->guest;
	u8 *buf = kunit_kzalloc(test, SZ_16K, GFP_KERNEL), *to = buf;
	u64 first, at;

	KUNIT_ASSERT_NOT_NULL(test, buf);
	map_memory(sc, 0, sc->mode->va, sc->mode->frame);
	map_memory(sc, 0, sc->mode->va + SZ_4K, sc->mode->frame + SZ_64K);
	make_all(sc, BASE);
	first = BASE + (u64)sc->snap.nr_made * SZ_4K;
	KUNIT_EXPECT_EQ(test, read_memory(sc, first - 100, buf, SZ_8K), 0);
	KUNIT_EXPECT_EQ(test, buf[100], guest_byte(guest, sc->mode->frame));
	KUNIT_EXPECT_EQ(test, buf[SZ_4K + 100 + 5],
			guest_byte(guest, sc->mode->frame + SZ_64K + 5));
	KUNIT_EXPECT_EQ(test, buf[SZ_8K - 1],
			guest_byte(guest,
				   sc->mode->frame + SZ_64K + SZ_4K - 101));

	/* The second page fails: the first one was given. */
	at = first + 8;
	guest_forget_pins(guest);
	guest_fail_pin(guest, 2, -ENOMEM);
	KUNIT_EXPECT_EQ(test,
			vmem_snapshot_read(&sc->snap, &guest->mem, &at,
					   first + SZ_8K, sink, &to),
			-ENOMEM);
	KUNIT_EXPECT_EQ(test, at, first + SZ_4K);
	KUNIT_EXPECT_PTR_EQ(test, to, buf + SZ_4K - 8);
	KUNIT_EXPECT_EQ(test,
			vmem_snapshot_read(&sc->snap, &guest->mem, &at,
					   first + SZ_8K, sink, &to),
			0);
	KUNIT_EXPECT_EQ(test, at, first + SZ_8K);
	KUNIT_EXPECT_EQ(test, buf[0], guest_byte(guest, sc->mode->frame + 8));
	KUNIT_EXPECT_EQ(test, buf[SZ_8K - 9],
			guest_byte(guest,
				   sc->mode->frame + SZ_64K + SZ_4K - 1));
	at = first;
	KUNIT_EXPECT_EQ(test,
			vmem_snapshot_read(&sc->snap, &guest->mem, &at,
					   first + SZ_8K, sink_nothing, NULL),
			-EBADE);
	KUNIT_EXPECT_EQ(test, at, first);
	KUNIT_EXPECT_EQ(test,
			vmem_snapshot_read(&sc->snap, &guest->mem, &at,
					   first + SZ_8K, sink_badly, NULL),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, at, first);
	end(sc);
}

/* What a guest has mapped of its tables is copies of what they were. */
static void vmem_snapshot_tables_as_pages(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 root = sc->g->roots[0].table;
	u64 va = sc->mode->va;

	map_memory(sc, 0, va, sc->mode->frame);
	map_page(sc, 0, va + SZ_4K, 1, root);
	make_all(sc, BASE);
	KUNIT_EXPECT_TRUE(test, check_snapshot(sc));
	KUNIT_EXPECT_NE(test, new_ref(sc, 0, va + SZ_4K).t.out_gpa,
			sc->built[0].table);
	end(sc);
}

/* The cuts of rebuild, and then every page has its place. */
static void vmem_snapshot_cut(struct kunit *test)
{
	struct scene *sc = scene_alloc(test, test->param_value);
	u64 va, size, gpa = 0x80000000;
	int level;

	for (level = 2; level <= sc->mode->max_leaf; level++) {
		scene_reset(sc);
		size = space_span(sc->g->s, level);
		va = sc->mode->va & -size;
		add_large(sc, level, gpa);
		map_page(sc, 0, va, level, gpa);
		group_set_range(sc->g, 0, va + size - SZ_4K - 1);
		group_exclude(sc->g, va + SZ_4K, va + SZ_8K - 1);
		expect_snapshot(sc);
	}
}

static void vmem_snapshot_cow(struct kunit *test)
{
	const struct share *share = test->param_value;
	struct scene *sc = scene_alloc(test, share->mode);
	u64 va = sc->mode->va & -group_region(sc->g, share->level);
	u64 table = group_add_table(sc->g);
	struct vmem_translation t;
	struct ref ref;
	u32 i;

	add_space(sc);
	group_link(sc->g, sc->g->roots[0].table, va, share->level, table,
		   PTE_P | PTE_U);
	group_link(sc->g, sc->g->roots[1].table, va, share->level, table,
		   PTE_PWU);
	map_memory(sc, 0, va, sc->mode->frame);
	for (i = 0; i < 2; i++) {
		sc->g->roots[i].mode.cow_mask = COW_MASK;
		sc->g->roots[i].mode.cow_value = COW_VALUE;
	}
	begin(sc, BASE);
	sc->snap.cow = true;
	KUNIT_ASSERT_EQ(test, make(sc, U64_MAX), 0);
	load_tables(sc);
	for (i = 0; i < 2; i++) {
		ref = new_ref(sc, i, va);
		KUNIT_EXPECT_EQ(test, ref.t.out_status, (u32)VMEM_MAPPED);
		KUNIT_EXPECT_EQ(test,
				ref.t.out_trace[sc->mode->top - 1].raw &
					(PTE_W | COW_MASK),
				COW_VALUE);
		KUNIT_ASSERT_EQ(test,
				vmem_translate(&sc->to->s->guest->mem,
					       &sc->to->roots[i], va, &t),
				0);
		KUNIT_EXPECT_EQ(test, t.out_perms & VMEM_WRITABLE, 0U);
	}
	end(sc);
}

/*
 * Part two: random graphs.
 */

/*
 * Some of what the graph's pages map is memory, and some of that cannot be read:
 * large pages as a whole, and in part.
 */
static void back_pages(struct scene *sc, struct graph *r)
{
	struct space *s = r->g->s;
	u64 frame;
	int level, i;

	for (i = 0; i < 4; i++) {
		frame = s->mode->frame + i * SZ_4K;
		if (graph_one_in(r, 2) && !guest_has(s->guest, frame))
			add_memory(sc, frame);
	}
	for (level = 2; level <= s->mode->max_leaf; level++) {
		if (graph_one_in(r, 2))
			continue;
		frame = s->mode->big_frame +
			graph_below(r, 3) * space_span(s, level);
		guest_add_area(s->guest, frame,
			       graph_one_in(r, 2) ? space_span(s, level) :
						    SZ_4K * 3,
			       graph_one_in(r, 3) ? -EIO : 0);
		frame = s->mode->big_frame +
			graph_below(r, 4) * space_span(s, level) +
			graph_below(r, 512) * SZ_4K;
		if (!guest_has(s->guest, frame))
			add_memory(sc, frame);
		if (graph_one_in(r, 4))
			guest_add_area(s->guest, frame, SZ_4K, -EIO);
	}
	if (graph_one_in(r, 4))
		guest_add_area(s->guest, s->mode->frame, SZ_4K, -EIO);
}

static void make_graph(struct scene *sc, struct graph *r, u64 seed)
{
	graph_make(r, seed);
	graph_align_scope(r);
	back_pages(sc, r);
}

static int make_in_parts(struct scene *sc, struct graph *r)
{
	int ret, calls = 0;

	begin(sc, BASE);
	do {
		if (graph_one_in(r, 4))
			guest_fail_pin(r->g->s->guest, 1 + graph_below(r, 9),
				       -ENOMEM);
		ret = make(sc, sc->mode->top + graph_below(r, 600));
		guest_fail_pin(r->g->s->guest, 0, 0);
	} while ((ret == VMEM_WALK_STOP || ret == -ENOMEM) &&
		 ++calls < MAX_CALLS);
	return ret;
}

static bool same_extents(const struct vmem_extent *a,
			 const struct vmem_extent *b, u32 nr)
{
	u32 i;

	for (i = 0; i < nr; i++) {
		if (a[i].gpa != b[i].gpa || a[i].len != b[i].len)
			return false;
	}
	return true;
}

/* In parts, it has the same tables in the same place, and the same pieces. */
static bool check_resumed(struct scene *sc, struct graph *r, struct guest *was)
{
	struct vmem_extent extents[VMEM_MAX_EXTENTS];
	u32 nr = sc->snap.nr_extents;
	bool ok;
	int ret;

	memcpy(extents, sc->snap.extents, sizeof(extents));
	guest_copy(was, sc->to->s->guest);
	end(sc);
	ret = make_in_parts(sc, r);
	if (ret) {
		kunit_err(sc->test, "in parts: %d", ret);
		return false;
	}
	load_tables(sc);
	ok = guest_equal(sc->to->s->guest, was) && nr == sc->snap.nr_extents &&
	     same_extents(extents, sc->snap.extents, nr);
	if (!ok)
		kunit_err(sc->test, "in parts it is another");
	return ok;
}

/*
 * A page above 4 GB that a scope cuts cannot be rebuilt in 2-level paging: its
 * parts keep their addresses until all is known, and no entry can name them.
 */
static bool cuts_high_page(struct scene *sc)
{
	oracle_run(sc->o, sc->g);
	return sc->mode->entry_size == 4 && sc->o->cut_tables;
}

static bool check_graph(struct scene *sc, struct graph *r, struct guest *was)
{
	bool ok;
	int ret;

	if (cuts_high_page(sc))
		return true;
	begin(sc, BASE);
	ret = make(sc, U64_MAX);
	if (ret) {
		kunit_err(sc->test, "make: %d", ret);
		end(sc);
		return false;
	}
	load_tables(sc);
	ok = check_snapshot(sc) && check_resumed(sc, r, was);
	end(sc);
	return ok;
}

static void vmem_snapshot_random(struct kunit *test)
{
	struct graph *r = graph_alloc(test, test->param_value);
	struct scene *sc = scene_of(test, r->g, r->o);
	struct guest *was = guest_alloc(test);
	u64 i, lost = 0;

	for (i = 0; i < NR_GRAPHS; i++) {
		make_graph(sc, r, rng_first_seed + i);
		KUNIT_ASSERT_TRUE_MSG(test, check_graph(sc, r, was),
				      "again: vmem_kunit.seed=%llu",
				      rng_first_seed + i);
		lost += sc->lost > 0;
		cond_resched();
	}
	/* It is among what is tried. */
	KUNIT_EXPECT_GT(test, lost, 5ULL);
}

static struct kunit_case vmem_snapshot_test_cases[] = {
	KUNIT_CASE_PARAM(vmem_snapshot_nothing, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_once, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_roots, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_many_blocks, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_large, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_nested, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_device, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_half_backed, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_half_large, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_unreadable, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_unreadable_part, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_unreadable_large, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_unreadable_table, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_unsplittable, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_no_probe, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_bad_probe, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_gone, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_empty_range, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_in_use, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_too_high, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_gaps, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_reads, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_tables_as_pages, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_cut, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_cow, share_gen_params),
	KUNIT_CASE_PARAM(vmem_snapshot_random, mode_gen_params),
	{}
};

static struct kunit_suite vmem_snapshot_suite = {
	.name = "vmem_snapshot",
	.test_cases = vmem_snapshot_test_cases,
};

kunit_test_suite(vmem_snapshot_suite);
