// SPDX-License-Identifier: GPL-2.0-only
/*
 * limits.c - what bounds the sessions that a caller may have: its descriptors,
 * and the memory of its cgroup
 *
 * Limits that are numbers of arguments are in uapi.c, those of tables in
 * spaces.c, and that of hints in pages.c.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "file.h"
#include "folder.h"
#include "ktap.h"
#include "world.h"

#define CGROUPS "/sys/fs/cgroup"
#define CGROUP CGROUPS "/vmem-selftest"

/* ---- Descriptors ---- */

#define NR_FILES 300

static void open_all(void *arg)
{
	const struct rlimit few = { NR_FILES, NR_FILES };
	const struct world *w = arg;
	int session, nr = 0, before = count_folders();

	must(setrlimit(RLIMIT_NOFILE, &few), "setrlimit");
	while ((session = open("/dev/vmem", O_RDWR | O_CLOEXEC)) >= 0) {
		CHECK_EQ(session_attach_kvm(session, w->vm_fd), 0);
		nr++;
	}
	CHECK_EQ(errno, EMFILE);
	CHECK(nr > NR_FILES / 2);
	/* One is wanted to read the folder. */
	close(NR_FILES - 1);
	CHECK_EQ(count_folders(), before + nr - 1);
	printf("# %d sessions of one VM\n", nr);
}

static void sessions_of_max_files(void)
{
	int before = count_folders();
	struct world w;

	world_init(&w, MB(4));
	world_add_amd64(&w);
	ktap_wait(ktap_fork(open_all, &w));
	CHECK_EQ(count_folders(), before);
	world_free(&w);
}

/* ---- The memory cgroup ---- */

#define CHARGED CGROUP "/memory.current"

static void enter_cgroup(void)
{
	must(file_put(CGROUP "/cgroup.procs", "0"), "cgroup.procs");
}

/* Runs @fn in a child that is in a cgroup of its own, if there are such. */
static void in_cgroup(void (*fn)(void *arg))
{
	file_put(CGROUPS "/cgroup.subtree_control", "+memory");
	must(mkdir(CGROUP, 0700), CGROUP);
	if (access(CGROUP "/memory.max", W_OK)) {
		printf("# no memory cgroups\n");
		ktap_skipped = true;
	} else {
		ktap_wait(ktap_fork(fn, NULL));
	}
	must(rmdir(CGROUP), CGROUP);
}

#define NR_SESSIONS 16

/*
 * What is charged is counted in batches, and what is freed meanwhile may hide a
 * part: half of what is to be charged is sure to be more than nothing.
 */
static void check_charged(const char *what, long long before, long long bytes)
{
	long long more = file_number(CHARGED) - before;

	printf("# %s: %lld KiB charged for %lld\n", what, more / 1024,
	       bytes / 1024);
	if (more < bytes / 2)
		ktap_fail("%s: %lld bytes charged for %lld", what, more, bytes);
}

/* One page each, and all in the order of the guest's memory. */
static struct vmem_region *many_regions(const struct guest_ram *ram, __u32 nr)
{
	struct vmem_region *regions = calloc(nr, sizeof(*regions));
	__u32 i;

	must(regions ? 0 : -1, "calloc");
	for (i = 0; i < nr; i++)
		regions[i] = (struct vmem_region){
			.gpa = i * PAGE,
			.len = PAGE,
			.hva = (uintptr_t)ram->hva + i * PAGE,
		};
	return regions;
}

static void charge_regions(void *arg)
{
	struct vmem_info_args info;
	struct vmem_region *regions;
	int sessions[NR_SESSIONS];
	struct guest_ram ram;
	long long before;
	__u32 i;

	(void)arg;
	for (i = 0; i < NR_SESSIONS; i++)
		sessions[i] = session_open();
	CHECK_EQ(session_info(sessions[0], &info), 0);
	ram = ram_new(0, info.out_max_regions * PAGE);
	regions = many_regions(&ram, info.out_max_regions);
	enter_cgroup();
	before = file_number(CHARGED);
	for (i = 0; i < NR_SESSIONS; i++)
		CHECK_EQ(session_attach_regions(sessions[i], regions,
						info.out_max_regions),
			 0);
	check_charged("regions", before,
		      (long long)NR_SESSIONS * info.out_max_regions *
			      (long long)sizeof(*regions));
	free(regions);
	ram_free(&ram);
}

static void regions_are_charged(void)
{
	in_cgroup(charge_regions);
}

/**
 * struct crowd - sessions of one VM that has many tables
 * @w: the VM
 * @sessions: the sessions, attached
 */
struct crowd {
	struct world w;
	int sessions[NR_SESSIONS];
};

#define NR_TABLES 1500

static void crowd_init(struct crowd *crowd)
{
	struct tables t;
	__u64 i;

	world_init(&crowd->w, MB(16));
	t = world_add_amd64(&crowd->w);
	for (i = 0; i < NR_TABLES; i++)
		tables_map(&t, i * MB(2), WORLD_GPA, VMEM_LEVEL_PT, PTE_PWU);
	for (i = 0; i < NR_SESSIONS; i++) {
		crowd->sessions[i] = session_open();
		CHECK_EQ(session_attach_kvm(crowd->sessions[i], crowd->w.vm_fd),
			 0);
	}
}

