// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages of guest memory: taken by the call that reads them, and hinted at between
 * calls.
 *
 * Lifetimes: a page has a reference (FOLL_GET) from when a call pins it to when
 * the call unpins it, or empties its hand (vmem/mem.h). Pins in the sense
 * of FOLL_PIN are not taken: to pin a page that is shared by fork or by KSM, the
 * kernel makes a copy of it for the owner, even for reading.
 *
 * A hint has no reference. It is made, under the lock, from a page that has one, if
 * no invalidation was under way since before the look-up (@changing, @changes; KVM
 * does likewise). Then the owner maps the page. Every unmap calls the notifier first,
 * and the notifier drops the hint under the lock. So a call that finds a hint under
 * the lock finds a mapped page, and takes its own reference before it unlocks. While
 * invalidations go on, no hint is made, and no call waits for their end.
 * A hint is overwritten by the next frame of its place. All are dropped when the
 * source of guest memory gives other answers (follow_source).
 *
 * Pages that become private to the guest are not unmapped, so where that may be there
 * are no hints, and a page is taken if it was shared before and after the look-up (see
 * vm_gmem_withheld()).
 *
 * A call reads on in a page that was unmapped after it had taken it: in what was
 * guest memory when it asked.
 *
 * A page that was looked up may never have been guest memory, if the source came
 * to give other answers between the question where it is and the look-up: so the
 * generation is compared afterwards, and the page is looked up anew.
 *
 * Locks: see struct vmem_pages. Faults are without the lock; the source is asked for
 * its generation under it, for which it takes kvm->srcu. Pages are given back
 * without it, since it may be the last reference.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/wait_bit.h>
#include <trace/events/vmem.h>
#include <vmem/gmem.h>
#include <vmem/walk.h>

/*
 * To widen the windows between the steps of a page's life, where a test wants that:
 * make module KCFLAGS=-DVMEM_TEST_DELAY=3, in microseconds.
 */
#ifndef VMEM_TEST_DELAY
#define VMEM_TEST_DELAY 0
#endif

static void test_delay(void)
{
	if (VMEM_TEST_DELAY)
		udelay(VMEM_TEST_DELAY);
}

static struct vmem_hint *hint_of(struct vmem_pages *pages, u64 gfn)
{
	return &pages->hints[gfn % VMEM_NR_HINTS];
}

/* Drop the hints of what the owner has mapped from @start to @end. */
static void drop_range(struct vmem_pages *pages, enum vmem_drop why,
		       unsigned long start, unsigned long end)
{
	struct vmem_hint *hint = pages->hints;
	u32 nr = 0;

	lockdep_assert_held(&pages->lock);
	if (!pages->nr)
		return;
	for (; hint < pages->hints + VMEM_NR_HINTS; hint++) {
		if (!hint->page || hint->hva >= end ||
		    hint->hva + PAGE_SIZE <= start)
			continue;
		hint->page = NULL;
		nr++;
	}
	if (!nr)
		return;
	pages->nr -= nr;
	pages->dropped += nr;
	trace_vmem_drop(pages->session, why, start, end, nr);
}

static struct vmem_pages *of_notifier(struct mmu_notifier *notifier)
{
	return container_of(notifier, struct vmem_pages, notifier);
}

static struct vmem_gmem *of_pages(struct vmem_pages *pages)
{
	return container_of(pages, struct vmem_gmem, pages);
}

/* Called before the mapping changes, in a context that may be atomic. */
static int on_start(struct mmu_notifier *notifier,
		    const struct mmu_notifier_range *range)
{
	struct vmem_pages *pages = of_notifier(notifier);

	test_delay();
	spin_lock(&pages->lock);
	pages->changing++;
	drop_range(pages, VMEM_DROP_MAPPING, range->start, range->end);
	spin_unlock(&pages->lock);
	return 0;
}

static void on_end(struct mmu_notifier *notifier,
		   const struct mmu_notifier_range *range)
{
	struct vmem_pages *pages = of_notifier(notifier);

	spin_lock(&pages->lock);
	pages->changing--;
	pages->changes++;
	spin_unlock(&pages->lock);
}

/* The mm has no user any more. */
static void on_release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	struct vmem_pages *pages = of_notifier(notifier);

	spin_lock(&pages->lock);
	drop_range(pages, VMEM_DROP_MAPPING, 0, ULONG_MAX);
	if (!pages->closed)
		vmem_gmem_owner_exits(of_pages(pages));
	spin_unlock(&pages->lock);
}

