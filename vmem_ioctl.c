// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/vmem. One open file is one session. Handlers take kernel copies of their
 * arguments; the table at the end says which handler serves which command.
 *
 * Locks: none here. What a session has is set once (see vmem/session.h). The walk
 * over its spaces is the exception: a call that finds another one in it gets
 * -EBUSY, so nobody waits while that one faults. The pages that a session keeps
 * have a lock of their own (see vmem/kept.h).
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/overflow.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <vmem/session.h>
#include <vmem/translate.h>

#define CREATE_TRACE_POINTS
#include <trace/events/vmem.h>

/* Bits of struct vmem_space_set's @busy. */
#define BUSY_WALK 0

struct vmem_totals vmem_totals;

static struct vmem_gmem *session_gmem(struct vmem_session *session)
{
	struct vmem_gmem *gmem = vmem_session_gmem(session);

	if (!gmem)
		return ERR_PTR(-ENOTCONN);
	if (!vmem_gmem_may_use(gmem))
		return ERR_PTR(-EPERM);
	return gmem;
}

/* Elements of caller's arrays carry their size, so that they can grow. */

static bool element_size_ok(u32 size, size_t first_version)
{
	return size >= first_version && size <= PAGE_SIZE;
}

static_assert(VMEM_TRANSLATION_BRIEF ==
	      offsetof(struct vmem_translation, out_trace));

/* What a caller knows of in its elements, and this kernel does not, is 0. */
static int clear_ends(void __user *dst, u32 element_size, u32 nr, size_t size)
{
	u32 i;

	for (i = 0; i < nr; i++, dst += element_size)
		if (clear_user(dst + size, element_size - size))
			return -EFAULT;
	return 0;
}

/* Word by word: for a few bytes each, a copy by string instructions is slow. */
static __always_inline int copy_elements(void __user *dst, u32 element_size,
					 u32 nr, const void *src, size_t size,
					 size_t known)
{
	u32 i;

	if (!user_write_access_begin(dst, (size_t)nr * element_size))
		return -EFAULT;
	for (i = 0; i < nr; i++, dst += element_size, src += size)
		unsafe_copy_to_user(dst, src, known, fault);
	user_write_access_end();
	return 0;

fault:
	user_write_access_end();
	return -EFAULT;
}

static int put_elements(u64 array, u64 index, u32 element_size, u32 nr,
			const void *src, size_t size)
{
	void __user *dst = u64_to_user_ptr(array + index * element_size);
	size_t known = min_t(size_t, element_size, size);
	int ret;

	/* No loop over words where the compiler knows how many they are. */
	if (known == VMEM_TRANSLATION_BRIEF)
		ret = copy_elements(dst, element_size, nr, src, size,
				    VMEM_TRANSLATION_BRIEF);
	else
		ret = copy_elements(dst, element_size, nr, src, size, known);
	if (ret || element_size == known)
		return ret;
	return clear_ends(dst, element_size, nr, known);
}

static int put_element(u64 array, u64 index, u32 element_size, const void *src,
		       size_t size)
{
	return put_elements(array, index, element_size, 1, src, size);
}

/* A limit met half-way is no failure: the caller comes back for the rest. */
static int settle(int ret, bool progress)
{
	if (ret == VMEM_WALK_STOP)
		return 0;
	return (ret == -ENOMEM || ret == -ENOSPC) && progress ? 0 : ret;
}

static int handle_info(struct vmem_session *session, void *data)
{
	struct vmem_gmem *gmem = vmem_session_gmem(session);
	struct vmem_info_args *args = data;

	args->out_api_version = VMEM_API_VERSION;
	args->out_source = gmem ? gmem->ops->source : VMEM_SOURCE_NONE;
	args->out_max_pinned = VMEM_MAX_PINNED;
	args->out_max_regions = VMEM_MAX_REGIONS;
	args->out_max_entries = VMEM_MAX_ENTRIES;
	args->out_nr_vcpus =
		gmem && gmem->ops->nr_vcpus ? gmem->ops->nr_vcpus(gmem) : 0;
	args->__reserved = 0;
	return 0;
}

