// SPDX-License-Identifier: GPL-2.0-only
/*
 * Kept pages: pinning, and what is kept of it between calls.
 *
 * Lifetimes: a page is pinned by the call that asks for it first, and is the
 * session's from then on. It is dropped, which means that no call finds it any
 * more, when
 * - the owner's mapping of it changes (on_invalidate), the owner's exit
 *   included;
 * - the source of guest memory gives other answers (follow_source);
 * - another page needs its room (make_room);
 * - the session's file is closed (vmem_kept_close), after which no page is kept:
 *   who has a file in debugfs open may still read, but holds no guest memory by
 *   that.
 * A dropped page is unpinned at once, or by the last call that uses it: that
 * one reads on in what was guest memory when it asked.
 *
 * A page is kept only if nothing changed between the question where it is and
 * the lock under which it is added. For the owner's mapping
 * mmu_interval_read_retry() tells, and it tells of any change in all of the
 * owner's memory, which pinning a page can even make itself. So a page that
 * fails it is used once and not kept: it was the right one when it was pinned,
 * and who asks for it next may keep it. For the source its generation tells. A
 * page that fails that may never have been guest memory, and is asked for anew.
 *
 * The pins are short-term ones (no FOLL_LONGTERM) although they may be old: who
 * must have a page (memory hot-unplug, NUMA balancing, a truncated DAX file)
 * unmaps it first, and thereby gets it from us. Long-term pins would have it
 * moved out of movable memory for nothing. Who would merely like to have it
 * (compaction, collapse into huge pages) passes over a pinned page, which is
 * what the bound on their number is for.
 *
 * Locks: see struct vmem_kept. Faults, waits for an invalidation and allocations
 * are done without the lock; the source is asked for its generation under it,
 * for which it takes kvm->srcu. Pages are unpinned after it is dropped, since
 * the pin may be the last reference to one.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/fault-inject.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <trace/events/vmem.h>
#include <vmem/gmem.h>

/* How often the source may give other answers before a call gives up. */
#define MAX_TRIES 16

/**
 * struct kept_page - a page that is pinned
 * @bucket: in vmem_kept.buckets
 * @by_hva: in vmem_kept.by_hva, until it is dropped
 * @idle: in vmem_kept.idle while there are no @users, or among those to let go
 * @page: the page
 * @gfn: its guest frame number
 * @hva: where its owner had it mapped
 * @users: pins of it that were not undone yet
 * @dropped: no call finds it, and it goes with its last user
 */
struct kept_page {
	struct hlist_node bucket;
	struct rb_node by_hva;
	struct list_head idle;
	struct page *page;
	u64 gfn;
	unsigned long hva;
	unsigned int users;
	bool dropped;
};

static struct kept_page *at_node(const struct rb_node *node)
{
	return rb_entry_safe(node, struct kept_page, by_hva);
}

static bool hva_less(struct rb_node *a, const struct rb_node *b)
{
	return at_node(a)->hva < at_node(b)->hva;
}

static struct kept_page *first_from(const struct vmem_kept *kept,
				    unsigned long hva)
{
	struct rb_node *node = kept->by_hva.rb_node;
	struct rb_node *first = NULL;

	while (node) {
		if (at_node(node)->hva < hva) {
			node = node->rb_right;
		} else {
			first = node;
			node = node->rb_left;
		}
	}
	return at_node(first);
}

static struct kept_page *find_kept(const struct vmem_kept *kept, u64 gfn)
{
	struct kept_page *page;

	hash_for_each_possible(kept->buckets, page, bucket, gfn)
		if (page->gfn == gfn && !page->dropped)
			return page;
	return NULL;
}

/*
 * A page that was dropped in use and then pinned anew is there twice. Which of
 * the two loses a user does not matter: both hold the same page.
 */
static struct kept_page *find_used(const struct vmem_kept *kept, u64 gfn,
				   const void *address)
{
	struct kept_page *page;

	hash_for_each_possible(kept->buckets, page, bucket, gfn)
		if (page->gfn == gfn && page->users &&
		    page_address(page->page) == address)
			return page;
	return NULL;
}

