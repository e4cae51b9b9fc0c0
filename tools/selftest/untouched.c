// SPDX-License-Identifier: GPL-2.0-only
/*
 * untouched.c - reading a guest changes nothing of what the host has done with its
 * memory, and is in the way of nothing that the host would do with it
 *
 * In each case a session is open that has read the memory in question. Then the
 * kernel is asked for what it must be able to do, and the session once more.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <linux/userfaultfd.h>

#include "file.h"
#include "ktap.h"
#include "world.h"

/* The C library's headers lack it. */
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

/* What is shared with others. */
#define DATA_GPA GB(4)
#define DATA_VA GB(8)
#define DATA_LEN MB(64)
#define DATA_SLOT 1

/* A page table, in 2 MiB of its own. */
#define PT_GPA GB(6)
#define PT_VA GB(1)
#define PT_SLOT 2
#define TARGET GB(16)

/**
 * struct home - a guest, and a session that is attached to it
 * @w: the VM, and memory for all tables but one
 * @regs: the registers of its space
 * @data: DATA_LEN bytes that are mapped at DATA_VA
 * @pt: MB(2) that begin with the table of PT_VA
 * @session: the session
 */
struct home {
	struct world w;
	struct vmem_regs regs;
	__u8 *data;
	__u64 *pt;
	int session;
};

static void *map_aligned(__u64 len)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	__u8 *map =
		mmap(NULL, len + MB(2), PROT_READ | PROT_WRITE, flags, -1, 0);

	must(map == MAP_FAILED ? -1 : 0, "mmap");
	return (__u8 *)(((uintptr_t)map + MB(2) - 1) & ~(uintptr_t)(MB(2) - 1));
}

static void home_init(struct home *h)
{
	struct tables t;
	__u64 at;

	world_init(&h->w, MB(1));
	t = world_add_amd64(&h->w);
	h->regs = tables_regs(&t);
	h->data = map_aligned(DATA_LEN);
	h->pt = map_aligned(MB(2));
	madvise(h->data, DATA_LEN, MADV_NOHUGEPAGE);
	world_add_slot(&h->w, DATA_SLOT, DATA_GPA, h->data, DATA_LEN);
	world_add_slot(&h->w, PT_SLOT, PT_GPA, h->pt, MB(2));
	for (at = 0; at < DATA_LEN; at += MB(2))
		tables_map(&t, DATA_VA + at, DATA_GPA + at, VMEM_LEVEL_PD,
			   PTE_PWU | PTE_PS);
	tables_set(&t, PT_VA, VMEM_LEVEL_PD, PT_GPA | PTE_PWU);
	h->session = session_open();
	CHECK_EQ(session_attach_kvm(h->session, h->w.vm_fd), 0);
}

static void home_free(struct home *h)
{
	close(h->session);
	world_free(&h->w);
	munmap(h->data, DATA_LEN);
	munmap(h->pt, MB(2));
}

/* Walks all of it, and reads all of the data. */
static void read_whole(const struct home *h)
{
	static struct vmem_mapping rows[64];
	struct session_maps maps = { .rows = rows,
				     .room = ARRAY_SIZE(rows),
				     .per_call = ARRAY_SIZE(rows) };
	__u8 *copy = map_aligned(DATA_LEN);
	struct vmem_read_args end;

	CHECK_EQ(session_map_range(h->session, &h->regs, 0, ~0ULL, &maps), 0);
	CHECK_EQ(session_read(h->session, &h->regs, DATA_VA, copy, DATA_LEN,
			      &end),
		 0);
	CHECK_EQ(end.out_len, DATA_LEN);
	CHECK_EQ(memcmp(copy, h->data, DATA_LEN), 0);
	munmap(copy, DATA_LEN);
}

