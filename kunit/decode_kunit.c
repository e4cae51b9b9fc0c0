// SPDX-License-Identifier: GPL-2.0-only
/*
 * What single entries mean, and what registers select. The expectations are
 * read off the processor manuals: Intel SDM vol. 3A, 4.3 (32-bit paging), 4.4 (PAE
 * paging) and 4.5 (4-level and 5-level paging), and AMD APM vol. 2, chapter 5.
 */
#include <linux/kernel.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <kunit/test.h>
#include <vmem/arch.h>
#include <vmem/mode.h>

#include "guest.h"

#define ALL_PERMS (VMEM_WRITABLE | VMEM_USER | VMEM_EXECUTABLE)
#define X_ONLY VMEM_EXECUTABLE

static void init_root(struct kunit *test, struct vmem_root *root,
		      const struct vmem_regs *regs)
{
	KUNIT_ASSERT_EQ(test, vmem_root_init(root, regs), 0);
}

static struct vmem_entry decode(const struct vmem_root *root, int level,
				u64 raw)
{
	return vmem_decode(&root->mode, level, raw);
}

static void expect_entry(struct kunit *test, const struct vmem_entry *got,
			 const struct vmem_entry *want, u64 raw)
{
	KUNIT_EXPECT_EQ_MSG(test, got->kind, want->kind, "raw %#llx", raw);
	KUNIT_EXPECT_EQ_MSG(test, got->perms, want->perms, "raw %#llx", raw);
	KUNIT_EXPECT_EQ_MSG(test, got->addr, want->addr, "raw %#llx", raw);
}

/*
 * Part one: entries by name.
 */
struct decode_case {
	const char *desc;
	struct vmem_regs regs;
	int level;
	u64 raw;
	struct vmem_entry want;
};

#define AMD64 GUEST_REGS_AMD64(EFER_NX, 52)
#define AMD64_NO_NX GUEST_REGS_AMD64(0, 52)
#define AMD64_40 GUEST_REGS_AMD64(EFER_NX, 40)
#define LA57(what) GUEST_REGS_LA57(EFER_NX, 52, what)
#define PAE GUEST_REGS_PAE(EFER_NX, 52)
#define PAE_NO_NX GUEST_REGS_PAE(0, 52)
#define PAE_36 GUEST_REGS_PAE(EFER_NX, 36)
#define I686 GUEST_REGS_I686(0, 36)
#define I686_PSE GUEST_REGS_I686(X86_CR4_PSE, 36)
#define I686_PSE_32 GUEST_REGS_I686(X86_CR4_PSE, 32)
#define I686_PSE_40 GUEST_REGS_I686(X86_CR4_PSE, 40)
#define I686_PSE_52 GUEST_REGS_I686(X86_CR4_PSE, 52)

/* An AMD guest's C-bit, and the shared bit of a TDX guest */
#define C_BIT(bit) VMEM_RULES_ENCRYPTION_BIT(bit)
#define SHARED(bit) (VMEM_RULES_SHARED_BIT | VMEM_RULES_ENCRYPTION_BIT(bit))

#define EMPTY                          \
	{                              \
		VMEM_ENTRY_EMPTY, 0, 0 \
	}
#define RESERVED                          \
	{                                 \
		VMEM_ENTRY_RESERVED, 0, 0 \
	}
#define TABLE(p, a)                        \
	{                                  \
		VMEM_ENTRY_TABLE, (p), (a) \
	}
#define LEAF(p, a)                        \
	{                                 \
		VMEM_ENTRY_LEAF, (p), (a) \
	}

