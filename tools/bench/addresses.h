/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Random addresses that are mapped, the same in every run
 */
#ifndef BENCH_ADDRESSES_H
#define BENCH_ADDRESSES_H

#include "core.h"

/* A generator of random numbers; all that is asked of it is to be fast. */
static inline u64 random_next(u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Every leaf that the space has is as likely; a table that is shared counts once. */
void addresses_of_leaves(struct guest *guest, const struct vmem_root *root,
			 u64 *vas, u32 nr);

/* Every byte that is mapped is as likely. */
void addresses_of_bytes(struct guest *guest, const struct vmem_root *root,
			u64 *vas, u32 nr);

#endif
