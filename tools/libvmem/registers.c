// SPDX-License-Identifier: GPL-2.0-only
/*
 * Control registers: where they come from and what follows from them
 *
 * Only bits that vmem looks at are named here. Intel SDM vol. 3, 4.1.1 says
 * how they choose a paging mode.
 */
#include <linux/const.h>
#include <string.h>
#include <unistd.h>

#include "image.h"
#include "vm.h"

#define CR0_PG _BITULL(31)
#define CR4_PSE _BITULL(4)
#define CR4_PAE _BITULL(5)
#define CR4_LA57 _BITULL(12)
#define EFER_LME _BITULL(8)
#define EFER_NXE _BITULL(11)

static const struct {
	char name[8];
	char text[24];
	enum vmem_level top;
} modes[] = {
	[LIBVMEM_MODE_OFF] = { "off", "paging off", VMEM_LEVEL_NONE },
	[LIBVMEM_MODE_2LEVEL] = { "2-level", "2-level", VMEM_LEVEL_PD },
	[LIBVMEM_MODE_2LEVEL_PSE] = { "2-level", "2-level, PSE",
				      VMEM_LEVEL_PD },
	[LIBVMEM_MODE_PAE] = { "pae", "PAE", VMEM_LEVEL_PDPT },
	[LIBVMEM_MODE_4LEVEL] = { "4-level", "4-level (long mode)",
				  VMEM_LEVEL_PML4 },
	[LIBVMEM_MODE_5LEVEL] = { "5-level", "5-level (long mode)",
				  VMEM_LEVEL_PML5 },
};

enum libvmem_mode libvmem_mode(const struct vmem_regs *regs)
{
	if (!(regs->cr0 & CR0_PG))
		return LIBVMEM_MODE_OFF;
	if (!(regs->cr4 & CR4_PAE))
		return regs->cr4 & CR4_PSE ? LIBVMEM_MODE_2LEVEL_PSE :
					     LIBVMEM_MODE_2LEVEL;
	if (!(regs->efer & EFER_LME))
		return LIBVMEM_MODE_PAE;
	return regs->cr4 & CR4_LA57 ? LIBVMEM_MODE_5LEVEL : LIBVMEM_MODE_4LEVEL;
}

const char *libvmem_mode_name(enum libvmem_mode mode)
{
	return modes[mode].name;
}

const char *libvmem_mode_text(enum libvmem_mode mode)
{
	return modes[mode].text;
}

enum vmem_level libvmem_top_level(const struct vmem_regs *regs)
{
	return modes[libvmem_mode(regs)].top;
}

__u64 libvmem_root(const struct vmem_regs *regs)
{
	unsigned int bits = regs->maxphyaddr, encryption = regs->rules >> 8;
	__u64 root = regs->cr3;

	switch (libvmem_top_level(regs)) {
	case VMEM_LEVEL_PD:
		return root & 0xfffff000;
	case VMEM_LEVEL_PDPT:
		return root & 0xffffffe0;
	default:
		if (bits < 32 || bits > 52)
			bits = 52;
		if (encryption && encryption < 64)
			root &= ~(1ull << encryption);
		return root & ((1ull << bits) - 1) & ~0xfffull;
	}
}

/*
 * What the kernels of these machines run with. MAXPHYADDR is the widest there
 * is, which takes no address bit for a reserved one: 52, but 40 with PSE-36 as
 * AMD has it.
 */
static const struct {
	char name[12];
	struct libvmem_regs regs;
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
			.have = LIBVMEM_ALL_REGS & ~LIBVMEM_CR3,
		},
	},
	{
		"amd64-la57",
		{
			.regs = {
				.cr0 = 0x80050033, /* PG AM WP NE ET MP PE */
				.cr4 = 0x1020, /* LA57 PAE */
				.efer = 0xd01, /* NXE LMA LME SCE */
				.maxphyaddr = 52,
			},
			.have = LIBVMEM_ALL_REGS & ~LIBVMEM_CR3,
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
			.have = LIBVMEM_ALL_REGS & ~LIBVMEM_CR3,
		},
	},
	{
		"i686-pae",
		{
			.regs = {
				.cr0 = 0x80050033, /* PG AM WP NE ET MP PE */
				.cr4 = 0x30, /* PAE PSE */
				.efer = 0x800, /* NXE */
				.maxphyaddr = 52,
			},
			.have = LIBVMEM_ALL_REGS & ~LIBVMEM_CR3,
		},
	},
};

