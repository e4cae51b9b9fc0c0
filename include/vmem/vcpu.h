/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vCPU: what the registers of one of KVM's vCPUs are, and how that is known.
 */
#ifndef _VMEM_VCPU_H
#define _VMEM_VCPU_H

#include <uapi/linux/vmem.h>

struct kvm_vcpu;
struct tracepoint;

/* KVM's own header of its tracepoints is not among those of an installed kernel. */
extern struct tracepoint __tracepoint_kvm_entry;

/**
 * vmem_vcpu_encryption_bit - the bit by which a vCPU encrypts memory
 * @vcpu: the vCPU
 *
 * Return: its number; 0 if there is none, or none above the address.
 */
int vmem_vcpu_encryption_bit(const struct kvm_vcpu *vcpu);

/**
 * vmem_vcpu_is_protected - whether KVM has no registers of a vCPU
 * @vcpu: the vCPU
 *
 * Return: true if they are encrypted, or those of a TDX guest.
 */
bool vmem_vcpu_is_protected(const struct kvm_vcpu *vcpu);

/**
 * vmem_vcpu_read - the registers of a vCPU
 * @vcpu: the vCPU, whose VM the caller holds
 * @args: how long it may take, and where they are written
 *
 * Neither keeps the vCPU from running nor waits for its mutex.
 *
 * Return: 0; -EACCES if it is protected; what vmem_breathe() returns;
 * -EINTR or -ENOMEM if the look could not begin.
 */
int vmem_vcpu_read(struct kvm_vcpu *vcpu, struct vmem_vcpu_args *args);

/**
 * vmem_vcpu_exit - wait until nothing of this file runs any more
 *
 * Before the module goes; nobody is in vmem_vcpu_read().
 */
void vmem_vcpu_exit(void);

#endif /* _VMEM_VCPU_H */
