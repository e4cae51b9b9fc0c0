// SPDX-License-Identifier: GPL-2.0-only
/*
 * Questions about one guest and one of its spaces: each is asked until all of
 * it is answered
 */
#include <errno.h>
#include <stdlib.h>

#include "image.h"
#include "vm.h"

#define SLOTS_A_CALL 64
#define ADDRESSES_A_CALL 64
#define MAPPINGS_A_CALL 1024

int libvmem_info(struct libvmem *vm, struct vmem_info_args *info,
		 struct libvmem_error *error)
{
	int ret;

	*info = (struct vmem_info_args){ .size = sizeof(*info) };
	ret = ask(vm, VMEM_INFO, info);
	if (!ret)
		return 0;
	return error_of(error, STEP_INFO, -ret, 0, NULL,
			"cannot get the limits of the module");
}

int nr_vcpus(struct libvmem *vm, unsigned int *nr, struct libvmem_error *error)
{
	struct vmem_info_args info = { .size = sizeof(info) };
	int ret = ask(vm, VMEM_INFO, &info);

	*nr = info.out_nr_vcpus < VMEM_MAX_ROOTS ? info.out_nr_vcpus :
						   VMEM_MAX_ROOTS;
	if (!ret)
		return 0;
	return error_of(error, STEP_INFO, -ret, 0, NULL,
			"cannot get the number of vCPUs");
}

int libvmem_memslots(struct libvmem *vm,
		     int (*row)(const struct vmem_memslot *slot, void *priv),
		     void *priv, struct libvmem_error *error)
{
	struct vmem_memslot slots[SLOTS_A_CALL];
	struct vmem_memslots_args args = {
		.size = sizeof(args),
		.nr = SLOTS_A_CALL,
		.slot_size = sizeof(slots[0]),
		.slots = (uintptr_t)slots,
	};
	int ret;

	do {
		ret = ask(vm, VMEM_MEMSLOTS, &args);
		if (ret)
			return error_of(error, STEP_MEMSLOTS, -ret, args.gpa,
					NULL, "cannot list the guest's memory");
		for (unsigned int i = 0; i < args.out_nr && !ret; i++)
			ret = row(&slots[i], priv);
		args.gpa = args.out_next_gpa;
	} while (!ret && args.out_more);
	return ret;
}

int libvmem_vcpu(struct libvmem *vm, unsigned int index,
		 unsigned int timeout_us, struct vmem_vcpu_args *vcpu,
		 struct libvmem_error *error)
{
	int ret;

	*vcpu = (struct vmem_vcpu_args){
		.size = sizeof(*vcpu),
		.index = index,
		.timeout_us = timeout_us,
	};
	ret = ask(vm, VMEM_VCPU, vcpu);
	if (!ret)
		return 0;
	return error_of(error, STEP_VCPU, -ret, index, NULL,
			"cannot get the registers of vCPU %u", index);
}

/* Translate the first of @nr addresses; @args says how many those were. */
static int translate_some(struct libvmem *vm, const struct vmem_regs *regs,
			  struct vmem_translate_args *args, const __u64 *vas,
			  size_t nr, struct libvmem_error *error)
{
	int ret;

	args->vas = (uintptr_t)vas;
	args->nr = nr < ADDRESSES_A_CALL ? nr : ADDRESSES_A_CALL;
	args->out_nr = 0;
	ret = ask(vm, VMEM_TRANSLATE, args);
	if (ret)
		return error_of(error, STEP_TRANSLATE, -ret, *vas, regs,
				"cannot translate %#llx with CR3 %#llx", *vas,
				regs->cr3);
	if (!args->out_nr || args->out_nr > args->nr)
		return error_set(error, LIBVMEM_OTHER_VERSION, STEP_TRANSLATE,
				 *vas, "the module returned no result",
				 "cannot translate %#llx", *vas);
	return 0;
}

static int translate(struct libvmem *vm, const struct vmem_regs *regs,
		     struct vmem_translate_args *args, const __u64 *vas,
		     size_t nr,
		     int (*row)(__u64 va, const struct vmem_translation *answer,
				void *priv),
		     void *priv, struct libvmem_error *error)
{
	struct vmem_translation answers[ADDRESSES_A_CALL];
	int ret = 0;

	args->size = sizeof(*args);
	args->result_size = sizeof(answers[0]);
	args->results = (uintptr_t)answers;
	for (size_t done = 0; done < nr && !ret; done += args->out_nr) {
		ret = translate_some(vm, regs, args, vas + done, nr - done,
				     error);
		for (unsigned int i = 0; !ret && i < args->out_nr; i++)
			ret = row(vas[done + i], &answers[i], priv);
	}
	return ret;
}

