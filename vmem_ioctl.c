// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/vmem. One open file is one session: a guest's memory, which is set once.
 * Handlers take kernel copies of their arguments; the table at the end says
 * which handler serves which command.
 *
 * Locks: none. session->gmem goes from NULL to a gmem that never changes, by
 * cmpxchg_release() and smp_load_acquire(), and is released with the file,
 * which the VFS does after the last ioctl on it has returned.
 */
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
#include <vmem/gmem.h>
#include <vmem/translate.h>

/* Entries that one call reads before it lets the caller come back for more. */
#define VMEM_MAX_ENTRIES BIT(20)

/**
 * struct vmem_session - one open of the device
 * @gmem: the guest's memory; NULL until attached
 */
struct vmem_session {
	struct vmem_gmem *gmem;
};

static struct vmem_gmem *session_gmem_or_null(struct vmem_session *session)
{
	/* Pairs with cmpxchg_release() in session_attach(). */
	return smp_load_acquire(&session->gmem);
}

static struct vmem_gmem *session_gmem(struct vmem_session *session)
{
	struct vmem_gmem *gmem = session_gmem_or_null(session);

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

static int put_element(u64 array, u64 index, u32 element_size, const void *src,
		       size_t size)
{
	void __user *dst = u64_to_user_ptr(array + index * element_size);
	size_t known = min_t(size_t, element_size, size);

	if (copy_to_user(dst, src, known) ||
	    clear_user(dst + known, element_size - known))
		return -EFAULT;
	return 0;
}

/* A limit met half-way is no failure: the caller comes back for the rest. */
static int settle(int ret, bool progress)
{
	return ret == -ENOMEM && progress ? 0 : ret;
}

static int handle_info(struct vmem_session *session, void *data)
{
	struct vmem_gmem *gmem = session_gmem_or_null(session);
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
	if (cmpxchg_release(&session->gmem, NULL, gmem)) {
		vmem_gmem_release(gmem);
		return -EISCONN;
	}
	return 0;
}

static int handle_attach_kvm(struct vmem_session *session, void *data)
{
	struct vmem_attach_kvm_args *args = data;

	if (args->__reserved)
		return -EOPNOTSUPP;
	return session_attach(session, vmem_gmem_from_kvm(args->vm_fd));
}

static struct vmem_region *
copy_regions(const struct vmem_attach_regions_args *args)
{
	void __user *src = u64_to_user_ptr(args->regions);
	struct vmem_region *regions;
	u32 i;
	int ret;

	regions =
		kvmalloc_array(args->nr, sizeof(*regions), GFP_KERNEL_ACCOUNT);
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

	if (!args->nr || args->nr > VMEM_MAX_REGIONS ||
	    !element_size_ok(args->region_size, sizeof(*regions)))
		return -EINVAL;

	regions = copy_regions(args);
	if (IS_ERR(regions))
		return PTR_ERR(regions);
	return session_attach(session,
			      vmem_gmem_from_regions(regions, args->nr));
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

/*
 * What the handlers that walk have in common: find the root, then pin pages
 * while @walk does the work.
 */
static int with_root(struct vmem_session *session, const struct vmem_regs *regs,
		     int (*walk)(struct vmem_mem *mem,
				 const struct vmem_root *root, void *data),
		     void *data)
{
	struct vmem_gmem *gmem = session_gmem(session);
	struct vmem_root root;
	struct vmem_pins pins;
	int ret;

	if (IS_ERR(gmem))
		return PTR_ERR(gmem);
	ret = vmem_root_init(&root, regs);
	if (ret)
		return ret;
	ret = vmem_pins_begin(&pins, gmem);
	if (ret)
		return ret;
	ret = walk(&pins.mem, &root, data);
	vmem_pins_end(&pins);
	return ret;
}

static int translate_one(struct vmem_mem *mem, const struct vmem_root *root,
			 const struct vmem_translate_args *args, u32 i)
{
	u64 __user *va = u64_to_user_ptr(args->vas + (u64)i * sizeof(*va));
	struct vmem_translation result;
	u64 kva;
	int ret;

	if (get_user(kva, va))
		return -EFAULT;
	ret = vmem_translate(mem, root, kva, &result);
	if (ret)
		return ret;
	return put_element(args->results, i, args->result_size, &result,
			   sizeof(result));
}

static int walk_translate(struct vmem_mem *mem, const struct vmem_root *root,
			  void *data)
{
	struct vmem_translate_args *args = data;
	int ret = 0;

	for (args->out_nr = 0; args->out_nr < args->nr; args->out_nr++) {
		ret = translate_one(mem, root, args, args->out_nr);
		if (ret)
			break;
	}
	return settle(ret, args->out_nr);
}

static int handle_translate(struct vmem_session *session, void *data)
{
	struct vmem_translate_args *args = data;

	if (args->__reserved)
		return -EOPNOTSUPP;
	if (!args->nr || !element_size_ok(args->result_size,
					  sizeof(struct vmem_translation)))
		return -EINVAL;
	return with_root(session, &args->regs, walk_translate, args);
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

static int walk_map_range(struct vmem_mem *mem, const struct vmem_root *root,
			  void *data)
{
	struct vmem_map_range_args *args = data;
	struct vmem_range range = {
		.mem = mem,
		.root = root,
		.va = args->va,
		.last_va = args->last_va,
		.budget = VMEM_MAX_ENTRIES,
		.emit = emit_mapping,
		.priv = args,
	};
	int ret;

	args->out_nr = 0;
	ret = vmem_virt_to_phys(&range);
	args->out_more = ret != 0;
	args->out_next_va = range.va;
	args->out_anomalies = range.anomalies;
	if (ret == VMEM_WALK_STOP)
		return 0;
	return settle(ret, range.va != args->va);
}

static int handle_map_range(struct vmem_session *session, void *data)
{
	struct vmem_map_range_args *args = data;

	if (args->va > args->last_va)
		return -EOVERFLOW;
	if (!args->nr ||
	    !element_size_ok(args->mapping_size, sizeof(struct vmem_mapping)))
		return -EINVAL;
	return with_root(session, &args->regs, walk_map_range, args);
}

static int sink_to_user(const void *src, size_t len, void *priv)
{
	struct vmem_read_args *args = priv;

	if (copy_to_user(u64_to_user_ptr(args->buf + args->out_len), src, len))
		return -EFAULT;
	args->out_len += len;
	return 0;
}

static int walk_read(struct vmem_mem *mem, const struct vmem_root *root,
		     void *data)
{
	struct vmem_read_args *args = data;
	struct vmem_copy copy = {
		.mem = mem,
		.root = root,
		.va = args->va,
		.last_va = args->va + (args->len - 1),
		.sink = sink_to_user,
		.priv = args,
	};
	int ret;

	args->out_len = 0;
	ret = vmem_read(&copy);
	args->out_status = copy.status;
	args->out_level = copy.level;
	return ret == VMEM_WALK_STOP ? 0 : settle(ret, args->out_len);
}

static int handle_read(struct vmem_session *session, void *data)
{
	struct vmem_read_args *args = data;
	u64 last_va;

	if (!args->len)
		return -EINVAL;
	if (check_add_overflow(args->va, args->len - 1, &last_va))
		return -EOVERFLOW;
	return with_root(session, &args->regs, walk_read, args);
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
};

/**
 * struct vmem_cmd - a command
 * @handle: serves it; gets a copy of its argument struct, which is copied back
 *	if it returns 0
 * @size: bytes of the argument struct as this kernel knows it
 * @min_size: bytes of the struct's first version
 */
struct vmem_cmd {
	int (*handle)(struct vmem_session *session, void *data);
	u32 size;
	u32 min_size;
};

#define VMEM_CMD(cmd, fn, args, last)                \
	[_IOC_NR(cmd)] = {                           \
		.handle = (fn),                      \
		.size = sizeof(args),                \
		.min_size = offsetofend(args, last), \
	}

static const struct vmem_cmd vmem_cmds[] = {
	VMEM_CMD(VMEM_INFO, handle_info, struct vmem_info_args, __reserved),
	VMEM_CMD(VMEM_ATTACH_KVM, handle_attach_kvm,
		 struct vmem_attach_kvm_args, __reserved),
	VMEM_CMD(VMEM_ATTACH_REGIONS, handle_attach_regions,
		 struct vmem_attach_regions_args, regions),
	VMEM_CMD(VMEM_MEMSLOTS, handle_memslots, struct vmem_memslots_args,
		 out_next_gpa),
	VMEM_CMD(VMEM_VCPU, handle_vcpu, struct vmem_vcpu_args, out_regs),
	VMEM_CMD(VMEM_TRANSLATE, handle_translate, struct vmem_translate_args,
		 __reserved),
	VMEM_CMD(VMEM_MAP_RANGE, handle_map_range, struct vmem_map_range_args,
		 out_anomalies),
	VMEM_CMD(VMEM_READ, handle_read, struct vmem_read_args, out_level),
};

static const struct vmem_cmd *find_cmd(unsigned int nr)
{
	if (_IOC_TYPE(nr) != VMEM_IOC_TYPE || _IOC_DIR(nr) != _IOC_NONE ||
	    _IOC_SIZE(nr) || _IOC_NR(nr) >= ARRAY_SIZE(vmem_cmds))
		return NULL;
	return &vmem_cmds[array_index_nospec(_IOC_NR(nr),
					     ARRAY_SIZE(vmem_cmds))];
}

static long vmem_ioctl(struct file *file, unsigned int nr, unsigned long arg)
{
	const struct vmem_cmd *cmd = find_cmd(nr);
	void __user *uargs = (void __user *)arg;
	union vmem_args args = {};
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
	ret = copy_struct_from_user(&args, cmd->size, uargs, size);
	if (ret)
		return ret;
	if (args.head.flags)
		return -EOPNOTSUPP;

	ret = cmd->handle(file->private_data, &args);
	if (ret)
		return ret;
	if (copy_to_user(uargs, &args, min(size, cmd->size)))
		return -EFAULT;
	return 0;
}

/* Another machine's memory is nothing that a locked-down kernel gives out. */
static int vmem_open(struct inode *inode, struct file *file)
{
	struct vmem_session *session;
	int ret = security_locked_down(LOCKDOWN_KCORE);

	if (ret)
		return ret;
	session = kzalloc(sizeof(*session), GFP_KERNEL_ACCOUNT);
	if (!session)
		return -ENOMEM;
	file->private_data = session;
	return nonseekable_open(inode, file);
}

static int vmem_release(struct inode *inode, struct file *file)
{
	struct vmem_session *session = file->private_data;

	vmem_gmem_release(session->gmem);
	kfree(session);
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

module_misc_device(vmem_device);

MODULE_DESCRIPTION("Live guest page-table introspection");
MODULE_LICENSE("GPL");
