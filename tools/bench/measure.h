/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Time: contenders take turns in one process, on the same data
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <jansson.h>
#include <linux/types.h>

#define MAX_CONTENDERS 4

/**
 * struct contender - one of those that are compared; the first is vmem
 * @name: for people
 * @run: do it once, and say what came out
 * @answer: what has to come out
 * @at_most: the target: vmem takes at most this many times as long; 0 if none
 * @times_faster: the target: vmem is at least this many times faster; 0 if none
 */
struct contender {
	const char *name;
	u64 (*run)(void *priv);
	u64 answer;
	double at_most;
	double times_faster;
};

/**
 * struct measurement - what is compared
 * @id: for programs
 * @title: for people
 * @unit: of the samples
 * @note: what the others do and do not do
 * @per: nanoseconds of one run are divided by this to get the unit
 * @priv: passed to @run
 * @contenders: in the order in which they are reported; ends with a NULL name
 */
struct measurement {
	const char *id;
	const char *title;
	const char *unit;
	const char *note;
	double per;
	void *priv;
	struct contender contenders[MAX_CONTENDERS + 1];
};

/* How many samples of each, and how long one lasts at least. */
struct effort {
	int rounds;
	double sample_ns;
};

/* All samples as JSON. */
json_t *measure(const struct measurement *m, const struct effort *effort);

/* Only the medians, in nanoseconds of a run. */
void measure_medians(const struct measurement *m, const struct effort *effort,
		     double *medians);

#endif
