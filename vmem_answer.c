// SPDX-License-Identifier: GPL-2.0-only
/*
 * Answers in pieces: each function here checks the arguments, walks, and copies
 * out what the walk finds until the caller's array is full. A limit that is met
 * half-way ends the call with success and a cursor.
 */
#include <linux/bug.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <vmem/answer.h>
#include <vmem/near.h>
#include <vmem/translate.h>

static_assert(VMEM_TRANSLATION_BRIEF ==
		      offsetof(struct vmem_translation, out_trace),
	      "a brief answer ends where the path begins");

/*
 * A limit met half-way is no failure: the caller comes back for the rest. A root
 * that cannot be read is the same error as one without memory.
 */
static int settle(int ret, bool progress)
{
	switch (ret) {
	case VMEM_WALK_STOP:
		return 0;
	case -EIO:
		return -ENXIO;
	case -ENOMEM:
	case -ENOSPC:
	case -ESRCH:
	case -ERESTARTSYS:
		return progress ? 0 : ret;
	default:
		return ret;
	}
}

/* VMEM_TRANSLATE */

/**
 * struct translating - VMEM_TRANSLATE under way
 * @batch: the addresses at hand
 * @answer: the question
 * @args: its arguments; @out_nr counts the answers that were copied out
 * @root: the space, if its registers were given
 */
struct translating {
	struct vmem_batch batch;
	struct vmem_answer *answer;
	struct vmem_translate_args *args;
	struct vmem_root root;
};

/* Wait for the caller's memory, with no page of the guest's in use. */
static int wait_between(struct translating *t, u64 at, size_t len, bool write)
{
	vmem_near_forget(t->batch.near);
	return t->answer->ops->wait(t->answer, at, len, write);
}

static int get_addresses(struct translating *t)
{
	const struct vmem_translate_args *args = t->args;
	struct vmem_answer *answer = t->answer;
	u64 src = args->vas + (u64)args->out_nr * sizeof(*answer->vas);
	u32 nr = min(args->nr - args->out_nr, answer->nr_at_once);
	int ret;

	t->batch.nr = nr;
	do {
		ret = answer->ops->get_words(answer->vas, src, nr);
		if (ret != -EAGAIN)
			return ret;
		ret = wait_between(t, src, nr * sizeof(*answer->vas), false);
	} while (!ret);
	return ret;
}

static int put_translations(struct translating *t)
{
	struct vmem_translate_args *args = t->args;
	const struct vmem_answer_ops *ops = t->answer->ops;
	struct vmem_batch *batch = &t->batch;
	u64 dst = args->results + (u64)args->out_nr * args->result_size;
	size_t len;
	int ret;

	if (!batch->done)
		return 0;
	do {
		ret = ops->put_elements(dst, args->result_size, batch->results,
					sizeof(*batch->results), batch->done);
		if (ret != -EAGAIN)
			break;
		len = (size_t)batch->done * args->result_size;
		ret = wait_between(t, dst, len, true);
	} while (!ret);
	if (ret)
		return ret;
	t->answer->walked.torn = batch->torn;
	args->out_nr += batch->done;
	batch->nr = 0;
	batch->done = 0;
	return 0;
}

/* Tables are kept at hand from one piece to the next. */
static int translate_pieces(struct translating *t)
{
	struct vmem_translate_args *args = t->args;
	struct vmem_batch *batch = &t->batch;
	int ret, put;

	batch->mem = t->answer->mem;
	batch->brief = args->result_size <= VMEM_TRANSLATION_BRIEF;
	batch->vas = t->answer->vas;
	batch->results = t->answer->results;
	if (args->nr > t->answer->nr_at_once)
		batch->near = vmem_near_alloc(batch->mem, batch->root);
	do {
		ret = get_addresses(t);
		if (!ret)
			ret = vmem_translate_batch(batch);
		put = put_translations(t);
		if (put)
			ret = put;
	} while (!ret && args->out_nr < args->nr && !(ret = vmem_breathe()));
	vmem_near_free(batch->near);
	return settle(ret, args->out_nr);
}

/* The space that the addresses are in. */
static int translate_in(struct translating *t)
{
	const struct vmem_translate_args *args = t->args;
	struct vmem_spaces *spaces = t->answer->spaces;
	int ret;

	if (!(args->flags & VMEM_TRANSLATE_SPACES)) {
		if (args->root)
			return -EINVAL;
		ret = vmem_root_init(&t->root, &args->regs);
		t->batch.root = &t->root;
		return ret;
	}
	if (memchr_inv(&args->regs, 0, sizeof(args->regs)) ||
	    args->root >= spaces->nr_roots)
		return -EINVAL;
	t->batch.spaces = spaces;
	t->batch.index = args->root;
	t->batch.root = &spaces->roots[args->root];
	return 0;
}

