// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where a Linux kernel has guest memory mapped, as its tables tell: all of it in one
 * piece, and with amd64 its own text and data once more
 */
#include <linux/const.h>

#include "vmcoreinfo.h"

#define MIB _BITULL(20)
#define GIB _BITULL(30)

/* amd64: where all memory can begin, with 5 levels and with 4, and where it ends */
#define DIRECT_5 0xff10000000000000ull
#define DIRECT_4 0xffff880000000000ull
#define DIRECT_END 0xffffc87fffffffffull

/* amd64: the kernel's own text and data */
#define TEXT_FIRST 0xffffffff80000000ull
#define TEXT_LAST 0xffffffffbfffffffull

/* i686: of 4 GiB, what can be the kernel's */
#define UPPER_FIRST 0x40000000ull
#define UPPER_LAST 0xffffffffull

/* Calls of the module for one look; a kernel needs a few. */
#define MAX_CALLS 4096

/**
 * struct look - a look for one piece
 * @map: where it goes
 * @unit: what virtual and guest-physical addresses differ by is a multiple of this
 * @least: the first row that counts has as many bytes
 * @begun: there was one
 */
struct look {
	struct kernel_map *map;
	__u64 unit;
	__u64 least;
	bool begun;
};

static bool can_begin(const struct look *look, const struct vmem_mapping *row)
{
	return !(row->perms & VMEM_USER) &&
	       row->last_va - row->va + 1 >= look->least &&
	       !((row->va - row->gpa) % look->unit);
}

static int take_direct(const struct vmem_mapping *row, void *priv)
{
	struct look *look = priv;
	struct kernel_map *map = look->map;

	if (!look->begun && can_begin(look, row)) {
		look->begun = true;
		map->direct = row->va - row->gpa;
	}
	if (look->begun && row->va - row->gpa == map->direct)
		map->direct_end = row->gpa + (row->last_va - row->va) + 1;
	return 0;
}

/* The first row is the kernel's; modules and what else there is have other places. */
static int take_text(const struct vmem_mapping *row, void *priv)
{
	struct look *look = priv;
	struct kernel_map *map = look->map;

	if (!look->begun && can_begin(look, row)) {
		look->begun = true;
		map->text_va = row->va;
		map->text_gpa = row->gpa;
	}
	if (look->begun && row->va - row->gpa == map->text_va - map->text_gpa)
		map->text_len = row->last_va - map->text_va + 1;
	return 0;
}

static bool look_for(struct libvmem *vm, struct look *look, __u64 va,
		     __u64 last_va,
		     int (*take)(const struct vmem_mapping *row, void *priv))
{
	__u64 budget = MAX_CALLS;
	struct libvmem_found found;

	return ranges_within(vm, &look->map->regs, va, last_va, &budget, take,
			     look, &found, NULL) >= 0 &&
	       look->begun;
}

void kernel_map_find(struct libvmem *vm, struct kernel_map *map)
{
	enum vmem_level top = libvmem_top_level(&map->regs);
	struct look direct = { .map = map, .unit = GIB, .least = 2 * MIB };
	struct look text = { .map = map, .unit = 2 * MIB, .least = 1 };
	struct look upper = { .map = map, .unit = 16 * MIB, .least = MIB };

	if (top == VMEM_LEVEL_NONE)
		return;
	if (top < VMEM_LEVEL_PML4) {
		map->has_direct = look_for(vm, &upper, UPPER_FIRST, UPPER_LAST,
					   take_direct);
		return;
	}
	map->has_direct = look_for(vm, &direct,
				   top == VMEM_LEVEL_PML5 ? DIRECT_5 : DIRECT_4,
				   DIRECT_END, take_direct);
	if (!look_for(vm, &text, TEXT_FIRST, TEXT_LAST, take_text))
		map->text_len = 0;
}
