// SPDX-License-Identifier: GPL-2.0-only
/*
 * vcpu.c - a vCPU, and what has to be set before it can run a guest
 */
#include <cpuid.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "ktap.h"
#include "tables.h"
#include "vcpu.h"

#define CPUID_NX_1G_LM 0x80000001
#define CPUID_1G BIT_ULL(26)
#define CPUID_LA57 BIT_ULL(16)

bool vcpu_can_la57(void)
{
	unsigned int eax, ebx, ecx = 0, edx;

	__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx);
	return ecx & CPUID_LA57;
}

static void set_vendor(struct kvm_cpuid_entry2 *entry, const char *vendor)
{
	memcpy(&entry->ebx, vendor, 4);
	memcpy(&entry->edx, vendor + 4, 4);
	memcpy(&entry->ecx, vendor + 8, 4);
}

static void set_entry(struct vcpu *vcpu, struct kvm_cpuid_entry2 *entry,
		      const struct vcpu_model *model)
{
	switch (entry->function) {
	case 0:
	case 0x80000000:
		if (model->vendor)
			set_vendor(entry, model->vendor);
		break;
	case CPUID_NX_1G_LM:
		if (model->no_1g)
			entry->edx &= (__u32)~CPUID_1G;
		break;
	case 0x80000008:
		vcpu->maxphyaddr = entry->eax & 0xff;
		break;
	}
}

/* Long mode has to be in CPUID before KVM lets EFER switch to it. */
void vcpu_set_model(struct vcpu *vcpu, int kvm_fd,
		    const struct vcpu_model *model)
{
	const __u32 room = 256;
	struct kvm_cpuid2 *cpuid;
	__u32 i;

	cpuid = calloc(1, sizeof(*cpuid) + room * sizeof(cpuid->entries[0]));
	must(cpuid ? 0 : -1, "calloc");
	cpuid->nent = room;
	must(ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid),
	     "KVM_GET_SUPPORTED_CPUID");
	for (i = 0; i < cpuid->nent; i++)
		set_entry(vcpu, &cpuid->entries[i], model);
	must(ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid), "KVM_SET_CPUID2");
	free(cpuid);
}

void vcpu_init(struct vcpu *vcpu, int kvm_fd, int vm_fd, __u32 id)
{
	static const struct vcpu_model as_the_host;

	vcpu->fd =
		(int)must(ioctl(vm_fd, KVM_CREATE_VCPU, id), "KVM_CREATE_VCPU");
	vcpu->run_len = (size_t)must(ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0),
				     "KVM_GET_VCPU_MMAP_SIZE");
	vcpu->run = mmap(NULL, vcpu->run_len, PROT_READ | PROT_WRITE,
			 MAP_SHARED, vcpu->fd, 0);
	must(vcpu->run == MAP_FAILED ? -1 : 0, "mmap of the vCPU");
	vcpu_set_model(vcpu, kvm_fd, &as_the_host);
}

void vcpu_free(struct vcpu *vcpu)
{
	munmap(vcpu->run, vcpu->run_len);
	close(vcpu->fd);
}

/* Nothing reloads them: no descriptor table is needed. */
static void set_segments(struct kvm_sregs *sregs, bool is_long)
{
	struct kvm_segment segment = {
		.limit = 0xffffffff,
		.selector = 0x10,
		.type = 3,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1,
	};

	sregs->ds = segment;
	sregs->es = segment;
	sregs->fs = segment;
	sregs->gs = segment;
	sregs->ss = segment;
	segment.selector = 0x08;
	segment.type = 11;
	segment.db = !is_long;
	segment.l = is_long;
	sregs->cs = segment;
	sregs->tr = (struct kvm_segment){
		.limit = 0x67,
		.selector = 0x18,
		.type = 11,
		.present = 1,
	};
}

void vcpu_set_mode(const struct vcpu *vcpu, const struct vmem_regs *regs)
{
	struct kvm_sregs sregs;

	must(ioctl(vcpu->fd, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	set_segments(&sregs, regs->efer & EFER_LME);
	sregs.cr0 = regs->cr0;
	sregs.cr3 = regs->cr3;
	sregs.cr4 = regs->cr4;
	sregs.efer = regs->efer;
	must(ioctl(vcpu->fd, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
}

struct kvm_regs vcpu_get_regs(const struct vcpu *vcpu)
{
	struct kvm_regs regs;

	must(ioctl(vcpu->fd, KVM_GET_REGS, &regs), "KVM_GET_REGS");
	return regs;
}

void vcpu_set_regs(const struct vcpu *vcpu, const struct kvm_regs *regs)
{
	must(ioctl(vcpu->fd, KVM_SET_REGS, regs), "KVM_SET_REGS");
}

__u32 vcpu_run(const struct vcpu *vcpu)
{
	must(ioctl(vcpu->fd, KVM_RUN, 0), "KVM_RUN");
	return vcpu->run->exit_reason;
}
