/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * random.h - numbers that are the same in every run with the same seed
 */
#ifndef VMEM_SELFTEST_RANDOM_H
#define VMEM_SELFTEST_RANDOM_H

#include <linux/types.h>

/* The next one, of 31 bits. */
static inline __u64 random_next(__u64 *state)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return *state >> 33;
}

#endif /* VMEM_SELFTEST_RANDOM_H */
