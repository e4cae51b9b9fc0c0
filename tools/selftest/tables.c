// SPDX-License-Identifier: GPL-2.0-only
/*
 * tables.c - guest memory and page tables built by hand
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <linux/userfaultfd.h>

#include "ktap.h"
#include "tables.h"

struct guest_ram ram_new(__u64 gpa, __u64 len)
{
	struct guest_ram ram = { .gpa = gpa, .len = len };
	void *hva;

	hva = mmap(NULL, len, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(hva == MAP_FAILED ? -1 : 0, "mmap of guest memory");

	/* Huge pages would touch what the tests want untouched. */
	madvise(hva, len, MADV_NOHUGEPAGE);
	ram.hva = hva;
	return ram;
}

void ram_free(struct guest_ram *ram)
{
	munmap(ram->hva, ram->len);
}

int ram_own_faults(const struct guest_ram *ram)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range = { (uintptr_t)ram->hva, ram->len },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		return fd;
	must(ioctl(fd, UFFDIO_API, &api), "UFFDIO_API");
	must(ioctl(fd, UFFDIO_REGISTER, &range), "UFFDIO_REGISTER");
	return fd;
}

static bool ram_holds(const struct guest_ram *ram, __u64 gpa)
{
	return gpa >= ram->gpa && gpa - ram->gpa < ram->len;
}

__u64 ram_alloc(struct guest_ram *ram, __u64 len)
{
	__u64 gpa = ram->gpa + ram->used;

	len = (len + PAGE - 1) & ~(PAGE - 1);
	errno = ENOSPC;
	must(len > ram->len - ram->used ? -1 : 0, "guest memory");
	ram->used += len;
	return gpa;
}

void *ram_ptr(const struct guest_ram *ram, __u64 gpa)
{
	errno = EFAULT;
	must(ram_holds(ram, gpa) ? 0 : -1, "guest-physical address");
	return ram->hva + (gpa - ram->gpa);
}

static struct tables tables_new(struct guest_ram *ram, int top, int entry_size)
{
	return (struct tables){
		.ram = ram,
		.root = ram_alloc(ram, PAGE),
		.top = top,
		.index_bits = entry_size == 8 ? 9 : 10,
		.entry_size = entry_size,
	};
}

struct tables tables_new_amd64(struct guest_ram *ram)
{
	return tables_new(ram, VMEM_LEVEL_PML4, 8);
}

struct tables tables_new_la57(struct guest_ram *ram)
{
	return tables_new(ram, VMEM_LEVEL_PML5, 8);
}

struct tables tables_new_i686(struct guest_ram *ram)
{
	return tables_new(ram, VMEM_LEVEL_PD, 4);
}

struct tables tables_new_pae(struct guest_ram *ram)
{
	return tables_new(ram, VMEM_LEVEL_PDPT, 8);
}

const struct tables_format formats[NR_FORMATS] = {
	[FORMAT_I686] = { "2-level", tables_new_i686 },
	[FORMAT_PAE] = { "PAE", tables_new_pae },
	[FORMAT_AMD64] = { "4-level", tables_new_amd64 },
	[FORMAT_LA57] = { "5-level", tables_new_la57 },
};

bool tables_are_long(const struct tables *t)
{
	return t->top >= VMEM_LEVEL_PML4;
}

static bool is_pae_root(const struct tables *t, int level)
{
	return level == t->top && t->top == VMEM_LEVEL_PDPT;
}

__u64 tables_open(const struct tables *t, int level)
{
	return is_pae_root(t, level) ? PTE_P : PTE_PWU;
}

static __u64 mode_cr4(const struct tables *t)
{
	if (t->top == VMEM_LEVEL_PD)
		return CR4_PSE;
	return t->top == VMEM_LEVEL_PML5 ? CR4_PAE | CR4_LA57 : CR4_PAE;
}

static __u64 mode_efer(const struct tables *t)
{
	if (t->top == VMEM_LEVEL_PD)
		return 0;
	return tables_are_long(t) ? EFER_LMA | EFER_LME | EFER_NXE : EFER_NXE;
}

struct vmem_regs tables_regs(const struct tables *t)
{
	return (struct vmem_regs){
		.cr0 = CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE,
		.cr3 = t->root,
		.cr4 = mode_cr4(t),
		.efer = mode_efer(t),
		.maxphyaddr = 40,
	};
}

__u64 tables_page_size(const struct tables *t, int level)
{
	return PAGE << (t->index_bits * (level - 1));
}