/* The table says TARGET, twice: the second time the session has a hint of it. */
static void ask_pt(const struct home *h, const char *what)
{
	struct vmem_translation result;
	int i;

	for (i = 0; i < 2; i++) {
		CHECK_EQ_AT(what,
			    session_translate_one(h->session, &h->regs, PT_VA,
						  &result),
			    0);
		CHECK_EQ_AT(what, result.out_status, VMEM_MAPPED);
		CHECK_EQ_AT(what, result.out_gpa, TARGET);
	}
}

/* ---- What /proc tells ---- */

/* kB of @key in the mapping that begins at @map. */
static long smaps_kb(const void *map, const char *key)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	unsigned long start, end;
	char line[512], name[64];
	bool inside = false;
	long kb, found = -1;

	must(file ? 0 : -1, "/proc/self/smaps");
	while (found < 0 && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start <= (uintptr_t)map &&
				 (uintptr_t)map < end;
		else if (inside &&
			 sscanf(line, "%63[^:]: %ld kB", name, &kb) == 2 &&
			 !strcmp(name, key))
			found = kb;
	}
	fclose(file);
	return found;
}

static __u64 pagemap_of(const void *address)
{
	int fd = (int)must(open("/proc/self/pagemap", O_RDONLY), "pagemap");
	__u64 entry;

	must(pread(fd, &entry, sizeof(entry),
		   (off_t)((uintptr_t)address / PAGE * sizeof(entry))),
	     "pagemap");
	close(fd);
	return entry;
}

#define PAGEMAP_PFN (BIT_ULL(55) - 1)
#define PAGEMAP_SWAPPED BIT_ULL(62)

/* ---- What is shared stays so ---- */

static const char *const shares[] = { "Rss",	       "Pss",
				      "Shared_Clean",  "Shared_Dirty",
				      "Private_Clean", "Private_Dirty" };

static void get_shares(const struct home *h, long *kb)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(shares); i++)
		kb[i] = smaps_kb(h->data, shares[i]);
}

static void check_shares(const struct home *h, const long *before)
{
	long after[ARRAY_SIZE(shares)];
	size_t i;

	get_shares(h, after);
	for (i = 0; i < ARRAY_SIZE(shares); i++)
		CHECK_EQ_AT(shares[i], after[i], before[i]);
	printf("# Pss %ld kB, private %ld kB\n", after[1], after[4] + after[5]);
}

static void fork_stays_shared(void)
{
	long before[ARRAY_SIZE(shares)];
	struct home h;
	pid_t child;

	home_init(&h);
	memset(h.data, 1, DATA_LEN);
	child = (pid_t)must(fork(), "fork");
	if (!child) {
		pause();
		_exit(0);
	}
	get_shares(&h, before);
	CHECK_EQ(before[3], DATA_LEN / KB(1));
	read_whole(&h);
	read_whole(&h);
	check_shares(&h, before);
	must(kill(child, SIGKILL), "kill");
	must(waitpid(child, NULL, 0), "waitpid");
	home_free(&h);
}

#define KSM "/sys/kernel/mm/ksm/"

static long pages_sharing(void)
{
	return file_number(KSM "pages_sharing");
}

/* Pages of two kinds, so that all but a few are merged. */
static void merge(const struct home *h)
{
	const long want = DATA_LEN / PAGE - 1000;
	int i;

	must(madvise(h->data, DATA_LEN, MADV_MERGEABLE), "MADV_MERGEABLE");
	file_put(KSM "sleep_millisecs", "1");
	file_put(KSM "pages_to_scan", "20000");
	file_put(KSM "run", "1");
	for (i = 0; i < 600 && pages_sharing() < want; i++)
		usleep(100000);
	/* It goes on sharing what it shares, and looks for no more. */
	file_put(KSM "run", "0");
	CHECK(pages_sharing() >= want);
}

