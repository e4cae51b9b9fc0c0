/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest memory as the core sees it. Everything that reads a guest's tables
 * goes through these operations and knows nothing else about where the memory
 * is: in a VMM (vmem_kept.c), in an image (tools/libvmem) or in a test (kunit/).
 */
#ifndef _VMEM_MEM_H
#define _VMEM_MEM_H

#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/types.h>
#include <uapi/linux/vmem.h>

/* A guest page: the unit in which memory is pinned, and a table's size. */
#define VMEM_PAGE_SHIFT 12
#define VMEM_PAGE_SIZE BIT(VMEM_PAGE_SHIFT)
#define VMEM_PAGE_MASK (~(u64)(VMEM_PAGE_SIZE - 1))

/*
 * GFP flags for allocations whose size a caller or a guest chooses: charged to the
 * caller's memory cgroup; where there is no memory, the caller gets an errno,
 * nobody is killed, and the kernel's log stays silent.
 */
#define VMEM_GFP (GFP_KERNEL_ACCOUNT | __GFP_NOWARN | __GFP_RETRY_MAYFAIL)

struct vmem_mem;

/**
 * struct vmem_mem_ops - access to guest-physical memory
 * @pin: Make the 4 KiB page that holds @gpa readable until it is unpinned.
 *	Returns the address of the page's first byte. The guest may write to
 *	the page meanwhile. Two errors are answers and not failures:
 *	ERR_PTR(-ENXIO), there is no memory at @gpa, or a device is there
 *	(VMEM_UNBACKED); ERR_PTR(-EIO), the memory there cannot be read
 *	(VMEM_UNREADABLE). Others: ERR_PTR(-ENOMEM), a limit is reached;
 *	ERR_PTR(-EINTR), the caller was killed. May sleep.
 * @unpin: Undo one @pin of the page at @gpa that returned @page.
 * @probe: Optional; the write side asks it, a walk never does. Can the page at
 *	@gpa be read? Returns 0, or -ENXIO or -EIO as @pin would; any other errno
 *	is a failure. The answer holds for *@same bytes from @gpa on, which are
 *	whole pages, at least one, and @len bytes at most. It need not be all
 *	that the answer holds for. Without this op, each page is pinned to find
 *	out.
 */
struct vmem_mem_ops {
	const void *(*pin)(struct vmem_mem *mem, u64 gpa);
	void (*unpin)(struct vmem_mem *mem, u64 gpa, const void *page);
	int (*probe)(struct vmem_mem *mem, u64 gpa, u64 len, u64 *same);
};

/**
 * struct vmem_mem - guest memory, embedded in whatever provides it
 * @ops: how to get at it
 * @constant: nothing changes it while it is read, so that no entry has to be
 *	read again
 */
struct vmem_mem {
	const struct vmem_mem_ops *ops;
	bool constant;
};

/**
 * vmem_pin_status - the answer that an errno of @pin stands for
 * @err: 0 or the errno
 *
 * Return: VMEM_UNBACKED or VMEM_UNREADABLE; VMEM_MAPPED for any other errno, which
 * is no answer.
 */
static inline enum vmem_status vmem_pin_status(int err)
{
	switch (err) {
	case -ENXIO:
		return VMEM_UNBACKED;
	case -EIO:
		return VMEM_UNREADABLE;
	default:
		return VMEM_MAPPED;
	}
}

#endif /* _VMEM_MEM_H */