__u64 tables_entry(const struct tables *t, __u64 table, __u64 va, int level)
{
	__u64 index = va / tables_page_size(t, level);

	index &= BIT_ULL(t->index_bits) - 1;
	return table + index * (__u64)t->entry_size;
}

static __u64 entry_read(const struct tables *t, __u64 gpa)
{
	__u64 raw = 0;

	memcpy(&raw, ram_ptr(t->ram, gpa), (size_t)t->entry_size);
	return raw;
}

static void entry_write(const struct tables *t, __u64 gpa, __u64 raw)
{
	memcpy(ram_ptr(t->ram, gpa), &raw, (size_t)t->entry_size);
}

/* Addresses here have at most 40 bits: the rest of an entry is flags. */
static __u64 entry_addr(__u64 raw)
{
	return raw & (BIT_ULL(40) - 1) & ~(PAGE - 1);
}

__u64 tables_set(struct tables *t, __u64 va, int level, __u64 raw)
{
	__u64 table = t->root;
	__u64 entry;
	int l;

	for (l = t->top; l > level; l--) {
		entry = tables_entry(t, table, va, l);
		if (!(entry_read(t, entry) & PTE_P))
			entry_write(t, entry,
				    ram_alloc(t->ram, PAGE) |
					    tables_open(t, l));
		table = entry_addr(entry_read(t, entry));
	}
	entry = tables_entry(t, table, va, level);
	entry_write(t, entry, raw);
	return entry;
}

void tables_map(struct tables *t, __u64 va, __u64 gpa, int level, __u64 flags)
{
	if (level > VMEM_LEVEL_PT)
		flags |= PTE_PS;
	tables_set(t, va, level, gpa | flags);
}

void tables_map_all(struct tables *t, __u64 va, __u64 gpa, __u64 len, int level)
{
	__u64 page_size = tables_page_size(t, level);
	__u64 done;

	for (done = 0; done < len; done += page_size)
		tables_map(t, va + done, gpa + done, level, PTE_PWU);
}

static bool is_canonical(const struct tables *t, __u64 va)
{
	const int bits = t->top == VMEM_LEVEL_PML5 ? 56 : 47;

	if (!tables_are_long(t))
		return !(va >> 32);
	return va >> bits == 0 || va >> bits == ~0ULL >> bits;
}

static bool is_leaf(const struct tables *t, int level, __u64 raw)
{
	if (level == VMEM_LEVEL_PT)
		return true;
	return level < VMEM_LEVEL_PML4 && !is_pae_root(t, level) &&
	       (raw & PTE_PS);
}

static __u32 path_perms(__u64 all_of, __u64 any_of)
{
	__u32 perms = 0;

	if (all_of & PTE_W)
		perms |= VMEM_WRITABLE;
	if (all_of & PTE_U)
		perms |= VMEM_USER;
	if (!(any_of & PTE_NX))
		perms |= VMEM_EXECUTABLE;
	return perms;
}

static void walk_ends_at_leaf(const struct tables *t,
			      struct vmem_translation *tr, __u64 va, __u64 raw)
{
	tr->out_status = VMEM_MAPPED;
	tr->out_page_size = tables_page_size(t, (int)tr->out_level);
	tr->out_gpa = entry_addr(raw) & ~(tr->out_page_size - 1);
	tr->out_gpa += va & (tr->out_page_size - 1);
}

struct vmem_translation tables_walk(const struct tables *t, __u64 va)
{
	struct vmem_translation tr = { .out_status = VMEM_NON_CANONICAL };
	__u64 all_of = ~0ULL, any_of = 0, table = t->root, raw;
	struct vmem_trace *step;

	if (!is_canonical(t, va))
		return tr;
	for (tr.out_level = (__u32)t->top;; tr.out_level--) {
		if (!ram_holds(t->ram, table)) {
			tr.out_status = VMEM_UNBACKED;
			return tr;
		}
		step = &tr.out_trace[tr.out_nr_trace++];
		step->entry_gpa = tables_entry(t, table, va, (int)tr.out_level);
		raw = entry_read(t, step->entry_gpa);
		step->raw = raw;
		if (!(raw & PTE_P)) {
			tr.out_status = VMEM_NOT_PRESENT;
			return tr;
		}
		all_of &= raw |
			  (is_pae_root(t, (int)tr.out_level) ? PTE_PWU : 0);
		any_of |= raw;
		if (is_leaf(t, (int)tr.out_level, raw))
			break;
		table = entry_addr(raw);
	}
	tr.out_perms = path_perms(all_of, any_of);
	walk_ends_at_leaf(t, &tr, va, raw);
	return tr;
}