/* Registered, and not freed yet */
static atomic_t nr_notifiers;

/* No callback is running any more. */
static void free_notifier(struct mmu_notifier *notifier)
{
	struct vmem_gmem *gmem = of_pages(of_notifier(notifier));

	gmem->ops->release(gmem);
	if (atomic_dec_and_test(&nr_notifiers))
		wake_up_var(&nr_notifiers);
}

static const struct mmu_notifier_ops notifier_ops = {
	.invalidate_range_start = on_start,
	.invalidate_range_end = on_end,
	.release = on_release,
	.free_notifier = free_notifier,
};

int vmem_pages_init(struct vmem_pages *pages, struct mm_struct *mm)
{
	int ret;

	spin_lock_init(&pages->lock);
	pages->notifier.ops = &notifier_ops;
	ret = mmap_write_lock_killable(mm);
	if (ret)
		return ret;
	ret = __mmu_notifier_register(&pages->notifier, mm);
	mmap_write_unlock(mm);
	if (!ret)
		atomic_inc(&nr_notifiers);
	/* It gives up for a signal of any kind. */
	return ret == -EINTR ? -ERESTARTNOINTR : ret;
}

void vmem_pages_close(struct vmem_pages *pages)
{
	spin_lock(&pages->lock);
	pages->closed = true;
	spin_unlock(&pages->lock);
}

void vmem_pages_put(struct vmem_pages *pages)
{
	mmu_notifier_put(&pages->notifier);
}

/*
 * mmu_notifier_synchronize() waits until a callback may be called, not until one that is
 * queued on another CPU has been.
 */
void vmem_pages_exit(void)
{
	wait_var_event(&nr_notifiers, !atomic_read(&nr_notifiers));
	/* The last callback may not have returned: it runs with softirqs off. */
	synchronize_rcu();
}

static u64 generation_of(struct vmem_gmem *gmem)
{
	return gmem->ops->generation ? gmem->ops->generation(gmem) : 0;
}

/*
 * Drop all hints that stand on other answers of the source than it gives now.
 * Asked under the lock, so that generations do not go back.
 */
static void follow_source(struct vmem_gmem *gmem)
{
	struct vmem_pages *pages = &gmem->pages;
	u64 generation;

	lockdep_assert_held(&pages->lock);
	generation = generation_of(gmem);
	if (generation == pages->generation)
		return;
	drop_range(pages, VMEM_DROP_SLOTS, 0, ULONG_MAX);
	pages->generation = generation;
}

/* Take the page that a hint leads to. NULL if there is none. */
static const void *take_hinted(struct vmem_pages *pages, u64 gfn)
{
	const struct vmem_hint *hint = hint_of(pages, gfn);
	struct page *page = NULL;

	spin_lock(&pages->lock);
	if (hint->gfn == gfn && hint->page) {
		page = hint->page;
		get_page(page);
	}
	spin_unlock(&pages->lock);
	test_delay();
	return page ? page_address(page) : NULL;
}

/*
 * With @locked given, a fault that has to wait (for userfaultfd, say) drops
 * mmap_lock and can be interrupted by a fatal signal.
 */
static long get_page_at(struct mm_struct *mm, unsigned long hva,
			struct page **page)
{
	int locked = 1;
	long ret;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
#ifdef VMEM_GUP_HAS_VMAS
	ret = get_user_pages_remote(mm, hva, 1, 0, page, NULL, &locked);
#else
	ret = get_user_pages_remote(mm, hva, 1, 0, page, &locked);
#endif
	if (locked)
		mmap_read_unlock(mm);
	return ret;
}

/* Whether a mapping is of a device's registers, which have no pages to take. */
static bool is_device(const struct vm_area_struct *vma)
{
	return vma && vma->vm_flags & (VM_IO | VM_PFNMAP);
}

/*
 * Why the page at @hva was not got: no memory at all (-ENXIO), or memory that
 * cannot be read (-EIO), or a reason to give up. There is a slot, so it is up to
 * the owner's mapping.
 */
static int page_error(struct mm_struct *mm, unsigned long hva, long ret)
{
	if (fatal_signal_pending(current))
		return -EINTR;
	if (ret == -ENOMEM)
		return -ENOMEM;
	if (mmap_read_lock_killable(mm))
		return -EINTR;
	ret = is_device(vma_lookup(mm, hva)) ? -ENXIO : -EIO;
	mmap_read_unlock(mm);
	return ret;
}

