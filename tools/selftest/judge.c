// SPDX-License-Identifier: GPL-2.0-only
/*
 * judge.c - the processor judges what is said of accesses to memory
 *
 * A guest reads, writes and fetches, at both privilege levels, over page tables made
 * at random (judge_tables.c), and notes how each access ended. That is compared with
 * vmem_access() on what the device tells of the address, and on what the core tells
 * that is linked here; the bytes with those that each of them reads.
 *
 * Under NPT and EPT the processor itself walks these tables. Under KVM's shadow paging
 * KVM judges, and differs from processors, as where CR0.WP is clear (KVM's mmu.rst).
 *
 * VMEM_JUDGE_CASES: accesses in each mode. VMEM_JUDGE_SEED: for other tables.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/err.h>
#include <vmem/access.h>
#include <vmem/translate.h>

#include "judge_guest.h"
#include "judge_tables.h"
#include "ktap.h"
#include "vcpu.h"
#include "world.h"

/* ---- The guest ---- */

/**
 * struct attempt - an access that the guest makes
 * @va: its address
 * @target: the code that makes it, or @va itself for a fetch
 * @rflags: RFLAGS
 * @user: it is made at privilege level 3
 * @value: what is written; afterwards, what was read, or the tag that was fetched
 * @vector: how it ended
 * @cr2: CR2 after it
 * @error: error code
 */
struct attempt {
	__u64 va;
	__u64 target;
	__u32 rflags;
	__u32 user;
	__u32 value;
	__u32 vector;
	__u64 cr2;
	__u32 error;
	__u32 pad;
};

static_assert(offsetof(struct attempt, va) == ATTEMPT_VA, "va");
static_assert(offsetof(struct attempt, target) == ATTEMPT_TARGET, "target");
static_assert(offsetof(struct attempt, rflags) == ATTEMPT_RFLAGS, "rflags");
static_assert(offsetof(struct attempt, user) == ATTEMPT_USER, "user");
static_assert(offsetof(struct attempt, value) == ATTEMPT_VALUE, "value");
static_assert(offsetof(struct attempt, vector) == ATTEMPT_VECTOR, "vector");
static_assert(offsetof(struct attempt, cr2) == ATTEMPT_CR2, "cr2");
static_assert(offsetof(struct attempt, error) == ATTEMPT_ERROR, "error");
static_assert(sizeof(struct attempt) == ATTEMPT_SIZE, "size");

#define NR_ATTEMPTS 128

/* In each mode, as the environment does not say */
#define DEFAULT_CASES 50000

/**
 * struct control - what the guest is to do
 * @cr3: the CR3 to load
 * @stack: where its stack ends
 * @keys: PKRU is to be loaded
 * @pkru: with what
 * @left: attempts that it has not begun
 * @load: how loading CR3 ended, @vector alone
 * @attempts: the list
 */
struct control {
	__u64 cr3;
	__u64 stack;
	__u32 keys;
	__u32 pkru;
	__u32 left;
	__u32 pad;
	struct attempt load;
	struct attempt attempts[NR_ATTEMPTS];
};

static_assert(offsetof(struct control, cr3) == CONTROL_CR3, "cr3");
static_assert(offsetof(struct control, stack) == CONTROL_STACK, "stack");
static_assert(offsetof(struct control, keys) == CONTROL_KEYS, "keys");
static_assert(offsetof(struct control, pkru) == CONTROL_PKRU, "pkru");
static_assert(offsetof(struct control, left) == CONTROL_LEFT, "left");
static_assert(offsetof(struct control, load) == CONTROL_LOAD, "load");

/* What the guest is in: pages that all its roots map, on no island */
#define OWN_GPA MB(3)
#define OWN_LEN KB(256)
#define OWN_CODE 0
#define OWN_USER PAGE
#define OWN_SYSTEM (2 * PAGE)
#define OWN_IDT (OWN_SYSTEM + 0x100)
#define OWN_TSS (OWN_SYSTEM + 0xe00)
#define OWN_STACK (4 * PAGE)
#define OWN_CONTROL (4 * PAGE)
#define OWN_PAGES 8

/**
 * struct text - the guest's code, for one kind of machine
 * @begin: the code
 * @vectors: stubs for vectors
 * @read: a read, which any privilege level can make
 * @write: a write
 * @end: where it ends
 */
struct text {
	const unsigned char *begin;
	const unsigned char *vectors;
	const unsigned char *read;
	const unsigned char *write;
	const unsigned char *end;
};

static const struct text text32 = { guest_judge32, guest_judge32_vectors,
				    guest_judge32_read, guest_judge32_write,
				    guest_judge32_end };
static const struct text text64 = { guest_judge64, guest_judge64_vectors,
				    guest_judge64_read, guest_judge64_write,
				    guest_judge64_end };

struct bench;

/**
 * struct teller - who tells what becomes of an address
 * @name: for people
 * @translate: translates addresses by the round's registers
 * @read: reads 4 bytes at an address that is mapped
 */
struct teller {
	const char *name;
	void (*translate)(struct bench *b, const __u64 *vas, __u32 nr,
			  struct vmem_translation *answers);
	__u32 (*read)(struct bench *b, __u64 va);
};

