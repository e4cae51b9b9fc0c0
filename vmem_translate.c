// SPDX-License-Identifier: GPL-2.0-only
/*
 * Questions about addresses of one space: what they translate to, and what is in
 * memory there. Whatever the walk finds at an address is its answer.
 */
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include <vmem/near.h>
#include <vmem/spaces.h>
#include <vmem/straight.h>
#include <vmem/translate.h>

/**
 * struct translate - addresses of a batch that one walk translates
 * @walk: the walk
 * @batch: the batch; its @done says which address is next
 * @near: the tables at hand, or NULL
 * @straight: after a leaf the straight way is tried for the next one
 */
struct translate {
	struct vmem_walk walk;
	struct vmem_batch *batch;
	struct vmem_near *near;
	bool straight;
};

/* Are the owners of tables known at an address? */
static bool has_owners(const struct vmem_batch *batch, u64 va)
{
	return batch->spaces && vmem_scope_holds(&batch->spaces->scope, va, va);
}

static void translate_as(struct vmem_batch *batch,
			 const struct vmem_visit *leaf)
{
	struct vmem_translation *result = &batch->results[batch->done];

	result->out_gpa = leaf->gpa;
	result->out_page_size = leaf->page_size;
	result->out_status = VMEM_MAPPED;
	result->out_perms = leaf->perms;
	result->out_level = leaf->level;
	result->out_nr_trace = leaf->nr_path;
	if (batch->brief)
		return;

	memcpy(result->out_trace, leaf->path, sizeof(result->out_trace));
	result->out_owner_space = 0;
	result->out_owner_va = 0;
	result->out_referenced = leaf->referenced;
	result->out_owner_root = 0;
	if (leaf->referenced) {
		result->out_owner_root = leaf->owner;
		result->out_owner_space =
			batch->spaces->roots[leaf->owner].table;
		result->out_owner_va = leaf->owner_va + (leaf->va - leaf->base);
	}
}

/* Addresses between which others are let run. */
#define ADDRESSES_AT_ONCE 1024

/* The address at hand is done: go to the next, if there is one. */
static int next_address(struct vmem_batch *batch)
{
	if (++batch->done == batch->nr)
		return VMEM_WALK_STOP;
	return batch->done % ADDRESSES_AT_ONCE ? 0 : vmem_breathe();
}

/* Translate what is near, and go to the next address that takes a walk. */
static int translate_next(struct translate *translate)
{
	struct vmem_batch *batch = translate->batch;
	const struct vmem_visit *leaf;
	int ret = next_address(batch);

	while (!ret && translate->near) {
		leaf = vmem_near_find(translate->near, batch->vas[batch->done]);
		if (!leaf)
			break;
		translate_as(batch, leaf);
		ret = next_address(batch);
	}
	if (ret)
		return ret;
	translate->walk.va = batch->vas[batch->done];
	if (batch->spaces &&
	    has_owners(batch, translate->walk.va) != !!translate->walk.seen)
		return VMEM_WALK_STOP;
	return VMEM_WALK_MOVE;
}

static int translate_leaf(const struct vmem_visit *visit, void *priv)
{
	struct translate *translate = priv;

	int ret;

	translate_as(translate->batch, visit);
	if (translate->near)
		vmem_near_note(translate->near, visit);
	ret = translate_next(translate);
	return ret == VMEM_WALK_MOVE && translate->straight ? VMEM_WALK_STOP :
							      ret;
}

static int translate_nowhere(const struct vmem_visit *visit, void *priv)
{
	struct translate *translate = priv;
	struct vmem_batch *batch = translate->batch;
	struct vmem_translation *result = &batch->results[batch->done];

	memset(result, 0, sizeof(*result));
	result->out_status = visit->status;
	result->out_level = visit->level;
	result->out_nr_trace = visit->nr_path;
	memcpy(result->out_trace, visit->path,
	       visit->nr_path * sizeof(*visit->path));
	batch->torn += visit->status == VMEM_TORN;
	return translate_next(translate);
}

static int follow_reference(const struct vmem_visit *visit, void *priv)
{
	return VMEM_WALK_FOLLOW;
}

static const struct vmem_walk_ops translate_ops = {
	.reference = follow_reference,
	.leaf = translate_leaf,
	.hole = translate_nowhere,
	.anomaly = translate_nowhere,
	.steady = true,
};

/* A root given twice owns what it owned the first time. */
static u32 first_index(struct vmem_spaces *spaces, u32 index)
{
	const struct vmem_root *root = &spaces->roots[index];
	const struct vmem_owner *first;

	first = vmem_seen_find(&spaces->seen, root->table, root->mode.top,
			       VMEM_WINDOW_ALL);
	return first ? first->root : index;
}

/* As in the walk, one dead root is no reason to give up on others. */
static void translate_dead_root(struct vmem_batch *batch, int why)
{
	struct vmem_translation *result = &batch->results[batch->done++];

	memset(result, 0, sizeof(*result));
	result->out_status = vmem_pin_status(why);
	result->out_level = batch->spaces->roots[batch->index].mode.top;
}

/*
 * The straight way knows no owners, and near tables are nearer. With pages in hand it
 * takes a quarter less than the walk for each of many addresses; without, the walk
 * saves the look-up of those that the address before had on its path as well.
 */
static bool is_straight(const struct vmem_batch *batch,
			const struct vmem_near *near)
{
	return !batch->spaces && !near && (batch->nr == 1 || batch->mem->hand);
}

