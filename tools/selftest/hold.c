// SPDX-License-Identifier: GPL-2.0-only
/*
 * hold.c - a VMM of a few lines, whose guest has the contents of a file as memory
 *
 * usage: hold FILE CR0 CR3 CR4 EFER RIP [unread]
 *
 * With "unread", nothing of the file is in memory until the guest needs it.
 * Says "runs" when the vCPU is about to, and each exit. Ends with its parent.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "ktap.h"
#include "vcpu.h"

static void *memory_of(const char *file, bool populate, size_t *len)
{
	int fd = (int)must(open(file, O_RDONLY | O_CLOEXEC), file);
	struct stat stat;
	void *memory;

	must(fstat(fd, &stat), file);
	*len = (size_t)stat.st_size;
	memory = mmap(NULL, *len, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | (populate ? MAP_POPULATE : 0), fd, 0);
	must(memory == MAP_FAILED ? -1 : 0, file);
	close(fd);
	return memory;
}

static __u64 number(const char *word)
{
	return strtoull(word, NULL, 16);
}

int main(int argc, char **argv)
{
	struct kvm_userspace_memory_region slot = {};
	struct kvm_regs kvm_regs = { .rflags = VCPU_RFLAGS };
	struct vmem_regs regs = {};
	struct vcpu vcpu;
	int kvm_fd, vm_fd;
	size_t len;

	must(argc >= 7 ? 0 : -1, "usage: hold FILE CR0 CR3 CR4 EFER RIP");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	kvm_fd = (int)must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	vm_fd = (int)must(ioctl(kvm_fd, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	slot.userspace_addr =
		(__u64)(uintptr_t)memory_of(argv[1], argc == 7, &len);
	slot.memory_size = len;
	must(ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &slot), "a memory slot");
	/* Without, newer kernels do not always have CR3 of AMD's: vcpus.c. */
	must(ioctl(vm_fd, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
	vcpu_init(&vcpu, kvm_fd, vm_fd, 0);
	regs.cr0 = number(argv[2]);
	regs.cr3 = number(argv[3]);
	regs.cr4 = number(argv[4]);
	regs.efer = number(argv[5]);
	vcpu_set_mode(&vcpu, &regs);
	kvm_regs.rip = number(argv[6]);
	vcpu_set_regs(&vcpu, &kvm_regs);
	puts("runs");
	fflush(stdout);
	for (;;)
		printf("exit %u\n", vcpu_run(&vcpu));
}
