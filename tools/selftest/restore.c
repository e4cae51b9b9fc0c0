// SPDX-License-Identifier: GPL-2.0-only
/*
 * restore.c - a guest goes on in a machine that has a snapshot for its memory
 *
 * An example to copy, and a test. A small VMM runs a guest that has several
 * spaces, stops it in the middle of its work, and makes a snapshot of them by
 * libvmem, or has vmemctl make it. A second VMM gets only the snapshot's memory
 * and the registers, with CR3 at the new root.
 *
 * What a VMM has to know besides: addresses in the guest's own data that are
 * guest-physical ones are those of old. This guest has one list of them, the
 * roots of its spaces, which load_roots() writes anew.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <gelf.h>
#include <libgen.h>
#include <limits.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/kvm.h>

#include "../libvmem/note.h"
#include "copy.h"
#include "file.h"
#include "ktap.h"
#include "restore_guest.h"
#include "vcpu.h"
#include "world.h"

#define RAM_GPA MB(1)
#define RAM_LEN MB(16)
#define LARGE_GPA MB(8)
#define JUNK_GPA MB(13)

/* Memory that a machine has for the pages that the VMM copies. */
#define SPARE_GPA GB(1)
#define SPARE_LEN KB(64)

#define SNAPSHOT_BASE MB(3)

/* Each space has its own of these, */
#define OWN_VA 0x400000ULL
#define NR_OWN 4
/* one page at two addresses, */
#define ALIAS_VA 0x500000ULL
#define ALIAS2_VA 0x700000ULL
/* and here spaces 0 and 1 have one page, which is copied when it is written. */
#define COW_VA 0x600000ULL

/* By the convention that the software's bits of such an entry are 1. */
#define COW_MASK 0xe00ULL
#define COW_VALUE 0x200ULL

/* What all have in common is from here on, by the same table. */
#define CODE_VA(m) ((m)->kernel_va)
#define DATA_VA(m) ((m)->kernel_va + PAGE)
#define SHARED_VA(m) ((m)->kernel_va + 2 * PAGE)
#define LARGE_VA(m) ((m)->kernel_va + MB(4))

#define I686_KERNEL_VA 0xc0000000ULL
#define AMD64_KERNEL_VA 0xffff800000000000ULL
#define LA57_KERNEL_VA 0xff80000000000000ULL

/* ---- The VMM ---- */

/**
 * struct machine - a VM, and the guest in it
 * @kvm_fd: /dev/kvm
 * @vm_fd: the VM
 * @vcpu: its vCPU
 * @format: what kind of tables its guest has
 * @amd64: it is a 64-bit one
 * @kernel_va: where its kernel begins
 * @memory: its memory, a slot for each piece
 * @spare: one more slot, with pages for what has to be copied
 * @spaces: the tables of its spaces, in the first piece of @memory
 * @nr_copied: pages that were copied because they were written to
 */
struct machine {
	int kvm_fd;
	int vm_fd;
	struct vcpu vcpu;
	int format;
	bool amd64;
	__u64 kernel_va;
	struct copy memory;
	struct guest_ram spare;
	struct tables spaces[NR_SPACES];
	int nr_copied;
};

/* All that goes over from one machine to the next besides the memory. */
struct registers {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
};

static void add_slot(struct machine *m, __u32 id, const struct guest_ram *ram)
{
	struct kvm_userspace_memory_region region = {
		.slot = id,
		.guest_phys_addr = ram->gpa,
		.memory_size = ram->len,
		.userspace_addr = (uintptr_t)ram->hva,
	};

	must(ioctl(m->vm_fd, KVM_SET_USER_MEMORY_REGION, &region),
	     "KVM_SET_USER_MEMORY_REGION");
}

