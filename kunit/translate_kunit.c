// SPDX-License-Identifier: GPL-2.0-only
/*
 * Translations, ranges and reads over tables made by hand, in every mode.
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "space.h"

#define GARBAGE 0xfff00ff6ULL /* not present, whatever the level */
#define MAX_PINS 1000U /* more than any of the walks takes */

KUNIT_ARRAY_PARAM(mode, modes, mode_desc);

static int translate(struct space *s, u64 va, struct vmem_translation *t)
{
	memset(t, 0xa5, sizeof(*t));
	return vmem_translate(&s->guest->mem, &s->root, va, t);
}

/* Flatten a range in one call and check it page by page. */
static void expect_range(struct space *s, u64 va, u64 last_va,
			 struct recorder *rec)
{
	struct vmem_range range = space_range(s, va, last_va, rec);

	recorder_reset(rec);
	KUNIT_EXPECT_EQ(s->test, vmem_virt_to_phys(&range), 0);
	KUNIT_EXPECT_LT(s->test, range.budget, U64_MAX);
	KUNIT_EXPECT_TRUE(s->test, recorder_is_merged(rec));
	KUNIT_EXPECT_TRUE(s->test, space_check_range(s, va, last_va, rec,
						     range.anomalies));
}

/* The one mapping of a record. */
static void expect_mapping(struct kunit *test, const struct recorder *rec,
			   u64 va, u64 last_va, u64 gpa, u64 page_size)
{
	KUNIT_ASSERT_EQ(test, rec->nr, 1);
	KUNIT_EXPECT_EQ(test, rec->maps[0].va, va);
	KUNIT_EXPECT_EQ(test, rec->maps[0].last_va, last_va);
	KUNIT_EXPECT_EQ(test, rec->maps[0].gpa, gpa);
	KUNIT_EXPECT_EQ(test, rec->maps[0].page_size, page_size);
	KUNIT_EXPECT_EQ(test, rec->maps[0].kind, (u32)VMEM_KIND_BASIC);
}

/*
 * Page sizes. The frame is backed by entries that would lead on, if the walk
 * were to take it for a table.
 */
static void map_one(struct space *s, int level)
{
	u64 frame = space_frame(s, level);

	space_reset(s);
	guest_add(s->guest, frame);
	guest_fill(s->guest, frame, 0x07);
	space_map(s, space_va(s, level), level, frame, PTE_PWU);
}

static void expect_byte(struct space *s, int level, u64 offset)
{
	u64 va = space_va(s, level) + offset;
	struct vmem_translation t;

	KUNIT_ASSERT_EQ(s->test, translate(s, va, &t), 0);
	KUNIT_EXPECT_EQ(s->test, t.out_status, (u32)VMEM_MAPPED);
	KUNIT_EXPECT_EQ(s->test, t.out_gpa, space_frame(s, level) + offset);
	KUNIT_EXPECT_EQ(s->test, t.out_page_size, space_span(s, level));
	KUNIT_EXPECT_EQ(s->test, t.out_perms, (u32)ALL_PERMS);
	KUNIT_EXPECT_EQ(s->test, t.out_level, (u32)level);
	KUNIT_EXPECT_EQ(s->test, t.out_nr_trace,
			(u32)(s->mode->top - level + 1));
	KUNIT_EXPECT_TRUE(s->test, space_check_va(s, va));
}

static void vmem_translate_page_sizes(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	int level;
	u64 size;

	for (level = 1; level <= s->mode->max_leaf; level++) {
		map_one(s, level);
		size = space_span(s, level);
		expect_byte(s, level, 0);
		expect_byte(s, level, 1);
		expect_byte(s, level, size / 2 + 0x123);
		expect_byte(s, level, size - 1);
		KUNIT_EXPECT_TRUE(test,
				  space_check_va(s, space_va(s, level) - 1));
		KUNIT_EXPECT_TRUE(test,
				  space_check_va(s, space_va(s, level) + size));
	}
}

static void vmem_translate_one_mapping(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	struct recorder *rec = recorder_alloc(test);
	struct vmem_range range;
	u64 va, size, frame;
	int level;

	for (level = 1; level <= s->mode->max_leaf; level++) {
		map_one(s, level);
		va = space_va(s, level);
		size = space_span(s, level);
		frame = space_frame(s, level);
		guest_forget_pins(s->guest);
		expect_range(s, va - SZ_8K, va + SZ_16K - 1, rec);
		recorder_reset(rec);
		/* A large page as a whole is too long to ask page by page. */
		range = space_range(s, va - SZ_8K, va + size + SZ_8K - 1, rec);
		KUNIT_EXPECT_EQ(test, vmem_virt_to_phys(&range), 0);
		expect_mapping(test, rec, va, va + size - 1, frame, size);
		KUNIT_EXPECT_EQ(test,
				s->guest->touched & guest_bit(s->guest, frame),
				0ULL);
	}
}

/*
 * Effective permissions: one entry of the path denies one right, and nothing
 * else makes up for it (SDM vol. 3A, 4.6.1).
 */
static void expect_perms(struct space *s, int leaf, u32 want)
{
	struct recorder *rec = recorder_alloc(s->test);
	u64 va = space_va(s, leaf);
	struct vmem_translation t;

	KUNIT_ASSERT_EQ(s->test, translate(s, va, &t), 0);
	KUNIT_EXPECT_EQ(s->test, t.out_status, (u32)VMEM_MAPPED);
	KUNIT_EXPECT_EQ(s->test, t.out_perms, want);
	expect_range(s, va, va + SZ_4K - 1, rec);
	KUNIT_ASSERT_EQ(s->test, rec->nr, 1);
	KUNIT_EXPECT_EQ(s->test, rec->maps[0].perms, want);
	kunit_kfree(s->test, rec);
}

static void deny(struct space *s, int leaf, int level, u64 bit, u32 perm)
{
	u64 va = space_va(s, leaf);
	u64 raw;

	map_one(s, leaf);
	raw = space_get(s, va, level);
	space_set(s, va, level, raw ^ bit);
	expect_perms(s, leaf, ALL_PERMS & ~perm);
}

static void vmem_translate_permissions(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	int leaf, level;

	for (leaf = 1; leaf <= s->mode->max_leaf; leaf++) {
		for (level = leaf; level <= s->mode->top; level++) {
			if (!mode_denies(s->mode, level))
				continue;
			deny(s, leaf, level, PTE_W, VMEM_WRITABLE);
			deny(s, leaf, level, PTE_U, VMEM_USER);
			if (s->regs.efer & EFER_NX)
				deny(s, leaf, level, PTE_NX, VMEM_EXECUTABLE);
		}
	}
}

/*
 * Where a path ends. The tables below stay as they were: what is in them must
 * not be looked at.
 */
