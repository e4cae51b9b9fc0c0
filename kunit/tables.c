// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tables that the code under test may write to.
 */
#include <linux/errno.h>

#include "tables.h"

static struct tables *of_tables(struct vmem_tables *t)
{
	return container_of(t, struct tables, t);
}

static struct guest *guest_of(struct vmem_tables *t)
{
	return of_tables(t)->g->s->guest;
}

static bool fails(int *nth)
{
	return *nth && !--*nth;
}

static int alloc_table(struct vmem_tables *t, int level, u64 *table)
{
	struct tables *tb = of_tables(t);

	if (fails(&tb->fail_alloc))
		return tb->fail_with ?: -ENOMEM;
	KUNIT_EXPECT_GE(tb->g->test, level, 1);
	KUNIT_EXPECT_LE(tb->g->test, level, tb->g->s->mode->top);
	*table = level == tb->g->s->mode->top ? group_new_root(tb->g) :
						group_add_table(tb->g);
	tb->allocs++;
	return 0;
}

static bool is_frozen(const struct tables *tb, u64 table)
{
	int i;

	for (i = 0; i < tb->nr_frozen; i++) {
		if (tb->g->s->guest->pages[i].gpa == table)
			return true;
	}
	return false;
}

static int write_entry(struct vmem_tables *t, u64 *entry_gpa, int size, u64 raw)
{
	struct tables *tb = of_tables(t);
	u64 table = *entry_gpa & VMEM_PAGE_MASK, moved;

	if (fails(&tb->fail_write))
		return tb->fail_with ?: -EBADE;
	KUNIT_EXPECT_EQ(tb->g->test, size, tb->g->s->mode->entry_size);
	KUNIT_ASSERT_TRUE(tb->g->test, guest_has(guest_of(t), table));
	if (is_frozen(tb, table)) {
		moved = group_add_table(tb->g);
		guest_copy_page(guest_of(t), moved, table);
		*entry_gpa += moved - table;
		tb->moves++;
	}
	guest_write(guest_of(t), *entry_gpa, size, raw);
	tb->writes++;
	return 0;
}

static bool moves(struct vmem_tables *t, u64 table)
{
	return is_frozen(of_tables(t), table);
}

static int update_root(struct vmem_tables *t, const struct vmem_root *root,
		       u64 table)
{
	struct tables *tb = of_tables(t);
	u32 i;

	if (fails(&tb->fail_update))
		return tb->fail_with ?: -EBADE;
	KUNIT_EXPECT_NE(tb->g->test, root->table, table);
	for (i = 0; i < tb->g->nr_roots; i++) {
		if (root == &tb->g->roots[i])
			tb->g->regs[i].cr3 = table;
	}
	tb->updates++;
	return 0;
}

static const struct vmem_tables_ops fixed_ops = {
	.alloc_table = alloc_table,
	.write_entry = write_entry,
};

static const struct vmem_tables_ops movable_ops = {
	.alloc_table = alloc_table,
	.write_entry = write_entry,
	.moves = moves,
	.update_root = update_root,
};

static const void *pin(struct vmem_mem *mem, u64 gpa)
{
	struct vmem_mem *of =
		&guest_of(container_of(mem, struct vmem_tables, mem))->mem;

	return of->ops->pin(of, gpa);
}

static void unpin(struct vmem_mem *mem, u64 gpa, const void *page)
{
	struct vmem_mem *of =
		&guest_of(container_of(mem, struct vmem_tables, mem))->mem;

	of->ops->unpin(of, gpa, page);
}

static const struct vmem_mem_ops mem_ops = {
	.pin = pin,
	.unpin = unpin,
};

struct tables *tables_alloc(struct kunit *test, struct group *g, bool movable)
{
	struct tables *tb = kunit_kzalloc(test, sizeof(*tb), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, tb);
	tb->g = g;
	tb->was = guest_alloc(test);
	tb->t.mem.ops = &mem_ops;
	tb->t.ops = movable ? &movable_ops : &fixed_ops;
	tables_reset(tb);
	return tb;
}

void tables_forget(struct tables *tb)
{
	tb->allocs = 0;
	tb->writes = 0;
	tb->moves = 0;
	tb->updates = 0;
	tb->fail_alloc = 0;
	tb->fail_write = 0;
	tb->fail_update = 0;
	tb->fail_with = 0;
}

void tables_reset(struct tables *tb)
{
	/* Entries are written to pages that are pinned: no bouncing. */
	group_reset(tb->g, false);
	guest_reset(tb->was, false);
	tb->nr_frozen = 0;
	vmem_tables_destroy(&tb->t);
	tables_forget(tb);
}

void tables_freeze(struct tables *tb)
{
	guest_copy(tb->was, tb->g->s->guest);
	tb->nr_frozen = tb->was->nr_pages;
}

bool tables_kept(const struct tables *tb)
{
	return guest_extends(tb->g->s->guest, tb->was);
}
