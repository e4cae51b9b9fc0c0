// SPDX-License-Identifier: GPL-2.0-only
/*
 * A walk over many spaces, and what its records would expand to
 *
 * Records come by rising root and address, and a reference is told after all
 * that it refers to. So one pass, with a sum of leaves kept beside each record,
 * counts what is behind references to tables that hold references themselves.
 */
#include <stdlib.h>

#include "vmemctl.h"

#define RECORDS_A_CALL 8192

#define OTHER_MODULE "load the vmem module of this vmemctl's version"

static __u64 add_saturated(__u64 a, __u64 b)
{
	__u64 sum;

	return __builtin_add_overflow(a, b, &sum) ? ~0ull : sum;
}

static __u64 record_va(const struct vmem_record *record)
{
	switch (record->type) {
	case VMEM_THIS_SPACE:
		return record->mapping.va;
	case VMEM_ALIASING:
		return record->reference.our_va;
	case VMEM_ANOMALY:
		return record->anomaly.va;
	default:
		return 0;
	}
}

/* Index of the first of the records @first to @end that is not below @va. */
static size_t find_record(const struct walked *walked, size_t first, size_t end,
			  __u64 va)
{
	while (first < end) {
		size_t middle = first + (end - first) / 2;

		if (record_va(&walked->records[middle]) < va)
			first = middle + 1;
		else
			end = middle;
	}
	return first;
}

/* A mapping may be clipped to a part of its first and of its last page. */
static __u64 nr_pages(__u64 va, __u64 last_va, __u64 page_size)
{
	return last_va / page_size - va / page_size + 1;
}

/* Leaves from the beginning of a space to @va, which lies between pages. */
static __u64 leaves_below(const struct walked *walked, __u32 root, __u64 va)
{
	const struct walked_space *space = &walked->spaces[root];
	size_t i = find_record(walked, space->first, space->end, va);
	const struct vmem_record *last;
	__u64 sum;

	if (i == space->first || walked->before[i] == ~0ull)
		return i == space->first ? 0 : ~0ull;
	last = &walked->records[i - 1];
	sum = walked->before[i] - walked->before[space->first];
	/* Mappings are merged across tables. */
	if (last->type == VMEM_THIS_SPACE && last->mapping.last_va >= va)
		sum -= nr_pages(va, last->mapping.last_va,
				last->mapping.page_size);
	return sum;
}

static __u64 leaves_of_space(const struct walked *walked, __u32 root)
{
	const struct walked_space *space = &walked->spaces[root];

	if (walked->before[space->end] == ~0ull)
		return ~0ull;
	return walked->before[space->end] - walked->before[space->first];
}

__u64 walked_leaves(const struct walked *walked, __u32 root, __u64 va,
		    __u64 len)
{
	__u64 above = va + len ? leaves_below(walked, root, va + len) :
				 leaves_of_space(walked, root);

	return above == ~0ull ? above : above - leaves_below(walked, root, va);
}

__u64 walked_expands_to(const struct walked *walked)
{
	return walked->before[walked->nr];
}

/* What a record stands for, once those before it have been counted. */
static __u64 count_leaves(const struct walked *walked,
			  const struct vmem_record *record)
{
	const struct vmem_reference *reference = &record->reference;
	const struct vmem_mapping *mapping = &record->mapping;

	switch (record->type) {
	case VMEM_SPACE:
		return record->space.alias_of == record->root ?
			       0 :
			       leaves_of_space(walked, record->space.alias_of);
	case VMEM_THIS_SPACE:
		return nr_pages(mapping->va, mapping->last_va,
				mapping->page_size);
	case VMEM_ALIASING:
		return walked_leaves(walked, reference->owner_root,
				     reference->their_va, reference->len);
	default:
		return 0;
	}
}

/*
 * What the rest of the tool relies on: every space has its heading, in order,
 * and refers to no later one. @nr: spaces that have begun
 */
static bool makes_sense(const struct vmem_record *record, __u32 nr)
{
	if (record->type == VMEM_SPACE)
		return record->root == nr && record->space.alias_of <= nr;
	if (record->root + 1 != nr)
		return false;
	if (record->type == VMEM_THIS_SPACE)
		return record->mapping.page_size;
	if (record->type == VMEM_ALIASING)
		return record->reference.owner_root < nr;
	return true;
}

static void *array(void *old, size_t nr, size_t size)
{
	void *new = reallocarray(old, nr, size);

	if (!new)
		die("out of memory for the records: ask for fewer roots or a smaller range");
	return new;
}

static void check_records(const struct walked *walked)
{
	__u32 nr = 0;

	for (size_t i = 0; i < walked->nr; i++) {
		if (!makes_sense(&walked->records[i], nr))
			die("cannot make sense of record %zu: " OTHER_MODULE,
			    i);
		nr += walked->records[i].type == VMEM_SPACE;
	}
	if (nr != walked->roots->nr)
		die("the module told of %u spaces instead of %u: " OTHER_MODULE,
		    nr, walked->roots->nr);
}

