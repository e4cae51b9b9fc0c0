/* SPDX-License-Identifier: GPL-2.0-only */
/* Powers of two. */
#ifndef _LIBVMEM_LINUX_LOG2_H
#define _LIBVMEM_LINUX_LOG2_H

#include <linux/types.h>

/* As the kernel's: of no meaning for 0. */
static inline int ilog2(u64 nr)
{
	return 63 - __builtin_clzll(nr);
}

static inline bool is_power_of_2(unsigned long nr)
{
	return nr && !(nr & (nr - 1));
}

#endif
