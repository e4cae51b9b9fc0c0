/* SPDX-License-Identifier: GPL-2.0-only */
/* Pages; with large allocations, and what else comes with it in the kernel. */
#ifndef _LIBVMEM_LINUX_MM_H
#define _LIBVMEM_LINUX_MM_H

#include <linux/bits.h>
#include <linux/kernel.h>
#include <linux/slab.h>

#ifndef PAGE_SIZE
#define PAGE_SHIFT 12
#define PAGE_SIZE BIT(PAGE_SHIFT)
#endif

#endif
