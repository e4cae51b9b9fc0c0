// SPDX-License-Identifier: GPL-2.0-only
/*
 * Paging modes: from a guest's control registers to how its tables are read
 */
#include <linux/errno.h>
#include <linux/limits.h>
#include <vmem/arch.h>

#define GUEST_CR0_PE BIT_ULL(0)
#define GUEST_CR0_PG BIT_ULL(31)
#define GUEST_CR4_PSE BIT_ULL(4)
#define GUEST_CR4_PAE BIT_ULL(5)
#define GUEST_CR4_LA57 BIT_ULL(12)
#define GUEST_EFER_LME BIT_ULL(8)
#define GUEST_EFER_NXE BIT_ULL(11)

static void mode_2level(struct vmem_mode *mode, const struct vmem_regs *regs)
{
	mode->arch = &vmem_arch_i686;
	mode->top = VMEM_LEVEL_PD;
	mode->pse = regs->cr4 & GUEST_CR4_PSE;
	mode->nxe = false;
	mode->noncanonical = BIT_ULL(32);
	mode->noncanonical_last = U64_MAX;
}

/* Canonical addresses repeat bit 47 in bits 63:48 (SDM vol. 1, 3.3.7.1). */
static void mode_4level(struct vmem_mode *mode, const struct vmem_regs *regs)
{
	mode->arch = &vmem_arch_amd64;
	mode->top = VMEM_LEVEL_PML4;
	mode->pse = false;
	mode->nxe = regs->efer & GUEST_EFER_NXE;
	mode->noncanonical = BIT_ULL(47);
	mode->noncanonical_last = ~BIT_ULL(47);
}

/* EFER.LMA follows from CR0.PG and EFER.LME, so it is not asked. */
static int mode_init(struct vmem_mode *mode, const struct vmem_regs *regs)
{
	bool pae = regs->cr4 & GUEST_CR4_PAE;
	bool lme = regs->efer & GUEST_EFER_LME;

	if (!(regs->cr0 & GUEST_CR0_PE) || !(regs->cr0 & GUEST_CR0_PG))
		return -EINVAL;
	if (regs->maxphyaddr < VMEM_MIN_PHYADDR ||
	    regs->maxphyaddr > VMEM_MAX_PHYADDR)
		return -EINVAL;
	if (lme && !pae)
		return -EINVAL;
	if (pae && (!lme || regs->cr4 & GUEST_CR4_LA57))
		return -EOPNOTSUPP;

	if (lme)
		mode_4level(mode, regs);
	else
		mode_2level(mode, regs);
	mode->maxphyaddr = regs->maxphyaddr;
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

	if (regs->__reserved)
		return -EOPNOTSUPP;

	ret = mode_init(&root->mode, regs);
	if (ret)
		return ret;
	if (!cow_is_sound(&root->mode))
		return -EINVAL;
	root->table = root->mode.arch->root_table(&root->mode, regs->cr3);
	return 0;
}
