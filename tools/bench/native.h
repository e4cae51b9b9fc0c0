/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The native measurements, by what they are about
 */
#ifndef BENCH_NATIVE_H
#define BENCH_NATIVE_H

#include "core.h"
#include "measure.h"

/**
 * struct bench - the run
 * @effort: of each measurement
 * @only: measure only what has this in its id; NULL for everything
 * @out: the list that is printed at the end
 */
struct bench {
	struct effort effort;
	const char *only;
	json_t *out;
};

bool bench_wants(const struct bench *bench, const char *id);

/* Measure it, if it is wanted. */
void bench_measure(struct bench *bench, const struct measurement *m);

void bench_translate(struct bench *bench, struct guest *captured);
void bench_spaces(struct bench *bench, struct guest *captured);
void bench_dense(struct bench *bench);
void bench_snapshot(struct bench *bench, struct guest *captured);
void bench_curves(struct bench *bench, struct guest *captured);

/**
 * struct spaces_case - address spaces to walk, as all contenders want them
 * @guest: whose they are
 * @roots: their roots for the core
 * @nr: how many they are
 * @seen: what the minimal walk keeps between runs
 * @tables: distinct tables
 * @leaves: of each space alone, added up
 * @answer: what is told of them with references
 * @rows_answer: what is told of each alone
 * @leaves_answer: the addresses of all leaves, added up
 */
struct spaces_case {
	struct guest *guest;
	struct vmem_root *roots;
	u32 nr;
	struct floor_seen seen;
	u64 tables;
	u64 leaves;
	u64 answer;
	u64 rows_answer;
	u64 leaves_answer;
};

/* The first @nr spaces of a guest, and what the core says of them. */
void spaces_case_init(struct spaces_case *c, struct guest *guest, u32 nr);

/* What it says of each alone: @leaves and the answers of who expands. */
void spaces_case_expand(struct spaces_case *c);
void spaces_case_destroy(struct spaces_case *c);

/* The contenders; each gets a struct spaces_case. */
u64 run_core_spaces(void *priv);
u64 run_core_rows(void *priv);
u64 run_floor_spaces(void *priv);
u64 run_floor_rows(void *priv);
u64 run_floor_leaves(void *priv);

/* So many addresses in a run that their entries do not stay in the L1 cache. */
#define NR_ADDRESSES 65536

/**
 * struct translate_case - random addresses of a guest's first space
 * @guest: whose
 * @root: of the space
 * @vas: the addresses
 * @batch: how many are asked at once
 * @brief: without their paths
 */
struct translate_case {
	struct guest *guest;
	struct vmem_root root;
	u64 vas[NR_ADDRESSES];
	u32 batch;
	bool brief;
};

struct translate_case *translate_case_new(struct guest *guest);

/* Vmem and the minimal walk, with batches as they are now. */
struct measurement of_translation(struct translate_case *c);

#define NO_CHECKS \
	"It reads the same array, and checks no bounds, reserved bits or budget. "

#endif
