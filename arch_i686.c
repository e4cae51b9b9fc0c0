// SPDX-License-Identifier: GPL-2.0-only
/*
 * 32-bit formats: that of 2 levels, Intel SDM vol. 3, 4.3 "32-Bit Paging" (tables 4-3
 * to 4-6), and PAE, 4.4 "PAE Paging" (tables 4-7 to 4-11); AMD APM vol. 2, 5.2
 * "Legacy-Mode Page Translation".
 */
#include <linux/bits.h>
#include <linux/limits.h>
#include <linux/minmax.h>
#include <vmem/arch.h>

#define I686_PS BIT(7)
#define I686_ADDR GENMASK(31, 12)

/* A PDE that maps a 4 MiB page keeps address bits 39:32 below bits 31:22. */
#define I686_4M_ADDR GENMASK(31, 22)
#define I686_4M_ADDR_HIGH GENMASK(20, 13)
#define I686_4M_RESERVED BIT(21)
#define I686_4M_MAX_WIDTH 40

/* PAT is where a 4 MiB page has PS, and has bit 12 there. */
#define I686_PAT BIT(7)
#define I686_4M_PAT BIT(12)

/* Left to software. */
#define I686_IGNORED GENMASK(11, 9)

/* Those, and G, D, A, PCD and PWT. */
#define I686_UNTOLD (I686_IGNORED | BIT(8) | GENMASK(6, 3))

static u64 i686_root_table(const struct vmem_mode *mode, u64 cr3)
{
	return cr3 & I686_ADDR;
}

/* Without CR4.PSE the processor ignores bit 7 of a PDE. */
static bool i686_is_4m(const struct vmem_mode *mode, int level, u64 raw)
{
	return level == VMEM_LEVEL_PD && mode->pse && raw & I686_PS;
}

#define I686_PT_FORMAT                                            \
	{                                                         \
		.leaf = VMEM_RAW_PRESENT, .leaf_addr = I686_ADDR, \
	}

static const struct vmem_format i686_formats[] = {
	[VMEM_LEVEL_PT] = I686_PT_FORMAT,
	[VMEM_LEVEL_PD] = {},
};

static const struct vmem_format i686_pse_formats[] = {
	[VMEM_LEVEL_PT] = I686_PT_FORMAT,
	[VMEM_LEVEL_PD] = {
		.leaf = I686_PS,
		.leaf_addr = I686_4M_ADDR,
		.leaf_high = I686_4M_ADDR_HIGH,
		.leaf_reserved = I686_4M_RESERVED,
		.leaf_beyond = I686_4M_ADDR_HIGH,
	},
};

static void i686_init_formats(struct vmem_mode *mode)
{
	int width = min(mode->maxphyaddr, I686_4M_MAX_WIDTH);

	mode->formats = mode->pse ? i686_pse_formats : i686_formats;
	mode->beyond = ~(BIT_ULL(width) - 1) >> VMEM_HIGH_SHIFT;
}

static u64 i686_4m_addr(u64 addr)
{
	return addr >> I686_4M_MAX_WIDTH ?
		       I686_4M_RESERVED :
		       (addr & I686_4M_ADDR) |
			       (addr >> VMEM_HIGH_SHIFT & I686_4M_ADDR_HIGH);
}

/* What does not fit is cut off, and decodes to another address. */
static u64 i686_encode(const struct vmem_mode *mode, int level,
		       enum vmem_entry_kind kind, u64 addr, u32 perms)
{
	u64 raw = VMEM_RAW_PRESENT |
		  (perms & VMEM_WRITABLE ? VMEM_RAW_WRITABLE : 0) |
		  (perms & VMEM_USER ? VMEM_RAW_USER : 0);

	if (kind == VMEM_ENTRY_LEAF && level == VMEM_LEVEL_PD)
		return raw | I686_PS | i686_4m_addr(addr);
	return raw | (addr & I686_ADDR);
}

static u64 i686_retarget(const struct vmem_mode *mode, int level, u64 raw,
			 u64 addr)
{
	if (!i686_is_4m(mode, level, raw))
		return (raw & ~(u64)I686_ADDR) | (addr & I686_ADDR);
	return (raw & ~(u64)(I686_4M_ADDR | I686_4M_ADDR_HIGH)) |
	       i686_4m_addr(addr);
}

static u64 i686_split(const struct vmem_mode *mode, int level, u64 raw)
{
	u64 pat = raw & I686_4M_PAT;

	raw &= ~(u64)(I686_ADDR | I686_PS);
	return pat ? raw | I686_PAT : raw;
}

