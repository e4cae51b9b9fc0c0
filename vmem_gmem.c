// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest memory: a KVM VM's memory slots or a region table. This file and vmem_vcpu.c
 * are the only ones that know KVM.
 *
 * Lifetimes: a gmem is made by one attach, and is given up when its session's file
 * is released, which no ioctl can be inside of; it is freed when the notifier has no
 * caller any more. It holds a reference on the
 * mm_struct, which does not keep the owner's memory alive, and on the VM, where
 * there is one, until the owner's mm has no user: a VM may pin memory for its
 * guest. Each question takes a user reference on the mm (vmem_gmem_enter). So none is
 * under way when the notifier reports the mm's end, or later, and the VM is let go
 * without a lock: by a work item, since its end waits for notifiers.
 *
 * Locks: memory slots are looked up under kvm->srcu, which is dropped before
 * anything can fault. vmem_pages.c has those of the pages.
 */
#include <linux/bsearch.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kvm_host.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <vmem/gmem.h>
#include <vmem/mode.h>
#include <vmem/vcpu.h>

static void let_go(struct vmem_gmem *gmem)
{
	if (gmem->ops->let_go)
		gmem->ops->let_go(gmem);
}

static void let_go_work(struct work_struct *work)
{
	let_go(container_of(work, struct vmem_gmem, exit));
}

/*
 * The caller has the mm in use, so that the notifier does not tell of its end
 * before this has returned.
 */
static int gmem_init(struct vmem_gmem *gmem, const struct vmem_gmem_ops *ops,
		     struct mm_struct *mm)
{
	int ret;

	gmem->ops = ops;
	gmem->mm = mm;
	INIT_WORK(&gmem->exit, let_go_work);
	ret = vmem_pages_init(&gmem->pages, mm);
	if (!ret)
		mmgrab(mm);
	return ret;
}

/* A KVM VM */

struct vm_gmem {
	struct vmem_gmem gmem;
	struct kvm *kvm;
};

static struct kvm *to_kvm(struct vmem_gmem *gmem)
{
	return container_of(gmem, struct vm_gmem, gmem)->kvm;
}

/*
 * Whether pages of the guest can be private to it (SEV-SNP, TDX,
 * KVM_X86_SW_PROTECTED_VM), which is settled when the VM is made.
 */
static bool has_private_memory(struct kvm *kvm)
{
#ifdef kvm_arch_has_private_mem
	return kvm_arch_has_private_mem(kvm);
#else
	return false;
#endif
}

/*
 * A private page is in a guest_memfd, and what the owner has mapped in its place is
 * no memory of the guest's: zeros, or what the page held when it was shared. Where
 * KVM does not say which pages are private, any may be.
 *
 * KVM_SET_MEMORY_ATTRIBUTES tells no notifier of the owner's mm. It zaps the guest's
 * mapping and holds off new ones, stores the attributes, and then counts
 * @mmu_invalidate_seq up and allows mappings again, all with kvm->slots_lock held
 * (kvm_vm_set_mem_attributes()). The count is part of the generation, so look_up() in
 * vmem_pages.c takes no page but one that it found like this:
 *
 *   read the count - not private - look the page up - not private - the same count
 *
 * To become private and shared again in between takes two of these calls, and the
 * first of them has counted before the second one stores. So the page was shared all
 * the time, and what was looked up was guest memory. KVM does not count what is no
 * slot's, but the slots have another generation before that is guest memory.
 */
static bool vm_gmem_withheld(struct vmem_gmem *gmem, u64 gpa)
{
#ifdef VMEM_KVM_HAS_ATTRIBUTES
	return kvm_mem_is_private(to_kvm(gmem), gpa_to_gfn(gpa));
#else
	return true;
#endif
}

/* A slot that is being moved or deleted is not there any more. */
static bool slot_is_usable(const struct kvm_memory_slot *slot)
{
	return slot && !(slot->flags & KVM_MEMSLOT_INVALID);
}

static int vm_gmem_to_hva(struct vmem_gmem *gmem, u64 gpa, unsigned long *hva)
{
	struct kvm *kvm = to_kvm(gmem);
	struct kvm_memory_slot *slot;
	int idx, ret = -ENXIO;

	idx = srcu_read_lock(&kvm->srcu);
	slot = __gfn_to_memslot(kvm_memslots(kvm), gpa_to_gfn(gpa));
	if (slot_is_usable(slot)) {
		*hva = __gfn_to_hva_memslot(slot, gpa_to_gfn(gpa));
		ret = 0;
	}
	srcu_read_unlock(&kvm->srcu, idx);
	return ret;
}