/* clang-format off */
static const struct decode_case decode_cases[] = {
	/* SDM 4.5, tables 4-15 to 4-20. */
	{ "PML4E, kernel's", AMD64, VMEM_LEVEL_PML4,
	  0x0000000123456067, TABLE(ALL_PERMS, 0x123456000) },
	{ "PML4E, execute-disable", AMD64, VMEM_LEVEL_PML4,
	  0x8000000123456067,
	  TABLE(VMEM_WRITABLE | VMEM_USER, 0x123456000) },
	{ "PML4E, bit 63 without NXE", AMD64_NO_NX, VMEM_LEVEL_PML4,
	  0x8000000123456067, RESERVED },
	{ "PML4E, PS", AMD64, VMEM_LEVEL_PML4,
	  0x00000001234560e7, RESERVED },
	{ "PML4E, widest address", AMD64, VMEM_LEVEL_PML4,
	  0x000ffffffffff001, TABLE(X_ONLY, 0x000ffffffffff000) },
	{ "PML4E, address bit over MAXPHYADDR", AMD64_40, VMEM_LEVEL_PML4,
	  0x0000010000000001, RESERVED },
	{ "PML4E, last address bit", AMD64_40, VMEM_LEVEL_PML4,
	  0x0000008000000001, TABLE(X_ONLY, 0x8000000000) },
	{ "PDPTE, table", AMD64, VMEM_LEVEL_PDPT,
	  0x0000000123456063, TABLE(VMEM_WRITABLE | X_ONLY, 0x123456000) },
	{ "PDPTE, 1 GB page", AMD64, VMEM_LEVEL_PDPT,
	  0x00000001c00000e7, LEAF(ALL_PERMS, 0x1c0000000) },
	{ "PDPTE, 1 GB page with PAT", AMD64, VMEM_LEVEL_PDPT,
	  0x00000001c00010e7, LEAF(ALL_PERMS, 0x1c0000000) },
	{ "PDPTE, 1 GB page not aligned", AMD64, VMEM_LEVEL_PDPT,
	  0x00000001e00000e7, RESERVED },
	{ "PDPTE, 1 GB page, bit 13", AMD64, VMEM_LEVEL_PDPT,
	  0x00000001c00020e7, RESERVED },
	{ "PDE, table with bits 13 to 29", AMD64, VMEM_LEVEL_PD,
	  0x000000003fffe025, TABLE(VMEM_USER | X_ONLY, 0x3fffe000) },
	{ "PDE, 2 MB page", AMD64, VMEM_LEVEL_PD,
	  0x80000001234000e3, LEAF(VMEM_WRITABLE, 0x123400000) },
	{ "PDE, 2 MB page with PAT", AMD64, VMEM_LEVEL_PD,
	  0x80000001234010e3, LEAF(VMEM_WRITABLE, 0x123400000) },
	{ "PDE, 2 MB page, bit 20", AMD64, VMEM_LEVEL_PD,
	  0x80000001235000e3, RESERVED },
	{ "PTE, 4 KB page", AMD64, VMEM_LEVEL_PT,
	  0x8000000123456967, LEAF(VMEM_WRITABLE | VMEM_USER, 0x123456000) },
	{ "PTE, PAT is bit 7", AMD64, VMEM_LEVEL_PT,
	  0x80000001234560e1, LEAF(0, 0x123456000) },
	{ "PTE, odd frame", AMD64, VMEM_LEVEL_PT,
	  0x0000000000001001, LEAF(X_ONLY, 0x1000) },
	{ "PTE, ignored bits and protection key", AMD64, VMEM_LEVEL_PT,
	  0x7ff0000123456e05, LEAF(VMEM_USER | X_ONLY, 0x123456000) },
	{ "PTE, all ones below bit 52", AMD64, VMEM_LEVEL_PT,
	  0x000fffffffffffff, LEAF(ALL_PERMS, 0x000ffffffffff000) },
	{ "PTE, swapped out", AMD64, VMEM_LEVEL_PT,
	  0xfffffffffffffffe, EMPTY },
	{ "PDE, huge and not present", AMD64, VMEM_LEVEL_PD,
	  0x00000001235000e2, EMPTY },
	/* The rules of a vendor and a model, and the same without them. */
	{ "PML5E, bit 8", LA57(0), VMEM_LEVEL_PML5,
	  0x0000000123456167, TABLE(ALL_PERMS, 0x123456000) },
	{ "PML5E, bit 8, AMD", LA57(VMEM_RULES_AMD), VMEM_LEVEL_PML5,
	  0x0000000123456167, RESERVED },
	{ "PML5E, PS", LA57(0), VMEM_LEVEL_PML5,
	  0x00000001234560e7, RESERVED },
	{ "PML4E, bit 8, AMD", LA57(VMEM_RULES_AMD), VMEM_LEVEL_PML4,
	  0x0000000123456167, RESERVED },
	{ "PDPTE, table, bit 8, AMD", LA57(VMEM_RULES_AMD), VMEM_LEVEL_PDPT,
	  0x0000000123456167, TABLE(ALL_PERMS, 0x123456000) },
	{ "PDPTE, global 1 GB page, AMD", LA57(VMEM_RULES_AMD),
	  VMEM_LEVEL_PDPT, 0x00000001c00001e7, LEAF(ALL_PERMS, 0x1c0000000) },
	{ "PDPTE, no 1 GB pages", LA57(VMEM_RULES_NO_1G), VMEM_LEVEL_PDPT,
	  0x00000001c00000e7, RESERVED },
	{ "PDPTE, table, no 1 GB pages", LA57(VMEM_RULES_NO_1G),
	  VMEM_LEVEL_PDPT, 0x0000000123456067,
	  TABLE(ALL_PERMS, 0x123456000) },
	{ "PDE, 2 MB page, no 1 GB pages", LA57(VMEM_RULES_NO_1G),
	  VMEM_LEVEL_PD, 0x00000001234000e7, LEAF(ALL_PERMS, 0x123400000) },
	{ "PML4E, C-bit", LA57(C_BIT(51)), VMEM_LEVEL_PML4,
	  0x0008000123456067, TABLE(ALL_PERMS, 0x123456000) },
	{ "PTE, C-bit", LA57(C_BIT(47)), VMEM_LEVEL_PT,
	  0x000ffffffffff067, LEAF(ALL_PERMS, 0x000f7ffffffff000) },
	{ "PDE, 2 MB page, shared bit", LA57(SHARED(51)), VMEM_LEVEL_PD,
	  0x00080001234000e7, LEAF(ALL_PERMS, 0x123400000) },
	/* SDM 4.4, tables 4-8 to 4-11. */
	{ "PDPTE, PAE", PAE, VMEM_LEVEL_PDPT,
	  0x000ffffffffff001, TABLE(ALL_PERMS, 0x000ffffffffff000) },
	{ "PDPTE, PAE, PWT, PCD and ignored", PAE, VMEM_LEVEL_PDPT,
	  0x0000000123456e19, TABLE(ALL_PERMS, 0x123456000) },
	{ "PDPTE, PAE, writable", PAE, VMEM_LEVEL_PDPT,
	  0x0000000123456003, RESERVED },
	{ "PDPTE, PAE, accessed by an emulation", PAE, VMEM_LEVEL_PDPT,
	  0x0000000123456021, TABLE(ALL_PERMS, 0x123456000) },
	{ "PDPTE, PAE, dirty", PAE, VMEM_LEVEL_PDPT,
	  0x0000000123456041, RESERVED },
	{ "PDPTE, PAE, PS", PAE, VMEM_LEVEL_PDPT,
	  0x0000000140000081, RESERVED },
	{ "PDPTE, PAE, execute-disable", PAE, VMEM_LEVEL_PDPT,
	  0x8000000123456001, RESERVED },
	{ "PDPTE, PAE, not present", PAE, VMEM_LEVEL_PDPT,
	  0xfffffffffffffffe, EMPTY },
	{ "PDE, PAE, table", PAE, VMEM_LEVEL_PD,
	  0x8000000123456067, TABLE(VMEM_WRITABLE | VMEM_USER, 0x123456000) },
	{ "PDE, PAE, 2 MB page with PAT", PAE, VMEM_LEVEL_PD,
	  0x00000001234010e3, LEAF(VMEM_WRITABLE | X_ONLY, 0x123400000) },
	{ "PDE, PAE, 2 MB page, bit 13", PAE, VMEM_LEVEL_PD,
	  0x00000001234020e3, RESERVED },
	{ "PDE, PAE, bit 62", PAE, VMEM_LEVEL_PD,
	  0x4000000123456067, RESERVED },
	{ "PTE, PAE, widest address", PAE, VMEM_LEVEL_PT,
	  0x800fffffffffffff, LEAF(VMEM_WRITABLE | VMEM_USER,
				   0x000ffffffffff000) },
	{ "PTE, PAE, bit 52", PAE, VMEM_LEVEL_PT,
	  0x0010000123456067, RESERVED },
	{ "PTE, PAE, bit 63 without NXE", PAE_NO_NX, VMEM_LEVEL_PT,
	  0x8000000123456067, RESERVED },
	{ "PTE, PAE, over MAXPHYADDR", PAE_36, VMEM_LEVEL_PT,
	  0x0000001000000067, RESERVED },
	/* SDM 4.3, tables 4-4 to 4-6. */
	{ "PDE, 2-level, table", I686_PSE, VMEM_LEVEL_PD,
	  0xfedcb067, TABLE(ALL_PERMS, 0xfedcb000) },
	{ "PDE, bit 7 without PSE", I686, VMEM_LEVEL_PD,
	  0xfedcb0e7, TABLE(ALL_PERMS, 0xfedcb000) },
	{ "PDE, 4 MB page", I686_PSE, VMEM_LEVEL_PD,
	  0xfec000e3, LEAF(VMEM_WRITABLE | X_ONLY, 0xfec00000) },
	{ "PDE, 4 MB page with PAT", I686_PSE, VMEM_LEVEL_PD,
	  0xfec010e3, LEAF(VMEM_WRITABLE | X_ONLY, 0xfec00000) },
	{ "PDE, 4 MB page above 4 GB", I686_PSE, VMEM_LEVEL_PD,
	  0x004020e3, LEAF(VMEM_WRITABLE | X_ONLY, 0x100400000) },
	{ "PDE, 4 MB page, 36 bits", I686_PSE, VMEM_LEVEL_PD,
	  0x0041e0e3, LEAF(VMEM_WRITABLE | X_ONLY, 0xf00400000) },
	{ "PDE, 4 MB page, over 36 bits", I686_PSE, VMEM_LEVEL_PD,
	  0x004200e3, RESERVED },
	{ "PDE, 4 MB page, 40 bits", I686_PSE_40, VMEM_LEVEL_PD,
	  0xffdfe0e7, LEAF(ALL_PERMS, 0xffffc00000) },
	{ "PDE, 4 MB page, never over 40 bits", I686_PSE_52, VMEM_LEVEL_PD,
	  0xffe000e7, RESERVED },
	{ "PDE, 4 MB page, 32 bits", I686_PSE_32, VMEM_LEVEL_PD,
	  0x004020e3, RESERVED },
	{ "PTE, 2-level", I686_PSE, VMEM_LEVEL_PT,
	  0xfffff067, LEAF(ALL_PERMS, 0xfffff000) },
	{ "PTE, 2-level, PAT", I686_PSE, VMEM_LEVEL_PT,
	  0x002ff0e1, LEAF(X_ONLY, 0x2ff000) },
	{ "PTE, 2-level, not present", I686_PSE, VMEM_LEVEL_PT,
	  0xfffffffe, EMPTY },
};

/* clang-format on */