int vmem_answer_translate(struct vmem_answer *answer,
			  struct vmem_translate_args *args)
{
	struct translating t = { .answer = answer, .args = args };
	struct vmem_walked *walked = &answer->walked;
	int ret;

	if (!args->nr ||
	    !vmem_element_size_ok(args->result_size, VMEM_TRANSLATION_BRIEF))
		return -EINVAL;
	ret = translate_in(&t);
	if (ret)
		return ret;
	args->out_nr = 0;
	walked->roots = 1;
	walked->space = t.batch.root->table;
	walked->asked = args->nr;
	ret = translate_pieces(&t);
	walked->given = args->out_nr;
	walked->more = args->out_nr < args->nr;
	return ret;
}

/* Arrays of the caller's that the walk fills */

/**
 * struct filling - an array of the caller's, partly written
 * @answer: the question
 * @array: the caller's address of it
 * @element_size: size of its elements
 * @nr: elements that it has room for
 * @done: elements written
 * @blocked: the walk was stopped since the next element is not there
 */
struct filling {
	struct vmem_answer *answer;
	u64 array;
	u32 element_size;
	u32 nr;
	u32 done;
	bool blocked;
};

/* The caller's address of the next element. */
static u64 next_element(const struct filling *filling)
{
	return filling->array + (u64)filling->done * filling->element_size;
}

static int fill_with(struct filling *filling, const void *element, u32 size)
{
	const struct vmem_answer_ops *ops = filling->answer->ops;
	u64 dst = next_element(filling);
	int ret;

	if (filling->done == filling->nr)
		return VMEM_WALK_STOP;
	ret = ops->put_elements(dst, filling->element_size, element, size, 1);
	if (ret == -EAGAIN) {
		filling->blocked = true;
		return VMEM_WALK_STOP;
	}
	if (!ret)
		filling->done++;
	return ret;
}

/*
 * If the walk was stopped since the caller's memory is not there, wait for it.
 * True if the walk is to go on then.
 */
static bool wait_to_fill(struct filling *filling, int *ret)
{
	struct vmem_answer *answer = filling->answer;

	if (!filling->blocked)
		return false;
	filling->blocked = false;
	*ret = answer->ops->wait(answer, next_element(filling),
				 filling->element_size, true);
	return !*ret;
}

/* VMEM_MAP_RANGE */

static int fill_with_mapping(const struct vmem_mapping *mapping, void *priv)
{
	return fill_with(priv, mapping, sizeof(*mapping));
}

int vmem_answer_map_range(struct vmem_answer *answer,
			  struct vmem_map_range_args *args)
{
	struct filling filling = {
		.answer = answer,
		.array = args->mappings,
		.element_size = args->mapping_size,
		.nr = args->nr,
	};
	struct vmem_root root;
	struct vmem_range range = {
		.mem = answer->mem,
		.root = &root,
		.va = args->va,
		.last_va = args->last_va,
		.budget = VMEM_MAX_ENTRIES,
		.attributes = args->flags & VMEM_MAP_ATTRIBUTES,
		.emit = fill_with_mapping,
		.priv = &filling,
	};
	int ret;

	if (args->va > args->last_va)
		return -EOVERFLOW;
	if (!args->nr ||
	    !vmem_element_size_ok(args->mapping_size,
				  offsetof(struct vmem_mapping, attributes)))
		return -EINVAL;
	ret = vmem_root_init(&root, &args->regs);
	if (ret)
		return ret;

	do {
		/* What was read for a row that could not be put is read again. */
		if (!filling.done)
			range.budget = VMEM_MAX_ENTRIES;
		ret = vmem_virt_to_phys(&range);
	} while (wait_to_fill(&filling, &ret));
	args->out_nr = filling.done;
	args->out_more = ret != 0;
	args->out_next_va = range.va;
	args->out_anomalies = range.anomalies;
	args->out_torn = range.torn;
	answer->walked = (struct vmem_walked){
		.roots = 1,
		.space = root.table,
		.va = args->va,
		.asked = args->nr,
		.given = args->out_nr,
		.entries = VMEM_MAX_ENTRIES - range.budget,
		.torn = range.torn,
		.more = args->out_more,
	};
	return settle(ret, range.va != args->va);
}

/* VMEM_READ */

/**
 * struct reading - bytes on their way to the caller
 * @answer: the question
 * @buf: the caller's address for them
 * @done: bytes copied
 */
