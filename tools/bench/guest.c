// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guests made up, and their tables
 */
#include <linux/err.h>
#include <linux/kernel.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "guest.h"

void die(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("bench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static struct guest *of_mem(struct vmem_mem *mem)
{
	return container_of(mem, struct guest, mem);
}

static const void *pin(struct vmem_mem *mem, u64 gpa)
{
	const struct guest *guest = of_mem(mem);

	if (gpa >= guest->size)
		return ERR_PTR(-ENXIO);
	return guest->memory + (gpa & VMEM_PAGE_MASK);
}

static void unpin(struct vmem_mem *mem, u64 gpa, const void *page)
{
}

static const struct vmem_mem_ops mem_ops = {
	.pin = pin,
	.unpin = unpin,
};

struct guest *guest_new(u64 size)
{
	struct guest *guest = calloc(1, sizeof(*guest));
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (!guest || memory == MAP_FAILED)
		die("out of memory for a guest of %llu MiB", size >> 20);
	madvise(memory, size, MADV_NOHUGEPAGE);
	guest->mem.ops = &mem_ops;
	/* As libvmem has it: what was captured does not change. */
	guest->mem.constant = true;

	guest->memory = memory;
	guest->size = size;
	guest->next = VMEM_PAGE_SIZE;
	guest->stride = VMEM_PAGE_SIZE;
	guest->top = VMEM_LEVEL_PML4;
	guest->entry_size = 8;
	guest->name = "made up";
	/* PG AM WP NE ET MP PE; PAE; NXE LMA LME SCE */
	guest->regs = (struct vmem_regs){
		.cr0 = 0x80050033,
		.cr4 = 0x20,
		.efer = 0xd01,
		.maxphyaddr = 46,
	};
	return guest;
}

/* CR4.PSE; CR4.PAE, and then CR4.LA57 */
void guest_set_levels(struct guest *guest, int levels)
{
	guest->top = levels;
	guest->entry_size = levels == VMEM_LEVEL_PD ? 4 : 8;
	guest->regs.cr4 = levels == VMEM_LEVEL_PD ? 0x10 : 0x20;
	if (levels == VMEM_LEVEL_PML5)
		guest->regs.cr4 |= 0x1000;
	if (levels < VMEM_LEVEL_PML4)
		guest->regs.efer = 0;
}

void guest_free(struct guest *guest)
{
	munmap(guest->memory, guest->size);
	free(guest);
}

u64 guest_new_table(struct guest *guest)
{
	u64 table = guest->next;

	if (table + VMEM_PAGE_SIZE > guest->size)
		die("no room for another table");
	guest->next += guest->stride;
	return table;
}

void guest_add_space(struct guest *guest, u64 root)
{
	u32 i;

	for (i = 0; i < guest->nr_spaces; i++)
		if (guest->spaces[i] == root)
			return;
	if (guest->nr_spaces == MAX_SPACES)
		die("more than %d address spaces", MAX_SPACES);
	guest->spaces[guest->nr_spaces++] = root;
}

u64 guest_new_space(struct guest *guest)
{
	u64 root = guest_new_table(guest);

	guest_add_space(guest, root);
	return root;
}

struct vmem_root guest_root(const struct guest *guest, u32 index)
{
	struct vmem_regs regs = guest->regs;
	struct vmem_root root;

	regs.cr3 = guest->spaces[index];
	if (vmem_root_init(&root, &regs))
		die("the guest's registers name no paging mode");
	return root;
}

static u32 entry_index(const struct guest *guest, u64 va, int level)
{
	int bits = guest->entry_size == 8 ? 9 : 10;

	return va >> (12 + bits * (level - 1)) & ((1u << bits) - 1);
}

static u64 load(const struct guest *guest, const void *entry)
{
	return guest->entry_size == 8 ? *(const u64 *)entry :
					*(const u32 *)entry;
}

static void store(const struct guest *guest, void *entry, u64 raw)
{
	if (guest->entry_size == 8)
		*(u64 *)entry = raw;
	else
		*(u32 *)entry = raw;
}

/* The four entries of a PAE root have no rights. */
static u64 table_rights(const struct guest *guest, int level)
{
	return level == VMEM_LEVEL_PDPT && guest->top == level ? PRESENT :
								 ALL_RIGHTS;
}

static void *find_entry(struct guest *guest, u64 root, u64 va, int level)
{
	int at = guest->top;
	u64 table = root;
	void *entry;

	for (;; at--) {
		entry = guest->memory + table +
			entry_index(guest, va, at) * guest->entry_size;
		if (at == level)
			return entry;
		if (!load(guest, entry))
			store(guest, entry,
			      guest_new_table(guest) | table_rights(guest, at));
		table = load(guest, entry) & ADDRESS;
	}
}

void guest_put(struct guest *guest, u64 root, u64 va, int level, u64 raw)
{
	store(guest, find_entry(guest, root, va, level), raw);
}

u64 *guest_entry(struct guest *guest, u64 root, u64 va, int level)
{
	return find_entry(guest, root, va, level);
}

static u64 clone_table(struct guest *guest, u64 table, int level, u32 nr)
{
	u64 copy = guest_new_table(guest);
	const u64 *from = guest_table(guest, table);
	u64 *to = guest_table(guest, copy);
	u32 i;

	memcpy(to, from, VMEM_PAGE_SIZE);
	for (i = 0; i < nr; i++) {
		bool names_table = level > VMEM_LEVEL_PT && from[i] & PRESENT &&
				   !(from[i] & LARGE);

		if (names_table)
			to[i] = (from[i] & ~ADDRESS) |
				clone_table(guest, from[i] & ADDRESS, level - 1,
					    ENTRIES);
	}
	return copy;
}

u64 guest_clone_space(struct guest *guest, u64 root)
{
	u64 copy = clone_table(guest, root, VMEM_LEVEL_PML4, ENTRIES / 2);

	guest_add_space(guest, copy);
	return copy;
}