static void add_user(struct kept_page *page)
{
	if (!page->users++)
		list_del(&page->idle);
}

/* True if the page is found by nobody now, and is to be released. */
static bool remove_user(struct vmem_kept *kept, struct kept_page *page)
{
	if (--page->users)
		return false;
	if (page->dropped)
		hash_del(&page->bucket);
	else
		list_add_tail(&page->idle, &kept->idle);
	return page->dropped;
}

/* @gone: gets the page, if nobody uses it, for let_all_go() */
static void drop_page(struct vmem_kept *kept, struct kept_page *page,
		      struct list_head *gone)
{
	lockdep_assert_held(&kept->lock);
	rb_erase(&page->by_hva, &kept->by_hva);
	page->dropped = true;
	if (page->users)
		return;
	hash_del(&page->bucket);
	list_move(&page->idle, gone);
}

static void count_dropped(struct vmem_kept *kept, enum vmem_drop why,
			  unsigned long start, unsigned long end, u32 nr)
{
	if (!nr)
		return;
	kept->dropped += nr;
	trace_vmem_drop(kept->session, why, start, end, nr);
}

static void drop_range(struct vmem_kept *kept, enum vmem_drop why,
		       unsigned long start, unsigned long end,
		       struct list_head *gone)
{
	struct kept_page *page = first_from(kept, start & PAGE_MASK);
	struct kept_page *next;
	u32 nr = 0;

	for (; page && page->hva < end; page = next, nr++) {
		next = at_node(rb_next(&page->by_hva));
		drop_page(kept, page, gone);
	}
	count_dropped(kept, why, start, end, nr);
}

static void uncharge_page(struct vmem_kept *kept)
{
	atomic_long_dec(&kept->user->locked_vm);
	atomic_dec(&kept->nr);
}

/* Without the lock. */
static void let_go(struct vmem_kept *kept, struct kept_page *page)
{
	unpin_user_page(page->page);
	uncharge_page(kept);
	kfree(page);
}

static void let_all_go(struct vmem_kept *kept, struct list_head *gone)
{
	struct kept_page *page, *next;

	list_for_each_entry_safe(page, next, gone, idle)
		let_go(kept, page);
}

/* Called before the mapping changes, in a context that may be atomic. */
static bool on_invalidate(struct mmu_interval_notifier *notifier,
			  const struct mmu_notifier_range *range,
			  unsigned long seq)
{
	struct vmem_kept *kept =
		container_of(notifier, struct vmem_kept, notifier);
	LIST_HEAD(gone);

	spin_lock(&kept->lock);
	mmu_interval_set_seq(notifier, seq);
	drop_range(kept, VMEM_DROP_MAPPING, range->start, range->end, &gone);
	spin_unlock(&kept->lock);
	let_all_go(kept, &gone);
	return true;
}

static const struct mmu_interval_notifier_ops notifier_ops = {
	.invalidate = on_invalidate,
};

int vmem_kept_init(struct vmem_kept *kept, struct mm_struct *mm)
{
	int ret;

	spin_lock_init(&kept->lock);
	kept->by_hva = RB_ROOT;
	INIT_LIST_HEAD(&kept->idle);
	kept->user = get_uid(current_user());

	ret = mmap_write_lock_killable(mm);
	if (ret)
		goto out_free_uid;
	ret = mmu_interval_notifier_insert_locked(&kept->notifier, mm, 0,
						  ULONG_MAX, &notifier_ops);
	mmap_write_unlock(mm);
	if (!ret)
		return 0;
	/* It gives up for a signal of any kind. */
	if (ret == -EINTR)
		ret = -ERESTARTNOINTR;

out_free_uid:
	free_uid(kept->user);
	return ret;
}

void vmem_kept_close(struct vmem_kept *kept)
{
	LIST_HEAD(gone);

	spin_lock(&kept->lock);
	kept->closed = true;
	drop_range(kept, VMEM_DROP_CLOSED, 0, ULONG_MAX, &gone);
	spin_unlock(&kept->lock);
	let_all_go(kept, &gone);
}

void vmem_kept_destroy(struct vmem_kept *kept)
{
	mmu_interval_notifier_remove(&kept->notifier);
	vmem_kept_close(kept);
	WARN_ON_ONCE(atomic_read(&kept->nr));
	free_uid(kept->user);
}

