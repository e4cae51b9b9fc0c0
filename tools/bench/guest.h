/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guests that are measured: guest-physical memory in one array, from
 * address 0 on. The core and what it is compared with read the same array.
 */
#ifndef BENCH_GUEST_H
#define BENCH_GUEST_H

#include <stdnoreturn.h>
#include <vmem/mem.h>
#include <vmem/mode.h>

#define ENTRIES 512

#define PRESENT BIT_ULL(0)
#define WRITABLE BIT_ULL(1)
#define USER BIT_ULL(2)
#define LARGE BIT_ULL(7)
#define NO_EXECUTE BIT_ULL(63)
#define ADDRESS 0x000ffffffffff000ULL

/* What names a table, or maps a page, without restricting anything. */
#define ALL_RIGHTS (PRESENT | WRITABLE | USER)

/* More than any guest here has. */
#define MAX_SPACES 1024

/**
 * struct guest - a guest and its address spaces
 * @mem: its memory as the core reads it
 * @memory: its memory
 * @size: bytes of it
 * @next: where the next table will be made
 * @stride: bytes from one table that is made to the next
 * @top: level of its root tables
 * @entry_size: bytes of an entry
 * @regs: its registers, but for CR3
 * @spaces: the addresses of its root tables, without doubles
 * @nr_spaces: how many they are
 * @name: what it calls itself
 */
struct guest {
	struct vmem_mem mem;
	unsigned char *memory;
	u64 size;
	u64 next;
	u64 stride;
	int top;
	int entry_size;
	struct vmem_regs regs;
	u64 spaces[MAX_SPACES];
	u32 nr_spaces;
	const char *name;
};

noreturn __printf(1, 2) void die(const char *fmt, ...);

/*
 * A guest with memory that is all zero, and no address space; 4-level paging. It is
 * in small pages of this process, as an image is that is mapped from its file.
 */
struct guest *guest_new(u64 size);

/* Before it has any space: 2-level, PAE (3), 4-level or 5-level paging. */
void guest_set_levels(struct guest *guest, int levels);
void guest_free(struct guest *guest);

/* The guest that DIR/guest.elf and DIR/guest.json describe, and spare memory. */
struct guest *guest_load(const char *dir, u64 spare);

/* Make a table, all of it empty; returns its guest-physical address. */
u64 guest_new_table(struct guest *guest);

/* Make an address space, all of it empty. */
u64 guest_new_space(struct guest *guest);
void guest_add_space(struct guest *guest, u64 root);

/* The root of space @index, as the core wants it. */
struct vmem_root guest_root(const struct guest *guest, u32 index);

/*
 * Write the entry of @va in the table of @level under @root. Tables above it that are
 * missing are made.
 */
void guest_put(struct guest *guest, u64 root, u64 va, int level, u64 raw);

/* Where that is, in a guest with entries of 8 bytes. */
u64 *guest_entry(struct guest *guest, u64 root, u64 va, int level);

/*
 * A space that is like the one of @root, in tables of its own but for those of
 * the upper half, which all kernels share among their processes.
 */
u64 guest_clone_space(struct guest *guest, u64 root);

static inline u64 *guest_table(const struct guest *guest, u64 gpa)
{
	return (u64 *)(guest->memory + (gpa & ADDRESS));
}

#endif
