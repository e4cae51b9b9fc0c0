/* SPDX-License-Identifier: GPL-2.0-only */
/* Random numbers, from the kernel. */
#ifndef _LIBVMEM_LINUX_RANDOM_H
#define _LIBVMEM_LINUX_RANDOM_H

#include <linux/types.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>

/*
 * Where a sandbox forbids getrandom(2), the 16 random bytes that the kernel gives
 * to every process have to do: less, but a guest does not know them either.
 */
static inline u64 get_random_u64(void)
{
	u64 value;

	if (getrandom(&value, sizeof(value), GRND_NONBLOCK) != sizeof(value))
		memcpy(&value, (void *)getauxval(AT_RANDOM), sizeof(value));
	return value;
}

#endif