struct reading {
	struct vmem_answer *answer;
	u64 buf;
	u64 done;
};

static int put_bytes(const void *src, size_t len, void *priv)
{
	struct reading *reading = priv;
	int ret = reading->answer->ops->put(reading->buf + reading->done, src,
					    len);

	if (!ret)
		reading->done += len;
	return ret;
}

/*
 * If the caller's memory is not there (-EAGAIN), wait for it, a page of it at a
 * time: as much as is copied at once.
 */
static bool wait_to_read(const struct reading *reading, u64 len, int *ret)
{
	struct vmem_answer *answer = reading->answer;
	u64 at = reading->buf + reading->done;

	if (*ret != -EAGAIN)
		return false;
	len = min_t(u64, len - reading->done, VMEM_PAGE_SIZE);
	*ret = answer->ops->wait(answer, at, len, true);
	return !*ret;
}

int vmem_answer_read(struct vmem_answer *answer, struct vmem_read_args *args)
{
	struct reading reading = { .answer = answer, .buf = args->buf };
	struct vmem_root root;
	struct vmem_copy copy = {
		.mem = answer->mem,
		.root = &root,
		.va = args->va,
		.sink = put_bytes,
		.priv = &reading,
	};
	int ret;

	if (!args->len)
		return -EINVAL;
	if (check_add_overflow(args->va, args->len - 1, &copy.last_va))
		return -EOVERFLOW;
	ret = vmem_root_init(&root, &args->regs);
	if (ret)
		return ret;

	do
		ret = vmem_read(&copy);
	while (wait_to_read(&reading, args->len, &ret));
	args->out_len = reading.done;
	args->out_status = copy.status;
	args->out_level = copy.level;
	answer->walked = (struct vmem_walked){
		.roots = 1,
		.space = root.table,
		.va = args->va,
		.asked = args->len,
		.given = args->out_len,
		.torn = copy.status == VMEM_TORN,
		.more = args->out_len < args->len &&
			args->out_status == VMEM_MAPPED,
	};
	return settle(ret, args->out_len);
}

/* VMEM_READ_PHYS */

static int read_phys_page(struct reading *reading, u64 gpa, size_t len)
{
	struct vmem_mem *mem = reading->answer->mem;
	const void *page = vmem_pin(mem, gpa);
	int ret = 0;

	if (IS_ERR(page))
		return PTR_ERR(page);
	if (reading->buf)
		ret = put_bytes(page + (gpa & ~VMEM_PAGE_MASK), len, reading);
	else
		reading->done += len;
	vmem_unpin(mem, gpa, page);
	return ret ?: vmem_breathe();
}

static int read_phys(struct reading *reading, u64 gpa, u64 len)
{
	int ret = 0;

	while (!ret && reading->done < len) {
		u64 at = gpa + reading->done;
		u64 left = VMEM_PAGE_SIZE - (at & ~VMEM_PAGE_MASK);

		ret = read_phys_page(reading, at,
				     min(left, len - reading->done));
	}
	return ret;
}

int vmem_answer_read_phys(struct vmem_answer *answer,
			  struct vmem_read_phys_args *args)
{
	struct reading reading = { .answer = answer, .buf = args->buf };
	u64 last;
	int ret;

	if (!args->len)
		return -EINVAL;
	if (args->__reserved)
		return -EOPNOTSUPP;
	if (check_add_overflow(args->gpa, args->len - 1, &last))
		return -EOVERFLOW;

	do
		ret = read_phys(&reading, args->gpa, args->len);
	while (wait_to_read(&reading, args->len, &ret));
	args->out_len = reading.done;
	args->out_status = vmem_pin_status(ret);
	if (args->out_status != VMEM_MAPPED)
		ret = 0;
	answer->walked = (struct vmem_walked){
		.va = args->gpa,
		.asked = args->len,
		.given = args->out_len,
		.more = args->out_len < args->len &&
			args->out_status == VMEM_MAPPED,
	};
	return settle(ret, args->out_len);
}

/* VMEM_SET_SPACES */

/* Values of CR3 that are copied in at once. */
#define NR_CR3 64U

static int get_roots(struct vmem_root *roots, const struct vmem_answer_ops *ops,
		     const struct vmem_set_spaces_args *args)
{
	struct vmem_regs regs = args->regs;
	u64 cr3[NR_CR3];
	u32 i, nr;
	int ret;

	for (i = 0; i < args->nr_cr3; i++) {
		if (i % NR_CR3 == 0) {
			nr = min(args->nr_cr3 - i, NR_CR3);
			ret = ops->get_words(cr3, args->cr3 + i * sizeof(*cr3),
					     nr);
			if (ret)
				return ret;
		}
		regs.cr3 = cr3[i % NR_CR3];
		ret = vmem_root_init(&roots[i], &regs);
		if (ret)
			return ret;
	}
	return 0;
}

