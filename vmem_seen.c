// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tables that a walk has seen: a hash table with open addressing, which
 * allocates when it doubles and not for each table.
 *
 * The guest chooses the keys. The multipliers of the hash are random, so that it
 * cannot choose ones that collide.
 */
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <vmem/mem.h>
#include <vmem/seen.h>

#define FIRST_SLOTS 256U

/* Tables are aligned to 32 bytes at least, which leaves room for the level. */
static u64 table_at_level(u64 table, int level)
{
	return table | level;
}

/* The slot that holds the table, or the free one where it belongs. */
static struct vmem_owner *find_slot(const struct vmem_seen *seen, u64 table,
				    u64 window)
{
	u32 mask = seen->nr_slots - 1;
	u64 hash = table * seen->salt[0] + window * seen->salt[1];
	u32 i = (hash >> 32) & mask;
	struct vmem_owner *slot = &seen->slots[i];

	while (slot->table &&
	       (slot->table != table || slot->window != window)) {
		i = (i + 1) & mask;
		slot = &seen->slots[i];
	}
	return slot;
}

const struct vmem_owner *vmem_seen_find(const struct vmem_seen *seen, u64 table,
					int level, u64 window)
{
	const struct vmem_owner *slot;

	if (!seen->nr_slots)
		return NULL;
	slot = find_slot(seen, table_at_level(table, level), window);
	return slot->table ? slot : NULL;
}

static int grow(struct vmem_seen *seen)
{
	struct vmem_seen bigger = {
		.nr_slots = seen->nr_slots ? seen->nr_slots * 2 : FIRST_SLOTS,
		.nr = seen->nr,
		.salt = { get_random_u64() | 1, get_random_u64() | 1 },
	};
	struct vmem_owner *old;
	u32 i;

	bigger.slots =
		kvcalloc(bigger.nr_slots, sizeof(*bigger.slots), VMEM_GFP);
	if (!bigger.slots)
		return -ENOMEM;

	for (i = 0; i < seen->nr_slots; i++) {
		old = &seen->slots[i];
		if (old->table)
			*find_slot(&bigger, old->table, old->window) = *old;
		cond_resched();
	}
	vmem_seen_destroy(seen);
	*seen = bigger;
	return 0;
}

int vmem_seen_reserve(struct vmem_seen *seen)
{
	if (seen->nr >= VMEM_MAX_TABLES)
		return -ENOSPC;
	return seen->nr < seen->nr_slots / 2 ? 0 : grow(seen);
}

void vmem_seen_add(struct vmem_seen *seen, int level,
		   const struct vmem_owner *owner)
{
	u64 table = table_at_level(owner->table, level);
	struct vmem_owner *slot = find_slot(seen, table, owner->window);

	*slot = *owner;
	slot->table = table;
	seen->nr++;
}

void vmem_seen_destroy(struct vmem_seen *seen)
{
	kvfree(seen->slots);
	*seen = (struct vmem_seen){};
}
