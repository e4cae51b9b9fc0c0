/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vcpu.h - a vCPU, and what has to be set before it can run a guest
 */
#ifndef VMEM_SELFTEST_VCPU_H
#define VMEM_SELFTEST_VCPU_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/kvm.h>
#include <linux/vmem.h>

/*
 * A guest that shuts interrupts out shuts out the host's too where Bochs emulates
 * VMX, and is never stopped. No guest gets one: there is no APIC.
 */
#define VCPU_RFLAGS 0x202

/**
 * struct vcpu - a vCPU
 * @fd: its descriptor
 * @run: what it says of its last exit
 * @run_len: size of the mapping at @run in bytes
 * @maxphyaddr: width of a guest-physical address, as its CPUID has it
 */
struct vcpu {
	int fd;
	struct kvm_run *run;
	size_t run_len;
	__u32 maxphyaddr;
};

/**
 * struct vcpu_model - what its CPUID says that the host's does not
 * @vendor: 12 letters; NULL for the host's
 * @no_1g: there are no pages of 1 GiB
 */
struct vcpu_model {
	const char *vendor;
	bool no_1g;
};

#define VENDOR_AMD "AuthenticAMD"
#define VENDOR_INTEL "GenuineIntel"

/* Whether it can have 5 levels: KVM gives its guests what the host's processor has. */
bool vcpu_can_la57(void);

/* With all that KVM supports in its CPUID. */
void vcpu_init(struct vcpu *vcpu, int kvm_fd, int vm_fd, __u32 id);
void vcpu_free(struct vcpu *vcpu);

/* Makes it another model; before it has run. */
void vcpu_set_model(struct vcpu *vcpu, int kvm_fd,
		    const struct vcpu_model *model);

/*
 * The mode of @regs and its address space, and flat segments: of 64 bits in long mode,
 * of 32 bits in any other.
 */
void vcpu_set_mode(const struct vcpu *vcpu, const struct vmem_regs *regs);

struct kvm_regs vcpu_get_regs(const struct vcpu *vcpu);
void vcpu_set_regs(const struct vcpu *vcpu, const struct kvm_regs *regs);

/* Runs to the next exit. Returns its reason. */
__u32 vcpu_run(const struct vcpu *vcpu);

#endif /* VMEM_SELFTEST_VCPU_H */