#define NR_TELLERS 2

/**
 * struct statistics - what was judged
 * @judged: accesses by reason, kind and privilege
 * @nr: their sum
 * @lax: accesses that went by a bit which a manual reserves and the processor ignores
 * @strict: accesses that faulted for such a bit alone
 * @present: faults for a reserved bit, without and with P in the error code
 * @refused: accesses of rounds whose root MOV to CR3 refused
 * @failed: disagreements
 */
struct statistics {
	__u64 judged[VMEM_REASON_KEY + 1][VMEM_ACCESS_FETCH + 1][2];
	__u64 nr;
	__u64 lax;
	__u64 strict;
	__u64 present[2];
	__u64 refused;
	__u64 failed;
};

/**
 * struct bench - a VM, a session that looks at it, and a round of accesses
 * @kvm_fd: /dev/kvm
 * @vm_fd: the VM
 * @vcpu: its vCPU
 * @processor: what that has
 * @sregs: registers that do not change
 * @islands: memory for random tables and pages
 * @own: memory of the guest itself
 * @mem: the islands, for the core
 * @session: the session
 * @text: the guest's code
 * @own_va: where the guest has @own
 * @own_root: a root that maps it and nothing else
 * @own_entry: the entry of each root that does
 * @control: the guest's list
 * @round: registers and tables
 * @seed: what the random numbers begin with
 * @nr_round: number of the round
 * @regs: the registers, as the device has them
 * @mode: the mode that follows from them
 * @kinds: of each attempt, what it is
 * @vas: of each attempt, its address
 * @values: of each attempt, what it writes
 * @answers: of each teller, the translations
 * @bytes: of each teller, of each attempt: what was there before
 * @lax: of each attempt: it went by a bit that the processor ignores
 * @statistics: what was judged
 */
struct bench {
	int kvm_fd;
	int vm_fd;
	struct vcpu vcpu;
	struct processor processor;
	struct kvm_sregs sregs;
	__u8 *islands;
	struct guest_ram own;
	struct vmem_mem mem;
	int session;
	const struct text *text;
	__u64 own_va;
	__u64 own_root;
	__u64 own_entry;
	struct control *control;
	struct round round;
	__u64 seed;
	__u64 nr_round;
	struct vmem_regs regs;
	struct vmem_mode mode;
	enum vmem_access_kind kinds[NR_ATTEMPTS];
	__u64 vas[NR_ATTEMPTS];
	__u32 values[NR_ATTEMPTS];
	struct vmem_translation answers[NR_TELLERS][NR_ATTEMPTS];
	__u32 bytes[NR_TELLERS][NR_ATTEMPTS];
	bool lax[NR_ATTEMPTS];
	struct statistics statistics;
};

static void *own_ptr(const struct bench *b, __u64 offset)
{
	return ram_ptr(&b->own, OWN_GPA + offset);
}

static void add_slot(const struct bench *b, __u32 id, __u64 gpa, void *hva,
		     __u64 len)
{
	struct kvm_userspace_memory_region region = {
		.slot = id,
		.guest_phys_addr = gpa,
		.memory_size = len,
		.userspace_addr = (uintptr_t)hva,
	};

	must(ioctl(b->vm_fd, KVM_SET_USER_MEMORY_REGION, &region),
	     "KVM_SET_USER_MEMORY_REGION");
}

/* What KVM lets the guest have, which is what the vCPU was given. */
static void find_features(struct bench *b)
{
	struct kvm_cpuid2 *cpuid;
	__u32 i;

	cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));
	must(cpuid ? 0 : -1, "calloc");
	cpuid->nent = 256;
	must(ioctl(b->vcpu.fd, KVM_GET_CPUID2, cpuid), "KVM_GET_CPUID2");
	b->processor.maxphyaddr = (int)b->vcpu.maxphyaddr;
	for (i = 0; i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		if (entry->function == 7 && !entry->index) {
			b->processor.smep = entry->ebx & BIT_ULL(7);
			b->processor.smap = entry->ebx & BIT_ULL(20);
			b->processor.keys = entry->ecx & BIT_ULL(3);
			b->processor.la57 = entry->ecx & BIT_ULL(16);
		}
		if (entry->function == 0x80000001)
			b->processor.nx = entry->edx & BIT_ULL(20);
	}
	free(cpuid);
}

/*
 * 8 bytes of a page: MOV of a tag to EAX, INT, and NOP. Whoever reads, or fetches, at
 * an address knows by the tag where in memory that was.
 */
#define TAG_AT 1

static __u64 tagged(__u32 tag)
{
	return 0xb8 | (__u64)tag << 8 | 0xcdULL << 40 |
	       (__u64)VECTOR_PASSED << 48 | 0x90ULL << 56;
}

/* Tags that are written have bit 31. */
static void tag(struct bench *b, __u64 gpa)
{
	__u8 *p = island_ptr(&b->processor, b->islands, gpa & ~7ULL);
	__u64 raw = tagged((__u32)((p - b->islands) / 8));

	memcpy(p, &raw, sizeof(raw));
}

