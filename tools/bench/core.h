/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The core's side of each comparison: its questions, asked of a guest
 */
#ifndef BENCH_CORE_H
#define BENCH_CORE_H

#include <vmem/snapshot.h>
#include <vmem/translate.h>

#include "floor.h"
#include "guest.h"

/* All of an address space, and no limit on the entries read. */
#define LAST_VA (~0ULL)
#define NO_BUDGET (~0ULL)

/* The largest batch. */
#define MAX_BATCH 4096

/*
 * Translate @nr addresses, @batch at a time, with the whole path of each or
 * briefly; the sum of what they are.
 */
u64 core_translate(struct guest *guest, const struct vmem_root *root,
		   const u64 *vas, u32 nr, u32 batch, bool brief);

/* The same one by one, by vmem_translate(). */
u64 core_translate_singly(struct guest *guest, const struct vmem_root *root,
			  const u64 *vas, u32 nr);

/* All mappings of a space, by vmem_virt_to_phys(), which knows no sharing. */
void core_rows(struct guest *guest, const struct vmem_root *root,
	       struct tally *tally);

/* All mappings and references of spaces, by vmem_walk_va_spaces(). */
struct vmem_spaces_stats core_spaces(struct guest *guest,
				     const struct vmem_root *roots, u32 nr,
				     struct tally *tally);

/* A snapshot of spaces, without its pages; @built has room for @nr roots. */
void core_snapshot(struct guest *guest, const struct vmem_root *roots, u32 nr,
		   struct vmem_root *built, struct vmem_snapshot *snapshot);

#endif
