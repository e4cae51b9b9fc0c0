// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmem_space_aware_map(): links to tables that another space has, or the same
 * space elsewhere, for every table that can be shared.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "tables.h"

#define PTE_ADDR GENMASK_ULL(51, 12)

/* Where the spaces are that these are built after: no table is there. */
#define OLD_SPACE 0x77000

#define NR_SPACES 3

KUNIT_ARRAY_PARAM(share, shares, share_desc);
KUNIT_ARRAY_PARAM(mode, modes, mode_desc);

/**
 * struct scene - spaces under construction
 * @test: the test it belongs to
 * @share: the table that is linked to
 * @g: the spaces
 * @tb: their tables
 * @was: the guest before something was tried
 * @from: what they are built after
 * @built: what the code under test is given
 */
struct scene {
	struct kunit *test;
	const struct share *share;
	struct group *g;
	struct tables *tb;
	struct guest *was;
	struct vmem_root from[NR_SPACES];
	struct vmem_built built;
};

static void scene_reset(struct scene *sc)
{
	u32 i;

	tables_reset(sc->tb);
	for (i = 0; i < NR_SPACES; i++) {
		group_add_root(sc->g, group_new_root(sc->g));
		sc->from[i] = sc->g->roots[i];
		sc->from[i].table = OLD_SPACE + i * VMEM_PAGE_SIZE;
	}
	sc->built = (struct vmem_built){
		.tables = &sc->tb->t,
		.from = sc->from,
		.roots = sc->g->roots,
		.nr = NR_SPACES,
	};
}

static struct scene *scene_of(struct kunit *test, const struct share *share,
			      bool movable)
{
	struct scene *sc = kunit_kzalloc(test, sizeof(*sc), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, sc);
	sc->test = test;
	sc->share = share;
	sc->g = group_alloc(test, share->mode);
	sc->tb = tables_alloc(test, sc->g, movable);
	sc->was = guest_alloc(test);
	scene_reset(sc);
	return sc;
}

static struct scene *scene_alloc(struct kunit *test)
{
	return scene_of(test, test->param_value, false);
}

static void scene_free(struct scene *sc)
{
	KUNIT_EXPECT_TRUE(sc->test, guest_is_intact(sc->g->s->guest));
	vmem_tables_destroy(&sc->tb->t);
}

/* The @nth region of the table. */
static u64 at(const struct scene *sc, int nth)
{
	u64 size = group_region(sc->g, sc->share->level);

	return (sc->share->mode->va & -size) + nth * size;
}

/* The reference of @our's @ourth region to @their's @theirth. */
static struct vmem_record link_to(const struct scene *sc, u32 our, int ourth,
				  u32 their, int theirth)
{
	return (struct vmem_record){
		.type = VMEM_ALIASING,
		.root = our,
		.reference = {
			.table = sc->share->name,
			.perms = ALL_PERMS,
			.space = sc->from[their].table,
			.our_va = at(sc, ourth),
			.their_va = at(sc, theirth),
			.len = group_region(sc->g, sc->share->level),
			.owner_root = their,
			.owner_perms = ALL_PERMS,
		},
	};
}

static int link_path(struct scene *sc, const struct vmem_record *record,
		     const struct vmem_trace *path)
{
	return vmem_space_aware_map(&sc->built, record, path);
}

static int link(struct scene *sc, const struct vmem_record *record)
{
	return link_path(sc, record, NULL);
}

/* Pages of 4 KiB, the second and the third in the @nth region. */
static struct vmem_mapping pages(const struct scene *sc, int nth)
{
	u64 va = at(sc, nth) + SZ_4K;

	return (struct vmem_mapping){
		.va = va,
		.last_va = va + SZ_8K - 1,
		.gpa = sc->share->mode->frame,
		.page_size = SZ_4K,
		.kind = VMEM_KIND_BASIC,
		.perms = ALL_PERMS,
	};
}

static void map_pages(struct scene *sc, u32 root, int nth)
{
	struct vmem_mapping m = pages(sc, nth);

	KUNIT_ASSERT_EQ(sc->test, vmem_map(&sc->tb->t, &sc->g->roots[root], &m),
			0);
}

static struct ref ref_at(const struct scene *sc, u32 root, u64 va)
{
	struct ref ref;

	ref_translate(sc->g->s->guest, &sc->g->regs[root], va, &ref);
	return ref;
}