static void decode_desc(const struct decode_case *c, char *desc)
{
	strscpy(desc, c->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(decode, decode_cases, decode_desc);

static void vmem_decode_named(struct kunit *test)
{
	const struct decode_case *c = test->param_value;
	struct vmem_entry got;
	struct vmem_root root;

	init_root(test, &root, &c->regs);
	got = decode(&root, c->level, c->raw);
	expect_entry(test, &got, &c->want, c->raw);
}

/*
 * Part two: every bit of every kind of entry. A layout says what each bit does
 * to an entry, for the widest addresses and with execute-disable enabled;
 * struct sweep_width narrows it.
 */
enum bit_effect {
	FX_NONE, /* a bit that the layout forgot */
	FX_PRESENT,
	FX_WRITE,
	FX_USER,
	FX_NX,
	FX_IGNORED,
	FX_DROPPED, /* the same, and clear in an entry that is written */
	FX_RESERVED,
	FX_PAGE_SIZE, /* makes a leaf of a table, and the reverse */
	FX_ADDRESS, /* the same bit of the address */
	FX_ADDRESS_HIGH, /* PSE-36: the address bit 19 places above */
};

struct bit_range {
	int first;
	int last;
	enum bit_effect effect;
};

/**
 * struct layout - a kind of entry
 * @desc: for people
 * @nr_bits: its width
 * @cr4: CR4 of the paging mode
 * @level: level of the table that it is in
 * @base: the entry to begin with
 * @kind: what that is
 * @bits: what each bit does
 * @rules: rules of the processor
 * @pae: the paging mode is PAE
 * @grants: rights that the entry cannot deny
 */
struct layout {
	const char *desc;
	int nr_bits;
	u64 cr4;
	int level;
	u64 base;
	enum vmem_entry_kind kind;
	struct bit_range bits[12];
	u32 rules;
	bool pae;
	u32 grants;
};

/* clang-format off */
static const struct layout layouts[] = {
	{	/* Table 4-15 */
		"PML4E", 64, X86_CR4_PAE, VMEM_LEVEL_PML4,
		0x01, VMEM_ENTRY_TABLE, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 7, FX_RESERVED },
			{ 8, 11, FX_IGNORED }, { 12, 51, FX_ADDRESS },
			{ 52, 62, FX_IGNORED },
			{ 63, 63, FX_NX },
		},
	},
	{	/* Table 4-17 */
		"PDPTE of a table", 64, X86_CR4_PAE, VMEM_LEVEL_PDPT,
		0x01, VMEM_ENTRY_TABLE, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 7, FX_PAGE_SIZE },
			{ 8, 11, FX_IGNORED }, { 12, 51, FX_ADDRESS },
			{ 52, 62, FX_IGNORED },
			{ 63, 63, FX_NX },
		},
	},
	{	/* Table 4-16 */
		"PDPTE of a page", 64, X86_CR4_PAE, VMEM_LEVEL_PDPT,
		0x81, VMEM_ENTRY_LEAF, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 7, FX_PAGE_SIZE },
			{ 8, 12, FX_IGNORED }, { 13, 29, FX_RESERVED },
			{ 30, 51, FX_ADDRESS }, { 52, 62, FX_IGNORED },
			{ 63, 63, FX_NX },
		},
	},
	{	/* Table 4-19 */
		"PDE of a table", 64, X86_CR4_PAE, VMEM_LEVEL_PD,
		0x01, VMEM_ENTRY_TABLE, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 7, FX_PAGE_SIZE },
			{ 8, 11, FX_IGNORED }, { 12, 51, FX_ADDRESS },
			{ 52, 62, FX_IGNORED },
			{ 63, 63, FX_NX },
		},
	},
	{	/* Table 4-18 */
		"PDE of a page", 64, X86_CR4_PAE, VMEM_LEVEL_PD,
		0x81, VMEM_ENTRY_LEAF, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 7, FX_PAGE_SIZE },
			{ 8, 12, FX_IGNORED }, { 13, 20, FX_RESERVED },
			{ 21, 51, FX_ADDRESS }, { 52, 62, FX_IGNORED },
			{ 63, 63, FX_NX },
		},
	},
	{	/* Table 4-20 */
		"PTE", 64, X86_CR4_PAE, VMEM_LEVEL_PT,
		0x01, VMEM_ENTRY_LEAF, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 11, FX_IGNORED },
			{ 12, 51, FX_ADDRESS }, { 52, 62, FX_IGNORED },
			{ 63, 63, FX_NX },
		},
	},
	{	/* Table 4-15; bit 8 as in AMD APM vol. 2, 5.3.3 */
		"PML4E, AMD", 64, X86_CR4_PAE, VMEM_LEVEL_PML4,
		0x01, VMEM_ENTRY_TABLE, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 8, FX_RESERVED },
			{ 9, 11, FX_IGNORED }, { 12, 51, FX_ADDRESS },
			{ 52, 62, FX_IGNORED },
			{ 63, 63, FX_NX },
		}, .rules = VMEM_RULES_AMD,
	},
	{	/* Table 4-14 */
		"PML5E", 64, X86_CR4_PAE | X86_CR4_LA57, VMEM_LEVEL_PML5,
		0x01, VMEM_ENTRY_TABLE, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 7, FX_RESERVED },
			{ 8, 11, FX_IGNORED }, { 12, 51, FX_ADDRESS },
			{ 52, 62, FX_IGNORED },
			{ 63, 63, FX_NX },
		},
	},
	{
		"PML5E, AMD, C-bit", 64, X86_CR4_PAE | X86_CR4_LA57,
		VMEM_LEVEL_PML5, 0x01, VMEM_ENTRY_TABLE, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 8, FX_RESERVED },
			{ 9, 11, FX_IGNORED }, { 12, 46, FX_ADDRESS },
			{ 47, 47, FX_IGNORED }, { 48, 51, FX_ADDRESS },
			{ 52, 62, FX_IGNORED },
			{ 63, 63, FX_NX },
		}, .rules = VMEM_RULES_AMD | C_BIT(47),
	},
	{	/* Table 4-15, with five levels */
		"PML4E below a PML5E", 64, X86_CR4_PAE | X86_CR4_LA57,
		VMEM_LEVEL_PML4, 0x01, VMEM_ENTRY_TABLE, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 7, FX_RESERVED },
			{ 8, 11, FX_IGNORED }, { 12, 51, FX_ADDRESS },
			{ 52, 62, FX_IGNORED },
			{ 63, 63, FX_NX },
		},
	},
	{	/* Table 4-17: all of AMD's and a model's rules, and they end here */
		"PDPTE of a table, all rules", 64, X86_CR4_PAE,
		VMEM_LEVEL_PDPT, 0x01, VMEM_ENTRY_TABLE, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 7, FX_RESERVED },
			{ 8, 11, FX_IGNORED }, { 12, 50, FX_ADDRESS },
			{ 51, 62, FX_IGNORED },
			{ 63, 63, FX_NX },
		}, .rules = VMEM_RULES_AMD | VMEM_RULES_NO_1G | C_BIT(51),
	},
	{	/* Table 4-16 */
		"PDPTE of a page, AMD, C-bit", 64, X86_CR4_PAE,
		VMEM_LEVEL_PDPT, 0x81, VMEM_ENTRY_LEAF, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 7, FX_PAGE_SIZE },
			{ 8, 12, FX_IGNORED }, { 13, 29, FX_RESERVED },
			{ 30, 31, FX_ADDRESS }, { 32, 32, FX_IGNORED },
			{ 33, 51, FX_ADDRESS }, { 52, 62, FX_IGNORED },
			{ 63, 63, FX_NX },
		}, .rules = VMEM_RULES_AMD | C_BIT(32),
	},
	{	/* Table 4-18 */
		"PDE of a page, all rules", 64, X86_CR4_PAE, VMEM_LEVEL_PD,
		0x81, VMEM_ENTRY_LEAF, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 7, FX_PAGE_SIZE },
			{ 8, 12, FX_IGNORED }, { 13, 20, FX_RESERVED },
			{ 21, 46, FX_ADDRESS }, { 47, 47, FX_IGNORED },
			{ 48, 51, FX_ADDRESS }, { 52, 62, FX_IGNORED },
			{ 63, 63, FX_NX },
		}, .rules = VMEM_RULES_AMD | VMEM_RULES_NO_1G | SHARED(47),
	},
	{	/* Table 4-20 */
		"PTE, all rules", 64, X86_CR4_PAE, VMEM_LEVEL_PT,
		0x01, VMEM_ENTRY_LEAF, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 11, FX_IGNORED },
			{ 12, 46, FX_ADDRESS }, { 47, 47, FX_IGNORED },
			{ 48, 51, FX_ADDRESS }, { 52, 62, FX_IGNORED },
			{ 63, 63, FX_NX },
		}, .rules = VMEM_RULES_AMD | VMEM_RULES_NO_1G | SHARED(47),
	},
	{	/* Table 4-8, but for Accessed: see arch_i686.c */
		"PAE PDPTE", 64, X86_CR4_PAE, VMEM_LEVEL_PDPT,
		0x01, VMEM_ENTRY_TABLE, {
			{ 0, 0, FX_PRESENT }, { 1, 2, FX_RESERVED },
			{ 3, 4, FX_IGNORED }, { 5, 5, FX_DROPPED },
			{ 6, 8, FX_RESERVED },
			{ 9, 11, FX_IGNORED }, { 12, 51, FX_ADDRESS },
			{ 52, 63, FX_RESERVED },
		}, .pae = true, .grants = VMEM_WRITABLE | VMEM_USER,
	},
	{
		"PAE PDPTE, all rules", 64, X86_CR4_PAE, VMEM_LEVEL_PDPT,
		0x01, VMEM_ENTRY_TABLE, {
			{ 0, 0, FX_PRESENT }, { 1, 2, FX_RESERVED },
			{ 3, 4, FX_IGNORED }, { 5, 5, FX_DROPPED },
			{ 6, 8, FX_RESERVED },
			{ 9, 11, FX_IGNORED }, { 12, 46, FX_ADDRESS },
			{ 47, 47, FX_IGNORED }, { 48, 51, FX_ADDRESS },
			{ 52, 63, FX_RESERVED },
		}, .rules = VMEM_RULES_AMD | VMEM_RULES_NO_1G | C_BIT(47),
		.pae = true, .grants = VMEM_WRITABLE | VMEM_USER,
	},
	{	/* Table 4-10 */
		"PAE PDE of a table", 64, X86_CR4_PAE, VMEM_LEVEL_PD,
		0x01, VMEM_ENTRY_TABLE, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 7, FX_PAGE_SIZE },
			{ 8, 11, FX_IGNORED }, { 12, 51, FX_ADDRESS },
			{ 52, 62, FX_RESERVED },
			{ 63, 63, FX_NX },
		}, .pae = true,
	},
	{	/* Table 4-9 */
		"PAE PDE of a page", 64, X86_CR4_PAE, VMEM_LEVEL_PD,
		0x81, VMEM_ENTRY_LEAF, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 7, FX_PAGE_SIZE },
			{ 8, 12, FX_IGNORED }, { 13, 20, FX_RESERVED },
			{ 21, 51, FX_ADDRESS }, { 52, 62, FX_RESERVED },
			{ 63, 63, FX_NX },
		}, .pae = true,
	},
	{	/* Table 4-11; without CR4.PSE as well as with it */
		"PAE PTE, PSE", 64, X86_CR4_PAE | X86_CR4_PSE, VMEM_LEVEL_PT,
		0x01, VMEM_ENTRY_LEAF, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 11, FX_IGNORED },
			{ 12, 51, FX_ADDRESS }, { 52, 62, FX_RESERVED },
			{ 63, 63, FX_NX },
		}, .pae = true,
	},
	{
		"PAE PTE, all rules", 64, X86_CR4_PAE, VMEM_LEVEL_PT,
		0x01, VMEM_ENTRY_LEAF, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 11, FX_IGNORED },
			{ 12, 46, FX_ADDRESS }, { 47, 47, FX_IGNORED },
			{ 48, 51, FX_ADDRESS }, { 52, 62, FX_RESERVED },
			{ 63, 63, FX_NX },
		}, .rules = VMEM_RULES_AMD | VMEM_RULES_NO_1G | C_BIT(47),
		.pae = true,
	},
	{	/* Table 4-4: no rule is of 2-level paging */
		"2-level PDE of a page, all rules", 32, X86_CR4_PSE,
		VMEM_LEVEL_PD, 0x81, VMEM_ENTRY_LEAF, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 7, FX_PAGE_SIZE },
			{ 8, 12, FX_IGNORED }, { 13, 20, FX_ADDRESS_HIGH },
			{ 21, 21, FX_RESERVED }, { 22, 31, FX_ADDRESS },
		}, .rules = VMEM_RULES_AMD | VMEM_RULES_NO_1G | C_BIT(32),
	},
	{	/* Table 4-5 */
		"2-level PDE of a table", 32, X86_CR4_PSE, VMEM_LEVEL_PD,
		0x01, VMEM_ENTRY_TABLE, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 7, FX_PAGE_SIZE },
			{ 8, 11, FX_IGNORED }, { 12, 31, FX_ADDRESS },
		},
	},
	{	/* Table 4-5 */
		"2-level PDE without PSE", 32, 0, VMEM_LEVEL_PD,
		0x01, VMEM_ENTRY_TABLE, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 11, FX_IGNORED },
			{ 12, 31, FX_ADDRESS },
		},
	},
	{	/* Table 4-5 */
		"2-level PDE with bit 7 and without PSE", 32, 0, VMEM_LEVEL_PD,
		0x81, VMEM_ENTRY_TABLE, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 11, FX_IGNORED },
			{ 12, 31, FX_ADDRESS },
		},
	},
	{	/* Table 4-4 */
		"2-level PDE of a page", 32, X86_CR4_PSE, VMEM_LEVEL_PD,
		0x81, VMEM_ENTRY_LEAF, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 7, FX_PAGE_SIZE },
			{ 8, 12, FX_IGNORED }, { 13, 20, FX_ADDRESS_HIGH },
			{ 21, 21, FX_RESERVED }, { 22, 31, FX_ADDRESS },
		},
	},
	{	/* Table 4-6 */
		"2-level PTE", 32, X86_CR4_PSE, VMEM_LEVEL_PT,
		0x01, VMEM_ENTRY_LEAF, {
			{ 0, 0, FX_PRESENT }, { 1, 1, FX_WRITE },
			{ 2, 2, FX_USER }, { 3, 6, FX_IGNORED },
			{ 7, 11, FX_IGNORED },
			{ 12, 31, FX_ADDRESS },
		},
	},
};