static void set_spaces(struct crowd *crowd)
{
	int i;

	for (i = 0; i < NR_SESSIONS; i++)
		CHECK_EQ(session_set_spaces(crowd->sessions[i],
					    &crowd->w.spaces),
			 0);
}

static void crowd_repeat_roots(struct crowd *crowd)
{
	while (crowd->w.nr < VMEM_MAX_ROOTS)
		crowd->w.cr3[crowd->w.nr++] = crowd->w.cr3[0];
	crowd->w.spaces.nr_cr3 = VMEM_MAX_ROOTS;
}

static void charge_roots(void *arg)
{
	struct crowd crowd;
	long long before;

	(void)arg;
	crowd_init(&crowd);
	crowd_repeat_roots(&crowd);
	enter_cgroup();
	before = file_number(CHARGED);
	set_spaces(&crowd);
	check_charged("roots", before,
		      (long long)NR_SESSIONS * VMEM_MAX_ROOTS *
			      (long long)sizeof(struct vmem_regs));
}

static void roots_are_charged(void)
{
	in_cgroup(charge_roots);
}

/* Its slots are half free at least, and have 32 bytes each. */
#define BYTES_OF_SEEN (2 * NR_TABLES * 32LL)

static void charge_walks(void *arg)
{
	struct session_records records = { .per_call = 65536 };
	struct crowd crowd;
	long long before;
	int i;

	(void)arg;
	crowd_init(&crowd);
	set_spaces(&crowd);
	/* What the test itself has for the records is there by then. */
	CHECK_EQ(session_walk_spaces(crowd.sessions[0], &records), 0);
	enter_cgroup();
	before = file_number(CHARGED);
	for (i = 1; i < NR_SESSIONS; i++) {
		records.nr = 0;
		CHECK_EQ(session_walk_spaces(crowd.sessions[i], &records), 0);
	}
	check_charged("tables seen", before, (NR_SESSIONS - 1) * BYTES_OF_SEEN);
}

static void walks_are_charged(void)
{
	in_cgroup(charge_walks);
}

/* Open before there is a limit: to open a file takes memory as well. */
static int limit_fd = -1;

static void limit_to(long long bytes)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%lld", bytes);

	must(write(limit_fd, text, (size_t)len), "memory.max");
}

static int set_and_walk(const struct crowd *crowd, int session,
			struct session_records *records)
{
	int ret = session_set_spaces(session, &crowd->w.spaces);

	if (ret && ret != -EISCONN)
		return ret;
	records->nr = 0;
	return session_walk_spaces(session, records);
}

/*
 * The cgroup has room for some of the sessions' roots and tables. Who asks for
 * more is told so, is not killed, and goes on when there is room.
 */
static void walk_over_the_limit(void *arg)
{
	struct session_records records = { .per_call = 65536 };
	struct crowd crowd;
	int i, ret = 0;

	(void)arg;
	crowd_init(&crowd);
	crowd_repeat_roots(&crowd);
	/* What the test itself has for the records is there by then. */
	CHECK_EQ(set_and_walk(&crowd, crowd.sessions[0], &records), 0);
	limit_fd = (int)must(open(CGROUP "/memory.max", O_WRONLY | O_CLOEXEC),
			     "memory.max");
	/* So is every page that it has: none comes when there is no room. */
	must(mlockall(MCL_CURRENT), "mlockall");
	enter_cgroup();
	limit_to(file_number(CHARGED) + MB(2));
	for (i = 1; i < NR_SESSIONS && !ret; i++)
		ret = set_and_walk(&crowd, crowd.sessions[i], &records);
	CHECK_EQ(ret, -ENOMEM);
	CHECK(i > 2);
	limit_to(GB(1));
	CHECK_EQ(set_and_walk(&crowd, crowd.sessions[i - 1], &records), 0);
	CHECK_EQ(records.stats.known, NR_TABLES + 5);
	printf("# number %d of %d was over the limit\n", i, NR_SESSIONS);
}

static void over_the_cgroups_limit(void)
{
	in_cgroup(walk_over_the_limit);
}

static long long lost_at_start;

static void no_pages_lost(void)
{
	CHECK_EQ(pages_lost(), lost_at_start);
}

static const struct ktap_case cases[] = {
	{ "sessions_of_max_files", sessions_of_max_files },
	{ "regions_are_charged", regions_are_charged },
	{ "roots_are_charged", roots_are_charged },
	{ "walks_are_charged", walks_are_charged },
	{ "over_the_cgroups_limit", over_the_cgroups_limit },
	{ "no_pages_lost", no_pages_lost },
};

int main(void)
{
	lost_at_start = pages_lost_before();
	return ktap_main(cases, ARRAY_SIZE(cases));
}
