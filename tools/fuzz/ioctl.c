// SPDX-License-Identifier: GPL-2.0-only
/*
 * ioctl.c - any calls in any order, on a machine that is pulled about meanwhile
 *
 * Threads make calls that are right, almost right or wrong, on the same few
 * sessions. They write any entries to the guest's tables, take its memory away
 * and bring it back, close sessions that others are in, and fork. Whatever comes
 * of it: a call fails as its errnos are documented, and then leaves its
 * arguments as they were; it writes where it is to write and nowhere else; and
 * in the end no page is pinned.
 *
 * VMEM_SEED begins the random numbers, and VMEM_CALLS says how many calls each
 * thread makes. What the threads do follows from the seed; how they meet does
 * not.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <linux/kvm.h>

#include "folder.h"
#include "ktap.h"
#include "session.h"
#include "tables.h"

#define NR_THREADS 4
#define NR_SESSIONS 5
#define DEFAULT_CALLS 3000

#define DEBUGFS "/sys/kernel/debug/vmem"

/* Guest memory: tables for the most part, in anonymous memory and in a file. */
#define RAM_PAGES 64
#define RAM_LEN (RAM_PAGES * PAGE)
#define RAM_GPA MB(1)
#define FILE_GPA MB(16)
#define HALF (RAM_LEN / 2)

/* What a thread's calls read and write, with nothing behind it. */
#define ROOM (16 * PAGE)

static unsigned long long seed;

/**
 * struct thread - one that calls
 * @random: its random numbers
 * @args: where its calls have their arguments
 * @array: where its calls have their arrays; ROOM bytes
 */
struct thread {
	__u64 random;
	__u8 *args;
	__u8 *array;
};

/* The machine. */
static __u8 *ram;
static int ram_file;
static int kvm_fd;
static int vm_fd;
static bool is_kvm;
static atomic_int sessions[NR_SESSIONS];
/* What is wrong is told by one thread only. */
static pthread_mutex_t telling = PTHREAD_MUTEX_INITIALIZER;

#define TELL(...)                               \
	do {                                    \
		pthread_mutex_lock(&telling);   \
		ktap_fail(__VA_ARGS__);         \
		pthread_mutex_unlock(&telling); \
	} while (0)

/* xorshift64*: small, and the same everywhere. */
static __u64 random64(struct thread *t)
{
	t->random ^= t->random >> 12;
	t->random ^= t->random << 25;
	t->random ^= t->random >> 27;
	return t->random * 0x2545f4914f6cdd1dULL;
}

static __u32 below(struct thread *t, __u32 limit)
{
	return (__u32)(random64(t) >> 33) % limit;
}

static bool one_in(struct thread *t, __u32 n)
{
	return !below(t, n);
}

static __u64 pick(struct thread *t, const __u64 *values, __u32 nr)
{
	return values[below(t, nr)];
}

#define PICK(t, ...)                            \
	pick(t, (const __u64[]){ __VA_ARGS__ }, \
	     ARRAY_SIZE(((const __u64[]){ __VA_ARGS__ })))

/* ---- the guest ---- */

static __u64 page_gpa(__u32 page)
{
	return page < RAM_PAGES / 2 ? RAM_GPA + page * PAGE :
				      FILE_GPA + (page - RAM_PAGES / 2) * PAGE;
}

static __u64 some_entry(struct thread *t)
{
	__u64 flags = PTE_P | (random64(t) & (PTE_W | PTE_U | 0xe78));

	switch (below(t, 16)) {
	case 0:
		return random64(t);
	case 1:
		return 0;
	case 2:
		return GB(8) | flags;
	case 3:
		return (below(t, 512) * MB(2)) | flags | PTE_PS;
	case 4:
	case 5:
		/* As a root of PAE has them. */
		return page_gpa(below(t, RAM_PAGES)) | PTE_P;
	default:
		return page_gpa(below(t, RAM_PAGES)) | flags;
	}
}

static __u32 some_index(struct thread *t)
{
	return one_in(t, 4) ? below(t, 512) :
			      (__u32)PICK(t, 0, 1, 255, 256, 511);
}