static int session_attach(struct vmem_session *session, struct vmem_gmem *gmem)
{
	if (IS_ERR(gmem))
		return PTR_ERR(gmem);
	gmem->kept.session = session->id;
	if (cmpxchg_release(&session->gmem, NULL, gmem)) {
		vmem_gmem_release(gmem);
		return -EISCONN;
	}
	vmem_debugfs_add(session);
	return 0;
}

static int tell_attach(const struct vmem_session *session,
		       enum vmem_source source, pid_t owner, int ret)
{
	if (!ret)
		atomic64_inc(&vmem_totals.attached);
	if (ret == -EPERM)
		atomic64_inc(&vmem_totals.refused);
	trace_vmem_attach(session->id, source, owner, ret);
	return ret;
}

static int handle_attach_kvm(struct vmem_session *session, void *data)
{
	struct vmem_attach_kvm_args *args = data;
	pid_t owner = 0;
	int ret;

	if (args->__reserved)
		return -EOPNOTSUPP;
	ret = session_attach(session, vmem_gmem_from_kvm(args->vm_fd, &owner));
	return tell_attach(session, VMEM_SOURCE_KVM, owner, ret);
}

static struct vmem_region *
copy_regions(const struct vmem_attach_regions_args *args)
{
	void __user *src = u64_to_user_ptr(args->regions);
	struct vmem_region *regions;
	u32 i;
	int ret;

	regions = kvmalloc_array(args->nr, sizeof(*regions), VMEM_GFP);
	if (!regions)
		return ERR_PTR(-ENOMEM);

	for (i = 0; i < args->nr; i++) {
		ret = copy_struct_from_user(&regions[i], sizeof(*regions),
					    src + (size_t)i * args->region_size,
					    args->region_size);
		if (ret) {
			kvfree(regions);
			return ERR_PTR(ret);
		}
	}
	return regions;
}

static int handle_attach_regions(struct vmem_session *session, void *data)
{
	struct vmem_attach_regions_args *args = data;
	struct vmem_region *regions;
	int ret;

	if (!args->nr || args->nr > VMEM_MAX_REGIONS ||
	    !element_size_ok(args->region_size, sizeof(*regions)))
		return -EINVAL;

	regions = copy_regions(args);
	if (IS_ERR(regions))
		return PTR_ERR(regions);
	ret = session_attach(session,
			     vmem_gmem_from_regions(regions, args->nr));
	return tell_attach(session, VMEM_SOURCE_REGIONS, task_tgid_nr(current),
			   ret);
}

/* Slots are fetched a few at a time, so that none is held across a fault. */
static int handle_memslots(struct vmem_session *session, void *data)
{
	struct vmem_memslots_args *args = data;
	struct vmem_gmem *gmem = session_gmem(session);
	struct vmem_memslot slots[8];
	u32 i, n;

	if (IS_ERR(gmem))
		return PTR_ERR(gmem);
	if (args->__reserved)
		return -EOPNOTSUPP;
	if (!args->nr || !element_size_ok(args->slot_size, sizeof(*slots)))
		return -EINVAL;

	args->out_next_gpa = args->gpa;
	for (args->out_nr = 0; args->out_nr < args->nr; args->out_nr += n) {
		n = min_t(u32, args->nr - args->out_nr, ARRAY_SIZE(slots));
		n = gmem->ops->slots(gmem, args->out_next_gpa, slots, n);
		if (!n)
			break;
		for (i = 0; i < n; i++)
			if (put_element(args->slots, args->out_nr + i,
					args->slot_size, &slots[i],
					sizeof(*slots)))
				return -EFAULT;
		args->out_next_gpa = slots[n - 1].gpa + slots[n - 1].len;
	}
	return 0;
}

static int handle_vcpu(struct vmem_session *session, void *data)
{
	struct vmem_vcpu_args *args = data;
	struct vmem_gmem *gmem = session_gmem(session);

	if (IS_ERR(gmem))
		return PTR_ERR(gmem);
	if (!gmem->ops->vcpu)
		return -EINVAL;
	return gmem->ops->vcpu(gmem, args->index, &args->out_id,
			       &args->out_regs);
}