const struct libvmem_regs *libvmem_arch_regs(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(arches); i++) {
		if (!strcmp(arches[i].name, name))
			return &arches[i].regs;
	}
	return NULL;
}

/* The bits of @rules that each part is in. */
static __u32 rules_of(unsigned int parts)
{
	return (parts & LIBVMEM_VENDOR ? VMEM_RULES_AMD : 0) |
	       (parts & LIBVMEM_NO_1G ? VMEM_RULES_NO_1G : 0) |
	       (parts & LIBVMEM_ENCRYPTION ?
			VMEM_RULES_SHARED_BIT | VMEM_RULES_ENCRYPTION_BIT(63) :
			0);
}

/* Fill what is missing in @known with what there is in @from. */
static void take(struct libvmem_regs *known, const struct libvmem_regs *from)
{
	unsigned int regs = from->have & ~known->have;

	known->regs.rules |= from->regs.rules & rules_of(regs);
	if (regs & LIBVMEM_CR0)
		known->regs.cr0 = from->regs.cr0;
	if (regs & LIBVMEM_CR3)
		known->regs.cr3 = from->regs.cr3;
	if (regs & LIBVMEM_CR4)
		known->regs.cr4 = from->regs.cr4;
	if (regs & LIBVMEM_EFER)
		known->regs.efer = from->regs.efer;
	if (regs & LIBVMEM_MAXPHYADDR)
		known->regs.maxphyaddr = from->regs.maxphyaddr;
	if (!known->regs.cow_mask) {
		known->regs.cow_mask = from->regs.cow_mask;
		known->regs.cow_value = from->regs.cow_value;
	}
	known->have |= regs;
}

/* What KVM tells of the vendor and of 1 GiB pages, it tells of long mode alone. */
static unsigned int rules_told(const struct vmem_regs *regs)
{
	return libvmem_top_level(regs) >= VMEM_LEVEL_PML4 ? LIBVMEM_ALL_RULES :
							    LIBVMEM_ENCRYPTION;
}

bool libvmem_has_own_root(const struct vmem_vcpu_args *vcpu)
{
	return !(vcpu->out_state &
		 (VMEM_VCPU_SMM | VMEM_VCPU_NESTED | VMEM_VCPU_NO_CR3));
}

/* How long to wait for a vCPU that runs, how often to look again, and how soon */
#define PATIENCE_US 1000000
#define NR_LOOKS 100
#define BETWEEN_LOOKS_US 10000

/* It has registers that are not those of the guest's own code. */
static bool is_elsewhere(const struct vmem_vcpu_args *vcpu)
{
	return vcpu->out_state & (VMEM_VCPU_SMM | VMEM_VCPU_NESTED);
}

/* A vCPU with registers that are of use, if it has them in time */
static int look_at_vcpu(struct libvmem *vm, unsigned int index,
			unsigned int timeout_us, struct vmem_vcpu_args *vcpu,
			struct libvmem_error *error)
{
	int ret = 0;

	for (int i = 0; i < NR_LOOKS; i++) {
		if (i)
			usleep(BETWEEN_LOOKS_US);
		ret = libvmem_vcpu(vm, index, timeout_us, vcpu, error);
		if (ret || !is_elsewhere(vcpu))
			break;
	}
	return ret;
}

/*
 * Of an image, EFER is a guess by the class of the core, which is that of a guest in long
 * mode only if the first vCPU was.
 */
