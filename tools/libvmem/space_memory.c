// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory that a space maps, by virtual address
 *
 * One walk lists the mappings. What is no memory is cut out of them. Pages that are
 * mapped twice have two addresses and one place.
 */
#include <elf.h>
#include <linux/err.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>

#include "space_memory.h"

#define FIRST_ROOM 256

/* Mappings between two calls of the user's @progress. */
#define ROWS_A_CALL 256

/**
 * struct finding - a walk over the mappings
 * @space: where they go
 * @memory: the guest's memory
 * @args: the question
 * @error: for the user
 * @rows: mappings so far
 * @ret: the negative code by which a row ended the walk
 */
struct finding {
	struct space_memory *space;
	struct guest_memory *memory;
	const struct libvmem_snapshot_args *args;
	struct libvmem_error *error;
	u64 rows;
	int ret;
};

static int fail(const struct finding *finding, int err, u64 va)
{
	return error_of(finding->error, STEP_SNAPSHOT, -err, va,
			&finding->args->roots->regs,
			"cannot make a snapshot by virtual address, at %#llx",
			va);
}

static u32 elf_flags(u32 perms)
{
	return PF_R | (perms & VMEM_WRITABLE ? PF_W : 0) |
	       (perms & VMEM_EXECUTABLE ? PF_X : 0);
}

static bool make_room(struct space_memory *space)
{
	size_t room = 2 * space->room ?: FIRST_ROOM;
	struct core_load *loads;

	if (space->nr_loads < space->room)
		return true;
	loads = reallocarray(space->loads, room, sizeof(*loads));
	if (!loads)
		return false;
	space->loads = loads;
	space->room = room;
	return true;
}

/* Mappings are apart that differ in what a core does not say. */
static bool is_continued(const struct core_load *load,
			 const struct core_load *next)
{
	return load->flags == next->flags && load->va + load->len == next->va &&
	       load->gpa + load->len == next->gpa;
}

static int add_load(const struct finding *finding, const struct core_load *load)
{
	struct space_memory *space = finding->space;

	if (space->nr_loads &&
	    is_continued(&space->loads[space->nr_loads - 1], load)) {
		space->loads[space->nr_loads - 1].len += load->len;
		return 0;
	}
	if (space->nr_loads == CORE_MAX_LOADS)
		return error_set(
			finding->error, LIBVMEM_TOO_MUCH, STEP_SNAPSHOT,
			load->va, "give a smaller range",
			"the space has more than %u pieces of memory, up to %#llx",
			CORE_MAX_LOADS, load->va);
	if (!make_room(space))
		return error_memory(finding->error, "the mappings");
	space->loads[space->nr_loads++] = *load;
	return 0;
}

/* Bytes at the address that are the same: memory, a device's, or unreadable. */
static int add_part(const struct finding *finding,
		    const struct vmem_mapping *mapping, u64 at, u64 *same)
{
	struct vmem_mem *mem = &finding->memory->mem;
	const struct core_load load = {
		.va = mapping->va + at,
		.gpa = mapping->gpa + at,
		.flags = elf_flags(mapping->perms),
	};
	u64 left = mapping->last_va - load.va + 1;
	int ret = mem->ops->probe(mem, load.gpa, left, same);

	if (!ret) {
		struct core_load readable = load;

		readable.len = *same;
		return add_load(finding, &readable);
	}
	if (ret == -ENXIO)
		return 0;
	if (ret != -EIO && ret != -EACCES)
		return fail(finding, ret, load.va);
	finding->space->unreadable += *same >> VMEM_PAGE_SHIFT;
	return finding->args->flags & LIBVMEM_SNAPSHOT_STRICT ?
		       fail(finding, -EIO, load.va) :
		       0;
}