static int depth_of(const struct scene *sc, int level)
{
	return sc->share->mode->top - level;
}

/* The entry of the space that names the shared table, or would. */
static u64 naming_entry(const struct scene *sc, u32 root, int nth)
{
	struct ref ref = ref_at(sc, root, at(sc, nth) + SZ_4K);

	return ref.t.out_trace[depth_of(sc, sc->share->level + 1)].raw;
}

/* The space has what the owner has, with these rights. */
static void expect_linked(struct scene *sc, u32 our, int ourth, u32 their,
			  int theirth, u32 perms)
{
	struct ref ours = ref_at(sc, our, at(sc, ourth) + SZ_8K + 0x123);
	struct ref theirs = ref_at(sc, their, at(sc, theirth) + SZ_8K + 0x123);

	KUNIT_EXPECT_EQ(sc->test, ours.t.out_status, (u32)VMEM_MAPPED);
	KUNIT_EXPECT_EQ(sc->test, ours.t.out_gpa, theirs.t.out_gpa);
	KUNIT_EXPECT_EQ(sc->test, ours.t.out_perms, perms);
	KUNIT_EXPECT_EQ(sc->test, naming_entry(sc, our, ourth) & PTE_ADDR,
			naming_entry(sc, their, theirth) & PTE_ADDR);
}

static void remember(struct scene *sc)
{
	guest_copy(sc->was, sc->g->s->guest);
	tables_forget(sc->tb);
}

static void expect_untouched(struct scene *sc)
{
	KUNIT_EXPECT_TRUE(sc->test, guest_equal(sc->g->s->guest, sc->was));
	KUNIT_EXPECT_EQ(sc->test, sc->tb->allocs, 0);
	KUNIT_EXPECT_EQ(sc->test, sc->tb->writes, 0);
}

static void expect_refused(struct scene *sc, const struct vmem_record *record,
			   int ret)
{
	remember(sc);
	KUNIT_EXPECT_EQ(sc->test, link(sc, record), ret);
	expect_untouched(sc);
}

/*
 * Part one: links.
 */
static void link_from_to(struct kunit *test, u32 our, int ourth, u32 their,
			 int theirth)
{
	struct scene *sc = scene_alloc(test);
	struct vmem_record record = link_to(sc, our, ourth, their, theirth);

	map_pages(sc, their, theirth);
	tables_forget(sc->tb);
	KUNIT_EXPECT_EQ(test, link(sc, &record), 0);
	expect_linked(sc, our, ourth, their, theirth, ALL_PERMS);
	/* What one of them maps from now on, both have. */
	map_pages(sc, our, ourth);
	expect_linked(sc, our, ourth, their, theirth, ALL_PERMS);
	scene_free(sc);
}

static void vmem_link_same_address(struct kunit *test)
{
	link_from_to(test, 1, 0, 0, 0);
}

static void vmem_link_other_address(struct kunit *test)
{
	link_from_to(test, 1, 2, 0, 1);
	link_from_to(test, 1, 0, 0, 1);
}

static void vmem_link_one_space(struct kunit *test)
{
	link_from_to(test, 0, 2, 0, 0);
	link_from_to(test, 2, 0, 2, 1);
}

/* As many tables of our own as there are levels above the shared one. */
static void vmem_link_own_tables(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	struct vmem_record record = link_to(sc, 1, 0, 0, 0);

	map_pages(sc, 0, 0);
	tables_forget(sc->tb);
	KUNIT_EXPECT_EQ(test, link(sc, &record), 0);
	KUNIT_EXPECT_EQ(test, sc->tb->allocs,
			depth_of(sc, sc->share->level + 1));
	/* To link again is to write the same. */
	remember(sc);
	KUNIT_EXPECT_EQ(test, link(sc, &record), 0);
	KUNIT_EXPECT_TRUE(test, guest_equal(sc->g->s->guest, sc->was));
	scene_free(sc);
}

/* A third space links to the second's link. */
static void vmem_link_to_a_link(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	struct vmem_record first = link_to(sc, 1, 1, 0, 0);
	struct vmem_record second = link_to(sc, 2, 2, 1, 1);

	map_pages(sc, 0, 0);
	KUNIT_EXPECT_EQ(test, link(sc, &first), 0);
	KUNIT_EXPECT_EQ(test, link(sc, &second), 0);
	expect_linked(sc, 2, 2, 0, 0, ALL_PERMS);
	scene_free(sc);
}