/*
 * The slots of the address space that vm_gmem_to_hva() looks in: what a guest
 * in system management mode sees besides is in another one, with generations of
 * its own. A set of slots has one generation while KVM waits for the readers of
 * the set before (KVM_MEMSLOT_GEN_UPDATE_IN_PROGRESS), and another one for good,
 * and no other set has either. Moving a slot, or deleting it, makes two new
 * sets: the slot is KVM_MEMSLOT_INVALID in the first. Where pages may become private,
 * the changes that KVM counts are added: neither number goes back.
 */
static u64 vm_gmem_generation(struct vmem_gmem *gmem)
{
	struct kvm *kvm = to_kvm(gmem);
	int idx = srcu_read_lock(&kvm->srcu);
	u64 generation = kvm_memslots(kvm)->generation;

	srcu_read_unlock(&kvm->srcu, idx);
	if (gmem->may_withhold) {
		/* Whether the page is private was read before, see there. */
		smp_rmb();
		generation += READ_ONCE(kvm->mmu_invalidate_seq);
	}
	return generation;
}

static struct vmem_memslot describe_slot(const struct kvm_memory_slot *slot)
{
	return (struct vmem_memslot){
		.gpa = gfn_to_gpa(slot->base_gfn),
		.len = (u64)slot->npages << PAGE_SHIFT,
		.hva = slot->userspace_addr,
		.id = slot->id,
		.flags = slot->flags & KVM_MEM_READONLY ?
				 VMEM_MEMSLOT_READONLY :
				 0,
	};
}

static u32 vm_gmem_slots(struct vmem_gmem *gmem, u64 from_gpa,
			 struct vmem_memslot *out, u32 nr)
{
	struct kvm *kvm = to_kvm(gmem);
	struct kvm_memslot_iter iter;
	u32 n = 0;
	int idx;

	idx = srcu_read_lock(&kvm->srcu);
	kvm_for_each_memslot_in_gfn_range(&iter, kvm_memslots(kvm),
					  from_gpa >> PAGE_SHIFT, U64_MAX) {
		if (n == nr)
			break;
		if (slot_is_usable(iter.slot))
			out[n++] = describe_slot(iter.slot);
	}
	srcu_read_unlock(&kvm->srcu, idx);
	return n;
}

static u32 vm_gmem_nr_vcpus(struct vmem_gmem *gmem)
{
	return atomic_read(&to_kvm(gmem)->online_vcpus);
}

/*
 * The VM is held, and with it its vCPUs, but not the owner's mm: what is waited for here may
 * take a while, and the owner's memory is to go when it exits.
 */
static int vm_gmem_vcpu(struct vmem_gmem *gmem, struct vmem_vcpu_args *args)
{
	struct kvm_vcpu *vcpu = NULL;
	struct kvm *kvm;
	int ret = vmem_gmem_enter(gmem);

	if (ret)
		return ret;
	kvm = to_kvm(gmem);
	kvm_get_kvm(kvm);
	vmem_gmem_leave(gmem);

	if (args->index < atomic_read(&kvm->online_vcpus))
		vcpu = kvm_get_vcpu(kvm, args->index);
	ret = vcpu ? vmem_vcpu_read(vcpu, args) : -EINVAL;
	kvm_put_kvm(kvm);
	return ret;
}

/* Whether the VM was made as one whose memory is encrypted, and all of it mapped. */
static bool is_sev_type(const struct kvm *kvm)
{
#ifdef KVM_X86_SEV_ES_VM
	return kvm->arch.vm_type == KVM_X86_SEV_VM ||
	       kvm->arch.vm_type == KVM_X86_SEV_ES_VM;
#else
	return false;
#endif
}

/*
 * A VMM makes all vCPUs alike in this, or deceives itself, so the first is looked at. By
 * KVM_SEV_INIT a VM of any type, on a kernel without types too, becomes one of SEV: the
 * vCPU's encryption bit tells that, and its registers, which SEV-ES encrypts before it
 * first runs.
 */
static u32 vm_gmem_protection(struct vmem_gmem *gmem)
{
	struct kvm *kvm = to_kvm(gmem);
	const struct kvm_vcpu *vcpu =
		vm_gmem_nr_vcpus(gmem) ? kvm_get_vcpu(kvm, 0) : NULL;
	u32 protection = 0;

	if (vcpu && vmem_vcpu_is_protected(vcpu))
		protection |= VMEM_PROTECTION_REGISTERS;
	if (gmem->may_withhold)
		protection |= VMEM_PROTECTION_PRIVATE;
	else if (protection || is_sev_type(kvm) ||
		 (vcpu && vmem_vcpu_encryption_bit(vcpu)))
		protection |= VMEM_PROTECTION_ENCRYPTED;
	return protection;
}

