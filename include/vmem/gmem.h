/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest memory of a running guest: where a session's memory is.
 */
#ifndef _VMEM_GMEM_H
#define _VMEM_GMEM_H

#include <linux/types.h>
#include <linux/workqueue.h>
#include <uapi/linux/vmem.h>
#include <vmem/pages.h>

struct mm_struct;
struct vmem_gmem;

/* Regions that a region table may have. */
#define VMEM_MAX_REGIONS 4096

/**
 * struct vmem_gmem_ops - what differs between the sources of guest memory; all but
 *	@vcpu, @let_go and @release are called within vmem_gmem_enter()
 * @source: which one it is
 * @to_hva: where in the owner's memory the page at @gpa is; -ENXIO if nowhere
 * @withheld: whether the page at @gpa is private to the guest, so that it is not in
 *	the owner's memory; only asked where @may_withhold of the gmem is set
 * @generation: optional: a number that never comes back once @to_hva or @withheld
 *	may answer otherwise than it did; may be called under a spinlock
 * @slots: write to @slots up to @nr pieces of memory that end above @from_gpa,
 *	by rising address; returns how many. Takes as long as there are pieces that
 *	it writes, and for the first the logarithm of how many there are.
 * @nr_vcpus: optional: how many vCPUs there are
 * @vcpu: optional: the registers of a vCPU; -EINVAL if there is none of that index;
 *	-ESRCH if the owner has exited; what vmem_vcpu_read() returns. May sleep as
 *	long as @args allows.
 * @protection: optional: VMEM_PROTECTION_*, what keeps the guest from being read
 * @let_go: optional: hold nothing of the owner's any more; may be called twice
 * @release: free the gmem, in an atomic context; what it held has been let go
 */
struct vmem_gmem_ops {
	enum vmem_source source;
	int (*to_hva)(struct vmem_gmem *gmem, u64 gpa, unsigned long *hva);
	bool (*withheld)(struct vmem_gmem *gmem, u64 gpa);
	u64 (*generation)(struct vmem_gmem *gmem);
	u32 (*slots)(struct vmem_gmem *gmem, u64 from_gpa,
		     struct vmem_memslot *slots, u32 nr);
	u32 (*nr_vcpus)(struct vmem_gmem *gmem);
	int (*vcpu)(struct vmem_gmem *gmem, struct vmem_vcpu_args *args);
	u32 (*protection)(struct vmem_gmem *gmem);
	void (*let_go)(struct vmem_gmem *gmem);
	void (*release)(struct vmem_gmem *gmem);
};

/**
 * struct vmem_gmem - a guest's memory; all but @pages and @exit is immutable from
 *	creation to release
 * @ops: the source
 * @mm: the owner's memory. Holds a reference on the mm_struct and none on its
 *	users, so an owner that exits frees its memory in spite of us.
 * @may_withhold: pages may become private to the guest; then there are no hints
 * @exit: lets the source go when the owner has exited
 * @pages: hints of its pages, and their notifier
 */
struct vmem_gmem {
	const struct vmem_gmem_ops *ops;
	struct mm_struct *mm;
	bool may_withhold;
	struct work_struct exit;
	struct vmem_pages pages;
};

/**
 * vmem_gmem_from_kvm - take the memory of a KVM VM
 * @vm_fd: a descriptor of the VM
 * @owner: set to the process that made the VM, if it is one, whatever is returned
 *
 * Return: the memory; ERR_PTR(-EBADF) if it is no KVM VM; -EPERM if the VM is
 * another process's and the caller lacks CAP_SYS_PTRACE; -ESRCH if that process
 * has exited; -ENOMEM; any other errno of vmem_pages_init().
 */
struct vmem_gmem *vmem_gmem_from_kvm(int vm_fd, pid_t *owner);

/**
 * vmem_gmem_from_regions - take memory of the calling process
 * @regions: the table, allocated by kvmalloc(); consumed in any case
 * @nr: number of regions
 *
 * Return: the memory; ERR_PTR(-EINVAL) for a region that is not aligned, empty,
 * beyond the widest physical address or overlapping another; -EOVERFLOW for one
 * that wraps; -EFAULT for one that is not in user space; -ENOMEM; any other
 * errno of vmem_pages_init().
 */
struct vmem_gmem *vmem_gmem_from_regions(struct vmem_region *regions, u32 nr);

/**
 * vmem_gmem_release - give a guest's memory back
 * @gmem: the memory, or NULL
 */
void vmem_gmem_release(struct vmem_gmem *gmem);

/**
 * vmem_gmem_enter - begin to ask about a guest's memory
 * @gmem: the memory
 *
 * Its owner's mm, and so the source, is there until vmem_gmem_leave().
 *
 * Return: 0; -ESRCH if the owner has exited.
 */
int vmem_gmem_enter(struct vmem_gmem *gmem);

/**
 * vmem_gmem_leave - undo one vmem_gmem_enter()
 * @gmem: the memory
 */
void vmem_gmem_leave(struct vmem_gmem *gmem);

/**
 * vmem_gmem_protection - what keeps a guest from being read
 * @gmem: the memory, between vmem_gmem_enter() and vmem_gmem_leave()
 *
 * Return: VMEM_PROTECTION_*
 */
u32 vmem_gmem_protection(struct vmem_gmem *gmem);

/**
 * vmem_gmem_owner_exits - schedule the release of the source
 * @gmem: the memory, whose owner's mm has no user any more
 *
 * Does not sleep.
 */
void vmem_gmem_owner_exits(struct vmem_gmem *gmem);

/**
 * vmem_gmem_may_use - may the calling process ask about this memory
 * @gmem: the memory
 *
 * A KVM VM was checked when it was attached, and who has the session has it. A
 * region table is of use to the process that made it and to no other.
 */
bool vmem_gmem_may_use(const struct vmem_gmem *gmem);

#endif /* _VMEM_GMEM_H */
