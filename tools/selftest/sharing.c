// SPDX-License-Identifier: GPL-2.0-only
/*
 * sharing - the address spaces of a running guest, together and each alone
 *
 * usage: sharing PID VM_FD CR0 CR4 EFER MAXPHYADDR CR3...
 *
 * For a guest that stands still: what a walk over all of its spaces tells, with
 * its references followed, is what a walk of each of them alone tells.
 */

#include "ktap.h"
#include "world.h"

static struct world world;
static struct session_records records;
static double seconds_shared;

static void walk_together(void)
{
	int session = world_open(&world);
	double begin = seconds();

	CHECK_EQ(session_walk_spaces(session, &records), 0);
	seconds_shared = seconds() - begin;
	close(session);
	printf("# together: %llu spaces, %llu leaves, %llu mappings, ",
	       records.stats.spaces, records.stats.leaves,
	       records.stats.mappings);
	printf("%llu references, %llu anomalies\n", records.stats.references,
	       records.stats.anomalies);
	check_records(&world, &records);
}

/* Tables on the path that a resumed call returns to are read once more. */
static void tables_read_once(void)
{
	__u64 again = (records.nr_calls - 1) * (VMEM_MAX_LEVELS - 1);

	printf("# tables: %llu read in %u calls, %llu distinct ones by level\n",
	       records.stats.tables, records.nr_calls, records.stats.known);
	CHECK(records.stats.tables <= records.stats.known + again);
}

static void references_followed(void)
{
	check_expansion(&world, &records);
}

static __u64 nr_leaves(const struct session_maps *maps)
{
	__u64 nr = 0;
	__u32 i;

	for (i = 0; i < maps->nr; i++)
		nr += (maps->rows[i].last_va - maps->rows[i].va) /
			      maps->rows[i].page_size +
		      1;
	return nr;
}

/* Not a matter of right or wrong: what sharing saves on this guest. */
static void each_alone(void)
{
	static struct vmem_mapping rows[1 << 20];
	struct session_maps maps = {
		.rows = rows,
		.room = ARRAY_SIZE(rows),
		.per_call = 8192,
	};
	int session = session_open();
	__u64 leaves = 0;
	double begin;
	__u32 i;

	CHECK_EQ(session_attach_kvm(session, world.vm_fd), 0);
	begin = seconds();
	for (i = 0; i < world.nr; i++) {
		world.spaces.regs.cr3 = world.cr3[i];
		CHECK_EQ(session_map_range(session, &world.spaces.regs, 0,
					   ~0ULL, &maps),
			 0);
		leaves += nr_leaves(&maps);
	}
	printf("# each alone: %llu leaves, %.0f times as many, in %.0f times the time\n",
	       leaves, (double)leaves / records.stats.leaves,
	       (seconds() - begin) / seconds_shared);
	CHECK(leaves >= records.stats.leaves);
	close(session);
}

/* Who owns what is another matter, and what is mapped is not. */
static void in_reverse_order(void)
{
	struct session_records reversed = { .per_call = 8192 };
	__u32 i;

	for (i = 0; i < world.nr / 2; i++) {
		__u64 cr3 = world.cr3[i];

		world.cr3[i] = world.cr3[world.nr - 1 - i];
		world.cr3[world.nr - 1 - i] = cr3;
	}
	world_walk(&world, &reversed);
	CHECK_EQ(reversed.stats.leaves, records.stats.leaves);
	CHECK_EQ(reversed.stats.known, records.stats.known);
	check_expansion(&world, &reversed);
	free(reversed.rows);
}

static const struct ktap_case cases[] = {
	{ "the guest's spaces in one walk", walk_together },
	{ "no table is read twice", tables_read_once },
	{ "references, followed, are what each space alone maps",
	  references_followed },
	{ "each space alone tells no less", each_alone },
	{ "the spaces in reverse order map the same", in_reverse_order },
};

int main(int argc, char **argv)
{
	int i;

	if (argc < 8 || argc > 7 + WORLD_MAX) {
		fprintf(stderr,
			"usage: %s PID VM_FD CR0 CR4 EFER MAXPHYADDR CR3...\n",
			argv[0]);
		return 2;
	}
	world.vm_fd = fd_of_process(atoi(argv[1]), atoi(argv[2]));
	world.spaces = (struct session_spaces){
		.regs = {
			.cr0 = strtoull(argv[3], NULL, 0),
			.cr4 = strtoull(argv[4], NULL, 0),
			.efer = strtoull(argv[5], NULL, 0),
			.maxphyaddr = strtoul(argv[6], NULL, 0),
		},
		.last_va = ~0ULL,
	};
	for (i = 7; i < argc; i++)
		world.cr3[world.nr++] = strtoull(argv[i], NULL, 0);
	world.spaces.cr3 = world.cr3;
	world.spaces.nr_cr3 = world.nr;
	records.per_call = 8192;
	return ktap_main(cases, ARRAY_SIZE(cases));
}