static u64 generation_of(struct vmem_gmem *gmem)
{
	return gmem->ops->generation ? gmem->ops->generation(gmem) : 0;
}

/*
 * Drop all that stands on other answers of the source than it gives now. Asked
 * under the lock, so that generations do not go back.
 */
static void follow_source(struct vmem_gmem *gmem, struct list_head *gone)
{
	struct vmem_kept *kept = &gmem->kept;
	u64 generation;

	lockdep_assert_held(&kept->lock);
	generation = generation_of(gmem);
	if (generation == kept->generation)
		return;
	drop_range(kept, VMEM_DROP_SLOTS, 0, ULONG_MAX, gone);
	kept->generation = generation;
}

/* Let the page go that was used least recently. False if all are in use. */
static bool make_room(struct vmem_kept *kept)
{
	struct kept_page *page;
	LIST_HEAD(gone);

	spin_lock(&kept->lock);
	page = list_first_entry_or_null(&kept->idle, struct kept_page, idle);
	if (page)
		drop_page(kept, page, &gone);
	spin_unlock(&kept->lock);
	let_all_go(kept, &gone);
	return page;
}

/* Charged to the user, as other long-running pinners do: no lock is needed. */
static bool try_charge(struct vmem_kept *kept)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;

	if (!atomic_add_unless(&kept->nr, 1, VMEM_MAX_PINNED))
		return false;
	if (atomic_long_inc_return(&kept->user->locked_vm) <= limit ||
	    capable(CAP_IPC_LOCK))
		return true;
	uncharge_page(kept);
	return false;
}

static int charge_page(struct vmem_kept *kept)
{
	while (!try_charge(kept))
		if (!make_room(kept))
			return -ENOMEM;
	return 0;
}

#ifdef CONFIG_FAULT_INJECTION

/* For tools/selftest/fail.c: nothing but /proc/PID/fail-nth can make it so. */
static bool pin_fails(void)
{
	static struct fault_attr attr;

	return should_fail(&attr, 1);
}

#else

static bool pin_fails(void)
{
	return false;
}

#endif

/*
 * With @locked given, a fault that has to wait (for userfaultfd, say) drops
 * mmap_lock and can be interrupted by a fatal signal.
 */
static long pin_one_page(struct mm_struct *mm, unsigned long hva,
			 struct page **page)
{
	int locked = 1;
	long ret;

	if (pin_fails())
		return -ENOMEM;
	if (mmap_read_lock_killable(mm))
		return -EINTR;
#ifdef VMEM_GUP_HAS_VMAS
	ret = pin_user_pages_remote(mm, hva, 1, 0, page, NULL, &locked);
#else
	ret = pin_user_pages_remote(mm, hva, 1, 0, page, &locked);
#endif
	if (locked)
		mmap_read_unlock(mm);
	return ret;
}

/* Whether a mapping is of a device's registers, which have no pages to pin. */
static bool is_device(const struct vm_area_struct *vma)
{
	return vma && vma->vm_flags & (VM_IO | VM_PFNMAP);
}

/*
 * What pinning the page at @hva failed for: no memory at all (-ENXIO), or memory
 * that cannot be read (-EIO), or a reason to give up. There is a slot, so it is
 * up to the owner's mapping.
 */
static int pin_error(struct mm_struct *mm, unsigned long hva, long ret)
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

static void keep_page(struct vmem_kept *kept, struct kept_page *page,
		      unsigned long seq)
{
	hash_add(kept->buckets, &page->bucket, page->gfn);
	kept->pinned++;
	if (kept->closed || mmu_interval_read_retry(&kept->notifier, seq)) {
		page->dropped = true;
		count_dropped(kept, VMEM_DROP_RACED, page->hva,
			      page->hva + PAGE_SIZE, 1);
	} else {
		rb_add(&page->by_hva, &kept->by_hva, hva_less);
	}
}

/*
 * Make a page that was just pinned the session's, unless another call was
 * faster. Returns its address, or NULL if the source gives other answers than
 * it did at @generation.
 */