/* clang-format on */

struct sweep_width {
	u32 maxphyaddr;
	u64 efer;
};

static const struct sweep_width widths[] = {
	{ 52, EFER_NX }, { 51, EFER_NX }, { 46, EFER_NX },
	{ 40, EFER_NX }, { 39, EFER_NX }, { 36, EFER_NX },
	{ 32, EFER_NX }, { 52, 0 },	  { 36, 0 },
};

static void layout_desc(const struct layout *l, char *desc)
{
	strscpy(desc, l->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(layout, layouts, layout_desc);

static void init_layout(struct kunit *test, struct vmem_root *root,
			const struct layout *l, const struct sweep_width *w)
{
	struct vmem_regs regs = {
		.cr0 = X86_CR0_PG | X86_CR0_PE,
		.cr4 = l->cr4,
		.efer = w->efer,
		.maxphyaddr = w->maxphyaddr,
		.rules = l->rules,
	};

	if (l->nr_bits == 64 && !l->pae)
		regs.efer |= EFER_LME | EFER_LMA;
	init_root(test, root, &regs);
}

static enum bit_effect layout_effect(const struct layout *l, int bit)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(l->bits); i++) {
		if (bit >= l->bits[i].first && bit <= l->bits[i].last)
			return l->bits[i].effect;
	}
	return FX_NONE;
}

/* Which effects turn into "reserved" with narrow addresses and without NXE. */
static enum bit_effect sweep_effect(const struct layout *l,
				    const struct sweep_width *w, int bit)
{
	enum bit_effect effect = layout_effect(l, bit);

	if (effect == FX_ADDRESS && bit >= w->maxphyaddr)
		return FX_RESERVED;
	if (effect == FX_ADDRESS_HIGH && bit + 19 >= w->maxphyaddr)
		return FX_RESERVED;
	if (effect == FX_NX && !(w->efer & EFER_NX))
		return FX_RESERVED;
	return effect;
}

static void apply_effect(struct vmem_entry *want, enum bit_effect effect,
			 int bit)
{
	/* An entry that is not present has no reserved bits. */
	if (effect == FX_PRESENT)
		want->kind = VMEM_ENTRY_EMPTY;
	else if (effect == FX_RESERVED && want->kind != VMEM_ENTRY_EMPTY)
		want->kind = VMEM_ENTRY_RESERVED;
	else if (effect == FX_PAGE_SIZE)
		want->kind = want->kind == VMEM_ENTRY_LEAF ? VMEM_ENTRY_TABLE :
							     VMEM_ENTRY_LEAF;
	else if (effect == FX_WRITE)
		want->perms |= VMEM_WRITABLE;
	else if (effect == FX_USER)
		want->perms |= VMEM_USER;
	else if (effect == FX_NX)
		want->perms &= ~VMEM_EXECUTABLE;
	else if (effect == FX_ADDRESS)
		want->addr |= BIT_ULL(bit);
	else if (effect == FX_ADDRESS_HIGH)
		want->addr |= BIT_ULL(bit + 19);
}

/* What toggling two bits of a base entry makes of it; they may be the same. */
static struct vmem_entry sweep_want(const struct layout *l,
				    const struct sweep_width *w, int a, int b)
{
	struct vmem_entry want = { l->kind, VMEM_EXECUTABLE | l->grants, 0 };

	apply_effect(&want, sweep_effect(l, w, a), a);
	if (b != a)
		apply_effect(&want, sweep_effect(l, w, b), b);
	if (want.kind == VMEM_ENTRY_EMPTY || want.kind == VMEM_ENTRY_RESERVED) {
		want.perms = 0;
		want.addr = 0;
	}
	return want;
}

static void sweep_bits(struct kunit *test, const struct sweep_width *w)
{
	const struct layout *l = test->param_value;
	struct vmem_entry got, want;
	struct vmem_root root;
	int bit;

	init_layout(test, &root, l, w);
	for (bit = 0; bit < l->nr_bits; bit++) {
		KUNIT_ASSERT_NE(test, layout_effect(l, bit), FX_NONE);
		got = decode(&root, l->level, l->base ^ BIT_ULL(bit));
		want = sweep_want(l, w, bit, bit);
		expect_entry(test, &got, &want, l->base ^ BIT_ULL(bit));
	}
}

static void vmem_decode_each_bit(struct kunit *test)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(widths); i++)
		sweep_bits(test, &widths[i]);
}

static void sweep_pairs(struct kunit *test, const struct sweep_width *w)
{
	const struct layout *l = test->param_value;
	struct vmem_entry got, want;
	struct vmem_root root;
	int a, b;
	u64 raw;

	init_layout(test, &root, l, w);
	for (a = 0; a < l->nr_bits; a++) {
		for (b = 0; b < a; b++) {
			/* It gives the other bit another meaning. */
			if (layout_effect(l, a) == FX_PAGE_SIZE ||
			    layout_effect(l, b) == FX_PAGE_SIZE)
				continue;
			raw = l->base ^ BIT_ULL(a) ^ BIT_ULL(b);
			got = decode(&root, l->level, raw);
			want = sweep_want(l, w, a, b);
			expect_entry(test, &got, &want, raw);
		}
	}
}

/* Bits do not hide each other, and "reserved" wins over all but P = 0. */
static void vmem_decode_bit_pairs(struct kunit *test)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(widths); i++)
		sweep_pairs(test, &widths[i]);
}

static void sweep_not_present(struct kunit *test, const struct sweep_width *w)
{
	static const struct vmem_entry empty = EMPTY;
	const struct layout *l = test->param_value;
	u64 all = GENMASK_ULL(l->nr_bits - 1, 1);
	struct vmem_entry got;
	struct vmem_root root;
	int bit;

	init_layout(test, &root, l, w);
	for (bit = 0; bit < l->nr_bits; bit++) {
		/* One bit alone, and all but one; never bit 0, which is P. */
		got = decode(&root, l->level, BIT_ULL(bit) & ~1ULL);
		expect_entry(test, &got, &empty, BIT_ULL(bit) & ~1ULL);
		got = decode(&root, l->level, all & ~BIT_ULL(bit));
		expect_entry(test, &got, &empty, all & ~BIT_ULL(bit));
	}
}

static void vmem_decode_not_present(struct kunit *test)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(widths); i++)
		sweep_not_present(test, &widths[i]);
}

/*
 * Part three: entries that are made. The layouts say what may be in them.
 */
static u64 bits_of(const struct layout *l, enum bit_effect effect)
{
	u64 mask = 0;
	int bit;

	for (bit = 0; bit < l->nr_bits; bit++) {
		if (layout_effect(l, bit) == effect)
			mask |= BIT_ULL(bit);
	}
	return mask;
}

static u64 address_bits(const struct layout *l)
{
	return bits_of(l, FX_ADDRESS) | bits_of(l, FX_ADDRESS_HIGH);
}