static void ksm_stays_merged(void)
{
	long before[ARRAY_SIZE(shares)], sharing;
	struct home h;

	if (skip_without(file_number(KSM "run") >= 0, "KSM"))
		return;
	home_init(&h);
	memset(h.data, 1, DATA_LEN / 2);
	memset(h.data + DATA_LEN / 2, 2, DATA_LEN / 2);
	merge(&h);
	sharing = pages_sharing();
	get_shares(&h, before);
	read_whole(&h);
	read_whole(&h);
	CHECK_EQ(pages_sharing(), sharing);
	check_shares(&h, before);
	printf("# %ld pages share others\n", sharing);
	file_put(KSM "run", "2");
	file_put(KSM "run", "0");
	home_free(&h);
}

/* ---- Nobody's way ---- */

static void put_pt(const struct home *h)
{
	h->pt[0] = TARGET | PTE_PWU;
}

/* The table's memory is one huge page. */
static bool make_huge(const struct home *h)
{
	must(madvise(h->pt, MB(2), MADV_HUGEPAGE), "MADV_HUGEPAGE");
	put_pt(h);
	return !skip_without(smaps_kb(h->pt, "AnonHugePages") == 2048,
			     "huge page for us");
}

#define SPLIT "/sys/kernel/debug/split_huge_pages"

static void huge_page_splits(void)
{
	char text[96];
	struct home h;

	home_init(&h);
	if (make_huge(&h)) {
		ask_pt(&h, "before");
		snprintf(text, sizeof(text), "%d,%#lx,%#lx", getpid(),
			 (unsigned long)h.pt,
			 (unsigned long)(h.pt + MB(2) / sizeof(*h.pt)));
		if (!skip_without(!file_put(SPLIT, text), SPLIT))
			CHECK_EQ(smaps_kb(h.pt, "AnonHugePages"), 0);
		ask_pt(&h, "split");
	}
	home_free(&h);
}

/* Of a page that fails, the rest of its huge page must be saved. */
static void subpage_fails(void)
{
	__u8 *other;
	struct home h;
	bool fails;

	home_init(&h);
	if (make_huge(&h)) {
		other = (__u8 *)h.pt + 5 * PAGE;
		ask_pt(&h, "before");
		fails = poison(other) && errno == EINVAL;
		if (!skip_without(!fails, "memory failure"))
			CHECK_EQ(smaps_kb(h.pt, "AnonHugePages"), 0);
		ask_pt(&h, "failed");
	}
	home_free(&h);
}

/* The table's page is to fail soon, and is moved before. */
static void table_is_moved(void)
{
	struct home h;
	__u64 pfn;
	int ret;

	home_init(&h);
	put_pt(&h);
	ask_pt(&h, "before");
	pfn = pagemap_of(h.pt) & PAGEMAP_PFN;
	ret = madvise(h.pt, PAGE, MADV_SOFT_OFFLINE) ? -errno : 0;
	if (!skip_without(ret != -EINVAL, "MADV_SOFT_OFFLINE")) {
		CHECK_EQ(ret, 0);
		CHECK((pagemap_of(h.pt) & PAGEMAP_PFN) != pfn);
	}
	ask_pt(&h, "moved");
	home_free(&h);
}

#define ZRAM "/dev/zram0"

static bool have_swap(void)
{
	if (system("modprobe -q zram 2>/dev/null") < 0 ||
	    file_put("/sys/block/zram0/disksize", "64M") ||
	    system("mkswap " ZRAM " >/dev/null 2>&1"))
		return false;
	return !swapon(ZRAM, 0);
}

static void table_is_swapped_out(void)
{
	struct home h;

	home_init(&h);
	put_pt(&h);
	ask_pt(&h, "before");
	if (!skip_without(have_swap(), "swap device")) {
		must(madvise(h.pt, PAGE, MADV_PAGEOUT), "MADV_PAGEOUT");
		CHECK(pagemap_of(h.pt) & PAGEMAP_SWAPPED);
		ask_pt(&h, "swapped out");
		CHECK_EQ(swapoff(ZRAM), 0);
	}
	ask_pt(&h, "and back");
	home_free(&h);
}