static const void *add_page(struct vmem_gmem *gmem, struct kept_page *page,
			    unsigned long seq, u64 generation)
{
	struct vmem_kept *kept = &gmem->kept;
	const void *address = NULL;
	struct kept_page *other;
	LIST_HEAD(gone);

	spin_lock(&kept->lock);
	follow_source(gmem, &gone);
	other = find_kept(kept, page->gfn);
	if (other) {
		add_user(other);
		address = page_address(other->page);
	} else if (generation == kept->generation) {
		keep_page(kept, page, seq);
		address = page_address(page->page);
	}
	if (other || !address)
		list_add(&page->idle, &gone);
	spin_unlock(&kept->lock);
	let_all_go(kept, &gone);
	return address;
}

/* Returns what add_page() does, or an ERR_PTR(). */
static const void *pin_new_page(struct vmem_gmem *gmem, u64 gpa)
{
	struct vmem_kept *kept = &gmem->kept;
	unsigned long seq = mmu_interval_read_begin(&kept->notifier);
	u64 generation = generation_of(gmem);
	struct kept_page *page;
	unsigned long hva;
	long ret;

	ret = gmem->ops->to_hva(gmem, gpa, &hva);
	if (ret)
		return ERR_PTR(ret);
	page = kzalloc(sizeof(*page), VMEM_GFP);
	if (!page)
		return ERR_PTR(-ENOMEM);
	page->gfn = gpa >> VMEM_PAGE_SHIFT;
	page->hva = hva;
	page->users = 1;
	ret = charge_page(kept);
	if (ret)
		goto out_free;

	ret = pin_one_page(gmem->mm, hva, &page->page);
	if (ret == 1)
		return add_page(gmem, page, seq, generation);
	ret = pin_error(gmem->mm, hva, ret);
	uncharge_page(kept);
out_free:
	kfree(page);
	return ERR_PTR(ret);
}

/* Out of line: most pages are found. */
static noinline const void *pin_missing_page(struct vmem_gmem *gmem, u64 gpa)
{
	const void *address;
	int tries;

	for (tries = 0; tries < MAX_TRIES; tries++) {
		address = pin_new_page(gmem, gpa);
		if (address)
			return address;
	}
	return ERR_PTR(-ENOMEM);
}

static const void *pins_pin(struct vmem_mem *mem, u64 gpa)
{
	struct vmem_gmem *gmem = container_of(mem, struct vmem_pins, mem)->gmem;
	struct vmem_kept *kept = &gmem->kept;
	struct kept_page *page;

	spin_lock(&kept->lock);
	page = find_kept(kept, gpa >> VMEM_PAGE_SHIFT);
	if (page)
		add_user(page);
	spin_unlock(&kept->lock);
	return page ? page_address(page->page) : pin_missing_page(gmem, gpa);
}

static void pins_unpin(struct vmem_mem *mem, u64 gpa, const void *address)
{
	struct vmem_gmem *gmem = container_of(mem, struct vmem_pins, mem)->gmem;
	struct vmem_kept *kept = &gmem->kept;
	struct kept_page *page;
	bool gone;

	spin_lock(&kept->lock);
	page = find_used(kept, gpa >> VMEM_PAGE_SHIFT, address);
	gone = !WARN_ON_ONCE(!page) && remove_user(kept, page);
	spin_unlock(&kept->lock);
	if (gone)
		let_go(kept, page);
}

static const struct vmem_mem_ops pins_ops = {
	.pin = pins_pin,
	.unpin = pins_unpin,
};

int vmem_pins_begin(struct vmem_pins *pins, struct vmem_gmem *gmem)
{
	struct vmem_kept *kept = &gmem->kept;
	LIST_HEAD(gone);

	if (!mmget_not_zero(gmem->mm))
		return -ESRCH;

	*pins = (struct vmem_pins){ .mem.ops = &pins_ops, .gmem = gmem };
	spin_lock(&kept->lock);
	follow_source(gmem, &gone);
	spin_unlock(&kept->lock);
	let_all_go(kept, &gone);
	return 0;
}

void vmem_pins_end(struct vmem_pins *pins)
{
	mmput(pins->gmem->mm);
}