/* A machine with @memory, which is its own from now on. */
static void machine_init(struct machine *m, int format,
			 const struct copy *memory)
{
	static const __u64 kernel_vas[NR_FORMATS] = {
		[FORMAT_I686] = I686_KERNEL_VA,
		[FORMAT_PAE] = I686_KERNEL_VA,
		[FORMAT_AMD64] = AMD64_KERNEL_VA,
		[FORMAT_LA57] = LA57_KERNEL_VA,
	};
	__u32 i;

	*m = (struct machine){ .format = format, .memory = *memory };
	m->amd64 = format >= FORMAT_AMD64;
	m->kernel_va = kernel_vas[format];
	m->kvm_fd = (int)must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	m->vm_fd =
		(int)must(ioctl(m->kvm_fd, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	for (i = 0; i < m->memory.nr; i++)
		add_slot(m, i, &m->memory.rams[i]);
	m->spare = ram_new(SPARE_GPA, SPARE_LEN);
	add_slot(m, LIBVMEM_MAX_EXTENTS, &m->spare);

	vcpu_init(&m->vcpu, m->kvm_fd, m->vm_fd, 0);
}

static void machine_free(struct machine *m)
{
	vcpu_free(&m->vcpu);
	close(m->vm_fd);
	close(m->kvm_fd);
	ram_free(&m->spare);
	copy_free(&m->memory);
}

static struct registers machine_registers(const struct machine *m)
{
	struct registers r;

	r.regs = vcpu_get_regs(&m->vcpu);
	must(ioctl(m->vcpu.fd, KVM_GET_SREGS, &r.sregs), "KVM_GET_SREGS");
	return r;
}

/* Before the first run only: see tools/lab/guest-tss.c. */
static void machine_load(const struct machine *m, const struct registers *r)
{
	must(ioctl(m->vcpu.fd, KVM_SET_SREGS, &r->sregs), "KVM_SET_SREGS");
	vcpu_set_regs(&m->vcpu, &r->regs);
}

/* The page is there for two spaces, and this one is to have its own. */
static bool copy_on_write(struct machine *m, const struct registers *r)
{
	struct tables t = m->spaces[0];
	struct vmem_translation tr;
	__u64 raw, gpa;

	t.root = r->sregs.cr3;
	tr = tables_walk(&t, r->sregs.cr2);
	raw = tr.out_nr_trace ? tr.out_trace[tr.out_nr_trace - 1].raw : 0;
	if (!CHECK_EQ(tr.out_status, VMEM_MAPPED) ||
	    !CHECK_EQ(raw & (COW_MASK | PTE_W), COW_VALUE))
		return false;
	gpa = ram_alloc(&m->spare, PAGE);
	memcpy(ram_ptr(&m->spare, gpa),
	       copy_ptr(&m->memory, tr.out_gpa & ~(PAGE - 1)), PAGE);
	raw &= (PAGE - 1) | PTE_NX;
	tables_map(&t, r->sregs.cr2 & ~(PAGE - 1), gpa, VMEM_LEVEL_PT,
		   (raw & ~COW_MASK) | PTE_W);
	m->nr_copied++;
	return true;
}

/* Runs to the next stop that is none of the VMM's own; 0 if there is none. */
static __u32 machine_run(struct machine *m)
{
	struct registers r;
	__u32 reason;

	do {
		reason = vcpu_run(&m->vcpu);
		r = machine_registers(m);
		if (!CHECK_EQ(reason, KVM_EXIT_HLT)) {
			printf("# RIP %#llx CR2 %#llx CR3 %#llx\n", r.regs.rip,
			       r.sregs.cr2, r.sregs.cr3);
			return 0;
		}
		if ((__u32)r.regs.rax == STOP_FAULT && !copy_on_write(m, &r))
			return 0;
	} while ((__u32)r.regs.rax == STOP_FAULT);
	return (__u32)r.regs.rax;
}

/* ---- The guest ---- */

/* Where we have an address of one of its spaces. */
static void *guest_ptr(const struct machine *m, int space, __u64 va)
{
	struct vmem_translation tr = tables_walk(&m->spaces[space], va);
	void *p;

	CHECK_EQ(tr.out_status, VMEM_MAPPED);
	p = copy_ptr(&m->memory, tr.out_gpa);
	return p ? p : ram_ptr(&m->spare, tr.out_gpa);
}

static __u32 *data_word(const struct machine *m, __u64 offset)
{
	return guest_ptr(m, 0, DATA_VA(m) + offset);
}

static __u64 *data_quad(const struct machine *m, __u64 offset)
{
	return guest_ptr(m, 0, DATA_VA(m) + offset);
}

static __u64 new_page(struct machine *m)
{
	struct guest_ram *ram = &m->memory.rams[0];
	__u64 gpa = ram_alloc(ram, PAGE);
	__u32 *words = ram_ptr(ram, gpa);
	__u32 i;

	for (i = 0; i < PAGE / sizeof(*words); i++)
		words[i] = (__u32)gpa * 2654435761u + i * i;
	return gpa;
}

static void map_page(struct machine *m, int space, __u64 va, __u64 gpa,
		     __u64 flags)
{
	tables_map(&m->spaces[space], va, gpa, VMEM_LEVEL_PT,
		   flags | PTE_P | PTE_NX);
}

static void map_kernel(struct machine *m)
{
	struct tables *first = &m->spaces[0];
	int i;

	tables_map(first, CODE_VA(m), new_page(m), VMEM_LEVEL_PT, PTE_P);
	map_page(m, 0, DATA_VA(m), new_page(m), PTE_W);
	map_page(m, 0, SHARED_VA(m), new_page(m), PTE_W);
	for (i = 0; i < NR_SPACES; i++) {
		if (i)
			world_share(&m->spaces[i], CODE_VA(m), first,
				    CODE_VA(m), first->top - 1, PTE_PWU);
		/* In the table that is shared already, or in three. */
		tables_map(&m->spaces[i], LARGE_VA(m), LARGE_GPA, VMEM_LEVEL_PD,
			   PTE_P | PTE_W);
	}
}

static void map_user(struct machine *m)
{
	__u64 cow = new_page(m), alias, i;
	int space;

	for (i = 0; i < NR_OWN; i++)
		for (space = 0; space < NR_SPACES; space++)
			map_page(m, space, OWN_VA + i * PAGE, new_page(m),
				 PTE_W | PTE_U);
	for (space = 0; space < NR_SPACES; space++) {
		alias = new_page(m);
		map_page(m, space, ALIAS_VA, alias, PTE_W | PTE_U);
		map_page(m, space, ALIAS2_VA, alias, PTE_U);
	}
	map_page(m, 0, COW_VA, cow, PTE_U | COW_VALUE);
	map_page(m, 1, COW_VA, cow, PTE_U | COW_VALUE);
	map_page(m, 2, COW_VA, new_page(m), PTE_U | PTE_W);
}

/* A gate of vector 14, page fault, which is all that can happen to it. */
static void set_gate(struct machine *m, __u64 handler)
{
	const __u64 size = m->amd64 ? 16 : 8;
	__u64 *gate = data_quad(m, DATA_IDT + 14 * size);

	gate[0] = (handler & 0xffff) | 0x08 << 16 | 0x8e00ULL << 32 |
		  (handler >> 16 & 0xffff) << 48;
	if (m->amd64)
		gate[1] = handler >> 32;
}

static void load_code(struct machine *m)
{
	const __u8 *code = m->amd64 ? guest_amd64 : guest_i686;
	const __u8 *fault = m->amd64 ? guest_amd64_fault : guest_i686_fault;
	const __u8 *end = m->amd64 ? guest_amd64_end : guest_i686_end;
	__u64 *gdt = data_quad(m, DATA_GDT);

	memcpy(guest_ptr(m, 0, CODE_VA(m)), code, (size_t)(end - code));
	memset(guest_ptr(m, 0, DATA_VA(m)), 0, PAGE);
	gdt[1] = m->amd64 ? 0x00af9b000000ffff : 0x00cf9b000000ffff;
	gdt[2] = 0x00cf93000000ffff;
	set_gate(m, CODE_VA(m) + (__u64)(fault - code));
}

static __u64 page_va(const struct machine *m, int i)
{
	if (i < NR_OWN)
		return OWN_VA + (__u64)i * PAGE;
	switch (i - NR_OWN) {
	case 0:
		return ALIAS_VA;
	case 1:
		return ALIAS2_VA;
	case 2:
		return COW_VA;
	default:
		return SHARED_VA(m);
	}
}

/* Where its own tables are is for the guest to know; it has to be told anew. */
static void load_roots(struct machine *m)
{
	int i;

	for (i = 0; i < NR_SPACES; i++)
		data_quad(m, DATA_ROOTS)[i] = m->spaces[i].root;
}

static struct kvm_segment segment(const struct machine *m, bool code)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = code ? 0x08 : 0x10,
		.type = code ? 11 : 3,
		.present = 1,
		.db = !code || !m->amd64,
		.l = code && m->amd64,
		.s = 1,
		.g = 1,
	};
}

