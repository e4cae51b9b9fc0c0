// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/vmem: open, the table of commands, release. One open file is one session.
 * Handlers take kernel copies of their arguments (see vmem/ioctl.h).
 *
 * Locks: none here. What a session has is set once (see vmem/session.h). The walk
 * over its spaces belongs to one call at a time (see vmem_ioctl_spaces.c). What it
 * knows of pages has a lock of its own (see vmem/pages.h).
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <vmem/ioctl.h>
#include <vmem/pages.h>
#include <vmem/translate.h>
#include <vmem/vcpu.h>
#include <vmem/version.h>

#define CREATE_TRACE_POINTS
#include <trace/events/vmem.h>

struct vmem_totals vmem_totals;

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
	struct vmem_read_phys_args read_phys;
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
	VMEM_CMD(VMEM_INFO, vmem_ioctl_info, struct vmem_info_args,
		 out_max_entries, 0, true),
	VMEM_CMD(VMEM_ATTACH_KVM, vmem_ioctl_attach_kvm,
		 struct vmem_attach_kvm_args, __reserved, 0, false),
	VMEM_CMD(VMEM_ATTACH_REGIONS, vmem_ioctl_attach_regions,
		 struct vmem_attach_regions_args, regions, 0, false),
	VMEM_CMD(VMEM_MEMSLOTS, vmem_ioctl_memslots, struct vmem_memslots_args,
		 out_next_gpa, 0, true),
	VMEM_CMD(VMEM_VCPU, vmem_ioctl_vcpu, struct vmem_vcpu_args, out_regs, 0,
		 true),
	VMEM_CMD(VMEM_TRANSLATE, vmem_ioctl_translate,
		 struct vmem_translate_args, root, VMEM_TRANSLATE_SPACES, true),
	VMEM_CMD(VMEM_MAP_RANGE, vmem_ioctl_map_range,
		 struct vmem_map_range_args, out_anomalies, VMEM_MAP_ATTRIBUTES,
		 true),
	VMEM_CMD(VMEM_READ, vmem_ioctl_read, struct vmem_read_args, out_level,
		 0, true),
	VMEM_CMD(VMEM_SET_SPACES, vmem_ioctl_set_spaces,
		 struct vmem_set_spaces_args, last_va, 0, false),
	VMEM_CMD(VMEM_WALK_SPACES, vmem_ioctl_walk_spaces,
		 struct vmem_walk_spaces_args, out_stats, 0, true),
	VMEM_CMD(VMEM_READ_PHYS, vmem_ioctl_read_phys,
		 struct vmem_read_phys_args, __reserved, 0, true),
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
	ret = copy_struct_from_user(&args, cmd->size, uargs, size);
	if (ret)
		return ret;
	if (args.head.flags & ~cmd->flags)
		return -EOPNOTSUPP;

	ret = cmd->handle(file->private_data, &args);
	if (ret || !cmd->answers)
		return ret;
	size = min(size, cmd->size);
	return copy_to_user(uargs, &args, size) ? -EFAULT : 0;
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

	vmem_space_set_free(session->set);
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

	vmem_debugfs_remove(session);
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
};

static struct miscdevice vmem_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "vmem",
	.mode = 0600,
	.fops = &vmem_fops,
};

static int __init vmem_init(void)
{
	int ret = vmem_ioctl_space_init();

	if (ret)
		return ret;
	vmem_debugfs_init();
	ret = misc_register(&vmem_device);
	if (ret)
		goto out_debugfs_exit;
	pr_info("interface %u: 2-level, PAE, 4-level, 5-level; KVM VMs, region tables; %s\n",
		VMEM_API_VERSION,
		IS_ENABLED(CONFIG_SECURITY_LOCKDOWN_LSM) ?
			"closed by lockdown for confidentiality" :
			"this kernel has no lockdown");
	return 0;

out_debugfs_exit:
	vmem_debugfs_exit();
	vmem_ioctl_space_exit();
	return ret;
}
module_init(vmem_init);

static void __exit vmem_exit(void)
{
	misc_deregister(&vmem_device);
	vmem_debugfs_exit();
	vmem_ioctl_space_exit();
	vmem_vcpu_exit();
	vmem_pages_exit();
}
module_exit(vmem_exit);

MODULE_DESCRIPTION("Live guest page-table introspection");
MODULE_VERSION(VMEM_VERSION);
MODULE_LICENSE("GPL");