static void expect_end(struct space *s, u64 va, u32 status, int level,
		       int nr_trace)
{
	struct recorder *rec = recorder_alloc(s->test);
	struct vmem_translation t;

	KUNIT_ASSERT_EQ(s->test, translate(s, va, &t), 0);
	KUNIT_EXPECT_EQ(s->test, t.out_status, status);
	KUNIT_EXPECT_EQ(s->test, t.out_level, (u32)level);
	KUNIT_EXPECT_EQ(s->test, t.out_nr_trace, (u32)nr_trace);
	KUNIT_EXPECT_EQ(s->test, t.out_gpa, 0ULL);
	KUNIT_EXPECT_EQ(s->test, t.out_page_size, 0ULL);
	KUNIT_EXPECT_EQ(s->test, t.out_perms, 0U);
	KUNIT_EXPECT_TRUE(s->test, space_check_va(s, va));
	KUNIT_EXPECT_TRUE(s->test, space_check_walk(s, va - SZ_4K, va + SZ_8K));
	/* Ranges of one page and of many count an anomaly once. */
	expect_range(s, va, va + SZ_4K - 1, rec);
	KUNIT_EXPECT_EQ(s->test, rec->nr, 0);
	expect_range(s, va - SZ_64K, va + SZ_64K, rec);
	kunit_kfree(s->test, rec);
}

static void vmem_translate_not_present(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	int level, top = s->mode->top;

	for (level = top; level >= 1; level--) {
		map_one(s, 1);
		space_set(s, space_va(s, 1), level, GARBAGE);
		expect_end(s, space_va(s, 1), VMEM_NOT_PRESENT, level,
			   top - level + 1);
	}
}

static void vmem_translate_reserved(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	int level, top = s->mode->top;

	for (level = top; level >= 1; level--) {
		if (!space_reserved(s, level))
			continue;
		map_one(s, 1);
		space_set(s, space_va(s, 1), level, space_reserved(s, level));
		expect_end(s, space_va(s, 1), VMEM_RESERVED, level,
			   top - level + 1);
	}
}

/* A reserved bit on the way, on top of an entry that else leads on. */
static void vmem_translate_reserved_over_table(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	u64 bit = s->regs.efer & EFER_NX ? BIT_ULL(s->regs.maxphyaddr) : PTE_NX;
	int level, top = s->mode->top;
	u64 va = space_va(s, 1);

	if (s->mode->entry_size == 4 ||
	    (bit == BIT_ULL(52) && mode_is_long(s->mode)))
		kunit_skip(test, "no such bit in this mode");
	for (level = top; level >= 1; level--) {
		map_one(s, 1);
		space_set(s, va, level, space_get(s, va, level) | bit);
		expect_end(s, va, VMEM_RESERVED, level, top - level + 1);
	}
}

static void vmem_translate_unbacked(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	int level, top = s->mode->top;
	u64 va = space_va(s, 1);

	for (level = top - 1; level >= 1; level--) {
		map_one(s, 1);
		space_set(s, va, level + 1,
			  space_link(s, level + 1, s->mode->frame + SZ_1M,
				     PTE_PWU));
		expect_end(s, va, VMEM_UNBACKED, level, top - level);
	}
}

/* A leaf whose frame has no memory is mapped all the same. */
static void vmem_translate_unbacked_frame(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	u64 gpa = s->mode->frame + SZ_1M;
	u64 va = space_va(s, 1);
	struct vmem_translation t;

	space_map(s, va, 1, gpa, PTE_PWU);
	KUNIT_ASSERT_EQ(test, translate(s, va, &t), 0);
	KUNIT_EXPECT_EQ(test, t.out_status, (u32)VMEM_MAPPED);
	KUNIT_EXPECT_EQ(test, t.out_gpa, gpa);
	KUNIT_EXPECT_TRUE(test, space_check_va(s, va));
}

static int count_leaf(const struct vmem_visit *visit, void *priv)
{
	(*(int *)priv)++;
	return 0;
}

static const struct vmem_walk_ops no_hole_ops = {
	.leaf = count_leaf,
	.anomaly = count_leaf,
};

static int ignore_bytes(const void *data, size_t len, void *priv)
{
	return 0;
}

static void vmem_translate_unbacked_root(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	struct recorder *rec = recorder_alloc(test);
	u64 va = space_va(s, 1);
	struct vmem_range range = space_range(s, va, va + SZ_1M, rec);
	struct vmem_translation t;
	int nr = 0;
	struct vmem_walk walk = {
		.mem = &s->guest->mem,
		.roots = &s->root,
		.nr_roots = 1,
		.va = va,
		.scope = { .va = va, .last_va = va + SZ_1M },
		.budget = U64_MAX,
		.ops = &no_hole_ops,
		.priv = &nr,
	};
	struct vmem_copy copy = {
		.mem = &s->guest->mem,
		.root = &s->root,
		.va = va,
		.last_va = va,
		.sink = ignore_bytes,
	};

	space_set_root(s, s->mode->frame + SZ_1M);
	KUNIT_EXPECT_EQ(test, translate(s, va, &t), -ENXIO);
	KUNIT_EXPECT_EQ(test, vmem_virt_to_phys(&range), -ENXIO);
	KUNIT_EXPECT_EQ(test, range.va, va);
	KUNIT_EXPECT_EQ(test, vmem_walk(&walk), -ENXIO);
	KUNIT_EXPECT_EQ(test, vmem_read(&copy), -ENXIO);
	KUNIT_EXPECT_EQ(test, rec->nr + nr, 0);
	KUNIT_EXPECT_TRUE(test, guest_is_intact(s->guest));
}

/* A root with junk where CR3 has flags is the same root. */
static void vmem_translate_cr3_flags(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);

	map_one(s, 1);
	space_set_root(s, s->mode->tables | 0xfff);
	KUNIT_EXPECT_TRUE(test, space_check_va(s, space_va(s, 1)));
	space_set_root(s, s->mode->tables | BIT_ULL(63) | 0x18);
	KUNIT_EXPECT_TRUE(test, space_check_va(s, space_va(s, 1)));
}

