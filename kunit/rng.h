/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the random tests have in common: numbers that follow from a seed.
 */
#ifndef _VMEM_KUNIT_RNG_H
#define _VMEM_KUNIT_RNG_H

#include <linux/prandom.h>
#include <linux/types.h>

/* The seed of the first random set; a parameter of the module. */
extern unsigned long long rng_first_seed;

void rng_seed(struct rnd_state *rng, u64 seed);

static inline u32 rng_below(struct rnd_state *rng, u32 limit)
{
	return prandom_u32_state(rng) % limit;
}

static inline bool rng_one_in(struct rnd_state *rng, u32 n)
{
	return !rng_below(rng, n);
}

static inline u64 rng_bits64(struct rnd_state *rng)
{
	u64 high = prandom_u32_state(rng);

	return high << 32 | prandom_u32_state(rng);
}

#endif /* _VMEM_KUNIT_RNG_H */
