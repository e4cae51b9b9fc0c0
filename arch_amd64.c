// SPDX-License-Identifier: GPL-2.0-only
/*
 * 64-bit formats, of 4 and 5 levels: Intel SDM vol. 3, 4.5 "4-Level Paging and
 * 5-Level Paging" (tables 4-12 to 4-20); AMD APM vol. 2, 5.3 "Long-Mode Page
 * Translation". The two differ in bit 8 of an entry that names a table: Intel ignores
 * it, AMD reserves it in PML4Es and PML5Es. (Its manual reserves it in PDPTEs as
 * well; its processors do not, and KVM follows them.)
 */
#include <linux/bits.h>
#include <linux/limits.h>
#include <vmem/arch.h>

#define AMD64_PS BIT_ULL(7)
#define AMD64_MBZ BIT_ULL(8)
#define AMD64_NX BIT_ULL(63)
#define AMD64_ADDR GENMASK_ULL(51, 12)

/* PAT is where a large page has PS, and has its own bit below the address. */
#define AMD64_PAT BIT_ULL(7)
#define AMD64_LARGE_PAT BIT_ULL(12)

/* Left to software, whether protection keys (62:59) are in use or not. */
#define AMD64_IGNORED (GENMASK_ULL(11, 9) | GENMASK_ULL(58, 52))

/* Those, and G, D, A, PCD and PWT. */
#define AMD64_UNTOLD (AMD64_IGNORED | BIT_ULL(8) | GENMASK_ULL(6, 3))

static u64 amd64_root_table(const struct vmem_mode *mode, u64 cr3)
{
	return cr3 & GENMASK_ULL(mode->maxphyaddr - 1, 12) & mode->addr;
}

/* Bits of an address that lie inside a large page. */
#define AMD64_INSIDE_2M GENMASK_ULL(20, 12)
#define AMD64_INSIDE_1G GENMASK_ULL(29, 12)

/* What is reserved by a mode or a model: in all entries, and in some. */
#define AMD64_BEYOND ~(AMD64_PS | AMD64_MBZ)

static const struct vmem_format amd64_formats[] = {
	[VMEM_LEVEL_PT] = {
		.leaf = VMEM_RAW_PRESENT,
		.leaf_addr = AMD64_ADDR,
		.leaf_beyond = AMD64_BEYOND,
	},
	[VMEM_LEVEL_PD] = {
		.leaf = AMD64_PS,
		.leaf_addr = AMD64_ADDR & ~AMD64_INSIDE_2M,
		.leaf_reserved = AMD64_INSIDE_2M & ~AMD64_LARGE_PAT,
		.leaf_beyond = AMD64_BEYOND,
		.table_beyond = AMD64_BEYOND,
	},
	[VMEM_LEVEL_PDPT] = {
		.leaf = AMD64_PS,
		.leaf_addr = AMD64_ADDR & ~AMD64_INSIDE_1G,
		.leaf_reserved = AMD64_INSIDE_1G & ~AMD64_LARGE_PAT,
		.leaf_beyond = AMD64_BEYOND | AMD64_PS,
		.table_beyond = AMD64_BEYOND,
	},
	[VMEM_LEVEL_PML4] = {
		.table_reserved = AMD64_PS,
		.table_beyond = AMD64_BEYOND | AMD64_MBZ,
	},
	[VMEM_LEVEL_PML5] = {
		.table_reserved = AMD64_PS,
		.table_beyond = AMD64_BEYOND | AMD64_MBZ,
	},
};

static void amd64_init_formats(struct vmem_mode *mode)
{
	mode->formats = amd64_formats;
	mode->beyond = mode->addr & ~(BIT_ULL(mode->maxphyaddr) - 1);
	if (!mode->nxe)
		mode->beyond |= AMD64_NX;
	if (mode->amd)
		mode->beyond |= AMD64_MBZ;
	if (mode->no_1g)
		mode->beyond |= AMD64_PS;
}

u64 vmem_amd64_encode(const struct vmem_mode *mode, int level,
		      enum vmem_entry_kind kind, u64 addr, u32 perms)
{
	return addr | VMEM_RAW_PRESENT |
	       (perms & VMEM_WRITABLE ? VMEM_RAW_WRITABLE : 0) |
	       (perms & VMEM_USER ? VMEM_RAW_USER : 0) |
	       (perms & VMEM_EXECUTABLE ? 0 : AMD64_NX) |
	       (kind == VMEM_ENTRY_LEAF && level != VMEM_LEVEL_PT ? AMD64_PS :
								    0);
}

u64 vmem_amd64_retarget(const struct vmem_mode *mode, int level, u64 raw,
			u64 addr)
{
	u64 mask = mode->addr;

	if (level != VMEM_LEVEL_PT && raw & AMD64_PS)
		mask &= ~AMD64_LARGE_PAT;
	return (raw & ~mask) | addr;
}

u64 vmem_amd64_split(const struct vmem_mode *mode, int level, u64 raw)
{
	u64 pat = raw & AMD64_LARGE_PAT;

	if (level != VMEM_LEVEL_PD)
		return vmem_amd64_retarget(mode, level, raw, 0);
	raw &= ~(mode->addr | AMD64_PS);
	return pat ? raw | AMD64_PAT : raw;
}

const struct vmem_arch vmem_arch_amd64 = {
	.name = "amd64",
	.entry_size = 8,
	.index_bits = 9,
	.root_table = amd64_root_table,
	.ignored = AMD64_IGNORED,
	.untold = AMD64_UNTOLD,
	.init_formats = amd64_init_formats,
	.table_addr = AMD64_ADDR,
	.no_execute = AMD64_NX,
	.encode = vmem_amd64_encode,
	.retarget = vmem_amd64_retarget,
	.split = vmem_amd64_split,
	.shared = {
		[VMEM_LEVEL_PT] = VMEM_TABLE_AMD64_PT,
		[VMEM_LEVEL_PD] = VMEM_TABLE_AMD64_PD,
		[VMEM_LEVEL_PDPT] = VMEM_TABLE_AMD64_PDPT,
		[VMEM_LEVEL_PML4] = VMEM_TABLE_AMD64_PML4,
	},
};
