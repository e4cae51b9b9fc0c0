// SPDX-License-Identifier: GPL-2.0-only
/*
 * Control registers: where they come from and what follows from them
 *
 * Only bits that vmem looks at are named here. Intel SDM vol. 3, 4.1.1 says
 * how they choose a paging mode.
 */
#include <string.h>

#include "image.h"
#include "vmemctl.h"

#define CR0_PG _BITULL(31)
#define CR4_PSE _BITULL(4)
#define CR4_PAE _BITULL(5)
#define CR4_LA57 _BITULL(12)
#define EFER_LME _BITULL(8)

static const struct {
	const char *name;
	const char *text;
	enum vmem_level top;
} modes[] = {
	[PAGING_OFF] = { "off", "paging off", VMEM_LEVEL_NONE },
	[PAGING_2LEVEL] = { "2-level", "2-level", VMEM_LEVEL_PD },
	[PAGING_2LEVEL_PSE] = { "2-level", "2-level, PSE", VMEM_LEVEL_PD },
	[PAGING_PAE] = { "pae", "PAE (not supported)", VMEM_LEVEL_PDPT },
	[PAGING_4LEVEL] = { "4-level", "4-level (long mode)", VMEM_LEVEL_PML4 },
	[PAGING_5LEVEL] = { "5-level", "5-level (not supported)",
			    VMEM_LEVEL_PML5 },
};

enum paging regs_paging(const struct vmem_regs *regs)
{
	if (!(regs->cr0 & CR0_PG))
		return PAGING_OFF;
	if (!(regs->cr4 & CR4_PAE))
		return regs->cr4 & CR4_PSE ? PAGING_2LEVEL_PSE : PAGING_2LEVEL;
	if (!(regs->efer & EFER_LME))
		return PAGING_PAE;
	return regs->cr4 & CR4_LA57 ? PAGING_5LEVEL : PAGING_4LEVEL;
}

const char *paging_name(enum paging paging)
{
	return modes[paging].name;
}

const char *paging_text(enum paging paging)
{
	return modes[paging].text;
}

enum vmem_level regs_top_level(const struct vmem_regs *regs)
{
	return modes[regs_paging(regs)].top;
}

__u64 regs_root(const struct vmem_regs *regs)
{
	int bits = regs_top_level(regs) == VMEM_LEVEL_PD ? 32 :
							   regs->maxphyaddr;

	return regs->cr3 & ((1ull << bits) - 1) & ~0xfffull;
}

int regs_va_digits(const struct vmem_regs *regs)
{
	return regs_top_level(regs) == VMEM_LEVEL_PD ? 8 : 16;
}

int regs_gpa_digits(const struct vmem_regs *regs)
{
	return (regs->maxphyaddr + 3) / 4;
}

/*
 * What the kernels of these machines run with. MAXPHYADDR is the widest there
 * is, which takes no address bit for a reserved one: 52 on amd64, 40 with
 * PSE-36 as AMD has it.
 */
static const struct {
	const char *name;
	struct known_regs regs;
} arches[] = {
	{
		"amd64",
		{
			.regs = {
				.cr0 = 0x80050033, /* PG AM WP NE ET MP PE */
				.cr4 = 0x20, /* PAE */
				.efer = 0xd01, /* NXE LMA LME SCE */
				.maxphyaddr = 52,
			},
			.have = REG_ALL & ~REG_CR3,
		},
	},
	{
		"i686",
		{
			.regs = {
				.cr0 = 0x80050033, /* PG AM WP NE ET MP PE */
				.cr4 = 0x10, /* PSE */
				.efer = 0,
				.maxphyaddr = 40,
			},
			.have = REG_ALL & ~REG_CR3,
		},
	},
};

const struct known_regs *regs_of_arch(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(arches); i++) {
		if (!strcmp(arches[i].name, name))
			return &arches[i].regs;
	}
	return NULL;
}

void regs_check(const struct opts *opts)
{
	if (!(opts->root.have & REG_CR3) && !opts->qmp && !opts->image)
		usage("which address space? give --qmp SOCKET to ask QEMU for CR3, or --cr3 X");
}

/* Fill what is missing in @known with what there is in @from. */
static void take(struct known_regs *known, const struct known_regs *from)
{
	unsigned int regs = from->have & ~known->have;

	if (regs & REG_CR0)
		known->regs.cr0 = from->regs.cr0;
	if (regs & REG_CR3)
		known->regs.cr3 = from->regs.cr3;
	if (regs & REG_CR4)
		known->regs.cr4 = from->regs.cr4;
	if (regs & REG_EFER)
		known->regs.efer = from->regs.efer;
	if (regs & REG_MAXPHYADDR)
		known->regs.maxphyaddr = from->regs.maxphyaddr;
	if (!known->regs.cow_mask) {
		known->regs.cow_mask = from->regs.cow_mask;
		known->regs.cow_value = from->regs.cow_value;
	}
	known->have |= regs;
}

void regs_of_vcpu(struct target *target, unsigned int index,
		  struct vmem_vcpu_args *vcpu)
{
	*vcpu = (struct vmem_vcpu_args){
		.size = sizeof(*vcpu),
		.index = index,
	};
	if (target_ask(target, VMEM_VCPU, vcpu))
		fail(STEP_VCPU, NULL, "cannot get the registers of vCPU %u",
		     index);
}

