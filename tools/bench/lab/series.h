/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * series.h - time several ways to do one thing, in turns
 *
 * The machine gets slower and faster while it is measured, and all ways must
 * have their share of that. So each is run once to warm up, and then one after
 * the other, round after round: ABC ABC ABC...
 */
#ifndef VMEM_BENCH_SERIES_H
#define VMEM_BENCH_SERIES_H

#include <stdio.h>

/**
 * struct series - one way to do it
 * @name: what it is called; "vmem" for ours
 * @run: does it once, and returns what is to be told: a time, as a rule for one
 *	of many equal steps
 */
struct series {
	const char *name;
	double (*run)(void *arg);
};

/* How many rounds; set by main(). */
extern int series_rounds;

/* Nanoseconds on the clock that is never set. */
double now(void);

/* Prints "ID<tab>NAME<tab>VALUE" for each run but the first of each. */
void measure(const char *id, const struct series *series, int nr, void *arg);

/* Prints one such line. */
void tell_sample(const char *id, const char *name, double value);

/* Prints "ID<tab>blocked<tab>NAME": it gave no answer while others did. */
void tell_blocked(const char *id, const char *name);

/* Prints "ID<tab>note<tab>TEXT"; a macro, so that the compiler checks it. */
#define tell_note(id, ...)                \
	do {                              \
		printf("%s\tnote\t", id); \
		printf(__VA_ARGS__);      \
		printf("\n");             \
	} while (0)

#endif /* VMEM_BENCH_SERIES_H */
