/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tables.h - guest memory and page tables built by hand
 *
 * The tables are x86's of 4 and 5 levels (64-bit), of 2 levels and PAE (32-bit), laid
 * out by Intel SDM vol. 3, 4.3 to 4.5. tables_walk() reads them back in the
 * most naive way there is, for the module's answers to be compared with.
 */
#ifndef VMEM_SELFTEST_TABLES_H
#define VMEM_SELFTEST_TABLES_H

#include <stdbool.h>
#include <linux/vmem.h>

#define BIT_ULL(nr) (1ULL << (nr))

#define PAGE 4096ULL
#define KB(n) ((__u64)(n) << 10)
#define MB(n) ((__u64)(n) << 20)
#define GB(n) ((__u64)(n) << 30)

#define PTE_P BIT_ULL(0)
#define PTE_W BIT_ULL(1)
#define PTE_U BIT_ULL(2)
#define PTE_A BIT_ULL(5)
#define PTE_D BIT_ULL(6)
#define PTE_PS BIT_ULL(7)
#define PTE_NX BIT_ULL(63)
#define PTE_PWU (PTE_P | PTE_W | PTE_U)

#define CR0_PE BIT_ULL(0)
#define CR0_MP BIT_ULL(1)
#define CR0_ET BIT_ULL(4)
#define CR0_NE BIT_ULL(5)
#define CR0_WP BIT_ULL(16)
#define CR0_PG BIT_ULL(31)
#define CR4_PSE BIT_ULL(4)
#define CR4_PAE BIT_ULL(5)
#define CR4_PGE BIT_ULL(7)
#define CR4_LA57 BIT_ULL(12)
#define CR4_PKE BIT_ULL(22)
#define EFER_LME BIT_ULL(8)
#define EFER_LMA BIT_ULL(10)
#define EFER_NXE BIT_ULL(11)

/**
 * struct guest_ram - one piece of guest memory in our own address space
 * @hva: where we have it mapped
 * @gpa: where the guest has it
 * @len: its size in bytes
 * @used: bytes that ram_alloc() has handed out
 */
struct guest_ram {
	__u8 *hva;
	__u64 gpa;
	__u64 len;
	__u64 used;
};

/* Maps @len bytes of fresh memory, in 4 KiB pages, that nobody has touched. */
struct guest_ram ram_new(__u64 gpa, __u64 len);
void ram_free(struct guest_ram *ram);

/*
 * A userfaultfd that is asked for the pages of @ram that nobody has touched. -1
 * where there is none.
 */
int ram_own_faults(const struct guest_ram *ram);

/* Hands out the next @len bytes, whole pages. Returns their gpa. */
__u64 ram_alloc(struct guest_ram *ram, __u64 len);

/* Where we have @gpa, which must lie in @ram. */
void *ram_ptr(const struct guest_ram *ram, __u64 gpa);

/**
 * struct tables - one address space
 * @ram: where new tables are taken from
 * @root: guest-physical address of the root table
 * @top: enum vmem_level of the root table
 * @index_bits: bits of the address that index one table
 * @entry_size: bytes of one entry
 */
struct tables {
	struct guest_ram *ram;
	__u64 root;
	int top;
	int index_bits;
	int entry_size;
};

struct tables tables_new_amd64(struct guest_ram *ram);
struct tables tables_new_la57(struct guest_ram *ram);
struct tables tables_new_i686(struct guest_ram *ram);
struct tables tables_new_pae(struct guest_ram *ram);

/**
 * struct tables_format - a format, for tests that are the same in all
 * @name: its name
 * @make: makes an address space
 */
struct tables_format {
	const char *name;
	struct tables (*make)(struct guest_ram *ram);
};

enum {
	FORMAT_I686,
	FORMAT_PAE,
	FORMAT_AMD64,
	FORMAT_LA57,
	NR_FORMATS,
};

extern const struct tables_format formats[NR_FORMATS];

/* The registers of a vCPU that runs on @t. */
struct vmem_regs tables_regs(const struct tables *t);

/* Bytes that one entry of a table of @level covers. */
__u64 tables_page_size(const struct tables *t, int level);

/* Whether addresses have 64 bits. */
bool tables_are_long(const struct tables *t);

/*
 * What an entry of a table of @level has besides the address when it names a table and
 * is open to everything: PDPTEs of PAE have no rights.
 */
__u64 tables_open(const struct tables *t, int level);

/* Where the entry for @va is in a table of @level that lies at @table. */
__u64 tables_entry(const struct tables *t, __u64 table, __u64 va, int level);

/*
 * Writes @raw into the entry for @va in the table of @level; tables missing on
 * the way are added, open to everything. Returns the gpa of the entry.
 */
__u64 tables_set(struct tables *t, __u64 va, int level, __u64 raw);

/* Maps the page at @va to @gpa by a leaf of @level. */
void tables_map(struct tables *t, __u64 va, __u64 gpa, int level, __u64 flags);

/* Maps @len bytes from @va to @gpa in pages of @level. */
void tables_map_all(struct tables *t, __u64 va, __u64 gpa, __u64 len,
		    int level);

/* What VMEM_TRANSLATE is to say of @va, if all tables are in @t's memory. */
struct vmem_translation tables_walk(const struct tables *t, __u64 va);

#endif /* VMEM_SELFTEST_TABLES_H */
