// SPDX-License-Identifier: GPL-2.0-only
/*
 * pages.c - a session has hints where the pages are that it reads, and none is stale
 *
 * Each event is of a page that the session is first seen to have a hint of. Then
 * what the session says is what is there now.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/userfaultfd.h>

#include "folder.h"
#include "ktap.h"
#include "world.h"

#define SMALL MB(4)

/*
 * The page table that things happen to, in a slot or region of its own. No two of
 * all tables here have the same place among the hints.
 */
#define PT_SLOT 1
#define PT_GPA (GB(2) + 1000 * PAGE)
#define OTHER_GPA (GB(3) + 1010 * PAGE)

/* What goes by that table: an address, and the table itself as data. */
#define VA GB(1)
#define PT_VA (VA + PAGE)

/* The same by a table at OTHER_GPA. */
#define OTHER_VA (VA + MB(2))

/* Tables on the path. */
#define DEPTH 4

/* Where the address leads to, in its n-th state. */
#define TARGET(n) (GB(16) + PAGE * (n))

/**
 * struct home - a VM, or a region table, and a session that is attached to it
 * @w: the VM, and memory for all tables but one
 * @t: its space
 * @regs: the registers of that space
 * @fd: the file that the one table is in; -1 if it is in anonymous memory
 * @pt: where we have that table
 * @session: the session
 * @counters: its counters
 */
struct home {
	struct world w;
	struct tables t;
	struct vmem_regs regs;
	int fd;
	__u64 *pt;
	int session;
	int counters;
};

static __u64 *map_page_at(void *hva, int fd)
{
	void *page = mmap(hva, PAGE, PROT_READ | PROT_WRITE,
			  (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED) |
				  (hva ? MAP_FIXED : 0),
			  fd, 0);

	must(page == MAP_FAILED ? -1 : 0, "mmap of a page");
	return page;
}

static int new_file(void)
{
	int fd = (int)must(memfd_create("guest", MFD_CLOEXEC), "memfd_create");

	must(ftruncate(fd, PAGE), "ftruncate");
	return fd;
}

/* The table's n-th state. */
static void put(__u64 *pt, int n)
{
	pt[1] = PT_GPA | PTE_PWU;
	__atomic_store_n(pt, TARGET(n) | PTE_PWU, __ATOMIC_RELEASE);
}

static void attach_regions(const struct home *h)
{
	const struct vmem_region regions[] = {
		{ .gpa = h->w.ram.gpa,
		  .len = h->w.ram.len,
		  .hva = (uintptr_t)h->w.ram.hva },
		{ .gpa = PT_GPA, .len = PAGE, .hva = (uintptr_t)h->pt },
	};

	CHECK_EQ(session_attach_regions(h->session, regions, 2), 0);
}

static void open_session(struct home *h, bool regions)
{
	struct folder folder;

	h->session = session_open();
	if (regions)
		attach_regions(h);
	else
		CHECK_EQ(session_attach_kvm(h->session, h->w.vm_fd), 0);
	folder = newest_folder();
	h->counters = open_in(&folder, "counters");
}

static void close_session(struct home *h)
{
	close(h->counters);
	close(h->session);
}

/* A VM with the table in state 1. */
static void build(struct home *h, bool in_file)
{
	world_init(&h->w, SMALL);
	h->t = world_add_amd64(&h->w);
	h->regs = tables_regs(&h->t);
	h->fd = in_file ? new_file() : -1;
	h->pt = map_page_at(NULL, h->fd);
	put(h->pt, 1);
	tables_set(&h->t, VA, VMEM_LEVEL_PD, PT_GPA | PTE_PWU);
	tables_set(&h->t, OTHER_VA, VMEM_LEVEL_PD, OTHER_GPA | PTE_PWU);
	world_add_slot(&h->w, PT_SLOT, PT_GPA, h->pt, PAGE);
}

static void tear_down(struct home *h)
{
	world_free(&h->w);
	munmap(h->pt, PAGE);
	if (h->fd >= 0)
		close(h->fd);
}

static struct counters counters(const struct home *h)
{
	return pread_counters(h->counters);
}

static struct vmem_translation ask(const struct home *h, __u64 va)
{
	struct vmem_translation result;

	CHECK_EQ(session_translate_one(h->session, &h->regs, va, &result), 0);
	return result;
}