static struct libvmem_regs regs_of_vcpu(struct libvmem *vm,
					const struct vmem_vcpu_args *vcpu)
{
	struct libvmem_regs regs = {
		.regs = vcpu->out_regs,
		.have = LIBVMEM_ALL_REGS |
			(vm->image ? 0 : rules_told(&vcpu->out_regs)),
	};

	if (!libvmem_has_own_root(vcpu))
		regs.have &= ~LIBVMEM_CR3;
	if (vm->image && !vm->image->is_virtualbox &&
	    !(vm->image->vcpus[0].cr0 & CR0_PG) &&
	    libvmem_mode(&regs.regs) == LIBVMEM_MODE_PAE)
		regs.have &= ~LIBVMEM_EFER;
	return regs;
}

static int tells_nothing(unsigned int index, const struct vmem_vcpu_args *vcpu,
			 struct libvmem_error *error)
{
	const char *why =
		vcpu->out_state & VMEM_VCPU_SMM ?
			"it is in system management mode" :
		vcpu->out_state & VMEM_VCPU_NESTED ?
			"it runs a guest of the guest, whose they are" :
		vcpu->out_known == VMEM_KNOWN_UNKNOWN ?
			"it did not enter the guest within a second" :
			"it waits, and the processor keeps CR3 meanwhile";

	return error_set(
		error, LIBVMEM_NO_REGISTERS, STEP_REGISTERS, 0,
		"ask again, or another one with --vcpu, or give --cr3 and --arch",
		"vCPU %u does not tell its registers: %s", index, why);
}

static int take_qmp(const struct libvmem_source *source,
		    struct libvmem_regs *known, struct libvmem_error *error)
{
	struct libvmem_regs from;
	int ret = libvmem_qmp_regs(source->qmp, source->vcpu, &from, error);

	if (!ret)
		take(known, &from);
	return ret;
}

/* CR3 is waited for only if nothing else says it. */
static int take_vcpu(struct libvmem *vm, unsigned int index,
		     struct libvmem_regs *known, struct libvmem_error *error)
{
	bool wait = !(known->have & LIBVMEM_CR3);
	struct vmem_vcpu_args vcpu;
	struct libvmem_regs from;
	int ret = look_at_vcpu(vm, index, wait ? PATIENCE_US : 0, &vcpu, error);

	if (ret)
		return ret;
	if (is_elsewhere(&vcpu) || (wait && !libvmem_has_own_root(&vcpu)))
		return tells_nothing(index, &vcpu, error);
	from = regs_of_vcpu(vm, &vcpu);
	take(known, &from);
	return 0;
}

static int take_image(struct libvmem *vm, unsigned int vcpu,
		      struct libvmem_regs *known, struct libvmem_error *error)
{
	const struct image *image = vm->image;
	const struct libvmem_regs from = {
		.regs = image->regs,
		.have = LIBVMEM_ALL_REGS | LIBVMEM_ALL_RULES,
	};

	if (!image->nr_spaces && !image->nr_vcpus)
		return error_set(
			error, LIBVMEM_NO_REGISTERS, STEP_REGISTERS, 0,
			"give --cr3, and --arch or --cr0 --cr4 --efer --maxphyaddr",
			"no registers in %s", image->files->path);
	if (!image->nr_spaces)
		return take_vcpu(vm, vcpu, known, error);
	take(known, &from);
	return 0;
}

static bool has_all_regs(const struct libvmem_regs *known)
{
	return !(LIBVMEM_ALL_REGS & ~known->have);
}

/* The module's index of what QEMU calls vCPU @index; the first if it has none. */
static unsigned int index_of(struct libvmem *vm, const struct libvmem_qmp *qmp,
			     unsigned int index)
{
	const struct libvmem_qmp_vcpu *vcpus;
	unsigned int i = 0, n, nr = libvmem_qmp_vcpus(qmp, &vcpus);
	struct vmem_vcpu_args args;

	while (i < nr && vcpus[i].index != index)
		i++;
	for (n = 0; i < nr && n < VMEM_MAX_ROOTS; n++) {
		if (libvmem_vcpu(vm, n, 0, &args, NULL))
			break;
		if (args.out_id == vcpus[i].apic_id)
			return n;
	}
	return 0;
}

