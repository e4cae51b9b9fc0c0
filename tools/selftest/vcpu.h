/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vcpu.h - a vCPU, and what has to be set before it can run a 64-bit guest
 */
#ifndef VMEM_SELFTEST_VCPU_H
#define VMEM_SELFTEST_VCPU_H

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

/* With all that KVM supports in its CPUID. */
void vcpu_init(struct vcpu *vcpu, int kvm_fd, int vm_fd, __u32 id);
void vcpu_free(struct vcpu *vcpu);

/* Flat 64-bit segments, in the address space of @regs. */
void vcpu_set_long_mode(const struct vcpu *vcpu, const struct vmem_regs *regs);

struct kvm_regs vcpu_get_regs(const struct vcpu *vcpu);
void vcpu_set_regs(const struct vcpu *vcpu, const struct kvm_regs *regs);

/* Runs to the next exit. Returns its reason. */
__u32 vcpu_run(const struct vcpu *vcpu);

#endif /* VMEM_SELFTEST_VCPU_H */
