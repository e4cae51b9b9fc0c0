/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory, from malloc(3). Where it comes from in the kernel is of no account. */
#ifndef _LIBVMEM_LINUX_SLAB_H
#define _LIBVMEM_LINUX_SLAB_H

#include <errno.h>
#include <linux/types.h>
#include <stdlib.h>
#include <string.h>

#define GFP_KERNEL 0U
#define GFP_KERNEL_ACCOUNT 0U
#define __GFP_NOWARN 0U
#define __GFP_RETRY_MAYFAIL 0U
#define __GFP_NORETRY 0U

/* What the kernel aligns to its size if it is that large: a table, a page. */
#define LIBVMEM_TABLE_SIZE 4096UL

static inline void *kmalloc(size_t size, unsigned int gfp)
{
	(void)gfp;
	if (size == LIBVMEM_TABLE_SIZE)
		return aligned_alloc(LIBVMEM_TABLE_SIZE, size);
	return malloc(size);
}

static inline void *kzalloc(size_t size, unsigned int gfp)
{
	void *new;

	if (size != LIBVMEM_TABLE_SIZE)
		return calloc(1, size);
	new = kmalloc(size, gfp);
	return new ? memset(new, 0, size) : NULL;
}

static inline void *kvmalloc(size_t size, unsigned int gfp)
{
	return kmalloc(size, gfp);
}

static inline void *kvzalloc(size_t size, unsigned int gfp)
{
	return kzalloc(size, gfp);
}

static inline void *kvcalloc(size_t nr, size_t size, unsigned int gfp)
{
	(void)gfp;
	return calloc(nr, size);
}

static inline void *kcalloc(size_t nr, size_t size, unsigned int gfp)
{
	return kvcalloc(nr, size, gfp);
}

static inline void *kvmalloc_array(size_t nr, size_t size, unsigned int gfp)
{
	(void)gfp;
	return reallocarray(NULL, nr, size);
}

static inline void kfree(const void *old)
{
	free((void *)old);
}

static inline void kvfree(const void *old)
{
	kfree(old);
}

#endif