/* What the handlers that walk have in common: they pin pages meanwhile. */
static int with_pins(struct vmem_session *session,
		     int (*walk)(struct vmem_session *session,
				 struct vmem_mem *mem, void *data),
		     void *data)
{
	struct vmem_gmem *gmem = session_gmem(session);
	struct vmem_pins pins;
	int ret;

	if (IS_ERR(gmem))
		return PTR_ERR(gmem);
	ret = vmem_pins_begin(&pins, gmem);
	if (ret)
		return ret;
	ret = walk(session, &pins.mem, data);
	atomic64_inc(&session->calls);
	if (ret == -EINTR)
		atomic64_inc(&session->killed);
	vmem_pins_end(&pins);
	return ret;
}

/* Addresses that are fetched, and answers that are written, at once. */
#define TRANSLATE_AT_ONCE 64U

/**
 * struct translate_call - VMEM_TRANSLATE under way
 * @batch: the addresses at hand
 * @args: its arguments; @out_nr counts the answers that are written
 * @torn: how many of these were VMEM_TORN
 * @root: the space, if it is given by its registers
 * @vas: the addresses of the batch
 * @results: its answers
 */
struct translate_call {
	struct vmem_batch batch;
	struct vmem_translate_args *args;
	u32 torn;
	struct vmem_root root;
	u64 vas[TRANSLATE_AT_ONCE];
	struct vmem_translation results[TRANSLATE_AT_ONCE];
};

/*
 * Where these calls come from. What a cache has constructed is not cleared each
 * time that it is handed out, which takes longer than to translate an address.
 */
static struct kmem_cache *translate_cache;

static void construct_call(void *call)
{
	memset(call, 0, sizeof(struct translate_call));
}

static int get_vas(struct translate_call *call)
{
	const struct vmem_translate_args *args = call->args;
	const u64 __user *src =
		u64_to_user_ptr(args->vas + (u64)args->out_nr * sizeof(*src));
	u32 i, nr = min(args->nr - args->out_nr, TRANSLATE_AT_ONCE);
	/* No array: what checks bounds is not to be called between the two. */
	u64 *vas = call->vas;

	if (!user_read_access_begin(src, nr * sizeof(*src)))
		return -EFAULT;
	for (i = 0; i < nr; i++)
		unsafe_get_user(vas[i], &src[i], fault);
	user_read_access_end();
	call->batch.nr = nr;
	return 0;

fault:
	user_read_access_end();
	return -EFAULT;
}

static int put_translations(struct translate_call *call)
{
	struct vmem_translate_args *args = call->args;
	struct vmem_batch *batch = &call->batch;
	int ret = put_elements(args->results, args->out_nr, args->result_size,
			       batch->done, batch->results,
			       sizeof(*batch->results));

	if (ret)
		return ret;
	call->torn = batch->torn;
	args->out_nr += batch->done;
	batch->nr = 0;
	batch->done = 0;
	return 0;
}

static int refill_translate(struct vmem_batch *batch)
{
	struct translate_call *call =
		container_of(batch, struct translate_call, batch);

	return put_translations(call) ?: get_vas(call);
}

static int walk_translate(struct vmem_session *session, struct vmem_mem *mem,
			  void *data)
{
	struct translate_call *call = data;
	struct vmem_batch *batch = &call->batch;
	int ret, put;

	batch->mem = mem;
	batch->vas = call->vas;
	batch->results = call->results;
	batch->nr = 0;
	batch->done = 0;
	batch->torn = 0;
	batch->near = NULL;
	ret = get_vas(call);
	if (!ret)
		ret = vmem_translate_batch(batch);
	put = put_translations(call);
	atomic64_add(call->args->out_nr, &session->translations);
	if (call->torn)
		atomic64_add(call->torn, &session->torn);
	return settle(put ?: ret, call->args->out_nr);
}

/* The spaces with their owners, which are known once all was walked. */
static int finished_spaces(struct vmem_session *session, u32 index,
			   struct vmem_spaces **spaces)
{
	struct vmem_space_set *set = vmem_session_set(session);

