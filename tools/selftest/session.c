// SPDX-License-Identifier: GPL-2.0-only
/*
 * session.c - a session of /dev/vmem, and its calls as functions
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "file.h"
#include "ktap.h"
#include "session.h"
#include "tables.h"

/* A call that is resumed for ever is a failure too, and gets this errno. */
#define ENDLESS ELOOP
#define MAX_CALLS 1000000

static __u64 pointer(const void *p)
{
	return (__u64)(uintptr_t)p;
}

int session_try_open(void)
{
	int session = open("/dev/vmem", O_RDWR | O_CLOEXEC);

	return session < 0 ? -errno : session;
}

int session_open(void)
{
	int session = session_try_open();

	errno = session < 0 ? -session : 0;
	return (int)must(session, "/dev/vmem");
}

int session_call(int session, unsigned long cmd, void *args)
{
	return ioctl(session, cmd, args) ? -errno : 0;
}

int session_info(int session, struct vmem_info_args *info)
{
	memset(info, POISON, sizeof(*info));
	info->size = sizeof(*info);
	info->flags = 0;
	return session_call(session, VMEM_INFO, info);
}

int session_attach_kvm(int session, int vm_fd)
{
	struct vmem_attach_kvm_args args = {
		.size = sizeof(args),
		.vm_fd = vm_fd,
	};

	return session_call(session, VMEM_ATTACH_KVM, &args);
}

int session_attach_regions(int session, const struct vmem_region *regions,
			   __u32 nr)
{
	struct vmem_attach_regions_args args = {
		.size = sizeof(args),
		.nr = nr,
		.region_size = sizeof(*regions),
		.regions = pointer(regions),
	};

	return session_call(session, VMEM_ATTACH_REGIONS, &args);
}

int session_vcpu(int session, __u32 index, struct vmem_vcpu_args *vcpu)
{
	return session_vcpu_within(session, index, 0, vcpu);
}

int session_vcpu_within(int session, __u32 index, __u32 timeout_us,
			struct vmem_vcpu_args *vcpu)
{
	memset(vcpu, POISON, sizeof(*vcpu));
	vcpu->size = sizeof(*vcpu);
	vcpu->flags = 0;
	vcpu->index = index;
	vcpu->timeout_us = timeout_us;
	vcpu->__reserved = 0;
	return session_call(session, VMEM_VCPU, vcpu);
}

static int memslots_once(int session, struct vmem_memslot *slots, __u32 room,
			 __u64 gpa, struct vmem_memslots_args *args)
{
	memset(slots, POISON, room * sizeof(*slots));
	memset(args, POISON, sizeof(*args));
	args->size = sizeof(*args);
	args->flags = 0;
	args->nr = room;
	args->slot_size = sizeof(*slots);
	args->slots = pointer(slots);
	args->gpa = gpa;
	return session_call(session, VMEM_MEMSLOTS, args);
}

int session_memslots(int session, struct vmem_memslot *slots, __u32 room,
		     __u32 per_call, __u32 *nr)
{
	struct vmem_memslots_args args;
	__u64 gpa = 0;
	int ret;

	for (*nr = 0; *nr + per_call <= room; gpa = args.out_next_gpa) {
		ret = memslots_once(session, slots + *nr, per_call, gpa, &args);
		if (ret)
			return ret;
		*nr += args.out_nr;
		if (!args.out_more)
			return 0;
	}
	return -ENDLESS;
}

static int translate_all(int session, const struct vmem_translate_args *how,
			 const __u64 *vas, __u32 nr,
			 struct vmem_translation *results)
{
	struct vmem_translate_args args;
	__u32 done;
	int ret;

	memset(results, POISON, nr * sizeof(*results));
	for (done = 0; done < nr; done += args.out_nr) {
		memset(&args, POISON, sizeof(args));
		args.size = sizeof(args);
		args.flags = how->flags;
		args.nr = nr - done;
		args.result_size = sizeof(*results);
		args.vas = pointer(vas + done);
		args.results = pointer(results + done);
		args.regs = how->regs;
		args.root = how->root;
		ret = session_call(session, VMEM_TRANSLATE, &args);
		if (ret)
			return ret;
		if (!args.out_nr || args.out_nr > nr - done)
			return -ENDLESS;
	}
	return 0;
}

