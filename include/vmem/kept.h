/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kept pages: the guest pages that a session holds pinned from one call to the
 * next, and lets go of as soon as their owner has something else there.
 */
#ifndef _VMEM_KEPT_H
#define _VMEM_KEPT_H

#include <linux/atomic.h>
#include <linux/hashtable.h>
#include <linux/list.h>
#include <linux/mmu_notifier.h>
#include <linux/rbtree.h>
#include <linux/sched/user.h>
#include <linux/spinlock.h>
#include <vmem/mem.h>

struct vmem_gmem;

/* Pages that a session may hold pinned: 4 MiB. */
#define VMEM_MAX_PINNED 1024

/* Two pages to a bucket at most, on an average, in 4 KiB. */
#define VMEM_KEPT_HASH_BITS 9

/**
 * enum vmem_drop - why a page is kept no longer, for the trace
 * @VMEM_DROP_MAPPING: its owner's mapping of it changes
 * @VMEM_DROP_SLOTS: the source of guest memory gives other answers
 * @VMEM_DROP_RACED: either happened while it was pinned, so it was not kept
 * @VMEM_DROP_CLOSED: the session's file is closed
 */
enum vmem_drop {
	VMEM_DROP_MAPPING = 1,
	VMEM_DROP_SLOTS = 2,
	VMEM_DROP_RACED = 3,
	VMEM_DROP_CLOSED = 4,
};

/**
 * struct vmem_kept - the pages that a session holds pinned
 * @lock: of all up to @dropped, and of the pages in it. The notifier takes it
 *	under whatever the owner's mm has locked, so it is the innermost lock:
 *	nobody sleeps, allocates or unpins a page under it.
 * @buckets: the pages, by guest frame number
 * @by_hva: those that may be used again, by where their owner has them mapped
 * @idle: those of @by_hva that nobody uses now, least recently used first
 * @closed: no page is kept any more
 * @generation: of the source's answers that the pages of @by_hva stand on
 * @pinned: how many pages were pinned so far
 * @dropped: how many of them were let go, or not kept, because of a change or
 *	because of @closed
 * @nr: how many pages are pinned now
 * @session: number of the session, for the trace; set before it has pages
 * @user: who has attached the session, and is charged for them
 * @notifier: of all of the owner's memory; present from vmem_kept_init() to
 *	vmem_kept_destroy(). Has a reference on the mm_struct, none on its users.
 */
struct vmem_kept {
	spinlock_t lock; /* innermost, see above */
	DECLARE_HASHTABLE(buckets, VMEM_KEPT_HASH_BITS);
	struct rb_root by_hva;
	struct list_head idle;
	bool closed;
	u64 generation;
	u64 pinned;
	u64 dropped;
	atomic_t nr;
	u32 session;
	struct user_struct *user;
	struct mmu_interval_notifier notifier;
};

/**
 * vmem_kept_init - begin to keep pages, for the calling task's user
 * @kept: what to initialize, all zero
 * @mm: whose pages they are; the caller has it in use
 *
 * Takes as long for a large guest as for a small one.
 *
 * Return: 0; -ENOMEM; -EINTR if the caller was killed; -ERESTARTNOINTR if it
 * was interrupted.
 */
int vmem_kept_init(struct vmem_kept *kept, struct mm_struct *mm);

/**
 * vmem_kept_close - keep nothing from here on
 * @kept: the pages. A call that uses some goes on, and they go when it is done
 *	with them; one that comes later pins what it needs for itself.
 */
void vmem_kept_close(struct vmem_kept *kept);

/**
 * vmem_kept_destroy - let all pages go
 * @kept: the pages, which no call uses. May sleep until an invalidation that is
 *	under way has ended, so no lock may be held that one waits for.
 */
void vmem_kept_destroy(struct vmem_kept *kept);

/**
 * struct vmem_pins - a call that uses a session's pages
 * @mem: the view that the core reads through
 * @gmem: whose pages they are
 *
 * Between vmem_pins_begin() and vmem_pins_end() it keeps the owner's mm in use,
 * so the memory of an owner that exits meanwhile goes when the call ends.
 */
struct vmem_pins {
	struct vmem_mem mem;
	struct vmem_gmem *gmem;
};

/**
 * vmem_pins_begin - start a call
 * @pins: what to initialize
 * @gmem: the memory to read
 *
 * What @pins->mem pins is a page that is kept, or is pinned and kept. Either was
 * guest memory at that address at some time since the call began. Pages
 * are charged to who attached the session, by the caller's RLIMIT_MEMLOCK
 * unless it has CAP_IPC_LOCK, and are VMEM_MAX_PINNED at most. At either limit
 * the page that was used least recently makes room; if all are in use, pinning
 * fails with -ENOMEM. So it does if the memory slots changed under every
 * attempt to find the page, which another call may have more luck with.
 *
 * Return: 0; -ESRCH if the owner of the memory has exited.
 */
int vmem_pins_begin(struct vmem_pins *pins, struct vmem_gmem *gmem);

/**
 * vmem_pins_end - end a call, which has unpinned all that it had pinned
 * @pins: the call
 */
void vmem_pins_end(struct vmem_pins *pins);

#endif /* _VMEM_KEPT_H */