static int take_guest(struct libvmem *vm, const struct libvmem_source *source,
		      struct libvmem_regs *known, struct libvmem_error *error)
{
	unsigned int vcpu = source->vcpu;
	int ret;

	if (vm->image) {
		ret = take_image(vm, vcpu, known, error);
		if (ret || has_all_regs(known))
			return ret;
		return error_set(
			error, LIBVMEM_BAD_MODE, STEP_REGISTERS, 0,
			"vCPU 0 does not page: give --efer, or --arch amd64, amd64-la57 or i686-pae",
			"nothing in %s says whether vCPU %u is in long mode",
			vm->image->files->path, vcpu);
	}
	if (source->qmp)
		vcpu = index_of(vm, source->qmp, vcpu);
	return take_vcpu(vm, vcpu, known, error);
}

/* Rules of a guest that runs, if it has vCPUs: what nobody has to know. */
static void take_rules(struct libvmem *vm, const struct libvmem_source *source,
		       struct libvmem_regs *known)
{
	unsigned int vcpu = source->vcpu;

	if (vm->image || !(LIBVMEM_ALL_RULES & ~known->have))
		return;
	if (source->qmp)
		vcpu = index_of(vm, source->qmp, vcpu);
	take_vcpu(vm, vcpu, known, NULL);
}

/* The order is from the most to the least explicit. */
int libvmem_find_regs(struct libvmem *vm, const struct libvmem_source *source,
		      struct vmem_regs *regs, struct libvmem_error *error)
{
	const unsigned int from_qmp = LIBVMEM_ALL_REGS & ~LIBVMEM_MAXPHYADDR;
	struct libvmem_regs known = source->given;
	int ret = 0;

	if (source->nr_cr3s) {
		known.regs.cr3 = source->cr3s[0];
		known.have |= LIBVMEM_CR3;
	}
	if (source->qmp && (known.have & from_qmp) != from_qmp)
		ret = take_qmp(source, &known, error);
	if (source->arch)
		take(&known, source->arch);
	if (!ret && !has_all_regs(&known))
		ret = take_guest(vm, source, &known, error);
	if (!ret)
		take_rules(vm, source, &known);
	*regs = known.regs;
	return ret;
}

bool libvmem_find_pat(struct libvmem *vm, const struct libvmem_source *source,
		      __u64 *pat)
{
	struct vmem_vcpu_args vcpu = {};
	unsigned int index = source->vcpu;

	*pat = LIBVMEM_RESET_PAT;
	if (vm->image)
		return false;
	if (source->qmp)
		index = index_of(vm, source->qmp, index);
	if (libvmem_vcpu(vm, index, 0, &vcpu, NULL) || !vcpu.out_pat)
		return false;
	*pat = vcpu.out_pat;
	return true;
}

/* What the tables of both are read by. */
static bool is_same_mode(const struct vmem_regs *a, const struct vmem_regs *b)
{
	enum libvmem_mode mode = libvmem_mode(a);
	bool nx = mode != LIBVMEM_MODE_2LEVEL &&
		  mode != LIBVMEM_MODE_2LEVEL_PSE;

	return mode == libvmem_mode(b) &&
	       (!nx || !((a->efer ^ b->efer) & EFER_NXE));
}

/*
 * CR3 of a vCPU that does not page like the others is none of their roots, and some do
 * not tell it. What the user says of them holds for each, but none is made to page.
 */
static bool pages_alike(const struct libvmem_source *source,
			const struct libvmem_regs *from,
			const struct libvmem_roots *roots)
{
	struct libvmem_regs known = source->given;

	if (!(from->have & LIBVMEM_CR3))
		return false;
	if (from->have & ~known.have & LIBVMEM_CR0 &&
	    !(from->regs.cr0 & CR0_PG))
		return false;
	if (source->qmp)
		take(&known, from);
	if (source->arch)
		take(&known, source->arch);
	take(&known, from);
	if (!(known.have & LIBVMEM_CR0) || !(known.have & LIBVMEM_CR4) ||
	    !(known.have & LIBVMEM_EFER))
		return true;
	return is_same_mode(&known.regs, &roots->regs);
}