/* Both ends of the hole, as far as there is an address behind them. */
static void vmem_translate_non_canonical(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	u64 first = s->mode->top == 5 ? 0x0100000000000000 :
		    s->mode->top == 4 ? 0x0000800000000000 :
					0x100000000;
	u64 last = s->mode->top == 5 ? 0xfeffffffffffffff :
		   s->mode->top == 4 ? 0xffff7fffffffffff :
				       U64_MAX;
	u64 vas[] = { first, first + 1, first + SZ_4K, last - 1, last };
	struct vmem_translation t;
	int i;

	for (i = 0; i < ARRAY_SIZE(vas); i++) {
		KUNIT_ASSERT_EQ(test, translate(s, vas[i], &t), 0);
		KUNIT_EXPECT_EQ(test, t.out_status, (u32)VMEM_NON_CANONICAL);
		KUNIT_EXPECT_EQ(test, t.out_level, (u32)VMEM_LEVEL_NONE);
		KUNIT_EXPECT_EQ(test, t.out_nr_trace, 0U);
		KUNIT_EXPECT_TRUE(test, space_check_va(s, vas[i]));
	}
	KUNIT_EXPECT_TRUE(test, space_check_va(s, first - 1));
	KUNIT_EXPECT_TRUE(test, space_check_va(s, last + 1));
	KUNIT_EXPECT_TRUE(test, space_check_walk(s, first, last));
	KUNIT_EXPECT_TRUE(test, space_check_walk(s, first + 5, first + 5));
	KUNIT_EXPECT_TRUE(test, space_check_walk(s, first - 1, last - 1));
	KUNIT_EXPECT_TRUE(test, space_check_walk(s, last, U64_MAX));
}

/*
 * The ends of the space: its first and last page, and those beside the hole.
 * Their frames follow each other, so that only the addresses part them.
 */
static int map_ends(struct space *s)
{
	bool la57 = s->mode->top == 5;
	u64 vas[] = { 0, la57 ? 0x00fffffffffff000 : 0x00007ffffffff000,
		      la57 ? 0xff00000000000000 : 0xffff800000000000, -SZ_4K };
	u64 frame = s->mode->frame;
	int i;

	if (!mode_is_long(s->mode)) {
		space_map(s, 0, 1, frame, PTE_PWU);
		space_map(s, 0xfffff000, 1, frame + SZ_4K, PTE_PWU);
		return 2;
	}
	for (i = 0; i < ARRAY_SIZE(vas); i++)
		space_map(s, vas[i], 1, frame + i * SZ_4K, PTE_PWU);
	return i;
}

static void vmem_translate_whole_space(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	struct recorder *rec = recorder_alloc(test);
	struct vmem_range range = space_range(s, 0, U64_MAX, rec);
	int i, nr = map_ends(s);

	KUNIT_EXPECT_EQ(test, vmem_virt_to_phys(&range), 0);
	KUNIT_EXPECT_EQ(test, range.anomalies, 0ULL);
	KUNIT_ASSERT_EQ(test, rec->nr, nr);
	for (i = 0; i < nr; i++) {
		KUNIT_EXPECT_EQ(test, rec->maps[i].gpa,
				s->mode->frame + i * SZ_4K);
		KUNIT_EXPECT_EQ(test, rec->maps[i].last_va,
				rec->maps[i].va + SZ_4K - 1);
	}
	KUNIT_EXPECT_EQ(test, rec->maps[0].va, 0ULL);
	KUNIT_EXPECT_EQ(test, rec->maps[nr - 1].last_va, s->mode->last);
	KUNIT_EXPECT_TRUE(test, space_check_walk(s, 0, U64_MAX));
	KUNIT_EXPECT_TRUE(test, space_check_walk(s, 1, s->mode->last - 1));
}

static void vmem_translate_ends(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	struct recorder *rec = recorder_alloc(test);
	u64 last = s->mode->last;

	map_ends(s);
	KUNIT_EXPECT_TRUE(test, space_check_va(s, 0));
	KUNIT_EXPECT_TRUE(test, space_check_va(s, last));
	KUNIT_EXPECT_TRUE(test, space_check_va(s, last - SZ_4K));
	expect_range(s, 0, 0, rec);
	KUNIT_EXPECT_EQ(test, rec->nr, 1);
	expect_range(s, last, last, rec);
	KUNIT_EXPECT_EQ(test, rec->nr, 1);
	expect_range(s, last - SZ_64K, last, rec);
	KUNIT_EXPECT_EQ(test, rec->nr, 1);
	if (mode_is_long(s->mode))
		return;
	/* Behind the last page of 32 bits there is nothing, and no page 0. */
	expect_range(s, last - SZ_64K, last + SZ_64K, rec);
	KUNIT_EXPECT_EQ(test, rec->nr, 1);
}

/*
 * The root table as one of its own entries: a processor takes the slot once
 * for each level that it stands for. In PAE it is the page that has the root.
 */
static void vmem_translate_self_map(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	int slot = BIT(s->mode->root_bits) - 2;
	int size = s->mode->entry_size;
	u64 root = s->mode->tables, first = s->mode->root_at / size;
	struct vmem_translation t;
	int level, top = s->mode->top;
	u64 va = 0;

	for (level = 1; level < top; level++)
		va += (first + slot) * space_span(s, level);
	va = mode_canonical(s->mode, va + slot * space_span(s, top));
	map_one(s, 1);
	guest_write(s->guest, root + (first + slot) * size, size,
		    space_link(s, top, root, PTE_P | PTE_W));

	KUNIT_ASSERT_EQ(test, translate(s, va + 0x123, &t), 0);
	KUNIT_EXPECT_EQ(test, t.out_status, (u32)VMEM_MAPPED);
	KUNIT_EXPECT_EQ(test, t.out_gpa, root + 0x123);
	KUNIT_EXPECT_EQ(test, t.out_page_size, (u64)SZ_4K);
	KUNIT_EXPECT_EQ(test, t.out_nr_trace, (u32)s->mode->top);
	KUNIT_EXPECT_TRUE(test, space_check_va(s, va));
	/* Through the slot once less: the tables below, as pages. */
	KUNIT_EXPECT_TRUE(test, space_check_walk(s, va - SZ_2M, va + SZ_2M));
}

/*
 * Merging: two neighbours, which differ in one thing.
 */
struct merge_case {
	const char *desc;
	u64 va_gap;
	s64 gpa_gap;
	u64 flags;
	int want;
};

static const struct merge_case merge_cases[] = {
	{ "alike", 0, 0, 0, 1 },
	{ "a hole between the addresses", SZ_4K, SZ_4K, 0, 2 },
	{ "a hole between the frames", 0, SZ_4K, 0, 2 },
	{ "frames in reverse", 0, -SZ_8K, 0, 2 },
	{ "the same frame", 0, -SZ_4K, 0, 2 },
	{ "writable or not", 0, 0, PTE_W, 2 },
	{ "user or not", 0, 0, PTE_U, 2 },
	{ "executable or not", 0, 0, PTE_NX, 2 },
	{ "caching, accessed, dirty, global, software bits", 0, 0, 0xf78, 1 },
};