/* Our entry named another table of the space, and names this one then. */
static void vmem_link_again_elsewhere(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	struct vmem_record first = link_to(sc, 1, 3, 0, 0);
	struct vmem_record second = link_to(sc, 1, 3, 0, 1);
	struct vmem_mapping m = pages(sc, 1);

	map_pages(sc, 0, 0);
	m.gpa += SZ_64K;
	KUNIT_EXPECT_EQ(test, vmem_map(&sc->tb->t, &sc->g->roots[0], &m), 0);
	KUNIT_EXPECT_EQ(test, link(sc, &first), 0);
	tables_forget(sc->tb);
	KUNIT_EXPECT_EQ(test, link(sc, &second), 0);
	KUNIT_EXPECT_EQ(test, sc->tb->allocs, 0);
	KUNIT_EXPECT_EQ(test, sc->tb->writes, 1);
	expect_linked(sc, 1, 3, 0, 1, ALL_PERMS);
	scene_free(sc);
}

/* Any address of the region says which one it is. */
static void vmem_link_any_address(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	u64 size = group_region(sc->g, sc->share->level);
	u64 offsets[] = { 0, 1, SZ_4K, size / 2 + 0x1234, size - 1 };
	struct vmem_record record;
	int i;

	for (i = 0; i < (int)ARRAY_SIZE(offsets); i++) {
		scene_reset(sc);
		map_pages(sc, 0, 1);
		record = link_to(sc, 1, 2, 0, 1);
		record.reference.our_va += offsets[i];
		record.reference.their_va +=
			offsets[ARRAY_SIZE(offsets) - 1 - i];
		KUNIT_EXPECT_EQ(test, link(sc, &record), 0);
		expect_linked(sc, 1, 2, 0, 1, ALL_PERMS);
		KUNIT_EXPECT_EQ(test, naming_entry(sc, 1, 1) & PTE_P, 0ULL);
	}
	scene_free(sc);
}

/*
 * Part two: rights are this path's, not the owner's.
 */
static u64 flags_of(u32 perms)
{
	return PTE_P | (perms & VMEM_WRITABLE ? PTE_W : 0) |
	       (perms & VMEM_USER ? PTE_U : 0) |
	       (perms & VMEM_EXECUTABLE ? 0 : PTE_NX);
}

static bool can_say(const struct scene *sc, u32 perms)
{
	if (!mode_denies(sc->share->mode, sc->share->level + 1))
		return perms == ALL_PERMS;
	return perms & VMEM_EXECUTABLE || sc->share->mode->regs.efer & EFER_NX;
}

/* The owner's entry that names the table grants @theirs, ours @ours. */
static void link_rights(struct scene *sc, u32 theirs, u32 ours)
{
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);
	u64 raw;

	scene_reset(sc);
	map_pages(sc, 0, 1);
	raw = naming_entry(sc, 0, 1);
	group_link(sc->g, sc->g->roots[0].table, at(sc, 1), sc->share->level,
		   raw & PTE_ADDR, flags_of(theirs));
	record.reference.perms = ours;
	record.reference.owner_perms = theirs;
	KUNIT_EXPECT_EQ(sc->test, link(sc, &record), 0);
	expect_linked(sc, 1, 2, 0, 1, ours);
	expect_linked(sc, 0, 1, 0, 1, theirs);
	KUNIT_EXPECT_EQ(sc->test, naming_entry(sc, 1, 2) & ~PTE_ADDR,
			space_link(sc->g->s, sc->share->level + 1, 0,
				   flags_of(ours)));
}

static void vmem_link_rights(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	u32 theirs, ours;

	for (theirs = 0; theirs <= ALL_PERMS; theirs++) {
		for (ours = 0; ours <= ALL_PERMS; ours++) {
			if (can_say(sc, theirs) && can_say(sc, ours))
				link_rights(sc, theirs, ours);
		}
	}
	scene_free(sc);
}

static void vmem_link_unsayable_rights(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);
	u32 perms;

	map_pages(sc, 0, 1);
	record.reference.perms |= BIT(3);
	expect_refused(sc, &record, -EINVAL);
	for (perms = 0; perms <= ALL_PERMS; perms++) {
		record.reference.perms = perms;
		if (!can_say(sc, perms))
			expect_refused(sc, &record, -EINVAL);
	}
	scene_free(sc);
}

