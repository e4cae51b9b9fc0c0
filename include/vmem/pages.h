/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pages: a call takes references on the guest pages that it reads, and drops them
 * before it returns. Between calls a session has hints where pages are, without
 * references.
 */
#ifndef _VMEM_PAGES_H
#define _VMEM_PAGES_H

#include <linux/mmu_notifier.h>
#include <linux/spinlock.h>
#include <vmem/mem.h>

struct page;
struct vmem_gmem;

/*
 * Hints of a session. A frame has one place among them and no other, so that what
 * a look-up costs is not up to the guest.
 */
#define VMEM_NR_HINTS 1024

/**
 * enum vmem_drop - why a hint is dropped, for the trace
 * @VMEM_DROP_MAPPING: the owner's mapping of the page changes
 * @VMEM_DROP_SLOTS: the source of guest memory gives other answers
 */
enum vmem_drop {
	VMEM_DROP_MAPPING = 1,
	VMEM_DROP_SLOTS = 2,
};

/**
 * struct vmem_hint - where a page of guest memory is
 * @page: the page, without a reference; NULL if there is no hint
 * @gfn: its guest frame number
 * @hva: where its owner has it mapped
 */
struct vmem_hint {
	struct page *page;
	u64 gfn;
	unsigned long hva;
};

/**
 * struct vmem_pages - what a session knows of its guest's pages
 * @lock: of all up to @hints. The notifier takes it under the locks of the owner's
 *	mm, so it is the innermost lock: no sleep, no allocation and no put_page()
 *	under it. While it is held, the owner maps the page of each hint, which is a
 *	reference: an unmap calls the notifier first, which takes the lock and drops
 *	the hint.
 * @generation: of the source's answers that the hints stand on
 * @looked_up: pages that were looked up in the owner's mapping
 * @dropped: how many hints were dropped
 * @nr: how many there are
 * @changing: changes of the owner's mapping that are under way
 * @changes: how many have ended
 * @closed: vmem_pages_close() was called
 * @hints: the hints, by guest frame number
 * @session: number of the session, for the trace; set before it has hints
 * @notifier: of all of the owner's memory, from vmem_pages_init() to some time after
 *	vmem_pages_put(). Has a reference on the mm_struct, none on its users.
 */
struct vmem_pages {
	spinlock_t lock; /* innermost, see above */
	u64 generation;
	u64 looked_up;
	u64 dropped;
	u32 nr;
	u32 changing;
	u64 changes;
	bool closed;
	struct vmem_hint hints[VMEM_NR_HINTS];
	u32 session;
	struct mmu_notifier notifier;
};

/**
 * vmem_pages_init - begin to have hints
 * @pages: what to initialize, all zero
 * @mm: whose pages they are; the caller has it in use
 *
 * Takes as long for a large guest as for a small one, if the owner has as many
 * mappings.
 *
 * Return: 0; -ENOMEM; -EINTR if the caller was killed; -ERESTARTNOINTR if it
 * was interrupted.
 */
int vmem_pages_init(struct vmem_pages *pages, struct mm_struct *mm);

/**
 * vmem_pages_close - ignore the owner's exit from now on
 * @pages: the pages, which no call uses
 */
void vmem_pages_close(struct vmem_pages *pages);

/**
 * vmem_pages_put - end it, and have @release of the source called when the notifier
 *	has no caller any more
 * @pages: the pages, closed
 *
 * Does not wait for an invalidation that is under way.
 */
void vmem_pages_put(struct vmem_pages *pages);

/**
 * vmem_pages_exit - wait until every notifier that was put is freed
 *
 * Before the module goes; all pages were put.
 */
void vmem_pages_exit(void);

/**
 * struct vmem_pins - a call that reads a session's guest memory
 * @mem: the view that the core reads through
 * @gmem: the memory
 * @encrypted: the guest encrypts its tables, so that none can be read: no page is
 *	pinned but with @as_it_is
 * @as_it_is: pages are read as they are, even where the guest encrypts them
 * @reading: between vmem_pins_begin() and vmem_pins_end()
 *
 * Between vmem_pins_begin() and vmem_pins_end() it keeps the owner's mm in use,
 * so the memory of an owner that exits meanwhile goes when the call ends. Both may
 * be called several times, with nothing pinned in between.
 */
struct vmem_pins {
	struct vmem_mem mem;
	struct vmem_gmem *gmem;
	bool encrypted;
	bool as_it_is;
	bool reading;
};

/**
 * vmem_pins_init - prepare a call
 * @pins: what to initialize
 * @gmem: the memory to read
 */
void vmem_pins_init(struct vmem_pins *pins, struct vmem_gmem *gmem);

/**
 * vmem_pins_begin - begin to read
 * @pins: the call
 *
 * What @pins->mem pins was guest memory at that address at some time since
 * this was called.
 *
 * Return: 0; -ESRCH if the owner of the memory has exited.
 */
int vmem_pins_begin(struct vmem_pins *pins);

/**
 * vmem_pins_end - hold nothing any more
 * @pins: the call, which has unpinned all that it had pinned; or does not read now
 */
void vmem_pins_end(struct vmem_pins *pins);

#endif /* _VMEM_PAGES_H */
