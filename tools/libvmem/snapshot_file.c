// SPDX-License-Identifier: GPL-2.0-only
#include "vm.h"

int libvmem_snapshot(struct libvmem *vm,
		     const struct libvmem_snapshot_args *args, int fd,
		     struct libvmem_snapshot *made, struct libvmem_error *error)
{
	return -LIBVMEM_SYSTEM;
}