/* A table of ours on the way that grants less is in the way. */
static void vmem_link_no_access(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);
	int level = sc->share->level + 1;

	if (level == sc->share->mode->top ||
	    !mode_denies(sc->share->mode, level + 1))
		kunit_skip(test, "the root grants everything");
	map_pages(sc, 0, 1);
	group_link(sc->g, sc->g->roots[1].table, at(sc, 2), level,
		   group_add_table(sc->g), PTE_P | PTE_U);
	expect_refused(sc, &record, -EACCES);
	record.reference.perms &= ~VMEM_WRITABLE;
	KUNIT_EXPECT_EQ(test, link(sc, &record), 0);
	expect_linked(sc, 1, 2, 0, 1, VMEM_USER | VMEM_EXECUTABLE);
	scene_free(sc);
}

/* Bits of an entry that names a table, of which the processor makes nothing. */
static u64 odd_bits(const struct mode *mode, int level)
{
	u64 bits = BIT_ULL(3) | BIT_ULL(5) | BIT_ULL(9 + level % 3);

	return mode_is_long(mode) ? bits | BIT_ULL(52 + level) : bits;
}

/* The raw path, but for where it leads. Entry @level grants no @denied. */
static void make_path(const struct scene *sc, struct vmem_trace *path,
		      int denied_level, u64 denied)
{
	const struct mode *mode = sc->share->mode;
	int level;

	for (level = mode->top; level > sc->share->level; level--) {
		path[mode->top - level].entry_gpa = 0xdead000 + level * 8;
		path[mode->top - level].raw =
			space_link(sc->g->s, level, 0xbad000 + level * SZ_4K,
				   odd_bits(mode, level) | PTE_PWU);
		if (level == denied_level)
			path[mode->top - level].raw ^= denied;
	}
}

static void link_with_path(struct scene *sc, int denied_level)
{
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);
	struct vmem_trace path[VMEM_MAX_LEVELS];
	struct ref ref;
	int level;

	scene_reset(sc);
	map_pages(sc, 0, 1);
	make_path(sc, path, denied_level, PTE_W);
	record.reference.perms = VMEM_USER | VMEM_EXECUTABLE;
	KUNIT_EXPECT_EQ(sc->test, link_path(sc, &record, path), 0);
	expect_linked(sc, 1, 2, 0, 1, record.reference.perms);
	ref = ref_at(sc, 1, at(sc, 2) + SZ_4K);
	for (level = sc->share->mode->top; level > sc->share->level; level--)
		KUNIT_EXPECT_EQ(sc->test,
				ref.t.out_trace[depth_of(sc, level)].raw &
					~PTE_ADDR,
				path[depth_of(sc, level)].raw & ~PTE_ADDR);
}

static void vmem_link_with_path(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	int level;

	for (level = sc->share->mode->top; level > sc->share->level; level--) {
		if (mode_denies(sc->share->mode, level))
			link_with_path(sc, level);
	}
	scene_free(sc);
}

/*
 * Part three: a reference to nothing.
 */

/* The owner's way to it ends at the entry of @level. */
static void end_at(struct scene *sc, int level, u64 raw)
{
	group_set(sc->g, sc->g->roots[0].table, at(sc, 1), level, raw);
}

/* Ours is there, and is made to be nothing. */
static void expect_cleared(struct scene *sc, const struct vmem_trace *path)
{
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);

	remember(sc);
	KUNIT_EXPECT_EQ(sc->test, link_path(sc, &record, path),
			VMEM_MAP_CLEARED);
	KUNIT_EXPECT_EQ(sc->test, naming_entry(sc, 1, 2), 0ULL);
	KUNIT_EXPECT_EQ(sc->test, sc->tb->allocs, 0);
	KUNIT_EXPECT_EQ(sc->test, sc->tb->writes, 1);
}

