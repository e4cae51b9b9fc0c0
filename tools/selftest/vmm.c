// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmm.c - vmem from inside a virtual machine monitor
 *
 * The first half is an example to copy: a small VMM makes a VM with KVM, lets
 * its guest write through a virtual address, and has vmem say where in the
 * VMM's own memory that went. The second half asks the same VMM, and others,
 * about everything that the interface promises of a guest's memory.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>

#include "file.h"
#include "ktap.h"
#include "session.h"
#include "tables.h"
#include "vcpu.h"

/* ---- The VMM ---- */

#define RAM_GPA MB(1)
#define RAM_LEN MB(8)
#define CODE_VA 0x400000ULL
#define DATA_VA 0xffff888000123678ULL
#define DATA_VA_32 0xc0123678ULL
#define MAGIC 0x766d656d21766d65ULL

/* Not 0, so that it is not taken for the vCPU's index. */
#define VCPU_ID 3

/**
 * struct vmm - a VM with one slot of memory and one address space
 * @kvm_fd: /dev/kvm
 * @vm_fd: the VM
 * @vcpu: its vCPU; @vcpu.fd is -1 where the VM is never run
 * @ram: memory slot 0
 * @tables: the guest's page tables, in @ram
 * @data_va: where its guest writes
 */
struct vmm {
	int kvm_fd;
	int vm_fd;
	struct vcpu vcpu;
	struct guest_ram ram;
	struct tables tables;
	__u64 data_va;
};

static void vmm_set_slot(struct vmm *vmm, __u32 id, __u64 gpa, __u64 len,
			 const void *hva, __u32 flags)
{
	struct kvm_userspace_memory_region region = {
		.slot = id,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = len,
		.userspace_addr = (uintptr_t)hva,
	};

	must(ioctl(vmm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region),
	     "KVM_SET_USER_MEMORY_REGION");
}

static void vmm_add_slot(struct vmm *vmm, __u32 id, const struct guest_ram *ram)
{
	vmm_set_slot(vmm, id, ram->gpa, ram->len, ram->hva, 0);
}

static void vmm_remove_slot(struct vmm *vmm, __u32 id)
{
	vmm_set_slot(vmm, id, 0, 0, NULL, 0);
}

static void vmm_init_at(struct vmm *vmm, __u64 gpa, int format)
{
	vmm->kvm_fd =
		(int)must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	vmm->vm_fd = (int)must(ioctl(vmm->kvm_fd, KVM_CREATE_VM, 0),
			       "KVM_CREATE_VM");
	vmm->vcpu.fd = -1;
	vmm->ram = ram_new(gpa, RAM_LEN);
	vmm_add_slot(vmm, 0, &vmm->ram);
	vmm->tables = formats[format].make(&vmm->ram);
	vmm->data_va = tables_are_long(&vmm->tables) ? DATA_VA : DATA_VA_32;
}

static void vmm_init_in(struct vmm *vmm, int format)
{
	vmm_init_at(vmm, RAM_GPA, format);
}

static void vmm_init(struct vmm *vmm)
{
	vmm_init_in(vmm, FORMAT_AMD64);
}

static void vmm_free(struct vmm *vmm)
{
	if (vmm->vcpu.fd >= 0)
		vcpu_free(&vmm->vcpu);
	close(vmm->vm_fd);
	close(vmm->kvm_fd);
	ram_free(&vmm->ram);
}

/* Gives the VM a vCPU about to run @code, with MAGIC in RAX and where it goes in RBX. */
static void vmm_load(struct vmm *vmm, const __u8 *code, size_t len)
{
	struct vmem_regs regs = tables_regs(&vmm->tables);
	struct kvm_regs kvm_regs = {
		.rip = CODE_VA,
		.rflags = VCPU_RFLAGS,
		.rax = MAGIC,
		.rbx = vmm->data_va,
	};
	const __u64 nx = regs.efer & EFER_NXE ? PTE_NX : 0;
	__u64 code_gpa = ram_alloc(&vmm->ram, PAGE);
	__u64 data_gpa = ram_alloc(&vmm->ram, PAGE);

	memcpy(ram_ptr(&vmm->ram, code_gpa), code, len);
	tables_map(&vmm->tables, CODE_VA, code_gpa, VMEM_LEVEL_PT, PTE_P);
	tables_map(&vmm->tables, vmm->data_va & ~(PAGE - 1), data_gpa,
		   VMEM_LEVEL_PT, PTE_P | PTE_W | nx);

	vcpu_init(&vmm->vcpu, vmm->kvm_fd, vmm->vm_fd, VCPU_ID);
	vcpu_set_mode(&vmm->vcpu, &regs);
	vcpu_set_regs(&vmm->vcpu, &kvm_regs);
}

/* Runs the guest to its HLT. Returns the reason of the exit. */
static __u32 vmm_run(struct vmm *vmm)
{
	__u32 reason = vcpu_run(&vmm->vcpu);

	if (reason != KVM_EXIT_HLT)
		printf("# KVM_RUN: exit reason %u\n", reason);
	return reason;
}

/* mov %rax,(%rbx); hlt */
static const __u8 store_and_halt[] = { 0x48, 0x89, 0x03, 0xf4 };

/* mov %eax,(%ebx); hlt */
static const __u8 store_and_halt_32[] = { 0x89, 0x03, 0xf4 };

/* 1: inc %rax; mov %rax,(%rbx); cmpb $0,8(%rbx); je 1b; hlt */
static const __u8 store_until_told[] = {
	0x48, 0xff, 0xc0, 0x48, 0x89, 0x03, 0x80,
	0x7b, 0x08, 0x00, 0x74, 0xf4, 0xf4,
};

/* ---- The main use: where is what the guest wrote? ---- */

/* What a VMM knows of its own guest, it hands over; vmem asks no vCPU. */
static struct vmem_regs vcpu_regs(const struct vmm *vmm)
{
	struct kvm_sregs sregs;

