/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel has for arrays, and for what a member is in. */
#ifndef _LIBVMEM_LINUX_KERNEL_H
#define _LIBVMEM_LINUX_KERNEL_H

#include_next <linux/kernel.h>
#include <linux/bug.h>
#include <linux/minmax.h>
#include <linux/types.h>

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#endif

#define container_of(ptr, type, member)                     \
	({                                                  \
		void *_member = (void *)(ptr);              \
		(type *)(_member - offsetof(type, member)); \
	})

#endif