static void vmem_link_cleared(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);
	struct vmem_trace path[VMEM_MAX_LEVELS];
	int level;

	make_path(sc, path, 0, 0);
	for (level = sc->share->level + 1; level <= sc->share->mode->top;
	     level++) {
		scene_reset(sc);
		map_pages(sc, 0, 1);
		map_pages(sc, 1, 1);
		map_pages(sc, 1, 3);
		KUNIT_EXPECT_EQ(test, link(sc, &record), 0);
		end_at(sc, level, 0);
		expect_cleared(sc, level % 2 ? path : NULL);
		/* Beside it, all is as it was. */
		KUNIT_EXPECT_EQ(test,
				ref_at(sc, 1, at(sc, 1) + SZ_4K).t.out_status,
				(u32)VMEM_MAPPED);
		KUNIT_EXPECT_EQ(test,
				ref_at(sc, 1, at(sc, 3) + SZ_4K).t.out_status,
				(u32)VMEM_MAPPED);
	}
	scene_free(sc);
}

static void link_to_end(struct scene *sc, int level, u64 raw)
{
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);

	scene_reset(sc);
	map_pages(sc, 0, 1);
	KUNIT_EXPECT_EQ(sc->test, link(sc, &record), 0);
	end_at(sc, level, raw);
	expect_cleared(sc, NULL);
}

/* An entry of @level that names a table which is not there. */
static u64 unbacked(const struct scene *sc, int level)
{
	return space_link(sc->g->s, level, sc->share->mode->tables + SZ_1M,
			  PTE_PWU);
}

/* Reserved or without memory behind it is nothing as well. */
static void vmem_link_to_broken(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	int level;

	for (level = sc->share->level + 1; level <= sc->share->mode->top;
	     level++) {
		if (space_reserved(sc->g->s, level))
			link_to_end(sc, level, space_reserved(sc->g->s, level));
		if (level > sc->share->level + 1)
			link_to_end(sc, level, unbacked(sc, level));
	}
	scene_free(sc);
}

/* Whatever our entry is: a page, reserved, or nothing yet. */
static void vmem_link_cleared_anything(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	int level = sc->share->level + 1;
	u64 root = sc->g->roots[1].table;
	u64 raws[] = {
		0,
		0xfff00ff6,
		space_reserved(sc->g->s, level),
		space_leaf(sc->g->s, level, 0x40000000, PTE_PWU),
	};
	int i;

	for (i = 0; i < (int)ARRAY_SIZE(raws); i++) {
		group_set(sc->g, root, at(sc, 2), level, raws[i]);
		expect_cleared(sc, NULL);
	}
	scene_free(sc);
}

static void expect_absent(struct scene *sc)
{
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);
	struct vmem_trace path[VMEM_MAX_LEVELS];

	expect_refused(sc, &record, VMEM_MAP_ABSENT);
	make_path(sc, path, 0, 0);
	KUNIT_EXPECT_EQ(sc->test, link_path(sc, &record, path),
			VMEM_MAP_ABSENT);
	expect_untouched(sc);
}

/* Without a table for our entry to be in, none is made to clear it. */
static void vmem_link_absent(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	int level = sc->share->level + 2;

	if (level > sc->share->mode->top)
		kunit_skip(test, "our entry is in the root");
	for (; level <= sc->share->mode->top; level++) {
		scene_reset(sc);
		expect_absent(sc);
		group_set(sc->g, sc->g->roots[1].table, at(sc, 2), level,
			  0xfff00ff6);
		expect_absent(sc);
		/* That table is not there: the entry that names it is. */
		group_set(sc->g, sc->g->roots[1].table, at(sc, 2), level,
			  unbacked(sc, level));
		expect_absent(sc);
		group_set(sc->g, sc->g->roots[1].table, at(sc, 2), level,
			  space_reserved(sc->g->s, level));
		expect_absent(sc);
	}
	scene_free(sc);
}

/* A table on the way, in either space, that cannot be read is not nothing. */
static void vmem_link_unreadable(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	struct guest *guest = sc->g->s->guest;
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);
	struct ref ours, theirs;
	int depth;

	map_pages(sc, 0, 1);
	KUNIT_EXPECT_EQ(test, link(sc, &record), 0);
	ours = ref_at(sc, 1, at(sc, 2) + SZ_4K);
	theirs = ref_at(sc, 0, at(sc, 1) + SZ_4K);
	for (depth = depth_of(sc, sc->share->level + 1); depth >= 0; depth--) {
		guest_add_area(guest,
			       theirs.t.out_trace[depth].entry_gpa &
				       VMEM_PAGE_MASK,
			       SZ_4K, -EIO);
		expect_refused(sc, &record, -EIO);
		guest->nr_areas = 0;
	}
	end_at(sc, sc->share->level + 1, 0);
	for (depth = depth_of(sc, sc->share->level + 1); depth >= 0; depth--) {
		guest_add_area(guest,
			       ours.t.out_trace[depth].entry_gpa &
				       VMEM_PAGE_MASK,
			       SZ_4K, -EIO);
		expect_refused(sc, &record, -EIO);
		guest->nr_areas = 0;
	}
	expect_cleared(sc, NULL);
	scene_free(sc);
}

