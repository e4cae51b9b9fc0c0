/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * disguise.h - what is written to /dev/vmem-disguise
 */
#ifndef VMEM_DISGUISE_H
#define VMEM_DISGUISE_H

#include <linux/types.h>

/**
 * enum disguise_what - what a VM is made to look like
 * @DISGUISE_PRIVATE: one that has private memory, where @value is 1: KVM then takes
 *	KVM_SET_MEMORY_ATTRIBUTES and slots with a guest_memfd
 * @DISGUISE_TYPE: one of the type @value (KVM_X86_*_VM)
 * @DISGUISE_ENCRYPTION_BIT: one whose first vCPU encrypts by the bit @value
 * @DISGUISE_REGISTERS: one whose first vCPU's registers are encrypted, where @value
 *	is 1
 */
enum disguise_what {
	DISGUISE_PRIVATE,
	DISGUISE_TYPE,
	DISGUISE_ENCRYPTION_BIT,
	DISGUISE_REGISTERS,
};

/**
 * struct disguise - one change; the write fails with EOPNOTSUPP where this kernel knows
 *	no such VM
 * @vm_fd: the VM
 * @what: enum disguise_what
 * @value: see there
 */
struct disguise {
	__s32 vm_fd;
	__u32 what;
	__u64 value;
};

#endif /* VMEM_DISGUISE_H */
