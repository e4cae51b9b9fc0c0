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

/*
 * A cache keeps one object that was given back, so that what was constructed is
 * not so again and again.
 */
struct kmem_cache {
	size_t size;
	void (*ctor)(void *object);
	void *spare;
};

#define SLAB_ACCOUNT 0U
#define SLAB_HWCACHE_ALIGN 1U

#define LIBVMEM_CACHE_LINE 64UL

static inline struct kmem_cache *kmem_cache_create(const char *name,
						   size_t size, size_t align,
						   unsigned int flags,
						   void (*ctor)(void *object))
{
	struct kmem_cache *cache = malloc(sizeof(*cache));

	(void)name;
	(void)align;
	(void)flags;
	if (cache)
		*cache = (struct kmem_cache){
			.size = (size + LIBVMEM_CACHE_LINE - 1) &
				~(LIBVMEM_CACHE_LINE - 1),
			.ctor = ctor,
		};
	return cache;
}

static inline void *kmem_cache_alloc(struct kmem_cache *cache, unsigned int gfp)
{
	void *object =
		__atomic_exchange_n(&cache->spare, NULL, __ATOMIC_ACQUIRE);

	(void)gfp;
	if (object)
		return object;
	object = aligned_alloc(LIBVMEM_CACHE_LINE, cache->size);
	if (object)
		cache->ctor(object);
	return object;
}

static inline void kmem_cache_free(struct kmem_cache *cache, void *object)
{
	free(__atomic_exchange_n(&cache->spare, object, __ATOMIC_ACQ_REL));
}

static inline void kmem_cache_destroy(struct kmem_cache *cache)
{
	if (cache)
		free(cache->spare);
	free(cache);
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