int libvmem_translate(struct libvmem *vm, const struct vmem_regs *regs,
		      const __u64 *vas, size_t nr,
		      int (*row)(__u64 va,
				 const struct vmem_translation *answer,
				 void *priv),
		      void *priv, struct libvmem_error *error)
{
	struct vmem_translate_args args = { .regs = *regs };

	return translate(vm, regs, &args, vas, nr, row, priv, error);
}

int libvmem_translate_shared(
	struct libvmem *vm, const struct libvmem_roots *roots,
	unsigned int index, const __u64 *vas, size_t nr,
	int (*row)(__u64 va, const struct vmem_translation *answer, void *priv),
	void *priv, struct libvmem_error *error)
{
	struct vmem_translate_args args = {
		.flags = VMEM_TRANSLATE_SPACES,
		.root = index,
	};
	struct vmem_regs regs;

	if (index >= roots->nr)
		return error_set(error, LIBVMEM_BAD_ARGUMENT, STEP_ARGUMENT, 0,
				 NULL, "there is no space %u among %u", index,
				 roots->nr);
	if (!vm->walked)
		return error_set(error, LIBVMEM_BAD_ARGUMENT, STEP_ARGUMENT, 0,
				 "walk them to the end first",
				 "the owners of tables are not known");
	regs = libvmem_regs_of_root(roots, index);
	return translate(vm, &regs, &args, vas, nr, row, priv, error);
}

/**
 * struct ranges - mappings on their way to the user
 * @row: takes them
 * @priv: for @row
 * @last: the last one, held back because the next call may continue it
 * @found: the counts
 * @budget: how many calls there may be, counted down; NULL for as many as it takes
 */
struct ranges {
	int (*row)(const struct vmem_mapping *mapping, void *priv);
	void *priv;
	struct vmem_mapping last;
	struct libvmem_found found;
	__u64 *budget;
};

static bool continues(const struct vmem_mapping *last,
		      const struct vmem_mapping *m)
{
	return last->last_va + 1 == m->va &&
	       last->gpa + (m->va - last->va) == m->gpa &&
	       last->page_size == m->page_size && last->kind == m->kind &&
	       last->perms == m->perms && last->attributes == m->attributes;
}

static int put_last(struct ranges *ranges)
{
	const struct vmem_mapping *last = &ranges->last;

	if (!last->page_size)
		return 0;
	ranges->found.mappings++;
	ranges->found.bytes += last->last_va - last->va + 1;
	return ranges->row(last, ranges->priv);
}

static int put(struct ranges *ranges, const struct vmem_mapping *m)
{
	int ret;

	if (ranges->last.page_size && continues(&ranges->last, m)) {
		ranges->last.last_va = m->last_va;
		return 0;
	}
	ret = put_last(ranges);
	ranges->last = *m;
	return ret;
}

static int map_range(struct libvmem *vm, struct vmem_map_range_args *args,
		     struct libvmem_error *error)
{
	__u64 va = args->va;
	int ret = ask(vm, VMEM_MAP_RANGE, args);

	if (ret)
		return error_of(
			error, STEP_MAP_RANGE, -ret, va, &args->regs,
			"cannot list mappings at %#llx-%#llx with CR3 %#llx",
			va, args->last_va, args->regs.cr3);
	if (args->out_more && args->out_next_va <= va)
		return error_set(error, LIBVMEM_OTHER_VERSION, STEP_MAP_RANGE,
				 va, "the module makes no progress",
				 "cannot list mappings at %#llx", va);
	args->va = args->out_next_va;
	return 0;
}

static int collect(struct libvmem *vm, struct vmem_map_range_args *args,
		   struct ranges *ranges, struct libvmem_error *error)
{
	const struct vmem_mapping *mappings =
		(const void *)(uintptr_t)args->mappings;
	int ret;

	do {
		if (ranges->budget && !(*ranges->budget)--)
			return 1;
		ret = map_range(vm, args, error);
		if (ret)
			return ret;
		for (unsigned int i = 0; i < args->out_nr && !ret; i++)
			ret = put(ranges, &mappings[i]);
		ranges->found.anomalies += args->out_anomalies;
		ranges->found.torn += args->out_torn;
	} while (!ret && args->out_more);
	return ret ? ret : put_last(ranges);
}

