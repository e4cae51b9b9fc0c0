// SPDX-License-Identifier: GPL-2.0-only
/*
 * Paging modes: from a guest's control registers to how its tables are read
 */
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/limits.h>
#include <linux/minmax.h>
#include <vmem/arch.h>

#define RULES_KNOWN                                                  \
	(VMEM_RULES_AMD | VMEM_RULES_NO_1G | VMEM_RULES_SHARED_BIT | \
	 VMEM_RULES_ENCRYPTION_BIT(63))
#define RULES_BIT(rules) ((rules) >> 8)

/* Where entries of 8 bytes have address bits */
#define ENTRY_ADDR GENMASK_ULL(VMEM_MAX_PHYADDR - 1, VMEM_PAGE_SHIFT)

static void mode_2level(struct vmem_mode *mode, const struct vmem_regs *regs)
{
	mode->arch = &vmem_arch_i686;
	mode->top = VMEM_LEVEL_PD;
	mode->pse = regs->cr4 & GUEST_CR4_PSE;
	mode->nxe = false;
	mode->keys = false;
	mode->encryption = 0;
	mode->noncanonical = BIT_ULL(32);
	mode->noncanonical_last = U64_MAX;
}

static void mode_8byte(struct vmem_mode *mode, const struct vmem_regs *regs)
{
	u32 bit = RULES_BIT(regs->rules);

	mode->pse = false;
	mode->nxe = regs->efer & GUEST_EFER_NXE;
	mode->encryption = bit ? BIT_ULL(bit) : 0;
}

static void mode_pae(struct vmem_mode *mode, const struct vmem_regs *regs)
{
	mode_8byte(mode, regs);
	mode->arch = &vmem_arch_pae;
	mode->top = VMEM_LEVEL_PDPT;
	mode->keys = false;
	mode->noncanonical = BIT_ULL(32);
	mode->noncanonical_last = U64_MAX;
}

/*
 * Canonical addresses repeat bit 47 in bits 63:48, or bit 56 in bits 63:57 (SDM
 * vol. 1, 3.3.7.1).
 */
static void mode_long(struct vmem_mode *mode, const struct vmem_regs *regs)
{
	bool la57 = regs->cr4 & GUEST_CR4_LA57;

	mode_8byte(mode, regs);
	mode->arch = &vmem_arch_amd64;
	mode->top = la57 ? VMEM_LEVEL_PML5 : VMEM_LEVEL_PML4;
	mode->keys = regs->cr4 & (GUEST_CR4_PKE | GUEST_CR4_PKS);
	mode->noncanonical = la57 ? BIT_ULL(56) : BIT_ULL(47);
	mode->noncanonical_last = ~mode->noncanonical;
}

/* EFER.LMA follows from CR0.PG and EFER.LME, so it is not asked. */
static int mode_init(struct vmem_mode *mode, const struct vmem_regs *regs)
{
	bool pae = regs->cr4 & GUEST_CR4_PAE;
	bool lme = regs->efer & GUEST_EFER_LME;
	u32 bit = RULES_BIT(regs->rules);

	if (!(regs->cr0 & GUEST_CR0_PE) || !(regs->cr0 & GUEST_CR0_PG))
		return -EINVAL;
	if (regs->maxphyaddr < VMEM_MIN_PHYADDR ||
	    regs->maxphyaddr > VMEM_MAX_PHYADDR)
		return -EINVAL;
	if (lme && !pae)
		return -EINVAL;
	if (bit ? bit < VMEM_MIN_PHYADDR || bit >= VMEM_MAX_PHYADDR :
		  regs->rules & VMEM_RULES_SHARED_BIT)
		return -EINVAL;

	if (lme)
		mode_long(mode, regs);
	else if (pae)
		mode_pae(mode, regs);
	else
		mode_2level(mode, regs);
	mode->maxphyaddr = regs->maxphyaddr;
	mode->global = regs->cr4 & GUEST_CR4_PGE;
	mode->amd = regs->rules & VMEM_RULES_AMD;
	mode->no_1g = regs->rules & VMEM_RULES_NO_1G;
	mode->shared = regs->rules & VMEM_RULES_SHARED_BIT;
	mode->addr = ENTRY_ADDR & ~mode->encryption;
	mode->straight = BIT_ULL(mode->maxphyaddr);
	if (mode->encryption)
		mode->straight = min(mode->straight, mode->encryption);
	mode->cow_mask = regs->cow_mask;
	mode->cow_value = regs->cow_value;
	mode->arch->init_formats(mode);
	return 0;
}

/* The convention must not take a bit that means something to the processor. */
static bool cow_is_sound(const struct vmem_mode *mode)
{
	return !(mode->cow_mask & ~mode->arch->ignored) &&
	       !(mode->cow_value & ~mode->cow_mask) &&
	       !mode->cow_mask == !mode->cow_value;
}

int vmem_root_init(struct vmem_root *root, const struct vmem_regs *regs)
{
	int ret;

	if (regs->rules & ~RULES_KNOWN)
		return -EOPNOTSUPP;

	ret = mode_init(&root->mode, regs);
	if (ret)
		return ret;
	if (!cow_is_sound(&root->mode))
		return -EINVAL;
	root->table = root->mode.arch->root_table(&root->mode, regs->cr3);
	return 0;
}