	if (!set)
		return -ENODATA;
	if (index >= set->nr_roots)
		return -EINVAL;
	/* Pairs with smp_store_release() in handle_walk_spaces(). */
	if (!smp_load_acquire(&set->finished))
		return -EBUSY;
	*spaces = &set->walk;
	return 0;
}

/* The space that the addresses are in. */
static int translate_space(struct vmem_session *session,
			   struct translate_call *call)
{
	const struct vmem_translate_args *args = call->args;
	struct vmem_batch *batch = &call->batch;

	batch->root = &call->root;
	batch->spaces = NULL;
	batch->index = args->root;
	if (!(args->flags & VMEM_TRANSLATE_SPACES))
		return args->root ? -EINVAL :
				    vmem_root_init(&call->root, &args->regs);
	if (memchr_inv(&args->regs, 0, sizeof(args->regs)))
		return -EINVAL;
	return finished_spaces(session, args->root, &batch->spaces);
}

static void trace_translate(const struct vmem_session *session,
			    const struct translate_call *call, int ret)
{
	const struct vmem_batch *batch = &call->batch;
	const struct vmem_root *root =
		batch->spaces ? &batch->spaces->roots[batch->index] :
				&call->root;
	const struct vmem_walked walked = {
		.roots = 1,
		.space = root->table,
		.asked = call->args->nr,
		.given = call->args->out_nr,
		.more = call->args->out_nr < call->args->nr,
	};

	trace_vmem_walk(session->id, VMEM_TRANSLATE, &walked, ret);
}

static int handle_translate(struct vmem_session *session, void *data)
{
	struct vmem_translate_args *args = data;
	struct translate_call *call;
	int ret;

	if (!args->nr ||
	    !element_size_ok(args->result_size, VMEM_TRANSLATION_BRIEF))
		return -EINVAL;
	call = kmem_cache_alloc(translate_cache, VMEM_GFP);
	if (!call)
		return -ENOMEM;
	call->args = args;
	call->torn = 0;
	args->out_nr = 0;
	call->batch.brief = args->result_size <= VMEM_TRANSLATION_BRIEF;
	call->batch.refill = args->nr > TRANSLATE_AT_ONCE ? refill_translate :
							    NULL;
	ret = translate_space(session, call);
	if (!ret) {
		ret = with_pins(session, walk_translate, call);
		if (trace_vmem_walk_enabled())
			trace_translate(session, call, ret);
	}
	kmem_cache_free(translate_cache, call);
	return ret;
}

static int emit_mapping(const struct vmem_mapping *mapping, void *priv)
{
	struct vmem_map_range_args *args = priv;
	int ret;

	if (args->out_nr == args->nr)
		return VMEM_WALK_STOP;
	ret = put_element(args->mappings, args->out_nr, args->mapping_size,
			  mapping, sizeof(*mapping));
	if (!ret)
		args->out_nr++;
	return ret;
}

static int walk_map_range(struct vmem_session *session, struct vmem_mem *mem,
			  void *data)
{
	struct vmem_range *range = data;

	range->mem = mem;
	return vmem_virt_to_phys(range);
}

static void trace_map_range(const struct vmem_session *session,
			    const struct vmem_map_range_args *args,
			    const struct vmem_range *range, int ret)
{
	const struct vmem_walked walked = {
		.roots = 1,
		.space = range->root->table,
		.va = args->va,
		.asked = args->nr,
		.given = args->out_nr,
		.entries = VMEM_MAX_ENTRIES - range->budget,
		.more = args->out_more,
	};

	trace_vmem_walk(session->id, VMEM_MAP_RANGE, &walked, ret);
}

static int handle_map_range(struct vmem_session *session, void *data)
{
	struct vmem_map_range_args *args = data;
	struct vmem_root root;
	struct vmem_range range = {
		.root = &root,
		.va = args->va,
		.last_va = args->last_va,
		.budget = VMEM_MAX_ENTRIES,
		.emit = emit_mapping,
		.priv = args,
	};
	int ret;

	if (args->va > args->last_va)
		return -EOVERFLOW;
	if (!args->nr ||
	    !element_size_ok(args->mapping_size, sizeof(struct vmem_mapping)))
		return -EINVAL;
	ret = vmem_root_init(&root, &args->regs);
	if (ret)
		return ret;

	args->out_nr = 0;
	ret = with_pins(session, walk_map_range, &range);
	args->out_more = ret != 0;
	args->out_next_va = range.va;
	args->out_anomalies = range.anomalies;
	args->out_torn = range.torn;
	atomic64_add(range.torn, &session->torn);
	ret = settle(ret, range.va != args->va);
	if (trace_vmem_walk_enabled())
		trace_map_range(session, args, &range, ret);
	return ret;
}