static void make_islands(struct bench *b)
{
	__u32 nr = islands_nr(&b->processor), i;
	__u64 page;

	b->islands = mmap(NULL, nr * ISLAND, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(b->islands == MAP_FAILED ? -1 : 0, "mmap of guest memory");
	for (i = 0; i < nr; i++) {
		for (page = 0; page < DATA_PAGES * PAGE; page += 8)
			tag(b, island_gpa(i) + page);
		add_slot(b, i + 1, island_gpa(i), b->islands + i * ISLAND,
			 ISLAND);
	}
}

/* ---- Where the guest is in any of its spaces ---- */

static void set_own_entry(const struct bench *b, __u64 table, __u32 index,
			  __u64 raw)
{
	size_t size = (size_t)b->round.paging->entry_size;

	memcpy((__u8 *)ram_ptr(&b->own, table) + index * size, &raw, size);
}

static void map_own_pages(const struct bench *b, __u64 pt)
{
	__u32 i;

	for (i = 0; i < OWN_PAGES; i++)
		set_own_entry(b, pt, i,
			      (OWN_GPA + i * PAGE) | PTE_P | PTE_W |
				      (i == OWN_USER / PAGE ? PTE_U : 0));
}

static void map_own(struct bench *b)
{
	const struct paging *paging = b->round.paging;
	__u64 inner = ram_alloc(&b->own, PAGE), table;
	__u32 last = (1u << paging->index_bits) - 1;
	int level;

	map_own_pages(b, inner);
	b->own_va = ~0ULL << level_shift(paging, VMEM_LEVEL_PD);
	if (!is_long(paging))
		b->own_va &= 0xffffffff;
	for (level = VMEM_LEVEL_PD; level <= paging->top; level++) {
		table = ram_alloc(&b->own, PAGE);
		if (level == paging->top)
			last = last_entry(paging);
		b->own_entry = inner | PTE_P;
		if (!is_pae(paging) || level < paging->top)
			b->own_entry |= PTE_W | PTE_U;
		set_own_entry(b, table, last, b->own_entry);
		inner = table;
	}
	b->own_root = inner;
}

static void set_gates(struct bench *b)
{
	__u64 handler = b->own_va + OWN_CODE +
			(__u64)(b->text->vectors - b->text->begin);
	size_t size = is_long(b->round.paging) ? 2 : 1;
	__u64 *idt = own_ptr(b, OWN_IDT), type;
	__u32 i;

	for (i = 0; i < NR_VECTORS; i++, handler += VECTOR_STUB) {
		/* Trap gates: see VCPU_RFLAGS. */
		type = i == VECTOR_PASSED ? 0xef00 : 0x8f00;
		idt[i * size] = (handler & 0xffff) | SELECTOR_CODE << 16 |
				type << 32 | (handler >> 16 & 0xffff) << 48;
		if (size == 2)
			idt[i * size + 1] = handler >> 32;
	}
}

/* LTR takes a TSS that is not busy, and leaves it so. */
static void set_tss(struct bench *b)
{
	__u64 *gdt = own_ptr(b, OWN_SYSTEM), base = b->own_va + OWN_TSS;

	gdt[SELECTOR_TSS / 8] = 0x67 | (base & 0xffffff) << 16 | 0x89ULL << 40 |
				(base >> 24 & 0xff) << 56;
	gdt[SELECTOR_TSS / 8 + 1] = is_long(b->round.paging) ? base >> 32 : 0;
}

static void load_guest(struct bench *b)
{
	bool amd64 = is_long(b->round.paging);
	__u64 *gdt = own_ptr(b, OWN_SYSTEM);
	__u64 stack = b->own_va + OWN_STACK;
	__u32 *tss = own_ptr(b, OWN_TSS);

	b->text = amd64 ? &text64 : &text32;
	memcpy(own_ptr(b, OWN_CODE), b->text->begin,
	       (size_t)(b->text->end - b->text->begin));
	memcpy(own_ptr(b, OWN_USER), b->text->read,
	       (size_t)(b->text->end - b->text->read));
	gdt[SELECTOR_CODE / 8] = amd64 ? 0x00af9b000000ffff :
					 0x00cf9b000000ffff;
	gdt[SELECTOR_DATA / 8] = 0x00cf93000000ffff;
	gdt[SELECTOR_USER_CODE / 8] = amd64 ? 0x00affb000000ffff :
					      0x00cffb000000ffff;
	gdt[SELECTOR_USER_DATA / 8] = 0x00cff3000000ffff;
	set_gates(b);
	memcpy(&tss[1], &stack, amd64 ? 8 : 4);
	if (!amd64)
		tss[2] = SELECTOR_DATA;
	b->control = own_ptr(b, OWN_CONTROL);
	b->control->stack = stack;
}

static struct kvm_segment segment(__u16 selector, __u8 type)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.dpl = selector & 3,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1,
	};
}

