// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages in hand: guest pages that a call pins again and again
 */
#include <linux/err.h>
#include <vmem/mem.h>

static void put_down(struct vmem_mem *mem, struct vmem_held *held)
{
	mem->ops->unpin(mem, held->gfn << VMEM_PAGE_SHIFT, held->page);
	held->page = NULL;
}

const void *vmem_pin_new(struct vmem_mem *mem, u64 gpa)
{
	struct vmem_held *held = vmem_held_at(mem, gpa);
	const void *page = mem->ops->pin(mem, gpa);

	if (IS_ERR(page) || held->users)
		return page;
	if (held->page)
		put_down(mem, held);
	held->page = page;
	held->gfn = gpa >> VMEM_PAGE_SHIFT;
	held->users = 1;
	return page;
}

void vmem_hand_empty(struct vmem_mem *mem)
{
	u32 i;

	for (i = 0; mem->hand && i < VMEM_NR_HELD; i++)
		if (mem->hand[i].page)
			put_down(mem, &mem->hand[i]);
}