static int sink_to_user(const void *src, size_t len, void *priv)
{
	struct vmem_read_args *args = priv;

	if (copy_to_user(u64_to_user_ptr(args->buf + args->out_len), src, len))
		return -EFAULT;
	args->out_len += len;
	return 0;
}

static int walk_read(struct vmem_session *session, struct vmem_mem *mem,
		     void *data)
{
	struct vmem_copy *copy = data;

	copy->mem = mem;
	return vmem_read(copy);
}

static void trace_read(const struct vmem_session *session,
		       const struct vmem_read_args *args,
		       const struct vmem_root *root, int ret)
{
	const struct vmem_walked walked = {
		.roots = 1,
		.space = root->table,
		.va = args->va,
		.asked = args->len,
		.given = args->out_len,
		.more = args->out_len < args->len &&
			args->out_status == VMEM_MAPPED,
	};

	trace_vmem_walk(session->id, VMEM_READ, &walked, ret);
}

static int handle_read(struct vmem_session *session, void *data)
{
	struct vmem_read_args *args = data;
	struct vmem_root root;
	struct vmem_copy copy = {
		.root = &root,
		.va = args->va,
		.sink = sink_to_user,
		.priv = args,
	};
	int ret;

	if (!args->len)
		return -EINVAL;
	if (check_add_overflow(args->va, args->len - 1, &copy.last_va))
		return -EOVERFLOW;
	ret = vmem_root_init(&root, &args->regs);
	if (ret)
		return ret;

	args->out_len = 0;
	ret = with_pins(session, walk_read, &copy);
	args->out_status = copy.status;
	args->out_level = copy.level;
	atomic64_add(args->out_len, &session->bytes_read);
	if (copy.status == VMEM_TORN)
		atomic64_inc(&session->torn);
	ret = settle(ret, args->out_len);
	if (trace_vmem_walk_enabled())
		trace_read(session, args, &root, ret);
	return ret;
}

static void space_set_free(struct vmem_space_set *set)
{
	if (!set)
		return;
	vmem_spaces_destroy(&set->walk);
	kvfree(set->scope.excluded);
	kvfree(set->roots);
	kfree(set);
}