#define CMA "/sys/kernel/debug/cma/reserved/"

/**
 * struct area - memory that whoever has it by right may want in one piece
 * @base: its first frame
 * @nr: how many there are
 */
struct area {
	long base;
	long nr;
};

static bool is_in(const struct area *area, const void *page)
{
	long pfn = (long)(pagemap_of(page) & PAGEMAP_PFN);

	return pfn >= area->base && pfn < area->base + area->nr;
}

#define CHUNK MB(64)
#define MAX_CHUNKS 64

/*
 * A page of ours in the area: that is lent to us when other memory gets short. NULL
 * if there is none.
 */
static void *page_in(const struct area *area)
{
	__u8 *chunks[MAX_CHUNKS], *found = NULL;
	__u64 at;
	int i, nr;

	for (nr = 0; nr < MAX_CHUNKS && !found; nr++) {
		if (kilobytes("MemAvailable") < 500000)
			break;
		chunks[nr] = map_aligned(CHUNK);
		madvise(chunks[nr], CHUNK, MADV_NOHUGEPAGE);
		memset(chunks[nr], 1, CHUNK);
		for (at = 0; at < CHUNK && !found; at += MB(1))
			if (is_in(area, chunks[nr] + at))
				found = chunks[nr] + at;
	}
	for (i = 0; i < nr; i++) {
		at = CHUNK;
		if (found >= chunks[i] && found < chunks[i] + CHUNK) {
			at = (__u64)(found - chunks[i]);
			munmap(found + PAGE, CHUNK - at - PAGE);
		}
		if (at)
			munmap(chunks[i], at);
	}
	return found;
}

/* The table is in such memory, and all of it is wanted. */
static void contiguous_memory(void)
{
	const struct area area = { file_number(CMA "base_pfn"),
				   file_number(CMA "count") };
	char text[32];
	struct home h;
	__u64 *page;

	if (skip_without(area.base >= 0, CMA))
		return;
	page = page_in(&area);
	if (skip_without(page, "memory of CMA's for us"))
		return;
	home_init(&h);
	page[0] = TARGET | PTE_PWU;
	world_add_slot(&h.w, PT_SLOT, 0, NULL, 0);
	world_add_slot(&h.w, PT_SLOT, PT_GPA, page, PAGE);
	ask_pt(&h, "before");
	CHECK(is_in(&area, page));
	snprintf(text, sizeof(text), "%lld", area.nr - file_number(CMA "used"));
	CHECK_EQ(file_put(CMA "alloc", text), 0);
	CHECK_EQ(file_number(CMA "used"), area.nr);
	CHECK(!is_in(&area, page));
	ask_pt(&h, "moved");
	file_put(CMA "free", text);
	home_free(&h);
	munmap(page, PAGE);
}

/* ---- A caller that waits for memory of its own ---- */

#define LARGE MB(512)

/**
 * struct waiting - a VMM, and who asks about it
 * @vm_fd: the VMM's descriptor of its VM
 * @regs: the registers of its space
 * @ready: the VMM has touched its memory
 * @blocked: the caller waits
 */
struct waiting {
	int vm_fd;
	struct vmem_regs regs;
	int ready;
	int blocked;
};

static void be_large_vmm(void *arg)
{
	struct waiting *shared = arg;
	__u8 *large = map_aligned(LARGE);
	struct home h;

	home_init(&h);
	put_pt(&h);
	memset(large, 1, LARGE);
	shared->vm_fd = h.w.vm_fd;
	shared->regs = h.regs;
	__atomic_store_n(&shared->ready, 1, __ATOMIC_RELEASE);
	for (;;)
		pause();
}

/* The addresses that the caller asks about, which nobody tells. */
static struct guest_ram never;
static int never_uffd;

