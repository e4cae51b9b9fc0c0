// SPDX-License-Identifier: GPL-2.0-only
/*
 * The records of a walk over many spaces, and the leaves that they expand to
 *
 * Records come by rising root and address, and a reference comes after all
 * records of the table that it refers to. So one pass, which keeps a sum of
 * leaves beside each record, also counts the leaves behind tables that hold
 * references themselves.
 */
#include <stdio.h>
#include <stdlib.h>

#include "vmemctl.h"

/*
 * Initial and largest number of records; docs/limits.md has their memory. A hostile
 * guest can make 512 of each page of its memory.
 */
#define FIRST_ROOM 8192
#define MAX_RECORDS (8u << 20)

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

size_t walked_find(const struct walked *walked, size_t first, size_t end,
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
	size_t i = walked_find(walked, space->first, space->end, va);
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

/* Leaves that a record expands to, once those before it are counted. */
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

/* False if memory is short. */
static bool index_records(struct walked *walked)
{
	__u64 sum = 0;

	walked->before = calloc(walked->nr + 1, sizeof(*walked->before));
	walked->spaces = calloc(walked->roots->nr, sizeof(*walked->spaces));
	if (!walked->before || !walked->spaces)
		return false;
	for (size_t i = 0; i < walked->nr; i++) {
		const struct vmem_record *record = &walked->records[i];
		struct walked_space *space = &walked->spaces[record->root];

		if (record->type == VMEM_SPACE)
			space->first = i;
		/* A reference to its own space does not count itself. */
		space->end = i;
		sum = add_saturated(sum, count_leaves(walked, record));
		walked->before[i + 1] = sum;
		space->end = i + 1;
	}
	return true;
}

/**
 * struct adding - argument of add_record()
 * @walked: destination of the records
 * @grown: see walk_spaces()
 * @priv: for @grown
 * @full: reason why no record can be added any more, or NULL
 */
struct adding {
	struct walked *walked;
	int (*grown)(const struct walked *walked, void *priv);
	void *priv;
	const char *full;
};

#define NO_MEMORY "out of memory for the rows"

static bool make_room(struct adding *adding)
{
	struct walked *walked = adding->walked;
	size_t room = 2 * walked->room ?: FIRST_ROOM;
	void *new;

	if (walked->nr < walked->room)
		return true;
	if (walked->nr == MAX_RECORDS) {
		adding->full = "the spaces have more rows than can be kept";
		return false;
	}
	new = reallocarray(walked->records, room, sizeof(*walked->records));
	if (!new) {
		adding->full = NO_MEMORY;
		return false;
	}
	walked->records = new;
	walked->room = room;
	return true;
}

static int add_record(const struct vmem_record *record, void *priv)
{
	struct adding *adding = priv;
	struct walked *walked = adding->walked;

	if (!make_room(adding))
		return 1;
	walked->records[walked->nr++] = *record;
	return adding->grown ? adding->grown(walked, adding->priv) : 0;
}

/* Returns the code. */
static int refuse_more(const struct adding *adding, struct libvmem_error *error)
{
	*error = (struct libvmem_error){ .code = LIBVMEM_NO_MEMORY };
	snprintf(error->message, sizeof(error->message), "%s, after %zu",
		 adding->full, adding->walked->nr);
	snprintf(error->advice, sizeof(error->advice),
		 "give fewer roots, or a range");
	return -error->code;
}

int walk_spaces(struct libvmem *vm, const struct libvmem_roots *roots,
		const struct libvmem_scope *scope,
		int (*grown)(const struct walked *walked, void *priv),
		void *priv, struct walked *walked, struct libvmem_error *error)
{
	struct adding adding = { walked, grown, priv, NULL };
	int ret;

	*walked = (struct walked){ .roots = roots };
	ret = libvmem_walk_spaces(vm, roots, scope, add_record, &adding,
				  &walked->stats, error);
	if (!ret && !index_records(walked))
		adding.full = NO_MEMORY;
	return adding.full ? refuse_more(&adding, error) : ret;
}

void walked_free(struct walked *walked)
{
	free(walked->records);
	free(walked->before);
	free(walked->spaces);
}

/* All references of a run agree in these. */
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
	/* Any two references are at a regular distance. */
	if (run->nr == 2 && run->step != records->reference.len)
		run->nr = 1;
	return run->nr;
}

bool is_wider(const struct vmem_reference *reference)
{
	return reference->perms & ~reference->owner_perms;
}