/* Where an address's bit is in an entry; -1 if there is no place for it. */
static int place_of(const struct layout *l, const struct sweep_width *w,
		    int bit)
{
	int i;

	for (i = 0; i < l->nr_bits; i++) {
		enum bit_effect effect = sweep_effect(l, w, i);

		if ((effect == FX_ADDRESS && i == bit) ||
		    (effect == FX_ADDRESS_HIGH && i + 19 == bit))
			return i;
	}
	return -1;
}

/* What an entry that is made has besides its address and permissions. */
static u64 bare_entry(const struct layout *l)
{
	bool large = l->kind == VMEM_ENTRY_LEAF && l->level > VMEM_LEVEL_PT;

	return large ? 0x81 : 0x01;
}

static bool same_entry(const struct vmem_entry *a, const struct vmem_entry *b)
{
	return a->kind == b->kind && a->perms == b->perms && a->addr == b->addr;
}

static void expect_encoded(struct kunit *test, const struct vmem_root *root,
			   const struct sweep_width *w, u32 perms, int bit)
{
	const struct layout *l = test->param_value;
	struct vmem_entry want = { l->kind, perms, bit < 0 ? 0 : BIT_ULL(bit) };
	int place = bit < 0 ? 0 : place_of(l, w, bit);
	bool nx = !(perms & VMEM_EXECUTABLE);
	struct vmem_entry got;
	u64 raw, bare;

	raw = root->mode.arch->encode(&root->mode, l->level, l->kind, want.addr,
				      perms);
	got = decode(root, l->level, raw);
	if (place < 0 || (l->grants && perms != ALL_PERMS) ||
	    (nx && (l->nr_bits == 32 || !(w->efer & EFER_NX)))) {
		KUNIT_EXPECT_FALSE(test, same_entry(&got, &want));
		return;
	}
	expect_entry(test, &got, &want, raw);
	perms &= ~l->grants;
	bare = bare_entry(l) | (perms & VMEM_WRITABLE ? BIT_ULL(1) : 0) |
	       (perms & VMEM_USER ? BIT_ULL(2) : 0) | (nx ? BIT_ULL(63) : 0);
	KUNIT_EXPECT_EQ(test, raw, bit < 0 ? bare : bare | BIT_ULL(place));
}

/* Every address bit with all permissions: it is said, or it shows. */
static void vmem_decode_encode(struct kunit *test)
{
	const struct layout *l = test->param_value;
	struct vmem_root root;
	u32 perms;
	int i, bit;

	for (i = 0; i < ARRAY_SIZE(widths); i++) {
		init_layout(test, &root, l, &widths[i]);
		for (perms = 0; perms <= ALL_PERMS; perms++) {
			for (bit = VMEM_PAGE_SHIFT - 1; bit < 64; bit++)
				expect_encoded(test, &root, &widths[i], perms,
					       bit < VMEM_PAGE_SHIFT ? -1 :
								       bit);
		}
	}
}

/* The entry of a page of the wrong level, or with a bit that is in its way. */
static void vmem_decode_encode_unknown(struct kunit *test)
{
	static const struct vmem_regs regs[] = {
		AMD64, LA57(0), LA57(VMEM_RULES_NO_1G), PAE, I686, I686_PSE
	};
	static const int max_leaf[] = { 3, 3, 2, 2, 1, 2 };
	int level, i;

	for (i = 0; i < ARRAY_SIZE(regs); i++) {
		struct vmem_root root;
		u64 raw;

		init_root(test, &root, &regs[i]);
		for (level = 1; level <= root.mode.top; level++) {
			raw = root.mode.arch->encode(&root.mode, level,
						     VMEM_ENTRY_LEAF, 0,
						     ALL_PERMS);
			KUNIT_EXPECT_EQ(test,
					decode(&root, level, raw).kind ==
						VMEM_ENTRY_LEAF,
					level <= max_leaf[i]);
		}
	}
}

static void expect_retargeted(struct kunit *test, const struct vmem_root *root,
			      u64 raw, int bit, int place)
{
	const struct layout *l = test->param_value;
	u64 got = root->mode.arch->retarget(&root->mode, l->level, raw,
					    BIT_ULL(bit));

	raw &= ~(address_bits(l) | bits_of(l, FX_DROPPED));
	KUNIT_EXPECT_EQ_MSG(test, got, raw | BIT_ULL(place), "raw %#llx bit %d",
			    raw, bit);
}

/* Every bit beside every address bit stays, or is dropped; the old address goes. */
static void vmem_decode_retarget(struct kunit *test)
{
	const struct layout *l = test->param_value;
	struct vmem_root root;
	int flag, bit, place;

	init_layout(test, &root, l, &widths[0]);
	for (flag = 1; flag < l->nr_bits; flag++) {
		if (layout_effect(l, flag) == FX_PAGE_SIZE ||
		    layout_effect(l, flag) == FX_RESERVED)
			continue;
		for (bit = VMEM_PAGE_SHIFT; bit < 52; bit++) {
			place = place_of(l, &widths[0], bit);
			if (place < 0)
				continue;
			expect_retargeted(test, &root, l->base | BIT_ULL(flag),
					  bit, place);
			expect_retargeted(test, &root,
					  l->base | address_bits(l), bit,
					  place);
		}
	}
}

/* An address that does not fit shows in what it decodes to. */
static void vmem_decode_retarget_too_far(struct kunit *test)
{
	const struct layout *l = test->param_value;
	struct vmem_root root;
	int i, bit;
	u64 raw;

	for (i = 0; i < ARRAY_SIZE(widths); i++) {
		init_layout(test, &root, l, &widths[i]);
		for (bit = VMEM_PAGE_SHIFT; bit < 64; bit++) {
			if (place_of(l, &widths[i], bit) >= 0)
				continue;
			raw = root.mode.arch->retarget(&root.mode, l->level,
						       l->base, BIT_ULL(bit));
			KUNIT_EXPECT_NE(test, decode(&root, l->level, raw).addr,
					BIT_ULL(bit));
		}
	}
}

/* What a bit of a large page's entry is in those that stand for it. */
static u64 split_bit(const struct layout *l, int bit)
{
	enum bit_effect effect = layout_effect(l, bit);

	if (effect == FX_ADDRESS || effect == FX_ADDRESS_HIGH)
		return 0;
	/* PAT is where PS was, if the smaller page has no PS. */
	if (bit == 12)
		return l->level == VMEM_LEVEL_PD ? BIT_ULL(7) : BIT_ULL(12);
	return BIT_ULL(bit);
}

static u64 split_base(const struct layout *l)
{
	return l->level == VMEM_LEVEL_PD ? 0x01 : 0x81;
}

/* Each bit alone, and all pairs. */
static void vmem_decode_split(struct kunit *test)
{
	const struct layout *l = test->param_value;
	struct vmem_entry from, to;
	struct vmem_root root;
	u64 raw, got;
	int a, b;

	if (l->kind != VMEM_ENTRY_LEAF || l->level == VMEM_LEVEL_PT)
		kunit_skip(test, "nothing to split");
	init_layout(test, &root, l, &widths[0]);
	for (a = 1; a < l->nr_bits; a++) {
		for (b = 1; b <= a; b++) {
			raw = l->base | BIT_ULL(a) | BIT_ULL(b);
			from = decode(&root, l->level, raw);
			if (from.kind != VMEM_ENTRY_LEAF || a == 7 || b == 7)
				continue;
			got = root.mode.arch->split(&root.mode, l->level, raw);
			KUNIT_EXPECT_EQ_MSG(test, got,
					    split_base(l) | split_bit(l, a) |
						    split_bit(l, b),
					    "raw %#llx", raw);
			to = decode(&root, l->level - 1, got);
			from.addr = 0;
			expect_entry(test, &to, &from, got);
		}
	}
}

/*
 * Part four: what the registers select (SDM 4.1.1), and where the root is
 * (SDM 4.3, table 4-3; 4.5.2, tables 4-12 and 4-13).
 */
struct refused_case {
	const char *desc;
	struct vmem_regs regs;
	int ret;
};

#define PAGED (X86_CR0_PG | X86_CR0_PE)
#define LONG_MODE (EFER_LME | EFER_LMA | EFER_NX)

