/* SPDX-License-Identifier: GPL-2.0-only */
/* Counting and finding bits, by the compiler's own means. */
#ifndef _LIBVMEM_LINUX_BITOPS_H
#define _LIBVMEM_LINUX_BITOPS_H

#include <linux/bits.h>
#include <linux/types.h>

static inline unsigned long hweight64(u64 word)
{
	return __builtin_popcountll(word);
}

/* As the kernel's: of no meaning for 0. */
static inline unsigned long __fls(unsigned long word)
{
	return 63 - __builtin_clzl(word);
}

static inline unsigned long __ffs(unsigned long word)
{
	return __builtin_ctzl(word);
}

#endif
