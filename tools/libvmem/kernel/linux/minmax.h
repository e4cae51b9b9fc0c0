/* SPDX-License-Identifier: GPL-2.0-only */
/* The smaller and the larger. */
#ifndef _LIBVMEM_LINUX_MINMAX_H
#define _LIBVMEM_LINUX_MINMAX_H

#include <linux/types.h>

/* Of one type only, as in the kernel: a pointer comparison tells others. */
#define libvmem_choose(x, op, y)    \
	({                          \
		typeof(x) _x = (x); \
		typeof(y) _y = (y); \
		(void)(&_x == &_y); \
		_x op _y ? _x : _y; \
	})

#define min(x, y) libvmem_choose(x, <, y)
#define max(x, y) libvmem_choose(x, >, y)
#define min_t(type, x, y) min((type)(x), (type)(y))
#define max_t(type, x, y) max((type)(x), (type)(y))

#endif
