/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The memory that a space maps, by virtual address, and its place in a file
 * that has each page once
 */
#ifndef LIBVMEM_SPACE_MEMORY_H
#define LIBVMEM_SPACE_MEMORY_H

#include "core_file.h"
#include "guest_memory.h"

/**
 * struct space_memory - the memory of a space
 * @loads: what is mapped and is memory, by rising virtual address
 * @nr_loads: elements of @loads
 * @room: elements that @loads has room for
 * @pieces: the same by rising guest-physical address, disjoint, as it is in the file
 * @nr_pieces: elements of @pieces
 * @size: bytes of @pieces
 * @anomalies: entries that lead nowhere
 * @unreadable: pages of 4 KiB that cannot be read, each mapping counted
 */
struct space_memory {
	struct core_load *loads;
	size_t nr_loads;
	size_t room;
	struct libvmem_extent *pieces;
	size_t nr_pieces;
	u64 size;
	u64 anomalies;
	u64 unreadable;
};

/**
 * space_memory_find - find out what a space maps
 * @space: set; after a failure as well, space_memory_destroy() is to be called
 * @memory: the guest's memory
 * @args: the space, the part of it, whether it may be unreadable, and whom to tell of
 *	progress
 * @error: the failure, or NULL
 *
 * Return: 0; a negative code; a positive value of @progress.
 */
int space_memory_find(struct space_memory *space, struct guest_memory *memory,
		      const struct libvmem_snapshot_args *args,
		      struct libvmem_error *error);
void space_memory_destroy(struct space_memory *space);

#endif