/* Flat segments, as its descriptor table has them, and paging on. */
static void set_first_registers(struct machine *m)
{
	struct vmem_regs regs = tables_regs(&m->spaces[0]);
	struct registers r = machine_registers(m);
	struct kvm_segment data = segment(m, false);

	r.sregs.cs = segment(m, true);
	r.sregs.ds = data;
	r.sregs.es = data;
	r.sregs.fs = data;
	r.sregs.gs = data;
	r.sregs.ss = data;
	r.sregs.tr = (struct kvm_segment){
		.limit = 0x67,
		.selector = 0x18,
		.type = 11,
		.present = 1,
	};
	r.sregs.gdt.base = DATA_VA(m) + DATA_GDT;
	r.sregs.gdt.limit = 3 * 8 - 1;
	r.sregs.idt.base = DATA_VA(m) + DATA_IDT;
	r.sregs.idt.limit = 15 * (m->amd64 ? 16 : 8) - 1;
	r.sregs.cr0 = regs.cr0;
	r.sregs.cr3 = regs.cr3;
	r.sregs.cr4 = regs.cr4;
	r.sregs.efer = regs.efer;
	r.regs = (struct kvm_regs){
		.rip = CODE_VA(m),
		.rflags = VCPU_RFLAGS,
		.rbx = DATA_VA(m),
		.rsp = DATA_VA(m) + DATA_STACK,
	};
	machine_load(m, &r);
}

