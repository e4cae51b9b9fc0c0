/* SPDX-License-Identifier: GPL-2.0-only */
/* Errnos in pointers: the last page of addresses holds no object. */
#ifndef _LIBVMEM_LINUX_ERR_H
#define _LIBVMEM_LINUX_ERR_H

#include <errno.h>
#include <stdbool.h>

#define MAX_ERRNO 4095

/* User space never gets to see it. */
#define ERESTARTSYS 512

static inline void *ERR_PTR(long error)
{
	return (void *)error;
}

static inline long PTR_ERR(const void *ptr)
{
	return (long)ptr;
}

static inline bool IS_ERR(const void *ptr)
{
	return (unsigned long)ptr >= (unsigned long)-MAX_ERRNO;
}

static inline bool IS_ERR_OR_NULL(const void *ptr)
{
	return !ptr || IS_ERR(ptr);
}

static inline void *ERR_CAST(const void *ptr)
{
	return (void *)ptr;
}

static inline int PTR_ERR_OR_ZERO(const void *ptr)
{
	return IS_ERR(ptr) ? PTR_ERR(ptr) : 0;
}

#endif
