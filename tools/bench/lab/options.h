/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * options.h - the options that the programs have in common
 */
#ifndef VMEM_BENCH_OPTIONS_H
#define VMEM_BENCH_OPTIONS_H

#include <linux/vmem.h>

#define MAX_ROOTS 1024

/**
 * struct options - what the command line says
 * @seed: what the addresses are chosen by
 * @regs: the registers of the space to look at
 * @cr3: the root of every process
 * @nr_cr3: how many they are
 *
 * The number of rounds goes to series_rounds.
 */
struct options {
	__u64 seed;
	struct vmem_regs regs;
	__u64 cr3[MAX_ROOTS];
	__u32 nr_cr3;
};

#define OPTIONS_HELP                                             \
	"options: -n ROUNDS  how often to measure each way\n"    \
	"         -s SEED    what the addresses are chosen by\n" \
	"         -g CR0,CR3,CR4,EFER,MAXPHYADDR  the space\n"   \
	"         -r CR3,... the roots of many spaces\n"

/* Ends the program if they are wrong. Returns the index of what follows. */
int options_parse(struct options *options, int argc, char **argv);

#endif /* VMEM_BENCH_OPTIONS_H */
