// SPDX-License-Identifier: GPL-2.0-only
/*
 * A walk over many spaces
 */
#include <stdlib.h>

#include "vm.h"

#define RECORDS_A_CALL 8192

#define OTHER_MODULE "load the vmem module of this vmemctl's version"

int check_spaces(const struct libvmem_roots *roots,
		 const struct libvmem_scope *scope, struct libvmem_error *error)
{
	const struct vmem_span *excluded = scope->excluded;

	if (!roots->nr || roots->nr > VMEM_MAX_ROOTS)
		return error_set(error, LIBVMEM_BAD_ARGUMENT, STEP_ARGUMENT, 0,
				 "give 1 to 4096", "there are %u roots",
				 roots->nr);
	if (scope->nr_excluded > VMEM_MAX_EXCLUDED)
		return error_set(error, LIBVMEM_BAD_ARGUMENT, STEP_ARGUMENT, 0,
				 "give 256 at most", "%u ranges are excluded",
				 scope->nr_excluded);
	for (unsigned int i = 0; i < scope->nr_excluded; i++) {
		if (excluded[i].va <= excluded[i].last_va &&
		    (!i || excluded[i].va > excluded[i - 1].last_va))
			continue;
		return error_set(
			error, LIBVMEM_BAD_ARGUMENT, STEP_ARGUMENT,
			excluded[i].va,
			"give them by rising address, none overlapping another",
			"excluded range %u, from %#llx on, is out of order", i,
			excluded[i].va);
	}
	return 0;
}

static int set_spaces(struct libvmem *vm, const struct libvmem_roots *roots,
		      const struct libvmem_scope *scope,
		      struct libvmem_error *error)
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
	int ret;

	args.regs.cr3 = 0;
	ret = ask(vm, VMEM_SET_SPACES, &args);
	if (ret)
		return error_of(
			error, STEP_SET_SPACES, -ret, roots->cr3s[0],
			&roots->regs,
			"cannot look at %u space%s at once, from CR3 %#llx on",
			roots->nr, plural(roots->nr), roots->cr3s[0]);
	vm->spaces_set = true;
	return 0;
}

static int walk_some(struct libvmem *vm, const struct libvmem_roots *roots,
		     struct vmem_walk_spaces_args *args,
		     struct libvmem_error *error)
{
	__u64 entries = args->out_stats.entries;
	int ret = ask(vm, VMEM_WALK_SPACES, args);

	if (ret)
		return error_of(error, STEP_WALK_SPACES, -ret, 0, &roots->regs,
				"cannot walk the spaces, after %llu of %u",
				args->out_stats.spaces +
					args->out_stats.root_aliases,
				roots->nr);
	if (args->out_more && !args->out_nr &&
	    args->out_stats.entries == entries)
		return error_set(error, LIBVMEM_OTHER_VERSION, STEP_WALK_SPACES,
				 0, "the module makes no progress",
				 "cannot walk the spaces");
	return 0;
}

/*
 * What a caller may rely on: every space has its heading, in order, and refers
 * to no later one. @nr: spaces that have begun
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

/**
 * struct walk - a walk on its way to the user
 * @row: takes the records, or NULL
 * @priv: for @row
 * @records: those of one call
 * @told: records of all calls
 * @spaces: spaces that have begun
 */
struct walk {
	int (*row)(const struct vmem_record *record, void *priv);
	void *priv;
	struct vmem_record *records;
	__u64 told;
	__u32 spaces;
};

static int put(struct walk *walk, unsigned int nr, struct libvmem_error *error)
{
	int ret = 0;

	for (unsigned int i = 0; i < nr && !ret; i++) {
		const struct vmem_record *record = &walk->records[i];

		if (!makes_sense(record, walk->spaces))
			return error_set(error, LIBVMEM_OTHER_VERSION,
					 STEP_WALK_SPACES, 0, OTHER_MODULE,
					 "cannot make sense of record %llu",
					 walk->told);
		walk->told++;
		walk->spaces += record->type == VMEM_SPACE;
		if (walk->row)
			ret = walk->row(record, walk->priv);
	}
	return ret;
}

static int walk_all(struct libvmem *vm, const struct libvmem_roots *roots,
		    struct walk *walk, struct vmem_spaces_stats *stats,
		    struct libvmem_error *error)
{
	struct vmem_walk_spaces_args args = {
		.size = sizeof(args),
		.nr = RECORDS_A_CALL,
		.record_size = sizeof(walk->records[0]),
		.records = (uintptr_t)walk->records,
	};
	int ret;

	do {
		ret = walk_some(vm, roots, &args, error);
		if (!ret)
			ret = put(walk, args.out_nr, error);
	} while (!ret && args.out_more);
	if (stats)
		*stats = args.out_stats;
	if (ret)
		return ret;
	vm->walked = true;
	if (walk->spaces == roots->nr)
		return 0;
	return error_set(error, LIBVMEM_OTHER_VERSION, STEP_WALK_SPACES, 0,
			 OTHER_MODULE,
			 "the module told of %u spaces instead of %u",
			 walk->spaces, roots->nr);
}

int libvmem_walk_spaces(struct libvmem *vm, const struct libvmem_roots *roots,
			const struct libvmem_scope *scope,
			int (*row)(const struct vmem_record *record,
				   void *priv),
			void *priv, struct vmem_spaces_stats *stats,
			struct libvmem_error *error)
{
	struct walk walk = { .row = row, .priv = priv };
	int ret;

	if (stats)
		*stats = (struct vmem_spaces_stats){};
	if (vm->spaces_set)
		return error_set(error, LIBVMEM_BAD_ARGUMENT, STEP_ARGUMENT, 0,
				 "open the guest once more",
				 "the spaces were walked already");
	ret = check_spaces(roots, scope, error);
	if (ret)
		return ret;
	walk.records = new_room(RECORDS_A_CALL * sizeof(*walk.records));
	if (!walk.records)
		return error_memory(
			error,
			"the records: ask for fewer roots or a smaller range");
	ret = set_spaces(vm, roots, scope, error);
	if (!ret)
		ret = walk_all(vm, roots, &walk, stats, error);
	free(walk.records);
	return ret;
}