/* The table is in its n-th state, by its translation and by its bytes. */
static void expect(const struct home *h, const char *what, int n)
{
	struct vmem_translation result = ask(h, VA);
	struct vmem_read_args end;
	__u64 entry;

	CHECK_EQ_AT(what, result.out_status, VMEM_MAPPED);
	CHECK_EQ_AT(what, result.out_gpa, TARGET(n));
	CHECK_EQ_AT(what,
		    session_read(h->session, &h->regs, PT_VA, &entry,
				 sizeof(entry), &end),
		    0);
	CHECK_EQ_AT(what, entry, TARGET(n) | PTE_PWU);
}

static void expect_status(const struct home *h, const char *what, __u64 va,
			  enum vmem_status status)
{
	CHECK_EQ_AT(what, ask(h, va).out_status, status);
}

/* There are hints of all four tables, so that nothing is looked up. */
static void expect_hints(const struct home *h, const char *what, int n)
{
	struct counters before, after;

	expect(h, what, n);
	before = counters(h);
	CHECK_EQ_AT(what, before.hints, DEPTH);
	expect(h, what, n);
	after = counters(h);
	CHECK_EQ_AT(what, after.looked_up, before.looked_up);
	CHECK_EQ_AT(what, after.dropped, before.dropped);
}

/* The hint of the table was dropped, without being asked for, and no other. */
static void expect_dropped(const struct home *h, const char *what, long long nr)
{
	struct counters now = counters(h);

	CHECK_EQ_AT(what, now.dropped, nr);
	CHECK_EQ_AT(what, now.hints, now.looked_up - now.dropped);
}

static void with_session(bool in_file, bool regions,
			 void (*event)(struct home *h))
{
	long long lost = pages_lost_before();
	struct home h;

	build(&h, in_file);
	open_session(&h, regions);
	expect_hints(&h, "before", 1);
	event(&h);
	close_session(&h);
	tear_down(&h);
	CHECK_EQ(pages_lost(), lost);
}

/* What happens to the owner's mapping, of a VM's memory and of a region's. */
static void with_mapping(bool in_file, void (*event)(struct home *h))
{
	with_session(in_file, false, event);
	with_session(in_file, true, event);
}

/* ---- The owner's mapping changes ---- */

