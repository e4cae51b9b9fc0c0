// SPDX-License-Identifier: GPL-2.0-only
/*
 * series.c - time several ways to do one thing, in turns
 */
#include <time.h>

#include "series.h"

int series_rounds = 11;

double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

void tell_sample(const char *id, const char *name, double value)
{
	printf("%s\t%s\t%.3f\n", id, name, value);
	fflush(stdout);
}

void tell_blocked(const char *id, const char *name)
{
	printf("%s\tblocked\t%s\n", id, name);
	fflush(stdout);
}

void measure(const char *id, const struct series *series, int nr, void *arg)
{
	double value;
	int round, i;

	for (round = 0; round <= series_rounds; round++) {
		for (i = 0; i < nr; i++) {
			value = series[i].run(arg);
			if (round)
				tell_sample(id, series[i].name, value);
		}
	}
}