int session_translate(int session, const struct vmem_regs *regs,
		      const __u64 *vas, __u32 nr,
		      struct vmem_translation *results)
{
	const struct vmem_translate_args how = { .regs = *regs };

	return translate_all(session, &how, vas, nr, results);
}

int session_translate_in(int session, __u32 root, const __u64 *vas, __u32 nr,
			 struct vmem_translation *results)
{
	const struct vmem_translate_args how = {
		.flags = VMEM_TRANSLATE_SPACES,
		.root = root,
	};

	return translate_all(session, &how, vas, nr, results);
}

int session_translate_one(int session, const struct vmem_regs *regs, __u64 va,
			  struct vmem_translation *result)
{
	return session_translate(session, regs, &va, 1, result);
}

static bool continues(const struct vmem_mapping *row,
		      const struct vmem_mapping *next)
{
	return next->va == row->last_va + 1 &&
	       next->gpa - row->gpa == next->va - row->va &&
	       next->page_size == row->page_size && next->kind == row->kind &&
	       next->perms == row->perms && next->attributes == row->attributes;
}

/* The first row of a call may continue the last one of the call before. */
static void maps_take(struct session_maps *maps, __u32 nr_new)
{
	struct vmem_mapping *next = &maps->rows[maps->nr];

	if (maps->nr && nr_new && continues(next - 1, next)) {
		next[-1].last_va = next->last_va;
		memmove(next, next + 1, --nr_new * sizeof(*next));
	}
	maps->nr += nr_new;
}

static int map_range_once(int session, const struct vmem_regs *regs, __u64 va,
			  __u64 last_va, struct session_maps *maps,
			  struct vmem_map_range_args *args)
{
	struct vmem_mapping *rows = &maps->rows[maps->nr];

	memset(rows, POISON, maps->per_call * sizeof(*rows));
	memset(args, POISON, sizeof(*args));
	args->size = sizeof(*args);
	args->flags = maps->flags;
	args->nr = maps->per_call;
	args->mapping_size = sizeof(*rows);
	args->mappings = pointer(rows);
	args->regs = *regs;
	args->va = va;
	args->last_va = last_va;
	return session_call(session, VMEM_MAP_RANGE, args);
}

int session_map_range(int session, const struct vmem_regs *regs, __u64 va,
		      __u64 last_va, struct session_maps *maps)
{
	struct vmem_map_range_args args;
	int ret;

	maps->nr = 0;
	maps->anomalies = 0;
	maps->torn = 0;
	for (maps->nr_calls = 1; maps->nr_calls < MAX_CALLS; maps->nr_calls++) {
		if (maps->nr + maps->per_call > maps->room)
			return -ENOBUFS;
		ret = map_range_once(session, regs, va, last_va, maps, &args);
		if (ret)
			return ret;
		if (args.out_nr > maps->per_call)
			return -ENDLESS;
		maps_take(maps, args.out_nr);
		maps->anomalies += args.out_anomalies;
		maps->torn += args.out_torn;
		if (!args.out_more)
			return 0;
		if (args.out_next_va <= va || args.out_next_va > last_va)
			return -ENDLESS;
		va = args.out_next_va;
	}
	return -ENDLESS;
}

int session_read(int session, const struct vmem_regs *regs, __u64 va, void *buf,
		 __u64 len, struct vmem_read_args *end)
{
	__u64 done = 0;
	int ret;

	memset(buf, POISON, len);
	do {
		memset(end, POISON, sizeof(*end));
		end->size = sizeof(*end);
		end->flags = 0;
		end->regs = *regs;
		end->va = va + done;
		end->len = len - done;
		end->buf = pointer(buf) + done;
		ret = session_call(session, VMEM_READ, end);
		if (ret)
			return ret;
		if (end->out_len > len - done)
			return -ENDLESS;
		if (!end->out_len && end->out_status == VMEM_MAPPED)
			return -ENDLESS;
		done += end->out_len;
	} while (done < len && end->out_status == VMEM_MAPPED);
	end->out_len = done;
	return 0;
}

