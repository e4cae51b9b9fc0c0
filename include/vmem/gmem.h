/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest memory of a running guest: where a session's memory is (gmem), and the
 * pages that one call holds pinned (pins), which are what the core reads.
 */
#ifndef _VMEM_GMEM_H
#define _VMEM_GMEM_H

#include <linux/sched/user.h>
#include <linux/types.h>
#include <linux/xarray.h>
#include <uapi/linux/vmem.h>
#include <vmem/mem.h>

struct mm_struct;
struct vmem_gmem;

/* Pages that one call may hold pinned: 4 MiB. */
#define VMEM_MAX_PINNED 1024

/* Regions that a region table may have. */
#define VMEM_MAX_REGIONS 4096

/**
 * struct vmem_gmem_ops - what differs between the sources of guest memory
 * @source: which one it is
 * @to_hva: where in the owner's memory the page at @gpa is; -ENXIO if nowhere
 * @slots: write to @slots up to @nr pieces of memory that end above @from_gpa,
 *	by rising address; returns how many
 * @nr_vcpus: optional: how many vCPUs there are
 * @vcpu: optional: the id and registers of vCPU @index; -EINVAL if there is
 *	none
 * @release: free what the source holds, the gmem included
 */
struct vmem_gmem_ops {
	enum vmem_source source;
	int (*to_hva)(struct vmem_gmem *gmem, u64 gpa, unsigned long *hva);
	u32 (*slots)(struct vmem_gmem *gmem, u64 from_gpa,
		     struct vmem_memslot *slots, u32 nr);
	u32 (*nr_vcpus)(struct vmem_gmem *gmem);
	int (*vcpu)(struct vmem_gmem *gmem, u32 index, u32 *id,
		    struct vmem_regs *regs);
	void (*release)(struct vmem_gmem *gmem);
};

/**
 * struct vmem_gmem - a guest's memory; immutable from creation to release
 * @ops: the source
 * @mm: the owner's memory. Holds a reference on the mm_struct and none on its
 *	users, so an owner that exits frees its memory in spite of us.
 */
struct vmem_gmem {
	const struct vmem_gmem_ops *ops;
	struct mm_struct *mm;
};

/**
 * vmem_gmem_from_kvm - take the memory of a KVM VM
 * @vm_fd: a descriptor of the VM
 *
 * Return: the memory; ERR_PTR(-EBADF) if it is no KVM VM; -EPERM if the VM is
 * another process's and the caller lacks CAP_SYS_PTRACE; -ESRCH if that process
 * has exited; -ENOMEM.
 */
struct vmem_gmem *vmem_gmem_from_kvm(int vm_fd);

/**
 * vmem_gmem_from_regions - take memory of the calling process
 * @regions: the table, allocated by kvmalloc(); consumed in any case
 * @nr: number of regions
 *
 * Return: the memory; ERR_PTR(-EINVAL) for a region that is not aligned, empty,
 * beyond the widest physical address or overlapping another; -EOVERFLOW for one
 * that wraps; -EFAULT for one that is not in user space; -ENOMEM.
 */
struct vmem_gmem *vmem_gmem_from_regions(struct vmem_region *regions, u32 nr);

/**
 * vmem_gmem_release - give a guest's memory back
 * @gmem: the memory, or NULL
 */
void vmem_gmem_release(struct vmem_gmem *gmem);

/**
 * vmem_gmem_may_use - may the calling process ask about this memory
 * @gmem: the memory
 *
 * A KVM VM was checked when it was attached, and who has the session has it. A
 * region table is of use to the process that made it and to no other.
 */
bool vmem_gmem_may_use(const struct vmem_gmem *gmem);

/**
 * struct vmem_pins - the pages that one call has pinned so far
 * @mem: the view that the core reads through
 * @gmem: whose pages they are
 * @user: whom they are charged to
 * @pages: the pages by guest frame number
 * @nr: how many they are
 *
 * Belongs to one task and needs no lock. Between vmem_pins_begin() and
 * vmem_pins_end() it keeps the owner's mm in use, so the memory of an owner
 * that exits meanwhile goes when the call ends.
 */
struct vmem_pins {
	struct vmem_mem mem;
	struct vmem_gmem *gmem;
	struct user_struct *user;
	struct xarray pages;
	unsigned long nr;
};

/**
 * vmem_pins_begin - start a call
 * @pins: what to initialize
 * @gmem: the memory to read
 *
 * A page is pinned when @pins->mem is first asked for it and stays so to the
 * end. Pages count against the caller's RLIMIT_MEMLOCK, unless it has
 * CAP_IPC_LOCK, and against VMEM_MAX_PINNED.
 *
 * Return: 0; -ESRCH if the owner of the memory has exited.
 */
int vmem_pins_begin(struct vmem_pins *pins, struct vmem_gmem *gmem);

/**
 * vmem_pins_end - end a call and unpin its pages
 * @pins: the pins
 */
void vmem_pins_end(struct vmem_pins *pins);

#endif /* _VMEM_GMEM_H */