/*
 * Part four: what is refused.
 */
static void vmem_link_unknown(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	struct vmem_record record;

	map_pages(sc, 0, 1);
	map_pages(sc, 2, 1);
	record = link_to(sc, 1, 2, 0, 1);
	record.reference.space += SZ_64K;
	expect_refused(sc, &record, -ENOENT);
	/* That is where it is rebuilt, and not what it is built after. */
	record.reference.space = sc->g->roots[0].table;
	expect_refused(sc, &record, -ENOENT);
	record = link_to(sc, 1, 2, 0, 1);
	record.reference.owner_root = 2;
	expect_refused(sc, &record, -ENOENT);
	record.reference.owner_root = U32_MAX;
	expect_refused(sc, &record, -ENOENT);
	/* The owner comes later in the order, or the space itself does. */
	sc->built.nr = 2;
	record = link_to(sc, 1, 2, 2, 1);
	expect_refused(sc, &record, -ENOENT);
	record = link_to(sc, 2, 2, 0, 1);
	expect_refused(sc, &record, -ENOENT);
	scene_free(sc);
}

/* Can tables of this name be shared in the scene's mode? */
static bool has_tables(const struct scene *sc, enum vmem_table name)
{
	int i;

	for (i = 0; i < NR_SHARES; i++) {
		if (shares[i].mode == sc->share->mode && shares[i].name == name)
			return true;
	}
	return false;
}

static void vmem_link_other_records(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);
	u32 types[] = { 0, VMEM_SPACE, VMEM_ANOMALY, VMEM_ANOMALY + 1 };
	int i;

	map_pages(sc, 0, 1);
	for (i = 0; i < (int)ARRAY_SIZE(types); i++) {
		record.type = types[i];
		expect_refused(sc, &record, -EINVAL);
	}
	record.type = VMEM_ALIASING;
	for (i = VMEM_TABLE_NONE; i <= VMEM_TABLE_PAE_PD + 1; i++) {
		record.reference.table = i;
		if (!has_tables(sc, i))
			expect_refused(sc, &record, -EINVAL);
	}
	scene_free(sc);
}

static void put_page(struct scene *sc, u32 root, int nth, int level)
{
	group_set(sc->g, sc->g->roots[root].table, at(sc, nth), level,
		  space_leaf(sc->g->s, level, space_frame(sc->g->s, level),
			     PTE_PWU));
}

/* A large page where a table is to be, in either space. */
static void vmem_link_large_page(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);
	int level, max = sc->share->mode->max_leaf;

	for (level = sc->share->level + 1; level <= max; level++) {
		scene_reset(sc);
		put_page(sc, 0, 1, level);
		expect_refused(sc, &record, -EEXIST);
		map_pages(sc, 1, 2);
		expect_refused(sc, &record, -EEXIST);
		scene_reset(sc);
		map_pages(sc, 0, 1);
		put_page(sc, 1, 2, level);
		expect_refused(sc, &record, -EEXIST);
	}
	scene_free(sc);
}

static void vmem_link_through_broken(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);
	int level;
	u64 raw;

	for (level = sc->share->level + 1; level <= sc->share->mode->top;
	     level++) {
		scene_reset(sc);
		map_pages(sc, 0, 1);
		raw = space_reserved(sc->g->s, level);
		group_set(sc->g, sc->g->roots[1].table, at(sc, 2), level, raw);
		if (raw)
			expect_refused(sc, &record, -EIO);
		if (level == sc->share->level + 1)
			continue;
		group_set(sc->g, sc->g->roots[1].table, at(sc, 2), level,
			  unbacked(sc, level));
		expect_refused(sc, &record, -EIO);
	}
	scene_free(sc);
}