static void fill(struct machine *m, __u64 gpa, __u64 len)
{
	__u64 *words = copy_ptr(&m->memory, gpa);
	__u64 i;

	for (i = 0; i < len / sizeof(*words); i++)
		words[i] = gpa * i + i;
}

/* The machine that the guest begins in. */
static void machine_boot(struct machine *m, int format)
{
	const struct libvmem_extent all = { RAM_GPA, RAM_LEN };
	struct copy memory = copy_new(&all, 1);
	int i;

	machine_init(m, format, &memory);
	for (i = 0; i < NR_SPACES; i++)
		m->spaces[i] = formats[format].make(&m->memory.rams[0]);
	map_kernel(m);
	map_user(m);
	fill(m, LARGE_GPA, MB(4));
	fill(m, JUNK_GPA, MB(2));
	load_code(m);
	for (i = 0; i < NR_PAGES; i++)
		data_quad(m, DATA_PAGES)[i] = page_va(m, i);
	load_roots(m);
	set_first_registers(m);
}

/* What the guest is to make of a space's pages. */
static __u32 sum_of(const struct machine *m, int space)
{
	__u32 sum = 0, *words;
	size_t i;
	int page;

	for (page = 0; page < NR_PAGES; page++) {
		words = guest_ptr(m, space, page_va(m, page));
		for (i = 0; i < PAGE / sizeof(*words); i++)
			sum = sum * 31 + words[i];
	}
	return sum;
}

/* Runs on until it has read @nr more pages. */
static void read_pages(struct machine *m, int nr)
{
	while (nr-- && CHECK_EQ(machine_run(m), STOP_PAGE))
		;
}

/* Tells the guest, which is at STOP_ASK, what to do. */
static void tell(struct machine *m, __u32 what, int space, __u64 va,
		 __u32 value)
{
	struct kvm_regs regs = machine_registers(m).regs;

	regs.rax = what;
	regs.rcx = (__u64)space;
	regs.rdi = va;
	regs.rdx = value;
	vcpu_set_regs(&m->vcpu, &regs);
}