static int copy_roots(struct vmem_space_set *set,
		      const struct vmem_set_spaces_args *args)
{
	const u64 __user *cr3 = u64_to_user_ptr(args->cr3);
	struct vmem_regs regs = args->regs;
	u32 i;
	int ret;

	set->roots =
		kvmalloc_array(args->nr_cr3, sizeof(*set->roots), VMEM_GFP);
	if (!set->roots)
		return -ENOMEM;
	set->nr_roots = args->nr_cr3;

	for (i = 0; i < args->nr_cr3; i++) {
		if (get_user(regs.cr3, &cr3[i]))
			return -EFAULT;
		ret = vmem_root_init(&set->roots[i], &regs);
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

static int copy_scope(struct vmem_space_set *set,
		      const struct vmem_set_spaces_args *args)
{
	size_t size = args->nr_excluded * sizeof(struct vmem_span);
	struct vmem_span *excluded = NULL;

	if (size) {
		excluded = kvmalloc(size, VMEM_GFP);
		if (!excluded)
			return -ENOMEM;
	}
	set->scope = (struct vmem_scope){
		.va = args->va,
		.last_va = args->last_va,
		.excluded = excluded,
		.nr_excluded = args->nr_excluded,
	};
	if (copy_from_user(excluded, u64_to_user_ptr(args->excluded), size))
		return -EFAULT;
	return spans_in_order(excluded, args->nr_excluded) ? 0 : -EINVAL;
}

static int handle_set_spaces(struct vmem_session *session, void *data)
{
	struct vmem_set_spaces_args *args = data;
	struct vmem_gmem *gmem = session_gmem(session);
	struct vmem_space_set *set;
	int ret;

	if (IS_ERR(gmem))
		return PTR_ERR(gmem);
	if (args->va > args->last_va)
		return -EOVERFLOW;
	if (!args->nr_cr3 || args->nr_cr3 > VMEM_MAX_ROOTS || args->regs.cr3 ||
	    args->nr_excluded > VMEM_MAX_EXCLUDED)
		return -EINVAL;

	set = kzalloc(sizeof(*set), VMEM_GFP);
	if (!set)
		return -ENOMEM;
	ret = copy_roots(set, args);
	if (ret)
		goto out_free_set;
	ret = copy_scope(set, args);
	if (ret)
		goto out_free_set;
	set->walk = vmem_spaces_of(set);

	ret = -EISCONN;
	if (cmpxchg_release(&session->set, NULL, set))
		goto out_free_set;
	return 0;

out_free_set:
	space_set_free(set);
	return ret;
}

/**
 * struct records_call - VMEM_WALK_SPACES under way
 * @session: the session, in whose walk the call is
 * @args: its arguments; @out_nr counts the records that are written
 */
struct records_call {
	struct vmem_session *session;
	struct vmem_walk_spaces_args *args;
};

static int emit_record(const struct vmem_record *record, void *priv)
{
	struct records_call *call = priv;
	struct vmem_walk_spaces_args *args = call->args;
	int ret;

	if (args->out_nr == args->nr)
		return VMEM_WALK_STOP;
	ret = put_element(args->records, args->out_nr, args->record_size,
			  record, sizeof(*record));
	if (ret)
		return ret;
	args->out_nr++;
	if (record->type == VMEM_ANOMALY && record->anomaly.status == VMEM_TORN)
		atomic64_inc(&call->session->torn);
	return 0;
}

static int walk_spaces(struct vmem_session *session, struct vmem_mem *mem,
		       void *data)
{
	return vmem_walk_va_spaces(&vmem_session_set(session)->walk, mem,
				   VMEM_MAX_ENTRIES, emit_record, data);
}

/* @begin: its cursor before the call, and what was found until then */
static void trace_walk_spaces(const struct vmem_session *session,
			      const struct vmem_walk_spaces_args *args,
			      const struct vmem_spaces *begin, int ret)
{
	const struct vmem_spaces_stats *stats = &args->out_stats;
	u32 root = min(begin->root, begin->nr_roots - 1);
	const struct vmem_walked walked = {
		.roots = begin->nr_roots,
		.space = begin->roots[root].table,
		.va = begin->va,
		.asked = args->nr,
		.given = args->out_nr,
		.tables = stats->tables - begin->stats.tables,
		.entries = stats->entries - begin->stats.entries,
		.more = args->out_more,
	};

	trace_vmem_walk(session->id, VMEM_WALK_SPACES, &walked, ret);
}

static int handle_walk_spaces(struct vmem_session *session, void *data)
{
	struct vmem_walk_spaces_args *args = data;
	struct records_call call = { .session = session, .args = args };
	struct vmem_gmem *gmem = session_gmem(session);
	struct vmem_space_set *set = vmem_session_set(session);
	struct vmem_spaces begin;
	bool progress;
	int ret;

	if (IS_ERR(gmem))
		return PTR_ERR(gmem);
	if (!set)
		return -ENODATA;
	if (!args->nr ||
	    !element_size_ok(args->record_size, sizeof(struct vmem_record)))
		return -EINVAL;
	if (test_and_set_bit_lock(BUSY_WALK, &set->busy))
		return -EBUSY;

	args->out_nr = 0;
	begin = set->walk;
	ret = with_pins(session, walk_spaces, &call);
	args->out_more = ret != 0;
	args->out_stats = set->walk.stats;
	/* What was found goes on behind the records that are written. */
	if (ret == -EFAULT && args->out_nr)
		ret = VMEM_WALK_STOP;
	progress = args->out_nr || set->walk.root != begin.root ||
		   set->walk.va != begin.va;
	if (set->walk.done) {
		/* Pairs with smp_load_acquire() in finished_spaces(). */
		smp_store_release(&set->finished, true);
	}
	clear_bit_unlock(BUSY_WALK, &set->busy);
	ret = settle(ret, progress);
	if (trace_vmem_walk_enabled())
		trace_walk_spaces(session, args, &begin, ret);
	return ret;
}

/* What every argument struct begins with. */
struct vmem_args_head {
	u32 size;
	u32 flags;
};

union vmem_args {
	struct vmem_args_head head;
	struct vmem_info_args info;
	struct vmem_attach_kvm_args attach_kvm;
	struct vmem_attach_regions_args attach_regions;
	struct vmem_memslots_args memslots;
	struct vmem_vcpu_args vcpu;
	struct vmem_translate_args translate;
	struct vmem_map_range_args map_range;
	struct vmem_read_args read;
	struct vmem_set_spaces_args set_spaces;
	struct vmem_walk_spaces_args walk_spaces;
};

/**
 * struct vmem_cmd - a command
 * @handle: serves it; gets a copy of its argument struct
 * @size: bytes of the argument struct as this kernel knows it
 * @min_size: bytes of the struct's first version
 * @flags: the flags that it takes
 * @answers: the struct is copied back if @handle returns 0. What has no answer
 *	does without, so that it cannot fail once it is done.
 */
struct vmem_cmd {
	int (*handle)(struct vmem_session *session, void *data);
	u32 size;
	u32 min_size;
	u32 flags;
	bool answers;
};

#define VMEM_CMD(cmd, fn, args, last, known_flags, has_answer)         \
	[_IOC_NR(cmd)] = {                                             \
		.handle = (fn),                                        \
		.size = sizeof(args) +                                 \
			BUILD_BUG_ON_ZERO(sizeof(args) % sizeof(u64)), \
		.min_size = offsetofend(args, last),                   \
		.flags = (known_flags),                                \
		.answers = (has_answer),                               \
	}

static const struct vmem_cmd vmem_cmds[] = {
	VMEM_CMD(VMEM_INFO, handle_info, struct vmem_info_args, __reserved, 0,
		 true),
	VMEM_CMD(VMEM_ATTACH_KVM, handle_attach_kvm,
		 struct vmem_attach_kvm_args, __reserved, 0, false),
	VMEM_CMD(VMEM_ATTACH_REGIONS, handle_attach_regions,
		 struct vmem_attach_regions_args, regions, 0, false),
	VMEM_CMD(VMEM_MEMSLOTS, handle_memslots, struct vmem_memslots_args,
		 out_next_gpa, 0, true),
	VMEM_CMD(VMEM_VCPU, handle_vcpu, struct vmem_vcpu_args, out_regs, 0,
		 true),
	VMEM_CMD(VMEM_TRANSLATE, handle_translate, struct vmem_translate_args,
		 root, VMEM_TRANSLATE_SPACES, true),
	VMEM_CMD(VMEM_MAP_RANGE, handle_map_range, struct vmem_map_range_args,
		 out_anomalies, 0, true),
	VMEM_CMD(VMEM_READ, handle_read, struct vmem_read_args, out_level, 0,
		 true),
	VMEM_CMD(VMEM_SET_SPACES, handle_set_spaces,
		 struct vmem_set_spaces_args, last_va, 0, false),
	VMEM_CMD(VMEM_WALK_SPACES, handle_walk_spaces,
		 struct vmem_walk_spaces_args, out_stats, 0, true),
};

static const struct vmem_cmd *find_cmd(unsigned int nr)
{
	if (_IOC_TYPE(nr) != VMEM_IOC_TYPE || _IOC_DIR(nr) != _IOC_NONE ||
	    _IOC_SIZE(nr) || _IOC_NR(nr) >= ARRAY_SIZE(vmem_cmds))
		return NULL;
	return &vmem_cmds[array_index_nospec(_IOC_NR(nr),
					     ARRAY_SIZE(vmem_cmds))];
}

/* Word by word, as with elements, if the caller's struct is the one we know. */
static int get_args(union vmem_args *args, const struct vmem_cmd *cmd,
		    const void __user *uargs, u32 size)
{
	const u64 __user *src = uargs;
	u64 *dst = (u64 *)args;
	u32 i;

	if (size != cmd->size)
		return copy_struct_from_user(args, cmd->size, uargs, size);
	if (!user_read_access_begin(src, size))
		return -EFAULT;
	for (i = 0; i < size / sizeof(*src); i++)
		unsafe_get_user(dst[i], &src[i], fault);
	user_read_access_end();
	return 0;

fault:
	user_read_access_end();
	return -EFAULT;
}

static long vmem_ioctl(struct file *file, unsigned int nr, unsigned long arg)
{
	const struct vmem_cmd *cmd = find_cmd(nr);
	void __user *uargs = (void __user *)arg;
	union vmem_args args;
	u32 size;
	int ret;

	if (!cmd)
		return -ENOTTY;
	if (get_user(size, (u32 __user *)uargs))
		return -EFAULT;
	if (size < cmd->min_size)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	ret = get_args(&args, cmd, uargs, size);
	if (ret)
		return ret;
	if (args.head.flags & ~cmd->flags)
		return -EOPNOTSUPP;

	ret = cmd->handle(file->private_data, &args);
	if (ret || !cmd->answers)
		return ret;
	return put_elements(arg, 0, min(size, cmd->size), 1, &args, cmd->size);
}

/* Another machine's memory is nothing that a locked-down kernel gives out. */
static int vmem_open(struct inode *inode, struct file *file)
{
	static atomic_t last_id = ATOMIC_INIT(0);
	struct vmem_session *session;
	int ret = security_locked_down(LOCKDOWN_KCORE);

	if (ret)
		return ret;
	session = kzalloc(sizeof(*session), VMEM_GFP);
	if (!session)
		return -ENOMEM;
	kref_init(&session->ref);
	session->id = atomic_inc_return(&last_id);
	atomic64_inc(&vmem_totals.open);
	file->private_data = session;
	return nonseekable_open(inode, file);
}

static void session_free(struct kref *ref)
{
	struct vmem_session *session =
		container_of(ref, struct vmem_session, ref);

	space_set_free(session->set);
	vmem_gmem_release(session->gmem);
	kfree(session);
}

void vmem_session_put(struct vmem_session *session)
{
	kref_put(&session->ref, session_free);
}

static int vmem_release(struct inode *inode, struct file *file)
{
	struct vmem_session *session = file->private_data;
	struct vmem_gmem *gmem = vmem_session_gmem(session);

	vmem_debugfs_remove(session);
	if (gmem)
		vmem_kept_close(&gmem->kept);
	vmem_session_put(session);
	atomic64_dec(&vmem_totals.open);
	return 0;
}

static const struct file_operations vmem_fops = {
	.owner = THIS_MODULE,
	.open = vmem_open,
	.release = vmem_release,
	.unlocked_ioctl = vmem_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = no_llseek,
};

static struct miscdevice vmem_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "vmem",
	.mode = 0600,
	.fops = &vmem_fops,
};

static int __init vmem_init(void)
{
	int ret = -ENOMEM;

	translate_cache = kmem_cache_create("vmem_translate",
					    sizeof(struct translate_call), 0,
					    SLAB_ACCOUNT, construct_call);
	if (!translate_cache)
		return ret;
	vmem_debugfs_init();
	ret = misc_register(&vmem_device);
	if (ret)
		goto out_debugfs_exit;
	pr_info("interface %u: 4-level and 2-level paging, of KVM VMs and region tables; %s\n",
		VMEM_API_VERSION,
		IS_ENABLED(CONFIG_SECURITY_LOCKDOWN_LSM) ?
			"closed by lockdown for confidentiality" :
			"this kernel has no lockdown");
	return 0;

out_debugfs_exit:
	vmem_debugfs_exit();
	kmem_cache_destroy(translate_cache);
	return ret;
}
module_init(vmem_init);

static void __exit vmem_exit(void)
{
	misc_deregister(&vmem_device);
	vmem_debugfs_exit();
	kmem_cache_destroy(translate_cache);
}
module_exit(vmem_exit);

MODULE_DESCRIPTION("Live guest page-table introspection");
MODULE_LICENSE("GPL");