static void set_first_registers(struct bench *b)
{
	bool amd64 = is_long(b->round.paging);
	struct kvm_sregs *s = &b->sregs;

	must(ioctl(b->vcpu.fd, KVM_GET_SREGS, s), "KVM_GET_SREGS");
	s->cs = segment(SELECTOR_CODE, 11);
	s->cs.db = !amd64;
	s->cs.l = amd64;
	s->ss = segment(SELECTOR_DATA, 3);
	s->ds = segment(SELECTOR_USER_DATA, 3);
	s->es = s->ds;
	s->fs = s->ds;
	s->gs = s->ds;
	s->tr = (struct kvm_segment){
		.base = b->own_va + OWN_TSS,
		.limit = 0x67,
		.selector = SELECTOR_TSS,
		.type = 11,
		.present = 1,
	};
	s->gdt.base = b->own_va + OWN_SYSTEM;
	s->gdt.limit = SELECTOR_TSS + 16 - 1;
	s->idt.base = b->own_va + OWN_IDT;
	s->idt.limit = NR_VECTORS * (amd64 ? 16 : 8) - 1;
}

/* ---- Who tells ---- */

static void device_translate(struct bench *b, const __u64 *vas, __u32 nr,
			     struct vmem_translation *answers)
{
	CHECK_EQ(session_translate(b->session, &b->regs, vas, nr, answers), 0);
}

static __u32 device_read(struct bench *b, __u64 va)
{
	struct vmem_read_args end;
	__u32 value;

	CHECK_EQ(session_read(b->session, &b->regs, va, &value, sizeof(value),
			      &end),
		 0);
	CHECK_EQ(end.out_len, sizeof(value));
	return value;
}

static const void *islands_pin(struct vmem_mem *mem, __u64 gpa)
{
	struct bench *b = (void *)((__u8 *)mem - offsetof(struct bench, mem));
	void *page =
		island_ptr(&b->processor, b->islands, gpa & VMEM_PAGE_MASK);

	return page ? page : ERR_PTR(-ENXIO);
}

static void islands_unpin(struct vmem_mem *mem, __u64 gpa, const void *page)
{
	(void)mem, (void)gpa, (void)page;
}

static const struct vmem_mem_ops islands_ops = {
	.pin = islands_pin,
	.unpin = islands_unpin,
};

static void core_translate(struct bench *b, const __u64 *vas, __u32 nr,
			   struct vmem_translation *answers)
{
	struct vmem_root root;
	__u32 i;

	CHECK_EQ(vmem_root_init(&root, &b->regs), 0);
	for (i = 0; i < nr; i++)
		CHECK_EQ(vmem_translate(&b->mem, &root, vas[i], &answers[i]),
			 0);
}

static int take_bytes(const void *data, size_t len, void *value)
{
	memcpy(value, data, len < sizeof(__u32) ? len : sizeof(__u32));
	return 0;
}

static __u32 core_read(struct bench *b, __u64 va)
{
	struct vmem_root root;
	__u32 value = 0;
	struct vmem_copy copy = {
		.mem = &b->mem,
		.root = &root,
		.va = va,
		.last_va = va + sizeof(value) - 1,
		.sink = take_bytes,
		.priv = &value,
	};

	CHECK_EQ(vmem_root_init(&root, &b->regs), 0);
	CHECK_EQ(vmem_read(&copy), 0);
	return value;
}

static const struct teller tellers[NR_TELLERS] = {
	{ "the device", device_translate, device_read },
	{ "the core", core_translate, core_read },
};

/* ---- A round ---- */

static __u64 stub(const struct bench *b, bool user, const unsigned char *code)
{
	return user ? b->own_va + OWN_USER + (__u64)(code - b->text->read) :
		      b->own_va + OWN_CODE + (__u64)(code - b->text->begin);
}

/*
 * Writes come last, so that what is read is what was there before the round. They
 * write over tags alone.
 */
static void make_attempt(struct bench *b, int i)
{
	struct attempt *attempt = &b->control->attempts[i];
	struct round *r = &b->round;
	__u64 va = round_va(r);

	b->kinds[i] = i < NR_ATTEMPTS / 3     ? VMEM_ACCESS_READ :
		      i < NR_ATTEMPTS * 2 / 3 ? VMEM_ACCESS_FETCH :
						VMEM_ACCESS_WRITE;
	*attempt = (struct attempt){
		.rflags = VCPU_RFLAGS | (below(r, 2) ? 1 << 18 : 0),
		.user = below(r, 2),
		.value = (__u32)(BIT_ULL(31) | below(r, ~0U >> 1)),
		.vector = ~0U,
	};
	switch (b->kinds[i]) {
	case VMEM_ACCESS_READ:
		va += below(r, 5);
		attempt->target = stub(b, attempt->user, b->text->read);
		break;
	case VMEM_ACCESS_WRITE:
		va += TAG_AT;
		attempt->target = stub(b, attempt->user, b->text->write);
		break;
	case VMEM_ACCESS_FETCH:
		attempt->target = va;
	}
	attempt->va = va;
	b->vas[i] = va;
	b->values[i] = attempt->value;
}

/* Where an attempt has bytes to compare: code has them behind its first. */
static __u64 bytes_va(const struct bench *b, int i)
{
	return b->vas[i] + (b->kinds[i] == VMEM_ACCESS_FETCH ? TAG_AT : 0);
}