/* What the guest itself reads in one of its spaces. */
static __u32 guest_reads(struct machine *m, int space, __u64 va)
{
	tell(m, DO_READ, space, va, 0);
	CHECK_EQ(machine_run(m), STOP_ASK);
	return (__u32)machine_registers(m).regs.rdx;
}

static void guest_writes(struct machine *m, int space, __u64 va, __u32 value)
{
	tell(m, DO_WRITE, space, va, value);
	CHECK_EQ(machine_run(m), STOP_ASK);
}

/* ---- The snapshot ---- */

static struct vmem_regs paging_regs(const struct machine *m)
{
	struct vmem_regs regs = tables_regs(&m->spaces[0]);

	regs.maxphyaddr = m->vcpu.maxphyaddr;
	regs.cow_mask = COW_MASK;
	regs.cow_value = COW_VALUE;
	return regs;
}

static int snapshot_by_library(const struct machine *m)
{
	static struct libvmem_roots roots;
	const struct libvmem_scope scope = { .last_va = ~0ULL };
	const struct libvmem_snapshot_args args = {
		.roots = &roots,
		.scope = &scope,
		.base = SNAPSHOT_BASE,
	};
	struct libvmem_snapshot made;
	struct libvmem_error error;
	int fd = copy_file();
	int i;

	roots.regs = paging_regs(m);
	roots.nr = NR_SPACES;
	for (i = 0; i < NR_SPACES; i++)
		roots.cr3s[i] = m->spaces[i].root;
	CHECK_EQ(copy_make(m->vm_fd, &args, fd, &made, &error), 0);
	printf("# %llu tables of %llu read, %llu leaves, %llu links\n",
	       made.tables, made.tables_read, made.leaves, made.links);
	CHECK_EQ(made.dropped, 0);
	CHECK_EQ(made.unreadable, 0);
	return fd;
}

/* It is beside this program. */
static const char *tool_path(void)
{
	static char path[PATH_MAX + 16];
	char self[PATH_MAX] = "";

	must(readlink("/proc/self/exe", self, sizeof(self) - 1), "readlink");
	snprintf(path, sizeof(path), "%s/vmemctl", dirname(self));
	return path;
}

static void run_vmemctl(const struct machine *m, const char *file)
{
	char command[2 * PATH_MAX], roots[64], line[256];
	FILE *out;

	snprintf(roots, sizeof(roots), "%llx,%llx,%llx", m->spaces[0].root,
		 m->spaces[1].root, m->spaces[2].root);
	snprintf(command, sizeof(command),
		 "%s -p %d --vm-fd %d --cr3 %s snapshot --base %llx -o %s 2>&1",
		 tool_path(), getpid(), m->vm_fd, roots, SNAPSHOT_BASE, file);
	out = popen(command, "r");
	must(out ? 0 : -1, "popen");
	while (fgets(line, sizeof(line), out))
		printf("# %s", line);
	CHECK_EQ(pclose(out), 0);
}

/* The roots of the spaces, from the snapshot's own note. */
static bool read_note(const struct machine *m, const char *note, size_t size,
		      __u64 *roots)
{
	const struct vmem_note *head = (const struct vmem_note *)note;
	int i;

	if (!CHECK_EQ(size, sizeof(*head) + NR_SPACES * sizeof(*head->spaces)))
		return false;
	CHECK_EQ(head->version, VMEM_NOTE_VERSION);
	CHECK_EQ(head->size, sizeof(*head));
	CHECK_EQ(head->nr_spaces, NR_SPACES);
	CHECK_EQ(head->regs.cr3, head->spaces[0].root);
	CHECK_EQ(head->regs.efer & EFER_LME, m->amd64 ? EFER_LME : 0);
	for (i = 0; i < NR_SPACES; i++) {
		CHECK_EQ(head->spaces[i].space, m->spaces[i].root);
		roots[i] = head->spaces[i].root;
	}
	return true;
}

