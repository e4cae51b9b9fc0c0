// SPDX-License-Identifier: GPL-2.0-only
/*
 * 64-bit formats. Here: the 4-level one, Intel SDM vol. 3, 4.5 "4-Level Paging
 * and 5-Level Paging" (tables 4-12 to 4-20); AMD APM vol. 2, 5.3 "Long-Mode
 * Page Translation". Where the two differ (bit 8 of an entry that names a
 * table is ignored by Intel and reserved by AMD in the two upper levels), this
 * follows Intel: a guest that ran could not have had the bit set on AMD.
 */
#include <linux/bits.h>
#include <vmem/arch.h>

#define AMD64_PRESENT BIT_ULL(0)
#define AMD64_WRITABLE BIT_ULL(1)
#define AMD64_USER BIT_ULL(2)
#define AMD64_PS BIT_ULL(7)
#define AMD64_NX BIT_ULL(63)
#define AMD64_ADDR GENMASK_ULL(51, 12)

/* The lowest address bit of a large page is its PAT bit. */
#define AMD64_LARGE_PAT BIT_ULL(12)

static u64 amd64_root_table(const struct vmem_regime *regime, u64 cr3)
{
	return cr3 & GENMASK_ULL(regime->maxphyaddr - 1, 12);
}

static u32 amd64_perms(u64 raw)
{
	return (raw & AMD64_WRITABLE ? VMEM_WRITABLE : 0) |
	       (raw & AMD64_USER ? VMEM_USER : 0) |
	       (raw & AMD64_NX ? 0 : VMEM_EXECUTABLE);
}

static bool amd64_is_leaf(int level, u64 raw)
{
	return level == VMEM_LEVEL_PT ||
	       (level <= VMEM_LEVEL_PDPT && raw & AMD64_PS);
}

/* The bits that a present entry must have clear. */
static u64 amd64_reserved(const struct vmem_regime *regime, int level, u64 raw)
{
	u64 reserved = AMD64_ADDR & ~(BIT_ULL(regime->maxphyaddr) - 1);

	if (!regime->nxe)
		reserved |= AMD64_NX;
	if (level >= VMEM_LEVEL_PML4)
		reserved |= AMD64_PS;
	if (level != VMEM_LEVEL_PT && amd64_is_leaf(level, raw))
		reserved |= AMD64_ADDR & ~AMD64_LARGE_PAT &
			    (vmem_level_size(regime->arch, level) - 1);

	return reserved;
}

static struct vmem_entry amd64_decode(const struct vmem_regime *regime,
				      int level, u64 raw)
{
	bool leaf = amd64_is_leaf(level, raw);
	u64 addr = raw & AMD64_ADDR;

	if (!(raw & AMD64_PRESENT))
		return (struct vmem_entry){ .kind = VMEM_ENTRY_EMPTY };
	if (raw & amd64_reserved(regime, level, raw))
		return (struct vmem_entry){ .kind = VMEM_ENTRY_RESERVED };
	if (leaf && level != VMEM_LEVEL_PT)
		addr &= ~AMD64_LARGE_PAT;

	return (struct vmem_entry){
		.kind = leaf ? VMEM_ENTRY_LEAF : VMEM_ENTRY_TABLE,
		.perms = amd64_perms(raw),
		.addr = addr,
	};
}

const struct vmem_arch vmem_arch_amd64 = {
	.name = "amd64 4-level",
	.entry_size = 8,
	.index_bits = 9,
	.root_table = amd64_root_table,
	.decode = amd64_decode,
	.shared = {
		[VMEM_LEVEL_PT] = VMEM_TABLE_AMD64_PT,
		[VMEM_LEVEL_PD] = VMEM_TABLE_AMD64_PD,
		[VMEM_LEVEL_PDPT] = VMEM_TABLE_AMD64_PDPT,
	},
};
