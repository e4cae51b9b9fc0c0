// SPDX-License-Identifier: GPL-2.0-only
/*
 * native - the core in user space, beside the least code that gives the same
 * answers over the same memory
 *
 * usage: native [-g DIR] [-r ROUNDS] [-m ID]
 *
 *   -g DIR     a captured guest: DIR/guest.elf and DIR/guest.json. Without it,
 *              only what is made up is measured.
 *   -r ROUNDS  samples of each contender (default: 15)
 *   -m ID      only what has ID in its id
 *
 * Prints a list of JSON objects: measurements with all of their samples, and
 * curves, which have "series". bench makes a table of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "native.h"

/* Of guest-physical memory, for tables of spaces that are added. */
#define SPARE (256ULL << 20)

#define SAMPLE_NS 4e6

bool bench_wants(const struct bench *bench, const char *id)
{
	return !bench->only || strstr(id, bench->only) ||
	       !strncmp(id, bench->only, strlen(id));
}

void bench_measure(struct bench *bench, const struct measurement *m)
{
	if (bench->only && !strstr(m->id, bench->only))
		return;
	fprintf(stderr, "bench: %s...\n", m->title);
	json_array_append_new(bench->out, measure(m, &bench->effort));
}

noreturn static void usage(void)
{
	die("usage: native [-g DIR] [-r ROUNDS] [-m ID]");
}

int main(int argc, char **argv)
{
	struct bench bench = {
		.effort = { .rounds = 15, .sample_ns = SAMPLE_NS },
		.out = json_array(),
	};
	struct guest *captured = NULL;
	int option;

	while ((option = getopt(argc, argv, "g:r:m:")) != -1) {
		if (option == 'g')
			captured = guest_load(optarg, SPARE);
		else if (option == 'r')
			bench.effort.rounds = atoi(optarg);
		else if (option == 'm')
			bench.only = optarg;
		else
			usage();
	}
	if (optind != argc || bench.effort.rounds < 1)
		usage();

	bench_translate(&bench, captured);
	bench_spaces(&bench, captured);
	bench_dense(&bench);
	bench_snapshot(&bench, captured);
	bench_curves(&bench, captured);
	json_dumpf(bench.out, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
	putchar('\n');
	return 0;
}
