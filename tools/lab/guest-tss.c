// SPDX-License-Identifier: GPL-2.0-only
/*
 * guest-tss.c - preloaded into a guest's QEMU, for the sake of QEMU's own
 * emulation of SVM that runs below.
 *
 * The emulated processor keeps the task register's type as the descriptor had
 * it when LTR ran: an available TSS, 9. KVM always reports it as busy, 11, as
 * real processors do. So a VMM that reads a vCPU's registers and writes them
 * back, as QEMU does for each `info registers`, leaves 11 in there, and the
 * next entry into the kernel of a 32-bit guest ends the whole lab with
 * "invalid tss type". This takes the busy bit out on the way back in.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <linux/kvm.h>

#define TSS_BUSY 2

int ioctl(int fd, unsigned long request, ...)
{
	static int (*next)(int, unsigned long, void *);
	struct kvm_sregs2 sregs2;
	struct kvm_sregs sregs;
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);

	if (!next)
		next = dlsym(RTLD_NEXT, "ioctl");

	if (request == KVM_SET_SREGS) {
		sregs = *(struct kvm_sregs *)arg;
		sregs.tr.type &= ~TSS_BUSY;
		arg = &sregs;
	} else if (request == KVM_SET_SREGS2) {
		sregs2 = *(struct kvm_sregs2 *)arg;
		sregs2.tr.type &= ~TSS_BUSY;
		arg = &sregs2;
	}
	return next(fd, request, arg);
}