static int list(struct libvmem *vm, const struct vmem_regs *regs,
		unsigned int flags, __u64 va, __u64 last_va,
		struct ranges *ranges, struct libvmem_error *error)
{
	struct vmem_mapping *mappings =
		new_room(MAPPINGS_A_CALL * sizeof(*mappings));
	struct vmem_map_range_args args = {
		.size = sizeof(args),
		.flags = flags,
		.nr = MAPPINGS_A_CALL,
		.mapping_size = sizeof(*mappings),
		.mappings = (uintptr_t)mappings,
		.regs = *regs,
		.va = va,
		.last_va = last_va,
	};
	int ret;

	if (!mappings)
		return error_memory(error, NULL);
	ret = collect(vm, &args, ranges, error);
	free(mappings);
	return ret;
}

int libvmem_ranges_with(struct libvmem *vm, const struct vmem_regs *regs,
			unsigned int flags, __u64 va, __u64 last_va,
			int (*row)(const struct vmem_mapping *mapping,
				   void *priv),
			void *priv, struct libvmem_found *found,
			struct libvmem_error *error)
{
	struct ranges ranges = { .row = row, .priv = priv };
	int ret = list(vm, regs, flags, va, last_va, &ranges, error);

	if (found)
		*found = ranges.found;
	return ret;
}

int ranges_within(struct libvmem *vm, const struct vmem_regs *regs, __u64 va,
		  __u64 last_va, __u64 *budget,
		  int (*row)(const struct vmem_mapping *mapping, void *priv),
		  void *priv, struct libvmem_found *found,
		  struct libvmem_error *error)
{
	struct ranges ranges = { .row = row, .priv = priv, .budget = budget };
	int ret = list(vm, regs, 0, va, last_va, &ranges, error);

	*found = ranges.found;
	return ret;
}

int libvmem_ranges(struct libvmem *vm, const struct vmem_regs *regs, __u64 va,
		   __u64 last_va,
		   int (*row)(const struct vmem_mapping *mapping, void *priv),
		   void *priv, struct libvmem_found *found,
		   struct libvmem_error *error)
{
	return libvmem_ranges_with(vm, regs, 0, va, last_va, row, priv, found,
				   error);
}

int libvmem_read(struct libvmem *vm, const struct vmem_regs *regs, __u64 va,
		 void *buf, size_t len, struct libvmem_read *read,
		 struct libvmem_error *error)
{
	struct vmem_read_args args = { .size = sizeof(args), .regs = *regs };
	int ret;

	*read = (struct libvmem_read){ .status = VMEM_MAPPED };
	while (read->len < len && read->status == VMEM_MAPPED) {
		args.va = va + read->len;
		args.len = len - read->len;
		args.buf = (uintptr_t)buf + read->len;
		ret = ask(vm, VMEM_READ, &args);
		if (ret)
			return error_of(
				error, STEP_READ, -ret, args.va, regs,
				"cannot read %llu byte%s at %#llx with CR3 %#llx",
				args.len, plural(args.len), args.va, regs->cr3);
		if (!args.out_len && args.out_status == VMEM_MAPPED)
			return error_set(error, LIBVMEM_OTHER_VERSION,
					 STEP_READ, args.va,
					 "the module makes no progress",
					 "cannot read at %#llx", args.va);
		read->len += args.out_len;
		read->status = args.out_status;
		read->level = args.out_level;
	}
	return 0;
}

int libvmem_read_phys(struct libvmem *vm, __u64 gpa, void *buf, size_t len,
		      struct libvmem_read *read, struct libvmem_error *error)
{
	struct vmem_read_phys_args args = { .size = sizeof(args) };
	int ret;

	*read = (struct libvmem_read){ .status = VMEM_MAPPED };
	while (read->len < len && read->status == VMEM_MAPPED) {
		args.gpa = gpa + read->len;
		args.len = len - read->len;
		args.buf = buf ? (uintptr_t)buf + read->len : 0;
		ret = ask(vm, VMEM_READ_PHYS, &args);
		if (ret)
			return error_of(
				error, STEP_READ_PHYS, -ret, args.gpa, NULL,
				"cannot read %llu byte%s at guest-physical %#llx",
				args.len, plural(args.len), args.gpa);
		if (!args.out_len && args.out_status == VMEM_MAPPED)
			return error_set(error, LIBVMEM_OTHER_VERSION,
					 STEP_READ_PHYS, args.gpa,
					 "the module makes no progress",
					 "cannot read at guest-physical %#llx",
					 args.gpa);
		read->len += args.out_len;
		read->status = args.out_status;
	}
	return 0;
}