static void *see_it_wait(void *arg)
{
	struct waiting *shared = arg;
	struct uffd_msg msg;

	must(read(never_uffd, &msg, sizeof(msg)), "userfaultfd");
	__atomic_store_n(&shared->blocked, 1, __ATOMIC_RELEASE);
	for (;;)
		pause();
	return NULL;
}

/* Some answers are given, and then the next addresses never come. */
static void be_caller(struct waiting *shared, pid_t vmm)
{
	const __u32 nr = 1024;
	struct vmem_translation *results = map_aligned(nr * sizeof(*results));
	struct vmem_translate_args args = {
		.size = sizeof(args),
		.nr = nr,
		.result_size = sizeof(*results),
		.vas = (uintptr_t)never.hva - 512 * sizeof(__u64),
		.results = (uintptr_t)results,
		.regs = shared->regs,
	};
	int session = session_open();
	pthread_t thread;

	never_uffd = ram_own_faults(&never);
	must(never_uffd, "userfaultfd");
	CHECK_EQ(session_attach_kvm(session, fd_of_process(vmm, shared->vm_fd)),
		 0);
	must(mmap(never.hva - PAGE, PAGE, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		  0) == MAP_FAILED ?
		     -1 :
		     0,
	     "mmap");
	memset(never.hva - PAGE, 0, PAGE);
	must(pthread_create(&thread, NULL, see_it_wait, shared) ? -1 : 0,
	     "pthread_create");
	session_call(session, VMEM_TRANSLATE, &args);
	_exit(1);
}

/* How long it takes until there is so much memory more than @before; or -1. */
static int seconds_until(long before, long more_kb)
{
	int tenths;

	for (tenths = 0; tenths < 300; tenths++) {
		if (kilobytes("MemAvailable") - before > more_kb)
			return tenths / 10;
		usleep(100000);
	}
	return -1;
}

static void wait_for(const int *what)
{
	while (!__atomic_load_n(what, __ATOMIC_ACQUIRE))
		usleep(1000);
}

/* The VMM is killed meanwhile: its memory goes, and not with the caller. */
static void vmm_killed_meanwhile(void)
{
	struct waiting *shared = mmap(NULL, sizeof(*shared),
				      PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t vmm, caller;
	long before;
	int took;

	must(shared == MAP_FAILED ? -1 : 0, "mmap");
	memset(shared, 0, sizeof(*shared));
	never = ram_new(0, MB(1));
	never.hva += PAGE;
	never.len -= PAGE;
	vmm = ktap_fork(be_large_vmm, shared);
	wait_for(&shared->ready);
	caller = (pid_t)must(fork(), "fork");
	if (!caller)
		be_caller(shared, vmm);
	wait_for(&shared->blocked);
	before = kilobytes("MemAvailable");
	must(kill(vmm, SIGKILL), "kill");
	must(waitpid(vmm, NULL, 0), "waitpid");
	took = seconds_until(before, (long)(LARGE / KB(1)) * 3 / 4);
	printf("# MemAvailable: %ld kB, and %ld kB after %d s\n", before,
	       kilobytes("MemAvailable"), took);
	CHECK(took >= 0);
	CHECK_EQ(waitpid(caller, NULL, WNOHANG), 0);
	must(kill(caller, SIGKILL), "kill");
	must(waitpid(caller, NULL, 0), "waitpid");
	munmap(shared, sizeof(*shared));
}

static const struct ktap_case cases[] = {
	{ "fork_stays_shared", fork_stays_shared },
	{ "ksm_stays_merged", ksm_stays_merged },
	{ "huge_page_splits", huge_page_splits },
	{ "subpage_fails", subpage_fails },
	{ "table_is_moved", table_is_moved },
	{ "table_is_swapped_out", table_is_swapped_out },
	{ "contiguous_memory", contiguous_memory },
	{ "vmm_killed_meanwhile", vmm_killed_meanwhile },
};

int main(void)
{
	return ktap_main(cases, ARRAY_SIZE(cases));
}