static bool spans_in_order(const struct vmem_span *spans, u32 nr)
{
	u32 i;

	for (i = 0; i < nr; i++)
		if (spans[i].va > spans[i].last_va ||
		    (i && spans[i].va <= spans[i - 1].last_va))
			return false;
	return true;
}

static int get_excluded(struct vmem_span *excluded,
			const struct vmem_answer_ops *ops,
			const struct vmem_set_spaces_args *args)
{
	u32 words = args->nr_excluded * (sizeof(*excluded) / sizeof(u64));
	int ret = ops->get_words((u64 *)excluded, args->excluded, words);

	if (ret)
		return ret;
	return spans_in_order(excluded, args->nr_excluded) ? 0 : -EINVAL;
}

int vmem_answer_set_spaces(const struct vmem_answer_ops *ops,
			   const struct vmem_set_spaces_args *args,
			   struct vmem_spaces *spaces)
{
	struct vmem_span *excluded = NULL;
	struct vmem_root *roots;
	int ret;

	if (args->va > args->last_va)
		return -EOVERFLOW;
	if (!args->nr_cr3 || args->nr_cr3 > VMEM_MAX_ROOTS || args->regs.cr3 ||
	    args->nr_excluded > VMEM_MAX_EXCLUDED)
		return -EINVAL;

	roots = kvmalloc_array(args->nr_cr3, sizeof(*roots), VMEM_GFP);
	if (args->nr_excluded)
		excluded = kvmalloc_array(args->nr_excluded, sizeof(*excluded),
					  VMEM_GFP);
	*spaces = (struct vmem_spaces){
		.roots = roots,
		.nr_roots = args->nr_cr3,
		.scope = {
			.va = args->va,
			.last_va = args->last_va,
			.excluded = excluded,
			.nr_excluded = args->nr_excluded,
		},
		.va = args->va,
	};
	ret = -ENOMEM;
	if (!roots || (args->nr_excluded && !excluded))
		goto out_free;
	ret = get_roots(roots, ops, args);
	if (!ret && args->nr_excluded)
		ret = get_excluded(excluded, ops, args);
	if (!ret)
		return 0;

out_free:
	vmem_answer_free_spaces(spaces);
	return ret;
}

void vmem_answer_free_spaces(struct vmem_spaces *spaces)
{
	vmem_spaces_destroy(spaces);
	kvfree(spaces->scope.excluded);
	kvfree(spaces->roots);
}

/* VMEM_WALK_SPACES */

static int fill_with_record(const struct vmem_record *record, void *priv)
{
	struct filling *filling = priv;
	int ret = fill_with(filling, record, sizeof(*record));

	if (!ret && record->type == VMEM_ANOMALY &&
	    record->anomaly.status == VMEM_TORN)
		filling->answer->walked.torn++;
	return ret;
}

int vmem_answer_walk_spaces(struct vmem_answer *answer,
			    struct vmem_walk_spaces_args *args)
{
	struct filling filling = {
		.answer = answer,
		.array = args->records,
		.element_size = args->record_size,
		.nr = args->nr,
	};
	struct vmem_walked *walked = &answer->walked;
	struct vmem_spaces *spaces = answer->spaces;
	const struct vmem_spaces_stats before = spaces->stats;
	u32 root = spaces->root;
	u64 va = spaces->va;
	int ret;

	if (!args->nr || !vmem_element_size_ok(args->record_size,
					       sizeof(struct vmem_record)))
		return -EINVAL;

	walked->roots = spaces->nr_roots;
	walked->space = spaces->roots[root].table;
	walked->va = va;
	walked->asked = args->nr;
	do {
		u64 read = spaces->stats.entries - before.entries;

		ret = vmem_walk_va_spaces(spaces, answer->mem,
					  VMEM_MAX_ENTRIES - read,
					  fill_with_record, &filling);
	} while (wait_to_fill(&filling, &ret));
	args->out_nr = filling.done;
	args->out_more = ret != 0;
	args->out_stats = spaces->stats;
	walked->given = args->out_nr;
	walked->tables = spaces->stats.tables - before.tables;
	walked->entries = spaces->stats.entries - before.entries;
	walked->more = args->out_more;
	/* What was found goes on behind the records that are written. */
	if (ret == -EFAULT && args->out_nr)
		ret = VMEM_WALK_STOP;
	return settle(ret,
		      args->out_nr || spaces->root != root || spaces->va != va);
}