int session_read_phys(int session, __u64 gpa, void *buf, __u64 len,
		      struct vmem_read_phys_args *end)
{
	__u64 done = 0;
	int ret;

	if (buf)
		memset(buf, POISON, len);
	do {
		memset(end, POISON, sizeof(*end));
		end->size = sizeof(*end);
		end->flags = 0;
		end->gpa = gpa + done;
		end->len = len - done;
		end->buf = buf ? pointer(buf) + done : 0;
		end->__reserved = 0;
		ret = session_call(session, VMEM_READ_PHYS, end);
		if (ret)
			return ret;
		if (end->out_len > len - done)
			return -ENDLESS;
		if (!end->out_len && end->out_status == VMEM_MAPPED)
			return -ENDLESS;
		done += end->out_len;
	} while (done < len && end->out_status == VMEM_MAPPED);
	end->out_len = done;
	return 0;
}

int session_set_spaces(int session, const struct session_spaces *spaces)
{
	struct vmem_set_spaces_args args = {
		.size = sizeof(args),
		.regs = spaces->regs,
		.nr_cr3 = spaces->nr_cr3,
		.nr_excluded = spaces->nr_excluded,
		.cr3 = pointer(spaces->cr3),
		.excluded = pointer(spaces->excluded),
		.va = spaces->va,
		.last_va = spaces->last_va,
	};

	args.regs.cr3 = 0;
	return session_call(session, VMEM_SET_SPACES, &args);
}

static void records_make_room(struct session_records *records)
{
	__u32 need = records->nr + records->per_call;

	if (need <= records->room)
		return;
	records->room = 2 * need;
	records->rows =
		realloc(records->rows, records->room * sizeof(*records->rows));
	must(records->rows ? 0 : -1, "realloc");
}

static bool is_poison(const void *p, size_t len)
{
	const __u8 *byte = p;
	size_t i;

	for (i = 0; i < len; i++)
		if (byte[i] != POISON)
			return false;
	return true;
}

int session_walk_once(int session, struct session_records *records, bool *more)
{
	struct vmem_walk_spaces_args args;
	struct vmem_record *rows;
	__u32 left;
	int ret;

	records_make_room(records);
	rows = records->rows + records->nr;
	memset(rows, POISON, records->per_call * sizeof(*rows));
	memset(&args, POISON, sizeof(args));
	args.size = sizeof(args);
	args.flags = 0;
	args.nr = records->per_call;
	args.record_size = sizeof(*rows);
	args.records = pointer(rows);
	ret = session_call(session, VMEM_WALK_SPACES, &args);
	if (ret)
		return ret;
	if (args.out_nr > records->per_call || args.out_more > 1)
		return -EPROTO;
	left = records->per_call - args.out_nr;
	if (!is_poison(rows + args.out_nr, left * sizeof(*rows)))
		return -EPROTO;
	records->nr += args.out_nr;
	records->nr_calls++;
	records->stats = args.out_stats;
	*more = args.out_more;
	return 0;
}

int session_walk_spaces(int session, struct session_records *records)
{
	bool more = true;
	int ret = 0;

	records->nr = 0;
	records->nr_calls = 0;
	while (!ret && more)
		ret = records->nr_calls < MAX_CALLS ?
			      session_walk_once(session, records, &more) :
			      -ENDLESS;
	return ret;
}

int fd_of_process(pid_t pid, int fd)
{
	int pidfd = (int)must(syscall(SYS_pidfd_open, pid, 0), "pidfd_open");
	int ours = (int)must(syscall(SYS_pidfd_getfd, pidfd, fd, 0),
			     "pidfd_getfd");

	close(pidfd);
	return ours;
}

#define NOBODY 65534

void become_nobody(void)
{
	must(syscall(SYS_setresgid, NOBODY, NOBODY, NOBODY), "setresgid");
	must(syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY), "setresuid");
}