/* Translate what the next walk can do of the batch. */
static int translate_some(struct vmem_batch *batch, struct vmem_near *near,
			  u32 attempts)
{
	struct vmem_spaces *spaces = batch->spaces;
	u64 va = batch->vas[batch->done];
	struct translate translate __uninitialized;
	struct vmem_walk *walk = &translate.walk;
	int ret;

	/* As in make_visit(). */
	translate.batch = batch;
	translate.near = near;
	translate.straight = is_straight(batch, near);
	walk->mem = batch->mem;
	walk->roots = batch->root;
	walk->root = 0;
	walk->scope.va = 0;
	walk->scope.last_va = U64_MAX;
	walk->scope.nr_excluded = 0;
	walk->seen = NULL;
	walk->claim = false;
	walk->va = va;
	walk->budget = U64_MAX;
	walk->tables = 0;
	walk->attempts = attempts;
	walk->ops = &translate_ops;
	walk->priv = &translate;
	if (spaces) {
		walk->roots = spaces->roots;
		walk->root = first_index(spaces, batch->index);
	}
	walk->nr_roots = walk->root + 1;
	if (has_owners(batch, va)) {
		walk->scope = spaces->scope;
		walk->seen = &spaces->seen;
	}
	ret = vmem_walk(walk);
	if (ret == VMEM_WALK_STOP)
		return 0;
	if (!spaces || !vmem_pin_status(ret))
		return ret;
	translate_dead_root(batch, ret);
	return 0;
}

/* The address at hand: VMEM_WALK_STOP if the straight way leads to its leaf. */
static int translate_straight(struct vmem_batch *batch, u32 *attempts)
{
	struct vmem_trace path[VMEM_MAX_LEVELS] __uninitialized;
	struct vmem_visit leaf __uninitialized;
	int ret = vmem_straight(batch->mem, batch->root,
				batch->vas[batch->done], &leaf, path, attempts);

	if (ret == VMEM_WALK_STOP)
		translate_as(batch, &leaf);
	return ret;
}

static bool is_everything(const struct vmem_scope *scope)
{
	return !scope->va && scope->last_va == U64_MAX && !scope->nr_excluded;
}

int vmem_translate_batch(struct vmem_batch *batch)
{
	const struct vmem_spaces *spaces = batch->spaces;
	struct vmem_near *near = batch->near;
	u32 attempts;
	int ret = 0;

	/* Some addresses have owners, and others none. */
	if (spaces && !is_everything(&spaces->scope))
		near = NULL;
	while (!ret && batch->done < batch->nr) {
		attempts = 0;
		if (is_straight(batch, near))
			ret = translate_straight(batch, &attempts);
		if (ret == VMEM_WALK_STOP)
			ret = next_address(batch);
		else if (!ret)
			ret = translate_some(batch, near, attempts);
		if (ret == VMEM_WALK_STOP)
			return 0;
	}
	return ret;
}

int vmem_translate(struct vmem_mem *mem, const struct vmem_root *root, u64 va,
		   struct vmem_translation *result)
{
	struct vmem_batch one = {
		.mem = mem,
		.root = root,
		.vas = &va,
		.results = result,
		.nr = 1,
	};

	return vmem_translate_batch(&one);
}

int vmem_translate_shared(struct vmem_mem *mem, struct vmem_spaces *spaces,
			  u32 index, u64 va, struct vmem_translation *result)
{
	struct vmem_batch one = {
		.mem = mem,
		.spaces = spaces,
		.index = index,
		.vas = &va,
		.results = result,
		.nr = 1,
	};

	return vmem_translate_batch(&one);
}

/* vmem_read(): leaves, page by page, up to the first thing that is not one */

static int read_piece(struct vmem_copy *copy, u64 gpa, size_t len)
{
	struct vmem_mem *mem = copy->mem;
	const void *page = vmem_pin(mem, gpa);
	int ret;

	if (IS_ERR(page))
		return PTR_ERR(page);
	ret = copy->sink(page + (gpa & ~VMEM_PAGE_MASK), len, copy->priv);
	vmem_unpin(mem, gpa, page);
	return ret;
}

static int read_stop(const struct vmem_visit *visit, void *priv)
{
	struct vmem_copy *copy = priv;

	copy->status = visit->status;
	copy->level = visit->level;
	return VMEM_WALK_STOP;
}

static int read_leaf(const struct vmem_visit *visit, void *priv)
{
	struct vmem_copy *copy = priv;
	u64 left = visit->last_va - visit->va + 1;
	u64 gpa = visit->gpa;
	size_t len;
	int ret;

	for (; left; left -= len, gpa += len) {
		len = min_t(u64, left,
			    VMEM_PAGE_SIZE - (gpa & ~VMEM_PAGE_MASK));
		ret = read_piece(copy, gpa, len);
		if (vmem_pin_status(ret)) {
			read_stop(visit, copy);
			copy->status = vmem_pin_status(ret);
			return VMEM_WALK_STOP;
		}
		if (ret)
			return ret;
		copy->va += len;
		ret = vmem_breathe();
		if (ret)
			return ret;
	}
	return 0;
}

static const struct vmem_walk_ops read_ops = {
	.leaf = read_leaf,
	.hole = read_stop,
	.anomaly = read_stop,
	.steady = true,
};

int vmem_read(struct vmem_copy *copy)
{
	struct vmem_walk walk = {
		.mem = copy->mem,
		.roots = copy->root,
		.nr_roots = 1,
		.scope = { .va = copy->va, .last_va = copy->last_va },
		.va = copy->va,
		/* The range bounds it: a read ends at the first hole. */
		.budget = U64_MAX,
		.ops = &read_ops,
		.priv = copy,
	};

	copy->status = VMEM_MAPPED;
	copy->level = VMEM_LEVEL_NONE;
	return vmem_walk(&walk);
}
