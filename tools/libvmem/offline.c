// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the device does for a guest that runs, done for an image of one: the
 * same answers (vmem_answer.c), over the memory in the file
 */
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <vmem/answer.h>
#include <vmem/translate.h>

#include "image.h"

/* Addresses that are translated together. */
#define AT_ONCE 64

/**
 * struct offline - a session on an image
 * @mem: its memory, as the core reads it
 * @image: the image
 * @spaces: the walk over the spaces of VMEM_SET_SPACES; no roots until then
 * @vas: addresses on their way in
 * @results: answers on their way out
 */
struct offline {
	struct vmem_mem mem;
	const struct image *image;
	struct vmem_spaces spaces;
	u64 vas[AT_ONCE];
	struct vmem_translation results[AT_ONCE];
};

/* A page that is not in the file as it is wanted is put together in a copy. */
static const void *copy_page(const struct image *image, u64 gpa)
{
	void *page = kmalloc(VMEM_PAGE_SIZE, GFP_KERNEL);
	int ret;

	if (!page)
		return ERR_PTR(-ENOMEM);
	ret = image_compose(image, gpa, page);
	if (!ret)
		return page;
	kfree(page);
	return ERR_PTR(ret);
}

static const void *offline_pin(struct vmem_mem *mem, u64 gpa)
{
	struct offline *offline = container_of(mem, struct offline, mem);
	u64 start = gpa & VMEM_PAGE_MASK;
	const void *page = image_page(offline->image, start);

	return page ?: copy_page(offline->image, start);
}

static void offline_unpin(struct vmem_mem *mem, u64 gpa, const void *page)
{
	struct offline *offline = container_of(mem, struct offline, mem);

	if (page != image_page(offline->image, gpa & VMEM_PAGE_MASK))
		kfree(page);
}

static const struct vmem_mem_ops offline_ops = {
	.pin = offline_pin,
	.unpin = offline_unpin,
};

static int ask_info(struct offline *offline, void *data)
{
	struct vmem_info_args *args = data;

	args->out_api_version = VMEM_API_VERSION;
	args->out_source = VMEM_SOURCE_NONE;
	args->out_max_regions = 0;
	args->out_max_entries = VMEM_MAX_ENTRIES;
	args->out_nr_vcpus = offline->image->nr_vcpus;
	return 0;
}

/* Where a running guest's memory is in its VMM, an image's is in the file. */
static int ask_memslots(struct offline *offline, void *data)
{
	const struct image *image = offline->image;
	struct vmem_memslots_args *args = data;
	const struct image_segment *end = image->segments + image->nr_segments;
	const struct image_segment *s = image_find(image, args->gpa);
	struct vmem_memslot *slots = (void *)(uintptr_t)args->slots;

	args->out_next_gpa = args->gpa;
	for (args->out_nr = 0; args->out_nr < args->nr && s < end; s++) {
		slots[args->out_nr++] = (struct vmem_memslot){
			.gpa = s->gpa,
			.len = s->len,
			.hva = s->offset,
			.id = s - image->segments,
		};
		args->out_next_gpa = s->gpa + s->len;
	}
	args->out_more = s < end;
	return 0;
}

/*
 * With CR3: that of a guest which does not run is not out of date. The notes of a
 * snapshot may say nothing of RIP, which is 0 then.
 */
static int ask_vcpu(struct offline *offline, void *data)
{
	const struct image *image = offline->image;
	struct vmem_vcpu_args *args = data;

	if (args->index >= image->nr_vcpus)
		return -EINVAL;
	args->out_id = args->index;
	args->out_regs = image->vcpus[args->index];
	args->out_known = VMEM_KNOWN_EXIT;
	args->out_rip = image->cpus[args->index].rip;
	args->out_state = args->out_rip ? 0 : VMEM_VCPU_NO_RIP;
	return 0;
}

/* The caller's memory is this process's. */
static int get_words(u64 *dst, u64 src, u32 nr)
{
	memcpy(dst, (const void *)(uintptr_t)src, nr * sizeof(*dst));
	return 0;
}

static int put(u64 dst, const void *src, size_t len)
{
	memcpy((void *)(uintptr_t)dst, src, len);
	return 0;
}

/* Elements are of one version here. */
static int put_elements(u64 dst, u32 room, const void *src, u32 size, u32 nr)
{
	return put(dst, src, (size_t)nr * size);
}

static const struct vmem_answer_ops offline_answer_ops = {
	.get_words = get_words,
	.put = put,
	.put_elements = put_elements,
};

static struct vmem_answer answer_of(struct offline *offline)
{
	return (struct vmem_answer){
		.ops = &offline_answer_ops,
		.mem = &offline->mem,
		.spaces = &offline->spaces,
		.vas = offline->vas,
		.results = offline->results,
		.nr_at_once = AT_ONCE,
	};
}

static int ask_translate(struct offline *offline, void *args)
{
	struct vmem_answer answer = answer_of(offline);

	return vmem_answer_translate(&answer, args);
}

static int ask_map_range(struct offline *offline, void *args)
{
	struct vmem_answer answer = answer_of(offline);

	return vmem_answer_map_range(&answer, args);
}

static int ask_read(struct offline *offline, void *args)
{
	struct vmem_answer answer = answer_of(offline);

	return vmem_answer_read(&answer, args);
}

static int ask_read_phys(struct offline *offline, void *args)
{
	struct vmem_answer answer = answer_of(offline);

	return vmem_answer_read_phys(&answer, args);
}

static int ask_set_spaces(struct offline *offline, void *args)
{
	int ret = vmem_answer_set_spaces(&offline_answer_ops, args,
					 &offline->spaces);

	/* They are freed already. */
	if (ret)
		offline->spaces = (struct vmem_spaces){};
	return ret;
}

static int ask_walk_spaces(struct offline *offline, void *args)
{
	struct vmem_answer answer = answer_of(offline);

	return vmem_answer_walk_spaces(&answer, args);
}

static int (*const asks[])(struct offline *offline, void *args) = {
	[_IOC_NR(VMEM_INFO)] = ask_info,
	[_IOC_NR(VMEM_MEMSLOTS)] = ask_memslots,
	[_IOC_NR(VMEM_VCPU)] = ask_vcpu,
	[_IOC_NR(VMEM_TRANSLATE)] = ask_translate,
	[_IOC_NR(VMEM_MAP_RANGE)] = ask_map_range,
	[_IOC_NR(VMEM_READ)] = ask_read,
	[_IOC_NR(VMEM_READ_PHYS)] = ask_read_phys,
	[_IOC_NR(VMEM_SET_SPACES)] = ask_set_spaces,
	[_IOC_NR(VMEM_WALK_SPACES)] = ask_walk_spaces,
};

int offline_ask(struct offline *offline, unsigned int cmd, void *args)
{
	unsigned int nr = _IOC_NR(cmd);

	if (nr >= ARRAY_SIZE(asks) || !asks[nr])
		return -ENOTTY;
	return asks[nr](offline, args);
}

int offline_open(struct offline **offline, const struct image *image,
		 struct libvmem_error *error)
{
	struct offline *new = kzalloc(sizeof(*new), GFP_KERNEL);

	*offline = new;
	if (!new)
		return error_memory(error, NULL);
	new->mem.ops = &offline_ops;
	new->mem.constant = true;
	new->image = image;
	return 0;
}

void offline_close(struct offline *offline)
{
	if (!offline)
		return;
	vmem_answer_free_spaces(&offline->spaces);
	kfree(offline);
}