static long long stat_value(const char *name)
{
	char line[128], key[64];
	long long value = 0, v;
	FILE *file;

	file = fopen("/proc/vmstat", "r");
	must(file ? 0 : -1, "/proc/vmstat");
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s %lld", key, &v) == 2 &&
		    !strcmp(key, name))
			value = v;
	fclose(file);
	return value;
}

/* Batches of pages that the kernel is about to give back hold references, too. */
static void drain_batches(void)
{
	static char page[PAGE];
	void *pages[] = { page };
	int node = 0, status;

	must(syscall(SYS_move_pages, 0, 1, pages, &node, &status, 0),
	     "move_pages");
}

/* Of /proc/kpageflags. A slab page may look anonymous: it uses that word itself. */
#define KPF_SLAB BIT_ULL(7)
#define KPF_MMAP BIT_ULL(11)
#define KPF_ANON BIT_ULL(12)
#define KPF_SWAPCACHE BIT_ULL(13)
/* Poisoned: the kernel keeps it from everybody. */
#define KPF_HWPOISON BIT_ULL(19)

/* Reads the flags of every page of the machine, which takes a while. */
static long long look_for_orphans(void)
{
	static __u64 flags[PAGE];
	const __u64 mask = KPF_SLAB | KPF_MMAP | KPF_ANON | KPF_SWAPCACHE |
			   KPF_HWPOISON;
	long long orphans = 0;
	ssize_t i, len;
	int fd;

	fd = (int)must(open("/proc/kpageflags", O_RDONLY), "/proc/kpageflags");
	while ((len = must(read(fd, flags, sizeof(flags)), "kpageflags")))
		for (i = 0; i < len / (ssize_t)sizeof(*flags); i++)
			orphans += (flags[i] & mask) == KPF_ANON;
	close(fd);
	return orphans;
}

/**
 * struct unmapped - what the kernel's own counts say of memory that nobody maps
 * @pages: anonymous pages on its lists, less those that are mapped
 * @huge: free huge pages, none of which are on these lists
 */
struct unmapped {
	long long pages;
	long long huge;
};

static struct unmapped count_unmapped(void)
{
	return (struct unmapped){
		.pages = stat_value("nr_active_anon") +
			 stat_value("nr_inactive_anon") +
			 stat_value("nr_unevictable") -
			 stat_value("nr_anon_pages") - stat_value("nr_shmem"),
		.huge = kilobytes("HugePages_Free"),
	};
}

/*
 * Pages of memory that nobody maps any more, and that are there all the same. While the
 * kernel's own counts are what they were when there were none, there are none.
 */
static long long count_orphans(void)
{
	static struct unmapped of_none = { -1, -1 };
	const struct unmapped before = count_unmapped();
	struct unmapped after;
	long long orphans;

	if (!memcmp(&before, &of_none, sizeof(before)))
		return 0;
	orphans = look_for_orphans();
	after = count_unmapped();
	if (!orphans && !memcmp(&before, &after, sizeof(before)))
		of_none = before;
	return orphans;
}

static void refresh_stats(void)
{
	/* Adds up what each CPU has counted for itself. */
	must(file_put("/proc/sys/vm/stat_refresh", "1"), "stat_refresh");
}

long long pins_ever(void)
{
	refresh_stats();
	return stat_value("nr_foll_pin_acquired");
}

long long pages_lost(void)
{
	drain_batches();
	refresh_stats();
	return stat_value("nr_foll_pin_acquired") -
	       stat_value("nr_foll_pin_released") + count_orphans();
}

long long pages_lost_before(void)
{
	long long lost = pages_lost();

	for (int i = 0; lost && i < 25; i++) {
		usleep(20000);
		lost = pages_lost();
	}
	return lost;
}

static void survive(int signal)
{
	(void)signal;
}

/* Of late whoever says so gets a SIGBUS, as one who had touched the page. */
int poison(void *page)
{
	struct sigaction before, handled = { .sa_handler = survive };
	int ret;

	must(sigaction(SIGBUS, &handled, &before), "sigaction");
	ret = madvise(page, PAGE, MADV_HWPOISON);
	must(sigaction(SIGBUS, &before, NULL), "sigaction");
	return ret;
}
