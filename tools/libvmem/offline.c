// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the device does for a guest that runs, done for an image of one: the
 * module's core answers, and this is what stands around it in vmem_ioctl.c.
 *
 * The callers are this library's functions. So there is no check of what they
 * cannot get wrong, but of all that comes from the user or the image.
 */
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <pthread.h>
#include <vmem/spaces.h>
#include <vmem/translate.h>

#include "image.h"
#include "vm.h"

/*
 * The limit of a call to the module. A walk that meets it goes on in another
 * call and reads the tables on its path once more, so that what it says it has
 * read is the same here only if the limit is.
 */
#define MAX_ENTRIES BIT(20)

/**
 * struct offline - a session on an image
 * @mem: its memory, as the core reads it
 * @image: the image
 * @roots: the spaces of VMEM_SET_SPACES; NULL until then
 * @excluded: what is excluded from them
 * @spaces: the walk over them
 */
struct offline {
	struct vmem_mem mem;
	const struct image *image;
	struct vmem_root *roots;
	struct vmem_span *excluded;
	struct vmem_spaces spaces;
};

/* A page that is not in the file as it is wanted is put together in a copy. */
static const void *copy_page(const struct image *image, u64 gpa)
{
	void *page = kmalloc(VMEM_PAGE_SIZE, GFP_KERNEL);

	if (!page)
		return ERR_PTR(-ENOMEM);
	if (image_compose(image, gpa, page))
		return page;
	kfree(page);
	return ERR_PTR(-ENXIO);
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

/* A limit met half-way is no failure: the caller comes back for the rest. */
static int settle(int ret, bool progress)
{
	if (ret == VMEM_WALK_STOP)
		return 0;
	return (ret == -ENOMEM || ret == -ENOSPC) && progress ? 0 : ret;
}

static int ask_info(struct offline *offline, void *data)
{
	struct vmem_info_args *args = data;

	args->out_api_version = VMEM_API_VERSION;
	args->out_source = VMEM_SOURCE_NONE;
	args->out_max_pinned = 0;
	args->out_max_regions = 0;
	args->out_max_entries = MAX_ENTRIES;
	args->out_nr_vcpus = offline->image->nr_vcpus;
	return 0;
}

/* Where a running guest's memory is in its VMM, an image's is in the file. */
static int ask_memslots(struct offline *offline, void *data)
{
	const struct image *image = offline->image;
	struct vmem_memslots_args *args = data;
	struct vmem_memslot *slots = (void *)(uintptr_t)args->slots;
	size_t i;

	args->out_nr = 0;
	args->out_next_gpa = args->gpa;
	for (i = 0; i < image->nr_segments && args->out_nr < args->nr; i++) {
		const struct image_segment *s = &image->segments[i];

		if (s->gpa + s->len <= args->gpa)
			continue;
		slots[args->out_nr++] = (struct vmem_memslot){
			.gpa = s->gpa,
			.len = s->len,
			.hva = s->offset,
			.id = i,
		};
		args->out_next_gpa = s->gpa + s->len;
	}
	return 0;
}

/* With CR3: that of a guest which does not run is not out of date. */
static int ask_vcpu(struct offline *offline, void *data)
{
	const struct image *image = offline->image;
	struct vmem_vcpu_args *args = data;

	if (args->index >= image->nr_vcpus)
		return -EINVAL;
	args->out_id = args->index;
	args->out_regs = image->vcpus[args->index];
	return 0;
}

static int finished_spaces(struct offline *offline, u32 index)
{
	if (!offline->roots)
		return -ENODATA;
	if (index >= offline->spaces.nr_roots)
		return -EINVAL;
	return offline->spaces.done ? 0 : -EBUSY;
}

static int ask_translate(struct offline *offline, void *data)
{
	struct vmem_translate_args *args = data;
	struct vmem_root root;
	struct vmem_batch batch = {
		.mem = &offline->mem,
		.root = &root,
		.index = args->root,
		.vas = (void *)(uintptr_t)args->vas,
		.results = (void *)(uintptr_t)args->results,
		.nr = args->nr,
	};
	int ret;

	if (args->flags & VMEM_TRANSLATE_SPACES) {
		batch.spaces = &offline->spaces;
		ret = finished_spaces(offline, args->root);
	} else {
		ret = vmem_root_init(&root, &args->regs);
	}
	if (ret)
		return ret;
	ret = vmem_translate_batch(&batch);
	args->out_nr = batch.done;
	return settle(ret, args->out_nr);
}

static int emit_mapping(const struct vmem_mapping *mapping, void *priv)
{
	struct vmem_map_range_args *args = priv;
	struct vmem_mapping *mappings = (void *)(uintptr_t)args->mappings;

	if (args->out_nr == args->nr)
		return VMEM_WALK_STOP;
	mappings[args->out_nr++] = *mapping;
	return 0;
}

static int ask_map_range(struct offline *offline, void *data)
{
	struct vmem_map_range_args *args = data;
	struct vmem_root root;
	struct vmem_range range = {
		.mem = &offline->mem,
		.root = &root,
		.va = args->va,
		.last_va = args->last_va,
		.budget = MAX_ENTRIES,
		.emit = emit_mapping,
		.priv = args,
	};
	int ret;

	if (args->va > args->last_va)
		return -EOVERFLOW;
	ret = vmem_root_init(&root, &args->regs);
	if (ret)
		return ret;

	args->out_nr = 0;
	ret = vmem_virt_to_phys(&range);
	args->out_more = ret != 0;
	args->out_next_va = range.va;
	args->out_anomalies = range.anomalies;
	args->out_torn = range.torn;
	return settle(ret, range.va != args->va);
}

static int sink(const void *src, size_t len, void *priv)
{
	struct vmem_read_args *args = priv;

	memcpy((void *)(uintptr_t)(args->buf + args->out_len), src, len);
	args->out_len += len;
	return 0;
}

static int ask_read(struct offline *offline, void *data)
{
	struct vmem_read_args *args = data;
	struct vmem_root root;
	struct vmem_copy copy = {
		.mem = &offline->mem,
		.root = &root,
		.va = args->va,
		.sink = sink,
		.priv = args,
	};
	int ret;

	if (check_add_overflow(args->va, args->len - 1, &copy.last_va))
		return -EOVERFLOW;
	ret = vmem_root_init(&root, &args->regs);
	if (ret)
		return ret;

	args->out_len = 0;
	ret = vmem_read(&copy);
	args->out_status = copy.status;
	args->out_level = copy.level;
	return settle(ret, args->out_len);
}

static int copy_roots(struct offline *offline,
		      const struct vmem_set_spaces_args *args)
{
	const u64 *cr3s = (void *)(uintptr_t)args->cr3;
	struct vmem_regs regs = args->regs;
	int ret = 0;
	u32 i;

	for (i = 0; i < args->nr_cr3 && !ret; i++) {
		regs.cr3 = cr3s[i];
		ret = vmem_root_init(&offline->roots[i], &regs);
	}
	return ret;
}

static int ask_set_spaces(struct offline *offline, void *data)
{
	struct vmem_set_spaces_args *args = data;
	const void *excluded = (void *)(uintptr_t)args->excluded;

	if (offline->roots)
		return -EISCONN;
	if (args->va > args->last_va)
		return -EOVERFLOW;
	offline->roots =
		kvcalloc(args->nr_cr3, sizeof(*offline->roots), GFP_KERNEL);
	offline->excluded = kvcalloc(args->nr_excluded + 1,
				     sizeof(*offline->excluded), GFP_KERNEL);
	if (!offline->roots || !offline->excluded)
		return -ENOMEM;

	if (args->nr_excluded)
		memcpy(offline->excluded, excluded,
		       args->nr_excluded * sizeof(*offline->excluded));
	offline->spaces = (struct vmem_spaces){
		.roots = offline->roots,
		.nr_roots = args->nr_cr3,
		.scope = {
			.va = args->va,
			.last_va = args->last_va,
			.excluded = offline->excluded,
			.nr_excluded = args->nr_excluded,
		},
		.va = args->va,
	};
	return copy_roots(offline, args);
}

static int emit_record(const struct vmem_record *record, void *priv)
{
	struct vmem_walk_spaces_args *args = priv;
	struct vmem_record *records = (void *)(uintptr_t)args->records;

	if (args->out_nr == args->nr)
		return VMEM_WALK_STOP;
	records[args->out_nr++] = *record;
	return 0;
}

static int ask_walk_spaces(struct offline *offline, void *data)
{
	struct vmem_walk_spaces_args *args = data;
	struct vmem_spaces *spaces = &offline->spaces;
	u32 root = spaces->root;
	u64 va = spaces->va;
	int ret;

	if (!offline->roots)
		return -ENODATA;

	args->out_nr = 0;
	ret = vmem_walk_va_spaces(spaces, &offline->mem, MAX_ENTRIES,
				  emit_record, args);
	args->out_more = ret != 0;
	args->out_stats = spaces->stats;
	return settle(ret,
		      args->out_nr || spaces->root != root || spaces->va != va);
}

/* As far as the memory reaches: a page is readable as a whole or not at all. */
static int ask_read_phys(struct offline *offline, void *data)
{
	struct vmem_read_phys_args *args = data;
	u64 last;

	if (check_add_overflow(args->gpa, args->len - 1, &last))
		return -EOVERFLOW;
	args->out_status = VMEM_MAPPED;
	args->out_len = 0;
	while (args->out_len < args->len) {
		u64 gpa = args->gpa + args->out_len;
		size_t len = min_t(u64, args->len - args->out_len,
				   VMEM_PAGE_SIZE - (gpa & ~VMEM_PAGE_MASK));
		const void *page = offline_pin(&offline->mem, gpa);

		if (page == ERR_PTR(-ENXIO)) {
			args->out_status = VMEM_UNBACKED;
			break;
		}
		if (IS_ERR(page))
			return settle(PTR_ERR(page), args->out_len);
		if (args->buf)
			memcpy((void *)(uintptr_t)(args->buf + args->out_len),
			       page + (gpa & ~VMEM_PAGE_MASK), len);
		offline_unpin(&offline->mem, gpa, page);
		args->out_len += len;
	}
	return 0;
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

/* Its caches are for all handles, so they are made once and stay. */
static pthread_once_t core_once = PTHREAD_ONCE_INIT;
static bool core_ready;

static void init_core(void)
{
	core_ready = !vmem_core_init();
}

int offline_open(struct offline **offline, const struct image *image,
		 struct libvmem_error *error)
{
	struct offline *new = kzalloc(sizeof(*new), GFP_KERNEL);

	*offline = new;
	pthread_once(&core_once, init_core);
	if (!new || !core_ready)
		return error_memory(error, NULL);
	new->mem.ops = &offline_ops;
	new->image = image;
	return 0;
}

void offline_close(struct offline *offline)
{
	if (!offline)
		return;
	vmem_spaces_destroy(&offline->spaces);
	kvfree(offline->roots);
	kvfree(offline->excluded);
	kfree(offline);
}
