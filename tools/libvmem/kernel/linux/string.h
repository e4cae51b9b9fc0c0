/* SPDX-License-Identifier: GPL-2.0-only */
/* The C library's, and what the kernel has besides. */
#ifndef _LIBVMEM_LINUX_STRING_H
#define _LIBVMEM_LINUX_STRING_H

#include <linux/types.h>
#include <string.h>

/* The first of @size bytes that is not @byte; NULL if all are. */
static inline void *memchr_inv(const void *start, int byte, size_t size)
{
	const u8 *p = start;

	for (; size; size--, p++)
		if (*p != (u8)byte)
			return (void *)p;
	return NULL;
}

#endif
