// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random numbers that can be had again.
 */
#include <linux/moduleparam.h>

#include "rng.h"

/* A failure names the seed of its set: given here, that set comes first. */
#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "vmem_kunit."

unsigned long long rng_first_seed = 1;
module_param_named(seed, rng_first_seed, ullong, 0);
MODULE_PARM_DESC(seed, "Seed of the first random set of tables (1)");

void rng_seed(struct rnd_state *rng, u64 seed)
{
	int i;

	/* A small seed takes a few rounds to spread. */
	prandom_seed_state(rng, seed);
	for (i = 0; i < 16; i++)
		prandom_u32_state(rng);
}
