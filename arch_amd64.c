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

/* PAT is where a large page has PS, and has its own bit below the address. */
#define AMD64_PAT BIT_ULL(7)
#define AMD64_LARGE_PAT BIT_ULL(12)

/* Left to software, whether protection keys (62:59) are in use or not. */
#define AMD64_IGNORED (GENMASK_ULL(11, 9) | GENMASK_ULL(58, 52))

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

static u64 amd64_encode(const struct vmem_regime *regime, int level,
			enum vmem_entry_kind kind, u64 addr, u32 perms)
{
	return addr | AMD64_PRESENT |
	       (perms & VMEM_WRITABLE ? AMD64_WRITABLE : 0) |
	       (perms & VMEM_USER ? AMD64_USER : 0) |
	       (perms & VMEM_EXECUTABLE ? 0 : AMD64_NX) |
	       (kind == VMEM_ENTRY_LEAF && level != VMEM_LEVEL_PT ? AMD64_PS :
								    0);
}

static u64 amd64_retarget(const struct vmem_regime *regime, int level, u64 raw,
			  u64 addr)
{
	u64 mask = AMD64_ADDR;

	if (level != VMEM_LEVEL_PT && amd64_is_leaf(level, raw))
		mask &= ~AMD64_LARGE_PAT;
	return (raw & ~mask) | addr;
}

static u64 amd64_split(const struct vmem_regime *regime, int level, u64 raw)
{
	u64 pat = raw & AMD64_LARGE_PAT;

	if (level != VMEM_LEVEL_PD)
		return amd64_retarget(regime, level, raw, 0);
	raw &= ~(AMD64_ADDR | AMD64_PS);
	return pat ? raw | AMD64_PAT : raw;
}

const struct vmem_arch vmem_arch_amd64 = {
	.name = "amd64 4-level",
	.entry_size = 8,
	.index_bits = 9,
	.root_table = amd64_root_table,
	.writable = AMD64_WRITABLE,
	.ignored = AMD64_IGNORED,
	.decode = amd64_decode,
	.encode = amd64_encode,
	.retarget = amd64_retarget,
	.split = amd64_split,
	.shared = {
		[VMEM_LEVEL_PT] = VMEM_TABLE_AMD64_PT,
		[VMEM_LEVEL_PD] = VMEM_TABLE_AMD64_PD,
		[VMEM_LEVEL_PDPT] = VMEM_TABLE_AMD64_PDPT,
	},
};
