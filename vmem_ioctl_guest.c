// SPDX-License-Identifier: GPL-2.0-only
/*
 * Commands about the guest as a machine: what a session is attached to, its
 * memory slots, its vCPUs.
 */
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <trace/events/vmem.h>
#include <vmem/ioctl.h>
#include <vmem/walk.h>

/* What is there no more when the owner has exited. */
static void describe_vm(struct vmem_gmem *gmem, struct vmem_info_args *args)
{
	if (vmem_gmem_enter(gmem))
		return;
	if (gmem->ops->nr_vcpus)
		args->out_nr_vcpus = gmem->ops->nr_vcpus(gmem);
	args->out_protection = vmem_gmem_protection(gmem);
	vmem_gmem_leave(gmem);
}

int vmem_ioctl_info(struct vmem_session *session, void *data)
{
	struct vmem_gmem *gmem = vmem_session_gmem(session);
	struct vmem_info_args *args = data;

	args->out_api_version = VMEM_API_VERSION;
	args->out_source = gmem ? gmem->ops->source : VMEM_SOURCE_NONE;
	args->out_max_regions = VMEM_MAX_REGIONS;
	args->out_max_entries = VMEM_MAX_ENTRIES;
	args->out_nr_vcpus = 0;
	args->out_protection = 0;
	args->__reserved = 0;
	if (gmem)
		describe_vm(gmem, args);
	return 0;
}

static int session_attach(struct vmem_session *session, struct vmem_gmem *gmem)
{
	if (IS_ERR(gmem))
		return PTR_ERR(gmem);
	gmem->pages.session = session->id;
	if (cmpxchg_release(&session->gmem, NULL, gmem)) {
		vmem_gmem_release(gmem);
		return -EISCONN;
	}
	vmem_debugfs_add(session);
	return 0;
}

static int count_attach(const struct vmem_session *session,
			enum vmem_source source, pid_t owner, int ret)
{
	if (!ret)
		atomic64_inc(&vmem_totals.attached);
	if (ret == -EPERM)
		atomic64_inc(&vmem_totals.refused);
	trace_vmem_attach(session->id, source, owner, ret);
	return ret;
}

int vmem_ioctl_attach_kvm(struct vmem_session *session, void *data)
{
	struct vmem_attach_kvm_args *args = data;
	pid_t owner = 0;
	int ret;

	if (args->__reserved)
		return -EOPNOTSUPP;
	ret = session_attach(session, vmem_gmem_from_kvm(args->vm_fd, &owner));
	return count_attach(session, VMEM_SOURCE_KVM, owner, ret);
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

int vmem_ioctl_attach_regions(struct vmem_session *session, void *data)
{
	struct vmem_attach_regions_args *args = data;
	struct vmem_region *regions;
	int ret;

	if (!args->nr || args->nr > VMEM_MAX_REGIONS ||
	    !vmem_element_size_ok(args->region_size, sizeof(*regions)))
		return -EINVAL;

	regions = copy_regions(args);
	if (IS_ERR(regions))
		return PTR_ERR(regions);
	ret = session_attach(session,
			     vmem_gmem_from_regions(regions, args->nr));
	return count_attach(session, VMEM_SOURCE_REGIONS, task_tgid_nr(current),
			    ret);
}

/* Slots are fetched a few at a time, and nothing is held while they are copied. */
static int get_slots(struct vmem_gmem *gmem, u64 from_gpa,
		     struct vmem_memslot *slots, u32 nr)
{
	int ret = vmem_breathe() ?: vmem_gmem_enter(gmem);

	if (ret)
		return ret;
	nr = gmem->ops->slots(gmem, from_gpa, slots, nr);
	vmem_gmem_leave(gmem);
	return nr;
}

int vmem_ioctl_memslots(struct vmem_session *session, void *data)
{
	struct vmem_memslots_args *args = data;
	struct vmem_gmem *gmem = vmem_call_gmem(session);
	struct vmem_memslot slots[8];
	u64 dst = args->slots;
	int n;

	if (IS_ERR(gmem))
		return PTR_ERR(gmem);
	if (!args->nr || !vmem_element_size_ok(args->slot_size, sizeof(*slots)))
		return -EINVAL;

	args->out_more = 1;
	args->out_next_gpa = args->gpa;
	for (args->out_nr = 0; args->out_nr < args->nr; args->out_nr += n) {
		n = min_t(u32, args->nr - args->out_nr, ARRAY_SIZE(slots));
		n = get_slots(gmem, args->out_next_gpa, slots, n);
		if (!n)
			args->out_more = 0;
		if (n <= 0)
			return args->out_nr ? 0 : n;
		if (vmem_user_ops.put_elements(dst, args->slot_size, slots,
					       sizeof(*slots), n))
			return -EFAULT;
		dst += (u64)n * args->slot_size;
		args->out_next_gpa = slots[n - 1].gpa + slots[n - 1].len;
	}
	return 0;
}

int vmem_ioctl_vcpu(struct vmem_session *session, void *data)
{
	struct vmem_vcpu_args *args = data;
	struct vmem_gmem *gmem = vmem_call_gmem(session);

	if (IS_ERR(gmem))
		return PTR_ERR(gmem);
	if (args->__reserved)
		return -EOPNOTSUPP;
	if (!gmem->ops->vcpu || args->timeout_us > VMEM_MAX_VCPU_TIMEOUT_US)
		return -EINVAL;
	return gmem->ops->vcpu(gmem, args);
}