/* Its pages may not be there: a write by system call fails then. */
static void write_guest(struct thread *t)
{
	__u64 raw = some_entry(t);
	struct iovec from = { &raw, sizeof(raw) };
	struct iovec to = { ram + below(t, RAM_PAGES) * PAGE +
				    some_index(t) * sizeof(raw),
			    sizeof(raw) };

	process_vm_writev(getpid(), &from, 1, &to, 1, 0);
}

static void map_ram(__u64 offset, __u64 len, int prot)
{
	bool in_file = offset >= HALF;

	if (in_file)
		mmap(ram + offset, len, prot, MAP_SHARED | MAP_FIXED, ram_file,
		     (off_t)(offset - HALF));
	else
		mmap(ram + offset, len, prot,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void set_slot(__u32 id, __u64 gpa, __u64 offset, __u64 len)
{
	struct kvm_userspace_memory_region region = {
		.slot = id,
		.guest_phys_addr = gpa,
		.memory_size = len,
		.userspace_addr = (uintptr_t)ram + offset,
	};

	ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static void move_slot(struct thread *t)
{
	__u32 id = below(t, 2);
	__u64 gpa = id ? FILE_GPA : RAM_GPA;

	if (!is_kvm)
		return;
	set_slot(id, gpa, id * HALF, 0);
	set_slot(id, one_in(t, 4) ? gpa + GB(1) : gpa, id * HALF, HALF);
}

/* What a VMM may do to its guest's memory. Nobody else maps anything now. */
static void pull(struct thread *t)
{
	__u32 page = below(t, RAM_PAGES), nr = 1 + below(t, 4);
	__u64 offset = page * PAGE, len = nr * PAGE;

	/* Not across the middle, where another kind of memory begins. */
	if (offset / HALF != (offset + len - 1) / HALF)
		len = PAGE;
	switch (below(t, 8)) {
	case 0:
		madvise(ram + offset, len, MADV_DONTNEED);
		break;
	case 1:
		fallocate(ram_file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  (off_t)(offset % HALF), (off_t)len);
		break;
	case 2:
		munmap(ram + offset, len);
		break;
	case 3:
		map_ram(offset, len, PROT_NONE);
		break;
	case 4:
		move_slot(t);
		break;
	default:
		map_ram(offset, len, PROT_READ | PROT_WRITE);
	}
}

/* ---- sessions ---- */

static struct vmem_attach_regions_args good_regions(struct vmem_region *regions)
{
	regions[0] = (struct vmem_region){ .gpa = RAM_GPA,
					   .len = HALF,
					   .hva = (uintptr_t)ram };
	regions[1] = (struct vmem_region){ .gpa = FILE_GPA,
					   .len = HALF,
					   .hva = (uintptr_t)ram + HALF };
	return (struct vmem_attach_regions_args){
		.size = sizeof(struct vmem_attach_regions_args),
		.nr = 2,
		.region_size = sizeof(*regions),
		.regions = (uintptr_t)regions,
	};
}

/*
 * A thread may be late, and call a session that is closed. So that it does not
 * call something else, their descriptors are others than all others, and come
 * back after a long time only.
 */
static int own_number(int fd)
{
	static atomic_uint next;
	int number = 100 + atomic_fetch_add(&next, 1) % 800;

	if (fd < 0)
		return fd;
	must(dup3(fd, number, O_CLOEXEC), "dup3");
	close(fd);
	return number;
}

static int open_session(bool attach)
{
	int session = own_number(open("/dev/vmem", O_RDWR | O_CLOEXEC));
	struct vmem_region regions[2];
	struct vmem_attach_regions_args args = good_regions(regions);

	if (session < 0 || !attach)
		return session;
	if (is_kvm)
		session_attach_kvm(session, vm_fd);
	else
		session_call(session, VMEM_ATTACH_REGIONS, &args);
	return session;
}

static void replace_session(struct thread *t)
{
	int new = open_session(!one_in(t, 4));
	int old = atomic_exchange(&sessions[below(t, NR_SESSIONS)], new);

	if (old >= 0)
		close(old);
}

/* ---- calls ---- */

/* Errnos, as bits. */
#define E(x) ((__uint128_t)1 << (x))
#define E_ANY (E(EFAULT) | E(EINVAL) | E(E2BIG) | E(EOPNOTSUPP) | E(EBADF))
#define E_GMEM (E_ANY | E(ENOTCONN) | E(EPERM))
#define E_MEM (E_GMEM | E(ENOMEM) | E(ESRCH) | E(EINTR))

/**
 * struct call - a command
 * @name: for people
 * @cmd: its number
 * @size: bytes of its arguments
 * @pointers: offsets of the pointers in them, 0 behind the last
 * @out: offset of the first of them that the kernel writes
 * @out_len: how many bytes; 0 if all from there on are
 * @errnos: those that it may have
 * @fill: makes the rest of arguments that are right
 * @written: optional: how many bytes it may write at the last pointer
 * @check: optional: does what it says make sense?
 */
struct call {
	const char *name;
	unsigned long cmd;
	__u32 size;
	__u32 pointers[2];
	__u32 out;
	__u32 out_len;
	__uint128_t errnos;
	void (*fill)(struct thread *t, void *args);
	__u64 (*written)(const void *args);
	bool (*check)(const void *args);
};

static __u32 some_rules(struct thread *t)
{
	__u32 rules = below(t, 4) * VMEM_RULES_AMD;

	if (one_in(t, 2))
		return rules;
	return rules | VMEM_RULES_ENCRYPTION_BIT(32 + below(t, 20)) |
	       (one_in(t, 2) ? VMEM_RULES_SHARED_BIT : 0);
}

static void set_mode(struct thread *t, struct vmem_regs *regs)
{
	switch (below(t, 6)) {
	case 0:
		regs->cr4 = CR4_PSE;
		break;
	case 1:
	case 2:
		regs->cr3 += below(t, PAGE / 32) * 32;
		regs->cr4 = CR4_PAE;
		regs->efer = EFER_NXE;
		break;
	case 3:
		regs->cr4 = CR4_PAE | CR4_LA57;
		regs->efer = EFER_LME | EFER_NXE;
		break;
	default:
		regs->cr4 = CR4_PAE;
		regs->efer = EFER_LME | EFER_NXE;
	}
	regs->cr4 |= random64(t) & (CR4_PGE | CR4_PKE);
}

static struct vmem_regs some_regs(struct thread *t)
{
	struct vmem_regs regs = {
		.cr0 = CR0_PE | CR0_PG,
		.cr3 = page_gpa(below(t, RAM_PAGES)),
		.maxphyaddr = 48,
		.rules = some_rules(t),
	};

	set_mode(t, &regs);
	if (one_in(t, 4)) {
		regs.cow_mask = 7 << 9;
		regs.cow_value = 1 << 9;
	}
	return regs;
}

/* Of 4 levels, of 5, or of 32 bits. */
static __u64 some_va(struct thread *t)
{
	__u64 va = random64(t) & (PAGE - 1), sign = BIT_ULL(47);
	int shift;

	if (one_in(t, 16))
		return random64(t);
	if (one_in(t, 4))
		return (__u32)random64(t);
	if (one_in(t, 4))
		sign = BIT_ULL(56);
	for (shift = 12; BIT_ULL(shift) < sign; shift += 9)
		va |= (__u64)some_index(t) << shift;
	return va & sign ? va | -sign : va;
}

static void fill_attach_kvm(struct thread *t, void *args)
{
	struct vmem_attach_kvm_args *a = args;

	a->vm_fd = one_in(t, 3) ? (int)below(t, 16) : vm_fd;
}

static void fill_attach_regions(struct thread *t, void *args)
{
	struct vmem_attach_regions_args *a = args;
	struct vmem_region *regions = (void *)t->array;

	*a = good_regions(regions);
	if (one_in(t, 3))
		((__u64 *)regions)[below(t, 6)] =
			PICK(t, 0, 1, PAGE, RAM_GPA, ~0ULL, -PAGE, BIT_ULL(52));
}

static void fill_memslots(struct thread *t, void *args)
{
	struct vmem_memslots_args *a = args;

	a->nr = 1 + below(t, 4);
	a->slot_size = sizeof(struct vmem_memslot);
	a->slots = (uintptr_t)t->array;
	a->gpa = PICK(t, 0, RAM_GPA, RAM_GPA + 1, FILE_GPA, ~0ULL);
}

static __u64 written_memslots(const void *args)
{
	const struct vmem_memslots_args *a = args;

	return (__u64)a->nr * a->slot_size;
}

static bool check_memslots(const void *args)
{
	const struct vmem_memslots_args *a = args;

	return a->out_nr <= a->nr;
}

static void fill_vcpu(struct thread *t, void *args)
{
	struct vmem_vcpu_args *a = args;

	a->index = below(t, 3);
	a->timeout_us = (__u32)PICK(t, 0, 1, VMEM_MAX_VCPU_TIMEOUT_US);
}

static void fill_translate(struct thread *t, void *args)
{
	struct vmem_translate_args *a = args;
	__u64 *vas = (__u64 *)(t->array + ROOM) - 200;
	__u32 i;

	a->nr = one_in(t, 4) ? 1 + below(t, 200) : 1 + below(t, 4);
	a->result_size = PICK(t, VMEM_TRANSLATION_BRIEF,
			      sizeof(struct vmem_translation),
			      sizeof(struct vmem_translation) + 8);
	for (i = 0; i < 200; i++)
		vas[i] = some_va(t);
	/* The last address is at the end of what there is. */
	a->vas = (uintptr_t)(vas + 200 - a->nr);
	a->results = (uintptr_t)t->array;
	if (one_in(t, 2)) {
		a->flags = VMEM_TRANSLATE_SPACES;
		a->root = below(t, 4);
	} else {
		a->regs = some_regs(t);
	}
}

static __u64 written_translate(const void *args)
{
	const struct vmem_translate_args *a = args;

	return (__u64)a->nr * a->result_size;
}

/* What a walk over spaces alone tells is left out. */
static bool is_status_of_path(__u32 status)
{
	return status <= VMEM_TORN || status == VMEM_UNREADABLE;
}

static bool check_translate(const void *args)
{
	const struct vmem_translate_args *a = args;
	const struct vmem_translation *first = (void *)(uintptr_t)a->results;

	return a->out_nr && a->out_nr <= a->nr &&
	       is_status_of_path(first->out_status) &&
	       first->out_nr_trace <= VMEM_MAX_LEVELS;
}

static void fill_map_range(struct thread *t, void *args)
{
	struct vmem_map_range_args *a = args;

	a->nr = 1 + below(t, 200);
	a->flags = one_in(t, 2) ? VMEM_MAP_ATTRIBUTES : 0;
	a->mapping_size = PICK(t, offsetof(struct vmem_mapping, attributes),
			       sizeof(struct vmem_mapping),
			       sizeof(struct vmem_mapping) + 8);
	a->mappings = (uintptr_t)t->array;
	a->regs = some_regs(t);
	a->va = one_in(t, 3) ? 0 : some_va(t);
	a->last_va = one_in(t, 3) ? ~0ULL : a->va + (random64(t) >> 30);
}

static __u64 written_map_range(const void *args)
{
	const struct vmem_map_range_args *a = args;

	return (__u64)a->nr * a->mapping_size;
}

static bool check_map_range(const void *args)
{
	const struct vmem_map_range_args *a = args;

	return a->out_nr <= a->nr && a->out_more <= 1 &&
	       (!a->out_more ||
		(a->out_next_va > a->va && a->out_next_va <= a->last_va));
}

static void fill_read(struct thread *t, void *args)
{
	struct vmem_read_args *a = args;

	a->regs = some_regs(t);
	a->va = some_va(t);
	a->len = 1 + below(t, 3 * PAGE);
	a->buf = (uintptr_t)t->array;
}

static __u64 written_read(const void *args)
{
	return ((const struct vmem_read_args *)args)->len;
}

static bool check_read(const void *args)
{
	const struct vmem_read_args *a = args;

	return a->out_len <= a->len && is_status_of_path(a->out_status);
}

static void fill_set_spaces(struct thread *t, void *args)
{
	struct vmem_set_spaces_args *a = args;
	__u64 *cr3 = (void *)t->array;
	struct vmem_span *spans = (void *)(t->array + PAGE);
	__u32 i;

	a->regs = some_regs(t);
	a->regs.cr3 = 0;
	a->nr_cr3 = 1 + below(t, 6);
	for (i = 0; i < 6; i++)
		cr3[i] = page_gpa(below(t, RAM_PAGES)) +
			 (one_in(t, 4) ? below(t, PAGE / 32) * 32 : 0);
	a->cr3 = (uintptr_t)cr3;
	a->nr_excluded = below(t, 3);
	for (i = 0; i < 3; i++)
		spans[i] = (struct vmem_span){ MB(1) << 4 * i,
					       (MB(1) << 4 * i) + MB(1) - 1 };
	a->excluded = (uintptr_t)spans;
	a->va = one_in(t, 2) ? 0 : some_va(t) & ~(PAGE - 1);
	a->last_va = ~0ULL;
}

static void fill_walk_spaces(struct thread *t, void *args)
{
	struct vmem_walk_spaces_args *a = args;

	a->nr = 1 + below(t, 400);
	a->record_size = sizeof(struct vmem_record);
	a->records = (uintptr_t)t->array;
}

static __u64 written_walk_spaces(const void *args)
{
	const struct vmem_walk_spaces_args *a = args;

	return (__u64)a->nr * a->record_size;
}

static bool check_walk_spaces(const void *args)
{
	const struct vmem_walk_spaces_args *a = args;

	return a->out_nr <= a->nr && a->out_more <= 1 &&
	       a->out_stats.known <= VMEM_MAX_TABLES;
}

static void fill_read_phys(struct thread *t, void *args)
{
	struct vmem_read_phys_args *a = args;

	a->gpa = page_gpa(below(t, RAM_PAGES)) + below(t, PAGE);
	a->len = 1 + below(t, 3 * PAGE);
	a->buf = one_in(t, 4) ? 0 : (uintptr_t)t->array;
}

static __u64 written_read_phys(const void *args)
{
	return ((const struct vmem_read_phys_args *)args)->len;
}

static bool check_read_phys(const void *args)
{
	const struct vmem_read_phys_args *a = args;

	return a->out_len <= a->len &&
	       (a->out_status == VMEM_MAPPED ||
		(a->out_len < a->len && (a->out_status == VMEM_UNBACKED ||
					 a->out_status == VMEM_UNREADABLE)));
}

#define CALL(NAME, lower, ...)             \
	.name = #NAME, .cmd = VMEM_##NAME, \
	.size = sizeof(struct vmem_##lower##_args), __VA_ARGS__

#define AT(lower, member) offsetof(struct vmem_##lower##_args, member)

static const struct call calls[] = {
	{ CALL(INFO, info, .out = AT(info, out_api_version), .errnos = E_ANY) },
	{ CALL(ATTACH_KVM, attach_kvm, .fill = fill_attach_kvm,
	       .errnos = E_MEM | E(EISCONN)) },
	{ CALL(ATTACH_REGIONS, attach_regions, .fill = fill_attach_regions,
	       .pointers = { AT(attach_regions, regions) },
	       .errnos = E_MEM | E(EISCONN) | E(EOVERFLOW)) },
	{ CALL(MEMSLOTS, memslots, .out = AT(memslots, out_nr),
	       .out_len = sizeof(__u32), .fill = fill_memslots,
	       .pointers = { AT(memslots, slots) }, .written = written_memslots,
	       .check = check_memslots, .errnos = E_GMEM) },
	{ CALL(VCPU, vcpu, .out = AT(vcpu, out_id),
	       .out_len = AT(vcpu, timeout_us) - AT(vcpu, out_id),
	       .fill = fill_vcpu, .errnos = E_GMEM) },
	{ CALL(TRANSLATE, translate, .out = AT(translate, out_nr),
	       .out_len = sizeof(__u32), .fill = fill_translate,
	       .pointers = { AT(translate, vas), AT(translate, results) },
	       .written = written_translate, .check = check_translate,
	       .errnos = E_MEM | E(ENXIO) | E(ENODATA) | E(EBUSY)) },
	{ CALL(MAP_RANGE, map_range, .out = AT(map_range, out_nr),
	       .fill = fill_map_range, .pointers = { AT(map_range, mappings) },
	       .written = written_map_range, .check = check_map_range,
	       .errnos = E_MEM | E(ENXIO) | E(EOVERFLOW)) },
	{ CALL(READ, read, .out = AT(read, out_len), .fill = fill_read,
	       .pointers = { AT(read, buf) }, .written = written_read,
	       .check = check_read,
	       .errnos = E_MEM | E(ENXIO) | E(EOVERFLOW)) },
	{ CALL(SET_SPACES, set_spaces, .fill = fill_set_spaces,
	       .pointers = { AT(set_spaces, cr3), AT(set_spaces, excluded) },
	       .errnos = E_GMEM | E(ENOMEM) | E(EISCONN) | E(EOVERFLOW)) },
	{ CALL(WALK_SPACES, walk_spaces, .out = AT(walk_spaces, out_nr),
	       .fill = fill_walk_spaces,
	       .pointers = { AT(walk_spaces, records) },
	       .written = written_walk_spaces, .check = check_walk_spaces,
	       .errnos = E_MEM | E(ENODATA) | E(EBUSY) | E(ENOSPC)) },
	{ CALL(READ_PHYS, read_phys, .out = AT(read_phys, out_len),
	       .out_len = AT(read_phys, __reserved) - AT(read_phys, out_len),
	       .fill = fill_read_phys, .pointers = { AT(read_phys, buf) },
	       .written = written_read_phys, .check = check_read_phys,
	       .errnos = E_MEM | E(EOVERFLOW)) },
};

/* How often each was made, and how often it succeeded. */
static atomic_int made[ARRAY_SIZE(calls)];
static atomic_int succeeded[ARRAY_SIZE(calls)];

static bool is_pointer(const struct call *call, __u32 offset)
{
	return offset &&
	       (offset == call->pointers[0] || offset == call->pointers[1]);
}

static void set32(void *args, __u32 offset, __u32 value)
{
	memcpy((char *)args + offset, &value, sizeof(value));
}

static void set64(void *args, __u32 offset, __u64 value)
{
	memcpy((char *)args + offset, &value, sizeof(value));
}

/* Almost right, or not at all. Pointers lead nowhere, never to our own things. */
static void spoil(struct thread *t, const struct call *call, void *args)
{
	__u32 offset = below(t, call->size / 8) * 8;

	switch (below(t, 8)) {
	case 0:
		set32(args, 0,
		      (__u32)PICK(t, 0, 4, 8, call->size - 8, call->size - 4,
				  call->size + 8, 4096, 4097, ~0U));
		return;
	case 1:
		set32(args, 4, 1U << below(t, 32));
		return;
	case 2:
		offset = call->pointers[below(t, 2)];
		if (offset)
			set64(args, offset,
			      PICK(t, 0, 1, ~0ULL, BIT_ULL(47),
				   0xffff888000000000ULL,
				   (uintptr_t)t->array + ROOM,
				   (uintptr_t)t->array + ROOM - 8,
				   (uintptr_t)t->array + 4));
		return;
	}
	if (is_pointer(call, offset))
		return;
	if (one_in(t, 2))
		set64(args, offset,
		      PICK(t, 0, 1, ~0ULL, BIT_ULL(31), BIT_ULL(32),
			   BIT_ULL(47), BIT_ULL(52), BIT_ULL(63), random64(t)));
	else
		set32(args, offset + 4 * below(t, 2),
		      (__u32)PICK(t, 0, 1, 31, 53, 4096, 4097, ~0U, 1U << 31));
}

static bool is_all(const __u8 *bytes, __u8 value, __u64 len)
{
	__u64 i;

	for (i = 0; i < len; i++)
		if (bytes[i] != value)
			return false;
	return true;
}

/* Where it writes; 0 for nowhere. */
static __u64 out_pointer(const struct call *call, const void *args)
{
	__u64 pointer = 0;

	if (call->written)
		memcpy(&pointer,
		       (const char *)args +
			       (call->pointers[1] ?: call->pointers[0]),
		       sizeof(pointer));
	return pointer;
}

/* How much of the array does not belong to what it reads. */
static __u64 room_of(const struct call *call)
{
	return call->cmd == VMEM_TRANSLATE ? ROOM - 200 * sizeof(__u64) : ROOM;
}

/* Nothing is written behind the elements, or into arguments of a call that failed. */
static void check_outcome(struct thread *t, const struct call *call,
			  const void *before, int ret)
{
	__u64 room = room_of(call), written;

	if (ret && memcmp(before, t->args, call->size))
		TELL("%s failed with %d and changed its arguments", call->name,
		     ret);
	if (ret && !(call->errnos & E(-ret)))
		TELL("%s failed with %d, which is not documented", call->name,
		     ret);
	if (out_pointer(call, before) != (uintptr_t)t->array)
		return;
	written = call->written(before);
	if (written < room &&
	    !is_all(t->array + written, POISON, room - written))
		TELL("%s wrote behind its %llu bytes", call->name, written);
}

static void make_call(struct thread *t, int session)
{
	__u32 which = below(t, ARRAY_SIZE(calls));
	const struct call *call = &calls[which];
	bool spoilt = one_in(t, 3);
	__u8 before[512];
	int ret;

	memset(t->args, POISON, call->size);
	memset(t->array, POISON, ROOM);
	set32(t->args, 0, call->size);
	set32(t->args, 4, 0);
	if (call->fill) {
		memset(t->args + 8, 0, call->size - 8);
		call->fill(t, t->args);
		set32(t->args, 0, call->size);
	}
	if (call->out)
		memset(t->args + call->out, POISON,
		       call->out_len ?: call->size - call->out);
	if (spoilt)
		spoil(t, call, t->args);
	memcpy(before, t->args, call->size);
	ret = session_call(session, call->cmd, t->args);
	check_outcome(t, call, before, ret);
	made[which]++;
	if (ret)
		return;
	succeeded[which]++;
	if (!spoilt && call->check && !call->check(t->args))
		TELL("%s says what makes no sense", call->name);
}

/* No such command, or none at all. */
static void make_no_call(struct thread *t, int session)
{
	unsigned long cmd = one_in(t, 2) ?
				    _IO(VMEM_IOC_TYPE, 0x0c + below(t, 0xf4)) :
				    (__u32)random64(t);
	int ret;

	if (_IOC_TYPE(cmd) == VMEM_IOC_TYPE && _IOC_NR(cmd) < 0x0c)
		return;
	ret = session_call(session, cmd, t->args);
	/* The file system's own ioctls are answered before. */
	if (ret == -ENOTTY || ret == -EBADF || _IOC_TYPE(cmd) != VMEM_IOC_TYPE)
		return;
	TELL("command %#lx: %d", cmd, ret);
}

/* A child has the sessions, but not the memory of a region table. */
static void fork_and_call(struct thread *t, int session)
{
	struct vmem_info_args info = { .size = sizeof(info) };
	pid_t pid = fork();

	if (pid < 0)
		return;
	if (!pid) {
		int i;

		t->random ^= (__u64)getpid() << 32;
		session_call(session, VMEM_INFO, &info);
		for (i = 0; i < 20; i++)
			make_call(t, session);
		_exit(!!ktap_reason[0]);
	}
	ktap_wait(pid);
}

/* What a reader of debugfs sees of a session that may go meanwhile. */
static void read_debugfs(struct thread *t)
{
	static const char *const names[] = { "memslots", "counters", "spaces" };
	char path[512], text[4096];
	struct dirent *entry;
	DIR *dir = opendir(DEBUGFS);
	long long hints;
	const char *at;
	ssize_t len;
	int fd;

	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || one_in(t, 2))
			continue;
		snprintf(path, sizeof(path), DEBUGFS "/%s/%s", entry->d_name,
			 names[below(t, 3)]);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			continue;
		len = read(fd, text, sizeof(text) - 1);
		close(fd);
		text[len > 0 ? len : 0] = '\0';
		at = strstr(text, "hints ");
		if (at && sscanf(at, "hints %lld", &hints) == 1 &&
		    (hints < 0 || hints > 1024))
			TELL("there are %lld hints", hints);
	}
	closedir(dir);
}

static int nr_calls(void)
{
	const char *text = getenv("VMEM_CALLS");

	return text ? atoi(text) : DEFAULT_CALLS;
}

static void *run_thread(void *arg)
{
	struct thread *t = arg;
	int i, nr = nr_calls();

	for (i = 0; i < nr && !ktap_reason[0]; i++) {
		int session = atomic_load(&sessions[below(t, NR_SESSIONS)]);

		if (one_in(t, 40))
			replace_session(t);
		if (one_in(t, 500))
			fork_and_call(t, session);
		if (one_in(t, 200))
			read_debugfs(t);
		if (one_in(t, 8))
			pull(t);
		if (one_in(t, 2))
			write_guest(t);
		if (one_in(t, 30))
			make_no_call(t, session);
		make_call(t, session);
	}
	return NULL;
}

/* ---- the cases ---- */

/* A page of arguments and an array, each with nothing behind it. */
static void thread_init(struct thread *t, int nr)
{
	__u64 guard = MB(1);
	__u8 *all = mmap(NULL, ROOM + PAGE + 2 * guard, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(all == MAP_FAILED ? -1 : 0, "mmap");
	must(mprotect(all, PAGE, PROT_READ | PROT_WRITE), "mprotect");
	must(mprotect(all + guard, ROOM, PROT_READ | PROT_WRITE), "mprotect");
	t->args = all + PAGE - 512;
	t->array = all + guard;
	t->random = (seed + 1) * 0x9e3779b97f4a7c15ULL + (__u64)nr * 77777;
	t->random |= 1;
}

static void make_machine(bool kvm)
{
	struct thread t;
	int i;

	is_kvm = kvm;
	ram = mmap(NULL, RAM_LEN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		   0);
	must(ram == MAP_FAILED ? -1 : 0, "mmap");
	ram_file = (int)must(memfd_create("ram", MFD_CLOEXEC), "memfd_create");
	must(ftruncate(ram_file, HALF), "ftruncate");
	map_ram(0, HALF, PROT_READ | PROT_WRITE);
	map_ram(HALF, HALF, PROT_READ | PROT_WRITE);
	thread_init(&t, -1);
	for (i = 0; i < 400; i++)
		write_guest(&t);
	vm_fd = -1;
	if (kvm) {
		kvm_fd = (int)must(open("/dev/kvm", O_RDWR | O_CLOEXEC),
				   "/dev/kvm");
		vm_fd = (int)must(ioctl(kvm_fd, KVM_CREATE_VM, 0),
				  "KVM_CREATE_VM");
		set_slot(0, RAM_GPA, 0, HALF);
		set_slot(1, FILE_GPA, HALF, HALF);
		close((int)must(ioctl(vm_fd, KVM_CREATE_VCPU, 0),
				"KVM_CREATE_VCPU"));
	}
	for (i = 0; i < NR_SESSIONS; i++)
		atomic_store(&sessions[i], open_session(true));
}

static void free_machine(void)
{
	int i;

	for (i = 0; i < NR_SESSIONS; i++)
		close(atomic_load(&sessions[i]));
	munmap(ram, RAM_LEN);
	close(ram_file);
	if (is_kvm) {
		close(vm_fd);
		close(kvm_fd);
	}
}

static void run_machine(bool kvm)
{
	static struct thread threads[NR_THREADS];
	pthread_t ids[NR_THREADS];
	long long lost = pages_lost();
	size_t i;

	make_machine(kvm);
	for (i = 0; i < NR_THREADS; i++) {
		thread_init(&threads[i], i);
		errno = pthread_create(&ids[i], NULL, run_thread, &threads[i]);
		must(errno ? -1 : 0, "pthread_create");
	}
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(ids[i], NULL);
	free_machine();
	CHECK_EQ(pages_lost(), lost);
	CHECK_EQ(count_folders(), 0);
	/* Or there was nothing that could go wrong. */
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		printf("# %s: %d of %d succeeded\n", calls[i].name,
		       succeeded[i], made[i]);
		if (kvm || (calls[i].cmd != VMEM_VCPU &&
			    calls[i].cmd != VMEM_ATTACH_KVM))
			CHECK_EQ_AT(calls[i].name, !succeeded[i], 0);
	}
	memset(made, 0, sizeof(made));
	memset(succeeded, 0, sizeof(succeeded));
}

static void regions(void)
{
	run_machine(false);
}

static void kvm(void)
{
	run_machine(true);
}

static const struct ktap_case cases[] = {
	{ "regions", regions },
	{ "kvm", kvm },
};

int main(void)
{
	const char *text = getenv("VMEM_SEED");

	seed = text ? strtoull(text, NULL, 0) : 1;
	printf("# VMEM_SEED=%llu VMEM_CALLS=%d\n", seed, nr_calls());
	return ktap_main(cases, ARRAY_SIZE(cases));
}
