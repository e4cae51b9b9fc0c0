// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest and the address spaces that the command line names
 */
#include <signal.h>
#include <unistd.h>

#include "new_file.h"
#include "vmemctl.h"

/* An image is mapped, and somebody has cut it. Nothing can be said but this. */
static void end_by_sigbus(int number)
{
	static const char text[] =
		"vmemctl: the image has become shorter meanwhile: ask a copy of it\n";

	ssize_t said = write(STDERR_FILENO, text, sizeof(text) - 1);

	(void)number;
	(void)said;
	new_file_abandon();
	_exit(EXIT_FAILED);
}

struct libvmem *guest_open(struct opts *opts)
{
	struct libvmem_error error;
	struct libvmem *vm;
	int ret;

	if (opts->qmp)
		check(libvmem_qmp_open(&opts->source.qmp, opts->qmp, opts->pid,
				       &error),
		      &error);
	if (opts->image)
		signal(SIGBUS, end_by_sigbus);
	if (opts->image)
		ret = libvmem_open_image(&vm, opts->image, &error);
	else
		ret = libvmem_open_pid(&vm, opts->pid, opts->vm_fd, &error);
	check(ret, &error);
	confine(opts->output);
	return vm;
}

void guest_close(struct libvmem *vm, struct opts *opts)
{
	libvmem_qmp_close(opts->source.qmp);
	libvmem_close(vm);
}

/* Nothing says where the tables are: the command line has to. */
noreturn static void ask_for_regs(const struct opts *opts)
{
	if (!opts->image)
		usage("which address space? give --qmp SOCKET to ask QEMU for CR3, or --cr3 X");
	usage("no registers in %s: give --cr3, and --arch or --cr0 --cr4 --efer --maxphyaddr",
	      opts->image);
}

static void check_regs(int ret, const struct opts *opts,
		       const struct libvmem_error *error)
{
	if (ret == -LIBVMEM_NO_REGISTERS)
		ask_for_regs(opts);
	check(ret, error);
}

void guest_regs(struct libvmem *vm, const struct opts *opts,
		struct vmem_regs *regs)
{
	struct libvmem_error error;

	check_regs(libvmem_find_regs(vm, &opts->source, regs, &error), opts,
		   &error);
}

void guest_roots(struct libvmem *vm, const struct opts *opts, bool all,
		 struct libvmem_roots *roots)
{
	struct libvmem_error error;

	check_regs(libvmem_find_roots(vm, &opts->source, all, roots, &error),
		   opts, &error);
	for (unsigned int i = 0; i < roots->nr_left_out; i++)
		warn("warning: vCPU %u is left out: it does not page like vCPU %u",
		     roots->left_out[i], opts->source.vcpu);
}
