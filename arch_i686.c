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

	/* Without CR4.PSE the processor ignores bit 7 of a PDE. */
	if (level == VMEM_LEVEL_PD && regime->pse && raw & I686_PS)
		return i686_decode_4m(regime, raw);

	return (struct vmem_entry){
		.kind = level == VMEM_LEVEL_PT ? VMEM_ENTRY_LEAF :
						 VMEM_ENTRY_TABLE,
		.perms = i686_perms(raw),
		.addr = raw & I686_ADDR,
	};
}

const struct vmem_arch vmem_arch_i686 = {
	.name = "i686 2-level",
	.entry_size = 4,
	.index_bits = 10,
	.root_table = i686_root_table,
	.decode = i686_decode,
	.shared = { [VMEM_LEVEL_PT] = VMEM_TABLE_I686_PT },
};
