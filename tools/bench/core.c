// SPDX-License-Identifier: GPL-2.0-only
/*
 * The core's questions, with callbacks that only count
 */
#include <string.h>
#include <vmem/near.h>
#include <vmem/spaces.h>

#include "core.h"

static void must(int ret, const char *what)
{
	if (ret)
		die("%s failed: %s", what, strerror(-ret));
}

static struct vmem_translation results[MAX_BATCH];

static u64 translate_batch(struct vmem_batch *batch)
{
	u64 sum = 0;
	u32 i;

	must(vmem_translate_batch(batch), "vmem_translate_batch()");
	for (i = 0; i < batch->nr; i++)
		sum += results[i].out_gpa;
	return sum;
}

u64 core_translate(struct guest *guest, const struct vmem_root *root,
		   const u64 *vas, u32 nr, u32 batch, bool brief)
{
	struct vmem_near *near = vmem_near_alloc(&guest->mem, root);
	u64 sum = 0;
	u32 i;

	for (i = 0; i < nr; i += batch) {
		struct vmem_batch next = {
			.mem = &guest->mem,
			.root = root,
			.near = near,
			.brief = brief,
			.vas = vas + i,
			.results = results,
			.nr = nr - i < batch ? nr - i : batch,
		};

		sum += translate_batch(&next);
	}
	vmem_near_free(near);
	return sum;
}

u64 core_translate_singly(struct guest *guest, const struct vmem_root *root,
			  const u64 *vas, u32 nr)
{
	u64 sum = 0;
	u32 i;

	for (i = 0; i < nr; i++) {
		must(vmem_translate(&guest->mem, root, vas[i], results),
		     "vmem_translate()");
		sum += results->out_gpa;
	}
	return sum;
}

static int count_mapping(const struct vmem_mapping *mapping, void *priv)
{
	tally_row(priv, mapping->va, mapping->last_va, mapping->gpa,
		  mapping->perms);
	return 0;
}

void core_rows(struct guest *guest, const struct vmem_root *root,
	       struct tally *tally)
{
	struct vmem_range range = {
		.mem = &guest->mem,
		.root = root,
		.last_va = LAST_VA,
		.budget = NO_BUDGET,
		.emit = count_mapping,
		.priv = tally,
	};

	must(vmem_virt_to_phys(&range), "vmem_virt_to_phys()");
}

static int count_record(const struct vmem_record *record, void *priv)
{
	struct tally *tally = priv;

	if (record->type == VMEM_THIS_SPACE)
		count_mapping(&record->mapping, tally);
	else if (record->type == VMEM_ALIASING)
		tally->references++;
	return 0;
}

struct vmem_spaces_stats core_spaces(struct guest *guest,
				     const struct vmem_root *roots, u32 nr,
				     struct tally *tally)
{
	struct vmem_spaces spaces = {
		.roots = roots,
		.nr_roots = nr,
		.scope = { .last_va = LAST_VA },
	};

	must(vmem_walk_va_spaces(&spaces, &guest->mem, NO_BUDGET, count_record,
				 tally),
	     "vmem_walk_va_spaces()");
	vmem_spaces_destroy(&spaces);
	return spaces.stats;
}

void core_snapshot(struct guest *guest, const struct vmem_root *roots, u32 nr,
		   struct vmem_root *built, struct vmem_snapshot *snapshot)
{
	*snapshot = (struct vmem_snapshot){
		.rebuild = {
			.roots = roots,
			.nr_roots = nr,
			.scope = { .last_va = LAST_VA },
			.built = built,
		},
	};
	must(vmem_snapshot_make(snapshot, &guest->mem, NO_BUDGET),
	     "vmem_snapshot_make()");
}