/* clang-format off */
static const struct refused_case refused_cases[] = {
	{ "all zero", { .maxphyaddr = 36 }, -EINVAL },
	{ "PG clear",
	  { .cr0 = X86_CR0_PE, .maxphyaddr = 36 }, -EINVAL },
	{ "PG clear, long mode enabled",
	  { .cr0 = X86_CR0_PE, .cr4 = X86_CR4_PAE, .efer = EFER_LME,
	    .maxphyaddr = 36 }, -EINVAL },
	{ "PG set and PE clear",
	  { .cr0 = X86_CR0_PG, .maxphyaddr = 36 }, -EINVAL },
	{ "PG set and PE clear, long mode",
	  { .cr0 = X86_CR0_PG, .cr4 = X86_CR4_PAE, .efer = LONG_MODE,
	    .maxphyaddr = 36 }, -EINVAL },
	{ "LME without PAE",
	  { .cr0 = PAGED, .efer = LONG_MODE, .maxphyaddr = 36 }, -EINVAL },
	{ "LME without PAE, PSE",
	  { .cr0 = PAGED, .cr4 = X86_CR4_PSE, .efer = EFER_LME,
	    .maxphyaddr = 36 }, -EINVAL },
	{ "2-level, MAXPHYADDR 31", GUEST_REGS_I686(0, 31), -EINVAL },
	{ "2-level, MAXPHYADDR 53", GUEST_REGS_I686(0, 53), -EINVAL },
	{ "4-level, MAXPHYADDR 0", GUEST_REGS_AMD64(0, 0), -EINVAL },
	{ "4-level, MAXPHYADDR 31", GUEST_REGS_AMD64(0, 31), -EINVAL },
	{ "4-level, MAXPHYADDR 53", GUEST_REGS_AMD64(0, 53), -EINVAL },
	{ "4-level, MAXPHYADDR is not signed",
	  GUEST_REGS_AMD64(0, 0xffffffd8), -EINVAL },
	{ "4-level, MAXPHYADDR has 32 bits",
	  GUEST_REGS_AMD64(0, 0x10000028), -EINVAL },
	{ "PAE, MAXPHYADDR 31", GUEST_REGS_PAE(0, 31), -EINVAL },
	{ "PAE, MAXPHYADDR 53", GUEST_REGS_PAE(0, 53), -EINVAL },
	{ "5-level, MAXPHYADDR 53", GUEST_REGS_LA57(0, 53, 0), -EINVAL },
	{ "PG clear, PAE",
	  { .cr0 = X86_CR0_PE, .cr4 = X86_CR4_PAE, .maxphyaddr = 36 },
	  -EINVAL },
	{ "LME without PAE, LA57",
	  { .cr0 = PAGED, .cr4 = X86_CR4_LA57, .efer = LONG_MODE,
	    .maxphyaddr = 36 }, -EINVAL },
	{ "unknown rule, 4-level",
	  { .cr0 = PAGED, .cr4 = X86_CR4_PAE, .efer = LONG_MODE,
	    .maxphyaddr = 36, .rules = 8 }, -EOPNOTSUPP },
	{ "unknown rule, 2-level",
	  { .cr0 = PAGED, .maxphyaddr = 36, .rules = 0x80000000 },
	  -EOPNOTSUPP },
	{ "unknown rule beside those that are known",
	  LA57(VMEM_RULES_AMD | VMEM_RULES_NO_1G | C_BIT(47) | 0x80),
	  -EOPNOTSUPP },
	{ "encryption bit 64", LA57(C_BIT(64)), -EOPNOTSUPP },
	{ "encryption bit 1", LA57(C_BIT(1)), -EINVAL },
	{ "encryption bit 31", LA57(C_BIT(31)), -EINVAL },
	{ "encryption bit 52", LA57(C_BIT(52)), -EINVAL },
	{ "encryption bit 63", LA57(C_BIT(63)), -EINVAL },
	{ "shared bit 31", LA57(SHARED(31)), -EINVAL },
	{ "shared bit not said", LA57(VMEM_RULES_SHARED_BIT), -EINVAL },
	{ "shared bit not said, 2-level",
	  { .cr0 = PAGED, .maxphyaddr = 36, .rules = VMEM_RULES_SHARED_BIT },
	  -EINVAL },
};

/* clang-format on */