static bool read_notes(const struct machine *m, Elf *elf, const GElf_Phdr *phdr,
		       __u64 *roots)
{
	Elf_Data *data = elf_getdata_rawchunk(elf, (int64_t)phdr->p_offset,
					      phdr->p_filesz, ELF_T_NHDR);
	size_t at = 0, name, desc;
	bool found = false;
	GElf_Nhdr nhdr;
	const char *buf;

	if (!CHECK(data))
		return false;
	buf = data->d_buf;
	while ((at = gelf_getnote(data, at, &nhdr, &name, &desc)))
		if (!strcmp(buf + name, VMEM_NOTE_NAME) &&
		    nhdr.n_type == VMEM_NOTE_TYPE)
			found = read_note(m, buf + desc, nhdr.n_descsz, roots);
	return found;
}

static void find_roots(const struct machine *m, int fd, __u64 *roots)
{
	bool found = false;
	GElf_Phdr phdr;
	size_t i, nr;
	Elf *elf;

	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	must(elf && !elf_getphdrnum(elf, &nr) ? 0 : -1, "libelf");
	for (i = 0; i < nr && gelf_getphdr(elf, (int)i, &phdr); i++)
		if (phdr.p_type == PT_NOTE)
			found |= read_notes(m, elf, &phdr, roots);
	CHECK(found);
	CHECK_EQ(gelf_getclass(elf), m->amd64 ? ELFCLASS64 : ELFCLASS32);
	elf_end(elf);
}

static int snapshot_by_vmemctl(const struct machine *m)
{
	char file[] = "/tmp/vmem-restore-XXXXXX";
	int fd;

	/* vmemctl replaces the file that is there. */
	close((int)must(mkstemp(file), "mkstemp"));
	run_vmemctl(m, file);
	fd = (int)must(open(file, O_RDONLY | O_CLOEXEC), file);
	unlink(file);
	return fd;
}

/* ---- The other machine ---- */

static void machine_restore(struct machine *m, const struct machine *from,
			    const struct copy *memory, const __u64 *roots)
{
	struct registers r = machine_registers(from);
	int i;

	machine_init(m, from->format, memory);
	for (i = 0; i < NR_SPACES; i++) {
		m->spaces[i] = copy_tables(&m->memory, &from->spaces[i], 0);
		m->spaces[i].root = roots[i];
	}
	for (i = 0; i < NR_SPACES; i++)
		if (r.sregs.cr3 == from->spaces[i].root)
			r.sregs.cr3 = roots[i];
	load_roots(m);
	machine_load(m, &r);
}

/* ---- What has to be so ---- */

static void *memory_of(const struct machine *m)
{
	void *copy = malloc(m->memory.rams[0].len);

	must(copy ? 0 : -1, "malloc");
	memcpy(copy, m->memory.rams[0].hva, m->memory.rams[0].len);
	return copy;
}

static bool memory_is(const struct machine *m, const void *copy)
{
	return !memcmp(copy, m->memory.rams[0].hva, m->memory.rams[0].len);
}

/* The snapshot without the list of roots that load_roots() wrote. */
static void check_views(const struct machine *a, const struct machine *b)
{
	__u64 cr3_a[NR_SPACES], cr3_b[NR_SPACES];
	struct view va = {
		.session = session_open(),
		.regs = paging_regs(a),
		.cr3 = cr3_a,
		.nr = NR_SPACES,
		.last_va = DATA_VA(a) - 1,
	};
	struct view vb = va;
	int i;

	vb.session = session_open();
	vb.cr3 = cr3_b;
	CHECK_EQ(session_attach_kvm(va.session, a->vm_fd), 0);
	CHECK_EQ(session_attach_kvm(vb.session, b->vm_fd), 0);
	for (i = 0; i < NR_SPACES; i++) {
		cr3_a[i] = a->spaces[i].root;
		cr3_b[i] = b->spaces[i].root;
	}
	check_same_but_for_names(&va, &vb);
	va.va = SHARED_VA(a);
	vb.va = va.va;
	va.last_va = ~0ULL;
	vb.last_va = va.last_va;
	check_same_but_for_names(&va, &vb);
	close(va.session);
	close(vb.session);
}