static void index_records(struct walked *walked)
{
	__u64 sum = 0;

	walked->before = array(NULL, walked->nr + 1, sizeof(*walked->before));
	walked->before[0] = 0;
	walked->spaces =
		array(NULL, walked->roots->nr, sizeof(*walked->spaces));
	for (size_t i = 0; i < walked->nr; i++) {
		const struct vmem_record *record = &walked->records[i];
		struct walked_space *space = &walked->spaces[record->root];

		if (record->type == VMEM_SPACE)
			space->first = i;
		/* Without this one: it may refer to the space itself. */
		space->end = i;
		sum = add_saturated(sum, count_leaves(walked, record));
		walked->before[i + 1] = sum;
		space->end = i + 1;
	}
}

void set_spaces(struct target *target, const struct roots *roots,
		const struct scope *scope)
{
	struct vmem_set_spaces_args args = {
		.size = sizeof(args),
		.regs = roots->regs,
		.nr_cr3 = roots->nr,
		.nr_excluded = scope->nr_excluded,
		.cr3 = (uintptr_t)roots->cr3s,
		.excluded = (uintptr_t)scope->excluded,
		.va = scope->va,
		.last_va = scope->last_va,
	};

	args.regs.cr3 = 0;
	if (target_ask(target, VMEM_SET_SPACES, &args))
		fail(STEP_SET_SPACES, &roots->regs,
		     "cannot look at %u space%s at once, from CR3 %#llx on",
		     roots->nr, roots->nr == 1 ? "" : "s", roots->cr3s[0]);
}

static void walk_some(struct target *target, const struct roots *roots,
		      struct vmem_walk_spaces_args *args)
{
	__u64 entries = args->out_stats.entries;

	if (target_ask(target, VMEM_WALK_SPACES, args))
		fail(STEP_WALK_SPACES, &roots->regs,
		     "cannot walk the spaces, after %llu of %u",
		     args->out_stats.spaces + args->out_stats.root_aliases,
		     roots->nr);
	if (args->out_more && !args->out_nr &&
	    args->out_stats.entries == entries)
		die("cannot walk the spaces: the module makes no progress");
}

void walk_spaces(struct target *target, const struct roots *roots,
		 const struct scope *scope, struct walked *walked)
{
	struct vmem_walk_spaces_args args = {
		.size = sizeof(args),
		.nr = RECORDS_A_CALL,
		.record_size = sizeof(struct vmem_record),
	};
	size_t room = 0;

	*walked = (struct walked){ .roots = roots };
	set_spaces(target, roots, scope);
	do {
		if (room - walked->nr < RECORDS_A_CALL) {
			room = 2 * room + RECORDS_A_CALL;
			walked->records = array(walked->records, room,
						sizeof(*walked->records));
		}
		args.records = (uintptr_t)(walked->records + walked->nr);
		walk_some(target, roots, &args);
		walked->nr += args.out_nr;
	} while (args.out_more);
	walked->stats = args.out_stats;
	check_records(walked);
	index_records(walked);
}

void walk_owners(struct target *target, const struct roots *roots)
{
	static struct vmem_record records[RECORDS_A_CALL];
	struct vmem_walk_spaces_args args = {
		.size = sizeof(args),
		.nr = RECORDS_A_CALL,
		.record_size = sizeof(records[0]),
		.records = (uintptr_t)records,
	};
	const struct scope everything = { .last_va = ~0ull };

	set_spaces(target, roots, &everything);
	do {
		walk_some(target, roots, &args);
	} while (args.out_more);
}

void walked_free(struct walked *walked)
{
	free(walked->records);
	free(walked->before);
	free(walked->spaces);
}

/* What goes for every reference of a run. */
static bool is_like(const struct vmem_record *a, const struct vmem_record *b)
{
	return b->type == VMEM_ALIASING && a->root == b->root &&
	       a->reference.owner_root == b->reference.owner_root &&
	       a->reference.table == b->reference.table &&
	       a->reference.len == b->reference.len &&
	       a->reference.perms == b->reference.perms &&
	       a->reference.owner_perms == b->reference.owner_perms;
}

static bool is_step(const struct run *run, const struct vmem_record *from,
		    const struct vmem_record *to)
{
	return is_like(from, to) &&
	       to->reference.our_va - from->reference.our_va == run->step &&
	       to->reference.their_va - from->reference.their_va ==
		       run->their_step;
}

static bool is_regular(const struct run *run)
{
	__u64 len = run->first->reference.len;

	return !run->their_step || (run->their_step == len && run->step == len);
}

size_t run_find(const struct vmem_record *records, size_t nr, struct run *run)
{
	*run = (struct run){ .first = records, .nr = 1 };
	if (nr < 2 || !is_like(records, records + 1))
		return 1;
	run->step = records[1].reference.our_va - records->reference.our_va;
	run->their_step =
		records[1].reference.their_va - records->reference.their_va;
	if (!is_regular(run))
		return 1;
	while (run->nr < nr &&
	       is_step(run, records + run->nr - 1, records + run->nr))
		run->nr++;
	/* Two that are apart are always so at some regular distance. */
	if (run->nr == 2 && run->step != records->reference.len)
		run->nr = 1;
	return run->nr;
}

bool is_wider(const struct vmem_reference *reference)
{
	return reference->perms & ~reference->owner_perms;
}
