// SPDX-License-Identifier: GPL-2.0-only
/*
 * options.c - the options that the programs have in common
 */
#include "../../selftest/ktap.h"
#include "options.h"
#include "series.h"

/* "NUMBER,..." Returns how many. */
static int parse_numbers(const char *text, __u64 *numbers, int room)
{
	char *end;
	int nr = 0;

	for (;; text = end + 1) {
		errno = E2BIG;
		must(nr < room ? 0 : -1, text);
		numbers[nr++] = strtoull(text, &end, 0);
		if (*end != ',')
			break;
	}
	errno = EINVAL;
	must(*end ? -1 : 0, text);
	return nr;
}

static void parse_regs(const char *text, struct vmem_regs *regs)
{
	__u64 value[5];

	errno = EINVAL;
	must(parse_numbers(text, value, 5) == 5 ? 0 : -1, text);
	*regs = (struct vmem_regs){
		.cr0 = value[0],
		.cr3 = value[1],
		.cr4 = value[2],
		.efer = value[3],
		.maxphyaddr = (__u32)value[4],
	};
}

static void parse_option(struct options *options, int option)
{
	switch (option) {
	case 'n':
		series_rounds = atoi(optarg);
		break;
	case 's':
		options->seed = strtoull(optarg, NULL, 0);
		break;
	case 'g':
		parse_regs(optarg, &options->regs);
		break;
	case 'r':
		options->nr_cr3 =
			(__u32)parse_numbers(optarg, options->cr3, MAX_ROOTS);
		break;
	default:
		fputs(OPTIONS_HELP, stderr);
		exit(2);
	}
}

int options_parse(struct options *options, int argc, char **argv)
{
	int option;

	*options = (struct options){ .seed = 1 };
	while ((option = getopt(argc, argv, "+n:s:g:r:")) != -1)
		parse_option(options, option);
	return optind;
}