/* Not just the same pages: the kernel's table is one. */
static void check_shared_tables(const struct machine *m)
{
	int level = m->spaces[0].top - 1;
	__u64 table = world_table(&m->spaces[0], CODE_VA(m), level);
	int i;

	for (i = 1; i < NR_SPACES; i++) {
		CHECK_EQ(world_table(&m->spaces[i], CODE_VA(m), level), table);
		CHECK(m->spaces[i].root != m->spaces[0].root);
	}
}

/* It has stopped after reading @before pages of all; it reads the rest. */
static void check_goes_on(struct machine *m, int before, const __u32 *sums)
{
	const __u32 counter = *data_word(m, DATA_COUNTER);
	int left = NR_SPACES * NR_PAGES - before;
	int i;

	read_pages(m, left);
	CHECK_EQ(machine_run(m), STOP_ASK);
	CHECK_EQ(*data_word(m, DATA_COUNTER), counter + (__u32)left);
	for (i = 0; i < NR_SPACES; i++)
		CHECK_EQ(data_word(m, DATA_SUMS)[i], sums[i]);
}

static void check_shared_write(struct machine *m)
{
	int i;

	for (i = 0; i < NR_SPACES; i++) {
		guest_writes(m, i, SHARED_VA(m) + 0x100, 0x5eed0000u + i);
		CHECK_EQ(guest_reads(m, 0, SHARED_VA(m) + 0x100),
			 0x5eed0000u + i);
		CHECK_EQ(guest_reads(m, 1, SHARED_VA(m) + 0x100),
			 0x5eed0000u + i);
		CHECK_EQ(guest_reads(m, 2, SHARED_VA(m) + 0x100),
			 0x5eed0000u + i);
	}
}

static void check_copy_on_write(struct machine *m)
{
	const __u32 old = guest_reads(m, 1, COW_VA + 8);

	CHECK_EQ(guest_reads(m, 0, COW_VA + 8), old);
	guest_writes(m, 0, COW_VA + 8, ~old);
	CHECK_EQ(m->nr_copied, 1);
	CHECK_EQ(guest_reads(m, 0, COW_VA + 8), ~old);
	CHECK_EQ(guest_reads(m, 1, COW_VA + 8), old);
	CHECK(guest_reads(m, 0, COW_VA + 12) == guest_reads(m, 1, COW_VA + 12));
	guest_writes(m, 1, COW_VA + 8, old + 1);
	CHECK_EQ(m->nr_copied, 2);
	CHECK_EQ(guest_reads(m, 0, COW_VA + 8), ~old);
	CHECK_EQ(guest_reads(m, 1, COW_VA + 8), old + 1);
}

/* Each space has its own, and each of those is there twice. */
static void check_aliases(struct machine *m)
{
	int i;

	for (i = 0; i < NR_SPACES; i++)
		guest_writes(m, i, ALIAS_VA + 0x20, 0xa11a5000u + i);
	for (i = 0; i < NR_SPACES; i++)
		CHECK_EQ(guest_reads(m, i, ALIAS2_VA + 0x20), 0xa11a5000u + i);
}

static void check_large_page(struct machine *m)
{
	const __u64 *words = guest_ptr(m, 0, LARGE_VA(m));
	__u64 last = tables_page_size(&m->spaces[0], VMEM_LEVEL_PD) - 8;
	int i;

	for (i = 0; i < NR_SPACES; i++) {
		CHECK_EQ(guest_reads(m, i, LARGE_VA(m) + 8), (__u32)words[1]);
		CHECK_EQ(guest_reads(m, i, LARGE_VA(m) + last),
			 (__u32)words[last / 8]);
	}
}

/* What it did is what the guest says that it did. */
static void check_next_round(struct machine *m)
{
	__u32 sums[NR_SPACES];
	int i;

	for (i = 0; i < NR_SPACES; i++)
		sums[i] = sum_of(m, i);
	tell(m, DO_ALL, 0, 0, 0);
	check_goes_on(m, 0, sums);
}