static void ask_first(struct bench *b)
{
	int t, i;

	for (t = 0; t < NR_TELLERS; t++) {
		tellers[t].translate(b, b->vas, NR_ATTEMPTS, b->answers[t]);
		for (i = 0; i < NR_ATTEMPTS; i++)
			if (b->answers[t][i].out_status == VMEM_MAPPED)
				b->bytes[t][i] =
					tellers[t].read(b, bytes_va(b, i));
	}
}

static void set_registers(struct bench *b)
{
	const struct kvm_regs regs = {
		.rip = b->own_va + OWN_CODE,
		.rflags = VCPU_RFLAGS,
		.rbx = b->own_va + OWN_CONTROL,
		.rsp = b->own_va + OWN_STACK,
	};
	const struct round *r = &b->round;
	struct vmem_vcpu_args vcpu;
	struct vmem_root root;

	b->sregs.cr0 = r->cr0;
	b->sregs.cr3 = b->own_root;
	b->sregs.cr4 = r->cr4;
	b->sregs.efer = r->efer;
	must(ioctl(b->vcpu.fd, KVM_SET_SREGS, &b->sregs), "KVM_SET_SREGS");
	vcpu_set_regs(&b->vcpu, &regs);
	CHECK_EQ(session_vcpu(b->session, 0, &vcpu), 0);
	b->regs = vcpu.out_regs;
	b->regs.cr3 = r->cr3;
	CHECK_EQ(b->regs.cr0, r->cr0);
	CHECK_EQ(b->regs.cr4, r->cr4);
	CHECK_EQ(vmem_root_init(&root, &b->regs), 0);
	b->mode = root.mode;
}

