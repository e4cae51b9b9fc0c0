/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * guest.h - a captured guest in a VM of our own
 *
 * KVM_TRANSLATE can only be called by the process that owns the VM. So this
 * gives the lab's Debian guest, as tools/bench/capture left it, a VM in our
 * process: its memory is copied into anonymous memory, and a vCPU has the
 * registers that say how it pages.
 */
#ifndef VMEM_BENCH_GUEST_H
#define VMEM_BENCH_GUEST_H

#include <stdbool.h>
#include <linux/kvm.h>
#include <linux/vmem.h>

#define MAX_PIECES 8

/**
 * struct guest - a VM that has its memory
 * @kvm_fd: /dev/kvm
 * @vm_fd: the VM
 * @vcpu_fd: its vCPU
 * @run: what the vCPU says of its last exit
 * @pieces: the memory, and where we have it
 * @nr_pieces: how many they are
 */
struct guest {
	int kvm_fd;
	int vm_fd;
	int vcpu_fd;
	struct kvm_run *run;
	struct vmem_region pieces[MAX_PIECES];
	int nr_pieces;
};

/* @image: an ELF core; @regs: those of the process that ran */
void guest_load(struct guest *guest, const char *image,
		const struct vmem_regs *regs);

/* A VM of its own with @len bytes of memory at @hva and nothing else. */
int vm_with_memory(int kvm_fd, void *hva, __u64 len);

/* Where we have @gpa; NULL where the guest has no memory. */
void *guest_ptr(const struct guest *guest, __u64 gpa);

/*
 * Has the vCPU count at @counter_va for ever, by code that is put at @code_va:
 * both are addresses of the kernel's, and @code_gpa is where the first is. It
 * runs in kernel mode with interrupts off, so nothing makes it exit to us.
 */
void guest_prepare_loop(const struct guest *guest, __u64 code_va,
			__u64 code_gpa, __u64 counter_va);

#endif /* VMEM_BENCH_GUEST_H */
