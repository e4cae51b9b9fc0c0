// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest's memory as the core sees it
 */
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "guest_memory.h"

s64 read_phys(struct libvmem *vm, u64 gpa, void *buf, size_t len, u32 *status)
{
	struct vmem_read_phys_args args = { .size = sizeof(args) };
	u64 done = 0;
	int ret;

	do {
		args.gpa = gpa + done;
		args.len = len - done;
		args.buf = buf ? (uintptr_t)buf + done : 0;
		ret = ask(vm, VMEM_READ_PHYS, &args);
		if (ret)
			return ret;
		/* Neither further, nor an end: no module of ours answers so. */
		if (!args.out_len && args.out_status == VMEM_MAPPED)
			return -EINVAL;
		done += args.out_len;
	} while (done < len && args.out_status == VMEM_MAPPED);
	*status = args.out_status;
	return done;
}

static int read_page(struct libvmem *vm, u64 gpa, void *page)
{
	u32 status;
	s64 len = read_phys(vm, gpa, page, VMEM_PAGE_SIZE, &status);

	if (len < 0)
		return len;
	if (len == VMEM_PAGE_SIZE)
		return 0;
	return status == VMEM_UNBACKED ? -ENXIO : -EIO;
}

static const void *pin(struct vmem_mem *mem, u64 gpa)
{
	struct guest_memory *memory =
		container_of(mem, struct guest_memory, mem);
	void *page = kmalloc(VMEM_PAGE_SIZE, GFP_KERNEL);
	int ret;

	if (!page)
		return ERR_PTR(-ENOMEM);
	ret = read_page(memory->vm, gpa & VMEM_PAGE_MASK, page);
	if (!ret)
		return page;
	kfree(page);
	return ERR_PTR(ret);
}

/*
 * The core finds out whether a guest changes its tables by reading them once
 * more, but here it would read the same copy.
 */
static void unpin(struct vmem_mem *mem, u64 gpa, const void *page)
{
	struct guest_memory *memory =
		container_of(mem, struct guest_memory, mem);
	u8 now[VMEM_PAGE_SIZE];

	if (!memory->vm->image &&
	    (read_page(memory->vm, gpa & VMEM_PAGE_MASK, now) ||
	     memcmp(page, now, sizeof(now))))
		memory->changed = true;
	kfree(page);
}

/* Bytes from @gpa on, of @len, where there is no slot. */
static u64 no_slot(const struct guest_memory *memory, u64 gpa, u64 len)
{
	size_t low = 0, high = memory->nr_slots;
	u64 first;

	/* The first slot that ends above @gpa. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct slot *slot = &memory->slots[middle];

		if (slot->gpa + slot->len <= gpa)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == memory->nr_slots)
		return len;
	first = memory->slots[low].gpa;
	return first <= gpa ? 0 : min(first - gpa, len);
}

static int probe(struct vmem_mem *mem, u64 gpa, u64 len, u64 *same)
{
	struct guest_memory *memory =
		container_of(mem, struct guest_memory, mem);
	u32 status;
	s64 readable;

	*same = no_slot(memory, gpa, len) & VMEM_PAGE_MASK;
	if (*same)
		return -ENXIO;
	readable = read_phys(memory->vm, gpa, NULL, len, &status);
	if (readable < 0)
		return readable;
	*same = readable & VMEM_PAGE_MASK;
	if (*same)
		return 0;
	*same = VMEM_PAGE_SIZE;
	return status == VMEM_UNBACKED ? -ENXIO : -EIO;
}

static const struct vmem_mem_ops guest_memory_ops = {
	.pin = pin,
	.unpin = unpin,
	.probe = probe,
};

static int add_slot(const struct vmem_memslot *slot, void *priv)
{
	struct guest_memory *memory = priv;
	struct slot *slots = reallocarray(memory->slots, memory->nr_slots + 1,
					  sizeof(*slots));

	if (!slots)
		return LIBVMEM_NO_MEMORY;
	memory->slots = slots;
	slots[memory->nr_slots++] = (struct slot){ slot->gpa, slot->len };
	memory->size += slot->len;
	return 0;
}

/*
 * The device withholds the tables of a guest that encrypts them, but here pages are
 * read by address, as they are.
 */
static int check_readable(struct libvmem *vm, struct libvmem_error *error)
{
	struct vmem_info_args info;
	int ret = libvmem_info(vm, &info, error);

	if (ret || !(info.out_protection & VMEM_PROTECTION_ENCRYPTED))
		return ret;
	return error_of(error, STEP_READ_PHYS, EACCES, 0, NULL,
			"cannot read the guest's memory");
}

int guest_memory_init(struct guest_memory *memory, struct libvmem *vm,
		      struct libvmem_error *error)
{
	int ret = check_readable(vm, error);

	*memory = (struct guest_memory){
		.mem.ops = &guest_memory_ops,
		.mem.constant = vm->image,
		.vm = vm,
	};
	if (ret)
		return ret;
	ret = libvmem_memslots(vm, add_slot, memory, error);
	return ret > 0 ? error_memory(error, NULL) : ret;
}

void guest_memory_destroy(struct guest_memory *memory)
{
	free(memory->slots);
}
