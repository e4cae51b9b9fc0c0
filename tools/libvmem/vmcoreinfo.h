/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a Linux kernel says of itself in its memory, and where that has it mapped
 */
#ifndef LIBVMEM_VMCOREINFO_H
#define LIBVMEM_VMCOREINFO_H

#include "vm.h"

/* The kernel has a page for it. */
#define MAX_VMCOREINFO 4096

/**
 * struct vmcoreinfo - a kernel's VMCOREINFO
 * @gpa: where its note is in guest memory; 0 if there is none
 * @size: bytes of @text
 * @text: lines of "KEY=VALUE", and a NUL behind them
 */
struct vmcoreinfo {
	__u64 gpa;
	size_t size;
	char text[MAX_VMCOREINFO + 1];
};

/**
 * struct kernel_map - where a kernel has guest memory mapped
 * @regs: its address space; all 0 if it is not known
 * @has_direct: it has memory mapped in one piece
 * @direct: the virtual address of guest-physical address 0 there
 * @direct_end: guest-physical address behind the last memory there
 * @text_va: likewise, where its own text and data begin
 * @text_gpa: their guest-physical address
 * @text_len: their size in bytes; 0 if they were not found
 */
struct kernel_map {
	struct vmem_regs regs;
	bool has_direct;
	__u64 direct;
	__u64 direct_end;
	__u64 text_va;
	__u64 text_gpa;
	__u64 text_len;
};

/*
 * Find the note in guest memory, by the tables that it names; @step and @priv as for
 * scan_memory(). @regs: set to the kernel's registers if the note leads to them. Returns 0
 * whether there is a note or not.
 */
int vmcoreinfo_find(struct libvmem *vm, struct vmcoreinfo *info,
		    struct vmem_regs *regs,
		    int (*step)(__u64 done, __u64 all, void *priv), void *priv,
		    struct libvmem_error *error);

/* Fill in what the tables of @map->regs tell. */
void kernel_map_find(struct libvmem *vm, struct kernel_map *map);

#endif