static void refused_desc(const struct refused_case *c, char *desc)
{
	strscpy(desc, c->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(refused, refused_cases, refused_desc);

static void vmem_decode_refused_regs(struct kunit *test)
{
	const struct refused_case *c = test->param_value;
	struct vmem_root root;

	KUNIT_EXPECT_EQ(test, vmem_root_init(&root, &c->regs), c->ret);
}

/* Any bit from 32 to 51, in every mode. */
static void vmem_decode_encryption_bits(struct kunit *test)
{
	static const struct vmem_regs regs[] = { AMD64, LA57(0), PAE, I686 };
	struct vmem_root root;
	struct vmem_regs with;
	int i, bit;

	for (i = 0; i < ARRAY_SIZE(regs); i++) {
		for (bit = 32; bit < 52; bit++) {
			with = regs[i];
			with.rules = VMEM_RULES_AMD | VMEM_RULES_NO_1G;
			with.rules |= bit & 1 ? SHARED(bit) : C_BIT(bit);
			init_root(test, &root, &with);
		}
	}
}

struct root_case {
	const char *desc;
	struct vmem_regs regs;
	const struct vmem_arch *arch;
	int top;
	u64 table;
};

/* Everything in CR0, CR4 and EFER that does not select a paging mode. */
#define CR0_REST (~0ULL & ~(u64)(X86_CR0_PG | X86_CR0_PE))
#define CR4_REST (~0ULL & ~(u64)(X86_CR4_PAE | X86_CR4_LA57 | X86_CR4_PSE))
#define EFER_REST (~0ULL & ~(u64)(EFER_LME | EFER_LMA | EFER_NX))

/* clang-format off */
static const struct root_case root_cases[] = {
	{ "2-level", { .cr0 = PAGED, .cr3 = 0xfedcb000, .maxphyaddr = 32 },
	  &vmem_arch_i686, 2, 0xfedcb000 },
	{ "2-level, PWT and PCD",
	  { .cr0 = PAGED, .cr3 = 0xfedcbfff, .maxphyaddr = 32 },
	  &vmem_arch_i686, 2, 0xfedcb000 },
	{ "2-level, CR3 has 32 bits",
	  { .cr0 = PAGED, .cr3 = 0xfffffffffedcb000, .maxphyaddr = 52 },
	  &vmem_arch_i686, 2, 0xfedcb000 },
	{ "2-level, root at 0", { .cr0 = PAGED, .maxphyaddr = 32 },
	  &vmem_arch_i686, 2, 0 },
	{ "2-level, LA57 without long mode",
	  { .cr0 = PAGED, .cr3 = 0x1000, .cr4 = X86_CR4_LA57,
	    .maxphyaddr = 36 }, &vmem_arch_i686, 2, 0x1000 },
	{ "2-level, all other bits",
	  { .cr0 = PAGED | CR0_REST, .cr3 = 0x1000, .cr4 = CR4_REST,
	    .efer = EFER_REST, .maxphyaddr = 36 },
	  &vmem_arch_i686, 2, 0x1000 },
	{ "4-level",
	  { .cr0 = PAGED, .cr3 = 0x123456000, .cr4 = X86_CR4_PAE,
	    .efer = LONG_MODE, .maxphyaddr = 52 },
	  &vmem_arch_amd64, 4, 0x123456000 },
	{ "4-level, PCID",
	  { .cr0 = PAGED, .cr3 = 0x123456fff, .cr4 = X86_CR4_PAE,
	    .efer = LONG_MODE, .maxphyaddr = 52 },
	  &vmem_arch_amd64, 4, 0x123456000 },
	{ "4-level, no-flush bit",
	  { .cr0 = PAGED, .cr3 = 0x8000000123456001, .cr4 = X86_CR4_PAE,
	    .efer = LONG_MODE, .maxphyaddr = 52 },
	  &vmem_arch_amd64, 4, 0x123456000 },
	{ "4-level, widest root",
	  { .cr0 = PAGED, .cr3 = ~0ULL, .cr4 = X86_CR4_PAE,
	    .efer = LONG_MODE, .maxphyaddr = 52 },
	  &vmem_arch_amd64, 4, 0x000ffffffffff000 },
	{ "4-level, bits over MAXPHYADDR",
	  { .cr0 = PAGED, .cr3 = ~0ULL, .cr4 = X86_CR4_PAE,
	    .efer = LONG_MODE, .maxphyaddr = 40 },
	  &vmem_arch_amd64, 4, 0x000000fffffff000 },
	{ "4-level, 32 address bits",
	  { .cr0 = PAGED, .cr3 = ~0ULL, .cr4 = X86_CR4_PAE,
	    .efer = LONG_MODE, .maxphyaddr = 32 },
	  &vmem_arch_amd64, 4, 0xfffff000 },
	{ "4-level, LMA not given",
	  { .cr0 = PAGED, .cr3 = 0x1000, .cr4 = X86_CR4_PAE,
	    .efer = EFER_LME, .maxphyaddr = 36 },
	  &vmem_arch_amd64, 4, 0x1000 },
	{ "4-level, all other bits",
	  { .cr0 = PAGED | CR0_REST, .cr3 = 0x1000,
	    .cr4 = X86_CR4_PAE | X86_CR4_PSE | CR4_REST,
	    .efer = LONG_MODE | EFER_REST, .maxphyaddr = 36 },
	  &vmem_arch_amd64, 4, 0x1000 },
	{ "4-level, C-bit in CR3",
	  { .cr0 = PAGED, .cr3 = 0x0008800123456000, .cr4 = X86_CR4_PAE,
	    .efer = LONG_MODE, .maxphyaddr = 52, .rules = C_BIT(47) },
	  &vmem_arch_amd64, 4, 0x0008000123456000 },
	{ "5-level",
	  { .cr0 = PAGED, .cr3 = 0x8000000123456fff,
	    .cr4 = X86_CR4_PAE | X86_CR4_LA57, .efer = LONG_MODE,
	    .maxphyaddr = 52 }, &vmem_arch_amd64, 5, 0x123456000 },
	{ "5-level, bits over MAXPHYADDR",
	  { .cr0 = PAGED, .cr3 = ~0ULL, .cr4 = X86_CR4_PAE | X86_CR4_LA57,
	    .efer = EFER_LME, .maxphyaddr = 40 },
	  &vmem_arch_amd64, 5, 0x000000fffffff000 },
	{ "5-level, all other bits",
	  { .cr0 = PAGED | CR0_REST, .cr3 = 0x1000,
	    .cr4 = X86_CR4_PAE | X86_CR4_LA57 | X86_CR4_PSE | CR4_REST,
	    .efer = LONG_MODE | EFER_REST, .maxphyaddr = 36 },
	  &vmem_arch_amd64, 5, 0x1000 },
	{ "PAE",
	  { .cr0 = PAGED, .cr3 = 0xfedcb000, .cr4 = X86_CR4_PAE,
	    .maxphyaddr = 36 }, &vmem_arch_pae, 3, 0xfedcb000 },
	{ "PAE, within a page",
	  { .cr0 = PAGED, .cr3 = 0xfedcbfe0, .cr4 = X86_CR4_PAE,
	    .efer = EFER_NX, .maxphyaddr = 52 },
	  &vmem_arch_pae, 3, 0xfedcbfe0 },
	{ "PAE, PWT, PCD and ignored",
	  { .cr0 = PAGED, .cr3 = 0xfedcb03f, .cr4 = X86_CR4_PAE,
	    .maxphyaddr = 36 }, &vmem_arch_pae, 3, 0xfedcb020 },
	{ "PAE, CR3 has 32 bits",
	  { .cr0 = PAGED, .cr3 = ~0ULL, .cr4 = X86_CR4_PAE,
	    .maxphyaddr = 52 }, &vmem_arch_pae, 3, 0xffffffe0 },
	{ "PAE, LA57 without long mode",
	  { .cr0 = PAGED, .cr3 = 0x1000, .cr4 = X86_CR4_PAE | X86_CR4_LA57,
	    .maxphyaddr = 36 }, &vmem_arch_pae, 3, 0x1000 },
	{ "PAE, all other bits",
	  { .cr0 = PAGED | CR0_REST, .cr3 = 0x1000,
	    .cr4 = X86_CR4_PAE | X86_CR4_PSE | CR4_REST,
	    .efer = EFER_NX | EFER_REST, .maxphyaddr = 36 },
	  &vmem_arch_pae, 3, 0x1000 },
};

/* clang-format on */

static void root_desc(const struct root_case *c, char *desc)
{
	strscpy(desc, c->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(root, root_cases, root_desc);

static void vmem_decode_root(struct kunit *test)
{
	const struct root_case *c = test->param_value;
	struct vmem_root root;

	memset(&root, 0xa5, sizeof(root));
	init_root(test, &root, &c->regs);
	KUNIT_EXPECT_PTR_EQ(test, root.mode.arch, c->arch);
	KUNIT_EXPECT_EQ(test, root.mode.top, c->top);
	KUNIT_EXPECT_EQ(test, root.table, c->table);
	KUNIT_EXPECT_EQ(test, root.mode.maxphyaddr, (int)c->regs.maxphyaddr);
}

struct feature_case {
	const char *desc;
	struct vmem_regs regs;
	bool pse;
	bool nxe;
};

/* clang-format off */
static const struct feature_case feature_cases[] = {
	{ "2-level, PSE off", GUEST_REGS_I686(0, 32), false, false },
	{ "2-level, PSE on", GUEST_REGS_I686(X86_CR4_PSE, 32), true, false },
	{ "4-level, NXE off", GUEST_REGS_AMD64(0, 36), false, false },
	{ "4-level, NXE on", GUEST_REGS_AMD64(EFER_NX, 36), false, true },
	{ "5-level, NXE off", GUEST_REGS_LA57(0, 36, 0), false, false },
	{ "5-level, NXE on", GUEST_REGS_LA57(EFER_NX, 36, 0), false, true },
	{ "PAE, NXE off", GUEST_REGS_PAE(0, 36), false, false },
	{ "PAE, NXE on", GUEST_REGS_PAE(EFER_NX, 36), false, true },
};

/* clang-format on */

static void feature_desc(const struct feature_case *c, char *desc)
{
	strscpy(desc, c->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(feature, feature_cases, feature_desc);

static void vmem_decode_features(struct kunit *test)
{
	const struct feature_case *c = test->param_value;
	struct vmem_root root;

	memset(&root, 0xa5, sizeof(root));
	init_root(test, &root, &c->regs);
	/* The other format's feature has no meaning and no promised value. */
	if (root.mode.top == 2)
		KUNIT_EXPECT_EQ(test, root.mode.pse, c->pse);
	else
		KUNIT_EXPECT_EQ(test, root.mode.nxe, c->nxe);
}

struct canonical_case {
	const char *desc;
	struct vmem_regs regs;
	u64 va;
	bool canonical;
};

/* SDM vol. 1, 3.3.7.1; 32-bit and PAE paging have 32-bit addresses. */
/* clang-format off */
static const struct canonical_case canonical_cases[] = {
	{ "4-level, 0", AMD64, 0, true },
	{ "4-level, last of the lower half", AMD64, 0x7fffffffffff, true },
	{ "4-level, first of the hole", AMD64, 0x800000000000, false },
	{ "4-level, 32 bits sign-extended wrongly", AMD64, 0x8000000000000000,
	  false },
	{ "4-level, last of the hole", AMD64, 0xffff7fffffffffff, false },
	{ "4-level, first of the upper half", AMD64, 0xffff800000000000, true },
	{ "4-level, last", AMD64, 0xffffffffffffffff, true },
	{ "5-level, last of the lower half", LA57(0), 0xffffffffffffff, true },
	{ "5-level, first of the hole", LA57(0), 0x100000000000000, false },
	{ "5-level, last of the hole", LA57(0), 0xfeffffffffffffff, false },
	{ "5-level, first of the upper half", LA57(0), 0xff00000000000000,
	  true },
	{ "5-level, in the hole of 4 levels", LA57(0), 0x800000000000, true },
	{ "5-level, last", LA57(0), 0xffffffffffffffff, true },
	{ "PAE, last", PAE, 0xffffffff, true },
	{ "PAE, first of the hole", PAE, 0x100000000, false },
	{ "PAE, sign-extended", PAE, 0xffffffff80000000, false },
	{ "PAE, last of the hole", PAE, 0xffffffffffffffff, false },
	{ "2-level, 0", I686, 0, true },
	{ "2-level, 2 GB", I686, 0x80000000, true },
	{ "2-level, last", I686, 0xffffffff, true },
	{ "2-level, first of the hole", I686, 0x100000000, false },
	{ "2-level, sign-extended", I686, 0xffffffff80000000, false },
	{ "2-level, last of the hole", I686, 0xffffffffffffffff, false },
};

/* clang-format on */

static void canonical_desc(const struct canonical_case *c, char *desc)
{
	strscpy(desc, c->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(canonical, canonical_cases, canonical_desc);

static void vmem_decode_canonical(struct kunit *test)
{
	const struct canonical_case *c = test->param_value;
	struct vmem_root root;

	init_root(test, &root, &c->regs);
	KUNIT_EXPECT_EQ(test, vmem_is_canonical(&root.mode, c->va),
			c->canonical);
}

/* What the other callers compute with: sizes of entries, tables and pages. */
static void vmem_decode_geometry(struct kunit *test)
{
	const struct vmem_arch *i686 = &vmem_arch_i686;
	const struct vmem_arch *amd64 = &vmem_arch_amd64;
	const struct vmem_arch *pae = &vmem_arch_pae;

	KUNIT_EXPECT_EQ(test, i686->entry_size << i686->index_bits, 4096);
	KUNIT_EXPECT_EQ(test, i686->entry_size, 4);
	KUNIT_EXPECT_EQ(test, vmem_level_size(i686, 1), SZ_4K);
	KUNIT_EXPECT_EQ(test, vmem_level_size(i686, 2), SZ_4M);
	KUNIT_EXPECT_EQ(test, amd64->entry_size << amd64->index_bits, 4096);
	KUNIT_EXPECT_EQ(test, amd64->entry_size, 8);
	KUNIT_EXPECT_EQ(test, vmem_level_size(amd64, 1), SZ_4K);
	KUNIT_EXPECT_EQ(test, vmem_level_size(amd64, 2), SZ_2M);
	KUNIT_EXPECT_EQ(test, vmem_level_size(amd64, 3), SZ_1G);
	KUNIT_EXPECT_EQ(test, vmem_level_size(amd64, 4), 1ULL << 39);
	KUNIT_EXPECT_EQ(test, vmem_level_size(amd64, 5), 1ULL << 48);
	KUNIT_EXPECT_EQ(test, pae->entry_size << pae->index_bits, 4096);
	KUNIT_EXPECT_EQ(test, pae->entry_size, 8);
	KUNIT_EXPECT_EQ(test, vmem_level_size(pae, 1), SZ_4K);
	KUNIT_EXPECT_EQ(test, vmem_level_size(pae, 2), SZ_2M);
	KUNIT_EXPECT_EQ(test, vmem_level_size(pae, 3), SZ_1G);
}

/* What references call the tables of each level, roots included. */
static void vmem_decode_names(struct kunit *test)
{
	static const enum vmem_table names[][VMEM_MAX_LEVELS + 1] = {
		{ 0, VMEM_TABLE_I686_PT },
		{ 0, VMEM_TABLE_PAE_PT, VMEM_TABLE_PAE_PD },
		{ 0, VMEM_TABLE_AMD64_PT, VMEM_TABLE_AMD64_PD,
		  VMEM_TABLE_AMD64_PDPT, VMEM_TABLE_AMD64_PML4 },
	};
	const struct vmem_arch *arches[] = { &vmem_arch_i686, &vmem_arch_pae,
					     &vmem_arch_amd64 };
	int i, level;

	for (i = 0; i < ARRAY_SIZE(arches); i++) {
		for (level = 0; level <= VMEM_MAX_LEVELS; level++)
			KUNIT_EXPECT_EQ(test,
					vmem_shared_table(arches[i], level),
					names[i][level]);
	}
}

/*
 * Part five: what an entry says of a page besides.
 */
struct attribute_case {
	const char *desc;
	struct vmem_regs regs;
	int level;
	bool keys;
	u32 base;
};

#define CR4_PKS BIT_ULL(24)

#define WITH_CR4(bits, lme, what)                                           \
	{                                                                   \
		.cr0 = PAGED, .cr4 = X86_CR4_PAE | (bits),                  \
		.efer = EFER_NX | ((lme) ? EFER_LME : 0), .maxphyaddr = 52, \
		.rules = (what),                                            \
	}
#define ALL_CR4 (X86_CR4_PGE | X86_CR4_PKE | CR4_PKS)

/* clang-format off */
static const struct attribute_case attribute_cases[] = {
	{ "4-level, PTE", AMD64, VMEM_LEVEL_PT },
	{ "4-level, PTE, PGE", WITH_CR4(X86_CR4_PGE, 1, 0), VMEM_LEVEL_PT },
	{ "4-level, PTE, PKE", WITH_CR4(X86_CR4_PKE, 1, 0), VMEM_LEVEL_PT,
	  .keys = true },
	{ "4-level, PTE, PKS", WITH_CR4(CR4_PKS, 1, 0), VMEM_LEVEL_PT,
	  .keys = true },
	{ "4-level, 2 MB, all", WITH_CR4(ALL_CR4, 1, 0), VMEM_LEVEL_PD,
	  .keys = true },
	{ "4-level, 1 GB, C-bit", WITH_CR4(ALL_CR4, 1, C_BIT(51)),
	  VMEM_LEVEL_PDPT, .keys = true },
	{ "4-level, PTE, shared bit", WITH_CR4(X86_CR4_PGE, 1, SHARED(47)),
	  VMEM_LEVEL_PT, .base = VMEM_ATTR_ENCRYPTED },
	{ "5-level, PTE, PKE",
	  WITH_CR4(X86_CR4_LA57 | X86_CR4_PKE, 1, C_BIT(47)), VMEM_LEVEL_PT,
	  .keys = true },
	{ "5-level, 2 MB, shared bit", WITH_CR4(X86_CR4_LA57, 1, SHARED(51)),
	  VMEM_LEVEL_PD, .base = VMEM_ATTR_ENCRYPTED },
	{ "PAE, PTE, all of CR4", WITH_CR4(ALL_CR4, 0, 0), VMEM_LEVEL_PT },
	{ "PAE, 2 MB, no PGE", WITH_CR4(0, 0, 0), VMEM_LEVEL_PD },
	{ "PAE, PTE, C-bit", WITH_CR4(0, 0, C_BIT(47)), VMEM_LEVEL_PT },
	{ "2-level, PTE", I686_PSE, VMEM_LEVEL_PT },
	{ "2-level, 4 MB, all of CR4, rules",
	  { .cr0 = PAGED, .cr4 = X86_CR4_PSE | ALL_CR4, .maxphyaddr = 36,
	    .rules = SHARED(32) }, VMEM_LEVEL_PD },
};

/* clang-format on */

static void attribute_desc(const struct attribute_case *c, char *desc)
{
	strscpy(desc, c->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(attribute, attribute_cases, attribute_desc);

/*
 * What a bit does to the attributes: SDM tables 4-4 to 4-20, and for what PAT, PCD
 * and PWT make, vol. 3, 12.12.3.
 */
static u32 attribute_of(const struct attribute_case *c, int bit)
{
	bool paging_2level = !(c->regs.cr4 & X86_CR4_PAE);

	switch (bit) {
	case 3:
		return 1 << 4;
	case 4:
		return 2 << 4;
	case 5:
		return VMEM_ATTR_ACCESSED;
	case 6:
		return VMEM_ATTR_DIRTY;
	case 7:
		return c->level == VMEM_LEVEL_PT ? 4 << 4 : 0;
	case 8:
		return c->regs.cr4 & X86_CR4_PGE ? VMEM_ATTR_GLOBAL : 0;
	case 12:
		return c->level > VMEM_LEVEL_PT ? 4 << 4 : 0;
	case 59 ... 62:
		return c->keys ? 1 << (bit - 59) << 8 : 0;
	default:
		return c->regs.rules >> 8 == bit && bit && !paging_2level ?
			       VMEM_ATTR_ENCRYPTED :
			       0;
	}
}

/* Each bit alone, and all pairs. */
static void vmem_decode_attributes(struct kunit *test)
{
	const struct attribute_case *c = test->param_value;
	int a, b, nr_bits = c->regs.cr4 & X86_CR4_PAE ? 64 : 32;
	struct vmem_root root;
	u32 want;
	u64 raw;

	init_root(test, &root, &c->regs);
	for (a = 0; a < nr_bits; a++) {
		for (b = 0; b <= a; b++) {
			raw = BIT_ULL(a) | BIT_ULL(b);
			want = c->base ^ attribute_of(c, a);
			if (b != a)
				want ^= attribute_of(c, b);
			KUNIT_EXPECT_EQ_MSG(test,
					    vmem_attributes(&root.mode,
							    c->level, raw),
					    want, "raw %#llx", raw);
		}
	}
}

/* As callers take them apart. */
static void vmem_decode_attribute_fields(struct kunit *test)
{
	const struct vmem_regs regs = WITH_CR4(ALL_CR4, 1, C_BIT(51));
	struct vmem_root root;
	u32 got;

	init_root(test, &root, &regs);
	got = vmem_attributes(&root.mode, VMEM_LEVEL_PT, 0x68080000000000b9);
	KUNIT_EXPECT_EQ(test, VMEM_ATTR_PAT(got), 7U);
	KUNIT_EXPECT_EQ(test, VMEM_ATTR_KEY(got), 13U);
	KUNIT_EXPECT_EQ(test, got & 15,
			VMEM_ATTR_ACCESSED | VMEM_ATTR_ENCRYPTED);
	got = vmem_attributes(&root.mode, VMEM_LEVEL_PD, 0x00000000000011d1);
	KUNIT_EXPECT_EQ(test, VMEM_ATTR_PAT(got), 6U);
	KUNIT_EXPECT_EQ(test, VMEM_ATTR_KEY(got), 0U);
	KUNIT_EXPECT_EQ(test, got & 15, VMEM_ATTR_DIRTY | VMEM_ATTR_GLOBAL);
}

static struct kunit_case vmem_decode_test_cases[] = {
	KUNIT_CASE_PARAM(vmem_decode_named, decode_gen_params),
	KUNIT_CASE_PARAM(vmem_decode_each_bit, layout_gen_params),
	KUNIT_CASE_PARAM(vmem_decode_bit_pairs, layout_gen_params),
	KUNIT_CASE_PARAM(vmem_decode_not_present, layout_gen_params),
	KUNIT_CASE_PARAM(vmem_decode_encode, layout_gen_params),
	KUNIT_CASE(vmem_decode_encode_unknown),
	KUNIT_CASE_PARAM(vmem_decode_retarget, layout_gen_params),
	KUNIT_CASE_PARAM(vmem_decode_retarget_too_far, layout_gen_params),
	KUNIT_CASE_PARAM(vmem_decode_split, layout_gen_params),
	KUNIT_CASE_PARAM(vmem_decode_refused_regs, refused_gen_params),
	KUNIT_CASE(vmem_decode_encryption_bits),
	KUNIT_CASE_PARAM(vmem_decode_root, root_gen_params),
	KUNIT_CASE_PARAM(vmem_decode_features, feature_gen_params),
	KUNIT_CASE_PARAM(vmem_decode_canonical, canonical_gen_params),
	KUNIT_CASE(vmem_decode_geometry),
	KUNIT_CASE(vmem_decode_names),
	KUNIT_CASE_PARAM(vmem_decode_attributes, attribute_gen_params),
	KUNIT_CASE(vmem_decode_attribute_fields),
	{}
};

static struct kunit_suite vmem_decode_suite = {
	.name = "vmem_decode",
	.test_cases = vmem_decode_test_cases,
};

kunit_test_suite(vmem_decode_suite);