	must(ioctl(vmm->vcpu.fd, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	return (struct vmem_regs){
		.cr0 = sregs.cr0,
		.cr3 = sregs.cr3,
		.cr4 = sregs.cr4,
		.efer = sregs.efer,
		.maxphyaddr = vmm->vcpu.maxphyaddr,
	};
}

/* Virtual to guest-physical. */
static __u64 va_to_gpa(int session, const struct vmem_regs *regs, __u64 va)
{
	const __u32 nx = regs->efer & EFER_NXE ? 0 : VMEM_EXECUTABLE;
	struct vmem_translation result;
	struct vmem_translate_args args = {
		.size = sizeof(args),
		.nr = 1,
		.result_size = sizeof(result),
		.vas = (uintptr_t)&va,
		.results = (uintptr_t)&result,
		.regs = *regs,
	};

	memset(&result, POISON, sizeof(result));
	CHECK_EQ(ioctl(session, VMEM_TRANSLATE, &args), 0);
	CHECK_EQ(args.out_nr, 1);
	CHECK_EQ(result.out_status, VMEM_MAPPED);
	CHECK_EQ(result.out_page_size, PAGE);
	CHECK_EQ(result.out_perms, VMEM_WRITABLE | nx);
	return result.out_gpa;
}

/* Guest-physical to our own memory; NULL where the guest has none. */
static void *gpa_to_hva(int session, __u64 gpa)
{
	struct vmem_memslot slot;
	struct vmem_memslots_args args = {
		.size = sizeof(args),
		.nr = 1,
		.slot_size = sizeof(slot),
		.slots = (uintptr_t)&slot,
		.gpa = gpa,
	};

	memset(&slot, POISON, sizeof(slot));
	CHECK_EQ(ioctl(session, VMEM_MEMSLOTS, &args), 0);
	if (!CHECK_EQ(args.out_nr, 1) || gpa < slot.gpa)
		return NULL;
	return (void *)(uintptr_t)(slot.hva + gpa - slot.gpa);
}

static void find_magic(const struct vmm *vmm, int session,
		       const struct vmem_regs *regs)
{
	const __u64 magic = tables_are_long(&vmm->tables) ? MAGIC :
							    (__u32)MAGIC;
	__u64 word, *hva;
	struct vmem_read_args args = {
		.size = sizeof(args),
		.regs = *regs,
		.va = vmm->data_va,
		.len = sizeof(word),
		.buf = (uintptr_t)&word,
	};

	hva = gpa_to_hva(session, va_to_gpa(session, regs, vmm->data_va));
	if (!CHECK(hva))
		return;
	CHECK_EQ(*hva, magic);

	memset(&word, POISON, sizeof(word));
	CHECK_EQ(ioctl(session, VMEM_READ, &args), 0);
	CHECK_EQ(args.out_len, sizeof(word));
	CHECK_EQ(word, magic);
}

static void find_what_was_written(const struct vmm *vmm)
{
	struct vmem_regs regs = vcpu_regs(vmm);
	struct vmem_region region;
	int session;

	/* As KVM knows the guest's memory. */
	session = session_open();
	CHECK_EQ(session_attach_kvm(session, vmm->vm_fd), 0);
	find_magic(vmm, session, &regs);
	close(session);

	/* As we tell it. */
	region.gpa = vmm->ram.gpa;
	region.len = vmm->ram.len;
	region.hva = (uintptr_t)vmm->ram.hva;
	session = session_open();
	CHECK_EQ(session_attach_regions(session, &region, 1), 0);
	find_magic(vmm, session, &regs);
	close(session);
}

static void main_use_in(int format)
{
	struct vmm vmm;

	vmm_init_in(&vmm, format);
	if (tables_are_long(&vmm.tables))
		vmm_load(&vmm, store_and_halt, sizeof(store_and_halt));
	else
		vmm_load(&vmm, store_and_halt_32, sizeof(store_and_halt_32));
	CHECK_EQ(vmm_run(&vmm), KVM_EXIT_HLT);
	find_what_was_written(&vmm);
	vmm_free(&vmm);
}

static void main_use(void)
{
	main_use_in(FORMAT_AMD64);
}

static void main_use_of_2_levels(void)
{
	main_use_in(FORMAT_I686);
}

static void main_use_of_pae(void)
{
	main_use_in(FORMAT_PAE);
}

static void main_use_of_5_levels(void)
{
	if (!skip_without(vcpu_can_la57(), "5-level paging for its guests"))
		main_use_in(FORMAT_LA57);
}

/* ---- vCPUs ---- */

static void vcpu_is_reported(void)
{
	struct vmem_info_args info;
	struct vmem_vcpu_args vcpu;
	struct vmem_regs regs;
	struct vmm vmm;
	int session;

	vmm_init(&vmm);
	vmm_load(&vmm, store_and_halt, sizeof(store_and_halt));
	regs = vcpu_regs(&vmm);
	session = session_open();
	CHECK_EQ(session_attach_kvm(session, vmm.vm_fd), 0);

	CHECK_EQ(session_info(session, &info), 0);
	CHECK_EQ(info.out_source, VMEM_SOURCE_KVM);
	CHECK_EQ(info.out_nr_vcpus, 1);
	CHECK_EQ(session_vcpu(session, 0, &vcpu), 0);
	CHECK_EQ(vcpu.out_id, VCPU_ID);
	CHECK_EQ(vcpu.out_regs.cr0, regs.cr0);
	/* On AMD not every kernel can know it of a VMM without an APIC. */
	CHECK_EQ(vcpu.out_regs.cr3,
		 vcpu.out_state & VMEM_VCPU_NO_CR3 ? 0 : regs.cr3);
	CHECK_EQ(vcpu.out_regs.cr4, regs.cr4);
	CHECK_EQ(vcpu.out_regs.efer, regs.efer);
	CHECK_EQ(vcpu.out_regs.maxphyaddr, vmm.vcpu.maxphyaddr);
	CHECK_EQ(session_vcpu(session, 1, &vcpu), -EINVAL);
	CHECK_EQ(session_vcpu(session, ~0u, &vcpu), -EINVAL);
	close(session);
	vmm_free(&vmm);
}

static void *run_in_thread(void *vmm)
{
	return (void *)(uintptr_t)vmm_run(vmm);
}

/* The guest writes to it meanwhile. */
static __u64 read_counter(const __u64 *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* Translates until the guest has run, too. Says how often it had. */
static int watch_counter(int session, struct vmm *vmm, const __u64 *counter,
			 int rounds)
{
	struct vmem_regs regs = tables_regs(&vmm->tables);
	struct vmem_translation result;
	struct vmem_vcpu_args vcpu;
	__u64 now, last = read_counter(counter);
	int i, moved = 0;

	for (i = 0; i < rounds || !moved; i++) {
		CHECK_EQ(session_translate_one(session, &regs, vmm->data_va,
					       &result),
			 0);
		CHECK_EQ(result.out_status, VMEM_MAPPED);
		CHECK(ram_ptr(&vmm->ram, result.out_gpa) == counter);
		CHECK_EQ(session_vcpu(session, 0, &vcpu), 0);
		CHECK_EQ(vcpu.out_regs.cr4, regs.cr4);
		now = read_counter(counter);
		moved += now != last;
		last = now;
	}
	return moved;
}

static void vcpu_runs_meanwhile(void)
{
	__u64 *counter;
	void *reason = NULL;
	pthread_t thread;
	struct vmm vmm;
	int session, moved;

	vmm_init(&vmm);
	vmm_load(&vmm, store_until_told, sizeof(store_until_told));
	counter = ram_ptr(&vmm.ram,
			  tables_walk(&vmm.tables, vmm.data_va).out_gpa);
	session = session_open();
	CHECK_EQ(session_attach_kvm(session, vmm.vm_fd), 0);

	errno = pthread_create(&thread, NULL, run_in_thread, &vmm);
	must(errno ? -1 : 0, "pthread_create");
	while (!read_counter(counter))
		usleep(1000);
	moved = watch_counter(session, &vmm, counter, 1000);
	printf("# the guest had run in %d of 1000 rounds\n", moved);
	__atomic_store_n(&counter[1], 1, __ATOMIC_RELAXED);
	pthread_join(thread, &reason);
	CHECK_EQ((uintptr_t)reason, KVM_EXIT_HLT);
	close(session);
	vmm_free(&vmm);
}

/* ---- One VM, never run, and a session on it ---- */

struct fixture {
	struct vmm vmm;
	struct tables *tables;
	struct vmem_regs regs;
	int session;
};

static void fixture_init_at(struct fixture *f, __u64 gpa, int format)
{
	vmm_init_at(&f->vmm, gpa, format);
	f->tables = &f->vmm.tables;
	f->regs = tables_regs(f->tables);
	f->session = session_open();
	CHECK_EQ(session_attach_kvm(f->session, f->vmm.vm_fd), 0);
}

static void fixture_init_in(struct fixture *f, int format)
{
	fixture_init_at(f, RAM_GPA, format);
}

static void fixture_init(struct fixture *f)
{
	fixture_init_in(f, FORMAT_AMD64);
}

static void fixture_free(struct fixture *f)
{
	close(f->session);
	vmm_free(&f->vmm);
}

/* Translates @va and returns its status; -1 where it could not be asked. */
static int status_of(struct fixture *f, __u64 va)
{
	struct vmem_translation result;

	if (!CHECK_EQ(session_translate_one(f->session, &f->regs, va, &result),
		      0))
		return -1;
	return (int)result.out_status;
}

static void check_as_walked(struct fixture *f, __u64 va,
			    const struct vmem_translation *got)
{
	struct vmem_translation want = tables_walk(f->tables, va);
	size_t size = want.out_nr_trace * sizeof(want.out_trace[0]);
	char at[32];

	snprintf(at, sizeof(at), "va %#llx", va);
	CHECK_EQ_AT(at, got->out_status, want.out_status);
	CHECK_EQ_AT(at, got->out_gpa, want.out_gpa);
	CHECK_EQ_AT(at, got->out_page_size, want.out_page_size);
	CHECK_EQ_AT(at, got->out_perms, want.out_perms);
	CHECK_EQ_AT(at, got->out_level, want.out_level);
	if (CHECK_EQ_AT(at, got->out_nr_trace, want.out_nr_trace))
		CHECK_EQ_AT(at, memcmp(got->out_trace, want.out_trace, size),
			    0);
}

/* Translates @va and compares all of it with the naive walk. */
static void check_translation(struct fixture *f, __u64 va)
{
	struct vmem_translation got;

	if (CHECK_EQ(session_translate_one(f->session, &f->regs, va, &got), 0))
		check_as_walked(f, va, &got);
}

/* ---- Pages of each size ---- */

/* Maps one page of @level and wants it back as one row, whole and clipped. */
static void one_page(struct fixture *f, __u64 va, __u64 gpa, int level)
{
	__u64 page_size = tables_page_size(f->tables, level);
	struct vmem_mapping rows[4];
	struct session_maps maps = {
		.rows = rows,
		.room = ARRAY_SIZE(rows),
		.per_call = 4,
	};

	tables_map(f->tables, va, gpa, level, PTE_P | PTE_W);
	CHECK_EQ(session_map_range(f->session, &f->regs, 0, ~0ULL, &maps), 0);
	if (!CHECK_EQ(maps.nr, 1))
		return;
	CHECK_EQ(rows[0].va, va);
	CHECK_EQ(rows[0].last_va, va + page_size - 1);
	CHECK_EQ(rows[0].gpa, gpa);
	CHECK_EQ(rows[0].page_size, page_size);
	CHECK_EQ(rows[0].kind, VMEM_KIND_BASIC);
	CHECK_EQ(rows[0].perms, VMEM_WRITABLE | VMEM_EXECUTABLE);

	CHECK_EQ(session_map_range(f->session, &f->regs, va + 0x123,
				   va + page_size - 2, &maps),
		 0);
	if (!CHECK_EQ(maps.nr, 1))
		return;
	CHECK_EQ(rows[0].va, va + 0x123);
	CHECK_EQ(rows[0].last_va, va + page_size - 2);
	CHECK_EQ(rows[0].gpa, gpa + 0x123);
	CHECK_EQ(rows[0].page_size, page_size);

	check_translation(f, va);
	check_translation(f, va + page_size - 1);
	check_translation(f, va - 1);
	check_translation(f, va + page_size);
}

static void one_page_in(int format, __u64 va, __u64 gpa, int level)
{
	struct fixture f;

	fixture_init_in(&f, format);
	one_page(&f, va, gpa, level);
	check_translation(&f, GB(4));
	check_translation(&f, BIT_ULL(47));
	check_translation(&f, BIT_ULL(56));
	check_translation(&f, ~0ULL);
	fixture_free(&f);
}

static void page_1g(void)
{
	one_page_in(FORMAT_AMD64, GB(5), GB(3), VMEM_LEVEL_PDPT);
}

static void page_2m(void)
{
	one_page_in(FORMAT_AMD64, 0xffff900000400000, MB(6), VMEM_LEVEL_PD);
}

static void page_4k(void)
{
	one_page_in(FORMAT_AMD64, 0x7ffffffff000, RAM_GPA, VMEM_LEVEL_PT);
}

static void la57_page_1g(void)
{
	one_page_in(FORMAT_LA57, BIT_ULL(52) + GB(5), GB(3), VMEM_LEVEL_PDPT);
}

static void la57_page_2m(void)
{
	one_page_in(FORMAT_LA57, 0xff00000000000000, MB(6), VMEM_LEVEL_PD);
}

/* Where 4 levels have no address, and where 5 have none any more behind it. */
static void la57_page_4k(void)
{
	one_page_in(FORMAT_LA57, BIT_ULL(47), RAM_GPA, VMEM_LEVEL_PT);
	one_page_in(FORMAT_LA57, 0xfffffffffff000, RAM_GPA, VMEM_LEVEL_PT);
}

/* In guest-physical memory that 32 bits do not reach. */
static void pae_page_2m(void)
{
	one_page_in(FORMAT_PAE, 0xc0000000, GB(6), VMEM_LEVEL_PD);
}

static void pae_page_4k(void)
{
	one_page_in(FORMAT_PAE, 0xfffff000, RAM_GPA, VMEM_LEVEL_PT);
}

static void page_4k_is_the_last(void)
{
	struct vmem_mapping rows[4];
	struct session_maps maps = {
		.rows = rows,
		.room = ARRAY_SIZE(rows),
		.per_call = 4,
	};
	const __u64 va = -PAGE;
	struct fixture f;

	fixture_init(&f);
	tables_map(f.tables, va, RAM_GPA, VMEM_LEVEL_PT, PTE_PWU);
	CHECK_EQ(session_map_range(f.session, &f.regs, ~0ULL, ~0ULL, &maps), 0);
	if (CHECK_EQ(maps.nr, 1)) {
		CHECK_EQ(rows[0].va, ~0ULL);
		CHECK_EQ(rows[0].last_va, ~0ULL);
		CHECK_EQ(rows[0].gpa, RAM_GPA + PAGE - 1);
	}
	check_translation(&f, ~0ULL);
	fixture_free(&f);
}

static void i686_page_4m(void)
{
	one_page_in(FORMAT_I686, 0xc0000000, MB(4), VMEM_LEVEL_PD);
}

static void i686_page_4k(void)
{
	one_page_in(FORMAT_I686, 0xfffff000, RAM_GPA, VMEM_LEVEL_PT);
}

static void i686_side_by_side(void)
{
	struct vmem_mapping rows[8];
	struct session_maps maps = {
		.rows = rows,
		.room = ARRAY_SIZE(rows),
		.per_call = 8,
	};
	struct fixture f;

	fixture_init_in(&f, FORMAT_I686);
	tables_map_all(f.tables, MB(8), MB(2), 3 * PAGE, VMEM_LEVEL_PT);
	tables_map_all(f.tables, MB(12), MB(4), MB(8), VMEM_LEVEL_PD);
	CHECK_EQ(session_map_range(f.session, &f.regs, 0, 0xffffffff, &maps),
		 0);
	if (CHECK_EQ(maps.nr, 2)) {
		CHECK_EQ(rows[0].page_size, KB(4));
		CHECK_EQ(rows[0].last_va, MB(8) + 3 * PAGE - 1);
		CHECK_EQ(rows[1].page_size, MB(4));
		CHECK_EQ(rows[1].last_va, MB(20) - 1);
	}
	fixture_free(&f);
}

/* A page of them: each at its 32 bytes, and the bits below those are not looked at. */
static void pae_roots_in_one_page(void)
{
	struct vmem_translation result;
	struct fixture f;
	__u64 i, page;

	fixture_init_in(&f, FORMAT_PAE);
	page = f.tables->root;
	for (i = 0; i < PAGE / 32; i++) {
		f.tables->root = page + 32 * i;
		f.regs.cr3 = f.tables->root | i % 32;
		tables_map(f.tables, GB(3), RAM_GPA + i * PAGE, VMEM_LEVEL_PT,
			   PTE_PWU);
		check_translation(&f, GB(3));
		check_translation(&f, 0);
	}
	for (i = 0; i < PAGE / 32; i++) {
		f.regs.cr3 = page + 32 * i;
		CHECK_EQ(session_translate_one(f.session, &f.regs, GB(3),
					       &result),
			 0);
		CHECK_EQ(result.out_gpa, RAM_GPA + i * PAGE);
	}
	fixture_free(&f);
}

/* ---- Memory slots ---- */

/* Memory that the tables do not lie in, in a slot of its own. */
#define MORE_ID 7
#define MORE_GPA GB(1)
#define MORE_LEN MB(4)
#define MORE_VA 0x10000000ULL

/* Leads MORE_VA to a table at the start of @more, and on to its second page. */
static void map_by_way_of(struct fixture *f, const struct guest_ram *more)
{
	__u64 leaf = (more->gpa + PAGE) | PTE_PWU;

	memcpy(more->hva, &leaf, sizeof(leaf));
	tables_set(f->tables, MORE_VA, VMEM_LEVEL_PD, more->gpa | PTE_PWU);
}

static void check_lost_table(struct fixture *f, enum vmem_status status)
{
	struct vmem_translation result;

	if (!CHECK_EQ(session_translate_one(f->session, &f->regs, MORE_VA,
					    &result),
		      0))
		return;
	CHECK_EQ(result.out_status, status);
	CHECK_EQ(result.out_level, VMEM_LEVEL_PT);
	CHECK_EQ(result.out_nr_trace, 3);
	CHECK_EQ(result.out_gpa, 0);
	CHECK_EQ(result.out_page_size, 0);
	CHECK_EQ(result.out_perms, 0);
}

static void check_slot(const struct vmem_memslot *slot, __u32 id,
		       const struct guest_ram *ram, __u32 flags)
{
	CHECK_EQ(slot->id, id);
	CHECK_EQ(slot->gpa, ram->gpa);
	CHECK_EQ(slot->len, ram->len);
	CHECK_EQ(slot->hva, (uintptr_t)ram->hva);
	CHECK_EQ(slot->flags, flags);
}

static void slots_with_a_hole(void)
{
	struct guest_ram more = ram_new(MORE_GPA, MORE_LEN);
	struct vmem_memslot slots[8];
	struct fixture f;
	__u32 nr;

	fixture_init(&f);
	vmm_add_slot(&f.vmm, MORE_ID, &more);
	CHECK_EQ(session_memslots(f.session, slots, 8, 8, &nr), 0);
	if (CHECK_EQ(nr, 2)) {
		check_slot(&slots[0], 0, &f.vmm.ram, 0);
		check_slot(&slots[1], MORE_ID, &more, 0);
	}
	map_by_way_of(&f, &more);
	CHECK_EQ(status_of(&f, MORE_VA), VMEM_MAPPED);
	tables_set(f.tables, MORE_VA, VMEM_LEVEL_PD,
		   (MORE_GPA - PAGE) | PTE_PWU);
	check_lost_table(&f, VMEM_UNBACKED);
	fixture_free(&f);
	ram_free(&more);
}

static void slot_above_4g(void)
{
	__u64 word = 0, magic = MAGIC;
	struct vmem_read_args end;
	struct fixture f;
	__u64 gpa;

	fixture_init_at(&f, GB(6), FORMAT_AMD64);
	gpa = ram_alloc(&f.vmm.ram, PAGE);
	memcpy(ram_ptr(&f.vmm.ram, gpa), &magic, sizeof(magic));
	tables_map(f.tables, MORE_VA, gpa, VMEM_LEVEL_PT, PTE_PWU);
	check_translation(&f, MORE_VA);
	CHECK_EQ(session_read(f.session, &f.regs, MORE_VA, &word, sizeof(word),
			      &end),
		 0);
	CHECK_EQ(word, MAGIC);
	fixture_free(&f);
}

static void slot_added_later(void)
{
	struct guest_ram more = ram_new(MORE_GPA, MORE_LEN);
	struct fixture f;

	fixture_init(&f);
	map_by_way_of(&f, &more);
	check_lost_table(&f, VMEM_UNBACKED);
	vmm_add_slot(&f.vmm, MORE_ID, &more);
	CHECK_EQ(status_of(&f, MORE_VA), VMEM_MAPPED);
	fixture_free(&f);
	ram_free(&more);
}

static void slot_removed_later(void)
{
	struct guest_ram more = ram_new(MORE_GPA, MORE_LEN);
	struct vmem_memslot slots[8];
	struct vmem_read_args end;
	struct fixture f;
	char byte;
	__u32 nr;

	fixture_init(&f);
	vmm_add_slot(&f.vmm, MORE_ID, &more);
	map_by_way_of(&f, &more);
	tables_map(f.tables, 0, MORE_GPA, VMEM_LEVEL_PT, PTE_PWU);
	CHECK_EQ(status_of(&f, MORE_VA), VMEM_MAPPED);

	vmm_remove_slot(&f.vmm, MORE_ID);
	check_lost_table(&f, VMEM_UNBACKED);
	CHECK_EQ(session_memslots(f.session, slots, 8, 8, &nr), 0);
	CHECK_EQ(nr, 1);

	/* A page may be mapped to where there is no memory. */
	CHECK_EQ(status_of(&f, 0), VMEM_MAPPED);
	CHECK_EQ(session_read(f.session, &f.regs, 0, &byte, 1, &end), 0);
	CHECK_EQ(end.out_len, 0);
	CHECK_EQ(end.out_status, VMEM_UNBACKED);
	CHECK_EQ(end.out_level, VMEM_LEVEL_PT);
	fixture_free(&f);
	ram_free(&more);
}

static void slot_of_the_root_removed(void)
{
	struct vmem_translation result;
	struct fixture f;

	fixture_init(&f);
	CHECK_EQ(status_of(&f, 0), VMEM_NOT_PRESENT);
	vmm_remove_slot(&f.vmm, 0);
	CHECK_EQ(session_translate_one(f.session, &f.regs, 0, &result), -ENXIO);
	vmm_add_slot(&f.vmm, 0, &f.vmm.ram);
	CHECK_EQ(status_of(&f, 0), VMEM_NOT_PRESENT);
	fixture_free(&f);
}

static void slot_moved_later(void)
{
	struct guest_ram more = ram_new(MORE_GPA, MORE_LEN);
	struct vmem_memslot slots[8];
	struct fixture f;
	__u32 nr;

	fixture_init(&f);
	vmm_add_slot(&f.vmm, MORE_ID, &more);
	map_by_way_of(&f, &more);
	CHECK_EQ(status_of(&f, MORE_VA), VMEM_MAPPED);

	more.gpa += GB(1);
	vmm_add_slot(&f.vmm, MORE_ID, &more);
	check_lost_table(&f, VMEM_UNBACKED);
	map_by_way_of(&f, &more);
	CHECK_EQ(status_of(&f, MORE_VA), VMEM_MAPPED);
	CHECK_EQ(session_memslots(f.session, slots, 8, 8, &nr), 0);
	if (CHECK_EQ(nr, 2))
		check_slot(&slots[1], MORE_ID, &more, 0);
	fixture_free(&f);
	ram_free(&more);
}

static void slot_readonly(void)
{
	struct guest_ram more = ram_new(MORE_GPA, MORE_LEN);
	struct vmem_memslot slots[8];
	struct fixture f;
	__u32 nr;

	fixture_init(&f);
	vmm_set_slot(&f.vmm, MORE_ID, more.gpa, more.len, more.hva,
		     KVM_MEM_READONLY);
	CHECK_EQ(session_memslots(f.session, slots, 8, 8, &nr), 0);
	if (CHECK_EQ(nr, 2)) {
		CHECK_EQ(slots[0].flags, 0);
		check_slot(&slots[1], MORE_ID, &more, VMEM_MEMSLOT_READONLY);
	}
	map_by_way_of(&f, &more);

	/* To read it takes no right of ours to write. */
	must(mprotect(more.hva, more.len, PROT_READ), "mprotect");
	CHECK_EQ(status_of(&f, MORE_VA), VMEM_MAPPED);
	fixture_free(&f);
	ram_free(&more);
}

static void slots_by_the_cursor(void)
{
	struct guest_ram more = ram_new(MORE_GPA, MORE_LEN);
	struct vmem_memslot all[16], one_by_one[16];
	struct fixture f;
	__u32 i, nr_all, nr;

	fixture_init(&f);

	/* Pages of one mapping, with holes, and numbered backwards. */
	for (i = 0; i < 10; i++)
		vmm_set_slot(&f.vmm, 20 - i, MORE_GPA + i * 2 * PAGE, PAGE,
			     more.hva + i * PAGE, 0);
	CHECK_EQ(session_memslots(f.session, all, 16, 16, &nr_all), 0);
	CHECK_EQ(nr_all, 11);
	for (i = 1; i < nr_all; i++)
		CHECK(all[i].gpa > all[i - 1].gpa);
	CHECK_EQ(session_memslots(f.session, one_by_one, 16, 1, &nr), 0);
	CHECK_EQ(nr, nr_all);
	CHECK_EQ(memcmp(all, one_by_one, nr_all * sizeof(all[0])), 0);
	CHECK_EQ(session_memslots(f.session, one_by_one, 16, 3, &nr), 0);
	CHECK_EQ(nr, nr_all);
	CHECK_EQ(memcmp(all, one_by_one, nr_all * sizeof(all[0])), 0);
	fixture_free(&f);
	ram_free(&more);
}

/* ---- What a VMM does to its guest's memory ---- */

static void table_never_touched(void)
{
	struct guest_ram more = ram_new(MORE_GPA, MORE_LEN);
	struct vmem_mapping rows[4];
	struct session_maps maps = {
		.rows = rows,
		.room = ARRAY_SIZE(rows),
		.per_call = 4,
	};
	struct vmem_translation result;
	struct fixture f;

	fixture_init(&f);
	vmm_add_slot(&f.vmm, MORE_ID, &more);
	tables_set(f.tables, MORE_VA, VMEM_LEVEL_PD, more.gpa | PTE_PWU);
	CHECK_EQ(session_translate_one(f.session, &f.regs, MORE_VA, &result),
		 0);
	CHECK_EQ(result.out_status, VMEM_NOT_PRESENT);
	CHECK_EQ(result.out_level, VMEM_LEVEL_PT);
	CHECK_EQ(session_map_range(f.session, &f.regs, 0, ~0ULL, &maps), 0);
	CHECK_EQ(maps.nr, 0);
	CHECK_EQ(maps.anomalies, 0);

	/* The page that the guest gets when it writes there is another one. */
	map_by_way_of(&f, &more);
	CHECK_EQ(status_of(&f, MORE_VA), VMEM_MAPPED);
	fixture_free(&f);
	ram_free(&more);
}

static void table_discarded(void)
{
	struct guest_ram more = ram_new(MORE_GPA, MORE_LEN);
	struct fixture f;

	fixture_init(&f);
	vmm_add_slot(&f.vmm, MORE_ID, &more);
	map_by_way_of(&f, &more);
	CHECK_EQ(status_of(&f, MORE_VA), VMEM_MAPPED);
	must(madvise(more.hva, PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	CHECK_EQ(status_of(&f, MORE_VA), VMEM_NOT_PRESENT);
	map_by_way_of(&f, &more);
	CHECK_EQ(status_of(&f, MORE_VA), VMEM_MAPPED);
	fixture_free(&f);
	ram_free(&more);
}

static void table_unmapped(void)
{
	struct guest_ram more = ram_new(MORE_GPA, MORE_LEN);
	struct vmem_mapping rows[4];
	struct session_maps maps = {
		.rows = rows,
		.room = ARRAY_SIZE(rows),
		.per_call = 4,
	};
	struct vmem_read_args end;
	struct fixture f;
	char byte;

	fixture_init(&f);
	vmm_add_slot(&f.vmm, MORE_ID, &more);
	map_by_way_of(&f, &more);
	tables_map(f.tables, 0, more.gpa + PAGE, VMEM_LEVEL_PT, PTE_PWU);
	CHECK_EQ(status_of(&f, MORE_VA), VMEM_MAPPED);

	ram_free(&more);
	check_lost_table(&f, VMEM_UNREADABLE);
	CHECK_EQ(session_map_range(f.session, &f.regs, 0, ~0ULL, &maps), 0);
	CHECK_EQ(maps.nr, 1);
	CHECK_EQ(maps.anomalies, 1);
	CHECK_EQ(session_read(f.session, &f.regs, 0, &byte, 1, &end), 0);
	CHECK_EQ(end.out_len, 0);
	CHECK_EQ(end.out_status, VMEM_UNREADABLE);
	fixture_free(&f);
}

static void anomalies_are_counted(void)
{
	struct vmem_mapping rows[4];
	struct session_maps maps = {
		.rows = rows,
		.room = ARRAY_SIZE(rows),
		.per_call = 4,
	};
	struct fixture f;

	fixture_init(&f);
	tables_map(f.tables, 0, RAM_GPA, VMEM_LEVEL_PT, PTE_PWU);
	tables_set(f.tables, MB(2), VMEM_LEVEL_PD, GB(9) | PTE_PWU);
	/* A 2 MiB page's address has no bit 13. */
	tables_set(f.tables, MB(4), VMEM_LEVEL_PD, 0x2000 | PTE_PWU | PTE_PS);
	CHECK_EQ(status_of(&f, MB(2)), VMEM_UNBACKED);
	CHECK_EQ(status_of(&f, MB(4)), VMEM_RESERVED);
	CHECK_EQ(session_map_range(f.session, &f.regs, 0, ~0ULL, &maps), 0);
	CHECK_EQ(maps.nr, 1);
	CHECK_EQ(maps.anomalies, 2);
	fixture_free(&f);
}

/**
 * struct changes - a thread that changes a slot while we look
 * @f: whose slot
 * @more: the slot's memory
 * @change: makes one change and undoes it
 * @stop: set to end it
 * @nr: how often it did
 */
struct changes {
	struct fixture f;
	struct guest_ram more;
	void (*change)(struct changes *changes);
	int stop;
	int nr;
};

static void slot_comes_and_goes(struct changes *changes)
{
	vmm_remove_slot(&changes->f.vmm, MORE_ID);
	vmm_add_slot(&changes->f.vmm, MORE_ID, &changes->more);
}

static void memory_comes_and_goes(struct changes *changes)
{
	struct guest_ram *more = &changes->more;
	void *hva;

	must(mprotect(more->hva, more->len, PROT_NONE), "mprotect");
	hva = mmap(more->hva, more->len, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	must(hva == MAP_FAILED ? -1 : 0, "mmap");
	map_by_way_of(&changes->f, more);
}

static void *change_on_and_on(void *arg)
{
	struct changes *changes = arg;

	while (!__atomic_load_n(&changes->stop, __ATOMIC_RELAXED)) {
		changes->change(changes);
		changes->nr++;
	}
	return NULL;
}

#define NR_STATUS (VMEM_UNREADABLE + 1)

static void look_5000_times(struct changes *changes, int *nr_of_status)
{
	struct vmem_translation result;
	int i, ret;

	for (i = 0; i < 5000; i++) {
		ret = session_translate_one(changes->f.session,
					    &changes->f.regs, MORE_VA, &result);
		if (!CHECK_EQ(ret, 0) || !CHECK(result.out_status < NR_STATUS))
			return;
		nr_of_status[result.out_status]++;
		if (result.out_status == VMEM_MAPPED)
			CHECK_EQ(result.out_gpa, MORE_GPA + PAGE);
	}
}

/*
 * Each answer is of one moment or another; none of them is an error. @lost: the
 * status where the memory is away
 */
static void look_while_it_changes(void (*change)(struct changes *changes),
				  enum vmem_status lost)
{
	struct changes changes = { .change = change };
	int nr_of_status[NR_STATUS] = { 0 };
	pthread_t thread;

	changes.more = ram_new(MORE_GPA, MORE_LEN);
	fixture_init(&changes.f);
	vmm_add_slot(&changes.f.vmm, MORE_ID, &changes.more);
	map_by_way_of(&changes.f, &changes.more);
	errno = pthread_create(&thread, NULL, change_on_and_on, &changes);
	must(errno ? -1 : 0, "pthread_create");
	look_5000_times(&changes, nr_of_status);
	__atomic_store_n(&changes.stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	printf("# changed %d times: mapped %d, not present %d, lost %d\n",
	       changes.nr, nr_of_status[VMEM_MAPPED],
	       nr_of_status[VMEM_NOT_PRESENT], nr_of_status[lost]);
	CHECK_EQ(nr_of_status[lost == VMEM_UNBACKED ? VMEM_UNREADABLE :
						      VMEM_UNBACKED],
		 0);
	CHECK_EQ(nr_of_status[VMEM_RESERVED], 0);
	CHECK_EQ(nr_of_status[VMEM_NON_CANONICAL], 0);
	CHECK_EQ(status_of(&changes.f, MORE_VA), VMEM_MAPPED);
	fixture_free(&changes.f);
	ram_free(&changes.more);
}

static void slot_changes_meanwhile(void)
{
	look_while_it_changes(slot_comes_and_goes, VMEM_UNBACKED);
}

static void memory_changes_meanwhile(void)
{
	look_while_it_changes(memory_comes_and_goes, VMEM_UNREADABLE);
}

static void wait_for_ever(void *arg)
{
	struct fixture *f = arg;

	status_of(f, MORE_VA);
	ktap_fail("a fault was resolved that nobody resolves");
}

/* The child asks of our memory; the fault is ours to resolve. */
static void kill_who_waits(struct fixture *f, int uffd)
{
	pid_t child = ktap_fork(wait_for_ever, f);
	struct uffd_msg msg;
	int status = 0;

	CHECK_EQ(read(uffd, &msg, sizeof(msg)), sizeof(msg));
	CHECK_EQ(msg.event, UFFD_EVENT_PAGEFAULT);
	usleep(100000);
	CHECK_EQ(waitpid(child, &status, WNOHANG), 0);
	must(kill(child, SIGKILL), "kill");
	must(waitpid(child, &status, 0), "waitpid");
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Who waits for a page that never comes can still be killed. */
static void table_that_never_comes(void)
{
	struct guest_ram more = ram_new(MORE_GPA, MORE_LEN);
	struct fixture f;
	int uffd;

	fixture_init(&f);
	vmm_add_slot(&f.vmm, MORE_ID, &more);
	tables_set(f.tables, MORE_VA, VMEM_LEVEL_PD, more.gpa | PTE_PWU);
	uffd = ram_own_faults(&more);
	ktap_skipped = uffd < 0;
	if (uffd >= 0) {
		kill_who_waits(&f, uffd);
		close(uffd);
	}
	fixture_free(&f);
	ram_free(&more);
}

/* ---- Many addresses, many rows ---- */

/* Pages of every size that a format has, in runs of every length and every right. */
static void map_patchwork(struct fixture *f)
{
	static const __u64 rights[] = {
		PTE_P,	 PTE_P | PTE_W,	 PTE_P | PTE_U,
		PTE_PWU, PTE_P | PTE_NX, PTE_PWU | PTE_NX,
	};
	const int last = f->tables->top == VMEM_LEVEL_PD ? 4 : 6;
	const __u64 large = tables_page_size(f->tables, VMEM_LEVEL_PD);
	__u64 i;

	for (i = 0; i < 600; i++)
		if (i % 7)
			tables_map(f->tables, MB(1) + i * PAGE,
				   RAM_GPA + (i % 11 ? i : 0) * PAGE,
				   VMEM_LEVEL_PT, rights[i / 13 % last]);
	for (i = 0; i < 8; i++)
		tables_map(f->tables, GB(1) + i * large, large * (i / 3 + i),
			   VMEM_LEVEL_PD, rights[i / 2]);
	if (!tables_are_long(f->tables))
		return;
	tables_map_all(f->tables, GB(512), GB(1), GB(3), VMEM_LEVEL_PDPT);
	tables_map(f->tables, 0x7ffffffff000, RAM_GPA, VMEM_LEVEL_PT, PTE_PWU);
	tables_map(f->tables, 0xffff800000000000, RAM_GPA + PAGE, VMEM_LEVEL_PT,
		   PTE_PWU);
	tables_map(f->tables, -PAGE, RAM_GPA + 2 * PAGE, VMEM_LEVEL_PT,
		   PTE_PWU);
	if (f->tables->top == VMEM_LEVEL_PML5)
		tables_map(f->tables, 0xfffffffffff000, RAM_GPA, VMEM_LEVEL_PT,
			   PTE_PWU);
}

/* As map_patchwork() has it: every seventh of the 600 is left out. */
static __u64 patchwork_len(const struct fixture *f)
{
	const __u64 large = tables_page_size(f->tables, VMEM_LEVEL_PD);
	const __u64 alone = f->tables->top == VMEM_LEVEL_PML5 ? 4 : 3;

	if (!tables_are_long(f->tables))
		return (600 - 86) * PAGE + 8 * large;
	return (600 - 86 + alone) * PAGE + 8 * large + GB(3);
}

static __u64 random_address(__u64 *state)
{
	static const __u64 ranges[][2] = {
		{ 0, MB(4) },
		{ GB(1), MB(40) },
		{ GB(512), GB(4) },
		{ 0x7fffffff0000, 0x20000 },
		{ 0xffff7fffffff0000, 0x20000 },
		{ 0xffffffffff0000, 0x20000 },
		{ 0, 0 },
	};
	const __u64 *range;

	/* Marsaglia's xorshift: the same addresses in every run. */
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	range = ranges[*state % ARRAY_SIZE(ranges)];
	return range[1] ? range[0] + (*state >> 16) % range[1] : *state;
}

#define NR_BATCH 5000

static void batch_in(int format)
{
	static const __u64 ends[] = {
		0,
		~0ULL,
		0xffffffff,
		0x100000000,
		0xffffffffffffff,
		0x100000000000000,
		0xfeffffffffffffff,
		0xff00000000000000,
		0x7fffffffffff,
		0x800000000000,
		0xffff7fffffffffff,
		0xffff800000000000,
	};
	static struct vmem_translation results[NR_BATCH];
	static __u64 vas[NR_BATCH];
	__u64 state = 0x9e3779b97f4a7c15;
	struct fixture f;
	size_t i;

	fixture_init_in(&f, format);
	map_patchwork(&f);
	for (i = 0; i < NR_BATCH; i++)
		vas[i] = random_address(&state);
	memcpy(vas, ends, sizeof(ends));
	CHECK_EQ(session_translate(f.session, &f.regs, vas, NR_BATCH, results),
		 0);
	for (i = 0; i < NR_BATCH && !ktap_reason[0]; i++)
		check_as_walked(&f, vas[i], &results[i]);
	fixture_free(&f);
}

static void batch_of_addresses(void)
{
	int format;

	for (format = 0; format < NR_FORMATS; format++)
		batch_in(format);
}

#define NR_ROWS 2048

static void check_rows(struct fixture *f, const struct session_maps *maps)
{
	const struct vmem_mapping *row;
	struct vmem_translation tr;
	__u64 total = 0;

	for (row = maps->rows; row < maps->rows + maps->nr; row++) {
		tr = tables_walk(f->tables, row->va);
		CHECK_EQ(tr.out_status, VMEM_MAPPED);
		CHECK_EQ(row->gpa, tr.out_gpa);
		CHECK_EQ(row->page_size, tr.out_page_size);
		CHECK_EQ(row->perms, tr.out_perms);
		CHECK_EQ(row->kind, VMEM_KIND_BASIC);
		CHECK_EQ(tables_walk(f->tables, row->last_va).out_gpa,
			 row->gpa + (row->last_va - row->va));
		if (row > maps->rows)
			CHECK(row->va > row[-1].last_va);
		total += row->last_va - row->va + 1;
	}
	CHECK_EQ(total, patchwork_len(f));
}

static void map_range_resumed_in(int format)
{
	static const __u32 per_call[] = { 1, 3, 7 };
	static struct vmem_mapping all_rows[NR_ROWS], rows[NR_ROWS];
	struct session_maps all = {
		.rows = all_rows,
		.room = NR_ROWS,
		.per_call = NR_ROWS,
	};
	struct session_maps maps = { .rows = rows, .room = NR_ROWS };
	struct fixture f;
	size_t i;

	fixture_init_in(&f, format);
	map_patchwork(&f);
	CHECK_EQ(session_map_range(f.session, &f.regs, 0, ~0ULL, &all), 0);
	check_rows(&f, &all);
	for (i = 0; i < ARRAY_SIZE(per_call); i++) {
		maps.per_call = per_call[i];
		CHECK_EQ(session_map_range(f.session, &f.regs, 0, ~0ULL, &maps),
			 0);
		CHECK(maps.nr_calls >= maps.nr / maps.per_call);
		if (CHECK_EQ(maps.nr, all.nr))
			CHECK_EQ(memcmp(rows, all_rows,
					all.nr * sizeof(rows[0])),
				 0);
	}
	printf("# %s: %u rows\n", formats[format].name, all.nr);
	fixture_free(&f);
}

static void map_range_resumed(void)
{
	int format;

	for (format = 0; format < NR_FORMATS; format++)
		map_range_resumed_in(format);
}

/* Looks at everything, over and over. */
static void look_around(struct fixture *f, int rounds)
{
	static struct vmem_mapping rows[NR_ROWS];
	struct session_maps maps = {
		.rows = rows,
		.room = NR_ROWS,
		.per_call = NR_ROWS,
	};
	struct vmem_translation results[100];
	__u64 vas[100], state = 42;
	int i;

	while (rounds--) {
		for (i = 0; i < 100; i++)
			vas[i] = random_address(&state);
		CHECK_EQ(session_translate(f->session, &f->regs, vas, 100,
					   results),
			 0);
		CHECK_EQ(session_map_range(f->session, &f->regs, 0, ~0ULL,
					   &maps),
			 0);
	}
}

static void accessed_and_dirty_stay_in(int format)
{
	static char page[PAGE];
	struct vmem_read_args end;
	struct fixture f;
	void *before;

	fixture_init_in(&f, format);
	map_patchwork(&f);
	before = malloc(f.vmm.ram.used);
	must(before ? 0 : -1, "malloc");
	memcpy(before, f.vmm.ram.hva, f.vmm.ram.used);
	look_around(&f, 100);
	CHECK_EQ(session_read(f.session, &f.regs, MB(1) + PAGE, page, PAGE,
			      &end),
		 0);
	CHECK_EQ(end.out_len, PAGE);
	CHECK_EQ(memcmp(before, f.vmm.ram.hva, f.vmm.ram.used), 0);
	free(before);
	fixture_free(&f);
}

static void accessed_and_dirty_stay(void)
{
	int format;

	for (format = 0; format < NR_FORMATS; format++)
		accessed_and_dirty_stay_in(format);
}

/* ---- Reading ---- */

/* Maps two pages that lie the other way round in memory; the third is a hole.*/
static void map_two_pages(struct fixture *f, __u64 va)
{
	__u64 gpa = ram_alloc(&f->vmm.ram, 2 * PAGE);

	memset(ram_ptr(&f->vmm.ram, gpa), 'b', PAGE);
	memset(ram_ptr(&f->vmm.ram, gpa + PAGE), 'a', PAGE);
	tables_map(f->tables, va, gpa + PAGE, VMEM_LEVEL_PT, PTE_PWU);
	tables_map(f->tables, va + PAGE, gpa, VMEM_LEVEL_PT, PTE_PWU);
}

static void read_over_a_boundary(void)
{
	struct vmem_read_args end;
	struct fixture f;
	char buf[16];

	fixture_init(&f);
	map_two_pages(&f, MORE_VA);
	CHECK_EQ(session_read(f.session, &f.regs, MORE_VA + PAGE - 5, buf,
			      sizeof(buf), &end),
		 0);
	CHECK_EQ(end.out_len, sizeof(buf));
	CHECK_EQ(end.out_status, VMEM_MAPPED);
	CHECK_EQ(end.out_level, VMEM_LEVEL_NONE);
	CHECK_EQ(memcmp(buf, "aaaaabbbbbbbbbbb", sizeof(buf)), 0);
	fixture_free(&f);
}

static void read_into_a_hole(void)
{
	static char buf[3 * PAGE];
	struct vmem_read_args end;
	struct fixture f;
	size_t i;

	fixture_init(&f);
	map_two_pages(&f, MORE_VA);
	CHECK_EQ(session_read(f.session, &f.regs, MORE_VA + 10, buf,
			      sizeof(buf), &end),
		 0);
	CHECK_EQ(end.out_len, 2 * PAGE - 10);
	CHECK_EQ(end.out_status, VMEM_NOT_PRESENT);
	CHECK_EQ(end.out_level, VMEM_LEVEL_PT);
	CHECK_EQ(buf[2 * PAGE - 11], 'b');
	for (i = 2 * PAGE - 10; i < sizeof(buf); i++)
		if (!CHECK_EQ((__u8)buf[i], POISON))
			break;

	/* From within the hole there is nothing to read at all. */
	CHECK_EQ(session_read(f.session, &f.regs, MORE_VA + 2 * PAGE, buf, 1,
			      &end),
		 0);
	CHECK_EQ(end.out_len, 0);
	CHECK_EQ(end.out_status, VMEM_NOT_PRESENT);
	fixture_free(&f);
}

static void read_at_the_ends(void)
{
	struct vmem_read_args end;
	struct fixture f;
	char buf[16];

	fixture_init(&f);
	tables_map(f.tables, 0x7ffffffff000, RAM_GPA, VMEM_LEVEL_PT, PTE_PWU);
	tables_map(f.tables, -PAGE, RAM_GPA, VMEM_LEVEL_PT, PTE_PWU);
	CHECK_EQ(session_read(f.session, &f.regs, 0x7ffffffffffc, buf, 16,
			      &end),
		 0);
	CHECK_EQ(end.out_len, 4);
	CHECK_EQ(end.out_status, VMEM_NON_CANONICAL);
	CHECK_EQ(end.out_level, VMEM_LEVEL_NONE);
	CHECK_EQ(session_read(f.session, &f.regs, -16ULL, buf, 16, &end), 0);
	CHECK_EQ(end.out_len, 16);
	CHECK_EQ(end.out_status, VMEM_MAPPED);
	fixture_free(&f);
}

#define LARGE MB(16)

static void read_large(void)
{
	struct guest_ram more = ram_new(MORE_GPA, LARGE);
	__u64 i, *buf, *words = (__u64 *)more.hva;
	struct vmem_read_args end;
	struct fixture f;

	fixture_init(&f);
	vmm_add_slot(&f.vmm, MORE_ID, &more);
	for (i = 0; i < LARGE / sizeof(*words); i++)
		words[i] = i * MAGIC;

	/* The second half first and in small pages, then the first in large. */
	for (i = 0; i < LARGE / 2; i += PAGE)
		tables_map(f.tables, MORE_VA + i, MORE_GPA + LARGE / 2 + i,
			   VMEM_LEVEL_PT, PTE_PWU);
	tables_map_all(f.tables, MORE_VA + LARGE / 2, MORE_GPA, LARGE / 2,
		       VMEM_LEVEL_PD);
	buf = malloc(LARGE);
	must(buf ? 0 : -1, "malloc");
	CHECK_EQ(session_read(f.session, &f.regs, MORE_VA, buf, LARGE, &end),
		 0);
	CHECK_EQ(end.out_len, LARGE);
	CHECK_EQ(end.out_status, VMEM_MAPPED);
	CHECK_EQ(memcmp(buf, more.hva + LARGE / 2, LARGE / 2), 0);
	CHECK_EQ(memcmp((char *)buf + LARGE / 2, more.hva, LARGE / 2), 0);
	free(buf);
	fixture_free(&f);
	ram_free(&more);
}

/* ---- Reading by guest-physical address ---- */

static void expect_phys(int session, __u64 gpa, __u64 len, const void *want,
			__u64 want_len, enum vmem_status status)
{
	struct vmem_read_phys_args end;
	__u8 *buf = malloc(len);

	must(buf ? 0 : -1, "malloc");
	CHECK_EQ(session_read_phys(session, gpa, buf, len, &end), 0);
	CHECK_EQ(end.out_len, want_len);
	CHECK_EQ(end.out_status, status);
	CHECK_EQ(memcmp(buf, want, want_len), 0);
	if (want_len < len)
		CHECK(buf[want_len] == POISON && buf[len - 1] == POISON);
	free(buf);

	/* How far it reads is the same without a buffer. */
	CHECK_EQ(session_read_phys(session, gpa, NULL, len, &end), 0);
	CHECK_EQ(end.out_len, want_len);
	CHECK_EQ(end.out_status, status);
}

/* All of a slot, parts of it, what lies behind it, and what cannot be read. */
static void read_phys(void)
{
	struct guest_ram more = ram_new(MORE_GPA, LARGE);
	__u64 i, end = MORE_GPA + LARGE, *words = (__u64 *)more.hva;
	struct fixture f;

	fixture_init(&f);
	for (i = 0; i < LARGE / sizeof(*words); i++)
		words[i] = i * MAGIC;
	vmm_add_slot(&f.vmm, MORE_ID, &more);
	expect_phys(f.session, MORE_GPA, LARGE, more.hva, LARGE, VMEM_MAPPED);
	expect_phys(f.session, MORE_GPA + 5, 1, more.hva + 5, 1, VMEM_MAPPED);
	expect_phys(f.session, MORE_GPA + PAGE - 3, PAGE + 7,
		    more.hva + PAGE - 3, PAGE + 7, VMEM_MAPPED);
	expect_phys(f.session, end - 9, 2 * PAGE, more.hva + LARGE - 9, 9,
		    VMEM_UNBACKED);
	expect_phys(f.session, end, 8, more.hva, 0, VMEM_UNBACKED);
	expect_phys(f.session, BIT_ULL(52), 8, more.hva, 0, VMEM_UNBACKED);
	expect_phys(f.session, -8ULL, 8, more.hva, 0, VMEM_UNBACKED);
	must(mprotect(more.hva + MB(1), PAGE, PROT_NONE), "mprotect");
	expect_phys(f.session, MORE_GPA + MB(1) - 9, MB(1),
		    more.hva + MB(1) - 9, 9, VMEM_UNREADABLE);
	fixture_free(&f);
	ram_free(&more);
}

/* ---- Processes ---- */

#define NEW_MAGIC (~MAGIC)

/**
 * struct family - what a child of ours looks at
 * @f: our VM, and the session attached to it
 * @regions: a session attached to a table of our own memory
 * @data: the guest's page at MORE_VA
 * @ready: a pipe: the child may look
 */
struct family {
	struct fixture f;
	int regions;
	__u64 *data;
	int ready[2];
};

static void refused_in_the_child(struct family *family)
{
	struct vmem_regs *regs = &family->f.regs;
	struct vmem_translation result;
	struct vmem_mapping row;
	struct session_maps maps = { .rows = &row, .room = 1, .per_call = 1 };
	struct vmem_memslot slot[2];
	struct vmem_read_args end;
	__u64 word;
	__u32 nr;

	CHECK_EQ(session_translate_one(family->regions, regs, MORE_VA, &result),
		 -EPERM);
	CHECK_EQ(session_map_range(family->regions, regs, 0, ~0ULL, &maps),
		 -EPERM);
	CHECK_EQ(session_read(family->regions, regs, MORE_VA, &word,
			      sizeof(word), &end),
		 -EPERM);
	CHECK_EQ(session_memslots(family->regions, slot, 2, 2, &nr), -EPERM);
}

static void child_looks(void *arg)
{
	struct family *family = arg;
	struct vmem_read_args end;
	__u64 word;
	char c;

	must(read(family->ready[0], &c, 1), "read");

	/* KVM's session is on the parent's memory, wherever it is asked. */
	CHECK_EQ(*family->data, MAGIC);
	CHECK_EQ(session_read(family->f.session, &family->f.regs, MORE_VA,
			      &word, sizeof(word), &end),
		 0);
	CHECK_EQ(word, NEW_MAGIC);
	refused_in_the_child(family);
}

static void check_word(int session, const struct vmem_regs *regs, __u64 want)
{
	struct vmem_read_args end;
	__u64 word;

	CHECK_EQ(session_read(session, regs, MORE_VA, &word, sizeof(word),
			      &end),
		 0);
	CHECK_EQ(end.out_len, sizeof(word));
	CHECK_EQ(word, want);
}

static void family_init(struct family *family)
{
	struct guest_ram *ram = &family->f.vmm.ram;
	struct vmem_region region;
	__u64 gpa;

	fixture_init(&family->f);
	gpa = ram_alloc(ram, PAGE);
	tables_map(family->f.tables, MORE_VA, gpa, VMEM_LEVEL_PT, PTE_PWU);
	family->data = ram_ptr(ram, gpa);
	*family->data = MAGIC;
	region.gpa = ram->gpa;
	region.len = ram->len;
	region.hva = (uintptr_t)ram->hva;
	family->regions = session_open();
	CHECK_EQ(session_attach_regions(family->regions, &region, 1), 0);
	must(pipe(family->ready), "pipe");
}

static void sessions_over_fork(void)
{
	struct family family;
	pid_t child;

	family_init(&family);
	check_word(family.f.session, &family.f.regs, MAGIC);
	check_word(family.regions, &family.f.regs, MAGIC);
	child = ktap_fork(child_looks, &family);

	/* This write gives us a page of our own; the old one is the child's. */
	*family.data = NEW_MAGIC;
	check_word(family.f.session, &family.f.regs, NEW_MAGIC);
	check_word(family.regions, &family.f.regs, NEW_MAGIC);
	must(write(family.ready[1], "", 1), "write");
	ktap_wait(child);
	check_word(family.f.session, &family.f.regs, NEW_MAGIC);
	check_word(family.regions, &family.f.regs, NEW_MAGIC);

	close(family.ready[0]);
	close(family.ready[1]);
	close(family.regions);
	fixture_free(&family.f);
}

/* What another process's VMM tells of its guest. */
struct stranger {
	int vm_fd;
	struct vmem_regs regs;
};

struct stranger_pipes {
	int tell[2];
	int leave[2];
};

/* A VMM of its own, until the other end of @leave is closed. */
static void be_a_stranger(void *arg)
{
	struct stranger_pipes *pipes = arg;
	struct stranger self;
	struct vmm vmm;
	__u64 gpa;
	char c;

	close(pipes->leave[1]);
	vmm_init(&vmm);
	gpa = ram_alloc(&vmm.ram, PAGE);
	*(__u64 *)ram_ptr(&vmm.ram, gpa) = MAGIC;
	tables_map(&vmm.tables, MORE_VA, gpa, VMEM_LEVEL_PT, PTE_PWU);
	self.vm_fd = vmm.vm_fd;
	self.regs = tables_regs(&vmm.tables);
	must(write(pipes->tell[1], &self, sizeof(self)), "write");
	must(read(pipes->leave[0], &c, 1), "read");
}

static void vm_of_another_process(void)
{
	struct vmem_translation result;
	struct stranger_pipes pipes;
	struct stranger stranger;
	int session, vm_fd;
	pid_t child;

	must(pipe(pipes.tell), "pipe");
	must(pipe(pipes.leave), "pipe");
	child = ktap_fork(be_a_stranger, &pipes);
	close(pipes.tell[1]);
	close(pipes.leave[0]);
	errno = EPIPE;
	must(read(pipes.tell[0], &stranger, sizeof(stranger)) ==
			     sizeof(stranger) ?
		     0 :
		     -1,
	     "the other VMM");
	vm_fd = fd_of_process(child, stranger.vm_fd);
	session = session_open();
	CHECK_EQ(session_attach_kvm(session, vm_fd), 0);
	close(vm_fd);
	check_word(session, &stranger.regs, MAGIC);

	close(pipes.leave[1]);
	ktap_wait(child);
	CHECK_EQ(session_translate_one(session, &stranger.regs, MORE_VA,
				       &result),
		 -ESRCH);
	close(session);
	close(pipes.tell[0]);
}

/* The VM object outlives its descriptors for as long as a session has it. */
static void vm_closed_under_a_session(void)
{
	struct fixture f;

	fixture_init(&f);
	tables_map(f.tables, 0, RAM_GPA, VMEM_LEVEL_PT, PTE_PWU);
	close(f.vmm.vm_fd);
	check_translation(&f, 0);
	f.vmm.vm_fd = -1;
	fixture_free(&f);
}

static long long lost_at_start;

static void no_pages_lost(void)
{
	CHECK_EQ(pages_lost(), lost_at_start);
}

static const struct ktap_case cases[] = {
	{ "main_use", main_use },
	{ "main_use_of_2_levels", main_use_of_2_levels },
	{ "main_use_of_pae", main_use_of_pae },
	{ "main_use_of_5_levels", main_use_of_5_levels },
	{ "vcpu_is_reported", vcpu_is_reported },
	{ "vcpu_runs_meanwhile", vcpu_runs_meanwhile },
	{ "page_1g", page_1g },
	{ "page_2m", page_2m },
	{ "page_4k", page_4k },
	{ "page_4k_is_the_last", page_4k_is_the_last },
	{ "i686_page_4m", i686_page_4m },
	{ "i686_page_4k", i686_page_4k },
	{ "i686_side_by_side", i686_side_by_side },
	{ "pae_page_2m", pae_page_2m },
	{ "pae_page_4k", pae_page_4k },
	{ "pae_roots_in_one_page", pae_roots_in_one_page },
	{ "la57_page_1g", la57_page_1g },
	{ "la57_page_2m", la57_page_2m },
	{ "la57_page_4k", la57_page_4k },
	{ "slots_with_a_hole", slots_with_a_hole },
	{ "slot_above_4g", slot_above_4g },
	{ "slot_added_later", slot_added_later },
	{ "slot_removed_later", slot_removed_later },
	{ "slot_of_the_root_removed", slot_of_the_root_removed },
	{ "slot_moved_later", slot_moved_later },
	{ "slot_readonly", slot_readonly },
	{ "slots_by_the_cursor", slots_by_the_cursor },
	{ "table_never_touched", table_never_touched },
	{ "table_discarded", table_discarded },
	{ "table_unmapped", table_unmapped },
	{ "anomalies_are_counted", anomalies_are_counted },
	{ "slot_changes_meanwhile", slot_changes_meanwhile },
	{ "memory_changes_meanwhile", memory_changes_meanwhile },
	{ "table_that_never_comes", table_that_never_comes },
	{ "batch_of_addresses", batch_of_addresses },
	{ "map_range_resumed", map_range_resumed },
	{ "accessed_and_dirty_stay", accessed_and_dirty_stay },
	{ "read_over_a_boundary", read_over_a_boundary },
	{ "read_into_a_hole", read_into_a_hole },
	{ "read_at_the_ends", read_at_the_ends },
	{ "read_large", read_large },
	{ "read_phys", read_phys },
	{ "sessions_over_fork", sessions_over_fork },
	{ "vm_of_another_process", vm_of_another_process },
	{ "vm_closed_under_a_session", vm_closed_under_a_session },
	{ "no_pages_lost", no_pages_lost },
};

int main(void)
{
	lost_at_start = pages_lost_before();
	return ktap_main(cases, ARRAY_SIZE(cases));
}