const struct vmem_arch vmem_arch_i686 = {
	.name = "i686 2-level",
	.entry_size = 4,
	.index_bits = 10,
	.root_table = i686_root_table,
	.ignored = I686_IGNORED,
	.untold = I686_UNTOLD,
	.init_formats = i686_init_formats,
	.table_addr = I686_ADDR,
	/* No execute-disable: whatever is mapped can be executed. */
	.no_execute = 0,
	.encode = i686_encode,
	.retarget = i686_retarget,
	.split = i686_split,
	.shared = { [VMEM_LEVEL_PT] = VMEM_TABLE_I686_PT },
};

/* PAE: entries as in long mode, but for the four of the root. */

#define PAE_PS BIT_ULL(7)
#define PAE_NX BIT_ULL(63)
#define PAE_ADDR GENMASK_ULL(51, 12)
#define PAE_2M_PAT BIT_ULL(12)
#define PAE_INSIDE_2M GENMASK_ULL(20, 12)

/*
 * A PDPTE has no rights to give or to take, and what would be theirs is reserved. So is
 * Accessed by the manuals (SDM vol. 3, 4.4.1; APM vol. 2, 5.2.3). But QEMU's emulation
 * sets it, and goes on, so it is let pass: where a processor refuses to load a PDPTE for
 * it, the guest does not run on.
 */
#define PAE_PDPTE_RESERVED (GENMASK_ULL(2, 1) | GENMASK_ULL(8, 6) | PAE_NX)

#define PAE_IGNORED GENMASK_ULL(11, 9)
#define PAE_UNTOLD (PAE_IGNORED | BIT_ULL(8) | GENMASK_ULL(6, 3))

/* Four entries of 8 bytes, at any 32 bytes */
static u64 pae_root_table(const struct vmem_mode *mode, u64 cr3)
{
	return cr3 & GENMASK_ULL(31, 5);
}

static const struct vmem_format pae_formats[] = {
	[VMEM_LEVEL_PT] = {
		.leaf = VMEM_RAW_PRESENT,
		.leaf_addr = PAE_ADDR,
		.leaf_beyond = U64_MAX,
	},
	[VMEM_LEVEL_PD] = {
		.leaf = PAE_PS,
		.leaf_addr = PAE_ADDR & ~PAE_INSIDE_2M,
		.leaf_reserved = PAE_INSIDE_2M & ~PAE_2M_PAT,
		.leaf_beyond = U64_MAX,
		.table_beyond = U64_MAX,
	},
	[VMEM_LEVEL_PDPT] = {
		.table_reserved = PAE_PDPTE_RESERVED,
		.table_beyond = U64_MAX,
		.table_grants = VMEM_RAW_WRITABLE | VMEM_RAW_USER,
	},
};

/* Other than in long mode, nothing above the address is left to software. */
static void pae_init_formats(struct vmem_mode *mode)
{
	u64 width = BIT_ULL(mode->maxphyaddr) - 1;

	mode->formats = pae_formats;
	mode->beyond = ~(width | PAE_NX | mode->encryption);
	if (!mode->nxe)
		mode->beyond |= PAE_NX;
}

static u64 pae_encode(const struct vmem_mode *mode, int level,
		      enum vmem_entry_kind kind, u64 addr, u32 perms)
{
	if (level == VMEM_LEVEL_PDPT)
		return addr | VMEM_RAW_PRESENT;
	return vmem_amd64_encode(mode, level, kind, addr, perms);
}

/* Whatever set Accessed in a PDPTE: one that is written has no reserved bit. */
static u64 pae_retarget(const struct vmem_mode *mode, int level, u64 raw,
			u64 addr)
{
	if (level == VMEM_LEVEL_PDPT)
		raw &= ~VMEM_RAW_ACCESSED;
	return vmem_amd64_retarget(mode, level, raw, addr);
}

const struct vmem_arch vmem_arch_pae = {
	.name = "i686 PAE",
	.entry_size = 8,
	.index_bits = 9,
	.root_table = pae_root_table,
	.ignored = PAE_IGNORED,
	.untold = PAE_UNTOLD,
	.init_formats = pae_init_formats,
	.table_addr = PAE_ADDR,
	.no_execute = PAE_NX,
	.encode = pae_encode,
	.retarget = pae_retarget,
	.split = vmem_amd64_split,
	.shared = {
		[VMEM_LEVEL_PT] = VMEM_TABLE_PAE_PT,
		[VMEM_LEVEL_PD] = VMEM_TABLE_PAE_PD,
	},
};
