/* SPDX-License-Identifier: GPL-2.0-only */
/* The core's memory, which is short where the fuzzer says so. */
#ifndef _FUZZ_LINUX_SLAB_H
#define _FUZZ_LINUX_SLAB_H

#include <fuzz/fuzz.h>
#include <stdlib.h>

#define malloc(size) (fuzz_no_memory() ? NULL : malloc(size))
#define calloc(nr, size) (fuzz_no_memory() ? NULL : calloc(nr, size))
#define aligned_alloc(align, size) \
	(fuzz_no_memory() ? NULL : aligned_alloc(align, size))
#include_next <linux/slab.h>
#undef malloc
#undef calloc
#undef aligned_alloc

#endif
