// SPDX-License-Identifier: GPL-2.0-only
/*
 * 32-bit formats. Here: the 2-level one, Intel SDM vol. 3, 4.3 "32-Bit Paging"
 * (tables 4-3 to 4-6); AMD APM vol. 2, 5.2 "Legacy-Mode Page Translation".
 */
#include <linux/bits.h>
#include <linux/minmax.h>
#include <vmem/arch.h>

#define I686_PRESENT BIT(0)
#define I686_WRITABLE BIT(1)
#define I686_USER BIT(2)
#define I686_PS BIT(7)
#define I686_ADDR GENMASK(31, 12)

/* A PDE that maps a 4 MiB page keeps address bits 39:32 below bits 31:22. */
#define I686_4M_ADDR GENMASK(31, 22)
#define I686_4M_ADDR_HIGH GENMASK(20, 13)
#define I686_4M_HIGH_SHIFT (32 - 13)
#define I686_4M_RESERVED BIT(21)
#define I686_4M_MAX_WIDTH 40

/* PAT is where a 4 MiB page has PS, and has bit 12 there. */
#define I686_PAT BIT(7)
#define I686_4M_PAT BIT(12)

/* Left to software. */
#define I686_IGNORED GENMASK(11, 9)

static u64 i686_root_table(const struct vmem_regime *regime, u64 cr3)
{
	return cr3 & I686_ADDR;
}

/* This format has no execute-disable: whatever is mapped can be executed. */
static u32 i686_perms(u64 raw)
{
	return VMEM_EXECUTABLE | (raw & I686_WRITABLE ? VMEM_WRITABLE : 0) |
	       (raw & I686_USER ? VMEM_USER : 0);
}

/* Without CR4.PSE the processor ignores bit 7 of a PDE. */
static bool i686_is_4m(const struct vmem_regime *regime, int level, u64 raw)
{
	return level == VMEM_LEVEL_PD && regime->pse && raw & I686_PS;
}

static struct vmem_entry i686_decode_4m(const struct vmem_regime *regime,
					u64 raw)
{
	int width = min(regime->maxphyaddr, I686_4M_MAX_WIDTH);
	u64 addr = (raw & I686_4M_ADDR) | (raw & I686_4M_ADDR_HIGH)
						  << I686_4M_HIGH_SHIFT;

	if (raw & I686_4M_RESERVED || addr >> width)
		return (struct vmem_entry){ .kind = VMEM_ENTRY_RESERVED };

	return (struct vmem_entry){
		.kind = VMEM_ENTRY_LEAF,
		.perms = i686_perms(raw),
		.addr = addr,
	};
}

static struct vmem_entry i686_decode(const struct vmem_regime *regime,
				     int level, u64 raw)
{
	if (!(raw & I686_PRESENT))
		return (struct vmem_entry){ .kind = VMEM_ENTRY_EMPTY };

	if (i686_is_4m(regime, level, raw))
		return i686_decode_4m(regime, raw);

	return (struct vmem_entry){
		.kind = level == VMEM_LEVEL_PT ? VMEM_ENTRY_LEAF :
						 VMEM_ENTRY_TABLE,
		.perms = i686_perms(raw),
		.addr = raw & I686_ADDR,
	};
}

static u64 i686_4m_addr(u64 addr)
{
	return addr >> I686_4M_MAX_WIDTH ?
		       I686_4M_RESERVED :
		       (addr & I686_4M_ADDR) |
			       (addr >> I686_4M_HIGH_SHIFT & I686_4M_ADDR_HIGH);
}

/* What does not fit is cut off, and decodes to another address. */
static u64 i686_encode(const struct vmem_regime *regime, int level,
		       enum vmem_entry_kind kind, u64 addr, u32 perms)
{
	u64 raw = I686_PRESENT | (perms & VMEM_WRITABLE ? I686_WRITABLE : 0) |
		  (perms & VMEM_USER ? I686_USER : 0);

	if (kind == VMEM_ENTRY_LEAF && level == VMEM_LEVEL_PD)
		return raw | I686_PS | i686_4m_addr(addr);
	return raw | (addr & I686_ADDR);
}

static u64 i686_retarget(const struct vmem_regime *regime, int level, u64 raw,
			 u64 addr)
{
	if (!i686_is_4m(regime, level, raw))
		return (raw & ~(u64)I686_ADDR) | (addr & I686_ADDR);
	return (raw & ~(u64)(I686_4M_ADDR | I686_4M_ADDR_HIGH)) |
	       i686_4m_addr(addr);
}

static u64 i686_split(const struct vmem_regime *regime, int level, u64 raw)
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
	.writable = I686_WRITABLE,
	.ignored = I686_IGNORED,
	.decode = i686_decode,
	.encode = i686_encode,
	.retarget = i686_retarget,
	.split = i686_split,
	.shared = { [VMEM_LEVEL_PT] = VMEM_TABLE_I686_PT },
};
