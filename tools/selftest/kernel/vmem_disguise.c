// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmem_disguise.c - makes KVM take an ordinary VM for a confidential one
 *
 * For tests: the lab's processor has neither SEV nor TDX. Only what KVM says of the VM
 * is changed, which is what vmem looks at. The VM is to have no vCPU that runs, and to
 * be as it was again before it is closed.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kvm_host.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "disguise.h"

static int set_private(struct kvm *kvm, u64 value)
{
#ifdef KVM_X86_SNP_VM
	kvm->arch.has_private_mem = value;
	return IS_ENABLED(CONFIG_KVM_GENERIC_MEMORY_ATTRIBUTES) ? 0 :
								  -EOPNOTSUPP;
#else
	return -EOPNOTSUPP;
#endif
}

static int set_type(struct kvm *kvm, u64 value)
{
#ifdef KVM_X86_SNP_VM
	kvm->arch.vm_type = value;
	return 0;
#else
	return -EOPNOTSUPP;
#endif
}

static int disguise(struct kvm *kvm, const struct disguise *d)
{
	struct kvm_vcpu *vcpu = kvm_get_vcpu(kvm, 0);

	switch (d->what) {
	case DISGUISE_PRIVATE:
		return set_private(kvm, d->value);
	case DISGUISE_TYPE:
		return set_type(kvm, d->value);
	case DISGUISE_ENCRYPTION_BIT:
		vcpu->arch.reserved_gpa_bits &= ~BIT_ULL(d->value);
		return 0;
	case DISGUISE_REGISTERS:
		vcpu->arch.guest_state_protected = d->value;
		return 0;
	default:
		return -EINVAL;
	}
}

static ssize_t disguise_write(struct file *file, const char __user *buf,
			      size_t len, loff_t *pos)
{
	struct disguise d;
	struct file *vm;
	int ret = -EBADF;

	if (len != sizeof(d))
		return -EINVAL;
	if (copy_from_user(&d, buf, sizeof(d)))
		return -EFAULT;
	vm = fget(d.vm_fd);
	if (!vm)
		return ret;
	if (!strcmp(vm->f_path.dentry->d_name.name, "kvm-vm"))
		ret = disguise(vm->private_data, &d);
	fput(vm);
	return ret ?: len;
}

static const struct file_operations disguise_fops = {
	.owner = THIS_MODULE,
	.write = disguise_write,
};

static struct miscdevice disguise_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "vmem-disguise",
	.mode = 0600,
	.fops = &disguise_fops,
};
module_misc_device(disguise_device);

MODULE_DESCRIPTION("Makes KVM take a VM for a confidential one, for tests");
MODULE_LICENSE("GPL");