static void merge_desc(const struct merge_case *c, char *desc)
{
	strscpy(desc, c->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(merge, merge_cases, merge_desc);

static void expect_merge(struct space *s, const struct merge_case *c, u64 va,
			 struct recorder *rec)
{
	u64 gpa = s->mode->frame + SZ_1M;

	space_reset(s);
	space_map(s, va, 1, gpa, PTE_PWU);
	space_map(s, va + SZ_4K + c->va_gap, 1, gpa + SZ_4K + c->gpa_gap,
		  PTE_PWU ^ c->flags);
	expect_range(s, va - SZ_16K, va + SZ_32K, rec);
	KUNIT_EXPECT_EQ(s->test, rec->nr, c->want);
}

static void merge_in_mode(struct kunit *test, const struct mode *mode)
{
	struct space *s = space_alloc(test, mode);
	struct recorder *rec = recorder_alloc(test);
	u64 va = space_va(s, 1);

	/* Within a table, and from one table to the next. */
	expect_merge(s, test->param_value, va, rec);
	va = (va | (space_span(s, 2) - 1)) + 1 - SZ_4K;
	expect_merge(s, test->param_value, va, rec);
}

static void vmem_translate_merging(struct kunit *test)
{
	const struct merge_case *c = test->param_value;
	int i;

	for (i = 0; i < NR_MODES; i++) {
		if (c->flags != PTE_NX || modes[i].regs.efer & EFER_NX)
			merge_in_mode(test, &modes[i]);
	}
}

/*
 * Attributes: two runs of pages that follow each other, and differ in one thing.
 */
#define RUN_PAGES 4

/* There are so many frames of each size in every mode. */
#define RUN_FRAME(size) (16 * (size))

/**
 * struct attribute_case - what two runs differ in
 * @desc: for people
 * @cr4: bits of CR4 that are set besides
 * @flip: bits of an entry of 4 KiB that differ
 * @large: bits of an entry of a large page that do
 * @encryption: it is the mode's bit for that, too
 * @attributes: in what the attributes differ
 * @long_only: nothing but long mode has these bits
 */
struct attribute_case {
	const char *desc;
	u64 cr4;
	u64 flip;
	u64 large;
	bool encryption;
	u32 attributes;
	bool long_only;
};

/* clang-format off */
static const struct attribute_case attribute_cases[] = {
	{ "nothing" },
	{ "accessed", .flip = BIT_ULL(5), .large = BIT_ULL(5),
	  .attributes = VMEM_ATTR_ACCESSED },
	{ "dirty", .flip = BIT_ULL(6), .large = BIT_ULL(6),
	  .attributes = VMEM_ATTR_DIRTY },
	{ "write-through", .flip = BIT_ULL(3), .large = BIT_ULL(3),
	  .attributes = 1 << 4 },
	{ "cache disabled", .flip = BIT_ULL(4), .large = BIT_ULL(4),
	  .attributes = 2 << 4 },
	{ "PAT", .flip = PTE_PS, .large = PTE_PAT_LARGE, .attributes = 4 << 4 },
	{ "global", .cr4 = X86_CR4_PGE, .flip = PTE_G, .large = PTE_G,
	  .attributes = VMEM_ATTR_GLOBAL },
	{ "global, without PGE", .flip = PTE_G, .large = PTE_G },
	{ "key", .cr4 = X86_CR4_PKE, .flip = BIT_ULL(60), .large = BIT_ULL(60),
	  .attributes = 2 << 8, .long_only = true },
	{ "key, without PKE and PKS", .flip = BIT_ULL(60), .large = BIT_ULL(60),
	  .long_only = true },
	{ "encrypted", .encryption = true, .attributes = VMEM_ATTR_ENCRYPTED },
	{ "left to software", .flip = GENMASK_ULL(11, 9),
	  .large = GENMASK_ULL(11, 9) },
};

/* clang-format on */

static void attribute_desc(const struct attribute_case *c, char *desc)
{
	strscpy(desc, c->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(attribute, attribute_cases, attribute_desc);

/* What all pages of space_leaf() have; the first run has the bit clear. */
static u32 plain_attributes(const struct space *s, int level)
{
	u32 attributes = level > VMEM_LEVEL_PT ? 4 << 4 : 0;

	return s->regs.rules & VMEM_RULES_SHARED_BIT ?
		       attributes | VMEM_ATTR_ENCRYPTED :
		       attributes;
}

static void map_runs(struct space *s, int level, const struct attribute_case *c)
{
	u64 va = space_va(s, level), size = space_span(s, level);
	u64 flip = level > VMEM_LEVEL_PT ? c->large : c->flip;
	int i;

	if (c->encryption)
		flip |= mode_encryption(s->mode);
	s->regs.cr4 = s->mode->regs.cr4 | c->cr4;
	space_reset(s);
	for (i = 0; i < 2 * RUN_PAGES; i++)
		space_set(s, va + i * size, level,
			  space_leaf(s, level, RUN_FRAME(size) + i * size,
				     PTE_PWU) ^
				  (i < RUN_PAGES ? 0 : flip));
}

static void expect_attributes(struct space *s, int level,
			      const struct attribute_case *c)
{
	u64 va = space_va(s, level), size = space_span(s, level);
	u64 last_va = va + 2 * RUN_PAGES * size - 1;
	struct recorder *rec = recorder_alloc(s->test);
	struct vmem_range range = space_range(s, va, last_va, rec);
	u32 plain = plain_attributes(s, level);

	map_runs(s, level, c);
	KUNIT_EXPECT_EQ(s->test, vmem_virt_to_phys(&range), 0);
	expect_mapping(s->test, rec, va, last_va, RUN_FRAME(size), size);
	KUNIT_EXPECT_EQ(s->test, rec->maps[0].attributes, 0U);

	recorder_reset(rec);
	range = space_range(s, va, last_va, rec);
	range.attributes = true;
	KUNIT_EXPECT_EQ(s->test, vmem_virt_to_phys(&range), 0);
	KUNIT_ASSERT_EQ(s->test, rec->nr, c->attributes ? 2 : 1);
	KUNIT_EXPECT_EQ(s->test, rec->maps[0].attributes, plain);
	KUNIT_EXPECT_EQ(s->test, rec->maps[rec->nr - 1].attributes,
			plain ^ c->attributes);
	KUNIT_EXPECT_EQ(s->test, rec->maps[rec->nr - 1].va,
			c->attributes ? va + RUN_PAGES * size : va);
	KUNIT_EXPECT_EQ(s->test, rec->maps[rec->nr - 1].last_va, last_va);
	kunit_kfree(s->test, rec);
}

static void vmem_translate_attributes(struct kunit *test)
{
	const struct attribute_case *c = test->param_value;
	struct space *s;
	int i, level;

	for (i = 0; i < NR_MODES; i++) {
		if ((c->long_only && !mode_is_long(&modes[i])) ||
		    (c->encryption && !mode_encryption(&modes[i])))
			continue;
		s = space_alloc(test, &modes[i]);
		for (level = 1; level <= s->mode->max_leaf; level++)
			expect_attributes(s, level, c);
	}
}

/* Pages of two sizes with frames that follow each other stay apart. */
static void vmem_translate_merge_sizes(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	struct recorder *rec = recorder_alloc(test);
	u64 va = s->mode->va, size = space_span(s, 2);
	u64 gpa = s->mode->frame;

	if (s->mode->max_leaf < 2)
		kunit_skip(test, "one page size in this mode");
	space_map(s, va, 2, gpa, PTE_PWU);
	space_map(s, va + size, 2, gpa + size, PTE_PWU);
	space_map(s, va + 2 * size, 1, gpa + 2 * size, PTE_PWU);
	space_map(s, va - SZ_4K, 1, gpa - SZ_4K, PTE_PWU);
	expect_range(s, va - SZ_16K, va + 2 * size + SZ_16K, rec);
	KUNIT_ASSERT_EQ(test, rec->nr, 3);
	KUNIT_EXPECT_EQ(test, rec->maps[1].va, va);
	KUNIT_EXPECT_EQ(test, rec->maps[1].last_va, va + 2 * size - 1);
	KUNIT_EXPECT_EQ(test, rec->maps[1].page_size, size);
}

/* A range that begins or ends inside a page has that part of it. */
static void expect_clip(struct space *s, int level, s64 first, s64 last)
{
	struct recorder *rec = recorder_alloc(s->test);
	u64 va = space_va(s, level), size = space_span(s, level);
	struct vmem_range range = space_range(s, va + first, va + last, rec);
	s64 from = max_t(s64, first, 0);
	s64 to = min_t(s64, last, size - 1);

	KUNIT_EXPECT_EQ(s->test, vmem_virt_to_phys(&range), 0);
	expect_mapping(s->test, rec, va + from, va + to,
		       space_frame(s, level) + from, size);
	KUNIT_EXPECT_TRUE(s->test, space_check_walk(s, va + first, va + last));
	kunit_kfree(s->test, rec);
}

static void vmem_translate_clipping(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	s64 size;
	int level;

	for (level = 1; level <= s->mode->max_leaf; level++) {
		map_one(s, level);
		size = space_span(s, level);
		expect_clip(s, level, 0, size - 1);
		expect_clip(s, level, 0, 0);
		expect_clip(s, level, size - 1, size - 1);
		expect_clip(s, level, 0x123, size - 2);
		expect_clip(s, level, -0x800, 0x10);
		expect_clip(s, level, size / 2, size + 0x800);
		expect_clip(s, level, -1, size);
	}
}

/*
 * A scene with some of everything, for walks that are broken off: the six
 * regions are those of entries of the page directory.
 */
static u64 scene_va(const struct space *s, int region, int page)
{
	return s->mode->va + region * space_span(s, 2) + page * SZ_4K;
}

static void scene_page(struct space *s, int region, int page, int frame,
		       u64 flags)
{
	space_map(s, scene_va(s, region, page), 1,
		  s->mode->frame + frame * SZ_4K, flags);
}

static void scene_large(struct space *s, int region)
{
	if (s->mode->max_leaf >= 2)
		space_map(s, scene_va(s, region, 0), 2,
			  s->mode->big_frame + region * space_span(s, 2),
			  PTE_PWU);
}

static void scene_init(struct space *s)
{
	int last = BIT(s->mode->index_bits) - 1;
	int i;

	space_reset(s);
	for (i = 0; i < 4; i++)
		scene_page(s, 0, i, i, PTE_PWU);
	scene_page(s, 0, 4, 4, PTE_P | PTE_U);
	scene_page(s, 0, 6, 6, PTE_PWU);
	scene_page(s, 0, 7, 7, PTE_PWU);
	scene_page(s, 0, 9, 5, PTE_PWU);
	if (space_reserved(s, 1))
		space_set(s, scene_va(s, 0, 10), 1, space_reserved(s, 1));
	scene_page(s, 0, last, 20, PTE_PWU);
	scene_large(s, 1);
	scene_large(s, 2);
	space_set(s, scene_va(s, 3, 0), 2, (s->mode->frame + SZ_2M) | PTE_PWU);
	if (space_reserved(s, 2))
		space_set(s, scene_va(s, 4, 0), 2, space_reserved(s, 2));
	scene_page(s, 5, 0, 21, PTE_PWU);
	scene_page(s, 5, last, 22, PTE_PWU);
}

/* The range: it begins and ends inside a page. */
static struct vmem_range scene_range(struct space *s, struct recorder *rec)
{
	return space_range(s, scene_va(s, 0, 0) + 0x10,
			   scene_va(s, 6, 0) - 0x10, rec);
}

static void scene_truth(struct space *s, struct recorder *rec, u64 *anomalies)
{
	struct vmem_range range = scene_range(s, rec);

	KUNIT_ASSERT_EQ(s->test, vmem_virt_to_phys(&range), 0);
	KUNIT_ASSERT_GE(s->test, rec->nr, 7);
	KUNIT_ASSERT_TRUE(s->test, recorder_is_merged(rec));
	range.va = scene_va(s, 0, 0) + 0x10;
	KUNIT_ASSERT_TRUE(s->test, space_check_range(s, range.va, range.last_va,
						     rec, range.anomalies));
	*anomalies = range.anomalies;
}

/* Entries are read once: not again from the root for every page. */
static void vmem_translate_cost(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	struct recorder *rec = recorder_alloc(test);
	struct vmem_range range;
	u64 entries;

	scene_init(s);
	range = scene_range(s, rec);
	entries = s->guest->nr_pages << s->mode->index_bits;
	KUNIT_EXPECT_EQ(test, vmem_virt_to_phys(&range), 0);
	KUNIT_EXPECT_LE(test, U64_MAX - range.budget, entries);
	KUNIT_EXPECT_GE(test, U64_MAX - range.budget,
			(u64)rec->nr + s->mode->top);
}

static void expect_stop(struct space *s, const struct recorder *truth,
			u64 anomalies, int at)
{
	struct recorder *rec = recorder_alloc(s->test);
	struct vmem_range range = scene_range(s, rec);

	rec->stop_at = at;
	KUNIT_EXPECT_EQ(s->test, vmem_virt_to_phys(&range), VMEM_WALK_STOP);
	KUNIT_EXPECT_EQ(s->test, rec->nr, at);
	/* What was refused comes again; what was taken does not. */
	KUNIT_EXPECT_LE(s->test, range.va, truth->maps[at].va);
	if (at)
		KUNIT_EXPECT_GT(s->test, range.va, truth->maps[at - 1].last_va);
	rec->stop_at = -1;
	KUNIT_EXPECT_EQ(s->test, vmem_virt_to_phys(&range), 0);
	KUNIT_EXPECT_TRUE(s->test, recorder_equal(rec, truth));
	KUNIT_EXPECT_EQ(s->test, range.anomalies, anomalies);
	kunit_kfree(s->test, rec);
}

static void vmem_translate_emit_stop(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	struct recorder *truth = recorder_alloc(test);
	u64 anomalies;
	int at;

	scene_init(s);
	scene_truth(s, truth, &anomalies);
	for (at = 0; at < truth->nr; at++)
		expect_stop(s, truth, anomalies, at);
	KUNIT_EXPECT_TRUE(test, guest_is_intact(s->guest));
}

static int refuse_emit(const struct vmem_mapping *mapping, void *priv)
{
	return -EBADE;
}

static void vmem_translate_emit_error(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	struct vmem_range range;

	scene_init(s);
	range = scene_range(s, NULL);
	range.emit = refuse_emit;
	KUNIT_EXPECT_EQ(test, vmem_virt_to_phys(&range), -EBADE);
	KUNIT_EXPECT_EQ(test, range.va, scene_va(s, 0, 0) + 0x10);
	KUNIT_EXPECT_TRUE(test, guest_is_intact(s->guest));
}

static void vmem_translate_budget(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	struct recorder *truth = recorder_alloc(test);
	struct recorder *rec = recorder_alloc(test);
	struct vmem_range range;
	u64 anomalies, budget;

	/* Many short calls: bouncing every table each time takes too long. */
	s->bounce = false;
	scene_init(s);
	scene_truth(s, truth, &anomalies);
	for (budget = s->mode->top; budget < 1200; budget += 1 + budget / 16) {
		recorder_reset(rec);
		range = scene_range(s, rec);
		KUNIT_ASSERT_EQ_MSG(test, space_flatten(s, &range, budget), 0,
				    "budget %llu", budget);
		recorder_merge(rec);
		KUNIT_EXPECT_TRUE(test, recorder_equal(rec, truth));
		KUNIT_EXPECT_EQ(test, range.anomalies, anomalies);
		cond_resched();
	}
	KUNIT_EXPECT_TRUE(test, guest_is_intact(s->guest));
}

/* Too little to reach a leaf: nothing is done, lost or made up. */
static void vmem_translate_small_budget(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	struct recorder *rec = recorder_alloc(test);
	struct vmem_range range;
	u64 budget;

	scene_init(s);
	for (budget = 0; budget < s->mode->top; budget++) {
		range = scene_range(s, rec);
		range.budget = budget;
		KUNIT_EXPECT_EQ(test, vmem_virt_to_phys(&range),
				VMEM_WALK_STOP);
		KUNIT_EXPECT_EQ(test, range.va, scene_va(s, 0, 0) + 0x10);
		KUNIT_EXPECT_LE(test, range.budget, budget);
		KUNIT_EXPECT_EQ(test, rec->nr, 0);
	}
	KUNIT_EXPECT_TRUE(test, guest_is_intact(s->guest));
}

/* Returns whether the @nth pin came and failed. */
static bool fail_flatten(struct space *s, const struct recorder *truth,
			 struct recorder *rec, unsigned int nth, int err)
{
	struct vmem_range range = scene_range(s, rec);
	int ret;

	recorder_reset(rec);
	guest_fail_pin(s->guest, nth, err);
	ret = vmem_virt_to_phys(&range);
	guest_fail_pin(s->guest, 0, 0);
	KUNIT_EXPECT_TRUE(s->test, guest_is_intact(s->guest));
	if (!ret)
		return false;

	KUNIT_EXPECT_EQ(s->test, ret, err);
	KUNIT_EXPECT_EQ(s->test, vmem_virt_to_phys(&range), 0);
	recorder_merge(rec);
	KUNIT_EXPECT_TRUE(s->test, recorder_equal(rec, truth));
	return true;
}

static void vmem_translate_pin_errors(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	struct recorder *truth = recorder_alloc(test);
	struct recorder *rec = recorder_alloc(test);
	unsigned int nth = 1;
	u64 anomalies;

	scene_init(s);
	scene_truth(s, truth, &anomalies);
	while (nth < MAX_PINS && fail_flatten(s, truth, rec, nth, -ENOMEM)) {
		fail_flatten(s, truth, rec, nth, -EINTR);
		nth++;
	}
	KUNIT_EXPECT_GT(test, nth, (unsigned int)s->mode->top);
	KUNIT_EXPECT_LT(test, nth, MAX_PINS);
}

static void vmem_translate_one_pin_error(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	struct vmem_translation t;
	int nth;

	map_one(s, 1);
	for (nth = 1; nth <= s->mode->top; nth++) {
		guest_fail_pin(s->guest, nth, -ENOMEM);
		KUNIT_EXPECT_EQ(test, translate(s, space_va(s, 1), &t),
				-ENOMEM);
		guest_forget_pins(s->guest);
		guest_fail_pin(s->guest, nth, -EINTR);
		KUNIT_EXPECT_EQ(test, translate(s, space_va(s, 1), &t), -EINTR);
		guest_forget_pins(s->guest);
	}
	KUNIT_EXPECT_TRUE(test, guest_is_intact(s->guest));
}

/*
 * The walk itself: visits tile the range, each may end it, and a hole need not
 * be asked for.
 */
static void vmem_translate_tiling(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	u64 first = scene_va(s, 0, 0), last = scene_va(s, 6, 0) - 1;

	scene_init(s);
	KUNIT_EXPECT_TRUE(test, space_check_walk(s, first, last));
	KUNIT_EXPECT_TRUE(test, space_check_walk(s, first + 1, last - 1));
	KUNIT_EXPECT_TRUE(test, space_check_walk(s, first + SZ_1M, last));
	KUNIT_EXPECT_TRUE(test, space_check_walk(s, 0, U64_MAX));
}

/**
 * struct stopper - a walk to be ended at one of its visits
 * @at: the index of the visit
 * @ret: what to return there
 * @nr: visits so far
 * @va: where that visit began
 */
struct stopper {
	int at;
	int ret;
	int nr;
	u64 va;
};

static int stop_visit(const struct vmem_visit *visit, void *priv)
{
	struct stopper *stop = priv;

	if (stop->nr != stop->at) {
		stop->nr++;
		return 0;
	}
	stop->va = visit->va;
	return stop->ret;
}

static const struct vmem_walk_ops stop_ops = {
	.leaf = stop_visit,
	.hole = stop_visit,
	.anomaly = stop_visit,
};

static struct vmem_walk scene_walk(struct space *s,
				   const struct vmem_walk_ops *ops, void *priv)
{
	return (struct vmem_walk){
		.mem = &s->guest->mem,
		.roots = &s->root,
		.nr_roots = 1,
		.va = scene_va(s, 0, 0) + 0x10,
		.scope.va = scene_va(s, 0, 0) + 0x10,
		.scope.last_va = scene_va(s, 6, 0) - 0x10,
		.budget = U64_MAX,
		.ops = ops,
		.priv = priv,
	};
}

static void expect_walk_stop(struct space *s, int total, int at, int ret)
{
	struct stopper stop = { .at = at, .ret = ret };
	struct vmem_walk walk = scene_walk(s, &stop_ops, &stop);

	KUNIT_EXPECT_EQ(s->test, vmem_walk(&walk), ret);
	KUNIT_EXPECT_EQ(s->test, stop.nr, at);
	KUNIT_EXPECT_EQ(s->test, walk.va, stop.va);
	stop.at = -1;
	KUNIT_EXPECT_EQ(s->test, vmem_walk(&walk), 0);
	KUNIT_EXPECT_EQ(s->test, stop.nr, total);
}

static void vmem_translate_walk_stop(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	struct stopper all = { .at = -1 };
	struct vmem_walk walk;
	int at;

	scene_init(s);
	walk = scene_walk(s, &stop_ops, &all);
	KUNIT_ASSERT_EQ(test, vmem_walk(&walk), 0);
	for (at = 0; at < all.nr; at += at < 16 ? 1 : 37) {
		expect_walk_stop(s, all.nr, at, VMEM_WALK_STOP);
		expect_walk_stop(s, all.nr, at, -EBADE);
	}
	KUNIT_EXPECT_TRUE(test, guest_is_intact(s->guest));
}

static void vmem_translate_no_hole(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	int leaves = s->mode->max_leaf >= 2 ? 13 : 11;
	struct vmem_walk walk;
	int i, nr = 0;

	scene_init(s);
	/* The unbacked table, and the entries with reserved bits. */
	leaves += 1;
	for (i = 1; i <= 2; i++)
		leaves += space_reserved(s, i) ? 1 : 0;
	walk = scene_walk(s, &no_hole_ops, &nr);
	KUNIT_EXPECT_EQ(test, vmem_walk(&walk), 0);
	KUNIT_EXPECT_EQ(test, nr, leaves);
	KUNIT_EXPECT_TRUE(test, guest_is_intact(s->guest));
}

/*
 * Reads. Every page of memory has bytes of its own.
 */
#define COPY_MAX (4 * SZ_4K)

/**
 * struct copied - what a sink has been given
 * @nr: bytes
 * @fail_at: refuse the piece that would begin at this offset; -1 for none
 * @split: a piece did not lie inside one page
 * @bytes: the bytes
 */
struct copied {
	int nr;
	int fail_at;
	bool split;
	u8 bytes[COPY_MAX];
};

static int copy_sink(const void *data, size_t len, void *priv)
{
	struct copied *c = priv;

	if (c->nr == c->fail_at)
		return -EBADE;
	if (len > COPY_MAX - c->nr)
		return -ENOSPC;
	if (!len || len > SZ_4K)
		c->split = true;
	memcpy(c->bytes + c->nr, data, len);
	c->nr += len;
	return 0;
}

static struct copied *copied_alloc(struct kunit *test)
{
	struct copied *c = kunit_kzalloc(test, sizeof(*c), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, c);
	c->fail_at = -1;
	return c;
}

static void read_page(struct space *s, u64 va, u64 gpa, u8 byte)
{
	guest_add(s->guest, gpa);
	guest_fill(s->guest, gpa, byte);
	/* The ends tell an offset that is wrong by a little. */
	guest_write(s->guest, gpa, 4, 0x44332211);
	guest_write(s->guest, gpa + SZ_4K - 4, 4, 0x88776655);
	space_map(s, va, 1, gpa, PTE_PWU);
}

static struct vmem_copy copy_of(struct space *s, u64 va, u64 len,
				struct copied *c)
{
	return (struct vmem_copy){
		.mem = &s->guest->mem,
		.root = &s->root,
		.va = va,
		.last_va = va + len - 1,
		.status = VMEM_TORN,
		.level = -1,
		.sink = copy_sink,
		.priv = c,
	};
}

/* Do the bytes match what the reference finds at each address? */
static bool copied_fits(struct space *s, const struct copied *c, u64 va)
{
	struct ref ref;
	int i;

	for (i = 0; i < c->nr; i++) {
		space_ref(s, va + i, &ref);
		if (ref.t.out_status != VMEM_MAPPED ||
		    guest_byte(s->guest, ref.t.out_gpa) != c->bytes[i])
			return false;
	}
	return !c->split && guest_is_intact(s->guest);
}

/* Read @len bytes, of which @got can be read; then @status. */
static void expect_read(struct space *s, u64 va, u64 len, int got, u32 status,
			int level)
{
	struct copied *c = copied_alloc(s->test);
	struct vmem_copy copy = copy_of(s, va, len, c);
	int ret = vmem_read(&copy);

	KUNIT_EXPECT_EQ(s->test, ret,
			status == VMEM_MAPPED ? 0 : VMEM_WALK_STOP);
	KUNIT_EXPECT_EQ(s->test, c->nr, got);
	KUNIT_EXPECT_EQ(s->test, (u32)copy.status, status);
	if (status != VMEM_MAPPED)
		KUNIT_EXPECT_EQ(s->test, copy.level, level);
	/* Behind the last address there is none for the cursor to name. */
	if (va + len)
		KUNIT_EXPECT_EQ(s->test, copy.va, va + got);
	KUNIT_EXPECT_TRUE(s->test, copied_fits(s, c, va));
	kunit_kfree(s->test, c);
}

static void vmem_translate_read(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	u64 va = space_va(s, 1), gpa = s->mode->frame;

	read_page(s, va, gpa + SZ_64K, 0x5a);
	read_page(s, va + SZ_4K, gpa, 0xc3);
	read_page(s, va + SZ_8K, gpa + SZ_4K, 0x7e);
	expect_read(s, va, 1, 1, VMEM_MAPPED, 0);
	expect_read(s, va + 1, 2, 2, VMEM_MAPPED, 0);
	expect_read(s, va + SZ_4K - 1, 1, 1, VMEM_MAPPED, 0);
	expect_read(s, va + SZ_4K - 1, 2, 2, VMEM_MAPPED, 0);
	expect_read(s, va + SZ_4K - 3, SZ_4K + 5, SZ_4K + 5, VMEM_MAPPED, 0);
	expect_read(s, va, SZ_8K + SZ_4K, SZ_8K + SZ_4K, VMEM_MAPPED, 0);
}

/* Into a hole, an anomaly and a frame without memory. */
static void vmem_translate_read_ends(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	u64 va = space_va(s, 1);

	read_page(s, va, s->mode->frame, 0x5a);
	expect_read(s, va + 0x10, SZ_8K, SZ_4K - 0x10, VMEM_NOT_PRESENT, 1);
	expect_read(s, va + SZ_4K, SZ_4K, 0, VMEM_NOT_PRESENT, 1);
	expect_read(s, va - 1, SZ_4K, 0, VMEM_NOT_PRESENT, 1);
	space_map(s, va + SZ_4K, 1, s->mode->frame + SZ_1M, PTE_PWU);
	expect_read(s, va + 0x10, SZ_8K, SZ_4K - 0x10, VMEM_UNBACKED, 1);
	expect_read(s, va + SZ_4K + 5, 1, 0, VMEM_UNBACKED, 1);
	if (!space_reserved(s, 1))
		return;
	space_set(s, va + SZ_4K, 1, space_reserved(s, 1));
	expect_read(s, va + 0x10, SZ_8K, SZ_4K - 0x10, VMEM_RESERVED, 1);
}

/* A path that ends above the last level. */
static void vmem_translate_read_levels(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	u64 va = space_va(s, 1);
	int level;

	for (level = s->mode->top; level > 1; level--) {
		space_reset(s);
		read_page(s, va, s->mode->frame, 0x5a);
		space_set(s, va, level, GARBAGE);
		expect_read(s, va, 16, 0, VMEM_NOT_PRESENT, level);
		space_set(s, va, level,
			  space_link(s, level, s->mode->frame + SZ_1M,
				     PTE_PWU));
		expect_read(s, va, 16, 0, VMEM_UNBACKED, level - 1);
		if (!space_reserved(s, level))
			continue;
		space_set(s, va, level, space_reserved(s, level));
		expect_read(s, va, 16, 0, VMEM_RESERVED, level);
	}
}

static void vmem_translate_read_last(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	u64 last = s->mode->last;

	/* Page 0 is there for a read that wraps around. */
	read_page(s, 0, s->mode->frame + SZ_4K, 0xc3);
	read_page(s, last - SZ_4K + 1, s->mode->frame, 0x5a);
	expect_read(s, last, 1, 1, VMEM_MAPPED, 0);
	expect_read(s, last - 99, 100, 100, VMEM_MAPPED, 0);
	if (!mode_is_long(s->mode))
		expect_read(s, last - 99, 200, 100, VMEM_NON_CANONICAL,
			    VMEM_LEVEL_NONE);
}

/* A few of a large page's frames have memory; each is pinned by itself. */
static void vmem_translate_read_large(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	u64 va, gpa;
	int level;

	for (level = 2; level <= s->mode->max_leaf; level++) {
		space_reset(s);
		va = space_va(s, level);
		gpa = s->mode->big_frame;
		space_map(s, va, level, gpa, PTE_PWU);
		guest_add(s->guest, gpa + 5 * SZ_4K);
		guest_fill(s->guest, gpa + 5 * SZ_4K, 0x5a);
		guest_add(s->guest, gpa + 6 * SZ_4K);
		guest_fill(s->guest, gpa + 6 * SZ_4K, 0xc3);
		expect_read(s, va + 5 * SZ_4K + 7, SZ_4K, SZ_4K, VMEM_MAPPED,
			    0);
		expect_read(s, va + 6 * SZ_4K + 7, SZ_4K, SZ_4K - 7,
			    VMEM_UNBACKED, level);
		expect_read(s, va, SZ_4K, 0, VMEM_UNBACKED, level);
	}
}

/* Returns whether the @nth pin came and failed. */
static bool fail_read(struct space *s, struct copied *c, unsigned int nth,
		      int err)
{
	u64 va = space_va(s, 1) + 0x10;
	struct vmem_copy copy = copy_of(s, va, SZ_8K, c);
	int ret;

	c->nr = 0;
	guest_fail_pin(s->guest, nth, err);
	ret = vmem_read(&copy);
	guest_fail_pin(s->guest, 0, 0);
	KUNIT_EXPECT_TRUE(s->test, guest_is_intact(s->guest));
	if (!ret)
		return false;

	KUNIT_EXPECT_EQ(s->test, ret, err);
	KUNIT_EXPECT_EQ(s->test, copy.va, va + c->nr);
	KUNIT_EXPECT_EQ(s->test, vmem_read(&copy), 0);
	KUNIT_EXPECT_EQ(s->test, c->nr, SZ_8K);
	KUNIT_EXPECT_TRUE(s->test, copied_fits(s, c, va));
	return true;
}

static void vmem_translate_read_pin_errors(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	struct copied *c = copied_alloc(test);
	unsigned int nth = 1;
	int i;

	for (i = 0; i < 3; i++)
		read_page(s, space_va(s, 1) + i * SZ_4K,
			  s->mode->frame + i * SZ_8K, 0x11 * (i + 1));
	while (nth < MAX_PINS && fail_read(s, c, nth, -ENOMEM)) {
		fail_read(s, c, nth, -EINTR);
		nth++;
	}
	/* The tables and the three frames have all been pinned. */
	KUNIT_EXPECT_GT(test, nth, (unsigned int)s->mode->top + 3);
	KUNIT_EXPECT_LT(test, nth, MAX_PINS);
}

static void vmem_translate_read_sink_error(struct kunit *test)
{
	struct space *s = space_alloc(test, test->param_value);
	struct copied *c = copied_alloc(test);
	u64 va = space_va(s, 1);
	struct vmem_copy copy = copy_of(s, va + 0x10, SZ_4K, c);

	read_page(s, va, s->mode->frame, 0x5a);
	read_page(s, va + SZ_4K, s->mode->frame + SZ_8K, 0xc3);
	c->fail_at = SZ_4K - 0x10;
	KUNIT_EXPECT_EQ(test, vmem_read(&copy), -EBADE);
	KUNIT_EXPECT_EQ(test, copy.va, va + SZ_4K);
	KUNIT_EXPECT_TRUE(test, copied_fits(s, c, va + 0x10));
	c->fail_at = -1;
	KUNIT_EXPECT_EQ(test, vmem_read(&copy), 0);
	KUNIT_EXPECT_EQ(test, c->nr, SZ_4K);
	KUNIT_EXPECT_TRUE(test, copied_fits(s, c, va + 0x10));
}

static struct kunit_case vmem_translate_test_cases[] = {
	KUNIT_CASE_PARAM(vmem_translate_page_sizes, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_one_mapping, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_permissions, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_not_present, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_reserved, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_reserved_over_table, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_unbacked, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_unbacked_frame, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_unbacked_root, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_cr3_flags, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_non_canonical, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_whole_space, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_ends, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_self_map, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_merging, merge_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_attributes, attribute_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_merge_sizes, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_clipping, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_cost, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_emit_stop, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_emit_error, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_budget, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_small_budget, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_pin_errors, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_one_pin_error, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_tiling, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_walk_stop, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_no_hole, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_read, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_read_ends, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_read_levels, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_read_last, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_read_large, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_read_pin_errors, mode_gen_params),
	KUNIT_CASE_PARAM(vmem_translate_read_sink_error, mode_gen_params),
	{}
};

static struct kunit_suite vmem_translate_suite = {
	.name = "vmem_translate",
	.test_cases = vmem_translate_test_cases,
};

kunit_test_suite(vmem_translate_suite);
