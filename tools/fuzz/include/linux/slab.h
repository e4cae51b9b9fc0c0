/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The core's memory, which is short where the fuzzer says so. A cache keeps
 * nothing: what was given back is not to be used.
 */
#ifndef _FUZZ_LINUX_SLAB_H
#define _FUZZ_LINUX_SLAB_H

#include <fuzz/fuzz.h>
#include <stdlib.h>

#define malloc(size) (fuzz_no_memory() ? NULL : malloc(size))
#define calloc(nr, size) (fuzz_no_memory() ? NULL : calloc(nr, size))
#define aligned_alloc(align, size) \
	(fuzz_no_memory() ? NULL : aligned_alloc(align, size))
#define kmem_cache_free libvmem_cache_free
#include_next <linux/slab.h>
#undef malloc
#undef calloc
#undef aligned_alloc
#undef kmem_cache_free

static inline void kmem_cache_free(struct kmem_cache *cache, void *object)
{
	(void)cache;
	free(object);
}

#endif
