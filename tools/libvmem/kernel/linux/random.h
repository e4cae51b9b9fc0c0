/* SPDX-License-Identifier: GPL-2.0-only */
/* Random numbers, from the kernel. */
#ifndef _LIBVMEM_LINUX_RANDOM_H
#define _LIBVMEM_LINUX_RANDOM_H

#include <linux/types.h>
#include <stdlib.h>
#include <sys/random.h>

/* So few bytes never come short; without a kernel that has them, nothing runs. */
static inline u64 get_random_u64(void)
{
	u64 value;

	if (getrandom(&value, sizeof(value), 0) != sizeof(value))
		abort();
	return value;
}

#endif
