/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest memory as the core sees it. Everything that reads a guest's tables
 * goes through these operations and knows nothing else about where the memory
 * is: in a VMM (vmem_pages.c), in an image (tools/libvmem) or in a test (kunit/).
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
 *	the page meanwhile. Three errors are answers and not failures:
 *	ERR_PTR(-ENXIO), there is no memory at @gpa, or a device is there
 *	(VMEM_UNBACKED); ERR_PTR(-EIO), the memory there cannot be read
 *	(VMEM_UNREADABLE); ERR_PTR(-EACCES), the guest keeps it from the host
 *	(VMEM_WITHHELD). Others: ERR_PTR(-ENOMEM), a limit is reached;
 *	what vmem_breathe() returns. May sleep.
 * @unpin: Undo one @pin of the page at @gpa that returned @page.
 * @probe: Optional; the write side asks it, a walk never does. Can the page at
 *	@gpa be read? Returns 0, or -ENXIO, -EIO or -EACCES as @pin would; any
 *	other errno is a failure. The answer holds for *@same bytes from @gpa on, which are
 *	whole pages, at least one, and @len bytes at most. It need not be all
 *	that the answer holds for. Without this op, each page is pinned to find
 *	out.
 */
struct vmem_mem_ops {
	const void *(*pin)(struct vmem_mem *mem, u64 gpa);
	void (*unpin)(struct vmem_mem *mem, u64 gpa, const void *page);
	int (*probe)(struct vmem_mem *mem, u64 gpa, u64 len, u64 *same);
};

/* Places in a hand: enough for most pages that many addresses have on their paths. */
#define VMEM_NR_HELD 256

/**
 * struct vmem_held - a page that stays in hand
 * @page: the page, pinned; NULL if there is none
 * @gfn: its guest frame number
 * @users: pins of it that were not undone yet
 */
struct vmem_held {
	const void *page;
	u64 gfn;
	u32 users;
};

/**
 * struct vmem_mem - guest memory, embedded in whatever provides it
 * @ops: how to get at it
 * @constant: nothing changes it while it is read, so that no entry has to be
 *	read again
 * @hand: optional: VMEM_NR_HELD places for pages that are asked for again and
 *	again, zeros at first. A page that has one is pinned until another page
 *	needs the place while @users is 0, or until vmem_hand_empty().
 */
struct vmem_mem {
	const struct vmem_mem_ops *ops;
	bool constant;
	struct vmem_held *hand;
};

/* The place of the page at @gpa. */
static inline struct vmem_held *vmem_held_at(const struct vmem_mem *mem,
					     u64 gpa)
{
	return &mem->hand[(gpa >> VMEM_PAGE_SHIFT) % VMEM_NR_HELD];
}

/* As @pin of struct vmem_mem_ops, of a page that is not in hand. */
const void *vmem_pin_new(struct vmem_mem *mem, u64 gpa);

/**
 * vmem_pin - pin a page
 * @mem: the memory
 * @gpa: an address in the page
 *
 * In line, since most pages are in hand: two calls by pointer cost as much as the
 * rest of entering a table.
 *
 * Return: as @pin of struct vmem_mem_ops.
 */
static inline const void *vmem_pin(struct vmem_mem *mem, u64 gpa)
{
	struct vmem_held *held;

	if (!mem->hand)
		return mem->ops->pin(mem, gpa);
	held = vmem_held_at(mem, gpa);
	if (!held->page || held->gfn != gpa >> VMEM_PAGE_SHIFT)
		return vmem_pin_new(mem, gpa);
	held->users++;
	return held->page;
}

/**
 * vmem_unpin - undo one vmem_pin()
 * @mem: the memory
 * @gpa: the address
 * @page: what vmem_pin() returned
 *
 * A page that came while its place was taken was pinned on its own. If the same
 * page has the place by now, it does not matter which of the two pins goes first.
 */
static inline void vmem_unpin(struct vmem_mem *mem, u64 gpa, const void *page)
{
	struct vmem_held *held = mem->hand ? vmem_held_at(mem, gpa) : NULL;

	if (held && held->page == page && held->users)
		held->users--;
	else
		mem->ops->unpin(mem, gpa, page);
}

/**
 * vmem_hand_empty - unpin all that is in hand
 * @mem: the memory; no page of it is in use
 */
void vmem_hand_empty(struct vmem_mem *mem);

/**
 * vmem_pin_status - the answer that an errno of @pin stands for
 * @err: 0 or the errno
 *
 * Return: VMEM_UNBACKED, VMEM_UNREADABLE or VMEM_WITHHELD; VMEM_MAPPED for any other
 * errno, which is no answer.
 */
static inline enum vmem_status vmem_pin_status(int err)
{
	switch (err) {
	case -ENXIO:
		return VMEM_UNBACKED;
	case -EIO:
		return VMEM_UNREADABLE;
	case -EACCES:
		return VMEM_WITHHELD;
	default:
		return VMEM_MAPPED;
	}
}

#endif /* _VMEM_MEM_H */
