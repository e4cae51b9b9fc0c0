/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest's memory as the core sees it, read by guest-physical address: of a
 * guest that runs, through the device, and of an image alike
 */
#ifndef LIBVMEM_GUEST_MEMORY_H
#define LIBVMEM_GUEST_MEMORY_H

#include <vmem/mem.h>

#include "vm.h"

/**
 * struct slot - a piece of the guest's memory
 * @gpa: its guest-physical address
 * @len: its size in bytes
 */
struct slot {
	u64 gpa;
	u64 len;
};

/**
 * struct guest_memory - a guest's memory
 * @mem: as the core sees it. A page that is pinned is a copy.
 * @vm: the guest
 * @slots: where it has memory, by rising address
 * @nr_slots: elements of @slots
 * @size: bytes of guest memory
 * @changed: a page was written to while it was pinned
 */
struct guest_memory {
	struct vmem_mem mem;
	struct libvmem *vm;
	struct slot *slots;
	size_t nr_slots;
	u64 size;
	bool changed;
};

/* After a failure as well, guest_memory_destroy() is to be called. */
int guest_memory_init(struct guest_memory *memory, struct libvmem *vm,
		      struct libvmem_error *error);
void guest_memory_destroy(struct guest_memory *memory);

/**
 * read_phys - read guest memory, up to the first page that cannot be
 * @vm: the guest
 * @gpa: guest-physical address
 * @buf: room for @len bytes, or NULL to find out how far it can be read
 * @len: bytes to read
 * @status: enum vmem_status of the page where it ended
 *
 * Return: the bytes read, or a negative errno.
 */
s64 read_phys(struct libvmem *vm, u64 gpa, void *buf, size_t len, u32 *status);

#endif