static int add_mapping(const struct vmem_mapping *mapping, void *priv)
{
	struct finding *finding = priv;
	const struct libvmem_snapshot_args *args = finding->args;
	u64 len = mapping->last_va - mapping->va + 1, at = 0, same = 0;

	do {
		finding->ret = add_part(finding, mapping, at, &same);
		at += same;
	} while (!finding->ret && at < len);
	if (finding->ret)
		return 1;
	if (!args->progress || ++finding->rows % ROWS_A_CALL)
		return 0;
	return args->progress(finding->rows, 0, args->priv);
}

static int list(struct finding *finding, u64 va, u64 last_va)
{
	const struct libvmem_roots *roots = finding->args->roots;
	struct vmem_regs regs = libvmem_regs_of_root(roots, 0);
	struct libvmem_found part = {};
	int ret = libvmem_ranges(finding->memory->vm, &regs, va, last_va,
				 add_mapping, finding, &part, finding->error);

	finding->space->anomalies += part.anomalies;
	if (finding->ret)
		return finding->ret;
	return !ret && part.torn ? fail(finding, -EAGAIN, va) : ret;
}

/* All of the scope but what is excluded from it. */
static int list_all(struct finding *finding)
{
	const struct libvmem_scope *scope = finding->args->scope;
	u64 va = scope->va;
	unsigned int i;
	int ret = 0;

	for (i = 0; i < scope->nr_excluded && !ret; i++) {
		const struct vmem_span *span = &scope->excluded[i];

		if (span->last_va < va)
			continue;
		if (span->va > scope->last_va)
			break;
		if (span->va > va)
			ret = list(finding, va, span->va - 1);
		if (span->last_va >= scope->last_va)
			return ret;
		va = span->last_va + 1;
	}
	return ret ? ret : list(finding, va, scope->last_va);
}

static int compare_gpas(const void *ap, const void *bp)
{
	const struct core_load *a = *(struct core_load *const *)ap;
	const struct core_load *b = *(struct core_load *const *)bp;

	return a->gpa < b->gpa ? -1 : a->gpa > b->gpa;
}

/* A place for each page, which those that map it share. */
static void place(struct space_memory *space, struct core_load **by_gpa)
{
	struct libvmem_extent *piece = NULL;
	u64 end = 0;
	size_t i;

	for (i = 0; i < space->nr_loads; i++) {
		struct core_load *load = by_gpa[i];

		if (!piece || load->gpa > end) {
			piece = &space->pieces[space->nr_pieces++];
			*piece = (struct libvmem_extent){ .gpa = load->gpa };
			end = load->gpa;
		}
		load->offset = space->size - (end - load->gpa);
		if (load->gpa + load->len <= end)
			continue;
		space->size += load->gpa + load->len - end;
		end = load->gpa + load->len;
		piece->len = end - piece->gpa;
	}
}

static int place_all(struct finding *finding)
{
	struct space_memory *space = finding->space;
	struct core_load **by_gpa =
		kvcalloc(space->nr_loads + 1, sizeof(*by_gpa), GFP_KERNEL);
	size_t i;

	space->pieces = kvcalloc(space->nr_loads + 1, sizeof(*space->pieces),
				 GFP_KERNEL);
	if (by_gpa && space->pieces) {
		for (i = 0; i < space->nr_loads; i++)
			by_gpa[i] = &space->loads[i];
		sort(by_gpa, space->nr_loads, sizeof(*by_gpa), compare_gpas,
		     NULL);
		place(space, by_gpa);
	}
	kvfree(by_gpa);
	return by_gpa && space->pieces ?
		       0 :
		       error_memory(finding->error, "the mappings");
}

int space_memory_find(struct space_memory *space, struct guest_memory *memory,
		      const struct libvmem_snapshot_args *args,
		      struct libvmem_error *error)
{
	struct finding finding = {
		.space = space,
		.memory = memory,
		.args = args,
		.error = error,
	};
	int ret;

	*space = (struct space_memory){};
	ret = list_all(&finding);
	return ret ? ret : place_all(&finding);
}

void space_memory_destroy(struct space_memory *space)
{
	kvfree(space->loads);
	kvfree(space->pieces);
}
