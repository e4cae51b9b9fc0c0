/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's sort(): elements are swapped as bytes, so @swap is left out. */
#ifndef _LIBVMEM_LINUX_SORT_H
#define _LIBVMEM_LINUX_SORT_H

#include <linux/types.h>
#include <stdlib.h>

static inline void sort(void *base, size_t nr, size_t size,
			int (*compare)(const void *a, const void *b),
			void (*swap)(void *a, void *b, int size))
{
	(void)swap;
	if (nr)
		qsort(base, nr, size, compare);
}

#endif