/* A page was looked up. False if it is not what the source now says. */
static bool note_page(struct vmem_gmem *gmem, const struct vmem_hint *found,
		      u64 changes, u64 generation)
{
	struct vmem_pages *pages = &gmem->pages;
	struct vmem_hint *hint = hint_of(pages, found->gfn);
	bool valid;

	spin_lock(&pages->lock);
	follow_source(gmem);
	pages->looked_up += !!found->page;
	valid = generation == pages->generation;
	if (valid && found->page && !gmem->may_withhold && !pages->changing &&
	    pages->changes == changes) {
		pages->nr += !hint->page;
		*hint = *found;
	}
	spin_unlock(&pages->lock);
	return valid;
}

static bool is_withheld(struct vmem_gmem *gmem, u64 gpa)
{
	return gmem->may_withhold && gmem->ops->withheld(gmem, gpa);
}

/* Returns a page's address, an ERR_PTR(), or NULL if it is to be tried again. */
static const void *look_up(struct vmem_gmem *gmem, u64 gpa)
{
	u64 changes = READ_ONCE(gmem->pages.changes);
	struct vmem_hint found = { .gfn = gpa >> VMEM_PAGE_SHIFT };
	u64 generation = generation_of(gmem);
	bool private;
	long ret;

	/* The page is looked up after it was seen how often things had changed. */
	smp_rmb();
	ret = gmem->ops->to_hva(gmem, gpa, &found.hva);
	if (ret)
		return ERR_PTR(ret);
	/* The kernel may ignore a tag there (LAM); invalidations are of addresses without. */
	if (found.hva >= TASK_SIZE_MAX)
		return ERR_PTR(-EIO);
	if (is_withheld(gmem, gpa))
		return ERR_PTR(-EACCES);
	ret = get_page_at(gmem->mm, found.hva, &found.page);
	if (ret != 1) {
		found.page = NULL;
		ret = page_error(gmem->mm, found.hva, ret);
	}
	test_delay();
	private = is_withheld(gmem, gpa);
	if (private || !note_page(gmem, &found, changes, generation)) {
		if (found.page)
			put_page(found.page);
		return private ? ERR_PTR(-EACCES) : NULL;
	}
	return found.page ? page_address(found.page) : ERR_PTR(ret);
}

static const void *take_page(struct vmem_gmem *gmem, u64 gpa)
{
	const void *page = take_hinted(&gmem->pages, gpa >> VMEM_PAGE_SHIFT);
	int ret;

	/* The owner may change its memory slots without end. */
	while (!page) {
		ret = vmem_breathe();
		if (ret)
			return ERR_PTR(ret);
		page = look_up(gmem, gpa);
	}
	return page;
}

static const void *pins_pin(struct vmem_mem *mem, u64 gpa)
{
	struct vmem_pins *pins = container_of(mem, struct vmem_pins, mem);

	if (pins->encrypted && !pins->as_it_is)
		return ERR_PTR(-EACCES);
	return take_page(pins->gmem, gpa);
}

static void pins_unpin(struct vmem_mem *mem, u64 gpa, const void *page)
{
	put_page(virt_to_page(page));
}

static const struct vmem_mem_ops pins_ops = {
	.pin = pins_pin,
	.unpin = pins_unpin,
};

void vmem_pins_init(struct vmem_pins *pins, struct vmem_gmem *gmem)
{
	*pins = (struct vmem_pins){ .mem.ops = &pins_ops, .gmem = gmem };
}

int vmem_pins_begin(struct vmem_pins *pins)
{
	struct vmem_gmem *gmem = pins->gmem;
	int ret = vmem_gmem_enter(gmem);

	if (ret)
		return ret;
	spin_lock(&gmem->pages.lock);
	follow_source(gmem);
	spin_unlock(&gmem->pages.lock);
	pins->encrypted = vmem_gmem_protection(gmem) &
			  VMEM_PROTECTION_ENCRYPTED;
	pins->reading = true;
	return 0;
}

void vmem_pins_end(struct vmem_pins *pins)
{
	if (!pins->reading)
		return;
	vmem_hand_empty(&pins->mem);
	vmem_gmem_leave(pins->gmem);
	pins->reading = false;
}