static void vm_gmem_let_go(struct vmem_gmem *gmem)
{
	struct vm_gmem *vg = container_of(gmem, struct vm_gmem, gmem);
	struct kvm *kvm = vg->kvm;

	vg->kvm = NULL;
	if (kvm)
		kvm_put_kvm(kvm);
}

static void vm_gmem_release(struct vmem_gmem *gmem)
{
	kvfree(container_of(gmem, struct vm_gmem, gmem));
}

static const struct vmem_gmem_ops vm_gmem_ops = {
	.source = VMEM_SOURCE_KVM,
	.to_hva = vm_gmem_to_hva,
	.withheld = vm_gmem_withheld,
	.generation = vm_gmem_generation,
	.slots = vm_gmem_slots,
	.nr_vcpus = vm_gmem_nr_vcpus,
	.vcpu = vm_gmem_vcpu,
	.protection = vm_gmem_protection,
	.let_go = vm_gmem_let_go,
	.release = vm_gmem_release,
};

/*
 * Newer kernels do not export file_is_kvm(), so a VM is told by three things
 * that only KVM can give a file. Without KALLSYMS %ps prints a bare address and
 * no file is ever taken for a VM.
 */
static bool is_kvm_vm(const struct file *file)
{
	char ioctl[32];

	if (file_inode(file)->i_sb->s_magic != ANON_INODE_FS_MAGIC ||
	    strcmp(file->f_path.dentry->d_name.name, "kvm-vm"))
		return false;
	snprintf(ioctl, sizeof(ioctl), "%ps", file->f_op->unlocked_ioctl);
	return !strcmp(ioctl, "kvm_vm_ioctl [kvm]") ||
	       !strcmp(ioctl, "kvm_vm_ioctl");
}

static struct kvm *vm_from_fd(int vm_fd)
{
	struct file *file = fget(vm_fd);
	struct kvm *kvm = ERR_PTR(-EBADF);

	if (!file)
		return kvm;
	if (is_kvm_vm(file) && kvm_get_kvm_safe(file->private_data))
		kvm = file->private_data;
	fput(file);
	return kvm;
}

struct vmem_gmem *vmem_gmem_from_kvm(int vm_fd, pid_t *owner)
{
	struct kvm *kvm = vm_from_fd(vm_fd);
	struct vm_gmem *vg;
	int ret = -EPERM;

	if (IS_ERR(kvm))
		return ERR_CAST(kvm);
	*owner = kvm->userspace_pid;
	if (kvm->mm != current->mm && !capable(CAP_SYS_PTRACE))
		goto out_put_kvm;

	ret = -ESRCH;
	if (!mmget_not_zero(kvm->mm))
		goto out_put_kvm;

	ret = -ENOMEM;
	vg = kvzalloc(sizeof(*vg), VMEM_GFP);
	if (!vg)
		goto out_put_mm;
	vg->kvm = kvm;
	vg->gmem.may_withhold = has_private_memory(kvm);
	ret = gmem_init(&vg->gmem, &vm_gmem_ops, kvm->mm);
	if (ret)
		goto out_free;
	mmput(kvm->mm);
	return &vg->gmem;

out_free:
	kvfree(vg);
out_put_mm:
	mmput(kvm->mm);
out_put_kvm:
	kvm_put_kvm(kvm);
	return ERR_PTR(ret);
}

/* A region table */

struct region_gmem {
	struct vmem_gmem gmem;
	struct vmem_region *regions; /* by rising gpa */
	u32 nr;
};

static struct region_gmem *to_region_gmem(struct vmem_gmem *gmem)
{
	return container_of(gmem, struct region_gmem, gmem);
}

static int region_match(const void *key, const void *elem)
{
	const struct vmem_region *region = elem;
	u64 gpa = *(const u64 *)key;

	if (gpa < region->gpa)
		return -1;
	return gpa - region->gpa >= region->len;
}

static int region_gmem_to_hva(struct vmem_gmem *gmem, u64 gpa,
			      unsigned long *hva)
{
	struct region_gmem *rg = to_region_gmem(gmem);
	struct vmem_region *region = bsearch(&gpa, rg->regions, rg->nr,
					     sizeof(*region), region_match);

	if (!region)
		return -ENXIO;
	*hva = region->hva + ((gpa - region->gpa) & VMEM_PAGE_MASK);
	return 0;
}