static void take_qmp(const struct opts *opts, struct known_regs *known)
{
	struct qmp *qmp = qmp_open(opts->qmp);
	struct known_regs from;

	qmp_regs(qmp, opts->vcpu, &from);
	qmp_close(qmp);
	take(known, &from);
}

static void take_vcpu(const struct opts *opts, struct target *target,
		      struct known_regs *known)
{
	struct known_regs from = { .have = REG_ALL & ~REG_CR3 };
	struct vmem_vcpu_args vcpu;

	regs_of_vcpu(target, opts->vcpu, &vcpu);
	from.regs = vcpu.out_regs;
	take(known, &from);
}

/* A guest that does not run has a CR3 that is not out of date. */
static void regs_of_image(struct target *target, unsigned int vcpu,
			  struct known_regs *out)
{
	struct vmem_vcpu_args args;

	regs_of_vcpu(target, vcpu, &args);
	*out = (struct known_regs){ .regs = args.out_regs, .have = REG_ALL };
}

static noreturn void refuse_without_registers(const struct image *image)
{
	usage("no registers in %s: give --cr3, and --arch or --cr0 --cr4 --efer --maxphyaddr",
	      image->path);
}

static void take_image(const struct opts *opts, struct target *target,
		       struct known_regs *known)
{
	const struct image *image = target->image;
	struct known_regs from = { .have = REG_ALL };

	if (!image->nr_spaces && !image->nr_vcpus)
		refuse_without_registers(image);
	if (image->nr_spaces)
		from.regs = image->regs;
	else
		regs_of_image(target, opts->vcpu, &from);
	take(known, &from);
}

/* The order is from the most to the least explicit. */
void regs_resolve(const struct opts *opts, struct target *target,
		  struct vmem_regs *regs)
{
	const unsigned int from_qmp = REG_ALL & ~REG_MAXPHYADDR;
	struct known_regs known = opts->root;

	if (opts->qmp && (known.have & from_qmp) != from_qmp)
		take_qmp(opts, &known);
	if (opts->arch)
		take(&known, opts->arch);
	if (known.have != REG_ALL && target->image)
		take_image(opts, target, &known);
	else if (known.have != REG_ALL)
		take_vcpu(opts, target, &known);
	*regs = known.regs;
}

void roots_resolve(const struct opts *opts, struct target *target,
		   struct roots *roots)
{
	regs_resolve(opts, target, &roots->regs);
	roots->nr = opts->nr_cr3s;
	memcpy(roots->cr3s, opts->cr3s, roots->nr * sizeof(roots->cr3s[0]));
	if (!roots->nr)
		roots->cr3s[roots->nr++] = roots->regs.cr3;
}

unsigned int regs_nr_vcpus(struct target *target)
{
	struct vmem_info_args info = { .size = sizeof(info) };

	if (target_ask(target, VMEM_INFO, &info))
		fail(STEP_INFO, NULL, "cannot get the number of vCPUs");
	return info.out_nr_vcpus < VMEM_MAX_ROOTS ? info.out_nr_vcpus :
						    VMEM_MAX_ROOTS;
}

/* CR3 of a vCPU that does not page like the others is none of their roots. */
static bool pages_alike(const struct opts *opts, const struct known_regs *from,
			const struct roots *roots)
{
	struct known_regs known = opts->root;

	take(&known, from);
	if (!(known.have & REG_CR0) || !(known.have & REG_CR4) ||
	    !(known.have & REG_EFER))
		return true;
	return regs_top_level(&known.regs) == regs_top_level(&roots->regs);
}

/* KVM and QEMU number vCPUs alike: in the order of their creation. */
static void take_cr3s(const struct opts *opts, struct target *target,
		      struct roots *roots)
{
	struct qmp *qmp = opts->qmp ? qmp_open(opts->qmp) : NULL;
	unsigned int nr = regs_nr_vcpus(target);
	struct known_regs from;

	roots->nr = 0;
	for (unsigned int i = 0; i < nr; i++) {
		if (qmp)
			qmp_regs(qmp, i, &from);
		else
			regs_of_image(target, i, &from);
		if (pages_alike(opts, &from, roots))
			roots->cr3s[roots->nr++] = from.regs.cr3;
		else
			warn("warning: vCPU %u is left out: it does not page like vCPU %u",
			     i, opts->vcpu);
	}
	if (qmp)
		qmp_close(qmp);
	if (!roots->nr)
		roots->cr3s[roots->nr++] = roots->regs.cr3;
}

static void take_spaces(const struct image *image, struct roots *roots)
{
	roots->nr = image->nr_spaces;
	for (unsigned int i = 0; i < roots->nr; i++)
		roots->cr3s[i] = image->spaces[i].root;
}

void roots_resolve_all(const struct opts *opts, struct target *target,
		       struct roots *roots)
{
	roots_resolve(opts, target, roots);
	if (opts->nr_cr3s)
		return;
	if (target->image && target->image->nr_spaces)
		take_spaces(target->image, roots);
	else
		take_cr3s(opts, target, roots);
}

struct vmem_regs roots_regs(const struct roots *roots, unsigned int index)
{
	struct vmem_regs regs = roots->regs;

	regs.cr3 = roots->cr3s[index];
	return regs;
}

__u64 roots_space(const struct roots *roots, unsigned int index)
{
	struct vmem_regs regs = roots_regs(roots, index);

	return regs_root(&regs);
}