static int take_cr3s(struct libvmem *vm, const struct libvmem_source *source,
		     struct libvmem_roots *roots, struct libvmem_error *error)
{
	const struct libvmem_qmp_vcpu *vcpus = NULL;
	struct vmem_vcpu_args vcpu;
	struct libvmem_regs from;
	unsigned int nr, index;
	int ret = 0;

	if (source->qmp)
		nr = libvmem_qmp_vcpus(source->qmp, &vcpus);
	else
		ret = nr_vcpus(vm, &nr, error);
	roots->nr = 0;
	for (unsigned int i = 0; !ret && i < nr; i++) {
		index = vcpus ? vcpus[i].index : i;
		if (vcpus)
			ret = libvmem_qmp_regs(source->qmp, index, &from,
					       error);
		else
			ret = look_at_vcpu(vm, i, PATIENCE_US, &vcpu, error);
		if (ret)
			break;
		if (!vcpus)
			from = regs_of_vcpu(vm, &vcpu);
		if (pages_alike(source, &from, roots))
			roots->cr3s[roots->nr++] = from.regs.cr3;
		else
			roots->left_out[roots->nr_left_out++] = index;
	}
	if (!roots->nr)
		roots->cr3s[roots->nr++] = roots->regs.cr3;
	return ret;
}

static void take_spaces(const struct image *image, struct libvmem_roots *roots)
{
	roots->nr = image->nr_spaces;
	for (unsigned int i = 0; i < roots->nr; i++)
		roots->cr3s[i] = image->spaces[i].root;
}

int libvmem_find_roots(struct libvmem *vm, const struct libvmem_source *source,
		       bool all, struct libvmem_roots *roots,
		       struct libvmem_error *error)
{
	int ret;

	if (source->nr_cr3s > VMEM_MAX_ROOTS)
		return error_set(error, LIBVMEM_BAD_ARGUMENT, STEP_ARGUMENT, 0,
				 NULL, "%u roots are more than %u",
				 source->nr_cr3s, VMEM_MAX_ROOTS);
	ret = libvmem_find_regs(vm, source, &roots->regs, error);
	if (ret)
		return ret;
	roots->nr_left_out = 0;
	roots->nr = source->nr_cr3s;
	if (roots->nr)
		memcpy(roots->cr3s, source->cr3s,
		       roots->nr * sizeof(roots->cr3s[0]));
	else
		roots->cr3s[roots->nr++] = roots->regs.cr3;
	if (source->nr_cr3s || !all || source->given.have & LIBVMEM_CR3)
		return 0;
	if (!vm->image || !vm->image->nr_spaces)
		return take_cr3s(vm, source, roots, error);
	take_spaces(vm->image, roots);
	return 0;
}

struct vmem_regs libvmem_regs_of_root(const struct libvmem_roots *roots,
				      unsigned int index)
{
	struct vmem_regs regs = roots->regs;

	regs.cr3 = roots->cr3s[index];
	return regs;
}

__u64 libvmem_space_of_root(const struct libvmem_roots *roots,
			    unsigned int index)
{
	const struct vmem_regs regs = libvmem_regs_of_root(roots, index);

	return libvmem_root(&regs);
}

int find_space(const struct libvmem_roots *roots, unsigned int nr, __u64 cr3)
{
	struct vmem_regs regs = roots->regs;

	regs.cr3 = cr3;
	for (unsigned int i = 0; i < nr; i++)
		if (libvmem_space_of_root(roots, i) == libvmem_root(&regs))
			return i;
	return -1;
}

void libvmem_drop_repeated_roots(struct libvmem_roots *roots)
{
	unsigned int nr = roots->nr;

	roots->nr = 0;
	for (unsigned int i = 0; i < nr; i++)
		if (find_space(roots, roots->nr, roots->cr3s[i]) < 0)
			roots->cr3s[roots->nr++] = roots->cr3s[i];
	roots->regs.cr3 = roots->cr3s[0];
}