static void vmem_link_not_canonical(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);

	map_pages(sc, 0, 1);
	record.reference.our_va = sc->g->roots[0].mode.noncanonical;
	expect_refused(sc, &record, -ERANGE);
	scene_free(sc);
}

static void vmem_link_no_memory(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);
	int nth, nr = depth_of(sc, sc->share->level + 1);

	for (nth = 1; nth <= nr; nth++) {
		scene_reset(sc);
		map_pages(sc, 0, 1);
		sc->tb->fail_alloc = nth;
		tables_forget(sc->tb);
		sc->tb->fail_alloc = nth;
		KUNIT_EXPECT_EQ(test, link(sc, &record), -ENOMEM);
		KUNIT_EXPECT_EQ(test, link(sc, &record), 0);
		KUNIT_EXPECT_EQ(test, sc->tb->allocs, nr);
		expect_linked(sc, 1, 2, 0, 1, ALL_PERMS);
	}
	scene_free(sc);
}

/*
 * Part five: tables that move, and mappings of the space's own.
 */
static void vmem_link_moves(struct kunit *test)
{
	struct scene *sc = scene_of(test, test->param_value, true);
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);
	u64 root;

	root = sc->g->roots[1].table;
	map_pages(sc, 0, 1);
	map_pages(sc, 1, 3);
	tables_freeze(sc->tb);
	tables_forget(sc->tb);
	KUNIT_EXPECT_EQ(test, link(sc, &record), 0);
	KUNIT_EXPECT_TRUE(test, tables_kept(sc->tb));
	KUNIT_EXPECT_EQ(test, sc->tb->updates, 1);
	KUNIT_EXPECT_NE(test, sc->g->roots[1].table, root);
	expect_linked(sc, 1, 2, 0, 1, ALL_PERMS);
	/* And to clear it moves them likewise. */
	end_at(sc, sc->share->level + 1, 0);
	tables_freeze(sc->tb);
	KUNIT_EXPECT_EQ(test, link(sc, &record), VMEM_MAP_CLEARED);
	KUNIT_EXPECT_TRUE(test, tables_kept(sc->tb));
	KUNIT_EXPECT_EQ(test, naming_entry(sc, 1, 2), 0ULL);
	KUNIT_EXPECT_EQ(test, ref_at(sc, 1, at(sc, 3) + SZ_4K).t.out_status,
			(u32)VMEM_MAPPED);
	scene_free(sc);
}

/* Once it is linked to, a table has two parents, and does not move. */
static void vmem_link_does_not_move(struct kunit *test)
{
	struct scene *sc = scene_of(test, test->param_value, true);
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);
	struct vmem_mapping m = pages(sc, 1), n = pages(sc, 2);

	map_pages(sc, 0, 1);
	KUNIT_EXPECT_EQ(test, link(sc, &record), 0);
	tables_freeze(sc->tb);
	tables_forget(sc->tb);
	m.gpa += SZ_1M;
	n.gpa += SZ_1M;
	KUNIT_EXPECT_EQ(test, vmem_map(&sc->tb->t, &sc->g->roots[0], &m),
			-EMLINK);
	KUNIT_EXPECT_EQ(test, vmem_map(&sc->tb->t, &sc->g->roots[1], &n),
			-EMLINK);
	KUNIT_EXPECT_EQ(test, sc->tb->updates, 0);
	KUNIT_EXPECT_TRUE(test, guest_equal(sc->g->s->guest, sc->tb->was));
	expect_linked(sc, 1, 2, 0, 1, ALL_PERMS);
	scene_free(sc);
}

/*
 * The entry of a link lies in a table that is shared itself, and must stay: no
 * table is made for the link, and none is copied to clear it.
 */
static void vmem_link_in_shared(struct kunit *test)
{
	struct scene *sc = scene_of(test, test->param_value, true);
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);

	map_pages(sc, 0, 1);
	map_pages(sc, 1, 1);
	group_add_root(sc->g, sc->g->roots[1].table);
	KUNIT_EXPECT_EQ(test,
			vmem_tables_learn(&sc->tb->t, sc->g->roots,
					  sc->g->nr_roots),
			0);
	tables_freeze(sc->tb);
	KUNIT_EXPECT_EQ(test, link(sc, &record), -EMLINK);
	KUNIT_EXPECT_TRUE(test, guest_equal(sc->g->s->guest, sc->tb->was));
	end_at(sc, sc->share->level + 1, 0);
	tables_freeze(sc->tb);
	KUNIT_EXPECT_EQ(test, link(sc, &record), -EMLINK);
	KUNIT_EXPECT_TRUE(test, guest_equal(sc->g->s->guest, sc->tb->was));
	scene_free(sc);
}