/* In the middle of the second space's pages. */
#define STOPPED_AFTER (NR_PAGES + 3)

/* The guest as it boots, goes through all pages once, and is stopped. */
static void boot_and_stop(struct machine *m, int format, __u32 *sums)
{
	int i;

	machine_boot(m, format);
	for (i = 0; i < NR_SPACES; i++)
		sums[i] = sum_of(m, i);
	CHECK(sums[0] != sums[1] && sums[1] != sums[2]);
	check_goes_on(m, 0, sums);
	tell(m, DO_ALL, 0, 0, 0);
	read_pages(m, STOPPED_AFTER);
	CHECK_EQ(machine_registers(m).sregs.cr3, m->spaces[1].root);
}

static void restored(int format, int (*snapshot)(const struct machine *m))
{
	static struct machine old, new;
	__u64 roots[NR_SPACES] = { 0 };
	__u32 sums[NR_SPACES];
	struct copy memory;
	void *before;
	int fd;

	boot_and_stop(&old, format, sums);
	before = memory_of(&old);
	fd = snapshot(&old);
	find_roots(&old, fd, roots);
	memory = copy_load(fd);
	close(fd);
	CHECK(memory_is(&old, before));
	CHECK(copy_len(&memory) < copy_len(&old.memory));
	printf("# %llu KiB of %llu KiB\n", copy_len(&memory) >> 10,
	       copy_len(&old.memory) >> 10);

	machine_restore(&new, &old, &memory, roots);
	check_views(&old, &new);
	check_shared_tables(&new);
	check_goes_on(&new, STOPPED_AFTER, sums);
	check_shared_write(&new);
	check_copy_on_write(&new);
	check_aliases(&new);
	check_large_page(&new);
	check_next_round(&new);

	/* The old one knows nothing of all this, and goes on as well. */
	CHECK(memory_is(&old, before));
	check_goes_on(&old, STOPPED_AFTER, sums);
	check_copy_on_write(&old);
	free(before);
	machine_free(&new);
	machine_free(&old);
}

static void i686_by_library(void)
{
	restored(FORMAT_I686, snapshot_by_library);
}

static void i686_by_vmemctl(void)
{
	restored(FORMAT_I686, snapshot_by_vmemctl);
}

static void pae_by_library(void)
{
	restored(FORMAT_PAE, snapshot_by_library);
}

static void pae_by_vmemctl(void)
{
	restored(FORMAT_PAE, snapshot_by_vmemctl);
}

static void amd64_by_library(void)
{
	restored(FORMAT_AMD64, snapshot_by_library);
}

static void amd64_by_vmemctl(void)
{
	restored(FORMAT_AMD64, snapshot_by_vmemctl);
}

static void la57_by_library(void)
{
	if (!skip_without(vcpu_can_la57(), "5-level paging for its guests"))
		restored(FORMAT_LA57, snapshot_by_library);
}

static void la57_by_vmemctl(void)
{
	if (!skip_without(vcpu_can_la57(), "5-level paging for its guests"))
		restored(FORMAT_LA57, snapshot_by_vmemctl);
}

static long long lost_at_start;

static void no_pages_lost(void)
{
	CHECK_EQ(pages_lost(), lost_at_start);
}

static const struct ktap_case cases[] = {
	{ "i686_by_library", i686_by_library },
	{ "i686_by_vmemctl", i686_by_vmemctl },
	{ "pae_by_library", pae_by_library },
	{ "pae_by_vmemctl", pae_by_vmemctl },
	{ "amd64_by_library", amd64_by_library },
	{ "amd64_by_vmemctl", amd64_by_vmemctl },
	{ "la57_by_library", la57_by_library },
	{ "la57_by_vmemctl", la57_by_vmemctl },
	{ "no_pages_lost", no_pages_lost },
};

int main(void)
{
	lost_at_start = pages_lost_before();
	return ktap_main(cases, ARRAY_SIZE(cases));
}
