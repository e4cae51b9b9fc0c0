// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rounds: each contender gives one sample in each of them, and every other
 * round goes backwards, so that what drifts meets all alike
 */
#include <stdlib.h>
#include <time.h>

#include "guest.h"
#include "measure.h"

#define MAX_ROUNDS 101

/* The time of this thread alone: others may have the processor meanwhile. */
static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

/* Nanoseconds that one of @times runs takes. */
static double sample(const struct measurement *m, const struct contender *c,
		     u64 times)
{
	double begin = now_ns();
	u64 i, answer;

	for (i = 0; i < times; i++) {
		answer = c->run(m->priv);
		if (answer != c->answer)
			die("%s: %s came to %#llx, not to %#llx", m->id,
			    c->name, answer, c->answer);
	}
	return (now_ns() - begin) / times;
}

/* How many runs a sample takes; this also warms up and checks the answer. */
static u64 calibrate(const struct measurement *m, const struct contender *c,
		     double sample_ns)
{
	u64 times = 1;

	sample(m, c, 1);
	while (sample(m, c, times) * times < sample_ns / 2)
		times *= 2;
	return times;
}

static int count(const struct measurement *m)
{
	int nr = 0;

	while (nr < MAX_CONTENDERS && m->contenders[nr].name)
		nr++;
	return nr;
}

static void run_rounds(const struct measurement *m, const struct effort *effort,
		       double samples[][MAX_ROUNDS])
{
	u64 times[MAX_CONTENDERS];
	int nr = count(m);
	int i, round;

	if (effort->rounds > MAX_ROUNDS)
		die("at most %d rounds", MAX_ROUNDS);
	for (i = 0; i < nr; i++)
		times[i] = calibrate(m, &m->contenders[i], effort->sample_ns);
	for (round = 0; round < effort->rounds; round++) {
		for (i = 0; i < nr; i++) {
			int at = round % 2 ? nr - 1 - i : i;

			samples[at][round] =
				sample(m, &m->contenders[at], times[at]);
		}
	}
}

static json_t *samples_json(const double *samples, int nr, double per)
{
	json_t *list = json_array();
	int i;

	for (i = 0; i < nr; i++)
		json_array_append_new(list, json_real(samples[i] / per));
	return list;
}

static json_t *against_json(const struct contender *c, json_t *samples)
{
	json_t *json =
		json_pack("{s:s, s:o}", "name", c->name, "samples", samples);

	if (c->at_most)
		json_object_set_new(json, "at_most", json_real(c->at_most));
	if (c->times_faster)
		json_object_set_new(json, "times_faster",
				    json_real(c->times_faster));
	return json;
}

json_t *measure(const struct measurement *m, const struct effort *effort)
{
	static double samples[MAX_CONTENDERS][MAX_ROUNDS];
	json_t *against = json_array();
	int nr = count(m);
	int i;

	run_rounds(m, effort, samples);
	for (i = 1; i < nr; i++)
		json_array_append_new(against,
				      against_json(&m->contenders[i],
						   samples_json(samples[i],
								effort->rounds,
								m->per)));
	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:s}", "id", m->id, "title",
			 m->title, "unit", m->unit, "vmem",
			 samples_json(samples[0], effort->rounds, m->per),
			 "against", against, "note", m->note);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void measure_medians(const struct measurement *m, const struct effort *effort,
		     double *medians)
{
	static double samples[MAX_CONTENDERS][MAX_ROUNDS];
	int i;

	run_rounds(m, effort, samples);
	for (i = 0; i < count(m); i++) {
		qsort(samples[i], effort->rounds, sizeof(double), compare);
		medians[i] = samples[i][effort->rounds / 2];
	}
}