static void balloon_takes(struct home *h)
{
	must(madvise(h->pt, PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	expect_dropped(h, "taken", 1);
	expect_status(h, "taken", VA, VMEM_NOT_PRESENT);
	/* The hint is now of the page of zeros that stands for none. */
	put(h->pt, 2);
	expect_dropped(h, "given back", 2);
	expect_hints(h, "given back", 2);
}

static void balloon(void)
{
	with_mapping(false, balloon_takes);
}

static void punch_hole(struct home *h)
{
	must(fallocate(h->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		       PAGE),
	     "fallocate");
	expect_dropped(h, "punched", 1);
	expect_status(h, "punched", VA, VMEM_NOT_PRESENT);
	put(h->pt, 2);
	expect_hints(h, "written to", 2);
}

static void punched_hole(void)
{
	with_mapping(true, punch_hole);
}

static void truncate_file(struct home *h)
{
	must(ftruncate(h->fd, 0), "ftruncate");
	expect_dropped(h, "truncated", 1);
	expect_status(h, "truncated", VA, VMEM_UNREADABLE);
	must(ftruncate(h->fd, PAGE), "ftruncate");
	expect_status(h, "regrown", VA, VMEM_NOT_PRESENT);
	put(h->pt, 2);
	expect_hints(h, "written to", 2);
}

static void truncate_and_regrow(void)
{
	with_mapping(true, truncate_file);
}

static void move_mapping(struct home *h)
{
	__u64 *away = map_page_at(NULL, -1);

	must(mremap(h->pt, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, away) ==
			     MAP_FAILED ?
		     -1 :
		     0,
	     "mremap");
	expect_dropped(h, "moved away", 1);
	expect_status(h, "moved away", VA, VMEM_UNREADABLE);
	map_page_at(h->pt, -1);
	put(h->pt, 2);
	expect_hints(h, "something else", 2);
	/* Where it is now is no guest memory. */
	put(away, 3);
	expect_hints(h, "the one moved away", 2);
	munmap(away, PAGE);
}

static void moved_mapping(void)
{
	with_mapping(false, move_mapping);
	with_mapping(true, move_mapping);
}

static void unmap_and_map(struct home *h)
{
	must(munmap(h->pt, PAGE), "munmap");
	expect_dropped(h, "unmapped", 1);
	expect_status(h, "unmapped", VA, VMEM_UNREADABLE);
	map_page_at(h->pt, -1);
	put(h->pt, 2);
	expect_hints(h, "mapped", 2);
	/* In one step, as a VMM that gives a page back to a file does. */
	map_page_at(h->pt, -1);
	expect_dropped(h, "mapped over", 2);
	put(h->pt, 3);
	expect_hints(h, "mapped over", 3);
}

static void unmapped_and_mapped(void)
{
	with_mapping(false, unmap_and_map);
	with_mapping(true, unmap_and_map);
}

/* Who writes to a page after a fork writes to a copy of it. */
static void fork_and_write(struct home *h)
{
	pid_t child = (pid_t)must(fork(), "fork");

	if (!child) {
		pause();
		_exit(0);
	}
	put(h->pt, 2);
	expect_hints(h, "written to", 2);
	must(kill(child, SIGKILL), "kill");
	must(waitpid(child, NULL, 0), "waitpid");
	put(h->pt, 3);
	expect_hints(h, "child is gone", 3);
}

static void forked(void)
{
	with_mapping(false, fork_and_write);
}

/* A page of hugetlbfs. */
static void huge_page(void)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
	__u64 *huge;
	struct home h;

	set_huge_pages("4");
	huge = mmap(NULL, MB(2), PROT_READ | PROT_WRITE, flags, -1, 0);
	if (huge == MAP_FAILED) {
		ktap_skipped = true;
		return;
	}
	build(&h, false);
	put(huge, 5);
	world_add_slot(&h.w, PT_SLOT, 0, NULL, 0);
	world_add_slot(&h.w, PT_SLOT, PT_GPA, huge, PAGE);
	open_session(&h, false);
	expect_hints(&h, "before", 5);
	must(munmap(huge, MB(2)), "munmap");
	expect_dropped(&h, "unmapped", 1);
	expect_status(&h, "unmapped", VA, VMEM_UNREADABLE);
	close_session(&h);
	tear_down(&h);
	set_huge_pages("0");
}

/* ---- Memory slots change ---- */

static void remove_slot(struct home *h)
{
	world_add_slot(&h->w, PT_SLOT, 0, NULL, 0);
}

static void remove_and_add(struct home *h)
{
	remove_slot(h);
	expect_status(h, "removed", VA, VMEM_UNBACKED);
	world_add_slot(&h->w, PT_SLOT, PT_GPA, h->pt, PAGE);
	expect_hints(h, "added again", 1);
}

static void removed_slot(void)
{
	with_session(false, false, remove_and_add);
	with_session(true, false, remove_and_add);
}

static void move_slot(struct home *h)
{
	world_add_slot(&h->w, PT_SLOT, OTHER_GPA, h->pt, PAGE);
	expect_status(h, "moved", VA, VMEM_UNBACKED);
	CHECK_EQ(ask(h, OTHER_VA).out_gpa, TARGET(1));
	world_add_slot(&h->w, PT_SLOT, PT_GPA, h->pt, PAGE);
	expect_hints(h, "moved back", 1);
	expect_status(h, "moved back", OTHER_VA, VMEM_UNBACKED);
}

static void moved_slot(void)
{
	with_session(false, false, move_slot);
}

/* Nothing is asked while the slot is away: all that changed is what is there. */
static void add_with_other_memory(struct home *h)
{
	__u64 *other = map_page_at(NULL, -1);

	put(other, 2);
	remove_slot(h);
	world_add_slot(&h->w, PT_SLOT, PT_GPA, other, PAGE);
	expect_hints(h, "other memory", 2);
	remove_slot(h);
	world_add_slot(&h->w, PT_SLOT, PT_GPA, h->pt, PAGE);
	expect_hints(h, "as before", 1);
	munmap(other, PAGE);
}

static void other_memory(void)
{
	with_session(false, false, add_with_other_memory);
}

/* One page at two addresses of the guest. */
static void alias_slot(struct home *h)
{
	world_add_slot(&h->w, PT_SLOT + 1, OTHER_GPA, h->pt, PAGE);
	CHECK_EQ(ask(h, OTHER_VA).out_gpa, TARGET(1));
	expect(h, "both", 1);
	CHECK_EQ(counters(h).hints, DEPTH + 1);
	must(madvise(h->pt, PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	CHECK_EQ(counters(h).hints, DEPTH - 1);
	expect_status(h, "one", VA, VMEM_NOT_PRESENT);
	expect_status(h, "the other", OTHER_VA, VMEM_NOT_PRESENT);
}

static void aliased_slot(void)
{
	with_session(false, false, alias_slot);
}

/* ---- Bounds ---- */

#define MANY 3000
#define NR_HINTS 1024

static __u64 many_va(int i)
{
	return (__u64)i * MB(2);
}

/* A guest of so many PTs. Returns how many tables that makes with the others. */
static int build_many(struct home *h)
{
	int i;

	world_init(&h->w, MB(16));
	h->t = world_add_amd64(&h->w);
	h->regs = tables_regs(&h->t);
	for (i = 0; i < MANY; i++)
		tables_map(&h->t, many_va(i), TARGET(i), VMEM_LEVEL_PT,
			   PTE_PWU);
	return (int)(h->w.ram.used / PAGE);
}

/* More tables than hints: a place is had by who came last. */
static void more_than_hints(void)
{
	struct session_records records = { .per_call = 65536 };
	long long lost = pages_lost_before();
	struct home h;
	int i, nr;

	nr = build_many(&h);
	open_session(&h, false);
	for (i = 0; i < MANY; i++)
		CHECK_EQ(ask(&h, many_va(i)).out_gpa, TARGET(i));
	CHECK_EQ(counters(&h).hints, NR_HINTS);
	CHECK(counters(&h).looked_up >= nr);
	CHECK_EQ(counters(&h).dropped, 0);

	CHECK_EQ(session_set_spaces(h.session, &h.w.spaces), 0);
	CHECK_EQ(session_walk_spaces(h.session, &records), 0);
	CHECK_EQ(records.stats.known, nr);
	check_records(&h.w, &records);
	for (i = 0; i < MANY; i++)
		CHECK_EQ(records.rows[1 + i].mapping.gpa, TARGET(i));
	CHECK_EQ(counters(&h).hints, NR_HINTS);
	close_session(&h);
	free(records.rows);
	world_free(&h.w);
	CHECK_EQ(pages_lost(), lost);
}

/* ---- Lifetimes ---- */

/*
 * Between calls the pages have no reference but those of their mapping: else a file
 * could not be sealed against writing.
 */
static void nothing_held(void)
{
	const __u64 entries[] = { TARGET(1) | PTE_PWU, PT_GPA | PTE_PWU };
	long long pins = pins_ever();
	struct home h;
	void *pt;

	build(&h, false);
	h.fd = (int)must(memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING),
			 "memfd_create");
	must(ftruncate(h.fd, PAGE), "ftruncate");
	must(pwrite(h.fd, entries, sizeof(entries), 0), "pwrite");
	pt = mmap(h.pt, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, h.fd, 0);
	must(pt == MAP_FAILED ? -1 : 0, "mmap");
	open_session(&h, false);
	expect_hints(&h, "before", 1);
	CHECK_EQ(fcntl(h.fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	expect_hints(&h, "sealed", 1);
	CHECK_EQ(pins_ever(), pins);
	close_session(&h);
	tear_down(&h);
}

/* The count that all cases rely on has a page that only a pipe holds. */
static void held_page_is_told(void)
{
	long long lost = pages_lost_before();
	__u64 *page = map_page_at(NULL, -1);
	const struct iovec piece = { page, PAGE };
	int pipes[2];

	*page = 1;
	must(pipe(pipes), "pipe");
	must(vmsplice(pipes[1], &piece, 1, 0), "vmsplice");
	CHECK_EQ(pages_lost(), lost);
	munmap(page, PAGE);
	CHECK_EQ(pages_lost(), lost + 1);
	close(pipes[0]);
	close(pipes[1]);
	CHECK_EQ(pages_lost(), lost);
}

static void be_an_owner(void *arg)
{
	struct home *shared = arg;
	struct home h;

	build(&h, false);
	*shared = h;
	__atomic_store_n(&shared->session, 1, __ATOMIC_RELEASE);
	for (;;)
		pause();
}

static struct home *new_shared_home(void)
{
	struct home *h = mmap(NULL, sizeof(*h), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	must(h == MAP_FAILED ? -1 : 0, "mmap");
	h->session = 0;
	return h;
}

static int try_to_ask(const struct home *h)
{
	struct vmem_translation result;

	return session_translate_one(h->session, &h->regs, VA, &result);
}

/*
 * The session stays open, and holds nothing of what was the owner's: not even the
 * VM, which may hold memory of its guest's.
 */
static void owner_exits(void)
{
	struct home *shared = new_shared_home();
	long long lost = pages_lost_before();
	struct home h;
	pid_t owner;
	int i, status;

	owner = ktap_fork(be_an_owner, shared);
	while (!__atomic_load_n(&shared->session, __ATOMIC_ACQUIRE))
		usleep(1000);
	h = *shared;
	h.w.vm_fd = fd_of_process(owner, h.w.vm_fd);
	open_session(&h, false);
	close(h.w.vm_fd);
	expect_hints(&h, "alive", 1);
	must(kill(owner, SIGKILL), "kill");
	must(waitpid(owner, &status, 0), "waitpid");
	CHECK_EQ(counters(&h).hints, 0);
	CHECK_EQ(counters(&h).dropped, DEPTH);
	CHECK_EQ(pages_lost(), lost);
	CHECK_EQ(try_to_ask(&h), -ESRCH);
	CHECK_EQ(counters(&h).looked_up, DEPTH);
	for (i = 0; i < 100 && count_ownerless_vms(); i++)
		usleep(50000);
	CHECK_EQ(count_ownerless_vms(), 0);
	close_session(&h);
	munmap(shared, sizeof(*shared));
}

static void two_sessions(void)
{
	long long lost = pages_lost_before();
	struct home h, other;

	build(&h, false);
	other = h;
	open_session(&h, false);
	open_session(&other, true);
	expect_hints(&h, "the one", 1);
	expect_hints(&other, "the other", 1);
	must(madvise(h.pt, PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	expect_dropped(&h, "the one", 1);
	expect_dropped(&other, "the other", 1);
	put(h.pt, 2);
	expect_hints(&h, "the one", 2);
	expect_hints(&other, "the other", 2);

	/* A slot is the VM's, and the region table knows none. */
	remove_slot(&h);
	expect_status(&h, "the one", VA, VMEM_UNBACKED);
	expect_hints(&other, "the other", 2);

	close_session(&h);
	put(h.pt, 3);
	expect_hints(&other, "the one left", 3);
	close_session(&other);
	tear_down(&h);
	CHECK_EQ(pages_lost(), lost);
}

/* The session can be attached to a lot, and takes of it what it reads. */
static void large_guest(void)
{
	struct guest_ram large = ram_new(GB(64), GB(64));
	struct home h;

	build(&h, false);
	world_add_slot(&h.w, PT_SLOT + 1, large.gpa, large.hva, large.len);
	open_session(&h, false);
	CHECK_EQ(counters(&h).looked_up, 0);
	expect_hints(&h, "large", 1);
	CHECK_EQ(counters(&h).looked_up, DEPTH);
	close_session(&h);
	tear_down(&h);
	ram_free(&large);
}

/* ---- A call that waits for a page ---- */

/**
 * struct waiter - a call that waits for a table, with those above it pinned
 * @h: where it asks for OTHER_VA
 * @late: the memory whose pages it can wait for
 * @uffd: what asks us for them
 * @thread: the call
 * @answer: what it was told
 */
struct waiter {
	const struct home *h;
	const struct guest_ram *late;
	int uffd;
	pthread_t thread;
	struct vmem_translation answer;
};

static void *ask_other(void *arg)
{
	struct waiter *w = arg;

	w->answer = ask(w->h, OTHER_VA);
	return NULL;
}

/* Returns once it waits for the page at @gpa. */
static void start_waiting(struct waiter *w, __u64 gpa)
{
	struct uffd_msg msg;

	must(pthread_create(&w->thread, NULL, ask_other, w) ? -1 : 0,
	     "pthread_create");
	must(read(w->uffd, &msg, sizeof(msg)), "userfaultfd");
	CHECK_EQ(msg.event, UFFD_EVENT_PAGEFAULT);
	CHECK_EQ(msg.arg.pagefault.address & ~(PAGE - 1),
		 (uintptr_t)ram_ptr(w->late, gpa));
}

/* The page comes, with a table in its n-th state; the call then returns. */
static void stop_waiting(struct waiter *w, __u64 gpa, int n)
{
	__u64 *table = map_page_at(NULL, -1);
	struct uffdio_copy copy = {
		.dst = (uintptr_t)ram_ptr(w->late, gpa),
		.src = (uintptr_t)table,
		.len = PAGE,
	};

	put(table, n);
	must(ioctl(w->uffd, UFFDIO_COPY, &copy), "UFFDIO_COPY");
	pthread_join(w->thread, NULL);
	munmap(table, PAGE);
}

static void with_late_pages(void (*event)(struct home *h, struct waiter *w))
{
	struct guest_ram late = ram_new(OTHER_GPA, 2 * PAGE);
	struct waiter w = { .late = &late, .uffd = ram_own_faults(&late) };
	long long lost = pages_lost_before();
	struct home h;

	ktap_skipped = w.uffd < 0;
	if (w.uffd >= 0) {
		build(&h, false);
		world_add_slot(&h.w, PT_SLOT + 1, late.gpa, late.hva, late.len);
		open_session(&h, false);
		expect_hints(&h, "before", 1);
		w.h = &h;
		event(&h, &w);
		close_session(&h);
		CHECK_EQ(pages_lost(), lost);
		tear_down(&h);
		close(w.uffd);
	}
	ram_free(&late);
}

/* When the page comes that the call waits for, it is no guest memory any more. */
static void change_slot_meanwhile(struct home *h, struct waiter *w)
{
	start_waiting(w, OTHER_GPA);
	world_add_slot(&h->w, PT_SLOT + 1, 0, NULL, 0);
	world_add_slot(&h->w, PT_SLOT + 1, OTHER_GPA, h->pt, PAGE);
	stop_waiting(w, OTHER_GPA, 2);
	CHECK_EQ(w->answer.out_gpa, TARGET(1));
	/* Of what it had before it waited there is no hint any more. */
	CHECK_EQ(counters(h).hints, 1);
	CHECK_EQ(ask(h, OTHER_VA).out_gpa, TARGET(1));
	expect(h, "later", 1);
}

static void slot_changed_in_fault(void)
{
	with_late_pages(change_slot_meanwhile);
}

/* Has OTHER_VA go by the page at @gpa. Returns where we have the PD of both. */
static void *lead_other_to(struct home *h, __u64 gpa)
{
	__u64 entry = tables_set(&h->t, OTHER_VA, VMEM_LEVEL_PD, gpa | PTE_PWU);

	return ram_ptr(&h->w.ram, entry & ~(PAGE - 1));
}

/*
 * A table is taken from a call that is on its way through it, which goes on in
 * what it has found. Who asks next finds what is there now, of the same guest
 * page, and both are in use until each goes with its own call.
 */
static void take_table_in_use(struct home *h, struct waiter *first)
{
	void *pd = lead_other_to(h, OTHER_GPA);
	struct waiter second = *first;

	start_waiting(first, OTHER_GPA);
	must(madvise(pd, PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	expect_status(h, "taken", VA, VMEM_NOT_PRESENT);

	tables_set(&h->t, VA, VMEM_LEVEL_PD, PT_GPA | PTE_PWU);
	lead_other_to(h, OTHER_GPA + PAGE);
	start_waiting(&second, OTHER_GPA + PAGE);
	stop_waiting(first, OTHER_GPA, 2);
	CHECK_EQ(first->answer.out_gpa, TARGET(2));
	stop_waiting(&second, OTHER_GPA + PAGE, 3);
	CHECK_EQ(second.answer.out_gpa, TARGET(3));
	expect_hints(h, "both are done", 1);
}

static void table_taken_in_use(void)
{
	with_late_pages(take_table_in_use);
}

/* Dropped in use and then pinned anew, it is the same page both times. */
static void drop_table_in_use(struct home *h, struct waiter *w)
{
	void *pd = lead_other_to(h, OTHER_GPA);

	start_waiting(w, OTHER_GPA);
	must(mprotect(pd, PAGE, PROT_READ), "mprotect");
	expect(h, "pinned anew", 1);
	stop_waiting(w, OTHER_GPA, 2);
	CHECK_EQ(w->answer.out_gpa, TARGET(2));
	expect_hints(h, "done", 1);
}

static void table_dropped_in_use(void)
{
	with_late_pages(drop_table_in_use);
}

/* ---- Meanwhile ---- */

#define NR_ASKERS 3

/**
 * struct turmoil - a table that goes from state to state while others ask
 * @h: whose it is
 * @begun: the state that it is going to
 * @done: the state that it is in, or was in
 * @stop: no more states follow
 * @answers: how often each answer was given: not there, and a state
 */
struct turmoil {
	struct home h;
	int begun;
	int done;
	bool stop;
	int answers[2];
};

static int load(const int *value)
{
	return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}

static void store(int *value, int n)
{
	__atomic_store_n(value, n, __ATOMIC_SEQ_CST);
}

/*
 * An answer is right if the table was in that state at some time during the
 * call. Between two states it is not there, or what a call has found of it before
 * has become something else.
 */
static bool check_answer(const struct vmem_translation *answer, int done,
			 int begun)
{
	__u64 n = (answer->out_gpa - TARGET(0)) / PAGE;

	if (answer->out_status == VMEM_MAPPED)
		return CHECK(n >= (__u64)done && n <= (__u64)begun);
	return CHECK(begun > done);
}

/* Up to the first that is wrong. */
static void *ask_all_the_time(void *arg)
{
	struct turmoil *t = arg;
	struct vmem_translation answer;
	int done, *answers;

	do {
		done = load(&t->done);
		answer = ask(&t->h, VA);
		answers = &t->answers[answer.out_status == VMEM_MAPPED];
		__atomic_add_fetch(answers, 1, __ATOMIC_RELAXED);
	} while (check_answer(&answer, done, load(&t->begun)) &&
		 !__atomic_load_n(&t->stop, __ATOMIC_RELAXED));
	return NULL;
}

static void ask_meanwhile(bool in_file, int nr_states,
			  void (*next)(struct home *h, int n))
{
	struct turmoil t = { .begun = 1, .done = 1 };
	long long lost = pages_lost_before();
	pthread_t askers[NR_ASKERS];
	struct counters end;
	int i;

	build(&t.h, in_file);
	open_session(&t.h, false);
	for (i = 0; i < NR_ASKERS; i++)
		must(pthread_create(&askers[i], NULL, ask_all_the_time, &t) ?
			     -1 :
			     0,
		     "pthread_create");
	for (i = 2; i <= nr_states; i++) {
		store(&t.begun, i);
		next(&t.h, i);
		store(&t.done, i);
		/* On one processor nobody else gets to see the state. */
		if (i % 16 == 0)
			usleep(100);
		/* Where all is slow, a state takes tenths of a second. */
		if (i % 100 == 0)
			alarm(KTAP_SECONDS_PER_CASE);
	}
	__atomic_store_n(&t.stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < NR_ASKERS; i++)
		pthread_join(askers[i], NULL);
	end = counters(&t.h);
	printf("# %d states, %d answers not there, %d there; %lld looked up, %lld dropped\n",
	       nr_states, t.answers[0], t.answers[1], end.looked_up,
	       end.dropped);
	CHECK(t.answers[1]);
	CHECK(end.dropped > 0);
	CHECK(end.hints <= DEPTH);
	expect_hints(&t.h, "at last", nr_states);
	close_session(&t.h);
	tear_down(&t.h);
	CHECK_EQ(pages_lost(), lost);
}

static void next_by_hole(struct home *h, int n)
{
	must(fallocate(h->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		       PAGE),
	     "fallocate");
	put(h->pt, n);
}

/* Slower kernels may do with fewer. */
static int nr_states(void)
{
	return (int)number_of("VMEM_STATES", 2500);
}

static void ask_while_holes_are_punched(void)
{
	ask_meanwhile(true, nr_states(), next_by_hole);
}

static void next_by_balloon(struct home *h, int n)
{
	must(madvise(h->pt, PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	put(h->pt, n);
}

static void ask_while_ballooning(void)
{
	ask_meanwhile(false, nr_states(), next_by_balloon);
}

/*
 * The old memory goes on as something else, which is no guest memory: what is
 * in it then is no state, and no entry that leads anywhere.
 */
static void next_by_slot(struct home *h, int n)
{
	__u64 *next = map_page_at(NULL, -1);

	put(next, n);
	remove_slot(h);
	*h->pt = PTE_P | BIT_ULL(51);
	world_add_slot(&h->w, PT_SLOT, PT_GPA, next, PAGE);
	munmap(h->pt, PAGE);
	h->pt = next;
}

static void ask_while_slots_change(void)
{
	ask_meanwhile(false, nr_states() / 10, next_by_slot);
}

static void *balloon_all_the_time(void *arg)
{
	struct turmoil *t = arg;

	while (!__atomic_load_n(&t->stop, __ATOMIC_RELAXED)) {
		next_by_balloon(&t->h, 1);
		t->answers[0]++;
	}
	return NULL;
}

/* The end of a session meets invalidations that are under way. */
static void close_while_ballooning(void)
{
	struct turmoil t = { .begun = 1 };
	long long lost = pages_lost_before();
	enum vmem_status status;
	pthread_t thread;
	int i;

	build(&t.h, false);
	must(pthread_create(&thread, NULL, balloon_all_the_time, &t) ? -1 : 0,
	     "pthread_create");
	for (i = 0; i < 500; i++) {
		open_session(&t.h, i % 2);
		status = ask(&t.h, VA).out_status;
		CHECK(status == VMEM_MAPPED || status == VMEM_NOT_PRESENT);
		close_session(&t.h);
	}
	__atomic_store_n(&t.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	printf("# %d times a page was taken\n", t.answers[0]);
	tear_down(&t.h);
	CHECK_EQ(pages_lost(), lost);
}

#define LARGE GB(1)
#define NR_CHANGERS 64

/* Memory whose tables are there and empty takes a while to be looked through. */
static void *change_all_the_time(void *large)
{
	for (;;)
		must(madvise(large, LARGE, MADV_DONTNEED), "MADV_DONTNEED");
	return NULL;
}

static void be_a_restless_owner(void *arg)
{
	struct home *shared = arg;
	__u8 *large = mmap(NULL, LARGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	pthread_t thread;
	struct home h;
	__u64 at;
	int i;

	must(large == MAP_FAILED ? -1 : 0, "mmap");
	madvise(large, LARGE, MADV_NOHUGEPAGE);
	for (at = 0; at < LARGE; at += MB(2))
		large[at] = 1;
	build(&h, false);
	for (i = 0; i < NR_CHANGERS; i++)
		must(pthread_create(&thread, NULL, change_all_the_time, large) ?
			     -1 :
			     0,
		     "pthread_create");
	*shared = h;
	__atomic_store_n(&shared->session, 1, __ATOMIC_RELEASE);
	for (;;)
		pause();
}

static void ask_and_close(void *arg)
{
	struct home h = *(struct home *)arg;

	for (;;) {
		h.session = session_open();
		CHECK_EQ(session_attach_kvm(h.session, h.w.vm_fd), 0);
		ask(&h, VA);
		close(h.session);
	}
}

/*
 * The owner's mapping is always changing somewhere. No call waits for that to end,
 * so a killed caller exits soon.
 */
static void killed_while_all_changes(void)
{
	struct home *shared = new_shared_home();
	double start, took, longest = 0;
	pid_t owner, child;
	struct home h;
	int i, status;

	owner = ktap_fork(be_a_restless_owner, shared);
	while (!__atomic_load_n(&shared->session, __ATOMIC_ACQUIRE))
		usleep(1000);
	h = *shared;
	h.w.vm_fd = fd_of_process(owner, h.w.vm_fd);
	for (i = 0; i < 10; i++) {
		child = ktap_fork(ask_and_close, &h);
		usleep(100000 + (unsigned int)i * 3000);
		start = seconds();
		must(kill(child, SIGKILL), "kill");
		must(waitpid(child, &status, 0), "waitpid");
		took = seconds() - start;
		longest = took > longest ? took : longest;
	}
	printf("# gone after %.3f s at most\n", longest);
	CHECK(longest < 5);
	must(kill(owner, SIGKILL), "kill");
	must(waitpid(owner, NULL, 0), "waitpid");
	close(h.w.vm_fd);
	munmap(shared, sizeof(*shared));
}

static const struct ktap_case cases[] = {
	{ "balloon", balloon },
	{ "punched_hole", punched_hole },
	{ "truncate_and_regrow", truncate_and_regrow },
	{ "moved_mapping", moved_mapping },
	{ "unmapped_and_mapped", unmapped_and_mapped },
	{ "forked", forked },
	{ "huge_page", huge_page },
	{ "removed_slot", removed_slot },
	{ "moved_slot", moved_slot },
	{ "other_memory", other_memory },
	{ "aliased_slot", aliased_slot },
	{ "more_than_hints", more_than_hints },
	{ "nothing_held", nothing_held },
	{ "held_page_is_told", held_page_is_told },
	{ "owner_exits", owner_exits },
	{ "two_sessions", two_sessions },
	{ "large_guest", large_guest },
	{ "slot_changed_in_fault", slot_changed_in_fault },
	{ "table_taken_in_use", table_taken_in_use },
	{ "table_dropped_in_use", table_dropped_in_use },
	{ "ask_while_holes_are_punched", ask_while_holes_are_punched },
	{ "ask_while_ballooning", ask_while_ballooning },
	{ "ask_while_slots_change", ask_while_slots_change },
	{ "close_while_ballooning", close_while_ballooning },
	{ "killed_while_all_changes", killed_while_all_changes },
};

int main(void)
{
	return ktap_main(cases, ARRAY_SIZE(cases));
}