/* A link that was refused made no second parent. */
static void vmem_link_refused_moves(struct kunit *test)
{
	struct scene *sc = scene_of(test, test->param_value, true);
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);
	struct vmem_mapping m = pages(sc, 1);

	map_pages(sc, 0, 1);
	record.reference.our_va = sc->g->roots[0].mode.noncanonical;
	KUNIT_EXPECT_EQ(test, link(sc, &record), -ERANGE);
	tables_freeze(sc->tb);
	m.gpa += SZ_1M;
	KUNIT_EXPECT_EQ(test, vmem_map(&sc->tb->t, &sc->g->roots[0], &m), 0);
	scene_free(sc);
}

/* A table may be at 0, as any other. */
static void vmem_link_table_at_0(struct kunit *test)
{
	struct scene *sc = scene_alloc(test);
	struct vmem_record record = link_to(sc, 1, 2, 0, 1);

	guest_add(sc->g->s->guest, 0);
	group_link(sc->g, sc->g->roots[0].table, at(sc, 1), sc->share->level, 0,
		   PTE_PWU);
	map_pages(sc, 0, 1);
	KUNIT_EXPECT_EQ(test, link(sc, &record), 0);
	expect_linked(sc, 1, 2, 0, 1, ALL_PERMS);
	scene_free(sc);
}

/* A mapping of the space's own, with entries made and with a path. */
static void vmem_link_this_space(struct kunit *test)
{
	static const struct share share = { .level = 1 };
	struct share of_mode = share;
	struct vmem_trace path[VMEM_MAX_LEVELS];
	struct vmem_record record = { .type = VMEM_THIS_SPACE, .root = 1 };
	struct scene *sc;
	struct ref ref;
	u64 flags;

	of_mode.mode = test->param_value;
	sc = scene_of(test, &of_mode, false);
	record.mapping = pages(sc, 0);
	KUNIT_EXPECT_EQ(test, link(sc, &record), 0);
	ref = ref_at(sc, 1, record.mapping.va + SZ_4K);
	KUNIT_EXPECT_EQ(test, ref.t.out_gpa, record.mapping.gpa + SZ_4K);
	KUNIT_EXPECT_EQ(test, ref.t.out_perms, ALL_PERMS);

	/* The path's last entry maps, and keeps its bits: PAT, dirty, global. */
	make_path(sc, path, 0, 0);
	flags = PTE_PWU | PTE_PS | BIT_ULL(6) | BIT_ULL(8) | BIT_ULL(10);
	path[depth_of(sc, 1)].raw = 0xfee000 | flags;
	record.root = 2;
	KUNIT_EXPECT_EQ(test, link_path(sc, &record, path), 0);
	ref = ref_at(sc, 2, record.mapping.va + SZ_4K);
	KUNIT_EXPECT_EQ(test, ref.t.out_gpa, record.mapping.gpa + SZ_4K);
	KUNIT_EXPECT_EQ(test, ref.t.out_trace[depth_of(sc, 1)].raw & ~PTE_ADDR,
			flags);
	record.root = NR_SPACES;
	expect_refused(sc, &record, -ENOENT);
	scene_free(sc);
}

static struct kunit_case vmem_link_test_cases[] = {
	KUNIT_CASE_PARAM(vmem_link_same_address, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_other_address, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_one_space, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_own_tables, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_to_a_link, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_again_elsewhere, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_any_address, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_rights, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_unsayable_rights, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_no_access, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_with_path, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_cleared, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_to_broken, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_cleared_anything, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_absent, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_unreadable, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_unknown, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_other_records, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_large_page, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_through_broken, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_not_canonical, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_no_memory, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_moves, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_does_not_move, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_in_shared, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_refused_moves, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_table_at_0, share_gen_params),
	KUNIT_CASE_PARAM(vmem_link_this_space, mode_gen_params),
	{}
};

static struct kunit_suite vmem_link_suite = {
	.name = "vmem_link",
	.test_cases = vmem_link_test_cases,
};

kunit_test_suite(vmem_link_suite);
