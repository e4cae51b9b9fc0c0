/* SPDX-License-Identifier: GPL-2.0-only */
/* A broken invariant of ours: user space stops there, where the cause is near. */
#ifndef _LIBVMEM_LINUX_BUG_H
#define _LIBVMEM_LINUX_BUG_H

#include <stdbool.h>
#include <stdlib.h>

static inline bool libvmem_warn(bool broken)
{
	if (broken)
		abort();
	return broken;
}

#define static_assert(condition) _Static_assert(condition, #condition)

#define WARN_ON_ONCE(condition) libvmem_warn(condition)

#endif