static bool run(struct bench *b)
{
	struct control *c = b->control;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	__u32 reason;

	set_tss(b);
	c->cr3 = b->round.cr3;
	c->keys = !!(b->round.cr4 & CR4_PKE);
	c->pkru = b->round.pkru;
	c->left = NR_ATTEMPTS;
	c->load.vector = VECTOR_PASSED;
	reason = vcpu_run(&b->vcpu);
	if (reason == KVM_EXIT_HLT && c->left == ~0U)
		return true;
	regs = vcpu_get_regs(&b->vcpu);
	must(ioctl(b->vcpu.fd, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	ktap_fail("round %llu: exit %u with %u left, RIP %#llx CR2 %#llx",
		  b->nr_round, reason, c->left, regs.rip, sregs.cr2);
	return false;
}

/* ---- Judging ---- */

static const char *const reason_names[] = {
	[VMEM_REASON_NONE] = "passes",
	[VMEM_REASON_NON_CANONICAL] = "not canonical",
	[VMEM_REASON_NOT_PRESENT] = "not present",
	[VMEM_REASON_RESERVED] = "reserved bit",
	[VMEM_REASON_UNBACKED] = "unbacked",
	[VMEM_REASON_SUPERVISOR] = "supervisor",
	[VMEM_REASON_READ_ONLY] = "read-only",
	[VMEM_REASON_NO_EXECUTE] = "no-execute",
	[VMEM_REASON_SMEP] = "SMEP",
	[VMEM_REASON_SMAP] = "SMAP",
	[VMEM_REASON_KEY] = "key",
};

static const char *const kind_names[] = {
	[VMEM_ACCESS_READ] = "read",
	[VMEM_ACCESS_WRITE] = "write",
	[VMEM_ACCESS_FETCH] = "fetch",
};

static struct vmem_verdict judge(const struct bench *b, int i,
				 const struct vmem_translation *answer)
{
	const struct attempt *attempt = &b->control->attempts[i];
	const struct vmem_access access = {
		.kind = b->kinds[i],
		.user = attempt->user,
		.rflags = attempt->rflags,
		.pkru = b->round.pkru,
		/* CR4.PKS is clear, so these rights count for nothing. */
		.pkrs = ~b->round.pkru,
	};
	struct vmem_verdict verdict;

	CHECK_EQ(vmem_access_va(&b->regs, &access, attempt->va), attempt->va);
	vmem_access(&b->regs, &b->mode, &access, answer, &verdict);
	return verdict;
}

/*
 * The entry with the reserved bit is present, and both manuals have that in the error
 * code (Intel SDM vol. 3, 4.7; AMD APM vol. 2, 8.4.2). QEMU's emulation has not.
 */
static __u32 error_code(const struct attempt *attempt)
{
	return attempt->error |
	       (attempt->error & VMEM_PF_RSVD ? VMEM_PF_PRESENT : 0);
}

static bool same_fault(const struct attempt *attempt,
		       const struct vmem_verdict *verdict)
{
	if (verdict->reason == VMEM_REASON_NONE)
		return attempt->vector == VECTOR_PASSED;
	return verdict->vector && attempt->vector == verdict->vector &&
	       error_code(attempt) == verdict->error_code &&
	       (verdict->vector != VMEM_VECTOR_PF ||
		attempt->cr2 == attempt->va);
}

/* Does a page's own permission alone decide, and as the processor says? */
static bool same_rights(const struct bench *b, int i,
			const struct vmem_translation *answer,
			enum vmem_reason reason)
{
	const struct attempt *attempt = &b->control->attempts[i];
	__u32 perms = answer->out_perms, needs = 0;

	if (reason != VMEM_REASON_NONE && reason != VMEM_REASON_SUPERVISOR &&
	    reason != VMEM_REASON_READ_ONLY && reason != VMEM_REASON_NO_EXECUTE)
		return true;
	if (attempt->user)
		needs |= VMEM_USER;
	if (b->kinds[i] == VMEM_ACCESS_FETCH)
		needs |= VMEM_EXECUTABLE;
	if (b->kinds[i] == VMEM_ACCESS_WRITE &&
	    (attempt->user || b->regs.cr0 & CR0_WP))
		needs |= VMEM_WRITABLE;
	return (attempt->vector == VECTOR_PASSED) == !(needs & ~perms);
}

/* What is where an access writes, after all of them */
static __u32 last_written(const struct bench *b, int i,
			  const struct vmem_translation *answers, __u32 before)
{
	__u32 last = before;
	int j;

	for (j = 0; j < NR_ATTEMPTS; j++)
		if (b->kinds[j] == VMEM_ACCESS_WRITE &&
		    b->control->attempts[j].vector == VECTOR_PASSED &&
		    answers[j].out_status == VMEM_MAPPED &&
		    answers[j].out_gpa == answers[i].out_gpa)
			last = b->values[j];
	return last;
}

static bool same_bytes(struct bench *b, int i, int t)
{
	const struct attempt *attempt = &b->control->attempts[i];
	const struct vmem_translation *answer = &b->answers[t][i];

	if (answer->out_status != VMEM_MAPPED || b->lax[i])
		return true;
	if (b->kinds[i] == VMEM_ACCESS_WRITE)
		return tellers[t].read(b, attempt->va) ==
		       last_written(b, i, b->answers[t], b->bytes[t][i]);
	return attempt->vector != VECTOR_PASSED ||
	       attempt->value == b->bytes[t][i];
}

static bool agrees(const struct bench *b, int i,
		   const struct vmem_translation *answer)
{
	struct vmem_verdict verdict = judge(b, i, answer);

	return same_fault(&b->control->attempts[i], &verdict) &&
	       same_rights(b, i, answer, verdict.reason);
}

static void print_round(const struct bench *b)
{
	const struct round *r = &b->round;

	printf("# %s, seed %llu, round %llu: CR0 %#llx CR3 %#llx CR4 %#llx\n",
	       r->paging->name, b->seed, b->nr_round, r->cr0, r->cr3, r->cr4);
	printf("#   EFER %#llx PKRU %#x, %u bits of address, rules %#x\n",
	       r->efer, r->pkru, b->regs.maxphyaddr, b->regs.rules);
}

static void print_account(const struct bench *b, int i, int t)
{
	const struct vmem_translation *answer = &b->answers[t][i];
	struct vmem_verdict verdict = judge(b, i, answer);
	__u32 n;

	for (n = 0; n < answer->out_nr_trace; n++)
		printf("#   level %u: entry %#llx at %#llx\n",
		       (__u32)b->round.paging->top - n,
		       answer->out_trace[n].raw,
		       answer->out_trace[n].entry_gpa);
	printf("#   %s: status %u, level %u, %#llx, perms %u, %#x there\n",
	       tellers[t].name, answer->out_status, answer->out_level,
	       answer->out_gpa, answer->out_perms, b->bytes[t][i]);
	printf("#   so: %s, vector %u, error code %#x, entry %d decides\n",
	       reason_names[verdict.reason], verdict.vector, verdict.error_code,
	       verdict.decides);
}

#define MAX_PRINTED 8

static void disagree(struct bench *b, int i, int t, const char *what)
{
	const struct attempt *attempt = &b->control->attempts[i];

	if (b->statistics.failed++ >= MAX_PRINTED)
		return;
	print_round(b);
	ktap_fail("%s: another %s than the processor's: %s's %s at %#llx",
		  tellers[t].name, what,
		  attempt->user ? "a user" : "a supervisor",
		  kind_names[b->kinds[i]], attempt->va);
	printf("#   RFLAGS %#x, to write: %#x\n", attempt->rflags,
	       b->values[i]);
	print_account(b, i, t);
	printf("#   processor: vector %u, error code %#x, CR2 %#llx, EAX %#x\n",
	       attempt->vector, attempt->error, attempt->cr2, attempt->value);
}

/* ---- Vendors' rules ---- */

/*
 * Bits of an entry of @level that AMD's manual reserves and that some processor
 * ignores: APM vol. 2, 5.3.3, bit 8 of PML5E and PML4E, and 5.2.3, bits of a
 * PDPTE of PAE. QEMU's emulation looks at none of them.
 */
static __u64 lax_bits(const struct bench *b, __u32 level)
{
	if (is_pae(b->round.paging) && level == VMEM_LEVEL_PDPT)
		return 0x1c6;
	return level >= VMEM_LEVEL_PML4 ? BIT_ULL(8) : 0;
}

static void write_entry(const struct bench *b, const struct vmem_trace *entry)
{
	memcpy(island_ptr(&b->processor, b->islands, entry->entry_gpa),
	       &entry->raw, (size_t)b->round.paging->entry_size);
}

/* Translates by entries without such bits. False if none made a difference. */
static bool translate_lax(struct bench *b, int i, int t,
			  struct vmem_translation *answer)
{
	struct vmem_trace saved[VMEM_MAX_LEVELS], entry;
	__u64 lax;
	int n = 0;

	*answer = b->answers[t][i];
	while (answer->out_status == VMEM_RESERVED) {
		entry = answer->out_trace[answer->out_nr_trace - 1];
		lax = entry.raw & lax_bits(b, answer->out_level);
		if (!lax)
			break;
		saved[n++] = entry;
		entry.raw &= ~lax;
		write_entry(b, &entry);
		tellers[t].translate(b, &b->vas[i], 1, answer);
	}
	while (n)
		write_entry(b, &saved[--n]);
	return answer->out_status != b->answers[t][i].out_status ||
	       answer->out_level != b->answers[t][i].out_level;
}

static bool has_reserved_root(struct bench *b, int t)
{
	const __u64 vas[] = { 0, GB(1), GB(2) };
	struct vmem_translation answers[ARRAY_SIZE(vas)];
	size_t i;

	tellers[t].translate(b, vas, ARRAY_SIZE(vas), answers);
	for (i = 0; i < ARRAY_SIZE(vas); i++)
		if (answers[i].out_status == VMEM_RESERVED &&
		    answers[i].out_level == VMEM_LEVEL_PDPT)
			return true;
	return false;
}

/*
 * Intel's processors check a PAE root when CR3 is loaded (SDM vol. 3, 4.4.1): then no
 * access goes by a root for which vmem tells of a reserved bit.
 */
static bool root_was_refused(struct bench *b)
{
	int t;

	if (b->control->load.vector == VECTOR_PASSED)
		return false;
	CHECK_EQ(b->control->load.vector, VMEM_VECTOR_GP);
	CHECK(is_pae(b->round.paging));
	for (t = 0; t < NR_TELLERS; t++)
		CHECK_EQ_AT(tellers[t].name, has_reserved_root(b, t), true);
	b->statistics.refused += NR_ATTEMPTS;
	return true;
}

static void judge_fault(struct bench *b, int i, int t)
{
	struct vmem_translation lax;
	bool is_lax = translate_lax(b, i, t, &lax);

	if (agrees(b, i, &b->answers[t][i])) {
		b->statistics.strict += is_lax && !agrees(b, i, &lax);
	} else if (is_lax && agrees(b, i, &lax)) {
		b->answers[t][i] = lax;
		b->lax[i] = true;
	} else {
		disagree(b, i, t, "fault");
	}
}

static void count(struct bench *b, int i)
{
	struct vmem_verdict verdict = judge(b, i, &b->answers[0][i]);
	const struct attempt *attempt = &b->control->attempts[i];
	struct statistics *s = &b->statistics;

	if (b->lax[i]) {
		s->lax++;
		return;
	}
	s->nr++;
	s->judged[verdict.reason][b->kinds[i]][attempt->user]++;
	if (verdict.reason == VMEM_REASON_RESERVED)
		s->present[attempt->error & VMEM_PF_PRESENT]++;
}

static void judge_round(struct bench *b)
{
	int t, i;

	memset(b->lax, 0, sizeof(b->lax));
	for (t = 0; t < NR_TELLERS; t++)
		for (i = 0; i < NR_ATTEMPTS; i++)
			judge_fault(b, i, t);
	for (i = 0; i < NR_ATTEMPTS; i++) {
		for (t = 0; t < NR_TELLERS; t++)
			if (!same_bytes(b, i, t))
				disagree(b, i, t, "memory");
		count(b, i);
	}
}

static void mend_tags(struct bench *b)
{
	const struct vmem_translation *answer = b->answers[0];
	int i;

	for (i = 0; i < NR_ATTEMPTS; i++, answer++)
		if (b->kinds[i] == VMEM_ACCESS_WRITE &&
		    answer->out_status == VMEM_MAPPED &&
		    island_ptr(&b->processor, b->islands, answer->out_gpa))
			tag(b, answer->out_gpa);
}

/* ---- The modes ---- */

static void bench_init(struct bench *b, const struct paging *paging)
{
	memset(b, 0, sizeof(*b));
	b->seed = number_of("VMEM_JUDGE_SEED", 1);
	b->kvm_fd = (int)must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	b->vm_fd =
		(int)must(ioctl(b->kvm_fd, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	vcpu_init(&b->vcpu, b->kvm_fd, b->vm_fd, 0);
	find_features(b);
	make_islands(b);
	b->own = ram_new(OWN_GPA, OWN_LEN);
	add_slot(b, 0, OWN_GPA, b->own.hva, OWN_LEN);
	ram_alloc(&b->own, OWN_PAGES * PAGE);
	b->mem.ops = &islands_ops;
	b->round.paging = paging;
	b->round.processor = &b->processor;
	b->round.islands = b->islands;
	map_own(b);
	load_guest(b);
	set_first_registers(b);
	b->session = session_open();
	CHECK_EQ(session_attach_kvm(b->session, b->vm_fd), 0);
}

static void bench_free(struct bench *b)
{
	close(b->session);
	vcpu_free(&b->vcpu);
	close(b->vm_fd);
	close(b->kvm_fd);
	ram_free(&b->own);
	munmap(b->islands, islands_nr(&b->processor) * ISLAND);
}

/* Any round by itself; numbers that begin side by side go side by side. */
static __u64 seed_of_round(const struct bench *b)
{
	__u64 n = b->seed << 40 ^ b->nr_round << 8 ^
		  (__u64)b->round.paging->top;

	n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9;
	n = (n ^ n >> 27) * 0x94d049bb133111eb;
	return n ^ n >> 31;
}

static bool one_round(struct bench *b)
{
	int i;

	b->round.random = seed_of_round(b);
	round_make(&b->round, b->own_entry);
	for (i = 0; i < NR_ATTEMPTS; i++)
		make_attempt(b, i);
	set_registers(b);
	ask_first(b);
	if (!run(b)) {
		print_round(b);
		return false;
	}
	if (!root_was_refused(b)) {
		judge_round(b);
		mend_tags(b);
	}
	b->nr_round++;
	return true;
}

static bool can_occur(const struct bench *b, enum vmem_reason reason)
{
	const struct processor *p = &b->processor;
	const struct paging *paging = b->round.paging;

	switch (reason) {
	case VMEM_REASON_UNBACKED:
		return false;
	case VMEM_REASON_NON_CANONICAL:
		return is_long(paging);
	case VMEM_REASON_NO_EXECUTE:
		return p->nx && paging->top > VMEM_LEVEL_PD;
	case VMEM_REASON_SMEP:
		return p->smep;
	case VMEM_REASON_SMAP:
		return p->smap;
	case VMEM_REASON_KEY:
		return p->keys && is_long(paging);
	default:
		return true;
	}
}

static void tell_reason(const struct bench *b, int reason)
{
	const __u64(*judged)[2] = b->statistics.judged[reason];
	bool occurred = false;
	int kind;

	printf("# %14s", reason_names[reason]);
	for (kind = 0; kind <= VMEM_ACCESS_FETCH; kind++) {
		printf(" %8llu %8llu", judged[kind][0], judged[kind][1]);
		occurred |= judged[kind][0] || judged[kind][1];
	}
	printf("\n");
	/* A judge who never sees a fault is none. */
	if (!occurred)
		ktap_fail("%s: never", reason_names[reason]);
}

static void tell_and_check(const struct bench *b)
{
	const struct statistics *s = &b->statistics;
	const char *name = b->round.paging->name;
	int reason;

	printf("# by reason: reads, writes and fetches, a supervisor's and a user's\n");
	for (reason = 0; reason <= VMEM_REASON_KEY; reason++)
		if (can_occur(b, reason))
			tell_reason(b, reason);
	printf("# %s, seed %llu: %llu judged, %llu of them disagree\n", name,
	       b->seed, s->nr, s->failed);
	printf("# %s: %llu more by a bit that AMD reserves and this processor ignores\n",
	       name, s->lax);
	printf("# %s: %llu more by roots that MOV to CR3 refused\n", name,
	       s->refused);
	printf("# %s: %llu of the reserved bits without P in the error code\n",
	       name, s->present[0]);
	CHECK_EQ(s->failed, 0);
	/* It does so each time, or never. */
	CHECK(!s->lax || !s->strict);
	CHECK(!s->present[0] || !s->present[1]);
}

static void tell_processor(const struct processor *p)
{
	printf("# %d bits of address, %s, %s, %s, %s\n", p->maxphyaddr,
	       p->nx ? "NX" : "no NX", p->smep ? "SMEP" : "no SMEP",
	       p->smap ? "SMAP" : "no SMAP",
	       p->keys ? "protection keys" : "no protection keys");
}

static void judge_mode(const struct paging *paging)
{
	__u64 cases = number_of("VMEM_JUDGE_CASES", DEFAULT_CASES);
	static struct bench b;

	bench_init(&b, paging);
	tell_processor(&b.processor);
	if (paging->top == VMEM_LEVEL_PML5 && !b.processor.la57) {
		printf("# no LA57: nothing is judged\n");
		ktap_skipped = true;
	} else {
		while (b.statistics.nr < cases && one_round(&b))
			;
		tell_and_check(&b);
	}
	bench_free(&b);
}

static void judge_2level(void)
{
	judge_mode(&(const struct paging){ "2-level", VMEM_LEVEL_PD, 10, 4 });
}

static void judge_pae(void)
{
	judge_mode(&(const struct paging){ "PAE", VMEM_LEVEL_PDPT, 9, 8 });
}

static void judge_4level(void)
{
	judge_mode(&(const struct paging){ "4-level", VMEM_LEVEL_PML4, 9, 8 });
}

static void judge_5level(void)
{
	judge_mode(&(const struct paging){ "5-level", VMEM_LEVEL_PML5, 9, 8 });
}

static const struct ktap_case cases[] = {
	{ "judge_2level", judge_2level },
	{ "judge_pae", judge_pae },
	{ "judge_4level", judge_4level },
	{ "judge_5level", judge_5level },
};

int main(void)
{
	return ktap_main(cases, ARRAY_SIZE(cases));
}