static u32 region_gmem_slots(struct vmem_gmem *gmem, u64 from_gpa,
			     struct vmem_memslot *out, u32 nr)
{
	struct region_gmem *rg = to_region_gmem(gmem);
	u32 i, n = 0;

	for (i = 0; i < rg->nr && n < nr; i++) {
		struct vmem_region *region = &rg->regions[i];

		if (region->gpa + (region->len - 1) < from_gpa)
			continue;
		out[n++] = (struct vmem_memslot){
			.gpa = region->gpa,
			.len = region->len,
			.hva = region->hva,
			.id = i,
		};
	}
	return n;
}

static void region_gmem_release(struct vmem_gmem *gmem)
{
	struct region_gmem *rg = to_region_gmem(gmem);

	kvfree(rg->regions);
	kvfree(rg);
}

static const struct vmem_gmem_ops region_gmem_ops = {
	.source = VMEM_SOURCE_REGIONS,
	.to_hva = region_gmem_to_hva,
	.slots = region_gmem_slots,
	.release = region_gmem_release,
};

static int region_cmp(const void *a, const void *b)
{
	const struct vmem_region *ra = a, *rb = b;

	return ra->gpa < rb->gpa ? -1 : ra->gpa > rb->gpa;
}

static int region_check(const struct vmem_region *region)
{
	u64 last;

	if (!region->len || !IS_ALIGNED(region->gpa, VMEM_PAGE_SIZE) ||
	    !IS_ALIGNED(region->len, VMEM_PAGE_SIZE) ||
	    !IS_ALIGNED(region->hva, VMEM_PAGE_SIZE))
		return -EINVAL;
	if (check_add_overflow(region->gpa, region->len - 1, &last) ||
	    check_add_overflow(region->hva, region->len - 1, &last))
		return -EOVERFLOW;
	if ((region->gpa + (region->len - 1)) >> VMEM_MAX_PHYADDR)
		return -EINVAL;
	if (!access_ok(u64_to_user_ptr(region->hva), region->len))
		return -EFAULT;
	return 0;
}

static int regions_check(const struct vmem_region *regions, u32 nr)
{
	u32 i;
	int ret;

	for (i = 0; i < nr; i++) {
		ret = region_check(&regions[i]);
		if (ret)
			return ret;
	}
	return 0;
}

static bool regions_overlap(const struct vmem_region *sorted, u32 nr)
{
	u32 i;

	for (i = 1; i < nr; i++)
		if (sorted[i].gpa - sorted[i - 1].gpa < sorted[i - 1].len)
			return true;
	return false;
}

struct vmem_gmem *vmem_gmem_from_regions(struct vmem_region *regions, u32 nr)
{
	struct region_gmem *rg;
	int ret;

	ret = regions_check(regions, nr);
	if (ret)
		goto out_free_regions;

	ret = -EINVAL;
	sort(regions, nr, sizeof(*regions), region_cmp, NULL);
	if (regions_overlap(regions, nr))
		goto out_free_regions;

	ret = -ENOMEM;
	rg = kvzalloc(sizeof(*rg), VMEM_GFP);
	if (!rg)
		goto out_free_regions;

	rg->regions = regions;
	rg->nr = nr;
	ret = gmem_init(&rg->gmem, &region_gmem_ops, current->mm);
	if (!ret)
		return &rg->gmem;
	kvfree(rg);

out_free_regions:
	kvfree(regions);
	return ERR_PTR(ret);
}

/* Either */

void vmem_gmem_release(struct vmem_gmem *gmem)
{
	if (!gmem)
		return;
	vmem_pages_close(&gmem->pages);
	cancel_work_sync(&gmem->exit);
	let_go(gmem);
	mmdrop(gmem->mm);
	vmem_pages_put(&gmem->pages);
}

int vmem_gmem_enter(struct vmem_gmem *gmem)
{
	return mmget_not_zero(gmem->mm) ? 0 : -ESRCH;
}

void vmem_gmem_leave(struct vmem_gmem *gmem)
{
	mmput(gmem->mm);
}

u32 vmem_gmem_protection(struct vmem_gmem *gmem)
{
	return gmem->ops->protection ? gmem->ops->protection(gmem) : 0;
}

void vmem_gmem_owner_exits(struct vmem_gmem *gmem)
{
	schedule_work(&gmem->exit);
}

bool vmem_gmem_may_use(const struct vmem_gmem *gmem)
{
	return gmem->ops->source != VMEM_SOURCE_REGIONS ||
	       gmem->mm == current->mm;
}
