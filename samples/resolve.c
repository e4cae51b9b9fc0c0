// SPDX-License-Identifier: GPL-2.0-only
/*
 * resolve.c - a VMM that asks vmem where in its own memory an address of its
 * guest is, with <linux/vmem.h> alone
 *
 * This guest never runs: all that it has is memory, with page tables in it that
 * map one page. A real VMM takes the registers from KVM_GET_SREGS instead.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/vmem.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define RAM_GPA 0x100000ull
#define RAM_LEN 0x10000ull
#define VA 0xffff888000123678ull

static long must(long ret, const char *what)
{
	if (ret >= 0)
		return ret;
	perror(what);
	exit(EXIT_FAILURE);
}

/* Four tables from RAM_GPA on, each with one entry, then the page. */
static void make_tables(__u64 *ram)
{
	for (int level = 0; level < 4; level++) {
		int index = VA >> (39 - 9 * level) & 511;
		__u64 next = RAM_GPA + (level + 1) * 0x1000;

		ram[level * 512 + index] = next | 3; /* present, writable */
	}
	strcpy((char *)ram + 0x4000 + (VA & 0xfff), "hello from the guest");
}

static __u64 va_to_gpa(int session, __u64 va)
{
	struct vmem_translation answer;
	struct vmem_translate_args args = {
		.size = sizeof(args),
		.nr = 1,
		.result_size = sizeof(answer),
		.vas = (uintptr_t)&va,
		.results = (uintptr_t)&answer,
		.regs = {
			.cr0 = 0x80000001, /* PG, PE */
			.cr3 = RAM_GPA,
			.cr4 = 0x20, /* PAE */
			.efer = 0x500, /* LMA, LME */
			.maxphyaddr = 40,
		},
	};

	must(ioctl(session, VMEM_TRANSLATE, &args), "VMEM_TRANSLATE");
	/* That an address is not mapped is an answer, and no error. */
	if (answer.out_status != VMEM_MAPPED) {
		fprintf(stderr, "not mapped: status %u\n", answer.out_status);
		exit(EXIT_FAILURE);
	}
	return answer.out_gpa;
}

int main(void)
{
	__u64 *ram = mmap(NULL, RAM_LEN, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region slot = {
		.guest_phys_addr = RAM_GPA,
		.memory_size = RAM_LEN,
		.userspace_addr = (uintptr_t)ram,
	};
	struct vmem_attach_kvm_args attach = { .size = sizeof(attach) };
	int kvm, session;
	__u64 gpa;

	must(ram == MAP_FAILED ? -1 : 0, "mmap");
	make_tables(ram);
	kvm = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	attach.vm_fd = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	must(ioctl(attach.vm_fd, KVM_SET_USER_MEMORY_REGION, &slot),
	     "KVM_SET_USER_MEMORY_REGION");

	session = must(open("/dev/vmem", O_RDWR | O_CLOEXEC), "/dev/vmem");
	must(ioctl(session, VMEM_ATTACH_KVM, &attach), "VMEM_ATTACH_KVM");
	gpa = va_to_gpa(session, VA);
	printf("va %#llx = gpa %#llx: %s\n", VA, gpa,
	       (char *)ram + (gpa - RAM_GPA));
	return EXIT_SUCCESS;
}
